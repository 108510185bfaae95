"""``python -m benchmarks.sweep``: sweeps of the drone under kills, on a cluster, and on two workers.

Writes docs/results/sweep.md. A worker and then the client are killed with SIGKILL, and the command is
given again; the same points then run on a scheduler and two workers that were started by hand, and both
files of results are compared byte by byte. Two workers are timed beside one, and beside what arithmetic
without memory gains by two processes on this machine, all in turn; every worker has compiled before.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, wait

from benchmarks.cores import STEPS, Arithmetic
from benchmarks.environments import ROOT
from eventnet.raster import written_aside
from eventnet.reproduce.record import commit, machine
from eventnet.scenario import load
from eventnet.sweep.cluster import Grid, connected, sweep
from eventnet.sweep.folder import TIMES, SweepFolder, read
from eventnet.sweep.plan import Plan
from eventnet.sweep.point import Job

PAGE = ROOT / "docs" / "results" / "sweep.md"
TAU, LR = "tau=log:0.04:0.16:4", "lr=log:0.005:0.04:4"
ROUND = 4  # points a worker in a round
ROUNDS = 5
DASK = [sys.executable, "-m", "dask"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sweep", description=__doc__)
    parser.add_argument("--points", type=int, default=1024, help="a multiple of 16")
    parser.add_argument(
        "--passes", type=int, default=20, help="over the flight: how long a point is"
    )
    parser.add_argument(
        "--timed-passes",
        type=int,
        help="of the points that two workers are timed with; default: passes",
    )
    given = parser.parse_args()
    seeds, rest = divmod(given.points, 16)
    if rest or seeds < 1:
        parser.error(f"--points {given.points}: must be a multiple of 16")
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        what = ["--grid", TAU, "--grid", LR, "--seeds", str(seeds)]
        what += ["--set", f"passes={given.passes}"]
        found = {"points": given.points, "passes": given.passes}
        found["timed"] = given.timed_passes or given.passes
        found |= killed(folder / "here", what, given.points)
        found |= by_hand(folder, what)
        found |= gain(folder, found["timed"])
    found["wall_s"] = round(time.perf_counter() - begin)
    found |= {"commit": commit(), "load": os.getloadavg()[2]} | machine()
    with written_aside(PAGE) as aside:
        aside.write_text(page(found), encoding="utf-8")
    print(PAGE.read_text(encoding="utf-8"))


def command(folder: Path, what: list[str], *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "eventnet", "sweep", "drone"),
        *(*what, "--out", str(folder), "--json", *more),
    ]


def until(true: Callable[[], Any]) -> Any:
    while not (found := true()):
        time.sleep(0.2)
    return found


def killed(folder: Path, what: list[str], points: int) -> dict[str, Any]:
    """Kill a worker after a quarter of the points and the client after half, then go on."""
    client = subprocess.Popen(command(folder, what), cwd=ROOT, stdout=subprocess.DEVNULL)
    until(lambda: len(read(folder, TIMES)) >= points // 4 or client.poll() is not None)
    os.kill(read(folder, TIMES)[0]["process"], signal.SIGKILL)
    until(lambda: len(read(folder, TIMES)) >= points // 2 or client.poll() is not None)
    client.kill()
    client.wait()
    kept = read(folder)
    done = subprocess.run(command(folder, what), cwd=ROOT, capture_output=True, check=True)
    again = read(folder)
    new = json.loads(done.stdout)["new"]
    seconds = [row["wall_s"] for row in read(folder, TIMES)]
    assert [row for row in again if row["point"] in {r["point"] for r in kept}] == kept
    assert len({(row["tau"], row["lr"], row["seed"]) for row in again}) == len(again) == points
    assert len(kept) + new == points
    return {
        "kept": len(kept),
        "new": new,
        "failed": sum(bool(row["failure"]) for row in again),
        "processes": len({row["process"] for row in read(folder, TIMES)}),
        "point_s": statistics.median(seconds),
        "shortest_s": min(seconds),
    }


@contextmanager
def cluster_by_hand(folder: Path) -> Iterator[str]:
    """Yield the address of a scheduler with two workers, each of one thread, started as a user does."""
    file = folder / "scheduler.json"
    where = ["--scheduler-file", str(file)]
    quiet = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = [*DASK, "scheduler", *where, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    started = [subprocess.Popen(scheduler, **quiet)]  # type: ignore[call-overload]
    try:
        until(file.is_file)
        worker = [*DASK, "worker", *where, "--nthreads", "1", "--no-dashboard"]
        started += [subprocess.Popen(worker, **quiet) for _ in range(2)]  # type: ignore[call-overload]
        yield json.loads(file.read_text())["address"]
    finally:
        for process in reversed(started):
            process.terminate()
            process.wait()


def by_hand(folder: Path, what: list[str]) -> dict[str, Any]:
    """Run the same points on a cluster that was started by hand, and compare the bytes."""
    with cluster_by_hand(folder) as address:
        order = command(folder / "cluster", what, "--scheduler", address)
        subprocess.run(order, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    files = [folder / name / "results.parquet" for name in ("here", "cluster")]
    used = len({row["process"] for row in read(folder / "cluster", TIMES)})
    return {"equal": files[0].read_bytes() == files[1].read_bytes(), "workers by hand": used}


def gain(folder: Path, passes: int) -> dict[str, Any]:
    """Return how much faster two workers are than one, and arithmetic in two processes than in one."""
    found: dict[str, list[float]] = {"1": [], "2": [], "arithmetic 1": [], "arithmetic 2": []}
    with connected(None, 1) as one, connected(None, 2) as two:
        for k in range(-1, ROUNDS):  # the first compiles
            for n, client in ((1, one), (2, two)):
                rate = points_a_second(client, n, folder / f"{n}-{k}", passes, 100 + k)
                steps = steps_a_second(client, n)
                if k >= 0:
                    found[str(n)].append(rate)
                    found[f"arithmetic {n}"].append(steps)
    middle = {name: statistics.median(rates) for name, rates in found.items()}
    return {
        "rates": found,
        "gain": middle["2"] / middle["1"],
        "arithmetic": middle["arithmetic 2"] / middle["arithmetic 1"],
        "timed_s": min(row["wall_s"] for row in read(folder / f"2-{ROUNDS - 1}", TIMES)),
    }


def points_a_second(client: Client, n: int, folder: Path, passes: int, seed: int) -> float:
    scenario = load("drone")
    taus = ",".join(map(str, np.geomspace(0.04, 0.16, ROUND).round(4)))
    seeds = [seed + 1000 * k for k in range(n)]  # so that each worker has points of the same cost
    plan = Plan(scenario, [f"passes={passes}"], [f"tau={taus}"], seeds)
    with SweepFolder(folder, Job.of(scenario, "drone"), "") as kept:
        begin = time.perf_counter()
        sweep(kept.job, Grid(plan.grid(), {}), kept, client)
        return ROUND * n / (time.perf_counter() - begin)


def steps_a_second(client: Client, n: int) -> float:
    futures = [client.submit(arithmetic, pure=False) for _ in range(n)]
    wait(futures)
    return sum(STEPS / future.result() for future in futures)


def arithmetic() -> float:
    """Return how long it takes, compiled."""
    contestant = Arithmetic({})
    contestant.prepare()
    return float(contestant.repeat(0)["wall_s"])


def page(found: dict[str, Any]) -> str:
    """Return docs/results/sweep.md."""
    spans = {
        name: f"{min(rates):.3g} to {max(rates):.3g}" for name, rates in found["rates"].items()
    }
    order = f"python -m benchmarks.sweep --points {found['points']} --passes {found['passes']}"
    order += f" --timed-passes {found['timed']}"
    lasted = f"{found['point_s']:.1f} s (median; the shortest {found['shortest_s']:.1f} s)"
    table = {
        "points of the first sweep": f"{found['points']:,}, of {lasted}",
        "recorded when the client was killed, a worker having been before": found["kept"],
        "run by the same command afterwards": found["new"],
        "lost, or recorded twice": 0,
        "failed": found["failed"],
        "worker processes in all": found["processes"],
        f"the file of results, on {found['workers by hand']} workers started by hand": (
            "byte for byte the same" if found["equal"] else "NOT the same"
        ),
        "two workers over one, points a second": (
            f"{found['gain']:.2f} ({spans['2']} over {spans['1']})"
        ),
        "two processes over one, arithmetic without memory": f"{found['arithmetic']:.2f}",
    }
    return "\n".join(
        [
            "# Sweeps under kills, on a cluster, and on two workers",
            "",
            f"Written by `{order}` in {found['wall_s']:,} s at commit {found['commit']}: `drone` over",
            f"four time constants, four learning rates and {found['points'] // 16} seeds.",
            f"{found['processor']}, {found['cores']} hardware threads, load {found['load']:.1f}.",
            "",
            "| | |",
            "|---|---|",
            *(f"| {what} | {value} |" for what, value in table.items()),
            "",
            f"The last two are medians of {ROUNDS} rounds of {ROUND} points a worker, of at least",
            f"{found['timed_s']:.1f} s each, in turn; start and compiling are left out.",
            "Whatever else the machine did at the time is in them.",
            "",
        ]
    )


if __name__ == "__main__":
    main()

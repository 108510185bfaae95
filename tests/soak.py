"""A run of 10^9 spikes: is memory flat, is its end as fast as its beginning, is every spike on disk?

`python -m tests.soak` follows a moving point, learning online, keeps the raster and checkpoints, ends the
run by SIGTERM when it has made enough, and writes docs/reliability.md. Speed is events a CPU second, in a
hundred pieces: since other work on the machine can only slow a piece, the fastest tenths are compared.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time as wall
from itertools import pairwise
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import eventnet as en
from eventnet import checkpoint
from eventnet.cost import Cost
from eventnet.errors import Interrupted
from eventnet.reproduce import rates
from eventnet.reproduce.signals import band_limited
from tests.pages import put

RATE, READINGS = 100, 10**9  # Hz; more readings than are ever taken
WARM = 2_000.0  # s: it has learned by then
MARGIN = 1.2  # the motion is random, and so is what it costs
CHECKPOINTS = 20
PIECES = 20  # a fifth
MEMORY, SPEED = 0.05, 0.1  # what may change from the first fifth to the last


class Motion:
    """A point that moves, seen along directions (3, n): sums of sines, computed as they are asked for."""

    def __init__(self, directions: NDArray[np.float64]) -> None:
        self.directions = directions / np.linalg.norm(directions, axis=0)
        self.width = directions.shape[1]

    def __len__(self) -> int:
        return READINGS

    def block(self, start: int, stop: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        times = np.arange(start, min(stop, READINGS)) / RATE
        place = band_limited(times, 3, rates.TOP, np.random.default_rng(rates.SEED))
        return times, place @ self.directions


def learner() -> en.Simulation:
    """Return the network of `eventnet reproduce rates`, which learns online for ever."""
    rng = np.random.default_rng(rates.SEED)
    sim = en.Simulation(rates.network(), plasticity=en.STDP(rates.LR), seed=rates.SEED)
    sim.feed("sensors", Motion(rng.normal(size=(3, rates.CHANNELS))))
    sim.teach("place", Motion(rng.normal(size=(3, rates.OUTPUTS))))
    return sim


def soaked(folder: Path, spikes: int) -> dict[str, Any]:
    """Run until `spikes` are made; return what was seen, fifth by fifth."""
    sim = learner()
    warm = sim.run(WARM, record=folder.with_name("warm"))
    before, length = counted(sim.cost), spikes / warm.cost.events * WARM
    until = sim.now + MARGIN * length
    seen: list[tuple[int, float, float, int]] = []

    def watch(time: float, made: int) -> None:
        seen.append((made, wall.perf_counter(), wall.process_time(), resident()))
        if made >= spikes:
            os.kill(os.getpid(), signal.SIGTERM)

    record = en.Record(folder, checkpoint_every=length / CHECKPOINTS)
    try:
        simulated = sim.run(until, record=record, progress=watch).until
    except Interrupted as ended:
        simulated = ended.time
    made, at, cpu, memory = (np.array(column) for column in zip(*seen, strict=True))
    cuts = np.searchsorted(made, np.linspace(made[0], made[-1], 5 * PIECES + 1))
    speeds = np.diff(made[cuts]) / np.diff(cpu[cuts])
    fifths = speeds.reshape(5, PIECES)
    return {
        "simulated_s": simulated,
        "counted": tuple(a - b for a, b in zip(counted(sim.cost), before, strict=True)),
        "kept": kept(folder),
        "checkpoint_s": newest(folder),
        "wall_s": at[-1] - at[0],
        "per_wall_s": np.diff(made[cuts[::PIECES]]) / np.diff(at[cuts[::PIECES]]),
        "median": np.median(fifths, axis=1),
        "fastest": np.quantile(fifths, 0.9, axis=1),
        "bytes": [int(memory[a : b + 1].max()) for a, b in pairwise(cuts[::PIECES])],
    }


def resident() -> int:
    """Return the bytes of memory that this process holds."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def counted(cost: Cost) -> tuple[int, int]:
    """Return the events that the engine counted, and their spikes."""
    rows = cost.populations.values()
    return cost.events, sum(row["quanta"] + row["error_quanta"] for row in rows)


def kept(folder: Path) -> tuple[int, int]:
    """Return the events that are read back from the files, and their spikes."""
    events = spikes = 0
    for batch in en.Raster.open(folder).iter_batches():
        events += len(batch.time)
        spikes += int(np.abs(batch.count.astype(np.int64)).sum())
    return events, spikes


def newest(folder: Path) -> float:
    """Return the simulated time (s) of the newest checkpoint."""
    return float(checkpoint.read(sorted(folder.glob("checkpoints/0*.npz"))[-1])[1]["run"]["time"])


def judged(found: dict[str, Any]) -> dict[str, bool]:
    """Return what was asked, and whether it was seen."""
    first, last = found["fastest"][0], found["fastest"][-1]
    return {
        "every spike is in the files": found["counted"] == found["kept"],
        "the checkpoint is of the end": found["checkpoint_s"] == found["simulated_s"],
        "memory within 5 %": found["bytes"][-1] <= (1 + MEMORY) * found["bytes"][0],
        "speed within 10 %": abs(last / first - 1) <= SPEED,
    }


def page(found: dict[str, Any], size: int) -> str:
    """Return what docs/reliability.md says."""
    lines = [
        f"`python -m tests.soak`: {found['counted'][0]:,} events, {found['counted'][1]:,} spikes, in "
        f"{found['wall_s'] / 60:.0f} minutes and {found['simulated_s']:,.0f} s of simulated time; in the "
        f"files {found['kept'][0]:,} and {found['kept'][1]:,}, {size / 1e9:.1f} GB. Ended by SIGTERM, "
        f"the last checkpoint at {found['checkpoint_s']:,.0f} s.",
        "",
        "| fifth of the run | millions of events a second | a CPU second, median | fastest tenth | MB |",
        "|---:|---:|---:|---:|---:|",
    ]
    for k in range(5):
        speeds = [found[name][k] / 1e6 for name in ("per_wall_s", "median", "fastest")]
        told = " | ".join(f"{speed:.2f}" for speed in speeds)
        lines.append(f"| {k + 1} | {told} | {found['bytes'][k] / 1e6:.0f} |")
    told = [f"{what}: {'yes' if so else 'NO'}" for what, so in judged(found).items()]
    return "\n".join([*lines, "", "; ".join(told) + "."])


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--spikes", default=10**9, show_default=True, help="Events to make.")
@click.option(
    "--within", type=click.Path(path_type=Path), help="Where the run folder is kept meanwhile."
)
@click.option("-o", "output", type=click.Path(path_type=Path), default=Path("docs/reliability.md"))
def main(spikes: int, within: Path | None, output: Path) -> None:
    """Make 10^9 spikes, keep and count them; write what was seen into docs/reliability.md."""
    with tempfile.TemporaryDirectory(dir=within) as work:
        folder = Path(work) / "run"
        found = soaked(folder, spikes)
        size = sum(file.stat().st_size for file in folder.rglob("*.parquet"))
    told = page(found, size)
    put(output, "python -m tests.soak", told)
    click.echo(told)
    sys.exit(not all(judged(found).values()))


if __name__ == "__main__":
    main()

"""Write docs/results/balance.md: the cart and pole on ten seeds, beside the LQR and least squares.

A seed that is done is kept in docs/results/balance, with its commit; it is not run again unless its
settings change or its file is removed. Seeds are run from a clean checkout only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.mnist_async import table
from eventnet.cartpole import PHYSICS, PUSH_EVERY, PUSH_FIRST, SENSORS, UNIT, Trial
from eventnet.plot import PALETTE, save
from eventnet.raster import Raster, written_aside
from eventnet.reproduce.drawing import drawing
from eventnet.reproduce.record import record, uncommitted
from eventnet.scenario import execute, load

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SOURCES = "eventnet", "sims", "benchmarks/balance.py"
"""What makes a row: it is kept only if these are committed."""
KEPT = DOCS / "results" / "balance"
COMMAND = "python -m benchmarks.balance"
SEEDS = range(10)
QUICK = ("learn=60", "test=10", "push=1")
VARIANTS = {
    "trained": {},
    "untrained": {"learn": 0, "test": 6},
    **{f"without-{name}": {"without": name} for name in SENSORS},
}
EDGES = np.arange(-0.5, 2.5001, 0.025)  # s since a push began
STRONG = 0.65  # of the largest push: the middle of the range
POPULATIONS = (*SENSORS, "velocity", "hidden")

PAGE = """# Cart and pole, in a closed loop

Made by `{command}`, seeds 0 to {last}: a cart and a pole in MuJoCo, pushed every 3 s for 100 ms to a
random side by 30 to 100 % of {push:g} N. A network of {hidden} hidden units ({activation}) learns for
{learn:g} s to do what an LQR does that sees the true state; then weights are frozen, the teacher is gone,
and it has to keep the pole within .5 rad and the cart on its rail for {test:g} s. `eventnet run balance`
is one seed of it; the head of [sims/balance.py](../../sims/balance.py) tells how it is taught.

{largest}

{scores}

Every controller of a seed has the same pole, pushes and noise. "Least squares" is fitted to the teacher's
commands on what the same network saw in the same lesson: each sensor's last reading, the encoders' change
over {delay:g} s, a constant. "Command error" is the root mean square of the network's command less the
teacher's over the last third of the lesson, in units of the motor's 10 N, and "lost" how often pole or
cart were lost in all lessons. A network without a sensor never had it. Settings were chosen on seeds from
101 on.

## Spikes around pushes

![spikes around pushes](../images/balance.png)

Spikes a second of each population around the {pushes} pushes of the trained networks' tests, those of
less and those of more than {strong:.0%} of the largest apart, and the angle that the encoder reads,
positive where it is the push's way.

## What it costs

{cost}

A simulated second, learning included, mean of the seeds. Dense is the same network recomputed at every
reading and trained at every target, in multiply-adds.

## How it was made

{made}
"""


# -- the rows --------------------------------------------------------------------------------------


def row(seed: int, settings: Mapping[str, Any]) -> Row:
    """Run the scenario and return what the page needs of it."""
    given = [f"{key}={value}" for key, value in settings.items()]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        summary = execute(load("balance"), given, seed=seed, out=folder)
        p = summary["parameters"]
        learned = p["without"] == "none" and p["learn"] > 0
        around = spikes_around_pushes(folder, seed, p) if learned else None
    kept = ("parameters", "metrics", "baselines", "simulated_s", "events", "operations", "wall_s")
    return {key: summary[key] for key in kept} | {"around": around}


def spikes_around_pushes(folder: Path, seed: int, p: Mapping[str, Any]) -> Row:
    """Return spikes a second by bins around pushes, weak and strong ones, and the angle likewise."""
    forces = Trial(p["push"], p["test"], [seed, 1]).pushes.forces
    starts = p["learn"] + (PUSH_FIRST + PUSH_EVERY * np.arange(len(forces))) / PHYSICS
    strong = np.abs(forces) > STRONG * p["push"]
    groups = {"weak": np.flatnonzero(~strong), "strong": np.flatnonzero(strong)}
    raster = Raster.open(folder).select(POPULATIONS, start=p["learn"] - 1.0)
    times = {name: raster.select(name).arrays().time for name in POPULATIONS}
    with np.load(folder / "traces.npz") as traces:
        t, angle = traces["encoder/times"], traces["encoder/values"][:, 1] * UNIT["encoder"][1]
    found: Row = {"pushes": {name: len(group) for name, group in groups.items()}}
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    for name, group in groups.items():
        if not len(group):
            continue
        counts = {
            which: np.mean([np.histogram(at - starts[k], EDGES)[0] for k in group], axis=0)
            for which, at in times.items()
        }
        rates = {which: np.round(c / np.diff(EDGES)).tolist() for which, c in counts.items()}
        away = [np.sign(forces[k]) * np.interp(starts[k] + middles, t, angle) for k in group]
        found[name] = rates | {"angle": np.round(np.mean(away, axis=0), 5).tolist()}
    return found


def largest_push(seeds: range) -> Row:
    """Return the largest push, N, that the LQR survives on all seeds if all are of that size."""

    def fails(push: float) -> list[int]:
        trials = {seed: Trial(push, 60.0, [seed, 1], share=1.0) for seed in seeds}
        return [s for s, t in trials.items() if t.run(lambda _, t=t: t.body.teacher()) < t.seconds]

    push = 1.0
    while not fails(push + 0.1):
        push += 0.1
    while not fails(push + 0.01):
        push += 0.01
    return {"push": round(push, 2), "more": round(push + 0.01, 2), "failed": fails(push + 0.01)}


def make(quick: bool, folder: Path) -> dict[str, Row]:
    """Return all rows by "VARIANT/SEED"; those that the folder holds are not run again."""
    seeds = range(1) if quick else SEEDS
    short = dict(setting.split("=") for setting in QUICK) if quick else {}
    wanted: dict[str, tuple[Mapping[str, Any], Callable[[], Row]]] = {
        "largest-push/all": ({"seeds": len(seeds)}, lambda: largest_push(seeds))
    }
    by_seed = [(variant, seed) for seed in seeds for variant in VARIANTS]
    for variant, seed in sorted(by_seed, key=lambda pair: pair[0].startswith("without")):
        settings = VARIANTS[variant]
        own = short | settings
        wanted[f"{variant}/{seed}"] = (
            load("balance").defaults() | own,
            lambda seed=seed, own=own: row(seed, own),
        )
    return {name: kept(name, *what, quick, folder) for name, what in wanted.items()}


def found(folder: Path) -> dict[str, Row]:
    """Return all rows that the folder holds."""
    rows = {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")
    }
    return {f"{variant}/{seed}": row for variant in rows for seed, row in rows[variant].items()}


def kept(
    name: str, settings: Mapping[str, Any], maker: Callable[[], Row], quick: bool, folder: Path
) -> Row:
    """Return a row from its variant's file, or make it and keep it there."""
    variant, _, seed = name.partition("/")
    path = folder / f"{variant}.json"
    plain = json.loads(json.dumps(settings))
    rows = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if seed in rows and rows[seed]["settings"] == plain:
        return rows[seed]
    if not quick and (changes := uncommitted(*SOURCES)):
        raise SystemExit(f"{name}: would record a commit that is not what ran; commit {changes}")
    start = time.perf_counter()
    made = maker() | {"settings": plain}
    wall_s = time.perf_counter() - start
    noted = record(name, int(seed) if seed.isdigit() else None, quick=quick, wall_s=wall_s)
    noted["command"] = COMMAND + (" --quick" if quick else "")
    noted["versions"] |= {package: version(package) for package in ("mujoco", "scipy")}
    rows[seed] = made | {"record": noted}
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside:
        aside.write_text(json.dumps(rows) + "\n", encoding="utf-8")
    print(f"{name}: {wall_s:.0f} s, {made.get('metrics', made.get('push'))}", flush=True)
    return json.loads(json.dumps(rows[seed]))


# -- the page --------------------------------------------------------------------------------------


def of(done: Mapping[str, Row], variant: str) -> list[Row]:
    """Return a variant's rows, one a seed."""
    return [row for name, row in done.items() if name.startswith(f"{variant}/")]


def scores(done: Mapping[str, Row]) -> str:
    heads = ("", "kept up", "shortest s", "angle rad", "position m", "command error", "lost")
    trained = of(done, "trained")
    lines = [
        line("the network", trained, [r["metrics"] for r in trained]),
        line("LQR, true state", trained, [r["baselines"]["LQR, true state"] for r in trained]),
    ]
    least = "least squares, same inputs"
    lines.append(line("least squares", trained, [r["baselines"][least] for r in trained]))
    for name in SENSORS:
        if not (rows := of(done, f"without-{name}")):
            continue
        lines.append(line(f"the network without {name}", rows, [r["metrics"] for r in rows]))
        fits = [r["baselines"][least] for r in rows]
        lines.append(line(f"least squares without {name}", rows, fits))
    rows = of(done, "untrained")
    lines.append(line("the network untrained", rows, [r["metrics"] for r in rows]))
    return table(heads, lines) + (
        "\n\nKept up: seeds of all in which it was, to the end (untrained: of "
        f"{rows[0]['parameters']['test']:g} s). Angle and position: the largest of\n"
        "all seeds in the test; a pole is lost at .5 rad, a cart at 1.8 m."
    )


def line(name: str, rows: list[Row], figures: list[Mapping[str, float]]) -> tuple[str, ...]:
    lasted = [f["kept up s"] for f in figures]
    up = sum(s >= r["parameters"]["test"] for s, r in zip(lasted, rows, strict=True))
    taught = [f for f in figures if "command error" in f]
    return (
        name,
        f"{up} of {len(rows)}",
        f"{min(lasted):.1f}",
        f"{max(f['largest angle rad'] for f in figures):.2f}",
        f"{max(f['largest position m'] for f in figures):.2f}",
        f"{np.mean([f['command error'] for f in taught]):.3f}" if taught else "",
        f"{sum(f['lost while learning'] for f in taught)}" if taught else "",
    )


def cost(done: Mapping[str, Row]) -> str:
    rows = of(done, "trained")

    def mean(key: str) -> float:
        return float(np.mean([r["operations"][key]["all"] / r["simulated_s"] for r in rows]))

    spikes = np.mean([sum(r["events"].values()) / r["simulated_s"] for r in rows])
    wall = np.mean([r["wall_s"] / r["simulated_s"] for r in rows])
    heads = ("spikes", "additions", "multiply-adds", "dense, skipping zeros", "dense", "wall s")
    keys = ("additions", "multiply_adds", "zero_skipping", "dense")
    return table(
        heads,
        [(f"{spikes:,.0f}", *(f"{mean(key) / 1e6:.2f} M" for key in keys), f"{wall:.2f}")],
    )


def figure(done: Mapping[str, Row], path: Path) -> None:
    """Draw spikes a second around pushes."""
    rows = [r["around"] for r in of(done, "trained")]
    middles = (EDGES[1:] + EDGES[:-1]) / 2
    names = ("angle", *POPULATIONS)
    with drawing(9, 6.5) as canvas:
        axes = canvas.subplots(4, 2, sharex=True).ravel()
        for ax, name in zip(axes, names, strict=False):
            for group, color in (("weak", PALETTE["sky"]), ("strong", PALETTE["blue"])):
                shown = [r for r in rows if r["pushes"][group]]
                if not shown:  # of a quick run
                    continue
                weights = [r["pushes"][group] for r in shown]
                mean = np.average([r[group][name] for r in shown], axis=0, weights=weights)
                ax.plot(middles, mean, color=color, lw=1.2, label=f"{group} pushes")
            ax.axvspan(0.0, 0.1, color="0.88", lw=0)
            ax.set_title("angle, rad" if name == "angle" else f"{name}, spikes/s", fontsize=9)
            if name != "angle":
                ax.set_ylim(bottom=0)
        axes[0].legend(loc="lower right")
        for ax in axes[len(names) :]:
            ax.set_visible(False)
        for ax in axes[-3:]:
            ax.xaxis.set_tick_params(labelbottom=True)
            ax.set_xlabel("s since the push began")
    save(canvas, path)


def made(done: Mapping[str, Row]) -> str:
    records = [row["record"] for row in done.values()]
    commits = ", ".join(sorted({str(r["commit"])[:10] for r in records}))
    versions = ", ".join(f"{name} {v}" for name, v in records[0]["versions"].items())
    wall = sum(r["wall_s"] for r in records)
    machine = records[0]["machine"]
    return (
        f"At commit {commits}: {wall / 60:.0f} min in all on {machine['processor']}, "
        f"{machine['cores']} cores\nshared with other work, one process, so that times are upper bounds; "
        f"{versions}."
    )


def page(done: Mapping[str, Row], quick: bool) -> str:
    p = done["trained/0"]["parameters"]
    largest = done["largest-push/all"]
    pushes = sum(sum(r["around"]["pushes"].values()) for r in of(done, "trained"))
    return PAGE.format(
        command=COMMAND + (" --quick" if quick else ""),
        last=len(of(done, "trained")) - 1,
        largest=(
            f"The largest push that the LQR survives in all seeds, all pushes of a test being of that "
            f"size, is {largest['push']:g} N;\nwith {largest['more']:g} N it fails in "
            f"{len(largest['failed'])} of them."
        ),
        scores=scores(done),
        pushes=pushes,
        strong=STRONG,
        cost=cost(done),
        made=made(done),
        **{key: p[key] for key in ("push", "hidden", "activation", "learn", "test", "delay")},
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short seed; keeps nothing")
    parser.add_argument("--page", action="store_true", help="only draw the page again")
    given = parser.parse_args()
    quick = given.quick
    with tempfile.TemporaryDirectory() as temporary:
        done = found(KEPT) if given.page else make(quick, Path(temporary) if quick else KEPT)
        images = Path(temporary) if quick else DOCS / "images"
        figure(done, images / "balance.png")
        text = page(done, quick)
        if not quick:
            (DOCS / "results" / "balance.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

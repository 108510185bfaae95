"""Write docs/results/asynchronous.md: MNIST in continuous time, against how long an image is held.

A row that is done is kept in docs/results/asynchronous, with its commit; it is not run again unless its
settings change or its file is removed. Rows are made from a clean checkout only.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from eventnet.classifier import CLOCK, PRESETS, Settings
from eventnet.data import fetch, mnist
from eventnet.plot import PALETTE, save
from eventnet.raster import written_aside
from eventnet.reproduce.drawing import drawing
from eventnet.reproduce.record import record, uncommitted
from eventnet.scenario import execute, load
from eventnet.simulation import Run, Simulation
from eventnet.trial import Trial

Row = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
SOURCES = "eventnet", "sims", "datasets", "benchmarks/mnist_async.py"
"""What makes a row: it is kept only if these are committed."""
COMMAND = "python benchmarks/mnist_async.py"
SEED = 0
HOLDS = (0.25, 0.5, 1.0, 2.0, 4.0)  # tau
LR_TAU = 0.04  # per second, at an image of one tau
SAMPLES = 10_000
QUICK = 300  # images
SCHEDULE = (1.0, 0.25, 0.05)  # times the learning rate, by thirds of the one pass
# One pass has no time for two stages: the pixels' step is the preset's second. The learning rate a tick
# was chosen on the validation samples.
CLOCKED_ONCE = {"lr": 0.04, "lr_end": 0.04, "step": 0.3, "step_later": None}
CLOCKED_FINAL = {"lr": 0.02, "lr_end": 0.002}

PAGE = """# MNIST in continuous time

Made by `{command}`, seed {seed}. 784-200-10, softmax, no biases,
tau = 1 s. Each image is held for T; spikes, errors and updates come when they come, without any clock.
The score is the spiking readout's at the end of each image, on a frozen copy that is shown one image
after another.

## Against the hold

One pass over {samples:,} training images, scored on {scored:,} others of the training file, on which
settings were chosen. Costs are those of an image, learning included.

{sweep}

![accuracy and cost against the hold](../images/asynchronous.png)

Steps, cap and learning rate were chosen at T = tau. The standard error of a score is a quarter of a
point, and there is one seed: with lr*T fixed, holds from half a time constant on are within half a
point of each other. At a quarter the accuracy is lower with either learning rate, and at the higher one
the guard begins to hold the first layer back. The cost grows with T, almost in proportion from one tau
on, since a held image and its error go on being told. Images that come complete and one at a time are
the clocked network's case: it needs fewer operations and far less time, in the table of the test images
for a higher score. All spiking
networks do more operations than a dense one that skips zeros; only are additions cheaper than
multiply-adds.

Rows with lr = {lr_tau}*tau/T a second, and, marked "lr fixed", with {lr_tau} a second whatever T is.
The rule integrates input times error over the hold, so lr*T is what an image may move the weights by:
with lr fixed a longer hold is more learning as well, and no fair comparison of holds.

"Guard held back" is the share of updates of image -> hidden and of hidden -> digit whose rate the guard
lowered (cap = {cap:g}; [theory](../theory.md), section 8). "Clocked" is `eventnet.classifier`,
preset "eventnet" with its fine step of .3 from the first image on, one tick an image, over as many
images with the same schedule; its learning rate is the best of .02, .04 and .08 a tick. Additions are
one row or column a quantum; multiply-adds what the program does, one a spike; the dense networks are
recomputed and trained once an image.

## The test images

Passes: {passes}, over {final_samples:,} images, T = {hold:g} tau. The 10,000 test images were scored
once, after the last pass, with settings chosen on the training samples 50,000 to 59,999. The clocked
network's learning rate falls from .02 to .002 a tick, the best of four such pairs on the same samples;
the perceptron has the clocked network's weights, order and rates. Costs are means over all passes,
learning included, but for the second row. One seed.

{final}

## How it was made

{made}
"""


def asynchronous(settings: Mapping[str, Any]) -> Row:
    """Run the scenario and return what the page needs of its summary."""
    given = [
        f"{k}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for k, v in settings.items()
    ]
    with tempfile.TemporaryDirectory() as folder:
        summary = execute(load("mnist_async"), given, seed=SEED, out=Path(folder) / "run")
    kept = ("parameters", "metrics", "baselines", "events", "quanta", "guarded", "wall_s")
    return {k: summary[k] for k in kept}


def clocked(settings: Mapping[str, Any]) -> Row:
    """Train the clocked classifier, and the perceptron beside it."""
    data = mnist.load(fetch("mnist", progress=True))
    own = {k: v for k, v in settings.items() if k != "schedule"}
    trial = Trial(Settings(**own), data, SEED)

    def scheduled(sim: Simulation, until: float) -> Run:
        """Run an epoch with the learning rate falling in equal parts."""
        parts = settings["schedule"]
        for k, factor in enumerate(parts[1:], start=1):
            # Half a tick before one, so that no rounding decides whether it comes first.
            sim.scale_lr(factor, at=(k * trial.settings.samples // len(parts) - 0.5) * CLOCK)
        return sim.run(until=until)

    row = trial.run(runner=scheduled if "schedule" in settings else None)
    return {"parameters": row.pop("settings"), **row}


def rows(quick: bool) -> dict[str, tuple[Callable[[Mapping[str, Any]], Row], dict[str, Any]]]:
    """Return by its name what makes a row and with which settings."""
    samples, scored = (QUICK, QUICK) if quick else (SAMPLES, 10_000)
    known, preset = load("mnist_async").defaults(), asdict(PRESETS["eventnet"])
    final = dict(known)  # the scenario as it is
    if quick:
        final |= {"samples": samples, "scored": scored, "passes": 1}
    like = {"samples": final["samples"], "epochs": final["passes"]}
    found: dict[str, Any] = {
        "test": (asynchronous, final),
        "clocked-test": (clocked, preset | like | CLOCKED_FINAL),
    }
    once = {"samples": samples, "schedule": SCHEDULE}
    for hold in HOLDS[:3] if quick else HOLDS:
        held = known | once | {"passes": 1, "hold": hold, "scored": scored, "score": "validation"}
        found[f"held-{hold:g}"] = asynchronous, held | {"lr": LR_TAU / hold}
        if hold != 1:
            found[f"held-{hold:g}-same-lr"] = asynchronous, held | {"lr": LR_TAU}
    found["clocked"] = clocked, preset | once | CLOCKED_ONCE | {"epochs": 1}
    return found


def make(quick: bool, folder: Path) -> dict[str, Row]:
    """Return all rows; those that the folder holds are not run again."""
    done: dict[str, Row] = {}
    for name, (maker, settings) in rows(quick).items():
        path = folder / f"{name}.json"
        plain = json.loads(json.dumps(settings))
        if path.is_file():
            row = json.loads(path.read_text(encoding="utf-8"))
            if row["settings"] == plain:
                done[name] = row
                continue
        if not quick and (changes := uncommitted(*SOURCES)):
            raise SystemExit(
                f"{name}: would record a commit that is not what ran; commit {changes}"
            )
        start = time.perf_counter()
        row = maker(settings) | {"settings": plain}
        command = COMMAND + (" --quick" if quick else "")
        wall_s = time.perf_counter() - start
        row["record"] = record(name, SEED, quick=quick, wall_s=wall_s) | {"command": command}
        folder.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            aside.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        print(f"{name}: {wall_s:.0f} s", flush=True)
        done[name] = row
    return done


# -- the page --------------------------------------------------------------------------------------


def table(heads: tuple[str, ...], lines: list[tuple[str, ...]]) -> str:
    cells = [heads, ("---",) * len(heads), *lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def thousands(operations: float) -> str:
    return f"{operations / 1e3:,.0f}"


def sweep(done: Mapping[str, Row]) -> str:
    heads = (
        "T/tau",
        "lr",
        "spiking %",
        "unquantized %",
        "events",
        "additions, k",
        "multiply-adds, k",
        "dense skipping zeros, k",
        "dense, k",
        "guard held back",
        "ms",
    )
    lines = []
    for name, row in done.items():
        if not name.startswith("held-"):
            continue
        p, m = row["parameters"], row["metrics"]
        skipping = row["baselines"]["the same, skipping zeros"]["multiply-adds a sample"]
        dense = row["baselines"]["recomputed and trained at each image"]["multiply-adds a sample"]
        lines.append(
            (
                f"{p['hold']:g}",
                f"{p['lr']:g}" + (", lr fixed" if name.endswith("same-lr") else ""),
                f"{m['validation %']:.2f}",
                f"{row['baselines']['the same weights unquantized']['validation %']:.2f}",
                f"{m['events a sample']:,.0f}",
                thousands(m["additions a sample"]),
                thousands(m["multiply-adds a sample"]),
                thousands(skipping),
                thousands(dense),
                ", ".join(f"{share:.2f}" for share in row["guarded"].values()),
                f"{m['wall ms a sample']:.2f}",
            )
        )
    row = done["clocked"]
    last = row["curve"][-1]
    n = row["parameters"]["samples"]
    lines.append(
        (
            "clocked",
            f"{last['lr']:g} a tick",
            f"{last['validation']:.2f}",
            f"{last['validation_unquantized']:.2f}",
            f"{last['events']:,.0f}",
            thousands(last["additions"]),
            thousands(last["multiply_adds"]),
            thousands(last["zero_skipping"]),
            thousands(last["dense"]),
            "no guard",
            f"{1e3 * last['wall_s'] / n:.2f}",
        )
    )
    return table(heads, lines)


def final(done: Mapping[str, Row]) -> str:
    heads = (
        "",
        "test %",
        "unquantized %",
        "events",
        "additions, k",
        "multiply-adds, k",
        "uJ",
        "ms",
    )
    row, other = done["test"], done["clocked-test"]
    m, curve, n = row["metrics"], other["curve"], other["parameters"]["samples"]
    shown = len(curve)

    def mean(key: str) -> float:
        return float(sum(epoch[key] for epoch in curve) / shown)

    skipping = row["baselines"]["the same, skipping zeros"]
    return table(
        heads,
        [
            (
                "continuous time",
                f"**{m['test %']:.2f}**",
                f"{row['baselines']['the same weights unquantized']['test %']:.2f}",
                f"{m['events a sample']:,.0f}",
                thousands(m["additions a sample"]),
                thousands(m["multiply-adds a sample"]),
                f"{m['energy a sample, uJ']:.3f}",
                f"{m['wall ms a sample']:.2f}",
            ),
            (
                "the same, scoring only",
                "",
                "",
                f"{m['events a sample, scoring']:,.0f}",
                thousands(m["additions a sample, scoring"]),
                "",
                "",
                "",
            ),
            (
                f"clocked, {shown} epochs",
                f"{other['test']['spiking']:.2f}",
                f"{other['test']['unquantized']:.2f}",
                f"{mean('events'):,.0f}",
                thousands(mean("additions")),
                thousands(mean("multiply_adds")),
                f"{mean('energy_uj'):.3f}",
                f"{1e3 * mean('wall_s') / n:.2f}",
            ),
            (
                f"perceptron, {shown} epochs, skipping zeros",
                f"{other['test']['mlp']:.2f}",
                "",
                "",
                "",
                thousands(other["mlp"]["zero_skipping"]),
                f"{other['mlp']['zero_skipping_uj']:.3f}",
                "",
            ),
            (
                "dense at each image, skipping zeros, of the first row's signals",
                "",
                "",
                "",
                "",
                thousands(skipping["multiply-adds a sample"]),
                f"{skipping['energy a sample, uJ']:.3f}",
                "",
            ),
        ],
    )


def figure(done: Mapping[str, Row], path: Path) -> None:
    """Draw accuracy and cost against the hold."""
    last = done["clocked"]["curve"][-1]
    holds = [h for h in HOLDS if f"held-{h:g}" in done]
    with drawing(9, 3.6) as canvas:
        left, right = canvas.subplots(1, 2)
        for ending, label, color in (
            ("", "lr*T fixed", PALETTE["blue"]),
            ("-same-lr", "lr fixed", PALETTE["orange"]),
        ):
            # At one tau both are the same run.
            line = [done.get(f"held-{h:g}{ending}", done["held-1"]) for h in holds]
            left.plot(
                holds,
                [r["metrics"]["validation %"] for r in line],
                "o-",
                ms=4,
                color=color,
                label=label,
            )
            for key, style in (("additions", "o-"), ("multiply-adds", "s--")):
                cost = [r["metrics"][f"{key} a sample"] / 1e3 for r in line]
                right.plot(holds, cost, style, ms=4, color=color, label=f"{key}, {label}")
        left.axhline(last["validation"], color="0.4", lw=1, ls=":", label="clocked")
        right.axhline(
            last["additions"] / 1e3, color="0.4", lw=1, ls=":", label="additions, clocked"
        )
        right.axhline(
            last["zero_skipping"] / 1e3,
            color=PALETTE["vermillion"],
            lw=1,
            label="dense skipping zeros",
        )
        for ax in (left, right):
            ax.set_xscale("log", base=2)
            ax.set_xticks(holds, [f"{h:g}" for h in holds])
            ax.set_xlabel("hold T / tau")
        left.set_ylabel("spiking readout, validation %")
        left.legend(loc="lower right")
        right.set_yscale("log", base=2)
        right.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        right.set_ylabel("thousand operations an image")
        right.legend(loc="upper left", fontsize=7)
    save(canvas, path)


def made(done: Mapping[str, Row]) -> str:
    first = next(iter(done.values()))["record"]
    by = {}
    for name, row in done.items():
        by.setdefault(str(row["record"]["commit"])[:10], []).append(name)
    commits = "; ".join(f"{commit}: {', '.join(names)}" for commit, names in by.items())
    wall = sum(row["record"]["wall_s"] for row in done.values())
    versions = ", ".join(f"{name} {version}" for name, version in first["versions"].items())
    machine = first["machine"]
    return (
        f"Rows by commit: {commits}. {wall / 60:.0f} min in all, on {machine['processor']}, "
        f"{machine['cores']} cores shared with other work, one process, so that times are upper "
        f"bounds; {versions}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images; prints, keeps nothing")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as temporary:
        done = make(quick, Path(temporary) if quick else DOCS / "results" / "asynchronous")
        test = done["test"]["parameters"]
        text = PAGE.format(
            command=COMMAND + (" --quick" if quick else ""),
            seed=SEED,
            samples=QUICK if quick else SAMPLES,
            scored=QUICK if quick else 10_000,
            lr_tau=LR_TAU,
            cap=test["cap"],
            passes=test["passes"],
            final_samples=test["samples"],
            hold=test["hold"],
            sweep=sweep(done),
            final=final(done),
            made=made(done),
        )
        images = Path(temporary) if quick else DOCS / "images"
        figure(done, images / "asynchronous.png")
        if not quick:
            (DOCS / "results" / "asynchronous.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()

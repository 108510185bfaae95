"""Settings of the drifting digits, scored on training samples that none of them learns.

``python -m benchmarks.streams_settings step=0.4,0.45`` prints a line a setting: for each rate of frames
the share of 10,000 validation digits that is right, less that of the dense step, and the events a frame
learned, means over ``--seeds``, each with other digits. ``dense=0.1,0.2`` does so for learning rates of
the dense step. Seconds a figure on the camera's clock, minutes in continuous time.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from typing import Any

import numpy as np

from benchmarks.streams import (
    DENSE_LR,
    LR_SCALES,
    PART,
    PARTS,
    SETTING,
    TEST,
    TICKS,
    Dense,
    Floats,
    Learner,
    Setting,
    Spiking,
    stream,
)
from eventnet.bench.task import Task
from eventnet.data import fetch, mnist
from eventnet.trial import VALIDATION

DENSE = "dense"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.streams_settings", description=__doc__
    )
    parser.add_argument(
        "values",
        nargs="*",
        metavar="NAME=A,B,...",
        help=f"of {', '.join(Setting._fields)}, {DENSE}",
    )
    parser.add_argument(
        "--ticks",
        type=int,
        action="append",
        metavar="N",
        help="frames a digit, again for more; all",
    )
    parser.add_argument("--asynchronous", action="store_true", help="in continuous time")
    parser.add_argument("--seeds", type=int, default=1, help="means over so many; 1")
    given = parser.parse_args()
    grid = dict(_axis(text, parser) for text in given.values)
    data = mnist.load(fetch("mnist", progress=True))
    tasks = {
        n: [validation(data, n, seed) for seed in range(given.seeds)] for n in given.ticks or TICKS
    }

    def dense(n: int, lr: float) -> Floats:
        return np.array([score(Dense(task, n, lr)) for task in tasks[n]])

    if DENSE in grid:
        for lr in grid[DENSE]:
            say(f"{DENSE} lr={lr:g}", [f"{dense(n, lr).mean():.2f}" for n in tasks])
        return
    level = {n: dense(n, DENSE_LR[n]) for n in tasks}
    say(DENSE, [f"{level[n].mean():.2f}" for n in tasks])
    for values in itertools.product(*grid.values()):
        setting = SETTING._replace(**dict(zip(grid, values, strict=True)))
        found = []
        for n in tasks:
            learners = [Spiking(task, n, not given.asynchronous, setting) for task in tasks[n]]
            ahead = np.array([score(learner) for learner in learners]) - level[n]
            events = np.mean([s.sim.cost.events / (PARTS * PART * n) for s in learners])
            found.append(f"{ahead.mean():+.2f} ({events:.1f})")
        say(" ".join(f"{k}={v:g}" for k, v in zip(grid, values, strict=True)) or "as it is", found)


def _axis(text: str, parser: argparse.ArgumentParser) -> tuple[str, list[float]]:
    name, _, values = text.partition("=")
    if name not in (*Setting._fields, DENSE):
        parser.error(f"{name}: no such value; choose from {', '.join(Setting._fields)}, {DENSE}")
    try:
        return name, [float(v) for v in values.split(",")]
    except ValueError:
        parser.error(f"{text}: {name}= must be followed by numbers with commas between them")


def validation(data: mnist.Mnist, ticks: int, seed: int) -> Task:
    """Return the benchmark's task, with validation samples instead of test samples."""
    images, labels = data.train_images[VALIDATION], data.train_labels[VALIDATION]
    task: dict[str, Any] = stream(data, ticks, PART, TEST, seed)
    return task | {"test_images": images, "test_labels": np.asarray(labels)}


def score(learner: Learner) -> float:
    """Return the share of validation digits that is right after learning, %."""
    learner.prepare()
    for part in range(PARTS):
        learner.learn(part, LR_SCALES[part * len(LR_SCALES) // PARTS])
    return float(learner.finish()["test %"])


def say(name: str, figures: list[str]) -> None:
    """Print a line."""
    print(f"{name:40}", *(f"{f:>15}" for f in figures), file=sys.stdout, flush=True)


if __name__ == "__main__":
    main()

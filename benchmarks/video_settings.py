"""``python -m benchmarks.video_settings``: choose the video's settings where none is scored later.

On the last fifth of what is learned, after learning the rest. Learning rates of the dense step are
tried at each rate of frames. Settings of the network on events are drawn at random; one is as good as,
on the camera's clock, at the rate of frames at which its R2 is farthest behind that of the dense step.
A line for each that is better than all before, and the last one in continuous time; a few minutes.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
from rich.console import Console
from rich.progress import track

from benchmarks.streams import Setting
from benchmarks.video import (
    CAMERA,
    EVERY,
    HEIGHT,
    PASSES,
    WIDTH,
    Compiled,
    Learner,
    Spiking,
    watched,
)
from eventnet.bench.task import Task
from eventnet.data import fetch
from eventnet.errors import EventNetError
from eventnet.video import load

DENSE_LRS = (0.003, 0.006, 0.012, 0.024)
LEAST = Setting(0.01, 0.5, 0.2, 0.2, 0.1, 0.03, 0.01)
MOST = Setting(0.5, 5.0, 2.0, 1.0, 0.6, 0.3, 0.1)
"""Settings are drawn evenly between the logarithms of these."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.video_settings", description=__doc__
    )
    parser.add_argument("--trials", type=int, default=200, help="settings that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    video, out = load(fetch("vtest", progress=True) / "vtest.avi", WIDTH, HEIGHT), Console()
    # The fewest frames first: what fails there need not be tried with more.
    tasks = {every: watched(video, every, PASSES, choosing=True) for every in EVERY[::-1]}

    dense = {}
    for every, task in tasks.items():
        scores = {lr: score(Compiled(task, lr)) for lr in DENSE_LRS}
        dense[every] = max(scores.values())
        rates = ", ".join(f"{lr:g}: {r2:.3f}" for lr, r2 in scores.items())
        out.print(f"{frames(every)}, R2 of the dense step by lr {rates}", soft_wrap=True)

    random, best, behind = np.random.default_rng(given.seed), Setting(), -math.inf
    for _ in track(range(given.trials), "drawing", console=out):
        drawn = np.exp(random.uniform(np.log(LEAST), np.log(MOST)))
        setting = Setting(*(float(f"{value:.2g}") for value in drawn))
        if ahead := compared(setting, tasks, dense, behind):
            best, behind = setting, min(ahead.values())
            out.print(f"{setting}, ahead of dense at {told(ahead)}", soft_wrap=True)
    ahead = {e: score(Spiking(task, False, best)) - dense[e] for e, task in tasks.items()}
    out.print(f"in continuous time at {told(ahead)}", soft_wrap=True)


def frames(every: int) -> str:
    """Return the rate of frames."""
    return f"{CAMERA / every:g}/s"


def told(ahead: dict[int, float]) -> str:
    """Return differences of R2 by rate of frames."""
    return ", ".join(f"{frames(every)}: {value:+.3f}" for every, value in ahead.items())


def compared(
    setting: Setting, tasks: dict[int, Task], dense: dict[int, float], behind: float
) -> dict[int, float]:
    """Return by how much R2 is ahead of the dense step's, or nothing if one is less than `behind`."""
    ahead = {}
    for every, task in tasks.items():
        ahead[every] = score(Spiking(task, True, setting)) - dense[every]
        if not ahead[every] > behind:
            return {}
    return ahead


def score(learner: Learner) -> float:
    """Return R2 after all passes, minus infinity if it diverges."""
    learner.prepare()
    try:
        for number in range(learner.passes):
            learner.learn_pass(number)
    except EventNetError:
        return -math.inf
    return float(learner.finish()["r2"])


if __name__ == "__main__":
    main()

"""``python -m benchmarks.top_layers_settings``: choose the top layers' settings where none is scored.

On the last fifth of what is learned, after learning the rest, at 10 frames a second only. Settings of the
layers on events are drawn at random; of those whose R2, the mean of two seeds, is within 0.01 of the best
the one with the fewest additions a frame is told. Then learning rates of the dense layers are tried on
the same inputs. Some minutes.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.progress import track

from eventnet.data import fetch
from eventnet.errors import EventNetError
from eventnet.top_layers import Dense, Settings, Spiking, additions, watch

LIMITS = {
    "smoothing": (0.05, 0.5),
    "tau": (0.3, 3.0),
    "error_tau": (0.1, 1.5),
    "step": (0.1, 0.5),
    "hidden_step": (0.05, 0.3),
    "error_step": (0.1, 0.6),
    "hidden_error_step": (0.03, 0.2),
    "lr": (0.01, 0.1),
    "init": (0.4, 0.8),
}
"""Settings are drawn evenly between the logarithms of these."""

DENSE_LRS = (0.005, 0.01, 0.02, 0.04)
NEAR = 0.01
SEEDS = (0, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.top_layers_settings", description=__doc__
    )
    parser.add_argument("--trials", type=int, default=120, help="settings that are drawn")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    video, out = fetch("vtest", progress=True) / "vtest.avi", Console()
    random, found = np.random.default_rng(given.seed), list[tuple[float, float, Settings]]()
    least, most = np.log(np.array(list(LIMITS.values())).T)
    for _ in track(range(given.trials), "drawing", console=out):
        drawn = np.exp(random.uniform(least, most))
        values = {name: float(f"{value:.2g}") for name, value in zip(LIMITS, drawn, strict=True)}
        settings = replace(Settings(), **values)
        task = watch(video, smoothing=settings.smoothing, choosing=True)
        layers = [Spiking(task, settings, seed) for seed in SEEDS]
        r2 = float(np.mean([score(one) for one in layers]))
        found.append((r2, float(np.mean([cost(one) for one in layers])), settings))
    best = max(r2 for r2, _, _ in found)
    near = [one for one in found if one[0] >= best - NEAR]
    r2, spent, settings = min(near, key=lambda one: one[1])
    out.print(f"best R2 {best:.3f}; {len(near)} within {NEAR} of it, the cheapest:", soft_wrap=True)
    out.print(f"{settings}: R2 {r2:.3f}, {spent:,.0f} additions a frame", soft_wrap=True)
    task = watch(video, smoothing=settings.smoothing, choosing=True)
    for lr in DENSE_LRS:
        scores = [score(Dense(task, replace(settings, dense_lr=lr), seed)) for seed in SEEDS]
        out.print(f"dense_lr={lr:g}: R2 {np.mean(scores):.3f}")


def score(layers: Spiking | Dense) -> float:
    """Return R2 after all passes, minus infinity if it diverges."""
    try:
        for _ in range(layers.settings.passes):
            layers.learn()
    except EventNetError:
        return -math.inf
    return layers.task.r2(layers.read()[0])


def cost(layers: Spiking) -> float:
    """Return additions a frame learned."""
    return additions(layers.sim.cost, layers.settings.passes * layers.task.frames)


if __name__ == "__main__":
    main()

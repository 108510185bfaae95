"""Figure 7: R2 against iterations, additions and energy, of a video's top layers while they learn.

The video and its features are substitutes for the paper's, which cannot be had: see
`eventnet.top_layers`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from eventnet.cost import INT_ADD_PJ, INT_MULTIPLY_PJ
from eventnet.data import fetch
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import drawing
from eventnet.top_layers import (
    Dense,
    Settings,
    Spiking,
    Watched,
    best_ridge,
    least_squares,
    persistence,
    watch,
)

SEEDS = (0, 1, 2)
QUICK_PASSES = 6
SCORED_AFTER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
"""Passes; and after the last one."""

MAC_PJ = INT_ADD_PJ + INT_MULTIPLY_PJ


@dataclass(frozen=True)
class Point:
    """After so many frames: R2, and what all frames have cost to learn, in additions or multiply-adds."""

    frames: int
    spiking: float
    dense: float
    additions: int
    multiply_adds: int
    zero_skipping: int


def run(quick: bool) -> Result:
    """Learn with three seeds; with one, and few passes, if quick."""
    video = fetch("vtest", progress=True) / "vtest.avi"
    settings = replace(Settings(), passes=QUICK_PASSES) if quick else Settings()
    task = watch(video, smoothing=settings.smoothing, progress=True)
    curves = [curve(task, settings, seed) for seed in SEEDS[: 1 if quick else None]]
    plain = watch(video)
    straight = plain.r2(least_squares(plain, best_ridge(watch(video, choosing=True))))
    told = {"frames a second": round(task.rate, 2), "seeds": list(SEEDS[: len(curves)])}
    figure = _figure(curves, straight)
    return Result("Figure 7", 0, asdict(settings) | told, _numbers(curves, straight, task), figure)


def curve(task: Watched, settings: Settings, seed: int) -> list[Point]:
    """Return a learning curve."""
    spiking, dense, found = Spiking(task, settings, seed), Dense(task, settings, seed), []
    for done in range(1, settings.passes + 1):
        spiking.learn()
        dense.learn()
        if done in SCORED_AFTER or done == settings.passes:
            trained = dense.mlp.trained
            found.append(
                Point(
                    done * task.frames,
                    task.r2(spiking.read()[0]),
                    task.r2(dense.read()[0]),
                    spiking.sim.cost.total("additions"),
                    int(trained.dense.sum()),
                    int(trained.zero_skipping.sum()),
                )
            )
    return found


def _numbers(curves: list[list[Point]], straight: float, task: Watched) -> tuple[Number, ...]:
    last = [curve[-1] for curve in curves]

    def mean(what: str, name: str, factor: float = 1.0, note: str = "") -> Number:
        return Number(what, factor * float(np.mean([getattr(p, name) for p in last])), note=note)

    def score(what: str, name: str) -> Number:
        seeds = ", ".join(f"{getattr(p, name):.3f}" for p in last)
        return mean(f"{what}: R2", name, note=f"seeds: {seeds}")

    substitute = "EfficientNet-Lite0 and OpenCV's vtest stand for VGG19 and YouTube-BB"
    return (
        Number("frames learned", last[0].frames, note=substitute),
        score("spiking", "spiking"),
        score("dense", "dense"),
        Number(
            "least squares: R2",
            straight,
            note="features not smoothed; ridge chosen where settings are",
        ),
        Number(
            "persistence: R2",
            persistence(task),
            note="told the truth of the frame before, which the others are not",
        ),
        mean("spiking: additions, G", "additions", 1e-9),
        mean("dense: multiply-adds, G", "multiply_adds", 1e-9),
        mean("dense: multiply-adds, skipping zeros, G", "zero_skipping", 1e-9),
        mean("spiking: energy of the additions, mJ", "additions", 1e-9 * INT_ADD_PJ),
        mean("dense: energy, mJ", "multiply_adds", 1e-9 * MAC_PJ, "3.2 pJ a multiply-add"),
        mean("dense: energy, skipping zeros, mJ", "zero_skipping", 1e-9 * MAC_PJ),
    )


def _figure(curves: list[list[Point]], straight: float) -> Any:
    efforts = {
        "frames learned": ("frames", "frames", 1.0, 1.0),
        "additions, multiply-adds (G)": ("additions", "multiply_adds", 1e-9, 1e-9),
        "energy (mJ)": ("additions", "multiply_adds", 1e-9 * INT_ADD_PJ, 1e-9 * MAC_PJ),
    }
    with drawing(10, 3.4) as figure:
        panels = figure.subplots(1, len(efforts), sharey=True)
        for ax, (label, (own, other, pj, mac)) in zip(panels, efforts.items(), strict=True):
            for k, points in enumerate(curves):
                for who, name, factor, color in (
                    ("spiking", own, pj, PALETTE["vermillion"]),
                    ("dense", other, mac, PALETTE["blue"]),
                ):
                    effort = [factor * getattr(p, name) for p in points]
                    scores = [getattr(p, who) for p in points]
                    ax.plot(effort, scores, color=color, lw=1.2, label=None if k else who)
            ax.axhline(straight, color=PALETTE["black"], lw=0.8, ls=":", label="least squares")
            ax.set(xscale="log", xlabel=label)
        panels[0].set(ylabel="R2 on what was not learned", ylim=(-0.5, 1.0))
        panels[0].legend()
    return figure

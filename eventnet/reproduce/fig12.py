"""Figure 12: how much activations change from frame to frame, against the frame rate, by depth.

Every n-th frame of the video is seen: by the pretrained network, block by block, and by the spiking
top layers that have learned at that rate, without a penalty on how much their hidden layers
change and with one. Its weight is the largest of `SLOWNESS` that costs no more than `NEAR` of R2 where
settings are chosen, at 10 frames a second. The video and the network are substitutes for the paper's,
which cannot be had: see `eventnet.top_layers`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.bench.command import progress
from eventnet.bench.workers import Told
from eventnet.data import fetch
from eventnet.features import BLOCKS, EVERY, changes, relative_change
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import drawing
from eventnet.top_layers import Settings, Spiking, Watched, additions, watch

SEEDS = tuple(range(8))
SLOWNESS = (0.01, 0.02, 0.03, 0.04, 0.05)
NEAR = 0.01
QUICK_PASSES = 6

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What the layers came to at one rate, means over seeds; additions are a frame, of all passes.

    Attributes
    ----------
    changes : dict
        Relative change between frames, by layer.
    r2, learning, reading : float
    """

    changes: dict[str, float]
    r2: float
    learning: float
    reading: float


def run(quick: bool) -> Result:
    """Take the blocks' changes, which are carried; let the top layers learn; little if quick."""
    video = fetch("vtest", progress=True) / "vtest.avi"
    settings = replace(Settings(), passes=QUICK_PASSES) if quick else Settings()
    seeds = SEEDS[: 1 if quick else None]
    by_block = changes(video, progress=True)
    with progress(silent=False) as told:
        slow = slowest(video, settings, seeds, told)
        tasks = [watch(video, every, smoothing=settings.smoothing) for every in EVERY]
        rates = [task.rate for task in tasks]
        free, slowed = (
            [contest(task, replace(settings, slowness=weight), seeds, told) for task in tasks]
            for weight in (0.0, slow)
        )
    blocks = {"pixels": by_block[:, 0]}
    blocks |= {f"block {k}": by_block[:, k] for k in range(1, BLOCKS + 1)}
    numbers = (
        *_changes(rates, blocks),
        *_changes(rates, _by_layer("spiking", free)),
        *_changes(rates, _by_layer("spiking, slow", slowed)),
        *_costs(rates, {"spiking": free, "spiking, slow": slowed}),
    )
    told_of = asdict(settings) | {"slowness": slow, "seeds": list(seeds)}
    figure = _figure(rates, blocks, _by_layer("spiking", free), _by_layer("slow", slowed))
    return Result("Figure 12", SEEDS[0], told_of, numbers, figure)


def slowest(video: Path, settings: Settings, seeds: tuple[int, ...], told: Told) -> float:
    """Return the largest weight of the penalty that costs little where settings are chosen."""
    task = watch(video, smoothing=settings.smoothing, choosing=True)
    tried = {
        weight: contest(task, replace(settings, slowness=weight), seeds, told).r2
        for weight in (0.0, *SLOWNESS)
    }
    return max(weight for weight, r2 in tried.items() if r2 >= tried[0.0] - NEAR)


def contest(task: Watched, settings: Settings, seeds: tuple[int, ...], told: Told) -> Row:
    """Let the layers learn with each seed, and read."""
    found = []
    for seed in seeds:
        told(f"{task.rate:.3g} frames/s, slowness {settings.slowness:g}", seed)
        layers = Spiking(task, settings, seed)
        for _ in range(settings.passes):
            layers.learn()
        outputs, reading = layers.read()
        found.append(
            Row(
                {name: change(signal) for name, signal in layers.layers().items()},
                task.r2(outputs),
                additions(layers.sim.cost, settings.passes * task.frames),
                additions(reading.cost, len(outputs)),
            )
        )
    names = found[0].changes
    return Row(
        {name: float(np.mean([row.changes[name] for row in found])) for name in names},
        *(float(np.mean([getattr(row, name) for row in found])) for name in ("r2", *COSTS)),
    )


COSTS = {
    "learning": "learning: additions a frame",
    "reading": "reading: additions a frame",
}


def change(signal: NDArray[np.floating]) -> float:
    """Return the mean `relative_change` between successive rows.

    Examples
    --------
    >>> change(np.array([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]]))
    0.5
    """
    return float(np.mean([relative_change(b, a) for a, b in pairwise(signal)]))


def _by_layer(what: str, rows: list[Row]) -> dict[str, Floats]:
    """Return the changes of each layer against the rates."""
    names = rows[0].changes
    return {f"{what}: {name}": np.array([row.changes[name] for row in rows]) for name in names}


def _changes(rates: list[float], changes: dict[str, Floats]) -> list[Number]:
    numbers = [
        Number(f"{name}: relative change, {rate:.3g}/s", float(value))
        for name, values in changes.items()
        for rate, value in zip(rates, values, strict=True)
    ]
    for name, values in changes.items():
        ratio = float(values[0] / values[-1])
        numbers.append(Number(f"{name}: {rates[0]:.3g}/s over {rates[-1]:.3g}/s", ratio))
    return numbers


def _costs(rates: list[float], contestants: dict[str, list[Row]]) -> list[Number]:
    return [
        Number(f"{name}, {what}, {rate:.3g}/s", getattr(row, field))
        for field, what in ({"r2": "R2"} | COSTS).items()
        for name, rows in contestants.items()
        for rate, row in zip(rates, rows, strict=True)
    ]


def _figure(
    rates: list[float], blocks: dict[str, Floats], free: dict[str, Floats], slow: dict[str, Floats]
) -> Any:
    import matplotlib

    with drawing(8, 3.6) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        panels[0].set(title="EfficientNet-Lite0", ylabel="relative change between frames", ylim=0)
        panels[1].set(title="spiking top layers")
        drawn = ((panels[0], blocks, "o-"), (panels[1], free, "o-"), (panels[1], slow, "o:"))
        for ax, lines, style in drawn:
            # As in the paper: from red, shallow, to violet, deep.
            colors = matplotlib.colormaps["rainbow_r"](np.linspace(0, 1, len(lines)))
            for (name, values), color in zip(lines.items(), colors, strict=True):
                ax.plot(rates, values, style, ms=3, lw=1, color=color, label=name)
        for ax in panels:
            many = len(ax.lines) > 9
            ax.set(xscale="log", xlabel="frames a second")
            ax.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
            ax.xaxis.set_minor_formatter("")
            ax.legend(fontsize=5 if many else 6, ncols=2 if many else 1)
    return figure

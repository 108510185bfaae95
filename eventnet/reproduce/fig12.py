"""Figure 12: how much activations change from frame to frame, against the frame rate, by depth.

Every n-th frame of the video is seen: by the pretrained network, block by block, and by the spiking
top layers that have learned at that rate: as they are, with a penalty on how much their hidden layers
change, and with a higher threshold of the features' coder beside it. First the penalty's weight is
chosen, then the threshold: the largest of `SLOWNESS` and `THRESHOLDS` that costs no more than
`NEAR` of R2 where settings are chosen, at 10 frames a second. The video and the network are substitutes
for the paper's, which cannot be had: see `eventnet.top_layers`.
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
SLOWNESS = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05)
THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
NEAR = 0.01
VARIANTS = ("spiking", "spiking, slow", "spiking, slow, hysteresis")
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
        variants = dict(zip(VARIANTS, remedies(video, settings, seeds, told), strict=True))
        tasks = [watch(video, every, smoothing=settings.smoothing) for every in EVERY]
        rates = [task.rate for task in tasks]
        found = {
            name: [contest(task, variant, seeds, told) for task in tasks]
            for name, variant in variants.items()
        }
    blocks = {"pixels": by_block[:, 0]}
    blocks |= {f"block {k}": by_block[:, k] for k in range(1, BLOCKS + 1)}
    layers = {name: _by_layer(name, rows) for name, rows in found.items()}
    numbers = _changes(rates, blocks)
    for changes_of in layers.values():
        numbers += _changes(rates, changes_of)
    last = variants[VARIANTS[-1]]
    told_of = asdict(settings) | {"slowness": last.slowness, "threshold": last.threshold}
    figure = _figure(rates, blocks, layers[VARIANTS[0]], layers[VARIANTS[-1]])
    return Result(
        "Figure 12",
        SEEDS[0],
        told_of | {"seeds": list(seeds)},
        (*numbers, *_costs(rates, found)),
        figure,
    )


def remedies(
    video: Path, settings: Settings, seeds: tuple[int, ...], told: Told
) -> tuple[Settings, Settings, Settings]:
    """Return the settings, with the penalty, and with the threshold too, chosen where none is scored."""
    task = watch(video, smoothing=settings.smoothing, choosing=True)

    def last(variants: list[Settings], least: float) -> Settings:
        near = [v for v in variants if contest(task, v, seeds, told).r2 >= least]
        return (near or variants[:1])[-1]

    least = contest(task, settings, seeds, told).r2 - NEAR
    slow = last([replace(settings, slowness=weight) for weight in SLOWNESS], least)
    return settings, slow, last([replace(slow, threshold=theta) for theta in THRESHOLDS], least)


def contest(task: Watched, settings: Settings, seeds: tuple[int, ...], told: Told) -> Row:
    """Let the layers learn with each seed, and read."""
    found = []
    for seed in seeds:
        variant = f"slowness {settings.slowness:g}, threshold {settings.threshold:g}"
        told(f"{task.rate:.3g} frames/s, {variant}", seed)
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
    rates: list[float], blocks: dict[str, Floats], free: dict[str, Floats], both: dict[str, Floats]
) -> Any:
    import matplotlib

    with drawing(8, 3.6) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        panels[0].set(title="EfficientNet-Lite0", ylabel="relative change between frames", ylim=0)
        panels[1].set(title="spiking top layers")
        drawn = ((panels[0], blocks, "o-"), (panels[1], free, "o-"), (panels[1], both, "o:"))
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

"""Figure 12: how much activations change from frame to frame, against the frame rate, by depth.

Every n-th frame of the video is seen: by the pretrained network, block by block, and by the spiking
top layers that have learned at that rate. The video and the network are substitutes for the paper's,
which cannot be had: see `eventnet.top_layers`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.bench.command import progress
from eventnet.data import fetch
from eventnet.features import BLOCKS, EVERY, changes, relative_change
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import drawing
from eventnet.top_layers import Settings, Spiking, watch

SEED = 0
QUICK_PASSES = 6

Floats = NDArray[np.float64]


def run(quick: bool) -> Result:
    """Take the blocks' changes, which are carried; let the top layers learn, few passes if quick."""
    video = fetch("vtest", progress=True) / "vtest.avi"
    settings = replace(Settings(), passes=QUICK_PASSES) if quick else Settings()
    by_block = changes(video, progress=True)
    rates, by_layer = [], []
    with progress(silent=False) as told:
        for every in EVERY:
            layers = Spiking(watch(video, every, smoothing=settings.smoothing), settings, SEED)
            told(f"{layers.task.rate:.3g} frames/s", SEED)
            for _ in range(settings.passes):
                layers.learn()
            signals = layers.layers()
            rates.append(layers.task.rate)
            by_layer.append([change(signal) for signal in signals.values()])
    blocks = {"pixels": by_block[:, 0]}
    blocks |= {f"block {k}": by_block[:, k] for k in range(1, BLOCKS + 1)}
    top = dict(zip((f"spiking: {name}" for name in signals), np.array(by_layer).T, strict=True))
    numbers = tuple(_numbers(rates, blocks | top))
    return Result("Figure 12", SEED, asdict(settings), numbers, _figure(rates, blocks, top))


def change(signal: NDArray[np.floating]) -> float:
    """Return the mean `relative_change` between successive rows.

    Examples
    --------
    >>> change(np.array([[1.0, 1.0], [1.0, 1.0], [-1.0, 1.0]]))
    0.5
    """
    return float(np.mean([relative_change(b, a) for a, b in pairwise(signal)]))


def _numbers(rates: list[float], changes: dict[str, Floats]) -> list[Number]:
    numbers = [
        Number(f"{name}: relative change, {rate:.3g}/s", float(value))
        for name, values in changes.items()
        for rate, value in zip(rates, values, strict=True)
    ]
    for name, values in changes.items():
        ratio = float(values[0] / values[-1])
        numbers.append(Number(f"{name}: {rates[0]:.3g}/s over {rates[-1]:.3g}/s", ratio))
    return numbers


def _figure(rates: list[float], blocks: dict[str, Floats], top: dict[str, Floats]) -> Any:
    import matplotlib

    with drawing(8, 3.6) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for ax, lines, title in zip(
            panels, (blocks, top), ("EfficientNet-Lite0", "spiking top layers"), strict=True
        ):
            # As in the paper: from red, shallow, to violet, deep.
            colors = matplotlib.colormaps["rainbow_r"](np.linspace(0, 1, len(lines)))
            for (name, values), color in zip(lines.items(), colors, strict=True):
                ax.plot(rates, values, "o-", ms=3, lw=1, color=color, label=name)
            ax.set(xscale="log", xlabel="frames a second", title=title)
            ax.set_xticks(rates, [f"{rate:.3g}" for rate in rates])
            ax.xaxis.set_minor_formatter("")
            ax.legend(fontsize=5 if len(lines) > 9 else 6, ncols=2 if len(lines) > 9 else 1)
        panels[0].set(ylabel="relative change between frames", ylim=0)
    return figure

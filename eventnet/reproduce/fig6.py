"""Figure 6: snippets of adjacent frames of Temporal MNIST, a column each."""

from __future__ import annotations

import numpy as np

from eventnet.data import fetch, mnist
from eventnet.data.temporal import WINDOW, kept_order, mean_step
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import drawing

SNIPPETS, FRAMES = 8, 16
SIDE, GAP = 28, 2


def run(quick: bool) -> Result:
    """Order the test images and show eight snippets; unless quick, order the training images too.

    The published program took its snippets from the order of the test images as well, but its test
    images were the training file's samples 50,000 to 59,999. These are the standard ones.
    """
    data = mnist.load(fetch("mnist", progress=True))
    order = kept_order(data.test_images)
    frames = data.test_images[order]
    labels = data.test_labels[order]
    numbers = [
        Number("mean L1 step, 10,000 test images, as filed", mean_step(data.test_images)),
        Number("mean L1 step, 10,000 test images, temporal", mean_step(frames)),
        Number("adjacent test images of one label, as filed", _alike(data.test_labels)),
        Number("adjacent test images of one label, temporal", _alike(labels)),
    ]
    if not quick:
        train = kept_order(data.train_images)
        numbers += [
            Number(
                "mean L1 step, 60,000 training images, as filed",
                mean_step(data.train_images),
                program="132.1",
            ),
            Number(
                "mean L1 step, 60,000 training images, temporal",
                mean_step(data.train_images[train]),
                program="58.5",
                note="58.468 in float32, where rounding breaks ties; exact distances here",
            ),
            Number(
                "adjacent training images of one label, temporal", _alike(data.train_labels[train])
            ),
        ]

    starts = np.arange(SNIPPETS) * (len(frames) // SNIPPETS)
    pitch = SIDE + GAP
    sheet = np.full((FRAMES * pitch - GAP, SNIPPETS * pitch - GAP), 255, np.uint8)
    for column, start in enumerate(starts):
        for row, frame in enumerate(frames[start : start + FRAMES]):
            y, x = row * pitch, column * pitch
            sheet[y : y + SIDE, x : x + SIDE] = frame.reshape(SIDE, SIDE)
    with drawing(3.6, 6.9) as figure:
        ax = figure.subplots()
        ax.grid(visible=False)
        ax.imshow(sheet, cmap="gray", interpolation="nearest")
        ax.spines[:].set_visible(False)
        middles = np.arange(SNIPPETS) * pitch + SIDE / 2
        ax.set_xticks(middles, [f"{start:,}" for start in starts], fontsize=7)
        ax.set_yticks(np.array([0, FRAMES - 1]) * pitch + SIDE / 2, ["+0", f"+{FRAMES - 1}"])
        ax.set_xlabel("first frame of the snippet, in temporal order")
        ax.set_ylabel("following frames", labelpad=-4)
        ax.set_title("Temporal MNIST", loc="center")
    settings = {"window": WINDOW, "snippets": SNIPPETS, "frames": FRAMES}
    return Result("Figure 6", None, settings, tuple(numbers), figure)


def _alike(labels: mnist.Bytes) -> float:
    return float((labels[1:] == labels[:-1]).mean())

"""A perceptron of which only the largest weights are left: the frugal dense opponent.

The smallest weights of a trained perceptron are zeroed; it goes on learning, and they are zeroed again
every few images. A processor that skips zeros does a multiply-add for each weight that is left and has
an input that is not 0.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.data.epochs import OrderOfEpoch
from eventnet.mlp import Mlp

Bytes = NDArray[np.uint8]
Masks = list[NDArray[np.bool_]]

EVERY = 500
"""Images after which the weights that were pruned are zeroed again."""

COUNTED = 10_000
"""Images by which costs are told."""


def masks(weights: list[NDArray[Any]], images: Bytes, cost: float) -> Masks:
    """Return which weights are left so that reading an image takes so many multiply-adds.

    They are the largest of all layers. Without biases; units count as often as they were on before.

    Examples
    --------
    >>> weights = [np.array([[3.0, 1.0], [2.0, 4.0]]), np.array([[5.0], [6.0]])]
    >>> images = np.array([[255, 0], [255, 255]], np.uint8)
    >>> [mask.astype(int).tolist() for mask in masks(weights, images, cost=3.0)]
    [[[0, 0], [0, 1]], [[1], [1]]]
    """
    used = [on.mean(axis=0) for on in _active(weights, images)]
    size = np.concatenate([np.abs(w).ravel() for w in weights])
    price = np.concatenate(
        [np.repeat(share, w.shape[1]) for share, w in zip(used, weights, strict=True)]
    )
    falling = np.argsort(-size, kind="stable")
    left = np.zeros(len(size), np.bool_)
    left[falling[np.cumsum(price[falling]) <= cost]] = True
    ends = np.cumsum([w.size for w in weights])[:-1]
    return [m.reshape(w.shape) for m, w in zip(np.split(left, ends), weights, strict=True)]


def retrain(
    mlp: Mlp, left: Masks, images: Bytes, labels: Any, order: OrderOfEpoch, lrs: list[float]
) -> None:
    """Zero the weights that are not left and let the others learn, an epoch at each learning rate."""
    _zero(mlp, left)
    for epoch, lr in enumerate(lrs):
        places = order(epoch)
        for start in range(0, len(places), EVERY):
            mlp.train(images, labels, places[start : start + EVERY], lr)
            _zero(mlp, left)


def multiply_adds(weights: list[NDArray[Any]], images: Bytes) -> tuple[float, float]:
    """Return what learning and what reading an image takes, a multiply-add a weight that is not 0.

    Learning reads too, sends errors back through all layers but the first, and updates.

    Examples
    --------
    >>> weights = [np.array([[3.0, 0.0], [2.0, 4.0]]), np.array([[5.0], [0.0]])]
    >>> multiply_adds(weights, np.array([[255, 0], [255, 255]], np.uint8))
    (7.0, 3.0)
    """
    active = _active(weights, images)
    n = len(active[0])
    # Errors and updates reach units that are on; of the output all are.
    reached = [*active[1:], np.ones((n, weights[-1].shape[1]))]
    left = [(w != 0).astype(np.float64) for w in weights]
    forward = sum((a @ m).sum() for a, m in zip(active, left, strict=True))
    update = [((a @ m) * r).sum() for a, m, r in zip(active, left, reached, strict=True)]
    learning = forward + sum(update) + sum(update[1:])
    return float(learning / n), float(forward / n)


def _zero(mlp: Mlp, left: Masks) -> None:
    for w, mask in zip(mlp.weights, left, strict=True):
        w *= mask


def _active(weights: list[NDArray[Any]], images: Bytes) -> list[NDArray[np.float64]]:
    """Return where the signals that weights are on are not 0, by layer, as numbers 0 and 1."""
    signal = images[:COUNTED] / 255
    found = []
    for w in weights:
        found.append((signal != 0).astype(np.float64))
        signal = np.maximum(signal @ w, 0.0)
    return found

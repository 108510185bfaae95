"""Contestants that learn a batch of one image at a time by the same step of SGD, 784-200-10.

``h = max(x W0, 0)``, ``p = softmax(h W1)``, ``e = p - onehot``, ``d = (h > 0) * (W1 e)``, then
``W1 -= lr * h (x) e``, ``W0 -= lr * x (x) d``. All of them start from the same weights in float32 and
take the same images in the same order with the same rates, so that they end in the same weights but
for rounding: `held_loss` after a repetition tells whether they do.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.bench.task import Repetition, Task
from eventnet.classifier import PRESETS, initial_weights
from eventnet.mlp import Mlp
from eventnet.trial import percent

Floats = NDArray[np.floating[Any]]

SIZES = (784, 200, 10)
LR = 0.04
"""In the first part, the best of .01, .02, .04, .08 on validation samples; it falls to a twentieth."""


def rate(k: int, parts: int, lr: float = LR) -> float:
    """Return the learning rate of part k: it falls by the same factor each time, to a twentieth.

    >>> rate(0, 5), round(rate(4, 5), 6)
    (0.04, 0.002)
    """
    return float(lr * 0.05 ** (k / max(parts - 1, 1)))


class Perceptron(ABC):
    """A perceptron in training.

    Parameters
    ----------
    task : mapping
        See `eventnet.bench.task.digits`.
    """

    def __init__(self, task: Task) -> None:
        self.parts = int(task["parts"])
        self.part = len(task["images"]) // self.parts
        self.images, self.labels = task["images"], task["labels"].astype(np.int64)
        self.held, self.test = (
            (task[f"{name}_images"] / 255, task[f"{name}_labels"]) for name in ("held", "test")
        )
        self.initial = [
            (PRESETS["eventnet"].init * w).astype(np.float32) for w in initial_weights(SIZES)
        ]

    @abstractmethod
    def learn(self, first: int, last: int, lr: float) -> None:
        """Take images `first` to `last` - 1, one step each."""

    @abstractmethod
    def weights(self) -> list[Floats]:
        """Return the present weights, (n_in, n_out) a layer."""

    def prepare(self) -> None:
        """Compile what needs to be compiled; nothing by default."""
        return

    def repeat(self, k: int) -> Repetition:
        """Learn part k."""
        lr = rate(k, self.parts)
        begin = time.perf_counter()
        self.learn(k * self.part, (k + 1) * self.part, lr)
        wall_s = time.perf_counter() - begin
        return {"units": self.part, "wall_s": wall_s, "held_loss": self.held_loss()}

    def held_loss(self) -> float:
        """Return the mean cross-entropy of validation samples."""
        images, labels = self.held
        z = self._read(images)
        z -= z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean())

    def finish(self) -> dict[str, Any]:
        """Return the share of test images that it gets right."""
        images, labels = self.test
        return {"test %": percent(self._read(images).argmax(axis=1), labels)}

    def _read(self, images: Floats) -> Floats:
        first, second = (np.asarray(w, dtype=np.float64) for w in self.weights())
        z: Floats = np.maximum(images @ first, 0.0) @ second
        return z


class Compiled(Perceptron):
    """`eventnet.mlp.Mlp`, compiled by Numba: dense, or skipping zeros."""

    def __init__(self, task: Task, skip_zeros: bool, dtype: str = "float32") -> None:
        super().__init__(task)
        self.mlp = Mlp(self.initial, skip_zeros=skip_zeros, dtype=np.dtype(dtype))

    def prepare(self) -> None:
        """Compile: an empty order leaves the weights as they are."""
        self.mlp.train(self.images, self.labels, np.zeros(0, np.int64), LR)

    def learn(self, first: int, last: int, lr: float) -> None:
        """Take images `first` to `last` - 1."""
        self.mlp.train(self.images, self.labels, np.arange(first, last), lr)

    def weights(self) -> list[Floats]:
        """Return the weights."""
        return list(self.mlp.weights)


class Numpy(Perceptron):
    """Whole arrays, float32, no temporary larger than a weight matrix."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.w0, self.w1 = self.initial
        self.signals = self.images.astype(np.float32) / np.float32(255)
        self.outer = np.empty_like(self.w0)

    def learn(self, first: int, last: int, lr: float) -> None:
        """Take images `first` to `last` - 1."""
        w0, w1, outer, rate = self.w0, self.w1, self.outer, np.float32(lr)
        for k in range(first, last):
            x = self.signals[k]
            h = np.maximum(x @ w0, 0)
            z = h @ w1
            e = np.exp(z - z.max())
            e /= e.sum()
            e[self.labels[k]] -= 1
            d = (w1 @ e) * (h > 0)
            e *= rate
            d *= rate
            w1 -= np.multiply.outer(h, e)
            np.multiply.outer(x, d, out=outer)
            w0 -= outer

    def weights(self) -> list[Floats]:
        """Return the weights."""
        return [self.w0, self.w1]

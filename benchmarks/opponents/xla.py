"""JAX: the step compiled, called once a sample or scanned over a thousand."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.video import Stepping
from eventnet.bench.perceptrons import LR, Floats, Perceptron
from eventnet.bench.task import Task

SCANNED = 1_000
"""Samples a call of the scan, at most."""

Weights = tuple[Any, Any]


def loss(weights: Weights, x: Any, label: Any) -> Any:
    w0, w1 = weights
    return -jax.nn.log_softmax(jax.nn.relu(x @ w0) @ w1)[label]


def learned(weights: Weights, x: Any, label: Any, lr: Any) -> Weights:
    back = jax.grad(loss)(weights, x, label)
    return jax.tree.map(lambda w, g: w - lr * g, weights, back)


@partial(jax.jit, donate_argnums=0)
def step(weights: Weights, images: Any, labels: Any, k: Any, lr: Any) -> Weights:
    return learned(weights, images[k], labels[k], lr)


@partial(jax.jit, donate_argnums=0)
def scan(weights: Weights, images: Any, labels: Any, lr: Any) -> Weights:
    def one(carry: Weights, sample: tuple[Any, Any]) -> tuple[Weights, None]:
        return learned(carry, *sample, lr), None

    return lax.scan(one, weights, (images, labels))[0]


class _Arrays(Perceptron):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.x = jnp.asarray(self.images.astype(np.float32) / np.float32(255))
        self.y = jnp.asarray(self.labels.astype(np.int32))
        self.w: Weights = self.fresh()

    def fresh(self) -> Weights:
        return tuple(jnp.array(w) for w in self.initial)

    def weights(self) -> list[Floats]:
        return [np.asarray(w) for w in self.w]


class Step(_Arrays):
    """One call a sample; weights are donated, so that they are changed in place."""

    def prepare(self) -> None:
        jax.block_until_ready(step(self.fresh(), self.x, self.y, np.int32(0), jnp.float32(LR)))

    def learn(self, first: int, last: int, lr: float) -> None:
        w, x, y, rate = self.w, self.x, self.y, jnp.float32(lr)
        for k in np.arange(first, last, dtype=np.int32):
            w = step(w, x, y, k, rate)
        self.w = jax.block_until_ready(w)


class Scan(_Arrays):
    """`lax.scan` over a thousand samples."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.chunk = min(SCANNED, self.part)
        if self.part % self.chunk:
            raise ValueError(f"part={self.part}: must be a multiple of {self.chunk}")
        # Cut beforehand: a slice is a copy.
        starts = range(0, len(self.images), self.chunk)
        self.chunks = [(self.x[s : s + self.chunk], self.y[s : s + self.chunk]) for s in starts]

    def prepare(self) -> None:
        jax.block_until_ready(scan(self.fresh(), *self.chunks[0], jnp.float32(LR)))

    def learn(self, first: int, last: int, lr: float) -> None:
        w, rate = self.w, jnp.float32(lr)
        for images, labels in self.chunks[first // self.chunk : last // self.chunk]:
            w = scan(w, images, labels, rate)
        self.w = jax.block_until_ready(w)


def output(weights: Weights, x: Any) -> Any:
    w0, w1 = weights
    return jax.nn.relu(x @ w0) @ w1


def squared(weights: Weights, x: Any, y: Any) -> Any:
    return 0.5 * jnp.square(output(weights, x) - y).sum()


@partial(jax.jit, donate_argnums=0)
def regress(weights: Weights, frames: Any, aims: Any, lr: Any) -> Weights:
    def one(carry: Weights, sample: tuple[Any, Any]) -> tuple[Weights, None]:
        back = jax.grad(squared)(carry, *sample)
        return jax.tree.map(lambda w, g: w - lr * g, carry, back), None

    return lax.scan(one, weights, (frames, aims))[0]


@jax.jit
def read(weights: Weights, frames: Any) -> Any:
    # One frame at a time, as they come.
    return lax.map(lambda x: output(weights, x), frames)


class Regression(Stepping):
    """`lax.scan` over a pass of the video's task, and `lax.map` over its frames."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.w: Weights = tuple(jnp.array(w) for w in self.initial)

    def own(self, array: Floats) -> Any:
        return jnp.asarray(array)

    def step(self, frames: Any, targets: Any, lr: float) -> None:
        self.w = jax.block_until_ready(regress(self.w, frames, targets, jnp.float32(lr)))

    def outputs(self) -> Floats:
        return np.asarray(read(self.w, self.frames))

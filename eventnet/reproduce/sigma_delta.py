"""Sigma-delta networks (O'Connor and Welling 2016b): kp = 0, the network that sends only changes."""

from __future__ import annotations

from typing import Any

import numpy as np

from eventnet.classifier import CLOCK, initial_weights
from eventnet.cost import Cost
from eventnet.data.epochs import Images, orders
from eventnet.mlp import Mlp
from eventnet.network import Network
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result, rows
from eventnet.reproduce.drawing import drawing
from eventnet.simulation import Simulation

STEPS = (1.0, 0.5, 0.25, 0.125, 0.0625)
ORDERS = {"MNIST": "given", "Temporal MNIST": "temporal"}
EPOCHS, LR = 10, 0.01

FOREVER = 1e300
"""Time constant at which ``k_alpha = exp(-dt/tau)`` is 1, hence kp = 0."""


def run(quick: bool) -> Result:
    """Train a perceptron, freeze it, and send the test images through it by changes alone."""
    mnist = rows.data()
    images, labels = mnist.train_images[:50_000], mnist.train_labels[:50_000]
    mlp = Mlp(initial_weights((784, 200, 10)), skip_zeros=True)
    shuffled = orders("shuffled", images)
    epochs = 1 if quick else EPOCHS
    for epoch in range(epochs):
        mlp.train(images, labels, shuffled(epoch), LR)
    dense = mlp.predict(mnist.test_images)
    scale = len(dense)
    numbers = [
        Number("dense: test %", _percent(dense, mnist.test_labels)),
        Number("dense: multiply-adds an image", mlp.predicted.dense.sum() / scale),
        Number("skipping zeros: multiply-adds an image", mlp.predicted.zero_skipping.sum() / scale),
    ]
    curves: dict[str, list[tuple[float, float]]] = {}
    for name, kind in ORDERS.items():
        order = orders(kind, mnist.test_images)(0)
        shown, truth = mnist.test_images[order], mnist.test_labels[order]
        for step in STEPS[1:3] if quick else STEPS:
            said, cost = changes_only(mlp.weights, shown, step)
            additions = cost.total("additions") / scale
            right = _percent(said, truth)
            same = _percent(said, rounded(mlp.weights, shown, step))
            curves.setdefault(name, []).append((additions, right))
            at = f"{name}, step {step:g}"
            numbers += [
                Number(
                    f"{at}: additions an image",
                    additions,
                    note=f"{cost.events / scale:,.1f} events; {cost.total('multiply_adds') / scale:,.0f} "
                    "multiply-adds by events",
                ),
                Number(
                    f"{at}: test %",
                    right,
                    note=f"{same:.2f} % of labels are those of the rounding network",
                ),
            ]
    told = {"hidden": 200, "epochs": epochs, "lr": LR, "kp": 0, "steps (1/kd)": list(STEPS)}
    return Result("Sigma-delta", 0, told, tuple(numbers), _figure(curves, numbers))


def changes_only(weights: list[Any], images: Any, step: float) -> tuple[Any, Cost]:
    """Return the labels that a frozen network with kp = 0 gives, one tick an image, and its cost."""
    net = Network(tau=FOREVER)
    net.sensor("pixels", weights[0].shape[0], step=step)
    net.layer("hidden", weights[0].shape[1], step=step)
    net.output("digit", weights[1].shape[1])
    net.connect("pixels", "hidden", weights=weights[0])
    net.connect("hidden", "digit", weights=weights[1])
    sim = Simulation(net, clock=CLOCK, raster=False)
    sim.feed("pixels", Images(images, orders("given", images), 1, 1 / CLOCK))
    sim.probe("digit", rate=1 / CLOCK)
    run = sim.run(until=(len(images) - 1) * CLOCK)
    return run.output("digit").values.argmax(axis=1), run.cost


def rounded(weights: list[Any], images: Any, step: float) -> Any:
    """Return the labels of the network whose signals are rounded to multiples of the step."""
    first, second = weights
    hidden = np.maximum(step * np.round(images / 255 / step) @ first, 0.0)
    return (step * np.round(hidden / step) @ second).argmax(axis=1)


def _percent(said: Any, truth: Any) -> float:
    return 100 * int((said == truth).sum()) / len(truth)


def _figure(curves: dict[str, list[tuple[float, float]]], numbers: list[Number]) -> Any:
    with drawing(6.4, 4) as figure:
        ax = figure.subplots()
        colors = (PALETTE["vermillion"], PALETTE["green"])
        for (name, points), color in zip(curves.items(), colors, strict=True):
            additions, right = zip(*points, strict=True)
            ax.plot(np.array(additions) / 1000, right, "o-", color=color, label=f"{name}, kp = 0")
        score, dense, skipping = (number.here for number in numbers[:3])
        ax.plot(dense / 1000, score, "s", color=PALETTE["blue"], label="dense")
        ax.plot(skipping / 1000, score, "D", color=PALETTE["sky"], label="skipping zeros")
        ax.set(
            xscale="log",
            xlabel="thousand additions (dense: multiply-adds) an image",
            ylabel="test score (%)",
        )
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("{x:g}")
        ax.legend()
    return figure

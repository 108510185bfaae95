"""What the networks of `frontier` are worth and cost, one with one seed at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from eventnet import scenario, top_layers
from eventnet.classifier import PRESETS, Training, initial_weights
from eventnet.data import fetch
from eventnet.data.epochs import orders
from eventnet.data.mnist import Mnist
from eventnet.mlp import Mlp
from eventnet.reproduce import pruned
from eventnet.reproduce.sigma_delta import changes_only
from eventnet.sweep.point import Unrecorded
from eventnet.trial import percent

SPIKING, DENSE, SKIPPING, AT_TARGETS = (
    "spiking",
    "dense",
    "dense, skipping zeros",
    "dense, only when taught",
)
PRUNED, CHANGES = "dense, pruned, skipping zeros", "kp = 0: changes alone"

Given = Mapping[str, Any]


class Point(NamedTuple):
    """A network that was measured.

    Attributes
    ----------
    error : float
        On the test part: wrong answers in %, or 1 - R2.
    learning, reading : float or None
        Additions (if dense: multiply-adds) a sample, means of the whole training and of the test part;
        None where there is nothing to tell.
    """

    error: float
    learning: float | None
    reading: float | None


Points = dict[str, list[Point]]


def digits(mnist: Mnist, temporal: bool, given: Given, seed: int) -> Points:
    """Train a classifier: the preset "eventnet" but for what is given. Then read the test images.

    Of Temporal MNIST these come like after like, too.
    """
    samples = len(mnist.train_images)
    order = "temporal" if temporal else "shuffled"
    settings = replace(PRESETS["eventnet"], samples=samples, order=order, **given)
    images, labels = mnist.train_images, mnist.train_labels
    training = Training(settings, images, labels, orders(order, images, seed=seed), seed)
    learning = [training.run().additions for _ in range(settings.epochs)]
    shown, truth = _shown(mnist, temporal)
    said, run = training.read(shown)
    reading = run.cost.total("additions") / len(shown)
    return {SPIKING: [Point(100 - percent(said, truth), float(np.mean(learning)), reading)]}


def perceptrons(mnist: Mnist, temporal: bool, given: Given, seed: int) -> Points:
    """Train a perceptron, send changes alone through it, and prune it step by step.

    Parameters
    ----------
    mnist : Mnist
    temporal : bool
    given : mapping
        ``hidden``, ``epochs``, ``lr`` and ``lr_end`` of the training; ``costs``, multiply-adds to read an
        image, to be pruned to one after the other; ``lrs`` of the epochs after each; ``steps``, of the
        network that sends changes alone.
    seed : int
    """
    images, labels = mnist.train_images, mnist.train_labels
    shown, truth = _shown(mnist, temporal)
    order = orders("temporal" if temporal else "shuffled", images, seed=seed)
    initial = initial_weights((images.shape[1], *given["hidden"], 10), seed)
    mlp = Mlp([PRESETS["eventnet"].init * w for w in initial], skip_zeros=True)
    epochs = given["epochs"]
    for lr, epoch in zip(
        np.geomspace(given["lr"], given["lr_end"], epochs), range(epochs), strict=True
    ):
        mlp.train(images, labels, order(epoch), float(lr))
    error = 100 - percent(mlp.predict(shown), truth)
    costs = zip(mlp.trained.a_sample(), mlp.predicted.a_sample(), strict=True)
    found = {
        name: [Point(error, learning, reading)]
        for name, (learning, reading) in zip((DENSE, SKIPPING), costs, strict=True)
    }
    found[CHANGES] = []
    for step in given["steps"]:
        said, cost = changes_only(mlp.weights, shown, step)
        wrong = 100 - percent(said, truth)
        found[CHANGES].append(Point(wrong, None, cost.total("additions") / len(shown)))
    found[PRUNED] = []
    spent = [found[SKIPPING][0].learning or 0.0] * epochs
    for cost in given["costs"]:
        left = pruned.masks(mlp.weights, images, cost)
        pruned.retrain(mlp, left, images, labels, order, given["lrs"])
        spent += [pruned.multiply_adds(mlp.weights, images)[0]] * len(given["lrs"])
        reading = pruned.multiply_adds(mlp.weights, shown)[1]
        wrong = 100 - percent(mlp.predict(shown), truth)
        found[PRUNED].append(Point(wrong, float(np.mean(spent)), reading))
    return found


def flight(given: Given, seed: int) -> Points:
    """Run the scenario `drone`; a sample is a reading of its sensors."""
    drone = scenario.load("drone")
    parameters = drone.configure([f"{name}={value}" for name, value in given.items()])
    with TemporaryDirectory() as folder:
        session = Unrecorded(seed, "compiled", None, Path(folder) / "run")
        outcome = drone.function(parameters, session)
    assert outcome.error is not None
    learning, reading = (
        float(np.mean(outcome.metrics[f"additions a reading, {part}"]))
        for part in ("learning", "frozen")
    )
    # All is recomputed at every reading, and learned at every target: a pass back through the second
    # matrix, and an update of both. Of the whole run.
    readings, cost = outcome.run.cost.readings, outcome.run.cost
    recomputed = cost.total("dense", ("forward",)) / readings
    taught = outcome.dense["dense SGD at every target"] / readings
    matrices = {name: row["forward"].dense for name, row in cost.projections.items()}
    every, last = sum(matrices.values()), matrices["hidden -> flow"]
    only_read = taught * every / (2 * every + last)
    wrong = 1 - float(np.mean(outcome.baselines["the same network dense, SGD"]["r2"]))
    return {
        SPIKING: [Point(outcome.error, learning, reading)],
        DENSE: [Point(wrong, recomputed + taught - only_read, recomputed)],
        AT_TARGETS: [Point(wrong, taught, only_read)],
    }


def features(given: Given, seed: int) -> Points:
    """Let layers on a video's features learn; a sample is a frame."""
    settings = top_layers.Settings(**given)
    task = _watched(settings.smoothing)
    spiking, dense = (
        top_layers.Spiking(task, settings, seed),
        top_layers.Dense(task, settings, seed),
    )
    for _ in range(settings.passes):
        spiking.learn()
        dense.learn()
    outputs, run = spiking.read()
    said, _ = dense.read()
    learning = top_layers.additions(spiking.sim.cost, settings.passes * task.frames)
    reading = top_layers.additions(run.cost, len(outputs))
    costs = zip(dense.mlp.trained.a_sample(), dense.mlp.predicted.a_sample(), strict=True)
    wrong = 1 - task.r2(said)
    both = zip((DENSE, SKIPPING), costs, strict=True)
    return {
        SPIKING: [Point(1 - task.r2(outputs), learning, reading)],
        **{name: [Point(wrong, *cost)] for name, cost in both},
    }


@cache
def _watched(smoothing: float) -> top_layers.Watched:
    return top_layers.watch(fetch("vtest", progress=True) / "vtest.avi", smoothing=smoothing)


def _shown(mnist: Mnist, temporal: bool) -> tuple[Any, Any]:
    """Return the test images and labels in the order in which they are read."""
    images = mnist.test_images
    order = orders("temporal" if temporal else "given", images)(0)
    return images[order], mnist.test_labels[order]

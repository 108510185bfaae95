"""The contestants of eventnet: images learned on a clock, and the same network in continuous time."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.bench.perceptrons import SIZES
from eventnet.bench.task import Repetition, Task
from eventnet.classifier import PRESETS, Training, initial_weights
from eventnet.network import Network
from eventnet.plasticity import STDP
from eventnet.simulation import Simulation
from eventnet.sources import Periodic
from eventnet.trial import percent

PRESET = PRESETS["eventnet"]
FINE_SHARE = -PRESET.later_from / PRESET.epochs
"""Share of the preset's epochs with fine pixels, which cost more than coarse ones."""

LR = 0.02
"""A tick, in the first part, the best of .01, .02, .04, .08 on validation samples."""

HOLD = 2.0
"""Seconds for which an image is held in continuous time."""

STEP, ERROR_STEP, ASYNCHRONOUS_LR = 0.5, 0.1, 0.01


class Preset:
    """`eventnet.classifier`, preset "eventnet": a part is an epoch, the last fifth has fine pixels."""

    def __init__(self, task: Task, **simulation: Any) -> None:
        self.parts = int(task["parts"])
        self.images, self.labels = task["images"], task["labels"]
        self.part = len(self.images) // self.parts
        self.test = task["test_images"], task["test_labels"]
        self.given = simulation
        fine = max(round(FINE_SHARE * self.parts), 1)
        self.settings = replace(
            PRESET,
            lr=LR,
            lr_end=LR / 20,
            epochs=self.parts,
            later_from=-fine,
            samples=len(self.images),
        )
        self.training = self._training(self.part)

    def _training(self, part: int) -> Training:
        def order(epoch: int) -> NDArray[np.int64]:
            return np.arange(epoch * part, (epoch + 1) * part)

        return Training(self.settings, self.images, self.labels, order, **self.given)

    def prepare(self) -> None:
        """Compile, on a network of its own."""
        self._training(2).run()

    def repeat(self, k: int) -> Repetition:
        """Learn part k."""
        stage = "fine" if self.settings.stage_of(k) else "coarse"
        epoch = self.training.run()
        return {
            "units": self.part,
            "wall_s": epoch.wall_s,
            "stage": stage,
            "events": epoch.events * self.part,
            "additions": epoch.additions * self.part,
        }

    def finish(self) -> dict[str, Any]:
        """Return the share of test images that the spiking network gets right, and its weights."""
        images, labels = self.test
        return {
            "test %": percent(self.training.predict(images), labels),
            "test % unquantized": percent(self.training.unquantized(images), labels),
        }


class HeldImages:
    """784-200-10 in continuous time, each image held, with or without learning; no bias."""

    def __init__(self, task: Task, learn: bool, **simulation: Any) -> None:
        self.parts = int(task["parts"])
        self.part = len(task["images"]) // self.parts
        self.learns = learn
        self.sim = Simulation(
            held_network(),
            plasticity=STDP(ASYNCHRONOUS_LR) if learn else None,
            raster=False,
            **simulation,
        )
        images = task["images"] / 255
        self.sim.feed("image", Periodic(images, rate=1 / HOLD))
        if learn:
            targets = np.eye(SIZES[-1])[task["labels"]]
            self.sim.teach("digit", Periodic(targets, rate=1 / HOLD))

    def prepare(self) -> None:
        """Compile."""
        self.sim.run(until=0.0)
        self.sim.reset()

    def repeat(self, k: int) -> Repetition:
        """Show the images of part k."""
        # Up to, and without, the first image of the next part.
        until = np.nextafter((k + 1) * self.part * HOLD, 0)
        begin = time.perf_counter()
        run = self.sim.run(until=until)
        wall_s = time.perf_counter() - begin
        counts = run.cost.populations
        return {
            "units": self.part * HOLD,
            "wall_s": wall_s,
            "events": run.cost.events,
            "hidden events": counts["hidden"]["events"],
        }

    def finish(self) -> dict[str, Any]:
        """Return nothing more."""
        return {}


def held_network() -> Network:
    """Return the network of `HeldImages`, its weights drawn as for the others."""
    net = Network(tau=1.0)
    net.sensor("image", SIZES[0], step=STEP)
    net.layer("hidden", SIZES[1], step=STEP, error_step=ERROR_STEP)
    net.output("digit", SIZES[2], error_step=ERROR_STEP)
    first, second = initial_weights(SIZES)
    net.connect("image", "hidden", weights=first)
    net.connect("hidden", "digit", weights=second)
    return net

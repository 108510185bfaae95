"""MNIST without a clock: each image is held for a while, spikes and updates come when they come.

Images follow each other in continuous time; errors and weight changes happen when a spike arrives, not
once an image. The score is the spiking readout's at the end of each image, on a frozen copy. Settings
were chosen on training samples 50,000 to 59,999 (`--set score=validation`); the test images are scored
once, after the last pass. Accuracy and cost against the hold: docs/results/asynchronous.md.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import eventnet as en
from eventnet.cost import INT_ADD_PJ, INT_MULTIPLY_PJ, Cost
from eventnet.data import fetch, mnist
from eventnet.data.epochs import Images, OneHot, orders
from eventnet.scenario import Outcome, Session
from eventnet.trial import VALIDATION, percent


@dataclass(frozen=True)
class Parameters:
    """What `--set key=value` can change."""

    hold: float = 1.0  # tau for which an image is shown
    tau: float = 1.0  # s
    hidden: int = 200
    passes: int = 5
    samples: int = 50_000  # training images, from the first on
    step: float = 0.25
    hidden_step: float = 0.5
    error_step: float = 0.1
    hidden_error_step: float = 0.1
    lr: float = 0.04  # per second
    # Of the guard, in the place of 1/2: inputs held one tau are stable far above it (docs/theory.md,
    # section 8), and the curvature of softmax is at most 1/2.
    cap: float = 8.0
    schedule: tuple[float, ...] = (1.0, 1.0, 0.6, 0.2, 0.04)  # times lr, in equal parts of the run
    score: Literal["test", "validation"] = "test"
    scored: int = 10_000  # images, from the first on

    def __post_init__(self) -> None:
        for name, unit in (("hold", " tau"), ("tau", " s"), ("lr", " per second")):
            value = getattr(self, name)
            if not 0 < value < math.inf:
                raise en.ConfigError(f"{name}={value}{unit}: must be positive and finite")
        for name in ("passes", "samples", "scored"):
            if getattr(self, name) < 1:
                raise en.ConfigError(f"{name}={getattr(self, name)}: must be >= 1")
        if not self.schedule or not all(0 <= factor < math.inf for factor in self.schedule):
            raise en.ConfigError(
                f"schedule={self.schedule}: must be factors of lr, each >= 0, as in 1,.25,.05"
            )
        if self.scored > 10_000:
            raise en.ConfigError(
                f"scored={self.scored}: there are 10,000 images to score; lower it"
            )
        if self.samples > (limit := 60_000 if self.score == "test" else VALIDATION.start):
            raise en.ConfigError(
                f"samples={self.samples}: {limit:,} training images may be learned with "
                f"score={self.score}; lower it"
            )


def run(p: Parameters, session: Session) -> Outcome:
    """Learn in several passes, freeze a copy, score it."""
    data = mnist.load(fetch("mnist", progress=session.report is not None))
    images, labels = data.train_images[: p.samples], data.train_labels[: p.samples]
    rate = 1 / (p.hold * p.tau)
    order = orders("shuffled", images, seed=session.seed)
    sim = build(p, session)
    sim.feed("image", Images(images, order, p.passes, rate))
    sim.teach("digit", OneHot(labels, order, p.passes, rate))
    end = p.passes * p.samples / rate
    for k, factor in enumerate(p.schedule):
        sim.scale_lr(factor, at=k / len(p.schedule) * end)
    run = session.run(sim, end)

    if p.score == "validation":
        images, labels = data.train_images[VALIDATION], data.train_labels[VALIDATION]
    else:
        images, labels = data.test_images, data.test_labels
    images, labels = images[: p.scored], labels[: p.scored]
    read, scoring = spiking(sim, images, rate)
    # Not what was simulated, but what one pass over the weights without spikes would say.
    hidden = np.maximum(images / 255 @ sim.weights("image -> hidden"), 0.0)
    quiet = hidden @ sim.weights("hidden -> digit")

    n = run.cost.readings
    mac = (INT_ADD_PJ + INT_MULTIPLY_PJ) * 1e-6
    accuracy = f"{p.score} %"
    right = percent(read.argmax(axis=1), labels)
    return Outcome(
        run,
        error=100 - right,
        metrics={
            accuracy: right,
            "events a sample": run.cost.events / n,
            "additions a sample": run.cost.total("additions") / n,
            "multiply-adds a sample": run.cost.total("multiply_adds") / n,
            "energy a sample, uJ": run.cost.total("additions") * INT_ADD_PJ * 1e-6 / n,
            "wall ms a sample": 1e3 * run.wall_s / n,
            "events a sample, scoring": scoring.events / len(images),
            "additions a sample, scoring": scoring.total("additions") / len(images),
            "guarded, image -> hidden": run.cost.guarded["image -> hidden"],
            "guarded, hidden -> digit": run.cost.guarded["hidden -> digit"],
        },
        baselines={
            "the same weights unquantized": {accuracy: percent(quiet.argmax(axis=1), labels)},
            "recomputed and trained at each image": {
                "multiply-adds a sample": run.cost.total("dense") / n,
                "energy a sample, uJ": run.cost.total("dense") * mac / n,
            },
            "the same, skipping zeros": {
                "multiply-adds a sample": run.cost.total("zero_skipping") / n,
                "energy a sample, uJ": run.cost.total("zero_skipping") * mac / n,
            },
        },
    )


def build(p: Parameters, session: Session) -> en.Simulation:
    """Return the network at the start, in continuous time."""
    net = en.Network(tau=p.tau)
    net.sensor("image", 784, step=p.step)
    net.layer("hidden", p.hidden, step=p.hidden_step, error_step=p.hidden_error_step)
    net.output("digit", 10, error_step=p.error_step, loss="softmax")
    net.connect("image", "hidden")
    net.connect("hidden", "digit")
    return en.Simulation(
        net,
        plasticity=en.STDP(p.lr, cap=p.cap),
        engine=session.engine,
        seed=session.seed,
        raster=False,
    )


def spiking(
    sim: en.Simulation, images: NDArray[np.uint8], rate: float
) -> tuple[NDArray[np.float64], Cost]:
    """Return what the output says at the end of each image (n, 10), and what that cost."""
    n = len(images)
    order = np.arange(n)
    frozen = sim.copy()
    frozen.feed("image", Images(images, lambda _: order, 1, rate))
    frozen.probe("digit", times=(order + 0.999) / rate)
    read = frozen.run(until=n / rate)
    return read.output("digit").values, read.cost

"""Section: learning and reading digits that drift, the faster the camera the more alike its frames."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import ROOT, python
from benchmarks.training import agree
from eventnet.bench.perceptrons import SIZES
from eventnet.bench.task import Repetition, Task, digits, keep
from eventnet.bench.workers import Entry, Row, Told, interleave
from eventnet.classifier import PRESETS, initial_weights
from eventnet.data import fetch, mnist
from eventnet.data.drift import Drifting
from eventnet.data.epochs import OneHot
from eventnet.mlp import Mlp
from eventnet.network import Network
from eventnet.plasticity import STDP
from eventnet.simulation import Simulation
from eventnet.sources import Levels
from eventnet.trial import VALIDATION, percent

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

TICKS = (1, 4, 16, 64, 256)
"""Frames a digit, each of which is shown for a second."""

PARTS, PART, TEST = 6, 500, 5_000
QUICK_TICKS, QUICK_PART, QUICK_TEST = (1, 16), 4, 20
SHOWN_TICKS, SHOWN = 4_000, 50  # a repetition without learning, at least; digits
OPPONENTS_TICKS = 500  # a repetition
ENVIRONMENTS = ("opponents",)

LR_SCALES = (1.0, 0.25, 0.05)
"""By which learning rates fall, each for a third of the digits."""


class Setting(NamedTuple):
    """The constants of a network on events."""

    lr: float = 0.2  # of a second
    cap: float = 2.5  # the guard's, of a frame
    tau: float = 0.4
    step: float = 0.45
    hidden_step: float = 0.25
    error_step: float = 0.1
    hidden_error_step: float = 0.1


SETTING = Setting()
"""One for all rates of frames, chosen by ``python -m benchmarks.streams_settings``."""

DENSE_LR = {1: 0.06, 4: 0.2, 16: 0.45, 64: 0.9, 256: 0.12}
"""A second, so a frame learns at a part of it; the best of those tried on validation samples."""

OURS = "eventnet, clocked", "eventnet, asynchronous"
DENSE = "Numba, skipping zeros"
CHUNK = 2_048  # frames that the dense step takes at a time


class Clocked:
    """A source that tells how long it took to make its blocks."""

    def __init__(self, source: Levels) -> None:
        self.source, self.wall_s = source, 0.0
        self.levels = source.levels

    @property
    def width(self) -> int:
        """Return the pixels of a frame."""
        return self.source.width

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.source)

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return the times and the pixels of frames start to stop - 1."""
        begin = time.perf_counter()
        made = self.source.block(start, stop)
        self.wall_s += time.perf_counter() - begin
        return made

    def codes(self, start: int, stop: int) -> tuple[Floats, Bytes]:
        """Return the times and the bytes of frames start to stop - 1."""
        begin = time.perf_counter()
        made = self.source.codes(start, stop)
        self.wall_s += time.perf_counter() - begin
        return made


def drifting(images: NDArray[np.uint8], ticks: int, t0: float = 0.0, times: int = 1) -> Drifting:
    """Return images as they lie, each for a second."""
    return Drifting(images, lambda _: np.arange(len(images)), times, 1.0, ticks, t0=t0)


class Learner(ABC):
    """Learns a part of the digits in even repetitions, and reads some without learning in odd ones.

    Making frames is not in its times.

    Parameters
    ----------
    task : mapping
        See `stream`.
    ticks : int
        Frames a digit.
    """

    def __init__(self, task: Task, ticks: int) -> None:
        self.ticks = ticks
        self.digits, self.labels = task["digits"], task["digit_labels"].astype(np.int64)
        self.part = len(self.digits) // PARTS
        shown = max(SHOWN, SHOWN_TICKS // ticks)
        self.shown = task["held_images"][: min(shown, len(self.digits))]
        self.test = task["test_images"], task["test_labels"]
        init = PRESETS["eventnet"].init
        self.initial = [init * w for w in initial_weights(SIZES)]

    def repeat(self, k: int) -> Repetition:
        """Learn part k/2, or show digits."""
        part, reading = divmod(k, 2)
        if reading:
            return {"stage": "inference", **self.show()}
        return {"stage": "training", **self.learn(part, LR_SCALES[part * len(LR_SCALES) // PARTS])}

    def finish(self) -> dict[str, Any]:
        """Return the share of test digits that it gets right, and which."""
        images, labels = self.test
        read = self.read(images)
        return {"test %": percent(read, labels), "right": (read == labels).tolist()}

    @abstractmethod
    def prepare(self) -> None:
        """Compile."""

    @abstractmethod
    def learn(self, part: int, scale: float) -> Repetition:
        """Learn a part, at a scale of the rate."""

    @abstractmethod
    def show(self) -> Repetition:
        """Show digits."""

    @abstractmethod
    def read(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return what each digit is taken for at its last frame."""


class Spiking(Learner):
    """784-200-10 on events, on the camera's clock or in continuous time."""

    def __init__(self, task: Task, ticks: int, clocked: bool, setting: Setting = SETTING) -> None:
        super().__init__(task, ticks)
        self.sim = network(self.initial, setting, "softmax", 1 / ticks if clocked else None)
        self.source = Clocked(drifting(self.digits, ticks))
        self.sim.feed("pixels", self.source)
        self.sim.teach("output", OneHot(self.labels, lambda _: np.arange(len(self.labels)), 1, 1.0))

    def prepare(self) -> None:
        """Compile."""
        self.sim.run(until=0.0)
        self.sim.reset()

    def learn(self, part: int, scale: float) -> Repetition:
        """Learn a part."""
        self.sim.scale_lr(scale)
        until = (part + 1) * self.part - 0.5 / self.ticks
        return {"units": self.part * self.ticks, **timed(self.sim, self.source, until)}

    def show(self) -> Repetition:
        """Show digits, the first of them before time is taken."""
        sim = self.sim.copy()
        t0, n = sim.now, len(self.shown)
        source = Clocked(drifting(self.shown, self.ticks, t0))
        sim.feed("pixels", source)
        sim.run(until=t0 + 1 - 0.5 / self.ticks)
        until = t0 + n - 0.5 / self.ticks
        return {"units": (n - 1) * self.ticks, **timed(sim, source, until)}

    def read(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return what each digit is taken for half a frame after its last one."""
        sim = self.sim.copy()
        t0, n = sim.now, len(images)
        sim.feed("pixels", drifting(images, self.ticks, t0))
        sim.probe("output", times=t0 + np.arange(n) + 1 - 0.5 / self.ticks)
        values = sim.run(until=t0 + n - 0.25 / self.ticks).output("output").values
        return np.asarray(values.argmax(axis=1))


class Dense(Learner):
    """`Mlp`, skipping zeros, float32: a step a frame, the rate a second divided by the frames."""

    def __init__(self, task: Task, ticks: int, lr: float) -> None:
        super().__init__(task, ticks)
        self.lr = lr / ticks
        self.mlp = Mlp(self.initial, skip_zeros=True, dtype=np.float32)
        self.stream = drifting(self.digits, ticks)

    def prepare(self) -> None:
        """Compile: no frame leaves the weights as they are."""
        nothing = np.zeros(0, np.int64)
        self.mlp.train(self.digits, self.labels, nothing, self.lr)
        self.mlp.predict(self.digits[:0])
        self.stream.frames(0, 1)

    def learn(self, part: int, scale: float) -> Repetition:
        """Learn a part."""
        done, wall_s = self.mlp.trained.zero_skipping.sum(), 0.0
        first, last = (p * self.part * self.ticks for p in (part, part + 1))
        for start in range(first, last, CHUNK):
            stop = min(start + CHUNK, last)
            frames = self.stream.frames(start, stop)
            labels = self.labels[np.arange(start, stop) // self.ticks]
            order = np.arange(stop - start)
            begin = time.perf_counter()
            self.mlp.train(frames, labels, order, self.lr * scale)
            wall_s += time.perf_counter() - begin
        additions = int(self.mlp.trained.zero_skipping.sum() - done)
        return {"units": last - first, "wall_s": wall_s, "additions": additions}

    def show(self) -> Repetition:
        """Read every frame of some digits."""
        stream = drifting(self.shown, self.ticks)
        done, wall_s = self.mlp.predicted.zero_skipping.sum(), 0.0
        for start in range(0, len(stream), CHUNK):
            frames = stream.frames(start, start + CHUNK)
            begin = time.perf_counter()
            self.mlp.predict(frames)
            wall_s += time.perf_counter() - begin
        additions = int(self.mlp.predicted.zero_skipping.sum() - done)
        return {"units": len(stream), "wall_s": wall_s, "additions": additions}

    def read(self, images: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return what the last frame of each digit is taken for."""
        stream = drifting(images, self.ticks)
        lasts = range(self.ticks - 1, len(stream), self.ticks)
        return self.mlp.predict(np.concatenate([stream.frames(k, k + 1) for k in lasts]))


def network(weights: list[Floats], setting: Setting, loss: str, clock: float | None) -> Simulation:
    """Return a spiking network with a hidden layer, float32."""
    first, second = weights
    net = Network(tau=setting.tau)
    net.sensor("pixels", len(first), step=setting.step)
    net.layer(
        "hidden",
        len(second),
        step=setting.hidden_step,
        error_step=setting.hidden_error_step,
    )
    net.output("output", second.shape[1], loss=loss, error_step=setting.error_step)
    net.connect("pixels", "hidden", weights=first)
    net.connect("hidden", "output", weights=second)
    rule = STDP(setting.lr, cap=setting.cap)
    return Simulation(net, plasticity=rule, clock=clock, raster=False, dtype=np.float32)


def timed(sim: Simulation, source: Clocked, until: float) -> Repetition:
    """Run, and return the time without that of making frames, the events and the additions."""
    made = source.wall_s
    begin = time.perf_counter()
    cost = sim.run(until=until).cost
    wall_s = time.perf_counter() - begin - (source.wall_s - made)
    return {"wall_s": wall_s, "events": cost.events, "additions": cost.total("additions")}


def entries(ticks: int) -> dict[str, Entry]:
    """Return who takes part at so many frames a digit, eventnet first."""

    def own(name: str, **options: Any) -> Entry:
        return Entry(f"benchmarks.streams:{name}", {"ticks": ticks, **options}, cwd=ROOT)

    def other(name: str) -> Entry:
        return Entry(f"benchmarks.opponents.{name}", {}, python("opponents"), ROOT)

    return {
        OURS[0]: own("Spiking", clocked=True),
        OURS[1]: own("Spiking", clocked=False),
        DENSE: own("Dense", lr=DENSE_LR[ticks]),
        "JAX, scan": other("xla:Scan"),
        "JAX, a step": other("xla:Step"),
        "PyTorch, autograd and SGD": other("pytorch:Autograd"),
    }


def stream(data: mnist.Mnist, ticks: int, part: int, test: int, seed: int = 0) -> dict[str, Any]:
    """Return a task: ``digits`` to learn as they drift; for opponents from elsewhere, frames as images.

    What those learn in a frame takes as long in any other, so that they get the first frames only.
    """
    task = digits(data, np.random.default_rng(seed).permutation(VALIDATION.start), part, PARTS)
    learned, labels = task["images"], task["labels"]
    count = 2 * PARTS * OPPONENTS_TICKS
    frames = drifting(learned, ticks, times=math.ceil(count / (ticks * len(learned))))
    every = len(task["test_images"]) // test
    return task | {
        "digits": learned,
        "digit_labels": labels,
        "images": frames.frames(0, count),
        "labels": labels[np.arange(count) // ticks % len(labels)],
        "parts": np.array(2 * PARTS),
        "test_images": task["test_images"][::every],
        "test_labels": task["test_labels"][::every],
    }


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return the rows by frames a digit and by contestant."""
    data = mnist.load(fetch("mnist", progress=True))
    part, test = (QUICK_PART, QUICK_TEST) if quick else (PART, TEST)
    found = {}
    for ticks in QUICK_TICKS if quick else TICKS:
        with TemporaryDirectory() as folder:
            task = keep(stream(data, ticks, part, test), Path(folder) / "task.npz")
            rows = interleave(entries(ticks), task, 2 * PARTS, told)
        found[str(ticks)] = compared(rows)
    return {"digits": part * PARTS, "test": test, "ticks": found}


def compared(rows: dict[str, Row]) -> dict[str, Row]:
    """Return rows with the points by which ours are ahead of the dense step, and the standard error."""
    agree({name: row for name, row in rows.items() if "right" not in row}, OPPONENTS_TICKS)
    right = {name: np.array(row.pop("right")) for name, row in rows.items() if "right" in row}
    for name in OURS:
        ahead = 100.0 * right[name] - 100.0 * right[DENSE]
        rows[name]["ahead"] = float(ahead.mean())
        rows[name]["ahead_error"] = float(ahead.std(ddof=1) / math.sqrt(len(ahead)))
    return rows

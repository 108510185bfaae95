"""Section: learning and reading how much moves before a fixed camera, at four rates of frames."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.environments import ROOT, python
from benchmarks.streams import DENSE, OURS, Clocked, Setting, network, timed
from benchmarks.training import agree
from eventnet.bench.task import Repetition, Task, keep
from eventnet.bench.workers import Entry, Told, interleave
from eventnet.classifier import PRESETS, initial_weights
from eventnet.data import fetch
from eventnet.data.epochs import Images, orders
from eventnet.mlp import Mlp
from eventnet.sources import Periodic
from eventnet.video import Video, load

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

CAMERA = 10.0  # frames a second
EVERY = (1, 2, 4, 8)
"""Every so manieth frame is seen."""

HEIGHT, WIDTH = 48, 64
SIZES = (HEIGHT * WIDTH, 200, 4)
PASSES, QUICK_PASSES, LEARNED = 48, 4, 4
SHARE, CHOOSING = 0.7, 0.8
"""Of the recording, to learn; of that, to learn while settings are chosen."""
ENVIRONMENTS = ("opponents",)

NOISE, FULL = 16, 32
"""Grey levels of 255: a smaller difference from the background is 0, one as large as FULL is 1."""

LR_SCALES = (1.0, 0.5, 0.2)
"""By which learning rates fall, each for a third of the passes."""

SETTING = Setting(0.029, 4.3, 0.21, 0.27, 0.15, 0.16, 0.034)
"""One for all rates of frames, as `benchmarks.video_settings` chooses it."""

DENSE_LR = {1: 0.006, 2: 0.012, 4: 0.012, 8: 0.012}
"""A frame; the best of those that `benchmarks.video_settings` tries."""


class Learner(ABC):
    """Learns passes, and after every `LEARNED` of them reads the recording without learning.

    Parameters
    ----------
    task : mapping
        See `watched`.
    """

    def __init__(self, task: Task) -> None:
        self.every, self.passes = int(task["every"]), int(task["passes"])
        self.codes, self.targets = task["codes"], task["targets"]
        self.n = len(self.codes) // self.passes
        self.shown, self.scored, self.truth = task["shown"], int(task["scored"]), task["truth"]
        init = PRESETS["eventnet"].init
        self.initial = [init * w for w in initial_weights(SIZES)]

    def repeat(self, k: int) -> Repetition:
        """Learn a pass, or read."""
        read, learned = divmod(k, LEARNED + 1)
        if learned == LEARNED:
            return {"stage": "inference", **self.show()}
        return {"stage": "training", "units": self.n, **self.learn_pass(read * LEARNED + learned)}

    def learn_pass(self, number: int) -> Repetition:
        """Learn a pass, at the rate of its third."""
        scale = LR_SCALES[number * len(LR_SCALES) // self.passes]
        return self.learn(number, scale)

    def finish(self) -> dict[str, Any]:
        """Return R2 on the frames that are scored."""
        return {"r2": explained(self.outputs()[self.scored :], self.truth)}

    @abstractmethod
    def learn(self, number: int, scale: float) -> Repetition:
        """Learn a pass, at a scale of the rate."""

    @abstractmethod
    def show(self) -> Repetition:
        """Read all frames."""

    @abstractmethod
    def outputs(self) -> Floats:
        """Return what is read at each frame, (n, 4)."""


class Spiking(Learner):
    """3072-200-4 on events, on the camera's clock or in continuous time."""

    def __init__(self, task: Task, clocked: bool, setting: Setting = SETTING) -> None:
        super().__init__(task)
        self.rate = CAMERA / self.every
        clock = 1 / self.rate if clocked else None
        self.sim = network(self.initial, setting, "squared", clock)
        self.source = self._fed(self.sim, self.codes)
        self.sim.teach("output", Periodic(self.targets, self.rate))

    def prepare(self) -> None:
        """Compile."""
        self.sim.run(until=0.0)
        self.sim.reset()

    def learn(self, number: int, scale: float) -> Repetition:
        """Learn a pass."""
        self.sim.scale_lr(scale)
        return timed(self.sim, self.source, ((number + 1) * self.n - 0.5) / self.rate)

    def show(self) -> Repetition:
        """Read all frames, the first of them before time is taken."""
        sim, n = self.sim.copy(), len(self.shown) - 1
        source = self._fed(sim, self.shown)
        sim.run(until=sim.now)
        return {"units": n, **timed(sim, source, sim.now + (n + 0.5) / self.rate)}

    def outputs(self) -> Floats:
        """Return what is read half a frame after each has come."""
        sim, n = self.sim.copy(), len(self.shown)
        self._fed(sim, self.shown)
        sim.probe("output", times=sim.now + (np.arange(n) + 0.5) / self.rate)
        return sim.run(until=sim.now + n / self.rate).output("output").values

    def _fed(self, sim: Any, codes: Bytes) -> Clocked:
        source = Clocked(Images(codes, orders("given", codes), 1, self.rate, sim.now))
        sim.feed("pixels", source)
        return source


class Stepping(Learner):
    """A dense network that takes a step a frame, float32; how, its subclasses say."""

    def __init__(self, task: Task, lr: float | None = None) -> None:
        super().__init__(task)
        self.lr = DENSE_LR[self.every] if lr is None else lr
        self.initial = [w.astype(np.float32) for w in self.initial]
        self.frames = self.taken(self.shown)

    def prepare(self) -> None:
        """Compile: a rate of 0 leaves the weights as they are."""
        self.step(*self._pass(0), 0.0)
        self.outputs()

    def learn(self, number: int, scale: float) -> Repetition:
        """Learn a pass."""
        frames, targets = self._pass(number)
        begin = time.perf_counter()
        self.step(frames, targets, self.lr * scale)
        wall_s = time.perf_counter() - begin
        return {"wall_s": wall_s} | ({} if number else {"held_loss": self._loss()})

    def _pass(self, number: int) -> tuple[Any, Any]:
        part = slice(number * self.n, (number + 1) * self.n)
        return self.taken(self.codes[part]), self.own(self.targets[part].astype(np.float32))

    def _loss(self) -> float:
        error = self.outputs()[self.scored :] - self.truth
        return float((error**2).sum(axis=1).mean() / 2)

    def show(self) -> Repetition:
        """Read all frames."""
        begin = time.perf_counter()
        self.outputs()
        return {"units": len(self.shown), "wall_s": time.perf_counter() - begin}

    def taken(self, codes: Bytes) -> Any:
        """Return frames as they are learned and read, 0 to 1."""
        return self.own(codes.astype(np.float32) / np.float32(255))

    def own(self, array: NDArray[np.float32]) -> Any:
        """Return an array as its library keeps it."""
        return array

    @abstractmethod
    def step(self, frames: Any, targets: Any, lr: float) -> None:
        """Take a step for each frame."""


class Compiled(Stepping):
    """`Mlp`, skipping zeros, with its multiply-adds counted."""

    def __init__(self, task: Task, lr: float | None = None) -> None:
        super().__init__(task, lr)
        self.mlp = Mlp(self.initial, skip_zeros=True, dtype=np.float32)

    def prepare(self) -> None:
        """Compile: no frame leaves the weights as they are."""
        self.mlp.train(self.codes[: self.n], self.targets[: self.n], [], self.lr)
        self.mlp.outputs(self.codes[:0])

    def repeat(self, k: int) -> Repetition:
        """Learn or read, and count."""
        before = self._done()
        told = super().repeat(k)
        return told | {"additions": self._done() - before}

    def _done(self) -> int:
        return int((self.mlp.predicted.zero_skipping + self.mlp.trained.zero_skipping).sum())

    def taken(self, codes: Bytes) -> Any:
        """Return bytes, whose zeros are passed over."""
        return codes

    def step(self, frames: Any, targets: Any, lr: float) -> None:
        """Take a step for each frame."""
        self.mlp.train(frames, targets, np.arange(len(frames)), lr)

    def outputs(self) -> Floats:
        """Return what is read at each frame."""
        return self.mlp.outputs(self.frames)


def explained(told: Floats, truth: Floats) -> float:
    """Return R2 of all quarters together: they share their squared errors and their variances."""
    spread = ((truth - truth.mean(axis=0)) ** 2).sum()
    return float(1 - ((told - truth) ** 2).sum() / spread)


def entries() -> dict[str, Entry]:
    """Return who takes part, eventnet first."""

    def own(name: str, **options: Any) -> Entry:
        return Entry(f"benchmarks.video:{name}", options, cwd=ROOT)

    def other(name: str) -> Entry:
        return Entry(f"benchmarks.opponents.{name}:Regression", {}, python("opponents"), ROOT)

    return {
        OURS[0]: own("Spiking", clocked=True),
        OURS[1]: own("Spiking", clocked=False),
        DENSE: own("Compiled"),
        "JAX, scan": other("xla"),
        "PyTorch, autograd and SGD": other("pytorch"),
    }


def watched(video: Video, every: int, passes: int, choosing: bool = False) -> dict[str, Any]:
    """Return a task: every so manieth frame of a recording, and how much moves in each quarter.

    Parameters
    ----------
    video : Video
        64 x 48 pixels.
    every, passes : int
    choosing : bool
        Whether settings are chosen: the recording then ends where it is no longer learned otherwise.

    Returns
    -------
    dict
        ``codes`` (passes*n, 3072) uint8 and ``targets`` (passes*n, 4): what is learned, pass after
        pass, each begun a frame later and seen from another side (`view`). ``shown`` (m, 3072): the
        recording as it is; of these ``scored`` and later are scored, by ``truth``. Background and
        scale of the targets are those of the frames that are learned.
    """
    frames = video.frames.reshape(len(video.frames), -1)
    start, end = int(SHARE * len(frames)), len(frames)
    if choosing:
        start, end = int(CHOOSING * start), start
    away = np.abs(frames[:end] - np.median(frames[:start], axis=0))
    codes = np.where(away < NOISE, 0, np.minimum(away / FULL, 1) * 255).astype(np.uint8)
    targets = video.moving[:end] / video.moving[:start].std()
    n, scored = start // every, -(-start // every)
    parts = [slice(k % every, start, every) for k in range(passes)]
    views = [view(codes[part][:n], targets[part][:n], k) for k, part in enumerate(parts)]
    return {
        "every": np.array(every),
        "passes": np.array(passes),
        "codes": np.concatenate([seen for seen, _ in views]),
        "targets": np.concatenate([told for _, told in views]),
        "shown": codes[::every],
        "scored": np.array(scored),
        "truth": targets[::every][scored:],
    }


def view(codes: Bytes, targets: Floats, k: int) -> tuple[Bytes, Floats]:
    """Return the k-th of 16 views: quarters change places, and each is turned over.

    For most of what is learned nobody walks in the lower left: what somebody looks like there is to be
    known from the other quarters.
    """
    halves, told = codes.reshape(-1, 2, HEIGHT // 2, 2, WIDTH // 2), targets.reshape(-1, 2, 2)
    turned = [axis for bit, axis in enumerate((1, 3, 4, 2)) if k >> bit & 1]
    exchanged = [axis // 2 + 1 for axis in turned if axis in (1, 3)]
    return (
        np.flip(halves, turned).reshape(codes.shape),
        np.flip(told, exchanged).reshape(targets.shape),
    )


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return the rows by frames a second and by contestant."""
    video = load(fetch("vtest", progress=True) / "vtest.avi", WIDTH, HEIGHT)
    passes = QUICK_PASSES if quick else PASSES
    found = {}
    for every in EVERY[-1:] if quick else EVERY:
        task = watched(video, every, passes)
        with TemporaryDirectory() as folder:
            kept = keep(task, Path(folder) / "task.npz")
            rows = interleave(entries(), kept, passes + passes // LEARNED, told)
        dense = {name: row for name, row in rows.items() if name not in OURS}
        agree(dense, len(task["codes"]) // passes)
        found[f"{CAMERA / every:g}"] = {"rows": rows, **pictured(task["shown"])}
    return {"passes": passes, "rates": found}


def pictured(shown: Bytes) -> dict[str, float]:
    """Return the shares of pixels that are not 0, and of those that change from frame to frame."""
    changed = shown[1:] != shown[:-1]
    return {"lit": float((shown != 0).mean()), "changed": float(changed.mean())}

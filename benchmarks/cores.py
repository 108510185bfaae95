"""Section: two independent networks in two processes, a core each, against one."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numba import njit

from benchmarks.environments import ROOT
from eventnet.bench.task import Repetition, Task, digits, keep
from eventnet.bench.workers import BenchError, Entry, Told, Worker
from eventnet.data import fetch, mnist
from eventnet.trial import VALIDATION

REPETITIONS = 5
PART = {
    "learning on a clock": 2_000,
    "continuous time": 50,
    "continuous time, learning": 50,
    "arithmetic without memory": 1,
}
QUICK_PART = 2
STEPS = 100_000_000  # of arithmetic, a repetition
ENVIRONMENTS = ()


@njit
def _mix(state: Any, steps: int) -> Any:
    for _ in range(steps):
        state ^= state << np.uint64(13)
        state ^= state >> np.uint64(7)
        state ^= state << np.uint64(17)
    return state


class Arithmetic:
    """A generator of random numbers (Marsaglia's xorshift) in registers: what two cores give at best."""

    def __init__(self, task: Task) -> None:
        self.state = np.uint64(1)

    def prepare(self) -> None:
        """Compile."""
        self.state = _mix(self.state, 1)

    def repeat(self, k: int) -> Repetition:
        """Draw `STEPS` numbers."""
        begin = time.perf_counter()
        self.state = _mix(self.state, STEPS)
        return {"units": STEPS, "wall_s": time.perf_counter() - begin}

    def finish(self) -> dict[str, Any]:
        """Return nothing more."""
        return {}


def entries() -> dict[str, Entry]:
    """Return what is run twice at the same time."""
    spiking = "eventnet.bench.spiking"
    return {
        "learning on a clock": Entry(f"{spiking}:Preset"),
        "continuous time": Entry(f"{spiking}:HeldImages", {"learn": False}),
        "continuous time, learning": Entry(f"{spiking}:HeldImages", {"learn": True}),
        "arithmetic without memory": Entry("benchmarks.cores:Arithmetic", cwd=ROOT),
    }


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return by what is run the rates alone and together, a repetition each, and the median gain."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError(f"{len(cores)} core: two are needed; leave this section out")
    data = mnist.load(fetch("mnist", progress=True))
    order = np.random.default_rng(0).permutation(VALIDATION.start)
    repetitions = 2 if quick else REPETITIONS
    found = {}
    for name, entry in entries().items():
        told(name, -1)
        part = QUICK_PART if quick else PART[name]
        with TemporaryDirectory() as folder:
            # Alone and together in turn, hence two parts a repetition.
            task = keep(digits(data, order, part, 2 * repetitions), Path(folder) / "task.npz")
            found[name] = _pair(name, entry, task, cores, repetitions, told)
    return {"rows": found}


def _pair(
    name: str, entry: Entry, task: Path, cores: list[int], repetitions: int, told: Told
) -> dict[str, Any]:
    alone, together = [], []
    with Worker(name, entry, task, cores[-1]) as one, Worker(name, entry, task, cores[0]) as two:
        both = one, two
        for worker in both:
            worker.answer()
        for k in range(repetitions):
            told(name, k)
            for worker in both:
                single = worker.ask("repeat", 2 * k)
                alone.append(single["units"] / single["wall_s"])
            for worker in both:
                worker.begin("repeat", 2 * k + 1)
            done = [worker.answer() for worker in both]
            together.append(sum(d["units"] for d in done) / max(d["wall_s"] for d in done))
    gain = statistics.median(together) / statistics.median(alone)
    return {"alone": alone, "together": together, "gain": gain}

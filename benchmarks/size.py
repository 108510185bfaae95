"""Section: networks of a thousand neurons and more, a thousand synapses each, equally active."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import numpy as np

from benchmarks.environments import ROOT
from eventnet.bench.task import Repetition, Task
from eventnet.bench.workers import BenchError, Entry, Told, interleave
from eventnet.network import Network
from eventnet.plasticity import STDP
from eventnet.simulation import Simulation
from eventnet.sources import Recording, SpikeTrain

FAN_IN = 1_000
NEURONS = (1_000, 10_000, 100_000)
SPIKES = 50_000
"""Into the network in a repetition, whatever its size."""

RATE = 10.0
"""Of a neuron of the source, Hz: the simulated time of a repetition is short where there are many."""

TAU = 0.1
"""s."""

PACKETS = (1, 1_000)
"""Spikes at one time, in turn."""

REPETITIONS = 3
"""With packets of each size."""

MEMORY_GB = 12.0
ENVIRONMENTS = ()


class Sparse:
    """A source and a layer of as many neurons, each of which hears a thousand of the source.

    Parameters
    ----------
    task : mapping
        Unused.
    neurons : int
    learn : bool
        The layer is an output, and learns to be silent.
    spikes : int
        In a repetition.
    memory_gb : float
        More is an error.
    **simulation
        Of `Simulation`.
    """

    def __init__(
        self,
        task: Task,
        neurons: int,
        learn: bool,
        spikes: int = SPIKES,
        memory_gb: float = MEMORY_GB,
        **simulation: Any,
    ) -> None:
        # What the interpreter and its libraries map is not used, but counted.
        limit = int((memory_gb + 1) * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        self.neurons, self.spikes = neurons, spikes
        net = Network(tau=TAU)
        net.source("source", neurons, step=1.0)
        if learn:
            net.output("layer", neurons, error_step=0.5, threshold=1.0)
        else:
            net.layer("layer", neurons, step=0.5, threshold=1.0)
        net.connect("source", "layer", fan_in=min(FAN_IN, neurons))
        begin = time.perf_counter()
        self.sim = Simulation(
            net, plasticity=STDP(lr=1e-3) if learn else None, raster=False, **simulation
        )
        self.network_s = time.perf_counter() - begin
        self.random = np.random.default_rng(0)
        # Until residuals are anywhere between the thresholds, and the sum of what arrives is level.
        packets = [PACKETS[k % len(PACKETS)] for k in range(len(PACKETS) * REPETITIONS)]
        numbers = [max(neurons // 2, spikes), *(spikes // packet for packet in packets)]
        sizes = np.minimum(np.repeat([PACKETS[0], *packets], numbers), neurons)
        ends = np.cumsum(sizes) / (neurons * RATE)
        self.ends = ends[np.cumsum(numbers) - 1]
        self.sim.feed("source", self._train(sizes, ends))
        if learn:
            self.sim.teach("layer", Recording([0.0], np.zeros((1, neurons))))

    def _train(self, sizes: Any, ends: Any) -> SpikeTrain:
        """Return packets of these sizes, of neurons drawn at random."""
        members = [
            self.random.choice(self.neurons, int(n), replace=False, shuffle=False)
            if n > 1
            else self.random.integers(self.neurons, size=1)
            for n in sizes
        ]
        return SpikeTrain(np.repeat(ends, sizes), np.concatenate(members))

    def prepare(self) -> None:
        self.sim.run(until=self.ends[0])

    def repeat(self, k: int) -> Repetition:
        begin = time.perf_counter()
        run = self.sim.run(until=self.ends[k + 1])
        wall_s = time.perf_counter() - begin
        passes = run.cost.projections["source -> layer"]
        return {
            "packet": PACKETS[k % len(PACKETS)],
            "units": run.cost.populations["source"]["events"],
            "wall_s": wall_s,
            "events": run.cost.events,
            "synapses": sum(int(p.multiply_adds) for p in passes.values()),
        }

    def finish(self) -> dict[str, Any]:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return {"peak_gb": peak * 1024 / 2**30, "network_s": self.network_s}


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return a list of rows; a network that does not fit has ``failed`` in it, and why."""
    sizes = (100, 1_000) if quick else NEURONS
    return {"rows": [row for learn in (False, True) for row in rows(sizes, learn, quick, told)]}


def rows(sizes: tuple[int, ...], learn: bool, quick: bool, told: Told) -> list[dict[str, Any]]:
    """Time networks of these sizes in turn, the smallest first; return a row a size and packet."""
    entries = {}
    for n in sizes:
        options = {"neurons": n, "learn": learn, "memory_gb": MEMORY_GB, "dtype": "float32"}
        options |= {"spikes": 2_000} if quick else {}
        name = f"{n:,} neurons{', learning' if learn else ''}"
        entries[name] = Entry("benchmarks.size:Sparse", options, cwd=ROOT)
    try:
        found = interleave(entries, None, len(PACKETS) * REPETITIONS, told)
    except BenchError as error:
        if "MemoryError" not in str(error) or len(sizes) == 1:
            raise
        print(f"{name}: does not fit {MEMORY_GB:g} GB", file=sys.stderr)
        failed = {"neurons": sizes[-1], "learn": learn, "failed": f"needs over {MEMORY_GB:g} GB"}
        return [*rows(sizes[:-1], learn, quick, told), failed | {"synapses": _synapses(sizes[-1])}]
    kept = []
    for n, row in zip(sizes, found.values(), strict=True):
        for packet in PACKETS:
            mine = {"neurons": n, "synapses": _synapses(n), "learn": learn, "packet": packet}
            mine["repetitions"] = [r for r in row["repetitions"] if r["packet"] == packet]
            kept.append(row | mine)
    return kept


def _synapses(neurons: int) -> int:
    return neurons * min(FAN_IN, neurons)

"""Section: networks of a thousand to a million neurons, a thousand synapses each, equally active."""

from __future__ import annotations

import os
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
LARGEST = 1_000_000
"""Only on demand: inference needs 9 GB."""

LARGEST_LEARNING = 300_000
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
        warm = max(neurons // 2, spikes)
        sizes = [PACKETS[0]] * warm
        for k in range(len(PACKETS) * REPETITIONS):
            packet = PACKETS[k % len(PACKETS)]
            sizes += [packet] * (spikes // packet)
        ends = np.cumsum(sizes) / (neurons * RATE)
        self.ends = ends[np.cumsum([warm, *(spikes // PACKETS[k % 2] for k in range(6))]) - 1]
        self.sim.feed("source", self._train(np.array(sizes), ends))
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
    """Return a list of rows; a network that does not fit has ``failed`` in it, and why.

    EVENTNET_BENCH_LARGEST=1 adds the largest ones.
    """
    largest = os.environ.get("EVENTNET_BENCH_LARGEST") == "1"
    found = []
    for learn in (False, True):
        top = LARGEST_LEARNING if learn else LARGEST
        sizes = (100, 1_000) if quick else NEURONS + ((top,) if largest else ())
        for packet in PACKETS:
            found += [_row(n, sizes[0], learn, packet, quick, told) for n in sizes]
    return {"rows": found, "largest": largest}


def _row(
    neurons: int, smallest: int, learn: bool, packet: int, quick: bool, told: Told
) -> dict[str, Any]:
    """Time a network in turn with the smallest one."""

    def entry(n: int) -> Entry:
        options = {"neurons": n, "learn": learn, "packet": packet, "memory_gb": MEMORY_GB}
        options["dtype"] = "float32"
        if quick:
            options["spikes"] = 1_000
        return Entry("benchmarks.size:Sparse", options, cwd=ROOT)

    what = f"{neurons:,} neurons{', learning' if learn else ''}"
    row: dict[str, Any] = {"neurons": neurons, "learn": learn, "packet": packet}
    row["synapses"] = neurons * min(FAN_IN, neurons)
    pair = {what: entry(neurons)}
    if neurons != smallest:
        pair[f"{smallest:,} neurons beside it"] = entry(smallest)
    try:
        rows = interleave(pair, None, REPETITIONS, told)
    except BenchError as error:
        if "MemoryError" not in str(error):
            raise
        print(f"{what}: does not fit {MEMORY_GB:g} GB", file=sys.stderr)
        return row | {"failed": f"needs more than {MEMORY_GB:g} GB"}
    smaller = rows[f"{smallest:,} neurons beside it"] if neurons != smallest else None
    return row | rows[what] | {"beside": smaller}

"""Contestants of the roofline: rows added to a vector, by themselves and as a projection of eventnet."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numba import njit

from eventnet.bench.task import Repetition, Task
from eventnet.engine.jit import kernel
from eventnet.engine.kernels import gather
from eventnet.engine.learning import plasticity_stage
from eventnet.network import Network
from eventnet.plasticity import STDP
from eventnet.simulation import Simulation
from eventnet.sources import Periodic

SYNAPSES = 1 << 27
"""Synapses a repetition, about."""

WHAT = ("forward", "rows", "errors")
ENGINES = {"continuous time": None, "clocked": 1.0}
ALONE = "continuous time, alone"

TAU = 1e9
"""So long that nothing decays and held readings do not fire, s."""

SENSORS = 16
PACKET_SHARE = 8
"""One neuron in so many fires in a packet."""


def packets(n_in: int, n_out: int, synapses: int = SYNAPSES) -> tuple[np.ndarray[Any, Any], int]:
    """Return the rows of each of `SENSORS` packets, and how many packets make a repetition."""
    random = np.random.default_rng(0)
    size = n_in // PACKET_SHARE
    rows = np.stack([np.sort(random.permutation(n_in)[:size]) for _ in range(SENSORS)])
    return rows, max(synapses // (size * n_out), SENSORS)


@njit
def _read(w: Any, rows: Any, out: Any, times: int) -> None:
    for k in range(times):
        for i in rows[k % len(rows)]:
            row = w[i]
            for j in range(out.size):
                out[j] += row[j]


@njit
def _change(w: Any, rows: Any, out: Any, times: int, factor: Any) -> None:
    for k in range(times):
        for i in rows[k % len(rows)]:
            row = w[i]
            for j in range(out.size):
                row[j] += factor * out[j]


class Axpy:
    """``out += row`` (read), or ``row += factor*out`` (read, modify, write), of random rows."""

    def __init__(
        self,
        task: Task,
        n_in: int,
        n_out: int,
        dtype: str,
        write: bool,
        synapses: int = SYNAPSES,
    ) -> None:
        kind = np.dtype(dtype)
        # Rows that begin with a cache line.
        room = np.full(n_in * n_out + 64, 1e-9, kind)
        start = -(room.ctypes.data // kind.itemsize) % (64 // kind.itemsize)
        self.w = room[start : start + n_in * n_out].reshape(n_in, n_out)
        self.out = np.zeros(n_out, kind)
        self.factor = kind.type(1e-12)
        self.write = write
        self.rows, self.times = packets(n_in, n_out, synapses)

    def prepare(self) -> None:
        self._run(1)

    def _run(self, times: int) -> None:
        if self.write:
            _change(self.w, self.rows, self.out, times, self.factor)
        else:
            _read(self.w, self.rows, self.out, times)

    def repeat(self, k: int) -> Repetition:
        begin = time.perf_counter()
        self._run(self.times)
        wall_s = time.perf_counter() - begin
        return {"units": self.times * self.rows.shape[1] * self.w.shape[1], "wall_s": wall_s}

    def finish(self) -> dict[str, Any]:
        return {}


class Projection:
    """A dense projection to which packets of spikes are sent, through the public interface.

    A sensor of 16 readings switches a random eighth of a layer on or off at each instant, which fires as
    one packet into the projection that is measured. Nothing decays, so that nothing else happens.

    Parameters
    ----------
    task : mapping
        Unused.
    n_in, n_out : int
    what : {"forward", "rows", "errors"}
        Only the forward pass; with an update of the rows that fired, the error being constant; and with
        error spikes of an eighth of the target as well, that is, a backward pass and columns.
    clock : float, optional
        Of the clocked engine, s.
    **simulation
        Of `Simulation`.
    """

    def __init__(
        self,
        task: Task,
        n_in: int,
        n_out: int,
        what: str,
        clock: float | None = None,
        synapses: int = SYNAPSES,
        **simulation: Any,
    ) -> None:
        rows, self.times = packets(n_in, n_out, synapses)
        net = Network(tau=TAU)
        net.sensor("sensor", SENSORS, step=1.0)
        net.layer("layer", n_in, step=1.0, error_step=1e9)
        net.output("output", n_out, error_step=1.0)
        first = np.zeros((SENSORS, n_in))
        np.put_along_axis(first, rows, 1.0, axis=1)
        net.connect("sensor", "layer", weights=first, plastic=what == "errors")
        net.connect("layer", "output", weights=np.full((n_in, n_out), 1e-9))
        rule = None if what == "forward" else STDP(lr=1e-30, cap=None)
        self.sim = Simulation(net, plasticity=rule, raster=False, clock=clock, **simulation)
        self.sim.feed("sensor", _Switches(SENSORS))
        if what == "rows":
            self.sim.teach("output", Periodic(np.ones((1, n_out)), rate=1.0))
        if what == "errors":
            self.sim.teach("output", _Switches(n_out, packets(n_out, n_in)[0]))

    def prepare(self) -> None:
        self.sim.run(until=SENSORS - 0.5)

    def repeat(self, k: int) -> Repetition:
        start = self.sim.now
        begin = time.perf_counter()
        run = self.sim.run(until=np.floor(start) + self.times + 0.5)
        wall_s = time.perf_counter() - begin
        passes = run.cost.projections["layer -> output"]
        counts = {name: int(p.multiply_adds) for name, p in passes.items()}
        return {"units": sum(counts.values()), "wall_s": wall_s, **counts}

    def finish(self) -> dict[str, Any]:
        return {}


@kernel
def _stages(
    times: int,
    learn: bool,
    t: float,
    q: int,
    rows: Any,
    net: Any,
    state: Any,
    weights: Any,
    flights: Any,
    scratch: Any,
    counters: Any,
) -> None:
    """Run the stages that projection `q` takes part in, a packet of its source's spikes at a time."""
    source, target = net.projection[q].source, net.projection[q].target
    first, n = net.first[source], rows.shape[1]
    for k in range(times):
        for m in range(n):
            scratch.fired.neuron[first + m] = rows[k % rows.shape[0], m]
            scratch.fired.quanta[first + m] = 1.0
        scratch.fired.number[source] = n
        gather(target, net, state, weights, flights, scratch, counters, None)
        if learn:
            fired, errors = scratch.fired, scratch.errors
            parts = (net, state, weights, flights, fired, errors, scratch, counters)
            plasticity_stage(t, q, *parts, None)


class Stages(Projection):
    """The same in continuous time, of a packet only what the projection itself does.

    Encoding and all else of an instant is left out, so that rows and nothing else are compared. The
    engine's stages are called on its own arrays.
    """

    def __init__(self, task: Task, n_in: int, n_out: int, what: str, **options: Any) -> None:
        super().__init__(task, n_in, n_out, what, **options)
        self.learn = what == "rows"
        self.packets = packets(n_in, n_out)[0]
        self.synapses = self.packets.shape[1] * n_out

    def prepare(self) -> None:
        super().prepare()
        self._run(1)

    def _run(self, times: int) -> None:
        engine = self.sim._engine
        parts = engine._net, engine._state, engine._weights, engine._flights, engine._scratch
        _stages(times, self.learn, self.sim.now, 1, self.packets, *parts, engine.counters)

    def repeat(self, k: int) -> Repetition:
        begin = time.perf_counter()
        self._run(self.times)
        wall_s = time.perf_counter() - begin
        done = self.times * self.synapses
        counts = {"forward": done, "backward": 0, "update": done * self.learn}
        return {"units": sum(counts.values()), "wall_s": wall_s, **counts}


class Kernels:
    """The projections of one size and precision, one after the other, each in turn with the rows alone.

    Parameters
    ----------
    task : mapping
        Unused.
    n_in, n_out : int
    dtype : str
        Of all weights.
    repetitions : int
        Of each.
    """

    def __init__(self, task: Task, repetitions: int, **size: Any) -> None:
        self.size, self.repetitions = size, repetitions
        self.alone = {
            name: Axpy(task, write=name == "change", **size) for name in ("read", "change")
        }
        self.kernels = [(engine, what) for engine in (*ENGINES, ALONE) for what in WHAT]
        self.kernels.remove((ALONE, "errors"))

    def prepare(self) -> None:
        for rows in self.alone.values():
            rows.prepare()

    def repeat(self, k: int) -> Repetition:
        engine, what = self.kernels[k // self.repetitions]
        if k % self.repetitions == 0:
            self.projection = None  # its memory goes before the next one takes its own
            made = Stages if engine == ALONE else Projection
            self.projection = made({}, what=what, clock=ENGINES.get(engine), **self.size)
            self.projection.prepare()
        found = {"kernel": f"{engine}, {what}"}
        for name, rows in self.alone.items():
            row = rows.repeat(k)
            found[name] = row["units"] / row["wall_s"]
        return found | self.projection.repeat(k)

    def finish(self) -> dict[str, Any]:
        return {}


class _Switches:
    """Readings, or targets, of which one packet is switched on or off each second."""

    def __init__(self, width: int, packets: np.ndarray[Any, Any] | None = None) -> None:
        self.width = width
        self.table = np.zeros((2 * SENSORS, width))
        for k in range(2 * SENSORS):
            self.table[k] = self.table[k - 1]
            members = k % SENSORS if packets is None else packets[k % SENSORS]
            # On from 0 to 15, off from 16 to 31; what two packets share is counted twice.
            self.table[k, members] += 1.0 if k < SENSORS else -1.0

    def __len__(self) -> int:
        return 1 << 40

    def block(self, start: int, stop: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        k = np.arange(start, stop)
        return k.astype(np.float64), self.table[k % (2 * SENSORS)]

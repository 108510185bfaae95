"""The world around a network: SimPy processes that write readings and targets and read outputs.

Time stands in stamps (a recording's own, or ``t0 + k/rate``), never in an accumulated ``env.now``.
What happens at one stamp T has an order: writes (priority 1), the settle event, in which the engine
runs the instant T once (priority 2), probes and plants (priority 3). A write at T after that takes
effect at the next representable time.

A process keeps its position in fields, so that `state` and `restore` can save it; the SimPy
generator around it only waits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Sequence
from heapq import heappush
from typing import Any, Protocol

import numpy as np
import simpy
from numpy.typing import ArrayLike, NDArray

from eventnet.engine import Engine
from eventnet.errors import ConfigError, DataError
from eventnet.network import Population, positive
from eventnet.sources import asked, whole

Floats = NDArray[np.float64]

WRITE, SETTLE, READ, AFTER = 1, 2, 3, 4
"""SimPy priorities of the three things that happen at one stamp, and of none."""

READ_AHEAD = 1 << 16
"""Numbers that probes read at a time."""

FEW = 8
"""So many readings are faster one by one than in a block, which has to be made."""

FIRST = 1 << 60
"""Puts an order before every number that SimPy gives its events."""


class Clock(simpy.Environment):
    """A SimPy environment on which events can be put at an absolute time."""

    def at(self, time: float, priority: int = WRITE, order: int | None = None) -> simpy.Event:
        """Return an event that happens at `time` exactly, which ``now + (time - now)`` may miss.

        Of those with one time and priority the lowest `order` comes first; without one they come
        after those that have one, in the order of these calls.
        """
        event = simpy.Event(self)
        event._ok = True
        event._value = None
        place = next(self._eid) if order is None else order - FIRST
        entry: Any = (time, priority, place, event)
        heappush(self._queue, entry)
        return event

    def catch_up(self, time: float, priority: int) -> None:
        """Run every event that comes before those of `priority` at `time`."""
        while self._queue and self._queue[0][:2] < (time, priority):
            self.step()


class Process(Protocol):
    """Something with a clock of its own."""

    @property
    def priority(self) -> int:
        """`WRITE` or `READ`: before or after the engine runs the instant of its next stamp."""
        ...

    def next_time(self) -> float:
        """Return the stamp at which it acts next; inf when it is done."""
        ...

    def act(self, world: World, time: float) -> None:
        """Act at `time` and move on to the next stamp."""
        ...

    def state(self) -> dict[str, Any]:
        """Return its position as plain data."""
        ...

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a position that `state` returned."""
        ...


class Sampled:
    """A signal computed when it is needed: sample k is ``function(t)`` at ``t = t0 + k/rate``.

    Parameters
    ----------
    function : callable
        Takes the time in s, returns a reading (or a target) of the population's size.
        One that remembers more than that offers ``state()`` and ``restore(saved)`` as a `Process` does.
    rate : float
        Samples per second.
    t0 : float
        Time of the first sample, s.
    stop : float
        No sample is taken after this time, s.

    Examples
    --------
    >>> import math
    >>> tone = Sampled(lambda t: [math.sin(t)], rate=100.0)
    >>> tone.time_of(3)
    0.03
    """

    def __init__(
        self,
        function: Callable[[float], ArrayLike],
        rate: float,
        t0: float = 0.0,
        stop: float = math.inf,
    ) -> None:
        self.function = function
        self.rate = positive(rate, "rate", "a sampled source", " Hz")
        self.t0 = float(t0)
        self.stop = float(stop)

    def time_of(self, k: int) -> float:
        """Return the stamp of sample `k`."""
        return self.t0 + k / whole(self.rate)


class Sampler:
    """The process that asks a `Sampled` signal and writes what it says."""

    priority = WRITE

    def __init__(self, population: Population, signal: Sampled) -> None:
        self.population = population
        self.signal = signal
        self.k = 0

    def next_time(self) -> float:
        """Return the stamp of the next sample."""
        time = self.signal.time_of(self.k)
        return time if time <= self.signal.stop else math.inf

    def act(self, world: World, time: float) -> None:
        """Write one sample."""
        self.k += 1
        with asked(f"at t={time:.9g} s: the function that feeds {self.population.name}"):
            values = self.signal.function(time)
        world.write(self.population, values, time)

    @property
    def remembers(self) -> bool:
        """Whether its function says what it remembers."""
        return hasattr(self.signal.function, "state")

    def state(self) -> dict[str, Any]:
        """Return the number of samples taken, and what the function remembers."""
        function: Any = self.signal.function
        return {"k": self.k, "function": function.state() if self.remembers else None}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a number of samples taken."""
        self.k = int(saved["k"])
        function: Any = self.signal.function
        if self.remembers:
            function.restore(saved["function"])


class Probe:
    """Reads a population's decoded signal at given stamps, after the instant has settled.

    Parameters
    ----------
    population : Population
    times : ndarray, shape (n,)
        Stamps, s, increasing.
    """

    priority = READ

    def __init__(self, population: Population, times: Floats) -> None:
        self.population = population
        self._given = times
        self._rate: tuple[float, float, float] | None = None
        self._blocks: list[Floats] = []
        self.count = 0
        """Readings so far."""

    @classmethod
    def periodic(cls, population: Population, rate: float, t0: float, stop: float) -> Probe:
        """Return a probe at ``t0 + k/rate`` up to `stop`."""
        probe = cls(population, np.zeros(0))
        probe._rate = (rate, t0, stop)
        return probe

    def stamps(self, begin: int, end: int) -> Floats:
        """Return the stamps of its readings from number `begin` to before `end`, s."""
        if self._rate is None:
            return self._given[begin:end]
        rate, t0, stop = self._rate
        stamps = t0 + np.arange(begin, end) / whole(rate)
        return stamps[: int(np.searchsorted(stamps, stop, side="right"))]

    def ahead(self, until: float, most: int) -> Floats:
        """Return its next stamps, at least all up to `until` (s), but no more than `most`."""
        if self._rate is not None and until < math.inf:
            rate, t0, _ = self._rate
            most = max(min(most, int((until - t0) * whole(rate)) - self.count + 2), 1)
        return self.stamps(self.count, self.count + most)

    @property
    def times(self) -> Floats:
        """Return the stamps of what was read so far, shape (k,), in s."""
        return self.stamps(0, self.count)

    @property
    def values(self) -> Floats:
        """Return what was read so far, shape (k, size)."""
        if len(self._blocks) != 1:
            size = self.population.size
            self._blocks = [np.concatenate([np.zeros((0, size)), *self._blocks])]
        return self._blocks[0].copy()

    def next_time(self, then: int = 0) -> float:
        """Return the next stamp, or so many after it."""
        k = self.count + then
        if self._rate is None:
            return float(self._given[k]) if k < len(self._given) else math.inf
        rate, t0, stop = self._rate
        time = t0 + k / whole(rate)
        return time if time <= stop else math.inf

    def act(self, world: World, time: float) -> None:
        """Read once, and ahead; unless another probe has done so."""
        if self.next_time() == time:
            world.read_on(self)

    def take(self, values: Floats) -> None:
        """Keep readings, (n, size)."""
        self._blocks.append(values)
        self.count += len(values)

    def state(self) -> dict[str, Any]:
        """Return what was read."""
        return {"values": self.values}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what was read."""
        self._blocks, self.count = [np.array(saved["values"])], len(saved["values"])


class Change:
    """Changes the engine once, at one stamp, before the instant runs."""

    priority = WRITE

    def __init__(self, time: float, change: Callable[[Engine], None]) -> None:
        self.time = float(time)
        self.change = change
        self.done = False

    def next_time(self) -> float:
        """Return the stamp, once."""
        return math.inf if self.done else self.time

    def act(self, world: World, time: float) -> None:
        """Change it."""
        self.done = True
        world.engine.advance(time)
        self.change(world.engine)

    def state(self) -> dict[str, Any]:
        """Return whether it is done."""
        return {"done": self.done}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to before or after it."""
        self.done = bool(saved["done"])


class Observer(Protocol):
    """Who looks on while the world runs: at each write of a process, and at each read."""

    def wrote(self, population: Population, time: float, values: Floats) -> None:
        """See a reading or a target at the time (s) at which it took effect."""

    def read(self, population: Population, time: float, values: Floats) -> None:
        """See what was read."""


class World:
    """Runs processes and an engine on one clock.

    Parameters
    ----------
    engine : Engine
    t0 : float
        Start, s.
    """

    def __init__(self, engine: Engine, t0: float = 0.0) -> None:
        self.engine = engine
        self.t0 = t0
        self.env = Clock(initial_time=t0)
        self.settled = -math.inf  # the last stamp whose instant has run
        self._reached = -math.inf  # the stamp before which all has run
        self._settle_at = -math.inf  # the last stamp for which a settle event is queued
        self._limit = (-math.inf, WRITE)  # before which all events that are queued will run
        self.observer: Observer | None = None
        self._waiting: list[tuple[float, Population, Floats]] = []  # writes at times to come
        self.processes: list[Process] = []
        self._fresh: list[dict[str, Any] | None] = []

    def add(self, process: Process) -> None:
        """Let a process run from its next stamp on.

        At one stamp processes act in the order in which they were added. One without ``state()`` and
        ``restore()`` can run, but not be saved.
        """
        self.processes.append(process)
        try:
            self._fresh.append(process.state() if hasattr(process, "state") else None)
        except ConfigError:  # part of it has none
            self._fresh.append(None)
        self.env.process(self._live(len(self.processes) - 1))

    def _live(self, number: int) -> Generator[simpy.Event, None, None]:
        process = self.processes[number]
        while (time := process.next_time()) < math.inf:
            yield self.env.at(max(time, self.env.now), process.priority, number)
            process.act(self, time)

    def write(self, population: Population, values: ArrayLike, time: float) -> None:
        """Give a sensor a reading, or an output a target, at `time`.

        Parameters
        ----------
        population : Population
        values : array_like, shape (size,)
            Finite; NaN means "no target" where the population is an output.
        time : float
            Stamp, s. In the future the values wait for it; if its instant has run, they take effect
            just after it.

        Raises
        ------
        DataError
            For another shape or values that are not finite.
        """
        array = np.asarray(values, dtype=np.float64).reshape(-1)
        if array.shape != (population.size,):
            raise DataError(
                f"{array.size} values for {population.name} at t={time:.9g} s: its size is "
                f"{population.size}"
            )
        check_values(population, array[None, :], f"at t={time:.9g} s")
        if time > self.env.now:
            self._wait(time, population, array)
        else:
            self._apply(population, array, time)

    def _wait(self, time: float, population: Population, values: Floats) -> None:
        """Write at a time to come."""
        entry = (time, population, values)

        def apply() -> None:
            self._waiting = [other for other in self._waiting if other is not entry]
            self._apply(population, values, time)

        self._waiting.append(entry)
        self._later(time, WRITE, apply)

    def _apply(self, population: Population, values: Floats, time: float) -> None:
        """Write now; what is late takes effect as soon as it can."""
        time = max(time, self.env.now)
        if time <= self.settled:
            time = float(np.nextafter(self.settled, math.inf))
        self.engine.advance(time)
        self.engine.write(population.index, values, time)
        if self.observer is not None:
            self.observer.wrote(population, time, values)
        if time > self._settle_at:
            self._settle_later(time)

    def _settle_later(self, time: float) -> None:
        self._settle_at = time
        self._later(time, SETTLE, lambda: self.settle(time))

    def deliver(self, population: Population, values: Floats, time: float) -> None:
        """Write what was checked, once all that comes before `time` (s) has run.

        For what comes in order of time, by the thousand: no event is made of it.
        """
        self._catch_up(time, WRITE)
        if time <= self.settled:
            time = float(np.nextafter(self.settled, math.inf))
        if time > self._reached:  # others of this stamp may have come
            self.engine.advance(time)
            self._reached = time
        self.engine.write(population.index, values, time)
        if self.observer is not None:
            self.observer.wrote(population, time, values)

    def _later(self, time: float, priority: int, action: Callable[[], None]) -> None:
        event = self.env.at(time, priority)
        assert event.callbacks is not None
        event.callbacks.append(lambda _: action())

    def settle(self, time: float) -> None:
        """Let the engine run everything up to and with the instant `time`."""
        if time > self.settled:
            self.engine.advance(time, inclusive=True)
            self.settled = time

    def read(self, population: Population, time: float) -> Floats:
        """Return a population's decoded signal at `time`, shape (size,), after settling it."""
        self._catch_up(time, READ)
        self.settle(time)
        found = self.engine.read(population.index, time)
        if self.observer is not None:
            self.observer.read(population, time, found)
        return found

    def read_on(self, first: Probe) -> None:
        """Let a probe read now, and it and all others ahead as far as nobody else acts.

        The engine does so by itself: no Python runs for a reading, unless they are few.
        """
        probes = [p for p in self.processes if isinstance(p, Probe)]
        if len(probes) == 1 and first.next_time(1) > min(self._others()):
            first.take(self.read(first.population, first.next_time())[None])
            return
        times = self._ahead(first, probes)
        left = list(times)
        seen: list[tuple[float, int, Floats]] = []

        def take(k: int, values: Floats) -> None:
            stamps, left[k] = np.split(left[k], [len(values)])
            probes[k].take(values)
            self.settled = max(self.settled, *stamps.tolist()[-1:], -math.inf)
            if self.observer is not None:
                seen.extend(zip(stamps.tolist(), [k] * len(values), values, strict=True))

        try:
            if sum(map(len, times)) <= FEW:
                for time, k in sorted((t, k) for k, s in enumerate(times) for t in s.tolist()):
                    self.settle(time)
                    take(k, self.engine.read(probes[k].population.index, time)[None])
            else:
                self.engine.watch([p.population.index for p in probes], times, take)
        finally:
            if self.observer is not None:
                for time, k, values in sorted(seen, key=lambda one: one[:2]):
                    self.observer.read(probes[k].population, time, values)

    def _ahead(self, first: Probe, probes: list[Probe]) -> list[Floats]:
        """Return the stamps at which each probe reads before anybody else acts; `first` at least once."""
        room = max(READ_AHEAD // sum(p.population.size for p in probes), 1)
        others = self._others()
        latest, priority = self._limit
        ahead = [p.ahead(min(latest, *others), room + 1) for p in probes]
        end = min(
            others + [float(stamps[room]) for stamps in ahead if len(stamps) > room],
            default=math.inf,
        )
        side: Any = "right" if priority > READ else "left"
        return [
            stamps[
                : max(
                    min(np.searchsorted(stamps, end), np.searchsorted(stamps, latest, side)),
                    probe is first,
                )
            ]
            for probe, stamps in zip(probes, ahead, strict=True)
        ]

    def _others(self) -> list[float]:
        """Return when everybody but probes acts next, inf at least."""
        queue = self.env._queue
        return [math.inf, *(at for at, _, place, _ in queue if not self._is_probe(place))]

    def _is_probe(self, place: int) -> bool:
        """Return whether an event with this place among others is a probe's."""
        return place < 0 and isinstance(self.processes[place + FIRST], Probe)

    def run(self, until: float) -> None:
        """Run everything up to and with `until`."""
        start = max(self.settled, self.env.now)
        if until < start:
            raise ConfigError(f"until={until} s: the simulation already stands at {start} s")
        self._step(until)
        self.settle(until)

    def approach(self, time: float) -> None:
        """Run what comes before `time`: going on from there is as if there had been no stop."""
        self._step(time)
        self.engine.advance(time)

    def _step(self, time: float) -> None:
        self._catch_up(time, AFTER)

    def _catch_up(self, time: float, priority: int) -> None:
        """Run every event that comes before those of `priority` at `time`."""
        outer, self._limit = self._limit, (time, priority)
        try:
            self.env.catch_up(time, priority)
        finally:
            self._limit = outer

    def state(self) -> dict[str, Any]:
        """Return the position of the world and of each process; the engine has its own.

        Raises
        ------
        ConfigError
            For a process without ``state()``, naming it.
        """
        for process in self.processes:
            if not (hasattr(process, "state") and hasattr(process, "restore")):
                raise without_state(f"the process {type(process).__name__}")
        return {
            "now": self.env.now,
            "settled": self.settled,
            "settle_at": self._settle_at if self._settle_at > self.env.now else -math.inf,
            "waiting": [(time, p.index, values.copy()) for time, p, values in self._waiting],
            "processes": [process.state() for process in self.processes],
        }

    def reset(self) -> None:
        """Go back to t0, every process to where it was when it was added."""
        fresh = self._fresh
        self.restore(
            {
                "now": self.t0,
                "settled": -math.inf,
                "settle_at": -math.inf,
                "waiting": [],
                "processes": fresh,
            }
        )

    def restore(self, saved: dict[str, Any], populations: Sequence[Population] = ()) -> None:
        """Go back to a position that `state` returned, for the same processes and populations."""
        self.env = Clock(initial_time=saved["now"])
        self.settled = saved["settled"]
        self._reached = -math.inf
        self._settle_at = -math.inf
        self._waiting = []
        for k, (process, fields) in enumerate(zip(self.processes, saved["processes"], strict=True)):
            if fields is None:
                raise without_state(f"the process {type(process).__name__}")
            process.restore(fields)
            self.env.process(self._live(k))
        for time, index, values in saved["waiting"]:
            self._wait(time, populations[index], np.array(values))
        if saved["settle_at"] > saved["now"]:
            self._settle_later(saved["settle_at"])


def without_state(what: str) -> ConfigError:
    """Return the error that says what cannot be saved."""
    return ConfigError(
        f"{what} offers no state() and restore(): what it remembers cannot be saved; add both, as in "
        "eventnet.world.Process"
    )


def check_values(population: Population, values: Floats, where: str, first: int = 0) -> None:
    """Raise if readings (n, size) are not finite, or targets are infinite; NaN is "no target".

    `where` says which sample it is; empty: its number, counted from `first`.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(values.sum()):  # nothing that is not finite leaves a finite sum
            return
    bad = np.isinf(values) if population.kind == "output" else ~np.isfinite(values)
    if bad.any():
        row, column = (int(k) for k in np.argwhere(bad)[0])
        what = "target" if population.kind == "output" else "reading"
        place = where or f"in sample {first + row}"
        raise DataError(
            f"{what} {values[row, column]} {place}, column {column}, of {population.name}: "
            "must be finite"
            + (" (NaN: no target)" if population.kind == "output" else "; clean it or drop it")
        )

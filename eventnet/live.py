"""Live: readings that are pushed while the network runs, paced by the wall clock.

Simulated time follows the wall clock, behind it by the largest `lateness` of all sensors, so that a
reading that is under way for less still takes effect at its own time stamp, whatever the order of
arrival. One that is under way for longer takes effect at once, and is counted as overdue; it is late, and
dropped, if a newer one of the same sensor has taken effect. Nothing waits for a sensor that is silent.
"""

from __future__ import annotations

import gc
import logging
import math
import threading
import time as wall
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.arrivals import Arrivals, Books, Note
from eventnet.errors import ConfigError, DataError
from eventnet.network import Population, positive, unknown
from eventnet.sources import whole
from eventnet.world import READ, World, check_values

Floats = NDArray[np.float64]

LATENESS = 0.01
"""Seconds behind the wall clock, unless a sensor says otherwise."""
GAP = 1.0
"""Seconds of silence, or of a step of a clock, that are reported, unless a sensor says otherwise."""
CAPACITY = 4096
"""Readings of one sensor that wait at most."""
TICK = 0.002
"""Seconds from one look at what has come to the next."""
AHEAD = 86_400.0
"""Seconds before the clock beyond which a time stamp cannot be meant."""
STATUS = 10.0
"""Seconds from one line of status to the next."""

log = logging.getLogger("eventnet.live")


class Wire(Protocol):
    """Where readings come from, beside `Simulation.push`."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        ...

    def poll(self) -> None:
        """Push what has come, without waiting."""
        ...


class Voice:
    """Says a thing of one kind at most once a second, and how many were left out."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._kept_back: dict[str, int] = {}

    def say(self, kind: str, text: str, *arguments: object) -> None:
        """Log ``text % arguments``, unless a line of this kind was logged within a second."""
        now = wall.monotonic()
        if now - self._said.get(kind, -math.inf) < 1.0:
            self._kept_back[kind] = self._kept_back.get(kind, 0) + 1
            return
        self._said[kind] = now
        self.finish(kind)
        log.warning(text, *arguments)

    def finish(self, *kinds: str) -> None:
        """Log how many lines were left out, of these kinds or of all."""
        for kind in kinds or tuple(self._kept_back):
            if more := self._kept_back.pop(kind, 0):
                log.warning("%s: %s more lines like the last one", kind, f"{more:,}")


class Lag:
    """How long after their time stamps readings have run through the network: a histogram.

    Examples
    --------
    >>> lag = Lag()
    >>> for ms in range(100):
    ...     lag.add(ms / 1000)
    >>> round(lag.quantile(0.5), 4), round(lag.worst, 4)
    (0.0491, 0.099)
    """

    WIDTH = 1e-4  # s

    def __init__(self) -> None:
        self._counts = np.zeros(100_000, dtype=np.int64)  # the last is for all above
        self.worst = 0.0

    def add(self, seconds: float) -> None:
        """Count one reading."""
        place = min(max(int(seconds / self.WIDTH), 0), len(self._counts) - 1)
        self._counts[place] += 1
        self.worst = max(self.worst, seconds)

    def quantile(self, share: float) -> float:
        """Return a lag, s, that this share of the readings does not exceed; 0 without any."""
        total = np.cumsum(self._counts)
        if not total[-1]:
            return 0.0
        place = int(np.searchsorted(total, share * total[-1]))
        return min((place + 1) * self.WIDTH, max(self.worst, self.WIDTH))


class Channel:
    """What is pushed to one sensor, or one output as a target."""

    def __init__(self, population: Population, arrivals: Arrivals, hold: float) -> None:
        self.population = population
        self.arrivals = arrivals
        self.hold = hold
        self.rest = np.full(population.size, math.nan if population.kind == "output" else 0.0)
        self.pushed: deque[tuple[float, Floats, tuple[float, float]]] = deque()
        self.refused = 0  # pushed when there was no room
        self.heard = 0.0  # when the last one arrived
        self.silent = False
        self._expires = math.inf

    @property
    def full(self) -> bool:
        """Whether there is no room for another reading."""
        return len(self.pushed) + self.arrivals.books.pending >= CAPACITY

    def take(self) -> None:
        """Put all that was pushed in order."""
        while self.pushed:
            time, values, came = self.pushed.popleft()
            self.heard, self.silent = came[1], False
            self.arrivals.put(time, values, came)

    def due(self, settled: float, horizon: float) -> list[tuple[float, Floats]]:
        """Return what takes effect up to and with `horizon` (s): readings, and what they give way to.

        The network has run up to and with `settled`: what is of then takes effect at once.
        """
        effects = []
        for time, values in self.arrivals.release(math.nextafter(horizon, math.inf)):
            if time <= settled:
                self.arrivals.note(Note("overdue", time, horizon - time))
            if self._expires < time:
                effects.append((self._expires, self.rest))
            effects.append((time, values))
            self._expires = time + self.hold
        if self._expires <= horizon:
            effects.append((self._expires, self.rest))
            self._expires = math.inf
        return effects

    def books(self) -> Books:
        """Return the books, with what has been pushed and not yet been looked at."""
        found = Books(**vars(self.arrivals.books))
        found.dropped = found.dropped.copy()
        found.given += len(self.pushed) + self.refused
        found.pending += len(self.pushed)
        if self.refused:
            found.dropped["full"] += self.refused
        return found


class Stream:
    """The process that hands an output's readings on as they come, and keeps none."""

    priority = READ

    def __init__(
        self, population: Population, rate: float, t0: float, to: Callable[[float, Floats], None]
    ) -> None:
        self.population = population
        self.rate = positive(rate, "rate", f"stream of {population.name}", " Hz")
        self.t0 = t0
        self.to = to
        self.k = 0

    def next_time(self) -> float:
        """Return the next stamp."""
        return self.t0 + self.k / whole(self.rate)

    def act(self, world: World, time: float) -> None:
        """Read once and hand on."""
        self.k += 1
        self.to(time, world.read(self.population, time))

    def state(self) -> dict[str, Any]:
        """Return the number of readings."""
        return {"k": self.k}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a number of readings."""
        self.k = int(saved["k"])


class Live:
    """The live side of a simulation: who is listened to, what waits, how far behind it is.

    `Simulation.listen`, `push`, `stream` and ``run(live=True)`` are the way to it.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.channels: dict[str, Channel] = {}
        self.lag = Lag()
        self.voice = Voice()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._start: float | None = None  # of the wall clock, where simulated time is 0

    def listen(
        self,
        population: Population,
        *,
        lateness: float = LATENESS,
        late: Literal["drop", "error"] = "drop",
        gap: float = GAP,
        hold: float = math.inf,
    ) -> None:
        """Take readings for `population` from `push`; see `Simulation.listen`."""
        name = population.name

        def tell(note: Note) -> None:
            dropped = ": dropped" if note.kind == "late" else ""
            self.voice.say(f"{name}, {note.kind}", "%s: %s%s", name, note, dropped)

        arrivals = Arrivals(name, lateness=lateness, late=late, gap=gap, tell=tell)
        if hold != math.inf:
            positive(hold, "hold", name, " s")
        self.channels[name] = Channel(population, arrivals, hold)

    def now(self) -> float:
        """Return the simulated time that the wall clock shows, s; before the run its start."""
        if self._start is None:
            return self.world.t0
        return wall.monotonic() - self._start

    def channel(self, name: str) -> Channel:
        """Return the channel of a sensor or output that is listened to."""
        if name not in self.channels:
            raise unknown("name that is listened to", name, self.channels)
        return self.channels[name]

    def push(
        self, name: str, time: float | None, values: ArrayLike, since: float | None = None
    ) -> bool:
        """Give a reading, from any thread; see `Simulation.push`.

        It came between `since` (s; default: now) and now.
        """
        channel = self.channel(name)
        population = channel.population
        arrival = self.now()
        stamp = arrival if time is None else float(time)
        array = np.asarray(values, dtype=np.float64).reshape(-1)
        if array.shape != (population.size,):
            raise DataError(f"{array.size} values for {name}: its size is {population.size}")
        if not -math.inf < stamp < arrival + AHEAD:
            raise DataError(
                f"time stamp {stamp:g} s for {name}: must be finite and within a day of {arrival:g} s"
            )
        check_values(population, array[None, :], f"at t={stamp:.9g} s")
        with self._lock:
            if channel.full:
                channel.refused += 1
                return False
            came = (arrival if since is None else since, arrival)
            channel.pushed.append((stamp, array, came))
            return True

    @property
    def readings(self) -> int:
        """How many readings the network was given."""
        return sum(channel.arrivals.books.delivered for channel in self.channels.values())

    def stop(self) -> None:
        """End the run, or the next if none runs, from any thread; what waits stays pending."""
        self._stop.set()

    def drive(self, until: float, wire: Wire | None = None) -> None:
        """Run the world up to `until` (s), paced by the wall clock."""
        if not self.channels:
            raise ConfigError("live=True, but nobody is listened to: call Simulation.listen first")
        gc.freeze()  # what there is by now, compiled code above all, would take .4 s to look through
        try:
            self._drive(until, wire)
        finally:
            gc.unfreeze()

    def _drive(self, until: float, wire: Wire | None) -> None:
        begin = max(self.world.settled, self.world.t0)
        self._start = wall.monotonic() - begin
        for channel in self.channels.values():
            channel.heard = begin
        behind = max(c.arrivals.lateness for c in self.channels.values())
        status = begin + STATUS
        while True:
            now = self.now()  # before the look at what has come: all that is older has come
            if wire is not None:
                wire.poll()
            self._turn(min(now - behind, until))
            self._notice_silence(now)
            if now > status:
                log.info(self.status())
                status += STATUS
            if self._stop.is_set() or now - behind >= until or self._run_dry(wire):
                break
            self._stop.wait(max(now + TICK - self.now(), 0.0))
        self._stop.clear()
        self.voice.finish()

    def _turn(self, horizon: float) -> None:
        """Take what was pushed, and run the world up to and with `horizon`."""
        settled = max(self.world.settled, self.world.env.now)
        if horizon <= settled:
            return
        effects = []
        for channel in self.channels.values():
            with self._lock:
                channel.take()
            due = channel.due(settled, horizon)
            effects += [(time, channel.population, values) for time, values in due]
        effects.sort(key=lambda effect: effect[0])
        for time, population, values in effects:
            self.world.deliver(population, values, time)
        self.world.run(horizon)
        now = self.now()
        for time, _, _ in effects:
            self.lag.add(now - time)

    def _run_dry(self, wire: Wire | None) -> bool:
        if wire is None or not wire.ended:
            return False
        return not any(c.pushed or c.arrivals.books.pending for c in self.channels.values())

    def _notice_silence(self, now: float) -> None:
        for name, channel in self.channels.items():
            if not channel.silent and now - channel.heard > channel.arrivals.gap:
                channel.silent = True
                self.voice.say(f"{name}, silent", "%s: silent since %.3f s", name, channel.heard)

    def status(self) -> str:
        """Return in one line how far it is, how far behind, and what was lost."""
        books = [channel.books() for channel in self.channels.values()]
        dropped = sum(b.dropped.total() for b in books)
        waiting = sum(b.pending for b in books)
        return (
            f"{self.now():.1f} s: {self.readings:,} readings, lag {1e3 * self.lag.quantile(0.5):.1f} ms"
            f" (p99 {1e3 * self.lag.quantile(0.99):.1f} ms), {waiting:,} waiting, {dropped:,} dropped"
        )

    def summary(self) -> dict[str, Any]:
        """Return the lags, in ms, and every channel's books as plain data."""
        return {
            "readings": self.readings,
            "lag_ms": {
                "p50": 1e3 * self.lag.quantile(0.5),
                "p99": 1e3 * self.lag.quantile(0.99),
                "max": 1e3 * self.lag.worst,
            },
            "arrivals": {name: c.books().as_dict() for name, c in self.channels.items()},
        }

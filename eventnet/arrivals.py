"""Readings as they arrive: late, twice, out of order or not at all; put in order and counted.

A sensor's `Arrivals` holds each reading back until no earlier one is expected any more, hands them on
in order of their time stamps, and keeps the books: at any moment

    given + duplicated = delivered + dropped + pending.

`Link` is what lies between a recorded sensor and the network: clock offset, latency, jitter, losses.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sortedcontainers import SortedDict

from eventnet.errors import DataError
from eventnet.network import not_negative, positive

Floats = NDArray[np.float64]
Kind = Literal["gap", "clock step", "late", "overdue"]

REMEMBERED = 1024
"""Time stamps of delivered readings among which a duplicate is recognized."""

NOTES = 100
"""Notes that are kept of one sensor; all are counted."""


@dataclass(frozen=True)
class Note:
    """Something out of the ordinary: at time stamp `time` (s), of so many seconds."""

    kind: Kind
    time: float
    seconds: float

    def __str__(self) -> str:
        if self.kind == "gap":
            return f"no reading for {self.seconds:.6g} s up to {self.time:.6g} s"
        if self.kind == "clock step":
            return f"its clock steps by {self.seconds:+.6g} s to {self.time:.6g} s"
        if self.kind == "overdue":
            return (
                f"the reading of {self.time:.6g} s takes effect {self.seconds:.6g} s after its turn"
            )
        return f"the reading of {self.time:.6g} s comes {self.seconds:.6g} s too late"


@dataclass
class Books:
    """What became of the readings of one sensor.

    Attributes
    ----------
    given : int
        Readings that came with a time stamp of their own.
    duplicated : int
        Readings that came with the time stamp of another one, of which the last counts.
    delivered : int
        Readings that the network was given.
    dropped : dict
        Readings that it was not given, by reason.
    pending : int
        Readings that still wait.
    notes : dict
        How many gaps, clock steps and late readings there were.
    """

    given: int = 0
    duplicated: int = 0
    delivered: int = 0
    pending: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def balanced(self) -> bool:
        """Whether ``given + duplicated = delivered + dropped + pending``."""
        out = self.delivered + self.dropped.total() + self.pending
        return self.given + self.duplicated == out

    def as_dict(self) -> dict[str, object]:
        """Return them as plain data."""
        return {
            "given": self.given,
            "duplicated": self.duplicated,
            "delivered": self.delivered,
            "dropped": dict(self.dropped),
            "pending": self.pending,
            "notes": dict(self.notes),
        }


class Arrivals:
    """The bounded reordering buffer of one sensor.

    Parameters
    ----------
    name : str
        The sensor's, for messages.
    lateness : float
        Seconds for which a reading is held back by `release_settled`.
    late : {"drop", "error"}
        What becomes of a reading that comes later still.
    gap : float
        Seconds between two readings beyond which a gap is noted, and seconds of a jump of the time
        stamps against the time of arrival beyond which a step of the clock is.
    capacity : int, optional
        Readings that wait at most; further ones are dropped. Default: any number.
    tell : callable, optional
        Called with each `Note`.

    Notes
    -----
    A reading is late if one that follows it has been delivered, or if `release_settled` has gone
    past its time stamp.

    Examples
    --------
    >>> gyro = Arrivals("gyro", lateness=0.1, late="drop")
    >>> for t in (0.0, 0.2, 0.15, 0.4, 0.4):
    ...     _ = gyro.put(t, t)
    >>> [t for t, _ in gyro.release_settled()]
    [0.0, 0.15, 0.2]
    >>> gyro.put(0.1, 0.1)  # too late
    False
    >>> books = gyro.books
    >>> books.given, books.duplicated, books.delivered, dict(books.dropped), books.pending
    (5, 1, 3, {'superseded': 1, 'late': 1}, 1)
    """

    def __init__(
        self,
        name: str,
        *,
        lateness: float = 0.0,
        late: Literal["drop", "error"] = "error",
        gap: float = math.inf,
        capacity: int | None = None,
        tell: Callable[[Note], None] | None = None,
    ) -> None:
        self.name = name
        self.lateness = not_negative(lateness, "lateness", name, " s")
        self.gap = gap if gap == math.inf else positive(gap, "gap", name, " s")
        self.late = late
        self.capacity = capacity
        self.books = Books()
        self.notes: list[Note] = []
        self._tell = tell
        self._waiting: SortedDict[float, Any] = SortedDict()
        self._frontier = -math.inf  # what comes for a time before it is late
        self._newest = -math.inf
        self._last: tuple[float, float, float] | None = None  # stamp and arrival of the one before
        self._remembered: deque[float] = deque(maxlen=REMEMBERED)

    @property
    def full(self) -> bool:
        """Whether no further reading can wait."""
        return self.capacity is not None and len(self._waiting) >= self.capacity

    def put(self, time: float, value: Any, came: tuple[float, float] | None = None) -> bool:
        """Take a reading with its time stamp, s, and the times between which it came, if known.

        Returns
        -------
        bool
            Whether it waits; False: it was dropped.

        Raises
        ------
        DataError
            With ``late="error"``, for a reading that comes too late.
        """
        books = self.books
        if time in self._waiting or (time <= self._frontier and time in self._remembered):
            books.duplicated += 1
            fresh = time in self._waiting
            books.dropped["superseded" if fresh else "duplicate"] += 1
            if fresh:
                self._waiting[time] = value
            return fresh
        books.given += 1
        self._look_for_jumps(time, came)
        if time < self._frontier:
            books.dropped["late"] += 1
            self._refuse_late(time)
            return False
        if self.full:
            books.dropped["full"] += 1
            return False
        self._newest = max(self._newest, time)
        self._waiting[time] = value
        books.pending += 1
        return True

    def release(self, until: float) -> list[tuple[float, Any]]:
        """Hand on all readings before `until` (s), in order of their time stamps."""
        n = self._waiting.bisect_left(until)
        released = [self._waiting.popitem(0) for _ in range(n)]
        if released:
            self._frontier = max(self._frontier, released[-1][0])
            self._remembered.extend(t for t, _ in released)
        self.books.pending -= n
        self.books.delivered += n
        return released

    def release_settled(self) -> list[tuple[float, Any]]:
        """Hand on all readings older by more than the lateness than the newest one."""
        settled = self._newest - self.lateness
        self._frontier = max(self._frontier, settled)
        return self.release(settled)

    def note(self, note: Note) -> None:
        """Count a note, keep it if there are not many yet, and tell it."""
        self.books.notes[note.kind] += 1
        if len(self.notes) < NOTES:
            self.notes.append(note)
        if self._tell is not None:
            self._tell(note)

    def _look_for_jumps(self, time: float, came: tuple[float, float] | None) -> None:
        before, self._last = self._last, (time, *(came or (-math.inf, math.inf)))
        if before is None:
            return
        passed = time - before[0]
        if came is None:  # only a jump back is surely the clock's
            jump = min(passed, 0.0)
        else:
            jump = passed - min(max(passed, came[0] - before[2]), came[1] - before[1])
        if abs(jump) > self.gap:
            self.note(Note("clock step", time, jump))
        elif passed > self.gap:
            self.note(Note("gap", time, passed))

    def _refuse_late(self, time: float) -> None:
        note = Note("late", time, self._frontier - time)
        self.note(note)
        if self.late == "error":
            raise DataError(
                f"{self.name}: {note}; raise lateness={self.lateness:g} s above that, or set late to "
                "'drop'"
            )


@dataclass(frozen=True)
class Link:
    """What a recorded reading goes through on its way: it arrives later than its time stamp, or never.

    ``arrival = stamp + clock_offset + latency + U(0, jitter)``; a link keeps the order, so that none
    arrives before the one ahead of it.

    Parameters
    ----------
    clock_offset, latency, jitter : float
        Seconds.
    dropout : float
        Probability with which a reading is lost, in [0, 1).

    Examples
    --------
    >>> arrival, kept = Link(latency=0.5).carry(np.array([0.0, 1.0]), np.random.default_rng(0))
    >>> arrival.tolist(), kept.tolist()
    ([0.5, 1.5], [True, True])
    """

    clock_offset: float = 0.0
    latency: float = 0.0
    jitter: float = 0.0
    dropout: float = 0.0

    def carry(self, times: Floats, rng: np.random.Generator) -> tuple[Floats, NDArray[np.bool_]]:
        """Return the arrivals (n,) in s of stamps (n,) in s, which never decrease, and who arrives."""
        arrival = times + self.clock_offset + self.latency
        if self.jitter > 0:
            arrival = np.maximum.accumulate(arrival + rng.uniform(0, self.jitter, len(times)))
        kept = rng.random(len(times)) >= self.dropout
        return arrival, kept


def in_order(arrivals: Arrivals, times: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Return recorded readings in order of their time stamps, as a live buffer would have let them.

    Parameters
    ----------
    arrivals : Arrivals
        Keeps the books.
    times : ndarray, shape (n,)
        Time stamps in s, in order of arrival.
    values : ndarray, shape (n, width)
    """
    passed = np.diff(times)
    books = arrivals.books
    if (passed > 0).all():  # nearly always: no need to go one by one
        books.given = books.delivered = len(times)
        for k in np.flatnonzero(passed > arrivals.gap):
            arrivals.note(Note("gap", float(times[k + 1]), float(passed[k])))
        return times, values
    rows = []
    for row, time in enumerate(times.tolist()):
        arrivals.put(time, row)
        rows += [row for _, row in arrivals.release_settled()]
    rows += [row for _, row in arrivals.release(math.inf)]
    return times[rows], values[rows]

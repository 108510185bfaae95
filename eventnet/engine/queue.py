"""A cancellable event queue: neurons reschedule their own events, so a plain heap will not do."""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Generic, TypeVar

from sortedcontainers import SortedSet

Key = TypeVar("Key", bound=Hashable)


class EventQueue(Generic[Key]):
    """At most one pending time a key, kept in order of (time, key).

    Examples
    --------
    >>> queue = EventQueue[str]()
    >>> queue.schedule("a", 2.0)
    >>> queue.schedule("b", 1.0)
    >>> queue.schedule("b", 3.0)
    >>> queue.next_time()
    2.0
    >>> queue.pop(2.0), queue.next_time()
    (['a'], 3.0)
    """

    def __init__(self) -> None:
        self._times: dict[Key, float] = {}
        self._order: SortedSet = SortedSet()

    def __len__(self) -> int:
        return len(self._times)

    def schedule(self, key: Key, time: float) -> None:
        """Let `key` happen at `time` and at no other; inf cancels it. O(log n)."""
        self.cancel(key)
        if time < math.inf:
            self._times[key] = time
            self._order.add((time, key))

    def cancel(self, key: Key) -> None:
        """Forget the pending event of `key`, if there is one. O(log n)."""
        time = self._times.pop(key, None)
        if time is not None:
            self._order.remove((time, key))

    def next_time(self) -> float:
        """Return the earliest pending time, inf if there is none. O(1)."""
        return self._order[0][0] if self._order else math.inf

    def pop(self, time: float) -> list[Key]:
        """Remove and return the keys that are due at `time`, in order. O(k log n)."""
        keys: list[Key] = []
        while self._order and self._order[0][0] == time:
            key = self._order.pop(0)[1]
            del self._times[key]
            keys.append(key)
        return keys

    def items(self) -> list[tuple[Key, float]]:
        """Return every pending (key, time), earliest first."""
        return [(key, time) for time, key in self._order]

    def _check(self) -> None:
        """Assert that the two views of the queue agree, and that no time is inf or NaN."""
        self._order._check()
        pending = {key: time for time, key in self._order}
        assert pending == self._times, f"queue in step: {pending} != {self._times}"
        for key, time in pending.items():
            assert math.isfinite(time), f"queued times are finite: {key} at {time}"

"""Recorded sources on their way into a compiled engine: block by block, so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.engine.arrays import Feed
from eventnet.engine.bound import bind
from eventnet.sources import Levels, Source

BLOCK_VALUES = 1 << 18
"""Values that one source hands over at a time."""

BLOCK_BYTES = 1 << 20
"""The same of bytes."""


class Feeds:
    """The sources of an engine, and the arrays that hold one block of each.

    Parameters
    ----------
    sizes : list of int
        Neurons of each population: a source of spikes hands over at least one whole instant.
    coded : dtype or None
        In which the engine reads bytes from sources that have them (`Levels`); None: it does not.
    """

    def __init__(self, sizes: list[int], coded: np.dtype[Any] | None = None) -> None:
        n = len(sizes)
        self._sizes, self._coded = sizes, coded
        self._sources: dict[int, Source] = {}
        self._block: dict[int, Callable[[int, int], tuple[NDArray[Any], NDArray[Any]]]] = {}
        self._given: dict[int, int] = {}
        self.arrays = bind(
            Feed(
                capacity=np.zeros(n, dtype=np.int64),
                samples=np.zeros(n, dtype=np.int64),
                cursor=np.zeros(n, dtype=np.int64),
                more=np.zeros(n, dtype=np.bool_),
                time_first=np.zeros(n, dtype=np.int64),
                value_first=np.zeros(n, dtype=np.int64),
                time=np.zeros(0),
                value=np.zeros(0),
                coded=np.zeros(n, dtype=np.bool_),
                level=np.zeros((n, 256), coded),
                whole=np.zeros(n),
                code=np.zeros(0, dtype=np.uint8),
            )
        )

    def add(self, population: int, source: Source) -> None:
        """Let `source` feed a population from its first sample on; the others go on."""
        cursors = self.cursors()
        self._sources[population] = source
        self._block[population] = source.block
        if self._coded is not None and isinstance(source, Levels):
            self._block[population] = source.codes
        feed = self.arrays
        time_size = value_size = code_size = 0
        for p, found in self._sources.items():
            feed.coded[p] = self._coded is not None and isinstance(found, Levels)
            size = BLOCK_BYTES if feed.coded[p] else BLOCK_VALUES
            room = max(size // found.width, self._sizes[p])
            capacity = min(room, max(len(found), 1))
            feed.capacity[p], feed.time_first[p] = capacity, time_size
            time_size += capacity
            if isinstance(found, Levels) and feed.coded[p]:
                feed.value_first[p] = code_size
                level = feed.level[p, : len(found.levels)]
                level[:] = found.levels
                feed.whole[p] = whole_of(level)
                code_size += capacity * found.width
            else:
                feed.value_first[p] = value_size
                value_size += capacity * found.width
        self.arrays = feed._replace(
            time=np.zeros(time_size),
            value=np.zeros(value_size),
            code=np.zeros(code_size, dtype=np.uint8),
        )
        self.go_to(cursors | {population: 0})

    def refill(self) -> None:
        """Put the next block where one has run dry."""
        feed = self.arrays
        for p, source in self._sources.items():
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                start = self._given[p]
                stop = start + int(feed.capacity[p])
                a, b = feed.time_first[p], feed.value_first[p]
                held = feed.code if feed.coded[p] else feed.value
                times, values = self._block[p](start, stop)
                held[b : b + values.size] = values.ravel()
                feed.time[a : a + len(times)] = times
                feed.samples[p], feed.cursor[p] = len(times), 0
                self._given[p] = start + len(times)
                feed.more[p] = self._given[p] < len(source)

    def cursors(self) -> dict[int, int]:
        """Return how many samples of each source have been taken."""
        waiting = self.arrays.samples - self.arrays.cursor
        return {p: given - int(waiting[p]) for p, given in self._given.items()}

    def go_to(self, cursors: dict[int, int]) -> None:
        """Let each source go on after so many samples."""
        for p, cursor in cursors.items():
            self._given[p] = cursor
            self.arrays.samples[p] = self.arrays.cursor[p] = 0
            self.arrays.more[p] = cursor < len(self._sources[p])

    def rewind(self) -> None:
        """Let every source start over."""
        self.go_to(dict.fromkeys(self._sources, 0))


def whole_of(level: NDArray[Any]) -> float:
    """Return the number of which levels are the 0th, first, second... parts; 0 if there is none.

    Examples
    --------
    >>> whole_of(np.arange(256) / 255), whole_of(np.linspace(-1, 1, 256))
    (255.0, 0.0)
    """
    if len(level) < 2 or not level[1] > 0:
        return 0.0
    whole = np.rint(1 / level[1])
    parts = np.arange(len(level), dtype=level.dtype) / whole
    return float(whole) if np.array_equal(parts, level) else 0.0

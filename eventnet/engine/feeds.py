"""Recorded sources on their way into a compiled engine: block by block, so that memory stays bounded."""

from __future__ import annotations

import numpy as np

from eventnet.engine.arrays import Feed
from eventnet.engine.bound import bind
from eventnet.sources import Source

BLOCK_VALUES = 1 << 18
"""Values that one source hands over at a time."""


class Feeds:
    """The sources of an engine, and the arrays that hold one block of each.

    Parameters
    ----------
    sizes : list of int
        Neurons of each population: a source of spikes hands over at least one whole instant.
    """

    def __init__(self, sizes: list[int]) -> None:
        n = len(sizes)
        self._sizes = sizes
        self._sources: dict[int, Source] = {}
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
            )
        )

    def add(self, population: int, source: Source) -> None:
        """Let `source` feed a population from its first sample on; the others go on."""
        cursors = self.cursors()
        self._sources[population] = source
        feed = self.arrays
        time_size = value_size = 0
        for p, found in self._sources.items():
            room = max(BLOCK_VALUES // found.width, self._sizes[p])
            capacity = min(room, max(len(found), 1))
            feed.capacity[p] = capacity
            feed.time_first[p], feed.value_first[p] = time_size, value_size
            time_size += capacity
            value_size += capacity * found.width
        self.arrays = feed._replace(time=np.zeros(time_size), value=np.zeros(value_size))
        self.go_to(cursors | {population: 0})

    def refill(self) -> None:
        """Put the next block where one has run dry."""
        feed = self.arrays
        for p, source in self._sources.items():
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                start = self._given[p]
                times, values = source.block(start, start + int(feed.capacity[p]))
                a, b = feed.time_first[p], feed.value_first[p]
                feed.time[a : a + len(times)] = times
                feed.value[b : b + values.size] = values.ravel()
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

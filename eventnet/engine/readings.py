"""What probes read while a compiled engine runs on: no Python runs for a reading."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventnet.engine.arrays import Probes, offsets
from eventnet.engine.jit import kernel

if TYPE_CHECKING:
    from eventnet.engine.plan import Plan

Floats = NDArray[np.float64]
Take = Callable[[int, Floats], None]


class Watching:
    """An engine that reads while it runs."""

    plan: Plan
    _buffer: Any

    def advance(self, until: float, inclusive: bool = False) -> None:
        """Run all before `until`, and at it if `inclusive`."""
        raise NotImplementedError

    def watch(self, populations: Sequence[int], times: Sequence[Floats], take: Take) -> None:
        """Run up to and with the last of `times`, and read: see `Engine.watch`."""
        last = max((stamps[-1] for stamps in times if len(stamps)), default=-np.inf)
        sizes = [self.plan.populations[p].size for p in populations]
        mine, probes = self._buffer, make_probes(populations, sizes, times)
        self._buffer = mine._replace(probes=probes)
        try:
            self.advance(last, inclusive=True)
        finally:
            self._buffer = mine
            for k, values in enumerate(taken(probes)):
                take(k, values)


def make_probes(
    populations: Sequence[int] = (), sizes: Sequence[int] = (), times: Sequence[Floats] = ()
) -> Probes:
    """Return probes on populations of these sizes that have to read at these times; without any, none."""
    counts = [len(stamps) for stamps in times]
    first = offsets([n * size for n, size in zip(counts, sizes, strict=True)])
    return Probes(
        population=np.array(populations, dtype=np.int64),
        first=offsets(counts),
        time=np.concatenate([np.zeros(0), *times]),
        size=np.array(sizes, dtype=np.int64),
        value_first=first,
        value=np.zeros(int(first[-1])),
        done=np.zeros(len(counts), dtype=np.int64),
        left=np.array([sum(counts)], dtype=np.int64),
    )


def taken(probes: Probes) -> list[Floats]:
    """Return what each probe has read so far, (n, size)."""
    sizes, first = probes.size.tolist(), probes.value_first.tolist()
    return [
        probes.value[begin : begin + n * size].reshape(n, size)
        for begin, size, n in zip(first[:-1], sizes, probes.done.tolist(), strict=True)
    ]


@kernel
def due(before: float, until: float, inclusive: bool, probes: Probes) -> int:
    """Return which probe reads next, -1 for none; of those at one time the first.

    It reads before time `before`, when something may change, and before `until`, or at it if `inclusive`.
    """
    least = before
    found = -1
    for k in range(probes.done.shape[0]):
        at = probes.first[k] + probes.done[k]
        if at < probes.first[k + 1] and probes.time[at] < least:
            least = probes.time[at]
            found = k
    if least > until or (least == until and not inclusive):
        return -1
    return found


@kernel
def place_of(k: int, probes: Probes) -> tuple[int, float]:
    """Return where the next reading of probe `k` goes, and its time; it counts as read."""
    done = probes.done[k]
    probes.done[k] += 1
    probes.left[0] -= 1
    return probes.value_first[k] + done * probes.size[k], probes.time[probes.first[k] + done]

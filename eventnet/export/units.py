"""The spikes of a raster neuron by neuron, as electrophysiology keeps them: units and their times."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.export.sorting import BLOCK, Records, SortedOnDisk, bounds_of_counts
from eventnet.raster import Raster, neuron_keys

RECORD = np.dtype([("unit", "<u4"), ("time", "<f8"), ("count", "<i4")])


class Units(NamedTuple):
    """The neurons that fired, by population and index.

    Attributes
    ----------
    population_code : ndarray of int64, shape (n,)
    neuron : ndarray of int64, shape (n,)
    events : ndarray of int64, shape (n,)
        Spikes of each.
    """

    population_code: NDArray[np.int64]
    neuron: NDArray[np.int64]
    events: NDArray[np.int64]


def units_of(raster: Raster) -> Units:
    """Return the neurons of a raster that fired, in one pass; memory is bounded by their number."""
    keys, events = np.empty(0, np.uint64), np.empty(0, np.int64)
    for batch in raster.iter_batches(BLOCK):
        seen, times = np.unique(neuron_keys(batch), return_counts=True)
        keys, events = np.concatenate([keys, seen]), np.concatenate([events, times])
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        first = np.flatnonzero(np.diff(keys, prepend=~keys[:1]))
        keys, events = keys[first], np.add.reduceat(events[order], first)
    return Units(
        (keys >> np.uint64(32)).astype(np.int64), (keys & 0xFFFFFFFF).astype(np.int64), events
    )


def by_unit(raster: Raster, units: Units, folder: Path) -> SortedOnDisk:
    """Return the spikes unit after unit, each in the order of time, as records of `RECORD`.

    Takes one pass over the raster and 16 bytes of disk a spike in `folder`.
    """
    keys = units.population_code.astype(np.uint64) << np.uint64(32) | units.neuron.astype(np.uint64)
    return SortedOnDisk(_records(raster, keys), "unit", bounds_of_counts(units.events), folder)


def _records(raster: Raster, keys: NDArray[np.uint64]) -> Iterator[Records]:
    for batch in raster.iter_batches(BLOCK):
        records = np.empty(batch.time.size, RECORD)
        records["unit"] = np.searchsorted(keys, neuron_keys(batch))
        records["time"], records["count"] = batch.time, batch.count
        yield records

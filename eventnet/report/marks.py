"""A raster as so many marks that a browser draws them at once: the spikes themselves, or bins of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.raster import Raster

BUDGET = 100_000
"""Marks on a page, of all populations together."""

COLUMNS = 2048
"""Bins of time at first; they are joined by twos until there are few enough."""

ROWS = 128
"""Rows of a population, at most: of a larger one neighbours share a row."""


class Marks(NamedTuple):
    """What is drawn of one population; arrays of one length, one entry a mark.

    Attributes
    ----------
    time : ndarray of float64
        Of the first spike of the mark, in seconds, as it is in the raster.
    neuron : ndarray of uint32
        That sent it.
    positive, negative : ndarray of uint32
        Spikes of each sign in the mark.
    x, y : ndarray of float64, float32
        Middle of the mark, in seconds and neurons.
    width, height : float
        Of every mark, in seconds and neurons; width 0: a spike each.
    """

    time: NDArray[np.float64]
    neuron: NDArray[np.uint32]
    positive: NDArray[np.uint32]
    negative: NDArray[np.uint32]
    x: NDArray[np.float64]
    y: NDArray[np.float32]
    width: float
    height: float


def marks_of(
    raster: Raster, sizes: Mapping[str, int], begin: float, end: float, budget: int = BUDGET
) -> list[Marks]:
    """Return the marks of each population: a spike each while there are at most `budget`, else bins.

    Parameters
    ----------
    raster : Raster
    sizes : mapping of str to int
        Number of neurons of each population.
    begin, end : float
        Time that the bins divide, s.

    Examples
    --------
    >>> raster = Raster.from_arrays([0.1, 0.2, 0.9], [0, 0, 0], [3, 3, 3], [1, -1, 1], ["a"])
    >>> marks_of(raster, {"a": 4}, 0.0, 1.0)[0].time.tolist()
    [0.1, 0.2, 0.9]
    >>> (binned,) = marks_of(raster, {"a": 4}, 0.0, 1.0, budget=2)
    >>> binned.time.tolist(), binned.positive.tolist(), binned.negative.tolist(), binned.width
    ([0.1, 0.9], [1, 1], [1, 0], 0.25)
    """
    if len(raster) <= budget:
        return [_spikes(raster.select(name)) for name in raster.populations]
    rows = max(1, min(ROWS, 8 * ROWS // max(len(raster.populations), 1)))
    grids = [_Grid(sizes[name], min(sizes[name], rows), begin, end) for name in raster.populations]
    for batch in raster.iter_batches():
        for code, grid in enumerate(grids):
            at = np.flatnonzero(batch.population_code == code)
            if at.size:
                grid.add(batch.time[at], batch.neuron[at], batch.count[at] > 0)
    while sum(grid.filled for grid in grids) > budget and grids[0].columns > 1:
        for grid in grids:
            grid.coarsen()
    return [grid.marks() for grid in grids]


def _spikes(raster: Raster) -> Marks:
    spikes = raster.arrays()
    positive = (spikes.count > 0).astype(np.uint32)
    place = spikes.neuron.astype(np.float32)
    return Marks(spikes.time, spikes.neuron, positive, 1 - positive, spikes.time, place, 0.0, 0.8)


class _Grid:
    """Bins of one population: how many spikes of each sign, and the first of them."""

    def __init__(self, size: int, rows: int, begin: float, end: float) -> None:
        self.size, self.begin, self.end = size, begin, end
        self.columns = COLUMNS
        shape = (rows, COLUMNS)
        self.first = np.full(shape, np.inf)
        self.neuron = np.zeros(shape, np.uint32)
        self.signs = np.zeros((2, *shape), np.uint32)

    @property
    def filled(self) -> int:
        return int(np.isfinite(self.first).sum())

    def add(
        self, time: NDArray[np.float64], neuron: NDArray[np.uint32], positive: NDArray[np.bool_]
    ) -> None:
        rows, columns = self.first.shape
        column = (time - self.begin) * (columns / (self.end - self.begin))
        column = np.clip(column.astype(np.int64), 0, columns - 1)
        place = neuron.astype(np.int64) * rows // self.size * columns + column
        sided = place + np.where(positive, 0, rows * columns)
        counts = np.bincount(sided, minlength=2 * rows * columns).astype(np.uint32)
        self.signs += counts.reshape(self.signs.shape)
        bins, at = np.unique(place, return_index=True)  # times increase: the first is the earliest
        fresh = np.isinf(self.first.ravel()[bins])
        self.first.ravel()[bins[fresh]] = time[at[fresh]]
        self.neuron.ravel()[bins[fresh]] = neuron[at[fresh]]

    def coarsen(self) -> None:
        """Join the columns by twos."""
        left = np.isfinite(self.first[:, ::2])
        self.neuron = np.where(left, self.neuron[:, ::2], self.neuron[:, 1::2])
        self.first = np.where(left, self.first[:, ::2], self.first[:, 1::2])
        self.signs = self.signs[:, :, ::2] + self.signs[:, :, 1::2]
        self.columns //= 2

    def marks(self) -> Marks:
        row, column = np.nonzero(np.isfinite(self.first))
        width = (self.end - self.begin) / self.columns
        height = self.size / self.first.shape[0]
        return Marks(
            self.first[row, column],
            self.neuron[row, column],
            self.signs[0, row, column],
            self.signs[1, row, column],
            (self.begin + (column + 0.5) * width).astype(np.float64),
            ((row + 0.5) * height - 0.5).astype(np.float32),
            width,
            0.8 if height == 1 else height,
        )

"""Spikes sorted on disk, for formats that want another order than a raster's: memory is bounded.

Records go into buckets, files of about `BLOCK` records each for a range of keys; then one bucket after
the other is sorted in memory. Records of one key keep their order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Records = NDArray[Any]
"""A structured array."""

BLOCK = 1 << 21
"""Records that are sorted at a time."""


class SortedOnDisk:
    """Records in the order of one of their fields.

    Parameters
    ----------
    batches : iterable of structured arrays
        Read once, to the end.
    key : str
        The field to sort by.
    bounds : array_like
        Increasing keys, the first of every bucket but of the first one.
    folder : Path
        An empty folder for the buckets. They take as much disk as the records and are removed with
        the folder.

    Examples
    --------
    >>> import tempfile
    >>> records = np.array([(3, 0.1), (1, 0.2), (3, 0.3)], dtype=[("unit", "u4"), ("time", "f8")])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     blocks = list(SortedOnDisk([records], "unit", [2], Path(folder)))
    >>> [block["time"].tolist() for block in blocks]
    [[0.2], [0.1, 0.3]]
    """

    def __init__(
        self, batches: Iterable[Records], key: str, bounds: Sequence[Any] | Records, folder: Path
    ) -> None:
        self._key = key
        self._paths = [folder / f"{bucket:06d}" for bucket in range(len(bounds) + 1)]
        self._dtype: np.dtype[Any] | None = None
        for batch in batches:
            self._dtype = batch.dtype
            batch = _ordered(batch, key)
            parts = np.split(batch, np.searchsorted(batch[key], bounds))
            for path, part in zip(self._paths, parts, strict=True):
                if part.size:
                    with path.open("ab") as file:
                        part.tofile(file)

    def __iter__(self) -> Iterator[Records]:
        for path in self._paths:
            if path.exists():
                yield from self._bucket(path)

    def _bucket(self, path: Path) -> Iterator[Records]:
        assert self._dtype is not None
        count = path.stat().st_size // self._dtype.itemsize
        if count > 2 * BLOCK and self._single(path):
            yield from self._pieces(path)  # one key, so it is in order already
        else:
            yield _ordered(np.fromfile(path, self._dtype), self._key)

    def _pieces(self, path: Path) -> Iterator[Records]:
        with path.open("rb") as file:
            while (piece := np.fromfile(file, self._dtype, BLOCK)).size:
                yield piece

    def _single(self, path: Path) -> bool:
        ends = [(piece[self._key].min(), piece[self._key].max()) for piece in self._pieces(path)]
        return bool(min(low for low, _ in ends) == max(high for _, high in ends))


def _ordered(records: Records, key: str) -> Records:
    return records[np.argsort(records[key], kind="stable")]


def bounds_of_counts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bounds of buckets for keys 0, 1, ... that occur `counts` times each.

    A key of more than `BLOCK` records has a bucket to itself.
    """
    before = np.cumsum(counts) - counts
    starts = np.flatnonzero(np.diff(before // BLOCK, prepend=0))
    large = np.flatnonzero(counts > BLOCK)
    return np.setdiff1d(np.concatenate([starts, large, large + 1]), [0, len(counts)])


def bounds_of_sample(keys: NDArray[Any], every: int) -> NDArray[Any]:
    """Return the bounds of buckets, given the keys of one record in `every`."""
    per_bucket = max(BLOCK // every, 1)
    return np.unique(np.sort(keys)[per_bucket::per_bucket])

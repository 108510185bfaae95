"""Many passes over one set of images, numbers or labels: in which order, and as a source for a network.

A network that runs for 50 epochs of 60,000 images sees 3 million of them. They are made when they
are asked for, a block at a time, from the bytes of the set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import ConfigError, DataError
from eventnet.network import positive, unknown

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Order = NDArray[np.int64]
OrderOfEpoch = Callable[[int], Order]

ORDERS = ("given", "shuffled", "temporal")


def orders(kind: str, images: Bytes, *, seed: int = 0, folder: Path | None = None) -> OrderOfEpoch:
    """Return the function that tells each epoch's order, a permutation of the images.

    Parameters
    ----------
    kind : str
        ``"given"``: as they lie, every epoch. ``"shuffled"``: anew for each epoch, by the seed and
        the epoch alone, so that epoch 7 is the same whatever came before it. ``"temporal"``: like
        follows like (`temporal_order`), every epoch; computed once and kept on disk.
    images : ndarray of uint8, shape (n, pixels)
    seed : int
        Of the shuffling, >= 0.
    folder : Path, optional
        Where temporal orders are kept; default: in the cache of data sets.

    Raises
    ------
    ConfigError
        If there is no such kind, the seed is negative, or images have no temporal order.

    Examples
    --------
    >>> images = np.array([[10], [90], [12], [88], [14]], np.uint8)
    >>> orders("given", images)(3)
    array([0, 1, 2, 3, 4])
    >>> sorted(orders("shuffled", images, seed=1)(3).tolist())
    [0, 1, 2, 3, 4]
    """
    if kind == "given":
        return partial(_same, np.arange(len(images)))
    if kind == "shuffled":
        if seed < 0:
            raise ConfigError(f"seed={seed} of a shuffled order: must be >= 0")
        return partial(_shuffled, len(images), seed)
    if kind == "temporal":
        from eventnet.data.temporal import kept_order

        return partial(_same, kept_order(images, folder=folder))
    raise unknown("order", kind, ORDERS)


def _same(order: Order, epoch: int) -> Order:
    return order


def _shuffled(n: int, seed: int, epoch: int) -> Order:
    return np.random.default_rng([seed, epoch]).permutation(n)


class Epochs(ABC):
    """Rows of a set, pass after pass, as a source of samples: `Images`, `Rows` and `OneHot` are.

    Sample k of all passes is taken at ``t0 + k/rate``. A block may reach from one pass into the
    next. Of a pass only its order is kept.

    Parameters
    ----------
    rows : int
        In the set.
    order_of_epoch : callable
        Takes the epoch, 0 first, and returns the numbers of rows in order; as many every time, but
        not necessarily all of them. See `orders`.
    epochs : int
    rate : float
        Samples per second.
    t0 : float
        Time of the first sample, s.

    Raises
    ------
    DataError
        If an order leaves the rows, is empty or changes its length, or t0 is not finite.
    ConfigError
        If epochs < 1 or the rate is not positive.
    """

    def __init__(
        self, rows: int, order_of_epoch: OrderOfEpoch, epochs: int, rate: float, t0: float
    ) -> None:
        if epochs < 1:
            raise ConfigError(f"epochs={epochs} of a source: must be >= 1")
        if not np.isfinite(t0):
            raise DataError(f"t0={t0} s: must be finite")
        self.rate = positive(rate, "rate", "a source of epochs", " Hz")
        self.epochs, self.t0 = epochs, t0
        self._rows, self._order_of_epoch = rows, order_of_epoch
        self._length = len(order_of_epoch(0))
        self._order = (0, self._checked(0))

    @property
    @abstractmethod
    def width(self) -> int:
        """Return the number of components of a sample."""

    @abstractmethod
    def _values(self, places: Order) -> Floats:
        """Return the samples (n, width) that those rows are."""

    def __len__(self) -> int:
        """Return the number of samples of all epochs."""
        return self.epochs * self._length

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return the times (n,) in s and the values (n, width) of samples start to stop - 1."""
        start, stop, _ = slice(start, stop).indices(len(self))
        times = self.t0 + np.arange(start, stop) / self.rate
        return times, self._values(self._places(start, stop))

    def _places(self, start: int, stop: int) -> Order:
        """Return which rows samples `start` to `stop` - 1 are, across epochs."""
        parts = [np.zeros(0, np.int64)]
        while start < stop:
            epoch, first = divmod(start, self._length)
            part = self._of(epoch)[first : first + stop - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _of(self, epoch: int) -> Order:
        # Blocks follow each other, so the order of one epoch is enough to remember.
        if self._order[0] != epoch:
            self._order = (epoch, self._checked(epoch))
        return self._order[1]

    def _checked(self, epoch: int) -> Order:
        order = np.asarray(self._order_of_epoch(epoch))
        if not np.issubdtype(order.dtype, np.integer) or order.shape != (self._length,):
            raise DataError(
                f"order of epoch {epoch} of type {order.dtype} and shape {order.shape}: must be "
                f"ints ({self._length},), as many as in epoch 0"
            )
        if not order.size or order.min() < 0 or order.max() >= self._rows:
            raise DataError(
                f"order of epoch {epoch}: must have places from 0 to {self._rows - 1}, one at least"
            )
        return order


class Images(Epochs):
    """Images with pixels from 0 to 1, pass after pass: what a sensor is fed with.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
        Read in place; a pixel is the byte divided by 255.
    order_of_epoch, epochs, rate, t0
        As in `Epochs`.

    Raises
    ------
    DataError
        If images are of another type or shape, and as `Epochs`.

    Examples
    --------
    >>> images = np.array([[0, 255], [51, 0], [255, 255]], np.uint8)
    >>> source = Images(images, orders("given", images), epochs=2, rate=10.0)
    >>> times, values = source.block(2, 4)  # across two epochs
    >>> values.tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """

    def __init__(
        self,
        images: Bytes,
        order_of_epoch: OrderOfEpoch,
        epochs: int,
        rate: float,
        t0: float = 0.0,
    ) -> None:
        if images.dtype != np.uint8 or images.ndim != 2:
            raise DataError(
                f"images of type {images.dtype} and shape {images.shape}: must be uint8 (n, pixels)"
            )
        self._images = images
        self.levels = np.arange(256) / 255
        super().__init__(len(images), order_of_epoch, epochs, rate, t0)

    @property
    def width(self) -> int:
        """Return the number of pixels."""
        return int(self._images.shape[1])

    def codes(self, start: int, stop: int) -> tuple[Floats, Bytes]:
        """Return the times (n,) in s and the bytes (n, width) of images start to stop - 1."""
        start, stop, _ = slice(start, stop).indices(len(self))
        times = self.t0 + np.arange(start, stop) / self.rate
        return times, self._images[self._places(start, stop)]

    def _values(self, places: Order) -> Floats:
        return self._images[places] / 255


class Rows(Epochs):
    """Rows of numbers, pass after pass: features, or targets.

    Parameters
    ----------
    rows : ndarray, shape (n, width)
        Read in place.
    order_of_epoch, epochs, rate, t0
        As in `Epochs`.

    Raises
    ------
    DataError
        As `Epochs`.

    Examples
    --------
    >>> rows = np.array([[1.5], [2.5], [3.5]])
    >>> Rows(rows, lambda epoch: np.array([2, epoch]), epochs=2, rate=10.0).block(0, 4)[1].tolist()
    [[3.5], [1.5], [3.5], [2.5]]
    """

    def __init__(
        self,
        rows: NDArray[np.floating],
        order_of_epoch: OrderOfEpoch,
        epochs: int,
        rate: float,
        t0: float = 0.0,
    ) -> None:
        self._own = rows
        super().__init__(len(rows), order_of_epoch, epochs, rate, t0)

    @property
    def width(self) -> int:
        """Return the number of columns."""
        return int(self._own.shape[1])

    def _values(self, places: Order) -> Floats:
        return self._own[places].astype(np.float64)


class OneHot(Epochs):
    """Labels as targets, 1 for the class and 0 for the others, pass after pass.

    Parameters
    ----------
    labels : array_like of int, shape (n,)
        From 0 to classes - 1.
    order_of_epoch, epochs, rate, t0
        As in `Epochs`, those of the images.
    classes : int

    Raises
    ------
    DataError
        If a label is of another type or range, and as `Epochs`.

    Examples
    --------
    >>> labels = np.array([2, 0], np.uint8)
    >>> OneHot(labels, orders("given", labels), 1, rate=10.0, classes=3).block(0, 2)[1].tolist()
    [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    def __init__(
        self,
        labels: ArrayLike,
        order_of_epoch: OrderOfEpoch,
        epochs: int,
        rate: float,
        t0: float = 0.0,
        *,
        classes: int = 10,
    ) -> None:
        given = np.asarray(labels)
        if given.ndim != 1 or not np.issubdtype(given.dtype, np.integer):
            raise DataError(
                f"labels of type {given.dtype} and shape {given.shape}: must be ints (n,)"
            )
        if given.size and not 0 <= given.min() <= given.max() < classes:
            raise DataError(
                f"labels from {given.min()} to {given.max()}: must be 0 to {classes - 1}"
            )
        self._labels, self._targets = given, np.eye(classes)
        super().__init__(len(given), order_of_epoch, epochs, rate, t0)

    @property
    def width(self) -> int:
        """Return the number of classes."""
        return len(self._targets)

    def _values(self, places: Order) -> Floats:
        targets: Floats = self._targets[self._labels[places]]
        return targets

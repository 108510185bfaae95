"""Recorded and periodic signals: what a sensor reads or a teacher says, with its timestamps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import DataError, EventNetError
from eventnet.network import positive

if TYPE_CHECKING:
    from eventnet.raster import Raster

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Numbers = TypeVar("Numbers", NDArray[np.float32], NDArray[np.float64])


class Source(Protocol):
    """A finite series of samples that an engine takes in blocks.

    Any class with these three members will do: one that reads a file, or that makes floats of a data
    set of small integers block by block, so that they are never in memory all at once. Blocks are
    asked for in order, each once, but for the first sample, which is looked at when it is fed, and
    after `reset` or `restore`, which may start anywhere; how long they are is the engine's choice.
    Each is checked as it is taken (`Checked`).

    Examples
    --------
    >>> class Images:
    ...     def __init__(self, pixels, rate):
    ...         self.pixels, self.rate = pixels, rate
    ...         self.width = pixels.shape[1]
    ...
    ...     def __len__(self):
    ...         return len(self.pixels)
    ...
    ...     def block(self, start, stop):
    ...         part = self.pixels[start:stop]
    ...         return np.arange(start, start + len(part)) / self.rate, part / 255.0
    >>> source = Images(np.array([[0, 51], [102, 255]], dtype=np.uint8), rate=50.0)
    >>> source.block(1, 2)[1].tolist()
    [[0.4, 1.0]]
    """

    @property
    def width(self) -> int:
        """Return the number of components of a sample."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return the times (n,) in s and the values (n, width) of samples start to stop - 1.

        Times never decrease; ``n = min(stop, len(self)) - start``.
        """
        ...


@runtime_checkable
class Levels(Source, Protocol):
    """A source whose samples are bytes that stand for levels: a camera's pixels, say.

    On a clock they go to the network as they are, and only those that differ from the sample before
    are looked up. Elsewhere, and for whoever asks for a `block`, the source is as any other.

    Examples
    --------
    >>> from eventnet.data.epochs import Images, orders
    >>> pixels = np.array([[0, 51], [102, 255]], dtype=np.uint8)
    >>> source = Images(pixels, orders("given", pixels), epochs=1, rate=50.0)
    >>> isinstance(source, Levels), source.codes(1, 2)[1].tolist(), source.levels[51].item()
    (True, [[102, 255]], 0.2)
    """

    @property
    def levels(self) -> Floats:
        """Return what each byte stands for, (n,) with n <= 256."""
        ...

    def codes(self, start: int, stop: int) -> tuple[Floats, Bytes]:
        """Return the times (n,) in s and the bytes (n, width) of samples start to stop - 1.

        As `block` does, and in step with it: ``levels[codes]`` are the values.
        """
        ...


def whole(rate: float) -> float:
    """Return the whole number next to `rate` if its period ``1/rate`` is the same, else `rate`.

    A clock of 1/49 s, a source of rate 49 and one of rate ``1/clock`` then tick together, although
    ``1/(1/49)`` is not 49 in floats.

    >>> 1 / (1 / 49) == 49, whole(1 / (1 / 49)) == 49, whole(0.3)
    (False, True, 0.3)
    """
    near = float(round(rate))
    return near if near > 0 and 1.0 / near == 1.0 / rate else rate


def smoothed(values: Numbers, samples: float, every: int = 1) -> Numbers:
    """Return running means of rows (n, width): ``m <- x + (m - x)*exp(-1/samples)``; for 0, the rows.

    A row's mean is of it, of the row `every` rows before, and so on: no later row is in it.

    Examples
    --------
    >>> x = np.array([[0.0], [4.0], [8.0], [4.0]])
    >>> smoothed(x, samples=1 / np.log(2), every=2).ravel().tolist()
    [0.0, 4.0, 4.0, 4.0]
    """
    means, decay = values.copy(), np.exp(-1 / samples) if samples > 0 else 0.0
    for k in range(every, len(values)):
        means[k] += decay * (means[k - every] - values[k])
    return means


@contextmanager
def asked(what: str) -> Iterator[None]:
    """Let whatever a source of the user's raises say which one it was.

    >>> with asked("the camera"):
    ...     raise OSError("unplugged")
    Traceback (most recent call last):
    eventnet.errors.DataError: the camera failed: OSError: unplugged
    """
    try:
        yield
    except EventNetError:
        raise
    except Exception as error:
        raise DataError(f"{what} failed: {type(error).__name__}: {error}") from error


def _table(values: ArrayLike) -> NDArray[np.generic]:
    table = np.asarray(values)
    if table.ndim == 1:
        table = table[:, None]
    if table.ndim > 2:
        table = table.reshape(table.shape[0], -1)
    if table.ndim == 0 or not (np.issubdtype(table.dtype, np.number) or table.dtype == bool):
        raise DataError(f"values of type {table.dtype} and shape {table.shape}: must be (n, width)")
    return table


@dataclass(frozen=True, eq=False)
class Recording:
    """Samples with their own timestamps, however irregular; each is held until the next.

    Parameters
    ----------
    times : array_like, shape (n,)
        Seconds, not decreasing. Of samples at the same time the last wins.
    values : array_like, shape (n,) or (n, width) or (n, ...)
        Trailing axes are flattened.

    Raises
    ------
    DataError
        For lengths that differ, times that go back or are not finite.

    Examples
    --------
    >>> Recording([0.0, 0.1, 0.25], [[1, 2], [3, 4], [5, 6]]).width
    2
    """

    times: ArrayLike
    values: ArrayLike
    width: int = field(init=False)

    def __post_init__(self) -> None:
        times = np.array(self.times, dtype=np.float64)
        values = _table(self.values)
        if times.ndim != 1 or len(times) != len(values):
            raise DataError(
                f"{len(values)} values for times of shape {times.shape}: there must be one time each"
            )
        bad = np.flatnonzero(~np.isfinite(times))
        if len(bad):
            raise DataError(f"time {times[bad[0]]} at sample {bad[0]}: must be finite")
        back = np.flatnonzero(np.diff(times) < 0)
        if len(back):
            k = int(back[0])
            raise DataError(
                f"time goes back from {times[k]:.9g} s to {times[k + 1]:.9g} s at sample {k + 1}: "
                "sort the recording or split it"
            )
        object.__setattr__(self, "times", times)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "width", values.shape[1])

    def __len__(self) -> int:
        return len(np.asarray(self.times))

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return times (n,) and values (n, width) of samples `start` to `stop` - 1."""
        values = np.asarray(self.values)[start:stop]
        return np.asarray(self.times)[start:stop], values.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Periodic:
    """Samples at a constant rate; sample k is taken at ``t0 + k/rate``.

    The times are computed, never accumulated: clocks of 100 and 200 Hz then coincide whenever they
    should.

    Parameters
    ----------
    values : array_like, shape (n,) or (n, width) or (n, ...)
        Trailing axes are flattened.
    rate : float
        Samples per second.
    t0 : float
        Time of the first sample, s.

    Examples
    --------
    >>> Periodic([0, 1, 2], rate=30).block(1, 3)[0].tolist()
    [0.03333333333333333, 0.06666666666666667]
    """

    values: ArrayLike
    rate: float
    t0: float = 0.0
    width: int = field(init=False)

    def __post_init__(self) -> None:
        positive(self.rate, "rate", "a periodic source", " Hz")
        if not np.isfinite(self.t0):
            raise DataError(f"t0={self.t0} s: must be finite")
        values = _table(self.values)
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "width", values.shape[1])

    def __len__(self) -> int:
        return len(np.asarray(self.values))

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return times (n,) and values (n, width) of samples `start` to `stop` - 1."""
        values = np.asarray(self.values)[start:stop]
        times = self.t0 + np.arange(start, start + len(values)) / whole(self.rate)
        return times, values.astype(np.float64)


class Checked:
    """Another source whose every block is checked as it is taken.

    Parameters
    ----------
    source : Source
    owner : str
        Whom it feeds, for the message.
    check : callable
        Takes the values of a block and the number of its first sample, and raises where they are of
        no use.

    Raises
    ------
    DataError
        In `block`: for shapes that differ from what was asked, times that go back or are not finite.
    """

    def __init__(self, source: Source, owner: str, check: Callable[[Floats, int], None]) -> None:
        self.source = source
        self.owner = owner
        self.width = source.width
        self._check = check
        self._last = (0, -np.inf)  # the sample that is due next, and the time of the one before it

    def __len__(self) -> int:
        return len(self.source)

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return times (n,) and values (n, width) of samples `start` to `stop` - 1."""
        with asked(f"the source of {self.owner}"):
            given = self.source.block(start, stop)
        times, values = (np.asarray(array, dtype=np.float64) for array in given)
        self._take("block", start, stop, times, values)
        self._check(values, start)
        return times, values

    def _take(
        self, what: str, start: int, stop: int, times: Floats, values: NDArray[np.generic]
    ) -> None:
        """Check the shapes of a block and its times."""
        n = min(stop, len(self)) - start
        if times.shape != (n,) or values.shape != (n, self.width):
            raise DataError(
                f"{what}({start}, {stop}) of the source of {self.owner}: times of shape {times.shape} "
                f"and values of shape {values.shape}; must be ({n},) and ({n}, {self.width})"
            )
        due, last = self._last
        before = np.concatenate([[last if start == due else -np.inf], times])
        bad = np.flatnonzero(~((before[:-1] <= times) & np.isfinite(times)))
        if len(bad):
            k = int(bad[0])
            raise DataError(
                f"time {times[k]} s at sample {start + k} of the source of {self.owner}: must be "
                "finite and not less than the one before"
            )
        self._last = start + n, float(before[-1])


class CheckedLevels(Checked):
    """The same of a source of `Levels`: these are checked once, then only the bytes' shape and type.

    Parameters
    ----------
    source : Levels
    owner, check
        As in `Checked`.

    Raises
    ------
    DataError
        For levels or bytes of another shape or type, and as `Checked`.
    """

    def __init__(self, source: Levels, owner: str, check: Callable[[Floats, int], None]) -> None:
        super().__init__(source, owner, check)
        self._coded = source
        self.levels = np.asarray(source.levels, dtype=np.float64)
        if self.levels.ndim != 1 or not 0 < len(self.levels) <= 256:
            raise DataError(
                f"levels of shape {self.levels.shape} of the source of {owner}: must be (n,), 1 to 256"
            )
        if not np.isfinite(self.levels).all():
            raise DataError(f"levels of the source of {owner}: must be finite")

    def codes(self, start: int, stop: int) -> tuple[Floats, Bytes]:
        """Return times (n,) and bytes (n, width) of samples `start` to `stop` - 1."""
        with asked(f"the source of {self.owner}"):
            times, codes = self._coded.codes(start, stop)
        times, codes = np.asarray(times, dtype=np.float64), np.asarray(codes)
        self._take("codes", start, stop, times, codes)
        if codes.dtype != np.uint8:
            raise DataError(
                f"codes of type {codes.dtype} of the source of {self.owner}: must be uint8"
            )
        if len(self.levels) < 256 and codes.size and codes.max() >= len(self.levels):
            raise DataError(
                f"code {codes.max()} of the source of {self.owner}: there are {len(self.levels)} levels"
            )
        return times, codes


def checked(source: Source, owner: str, check: Callable[[Floats, int], None]) -> Checked:
    """Return a source whose every block is checked, and which has levels if `source` has."""
    if isinstance(source, Levels):
        return CheckedLevels(source, owner, check)
    return Checked(source, owner, check)


def held_at(source: Source, times: Floats) -> Floats:
    """Return what a source holds at given times, shape (n, width); NaN before its first sample.

    Examples
    --------
    >>> held_at(Recording([0.0, 0.1], [[1], [2]]), np.array([0.05, 0.1, 7.0])).ravel().tolist()
    [1.0, 2.0, 2.0]
    """
    found = np.full((len(times), source.width), np.nan)
    rows = max((1 << 20) // source.width, 1)
    for start in range(0, len(source), rows):
        stamps, values = source.block(start, start + rows)
        last = np.searchsorted(stamps, times, side="right") - 1
        found[last >= 0] = values[last[last >= 0]]
        if len(times) == 0 or stamps[-1] > times[-1]:
            break
    return found


def with_hold(source: Source, hold: float, rest: float = np.nan) -> Recording:
    """Return `source` with each sample held for `hold` seconds, then replaced by `rest`.

    NaN, of targets: none.
    """
    positive(hold, "hold", "a source", " s")
    times, values = source.block(0, len(source))
    ends = times + hold
    keep = np.append(ends[:-1] < times[1:], True) if len(times) else np.zeros(0, dtype=bool)
    all_times = np.concatenate([times, ends[keep]])
    gaps = np.full((int(keep.sum()), source.width), rest)
    order = np.argsort(all_times, kind="stable")
    return Recording(all_times[order], np.concatenate([values, gaps])[order])


@dataclass(frozen=True, eq=False)
class SpikeTrain:
    """Given spikes: what an event camera sent, or a recorded raster, to be replayed.

    Parameters
    ----------
    times : array_like, shape (n,)
        Seconds.
    neurons : array_like of int, shape (n,)
    counts : array_like of int, shape (n,), optional
        Signed; default: 1. Spikes of one neuron at one time are added up; a sum of 0 is none.

    Raises
    ------
    DataError
        For lengths that differ, times that are not finite, or neurons and counts that are no whole
        numbers or out of range.

    Examples
    --------
    >>> train = SpikeTrain([0.2, 0.1, 0.2], [3, 1, 3], [1, -1, 1])
    >>> len(train), train.size
    (2, 4)
    """

    times: Floats
    neurons: NDArray[np.int64]
    counts: NDArray[np.int64]

    def __init__(
        self, times: ArrayLike, neurons: ArrayLike, counts: ArrayLike | None = None
    ) -> None:
        stamps = np.asarray(times, dtype=np.float64).reshape(-1)
        given = [np.asarray(neurons).reshape(-1)]
        given.append(
            np.ones(len(stamps), dtype=np.int64) if counts is None else np.asarray(counts).ravel()
        )
        for what, array in zip(("neurons", "counts"), given, strict=True):
            if array.shape != stamps.shape:
                raise DataError(f"{len(array)} {what} for {len(stamps)} times: must be as many")
            if array.size and not (
                np.issubdtype(array.dtype, np.number) and (array == np.floor(array)).all()
            ):
                raise DataError(f"{what} of a spike train: must be whole numbers")
        if not np.isfinite(stamps).all():
            raise DataError("times of a spike train: must be finite")
        if len(stamps) and (given[0].min() < 0 or np.abs(given[1]).max() > 2**31 - 1):
            raise DataError("a spike train needs neurons >= 0 and counts within 2**31 - 1")
        order = np.lexsort((given[0], stamps))
        stamps, members = stamps[order], given[0][order].astype(np.int64)
        signed = given[1][order].astype(np.int64)
        new = np.ones(len(stamps), dtype=bool)
        new[1:] = (np.diff(stamps) != 0) | (np.diff(members) != 0)
        if len(stamps):
            signed = np.add.reduceat(signed, np.flatnonzero(new))
        stamps, members = stamps[new], members[new]
        object.__setattr__(self, "times", stamps[signed != 0])
        object.__setattr__(self, "neurons", members[signed != 0])
        object.__setattr__(self, "counts", signed[signed != 0])

    @classmethod
    def replay(cls, raster: Raster, population: str) -> SpikeTrain:
        """Return what one population of a raster sent."""
        spikes = raster.select(population).arrays()
        return cls(spikes.time, spikes.neuron, spikes.count)

    @property
    def size(self) -> int:
        """Return the least number of neurons that the train needs."""
        return int(self.neurons.max()) + 1 if len(self.neurons) else 0

    @property
    def width(self) -> int:
        """Return 2: a sample is a neuron and its count."""
        return 2

    def __len__(self) -> int:
        """Return the number of spikes."""
        return len(self.times)

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return the times (n,) in s and (neuron, count) (n, 2) of spikes start to stop - 1.

        A block never ends between spikes of one time, unless it holds no other.
        """
        if stop < len(self.times):
            whole = int(np.searchsorted(self.times, self.times[stop], side="left"))
            stop = whole if whole > start else stop
        table = np.stack([self.neurons[start:stop], self.counts[start:stop]], axis=1)
        return self.times[start:stop], table.astype(np.float64)

"""Spike rasters: what every population sent, when, in the order in which the engine emitted it.

A raster is a table with one row a spike event:

========== =================== ===========================================================
column     type                meaning
========== =================== ===========================================================
time       float64             simulated time in seconds, never decreasing down the table
population dictionary<string>  the population that fired
neuron     uint32              index of the neuron within its population
count      int32               quanta sent at once, with their sign; never 0
========== =================== ===========================================================

On disk it is a series of Parquet segments, ``<run folder>/raster/000000.parquet`` and so on. Each
is written aside by a thread and renamed into place when full, so that memory stays bounded however
long the run is, no run waits for a disk, and every file under a segment's name is whole. A killed run
loses at most the open segment and the one that was being written.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import ConfigError, EventNetError, RunFolderError
from eventnet.files import believable, crc32, no_link
from eventnet.files import written_aside as written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMAT = "eventnet.raster"
FORMAT_VERSION = 1
ROW_BYTES = 20  # in memory
FEW_ROWS = 1000  # below that a file's own overhead counts
ROW_GROUP = 131_072  # rows that a reader has to decode to find one spike

_SEGMENT = re.compile(r"\d{6,}\.parquet")
_HEADER = "_common_metadata"  # Parquet's own name for a schema without rows


class Spikes(NamedTuple):
    """A batch of spike events: four arrays of one length, times never decreasing.

    Attributes
    ----------
    time : ndarray of float64
        Simulated time, in seconds.
    population_code : ndarray of int32
        Index into the ``populations`` of the raster that the batch came from.
    neuron : ndarray of uint32
        Index of the neuron within its population.
    count : ndarray of int32
        Signed number of quanta, never 0.
    """

    time: NDArray[np.float64]
    population_code: NDArray[np.int32]
    neuron: NDArray[np.uint32]
    count: NDArray[np.int32]  # type: ignore[assignment]  # hides tuple.count, which has no use here


class PopulationStats(NamedTuple):
    """What one population sent.

    Attributes
    ----------
    events : int
        Number of spike events.
    quanta : int
        Sum of their absolute counts.
    positive, negative : int
        Number of events of each sign.
    neurons : int
        Number of neurons that fired at least once.
    first, last : float or None
        Time of the first and of the last event, in seconds; None if silent.
    rate : float or None
        Events per second of the whole population. The duration is the selected window; a side that
        was not selected ends at the first or last event of any population. None if it is 0.
    """

    events: int
    quanta: int
    positive: int
    negative: int
    neurons: int
    first: float | None
    last: float | None
    rate: float | None


class Recorder(Protocol):
    """What an engine hands its spikes to: `RasterWriter` on disk, `MemoryRaster` in memory."""

    @property
    def rows(self) -> int:
        """Spike events appended so far."""

    def append(
        self, times: ArrayLike, codes: ArrayLike, neurons: ArrayLike, counts: ArrayLike
    ) -> None:
        """Take over a batch; the arrays may be reused by the caller afterwards."""

    def flush(self) -> None:
        """Make everything appended so far readable."""

    def close(self) -> None:
        """Flush and accept nothing more."""

    def raster(self) -> Raster:
        """Read back what has been flushed."""


# --- checking batches ----------------------------------------------------------------------------


def _names(populations: Sequence[str]) -> tuple[str, ...]:
    names = tuple(populations)
    if isinstance(populations, str) or not all(isinstance(n, str) and n for n in names):
        raise ConfigError(f"populations={populations!r}: must be a list of non-empty names")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"populations: {twice!r} occurs twice: give each population its own name")
    return names


def _integers(what: str, values: ArrayLike, low: int, high: int, dtype: type) -> NDArray[Any]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ConfigError(f"{what} of type {array.dtype}: must be integers")
    if array.size and not (low <= int(array.min()) and int(array.max()) <= high):
        worst = int(array.min()) if int(array.min()) < low else int(array.max())
        raise ConfigError(f"{what}={worst}: must be in [{low}, {high}]")
    return array.astype(dtype, copy=False)


def _checked(
    times: ArrayLike,
    codes: ArrayLike,
    neurons: ArrayLike,
    counts: ArrayLike,
    populations: tuple[str, ...],
    after: float,
) -> Spikes:
    """Return the four arrays in the raster's types, or say which rule of the format they break."""
    batch = Spikes(
        np.asarray(times, dtype=np.float64),
        _integers("population code", codes, 0, len(populations) - 1, np.int32),
        _integers("neuron", neurons, 0, 2**32 - 1, np.uint32),
        _integers("count", counts, -(2**31), 2**31 - 1, np.int32),
    )
    shapes = [column.shape for column in batch]
    if batch.time.ndim != 1 or len(set(shapes)) != 1:
        raise ConfigError(
            f"times, codes, neurons, counts of shapes {shapes}: must be 1-D and equally long"
        )
    if not np.isfinite(batch.time).all():
        raise ConfigError("spike time is not finite: every spike needs a time in seconds")
    ordered = np.diff(batch.time, prepend=after) >= 0 if batch.time.size else np.True_
    if not ordered.all():
        at = int(np.argmin(ordered))
        before = batch.time[at - 1] if at else after
        raise ConfigError(
            f"spike time {float(batch.time[at])!r} s after {float(before)!r} s: "
            "times must not decrease; append spikes in the order of their emission"
        )
    if not batch.count.all():
        raise ConfigError("spike count=0: must not be 0; leave out neurons that did not fire")
    return batch


def neuron_keys(spikes: Spikes) -> NDArray[np.uint64]:
    """Return one number for each spike's neuron: its population code above, its index below 2^32."""
    return spikes.population_code.astype(np.uint64) << np.uint64(32) | spikes.neuron


def _cut(spikes: Spikes, start: int, stop: int | None = None) -> Spikes:
    return Spikes._make(column[start:stop] for column in spikes)


def _window(spikes: Spikes, start: float, stop: float) -> Spikes:
    first, end = np.searchsorted(spikes.time, (start, stop))
    return _cut(spikes, int(first), int(end))


def _join(pieces: Sequence[Spikes]) -> Spikes:
    if len(pieces) == 1:
        return pieces[0]
    if not pieces:
        return Spikes(
            np.empty(0, np.float64),
            np.empty(0, np.int32),
            np.empty(0, np.uint32),
            np.empty(0, np.int32),
        )
    return Spikes._make(np.concatenate(columns) for columns in zip(*pieces, strict=True))


def _rechunk(batches: Iterable[Spikes], rows: int) -> Iterator[Spikes]:
    pending: list[Spikes] = []
    room = rows
    for batch in batches:
        while batch.time.size >= room:
            yield _join([*pending, _cut(batch, 0, room)])
            batch = _cut(batch, room)
            pending, room = [], rows
        if batch.time.size:
            pending.append(batch)
            room -= batch.time.size
    if pending:
        yield _join(pending)


# --- Parquet -------------------------------------------------------------------------------------

# Times have no repeats worth a dictionary; splitting their bytes lets zstd see the slow high ones.
PARQUET_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["population", "neuron", "count"],
    "column_encoding": {"time": "BYTE_STREAM_SPLIT"},
    "write_page_checksum": True,
}


def parquet_schema(populations: Sequence[str]) -> Any:
    """Return the `pyarrow.Schema` of a raster, with the format, its version and the names."""
    import pyarrow as pa

    return pa.schema(
        [
            pa.field("time", pa.float64(), nullable=False, metadata={"unit": "s"}),
            pa.field("population", pa.dictionary(pa.int32(), pa.string()), nullable=False),
            pa.field("neuron", pa.uint32(), nullable=False),
            pa.field("count", pa.int32(), nullable=False),
        ],
        metadata={
            "format": FORMAT,
            "version": str(FORMAT_VERSION),
            "populations": json.dumps(list(populations)),
        },
    )


def parquet_table(spikes: Spikes, schema: Any, populations: Sequence[str]) -> Any:
    """Return a batch as a `pyarrow.Table`; the numbers are not copied."""
    import pyarrow as pa

    names = pa.array(list(populations), pa.string())
    population = pa.DictionaryArray.from_arrays(pa.array(spikes.population_code), names)
    columns = [pa.array(spikes.time), population, pa.array(spikes.neuron), pa.array(spikes.count)]
    return pa.Table.from_arrays(columns, schema=schema)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what pyarrow says about a damaged file into an error that names it."""
    try:
        yield
    except (EventNetError, MemoryError):
        raise
    except Exception as error:
        raise RunFolderError(
            f"{path}: not a readable raster segment ({error}): restore or remove it"
        ) from error


def _populations_of(path: Path) -> tuple[str, ...]:
    import pyarrow.parquet as pq

    with _readable(path):
        told = pq.read_schema(no_link(path)).metadata or {}
        if told.get(b"format") != FORMAT.encode():
            raise RunFolderError(f"{path}: not an {FORMAT} file: choose a run folder of eventnet")
        if int(told[b"version"]) > FORMAT_VERSION:
            raise RunFolderError(
                f"{path}: format version {int(told[b'version'])}, known up to {FORMAT_VERSION}: "
                "update eventnet"
            )
        return tuple(json.loads(told[b"populations"]))


def _numbered(folder: Path) -> dict[int, Path]:
    """Return the closed segments by number; temporary files do not match the pattern."""
    return {int(p.stem): no_link(p) for p in folder.iterdir() if _SEGMENT.fullmatch(p.name)}


def _segments_in(folder: Path) -> list[Path]:
    """Return the closed segments in order."""
    found = _numbered(folder)
    for number in range(len(found)):
        if number not in found:
            raise RunFolderError(
                f"{folder / _segment_name(number)}: missing while later segments exist: restore it"
            )
    return [found[number] for number in sorted(found)]


def _segment_name(number: int) -> str:
    return f"{number:06d}.parquet"


# --- recording -----------------------------------------------------------------------------------


class RasterWriter:
    """Record spikes as Parquet segments in ``folder/raster``.

    Parameters
    ----------
    folder : Path
        The run folder; made if it does not exist.
    populations : sequence of str
        Names that the population codes index.
    segment_rows : int
        Spike events a segment. Two of them bound memory (20 bytes each) and what a killed run loses.
    resume : sequence of Segment, optional
        Go on after these, which were the writer's `segments` at a checkpoint; later ones are removed.
        By default a folder that holds a raster is refused.

    Attributes
    ----------
    segments : list of Segment
        What is known to be on disk; all of it after `flush`.

    Raises
    ------
    RunFolderError
        If the folder cannot be written, holds a raster already, or not all that `resume` names.
        After a failed write, which the next call says, the writer is closed; segments on disk stay
        readable.
    ConfigError
        If an argument or a batch breaks the format.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RasterWriter(Path(folder), ["gyro", "hidden"]) as writer:
    ...         writer.append([0.1, 0.1, 0.3], [0, 1, 1], [2, 0, 7], [1, -2, 1])
    ...     raster = Raster.open(folder)
    ...     len(raster), raster.select("hidden").arrays().count.tolist()
    (3, [-2, 1])
    """

    def __init__(
        self,
        folder: Path | str,
        populations: Sequence[str],
        segment_rows: int = 500_000,
        *,
        resume: Sequence[Segment] | None = None,
    ) -> None:
        if segment_rows < 1:
            raise ConfigError(f"segment_rows={segment_rows}: must be >= 1")
        self.folder = Path(folder)
        self.populations = _names(populations)
        self.segment_rows = segment_rows
        self._raster = self.folder / "raster"
        self._schema = parquet_schema(self.populations)
        self._last = -math.inf
        self.segments: list[Segment] = []
        self._held = 0
        self._closed = False
        try:
            self._raster.mkdir(parents=True, exist_ok=True)
            if resume is not None:
                self._go_on(resume)
            elif _numbered(self._raster):
                raise RunFolderError(f"{self._raster}: holds a raster: choose another folder")
        except EventNetError:
            raise
        except OSError as error:
            raise RunFolderError(
                f"{self._raster}: cannot be written ({error}): choose another folder"
            ) from error
        self._write_header()
        parquet_table(_join([]), self._schema, self.populations)  # imports pandas, if it is there
        self._open, self._other = self._blank(), self._blank()
        self._pen = ThreadPoolExecutor(max_workers=1, thread_name_prefix="raster")
        self._writing: Future[Segment] | None = None
        self._handed_over = 0  # rows that are being written

    @property
    def rows(self) -> int:
        """Spike events appended so far, on disk or not: the recorder position of a checkpoint."""
        return sum(segment.rows for segment in self.segments) + self._handed_over + self._held

    def append(
        self, times: ArrayLike, codes: ArrayLike, neurons: ArrayLike, counts: ArrayLike
    ) -> None:
        """Record a batch; it is copied, and all of it is refused if a row breaks the format.

        Parameters
        ----------
        times : array_like of float, shape (n,)
            Seconds, not decreasing, also with respect to the batch before.
        codes, neurons, counts : array_like of int, shape (n,)
            Population codes, neuron indices, signed counts (not 0).
        """
        if self._closed:
            raise RunFolderError(f"{self._raster}: the writer is closed: open a new one")
        if self._writing is not None and self._writing.done():
            self._wait()
        batch = _checked(times, codes, neurons, counts, self.populations, self._last)
        while batch.time.size:
            room = min(self.segment_rows - self._held, batch.time.size)
            columns: Iterable[tuple[NDArray[Any], NDArray[Any]]]
            columns = zip(self._open, batch, strict=True)
            for target, source in columns:
                target[self._held : self._held + room] = source[:room]
            self._held += room
            self._last = float(batch.time[room - 1])
            if self._held == self.segment_rows:
                self._hand_over()
            batch = _cut(batch, room)

    def flush(self) -> None:
        """Close the open segment, full or not, so that all rows are on disk."""
        self._hand_over()
        self._wait()

    def close(self) -> None:
        """Flush and accept nothing more; closing again does nothing."""
        if not self._closed:
            self.flush()
            self._closed = True
            self._pen.shutdown()

    def abandon(self) -> None:
        """Accept nothing more, and let go of the open segment; what is being written is finished."""
        self._closed, self._held = True, 0
        self._wait()
        self._pen.shutdown()

    def raster(self) -> Raster:
        """Read back the segments that are closed by now."""
        self._wait()
        return Raster.open(self.folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def bytes_a_row(self) -> float:
        """Return the size on disk of a spike event, as the latest ones are stored."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._held >= FEW_ROWS:
            table = parquet_table(_cut(self._open, 0, self._held), self._schema, self.populations)
            with pa.BufferOutputStream() as buffer:
                pq.write_table(table, buffer, row_group_size=ROW_GROUP, **PARQUET_OPTIONS)
                return float(buffer.tell() / self._held)
        if self.segments and self.segments[-1].rows >= FEW_ROWS:
            path = self._raster / _segment_name(len(self.segments) - 1)
            return path.stat().st_size / self.segments[-1].rows
        return float(ROW_BYTES)

    def _write_header(self) -> None:
        import pyarrow.parquet as pq

        with written_aside(self._raster / _HEADER) as aside:
            pq.write_metadata(self._schema, aside)

    def _write(self, number: int, spikes: Spikes) -> Segment:
        import pyarrow.parquet as pq

        table = parquet_table(spikes, self._schema, self.populations)
        with written_aside(self._raster / _segment_name(number)) as aside:
            pq.write_table(table, aside, row_group_size=ROW_GROUP, **PARQUET_OPTIONS)
            return Segment(len(spikes.time), crc32(aside))

    def _blank(self) -> Spikes:
        return Spikes._make(np.empty(self.segment_rows, a.dtype) for a in _join([]))

    def _hand_over(self) -> None:
        """Let the thread write the open segment once the one before is on disk, and open another."""
        self._wait()
        if self._held:
            full = _cut(self._open, 0, self._held)
            self._writing = self._pen.submit(self._write, len(self.segments), full)
            self._open, self._other = self._other, self._open
            self._handed_over, self._held = self._held, 0

    def _wait(self) -> None:
        """Wait until no segment is being written."""
        if self._writing is None:
            return
        try:
            self.segments.append(self._writing.result())
        except RunFolderError:
            # Leaving the `with` block must show this error, not the same one from a second attempt.
            self._closed = True
            self._held = 0
            self._writing = None
            raise
        self._writing, self._handed_over = None, 0

    def _go_on(self, segments: Sequence[Segment]) -> None:
        there = _numbered(self._raster)
        # The last first: a kill in between leaves a series without a gap.
        for number in sorted(there, reverse=True):
            if number >= len(segments):
                there[number].unlink()
        if segments:
            bad = first_damaged(self.folder, segments)
            if bad is not None:
                raise RunFolderError(f"{bad}: missing or damaged: take an earlier checkpoint")
            self._last = _footer(there[len(segments) - 1]).spans[-1][1]
        self.segments = list(segments)


class Segment(NamedTuple):
    """A segment on disk: its spike events, and the CRC-32 of its file."""

    rows: int
    checksum: int


def first_damaged(folder: Path, segments: Sequence[Segment]) -> Path | None:
    """Return the first of a run folder's segments that is missing or not as it was written."""
    for number, segment in enumerate(segments):
        path = folder / "raster" / _segment_name(number)
        if not path.is_file() or crc32(no_link(path)) != segment.checksum:
            return path
    return None


class MemoryRaster:
    """Record spikes in memory, for runs short enough to be kept there (20 bytes a spike).

    Parameters
    ----------
    populations : sequence of str
        Names that the population codes index.

    Examples
    --------
    >>> recorder = MemoryRaster(["gyro", "hidden"])
    >>> recorder.append([0.1, 0.2], [0, 1], [2, 0], [1, -1])
    >>> recorder.raster().select("hidden").arrays().time
    array([0.2])
    """

    def __init__(self, populations: Sequence[str]) -> None:
        self.populations = _names(populations)
        self._chunks: list[Spikes] = []
        self._last = -math.inf
        self._rows = 0

    @property
    def rows(self) -> int:
        """Spike events appended so far."""
        return self._rows

    def append(
        self, times: ArrayLike, codes: ArrayLike, neurons: ArrayLike, counts: ArrayLike
    ) -> None:
        """Record a batch, as `RasterWriter.append` does."""
        batch = _checked(times, codes, neurons, counts, self.populations, self._last)
        if batch.time.size:
            self._chunks.append(Spikes._make(column.copy() for column in batch))
            self._last = float(batch.time[-1])
            self._rows += batch.time.size

    def flush(self) -> None:
        """Do nothing: memory is readable at once."""

    def close(self) -> None:
        """Do nothing: there is no file."""

    def raster(self) -> Raster:
        """Return what has been recorded by now; later spikes do not show up in it."""
        return Raster(_Memory(tuple(self._chunks), self.populations))


# --- reading -------------------------------------------------------------------------------------


class _Source(Protocol):
    """Where the rows come from, unfiltered but for time."""

    populations: tuple[str, ...]

    @property
    def rows(self) -> int: ...

    def read(self, start: float, stop: float) -> Iterator[Spikes]: ...


class _Memory:
    def __init__(self, chunks: tuple[Spikes, ...], populations: tuple[str, ...]) -> None:
        self.chunks = chunks  # none is empty; never joined: a long run would be in memory twice
        self.populations = populations

    @property
    def rows(self) -> int:
        return sum(chunk.time.size for chunk in self.chunks)

    def read(self, start: float, stop: float) -> Iterator[Spikes]:
        begin = bisect_left(self.chunks, start, key=lambda chunk: float(chunk.time[-1]))
        for chunk in self.chunks[begin:]:
            if chunk.time[0] >= stop:
                return
            yield _window(chunk, start, stop)


class _Footer(NamedTuple):
    path: Path
    rows: int
    spans: tuple[tuple[float, float], ...]  # first and last time of each row group, in seconds


class _Folder:
    """The closed segments of a folder, as they were when it was opened."""

    def __init__(self, folder: Path) -> None:
        try:
            paths = _segments_in(no_link(folder))
            header = folder / _HEADER
            named = header if header.is_file() else paths[0]
        except EventNetError:
            raise
        except (OSError, IndexError) as error:
            raise RunFolderError(
                f"{folder.parent}: not a run folder: it has no raster in it"
            ) from error
        self.populations = _populations_of(named)
        self.segments = [_footer(path) for path in paths]

    @property
    def rows(self) -> int:
        return sum(segment.rows for segment in self.segments)

    def read(self, start: float, stop: float) -> Iterator[Spikes]:
        for segment in self.segments:
            for batch in self.read_segment(segment, start, stop):
                yield _window(batch, start, stop)

    def read_segment(
        self, segment: _Footer, start: float = -math.inf, stop: float = math.inf
    ) -> Iterator[Spikes]:
        """Yield the row groups of one segment that the window touches."""
        import pyarrow.parquet as pq

        spans = enumerate(segment.spans)
        groups = [group for group, (first, last) in spans if first < stop and last >= start]
        if not groups:
            return
        with (
            _readable(segment.path),
            pq.ParquetFile(segment.path, page_checksum_verification=True) as file,
        ):
            for group in groups:
                for batch in file.iter_batches(ROW_GROUP, row_groups=[group], use_threads=False):
                    yield self._spikes(batch)

    def _spikes(self, batch: Any) -> Spikes:
        # A segment's dictionary holds only the names that occur in it, in order of occurrence.
        population = batch.column("population")
        codes = [self.populations.index(name) for name in population.dictionary.to_pylist()]
        return Spikes(
            batch.column("time").to_numpy(),
            np.array(codes, np.int32)[population.indices.to_numpy()],
            batch.column("neuron").to_numpy(),
            batch.column("count").to_numpy(),
        )


def _footer(path: Path) -> _Footer:
    import pyarrow.parquet as pq

    with _readable(path):
        metadata = pq.read_metadata(path)
        believable(path, ROW_BYTES * metadata.num_rows)
        fields = [(field.name, field.type) for field in metadata.schema.to_arrow_schema()]
        if fields != [(field.name, field.type) for field in parquet_schema([])]:
            raise RunFolderError(f"{path}: not the columns of a raster: restore or remove it")
        times = [metadata.row_group(i).column(0).statistics for i in range(metadata.num_row_groups)]
        return _Footer(path, metadata.num_rows, tuple((float(t.min), float(t.max)) for t in times))


class Raster:
    """Spikes to read, on disk or in memory, or a selection of them. Nothing is loaded until asked.

    Get one by `Raster.open`, `Raster.from_arrays` or a recorder's ``raster()``.

    Attributes
    ----------
    populations : tuple of str
        Names that the population codes of *this* raster index; a selection has its own codes.
    start, stop : float or None
        The selected window [start, stop), in seconds; None where it was not bounded.
    folder : Path or None
        The run folder that it was opened from.

    Examples
    --------
    >>> raster = Raster.from_arrays([0.0, 0.5, 1.0], [0, 1, 0], [3, 0, 3], [1, -2, 1], ["a", "b"])
    >>> len(raster), len(raster.select("a")), len(raster.select(stop=1.0))
    (3, 2, 2)
    >>> raster.stats()["b"].quanta
    2
    """

    def __init__(
        self,
        source: _Source,
        populations: tuple[str, ...] | None = None,
        start: float | None = None,
        stop: float | None = None,
        folder: Path | None = None,
    ) -> None:
        self._source = source
        self.folder = folder
        self._length: int | None = None
        self.populations = source.populations if populations is None else populations
        self.start = start
        self.stop = stop

    @classmethod
    def open(cls, run_folder: Path | str) -> Self:
        """Open the raster of a run, finished, running or killed: the segments closed by now.

        Raises
        ------
        RunFolderError
            If there is no such folder, no raster in it, a segment missing or damaged. Damage inside
            a segment shows when it is read.
        """
        folder = Path(run_folder)
        if not folder.is_dir():
            raise RunFolderError(f"{folder}: no such folder: give the folder of a recorded run")
        return cls(_Folder(folder / "raster"), folder=folder)

    @classmethod
    def from_arrays(
        cls,
        times: ArrayLike,
        codes: ArrayLike,
        neurons: ArrayLike,
        counts: ArrayLike,
        populations: Sequence[str],
    ) -> Self:
        """Make a raster of arrays in memory; they are not copied where their types fit.

        Parameters
        ----------
        times : array_like of float, shape (n,)
            Seconds, not decreasing.
        codes, neurons, counts : array_like of int, shape (n,)
            Index into `populations`, neuron, signed count (not 0).
        populations : sequence of str
            Names of the populations.

        Raises
        ------
        ConfigError
            If the arrays break the format.
        """
        names = _names(populations)
        spikes = _checked(times, codes, neurons, counts, names, -math.inf)
        return cls(_Memory((spikes,) if spikes.time.size else (), names))

    def select(
        self,
        population: str | Iterable[str] | None = None,
        start: float | None = None,
        stop: float | None = None,
    ) -> Raster:
        """Return the part of some populations and of a time window; nothing is read yet.

        Parameters
        ----------
        population : str or iterable of str, optional
            One or more names; the codes of the result follow their order. Default: all.
        start, stop : float, optional
            Window [start, stop) in seconds: a spike at `stop` is left out, so that adjacent windows
            share none. It narrows a window that was selected before. On disk only the row groups
            that the window touches are read.

        Raises
        ------
        ConfigError
            If a name is unknown, or the window is reversed or not finite.
        """
        names = self.populations if population is None else self._known(population)
        for what, bound in (("start", start), ("stop", stop)):
            if bound is not None and not math.isfinite(bound):
                raise ConfigError(f"{what}={bound}: must be finite seconds; None is unbounded")
        if start is not None and stop is not None and start > stop:
            raise ConfigError(f"start={start} s, stop={stop} s: start must not be after stop")
        starts = [t for t in (self.start, start) if t is not None]
        stops = [t for t in (self.stop, stop) if t is not None]
        window = max(starts, default=None), min(stops, default=None)
        return Raster(self._source, names, *window, self.folder)

    def _known(self, population: str | Iterable[str]) -> tuple[str, ...]:
        wanted = [population] if isinstance(population, str) else list(population)
        for name in wanted:
            if name not in self.populations:
                close = difflib.get_close_matches(str(name), self.populations, 1)
                hint = f" (did you mean {close[0]!r}?)" if close else ""
                known = ", ".join(self.populations) or "none"
                raise ConfigError(f"population {name!r}: unknown{hint}; known: {known}")
        return tuple(dict.fromkeys(wanted))

    def __len__(self) -> int:
        if self._length is None:
            if self.populations == self._source.populations and self.start is self.stop is None:
                self._length = self._source.rows
            else:
                self._length = sum(batch.time.size for batch in self._selected())
        return self._length

    def __repr__(self) -> str:
        window = (
            "" if self.start is self.stop is None else f", start={self.start}, stop={self.stop}"
        )
        return f"Raster(populations={list(self.populations)}{window})"

    def _selected(self) -> Iterator[Spikes]:
        everything = self.populations == self._source.populations
        recode = np.array(
            [
                self.populations.index(name) if name in self.populations else -1
                for name in self._source.populations
            ],
            dtype=np.int32,
        )
        start = -math.inf if self.start is None else self.start
        stop = math.inf if self.stop is None else self.stop
        if start >= stop:
            return
        for batch in self._source.read(start, stop):
            if everything:
                yield batch
            else:
                codes = recode[batch.population_code]
                kept = codes >= 0
                yield Spikes(batch.time[kept], codes[kept], batch.neuron[kept], batch.count[kept])

    def iter_batches(self, rows: int = ROW_GROUP) -> Iterator[Spikes]:
        """Yield the spikes in order, `rows` at a time, the last batch shorter; none is empty.

        Memory is bounded by `rows` and one row group. The arrays may be read-only.
        """
        if rows < 1:
            raise ConfigError(f"rows={rows}: must be >= 1")
        return _rechunk(self._selected(), rows)

    def arrays(self) -> Spikes:
        """Load all spikes: 20 bytes each."""
        return _join(list(self._selected()))

    def stats(self) -> dict[str, PopulationStats]:
        """Return what each population sent, computed in one streaming pass.

        Memory is bounded by the number of neurons that fired.
        """
        n = len(self.populations)
        events, positive, quanta = (np.zeros(n, np.int64) for _ in range(3))
        first, last = np.full(n, np.inf), np.full(n, -np.inf)
        fired = np.empty(0, np.uint64)
        for batch in self.iter_batches():
            code = batch.population_code
            events += np.bincount(code, minlength=n)
            positive += np.bincount(code[batch.count > 0], minlength=n)
            # Widened first: the absolute value of -2**31 is no int32.
            np.add.at(quanta, code, np.abs(batch.count.astype(np.int64)))
            np.minimum.at(first, code, batch.time)
            np.maximum.at(last, code, batch.time)
            fired = np.sort(np.concatenate([fired, neuron_keys(batch)]))
            fired = fired[np.diff(fired, prepend=~fired[:1]) != 0]  # np.unique would hash: slower
        neurons = np.bincount((fired >> np.uint64(32)).astype(np.int64), minlength=n)
        start = self.start if self.start is not None else first.min(initial=np.inf)
        stop = self.stop if self.stop is not None else last.max(initial=-np.inf)
        duration = float(stop - start)
        return {
            name: PopulationStats(
                events=int(events[i]),
                quanta=int(quanta[i]),
                positive=int(positive[i]),
                negative=int(events[i] - positive[i]),
                neurons=int(neurons[i]),
                first=float(first[i]) if events[i] else None,
                last=float(last[i]) if events[i] else None,
                rate=float(events[i]) / duration if 0 < duration < math.inf else None,
            )
            for i, name in enumerate(self.populations)
        }

    def plot(
        self,
        path: Path | str | None = None,
        *,
        start: float | None = None,
        stop: float | None = None,
        populations: Sequence[str] | None = None,
        sizes: dict[str, int] | None = None,
        title: str | None = None,
    ) -> Figure:
        """Draw the raster, and save it if `path` (png, svg, pdf) is given.

        The other arguments are those of `eventnet.plot.raster_figure`.
        """
        from eventnet import plot

        figure = plot.raster_figure(
            self, start=start, stop=stop, populations=populations, sizes=sizes, title=title
        )
        if path is not None:
            plot.save(figure, path)
        return figure

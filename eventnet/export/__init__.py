"""A raster in the formats of other programs, and back: one file a format.

``docs/formats.md`` compares what they carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

from eventnet.errors import ConfigError, RunFolderError
from eventnet.export import aer, csv, neo, npz, nwb, parquet, sonata
from eventnet.export.sorting import Records, SortedOnDisk, bounds_of_sample
from eventnet.files import understood, written_aside
from eventnet.raster import Raster, RasterWriter, Spikes, _Source

Writer = Callable[[Raster, Path], None]
Reader = Callable[[Path], tuple[tuple[str, ...], Iterator[Spikes]]]
Progress = Callable[[float], None]
"""Takes the share of the work that is done, from 0 to 1."""


class Format(NamedTuple):
    """One format.

    Attributes
    ----------
    suffix : str
        Of its files; one a format.
    write : callable
        Takes a raster and the path of the file to make.
    passes : int
        How often `write` reads the raster.
    read : callable or None
        Takes a path; returns the names of the populations and their spikes, in any order.
    """

    suffix: str
    write: Writer
    passes: int = 1
    read: Reader | None = None


FORMATS = {
    "csv": Format("csv", csv.write),
    "npz": Format("npz", npz.write, len(npz.COLUMNS), npz.read),
    "parquet": Format("parquet", parquet.write),
    "sonata": Format("h5", sonata.write, 1, sonata.read),
    "nwb": Format("nwb", nwb.write, 2, nwb.read),
    "neo": Format("nix", neo.write, 2),
    "aer": Format("npy", aer.write),
}
IMPORTS = [name for name, format in FORMATS.items() if format.read is not None]


def format_of(path: Path | str, format: str | None = None) -> str:
    """Return the name of the format of a file, by its suffix unless it is given.

    Raises
    ------
    ConfigError
        If there is none of that name or suffix.
    """
    suffix = Path(path).suffix.removeprefix(".").lower()
    by_suffix = {known.suffix: name for name, known in FORMATS.items()}
    name = by_suffix.get(suffix, suffix) if format is None else format
    if name not in FORMATS:
        known = ", ".join(f"{name} (.{f.suffix})" for name, f in FORMATS.items())
        raise ConfigError(f"format {name!r} of {path}: unknown; there are {known}")
    return name


def export(
    raster: Raster,
    path: Path | str,
    format: str | None = None,
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a raster, or a selection of it, to a file of another format.

    The file is written aside and renamed into place, so that `path` never holds half of it.

    Parameters
    ----------
    raster : Raster
        The spikes; a selection is exported as such.
    path : Path or str
        The file to make; its folder must exist.
    format : str, optional
        A name in `FORMATS`. Default: by the suffix of `path`.
    overwrite : bool
        Replace a file that exists.
    progress : callable, optional
        Called now and then with the share that is done, from 0 to 1.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    ConfigError
        If the format is unknown or cannot hold the raster, its library is missing, or the file exists
        and `overwrite` is not set.
    RunFolderError
        If the file cannot be written, or a segment of the raster cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> raster = Raster.from_arrays([0.1, 0.3], [0, 1], [2, 0], [1, -2], ["gyro", "hidden"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(export(raster, Path(folder, "spikes.csv")).read_text().splitlines())
    ['"time","population","neuron","count"', '0.1,"gyro",2,1', '0.3,"hidden",0,-2']
    """
    path = Path(path)
    kind = FORMATS[format_of(path, format)]
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists; pass overwrite=True or choose another name")
    with written_aside(path) as aside:
        kind.write(watched(raster, kind.passes, progress), aside)
    return path


class _Share:
    """Tells how much of a number of spikes was seen."""

    def __init__(self, total: int, told: Progress | None) -> None:
        self._total = max(total, 1)
        self._told = told or (lambda share: None)
        self._seen = 0

    def add(self, spikes: int) -> None:
        self._seen += spikes
        self._told(min(self._seen / self._total, 1.0))

    def seen(self, records: Records) -> Records:
        self.add(records.size)
        return records


class _Watched:
    """A raster's source that tells how much of it was read."""

    def __init__(self, source: _Source, passes: int, told: Progress) -> None:
        self._source = source
        self._share = _Share(source.rows * passes, told)
        self.populations = source.populations

    @property
    def rows(self) -> int:
        return self._source.rows

    def read(self, start: float, stop: float) -> Iterator[Spikes]:
        for batch in self._source.read(start, stop):
            yield batch
            self._share.add(batch.time.size)


def watched(raster: Raster, passes: int, told: Progress | None) -> Raster:
    """Return a raster that tells how much of so many passes over its spikes is done."""
    if told is None:
        return raster
    source = _Watched(raster._source, passes, told)
    return Raster(source, raster.populations, raster.start, raster.stop, raster.folder)


# -- and back ------------------------------------------------------------------------------------------

RECORD = np.dtype([("time", "<f8"), ("population", "<i4"), ("neuron", "<i8"), ("count", "<i4")])
SAMPLE = 1024  # one spike in so many tells where the times lie


def load(
    path: Path | str,
    folder: Path | str,
    format: str | None = None,
    *,
    progress: Progress | None = None,
) -> Raster:
    """Read a file of spikes into a new run folder; `SpikeTrain.replay` makes sources of its raster.

    Spikes are sorted by time on disk, which takes 24 bytes of temporary disk each, beside `folder`;
    memory is bounded. Spikes of one time keep the order of the file.

    Parameters
    ----------
    path : Path or str
        A file of SONATA, NWB or NPZ, of eventnet or, the first two, of any other program.
    folder : Path or str
        The run folder to make. If something fails there is none.
    format : str, optional
        One of `IMPORTS`. Default: by the suffix of `path`.
    progress : callable, optional
        Called now and then with the share that is done, from 0 to 1.

    Returns
    -------
    Raster

    Raises
    ------
    ConfigError
        If the format is unknown or cannot be read back.
    DataError
        If the file is not of that format.
    RunFolderError
        If the folder exists or cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> raster = Raster.from_arrays([0.1, 0.3], [0, 1], [2, 0], [1, -2], ["gyro", "hidden"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = export(raster, Path(folder, "spikes.npz"))
    ...     load(file, Path(folder, "run")).select("hidden").arrays().count.tolist()
    [-2]
    """
    path = Path(path)
    name = format_of(path, format)
    read = FORMATS[name].read
    if read is None:
        raise ConfigError(f"{path}: {name} cannot be read back; there are {', '.join(IMPORTS)}")
    folder = Path(folder)
    if folder.exists():
        raise RunFolderError(f"{folder}: exists already; choose another folder or remove it")
    with understood(path, name):
        names, _ = read(path)
    sizes, sample = [0], [np.empty(0)]
    for batch in _batches(path, name):
        sizes.append(batch.time.size)
        sample.append(batch.time[::SAMPLE])
    bounds = bounds_of_sample(np.concatenate(sample), SAMPLE)
    told = _Share(3 * sum(sizes), progress)
    told.add(sum(sizes))
    with TemporaryDirectory(dir=_made(folder.parent), prefix=".import-") as aside:
        buckets, made = Path(aside, "buckets"), Path(aside, "run")
        buckets.mkdir()
        records = map(told.seen, map(_records, _batches(path, name)))
        with RasterWriter(made, names) as writer:
            for block in map(told.seen, SortedOnDisk(records, "time", bounds, buckets)):
                columns = (block[field] for field in ("time", "population", "neuron", "count"))
                writer.append(*(np.ascontiguousarray(column) for column in columns))
        made.rename(folder)
    return Raster.open(folder)


def _batches(path: Path, name: str) -> Iterator[Spikes]:
    read = FORMATS[name].read
    assert read is not None
    with understood(path, name):
        yield from read(path)[1]


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunFolderError(
            f"{folder}: cannot be made ({error.strerror}); choose another place"
        ) from error
    return folder


def _records(batch: Spikes) -> Records:
    records = np.empty(batch.time.size, RECORD)
    for field, column in zip(RECORD.names or (), batch, strict=True):
        records[field] = column
    return records

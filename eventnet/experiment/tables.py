"""Reads the columns of a recording: CSV, NPZ, NPY, Parquet, HDF5, AEDAT4, robot logs, by the suffix."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError, DataError, EventNetError, at_key
from eventnet.events import read_aedat4
from eventnet.experiment import logs
from eventnet.experiment.parts import UNITS, Column, Signal
from eventnet.files import believable, understood
from eventnet.network import unknown

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float64]
Stamps = NDArray[np.int64] | NDArray[np.float64]
Masked = Any  # a numpy.ma.MaskedArray, which numpy types half

EMPTY_CELLS = ["", "NA", "N/A", "null", "NULL"]


@dataclass(frozen=True)
class Table:
    """What was read of a file.

    Attributes
    ----------
    stamps : ndarray, shape (n,), or None
        Integers: nanoseconds, exact. Floats: seconds. In the order of the file.
    values : ndarray, shape (n, width)
        NaN where a single cell is empty.
    """

    stamps: Stamps | None
    values: Floats


@dataclass(frozen=True)
class Columns:
    """The columns of an open file: their names, in order, and how one is read.

    `further` are columns too, but only where they are asked for.
    """

    file: str
    names: list[str]
    get: Callable[[str], Any]
    numbered: bool = True
    further: Sequence[str] = ()

    def find(self, column: Column) -> str:
        """Return the name of a column that is given by name or by number from 0."""
        if isinstance(column, str) and (column in self.names or column in self.further):
            return column
        if isinstance(column, int) and self.numbered:
            if 0 <= column < len(self.names):
                return self.names[column]
            raise ConfigError(
                f"column {column} of {self.file}: it has {len(self.names)}, counted from 0"
            )
        there = [*self.names, *(name for name in self.further if not name[-1].isdecimal())]
        raise unknown(f"column of {self.file}", str(column), there)

    def read(self, column: Column) -> Masked:
        """Return a column with one entry a row, empty cells masked."""
        name = self.find(column)
        with understood(Path(self.file), "a table"):
            found: Masked = np.ma.asarray(self.get(name))
        if found.ndim == 0:
            raise DataError(f"{column!r} of {self.file}: is a single value; must have rows")
        return found


def read(signal: Signal, path: Path) -> Table:
    """Read what `signal` names of the file `path`.

    Raises
    ------
    ConfigError
        For a column, a suffix or a combination of keys that does not exist.
    DataError
        For a file that is missing, empty or damaged, or cells that are no numbers.
    """
    columns = opened(path, signal)
    with at_key("time"):
        stamps = _stamps(columns, signal)
    with at_key("columns"):
        values = _values(columns, signal, None if stamps is None else len(stamps))
    present = ~np.ma.getmaskarray(values).all(axis=1)
    if not present.any():
        with at_key("file"):
            raise DataError(f"{path.name} has no rows")
    if stamps is None:
        return Table(None, values.filled(np.nan)[present])
    bad = np.flatnonzero(present & (np.ma.getmaskarray(stamps) | ~np.isfinite(stamps.data)))
    if len(bad):
        with at_key("time"):
            raise DataError(f"row {bad[0] + 1} of {path.name} has no finite time stamp")
    return Table(stamps.data[present], values.filled(np.nan)[present])


def _stamps(columns: Columns, signal: Signal) -> Masked | None:
    """Return the column of time stamps: integers in ns, or floats in s."""
    if (signal.time is None) == (signal.rate is None):
        raise ConfigError(
            f"give either the column of time stamps of {columns.file} or, if it has none, its rate"
        )
    if signal.time is None:
        return None
    found, ticks = columns.read(signal.time), UNITS[signal.unit]
    if found.ndim > 1:
        raise DataError(f"{signal.time!r} of {columns.file} has shape {found.shape}: must be (n,)")
    if np.issubdtype(found.dtype, np.datetime64):
        return found.astype("datetime64[ns]").view(np.int64)
    if np.issubdtype(found.dtype, np.integer):
        if len(found) and np.abs(found.filled(0).astype(np.float64)).max() * ticks >= 2**63:
            raise DataError(
                f"{signal.time!r} of {columns.file}: beyond 292 years in {signal.unit!r}"
            )
        return found.astype(np.int64) * ticks
    if np.issubdtype(found.dtype, np.floating):
        return found.astype(np.float64) / (UNITS["s"] // ticks)
    raise DataError(_not_a_number(columns.file, signal.time, found))


def _values(columns: Columns, signal: Signal, rows: int | None) -> Masked:
    """Return the chosen columns side by side, (n, width)."""
    chosen: Sequence[Column] | None = signal.columns
    if chosen is None:
        time = None if signal.time is None else columns.find(signal.time)
        chosen = [name for name in columns.names if name != time]
    if not chosen:
        raise ConfigError(f"none of {columns.file}: name one at least")
    tables = []
    for column in chosen:
        found = columns.read(column)
        if not (np.issubdtype(found.dtype, np.number) or found.dtype == bool):
            raise DataError(_not_a_number(columns.file, column, found))
        rows = len(found) if rows is None else rows
        if len(found) != rows:
            raise DataError(
                f"{column!r} of {columns.file} has {len(found)} rows, another {rows}: must be as many"
            )
        tables.append(found.astype(np.float64).reshape(rows, math.prod(found.shape[1:])))
    return np.ma.concatenate(tables, axis=1)  # type: ignore[no-untyped-call]


def _not_a_number(file: str, column: Column, found: Masked) -> str:
    for row, cell in enumerate(found):
        try:
            float(cell)
        except (TypeError, ValueError):
            if cell is not np.ma.masked:
                return f"{column!r} of {file} holds {str(cell)[:40]!r} in row {row + 1}: no number"
    return f"{column!r} of {file} is of type {found.dtype}: must be numbers"


def opened(path: Path, signal: Signal) -> Columns:
    """Return the columns of a file, or of a topic of a robot log."""
    kinds: dict[str, Callable[[Path, Signal], Columns]] = {
        ".csv": _csv,
        ".npz": _npz,
        ".npy": _npy,
        ".parquet": _parquet,
        ".h5": _hdf5,
        ".hdf5": _hdf5,
        ".aedat4": _aedat4,
    }
    log = path.suffix in logs.SUFFIXES or path.is_dir()
    with at_key("file"):
        if not log and path.suffix not in kinds:
            raise unknown(f"kind of file of {path.name}", path.suffix, [*kinds, *logs.SUFFIXES])
        if not path.exists():
            raise DataError(f"{path}: no such file")
        if path.stat().st_size == 0:
            raise DataError(f"{path.name} is empty")
    if log:
        return _log(path, signal)
    if signal.topic is not None:
        with at_key("topic"):
            raise ConfigError(f"{signal.topic!r}: only robot logs have topics; leave it out")
    try:
        with at_key("file"):
            return kinds[path.suffix](path, signal)
    except EventNetError:
        raise
    except Exception as error:  # the libraries raise what comes
        reason = " ".join(str(error).split())
        with at_key("file"):
            raise DataError(f"{path.name} cannot be read as {path.suffix}: {reason}") from None


def _log(path: Path, signal: Signal) -> Columns:
    names = None if signal.columns is None else [str(name) for name in signal.columns]
    time = None if signal.time is None else str(signal.time)
    found = logs.read(path, signal.topic, names, time)
    what = f"{signal.topic} of {path.name}"
    return Columns(what, found.names, found.columns.__getitem__, False, found.further)


def _aedat4(path: Path, signal: Signal) -> Columns:
    imu = read_aedat4(path).imu
    if not len(imu):
        raise DataError(f"{path.name} has no inertial unit: give the camera itself as a source")
    return Columns(path.name, list(imu.dtype.names or ()), imu.__getitem__)


def _csv(path: Path, signal: Signal) -> Columns:
    from pyarrow import csv

    table = csv.read_csv(
        path,
        read_options=csv.ReadOptions(autogenerate_column_names=not signal.header),
        parse_options=csv.ParseOptions(delimiter=signal.delimiter),
        convert_options=csv.ConvertOptions(null_values=EMPTY_CELLS, strings_can_be_null=True),
    )
    return _arrow(path, table.rename_columns([name.strip() for name in table.column_names]))


def _parquet(path: Path, signal: Signal) -> Columns:
    from pyarrow import parquet

    said = parquet.read_metadata(path)
    believable(path, 8 * said.num_rows * said.num_columns)
    return _arrow(path, parquet.read_table(path))


def _arrow(path: Path, table: pa.Table) -> Columns:
    names = table.column_names
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise DataError(f"{path.name} has two columns {sorted(twice)[0]!r}: rename one")

    def column(name: str) -> Masked:
        chunks = table.column(name).combine_chunks()
        empty = np.asarray(chunks.is_null())
        if chunks.null_count == len(chunks):  # of no type, or of any
            return np.ma.masked_all(len(chunks))  # type: ignore[no-untyped-call]
        first = chunks.drop_null()[0]
        return np.ma.masked_array(chunks.fill_null(first).to_numpy(zero_copy_only=False), empty)

    return Columns(path.name, names, column)


def _npz(path: Path, signal: Signal) -> Columns:
    def array(name: str) -> NDArray[Any]:
        with np.load(path, allow_pickle=False) as archive:
            found: NDArray[Any] = archive[name]
            return found

    with np.load(path, allow_pickle=False) as archive:
        return Columns(path.name, list(archive.files), array, numbered=False)


def _npy(path: Path, signal: Signal) -> Columns:
    table = np.load(path, allow_pickle=False)
    if table.dtype.names:
        return Columns(path.name, list(table.dtype.names), table.__getitem__)
    table = table.reshape(len(table), -1) if table.ndim else table[None, None]
    return Columns(
        path.name, [str(k) for k in range(table.shape[1])], lambda name: table[:, int(name)]
    )


def _hdf5(path: Path, signal: Signal) -> Columns:
    try:
        import h5py
    except ImportError:
        raise ConfigError('h5py is not installed: pip install "eventnet[hdf5]"') from None

    def array(name: str) -> NDArray[Any]:
        with h5py.File(path) as file:
            believable(path, file[name].nbytes)
            found: NDArray[Any] = file[name][...]
            return found

    names: list[str] = []

    def look(name: str | bytes, item: object) -> None:
        if isinstance(item, h5py.Dataset) and isinstance(name, str):  # bytes: not Unicode
            names.append(name)

    with h5py.File(path) as file:
        file.visititems(look)
    return Columns(path.name, names, array, numbered=False)

"""NPZ: NumPy's own file, arrays ``time`` (s), ``population``, ``neuron``, ``count``, one entry an event.

Carries events, quanta, signs and the order of the raster. ``population`` indexes the array of names
``populations``. Nothing in it is pickled, and it is written and read in pieces.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from eventnet.errors import DataError
from eventnet.raster import ROW_GROUP, Raster, Spikes

COLUMNS = ("time", "population", "neuron", "count")
TYPES = (np.float64, np.int32, np.uint32, np.int32)


def write(raster: Raster, path: Path) -> None:
    """Write a raster in one pass a column; memory is bounded, no disk is needed beside the file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        with archive.open("populations.npy", "w") as member:
            npy.write_array(member, np.array(raster.populations, dtype=np.str_), allow_pickle=False)
        for column, (name, dtype) in enumerate(zip(COLUMNS, TYPES, strict=True)):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_header(member, np.dtype(dtype), len(raster))
                for batch in raster.iter_batches():
                    member.write(np.ascontiguousarray(batch[column], dtype).tobytes())


def write_header(file: IO[bytes], dtype: np.dtype[Any], rows: int) -> None:
    """Begin a ``.npy`` file of `rows` entries, to be followed by their bytes."""
    header = {"descr": npy.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
    npy.write_array_header_1_0(file, header)


def read(path: Path) -> tuple[tuple[str, ...], Iterator[Spikes]]:
    """Return the names of the populations, and the spikes in batches.

    Raises
    ------
    DataError
        If the file is none that `write` made.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = tuple(str(name) for name in arrays["populations"])
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: not the npz of a raster ({error})") from error
    return names, _batches(path)


def _batches(path: Path) -> Iterator[Spikes]:
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        files = [stack.enter_context(archive.open(f"{name}.npy")) for name in COLUMNS]
        heads = [_header(file) for file in files]
        (rows,) = heads[0][0]
        for start in range(0, rows, ROW_GROUP):
            n = min(ROW_GROUP, rows - start)
            columns = zip(files, heads, TYPES, strict=True)
            yield Spikes._make(
                np.frombuffer(file.read(n * dtype.itemsize), dtype).astype(kind, copy=False)
                for file, (_, dtype), kind in columns
            )


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    npy.read_magic(file)
    shape, _, dtype = npy.read_array_header_1_0(file)
    return shape, dtype

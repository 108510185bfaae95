"""Exports of a raster: the same spikes in the formats of other programs.

A format is a function that writes a raster to a path; `FORMATS` is where further ones are added.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np

from eventnet.errors import ConfigError
from eventnet.raster import (
    PARQUET_OPTIONS,
    Raster,
    parquet_schema,
    parquet_table,
    written_aside,
)

Writer = Callable[[Raster, Path], None]


def write_csv(raster: Raster, path: Path) -> None:
    """Write ``time,population,neuron,count`` rows; memory is bounded.

    Times are in seconds, each in the shortest digits that read back to the same float64.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("time", "population", "neuron", "count"))
        names = raster.populations
        for batch in raster.iter_batches():
            population = [names[code] for code in batch.population_code.tolist()]
            columns = batch.time.tolist(), population, batch.neuron.tolist(), batch.count.tolist()
            table.writerows(zip(*columns, strict=True))


def write_npz(raster: Raster, path: Path) -> None:
    """Write arrays ``time`` (s), ``population``, ``neuron``, ``count``: all in memory at once.

    ``population`` indexes the array of names ``populations``. Nothing in the file is pickled.
    """
    spikes = raster.arrays()
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            time=spikes.time,
            population=spikes.population_code,
            neuron=spikes.neuron,
            count=spikes.count,
            populations=np.array(raster.populations, dtype=np.str_),
        )


def write_parquet(raster: Raster, path: Path) -> None:
    """Write one Parquet file with the columns of a segment; memory is bounded."""
    import pyarrow.parquet as pq

    schema = parquet_schema(raster.populations)
    with pq.ParquetWriter(path, schema, **PARQUET_OPTIONS) as writer:
        for batch in raster.iter_batches():
            writer.write_table(parquet_table(batch, schema, raster.populations))


FORMATS: dict[str, Writer] = {"csv": write_csv, "npz": write_npz, "parquet": write_parquet}


def export(
    raster: Raster, path: Path | str, format: str | None = None, *, overwrite: bool = False
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
        A name in `FORMATS`. Default: the suffix of `path`.
    overwrite : bool
        Replace a file that exists.

    Returns
    -------
    Path
        The file that was written.

    Raises
    ------
    ConfigError
        If the format is unknown, or the file exists and `overwrite` is not set.
    RunFolderError
        If the file cannot be written, or a segment of the raster cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> raster = Raster.from_arrays([0.1, 0.3], [0, 1], [2, 0], [1, -2], ["gyro", "hidden"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     print(export(raster, Path(folder, "spikes.csv")).read_text().splitlines())
    ['time,population,neuron,count', '0.1,gyro,2,1', '0.3,hidden,0,-2']
    """
    path = Path(path)
    name = path.suffix.removeprefix(".").lower() if format is None else format
    if name not in FORMATS:
        raise ConfigError(f"format {name!r} of {path}: unknown; there are {', '.join(FORMATS)}")
    if path.exists() and not overwrite:
        raise ConfigError(f"{path}: exists; pass overwrite=True or choose another name")
    with written_aside(path) as aside:
        FORMATS[name](raster, aside)
    return path

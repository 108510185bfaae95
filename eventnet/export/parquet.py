"""Parquet: the columns of a raster's own segments, in one file, for pandas, Polars, DuckDB and Arrow.

Carries events, quanta, signs and the order of the raster.
"""

from __future__ import annotations

from pathlib import Path

from eventnet.raster import PARQUET_OPTIONS, Raster, parquet_schema, parquet_table


def write(raster: Raster, path: Path) -> None:
    """Write a raster; memory is bounded, and no disk is needed beside the file."""
    import pyarrow.parquet as pq

    schema = parquet_schema(raster.populations)
    with pq.ParquetWriter(path, schema, **PARQUET_OPTIONS) as writer:
        for batch in raster.iter_batches():
            writer.write_table(parquet_table(batch, schema, raster.populations))

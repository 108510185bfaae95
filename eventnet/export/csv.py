"""CSV: ``time,population,neuron,count``, one row an event, for everything that reads tables.

Carries events, quanta and signs. Times are in seconds, in digits that read back to the same float64.
"""

from __future__ import annotations

from pathlib import Path

from eventnet.raster import Raster, parquet_schema, parquet_table


def write(raster: Raster, path: Path) -> None:
    """Write a raster; memory is bounded, and no disk is needed beside the file."""
    import pyarrow as pa
    from pyarrow import csv

    schema = parquet_schema(raster.populations)
    plain = schema.set(1, pa.field("population", pa.string(), nullable=False))
    with csv.CSVWriter(path, plain) as writer:
        for batch in raster.iter_batches():
            writer.write_table(parquet_table(batch, schema, raster.populations).cast(plain))

"""NWB: Neurodata Without Borders, HDF5, for the tools of electrophysiology.

Every neuron that fired is a row of the Units table: ``spike_times`` in seconds, ``spike_counts`` (the
signed quanta of each spike, a ragged column beside them), ``population`` and ``neuron``. The session's
metadata come from the run. There is no subject, as nothing was alive. Carries events; quanta and signs
to readers that look at ``spike_counts``. The order of neurons within an instant is lost.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import DataError
from eventnet.export.sorting import SortedOnDisk
from eventnet.export.units import Units, by_unit, units_of
from eventnet.extras import needed
from eventnet.files import believable
from eventnet.raster import ROW_GROUP, Raster, Spikes
from eventnet.runs import RunFolder, span

WHAT = "NWB files"
READ = {"id", "population", "neuron", "spike_times", "spike_times_index", "spike_counts"}
"""Columns of the table of units that are read."""


def write(raster: Raster, path: Path) -> None:
    """Write a raster in two passes; memory is bounded.

    Needs 16 bytes of temporary disk a spike, beside the file.

    Raises
    ------
    ConfigError
        If pynwb is missing.
    """
    pynwb = needed("pynwb", "nwb", WHAT)
    units = units_of(raster)
    with TemporaryDirectory(dir=path.parent, prefix=".nwb-") as folder:
        file = _session(raster)
        if units.events.size:
            file.units = _table(raster, units, by_unit(raster, units, Path(folder)))
        made = Path(folder) / "spikes.nwb"  # pynwb complains about any other suffix
        with pynwb.NWBHDF5IO(made, "w") as io:
            io.write(file)
        made.replace(path)


def _session(raster: Raster) -> Any:
    from pynwb import NWBFile

    run = RunFolder(raster.folder) if raster.folder is not None else None
    start, stop = span(raster)
    notes = {"populations": list(raster.populations), "config": run.config if run else {}}
    file = NWBFile(
        session_description=f"simulation by eventnet: {run.title if run else 'a raster in memory'}",
        identifier=str(uuid.uuid4()),
        session_start_time=run.started if run else datetime.now(UTC),
        session_id=run.path.resolve().name if run else "memory",
        keywords=["simulation", "spiking neural network", "eventnet"],
        notes=json.dumps(notes),
    )
    if stop > start:
        file.add_epoch(start, stop, ["run"])
    return file


def _table(raster: Raster, units: Units, spikes: SortedOnDisk) -> Any:
    from hdmf.common import VectorData, VectorIndex
    from pynwb.misc import Units as Table

    ends = np.cumsum(units.events).astype(np.uint64)
    total = int(units.events.sum())
    columns = []
    for name, field, what in (
        ("spike_times", "time", "time of each spike, in seconds"),
        ("spike_counts", "count", "quanta that each spike of spike_times stands for, with sign"),
    ):
        data = VectorData(name=name, description=what, data=_column(spikes, field, total))
        # HDMF passes over a column that is an iterator only if its index comes first.
        columns += [VectorIndex(name=f"{name}_index", target=data, data=ends), data]
    names = np.array(raster.populations, dtype=object)[units.population_code]
    columns += [
        VectorData(name="population", description="the neuron's population", data=list(names)),
        VectorData(name="neuron", description="its index in the population", data=units.neuron),
    ]
    return Table(
        name="units",
        description="every neuron that fired; those that were silent have no row",
        id=np.arange(units.events.size),
        columns=columns,
        colnames=["spike_times", "spike_counts", "population", "neuron"],
    )


def _column(spikes: SortedOnDisk, field: str, total: int) -> Any:
    """Return one field of the sorted spikes as what HDMF writes piece by piece."""
    from hdmf.backends.hdf5.h5_utils import H5DataIO
    from hdmf.data_utils import AbstractDataChunkIterator, DataChunk

    class Column(AbstractDataChunkIterator):  # type: ignore[misc]
        def __init__(self) -> None:
            self._blocks = iter(spikes)
            self._at = 0

        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            values = next(self._blocks)[field]
            part = slice(self._at, self._at + values.size)
            self._at = part.stop
            return DataChunk(np.ascontiguousarray(values), part)

        def recommended_chunk_shape(self) -> tuple[int]:
            return (min(total, ROW_GROUP),)

        def recommended_data_shape(self) -> tuple[int]:
            return (total,)

        @property
        def dtype(self) -> np.dtype[Any]:
            return np.dtype({"time": np.float64, "count": np.int32}[field])

        @property
        def maxshape(self) -> tuple[int]:
            return (total,)

    return H5DataIO(Column(), compression="gzip", compression_opts=1, shuffle=True)


def read(path: Path) -> tuple[tuple[str, ...], Iterator[Spikes]]:
    """Return the names of the populations, and the spikes in batches, neuron after neuron.

    Files of other programs are welcome: their units are one population, ``units``, in the order of the
    table, and every spike counts 1.

    Raises
    ------
    DataError
        If the file is not NWB.
    """
    h5py = needed("h5py", "nwb", WHAT)
    try:
        with h5py.File(path) as file:
            if "nwb_version" not in file.attrs:
                raise DataError(f"{path}: not an NWB file")
            for name in READ & set(file.get("units", ())):
                believable(path, file["units"][name].nbytes)
            names, code, neuron = _rows(file)
    except OSError as error:
        raise DataError(f"{path}: not an NWB file ({error})") from error
    return names, _batches(h5py, path, code, neuron)


def _rows(file: Any) -> tuple[tuple[str, ...], NDArray[np.int32], NDArray[np.int64]]:
    """Return the names of the populations, and population and index of every unit."""
    units = file.get("units", {})
    if "population" not in units or "neuron" not in units:
        rows = len(units["id"]) if "id" in units else 0
        names = _noted(file)
        names = ("units",) if names is None else names
        return names, np.zeros(rows, np.int32), np.arange(rows)
    population = units["population"].asstr()[:]
    names = _noted(file)
    names = tuple(dict.fromkeys(population.tolist())) if names is None else names
    places = {name: code for code, name in enumerate(names)}
    code = np.array([places[name] for name in population.tolist()], np.int32)
    return names, code, units["neuron"][:].astype(np.int64)


def _noted(file: Any) -> tuple[str, ...] | None:
    """Return the populations that our own notes name: silent ones have no unit."""
    try:
        return tuple(json.loads(file["general/notes"].asstr()[()])["populations"])
    except (KeyError, ValueError, TypeError):
        return None


def _batches(
    h5py: Any, path: Path, code: NDArray[np.int32], neuron: NDArray[np.int64]
) -> Iterator[Spikes]:
    with h5py.File(path) as file:
        units = file.get("units", {})
        if "spike_times" not in units:
            return
        ends = units["spike_times_index"][:].astype(np.int64)
        if ends[-1] != len(units["spike_times"]) or (np.diff(ends, prepend=0) < 0).any():
            raise DataError(f"{path}: spike_times_index does not divide the spike_times")
        for start in range(0, int(ends[-1]), ROW_GROUP):
            time = units["spike_times"][start : start + ROW_GROUP].astype(np.float64)
            unit = np.searchsorted(ends, np.arange(start, start + time.size), side="right")
            count = np.ones(time.size, np.int32)
            if "spike_counts" in units:
                count = units["spike_counts"][start : start + ROW_GROUP]
            yield Spikes(time, code[unit], neuron[unit].astype(np.uint32), count)

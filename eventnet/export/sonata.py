"""SONATA: the spike file of the Allen Institute and the Blue Brain Project, HDF5.

``/spikes/<population>/timestamps`` (float64, ms, the only unit that its readers know), ``node_ids``
(uint64) and the attribute ``sorting``. Beside them stand ``counts`` (int32, signed) and ``ulps``
(int8), which SONATA's readers pass over: seconds do not all survive the way to milliseconds and back,
and ``ulps`` says by how many floats each is off. Carries events; quanta and signs to readers that
look at ``counts``. The order of populations within an instant is lost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError, DataError
from eventnet.extras import needed
from eventnet.files import believable
from eventnet.raster import ROW_GROUP, Raster, Spikes

SORTING = {"none": 0, "by_id": 1, "by_time": 2}
MILLISECONDS = ("ms", "milliseconds", "millisecond")
SECONDS = ("s", "seconds", "second", "sec")


def write(raster: Raster, path: Path) -> None:
    """Write a raster; memory is bounded, and no disk is needed beside the file.

    Raises
    ------
    ConfigError
        If h5py is missing, or a population's name cannot be one of HDF5.
    """
    h5py = needed("h5py", "sonata", "SONATA files")
    for name in raster.populations:
        if "/" in name or "\0" in name or name in (".", ".."):
            raise ConfigError(f"population {name!r}: cannot be a name in HDF5; export it as nwb")
    with h5py.File(path, "w") as file:
        file.attrs["magic"] = np.uint32(0x0A7A)
        file.attrs["version"] = np.array([0, 1], np.uint32)
        spikes = file.create_group("spikes", track_order=True)
        groups = [_group(h5py, spikes, name) for name in raster.populations]
        for batch in raster.iter_batches():
            for code in np.unique(batch.population_code).tolist():
                mine = batch.population_code == code
                _append(groups[code], batch.time[mine], batch.neuron[mine], batch.count[mine])


def _group(h5py: Any, spikes: Any, name: str) -> Any:
    group = spikes.create_group(name)
    kind = h5py.enum_dtype(SORTING, basetype="u1")
    group.attrs.create("sorting", SORTING["by_time"], dtype=kind)
    # libsonata's HDF5 has no gzip, so what it reads stays as it is.
    for column, dtype in (("timestamps", "<f8"), ("node_ids", "<u8")):
        group.create_dataset(column, (0,), dtype, maxshape=(None,), chunks=(1 << 16,))
    for column, dtype in (("counts", "<i4"), ("ulps", "<i1")):
        group.create_dataset(
            column, (0,), dtype, maxshape=(None,), chunks=(1 << 16,), compression="gzip"
        )
    group["timestamps"].attrs["units"] = "ms"
    group["counts"].attrs["description"] = "signed number of quanta of each spike"
    group["ulps"].attrs["description"] = "floats from timestamps/1000 to the time in seconds"
    return group


def _append(
    group: Any, time: NDArray[np.float64], neuron: NDArray[Any], count: NDArray[Any]
) -> None:
    milliseconds = time * 1000
    if not np.isfinite(milliseconds[-1]):
        raise ConfigError(f"time {time[-1]} s: is not finite in milliseconds")
    ulps = time.view(np.int64) - (milliseconds / 1000).view(np.int64)
    columns = {"timestamps": milliseconds, "node_ids": neuron, "counts": count, "ulps": ulps}
    for name, values in columns.items():
        held = group[name].shape[0]
        group[name].resize((held + time.size,))
        group[name][held:] = values


def read(path: Path) -> tuple[tuple[str, ...], Iterator[Spikes]]:
    """Return the names of the populations, and their spikes in batches, each population by itself.

    Files of other programs are welcome: without ``counts`` every spike counts 1.

    Raises
    ------
    DataError
        If the file has no SONATA spikes, or times in another unit.
    """
    h5py = needed("h5py", "sonata", "SONATA files")
    try:
        with h5py.File(path) as file:
            found = file["spikes"]
            if "timestamps" in found:
                raise DataError(f"{path}: SONATA before 0.1, without populations; convert it")
            names = tuple(found)
            for name in names:
                timestamps = found[name]["timestamps"]
                believable(path, timestamps.nbytes)
                _seconds_a_unit(path, timestamps)
                if found[name]["node_ids"].shape != timestamps.shape:
                    raise DataError(f"{path}: {name} has not as many node_ids as timestamps")
    except (OSError, KeyError) as error:
        raise DataError(f"{path}: not a SONATA spike file ({error})") from error
    return names, _batches(h5py, path, names)


def _seconds_a_unit(path: Path, timestamps: Any) -> bool:
    """Return whether times are in seconds; SONATA's default is milliseconds."""
    unit = timestamps.attrs.get("units", "ms")
    unit = unit.decode() if isinstance(unit, bytes) else str(unit)
    if unit not in MILLISECONDS + SECONDS:
        raise DataError(f"{path}: times in {unit!r}; known are ms and s")
    return unit in SECONDS


def _batches(h5py: Any, path: Path, names: tuple[str, ...]) -> Iterator[Spikes]:
    with h5py.File(path) as file:
        for code, name in enumerate(names):
            group = file["spikes"][name]
            in_seconds = _seconds_a_unit(path, group["timestamps"])
            for start in range(0, group["timestamps"].shape[0], ROW_GROUP):
                part = slice(start, start + ROW_GROUP)
                time = group["timestamps"][part].astype(np.float64)
                if not in_seconds:
                    time /= 1000
                if "ulps" in group:
                    time = (time.view(np.int64) + group["ulps"][part]).view(np.float64)
                neuron = group["node_ids"][part]
                count = group["counts"][part] if "counts" in group else np.ones(time.size, np.int32)
                yield Spikes(time, np.full(time.size, code, np.int32), neuron, count)

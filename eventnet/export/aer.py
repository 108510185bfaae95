"""AER: address events as Tonic's structured array in a ``.npy`` file, for neuromorphic tools.

Fields: ``x`` the neuron, ``y`` the population (its place in the raster), ``t`` the time in whole
microseconds, ``p`` True for a positive spike, and ``count``, the signed quanta, which Tonic passes over.
Carries events and signs; quanta only to readers that look at ``count``; times to a microsecond.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from eventnet.errors import ConfigError
from eventnet.export.npz import write_header
from eventnet.raster import Raster

EVENT = np.dtype([("x", "<i4"), ("y", "<i2"), ("t", "<i8"), ("p", "?"), ("count", "<i4")])


def write(raster: Raster, path: Path) -> None:
    """Write a raster; memory is bounded, and no disk is needed beside the file.

    Raises
    ------
    ConfigError
        If a population, a neuron or a time does not fit its field.
    """
    if len(raster.populations) > np.iinfo(np.int16).max:
        raise ConfigError(f"{len(raster.populations)} populations: AER's y has room for 32,767")
    with path.open("wb") as file:
        write_header(file, EVENT, len(raster))
        for batch in raster.iter_batches():
            events = np.empty(batch.time.size, EVENT)
            if batch.neuron.max() > np.iinfo(np.int32).max:
                raise ConfigError(f"neuron {batch.neuron.max()}: AER's x has room up to 2**31 - 1")
            if np.abs(batch.time).max() > 9e12:
                raise ConfigError(
                    f"time {batch.time[-1]} s: AER has room for 9e12 s of microseconds"
                )
            events["x"] = batch.neuron
            events["y"] = batch.population_code
            events["t"] = np.rint(batch.time * 1e6)
            events["p"] = batch.count > 0
            events["count"] = batch.count
            events.tofile(file)

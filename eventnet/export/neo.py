"""Neo: a block of SpikeTrains in a NIX file, for Elephant and whatever else builds on Neo.

Every neuron that fired is a SpikeTrain in seconds, with ``t_start`` and ``t_stop`` of the run, annotated
with ``population`` and ``neuron``; the array annotation ``count`` holds the signed quanta of each spike.
Carries events; quanta and signs to readers that look at ``count``. Neo keeps all of it in memory, and
NIX takes hundredths of a second a train.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from eventnet.errors import ConfigError
from eventnet.export.units import units_of
from eventnet.extras import needed
from eventnet.raster import Raster
from eventnet.runs import RunFolder, span

TRAINS_MAX = 10_000


def write(raster: Raster, path: Path) -> None:
    """Write a raster of up to `TRAINS_MAX` neurons that fired; no disk is needed beside the file.

    Raises
    ------
    ConfigError
        If more neurons fired, or neo or nixio is missing.
    """
    needed("nixio", "neo", "Neo's NIX files")
    io = needed("neo.io", "neo", "Neo's NIX files").NixIO(str(path), mode="ow")
    try:
        io.write_block(block(raster))
    finally:
        io.close()


def block(raster: Raster) -> Any:
    """Return a raster as a `neo.Block` of one segment, for analysis without a file.

    Raises
    ------
    ConfigError
        If more than `TRAINS_MAX` neurons fired, or neo is missing.
    """
    neo = needed("neo", "neo", "SpikeTrains")
    units = units_of(raster)
    if units.events.size > TRAINS_MAX:
        raise ConfigError(
            f"{units.events.size:,} neurons fired: Neo takes up to {TRAINS_MAX:,}; export them as "
            "sonata, nwb, parquet, npz, aer or csv, or select a population"
        )
    start, stop = span(raster)
    spikes = raster.arrays()
    order = np.lexsort((spikes.neuron, spikes.population_code))  # stable, so times stay in order
    ends = np.cumsum(units.events)[:-1]
    times = np.split(spikes.time[order], ends)
    counts = np.split(spikes.count[order], ends)
    run = RunFolder(raster.folder) if raster.folder is not None else None
    made = neo.Block(name=run.title if run else "eventnet")
    segment = neo.Segment(name="run")
    made.segments.append(segment)
    rows = (
        zip(units.population_code, units.neuron, times, counts, strict=True) if len(raster) else ()
    )
    for code, neuron, time, count in rows:
        name = raster.populations[code]
        segment.spiketrains.append(
            neo.SpikeTrain(
                time,
                units="s",
                t_start=start,
                t_stop=stop,
                name=f"{name} {neuron}",
                array_annotations={"count": count},
                population=name,
                neuron=int(neuron),
            )
        )
    return made

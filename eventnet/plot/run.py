"""The figures of a run folder, by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventnet.errors import ConfigError, RunFolderError
from eventnet.export import Progress, watched
from eventnet.network import unknown
from eventnet.plot.cost import cost_figure
from eventnet.plot.raster import raster_figure
from eventnet.plot.signals import outputs_figure, signals_figure
from eventnet.plot.weights import weights_figure
from eventnet.raster import Raster
from eventnet.runs import Reading, RunFolder, span

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def figure_of(
    what: str, folder: Path, population: str | None = None, progress: Progress | None = None
) -> Figure:
    """Draw one picture of a run.

    Parameters
    ----------
    what : {"raster", "signals", "outputs", "weights", "cost"}
    folder : Path
        The run folder.
    population : str, optional
        Of signals and outputs. Default: the first that a probe read.
    progress : callable, optional
        Called now and then with the share of the spikes that were read, from 0 to 1.

    Raises
    ------
    RunFolderError
        If the folder is none, or the run did not leave what is to be drawn.
    ConfigError
        If there is no such picture or population.
    """
    run = RunFolder(folder)
    if not run.path.is_dir():
        raise RunFolderError(f"{folder}: no such folder: give the folder of a recorded run")
    if what == "raster":
        raster = watched(Raster.open(folder), 2, progress)
        sizes = {name: size for name in raster.populations if (size := run.size(name))}
        start, stop = span(raster) if run.end else (None, None)
        if stop is not None:  # the last instant belongs to the run
            stop = math.nextafter(stop, math.inf)
        return raster_figure(raster, start=start, stop=stop, sizes=sizes)
    if what == "weights":
        return weights_figure(
            _there(run, run.weights("start"), "weights"), run.weights("end") or None
        )
    if what == "cost":
        return cost_figure(_there(run, run.end, "cost")["cost"]["totals"])
    if what == "outputs":
        name, reading = _read(run, "output", population)
        return outputs_figure(reading.times, reading.values, reading.given, name)
    if what == "signals":
        name, reading = _read(run, "signal", population)
        coder = run.coder(name)
        assert coder is not None
        spikes = watched(Raster.open(folder), 1, progress).select(name)
        return signals_figure(reading.times, reading.values, spikes, step=coder[0], tau=coder[1])
    raise unknown("picture", what, ("raster", "signals", "outputs", "weights", "cost"))


def _there(run: RunFolder, found: dict[str, Any], what: str) -> dict[str, Any]:
    if not found:
        raise RunFolderError(f"{run.path}: holds no {what}. {run.warning}".rstrip(". "))
    return found


def _read(run: RunFolder, kind: str, population: str | None) -> tuple[str, Reading]:
    """Return the reading of a population, or the first that is an output or has spikes."""
    found = {
        name: reading
        for name, reading in _there(run, run.readings(), "readings of probes").items()
        if (run.kind(name) == "output") == (kind == "output")
    }
    if population is not None and population not in found:
        raise unknown(f"{kind} that a probe read", population, found)
    if not found:
        raise ConfigError(
            f"{run.path}: no probe read any {kind}: add sim.probe(...) before the run"
        )
    name = population or next(iter(found))
    return name, found[name]

"""A run for the Rerun viewer: every sensor at its own rate, spikes, outputs and weights on one timeline.

The timeline ``time`` is simulated time in whole nanoseconds. Entities: ``sensors/NAME`` and
``targets/NAME``, a row a reading; ``outputs/NAME``, a row whenever one was read; ``spikes/NAME``, a row
a spike, the neuron as its height, the sign as its colour, beside the signed ``count``;
``weights/PROJECTION``, an image (float32, senders down, receivers across) at the start, at the end and,
where the run stops to be watched, between. Rerun's library sends nothing anywhere and starts no
viewer here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import ConfigError
from eventnet.extras import needed
from eventnet.plot.style import FAINT, NEGATIVE, POSITIVE
from eventnet.raster import Raster, written_aside
from eventnet.world import Sampled

if TYPE_CHECKING:
    from eventnet.network import Population
    from eventnet.simulation import Run, Simulation

Floats = NDArray[np.float64]

VALUES = 1 << 16
"""Numbers in a chunk of the file, about: the viewer loads and draws it chunk by chunk."""

IMAGES = 20  # of a projection's weights between start and end, at most
PIXELS = 1 << 22  # of an image of weights, at most
LINES = 32  # components of a signal that the viewer shows without being asked


@contextmanager
def rerun_file(path: Path | str, title: str) -> Iterator[RerunFile]:
    """Yield what a simulation is shown to; the file is whole when the block is left.

    Parameters
    ----------
    path : Path or str
        A new file, ``.rrd``.
    title : str
        Its name in the viewer.

    Raises
    ------
    ConfigError
        If the suffix is another, the file exists or rerun-sdk is missing.
    RunFolderError
        If it cannot be written.
    """
    path = Path(path)
    needed("rerun", "rerun", "Rerun files")
    if path.suffix != ".rrd":
        raise ConfigError(f"{path}: a file for Rerun ends in .rrd")
    if path.exists():
        raise ConfigError(f"{path}: exists; choose another name or remove it")
    with written_aside(path) as aside:
        aside.touch()  # what cannot be written is known before the run
        file = RerunFile(aside, title)
        yield file
        file.close()


class RerunFile:
    """The file while it is written: `begin` and `end` stand around each part of a run."""

    def __init__(self, path: Path, title: str) -> None:
        import rerun

        self._rerun = rerun
        self._path = path
        self._stream = rerun.RecordingStream("eventnet", recording_id=title)
        self._rows: dict[str, _Rows] = {}
        self._taken: dict[str, int] = {}  # samples of each source that are in the file
        self._sim: Simulation | None = None
        self._after = -math.inf  # s: what came until then, an earlier part has shown
        self._every = math.inf  # s, between images of the weights
        self._next_image = -math.inf

    def begin(self, sim: Simulation, until: float, config: dict[str, Any]) -> None:
        """Start to listen; `until` (s) is where the run will end, infinite if nobody knows."""
        if self._sim is None:
            self._stream.save(self._path, default_blueprint=self._blueprint(sim))
            self._stream.send_recording_name(self._stream.get_recording_id())
            text = json.dumps({"config": config, "network": sim.network.describe()}, indent=2)
            self._stream.log("configuration", self._rerun.TextDocument(text), static=True)
            for p in sim.network.populations:
                if p.kind == "output":  # beside the outputs, in one view
                    grey = self._rerun.SeriesLines(colors=[_rgba(FAINT)] * p.size)
                    self._stream.log(self._entity("targets", p.name), grey, static=True)
            self._every = (until - sim.now) / IMAGES
        if sim is not self._sim:  # a later part may go on with another network
            self._taken = {}
        self._sim, self._after = sim, sim.world.settled
        sim.world.observer = self
        self.passed(sim.now)

    def passed(self, time: float) -> None:
        """Take note of the time (s) that the run has reached: now and then the weights are drawn."""
        assert self._sim is not None
        if time >= self._next_image:
            self._draw_weights(self._sim, time)
            self._next_image = time + self._every

    def wrote(self, population: Population, time: float, values: Floats) -> None:
        """Keep what a process, a plant or a live input gave a sensor or, as a target, an output."""
        self._row("targets" if population.kind == "output" else "sensors", population, time, values)

    def read(self, population: Population, time: float, values: Floats) -> None:
        """Keep what a probe, a stream or a loop read."""
        if population.kind != "sensor":
            self._row("outputs", population, time, values)

    def end(self, run: Run) -> None:
        """Write what the run leaves: the readings of recorded sources, spikes, the last weights."""
        sim = self._sim
        assert sim is not None
        sim.world.observer = None
        for rows in self._rows.values():
            rows.send()
        self._send_sources(sim, run.until)
        if sim.keeps_raster:
            self._send_spikes(run.raster)
        self._draw_weights(sim, run.until)

    def close(self) -> None:
        """Write the footer."""
        self._stream.disconnect()

    # -- what is sent --------------------------------------------------------------------------------

    def send(self, entity: str, times: ArrayLike, columns: Any) -> None:
        """Send rows of one entity together."""
        stamps = np.rint(np.asarray(times, np.float64) * 1e9).astype("timedelta64[ns]")
        index = self._rerun.TimeColumn("time", duration=stamps)
        self._stream.send_columns(entity, [index], columns, strict=True)

    def send_values(self, entity: str, times: Floats, values: Floats) -> None:
        """Send readings (n, size)."""
        self.send(entity, times, self._rerun.Scalars.columns(scalars=values))

    def _row(self, kind: str, population: Population, time: float, values: Floats) -> None:
        entity = self._entity(kind, population.name)
        if entity not in self._rows:
            self._rows[entity] = _Rows(self, entity, max(VALUES // population.size, 1))
        self._rows[entity].add(time, values)

    def _entity(self, *parts: str) -> str:
        return str(self._rerun.new_entity_path(list(parts)))

    def _send_sources(self, sim: Simulation, until: float) -> None:
        for population in sim.network.populations:
            source = sim.source_of(population)
            if source is None or isinstance(source, Sampled) or population.kind == "source":
                continue
            kind = "targets" if population.kind == "output" else "sensors"
            entity = self._entity(kind, population.name)
            rows = max(VALUES // population.size, 1)
            k, stop = self._taken.get(population.name, 0), rows
            while k < len(source) and stop == rows:
                times, values = source.block(k, k + rows)
                first, stop = np.searchsorted(times, (self._after, until), "right").tolist()
                if first < stop:
                    self.send_values(entity, times[first:stop], values[first:stop])
                k += stop
            self._taken[population.name] = k

    def _send_spikes(self, raster: Raster) -> None:
        blue, red = np.array([_rgba(POSITIVE), _rgba(NEGATIVE)], np.uint32)
        entities = [self._entity("spikes", name) for name in raster.populations]
        for entity in entities:
            style = self._rerun.SeriesPoints(markers="square", marker_sizes=[1.0])
            self._stream.log(entity, style, static=True)
        for batch in raster.iter_batches(VALUES):
            for code in np.unique(batch.population_code).tolist():
                at = batch.population_code == code
                count = batch.count[at]
                colours = np.where(count > 0, blue, red)
                columns = [
                    *self._rerun.Scalars.columns(scalars=batch.neuron[at].astype(np.float64)),
                    *self._rerun.SeriesPoints.columns(colors=colours),
                    *self._rerun.DynamicArchetype.columns("eventnet", components={"count": count}),
                ]
                self.send(entities[code], batch.time[at], columns)

    def _draw_weights(self, sim: Simulation, time: float) -> None:
        image = self._rerun.Image
        for q in sim.network.projections:
            entity = self._entity("weights", q.name)
            shape = (q.source.size, q.target.size)
            if math.prod(shape) > PIXELS:
                text = f"{q.name}: {shape[0]} x {shape[1]} weights are too many for an image"
                self._stream.log(entity, self._rerun.TextDocument(text), static=True)
                continue
            weights = sim.weights(q)
            if q.sparse:  # where there is no synapse the image shows 0
                synapses, weights = q.of_synapses(weights), np.zeros(shape)
                weights[sim.edges(q)] = synapses
            pixels = np.ascontiguousarray(weights, np.float32).view(np.uint8).reshape(1, -1)
            form = self._rerun.components.ImageFormat(
                width=shape[1], height=shape[0], color_model="L", channel_datatype="F32"
            )
            self.send(entity, [time], image.columns(buffer=pixels, format=[form]))

    def _blueprint(self, sim: Simulation) -> Any:
        """Return what the viewer shows first: signals, spikes, weights, a column each."""
        import rerun.blueprint as shown

        silent = shown.PlotLegend(visible=False)
        signals, spikes = [], []
        for p in sim.network.populations:
            kinds = {"sensor": ["sensors"], "output": ["outputs", "targets"]}.get(p.kind, [])
            contents = [f"+ /{self._entity(kind, p.name)}" for kind in kinds]
            if contents and p.size <= LINES:
                signals.append(
                    shown.TimeSeriesView(name=p.name, contents=contents, plot_legend=silent)
                )
            if p.kind != "output":
                spikes.append(
                    shown.TimeSeriesView(
                        name=f"spikes of {p.name}",
                        origin=self._entity("spikes", p.name),
                        plot_legend=silent,
                    )
                )
        weights = [
            shown.Spatial2DView(name=q.name, origin=self._entity("weights", q.name))
            for q in sim.network.projections
        ]
        columns = [views for views in (signals, spikes, weights) if views]
        return shown.Blueprint(
            shown.Horizontal(
                *(shown.Vertical(*views) for views in columns),
                column_shares=[1 if views is weights else 2 for views in columns],
            ),
            shown.TimePanel(timeline="time", state="collapsed"),
            shown.SelectionPanel(state="collapsed"),
            shown.BlueprintPanel(state="collapsed"),
        )


def _rgba(colour: str) -> int:
    """Return "#rrggbb" as Rerun packs colours."""
    return int(colour[1:], 16) << 8 | 0xFF


class _Rows:
    """Readings of one entity that wait to be sent together."""

    def __init__(self, file: RerunFile, entity: str, most: int) -> None:
        self.file, self.entity, self.most = file, entity, most
        self.times: list[float] = []
        self.values: list[Floats] = []

    def add(self, time: float, values: Floats) -> None:
        """Keep a reading; the second reader of an instant sees what the first saw."""
        if self.times and self.times[-1] == time:
            self.values[-1] = values.copy()
            return
        self.times.append(time)
        self.values.append(values.copy())
        if len(self.times) == self.most:
            self.send()

    def send(self) -> None:
        """Send all that waits."""
        if self.times:
            self.file.send_values(self.entity, np.array(self.times), np.stack(self.values))
            self.times, self.values = [], []

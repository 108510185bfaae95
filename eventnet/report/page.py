"""A run as one self-contained HTML file: summary, configuration, raster, traces, learning curve, cost.

The plots are Bokeh's, with its program inside the file; nothing is loaded from anywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet import __version__
from eventnet.errors import RunFolderError
from eventnet.export import Progress, watched
from eventnet.extras import needed
from eventnet.files import understood
from eventnet.plot.cost import BARS
from eventnet.plot.signals import SHOWN, windowed_error
from eventnet.plot.style import FAINT, INK, NEGATIVE, PALETTE, POSITIVE
from eventnet.raster import PopulationStats, Raster, written_aside
from eventnet.report.marks import Marks, marks_of
from eventnet.runs import Reading, RunFolder, span

Floats = NDArray[np.float64]

POINTS = 4000
"""Points of a line, at most: beyond, of each stretch its lowest and highest value are drawn."""

HUES, LEVELS = 16, 16  # of the palette: share of positive spikes, times how many they are


PASSES = 3
"""How often the spikes are read: to count them, for the highest neuron that fired, for the marks."""


def write(
    folder: Path | str, path: Path | str | None = None, progress: Progress | None = None
) -> Path:
    """Write the report of a run; an older one is replaced.

    Parameters
    ----------
    folder : Path or str
        The run folder, of a finished run, a running one or one that was killed: what is there is shown.
    path : Path or str, optional
        The file. Default: ``report.html`` in the run folder.
    progress : callable, optional
        Called now and then with the share that is done, from 0 to 1.

    Returns
    -------
    Path

    Raises
    ------
    ConfigError
        If bokeh is missing.
    RunFolderError
        If the folder is none, or the file cannot be written.
    """
    run = RunFolder(folder)
    if not run.path.is_dir():
        raise RunFolderError(f"{folder}: no such folder: give the folder of a recorded run")
    target = run.path / "report.html" if path is None else Path(path)
    text = page(run, progress)
    with written_aside(target) as aside:
        aside.write_text(text, encoding="utf-8")
    return target


def page(run: RunFolder, progress: Progress | None = None) -> str:
    """Return the report of a run as HTML."""
    needed("bokeh", "report", "reports")
    from bokeh.document import Document
    from bokeh.embed import components
    from bokeh.models import Range1d
    from bokeh.resources import Resources
    from jinja2 import Environment

    raster = None
    if (run.path / "raster").is_dir():
        raster = watched(Raster.open(run.path), PASSES, progress)
    stats = raster.stats() if raster is not None else {}
    begin, end = (0.0, 1.0) if raster is None else span(raster)
    if end <= begin:
        begin, end = begin - 0.5, begin + 0.5
    margin = 0.005 * (end - begin)
    time = Range1d(begin - margin, end + margin, bounds=None)
    plots: dict[str, Any] = {}
    if raster is not None:
        plots |= {f"raster {n}": p for n, p in _rasters(run, raster, stats, begin, end, time)}
    readings = run.readings()
    plots |= {f"trace {name}": _trace(name, r, time) for name, r in readings.items()}
    curves = {name: _curve(r, time) for name, r in readings.items() if r.given is not None}
    plots |= {
        f"curve {n}": p for n, p in curves.items() if p is not None and run.kind(n) == "output"
    }
    if epochs := _epochs(run):
        plots["epochs"] = epochs
    with understood(run.path, "a run folder"):
        if run.end:
            plots["cost"] = _cost(run.end["cost"]["totals"])
        parameters = dict(run.config.get("config", {}).get("parameters", {}))
    document = Document()
    with document.models.freeze():  # or all are looked through again after each
        for plot in plots.values():
            document.add_root(plot)
    script, divs = components(plots) if plots else ("", {})
    template = Environment(autoescape=True).from_string(
        files("eventnet.report").joinpath("page.html").read_text(encoding="utf-8")
    )
    return template.render(
        run=run,
        version=__version__,
        library=Resources(mode="inline", components=["bokeh"]).render(),
        script=script,
        divs=divs,
        stats=stats,
        sizes={name: _size(run, name, row) for name, row in stats.items()},
        begin=begin,
        end=end,
        config=json.dumps(run.config, indent=2),
        parameters=parameters,
        kinds={name: run.kind(name) for name in readings},
    )


# -- the plots -----------------------------------------------------------------------------------------


def _figure(height: int, x_range: Any, label: str, **more: Any) -> Any:
    from bokeh.plotting import figure

    drawn = figure(
        height=height,
        sizing_mode="stretch_width",
        x_range=x_range,
        tools="xpan,xwheel_zoom,xbox_zoom,reset,save",
        active_scroll="xwheel_zoom",
        active_drag="xpan",
        toolbar_location="right",
        background_fill_color=None,
        border_fill_color=None,
        output_backend="canvas",
        y_axis_label=label,
        min_border_left=70,
        **more,
    )
    drawn.toolbar.logo = None
    drawn.grid.grid_line_color = "#ececec"
    drawn.axis.axis_label_text_font_style = "normal"
    drawn.axis.axis_label_text_color = drawn.axis.major_label_text_color = INK
    drawn.axis.axis_line_color = drawn.axis.major_tick_line_color = FAINT
    drawn.axis.minor_tick_line_color = None
    return drawn


def _size(run: RunFolder, name: str, row: PopulationStats) -> int:
    return run.size(name) or max(row.neurons, 1)


def _rasters(
    run: RunFolder,
    raster: Raster,
    stats: dict[str, PopulationStats],
    begin: float,
    end: float,
    time: Any,
) -> Iterator[tuple[str, Any]]:
    top = raster_tops(raster)
    sizes = {name: max(_size(run, name, row), top[name]) for name, row in stats.items()}
    for name, marks in zip(raster.populations, marks_of(raster, sizes, begin, end), strict=True):
        height = int(np.clip(30 * math.sqrt(sizes[name]), 90, 320))
        drawn = _figure(
            height, time, name, y_range=(-0.5, sizes[name] - 0.5), name=f"raster {name}"
        )
        drawn.ygrid.grid_line_color = None
        drawn.yaxis.ticker = sorted({0, sizes[name] - 1})
        if marks.time.size:
            _draw_marks(drawn, marks)
        else:
            middle = [(begin + end) / 2], [(sizes[name] - 1) / 2]
            drawn.text(*middle, ["no spikes"], text_color=FAINT, text_align="center")
        yield name, drawn


def raster_tops(raster: Raster) -> dict[str, int]:
    """Return one more than the highest neuron that fired, by population."""
    top = np.zeros(len(raster.populations), np.int64)
    for batch in raster.iter_batches():
        np.maximum.at(top, batch.population_code, batch.neuron.astype(np.int64) + 1)
    return dict(zip(raster.populations, np.maximum(top, 1).tolist(), strict=True))


def _draw_marks(drawn: Any, marks: Marks) -> None:
    from bokeh.models import ColumnDataSource, HoverTool, LinearColorMapper

    fields = marks._asdict()
    width, height = fields.pop("width"), fields.pop("height")
    both = marks.positive.astype(np.float64) + marks.negative
    share = marks.positive / both
    level = np.log1p(both) / np.log1p(both.max()) if both.max() > 1 else np.ones(both.size)
    shade = np.rint(share * (HUES - 1)) * LEVELS + np.rint(level * (LEVELS - 1))
    fields["shade"] = shade.astype(np.uint8)
    palette = LinearColorMapper(_shades(), low=-0.5, high=HUES * LEVELS - 0.5)
    colour = {"field": "shade", "transform": palette}
    if width:  # the line keeps bins visible that are narrower than a pixel
        source = ColumnDataSource(fields)
        glyph = drawn.rect("x", "y", width, height, source=source, color=colour, line_width=0.8)
    else:
        y = fields.pop("y")
        source = ColumnDataSource(fields | {"low": y - height / 2, "high": y + height / 2})
        glyph = drawn.segment("x", "low", "x", "high", source=source, color=colour, line_width=1.2)
    tips = [
        ("neuron", "@neuron"),
        ("first at" if width else "time", "@time{0.000000} s"),
        ("spikes", "+@positive −@negative"),
    ]
    drawn.add_tools(HoverTool(renderers=[glyph], tooltips=tips, point_policy="follow_mouse"))


def _shades() -> list[str]:
    """Return colours by hue (vermillion to blue) and level (light to full)."""
    ends = [np.array([int(c[k : k + 2], 16) for k in (1, 3, 5)]) for c in (NEGATIVE, POSITIVE)]
    found = []
    for hue in np.linspace(0, 1, HUES):
        pure = (1 - hue) * ends[0] + hue * ends[1]
        for level in np.linspace(0.45, 1, LEVELS):
            red, green, blue = np.rint(255 + level * (pure - 255)).astype(int)
            found.append(f"#{red:02x}{green:02x}{blue:02x}")
    return found


def thinned(times: Floats, values: Floats, points: int = POINTS) -> tuple[Floats, Floats]:
    """Return a line of at most about `points` points that looks the same: of each stretch its extremes.

    Examples
    --------
    >>> t = np.arange(10_000.0)
    >>> x, y = thinned(t, np.where(t == 4321, 1.0, 0.0), points=100)
    >>> len(x) <= 100, y.max(), x[y.argmax()]
    (True, np.float64(1.0), np.float64(4321.0))
    """
    if len(times) <= points:
        return times, values
    edges = np.linspace(0, len(times), points // 2 + 1).astype(np.int64)
    kept = []
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        part = values[low:high]
        if np.isnan(part).all():
            kept.append(low)
        else:
            kept += sorted({low + int(np.nanargmin(part)), low + int(np.nanargmax(part))})
    return times[kept], values[kept]


def _trace(name: str, reading: Reading, time: Any) -> Any:
    drawn = _figure(220, time, name, name=f"trace {name}")
    colours = [c for key, c in PALETTE.items() if key not in ("yellow", "black")]
    for k in range(min(reading.values.shape[1], SHOWN)):
        colour = colours[k % len(colours)]
        if reading.given is not None:
            x, y = thinned(reading.times, reading.given[:, k])
            drawn.line(x, y, color=colour, line_width=3, alpha=0.35, legend_label=f"{k}: given")
        x, y = thinned(reading.times, reading.values[:, k])
        drawn.line(x, y, color=colour, line_width=1.2, legend_label=str(k))
    drawn.legend.click_policy = "hide"
    drawn.legend.orientation = "horizontal"
    drawn.legend.background_fill_alpha = 0.6
    drawn.legend.label_text_font_size = "8pt"
    return drawn


def _curve(reading: Reading, time: Any) -> Any:
    assert reading.given is not None
    middles, error = windowed_error(reading.times, reading.values, reading.given)
    if not len(middles):
        return None
    drawn = _figure(180, time, "RMS error")
    drawn.y_range.start = 0
    drawn.line(middles, error, color=PALETTE["purple"], line_width=2)
    return drawn


def _epochs(run: RunFolder) -> Any:
    """Return the curve of a classifier that counts in epochs, if the run kept one."""
    rows = run.epochs
    if not rows:
        return None
    from bokeh.models import DataRange1d

    drawn = _figure(220, DataRange1d(), "correct (%)", x_axis_label="epoch")
    for name, colour in (("train", PALETTE["sky"]), ("validation", PALETTE["vermillion"])):
        if all(name in row for row in rows):
            x, y = [row["epoch"] for row in rows], [row[name] for row in rows]
            drawn.line(x, y, color=colour, line_width=2, legend_label=name)
            drawn.scatter(x, y, color=colour, size=5, legend_label=name)
    return drawn


def _cost(totals: dict[str, dict[str, int]]) -> Any:
    from bokeh.models import FactorRange, HoverTool, NumeralTickFormatter

    labels = [label.replace("\n", " ") for label in BARS.values()]
    passes = ("forward", "backward", "update")
    data: dict[str, list[Any]] = {"bar": labels, "all": [totals[bar]["all"] for bar in BARS]}
    data |= {name: [totals[bar][name] for bar in BARS] for name in passes}
    drawn = _figure(
        230,
        (0, 1.05 * max(data["all"]) or 1.0),
        "",
        y_range=FactorRange(*labels[::-1]),
        name="cost",
    )
    colours = [PALETTE["blue"], PALETTE["orange"], PALETTE["green"]]
    drawn.hbar_stack(
        passes, y="bar", height=0.6, color=colours, source=data, legend_label=list(passes)
    )
    tips = [("", "@bar"), *((name, f"@{name}{{0,0}}") for name in (*passes, "all"))]
    drawn.add_tools(HoverTool(tooltips=tips))
    drawn.xaxis.formatter = NumeralTickFormatter(format="0,0")
    drawn.xaxis.axis_label = "operations"
    drawn.legend.location = "bottom_right"
    return drawn

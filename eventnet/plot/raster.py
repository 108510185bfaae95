"""The raster of a run: what every population sent, when and with which sign, under the rate of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.plot.style import FAINT, NEGATIVE, POSITIVE, STYLE, matplotlib
from eventnet.raster import Raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH = 9.0  # inches
_RATE_BINS = 232
_COLUMNS = 5 * _RATE_BINS  # pixels across a panel: what `_WIDTH` leaves beside the labels
_STRIP = 0.75  # inches, the height of the rate strip
_PANELS = 5.0  # inches, the height of all panels together, when they need not be taller
_PANEL_MIN = 0.36  # inches, room for two tick labels
_NEURON_MAX = 0.25  # inches, the height of one neuron beyond which a panel is only emptier
_MARK_MIN = 1.5  # pixels, half the height of a spike's mark in a panel of many neurons
_LABEL_MAX = 22  # characters of a population's name that fit beside its panel


class _Extent(NamedTuple):
    """What has to be known before spikes can be put into pixels."""

    events: NDArray[np.int64]  # per population
    sizes: NDArray[np.int64]  # neurons per population, as far as has been seen
    first: float
    last: float


def _extent(raster: Raster) -> _Extent:
    n = len(raster.populations)
    events, top = np.zeros(n, np.int64), np.full(n, -1, np.int64)
    first, last = np.inf, -np.inf
    for batch in raster.iter_batches():
        events += np.bincount(batch.population_code, minlength=n)
        np.maximum.at(top, batch.population_code, batch.neuron.astype(np.int64))
        first, last = min(first, float(batch.time[0])), max(last, float(batch.time[-1]))
    return _Extent(events, top + 1, first, last)


class _Panel:
    """One population's spikes: as they are while there are few, binned into pixels when many."""

    def __init__(self, size: int, events: int, columns: int, rows: int) -> None:
        self.size = size
        self.half_mark = max(0.4, _MARK_MIN * size / rows)  # in neurons
        self.columns = columns
        self.rows = max(1, min(size, rows))
        # A mark covers about three pixels, so more of them would hide one another.
        self.binned = 3 * events > columns * self.rows
        self.spikes: list[tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]] = []
        # [0] counts the positive spikes of each pixel, [1] the negative.
        self.pixels = np.zeros((2, self.rows, columns) if self.binned else 0, np.int64)

    def add(
        self,
        time: NDArray[np.float64],
        column: NDArray[np.int64],
        neuron: NDArray[np.int64],
        positive: NDArray[np.bool_],
    ) -> None:
        if not self.binned:
            self.spikes.append((time, neuron, positive))
            return
        row = neuron * self.rows // self.size
        pixel = (np.where(positive, 0, self.rows) + row) * self.columns + column
        self.pixels += np.bincount(pixel, minlength=self.pixels.size).reshape(self.pixels.shape)


def raster_figure(
    raster: Raster,
    *,
    start: float | None = None,
    stop: float | None = None,
    populations: Sequence[str] | None = None,
    sizes: Mapping[str, int] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a raster: one panel a population over a shared time axis, and the rate above them.

    Blue spikes are positive, vermillion ones negative. In a panel with more spikes than pixels a
    pixel is the darker the more fell on it, logarithmically; its hue is the share of the signs. The
    spikes are read in two streaming passes; memory is bounded by the pixels.

    Parameters
    ----------
    raster : Raster
        The spikes; a selection is drawn as such.
    start, stop : float, optional
        Window [start, stop), in seconds. Default: from the first to the last spike.
    populations : sequence of str, optional
        Which to draw, from top to bottom. Default: all, the first on top.
    sizes : mapping of str to int, optional
        Number of neurons of the populations. Default: up to the last neuron that fired.
    title : str, optional
        Default: the number of spikes and the duration.

    Returns
    -------
    Figure
        A `matplotlib.figure.Figure`, unknown to pyplot; `save` writes it.

    Raises
    ------
    ConfigError
        If matplotlib is missing, a population is unknown, or a size is too small for the spikes.

    Examples
    --------
    >>> raster = Raster.from_arrays([0.1, 0.2, 0.4], [0, 0, 1], [0, 5, 3], [1, -1, 2], ["a", "b"])
    >>> [axes.get_ylabel() for axes in raster_figure(raster).axes]
    ['spikes/s', 'a', 'b']
    """
    library = matplotlib()
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    shown = raster.select(populations, start, stop)
    extent = _extent(shown)
    neurons = _sizes(shown, extent, sizes)
    begin, end = _axis(shown, extent)
    heights = _heights(neurons)

    with library.rc_context(STYLE):
        figure = Figure(
            figsize=(_WIDTH, 1.1 + _STRIP + sum(heights)),
            layout=ConstrainedLayoutEngine(h_pad=0.03, hspace=0.02),
        )
        grid = figure.add_gridspec(1 + len(neurons), 1, height_ratios=[_STRIP, *heights])
        strip = figure.add_subplot(grid[0])
        axes = [figure.add_subplot(grid[i + 1], sharex=strip) for i in range(len(neurons))]
        dots = figure.dpi
        panels = [
            _Panel(size, int(events), _COLUMNS, int(height * dots))
            for size, events, height in zip(neurons, extent.events, heights, strict=True)
        ]
        rates = _gather(shown, panels, begin, end, _COLUMNS)
        strip.set_xlim(begin, end)
        _draw_rate(strip, rates, begin, end)
        for ax, name, panel in zip(axes, shown.populations, panels, strict=True):
            _draw_panel(ax, panel, begin, end)
            _label(ax, name, panel.size)
        _frame([strip, *axes])
        figure.align_ylabels([strip, *axes])
        total = int(extent.events.sum())
        noun = "spike" if total == 1 else "spikes"
        figure_title = f"{total:,} {noun} in {end - begin:.4g} s" if title is None else title
        strip.set_title(figure_title, pad=8)
    return figure


def _sizes(raster: Raster, extent: _Extent, told: Mapping[str, int] | None) -> list[int]:
    sizes = []
    for name, seen in zip(raster.populations, extent.sizes.tolist(), strict=True):
        size = max(seen, 1) if told is None else told.get(name, max(seen, 1))
        if size < max(seen, 1):
            raise ConfigError(
                f"sizes[{name!r}]={size}: must be >= {max(seen, 1)}, as neuron {seen - 1} fired"
                if seen
                else f"sizes[{name!r}]={size}: must be >= 1"
            )
        sizes.append(int(size))
    return sizes


def _axis(raster: Raster, extent: _Extent) -> tuple[float, float]:
    """Return the ends of the time axis: the selected window, else the first and last spike."""
    silent = not extent.events.any()
    begin = raster.start if raster.start is not None else (0.0 if silent else extent.first)
    end = raster.stop if raster.stop is not None else (begin + 1.0 if silent else extent.last)
    if end <= begin:  # one instant only: give it a second of room
        begin, end = begin - 0.5, begin + 0.5
    return begin, end


def _heights(sizes: Sequence[int]) -> list[float]:
    """Return panel heights in inches, as the square roots of the sizes, none too small to read."""
    if not sizes:
        return []
    roots = np.sqrt(np.array(sizes, np.float64))
    shares = roots * (_PANELS / roots.sum())
    return [
        max(_PANEL_MIN, min(float(share), size * _NEURON_MAX))
        for share, size in zip(shares, sizes, strict=True)
    ]


def _gather(
    raster: Raster, panels: Sequence[_Panel], begin: float, end: float, columns: int
) -> NDArray[np.int64]:
    """Fill the panels; return the positive and negative spikes of all in each column of pixels."""
    total = np.zeros((2, columns), np.int64)
    for batch in raster.iter_batches():
        column = np.minimum((batch.time - begin) * (columns / (end - begin)), columns - 1)
        column = column.astype(np.int64)
        positive = batch.count > 0
        side = np.where(positive, 0, columns)
        total += np.bincount(side + column, minlength=2 * columns).reshape(2, columns)
        for code, panel in enumerate(panels):
            at = np.flatnonzero(batch.population_code == code)
            if at.size:
                panel.add(
                    batch.time[at], column[at], batch.neuron[at].astype(np.int64), positive[at]
                )
    return total


def _draw_rate(ax: Axes, per_column: NDArray[np.int64], begin: float, end: float) -> None:
    edges = np.linspace(begin, end, _RATE_BINS + 1)
    counts = per_column.reshape(2, _RATE_BINS, -1).sum(axis=2)
    positive, negative = counts * (_RATE_BINS / (end - begin))
    both = positive + negative
    ax.stairs(positive, edges, fill=True, color=POSITIVE, label="positive")
    ax.stairs(both, edges, baseline=positive, fill=True, color=NEGATIVE, label="negative")
    top = float(both.max())
    ax.set_ylim(0, 1.05 * top or 1.0)
    ax.set_yticks([0, top] if top else [0], ["0", _short(top)] if top else ["0"])
    ax.set_ylabel("spikes/s", rotation=0, ha="right", va="center", labelpad=6)
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2, handlelength=0.9
    )


def _short(value: float) -> str:
    """Return three digits and an SI prefix, so that tick labels stay narrow."""
    from matplotlib.ticker import EngFormatter

    digits = max(0, 2 - int(np.floor(np.log10(value))) % 3)
    return str(EngFormatter(places=digits, sep="")(value))


def _draw_panel(ax: Axes, panel: _Panel, begin: float, end: float) -> None:
    ax.set_ylim(-0.5, panel.size - 0.5)
    if panel.binned:
        ax.imshow(
            _shades(panel.pixels),
            extent=(begin, end, -0.5, panel.size - 0.5),
            origin="lower",
            aspect="auto",
            interpolation="nearest",
        )
    elif panel.spikes:
        columns = (np.concatenate(column) for column in zip(*panel.spikes, strict=True))
        time, neuron, positive = columns
        # A vector mark a spike is only worth its bytes in svg and pdf while they are few.
        ax.vlines(
            time,
            neuron - panel.half_mark,
            neuron + panel.half_mark,
            colors=np.where(positive, POSITIVE, NEGATIVE).tolist(),
            linewidth=0.7,
            rasterized=time.size > 5_000,
        )
    else:
        ax.text(
            0.5, 0.5, "no spikes", transform=ax.transAxes, ha="center", va="center", color=FAINT
        )


def _shades(pixels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return RGBA, shape (rows, columns, 4): hue by the share of signs, opacity by log(events)."""
    from matplotlib.colors import to_rgb

    events = pixels.sum(axis=0)
    share = (pixels[0] / np.maximum(events, 1))[..., np.newaxis]
    image = np.empty((*events.shape, 4))
    image[..., :3] = share * to_rgb(POSITIVE) + (1 - share) * to_rgb(NEGATIVE)
    # A lone spike must be visible, however many others share the fullest pixel.
    image[..., 3] = np.where(events, 0.45 + 0.55 * np.log1p(events) / np.log1p(events.max()), 0)
    return image


def _label(ax: Axes, name: str, size: int) -> None:
    short = name if len(name) <= _LABEL_MAX else name[: _LABEL_MAX - 1] + "…"
    ax.set_ylabel(short, rotation=0, ha="right", va="center", labelpad=6)
    ax.set_yticks(sorted({0, size - 1}))


def _frame(axes: Sequence[Axes]) -> None:
    for ax in axes[:-1]:
        ax.tick_params(labelbottom=False, bottom=False)
    axes[-1].set_xlabel("time (s)")

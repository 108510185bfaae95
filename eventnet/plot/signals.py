"""Signals beside what their receivers make of the spikes, and outputs beside their targets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.plot.style import FAINT, INK, NEGATIVE, PALETTE, POSITIVE, STYLE, figure, matplotlib
from eventnet.raster import Raster

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

SHOWN = 6
"""Neurons that are drawn unless some are named: more would be too low to read."""

_PANEL = 1.15  # inches


def decoded(raster: Raster, neuron: int, times: Floats, step: float, tau: float) -> Floats:
    """Return what receivers decode of a neuron's spikes at given times (Eq. 5 in continuous time).

    ``u(t) = step * sum of count * exp(-(t - t_spike)/tau)`` over the spikes up to t.

    Parameters
    ----------
    raster : Raster
        Of one population.
    neuron : int
    times : ndarray, shape (n,)
        Seconds, increasing.
    step, tau : float
        Of the population's coder; tau in seconds.

    Examples
    --------
    >>> raster = Raster.from_arrays([1.0], [0], [3], [2], ["gyro"])
    >>> decoded(raster, 3, np.array([0.5, 1.0, 1.1]), step=0.5, tau=0.1).round(3).tolist()
    [0.0, 1.0, 0.368]
    """
    found = np.zeros(len(times))
    trace, at, k = 0.0, -math.inf, 0
    spikes = raster.arrays()
    mine = spikes.neuron == neuron
    for time, count in zip(spikes.time[mine].tolist(), spikes.count[mine].tolist(), strict=True):
        stop = int(np.searchsorted(times, time))
        found[k:stop] = trace * np.exp(-(times[k:stop] - at) / tau)
        trace = step * count + (trace * math.exp(-(time - at) / tau) if trace else 0.0)
        at, k = time, max(stop, k)
    found[k:] = trace * np.exp(-(times[k:] - at) / tau) if trace else 0.0
    return found


def signals_figure(
    times: Floats,
    values: Floats,
    raster: Raster,
    *,
    step: float,
    tau: float,
    neurons: Sequence[int] | None = None,
) -> Figure:
    """Draw signals of one population, what its receivers decode, and the spikes between the two.

    Parameters
    ----------
    times : ndarray, shape (n,)
        Seconds, increasing.
    values : ndarray, shape (n, size)
        The signals, as a probe read them.
    raster : Raster
        The spikes of that population alone, from the start of the run on.
    step, tau : float
        Of its coder; tau in seconds.
    neurons : sequence of int, optional
        Default: the first `SHOWN`.

    Raises
    ------
    ConfigError
        If matplotlib is missing, the raster is not of one population, or there is no such neuron.

    Examples
    --------
    >>> raster = Raster.from_arrays([0.1, 0.3], [0, 0], [0, 0], [2, -1], ["gyro"])
    >>> t = np.linspace(0, 1, 50)
    >>> drawn = signals_figure(t, np.sin(t)[:, None], raster, step=0.1, tau=0.1)
    >>> [line.get_label() for line in drawn.axes[0].lines[:2]]
    ['signal', 'decoded from the spikes']
    """
    if len(raster.populations) != 1:
        raise ConfigError(f"raster of {list(raster.populations)}: select the one of the signals")
    shown = list(range(min(values.shape[1], SHOWN))) if neurons is None else list(neurons)
    for neuron in shown:
        if not 0 <= neuron < values.shape[1]:
            raise ConfigError(f"neuron {neuron}: there are 0 to {values.shape[1] - 1}")
    with matplotlib().rc_context(STYLE):
        drawn = figure(0.8 + _PANEL * len(shown))
        axes = drawn.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0].tolist()
        for ax, neuron in zip(axes, shown, strict=True):
            ax.plot(times, values[:, neuron], color=INK, lw=1.0, label="signal")
            estimate = decoded(raster, neuron, times, step, tau)
            ax.plot(
                times, estimate, color=PALETTE["orange"], lw=0.9, label="decoded from the spikes"
            )
            _ticks(ax, raster, neuron)
            ax.set_ylabel(f"{raster.populations[0]} {neuron}\n(signal's unit)")
        _finish(axes, times)
        axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
        axes[0].set_title(f"{raster.populations[0]}: signal and reconstruction")
    return drawn


def _ticks(ax: Axes, raster: Raster, neuron: int) -> None:
    """Draw spikes along the lower edge, positive ones above negative ones."""
    spikes = raster.arrays()
    for colour, low, sign in ((POSITIVE, 0.06, 1), (NEGATIVE, 0.0, -1)):
        times = spikes.time[(spikes.neuron == neuron) & (spikes.count * sign > 0)]
        across = ax.get_xaxis_transform()
        ax.vlines(times, low, low + 0.05, color=colour, lw=0.6, transform=across, rasterized=True)


def outputs_figure(times: Floats, values: Floats, given: Floats | None, name: str) -> Figure:
    """Draw an output's components beside their targets, and the error over the run below.

    Parameters
    ----------
    times : ndarray, shape (n,)
        Seconds.
    values : ndarray, shape (n, size)
        As a probe read them.
    given : ndarray, shape (n, size), or None
        The targets in force; NaN where there was none. None: not known.
    name : str

    Raises
    ------
    ConfigError
        If matplotlib is missing.

    Examples
    --------
    >>> t = np.linspace(0, 1, 50)
    >>> drawn = outputs_figure(t, np.sin(t)[:, None], np.cos(t)[:, None], "turn")
    >>> [axes.get_ylabel() for axes in drawn.axes]
    ['turn 0', 'RMS error']
    """
    shown = min(values.shape[1], SHOWN)
    error = None if given is None else windowed_error(times, values, given)
    panels = shown + (error is not None)
    with matplotlib().rc_context(STYLE):
        drawn = figure(0.8 + _PANEL * panels)
        axes = drawn.subplots(panels, 1, sharex=True, squeeze=False)[:, 0].tolist()
        for k in range(shown):
            if given is not None:
                axes[k].plot(times, given[:, k], color=PALETTE["sky"], lw=1.6, label="target")
            axes[k].plot(times, values[:, k], color=INK, lw=0.8, label="output")
            axes[k].set_ylabel(f"{name} {k}")
        if error is not None:
            axes[-1].plot(*error, color=PALETTE["purple"], lw=1.2)
            axes[-1].set_ylim(bottom=0)
            axes[-1].set_ylabel("RMS error")
        _finish(axes, times)
        axes[0].legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)
        axes[0].set_title(f"{name}: output and target" if given is not None else name)
    return drawn


def windowed_error(
    times: Floats, values: Floats, given: Floats, windows: int = 100
) -> tuple[Floats, Floats]:
    """Return the root mean square error in equal windows of time: the learning curve of a run.

    Returns
    -------
    times, errors : ndarray, shape (m,)
        Middles of the windows in which there was a target, at most `windows`; errors in the output's
        unit, over all components.

    Examples
    --------
    >>> t = np.arange(4.0)
    >>> middles, error = windowed_error(t, np.array([[3.], [3.], [1.], [1.]]), np.zeros((4, 1)), 2)
    >>> middles.tolist(), error.tolist()
    ([0.75, 2.25], [3.0, 1.0])
    """
    if not len(times):
        return np.zeros(0), np.zeros(0)
    edges = np.linspace(times[0], times[-1], windows + 1)
    place = np.minimum(np.searchsorted(edges, times, side="right") - 1, windows - 1)
    square = ((values - given) ** 2).mean(axis=1)
    known = np.isfinite(square)
    count = np.bincount(place[known], minlength=windows)
    total = np.bincount(place[known], square[known], minlength=windows)
    there = count > 0
    middles = (edges[1:] + edges[:-1]) / 2
    return middles[there], np.sqrt(total[there] / count[there])


def _finish(axes: Sequence[Axes], times: Floats) -> None:
    for ax in axes:
        ax.margins(x=0)
        ax.axhline(0, color=FAINT, lw=0.4, zorder=0)
    axes[-1].set_xlabel("time (s)")

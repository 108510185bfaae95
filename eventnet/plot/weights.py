"""Weights of every projection, and what learning did to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.plot.style import FAINT, PALETTE, STYLE, figure, matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Weights = Mapping[str, NDArray[np.float64]]

DIVERGING = "PuOr"  # colour-blind safe: purple is negative, orange positive, white 0
_ROW = 1.9  # inches


def weights_figure(start: Weights, end: Weights | None = None) -> Figure:
    """Draw each projection's weights, their change, and the distribution before and after.

    Parameters
    ----------
    start, end : mapping of str to ndarray, shape (n_in, n_out) or (synapses,)
        By the projection's name; sparse ones are only counted. Without `end`, of a run that did not
        finish, there is no change.

    Raises
    ------
    ConfigError
        If matplotlib is missing or there are no weights.

    Examples
    --------
    >>> before, after = {"a -> b": np.zeros((2, 3))}, {"a -> b": np.eye(2, 3)}
    >>> [axes.get_title("left") for axes in weights_figure(before, after).axes[:3]]
    ['a -> b', 'change', '']
    """
    if not start:
        raise ConfigError("no weights: the network has no projections")
    with matplotlib().rc_context(STYLE):
        drawn = figure(0.4 + _ROW * len(start))
        rows = drawn.subplots(len(start), 3, squeeze=False, width_ratios=[1, 1, 0.8])
        for row, (name, before) in zip(rows, start.items(), strict=True):
            after = before if end is None else end[name]
            _image(row[0], after, name)
            _image(row[1], None if end is None else after - before, "change")
            _distribution(row[2], before, None if end is None else after)
    return drawn


def _image(ax: Axes, matrix: NDArray[np.float64] | None, title: str) -> None:
    ax.set_title(title)
    if matrix is None or matrix.ndim != 2:
        ax.axis("off")
        text = "the run did not finish" if matrix is None else "sparse: see the distribution"
        ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color=FAINT)
        return
    top = float(np.abs(matrix).max(initial=0.0)) or 1.0
    # Transposed: one row of pixels a receiving neuron.
    shown: Any = ax.imshow(
        matrix.T, cmap=DIVERGING + "_r", vmin=-top, vmax=top, aspect="auto", origin="lower"
    )
    ax.set(xlabel="from neuron", ylabel="to neuron")
    ax.locator_params(integer=True, nbins=5)
    ax.figure.colorbar(shown, ax=ax, pad=0.02).ax.tick_params(labelsize=7)


def _distribution(ax: Axes, before: NDArray[np.float64], after: NDArray[np.float64] | None) -> None:
    drawn = [before.ravel()] + ([] if after is None else [after.ravel()])
    edges = np.histogram_bin_edges(np.concatenate(drawn), 60)
    colours = (FAINT, PALETTE["blue"])
    for values, colour, label in zip(drawn, colours, ("before", "after"), strict=False):
        ax.stairs(np.histogram(values, edges)[0], edges, color=colour, lw=1.2, label=label)
    ax.set(xlabel="weight", ylabel="synapses")
    ax.legend(handlelength=1.0)

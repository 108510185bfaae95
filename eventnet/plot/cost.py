"""What a run cost, beside dense networks, pass by pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from eventnet.plot.style import INK, PALETTE, STYLE, figure, matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BARS = {
    "additions": "spiking: additions,\none a quantum",
    "multiply_adds": "spiking: multiply-adds,\none a spike",
    "zero_skipping": "dense, skipping zeros:\nmultiply-adds",
    "dense": "dense:\nmultiply-adds",
}
"""The totals of a cost, and what they are called."""

_PASSES = {"forward": PALETTE["blue"], "backward": PALETTE["orange"], "update": PALETTE["green"]}


def cost_figure(totals: Mapping[str, Mapping[str, int]]) -> Figure:
    """Draw operations as bars, the three passes end to end.

    Parameters
    ----------
    totals : mapping
        ``cost.as_dict()["totals"]``, or ``operations`` of a run's ``metrics.json``.

    Raises
    ------
    ConfigError
        If matplotlib is missing.

    Examples
    --------
    >>> passes = {"forward": 3, "backward": 2, "update": 1, "all": 6}
    >>> drawn = cost_figure(dict.fromkeys(BARS, passes))
    >>> drawn.axes[0].get_xlabel()
    'operations'
    """
    with matplotlib().rc_context(STYLE):
        drawn = figure(2.6)
        ax = drawn.subplots()
        places = np.arange(len(BARS))[::-1]
        left = np.zeros(len(BARS))
        for name, colour in _PASSES.items():
            widths = np.array([totals[bar][name] for bar in BARS], dtype=np.float64)
            ax.barh(places, widths, left=left, height=0.66, color=colour, label=name)
            left += widths
        for place, total in zip(places, left, strict=True):
            ax.text(total, place, f" {total:,.0f}", va="center", color=INK, size=8)
        ax.set_yticks(places, list(BARS.values()))
        ax.set(xlabel="operations", xlim=(0, 1.18 * left.max() or 1.0))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.locator_params(axis="x", nbins=5)
        ax.legend(
            loc="lower right", bbox_to_anchor=(1, 1), ncols=3, borderaxespad=0.2, handlelength=0.9
        )
        ax.set_title("operations of the run")
    return drawn

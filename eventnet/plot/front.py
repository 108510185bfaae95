"""Error against cost of a sweep's points, and the front of those that nothing beats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventnet.plot.style import FAINT, PALETTE, STYLE, figure, matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from eventnet.sweep.front import Mean

LABELS, NUMBERS = 8, 24
"""Points of the front beside which parameters, or their numbers in the table, are written, at most."""

FEW = 3
"""Parameters that have room there."""


def front_figure(rows: Sequence[Mean], title: str) -> Figure:
    """Draw means over seeds, with a bar of one standard deviation of the error.

    Parameters
    ----------
    rows : sequence of Mean
        As `eventnet.sweep.front.means` returns them.
    title : str

    Raises
    ------
    ConfigError
        If matplotlib is missing.

    Examples
    --------
    >>> from eventnet.sweep.front import Mean
    >>> row = Mean({"tau": 0.1}, seeds=2, failed=0, error=0.25, additions=9e3, spread=0.01, number=1)
    >>> front_figure([row], "drone").axes[0].get_xlabel()
    'additions a reading'
    """
    with matplotlib().rc_context(STYLE):
        drawn = figure(4.5)
        ax = drawn.subplots()
        good = [row for row in rows if row.seeds]
        best = sorted((row for row in good if row.best), key=lambda row: row.additions)
        for chosen, colour, size in ((good, FAINT, 3), (best, PALETTE["vermillion"], 5)):
            ax.errorbar(
                [row.additions for row in chosen],
                [row.error for row in chosen],
                [row.spread for row in chosen],
                fmt="o",
                ms=size,
                color=colour,
                elinewidth=0.6,
            )
        if best:
            steps = [row.additions for row in best], [row.error for row in best]
            ax.step(*steps, where="post", color=PALETTE["vermillion"], lw=1, label="Pareto front")
            ax.legend()
        few = bool(best) and len(best[0].values) <= FEW
        for row in best[:: max(1, -(-len(best) // (LABELS if few else NUMBERS)))]:
            told = ", ".join(f"{name} {_short(value)}" for name, value in row.values.items())
            ax.annotate(
                f"{row.number}: {told}" if few else str(row.number),
                (row.additions, row.error),
                xytext=(5, 4) if few else (-4, -10),  # below the front there is nothing
                textcoords="offset points",
                ha="left" if few else "right",
                size=7,
            )
        ax.set(xscale="log", xlabel="additions a reading", ylabel="error (validation)")
        ax.set_title(title)
    return drawn


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)

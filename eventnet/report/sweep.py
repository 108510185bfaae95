"""The table of a sweep on a terminal: the front, numbered as in its picture, and what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from eventnet.report.table import table

if TYPE_CHECKING:
    from rich.table import Table

    from eventnet.sweep.front import Mean

SHOWN = 12


def sweep_table(found: Sequence[Mean], width: int, shown: int = SHOWN) -> Table:
    """Return the front and then the least errors, a line each; where lines are too long, a column each.

    Parameters
    ----------
    found : sequence of Mean
        As `eventnet.sweep.front.means` returns them.
    width : int
        Characters in a line.
    shown : int
        Settings, at most; of columns as many as there is room for.

    Examples
    --------
    >>> from eventnet.sweep.front import Mean
    >>> row = Mean({"tau": 0.1}, seeds=2, failed=0, error=0.25, additions=9e3, spread=0.01, number=1)
    >>> [sweep_table([row], width).row_count for width in (80, 20)]
    [1, 5]
    """
    chosen = [row for row in found if row.number][:shown]
    chosen += [row for row in found if not row.number and row.seeds][: shown - len(chosen)]
    names = list(found[0].values) if found else []
    titles = ["", *names, "seeds", "error", "±", "additions"]
    lines = [_line(row) for row in chosen]
    if _width(list(zip(titles, *lines, strict=True))) > width:
        while len(lines) > 1 and _width([titles, *lines]) > width:
            lines.pop()
        titles, *lines = [list(cells) for cells in zip(titles, *lines, strict=True)]
    drawn = table(*titles)
    for line in lines:
        drawn.add_row(*line)
    return drawn


def _line(row: Mean) -> list[str]:
    values = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values.values())
    figures = f"{row.error:.4g}", f"{row.spread:.2g}", f"{row.additions:,.0f}"
    return [str(row.number or ""), *values, str(row.seeds), *figures]


def _width(columns: Sequence[Sequence[str]]) -> int:
    """Return how wide columns are together, with two spaces between them."""
    return sum(2 + max(map(len, cells)) for cells in columns) - 2


def failures_told(failures: Sequence[str]) -> list[str]:
    """Return a line for each kind of failure: how many, and what the first one said.

    Examples
    --------
    >>> failures_told(["Diverged: at t=18 s", "ConfigError: tau=-1", "Diverged: at t=17 s"])
    ['2 failed, such as: Diverged: at t=18 s', '1 failed: ConfigError: tau=-1']
    """
    kinds: dict[str, list[str]] = {}
    for text in failures:
        kinds.setdefault(text.partition(":")[0], []).append(text)
    return [
        f"{len(texts)} failed{', such as' if len(set(texts)) > 1 else ''}: {texts[0]}"
        for texts in kinds.values()
    ]

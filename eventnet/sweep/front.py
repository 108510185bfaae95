"""What a sweep's results come to: means over seeds, and the Pareto front of error and cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from math import isnan
from statistics import fmean, stdev
from typing import Any

from eventnet.sweep.point import Row


@dataclass(frozen=True)
class Mean:
    """Parameters, and what their seeds come to.

    Attributes
    ----------
    values : dict
        Those parameters that differ somewhere in the sweep.
    seeds : int
        Points that succeeded.
    failed : int
        Points that did not.
    error, additions : float
        Means; nan if none succeeded.
    spread : float
        Standard deviation of the error over seeds; 0 of a single one.
    number : int
        Its number on the front, where nothing is better in one and as good in the other; the least
        error is the first. 0: it is not there.
    """

    values: dict[str, Any]
    seeds: int
    failed: int
    error: float
    additions: float
    spread: float
    number: int = 0

    @property
    def best(self) -> bool:
        """Whether it is on the front."""
        return self.number > 0


def means(rows: Iterable[Row]) -> list[Mean]:
    """Return results by parameters, the least error first and what failed throughout last.

    Examples
    --------
    >>> rows = [
    ...     {"point": k, "tau": tau, "seed": k, "error": error, "additions": cost}
    ...     for k, (tau, error, cost) in enumerate([(1, 0.5, 9.0), (2, 0.25, 20.0), (2, 0.75, 30.0)])
    ... ]
    >>> [(row.values["tau"], row.seeds, row.error, row.additions, row.best) for row in means(rows)]
    [(1, 1, 0.5, 9.0, True), (2, 2, 0.5, 25.0, False)]
    """
    rows = list(rows)
    names = varied(rows)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    found = [_mean(dict(zip(names, key, strict=True)), group) for key, group in groups.items()]
    on_front = front([(row.error, row.additions) for row in found])
    order = sorted(
        zip(found, on_front, strict=True),
        key=lambda pair: (not pair[0].seeds, pair[0].error, pair[0].additions),
    )
    number = count(1)
    return [replace(row, number=next(number)) if best else row for row, best in order]


def varied(rows: Sequence[Row]) -> list[str]:
    """Return the parameters that differ among rows."""
    names = dict.fromkeys(name for row in rows for name in list(row)[1 : list(row).index("seed")])
    return [name for name in names if len({str(row.get(name)) for row in rows}) > 1]


def _mean(values: dict[str, Any], group: list[Row]) -> Mean:
    good = [row for row in group if not row.get("failure")]
    errors = [row["error"] for row in good]
    return Mean(
        values,
        len(good),
        len(group) - len(good),
        fmean(errors) if good else float("nan"),
        fmean(row["additions"] for row in good) if good else float("nan"),
        stdev(errors) if len(good) > 1 else 0.0,
    )


def front(pairs: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which pairs no other pair dominates; nan is dominated by all.

    Examples
    --------
    >>> front([(1.0, 9.0), (2.0, 3.0), (2.0, 4.0), (3.0, 3.0), (float("nan"), 1.0)])
    [True, True, False, False, False]
    """
    numbers = [k for k, pair in enumerate(pairs) if not any(map(isnan, pair))]
    ranked = sorted(numbers, key=pairs.__getitem__)
    on = [False] * len(pairs)
    least: tuple[float, float] | None = None
    for k in ranked:
        if least is None or pairs[k][1] < least[1] or pairs[k] == least:
            on[k], least = True, pairs[k]
    return on

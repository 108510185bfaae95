"""Which points a sweep has: a scenario, what is set, what is varied, and seeds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import Any

from eventnet.errors import ConfigError
from eventnet.scenario import Scenario
from eventnet.sweep.axes import FORMS, axis
from eventnet.sweep.point import Point, Row


class Plan:
    """What is run: the validation split alone.

    Parameters
    ----------
    scenario : Scenario
    settings : sequence of str
        ``key=value``, of every point.
    grid : sequence of str
        As `eventnet.sweep.axes.axis` reads them.
    seeds : sequence of int

    Attributes
    ----------
    axes : list of Axis
    seeds : int
        How many.

    Raises
    ------
    ConfigError
        For a parameter or a value that the scenario does not take, or a scenario without a
        validation split.
    """

    def __init__(
        self, scenario: Scenario, settings: Sequence[str], grid: Sequence[str], seeds: Sequence[int]
    ) -> None:
        self._scenario, self._settings = scenario, list(settings)
        self._seeds, self.seeds = seeds, len(seeds)
        self._base = plain(scenario.values(scenario.validated(settings)))
        self.axes = [axis(text, self._base.get(text.partition("=")[0].strip())) for text in grid]
        names = [axis.name for axis in self.axes]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ConfigError(f"--grid {twice.pop()}: is there twice")
        for one in self.axes:
            for text in one.ends():
                self._value(f"{one.name}={text}")

    def _value(self, setting: str) -> tuple[str, Any]:
        """Return a setting's parameter, and its value as plain data."""
        name = setting.partition("=")[0]
        return name, plain(self._scenario.values(self._with([setting])))[name]

    def _with(self, changes: Sequence[str]) -> list[str]:
        return self._scenario.validated([*self._settings, *changes])

    def make(self, changes: Sequence[str]) -> list[Point]:
        """Return the points of some settings, one a seed."""
        values = self._base | dict(self._value(change) for change in changes)
        return [Point(tuple(self._with(changes)), values, seed) for seed in self._seeds]

    def grid(self) -> list[Point]:
        """Return every combination: all with the first seed, then all with the next."""
        for one in self.axes:
            if not one.values:
                raise ConfigError(f"--grid {one.name}: has no number of values; {FORMS}")
        known = {
            f"{one.name}={text}": self._value(f"{one.name}={text}")
            for one in self.axes
            for text in one.values
        }
        combinations = list(product(*([f"{a.name}={v}" for v in a.values] for a in self.axes)))
        return [
            Point(tuple(self._with(changes)), self._base | dict(known[c] for c in changes), seed)
            for seed in self._seeds
            for changes in combinations
        ]

    def tried(self, rows: Iterable[Row]) -> list[dict[str, Any]]:
        """Return what results tried of the axes: numbers of spans, of lists the texts."""
        texts = {
            one.name: {str(self._value(f"{one.name}={text}")[1]): text for text in one.values}
            for one in self.axes
            if one.span is None
        }
        found: dict[tuple[Any, ...], dict[str, Any]] = {}
        for row in rows:
            values = {}
            for one in self.axes:
                value = row.get(one.name)
                values[one.name] = value if one.span else texts[one.name].get(str(value))
            if None not in values.values():
                found.setdefault(tuple(values.values()), values)
        return list(found.values())


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as they stand in a column: sizes of layers and the like as text.

    Examples
    --------
    >>> plain({"tau": 0.1, "hidden": (200, 100)})
    {'tau': 0.1, 'hidden': '[200, 100]'}
    """
    return {
        name: json.dumps(value) if isinstance(value, list | tuple | dict) else value
        for name, value in values.items()
    }

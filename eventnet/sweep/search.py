"""Points that Optuna proposes, to make error and cost small at once."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from eventnet.errors import ConfigError
from eventnet.extras import needed
from eventnet.sweep.axes import Axis
from eventnet.sweep.plan import Plan
from eventnet.sweep.point import Point, Row

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

OBJECTIVES = ("error", "additions")


class Search:
    """Trials of Optuna's tree-structured Parzen estimator, two objectives; a trial is a point a seed.

    What is known is the study: a search that was interrupted goes on from the results alone.

    Parameters
    ----------
    plan : Plan
        Spans are searched between their ends, lists among their values.
    trials : int
        In all, with those that are known.
    known : mapping
        Results by the point's key.
    """

    ahead = 1.0  # each proposal should know all results

    def __init__(self, plan: Plan, trials: int, known: Mapping[str, Row]) -> None:
        if not plan.axes:
            raise ConfigError("--search: --grid NAME=log:LOW:HIGH says what is searched, and where")
        optuna = self._optuna = needed("optuna", "sweep", "searches")
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._plan, self._trials, self._known = plan, trials, dict(known)
        self._space = {axis.name: distribution(optuna, axis) for axis in plan.axes}
        earlier = list(filter(None, map(self._remembered, plan.tried(known.values()))))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            # Another seed in each sitting: the same one would propose what is known already.
            sampler = optuna.samplers.TPESampler(seed=len(earlier), constant_liar=True)
        self._study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
        self._study.add_trials(earlier)
        self._ready: list[Point] = []
        self._under_way: set[str] = set()
        self._open: dict[Any, list[Point]] = {}  # by the trial
        self.left = plan.seeds * max(trials - len(earlier), 0)

    def _remembered(self, values: dict[str, Any]) -> FrozenTrial | None:
        """Return what an earlier sitting tried, if it lies in the space and all its seeds are known."""
        spaces = self._space.items()
        if not all(space._contains(space.to_internal_repr(values[name])) for name, space in spaces):
            return None
        keys = [point.key for point in self._plan.make(settings(values))]
        if not all(key in self._known for key in keys):
            return None
        means = objectives([self._known[key] for key in keys])
        trial: FrozenTrial = self._optuna.trial.create_trial(
            params=values, distributions=self._space, values=means, state=self._state(means)
        )
        return trial

    def _state(self, means: list[float] | None) -> Any:
        states = self._optuna.trial.TrialState
        return states.FAIL if means is None else states.COMPLETE

    def next(self) -> Point | None:
        """Return a point of a trial that is under way, or of a new one."""
        while not self._ready:
            if len(self._study.trials) >= self._trials:
                return None
            trial = self._study.ask(self._space)
            points = self._open[trial] = self._plan.make(settings(trial.params))
            missing = [point for point in points if point.key not in self._known]
            self._ready = [point for point in missing if point.key not in self._under_way]
            self._under_way.update(point.key for point in self._ready)
            self._tell()
        return self._ready.pop(0)

    def done(self, point: Point, result: Row) -> None:
        """Take a result; with the last seed's, Optuna is told."""
        self._known[point.key] = result
        self._under_way.discard(point.key)
        self._tell()

    def _tell(self) -> None:
        for trial, points in list(self._open.items()):
            if all(point.key in self._known for point in points):
                means = objectives([self._known[point.key] for point in points])
                self._study.tell(trial, means, state=self._state(means))
                del self._open[trial]


def objectives(results: Sequence[Row]) -> list[float] | None:
    """Return the means over seeds of error and cost; None if one failed.

    Examples
    --------
    >>> objectives([{"error": 0.25, "additions": 10.0}, {"error": 0.75, "additions": 20.0}])
    [0.5, 15.0]
    """
    if any(row.get("failure") for row in results):
        return None
    return [fmean(row[name] for row in results) for name in OBJECTIVES]


def settings(values: dict[str, Any]) -> list[str]:
    """Return values as ``--set`` takes them.

    Examples
    --------
    >>> settings({"step": 0.1, "hidden": "[200,200]"})
    ['step=0.1', 'hidden=[200,200]']
    """
    return [f"{name}={value}" for name, value in values.items()]


def distribution(optuna: Any, axis: Axis) -> BaseDistribution:
    """Return where Optuna looks for a parameter's value."""
    found: BaseDistribution
    if axis.span is None:
        found = optuna.distributions.CategoricalDistribution(axis.values)
    elif axis.whole:
        low, high, log = axis.span
        found = optuna.distributions.IntDistribution(round(low), round(high), log=log)
    else:
        low, high, log = axis.span
        found = optuna.distributions.FloatDistribution(low, high, log=log)
    return found

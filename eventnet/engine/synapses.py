"""The reference engine's synapses: a projection's weights, and the spikes under way on it."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.network import Edges, Projection
from eventnet.plasticity import Rule
from eventnet.plasticity.rule import decodes
from eventnet.plasticity.stdp import books_late

Floats = NDArray[np.float64]
Spikes = list[tuple[int, float]]
"""The neurons of one population that fire in one instant, ascending, with their signed counts."""


class Flights:
    """Spikes under way on a projection with a delay, in order of arrival."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.under_way: list[tuple[float, int, float]] = []

    def next_time(self) -> float:
        """Return when the next one arrives."""
        return self.under_way[0][0] if self.under_way else math.inf

    def arriving(self, t: float, spikes: Spikes) -> Spikes:
        """Return what arrives at `t`: without a delay, the spikes of this instant."""
        if self.delay == 0:
            return spikes
        return [(i, count) for time, i, count in self.under_way if time == t]

    def depart(self, t: float, spikes: Spikes) -> None:
        """Drop what has arrived and send this instant's spikes on their way."""
        if self.delay > 0:
            self.under_way = [flight for flight in self.under_way if flight[0] > t]
            self.under_way += [(t + self.delay, i, count) for i, count in spikes]


class Synapses:
    """One projection: a row of synapses for each presynaptic neuron, and what its rule remembers.

    Synapse k of row i reaches neuron ``targets[i][k]`` by the weight ``weight(i, k)``, which in a
    convolution others share.

    Parameters
    ----------
    projection : Projection
    edges : Edges
        The synapses that there are.
    weights : ndarray
        Their weights, of the projection's `weight_shape`.
    rule : Rule or None
        None: the weights are fixed.
    lr : float
        Learning rate of this projection, 1/s.
    dtype : dtype
        To which weights are rounded whenever they are written.
    """

    def __init__(
        self,
        projection: Projection,
        edges: Edges,
        weights: Floats,
        rule: Rule | None,
        lr: float,
        t0: float,
        dtype: np.dtype[Any],
    ) -> None:
        self.source, self.target = projection.source, projection.target
        self.step, self.error_step = projection.source.step, projection.error_step or 0.0
        self.own: list[
            float
        ] = []  # what each neuron's spikes are times, if it has a step of its own
        self.flights = Flights(projection.delay)
        self.error_flights = Flights(projection.error_delay)
        self.lower, self.upper = projection.bounds or (-math.inf, math.inf)
        self.bounded = projection.bounds is not None
        self.sparse, self.shape = projection.sparse, projection.weight_shape
        self.round = dtype.type
        self.late = books_late(projection)
        self.targets: list[list[int]] = [[] for _ in range(self.source.size)]
        self.columns: list[list[tuple[int, int]]] = [[] for _ in range(self.target.size)]
        for i, j in zip(*(end.tolist() for end in edges), strict=True):
            self.columns[j].append((i, len(self.targets[i])))
            self.targets[i].append(j)
        begin = np.cumsum([0, *map(len, self.targets)]).tolist()
        rows = [range(*ends) for ends in pairwise(begin)]
        self.share: list[Sequence[int]] = list(rows)
        self.positions: list[float] = projection.positions.tolist()
        if projection.convolution is not None:
            shared = projection.convolution.edges[2].tolist()
            self.share = [shared[row.start : row.stop] for row in rows]
        self.flat: list[float] = []
        self._set(weights)
        self.rule, self.lr, self.t0 = rule, lr, t0
        self.rivals = [self]  # the plastic projections of its target
        self.bookings = 0
        self.memory: Any = None
        if rule is not None:
            self.taus, self.units = rule.taus(projection), rule.units(projection)
            self.decodes = decodes(rule, projection)
            self.memory = rule.start(self, t0)

    def _set(self, weights: Floats) -> None:
        self.flat = weights.ravel().astype(self.round).tolist()

    def weight(self, i: int, k: int) -> float:
        """Return the k-th weight of row `i`."""
        return self.flat[self.share[i][k]]

    def add_at(self, i: int, k: int, amount: float) -> None:
        """Change the k-th weight of row `i`, within the bounds."""
        place = self.share[i][k]
        weight = self.flat[place] + amount
        if self.bounded:
            weight = min(max(weight, self.lower), self.upper)
        self.flat[place] = float(self.round(weight))

    def add(self, i: int, j: int, amount: float) -> None:
        """Change the weight from neuron `i` to neuron `j`, if there is such a synapse."""
        if j in self.targets[i]:
            self.add_at(i, self.targets[i].index(j), amount)

    def weigh(self, i: int, count: float) -> float:
        """Return a count of neuron `i` times what that has of its own."""
        return count * self.own[i] if self.own else count

    def weighed(self, spikes: Spikes) -> Spikes:
        """Return spikes with their counts times what their neurons have of their own."""
        return [(i, self.weigh(i, count)) for i, count in spikes]

    def set_step(self, step: float, own: list[float]) -> None:
        """Let the spikes that arrive stand for `step` times `own`, which may be empty."""
        self.step, self.own = step, list(own)
        if self.rule is not None and self.decodes:
            self.units = step, self.units[1]

    def finish(self) -> None:
        """Add the area that the traces leave open, and forget them."""
        if self.rule is not None:
            self.rule.finish(self)
            self.memory = self.rule.start(self, self.t0)

    def row(self, i: int) -> list[float]:
        """Return the weights of presynaptic neuron `i`, brought up to date."""
        if self.rule is not None:
            self.rule.bring_up_to_date(self, i)
        return [self.flat[place] for place in self.share[i]]

    def forward(self, spikes: Spikes, arrived: list[float]) -> int:
        """Add the rows of the neurons that fired (Eq. 7, 8); return how many synapses they crossed."""
        for i, count in spikes:
            scale = self.step * self.weigh(i, count)
            for j, weight in zip(self.targets[i], self.row(i), strict=True):
                arrived[j] += scale * weight
        return sum(len(self.targets[i]) for i, _ in spikes)

    def backward(self, spikes: Spikes, arrived: list[float]) -> int:
        """Add the columns of the error spikes (Eq. 12); return how many synapses they crossed."""
        for j, count in spikes:
            scale = self.error_step * count
            for i, k in self.columns[j]:
                weight = self.weight(i, k) if self.rule is None else self.rule.read(self, i, k)
                arrived[i] += scale * weight
        return sum(len(self.columns[j]) for j, _ in spikes)

    @property
    def weights(self) -> Floats:
        """Return a copy of the weights, with what is still owed."""
        kept = self.flat, self.memory, self.bookings
        self.flat, self.memory = copy.deepcopy((self.flat, self.memory))
        self._catch_up()
        found = np.array(self.flat).reshape(self.shape)
        self.flat, self.memory, self.bookings = kept
        return found

    @weights.setter
    def weights(self, weights: Floats) -> None:
        self._catch_up()  # what is owed so far belongs to the weights that go
        self._set(np.asarray(weights, dtype=np.float64))

    def _catch_up(self) -> None:
        """Bring all rows up to date."""
        if self.rule is not None:
            for i in range(self.source.size):
                self.rule.bring_up_to_date(self, i)

    # -- saving ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return a copy of all that a run changes."""
        return copy.deepcopy(
            {
                "weights": self.flat,
                "lr": self.lr,
                "step": self.step,
                "own": self.own,
                "bookings": self.bookings,
                "memory": None if self.memory is None else vars(self.memory),
                "under_way": self.flights.under_way,
                "errors_under_way": self.error_flights.under_way,
            }
        )

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        saved = copy.deepcopy(saved)
        self.set_step(saved["step"], saved["own"])
        self.flat, self.lr, self.bookings = saved["weights"], saved["lr"], saved["bookings"]
        if self.memory is not None:
            vars(self.memory).update(saved["memory"])
        self.flights.under_way = saved["under_way"]
        self.error_flights.under_way = saved["errors_under_way"]

"""Steps that are learned from the price of additions, in continuous time (docs/theory.md, section 13)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import arrays as ar
from eventnet.engine.clocked_arrays import (
    OWN_PRICED_MEAN,
    OWN_PRICED_RATE,
    PRICED_MEAN,
    PRICED_RATE,
    WIDEST,
)
from eventnet.engine.plan import Plan
from eventnet.errors import ConfigError
from eventnet.network import Population
from eventnet.plasticity.stdp import BookedRule

if TYPE_CHECKING:
    from eventnet.world import World

Floats = NDArray[np.float64]

LOOK = 5.0
"""Time constants of the network between looks at what spikes cost and what is lost, on average."""

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
"""Looks are late by fractions that are spread by it: targets that hold for a moment only do not beat."""


class Steps(NamedTuple):
    """What spikes stand for: a step of each population, times what its neurons have of their own."""

    step: Floats
    own: Floats


class Stepped(Protocol):
    """What an engine in continuous time offers to those who change its steps."""

    scales: Steps

    def steps(self, population: int) -> Floats:
        """Return what one spike of each neuron of a population stands for, (size,)."""

    def spent(self, population: int) -> NDArray[np.int64]:
        """Return the quanta that were sent, of all or, with steps of their own, of each neuron."""

    def scale_steps(self, population: int, factors: Floats) -> None:
        """Multiply steps, of all or of each neuron, from the last instant on; residuals stay."""

    def take_steps(self, scales: Steps) -> None:
        """Begin with other steps: nothing has run."""

    def decoded(self, projection: int, time: float) -> Floats:
        """Return what is decoded of a plastic projection's spikes, (n_in,)."""

    def errors(self, population: int, time: float) -> Floats | None:
        """Return a population's error, (size,); None: no target is in force."""


def has_own_steps(plan: Plan, on: bool) -> list[bool]:
    """Return whose neurons have steps of their own, if any have.

    Raises
    ------
    ConfigError
        If one of these populations is `local`: what a delivery does not reach there is not touched.
    """
    found = [on and p.kind in ("sensor", "layer") and not p.constant for p in plan.populations]
    for p, own, local in zip(plan.populations, found, plan.local, strict=True):
        if own and local:
            raise ConfigError(
                f"scales='neuron': {p.name}, large and of sparse input, has one step for all of its "
                "neurons; take scales='population'"
            )
    return found


class Prices:
    """Looks at a network now and then and lets the steps of its sensors and layers move.

    It is a process of the world (`eventnet.world.Process`), the same for both engines.

    Parameters
    ----------
    plan : Plan
    price : float
        Of an addition a second, in units of the loss.
    tau : float
        The network's time constant, s.
    own_steps : bool
        Whether each neuron learns a step.

    Raises
    ------
    ConfigError
        For delays, under which spikes would arrive with another step than they left with; for rules
        but `STDP`, whose traces tell what is decoded.
    """

    priority = 3  # as probes: the instant has settled

    def __init__(self, plan: Plan, price: float, tau: float, own_steps: bool = False) -> None:
        self.plan, self.price, self.every = plan, price, LOOK * tau
        if not (isinstance(plan.rule, BookedRule) and plan.rule.error_driven):
            raise ConfigError(
                f"price={price:g} without a clock: {getattr(plan.rule, 'name', 'no rule')} does not "
                "keep what is decoded; take STDP, or give clock=dt"
            )
        delayed = next((q for q in plan.projections if q.delay or q.error_delay), None)
        if delayed is not None:
            raise ConfigError(
                f"price={price:g}: {delayed.name} has a delay, and spikes would arrive with another step "
                "than they left with; leave the price or the delay"
            )
        self.count = 1
        self.own = has_own_steps(plan, own_steps)
        sizes = [p.size if own else 1 for p, own in zip(plan.populations, self.own, strict=True)]
        self.paid, self.spoilt = [np.zeros(n) for n in sizes], [np.zeros(n) for n in sizes]
        self.seen = [np.zeros(n, dtype=np.int64) for n in sizes]
        self.since = plan.t0

    def next_time(self) -> float:
        """Return when it looks next, s."""
        return self.plan.t0 + (self.count + self.count * GOLDEN % 1.0) * self.every

    def act(self, world: World, time: float) -> None:
        """Look, if anything is taught."""
        world.settle(time)
        self.count += 1
        engine: Any = world.engine
        errors = [
            engine.errors(k, time) if engine.learning and on else None
            for k, on in enumerate(self.plan.has_error)
        ]
        told = [p for p in self.plan.populations if p.kind == "output"]
        if all(errors[p.index] is None for p in told):
            return
        for p in self.plan.populations:
            if p.kind in ("sensor", "layer") and not p.constant:
                self._look(p, time, engine, errors)
        self.since = time

    def _look(
        self, population: Population, time: float, engine: Any, errors: list[Floats | None]
    ) -> None:
        """Let steps of a population move by what its spikes since the last look have cost."""
        p = population.index
        slope, fan, sent = np.zeros(population.size), 0.0, None
        for q in self.plan.projections:
            if q.source is not population:
                continue
            fan += q.synapses / population.size * (1 + self.plan.plastic[q.index])
            error = errors[q.target.index]
            if self.plan.plastic[q.index]:
                sent = engine.decoded(q.index, time)
            if error is not None:
                pre, post = self.plan.ends(q.index)
                weights = q.of_synapses(engine.weights(q.index))
                slope += np.bincount(pre, weights * error[post], population.size)
                engine.counters.projection[q.index, ar.ROW + 2 : ar.ROW + 4] += q.synapses
        if sent is None:
            return
        quanta = engine.spent(p)
        paid = self.price * fan / (time - self.since) * (quanta - self.seen[p])
        self.seen[p] = quanta
        spoilt = slope * (sent - engine.read(p, time))
        if self.own[p]:
            factors = self._traded(p, paid, spoilt, OWN_PRICED_MEAN, OWN_PRICED_RATE)
            own = engine.steps(p) / engine.scales.step[p]
            factors = np.clip(own * factors, 1.0 / WIDEST, WIDEST) / own
        else:
            factors = self._traded(p, paid, spoilt.sum()[None], PRICED_MEAN, PRICED_RATE)
        if (factors != 1.0).any():
            engine.scale_steps(p, factors)

    def _traded(self, p: int, paid: Floats, spoilt: Floats, over: float, rate: float) -> Floats:
        """Return by what steps are multiplied; who was silent and right says nothing of its step."""
        told = (paid != 0.0) | (spoilt != 0.0)
        self.paid[p] += told * (paid - self.paid[p]) / over
        self.spoilt[p] += told * (spoilt - self.spoilt[p]) / over
        size = self.paid[p] + np.abs(self.spoilt[p])
        gain = (self.paid[p] - self.spoilt[p]) / np.where(size > 0.0, size, 1.0)
        return np.array([math.exp(rate * g) for g in (told * gain).tolist()])

    def state(self) -> dict[str, Any]:
        """Return what it remembers."""
        return {
            "count": self.count,
            "paid": [values.copy() for values in self.paid],
            "spoilt": [values.copy() for values in self.spoilt],
            "seen": [values.copy() for values in self.seen],
            "since": self.since,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.count, self.since = int(saved["count"]), float(saved["since"])
        for mine, name in ((self.paid, "paid"), (self.spoilt, "spoilt"), (self.seen, "seen")):
            for values, kept in zip(mine, saved[name], strict=True):
                values[...] = kept

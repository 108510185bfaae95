"""Steps that are learned from the price of additions, in continuous time (docs/theory.md, section 13)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import arrays as ar
from eventnet.engine.clocked_arrays import PRICED_MEAN, PRICED_RATE
from eventnet.engine.plan import Plan
from eventnet.errors import ConfigError
from eventnet.plasticity.stdp import BookedRule

if TYPE_CHECKING:
    from eventnet.world import World

Floats = NDArray[np.float64]

LOOK = 5.0
"""Time constants of the network between looks at what spikes cost and what is lost, on average."""

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0
"""Looks are late by fractions that are spread by it: targets that hold for a moment only do not beat."""


class Stepped(Protocol):
    """What an engine in continuous time offers to those who change its steps."""

    counters: ar.Counters
    steps: Floats
    """Of each population."""

    def set_step(self, population: int, step: float) -> None:
        """Let a population's spikes stand for `step` from the last instant on."""

    def take_steps(self, steps: Floats) -> None:
        """Begin with other steps: nothing has run."""

    def decoded(self, projection: int, time: float) -> Floats:
        """Return what is decoded of a plastic projection's spikes, (n_in,)."""

    def errors(self, population: int, time: float) -> Floats | None:
        """Return a population's error, (size,); None: no target is in force."""


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

    Raises
    ------
    ConfigError
        For delays, under which spikes would arrive with another step than they left with; for rules
        but `STDP`, whose traces tell what is decoded.
    """

    priority = 3  # as probes: the instant has settled

    def __init__(self, plan: Plan, price: float, tau: float) -> None:
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
        n = len(plan.populations)
        self.count = 1
        self.paid, self.spoilt = np.zeros(n), np.zeros(n)
        self.seen = np.zeros(n, dtype=np.int64)
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
        quanta = engine.counters.population[:, ar.QUANTA]
        for p in self.plan.populations:
            if p.kind in ("sensor", "layer") and not p.constant:
                self._look(p.index, time, engine, errors, int(quanta[p.index] - self.seen[p.index]))
        self.seen, self.since = quanta.copy(), time

    def _look(
        self, p: int, time: float, engine: Any, errors: list[Floats | None], quanta: int
    ) -> None:
        """Let the step of population `p` move by what its spikes since the last look have cost."""
        population = self.plan.populations[p]
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
        spoilt = float((slope * (sent - engine.read(p, time))).sum())
        paid = self.price * fan * quanta / (time - self.since)
        self.paid[p] += (paid - self.paid[p]) / PRICED_MEAN
        self.spoilt[p] += (spoilt - self.spoilt[p]) / PRICED_MEAN
        size = self.paid[p] + abs(self.spoilt[p])
        if size > 0.0:
            factor = math.exp(PRICED_RATE * (self.paid[p] - self.spoilt[p]) / size)
            engine.set_step(p, float(engine.steps[p]) * factor)

    def state(self) -> dict[str, Any]:
        """Return what it remembers."""
        return {
            "count": self.count,
            "paid": self.paid.copy(),
            "spoilt": self.spoilt.copy(),
            "seen": self.seen.copy(),
            "since": self.since,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.count, self.since = int(saved["count"]), float(saved["since"])
        self.paid, self.spoilt = np.array(saved["paid"]), np.array(saved["spoilt"])
        self.seen = np.array(saved["seen"], dtype=np.int64)

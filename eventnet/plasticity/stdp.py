"""The paper's "future updates" (Eq. 13 and 20, corrected), which are an STDP; booked late."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eventnet.network import positive
from eventnet.plasticity.rule import Rule, window

if TYPE_CHECKING:
    from eventnet.engine.synapses import Spikes, Synapses
    from eventnet.network import Projection

WIDE = 32
"""Targets from which on the rows of a dense projection are long enough to book columns late."""


def books_late(projection: Projection) -> bool:
    """Return whether a `BookedRule` books the columns of a projection late.

    Where rows are short a column costs no more at once; where a bound cuts depends on the way; and a
    weight that rows share cannot wait for one of them.
    """
    long = projection.sparse or projection.shape[1] >= WIDE
    return long and projection.bounds is None and projection.convolution is None


class Ledger:
    """What a rule that books whole columns late remembers of a projection.

    A postsynaptic spike changes a whole column of weights, each in proportion to its presynaptic
    trace. Between its own spikes such a trace only decays, ``x_hat_i(t) = charge_i*exp(-(t-origin)/
    tau)``, so what the rows have missed is their charge times one number for all of them, `owed`. A
    postsynaptic spike adds to that number, and a row books it when its neuron spikes next. Not all
    projections wait (`books_late`).
    """

    def __init__(self, synapses: Synapses, t0: float) -> None:
        n_in, n_out = synapses.source.size, synapses.target.size
        self.clock = self.origin = self.gauged = t0
        self.charge = [0.0] * n_in
        self.owed = [0.0] * n_out
        self.booked = [[0.0] * len(row) for row in synapses.targets]
        self.version, self.seen = 0, [0] * n_in
        self.post = [0.0] * n_out
        self.power = 0.0
        self.jumps = 0.0


class BookedRule(Rule, ABC):
    """A rule of the form ``dw = a*x_s*e_hat + b*x_hat*e_s + d*x_s*e_s``: rows at once, columns late."""

    compiled: ClassVar[str | None] = "booked"

    @abstractmethod
    def coefficients(self, taus: tuple[float, float]) -> tuple[float, float, float]:
        """Return a, b and d for a learning rate of 1 and these two time constants."""

    @property
    def limit(self) -> float:
        """The guard's cap, inf for none."""
        return math.inf

    def start(self, synapses: Synapses, t0: float) -> Ledger:  # noqa: D102
        return Ledger(synapses, t0)

    def gauge(self, synapses: Synapses, t: float, spikes: Spikes) -> None:
        """Bring the strength of the input to `t`, with the spikes that arrive now."""
        from eventnet.engine import equations as eq

        memory: Ledger = synapses.memory
        tau, unit = synapses.taus[0], synapses.units[0]
        if t - memory.origin > eq.BOOKING_PERIOD * tau:
            self.book_all(synapses, t)
        scale = eq.decay(t - memory.origin, tau)
        factor = eq.decay(t - memory.gauged, tau)
        memory.gauged = t
        memory.power = eq.fade(eq.fade(memory.power, factor), factor)
        memory.jumps = eq.fade(memory.jumps, factor)
        came = dict.fromkeys((i for i, _ in spikes), 0.0)
        for i, count in spikes:  # spikes under way can arrive together: they add up
            x = unit * count
            weight = x * synapses.positions[i]
            memory.jumps += weight * (2.0 * came[i] + x)
            memory.power += weight * (2.0 * (memory.charge[i] * scale + came[i]) + x)
            came[i] += x

    def learn(self, synapses: Synapses, t: float, spikes: Spikes, errors: Spikes) -> bool:  # noqa: D102
        from eventnet.engine import equations as eq

        memory: Ledger = synapses.memory
        (tau, post_tau), (unit, post_unit) = synapses.taus, synapses.units
        scale = eq.decay(t - memory.origin, tau)
        elapsed = t - memory.clock
        if not (synapses.late and synapses.sparse) or elapsed > eq.CLOCK_PERIOD * post_tau:
            factor = eq.decay(elapsed, post_tau)
            memory.post = [eq.fade(trace, factor) for trace in memory.post]
            memory.clock = t
        factor = eq.decay(t - memory.clock, post_tau)
        strength = 0.0
        for rival in synapses.rivals:
            theirs: Ledger = rival.memory
            faded = eq.decay(t - theirs.gauged, rival.taus[0])
            strength += eq.strength(window(rival), theirs.power, theirs.jumps, faded)
        rate = eq.guarded_rate(synapses.lr, strength, self.limit)
        for_row, for_column, for_pair = (rate * c for c in self.coefficients(synapses.taus))
        effect = [for_row * factor * trace for trace in memory.post]
        memory.version += synapses.late and bool(errors)
        for j, count in errors:
            e = post_unit * count
            effect[j] += for_pair * e
            memory.post[j] = eq.hold(memory.post[j], factor, e)
            change = (for_column * e) * scale
            if synapses.late:
                memory.owed[j] += change
            else:
                for i, k in synapses.columns[j]:
                    synapses.add_at(i, k, memory.charge[i] * change)
                synapses.bookings += len(synapses.columns[j])
        for i, count in spikes:
            x = unit * count
            self.bring_up_to_date(synapses, i)
            for k, j in enumerate(synapses.targets[i]):
                synapses.add_at(i, k, x * effect[j])
            memory.charge[i] += x / scale
        return bool(rate < synapses.lr)

    def bring_up_to_date(self, synapses: Synapses, i: int) -> None:  # noqa: D102
        memory: Ledger = synapses.memory
        if memory.seen[i] == memory.version:
            return
        memory.seen[i] = memory.version
        for k, j in enumerate(synapses.targets[i]):
            owed = memory.owed[j]
            synapses.add_at(i, k, memory.charge[i] * (owed - memory.booked[i][k]))
            memory.booked[i][k] = owed
        synapses.bookings += len(synapses.targets[i])

    def read(self, synapses: Synapses, i: int, k: int) -> float:  # noqa: D102
        memory: Ledger = synapses.memory
        owed = memory.owed[synapses.targets[i][k]]
        return synapses.weight(i, k) + memory.charge[i] * (owed - memory.booked[i][k])

    def book_all(self, synapses: Synapses, t: float) -> None:
        """Bring every row up to date and let the charges count from `t`."""
        from eventnet.engine import equations as eq

        memory: Ledger = synapses.memory
        factor = eq.decay(t - memory.origin, synapses.taus[0])
        for i, charge in enumerate(memory.charge):
            self.bring_up_to_date(synapses, i)
            memory.charge[i] = eq.fade(charge, factor)
            memory.booked[i] = [0.0] * len(synapses.targets[i])
            memory.seen[i] = 0
        memory.version = 0
        memory.owed = [0.0] * synapses.target.size
        memory.origin = t

    def finish(self, synapses: Synapses) -> None:  # noqa: D102
        self.book_all(synapses, synapses.memory.origin)


@dataclass(frozen=True)
class STDP(BookedRule):
    """The paper's "future" rule, which is an STDP (Eq. 13 and 20 with their constants corrected).

    A synapse changes when a presynaptic spike or an error spike arrives, by the whole future area
    that the spike adds under the product of the two decoded traces::

        dw = -lr*c * (x_s*(e_hat + e_s) + x_hat*e_s),      c = tau_x*tau_e/(tau_x + tau_e)

    where x_s, e_s are the spikes times their steps and x_hat, e_hat the traces just before them.
    Summed over time this is the integral of ``x_hat*e_hat`` exactly.

    Parameters
    ----------
    lr : float
        Learning rate per second: the slope of w against the integral of input times error.
    cap : float or None
        The guard: the rate in use is ``min(lr, cap/sum_q c_q*max(N_q, J_q/2))`` over the target's
        plastic projections, where N is the sum of squares of the presynaptic traces and J that of
        the presynaptic spikes, fading with the sender's tau: it is jumps of the input that
        destabilize the rule, at ``lr*c*J/2 > 1``. On a clock the rate a tick is
        ``min(lr*dt, cap/sum_q |x_q|^2)``, x being the signals themselves. None turns the guard off,
        as the paper has it.

    Examples
    --------
    >>> STDP(lr=0.1).cap
    0.5
    """

    cap: float | None = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cap is not None:
            positive(self.cap, "cap", "STDP")

    @property
    def limit(self) -> float:
        """The guard's cap, inf for none."""
        return math.inf if self.cap is None else self.cap

    def coefficients(self, taus: tuple[float, float]) -> tuple[float, float, float]:
        """Return ``-c`` three times: every pair of spikes counts once."""
        from eventnet.engine import equations as eq

        gain = -eq.trace_window(*taus)
        return gain, gain, gain

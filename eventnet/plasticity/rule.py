"""What every learning rule is: parameters, and how a projection's weights change when spikes arrive."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from eventnet.errors import ConfigError

if TYPE_CHECKING:
    from eventnet.engine.synapses import Spikes, Synapses
    from eventnet.network import Projection


class Traces:
    """The two decoded traces of a projection: `x_hat` of its spikes, `e_hat` of its errors.

    They are those just before the spikes that arrive, and decay only when some do.
    """

    def __init__(self, synapses: Synapses, t0: float) -> None:
        self.clock = t0
        self.x_hat = [0.0] * synapses.source.size
        self.e_hat = [0.0] * synapses.target.size

    def fade(self, t: float, taus: tuple[float, float]) -> None:
        """Bring both traces to time `t`."""
        from eventnet.engine import equations as eq

        factors = [eq.decay(t - self.clock, tau) for tau in taus]
        self.x_hat = [eq.fade(trace, factors[0]) for trace in self.x_hat]
        self.e_hat = [eq.fade(trace, factors[1]) for trace in self.e_hat]
        self.clock = t


@dataclass(frozen=True)
class Rule:
    """A learning rule; subclass it and write `change` to make one for the reference engine.

    Parameters
    ----------
    lr : float
        Learning rate per second: the slope of w against the integral of input times error.

    Examples
    --------
    Weights that follow the input wherever an error spike arrives, without a window:

    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Delta(Rule):
    ...     def change(self, synapses, x, e):
    ...         for j, amount in e.items():
    ...             for i, trace in enumerate(synapses.memory.x_hat):
    ...                 synapses.add(i, j, -synapses.lr * trace * amount)
    >>> import eventnet as en
    >>> net = en.Network(tau=0.1)
    >>> x, y = net.sensor("x", 1, step=0.1), net.output("y", 1, error_step=0.1)
    >>> sim = en.Simulation(net, plasticity=Delta(lr=1.0), engine="actors")
    """

    lr: float

    compiled: ClassVar[str | None] = None
    """Which kernel of the compiled engine applies it; None: it runs in the reference engine only."""

    error_driven: ClassVar[bool] = True
    """True: it pairs input with error spikes; False: with the target's own spikes."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.lr) and self.lr >= 0):
            raise ConfigError(f"lr={self.lr} on {self.name}: must be >= 0 and finite")

    @property
    def name(self) -> str:
        """The name of its class."""
        return type(self).__name__

    def taus(self, projection: Projection) -> tuple[float, float]:
        """Return the time constants (s) with which the two traces of a projection decay."""
        return projection.source.tau, projection.target.error_tau

    def units(self, projection: Projection) -> tuple[float, float]:
        """Return how much one presynaptic and one postsynaptic spike of count 1 add to the traces."""
        assert projection.error_step is not None
        return projection.source.step, projection.error_step

    def check(self, projection: Projection) -> None:
        """Refuse, with a ConfigError, a projection on which the rule cannot work."""

    def start(self, synapses: Synapses, t0: float) -> Any:
        """Return what the rule remembers of a projection, at rest."""
        return Traces(synapses, t0)

    def change(self, synapses: Synapses, x: dict[int, float], e: dict[int, float]) -> None:
        """Change weights by the spikes of this instant, given as {neuron: unit times count}.

        ``synapses.memory`` holds the traces just before them, ``synapses.add(i, j, amount)`` changes
        a weight within its bounds, ``synapses.lr`` is the projection's learning rate.
        """
        raise NotImplementedError(f"{self.name} has no change(synapses, x, e)")

    def gauge(self, synapses: Synapses, t: float, spikes: Spikes) -> None:
        """Take note of the spikes that arrive at `t`, on every projection before any learns."""

    def learn(self, synapses: Synapses, t: float, spikes: Spikes, errors: Spikes) -> bool:
        """Run the rule once for what arrived at `t`; return whether a guard held the rate back."""
        memory = synapses.memory
        memory.fade(t, synapses.taus)
        x: dict[int, float] = {}
        for i, count in spikes:  # spikes under way can arrive together: two of one neuron are one
            x[i] = x.get(i, 0.0) + synapses.units[0] * count
        e = {j: synapses.units[1] * count for j, count in errors}
        self.change(synapses, x, e)
        for i, amount in x.items():
            memory.x_hat[i] += amount
        for j, amount in e.items():
            memory.e_hat[j] += amount
        return False

    def finish(self, synapses: Synapses) -> None:
        """Add what the traces would still bring if no further spike came; then they start at rest."""

    def bring_up_to_date(self, synapses: Synapses, i: int) -> None:
        """Book what row `i` is owed, before it is read."""

    def read(self, synapses: Synapses, i: int, k: int) -> float:
        """Return the k-th weight of row `i` with what it is owed."""
        return synapses.weight(i, k)


def decodes(rule: Rule, projection: Projection) -> bool:
    """Return whether the presynaptic traces of a rule are decoded signals, not counts."""
    return rule.units(projection)[0] == projection.source.step


def window(synapses: Synapses) -> float:
    """Return ``c = tau_x*tau_e/(tau_x+tau_e)`` of a projection, s."""
    from eventnet.engine import equations as eq

    area: float = eq.trace_window(*synapses.taus)
    return area

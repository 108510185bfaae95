"""The gradient of the signals themselves, without a single spike: what the spiking rules approximate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventnet.errors import ConfigError
from eventnet.plasticity.rule import Rule

if TYPE_CHECKING:
    from eventnet.engine.synapses import Spikes, Synapses
    from eventnet.network import Projection

Curve = list[tuple[float, float]]
"""A signal from now on: the sum of ``amplitude*exp(-s/tau)``; tau = inf: it holds."""


@dataclass(frozen=True)
class TrueGradient(Rule):
    """Every synapse follows the integral of the true input times the true error::

        dw/dt = -lr * x*e

    x and e are the signals that the coders encode, not what the receivers decode. Between events both
    are sums of exponentials, so that the integral is a closed form. It reads signals that no neuron
    could see: for tests, in the reference engine only, without delays.

    Examples
    --------
    >>> TrueGradient(lr=0.1).compiled is None
    True
    """

    def check(self, projection: Projection) -> None:
        """Refuse delays, and sources, which have no signal."""
        if projection.delay > 0 or projection.error_delay > 0:
            raise ConfigError(f"{projection.name}: TrueGradient knows no delays; use another rule")
        if projection.source.kind == "source":
            raise ConfigError(
                f"{projection.name}: TrueGradient needs a signal, and {projection.source.name} has "
                "only spikes; use another rule"
            )

    def learn(self, synapses: Synapses, t: float, spikes: Spikes, errors: Spikes) -> bool:
        """Do nothing: spikes are not what it learns from."""
        return False

    def integrate(
        self, synapses: Synapses, elapsed: float, inputs: list[Curve], errors: list[Curve]
    ) -> None:
        """Add the area of so many seconds under the signals as they stood at the beginning."""
        for i, row in enumerate(synapses.targets):
            for k, j in enumerate(row):
                area = sum(
                    a * b * _area(elapsed, tau, error_tau)
                    for a, tau in inputs[i]
                    for b, error_tau in errors[j]
                )
                synapses.add_at(i, k, -synapses.lr * area)


def _area(elapsed: float, tau: float, error_tau: float) -> float:
    rate = 1.0 / tau + 1.0 / error_tau
    return -math.expm1(-elapsed * rate) / rate if rate > 0.0 else elapsed

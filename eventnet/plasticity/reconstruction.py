"""The rule to whose sum the efficient ones must come: the integral of the two decoded traces."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eventnet.plasticity.rule import Rule, window

if TYPE_CHECKING:
    from eventnet.engine.synapses import Spikes, Synapses


@dataclass(frozen=True)
class Reconstruction(Rule):
    """Every synapse follows the integral of the decoded input times the decoded error (Eq. 9)::

        dw/dt = -lr * x_hat*e_hat

    Between spikes the product decays with c = tau_x*tau_e/(tau_x+tau_e), so that over d seconds
    ``dw = -lr*c*(1 - exp(-d/c)) * x_hat*e_hat``. It touches all synapses at every spike: the oracle of
    the other rules, not a fast one.

    Examples
    --------
    >>> Reconstruction(lr=0.1).name
    'Reconstruction'
    """

    compiled: ClassVar[str | None] = "reconstruction"

    def learn(self, synapses: Synapses, t: float, spikes: Spikes, errors: Spikes) -> bool:  # noqa: D102
        self._integrate(synapses, t - synapses.memory.clock)
        return super().learn(synapses, t, spikes, errors)

    def change(self, synapses: Synapses, x: dict[int, float], e: dict[int, float]) -> None:
        """Do nothing: spikes only move the traces."""

    def finish(self, synapses: Synapses) -> None:  # noqa: D102
        self._integrate(synapses, math.inf)

    def _integrate(self, synapses: Synapses, elapsed: float) -> None:
        memory, c = synapses.memory, window(synapses)
        gain = synapses.lr * c * math.expm1(-elapsed / c)
        for i, row in enumerate(synapses.targets):
            scale = gain * memory.x_hat[i]
            for k, j in enumerate(row):
                synapses.add_at(i, k, scale * memory.e_hat[j])

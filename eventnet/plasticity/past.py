"""The paper's "past updates" (Eq. 19, corrected): the area since a synapse was last touched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from eventnet.plasticity.rule import Rule, Traces, window

if TYPE_CHECKING:
    from eventnet.engine.synapses import Synapses


class OpenAreas(Traces):
    """The traces, and per synapse their product after its last spike."""

    def __init__(self, synapses: Synapses, t0: float) -> None:
        super().__init__(synapses, t0)
        self.u = [[0.0] * len(row) for row in synapses.targets]


@dataclass(frozen=True)
class Past(Rule):
    """Each spike adds the area under ``x_hat*e_hat`` since its synapses were last touched.

    Between touches the product only decays, with c = tau_x*tau_e/(tau_x+tau_e), so that with its
    value u after the last touch and its value now::

        dw = -lr*c * (u - x_hat*e_hat),      then  u <- (x_hat + x_s)*(e_hat + e_s)

    on the rows of the neurons that fire and the columns of the error spikes, each synapse once (Eq.
    19; printed there with u taken before the spike, which leaves nothing). The area still open at
    the end is added by `Simulation.finish`.

    Examples
    --------
    >>> Past(lr=0.1).lr
    0.1
    """

    compiled: ClassVar[str | None] = "past"

    def start(self, synapses: Synapses, t0: float) -> OpenAreas:  # noqa: D102
        return OpenAreas(synapses, t0)

    def change(self, synapses: Synapses, x: dict[int, float], e: dict[int, float]) -> None:  # noqa: D102
        memory = synapses.memory
        gain = -(synapses.lr * window(synapses))
        for i, row in enumerate(synapses.targets):
            after = memory.x_hat[i] + x.get(i, 0.0)
            for k, j in enumerate(row):
                if i in x or j in e:
                    product = memory.x_hat[i] * memory.e_hat[j]
                    synapses.add_at(i, k, gain * (memory.u[i][k] - product))
                    memory.u[i][k] = after * (memory.e_hat[j] + e.get(j, 0.0))

    def finish(self, synapses: Synapses) -> None:  # noqa: D102
        gain = -(synapses.lr * window(synapses))
        for i, row in enumerate(synapses.memory.u):
            for k, area in enumerate(row):
                synapses.add_at(i, k, gain * area)

"""Learning rules. The equation that both engines apply is `plasticity_stage` in engine/kernels.py."""

from __future__ import annotations

from dataclasses import dataclass

from eventnet.errors import ConfigError
from eventnet.network import positive


@dataclass(frozen=True)
class STDP:
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
        The guard: per projection the rate in use is ``min(lr, cap/(c*max(N, J/2)))``, where N is
        the sum of squares of the presynaptic traces and J that of the presynaptic spikes, fading
        with the sender's tau: it is jumps of the input that destabilize the rule, at
        ``lr*c*J/2 > 1``. None turns the guard off.

    Examples
    --------
    >>> STDP(lr=0.1).cap
    0.5
    """

    lr: float
    cap: float | None = 0.5

    def __post_init__(self) -> None:
        if not (self.lr >= 0 and self.lr < float("inf")):
            raise ConfigError(f"lr={self.lr} on STDP: must be >= 0 and finite")
        if self.cap is not None:
            positive(self.cap, "cap", "STDP")

"""Classic pair STDP (Markram et al. 1997; Song, Miller and Abbott 2000): unsupervised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventnet.network import positive
from eventnet.plasticity.stdp import BookedRule

if TYPE_CHECKING:
    from eventnet.network import Projection


@dataclass(frozen=True)
class PairSTDP(BookedRule):
    """Every pair of a presynaptic and a postsynaptic spike changes their synapse, by its order::

        dw = lr * a_plus*exp(-dt/tau_plus)      where dt = t_post - t_pre >= 0
        dw = -lr * a_minus*exp(dt/tau_minus)    where dt < 0

    All pairs count. A spike of count s is s spikes, with its sign: two negative spikes pair like two
    positive ones. It needs neither errors nor a teacher, and leaves projections to outputs alone,
    which do not spike.

    Parameters
    ----------
    lr : float
        Scale of both amplitudes, weight per pair.
    a_plus, a_minus : float
        Amplitudes, >= 0.
    tau_plus, tau_minus : float
        Windows, s.

    Examples
    --------
    >>> PairSTDP(lr=0.01).a_minus
    1.05
    """

    a_plus: float = 1.0
    a_minus: float = 1.05
    tau_plus: float = 0.02
    tau_minus: float = 0.02

    error_driven = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tau_plus", "tau_minus"):
            positive(getattr(self, name), name, self.name, " s")
        for name in ("a_plus", "a_minus"):
            if getattr(self, name) != 0:
                positive(getattr(self, name), name, self.name)

    def taus(self, projection: Projection) -> tuple[float, float]:  # noqa: D102
        return self.tau_plus, self.tau_minus

    def units(self, projection: Projection) -> tuple[float, float]:  # noqa: D102
        return 1.0, 1.0

    def coefficients(self, taus: tuple[float, float]) -> tuple[float, float, float]:
        """Return what a row, a column and a coincident pair add: cause before effect."""
        return -self.a_minus, self.a_plus, self.a_plus

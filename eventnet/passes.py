"""A network that learns one set of samples pass after pass, its learning rate falling with them."""

from __future__ import annotations

from eventnet.errors import ConfigError
from eventnet.simulation import Run, Simulation

LR_SCALES = (1.0, 0.5, 0.2)
"""By which learning rates fall, each for a third of the passes."""


def lr_scale(number: int, passes: int) -> float:
    """Return by how much learning rates are scaled in a pass, counted from 0.

    Examples
    --------
    >>> [lr_scale(number, 6) for number in range(6)]
    [1.0, 1.0, 0.5, 0.5, 0.2, 0.2]
    """
    return LR_SCALES[number * len(LR_SCALES) // passes]


class Passes:
    """A simulation on a clock, a tick a sample, that learns `passes` times the same `frames` samples.

    Parameters
    ----------
    sim : Simulation
        To be fed and taught with all passes.
    frames : int
        Samples in a pass.
    rate : float
        Samples a second.
    passes : int

    Raises
    ------
    ConfigError
        If there is no pass.

    Attributes
    ----------
    done : int
        Passes that are over.
    """

    def __init__(self, sim: Simulation, frames: int, rate: float, passes: int) -> None:
        if passes < 1:
            raise ConfigError(f"passes={passes}: must be >= 1")
        self.sim, self.frames, self.rate, self.done = sim, frames, rate, 0
        for number in range(1, passes):
            scale = lr_scale(number, passes)
            if scale != lr_scale(number - 1, passes):
                sim.scale_lr(scale, at=self.end(number))

    def end(self, passes: int) -> float:
        """Return when so many passes are over, s."""
        return (passes * self.frames - 0.5) / self.rate

    def learn(self) -> Run:
        """Learn a pass."""
        self.done += 1
        return self.sim.run(until=self.end(self.done))

"""Closed loops: an output drives a plant, whose readings come back as sensors and targets.

The plant, a simulator or a machine, goes on from one control stamp to the next under a command that is
held. What it measures on the way comes back at the stamps that it gives: on time, or after a latency.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import ConfigError, DataError
from eventnet.network import Population, positive
from eventnet.sources import asked, whole
from eventnet.world import READ, WRITE, World, check_values, without_state

Floats = NDArray[np.float64]
Reading = tuple[str, float, ArrayLike]
"""Name of a sensor (or, with a target, of an output), time stamp in s, values of its size."""


class Plant(Protocol):
    """What an output drives."""

    feeds: tuple[str, ...]
    """The sensors that it gives readings, and the outputs that it gives targets."""

    def advance(self, time: float, until: float, command: Floats) -> Iterable[Reading]:
        """Go on from `time` to `until` (s) under a held command; return what is measured meanwhile.

        Readings may have any order, and stamps beyond `until`: those wait.
        """
        ...

    def state(self) -> dict[str, Any]:
        """Return all that `advance` changes, as plain data and arrays."""
        ...

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        ...


class Loop:
    """The process that reads an output at a rate, lets the plant go on, and writes its readings.

    At each control stamp ``t0 + k/rate`` the instant settles first; then the output is read. A reading of
    that stamp is thus in the command already.
    """

    def __init__(
        self,
        output: Population,
        plant: Plant,
        populations: Mapping[str, Population],
        rate: float,
        t0: float,
    ) -> None:
        self.output = output
        self.plant = plant
        self.populations = populations
        self.rate = positive(rate, "rate", f"the loop of {output.name}", " Hz")
        self.t0 = t0
        self.k = 0
        self._waiting: list[tuple[float, int, str, Floats]] = []  # a heap, by stamp
        self._taken = 0  # readings so far: those of one stamp keep their order

    def _control_time(self) -> float:
        return self.t0 + self.k / whole(self.rate)

    def _reading_time(self) -> float:
        return self._waiting[0][0] if self._waiting else math.inf

    @property
    def priority(self) -> int:
        """Readings are written before the instant of their stamp runs, the output is read after it."""
        return WRITE if self._reading_time() <= self._control_time() else READ

    def next_time(self) -> float:
        """Return the stamp of the next reading or command."""
        return min(self._reading_time(), self._control_time())

    def act(self, world: World, time: float) -> None:
        """Write the readings of this stamp, or read the output and let the plant go on."""
        if self.priority == READ:
            command = world.read(self.output, time)
            self.k += 1
            with asked(f"at t={time:.9g} s: the plant of {self.output.name}"):
                readings = list(self.plant.advance(time, self._control_time(), command))
            for name, stamp, values in readings:
                self._take(name, stamp, values, time)
            return
        stamp = self._reading_time()
        while self._reading_time() == stamp:
            _, _, name, values = heappop(self._waiting)
            world.deliver(self.populations[name], values, time)

    def _take(self, name: str, stamp: float, values: ArrayLike, time: float) -> None:
        population = self.populations.get(name)
        if population is None:
            raise ConfigError(
                f"the plant of {self.output.name} gave a reading of {name!r}: name it in its feeds"
            )
        array = np.array(values, dtype=np.float64).reshape(-1)
        if array.size != population.size:
            raise DataError(
                f"{array.size} values for {name} at t={stamp:.9g} s: its size is {population.size}"
            )
        if not time < stamp < math.inf:
            raise DataError(
                f"the plant gave a reading of {name} the stamp {stamp} s at t={time:.9g} s: must be "
                "finite and after the command"
            )
        if not np.isfinite(array).all():
            check_values(population, array[None, :], f"at t={stamp:.9g} s")
        heappush(self._waiting, (stamp, self._taken, name, array))
        self._taken += 1

    def state(self) -> dict[str, Any]:
        """Return the commands given, what is under way, and the plant's own state."""
        waiting = [(t, k, name, values.copy()) for t, k, name, values in sorted(self._waiting)]
        if not (hasattr(self.plant, "state") and hasattr(self.plant, "restore")):
            raise without_state(f"the plant of {self.output.name}")
        return {"k": self.k, "taken": self._taken, "waiting": waiting, "plant": self.plant.state()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.k = int(saved["k"])
        self._taken = int(saved["taken"])
        self._waiting = [(t, k, name, np.array(values)) for t, k, name, values in saved["waiting"]]
        self.plant.restore(saved["plant"])

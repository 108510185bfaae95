"""The engines: ``actors``, the readable reference, and ``compiled``, the fast one; a clocked one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.network import SCALES, Scales, unknown
from eventnet.sources import Source

ENGINES = ("compiled", "actors")

Floats = NDArray[np.float64]
Take = Callable[[int, Floats], None]
Sink = Callable[[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]], None]


class Engine(Protocol):
    """What the world needs of an engine; the engines document each."""

    name: str
    learning: bool

    @property
    def counters(self) -> Any: ...  # noqa: D102
    def feed(self, population: int, source: Source) -> None: ...  # noqa: D102
    def write(self, population: int, values: Floats, time: float) -> None: ...  # noqa: D102
    def advance(self, until: float, inclusive: bool = False) -> None: ...  # noqa: D102
    def read(self, population: int, time: float) -> Floats: ...  # noqa: D102
    def watch(self, populations: Sequence[int], times: Sequence[Floats], take: Take) -> None:
        """Run up to and with the last of `times` and read, each at its time, after its instant.

        Parameters
        ----------
        populations : sequence of int
            One a probe.
        times : sequence of ndarray
            Of each probe, increasing, none before what has run, s.
        take : callable
            Is given a probe's place and readings (n, size), once or in pieces; when the run
            diverges, those before.
        """

    def weights(self, projection: int) -> Floats: ...  # noqa: D102
    def set_weights(self, projection: int, weights: Floats) -> None: ...  # noqa: D102
    def scale_lr(self, factor: float) -> None: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102
    def reset(self) -> None: ...  # noqa: D102
    def state(self) -> dict[str, Any]: ...  # noqa: D102
    def restore(self, saved: dict[str, Any]) -> None: ...  # noqa: D102


def make_engine(
    name: str,
    plan: Any,
    sink: Sink | None,
    clock: float | None = None,
    adapt: float = 0.0,
    price: float = 0.0,
    scales: Scales = "population",
) -> Engine:
    """Build the engine called `name` for a `Plan`.

    Its spikes go to `sink`; None: they are counted, but not kept. With `clock` (s) it is the paper's
    algorithm, with scales that adapt at the rate `adapt` a tick, or that are learned by the `price` of
    an addition.
    """
    if name not in ENGINES:
        raise unknown("engine", name, ENGINES)
    if clock is not None:
        if name == "actors":
            raise ConfigError(
                f"clock={clock} s with engine='actors': the reference engine has no clock, each of its "
                "neurons acts at times of its own; take engine='compiled' or leave the clock"
            )
        from eventnet.engine.clocked import ClockedEngine

        return ClockedEngine(plan, sink, clock, adapt, price, scales)
    if adapt:
        raise ConfigError(
            f"adapt={adapt} without a clock: scales adapt once a tick (Eq. 21); give clock=dt"
        )
    slow = next((p for p in plan.populations if p.slowness), None)
    if slow is not None:
        raise ConfigError(
            f"slowness={slow.slowness:g} on {slow.name} without a clock: it is a penalty on changes from "
            "tick to tick; give clock=dt"
        )
    tapped = next((p for p in plan.populations if p.taps), None)
    if tapped is not None:
        raise ConfigError(
            f"taps={tapped.taps} on {tapped.name} without a clock: they predict from the last two ticks; "
            "give clock=dt, or tau in place of taps"
        )
    if scales not in SCALES:
        raise unknown("scales", scales, SCALES)
    own_steps = price > 0 and scales == "neuron"
    if name == "compiled":
        from eventnet.engine.compiled import CompiledEngine

        return CompiledEngine(plan, sink or _forget, own_steps)
    from eventnet.engine.actors import ActorsEngine

    return ActorsEngine(plan, sink or _forget, own_steps)


def _forget(*batch: Any) -> None:
    """Take a batch of spikes that nobody wants to keep."""

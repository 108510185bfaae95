"""The two engines: ``actors``, the readable reference, and ``compiled``, the fast one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from eventnet.network import unknown
from eventnet.sources import Source

ENGINES = ("compiled", "actors")

Floats = NDArray[np.float64]
Sink = Callable[[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]], None]


class Engine(Protocol):
    """What the world needs of an engine; `CompiledEngine` and `ActorsEngine` document each."""

    name: str
    counters: Any
    learning: bool

    def feed(self, population: int, source: Source) -> None: ...  # noqa: D102
    def write(self, population: int, values: Floats, time: float) -> None: ...  # noqa: D102
    def advance(self, until: float, inclusive: bool = False) -> None: ...  # noqa: D102
    def read(self, population: int, time: float) -> Floats: ...  # noqa: D102
    def weights(self, projection: int) -> Floats: ...  # noqa: D102
    def set_weights(self, projection: int, weights: Floats) -> None: ...  # noqa: D102
    def scale_lr(self, factor: float) -> None: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102
    def reset(self) -> None: ...  # noqa: D102
    def state(self) -> dict[str, Any]: ...  # noqa: D102
    def restore(self, saved: dict[str, Any]) -> None: ...  # noqa: D102


def make_engine(name: str, plan: Any, sink: Sink) -> Engine:
    """Build the engine called `name` for a `Plan`; its spikes go to `sink`."""
    if name == "compiled":
        from eventnet.engine.compiled import CompiledEngine

        return CompiledEngine(plan, sink)
    if name == "actors":
        from eventnet.engine.actors import ActorsEngine

        return ActorsEngine(plan, sink)
    raise unknown("engine", name, ENGINES)

"""The state of an engine in one form, so that each invariant is said once for both engines.

n neurons, G time constants, S synapses; rows first, as the plan lists them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass
class Coder:
    """The encoders of one population: their residuals, and the curves on which these move.

    From `anchor` on ``phi + gain*(level*s/tau + sum_g A_g*(1 - exp(-s/tau_g)))``: see
    `equations.travelled`.
    """

    where: str
    theta: float
    tau: float  # s
    phi: Floats  # (n,)
    anchor: Floats  # (n,) s
    cross: Floats  # (n,) s
    side: Floats  # (n,)
    gain: Floats  # (n,) h'/step
    level: Floats  # (n,) the part of the signal that does not decay
    amplitude: Floats  # (G, n)
    taus: Floats  # (G,) s


@dataclass
class Sensor:
    """Neurons that hold a reading."""

    where: str
    theta: float
    tau: float  # s
    step: Floats  # (n,)
    x: Floats  # (n,)
    period: Floats  # (n,) s
    phi: Floats  # (n,)
    cross: Floats  # (n,) s


@dataclass
class Decoder:
    """The traces of one population, as of `clock`."""

    where: str
    clock: float  # s
    traces: Floats  # (G, n)
    taus: Floats  # (G,) s

    def at(self, time: float | Floats) -> Floats:
        """Return the traces at `time`, (G, n)."""
        elapsed = np.maximum(np.asarray(time) - self.clock, 0.0)
        faded: Floats = self.traces * np.exp(-elapsed / self.taus[:, None])
        return faded


@dataclass
class Layer:
    """A layer's activations."""

    where: str
    decoder: Decoder
    coder: Coder
    bias: Floats  # (n,)
    leak: float
    active: Bools  # (n,)
    turn: Floats  # (n,) s


@dataclass
class Output:
    """An output: it decodes."""

    where: str
    decoder: Decoder
    bias: Floats  # (n,)


@dataclass
class LayerError:
    """The errors that come back to a layer."""

    where: str
    decoder: Decoder
    coder: Coder
    gate: Bools  # (n,)
    active: Bools  # (n,) of the layer itself


@dataclass
class Loss:
    """The error of an output; softmax holds it in `e` and evaluates it again at `timer`."""

    where: str
    output: Output
    coder: Coder
    on: Bools  # (n,) a target is in force
    y: Floats  # (n,)
    softmax: bool
    e: Floats  # (n,)
    timer: float  # s
    tolerance: float


@dataclass
class Ledger:
    """What a rule that books late remembers of a projection (`plasticity.stdp.Ledger`)."""

    origin: float  # s
    clock: float  # s
    charge: Floats  # (n_in,)
    owed: Floats  # (n_out,)
    booked: Floats  # (S,)
    post: Floats  # (n_out,)
    version: int
    seen: Integers  # (n_in,)
    power: float
    jumps: float


@dataclass
class Traces:
    """What the other rules remember of a projection: x_hat, e_hat and the past rule's u."""

    clock: float  # s
    x_hat: Floats  # (n_in,)
    e_hat: Floats  # (n_out,)
    u: Floats | None  # (S,)


@dataclass
class Flights:
    """Spikes under way, in the order in which they are kept."""

    where: str
    delay: float  # s
    size: int  # neurons of their sender
    time: Floats  # s, of arrival
    neuron: Integers
    quanta: Floats


@dataclass
class Projection:
    """A projection's weights and what its rule remembers."""

    where: str
    weights: Floats  # (S,)
    pre: Integers  # (S,) the two ends of every synapse
    post: Integers
    positions: Floats  # (n_in,) how often a shared kernel sees it, else 1
    bounds: tuple[float, float] | None
    rate: float  # 1/s
    taus: tuple[float, float]  # s, of the rule's traces; 0 where there is none
    memory: Ledger | Traces | None
    flights: Flights
    error_flights: Flights
    counters: Integers  # (PROJECTION_COUNTERS,)
    sent: Integers  # (POPULATION_COUNTERS,) of its source
    returned: Integers  # and of its target


@dataclass
class View:
    """The state of one network between two instants."""

    t0: float  # s
    now: float  # s, the last instant that was run
    started: bool
    learning: bool
    sensors: list[Sensor] = field(default_factory=list)
    layers: list[Layer] = field(default_factory=list)
    outputs: list[Output] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    errors: list[LayerError] = field(default_factory=list)
    projections: list[Projection] = field(default_factory=list)
    ahead: dict[str, float] = field(default_factory=dict)  # samples and writes to come, s


def demand(invariant: str, where: str, holds: Any, value: Any) -> None:
    """Raise an AssertionError that names the invariant, the place and the value, unless all hold."""
    ok = np.asarray(holds)
    if ok.all():
        return
    values = np.broadcast_to(np.asarray(value), ok.shape)
    first = tuple(int(k) for k in np.argwhere(~ok)[0])
    place = f"[{', '.join(map(str, first))}]" if first else ""
    raise AssertionError(f"{invariant}: {where}{place} = {values[first]!r}")

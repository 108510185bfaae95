"""Shared kernels in the compiled engine: a synapse finds its weight by its place in the kernel."""

from __future__ import annotations

from eventnet.engine.arrays import BACKWARD
from eventnet.engine.jit import Array, inlined, kernel
from eventnet.engine.learning import Synapses, count, count_forward, row_of


@kernel
def take_row(weights: Array, share: Array, room: Array) -> None:
    """Write the weights of some synapses side by side (writes room)."""
    for k in range(share.shape[0]):
        room[k] = weights[share[k]]


@inlined
def add_shared_rows(
    step: float,
    synapses: Synapses,
    neuron: Array,
    quanta: Array,
    first: int,
    n: int,
    arrived: Array,
) -> None:
    """Add the patches of the neurons that fired to `arrived`, neurons ascending."""
    weights, share, reach = synapses.weights, synapses.share, synapses.reach
    for k in range(first, first + n):
        scale = step * quanta[k]
        a, b = row_of(neuron[k], synapses)
        for m in range(a, b):
            arrived[reach[m]] += scale * weights[share[m]]
    count_forward(synapses, neuron, quanta, first, n)


@inlined
def add_shared_columns(
    step: float,
    synapses: Synapses,
    neuron: Array,
    quanta: Array,
    first: int,
    n: int,
    arrived: Array,
    row: Array,
    place: Array,
) -> None:
    """Add the patches of the error spikes to `arrived` (Eq. 12), errors ascending."""
    span, weights, share = synapses.columns, synapses.weights, synapses.share
    none = synapses.own[:0]
    count(synapses.counts, BACKWARD, quanta, neuron, first, n, arrived.shape[0], True, span, none)
    for k in range(first, first + n):
        scale = step * quanta[k]
        for m in range(span[neuron[k]], span[neuron[k] + 1]):
            arrived[row[m]] += scale * weights[share[place[m]]]

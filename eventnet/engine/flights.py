"""The spikes of an instant, and those under way on projections with a delay."""

from __future__ import annotations

import numpy as np

from eventnet.engine.arrays import Buffer, Fired, Flights
from eventnet.engine.jit import Array, inlined, kernel


@inlined
def emit(
    t: float, code: int, p: int, first: int, j: int, s: float, fired: Fired, buffer: Buffer
) -> None:
    """Note that neuron `j` of `p` fired `s`; `first` is its offset (writes fired and buffer)."""
    n = fired.number[p]
    fired.neuron[first + n] = j
    fired.quanta[first + n] = s
    fired.number[p] = n + 1
    k = buffer.used[0]
    buffer.time[k] = t
    buffer.population[k] = code
    buffer.neuron[k] = j
    buffer.quanta[k] = np.int32(s)
    buffer.used[0] = k + 1


@kernel
def weigh(p: int, first: int, own: Array, spent: Array, fired: Fired) -> None:
    """Let the counts of `p`, whose neurons have steps of their own, be times these (writes spent)."""
    for k in range(first, first + fired.number[p]):
        j = fired.neuron[k]
        spent[j] += abs(fired.quanta[k])
        fired.quanta[k] *= own[j]


@inlined
def arriving(
    q: int, delay: float, sender: int, first: Array, fired: Fired, flights: Flights
) -> tuple[Array, Array, int, int]:
    """Return the spikes that reach projection `q` now: neurons, counts, where they begin, how many."""
    if delay > 0.0:
        return flights.neuron, flights.quanta, flights.first[q] + flights.head[q], flights.landed[q]
    return fired.neuron, fired.quanta, first[sender], fired.number[sender]


@kernel
def land(t: float, delayed: Array, flights: Flights) -> None:
    """Count what arrives at `t` on each delayed projection (writes landed)."""
    for m in range(delayed.shape[0]):
        q = delayed[m]
        flights.landed[q] = 0
        k = flights.first[q] + flights.head[q]
        end = flights.first[q] + flights.tail[q]
        while k < end and flights.time[k] == t:
            flights.landed[q] += 1
            k += 1


@kernel
def depart(
    t: float,
    delayed: Array,
    delays: Array,
    sender: Array,
    first: Array,
    fired: Fired,
    flights: Flights,
) -> None:
    """Drop what has landed and send this instant's spikes on their way (writes flights)."""
    for m in range(delayed.shape[0]):
        q = delayed[m]
        flights.head[q] += flights.landed[q]
        n = fired.number[sender[q]]
        base = flights.first[q]
        if flights.tail[q] + n > flights.first[q + 1] - base:
            held = flights.tail[q] - flights.head[q]
            for k in range(held):
                flights.time[base + k] = flights.time[base + flights.head[q] + k]
                flights.neuron[base + k] = flights.neuron[base + flights.head[q] + k]
                flights.quanta[base + k] = flights.quanta[base + flights.head[q] + k]
            flights.head[q] = 0
            flights.tail[q] = held
        for k in range(n):
            place = base + flights.tail[q] + k
            flights.time[place] = t + delays[q]
            flights.neuron[place] = fired.neuron[first[sender[q]] + k]
            flights.quanta[place] = fired.quanta[first[sender[q]] + k]
        flights.tail[q] += n


@kernel
def lacks_room(delayed: Array, sender: Array, first: Array, flights: Flights) -> bool:
    """Return whether the spikes of one instant might not find room on some projection."""
    for m in range(delayed.shape[0]):
        q = delayed[m]
        held = flights.tail[q] - flights.head[q]
        size = first[sender[q] + 1] - first[sender[q]]
        if held + size > flights.first[q + 1] - flights.first[q]:
            return True
    return False


@kernel
def next_landing(delayed: Array, flights: Flights) -> float:
    """Return when the next spike under way arrives, inf if there is none."""
    t = np.inf
    for m in range(delayed.shape[0]):
        q = delayed[m]
        if flights.head[q] < flights.tail[q]:
            t = min(t, flights.time[flights.first[q] + flights.head[q]])
    return t

"""The clocked engine: the paper's algorithm, one sparse forward and backward pass a tick.

The equations are those of O'Connor et al. (2018) as their program ran them; Eqs. 19 and 20 are
corrected (docs/theory.md). Within a tick, with ``k_alpha = exp(-dt/tau)`` and ``k_beta`` of each coder
as they stood when it began:

* encode ``a = kp*x + kd*(x - x_last)`` (Eq. 4), quantize ``p = phi + a; s = round(p); phi = p - s``
  (Eq. 3, halves to the even number), decode ``y <- k_alpha*y + k_beta*(s @ W)``, ``z = b + y``
  (Eq. 5, 7): the bias stands outside the decoder;
* output error ``dL/dz``, hidden error ``h'(z)*decode(s_e @ W.T)`` (Eq. 12), each through its own coder;
* plasticity, one of four rules whose sums over time agree; weights are read before any is changed;
* learned biases, ``b -= lr*dt*e`` with the raw error, and adaptive scales (Eq. 21).

`tick` runs these stages once; `advance` is the main loop. Weights are float64. What the
future rule changes waits, as two vectors a tick, and is written every few ticks (`wait`, `book_all`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventnet.engine import arrays
from eventnet.engine.plan import Plan
from eventnet.errors import ConfigError, Diverged
from eventnet.network import positive
from eventnet.sources import Source

Array = NDArray[Any]
Floats = NDArray[np.float64]
Sink = Callable[[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]], None]

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function of this module, and keep its type for the checker."""
    # As `jit.kernel`; but nothing here calls another file, so that Numba's own cache stamp is enough.
    compiled: Function = njit(cache=True, _nrt=False)(function)
    return compiled


def summing(function: Function) -> Function:
    """Compile a sum whose order the compiler may choose, so that it runs on vectors."""
    compiled: Function = njit(cache=True, _nrt=False, fastmath={"reassoc", "contract"})(function)
    return compiled


ROUNDING = 6755399441055744.0
"""1.5*2**52: adding and subtracting it rounds |p| < 2**51 to whole numbers, halves to even."""

MAX_COUNT = 2147483647.0
"""The largest spike count that a raster's int32 can hold."""

TINY = 1e-290
"""A decayed trace smaller than this is zero: denormal numbers would slow every later pass."""

FORGOTTEN = 1e-25
"""A presynaptic trace of fewer spikes than this is zero when changes are booked: far below rounding."""

WINDOW = 16
"""Ticks for which changes of weights may wait, at most; constant, so that loops over it unroll."""

WINDOW_FADE = 2.0**-16
"""How far a presynaptic trace may decay within a window: that many bits `wait` may cancel."""

WIDE = 32
"""Postsynaptic neurons from which on a row of weights is worth adding by itself."""

BLOCK_VALUES = 1 << 18
"""Values that one feed hands over at a time: bounds memory whatever the recording's length."""

BUFFER_ROWS = 1 << 16

# Status codes that `advance` returns.
DONE, BUFFER_FULL, NEEDS_SAMPLES, DIVERGED = 0, 1, 2, 3

SENSOR, LAYER, OUTPUT = 0, 1, 2

RULES = {"STDP": 0, "Past": 1, "Reconstruction": 2, "TrueGradient": 3}
FUTURE, PAST, RECONSTRUCTION, TRUE = range(4)

# Columns of what is counted of a population; the learned ones while learning is on.
EVENTS, QUANTA, ERROR_EVENTS, ERROR_QUANTA, LEARNED_EVENTS, LEARNED_QUANTA = range(6)

# Columns of what is counted of a projection beyond its populations' spikes.
BOOKED_ROWS, SKIP_FORWARD, SKIP_BACKWARD, SKIP_UPDATE = range(4)

# Entries of the network's counters.
TICKS, READINGS, TEACHINGS, LEARNED_TICKS = range(4)


class Scale(NamedTuple):
    """The scales of a population's two coders (Eq. 21): k_beta and the mean that it follows."""

    step: float
    mean: float
    error_step: float
    error_mean: float


# --------------------------------------------------------------------------------------------------
# Data
# --------------------------------------------------------------------------------------------------


class Net(NamedTuple):
    """What a run does not change. P populations, Q projections, N neurons in all."""

    kind: Array  # (P,) SENSOR, LAYER or OUTPUT
    first: Array  # (P+1,) offset of a population's neurons
    alpha: Array  # (P,) k_alpha of the forward coder
    relative: Array  # (P,) k_beta relative to the mean, or k_beta itself if scales are fixed
    leak: Array  # (P,) slope where a unit is off
    softmax: Array  # (P,) bool
    has_error: Array  # (P,) bool: encodes an error
    error_alpha: Array  # (P,)
    error_relative: Array  # (P,)
    constant: Array  # (P,) bool: a sensor that carries learned biases, no spikes
    teacher: Array  # (P,) the projection that carries its learned bias, -1: none
    keeps_pre: Array  # (P,) bool: its presynaptic trace is needed
    keeps_post: Array  # (P,) bool
    order: Array  # layers and outputs, topological
    error_order: Array  # layers that encode an error
    in_first: Array  # (P+1,) into in_list: projections that arrive
    in_list: Array
    trace_first: Array  # (P+1,) offset of the input traces: one block of neurons a group
    group_first: Array  # (P+1,) into group_alpha: the distinct k_alpha of what arrives
    group_alpha: Array
    group: Array  # (Q,) to which of its target's groups a projection adds
    back_first: Array  # the same six for errors that come back to layers
    back_list: Array
    back_trace_first: Array
    back_group_first: Array
    back_group_alpha: Array
    back_group: Array
    source: Array  # (Q,)
    target: Array  # (Q,)
    weight_first: Array  # (Q+1,) offset of a projection's weights
    plastic: Array  # (Q,) bool
    flipped: Array  # (Q,) bool: weights are stored by column: a row would be too short to add
    late: Array  # (Q,) bool: changes wait until the window ends
    pre_first: Array  # (Q+1,) offset of late rows
    moves_first: Array  # (Q+1,) offset of late columns, WINDOW + 1 blocks of them
    window: Array  # (Q,) ticks, at most WINDOW
    area_first: Array  # (Q+1,) offset of the past rule's products
    rule: Array  # (1,)
    eta: Array  # (1,) adaptation rate of the scales, 0: fixed
    clock: Array  # t0, dt, ticks per second or 0


class State(NamedTuple):
    """Everything that a run changes, except weights. Copying these arrays is a checkpoint."""

    x: Array  # (N,) held reading, h(z), or an output's z
    last: Array  # (N,) x of the tick before
    phi: Array  # (N,) residual, in spikes
    on: Array  # (N,) h'(z)
    u: Array  # (input traces,)
    bias: Array  # (N,)
    beta: Array  # (P,) k_beta
    mean: Array  # (P,) mu
    y: Array  # (N,) held target, nan: none
    e: Array  # (N,) error
    error_last: Array
    error_phi: Array
    g: Array  # (error traces,)
    error_beta: Array
    error_mean: Array
    pre: Array  # (N,) presynaptic trace; scaled by k_beta in the past and reconstruction rules
    post: Array  # (N,) postsynaptic trace
    area: Array  # the product of traces after a synapse's last spike (past rule)
    charge: Array  # a late row: its presynaptic trace, as of the window's first tick
    waiting: Array  # (late rows * WINDOW,) their spikes at each tick of the window
    moves: Array  # V of each tick of the window, a block of late columns a tick; then `owed`
    ticks: Array  # (Q,) of the window that have passed
    fade: Array  # (Q,) k_alpha**ticks
    written: Array  # (N,) values written by the world
    written_time: Array  # (P,) s, when they take effect; inf: none
    rate: Array  # (Q,) learning rate a tick
    flags: Array  # [next tick, learning, diverged population, a target holds]


class Scratch(NamedTuple):
    """Room for one tick; nothing in it outlives the tick, except the last tick's counts."""

    arrived: Array  # (input traces,)
    returned: Array  # (error traces,)
    spike_count: Array  # (N,) signed counts of this tick, 0 for none
    spike: Array  # (N,) neurons that fired, per population at its offset
    spikes: Array  # (P,) how many
    quanta: Array  # (P,) sum of |count|
    error_count: Array
    error_spike: Array
    error_spikes: Array
    error_quanta: Array
    overlap: Array  # (WINDOW,)
    item: Array  # (WINDOW + 4,) ticks of the window that have a share
    share: Array  # (WINDOW + 4,)
    nonzero: Array  # (P,) units that a network which skips zeros would have to process


class Feed(NamedTuple):
    """One block of samples a population, filled by Python when it runs dry."""

    capacity: Array  # (P,) samples; 0: no feed
    samples: Array  # (P,) in the block
    cursor: Array  # (P,) next sample of the block
    more: Array  # (P,) bool: the recording goes on after the block
    time_first: Array  # (P,) offset into time
    value_first: Array  # (P,) offset into value
    time: Array
    value: Array


class Buffer(NamedTuple):
    """Spikes on their way to the recorder, and what one population reads after each tick."""

    time: Array  # empty: nothing is recorded
    population: Array
    neuron: Array
    quanta: Array  # signed
    used: Array  # (1,)
    outputs: Array  # (rows, size); no rows: not wanted
    watched: Array  # [population, rows filled]


class Counts(NamedTuple):
    """What `ClockedEngine.counters` is made from."""

    population: Array  # (P, 6)
    projection: Array  # (Q, 4)
    network: Array  # (4,)


# --------------------------------------------------------------------------------------------------
# Vectors
# --------------------------------------------------------------------------------------------------


@summing
def dot(a: Array, b: Array) -> float:
    """Return ``sum a*b``."""
    total = 0.0
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@summing
def size_of(a: Array) -> float:
    """Return ``sum |a|``."""
    total = 0.0
    for k in range(a.shape[0]):
        total += abs(a[k])
    return total


@kernel
def copy(out: Array, values: Array) -> None:
    """Write `values` into `out`."""
    for k in range(out.shape[0]):
        out[k] = values[k]


@kernel
def add_window(out: Array, row: Array, factor: float) -> None:
    """Add ``factor*row`` to `out` in place, both of length WINDOW."""
    for k in range(WINDOW):
        out[k] += factor * row[k]


@kernel
def add_row(out: Array, row: Array, factor: float) -> None:
    """Add ``factor*row`` to `out` in place."""
    for k in range(out.shape[0]):
        out[k] += factor * row[k]


@kernel
def add_four(
    out: Array, a: Array, b: Array, c: Array, d: Array, fa: float, fb: float, fc: float, fd: float
) -> None:
    """Add four rows to `out` in place: one pass over `out` instead of four."""
    for k in range(out.shape[0]):
        out[k] += fa * a[k] + fb * b[k] + (fc * c[k] + fd * d[k])


@kernel
def add_rows(
    out: Array, weights: Array, rows: Array, n: int, count: Array, amplitude: float
) -> None:
    """Add ``amplitude*count[i]`` times row i to `out` for the `n` rows that fired (Eq. 8)."""
    size = out.shape[0]
    k = 0
    while k + 4 <= n:
        a, b, c, d = rows[k], rows[k + 1], rows[k + 2], rows[k + 3]
        add_four(
            out,
            weights[a * size : (a + 1) * size],
            weights[b * size : (b + 1) * size],
            weights[c * size : (c + 1) * size],
            weights[d * size : (d + 1) * size],
            amplitude * count[a],
            amplitude * count[b],
            amplitude * count[c],
            amplitude * count[d],
        )
        k += 4
    while k < n:
        a = rows[k]
        add_row(out, weights[a * size : (a + 1) * size], amplitude * count[a])
        k += 1


@kernel
def add_dots(out: Array, weights: Array, count: Array, amplitude: float) -> None:
    """Add to each element of `out` its row times all counts: denser than spikes, but unbroken."""
    size = count.shape[0]
    for k in range(out.shape[0]):
        out[k] += amplitude * dot(weights[k * size : (k + 1) * size], count)


@kernel
def fade_all(trace: Array, factor: float) -> None:
    """Let `trace` decay in place; zero where it would become denormal."""
    for k in range(trace.shape[0]):
        faded = trace[k] * factor
        trace[k] = faded if abs(faded) > TINY else 0.0


@kernel
def decode(trace: Array, factor: float, arrived: Array) -> None:
    """Let `trace` decay and take what has arrived (Eq. 5), in place."""
    for k in range(trace.shape[0]):
        faded = trace[k] * factor
        trace[k] = (faded if abs(faded) > TINY else 0.0) + arrived[k]


@kernel
def encode(x: Array, last: Array, phi: Array, count: Array, alpha: float, beta: float) -> bool:
    """Encode and quantize one tick (Eq. 4, 3): writes last, phi and count. False: out of range."""
    kp = (1.0 - alpha) / beta
    kd = alpha / beta
    bad = 0
    for k in range(x.shape[0]):
        p = phi[k] + (kp * x[k] + kd * (x[k] - last[k]))
        s = (p + ROUNDING) - ROUNDING
        bad += not abs(p) <= MAX_COUNT
        count[k] = s
        phi[k] = p - s
        last[k] = x[k]
    return bad == 0


@kernel
def list_spikes(count: Array, spike: Array) -> int:
    """Write the neurons with a count into `spike`; return how many."""
    n = 0
    for k in range(count.shape[0]):
        spike[n] = k
        n += count[k] != 0.0
    return n


@kernel
def count_nonzero(a: Array) -> int:
    """Return how many elements are not 0."""
    n = 0
    for k in range(a.shape[0]):
        n += a[k] != 0.0
    return n


@kernel
def softmax_error(z: Array, y: Array, e: Array) -> None:
    """Write ``softmax(z) - y``, or 0 where any target is missing, into `e`."""
    missing = 0
    largest = z[0]
    for k in range(z.shape[0]):
        missing += math.isnan(y[k])
        largest = max(largest, z[k])
    if missing > 0:
        e[:] = 0.0
        return
    total = 0.0
    for k in range(z.shape[0]):
        e[k] = math.exp(z[k] - largest)
        total += e[k]
    for k in range(z.shape[0]):
        e[k] = e[k] / total - y[k]


@kernel
def squared_error(z: Array, y: Array, e: Array) -> None:
    """Write ``z - y``, or 0 where the target is missing, into `e`."""
    for k in range(z.shape[0]):
        e[k] = 0.0 if math.isnan(y[k]) else z[k] - y[k]


# --------------------------------------------------------------------------------------------------
# Stages of a tick
# --------------------------------------------------------------------------------------------------


@kernel
def tick_time(k: int, clock: Array) -> float:
    """Return the time of tick `k`, s; by division where a second has a whole number of ticks."""
    offset: float = k / clock[2] if clock[2] > 0.0 else k * clock[1]
    start: float = clock[0]
    return start + offset


@kernel
def take_samples(t: float, net: Net, state: State, feed: Feed, counts: Counts) -> None:
    """Let each sensor and target take its latest sample up to time `t`."""
    reading = False
    teaching = False
    for p in range(net.kind.shape[0]):
        a = net.first[p]
        size = net.first[p + 1] - a
        found = -1
        while (
            feed.cursor[p] < feed.samples[p] and feed.time[feed.time_first[p] + feed.cursor[p]] <= t
        ):
            found = feed.value_first[p] + feed.cursor[p] * size
            feed.cursor[p] += 1
        written = state.written_time[p] <= t
        if not (written or found >= 0):
            continue
        held = state.y if net.kind[p] == OUTPUT else state.x
        if written:
            copy(held[a : a + size], state.written[a : a + size])
            state.written_time[p] = np.inf
        else:
            copy(held[a : a + size], feed.value[found : found + size])
        reading = reading or net.kind[p] == SENSOR
        teaching = teaching or net.kind[p] == OUTPUT
    if teaching:
        holds = 0
        for p in range(net.kind.shape[0]):
            if net.kind[p] == OUTPUT:
                for j in range(net.first[p], net.first[p + 1]):
                    holds += not math.isnan(state.y[j])
        state.flags[3] = holds > 0
    counts.network[READINGS] += reading
    counts.network[TEACHINGS] += teaching and state.flags[1] != 0


@kernel
def encode_forward(p: int, net: Net, state: State, scratch: Scratch) -> bool:
    """Encode the signal of population `p`; False: it is out of range."""
    a, b = net.first[p], net.first[p + 1]
    count, spike = scratch.spike_count[a:b], scratch.spike[a:b]
    fine = encode(state.x[a:b], state.last[a:b], state.phi[a:b], count, net.alpha[p], state.beta[p])
    scratch.spikes[p] = list_spikes(count, spike)
    scratch.quanta[p] = np.int64(size_of(count))
    return fine


@kernel
def encode_error(p: int, net: Net, state: State, scratch: Scratch) -> bool:
    """Encode the error of population `p`; False: it is out of range."""
    a, b = net.first[p], net.first[p + 1]
    count, spike = scratch.error_count[a:b], scratch.error_spike[a:b]
    fine = encode(
        state.e[a:b],
        state.error_last[a:b],
        state.error_phi[a:b],
        count,
        net.error_alpha[p],
        state.error_beta[p],
    )
    scratch.error_spikes[p] = list_spikes(count, spike)
    scratch.error_quanta[p] = np.int64(size_of(count))
    return fine


@kernel
def read_waiting(
    q: int, out: Array, net: Net, state: State, scratch: Scratch, amplitude: float
) -> None:
    """Add to `out` what the waiting changes of projection `q` contribute to a forward pass.

    Under the future rule row i of the weights has changed within the window by
    ``-sum_k s_i(k)*V(k) - charge_i*owed`` (`wait`): no row needs to be written before the window ends.
    """
    first = net.first[net.source[q]]
    waiting = state.waiting[WINDOW * net.pre_first[q] : WINDOW * net.pre_first[q + 1]]
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    overlap = scratch.overlap
    for k in range(WINDOW):
        overlap[k] = 0.0
    pull = 0.0
    for m in range(scratch.spikes[net.source[q]]):
        i = scratch.spike[first + m]
        s = scratch.spike_count[first + i]
        pull += s * charge[i]
        add_window(overlap, waiting[i * WINDOW : (i + 1) * WINDOW], s)
    add_waiting(q, out, net, state, scratch, overlap, pull, -amplitude)


@kernel
def add_waiting(
    q: int,
    out: Array,
    net: Net,
    state: State,
    scratch: Scratch,
    counts: Array,
    charge: float,
    factor: float,
) -> None:
    """Add ``factor*(sum_k counts(k)*V(k) + charge*owed)`` to `out` in place."""
    n = out.shape[0]
    moves = state.moves[net.moves_first[q] : net.moves_first[q + 1]]
    item, share = scratch.item, scratch.share
    found = 0
    for k in range(WINDOW):
        item[found] = k
        share[found] = factor * counts[k]
        found += counts[k] != 0.0
    item[found] = WINDOW  # `owed` lies behind the window's last tick
    share[found] = factor * charge
    found += charge != 0.0
    while found & 3:
        item[found] = WINDOW
        share[found] = 0.0
        found += 1
    k = 0
    while k < found:
        a, b, c, d = item[k] * n, item[k + 1] * n, item[k + 2] * n, item[k + 3] * n
        add_four(
            out,
            moves[a : a + n],
            moves[b : b + n],
            moves[c : c + n],
            moves[d : d + n],
            share[k],
            share[k + 1],
            share[k + 2],
            share[k + 3],
        )
        k += 4


@kernel
def return_waiting(
    q: int, out: Array, net: Net, state: State, scratch: Scratch, amplitude: float
) -> None:
    """Add to `out` what the waiting changes of projection `q` contribute to a backward pass."""
    dst = net.target[q]
    count = scratch.error_count[net.first[dst] : net.first[dst + 1]]
    n = count.shape[0]
    overlap = scratch.overlap
    for k in range(WINDOW):
        overlap[k] = 0.0
    for k in range(state.ticks[q]):
        a = net.moves_first[q] + k * n
        overlap[k] = dot(state.moves[a : a + n], count)
    pull = dot(state.moves[net.moves_first[q + 1] - n : net.moves_first[q + 1]], count)
    waiting = state.waiting[WINDOW * net.pre_first[q] : WINDOW * net.pre_first[q + 1]]
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    for i in range(out.shape[0]):
        moved = dot(waiting[i * WINDOW : (i + 1) * WINDOW], overlap) + charge[i] * pull
        out[i] -= amplitude * moved


@kernel
def book_all(
    q: int, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts
) -> None:
    """Write all waiting changes of projection `q` into its weights and begin a new window."""
    dst = net.target[q]
    n = net.first[dst + 1] - net.first[dst]
    fade = state.fade[q]
    for i in range(net.pre_first[q + 1] - net.pre_first[q]):
        place = net.pre_first[q] + i
        charge = state.charge[place]
        counts.projection[q, BOOKED_ROWS] += charge != 0.0
        waiting = state.waiting[WINDOW * place : WINDOW * (place + 1)]
        w = net.weight_first[q] + i * n
        add_waiting(q, weights[w : w + n], net, state, scratch, waiting, charge, -1.0)
        for k in range(WINDOW):
            waiting[k] = 0.0
        charge *= fade
        state.charge[place] = charge if abs(charge) > FORGOTTEN else 0.0
    owed = state.moves[net.moves_first[q + 1] - n : net.moves_first[q + 1]]
    for j in range(n):
        owed[j] = 0.0
    state.ticks[q] = 0
    state.fade[q] = 1.0


@kernel
def wait(
    q: int, gain: float, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts
) -> None:
    """Enter a tick of the future rule (Eq. 20) into the window of projection `q`.

    With D = k_alpha**k, k ticks into the window, the rule asks of row i
    ``-gain*(s_i*E + D*charge_i*s_e)``: E is the decayed postsynaptic trace and ``D*charge_i`` the
    presynaptic one, this tick's spikes included, so that ``charge_i = sum_k s_i(k)/D(k)``. Let
    ``owed = sum_k gain*D*s_e``. A spike's own share of the charge then adds up to ``s_i/D*(owed - owed
    before its tick)``, hence all of it to ``sum_k s_i(k)*V(k) + charge_i*owed`` with
    ``V = gain*E - (owed before)/D``, the same for all rows.
    """
    src, dst = net.source[q], net.target[q]
    n = net.first[dst + 1] - net.first[dst]
    a = net.moves_first[q] + state.ticks[q] * n
    owed = state.moves[net.moves_first[q + 1] - n : net.moves_first[q + 1]]
    moves = state.moves[a : a + n]
    post = state.post[net.first[dst] : net.first[dst + 1]]
    count = scratch.error_count[net.first[dst] : net.first[dst + 1]]
    fade = state.fade[q]
    rise = 1.0 / fade
    for j in range(n):
        moves[j] = gain * post[j] - rise * owed[j]
    add_row(owed, count, gain * fade)
    first = net.first[src]
    for m in range(scratch.spikes[src]):
        i = scratch.spike[first + m]
        s = scratch.spike_count[first + i]
        place = net.pre_first[q] + i
        state.waiting[WINDOW * place + state.ticks[q]] = s
        state.charge[place] += s * rise
    state.ticks[q] += 1
    state.fade[q] *= net.alpha[src]
    if state.ticks[q] == net.window[q]:
        book_all(q, net, state, weights, scratch, counts)


@kernel
def forward(p: int, net: Net, state: State, weights: Array, scratch: Scratch) -> None:
    """Decode what arrives at `p` and apply its activation: writes u, x and on."""
    a, b = net.first[p], net.first[p + 1]
    n = b - a
    first = net.trace_first[p]
    scratch.arrived[first : net.trace_first[p + 1]] = 0.0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        src = net.source[q]
        if scratch.spikes[src] == 0:
            continue
        c, d = net.first[src], net.first[src + 1]
        place = first + net.group[q] * n
        w = weights[net.weight_first[q] : net.weight_first[q + 1]]
        out = scratch.arrived[place : place + n]
        if net.flipped[q]:
            add_dots(out, w, scratch.spike_count[c:d], state.beta[src])
        else:
            spike = scratch.spike[c:d]
            add_rows(out, w, spike, scratch.spikes[src], scratch.spike_count[c:d], state.beta[src])
            if state.ticks[q] > 0:
                read_waiting(q, out, net, state, scratch, state.beta[src])
    x = state.x[a:b]
    copy(x, state.bias[a:b])
    for k in range(net.group_first[p + 1] - net.group_first[p]):
        u = state.u[first + k * n : first + (k + 1) * n]
        factor = net.group_alpha[net.group_first[p] + k]
        decode(u, factor, scratch.arrived[first + k * n : first + (k + 1) * n])
        add_row(x, u, 1.0)
    if net.kind[p] == LAYER:
        leak = net.leak[p]
        on = state.on[a:b]
        for j in range(n):
            z = x[j]
            on[j] = 1.0 if z >= 0.0 else leak
            x[j] = z if z >= 0.0 else leak * z


@kernel
def backward(p: int, net: Net, state: State, weights: Array, scratch: Scratch) -> None:
    """Decode the errors that come back to layer `p`, times h'(z) (Eq. 12): writes g and e."""
    a, b = net.first[p], net.first[p + 1]
    n = b - a
    first = net.back_trace_first[p]
    scratch.returned[first : net.back_trace_first[p + 1]] = 0.0
    for k in range(net.back_first[p], net.back_first[p + 1]):
        q = net.back_list[k]
        dst = net.target[q]
        if scratch.error_spikes[dst] == 0:
            continue
        c, d = net.first[dst], net.first[dst + 1]
        place = first + net.back_group[q] * n
        w = weights[net.weight_first[q] : net.weight_first[q + 1]]
        out = scratch.returned[place : place + n]
        count = scratch.error_count[c:d]
        if net.flipped[q]:
            spike = scratch.error_spike[c:d]
            add_rows(out, w, spike, scratch.error_spikes[dst], count, state.error_beta[dst])
        else:
            add_dots(out, w, count, state.error_beta[dst])
            if state.ticks[q] > 0:
                return_waiting(q, out, net, state, scratch, state.error_beta[dst])
    e = state.e[a:b]
    e[:] = 0.0
    for k in range(net.back_group_first[p + 1] - net.back_group_first[p]):
        g = state.g[first + k * n : first + (k + 1) * n]
        factor = net.back_group_alpha[net.back_group_first[p] + k]
        decode(g, factor, scratch.returned[first + k * n : first + (k + 1) * n])
        add_row(e, g, 1.0)
    on = state.on[a:b]
    for j in range(n):
        e[j] *= on[j]


@kernel
def add_outer(weights: Array, rows: Array, columns: Array, factor: float) -> None:
    """Add ``factor * rows (x) columns`` to row-major `weights` in place."""
    n = columns.shape[0]
    for r in range(rows.shape[0]):
        if rows[r] != 0.0:
            add_row(weights[r * n : (r + 1) * n], columns, factor * rows[r])


@kernel
def learn_future(
    weights: Array,
    trace: Array,
    count: Array,
    trace_c: Array,
    count_c: Array,
    n_c: int,
    gain: float,
) -> None:
    """Add ``-gain*(s (x) (E + s_e) + X (x) s_e)`` (Eq. 20), X and E decayed; rows may be either side."""
    n = count_c.shape[0]
    for r in range(count.shape[0]):
        s = -gain * count[r]
        x = -gain * trace[r]
        row = weights[r * n : (r + 1) * n]
        if s != 0.0:
            x += s
            for c in range(n):
                row[c] += s * trace_c[c] + x * count_c[c]
        elif n_c > 0 and x != 0.0:
            add_row(row, count_c, x)


@kernel
def learn_past(
    weights: Array,
    area: Array,
    trace: Array,
    count: Array,
    beta: float,
    trace_c: Array,
    count_c: Array,
    beta_c: float,
    spike_c: Array,
    n_c: int,
    gain: float,
) -> None:
    """Add ``-gain*(u - X*E)`` where either side fired and set u to the new product (Eq. 19)."""
    n = count_c.shape[0]
    for r in range(count.shape[0]):
        x = trace[r]
        row = weights[r * n : (r + 1) * n]
        u = area[r * n : (r + 1) * n]
        if count[r] != 0.0:
            new = x + beta * count[r]
            for c in range(n):
                row[c] -= gain * (u[c] - x * trace_c[c])
                u[c] = new * (trace_c[c] + beta_c * count_c[c])
        else:
            for k in range(n_c):
                c = spike_c[k]
                row[c] -= gain * (u[c] - x * trace_c[c])
                u[c] = x * (trace_c[c] + beta_c * count_c[c])


@kernel
def learn(q: int, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts) -> None:
    """Apply the rule to projection `q`; traces have decayed, but not yet taken this tick's spikes."""
    src, dst = net.source[q], net.target[q]
    a, b = net.first[src], net.first[src + 1]
    c, d = net.first[dst], net.first[dst + 1]
    rule = net.rule[0]
    rate = state.rate[q]
    fade = net.alpha[src] * net.error_alpha[dst]
    w = weights[net.weight_first[q] : net.weight_first[q + 1]]
    flipped = net.flipped[q]
    n_x, n_e = scratch.spikes[src], scratch.error_spikes[dst]
    if rule == FUTURE:
        gain = rate * (state.beta[src] * state.error_beta[dst] / (1.0 - fade))
        if net.late[q]:
            wait(q, gain, net, state, weights, scratch, counts)
            return
        if n_x == 0 and n_e == 0:
            return
        x, s = state.pre[a:b], scratch.spike_count[a:b]
        e, s_e = state.post[c:d], scratch.error_count[c:d]
        if flipped:
            learn_future(w, e, s_e, x, s, n_x, gain)
        else:
            learn_future(w, x, s, e, s_e, n_e, gain)
        counts.projection[q, BOOKED_ROWS] += (b - a) * (n_e > 0)
    elif rule == PAST:
        gain = rate / (1.0 - fade)
        area = state.area[net.area_first[q] : net.area_first[q + 1]]
        x, s, spike = state.pre[a:b], scratch.spike_count[a:b], scratch.spike[a:b]
        e, s_e, spike_e = state.post[c:d], scratch.error_count[c:d], scratch.error_spike[c:d]
        beta, beta_e = state.beta[src], state.error_beta[dst]
        if flipped:
            learn_past(w, area, e, s_e, beta_e, x, s, beta, spike, n_x, gain)
        else:
            learn_past(w, area, x, s, beta, e, s_e, beta_e, spike_e, n_e, gain)
        counts.projection[q, BOOKED_ROWS] += (b - a - n_x) * n_e // (d - c)
    else:
        x = state.x[a:b] if rule == TRUE else state.pre[a:b]
        e = state.e[c:d] if rule == TRUE else state.post[c:d]
        if flipped:
            add_outer(w, e, x, -rate)
        else:
            add_outer(w, x, e, -rate)
        counts.projection[q, BOOKED_ROWS] += b - a


@kernel
def take_spikes(net: Net, state: State, scratch: Scratch) -> None:
    """Add this tick's spikes to the traces of plasticity."""
    scaled = net.rule[0] != FUTURE
    for p in range(net.kind.shape[0]):
        a, b = net.first[p], net.first[p + 1]
        if net.keeps_pre[p] and scratch.spikes[p] > 0:
            factor = state.beta[p] if scaled else 1.0
            add_row(state.pre[a:b], scratch.spike_count[a:b], factor)
        if net.keeps_post[p] and scratch.error_spikes[p] > 0:
            factor = state.error_beta[p] if scaled else 1.0
            add_row(state.post[a:b], scratch.error_count[a:b], factor)


@kernel
def plasticity(net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts) -> None:
    """Change weights, biases and traces at the end of a tick."""
    for p in range(net.kind.shape[0]):
        if net.keeps_pre[p]:
            fade_all(state.pre[net.first[p] : net.first[p + 1]], net.alpha[p])
        if net.keeps_post[p]:
            fade_all(state.post[net.first[p] : net.first[p + 1]], net.error_alpha[p])
    reconstructs = net.rule[0] == RECONSTRUCTION
    if reconstructs:
        take_spikes(net, state, scratch)
    for q in range(net.source.shape[0]):
        if net.plastic[q]:
            learn(q, net, state, weights, scratch, counts)
    if not reconstructs:
        take_spikes(net, state, scratch)
    for p in range(net.kind.shape[0]):
        if net.teacher[p] >= 0:
            a, b = net.first[p], net.first[p + 1]
            add_row(state.bias[a:b], state.e[a:b], -state.rate[net.teacher[p]])


@kernel
def adapt_scales(net: Net, state: State) -> None:
    """Move every k_beta towards its share of the mean, then the mean itself (Eq. 21)."""
    eta = net.eta[0]
    for p in range(net.kind.shape[0]):
        a, b = net.first[p], net.first[p + 1]
        if net.kind[p] != OUTPUT and not net.constant[p]:
            state.beta[p] += eta * (net.relative[p] * state.mean[p] - state.beta[p])
            state.mean[p] = (1.0 - eta) * state.mean[p] + eta * (size_of(state.x[a:b]) / (b - a))
        # Without a target there is no error whose size could be measured.
        if net.has_error[p] and state.flags[1] != 0 and state.flags[3] != 0:
            state.error_beta[p] += eta * (
                net.error_relative[p] * state.error_mean[p] - state.error_beta[p]
            )
            state.error_mean[p] = (1.0 - eta) * state.error_mean[p] + eta * (
                size_of(state.e[a:b]) / (b - a)
            )


@kernel
def count_tick(net: Net, state: State, scratch: Scratch, counts: Counts, sampled: int) -> None:
    """Count this tick's spikes, and what a dense network that skips zeros would have done."""
    learning = state.flags[1] != 0
    counts.network[TICKS] += 1
    counts.network[LEARNED_TICKS] += learning
    for p in range(net.kind.shape[0]):
        row = counts.population[p]
        row[EVENTS] += scratch.spikes[p]
        row[QUANTA] += scratch.quanta[p]
        row[ERROR_EVENTS] += scratch.error_spikes[p]
        row[ERROR_QUANTA] += scratch.error_quanta[p]
        if learning:
            row[LEARNED_EVENTS] += scratch.spikes[p]
            row[LEARNED_QUANTA] += scratch.quanta[p]
    if sampled == 0:
        return
    for p in range(net.kind.shape[0]):
        a, b = net.first[p], net.first[p + 1]
        output = net.kind[p] == OUTPUT
        scratch.nonzero[p] = b - a if output else count_nonzero(state.x[a:b])
    for q in range(net.source.shape[0]):
        src, dst = net.source[q], net.target[q]
        if net.constant[src]:
            continue
        pre, post = scratch.nonzero[src], scratch.nonzero[dst]
        if sampled & 1:
            counts.projection[q, SKIP_FORWARD] += pre * (net.first[dst + 1] - net.first[dst])
        if sampled & 2 and net.has_error[dst]:
            counts.projection[q, SKIP_BACKWARD] += pre * post * net.has_error[src]
            counts.projection[q, SKIP_UPDATE] += pre * post * net.plastic[q]


@kernel
def record(
    t: float, code: int, first: int, n: int, spike: Array, count: Array, buffer: Buffer
) -> None:
    """Write `n` spikes of one population into the recorder's buffer."""
    used = buffer.used[0]
    for k in range(n):
        j = spike[first + k]
        buffer.time[used] = t
        buffer.population[used] = code
        buffer.neuron[used] = j
        buffer.quanta[used] = np.int32(count[first + j])
        used += 1
    buffer.used[0] = used


@kernel
def tick(
    t: float,
    net: Net,
    state: State,
    weights: Array,
    feed: Feed,
    scratch: Scratch,
    counts: Counts,
    buffer: Buffer,
) -> int:
    """Run one tick: forward, loss, backward, plasticity, scales. Returns a bad population or -1."""
    n = net.kind.shape[0]
    learning = state.flags[1] != 0
    readings, teachings = counts.network[READINGS], counts.network[TEACHINGS]
    take_samples(t, net, state, feed, counts)
    for p in range(n):
        if (
            net.kind[p] == SENSOR
            and not net.constant[p]
            and not encode_forward(p, net, state, scratch)
        ):
            return p
    for k in range(net.order.shape[0]):
        p = net.order[k]
        forward(p, net, state, weights, scratch)
        if net.kind[p] == LAYER:
            if not encode_forward(p, net, state, scratch):
                return int(p)
        elif not math.isfinite(size_of(state.x[net.first[p] : net.first[p + 1]])):
            return int(p)
    if learning:
        for k in range(net.order.shape[0]):
            p = net.order[k]
            if net.kind[p] == OUTPUT and net.has_error[p]:
                a, b = net.first[p], net.first[p + 1]
                if net.softmax[p]:
                    softmax_error(state.x[a:b], state.y[a:b], state.e[a:b])
                else:
                    squared_error(state.x[a:b], state.y[a:b], state.e[a:b])
                if not encode_error(p, net, state, scratch):
                    return int(p)
        for k in range(net.error_order.shape[0]):
            p = net.error_order[k]
            backward(p, net, state, weights, scratch)
            if not encode_error(p, net, state, scratch):
                return int(p)
        plasticity(net, state, weights, scratch, counts)
    if net.eta[0] > 0.0:
        adapt_scales(net, state)
    sampled = (counts.network[READINGS] > readings) + 2 * (counts.network[TEACHINGS] > teachings)
    count_tick(net, state, scratch, counts, sampled)
    if buffer.time.shape[0] > 0:
        for p in range(n):
            a = net.first[p]
            record(t, p, a, scratch.spikes[p], scratch.spike, scratch.spike_count, buffer)
        for p in range(n):
            a = net.first[p]
            number = scratch.error_spikes[p]
            record(t, n + p, a, number, scratch.error_spike, scratch.error_count, buffer)
    return -1


@kernel
def advance(
    until: float,
    inclusive: bool,
    net: Net,
    state: State,
    weights: Array,
    feed: Feed,
    scratch: Scratch,
    counts: Counts,
    buffer: Buffer,
) -> int:
    """Run all ticks before `until` (up to and with it if `inclusive`): the main loop.

    Returns DONE, also when all wanted outputs are filled; BUFFER_FULL when the recorder must take the
    spikes; NEEDS_SAMPLES when a feed has run dry; DIVERGED with the population in
    ``state.flags[2]``. Each leaves the engine between two ticks.
    """
    room = buffer.time.shape[0] - 2 * net.first[-1]
    while True:
        for p in range(net.kind.shape[0]):
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                return NEEDS_SAMPLES
        t = tick_time(state.flags[0], net.clock)
        if t > until or (t == until and not inclusive):
            return DONE
        if buffer.outputs.shape[0] > 0 and buffer.watched[1] == buffer.outputs.shape[0]:
            return DONE
        if buffer.time.shape[0] > 0 and buffer.used[0] > room:
            return BUFFER_FULL
        bad = tick(t, net, state, weights, feed, scratch, counts, buffer)
        state.flags[0] += 1
        if bad >= 0:
            state.flags[2] = bad
            return DIVERGED
        if buffer.outputs.shape[0] > 0:
            p = buffer.watched[0]
            copy(buffer.outputs[buffer.watched[1]], state.x[net.first[p] : net.first[p + 1]])
            buffer.watched[1] += 1


# --------------------------------------------------------------------------------------------------
# The engine
# --------------------------------------------------------------------------------------------------


class ClockedEngine:
    """Runs a plan tick by tick, as the paper's program did.

    Tick k stands at ``t0 + k*dt``; a reading or target is in force from the first tick at or after its
    own time until the next one (NaN: no target, the error is 0). Between ticks nothing happens, and
    what is read is what the last tick left.

    Parameters
    ----------
    plan : Plan
        A tick learns with the learning rate a second times `dt`, by one of `STDP` (the paper's future
        rule), `Past`, `Reconstruction` (the product of the decoded signals, every tick) and
        `TrueGradient` (the product of the signals themselves, every tick); summed over time all four
        ask for the same. A plastic projection from a constant sensor is a learned bias: it sends
        no spikes and learns from the raw error.
    sink : callable or None
        Takes batches of spikes (time s, population code, neuron, count); codes at and above the
        number of populations are error spikes. None: spikes are counted but not kept.
    dt : float
        Length of a tick, s.
    adapt : float
        The rate eta of the scales' adaptation, a tick (Eq. 21). 0: a population's `step` and
        `error_step` are its scales and stay so. Above: they are scales relative to the running mean,
        over units and time, of the signal's size, and where the scales start; the means start at 1.
        The scales of errors rest while no target is in force.

    Raises
    ------
    ConfigError
        For what the paper's algorithm has not: delays, thresholds other than 1/2, the guard, other
        rules, sparse or bounded projections, sources of spikes; for two biases on one population;
        for a rule that needs fading traces and a coder that never fades.
    """

    name = "clocked"

    def __init__(self, plan: Plan, sink: Sink | None, dt: float, adapt: float = 0.0) -> None:
        self.plan = plan
        self.dt = positive(dt, "dt", "the clock", " s")
        if not 0.0 <= adapt <= 1.0:
            raise ConfigError(f"adapt={adapt} on the clock: must lie in [0, 1]")
        self.adapt = float(adapt)
        _check(plan)
        self._sink = sink
        self._sources: dict[int, Source] = {}
        self._given: dict[int, int] = {}
        self._net = _net(plan, self.dt, self.adapt)
        self._weights = _zeros(int(self._net.weight_first[-1]))
        self._state = _fresh_state(plan, self._net)
        for q, weights in enumerate(plan.weights):
            self._put_weights(q, weights)
        self.scale_lr(1.0)
        n, neurons = len(plan.populations), int(self._net.first[-1])
        self._scratch = Scratch(
            arrived=np.zeros(int(self._net.trace_first[-1])),
            returned=np.zeros(int(self._net.back_trace_first[-1])),
            spike_count=np.zeros(neurons),
            spike=np.zeros(neurons + 1, dtype=np.int64),
            spikes=np.zeros(n, dtype=np.int64),
            quanta=np.zeros(n, dtype=np.int64),
            error_count=np.zeros(neurons),
            error_spike=np.zeros(neurons + 1, dtype=np.int64),
            error_spikes=np.zeros(n, dtype=np.int64),
            error_quanta=np.zeros(n, dtype=np.int64),
            overlap=np.zeros(WINDOW),
            item=np.zeros(WINDOW + 4, dtype=np.int64),
            share=np.zeros(WINDOW + 4),
            nonzero=np.zeros(n, dtype=np.int64),
        )
        self._feed = Feed(
            capacity=np.zeros(n, dtype=np.int64),
            samples=np.zeros(n, dtype=np.int64),
            cursor=np.zeros(n, dtype=np.int64),
            more=np.zeros(n, dtype=np.bool_),
            time_first=np.zeros(n, dtype=np.int64),
            value_first=np.zeros(n, dtype=np.int64),
            time=np.zeros(0),
            value=np.zeros(0),
        )
        self._counts = Counts(
            population=np.zeros((n, 6), dtype=np.int64),
            projection=np.zeros((len(plan.projections), 4), dtype=np.int64),
            network=np.zeros(4, dtype=np.int64),
        )
        rows = 0 if sink is None else BUFFER_ROWS + 2 * neurons
        self._buffer = Buffer(
            time=np.zeros(rows),
            population=np.zeros(rows, dtype=np.int32),
            neuron=np.zeros(rows, dtype=np.uint32),
            quanta=np.zeros(rows, dtype=np.int32),
            used=np.zeros(1, dtype=np.int64),
            outputs=np.zeros((0, 0)),
            watched=np.zeros(2, dtype=np.int64),
        )

    # -- time --------------------------------------------------------------------------------------

    @property
    def ticks(self) -> int:
        """How many ticks have run."""
        return int(self._state.flags[0])

    @property
    def now(self) -> float:
        """The last tick's time, s; -inf before the first."""
        return self.time_of(self.ticks - 1) if self.ticks else -math.inf

    def time_of(self, tick: int) -> float:
        """Return the time of a tick, s.

        Where a second has a whole number of ticks it is ``t0 + tick/rate``, so that samples of a
        `Periodic` source of that rate fall on ticks exactly.
        """
        return tick_time(tick, self._net.clock)

    def advance(self, until: float, inclusive: bool = False) -> None:
        """Run all ticks before `until`, and at it if `inclusive`; spikes go to the sink.

        Raises
        ------
        Diverged
            When a signal is not finite or a spike count exceeds 2**31 - 1. The tick is not recorded.
        """
        while True:
            status = advance(
                until,
                inclusive,
                self._net,
                self._state,
                self._weights,
                self._feed,
                self._scratch,
                self._counts,
                self._buffer,
            )
            if status == NEEDS_SAMPLES:
                self._refill()
                continue
            self._drain()
            if status == DIVERGED:
                raise Diverged(self.now, self.plan.populations[self._state.flags[2]].name)
            if status == DONE:
                return

    def outputs(self, population: int, ticks: int) -> Floats:
        """Run `ticks` ticks and return what `population` reads after each, shape (ticks, size)."""
        size = self.plan.populations[population].size
        mine = self._buffer
        self._buffer = mine._replace(
            outputs=np.zeros((ticks, size)), watched=np.array([population, 0], dtype=np.int64)
        )
        try:
            self.advance(math.inf)
            return self._buffer.outputs
        finally:
            self._buffer = mine

    # -- signals -----------------------------------------------------------------------------------

    def feed(self, population: int, source: Source) -> None:
        """Take all samples of `source` for a sensor or, as targets, for an output."""
        self._given[population] = 0
        for p in self._sources:
            self._given[p] = self._cursor(p)
        self._sources[population] = source
        self._allocate_feed()

    def write(self, population: int, values: Floats, time: float) -> None:
        """Let a reading or a target take effect at the first tick at or after `time`."""
        a, b = self._net.first[population], self._net.first[population + 1]
        self._state.written[a:b] = values
        self._state.written_time[population] = time

    def read(self, population: int, time: float) -> Floats:
        """Return what the last tick left, shape (size,): a reading, ``h(z)``, or an output's z."""
        a, b = self._net.first[population], self._net.first[population + 1]
        return self._state.x[a:b].copy()

    # -- what is learned ---------------------------------------------------------------------------

    @property
    def learning(self) -> bool:
        """Whether errors are formed and weights change.

        Turning it off or on clears the backward half of the network: targets, errors, traces.
        """
        return bool(self._state.flags[1])

    @learning.setter
    def learning(self, on: bool) -> None:
        self._book()
        state = self._state
        for name in ("e", "error_last", "error_phi", "g", "pre", "post", "area", "charge"):
            getattr(state, name)[:] = 0.0
        state.y[:] = np.nan
        for array in (self._scratch.error_spikes, self._scratch.error_quanta):
            array[:] = 0
        state.flags[1] = int(on)
        state.flags[3] = 0

    def scale_lr(self, factor: float) -> None:
        """Let every projection learn at `factor` times the rate that it was built with, from now on."""
        self._state.rate[:] = np.array(self.plan.lr) * self.dt * factor

    def weights(self, projection: int) -> Floats:
        """Return a copy of a projection's weights, shape (n_in, n_out), all bookings included."""
        net, state, q = self._net, self._state, projection
        n_in, n_out = self.plan.projections[q].shape
        if net.constant[net.source[q]]:
            target = int(net.target[q])
            learned: Floats = self.bias(target) - self.plan.populations[target].bias
            return learned[None]
        stored = self._weights[net.weight_first[q] : net.weight_first[q + 1]]
        if net.flipped[q]:
            return np.ascontiguousarray(stored.reshape(n_out, n_in).T)
        weights = stored.reshape(n_in, n_out).copy()
        if net.late[q]:
            rows = slice(net.pre_first[q], net.pre_first[q + 1])
            waiting = state.waiting.reshape(-1, WINDOW)[rows]
            moves = state.moves[net.moves_first[q] : net.moves_first[q + 1]].reshape(-1, n_out)
            weights -= waiting @ moves[:-1] + np.outer(state.charge[rows], moves[-1])
        return weights

    def set_weights(self, projection: int, weights: Floats) -> None:
        """Replace a projection's weights, shape (n_in, n_out); traces stay."""
        self._book()
        self._put_weights(projection, weights)

    def bias(self, population: int) -> Floats:
        """Return a copy of a population's present biases, shape (size,)."""
        return self._state.bias[
            self._net.first[population] : self._net.first[population + 1]
        ].copy()

    def set_bias(self, population: int, bias: Floats) -> None:
        """Replace a population's biases, shape (size,)."""
        a, b = self._net.first[population], self._net.first[population + 1]
        self._state.bias[a:b] = bias

    def scale(self, population: int) -> Scale:
        """Return the present scales of a population's coders."""
        state, p = self._state, population
        return Scale(
            step=float(state.beta[p]),
            mean=float(state.mean[p]),
            error_step=float(state.error_beta[p]),
            error_mean=float(state.error_mean[p]),
        )

    def finish(self) -> None:
        """Add to the weights what the traces leave open, and forget the traces.

        That is what the decoded signals would still bring if no further spike came: all of it under
        the future rule has been added, none of it exists for the true gradient.
        """
        net, state = self._net, self._state
        self._book()
        for q in np.flatnonzero(net.plastic).tolist():
            src, dst = net.source[q], net.target[q]
            fade = net.alpha[src] * net.error_alpha[dst]
            weights = self._weights[net.weight_first[q] : net.weight_first[q + 1]]
            if net.rule[0] == PAST:
                area = state.area[net.area_first[q] : net.area_first[q + 1]]
                weights -= state.rate[q] / (1.0 - fade) * area
            elif net.rule[0] == RECONSTRUCTION:
                if fade == 1.0:
                    name = self.plan.projections[q].name
                    raise ConfigError(
                        f"finish: the traces on {name} never fade, nor does what is open"
                    )
                pre = state.pre[net.first[src] : net.first[src + 1]]
                post = state.post[net.first[dst] : net.first[dst + 1]]
                rest = np.outer(post, pre) if net.flipped[q] else np.outer(pre, post)
                weights -= state.rate[q] * fade / (1.0 - fade) * rest.ravel()
        for name in ("pre", "post", "area", "charge"):
            getattr(state, name)[:] = 0.0

    # -- counts ------------------------------------------------------------------------------------

    @property
    def counters(self) -> arrays.Counters:
        """What the cost report is made from, as of the last tick: a copy.

        Events and quanta are those of an implementation that adds one row or column a spike. For
        narrow projections this engine reads whole matrices instead, which vectors do faster.
        """
        ar, net, counts = arrays, self._net, self._counts
        spikes = counts.population
        projection = np.zeros((len(self.plan.projections), ar.PROJECTION_COUNTERS), dtype=np.int64)
        for q in self.plan.projections:
            row = projection[q.index]
            n_in, n_out = q.shape
            pre, post = spikes[q.source.index], spikes[q.target.index]
            passes = [(ar.FORWARD, pre[[EVENTS, QUANTA]], n_out)]
            if q.index in self.plan.returning[q.source.index] and not q.source.constant:
                passes += [(ar.BACKWARD, post[[ERROR_EVENTS, ERROR_QUANTA]], n_in)]
            if net.plastic[q.index]:
                passes += [(ar.ROW, pre[[LEARNED_EVENTS, LEARNED_QUANTA]], n_out)]
                passes += [(ar.COLUMN, post[[ERROR_EVENTS, ERROR_QUANTA]], n_in)]
                row[ar.PASSES] = counts.network[LEARNED_TICKS]
            for at, crossed, fan in passes:
                row[at : at + 2] = crossed
                row[at + 2 : at + 4] = crossed * fan
            row[ar.BOOKED] = counts.projection[q.index, BOOKED_ROWS] * n_out
            row[ar.SKIP_FORWARD] = counts.projection[q.index, SKIP_FORWARD]
            row[ar.SKIP_BACKWARD] = counts.projection[q.index, SKIP_BACKWARD]
            row[ar.SKIP_UPDATE] = counts.projection[q.index, SKIP_UPDATE]
        population = np.zeros((len(spikes), ar.POPULATION_COUNTERS), dtype=np.int64)
        population[:, ar.EVENTS] = spikes[:, EVENTS]
        population[:, ar.QUANTA] = spikes[:, QUANTA]
        population[:, ar.ERROR_EVENTS] = spikes[:, ERROR_EVENTS]
        population[:, ar.ERROR_QUANTA] = spikes[:, ERROR_QUANTA]
        network = np.zeros(ar.NETWORK_COUNTERS, dtype=np.int64)
        network[ar.INSTANTS] = counts.network[TICKS]
        network[ar.READINGS] = counts.network[READINGS]
        network[ar.TEACHINGS] = counts.network[TEACHINGS]
        return ar.Counters(population, projection, network)

    def paper_operations(self) -> int:
        """Return the additions so far as the paper's tables count them.

        Per quantum: forward ``n_out``, backward ``n_in``, update ``n_out`` or ``n_in``; without the
        projections that lead to an output.
        """
        inner = [q.index for q in self.plan.projections if q.target.kind != "output"]
        passes = (arrays.FORWARD, arrays.BACKWARD, arrays.ROW, arrays.COLUMN)
        return int(self.counters.projection[inner][:, [at + 3 for at in passes]].sum())

    # -- state -------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget everything but weights, biases, scales and whether it learns; sources start over."""
        self._book()
        kept = ("bias", "beta", "mean", "error_beta", "error_mean", "rate")
        for name, fresh in _fresh_state(self.plan, self._net)._asdict().items():
            if name not in kept:
                if name == "flags":
                    fresh[1] = self._state.flags[1]
                getattr(self._state, name)[...] = fresh
        for counts in self._counts:
            counts[...] = 0
        self._given = dict.fromkeys(self._sources, 0)
        self._feed.samples[:] = self._feed.cursor[:] = 0
        for p, source in self._sources.items():
            self._feed.more[p] = len(source) > 0

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that a run changes."""
        return {
            "state": {k: v.copy() for k, v in self._state._asdict().items()},
            "weights": self._weights.copy(),
            "cursors": {p: self._cursor(p) for p in self._sources},
            "counts": {k: v.copy() for k, v in self._counts._asdict().items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a state that `state` returned, for the same plan and sources."""
        for k, v in saved["state"].items():
            getattr(self._state, k)[...] = v
        self._weights[...] = saved["weights"]
        for k, v in saved["counts"].items():
            getattr(self._counts, k)[...] = v
        for p, cursor in saved["cursors"].items():
            self._given[p] = cursor
            self._feed.samples[p] = self._feed.cursor[p] = 0
            self._feed.more[p] = cursor < len(self._sources[p])

    def copy(self, sink: Sink | None = None) -> ClockedEngine:
        """Return an engine that does not learn, to evaluate with; it shares nothing with this one.

        Weights, biases, scales and the state of the forward coders are this one's; it stands at t0,
        without sources and with counters at zero. Adaptive scales go on adapting, in the copy.
        """
        other = ClockedEngine(self.plan, sink, self.dt, self.adapt)
        forward = ("x", "last", "phi", "on", "u", "bias", "beta", "mean")
        for name in (*forward, "error_beta", "error_mean", "rate"):
            getattr(other._state, name)[...] = getattr(self._state, name)
        for q in range(len(self.plan.projections)):
            other._put_weights(q, self.weights(q))
        other.learning = False
        return other

    # -- inside ------------------------------------------------------------------------------------

    def _put_weights(self, projection: int, weights: Floats) -> None:
        net, q = self._net, projection
        array = np.asarray(weights, dtype=np.float64)
        target = int(net.target[q])
        if net.constant[net.source[q]]:
            self.set_bias(target, self.plan.populations[target].bias + array[0])
            return
        stored = array.T if net.flipped[q] else array
        self._weights[net.weight_first[q] : net.weight_first[q + 1]] = stored.ravel()

    def _book(self) -> None:
        for q in np.flatnonzero(self._net.late).tolist():
            book_all(q, self._net, self._state, self._weights, self._scratch, self._counts)

    def _cursor(self, population: int) -> int:
        left = int(self._feed.samples[population] - self._feed.cursor[population])
        return self._given[population] - left

    def _allocate_feed(self) -> None:
        """Make room for one block of every source and start each where its cursor stands."""
        feed = self._feed
        time_size = value_size = 0
        for p, source in self._sources.items():
            capacity = min(max(BLOCK_VALUES // source.width, 1), max(len(source), 1))
            feed.capacity[p] = capacity
            feed.time_first[p], feed.value_first[p] = time_size, value_size
            feed.samples[p] = feed.cursor[p] = 0
            feed.more[p] = self._given[p] < len(source)
            time_size += capacity
            value_size += capacity * source.width
        self._feed = feed._replace(time=np.zeros(time_size), value=np.zeros(value_size))

    def _refill(self) -> None:
        feed = self._feed
        for p, source in self._sources.items():
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                start = self._given[p]
                times, values = source.block(start, start + int(feed.capacity[p]))
                a, b = feed.time_first[p], feed.value_first[p]
                feed.time[a : a + len(times)] = times
                feed.value[b : b + values.size] = values.ravel()
                feed.samples[p], feed.cursor[p] = len(times), 0
                self._given[p] = start + len(times)
                feed.more[p] = self._given[p] < len(source)

    def _drain(self) -> None:
        n = int(self._buffer.used[0])
        if n and self._sink is not None:
            buffer = self._buffer
            self._sink(
                buffer.time[:n].copy(),
                buffer.population[:n].copy(),
                buffer.neuron[:n].copy(),
                buffer.quanta[:n].copy(),
            )
            buffer.used[0] = 0


def _check(plan: Plan) -> None:
    """Refuse what the paper's algorithm has not."""
    for p in plan.populations:
        if p.kind == "source":
            raise ConfigError(
                f"{p.name}: a clocked network encodes its inputs itself; use a sensor"
            )
        if p.threshold != 0.5:
            raise ConfigError(
                f"threshold={p.threshold} on {p.name}: clocked coders round half to even; leave it "
                "at 0.5"
            )
    biased: set[int] = set()
    for q in plan.projections:
        for what, delay in (("delay", q.delay), ("error_delay", q.error_delay)):
            if delay > 0:
                raise ConfigError(
                    f"{what}={delay} s on {q.name}: a clocked network has none; set it to 0 or leave "
                    "the clock"
                )
        if q.sparse or q.bounds is not None:
            raise ConfigError(
                f"{q.name}: clocked projections are all to all, without bounds; leave the clock"
            )
        if q.source.constant and q.target.index in biased:
            raise ConfigError(f"{q.name}: a second constant sensor; a population has one bias")
        if q.source.constant:
            biased.add(q.target.index)
    if plan.rule is None:
        return
    if plan.rule.name not in RULES:
        raise ConfigError(f"rule {plan.rule.name}: a clocked network has {', '.join(RULES)}")
    cap = getattr(plan.rule, "cap", None)
    if cap is not None:
        raise ConfigError(
            f"cap={cap} on {plan.rule.name}: the paper's algorithm has no guard; give cap=None"
        )


def _zeros(n: int) -> Floats:
    """Return zeros that begin with a cache line: rows that straddle two cost a third more time."""
    room = np.zeros(n + 8)
    start = int(-(room.ctypes.data // 8) % 8)
    aligned: Floats = room[start : start + n]
    return aligned


def _offsets(sizes: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)


def _ragged(lists: list[list[int]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flat = [q for members in lists for q in members]
    return _offsets([len(m) for m in lists]), np.asarray(flat, dtype=np.int64)


def _grouped(
    lists: list[list[int]], ends: list[int], alpha: Floats, own: Floats
) -> tuple[list[list[float]], NDArray[np.int64]]:
    """Return each population's distinct k_alpha of what arrives, and each projection's place there."""
    groups = [
        list(dict.fromkeys(float(alpha[ends[q]]) for q in members)) or [float(own[p])]
        for p, members in enumerate(lists)
    ]
    place = np.zeros(len(ends), dtype=np.int64)
    for p, members in enumerate(lists):
        for q in members:
            place[q] = groups[p].index(float(alpha[ends[q]]))
    return groups, place


def _net(plan: Plan, dt: float, adapt: float) -> Net:
    kinds = {"sensor": SENSOR, "layer": LAYER, "output": OUTPUT}
    pops, projs = plan.populations, plan.projections
    sizes = [p.size for p in pops]
    constant = np.array([p.constant for p in pops])
    alpha = np.array([math.exp(-dt / p.tau) for p in pops])
    error_alpha = np.array([math.exp(-dt / p.error_tau) for p in pops])
    source = [q.source.index for q in projs]
    target = [q.target.index for q in projs]
    incoming = [[q for q in members if not constant[source[q]]] for members in plan.incoming]
    returning = [
        list(members) if pops[p].kind == "layer" else [] for p, members in enumerate(plan.returning)
    ]
    in_first, in_list = _ragged(incoming)
    back_first, back_list = _ragged(returning)
    groups, group = _grouped(incoming, source, alpha, alpha)
    back_groups, back_group = _grouped(returning, target, error_alpha, error_alpha)
    rule = FUTURE if plan.rule is None else RULES[plan.rule.name]
    plastic = [on and not constant[s] for on, s in zip(plan.plastic, source, strict=True)]
    late, flipped, window = [], [], []
    for q in projs:
        k, (n_in, n_out) = q.index, q.shape
        fade = alpha[source[k]] * error_alpha[target[k]]
        if plastic[k] and rule in (FUTURE, PAST) and fade == 1.0:
            raise ConfigError(
                f"tau={q.source.tau} s on {q.name}: its traces never fade, so that no spike's share of "
                "the future is finite; shorten it or take Reconstruction or TrueGradient"
            )
        late.append(plastic[k] and rule == FUTURE and n_out >= WIDE)
        flipped.append(not late[-1] and n_out < min(WIDE, n_in) and not constant[source[k]])
        slowness = math.log(WINDOW_FADE) / min(math.log(max(alpha[source[k]], 1e-300)), -1e-300)
        window.append(max(1, int(min(WINDOW, slowness))))
    eager = [on and not wait for on, wait in zip(plastic, late, strict=True)]
    teacher = np.full(len(pops), -1, dtype=np.int64)
    for q in projs:
        if plan.plastic[q.index] and q.source.constant:
            teacher[q.target.index] = q.index
    rate = round(1.0 / dt)
    return Net(
        kind=np.array([kinds[p.kind] for p in pops], dtype=np.int64),
        first=_offsets(sizes),
        alpha=alpha,
        relative=np.array([p.step for p in pops]),
        leak=np.array([p.leak for p in pops]),
        softmax=np.array([p.loss == "softmax" for p in pops]),
        has_error=np.array(plan.has_error, dtype=np.bool_),
        error_alpha=error_alpha,
        error_relative=np.array([1.0 if p.error_step is None else p.error_step for p in pops]),
        constant=constant,
        teacher=teacher,
        keeps_pre=np.array([any(eager[q.index] and q.source is p for q in projs) for p in pops]),
        keeps_post=np.array([any(plastic[q.index] and q.target is p for q in projs) for p in pops]),
        order=np.array(plan.order, dtype=np.int64),
        error_order=np.array(plan.error_order, dtype=np.int64),
        in_first=in_first,
        in_list=in_list,
        trace_first=_offsets([len(g) * n for g, n in zip(groups, sizes, strict=True)]),
        group_first=_offsets([len(g) for g in groups]),
        group_alpha=np.array([a for g in groups for a in g]),
        group=group,
        back_first=back_first,
        back_list=back_list,
        back_trace_first=_offsets([len(g) * n for g, n in zip(back_groups, sizes, strict=True)]),
        back_group_first=_offsets([len(g) for g in back_groups]),
        back_group_alpha=np.array([a for g in back_groups for a in g]),
        back_group=back_group,
        source=np.array(source, dtype=np.int64),
        target=np.array(target, dtype=np.int64),
        weight_first=_offsets([0 if q.source.constant else math.prod(q.shape) for q in projs]),
        plastic=np.array(plastic, dtype=np.bool_),
        flipped=np.array(flipped, dtype=np.bool_),
        late=np.array(late, dtype=np.bool_),
        pre_first=_offsets([q.shape[0] * late[q.index] for q in projs]),
        moves_first=_offsets([q.shape[1] * late[q.index] * (WINDOW + 1) for q in projs]),
        window=np.array(window, dtype=np.int64),
        area_first=_offsets(
            [math.prod(q.shape) * (plastic[q.index] and rule == PAST) for q in projs]
        ),
        rule=np.array([rule], dtype=np.int64),
        eta=np.array([adapt]),
        clock=np.array([plan.t0, dt, float(rate) if rate > 0 and 1.0 / rate == dt else 0.0]),
    )


def _fresh_state(plan: Plan, net: Net) -> State:
    n, projs = int(net.first[-1]), len(plan.projections)
    return State(
        x=np.repeat(net.constant, np.diff(net.first)).astype(np.float64),
        last=np.zeros(n),
        phi=np.zeros(n),
        on=np.ones(n),
        u=np.zeros(int(net.trace_first[-1])),
        bias=np.concatenate([p.bias for p in plan.populations]),
        beta=net.relative.copy(),
        mean=np.ones(len(plan.populations)),
        y=np.full(n, np.nan),
        e=np.zeros(n),
        error_last=np.zeros(n),
        error_phi=np.zeros(n),
        g=np.zeros(int(net.back_trace_first[-1])),
        error_beta=net.error_relative.copy(),
        error_mean=np.ones(len(plan.populations)),
        pre=np.zeros(n),
        post=np.zeros(n),
        area=np.zeros(int(net.area_first[-1])),
        charge=np.zeros(int(net.pre_first[-1])),
        waiting=_zeros(WINDOW * int(net.pre_first[-1])),
        moves=_zeros(int(net.moves_first[-1])),
        ticks=np.zeros(projs, dtype=np.int64),
        fade=np.ones(projs),
        written=np.zeros(n),
        written_time=np.full(len(plan.populations), np.inf),
        rate=np.zeros(projs),
        flags=np.array([0, int(plan.rule is not None), -1, 0], dtype=np.int64),
    )

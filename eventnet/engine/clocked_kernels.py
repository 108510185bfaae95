"""The clocked engine's kernels: the stages of one tick over flat arrays; see `clocked` for the equations.

`advance` is the main loop, `tick` runs the stages once.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from eventnet.engine.arrays import (
    BUFFER_FULL,
    DIVERGED,
    DONE,
    LAYER,
    NEEDS_SAMPLES,
    OUTPUT,
    SENSOR,
    Feed,
)
from eventnet.engine.equations import MAX_COUNT
from eventnet.engine.jit import Array, apart, kernel, summing
from eventnet.engine.marks import MARKS, lowest, nonzero

FADED = 1e18
"""A decayed trace below so many times the smallest normal number is zero.

Denormal numbers would slow every later pass.
"""

FORGOTTEN = {8: 1e-25, 4: 1e-12}
"""A presynaptic trace of fewer spikes than this is zero when changes are booked, by a number's bytes.

What it could still bring is far below the rounding of a weight.
"""

CHUNK = MARKS
"""A window's slots come in multiples of it: whole vectors."""

MOST_SLOTS = 64
"""Ticks with presynaptic spikes for which changes of weights may wait, at most.

The longer, the fewer rows are written whose traces are still fading; the more memory is read at each.
"""

WINDOW_FADE = {8: 2.0**-16, 4: 2.0**-8}
"""How far a presynaptic trace may decay within a window, by the size of a number in bytes.

`wait` may cancel that many bits.
"""

PLAIN = 2.0**20
"""Counts that add up to less are each in range, and their sum is exact in single precision."""

FEW = 8
"""Of so many elements one may fire for going from spike to spike to be faster than on vectors."""

WIDE = 32
"""Postsynaptic neurons from which on a row of weights is worth adding by itself."""

RULES = {"STDP": 0, "Past": 1, "Reconstruction": 2, "TrueGradient": 3}
FUTURE, PAST, RECONSTRUCTION, TRUE = range(4)

# Columns of what is counted of a population; the learned ones while learning is on.
EVENTS, QUANTA, ERROR_EVENTS, ERROR_QUANTA, LEARNED_EVENTS, LEARNED_QUANTA = range(6)

# Columns of what is counted of a projection beyond its populations' spikes.
BOOKED_ROWS, SKIP_FORWARD, SKIP_BACKWARD, SKIP_UPDATE, GUARDED = range(5)

# Entries of the network's counters.
TICKS, READINGS, TEACHINGS, LEARNED_TICKS = range(4)


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
    slots: Array  # (Q,) of a window, a multiple of CHUNK
    window_fade: Array  # (1,) that ends a window
    forgotten: Array  # (1,) of a presynaptic trace
    waiting_first: Array  # (Q+1,) offset of late rows' slots
    moves_first: Array  # (Q+1,) offset of late columns, slots + 1 blocks of them
    area_first: Array  # (Q+1,) offset of the past rule's products
    rule: Array  # (1,)
    cap: Array  # (1,) of the guard, inf: none
    eta: Array  # (1,) adaptation rate of the scales, 0: fixed
    clock: Array  # t0, ticks per second


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
    waiting: Array  # (late rows * slots,) their spikes in each slot of the window
    touched: Array  # (late rows,) how many of their slots hold spikes
    moves: Array  # V of each slot of the window, a block of late columns a slot; then `owed`
    ticks: Array  # (Q,) of the window that have passed
    taken: Array  # (Q,) slots of the window that are taken
    fade: Array  # (Q,) k_alpha to the window's ticks so far
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
    rate: Array  # (Q,) learning rate in use
    power: Array  # (P,) of the signals that a target learns by
    overlap: Array  # (MOST_SLOTS,)
    item: Array  # (MOST_SLOTS + 4,) slots of the window that have a share
    share: Array  # (MOST_SLOTS + 4,)
    nonzero: Array  # (P,) units that a network which skips zeros would have to process


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
    projection: Array  # (Q, 5)
    network: Array  # (4,)


# --------------------------------------------------------------------------------------------------
# Vectors; a scalar takes their precision, since a double among singles would make doubles of all
# --------------------------------------------------------------------------------------------------


@summing
def dot(a: Array, b: Array) -> float:
    """Return ``sum a*b``."""
    total: float = a.dtype.type(0.0)
    for k in range(a.shape[0]):
        total += a[k] * b[k]
    return total


@summing
def size_of(a: Array) -> float:
    """Return ``sum |a|``."""
    total: float = a.dtype.type(0.0)
    for k in range(a.shape[0]):
        total += abs(a[k])
    return total


@apart
def copy(out: Array, values: Array) -> None:
    """Write `values` into `out`."""
    for k in range(out.shape[0]):
        out[k] = values[k]


@apart
def add_row(out: Array, row: Array, factor: float) -> None:
    """Add ``factor*row`` to `out` in place."""
    scale = out.dtype.type(factor)
    for k in range(out.shape[0]):
        out[k] += scale * row[k]


@kernel
def add_spikes(out: Array, count: Array, spike: Array, n: int, factor: float) -> None:
    """Add ``factor*count`` to `out` in place; `spike` lists the `n` neurons whose count is not 0."""
    if n * FEW > count.shape[0]:
        add_row(out, count, factor)
        return
    scale = out.dtype.type(factor)
    for k in range(n):
        out[spike[k]] += scale * count[spike[k]]


@apart
def add_four(
    out: Array, a: Array, b: Array, c: Array, d: Array, by: tuple[float, float, float, float]
) -> None:
    """Add four rows to `out` in place, times the four numbers: one pass over `out` instead of four."""
    single = out.dtype.type
    fa, fb, fc, fd = single(by[0]), single(by[1]), single(by[2]), single(by[3])
    for k in range(out.shape[0]):
        out[k] += fa * a[k] + fb * b[k] + (fc * c[k] + fd * d[k])


@apart
def add_eight(
    out: Array,
    a: Array,
    b: Array,
    c: Array,
    d: Array,
    e: Array,
    f: Array,
    g: Array,
    h: Array,
    by: Array,
) -> None:
    """Add eight rows to `out` in place, times the eight numbers in `by`."""
    fa, fb, fc, fd, fe, ff, fg, fh = by[0], by[1], by[2], by[3], by[4], by[5], by[6], by[7]
    for k in range(out.shape[0]):
        left = fa * a[k] + fb * b[k] + (fc * c[k] + fd * d[k])
        out[k] += left + (fe * e[k] + ff * f[k] + (fg * g[k] + fh * h[k]))


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
            (
                amplitude * count[a],
                amplitude * count[b],
                amplitude * count[c],
                amplitude * count[d],
            ),
        )
        k += 4
    while k < n:
        a = rows[k]
        add_row(out, weights[a * size : (a + 1) * size], amplitude * count[a])
        k += 1


@kernel
def add_dots(
    out: Array, weights: Array, count: Array, spike: Array, n: int, amplitude: float
) -> None:
    """Add to each element of `out` its row times the counts; `spike` lists the `n` that are not 0."""
    size = count.shape[0]
    few = n * FEW <= size
    for k in range(out.shape[0]):
        row = weights[k * size : (k + 1) * size]
        if few:
            total = 0.0
            for m in range(n):
                total += row[spike[m]] * count[spike[m]]
        else:
            total = dot(row, count)
        out[k] += amplitude * total


@apart
def decode(trace: Array, factor: float, arrived: Array, out: Array) -> None:
    """Let `trace` decay and take what has arrived (Eq. 5), and add it to `out`; all in place."""
    scale, zero = trace.dtype.type(factor), trace.dtype.type(0.0)
    least = trace.dtype.type(FADED * np.finfo(trace.dtype).tiny)
    for k in range(trace.shape[0]):
        faded = scale * trace[k]
        trace[k] = (faded if abs(faded) > least else zero) + arrived[k]
        out[k] += trace[k]


@apart
def fade_all(trace: Array, factor: float) -> None:
    """Let `trace` decay in place."""
    scale, zero = trace.dtype.type(factor), trace.dtype.type(0.0)
    least = trace.dtype.type(FADED * np.finfo(trace.dtype).tiny)
    for k in range(trace.shape[0]):
        faded = scale * trace[k]
        trace[k] = faded if abs(faded) > least else zero


@apart
def activate(z: Array, on: Array, leak: float) -> None:
    """Replace z by h(z) and write h' into `on`."""
    slope, one, zero = z.dtype.type(leak), z.dtype.type(1.0), z.dtype.type(0.0)
    for j in range(z.shape[0]):
        on[j] = one if z[j] >= zero else slope
        z[j] *= on[j]


@apart
def encode(x: Array, last: Array, phi: Array, count: Array, alpha: float, beta: float) -> None:
    """Encode and quantize one tick (Eq. 4, 3): writes last, phi and count.

    Adding and subtracting 1.5/eps rounds ``|p| < .5/eps`` to whole numbers, halves to even.
    """
    kp, kd = x.dtype.type((1.0 - alpha) / beta), x.dtype.type(alpha / beta)
    rounding = x.dtype.type(1.5 / np.finfo(x.dtype).eps)
    for k in range(x.shape[0]):
        p = phi[k] + (kp * x[k] + kd * (x[k] - last[k]))
        s = (p + rounding) - rounding
        count[k] = s
        phi[k] = p - s
        last[k] = x[k]


@kernel
def total_in_range(count: Array) -> int:
    """Return ``sum |count|``; -1 if one is not what was to be rounded, or too large for a raster."""
    most = min(MAX_COUNT, 0.5 / np.finfo(count.dtype).eps)
    total = 0
    for k in range(count.shape[0]):
        if not abs(count[k]) <= most:
            return -1
        total += int(abs(count[k]))
    return total


@kernel
def list_spikes(count: Array, spike: Array) -> tuple[int, float]:
    """Write the neurons with a count into `spike`; return how many, and ``sum |count|``."""
    found = 0
    size = 0.0
    whole = count.shape[0] // MARKS * MARKS
    for start in range(0, whole, MARKS):
        bits = nonzero(count, start)
        while bits != 0:
            k = start + lowest(bits)
            bits &= bits - 1
            spike[found] = k
            found += 1
            size += abs(count[k])
    for k in range(whole, count.shape[0]):
        if count[k] != 0.0:
            spike[found] = k
            found += 1
            size += abs(count[k])
    return found, size


@summing
def count_nonzero(a: Array) -> int:
    """Return how many elements are not 0: a sum of their own type, which runs on vectors."""
    one, zero = a.dtype.type(1.0), a.dtype.type(0.0)
    n = zero
    for k in range(a.shape[0]):
        n += one if a[k] != zero else zero
    return int(n)


@apart
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


@apart
def squared_error(z: Array, y: Array, e: Array) -> None:
    """Write ``z - y``, or 0 where the target is missing, into `e`."""
    for k in range(z.shape[0]):
        e[k] = 0.0 if math.isnan(y[k]) else z[k] - y[k]


# --------------------------------------------------------------------------------------------------
# Stages of a tick
# --------------------------------------------------------------------------------------------------


@kernel
def tick_time(k: int, clock: Array) -> float:
    """Return the time of tick `k`, s."""
    time: float = clock[0] + k / clock[1]
    return time


@apart
def look_up(held: Array, code: Array, level: Array, whole: float) -> None:
    """Write into `held` the levels of bytes, or their parts of a `whole` that is not 0: on vectors."""
    if whole != 0.0:
        divisor = held.dtype.type(whole)
        for k in range(held.shape[0]):
            held[k] = held.dtype.type(code[k]) / divisor
    else:
        for k in range(held.shape[0]):
            held[k] = level[code[k]]


@kernel
def take_samples(t: float, net: Net, state: State, feed: Feed, counts: Counts) -> None:
    """Let each sensor and target take the latest it was given up to time `t`, recorded or written."""
    reading = False
    teaching = False
    for p in range(net.kind.shape[0]):
        a = net.first[p]
        size = net.first[p + 1] - a
        found = -1
        latest = -np.inf
        while (
            feed.cursor[p] < feed.samples[p] and feed.time[feed.time_first[p] + feed.cursor[p]] <= t
        ):
            found = feed.cursor[p]
            latest = feed.time[feed.time_first[p] + feed.cursor[p]]
            feed.cursor[p] += 1
        written = state.written_time[p]
        if not (written <= t or found >= 0):
            continue
        held = state.y if net.kind[p] == OUTPUT else state.x
        if latest <= written <= t:
            copy(held[a : a + size], state.written[a : a + size])
        elif feed.coded[p]:
            place = feed.value_first[p] + found * size
            code = feed.code[place : place + size]
            look_up(held[a : a + size], code, feed.level[p], feed.whole[p])
        else:
            place = feed.value_first[p] + found * size
            copy(held[a : a + size], feed.value[place : place + size])
        if written <= t:
            state.written_time[p] = np.inf
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
    count = scratch.spike_count[a:b]
    encode(state.x[a:b], state.last[a:b], state.phi[a:b], count, net.alpha[p], state.beta[p])
    return take_counts(p, count, scratch.spike[a:b], scratch.spikes, scratch.quanta)


@kernel
def encode_error(p: int, net: Net, state: State, scratch: Scratch) -> bool:
    """Encode the error of population `p`; False: it is out of range."""
    a, b = net.first[p], net.first[p + 1]
    e, last, phi = state.e[a:b], state.error_last[a:b], state.error_phi[a:b]
    count = scratch.error_count[a:b]
    encode(e, last, phi, count, net.error_alpha[p], state.error_beta[p])
    spikes, quanta = scratch.error_spikes, scratch.error_quanta
    return take_counts(p, count, scratch.error_spike[a:b], spikes, quanta)


@kernel
def take_counts(p: int, count: Array, spike: Array, spikes: Array, quanta: Array) -> bool:
    """Write who fires in population `p`, how many do, and their quanta; False: out of range."""
    spikes[p], size = list_spikes(count, spike)
    quanta[p] = int(size) if size < PLAIN else total_in_range(count)
    return bool(quanta[p] >= 0)


@kernel
def read_waiting(
    q: int, out: Array, net: Net, state: State, scratch: Scratch, amplitude: float
) -> None:
    """Add to `out` what the waiting changes of projection `q` contribute to a forward pass.

    Under the future rule row i of the weights has changed within the window by
    ``-sum_k s_i(k)*V(k) - charge_i*owed`` (`wait`): no row needs to be written before the window ends.
    """
    first = net.first[net.source[q]]
    slots = net.slots[q]
    waiting = state.waiting[net.waiting_first[q] : net.waiting_first[q + 1]]
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    overlap = scratch.overlap[:slots]
    overlap[:] = 0.0
    pull = 0.0
    for m in range(scratch.spikes[net.source[q]]):
        i = scratch.spike[first + m]
        s = scratch.spike_count[first + i]
        pull += s * charge[i]
        add_row(overlap, waiting[i * slots : (i + 1) * slots], s)
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
    slots = net.slots[q]
    moves = state.moves[net.moves_first[q] : net.moves_first[q + 1]]
    item, share = scratch.item, scratch.share
    found = 0
    for start in range(0, state.taken[q], CHUNK):  # slots beyond those taken hold nothing
        bits = nonzero(counts, start)
        while bits != 0:
            k = start + lowest(bits)
            bits &= bits - 1
            item[found] = k
            share[found] = factor * counts[k]
            found += 1
    item[found] = slots  # `owed` lies behind the window's last slot
    share[found] = factor * charge
    found += charge != 0.0
    while found & 3:
        item[found] = slots
        share[found] = 0.0
        found += 1
    k = 0
    while k < found:
        a, b, c, d = item[k] * n, item[k + 1] * n, item[k + 2] * n, item[k + 3] * n
        if k + 8 <= found:
            e, f, g, h = item[k + 4] * n, item[k + 5] * n, item[k + 6] * n, item[k + 7] * n
            add_eight(
                out,
                moves[a : a + n],
                moves[b : b + n],
                moves[c : c + n],
                moves[d : d + n],
                moves[e : e + n],
                moves[f : f + n],
                moves[g : g + n],
                moves[h : h + n],
                share[k : k + 8],
            )
            k += 8
        else:
            add_four(
                out,
                moves[a : a + n],
                moves[b : b + n],
                moves[c : c + n],
                moves[d : d + n],
                (share[k], share[k + 1], share[k + 2], share[k + 3]),
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
    slots = net.slots[q]
    overlap = scratch.overlap[:slots]
    overlap[:] = 0.0
    for k in range(state.taken[q]):
        a = net.moves_first[q] + k * n
        overlap[k] = dot(state.moves[a : a + n], count)
    pull = dot(state.moves[net.moves_first[q + 1] - n : net.moves_first[q + 1]], count)
    waiting = state.waiting[net.waiting_first[q] : net.waiting_first[q + 1]]
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    touched = state.touched[net.pre_first[q] : net.pre_first[q + 1]]
    scale = out.dtype.type(amplitude)
    for i in range(out.shape[0]):
        moved = charge[i] * pull
        if touched[i] > 0:
            moved += dot(waiting[i * slots : (i + 1) * slots], overlap)
        out[i] -= scale * moved


@kernel
def book_all(
    q: int, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts
) -> None:
    """Write all waiting changes of projection `q` into its weights and begin a new window."""
    dst = net.target[q]
    n = net.first[dst + 1] - net.first[dst]
    fade = state.fade[q]
    slots = net.slots[q]
    owed = state.moves[net.moves_first[q + 1] - n : net.moves_first[q + 1]]
    for i in range(net.pre_first[q + 1] - net.pre_first[q]):
        place = net.pre_first[q] + i
        charge = state.charge[place]
        if charge == 0.0 and state.touched[place] == 0:
            continue
        counts.projection[q, BOOKED_ROWS] += 1
        w = net.weight_first[q] + i * n
        if state.touched[place] == 0:
            add_row(weights[w : w + n], owed, -charge)
        else:
            a = net.waiting_first[q] + i * slots
            waiting = state.waiting[a : a + slots]
            add_waiting(q, weights[w : w + n], net, state, scratch, waiting, charge, -1.0)
            for k in range(state.taken[q]):
                waiting[k] = 0.0
            state.touched[place] = 0
        charge *= fade
        state.charge[place] = charge if abs(charge) > net.forgotten[0] else 0.0
    for j in range(n):
        owed[j] = 0.0
    state.taken[q] = 0
    state.ticks[q] = 0
    state.fade[q] = 1.0


@apart
def move(moves: Array, post: Array, gain: float, owed: Array, rise: float) -> None:
    """Write ``gain*post - rise*owed`` into `moves`."""
    by, less = moves.dtype.type(gain), moves.dtype.type(rise)
    for j in range(moves.shape[0]):
        moves[j] = by * post[j] - less * owed[j]


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
    slot = state.taken[q]
    a = net.moves_first[q] + slot * n
    owed = state.moves[net.moves_first[q + 1] - n : net.moves_first[q + 1]]
    moves = state.moves[a : a + n]
    post = state.post[net.first[dst] : net.first[dst + 1]]
    count = scratch.error_count[net.first[dst] : net.first[dst + 1]]
    fade = state.fade[q]
    rise = 1.0 / fade
    if scratch.spikes[src] > 0:  # V is for the spikes of its own tick
        move(moves, post, gain, owed, rise)
        state.taken[q] = slot + 1
    if scratch.error_spikes[dst] > 0:
        add_row(owed, count, gain * fade)
    first = net.first[src]
    for m in range(scratch.spikes[src]):
        i = scratch.spike[first + m]
        s = scratch.spike_count[first + i]
        place = net.pre_first[q] + i
        state.waiting[net.waiting_first[q] + i * net.slots[q] + slot] = s
        state.touched[place] += 1
        state.charge[place] += s * rise
    state.ticks[q] += 1
    state.fade[q] *= net.alpha[src]
    if state.taken[q] == net.slots[q] or state.fade[q] * net.alpha[src] < net.window_fade[0]:
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
            spike, n_spikes = scratch.spike[c:d], scratch.spikes[src]
            add_dots(out, w, scratch.spike_count[c:d], spike, n_spikes, state.beta[src])
        else:
            spike = scratch.spike[c:d]
            add_rows(out, w, spike, scratch.spikes[src], scratch.spike_count[c:d], state.beta[src])
            if state.ticks[q] > 0:
                read_waiting(q, out, net, state, scratch, state.beta[src])
    x = state.x[a:b]
    copy(x, state.bias[a:b])
    for k in range(net.group_first[p + 1] - net.group_first[p]):
        m = first + k * n
        factor = net.group_alpha[net.group_first[p] + k]
        decode(state.u[m : m + n], factor, scratch.arrived[m : m + n], x)
    if net.kind[p] == LAYER:
        activate(x, state.on[a:b], net.leak[p])


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
            spike, n_spikes = scratch.error_spike[c:d], scratch.error_spikes[dst]
            add_dots(out, w, count, spike, n_spikes, state.error_beta[dst])
            if state.ticks[q] > 0:
                return_waiting(q, out, net, state, scratch, state.error_beta[dst])
    e, on = state.e[a:b], state.on[a:b]
    e[:] = 0.0
    for k in range(net.back_group_first[p + 1] - net.back_group_first[p]):
        m = first + k * n
        factor = net.back_group_alpha[net.back_group_first[p] + k]
        decode(state.g[m : m + n], factor, scratch.returned[m : m + n], e)
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
    spike_c: Array,
    n_c: int,
    gain: float,
) -> None:
    """Add ``-gain*(s (x) (E + s_e) + X (x) s_e)`` (Eq. 20), X and E decayed; rows may be either side."""
    n = count_c.shape[0]
    change = weights.dtype.type(-gain)
    for r in range(count.shape[0]):
        s = change * count[r]
        x = change * trace[r]
        row = weights[r * n : (r + 1) * n]
        if s != 0.0:
            x += s
            for c in range(n):
                row[c] += s * trace_c[c] + x * count_c[c]
        elif x != 0.0:
            add_spikes(row, count_c, spike_c, n_c, x)


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
    single = weights.dtype.type
    rate, unit, unit_c = single(gain), single(beta), single(beta_c)
    for r in range(count.shape[0]):
        x = trace[r]
        row = weights[r * n : (r + 1) * n]
        u = area[r * n : (r + 1) * n]
        if count[r] != 0.0:
            new = x + unit * count[r]
            for c in range(n):
                row[c] -= rate * (u[c] - x * trace_c[c])
                u[c] = new * (trace_c[c] + unit_c * count_c[c])
        else:
            for k in range(n_c):
                c = spike_c[k]
                row[c] -= rate * (u[c] - x * trace_c[c])
                u[c] = x * (trace_c[c] + unit_c * count_c[c])


@kernel
def learn(q: int, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts) -> None:
    """Apply the rule to projection `q`; traces have decayed, but not yet taken this tick's spikes."""
    src, dst = net.source[q], net.target[q]
    a, b = net.first[src], net.first[src + 1]
    c, d = net.first[dst], net.first[dst + 1]
    rule = net.rule[0]
    rate = scratch.rate[q]
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
            learn_future(w, e, s_e, x, s, scratch.spike[a:b], n_x, gain)
        else:
            learn_future(w, x, s, e, s_e, scratch.error_spike[c:d], n_e, gain)
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
def guard(net: Net, state: State, scratch: Scratch, counts: Counts) -> None:
    """Write the learning rates in use: ``min(lr*dt, cap/sum_q |x_q|^2)`` over what a target learns by.

    A step of the raw error e along x changes what corrects e by ``lr*dt*|x|^2*e``.
    """
    copy(scratch.rate, state.rate)
    if net.cap[0] == np.inf:
        return
    scratch.power[:] = 0.0
    for q in range(net.source.shape[0]):
        if net.plastic[q]:
            x = state.x[net.first[net.source[q]] : net.first[net.source[q] + 1]]
            scratch.power[net.target[q]] += dot(x, x)
    for p in range(net.kind.shape[0]):
        scratch.power[p] += net.teacher[p] >= 0  # a learned bias
    for q in range(net.source.shape[0]):
        power = scratch.power[net.target[q]]
        if state.rate[q] * power > net.cap[0]:
            scratch.rate[q] = net.cap[0] / power
            counts.projection[q, GUARDED] += 1


@kernel
def plasticity(net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts) -> None:
    """Change weights, biases and traces at the end of a tick."""
    guard(net, state, scratch, counts)
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
            add_row(state.bias[a:b], state.e[a:b], -scratch.rate[net.teacher[p]])


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

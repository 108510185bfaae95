"""Synapses in the compiled engine: what spikes add along rows and columns, and the learning rules.

Each rule's equation and its plain form stand in `eventnet/plasticity/`; here it is over flat arrays.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine.arrays import (
    BACKWARD,
    BOOKED,
    COLUMN,
    FORWARD,
    GUARDED,
    PASSES,
    ROW,
    Counters,
    Fired,
    Flights,
    Net,
    Scratch,
    State,
)
from eventnet.engine.equations import (
    BOOKING_PERIOD,
    decay,
    fade,
    guarded_rate,
    trace_window,
)
from eventnet.engine.flights import arriving
from eventnet.engine.jit import Array, kernel

# --------------------------------------------------------------------------------------------------
# Rows and columns
# --------------------------------------------------------------------------------------------------


# The small functions take single arrays: each tuple of arrays that a function takes costs seconds of
# compiling.


@kernel
def row_of(i: int, n_out: int, sparse: bool, first: int, span: Array) -> tuple[int, int]:
    """Return where the row of presynaptic neuron `i` begins and ends among a projection's weights."""
    if sparse:
        return span[first + i], span[first + i + 1]
    return i * n_out, (i + 1) * n_out


@kernel
def clip(weight: float, bounded: bool, lower: float, upper: float) -> float:
    """Return a weight within its bounds."""
    return min(max(weight, lower), upper) if bounded else weight


@kernel
def count(
    counts: Array,
    column: int,
    quanta: Array,
    neuron: Array,
    first: int,
    n: int,
    fan: int,
    sparse: bool,
    span_first: int,
    span: Array,
) -> None:
    """Add `n` spikes to four counters: events, quanta, and both times the synapses that they cross."""
    counts[column] += n
    for k in range(first, first + n):
        size = np.int64(abs(quanta[k]))
        if sparse:
            fan = span[span_first + neuron[k] + 1] - span[span_first + neuron[k]]
        counts[column + 1] += size
        counts[column + 2] += fan
        counts[column + 3] += size * fan


@kernel
def catch_up(q: int, i: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Bring the row of presynaptic neuron `i` up to date with past spikes of its targets.

    ``w_ij += charge_i*(owed_j - booked_ij)``: see `learn_booked` (writes weights).
    """
    if net.rule[0] != 0:
        return
    place = net.pre_first[q] + i
    if state.seen[place] == state.version[q]:
        return
    state.seen[place] = state.version[q]
    n_out = net.first[net.target[q] + 1] - net.first[net.target[q]]
    a, b = row_of(i, n_out, net.sparse[q], net.span_first[q], net.span)
    bounded, lower, upper = net.bounded[q], net.lower[q], net.upper[q]
    counters.projection[q, BOOKED] += b - a
    owed = state.owed[net.post_first[q] : net.post_first[q + 1]]
    row = weights[net.weight_first[q] + a : net.weight_first[q] + b]
    booked = state.booked[net.booked_first[q] + a : net.booked_first[q] + b]
    charge = state.charge[place]
    if net.sparse[q]:
        for k in range(b - a):
            j = net.reach[net.edge_first[q] + a + k]
            row[k] = clip(row[k] + charge * (owed[j] - booked[k]), bounded, lower, upper)
            booked[k] = owed[j]
    elif net.bounded[q]:
        for j in range(b - a):
            row[j] = clip(row[j] + charge * (owed[j] - booked[j]), bounded, lower, upper)
            booked[j] = owed[j]
    else:
        for j in range(b - a):
            row[j] += charge * (owed[j] - booked[j])
            booked[j] = owed[j]


@kernel
def add_rows(
    q: int,
    net: Net,
    state: State,
    weights: Array,
    counters: Counters,
    neuron: Array,
    quanta: Array,
    first: int,
    n: int,
    arrived: Array,
) -> None:
    """Add the rows of the neurons that fired to `arrived` (Eq. 7, 8), neurons ascending."""
    base = net.weight_first[q]
    step = net.step[net.source[q]]
    for k in range(first, first + n):
        i = neuron[k]
        if net.plastic[q]:
            catch_up(q, i, net, state, weights, counters)
        a, b = row_of(i, arrived.shape[0], net.sparse[q], net.span_first[q], net.span)
        row = weights[base + a : base + b]
        scale = step * quanta[k]
        if net.sparse[q]:
            reach = net.reach[net.edge_first[q] + a : net.edge_first[q] + b]
            for m in range(row.shape[0]):
                arrived[reach[m]] += scale * row[m]
        else:
            for j in range(arrived.shape[0]):
                arrived[j] += scale * row[j]
    count(
        counters.projection[q],
        FORWARD,
        quanta,
        neuron,
        first,
        n,
        arrived.shape[0],
        net.sparse[q],
        net.span_first[q],
        net.span,
    )


@kernel
def add_columns(
    q: int,
    net: Net,
    state: State,
    weights: Array,
    counters: Counters,
    neuron: Array,
    quanta: Array,
    first: int,
    n: int,
    arrived: Array,
) -> None:
    """Add the columns of the error spikes to `arrived` (Eq. 12), for each row errors ascending."""
    base = net.weight_first[q]
    step = net.error_step[net.target[q]]
    bounded, lower, upper = net.bounded[q], net.lower[q], net.upper[q]
    count(
        counters.projection[q],
        BACKWARD,
        quanta,
        neuron,
        first,
        n,
        arrived.shape[0],
        net.sparse[q],
        net.column_span_first[q],
        net.column_span,
    )
    late = net.plastic[q] and net.rule[0] == 0
    if net.sparse[q]:
        for k in range(first, first + n):
            j = neuron[k]
            scale = step * quanta[k]
            column = net.column_span_first[q] + j
            for m in range(net.column_span[column], net.column_span[column + 1]):
                i = net.column_row[m]
                w = base + net.column_place[m]
                if late and state.seen[net.pre_first[q] + i] != state.version[q]:
                    owed = state.owed[net.post_first[q] + j]
                    booked = net.booked_first[q] + net.column_place[m]
                    change = state.charge[net.pre_first[q] + i] * (owed - state.booked[booked])
                    weights[w] = clip(weights[w] + change, bounded, lower, upper)
                    state.booked[booked] = owed
                    counters.projection[q, BOOKED] += 1
                arrived[i] += scale * weights[w]
        return
    size = net.first[net.target[q] + 1] - net.first[net.target[q]]
    for i in range(arrived.shape[0]):
        if net.plastic[q]:
            catch_up(q, i, net, state, weights, counters)
        row = weights[base + i * size : base + (i + 1) * size]
        total = arrived[i]
        for k in range(first, first + n):
            total += (step * quanta[k]) * row[neuron[k]]
        arrived[i] = total


# --------------------------------------------------------------------------------------------------
# The rules
# --------------------------------------------------------------------------------------------------


@kernel
def fade_all(trace: Array, factor: float) -> None:
    """Fade every element of `trace` in place."""
    for k in range(trace.shape[0]):
        trace[k] = fade(trace[k], factor)


@kernel
def plasticity_stage(
    t: float,
    q: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    fired: Fired,
    errors: Fired,
    scratch: Scratch,
    counters: Counters,
) -> None:
    """Let projection `q` learn from what arrived at `t` (writes weights and traces)."""
    src = net.source[q]
    pre, quanta, first, n = arriving(q, net.delay[q], src, net.first, fired, flights)
    post = errors if net.error_driven[0] else fired
    dst = net.target[q]
    m = post.number[dst]
    if n == 0 and m == 0:
        return
    n_in = net.first[src + 1] - net.first[src]
    n_out = net.first[dst + 1] - net.first[dst]
    counts = counters.projection[q]
    sparse = net.sparse[q]
    count(counts, ROW, quanta, pre, first, n, n_out, sparse, net.span_first[q], net.span)
    count(
        counts,
        COLUMN,
        post.quanta,
        post.neuron,
        net.first[dst],
        m,
        n_in,
        sparse,
        net.column_span_first[q],
        net.column_span,
    )
    counters.projection[q, PASSES] += 1
    rule = net.rule[0]
    if rule == 0:
        learn_booked(t, q, net, state, weights, scratch, counters, pre, quanta, first, n, post)
        return
    elapsed = t - state.trace_clock[q]
    if rule == 2:
        integrate(q, elapsed, net, state, weights)
    x_hat = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    e_hat = state.post[net.post_first[q] : net.post_first[q + 1]]
    fade_all(x_hat, decay(elapsed, net.pre_tau[q]))
    fade_all(e_hat, decay(elapsed, net.post_tau[q]))
    state.trace_clock[q] = t
    x = scratch.incoming[:n_in]  # spikes under way can arrive together: two of one neuron are one
    e = scratch.effect[:n_out]
    touched = scratch.touched[:n_in]
    x[:] = 0.0
    e[:] = 0.0
    touched[:] = False
    for k in range(first, first + n):
        x[pre[k]] += net.unit[q] * quanta[k]
        touched[pre[k]] = True
    for k in range(net.first[dst], net.first[dst] + m):
        e[post.neuron[k]] += net.post_unit[q] * post.quanta[k]
    if rule == 1:
        columns = post.neuron[net.first[dst] : net.first[dst] + m]
        learn_past(q, net, state, weights, x_hat, e_hat, x, e, touched, columns)
    for i in range(n_in):
        x_hat[i] += x[i]
    for j in range(n_out):
        e_hat[j] += e[j]


@kernel
def book_all(t: float, q: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Bring every row of projection `q` up to date and let its charges count from `t`."""
    factor = decay(t - state.origin[q], net.pre_tau[q])
    for i in range(net.pre_first[q + 1] - net.pre_first[q]):
        catch_up(q, i, net, state, weights, counters)
        place = net.pre_first[q] + i
        state.charge[place] = fade(state.charge[place], factor)
        state.seen[place] = 0
    state.owed[net.post_first[q] : net.post_first[q + 1]] = 0.0
    state.booked[net.booked_first[q] : net.booked_first[q + 1]] = 0.0
    state.version[q] = 0
    state.origin[q] = t


@kernel
def learn_booked(
    t: float,
    q: int,
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counters: Counters,
    pre: Array,
    quanta: Array,
    first: int,
    n: int,
    post: Fired,
) -> None:
    """Apply ``dw = a*x_s*e_hat + b*x_hat*e_s + d*x_s*e_s``: STDP (Eq. 20, corrected) and pair STDP.

    The second term, a change of whole columns, is booked late: between its own spikes a presynaptic
    trace only decays, x_hat_i(t) = charge_i*exp(-(t - origin)/tau), so that what a row has missed is
    charge_i times a number that is the same for all rows. Each postsynaptic spike adds to that
    number; a row books it when it is read.
    """
    dst = net.target[q]
    m = post.number[dst]
    at = net.first[dst]
    tau = net.pre_tau[q]
    if t - state.origin[q] > BOOKING_PERIOD * tau:
        book_all(t, q, net, state, weights, counters)
    scale = decay(t - state.origin[q], tau)
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    trace = state.post[net.post_first[q] : net.post_first[q + 1]]
    owed = state.owed[net.post_first[q] : net.post_first[q + 1]]
    elapsed = t - state.trace_clock[q]
    factor = decay(elapsed, tau)
    fade_all(trace, decay(elapsed, net.post_tau[q]))
    state.trace_clock[q] = t
    power = fade(fade(state.power[q], factor), factor)
    jumps = fade(state.jumps[q], factor)
    for k in range(first, first + n):
        x = net.unit[q] * quanta[k]
        jumps += x * x
        power += x * (2.0 * (charge[pre[k]] * scale) + x)
    state.power[q] = power
    state.jumps[q] = jumps
    window = trace_window(tau, net.post_tau[q])
    rate = guarded_rate(state.rate[q], window, power, jumps, net.cap[q])
    counters.projection[q, GUARDED] += rate < state.rate[q]
    for_row = rate * net.for_row[q]
    for_column = rate * net.for_column[q]
    for_pair = rate * net.for_pair[q]
    effect = scratch.effect[: trace.shape[0]]
    if n > 0:
        for j in range(trace.shape[0]):
            effect[j] = for_row * trace[j]
    for k in range(at, at + m):
        j = post.neuron[k]
        e = net.post_unit[q] * post.quanta[k]
        effect[j] += for_pair * e
        trace[j] += e
        owed[j] += (for_column * e) * scale
    state.version[q] += m > 0
    if m > 0 and net.bounded[q]:  # where a bound cuts depends on the way: no late booking
        for i in range(charge.shape[0]):
            catch_up(q, i, net, state, weights, counters)
    base = net.weight_first[q]
    bounded, lower, upper = net.bounded[q], net.lower[q], net.upper[q]
    for k in range(first, first + n):
        i = pre[k]
        catch_up(q, i, net, state, weights, counters)
        x = net.unit[q] * quanta[k]
        a, b = row_of(i, trace.shape[0], net.sparse[q], net.span_first[q], net.span)
        row = weights[base + a : base + b]
        if net.sparse[q]:
            for place in range(b - a):
                j = net.reach[net.edge_first[q] + a + place]
                row[place] = clip(row[place] + x * effect[j], bounded, lower, upper)
        elif net.bounded[q]:
            for j in range(b - a):
                row[j] = clip(row[j] + x * effect[j], bounded, lower, upper)
        else:
            for j in range(effect.shape[0]):
                row[j] += x * effect[j]
        charge[i] += x / scale


@kernel
def learn_past(
    q: int,
    net: Net,
    state: State,
    weights: Array,
    x_hat: Array,
    e_hat: Array,
    x: Array,
    e: Array,
    touched: Array,
    columns: Array,
) -> None:
    """Apply the past rule to the rows and columns that spikes touch, each synapse once (Eq. 19).

    It adds the area since a synapse was last touched, and notes its product from now on.
    """
    n_in, n_out = x_hat.shape[0], e_hat.shape[0]
    gain = -(state.rate[q] * trace_window(net.pre_tau[q], net.post_tau[q]))
    bounded, lower, upper = net.bounded[q], net.lower[q], net.upper[q]
    sparse = net.sparse[q]
    w = weights[net.weight_first[q] : net.weight_first[q + 1]]
    u = state.booked[net.booked_first[q] : net.booked_first[q + 1]]
    for i in range(n_in):  # row by row: rows are what lies together
        if not touched[i] and sparse:
            continue
        a, b = row_of(i, n_out, sparse, net.span_first[q], net.span)
        for k in range(b - a if touched[i] else columns.shape[0]):
            place = a + k if touched[i] else a + columns[k]
            j = net.reach[net.edge_first[q] + place] if sparse else place - a
            area = gain * (u[place] - x_hat[i] * e_hat[j])
            w[place] = clip(w[place] + area, bounded, lower, upper)
            u[place] = (x_hat[i] + x[i]) * (e_hat[j] + e[j])
    if sparse:
        for j in columns:
            column = net.column_span_first[q] + j
            for entry in range(net.column_span[column], net.column_span[column + 1]):
                i = net.column_row[entry]
                if not touched[i]:
                    place = net.column_place[entry]
                    area = gain * (u[place] - x_hat[i] * e_hat[j])
                    w[place] = clip(w[place] + area, bounded, lower, upper)
                    u[place] = x_hat[i] * (e_hat[j] + e[j])


@kernel
def integrate(q: int, elapsed: float, net: Net, state: State, weights: Array) -> None:
    """Add ``-lr`` times the integral of x_hat*e_hat over so many seconds to every synapse (Eq. 9)."""
    window = trace_window(net.pre_tau[q], net.post_tau[q])
    gain = state.rate[q] * window * math.expm1(-elapsed / window)
    base = net.weight_first[q]
    bounded, lower, upper = net.bounded[q], net.lower[q], net.upper[q]
    n_out = net.post_first[q + 1] - net.post_first[q]
    for i in range(net.pre_first[q + 1] - net.pre_first[q]):
        scale = gain * state.charge[net.pre_first[q] + i]
        a, b = row_of(i, n_out, net.sparse[q], net.span_first[q], net.span)
        for place in range(a, b):
            j = net.reach[net.edge_first[q] + place] if net.sparse[q] else place - a
            w = base + place
            weights[w] = clip(
                weights[w] + scale * state.post[net.post_first[q] + j], bounded, lower, upper
            )


@kernel
def finish(q: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Add to projection `q` what its traces leave open (writes weights); they are cleared after."""
    rule = net.rule[0]
    if rule == 0:
        book_all(state.origin[q], q, net, state, weights, counters)
    elif rule == 1:
        gain = -(state.rate[q] * trace_window(net.pre_tau[q], net.post_tau[q]))
        bounded, lower, upper = net.bounded[q], net.lower[q], net.upper[q]
        for k in range(net.booked_first[q + 1] - net.booked_first[q]):
            w = net.weight_first[q] + k
            weights[w] = clip(
                weights[w] + gain * state.booked[net.booked_first[q] + k], bounded, lower, upper
            )
    else:
        integrate(q, np.inf, net, state, weights)

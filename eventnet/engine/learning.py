"""Synapses in the compiled engine: what spikes add along rows and columns, and the learning rules.

Each rule's equation and its plain form stand in `eventnet/plasticity/`; here it is over flat arrays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

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
    CLOCK_PERIOD,
    decay,
    fade,
    guarded_rate,
    hold,
    strength,
    trace_window,
)
from eventnet.engine.flights import arriving
from eventnet.engine.jit import Array, inlined, kernel
from eventnet.engine.memory import AHEAD, prefetch

# A target's ledger, where rows are sparse and wait, is half a line of the cache: what its synapses are
# owed, its trace as of `trace_clock`, and what its error spikes of this instant add to a row's change.
LEDGER = 4
TRACE, COINCIDENT = 1, 2

# --------------------------------------------------------------------------------------------------
# Rows and columns
# --------------------------------------------------------------------------------------------------


class Synapses(NamedTuple):
    """One projection's part of the engine's arrays: what the functions below work on.

    Functions that take it are always inlined: passing it costs more than what most of them do.
    """

    weights: Array  # by rows
    booked: Array  # the same for what is booked; none: it does not learn
    owed: Array  # (n_out,), or (LEDGER*n_out,)
    charge: Array  # (n_in,)
    seen: Array  # (n_in,)
    version: Array  # (1,)
    counts: Array  # the projection's counters
    late: bool  # columns are booked late
    ledgers: bool  # and rows are sparse
    flipped: bool  # weights lie by columns
    sparse: bool
    span: Array  # (n_in + 1,) where rows begin, if sparse
    reach: Array  # target neuron of each weight, if sparse
    columns: Array  # (n_out + 1,) where columns begin in column_row, if sparse
    shared: bool
    share: Array  # place of each synapse's weight, if shared
    n_in: int
    n_out: int
    bounded: bool
    lower: float
    upper: float
    own: Array  # (n_in,) what each presynaptic neuron's spikes are times, or none


@inlined
def synapses_of(q: int, net: Net, state: State, weights: Array, counters: Counters) -> Synapses:
    """Return projection `q`'s part of the arrays."""
    record = net.projection[q]
    n_in = net.first[record.source + 1] - net.first[record.source]
    n_out = net.first[record.target + 1] - net.first[record.target]
    return Synapses(
        weights[net.weight_first[q] : net.weight_first[q + 1]],
        state.booked[net.booked_first[q] : net.booked_first[q + 1]],
        state.owed[net.owed_first[q] : net.owed_first[q + 1]],
        state.charge[net.pre_first[q] : net.pre_first[q + 1]],
        state.seen[net.pre_first[q] : net.pre_first[q + 1]],
        state.version[q : q + 1],
        counters.projection[q],
        record.late,
        record.ledgers,
        record.flipped,
        record.sparse,
        net.span[record.span_first : record.span_first + n_in + 1],
        net.reach[record.edge_first :],
        net.column_span[record.column_span_first : record.column_span_first + n_out + 1],
        record.shared,
        net.share[record.share_first :],
        n_in,
        n_out,
        record.bounded,
        record.lower,
        record.upper,
        state.own[net.own_first[record.source] : net.own_first[record.source + 1]],
    )


@inlined
def row_of(i: int, synapses: Synapses) -> tuple[int, int]:
    """Return where the row of presynaptic neuron `i` begins and ends among the weights."""
    if synapses.sparse:
        return synapses.span[i], synapses.span[i + 1]
    return i * synapses.n_out, (i + 1) * synapses.n_out


@inlined
def weight_at(synapse: int, synapses: Synapses) -> int:
    """Return where the weight of a synapse lies."""
    if synapses.shared:
        return int(synapses.share[synapse])
    return synapse


@inlined
def clip(weight: float, synapses: Synapses) -> float:
    """Return a weight within its bounds."""
    if synapses.bounded:
        return min(max(weight, synapses.lower), synapses.upper)
    return weight


@inlined
def whole(amount: float, i: int, own: Array) -> float:
    """Return the size of a count that is times what neuron `i` has of its own."""
    if own.shape[0] > 0:
        return float(np.rint(abs(amount) / own[i]))
    return abs(amount)


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
    span: Array,
    own: Array,
) -> None:
    """Add `n` spikes to four counters: events, quanta, and both times the synapses that they cross.

    Counts are times `own`, which may be empty.
    """
    size = 0.0
    synapses = n * fan
    additions = 0.0
    for k in range(first, first + n):
        size += whole(quanta[k], neuron[k], own)
    if sparse:
        synapses = 0
        for k in range(first, first + n):
            fan = span[neuron[k] + 1] - span[neuron[k]]
            synapses += fan
            additions += whole(quanta[k], neuron[k], own) * fan
    else:
        additions = size * fan
    counts[column] += n
    counts[column + 1] += np.int64(size)
    counts[column + 2] += synapses
    counts[column + 3] += np.int64(additions)


@inlined
def catch_up(i: int, synapses: Synapses) -> None:
    """Bring the row of presynaptic neuron `i` up to date with past spikes of its targets.

    ``w_ij += charge_i*(owed_j - booked_ij)``: see `learn_booked` (writes weights, booked).
    """
    if synapses.late and synapses.seen[i] != synapses.version[0]:
        synapses.seen[i] = synapses.version[0]
        a, b = row_of(i, synapses)
        synapses.counts[BOOKED] += b - a
        row, booked = synapses.weights[a:b], synapses.booked[a:b]
        if synapses.ledgers:
            book_reached(row, booked, synapses.owed, synapses.reach[a:b], synapses.charge[i])
        else:
            book(row, booked, synapses.owed, synapses.charge[i])


@kernel
def book(row: Array, booked: Array, owed: Array, charge: float) -> None:
    """Write into a row what it is owed."""
    for j in range(row.shape[0]):
        row[j] += charge * (owed[j] - booked[j])
        booked[j] = owed[j]


@kernel
def book_reached(row: Array, booked: Array, ledger: Array, reach: Array, charge: float) -> None:
    """Write into a row what it is owed, if it does not reach all targets."""
    for k in range(row.shape[0]):
        prefetch(ledger, LEDGER * reach[min(k + AHEAD, row.shape[0] - 1)])
        owed = ledger[LEDGER * reach[k]]
        row[k] += charge * (owed - booked[k])
        booked[k] = owed


@inlined
def add_rows(
    step: float,
    synapses: Synapses,
    neuron: Array,
    quanta: Array,
    first: int,
    n: int,
    arrived: Array,
) -> None:
    """Add the rows of the neurons that fired to `arrived` (Eq. 7, 8), neurons ascending."""
    weights = synapses.weights
    together = 0 if synapses.sparse or synapses.flipped else n - n % 4
    for k in range(first, first + together, 4):
        for m in range(k, k + 4):
            catch_up(neuron[m], synapses)
        add_four(step, weights, neuron[k : k + 4], quanta[k : k + 4], arrived)
    for k in range(first + together, first + n):
        i = neuron[k]
        catch_up(i, synapses)
        scale = step * quanta[k]
        a, b = row_of(i, synapses)
        row = weights[a:b]
        if synapses.sparse:
            reach = synapses.reach[a:b]
            for m in range(row.shape[0]):
                arrived[reach[m]] += scale * row[m]
        elif synapses.flipped:
            for j in range(arrived.shape[0]):
                arrived[j] += scale * weights[j * synapses.n_in + i]
        else:
            for j in range(arrived.shape[0]):
                arrived[j] += scale * row[j]
    count_forward(synapses, neuron, quanta, first, n)


@inlined
def count_forward(synapses: Synapses, neuron: Array, quanta: Array, first: int, n: int) -> None:
    """Count `n` spikes that cross a projection forward."""
    counts, fan, span = synapses.counts, synapses.n_out, synapses.span
    count(counts, FORWARD, quanta, neuron, first, n, fan, synapses.sparse, span, synapses.own)


@kernel
def add_four(step: float, weights: Array, neuron: Array, quanta: Array, arrived: Array) -> None:
    """Add four rows in one pass over `arrived`, in their order."""
    n = arrived.shape[0]
    a, b = (
        weights[neuron[0] * n : (neuron[0] + 1) * n],
        weights[neuron[1] * n : (neuron[1] + 1) * n],
    )
    c, d = (
        weights[neuron[2] * n : (neuron[2] + 1) * n],
        weights[neuron[3] * n : (neuron[3] + 1) * n],
    )
    of_a, of_b = step * quanta[0], step * quanta[1]
    of_c, of_d = step * quanta[2], step * quanta[3]
    for j in range(n):
        arrived[j] = (((arrived[j] + of_a * a[j]) + of_b * b[j]) + of_c * c[j]) + of_d * d[j]


@inlined
def add_columns(
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
    """Add the columns of the error spikes to `arrived` (Eq. 12), errors ascending.

    What a row is owed is added where it is read, not booked: few of a row's synapses are. `row` and
    `place` hold the entries of the columns of sparse projections.
    """
    n_in = arrived.shape[0]
    span = synapses.columns
    none = synapses.own[:0]
    count(synapses.counts, BACKWARD, quanta, neuron, first, n, n_in, synapses.sparse, span, none)
    weights, booked, charge = synapses.weights, synapses.booked, synapses.charge
    late = synapses.late
    if not (synapses.sparse or synapses.flipped):
        came, counts = neuron[first : first + n], quanta[first : first + n]
        if late:
            owed = synapses.owed
            add_across_late(step, weights, booked, owed, charge, came, counts, arrived)
        else:
            add_across(step, weights, synapses.n_out, came, counts, arrived)
        return
    together = n - n % 4 if synapses.flipped else 0
    for k in range(first, first + together, 4):
        add_four(step, weights, neuron[k : k + 4], quanta[k : k + 4], arrived)
    for k in range(first + together, first + n):
        j = neuron[k]
        scale = step * quanta[k]
        if synapses.flipped:
            column = weights[j * n_in : (j + 1) * n_in]
            for i in range(n_in):
                arrived[i] += scale * column[i]
            continue
        due = synapses.owed[LEDGER * j] if late else 0.0
        for m in range(span[j], span[j + 1]):
            i = row[m]
            w = weights[place[m]]
            if late:
                w += charge[i] * (due - booked[place[m]])
            arrived[i] += scale * w


@kernel
def add_across(
    step: float, weights: Array, n_out: int, came: Array, quanta: Array, arrived: Array
) -> None:
    """Add columns that lie across the rows, row by row: so that a cache line is read once."""
    for i in range(arrived.shape[0]):
        row = weights[i * n_out : (i + 1) * n_out]
        total = arrived[i]
        for k in range(came.shape[0]):
            total += (step * quanta[k]) * row[came[k]]
        arrived[i] = total


@kernel
def add_across_late(
    step: float,
    weights: Array,
    booked: Array,
    owed: Array,
    charge: Array,
    came: Array,
    quanta: Array,
    arrived: Array,
) -> None:
    """`add_across`, with what the rows are owed."""
    n_out = owed.shape[0]
    for i in range(arrived.shape[0]):
        row, mine = weights[i * n_out : (i + 1) * n_out], booked[i * n_out : (i + 1) * n_out]
        unit = charge[i]
        total = arrived[i]
        for k in range(came.shape[0]):
            j = came[k]
            total += (step * quanta[k]) * (row[j] + unit * (owed[j] - mine[j]))
        arrived[i] = total


@inlined
def change_column(
    j: int,
    change: float,
    synapses: Synapses,
    column_row: Array,
    column_place: Array,
    special: int | None,
) -> None:
    """Add ``charge*change`` to the column of target `j` at once (writes weights)."""
    weights, charge = synapses.weights, synapses.charge
    n_in = synapses.n_in
    if synapses.sparse:
        for m in range(synapses.columns[j], synapses.columns[j + 1]):
            place = column_place[m]
            if special is not None:
                place = weight_at(place, synapses)
            weights[place] = clip(weights[place] + charge[column_row[m]] * change, synapses)
        synapses.counts[BOOKED] += synapses.columns[j + 1] - synapses.columns[j]
        return
    synapses.counts[BOOKED] += n_in
    if not synapses.flipped:
        for i in range(n_in):
            place = i * synapses.n_out + j
            weights[place] = clip(weights[place] + charge[i] * change, synapses)
    elif synapses.bounded:
        for i in range(n_in):
            place = j * n_in + i
            weights[place] = clip(weights[place] + charge[i] * change, synapses)
    else:
        column = weights[j * n_in : (j + 1) * n_in]
        for i in range(n_in):
            column[i] += charge[i] * change


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
    special: int | None,
) -> None:
    """Let projection `q` learn from what arrived at `t` (writes weights and traces)."""
    src = net.projection[q].source
    pre, quanta, first, n = arriving(q, net.projection[q].delay, src, net.first, fired, flights)
    post = errors if net.error_driven[0] else fired
    dst = net.projection[q].target
    sender = net.projection[q].coder if net.error_driven[0] else dst
    begin = net.coder_first[sender]
    m = post.number[sender]
    if n == 0 and m == 0:
        return
    n_in = net.first[src + 1] - net.first[src]
    n_out = net.first[dst + 1] - net.first[dst]
    synapses = synapses_of(q, net, state, weights, counters)
    columns = synapses.columns
    sparse, counts = synapses.sparse, synapses.counts
    own = synapses.own
    count(counts, ROW, quanta, pre, first, n, n_out, sparse, synapses.span, own)
    count(counts, COLUMN, post.quanta, post.neuron, begin, m, n_in, sparse, columns, own[:0])
    counts[PASSES] += 1
    if special is not None and net.rule[0] != 0:
        learn_in_passes(t, q, net, state, synapses, scratch, pre, quanta, first, n, post, begin, m)
        return
    learn_booked(
        t, q, net, state, synapses, scratch, pre, quanta, first, n, post, begin, m, special
    )


@kernel
def learn_in_passes(
    t: float,
    q: int,
    net: Net,
    state: State,
    synapses: Synapses,
    scratch: Scratch,
    pre: Array,
    quanta: Array,
    first: int,
    n: int,
    post: Fired,
    begin: int,
    m: int,
) -> None:
    """Apply the past rule or reconstruction: passes over all traces, or over all synapses."""
    n_in, n_out = synapses.n_in, synapses.n_out
    rule = net.rule[0]
    elapsed = t - state.projection[q].trace_clock
    if rule == 2:
        integrate(elapsed, q, net, state, synapses)
    x_hat = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    e_hat = state.post[net.post_first[q] : net.post_first[q + 1]]
    fade_all(x_hat, decay(elapsed, net.projection[q].pre_tau))
    fade_all(e_hat, decay(elapsed, net.projection[q].post_tau))
    state.projection[q].trace_clock = t
    x = scratch.incoming[:n_in]  # spikes under way can arrive together: two of one neuron are one
    e = scratch.effect[:n_out]
    touched = scratch.touched[:n_in]
    x[:] = 0.0
    e[:] = 0.0
    touched[:] = False
    for k in range(first, first + n):
        x[pre[k]] += net.projection[q].unit * quanta[k]
        touched[pre[k]] = True
    for k in range(begin, begin + m):
        e[post.neuron[k]] += net.projection[q].post_unit * post.quanta[k]
    if rule == 1:
        gain = -(
            state.projection[q].rate
            * trace_window(net.projection[q].pre_tau, net.projection[q].post_tau)
        )
        came = post.neuron[begin : begin + m]
        learn_past(
            gain,
            synapses,
            x_hat,
            e_hat,
            x,
            e,
            touched,
            came,
            net.column_row,
            net.column_place,
        )
    for i in range(n_in):
        x_hat[i] += x[i]
    for j in range(n_out):
        e_hat[j] += e[j]


@kernel
def book_all(t: float, q: int, net: Net, state: State, synapses: Synapses) -> None:
    """Bring every row of projection `q` up to date and let its charges count from `t`."""
    factor = decay(t - state.projection[q].origin, net.projection[q].pre_tau)
    for i in range(synapses.charge.shape[0]):
        catch_up(i, synapses)
        synapses.charge[i] = fade(synapses.charge[i], factor)
        synapses.seen[i] = 0
    for k in range(0, synapses.owed.shape[0], LEDGER if synapses.ledgers else 1):
        synapses.owed[k] = 0.0
    synapses.booked[:] = 0.0
    state.version[q] = 0
    state.projection[q].origin = t


@kernel
def gauge(
    t: float,
    q: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
    special: int | None,
) -> None:
    """Bring the strength of projection `q`'s input to `t`, with the spikes that arrive now.

    For every projection, before any learns: the guard adds up those of one target.
    """
    record = net.projection[q]
    fired, errors = scratch.fired, scratch.errors
    pre, quanta, first, n = arriving(q, record.delay, record.source, net.first, fired, flights)
    m = errors.number[record.coder] if net.error_driven[0] else fired.number[record.target]
    if n == 0 and m == 0:
        return
    tau = record.pre_tau
    if t - state.projection[q].origin > BOOKING_PERIOD * tau:
        book_all(t, q, net, state, synapses_of(q, net, state, weights, counters))
    scale = decay(t - state.projection[q].origin, tau)
    factor = decay(t - state.projection[q].gauged, tau)
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    power = fade(fade(state.projection[q].power, factor), factor)
    jumps = fade(state.projection[q].jumps, factor)
    came = scratch.incoming[: charge.shape[0]]  # spikes under way can arrive together: they add up
    for k in range(first, first + n):
        came[pre[k]] = 0.0
    for k in range(first, first + n):
        i = pre[k]
        x = record.unit * quanta[k]
        weight = x
        if special is not None and net.position.shape[0] > 0:
            weight = x * net.position[net.pre_first[q] + i]
        jumps += weight * (2.0 * came[i] + x)
        power += weight * (2.0 * (charge[i] * scale + came[i]) + x)
        came[i] += x
    state.projection[q].gauged = t
    state.projection[q].power = power
    state.projection[q].jumps = jumps


@kernel
def total_strength(t: float, p: int, net: Net, state: State) -> float:
    """Return the strength of all input by which the synapses of `p` learn."""
    total = 0.0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        if net.projection[q].plastic:
            record = net.projection[q]
            now = state.projection[q]
            factor = decay(t - now.gauged, record.pre_tau)
            window = trace_window(record.pre_tau, record.post_tau)
            total += strength(window, now.power, now.jumps, factor)
    return total


@inlined
def learn_booked(
    t: float,
    q: int,
    net: Net,
    state: State,
    synapses: Synapses,
    scratch: Scratch,
    pre: Array,
    quanta: Array,
    first: int,
    n: int,
    post: Fired,
    at: int,
    m: int,
    special: int | None,
) -> None:
    """Apply ``dw = a*x_s*e_hat + b*x_hat*e_s + d*x_s*e_s``: STDP (Eq. 20, corrected) and pair STDP.

    The second term, a change of whole columns, is booked late: between its own spikes a presynaptic
    trace only decays, x_hat_i(t) = charge_i*exp(-(t - origin)/tau), so that what a row has missed is
    charge_i times a number that is the same for all rows. Each postsynaptic spike adds to that
    number; a row books it when its neuron spikes. Projections that do not wait change at once.

    Where rows are sparse and wait, postsynaptic traces are held as of `trace_clock`, and an instant
    touches only those that its spikes reach.
    """
    tau = net.projection[q].pre_tau
    post_tau = net.projection[q].post_tau
    scale = decay(t - state.projection[q].origin, tau)
    charge = synapses.charge
    owed, trace = synapses.owed, state.post[net.post_first[q] : net.post_first[q + 1]]
    effect, stride = scratch.effect, 1
    if synapses.ledgers:
        trace, effect, stride = owed[TRACE:], owed[COINCIDENT:], LEDGER
    elapsed = t - state.projection[q].trace_clock
    if not synapses.ledgers:
        fade_all(trace, decay(elapsed, post_tau))
        state.projection[q].trace_clock = t
    elif elapsed > CLOCK_PERIOD * post_tau:
        factor = decay(elapsed, post_tau)
        for j in range(0, trace.shape[0], stride):
            trace[j] = fade(trace[j], factor)
        state.projection[q].trace_clock = t
    factor = decay(t - state.projection[q].trace_clock, post_tau)
    rate = state.projection[q].rate
    if net.projection[q].cap < np.inf:
        total = total_strength(t, net.projection[q].target, net, state)
        rate = guarded_rate(rate, total, net.projection[q].cap)
    synapses.counts[GUARDED] += rate < state.projection[q].rate
    for_row = rate * net.projection[q].for_row
    for_column = rate * net.projection[q].for_column
    for_pair = rate * net.projection[q].for_pair
    if n > 0 and not synapses.ledgers:
        for j in range(trace.shape[0]):
            effect[j] = for_row * trace[j]
    for k in range(at, at + m):
        j = post.neuron[k]
        e = net.projection[q].post_unit * post.quanta[k]
        effect[stride * j] += for_pair * e
        change = (for_column * e) * scale
        if synapses.late:
            owed[stride * j] += change
        else:
            change_column(j, change, synapses, net.column_row, net.column_place, special)
    state.version[q] += synapses.late and m > 0
    for k in range(first, first + n):
        i = pre[k]
        catch_up(i, synapses)
        x = net.projection[q].unit * quanta[k]
        a, b = row_of(i, synapses)
        row = synapses.weights[a:b]
        if synapses.ledgers:
            change_row(row, synapses.reach[a:b], x, for_row * factor, owed)
        elif special is not None and synapses.shared:
            for k_row in range(a, b):
                place = synapses.share[k_row]
                moved = synapses.weights[place] + x * effect[synapses.reach[k_row]]
                synapses.weights[place] = clip(moved, synapses)
        elif synapses.sparse:
            reach = synapses.reach[a:b]
            for place in range(row.shape[0]):
                row[place] = clip(row[place] + x * effect[reach[place]], synapses)
        elif synapses.flipped:
            for j in range(trace.shape[0]):
                place = j * synapses.n_in + i
                synapses.weights[place] = clip(synapses.weights[place] + x * effect[j], synapses)
        elif synapses.bounded:
            for j in range(row.shape[0]):
                row[j] = clip(row[j] + x * effect[j], synapses)
        else:
            for j in range(row.shape[0]):
                row[j] += x * effect[j]
        charge[i] += x / scale
    for k in range(at, at + m):
        j = stride * post.neuron[k]
        trace[j] = hold(trace[j], factor, net.projection[q].post_unit * post.quanta[k])
        if synapses.ledgers:
            effect[j] = 0.0


@kernel
def change_row(row: Array, reach: Array, x: float, gain: float, ledger: Array) -> None:
    """Add ``x*(gain*trace + coincident)`` of its targets to a row that does not reach all."""
    for k in range(row.shape[0]):
        prefetch(ledger, LEDGER * reach[min(k + AHEAD, row.shape[0] - 1)])
        at = LEDGER * reach[k]
        row[k] += x * (gain * ledger[at + TRACE] + ledger[at + COINCIDENT])


@inlined
def learn_past(
    gain: float,
    synapses: Synapses,
    x_hat: Array,
    e_hat: Array,
    x: Array,
    e: Array,
    touched: Array,
    came: Array,
    column_row: Array,
    column_place: Array,
) -> None:
    """Apply the past rule to the rows and columns that spikes touch, each synapse once (Eq. 19).

    It adds the area since a synapse was last touched, and notes its product from now on: `booked` is
    the equation's u.
    """
    w, u, span = synapses.weights, synapses.booked, synapses.columns
    sparse = synapses.sparse
    if synapses.shared:  # in the order of the synapses, for it is that of a sum
        for i in range(x_hat.shape[0]):
            a, b = row_of(i, synapses)
            for k in range(a, b):
                j = synapses.reach[k]
                if touched[i] or e[j] != 0.0:
                    place = synapses.share[k]
                    w[place] = clip(w[place] + gain * (u[k] - x_hat[i] * e_hat[j]), synapses)
                    u[k] = (x_hat[i] + x[i]) * (e_hat[j] + e[j])
        return
    for i in range(x_hat.shape[0]):  # row by row: a row lies together
        if not touched[i] and sparse:
            continue
        a, b = row_of(i, synapses)
        for k in range(b - a if touched[i] else came.shape[0]):
            place = a + k if touched[i] else a + came[k]
            j = synapses.reach[place] if sparse else place - a
            area = gain * (u[place] - x_hat[i] * e_hat[j])
            w[place] = clip(w[place] + area, synapses)
            u[place] = (x_hat[i] + x[i]) * (e_hat[j] + e[j])
    if sparse:
        for j in came:
            for entry in range(span[j], span[j + 1]):
                i = column_row[entry]
                if not touched[i]:
                    place = column_place[entry]
                    area = gain * (u[place] - x_hat[i] * e_hat[j])
                    w[place] = clip(w[place] + area, synapses)
                    u[place] = x_hat[i] * (e_hat[j] + e[j])


@kernel
def integrate(elapsed: float, q: int, net: Net, state: State, synapses: Synapses) -> None:
    """Add ``-lr`` times the integral of x_hat*e_hat over so many seconds to every synapse (Eq. 9)."""
    window = trace_window(net.projection[q].pre_tau, net.projection[q].post_tau)
    gain = state.projection[q].rate * window * math.expm1(-elapsed / window)
    post = state.post[net.post_first[q] : net.post_first[q + 1]]
    for i in range(synapses.charge.shape[0]):
        scale = gain * synapses.charge[i]
        a, b = row_of(i, synapses)
        for k in range(a, b):
            j = synapses.reach[k] if synapses.sparse else k - a
            place = weight_at(k, synapses)
            synapses.weights[place] = clip(synapses.weights[place] + scale * post[j], synapses)


@kernel
def finish(q: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Add to projection `q` what its traces leave open (writes weights); they are cleared after."""
    synapses = synapses_of(q, net, state, weights, counters)
    rule = net.rule[0]
    if rule == 0:
        book_all(state.projection[q].origin, q, net, state, synapses)
    elif rule == 1:
        record = net.projection[q]
        gain = -(state.projection[q].rate * trace_window(record.pre_tau, record.post_tau))
        for k in range(synapses.booked.shape[0]):
            place = weight_at(k, synapses)
            moved = synapses.weights[place] + gain * synapses.booked[k]
            synapses.weights[place] = clip(moved, synapses)
    else:
        integrate(np.inf, q, net, state, synapses)


@kernel
def book_rows(q: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Bring every row of projection `q` up to date; charges go on counting."""
    synapses = synapses_of(q, net, state, weights, counters)
    for i in range(net.pre_first[q + 1] - net.pre_first[q]):
        catch_up(i, synapses)

"""Deliveries to local populations: they touch the neurons that they reach, and no others.

Such a population is large and its input sparse (`plan.LOCAL`). Its traces are held as of a clock that
stands still for `CLOCK_PERIOD`, so that what nothing reaches stays as it is. Neurons that are reached
are listed in the order in which rows reach them; of these the few that fire are sorted.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine.arrays import (
    OUTPUT,
    Buffer,
    Counters,
    Feed,
    Flights,
    Net,
    Rows,
    Scratch,
    State,
)
from eventnet.engine.equations import (
    CLOCK_PERIOD,
    MAX_COUNT,
    arrive_held,
    crossing,
    decay,
    fade,
    hold,
    quantize,
    set_forward,
    slope_of,
    threshold_ahead,
)
from eventnet.engine.flights import arriving, emit
from eventnet.engine.jit import Array, inlined, kernel
from eventnet.engine.learning import catch_up, count_forward, row_of, synapses_of
from eventnet.engine.memory import AHEAD, prefetch
from eventnet.engine.shared import take_row
from eventnet.engine.tournament import next_leaf, put

MANY = 8
"""Where more than one neuron in so many is reached, all are looked at."""

DENSE = 2
"""With more synapses than one for so many neurons, all are delivered to, a block after another."""

BLOCK = 2**15
"""Neurons in a block: what arrives there stays in the cache of a core."""

ROWS_AHEAD = 4
"""Rows by which a block asks ahead for what reaches it: a few lines of the cache each."""

LINES = 4
"""As many: of a thousand synapses among 10^6 neurons 33 reach a block, in three lines."""

# A neuron's cell: its input trace; of a layer its residual; of an output that forms an error the error
# without the trace, NaN without a target, as of when its residuals are, and those with their crossings.
PHI = 1
LEVEL, ANCHOR, CODERS = 1, 2, 3


def cell_size(kind: str, encodes: bool, coders: int) -> int:
    """Return how many numbers a cell has: of one that forms an error whole lines of the cache."""
    if kind == "layer":
        return 1 + PHI
    return -(-(CODERS + 2 * coders) // 8) * 8 if encodes else 1


@kernel
def forward_local(
    t: float,
    first_instant: bool,
    p: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
    buffer: Buffer,
) -> bool:
    """Deliver to local layer or output `p`; return False if it diverged."""
    a, b = net.first[p], net.first[p + 1]
    tau = net.group_tau[net.group_first[p]]
    if t - state.population[p].clock > CLOCK_PERIOD * tau:
        set_all_forward(t, p, tau, net, state)
    factor = decay(t - state.population[p].clock, tau)
    cells, stride = cells_of(p, net, state)
    here, end = net.local_first[p], net.local_first[p + 1]
    reached, amounts = scratch.reached[here:end], scratch.amounts[here:end]
    if net.population[p].kind == OUTPUT:
        scratch.reaches[p] = n = gather_local(p, net, state, weights, flights, scratch, counters)
        return deliver_traces(factor, cells, stride, reached[:n], amounts[:n])
    slope = state.slope[a:b]
    if first_instant:
        scratch.turned[p] = slope[0] != slope_of(0.0, net.population[p].leak)
        slope[:] = slope_of(0.0, net.population[p].leak)
    leak, theta = net.population[p].leak, net.population[p].theta
    per_step = net.population[p].per_step
    leaving = scratch.leaving
    leave = turned = broken = 0
    # One block is in the cache anyway, and faster by whole rows.
    if b - a > BLOCK and expected(p, net, scratch, flights) > (b - a) // DENSE:
        rows = list_rows(p, net, state, weights, flights, scratch, counters)
        for begin in range(0, b - a, BLOCK):
            block = slice(begin, min(begin + BLOCK, b - a))
            arrived = amounts[: block.stop - begin]
            gather_block(begin, rows, scratch.rows, net.reach, weights, arrived)
            of_block = deliver_block(
                factor, leak, per_step, theta, begin, arrived, cells, slope, leaving[leave:]
            )
            leave += of_block[0]
            turned += of_block[1]
            broken += of_block[2]
    else:
        n = gather_local(p, net, state, weights, flights, scratch, counters)
        leave, turned, broken = deliver_cells(
            factor, leak, per_step, theta, reached[:n], amounts[:n], cells, slope, leaving
        )
        ascend(leaving, leave, scratch.room)
    scratch.turned[p] |= turned > 0
    return broken == 0 and fire_local(t, p, leaving[:leave], net, state, scratch, buffer)


@kernel
def gather_local(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
) -> int:
    """List whom this instant's spikes reach at `p`, and what arrives there (writes reached, amounts).

    Returns how many there are.
    """
    arrived = scratch.arrived[net.trace_first[p] : net.trace_first[p + 1]]
    here, end = net.local_first[p], net.local_first[p + 1]
    reached, amounts = scratch.reached[here:end], scratch.amounts[here:end]
    n = rows = 0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        neuron, quanta, first, spikes = arriving(
            q, net.projection[q].delay, net.projection[q].source, net.first, scratch.fired, flights
        )
        if spikes == 0:
            continue
        synapses = synapses_of(q, net, state, weights, counters)
        step = net.population[net.projection[q].source].step
        for m in range(first, first + spikes):
            catch_up(neuron[m], synapses)
            first_of_row, after = row_of(neuron[m], synapses)
            row = synapses.weights[first_of_row:after]
            if net.projection[q].shared:
                row = scratch.row[: after - first_of_row]
                take_row(synapses.weights, synapses.share[first_of_row:after], row)
            reach = synapses.reach[first_of_row:after]
            if rows == 1:  # the first row turns out not to be the only one
                spread_out(reached, amounts, n, arrived)
            if rows == 0:
                n = copy_row(step * quanta[m], row, reach, reached, amounts)
            elif n > arrived.shape[0] // MANY:
                add_unlisted(step * quanta[m], row, reach, arrived)
            else:
                n = add_row(step * quanta[m], row, reach, arrived, reached, n)
            rows += 1
        count_forward(synapses, neuron, quanta, first, spikes)
    return collect(reached, amounts, n, arrived) if rows > 1 else n


@kernel
def expected(p: int, net: Net, scratch: Scratch, flights: Flights) -> float:
    """Return how many synapses this instant's spikes to `p` have, if their rows are of mean length.

    0 if there are more rows than room, or weights that do not lie in rows: `list_rows` cannot list them.
    """
    rows, synapses = 0, 0.0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        source = net.projection[q].source
        _, _, _, spikes = arriving(
            q, net.projection[q].delay, source, net.first, scratch.fired, flights
        )
        if spikes > 0 and net.projection[q].shared:
            return 0.0
        rows += spikes
        mean = (net.weight_first[q + 1] - net.weight_first[q]) / (
            net.first[source + 1] - net.first[source]
        )
        synapses += spikes * mean
    return synapses if rows <= scratch.rows.at.shape[0] else 0.0


@kernel
def list_rows(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
) -> int:
    """List the rows of this instant's spikes to `p` (writes rows); return how many there are."""
    rows = scratch.rows
    n = 0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        neuron, quanta, first, spikes = arriving(
            q, net.projection[q].delay, net.projection[q].source, net.first, scratch.fired, flights
        )
        synapses = synapses_of(q, net, state, weights, counters)
        edge_first = net.projection[q].edge_first
        for m in range(first, first + spikes):
            prefetch(synapses.span, neuron[min(m + AHEAD, first + spikes - 1)])
            catch_up(neuron[m], synapses)
            first_of_row, after = row_of(neuron[m], synapses)
            rows.at[n] = edge_first + first_of_row
            rows.after[n] = edge_first + after
            rows.ahead[n] = net.weight_first[q] - edge_first
            rows.scale[n] = net.population[net.projection[q].source].step * quanta[m]
            n += 1
        count_forward(synapses, neuron, quanta, first, spikes)
    return n


@kernel
def gather_block(
    begin: int, n: int, rows: Rows, reach: Array, weights: Array, arrived: Array
) -> None:
    """Add what of the `n` rows reaches the neurons from `begin` on (writes arrived, rows.at)."""
    arrived[:] = 0.0
    end = begin + arrived.shape[0]
    for r in range(n):
        coming = min(r + ROWS_AHEAD, n - 1)
        for line in range(0, LINES * 16, 16):
            prefetch(reach, rows.at[coming] + line)
            prefetch(weights, rows.at[coming] + rows.ahead[coming] + line)
        k, after, ahead, scale = rows.at[r], rows.after[r], rows.ahead[r], rows.scale[r]
        while k < after and reach[k] < end:
            arrived[reach[k] - begin] += scale * weights[k + ahead]
            k += 1
        rows.at[r] = k


@kernel
def copy_row(scale: float, row: Array, reach: Array, reached: Array, amounts: Array) -> int:
    """List whom the only row that arrives reaches."""
    for k in range(row.shape[0]):
        amounts[k] = scale * row[k]
    for k in range(row.shape[0]):
        reached[k] = reach[k]
    return int(row.shape[0])


@kernel
def add_row(
    scale: float, row: Array, reach: Array, arrived: Array, reached: Array, already: int
) -> int:
    """Add a row to `arrived` and list those that are not yet; return how many are."""
    listed = already
    for k in range(row.shape[0]):
        prefetch(arrived, reach[min(k + AHEAD, row.shape[0] - 1)])
        j = reach[k]
        before = arrived[j]
        reached[listed] = j
        listed += math.isnan(before)
        arrived[j] = some((0.0 if math.isnan(before) else before) + scale * row[k])
    return listed


@kernel
def add_unlisted(scale: float, row: Array, reach: Array, arrived: Array) -> None:
    """Add a row to `arrived`, of which all will be looked at."""
    for k in range(row.shape[0]):
        prefetch(arrived, reach[min(k + AHEAD, row.shape[0] - 1)])
        before = arrived[reach[k]]
        arrived[reach[k]] = some((0.0 if math.isnan(before) else before) + scale * row[k])


@inlined
def some(amount: float) -> float:
    """Return what arrives; inf, which has diverged as well, where NaN would say that nothing does."""
    return np.inf if math.isnan(amount) else amount


@kernel
def spread_out(reached: Array, amounts: Array, n: int, arrived: Array) -> None:
    """Write what is listed to where it arrives, among NaN (writes arrived)."""
    for k in range(n):
        prefetch(arrived, reached[min(k + AHEAD, n - 1)])
        arrived[reached[k]] = some(amounts[k])


@kernel
def collect(reached: Array, amounts: Array, n: int, arrived: Array) -> int:
    """List what has arrived at those reached, and leave NaN (writes amounts, arrived).

    If those listed are many, all are looked at and listed in their order: then what follows goes through
    memory once. Returns how many there are.
    """
    if n > arrived.shape[0] // MANY:
        listed = 0
        for j in range(arrived.shape[0]):
            amount = arrived[j]
            reached[listed] = j
            amounts[listed] = amount
            listed += not math.isnan(amount)
            arrived[j] = np.nan
        return listed
    for k in range(n):
        prefetch(arrived, reached[min(k + AHEAD, n - 1)])
        amounts[k] = arrived[reached[k]]
        arrived[reached[k]] = np.nan
    return n


@kernel
def set_all_forward(t: float, p: int, tau: float, net: Net, state: State) -> None:
    """Let the traces of local population `p` count from `t`."""
    factor = decay(t - state.population[p].clock, tau)
    state.population[p].clock = t
    cells, stride = cells_of(p, net, state)
    for at in range(0, cells.shape[0], stride):
        cells[at] = set_forward(cells[at], factor)


@inlined
def cells_of(p: int, net: Net, state: State) -> tuple[Array, int]:
    """Return the cells of local population `p`, and how many numbers each has."""
    n, first, stride = net.first[p + 1] - net.first[p], net.cell_first[p], net.population[p].stride
    return state.cells[first : first + n * stride], stride


@kernel
def deliver_traces(
    factor: float, cells: Array, stride: int, reached: Array, amounts: Array
) -> bool:
    """Deliver to an output (writes cells)."""
    broken = 0
    for k in range(reached.shape[0]):
        prefetch(cells, stride * reached[min(k + AHEAD, reached.shape[0] - 1)])
        at = stride * reached[k]
        cells[at] = hold(cells[at], factor, amounts[k])
        broken += not abs(cells[at]) < 1e300
    return broken == 0


@kernel
def deliver_cells(
    factor: float,
    leak: float,
    per_step: float,
    theta: float,
    reached: Array,
    amounts: Array,
    cells: Array,
    slope: Array,
    leaving: Array,
) -> tuple[int, int, int]:
    """Deliver to those of a layer that are listed (writes cells, slope, leaving).

    Returns how many residuals leave the threshold, slopes turned and traces left their range.
    """
    leave = turned = broken = 0
    for k in range(reached.shape[0]):
        prefetch(cells, 2 * reached[min(k + AHEAD, reached.shape[0] - 1)])
        j = reached[k]
        after, before, now, jump = arrive_held(cells[2 * j], factor, amounts[k], leak, per_step)
        phi = cells[2 * j + PHI] + jump
        cells[2 * j] = after
        cells[2 * j + PHI] = phi
        broken += not abs(after) < 1e300
        leaving[leave] = j
        leave += not abs(phi) <= theta
        if now != before:
            slope[j] = now
            turned += 1
    return leave, turned, broken


@kernel
def deliver_block(
    factor: float,
    leak: float,
    per_step: float,
    theta: float,
    begin: int,
    arrived: Array,
    cells: Array,
    slope: Array,
    leaving: Array,
) -> tuple[int, int, int]:
    """`deliver_cells` to all neurons of a block.

    Where nothing arrives nothing changes: the jump of 0 is 0 exactly.
    """
    leave = turned = broken = 0
    for k in range(arrived.shape[0]):
        j = begin + k
        after, before, now, jump = arrive_held(cells[2 * j], factor, arrived[k], leak, per_step)
        phi = cells[2 * j + PHI] + jump
        cells[2 * j] = after
        cells[2 * j + PHI] = phi
        slope[j] = now
        turned += now != before
        broken += not abs(after) < 1e300
        leaving[leave] = j
        leave += not abs(phi) <= theta
    return leave, turned, broken


@kernel
def fire_local(
    t: float, p: int, leaving: Array, net: Net, state: State, scratch: Scratch, buffer: Buffer
) -> bool:
    """Quantize the residuals that leave the threshold and fire; return False if one diverged."""
    cells, _ = cells_of(p, net, state)
    theta = net.population[p].theta
    for k in range(leaving.shape[0]):
        j = leaving[k]
        phi = cells[2 * j + PHI]
        if not abs(phi) <= MAX_COUNT:
            return False
        s = quantize(phi, theta, 0.0)
        cells[2 * j + PHI] = phi - s
        emit(t, p, p, net.first[p], j, s, scratch.fired, buffer)
    return True


@kernel
def ascend(values: Array, n: int, room: Array) -> None:
    """Sort the first `n` values, by merging (writes room): one row's neurons are in order already."""
    ordered = True
    for k in range(1, n):
        ordered = ordered and values[k - 1] <= values[k]
    width = n if ordered else 1
    while width < n:
        for begin in range(0, n, 2 * width):
            middle, end = min(begin + width, n), min(begin + 2 * width, n)
            left, right = begin, middle
            for k in range(begin, end):
                if left < middle and (right >= end or values[left] <= values[right]):
                    room[k] = values[left]
                    left += 1
                else:
                    room[k] = values[right]
                    right += 1
        for k in range(n):
            values[k] = room[k]
        width *= 2


# --------------------------------------------------------------------------------------------------
# The loss
# --------------------------------------------------------------------------------------------------


@kernel
def loss_local(
    t: float, p: int, net: Net, state: State, feed: Feed, scratch: Scratch, buffer: Buffer
) -> bool:
    """Encode the squared error of local output `p`, as `loss_stage` does where traces match."""
    taught = scratch.read[p] != -2
    if not (taught or scratch.delivered[p] or state.population[p].error_due == t):
        return True
    a = net.first[p]
    n = list_visited(t, p, taught, net, state, scratch)
    here = net.local_first[p]
    reached, amounts = scratch.reached[here : here + n], scratch.amounts[here : here + n]
    tau, theta = net.population[p].error_tau, net.population[p].theta
    coder = net.population[p].coder
    factor = decay(t - state.population[p].clock, tau)
    cells, stride = cells_of(p, net, state)
    leaving = scratch.leaving
    leave = 0
    for k in range(n):
        prefetch(cells, stride * reached[min(k + AHEAD, n - 1)])
        j = reached[k]
        at = stride * j
        on = not math.isnan(cells[at + LEVEL])
        before = cells[at + LEVEL] if on else 0.0
        jump = 0.0
        if taught:
            source = scratch.read[p]
            y = state.written[a + j] if source == -1 else feed.value[source + j]
            z = net.bias[a + j] + fade(cells[at], factor)
            old = z - state.y[a + j] if on else 0.0
            now_on = not math.isnan(y)
            state.y[a + j] = y if now_on else 0.0
            jump = (z - y if now_on else 0.0) - old
            state.gate[a + j] = 1.0 if now_on else 0.0
            cells[at + LEVEL] = net.bias[a + j] - state.y[a + j] if now_on else np.nan
        leaves = False
        c = coder
        i = at + CODERS
        while c >= 0:
            step = net.coder[c].step
            if cells[i + 1] == t:
                phi = threshold_ahead(theta, before)
            else:
                phi = cells[i]
                phi += before / (tau * step) * (t - cells[at + ANCHOR])
            if on:
                phi += amounts[k] / step
            if taught:
                phi += jump / step
            cells[i] = phi
            leaves |= not abs(phi) < theta
            c = net.coder[c].next
            i += 2
        cells[at + ANCHOR] = t
        leaving[leave] = j
        leave += leaves
        if not leaves:
            encode_error(t, j, p, tau, theta, net, state, scratch, buffer)
    ascend(leaving, leave, scratch.room)
    for k in range(leave):
        if not encode_error(t, leaving[k], p, tau, theta, net, state, scratch, buffer):
            return False
    state.population[p].error_due = state.error_tree[net.error_tree_first[p + 1] - 1]
    return True


@kernel
def list_visited(
    t: float,
    p: int,
    taught: bool,
    net: Net,
    state: State,
    scratch: Scratch,
) -> int:
    """List besides those reached the neurons that are due, or all if taught; return how many.

    To those that nothing has reached 0 arrives (writes reached, amounts).
    """
    arrived = scratch.arrived[net.trace_first[p] : net.trace_first[p + 1]]
    here, end = net.local_first[p], net.local_first[p + 1]
    reached, amounts = scratch.reached[here:end], scratch.amounts[here:end]
    n = scratch.reaches[p] if scratch.delivered[p] else 0
    tree, levels = error_tree(p, net, state)
    if not taught and tree[tree.shape[0] - 1] > t:
        return n
    spread_out(reached, amounts, n, arrived)
    while tree[tree.shape[0] - 1] == t:
        j = next_leaf(tree, levels)
        put(tree, levels, j, np.inf)  # until it is encoded
        if math.isnan(arrived[j]):
            arrived[j] = 0.0
            reached[n] = j
            n += 1
    if taught:
        n = arrived.shape[0]
        for j in range(n):
            reached[j] = j
            arrived[j] = 0.0 if math.isnan(arrived[j]) else arrived[j]
    collect(reached, amounts, n, arrived)
    return n


@inlined
def error_tree(p: int, net: Net, state: State) -> tuple[Array, Array]:
    """Return the tree of when the neurons of local output `p` send an error by themselves."""
    return (
        state.error_tree[net.error_tree_first[p] : net.error_tree_first[p + 1]],
        net.error_level_first[net.error_levels[p] : net.error_levels[p + 1]],
    )


@inlined
def encode_error(
    t: float,
    j: int,
    p: int,
    tau: float,
    theta: float,
    net: Net,
    state: State,
    scratch: Scratch,
    buffer: Buffer,
) -> bool:
    """Quantize neuron `j`'s error, fire and schedule its next spike; return False if it diverged."""
    cells, stride = cells_of(p, net, state)
    at = stride * j
    level = 0.0 if math.isnan(cells[at + LEVEL]) else cells[at + LEVEL]
    earlier = np.inf
    earliest = np.inf
    c = net.population[p].coder
    i = at + CODERS
    while c >= 0:
        phi = cells[i]
        if not abs(phi) <= MAX_COUNT:
            return False
        drift = level / (tau * net.coder[c].step)
        s = quantize(phi, theta, drift)
        earlier = min(earlier, cells[i + 1])
        cells[i] = phi - s
        cells[i + 1] = crossing(t, phi - s, theta, drift)
        earliest = min(earliest, cells[i + 1])
        if s != 0.0:
            code = net.population.shape[0] + c
            emit(t, code, c, net.coder_first[c], j, s, scratch.errors, buffer)
        c = net.coder[c].next
        i += 2
    if earliest != earlier:
        tree, levels = error_tree(p, net, state)
        put(tree, levels, j, earliest)
    return True

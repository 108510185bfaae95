"""The clocked engine's kernels: the stages of one tick over flat arrays; see `clocked` for the equations.

`advance` is the main loop, `tick` runs the stages once.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine.arrays import (
    BUFFER_FULL,
    DIVERGED,
    DONE,
    LAYER,
    NEEDS_SAMPLES,
    OUTPUT,
    SENSOR,
    Buffer,
    Feed,
)
from eventnet.engine.clocked_arrays import (
    ERROR_EVENTS,
    ERROR_QUANTA,
    EVENTS,
    LEARNED_EVENTS,
    LEARNED_QUANTA,
    LEARNED_TICKS,
    QUANTA,
    READINGS,
    SKIP_BACKWARD,
    SKIP_FORWARD,
    SKIP_UPDATE,
    SLOWNESS_TICKS,
    TEACHINGS,
    TICKS,
    Counts,
    Net,
    Scratch,
    State,
)
from eventnet.engine.clocked_arrivals import arrive, come_back
from eventnet.engine.clocked_lazy import backward_lazy, forward_lazy
from eventnet.engine.clocked_learning import plasticity
from eventnet.engine.clocked_scales import adapt_scales, is_priced, price_scales, value_scales
from eventnet.engine.jit import Array, kernel
from eventnet.engine.readings import due, place_of
from eventnet.engine.vectors import (
    PLAIN,
    activate,
    add_slowness,
    change_from,
    copy,
    count_nonzero,
    decode,
    decode_tapped,
    dot,
    encode,
    encode_codes,
    encode_tapped,
    list_spikes,
    look_up,
    size_of,
    softmax_error,
    squared_error,
    total_in_range,
)

NOTHING, WRITTEN = -1, -2
"""What a sensor or a target was given since the last tick, if not a recorded sample."""


@kernel
def tick_time(k: int, clock: Array) -> float:
    """Return the time of tick `k`, s."""
    time: float = clock[0] + k / clock[1]
    return time


@kernel
def take_samples(
    t: float, net: Net, state: State, feed: Feed, scratch: Scratch, counts: Counts
) -> None:
    """Find the latest that each sensor and target was given up to time `t`, recorded or written.

    Targets take it; for sensors it is noted which one it is (writes scratch.found): `encode_sensor`.
    """
    reading = False
    teaching = False
    for p in range(net.kind.shape[0]):
        a = net.first[p]
        size = net.first[p + 1] - a
        found = NOTHING
        latest = -np.inf
        while (
            feed.cursor[p] < feed.samples[p] and feed.time[feed.time_first[p] + feed.cursor[p]] <= t
        ):
            found = feed.cursor[p]
            latest = feed.time[feed.time_first[p] + feed.cursor[p]]
            feed.cursor[p] += 1
        written = state.written_time[p]
        if latest <= written <= t:
            found = WRITTEN
        if written <= t:
            state.written_time[p] = np.inf
        scratch.found[p] = found
        if found == NOTHING:
            continue
        reading = reading or net.kind[p] == SENSOR
        if net.kind[p] == OUTPUT:
            teaching = True
            place = feed.value_first[p] + found * size
            y = state.y[a : a + size]
            if found == WRITTEN:
                copy(y, state.written[a : a + size])
            elif feed.coded[p]:
                look_up(y, feed.code[place : place + size], feed.level[p], feed.whole[p])
            else:
                copy(y, feed.value[place : place + size])
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
def encode_sensor(
    p: int,
    net: Net,
    state: State,
    feed: Feed,
    scratch: Scratch,
    special: int | None,
    shift: float | None,
) -> bool:
    """Take the reading that `take_samples` found and encode it in one pass; False: out of range."""
    a, b = net.first[p], net.first[p + 1]
    x, phi, count = state.x[a:b], state.phi[a:b], scratch.spike_count[a:b]
    alpha, beta, found = net.alpha[p], state.beta[p], scratch.found[p]
    place = feed.value_first[p] + found * (b - a)
    if special is not None and net.before_first[p + 1] > net.before_first[p]:
        new = state.last[a:b]
        if found == NOTHING:
            copy(new, x)
        elif found == WRITTEN:
            copy(new, state.written[a:b])
        elif feed.coded[p]:
            look_up(new, feed.code[place : place + b - a], feed.level[p], feed.whole[p])
        else:
            copy(new, feed.value[place : place + b - a])
        return encode_fully(p, new, x, net, state, scratch)
    elif found == NOTHING:
        copy(state.last[a:b], x)
        encode(state.last[a:b], x, phi, count, alpha, beta, shift)
    elif found == WRITTEN:
        encode(state.written[a:b], x, phi, count, alpha, beta, shift)
    elif feed.coded[p]:
        code = feed.code[place : place + b - a]
        encode_codes(code, feed.level[p], feed.whole[p], x, phi, count, alpha, beta, shift)
    else:
        encode(feed.value[place : place + b - a], x, phi, count, alpha, beta, shift)
    return take_counts(p, count, scratch.spike[a:b], scratch.spikes, scratch.quanta)


@kernel
def encode_forward(p: int, net: Net, state: State, scratch: Scratch, special: int | None) -> bool:
    """Encode the signal of layer `p`; False: it is out of range."""
    a, b = net.first[p], net.first[p + 1]
    x, last, phi = state.x[a:b], state.last[a:b], state.phi[a:b]
    count = scratch.spike_count[a:b]
    if special is not None and net.before_first[p + 1] > net.before_first[p]:
        return encode_fully(p, x, last, net, state, scratch)
    elif special is not None and net.shift[p] > 0.0:
        encode(x, last, phi, count, net.alpha[p], state.beta[p], net.shift[p])
    else:
        encode(x, last, phi, count, net.alpha[p], state.beta[p], None)
    return take_counts(p, count, scratch.spike[a:b], scratch.spikes, scratch.quanta)


@kernel
def encode_fully(p: int, x: Array, last: Array, net: Net, state: State, scratch: Scratch) -> bool:
    """Encode the signal of population `p`, with two taps or scales of each neuron; False: out of range.

    What a neuron with a scale of its own sends stands in `spike_count` in parts of its population's.
    """
    a, b = net.first[p], net.first[p + 1]
    before = state.before[net.before_first[p] : net.before_first[p + 1]]
    share = state.share[net.share_first[p] : net.share_first[p + 1]]
    phi, count, spike = state.phi[a:b], scratch.spike_count[a:b], scratch.spike[a:b]
    taps = (net.alpha[p], net.second[p])
    encode_tapped(x, last, before, phi, count, taps, state.beta[p], share, net.shift[p])
    fine = take_counts(p, count, spike, scratch.spikes, scratch.quanta)
    if share.shape[0] > 0:
        for k in range(scratch.spikes[p]):
            count[spike[k]] *= share[spike[k]]
    return fine


@kernel
def encode_error(p: int, net: Net, state: State, scratch: Scratch, special: int | None) -> bool:
    """Encode the error of population `p`; False: it is out of range."""
    a, b = net.first[p], net.first[p + 1]
    e, last, phi = state.e[a:b], state.error_last[a:b], state.error_phi[a:b]
    count = scratch.error_count[a:b]
    if special is not None and net.shift[p] > 0.0:
        encode(e, last, phi, count, net.error_alpha[p], state.error_beta[p], net.shift[p])
    else:
        encode(e, last, phi, count, net.error_alpha[p], state.error_beta[p], None)
    spikes, quanta = scratch.error_spikes, scratch.error_quanta
    return take_counts(p, count, scratch.error_spike[a:b], spikes, quanta)


@kernel
def take_counts(p: int, count: Array, spike: Array, spikes: Array, quanta: Array) -> bool:
    """Write who fires in population `p`, how many do, and their quanta; False: out of range."""
    spikes[p], size = list_spikes(count, spike)
    quanta[p] = int(size) if size < PLAIN else total_in_range(count)
    return bool(quanta[p] >= 0)


@kernel
def forward(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counts: Counts,
    special: int | None,
) -> None:
    """Decode what arrives at `p` and apply its activation: writes u, x and on."""
    a, b = net.first[p], net.first[p + 1]
    n = b - a
    first = net.trace_first[p]
    scratch.arrived[first : net.trace_first[p + 1]] = 0.0
    arrive(p, net, state, weights, scratch, counts, special)
    x = state.x[a:b]
    move = state.move[net.move_first[p] : net.move_first[p + 1]]
    copy(move, x[: move.shape[0]])
    copy(x, state.bias[a:b])
    for k in range(net.group_first[p + 1] - net.group_first[p]):
        m = first + k * n
        g = net.group_first[p] + k
        u, arrived = state.u[m : m + n], scratch.arrived[m : m + n]
        if special is not None and net.group_second[g] != 0.0:
            before = state.u_before[net.group_before_first[g] : net.group_before_first[g + 1]]
            decode_tapped(u, before, (net.group_alpha[g], net.group_second[g]), arrived, x)
        else:
            decode(u, net.group_alpha[g], arrived, x)
    if net.kind[p] == LAYER:
        activate(x, state.on[a:b], net.leak[p])
    change_from(x[: move.shape[0]], move)


@kernel
def backward(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counts: Counts,
    special: int | None,
) -> None:
    """Decode the errors that come back to layer `p`, times h'(z) (Eq. 12): writes g and e."""
    a, b = net.first[p], net.first[p + 1]
    n = b - a
    first = net.back_trace_first[p]
    scratch.returned[first : net.back_trace_first[p + 1]] = 0.0
    come_back(p, net, state, weights, scratch, counts, special)
    e, on = state.e[a:b], state.on[a:b]
    e[:] = 0.0
    for k in range(net.back_group_first[p + 1] - net.back_group_first[p]):
        m = first + k * n
        factor = net.back_group_alpha[net.back_group_first[p] + k]
        decode(state.g[m : m + n], factor, scratch.returned[m : m + n], e)
    for j in range(n):
        e[j] *= on[j]
    if net.slowness[p] > 0.0:
        slow_down(p, net, state)


@kernel
def slow_down(p: int, net: Net, state: State) -> None:
    """Add to the error of layer `p` the gradient of how much it changes, in parts of its size.

    With d the change of x since the tick before and r^2 = <|d|^2>/<|x|^2>, means over
    `SLOWNESS_TICKS`, it is ``(d - r^2*x/2)/r``: see docs/theory.md, section 11.
    """
    a, b = net.first[p], net.first[p + 1]
    x, move = state.x[a:b], state.move[net.move_first[p] : net.move_first[p + 1]]
    square, move_square = dot(x, x), dot(move, move)
    if state.square[p] == 0.0:
        state.square[p], state.move_square[p] = square, move_square
    state.square[p] += (square - state.square[p]) / SLOWNESS_TICKS
    state.move_square[p] += (move_square - state.move_square[p]) / SLOWNESS_TICKS
    if state.square[p] > 0.0 and state.move_square[p] > 0.0:
        r = math.sqrt(state.move_square[p] / state.square[p])
        gain = net.slowness[p] / r
        add_slowness(state.e[a:b], state.on[a:b], move, x, gain, 0.5 * r * net.slowness[p])


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
        crossed = pre * net.synapses[q] // (net.first[src + 1] - net.first[src])
        if sampled & 1:
            counts.projection[q, SKIP_FORWARD] += crossed
        if sampled & 2 and net.has_error[dst]:
            pairs = crossed * post // (net.first[dst + 1] - net.first[dst])
            counts.projection[q, SKIP_BACKWARD] += pairs * net.has_error[src]
            counts.projection[q, SKIP_UPDATE] += pairs * net.plastic[q]


@kernel
def record(
    t: float,
    code: int,
    first: int,
    n: int,
    spike: Array,
    count: Array,
    share: Array,
    buffer: Buffer,
) -> None:
    """Write `n` spikes of one population into the recorder's buffer; counts may be times `share`."""
    used = buffer.used[0]
    for k in range(n):
        j = spike[first + k]
        buffer.time[used] = t
        buffer.population[used] = code
        buffer.neuron[used] = j
        each = count[first + j]
        buffer.quanta[used] = np.int32(np.rint(each / share[j]) if share.shape[0] > 0 else each)
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
    special: int | None,
) -> int:
    """Run one tick: forward, loss, backward, plasticity, scales. Returns a bad population or -1."""
    n = net.kind.shape[0]
    learning = state.flags[1] != 0
    readings, teachings = counts.network[READINGS], counts.network[TEACHINGS]
    take_samples(t, net, state, feed, scratch, counts)
    for p in range(n):
        if net.kind[p] != SENSOR or net.constant[p]:
            continue
        if special is not None and net.shift[p] > 0.0:
            fine = encode_sensor(p, net, state, feed, scratch, special, net.shift[p])
        else:
            fine = encode_sensor(p, net, state, feed, scratch, special, None)
        if not fine:
            return p
    for k in range(net.order.shape[0]):
        p = net.order[k]
        if special is not None and state.lazy[p]:
            if not forward_lazy(p, net, state, weights, scratch, counts):
                return int(p)
            continue
        forward(p, net, state, weights, scratch, counts, special)
        if net.kind[p] == LAYER:
            if not encode_forward(p, net, state, scratch, special):
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
                if not encode_error(p, net, state, scratch, special):
                    return int(p)
        for k in range(net.error_order.shape[0]):
            p = net.error_order[k]
            if special is not None and state.lazy[p]:
                if not backward_lazy(p, net, state, weights, scratch, counts):
                    return int(p)
                continue
            backward(p, net, state, weights, scratch, counts, special)
            if not encode_error(p, net, state, scratch, special):
                return int(p)
        if special is not None and net.price[0] > 0.0 and is_priced(state):
            value_scales(net, state, weights, scratch, counts)
        plasticity(net, state, weights, scratch, counts, special)
    if net.eta[0] > 0.0:
        adapt_scales(net, state)
    if special is not None and net.price[0] > 0.0:
        price_scales(net, state, scratch)
    sampled = (counts.network[READINGS] > readings) + 2 * (counts.network[TEACHINGS] > teachings)
    count_tick(net, state, scratch, counts, sampled)
    if buffer.time.shape[0] > 0:
        none = state.share[:0]
        for p in range(n):
            a = net.first[p]
            share = state.share[net.share_first[p] : net.share_first[p + 1]]
            record(t, p, a, scratch.spikes[p], scratch.spike, scratch.spike_count, share, buffer)
        for p in range(n):
            a = net.first[p]
            number = scratch.error_spikes[p]
            record(t, n + p, a, number, scratch.error_spike, scratch.error_count, none, buffer)
    return -1


@kernel
def read_due(
    before: float, until: float, inclusive: bool, net: Net, state: State, buffer: Buffer
) -> None:
    """Let all probes read that have to before the tick at `before`."""
    probes = buffer.probes
    k = due(before, until, inclusive, probes)
    while k >= 0:
        place, _ = place_of(k, probes)
        p = probes.population[k]
        a = net.first[p]
        for j in range(net.first[p + 1] - a):
            probes.value[place + j] = state.x[a + j] * state.held[p]
        k = due(before, until, inclusive, probes)


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
    special: int | None,
) -> int:
    """Run all ticks before `until` (up to and with it if `inclusive`): the main loop.

    Returns DONE; BUFFER_FULL when the recorder must take the
    spikes; NEEDS_SAMPLES when a feed has run dry; DIVERGED with the population in
    ``state.flags[2]``. Each leaves the engine between two ticks. `special` is None where no projection
    shares a kernel, all thresholds are 1/2, no coder has two taps and no scale a price: code for others
    is left out.
    """
    room = buffer.time.shape[0] - 2 * net.first[-1]
    while True:
        for p in range(net.kind.shape[0]):
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                return NEEDS_SAMPLES
        t = tick_time(state.flags[0], net.clock)
        if buffer.probes.left[0] > 0:
            read_due(t, until, inclusive, net, state, buffer)
        if t > until or (t == until and not inclusive):
            return DONE
        if buffer.time.shape[0] > 0 and buffer.used[0] > room:
            return BUFFER_FULL
        bad = tick(t, net, state, weights, feed, scratch, counts, buffer, special)
        state.flags[0] += 1
        if bad >= 0:
            state.flags[2] = bad
            return DIVERGED

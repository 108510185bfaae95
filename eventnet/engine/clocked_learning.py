"""How the clocked engine learns: the rules, and the window in which changes of weights wait."""

from __future__ import annotations

import numpy as np

from eventnet.engine.clocked_arrays import (
    BOOKED_ROWS,
    CHUNK,
    FUTURE,
    GUARDED,
    PAST,
    RECONSTRUCTION,
    TRUE,
    Counts,
    Net,
    Scratch,
    State,
)
from eventnet.engine.clocked_convolution import power_of, teach_kernels
from eventnet.engine.jit import Array, apart, kernel
from eventnet.engine.marks import lowest, nonzero
from eventnet.engine.vectors import (
    add_eight,
    add_four,
    add_row,
    add_spikes,
    add_two,
    copy,
    dot,
    fade_all,
    fade_tapped,
)


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
    if found & 1:
        item[found] = slots
        share[found] = 0.0
        found += 1
    k = 0
    while k < found:
        a, b = item[k] * n, item[k + 1] * n
        if k + 4 > found:
            add_two(out, moves[a : a + n], moves[b : b + n], (share[k], share[k + 1]))
            k += 2
            continue
        c, d = item[k + 2] * n, item[k + 3] * n
        if k + 8 > found:
            add_four(
                out,
                moves[a : a + n],
                moves[b : b + n],
                moves[c : c + n],
                moves[d : d + n],
                (share[k], share[k + 1], share[k + 2], share[k + 3]),
            )
            k += 4
            continue
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
def learn(
    q: int,
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counts: Counts,
    special: int | None,
) -> None:
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
        second = 0.0
        if special is not None:
            second = net.second[src] * net.error_alpha[dst] * net.error_alpha[dst]
        gain = rate * (state.beta[src] * state.error_beta[dst] / (1.0 - fade - second))
        if net.late[q]:
            wait(q, gain, net, state, weights, scratch, counts)
            return
        if n_x == 0 and n_e == 0:
            return
        x, s = state.pre[a:b], scratch.spike_count[a:b]
        e, s_e = state.post[c:d], scratch.error_count[c:d]
        if special is not None and second != 0.0:
            part = slice(net.before_first[src], net.before_first[src + 1])
            x = scratch.ahead[part]
            copy(x, state.pre[a:b])
            add_row(x, state.pre_before[part], net.second[src] * net.error_alpha[dst])
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
def guard(net: Net, state: State, scratch: Scratch, counts: Counts, special: int | None) -> None:
    """Write the learning rates in use: ``min(lr*dt, cap/sum_q |x_q|^2)`` over what a target learns by.

    A step of the raw error e along x changes what corrects e by ``lr*dt*|x|^2*e``. A kernel takes as
    many steps as it has positions, so that each x counts as often as one sees it.
    """
    copy(scratch.rate, state.rate)
    if net.cap[0] == np.inf:
        return
    scratch.power[:] = 0.0
    for q in range(net.source.shape[0]):
        if net.plastic[q]:
            src = net.source[q]
            x = state.x[net.first[src] : net.first[src + 1]]
            power = 0.0
            if special is not None and net.shared[q]:
                position = net.position[net.position_first[q] : net.position_first[q + 1]]
                power = power_of(position, x)
            else:
                power = dot(x, x)
            if special is not None:
                power *= state.held[src] * state.held[src]
            scratch.power[net.target[q]] += power
    for p in range(net.kind.shape[0]):
        scratch.power[p] += net.teacher[p] >= 0  # a learned bias
    for q in range(net.source.shape[0]):
        power = scratch.power[net.target[q]]
        if state.rate[q] * power > net.cap[0]:
            scratch.rate[q] = net.cap[0] / power
            counts.projection[q, GUARDED] += 1


@kernel
def plasticity(
    net: Net,
    state: State,
    weights: Array,
    scratch: Scratch,
    counts: Counts,
    special: int | None,
) -> None:
    """Change weights, biases and traces at the end of a tick."""
    guard(net, state, scratch, counts, special)
    for p in range(net.kind.shape[0]):
        if special is not None and net.second[p] != 0.0:
            if net.keeps_pre[p]:
                before = state.pre_before[net.before_first[p] : net.before_first[p + 1]]
                pre = state.pre[net.first[p] : net.first[p + 1]]
                fade_tapped(pre, before, (net.alpha[p], net.second[p]))
        elif net.keeps_pre[p]:
            fade_all(state.pre[net.first[p] : net.first[p + 1]], net.alpha[p])
        if net.keeps_post[p]:
            fade_all(state.post[net.first[p] : net.first[p + 1]], net.error_alpha[p])
    reconstructs = net.rule[0] == RECONSTRUCTION
    if reconstructs:
        take_spikes(net, state, scratch)
    for q in range(net.source.shape[0]):
        if net.plastic[q] and not net.shared[q]:
            learn(q, net, state, weights, scratch, counts, special)
    if not reconstructs:
        take_spikes(net, state, scratch)
    if special is not None:
        teach_kernels(net, state, weights, scratch, counts)
    for p in range(net.kind.shape[0]):
        if net.teacher[p] >= 0:
            a, b = net.first[p], net.first[p + 1]
            add_row(state.bias[a:b], state.e[a:b], -scratch.rate[net.teacher[p]])

"""Layers of the clocked engine in which a tick touches only what its spikes reach.

A layer without bias, whose input decays with its own k_alpha, is silent between arrivals: u and x fade
alike, and ``kp*x + kd*(x - x_last) = (x - k_alpha*x_last)/k_beta`` is zero. So u and x are held: their
decay since some tick stands apart (`State.held`), and what arrives is divided by it. An arrival moves the
residual by ``(h(u + arrived) - h(u))/k_beta``. Errors of such a layer are held in the same way. Blocks
of neurons are touched as a whole, for vectors. Networks that learn by signals, or whose scales adapt,
have no such layers.
"""

from __future__ import annotations

import numpy as np

from eventnet.engine.clocked_arrays import BLOCK, Counts, Net, Scratch, State
from eventnet.engine.clocked_arrivals import arrive, come_back
from eventnet.engine.jit import Array, apart, kernel
from eventnet.engine.vectors import PLAIN, fade_all, list_spikes, rounded, total_in_range


@kernel
def forward_lazy(
    p: int, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts
) -> bool:
    """Decode what arrives at `p`, apply its activation and encode; False: it is out of range."""
    a, b = net.first[p], net.first[p + 1]
    t = net.trace_first[p]
    u, x, count, spike = state.u[t:], state.x[a:b], scratch.spike_count[a:b], scratch.spike[a:b]
    state.held[p] *= net.alpha[p]
    if state.held[p] < net.window_fade[0]:
        fade_all(u[: b - a], state.held[p])
        fade_all(x, state.held[p])
        state.held[p] = 1.0
    forget(count, spike, scratch.spikes[p])
    arrive(p, net, state, weights, scratch, counts, 1)
    found, size = 0, 0.0
    rise, fall = 1.0 / state.held[p], state.held[p] / state.beta[p]
    first = net.block_first[p]
    for block in range(net.block_first[p + 1] - first):
        if not scratch.mark[first + block]:
            continue
        scratch.mark[first + block] = False
        scratch.error_mark[first + block] = True  # its slopes may have changed
        c = block * BLOCK
        d = min(c + BLOCK, b - a)
        arrived = scratch.arrived[t + c : t + d]
        on, phi, counted = state.on[a + c : a + d], state.phi[a + c : a + d], count[c:d]
        by = (rise, fall, net.leak[p])
        if net.shift[p] == 0.0:
            take_arrived(u[c:d], arrived, on, x[c:d], phi, counted, by, None)
        else:
            take_arrived(u[c:d], arrived, on, x[c:d], phi, counted, by, net.shift[p])
        n, more = list_spikes(counted, spike[found:])
        for k in range(found, found + n):
            spike[k] += c
        found += n
        size += more
    scratch.spikes[p] = found
    scratch.quanta[p] = int(size) if size < PLAIN else total_in_range(count)
    return bool(scratch.quanta[p] >= 0)


@kernel
def backward_lazy(
    p: int, net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts
) -> bool:
    """Decode the errors that come back to `p`, times h'(z), and encode; False: out of range."""
    a, b = net.first[p], net.first[p + 1]
    t = net.back_trace_first[p]
    g, e = state.g[t:], state.e[a:b]
    count, spike = scratch.error_count[a:b], scratch.error_spike[a:b]
    state.held_error[p] *= net.error_alpha[p]
    if state.held_error[p] < net.window_fade[0]:
        fade_all(g[: b - a], state.held_error[p])
        fade_all(e, state.held_error[p])
        state.held_error[p] = 1.0
    forget(count, spike, scratch.error_spikes[p])
    come_back(p, net, state, weights, scratch, counts, 1)
    found, size = 0, 0.0
    rise, fall = 1.0 / state.held_error[p], state.held_error[p] / state.error_beta[p]
    first = net.block_first[p]
    for block in range(net.block_first[p + 1] - first):
        if not scratch.error_mark[first + block]:
            continue
        scratch.error_mark[first + block] = False
        c = block * BLOCK
        d = min(c + BLOCK, b - a)
        returned = scratch.returned[t + c : t + d]
        on, phi, counted = state.on[a + c : a + d], state.error_phi[a + c : a + d], count[c:d]
        if net.shift[p] == 0.0:
            take_returned(g[c:d], returned, on, e[c:d], phi, counted, rise, fall, None)
        else:
            take_returned(g[c:d], returned, on, e[c:d], phi, counted, rise, fall, net.shift[p])
        n, more = list_spikes(counted, spike[found:])
        for k in range(found, found + n):
            spike[k] += c
        found += n
        size += more
    scratch.error_spikes[p] = found
    scratch.error_quanta[p] = int(size) if size < PLAIN else total_in_range(count)
    return bool(scratch.error_quanta[p] >= 0)


@kernel
def forget(count: Array, spike: Array, n: int) -> None:
    """Clear the counts of the last tick's `n` spikes."""
    for k in range(n):
        count[spike[k]] = 0.0


@apart
def take_arrived(
    u: Array,
    arrived: Array,
    on: Array,
    x: Array,
    phi: Array,
    count: Array,
    by: tuple[float, float, float],
    shift: float | None,
) -> None:
    """Add what arrived to a block (Eq. 5, 7), encode and quantize (Eq. 4, 3): writes all; arrived: 0."""
    up, down, slope = u.dtype.type(by[0]), u.dtype.type(by[1]), u.dtype.type(by[2])
    one, zero = u.dtype.type(1.0), u.dtype.type(0.0)
    rounding = u.dtype.type(1.5 / np.finfo(u.dtype).eps)
    above = None if shift is None else u.dtype.type(shift)
    for j in range(u.shape[0]):
        u[j] += up * arrived[j]
        arrived[j] = zero
        on[j] = one if u[j] >= zero else slope
        new = u[j] * on[j]
        p = phi[j] + down * (new - x[j])
        s = rounded(p, above, rounding)
        x[j] = new
        count[j] = s
        phi[j] = p - s


@apart
def take_returned(
    g: Array,
    returned: Array,
    on: Array,
    e: Array,
    phi: Array,
    count: Array,
    rise: float,
    fall: float,
    shift: float | None,
) -> None:
    """Add what came back to a block, times h'(z) (Eq. 12), encode and quantize: writes all but `on`."""
    up, down, zero = g.dtype.type(rise), g.dtype.type(fall), g.dtype.type(0.0)
    rounding = g.dtype.type(1.5 / np.finfo(g.dtype).eps)
    above = None if shift is None else g.dtype.type(shift)
    for j in range(g.shape[0]):
        g[j] += up * returned[j]
        returned[j] = zero
        new = g[j] * on[j]
        p = phi[j] + down * (new - e[j])
        s = rounded(p, above, rounding)
        e[j] = new
        count[j] = s
        phi[j] = p - s

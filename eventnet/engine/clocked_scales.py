"""How the clocked engine changes its coders' scales: with signals' sizes, or by what spikes are worth."""

from __future__ import annotations

import math

from eventnet.engine.clocked_arrays import (
    OWN_PRICED_MEAN,
    OWN_PRICED_RATE,
    PRICED_EVERY,
    PRICED_MEAN,
    PRICED_RATE,
    VALUED,
    WIDEST,
    Counts,
    Net,
    Scratch,
    State,
)
from eventnet.engine.clocked_learning import book_all
from eventnet.engine.jit import Array, kernel
from eventnet.engine.vectors import add_row, dot, fade_all, fade_tapped, size_of


@kernel
def adapt_scales(net: Net, state: State) -> None:
    """Move every k_beta towards its share of the mean, then the mean itself (Eq. 21)."""
    eta = net.eta[0]
    for p in range(net.kind.shape[0]):
        a, b = net.first[p], net.first[p + 1]
        if net.encodes[p]:
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
def is_priced(state: State) -> bool:
    """Return whether learned scales take a step in this tick."""
    teaching = state.flags[1] != 0 and state.flags[3] != 0
    return bool(teaching and state.flags[0] % PRICED_EVERY == 0)


@kernel
def value_scales(net: Net, state: State, weights: Array, scratch: Scratch, counts: Counts) -> None:
    """Write dL/dx_hat into `slope`, by the weights that made this tick's errors: before they learn.

    After they have learned from x_hat, d would seem to fall along it.
    """
    for q in range(net.source.shape[0]):
        if net.late[q]:
            book_all(q, net, state, weights, scratch, counts)
    scratch.slope[:] = 0.0
    for q in range(net.source.shape[0]):
        if net.valued[q]:
            value(q, net, state, weights, scratch)
            counts.projection[q, VALUED] += 1


@kernel
def price_scales(net: Net, state: State, scratch: Scratch) -> None:
    """Let learned scales take a step now and then: see docs/theory.md, section 13.

    With x_hat what is decoded and d = dL/dx_hat, a scale is multiplied by
    ``exp(PRICED_RATE*(paid - spoilt)/(paid + |spoilt|))``. `spoilt` is the mean of ``d*(x_hat - x)``:
    so the loss grows with the scale's logarithm if rounding counts as the identity (straight-through).
    `paid` is the price of the additions that its quanta cause: so they fall with it.
    """
    for p in range(net.kind.shape[0]):
        if net.priced[p]:
            a, b = net.first[p], net.first[p + 1]
            sent = state.sent[a:b]
            if net.second[p] != 0.0:
                before = state.sent_before[net.before_first[p] : net.before_first[p + 1]]
                fade_tapped(sent, before, (net.alpha[p], net.second[p]))
            else:
                fade_all(sent, net.alpha[p])
            add_row(sent, scratch.spike_count[a:b], state.beta[p])
    if not is_priced(state):
        return
    for p in range(net.kind.shape[0]):
        if net.priced[p]:
            step_scales(p, net, state, scratch)


@kernel
def value(q: int, net: Net, state: State, weights: Array, scratch: Scratch) -> None:
    """Add to `slope` what projection `q` says of dL/dx_hat: its weights times its target's error."""
    src, dst = net.source[q], net.target[q]
    a, b = net.first[src], net.first[src + 1]
    e = state.e[net.first[dst] : net.first[dst + 1]]
    n = e.shape[0]
    w = weights[net.weight_first[q] : net.weight_first[q + 1]]
    slope = scratch.slope[a:b]
    if net.flipped[q]:
        for j in range(n):
            add_row(slope, w[j * (b - a) : (j + 1) * (b - a)], e[j])
    else:
        for i in range(b - a):
            slope[i] += dot(w[i * n : (i + 1) * n], e)


@kernel
def step_scales(p: int, net: Net, state: State, scratch: Scratch) -> None:
    """Take the step of the scales of population `p`: one, or one a neuron."""
    a, b, first = net.first[p], net.first[p + 1], net.scale_first[p]
    unit = net.price[0] * net.fan[p]
    if net.share_first[p + 1] == net.share_first[p]:
        spoilt = 0.0
        for i in range(a, b):
            spoilt += scratch.slope[i] * (state.sent[i] - state.x[i])
        paid = unit * scratch.quanta[p]
        factor = traded(first, paid, spoilt, PRICED_MEAN, PRICED_RATE, state)
        state.beta[p] *= factor
        for i in range(a, b):
            state.phi[i] /= factor
        return
    for i in range(a, b):
        place = net.share_first[p] + i - a
        share = state.share[place]
        spoilt = scratch.slope[i] * (state.sent[i] - state.x[i])
        paid = unit * abs(scratch.spike_count[i]) / share
        factor = traded(first + i - a, paid, spoilt, OWN_PRICED_MEAN, OWN_PRICED_RATE, state)
        factor = min(max(share * factor, 1.0 / WIDEST), WIDEST) / share
        state.share[place] = share * factor
        state.phi[i] /= factor


@kernel
def traded(k: int, paid: float, spoilt: float, over: float, rate: float, state: State) -> float:
    """Return by what scale `k` is multiplied when a tick's spikes cost and spoilt so much.

    A tick in which a neuron is silent and right says nothing of its scale.
    """
    if paid == 0.0 and spoilt == 0.0:
        return 1.0
    state.paid[k] += (paid - state.paid[k]) / over
    state.spoilt[k] += (spoilt - state.spoilt[k]) / over
    size = state.paid[k] + abs(state.spoilt[k])
    return math.exp(rate * (state.paid[k] - state.spoilt[k]) / size)

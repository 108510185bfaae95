"""The paper's clocked algorithm on a small tick: an oracle for the asynchronous engines.

In continuous time an encoder integrates ``dphi/dt = (x/tau + dx/dt)/step`` and a decoder forgets with
its sender's ``tau``. The paper (Eqs. 3 to 7, 12, 20) does the same on ticks of length ``dt``, so its
algorithm tends to the exact event-driven simulation as ``dt -> 0``. This module is that algorithm,
written directly from the equations. It shares nothing with ``eventnet`` but the mathematics.

One tick at time ``t = k*dt``, with ``ka = exp(-dt/tau)``:

* read: a sensor holds its last reading with time ``<= t``, an output its last target;
* land: spikes and error spikes whose delay ends with this tick, by the weights of this tick;
* forward, in topological order: ``z = bias + sum of traces``, ``x = h(z)``, encode, quantize, and
  ``u <- ka*u + step*(s @ W)`` at each receiver without delay;
* backward, in reverse: ``e = z - y`` or ``softmax(z) - y`` at an output, ``h'(z) * sum of traces`` at
  a layer, encode, quantize, and ``g <- ka*g + error_step*(W @ s_e)`` at each sender that has to learn,
  if the projection has no error delay;
* plasticity, with the weights frozen until then: of the spikes that arrive and of the error spikes
  that leave in this tick.

A trace belongs to a projection, so every population and every error coder may have its own time
constant, and every projection its own delays. A delay is a whole number of ticks: the nearest, but
at least one. Only projections without delay order the forward pass, and only those without error
delay the backward one, so a network may be recurrent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

EPS = 1e-12  # keeps the guard finite while no presynaptic trace has arrived yet
_GRID = 1e-6  # a time this close to a tick, in ticks, is on it
_COUNT_MAX = 2**31 - 1
_SENSOR, _LAYER, _OUTPUT = 0, 1, 2


# --- What is simulated ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Sensor:
    """Readings ``values`` (K, n) at ``times`` (K,) in s, each held until the next; 0 before the first."""

    name: str
    n: int
    step: float
    times: Floats
    values: Floats
    tau: float = 0.1
    theta: float = 0.5


@dataclass(frozen=True)
class Layer:
    """``h(bias + u)``, where h is ``relu``, ``identity`` or ``leaky`` (slope ``leak`` below 0)."""

    name: str
    n: int
    step: float
    bias: Floats
    error_step: float
    activation: str = "relu"
    tau: float = 0.1
    error_tau: float = 0.1
    theta: float = 0.5
    leak: float = 0.1


@dataclass(frozen=True)
class Output:
    """``z = bias + u``, against ``targets`` (K, n), held; a row of NaN is no target.

    The error is that of ``loss``: ``z - y`` (``squared``) or ``softmax(z) - y`` (``softmax``: the
    cross-entropy; the rows of ``targets`` are probabilities). That of softmax is held, and evaluated
    again when spikes arrive, at a target, and ``-tau*log(1 - tolerance/M)`` after the last time, with M
    the largest sum of ``abs(trace)`` over the distinct ``tau``, the shortest of which counts: until then
    no z can have moved by ``tolerance``. At a tolerance of 0 that is each tick.
    """

    name: str
    n: int
    bias: Floats
    error_step: float
    times: Floats
    targets: Floats
    error_tau: float = 0.1
    theta: float = 0.5
    loss: str = "squared"
    tolerance: float = 0.0


@dataclass(frozen=True)
class Projection:
    """``weights`` (n_in, n_out) from population ``source`` to ``target``.

    Spikes arrive ``delay`` (s) after they are sent, error spikes ``error_delay`` (s). The weight is
    read on arrival. The presynaptic trace is that of arrivals, the postsynaptic one that of the
    errors as they leave the target.
    """

    source: str
    target: str
    weights: Floats
    plastic: bool = True
    delay: float = 0.0
    error_delay: float = 0.0


@dataclass(frozen=True)
class Description:
    """A network: populations and projections in order of creation."""

    populations: tuple[Sensor | Layer | Output, ...]
    projections: tuple[Projection, ...]


@dataclass(frozen=True)
class Spikes:
    """The signed spikes of one coder, in order of time: ``times`` (s), ``neurons``, ``counts``."""

    times: Floats
    neurons: Ints
    counts: Ints

    @property
    def events(self) -> int:
        """How often a neuron spoke, whatever the counts."""
        return int(self.times.size)

    @property
    def quanta(self) -> int:
        """The sum of the absolute counts."""
        return int(np.abs(self.counts).sum())


@dataclass(frozen=True)
class Result:
    """What a run of ticks gave.

    ``outputs[name]`` is z (len(sample_times), n) of each output, ``forward`` and ``errors`` hold the
    spikes of each coder that runs, ``weights`` the final weights in order of projections, and
    ``guarded`` how many plasticity passes of each projection ran at less than ``lr``.
    """

    outputs: dict[str, Floats]
    forward: dict[str, Spikes]
    errors: dict[str, Spikes]
    weights: list[Floats]
    guarded: Ints


# --- The same in flat arrays ---------------------------------------------------------------------


class _Plan(NamedTuple):
    """Constants of a run: per population p, neuron, or projection j; slices ``first[k]:first[k+1]``."""

    order: Ints  # populations, topological without the delayed projections
    error_order: Ints  # those that send errors, in the order of the backward pass
    kind: Ints
    softmax: NDArray[np.bool_]
    tolerance: Floats  # of softmax
    neuron: Ints  # first neuron of p
    slope: Floats  # h(z) = z where z > 0, else slope*z
    step: Floats
    decay: Floats
    tau: Floats
    theta: Floats
    error_step: Floats
    error_decay: Floats
    learns: NDArray[np.bool_]  # p sends its error
    bias: Floats  # per neuron
    source: Ints
    target: Ints
    plastic: NDArray[np.bool_]
    delay: Ints  # ticks
    error_delay: Ints  # ticks
    crosses: NDArray[np.bool_]  # errors go back over j
    c: Floats  # tau_x*tau_e/(tau_x + tau_e), s
    pre: Ints  # first presynaptic trace of j
    post: Ints
    synapse: Ints  # first weight of j, row-major


class _Writes(NamedTuple):
    """Readings and targets, in order of ``tick``: ``held[neuron:neuron+n] = values[at:at+n]``."""

    tick: Ints
    neuron: Ints
    n: Ints
    at: Ints
    values: Floats


def _offsets(sizes: Sequence[int]) -> Ints:
    return np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)


def _ticks(name: str, delay: float, dt: float) -> int:
    if not 0 <= delay < math.inf:
        raise ValueError(f"{name}: delay {delay} s must be finite and >= 0")
    return max(1, round(delay / dt)) if delay > 0 else 0


def _topological(n: int, edges: Sequence[tuple[int, int]], what: str) -> list[int]:
    """Kahn's order, earlier creation first."""
    order: list[int] = []
    while len(order) < n:
        ready = [
            p for p in range(n) if p not in order and all(a in order for a, b in edges if b == p)
        ]
        if not ready:
            raise ValueError(f"{what} without delay go round a cycle")
        order.append(ready[0])
    return order


def _plan(net: Description, dt: float) -> _Plan:
    pops, projs = net.populations, net.projections
    index = {p.name: k for k, p in enumerate(pops)}
    edges = [(index[j.source], index[j.target]) for j in projs]
    for j, (a, b) in zip(projs, edges, strict=True):
        if j.weights.shape != (pops[a].n, pops[b].n):
            raise ValueError(f"weights {j.weights.shape} on {j.source} -> {j.target}")
        if isinstance(pops[a], Output) or isinstance(pops[b], Sensor):
            raise ValueError(f"{j.source} -> {j.target} leaves an output or enters a sensor")
    for p in pops:
        if isinstance(p, Output) and p.loss not in ("squared", "softmax"):
            raise ValueError(f"{p.name}: no loss {p.loss!r}")
    delay = [_ticks(f"{j.source} -> {j.target}", j.delay, dt) for j in projs]
    error_delay = [_ticks(f"{j.source} -> {j.target}", j.error_delay, dt) for j in projs]

    # An error is needed where a plastic projection ends, and downstream of that.
    learns = np.zeros(len(pops), np.bool_)
    for _ in pops:  # no path is longer
        for j, (a, b) in zip(projs, edges, strict=True):
            learns[b] |= j.plastic or learns[a]
    crosses = [bool(learns[a] and learns[b]) for a, b in edges]

    def order(what: str, at_once: Sequence[bool]) -> list[int]:
        return _topological(len(pops), list(compress(edges, at_once)), what)

    forward = order("spikes", [d == 0 for d in delay])
    backward = order("errors", [x and d == 0 for x, d in zip(crosses, error_delay, strict=True)])

    # A sensor has no error coder and an output no forward coder: their 1 is never used.
    kind = [{Sensor: _SENSOR, Layer: _LAYER, Output: _OUTPUT}[type(p)] for p in pops]
    step = [1.0 if isinstance(p, Output) else p.step for p in pops]
    tau = [1.0 if isinstance(p, Output) else p.tau for p in pops]
    error_step = [1.0 if isinstance(p, Sensor) else p.error_step for p in pops]
    error_tau = [1.0 if isinstance(p, Sensor) else p.error_tau for p in pops]
    slope = [
        {"relu": 0.0, "identity": 1.0, "leaky": p.leak}[p.activation]
        if isinstance(p, Layer)
        else 1.0
        for p in pops
    ]

    return _Plan(
        order=np.array(forward),
        error_order=np.array([k for k in reversed(backward) if learns[k]], np.int64),
        kind=np.array(kind),
        softmax=np.array([isinstance(p, Output) and p.loss == "softmax" for p in pops]),
        tolerance=np.array([p.tolerance if isinstance(p, Output) else 0.0 for p in pops]),
        neuron=_offsets([p.n for p in pops]),
        slope=np.array(slope),
        step=np.array(step),
        decay=np.exp(-dt / np.array(tau)),
        tau=np.array(tau),
        theta=np.array([p.theta for p in pops]),
        error_step=np.array(error_step),
        error_decay=np.exp(-dt / np.array(error_tau)),
        learns=learns,
        bias=np.concatenate([np.zeros(p.n) if isinstance(p, Sensor) else p.bias for p in pops]),
        source=np.array([a for a, _ in edges], np.int64),
        target=np.array([b for _, b in edges], np.int64),
        plastic=np.array([j.plastic for j in projs], np.bool_),
        delay=np.array(delay, np.int64),
        error_delay=np.array(error_delay, np.int64),
        crosses=np.array(crosses, np.bool_),
        c=np.array([1 / (1 / tau[a] + 1 / error_tau[b]) for a, b in edges]),
        pre=_offsets([pops[a].n for a, _ in edges]),
        post=_offsets([pops[b].n for _, b in edges]),
        synapse=_offsets([j.weights.size for j in projs]),
    )


def _writes(net: Description, plan: _Plan, dt: float) -> _Writes:
    rows = []  # (tick, neuron, values)
    for k, p in enumerate(net.populations):
        if isinstance(p, Layer):
            continue
        block = p.values if isinstance(p, Sensor) else p.targets
        if block.shape != (p.times.size, p.n):
            raise ValueError(f"{p.name}: {p.times.size} times for values of shape {block.shape}")
        for t, row in zip(p.times, block, strict=True):
            if np.isnan(row).any() and (isinstance(p, Sensor) or not np.isnan(row).all()):
                raise ValueError(f"{p.name} at {t} s: NaN must fill the row of a target")
            odds = plan.softmax[k] and not np.isnan(row).any()
            if odds and (row.min() < 0 or abs(row.sum() - 1) > 1e-9):
                raise ValueError(f"{p.name} at {t} s: {row} are not probabilities")
            rows.append((math.ceil(t / dt - _GRID), int(plan.neuron[k]), row))
    rows.sort(key=lambda r: r[0])  # stable: the last of two readings in one tick wins
    sizes = [r[2].size for r in rows]
    return _Writes(
        tick=np.array([r[0] for r in rows], np.int64),
        neuron=np.array([r[1] for r in rows], np.int64),
        n=np.array(sizes, np.int64),
        at=_offsets(sizes),
        values=np.concatenate([np.empty(0), *(r[2] for r in rows)]),
    )


# --- The algorithm -------------------------------------------------------------------------------


@njit(cache=True)
def encode(
    x: Floats, last: Floats, phi: Floats, ka: float, step: float, theta: float, s: Ints
) -> None:
    """One tick of encoder and quantizer; writes ``last``, ``phi``, ``s``.

    Eq. 4 with ``kp = (1-ka)/step`` and ``kd = ka/step``: ``kp*x + kd*(x-last) = (x - ka*last)/step``.
    A jump counts in full, a signal that decays with the same tau not at all, one that is held
    ``(1-ka)/step`` of its value a tick. Eq. 3: what exceeds theta is sent in whole quanta.
    """
    for i in range(x.size):
        phi[i] += (x[i] - ka * last[i]) / step
        last[i] = x[i]
        s[i] = 0
        excess = abs(phi[i]) - theta
        if excess > 0.0:
            s[i] = int(math.copysign(math.ceil(excess), phi[i]))
            phi[i] -= s[i]


@njit(cache=True)
def decode(u: Floats, s: Ints, W: Floats, ka: float, step: float) -> bool:
    """One tick of a decoder, Eqs. 5 and 7: ``u <- ka*u + step*(s @ W)``; writes ``u``; any spike?"""
    any_spike = False
    for j in range(u.size):
        u[j] *= ka
    for i in range(s.size):
        if s[i] != 0:
            any_spike = True
            for j in range(u.size):
                u[j] += step * s[i] * W[i, j]
    return any_spike


@njit(cache=True)
def softmax_error(e: Floats, z: Floats, y: Floats) -> None:
    """Gradient of the cross-entropy ``-sum y*log(softmax(z))``: ``softmax(z) - y``; writes ``e``."""
    total = 0.0
    for i in range(z.size):
        e[i] = math.exp(z[i] - z.max())
        total += e[i]
    for i in range(z.size):
        e[i] = e[i] / total - y[i]


@njit(cache=True)
def stdp(
    W: Floats,
    x_hat: Floats,
    e_hat: Floats,
    s: Ints,
    s_e: Ints,
    ka: float,
    ka_e: float,
    step: float,
    step_e: float,
    c: float,
    lr: float,
    cap: float,
    J: Floats,
    q: int,
) -> bool:
    """One tick of the paper's "future" rule (Eq. 20, corrected); writes ``W, x_hat, e_hat, J[q]``.

    ``dw = -lr*c*(x_s (x) (e_hat + e_s) + x_hat (x) e_s)`` with decayed traces, which books at once
    the whole future area that this tick's spikes add under ``x_hat*e_hat``. Whether
    ``lr <= cap/(c*(max(N, J/2) + EPS))`` had to bind, with ``N = sum x_hat**2`` with this tick's
    spikes and J the sum of ``sum x_s**2`` over the ticks so far, decaying with the sender's tau.
    """
    for i in range(x_hat.size):
        x_hat[i] *= ka
    for j in range(e_hat.size):
        e_hat[j] *= ka_e
    J[q] *= ka
    if not (s.any() or s_e.any()):
        return False
    N = 0.0
    for i in range(x_hat.size):
        N += (x_hat[i] + step * s[i]) ** 2
        J[q] += (step * s[i]) ** 2
    rate = min(lr, cap / (c * (max(N, J[q] / 2) + EPS)))
    for i in range(x_hat.size):
        x_s = step * s[i]
        for j in range(e_hat.size):
            e_s = step_e * s_e[j]
            W[i, j] -= rate * c * (x_s * (e_hat[j] + e_s) + x_hat[i] * e_s)
    for i in range(x_hat.size):
        x_hat[i] += step * s[i]
    for j in range(e_hat.size):
        e_hat[j] += step_e * s_e[j]
    return rate < lr


# Inlined, since to hand over a plan costs more than to decode a tick.
@njit(cache=True, inline="always")
def _matrix(net: _Plan, weights: Floats, j: int) -> Floats:
    """The weights (n_in, n_out) of projection j, a view."""
    shape = (net.pre[j + 1] - net.pre[j], net.post[j + 1] - net.post[j])
    return weights[net.synapse[j] : net.synapse[j + 1]].reshape(shape)


@njit(cache=True, inline="always")
def _arrive(net: _Plan, weights: Floats, j: int, s: Ints, u: Floats) -> bool:
    """Spikes ``s`` of all neurons reach the target of projection j; writes ``u``; any spike?"""
    p = net.source[j]
    own = s[net.neuron[p] : net.neuron[p + 1]]
    U = u[net.post[j] : net.post[j + 1]]
    return decode(U, own, _matrix(net, weights, j), net.decay[p], net.step[p])


@njit(cache=True, inline="always")
def _return(net: _Plan, weights: Floats, j: int, s_e: Ints, g: Floats) -> None:
    """Error spikes ``s_e`` of all neurons reach the source of projection j; writes ``g``."""
    p = net.target[j]
    own = s_e[net.neuron[p] : net.neuron[p + 1]]
    G = g[net.pre[j] : net.pre[j + 1]]
    decode(G, own, _matrix(net, weights, j).T, net.error_decay[p], net.error_step[p])


@njit(cache=True)
def _held_for(net: _Plan, p: int, u: Floats, dt: float) -> float:
    """Ticks until the softmax error of output p is evaluated again, if nothing comes before."""
    largest, tau = 0.0, math.inf
    for i in range(net.neuron[p + 1] - net.neuron[p]):
        size = 0.0
        for j in range(net.source.size):
            if net.target[j] == p:
                own, trace, first = net.tau[net.source[j]], 0.0, True
                for q in range(net.source.size):
                    if net.target[q] == p and net.tau[net.source[q]] == own:
                        first &= q >= j
                        trace += u[net.post[q] + i]
                size += abs(trace) if first else 0.0
                tau = min(tau, own)
        largest = max(largest, size)
    if largest <= net.tolerance[p]:
        return math.inf
    return -tau * math.log(1.0 - net.tolerance[p] / largest) / dt


@njit(cache=True)
def _run(
    net: _Plan,
    writes: _Writes,
    weights: Floats,
    held: Floats,
    sent: Ints,
    sent_e: Ints,
    lr: float,
    cap: float,
    dt: float,
    n_ticks: int,
    sample_tick: Ints,
    sample_late: Floats,
) -> tuple[Floats, Ints, Ints, Ints, Ints]:
    """Ticks 0 to ``n_ticks - 1``; writes ``weights``, ``held``, ``sent`` and ``sent_e``.

    What was sent in tick k stands in row k of ``sent`` modulo its length, one more than the longest
    delay, and so for errors.

    Returns z of every neuron ``sample_late`` seconds after each tick of ``sample_tick``, the raster
    (tick, coder, count; the error coder of neuron i is number i plus the number of neurons) and how
    often the guard bound on each projection.
    """
    n, n_pre, n_post = net.neuron[-1], net.pre[-1], net.post[-1]
    z, x, x_last, phi = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    e, e_last, phi_e = np.zeros(n), np.zeros(n), np.zeros(n)
    u, e_hat = np.zeros(n_post), np.zeros(n_post)
    g, x_hat = np.zeros(n_pre), np.zeros(n_pre)
    guarded = np.zeros(net.source.size, np.int64)
    jumps = np.zeros(net.source.size)
    heard = np.zeros(net.order.size, np.bool_)  # spikes have arrived in this tick
    taught = np.zeros(net.order.size, np.bool_)
    due = np.zeros(net.order.size)  # tick at which a held error is evaluated again

    samples = np.zeros((sample_tick.size, n))
    raster = np.empty((1024, 3), np.int64)
    n_spikes, n_samples, n_writes = 0, 0, 0

    for k in range(n_ticks):
        while n_writes < writes.tick.size and writes.tick[n_writes] <= k:
            to, at, m = writes.neuron[n_writes], writes.at[n_writes], writes.n[n_writes]
            held[to : to + m] = writes.values[at : at + m]
            taught[np.searchsorted(net.neuron, to, side="right") - 1] = True
            n_writes += 1

        s, s_e = sent[k % sent.shape[0]], sent_e[k % sent_e.shape[0]]
        for j in range(net.source.size):
            if net.delay[j] > 0:
                late = sent[(k - net.delay[j]) % sent.shape[0]]
                heard[net.target[j]] |= _arrive(net, weights, j, late, u)
            if net.crosses[j] and net.error_delay[j] > 0:
                _return(net, weights, j, sent_e[(k - net.error_delay[j]) % sent_e.shape[0]], g)

        for p in net.order:
            a, b = net.neuron[p], net.neuron[p + 1]
            if net.kind[p] == _SENSOR:
                x[a:b] = held[a:b]
            else:
                z[a:b] = net.bias[a:b]
                for j in range(net.source.size):
                    if net.target[j] == p:
                        z[a:b] += u[net.post[j] : net.post[j + 1]]
                for i in range(a, b):
                    x[i] = z[i] if z[i] > 0.0 else net.slope[p] * z[i]
            if net.kind[p] == _OUTPUT:
                continue
            encode(x[a:b], x_last[a:b], phi[a:b], net.decay[p], net.step[p], net.theta[p], s[a:b])
            for j in range(net.source.size):
                if net.source[j] == p and net.delay[j] == 0:
                    heard[net.target[j]] |= _arrive(net, weights, j, s, u)

        while n_samples < sample_tick.size and sample_tick[n_samples] == k:
            samples[n_samples] = net.bias
            for j in range(net.source.size):
                U = u[net.post[j] : net.post[j + 1]]
                a = net.neuron[net.target[j]]
                samples[n_samples, a : a + U.size] += U * math.exp(
                    -sample_late[n_samples] / net.tau[net.source[j]]
                )
            n_samples += 1

        for p in net.error_order:
            a, b = net.neuron[p], net.neuron[p + 1]
            if net.kind[p] == _OUTPUT:
                if math.isnan(held[a]):
                    e[a:b] = 0.0
                elif net.softmax[p]:
                    # From the moment it was due, not from the tick: lateness must not add up.
                    if heard[p] or taught[p] or due[p] <= k:
                        softmax_error(e[a:b], z[a:b], held[a:b])
                        since = k if heard[p] or taught[p] else due[p]
                        due[p] = since + _held_for(net, p, u, dt)
                else:
                    for i in range(a, b):
                        e[i] = z[i] - held[i]
            else:
                e[a:b] = 0.0
                for j in range(net.source.size):
                    if net.source[j] == p:
                        e[a:b] += g[net.pre[j] : net.pre[j + 1]]
                for i in range(a, b):
                    if not z[i] > 0.0:
                        e[i] *= net.slope[p]
            encode(
                e[a:b],
                e_last[a:b],
                phi_e[a:b],
                net.error_decay[p],
                net.error_step[p],
                net.theta[p],
                s_e[a:b],
            )
            for j in range(net.source.size):
                if net.target[j] == p and net.crosses[j] and net.error_delay[j] == 0:
                    _return(net, weights, j, s_e, g)

        for j in range(net.source.size):
            if net.plastic[j]:
                p, q = net.source[j], net.target[j]
                arrived = sent[(k - net.delay[j]) % sent.shape[0]]
                guarded[j] += stdp(
                    _matrix(net, weights, j),
                    x_hat[net.pre[j] : net.pre[j + 1]],
                    e_hat[net.post[j] : net.post[j + 1]],
                    arrived[net.neuron[p] : net.neuron[p + 1]],
                    s_e[net.neuron[q] : net.neuron[q + 1]],
                    net.decay[p],
                    net.error_decay[q],
                    net.step[p],
                    net.error_step[q],
                    net.c[j],
                    lr,
                    cap,
                    jumps,
                    j,
                )

        heard[:] = False
        taught[:] = False
        if n_spikes + 2 * n > raster.shape[0]:
            raster = np.concatenate((raster, np.empty_like(raster)))
        for i in range(n):
            if s[i] != 0:
                raster[n_spikes, 0], raster[n_spikes, 1], raster[n_spikes, 2] = k, i, s[i]
                n_spikes += 1
            if s_e[i] != 0:
                raster[n_spikes, 0], raster[n_spikes, 1], raster[n_spikes, 2] = k, n + i, s_e[i]
                n_spikes += 1

    raster = raster[:n_spikes]
    return samples, raster[:, 0].copy(), raster[:, 1].copy(), raster[:, 2].copy(), guarded


def simulate(
    net: Description,
    dt: float,
    until: float,
    sample_times: ArrayLike,
    *,
    lr: float = 0.0,
    cap: float | None = 0.5,
) -> Result:
    """Run the ticks ``0, dt, ..., until``.

    Parameters
    ----------
    net
        What to simulate. It is not changed.
    dt
        Length of a tick, s. Readings and targets between two ticks take effect at the later one;
        delays are rounded to the nearest, and to one tick rather than none.
    until
        Time of the last tick, s, inclusive.
    sample_times
        Ascending times in [0, until], s. A sample is taken after the spikes of its instant; between
        two ticks the traces decay.
    lr
        Learning rate per second of area under ``x_hat*e_hat``. At 0 errors are still coded.
    cap
        The guard on ``lr*c*max(N, J/2)``, see `stdp`; None for no guard.
    """
    plan = _plan(net, dt)
    writes = _writes(net, plan, dt)
    times = np.asarray(sample_times, dtype=np.float64)
    n_ticks = math.floor(until / dt + _GRID) + 1
    tick = np.floor(times / dt + _GRID).astype(np.int64)
    if times.size and (np.any(np.diff(times) < 0) or tick[0] < 0 or tick[-1] >= n_ticks):
        raise ValueError(f"sample times must ascend within [0, {until}] s")
    weights = np.concatenate([np.empty(0), *(j.weights.ravel() for j in net.projections)])
    held = np.zeros(plan.neuron[-1])
    for k, p in enumerate(net.populations):
        if isinstance(p, Output):
            held[plan.neuron[k] : plan.neuron[k + 1]] = np.nan

    z, ticks, coders, counts, guarded = _run(
        plan,
        writes,
        weights,
        held,
        np.zeros((1 + plan.delay.max(initial=0), held.size), np.int64),
        np.zeros((1 + plan.error_delay.max(initial=0), held.size), np.int64),
        lr,
        np.inf if cap is None else cap,
        dt,
        n_ticks,
        tick,
        np.maximum(times - tick * dt, 0.0),
    )
    finite = np.isfinite(z).all() and np.isfinite(weights).all()
    if not finite or np.any(counts > _COUNT_MAX) or np.any(counts < -_COUNT_MAX):
        raise FloatingPointError(f"diverged: dt={dt} s, lr={lr}, cap={cap}")

    def spikes(first: int, n: int) -> Spikes:
        own = (first <= coders) & (coders < first + n)
        return Spikes(ticks[own] * dt, coders[own] - first, counts[own])

    pops = [(p, int(plan.neuron[k]), bool(plan.learns[k])) for k, p in enumerate(net.populations)]
    return Result(
        outputs={p.name: z[:, a : a + p.n] for p, a, _ in pops if isinstance(p, Output)},
        forward={p.name: spikes(a, p.n) for p, a, _ in pops if not isinstance(p, Output)},
        errors={p.name: spikes(a + z.shape[1], p.n) for p, a, learns in pops if learns},
        weights=[
            weights[plan.synapse[j] : plan.synapse[j + 1]].reshape(p.weights.shape)
            for j, p in enumerate(net.projections)
        ],
        guarded=guarded,
    )


def distance(a: Spikes, b: Spikes, tau: float, n: int, until: float) -> float:
    """Mean over [0, until] and n neurons of ``abs(a_hat - b_hat)``, the decoded trains, in quanta.

    Exact: between spikes the difference fades with ``tau``.
    """
    neurons = np.concatenate((a.neurons, b.neurons))
    times = np.concatenate((a.times, b.times))
    counts = np.concatenate((a.counts, -b.counts))
    area = 0.0
    for i in range(n):
        t, s = times[neurons == i], counts[neurons == i]
        t, s = t[np.argsort(t)], s[np.argsort(t)]
        difference = np.cumsum(s * np.exp(t / tau)) * np.exp(-t / tau)
        area += np.sum(np.abs(difference) * tau * -np.expm1(-np.diff(t, append=until) / tau))
    return float(area / (n * until))


def reconstruction(
    times_x: ArrayLike,
    counts_x: ArrayLike,
    times_e: ArrayLike,
    counts_e: ArrayLike,
    step_x: float,
    step_e: float,
    tau_x: float,
    tau_e: float,
    T: float = math.inf,
) -> Floats:
    """The integral from 0 to T of ``x_hat (x) e_hat``, of shape (n_in, n_out), in signal^2 * s.

    ``counts_x`` (K, n_in) arrive at the ascending ``times_x`` (K,), and so for the error. Between
    arrivals both traces decay, and a stretch of length d adds ``c*x_hat*e_hat*(1 - exp(-d/c))``.
    Spikes after T do not count. ``T=inf`` adds the open tail ``c*x_hat(T)*e_hat(T)``, which `stdp`
    has booked as soon as both spikes are there.
    """
    times = [np.asarray(times_x, float), np.asarray(times_e, float)]
    jumps = [step_x * np.asarray(counts_x, float), step_e * np.asarray(counts_e, float)]
    c = 1 / (1 / tau_x + 1 / tau_e)
    x_hat, e_hat = np.zeros(jumps[0].shape[1]), np.zeros(jumps[1].shape[1])
    area = np.zeros((x_hat.size, e_hat.size))
    instants = np.unique(np.concatenate(times))
    instants = instants[instants <= T]
    for t, following in zip(instants, [*instants[1:], T], strict=True):
        x_hat = x_hat + jumps[0][times[0] == t].sum(axis=0)
        e_hat = e_hat + jumps[1][times[1] == t].sum(axis=0)
        d = following - t
        area += np.outer(x_hat, e_hat) * c * -math.expm1(-d / c)
        x_hat, e_hat = x_hat * math.exp(-d / tau_x), e_hat * math.exp(-d / tau_e)
    return area


def random_network(
    rng: np.random.Generator,
    *,
    until: float = 0.3,
    depth: int | None = None,
    tau: float = 0.1,
    spread: float = 1.0,
    thetas: Sequence[float] = (0.5,),
    delays: bool = False,
    loss: str = "squared",
) -> Description:
    """A network of one or two sensors, ``depth`` (default: 1 to 4) hidden layers, and an output.

    Layers are ReLU, identity or leaky, with biases, and now and then a skip connection or a frozen
    projection. Sensors and teacher step at random milliseconds, about one time in two together.
    Time constants are ``tau`` (s) times a factor drawn from [1/spread, spread], thresholds come from
    ``thetas``. With ``delays`` half the projections have a delay and half an error delay, of up to
    20 ms, and half the pairs of layers a projection back, which has both; loops contract. With
    ``loss="softmax"`` targets are one-hot, of 3 to 5: the errors of two classes are each other's
    negatives, and would cross their thresholds in one tick, but in floats just miss.

    Over many such networks the mean logarithm of the difference in outputs falls as ``dt`` from
    1e-4 s on, for ``lr`` up to .03 and 20,000 samples or more: at 1e-5 s fewer samples seldom meet
    one. With a larger ``lr`` spikes that flip for good weigh more, and the slope scatters.
    """
    depth = int(rng.integers(1, 5)) if depth is None else depth

    def constant() -> float:
        return tau * float(spread ** rng.uniform(-1, 1))

    def instants() -> Floats:
        alone = rng.choice(np.arange(1, int(until * 1000)), 4, replace=False)
        kept = rng.random(shared.size) < 0.5
        return np.concatenate(([0], np.union1d(alone, shared[kept]))) / 1000

    shared = rng.choice(np.arange(1, int(until * 1000)), 8, replace=False)
    pops: list[Sensor | Layer | Output] = []
    for k in range(int(rng.integers(1, 3))):
        n, times = int(rng.integers(2, 5)), instants()
        values = rng.normal(0, 1, (times.size, n))
        pops.append(Sensor(f"sensor{k}", n, rng.uniform(0.1, 0.3), times, values, constant()))
    n_sensors = len(pops)
    for k in range(depth):
        n = int(rng.integers(3, 7))
        activation = str(rng.choice(["relu", "relu", "identity", "leaky"]))
        pops.append(
            Layer(
                f"hidden{k}",
                n,
                rng.uniform(0.1, 0.3),
                rng.normal(0, 0.3, n),
                rng.uniform(0.1, 0.3),
                activation,
                constant(),
                constant(),
            )
        )
    n, times = int(rng.integers(1, 4)) + 2 * (loss == "softmax"), instants()
    targets = rng.normal(0, 1, (times.size, n))
    if loss == "softmax":
        targets = np.eye(n)[targets.argmax(axis=1)]
    targets[rng.random(times.size) < 0.2] = np.nan
    bias, error_step = rng.normal(0, 0.3, n), rng.uniform(0.1, 0.3)
    pops.append(Output("output", n, bias, error_step, times, targets, constant(), loss=loss))

    edges = [(k, n_sensors) for k in range(n_sensors)]
    edges += [(k, k + 1) for k in range(n_sensors, len(pops) - 1)]
    edges += [
        (a, b)
        for a in range(len(pops) - 2)
        for b in range(max(a + 2, n_sensors), len(pops))
        if (a, b) not in edges and rng.random() < 0.25
    ]
    fan_in = [sum(pops[a].n for a, b in edges if b == k) for k in range(len(pops))]
    projections = [
        Projection(
            pops[a].name,
            pops[b].name,
            rng.normal(0, math.sqrt(1.5 / fan_in[b]), (pops[a].n, pops[b].n)),
            bool(rng.random() < 0.85),
        )
        for a, b in edges
    ]
    pops = [replace(p, theta=float(rng.choice(thetas))) for p in pops]
    if not delays:
        return Description(tuple(pops), tuple(projections))

    def delay() -> float:
        # On no grid: two ways with the same sum of delays meet in a tick, but in floats just miss.
        return float(rng.uniform(1e-4, 0.02))

    projections = [
        replace(
            j,
            delay=delay() if rng.random() < 0.5 else 0.0,
            error_delay=delay() if rng.random() < 0.5 else 0.0,
        )
        for j in projections
    ]
    hidden = pops[n_sensors:-1]
    back = [
        Projection(
            a.name,
            b.name,
            rng.normal(0, 0.4 / math.sqrt(a.n), (a.n, b.n)),
            bool(rng.random() < 0.85),
            delay(),
            delay(),
        )
        for i, a in enumerate(hidden)
        for b in hidden[: i + 1]
        if rng.random() < 0.5
    ]
    # Loops contract, whatever their delays: else one spike more or less would grow without bound.
    while _radius(hidden, [*projections, *back]) > 0.5:
        back = [replace(j, weights=j.weights / 2) for j in back]
    return Description(tuple(pops), (*projections, *back))


def _radius(pops: Sequence[Sensor | Layer | Output], projections: Sequence[Projection]) -> float:
    """Spectral radius of the absolute weights among ``pops``."""
    first = dict(zip((p.name for p in pops), _offsets([p.n for p in pops]), strict=False))
    gain = np.zeros((sum(p.n for p in pops),) * 2)
    for j in projections:
        if j.source in first and j.target in first:
            a, b = first[j.source], first[j.target]
            gain[a : a + j.weights.shape[0], b : b + j.weights.shape[1]] = np.abs(j.weights)
    return float(np.abs(np.linalg.eigvals(gain)).max(initial=0.0))

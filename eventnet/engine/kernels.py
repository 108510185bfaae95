"""The equations that both engines share, and the compiled engine's event loop.

The scalar functions at the top are the semantics: pure, one equation each, called by the reference
engine (`actors`) and inlined into the loop below. They stand in this one module because Numba's
cache does not notice an edited callee in another module. They use `math` only: `np.exp` and BLAS
round differently from their scalar counterparts, and the engines must agree bit for bit.

The main loop is `advance`: find the next instant, run it, repeat. `instant` runs the stages of one
instant: sensors, forward populations, loss, backward populations, plasticity.

Units: times and time constants in seconds, residuals `phi` in spikes, signals in the user's units.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

Function = TypeVar("Function", bound=Callable[..., Any])


def kernel(function: Function) -> Function:
    """Compile a function of this module, and keep its type for the checker."""
    # Without Numba's runtime no kernel can allocate, and passing tuples of arrays costs no
    # reference counting, which otherwise takes most of an instant (docs/decisions/0002).
    compiled: Function = njit(cache=True, _nrt=False)(function)
    return compiled


TINY = 1e-290
"""A decayed trace smaller than this is zero: denormal numbers would slow every later pass."""

MAX_COUNT = 2147483647.0
"""The largest spike count that a raster's int32 can hold."""

GUARD_EPSILON = 1e-12
"""Keeps the guard's limit finite while a projection has not seen a spike."""

BOOKING_PERIOD = 4.0
"""Presynaptic time constants after which late changes of weights are all booked.

Charges count from the last booking: the longer ago, the more digits `owed` loses to cancellation.
"""

# Status codes that `advance` returns.
DONE, BUFFER_FULL, NEEDS_SAMPLES, DIVERGED, NEEDS_ROOM = 0, 1, 2, 3, 4

# Columns of the counters of a projection.
(
    FORWARD_EVENTS,
    FORWARD_QUANTA,
    BACKWARD_EVENTS,
    BACKWARD_QUANTA,
    ROW_EVENTS,
    ROW_QUANTA,
    COLUMN_EVENTS,
    COLUMN_QUANTA,
    BOOKED_ROWS,
    PASSES,
    GUARDED,
    SKIP_FORWARD,
    SKIP_BACKWARD,
    SKIP_UPDATE,
) = range(14)
PROJECTION_COUNTERS = 14

# Columns of the counters of a population.
EVENTS, QUANTA, ERROR_EVENTS, ERROR_QUANTA = range(4)
POPULATION_COUNTERS = 4

# Entries of the network's counters.
INSTANTS, READINGS, TEACHINGS = range(3)
NETWORK_COUNTERS = 3

# Population kinds.
SENSOR, LAYER, OUTPUT = 0, 1, 2


# --------------------------------------------------------------------------------------------------
# The shared equations
# --------------------------------------------------------------------------------------------------


@kernel
def decay(elapsed: float, tau: float) -> float:
    """Return ``exp(-elapsed/tau)``, the factor by which every trace of a population fades (Eq. 5)."""
    factor: float = math.exp(-elapsed / tau)
    return factor


@kernel
def fade(trace: float, factor: float) -> float:
    """Return `trace` after its decay by `factor`; zero once it would become denormal."""
    faded = trace * factor
    return faded if abs(faded) > TINY else 0.0


@kernel
def quantize(phi: float, theta: float, drift: float) -> float:
    """Return the signed count that a residual emits (Eq. 3, with threshold `theta` in [1/2, 1]).

    A residual that stands on the threshold exactly fires only if `drift` carries it outward:
    firing on both sides would answer every later zero-weight arrival with a spike.
    """
    size = abs(phi)
    if size > theta:
        return math.copysign(float(math.ceil(size - theta)), phi)
    if size == theta and phi * drift > 0.0:
        return math.copysign(1.0, phi)
    return 0.0


@kernel
def later(t: float, candidate: float) -> float:
    """Return `candidate`, or the next representable time after `t` if it does not lie after `t`."""
    return candidate if candidate > t else float(np.nextafter(t, np.inf))


@kernel
def crossing(t: float, phi: float, theta: float, drift: float) -> float:
    """Return when a residual with slope `drift` (spikes/s) reaches the threshold it moves towards."""
    if drift > 0.0:
        return later(t, t + (theta - phi) / drift)
    if drift < 0.0:
        return later(t, t + (theta + phi) / -drift)
    return np.inf


@kernel
def threshold_ahead(theta: float, drift: float) -> float:
    """Return the residual at a scheduled crossing: the threshold itself, never re-evaluated.

    Evaluating it again would fall short half the time and reschedule at the same float time.
    """
    return math.copysign(theta, drift)


@kernel
def toggle(t: float, clock: float, u: float, bias: float, tau: float, active: bool) -> float:
    """Return when ``z = bias + u*exp(-(t-clock)/tau)`` crosses zero, inf if it does not.

    ``t* = clock + tau*ln(-u/bias)`` (design section 2); only a unit whose bias pulls towards the
    other side of zero has such a moment ahead.
    """
    if (active and bias < 0.0) or (not active and bias > 0.0):
        return later(t, clock + tau * math.log(-u / bias))
    return np.inf


@kernel
def activation(z: float, on: bool, leak: float) -> float:
    """Return h(z): z where the unit is on, ``leak*z`` where it is off (leak 0: ReLU, 1: identity)."""
    return z if on else leak * z


@kernel
def switched_on(z: float, leak: float) -> bool:
    """Return the active bit at a delivery; a unit without a bend is always on."""
    return z > 0.0 or leak == 1.0


@kernel
def arrive(
    u: float,
    factor: float,
    arrived: float,
    bias: float,
    before: float,
    leak: float,
    active: bool,
    step: float,
) -> tuple[float, bool, float]:
    """Decode one delivery and encode its jump (Eq. 5, 4): return trace, active bit, jump of phi.

    ``u <- u*factor + arrived``; the activation jumps from ``h(before + u*factor)``, gated by the stored
    active bit, to ``h(bias + u)``. `before` is the bias, except at t0: until then it is 0.
    """
    faded = fade(u, factor)
    after = faded + arrived
    z = bias + after
    on = switched_on(z, leak)
    return after, on, (activation(z, on, leak) - activation(before + faded, active, leak)) / step


@kernel
def arrive_error(
    g: float, factor: float, arrived: float, gate: bool, active: bool, leak: float, step: float
) -> tuple[float, float]:
    """Decode a delivery of error spikes, multiply it by h' (Eq. 12): return trace, jump of phi."""
    faded = fade(g, factor)
    after = faded + arrived
    return after, (activation(after, active, leak) - activation(faded, gate, leak)) / step


@kernel
def amplitudes(
    at: float,
    clock: float,
    traces: Array,
    place: int,
    stride: int,
    taus: Array,
    tau: float,
    out: Array,
) -> None:
    """Write each trace's part in the motion of a residual whose own time constant is `tau`.

    Between arrivals ``z = bias + sum_g u_g*exp(-s/tau_g)`` moves the residual, per unit of h' and
    step, by ``bias*s/tau + sum_g A_g*(1 - exp(-s/tau_g))`` with ``A_g = u_g*(tau_g/tau - 1)``: a trace
    that decays with the coder's own tau does not move it at all.
    """
    for k in range(taus.shape[0]):
        trace = fade(traces[place + k * stride], decay(at - clock, taus[k]))
        out[k] = trace * (taus[k] / tau - 1.0)


@kernel
def travelled(elapsed: float, slope: float, amplitude: Array, taus: Array) -> float:
    """Return ``slope*s + sum_g A_g*(1 - exp(-s/tau_g))``."""
    way = slope * elapsed
    for k in range(taus.shape[0]):
        way += amplitude[k] * -math.expm1(-elapsed / taus[k])
    return way


@kernel
def pace(slope: float, amplitude: Array, taus: Array) -> float:
    """Return the derivative of `travelled` at s = 0."""
    speed = slope
    for k in range(taus.shape[0]):
        speed += amplitude[k] / taus[k]
    return speed


@kernel
def unreached(
    gap: float, slope: float, amplitude: Array, taus: Array, elapsed: float, sign: float
) -> float:
    """Return a time during which ``sign*travelled`` surely grows by less than `gap` from `elapsed` on.

    Over a window of length w the growth is at most w times the sum of the growing parts as they are and
    the shrinking parts as they will be at the window's end. inf: it never gets there.
    """
    growing = max(sign * slope, 0.0)
    shrinking = min(sign * slope, 0.0)
    fixed = shrinking
    reach = 0.0
    shortest = np.inf
    for k in range(taus.shape[0]):
        part = sign * amplitude[k] / taus[k] * decay(elapsed, taus[k])
        if part > 0.0:
            growing += part
            reach += part * taus[k]
        elif part < 0.0:
            shrinking += part
            shortest = min(shortest, taus[k])
    if growing + fixed <= 0.0 or (sign * slope <= 0.0 and reach <= gap):
        return np.inf
    if growing + shrinking < 0.0:
        # It falls, at least until the fading parts are outweighed, and rises no faster after that.
        falling = shortest * math.log((fixed - shrinking) / (growing + fixed))
        return falling + max(gap, 0.0) / (growing + fixed)
    if gap <= 0.0:
        return 0.0
    if growing + shrinking == 0.0:
        return gap / (growing + fixed)
    window = gap / (growing + shrinking)
    bound = growing + fixed
    for k in range(taus.shape[0]):
        part = sign * amplitude[k] / taus[k] * decay(elapsed, taus[k])
        if part < 0.0:
            bound += part * decay(min(window, 1e300), taus[k])
    return gap / bound


@kernel
def first_exit(
    t: float, value: float, lower: float, upper: float, slope: float, amplitude: Array, taus: Array
) -> tuple[float, float]:
    """Return when ``value + travelled(s)`` first leaves [lower, upper] after `t`, and on which side.

    The march advances by times within which no limit can be reached, so it cannot step over a
    crossing; near one the bound becomes the slope itself and the march a Newton iteration. It ends
    where the time no longer advances. (inf, 0): never.
    """
    elapsed = 0.0
    while True:
        now = value + travelled(elapsed, slope, amplitude, taus)
        up = (
            unreached(upper - now, slope, amplitude, taus, elapsed, 1.0)
            if upper < np.inf
            else np.inf
        )
        down = (
            unreached(now - lower, slope, amplitude, taus, elapsed, -1.0)
            if lower > -np.inf
            else np.inf
        )
        step = min(up, down)
        if step == np.inf:
            return np.inf, 0.0
        if t + (elapsed + step) <= t + elapsed:
            speed = slope
            for k in range(taus.shape[0]):
                speed += amplitude[k] / taus[k] * decay(elapsed, taus[k])
            outward = (up <= down and speed >= 0.0) or (down <= up and speed <= 0.0)
            if outward:
                return later(t, t + elapsed), (1.0 if up <= down else -1.0)
            step = float(np.nextafter(t + elapsed, np.inf)) - (t + elapsed)
        elapsed += step


@kernel
def softmax(z: Array) -> None:
    """Replace z by ``exp(z - max z)/sum exp(z - max z)``, summed in order."""
    largest = z[0]
    for k in range(1, z.shape[0]):
        largest = max(largest, z[k])
    total = 0.0
    for k in range(z.shape[0]):
        z[k] = math.exp(z[k] - largest)
        total += z[k]
    for k in range(z.shape[0]):
        z[k] /= total


@kernel
def drift_time(t: float, largest: float, tolerance: float, tau: float) -> float:
    """Return when traces of at most `largest` will have decayed by `tolerance`, inf if never.

    ``t - tau*ln(1 - tolerance/M)``: until then no z moves by more.
    """
    if not largest > tolerance:
        return np.inf
    return later(t, t - tau * math.log(1.0 - tolerance / largest))


@kernel
def sensor_period(x: float, tau: float, step: float) -> float:
    """Return the seconds between spikes of a sensor that holds `x`: ``tau*step/|x|``."""
    return tau * step / abs(x) if x != 0.0 else np.inf


@kernel
def sensor_residual(
    phi: float, next_time: float, t: float, period: float, theta: float, x: float
) -> float:
    """Return the residual at `t` of a sensor that holds `x` and will fire at `next_time`.

    It is read off the schedule, so that ``next += period`` is the only rounding between readings;
    a sensor that has no next time keeps `phi`.
    """
    if next_time == np.inf:
        return phi
    return math.copysign(1.0, x) * (theta - (next_time - t) / period)


@kernel
def sensor_next(t: float, phi: float, theta: float, period: float, x: float) -> float:
    """Return when a sensor that holds `x` fires next, from its residual at `t`."""
    if period == np.inf:
        return np.inf
    return later(t, t + (theta - math.copysign(1.0, x) * phi) * period)


@kernel
def trace_window(tau_pre: float, tau_post: float) -> float:
    """Return ``c = tau_x*tau_e/(tau_x+tau_e)`` (s): the area under a pair of unit traces."""
    return tau_pre * tau_post / (tau_pre + tau_post)


@kernel
def guarded_rate(rate: float, window: float, power: float, jumps: float, cap: float) -> float:
    """Return ``min(lr, cap/(c*(max(N, J/2) + eps)))``: the learning rate that jumps leave stable.

    N is the sum of squares of the presynaptic traces with this instant's spikes, J the sum of
    squares of the presynaptic spikes, instant by instant, fading with the sender's tau. An input
    that flips its sign every h seconds grows by ``1 + lr*c*|x_s|^2/2`` a flip and shrinks by
    ``exp(-h/tau)`` between flips, so that ``lr*c*J/2 < 1`` is what keeps it stable (docs/theory.md).
    """
    return min(rate, cap / (window * (max(power, 0.5 * jumps, 0.0) + GUARD_EPSILON)))


# --------------------------------------------------------------------------------------------------
# The compiled engine's data
# --------------------------------------------------------------------------------------------------


class Net(NamedTuple):
    """What does not change during a run. P populations, Q projections, N neurons in all."""

    kind: Array  # (P,) SENSOR, LAYER or OUTPUT
    first: Array  # (P+1,) offset of a population's neurons
    tau: Array  # (P,) s
    step: Array  # (P,)
    theta: Array  # (P,)
    leak: Array  # (P,) slope where a unit is off; 1: it has no bend
    biased: Array  # (P,) bool: any bias is non-zero
    has_error: Array  # (P,) bool: encodes an error
    error_tau: Array  # (P,) s
    error_step: Array  # (P,)
    order: Array  # layers and outputs, topological
    error_order: Array  # layers that encode an error
    in_first: Array  # (P+1,) into in_list: projections that arrive, creation order
    in_list: Array
    trace_first: Array  # (P+1,) offset of the input traces: one block of neurons a group
    group_first: Array  # (P+1,) into group_tau: the distinct time constants of what arrives
    group_tau: Array  # s
    group: Array  # (Q,) to which of its target's groups a projection adds
    matched: Array  # (P,) bool: all that arrives decays with the coder's own tau
    back_first: Array  # (P+1,) into back_list: projections that bring errors back
    back_list: Array
    back_trace_first: Array  # the same five for the error traces of layers
    back_group_first: Array
    back_group_tau: Array
    back_group: Array
    softmax: Array  # (P,) bool: an output with cross-entropy
    tolerance: Array  # (P,) of softmax
    error_matched: Array  # (P,) bool; of an output: what arrives decays with its error_tau
    delay: Array  # (Q,) s
    error_delay: Array  # (Q,) s
    source: Array  # (Q,)
    target: Array  # (Q,)
    weight_first: Array  # (Q+1,) offset of a projection's row-major weights
    pre_first: Array  # (Q+1,) offset of its presynaptic traces
    post_first: Array  # (Q+1,) offset of its postsynaptic traces
    booked_first: Array  # (Q+1,) offset of what its synapses have booked
    plastic: Array  # (Q,) bool
    rate: Array  # (Q,) learning rate per second
    cap: Array  # (Q,) guard, inf for none
    bias: Array  # (N,)
    start: Array  # (1,) t0, s


class State(NamedTuple):
    """Everything that a run changes, except weights. Copying these arrays is a checkpoint."""

    x: Array  # (N,) held reading of a sensor neuron
    period: Array  # (N,) s between its spikes
    u: Array  # (input traces,) as of `clock`
    clock: Array  # (P,) s
    active: Array  # (N,) bool
    phi: Array  # (N,) residual, as of `anchor`
    anchor: Array  # (N,) s
    cross: Array  # (N,) s, next own spike
    side: Array  # (N,) sign of the threshold that it meets then
    turn: Array  # (N,) s, next on/off
    due: Array  # (P,) s, the earliest of a layer's cross and turn
    g: Array  # (error traces,) as of `error_clock`
    error_clock: Array  # (P,) s
    y: Array  # (N,) held target
    e: Array  # (N,) held error of softmax
    timer: Array  # (P,) s, when it is evaluated again
    gate: Array  # (N,) bool: layer: active as the error coder saw it; output: target on
    error_phi: Array  # (N,)
    error_anchor: Array  # (N,) s
    error_cross: Array  # (N,) s
    error_side: Array  # (N,)
    error_amplitude: Array  # (input traces,) of an output's error, as of `error_anchor`
    error_due: Array  # (P,) s
    charge: Array  # presynaptic traces of all plastic projections, as of `origin`
    origin: Array  # (Q,) s
    owed: Array  # per postsynaptic neuron: what its error spikes have added a unit of charge
    booked: Array  # per synapse: the part of `owed` that is in its weight already
    version: Array  # (Q,) counts the changes of `owed`
    seen: Array  # per presynaptic neuron: the version that its row has booked
    post: Array  # postsynaptic ones
    power: Array  # (Q,) sum of squares of the presynaptic traces
    jumps: Array  # (Q,) fading sum of squares of the presynaptic spikes
    trace_clock: Array  # (Q,) s
    written: Array  # (N,) values written by the world
    written_time: Array  # (P,) s, when they take effect; inf: none
    heap: Array  # sensor neurons, a binary heap on `cross`
    place: Array  # (N,) a neuron's place in the heap
    now: Array  # (1,) s, the last instant that was run
    flags: Array  # [started, learning, diverged population]


class Flights(NamedTuple):
    """Spikes under way on delayed projections, each projection's in order of arrival.

    Those of projection q stand at ``first[q] + head[q]`` to ``first[q] + tail[q]``; the last capacity is
    ``first[q+1] - first[q]``. Python makes more room when `advance` asks for it.
    """

    first: Array  # (Q+1,)
    head: Array  # (Q,)
    tail: Array  # (Q,)
    landed: Array  # (Q,) how many arrive in this instant
    time: Array  # s, of arrival
    neuron: Array
    quanta: Array


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


class Scratch(NamedTuple):
    """Room for one instant; nothing in it outlives the instant."""

    arrived: Array  # (input traces,) summed input of the delivery
    returned: Array  # (error traces,) summed errors of the delivery
    soft: Array  # (N,) softmax of an output
    amplitude: Array  # room for one neuron's groups
    scaled: Array
    spike: Array  # (N,) neurons that fired, per population at its offset
    quanta: Array  # (N,) their signed counts
    spikes: Array  # (P,) how many fired
    error_spike: Array
    error_count: Array
    error_spikes: Array
    delivered: Array  # (P,) bool
    turned: Array  # (P,) bool: an active bit changed
    read: Array  # (P,) where a sample of this instant lies: -2 none, -1 written, else offset
    due: Array  # sensor neurons that fire now


class Buffer(NamedTuple):
    """Spikes on their way to the recorder."""

    time: Array
    population: Array
    neuron: Array
    quanta: Array  # signed
    used: Array  # (1,)


class Counters(NamedTuple):
    """What the cost report is made from."""

    population: Array  # (P, POPULATION_COUNTERS)
    projection: Array  # (Q, PROJECTION_COUNTERS)
    network: Array  # (NETWORK_COUNTERS,)


# --------------------------------------------------------------------------------------------------
# A binary heap on the sensors' next firing times
# --------------------------------------------------------------------------------------------------


@kernel
def heap_fix(heap: Array, place: Array, key: Array, neuron: int) -> None:
    """Move `neuron` to its place after its key changed (writes heap and place). O(log n)."""
    k = place[neuron]
    value = key[neuron]
    while k > 0:
        parent = (k - 1) >> 1
        other = heap[parent]
        if key[other] <= value:
            break
        heap[k] = other
        place[other] = k
        k = parent
    size = heap.shape[0]
    while True:
        child = 2 * k + 1
        if child >= size:
            break
        if child + 1 < size and key[heap[child + 1]] < key[heap[child]]:
            child += 1
        other = heap[child]
        if key[other] >= value:
            break
        heap[k] = other
        place[other] = k
        k = child
    heap[k] = neuron
    place[neuron] = k


@kernel
def heap_due(heap: Array, key: Array, t: float, found: Array) -> int:
    """Write the neurons whose key is `t` into `found`, ascending; return how many."""
    size = heap.shape[0]
    if size == 0 or key[heap[0]] != t:
        return 0
    # The due ones are a subtree at the root: walk it breadth first, keeping places in `found`.
    found[0] = 0
    n = 1
    k = 0
    while k < n:
        child = 2 * found[k] + 1
        for c in range(child, min(child + 2, size)):
            if key[heap[c]] == t:
                found[n] = c
                n += 1
        k += 1
    for k in range(n):
        found[k] = heap[found[k]]
    for k in range(1, n):  # insertion sort: nearly always one or two
        value = found[k]
        m = k
        while m > 0 and found[m - 1] > value:
            found[m] = found[m - 1]
            m -= 1
        found[m] = value
    return n


# --------------------------------------------------------------------------------------------------
# The stages of an instant
# --------------------------------------------------------------------------------------------------


@kernel
def emit(
    t: float,
    code: int,
    first: int,
    j: int,
    s: float,
    spike: Array,
    count: Array,
    spikes: Array,
    p: int,
    buffer: Buffer,
) -> None:
    """Note that neuron `j` fired `s` (writes the spike list and the recorder's buffer)."""
    n = spikes[p]
    spike[first + n] = j
    count[first + n] = s
    spikes[p] = n + 1
    k = buffer.used[0]
    buffer.time[k] = t
    buffer.population[k] = code
    buffer.neuron[k] = j
    buffer.quanta[k] = np.int32(s)
    buffer.used[0] = k + 1


@kernel
def sensors_stage(
    t: float, net: Net, state: State, feed: Feed, scratch: Scratch, buffer: Buffer
) -> int:
    """Take the readings of this instant and fire the sensors that are due; return a bad population."""
    found = heap_due(state.heap, state.cross, t, scratch.due)
    k = 0
    for p in range(net.kind.shape[0]):
        if net.kind[p] != SENSOR:
            continue
        first = net.first[p]
        last = net.first[p + 1]
        source = scratch.read[p]
        if source == -2:
            # No reading: a due neuron has the residual +-theta, fires once and keeps its period.
            while k < found and scratch.due[k] < last:
                i = scratch.due[k]
                k += 1
                s = math.copysign(1.0, state.x[i])
                state.phi[i] = threshold_ahead(net.theta[p], s) - s
                state.cross[i] = later(t, t + state.period[i])
                heap_fix(state.heap, state.place, state.cross, i)
                emit(
                    t,
                    p,
                    first,
                    i - first,
                    s,
                    scratch.spike,
                    scratch.quanta,
                    scratch.spikes,
                    p,
                    buffer,
                )
            continue
        theta = net.theta[p]
        for i in range(first, last):
            if k < found and scratch.due[k] == i:
                k += 1
            x = state.x[i]
            new = state.written[i] if source == -1 else feed.value[source + i - first]
            fires = state.cross[i] == t
            if new == x and not fires:
                continue  # a reading that changes nothing costs nothing
            if fires:
                phi = threshold_ahead(theta, x)
            else:
                phi = sensor_residual(state.phi[i], state.cross[i], t, state.period[i], theta, x)
            if new != x:
                phi += (new - x) / net.step[p]
                if not abs(phi) <= MAX_COUNT:
                    return p
            s = quantize(phi, theta, new)
            if new != x:
                state.x[i] = new
                state.period[i] = sensor_period(new, net.tau[p], net.step[p])
                state.cross[i] = sensor_next(t, phi - s, theta, state.period[i], new)
            else:
                state.cross[i] = later(t, t + state.period[i])
            state.phi[i] = phi - s
            heap_fix(state.heap, state.place, state.cross, i)
            if s != 0.0:
                emit(
                    t,
                    p,
                    first,
                    i - first,
                    s,
                    scratch.spike,
                    scratch.quanta,
                    scratch.spikes,
                    p,
                    buffer,
                )
    return -1


@kernel
def catch_up(q: int, i: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Bring the row of presynaptic neuron `i` up to date with past error spikes (writes weights).

    ``w_ij += charge_i*(owed_j - booked_ij)``: see `plasticity_stage`.
    """
    place = net.pre_first[q] + i
    if state.seen[place] == state.version[q]:
        return
    state.seen[place] = state.version[q]
    counters.projection[q, BOOKED_ROWS] += 1
    owed = state.owed[net.post_first[q] : net.post_first[q + 1]]
    n = owed.shape[0]
    row = weights[net.weight_first[q] + i * n : net.weight_first[q] + (i + 1) * n]
    booked = state.booked[net.booked_first[q] + i * n : net.booked_first[q] + (i + 1) * n]
    charge = state.charge[place]
    for j in range(n):
        row[j] += charge * (owed[j] - booked[j])
        booked[j] = owed[j]


@kernel
def add_rows(
    q: int,
    net: Net,
    state: State,
    weights: Array,
    counters: Counters,
    step: float,
    spike: Array,
    count: Array,
    first: int,
    spikes: int,
    arrived: Array,
) -> None:
    """Add the rows of the neurons that fired to `arrived` (Eq. 7, 8), neurons ascending."""
    n = arrived.shape[0]
    base = net.weight_first[q]
    for k in range(spikes):
        i = spike[first + k]
        if net.plastic[q]:
            catch_up(q, i, net, state, weights, counters)
        row = weights[base + i * n : base + (i + 1) * n]
        scale = step * count[first + k]
        for j in range(n):
            arrived[j] += scale * row[j]


@kernel
def add_columns(
    q: int,
    net: Net,
    state: State,
    weights: Array,
    counters: Counters,
    step: float,
    spike: Array,
    count: Array,
    first: int,
    spikes: int,
    arrived: Array,
) -> None:
    """Add the columns of the error spikes to `arrived` (Eq. 12), row by row, errors ascending."""
    n = net.first[net.target[q] + 1] - net.first[net.target[q]]
    base = net.weight_first[q]
    for i in range(arrived.shape[0]):
        if net.plastic[q]:
            catch_up(q, i, net, state, weights, counters)
        row = weights[base + i * n : base + (i + 1) * n]
        total = arrived[i]
        for k in range(spikes):
            total += (step * count[first + k]) * row[spike[first + k]]
        arrived[i] = total


@kernel
def arrive_all(
    u: Array,
    phi: Array,
    active: Array,
    arrived: Array,
    bias: Array,
    leak: float,
    factor: float,
    step: float,
    theta: float,
) -> tuple[int, int]:
    """Run `arrive` on a population without drift (writes u, phi, active).

    Returns how many residuals left the threshold or are not finite, and how many bits turned.
    """
    leaving = 0
    turned = 0
    for j in range(u.shape[0]):
        after, on, jump = arrive(u[j], factor, arrived[j], bias[j], bias[j], leak, active[j], step)
        new = phi[j] + jump
        u[j] = after
        phi[j] = new
        turned += on != active[j]
        active[j] = on
        leaving += (not abs(new) <= theta) or (not abs(after) < 1e300)
    return leaving, turned


@kernel
def presynaptic(
    q: int, net: Net, scratch: Scratch, flights: Flights
) -> tuple[Array, Array, int, int]:
    """Return the spikes that arrive on projection `q` now: neurons, counts, their place, how many."""
    if net.delay[q] > 0.0:
        return flights.neuron, flights.quanta, flights.first[q] + flights.head[q], flights.landed[q]
    src = net.source[q]
    return scratch.spike, scratch.quanta, net.first[src], scratch.spikes[src]


@kernel
def returned(
    q: int, net: Net, scratch: Scratch, error_flights: Flights
) -> tuple[Array, Array, int, int]:
    """Return the error spikes that come back on projection `q` now, in the same form."""
    if net.error_delay[q] > 0.0:
        first = error_flights.first[q] + error_flights.head[q]
        return error_flights.neuron, error_flights.quanta, first, error_flights.landed[q]
    dst = net.target[q]
    return scratch.error_spike, scratch.error_count, net.first[dst], scratch.error_spikes[dst]


@kernel
def land(t: float, delays: Array, flights: Flights) -> None:
    """Count what arrives at `t` on each delayed projection (writes landed)."""
    for q in range(delays.shape[0]):
        flights.landed[q] = 0
        if delays[q] > 0.0:
            k = flights.first[q] + flights.head[q]
            end = flights.first[q] + flights.tail[q]
            while k < end and flights.time[k] == t:
                flights.landed[q] += 1
                k += 1


@kernel
def depart(
    t: float,
    delays: Array,
    sender: Array,
    net: Net,
    spike: Array,
    count: Array,
    spikes: Array,
    flights: Flights,
) -> None:
    """Drop what has landed and send this instant's spikes on their way (writes flights)."""
    for q in range(delays.shape[0]):
        if delays[q] > 0.0:
            flights.head[q] += flights.landed[q]
            n = spikes[sender[q]]
            base = flights.first[q]
            if flights.tail[q] + n > flights.first[q + 1] - base:
                held = flights.tail[q] - flights.head[q]
                for k in range(held):
                    flights.time[base + k] = flights.time[base + flights.head[q] + k]
                    flights.neuron[base + k] = flights.neuron[base + flights.head[q] + k]
                    flights.quanta[base + k] = flights.quanta[base + flights.head[q] + k]
                flights.head[q] = 0
                flights.tail[q] = held
            for k in range(n):
                place = base + flights.tail[q] + k
                flights.time[place] = t + delays[q]
                flights.neuron[place] = spike[net.first[sender[q]] + k]
                flights.quanta[place] = count[net.first[sender[q]] + k]
            flights.tail[q] += n


@kernel
def lacks_room(delays: Array, sender: Array, net: Net, flights: Flights) -> int:
    """Return a projection on which the spikes of one instant might not find room, or -1."""
    for q in range(delays.shape[0]):
        if delays[q] > 0.0:
            held = flights.tail[q] - flights.head[q]
            size = net.first[sender[q] + 1] - net.first[sender[q]]
            if held + size > flights.first[q + 1] - flights.first[q]:
                return q
    return -1


@kernel
def next_landing(delays: Array, flights: Flights) -> float:
    """Return when the next spike under way arrives, inf if there is none."""
    t = np.inf
    for q in range(delays.shape[0]):
        if delays[q] > 0.0 and flights.head[q] < flights.tail[q]:
            t = min(t, flights.time[flights.first[q] + flights.head[q]])
    return t


@kernel
def gather(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
) -> None:
    """Sum what arrives at `p` in this instant, group by group (writes scratch.arrived)."""
    n = net.first[p + 1] - net.first[p]
    scratch.arrived[net.trace_first[p] : net.trace_first[p + 1]] = 0.0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        spike, count, first, spikes = presynaptic(q, net, scratch, flights)
        if spikes > 0:
            place = net.trace_first[p] + net.group[q] * n
            arrived = scratch.arrived[place : place + n]
            step = net.step[net.source[q]]
            add_rows(q, net, state, weights, counters, step, spike, count, first, spikes, arrived)
            counters.projection[q, FORWARD_EVENTS] += spikes
            counters.projection[q, FORWARD_QUANTA] += total(count, first, spikes)


@kernel
def total(count: Array, first: int, spikes: int) -> int:
    """Return the quanta of a spike list."""
    quanta = 0.0
    for k in range(first, first + spikes):
        quanta += abs(count[k])
    return int(quanta)


@kernel
def forward_stage(
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
    """Deliver to layer or output `p`, or run its own events; return False if it diverged."""
    delivered = first_instant
    for k in range(net.in_first[p], net.in_first[p + 1]):
        if presynaptic(net.in_list[k], net, scratch, flights)[3] > 0:
            delivered = True
    if not delivered and state.due[p] != t:
        return True
    if delivered:
        scratch.delivered[p] = True
        gather(p, net, state, weights, flights, scratch, counters)
    if net.kind[p] == OUTPUT:
        fine = deliver_output(t, p, net, state, scratch)
    elif not net.matched[p]:
        fine = run_unmatched(t, first_instant, delivered, p, net, state, scratch, buffer)
    elif net.biased[p] or first_instant:
        fine = run_biased(t, first_instant, delivered, p, net, state, scratch, buffer)
    else:
        fine = deliver_plain(t, p, net, state, scratch, buffer)
    if delivered:
        state.clock[p] = t
    return fine


@kernel
def deliver_output(t: float, p: int, net: Net, state: State, scratch: Scratch) -> bool:
    """Deliver to an output: it is read, not sent on, and has no encoder."""
    n = net.first[p + 1] - net.first[p]
    for k in range(net.group_first[p + 1] - net.group_first[p]):
        factor = decay(t - state.clock[p], net.group_tau[net.group_first[p] + k])
        place = net.trace_first[p] + k * n
        for j in range(place, place + n):
            state.u[j] = fade(state.u[j], factor) + scratch.arrived[j]
            if not abs(state.u[j]) < 1e300:
                return False
    return True


@kernel
def deliver_plain(
    t: float, p: int, net: Net, state: State, scratch: Scratch, buffer: Buffer
) -> bool:
    """Deliver to a layer in which nothing happens between arrivals."""
    a = net.first[p]
    b = net.first[p + 1]
    u = state.u[net.trace_first[p] : net.trace_first[p + 1]]
    theta = net.theta[p]
    leaving, turned = arrive_all(
        u,
        state.phi[a:b],
        state.active[a:b],
        scratch.arrived[net.trace_first[p] : net.trace_first[p + 1]],
        net.bias[a:b],
        net.leak[p],
        decay(t - state.clock[p], net.tau[p]),
        net.step[p],
        theta,
    )
    scratch.turned[p] = turned > 0
    if leaving > 0:
        for j in range(a, b):
            phi = state.phi[j]
            if not abs(phi) <= theta:
                if not abs(phi) <= MAX_COUNT:
                    return False
                s = quantize(phi, theta, 0.0)
                state.phi[j] = phi - s
                emit(t, p, a, j - a, s, scratch.spike, scratch.quanta, scratch.spikes, p, buffer)
            elif not abs(u[j - a]) < 1e300:
                return False
    return True


@kernel
def run_biased(
    t: float,
    first_instant: bool,
    delivered: bool,
    p: int,
    net: Net,
    state: State,
    scratch: Scratch,
    buffer: Buffer,
) -> bool:
    """Run a layer whose residuals drift in straight lines, by its biases."""
    a = net.first[p]
    tau = net.tau[p]
    theta = net.theta[p]
    step = net.step[p]
    leak = net.leak[p]
    factor = decay(t - state.clock[p], tau)
    due = np.inf
    for j in range(a, net.first[p + 1]):
        fires = state.cross[j] == t
        turns = state.turn[j] == t
        if delivered or fires or turns:
            bias = net.bias[j]
            active = state.active[j]
            drift = activation(bias, active, leak) / (tau * step)
            if fires:
                phi = threshold_ahead(theta, drift)
            else:
                phi = state.phi[j] + drift * (t - state.anchor[j])
            on = active
            if delivered:
                i = net.trace_first[p] + j - a
                before = 0.0 if first_instant else bias
                after, on, jump = arrive(
                    state.u[i], factor, scratch.arrived[i], bias, before, leak, active, step
                )
                state.u[i] = after
                phi += jump
                if not abs(after) < 1e300:
                    return False
                state.turn[j] = toggle(t, t, after, bias, tau, on) if leak != 1.0 else np.inf
            elif turns:
                on = not active
                state.turn[j] = np.inf
            if not abs(phi) <= MAX_COUNT:
                return False
            drift = activation(bias, on, leak) / (tau * step)
            s = quantize(phi, theta, drift)
            state.phi[j] = phi - s
            state.anchor[j] = t
            state.cross[j] = crossing(t, phi - s, theta, drift)
            if on != active:
                state.active[j] = on
                scratch.turned[p] = True
            if s != 0.0:
                emit(t, p, a, j - a, s, scratch.spike, scratch.quanta, scratch.spikes, p, buffer)
        due = min(due, state.cross[j], state.turn[j])
    state.due[p] = due
    return True


@kernel
def moved(
    t: float,
    anchor: float,
    clock: float,
    gain: float,
    bias: float,
    tau: float,
    traces: Array,
    place: int,
    stride: int,
    taus: Array,
    amplitude: Array,
) -> float:
    """Return how far a residual has moved from `anchor` to `t`: gain = h'/step (writes amplitude)."""
    amplitudes(anchor, clock, traces, place, stride, taus, tau, amplitude)
    return gain * travelled(t - anchor, bias / tau, amplitude, taus)


@kernel
def schedule(
    t: float,
    phi: float,
    theta: float,
    gain: float,
    bias: float,
    tau: float,
    amplitude: Array,
    scaled: Array,
    taus: Array,
) -> tuple[float, float]:
    """Return when and where a residual meets its threshold, from amplitudes at `t`."""
    for k in range(taus.shape[0]):
        scaled[k] = gain * amplitude[k]
    return first_exit(t, phi, -theta, theta, gain * (bias / tau), scaled, taus)


@kernel
def zero_crossing(
    t: float,
    z: float,
    on: bool,
    bias: float,
    clock: float,
    traces: Array,
    place: int,
    stride: int,
    taus: Array,
    scaled: Array,
) -> float:
    """Return when ``bias + sum_g u_g*exp(-s/tau_g)``, which is `z` at `t`, crosses zero."""
    if taus.shape[0] == 1:
        return toggle(t, clock, traces[place], bias, taus[0], on) if z != 0.0 else np.inf
    for k in range(taus.shape[0]):
        scaled[k] = -fade(traces[place + k * stride], decay(t - clock, taus[k]))
    lower, upper = (0.0, np.inf) if on else (-np.inf, 0.0)
    when, _ = first_exit(t, z, lower, upper, 0.0, scaled, taus)
    return when


@kernel
def run_unmatched(
    t: float,
    first_instant: bool,
    delivered: bool,
    p: int,
    net: Net,
    state: State,
    scratch: Scratch,
    buffer: Buffer,
) -> bool:
    """Run a layer whose residuals move on curves, by traces that decay with other time constants."""
    a = net.first[p]
    n = net.first[p + 1] - a
    tau = net.tau[p]
    theta = net.theta[p]
    step = net.step[p]
    leak = net.leak[p]
    taus = net.group_tau[net.group_first[p] : net.group_first[p + 1]]
    amplitude = scratch.amplitude[: taus.shape[0]]
    scaled = scratch.scaled[: taus.shape[0]]
    clock = state.clock[p]
    due = np.inf
    for j in range(a, a + n):
        fires = state.cross[j] == t
        turns = state.turn[j] == t
        if delivered or fires or turns:
            place = net.trace_first[p] + j - a
            bias = net.bias[j]
            active = state.active[j]
            gain = activation(1.0, active, leak) / step
            if fires:
                phi = theta * state.side[j]
            else:
                phi = state.phi[j] + moved(
                    t, state.anchor[j], clock, gain, bias, tau, state.u, place, n, taus, amplitude
                )
            on = active
            if delivered:
                before = 0.0 if first_instant else bias
                z = bias
                for k in range(taus.shape[0]):
                    i = place + k * n
                    faded = fade(state.u[i], decay(t - clock, taus[k]))
                    before += faded
                    state.u[i] = faded + scratch.arrived[i]
                    z += state.u[i]
                on = switched_on(z, leak)
                phi += (activation(z, on, leak) - activation(before, active, leak)) / step
                if not abs(z) < 1e300:
                    return False
                amplitudes(t, t, state.u, place, n, taus, tau, amplitude)
                state.turn[j] = np.inf
                if leak != 1.0:
                    state.turn[j] = zero_crossing(
                        t, z, on, bias, t, state.u, place, n, taus, scaled
                    )
            else:
                amplitudes(t, clock, state.u, place, n, taus, tau, amplitude)
                if turns:
                    on = not active
                    state.turn[j] = zero_crossing(
                        t, 0.0, on, bias, clock, state.u, place, n, taus, scaled
                    )
            if not abs(phi) <= MAX_COUNT:
                return False
            gain = activation(1.0, on, leak) / step
            s = quantize(phi, theta, gain * pace(bias / tau, amplitude, taus))
            state.phi[j] = phi - s
            state.anchor[j] = t
            state.cross[j], state.side[j] = schedule(
                t, phi - s, theta, gain, bias, tau, amplitude, scaled, taus
            )
            if on != active:
                state.active[j] = on
                scratch.turned[p] = True
            if s != 0.0:
                emit(t, p, a, j - a, s, scratch.spike, scratch.quanta, scratch.spikes, p, buffer)
        due = min(due, state.cross[j], state.turn[j])
    state.due[p] = due
    return True


@kernel
def loss_stage(
    t: float, p: int, net: Net, state: State, feed: Feed, scratch: Scratch, buffer: Buffer
) -> bool:
    """Encode the squared error ``e = bias + u - y`` of output `p`; return False if it diverged."""
    taught = scratch.read[p] != -2
    delivered = scratch.delivered[p]
    if not (taught or delivered or state.error_due[p] == t):
        return True
    a = net.first[p]
    n = net.first[p + 1] - a
    step = net.error_step[p]
    tau = net.error_tau[p]
    theta = net.theta[p]
    matched = net.error_matched[p]
    taus = net.group_tau[net.group_first[p] : net.group_first[p + 1]]
    amplitude = scratch.amplitude[: taus.shape[0]]
    scaled = scratch.scaled[: taus.shape[0]]
    clock = state.clock[p]  # of the delivery, if there is one in this instant
    due = np.inf
    for j in range(a, a + n):
        fires = state.error_cross[j] == t
        if taught or delivered or fires:
            place = net.trace_first[p] + j - a
            bias = net.bias[j]
            on = state.gate[j]
            drift = (bias - state.y[j]) / (tau * step) if on else 0.0
            if fires:
                phi = theta * state.error_side[j]
            elif matched:
                phi = state.error_phi[j] + drift * (t - state.error_anchor[j])
            else:
                phi = state.error_phi[j]
                if on:
                    slope = (bias - state.y[j]) / tau
                    for k in range(taus.shape[0]):
                        amplitude[k] = state.error_amplitude[place + k * n]
                    phi += 1.0 / step * travelled(t - state.error_anchor[j], slope, amplitude, taus)
            if delivered and on:
                for k in range(taus.shape[0]):
                    phi += scratch.arrived[place + k * n] / step
            if taught:
                source = scratch.read[p]
                y = state.written[j] if source == -1 else feed.value[source + j - a]
                z = bias
                for k in range(taus.shape[0]):
                    z += fade(state.u[place + k * n], decay(t - clock, taus[k]))
                before = z - state.y[j] if on else 0.0
                on = not math.isnan(y)
                state.gate[j] = on
                state.y[j] = y if on else 0.0
                phi += ((z - y if on else 0.0) - before) / step
                drift = (bias - y) / (tau * step) if on else 0.0
            if not abs(phi) <= MAX_COUNT:
                return False
            if matched:
                s = quantize(phi, theta, drift)
                state.error_cross[j] = crossing(t, phi - s, theta, drift)
                state.error_side[j] = math.copysign(1.0, drift)
            else:
                amplitudes(t, clock, state.u, place, n, taus, tau, amplitude)
                for k in range(taus.shape[0]):
                    state.error_amplitude[place + k * n] = amplitude[k]
                gain = 1.0 / step if on else 0.0
                target = bias - state.y[j]
                s = quantize(phi, theta, gain * pace(target / tau, amplitude, taus))
                state.error_cross[j], state.error_side[j] = schedule(
                    t, phi - s, theta, gain, target, tau, amplitude, scaled, taus
                )
            state.error_phi[j] = phi - s
            state.error_anchor[j] = t
            if s != 0.0:
                emit(
                    t,
                    net.kind.shape[0] + p,
                    a,
                    j - a,
                    s,
                    scratch.error_spike,
                    scratch.error_count,
                    scratch.error_spikes,
                    p,
                    buffer,
                )
        due = min(due, state.error_cross[j])
    state.error_due[p] = due
    return True


@kernel
def softmax_stage(
    t: float, p: int, net: Net, state: State, feed: Feed, scratch: Scratch, buffer: Buffer
) -> bool:
    """Encode the error ``e = softmax(z) - y`` of output `p`, held between evaluations.

    It is evaluated at a delivery, at a target and when the timer says that a z has moved by the
    tolerance; not at its own crossings, at which it would fire without end.
    """
    taught = scratch.read[p] != -2
    evaluated = taught or scratch.delivered[p] or state.timer[p] == t
    if not (evaluated or state.error_due[p] == t):
        return True
    a = net.first[p]
    n = net.first[p + 1] - a
    step = net.error_step[p]
    tau = net.error_tau[p]
    theta = net.theta[p]
    soft = scratch.soft[a : a + n]
    if evaluated:
        if taught:
            source = scratch.read[p]
            on = True
            for j in range(a, a + n):
                y = state.written[j] if source == -1 else feed.value[source + j - a]
                on = on and not math.isnan(y)
                state.y[j] = y
            state.gate[a : a + n] = on
        on = state.gate[a]
        largest = 0.0
        shortest = np.inf
        for j in range(n):
            z = net.bias[a + j]
            size = 0.0
            for k in range(net.group_first[p + 1] - net.group_first[p]):
                group_tau = net.group_tau[net.group_first[p] + k]
                trace = fade(
                    state.u[net.trace_first[p] + k * n + j], decay(t - state.clock[p], group_tau)
                )
                z += trace
                size += abs(trace)
                shortest = min(shortest, group_tau)
            soft[j] = z
            largest = max(largest, size)
        softmax(soft)
        state.timer[p] = drift_time(t, largest, net.tolerance[p], shortest) if on else np.inf
    due = state.timer[p]
    for j in range(a, a + n):
        fires = state.error_cross[j] == t
        if evaluated or fires:
            drift = state.e[j] / (tau * step)
            if fires:
                phi = threshold_ahead(theta, drift)
            else:
                phi = state.error_phi[j] + drift * (t - state.error_anchor[j])
            if evaluated:
                e = soft[j - a] - state.y[j] if state.gate[j] else 0.0
                phi += (e - state.e[j]) / step
                state.e[j] = e
            if not abs(phi) <= MAX_COUNT:
                return False
            drift = state.e[j] / (tau * step)
            s = quantize(phi, theta, drift)
            state.error_phi[j] = phi - s
            state.error_anchor[j] = t
            state.error_cross[j] = crossing(t, phi - s, theta, drift)
            if s != 0.0:
                emit(
                    t,
                    net.kind.shape[0] + p,
                    a,
                    j - a,
                    s,
                    scratch.error_spike,
                    scratch.error_count,
                    scratch.error_spikes,
                    p,
                    buffer,
                )
        due = min(due, state.error_cross[j])
    state.error_due[p] = due
    return True


@kernel
def gather_errors(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    error_flights: Flights,
    scratch: Scratch,
    counters: Counters,
) -> None:
    """Sum the error spikes that come back to layer `p`, group by group (writes scratch.returned)."""
    n = net.first[p + 1] - net.first[p]
    scratch.returned[net.back_trace_first[p] : net.back_trace_first[p + 1]] = 0.0
    for k in range(net.back_first[p], net.back_first[p + 1]):
        q = net.back_list[k]
        spike, count, first, spikes = returned(q, net, scratch, error_flights)
        if spikes > 0:
            place = net.back_trace_first[p] + net.back_group[q] * n
            errors = scratch.returned[place : place + n]
            step = net.error_step[net.target[q]]
            add_columns(q, net, state, weights, counters, step, spike, count, first, spikes, errors)
            counters.projection[q, BACKWARD_EVENTS] += spikes
            counters.projection[q, BACKWARD_QUANTA] += total(count, first, spikes)


@kernel
def backward_stage(
    t: float,
    p: int,
    net: Net,
    state: State,
    weights: Array,
    error_flights: Flights,
    scratch: Scratch,
    counters: Counters,
    buffer: Buffer,
) -> bool:
    """Decode, gate and encode the error of layer `p` (Eq. 12); return False if it diverged."""
    delivered = False
    for k in range(net.back_first[p], net.back_first[p + 1]):
        if returned(net.back_list[k], net, scratch, error_flights)[3] > 0:
            delivered = True
    if not (delivered or scratch.turned[p] or state.error_due[p] == t):
        return True
    if delivered:
        gather_errors(p, net, state, weights, error_flights, scratch, counters)
    a = net.first[p]
    n = net.first[p + 1] - a
    step = net.error_step[p]
    tau = net.error_tau[p]
    theta = net.theta[p]
    leak = net.leak[p]
    matched = net.error_matched[p]
    taus = net.back_group_tau[net.back_group_first[p] : net.back_group_first[p + 1]]
    amplitude = scratch.amplitude[: taus.shape[0]]
    scaled = scratch.scaled[: taus.shape[0]]
    clock = state.error_clock[p]
    factor = decay(t - clock, tau)
    due = np.inf
    for j in range(a, a + n):
        gate = state.gate[j]
        active = state.active[j]
        place = net.back_trace_first[p] + j - a
        fires = state.error_cross[j] == t
        if not (delivered or gate != active or fires):
            due = min(due, state.error_cross[j])
            continue
        if matched:
            phi = state.error_phi[j]
            arrived = scratch.returned[place] if delivered else 0.0
            after, jump = arrive_error(state.g[place], factor, arrived, gate, active, leak, step)
            if delivered:
                state.g[place] = after
            phi += jump
            drift = 0.0
        else:
            if fires:
                phi = theta * state.error_side[j]
            else:
                gain = activation(1.0, gate, leak) / step
                phi = state.error_phi[j] + moved(
                    t,
                    state.error_anchor[j],
                    clock,
                    gain,
                    0.0,
                    tau,
                    state.g,
                    place,
                    n,
                    taus,
                    amplitude,
                )
            before = 0.0
            error = 0.0
            for k in range(taus.shape[0]):
                i = place + k * n
                faded = fade(state.g[i], decay(t - clock, taus[k]))
                before += faded
                arrived = scratch.returned[i] if delivered else 0.0
                if delivered:
                    state.g[i] = faded + arrived
                error += faded + arrived
            phi += (activation(error, active, leak) - activation(before, gate, leak)) / step
            amplitudes(t, t if delivered else clock, state.g, place, n, taus, tau, amplitude)
            gain = activation(1.0, active, leak) / step
            drift = gain * pace(0.0, amplitude, taus)
        state.gate[j] = active
        if not abs(phi) <= MAX_COUNT:
            return False
        s = quantize(phi, theta, drift)
        phi -= s
        if s != 0.0:
            emit(
                t,
                net.kind.shape[0] + p,
                a,
                j - a,
                s,
                scratch.error_spike,
                scratch.error_count,
                scratch.error_spikes,
                p,
                buffer,
            )
        state.error_phi[j] = phi
        if not matched:
            state.error_anchor[j] = t
            state.error_cross[j], state.error_side[j] = schedule(
                t, phi, theta, gain, 0.0, tau, amplitude, scaled, taus
            )
            due = min(due, state.error_cross[j])
    state.error_due[p] = due
    if delivered:
        state.error_clock[p] = t
    return True


@kernel
def fade_all(trace: Array, factor: float) -> None:
    """Fade every element of `trace` in place."""
    for k in range(trace.shape[0]):
        trace[k] = fade(trace[k], factor)


@kernel
def book_all(t: float, q: int, net: Net, state: State, weights: Array, counters: Counters) -> None:
    """Bring every row of projection `q` up to date and let its charges count from `t`."""
    factor = decay(t - state.origin[q], net.tau[net.source[q]])
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
def plasticity_stage(
    t: float,
    q: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
) -> None:
    """Apply the STDP rule of Eq. 20 (corrected) to projection `q` (writes weights and traces).

    ``dw = -lr*c*(x_s (x) (e_hat + e_s) + x_hat (x) e_s)``. The second term, a change of whole columns,
    is booked late: between its own spikes a presynaptic trace only decays, x_hat_i(t) =
    charge_i*exp(-(t - origin)/tau), so that what a row has missed is charge_i times a number that is
    the same for all rows. Each error spike adds to that number; a row books it when it is read.
    """
    src = net.source[q]
    dst = net.target[q]
    spike, count, first_x, n_x = presynaptic(q, net, scratch, flights)
    n_e = scratch.error_spikes[dst]
    if n_x == 0 and n_e == 0:
        return
    first_e = net.first[dst]
    tau = net.tau[src]
    if t - state.origin[q] > BOOKING_PERIOD * tau:
        book_all(t, q, net, state, weights, counters)
    scale = decay(t - state.origin[q], tau)
    charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
    post = state.post[net.post_first[q] : net.post_first[q + 1]]
    owed = state.owed[net.post_first[q] : net.post_first[q + 1]]
    elapsed = t - state.trace_clock[q]
    factor = decay(elapsed, tau)
    fade_all(post, decay(elapsed, net.error_tau[dst]))
    state.trace_clock[q] = t
    power = fade(fade(state.power[q], factor), factor)
    jumps = fade(state.jumps[q], factor)
    quanta = 0.0
    for k in range(n_x):
        x = net.step[src] * count[first_x + k]
        jumps += x * x
        power += x * (2.0 * (charge[spike[first_x + k]] * scale) + x)
        quanta += abs(count[first_x + k])
    state.power[q] = power
    state.jumps[q] = jumps
    counters.projection[q, ROW_EVENTS] += n_x
    counters.projection[q, ROW_QUANTA] += np.int64(quanta)
    window = trace_window(tau, net.error_tau[dst])
    rate = guarded_rate(net.rate[q], window, power, jumps, net.cap[q])
    counters.projection[q, PASSES] += 1
    counters.projection[q, GUARDED] += rate < net.rate[q]
    gain = -(rate * window)
    quanta = 0.0
    for k in range(n_e):
        j = scratch.error_spike[first_e + k]
        e = net.error_step[dst] * scratch.error_count[first_e + k]
        post[j] += e
        owed[j] += (gain * e) * scale
        quanta += abs(scratch.error_count[first_e + k])
    state.version[q] += n_e > 0
    counters.projection[q, COLUMN_EVENTS] += n_e
    counters.projection[q, COLUMN_QUANTA] += np.int64(quanta)
    n_out = post.shape[0]
    base = net.weight_first[q]
    for k in range(n_x):
        i = spike[first_x + k]
        catch_up(q, i, net, state, weights, counters)
        x = net.step[src] * count[first_x + k]
        row = weights[base + i * n_out : base + (i + 1) * n_out]
        step = gain * x
        for j in range(n_out):
            row[j] += step * post[j]
        charge[i] += x / scale


@kernel
def nonzero(p: int, net: Net, state: State) -> int:
    """Return how many neurons of `p` a network that skips zeros would have to process."""
    n = 0
    for j in range(net.first[p], net.first[p + 1]):
        if net.kind[p] == SENSOR:
            n += state.x[j] != 0.0
        elif net.leak[p] == 0.0:
            n += state.active[j]
        else:
            n += 1
    return n


@kernel
def count_dense(net: Net, state: State, counters: Counters, reading: bool, teaching: bool) -> None:
    """Count what the same network without spikes, skipping zeros, would do at this sample."""
    counters.network[READINGS] += reading
    counters.network[TEACHINGS] += teaching
    for q in range(net.source.shape[0]):
        pre = nonzero(net.source[q], net, state)
        if reading:
            n_out = net.first[net.target[q] + 1] - net.first[net.target[q]]
            counters.projection[q, SKIP_FORWARD] += pre * n_out
        if teaching and net.has_error[net.target[q]]:
            post = nonzero(net.target[q], net, state)
            if net.has_error[net.source[q]]:
                counters.projection[q, SKIP_BACKWARD] += pre * post
            if net.plastic[q]:
                counters.projection[q, SKIP_UPDATE] += pre * post


@kernel
def collect_samples(
    t: float, net: Net, state: State, feed: Feed, scratch: Scratch
) -> tuple[bool, bool]:
    """Find each population's sample of this instant; return whether a sensor, a teacher has one.

    A value that the world wrote wins over a recorded one, as the last of two writes.
    """
    reading = False
    teaching = False
    for p in range(net.kind.shape[0]):
        scratch.read[p] = -2
        while (
            feed.cursor[p] < feed.samples[p] and feed.time[feed.time_first[p] + feed.cursor[p]] == t
        ):
            size = net.first[p + 1] - net.first[p]
            scratch.read[p] = feed.value_first[p] + feed.cursor[p] * size
            feed.cursor[p] += 1
        if state.written_time[p] == t:
            scratch.read[p] = -1
            state.written_time[p] = np.inf
        if scratch.read[p] != -2:
            reading = reading or net.kind[p] == SENSOR
            teaching = teaching or net.kind[p] == OUTPUT
    return reading, teaching


@kernel
def instant(
    t: float,
    first_instant: bool,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    error_flights: Flights,
    feed: Feed,
    scratch: Scratch,
    counters: Counters,
    buffer: Buffer,
) -> int:
    """Run one instant: sensors, forward, loss, backward, plasticity. Returns a bad population or -1."""
    scratch.spikes[:] = 0
    scratch.error_spikes[:] = 0
    scratch.delivered[:] = False
    scratch.turned[:] = False
    begin = buffer.used[0]
    learning = state.flags[1] != 0
    land(t, net.delay, flights)
    land(t, net.error_delay, error_flights)
    reading, teaching = collect_samples(t, net, state, feed, scratch)
    bad = sensors_stage(t, net, state, feed, scratch, buffer)
    if bad >= 0:
        return bad
    for k in range(net.order.shape[0]):
        p = net.order[k]
        if not forward_stage(
            t, first_instant, p, net, state, weights, flights, scratch, counters, buffer
        ):
            return int(p)
    if learning:
        for k in range(net.order.shape[0]):
            p = net.order[k]
            if net.kind[p] == OUTPUT and net.has_error[p]:
                if net.softmax[p]:
                    fine = softmax_stage(t, p, net, state, feed, scratch, buffer)
                else:
                    fine = loss_stage(t, p, net, state, feed, scratch, buffer)
                if not fine:
                    return int(p)
        for k in range(net.error_order.shape[0]):
            p = net.error_order[k]
            if not backward_stage(
                t, p, net, state, weights, error_flights, scratch, counters, buffer
            ):
                return int(p)
        for q in range(net.source.shape[0]):
            if net.plastic[q]:
                plasticity_stage(t, q, net, state, weights, flights, scratch, counters)
    depart(t, net.delay, net.source, net, scratch.spike, scratch.quanta, scratch.spikes, flights)
    depart(
        t,
        net.error_delay,
        net.target,
        net,
        scratch.error_spike,
        scratch.error_count,
        scratch.error_spikes,
        error_flights,
    )
    if reading or teaching:
        count_dense(net, state, counters, reading, teaching and learning)
    counters.network[INSTANTS] += 1
    n_populations = net.kind.shape[0]
    for k in range(begin, buffer.used[0]):
        code = buffer.population[k]
        quanta = abs(np.int64(buffer.quanta[k]))
        if code < n_populations:
            counters.population[code, EVENTS] += 1
            counters.population[code, QUANTA] += quanta
        else:
            counters.population[code - n_populations, ERROR_EVENTS] += 1
            counters.population[code - n_populations, ERROR_QUANTA] += quanta
    return -1


@kernel
def next_instant(
    net: Net, state: State, flights: Flights, error_flights: Flights, feed: Feed
) -> float:
    """Return the time of the next instant, inf if nothing is ahead."""
    t = min(next_landing(net.delay, flights), next_landing(net.error_delay, error_flights))
    if state.heap.shape[0] > 0:
        t = min(t, state.cross[state.heap[0]])
    for p in range(net.kind.shape[0]):
        t = min(t, state.due[p], state.error_due[p], state.written_time[p])
        if feed.cursor[p] < feed.samples[p]:
            t = min(t, feed.time[feed.time_first[p] + feed.cursor[p]])
    return t


@kernel
def advance(
    until: float,
    inclusive: bool,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    error_flights: Flights,
    feed: Feed,
    scratch: Scratch,
    counters: Counters,
    buffer: Buffer,
) -> int:
    """Run all instants before `until` (up to and with it if `inclusive`): the main loop.

    Returns DONE; BUFFER_FULL when the recorder must take the spikes; NEEDS_SAMPLES when a feed has
    run dry; NEEDS_ROOM when spikes under way may not find any; DIVERGED with the population in
    ``state.flags[2]``. Each leaves the engine between two instants, so that it is called again to
    go on.
    """
    room = buffer.time.shape[0] - 2 * net.first[-1]
    while True:
        for p in range(net.kind.shape[0]):
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                return NEEDS_SAMPLES
        first_instant = state.flags[0] == 0
        t = (
            net.start[0]
            if first_instant
            else next_instant(net, state, flights, error_flights, feed)
        )
        if t > until or (t == until and not inclusive):
            return DONE
        if buffer.used[0] > room:
            return BUFFER_FULL
        if (
            lacks_room(net.delay, net.source, net, flights) >= 0
            or lacks_room(net.error_delay, net.target, net, error_flights) >= 0
        ):
            return NEEDS_ROOM
        state.flags[0] = 1
        state.now[0] = t
        kept = buffer.used[0]
        bad = instant(
            t,
            first_instant,
            net,
            state,
            weights,
            flights,
            error_flights,
            feed,
            scratch,
            counters,
            buffer,
        )
        if bad >= 0:
            buffer.used[0] = kept  # an instant that failed is not recorded in part
            state.flags[2] = bad
            return DIVERGED

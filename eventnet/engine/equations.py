"""The equations that both engines share: the semantics, as pure scalar functions, one equation each.

The reference engine calls them, the compiled loop has them inlined. They use `math` only: `np.exp` and
BLAS round differently from their scalar counterparts, and the engines must agree bit for bit.

Units: times and time constants in seconds, residuals `phi` in spikes, signals in the user's units.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine.jit import Array, inlined, kernel

TINY = 1e-290
"""A decayed trace smaller than this is zero: denormal numbers would slow every later pass."""

MAX_COUNT = 2.0**24
"""The most spikes that a neuron may send at one instant; more is a storm, and the run ends.

A reading that moves by millions of steps at once says that the step is wrong, an error that does that
learning has run away: either would go on for hours. Up to it single precision holds every whole number.
"""

GUARD_EPSILON = 1e-12
"""Keeps the guard's limit finite while a projection has not seen a spike."""

BOOKING_PERIOD = 4.0
"""Presynaptic time constants after which late changes of weights are all booked.

Charges count from the last booking: the longer ago, the more digits `owed` loses to cancellation.
"""

CLOCK_PERIOD = 64.0
"""Time constants after which the clock of traces that are held as of one time is set forward."""

FAINT = 1e-250
"""Below this a held trace no longer fades: so it keeps its sign, which is the unit's active bit."""


@inlined
def decay(elapsed: float, tau: float) -> float:
    """Return ``exp(-elapsed/tau)``, the factor by which every trace of a population fades (Eq. 5)."""
    factor: float = math.exp(-elapsed / tau)
    return factor


@inlined
def fade(trace: float, factor: float) -> float:
    """Return `trace` after its decay by `factor`; zero once it would become denormal."""
    faded = trace * factor
    return faded if abs(faded) > TINY else 0.0


@inlined
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


@inlined
def later(t: float, candidate: float) -> float:
    """Return `candidate`, or the next representable time after `t` if it does not lie after `t`."""
    return candidate if candidate > t else math.nextafter(t, math.inf)


@inlined
def crossing(t: float, phi: float, theta: float, drift: float) -> float:
    """Return when a residual with slope `drift` (spikes/s) reaches the threshold it moves towards."""
    if drift > 0.0:
        return later(t, t + (theta - phi) / drift)
    if drift < 0.0:
        return later(t, t + (theta + phi) / -drift)
    return np.inf


@inlined
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


@inlined
def activation(z: float, on: bool, leak: float) -> float:
    """Return h(z): z where the unit is on, ``leak*z`` where it is off (leak 0: ReLU, 1: identity)."""
    return z if on else leak * z


@kernel
def switched_on(z: float, leak: float) -> bool:
    """Return the active bit at a delivery; a unit without a bend is always on."""
    return z > 0.0 or leak == 1.0


@inlined
def slope_of(z: float, leak: float) -> float:
    """Return h' at a delivery: 1 where the unit is on, `leak` where it is off."""
    return 1.0 if z > 0.0 else leak


@inlined
def arrive(
    u: float,
    factor: float,
    arrived: float,
    bias: float,
    before: float,
    leak: float,
    slope: float,
    per_step: float,
) -> tuple[float, float, float]:
    """Decode one delivery and encode its jump (Eq. 5, 4): return trace, slope, jump of phi.

    ``u <- u*factor + arrived``; the activation jumps from ``h(before + u*factor)``, of the stored
    slope, to ``h(bias + u)``. `before` is the bias, except at t0: until then it is 0.
    """
    faded = fade(u, factor)
    after = faded + arrived
    z = bias + after
    now = slope_of(z, leak)
    return after, now, (z * now - (before + faded) * slope) * per_step


@inlined
def hold(held: float, factor: float, arrived: float) -> float:
    """Return a trace held as of an earlier time after an arrival: ``U + arrived/D``.

    With `factor` D, what the trace has faded by since: ``u = U*D``, so that u grows by `arrived`. A trace
    that nothing reaches stays as it is, however often its clock is read.
    """
    return held + arrived / factor


@inlined
def set_forward(held: float, factor: float) -> float:
    """Return a held trace as of a later time; it stays above `FAINT` and keeps its sign."""
    faded = held * factor
    return faded if abs(faded) > FAINT or held == 0.0 else math.copysign(FAINT, held)


@inlined
def arrive_held(
    held: float, factor: float, arrived: float, leak: float, per_step: float
) -> tuple[float, float, float, float]:
    """`arrive` for a held trace and no bias: return it, both slopes, before and now, and phi's jump."""
    after = hold(held, factor, arrived)
    before, now = slope_of(held, leak), slope_of(after, leak)
    return after, before, now, (after * factor * now - held * factor * before) * per_step


@inlined
def arrive_error(
    g: float, factor: float, arrived: float, gate: float, slope: float
) -> tuple[float, float]:
    """Decode a delivery of error spikes, multiply it by h' (Eq. 12): return trace, jump of the error."""
    faded = fade(g, factor)
    after = faded + arrived
    return after, after * slope - faded * gate


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
            step = math.nextafter(t + elapsed, math.inf) - (t + elapsed)
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


@inlined
def sensor_period(x: float, tau: float, step: float) -> float:
    """Return the seconds between spikes of a sensor that holds `x`: ``tau*step/|x|``."""
    return tau * step / abs(x) if x != 0.0 else np.inf


@inlined
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


@inlined
def sensor_next(t: float, phi: float, theta: float, period: float, x: float) -> float:
    """Return when a sensor that holds `x` fires next, from its residual at `t`."""
    if period == np.inf:
        return np.inf
    return later(t, t + (theta - math.copysign(1.0, x) * phi) * period)


@inlined
def trace_window(tau_pre: float, tau_post: float) -> float:
    """Return ``c = tau_x*tau_e/(tau_x+tau_e)`` (s): the area under a pair of unit traces."""
    return tau_pre * tau_post / (tau_pre + tau_post)


@inlined
def strength(window: float, power: float, jumps: float, factor: float) -> float:
    """Return ``c*max(N, J/2)``: how strongly one projection's input acts on what it learns.

    N is the sum of squares of the presynaptic traces with this instant's spikes, J the sum of
    squares of the presynaptic spikes, instant by instant, fading with the sender's tau; `factor` is
    what they have faded by since they were noted. An input that flips its sign every h seconds grows
    by ``1 + lr*c*|x_s|^2/2`` a flip and shrinks by ``exp(-h/tau)`` between flips, so that
    ``lr*c*J/2 < 1`` is what keeps it stable (docs/theory.md).
    """
    return window * max(fade(fade(power, factor), factor), 0.5 * fade(jumps, factor), 0.0)


@inlined
def guarded_rate(rate: float, total: float, cap: float) -> float:
    """Return ``min(lr, cap/sum_q c_q*max(N_q, J_q/2))``: the learning rate that jumps leave stable.

    The sum, `total`, goes over the plastic projections of one target: they correct the same error.
    """
    return min(rate, cap / (total + GUARD_EPSILON))


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
        return toggle(t, clock, traces[place], bias, taus[0], on)
    for k in range(taus.shape[0]):
        scaled[k] = -fade(traces[place + k * stride], decay(t - clock, taus[k]))
    lower, upper = (0.0, np.inf) if on else (-np.inf, 0.0)
    when, _ = first_exit(t, z, lower, upper, 0.0, scaled, taus)
    return when

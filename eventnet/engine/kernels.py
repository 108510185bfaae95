"""The compiled engine's event loop.

The main loop is `advance`: find the next instant, run it, repeat. `instant` runs the stages of one
instant: sensors, forward populations, loss, backward populations, plasticity. The equations stand in
`equations`, the learning rules in `learning`.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine.arrays import (
    BUFFER_FULL,
    DIVERGED,
    DONE,
    ERROR_EVENTS,
    ERROR_QUANTA,
    EVENTS,
    INSTANTS,
    LAYER,
    NEEDS_ROOM,
    NEEDS_SAMPLES,
    OUTPUT,
    QUANTA,
    READINGS,
    SENSOR,
    SKIP_BACKWARD,
    SKIP_FORWARD,
    SKIP_UPDATE,
    SOURCE,
    TEACHINGS,
    Buffer,
    Counters,
    Feed,
    Fired,
    Flights,
    Net,
    Scratch,
    State,
)
from eventnet.engine.equations import (
    MAX_COUNT,
    amplitudes,
    arrive,
    arrive_error,
    crossing,
    decay,
    drift_time,
    fade,
    later,
    moved,
    pace,
    quantize,
    schedule,
    sensor_next,
    sensor_period,
    sensor_residual,
    slope_of,
    softmax,
    threshold_ahead,
    toggle,
    travelled,
    zero_crossing,
)
from eventnet.engine.flights import (
    arriving,
    depart,
    emit,
    lacks_room,
    land,
    next_landing,
    weigh,
)
from eventnet.engine.jit import Array, inlined, kernel
from eventnet.engine.learning import (
    add_columns,
    add_rows,
    gauge,
    plasticity_stage,
    synapses_of,
)
from eventnet.engine.local import cells_of, forward_local, loss_local
from eventnet.engine.readings import due, place_of
from eventnet.engine.shared import add_shared_columns, add_shared_rows
from eventnet.engine.tournament import next_leaf, put

# --------------------------------------------------------------------------------------------------
# The stages of an instant
# --------------------------------------------------------------------------------------------------


@kernel
def sensors_stage(
    t: float, net: Net, state: State, feed: Feed, scratch: Scratch, buffer: Buffer
) -> int:
    """Take readings and given spikes, fire the sensors that are due; return a bad population or -1."""
    tree, levels = state.tree, net.level_first
    root = tree.shape[0] - 1
    for p in range(net.population.shape[0]):
        first = net.first[p]
        last = net.first[p + 1]
        if net.population[p].kind == SOURCE and scratch.read[p] >= 0:
            for m in range(scratch.given[p]):
                place = scratch.read[p] + 2 * m
                i = int(feed.value[place])
                emit(t, p, p, first, i, feed.value[place + 1], scratch.fired, buffer)
        if net.population[p].kind != SENSOR:
            continue
        leaf = net.leaf_first[p]
        theta = net.population[p].theta
        source = scratch.read[p]
        if source == -2:
            # No reading: a due neuron has the residual +-theta, fires once and keeps its period.
            while tree[root] == t:
                i = next_leaf(tree, levels) - leaf + first
                if i >= last:
                    break
                s = math.copysign(1.0, state.x[i])
                state.phi[i] = threshold_ahead(theta, s) - s
                state.cross[i] = later(t, t + state.period[i])
                put(tree, levels, i - first + leaf, state.cross[i])
                emit(t, p, p, first, i - first, s, scratch.fired, buffer)
            weigh_own(p, net, state, scratch)
            continue
        for i in range(first, last):
            x = state.x[i]
            new = state.written[i] if source == -1 else feed.value[source + i - first]
            fires = state.cross[i] == t
            if new == x and not fires:
                continue  # a reading that changes nothing costs nothing
            if fires:
                phi = threshold_ahead(theta, x)
            else:
                phi = sensor_residual(state.phi[i], state.cross[i], t, state.period[i], theta, x)
            step = step_of(p, i, net, state)
            if new != x:
                phi += (new - x) / step
                if not abs(phi) <= MAX_COUNT:
                    state.flags[3] = i - net.first[p]
                    return p
            s = quantize(phi, theta, new)
            if new != x:
                state.x[i] = new
                state.period[i] = sensor_period(new, net.population[p].tau, step)
                state.cross[i] = sensor_next(t, phi - s, theta, state.period[i], new)
            else:
                state.cross[i] = later(t, t + state.period[i])
            state.phi[i] = phi - s
            put(tree, levels, i - first + leaf, state.cross[i])
            if s != 0.0:
                emit(t, p, p, first, i - first, s, scratch.fired, buffer)
        weigh_own(p, net, state, scratch)
    return -1


@inlined
def step_of(p: int, i: int, net: Net, state: State) -> float:
    """Return the step of neuron `i`, counted through all populations, of population `p`."""
    if net.population[p].own:
        return float(net.population[p].step * state.own[net.own_first[p] + i - net.first[p]])
    return float(net.population[p].step)


@inlined
def weigh_own(p: int, net: Net, state: State, scratch: Scratch) -> None:
    """Let the counts that leave `p` be times what its neurons have of their own."""
    if net.population[p].own:
        mine = slice(net.own_first[p], net.own_first[p + 1])
        weigh(p, net.first[p], state.own[mine], state.spent[mine], scratch.fired)


@kernel
def arrive_all(
    u: Array,
    phi: Array,
    slope: Array,
    arrived: Array,
    leak: float,
    factor: float,
    per_step: float,
    theta: float,
) -> tuple[int, int, int]:
    """Run `arrive` on a population without biases (writes u, phi, slope).

    Returns how many residuals left the threshold, slopes changed and traces left their range.
    """
    leaving = 0
    turned = 0
    broken = 0
    for j in range(u.shape[0]):
        after, now, jump = arrive(u[j], factor, arrived[j], 0.0, 0.0, leak, slope[j], per_step)
        new = phi[j] + jump
        u[j] = after
        phi[j] = new
        turned += now != slope[j]
        slope[j] = now
        leaving += not abs(new) <= theta
        broken += not abs(after) < 1e300
    return leaving, turned, broken


@kernel
def gather(
    p: int,
    net: Net,
    state: State,
    weights: Array,
    flights: Flights,
    scratch: Scratch,
    counters: Counters,
    special: int | None,
) -> None:
    """Sum what arrives at `p` in this instant, group by group (writes scratch.arrived)."""
    n = net.first[p + 1] - net.first[p]
    scratch.arrived[net.trace_first[p] : net.trace_first[p + 1]] = 0.0
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        neuron, quanta, first, spikes = arriving(
            q, net.projection[q].delay, net.projection[q].source, net.first, scratch.fired, flights
        )
        if spikes > 0:
            place = net.trace_first[p] + net.projection[q].group * n
            arrived = scratch.arrived[place : place + n]
            synapses = synapses_of(q, net, state, weights, counters)
            step = net.population[net.projection[q].source].step
            if special is not None and net.projection[q].shared:
                add_shared_rows(step, synapses, neuron, quanta, first, spikes, arrived)
                continue
            add_rows(step, synapses, neuron, quanta, first, spikes, arrived)


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
    special: int | None,
) -> bool:
    """Deliver to layer or output `p`, or run its own events; return False if it diverged."""
    delivered = first_instant
    for k in range(net.in_first[p], net.in_first[p + 1]):
        q = net.in_list[k]
        delivered |= (
            flights.landed[q]
            if net.projection[q].delay > 0.0
            else scratch.fired.number[net.projection[q].source]
        ) > 0
    if not delivered and state.population[p].due != t:
        return True
    if delivered:
        scratch.delivered[p] = True
        if special is not None and net.population[p].local:
            return forward_local(
                t, first_instant, p, net, state, weights, flights, scratch, counters, buffer
            )
        gather(p, net, state, weights, flights, scratch, counters, special)
    if net.population[p].kind == OUTPUT:
        fine = deliver_output(t, p, net, state, scratch)
    elif special is not None and not net.population[p].matched:
        fine = run_unmatched(t, first_instant, delivered, p, net, state, scratch, buffer)
    elif net.population[p].biased or net.population[p].own or first_instant:
        fine = run_biased(t, first_instant, delivered, p, net, state, scratch, buffer)
    else:
        fine = deliver_plain(t, p, net, state, scratch, buffer)
    weigh_own(p, net, state, scratch)
    if delivered:
        state.population[p].clock = t
    return fine


@kernel
def deliver_output(t: float, p: int, net: Net, state: State, scratch: Scratch) -> bool:
    """Deliver to an output: it is read, not sent on, and has no encoder."""
    n = net.first[p + 1] - net.first[p]
    bad = n
    for k in range(net.group_first[p + 1] - net.group_first[p]):
        factor = decay(t - state.population[p].clock, net.group_tau[net.group_first[p] + k])
        place = net.trace_first[p] + k * n
        for j in range(place, place + n):
            state.u[j] = fade(state.u[j], factor) + scratch.arrived[j]
            if not abs(state.u[j]) < 1e300:
                bad = min(bad, j - place)
    if bad < n:
        state.flags[3] = bad
        return False
    return True


@kernel
def deliver_plain(
    t: float, p: int, net: Net, state: State, scratch: Scratch, buffer: Buffer
) -> bool:
    """Deliver to a layer in which nothing happens between arrivals."""
    a = net.first[p]
    b = net.first[p + 1]
    phi = state.phi[a:b]
    theta = net.population[p].theta
    leaving, turned, broken = arrive_all(
        state.u[net.trace_first[p] : net.trace_first[p + 1]],
        phi,
        state.slope[a:b],
        scratch.arrived[net.trace_first[p] : net.trace_first[p + 1]],
        net.population[p].leak,
        decay(t - state.population[p].clock, net.population[p].tau),
        net.population[p].per_step,
        theta,
    )
    scratch.turned[p] = turned > 0
    for j in range(b - a):
        if leaving + broken == 0:
            break
        if broken > 0 and not abs(state.u[net.trace_first[p] + j]) < 1e300:
            state.flags[3] = j
            return False
        if not abs(phi[j]) <= theta:
            leaving -= 1
            if not abs(phi[j]) <= MAX_COUNT:
                state.flags[3] = j
                return False
            s = quantize(phi[j], theta, 0.0)
            phi[j] -= s
            emit(t, p, p, a, j, s, scratch.fired, buffer)
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
    tau = net.population[p].tau
    theta = net.population[p].theta
    leak = net.population[p].leak
    bends = leak != 1.0
    factor = decay(t - state.population[p].clock, tau)
    due = np.inf
    for j in range(a, net.first[p + 1]):
        fires = state.cross[j] == t
        turns = state.turn[j] == t
        if delivered or fires or turns:
            bias = net.bias[j]
            slope = state.slope[j]
            step = step_of(p, j, net, state)
            drift = bias * slope / (tau * step)
            if fires:
                phi = threshold_ahead(theta, drift)
            else:
                phi = state.phi[j] + drift * (t - state.anchor[j])
            now = slope
            if delivered:
                i = net.trace_first[p] + j - a
                before = 0.0 if first_instant else bias
                after, now, jump = arrive(
                    state.u[i], factor, scratch.arrived[i], bias, before, leak, slope, 1.0 / step
                )
                state.u[i] = after
                phi += jump
                if not abs(after) < 1e300:
                    state.flags[3] = j - a
                    return False
                state.turn[j] = toggle(t, t, after, bias, tau, now == 1.0) if bends else np.inf
            elif turns:
                now = leak if slope == 1.0 else 1.0
                state.turn[j] = np.inf
            if not abs(phi) <= MAX_COUNT:
                state.flags[3] = j - a
                return False
            drift = bias * now / (tau * step)
            s = quantize(phi, theta, drift)
            state.phi[j] = phi - s
            state.anchor[j] = t
            state.cross[j] = crossing(t, phi - s, theta, drift)
            if now != slope:
                state.slope[j] = now
                scratch.turned[p] = True
            if s != 0.0:
                emit(t, p, p, a, j - a, s, scratch.fired, buffer)
        due = min(due, state.cross[j], state.turn[j])
    state.population[p].due = due
    return True


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
    tau = net.population[p].tau
    theta = net.population[p].theta
    leak = net.population[p].leak
    taus = net.group_tau[net.group_first[p] : net.group_first[p + 1]]
    amplitude = scratch.amplitude[: taus.shape[0]]
    scaled = scratch.scaled[: taus.shape[0]]
    clock = state.population[p].clock
    due = np.inf
    for j in range(a, a + n):
        fires = state.cross[j] == t
        turns = state.turn[j] == t
        if delivered or fires or turns:
            place = net.trace_first[p] + j - a
            bias = net.bias[j]
            slope = state.slope[j]
            step = step_of(p, j, net, state)
            gain = slope / step
            if fires:
                phi = theta * state.side[j]
            else:
                phi = state.phi[j] + moved(
                    t, state.anchor[j], clock, gain, bias, tau, state.u, place, n, taus, amplitude
                )
            now = slope
            if delivered:
                before = 0.0 if first_instant else bias
                z = bias
                for k in range(taus.shape[0]):
                    i = place + k * n
                    faded = fade(state.u[i], decay(t - clock, taus[k]))
                    before += faded
                    state.u[i] = faded + scratch.arrived[i]
                    z += state.u[i]
                now = slope_of(z, leak)
                phi += (z * now - before * slope) * (1.0 / step)
                if not abs(z) < 1e300:
                    state.flags[3] = j - a
                    return False
                amplitudes(t, t, state.u, place, n, taus, tau, amplitude)
                state.turn[j] = np.inf
                if leak != 1.0:
                    state.turn[j] = zero_crossing(
                        t, z, now == 1.0, bias, t, state.u, place, n, taus, scaled
                    )
            else:
                amplitudes(t, clock, state.u, place, n, taus, tau, amplitude)
                if turns:
                    now = leak if slope == 1.0 else 1.0
                    state.turn[j] = zero_crossing(
                        t, 0.0, now == 1.0, bias, clock, state.u, place, n, taus, scaled
                    )
            if not abs(phi) <= MAX_COUNT:
                state.flags[3] = j - a
                return False
            gain = now / step
            s = quantize(phi, theta, gain * pace(bias / tau, amplitude, taus))
            state.phi[j] = phi - s
            state.anchor[j] = t
            state.cross[j], state.side[j] = schedule(
                t, phi - s, theta, gain, bias, tau, amplitude, scaled, taus
            )
            if now != slope:
                state.slope[j] = now
                scratch.turned[p] = True
            if s != 0.0:
                emit(t, p, p, a, j - a, s, scratch.fired, buffer)
        due = min(due, state.cross[j], state.turn[j])
    state.population[p].due = due
    return True


@kernel
def earliest(j: int, c: int, net: Net, state: State) -> float:
    """Return the next crossing of neuron `j`'s error coders, of which `c` is the first."""
    t = np.inf
    while c >= 0:
        t = min(t, state.error_cross[net.coder_first[c] + j])
        c = net.coder[c].next
    return t


@kernel
def emit_error(t: float, c: int, j: int, s: float, net: Net, errors: Fired, buffer: Buffer) -> None:
    """Note that error coder `c` of neuron `j` fired `s` (writes errors and buffer)."""
    emit(t, net.population.shape[0] + c, c, net.coder_first[c], j, s, errors, buffer)


@kernel
def loss_stage(
    t: float,
    p: int,
    net: Net,
    state: State,
    feed: Feed,
    scratch: Scratch,
    buffer: Buffer,
    special: int | None,
) -> bool:
    """Encode the squared error ``e = bias + u - y`` of output `p`; return False if it diverged."""
    taught = scratch.read[p] != -2
    delivered = scratch.delivered[p]
    if not (taught or delivered or state.population[p].error_due == t):
        return True
    a = net.first[p]
    n = net.first[p + 1] - a
    tau = net.population[p].error_tau
    theta = net.population[p].theta
    coder = net.population[p].coder
    matched = net.population[p].error_matched
    taus = net.group_tau[net.group_first[p] : net.group_first[p + 1]]
    amplitude = scratch.amplitude[: taus.shape[0]]
    scaled = scratch.scaled[: taus.shape[0]]
    clock = state.population[p].clock  # of the delivery, if there is one in this instant
    due = np.inf
    for j in range(a, a + n):
        fires = earliest(j - a, coder, net, state) == t
        if taught or delivered or fires:
            place = net.trace_first[p] + j - a
            bias = net.bias[j]
            on = state.gate[j] != 0.0
            before = bias - state.y[j] if on else 0.0
            jump = 0.0
            if taught:
                source = scratch.read[p]
                y = state.written[j] if source == -1 else feed.value[source + j - a]
                z = bias
                for k in range(taus.shape[0]):
                    z += fade(state.u[place + k * n], decay(t - clock, taus[k]))
                old = z - state.y[j] if on else 0.0
                now_on = not math.isnan(y)
                state.y[j] = y if now_on else 0.0
                jump = (z - y if now_on else 0.0) - old
                state.gate[j] = 1.0 if now_on else 0.0
            level = bias - state.y[j] if state.gate[j] != 0.0 else 0.0
            c = coder
            while c >= 0:
                i = net.coder_first[c] + j - a
                step = net.coder[c].step
                phi = state.error_phi[i]
                if state.error_cross[i] == t:
                    phi = theta * state.error_side[i]
                elif matched:
                    phi += before / (tau * step) * (t - state.error_anchor[j])
                elif special is not None and on:
                    for k in range(taus.shape[0]):
                        amplitude[k] = state.error_amplitude[place + k * n]
                    way = travelled(t - state.error_anchor[j], before / tau, amplitude, taus)
                    phi += 1.0 / step * way
                if delivered and on:
                    for k in range(taus.shape[0]):
                        phi += scratch.arrived[place + k * n] / step
                if taught:
                    phi += jump / step
                state.error_phi[i] = phi
                c = net.coder[c].next
            if special is not None and not matched:
                amplitudes(t, clock, state.u, place, n, taus, tau, amplitude)
                for k in range(taus.shape[0]):
                    state.error_amplitude[place + k * n] = amplitude[k]
            state.error_anchor[j] = t
            c = coder
            while c >= 0:
                i = net.coder_first[c] + j - a
                step = net.coder[c].step
                phi = state.error_phi[i]
                if not abs(phi) <= MAX_COUNT:
                    state.flags[3] = j - a
                    return False
                s = 0.0
                if matched:
                    drift = level / (tau * step)
                    s = quantize(phi, theta, drift)
                    state.error_cross[i] = crossing(t, phi - s, theta, drift)
                    state.error_side[i] = math.copysign(1.0, drift)
                elif special is not None:
                    gain = 1.0 / step if state.gate[j] != 0.0 else 0.0
                    s = quantize(phi, theta, gain * pace(level / tau, amplitude, taus))
                    state.error_cross[i], state.error_side[i] = schedule(
                        t, phi - s, theta, gain, level, tau, amplitude, scaled, taus
                    )
                state.error_phi[i] = phi - s
                if s != 0.0:
                    emit_error(t, c, j - a, s, net, scratch.errors, buffer)
                c = net.coder[c].next
        due = min(due, earliest(j - a, coder, net, state))
    state.population[p].error_due = due
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
    evaluated = taught or scratch.delivered[p] or state.population[p].timer == t
    if not (evaluated or state.population[p].error_due == t):
        return True
    a = net.first[p]
    n = net.first[p + 1] - a
    tau = net.population[p].error_tau
    theta = net.population[p].theta
    coder = net.population[p].coder
    soft = scratch.soft[a : a + n]
    if evaluated:
        if taught:
            source = scratch.read[p]
            on = True
            for j in range(a, a + n):
                y = state.written[j] if source == -1 else feed.value[source + j - a]
                on = on and not math.isnan(y)
                state.y[j] = y
            state.gate[a : a + n] = 1.0 if on else 0.0
        on = state.gate[a] != 0.0
        largest = 0.0
        shortest = np.inf
        for j in range(n):
            z = net.bias[a + j]
            size = 0.0
            for k in range(net.group_first[p + 1] - net.group_first[p]):
                group_tau = net.group_tau[net.group_first[p] + k]
                trace = fade(
                    state.u[net.trace_first[p] + k * n + j],
                    decay(t - state.population[p].clock, group_tau),
                )
                z += trace
                size += abs(trace)
                shortest = min(shortest, group_tau)
            soft[j] = z
            largest = max(largest, size)
        softmax(soft)
        state.population[p].timer = (
            drift_time(t, largest, net.population[p].tolerance, shortest) if on else np.inf
        )
    due = state.population[p].timer
    for j in range(a, a + n):
        fires = earliest(j - a, coder, net, state) == t
        if evaluated or fires:
            before = state.e[j]
            if evaluated:
                state.e[j] = soft[j - a] - state.y[j] if state.gate[j] != 0.0 else 0.0
            c = coder
            while c >= 0:
                i = net.coder_first[c] + j - a
                step = net.coder[c].step
                drift = before / (tau * step)
                if state.error_cross[i] == t:
                    phi = threshold_ahead(theta, drift)
                else:
                    phi = state.error_phi[i] + drift * (t - state.error_anchor[j])
                phi += (state.e[j] - before) / step
                if not abs(phi) <= MAX_COUNT:
                    state.flags[3] = j - a
                    return False
                drift = state.e[j] / (tau * step)
                s = quantize(phi, theta, drift)
                state.error_phi[i] = phi - s
                state.error_cross[i] = crossing(t, phi - s, theta, drift)
                if s != 0.0:
                    emit_error(t, c, j - a, s, net, scratch.errors, buffer)
                c = net.coder[c].next
            state.error_anchor[j] = t
        due = min(due, earliest(j - a, coder, net, state))
    state.population[p].error_due = due
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
    special: int | None,
) -> None:
    """Sum the error spikes that come back to layer `p`, group by group (writes scratch.returned)."""
    n = net.first[p + 1] - net.first[p]
    scratch.returned[net.back_trace_first[p] : net.back_trace_first[p + 1]] = 0.0
    for k in range(net.back_first[p], net.back_first[p + 1]):
        q = net.back_list[k]
        neuron, quanta, first, spikes = arriving(
            q,
            net.projection[q].error_delay,
            net.projection[q].coder,
            net.coder_first,
            scratch.errors,
            error_flights,
        )
        if spikes > 0:
            place = net.back_trace_first[p] + net.projection[q].back_group * n
            arrived = scratch.returned[place : place + n]
            synapses = synapses_of(q, net, state, weights, counters)
            if special is not None and net.projection[q].shared:
                add_shared_columns(
                    net.projection[q].error_step,
                    synapses,
                    neuron,
                    quanta,
                    first,
                    spikes,
                    arrived,
                    net.column_row,
                    net.column_place,
                )
                continue
            add_columns(
                net.projection[q].error_step,
                synapses,
                neuron,
                quanta,
                first,
                spikes,
                arrived,
                net.column_row,
                net.column_place,
            )


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
    special: int | None,
) -> bool:
    """Decode, gate and encode the error of layer `p` (Eq. 12); return False if it diverged."""
    delivered = False
    for k in range(net.back_first[p], net.back_first[p + 1]):
        q = net.back_list[k]
        delivered |= (
            error_flights.landed[q]
            if net.projection[q].error_delay > 0.0
            else scratch.errors.number[net.projection[q].coder]
        ) > 0
    if not (delivered or scratch.turned[p] or state.population[p].error_due == t):
        return True
    if delivered:
        gather_errors(p, net, state, weights, error_flights, scratch, counters, special)
    if special is not None and not net.population[p].error_matched:
        fine = return_unmatched(t, delivered, p, net, state, scratch, buffer)
    else:
        fine = return_matched(t, delivered, p, net, state, scratch, buffer)
    if delivered:
        state.population[p].error_clock = t
    return fine


@kernel
def return_all(
    g: Array, gate: Array, slope: Array, returned: Array, factor: float, jump: Array
) -> None:
    """Run `arrive_error` on a layer (writes g, gate, jump)."""
    for j in range(g.shape[0]):
        g[j], jump[j] = arrive_error(g[j], factor, returned[j], gate[j], slope[j])
        gate[j] = slope[j]


@kernel
def jump_all(phi: Array, jump: Array, per_step: float, theta: float) -> int:
    """Add jumps to residuals; return how many left the threshold or are not finite."""
    leaving = 0
    for j in range(phi.shape[0]):
        phi[j] += jump[j] * per_step
        leaving += not abs(phi[j]) <= theta
    return leaving


@kernel
def return_matched(
    t: float, delivered: bool, p: int, net: Net, state: State, scratch: Scratch, buffer: Buffer
) -> bool:
    """Run the errors of a layer in which nothing happens between arrivals and turns."""
    a = net.first[p]
    n = net.first[p + 1] - a
    theta = net.population[p].theta
    place = net.back_trace_first[p]
    factor = decay(t - state.population[p].error_clock, net.population[p].error_tau)
    g, gate, slope = state.g[place : place + n], state.gate[a : a + n], state.slope[a : a + n]
    jump = scratch.jump[:n]
    if delivered:
        return_all(g, gate, slope, scratch.returned[place : place + n], factor, jump)
    else:
        for j in range(n):  # as if 0 arrived; the traces stay
            jump[j] = 0.0
            if gate[j] != slope[j]:
                _, jump[j] = arrive_error(g[j], factor, 0.0, gate[j], slope[j])
                gate[j] = slope[j]
    leaving = 0
    coder = net.population[p].coder
    c = coder
    while c >= 0:
        residuals = state.error_phi[net.coder_first[c] : net.coder_first[c] + n]
        leaving += jump_all(residuals, jump, net.coder[c].per_step, theta)
        c = net.coder[c].next
    for j in range(n):
        if leaving == 0:
            break
        c = coder
        while c >= 0:
            i = net.coder_first[c] + j
            phi = state.error_phi[i]
            if not abs(phi) <= theta:
                leaving -= 1
                if not abs(phi) <= MAX_COUNT:
                    state.flags[3] = j
                    return False
                s = quantize(phi, theta, 0.0)
                state.error_phi[i] = phi - s
                emit_error(t, c, j, s, net, scratch.errors, buffer)
            c = net.coder[c].next
    return True


@kernel
def return_unmatched(
    t: float, delivered: bool, p: int, net: Net, state: State, scratch: Scratch, buffer: Buffer
) -> bool:
    """Run the errors of a layer whose residuals move on curves."""
    a = net.first[p]
    n = net.first[p + 1] - a
    tau = net.population[p].error_tau
    theta = net.population[p].theta
    coder = net.population[p].coder
    taus = net.back_group_tau[net.back_group_first[p] : net.back_group_first[p + 1]]
    amplitude = scratch.amplitude[: taus.shape[0]]
    scaled = scratch.scaled[: taus.shape[0]]
    clock = state.population[p].error_clock
    due = np.inf
    for j in range(a, a + n):
        gate = state.gate[j]
        slope = state.slope[j]
        place = net.back_trace_first[p] + j - a
        soonest = earliest(j - a, coder, net, state)
        if not (delivered or gate != slope or soonest == t):
            due = min(due, soonest)
            continue
        c = coder
        while c >= 0:
            i = net.coder_first[c] + j - a
            if state.error_cross[i] == t:
                state.error_phi[i] = theta * state.error_side[i]
            else:
                state.error_phi[i] += moved(
                    t,
                    state.error_anchor[j],
                    clock,
                    gate / net.coder[c].step,
                    0.0,
                    tau,
                    state.g,
                    place,
                    n,
                    taus,
                    amplitude,
                )
            c = net.coder[c].next
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
        jump = error * slope - before * gate
        amplitudes(t, t if delivered else clock, state.g, place, n, taus, tau, amplitude)
        state.error_anchor[j] = t
        state.gate[j] = slope
        c = coder
        while c >= 0:
            i = net.coder_first[c] + j - a
            phi = state.error_phi[i] + jump * net.coder[c].per_step
            if not abs(phi) <= MAX_COUNT:
                state.flags[3] = j - a
                return False
            gain = slope / net.coder[c].step
            s = quantize(phi, theta, gain * pace(0.0, amplitude, taus))
            state.error_cross[i], state.error_side[i] = schedule(
                t, phi - s, theta, gain, 0.0, tau, amplitude, scaled, taus
            )
            due = min(due, state.error_cross[i])
            state.error_phi[i] = phi - s
            if s != 0.0:
                emit_error(t, c, j - a, s, net, scratch.errors, buffer)
            c = net.coder[c].next
    state.population[p].error_due = due
    return True


@kernel
def processed(j: int, kind: int, leak: float, x: Array, slope: Array) -> bool:
    """Return whether a network that skips zeros would have to process neuron `j`."""
    if kind == SENSOR:
        return bool(x[j] != 0.0)
    if kind == LAYER and leak == 0.0:
        return bool(slope[j] != 0.0)
    return True


@kernel
def how_many(p: int, net: Net, state: State) -> int:
    """Return how many neurons of `p` are `processed`."""
    a, b = net.first[p], net.first[p + 1]
    if net.population[p].kind == SENSOR:
        return nonzero(state.x[a:b])
    if net.population[p].kind == LAYER and net.population[p].leak == 0.0:
        return nonzero(state.slope[a:b])
    return int(b - a)


@kernel
def nonzero(values: Array) -> int:
    """Return how many values are not 0."""
    found = 0
    for j in range(values.shape[0]):
        found += values[j] != 0.0
    return found


@kernel
def count_dense(net: Net, state: State, counters: Counters, reading: bool, teaching: bool) -> None:
    """Count what the same network without spikes, skipping zeros, would do at this sample."""
    counters.network[READINGS] += reading
    counters.network[TEACHINGS] += teaching
    for q in range(net.projection.shape[0]):
        src = net.projection[q].source
        dst = net.projection[q].target
        taught = teaching and net.population[dst].has_error
        if not (reading or taught):
            continue
        a = net.first[src]
        n_out = net.first[dst + 1] - net.first[dst]
        synapses = 0
        if net.projection[q].sparse:
            kind, leak = net.population[src].kind, net.population[src].leak
            for j in range(a, net.first[src + 1]):
                k = net.projection[q].span_first + j - a
                on = processed(j, kind, leak, state.x, state.slope)
                synapses += on * (net.span[k + 1] - net.span[k])
        else:
            synapses = how_many(src, net, state) * n_out
        if reading:
            counters.projection[q, SKIP_FORWARD] += synapses
        if taught:
            pairs = synapses * how_many(dst, net, state) // n_out
            if net.population[src].has_error:
                counters.projection[q, SKIP_BACKWARD] += pairs
            if net.projection[q].plastic:
                counters.projection[q, SKIP_UPDATE] += pairs


@kernel
def collect_samples(
    t: float, net: Net, state: State, feed: Feed, scratch: Scratch
) -> tuple[bool, bool]:
    """Find each population's sample of this instant; return whether a sensor, a teacher has one.

    A value that the world wrote wins over a recorded one, as the last of two writes. A source takes
    all of its spikes of this instant.
    """
    reading = False
    teaching = False
    for p in range(net.population.shape[0]):
        scratch.read[p] = -2
        scratch.given[p] = 0
        given = net.population[p].kind == SOURCE
        size = 2 if given else net.first[p + 1] - net.first[p]
        while (
            feed.cursor[p] < feed.samples[p] and feed.time[feed.time_first[p] + feed.cursor[p]] == t
        ):
            if not given or scratch.given[p] == 0:
                scratch.read[p] = feed.value_first[p] + feed.cursor[p] * size
            scratch.given[p] += given
            feed.cursor[p] += 1
        if state.population[p].written_time == t:
            scratch.read[p] = -1
            state.population[p].written_time = np.inf
        if scratch.read[p] != -2:
            reading = reading or net.population[p].kind == SENSOR
            teaching = teaching or net.population[p].kind == OUTPUT
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
    special: int | None,
) -> int:
    """Run one instant: sensors, forward, loss, backward, plasticity. Returns a bad population or -1."""
    scratch.fired.number[:] = 0
    scratch.errors.number[:] = 0
    scratch.delivered[:] = False
    scratch.turned[:] = False
    begin = buffer.used[0]
    learning = state.flags[1] != 0
    land(t, net.delayed, flights)
    land(t, net.error_delayed, error_flights)
    reading, teaching = collect_samples(t, net, state, feed, scratch)
    bad = sensors_stage(t, net, state, feed, scratch, buffer)
    if bad >= 0:
        return bad
    for k in range(net.order.shape[0]):
        p = net.order[k]
        if not forward_stage(
            t, first_instant, p, net, state, weights, flights, scratch, counters, buffer, special
        ):
            return int(p)
    if learning:
        for k in range(net.order.shape[0]):
            p = net.order[k]
            if net.population[p].kind == OUTPUT and net.population[p].has_error:
                if special is not None and net.population[p].local:
                    fine = loss_local(t, p, net, state, feed, scratch, buffer)
                elif special is not None and net.population[p].softmax:
                    fine = softmax_stage(t, p, net, state, feed, scratch, buffer)
                else:
                    fine = loss_stage(t, p, net, state, feed, scratch, buffer, special)
                if not fine:
                    return int(p)
        for k in range(net.error_order.shape[0]):
            p = net.error_order[k]
            if not backward_stage(
                t, p, net, state, weights, error_flights, scratch, counters, buffer, special
            ):
                return int(p)
        if net.rule[0] == 0:
            for q in range(net.projection.shape[0]):
                if net.projection[q].plastic:
                    gauge(t, q, net, state, weights, flights, scratch, counters, special)
        for q in range(net.projection.shape[0]):
            if net.projection[q].plastic:
                plasticity_stage(
                    t,
                    q,
                    net,
                    state,
                    weights,
                    flights,
                    scratch.fired,
                    scratch.errors,
                    scratch,
                    counters,
                    special,
                )
    depart(
        t,
        net.delayed,
        net.projection["delay"],
        net.projection["source"],
        net.first,
        scratch.fired,
        flights,
    )
    depart(
        t,
        net.error_delayed,
        net.projection["error_delay"],
        net.projection["coder"],
        net.coder_first,
        scratch.errors,
        error_flights,
    )
    if reading or teaching:
        count_dense(net, state, counters, reading, teaching and learning)
    counters.network[INSTANTS] += 1
    n_populations = net.population.shape[0]
    for k in range(begin, buffer.used[0]):
        code = buffer.population[k]
        quanta = abs(np.int64(buffer.quanta[k]))
        if code < n_populations:
            counters.population[code, EVENTS] += 1
            counters.population[code, QUANTA] += quanta
        else:
            p = net.coder[code - n_populations].population
            counters.population[p, ERROR_EVENTS] += 1
            counters.population[p, ERROR_QUANTA] += quanta
    return -1


@kernel
def next_instant(
    net: Net, state: State, flights: Flights, error_flights: Flights, feed: Feed
) -> float:
    """Return the time of the next instant, inf if nothing is ahead."""
    t = min(next_landing(net.delayed, flights), next_landing(net.error_delayed, error_flights))
    t = min(t, float(state.tree[state.tree.shape[0] - 1]))
    for p in range(net.population.shape[0]):
        t = min(
            t,
            state.population[p].due,
            state.population[p].error_due,
            state.population[p].written_time,
        )
        if feed.cursor[p] < feed.samples[p]:
            t = min(t, feed.time[feed.time_first[p] + feed.cursor[p]])
    return t


@kernel
def read_due(
    before: float, until: float, inclusive: bool, net: Net, state: State, buffer: Buffer
) -> None:
    """Let all probes read that have to before the instant at `before`."""
    probes = buffer.probes
    k = due(before, until, inclusive, probes)
    while k >= 0:
        place, t = place_of(k, probes)
        p = probes.population[k]
        size = net.first[p + 1] - net.first[p]
        read_signal(t, p, net, state, probes.value[place : place + size])
        k = due(before, until, inclusive, probes)


@kernel
def read_signal(t: float, p: int, net: Net, state: State, z: Array) -> None:
    """Write the signal of population `p` at `t`: a reading, h(z), or an output's z."""
    a, n = net.first[p], z.shape[0]
    if net.population[p].kind == SENSOR:
        for j in range(n):
            z[j] = state.x[a + j]
        return
    elapsed = max(t - state.population[p].clock, 0.0)
    for j in range(n):
        z[j] = net.bias[a + j]
    for k in range(net.group_first[p + 1] - net.group_first[p]):
        factor = decay(elapsed, net.group_tau[net.group_first[p] + k])
        if net.population[p].local:
            cells, stride = cells_of(p, net, state)
            for j in range(n):
                z[j] += fade(cells[j * stride], factor)
        else:
            place = net.trace_first[p] + k * n
            for j in range(n):
                z[j] += fade(state.u[place + j], factor)
    for j in range(n):
        z[j] = z[j] if z[j] > 0.0 else net.population[p].leak * z[j]


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
    special: int | None,
) -> int:
    """Run all instants before `until` (up to and with it if `inclusive`): the main loop.

    Returns DONE; BUFFER_FULL when the recorder must take the spikes; NEEDS_SAMPLES when a feed has
    run dry; NEEDS_ROOM when spikes under way may not find any; DIVERGED with the population in
    ``state.flags[2]`` and its neuron in ``state.flags[3]``. Each leaves the engine between two
    instants, so that it is called again to go on.

    Where `special` is None, which Numba knows as it compiles, it leaves out what only special networks
    need (`CompiledEngine`): a third.
    """
    room = buffer.time.shape[0] - net.first[-1] - net.coder_first[-1]
    while True:
        for p in range(net.population.shape[0]):
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                return NEEDS_SAMPLES
        first_instant = state.flags[0] == 0
        t = (
            net.start[0]
            if first_instant
            else next_instant(net, state, flights, error_flights, feed)
        )
        if buffer.probes.left[0] > 0:
            read_due(t, until, inclusive, net, state, buffer)
        if t > until or (t == until and not inclusive):
            return DONE
        if buffer.used[0] > room:
            return BUFFER_FULL
        if lacks_room(net.delayed, net.projection["source"], net.first, flights) or lacks_room(
            net.error_delayed, net.projection["coder"], net.coder_first, error_flights
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
            special,
        )
        if bad >= 0:
            buffer.used[0] = kept  # an instant that failed is not recorded in part
            state.flags[2] = bad
            return DIVERGED

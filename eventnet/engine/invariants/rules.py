"""The invariants that both engines keep (docs/semantics.md).

What a rule of the semantics makes exact is demanded exactly. Where a closed form is evaluated again, the
tolerance is a few roundings of its terms and of the time at which it is taken.
"""

from __future__ import annotations

import math

import numpy as np

from eventnet.engine import arrays as ar
from eventnet.engine import equations as eq
from eventnet.engine.invariants.view import (
    Coder,
    Decoder,
    Flights,
    Floats,
    Layer,
    LayerError,
    Ledger,
    Loss,
    Projection,
    Sensor,
    Traces,
    View,
    demand,
)

EPS = float(np.finfo(np.float64).eps)
NORMAL = float(np.finfo(np.float64).tiny)
"""The least magnitude that is not denormal."""

ROUNDINGS = 32.0
"""How many relative roundings a closed form of a few terms may gather, exp and expm1 included."""

WAY = np.linspace(0.0, 1.0, 17)
"""Where on the way to its next crossing a residual is looked at."""


def check(view: View) -> None:
    """Raise an AssertionError that names the first invariant that `view` breaks."""
    check_time(view)
    for sensor in view.sensors:
        check_sensor(sensor, view)
    for output in view.outputs:
        check_decoder(output.decoder, view)
    for layer in view.layers:
        check_decoder(layer.decoder, view)
        check_layer(layer, view)
        check_coder(layer.coder, view)
    for loss in view.losses:
        check_loss(loss, view)
        check_coder(loss.coder, view)
    for error in view.errors:
        check_decoder(error.decoder, view)
        check_error(error, view)
        check_coder(error.coder, view)
    for projection in view.projections:
        check_flights(projection.flights, view)
        check_flights(projection.error_flights, view)
        check_projection(projection, view)


# -- time ------------------------------------------------------------------------------------------


def check_time(view: View) -> None:
    """The clock runs from t0, and what is to come lies ahead of it."""
    demand("starts at t0", "now", (view.now >= view.t0) == view.started, view.now)
    for where, time in view.ahead.items():
        demand("lies ahead", where, time > view.now, time)


def check_clock(where: str, clock: float | Floats, view: View) -> None:
    """A last touch lies between t0 and now; before the start it is t0."""
    latest = max(view.now, view.t0)
    demand("touched by now", where, (clock >= view.t0) & (clock <= latest), clock)


def check_schedule(where: str, times: Floats, view: View) -> None:
    """What is scheduled lies ahead, or nowhere (inf); never NaN."""
    demand("lies ahead", where, times > view.now, times)


# -- neurons ---------------------------------------------------------------------------------------


def check_trace(where: str, trace: Floats) -> None:
    """A trace is finite, in range, and 0 before it is denormal (`equations.fade`)."""
    size = np.abs(trace)
    demand("trace in range", where, size < 1e300, trace)
    demand("trace not denormal", where, (size == 0.0) | (size >= NORMAL), trace)


def check_decoder(decoder: Decoder, view: View) -> None:
    """Traces are in range, touched by now."""
    check_trace(f"{decoder.where}.traces", decoder.traces)
    check_clock(f"{decoder.where}.clock", decoder.clock, view)


def excess(theta: float) -> float:
    """Return by how much `equations.quantize` may leave a residual beyond the threshold.

    By nothing where theta is a multiple of 2^-22, as then none of its steps rounds for a count in
    range; else ``|phi| - theta`` is rounded once, by half an ulp of at most 2^31.
    """
    return 0.0 if (theta * 2.0**22).is_integer() else 2.0**-23


def check_residual(where: str, phi: Floats, theta: float) -> None:
    """After quantizing, ``|phi| <= theta``."""
    demand("residual within the threshold", where, np.abs(phi) <= theta + excess(theta), phi)


def check_sensor(sensor: Sensor, view: View) -> None:
    """A sensor fires at the period of its reading, from a residual between the thresholds."""
    where, x = sensor.where, sensor.x
    demand("reading finite", f"{where}.x", np.isfinite(x), x)
    check_residual(f"{where}.phi", sensor.phi, sensor.theta)
    check_schedule(f"{where}.cross", sensor.cross, view)
    pairs = zip(x.tolist(), sensor.step.tolist(), strict=True)
    period = [eq.sensor_period(value, sensor.tau, step) for value, step in pairs]
    demand("period of the reading", f"{where}.period", sensor.period == period, sensor.period)
    # From threshold to threshold it takes 2*theta periods, and a next time is rounded once.
    with np.errstate(over="ignore", invalid="ignore"):
        longest = 2.0 * sensor.theta * sensor.period * (1.0 + 4.0 * EPS)
        latest = max(view.now, view.t0) + longest
    latest += np.where(np.isfinite(latest), 2.0 * np.spacing(latest), 0.0)
    demand("next spike within its period", f"{where}.cross", sensor.cross <= latest, sensor.cross)
    silent = np.isinf(sensor.cross) | np.isfinite(sensor.period)
    demand("silent at zero", f"{where}.cross", silent, sensor.cross)


def check_coder(coder: Coder, view: View) -> None:
    """Up to its next crossing a residual stays between the thresholds, and then it is on one."""
    where, theta = coder.where, coder.theta
    check_residual(f"{where}.phi", coder.phi, theta)
    check_clock(f"{where}.anchor", coder.anchor, view)
    check_schedule(f"{where}.cross", coder.cross, view)
    fires = np.isfinite(coder.cross)
    drift = coder.gain * coder.level / coder.tau
    demand("a drift has a crossing", f"{where}.cross", fires | (drift == 0.0), coder.cross)
    end = np.where(fires, coder.cross, coder.anchor + 40.0 * coder.taus.max())
    elapsed = (end - coder.anchor) * WAY[:, None]  # (w, n)
    terms = coder.gain * coder.amplitude * -np.expm1(-elapsed[:, None] / coder.taus[:, None])
    phi = coder.phi + drift * elapsed + terms.sum(axis=1)
    size = theta + np.abs(drift * elapsed) + np.abs(coder.gain * coder.amplitude).sum(axis=0)
    speed = np.abs(drift) + np.abs(coder.gain * coder.amplitude / coder.taus[:, None]).sum(axis=0)
    slack = excess(theta) + ROUNDINGS * EPS * size + 2.0 * speed * np.spacing(end)
    demand("no threshold is passed over", f"{where}.phi", np.abs(phi) <= theta + slack, phi)
    off = np.abs(phi[-1] - coder.side * theta)
    demand("crosses on the threshold", f"{where}.cross", ~fires | (off <= slack[-1]), coder.cross)


def check_layer(layer: Layer, view: View) -> None:
    """The active bit has the sign of z, now and until its next turn, where z is 0."""
    where, active, turn = layer.where, layer.active, layer.turn
    check_schedule(f"{where}.turn", turn, view)
    if not view.started:
        demand("off before t0", f"{where}.active", ~active, active)
        return
    if layer.leak == 1.0:
        demand("without a bend always on", f"{where}.active", active, active)
        demand("without a bend no turn", f"{where}.turn", np.isinf(turn), turn)
        return
    turns = np.isfinite(turn)
    # Without a turn z keeps its sign for ever, so that its limit, the bias, has it too.
    opposed = np.where(active, layer.bias < 0.0, layer.bias > 0.0)
    demand("turns if its bias opposes it", f"{where}.turn", turns | ~opposed, turn)
    end = np.where(turns, turn, view.now + 40.0 * layer.decoder.taus.max())
    times = view.now + (end - view.now) * WAY[:, None]
    traces = np.stack([layer.decoder.at(time) for time in times], axis=1)  # (G, w, n)
    z = layer.bias + traces.sum(axis=0)
    size = np.abs(layer.bias) + np.abs(layer.decoder.traces).sum(axis=0)
    speed = np.abs(traces / layer.decoder.taus[:, None, None]).sum(axis=0)
    slack = ROUNDINGS * EPS * size + 2.0 * speed * np.spacing(times)
    right = np.where(active, z >= -slack, z <= slack)
    demand("active has the sign of z", f"{where}.active", right[:-1], z[:-1])
    demand("turns at z = 0", f"{where}.turn", ~turns | (np.abs(z[-1]) <= slack[-1]), turn)


# -- errors ----------------------------------------------------------------------------------------


def check_loss(loss: Loss, view: View) -> None:
    """Without a target there is no error; a held error is evaluated again before z moves too far."""
    where, on = loss.where, loss.on
    target = np.where(on, np.isfinite(loss.y), loss.softmax | (loss.y == 0.0))
    demand("target finite or none", f"{where}.y", target, loss.y)
    demand("no target, no drift", f"{where}.cross", on | np.isinf(loss.coder.cross), on)
    if not view.learning:
        demand("no error while not learning", f"{where}.on", ~on, on)
        demand("no error while not learning", f"{where}.phi", loss.coder.phi == 0.0, loss.coder.phi)
    if not loss.softmax:
        return
    check_schedule(f"{where}.timer", np.array(loss.timer), view)
    demand("a target is whole", f"{where}.on", on == on[0], on)
    demand("no target, no error", f"{where}.e", on | (loss.e == 0.0), loss.e)
    demand("no target, no timer", f"{where}.timer", on[0] or math.isinf(loss.timer), loss.timer)
    if on[0]:
        sum_of_all = float((loss.e + loss.y).sum())
        rounded = ROUNDINGS * EPS * (1.0 + float(np.abs(loss.y).sum()))
        demand("probabilities sum to 1", f"{where}.e", abs(sum_of_all - 1.0) <= rounded, sum_of_all)
        decoder = loss.output.decoder
        moves = np.abs(decoder.at(view.now) - decoder.at(loss.timer)).sum(axis=0)
        size = np.abs(decoder.traces).sum(axis=0)
        rounded = np.spacing(loss.timer) / decoder.taus.min() if loss.timer < np.inf else 0.0
        most = loss.tolerance * (1.0 + ROUNDINGS * EPS) + size * (ROUNDINGS * EPS + 2.0 * rounded)
        demand("evaluated within the tolerance", f"{where}.timer", moves <= most, loss.timer)


def check_error(error: LayerError, view: View) -> None:
    """The error coder has seen the layer's active bits, unless no error has come yet."""
    where = error.where
    silent = not error.decoder.traces.any() and not error.coder.phi.any()
    demand(
        "gate is the active bit", f"{where}.gate", (error.gate == error.active) | silent, error.gate
    )
    if not view.learning:
        demand("no error while not learning", f"{where}.traces", silent, error.decoder.traces.any())
        demand("no error while not learning", f"{where}.gate", ~error.gate, error.gate)
        idle = np.isinf(error.coder.cross)
        demand("no error while not learning", f"{where}.cross", idle, error.coder.cross)


# -- projections -----------------------------------------------------------------------------------


def check_flights(flights: Flights, view: View) -> None:
    """Spikes under way are sorted, ahead, sent by now, and of neurons that there are."""
    where, time = flights.where, flights.time
    check_schedule(f"{where}.time", time, view)
    demand("flights in order", f"{where}.time", np.diff(time) >= 0.0, time[1:])
    demand("sent by now", f"{where}.time", time <= view.now + flights.delay, time)
    known = (flights.neuron >= 0) & (flights.neuron < flights.size)
    demand("sent by a neuron", f"{where}.neuron", known, flights.neuron)
    whole = (flights.quanta != 0.0) & (flights.quanta == np.trunc(flights.quanta))
    demand("counts are whole", f"{where}.quanta", whole, flights.quanta)
    demand(
        "without a delay nothing is under way", where, flights.delay > 0.0 or not len(time), time
    )


def check_projection(projection: Projection, view: View) -> None:
    """Weights are finite and within their bounds, no spike is lost, and the rule's memory is right."""
    where, weights = projection.where, projection.weights
    demand("weights finite", f"{where}.weights", np.isfinite(weights), weights)
    lower, upper = projection.bounds or (-np.inf, np.inf)
    within = (weights >= lower) & (weights <= upper)
    demand("weights within their bounds", f"{where}.weights", within, weights)
    rate = projection.rate
    demand("rate finite and not negative", f"{where}.rate", 0.0 <= rate < np.inf, rate)
    check_counts(projection)
    if not view.learning:
        errors = projection.error_flights
        demand("no error while not learning", errors.where, not len(errors.time), len(errors.time))
    memory = projection.memory
    if isinstance(memory, Ledger):
        check_ledger(memory, projection, view)
    elif memory is not None:
        check_traces(memory, projection, view)


def check_counts(projection: Projection) -> None:
    """Every spike that was sent has arrived or is under way."""
    counts = projection.counters
    for invariant, (event, quanta), arrived, sent, flights in (
        (
            "no spike is lost",
            (ar.EVENTS, ar.QUANTA),
            ar.FORWARD,
            projection.sent,
            projection.flights,
        ),
        (
            "no error spike appears from nowhere",
            (ar.ERROR_EVENTS, ar.ERROR_QUANTA),
            ar.BACKWARD,
            projection.returned,
            projection.error_flights,
        ),
    ):
        under_way = np.array([len(flights.time), np.abs(flights.quanta).sum()])
        there = counts[arrived : arrived + 2] + under_way
        left = sent[[event, quanta]]
        # Learning that is switched off drops the errors under way.
        fine = there == left if arrived == ar.FORWARD else there <= left
        demand(invariant, f"{projection.where}.counters", fine, there)
    guarded = counts[ar.GUARDED] <= counts[ar.PASSES]
    demand(
        "guarded at most once a pass", f"{projection.where}.counters", guarded, counts[ar.GUARDED]
    )


def check_ledger(memory: Ledger, projection: Projection, view: View) -> None:
    """Rows book what is owed when they are read, and N is the traces' sum of squares over positions."""
    where, tau = projection.where, projection.taus[0]
    check_clock(f"{where}.clock", memory.clock, view)
    check_clock(f"{where}.origin", memory.origin, view)
    age = memory.clock - memory.origin
    demand(
        "booked in time", f"{where}.origin", 0.0 <= age <= eq.BOOKING_PERIOD * tau, memory.origin
    )
    for name in ("charge", "post"):
        check_trace(f"{where}.{name}", getattr(memory, name))
    for name in ("owed", "booked"):
        value = getattr(memory, name)
        demand("owed finite", f"{where}.{name}", np.isfinite(value), value)
    known = (memory.seen >= 0) & (memory.seen <= memory.version)
    demand("no row has seen the future", f"{where}.seen", known, memory.seen)
    current = memory.seen == memory.version
    if projection.bounds is not None:
        demand("with bounds no row waits", f"{where}.seen", current, memory.seen)
    settled = ~current[projection.pre] | (memory.booked == memory.owed[projection.post])
    demand("a row that is up to date is owed nothing", f"{where}.booked", settled, memory.booked)
    sums = np.array([memory.power, memory.jumps])
    check_trace(f"{where}.power", sums)
    # N is kept by one sum a spike. Each rounds a term of at most a few N + x^2, N <= n*J by
    # Cauchy and Schwarz, and what it rounded fades no slower than J: n spikes gather n*(n*J) of it.
    # What is smaller than its epsilon the guard does not see.
    x_hat = memory.charge * math.exp(-age / tau)
    spikes = 1.0 + float(projection.counters[ar.ROW])
    slack = ROUNDINGS * EPS * spikes * spikes * abs(memory.jumps) + eq.GUARD_EPSILON
    near = abs(memory.power - float(x_hat @ (projection.positions * x_hat))) <= slack
    demand("N is the sum of squares", f"{where}.power", near, memory.power)
    positive = memory.jumps >= -eq.GUARD_EPSILON
    demand("J is a sum of squares", f"{where}.jumps", positive, memory.jumps)
    if not view.learning:
        everything = (memory.charge, memory.owed, memory.booked, memory.post, sums)
        check_rest(where, [*everything, np.array(memory.version)])


def check_traces(memory: Traces, projection: Projection, view: View) -> None:
    """Traces are in range, and the past rule's open product has only decayed since its last touch."""
    where = projection.where
    check_clock(f"{where}.clock", memory.clock, view)
    check_trace(f"{where}.x_hat", memory.x_hat)
    check_trace(f"{where}.e_hat", memory.e_hat)
    if memory.u is not None:
        product = memory.x_hat[projection.pre] * memory.e_hat[projection.post]
        passes = 1.0 + float(projection.counters[ar.PASSES])
        most = memory.u * np.sign(product) * (1.0 + ROUNDINGS * EPS * passes)
        demand("an open product only decays", f"{where}.u", np.abs(product) <= most, memory.u)
    if not view.learning:
        check_rest(where, [memory.x_hat, memory.e_hat, *([] if memory.u is None else [memory.u])])


def check_rest(where: str, memory: list[Floats]) -> None:
    """While learning is off a rule remembers nothing."""
    for k, part in enumerate(memory):
        demand("no trace while not learning", f"{where}.memory[{k}]", part == 0.0, part)

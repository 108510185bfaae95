"""The reference engine's state as a `View`, and what only its objects must keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eventnet.engine.invariants import rules
from eventnet.engine.invariants.view import (
    Coder,
    Decoder,
    Flights,
    Floats,
    Layer,
    LayerError,
    Ledger,
    Loss,
    Output,
    Projection,
    Sensor,
    Traces,
    View,
    demand,
)
from eventnet.engine.neurons import next_cross
from eventnet.plasticity.past import OpenAreas
from eventnet.plasticity.rule import Traces as RuleTraces
from eventnet.plasticity.stdp import Ledger as RuleLedger

if TYPE_CHECKING:
    from eventnet.engine import neurons, synapses
    from eventnet.engine.actors import ActorsEngine, Key
    from eventnet.engine.plan import Plan


def check(engine: ActorsEngine) -> None:
    """Raise an AssertionError that names the first invariant that the engine breaks."""
    check_queue(engine)
    check_curves(engine)
    rules.check(view(engine))


def check_queue(engine: ActorsEngine) -> None:
    """The queue holds each neuron's own events, at the times that the neuron knows, and no others."""
    engine._queue._check()
    own: dict[Key, float] = {}
    for p, sensors in engine._sensors.items():
        own |= {(p, "cross", i): neuron.next for i, neuron in enumerate(sensors)}
    for p, layers in engine._layers.items():
        own |= {(p, "cross", i): neuron.coder.cross for i, neuron in enumerate(layers)}
        own |= {(p, "turn", i): neuron.turn for i, neuron in enumerate(layers)}
    for p, losses in engine._losses.items():
        own |= {(p, "error", i): next_cross(loss.coders) for i, loss in enumerate(losses)}
    for p, softmax in engine._softmax.items():
        own |= {(p, "error", i): next_cross(coders) for i, coders in enumerate(softmax.coders)}
        own[p, "timer", 0] = softmax.timer
    for p, errors in engine._errors.items():
        own |= {(p, "error", i): next_cross(error.coders) for i, error in enumerate(errors)}
    queued = dict(engine._queue.items())
    names = [p.name for p in engine.plan.populations]
    for key in queued.keys() | own.keys():
        there, expected = queued.get(key, math.inf), own.get(key, math.inf)
        where = f"{names[key[0]]}.{key[1]}[{key[2]}]"
        demand("queued when the neuron says", where, there == expected, there)


def check_curves(engine: ActorsEngine) -> None:
    """A coder's copy of its curve is that of its neuron."""
    if not engine._started:
        return
    for p, layers in engine._layers.items():
        name = engine.plan.populations[p].name
        for i, neuron in enumerate(layers):
            where = f"{name}.coder[{i}]"
            coder = neuron.coder
            demand("slope of the active bit", where, coder.slope == neuron.slope, coder.slope)
            demand("level of the bias", where, coder.level == neuron.bias, coder.level)
            _check_amplitude(where, coder, neuron.traces, engine._clock[p])
    for p, losses in engine._losses.items():
        name = engine.plan.populations[p].name
        for i, (loss, output) in enumerate(zip(losses, engine._outputs[p], strict=True)):
            if loss.on:
                where, level = f"{name}.error.coder[{i}]", loss.bias - loss.y
                for coder in loss.coders:
                    demand("level of the error", where, coder.level == level, coder.level)
                    _check_amplitude(where, coder, output.traces, engine._clock[p])
    for p, softmax in engine._softmax.items():
        name = engine.plan.populations[p].name
        for members in zip(*softmax.coders, strict=True):
            levels = np.array([coder.level for coder in members])
            demand("level of the error", f"{name}.error.coder", levels == softmax.e, levels)
    for p, errors in engine._errors.items():
        name = engine.plan.populations[p].name
        for i, error in enumerate(errors):
            where = f"{name}.error.coder[{i}]"
            for coder in error.coders:
                _check_amplitude(where, coder, error.traces, engine._error_clock[p])


def _check_amplitude(where: str, coder: neurons.Coder, traces: Floats, clock: float) -> None:
    if coder.straight:
        return
    faded = traces * np.exp(-max(coder.anchor - clock, 0.0) / coder.taus)
    expected = faded * (coder.taus / coder.tau - 1.0)
    near = np.abs(coder.amplitude - expected) <= rules.ROUNDINGS * rules.EPS * np.abs(expected)
    demand("amplitude of the traces", where, near, coder.amplitude)


def view(engine: ActorsEngine) -> View:
    """Return the engine's state in the form that both engines share."""
    plan = engine.plan
    found = View(
        t0=plan.t0,
        now=engine.now,
        started=engine._started,
        learning=engine.learning,
        ahead=_ahead(engine),
    )
    for p in plan.populations:
        k = p.index
        if p.kind == "sensor":
            found.sensors.append(_sensor(engine, k))
        elif p.kind == "layer":
            found.layers.append(_layer(engine, k))
            found.errors += [_layer_error(engine, k, place) for place in _coders(plan, k)]
        elif p.kind == "output":
            outputs = engine._outputs[k]
            decoder = _decoder(p.name, engine._clock[k], outputs, plan.groups[k])
            found.outputs.append(Output(p.name, decoder, p.bias))
            output = found.outputs[-1]
            found.losses += [_loss(engine, k, place, output) for place in _coders(plan, k)]
    found.projections = [_projection(engine, q) for q in range(len(plan.projections))]
    return found


def _floats(values: Any) -> Floats:
    return np.array(list(values), dtype=np.float64)


def _ahead(engine: ActorsEngine) -> dict[str, float]:
    names = [p.name for p in engine.plan.populations]
    found = {f"{names[p]}.sample": engine._sample_time(p) for p in engine._sources}
    return found | {f"{names[p]}.written": time for p, (time, _) in engine._written.items()}


def _sensor(engine: ActorsEngine, k: int) -> Sensor:
    p, members = engine.plan.populations[k], engine._sensors[k]
    return Sensor(
        p.name,
        p.threshold,
        p.tau,
        engine.steps(k),
        _floats(neuron.x for neuron in members),
        _floats(neuron.period for neuron in members),
        _floats(neuron.phi for neuron in members),
        _floats(neuron.next for neuron in members),
    )


def _decoder(
    where: str,
    clock: float,
    members: Sequence[neurons.OutputNeuron | neurons.ErrorNeuron],
    taus: tuple[float, ...],
) -> Decoder:
    traces = np.array([neuron.traces for neuron in members]).T
    return Decoder(where, clock, traces, np.array(taus))


def _coder(where: str, members: Sequence[neurons.Coder]) -> Coder:
    one = members[0]
    return Coder(
        where,
        one.theta,
        one.tau,
        _floats(coder.phi for coder in members),
        _floats(coder.anchor for coder in members),
        _floats(coder.cross for coder in members),
        _floats(coder.side for coder in members),
        _floats(coder.slope / coder.step for coder in members),
        _floats(coder.level for coder in members),
        np.array([coder.amplitude for coder in members]).T,
        one.taus,
    )


def _layer(engine: ActorsEngine, k: int) -> Layer:
    p, members = engine.plan.populations[k], engine._layers[k]
    return Layer(
        p.name,
        _decoder(p.name, engine._clock[k], members, engine.plan.groups[k]),
        _coder(f"{p.name}.coder", [neuron.coder for neuron in members]),
        p.bias,
        p.leak,
        np.array([neuron.active for neuron in members]),
        _floats(neuron.turn for neuron in members),
    )


def _coders(plan: Plan, k: int) -> range:
    """Return the places of a population's error coders among its neurons' own."""
    return range(len(plan.coders_of(k)))


def _where(plan: Plan, k: int, place: int) -> str:
    return plan.coders[plan.coders_of(k)[place]].name


def _layer_error(engine: ActorsEngine, k: int, place: int) -> LayerError:
    where, members = _where(engine.plan, k, place), engine._errors[k]
    return LayerError(
        where,
        _decoder(where, engine._error_clock[k], members, engine.plan.error_groups[k]),
        _coder(f"{where}.coder", [neuron.coders[place] for neuron in members]),
        np.array([neuron.gate for neuron in members]),
        np.array([neuron.active for neuron in engine._layers[k]]),
    )


def _loss(engine: ActorsEngine, k: int, place: int, output: Output) -> Loss:
    p = engine.plan.populations[k]
    where = _where(engine.plan, k, place)
    if k in engine._softmax:
        softmax = engine._softmax[k]
        return Loss(
            where,
            output,
            _coder(f"{where}.coder", [coders[place] for coders in softmax.coders]),
            np.full(p.size, softmax.on),
            _floats(softmax.y),
            True,
            _floats(softmax.e),
            softmax.timer,
            p.tolerance,
        )
    members = engine._losses[k]
    return Loss(
        where,
        output,
        _coder(f"{where}.coder", [loss.coders[place] for loss in members]),
        np.array([loss.on for loss in members]),
        _floats(loss.y for loss in members),
        False,
        np.zeros(p.size),
        math.inf,
        p.tolerance,
    )


def _flights(flights: synapses.Flights, where: str, size: int) -> Flights:
    time, neuron, quanta = zip(*flights.under_way, strict=True) if flights.under_way else ((),) * 3
    return Flights(
        where,
        flights.delay,
        size,
        _floats(time),
        np.array(neuron, dtype=np.int64),
        _floats(quanta),
    )


def _projection(engine: ActorsEngine, q: int) -> Projection:
    plan, synapses, counters = engine.plan, engine._synapses[q], engine.counters
    projection = plan.projections[q]
    source, target = projection.source, projection.target
    pre, post = plan.ends(q)
    memory = synapses.memory
    return Projection(
        projection.name,
        _floats(
            synapses.weight(i, k) for i, row in enumerate(synapses.targets) for k in range(len(row))
        ),
        pre,
        post,
        projection.positions,
        projection.bounds,
        synapses.lr,
        (0.0, 0.0) if memory is None else synapses.taus,
        _memory(memory),
        _flights(synapses.flights, f"{projection.name}.flights", source.size),
        _flights(synapses.error_flights, f"{projection.name}.error_flights", target.size),
        counters.projection[q],
        counters.population[source.index],
        counters.population[target.index],
    )


def _memory(memory: Any) -> Ledger | Traces | None:
    if isinstance(memory, RuleLedger):
        return Ledger(
            memory.origin,
            memory.gauged,
            _floats(memory.charge),
            _floats(memory.owed),
            _floats(part for row in memory.booked for part in row),
            _floats(memory.post),
            memory.version,
            np.array(memory.seen, dtype=np.int64),
            memory.power,
            memory.jumps,
        )
    if isinstance(memory, RuleTraces):
        u = None
        if isinstance(memory, OpenAreas):
            u = _floats(part for row in memory.u for part in row)
        return Traces(memory.clock, _floats(memory.x_hat), _floats(memory.e_hat), u)
    return None

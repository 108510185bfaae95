"""The compiled engine's state as a `View`, and what only its arrays must keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from eventnet.engine import arrays as ar
from eventnet.engine import learning, local
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
from eventnet.engine.tournament import tree_of

if TYPE_CHECKING:
    from eventnet.engine.compiled import CompiledEngine


def check(engine: CompiledEngine) -> None:
    """Raise an AssertionError that names the first invariant that the engine breaks."""
    check_tree(engine)
    check_due(engine)
    check_local(engine)
    check_feeds(engine)
    rules.check(view(engine))


def check_tree(engine: CompiledEngine) -> None:
    """The tree's leaves are when the sensors fire next, each node above the least of its children."""
    state, net = engine._state, engine._net
    of_sensors = np.repeat(net.population["kind"] == ar.SENSOR, np.diff(net.first))
    right = tree_of(state.cross[of_sensors])
    demand("the tree holds the next times", "tree", state.tree == right, state.tree)


def check_due(engine: CompiledEngine) -> None:
    """What a population is next due for is the earliest of what its neurons are."""
    state, net = engine._state, engine._net
    for p in engine.plan.populations:
        own = slice(int(net.first[p.index]), int(net.first[p.index + 1]))
        record = state.population[p.index]
        due = error_due = np.inf
        if p.kind == "layer":
            due = min(state.cross[own].min(), state.turn[own].min())
        if p.kind in ("layer", "output"):
            cross = [_error(engine, p.index, c, 1).min() for c in engine.plan.coders_of(p.index)]
            error_due = min(*cross, record["timer"], np.inf)
        demand("due for the earliest", f"{p.name}.due", record["due"] == due, record["due"])
        right = record["error_due"] == error_due
        demand("due for the earliest", f"{p.name}.error_due", right, record["error_due"])


def check_local(engine: CompiledEngine) -> None:
    """Trees of outputs hold their next error spikes, and no instant leaves anything to the next."""
    state, net, scratch = engine._state, engine._net, engine._scratch
    for p in engine.plan.populations:
        k = p.index
        tree = state.error_tree[net.error_tree_first[k] : net.error_tree_first[k + 1]]
        if len(tree):
            cross = [_error(engine, k, c, 1) for c in engine.plan.coders_of(k)]
            right = tree_of(np.min(cross, axis=0))
            demand("the tree holds the next times", f"{p.name}.error_tree", tree == right, tree)
        if engine.plan.local[k]:
            arrived = scratch.arrived[net.trace_first[k] : net.trace_first[k + 1]]
            demand("all has been taken", f"{p.name}.arrived", np.isnan(arrived), arrived)
    for q in np.flatnonzero(net.projection["ledgers"]).tolist():
        left = engine.owed(q)[learning.COINCIDENT]
        where = f"{engine.plan.projections[q].name}.coincident"
        demand("all has been taken", where, left == 0.0, left)


def check_feeds(engine: CompiledEngine) -> None:
    """A cursor lies in its block, and between two runs no spike waits to be recorded."""
    feed, used = engine._feeds.arrays, engine._buffer.used
    inside = (feed.cursor >= 0) & (feed.cursor <= feed.samples) & (feed.samples <= feed.capacity)
    demand("cursor in its block", "feed.cursor", inside, feed.cursor)
    demand("all spikes are recorded", "buffer.used", used == 0, used)
    flags = engine._state.flags
    demand("flags are 0 or 1", "flags", (flags[:2] == 0) | (flags[:2] == 1), flags[:2])


def view(engine: CompiledEngine) -> View:
    """Return the engine's state in the form that both engines share."""
    state, plan = engine._state, engine.plan
    found = View(
        t0=plan.t0,
        now=engine.now,
        started=bool(state.flags[0]),
        learning=engine.learning,
        ahead=_ahead(engine),
    )
    for p in plan.populations:
        k = p.index
        if p.kind == "sensor":
            found.sensors.append(_sensor(engine, k))
        elif p.kind == "layer":
            found.layers.append(_layer(engine, k, found.started))
            found.errors += [_layer_error(engine, k, c) for c in plan.coders_of(k)]
        elif p.kind == "output":
            a, b = engine._net.first[k : k + 2]
            found.outputs.append(Output(p.name, _decoder(engine, k), engine._net.bias[a:b]))
            output = found.outputs[-1]
            found.losses += [_loss(engine, k, c, output) for c in plan.coders_of(k)]
    found.projections = [_projection(engine, q) for q in range(len(plan.projections))]
    return found


def _ahead(engine: CompiledEngine) -> dict[str, float]:
    feed, written = engine._feeds.arrays, engine._state.population["written_time"]
    found = {}
    for p in engine.plan.populations:
        found[f"{p.name}.written"] = float(written[p.index])
        if feed.cursor[p.index] < feed.samples[p.index]:
            next_sample = feed.time_first[p.index] + feed.cursor[p.index]
            found[f"{p.name}.sample"] = float(feed.time[next_sample])
    return found


def _sensor(engine: CompiledEngine, k: int) -> Sensor:
    p, state = engine.plan.populations[k], engine._state
    own = slice(*engine._net.first[k : k + 2])
    return Sensor(
        p.name,
        p.threshold,
        p.tau,
        engine.steps(k),
        state.x[own],
        state.period[own],
        state.phi[own],
        state.cross[own],
    )


def _decoder(engine: CompiledEngine, k: int) -> Decoder:
    first, p = engine._net.trace_first, engine.plan.populations[k]
    if engine.plan.local[k]:
        traces = engine.cells(k)[:1]
    else:
        traces = engine._state.u[first[k] : first[k + 1]].reshape(-1, p.size)
    return Decoder(
        p.name,
        float(engine._state.population["clock"][k]),
        traces,
        np.array(engine.plan.groups[k]),
    )


def _amplitude(decoder: Decoder, anchor: Floats, tau: float) -> Floats:
    amplitude: Floats = decoder.at(anchor) * (decoder.taus / tau - 1.0)[:, None]
    return amplitude


def _layer(engine: CompiledEngine, k: int, started: bool) -> Layer:
    p, state, net = engine.plan.populations[k], engine._state, engine._net
    own = slice(*net.first[k : k + 2])
    decoder, slope, bias = _decoder(engine, k), state.slope[own], net.bias[own]
    record = net.population[k]
    gain = slope / engine.steps(k) * started  # before t0 every activation is 0
    # Where nothing happens between deliveries, anchors stay behind.
    still = record["matched"] and not record["biased"]
    anchor = np.full(p.size, decoder.clock) if still else state.anchor[own]
    coder = Coder(
        f"{p.name}.coder",
        p.threshold,
        p.tau,
        engine.cells(k)[1] if engine.plan.local[k] else state.phi[own],
        anchor,
        state.cross[own],
        np.sign(gain * bias) if record["matched"] else state.side[own],
        gain,
        bias,
        _amplitude(decoder, anchor, p.tau),
        decoder.taus,
    )
    return Layer(p.name, decoder, coder, bias, p.leak, slope == 1.0, state.turn[own])


def _own(engine: CompiledEngine, c: int) -> slice:
    """Return where the neurons of an error coder lie."""
    return slice(*engine._net.coder_first[c : c + 2])


def _error(engine: CompiledEngine, k: int, c: int, which: int) -> Floats:
    """Return the residuals (0) or the next crossings (1) of error coder `c` of population `k`."""
    if engine.plan.local[k] and engine.plan.populations[k].kind == "output":
        mine: Floats = engine.cells(k)[local.CODERS + 2 * engine.plan.coders_of(k).index(c) + which]
        return mine
    state = engine._state
    return (state.error_phi, state.error_cross)[which][_own(engine, c)]


def _layer_error(engine: CompiledEngine, k: int, c: int) -> LayerError:
    p, state, net = engine.plan.populations[k], engine._state, engine._net
    where, mine = engine.plan.coders[c].name, _own(engine, c)
    own = slice(*net.first[k : k + 2])
    first = net.back_trace_first
    decoder = Decoder(
        where,
        float(state.population["error_clock"][k]),
        state.g[first[k] : first[k + 1]].reshape(-1, p.size),
        np.array(engine.plan.error_groups[k]),
    )
    gate = state.gate[own]
    matched = net.population["error_matched"][k]
    anchor = np.full(p.size, decoder.clock) if matched else state.error_anchor[own]
    coder = Coder(
        f"{where}.coder",
        p.threshold,
        p.error_tau,
        state.error_phi[mine],
        anchor,
        state.error_cross[mine],
        state.error_side[mine],
        gate / engine.plan.coders[c].step,
        np.zeros(p.size),
        _amplitude(decoder, anchor, p.error_tau),
        decoder.taus,
    )
    return LayerError(where, decoder, coder, gate == 1.0, state.slope[own] == 1.0)


def _loss(engine: CompiledEngine, k: int, c: int, output: Output) -> Loss:
    p, state, net = engine.plan.populations[k], engine._state, engine._net
    where, mine = engine.plan.coders[c].name, _own(engine, c)
    own = slice(*net.first[k : k + 2])
    softmax, on = p.loss == "softmax", state.gate[own] == 1.0
    straight = softmax or net.population["error_matched"][k]
    decoder, anchor = output.decoder, state.error_anchor[own]
    if engine.plan.local[k]:
        anchor, held = engine.cells(k)[local.ANCHOR], engine.cells(k)[local.LEVEL]
        right = np.where(on, held == output.bias - state.y[own], np.isnan(held))
        demand("the error without the trace", f"{where}.level", right, held)
    taus = np.array([p.error_tau]) if softmax else decoder.taus
    amplitude = np.zeros((len(taus), p.size))
    if not straight:
        first = net.trace_first
        amplitude = state.error_amplitude[first[k] : first[k + 1]].reshape(-1, p.size) * on
        again = _amplitude(decoder, anchor, p.error_tau) * on
        near = np.abs(amplitude - again) <= rules.ROUNDINGS * rules.EPS * np.abs(amplitude)
        demand("amplitude of the traces", f"{p.name}.error_amplitude", near, amplitude)
    level = state.e[own] if softmax else np.where(on, output.bias - state.y[own], 0.0)
    coder = Coder(
        f"{where}.coder",
        p.threshold,
        p.error_tau,
        _error(engine, k, c, 0),
        anchor,
        _error(engine, k, c, 1),
        np.sign(level) if straight else state.error_side[mine],
        np.full(p.size, 1.0 / engine.plan.coders[c].step),
        level,
        amplitude,
        taus,
    )
    return Loss(
        where,
        output,
        coder,
        on,
        state.y[own],
        softmax,
        state.e[own],
        float(state.population["timer"][k]),
        p.tolerance,
    )


def _flights(flights: ar.Flights, q: int, where: str, delay: float, size: int) -> Flights:
    first = int(flights.first[q])
    room = int(flights.first[q + 1]) - first
    head, tail = int(flights.head[q]), int(flights.tail[q])
    demand("flights in their room", f"{where}.tail", 0 <= head <= tail <= room, tail)
    there = slice(first + head, first + tail)
    return Flights(
        where, delay, size, flights.time[there], flights.neuron[there], flights.quanta[there]
    )


def _projection(engine: CompiledEngine, q: int) -> Projection:
    plan, net, state, counters = engine.plan, engine._net, engine._state, engine.counters
    projection = plan.projections[q]
    source, target = projection.source, projection.target
    pre, post = plan.ends(q)
    return Projection(
        projection.name,
        engine.stored_weights(q),
        pre,
        post,
        projection.positions,
        projection.bounds,
        float(state.projection["rate"][q]),
        (float(net.projection["pre_tau"][q]), float(net.projection["post_tau"][q])),
        _memory(engine, q) if plan.plastic[q] else None,
        _flights(engine._flights, q, f"{projection.name}.flights", projection.delay, source.size),
        _flights(
            engine._error_flights,
            q,
            f"{projection.name}.error_flights",
            projection.error_delay,
            target.size,
        ),
        counters.projection[q],
        counters.population[source.index],
        counters.population[target.index],
    )


def _memory(engine: CompiledEngine, q: int) -> Ledger | Traces:
    net, state = engine._net, engine._state
    rows = slice(*net.pre_first[q : q + 2])
    post, owed = state.post[slice(*net.post_first[q : q + 2])], engine.owed(q)
    if net.projection["ledgers"][q]:
        owed, post, *_ = owed
    booked = state.booked[slice(*net.booked_first[q : q + 2])]
    record = state.projection[q]
    if net.rule[0] != ar.RULES["booked"]:
        u = booked if net.rule[0] == ar.RULES["past"] else None
        return Traces(float(record["trace_clock"]), state.charge[rows], post, u)
    return Ledger(
        float(record["origin"]),
        float(record["gauged"]),
        state.charge[rows],
        owed,
        booked if net.projection["late"][q] else np.zeros(engine.plan.projections[q].synapses),
        post,
        int(state.version[q]),
        state.seen[rows],
        float(record["power"]),
        float(record["jumps"]),
    )

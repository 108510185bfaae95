"""What must hold of the engines' state holds after every step of random walks, and its check can fail."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from networks import Case, booked_late_from, cases, plan_of
from sizes import sized

import eventnet as en
from eventnet.engine import ENGINES, make_engine
from eventnet.engine import arrays as ar
from eventnet.engine.invariants import actors as of_actors
from eventnet.engine.invariants import compiled as of_compiled
from eventnet.engine.plan import make_plan
from eventnet.engine.tournament import tree_of
from eventnet.errors import Diverged

# -- random walks ----------------------------------------------------------------------------------

COUNTED: Counter[str] = Counter()

MOST_SPIKES = 1500
"""The reference is slow: a walk ends with the step that brings it here."""

ONE_ENGINE_ONLY = {"anchor", "side", "gain", "level", "amplitude", "ahead"}
"""What one engine keeps and the other works out when it needs it."""


def assert_same(ours: Any, theirs: Any, where: str = "") -> None:
    """Two views agree bit for bit."""
    if is_dataclass(ours):
        assert type(ours) is type(theirs)
        for f in fields(ours):
            if f.name not in ONE_ENGINE_ONLY:
                assert_same(getattr(ours, f.name), getattr(theirs, f.name), f"{where}.{f.name}")
    elif isinstance(ours, list):
        for k, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            assert_same(mine, other, f"{where}[{k}]")
    else:
        np.testing.assert_array_equal(ours, theirs, err_msg=where)


seeds = st.integers(0, 2**32 - 1)
ahead = st.tuples(st.sampled_from([0.0, 0.01, 0.05]) | st.floats(0.0, 0.1), st.booleans())
"""By how much a step runs on, s, and whether it runs the last instant."""


def step(**drawn: Any) -> Callable[[Any], Any]:
    """Make a method a step of the walk, unless that is over."""

    def decorate(method: Any) -> Any:
        made: Any = rule(then=ahead, **drawn)
        return precondition(lambda self: not self.over)(made(method))

    return decorate


class Walk(RuleBasedStateMachine):
    """Both engines side by side, through everything that may be done to one between two instants."""

    def __init__(self) -> None:
        super().__init__()
        self.over = True
        self.saved: Any = None
        self.put_back = ExitStack()

    def teardown(self) -> None:
        self.put_back.close()

    @initialize(case=cases())
    def begin(self, case: Case) -> None:
        self.case, self.over = case, False
        self.put_back.enter_context(booked_late_from(case.wide))
        self.time = 0.0
        self.spikes: dict[str, list[Any]] = {name: [] for name in ENGINES}
        self.engines: dict[str, Any] = {}
        for name in ENGINES:
            plan = plan_of(case)
            sink = self.spikes[name]
            engine = make_engine(name, plan, lambda *batch, sink=sink: sink.append(batch))
            for population, source in case.sources.items():
                engine.feed(population, source)
            self.engines[name] = engine
        self.number = 0
        self.keep()

    def both(self, action: Callable[[Any], Any]) -> None:
        for engine in self.engines.values():
            action(engine)

    def go_on(self, step: str, then: tuple[float, bool]) -> None:
        """Look at what a step has left behind, and run on from there."""
        COUNTED[step] += 1
        self.holds()
        seconds, inclusive = then
        self.time += seconds
        ends = []
        for name in ("compiled", "actors"):
            try:
                self.engines[name].advance(self.time, inclusive)
                ends.append("")
            except Diverged as error:
                ends.append(str(error))
            if name == "compiled":
                self.number += sum(len(batch[0]) for batch in self.spikes[name])
                if self.number > MOST_SPIKES:
                    self.over = True
                    return
        assert ends[0] == ends[1]
        self.over = ends[0] != ""
        COUNTED["divergence"] += self.over

    @step(
        now=st.booleans(), number=seeds, grid=st.booleans(), size=st.sampled_from([0.0, 0.3, 1.0])
    )
    def read(
        self, now: bool, number: int, grid: bool, size: float, then: tuple[float, bool]
    ) -> None:
        """Some sensor reads something, now or a little later."""
        sensors = [p for p in self.case.network.populations if p.kind == "sensor"]
        p, rng = sensors[number % len(sensors)], np.random.default_rng(number)
        values = size * rng.normal(0, 1, p.size)
        if grid:
            values = np.round(values * 4) / 4
        time = self.time if now else self.time + 0.01
        if not p.constant:
            self.both(lambda engine: engine.write(p.index, values, time))
        self.go_on("reading", then)

    @step(now=st.booleans(), number=seeds, gaps=st.sampled_from([0.0, 0.3, 1.0]))
    def teach(self, now: bool, number: int, gaps: float, then: tuple[float, bool]) -> None:
        """The output is given a target, some or all of it NaN, now or a little later."""
        rng = np.random.default_rng(number)
        (p,) = (p for p in self.case.network.populations if p.kind == "output")
        values = rng.normal(0, 1, p.size)
        if p.loss == "softmax":
            values = np.eye(p.size)[rng.integers(p.size)]
        values[rng.random(p.size) < gaps] = np.nan
        time = self.time if now else self.time + 0.01
        self.both(lambda engine: engine.write(p.index, values, time))
        self.go_on("target", then)

    @step(on=st.booleans())
    def switch_learning(self, on: bool, then: tuple[float, bool]) -> None:
        self.both(lambda engine: setattr(engine, "learning", on))
        self.go_on("switch", then)

    @step(factor=st.sampled_from([0.0, 0.5, 2.0]))
    def scale_lr(self, factor: float, then: tuple[float, bool]) -> None:
        self.both(lambda engine: engine.scale_lr(factor))
        self.go_on("scale_lr", then)

    @step(number=seeds, factor=st.sampled_from([0.0, 0.5, -1.0]))
    def set_weights(self, number: int, factor: float, then: tuple[float, bool]) -> None:
        q = number % len(self.case.network.projections)
        weights = factor * self.engines["compiled"].weights(q)
        self.both(lambda engine: engine.set_weights(q, weights))
        self.go_on("set_weights", then)

    @step()
    def finish(self, then: tuple[float, bool]) -> None:
        self.both(lambda engine: engine.finish())
        self.go_on("finish", then)

    @step()
    def save(self, then: tuple[float, bool]) -> None:
        self.keep()
        self.go_on("save", then)

    def keep(self) -> None:
        """Keep the state as it is."""
        self.saved = self.time, {name: engine.state() for name, engine in self.engines.items()}

    @step()
    def restore(self, then: tuple[float, bool]) -> None:
        """Go back to the state that was kept last, at first the one that the walk began with."""
        self.time, states = self.saved
        for name, engine in self.engines.items():
            engine.restore(states[name])
        self.go_on("restore", then)

    @step()
    def reset(self, then: tuple[float, bool]) -> None:
        self.time = 0.0
        self.both(lambda engine: engine.reset())
        self.go_on("reset", then)

    @precondition(lambda self: self.over)
    @rule()
    def rest(self) -> None:
        """A walk that is over has to end with something."""

    @precondition(lambda self: not self.over)
    @invariant()
    def holds(self) -> None:
        self.both(lambda engine: engine._check())
        ours, theirs = (self.engines[name] for name in ("compiled", "actors"))
        columns = {
            name: [np.concatenate(column) for column in zip(*batches, strict=True)]
            for name, batches in self.spikes.items()
        }
        for mine, other in zip(columns["compiled"], columns["actors"], strict=True):
            np.testing.assert_array_equal(mine, other)
        COUNTED["spikes"] += len(columns["compiled"][0]) if columns["compiled"] else 0
        for batches in self.spikes.values():
            batches.clear()
        assert_same(of_compiled.view(ours), of_actors.view(theirs))
        for q in range(len(self.case.network.projections)):
            np.testing.assert_array_equal(ours.weights(q), theirs.weights(q))
        for p in self.case.network.populations:
            if p.kind != "source":
                np.testing.assert_array_equal(
                    ours.read(p.index, self.time), theirs.read(p.index, self.time)
                )
        for mine, other in zip(ours.counters, theirs.counters, strict=True):
            np.testing.assert_array_equal(mine, other)
        COUNTED["checks"] += 1


def test_invariants_hold_on_random_walks(record_property: Callable[[str, object], None]) -> None:
    COUNTED.clear()
    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=settings().max_examples // 2,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for name in (
        "reading",
        "target",
        "switch",
        "scale_lr",
        "set_weights",
        "finish",
        "restore",
        "reset",
    ):
        assert COUNTED[name] > sized(10, 0), COUNTED
    assert COUNTED["checks"] > sized(500, 50), COUNTED
    assert COUNTED["spikes"] > sized(5_000, 500), COUNTED
    record_property("states checked", f"{COUNTED['checks']}, {COUNTED['spikes']} spikes")


# -- the check can fail ----------------------------------------------------------------------------

BROKEN: list[tuple[str, str, str, Callable[[Any], None]]] = []


def breaks(invariant: str, engine: str = "compiled", state: str = "STDP") -> Callable[[Any], Any]:
    """Mark a function that breaks one invariant of a state, and say what the check must answer."""

    def mark(function: Callable[[Any], None]) -> Callable[[Any], None]:
        BROKEN.append((engine, state, invariant, function))
        return function

    return mark


def build(engine: str, plasticity: en.Rule) -> Any:
    """Every kind of population and projection that has a state of its own; learning, under way."""
    rng = np.random.default_rng(4)
    net = en.Network(tau=0.1)
    net.sensor("a", 3, step=0.1)
    net.sensor("b", 2, step=0.25, tau=0.3)
    net.layer("plain", 4, step=0.1, error_step=0.02)
    net.layer("biased", 6, step=0.1, error_step=0.02, bias=rng.normal(0, 0.3, 6))
    net.layer("linear", 3, step=0.1, activation="identity", error_step=0.02)
    net.layer(
        "curved", 5, step=0.1, activation="leaky", tau=0.2, error_step=0.02, error_tau=0.3, bias=0.1
    )
    net.output("y", 2, error_step=0.05, bias=0.1)
    net.output("c", 2, error_step=0.05, error_tau=0.2, loss="softmax", tolerance=0.02)
    net.connect("a", "plain")
    net.connect("a", "biased", bounds=(-1.0, 1.0))
    net.connect("b", "linear", plastic=False)
    net.connect("plain", "curved", mask=rng.random((4, 5)) < 0.7, delay=0.013, error_delay=0.02)
    net.connect("b", "curved")
    for source in ("biased", "linear", "curved"):
        net.connect(source, "y")
    net.connect("curved", "c")
    plan = make_plan(net, plasticity, rng)
    with booked_late_from(1):
        found: Any = make_engine(engine, plan, lambda *batch: None)
    names = [p.name for p in net.populations]
    rng = np.random.default_rng(5)
    for name, n in (("a", 3), ("b", 2), ("y", 2)):
        found.feed(names.index(name), en.Periodic(rng.normal(0, 1, (100, n)), rate=100))
    found.feed(names.index("c"), en.Periodic(np.eye(2)[rng.integers(0, 2, 40)], rate=20))
    return found


def index(engine: Any, name: str) -> int:
    return [p.name for p in engine.plan.populations].index(name)


def leads(engine: Any, name: str) -> int:
    return [q.name for q in engine.plan.projections].index(name)


def own(engine: Any, name: str) -> slice:
    """A population's neurons in the compiled engine's arrays."""
    return slice(*engine._net.first[index(engine, name) :][:2])


def flip(slopes: Any) -> None:
    """Turn units on that are off, and off those that are on."""
    slopes[:] = np.where(slopes == 1.0, 0.0, 1.0)


def latest(times: Any) -> int:
    """The neuron of the last finite time: not the one that its population is due for."""
    finite = np.flatnonzero(np.isfinite(times))
    assert len(finite) > 1
    return int(finite[np.argmax(times[finite])])


# The compiled engine's own.


@breaks("the tree holds the next times: tree[0]")
def _(engine: Any) -> None:
    engine._state.tree[0] += 1e-9


@breaks("the tree holds the next times: tree")
def _(engine: Any) -> None:
    engine._state.tree[-1] = 0.0


@breaks("the tree holds the next times: tree[1]")
def _(engine: Any) -> None:
    engine._state.cross[sensors(engine)[1]] = 5.0


@breaks("the tree holds the next times: tree")
def _(engine: Any) -> None:
    engine._state.cross[sensors(engine)[-1]] = np.nan


def sensors(engine: Any) -> Any:
    """The sensors' neurons, in the order of the tree's leaves."""
    of_sensors = np.repeat(engine._net.population["kind"] == 0, np.diff(engine._net.first))
    return np.flatnonzero(of_sensors)


def plant(engine: Any) -> None:
    """Make the tree anew after a sensor's next time was changed."""
    engine._state.tree[:] = tree_of(engine._state.cross[sensors(engine)])


@breaks("due for the earliest: biased.due")
def _(engine: Any) -> None:
    engine._state.population["due"][index(engine, "biased")] = np.inf


@breaks("due for the earliest: curved.error_due")
def _(engine: Any) -> None:
    engine._state.population["error_due"][index(engine, "curved")] += 1e-9


@breaks("due for the earliest: plain.due")
def _(engine: Any) -> None:
    engine._state.cross[own(engine, "plain")] = 1.0


@breaks("cursor in its block: feed.cursor[0]")
def _(engine: Any) -> None:
    engine._feeds.arrays.cursor[0] = 1000


@breaks("all spikes are recorded: buffer.used[0] = np.int64(3)")
def _(engine: Any) -> None:
    engine._buffer.used[0] = 3


@breaks("flags are 0 or 1: flags[1]")
def _(engine: Any) -> None:
    engine._state.flags[1] = 2


@breaks("flights in their room: plain -> curved.flights.tail")
def _(engine: Any) -> None:
    engine._flights.tail[leads(engine, "plain -> curved")] += 10_000


@breaks("amplitude of the traces: y.error_amplitude")
def _(engine: Any) -> None:
    first = engine._net.trace_first[index(engine, "y")]
    engine._state.error_amplitude[first + 2 :][:2] += 1e-9


# What both keep, in the compiled engine's arrays.


@breaks("starts at t0: now")
def _(engine: Any) -> None:
    engine._state.now[0] = -1.0


@breaks("starts at t0: now", state="fresh")
def _(engine: Any) -> None:
    engine._state.now[0] = 1.0


@breaks("lies ahead: a.written")
def _(engine: Any) -> None:
    engine._state.population["written_time"][0] = engine.now


@breaks("lies ahead: b.sample")
def _(engine: Any) -> None:
    engine._feeds.refill()  # a state knows cursors, and blocks are fetched when needed
    feed = engine._feeds.arrays
    feed.time[feed.time_first[1] + feed.cursor[1]] = engine.now


@breaks("reading finite: a.x[1] = np.float64(nan)")
def _(engine: Any) -> None:
    engine._state.x[1] = np.nan


@breaks("residual within the threshold: a.phi[1] = np.float64(-0.51)")
def _(engine: Any) -> None:
    engine._state.phi[1] = -0.51


@breaks("lies ahead: a.cross")
def _(engine: Any) -> None:
    i = own(engine, "a").start + np.argmin(engine._state.cross[own(engine, "a")])
    engine._state.cross[i] = engine.now
    plant(engine)


@breaks("period of the reading: b.period[0]")
def _(engine: Any) -> None:
    engine._state.period[own(engine, "b").start] *= 1.0000001


@breaks("next spike within its period")
def _(engine: Any) -> None:
    engine._state.cross[latest(engine._state.cross[sensors(engine)])] += 100.0
    plant(engine)


@breaks("silent at zero: a.cross[0]")
def _(engine: Any) -> None:
    engine._state.x[0], engine._state.period[0] = 0.0, np.inf


@breaks("off before t0: plain.active[2]", state="fresh")
def _(engine: Any) -> None:
    engine._state.slope[own(engine, "plain")][2] = 1.0


@breaks("without a bend always on: linear.active[1]")
def _(engine: Any) -> None:
    engine._state.slope[own(engine, "linear")][1] = 0.0


@breaks("without a bend no turn: linear.turn[0]")
def _(engine: Any) -> None:
    engine._state.turn[own(engine, "linear")] = 9.0


@breaks("active has the sign of z: plain.active")
def _(engine: Any) -> None:
    flip(engine._state.slope[own(engine, "plain")])


@breaks("turns if its bias opposes it: biased.turn")
def _(engine: Any) -> None:
    turn = engine._state.turn[own(engine, "biased")]
    turn[latest(turn)] = np.inf


@breaks("turns at z = 0: biased.turn")
def _(engine: Any) -> None:
    turn = engine._state.turn[own(engine, "biased")]
    turn[latest(turn)] -= 1e-9


@breaks("active has the sign of z: biased.active")
def _(engine: Any) -> None:
    turn = engine._state.turn[own(engine, "biased")]
    turn[latest(turn)] += 0.1


@breaks("lies ahead: biased.turn")
def _(engine: Any) -> None:
    turn = engine._state.turn[own(engine, "biased")]
    turn[0] = engine._state.population["due"][index(engine, "biased")] = engine.now


@breaks("residual within the threshold: biased.coder.phi[2]")
def _(engine: Any) -> None:
    engine._state.phi[own(engine, "biased")][2] = np.nextafter(0.5, 1.0)


@breaks("touched by now: biased.coder.anchor[2]")
def _(engine: Any) -> None:
    engine._state.anchor[own(engine, "biased")][2] = 5.0


@breaks("lies ahead: biased.coder.cross")
def _(engine: Any) -> None:
    engine._state.cross[own(engine, "biased")] = engine.now
    engine._state.population["due"][index(engine, "biased")] = engine.now


@breaks("a drift has a crossing: biased.coder.cross")
def _(engine: Any) -> None:
    cross = engine._state.cross[own(engine, "biased")]
    cross[latest(cross)] = np.inf


@breaks("crosses on the threshold: biased.coder.cross")
def _(engine: Any) -> None:
    cross = engine._state.cross[own(engine, "biased")]
    cross[latest(cross)] -= 1e-9


@breaks("no threshold is passed over: curved.coder.phi")
def _(engine: Any) -> None:
    cross = engine._state.cross[own(engine, "curved")]
    cross[latest(cross)] += 0.05


@breaks("crosses on the threshold: curved.coder.cross")
def _(engine: Any) -> None:
    engine._state.side[own(engine, "curved")] *= -1.0


@breaks("trace in range: biased.traces[0, 3]")
def _(engine: Any) -> None:
    engine._state.u[engine._net.trace_first[index(engine, "biased")] + 3] = 1e300


@breaks("trace in range: c.traces")
def _(engine: Any) -> None:
    engine._state.u[engine._net.trace_first[index(engine, "c")]] = np.nan


@breaks("trace not denormal: plain.traces[0, 0] = np.float64(1e-310)")
def _(engine: Any) -> None:
    engine._state.u[engine._net.trace_first[index(engine, "plain")]] = 1e-310


@breaks("touched by now: y.clock")
def _(engine: Any) -> None:
    engine._state.population["clock"][index(engine, "y")] = 5.0


@breaks("touched by now: plain.clock")
def _(engine: Any) -> None:
    engine._state.population["clock"][index(engine, "plain")] = -0.1


@breaks("target finite or none: y.error.y[1] = np.float64(nan)")
def _(engine: Any) -> None:
    engine._state.y[own(engine, "y")][1] = np.nan


@breaks("target finite or none: y.error.y[0]")
def _(engine: Any) -> None:
    engine._state.gate[own(engine, "y")][0] = 0.0


@breaks("no target, no drift: y.error.cross[0]")
def _(engine: Any) -> None:
    engine._state.gate[own(engine, "y")][0] = 0.0
    engine._state.y[own(engine, "y")][0] = 0.0


@breaks("crosses on the threshold: y.error.coder.cross")
def _(engine: Any) -> None:
    cross = engine._state.error_cross[own(engine, "y")]
    cross[latest(cross)] -= 1e-9


@breaks("a target is whole: c.error.on[1]")
def _(engine: Any) -> None:
    engine._state.gate[own(engine, "c")][1] = 0.0
    engine._state.error_cross[own(engine, "c")][1] = np.inf
    redo_error_due(engine)


@breaks("probabilities sum to 1: c.error.e")
def _(engine: Any) -> None:
    engine._state.e[own(engine, "c")][0] += 1e-9


@breaks("no target, no error: c.error.e[0]")
def _(engine: Any) -> None:
    engine._state.gate[own(engine, "c")] = 0.0
    engine._state.error_cross[own(engine, "c")] = np.inf
    redo_error_due(engine)


@breaks("no target, no timer: c.error.timer")
def _(engine: Any) -> None:
    engine._state.gate[own(engine, "c")] = 0.0
    engine._state.e[own(engine, "c")] = 0.0
    engine._state.error_cross[own(engine, "c")] = np.inf
    redo_error_due(engine)


@breaks("evaluated within the tolerance: c.error.timer")
def _(engine: Any) -> None:
    engine._state.population["timer"][index(engine, "c")] = np.inf
    redo_error_due(engine)


@breaks("lies ahead: c.error.timer")
def _(engine: Any) -> None:
    engine._state.population["timer"][index(engine, "c")] = engine.now
    redo_error_due(engine)


def redo_error_due(engine: Any) -> None:
    state = engine._state
    due = min(
        state.error_cross[own(engine, "c")].min(), state.population["timer"][index(engine, "c")]
    )
    state.population["error_due"][index(engine, "c")] = due


@breaks("gate is the active bit: biased.error.gate[3]")
def _(engine: Any) -> None:
    flip(engine._state.gate[own(engine, "biased")][3:4])


@breaks("trace in range: curved.error.traces[1, 0]")
def _(engine: Any) -> None:
    k = index(engine, "curved")
    engine._state.g[engine._net.back_trace_first[k] + 5] = -np.inf


@breaks("touched by now: curved.error.clock")
def _(engine: Any) -> None:
    engine._state.population["error_clock"][index(engine, "curved")] = 5.0


@breaks("residual within the threshold: biased.error.coder.phi[0]")
def _(engine: Any) -> None:
    engine._state.error_phi[own(engine, "biased")][0] = 0.6


@breaks("crosses on the threshold: curved.error.coder.cross")
def _(engine: Any) -> None:
    engine._state.error_side[own(engine, "curved")] *= -1.0


@breaks("no error while not learning: biased.error.gate[2]", state="off")
def _(engine: Any) -> None:
    engine._state.gate[own(engine, "biased")][2] = 1.0


@breaks("no error while not learning: biased.error.traces", state="off")
def _(engine: Any) -> None:
    gate, slope = (getattr(engine._state, name) for name in ("gate", "slope"))
    gate[own(engine, "biased")] = slope[own(engine, "biased")]
    engine._state.error_phi[own(engine, "biased")][2] = 0.1


@breaks("no error while not learning: y.error.phi[1]", state="off")
def _(engine: Any) -> None:
    engine._state.error_phi[own(engine, "y")][1] = 0.1


@breaks("no error while not learning: plain -> curved.error_flights", state="off")
def _(engine: Any) -> None:
    q = leads(engine, "plain -> curved")
    engine._error_flights.head[q], engine._error_flights.tail[q] = 0, 1
    place = engine._error_flights.first[q]
    engine._error_flights.time[place] = np.nextafter(engine.now, 1.0)
    engine._error_flights.neuron[place], engine._error_flights.quanta[place] = 0, 1.0


@breaks("no trace while not learning: a -> plain.memory[3][1]", state="off")
def _(engine: Any) -> None:
    engine._state.post[1] = 0.1


def under_way(engine: Any) -> slice:
    """Where the spikes under way from plain to curved lie; at least three."""
    q, flights = leads(engine, "plain -> curved"), engine._flights
    assert flights.tail[q] - flights.head[q] > 2
    return slice(flights.first[q] + flights.head[q], flights.first[q] + flights.tail[q])


@breaks("flights in order: plain -> curved.flights.time")
def _(engine: Any) -> None:
    time = engine._flights.time[under_way(engine)]
    time[:] = time[::-1].copy()


@breaks("lies ahead: plain -> curved.flights.time[0]")
def _(engine: Any) -> None:
    engine._flights.time[under_way(engine)][0] = engine.now


@breaks("sent by now: plain -> curved.flights.time")
def _(engine: Any) -> None:
    engine._flights.time[under_way(engine)][-1] = engine.now + 0.014


@breaks("sent by a neuron: plain -> curved.flights.neuron[1] = np.int64(4)")
def _(engine: Any) -> None:
    engine._flights.neuron[under_way(engine)][1] = 4


@breaks("counts are whole: plain -> curved.flights.quanta[0] = np.float64(0.0)")
def _(engine: Any) -> None:
    engine._flights.quanta[under_way(engine)][0] = 0.0


@breaks("no spike is lost: plain -> curved.counters")
def _(engine: Any) -> None:
    engine._flights.head[leads(engine, "plain -> curved")] += 1


@breaks("no spike is lost: curved -> y.counters[1]")
def _(engine: Any) -> None:
    engine.counters.projection[leads(engine, "curved -> y"), ar.FORWARD + 1] += 1


@breaks("no error spike appears from nowhere: curved -> c.counters[0]")
def _(engine: Any) -> None:
    engine.counters.projection[leads(engine, "curved -> c"), ar.BACKWARD] += 1


@breaks("guarded at most once a pass: b -> curved.counters")
def _(engine: Any) -> None:
    engine.counters.projection[leads(engine, "b -> curved"), ar.GUARDED] += 10_000


@breaks("weights finite: a -> plain.weights[2] = np.float64(inf)")
def _(engine: Any) -> None:
    engine._weights[2] = np.inf


@breaks("weights within their bounds: a -> biased.weights[0] = np.float64(1.5)")
def _(engine: Any) -> None:
    engine._weights[engine._net.weight_first[1]] = 1.5


@breaks("rate finite and not negative: a -> plain.rate")
def _(engine: Any) -> None:
    engine._state.projection["rate"][0] = np.nan


@breaks("booked in time: a -> plain.origin")
def _(engine: Any) -> None:
    engine._state.projection["origin"][0] = 0.0


@breaks("trace in range: a -> plain.charge[2]")
def _(engine: Any) -> None:
    engine._state.charge[2] = np.nan


@breaks("trace not denormal: a -> plain.post[0]")
def _(engine: Any) -> None:
    engine._state.post[0] = -5e-324


@breaks("owed finite: a -> plain.owed[0]")
def _(engine: Any) -> None:
    engine._state.owed[0] = np.inf


@breaks("no row has seen the future: a -> plain.seen[1]")
def _(engine: Any) -> None:
    engine._state.seen[1] = engine._state.version[0] + 1


@breaks("with bounds no row waits: a -> biased.seen[0]")
def _(engine: Any) -> None:
    engine._state.version[1] += 1


@breaks("a row that is up to date is owed nothing: a -> plain.booked")
def _(engine: Any) -> None:
    assert (engine._state.seen[:3] == engine._state.version[0]).any()
    engine._state.booked[:12] += 1e-15


@breaks("N is the sum of squares: a -> plain.power")
def _(engine: Any) -> None:
    engine._state.projection["power"][0] *= 1.001


@breaks("N is the sum of squares: a -> plain.power")
def _(engine: Any) -> None:
    engine._state.charge[0] += 0.01


@breaks("J is a sum of squares: a -> plain.jumps")
def _(engine: Any) -> None:
    engine._state.projection["jumps"][0] = -1.0


@breaks("touched by now: a -> plain.clock", state="Past")
def _(engine: Any) -> None:
    engine._state.projection["trace_clock"][0] = 5.0


@breaks("trace in range: a -> plain.x_hat[2]", state="Reconstruction")
def _(engine: Any) -> None:
    engine._state.charge[2] = np.nan


@breaks("trace not denormal: a -> plain.e_hat[0]", state="Reconstruction")
def _(engine: Any) -> None:
    engine._state.post[0] = 1e-309


@breaks("an open product only decays: a -> plain.u", state="Past")
def _(engine: Any) -> None:
    engine._state.booked[:12] *= -1.0


# The reference engine's own.


@breaks("queue in step", "actors")
def _(engine: Any) -> None:
    key = next(iter(engine._queue._times))
    engine._queue._times[key] += 1e-9


@breaks("queued times are finite", "actors")
def _(engine: Any) -> None:
    key = (index(engine, "linear"), "turn", 0)
    engine._queue._times[key] = np.inf
    engine._queue._order.add((np.inf, key))


@breaks("queued when the neuron says: a.cross[0]", "actors")
def _(engine: Any) -> None:
    engine._sensors[0][0].next += 1e-9


@breaks("queued when the neuron says: c.timer[0] = np.float64(inf)", "actors")
def _(engine: Any) -> None:
    engine._queue.cancel((index(engine, "c"), "timer", 0))


@breaks("queued when the neuron says: plain.turn[3] = np.float64(9.0)", "actors")
def _(engine: Any) -> None:
    engine._queue.schedule((index(engine, "plain"), "turn", 3), 9.0)


@breaks("slope of the active bit: biased.coder[1]", "actors")
def _(engine: Any) -> None:
    neuron = engine._layers[index(engine, "biased")][1]
    neuron.active = not neuron.active


@breaks("level of the bias: biased.coder[1]", "actors")
def _(engine: Any) -> None:
    engine._layers[index(engine, "biased")][1].coder.level = 0.0


@breaks("amplitude of the traces: curved.coder[4]", "actors")
def _(engine: Any) -> None:
    engine._layers[index(engine, "curved")][4].traces[0] += 1e-9


@breaks("level of the error: y.error.coder[0]", "actors")
def _(engine: Any) -> None:
    engine._losses[index(engine, "y")][0].y += 1e-9


@breaks("amplitude of the traces: y.error.coder[1]", "actors")
def _(engine: Any) -> None:
    engine._losses[index(engine, "y")][1].coders[0].amplitude[1] += 1e-9


@breaks("level of the error: c.error.coder[1]", "actors")
def _(engine: Any) -> None:
    engine._softmax[index(engine, "c")].e[1] += 1e-9


@breaks("amplitude of the traces: curved.error.coder[0]", "actors")
def _(engine: Any) -> None:
    engine._errors[index(engine, "curved")][0].traces[0] += 1e-9


# What both keep, in the reference engine's objects: one of each kind, as the rules are the same.


@breaks("starts at t0: now", "actors", "fresh")
def _(engine: Any) -> None:
    engine.now = 1.0


@breaks("lies ahead: a.written", "actors")
def _(engine: Any) -> None:
    engine._written[0] = (engine.now, [0.0] * 3)


@breaks("lies ahead: b.sample", "actors")
def _(engine: Any) -> None:
    engine._cursor[1] -= 1


@breaks("residual within the threshold: a.phi[1]", "actors")
def _(engine: Any) -> None:
    engine._sensors[0][1].phi = np.nan


@breaks("active has the sign of z: plain.active[0, 0]", "actors")
def _(engine: Any) -> None:
    neuron = engine._layers[index(engine, "plain")][0]
    neuron.active = not neuron.active
    neuron.coder.slope = neuron.slope


@breaks("trace not denormal: plain.traces[0, 2]", "actors")
def _(engine: Any) -> None:
    engine._layers[index(engine, "plain")][2].traces[0] = 1e-310


@breaks("residual within the threshold: curved.coder.phi[0]", "actors")
def _(engine: Any) -> None:
    engine._layers[index(engine, "curved")][0].coder.phi = 0.6


@breaks("touched by now: y.clock", "actors")
def _(engine: Any) -> None:
    engine._clock[index(engine, "y")] = 5.0


@breaks("probabilities sum to 1: c.error.e", "actors")
def _(engine: Any) -> None:
    engine._softmax[index(engine, "c")].y[1] += 1e-9


@breaks("gate is the active bit: biased.error.gate[3]", "actors")
def _(engine: Any) -> None:
    neuron = engine._errors[index(engine, "biased")][3]
    neuron.gate = not neuron.gate


@breaks("no error while not learning: y.error.phi[0]", "actors", "off")
def _(engine: Any) -> None:
    engine._losses[index(engine, "y")][0].coders[0].phi = 0.1


@breaks("no spike is lost: plain -> curved.counters[0]", "actors")
def _(engine: Any) -> None:
    engine._synapses[leads(engine, "plain -> curved")].flights.under_way.pop()


@breaks("flights in order: plain -> curved.flights.time", "actors")
def _(engine: Any) -> None:
    engine._synapses[leads(engine, "plain -> curved")].flights.under_way.reverse()


@breaks("weights within their bounds: a -> biased.weights[2]", "actors")
def _(engine: Any) -> None:
    engine._synapses[1].flat[2] = -1.5


@breaks("N is the sum of squares: a -> plain.power", "actors")
def _(engine: Any) -> None:
    engine._synapses[0].memory.power *= 1.001


@breaks("a row that is up to date is owed nothing: a -> plain.booked", "actors")
def _(engine: Any) -> None:
    for row in engine._synapses[0].memory.booked:
        row[0] += 1e-15


@breaks("an open product only decays: a -> plain.u", "actors", "Past")
def _(engine: Any) -> None:
    for row in engine._synapses[0].memory.u:
        row[:] = [-u for u in row]


@breaks("trace in range: a -> plain.e_hat[3]", "actors", "Reconstruction")
def _(engine: Any) -> None:
    engine._synapses[0].memory.e_hat[3] = np.inf


RULES = {"STDP": en.STDP(0.1), "Past": en.Past(0.1), "Reconstruction": en.Reconstruction(0.1)}


@pytest.fixture(scope="module")
def states() -> dict[tuple[str, str], tuple[Any, Any]]:
    """Engines in the middle of a run, before one and with learning off, and their states."""
    found = {}
    for engine in ENGINES:
        for name, plasticity in RULES.items():
            ran = build(engine, plasticity)
            ran.advance(0.6, inclusive=True)
            found[engine, name] = ran, ran.state()
        fresh, off = build(engine, en.STDP(0.1)), build(engine, en.STDP(0.1))
        found[engine, "fresh"] = fresh, fresh.state()
        off.advance(0.3)
        off.learning = False
        off.advance(0.4)
        found[engine, "off"] = off, off.state()
    return found


@pytest.mark.parametrize(
    ("engine", "state", "message", "corrupt"),
    BROKEN,
)
def test_a_broken_invariant_is_named(
    states: dict[tuple[str, str], tuple[Any, Any]],
    engine: str,
    state: str,
    message: str,
    corrupt: Callable[[Any], None],
) -> None:
    found, saved = states[engine, state]
    found.restore(saved)
    found._check()
    corrupt(found)
    with pytest.raises(AssertionError, match=re.escape(message)):
        found._check()
    if engine == "compiled":
        found._buffer.used[0] = 0  # no part of a state

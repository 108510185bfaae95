"""What must hold of the engines' state holds after every step of random walks, and its check can fail."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
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
from networks import Case, cases

import eventnet as en
from eventnet.engine import ENGINES, make_engine
from eventnet.engine.invariants import actors as of_actors
from eventnet.engine.invariants import compiled as of_compiled
from eventnet.engine.plan import make_plan
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
        return precondition(lambda self: not self.over)(rule(then=ahead, **drawn)(method))

    return decorate


class Walk(RuleBasedStateMachine):
    """Both engines side by side, through everything that may be done to one between two instants."""

    def __init__(self) -> None:
        super().__init__()
        self.over = True
        self.saved: Any = None

    @initialize(case=cases())
    def begin(self, case: Case) -> None:
        self.case, self.over = case, False
        self.time = 0.0
        self.spikes: dict[str, list[Any]] = {name: [] for name in ENGINES}
        self.engines: dict[str, Any] = {}
        for name in ENGINES:
            plan = make_plan(case.network, case.rule, np.random.default_rng(case.seed))
            sink = self.spikes[name]
            engine = make_engine(name, plan, lambda *batch, sink=sink: sink.append(batch))
            for population, source in case.sources.items():
                engine.feed(population, source)
            self.engines[name] = engine
        self.number = 0

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
    def save_or_restore(self, then: tuple[float, bool]) -> None:
        """Keep the state, or go back to the one that was kept."""
        if self.saved is None:
            self.saved = self.time, {name: engine.state() for name, engine in self.engines.items()}
            self.go_on("save", then)
            return
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
        assert COUNTED[name] > 10, COUNTED
    assert COUNTED["checks"] > 500, COUNTED
    assert COUNTED["spikes"] > 5_000, COUNTED
    record_property("states checked", f"{COUNTED['checks']}, {COUNTED['spikes']} spikes")

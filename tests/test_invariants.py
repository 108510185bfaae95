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

    @precondition(lambda self: not self.over)
    @rule(
        seconds=st.sampled_from([0.0, 0.01, 0.05, 0.1]) | st.floats(0.0, 0.12),
        inclusive=st.booleans(),
    )
    def advance(self, seconds: float, inclusive: bool) -> None:
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
        if ends[0]:
            self.over = True
            return
        COUNTED["advance"] += 1

    @precondition(lambda self: not self.over)
    @rule(
        choice=st.integers(0, 9),
        seed=st.integers(0, 2**32 - 1),
        size=st.sampled_from([0.0, 0.3, 1.0]),
        grid=st.booleans(),
        now=st.booleans(),
    )
    def write(self, choice: int, seed: int, size: float, grid: bool, now: bool) -> None:
        """Give a sensor a reading or an output a target, now or a little later; NaN among targets."""
        possible = [
            p
            for p in self.case.network.populations
            if p.kind in ("sensor", "output") and not p.constant
        ]
        p, rng = possible[choice % len(possible)], np.random.default_rng(seed)
        values = size * rng.normal(0, 1, p.size)
        if grid:
            values = np.round(values * 4) / 4
        if p.kind == "output":
            if p.loss == "softmax":
                values = np.eye(p.size)[rng.integers(p.size)]
            values[rng.random(p.size) < 0.3] = np.nan
        time = self.time if now else self.time + 0.01
        self.both(lambda engine: engine.write(p.index, values, time))
        COUNTED["target" if p.kind == "output" else "reading"] += 1

    @precondition(lambda self: not self.over)
    @rule(on=st.booleans())
    def switch_learning(self, on: bool) -> None:
        self.both(lambda engine: setattr(engine, "learning", on))
        COUNTED["switch"] += 1

    @precondition(lambda self: not self.over)
    @rule(factor=st.sampled_from([0.0, 0.5, 2.0]))
    def scale_lr(self, factor: float) -> None:
        self.both(lambda engine: engine.scale_lr(factor))
        COUNTED["scale_lr"] += 1

    @precondition(lambda self: not self.over)
    @rule(choice=st.integers(0, 99), factor=st.sampled_from([0.0, 0.5, -1.0]))
    def set_weights(self, choice: int, factor: float) -> None:
        q = choice % len(self.case.network.projections)
        weights = factor * self.engines["compiled"].weights(q)
        self.both(lambda engine: engine.set_weights(q, weights))
        COUNTED["set_weights"] += 1

    @precondition(lambda self: not self.over)
    @rule()
    def finish(self) -> None:
        self.both(lambda engine: engine.finish())
        COUNTED["finish"] += 1

    @precondition(lambda self: not self.over)
    @rule()
    def save(self) -> None:
        states = {name: engine.state() for name, engine in self.engines.items()}
        self.saved = self.time, states
        COUNTED["save"] += 1

    @precondition(lambda self: not self.over and self.saved)
    @rule()
    def restore(self) -> None:
        self.time, states = self.saved
        for name, engine in self.engines.items():
            engine.restore(states[name])
        COUNTED["restore"] += 1

    @precondition(lambda self: not self.over)
    @rule()
    def reset(self) -> None:
        self.time = 0.0
        self.both(lambda engine: engine.reset())
        COUNTED["reset"] += 1

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
            max_examples=settings().max_examples,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    for step in ("reading", "target", "switch", "scale_lr", "set_weights", "finish", "restore"):
        assert COUNTED[step] > 20, COUNTED
    assert COUNTED["checks"] > 500
    assert COUNTED["spikes"] > 5_000
    record_property("states checked", f"{COUNTED['checks']}, {COUNTED['spikes']} spikes")

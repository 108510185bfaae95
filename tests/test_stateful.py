"""Whatever is done to a simulation, in any order, comes to what one uninterrupted run gives."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

import eventnet as en
from eventnet.export import export, load
from eventnet.raster import Spikes

DONE: Counter[str] = Counter()

Write = tuple[float, float]
"""A time, s, and a reading."""


def simulation(writes: list[Write] = []) -> en.Simulation:  # noqa: B006  # never changed
    net = en.Network(tau=0.1)
    net.sensor("fed", 1, step=0.2)
    net.sensor("written", 1, step=0.2)
    net.layer("hidden", 3, step=0.2, error_step=0.1, bias=0.3)
    net.output("y", 1, error_step=0.1)
    net.connect("fed", "hidden")
    net.connect("written", "hidden", delay=0.007)
    net.connect("hidden", "y")
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.5), engine="actors")
    sim.feed("fed", en.Periodic(np.sin(np.arange(200)), rate=40))
    sim.teach("y", en.Periodic(np.cos(np.arange(200)), rate=30))
    sim.probe("y", rate=17)
    for time, value in writes:
        sim.world.write(net.population("written"), [value], time)
    return sim


class Uses(RuleBasedStateMachine):
    """A simulation, and a log of what was given to it: the model is to run that at once."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.sim = simulation()
        self.writes: list[Write] = []
        self.spikes: list[Spikes] = []
        self.kept = 0
        self.keep()

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.025, 0.1, 1.0]) | st.floats(0.1, 0.5))
    def run(self, seconds: float) -> None:
        self.spikes.append(self.sim.run(self.sim.now + seconds).raster.arrays())
        DONE["run"] += 1

    @rule(ahead=st.sampled_from([0.005, 0.025]) | st.floats(1e-6, 0.2), value=st.floats(-2, 2))
    def write(self, ahead: float, value: float) -> None:
        time = max(self.sim.now, 0.0) + ahead
        if time in dict(self.writes):
            return  # of two at one time the last wins: tests/test_world.py
        self.writes.append((time, value))
        self.sim.world.write(self.sim.network.population("written"), [value], time)
        DONE["write"] += 1

    @rule()
    def keep(self) -> None:
        self.sim.save(self.folder / "state.npz")
        self.saved = (list(self.writes), list(self.spikes))
        DONE["checkpoint"] += 1

    @rule()
    def resume(self) -> None:
        self.sim = simulation()
        self.sim.load(self.folder / "state.npz")
        self.writes, self.spikes = (list(part) for part in self.saved)
        DONE["resume"] += 1

    @rule(kind=st.sampled_from(["npz", "csv"]))
    def export(self, kind: str) -> None:
        names = self.sim.coder_names
        rows = self.all()
        raster = en.Raster.from_arrays(*rows, names)
        path = export(raster, self.folder / f"spikes.{kind}", overwrite=True)
        if kind == "npz":
            self.kept += 1
            back = load(path, self.folder / f"back-{self.kept}").arrays()
            for mine, theirs in zip(rows, back, strict=True):
                np.testing.assert_array_equal(mine, theirs)
        DONE["export"] += 1

    def all(self) -> Any:
        empty = en.Raster.from_arrays([], [], [], [], self.sim.coder_names).arrays()
        return Spikes(*(np.concatenate(column) for column in zip(empty, *self.spikes, strict=True)))

    def teardown(self) -> None:
        if not hasattr(self, "sim"):
            return
        self.run(0.0)  # the first instant, if nothing has run
        model = simulation(self.writes)
        at_once = model.run(self.sim.now)
        for mine, theirs in zip(self.all(), at_once.raster.arrays(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
        for q in model.network.projections:
            np.testing.assert_array_equal(self.sim.weights(q), model.weights(q))
        np.testing.assert_array_equal(self.sim.probed("y").values, at_once.output("y").values)
        DONE["spikes"] += len(at_once.raster)


def test_a_simulation_is_what_was_given_to_it_in_any_order() -> None:
    DONE.clear()
    run_state_machine_as_test(
        Uses,
        settings=settings(
            max_examples=max(settings().max_examples // 10, 20),
            derandomize=True,  # so that what is counted below is known
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert all(DONE[name] >= 3 for name in ("run", "write", "checkpoint", "resume", "export")), DONE
    assert DONE["spikes"] > 1000, DONE

"""Simulation: wiring, running, recording and what it costs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventnet as en
from eventnet.engine.equations import MAX_COUNT
from eventnet.sources import with_hold


def signals() -> tuple[np.ndarray, np.ndarray]:
    """What the sensor reads at 200 Hz, and the targets at 20 Hz."""
    x = np.cumsum(np.random.default_rng(4).normal(0, 0.2, (2000, 3)), axis=0)
    x -= x.mean(0)
    return x, np.tanh(x[::10, :2])


def learner(engine: str = "compiled") -> en.Simulation:
    net = en.Network(tau=0.1)
    net.sensor("s", 3, step=0.1)
    net.layer("h", 10, step=0.1, error_step=0.02)
    net.output("y", 2, error_step=0.05)
    net.connect("s", "h")
    net.connect("h", "y")
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.2), engine=engine, seed=1)
    x, target = signals()
    sim.feed("s", en.Periodic(x, rate=200))
    sim.teach("y", en.Periodic(target, rate=20))
    return sim


def test_it_learns_online() -> None:
    sim = learner()
    sim.probe("y", rate=20)
    _, target = signals()
    run = sim.run(until=9.99)
    error = (run.output("y").values[: len(target)] - target) ** 2
    assert error[-60:].mean() < 0.5 * error[:20].mean()


def test_costs_are_what_the_raster_says() -> None:
    sim = learner()
    run = sim.run(until=5.0)
    stats = run.raster.stats()
    for name, row in run.cost.populations.items():
        for suffix, kind in (("", ""), (".error", "error_")):
            found = stats.get(name + suffix)
            events, quanta = (found.events, found.quanta) if found else (0, 0)
            assert row[kind + "events"] == events
            assert row[kind + "quanta"] == quanta
    first, second = run.cost.projections["s -> h"], run.cost.projections["h -> y"]
    assert first["forward"].additions == stats["s"].quanta * 10
    assert first["forward"].multiply_adds == stats["s"].events * 10
    assert second["backward"].additions == stats["y.error"].quanta * 10
    assert first["backward"].additions == 0  # nobody needs the error of a sensor
    assert first["update"].additions == stats["s"].quanta * 10 + stats["h.error"].quanta * 3
    assert run.cost.readings == 1001
    assert run.cost.teachings == 101
    assert first["forward"].dense == 1001 * 30
    assert second["update"].dense == 101 * 20
    assert 0 < second["forward"].zero_skipping < second["forward"].dense
    assert run.cost.total("dense") == 1001 * (30 + 20) + 101 * (20 + 30 + 20)
    energy = run.cost.energy_uj()
    assert energy["dense"] == pytest.approx(run.cost.total("dense") * 3.2e-6)
    json.dumps(run.cost.as_dict())


def test_two_runs_cost_what_one_run_costs() -> None:
    whole = learner().run(until=3.0).cost
    sim = learner()
    parts = [sim.run(until=t).cost for t in (1.1, 3.0)]
    for field in ("additions", "multiply_adds", "dense", "zero_skipping"):
        assert sum(p.total(field) for p in parts) == whole.total(field)


def test_hold_lets_a_target_expire() -> None:
    held = with_hold(en.Recording([0.0, 1.0, 1.2], [1.0, 2.0, 3.0]), 0.5)
    times, values = held.block(0, 10)
    np.testing.assert_array_equal(times, [0.0, 0.5, 1.0, 1.2, 1.7])
    np.testing.assert_array_equal(values[:, 0], [1.0, np.nan, 2.0, 3.0, np.nan])
    sim = learner()
    del sim.fed["y"]
    with pytest.raises(en.ConfigError, match=r"hold=0.1 s: give it with recorded targets"):
        sim.teach("y", en.Sampled(lambda t: [t, t], rate=1), hold=0.1)


def test_a_recorded_run_holds_configuration_and_raster(tmp_path: Path) -> None:
    run = learner().run(until=2.0, record=tmp_path / "first")
    assert run.folder is not None
    config = json.loads((run.folder / "config.json").read_text())
    assert config["seed"] == 1
    assert config["plasticity"] == {"rule": "STDP", "lr": 0.2, "cap": 0.5}
    assert [p["name"] for p in config["network"]["populations"]] == ["s", "h", "y"]
    assert set(config["versions"]) >= {"eventnet", "numpy", "numba", "python"}
    in_memory = learner().run(until=2.0).raster.arrays()
    for ours, theirs in zip(en.Raster.open(run.folder).arrays(), in_memory, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_existing_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    learner().run(until=0.5, record=folder)
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    with pytest.raises(en.RunFolderError, match="exists already"):
        learner().run(until=0.5, record=folder)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(en.RunFolderError, match="file/run: cannot be made"):
        learner().run(until=0.5, record=tmp_path / "file" / "run")


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_diverged_run_keeps_its_raster(engine: str, tmp_path: Path) -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.1)
    sim = en.Simulation(net, engine=engine)
    sim.feed("s", en.Recording([0.0, 0.5], [1.0, 1e12]))  # 10^13 quanta at once
    with pytest.raises(en.Diverged, match=r"t=0.5 s in population 's', neuron 0"):
        sim.run(until=1.0, record=tmp_path / "run")
    kept = en.Raster.open(tmp_path / "run").arrays()
    assert len(kept.time) == 51  # ten at once, then one every tau*step/|x| = .01 s up to .5 s
    assert kept.time[-1] < 0.5


@pytest.mark.parametrize("setting", [{}, {"engine": "actors"}, {"clock": 0.05}], ids=str)
@pytest.mark.parametrize(("name", "neuron"), [("s", 1), ("h", 2), ("y", 0)])
def test_a_storm_of_spikes_ends_the_run_and_the_last_checkpoint_stays(
    name: str, neuron: int, setting: dict[str, Any], tmp_path: Path
) -> None:
    """A reading, what a layer receives, or an error moves by so many steps at once."""

    def run(storm: float) -> None:
        net = en.Network(tau=0.1)
        net.sensor("s", 2, step=0.5)
        net.layer("h", 3, step=0.5, error_step=0.5)
        net.output("y", 1, error_step=0.5)
        weights = np.full((2, 3), 0.01)
        weights[1, 2] = storm if name == "h" else 0.01
        net.connect("s", "h", weights=weights)
        net.connect("h", "y", weights=[[1e-9]] * 3)
        sim = en.Simulation(net, plasticity=en.STDP(lr=0.0), **setting)
        after = {"s": storm, "h": 1.0, "y": 0.0}[name]
        sim.feed("s", en.Recording([0.0, 0.5], [[0.0, 0.0], [0.0, after]]))
        sim.teach("y", en.Recording([0.0, 0.5], [0.0, storm if name == "y" else 0.0]))
        record = en.Record(tmp_path / f"{storm:g}", checkpoint_every=0.2)
        sim.run(until=0.5 + 1e-6, record=record)

    run(0.9 * MAX_COUNT * 0.5)
    with pytest.raises(en.Diverged, match="more than 2\\*\\*24 spikes at once") as caught:
        run(1.1 * MAX_COUNT * 0.5)
    error = caught.value
    assert (error.population, error.neuron, error.time) == (name, neuron, pytest.approx(0.5))
    folder = tmp_path / f"{1.1 * MAX_COUNT * 0.5:g}"
    assert sorted(file.name for file in (folder / "checkpoints").iterdir()) == [
        "000000.npz",
        "000001.npz",
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda s: s.feed("h", en.Periodic([1.0], rate=1)), r"feed\('h'\): it is a layer"),
        (lambda s: s.teach("s", en.Periodic([1.0], rate=1)), r"teach\('s'\): it is a sensor"),
        (lambda s: s.feed("s", en.Periodic([1.0], rate=1)), "it has a source already"),
        (lambda s: s.feed("t", en.Periodic([1.0], rate=1)), "unknown population 't'"),
        (lambda s: s.probe("y"), "give either a rate or times"),
        (lambda s: s.probe("y", rate=1, times=[0.0]), "give either a rate or times"),
        (lambda s: s.probe("y", rate=-1), "rate=-1 Hz on probe on y"),
        (lambda s: s.probe("y", times=[1.0, 1.0]), "times must be finite and increase"),
        (lambda s: s.probe("y", times=[-1.0, 1.0]), "begins at -1 s"),
        (lambda s: (s.probe("y", rate=1), s.probe("y", rate=1)), "there is one already"),
        (lambda s: s.run(until=math.inf), "until=inf s: must be finite"),
        (lambda s: (s.run(until=0.2), s.run(until=0.1)), "until=0.1 s: must be finite and at"),
        (lambda s: s.run(until=0.1).output("y"), "no probe on 'y'"),
        (lambda s: s.weights("s -> y"), "unknown projection 's -> y'"),
        (lambda s: (s.run(until=0.2), s.switch_learning(False, at=0.1)), "stands at 0.2 s"),
        (lambda s: en.Simulation(s.network, engine="brian"), "unknown engine 'brian'"),
        (lambda s: en.Simulation(s.network, t0=math.nan), "t0=nan s"),
        (lambda s: setattr(en.Simulation(s.network), "learning", True), "without plasticity"),
        (lambda s: en.STDP(lr=-1), "lr=-1 on STDP"),
        (lambda s: en.STDP(lr=1, cap=0), "cap=0 on STDP"),
    ],
)
def test_each_mistake_has_one_message(wrong: object, message: str) -> None:
    with pytest.raises((en.ConfigError, en.DataError), match=message):
        wrong(learner())  # type: ignore[operator]


def test_progress_is_reported_and_changes_nothing() -> None:
    seen: list[tuple[float, int]] = []
    quiet = learner().run(until=2.0)
    told = learner().run(until=2.0, progress=lambda t, spikes: seen.append((t, spikes)))
    times, spikes = (np.array(column) for column in zip(*seen, strict=True))
    steps = np.diff(times, prepend=0.0)
    assert steps.min() > 0
    assert steps.max() < 0.02 + 1e-12  # a hundredth of the run
    fired = quiet.raster.arrays().time
    np.testing.assert_array_equal(spikes[:-1], np.searchsorted(fired, times[:-1]))  # before each
    assert seen[-1] == (2.0, len(quiet.raster))  # the last instant is in it
    for ours, theirs in zip(told.raster.arrays(), quiet.raster.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_reset_forgets_all_but_the_weights(engine: str) -> None:
    sim = learner(engine)
    sim.probe("y", rate=20)
    names = ("s -> h", "h -> y")
    before = [sim.weights(name) for name in names]
    sim.run(until=1.5)
    learned = [sim.weights(name) for name in names]
    sim.reset()
    assert sim.now == 0
    for name, old, new in zip(names, before, learned, strict=True):
        assert not np.array_equal(old, new)
        np.testing.assert_array_equal(sim.weights(name), new)
    assert len(sim.probed("y").values) == 0

    # From here on it is a new simulation that was given these weights.
    again = sim.run(until=1.5)
    fresh = learner(engine)
    fresh.probe("y", rate=20)
    for name, new in zip(names, learned, strict=True):
        fresh.set_weights(name, new)
    other = fresh.run(until=1.5)
    assert again.cost == other.cost
    for ours, theirs in zip(again.raster.arrays(), other.raster.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_evaluation_on_a_copy_leaves_the_trainer_untouched(engine: str) -> None:
    whole = learner(engine)
    whole.run(until=1.0)
    rest = whole.run(until=2.0)

    sim = learner(engine)
    sim.run(until=1.0)
    copy = sim.copy()
    copy.feed("s", en.Periodic(np.random.default_rng(0).normal(0, 1, (50, 3)), rate=50))
    copy.probe("y", rate=10)
    assert np.abs(copy.run(until=1.0).output("y").values).max() > 0
    np.testing.assert_array_equal(copy.weights("h -> y"), sim.weights("h -> y"))
    resumed = sim.run(until=2.0)
    for ours, theirs in zip(resumed.raster.arrays(), rest.raster.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_learned_bias_is_the_weight_from_a_constant_sensor(engine: str) -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.1)
    net.output("y", 2, error_step=0.02, bias=[0.5, -0.5], bias_step=0.25)
    net.connect("s", "y", weights=[[0.0, 0.0]], plastic=False)
    sim = en.Simulation(net, plasticity=en.STDP(lr=2.0), engine=engine)
    np.testing.assert_array_equal(sim.weights("y_bias -> y"), [[0.5, -0.5]])
    with pytest.raises(en.ConfigError, match="it has a source already"):
        sim.feed("y_bias", en.Periodic([1.0], rate=1))
    sim.teach("y", en.Recording([0.0], [[2.0, -1.0]]))
    sim.probe("y", times=[0.0, 20.0])
    run = sim.run(until=20.0)
    start, end = run.output("y").values
    np.testing.assert_allclose(start, [0.5, -0.5])
    # The decoded 1 is within half a step of 1 at any moment, so z within an eighth of its bias.
    np.testing.assert_allclose(end, [2.0, -1.0], atol=0.3)
    np.testing.assert_allclose(sim.weights("y_bias -> y"), [[2.0, -1.0]], atol=0.3)
    # A held reading of 1 costs 1/(tau*step) = 40 spikes a second after the four at the start.
    assert run.cost.populations["y_bias"]["events"] == pytest.approx(800, abs=2)


@pytest.mark.parametrize(
    ("weights", "message"),
    [(np.zeros((2, 2)), r"must be \(3, 10\)"), (np.full((3, 10), np.nan), "finite")],
)
def test_weights_that_cannot_be_set(weights: np.ndarray, message: str) -> None:
    with pytest.raises(en.ConfigError, match=message):
        learner().set_weights("s -> h", weights)

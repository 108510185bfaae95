"""Rules that hold whatever the world does meanwhile: learning off and on, readers, writers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

import eventnet as en
from eventnet.engine import ENGINES

PROJECTIONS = ("gyro -> hidden", "hidden -> turn")


def learner(
    engine: str,
    *,
    readings: en.Recording | None = None,
    targets: en.Recording | None = None,
    extra: en.Sampled | None = None,
) -> en.Simulation:
    """Build a network that learns from readings at 200 Hz and targets at 20 Hz."""
    rng = np.random.default_rng(8)
    net = en.Network(tau=0.1)
    net.sensor("gyro", 3, step=0.1)
    net.layer("hidden", 10, step=0.1, error_step=0.02, bias=rng.normal(0, 0.2, 10))
    net.output("turn", 2, error_step=0.05)
    for pair in (("gyro", "hidden"), ("hidden", "turn")):
        net.connect(*pair)
    if extra is not None:
        net.sensor("extra", 1, step=0.1)
        net.connect("extra", "hidden", plastic=False)
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.2), engine=engine, seed=1)
    sim.feed("gyro", readings or signal())
    sim.teach("turn", targets or truth())
    if extra is not None:
        sim.feed("extra", extra)
    return sim


def signal() -> en.Recording:
    walk = np.cumsum(np.random.default_rng(4).normal(0, 0.2, (600, 3)), axis=0)
    return en.Recording(np.arange(600) / 200, walk - walk.mean(0))


def truth() -> en.Recording:
    return en.Recording(np.arange(60) / 20, np.tanh(np.asarray(signal().values)[::10, :2]))


def weights(sim: en.Simulation) -> list[NDArray[np.float64]]:
    return [sim.weights(name) for name in PROJECTIONS]


def same(ours: en.Run, theirs: en.Run) -> None:
    for a, b in zip(ours.raster.arrays(), theirs.raster.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


def same_weights(ours: list[NDArray[np.float64]], theirs: list[NDArray[np.float64]]) -> None:
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("engine", ENGINES)
def test_on_again_weights_wait_for_the_next_target(engine: str) -> None:
    sim = learner(engine)
    before = weights(sim)
    sim.switch_learning(False, at=1.0)
    sim.switch_learning(True, at=1.51)
    sim.run(until=1.0)
    off = weights(sim)
    assert all((a != b).any() for a, b in zip(off, before, strict=True))
    waiting = sim.run(until=1.5499)  # the target of 1.5 s came while learning was off
    assert len(waiting.raster.select(["gyro", "hidden"])) > 100
    assert len(waiting.raster.select(["hidden.error", "turn.error"])) == 0
    same_weights(weights(sim), off)
    sim.run(until=1.6)
    assert all((a != b).any() for a, b in zip(weights(sim), off, strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_on_again_nothing_is_left_of_what_was_learned_before(engine: str) -> None:
    """Weights apart. At rate 0 one simulation forms errors and traces, the other never learned."""

    def rest(first: bool) -> tuple[en.Run, en.Run, list[NDArray[np.float64]]]:
        sim = learner(engine)
        sim.scale_lr(0.0)
        sim.learning = first
        sim.switch_learning(False, at=1.0)
        sim.switch_learning(True, at=1.51)
        early = sim.run(until=1.505)
        sim.scale_lr(1.0)
        return early, sim.run(until=2.9), weights(sim)

    early, learned, ours = rest(True)
    idle, fresh, theirs = rest(False)
    assert len(early.raster) > len(idle.raster)  # by the error spikes
    same(learned, fresh)
    same_weights(ours, theirs)
    assert all((a != b).any() for a, b in zip(ours, weights(learner(engine)), strict=True))
    assert len(fresh.raster.select(["hidden.error", "turn.error"])) > 50


@pytest.mark.parametrize("engine", ENGINES)
def test_reading_weights_changes_nothing(engine: str) -> None:
    read: list[list[NDArray[np.float64]]] = []

    def look(t: float) -> list[float]:
        read.append(weights(watched))
        return [np.sin(9 * t)]

    quiet = learner(engine, extra=en.Sampled(lambda t: [np.sin(9 * t)], rate=37))
    watched = learner(engine, extra=en.Sampled(look, rate=37))
    whole = quiet.run(until=2.5)
    same(watched.run(until=2.5), whole)
    same_weights(weights(watched), weights(quiet))
    assert len(read) > 90
    assert sum((a[0] != b[0]).any() for a, b in pairwise(read)) > 50


@pytest.mark.parametrize("engine", ENGINES)
def test_a_written_value_wins_over_a_recorded_one_of_the_same_stamp(engine: str) -> None:
    written = learner(engine)
    net = written.network
    reading, target = np.array([1.5, -1.0, 0.5]), np.array([0.7, -0.9])
    written.world.write(net.population("gyro"), reading, 0.5)
    written.world.write(net.population("turn"), target, 1.0)
    run = written.run(until=2.0)

    readings, targets = signal(), truth()
    np.asarray(readings.values)[100] = reading  # of .5 s
    np.asarray(targets.values)[20] = target  # of 1 s
    recorded = learner(engine, readings=readings, targets=targets)
    same(run, recorded.run(until=2.0))
    same_weights(weights(written), weights(recorded))

    untouched = learner(engine).run(until=2.0).raster.arrays().time
    assert not np.array_equal(untouched, run.raster.arrays().time)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rate_that_was_announced_is_a_rate_that_is_set_then(engine: str) -> None:
    announced, handmade = learner(engine), learner(engine)
    announced.scale_lr(0.1, at=1.0025)  # between two readings
    whole = announced.run(until=2.0)
    before = np.nextafter(1.0025, 0.0)
    handmade.run(until=before)
    handmade.scale_lr(0.1)
    rest = handmade.run(until=2.0)
    same_weights(weights(announced), weights(handmade))
    assert len(rest.raster) == (whole.raster.arrays().time > before).sum()
    plain = learner(engine)
    plain.run(until=2.0)
    assert (weights(plain)[0] != weights(announced)[0]).any()

"""Steps that are learned from the price of additions, in continuous time (on a clock: test_clock)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_clock import assert_same, same_spikes

import eventnet as en
from eventnet.engine import ENGINES
from eventnet.engine import arrays as ar
from eventnet.errors import ConfigError

SCALES = pytest.mark.parametrize("scales", ["population", "neuron"])


def simulation(
    engine: str = "compiled",
    price: float = 1e-5,
    scales: en.network.Scales = "population",
    **more: Any,
) -> en.Simulation:
    """A sensor, two layers on curves and in straight lines, targets that hold for a moment."""
    rng = np.random.default_rng(4)
    net = en.Network(tau=0.05)
    net.sensor("eye", 3, step=0.1)
    net.layer("first", 6, step=0.05, error_step=0.02, tau=0.1, bias=rng.normal(0, 0.1, 6))
    net.layer("second", 5, step=0.05, error_step=0.02, bias=rng.normal(0, 0.1, 5), error_tau=0.02)
    net.output("out", 2, error_step=0.05)
    for ends in (("eye", "first"), ("first", "second"), ("eye", "second"), ("second", "out")):
        net.connect(*ends, **more)
    rule = en.STDP(0.3)
    sim = en.Simulation(net, plasticity=rule, engine=engine, seed=3, price=price, scales=scales)
    x = rng.normal(size=(400, 3)).cumsum(axis=0) / 5
    sim.feed("eye", en.Periodic(x, rate=50))
    sim.teach("out", en.Periodic(x[:, :2] - x[:, 1:], rate=50), hold=0.012)
    return sim


@SCALES
def test_both_engines_learn_the_same_steps_and_send_the_same_spikes(
    scales: en.network.Scales,
) -> None:
    sims = [simulation(engine, scales=scales) for engine in ENGINES]
    runs = [sim.run(until=3.0) for sim in sims]
    assert same_spikes(*runs)
    for name in ("eye", "first", "second"):
        ours, theirs = (sim.steps(name) for sim in sims)
        np.testing.assert_array_equal(ours, theirs)
        assert (np.ptp(ours) > 0) == (scales == "neuron")
        assert ours[0] != sims[0].network.population(name).step
    for name in ("eye -> first", "second -> out"):
        np.testing.assert_array_equal(*(sim.weights(name) for sim in sims))


@SCALES
@pytest.mark.parametrize("engine", ENGINES)
def test_what_holds_of_an_engine_holds_after_each_change_of_a_step(
    engine: str, scales: en.network.Scales
) -> None:
    sim = simulation(engine, scales=scales)
    for until in np.arange(1, 8) / 5:
        sim.run(until=float(until))
        sim._engine._check()  # type: ignore[attr-defined]
    assert sim.steps("eye")[0] != 0.1


@SCALES
def test_what_additions_are_worth_makes_steps_coarse_or_fine(scales: en.network.Scales) -> None:
    dear, fixed, cheap = (simulation(price=price, scales=scales) for price in (1.0, 0.0, 1e-15))
    for sim in (dear, fixed, cheap):
        sim.run(until=7.9)
    for name, step in (("eye", 0.1), ("first", 0.05), ("second", 0.05)):
        assert fixed.steps(name).tolist() == [step] * len(fixed.steps(name))
        assert 1.0 < dear.steps(name)[0] / step < 1.005**32  # 31 looks
        assert 1.005**-32 < cheap.steps(name)[0] / step < 1.005**32


def test_looks_are_counted_as_updates() -> None:
    sim = simulation()
    sim.learning = False
    sim.run(until=0.5)
    engine: Any = sim._engine
    prices: Any = sim.world.processes[0]
    sim.learning = True
    sim.run(until=0.611)  # a target came at .6
    before = engine.counters.projection.copy()
    prices.act(sim.world, 0.611)
    there = engine.counters.projection - before
    synapses = [q.synapses for q in sim.network.projections]
    assert there[:, ar.ROW + 2].tolist() == there[:, ar.ROW + 3].tolist() == synapses
    assert there.sum() == 2 * sum(synapses)


@SCALES
@pytest.mark.parametrize("engine", ENGINES)
def test_a_loaded_checkpoint_goes_on_as_if_nothing_had_happened(
    engine: str, scales: en.network.Scales, tmp_path: Path
) -> None:
    whole, other = simulation(engine, scales=scales), simulation(engine, scales=scales)
    whole.run(until=1.0)
    whole.save(tmp_path / "state.npz")
    other.load(tmp_path / "state.npz")
    assert_same(other.state(), whole.state())
    assert same_spikes(whole.run(until=2.0), other.run(until=2.0))
    assert_same(other.state(), whole.state())


@SCALES
@pytest.mark.parametrize("engine", ENGINES)
def test_a_copy_and_a_reset_keep_the_steps(engine: str, scales: en.network.Scales) -> None:
    sim = simulation(engine, scales=scales)
    sim.run(until=1.0)
    steps = [sim.steps(name).tolist() for name in ("eye", "first", "second")]
    copy = sim.copy()
    sim.reset()
    signal = en.Periodic(np.ones((20, 3)), rate=50)
    for one in (sim, copy):
        assert [one.steps(name).tolist() for name in ("eye", "first", "second")] == steps
    copy.feed("eye", signal)
    spikes = copy.run(until=0.0).raster.select("eye").arrays()
    np.testing.assert_array_equal(spikes.count, np.ceil(1 / np.array(steps[0]) - 0.5))
    copy.run(until=0.3)
    assert [copy.steps(name).tolist() for name in ("eye", "first", "second")] == steps


def test_spikes_and_counts_are_whole_though_neurons_have_steps_of_their_own() -> None:
    """What crosses a projection is what was sent."""
    sim = simulation(scales="neuron")
    run = sim.run(until=3.0)
    sent = np.abs(run.raster.select("first").arrays().count).sum()
    passes = run.cost.projections["first -> second"]
    assert passes["forward"].additions == sent * 5
    assert run.cost.populations["first"]["quanta"] == sent > 1000


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"plasticity": en.Past(0.1)},
            r"price=0\.1 without a clock: Past does not keep what is decoded",
        ),
        ({"scales": "synapse"}, "unknown scales 'synapse'"),
        ({"price": -1.0}, r"price=-1\.0 on the simulation: must be >= 0"),
    ],
)
def test_a_price_that_is_none_is_refused(given: dict[str, Any], message: str) -> None:
    net = en.Network(tau=1.0)
    net.sensor("x", 1, step=0.1)
    net.output("y", 1, error_step=0.1)
    net.connect("x", "y")
    with pytest.raises(ConfigError, match=message):
        en.Simulation(net, **({"plasticity": en.STDP(0.1), "price": 0.1} | given))


def test_spikes_under_way_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"price=1e-05: eye -> first has a delay"):
        simulation(delay=0.01)

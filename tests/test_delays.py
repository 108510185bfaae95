"""Delays: when spikes and errors arrive, what they read then, and which cycles are allowed."""

from __future__ import annotations

import numpy as np
import pytest

import eventnet as en
from eventnet.engine import ENGINES


def spikes(run: en.Run, population: str) -> list[tuple[float, int]]:
    found = run.raster.select(population).arrays()
    return list(zip(found.time.tolist(), found.count.tolist(), strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_spike_arrives_after_its_delay(engine: str) -> None:
    net = en.Network(tau=1.0)
    net.sensor("s", 1, step=1.0)
    for name, delay in (("now", 0.0), ("soon", 0.125), ("late", 0.25)):
        net.layer(name, 1, step=1.0, activation="identity")
        net.connect("s", name, weights=[[1.0]], delay=delay)
    sim = en.Simulation(net, engine=engine)
    sim.feed("s", en.Recording([0.1, 0.1001], [[5.0], [0.0]]))
    run = sim.run(until=1.0)
    sent = spikes(run, "s")
    assert sent[0] == (0.1, 5)
    for name, delay in (("now", 0.0), ("soon", 0.125), ("late", 0.25)):
        assert spikes(run, name)[0] == (0.1 + delay, 5)


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_under_way_survives_a_pause_and_a_restore(engine: str) -> None:
    def build() -> en.Simulation:
        net = en.Network(tau=0.2)
        net.sensor("s", 3, step=0.1)
        net.layer("h", 4, step=0.1, error_step=0.05)
        net.output("y", 1, error_step=0.05)
        net.connect("s", "h", delay=0.07)
        net.connect("h", "y", delay=0.03, error_delay=0.05)
        net.connect("h", "h", delay=0.11, error_delay=0.02)
        sim = en.Simulation(net, plasticity=en.STDP(lr=0.1), engine=engine)
        rng = np.random.default_rng(0)
        sim.feed("s", en.Periodic(rng.normal(0, 1, (40, 3)), rate=40))
        sim.teach("y", en.Periodic(rng.normal(0, 1, 20), rate=20))
        return sim

    whole = build()
    whole.run(until=0.52)
    rest = whole.run(until=1.0)
    first = build()
    first.run(until=0.52)
    second = build()
    second.restore(first.state())
    resumed = second.run(until=1.0)
    assert len(rest.raster) > 200
    for ours, theirs in zip(resumed.raster.arrays(), rest.raster.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_both_engines_agree_on_a_recurrent_network_with_many_spikes_under_way() -> None:
    rasters = []
    for engine in ENGINES:
        net = en.Network(tau=0.1)
        net.sensor("s", 5, step=0.02)
        net.layer("h", 6, step=0.05, error_step=0.05)
        net.output("y", 1, error_step=0.05)
        net.connect("s", "h", delay=0.3)  # far more spikes under way than neurons
        net.connect("h", "h", delay=0.01, error_delay=0.01)
        net.connect("h", "y")
        sim = en.Simulation(net, plasticity=en.STDP(lr=0.05), engine=engine)
        rng = np.random.default_rng(1)
        sim.feed("s", en.Periodic(rng.normal(0, 1, (50, 5)), rate=50))
        sim.teach("y", en.Periodic(rng.normal(0, 1, 10), rate=10))
        rasters.append(sim.run(until=1.0).raster.arrays())
    assert len(rasters[0].time) > 1000
    for ours, theirs in zip(*rasters, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_weight_is_read_on_arrival(engine: str) -> None:
    """While a spike is under way learning changes the weight; the arrival uses the new one."""
    net = en.Network(tau=10.0)
    net.sensor("s", 1, step=1.0)
    net.output("y", 1, error_step=0.5)
    net.connect("s", "y", weights=[[0.0]], delay=0.5)
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.001, cap=None), engine=engine)
    sim.feed("s", en.Recording([0.0, 0.75], [[4.0], [8.0]]))
    sim.teach("y", en.Recording([1.0], [[-4.0]]))
    sim.probe("y", times=[0.9, 1.25])
    sim.run(until=1.2)  # the second four quanta have been under way since .75
    weight = sim.weights("s -> y")[0, 0]
    sim.run(until=1.25)
    z = sim.probed("y").values[:, 0]
    assert z[0] == 0.0  # the first four arrived at .5, on a weight of 0
    assert weight < -0.05
    assert z[1] == pytest.approx(4 * weight, rel=1e-12)


def test_cycles_need_a_delay_and_error_cycles_an_error_delay() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=1)
    net.layer("a", 1, step=1, error_step=1)
    net.layer("b", 1, step=1, error_step=1)
    net.output("y", 1, error_step=1)
    net.connect("s", "a")
    net.connect("a", "b")
    net.connect("b", "y")
    with pytest.raises(en.ConfigError, match="closes the zero-delay cycle a -> b -> a"):
        net.connect("b", "a")
    net.connect("b", "a", delay=0.1)
    en.Simulation(net)  # without learning no error goes round
    with pytest.raises(en.ConfigError, match=r"errors go round the cycle .* in no time"):
        en.Simulation(net, plasticity=en.STDP(lr=1))


@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_delays_must_be_finite_and_not_negative(value: float) -> None:
    net = en.Network(tau=0.1)
    net.sensor("gyro", 1, step=1)
    net.layer("hidden", 1, step=1)
    with pytest.raises(en.ConfigError, match=r"delay=.* s on gyro -> hidden: must be >= 0"):
        net.connect("gyro", "hidden", delay=value)
    with pytest.raises(en.ConfigError, match=r"error_delay=.* s on gyro -> hidden: must be >= 0"):
        net.connect("gyro", "hidden", error_delay=value)


def test_a_delay_that_time_cannot_resolve_is_refused() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=1)
    net.layer("h", 1, step=1)
    net.connect("s", "h", delay=1e-13)
    with pytest.raises(en.ConfigError, match=r"delay=1e-13 s on s -> h: is lost in the rounding"):
        en.Simulation(net).run(until=1e4)

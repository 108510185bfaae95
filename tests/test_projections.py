"""Sparse projections, bounds, learning rates and given spikes."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventnet as en
from eventnet.errors import ConfigError, DataError

MASK = np.array([[1, 0, 1, 1], [0, 1, 0, 1], [1, 1, 0, 0]], dtype=bool)


def simulate(engine: str, lr: float = 0.3, **synapses: Any) -> tuple[en.Simulation, en.Run]:
    rng = np.random.default_rng(8)
    net = en.Network(tau=0.1)
    net.sensor("s", 3, step=0.1)
    net.layer("h", 4, step=0.1, error_step=0.02, bias=0.2)
    net.output("y", 1, error_step=0.05)
    net.connect("s", "h", **synapses)
    net.connect("h", "y", weights=rng.normal(0, 1, (4, 1)))
    sim = en.Simulation(net, plasticity=en.STDP(lr), engine=engine)
    sim.feed("s", en.Periodic(rng.normal(0, 1, (50, 3)), rate=50))
    sim.teach("y", en.Periodic(rng.normal(0, 1, 20), rate=20))
    return sim, sim.run(until=1.0)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_mask_edges_and_fixed_zero_weights_are_one_network(engine: str) -> None:
    full = np.random.default_rng(0).normal(0, 0.5, MASK.shape) * MASK
    pairs = np.argwhere(MASK)
    shuffled = np.random.default_rng(1).permutation(len(pairs))
    masked, run = simulate(engine, weights=full, mask=MASK)
    listed, again = simulate(engine, weights=full[MASK][shuffled], edges=pairs[shuffled])
    _, third = simulate(engine, weights=full, plastic=False)
    _, fourth = simulate(engine, weights=full, mask=MASK, plastic=False)
    assert len(run.raster) > 300
    for a, b in ((run, again), (third, fourth)):
        for ours, theirs in zip(a.raster.arrays(), b.raster.arrays(), strict=True):
            np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(masked.weights("s -> h"), listed.weights("s -> h"))
    assert np.array_equal(np.stack(masked.edges("s -> h"), axis=1), pairs)
    assert not np.array_equal(masked.weights("s -> h"), full[MASK])


def test_a_sparse_projection_costs_what_it_crosses() -> None:
    _, run = simulate("compiled", mask=MASK)
    raster = run.raster.select("s").arrays()
    fans = MASK.sum(axis=1)[raster.neuron]
    forward = run.cost.projections["s -> h"]["forward"]
    assert forward.multiply_adds == fans.sum()
    assert forward.additions == (fans * np.abs(raster.count)).sum()
    assert forward.dense == MASK.sum() * run.cost.readings


def test_fan_in_draws_so_many_for_each_target() -> None:
    sim, _ = simulate("compiled", fan_in=2)
    pre, post = sim.edges("s -> h")
    assert np.bincount(post).tolist() == [2, 2, 2, 2]
    assert len(set(zip(pre.tolist(), post.tolist(), strict=True))) == 8
    assert sim.weights("s -> h").shape == (8,)


def drawn(dtype: type, seed: int = 4) -> en.Simulation:
    """Two drawn projections into a layer that learns and sends errors back, and a dense one on."""
    net = en.Network(tau=0.1)
    net.sensor("s", 40, step=0.1)
    net.layer("h", 30, step=0.1, error_step=0.1)
    net.output("y", 20, error_step=0.1)
    net.connect("s", "h", fan_in=7)
    net.connect("h", "y", fan_in=11, bounds=(-0.2, 0.2))
    net.connect("s", "y")
    return en.Simulation(net, plasticity=en.STDP(0.1), seed=seed, dtype=dtype)


def test_a_seed_draws_all_synapses_and_then_all_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = drawn(np.float64)
    random = np.random.default_rng(4)
    for name, n_in, n_out, fan_in in (("s -> h", 40, 30, 7), ("h -> y", 30, 20, 11)):
        sources = [random.choice(n_in, fan_in, replace=False, shuffle=False) for _ in range(n_out)]
        pairs = sorted((int(i), j) for j, chosen in enumerate(sources) for i in chosen)
        assert np.stack(sim.edges(name), axis=1).tolist() == [list(pair) for pair in pairs]
    weights = {name: sim.weights(name) for name in ("s -> h", "h -> y", "s -> y")}
    scales = np.sqrt(2 / np.array([7 + 210 / 40, 11 + 220 / 30, 40 + 20]))
    normal = [random.standard_normal(w.shape) for w in weights.values()]
    expected = [scale * z for scale, z in zip(scales, normal, strict=True)]
    expected[1] = expected[1].clip(-0.2, 0.2)
    assert np.abs(expected[1]).max() == 0.2
    monkeypatch.setattr("eventnet.engine.plan.CHUNK", 50)  # not a divisor of any of the sizes
    for dtype in (np.float64, np.float32):
        for name, array in zip(weights, expected, strict=True):
            np.testing.assert_array_equal(drawn(dtype).weights(name), array.astype(dtype))
    for name, array in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(weights[name], array)


def test_columns_list_the_synapses_of_each_target_sources_ascending() -> None:
    sim = drawn(np.float64)
    net = sim._engine._net
    # Rows of s -> h are booked late and no errors go on to a sensor: it needs no columns.
    assert len(net.column_row) == len(net.column_place) == sim.network.projection("h -> y").synapses
    pre, post = sim.edges("h -> y")
    by_column = np.lexsort((pre, post))
    np.testing.assert_array_equal(net.column_place, by_column)
    np.testing.assert_array_equal(net.column_row, pre[by_column])
    first = net.projection["column_span_first"][sim.network.projection("h -> y").index]
    counted = np.diff(net.column_span[first : first + 21])
    np.testing.assert_array_equal(counted, np.bincount(post, minlength=20))


@pytest.mark.parametrize(("learns", "kept"), [(False, 4 + 4), (True, 4 + 4 + 8)])
def test_a_synapse_takes_its_target_its_weight_and_what_it_has_booked(
    learns: bool, kept: int
) -> None:
    net = en.Network(tau=0.1)
    net.source("s", 2_000)
    net.output("y", 2_000, error_step=0.1)
    synapses = net.connect("s", "y", fan_in=1_000).synapses
    rule = en.STDP(0.1) if learns else None
    en.Simulation(net, plasticity=rule, dtype=np.float32)  # loads what is compiled
    tracemalloc.start()
    try:
        sim = en.Simulation(net, plasticity=rule, dtype=np.float32)
        now, peak = (size / synapses for size in tracemalloc.get_traced_memory())
    finally:
        tracemalloc.stop()
    assert sim.plan.reach.size == synapses
    # 4,000 neurons and the buffer of spikes take 1.3 bytes a synapse of so small a network.
    assert kept + 1 < now <= peak < kept + 2


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_weights_stay_within_bounds_and_reach_them(engine: str) -> None:
    sim, _ = simulate(engine, lr=3.0, bounds=(-0.02, 0.02), weights=np.zeros((3, 4)))
    weights = sim.weights("s -> h")
    assert weights.min() == -0.02
    assert weights.max() == 0.02
    with pytest.raises(ConfigError, match="must lie within bounds"):
        sim.set_weights("s -> h", weights + 1.0)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_population_has_its_own_learning_rate_and_a_schedule_scales_all(engine: str) -> None:
    def final(lr: float | None, rule_lr: float, factor: float) -> np.ndarray:
        rng = np.random.default_rng(3)
        net = en.Network(tau=0.1)
        net.sensor("s", 2, step=0.1)
        net.output("y", 1, error_step=0.05, lr=lr)
        net.connect("s", "y", weights=[[0.1], [-0.2]])
        sim = en.Simulation(net, plasticity=en.STDP(rule_lr, cap=None), engine=engine)
        sim.scale_lr(factor)
        sim.feed("s", en.Periodic(rng.normal(0, 1, (50, 2)), rate=50))
        sim.teach("y", en.Periodic(np.ones(10), rate=10))
        sim.run(until=1.0)
        return sim.weights("s -> y")

    expected = final(None, 0.25, 1.0)
    np.testing.assert_array_equal(final(0.25, 0.7, 1.0), expected)
    np.testing.assert_array_equal(final(0.5, 0.7, 0.5), expected)
    assert not np.array_equal(final(None, 0.7, 1.0), expected)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_recorded_raster_can_be_replayed(engine: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    weights = rng.normal(0, 0.5, (3, 4))

    def network(kind: str) -> en.Network:
        net = en.Network(tau=0.1)
        if kind == "sensor":
            net.sensor("s", 3, step=0.1)
        else:
            net.source("s", 3, step=0.1)
        net.layer("h", 4, step=0.1, bias=0.1)
        net.connect("s", "h", weights=weights)
        return net

    live = en.Simulation(network("sensor"), engine=engine)
    live.feed("s", en.Periodic(rng.normal(0, 1, (40, 3)), rate=40))
    first = live.run(until=1.0, record=tmp_path / "run")
    replay = en.Simulation(network("source"), engine=engine)
    replay.feed("s", en.SpikeTrain.replay(en.Raster.open(tmp_path / "run"), "s"))
    second = replay.run(until=1.0)
    assert len(first.raster.select("h")) > 50
    for ours, theirs in zip(first.raster.arrays(), second.raster.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_given_spikes_of_one_instant_are_never_torn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    from eventnet.engine import feeds

    def spikes() -> list[np.ndarray]:
        rng = np.random.default_rng(6)
        net = en.Network(tau=0.1)
        net.source("s", 40, step=0.1)
        net.layer("h", 4, step=0.05)
        net.connect("s", "h")
        sim = en.Simulation(net)
        sim.feed("s", en.SpikeTrain(np.round(rng.random(900), 2), rng.integers(0, 40, 900)))
        return list(sim.run(until=1.0).raster.arrays())

    whole = spikes()
    monkeypatch.setattr(feeds, "BLOCK_VALUES", 1)
    for ours, theirs in zip(spikes(), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


BAD = [
    ({"mask": MASK, "fan_in": 1}, "give one of mask, edges and fan_in"),
    ({"mask": MASK[:2]}, "must be bool"),
    ({"edges": [[0, 4]]}, "counted from 0"),
    ({"edges": [[0, 1], [0, 1]]}, "is there twice"),
    ({"edges": [0, 1]}, "must be integers"),
    ({"fan_in": 4}, "from 1 to 3"),
    ({"fan_in": 2, "weights": np.zeros(8)}, "cannot be given"),
    ({"mask": MASK, "weights": np.zeros(5)}, "weights of shape"),
    ({"bounds": (1, 0)}, "the first must be below"),
    ({"bounds": (0, 1), "weights": -np.ones((3, 4))}, "must lie within bounds"),
]


@pytest.mark.parametrize(("synapses", "message"), BAD)
def test_impossible_synapses_have_one_clear_message(synapses: Any, message: str) -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 3, step=0.1)
    net.layer("h", 4, step=0.1)
    with pytest.raises(ConfigError, match=message) as caught:
        net.connect("s", "h", **synapses)
    assert "s -> h" in str(caught.value)
    assert net.projections == []


def test_impossible_spike_trains_have_one_clear_message() -> None:
    with pytest.raises(DataError, match="must be as many"):
        en.SpikeTrain([0.1], [1, 2])
    with pytest.raises(DataError, match="finite"):
        en.SpikeTrain([np.nan], [1])
    with pytest.raises(DataError, match="whole numbers"):
        en.SpikeTrain([0.1], [1.5])
    with pytest.raises(DataError, match="neurons >= 0"):
        en.SpikeTrain([0.1], [-1])
    net = en.Network(tau=0.1)
    net.source("s", 2)
    net.sensor("r", 2, step=0.1)
    sim = en.Simulation(net)
    with pytest.raises(DataError, match="its size is 2"):
        sim.feed("s", en.SpikeTrain([0.1], [2]))
    with pytest.raises(ConfigError, match="it is a sensor, not a source"):
        sim.feed("r", en.SpikeTrain([0.1], [1]))
    with pytest.raises(ConfigError, match="it is a source, not a sensor"):
        sim.feed("s", en.Periodic(np.zeros((3, 2)), rate=10))
    with pytest.raises(ConfigError, match="no signal"):
        sim.probe("s", rate=10)


def two_steps(engine: str, own: float, projections: float | None, lr: float) -> Any:
    """Two sensors on one layer; the second projection may ask for an error step of its own."""
    rng = np.random.default_rng(9)
    net = en.Network(tau=0.1)
    net.sensor("wide", 6, step=0.1)
    net.sensor("fast", 2, step=0.1)
    net.layer("h", 4, step=0.1, error_step=own, error_tau=0.15, bias=0.2)
    net.output("y", 1, error_step=0.02)
    net.connect("fast", "h", weights=rng.normal(0, 1, (2, 4)), plastic=lr == 0.0)
    net.connect("wide", "h", weights=rng.normal(0, 1, (6, 4)), error_step=projections)
    net.connect("h", "y", weights=rng.normal(0, 1, (4, 1)))
    sim = en.Simulation(net, plasticity=en.STDP(lr), engine=engine)
    for name, rate in (("wide", 10), ("fast", 50)):
        size = net.population(name).size
        sim.feed(name, en.Periodic(rng.normal(0, 1, (rate, size)), rate=rate))
    sim.teach("y", en.Periodic(rng.normal(0, 1, 20), rate=20))
    return sim, sim.run(until=1.0)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_projection_hears_errors_of_its_own_step(engine: str) -> None:
    _, both = two_steps(engine, 0.01, 0.08, lr=0.0)
    rasters = {name: both.raster.select(name).arrays() for name in ("h.error", "h.error@0.08")}
    for name, step in (("h.error", 0.01), ("h.error@0.08", 0.08)):
        _, one = two_steps(engine, step, None, lr=0.0)
        alone = one.raster.select("h.error").arrays()
        for column in ("neuron", "count"):
            np.testing.assert_array_equal(getattr(rasters[name], column), getattr(alone, column))
        # A crossing of one coder brings the other to the same time: that rounds differently.
        np.testing.assert_allclose(rasters[name].time, alone.time, rtol=1e-13)
    fine, coarse = (np.abs(raster.count).sum() for raster in rasters.values())
    assert fine > 3 * coarse > 100
    for name, quanta in (("fast -> h", fine), ("wide -> h", coarse)):
        sensor = name.split()[0]
        sent = np.abs(both.raster.select(sensor).arrays().count).sum()
        size = {"fast": 2, "wide": 6}[sensor]
        assert both.cost.projections[name]["update"].additions == quanta * size + sent * 4


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_step_that_all_who_learn_ask_for_is_the_populations(engine: str) -> None:
    sim, run = two_steps(engine, 0.01, 0.08, lr=0.3)
    whole, same = two_steps(engine, 0.08, None, lr=0.3)
    np.testing.assert_array_equal(sim.weights("wide -> h"), whole.weights("wide -> h"))
    other, _ = two_steps(engine, 0.01, None, lr=0.3)
    assert not np.array_equal(sim.weights("wide -> h"), other.weights("wide -> h"))
    assert "h.error" not in run.raster.populations
    names = {"h.error@0.08": "h.error"}
    assert {names.get(name, name) for name in run.raster.populations} == {*same.raster.populations}


def test_an_error_step_of_a_projection_is_positive_and_not_for_a_clock() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.1)
    net.output("y", 1, error_step=0.1)
    with pytest.raises(ConfigError, match=r"error_step=0.0 on s -> y: must be positive"):
        net.connect("s", "y", error_step=0.0)

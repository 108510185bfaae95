"""Large populations with sparse input: a delivery touches the neurons that it reaches, and no others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from networks import Case, local_from, plan_of, simulate

import eventnet as en
from eventnet.engine import equations as eq
from eventnet.engine.compiled import CompiledEngine
from eventnet.engine.local import BLOCK, ascend
from eventnet.errors import Diverged

TAU = 0.02


def case(seed: int, rule: Any, local: int = 1, pause: float = 0.0, bias: bool = False) -> Case:
    """Spikes in packets, a pause of so many seconds, spikes; all input sparse, one loop, two coders."""
    rng = np.random.default_rng(seed)
    net = en.Network(tau=TAU)
    net.source("s", 5, step=0.2)
    activation = ("relu", "leaky", "identity")[seed % 3]
    net.layer("h", 9, step=0.1, error_step=0.1, activation=activation, threshold=1 - seed % 2 / 2)
    net.layer("g", 6, step=0.1, error_step=0.1)
    net.output("y", 5, error_step=0.3, bias=rng.normal(0, 0.3, 5) * bias)
    net.connect("s", "h", fan_in=2)
    net.connect("h", "g", fan_in=3)
    net.connect("g", "y", fan_in=2, error_step=0.2)
    net.connect("s", "y", fan_in=2, delay=0.01)
    loop = rng.normal(0, 0.1, 9)
    ring = [(i, (i + 1) % 9) for i in range(9)]
    net.connect("h", "h", edges=ring, weights=loop, delay=0.013, error_delay=0.01)
    times = np.sort(np.round(rng.random(120), 2)) * 1.5
    times[60:] += pause
    spikes = en.SpikeTrain(times, rng.integers(0, 5, 120), rng.choice([-2, -1, 1, 1, 3], 120))
    targets = en.Recording(np.arange(8) * 0.4, rng.normal(0, 1, (8, 5)))
    return Case(net, {0: spikes, 3: targets}, rule, seed, local=local, until=3.0 + pause)


@pytest.mark.parametrize("seed", range(6))
def test_engines_agree_over_times_in_which_the_clocks_are_set_forward(seed: int) -> None:
    rule = (en.STDP(0.3), en.Past(0.3))[seed % 2]
    pause = (0.0, eq.CLOCK_PERIOD * TAU, 3 * eq.CLOCK_PERIOD * TAU)[seed % 3]
    one = case(seed, rule, pause=pause, bias=seed > 3)
    assert plan_of(one).local == (False, True, True, True)
    spikes, weights, compiled = simulate("compiled", one)
    others, theirs, actors = simulate("actors", one)
    compiled._check()
    actors._check()
    assert compiled._state.population["clock"][1] > 0  # it was set forward
    for a, b in zip([*spikes, *weights], [*others, *theirs], strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(compiled.counters, actors.counters, strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_is_the_same_network_as_one_that_is_touched_as_a_whole() -> None:
    (times, *what), weights, engine = simulate("compiled", case(1, en.STDP(0.3)))
    (times_too, *what_too), weights_too, whole = simulate("compiled", case(1, en.STDP(0.3), 10_000))
    assert engine.plan.local != whole.plan.local
    np.testing.assert_allclose(times, times_too, rtol=1e-9)
    for a, b in zip(what, what_too, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(weights, weights_too, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-12)
    for p in (1, 2, 3):
        np.testing.assert_allclose(engine.read(p, 3.0), whole.read(p, 3.0), rtol=1e-7, atol=1e-12)


def test_what_nothing_reaches_stays_as_it_is() -> None:
    net = en.Network(tau=TAU)
    net.source("s", 2)
    net.layer("h", 4, step=0.1)
    net.connect("s", "h", edges=[(0, 0), (0, 1), (1, 2), (1, 3)], weights=[0.04] * 4)
    with local_from(1):
        sim = en.Simulation(net)
    sim.feed("s", en.SpikeTrain([0.0, 0.1, 0.2], [0, 1, 1]))
    sim.run(until=0.05)
    engine = sim._engine
    assert isinstance(engine, CompiledEngine)
    before = engine.cells(1)[:, :2].copy()
    assert before.all()
    sim.run(until=0.3)
    np.testing.assert_array_equal(engine.cells(1)[:, :2], before)
    assert engine.cells(1)[:, 2:].all()


def test_populations_in_which_something_happens_between_arrivals_are_touched_as_a_whole() -> None:
    net = en.Network(tau=TAU)
    net.source("s", 3)
    net.source("slow", 3, tau=1.0)
    net.layer("plain", 4, step=0.1)
    net.layer("biased", 4, step=0.1, bias=[0.0, 0.0, 0.1, 0.0])
    net.layer("curved", 4, step=0.1)
    net.layer("dense", 4, step=0.1)
    net.layer("alone", 4, step=0.1)
    net.output("squared", 4, error_step=0.1)
    net.output("other", 4, error_step=0.1, error_tau=0.5)
    net.output("softmax", 4, error_step=0.1, loss="softmax")
    for name in ("plain", "biased", "squared", "other", "softmax"):
        net.connect("s", name, fan_in=2, plastic=name not in ("plain", "biased"))
    net.connect("slow", "curved", fan_in=2, plastic=False)
    net.connect("s", "dense", plastic=False)

    def local(rule: Any, neurons: int) -> list[str]:
        found = plan_of(Case(net, {}, rule, 0, local=neurons)).local
        return [p.name for p, is_local in zip(net.populations, found, strict=True) if is_local]

    assert local(en.STDP(lr=0.1), 4) == ["plain", "squared"]
    assert local(None, 4) == ["plain", "squared", "other", "softmax"]
    assert local(None, 5) == []


@pytest.mark.parametrize("neurons", [4, BLOCK + 1])  # listed, or in blocks
def test_arrivals_that_are_no_numbers_diverge_and_leave_nothing(neurons: int) -> None:
    net = en.Network(tau=TAU)
    net.source("s", 40)
    net.layer("h", neurons, step=0.1)
    edges = [(i, j) for i in range(40) for j in range(i % 4, neurons, 4)]
    # inf - inf: each sum is NaN from its second spike on.
    weights = [1e308 * (-1) ** (i // 4) for i, _ in edges]
    net.connect("s", "h", edges=edges, weights=weights)
    with local_from(1):
        sim = en.Simulation(net)
    sim.feed("s", en.SpikeTrain(np.zeros(40), np.arange(40), np.full(40, 1000)))
    with pytest.raises(Diverged, match="population 'h'"):
        sim.run(until=1.0)
    assert np.isnan(sim._engine._scratch.arrived[:neurons]).all()


@pytest.mark.parametrize("shared", [False, True])
def test_engines_agree_where_a_packet_is_delivered_in_blocks(shared: bool) -> None:
    one = pixels() if shared else blocks()
    spikes, _, compiled = simulate("compiled", one)
    others, _, actors = simulate("actors", one)
    compiled._check()
    actors._check()
    for a, b in zip(spikes, others, strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(compiled.counters, actors.counters, strict=True):
        np.testing.assert_array_equal(a, b)
    sent = spikes[2][spikes[1] == 2]
    assert sent.min() < BLOCK < sent.max()


def blocks() -> Case:
    """A layer of more than one block, reached by two sources, one of them late; few spikes, then many."""
    rng = np.random.default_rng(0)
    net = en.Network(tau=TAU)
    net.source("s", 8, step=0.2)
    net.source("d", 4, step=0.2)
    net.layer("h", BLOCK + 1000, step=0.05)
    net.connect("s", "h", fan_in=2)
    net.connect("d", "h", fan_in=1, delay=0.01)
    times = np.repeat([0.0, 0.01, 0.02], [1, 8, 4])
    trains = {
        0: en.SpikeTrain(times, np.r_[0, :8, :4], rng.choice([-2, -1, 1, 3], 13)),
        1: en.SpikeTrain(np.zeros(4), np.arange(4), np.ones(4)),
    }
    return Case(net, trains, None, 0, local=1, until=0.1)


def pixels() -> Case:
    """Kernels that make an image of more than one block of small ones; few spikes, then many."""
    rng = np.random.default_rng(0)
    channels = (BLOCK + 1000) // 16
    net = en.Network(tau=TAU)
    net.source("s", (5, 5, 1), step=0.2)
    net.source("d", (4, 4, 1), step=0.2)
    net.layer("h", (4, 4, channels), step=0.05)
    net.connect("s", "h", kernel=2)
    net.connect("d", "h", kernel=1, delay=0.01)
    times = np.repeat([0.0, 0.01, 0.02], [1, 25, 4])
    trains = {
        0: en.SpikeTrain(times, np.r_[0, :25, :4], rng.choice([-2, -1, 1, 3], 30)),
        1: en.SpikeTrain(np.zeros(4), np.arange(4), np.ones(4)),
    }
    return Case(net, trains, None, 0, local=1, until=0.1)


def test_all_that_an_error_needs_of_a_neuron_lies_in_one_line_of_the_cache() -> None:
    engine = simulate("compiled", case(1, en.STDP(0.3)))[2]
    record, cells = engine._net.population[3], engine._state.cells
    assert record["stride"] == 8
    assert (cells.ctypes.data + cells.itemsize * engine._net.cell_first[3]) % 64 == 0


def test_a_projection_without_synapses_is_silent() -> None:
    spikes, weights, _ = simulate("compiled", empty())
    others, theirs, _ = simulate("actors", empty())
    assert weights[0].shape == theirs[0].shape == (0,)
    for a, b in zip(spikes, others, strict=True):
        np.testing.assert_array_equal(a, b)
    assert set(spikes[1]) == {0}


def empty() -> Case:
    """A population all of whose input is a sparse projection that has no synapse."""
    net = en.Network(tau=TAU)
    net.source("s", 3)
    net.layer("h", 4, step=0.1)
    net.connect("s", "h", mask=np.zeros((3, 4), dtype=bool), plastic=False)
    spikes = en.SpikeTrain([0.0, 0.1, 0.2], [0, 1, 2])
    return Case(net, {0: spikes}, en.STDP(0.3), 0, local=1)


def test_those_that_leave_are_sorted() -> None:
    rng = np.random.default_rng(0)
    for n in (0, 1, 2, 3, 7, 64, 100):
        values = rng.permutation(100)[:n].astype(np.int64)
        expected = np.sort(values)
        ascend(values, n, np.zeros(100, dtype=np.int64))
        np.testing.assert_array_equal(values, expected)


def test_a_held_trace_is_the_faded_one_and_keeps_its_sign() -> None:
    held, u = 0.0, 0.0
    for age, arrived in ((0.1, 0.3), (0.4, -0.5), (2.0, 0.2)):
        factor = eq.decay(age, TAU)
        u = held * factor + arrived
        held = eq.hold(held, factor, arrived)
        assert held * factor == pytest.approx(u, rel=1e-12)
    assert eq.set_forward(-1.0, 1e-300) == -eq.FAINT
    assert eq.set_forward(0.0, 1e-300) == 0.0
    assert eq.set_forward(2.0, 0.25) == 0.5

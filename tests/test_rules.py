"""The contract that every learning rule keeps, in every engine that has it."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import eventnet as en

RULES: list[en.Rule] = [
    en.STDP(0.2),
    en.STDP(0.2, cap=None),
    en.Past(0.2),
    en.Reconstruction(0.2),
    en.TrueGradient(0.2),
    en.PairSTDP(1e-3),
]
EACH = [
    pytest.param(rule, engine, id=f"{rule.name}-{rule.__dict__.get('cap', '')}-{engine}")
    for rule, engine in itertools.product(RULES, ("compiled", "actors"))
    if rule.compiled or engine == "actors"
]
each_rule = pytest.mark.parametrize(("rule", "engine"), EACH)


def build(
    rule: en.Rule, engine: str, *, teach: bool = True, step: float = 0.1, taus: Any = (0.1, 0.05)
) -> en.Simulation:
    rng = np.random.default_rng(4)
    net = en.Network(tau=taus[0])
    net.sensor("s", 3, step=step, tau=taus[1])
    net.layer("h", 6, step=step, error_step=step / 2, bias=rng.normal(0, 0.2, 6))
    net.output("y", 2, error_step=step / 2)
    net.connect("s", "h", mask=rng.random((3, 6)) < 0.8, bounds=(-1.5, 1.5))
    net.connect("h", "y")
    sim = en.Simulation(net, plasticity=rule, engine=engine, seed=2)
    sim.feed("s", en.Periodic(rng.normal(0, 1, (60, 3)), rate=40))
    targets = en.Periodic(rng.normal(0, 0.5, (16, 2)), rate=10)
    if teach:
        sim.teach("y", targets)
    return sim


def weights(sim: en.Simulation) -> list[np.ndarray]:
    return [sim.weights(q) for q in sim.network.projections]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@each_rule
def test_inference_changes_nothing(rule: en.Rule, engine: str) -> None:
    sim = build(rule, engine)
    before = weights(sim)
    sim.learning = False
    sim.run(until=1.0)
    sim.finish()
    assert same(weights(sim), before)
    other = build(rule, engine)
    other.run(until=1.0)
    assert not same(weights(other), before)  # the rule does learn here


@each_rule
def test_without_a_target_nothing_changes(rule: en.Rule, engine: str) -> None:
    sim = build(rule, engine, teach=False)
    before = weights(sim)
    sim.run(until=1.0)
    sim.finish()
    assert same(weights(sim), before) == rule.error_driven  # pair STDP needs no teacher


@each_rule
def test_state_round_trip(rule: en.Rule, engine: str) -> None:
    whole = build(rule, engine)
    whole.run(until=0.7)
    saved = whole.state()
    rest = whole.run(until=1.4)
    again = build(rule, engine)
    again.restore(saved)
    resumed = again.run(until=1.4)
    for ours, theirs in zip(resumed.raster.arrays(), rest.raster.arrays(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole.finish()
    again.finish()
    assert same(weights(again), weights(whole))


def held(value: Any) -> int:
    """Numbers that a state holds."""
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, dict):
        return sum(held(v) for v in value.values())
    if isinstance(value, list | tuple):
        return sum(held(v) for v in value)
    return 1


@each_rule
def test_memory_is_bounded(rule: en.Rule, engine: str) -> None:
    sim = build(rule, engine)
    sizes = []
    for until in (0.4, 0.8, 1.2, 1.6):
        sim.run(until=until)
        synapses = sim.state()["engine"]
        kept = synapses["synapses"] if engine == "actors" else synapses["state"]
        sizes.append(held(kept))
    assert len(set(sizes)) == 1


@each_rule
def test_reproducible(rule: en.Rule, engine: str) -> None:
    found = []
    for _ in range(2):
        sim = build(rule, engine)
        raster = sim.run(until=1.0).raster.arrays()
        found.append([*raster, *weights(sim)])
    assert same(*found)


@pytest.mark.parametrize("engine", ["compiled", "actors"])
@pytest.mark.parametrize("taus", [(0.1, 0.1), (0.1, 0.03), (0.05, 0.2)])
def test_efficient_rules_sum_to_the_reconstruction(engine: str, taus: tuple[float, float]) -> None:
    # At a vanishing rate weights that begin at 0 move no spike, and keep all their digits.
    def change(rule: en.Rule) -> np.ndarray:
        rng = np.random.default_rng(6)
        net = en.Network(tau=taus[0])
        net.source("x", 3, step=0.1, tau=taus[1])
        net.output("y", 2, error_step=0.05)
        net.connect("x", "y", weights=np.zeros((3, 2)))
        sim = en.Simulation(net, plasticity=rule, engine=engine)
        train = en.SpikeTrain(
            np.round(rng.random(300), 2), rng.integers(0, 3, 300), rng.choice([-2, -1, 1, 3], 300)
        )
        sim.feed("x", train)
        sim.teach("y", en.Periodic(rng.normal(0, 1, (25, 2)), rate=25))
        begin = sim.weights("x -> y")
        sim.run(until=1.0)
        sim.finish()
        return (sim.weights("x -> y") - begin) / rule.lr

    tiny = 1e-14
    expected = change(en.Reconstruction(tiny))
    assert np.abs(expected).max() > 0.01  # it is about something
    for rule in (en.STDP(tiny), en.Past(tiny)):
        np.testing.assert_allclose(change(rule), expected, rtol=1e-12, atol=1e-13)


def test_true_gradient_is_the_limit_of_small_steps() -> None:
    def moved(rule: en.Rule, step: float) -> np.ndarray:
        sim = build(rule, "actors", step=step)
        before = weights(sim)
        sim.run(until=0.5)
        return np.concatenate([(a - b).ravel() for a, b in zip(weights(sim), before, strict=True)])

    exact = moved(en.TrueGradient(0.2), 0.01)
    far, near = (
        np.linalg.norm(moved(en.Reconstruction(0.2), step) - exact) / np.linalg.norm(exact)
        for step in (0.2, 0.02)
    )
    assert near < 0.5 * far


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_pair_stdp_by_hand(engine: str) -> None:
    net = en.Network(tau=1e9)
    net.source("pre", 2, step=1.0)
    net.layer("post", 1, step=1.0, activation="identity")
    net.connect("pre", "post", weights=[[1.0], [0.0]])
    rule = en.PairSTDP(lr=0.01, a_plus=1.0, a_minus=0.5, tau_plus=0.02, tau_minus=0.04)
    sim = en.Simulation(net, plasticity=rule, engine=engine)
    # Neuron 0 makes the target fire at once; neuron 1 fires 10 ms before and 30 ms after.
    sim.feed("pre", en.SpikeTrain([0.1, 0.11, 0.14], [1, 0, 1]))
    sim.run(until=0.2)
    together, around = sim.weights("pre -> post")[:, 0] - [1.0, 0.0]
    assert together == pytest.approx(0.01)  # cause before effect
    expected = 0.01 * (np.exp(-0.01 / 0.02) - 0.5 * np.exp(-0.03 / 0.04))
    assert around == pytest.approx(expected, rel=1e-12)


def test_pair_stdp_may_be_one_sided_but_not_reversed() -> None:
    for name in ("a_plus", "a_minus"):
        assert getattr(en.PairSTDP(lr=0.1, **{name: 0.0}), name) == 0.0
        with pytest.raises(en.ConfigError, match=f"{name}=-1.*: must be positive"):
            en.PairSTDP(lr=0.1, **{name: -1.0})


def test_a_rule_of_ten_lines_runs_in_the_reference_engine_only() -> None:
    class Hebb(en.Rule):
        def change(self, synapses: Any, x: dict[int, float], e: dict[int, float]) -> None:
            for i, amount in x.items():
                for j in synapses.targets[i]:
                    synapses.add(i, j, -synapses.lr * amount * synapses.memory.e_hat[j])

    sim = build(Hebb(0.2), "actors")
    before = weights(sim)
    sim.run(until=1.0)
    assert not same(weights(sim), before)
    assert all(np.abs(sim.weights("s -> h")) <= 1.5)
    with pytest.raises(en.ConfigError, match="Hebb runs in the reference engine only"):
        build(Hebb(0.2), "compiled")

"""STDP against the integral of the two decoded traces (Eq. 13 and 20, corrected)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ticks import reconstruction

import eventnet as en
from eventnet.engine.synapses import Synapses
from eventnet.network import Population, Projection


def synapses(tau_x: float, tau_e: float, step_x: float, step_e: float, rule: en.STDP) -> Synapses:
    def population(name: str, kind: str, size: int) -> Population:
        return Population(
            name=name,
            index=0,
            kind=kind,  # type: ignore[arg-type]
            size=size,
            tau=tau_x,
            error_tau=tau_e,
            step=step_x,
            error_step=step_e,
            threshold=0.5,
            activation="identity",
            leak=1.0,
            bias=np.zeros(size),
        )

    projection = Projection(population("x", "sensor", 3), population("e", "output", 2), 0, None)
    pre, post = np.indices((3, 2)).reshape(2, -1)
    return Synapses(projection, (pre, post), np.zeros((3, 2)), rule, rule.lr, 0.0, np.dtype(float))


def learn(synapses: Synapses, *arrived: Any) -> bool:
    """Let the projection's rule run once: time, spikes, errors."""
    assert synapses.rule is not None
    synapses.rule.gauge(synapses, *arrived[:2])
    return synapses.rule.learn(synapses, *arrived)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(0.1, 0.1), (0.02, 0.3), (0.5, 0.07)]),
    st.sampled_from([(0.5, 0.1), (0.03, 2.0)]),
)
def test_stdp_sums_to_the_reconstruction(
    seed: int, taus: tuple[float, float], steps: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    # Half of the 50 instants carry spikes on both sides; counts reach 3, of either sign.
    times = np.sort(rng.random(50))
    x = rng.integers(-3, 4, (50, 3)) * (rng.random((50, 1)) < 0.7)
    e = rng.integers(-3, 4, (50, 2)) * (rng.random((50, 1)) < 0.7)
    assert (x.any(axis=1) & e.any(axis=1)).sum() >= 5
    synapse = synapses(*taus, *steps, en.STDP(lr=1.0, cap=None))
    for t, counts, errors in zip(times, x, e, strict=True):
        learn(
            synapse,
            float(t),
            [(i, float(c)) for i, c in enumerate(counts) if c],
            [(j, float(c)) for j, c in enumerate(errors) if c],
        )
    # stdp books the whole future area at once: integrate until nothing is left of it.
    until = 1.0 + 60 * max(taus)
    area = reconstruction(times, x, times, e, *steps, *taus, until)
    scale = np.abs(area).max() + 1e-3 * steps[0] * steps[1]
    np.testing.assert_allclose(synapse.weights, -area, atol=1e-12 * max(scale, 1), rtol=1e-12)


def test_a_coincident_pair_counts_once() -> None:
    synapse = synapses(0.1, 0.1, 1.0, 1.0, en.STDP(lr=1.0, cap=None))
    learn(synapse, 0.5, [(0, 2.0)], [(1, 3.0)])
    np.testing.assert_allclose(synapse.weights, [[0, -0.05 * 6], [0, 0], [0, 0]], rtol=1e-15)


def test_the_guard_holds_the_rate_and_says_so() -> None:
    free = synapses(0.1, 0.1, 1.0, 1.0, en.STDP(lr=50.0, cap=None))
    held = synapses(0.1, 0.1, 1.0, 1.0, en.STDP(lr=50.0, cap=0.5))
    spikes, errors = [(0, 4.0)], [(0, 1.0)]
    assert not learn(free, 0.1, spikes, errors)
    assert learn(held, 0.1, spikes, errors)
    # lr*c*N = 50*.05*16 = 40: the cap of .5 leaves an eightieth.
    assert held.weights[0, 0] == pytest.approx(free.weights[0, 0] / 80)
    assert free.memory.power == held.memory.power == free.memory.jumps == 16


INPUTS = {
    "positive": lambda rng: np.abs(rng.normal(0, 1, (400, 5))),
    "random directions": lambda rng: rng.normal(0, 1, (400, 5)),
    "flips": lambda rng: rng.normal(0, 1, 5) * np.where(np.arange(400) % 2, 1.0, -1.0)[:, None],
    "random sizes": lambda rng: rng.normal(0, 1, (400, 1)),
    "on and off": lambda rng: np.where(np.arange(400) % 2, 2.0, 0.0)[:, None],
}


@pytest.mark.parametrize("inputs", INPUTS)
@pytest.mark.parametrize("hold", [0.2, 1.0])
def test_the_guard_keeps_jumping_inputs_stable(inputs: str, hold: float) -> None:
    """Inputs that jump every .2 tau diverge at G = lr*c*|x|^2 = 2; guarded they learn, also at 64."""
    tau = 0.1
    x = INPUTS[inputs](np.random.default_rng(0))
    x /= np.sqrt((x**2).sum(axis=1).mean())
    target = x @ np.random.default_rng(1).normal(0, 1, (x.shape[1], 1))
    scale = float(np.abs(target).mean())

    def error(gain: float, cap: float | None) -> float:
        net = en.Network(tau=tau)
        net.sensor("x", x.shape[1], step=0.01)
        net.output("y", 1, error_step=0.01)
        net.connect("x", "y", weights=np.zeros((x.shape[1], 1)))
        sim = en.Simulation(net, plasticity=en.STDP(lr=gain / (tau / 2), cap=cap))
        rate = 1 / (hold * tau)
        sim.feed("x", en.Periodic(x, rate=rate))
        sim.teach("y", en.Periodic(target, rate=rate))
        sim.probe("y", times=(np.arange(400) + 0.5) / rate)
        try:
            run = sim.run(until=400 / rate)
        except en.Diverged:
            return np.inf
        if cap is not None:
            assert 0.05 < run.cost.guarded["x -> y"] <= 1
        return float(np.abs(run.output("y").values - target)[-50:].mean())

    for gain in (2.0, 8.0, 64.0):
        assert error(gain, 0.5) < 0.1 * scale
    if hold == 0.2:
        assert error(2.0, None) > 10 * scale

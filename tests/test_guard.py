"""Inputs held a fifth of tau at gains of 1 to 32: the guard keeps STDP finite, and says how often.

The gain is ``G = lr*c*|x|^2*curvature``; here the output is linear, with curvature 1, and |x|^2 the mean
over readings. Without a guard the limit is G = .1 for an input that flips its sign (docs/theory.md).
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

import eventnet as en
from eventnet.report import print_summary
from eventnet.scenario import Outcome, Scenario, summarize

Floats = NDArray[np.float64]

TAU = 0.1
HOLD = 0.2 * TAU
READINGS = 400
GAINS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def flips(rng: np.random.Generator) -> Floats:
    """One direction, whose sign changes from reading to reading."""
    sign: Floats = np.where(np.arange(READINGS) % 2, 1.0, -1.0)[:, None]
    return rng.normal(0, 1, 5) * sign


def random(rng: np.random.Generator) -> Floats:
    return rng.normal(0, 1, (READINGS, 5))


def falls(rng: np.random.Generator) -> Floats:
    """Every fourth reading is four times as large as the next three, of which it warns nobody."""
    size: Floats = np.where(np.arange(READINGS) % 4, 0.5, 2.0)[:, None]
    return size * rng.choice([-1.0, 1.0], (READINGS, 5))


INPUTS = {f.__name__: f for f in (flips, random, falls)}


def learner(
    inputs: str, gain: float, cap: float | None, sensors: int = 1, engine: str = "compiled"
) -> tuple[en.Simulation, Floats]:
    """Sensors of a common size that jump together onto one output, and the targets.

    Each alone has the gain.
    """
    rng = np.random.default_rng(0)
    x = INPUTS[inputs](rng)
    x /= np.sqrt((x**2).sum(axis=1).mean())
    net = en.Network(tau=TAU)
    net.output("y", 1, error_step=0.01)
    targets = np.zeros((READINGS, 1))
    for k in range(sensors):
        net.sensor(f"x{k}", x.shape[1], step=0.01)
        net.connect(f"x{k}", "y", weights=np.zeros((x.shape[1], 1)))
    c = TAU / 2
    sim = en.Simulation(net, plasticity=en.STDP(lr=gain / c, cap=cap), engine=engine)
    for k in range(sensors):
        own = x * rng.choice([-1.0, 1.0], x.shape[1])
        targets += own @ rng.normal(0, 1, (x.shape[1], 1))
        sim.feed(f"x{k}", en.Periodic(own, rate=1 / HOLD))
    sim.teach("y", en.Periodic(targets, rate=1 / HOLD))
    sim.probe("y", times=(np.arange(READINGS) + 0.5) * HOLD)
    return sim, targets


@pytest.mark.parametrize("sensors", [1, 2, 3, 6, 12])
@pytest.mark.parametrize("gain", GAINS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_guarded_learning_stays_finite_and_the_errors_fall(
    inputs: str, gain: float, sensors: int
) -> None:
    sim, targets = learner(inputs, gain, 0.5, sensors)
    run = sim.run(until=READINGS * HOLD)
    errors = np.abs(run.output("y").values - targets)
    assert np.isfinite(errors).all()
    assert all(np.isfinite(sim.weights(q)).all() for q in sim.network.projections)
    # Nothing learned, the error is the target itself.
    assert errors[-50:].mean() < 0.1 * np.abs(targets).mean()
    assert errors[-50:].mean() < errors[:50].mean() / 3
    for k in range(sensors):
        assert run.cost.guarded[f"x{k} -> y"] > 0.9


@pytest.mark.parametrize("engine", ["compiled", "actors"])
@pytest.mark.parametrize("inputs", INPUTS)
def test_the_guard_does_not_bind_at_a_small_gain(inputs: str, engine: str) -> None:
    # N and J/2 are sums over readings of the last tau or so: cap = .5 is far from G = .005.
    sim, _ = learner(inputs, 0.005, 0.5, engine=engine)
    guarded = sim.run(until=60 * HOLD)
    free, _ = learner(inputs, 0.005, None, engine=engine)
    free.run(until=60 * HOLD)
    assert guarded.cost.guarded == {"x0 -> y": 0.0}
    np.testing.assert_array_equal(sim.weights("x0 -> y"), free.weights("x0 -> y"))
    assert np.abs(sim.weights("x0 -> y")).max() > 0.01


# Far above the limit flips and random directions are stable again: a hold forgets at the rate 1 + G.
@pytest.mark.parametrize(
    ("inputs", "gain"), [(i, g) for i in INPUTS for g in GAINS if g < 32 or i == "falls"]
)
def test_without_the_guard_the_run_stops_with_time_and_population(inputs: str, gain: float) -> None:
    sim, _ = learner(inputs, gain, None)
    with pytest.raises(en.Diverged) as caught:
        sim.run(until=READINGS * HOLD)
    assert 0 < caught.value.time < READINGS * HOLD
    assert caught.value.population == "y"
    assert f"t={caught.value.time:.9g} s in population 'y'" in str(caught.value)


def summary_of(gain: float) -> tuple[dict[str, Any], float]:
    """The summary of a run of a scenario, and the share that the run itself gives."""
    sim, _ = learner("flips", gain, 0.5)
    run = sim.run(until=20 * HOLD)
    outcome = Outcome(run, metrics={})
    scenario = Scenario("flips", Path("flips.py"), "", dict, lambda parameters, session: outcome)
    summary = summarize(scenario, {"parameters": {}}, 0, "compiled", outcome)
    return summary, run.cost.guarded["x0 -> y"]


@pytest.mark.parametrize("gain", [0.0, 2.0])
def test_the_metrics_of_a_run_say_how_often_the_guard_bound(gain: float) -> None:
    summary, share = summary_of(gain)
    assert (share > 0) == (gain > 0)
    assert summary["guarded"] == {"x0 -> y": share}


def test_the_table_of_a_run_says_how_often_the_guard_bound() -> None:
    for gain in (0.0, 2.0):
        summary, share = summary_of(gain)
        printed = io.StringIO()
        print_summary(summary, None, Console(file=printed, width=80))
        assert ("guard" in printed.getvalue()) == (share > 0)
        if share > 0:
            assert f"{share:.0%}" in printed.getvalue()

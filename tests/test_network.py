"""The builder: what it builds, and what it says when something cannot be built."""

from __future__ import annotations

import numpy as np
import pytest

import eventnet as en
from eventnet.engine.plan import make_plan


def network() -> en.Network:
    net = en.Network(tau=0.1)
    net.sensor("gyro", 3, step=0.1)
    net.layer("hidden", 4, step=0.1, error_step=0.1)
    net.output("flow", 2, error_step=0.1)
    return net


@pytest.mark.parametrize("tau", [0.0, -1.0, float("nan"), float("inf")])
def test_tau_must_be_positive(tau: float) -> None:
    with pytest.raises(en.ConfigError, match=r"tau=.* s on the network: must be positive"):
        en.Network(tau=tau)


@pytest.mark.parametrize("step", [0.0, -0.5, float("nan")])
def test_steps_must_be_positive_and_the_population_is_named(step: float) -> None:
    net = en.Network(tau=0.1)
    with pytest.raises(en.ConfigError, match=r"step=.* on camera: must be positive"):
        net.sensor("camera", 3, step=step)
    with pytest.raises(en.ConfigError, match=r"error_step=.* on deep: must be positive"):
        net.layer("deep", 3, step=0.1, error_step=step)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda n: n.sensor("gyro", 1, step=1), "'gyro': already taken"),
        (lambda n: n.sensor("a b", 1, step=1), "population name 'a b'"),
        (lambda n: n.sensor("hidden.error", 1, step=1), "population name"),
        (lambda n: n.sensor("s", 0, step=1), "size=0 on s"),
        (lambda n: n.sensor("s", 2.5, step=1), "size=2.5 on s"),
        (lambda n: n.layer("l", 2, step=1, threshold=0.4), r"threshold=0.4 on l: must lie in"),
        (lambda n: n.layer("l", 2, step=1, activation="rleu"), "did you mean 'relu'"),
        (lambda n: n.layer("l", 2, step=1, bias=[1.0, 2.0, 3.0]), r"bias of shape \(3,\) on l"),
        (lambda n: n.layer("l", 2, step=1, bias=[1.0, np.inf]), "bias on l: must be finite"),
        (lambda n: n.output("o", 2, loss="squred"), "did you mean 'squared'"),
        (lambda n: n.connect("giro", "hidden"), "unknown population 'giro'; did you mean 'gyro'"),
        (lambda n: n.connect("hidden", "gyro"), "hidden -> gyro: a sensor takes no spikes"),
        (lambda n: n.connect("flow", "hidden"), "flow -> hidden: an output sends no spikes"),
        (lambda n: n.connect("gyro", "hidden", weights=np.zeros((4, 3))), r"must be \(3, 4\)"),
        (
            lambda n: n.connect("gyro", "hidden", weights=np.full((3, 4), np.nan)),
            "weights on gyro -> hidden: all must be finite",
        ),
        (lambda n: (n.connect("gyro", "hidden"), n.connect("gyro", "hidden")), "already connected"),
        (lambda n: n.projection("gyro -> flow"), "unknown projection"),
        (lambda n: n.connect(en.Network(tau=1).sensor("gyro", 3, step=1), "hidden"), "another net"),
    ],
)
def test_each_mistake_has_one_message(make: object, message: str) -> None:
    net = network()
    with pytest.raises(en.ConfigError, match=message):
        make(net)  # type: ignore[operator]
    assert len(net.populations) == 3


def test_a_zero_delay_cycle_is_named_and_not_kept() -> None:
    net = network()
    net.layer("deep", 2, step=0.1)
    net.connect("hidden", "deep")
    with pytest.raises(en.ConfigError, match="zero-delay cycle hidden -> deep -> hidden"):
        net.connect("deep", "hidden")
    with pytest.raises(en.ConfigError, match="zero-delay cycle hidden -> hidden"):
        net.connect("hidden", "hidden")
    assert len(net.projections) == 1


def test_who_learns_needs_an_error_step_and_a_way_to_an_output() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=1)
    net.layer("a", 1, step=1)
    net.layer("dead_end", 1, step=1, error_step=1)
    net.output("o", 1, error_step=1)
    net.connect("s", "a")
    net.connect("a", "o")
    with pytest.raises(en.ConfigError, match="error_step is missing on a"):
        en.Simulation(net, plasticity=en.STDP(lr=1))
    en.Simulation(net)  # without plasticity nobody needs one

    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=1)
    net.layer("dead_end", 1, step=1, error_step=1)
    net.connect("s", "dead_end")
    with pytest.raises(en.ConfigError, match="dead_end leads to no output"):
        en.Simulation(net, plasticity=en.STDP(lr=1))


def test_only_those_encode_errors_whose_error_somebody_needs() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=1)
    net.layer("fixed", 1, step=1)
    net.layer("learns", 1, step=1, error_step=1)
    net.layer("relay", 1, step=1, error_step=1)
    net.output("o", 1, error_step=1)
    net.connect("s", "fixed", plastic=False)
    net.connect("fixed", "learns")
    net.connect("learns", "relay", plastic=False)
    net.connect("relay", "o", plastic=False)
    plan = make_plan(net, en.STDP(lr=1), np.random.default_rng(0))
    assert plan.has_error == (False, False, True, True, True)
    assert plan.plastic == (False, True, False, False)


def test_order_is_topological_with_ties_by_creation() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=1)
    for name in ("c", "b", "a"):
        net.layer(name, 1, step=1)
    net.connect("s", "b")
    net.connect("b", "c")
    net.connect("s", "a")
    plan = make_plan(net, None, np.random.default_rng(0))
    assert [net.populations[k].name for k in plan.order] == ["b", "c", "a"]


def test_drawn_weights_have_the_announced_variance_and_follow_the_seed() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 300, step=1)
    net.layer("h", 200, step=1)
    net.connect("s", "h")
    first, again, other = (en.Simulation(net, seed=k).weights("s->h") for k in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    # The standard error of a variance is var*sqrt(2/n): five of them.
    assert first.var() == pytest.approx(2 / 500, rel=5 * np.sqrt(2 / first.size))


def test_an_empty_network_cannot_run() -> None:
    with pytest.raises(en.ConfigError, match="no populations"):
        en.Simulation(en.Network(tau=1.0))

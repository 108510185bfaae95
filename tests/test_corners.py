"""Corners that random networks rarely come to, on small ones: both engines say and do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import eventnet as en
from eventnet.engine import ENGINES, make_engine
from eventnet.engine import compiled as compiled_engine
from eventnet.engine.plan import make_plan
from eventnet.plasticity import stdp

Drive = Callable[[Any], None]


def spikes(net: en.Network, rule: en.Rule | None, drive: Drive) -> list[np.ndarray]:
    """Drive a network in both engines, which must agree: spikes, weights, outputs at the last instant."""
    found = []
    for name in ENGINES:
        batches: list[Any] = []
        sink = lambda *batch, kept=batches: kept.append(batch)  # noqa: E731
        engine = make_engine(name, make_plan(net, rule, np.random.default_rng(0)), sink)
        drive(engine)
        outputs = [engine.read(p.index, engine.now) for p in net.populations if p.kind == "output"]
        weights = [engine.weights(q) for q in range(len(net.projections))]
        columns = [np.concatenate(column) for column in zip(*batches, strict=True)]
        found.append([*columns, *weights, *outputs])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    return found[0]


def diverged(net: en.Network, rule: en.Rule | None, drive: Drive) -> tuple[str, int, str]:
    """Drive a network until it diverges, in both engines; return where and why."""
    found = set()
    for name in ENGINES:
        plan = make_plan(net, rule, np.random.default_rng(0))
        engine = make_engine(name, plan, lambda *batch: None)
        with pytest.raises(en.Diverged) as caught:
            drive(engine)
        error = caught.value
        found.add((error.population, error.neuron, error.time, str(error)))
    assert len(found) == 1
    population, neuron, time, message = found.pop()
    assert time == 0.5
    return population, neuron, message


def jump(engine: Any) -> None:
    """One reading, at .5 s."""
    engine.write(0, np.ones(2), 0.5)
    engine.advance(1.0)


@pytest.mark.parametrize("bias", [0.0, 0.3])
@pytest.mark.parametrize("weight", [1e305, -1e305, np.finfo(float).max])
def test_of_a_layer_the_neuron_that_breaks_is_named(weight: float, bias: float) -> None:
    # Of the negative ones nothing is encoded: the state itself is out of range.
    net = en.Network(tau=0.1)
    net.sensor("s", 2, step=0.1)
    net.layer("first", 3, step=0.1, bias=bias)
    net.layer("second", 4, step=0.1, bias=bias)
    net.connect("s", "first", weights=np.full((2, 3), 0.1))
    weights = np.full((2, 4), 0.5)
    weights[:, 2] = weight
    net.connect("s", "second", weights=weights)
    population, neuron, message = diverged(net, None, jump)
    assert (population, neuron) == ("second", 2)
    assert "its state is not finite" in message or "at once" in message


@pytest.mark.parametrize("taught", [False, True])
def test_of_an_output_the_neuron_that_breaks_is_named(taught: bool) -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 2, step=0.1)
    net.output("y", 4, error_step=0.1)
    weights = np.full((2, 4), 0.5)
    weights[:, 3] = np.finfo(float).max
    net.connect("s", "y", weights=weights)
    assert diverged(net, en.STDP(lr=0.0) if taught else None, jump)[:2] == ("y", 3)


def test_of_a_softmax_the_neuron_whose_error_storms_is_named() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 2, step=0.1)
    net.output("y", 5, loss="softmax", error_step=3e-8)
    net.connect("s", "y", weights=np.zeros((2, 5)))

    def drive(engine: Any) -> None:
        # At .2 each: .2/3e-8 is not out of range; .8/3e-8 is.
        engine.write(1, np.eye(5)[3], 0.5)
        engine.advance(1.0)

    population, neuron, message = diverged(net, en.STDP(lr=0.0), drive)
    assert (population, neuron) == ("y", 3)
    assert "at once" in message


@pytest.mark.parametrize("written", [False, True])
@pytest.mark.parametrize("loss", ["squared", "softmax"])
def test_targets_of_many_outputs_behind_one_sensor(loss: Any, written: bool) -> None:
    """Recorded or written one by one, on an output whose neurons outnumber all before it."""
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.05)
    net.output("y", 5, loss=loss, error_step=0.02)
    net.connect("s", "y", weights=np.linspace(-0.5, 0.5, 5)[None])
    targets = np.eye(5)[[3, 1, 4, 0, 2, 3, 3]]
    times = 0.05 + 0.1 * np.arange(len(targets))

    def drive(engine: Any) -> None:
        engine.feed(0, en.Recording(times - 0.02, np.cos(times)))
        if not written:
            engine.feed(1, en.Recording(times, targets))
        for time, target in zip(times, targets, strict=True):
            if written:
                engine.write(1, target, time)
            engine.advance(time + 0.07)

    *_, weights, outputs = spikes(net, en.STDP(lr=0.5), drive)
    assert not np.allclose(weights[0], np.linspace(-0.5, 0.5, 5), atol=0.01)
    assert np.ptp(outputs) > 0.05


def test_a_reading_at_the_moment_of_the_sensors_own_spike() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.1)
    net.layer("h", 1, step=0.01)
    net.connect("s", "h", weights=[[1.0]])
    rng = np.random.default_rng(0)
    for _ in range(30):
        first, second = rng.uniform(0.3, 1.0, 2)

        def held(engine: Any, first: float = first) -> None:
            engine.feed(0, en.Recording([0.0], [first]))
            engine.advance(0.2)

        time, population, *_ = spikes(net, None, held)
        own = rng.choice(time[(population == 0) & (time > 0)])

        def read(engine: Any, at: float = own, values: Any = (first, second)) -> None:
            engine.feed(0, en.Recording([0.0, at], values))
            engine.advance(0.4)

        time, population, _, quanta, *_ = spikes(net, None, read)
        # The spike is sent and the jump encoded in one: what was decoded then is within a step.
        own_quanta = quanta[(population == 0) & (time <= own)].sum()
        before = quanta[(population == 0) & (time < own)].sum()
        assert own_quanta - before == pytest.approx((second - first) / 0.1 + 1, abs=1)


def test_an_output_decodes_each_time_constant_by_its_own_traces() -> None:
    net = en.Network(tau=0.1)
    taus = (0.03, 0.1, 0.4)
    net.layer("h", 3, step=0.1, bias=0.1)
    for k, tau in enumerate(taus):
        net.sensor(f"s{k}", 1, step=0.1, tau=tau)
        net.connect(f"s{k}", "h", weights=np.full((1, 3), 0.2))
    net.output("y", 3)
    weights = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    for k in range(3):
        net.connect(f"s{k}", "y", weights=weights[k : k + 1])

    def drive(engine: Any) -> None:
        for k in range(3):
            engine.feed(1 + k, en.Recording([0.1 * k], [0.5 + 0.3 * k]))
        engine.advance(0.6)

    time, population, _, quanta, *_, outputs = spikes(net, None, drive)
    traces = [
        (quanta * 0.1 * np.exp(-(time[-1] - time) / tau))[population == 1 + k].sum()
        for k, tau in enumerate(taus)
    ]
    np.testing.assert_allclose(outputs, np.array(traces) @ weights, rtol=1e-12)


def test_rows_that_wait_are_whole_when_several_are_read_at_once() -> None:
    """Of wide projections, one behind the other, whose sources fire together."""
    rng = np.random.default_rng(0)
    net = en.Network(tau=0.1)
    net.sensor("s", 9, step=0.1)
    net.layer("h", stdp.WIDE, step=0.1, error_step=0.02)
    net.output("y", stdp.WIDE + 3, error_step=0.02)
    net.connect("s", "h", weights=rng.normal(0, 0.5, (9, stdp.WIDE)))
    net.connect("h", "y", weights=rng.normal(0, 0.2, (stdp.WIDE, stdp.WIDE + 3)))

    def drive(engine: Any) -> None:
        engine.feed(0, en.Periodic(rng.normal(0, 1, (6, 9)), rate=50))
        engine.feed(2, en.Periodic(rng.normal(0, 1, (6, stdp.WIDE + 3)), rate=50))
        engine.advance(0.05)
        engine.set_weights(1, engine.weights(1))
        engine.advance(0.1)
        rng.bit_generator.state = start

    start = rng.bit_generator.state
    time, *_ = spikes(net, en.STDP(lr=0.3), drive)
    assert len(time) > 200


def test_a_buffer_that_fills_is_emptied_and_nothing_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compiled_engine, "BUFFER_ROWS", 4)
    net = en.Network(tau=0.1)
    net.sensor("s", 4, step=0.02)
    net.layer("h", 3, step=0.02, error_step=0.02)
    net.output("y", 2, error_step=0.02)
    net.connect("s", "h", weights=np.random.default_rng(0).normal(0, 0.5, (4, 3)))
    net.connect("h", "y", weights=np.full((3, 2), 0.5))

    def drive(engine: Any) -> None:
        rng = np.random.default_rng(1)
        engine.feed(0, en.Periodic(rng.normal(0, 1, (20, 4)), rate=40))
        engine.feed(2, en.Periodic(rng.normal(0, 1, (20, 2)), rate=40))
        engine.advance(0.5)

    time, population, *_ = spikes(net, en.STDP(lr=0.1), drive)
    assert len(time) > 500
    assert len(set(population)) == 4  # sensor and layer, and the errors of layer and output

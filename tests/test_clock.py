"""The paper's clocked algorithm through `Simulation`, on MNIST's own digits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sizes import sized
from test_clocked import PAPER, SETTINGS, Setting, build, rule, tau
from test_clocked import digits as digits

import eventnet as en
from eventnet.data.epochs import Images, orders
from eventnet.engine import feeds
from eventnet.engine.clocked import ClockedEngine
from eventnet.sources import Checked

Floats = np.ndarray[Any, np.dtype[np.float64]]
Digits = tuple[Floats, Floats]

HIDDEN = sized(60, 7)
RULES = {"future": SETTINGS["future adaptive"], "past": PAPER}


def network(c: Setting, hidden: int = HIDDEN) -> en.Network:
    """Sensor, hidden layer and output of a setting, learned biases included."""
    net = en.Network(tau=tau(c.alpha))
    net.sensor("pixels", 784, step=c.step)
    net.layer("hidden", hidden, step=c.step, error_step=c.hidden_error_step, bias_step=1.0)
    net.output("digit", 10, loss="softmax", error_step=c.error_step, bias_step=1.0)
    net.connect("pixels", "hidden")
    net.connect("hidden", "digit")
    return net


def unfed(c: Setting, **more: Any) -> en.Simulation:
    given = {"plasticity": rule(c.name, c.lr), "clock": 1.0, "adapt": c.adapt} | more
    return en.Simulation(network(c), **given)


def trainer(digits: Digits, c: Setting = PAPER, **more: Any) -> en.Simulation:
    sim = unfed(c, **more)
    sim.feed("pixels", en.Periodic(digits[0], rate=1.0))
    sim.teach("digit", en.Periodic(digits[1], rate=1.0))
    return sim


def evaluate(sim: en.Simulation, images: Floats) -> Floats:
    copy = sim.copy()
    copy.feed("pixels", en.Periodic(images, rate=1.0))
    copy.probe("digit", rate=1.0)
    return copy.run(until=len(images) - 1.0).output("digit").values


def assert_same(a: Any, b: Any) -> None:
    """Nested states, bit for bit."""
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    else:
        assert a == b


def same_spikes(a: en.Run, b: en.Run) -> bool:
    assert len(a.raster) > 1000
    pairs = zip(a.raster.arrays(), b.raster.arrays(), strict=True)
    return all(np.array_equal(ours, theirs) for ours, theirs in pairs)


# -- it is that engine ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["future", "paper", "past deep", "reconstruction", "true"])
def test_a_simulation_with_a_clock_is_the_clocked_engine(name: str, digits: Digits) -> None:
    """Spikes, weights, biases, scales and costs after 300 digits, in three runs, bit for bit."""
    c = SETTINGS[name]
    batches: list[tuple[Any, ...]] = []
    engine, _ = build(c, lambda *batch: batches.append(batch))
    populations, projections = engine.plan.populations, engine.plan.projections
    index = {p.name: p.index for p in populations}
    engine.feed(index["pixels"], en.Periodic(digits[0], rate=1.0))
    engine.feed(index["digit"], en.Periodic(digits[1], rate=1.0))
    engine.advance(299.0, inclusive=True)

    net = en.Network(tau=populations[0].tau)
    for p in populations:
        bias_step = 1.0 if c.learn_bias else None
        more = {"error_tau": p.error_tau, "error_step": p.error_step, "bias_step": bias_step}
        if p.kind == "sensor" and not p.constant:
            net.sensor(p.name, p.size, step=p.step)
        elif p.kind == "layer":
            shape = {"activation": p.activation, "leak": c.leak or 0.1}
            net.layer(p.name, p.size, step=p.step, **more, **shape)
        elif p.kind == "output":
            net.output(p.name, p.size, loss=p.loss, **more)
    for q in projections:
        if not q.source.constant:
            net.connect(q.source.name, q.target.name, weights=q.weights)
    sim = en.Simulation(net, plasticity=rule(c.name, c.lr), clock=1.0, adapt=c.adapt)
    sim.feed("pixels", en.Periodic(digits[0], rate=1.0))
    sim.teach("digit", en.Periodic(digits[1], rate=1.0))
    runs = [sim.run(until=until) for until in (99.0, 199.5, 299.0)]

    times, _, neurons, counts = (np.concatenate(part) for part in zip(*batches, strict=True))
    mine = [np.concatenate(part) for part in zip(*(r.raster.arrays() for r in runs), strict=True)]
    assert len(times) > 10_000
    for ours, theirs in zip((mine[0], mine[2], mine[3]), (times, neurons, counts), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for q in projections:
        np.testing.assert_array_equal(sim.weights(q.name), engine.weights(q.index))
    for p in populations:
        assert sim.scale(p.name) == engine.scale(p.index)
        if p.kind != "sensor":
            np.testing.assert_array_equal(sim.bias(p.name), engine.bias(p.index))
    for ours, theirs in zip(sim.state()["engine"]["counts"].values(), engine._counts, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert sim.cost.instants == sim.cost.readings == sim.cost.teachings == 300
    assert sum(r.cost.paper_operations for r in runs) == sim.cost.paper_operations > 0
    assert sum(r.cost.total("additions") for r in runs) == sim.cost.total("additions")


def test_recorded_samples_cost_one_call_a_block_and_a_run(
    digits: Digits, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = trainer(digits, raster=False)
    calls: list[float] = []
    advance = ClockedEngine.advance

    def counted(self: ClockedEngine, until: float, inclusive: bool = False) -> None:
        calls.append(until)
        advance(self, until, inclusive)

    monkeypatch.setattr(ClockedEngine, "advance", counted)
    run = sim.run(until=299.0)
    assert calls == [-math.inf, 299.0]
    assert run.cost.readings == 300


@pytest.mark.parametrize("dt", [1.0, 0.3, 1 / 49, 1e-3])
def test_sample_k_of_a_source_of_the_clock_s_rate_falls_on_tick_k(dt: float) -> None:
    """For every clock, whether 1/dt is whole or not, and whichever way the rate was computed."""
    values = np.arange(1.0, 1001.0)
    for rate in {1.0 / dt, float(round(1.0 / dt))} if dt != 0.3 else {1.0 / dt}:
        net = en.Network(tau=1.0)
        net.sensor("s", 1, step=10.0)
        sim = en.Simulation(net, clock=dt, t0=0.7)
        sim.feed("s", en.Periodic(values, rate=rate, t0=0.7))
        sim.probe("s", rate=rate)
        run = sim.run(until=0.7 + 999.5 / rate)
        np.testing.assert_array_equal(run.output("s").values[:, 0], values)
        assert run.cost.readings == run.cost.instants == 1000


# -- everything a simulation can do --------------------------------------------------------------


@pytest.mark.parametrize("name", RULES)
def test_a_block_and_a_process_give_identical_rasters(name: str, digits: Digits) -> None:
    images, targets = digits
    whole = trainer(digits, RULES[name])
    whole.probe("digit", rate=1.0)
    sampled = unfed(RULES[name])
    sampled.feed("pixels", en.Sampled(lambda t: images[int(t)], rate=1.0, stop=299.0))
    sampled.teach("digit", en.Sampled(lambda t: targets[int(t)], rate=1.0, stop=299.0))
    sampled.probe("digit", rate=1.0)
    a, b = whole.run(until=299.0), sampled.run(until=299.0)
    assert same_spikes(a, b)
    np.testing.assert_array_equal(a.output("digit").values, b.output("digit").values)
    assert a.cost == b.cost


class Scaled:
    """Grey values of one byte, made floats a block at a time."""

    width = 784

    def __init__(self, pixels: np.ndarray[Any, Any], rate: float) -> None:
        self.pixels = pixels
        self.rate = rate
        self.longest = 0

    def __len__(self) -> int:
        return len(self.pixels)

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        part = self.pixels[start:stop]
        self.longest = max(self.longest, len(part))
        return np.arange(start, start + len(part)) / self.rate, part / 255.0


def test_a_source_of_one_s_own_is_read_in_blocks(digits: Digits) -> None:
    pixels = np.round(digits[0] * 255).astype(np.uint8)
    source = Scaled(np.concatenate([pixels] * 4), rate=1.0)
    sim = unfed(PAPER)
    sim.feed("pixels", source)
    sim.teach("digit", en.Periodic(np.concatenate([digits[1]] * 4), rate=1.0))
    other = unfed(PAPER)
    other.feed("pixels", en.Periodic(source.pixels / 255.0, rate=1.0))
    other.teach("digit", en.Periodic(np.concatenate([digits[1]] * 4), rate=1.0))
    assert same_spikes(sim.run(until=1199.0), other.run(until=1199.0))
    assert source.longest <= max(feeds.BLOCK_VALUES // 784, 784) < len(source)


@pytest.mark.parametrize(
    ("block", "message"),
    [
        (
            lambda a, n: (np.arange(a, a + n), np.zeros((n, 783))),
            r"shape \(1, 783\); must be \(1,\)",
        ),
        (
            lambda a, n: (np.arange(a, a + n)[: max(n - 1, 1)], np.zeros((n, 784))),
            r"block\(0, 300\) of the source of pixels: times of shape \(299,\)",
        ),
        (lambda a, n: (-np.arange(a, a + n), np.zeros((n, 784))), r"time -1.0 s at sample 1 of"),
        (
            lambda a, n: (
                np.arange(a, a + n),
                np.where(np.arange(n)[:, None] == 7, np.nan, [0.0] * 784),
            ),
            "reading nan in sample 7, column 0, of pixels: must be finite",
        ),
    ],
)
def test_a_block_that_is_of_no_use_stops_the_run(
    block: Callable[[int, int], Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Scaled(np.zeros((300, 784)), rate=1.0)
    monkeypatch.setattr(source, "block", lambda a, b: block(a, min(b, 300) - a))
    sim = unfed(PAPER)

    def feed_and_run() -> None:
        sim.feed("pixels", source)
        sim.run(until=299.0)

    with pytest.raises(en.DataError, match=message):
        feed_and_run()


def test_times_that_go_back_from_one_block_to_the_next_are_found() -> None:
    class Restarted(Scaled):
        def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
            times, values = super().block(start, stop)
            return times - start, values

    source = Checked(Restarted(np.zeros((20, 784)), 1.0), "pixels", lambda values, first: None)
    source.block(0, 10)
    with pytest.raises(en.DataError, match=r"time 0\.0 s at sample 10 of the source of pixels"):
        source.block(10, 20)
    source.block(0, 10)  # as after a reset


def test_a_target_expires_and_the_last_given_value_counts(digits: Digits) -> None:
    """Targets every 10 s that hold for 4.5 s are in force for 5 of 10 ticks; none is nan."""
    images, targets = digits
    held, spelled = unfed(PAPER), unfed(PAPER)
    every = np.full_like(targets, np.nan)
    for k in range(5):
        every[k::10] = targets[0::10]
    for sim in (held, spelled):
        sim.feed("pixels", en.Periodic(images, rate=1.0))
    held.teach("digit", en.Periodic(targets[::10], rate=0.1), hold=4.5)
    spelled.teach("digit", en.Periodic(every, rate=1.0))
    assert same_spikes(held.run(until=299.0), spelled.run(until=299.0))

    # Between two ticks the latest of what was recorded and what was written wins.
    for written, expected in ((0.5, 3.0), (0.9, 7.0)):
        net = en.Network(tau=1.0)
        sensor = net.sensor("s", 1, step=0.1)
        sim = en.Simulation(net, clock=1.0)
        sim.feed("s", en.Recording([0.0, 0.7], [1.0, 3.0]))
        sim.world.write(sensor, [7.0], written)
        sim.probe("s", times=[0.99, 1.0])
        assert sim.run(until=1.0).output("s").values.tolist() == [[1.0], [expected]]


def test_switches_and_rates_act_at_their_tick(digits: Digits) -> None:
    """Like an engine that is stopped, switched and run on."""
    sim = trainer(digits)
    sim.switch_learning(False, at=50.0)
    sim.switch_learning(True, at=80.0)
    sim.scale_lr(0.25, at=120.0)
    sim.run(until=199.0)
    other = trainer(digits)
    other.run(until=49.0)
    other.learning = False
    other.run(until=79.0)
    other.learning = True
    other.run(until=119.0)
    other.scale_lr(0.25)
    other.run(until=199.0)
    assert sim.cost == other.cost
    assert sim.cost.teachings == 170
    assert_same(sim.state()["engine"], other.state()["engine"])
    before = sim.weights("pixels -> hidden")
    sim.finish()
    assert np.abs(sim.weights("pixels -> hidden") - before).max() > 0  # the past rule's open area


@pytest.mark.parametrize("name", RULES)
def test_evaluating_never_touches_the_trainer(name: str, digits: Digits) -> None:
    sim, alone = (trainer(digits, RULES[name], raster=False) for _ in range(2))
    for until in (70.0, 150.5, 260.0):
        sim.run(until=until)
        before = sim.state()
        answers = [evaluate(sim, digits[0]) for _ in range(2)]
        assert_same(sim.state(), before)
        np.testing.assert_array_equal(*answers)
    alone.run(until=260.0)
    assert_same(sim.state(), alone.state())
    for run in (sim, alone):
        run.run(until=299.0)
    assert_same(sim.state(), alone.state())


@pytest.mark.parametrize("name", RULES)
def test_a_copy_goes_on_from_the_trainer_s_coders_and_cannot_learn(
    name: str, digits: Digits
) -> None:
    """With learning off the trainer would answer as its copy does."""
    sim = trainer(digits, RULES[name])
    sim.run(until=149.0)
    copy = sim.copy()
    assert copy.now == 0.0
    for population in ("pixels", "hidden"):
        assert copy.scale(population) == sim.scale(population)
    np.testing.assert_array_equal(copy.bias("hidden"), sim.bias("hidden"))
    copy.feed("pixels", en.Periodic(digits[0][150:], rate=1.0))
    copy.probe("digit", rate=1.0)
    answers = copy.run(until=149.0).output("digit").values
    sim.learning = False
    sim.probe("digit", rate=1.0, t0=150.0)
    np.testing.assert_allclose(sim.run(until=299.0).output("digit").values, answers, atol=1e-9)
    with pytest.raises(en.ConfigError, match="without plasticity"):
        copy.learning = True


def test_reset_keeps_what_was_learned(digits: Digits) -> None:
    sim = trainer(digits)
    sim.run(until=99.0)
    kept = sim.weights("pixels -> hidden"), sim.bias("digit"), sim.scale("hidden")
    assert kept[2].step != PAPER.step
    sim.reset()
    assert sim.now == 0.0
    assert sim.cost.events == 0
    for ours, theirs in zip(
        (sim.weights("pixels -> hidden"), sim.bias("digit")), kept, strict=False
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert sim.scale("hidden") == kept[2]
    assert sim.run(until=99.0).cost.teachings == 100


@pytest.mark.parametrize("clock", [None, 1.0])
def test_biases_are_read_and_set(clock: float | None, digits: Digits) -> None:
    net = en.Network(tau=1.0)
    net.sensor("s", 1, step=0.1)
    net.layer("h", 2, step=0.1, error_step=0.1, bias=[0.5, -1.0], bias_step=0.5)
    net.output("y", 3, bias=2.0, error_step=0.1)
    net.connect("s", "h", weights=[[1.0, 1.0]])
    net.connect("h", "y", weights=np.zeros((2, 3)), plastic=False)
    sim = en.Simulation(net, plasticity=rule("stdp", 0.1), clock=clock)
    np.testing.assert_array_equal(sim.bias("h"), [0.5, -1.0])
    np.testing.assert_array_equal(sim.bias("y"), [2.0] * 3)
    sim.set_bias("h", [3.0, 4.0])
    np.testing.assert_array_equal(sim.bias("h"), [3.0, 4.0])
    np.testing.assert_array_equal(sim.weights("h_bias -> h"), [[3.0, 4.0]])
    for wrong in ([1.0], [1.0, math.nan]):
        with pytest.raises(en.ConfigError, match=r"on h: must be \(2,\) and finite"):
            sim.set_bias("h", wrong)
    with pytest.raises(en.ConfigError, match="bias of s: a sensor has none"):
        sim.bias("s")
    if clock is None:
        with pytest.raises(en.ConfigError, match=r"set_bias\('y'\): its bias is fixed"):
            sim.set_bias("y", [1.0, 2.0, 3.0])
        with pytest.raises(en.ConfigError, match=r"scale\('h'\): without a clock .* step=0\.1"):
            sim.scale("h")
    else:
        sim.set_bias("y", [1.0, 2.0, 3.0])
        sim.probe("y", times=[0.0])
        assert sim.run(until=0.0).output("y").values.tolist() == [[1.0, 2.0, 3.0]]
        assert sim.scale("h") == (0.1, 1.0, 0.1, 1.0)


@pytest.mark.parametrize("clock", [None, 1.0])
def test_spikes_that_are_not_kept_are_counted(
    clock: float | None, digits: Digits, tmp_path: Path
) -> None:
    c = SETTINGS["future"]
    kept, counted = (trainer(digits, c, clock=clock, adapt=0.0, raster=r) for r in (True, False))
    told: list[list[tuple[float, int]]] = [[], []]
    first = kept.run(until=40.0, progress=lambda t, n: told[0].append((t, n)))
    second = counted.run(
        until=40.0, progress=lambda t, n: told[1].append((t, n)), record=tmp_path / "run"
    )
    # How often it is told depends on how fast the machine is.
    assert told[0][-1] == told[1][-1] == (40.0, len(first.raster))
    assert first.cost == second.cost
    assert first.cost.events == len(first.raster) > 1000
    with pytest.raises(en.ConfigError, match="raster=False, or a sweep: spikes were counted"):
        _ = second.raster
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["engine"], config["clock"], config["raster"]) == ("compiled", clock, False)
    with pytest.raises(en.RunFolderError, match="it has no raster in it"):
        en.Raster.open(tmp_path / "run")


@pytest.mark.parametrize(("raster", "keeps"), [(None, False), (True, True), (False, False)])
def test_a_sweep_keeps_spikes_only_where_they_were_asked_for(
    raster: bool | None, keeps: bool, digits: Digits
) -> None:
    sim = trainer(digits, raster=raster)
    before = sim.copy()
    for each in (sim, before, sim.copy()):
        assert each.keeps_raster is (raster is not False)
        each.forgo_raster()
        assert each.keeps_raster is each.copy().keeps_raster is keeps


def test_a_recorded_run_tells_its_clock(digits: Digits, tmp_path: Path) -> None:
    run = trainer(digits).run(until=20.0, record=tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["clock"], config["adapt"]) == (1.0, PAPER.adapt)
    assert len(en.Raster.open(tmp_path / "run")) == run.cost.events > 1000


@pytest.mark.parametrize("clock", [None, 1.0])
def test_the_paper_s_count_leaves_out_the_readout_and_biases(
    clock: float | None, digits: Digits
) -> None:
    sim = trainer(digits, SETTINGS["future"], clock=clock, adapt=0.0)
    run = sim.run(until=30.0)
    stats = run.raster.stats()
    pixels, error = stats["pixels"].quanta, stats["hidden.error"].quanta
    assert run.cost.paper_operations == 2 * pixels * HIDDEN + error * 784
    assert run.cost.as_dict()["paper_operations"] == run.cost.paper_operations
    assert sim.cost == run.cost


def test_a_run_that_diverges_names_time_and_population(digits: Digits) -> None:
    """The future rule at k_alpha = .909 and a learning rate of .01 a tick."""
    sim = trainer(digits, Setting("stdp", alpha=0.909), raster=False)
    with pytest.raises(en.Diverged) as caught:
        sim.run(until=299.0)
    assert caught.value.population in ("hidden", "digit")
    assert 0 < caught.value.time < 299.0
    assert sim.cost.instants == caught.value.time  # the ticks before it


# -- checkpoints ---------------------------------------------------------------------------------


def wired(digits: Digits, clock: float | None, engine: str = "compiled") -> en.Simulation:
    """A simulation with all that has a state: blocks, a process, a probe, a switch to come."""
    sim = unfed(SETTINGS["future"], clock=clock, adapt=0.0, engine=engine)
    sim.feed("pixels", en.Periodic(digits[0], rate=1.0))
    sim.teach("digit", en.Sampled(lambda t: digits[1][int(t)], rate=1.0, stop=299.0))
    sim.probe("digit", rate=2.0)
    sim.switch_learning(False, at=30.0)
    return sim


@pytest.mark.parametrize(
    ("clock", "engine"), [(None, "compiled"), (1.0, "compiled"), (None, "actors")]
)
def test_a_loaded_checkpoint_goes_on_as_if_nothing_had_happened(
    clock: float | None, engine: str, digits: Digits, tmp_path: Path
) -> None:
    ticks = (3.0, 5.0) if engine == "actors" else (21.0, 45.0)
    whole, path = wired(digits, clock, engine), tmp_path / "state.npz"
    whole.run(until=ticks[0])
    whole.save(path)
    other = wired(digits, clock, engine)
    other.load(path)
    assert_same(other.state(), whole.state())
    assert same_spikes(whole.run(until=ticks[1]), other.run(until=ticks[1]))
    assert_same(other.state(), whole.state())
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]
    with np.load(path, allow_pickle=False) as file:
        assert all(not file[name].dtype.hasobject for name in file.files)


def test_going_back_from_learning_to_a_state_without_it(digits: Digits) -> None:
    """The error spikes of the tick before must not be sent again."""
    sim = trainer(digits, SETTINGS["future"])
    sim.learning = False
    saved = sim.state()
    sim.learning = True
    errors = sim.run(until=50.0).raster.select(["hidden.error", "digit.error"])
    assert errors.arrays().time[-1] == 50.0
    sim.restore(saved)
    run = sim.run(until=50.0)
    assert len(run.raster.select("pixels")) > 1000
    assert len(run.raster.select(["hidden.error", "digit.error"])) == 0


def test_another_simulation_s_checkpoint_is_refused_by_name(digits: Digits, tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    trainer(digits).save(path)
    clock = trainer(digits, clock=0.5)
    unfed_ = unfed(PAPER)
    size = en.Simulation(
        network(PAPER, hidden=HIDDEN + 1), plasticity=rule("past", 0.01), clock=1.0
    )
    for sim, message in (
        (clock, r"clock is 1\.0 there and 0\.5 here"),
        (unfed_, r'fed is \["digit", "pixels"\] there and \[\] here'),
        (size, rf"network\.populations\[1\]\.size is {HIDDEN} there and {HIDDEN + 1} here"),
    ):
        before = sim.state()
        with pytest.raises(
            en.ConfigError, match=rf"state\.npz is another .* checkpoint: {message}"
        ):
            sim.load(path)
        assert_same(sim.state(), before)


def test_other_synapses_are_another_network(tmp_path: Path) -> None:
    def sparse(seed: int) -> en.Simulation:
        net = en.Network(tau=1.0)
        net.sensor("s", 20, step=0.1)
        net.layer("h", 20, step=0.1)
        net.connect("s", "h", fan_in=3)
        return en.Simulation(net, seed=seed)

    sparse(0).save(tmp_path / "state.npz")
    with pytest.raises(en.ConfigError, match=r"synapses\.s -> h is "):
        sparse(1).load(tmp_path / "state.npz")


def test_a_damaged_checkpoint_is_named(digits: Digits, tmp_path: Path) -> None:
    sim, path = trainer(digits), tmp_path / "state.npz"
    sim.save(path)
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    broken: list[bytes] = [b"", whole[:1000], whole[: len(whole) // 2], whole[:-10], bytes(flipped)]
    before = sim.state()
    for content in broken:
        path.write_bytes(content)
        with pytest.raises(en.DataError, match=re.escape(f"{path}: no checkpoint")):
            sim.load(path)
    with pytest.raises(en.DataError, match=r"none\.npz: no checkpoint"):
        sim.load(tmp_path / "none.npz")
    assert_same(sim.state(), before)


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(
    digits: Digits, tmp_path: Path
) -> None:
    class Odd:
        priority = 1

        def next_time(self) -> float:
            return math.inf

        def act(self, world: Any, time: float) -> None:
            raise AssertionError(time)

        def state(self) -> dict[str, Any]:
            return {"seen": {1, 2}}

        def restore(self, saved: dict[str, Any]) -> None:
            raise AssertionError(saved)

    sim, path = trainer(digits), tmp_path / "state.npz"
    sim.save(path)
    old = path.read_bytes()
    sim.world.add(Odd())
    message = r"state\['world'\]\['processes'\]\[0\]\['seen'\] is a set: the state\(\) of a process"
    with pytest.raises(en.ConfigError, match=message):
        sim.save(path)
    assert path.read_bytes() == old
    with pytest.raises(en.RunFolderError, match="cannot be written"):
        trainer(digits).save(tmp_path / "no" / "state.npz")


# -- from the shell ------------------------------------------------------------------------------

SCENARIO = '''
"""A sine, learned on a clock of 100 Hz without a raster."""
from dataclasses import dataclass
import numpy as np
import eventnet as en
from eventnet.scenario import Outcome, Session

@dataclass(frozen=True)
class Parameters:
    clock: float = 0.01

def run(p: Parameters, session: Session) -> Outcome:
    net = en.Network(tau=0.1)
    net.sensor("angle", 1, step=0.1)
    net.output("torque", 1, error_step=0.05)
    net.connect("angle", "torque")
    sim = en.Simulation(net, plasticity=en.TrueGradient(lr=2.0), engine=session.engine,
                        seed=session.seed, clock=p.clock, raster=False)
    signal = np.sin(np.arange(400) / 10)
    sim.feed("angle", en.Periodic(signal, rate=100))
    sim.teach("torque", en.Periodic(-signal[::5], rate=20))
    out = session.run(sim, 3.95)
    return Outcome(out, metrics={"weight": float(sim.weights("angle -> torque")[0, 0])})
'''


def test_a_scenario_on_a_clock_runs_and_is_drawn(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from eventnet.cli import main

    file, folder = tmp_path / "sine.py", tmp_path / "run"
    file.write_text(SCENARIO)
    shell = CliRunner()

    def told(*arguments: str) -> Any:
        done = shell.invoke(main, [*arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    found = json.loads(told("run", str(file), "--out", str(folder), "--json"))
    assert found["metrics"]["weight"] == pytest.approx(-1.0, abs=0.2)
    assert found["events"]["angle"] > 100
    assert {p.name for p in folder.iterdir()} == {
        *(".lock", "config.json", "metrics.json", "end.json", "traces.npz"),
        *("weights-start.npz", "weights-end.npz"),
    }  # and no raster
    assert json.loads((folder / "config.json").read_text())["clock"] == 0.01
    assert "angle" in told("graph", str(file), "-o", str(tmp_path / "net.json"))
    assert "torque" in told("run", str(file), "--out", str(tmp_path / "again"))
    failed = shell.invoke(main, ["run", str(file), "--engine", "actors"])
    assert failed.exit_code != 0
    assert "the reference engine has no clock" in failed.output + str(failed.exception)


class Plain:
    """A source of levels that hides them."""

    def __init__(self, source: Images) -> None:
        self.width, self.block, self._n = source.width, source.block, len(source)

    def __len__(self) -> int:
        return self._n


@pytest.mark.parametrize("width", [13, 16])
def test_bytes_give_the_spikes_that_their_levels_give(width: int) -> None:
    """Unchanged bytes, values written in between, a feed that replaces another, a restored state."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (40, width), dtype=np.uint8)
    pixels[1::2] = pixels[::2]
    pixels[:, 8:] *= random.random((40, width - 8)) < 0.3
    outcomes = []
    for hide in (False, True):
        net = en.Network(tau=0.3)
        net.sensor("camera", width, step=0.2)
        net.output("copy", width, error_step=0.2)
        net.connect("camera", "copy", weights=np.zeros((width, width)))
        sim = en.Simulation(net, plasticity=en.STDP(0.5), clock=0.1, raster=False)
        source = Images(pixels, orders("given", pixels), epochs=1, rate=10.0)
        again = Images(pixels[::-1].copy(), orders("given", pixels), epochs=1, rate=10.0, t0=4.0)
        sim.feed("camera", Plain(source) if hide else source)
        sim.teach("copy", Plain(source) if hide else source)
        sim.run(until=1.02)
        sim._engine.write(0, np.full(width, 0.4), 1.05)
        saved = sim._engine.state()
        sim._engine.advance(1.25)
        sim._engine.restore(saved)
        sim.run(until=3.95)
        sim._engine.feed(0, Plain(again) if hide else again)
        sim.run(until=8.0)
        outcomes.append((sim.weights("camera -> copy"), sim.cost.events, sim.cost.total("quanta")))
    assert outcomes[0][1:] == outcomes[1][1:]
    assert outcomes[0][1] > 500
    assert np.array_equal(outcomes[0][0], outcomes[1][0])


@pytest.mark.parametrize(
    ("levels", "codes", "message"),
    [
        (np.array([0.0, np.inf]), np.zeros((2, 3), np.uint8), "levels .* must be finite"),
        (np.zeros((2, 2)), np.zeros((2, 3), np.uint8), r"levels of shape \(2, 2\)"),
        (np.zeros(2), np.full((2, 3), 7, np.uint8), "code 7 .* there are 2 levels"),
        (np.zeros(2), np.zeros((2, 3), np.int64), "codes of type int64 .* must be uint8"),
        (np.zeros(2), np.zeros((2, 4), np.uint8), r"codes\(0, 2\) .* must be \(2,\) and \(2, 3\)"),
    ],
)
def test_bytes_of_no_use_are_refused(levels: Any, codes: Any, message: str) -> None:
    class Source:
        width = 3

        def __init__(self) -> None:
            self.levels = levels

        def __len__(self) -> int:
            return 2

        def codes(self, start: int, stop: int) -> Any:
            return np.arange(start, stop) / 10.0, codes

        def block(self, start: int, stop: int) -> Any:
            return np.arange(start, min(stop, 2)) / 10.0, np.zeros((min(stop, 2) - start, 3))

    net = en.Network(tau=0.3)
    net.sensor("camera", 3, step=0.2)
    sim = en.Simulation(net, clock=0.1)

    def run() -> None:
        sim.feed("camera", Source())
        sim.run(until=1.0)

    with pytest.raises(en.DataError, match=message):
        run()


# -- what it refuses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"engine": "actors"},
            r"clock=1\.0 s with engine='actors': the reference engine has no clock",
        ),
        ({"engine": "clocked"}, "unknown engine 'clocked'"),
        ({"clock": None, "adapt": 0.1}, r"adapt=0\.1 without a clock: .* give clock=dt"),
        ({"clock": -1.0}, r"dt=-1\.0 s on the clock: must be positive"),
        ({"clock": 5e-324}, r"1/dt=inf Hz on the clock: must be positive and finite"),
        ({"adapt": 2.0}, r"adapt=2\.0 on the clock: must lie in \[0, 1\]"),
    ],
)
def test_what_does_not_go_together_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(en.ConfigError, match=message):
        unfed(PAPER, **({"adapt": 0.0} | given))


@pytest.mark.parametrize(
    ("given", "plastic", "message"),
    [
        ({}, True, r"slowness=0\.1 on hidden without a clock: .* give clock=dt"),
        ({"engine": "actors"}, True, r"slowness=0\.1 on hidden without a clock"),
        ({"clock": 0.1}, False, r"slowness=0\.1 on hidden: nothing that leads into it .* learns"),
    ],
)
def test_slowness_needs_ticks_and_something_that_learns(
    given: dict[str, Any], plastic: bool, message: str
) -> None:
    net = en.Network(tau=1.0)
    net.sensor("eye", 1, step=0.1)
    net.layer("hidden", 2, step=0.1, error_step=0.1, slowness=0.1)
    net.output("out", 1, error_step=0.1)
    net.connect("eye", "hidden", plastic=plastic)
    net.connect("hidden", "out")
    assert "slowness 0.1" in str(net)
    assert net.describe()["populations"][1]["slowness"] == 0.1
    with pytest.raises(en.ConfigError, match=message):
        en.Simulation(net, plasticity=en.STDP(0.1), **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"taps=\(0\.5, 0\.2\) on eye without a clock: .* give clock=dt, or tau"),
        ({"engine": "actors"}, r"taps=\(0\.5, 0\.2\) on eye without a clock"),
        (
            {"clock": 0.1, "plasticity": en.Past(0.1)},
            r"eye -> out shares a kernel or learns by Past",
        ),
    ],
)
def test_taps_need_ticks_and_a_rule_that_knows_them(given: dict[str, Any], message: str) -> None:
    net = en.Network(tau=1.0)
    net.sensor("eye", 1, step=0.1, taps=(0.5, 0.2))
    net.output("out", 1, error_step=0.1)
    net.connect("eye", "out")
    assert "taps 0.5, 0.2" in str(net)
    assert net.describe()["populations"][0]["taps"] == [0.5, 0.2]
    with pytest.raises(en.ConfigError, match=message):
        en.Simulation(net, **({"plasticity": en.STDP(0.1)} | given))


@pytest.mark.parametrize(
    ("taps", "message"),
    [
        ((1.1, -0.1), r"taps=\(1\.1, -0\.1\) on eye: the prediction must fade"),
        ((0.0, -1.0), "must fade"),
        ((math.nan, 0.0), "must fade"),
        ((0.5,), r"taps=\(0\.5,\) on eye: must be two numbers"),
        (("a", 0), "must be two numbers"),
    ],
)
def test_taps_that_are_none_are_refused(taps: Any, message: str) -> None:
    net = en.Network(tau=1.0)
    with pytest.raises(en.ConfigError, match=message):
        net.sensor("eye", 1, step=0.1, taps=taps)
    with pytest.raises(en.ConfigError, match=r"tau=0\.1 s and taps=.* on ear: give one of them"):
        net.sensor("ear", 1, step=0.1, tau=0.1, taps=(0.5, 0.2))
    assert not net.populations


@pytest.mark.parametrize("scales", ["population", "neuron"])
def test_what_additions_are_worth_makes_steps_coarse_or_fine(
    scales: en.network.Scales, digits: Digits, tmp_path: Path
) -> None:
    def priced(price: float) -> en.Simulation:
        return trainer(digits, SETTINGS["future"], price=price, scales=scales)

    dear, cheap = priced(1.0), priced(1e-12)
    for sim in (dear, cheap):
        sim.run(until=299.0)
        pixels, hidden = sim.steps("pixels"), sim.steps("hidden")
        assert (pixels.shape, hidden.shape) == ((784,), (HIDDEN,))
        assert (np.ptp(pixels) > 0) == (scales == "neuron")
    # Five steps of at most .005, or .001.
    assert 1.005 < np.max(dear.steps("pixels") / 0.25) < 1.026
    assert 0.975 < np.min(cheap.steps("pixels") / 0.25) < 0.998
    copy = dear.copy()
    np.testing.assert_array_equal(copy.steps("pixels"), dear.steps("pixels"))
    copy.feed("pixels", en.Periodic(digits[0], rate=1.0))
    copy.run(until=100.0)
    np.testing.assert_array_equal(copy.steps("pixels"), dear.steps("pixels"))
    dear.save(tmp_path / "state.npz")
    other = priced(1.0)
    other.load(tmp_path / "state.npz")
    assert_same(other.state(), dear.state())
    steps = dear.steps("hidden")
    dear.reset()
    np.testing.assert_array_equal(dear.steps("hidden"), steps)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"adapt": 0.1}, r"price=0\.1, adapt=0\.1: scales follow one of them"),
        ({"price": -1.0}, r"price=-1\.0 on the clock: must be >= 0"),
        ({"scales": "synapse"}, "unknown scales 'synapse'"),
    ],
)
def test_a_price_that_is_none_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(en.ConfigError, match=message):
        unfed(SETTINGS["future"], **({"price": 0.1} | given))


def test_a_kernel_does_not_say_what_scales_are_worth() -> None:
    net = en.Network(tau=1.0)
    net.sensor("eye", (4, 4, 1), step=0.1)
    net.layer("map", (4, 4, 1), step=0.1, error_step=0.1)
    net.output("out", 1, error_step=0.1)
    net.connect("eye", "map", kernel=3, padding=1)
    net.connect("map", "out")
    with pytest.raises(en.ConfigError, match=r"price=0\.1: eye -> map shares a kernel"):
        en.Simulation(net, plasticity=en.STDP(0.1), clock=1.0, price=0.1)


def test_a_clock_too_fine_for_its_time_is_refused() -> None:
    net = en.Network(tau=1.0)
    net.sensor("s", 1, step=0.1)
    sim = en.Simulation(net, clock=1e-3, t0=1e15)
    with pytest.raises(en.ConfigError, match=r"clock=0\.001 s: is lost in the rounding of t="):
        sim.run(until=1e15)

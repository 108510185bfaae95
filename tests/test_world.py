"""Time at the boundary between the world and the network (design: world boundary)."""

from __future__ import annotations

import math

import numpy as np
import pytest

import eventnet as en
from eventnet.engine import ENGINES
from eventnet.network import Population
from eventnet.world import READ, World


def one_sensor(
    engine: str = "compiled", step: float = 0.1, clock: float | None = None
) -> en.Simulation:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=step)
    net.layer("h", 3, step=0.1, bias=[0.2, -0.1, 0.0])
    net.output("y", 1)
    net.connect("s", "h", weights=[[1.0, -0.7, 0.4]])
    net.connect("h", "y", weights=[[1.0], [0.5], [-1.0]])
    return en.Simulation(net, engine=engine, clock=clock)


def spikes(run: en.Run) -> list[tuple[float, int, int, int]]:
    return list(zip(*(column.tolist() for column in run.raster.arrays()), strict=True))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_block_and_a_process_give_identical_rasters(engine: str) -> None:
    values = np.random.default_rng(0).normal(0, 1, 90)
    as_block = one_sensor(engine)
    as_block.feed("s", en.Periodic(values, rate=30, t0=0.01))
    as_process = one_sensor(engine)
    as_process.feed(
        "s", en.Sampled(lambda t: [values[round((t - 0.01) * 30)]], rate=30, t0=0.01, stop=3.0)
    )
    for sim in (as_block, as_process):
        sim.probe("y", rate=30, t0=0.01)
    first, second = as_block.run(until=2.9), as_process.run(until=2.9)
    assert len(first.raster) > 200
    assert spikes(first) == spikes(second)
    np.testing.assert_array_equal(first.output("y").values, second.output("y").values)


def test_clocks_by_division_coincide_whenever_they_should() -> None:
    fast = en.Periodic(np.zeros(200_000), rate=200.0).block(0, 200_000)[0]
    slow = en.Periodic(np.zeros(100_000), rate=100.0).block(0, 100_000)[0]
    np.testing.assert_array_equal(fast[::2], slow)
    sampled = en.Sampled(lambda t: [t], rate=100.0)
    assert [sampled.time_of(k) for k in range(1000)] == slow[:1000].tolist()


@pytest.mark.parametrize("engine", ENGINES)
def test_of_two_writes_at_one_time_the_last_wins(engine: str) -> None:
    sim = one_sensor(engine)
    sim.feed("s", en.Recording([0.0, 0.5, 0.5], [[0.0], [9.0], [0.3]]))
    sim.run(until=0.5)
    assert sim.world.read(sim.network.population("s"), 0.5).tolist() == [0.3]

    sim = one_sensor(engine)
    sensor = sim.network.population("s")
    sim.world.write(sensor, [9.0], 0.5)
    sim.world.write(sensor, [0.3], 0.5)
    run = sim.run(until=1.0)
    at_once = [s for s in spikes(run) if s[0] == 0.5 and s[1] == 0]
    assert at_once == [(0.5, 0, 0, 3)]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_probe_reads_after_the_instant_and_a_late_write_lands_just_after_it(engine: str) -> None:
    sim = one_sensor(engine)
    sensor = sim.network.population("s")
    sim.world.write(sensor, [1.0], 0.5)
    assert sim.world.read(sensor, 0.5).tolist() == [1.0]
    sim.world.write(sensor, [2.0], 0.5)
    assert sim.world.read(sensor, 0.5).tolist() == [1.0]
    run = sim.run(until=0.51)
    late = float(np.nextafter(0.5, math.inf))
    jumps = [s for s in spikes(run) if s[1] == 0 and s[3] == 10]
    assert jumps == [(0.5, 0, 0, 10), (late, 0, 0, 10)]  # none is lost that fell between runs


class Reader:
    """Reads as a probe does, but always one reading at a time."""

    priority = READ

    def __init__(self, population: Population, times: np.ndarray) -> None:
        self.population, self.times, self.values = population, times.tolist(), []

    def next_time(self) -> float:
        return self.times[len(self.values)] if len(self.values) < len(self.times) else math.inf

    def act(self, world: World, time: float) -> None:
        self.values.append(world.read(self.population, time))


@pytest.mark.parametrize(
    ("engine", "clock"), [("compiled", None), ("actors", None), ("compiled", 0.02)]
)
def test_probes_that_read_ahead_read_what_they_would_one_by_one(
    engine: str, clock: float | None
) -> None:
    """Beside processes that write, switch and read between, at stamps of their own and at theirs."""
    rng = np.random.default_rng(1)
    times = {name: np.unique(np.round(rng.random(60) * 3, 2)) for name in ("s", "h", "y")}
    found = []
    for probes in (True, False):
        sim = one_sensor(engine, clock=clock)
        if probes:
            for name in times:
                sim.probe(name, times=times[name])
        else:
            readers = {n: Reader(sim.network.population(n), t) for n, t in times.items()}
            for reader in readers.values():
                sim.world.add(reader)
        sim.feed("s", en.Sampled(lambda t: [math.sin(5 * t)], rate=4, stop=1.5))
        sim.world.write(sim.network.population("s"), [0.7], 2.11)
        sim.world.write(sim.network.population("s"), [-0.4], float(times["y"][40]))
        for until in (0.5, 1.37, 3.0):
            run = sim.run(until=until)
        found.append(
            [(sim.probed(n) if probes else readers[n]).values for n in times]
            + list(run.raster.arrays())
        )
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, np.array(theirs))


def test_probes_cost_no_python_for_each_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    sim = one_sensor()
    sim.feed("s", en.Periodic(np.ones(1000), rate=100))
    sim.probe("y", rate=1000)
    sim.probe("h", rate=300)
    calls = []
    watch = sim._engine.watch
    monkeypatch.setattr(sim._engine, "watch", lambda *a: calls.append(watch(*a)))
    sim.run(until=10.0)
    assert (len(sim.probed("y").times), len(sim.probed("h").times)) == (10_001, 3_001)
    assert len(calls) == 1


def test_what_was_read_before_a_run_diverges_is_kept() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.1)
    net.output("y", 1)
    net.connect("s", "y", weights=[[1e300]])
    sim = en.Simulation(net)
    sim.feed("s", en.Recording([0.0, 0.5], [[0.0], [1e10]]))
    sim.probe("y", rate=10)
    with pytest.raises(en.Diverged, match=r"t=0\.5 s in population 's'"):
        sim.run(until=1.0)
    assert sim.probed("y").times.tolist() == [k / 10 for k in range(5)]


@pytest.mark.parametrize("engine", ENGINES)
def test_writes_ahead_wait_for_their_stamps_in_any_order(engine: str) -> None:
    sim = one_sensor(engine)
    sensor = sim.network.population("s")
    sim.probe("s", times=[0.2, 0.4, 0.6])
    sim.world.write(sensor, [0.5], 0.5)
    sim.world.write(sensor, [0.3], 0.3)
    run = sim.run(until=1.0)
    assert run.output("s").values[:, 0].tolist() == [0.0, 0.3, 0.5]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_late_write_survives_a_write_that_follows(engine: str) -> None:
    sim = one_sensor(engine)
    sensor = sim.network.population("s")
    sim.world.settle(0.5)
    sim.world.write(sensor, [1.0], 0.2)  # too late for .2 and .5: takes effect just after
    sim.world.write(sensor, [2.0], 0.6)
    counts = [(s[0], s[3]) for s in spikes(sim.run(until=0.6)) if s[1] == 0 and abs(s[3]) > 1]
    assert counts == [(float(np.nextafter(0.5, math.inf)), 10), (0.6, 10)]


@pytest.mark.parametrize("engine", ENGINES)
def test_the_end_is_inclusive_and_the_run_goes_on_from_there(engine: str) -> None:
    sim = one_sensor(engine)
    sim.feed("s", en.Recording([0.5, 1.0], [[1.0], [-1.0]]))
    first = sim.run(until=0.5)
    assert max(s[0] for s in spikes(first)) == 0.5
    second = sim.run(until=1.0)
    assert min(s[0] for s in spikes(second)) > 0.5
    assert (1.0, 0, 0, -20) in spikes(second)


def test_at_the_start_every_population_runs_once() -> None:
    sim = one_sensor()
    run = sim.run(until=0.0)
    # h(b)/step = .2/.1 = 2 for the one unit whose bias switches it on (Eq. 3, 4).
    assert spikes(run) == [(0.0, 1, 0, 2)]


def test_between_arrivals_a_layer_without_bias_is_silent() -> None:
    net = en.Network(tau=0.1)
    net.sensor("s", 1, step=0.25)
    net.layer("h", 5, step=0.01)
    net.connect("s", "h", weights=np.linspace(-1, 1, 5)[None])
    sim = en.Simulation(net)
    sim.feed("s", en.Recording([0.1, 0.3], [[1.0], [0.0]]))
    run = sim.run(until=100.0)
    arrivals = {s[0] for s in spikes(run) if s[1] == 0}
    assert {s[0] for s in spikes(run) if s[1] == 1} <= arrivals
    # After the last reading is 0 nothing is scheduled any more: no clock ticks for 99.7 s.
    assert run.cost.instants == len(arrivals | {0.0, 0.1, 0.3})


def test_samples_are_handed_over_in_blocks_and_none_is_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from eventnet.engine import feeds

    values = np.random.default_rng(0).normal(0, 1, 1000)
    runs = []
    for size in (feeds.BLOCK_VALUES, 7):
        monkeypatch.setattr(feeds, "BLOCK_VALUES", size)
        sim = one_sensor()
        sim.feed("s", en.Periodic(values, rate=500))
        runs.append(spikes(sim.run(until=2.5)))
    assert runs[0] == runs[1]
    assert len(runs[0]) > 1000


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (lambda: en.Recording([0, 1], [[1.0]]), "one time each"),
        (lambda: en.Recording([0, 2, 1], [1, 2, 3]), "goes back from 2 s to 1 s at sample 2"),
        (lambda: en.Recording([0, np.nan], [1, 2]), "time nan at sample 1: must be finite"),
        (lambda: en.Recording([0], ["a"]), "values of type"),
        (lambda: en.Recording([0, 1], [1.0, np.nan]), "reading nan in sample 1, column 0, of s"),
        (lambda: en.Recording([0, 1], [np.inf, 1]), "reading inf in sample 0, column 0, of s"),
        (lambda: en.Recording([0], [[1.0, 2.0]]), "width 2 for s: its size is 1"),
        (lambda: en.Recording([-1.0], [1.0]), "begins at -1 s"),
        (lambda: en.Sampled(lambda t: [t], rate=10, t0=-0.5), "begins at -0.5 s"),
        (lambda: en.Periodic([1.0], rate=0), "rate=0 Hz"),
        (lambda: en.Periodic([1.0], rate=5, t0=np.inf), "t0=inf s"),
        (lambda: en.Sampled(lambda t: [t], rate=-5), "rate=-5 Hz"),
    ],
)
def test_bad_recordings_have_one_clear_message(source: object, message: str) -> None:
    with pytest.raises((en.DataError, en.ConfigError), match=message):
        one_sensor().feed("s", source())  # type: ignore[operator]


def test_a_process_that_writes_nonsense_stops_the_run_with_its_time() -> None:
    sim = one_sensor()
    sim.feed("s", en.Sampled(lambda t: [math.nan if t > 0.25 else t], rate=10))
    with pytest.raises(en.DataError, match=r"reading nan at t=0.3 s, column 0, of s"):
        sim.run(until=1.0)
    sim = one_sensor()
    sim.feed("s", en.Sampled(lambda t: [1.0, 2.0], rate=10))
    with pytest.raises(en.DataError, match="2 values for s at t=0 s: its size is 1"):
        sim.run(until=1.0)

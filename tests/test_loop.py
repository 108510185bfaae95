"""Closed loops: what a plant measures reaches the network at its stamps, and the command the plant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventnet as en
from eventnet.errors import ConfigError, DataError
from eventnet.loop import Reading

RATE = 100.0  # Hz
GAIN, STEP = 2.0, 0.05


class Tank:
    """A level that moves at the commanded speed: ``level' = command``."""

    feeds: tuple[str, ...] = ("level",)

    def __init__(self, level: float = 1.0, latency: float = 0.0) -> None:
        self.level = level
        self.latency = latency
        self.commands: list[float] = []

    def advance(self, time: float, until: float, command: np.ndarray) -> Iterable[Reading]:
        self.commands.append(float(command[0]))
        half = (time + until) / 2
        for begin, end in ((time, half), (half, until)):  # twice as often as there are commands
            self.level += (end - begin) * self.commands[-1]
            yield "level", end + self.latency, [self.level]

    def state(self) -> dict[str, Any]:
        return {"level": self.level, "commands": list(self.commands)}

    def restore(self, saved: dict[str, Any]) -> None:
        self.level, self.commands = saved["level"], list(saved["commands"])


def controlled(plant: Any, engine: str = "compiled", **options: Any) -> en.Simulation:
    """A tank whose level a hidden layer feeds back, negated."""
    net = en.Network(tau=0.5)
    net.sensor("level", 1, step=STEP)
    net.layer("hidden", 2, step=STEP, error_step=0.1)
    net.output("speed", 1, error_step=0.1)
    net.connect("level", "hidden", weights=[[1.0, -1.0]])
    net.connect("hidden", "speed", weights=[[-GAIN], [GAIN]])
    sim = en.Simulation(net, engine=engine, **options)
    sim.close_loop("speed", plant, rate=RATE)
    return sim


@pytest.mark.parametrize("clock", [None, 0.005])
def test_a_loop_is_stable_within_the_quanta(clock: float | None) -> None:
    tank = Tank()
    controlled(tank, clock=clock).run(until=6.0)
    # A coder is within its step: the command is within 3 steps of -GAIN*level, one for the sensor and one
    # for each hidden unit. Of the start exp(-GAIN*6) is left, 6e-6.
    assert len(tank.commands) == 6 * RATE + 1
    assert abs(tank.level) < 3 * STEP + 1e-5
    assert tank.commands[0] == 0.0  # nothing was measured yet
    assert tank.commands[1] == pytest.approx(-GAIN, abs=GAIN * 3 * STEP)


def test_a_reading_takes_effect_at_its_stamp_and_at_a_command_before_it() -> None:
    tank = Tank(latency=0.0123)
    run = controlled(tank).run(until=0.1)
    assert run.raster.select("level").arrays().time[0] == 0.005 + 0.0123
    assert tank.commands[:2] == [0.0, 0.0]
    assert tank.commands[2] < 0.0
    punctual = Tank()
    run = controlled(punctual).run(until=0.1)
    assert run.raster.select("level").arrays().time[0] == 0.005
    assert punctual.commands[1] < 0.0


def spikes(*runs: en.Run) -> list[np.ndarray]:
    found = [run.raster.arrays() for run in runs]
    return [np.concatenate(column) for column in zip(*found, strict=True)]


def test_both_engines_give_the_same_loop() -> None:
    tanks = Tank(latency=0.007), Tank(latency=0.007)
    runs = [
        controlled(tank, engine).run(until=1.0)
        for tank, engine in zip(tanks, ("compiled", "actors"), strict=True)
    ]
    assert tanks[0].commands == tanks[1].commands
    assert len(runs[0].raster) > 50
    for one, other in zip(spikes(runs[0]), spikes(runs[1]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_it_runs_in_pieces_and_from_a_checkpoint_as_in_one(tmp_path: Path) -> None:
    whole = spikes(controlled(Tank(latency=0.013)).run(until=1.0))
    first = controlled(Tank(latency=0.013))
    begun = first.run(until=0.5037)  # between two commands, with readings under way
    first.save(tmp_path / "half")
    second = controlled(Tank(level=7.0, latency=0.013))
    second.load(tmp_path / "half")
    for sim in (first, second):
        for one, other in zip(spikes(begun, sim.run(until=1.0)), whole, strict=True):
            np.testing.assert_array_equal(one, other)
    first.reset()
    for one, other in zip(spikes(first.run(until=1.0)), whole, strict=True):
        np.testing.assert_array_equal(one, other)


class Taught(Tank):
    """A tank that is refilled every second, and also says what it should have been told."""

    feeds = ("level", "speed")

    def advance(self, time: float, until: float, command: np.ndarray) -> Iterable[Reading]:
        if len(self.commands) % RATE == 0:
            self.level = 1.0
        yield from super().advance(time, until, command)
        yield "speed", until, [-self.level]


def test_a_plant_teaches_the_output_that_drives_it() -> None:
    net = en.Network(tau=0.5)
    net.sensor("level", 1, step=0.01)
    net.output("speed", 1, error_step=0.01)
    net.connect("level", "speed", weights=[[0.5]])  # away from the middle
    sim = en.Simulation(net, plasticity=en.STDP(lr=1.0))
    sim.close_loop("speed", Taught(), rate=RATE)
    sim.run(until=20.0)
    # What is left is an error of a few of its steps on levels of about a half.
    assert sim.weights("level -> speed")[0, 0] == pytest.approx(-1.0, abs=0.05)


class Odd(Tank):
    """A tank that measures something odd."""

    def __init__(self, *reading: Any) -> None:
        super().__init__()
        self.reading = reading

    def advance(self, time: float, until: float, command: np.ndarray) -> Iterable[Reading]:
        return [self.reading]  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("reading", "error", "told"),
    [
        (("lvl", 0.01, [1.0]), ConfigError, "a reading of 'lvl': name it in its feeds"),
        (("level", 0.01, [1.0, 2.0]), DataError, "2 values for level at t=0.01 s: its size is 1"),
        (("level", 0.01, [np.nan]), DataError, "reading nan at t=0.01 s, column 0, of level"),
        (("level", 0.0, [1.0]), DataError, "the stamp 0.0 s at t=0 s: must be finite and after"),
        (("level", np.inf, [1.0]), DataError, "the stamp inf s at t=0 s: must be finite and after"),
    ],
)
def test_a_wrong_reading_is_named(reading: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        controlled(Odd(*reading)).run(until=0.1)


def test_what_cannot_be_closed_is_named() -> None:
    sim = controlled(Tank())
    with pytest.raises(ConfigError, match=r"close_loop\('hidden'\): it is a layer, not an output"):
        sim.close_loop("hidden", Tank(), rate=RATE)
    with pytest.raises(ConfigError, match=r"close_loop\('level'\): it has a source already"):
        sim.close_loop("speed", Tank(), rate=RATE)
    free = en.Simulation(sim.network)
    with pytest.raises(ConfigError, match=r"rate=0 Hz on the loop of speed: must be positive"):
        free.close_loop("speed", Tank(), rate=0)

"""A scenario with every kind of source, small enough to be cut off two hundred times."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import eventnet as en
from eventnet.scenario import Outcome, Session

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    clock: float = 0.0  # s; 0: none
    until: float = 1.0  # s
    lr: float = 0.5
    thermometer: str = ""  # a file that holds a number, read 20 times a second
    remembers: bool = True
    size: int = 8


def run(p: Parameters, session: Session) -> Outcome:
    done = session.run(simulation(p, session.engine, session.seed), p.until)
    return Outcome(done, metrics={"events": done.cost.events})


def simulation(p: Parameters, engine: str = "compiled", seed: int = 0) -> en.Simulation:
    rng = np.random.default_rng(seed)
    net = en.Network(tau=0.1)
    sensors = ["recorded", "periodic", "computed", "own", "position"]
    sensors += ["temperature"] * bool(p.thermometer)
    for name in sensors:
        net.sensor(name, 1, step=0.1)
    net.layer("hidden", p.size, step=0.1, error_step=0.05, bias=0.0 if p.clock else 0.1)
    net.output("force", 1, error_step=0.05)
    if not p.clock:
        net.source("camera", 4, step=0.05)
        net.connect("camera", "hidden", delay=0.01)
    for name in sensors:
        net.connect(name, "hidden")
    net.connect("hidden", "force")
    sim = en.Simulation(
        net, plasticity=en.STDP(lr=p.lr), engine=engine, seed=seed, clock=p.clock or None
    )
    times = np.sort(rng.uniform(0, p.until, 200))
    sim.feed("recorded", en.Recording(times, np.sin(9 * times)))
    sim.feed("periodic", en.Periodic(rng.normal(0, 1, int(p.until * 40)), rate=40))
    sim.feed("computed", en.Sampled(Walk(seed) if p.remembers else lambda t: [t], rate=50))
    sim.feed("own", Own(int(p.until * 30)))
    if not p.clock:
        sim.feed("camera", en.SpikeTrain(rng.uniform(0, p.until, 300), rng.integers(0, 4, 300)))
    if p.thermometer:
        sim.feed("temperature", en.Sampled(Thermometer(Path(p.thermometer)), rate=20))
    sim.close_loop("force", Cart(), rate=20)
    sim.scale_lr(0.5, at=p.until / 2)
    sim.probe("force", rate=25)
    return sim


class Walk:
    """A random walk: a function with a memory."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.x = 0.0

    def __call__(self, time: float) -> list[float]:
        self.x += self.rng.normal(0, 0.2)
        return [self.x]

    def state(self) -> dict[str, Any]:
        return {"x": self.x, "rng": self.rng.bit_generator.state}

    def restore(self, saved: dict[str, Any]) -> None:
        self.x = saved["x"]
        self.rng.bit_generator.state = saved["rng"]


@dataclass
class Thermometer:
    """A file, which may be taken away; it remembers nothing."""

    path: Path

    def __call__(self, time: float) -> list[float]:
        return [float(self.path.read_text())]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        pass


class Own:
    """A source in blocks of its own."""

    width = 1

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        times = np.arange(start, min(stop, self.n)) / 30
        return times, np.cos(5 * times)[:, None]


class Cart:
    """A mass on a spring, pushed by the network: a plant, which is also the teacher."""

    feeds = ("position", "force")

    def __init__(self) -> None:
        self.position, self.velocity = 1.0, 0.0

    def advance(
        self, time: float, until: float, command: Floats
    ) -> list[tuple[str, float, Floats]]:
        span = until - time
        self.velocity += span * (float(np.clip(command[0], -5, 5)) - 4 * self.position)
        self.position += span * self.velocity
        told = np.array([self.position])
        return [("position", until + 0.003, told), ("force", until, np.array([-self.velocity]))]

    def state(self) -> dict[str, Any]:
        return {"position": self.position, "velocity": self.velocity}

    def restore(self, saved: dict[str, Any]) -> None:
        self.position, self.velocity = saved["position"], saved["velocity"]

"""A real run in a folder, with spikes of both signs and of several quanta, for whoever reads runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import eventnet as en


def simulation(scale: float = 1.0) -> en.Simulation:
    """Two sensors of different rate, one of them irregular, a hidden layer and a taught output.

    `scale` multiplies the steps: the smaller, the more spikes.
    """
    net = en.Network(tau=0.1)
    net.sensor("gyro", 3, step=0.05 * scale)
    net.sensor("camera", 16, step=0.25 * scale)
    net.sensor("still", 2, step=1.0)
    net.layer("hidden", 20, step=0.1 * scale, error_step=0.05 * scale)
    net.output("turn", 2, error_step=0.05 * scale)
    for source in ("gyro", "camera", "still"):
        net.connect(source, "hidden")
    net.connect("hidden", "turn")
    rng = np.random.default_rng(0)
    t = np.sort(rng.random(300)) * 3
    frames = np.sin(np.arange(90)[:, None] / 30 + np.arange(16))
    target = np.sin(np.arange(60) / 20)
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.1), seed=0)
    sim.feed("gyro", en.Recording(t, np.stack([np.sin(t), np.cos(t), 5 * np.sin(2 * t)], axis=1)))
    sim.feed("camera", en.Periodic(frames, rate=30))
    sim.feed("still", en.Periodic(np.zeros((2, 2)), rate=1))
    sim.teach("turn", en.Periodic(np.stack([target, -target], axis=1), rate=20))
    for population, rate in (("turn", 50), ("gyro", 100), ("hidden", 50)):
        sim.probe(population, rate=rate)
    return sim


def record(folder: Path, scale: float = 1.0) -> en.Run:
    """Run it for three seconds into `folder`."""
    config = {"scenario": "test", "parameters": {}}
    return simulation(scale).run(until=3.0, record=en.Record(folder, config=config))

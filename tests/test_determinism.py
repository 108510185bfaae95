"""The same seed gives the same bytes, in any process; late times lose their last digits only."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from small import Parameters, simulation

import eventnet as en
from eventnet.engine import ENGINES
from eventnet.raster import Spikes


def digests() -> str:
    """Return how many spikes each engine gives, and a digest of them and of the weights."""
    lines = []
    for engine, clock in (("compiled", 0.0), ("actors", 0.0), ("compiled", 0.01)):
        sim = simulation(Parameters(until=0.2, clock=clock), engine, seed=3)
        spikes = sim.run(0.2).raster.arrays()
        weights = [sim.weights(q).tobytes() for q in sim.network.projections]
        digest = hashlib.sha256(b"".join([*(column.tobytes() for column in spikes), *weights]))
        lines.append(f"{len(spikes.time)} {digest.hexdigest()}")
    return "\n".join(lines)


def test_every_process_gives_the_same_bytes(tmp_path: Path) -> None:
    """Other hashes, without the JIT and, in `make nightly`, with kernels compiled anew."""
    ways = [{"PYTHONHASHSEED": "2", "NUMBA_DISABLE_JIT": "1"}]
    if os.environ.get("HYPOTHESIS_PROFILE") == "nightly":
        ways.append({"PYTHONHASHSEED": "3", "NUMBA_CACHE_DIR": str(tmp_path)})
    here = digests()
    for way in ways:
        there = subprocess.run(
            [sys.executable, "-c", "import test_determinism as t; print(t.digests())"],
            check=True,
            capture_output=True,
            text=True,
            cwd=Path(__file__).parent,
            env={**os.environ, **way},
        )
        assert there.stdout.strip() == here
    compiled, actors, clocked = here.splitlines()
    assert compiled == actors
    assert int(compiled.split()[0]) > 500
    assert int(clocked.split()[0]) > 50


@pytest.mark.parametrize("engine", ENGINES)
def test_after_a_million_seconds_the_same_spikes_come_at_the_same_times(engine: str) -> None:
    """A time is rounded to 1.2e-10 s there, which a ratio of slopes multiplies: here two, and sums."""

    def run(t0: float, seed: int) -> Spikes:
        rng = np.random.default_rng(seed)

        def signal(*shape: int) -> np.ndarray:
            return rng.uniform(1, 2, shape) * rng.choice([-1, 1], shape)

        net = en.Network(tau=0.1)
        a, b = net.sensor("a", 2, step=0.1), net.sensor("b", 3, step=0.15, tau=0.2)
        h = net.layer("h", 8, step=0.1, error_step=0.05, bias=signal(8) / 4)
        y = net.output("y", 1, error_step=0.05)
        net.connect(a, h)
        net.connect(b, h, delay=0.013)
        net.connect(h, y)
        sim = en.Simulation(net, plasticity=en.STDP(lr=0.3), engine=engine, seed=seed, t0=t0)
        times = np.sort(rng.uniform(0, 0.4, 16))
        sim.feed("a", en.Recording(t0 + times, signal(16, 2)))
        sim.feed("b", en.Periodic(signal(12, 3), rate=30, t0=t0))
        sim.teach("y", en.Periodic(signal(8), rate=20, t0=t0))
        return sim.run(t0 + 0.4).raster.arrays()

    for seed in range(1 if engine == "actors" else 3):
        early, late = run(0.0, seed), run(1e6, seed)
        assert len(early.time) > 1000
        for mine, theirs in zip(early[1:], late[1:], strict=True):
            np.testing.assert_array_equal(mine, theirs)
        assert np.abs(late.time - 1e6 - early.time).max() < 1e-8

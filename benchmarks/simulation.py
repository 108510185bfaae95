"""Section: the network of held images in continuous time, against clocked and other exact simulators."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.environments import ROOT, python
from eventnet.bench.task import digits, keep
from eventnet.bench.workers import Entry, Told, interleave
from eventnet.data import fetch, mnist
from eventnet.trial import VALIDATION

PART, PARTS = 50, 10
QUICK = 2, 2
ENVIRONMENTS = ("brian2",)
EXACT = "eventnet"


def entries() -> dict[str, Entry]:
    """Return who takes part, the exact network first."""
    ours = "eventnet.bench.spiking:HeldImages"

    def brian(dt: float) -> Entry:
        name = "benchmarks.opponents.brian:HeldImages"
        return Entry(name, {"dt": dt}, python("brian2"), ROOT)

    return {
        EXACT: Entry(ours, {"learn": False}),
        "eventnet, float32": Entry(ours, {"learn": False, "dtype": "float32"}),
        "eventnet, learning": Entry(ours, {"learn": True}),
        "eventnet, learning, float32": Entry(ours, {"learn": True, "dtype": "float32"}),
        "Brian2 C++, dt 1 ms": brian(dt=1e-3),
        "Brian2 C++, dt 10 ms": brian(dt=1e-2),
        "SimPy, a NumPy row a spike": Entry(
            "benchmarks.opponents.processes:HeldImages", {}, cwd=ROOT
        ),
    }


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return the rows by contestant; ``missing``: the share of hidden spikes that each does not see."""
    data = mnist.load(fetch("mnist", progress=True))
    part, parts = QUICK if quick else (PART, PARTS)
    order = np.random.default_rng(0).permutation(VALIDATION.start)
    with TemporaryDirectory() as folder:
        task = keep(digits(data, order, part, parts), Path(folder) / "task.npz")
        rows = interleave(entries(), task, parts, told)
    exact = rows[EXACT]["repetitions"][0]["hidden events"]
    for name, row in rows.items():
        if "learning" not in name:
            row["missing"] = 1 - row["repetitions"][0]["hidden events"] / exact
    return {"part": part, "parts": parts, "rows": rows}

"""Section: learning MNIST one image at a time, 784-200-10, against dense steps at their best."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.environments import ROOT, python
from eventnet.bench.task import digits, keep
from eventnet.bench.workers import BenchError, Entry, Row, Told, interleave
from eventnet.data import fetch, mnist
from eventnet.data.epochs import orders
from eventnet.trial import VALIDATION

PART, PARTS = 5_000, 10
QUICK = 20, 2
SLOW = ("PyTorch, autograd and SGD", "PyTorch, gradients by hand", "NumPy", "snnTorch, 10 steps")
"""Take as long whatever the order: they learn in one."""
ENVIRONMENTS = ("opponents",)
DRIFT = 1e-6
"""Of the relative difference, a sample, by which float32 moves one opponent's loss from another's."""


def entries() -> dict[str, Entry]:
    """Return who takes part, eventnet first."""
    ours = "eventnet.bench.perceptrons"

    def other(name: str, **options: Any) -> Entry:
        return Entry(f"benchmarks.opponents.{name}", options, python("opponents"), ROOT)

    return {
        "eventnet": Entry("eventnet.bench.spiking:Preset", {"dtype": "float32"}),
        "Numba, skipping zeros": Entry(f"{ours}:Compiled", {"skip_zeros": True}),
        "Numba, dense": Entry(f"{ours}:Compiled", {"skip_zeros": False}),
        "JAX, scan": other("xla:Scan"),
        "JAX, a step": other("xla:Step"),
        "PyTorch, gradients by hand": other("pytorch:HandWritten"),
        "PyTorch, autograd and SGD": other("pytorch:Autograd"),
        "NumPy": Entry(f"{ours}:Numpy"),
        "snnTorch, 10 steps": other("surrogate:SnnTorch", share=50),
    }


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return the rows by order of the images and by contestant."""
    data = mnist.load(fetch("mnist", progress=True))
    part, parts = QUICK if quick else (PART, PARTS)
    images = data.train_images[: part * parts if quick else VALIDATION.start]
    found: dict[str, Any] = {}
    for kind in ("shuffled", "temporal"):
        order = orders(kind, images)(0)
        with TemporaryDirectory() as folder:
            task = keep(digits(data, order, part, parts), Path(folder) / "task.npz")
            chosen = {n: e for n, e in entries().items() if kind == "shuffled" or n not in SLOW}
            found[kind] = interleave(chosen, task, parts, told)
        agree(found[kind], part)
    return {"part": part, "parts": parts, "orders": found}


def agree(rows: dict[str, Row], part: int) -> None:
    """Raise if the dense opponents are not in the same place after the first part."""
    first = {name: row["repetitions"][0] for name, row in rows.items()}
    losses = {name: r["held_loss"] for name, r in first.items() if "held_loss" in r}
    middle = float(np.median(list(losses.values())))
    for name, loss in losses.items():
        if not abs(loss - middle) <= DRIFT * part * middle:
            raise BenchError(
                f"{name}: loss {loss} after the first {part} images, the others have {middle}: it "
                "does another step"
            )

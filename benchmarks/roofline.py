"""Section: which share of the machine's rate of adding rows the projections reach."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.environments import ROOT
from eventnet.bench.task import Repetition
from eventnet.bench.workers import Entry, Row, Told, interleave

SIZES = ((784, 200), (2048, 2048), (16384, 4096))
QUICK = ((64, 32),)
REPETITIONS = 3
KERNELS = 8
ENVIRONMENTS = ()
DTYPES = ("float32", "float64")
"""In which weights are kept."""


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return by size and precision the rows of each kernel, with its ``share`` of the rate of rows.

    A size and precision at a time: matrices of 16384 x 4096 do not all fit.
    """
    found: dict[str, dict[str, Row]] = {}
    for n_in, n_out in QUICK if quick else SIZES:
        size = f"{n_in} x {n_out}"
        found[size] = {}
        for dtype in DTYPES:
            name = f"{size}, {dtype}"
            options = {"n_in": n_in, "n_out": n_out, "dtype": dtype, "repetitions": REPETITIONS}
            options |= {"synapses": 1 << 20} if quick else {}
            entry = Entry("benchmarks.kernels:Kernels", options, cwd=ROOT)
            rows = interleave({name: entry}, None, KERNELS * REPETITIONS, told)
            found[size] |= by_kernel(rows[name]["repetitions"], dtype)
    return {"sizes": found}


def by_kernel(repetitions: list[Repetition], dtype: str) -> dict[str, Row]:
    """Return a row for rows alone, read and changed, and a row a kernel."""
    found: dict[str, Row] = {
        f"AXPY, {name}, {dtype}": {
            "repetitions": [{"units": r[name], "wall_s": 1.0} for r in repetitions]
        }
        for name in ("read", "change")
    }
    for r in repetitions:
        row = found.setdefault(f"{r['kernel']}, {dtype}", {"repetitions": []})
        row["repetitions"].append(r)
    for row in found.values():
        if "read" in row["repetitions"][0]:
            row["share"] = statistics.median(share(r) for r in row["repetitions"])
    return found


def share(r: Repetition) -> float:
    """Return how long rows alone would take for what a kernel did, over what it took.

    A synapse that is read, forward or backward, counts as one of AXPY's reads, one that is changed as
    one of its changes.
    """
    alone = (r["forward"] + r["backward"]) / r["read"] + r["update"] / r["change"]
    return float(alone / r["wall_s"])

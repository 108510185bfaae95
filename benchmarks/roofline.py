"""Section: which share of the machine's rate of adding rows the projections reach."""

from __future__ import annotations

from typing import Any

from benchmarks.environments import ROOT
from eventnet.bench.workers import Entry, Row, Told, interleave, spread

SIZES = ((784, 200), (2048, 2048), (16384, 4096))
QUICK = ((64, 32),)
REPETITIONS = 5
ENVIRONMENTS = ()
KERNELS = {"continuous time": None, "clocked": 1.0}
WHAT = ("forward", "rows", "errors")
DTYPES = ("float32", "float64")
"""In which weights are kept."""


def entries(n_in: int, n_out: int, **more: Any) -> dict[str, Entry]:
    """Return the rows by themselves, then eventnet's kernels."""
    size = {"n_in": n_in, "n_out": n_out, **more}

    def entry(name: str, **options: Any) -> Entry:
        return Entry(f"benchmarks.kernels:{name}", size | options, cwd=ROOT)

    found = {
        f"AXPY, {what}, {dtype}": entry("Axpy", dtype=dtype, write=what == "change")
        for dtype in DTYPES
        for what in ("read", "change")
    }
    for dtype in DTYPES:
        for engine, clock in KERNELS.items():
            for what in WHAT:
                name = f"{engine}, {what}, {dtype}"
                found[name] = entry("Projection", what=what, clock=clock, dtype=dtype)
    return found


def run(quick: bool, told: Told) -> dict[str, Any]:
    """Return the rows by size and by kernel, each with its ``share`` of the rate of rows."""
    found = {}
    for n_in, n_out in QUICK if quick else SIZES:
        more = {"synapses": 1 << 20} if quick else {}
        rows = interleave(entries(n_in, n_out, **more), None, 2 if quick else REPETITIONS, told)
        for name, row in rows.items():
            if not name.startswith("AXPY"):
                row["share"] = share(row, rows, name.rpartition(", ")[2])
        found[f"{n_in} x {n_out}"] = rows
    return {"sizes": found}


def share(row: Row, rows: dict[str, Row], dtype: str) -> float:
    """Return how long rows alone would take for what a kernel did, over what it took.

    A synapse that is read, forward or backward, counts as one of AXPY's reads, one that is changed as
    one of its changes.
    """
    read, change = (spread(rows[f"AXPY, {what}, {dtype}"])[0] for what in ("read", "change"))
    shares = [
        ((r["forward"] + r["backward"]) / read + r["update"] / change) / r["wall_s"]
        for r in row["repetitions"]
    ]
    return sorted(shares)[len(shares) // 2]

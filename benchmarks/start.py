"""Seconds from the command line to the first spikes of a tiny network: cold and warm Numba cache.

Each start is a process of its own, from the interpreter's start to its end. Cold: the cache is empty and
all kernels are compiled. Warm: they are loaded. CPU seconds stand beside, since the machine may be busy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version

ENGINES = ("asynchronous", "clocked", "actors")


def run(engine: str) -> dict[str, float]:
    """Build a tiny network, teach it for a second and return the seconds since this was called."""
    begin = time.perf_counter()
    import numpy as np

    import eventnet as en

    net = en.Network(tau=0.1)
    net.sensor("reading", 2, step=0.1)
    net.layer("hidden", 3, step=0.1, error_step=0.1)
    net.output("value", 1, error_step=0.1)
    net.connect("reading", "hidden")
    net.connect("hidden", "value")
    sim = en.Simulation(
        net,
        plasticity=en.STDP(lr=0.1, cap=None),
        seed=0,
        engine="actors" if engine == "actors" else "compiled",
        clock=0.01 if engine == "clocked" else None,
    )
    sim.feed("reading", en.Periodic(np.linspace([1, -1], [-1, 1], 10), rate=10))
    sim.teach("value", en.Periodic(np.ones((10, 1)), rate=10))
    imported = time.perf_counter()
    events = sim.run(until=1.0).cost.events
    end = time.perf_counter()
    return {"events": events, "import_s": imported - begin, "run_s": end - imported}


def start(engine: str, cache: str) -> dict[str, float]:
    """Return what a process of its own spent, wall and CPU seconds, with its Numba cache in `cache`."""
    begin = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, __file__, "--run", engine],
        stdout=subprocess.PIPE,
        env=os.environ | {"NUMBA_CACHE_DIR": cache},
    )
    assert child.stdout is not None
    found: dict[str, float] = json.loads(child.stdout.read())
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{engine} ended with status {os.waitstatus_to_exitcode(status)}")
    wall = time.perf_counter() - begin
    return found | {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime}


def measure(engine: str, repetitions: int) -> dict[str, object]:
    """Start once with an empty cache, then with what it holds."""
    with tempfile.TemporaryDirectory() as cache:
        cold = start(engine, cache)
        warm = [start(engine, cache) for _ in range(repetitions)]
    median = {name: statistics.median(w[name] for w in warm) for name in warm[0]}
    return {"engine": engine, "cold": cold, "warm": median}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "engines", nargs="*", metavar="ENGINE", help=f"of {', '.join(ENGINES)}; all"
    )
    parser.add_argument("--repetitions", type=int, default=5, help="warm starts")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--run", choices=ENGINES, help="run one tiny network in this process")
    arguments = parser.parse_args()
    if arguments.run:
        print(json.dumps(run(arguments.run)))
        return
    rows = [measure(name, arguments.repetitions) for name in arguments.engines or ENGINES]
    versions = {name: version(name) for name in ("eventnet", "numba", "llvmlite", "numpy")}
    versions["python"] = platform.python_version()
    if arguments.json:
        print(json.dumps({"rows": rows, "versions": versions, "cpu": platform.processor()}))
        return
    for row in rows:
        for kind in ("cold", "warm"):
            seconds: dict[str, float] = row[kind]  # type: ignore[assignment]
            print(
                f"{row['engine']:12} {kind}  {seconds['wall_s']:6.2f} s, CPU {seconds['cpu_s']:6.2f} s: "
                f"import {seconds['import_s']:.2f}, first run {seconds['run_s']:.2f}"
            )
    print(versions)


if __name__ == "__main__":
    main()

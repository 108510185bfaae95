"""How much memory and time an export takes: 10^8 spikes, one format a process.

    python benchmarks/exports.py                   # all formats, 10^8 spikes; needs about 10 GB of disk
    python benchmarks/exports.py --spikes 1e6 nwb

Prints a table in Markdown: seconds of CPU, the peak of resident memory, the size of the file. Spikes are
drawn: 1,000 neurons in two populations, Poisson, signs alike, one to three quanta.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

BATCH = 1_000_000
RATE = 1e5  # spikes a second, all together


def make(folder: Path, spikes: int) -> None:
    from eventnet.raster import RasterWriter

    rng = np.random.default_rng(0)
    last = 0.0
    with RasterWriter(folder, ["sensor", "hidden"]) as writer:
        for start in range(0, spikes, BATCH):
            n = min(BATCH, spikes - start)
            times = last + np.cumsum(rng.exponential(1 / RATE, n))
            count = rng.integers(1, 4, n) * rng.choice([-1, 1], n)
            writer.append(times, rng.integers(0, 2, n), rng.integers(0, 500, n), count)
            last = float(times[-1])


def measure(run: Path, format: str, file: Path) -> dict[str, float]:
    """Export in a process of its own and return what it took."""
    code = (
        "import json, resource, sys\n"
        "from eventnet.export import export\n"
        "from eventnet.raster import Raster\n"
        "run, file, format = sys.argv[1:]\n"
        "export(Raster.open(run), file, format)\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss * 1024]))"
    )
    command = [sys.executable, "-c", code, str(run), str(file), format]
    seconds, peak = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return {"seconds": seconds, "peak": peak, "size": file.stat().st_size}


def main() -> None:
    from eventnet.export import FORMATS

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("formats", nargs="*", help="[all but neo]")
    parser.add_argument("--spikes", type=float, default=1e8)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder, "run")
        make(run, int(chosen.spikes))
        print(f"{int(chosen.spikes):,} spikes\n")
        print("| format | CPU (s) | peak memory (MB) | file (MB) |\n|---|---:|---:|---:|")
        for name in chosen.formats or [name for name in FORMATS if name != "neo"]:
            file = Path(folder, f"spikes.{FORMATS[name].suffix}")
            took = measure(run, name, file)
            row = f"{took['seconds']:.0f} | {took['peak'] / 1e6:.0f} | {took['size'] / 1e6:.0f}"
            print(f"| {name} | {row} |", flush=True)
            file.unlink()


if __name__ == "__main__":
    main()

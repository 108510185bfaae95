"""``python -m benchmarks``, or ``make bench``: run sections and write docs/results/benchmarks.md.

A section's rows are kept in docs/results/benchmarks/SECTION.json with their commit, machine and versions;
the page is drawn from all that lie there. An opponent that is missing or fails ends the run.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import environments, page
from eventnet.bench.command import progress
from eventnet.raster import written_aside
from eventnet.reproduce.record import commit, machine
from eventnet.simulation import versions

SECTIONS = ("training", "streams", "video", "simulation", "roofline", "size", "largest", "cores")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--quick", action="store_true", help="see that all run; keeps nothing")
    parser.add_argument("--page", action="store_true", help="only draw the page again")
    given = parser.parse_args()
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"{', '.join(sorted(unknown))}: no such section; choose from {SECTIONS}")
    if given.page:
        page.write(page.RESULTS)
        return
    large = os.environ.get("EVENTNET_BENCH_LARGEST") == "1"
    chosen = given.sections or [s for s in SECTIONS if large or s != "largest"]
    for name in dict.fromkeys(e for s in chosen for e in section(s).ENVIRONMENTS):
        environments.ready(name)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) if given.quick else page.RESULTS
        for name in chosen:
            document = measured(name, given.quick)
            folder.mkdir(parents=True, exist_ok=True)
            with written_aside(folder / f"{name}.json") as aside:
                aside.write_text(json.dumps(document) + "\n", encoding="utf-8")
            page.show(name, document, Console(width=max(Console().width, 120)))
        page.write(folder)


def section(name: str) -> Any:
    """Return a section's module."""
    return import_module(f"benchmarks.{name}")


def measured(name: str, quick: bool) -> dict[str, Any]:
    """Run a section, and return its rows with what they depend on."""
    begin = time.perf_counter()
    with progress(silent=False) as told:
        found: dict[str, Any] = section(name).run(quick, told)
    others = {e: environments.versions(e) for e in section(name).ENVIRONMENTS}
    record = {
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "load": os.getloadavg()[1],
        "versions": versions(),
        "others": others,
        "wall_s": round(time.perf_counter() - begin, 1),
    }
    return found | {"record": record}


if __name__ == "__main__":
    main()

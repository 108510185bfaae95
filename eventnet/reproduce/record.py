"""What a target leaves on disk: the figure (PNG, SVG), the numbers (JSON, CSV) and how they came."""

from __future__ import annotations

import csv
import json
import math
import os
import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import eventnet
from eventnet.plot import save
from eventnet.raster import written_aside
from eventnet.reproduce import Result

PACKAGES = ("numpy", "numba", "scipy", "matplotlib")
COLUMNS = ("what", "here", "paper", "program", "note")


def write(
    result: Result, target: str, folder: Path, *, quick: bool, wall_s: float
) -> dict[str, Any]:
    """Write TARGET.png, .svg, .json and .csv into `folder`, replacing older ones.

    Parameters
    ----------
    result : Result
        What the target came to.
    target : str
        Its name.
    folder : Path
        Made if it does not exist.
    quick : bool
        Whether it was a quick run.
    wall_s : float
        How long the run took, s.

    Returns
    -------
    dict
        What the JSON file holds, plain values: target, title, settings, numbers and record.

    Raises
    ------
    RunFolderError
        If a file cannot be written.
    OSError
        If the folder cannot be made.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [asdict(number) for number in result.numbers]
    for row in numbers:
        # JSON has no nan.
        row["here"] = None if math.isnan(row["here"]) else row["here"]
    document = {
        "target": target,
        "title": result.title,
        "settings": dict(result.settings),
        "numbers": numbers,
        "record": record(target, result.seed, quick=quick, wall_s=wall_s),
    }
    for suffix in ("png", "svg"):
        save(result.figure, folder / f"{target}.{suffix}")
    with written_aside(folder / f"{target}.json") as aside:
        aside.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    with (
        written_aside(folder / f"{target}.csv") as aside,
        aside.open("w", newline="", encoding="utf-8") as file,
    ):
        table = csv.DictWriter(file, COLUMNS)
        table.writeheader()
        table.writerows(numbers)
    return document


def record(target: str, seed: int | None, *, quick: bool, wall_s: float) -> dict[str, Any]:
    """Return how a result came about: command, seed, commit, machine, versions and time."""
    return {
        "command": f"eventnet reproduce {target}" + (" --quick" if quick else ""),
        "seed": seed,
        "quick": quick,
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "wall_s": round(wall_s, 3),
        "machine": machine(),
        "versions": _versions(),
    }


def machine() -> dict[str, Any]:
    """Return what a time depends on."""
    return {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
    }


def commit() -> str | None:
    """Return the commit of the checkout that eventnet is imported from, None outside of one.

    ``+changes`` follows it where the package differs from the commit.
    """
    root = Path(eventnet.__file__).resolve().parent.parent
    try:
        top = _git(root, "rev-parse", "--show-toplevel")
        # A package installed somewhere inside another project's checkout is not that project's.
        if Path(top) != root:
            return None
        found = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--", "eventnet")
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{found}+changes" if changed else found


def uncommitted(*paths: str) -> str:
    """Return which files under these paths of the checkout differ from its commit, "" for none."""
    root = Path(eventnet.__file__).resolve().parent.parent
    lines = _git(root, "status", "--porcelain", "--", *paths).splitlines()
    return " ".join(line.split(maxsplit=1)[1] for line in lines)


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "eventnet": eventnet.__version__}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found

"""The rows of long targets: trials that are kept one by one, so that a target can be made in sittings.

A finished row is ``rows/TARGET/NAME.json`` in the folder, with its commit; while it is in training its
checkpoints are in ``rows/TARGET/NAME/``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from eventnet.classifier import Settings
from eventnet.data.mnist import Mnist
from eventnet.raster import written_aside
from eventnet.reproduce.record import record
from eventnet.trial import Row, Trial

QUICK_SAMPLES = 500


def quickened(settings: Settings, epochs: int) -> Settings:
    """Return settings that take seconds, for ``--quick``."""
    return replace(settings, samples=QUICK_SAMPLES, epochs=epochs)


def train(
    target: str, trials: Mapping[str, Trial], folder: Path | None, quick: bool
) -> dict[str, Row]:
    """Return every trial's row by its name; those that the folder holds are not run again.

    Parameters
    ----------
    target : str
        For the record.
    trials : mapping
        By name.
    folder : Path or None
        Where rows and checkpoints are kept; None: nowhere.
    quick : bool
        For the record.
    """
    kept = None if folder is None else folder / "rows" / target
    rows: dict[str, Row] = {}
    for name, trial in trials.items():
        path = None if kept is None else kept / f"{name}.json"
        if path is not None and path.is_file():
            row = json.loads(path.read_text(encoding="utf-8"))
            if _same(row["settings"], json.loads(json.dumps(trial.identity()))):
                rows[name] = row
                continue
        checkpoints = None if kept is None else kept / name
        start = time.perf_counter()
        with _bar(name, trial.settings.epochs) as told:
            row = trial.run(checkpoints, told=told)
        row["settings"] = trial.identity()
        row["record"] = record(target, trial.seed, quick=quick, wall_s=time.perf_counter() - start)
        rows[name] = row
        if path is not None and checkpoints is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(path) as aside:
                aside.write_text(json.dumps(row) + "\n", encoding="utf-8")
            shutil.rmtree(checkpoints, ignore_errors=True)
    return rows


def _same(kept: Row, wanted: Row) -> bool:
    """Return whether a kept row is the wanted one: what settings it does not know are as ever."""
    usual = asdict(Settings())
    return all(kept.get(name, usual.get(name)) == value for name, value in wanted.items())


@contextmanager
def _bar(name: str, epochs: int) -> Iterator[Any]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(name, total=epochs)

        def told(row: Row) -> None:
            score = row.get("validation", row["train"])
            progress.update(task, completed=row["epoch"], description=f"{name} {score:.2f} %")

        yield told


def commits(rows: Mapping[str, Row]) -> list[str]:
    """Return the commits at which rows were made, each once."""
    return sorted({str(row["record"]["commit"])[:15] for row in rows.values()})


def data(quick: bool = False) -> Mnist:
    """Return MNIST; if quick, the first images of either part alone."""
    from eventnet.data import fetch, mnist

    whole = mnist.load(fetch("mnist", progress=True))
    return mnist.Mnist(*(part[:QUICK_SAMPLES] for part in whole)) if quick else whole

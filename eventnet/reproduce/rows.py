"""The rows of long targets: trials that are kept one by one, so that a target can be made in sittings.

A finished row is ``rows/TARGET/NAME.json`` in the folder, with its commit; while it is in training its
checkpoints are in ``rows/TARGET/NAME/``.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
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
    rows: dict[str, Row] = {}
    for name, trial in trials.items():
        checkpoints = None if folder is None else folder / "rows" / target / name

        make = partial(_trained, name, trial, checkpoints)
        rows[name] = kept(target, name, trial.identity(), make, folder, quick)
        if checkpoints is not None:
            shutil.rmtree(checkpoints, ignore_errors=True)
    return rows


def _trained(name: str, trial: Trial, checkpoints: Path | None) -> Row:
    with _bar(name, trial.settings.epochs) as told:
        return trial.run(checkpoints, told=told)


def kept(
    target: str,
    name: str,
    settings: Mapping[str, Any],
    make: Callable[[], Row],
    folder: Path | None,
    quick: bool,
) -> Row:
    """Return the row that the folder holds of these settings, or make it and keep it.

    Parameters
    ----------
    target, name : str
    settings : mapping
        Plain data: what makes it this row, ``seed`` among it.
    make : callable
        Returns the row, plain data, without ``settings`` and ``record``.
    folder : Path or None
        Where rows are kept; None: nowhere.
    quick : bool
        For the record.
    """
    wanted = json.loads(json.dumps(settings))
    path = None if folder is None else folder / "rows" / target / f"{name}.json"
    if path is not None and path.is_file():
        row: Row = json.loads(path.read_text(encoding="utf-8"))
        if _same(row["settings"], wanted):
            return row
    start = time.perf_counter()
    row = dict(make())
    row["settings"] = wanted
    row["record"] = record(target, wanted["seed"], quick=quick, wall_s=time.perf_counter() - start)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as aside:
            aside.write_text(json.dumps(row) + "\n", encoding="utf-8")
    return row


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

"""Run folders: what a run left behind, finished or not."""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import DataError
from eventnet.raster import Raster

Floats = NDArray[np.float64]


class Reading(NamedTuple):
    """What a probe read during a run: times (n,) in s, values (n, size), and what it was given.

    `given` is what the source of a sensor or the teacher of an output held at these times, NaN where
    there was none; None if that is not known.
    """

    times: Floats
    values: Floats
    given: Floats | None


class RunFolder:
    """What stands in a run folder beside the raster; nothing is read until asked.

    Parameters
    ----------
    path : Path or str

    Attributes
    ----------
    path : Path
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def _json(self, name: str) -> dict[str, Any]:
        path = self.path / name
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); restore or remove it") from error
        return found if isinstance(found, dict) else {}

    @cached_property
    def config(self) -> dict[str, Any]:
        """What the simulation was made of; empty if the folder does not say."""
        return self._json("config.json")

    @cached_property
    def end(self) -> dict[str, Any]:
        """What the run wrote last: ``until``, ``wall_s`` and ``cost``; empty if it did not finish."""
        return self._json("end.json")

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """The summary of the scenario; empty if it did not finish or was none."""
        return self._json("metrics.json")

    @cached_property
    def epochs(self) -> list[dict[str, Any]]:
        """The rows that a classifier wrote after each epoch; empty if it was none."""
        return list(self._json("curve.json").get("curve", []))

    @property
    def finished(self) -> bool:
        """Whether the simulation reached its end: else it is still running or was killed."""
        return bool(self.end)

    @property
    def title(self) -> str:
        """The scenario's name, or the folder's."""
        name = self.config.get("config", {}).get("scenario")
        return str(name) if name else self.path.resolve().name

    @property
    def started(self) -> datetime:
        """When the run began; of folders that do not say, when its configuration was written."""
        told = self.config.get("started")
        if told:
            return datetime.fromisoformat(told)
        config = self.path / "config.json"
        return datetime.fromtimestamp(
            (config if config.exists() else self.path).stat().st_mtime, UTC
        )

    @cached_property
    def _described(self) -> Mapping[str, dict[str, Any]]:
        return {p["name"]: p for p in self.config.get("network", {}).get("populations", [])}

    def readings(self) -> dict[str, Reading]:
        """Return what each probe read, by population; nothing if the run did not finish."""
        arrays = _arrays(self.path / "traces.npz")
        names = [name.removesuffix("/times") for name in arrays if name.endswith("/times")]
        return {
            n: Reading(arrays[f"{n}/times"], arrays[f"{n}/values"], arrays.get(f"{n}/given"))
            for n in names
        }

    def weights(self, when: Literal["start", "end"]) -> dict[str, Floats]:
        """Return the weights of each projection; nothing if they were not written (yet)."""
        return _arrays(self.path / f"weights-{when}.npz")

    def kind(self, population: str) -> str | None:
        """Return "sensor", "source", "layer" or "output"; None if nobody told."""
        told = self._described.get(population)
        return None if told is None else str(told["kind"])

    def coder(self, population: str) -> tuple[float, float] | None:
        """Return the step and the time constant (s) of a population's spikes; None if nobody told."""
        told = self._described.get(population)
        return None if told is None else (float(told["step"]), float(told["tau"]))

    def size(self, population: str) -> int | None:
        """Return the number of neurons behind a name in the raster; None if nobody told."""
        owner = population if population in self._described else population.rpartition(".error")[0]
        told = self._described.get(owner)
        return None if told is None else int(told["size"])


def _arrays(path: Path) -> dict[str, Floats]:
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error}); restore or remove it") from error


def span(raster: Raster) -> tuple[float, float]:
    """Return the time that a raster covers, in seconds, such that no spike is outside.

    The selected window; where none was selected, a finished run's start and end; else the first and
    the last spike. An empty raster that nobody tells more about covers (0, 0).
    """
    start, stop = raster.start, raster.stop
    if raster.folder is not None and (start is None or stop is None):
        run = RunFolder(raster.folder)
        start = run.config.get("start") if start is None else start
        stop = run.end.get("until") if stop is None else stop
    if start is None or stop is None:
        rows = raster.stats().values()
        if start is None:
            start = min((row.first for row in rows if row.first is not None), default=0.0)
        if stop is None:
            stop = max((row.last for row in rows if row.last is not None), default=start)
    assert math.isfinite(start)
    return float(start), float(max(start, stop))

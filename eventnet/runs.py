"""Run folders: what a run left behind, finished or not."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from eventnet.errors import DataError
from eventnet.raster import Raster


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
    def sizes(self) -> Mapping[str, int]:
        """Number of neurons of the populations that the configuration describes."""
        populations = self.config.get("network", {}).get("populations", [])
        return {p["name"]: int(p["size"]) for p in populations}

    def size(self, population: str) -> int | None:
        """Return the number of neurons behind a name in the raster; None if nobody told."""
        owner = population if population in self.sizes else population.rpartition(".error")[0]
        return self.sizes.get(owner)


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

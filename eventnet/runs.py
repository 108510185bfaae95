"""Run folders: what a run left behind, finished or not."""

from __future__ import annotations

import fcntl
import json
import math
import platform
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property, wraps
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Concatenate, Literal, NamedTuple, ParamSpec, TextIO, TypeVar

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import DataError, RunFolderError
from eventnet.files import no_link, understood
from eventnet.raster import Raster, _Folder

Floats = NDArray[np.float64]
P = ParamSpec("P")
T = TypeVar("T")

CHECKSUM = "checksum"

LOCK = ".lock"
_held: dict[Path, TextIO | None] = {}  # the folders that this process writes


@contextmanager
def writing(folder: Path | str) -> Iterator[None]:
    """Tell others that a run folder is being written, until the block or the process ends.

    It is a lock on a file in the folder, which the system takes back from a process that is killed.
    Blocks nest. The folder may come into being inside: a block that is entered when it is there locks
    it for the outermost.

    Raises
    ------
    RunFolderError
        If another process is writing it, or it cannot be locked.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, writing(folder):
    ...     RunFolder(folder).state
    'running'
    """
    path = Path(folder).absolute()
    if path in _held:
        _held[path] = _held[path] or _locked(path)
        yield
        return
    _held[path] = _locked(path)
    try:
        yield
    finally:
        file = _held.pop(path)
        if file is not None:
            file.close()


def _locked(folder: Path) -> TextIO | None:
    if not folder.is_dir():
        return None
    file = no_link(folder / LOCK).open("a")
    until = time.monotonic() + 0.2  # longer than anyone looks whether it is locked
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError as error:
            if isinstance(error, BlockingIOError) and time.monotonic() < until:
                time.sleep(0.01)
                continue
            file.close()
            why = (
                "another process is writing it; wait for that or stop it"
                if isinstance(error, BlockingIOError)
                else f"cannot be locked ({error.strerror}); choose another place"
            )
            raise RunFolderError(f"{folder}: {why}") from error


def _being_written(folder: Path) -> bool:
    try:
        with (folder / LOCK).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # there is none, or nobody can lock here
        pass
    return False


class Reading(NamedTuple):
    """What a probe read during a run: times (n,) in s, values (n, size), and what it was given.

    `given` is what the source of a sensor or the teacher of an output held at these times, NaN where
    there was none; None if that is not known.
    """

    times: Floats
    values: Floats
    given: Floats | None


def _told(method: Callable[Concatenate[RunFolder, P], T]) -> Callable[Concatenate[RunFolder, P], T]:
    """Let a method read what a folder says, which may be anything, and raise nothing but `DataError`."""

    @wraps(method)
    def inside(run: RunFolder, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with understood(run.path, "a run folder"):
            return method(run, *args, **kwargs)

    return inside


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
            found = json.loads(no_link(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
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
    @_told
    def epochs(self) -> list[dict[str, Any]]:
        """The rows that a classifier wrote after each epoch; empty if it was none."""
        return list(self._json("curve.json").get("curve", []))

    @property
    def finished(self) -> bool:
        """Whether all is there: the run reached its end and, if a scenario's, was scored."""
        last: str = self.config.get("config", {}).get("last_file", "end.json")
        return (self.path / last).is_file()

    @property
    def state(self) -> Literal["finished", "running", "interrupted", "raster"]:
        """What became of the run; "raster" stands for spikes that came here without one."""
        if _being_written(self.path):  # asked first: what is not written any more does not change
            return "running"
        if self.finished:
            return "finished"
        return "interrupted" if (self.path / "config.json").is_file() else "raster"

    @property
    def warning(self) -> str:
        """A sentence for whoever looks at a run that is not whole; else empty."""
        return {
            "running": "This run is still being written: shown is what is there by now.",
            "interrupted": "This run was interrupted: shown is what it had written.",
        }.get(self.state, "")

    @_told
    def summary(self) -> dict[str, Any]:
        """Return what a list of runs shows of it, as plain data; None for what it does not tell.

        Of a run that is not finished, `simulated_s` and `spikes` are those of the segments on disk.
        """
        spikes, until = self._recorded()
        if self.end:
            until = self.end["until"]
            counted = self.end["cost"]["populations"].values()
            spikes = sum(p["events"] + p["error_events"] for p in counted)
        told = self.metrics  # of a scenario in parts: of all of them
        simulated = None if until is None else until - self.config.get("start", 0.0)
        return {
            "folder": str(self.path),
            "scenario": self.config.get("config", {}).get("scenario"),
            "state": self.state,
            "started": self.started.isoformat(timespec="seconds"),
            "simulated_s": told.get("simulated_s", simulated),
            "wall_s": told.get("wall_s", self.end.get("wall_s")),
            "spikes": sum(told["events"].values()) if told else spikes,
            "metrics": told.get("metrics", {}),
        }

    def _recorded(self) -> tuple[int | None, float | None]:
        """Return the number of spikes on disk and the time of the last, without reading them."""
        if not (self.path / "raster").is_dir():
            return None, None
        segments = _Folder(self.path / "raster").segments
        return sum(s.rows for s in segments), segments[-1].spans[-1][1] if segments else None

    @property
    @_told
    def title(self) -> str:
        """The scenario's name, or the folder's."""
        name = self.config.get("config", {}).get("scenario")
        return str(name) if name else self.path.resolve().name

    @property
    @_told
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
    @_told
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

    @_told
    def kind(self, population: str) -> str | None:
        """Return "sensor", "source", "layer" or "output"; None if nobody told."""
        told = self._described.get(population)
        return None if told is None else str(told["kind"])

    @_told
    def coder(self, population: str) -> tuple[float, float] | None:
        """Return the step and the time constant (s) of a population's spikes; None if nobody told."""
        told = self._described.get(population)
        return None if told is None else (float(told["step"]), float(told["tau"]))

    @_told
    def size(self, population: str) -> int | None:
        """Return the number of neurons behind a name in the raster; None if nobody told."""
        owner = population if population in self._described else population.rpartition(".error")[0]
        told = self._described.get(owner)
        return None if told is None else int(told["size"])


def sealed(described: dict[str, Any]) -> str:
    """Return plain data as JSON text, with a checksum of it.

    >>> sealed({"seed": 1}).split()
    ['{', '"seed":', '1,', '"checksum":', '315744261', '}']
    """
    return json.dumps(described | {CHECKSUM: _checksum(described)}, indent=2) + "\n"


def unsealed(path: Path) -> dict[str, Any]:
    """Return what `sealed` was given.

    Raises
    ------
    DataError
        If the file is missing, damaged or was changed.
    """
    try:
        found = json.loads(no_link(path).read_text(encoding="utf-8"))
        fits = found.pop(CHECKSUM) == _checksum(found)
    except Exception as error:  # deeply nested, for one
        said = f"{type(error).__name__}: {error}"
        raise DataError(f"{path}: cannot be read ({said}); restore it") from error
    if not fits:
        raise DataError(f"{path}: is damaged or was changed: its checksum does not fit; restore it")
    assert isinstance(found, dict)
    return found


def _checksum(described: dict[str, Any]) -> int:
    return zlib.crc32(json.dumps(described, sort_keys=True).encode())


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in ("eventnet", "numpy", "numba", "simpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _arrays(path: Path) -> dict[str, Floats]:
    if not path.is_file():
        return {}
    with understood(path, "arrays"), np.load(no_link(path), allow_pickle=False) as arrays:
        return dict(arrays)


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


def runs_in(folder: Path | str) -> list[RunFolder]:
    """Return the run folders in a folder, the oldest first.

    Raises
    ------
    RunFolderError
        If there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RunFolderError(f"{folder}: no such folder: give the folder that holds the runs")
    marks = ("config.json", "raster")
    found = [RunFolder(p) for p in folder.iterdir() if any((p / mark).exists() for mark in marks)]
    return sorted(found, key=lambda run: (run.started, run.path.name))

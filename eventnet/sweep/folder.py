"""The folder of a sweep: results in one Parquet file, times and hosts in another, and what it is of.

Each file is replaced as a whole, so that a kill at any moment leaves every point in it once or not at
all. Rows are in the order of parameters and seed, however they came: the same points give the same
bytes.
"""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from pydantic import BaseModel, ValidationError

import eventnet
from eventnet.errors import ConfigError, DataError, RunFolderError
from eventnet.files import no_link
from eventnet.raster import written_aside
from eventnet.sweep.point import Job, Point, Row

RESULTS, TIMES, ABOUT = "results.parquet", "times.parquet", "sweep.json"
OURS = ("failure", "error", "additions", "forward", "backward", "update", "events", "readings")
"""Columns of every result; then come the scenario's own metrics."""
PATIENCE = 1.0
"""Seconds for which results may wait while others come in."""


class About(BaseModel):
    """What a sweep is of; `commands` are all that its points came from."""

    scenario: str
    code: str
    eventnet: str
    commands: list[str] = []  # older folders have none


class SweepFolder:
    """A sweep's folder, open for writing by one process at a time; a context manager.

    Parameters
    ----------
    path : Path
        A new folder, or one with results to add to.
    job : Job
    command : str
        What the user asked for; each one that a folder has had is kept in it.

    Attributes
    ----------
    results : dict
        By the point's key.

    Raises
    ------
    RunFolderError
        If another process is writing it, or it is no sweep's.
    ConfigError
        If it belongs to another scenario, or to another state of it.
    """

    def __init__(self, path: Path, job: Job, command: str) -> None:
        self.path, self.job = path, job
        if path.exists() and not (path / ABOUT).is_file() and any(path.iterdir()):
            raise RunFolderError(f"{path}: is there and no sweep's; choose another folder")
        path.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(path)
        try:
            self._describe(job, command)
            self.results = {row["point"]: row for row in read(path)}
            self._times = {row["point"]: row for row in read(path, TIMES)}
        except BaseException:
            self._lock.close()
            raise
        self._written = time.monotonic()
        self._changed = False

    def __enter__(self) -> SweepFolder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.write()
        self._lock.close()

    def _describe(self, job: Job, command: str) -> None:
        """Say in the folder what it is of, which must be what it was of before."""
        path = self.path / ABOUT
        new = About(
            scenario=job.scenario, code=job.code, eventnet=eventnet.__version__, commands=[]
        )
        about = describe(self.path) if path.is_file() else new
        if about.scenario != job.scenario:
            raise ConfigError(
                f"{self.path}: is a sweep of {about.scenario}, not of {job.scenario}; choose "
                "another folder"
            )
        if about.code != job.code:
            raise ConfigError(
                f"{self.path}: the scenario or eventnet has changed since this sweep began, and its "
                "points would not compare; choose another folder"
            )
        if command not in about.commands:
            about.commands.append(command)
            with written_aside(path) as aside:
                aside.write_text(about.model_dump_json(indent=1) + "\n", encoding="utf-8")

    def add(self, point: Point, result: Row, times: Row) -> None:
        """Take what came of a point; `write` keeps it."""
        if clash := {"point", "seed", *OURS} & set(point.values):
            raise ConfigError(f"parameter {clash.pop()!r} has the name of a result; rename it")
        who = {"point": point.key, **point.values, "seed": point.seed}
        self.results[point.key] = who | result
        self._times[point.key] = {"point": point.key} | times
        self._changed = True

    def forget_failures(self) -> None:
        """Leave out what failed, so that it is run again."""
        good = {key: row for key, row in self.results.items() if not row["failure"]}
        self.results = good

    @property
    def waiting(self) -> bool:
        """Whether results wait to be written for longer than `PATIENCE`."""
        return self._changed and time.monotonic() - self._written > PATIENCE

    def write(self) -> None:
        """Write what has come, times first: a point counts as done when its result is there."""
        if not self._changed:
            return
        names = _parameters(self.results.values())
        order = sorted(self.results.values(), key=lambda row: _rank(row, names))
        metrics = sorted({n for row in order for n in row} - {"point", "seed", *names, *OURS})
        times = [self._times.get(row["point"], {"point": row["point"]}) for row in order]
        _write(self.path / TIMES, times, list(dict.fromkeys(n for row in times for n in row)))
        _write(self.path / RESULTS, order, ["point", *names, "seed", *OURS, *metrics])
        self._written, self._changed = time.monotonic(), False


def describe(path: Path) -> About:
    """Return what a sweep is of.

    Raises
    ------
    RunFolderError
        If `path` is no sweep's folder.
    DataError
        If what it says of itself is damaged.
    """
    try:
        return About.model_validate_json(no_link(path / ABOUT).read_bytes())
    except OSError as error:
        raise RunFolderError(f"{path}: is no folder of a sweep ({error.strerror})") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise DataError(
            f"{path / ABOUT}: cannot be read ({where}: {first['msg']}); restore it"
        ) from error


def read(path: Path, name: str = RESULTS) -> list[Row]:
    """Return the results of a sweep, a row a point: parameters, seed, what came out or ``failure``.

    A sweep that is under way can be read; `name` says which of its two files.

    Raises
    ------
    DataError
        If the file is damaged.
    """
    import pyarrow as pa
    from pyarrow import parquet

    file = no_link(path / name)
    if not file.is_file():
        return []
    try:
        # At once: PyArrow opens a path several times, and the file may be replaced in between.
        rows: list[Row] = parquet.read_table(pa.BufferReader(file.read_bytes())).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: cannot be read ({error}); restore or remove it") from error
    return rows


def _write(path: Path, rows: list[Row], names: list[str]) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    table = pa.table({name: _column([row.get(name) for row in rows]) for name in names})
    with written_aside(path) as aside:
        parquet.write_table(table, aside)


def _column(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowException:  # kinds are mixed
        return pa.array([None if value is None else str(value) for value in values])


def _parameters(rows: Iterable[Row]) -> list[str]:
    """Return the names of parameters: those columns that stand between the point and the seed."""
    return sorted({name for row in rows for name in list(row)[1 : list(row).index("seed")]})


def _rank(row: Row, names: list[str]) -> list[tuple[int, Any]]:
    """Return what rows are sorted by: parameters, numbers before text, then the seed."""
    values = (row.get(name) for name in (*names, "seed", "point"))
    return [(0, v) if isinstance(v, int | float) else (1, str(v)) for v in values]


def _locked(path: Path) -> IO[str]:
    lock = no_link(path / ".lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise RunFolderError(
            f"{path}: another process is writing this sweep; wait for it or choose another folder"
        ) from None
    return lock

"""One point of a sweep: which it is, and what a worker does with it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import eventnet
from eventnet.cost import PASSES
from eventnet.errors import EventNetError
from eventnet.extras import needed
from eventnet.scenario import Outcome, Scenario, Session, load
from eventnet.simulation import Run, Simulation

Row = dict[str, Any]


class Unfit(EventNetError, RuntimeError):
    """A worker on which points would come out otherwise: it ends the sweep, and no point is blamed."""


@dataclass(frozen=True)
class Job:
    """What all points of a sweep share.

    Attributes
    ----------
    scenario : str
        A name, or the absolute path of a file that every worker can read.
    code : str
        Checksum of the scenario and of eventnet; a worker's must be the same.
    """

    scenario: str
    code: str

    @classmethod
    def of(cls, scenario: Scenario, which: str) -> Job:
        """Return the job of a scenario that was loaded as `which`."""
        named = Path(which).suffix not in (".py", ".toml")
        path = which if named else str(scenario.path.resolve())
        return cls(path, _checksum(scenario.path))


@dataclass(frozen=True)
class Point:
    """A scenario's parameters and a seed.

    Attributes
    ----------
    settings : tuple of str
        As ``--set`` takes them.
    values : mapping
        Every parameter, as plain data: what makes it this point, with the seed.
    seed : int
    """

    settings: tuple[str, ...]
    values: Mapping[str, Any]
    seed: int

    @cached_property
    def key(self) -> str:
        """What it is recorded under: a checksum of values and seed.

        Examples
        --------
        >>> a, b = (Point((), {"step": step}, 0) for step in (0.1, 0.25))
        >>> a.key == Point(("step=0.10",), {"step": 0.1}, 0).key != b.key
        True
        """
        text = json.dumps([dict(self.values), self.seed], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class Unrecorded(Session):
    """A session that leaves no run folder, and keeps spikes only where a scenario asks for them."""

    def run(
        self,
        sim: Simulation,
        until: float,
        error: Callable[[], float | None] = lambda: None,
        *,
        end: float | None = None,
    ) -> Run:
        """Run `sim` to `until`."""
        sim.forgo_raster()  # nobody reads it, and it can be gigabytes
        return sim.run(until)


def run_point(job: Job, point: Point) -> tuple[Row, Row]:
    """Run a point; return its result, and apart from it when and where it came about.

    Whatever the scenario raises is the result: ``failure`` says what.

    Raises
    ------
    Unfit
        If this process cannot be trusted with any point.
    """
    scenario = _fit(job)
    started, begin = datetime.now(UTC), time.perf_counter()
    limits = needed("threadpoolctl", "sweep", "sweeps").threadpool_limits(1)
    result: Row
    with limits, tempfile.TemporaryDirectory(prefix="eventnet-") as folder:
        try:
            session = Unrecorded(point.seed, "compiled", None, Path(folder) / "run", compares=False)
            outcome = scenario.function(scenario.configure(point.settings), session)
            result, times = figures(outcome)
        except (Exception, SystemExit) as error:
            result, times = failed(error), {}
    where = {"host": socket.gethostname(), "process": os.getpid()}
    times |= {"wall_s": time.perf_counter() - begin, "started": started.isoformat()} | where
    return result, times


def failed(error: BaseException) -> Row:
    """Return what is recorded of a point that failed."""
    return {"failure": f"{type(error).__name__}: {error}"}


def figures(outcome: Outcome) -> tuple[Row, Row]:
    """Return an outcome as columns: what will be the same everywhere, and what depends on the machine.

    ``additions`` are those for a reading, ``forward``, ``backward`` and ``update`` their parts. Metrics
    whose names begin with "wall" are times.
    """
    cost = outcome.run.cost
    n = max(cost.readings, 1)
    found: Row = {"error": outcome.error, "additions": cost.total("additions") / n}
    found |= {name: cost.total("additions", (name,)) / n for name in PASSES}
    found |= {"events": cost.events / n, "readings": cost.readings}
    times: Row = {}
    for name, value in outcome.metrics.items():
        several = enumerate([value] if isinstance(value, int | float) else value)
        many = not isinstance(value, int | float) and len(value) > 1
        columns = {f"{name} {k}" if many else name: float(v) for k, v in several}
        (times if name.startswith("wall") else found).update(columns)
    if outcome.error is None or not math.isfinite(outcome.error):
        found["failure"] = f"the scenario's Outcome has error={outcome.error}: must be a number"
    return found, times


def _fit(job: Job) -> Scenario:
    """Return the scenario, if this process is one in which points come out as anywhere else."""
    threads = _threads()
    if threads != 1:
        raise Unfit(
            f"worker on {socket.gethostname()} has {threads} threads, and points must not share a "
            "process: start it with --nthreads 1, and with --nworkers N for N points at a time"
        )
    return _loaded(job)


def _threads() -> int:
    from distributed import get_worker

    return int(get_worker().state.nthreads)


@cache
def _loaded(job: Job) -> Scenario:
    where = f"worker on {socket.gethostname()}"
    try:
        scenario = load(job.scenario)
    except EventNetError as error:
        raise Unfit(f"{where}: {error}; it must see the same files as this command") from error
    if _checksum(scenario.path) != job.code:
        raise Unfit(
            f"{where}: {scenario.path} or eventnet {eventnet.__version__} there is another one than "
            "here; make them the same"
        )
    return scenario


def _checksum(scenario: Path) -> str:
    """Return a checksum of a scenario and of eventnet's own code."""
    package = Path(eventnet.__file__).parent
    found = hashlib.sha256(scenario.read_bytes())
    for path in sorted(package.glob("**/*.py")):
        found.update(str(path.relative_to(package)).encode() + path.read_bytes())
    return found.hexdigest()[:16]

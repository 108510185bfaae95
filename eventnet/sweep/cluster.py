"""Hands points to the workers of a Dask cluster, here or elsewhere, and keeps what they return."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from eventnet.errors import EventNetError
from eventnet.extras import needed
from eventnet.sweep.folder import SweepFolder
from eventnet.sweep.point import Job, Point, Row, Unfit, failed, run_point

if TYPE_CHECKING:
    from distributed import Client, Future

PINNED = ("OMP", "MKL", "OPENBLAS", "NUMBA")
ANSWER_S = 5.0
"""For so long a scheduler may keep a client waiting."""

Told = Callable[[Point, Row], None]


class Points(Protocol):
    """Where points come from.

    Attributes
    ----------
    ahead : float
        How many points may be under way for each worker.
    left : int
        How many there will be, as far as is known.
    """

    ahead: float
    left: int

    def next(self) -> Point | None:
        """Return the next point to run; None: none before another one is done."""

    def done(self, point: Point, result: Row) -> None:
        """Take a result."""


class Grid:
    """Given points, in their order, without those that are done."""

    ahead = 2.0  # a worker need not wait until its result is read here

    def __init__(self, points: list[Point], known: dict[str, Row]) -> None:
        new = [point for point in points if point.key not in known]
        self.left = len(new)
        self._next = iter(new)

    def next(self) -> Point | None:
        """Return the next one."""
        return next(self._next, None)

    def done(self, point: Point, result: Row) -> None:
        """Learn nothing of it."""


@contextmanager
def connected(scheduler: str | None, workers: int | None) -> Iterator[Client]:
    """Yield a client of the scheduler at an address, or of a new cluster on this machine's cores.

    Raises
    ------
    ConfigError
        If distributed is not installed.
    EventNetError
        If nobody answers at the address.
    """
    dask = needed("dask", "sweep", "sweeps")
    distributed = needed("distributed", "sweep", "sweeps")
    if scheduler is not None:
        try:
            client = distributed.Client(scheduler, timeout=ANSWER_S)
        except (OSError, ValueError) as error:
            raise EventNetError(
                f"--scheduler {scheduler}: no scheduler answers there ({error}); start one with "
                "`dask scheduler`"
            ) from error
        with client:
            yield client
        return
    threads = {f"{name}_NUM_THREADS": 1 for name in PINNED}
    quiet = {
        "distributed.nanny.pre-spawn-environ": threads,
        "distributed.logging.distributed": "error",
    }
    with (
        dask.config.set(quiet),
        distributed.LocalCluster(
            n_workers=workers or len(os.sched_getaffinity(0)),
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            silence_logs="ERROR",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


def sweep(
    job: Job, points: Points, folder: SweepFolder, client: Client, told: Told = lambda *_: None
) -> None:
    """Run points until there are no more; what is lost with a worker runs again on another.

    Parameters
    ----------
    job : Job
    points : Points
    folder : SweepFolder
        Results are in it whenever this waits.
    client : Client
    told : callable
        Is given each point and its result.

    Raises
    ------
    Unfit
        If a worker cannot be trusted.
    EventNetError
        If the scheduler is lost. The same sweep goes on from what its folder holds.
    """
    from distributed import as_completed

    running: dict[Future, Point] = {}
    finished = as_completed()
    while True:
        while len(running) < max(points.ahead * _workers(client), 1):
            if (point := points.next()) is None:
                break
            key = f"eventnet-{job.code}-{point.key}"
            future = client.submit(run_point, job, point, key=key, pure=False)
            running[future] = point
            finished.add(future)
        if not running:
            return
        future = next(finished)
        if future.status in ("lost", "pending") and client.status == "running":
            finished.add(future)  # its worker died with the result: it runs again
            continue
        point = running.pop(future)
        result, times = _result(future)
        points.done(point, result)
        folder.add(point, result, times)
        told(point, result)
        if folder.waiting or not finished.has_ready():
            folder.write()


def _workers(client: Client) -> int:
    return len(client.scheduler_info(n_workers=-1)["workers"])


def _result(future: Future) -> tuple[Row, Row]:
    """Return what a worker returned, or that the point takes its workers down with it."""
    from distributed import KilledWorker

    if future.status == "finished":
        found: tuple[Row, Row] = future.result()
        return found
    error: Any = future.exception() if future.status == "error" else None
    if isinstance(error, KilledWorker):
        return failed(RuntimeError("each worker that ran it died; is there memory enough?")), {}
    if isinstance(error, Unfit):
        raise error
    raise EventNetError(
        f"the scheduler lost a point ({error or future.status}); the same command goes on"
    ) from error

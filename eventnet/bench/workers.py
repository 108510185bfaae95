"""Contestants in processes of their own, pinned to one core, and the rounds in which they are timed."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from eventnet.errors import EventNetError

Row = dict[str, Any]
Told = Callable[[str, int], None]


class BenchError(EventNetError, RuntimeError):
    """A contestant that could not be made or run."""


@dataclass(frozen=True)
class Entry:
    """Who takes part.

    Attributes
    ----------
    contestant : str
        ``"module:Class"``.
    options : dict
        Of the class, plain values.
    python : Path
        The interpreter of its environment.
    cwd : Path or None
        Where its module is found, if it is not installed.
    """

    contestant: str
    options: Mapping[str, Any] = field(default_factory=dict)
    python: Path = Path(sys.executable)
    cwd: Path | None = None


def environment() -> dict[str, str]:
    """Return the variables that a contestant's process gets: one thread, and no tuning by the shell."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPENBLAS_", "OMP_", "MKL_", "NVPL_", "XLA_", "NUMBA_DISABLE"))
    }
    threads = ("OMP", "OPENBLAS", "MKL", "NUMBA")
    return kept | {f"{name}_NUM_THREADS": "1" for name in threads}


def last_core() -> int:
    """Return the core on which contestants run: the last of those that this process may use."""
    return max(os.sched_getaffinity(0))


class Worker:
    """A contestant's process; `repeat` and `finish` are done there.

    Parameters
    ----------
    name : str
        For messages.
    entry : Entry
    task : Path or None
        File of the task, see `eventnet.bench.task.keep`.
    core : int, optional
        Default: `last_core`.

    Raises
    ------
    BenchError
        If it cannot be made or run; what it said follows.
    """

    def __init__(
        self, name: str, entry: Entry, task: Path | None = None, core: int | None = None
    ) -> None:
        self.name = name
        self._said = TemporaryFile("w+")  # noqa: SIM115
        own = os.sched_getaffinity(0)
        # Inherited, so that every thread that a library starts is pinned as well.
        os.sched_setaffinity(0, {last_core() if core is None else core})
        try:
            self._process = subprocess.Popen(
                [entry.python, "-m", "eventnet.bench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                cwd=entry.cwd,
                env=environment(),
                text=True,
            )
        finally:
            os.sched_setaffinity(0, own)
        self._send(
            {
                "contestant": entry.contestant,
                "task": None if task is None else str(task.resolve()),
                "options": dict(entry.options),
            }
        )

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            self._process.kill()
        self._process.communicate()
        self._said.close()

    def ask(self, *method: Any) -> Row:
        """Let it do a method, and return the answer."""
        self._send(list(method))
        return self.answer()

    def begin(self, *method: Any) -> None:
        """Let it begin a method; `answer` waits for it."""
        self._send(list(method))

    def _send(self, value: Any) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail(f"ended with code {self._process.wait()}")

    def answer(self) -> Row:
        """Wait for the next answer; the first one tells how long building and preparing took."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._fail(f"ended with code {self._process.wait()}")
        found: Row = json.loads(line)
        if "error" in found:
            self._fail(found["error"])
        return found

    def _fail(self, why: str) -> None:
        self._said.seek(0)
        said = self._said.read().strip()
        raise BenchError(f"{self.name}: {why}" + (f"\n{said}" if said else ""))


def interleave(
    entries: Mapping[str, Entry],
    task: Path | None,
    repetitions: int,
    told: Told = lambda name, k: None,
) -> dict[str, Row]:
    """Time all contestants in turn, repetition by repetition.

    Parameters
    ----------
    entries : mapping
        By name.
    task : Path or None
    repetitions : int
    told : callable
        Is given a name and the repetition that begins, -1 while it is built.

    Returns
    -------
    dict
        By name: ``build_s``, ``prepare_s``, ``repetitions`` and what `finish` returned.

    Raises
    ------
    BenchError
        If one fails.
    """
    rows: dict[str, Row] = {}
    with ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for name, entry in entries.items():
            told(name, -1)
            workers[name] = stack.enter_context(Worker(name, entry, task))
            rows[name] = workers[name].answer() | {"repetitions": []}
        for k in range(repetitions):
            for name, worker in workers.items():
                told(name, k)
                rows[name]["repetitions"].append(worker.ask("repeat", k))
        for name, worker in workers.items():
            rows[name] |= worker.ask("finish")
    return rows


def spread(row: Row, count: str = "units", **where: Any) -> tuple[float, float, float]:
    """Return median, least and largest rate of a row's repetitions, a second.

    Parameters
    ----------
    row : dict
        As `interleave` returns it.
    count : str
        What is counted.
    **where
        Only repetitions that have these values.

    Examples
    --------
    >>> row = {"repetitions": [{"units": 6, "wall_s": s, "stage": "fine"} for s in (1, 2, 3)]}
    >>> spread(row, stage="fine")
    (3.0, 2.0, 6.0)
    """
    rates = [
        r[count] / r["wall_s"]
        for r in row["repetitions"]
        if all(r[key] == value for key, value in where.items())
    ]
    return statistics.median(rates), min(rates), max(rates)

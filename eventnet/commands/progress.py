"""What a terminal shows while a command works; nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eventnet.scenario import Report


@contextmanager
def working(doing: str, silent: bool) -> Iterator[None]:
    """Show that something goes on whose share nobody knows."""
    if silent or not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(doing):
        yield


@contextmanager
def share(doing: str, silent: bool) -> Iterator[Callable[[float], None] | None]:
    """Yield what takes the share of a work that is done, for a progress bar on a terminal."""
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=1.0)
        yield lambda share: bar.update(task, completed=share)


@contextmanager
def running(silent: bool) -> Iterator[Report | None]:
    """Yield what a run reports to: a progress bar on a terminal, nothing elsewhere.

    The bar starts with the first report: until then the terminal belongs to the bar of a fetch.
    """
    if silent or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("running"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.1f}/{task.total:.1f} s simulated"),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[error]}"),
        TimeElapsedColumn(),
    )
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task("", start=False, rate="", error="")

    def report(t: float, end: float, spikes: int, error: float | None) -> None:
        if not bar.tasks[0].started:
            bar.start()
            bar.start_task(task)
        elapsed = bar.tasks[0].elapsed or 1.0
        bar.update(
            task,
            completed=t,
            total=end,
            rate=f"{spikes / elapsed / 1e3:,.0f} k spikes/s",
            error="" if error is None else f"error {error:.3f}",
        )

    try:
        yield report
    finally:
        bar.stop()

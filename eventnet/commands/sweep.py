"""The commands `eventnet sweep SCENARIO` and `eventnet sweep show`."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventnet.commands import HELP, Commands
from eventnet.commands.progress import running
from eventnet.signals import exit_code

if TYPE_CHECKING:
    from eventnet.sweep.point import Point, Row

REDRAWN_S = 0.5


class _Sweep(Commands):
    """A group whose first argument may be a scenario instead of a command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command's name before anything that is none."""
        if args and args[0] not in {*self.commands, *self.get_help_option_names(ctx)}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


@click.group(cls=_Sweep, context_settings=HELP)
def sweep() -> None:
    """Run a scenario over a grid or a search, on all cores.

    Only the validation split is seen. Stopped, the same command goes on.

    \b
    Examples:
      eventnet sweep drone --grid lr=log:0.005:0.08:5 --seeds 3
      eventnet sweep drone --grid hidden_step=log:0.05:1 --search 200
      eventnet sweep run -h                    all options
      eventnet sweep show runs/drone-sweep     table, Pareto front, picture
    """


@sweep.command("run", context_settings=HELP)
@click.argument("scenario")
@click.option(
    "--grid",
    multiple=True,
    metavar="NAME=SPEC",
    help="Vary a parameter: a,b,c or log:LOW:HIGH:N or lin:LOW:HIGH:N; repeatable.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=1, show_default=True, metavar="N")
@click.option("--first-seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--search",
    type=click.IntRange(min=1),
    metavar="N",
    help="Not the grid, but N trials within it that Optuna proposes.",
)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Of every point; repeatable."
)
@click.option("--scheduler", metavar="ADDRESS", help="Of a Dask cluster. [a local one]")
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="Of the local cluster. [all cores]"
)
@click.option("--retry", is_flag=True, help="Run those again that failed.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="[runs/NAME-sweep], or add to it."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress and no table.")
def sweep_run(
    scenario: str,
    grid: tuple[str, ...],
    seeds: int,
    first_seed: int,
    search: int | None,
    settings: tuple[str, ...],
    scheduler: str | None,
    workers: int | None,
    retry: bool,
    out: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Sweep SCENARIO: a name, a Python file or a TOML file.

    \b
    Examples:
      eventnet sweep run drone --grid tau=lin:0.04:0.12:5 --seeds 3
      eventnet sweep my_robot.toml --grid layers.hidden.step=log:0.05:2:12
      eventnet sweep drone --grid hidden=log:10:200 --grid lr=log:0.005:0.1 \\
        --search 200 --set passes=10
      eventnet sweep drone --grid tau=0.04,0.08 --scheduler tcp://10.0.0.1:8786
    """
    from eventnet.scenario import build, load
    from eventnet.sweep.cluster import Grid, Points, connected
    from eventnet.sweep.cluster import sweep as swept
    from eventnet.sweep.folder import SweepFolder
    from eventnet.sweep.plan import Plan
    from eventnet.sweep.point import Job
    from eventnet.sweep.search import Search

    loaded = load(scenario)
    plan = Plan(loaded, settings, grid, range(first_seed, first_seed + seeds))
    wanted = None if search is not None else plan.grid()
    with running(silent=quiet or as_json) as report:  # data are fetched once, and mistakes seen
        build(loaded, loaded.validated(settings), report=report)
    target = out or Path("runs") / f"{loaded.name}-sweep"
    command = " ".join(["eventnet", *sys.argv[1:]])
    with SweepFolder(target, Job.of(loaded, scenario), command) as folder:
        if retry:
            folder.forget_failures()
        before = len(folder.results)
        points: Points
        if wanted is None:
            assert search is not None
            points = Search(plan, search, folder.results)
        else:
            points = Grid(wanted, folder.results)
        with (
            connected(scheduler, workers) as client,
            _live(points.left, folder.results, client, quiet or as_json) as told,
        ):
            try:
                swept(folder.job, points, folder, client, told)
            except KeyboardInterrupt as error:
                click.echo("stopped; the same command goes on", err=True)
                click.get_current_context().exit(exit_code(error))
        rows, new = list(folder.results.values()), len(folder.results) - before
    _print(target, rows, new, as_json, quiet)


@sweep.command("show", context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="PNG, SVG or PDF. [RUN/front.png]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(folder: Path, output: Path | None, as_json: bool) -> None:
    """Show a sweep, finished or not: table, Pareto front, picture.

    \b
    Example:
      eventnet sweep show runs/drone-sweep -o front.svg
    """
    from eventnet.plot import save
    from eventnet.plot.front import front_figure
    from eventnet.sweep.folder import describe, read
    from eventnet.sweep.front import means

    title = Path(describe(folder).scenario).stem
    rows = read(folder)
    path = output or folder / "front.png"
    save(front_figure(means(rows), title), path)
    _print(folder, rows, 0, as_json, quiet=False, picture=path)


def _print(
    folder: Path, rows: list[Row], new: int, as_json: bool, quiet: bool, picture: Path | None = None
) -> None:
    """Print what a sweep came to."""
    from eventnet.sweep.front import means

    found = means(rows)
    failures = [row["failure"] for row in rows if row.get("failure")]
    if as_json:
        document = {
            "folder": str(folder),
            "points": len(rows),
            "new": new,
            "failed": len(failures),
            "front": [vars(row) for row in found if row.best],
        }
        files = {} if picture is None else {"picture": str(picture)}
        click.echo(json.dumps(document | files))
        return
    if quiet:
        return
    from rich.console import Console

    from eventnet.report.sweep import failures_told, sweep_table

    console = Console()
    console.print(sweep_table(found, console.width))
    for line in failures_told(failures):
        console.print(line, highlight=False, markup=False)
    counted = f"{len(rows)} points{f', {new} of them new' if new else ''}"
    best = sum(row.best for row in found)
    lines = [f"{counted}; on the front {best}, numbered", f"results {folder}"]
    lines += [] if picture is None else [f"picture {picture}"]
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)


@contextmanager
def _live(
    left: int, results: dict[str, Row], client: Any, silent: bool
) -> Iterator[Callable[[Point, Row], None]]:
    """Yield what is told each result: a bar and the front so far, on a terminal."""
    if silent or not sys.stderr.isatty():
        yield lambda point, row: None
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from eventnet.report.sweep import sweep_table
    from eventnet.sweep.front import means

    console = Console(stderr=True)
    console.print(f"dashboard {client.dashboard_link}", highlight=False, soft_wrap=True)
    failed = TextColumn("{task.fields[failed]}")
    bar = Progress(BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), failed)
    task = bar.add_task("", total=left, failed="")
    with Live(bar, console=console, transient=True) as live:
        drawn = 0.0

        def told(point: Point, row: Row) -> None:
            nonlocal drawn
            bar.advance(task)
            if time.monotonic() - drawn > REDRAWN_S:
                drawn = time.monotonic()
                failures = sum(bool(row.get("failure")) for row in results.values())
                bar.update(task, failed=f"{failures} failed" if failures else "")
                best = sweep_table(means(results.values()), console.width, shown=6)
                live.update(Group(bar, best))

        yield told

"""The command line: each command parses, calls one function and prints.

Exit codes: 0 success, 1 the run failed, 2 bad usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from eventnet.bench.command import bench
from eventnet.errors import ConfigError, EventNetError
from eventnet.reproduce.command import reproduce

if TYPE_CHECKING:
    from eventnet.scenario import Report

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class BadUsage(click.ClickException):
    """A value that cannot be used as given: exit code 2, like click's own usage errors."""

    exit_code = 2


class Commands(click.Group):
    """A group whose deliberate errors end in one message and an exit code, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except EventNetError as error:
            usage = isinstance(error, ConfigError)
            raise (BadUsage if usage else click.ClickException)(str(error)) from error
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error
        except MemoryError as error:
            raise click.ClickException("out of memory: make the run shorter or smaller") from error


@click.group(cls=Commands, context_settings=HELP)
@click.version_option(package_name="eventnet")
def main() -> None:
    """Exact, event-driven spiking networks that learn online from sensors at any rate.

    \b
    Examples:
      eventnet run drone                       the main job
      eventnet run drone --set hidden=100      with another parameter
      eventnet new my_robot                    a scenario of your own, in TOML
      eventnet graph drone -o drone.svg        its network, drawn
      eventnet raster stats runs/drone-1       who fired how often
      eventnet reproduce fig1                  a figure of the paper
      eventnet bench                           how fast it is here
    """


main.add_command(reproduce)
main.add_command(bench)


@main.command(context_settings=HELP)
@click.argument("scenario")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a parameter; repeatable."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--engine",
    type=click.Choice(["compiled", "actors"]),
    default="compiled",
    show_default=True,
    help="The fast engine, or the readable reference.",
)
@click.option("--until", type=float, metavar="S", help="Stop at this simulated time.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="A new run folder. [runs/NAME-k]"
)
@click.option("--live", is_flag=True, help="Readings come by standard input, as JSON lines.")
@click.option("--port", type=click.IntRange(0, 65535), help="Live, by this port of 127.0.0.1.")
@click.option(
    "--clock",
    type=click.Choice(["sender", "unix"]),
    default="sender",
    show_default=True,
    help="Live: time stamps count from the first, or from 1970.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
def run(
    scenario: str,
    settings: tuple[str, ...],
    seed: int,
    engine: str,
    until: float | None,
    out: Path | None,
    live: bool,
    port: int | None,
    clock: Literal["sender", "unix"],
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SCENARIO, a name from `eventnet scenarios`, a TOML file or a Python file.

    \b
    Examples:
      eventnet run drone
      eventnet run my_robot.toml --set layers.hidden.size=40
      eventnet run drone --set tau=0.03 --seed 4 --out runs/mine
      eventnet run my_robot.py --engine actors --until 2 --json
      eventnet run my_robot.toml --live < log.jsonl > outputs.jsonl
      eventnet run my_robot.toml --port 9000 --until 3600
    """
    from eventnet.scenario import LiveOptions, execute, load

    loaded = load(scenario)
    options = LiveOptions(port, clock) if live or port is not None else None
    if options is not None:
        _log_live(quiet)
    with _progress(silent=quiet or as_json or options is not None) as report:
        summary = execute(
            loaded,
            settings,
            seed=seed,
            engine=engine,
            until=until,
            out=out,
            report=report,
            live=options,
        )
    picture = _draw(Path(summary["folder"]), loaded.name, summary["simulated_s"])
    if as_json:
        click.echo(json.dumps(summary))
    elif not quiet:  # standard output belongs to the outputs of a live run
        _print_summary(summary, picture, to_stderr=options is not None)


def _log_live(quiet: bool) -> None:
    """Let a live run say on standard error what happens to it."""
    import logging

    logging.basicConfig(format="%(message)s")
    logging.getLogger("eventnet.live").setLevel(logging.WARNING if quiet else logging.INFO)


@main.command(context_settings=HELP)
@click.argument("name")
def new(name: str) -> None:
    """Write NAME.toml, a commented scenario to start from.

    Change its paths and columns, then `eventnet run NAME.toml`.

    \b
    Example:
      eventnet new my_robot
    """
    from eventnet.experiment.file import write_starter

    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    write_starter(path)
    click.echo(str(path))


@main.command(context_settings=HELP)
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors.

    \b
    Example:
      eventnet schema > eventnet.schema.json
    """
    from eventnet.experiment.file import schema as generated

    click.echo(json.dumps(generated(), indent=2))


@main.command(context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def scenarios(as_json: bool) -> None:
    """List the scenarios with their parameters."""
    from eventnet.scenario import load, names

    found = [load(name) for name in names()]
    if as_json:
        click.echo(
            json.dumps(
                {s.name: {"description": s.description, "parameters": s.defaults()} for s in found}
            )
        )
        return
    for s in found:
        click.secho(s.name, bold=True)
        click.echo(click.wrap_text(s.description, initial_indent="  ", subsequent_indent="  "))
        settings = "  ".join(f"{key}={value}" for key, value in s.defaults().items())
        click.echo(click.wrap_text(settings, initial_indent="  ", subsequent_indent="  "))


@main.command(context_settings=HELP)
@click.argument("scenario")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="svg, png, graphml, json or nir, by the suffix. An existing file is replaced.",
)
@click.option("--format", "kind", metavar="F", help="Write SCENARIO.F where no FILE is given.")
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a parameter; repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def graph(
    scenario: str,
    output: Path | None,
    kind: str | None,
    settings: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show SCENARIO's network and what it will cost, without running it.

    \b
    Examples:
      eventnet graph drone
      eventnet graph drone --set hidden=200 -o drone.svg
      eventnet graph my_robot.py -o net.graphml
      eventnet graph drone --format nir        topology and initial weights
      eventnet graph my_robot.py --json
    """
    from eventnet.export import nir
    from eventnet.graph import FORMATS, checked_suffix, estimate, node_link, save, table
    from eventnet.scenario import build, load

    loaded = load(scenario)
    if output is None and kind is not None:
        output = Path(f"{loaded.name}.{kind}")
    to_nir = output is not None and output.suffix.lower() == ".nir"
    if output is not None and not to_nir:
        checked_suffix(output, (*FORMATS, "nir"))  # before data are fetched
    with _progress(silent=as_json) as report:
        sim = build(loaded, settings, report=report)
    rule = sim.plan.rule
    if output is not None and to_nir:
        nir.write(sim, output)
        click.echo("NIR cannot say, and the file does not hold:", err=True)
        for line in nir.unsaid(sim):
            click.echo(f"  {line}", err=True)
    elif output is not None:
        save(sim.network, output, rule, title=loaded.name)
    if as_json:
        found = estimate(sim.network, rule).as_dict()
        click.echo(json.dumps({"estimate": found, "graph": node_link(sim.network)}))
        return
    click.echo(table(sim.network, rule))
    if output is not None:
        click.echo(f"\ngraph {output}")


@main.group(cls=Commands, context_settings=HELP)
def data() -> None:
    """The real recordings that scenarios use: what there is, where from, under which licence."""


@data.command("list", context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_list(as_json: bool) -> None:
    """List the data sets and whether each is in the cache."""
    from eventnet.data import cached, names, recipe

    rows = {
        name: {"title": recipe(name).title, "cached": cached(name) is not None} for name in names()
    }
    if as_json:
        click.echo(json.dumps(rows))
        return
    for name, row in rows.items():
        state = "cached" if row["cached"] else "not yet fetched"
        click.echo(f"{name:<14} {row['title']}  [{state}]")


@data.command("fetch", context_settings=HELP)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_fetch(name: str, as_json: bool) -> None:
    """Get a data set, check its checksums and print the folder."""
    from eventnet.data import fetch

    found = fetch(name, progress=not as_json)
    click.echo(json.dumps({"name": name, "folder": str(found)}) if as_json else str(found))


@data.command("info", context_settings=HELP)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_info(name: str, as_json: bool) -> None:
    """Show where a data set comes from, its licence and its files."""
    from dataclasses import asdict

    from eventnet.data import cached, recipe

    found = recipe(name)
    if as_json:
        click.echo(json.dumps(asdict(found) | {"cached": str(cached(name) or "")}, default=str))
        return
    click.secho(found.title, bold=True)
    click.echo(click.wrap_text(found.description.strip()))
    click.echo(f"licence:  {found.licence}")
    click.echo(click.wrap_text(found.citation.strip(), initial_indent="citation: "))
    for file in found.files:
        click.echo(f"file:     {file.name}  {file.size} bytes  sha256 {file.sha256}")
    click.echo(f"cached:   {cached(name) or 'no'}")


@main.group(cls=Commands, context_settings=HELP)
def raster() -> None:
    """Look at the spikes of a run folder."""


WINDOW = [
    click.option("--start", type=float, metavar="S", help="From this simulated time."),
    click.option("--stop", type=float, metavar="S", help="Before this simulated time."),
    click.option("--population", multiple=True, metavar="NAME", help="Only this one; repeatable."),
]


def window(command: Any) -> Any:
    """Add the options that select a part of a raster."""
    for option in reversed(WINDOW):
        command = option(command)
    return command


def _selected(
    folder: Path, start: float | None, stop: float | None, population: tuple[str, ...]
) -> Any:
    from eventnet.raster import Raster

    return Raster.open(folder).select(population=list(population) or None, start=start, stop=stop)


@raster.command("stats", context_settings=HELP)
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@window
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def raster_stats(
    run_folder: Path,
    start: float | None,
    stop: float | None,
    population: tuple[str, ...],
    as_json: bool,
) -> None:
    """Show events, quanta, signs and rates a population."""
    stats = _selected(run_folder, start, stop, population).stats()
    if as_json:
        click.echo(json.dumps({name: row._asdict() for name, row in stats.items()}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    table.add_column("population")
    for title in ("events", "quanta", "+", "-", "neurons", "events/s"):
        table.add_column(title, justify="right")
    for name, row in stats.items():
        rate = "" if row.rate is None else f"{row.rate:,.1f}"
        figures = (row.events, row.quanta, row.positive, row.negative, row.neurons)
        table.add_row(name, *(f"{value:,}" for value in figures), rate)
    Console().print(table)


@raster.command("plot", context_settings=HELP)
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@window
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="PNG, SVG or PDF. [RUN/raster.png]"
)
def raster_plot(
    run_folder: Path,
    start: float | None,
    stop: float | None,
    population: tuple[str, ...],
    output: Path | None,
) -> None:
    """Draw a raster."""
    path = output or run_folder / "raster.png"
    _selected(run_folder, start, stop, population).plot(path)
    click.echo(str(path))


@main.command(context_settings=HELP)
@click.argument("what", type=click.Choice(["raster", "signals", "outputs", "weights", "cost"]))
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--population", metavar="NAME", help="Of signals and outputs. [the first]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="PNG, SVG or PDF. [RUN/WHAT.png]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def plot(
    what: str, run_folder: Path, population: str | None, output: Path | None, as_json: bool
) -> None:
    """Draw a run: its raster, signals and reconstructions, outputs, weights, cost.

    \b
    Examples:
      eventnet plot raster runs/drone-1        parts of it: eventnet raster plot
      eventnet plot outputs runs/drone-1 -o fit.svg
      eventnet plot signals runs/drone-1 --population imu
      eventnet plot weights runs/drone-1       before, after, and the change
      eventnet plot cost runs/drone-1          beside dense networks
    """
    from eventnet.plot import save
    from eventnet.plot.run import figure_of

    path = output or run_folder / f"{what}.png"
    save(figure_of(what, run_folder, population), path)
    click.echo(json.dumps({"file": str(path)}) if as_json else str(path))


@main.command(context_settings=HELP)
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[RUN/report.html]"
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def report(run_folder: Path, output: Path | None, as_json: bool) -> None:
    """Write one HTML file to look around in a run, finished or not.

    \b
    Examples:
      eventnet report runs/drone-1
      eventnet report runs/drone-1 -o flight.html
    """
    from eventnet.report import write

    path = write(run_folder, output)
    click.echo(json.dumps({"file": str(path)}) if as_json else str(path))


@raster.command("export", context_settings=HELP)
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@window
@click.option(
    "--format",
    "kind",
    metavar="F",
    help="csv, npz, parquet, sonata, nwb, neo or aer. [by FILE's suffix]",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="[RUN/spikes.SUFFIX]"
)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def raster_export(
    run_folder: Path,
    start: float | None,
    stop: float | None,
    population: tuple[str, ...],
    kind: str | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the spikes to a file that other tools read; docs/formats.md compares.

    \b
    Examples:
      eventnet raster export runs/drone-1 --format sonata
      eventnet raster export runs/drone-1 -o spikes.nwb
      eventnet raster export runs/drone-1 --population hidden --stop 2 -o hidden.npz
    """
    from eventnet.export import FORMATS, export, format_of

    if output is None:
        if kind is None:
            raise ConfigError(f"give --format or -o: there are {', '.join(FORMATS)}")
        output = run_folder / f"spikes.{FORMATS[format_of('spikes', kind)].suffix}"
    spikes = _selected(run_folder, start, stop, population)
    with _share("writing", silent=as_json) as told:
        export(spikes, output, kind, overwrite=overwrite, progress=told)
    found = {"file": str(output), "format": format_of(output, kind), "events": len(spikes)}
    click.echo(json.dumps(found) if as_json else str(output))


@raster.command("import", context_settings=HELP)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--format", "kind", metavar="F", help="sonata, nwb or npz. [by FILE's suffix]")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="RUN",
    help="A new folder.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def raster_import(file: Path, kind: str | None, output: Path, as_json: bool) -> None:
    """Read spikes of another program into a run folder, to look at or to feed to a source.

    \b
    Examples:
      eventnet raster import cortex.h5 -o runs/cortex
      eventnet raster import session.nwb -o runs/session

    \b
    In a script:
      sim.feed("cortex", SpikeTrain.replay(Raster.open("runs/cortex"), "cortex"))
    """
    from eventnet.export import load

    with _share("reading", silent=as_json) as told:
        found = load(file, output, kind, progress=told)
    if as_json:
        click.echo(json.dumps({"folder": str(output), "events": len(found)}))
        return
    click.echo(f"{output}: {len(found):,} events of {', '.join(found.populations)}")


@contextmanager
def _share(doing: str, silent: bool) -> Iterator[Callable[[float], None] | None]:
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
def _progress(silent: bool) -> Iterator[Report | None]:
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


DRAWN_S = 10.0
"""A run's picture shows its last seconds: over minutes single spikes cannot be seen."""


def _draw(folder: Path, title: str, end: float) -> Path | None:
    """Draw the end of the raster into the run folder, if matplotlib is there."""
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        return None
    from eventnet.raster import Raster

    if not (folder / "raster").is_dir():  # a scenario may keep no spikes
        return None
    path = folder / "raster.png"
    Raster.open(folder).plot(path, title=title, start=max(end - DRAWN_S, 0.0))
    return path


def _print_summary(summary: dict[str, Any], picture: Path | None, to_stderr: bool) -> None:
    from rich.console import Console

    from eventnet.report import print_summary

    print_summary(summary, picture, Console(stderr=to_stderr))


if __name__ == "__main__":
    main()

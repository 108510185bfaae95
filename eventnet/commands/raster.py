"""The commands `eventnet raster`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from eventnet.commands import HELP, Commands, warn
from eventnet.commands.progress import share
from eventnet.errors import ConfigError

if TYPE_CHECKING:
    from eventnet.raster import Raster


@click.group(cls=Commands, context_settings=HELP)
def raster() -> None:
    """Count, draw, export and import spikes.

    \b
    Examples:
      eventnet raster stats runs/drone-1
      eventnet raster export runs/drone-1 --format nwb
    """


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
) -> Raster:
    from eventnet.raster import Raster

    opened = Raster.open(folder)
    warn(folder)
    return opened.select(population=list(population) or None, start=start, stop=stop)


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
    """Show events, quanta, signs and rates a population.

    \b
    Examples:
      eventnet raster stats runs/drone-1
      eventnet raster stats runs/drone-1 --start 1 --stop 2 --population hidden
    """
    from eventnet.export import watched

    spikes = _selected(run_folder, start, stop, population)
    with share("counting", silent=as_json) as told:
        stats = watched(spikes, 1, told).stats()
    if as_json:
        click.echo(json.dumps({name: row._asdict() for name, row in stats.items()}))
        return
    from rich.console import Console

    from eventnet.report.table import table

    found = table("population", "events", "quanta", "+", "-", "neurons", "events/s")
    for name, row in stats.items():
        rate = "" if row.rate is None else f"{row.rate:,.1f}"
        figures = (row.events, row.quanta, row.positive, row.negative, row.neurons)
        found.add_row(name, *(f"{value:,}" for value in figures), rate)
    Console().print(found)


@raster.command("plot", context_settings=HELP)
@click.argument("run_folder", type=click.Path(path_type=Path), metavar="RUN")
@window
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="PNG, SVG or PDF. [RUN/raster.png]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def raster_plot(
    run_folder: Path,
    start: float | None,
    stop: float | None,
    population: tuple[str, ...],
    output: Path | None,
    as_json: bool,
) -> None:
    """Draw the raster, or a part of it.

    \b
    Examples:
      eventnet raster plot runs/drone-1
      eventnet raster plot runs/drone-1 --start 1 --stop 1.5 -o part.svg
    """
    from eventnet.export import watched

    path = output or run_folder / "raster.png"
    spikes = _selected(run_folder, start, stop, population)
    with share("drawing", silent=as_json) as told:
        watched(spikes, 2, told).plot(path)
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
    """Write the spikes to a file that other tools read.

    docs/formats.md says what each format carries.

    \b
    Examples:
      eventnet raster export runs/drone-1 --format sonata
      eventnet raster export runs/drone-1 -o spikes.nwb
      eventnet raster export runs/drone-1 --population hidden -o hidden.npz
    """
    from eventnet.export import FORMATS, export, format_of

    if output is None:
        if kind is None:
            raise ConfigError(f"give --format or -o: there are {', '.join(FORMATS)}")
        output = run_folder / f"spikes.{FORMATS[format_of('spikes', kind)].suffix}"
    spikes = _selected(run_folder, start, stop, population)
    with share("writing", silent=as_json) as told:
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
    """Read spikes of another program into a run folder.

    To look at them, or to feed them to a source.

    \b
    Examples:
      eventnet raster import cortex.h5 -o runs/cortex
      eventnet raster import session.nwb -o runs/session

    \b
    In a script:
      sim.feed("cortex", SpikeTrain.replay(Raster.open("runs/cortex"), "cortex"))
    """
    from eventnet.export import load

    with share("reading", silent=as_json) as told:
        found = load(file, output, kind, progress=told)
    if as_json:
        click.echo(json.dumps({"folder": str(output), "events": len(found)}))
        return
    click.echo(f"{output}: {len(found):,} events of {', '.join(found.populations)}")

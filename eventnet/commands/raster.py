"""The commands `eventnet raster`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from eventnet.commands import HELP, Commands
from eventnet.commands.progress import share
from eventnet.errors import ConfigError


@click.group(cls=Commands, context_settings=HELP)
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

    with share("reading", silent=as_json) as told:
        found = load(file, output, kind, progress=told)
    if as_json:
        click.echo(json.dumps({"folder": str(output), "events": len(found)}))
        return
    click.echo(f"{output}: {len(found):,} events of {', '.join(found.populations)}")

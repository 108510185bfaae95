"""The commands `eventnet plot` and `eventnet report`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from eventnet.commands import HELP, warn
from eventnet.commands.progress import share


@click.command(context_settings=HELP)
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
    """Draw a run: raster, signals, outputs, weights or cost.

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
    warn(run_folder)
    with share("drawing", silent=as_json) as told:
        save(figure_of(what, run_folder, population, told), path)
    click.echo(json.dumps({"file": str(path)}) if as_json else str(path))


@click.command(context_settings=HELP)
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

    warn(run_folder)
    with share("drawing", silent=as_json) as told:
        path = write(run_folder, output, told)
    click.echo(json.dumps({"file": str(path)}) if as_json else str(path))

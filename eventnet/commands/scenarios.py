"""The commands about scenarios that are not run: `scenarios`, `new`, `schema` and `graph`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from eventnet.commands import HELP
from eventnet.commands.progress import running


@click.command(context_settings=HELP)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def new(name: str, as_json: bool) -> None:
    """Write NAME.toml, a commented scenario to start from.

    Change its paths and columns, then `eventnet run NAME.toml`.

    \b
    Example:
      eventnet new my_robot
    """
    from eventnet.experiment.file import write_starter

    path = Path(name if name.endswith(".toml") else f"{name}.toml")
    write_starter(path)
    click.echo(json.dumps({"file": str(path)}) if as_json else str(path))


@click.command(context_settings=HELP)
def schema() -> None:
    """Print the JSON Schema of scenario files, for editors.

    \b
    Example:
      eventnet schema > eventnet.schema.json
    """
    from eventnet.experiment.file import schema as generated

    click.echo(json.dumps(generated(), indent=2))


@click.command(context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def scenarios(as_json: bool) -> None:
    """List the scenarios with what `run --set` can change.

    \b
    Example:
      eventnet scenarios
    """
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


@click.command(context_settings=HELP)
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
    """Show SCENARIO's network and what it will cost to run it.

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
    with running(silent=as_json) as report:
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

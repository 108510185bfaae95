"""The commands `eventnet data`."""

from __future__ import annotations

import json

import click

from eventnet.commands import HELP, Commands


@click.group(cls=Commands, context_settings=HELP)
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

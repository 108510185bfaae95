"""The commands `eventnet data`."""

from __future__ import annotations

import json
import shutil

import click

from eventnet.commands import HELP, Commands


@click.group(cls=Commands, context_settings=HELP)
def data() -> None:
    """The real recordings that scenarios use.

    \b
    Examples:
      eventnet data list
      eventnet data info mnist         where from, under which licence
      eventnet data fetch mnist
    """


@data.command("list", context_settings=HELP)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_list(as_json: bool) -> None:
    """List the data sets and whether each is in the cache.

    \b
    Example:
      eventnet data list
    """
    from eventnet.data import cached, names, recipe

    rows = {
        name: {"title": recipe(name).title, "cached": cached(name) is not None} for name in names()
    }
    if as_json:
        click.echo(json.dumps(rows))
        return
    for name, row in rows.items():
        state = "cached" if row["cached"] else "to fetch"
        text = f"{name:<13} {state:<9} {row['title']}"
        click.echo(click.wrap_text(text, shutil.get_terminal_size().columns, "", " " * 24))


@data.command("fetch", context_settings=HELP)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_fetch(name: str, as_json: bool) -> None:
    """Get a data set, check its checksums and print the folder.

    \b
    Example:
      eventnet data fetch mnist
    """
    from eventnet.data import fetch

    found = fetch(name, progress=not as_json)
    click.echo(json.dumps({"name": name, "folder": str(found)}) if as_json else str(found))


@data.command("info", context_settings=HELP)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def data_info(name: str, as_json: bool) -> None:
    """Show where a data set comes from, its licence and its files.

    \b
    Example:
      eventnet data info mnist
    """
    from dataclasses import asdict

    from eventnet.data import cached, recipe

    found = recipe(name)
    if as_json:
        click.echo(json.dumps(asdict(found) | {"cached": str(cached(name) or "")}, default=str))
        return
    click.secho(found.title, bold=True)
    for head, text in (
        ("", found.description),
        ("licence: ", found.licence),
        ("citation: ", found.citation),
    ):
        click.echo(click.wrap_text(" ".join(text.split()), initial_indent=head))
    click.echo(f"cached: {cached(name) or 'no'}")
    for file in found.files:
        click.echo(f"file: {file.name}, {file.size:,} bytes\n  sha256 {file.sha256}")

"""The command `eventnet reproduce`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from eventnet.commands.progress import working
from eventnet.reproduce import SHORT, TARGETS, agrees, run


class _Listed(click.Command):
    """A command whose help lists the targets."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Targets"):
            formatter.write_dl(list(TARGETS.items()))


@click.command(
    cls=_Listed,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("target", type=click.Choice(list(TARGETS)), metavar="TARGET")
@click.option("--quick", is_flag=True, help="Under a minute, with fewer numbers if need be.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reproduced"),
    show_default=True,
    metavar="DIR",
    help="Where TARGET.png, .svg, .json and .csv go; older ones are replaced.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def reproduce(target: str, quick: bool, out: Path, as_json: bool) -> None:
    """Reproduce a figure or table, beside the published numbers.

    \b
    Examples:
      eventnet reproduce fig1
      eventnet reproduce fig9 --out figures --json
      eventnet reproduce table1       # hours; stopped, it goes on where it was
    """
    with working(target, silent=as_json or target not in SHORT):
        start = time.perf_counter()
        result = run(target, quick, None if quick else out)
        wall_s = time.perf_counter() - start

        from eventnet.reproduce.record import write

        document = write(result, target, out, quick=quick, wall_s=wall_s)
    files = {suffix: str(out / f"{target}.{suffix}") for suffix in ("png", "svg", "json", "csv")}
    if as_json:
        click.echo(json.dumps(document | {"files": files}))
        return
    click.echo(f"{result.title}: {TARGETS[target]}\n")
    _print_numbers(document["numbers"])
    click.echo("")
    for suffix, path in files.items():
        click.echo(f"{suffix:<5} {path}")


def shown(here: float | int | None) -> str:
    """Return a number as a table shows it.

    Examples
    --------
    >>> shown(1031), shown(-95.6337764), shown(711000.25), shown(None)
    ('1,031', '-95.634', '711,000', 'nan')
    """
    if here is None:
        return "nan"
    if isinstance(here, int):
        return f"{here:,}"
    return f"{here:,.0f}" if abs(here) >= 10_000 else f"{here:.5g}"


def _print_numbers(numbers: Iterable[dict[str, Any]]) -> None:
    from rich.console import Console

    from eventnet.report.table import table

    numbers = list(numbers)
    published = [key for key in ("paper", "program") if any(row[key] for row in numbers)]
    found = table("", "here", *published)
    for row in numbers:
        found.add_row(row["what"], shown(row["here"]), *(beside(row, key) for key in published))
    Console().print(found)


def beside(row: dict[str, Any], key: str) -> str:
    """Return a published number, marked where the one here differs in the digits printed."""
    printed: str | None = row[key]
    if printed is None:
        return ""
    here = float("nan") if row["here"] is None else row["here"]
    return printed if agrees(here, printed) else f"{printed} !"

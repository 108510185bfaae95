"""The commands `eventnet runs` and `eventnet compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from eventnet.commands import HELP


@click.command(context_settings=HELP)
@click.argument("folder", type=click.Path(path_type=Path), default=Path("runs"), metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def runs(folder: Path, as_json: bool) -> None:
    """List the runs in DIR, the oldest first. [runs]

    A run is finished, running (a process is writing it now) or interrupted; `raster` are spikes that
    were imported.

    \b
    Examples:
      eventnet runs
      eventnet runs elsewhere --json
    """
    from eventnet.runs import runs_in

    rows = [run.summary() for run in runs_in(folder)]
    if as_json:
        click.echo(json.dumps({"runs": rows}))
        return
    if not rows:
        click.echo(f"no runs in {folder}")
        return
    from rich.console import Console

    from eventnet.report.table import table

    found = table("run", "state", "begun (UTC)", "simulated", "spikes", "result", text=3)
    for row in rows:
        found.add_row(
            Path(row["folder"]).name,
            row["state"],
            row["started"][:16].replace("T", " "),
            "" if row["simulated_s"] is None else f"{row['simulated_s']:,.1f} s",
            shown(row["spikes"]),
            next((f"{name} {shown(value)}" for name, value in row["metrics"].items()), ""),
        )
    Console().print(found)


@click.command(context_settings=HELP)
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def compare(a: Path, b: Path, as_json: bool) -> None:
    """Show what differs between the runs A and B.

    In configuration: parameters, network, rule, seed, versions. In result: fit, spikes, operations.

    \b
    Examples:
      eventnet compare runs/drone-1 runs/drone-2
      eventnet compare runs/drone-1 runs/drone-2 --json
    """
    from rich.console import Console

    from eventnet.compare import differences
    from eventnet.report.table import table
    from eventnet.runs import RunFolder

    found = differences(RunFolder(a), RunFolder(b))
    if as_json:
        click.echo(json.dumps({"a": str(a), "b": str(b), **found._asdict()}))
        return
    made, came = table("configuration", a.name, b.name), table("result", a.name, b.name, "change")
    for key, pair in found.configuration.items():
        made.add_row(key, *map(shown, pair))
    for key, pair in found.result.items():
        came.add_row(key, *map(shown, pair), _change(*pair))
    out = Console()
    out.print(made if found.configuration else "configuration: the same")
    out.print()
    out.print(came if found.result else "result: the same")


def shown(value: Any) -> str:
    """Return a figure or a setting as a table shows it.

    Examples
    --------
    >>> shown(1234567), shown(0.123456), shown([0.5, 1 / 3]), shown(None), shown("stdp")
    ('1,234,567', '0.1235', '0.5  0.3333', '', 'stdp')
    """
    if value is None:
        return ""
    if isinstance(value, list):
        return "  ".join(map(shown, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _change(one: Any, other: Any) -> str:
    numbers = [v for v in (one, other) if isinstance(v, int | float) and not isinstance(v, bool)]
    return f"{other / one - 1:+.1%}" if len(numbers) == 2 and one > 0 else ""

"""The command `eventnet run`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from eventnet.commands import HELP
from eventnet.commands.progress import running

if TYPE_CHECKING:
    from eventnet.scenario import Scenario


@click.command(context_settings=HELP)
@click.argument("scenario", required=False)
@click.option(
    "--set", "settings", multiple=True, metavar="KEY=VALUE", help="Change a parameter; repeatable."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="N",
    help="Of all that is drawn.",
)
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
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="Keep a state every S simulated seconds, to go on from.",
)
@click.option(
    "--on-divergence",
    type=click.Choice(["stop", "halve-lr"]),
    default="stop",
    show_default=True,
    help="End, or go back to the last checkpoint and learn at half the rate.",
)
@click.option(
    "--resume",
    "resumed",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Go on with a run folder, in the place of SCENARIO.",
)
@click.option("--live", is_flag=True, help="Readings come by standard input, as JSON lines.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    metavar="N",
    help="Live, by this port of 127.0.0.1; 0 takes a free one.",
)
@click.option(
    "--clock",
    type=click.Choice(["sender", "unix"]),
    default="sender",
    show_default=True,
    help="Live: time stamps count from the first, or from 1970.",
)
@click.option(
    "--rerun",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a new .rrd for the Rerun viewer too.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--quiet", is_flag=True, help="No progress bar and no table.")
@click.pass_context
def run(
    context: click.Context,
    scenario: str | None,
    settings: tuple[str, ...],
    seed: int,
    engine: str,
    until: float | None,
    out: Path | None,
    checkpoint_every: float | None,
    on_divergence: Literal["stop", "halve-lr"],
    resumed: Path | None,
    live: bool,
    port: int | None,
    clock: Literal["sender", "unix"],
    rerun: Path | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run SCENARIO: a name from `eventnet scenarios`, or a file.

    The file is one in TOML (`eventnet new` writes one) or in Python.

    \b
    Examples:
      eventnet run drone
      eventnet run my_robot.toml --set layers.hidden.size=40
      eventnet run drone --set tau=0.03 --seed 4 --out runs/mine
      eventnet run my_robot.py --engine actors --until 2 --json
      eventnet run drone --rerun drone.rrd     # then: rerun drone.rrd
      eventnet run my_robot.toml --live < log.jsonl > outputs.jsonl
      eventnet run my_robot.toml --port 9000 --until 3600
      eventnet run drone --checkpoint-every 60
      eventnet run --resume runs/drone-1       after Ctrl-C, or a kill
    """
    from eventnet.scenario import LiveOptions, execute, load, resume

    if resumed is not None:
        _check_resumed(context)
        with running(silent=quiet or as_json) as report:
            loaded, summary = resume(
                resumed, until=until, checkpoint_every=checkpoint_every, report=report
            )
        _show(loaded, summary, as_json, quiet, to_stderr=False)
        return
    if scenario is None:
        raise click.UsageError("give a SCENARIO, or --resume RUN")
    loaded = load(scenario)
    options = LiveOptions(port, clock) if live or port is not None else None
    if options is not None:
        _log_live(quiet)
    with running(silent=quiet or as_json or options is not None) as report:
        summary = execute(
            loaded,
            settings,
            seed=seed,
            engine=engine,
            until=until,
            out=out,
            report=report,
            live=options,
            rerun=rerun,
            checkpoint_every=checkpoint_every,
            on_divergence=on_divergence,
        )
    # Standard output belongs to the outputs of a live run.
    _show(loaded, summary, as_json, quiet, to_stderr=options is not None)
    if rerun is not None and not (quiet or as_json):
        click.echo(f"rerun {rerun}", err=options is not None)


def _check_resumed(context: click.Context) -> None:
    """Refuse what a run folder says itself."""
    allowed = ("resumed", "until", "checkpoint_every", "as_json", "quiet")
    given = click.core.ParameterSource.DEFAULT
    for parameter in context.command.params:
        name = parameter.name or ""
        if name not in allowed and context.get_parameter_source(name) is not given:
            raise click.UsageError(
                f"{parameter.opts[0]}: with --resume the run folder says it; leave it out"
            )


def _show(
    loaded: Scenario, summary: dict[str, Any], as_json: bool, quiet: bool, to_stderr: bool
) -> None:
    picture = _draw(Path(summary["folder"]), loaded.name, summary["simulated_s"])
    if as_json:
        click.echo(json.dumps(summary))
    elif not quiet:
        _print_summary(summary, picture, to_stderr)


def _log_live(quiet: bool) -> None:
    """Let a live run say on standard error what happens to it."""
    import logging

    logging.basicConfig(format="%(message)s")
    logging.getLogger("eventnet.live").setLevel(logging.WARNING if quiet else logging.INFO)


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

"""The commands of `eventnet`, one file a group: each parses, calls one function and prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from eventnet.errors import ConfigError, EventNetError, Interrupted
from eventnet.signals import exit_code, handled

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class BadUsage(click.ClickException):
    """A value that cannot be used as given: exit code 2, like click's own usage errors."""

    exit_code = 2


class Commands(click.Group):
    """A group whose deliberate errors end in one message and an exit code, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with handled(interrupt):
                return super().invoke(ctx)
        except EventNetError as error:
            usage = isinstance(error, ConfigError)
            raise (BadUsage if usage else click.ClickException)(str(error)) from error
        except KeyboardInterrupt as error:
            click.echo(str(error) or "interrupted", err=True)
            ctx.exit(exit_code(error))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error
        except MemoryError as error:
            raise click.ClickException("out of memory: make the run shorter or smaller") from error


def interrupt(kind: int, frame: object) -> None:
    """Raise `Interrupted`: what a command was writing is removed."""
    raise Interrupted(kind)


def warn(folder: Path) -> None:
    """Say on standard error that a run is still being written, or was interrupted."""
    from eventnet.runs import RunFolder

    if text := RunFolder(folder).warning:
        click.echo(f"{folder}: {text}", err=True)

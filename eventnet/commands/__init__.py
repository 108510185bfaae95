"""The commands of `eventnet`, one file a group: each parses, calls one function and prints."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from eventnet.errors import ConfigError, EventNetError, Interrupted

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class BadUsage(click.ClickException):
    """A value that cannot be used as given: exit code 2, like click's own usage errors."""

    exit_code = 2


class Commands(click.Group):
    """A group whose deliberate errors end in one message and an exit code, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with signals_raised():
                return super().invoke(ctx)
        except EventNetError as error:
            usage = isinstance(error, ConfigError)
            raise (BadUsage if usage else click.ClickException)(str(error)) from error
        except KeyboardInterrupt as error:
            click.echo(str(error) or "interrupted", err=True)
            ctx.exit(128 + getattr(error, "signal", signal.SIGINT))
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{place}{error.strerror or error}") from error
        except MemoryError as error:
            raise click.ClickException("out of memory: make the run shorter or smaller") from error


@contextmanager
def signals_raised() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise `Interrupted`: what a command was writing is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals reach the main thread only
        return

    def interrupt(kind: int, frame: object) -> None:
        raise Interrupted(kind)

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(kind, interrupt) for kind in kinds]
    try:
        yield
    finally:
        for kind, handler in zip(kinds, before, strict=True):
            signal.signal(kind, handler)


def warn(folder: Path) -> None:
    """Say on standard error that a run is still being written, or was interrupted."""
    from eventnet.runs import RunFolder

    if text := RunFolder(folder).warning:
        click.echo(f"{folder}: {text}", err=True)

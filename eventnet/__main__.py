"""The command `eventnet`, also ``python -m eventnet``: Ctrl-C and SIGTERM end it in one message.

From the first line on: nothing that takes long is imported before the signals are set.
"""

from __future__ import annotations

import os
import signal
import sys

from eventnet.signals import KINDS


def leave(kind: int, *_: object) -> None:
    """End at once: while modules load, what a handler raises can be lost or become another error."""
    os.write(2, b"interrupted\n")
    os._exit(128 + kind)


def lost(unraisable: sys.UnraisableHookArgs) -> None:
    """End the command also where Ctrl-C was raised in a callback, which lets nothing out."""
    error = unraisable.exc_value
    if isinstance(error, KeyboardInterrupt):
        leave(getattr(error, "signal", signal.SIGINT))
    sys.__unraisablehook__(unraisable)


def main() -> None:
    """Run the command that the arguments name."""
    for kind in KINDS:
        signal.signal(kind, leave)
    sys.unraisablehook = lost
    from eventnet.cli import main as commands

    try:
        commands()
    finally:
        for kind in KINDS:  # all is done, and the exit code says what came of it
            signal.signal(kind, signal.SIG_IGN)


if __name__ == "__main__":
    main()

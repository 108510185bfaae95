"""Ctrl-C and SIGTERM while a command or a run is busy."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KINDS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def handled(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Let a handler take Ctrl-C and SIGTERM, which reach the main thread only; others do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = [signal.signal(kind, handler) for kind in KINDS]
    try:
        yield
    finally:
        for kind, earlier in zip(KINDS, before, strict=True):
            signal.signal(kind, earlier)


def exit_code(error: KeyboardInterrupt) -> int:
    """Return what a command that a signal ended exits with: 130 or 143."""
    return 128 + int(getattr(error, "signal", signal.SIGINT))

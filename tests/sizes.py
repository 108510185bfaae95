"""How large a network in a test is: without the JIT, where speed is a hundredth, it is a small one."""

from __future__ import annotations

from numba import config


def sized(usual: int, small: int) -> int:
    """Return `usual`, or `small` where the JIT is off."""
    return small if config.DISABLE_JIT else usual

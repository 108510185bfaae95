"""What the reproduced figures share: the house style and colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from eventnet.plot.style import PALETTE, STYLE, matplotlib

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# The paper's colours, in a palette that the colour-blind can tell apart.
SIGNAL = PALETTE["blue"]
RECONSTRUCTION = PALETTE["orange"]
SPIKES = PALETTE["black"]
PRODUCT = PALETTE["green"]
APPROXIMATION = PALETTE["vermillion"]
PAST = PALETTE["purple"]
FUTURE = PALETTE["sky"]

_LAYOUT: dict[str, Any] = {"axes.grid": True, "grid.color": "#E4E4E4", "grid.linewidth": 0.5}


@contextmanager
def drawing(width: float, height: float) -> Iterator[Figure]:
    """Yield an empty figure, in inches, to be drawn on in the house style.

    Raises
    ------
    ConfigError
        If matplotlib is missing.
    """
    library = matplotlib()
    from matplotlib.figure import Figure

    with library.rc_context(STYLE | _LAYOUT):
        yield Figure(figsize=(width, height), layout="constrained")

"""The one style of eventnet's figures: colours, sizes, fonts, and how a figure becomes a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventnet.errors import ConfigError
from eventnet.extras import needed
from eventnet.raster import written_aside

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's palette: eight colours that the colour-blind can tell apart.
PALETTE = {
    "black": "#000000",
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "yellow": "#F0E442",
    "blue": "#0072B2",
    "vermillion": "#D55E00",
    "purple": "#CC79A7",
}
POSITIVE = PALETTE["blue"]
NEGATIVE = PALETTE["vermillion"]
INK = "#333333"
FAINT = "#8A8A8A"

STYLE: dict[str, Any] = {
    "figure.dpi": 150,
    "savefig.dpi": 150,
    "figure.facecolor": "white",
    "font.size": 9,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.labelcolor": INK,
    "axes.edgecolor": FAINT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.formatter.useoffset": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 7.5,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "text.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "eventnet",
}
SUFFIXES = ("png", "svg", "pdf")
WIDTH = 9.0  # inches


def matplotlib() -> Any:
    """Return matplotlib, or say how to get it."""
    return needed("matplotlib", "plot", "figures")


def figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure, in inches, unknown to pyplot; draw on it in the context of `STYLE`."""
    matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save(figure: Figure, path: Path | str) -> Path:
    """Write a figure as png, svg or pdf, by the suffix; an older file is replaced.

    The same figure gives the same bytes: no date is written.

    Raises
    ------
    ConfigError
        If the suffix is another one.
    RunFolderError
        If the file cannot be written.
    """
    path = Path(path)
    suffix = path.suffix.removeprefix(".").lower()
    if suffix not in SUFFIXES:
        raise ConfigError(f"{path}: unknown kind of figure; there are {', '.join(SUFFIXES)}")
    date = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}[suffix]
    with matplotlib().rc_context(STYLE), written_aside(path) as aside:
        figure.savefig(aside, format=suffix, metadata=date)
    return path

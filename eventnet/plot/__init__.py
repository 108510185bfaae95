"""Figures, drawn on `matplotlib.figure.Figure` without global state, in the one style of `plot.style`."""

from eventnet.plot.cost import cost_figure
from eventnet.plot.raster import raster_figure
from eventnet.plot.signals import outputs_figure, signals_figure
from eventnet.plot.style import FAINT, NEGATIVE, PALETTE, POSITIVE, STYLE, SUFFIXES, save
from eventnet.plot.weights import weights_figure

__all__ = [
    "FAINT",
    "NEGATIVE",
    "PALETTE",
    "POSITIVE",
    "STYLE",
    "SUFFIXES",
    "cost_figure",
    "outputs_figure",
    "raster_figure",
    "save",
    "signals_figure",
    "weights_figure",
]

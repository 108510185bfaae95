"""The figures and tables of O'Connor et al. (2018), one small module each.

A target is a module of this package with a function ``run(quick: bool) -> Result`` and a line in
`TARGETS`. `eventnet reproduce TARGET` runs it and writes what it returns (`record.write`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eventnet.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TARGETS = {
    "fig1": "a signal, its spikes and its reconstruction at twelve pairs of gains",
    "fig2": "why a proportional part is needed while weights change",
    "fig3": "the areas that the past and the future update add",
    "fig4": "the kernel of the update by pairs of spikes, beside classic STDP",
    "fig5": "scores against epochs, operations and energy, on MNIST and Temporal MNIST",
    "fig6": "snippets of adjacent frames of Temporal MNIST",
    "fig7": "the video experiment, on substitutes: top layers' R2 against iterations and energy",
    "fig8": "the video experiment, on substitutes: computation per frame against the rate of frames",
    "fig9": "four update rules on two spike trains, and their common sum",
    "fig10": "what changing weights and quantization do to a product, at 32 x 32 pairs of gains",
    "fig12": "the video experiment, on substitutes: what changes between frames, by rate and depth",
    "table1": "Appendix F: two orders, four depths, beside the perceptron",
    "sigma_delta": "O'Connor and Welling (2016b): changes alone, kp = 0, on both orders",
    "rates": "section 1, example 2: cost against the rate of the sensors, beside the dense network",
    "coders": "options of a coder, each on four tasks: error against additions a sample",
    "frontier": "error against additions a sample on four tasks, beside dense and pruned networks",
    "cctv": "convolutions on a camera's pixels learn what moves, beside the same network dense",
}

SHORT = ("fig1", "fig2", "fig3", "fig4", "fig9")
"""Targets of some seconds; the others show themselves how far they are."""

LONG = ("fig5", "table1", "coders", "frontier")
"""Targets that take long. ``run(quick, folder)`` keeps each row and goes on where it was stopped."""


@dataclass(frozen=True)
class Number:
    """One number of a target, beside what others have for it.

    Parameters
    ----------
    what : str
        Its name, with the unit.
    here : float or int
        As computed; nan where there is nothing to compute.
    paper : str, optional
        As printed in the paper, digit for digit.
    program : str, optional
        What the authors' published program gives, in as many digits as are known.
    note : str
        What a reader must know to compare them.
    """

    what: str
    here: float | int
    paper: str | None = None
    program: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Result:
    """What a target comes to: its settings, its numbers and its figure, not yet on disk.

    `settings` holds plain values: numbers, strings, lists of these. `seed` is None where nothing is
    random.
    """

    title: str
    seed: int | None
    settings: Mapping[str, Any]
    numbers: tuple[Number, ...]
    figure: Figure


def agrees(here: float, printed: str) -> bool:
    """Return whether a number equals a printed one in all the digits that are printed.

    Examples
    --------
    >>> agrees(0.2615, ".262"), agrees(0.2615, "0.26"), agrees(1.816, "1.8"), agrees(12, "13")
    (True, True, True, False)
    >>> agrees(float("nan"), "nan")
    True
    """
    if printed == "nan":
        return here != here
    decimals = len(printed.partition(".")[2])
    return round(here, decimals) == float(printed)


def run(target: str, quick: bool = False, folder: Path | None = None) -> Result:
    """Compute a target.

    Parameters
    ----------
    target : str
        One of `TARGETS`.
    quick : bool
        Stay under a minute, at the price of some of the numbers where that is not enough for all.
    folder : Path, optional
        Where a long target keeps its rows and finds those that it has.

    Raises
    ------
    ConfigError
        If there is no such target, or matplotlib or scipy is missing.
    FetchError, DataError
        If it needs data that cannot be had.
    """
    if target not in TARGETS:
        raise ConfigError(f"target {target!r}: there is none; choose from {', '.join(TARGETS)}")
    module = importlib.import_module(f"{__name__}.{target}")
    result: Result = module.run(quick, folder) if target in LONG else module.run(quick)
    return result

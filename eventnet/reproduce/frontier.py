"""Error against additions a sample: eventnet's fronts, the paper's and dense networks, on four tasks.

Settings were chosen on validation parts, by `eventnet sweep` (docs/results/frontier.md). Here their
networks learn anew with seeds that no choice has seen, and are scored once on the test parts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eventnet.data.mnist import Mnist
from eventnet.plot import FAINT, PALETTE
from eventnet.reproduce import Number, Result, fig5, frontier_tasks, rows, table1
from eventnet.reproduce.drawing import drawing
from eventnet.reproduce.frontier_chosen import CHOSEN
from eventnet.reproduce.frontier_tasks import (
    AT_TARGETS,
    CHANGES,
    DENSE,
    PRUNED,
    SKIPPING,
    SPIKING,
    Point,
)
from eventnet.trial import Row

SEEDS = (11, 12, 13)
UNIT = {
    "MNIST": "test error, %",
    "Temporal MNIST": "test error, %",
    "drone": "1 - R2",
    "video": "1 - R2",
}
SAMPLE = {"MNIST": "image", "Temporal MNIST": "image", "drone": "reading", "video": "frame"}
PAPER, PERCEPTRON = "the paper", "perceptron"
USUAL = "eventnet, as the scenario has it"
COLORS = {
    "eventnet": PALETTE["vermillion"],
    USUAL: FAINT,
    PAPER: PALETTE["black"],
    CHANGES: PALETTE["green"],
    DENSE: PALETTE["blue"],
    AT_TARGETS: PALETTE["sky"],
    SKIPPING: PALETTE["sky"],
    PRUNED: PALETTE["purple"],
}
OTHER = PALETTE["orange"]

QUICK: dict[str, dict[str, Any]] = {
    "MNIST": {"epochs": 1, "later_from": 1},
    "Temporal MNIST": {"epochs": 1, "later_from": 1},
    "drone": {"passes": 1},
    "video": {"passes": 3},
}

Curves = dict[str, list[list[Point]]]
"""By series, of each network the points of all seeds."""


def run(quick: bool, folder: Path | None = None) -> Result:
    """Train the networks of all panels with three seeds, half an hour; with one, a little, if quick."""
    seeds, mnist = SEEDS[: 1 if quick else None], rows.data(quick)
    found: dict[str, Row] = {}
    panels = {}
    for task, series in CHOSEN.items():
        measured = []
        for name, many in series.items():
            for k, given in enumerate(many, 1):
                mine = {}
                for seed in seeds:
                    slug = row_name(task, name, k, seed)
                    identity = {"task": task, "series": name, "given": given, "seed": seed}
                    make = partial(_row, mnist, task, name, given, seed, quick)
                    mine[slug] = rows.kept("frontier", slug, identity, make, folder, quick)
                found |= mine
                measured.append((name, [row["points"] for row in mine.values()]))
        panels[task] = curves(measured)
    told = {"seeds": list(seeds), "rows at commits": rows.commits(found)}
    numbers = [n for task, lines in panels.items() for n in _numbers(task, lines)]
    return Result("Frontier", SEEDS[0], told, tuple(numbers), _figure(panels))


def row_name(task: str, series: str, k: int, seed: int) -> str:
    """Return what the row of a network is kept as, without suffix.

    >>> row_name("Temporal MNIST", "k_alpha = .999", 1, 11)
    'temporal-mnist-k-alpha-999-1-11'
    """
    return re.sub("[^a-z0-9]+", "-", f"{task} {series} {k} {seed}".lower())


def curves(measured: list[tuple[str, list[Mapping[str, Any]]]]) -> Curves:
    """Gather what rows hold into curves.

    Of a run the spiking network belongs to the series that it is chosen for, what is beside it to a
    series of its own if the run was made for that.

    Examples
    --------
    >>> both = {"spiking": [[0.5, 9.0, 4.0]], "dense": [[0.4, 90.0, 40.0]]}
    >>> curves([("eventnet", [both]), ("dense", [both])])  # doctest: +NORMALIZE_WHITESPACE
    {'eventnet': [[Point(error=0.5, learning=9.0, reading=4.0)]],
     'dense': [[Point(error=0.4, learning=90.0, reading=40.0)]]}
    """
    found: Curves = {}
    for name, seeds in measured:
        beside = name in (DENSE, PERCEPTRON)
        for kind in seeds[0]:
            if beside == (kind != SPIKING):
                networks = zip(*(row[kind] for row in seeds), strict=True)
                found.setdefault(kind if beside else name, []).extend(
                    [Point(*point) for point in network] for network in networks
                )
    return found


def _row(
    mnist: Mnist, task: str, series: str, given: dict[str, Any], seed: int, quick: bool
) -> Row:
    make: Callable[..., frontier_tasks.Points]
    if task in ("drone", "video"):
        make = frontier_tasks.flight if task == "drone" else frontier_tasks.features
    else:
        kind = frontier_tasks.perceptrons if series == PERCEPTRON else frontier_tasks.digits
        make = partial(kind, mnist, task == "Temporal MNIST")
    if quick:
        little = QUICK[task]
        given = given | {k: v for k, v in little.items() if series != PERCEPTRON or k in given}
    return {"points": make(given, seed)}


def printed() -> dict[str, Curves]:
    """Return the paper's networks of one hidden layer: operations a sample in training, test error."""
    found: dict[str, Curves] = {}
    for task, order in (("MNIST", "mnist"), ("Temporal MNIST", "temporal_mnist")):
        operations, _, score = table1.PRINTED[order, 1, table1.PDNN]
        scores = (score, fig5.PAPER[task, "spiking"])
        found[task] = {PAPER: [[Point(100 - float(s), float(operations), None)] for s in scores]}
    return found


def _numbers(task: str, lines: Curves) -> list[Number]:
    numbers = []
    for series, networks in lines.items():
        dense = series in (DENSE, SKIPPING, PRUNED, AT_TARGETS)
        count = "multiply-adds" if dense else "additions"
        for k, network in enumerate(networks, 1):
            at = f"{task}, {series}" + (f" {k}" if len(networks) > 1 else "")
            seeds = ", ".join(f"{point.error:.4g}" for point in network)
            numbers.append(
                Number(f"{at}: {UNIT[task]}", _mean(network, "error"), note=f"seeds: {seeds}")
            )
            for part in ("learning", "reading"):
                if getattr(network[0], part) is not None:
                    what = (
                        f"{at}: {count} a{'n' * (SAMPLE[task] == 'image')} {SAMPLE[task]}, {part}"
                    )
                    numbers.append(Number(what, _mean(network, part)))
    return numbers


def _mean(network: list[Point], name: str) -> float:
    return float(np.mean([getattr(point, name) for point in network]))


def _figure(panels: dict[str, Curves]) -> Any:
    """Draw a panel a task: full dots while they learn, hollow ones while they read."""
    paper = printed()
    with drawing(12, 4.6) as figure:
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (task, own) in zip(axes, panels.items(), strict=True):
            for series, networks in (own | paper.get(task, {})).items():
                for part, style in (("learning", "o-"), ("reading", "o--")):
                    _line(ax, networks, part, style, COLORS.get(series, OTHER))
            ax.set(xscale="log", title=task, ylabel=UNIT[task])
            ax.set_xlabel(f"additions a{'n' * (SAMPLE[task] == 'image')} {SAMPLE[task]}")
        figure.supxlabel("of dense networks: multiply-adds", fontsize=8)
        _legend(figure, panels)
    return figure


def _line(ax: Any, networks: list[list[Point]], part: str, style: str, color: str) -> None:
    """Draw the means over seeds, and how far seeds are apart."""
    shown = [network for network in networks if getattr(network[0], part) is not None]
    shown.sort(key=lambda network: _mean(network, part))
    errors = [_mean(network, "error") for network in shown]
    spread = np.array(
        [
            [at - min(p.error for p in network), max(p.error for p in network) - at]
            for at, network in zip(errors, shown, strict=True)
        ]
    )
    ax.errorbar(
        [_mean(network, part) for network in shown],
        errors,
        yerr=spread.T if len(shown) else None,
        fmt=style,
        ms=4,
        lw=1,
        elinewidth=0.8,
        color=color,
        mfc=color if part == "learning" else "white",
    )


def _legend(figure: Any, panels: dict[str, Curves]) -> None:
    from matplotlib.lines import Line2D

    names = list(dict.fromkeys([*(name for own in panels.values() for name in own), PAPER]))
    handles = [
        Line2D([], [], color=COLORS.get(name, OTHER), marker="o", ms=4, label=name)
        for name in names
    ]
    handles += [
        Line2D([], [], color="0.4", marker="o", ms=4, label="learning, mean of the training"),
        Line2D([], [], color="0.4", marker="o", ms=4, ls="--", mfc="white", label="reading"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=5, fontsize=7)

"""The table of Appendix F: two orders, four depths, the spiking network and the perceptron."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eventnet.classifier import PRESETS
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result, rows
from eventnet.reproduce.drawing import drawing
from eventnet.trial import Row, Trial

ORDERS = ("mnist", "temporal_mnist")
DEPTHS = (1, 2, 3, 4)
PRESET_NAMES = ("paper-schedule", "eventnet")

PDNN, MLP = "PDNN", "MLP"
PRINTED = {
    ("mnist", 1, PDNN): ("711000", "100", "98.34"),
    ("mnist", 1, MLP): ("314000", "100", "98.3"),
    ("mnist", 2, PDNN): ("1000000", "99.82167", "98.18"),
    ("mnist", 2, MLP): ("434000", "100", "98.5"),
    ("mnist", 3, PDNN): ("1300000", "99.91", "98.16"),
    ("mnist", 3, MLP): ("554000", "99.99333", "98.39"),
    ("mnist", 4, PDNN): ("1620000", "99.96", "98.41"),
    ("mnist", 4, MLP): ("674000", "99.99167", "98.28"),
    ("temporal_mnist", 1, PDNN): ("484000", "100", "98.39"),
    ("temporal_mnist", 1, MLP): ("314000", "100", "98.2"),
    ("temporal_mnist", 2, PDNN): ("740000", "99.97833", "98.27"),
    ("temporal_mnist", 2, MLP): ("434000", "100", "98.38"),
    ("temporal_mnist", 3, PDNN): ("967000", "99.98", "98.31"),
    ("temporal_mnist", 3, MLP): ("554000", "99.99833", "98.45"),
    ("temporal_mnist", 4, PDNN): ("1170000", "99.995", "98.18"),
    ("temporal_mnist", 4, MLP): ("674000", "100", "98.53"),
}
"""Operations a sample, training score, test score."""


def run(quick: bool, folder: Path | None = None) -> Result:
    """Train 16 spiking networks and a perceptron beside each; on few images if quick."""
    mnist = rows.data(quick)
    trials = {}
    for preset in PRESET_NAMES:
        for order in ORDERS:
            for depth in DEPTHS:
                settings = replace(PRESETS[preset], hidden=(200,) * depth)
                if order == "temporal_mnist":
                    settings = replace(settings, order="temporal")
                if quick:
                    settings = rows.quickened(settings, epochs=1)
                trials[_name(preset, order, depth)] = Trial(settings, mnist)
    found = rows.train("table1", trials, folder, quick)
    numbers: list[Number] = []
    for preset in PRESET_NAMES:
        differences = []
        for order in ORDERS:
            for depth in DEPTHS:
                row = found[_name(preset, order, depth)]
                numbers += _numbers(preset, order, depth, row)
                differences.append(row["comparison"]["points"])
        numbers += [
            Number(
                f"{preset}: spiking minus MLP, mean of eight, points", float(np.mean(differences))
            ),
            Number(f"{preset}: spiking minus MLP, least of eight, points", float(min(differences))),
        ]
    told = {"seed of the weights": 1234, "rows at commits": rows.commits(found)}
    return Result("Table 1", 0, told, tuple(numbers), _figure(found))


def _name(preset: str, order: str, depth: int) -> str:
    return f"{preset}-{order}-{depth}"


def _numbers(preset: str, order: str, depth: int, row: Row) -> list[Number]:
    last = row["curve"][-1]
    at = f"{preset}, {order} {[200] * depth}"
    # Of the perceptron only the training differs: its printed row stands once, beside the first preset.
    spiking = PRINTED[order, depth, PDNN] if preset == "paper-schedule" else (None,) * 3
    mlp = PRINTED[order, depth, MLP] if preset == "paper-schedule" else (None,) * 3
    found = row["comparison"]
    return [
        Number(
            f"{at} PDNN: operations a sample",
            last["paper_operations"],
            paper=spiking[0],
            note=f"all projections {last['additions']:,.0f}; {last['events']:,.0f} events",
        ),
        Number(f"{at} PDNN: training score, %", row["train"]["spiking"], paper=spiking[1]),
        Number(
            f"{at} PDNN: test score, %",
            row["test"]["spiking"],
            paper=spiking[2],
            note=f"unquantized {row['test']['unquantized']:.2f}",
        ),
        Number(
            f"{at} MLP: operations a sample",
            row["mlp"]["dense"] - 200 * 10 * 3,
            paper=mlp[0],
            note=f"skipping zeros, all layers {row['mlp']['zero_skipping']:,.0f}",
        ),
        Number(f"{at} MLP: training score, %", row["train"]["mlp"], paper=mlp[1]),
        Number(f"{at} MLP: test score, %", row["test"]["mlp"], paper=mlp[2]),
        Number(
            f"{at}: spiking minus MLP, points",
            found["points"],
            note=f"{found['low']:+.2f} to {found['high']:+.2f} (95 %), McNemar p = {found['p']:.2g}",
        ),
    ]


def _figure(found: dict[str, Row]) -> Any:
    """Draw the difference of each row with its interval, and its operations."""
    names = [f"{order} {depth}" for order in ORDERS for depth in DEPTHS]
    colors = {"paper-schedule": PALETTE["vermillion"], "eventnet": PALETTE["green"]}
    with drawing(10, 4.2) as figure:
        left, right = figure.subplots(1, 2)
        for shift, preset in enumerate(PRESET_NAMES):
            mine = [found[_name(preset, order, depth)] for order in ORDERS for depth in DEPTHS]
            place = np.arange(len(mine)) + 0.3 * shift - 0.15
            middle = np.array([row["comparison"]["points"] for row in mine])
            low = np.array([row["comparison"]["low"] for row in mine])
            high = np.array([row["comparison"]["high"] for row in mine])
            left.errorbar(
                middle,
                place,
                xerr=[middle - low, high - middle],
                fmt="o",
                ms=4,
                color=colors[preset],
                label=preset,
                capsize=2,
            )
            cost = [row["curve"][-1]["paper_operations"] / 1000 for row in mine]
            right.barh(place, cost, height=0.28, color=colors[preset], label=preset)
        printed = [
            float(PRINTED[order, depth, PDNN][0]) / 1000 for order in ORDERS for depth in DEPTHS
        ]
        right.plot(printed, np.arange(len(names)), "k|", ms=12, label="printed")
        left.axvline(0, color="0.5", lw=0.8)
        for ax in (left, right):
            ax.set_yticks(np.arange(len(names)), names)
            ax.invert_yaxis()
        left.set_xlabel("spiking minus MLP, test score (points), 95 % interval")
        right.set_xlabel("thousand operations a sample, paper's count")
        right.legend(loc="lower right")
        left.legend(loc="best")
    return figure

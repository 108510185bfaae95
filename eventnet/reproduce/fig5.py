"""Figure 5: training and test scores against epochs, operations and energy, on both orders of MNIST."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from eventnet.classifier import PRESETS
from eventnet.cost import INT_ADD_PJ, INT_MULTIPLY_PJ
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result, rows
from eventnet.reproduce.drawing import drawing
from eventnet.trial import Row, Trial

ORDERS = {"MNIST": "given", "Temporal MNIST": "temporal"}
SEEDS = (0, 1, 2)
PRESET_NAMES = ("paper", "eventnet")

PAPER = {
    ("MNIST", "spiking"): "98.36",
    ("MNIST", "mlp"): "98.25",
    ("Temporal MNIST", "spiking"): "97.99",
    ("Temporal MNIST", "mlp"): "98.28",
    ("MNIST", "operations"): "711000",
    ("Temporal MNIST", "operations"): "484000",
}
"""From section 3.1; operations a sample from Appendix F."""


def run(quick: bool, folder: Path | None = None) -> Result:
    """Train both presets on both orders, three seeds each; three epochs of few images if quick."""
    mnist = rows.data()
    trials = {}
    for preset in PRESET_NAMES:
        for order in ORDERS:
            for seed in SEEDS[: 1 if quick else None]:
                # All on the same images, so that the others can be scored after each epoch.
                settings = replace(PRESETS[preset], samples=PRESETS["paper"].samples)
                # The preset's own order is that of MNIST.
                if order == "Temporal MNIST":
                    settings = replace(settings, order="temporal")
                if quick:
                    settings = rows.quickened(settings, epochs=3)
                name = f"{preset}-{order.replace(' ', '-').lower()}-{seed}"
                trials[name] = Trial(settings, mnist, seed)
    found = rows.train("fig5", trials, folder, quick)
    numbers: list[Number] = []
    for preset in PRESET_NAMES:
        for order in ORDERS:
            prefix = f"{preset}-{order.replace(' ', '-').lower()}-"
            mine = [row for name, row in found.items() if name.startswith(prefix)]
            numbers += _numbers(preset, order, mine)
    told = {
        "presets": list(PRESET_NAMES),
        "seeds": [0] if quick else list(SEEDS),
        "rows at commits": rows.commits(found),
    }
    return Result("Figure 5", 0, told, tuple(numbers), _figure(found))


def _numbers(preset: str, order: str, mine: list[Row]) -> list[Number]:
    """Return the means over seeds of the scores, and of what the last epoch cost a sample."""
    printed = PAPER if preset == "paper" else {}
    last = [row["curve"][-1] for row in mine]

    def number(what: str, values: list[float], key: str = "", note: str = "") -> Number:
        here = float(np.mean(values))
        return Number(f"{preset}, {order}: {what}", here, printed.get((order, key)), note=note)

    def score(what: str, who: str, key: str = "") -> Number:
        values = [row["test"][who] for row in mine]
        seeds = "seeds: " + ", ".join(f"{value:.2f}" for value in values)
        return number(f"{what}, test %", values, key, seeds)

    numbers = [
        score("spiking", "spiking", "spiking"),
        score("the same weights unquantized", "unquantized"),
        score("MLP", "mlp", "mlp"),
    ]
    if "validation" in last[0]:
        best = [max(epoch["validation"] for epoch in row["curve"]) for row in mine]
        end = np.mean([epoch["validation"] for epoch in last])
        numbers.append(
            number(
                "best epoch on samples 50,000 to 59,999, %",
                best,
                "spiking",
                f"chosen on what it is scored on, as published; the last epoch there: {end:.2f}",
            )
        )
    for what, field, key in (
        ("operations a sample, the paper's count", "paper_operations", "operations"),
        ("additions a sample, all projections", "additions", ""),
        ("multiply-adds a sample, one row an event", "multiply_adds", ""),
        ("events a sample", "events", ""),
        ("quanta a sample", "quanta", ""),
        ("energy of the additions a sample, uJ", "energy_uj", ""),
    ):
        numbers.append(number(what, [epoch[field] for epoch in last], key))
    means = [float(np.mean([epoch["additions"] for epoch in row["curve"]])) for row in mine]
    numbers.append(number("additions a sample, mean of all epochs", means))
    speeds = [
        row["settings"]["samples"] / epoch["wall_s"] for row in mine for epoch in row["curve"]
    ]
    numbers.append(
        number("training samples a second", [float(np.median(speeds))], note="median of all epochs")
    )
    for what, field, note in (
        ("multiply-adds a sample", "dense", ""),
        ("multiply-adds a sample, skipping zeros", "zero_skipping", ""),
        (
            "energy a sample, uJ",
            "dense_uj",
            "3.2 pJ a multiply-add, of which the paper counted half",
        ),
        ("energy a sample, skipping zeros, uJ", "zero_skipping_uj", ""),
    ):
        numbers.append(number(f"MLP, {what}", [row["mlp"][field] for row in mine], note=note))
    return numbers


def _figure(found: dict[str, Row]) -> Any:
    """Draw the scores of seed 0: two rows of panels, three measures of effort."""
    mac = INT_ADD_PJ + INT_MULTIPLY_PJ
    colors = {"MLP": PALETTE["blue"], "paper": PALETTE["vermillion"], "eventnet": PALETTE["green"]}
    with drawing(10, 6) as figure:
        panels = figure.subplots(2, 3, sharey=True)
        for line, order in zip(panels, ORDERS, strict=True):
            for preset in PRESET_NAMES:
                row = found[f"{preset}-{order.replace(' ', '-').lower()}-0"]
                n = row["settings"]["samples"]
                curve = row["curve"]
                total = np.cumsum([epoch["additions"] for epoch in curve]) * n
                efforts = [np.arange(1, len(curve) + 1), total * 1e-9, total * INT_ADD_PJ * 1e-9]
                _lines(line, efforts, curve, colors[preset], f"{preset} preset")
            row = found[f"paper-{order.replace(' ', '-').lower()}-0"]
            curve, n = row["mlp_curve"], row["settings"]["samples"]
            epochs = np.arange(1, len(curve) + 1)
            total = epochs * row["mlp"]["dense"] * n
            _lines(line, [epochs, total * 1e-9, total * mac * 1e-9], curve, colors["MLP"], "MLP")
            line[0].set_ylabel(f"{order}\nscore (%)")
        for ax, label in zip(panels[-1], ("epoch", "GOps", "energy (mJ)"), strict=True):
            ax.set_xlabel(label)
        for ax in panels.flat:
            ax.set_xscale("log")
            ax.xaxis.set_minor_formatter("")
        lowest = min(row["curve"][-1]["train"] for row in found.values())
        panels[0][0].set_ylim(max(min(92.0, lowest - 2), 0), 100.1)
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=3)
    return figure


def _lines(panels: Any, efforts: list[Any], curve: list[Row], color: str, name: str) -> None:
    for ax, effort in zip(panels, efforts, strict=True):
        seen = [epoch["train"] for epoch in curve]
        ax.plot(effort, seen, color=color, lw=1, ls=(0, (4, 2)), label=f"{name}, training")
        held = [epoch.get("validation", np.nan) for epoch in curve]
        ax.plot(effort, held, color=color, lw=1.4, label=f"{name}, samples 50,000 to 59,999")

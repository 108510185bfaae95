"""Tables on a terminal: the one in which a run ends, and the form of all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table


def table(*titles: str, text: int = 1) -> Table:
    """Return an empty table without lines; the first `text` columns are words, the others figures."""
    found = Table(box=None, header_style="bold", pad_edge=False)
    for k, title in enumerate(titles):
        found.add_column(title, justify="left" if k < text else "right", overflow="fold")
    return found


def _figure(value: float | Sequence[float] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, Sequence):
        return "  ".join(f"{v:.3f}" for v in value)
    return f"{value:.4g}"


def print_summary(
    summary: dict[str, Any], picture: Path | None, console: Console | None = None
) -> None:
    """Print what a run reached, what it cost and where it lies, in 80 columns."""
    out = console or Console()
    names = list(summary["metrics"])
    if names:
        fit = table("fit", *names)
        fit.add_row(f"spiking ({summary['scenario']})", *map(_figure, summary["metrics"].values()))
        for baseline, figures in summary["baselines"].items():
            fit.add_row(baseline, *(_figure(figures.get(name)) for name in names))
        out.print(fit)
        out.print()

    fired = table("spikes", "events", "quanta", "per simulated s")
    for name, events in summary["events"].items():
        if events:
            rate = events / summary["simulated_s"] if summary["simulated_s"] else 0.0
            fired.add_row(name, f"{events:,}", f"{summary['quanta'][name]:,}", f"{rate:,.0f}")
    out.print(fired)
    out.print()

    ops = summary["operations"]
    work = table("operations", "forward", "backward", "update", "all")
    for label, key in (
        ("additions, one a quantum", "additions"),
        ("multiply-adds, one a spike", "multiply_adds"),
        ("dense, skipping zeros*", "zero_skipping"),
        ("dense*", "dense"),
    ):
        work.add_row(label, *(f"{ops[key][p]:,}" for p in ("forward", "backward", "update", "all")))
    out.print(work)
    out.print("* multiply-adds, recomputed at every reading and trained at every target")
    for name, count in summary["dense"].items():
        out.print(f"{name}: {count:,} multiply-adds", highlight=False)
    for name, share in summary["guarded"].items():
        if share > 0:
            out.print(f"guard: held the rate of {name} back in {share:.0%} of its updates")
    if summary["live"]:
        live = summary["live"]
        lag = ", ".join(f"{name} {ms:.1f} ms" for name, ms in live["lag_ms"].items())
        out.print(f"live: {live['readings']:,} readings; lag {lag}", highlight=False)
        for what, meaning in (("refused", "lines in were refused"), ("unsent", "lines out lost")):
            if live[what]:
                out.print(f"live: {live[what]:,} {meaning}", highlight=False)
    for name, books in summary["arrivals"].items():
        for line in unusual(name, books):
            out.print(line, highlight=False, soft_wrap=True)
    out.print()
    seconds = f"{summary['simulated_s']:.1f} s simulated in {summary['wall_s']:.2f} s"
    out.print(f"{seconds} ({summary['engine']} engine, seed {summary['seed']})", highlight=False)
    out.print(f"run folder {summary['folder']}", highlight=False, soft_wrap=True)
    if picture is not None:
        out.print(f"raster {picture}", highlight=False, soft_wrap=True)


def unusual(name: str, books: dict[str, Any]) -> list[str]:
    """Return in words what went wrong on the way of one sensor's readings; none if nothing did."""
    came = books["given"] + books["duplicated"]
    lines = [f"{name}: {n:,} of {came:,} dropped, {why}" for why, n in books["dropped"].items()]
    if books["duplicated"]:
        lines.append(f"{name}: {books['duplicated']:,} of {came:,} had the time stamp of another")
    noted = [f"{n:,} {kind}{'s' if n > 1 else ''}" for kind, n in books["notes"].items()]
    return [*lines, f"{name}: {', '.join(noted)}"] if noted else lines

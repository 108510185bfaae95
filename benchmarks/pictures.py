"""The pictures of docs/results/benchmarks.md."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from eventnet.bench.workers import Row, spread
from eventnet.plot import FAINT, PALETTE, save
from eventnet.reproduce.drawing import drawing

OURS, THEIRS = PALETTE["blue"], PALETTE["orange"]


def _bars(ax: Any, rows: list[tuple[str, Row, dict[str, Any]]], label: str) -> None:
    """Draw medians as bars, and the spread as a line."""
    for place, (name, row, where) in enumerate(reversed(rows)):
        middle, low, high = spread(row, **where)
        ax.barh(place, middle, color=OURS if name.startswith("eventnet") else THEIRS, height=0.7)
        ax.plot([low, high], [place, place], color=PALETTE["black"], lw=0.8)
    ax.set_yticks(range(len(rows)), [name for name, _, _ in reversed(rows)])
    ax.set_xscale("log")
    ax.set_xlabel(label)
    ax.grid(False, axis="y")


def training(document: dict[str, Any], path: Path) -> None:
    orders = document["orders"]
    with drawing(9, 3.4) as figure:
        panels = figure.subplots(1, len(orders), sharey=True)
        for ax, (order, rows) in zip(panels, orders.items(), strict=True):
            lines: list[tuple[str, Row, dict[str, Any]]] = []
            for name, row in rows.items():
                if name == "eventnet":
                    lines += [
                        (f"eventnet, {s} pixels", row, {"stage": s}) for s in ("coarse", "fine")
                    ]
                else:
                    lines.append((name, row, {}))
            _bars(ax, lines, "samples/s")
            ax.set_title(f"{order} MNIST")
    save(figure, path)


def streams(document: dict[str, Any], path: Path) -> None:
    _frames(document["ticks"], "frames a digit", path)


def video(document: dict[str, Any], path: Path) -> None:
    _frames({rate: found["rows"] for rate, found in document["rates"].items()}, "frames/s", path)


def _frames(by_rate: dict[str, dict[str, Row]], label: str, path: Path) -> None:
    """Draw time a frame against the rate of frames, learning and reading."""
    with drawing(9, 3.4) as figure:
        panels = figure.subplots(1, 2, sharey=True)
        for ax, stage in zip(panels, ("training", "inference"), strict=True):
            for name, color in zip(next(iter(by_rate.values())), PALETTE.values(), strict=False):
                rows = [by_name[name] for by_name in by_rate.values()]
                staged = "stage" in rows[0]["repetitions"][0]
                if stage == "inference" and not staged:
                    continue
                where = {"stage": stage} if staged else {}
                micros = [1e6 / spread(row, **where)[0] for row in rows]
                ax.plot([float(r) for r in by_rate], micros, "o-", ms=4, color=color, label=name)
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xticks([float(rate) for rate in by_rate], list(by_rate))
            ax.minorticks_off()
            ax.set_xlabel(label)
            ax.set_title(stage)
        panels[0].set_ylabel("microseconds a frame")
        lines = panels[0].get_legend_handles_labels()
        panels[1].legend(*lines, loc="upper right", fontsize="x-small")
    save(figure, path)


def simulation(document: dict[str, Any], path: Path) -> None:
    with drawing(7, 2.6) as figure:
        lines = [(name, row, {}) for name, row in document["rows"].items()]
        _bars(figure.subplots(), lines, "simulated seconds a second")
    save(figure, path)


def roofline(document: dict[str, Any], path: Path) -> None:
    sizes = document["sizes"]
    with drawing(9, 3.4) as figure:
        ax = figure.subplots()
        names = [n for n, row in next(iter(sizes.values())).items() if "share" in row]
        width = 0.8 / len(sizes)
        for k, (size, rows) in enumerate(sizes.items()):
            places = [p + k * width for p in range(len(names))]
            ax.bar(
                places,
                [100 * rows[n]["share"] for n in names],
                width,
                color=list(PALETTE.values())[1 + k],
                label=size,
            )
        ax.axhline(100, color=FAINT, lw=1, ls=":")
        ax.set_xticks([p + 0.4 - width / 2 for p in range(len(names))], names, rotation=20)
        ax.set_ylabel("% of AXPY")
        ax.legend()
    save(figure, path)


def size(document: dict[str, Any], path: Path) -> None:
    with drawing(9, 3.2) as figure:
        left, right = figure.subplots(1, 2)
        kinds = dict.fromkeys((r["learn"], r["packet"]) for r in document["rows"])
        for (learn, packet), color in zip(kinds, list(PALETTE.values())[1:], strict=False):
            rows = [
                r
                for r in document["rows"]
                if (r["learn"], r["packet"]) == (learn, packet) and "failed" not in r
            ]
            label = f"{'learning' if learn else 'forward'}, {packet:,} at a time"
            n = [r["neurons"] for r in rows]
            left.plot(n, [spread(r)[0] for r in rows], "o-", ms=4, color=color, label=label)
            right.plot(n, [r["peak_gb"] for r in rows], "o-", ms=4, color=color, label=label)
        for ax, label in ((left, "spikes in, a second"), (right, "peak memory, GB")):
            ax.set_xscale("log")
            ax.set_yscale("log")
            ax.set_xlabel("neurons")
            ax.set_ylabel(label)
        right.legend()
    save(figure, path)


DRAWN: dict[str, Callable[[dict[str, Any], Path], None]] = {
    "training": training,
    "streams": streams,
    "video": video,
    "simulation": simulation,
    "roofline": roofline,
    "size": size,
}

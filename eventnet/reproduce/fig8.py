"""Figure 8: computation per frame against the frame rate, of a video's top layers.

Every second, fourth and eighth frame of the video is seen, with one setting for all rates. The video
and its features are substitutes for the paper's, which cannot be had: see `eventnet.top_layers`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from eventnet.bench.command import progress
from eventnet.data import fetch
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result
from eventnet.reproduce.drawing import drawing
from eventnet.top_layers import (
    Dense,
    Settings,
    Singles,
    Spiking,
    Watched,
    additions,
    best_gain,
    best_ridge,
    corrected,
    held_truth,
    least_squares,
    persistence,
    watch,
)

EVERY = (1, 2, 4, 8)
SEEDS = (0, 1, 2)
READ_EVERY = 8  # passes
LINE, LINE_CORRECTED, PERSISTENCE = "least squares", "least squares, corrected", "persistence"
QUICK_EVERY, QUICK_PASSES = (1, 8), 6


@dataclass(frozen=True)
class Row:
    """One rate of frames and one seed; counts and wall times (us) are a frame, of all layers."""

    rate: float
    spiking_r2: float
    dense_r2: float
    spiking_corrected_r2: float
    dense_corrected_r2: float
    additions: float
    additions_reading: float
    multiply_adds: float
    zero_skipping: float
    spiking_wall: float
    dense_wall: float
    spiking_wall_reading: float
    dense_wall_reading: float


WHAT = {
    "spiking_r2": "spiking: R2",
    "dense_r2": "dense: R2",
    "spiking_corrected_r2": "spiking, corrected by the truth of the frame before: R2",
    "dense_corrected_r2": "dense, corrected by the truth of the frame before: R2",
    "additions": "spiking, learning: additions a frame",
    "additions_reading": "spiking, reading: additions a frame",
    "multiply_adds": "dense, learning: multiply-adds a frame",
    "zero_skipping": "dense, learning: multiply-adds a frame, skipping zeros",
    "spiking_wall": "spiking, learning: us a frame",
    "dense_wall": "dense, learning: us a frame",
    "spiking_wall_reading": "spiking, reading: us a frame",
    "dense_wall_reading": "dense, reading: us a frame",
}


def run(quick: bool) -> Result:
    """Learn at four rates with three seeds; at two with one, and few passes, if quick."""
    video = fetch("vtest", progress=True) / "vtest.avi"
    settings = replace(Settings(), passes=QUICK_PASSES) if quick else Settings()
    seeds = SEEDS[: 1 if quick else None]
    rates = QUICK_EVERY if quick else EVERY
    tasks, choosing = (
        [watch(video, n, smoothing=settings.smoothing, choosing=c, progress=True) for n in rates]
        for c in (False, True)
    )
    with progress(silent=False) as told:
        rows = []
        for task, part in zip(tasks, choosing, strict=True):
            for seed in seeds:
                told(f"{task.rate:.3g} frames/s", seed)
                rows.append(contest(task, part, settings, seed))
    settings_told = asdict(settings) | {"seeds": list(seeds)}
    others = _others(tasks, video)
    held = "persistence, the last truth that was taught: R2, {:.3g}/s"
    numbers = (
        *_numbers(rows),
        *(number for scores in others.values() for number in scores),
        *(Number(held.format(task.rate), held_truth(task)) for task in tasks),
    )
    return Result("Figure 8", 0, settings_told, numbers, _figure(rows, others))


def contest(task: Watched, choosing: Watched, settings: Settings, seed: int) -> Row:
    """Return what both are worth and cost; wall times are medians of passes, taken in turns.

    The gains of their corrections are those of the same layers where settings are chosen.
    """
    gains = [best_gain(choosing, outputs) for outputs in learned(choosing, settings, seed)]
    spiking, dense = Spiking(task, settings, seed), Dense(task, settings, seed)
    spiking.sim.run(until=0.0)  # compiles
    walls, reads = [], []
    for number in range(settings.passes):
        walls.append((spiking.learn().wall_s, dense.learn()))
        if (settings.passes - number) % READ_EVERY == 1:
            told, reading = spiking.read()
            said, wall = dense.read()
            reads.append((reading.wall_s, wall))
    seen = len(told)
    learning = 1e6 * np.median(walls, axis=0) / task.frames
    showing = 1e6 * np.median(reads, axis=0) / seen
    multiply_adds, skipping = dense.mlp.trained.a_sample()
    return Row(
        task.rate,
        task.r2(told),
        task.r2(said),
        task.r2(corrected(task, told, gains[0])),
        task.r2(corrected(task, said, gains[1])),
        additions(spiking.sim.cost, settings.passes * task.frames),
        additions(reading.cost, seen),
        multiply_adds,
        skipping,
        *(float(wall) for wall in (*learning, *showing)),
    )


def learned(task: Watched, settings: Settings, seed: int) -> tuple[Singles, Singles]:
    """Return what the spiking and the dense layers tell, (m, 4), when they have learned."""
    spiking, dense = Spiking(task, settings, seed), Dense(task, settings, seed)
    for _ in range(settings.passes):
        spiking.learn()
        dense.learn()
    return spiking.read()[0], dense.read()[0]


def by_rate(rows: list[Row]) -> dict[float, Row]:
    """Return the means over seeds, by rate."""
    names = [field.name for field in fields(Row)]
    found = {}
    for rate in dict.fromkeys(row.rate for row in rows):
        mine = [row for row in rows if row.rate == rate]
        found[rate] = Row(*(float(np.mean([getattr(r, name) for r in mine])) for name in names))
    return found


def _numbers(rows: list[Row]) -> list[Number]:
    means = by_rate(rows)
    numbers = []
    for name, what in WHAT.items():
        for rate, row in means.items():
            seeds = ", ".join(f"{getattr(r, name):.3f}" for r in rows if r.rate == rate)
            note = f"seeds: {seeds}" if name.endswith("r2") else ""
            numbers.append(Number(f"{what}, {rate:.3g}/s", getattr(row, name), note=note))
    first, last = means[max(means)], means[min(means)]
    for name in ("additions", "additions_reading", "spiking_wall", "dense_wall"):
        ratio = getattr(first, name) / getattr(last, name)
        numbers.append(Number(f"{WHAT[name]}, {first.rate:.3g}/s over {last.rate:.3g}/s", ratio))
    for name in ("spiking_wall", "dense_wall"):
        what = WHAT[name].replace("us a frame", "ms a second of video")
        for rate, row in means.items():
            numbers.append(Number(f"{what}, {rate:.3g}/s", 1e-3 * rate * getattr(row, name)))
    return numbers


def _others(tasks: list[Watched], video: Path) -> dict[str, list[Number]]:
    """Return R2 of others by rate. Least squares are better on features that are not smoothed."""
    ridge = best_ridge(watch(video, choosing=True))
    straight = "least squares, features not smoothed: R2, {:.3g}/s"
    mended = "least squares, corrected by the truth of the frame before: R2, {:.3g}/s"
    before = "persistence, the truth of the frame before: R2, {:.3g}/s"
    found: dict[str, list[Number]] = {LINE: [], LINE_CORRECTED: [], PERSISTENCE: []}
    for task in tasks:
        plain, part = (watch(video, task.every, choosing=choosing) for choosing in (False, True))
        outputs = least_squares(plain, ridge)
        gain = best_gain(part, least_squares(part, ridge))
        told = plain.r2(corrected(plain, outputs, gain))
        found[LINE].append(Number(straight.format(task.rate), plain.r2(outputs)))
        found[LINE_CORRECTED].append(Number(mended.format(task.rate), told))
        found[PERSISTENCE].append(Number(before.format(task.rate), persistence(task)))
    return found


def _figure(rows: list[Row], others: dict[str, list[Number]]) -> Any:
    means = by_rate(rows)
    panels = {
        "additions, multiply-adds a frame": (
            ("additions", "spiking, learning", "vermillion"),
            ("additions_reading", "spiking, reading", "orange"),
            ("multiply_adds", "dense, learning", "blue"),
            ("zero_skipping", "dense, learning, skipping zeros", "sky"),
        ),
        "wall time (us a frame)": (
            ("spiking_wall", "spiking, learning", "vermillion"),
            ("spiking_wall_reading", "spiking, reading", "orange"),
            ("dense_wall", "dense, learning", "blue"),
            ("dense_wall_reading", "dense, reading", "sky"),
        ),
        "R2 on what was not learned": (
            ("spiking_r2", "spiking", "vermillion"),
            ("dense_r2", "dense", "blue"),
        ),
        "R2, corrected by the frame before": (
            ("spiking_corrected_r2", "spiking", "vermillion"),
            ("dense_corrected_r2", "dense", "blue"),
        ),
    }
    with drawing(12, 3.4) as figure:
        axes = figure.subplots(1, len(panels))
        for ax, label, style in (
            (axes[-2], LINE, ":"),
            (axes[-1], LINE_CORRECTED, ":"),
            (axes[-1], PERSISTENCE, "--"),
        ):
            values = [number.here for number in others[label]]
            ax.plot(list(means), values, style, lw=0.8, color=PALETTE["black"], label=label)
        for ax, (what, lines) in zip(axes, panels.items(), strict=True):
            for name, label, color in lines:
                values = [getattr(row, name) for row in means.values()]
                ax.plot(list(means), values, "o-", ms=3, color=PALETTE[color], label=label)
            ax.set(xscale="log", xlabel="frames a second", ylabel=what)
            ax.set_ylim(0, 1.25 * ax.get_ylim()[1])
            if what.startswith("R2"):
                ax.set_ylim(0.5, 1.0)
            ax.set_xticks(list(means), [f"{rate:.3g}" for rate in means])
            ax.xaxis.set_minor_formatter("")
            ax.legend(fontsize=6)
    return figure

"""Convolutions on a camera's pixels: what a frame costs and how well it is told, spiking and dense.

PyTorch takes part if this interpreter has it, or the environment of `make bench`.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.bench.command import progress
from eventnet.bench.task import keep
from eventnet.bench.workers import Entry, Told, Worker
from eventnet.cctv import (
    Dense,
    Settings,
    Spiking,
    Watched,
    changed,
    mean_predictor,
    sum_of_pixels,
    watch,
)
from eventnet.cost import PASSES
from eventnet.data import fetch
from eventnet.passes import lr_scale
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result
from eventnet.reproduce.dense import torch_python
from eventnet.reproduce.drawing import drawing

SEEDS = (0, 1, 2)
QUICK_PASSES = 2

NAMES = {"spiking": "spiking", "dense": "dense, NumPy", "pytorch": "dense, PyTorch"}

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Row:
    """What a seed came to.

    Attributes
    ----------
    r2 : dict
        By contestant, after each pass.
    walls, walls_reading : dict
        By contestant, us a frame, after each pass.
    additions : dict
        By pass of the network, a frame that is learned.
    additions_reading : float
        A frame.
    by_frame : ndarray, shape (learned,)
        Additions of each frame of the last pass.
    work, work_reading, skipping, skipping_reading : float
        The dense network's multiply-adds a frame, all and those without a factor that is 0.
    """

    r2: dict[str, list[float]]
    walls: dict[str, list[float]]
    walls_reading: dict[str, list[float]]
    additions: dict[str, float]
    additions_reading: float
    by_frame: NDArray[np.int64]
    work: float
    work_reading: float
    skipping: float
    skipping_reading: float


def run(quick: bool) -> Result:
    """Learn with three seeds, some minutes; with one, and two passes, if quick."""
    task = watch(fetch("vtest", progress=True) / "vtest.avi")
    settings = replace(Settings(), passes=QUICK_PASSES) if quick else Settings()
    seeds = SEEDS[: 1 if quick else None]
    python = None if quick else torch_python()
    with progress(silent=False) as told:
        rows = [contest(task, settings, seed, python, told) for seed in seeds]
    share = changed(task)
    settings_told = asdict(settings) | {"seeds": list(seeds)}
    numbers = (*_numbers(rows), *_by_motion(rows, share), *_others(task))
    return Result("Pixels", 0, settings_told, numbers, _figure(rows, share))


def contest(task: Watched, settings: Settings, seed: int, python: Path | None, told: Told) -> Row:
    """Let all learn and read in turn, pass by pass; in the last one spiking frame by frame."""
    spiking, dense = Spiking(task, settings, seed), Dense(task, settings, seed)
    spiking.sim.run(until=0.0)  # compiles
    names = list(NAMES)[: 2 if python is None else 3]
    r2, walls, reading = ({name: [] for name in names} for _ in range(3))  # type: ignore[var-annotated]
    with ExitStack() as stack:
        worker = None if python is None else _pytorch(task, settings, dense, python, stack)
        for number in range(settings.passes):
            told(f"seed {seed}, pass", number)
            if number == settings.passes - 1:
                by_frame = spiking.learn_by_frames()
            else:
                walls["spiking"].append(spiking.learn().wall_s)
            walls["dense"].append(dense.learn())
            outputs, run = spiking.read()
            said, wall_s = dense.read()
            r2["spiking"].append(task.r2(outputs))
            r2["dense"].append(task.r2(said))
            reading["spiking"].append(run.wall_s)
            reading["dense"].append(wall_s)
            if worker is not None:
                done = worker.ask("repeat", number)
                walls["pytorch"].append(done["wall_s"])
                reading["pytorch"].append(done["read_s"])
                r2["pytorch"].append(task.r2(np.array(done["said"])))
    cost, frames = spiking.sim.cost, settings.passes * task.learned
    skipping, skipping_reading = dense.skipping()
    return Row(
        r2,
        {name: [1e6 * s / task.learned for s in found] for name, found in walls.items()},
        {name: [1e6 * s / len(outputs) for s in found] for name, found in reading.items()},
        {which: cost.total("additions", (which,)) / frames for which in PASSES},
        run.cost.total("additions") / len(outputs),
        by_frame,
        sum(dense.net.work),
        dense.net.work.forward,
        skipping,
        skipping_reading,
    )


def _pytorch(
    task: Watched, settings: Settings, dense: Dense, python: Path, stack: ExitStack
) -> Worker:
    """Return the process in which PyTorch learns the same from the same weights."""
    kernels = [layer.weights for layer in dense.net.layers if layer.plastic]
    pool = next(layer.shared.kernel for layer in dense.net.layers if layer.shared.pooling)
    passes = range(settings.passes)
    arrays: dict[str, Any] = {f"kernel{k}": kernel for k, kernel in enumerate(kernels)} | {
        "x": (task.codes / np.float32(255)).reshape(-1, *task.shape[:2]),
        "y": task.y[: task.learned].astype(np.float32),
        "lr": np.array([settings.dense_lr / task.rate * lr_scale(k, len(passes)) for k in passes]),
        "pool": np.array(pool),
    }
    path = keep(arrays, Path(stack.enter_context(TemporaryDirectory())) / "task.npz")
    root = Path(__file__).resolve().parent.parent.parent
    entry = Entry("eventnet.reproduce.convolutions:Steps", python=python, cwd=root)
    worker = stack.enter_context(Worker("PyTorch", entry, path))
    worker.answer()
    return worker


def _mean(rows: list[Row], name: str) -> float:
    return float(np.mean([getattr(row, name) for row in rows]))


def _numbers(rows: list[Row]) -> list[Number]:
    numbers = []
    for name in rows[0].r2:
        last = [row.r2[name][-1] for row in rows]
        seeds = "seeds: " + ", ".join(f"{r2:.3f}" for r2 in last)
        numbers.append(Number(f"{NAMES[name]}: R2", float(np.mean(last)), note=seeds))
    errors = {n: 1 - np.mean([row.r2[n][-1] for row in rows]) for n in ("spiking", "dense")}
    numbers.append(Number("1 - R2, spiking over dense", float(errors["spiking"] / errors["dense"])))
    additions = float(np.mean([sum(row.additions.values()) for row in rows]))
    reading, work, forward = (
        _mean(rows, name) for name in ("additions_reading", "work", "work_reading")
    )
    numbers += [
        Number("spiking, learning: additions a frame", additions),
        *(
            Number(f"of these {which}", float(np.mean([row.additions[which] for row in rows])))
            for which in PASSES
        ),
        Number("spiking, reading: additions a frame", reading),
        Number("dense, learning: multiply-adds a frame", work),
        Number("dense, reading: multiply-adds a frame", forward),
        Number("dense, learning, skipping zeros: multiply-adds a frame", _mean(rows, "skipping")),
        Number(
            "dense, reading, skipping zeros: multiply-adds a frame", _mean(rows, "skipping_reading")
        ),
        Number("spiking, learning, over dense, learning: %", 100 * additions / work),
        Number("spiking, learning, over dense, reading: %", 100 * additions / forward),
        Number("spiking, reading, over dense, reading: %", 100 * reading / forward),
    ]
    for what, field in (("learning", "walls"), ("reading", "walls_reading")):
        for name in rows[0].r2:
            middle = float(np.median([us for row in rows for us in getattr(row, field)[name]]))
            numbers.append(Number(f"{NAMES[name]}, {what}: us a frame", middle))
    return numbers


def _by_motion(rows: list[Row], share: Floats) -> list[Number]:
    """Return additions in the tenth of the frames in which most pixels change, and in which fewest do."""
    by_frame = np.mean([row.by_frame for row in rows], axis=0)
    tenths = np.array_split(np.argsort(share, kind="stable"), 10)
    numbers = []
    for which, frames in (("fewest", tenths[0]), ("most", tenths[-1])):
        told = f"the tenth of the frames in which {which} pixels change"
        numbers += [
            Number(f"{told}: % of pixels", float(100 * share[frames].mean())),
            Number(f"{told}: additions a frame, learning", float(by_frame[frames].mean())),
        ]
    together = float(np.corrcoef(share, by_frame)[0, 1])
    return [*numbers, Number("correlation of additions with the share of pixels", together)]


def _others(task: Watched) -> list[Number]:
    return [
        Number("the mean of each quarter's pixels, scaled: R2", sum_of_pixels(task)),
        Number("the mean of what is learned: R2", mean_predictor(task)),
    ]


COLORS = {
    "spiking": PALETTE["vermillion"],
    "dense": PALETTE["blue"],
    "pytorch": PALETTE["sky"],
}


def _figure(rows: list[Row], share: Floats) -> Any:
    with drawing(10, 3.2) as figure:
        work, curve, wall = figure.subplots(1, 3)
        by_frame = np.mean([row.by_frame for row in rows], axis=0)
        work.plot(100 * share, by_frame, ".", ms=3, color=COLORS["spiking"], label="spiking")
        for name, label in (
            ("work", "dense"),
            ("work_reading", "dense, reading alone"),
            ("skipping", "dense, skipping zeros"),
        ):
            style = {"work": "-", "work_reading": "--", "skipping": ":"}[name]
            work.axhline(_mean(rows, name), color=COLORS["dense"], ls=style, lw=1, label=label)
        work.set(
            yscale="log",
            xlabel="pixels that changed (%)",
            ylabel="additions, multiply-adds a frame",
        )
        work.legend(fontsize=6)
        for name in rows[0].r2:
            r2 = np.mean([row.r2[name] for row in rows], axis=0)
            style = "--" if name == "pytorch" else "o-"
            passes = range(1, len(r2) + 1)
            curve.plot(passes, r2, style, ms=3, color=COLORS[name], label=NAMES[name])
        curve.set(xlabel="passes", ylabel="R2 on what was not learned", ylim=(0, 1))
        curve.legend(fontsize=6)
        names = list(rows[0].r2)
        for k, (field, label) in enumerate((("walls", "learning"), ("walls_reading", "reading"))):
            heights = [np.median([us for r in rows for us in getattr(r, field)[n]]) for n in names]
            color = [COLORS["spiking"], COLORS["dense"]][k]
            places = np.arange(len(names)) + 0.4 * k
            wall.bar(places, heights, 0.4, color=color, label=label)
        wall.set_xticks(np.arange(len(names)) + 0.2, [NAMES[n] for n in names], fontsize=6)
        wall.set(ylabel="us a frame")
        wall.legend(fontsize=6)
    return figure

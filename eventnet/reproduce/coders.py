"""Cheaper spikes: each option of a coder on four tasks, error against additions a sample.

Everything runs on a clock and is scored on the validation part: this chooses, it does not claim. Of
each option some settings are tried; what counts is where their front has the error of the usual setting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from eventnet import top_layers
from eventnet.bench.command import progress
from eventnet.classifier import PRESETS, Training
from eventnet.data import fetch
from eventnet.data.epochs import orders
from eventnet.data.mnist import Mnist
from eventnet.errors import Diverged
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result, rows
from eventnet.reproduce.drawing import drawing
from eventnet.reproduce.frontier_tasks import SPIKING, flight
from eventnet.trial import VALIDATION, Row, percent

Given = dict[str, Any]
Found = dict[str, list[tuple[float, float]]]
"""By option: error and additions of each setting, means over seeds."""

SEEDS = (0, 1)
EPOCHS = 6

USUAL = "usual"
STEPS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8)
THRESHOLDS = (0.6, 0.7, 0.85)
TAPS = ((0.45, 0.475), (1.15, -0.2), (0.7, -0.1), (0.35, 0.2))

TASKS: dict[str, dict[str, Any]] = {
    "MNIST": {"step": 1.0, "prices": (1e-7, 3e-7, 1e-6, 3e-6, 1e-5)},
    "Temporal MNIST": {"step": 1.0, "prices": (1e-7, 3e-7, 1e-6, 3e-6, 1e-5)},
    "drone": {"step": 0.2, "prices": (1e-7, 1e-6, 3e-6, 1e-5, 3e-5)},
    "video": {"step": 0.11, "prices": (1e-8, 1e-7, 1e-6, 3e-6, 1e-5)},
}
"""The usual step of the input's coder, and prices of an addition to be tried."""

UNIT = {"MNIST": "error, %", "Temporal MNIST": "error, %", "drone": "1 - R2", "video": "1 - R2"}
COLORS = {
    USUAL: "black",
    "threshold": "sky",
    "two taps": "vermillion",
    "learned, populations": "green",
    "learned, neurons": "purple",
}


def options(task: str) -> dict[str, list[Given]]:
    """Return the settings of a task that are tried, by option; the first is the usual one.

    Examples
    --------
    >>> [len(many) for many in options("drone").values()]
    [6, 15, 20, 5, 5]
    >>> options("video")["usual"][0]
    {'step': 0.11}
    """
    step, prices = TASKS[task]["step"], TASKS[task]["prices"]
    steps = [{"step": round(k * step, 6)} for k in (1.0, *(k for k in STEPS if k != 1.0))]
    finer = [{"step": round(k * step, 6)} for k in (0.35, *STEPS[:4])]
    return {
        USUAL: steps,
        "threshold": [given | {"threshold": theta} for theta in THRESHOLDS for given in finer],
        "two taps": [given | {"taps": list(taps)} for taps in TAPS for given in steps[:5]],
        **{
            f"learned, {scales}s": [{"step": step, "price": p, "scales": scales} for p in prices]
            for scales in ("population", "neuron")
        },
    }


def run(quick: bool, folder: Path | None = None) -> Result:
    """Try all options with two seeds, a quarter of an hour; if quick one setting of each, a little."""
    seeds = SEEDS[: 1 if quick else None]
    found: dict[str, Row] = {}
    tasks: dict[str, Found] = {}
    for task in TASKS:
        tasks[task] = {}
        for option, many in options(task).items():
            tried = many[:1] if quick else many
            slug = f"{task} {option}".replace(",", "").replace(" ", "-").lower()
            identity = {"task": task, "given": tried, "seeds": list(seeds), "seed": seeds[0]}
            make = partial(_row, task, tried, seeds, quick)
            row = found[slug] = rows.kept("coders", slug, identity, make, folder, quick)
            tasks[task][option] = [_mean(points) for points in row["points"]]
    settings = {"seeds": list(seeds), "epochs": EPOCHS, "rows at commits": rows.commits(found)}
    numbers = [n for task, options_ in tasks.items() for n in _numbers(task, options_)]
    return Result("Options of a coder", SEEDS[0], settings, tuple(numbers), _figure(tasks))


def _row(task: str, tried: list[Given], seeds: tuple[int, ...], quick: bool) -> Row:
    """Return error and additions of each setting and seed."""
    points = []
    with progress(silent=False) as told:
        for k, given in enumerate(tried, 1):
            told(f"{task}, {len(tried)} settings", k)
            points.append([measured(task, given, seed, quick) for seed in seeds])
    return {"points": points}


def measured(task: str, given: Given, seed: int, quick: bool) -> tuple[float, float]:
    """Return the error on the validation part and the additions a sample while learning.

    What diverges, or is no number, is as wrong as can be.
    """
    try:
        error, additions = _LEARN.get(task, _digits(task))(given, seed, quick)
    except Diverged:
        return np.inf, np.inf
    return float(error), float(additions)


def _mean(points: list[tuple[float, float]]) -> tuple[float, float]:
    error, additions = np.mean(points, axis=0)
    return float(error), float(additions)


def _digits(task: str) -> Callable[[Given, int, bool], tuple[float, float]]:
    def learn(given: Given, seed: int, quick: bool) -> tuple[float, float]:
        data, order = _mnist(quick), "temporal" if task == "Temporal MNIST" else "shuffled"
        images, labels = data.train_images, data.train_labels
        usual = replace(PRESETS["eventnet"], step_later=None, epochs=1 if quick else EPOCHS)
        settings = replace(usual, samples=len(images), order=order, **_taps(given))
        training = Training(settings, images, labels, orders(order, images, seed=seed), seed)
        additions = [training.run().additions for _ in range(settings.epochs)]
        shown = orders("temporal" if order == "temporal" else "given", data.test_images)(0)
        said = training.predict(data.test_images[shown])
        return 100 - percent(said, data.test_labels[shown]), float(np.mean(additions))

    return learn


@cache
def _mnist(quick: bool) -> Mnist:
    """Return training images with those on which settings are chosen in place of test images."""
    data = rows.data(quick)
    if quick:
        return data
    images, labels = data.train_images, data.train_labels
    first = slice(0, VALIDATION.start)
    return Mnist(images[first], labels[first], images[VALIDATION], labels[VALIDATION])


def _drone(given: Given, seed: int, quick: bool) -> tuple[float, float]:
    named = {"step": "imu_step", "taps": "imu_taps", "threshold": "imu_threshold"}
    told = {named.get(name, name): value for name, value in given.items()}
    taps = told.pop("imu_taps", None)
    told |= {} if taps is None else {"imu_taps": "{},{}".format(*taps)}
    told |= {"score": "validation", "clock": 0.005} | ({"passes": 1} if quick else {})
    point = flight(told, seed)[SPIKING][0]
    return point.error, point.learning or 0.0


def _video(given: Given, seed: int, quick: bool) -> tuple[float, float]:
    settings = top_layers.Settings(**_taps(given))
    settings = replace(settings, passes=2 if quick else settings.passes)
    task = _watched(settings.smoothing)
    spiking = top_layers.Spiking(task, settings, seed)
    for _ in range(settings.passes):
        spiking.learn()
    learning = top_layers.additions(spiking.sim.cost, settings.passes * task.frames)
    return 1 - task.r2(spiking.read()[0]), learning


@cache
def _watched(smoothing: float) -> top_layers.Watched:
    video = fetch("vtest", progress=True) / "vtest.avi"
    return top_layers.watch(video, smoothing=smoothing, choosing=True)


_LEARN = {"drone": _drone, "video": _video}


def _taps(given: Given) -> Given:
    return {k: tuple(v) if k == "taps" else v for k, v in given.items()}


def front(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (error, additions) that no other beats, the cheapest first.

    Examples
    --------
    >>> front([(2.0, 9.0), (1.0, 20.0), (1.5, 30.0)])
    [(2.0, 9.0), (1.0, 20.0)]
    """
    found: list[tuple[float, float]] = []
    for error, cost in sorted(points, key=lambda point: (point[1], point[0])):
        if np.isfinite(cost) and (not found or error < found[-1][0]):
            found.append((error, cost))
    return found


def cheapest(points: list[tuple[float, float]], error: float) -> float:
    """Return the additions at an error on the front of points, between two in their logarithm; nan: none.

    Examples
    --------
    >>> round(cheapest([(2.0, 10.0), (1.0, 1000.0), (1.5, 5000.0)], error=1.5))
    100
    >>> round(cheapest([(2.0, 10.0), (1.0, 1000.0)], error=3.0)), cheapest([(2.0, 10.0)], error=1.0)
    (10, nan)
    """
    if not front(points):
        return float("nan")
    errors, costs = np.array(front(points)).T[:, ::-1]
    found = np.exp(np.interp(error, errors, np.log(costs), left=np.nan))
    return float(found)


def _numbers(task: str, found: Mapping[str, list[tuple[float, float]]]) -> list[Number]:
    error, additions = found[USUAL][0]
    numbers = [
        Number(f"{task}, usual setting: {UNIT[task]}", error),
        Number(f"{task}, usual setting: additions a sample", additions),
    ]
    for option, points in found.items():
        least = min(wrong for wrong, _ in points)
        note = f"of {len(points)} settings; least error {least:.4g}"
        what = f"{task}, {option}: additions a sample at that error"
        numbers.append(Number(what, cheapest(points, error), note=note))
    return numbers


def _figure(tasks: Mapping[str, Found]) -> Any:
    with drawing(12, 3.8) as figure:
        for ax, (task, found) in zip(figure.subplots(1, len(tasks)), tasks.items(), strict=True):
            for option, points in found.items():
                color = PALETTE[COLORS[option]]
                shown = np.array([p for p in points if np.isfinite(p).all()]).reshape(-1, 2)
                ax.plot(shown[:, 1], shown[:, 0], ".", ms=4, alpha=0.4, color=color)
                best = np.array(front(points)).reshape(-1, 2)
                ax.plot(best[:, 1], best[:, 0], "o-", ms=3, lw=1, color=color, label=option)
            error, additions = found[USUAL][0]
            ax.plot(additions, error, "o", ms=9, mfc="none", mec=PALETTE["black"])
            ax.set(xscale="log", title=task, xlabel="additions a sample", ylabel=UNIT[task])
            fronts = [e for points in found.values() for e, _ in front(points)]
            least, most = min(fronts), min(2.0 * error, max(fronts))
            ax.set_ylim(least - 0.1 * (most - least), most + 0.1 * (most - least))
        ax.legend(fontsize=6)
    return figure

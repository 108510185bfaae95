"""Every scenario and each long target, small: for the measurement of branches, without the JIT.

Run by name (`make coverage`): a run without the JIT takes a hundred times as long, so that here a
network has few neurons, and a few images or a second of a recording to learn from.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from eventnet import cctv, reproduce, top_layers
from eventnet.bench import command
from eventnet.cli import main
from eventnet.data import fetch, mnist
from eventnet.reproduce import coders, rates, rows
from eventnet.reproduce.frontier_chosen import PERCEPTRON
from eventnet.scenario import execute, load

pytestmark = pytest.mark.usefixtures("mnist_folder")

DIGITS = ("hidden=8", "passes=1", "train=10", "score=validation")
IMAGES = ("hidden=8", "passes=1", "samples=6", "scored=3")
SCENES = ("hidden=5", "block=80", "pieces=1", "piece=0.02", "score=validation")
POLE = ("hidden=6", "learn=0.7", "watch=0.2", "test=0.2")
FLIGHT = ("hidden=4", "passes=1", "every=20", "score=validation")

SMALL = [
    ("digits", DIGITS),
    ("digits", (*DIGITS, "loss=squared")),
    ("mnist_async", IMAGES),
    ("mnist_async", (*IMAGES, "score=validation")),
    ("dvs", SCENES),
    ("dvs", (*SCENES, "camera=false", "imu=gyroscope", "score=test")),
    ("balance", POLE),
    ("balance", (*POLE, "without=encoder", "activation=identity", "score=validation")),
    ("balance", ("learn=0", "test=0.2", "hidden=6")),
    ("drone", FLIGHT),
]


@pytest.mark.parametrize(("name", "settings"), SMALL)
def test_a_small_scenario_is_scored_beside_its_baselines(
    name: str, settings: tuple[str, ...], tmp_path: Path
) -> None:
    done = execute(load(name), settings, out=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "metrics.json").read_text()) == json.loads(
        json.dumps(done)
    )
    assert math.isfinite(done["error"])
    assert done["baselines"]
    assert sum(found["forward"] for found in done["additions"].values()) > 0


def test_engines_make_the_same_of_a_scenario(tmp_path: Path) -> None:
    compiled, reference = (
        execute(load("balance"), POLE, engine=engine, out=tmp_path / engine)
        for engine in ("compiled", "actors")
    )
    assert sum(compiled["events"].values()) > 0
    for part in ("events", "additions", "guarded", "metrics", "baselines"):
        assert compiled[part] == reference[part]


@pytest.mark.parametrize("target", ["fig5", "table1", "sigma_delta", "fig6"])
def test_a_target_on_few_images(
    target: str, mnist_data: mnist.Mnist, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = mnist.Mnist(
        mnist_data.train_images[:40],
        mnist_data.train_labels[:40],
        mnist_data.test_images[:10],
        mnist_data.test_labels[:10],
    )
    monkeypatch.setattr(rows, "data", lambda quick=False: few)
    monkeypatch.setattr(rows, "QUICK_SAMPLES", 6)
    done = reproduce.run(target, quick=True, folder=tmp_path)
    assert all(np.isfinite(number.here) for number in done.numbers)
    assert done.figure.axes


def test_options_of_a_coder_on_few_images_and_frames(
    mnist_data: mnist.Mnist, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = mnist.Mnist(*(part[:10] for part in mnist_data))
    seen = shortened(top_layers.watch(fetch("vtest") / "vtest.avi"))
    monkeypatch.setattr(coders, "_mnist", lambda quick: few)
    monkeypatch.setattr(coders, "_watched", lambda smoothing: seen)
    monkeypatch.setattr(coders, "TASKS", {k: coders.TASKS[k] for k in ("MNIST", "video")})
    done = reproduce.run("coders", quick=True, folder=tmp_path)
    assert len(done.numbers) == 2 * (2 + len(coders.options("MNIST")))
    assert len(list((tmp_path / "rows" / "coders").glob("*.json"))) == 10


def shortened(seen: top_layers.Watched) -> top_layers.Watched:
    """The first twelve seconds."""
    return seen._replace(x=seen.x[:120], y=seen.y[:120], learned=80)


def test_the_frontier_of_small_networks(
    mnist_data: mnist.Mnist, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    few = mnist.Mnist(*(part[:10] for part in mnist_data))
    watch = top_layers.watch

    def short(path: Path, **more: Any) -> top_layers.Watched:
        return shortened(watch(path, **more))

    monkeypatch.setattr(rows, "data", lambda quick=False: few)
    monkeypatch.setattr(top_layers, "watch", short)
    perceptron = PERCEPTRON | {"hidden": [8], "costs": [500], "steps": [1.0]}
    small = {
        "MNIST": {"eventnet": [{"hidden": (8,)}], "perceptron": [perceptron]},
        "drone": {"eventnet": [{"hidden": 4, "every": 20}]},
        "video": {"eventnet": [{"hidden": (6, 4)}], "dense": [{"hidden": (6, 4)}]},
    }
    monkeypatch.setattr("eventnet.reproduce.frontier.CHOSEN", small)
    done = reproduce.run("frontier", quick=True, folder=tmp_path)
    assert all(np.isfinite(number.here) for number in done.numbers)
    assert len(list((tmp_path / "rows" / "frontier").glob("*.json"))) == 5


def test_pixels_of_four_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = cctv.watch(fetch("vtest") / "vtest.avi", 32, 32)
    few = seen._replace(codes=seen.codes[:40], y=seen.y[:40], learned=28)
    monkeypatch.setattr("eventnet.reproduce.cctv.watch", lambda path: few)
    done = reproduce.run("cctv", quick=True)
    assert all(np.isfinite(number.here) for number in done.numbers)


@pytest.mark.parametrize("target", ["fig7", "fig8", "fig12"])
def test_features_of_twelve_seconds(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = top_layers.watch

    def few(path: Path, every: int = 1, **more: Any) -> top_layers.Watched:
        seen = watch(path, every, **more)
        return seen._replace(x=seen.x[:120], y=seen.y[:120], learned=80)

    monkeypatch.setattr(f"eventnet.reproduce.{target}.watch", few)
    monkeypatch.setattr(f"eventnet.reproduce.{target}.QUICK_PASSES", 3)
    monkeypatch.setattr("eventnet.reproduce.fig12.SLOWNESS", (0.0, 0.02))
    monkeypatch.setattr("eventnet.reproduce.fig12.THRESHOLDS", (0.5, 0.7))
    done = reproduce.run(target, quick=True)
    assert all(np.isfinite(number.here) for number in done.numbers)


def test_rates_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "RATES", (100, 300))
    monkeypatch.setattr(rates, "NOISY_RATES", (100,))
    monkeypatch.setattr(rates, "HIDDEN", 6)
    monkeypatch.setattr(rates, "QUICK_SECONDS", 1)
    done = reproduce.run("rates", quick=True)
    assert all(np.isfinite(number.here) for number in done.numbers)


def test_the_bench_on_few_images(mnist_data: mnist.Mnist, monkeypatch: pytest.MonkeyPatch) -> None:
    few = mnist_data._replace(
        test_images=mnist_data.test_images[:5], test_labels=mnist_data.test_labels[:5]
    )
    monkeypatch.setattr(mnist, "load", lambda _: few)
    monkeypatch.setattr(command, "QUICK", (4, 2, 1))
    for arguments in (["--json"], []):
        done = CliRunner().invoke(main, ["bench", "--quick", *arguments])
        assert done.exit_code == 0, done.output
        assert "perceptron, NumPy" in done.stdout

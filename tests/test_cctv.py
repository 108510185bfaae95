"""Spiking convolutions on a camera's pixels, and the same network dense beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import eventnet as en
from eventnet import cctv, video
from eventnet.cctv import Dense, Settings, Spiking, Watched
from eventnet.convnet import ConvNet
from eventnet.data import fetch
from eventnet.errors import ConfigError, DataError
from eventnet.scenario import execute, load

SETTINGS = Settings(lr=0.05, dense_lr=0.05, passes=3)


@pytest.fixture(scope="module")
def task() -> Watched:
    """The recording at 64 x 48 pixels, every fourth frame."""
    seen = cctv.watch(fetch("vtest") / "vtest.avi", 64, 48)
    return seen._replace(codes=seen.codes[::4], y=seen.y[::4], learned=139)


def chain(bias: float = 0.0) -> en.Network:
    """Kernels of all forms, a pool whose patches overlap, and a pool that does not see the last row."""
    rng = np.random.default_rng(0)
    net = en.Network(tau=0.1)
    forms: list[Any] = [
        ((9, 8, 2), {"kernel": (3, 2), "stride": (2, 1), "padding": (1, 1)}),
        ((5, 9, 3), {"pool": 2, "stride": 1}),
        ((4, 8, 3), {"kernel": 3, "padding": 1}),
        ((4, 8, 4), {"pool": 3}),
        ((1, 2, 4), {"kernel": 1}),
        ((1, 2, 2), {}),
    ]
    at = net.sensor("p0", forms[0][0], step=0.1)
    for k, (((_, _, of), form), (size, _)) in enumerate(pairwise(forms), start=1):
        if k == len(forms) - 1:
            to = net.output("y", size, error_step=0.1)
        else:
            kind = "identity" if k == 2 else "relu"
            to = net.layer(f"p{k}", size, step=0.1, error_step=0.1, activation=kind, bias=bias)
        side = form.get("kernel")
        sides = side if isinstance(side, tuple) else (side, side)
        weights = None if side is None else rng.normal(0, 0.5, (*sides, of, size[2]))
        net.connect(at, to, weights=weights, **form)
        at = to
    return net


def test_gradients_are_those_of_finite_differences() -> None:
    rng, dense = np.random.default_rng(1), ConvNet(chain(), np.float64)
    x, y, h = rng.normal(0, 1, 144), rng.normal(0, 1, 4), 1e-6

    def loss() -> float:
        return float(((dense.outputs(x) - y) ** 2).sum() / 2)

    found = dense.gradients(x, y)
    assert [change is None for change in found] == [False, True, False, True, False]
    for layer, change in zip(dense.layers, found, strict=True):
        if change is None:
            continue
        assert np.abs(change).max() > 0.01
        for place in np.ndindex(*layer.weights.shape):
            layer.weights[place] += h
            above = loss()
            layer.weights[place] -= 2 * h
            below = loss()
            layer.weights[place] += h
            assert change[place] == pytest.approx((above - below) / (2 * h), abs=1e-6)


def test_a_step_of_sgd_follows_the_gradient_and_leaves_pools() -> None:
    dense, x, y = ConvNet(chain(), np.float64), np.linspace(-1, 1, 144), np.ones(4)
    before = [layer.weights.copy() for layer in dense.layers]
    changes = dense.gradients(x, y)
    dense.learn(x, y, lr=0.01)
    for layer, old, change in zip(dense.layers, before, changes, strict=True):
        expected = old if change is None else old - 0.01 * change
        np.testing.assert_array_equal(layer.weights, expected)


def test_what_is_skipped_is_every_product_with_a_zero() -> None:
    dense = ConvNet(chain(), np.float64)
    rng = np.random.default_rng(2)
    x, y = rng.normal(0, 1, 144) * (rng.random(144) < 0.3), rng.normal(0, 1, 4)
    _, signals = dense._forward(x)
    errors = dense._backward(signals, y)
    forward = backward = update = 0
    for k, (layer, signal, error) in enumerate(zip(dense.layers, signals, errors, strict=False)):
        pre, post, _ = layer.shared.edges
        lit, told = signal.ravel()[pre] != 0, error.ravel()[post] != 0
        forward += lit.sum()
        backward += (lit & told).sum() * (k > 0)
        update += (lit & told).sum() * layer.plastic
    assert dense.skipping(x, y) == (forward, backward, update)
    assert 0 < update < forward < dense.work.forward


@pytest.mark.parametrize("which", ["bias", "dense", "leaky"])
def test_other_networks_are_refused(which: str) -> None:
    net = en.Network(tau=0.1)
    net.sensor("a", (4, 4, 1), step=0.1)
    if which == "bias":
        net = chain(bias=0.1)
    elif which == "dense":
        net.connect("a", net.output("b", 2, error_step=0.1), weights=np.ones((16, 2)))
    else:
        net.layer("b", (2, 2, 1), step=0.1, activation="leaky")
        net.connect("a", "b", kernel=3, weights=np.ones((3, 3, 1, 1)))
    with pytest.raises(ConfigError, match="a ConvNet is a chain of kernels"):
        ConvNet(net)


def test_both_begin_with_the_same_weights_and_fine_steps_read_as_the_dense_network(
    task: Watched,
) -> None:
    fine = replace(SETTINGS, step=1e-4, hidden_step=1e-4, mean_step=1e-4)
    told, said = Spiking(task, fine, seed=3).read()[0], Dense(task, fine, seed=3).read()[0]
    assert np.abs(said).max() > 0.1
    assert told == pytest.approx(said, abs=0.01)


def test_both_learn_and_a_reading_changes_nothing(task: Watched) -> None:
    spiking, read, dense = Spiking(task, SETTINGS), Spiking(task, SETTINGS), Dense(task, SETTINGS)
    before = task.r2(spiking.read()[0]), task.r2(dense.read()[0])
    additions = 0
    for _ in range(SETTINGS.passes):
        additions += spiking.learn().cost.total("additions")
        read.read()
        by_frames = read.learn_by_frames()
        dense.learn()
    assert len(by_frames) == task.learned
    for q in spiking.sim.network.projections:
        assert np.array_equal(spiking.sim.weights(q), read.sim.weights(q))
    assert spiking.sim.cost.total("additions") == read.sim.cost.total("additions") == additions
    assert spiking.sim.cost.total("dense") == SETTINGS.passes * task.learned * sum(dense.net.work)
    assert task.r2(spiking.read()[0]) > max(before[0], cctv.mean_predictor(task)) + 0.1
    assert task.r2(dense.read()[0]) > max(before[1], cctv.mean_predictor(task)) + 0.1


def test_pixels_are_what_differs_from_the_median_of_what_is_learned() -> None:
    path = fetch("vtest") / "vtest.avi"
    seen, task, choosing = (
        video.load(path),
        cctv.watch(path, 64, 48),
        cctv.watch(path, 64, 48, choosing=True),
    )
    assert (task.rate, task.shape, task.learned, len(task.codes)) == (10.0, (48, 64, 1), 556, 795)
    assert (choosing.learned, len(choosing.codes)) == (444, 556)
    frames = seen.frames.reshape(795, -1).astype(float)
    away = np.abs(frames - np.median(frames[:556], axis=0))
    np.testing.assert_array_equal(task.codes == 0, away < cctv.NOISE)
    np.testing.assert_array_equal(task.codes == 255, away >= cctv.FULL)
    assert task.y[:556].std() == pytest.approx(1)
    share = cctv.changed(task)
    assert share[1] == (task.codes[1] != task.codes[0]).mean() > 0


def test_what_cannot_be_learned_from_is_refused_by_name(
    task: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch("vtest") / "vtest.avi"
    seen = video.load(path)
    with pytest.raises(ConfigError, match="width=60, height=48: must be multiples of 16"):
        cctv.watch(path, 60, 48)
    shown = [
        (
            seen._replace(times=seen.times[:20], moving=seen.moving[:20]),
            ConfigError,
            "14 frames to learn and 6 to score",
        ),
        (seen._replace(moving=0 * seen.moving), DataError, "nothing moves in what is learned"),
        (
            seen._replace(times=seen.times + 0.05 * (np.arange(795) > 300)),
            DataError,
            "frames 100 to 150 ms apart: must come evenly",
        ),
    ]
    for found, error, message in shown:
        monkeypatch.setattr(video, "load", lambda *_, found=found: found)
        with pytest.raises(error, match=message):
            cctv.watch(path, 64, 48)
    with pytest.raises(ConfigError, match="passes=0: must be >= 1"):
        Spiking(task, replace(SETTINGS, passes=0))


def test_the_scenario_says_what_both_are_worth(tmp_path: Path) -> None:
    few = ("width=64", "height=48", "passes=1", "lr=0.05", "dense_lr=0.05", "score=validation")
    summary = execute(load("cctv"), few, out=tmp_path / "run")
    dense = summary["baselines"]["the same network dense, SGD"]
    skipping = summary["baselines"]["the same, skipping zeros"]
    assert summary["metrics"]["r2"] > summary["baselines"]["the mean of what is learned"]["r2"]
    assert 0 < skipping["additions a frame"] < dense["additions a frame"]
    assert summary["error"] == 1 - summary["metrics"]["r2"]


def test_the_committed_results_hold_what_is_claimed_of_them() -> None:
    kept = Path(__file__).resolve().parent.parent / "docs" / "results" / "paper" / "cctv.json"
    document = json.loads(kept.read_text(encoding="utf-8"))
    found = {row["what"]: row["here"] for row in document["numbers"]}
    assert not document["record"]["quick"]
    assert found["1 - R2, spiking over dense"] <= 1.1
    assert found["spiking: R2"] > found["the mean of what is learned: R2"]
    assert found["spiking, learning, over dense, reading: %"] <= 20
    # PyTorch takes the same steps.
    assert found["dense, PyTorch: R2"] == pytest.approx(found["dense, NumPy: R2"], abs=1e-3)
    assert found["spiking, learning: us a frame"] < found["dense, PyTorch, learning: us a frame"]

"""The cart and pole in the real MuJoCo: sensors, LQR, pushes, and that balancing is learned.

With `EVENTNET_SOAK` the ten seeds of the results page learn in full, else one seed for a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eventnet.cartpole import (
    COMMANDS,
    COUNT,
    HELD,
    LATENCY,
    NOISE,
    RAIL,
    STATE_COST,
    CartPole,
    Pushes,
    Trial,
)
from eventnet.errors import ConfigError
from eventnet.raster import Raster
from eventnet.scenario import build, execute, load

ROOT = Path(__file__).resolve().parent.parent
SOAK = "EVENTNET_SOAK" in os.environ
SEEDS = range(10) if SOAK else range(1)
SHORT = () if SOAK else ("learn=60", "test=10", "push=1")


def plant(angle: float) -> CartPole:
    body = CartPole(np.random.default_rng(0))
    body.place(angle)
    return body


def test_sensors_of_a_falling_pole_read_what_mechanics_says() -> None:
    body = plant(0.3)
    readings: dict[str, list[tuple[float, np.ndarray]]] = {}
    for k in range(0, 200, HELD):
        for name, t, values in body.drive(0.0, k):
            readings.setdefault(name, []).append((t, np.asarray(values)))
    assert [len(readings[n]) for n in ("gyro", "accelerometer", "encoder", "tracker")] == [
        200,
        200,
        40,
        6,
    ]
    assert [t for t, _ in readings["gyro"][:2]] == [0.001, 0.002]
    assert [t for t, _ in readings["encoder"][:2]] == [0.005, 0.01]
    # Pictures at k/30 s, rounded up to a step of the physics.
    expected = [np.ceil(k * 1000 / 30) / 1000 + LATENCY for k in range(6)]
    np.testing.assert_allclose([t for t, _ in readings["tracker"]], expected, atol=1e-12)
    position, angle, _, turning = body.true
    np.testing.assert_allclose(
        readings["encoder"][-1][1] * [0.5, 0.1], [position, angle], atol=COUNT.max() / 2
    )
    gyro = readings["gyro"][-1][1] * 0.5
    assert gyro[1] == pytest.approx(turning, abs=5 * NOISE["gyro"] + 0.001 * 9.81)  # a step ago
    # The first picture is of the pole as it was placed: its tip 1 m from the hinge, 1 m up.
    tip = readings["tracker"][0][1] * [0.5, 0.5, 0.1] + [0.0, 0.0, 2.0]
    np.testing.assert_allclose(
        tip, [np.sin(0.3), 0.0, 1.0 + np.cos(0.3)], atol=5 * NOISE["tracker"]
    )
    # Nothing moves the centre of mass sideways: 1 kg of cart and .1 kg at half a metre.
    centre = position + 0.1 / 1.1 * 0.5 * np.sin(angle)
    assert centre == pytest.approx(0.1 / 1.1 * 0.5 * np.sin(0.3), abs=1e-4)


def test_an_upright_pole_at_rest_feels_gravity_alone() -> None:
    body = plant(0.0)
    rest = np.array([v for n, _, v in body.drive(0.0, 0) if n == "accelerometer"]) * 2.0
    np.testing.assert_allclose(rest, 0.0, atol=5 * NOISE["accelerometer"])
    body.place(np.pi / 2)  # its own axis is level then, and it falls freely but for the cart
    (first, *_) = (v for n, _, v in body.drive(0.0, 0) if n == "accelerometer")
    assert first[2] * 2.0 + 9.81 == pytest.approx(0.0, abs=5 * NOISE["accelerometer"])


def test_the_lqr_is_optimal() -> None:
    """No gain nearby costs less, summed over ten seconds from a small tilt."""

    def cost(gain: np.ndarray) -> float:
        body, total = plant(0.01), 0.0
        for k in range(0, 10_000, HELD):
            true = body.true
            command = float(-gain @ true)
            total += true @ STATE_COST @ true + command**2
            body.drive(command, k)
        return float(total)

    gain = plant(0.0).gain
    best = cost(gain)
    for k in range(4):
        for factor in (0.9, 1.1):
            assert cost(gain * np.where(np.arange(4) == k, factor, 1.0)) > best


def test_pushes_are_of_thirty_to_a_hundred_percent_to_either_side() -> None:
    pushes = Pushes(2.0, 3000.0, np.random.default_rng(0))
    sizes = np.abs(pushes.forces)
    assert len(sizes) == 1000
    assert 0.6 <= sizes.min() < 0.61
    assert 1.99 < sizes.max() <= 2.0
    assert 440 < (pushes.forces > 0).sum() < 560  # four standard deviations
    felt = np.array([pushes.at(k) for k in range(7000)])
    assert np.flatnonzero(felt).tolist() == [*range(1000, 1100), *range(4000, 4100)]


def test_the_lqr_survives_the_largest_push_of_the_scenario_but_not_a_fifth_more() -> None:
    push = load("balance").defaults()["push"]
    trial = Trial(push, 12.0, [0, 1], share=1.0)
    assert trial.run(lambda readings: trial.body.teacher()) == 12.0
    harder = Trial(1.2 * push, 12.0, [0, 1], share=1.0)
    assert harder.run(lambda readings: harder.body.teacher()) < 12.0
    assert abs(harder.poses[-1][0]) >= RAIL


@pytest.mark.parametrize("seed", SEEDS)
def test_an_untrained_network_falls_within_three_seconds(seed: int, tmp_path: Path) -> None:
    summary = execute(load("balance"), ["learn=0", "test=3.5"], seed=seed, out=tmp_path / "run")
    assert summary["metrics"]["kept up s"] < 3.0
    assert summary["baselines"]["LQR, true state"]["kept up s"] == 3.5


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("balance")
    found = []
    for seed in SEEDS:
        settings = [*SHORT, *(["film=true"] if seed == 0 else [])]
        found.append(execute(load("balance"), settings, seed=seed, out=folder / f"run-{seed}"))
    return found


def test_a_network_that_watched_the_teacher_balances_the_pole(
    learned: list[dict[str, Any]],
) -> None:
    asked = learned[0]["parameters"]["test"]
    kept = [summary["metrics"]["kept up s"] for summary in learned]
    assert sum(k == asked for k in kept) >= 0.8 * len(SEEDS), kept
    for summary in learned:
        assert summary["baselines"]["LQR, true state"]["kept up s"] == asked


def test_the_teacher_is_gone_in_the_test(learned: list[dict[str, Any]]) -> None:
    p = learned[0]["parameters"]
    raster = Raster.open(learned[0]["folder"])
    errors = raster.select(["force.error", "hidden.error"]).arrays().time
    assert errors[0] > 0
    assert errors[-1] < p["learn"]
    assert len(raster.select("hidden", start=p["learn"])) > 1000 * p["test"]


def test_the_film_shows_the_cart_and_the_pole(learned: list[dict[str, Any]]) -> None:
    p = learned[0]["parameters"]
    with Image.open(Path(learned[0]["folder"]) / "film.gif") as film:
        assert film.n_frames == p["test"] * COMMANDS / 8
        film.seek(film.n_frames - 1)
        picture = np.asarray(film.convert("RGB"), dtype=int)
    red, green, blue = np.moveaxis(picture, 2, 0)
    # About 54 pixels a metre: a pole of .09 m by .9 m in sight, and a cart of .4 m by .2 m.
    assert green.shape == (180, 480)
    assert (red - blue > 60).sum() > 150
    assert (blue - red > 60).sum() > 200


def test_where_nothing_can_be_drawn_that_is_said_before_the_lesson(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "cli.py"), "run", "balance", "--set", "film=true"],
        cwd=tmp_path,
        env=os.environ | {"MUJOCO_GL": "disable"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2
    assert "film: OpenGL cannot draw by MUJOCO_GL=disable" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def test_a_lesson_goes_on_from_a_saved_state_as_if_nothing_had_happened() -> None:
    sim = build(load("balance"), ["learn=3", "test=1", "watch=1"])
    sim.run(until=1.5037)
    saved = sim.state()
    runs = [sim.run(until=4.0)]
    sim.restore(saved)
    runs.append(sim.run(until=4.0))
    first, second = (run.raster.arrays() for run in runs)
    assert len(first.time) > 10_000
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("learn=-1", "learn=-1.0 s"),
        ("delay=0", "delay=0.0 s"),
        ("without=camera", "unknown value of without 'camera'"),
    ],
)
def test_a_wrong_parameter_is_named(setting: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=told):
        execute(load("balance"), [setting], out=tmp_path / "run")

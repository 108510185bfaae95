"""Trials on images: trainings that can be interrupted, and what they are worth."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from faults import hooked, in_child
from sizes import sized

from eventnet.classifier import PRESETS, WEIGHT_SEED, Settings, Training, initial_weights
from eventnet.cli import main
from eventnet.data.epochs import orders
from eventnet.data.mnist import Mnist
from eventnet.errors import ConfigError, DataError, Diverged
from eventnet.mlp import Mlp
from eventnet.reproduce import rows
from eventnet.trial import CURVE, Trial

SAMPLES = sized(300, 20)
HIDDEN = sized(200, 8)
TRAIN, TEST = sized(60_000, 40), sized(500, 40)
FILED = sized(200, 20)


@pytest.fixture(scope="module")
def digits(mnist_data: Mnist) -> Mnist:
    """MNIST, of which the test images are few: scoring all of them takes a second a trial."""
    few = {name: getattr(mnist_data, name)[:TEST] for name in ("test_images", "test_labels")}
    some = {name: getattr(mnist_data, name)[:TRAIN] for name in ("train_images", "train_labels")}
    return mnist_data._replace(**few, **some)


def small(preset: str, **changes: Any) -> Settings:
    return replace(
        PRESETS[preset], **{"hidden": (HIDDEN,), "samples": SAMPLES, "epochs": 3, **changes}
    )


def trained(settings: Settings, digits: Mnist) -> Training:
    training = Trial(settings, digits).training()
    while training.epoch < settings.epochs:
        training.run()
    return training


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_learns_and_evaluating_it_does_not_touch_it(preset: str, digits: Mnist) -> None:
    settings = small(preset, epochs=6)
    undisturbed = trained(settings, digits)
    watched = Trial(settings, digits).training()
    while watched.epoch < settings.epochs:
        watched.run()
        watched.predict(digits.test_images)
        watched.unquantized(digits.test_images)
    for ours, theirs in zip(watched.weights, undisturbed.weights, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images, labels = digits.train_images[:SAMPLES], digits.train_labels[:SAMPLES]
    assert (watched.predict(images) == labels).mean() > 0.7
    assert (watched.unquantized(images) == labels).mean() > 0.7
    assert any(bias.any() for bias in watched.biases) == settings.bias


@pytest.mark.parametrize("preset", PRESETS)
def test_an_interrupted_trial_goes_on_as_if_nothing_had_happened(
    preset: str, digits: Mnist, tmp_path: Path
) -> None:
    trial = Trial(small(preset), digits, seed=1)
    whole = trial.run()

    class Interrupted(Exception):
        pass

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 2:
            raise Interrupted

    with pytest.raises(Interrupted):
        trial.run(tmp_path, told=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == [CURVE, "epoch-2.npz"]
    epochs: list[int] = []
    rest = trial.run(tmp_path, told=lambda row: epochs.append(row["epoch"]))
    assert epochs == [3]
    for found in (whole, rest):
        for epoch in found["curve"]:
            epoch.pop("wall_s")
    assert rest == whole


def test_a_diverging_trial_keeps_the_last_good_checkpoint(digits: Mnist, tmp_path: Path) -> None:
    # The future rule learns at k_alpha = .5 and diverges above .9.
    trial = Trial(small("eventnet", k_alpha_later=0.95, lr=0.03, lr_end=0.03), digits)
    with pytest.raises(Diverged) as caught:
        trial.run(tmp_path)
    assert caught.value.population in ("hidden1", "digit")
    assert caught.value.time >= SAMPLES
    assert len(json.loads((tmp_path / CURVE).read_text())["curve"]) == 1
    training = trial.training()
    training.load(tmp_path / "epoch-1.npz", 1)
    assert all(np.isfinite(weights).all() for weights in training.weights)


def test_another_trial_and_a_damaged_one_are_refused(digits: Mnist, tmp_path: Path) -> None:
    trial = Trial(small("eventnet"), digits)
    trial.run(tmp_path)
    with pytest.raises(ConfigError, match=r"another trial, which differs in lr"):
        Trial(small("eventnet", lr=0.02), digits).run(tmp_path)
    with pytest.raises(ConfigError, match="differs in seed"):
        Trial(small("eventnet"), digits, seed=3).run(tmp_path)
    other = digits._replace(train_images=255 - digits.train_images)
    with pytest.raises(ConfigError, match="differs in data"):
        Trial(small("eventnet"), other).run(tmp_path)
    checkpoint = next(tmp_path.glob("*.npz"))
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"epoch-3\.npz"):
        trial.run(tmp_path)
    (tmp_path / CURVE).write_text("{")
    with pytest.raises(DataError, match=CURVE):
        trial.run(tmp_path)
    with pytest.raises(DataError, match="holds no checkpoint"):
        trial.run(resume=tmp_path / "nowhere")


def test_the_perceptron_beside_it_has_its_weights_order_and_rates(digits: Mnist) -> None:
    settings = small("paper-schedule", lr=0.02, lr_end=0.01, order="shuffled")
    row = Trial(settings, digits, seed=2).run()
    images, labels = digits.train_images[:SAMPLES], digits.train_labels[:SAMPLES]
    mlp = Mlp(initial_weights((784, HIDDEN, 10), 2), [np.zeros(HIDDEN), np.zeros(10)])
    order = orders("shuffled", images, seed=2)
    for epoch, lr in enumerate((0.02, 0.02**0.5 * 0.01**0.5, 0.01)):
        mlp.train(images, labels, order(epoch), lr)
    said = mlp.predict(digits.test_images)
    assert row["test"]["mlp"] == 100 * (said == digits.test_labels).sum() / TEST
    assert row["mlp"]["dense"] == 784 * HIDDEN * 2 + HIDDEN * 10 * 3
    points = row["test"]["spiking"] - row["test"]["mlp"]
    assert row["comparison"]["points"] == pytest.approx(points)
    assert row["comparison"]["low"] < points < row["comparison"]["high"]
    alone = Trial(settings, digits, seed=2).run(compares=False)
    assert set(row) - set(alone) == {"comparison", "mlp", "mlp_curve"}
    assert all(alone[name] == row[name] for name in ("settings", "seed", "reading"))
    assert all(alone[name] == {"spiking": row[name]["spiking"]} for name in ("test", "train"))


def test_initial_weights_are_those_of_the_authors_program() -> None:
    first, second = initial_weights((784, 200, 10))
    random = np.random.RandomState(WEIGHT_SEED)
    np.testing.assert_array_equal(first, random.randn(784, 200) * (2 / 984) ** 0.5)
    np.testing.assert_array_equal(second, random.randn(200, 10) * (2 / 210) ** 0.5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden": ()}, "hidden"),
        ({"rule": "hebb"}, "hebb"),
        ({"k_alpha": 1.0}, "k_alpha=1.0: must be between 0 and 1"),
        ({"lr": 0.0}, "lr=0.0"),
        ({"lr_end": 1.0}, "lr_end=1.0"),
        ({"epochs": 0}, "epochs=0"),
    ],
)
def test_impossible_settings_have_one_clear_message(changes: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Settings(**changes)


def test_finished_rows_are_kept_and_changed_ones_are_made_again(
    digits: Mnist, tmp_path: Path
) -> None:
    trials = {"one": Trial(small("eventnet"), digits), "two": Trial(small("paper"), digits)}
    made = rows.train("fig5", trials, tmp_path, quick=True)
    assert not list(tmp_path.glob("rows/fig5/*/"))
    path = tmp_path / "rows" / "fig5" / "two.json"
    row = json.loads(path.read_text())
    row["test"]["spiking"] = -1.0
    path.write_text(json.dumps(row))
    again = rows.train("fig5", trials, tmp_path, quick=True)
    assert again["one"] == json.loads(json.dumps(made["one"]))
    assert again["two"]["test"]["spiking"] == -1.0
    row["settings"].pop("step_later")  # as if it had been made before there was such a setting
    path.write_text(json.dumps(row))
    assert rows.train("fig5", trials, tmp_path, quick=True)["two"]["test"]["spiking"] == -1.0
    trials["two"] = Trial(small("paper", lr=0.02, lr_end=0.02), digits)
    assert rows.train("fig5", trials, tmp_path, quick=True)["two"]["test"]["spiking"] > 0


# -- the scenario --------------------------------------------------------------------------------------


@pytest.fixture
def files(digits: Mnist, tmp_path: Path) -> dict[str, Path]:
    """Four small idx files."""
    found = {}
    for name, array in digits._asdict().items():
        part = array[:FILED].reshape(-1, 28, 28) if name.endswith("images") else array[:FILED]
        head = bytes([0, 0, 8, part.ndim])
        head += b"".join(size.to_bytes(4, "big") for size in part.shape)
        found[name] = tmp_path / name
        found[name].write_bytes(head + part.tobytes())
    return found


def scenario(files: dict[str, Path], out: Path, *settings: str) -> Any:
    arguments = [f"--set={name}={path}" for name, path in files.items()]
    arguments += [f"--set={setting}" for setting in ("epochs=2", *settings)]
    return CliRunner().invoke(main, ["run", "mnist", *arguments, "--out", str(out), "--json"])


def test_the_scenario_trains_on_any_four_files_and_is_resumed(
    files: dict[str, Path], tmp_path: Path
) -> None:
    done = scenario(files, tmp_path / "run", "hidden=50,20", "preset=paper-schedule")
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout)
    assert 0 < summary["metrics"]["test %"] <= 100
    assert set(summary["baselines"]) == {
        "the same weights unquantized",
        "perceptron",
        "perceptron, skipping zeros",
    }
    assert summary["folder"] == str(tmp_path / "run")
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {CURVE, "metrics.json"}
    again = scenario(
        files,
        tmp_path / "more",
        "hidden=50,20",
        "preset=paper-schedule",
        f"resume={tmp_path / 'run'}",
    )
    assert "all epochs" in again.output
    assert again.exit_code == 2

    def killed() -> None:
        """Run it anew, and end with the first epoch."""
        with hooked(killing_at(CURVE)):
            scenario(files, tmp_path / "cut", "hidden=50,20", "preset=paper-schedule")

    assert in_child(killed) == -signal.SIGKILL
    assert len(json.loads((tmp_path / "cut" / CURVE).read_text())["curve"]) == 1
    resumed = CliRunner().invoke(main, ["run", "--resume", str(tmp_path / "cut"), "--json"])
    assert json.loads(resumed.stdout)["metrics"] == summary["metrics"]


def killing_at(name: str) -> Callable[[str, Path], None]:
    """Return a hook that kills when a file of this name is in place."""

    def hook(step: str, path: Path) -> None:
        if (step, path.name) == ("renamed", name):
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


def broken(files: dict[str, Path], kind: str) -> Path:
    path = files["train_images"]
    raw = path.read_bytes()
    if kind == "truncated":
        path.write_bytes(raw[:-5])
    elif kind == "magic":
        path.write_bytes(b"\0\0\x0d\3" + raw[4:])
    elif kind == "labels":
        path.write_bytes(files["train_labels"].read_bytes())
    elif kind == "mismatched":
        path = files["train_labels"]
        path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3]))
    elif kind == "missing":
        path.unlink()
    return path


@pytest.mark.parametrize("kind", ["truncated", "magic", "labels", "mismatched", "missing"])
def test_a_bad_file_is_named_and_nothing_is_begun(
    kind: str, files: dict[str, Path], tmp_path: Path
) -> None:
    path = broken(files, kind)
    done = scenario(files, tmp_path / "run")
    assert done.exit_code == 1
    assert str(path) in done.output
    assert "Traceback" not in done.output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("k_alpha=2", "k_alpha=2.0: must be between 0 and 1"),
        ("lr=high", "lr=high"),
        ("hidden=0", "hidden"),
        ("train_images=", "name all four idx files"),
    ],
)
def test_a_bad_setting_has_one_clear_message(
    setting: str, message: str, files: dict[str, Path], tmp_path: Path
) -> None:
    done = scenario(files, tmp_path / "run", setting)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert "Traceback" not in done.output

"""The frontier of error and additions: kept rows, pruned perceptrons, and what the committed holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow.parquet import read_table

from eventnet.classifier import initial_weights
from eventnet.data.epochs import orders
from eventnet.mlp import Mlp
from eventnet.reproduce import pruned, rows
from eventnet.reproduce.frontier import SEEDS, row_name
from eventnet.reproduce.frontier_chosen import CHOSEN, FRUGAL_DRONE

KEPT = Path(__file__).resolve().parent.parent / "docs" / "results" / "paper"


@pytest.fixture(scope="module")
def images() -> Any:
    random = np.random.default_rng(0)
    return random.integers(1, 256, (400, 30), np.uint8) * (random.random((400, 30)) < 0.3)


@pytest.fixture
def mlp(images: Any) -> Mlp:
    mlp = Mlp(initial_weights((30, 20, 10)), skip_zeros=True)
    mlp.train(images, np.arange(400) % 10, np.arange(400), 0.05)
    return mlp


def test_a_perceptron_that_is_not_pruned_costs_what_it_counts_itself(mlp: Mlp, images: Any) -> None:
    before = mlp.predicted.zero_skipping.sum()
    mlp.predict(images)
    reading = (mlp.predicted.zero_skipping.sum() - before) / len(images)
    assert pruned.multiply_adds(mlp.weights, images)[1] == pytest.approx(reading)
    still = Mlp(mlp.weights, skip_zeros=True)
    still.train(images, np.arange(400) % 10, np.arange(400), 1e-12)
    learning = still.trained.a_sample()[1]
    assert pruned.multiply_adds(mlp.weights, images)[0] == pytest.approx(learning)


def test_pruned_weights_stay_zero_while_the_others_learn(mlp: Mlp, images: Any) -> None:
    left = pruned.masks(mlp.weights, images, cost=60.0)
    before = [w.copy() for w in mlp.weights]
    pruned.retrain(mlp, left, images, np.arange(400) % 10, orders("given", images), [0.02, 0.01])
    for w, old, mask in zip(mlp.weights, before, left, strict=True):
        assert not w[~mask].any()
        assert (w[mask] != old[mask]).mean() > 0.9
        # None that went was larger than one that stayed.
        assert np.abs(old[~mask]).max() <= max(
            np.abs(v[m]).min() for v, m in zip(before, left, strict=True)
        )
    assert pruned.multiply_adds(mlp.weights, images)[1] == pytest.approx(60.0, rel=0.2)


def test_a_kept_row_is_made_once_and_anew_for_other_settings(tmp_path: Path) -> None:
    made = []

    def row(settings: dict[str, Any]) -> dict[str, Any]:
        def make() -> dict[str, Any]:
            made.append(settings)
            return {"points": len(made)}

        return rows.kept("frontier", "one", settings, make, tmp_path, quick=False)

    first = row({"step": 0.5, "hidden": (3,), "seed": 1})
    assert row({"step": 0.5, "hidden": (3,), "seed": 1}) == first
    assert row({"step": 0.6, "hidden": (3,), "seed": 1})["points"] == 2
    assert len(made) == 2
    assert first["record"]["seed"] == 1


def numbers() -> dict[str, float]:
    document = json.loads((KEPT / "frontier.json").read_text())
    return {row["what"]: row["here"] for row in document["numbers"]}


def row(task: str, series: str, k: int, seed: int) -> dict[str, Any]:
    path = KEPT / "rows" / "frontier" / f"{row_name(task, series, k, seed)}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_the_committed_rows_are_of_the_chosen_settings_and_what_the_numbers_say() -> None:
    found = numbers()
    for task, chosen in CHOSEN.items():
        for series, many in chosen.items():
            for k, given in enumerate(many, 1):
                mine = [row(task, series, k, seed) for seed in SEEDS]
                for one in mine:
                    assert one["settings"]["given"] == json.loads(json.dumps(given))
                    assert not one["record"]["quick"]
                    assert not str(one["record"]["commit"]).endswith("changes")
                if series == "eventnet":
                    points = np.array([one["points"]["spiking"][0] for one in mine]).mean(axis=0)
                    at = [
                        v for what, v in found.items() if what.startswith(f"{task}, {series} {k}:")
                    ]
                    assert at == pytest.approx(points.tolist())


def test_the_committed_front_reaches_its_aims_on_both_orders_of_mnist() -> None:
    found = numbers()
    for task, most, aim in (("MNIST", 120_000, 1.6), ("Temporal MNIST", 60_000, 1.8)):
        reached = [
            found[f"{task}, eventnet {k}: test error, %"]
            for k in range(1, len(CHOSEN[task]["eventnet"]) + 1)
            if found[f"{task}, eventnet {k}: additions an image, learning"] <= most
        ]
        assert min(reached) <= aim


def test_the_committed_front_of_the_drone_fits_as_well_for_a_third_of_the_additions() -> None:
    found = numbers()
    usual = "drone, eventnet, as the scenario has it"
    cheap = f"drone, eventnet {1 + CHOSEN['drone']['eventnet'].index(FRUGAL_DRONE)}"
    assert found[f"{cheap}: 1 - R2"] <= found[f"{usual}: 1 - R2"]
    for part in ("learning", "reading"):
        what = f"additions a reading, {part}"
        assert found[f"{cheap}: {what}"] < found[f"{usual}: {what}"] / 3


@pytest.mark.parametrize("task", ["drone", "mnist", "temporal-mnist", "video"])
def test_the_searches_saw_validation_parts_alone(task: str) -> None:
    folder = KEPT.parent / "frontier" / task
    tried = read_table(folder / "results.parquet").to_pylist()
    assert {point["score"] for point in tried} == {"validation"}
    assert not {point["seed"] for point in tried} & set(SEEDS)
    assert task in json.loads((folder / "sweep.json").read_text())["commands"][0]

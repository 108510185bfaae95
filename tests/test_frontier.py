"""The frontier of error and additions: kept rows, pruned perceptrons, and what the committed figure holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eventnet.classifier import initial_weights
from eventnet.data.epochs import orders
from eventnet.mlp import Mlp
from eventnet.reproduce import frontier, pruned, rows

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

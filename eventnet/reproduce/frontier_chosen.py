"""The settings of `frontier`, as they were chosen on validation parts, by panel and series."""

from __future__ import annotations

from typing import Any

CHOSEN: dict[str, dict[str, list[dict[str, Any]]]] = {
    "MNIST": {
        "eventnet": [{}],
        "k_alpha near 1": [{"k_alpha": 0.999, "rule": "past"}],
        "perceptron": [
            {
                "hidden": [200],
                "epochs": 50,
                "lr": 0.01,
                "lr_end": 0.0005,
                "costs": [8000],
                "lrs": [0.005],
                "steps": [1.0],
            }
        ],
    },
    "drone": {"eventnet": [{}], "dense": [{}]},
    "video": {"eventnet": [{}], "dense": [{}]},
}
"""What differs from a task's usual settings, plain data: series and settings may be added."""

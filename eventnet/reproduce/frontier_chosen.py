"""The settings of `frontier`, as they were chosen on validation parts, by panel and series."""

from __future__ import annotations

from typing import Any

Given = dict[str, Any]

FRUGAL_DRONE: Given = {
    "hidden": 24,
    "imu_smoothing": 0.0147,
    "imu_step": 0.391,
    "imu_threshold": 0.987,
    "camera_step": 0.46,
    "hidden_step": 0.109,
    "hidden_threshold": 0.739,
    "error_step": 1.06,
    "hidden_error_step": 0.348,
    "tau": 0.0755,
    "lr": 0.0147,
    "hold": 0.0487,
}
"""The cheapest for which both components of R2 are what the scenario's usual settings reach, or more."""

PERCEPTRON: Given = {
    "hidden": [200],
    "epochs": 50,
    "lr": 0.01,
    "lr_end": 0.0005,
    "costs": [16000, 8000, 4000, 2000, 1000],
    "lrs": [0.005, 0.002, 0.001, 0.0005],
    "steps": [1.0, 0.5, 0.25],
}

CHOSEN: dict[str, dict[str, list[Given]]] = {
    "MNIST": {
        "eventnet": [{}],
        "k_alpha near 1": [{"k_alpha": 0.999, "rule": "past"}],
        "perceptron": [PERCEPTRON],
    },
    "Temporal MNIST": {
        "eventnet": [{}],
        "k_alpha near 1": [{"k_alpha": 0.999, "rule": "past"}],
        "perceptron": [PERCEPTRON],
    },
    "drone": {
        "eventnet": [
            {
                "hidden": 18,
                "imu_smoothing": 0.0126,
                "imu_step": 0.994,
                "imu_threshold": 0.932,
                "camera_step": 0.123,
                "hidden_step": 0.572,
                "hidden_threshold": 0.732,
                "error_step": 1.11,
                "hidden_error_step": 0.796,
                "tau": 0.279,
                "lr": 0.0381,
                "hold": 0.0375,
            },
            {
                "hidden": 18,
                "imu_smoothing": 0.0109,
                "imu_step": 0.887,
                "imu_threshold": 0.732,
                "camera_step": 0.126,
                "hidden_step": 0.635,
                "hidden_threshold": 0.777,
                "error_step": 1.23,
                "hidden_error_step": 0.61,
                "tau": 0.25,
                "lr": 0.0317,
                "hold": 0.0328,
            },
            {
                "hidden": 18,
                "imu_smoothing": 0.0111,
                "imu_step": 0.925,
                "imu_threshold": 0.721,
                "camera_step": 0.193,
                "hidden_step": 0.502,
                "hidden_threshold": 0.801,
                "error_step": 1.34,
                "hidden_error_step": 0.28,
                "tau": 0.222,
                "lr": 0.0442,
                "hold": 0.0477,
            },
            FRUGAL_DRONE,
            {
                "hidden": 27,
                "imu_smoothing": 0.0124,
                "imu_step": 0.416,
                "imu_threshold": 0.744,
                "camera_step": 0.389,
                "hidden_step": 0.149,
                "hidden_threshold": 0.831,
                "error_step": 0.775,
                "hidden_error_step": 0.227,
                "tau": 0.116,
                "lr": 0.00597,
                "hold": 0.0402,
            },
        ],
        "eventnet, as the scenario has it": [{}],
        "tau 1 s": [
            {
                "hidden": 18,
                "imu_smoothing": 0.0111,
                "imu_step": 0.925,
                "imu_threshold": 0.721,
                "camera_step": 0.193,
                "hidden_step": 0.502,
                "hidden_threshold": 0.801,
                "error_step": 1.34,
                "hidden_error_step": 0.28,
                "tau": 1.0,
                "lr": 0.0442,
                "hold": 0.0477,
            }
        ],
        "dense": [{"imu_smoothing": 0.0147}],
    },
    "video": {"eventnet": [{}], "dense": [{}]},
}
"""What differs from a task's usual settings, plain data: series and settings may be added."""

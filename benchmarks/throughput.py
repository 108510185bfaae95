"""Spikes per second of the compiled engine: 784-200-10, MNIST images held 2 s each, one core."""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time

import numpy as np

import eventnet as en
from eventnet.data import fetch, mnist
from eventnet.simulation import versions

HOLD = 2.0  # s


def network() -> en.Network:
    net = en.Network(tau=1.0)
    net.sensor("image", 784, step=0.5)
    net.layer("hidden", 200, step=0.5, error_step=0.1)
    net.output("digit", 10, error_step=0.1)
    net.connect("image", "hidden")
    net.connect("hidden", "digit")
    return net


def measure(
    images: np.ndarray, labels: np.ndarray, learn: bool, repetitions: int
) -> dict[str, object]:
    rule = en.STDP(lr=0.01) if learn else None
    sim = en.Simulation(network(), plasticity=rule, seed=0)
    sim.feed("image", en.Periodic(images, rate=1 / HOLD))
    if learn:
        sim.teach("digit", en.Periodic(np.eye(10)[labels], rate=1 / HOLD))
    begin = time.perf_counter()
    sim.run(until=HOLD)  # compiles, or loads the cache
    start_s = time.perf_counter() - begin
    rates, walls = [], []
    part = (len(images) - 1) // repetitions
    for k in range(repetitions):
        run = sim.run(until=HOLD * (1 + part * (k + 1)))
        rates.append(run.cost.events / run.wall_s)
        walls.append(run.wall_s / (run.until - run.start))
    return {
        "learning": learn,
        "spikes_per_wall_s": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "wall_s_per_simulated_s": statistics.median(walls),
        "start_s": start_s,
        "events": {k: v["events"] + v["error_events"] for k, v in run.cost.populations.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=401)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    digits = mnist.load(fetch("mnist"))
    images = digits.train_images[: arguments.images] / 255.0
    labels = digits.train_labels[: arguments.images]
    rows = [measure(images, labels, learn, arguments.repetitions) for learn in (False, True)]
    if arguments.json:
        print(json.dumps({"rows": rows, "versions": versions(), "cpu": platform.processor()}))
        return
    for row in rows:
        low, high = row["spread"]  # type: ignore[misc]
        print(
            f"learning {row['learning']!s:5}  {row['spikes_per_wall_s'] / 1e6:.2f} M spikes/s "
            f"({low / 1e6:.2f} to {high / 1e6:.2f}), "
            f"{row['wall_s_per_simulated_s'] * 1e3:.2f} ms a simulated s, "
            f"first call {row['start_s']:.1f} s"
        )
    print(versions())


if __name__ == "__main__":
    main()

"""A classifier learns fully asynchronously, with a softmax readout, from real digits."""

from __future__ import annotations

from pathlib import Path

from eventnet.scenario import execute, load


def test_digits_are_learned_on_a_continuous_clock(tmp_path: Path) -> None:
    summary = execute(load("digits"), ["passes=6"], seed=7, out=tmp_path / "run")
    spiking = summary["metrics"]
    assert spiking["held out %"] >= 97.0
    # The spiking readout follows the weights: without spikes they are at most a little better.
    quiet = summary["baselines"]["the same weights without spikes"]
    assert abs(quiet["held out %"] - spiking["held out %"]) < 2.0
    assert summary["events"]["digit.error"] > 0

"""Write docs/results/drone.md: the drone scenario's fit and cost over five seeds, as it is."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import numpy as np

from eventnet.scenario import execute, load

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "drone.md"
SEEDS = range(5)

PAGE = """# The drone scenario

Made by `.venv/bin/python benchmarks/drone.py` {made}.

R2 of the two components of image flow on the last 30 % of the flight. The network saw the camera at
4 Hz and the inertial unit at 200 Hz, learned on the first 70 % and was frozen. Settings were chosen on
the last fifth of the training part, by the worst of five other seeds. The scored part was looked at for
three earlier settings as well, which that criterion ranks lower, so this is its fourth use.

| | u | v |
|---|---|---|
{fit}

Operations of seed 0 over {simulated} simulated seconds ({passes} passes and the scored part), simulated
in {wall} s:

| | forward | backward | update | all |
|---|---|---|---|---|
{cost}

The two dense networks are recomputed at every reading, so that their output is as current as the
spiking one's, and trained at every target. A dense network that is computed only when it is taught
does {at_targets} multiply-adds.

On this recording the spiking network is no saving in additions: the rotors shake the inertial unit,
so that nearly every reading is news, and the whole network is small.
"""


def main() -> None:
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            runs.append(execute(load("drone"), seed=seed, out=Path(folder) / str(seed)))
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    first = runs[0]
    fit = [
        f"| spiking, seed {seed} | {pair(run['metrics'])} |"
        for seed, run in zip(SEEDS, runs, strict=True)
    ]
    for name in first["baselines"]:
        values = np.array([run["baselines"][name]["r2"] for run in runs])
        label = f"{name}, mean of the seeds" if np.ptp(values, axis=0).any() else name
        fit.append(f"| {label} | {values.mean(0)[0]:.3f} | {values.mean(0)[1]:.3f} |")
    operations = first["operations"]
    cost = [
        f"| {label} | " + " | ".join(f"{operations[key][p]:,}" for p in PASSES) + " |"
        for label, key in ROWS
    ]
    wall = float(np.median([run["wall_s"] for run in runs]))
    versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items())
    OUT.write_text(
        PAGE.format(
            made=f"at commit {commit}; {versions}",
            fit="\n".join(fit),
            simulated=f"{first['simulated_s']:.0f}",
            passes=first["parameters"]["passes"],
            wall=f"{wall:.1f}",
            cost="\n".join(cost),
            at_targets=f"{first['dense']['dense SGD at every target']:,}",
        )
    )
    print(OUT.read_text())


PASSES = ("forward", "backward", "update", "all")
ROWS = (
    ("additions, one a quantum", "additions"),
    ("multiply-adds, one a spike", "multiply_adds"),
    ("dense, skipping zeros", "zero_skipping"),
    ("dense", "dense"),
)


def pair(row: dict[str, list[float]]) -> str:
    return " | ".join(f"{value:.3f}" for value in row["r2"])


if __name__ == "__main__":
    main()

"""Write docs/results/drone.md: the drone scenario's fit and cost over five seeds, as it is."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from eventnet.reproduce.frontier_chosen import FRUGAL_DRONE
from eventnet.scenario import execute, load

OUT = Path(__file__).resolve().parent.parent / "docs" / "results" / "drone.md"
SEEDS = range(5)
CHECKED = range(30, 40)
BREAK = " \\\n      "

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

## A tenth of the additions

    eventnet run drone {command}

With a running mean of the inertial unit's readings (causal, as a gyroscope's low-pass is), hysteresis,
larger steps and fewer hidden units the network takes {less:,} additions for seed 0, {share:.3f} of those
above. Of what a search tried on the last fifth of the training part
([frontier/drone](frontier/drone)) it is the cheapest that reaches there what the settings above do, in u
and in v, means of ten further seeds ({validated}; above {before}). The scored
part was looked at after the choice: the five seeds' mean R2 is {mean:.3f}, above {mean_before:.3f}. It is
lower in u ({after[0]:.3f}; {earlier[0]:.3f}) and higher in v ({after[1]:.3f}; {earlier[1]:.3f}), in u
below least squares on the inertial unit alone: so these are not the scenario's own settings.

| | u | v |
|---|---|---|
{frugal_fit}

| seed 0 | forward | backward | update | all |
|---|---|---|---|---|
{frugal_cost}

Other settings of the search, with seeds of their own, are in [the frontier](paper.md).
"""


def main() -> None:
    less = [f"{name}={value}" for name, value in FRUGAL_DRONE.items()]
    runs, frugal = executed(SEEDS), executed(SEEDS, *less)
    validated, before = (
        pair({"r2": np.mean([run["metrics"]["r2"] for run in executed(CHECKED, *given)], axis=0)})
        for given in ((*less, "score=validation"), ("score=validation",))
    )
    after, earlier = (
        np.mean([run["metrics"]["r2"] for run in several], axis=0) for several in (frugal, runs)
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    first = runs[0]
    operations, fewer = first["operations"], frugal[0]["operations"]
    wall = float(np.median([run["wall_s"] for run in runs]))
    versions = ", ".join(f"{k} {v}" for k, v in first["versions"].items())
    OUT.write_text(
        PAGE.format(
            made=f"at commit {commit}; {versions}",
            fit=fits(runs),
            simulated=f"{first['simulated_s']:.0f}",
            passes=first["parameters"]["passes"],
            wall=f"{wall:.1f}",
            cost=costs(operations),
            at_targets=f"{first['dense']['dense SGD at every target']:,}",
            command=BREAK.join(" ".join(f"--set {one}" for one in part) for part in batched(less)),
            share=fewer["additions"]["all"] / operations["additions"]["all"],
            less=fewer["additions"]["all"],
            validated=validated.replace(" |", ","),
            before=before.replace(" |", ","),
            mean=np.mean(after),
            mean_before=np.mean(earlier),
            after=after,
            earlier=earlier,
            frugal_fit=fits(frugal),
            frugal_cost=costs(fewer),
        )
    )
    print(OUT.read_text())


def executed(seeds: Iterable[int], *settings: str) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return [
            execute(load("drone"), settings, seed=seed, out=Path(folder) / str(seed))
            for seed in seeds
        ]


def fits(runs: list[dict[str, Any]]) -> str:
    fit = [
        f"| spiking, seed {seed} | {pair(run['metrics'])} |"
        for seed, run in zip(SEEDS, runs, strict=True)
    ]
    for name in runs[0]["baselines"]:
        values = np.array([run["baselines"][name]["r2"] for run in runs])
        label = f"{name}, mean of the seeds" if np.ptp(values, axis=0).any() else name
        fit.append(f"| {label} | {pair({'r2': values.mean(0)})} |")
    return "\n".join(fit)


def costs(operations: dict[str, dict[str, int]]) -> str:
    return "\n".join(
        f"| {label} | " + " | ".join(f"{operations[key][p]:,}" for p in PASSES) + " |"
        for label, key in ROWS
    )


PASSES = ("forward", "backward", "update", "all")
ROWS = (
    ("additions, one a quantum", "additions"),
    ("multiply-adds, one a spike", "multiply_adds"),
    ("dense, skipping zeros", "zero_skipping"),
    ("dense", "dense"),
)


def batched(settings: list[str]) -> list[list[str]]:
    return [settings[k : k + 4] for k in range(0, len(settings), 4)]


def pair(row: dict[str, Any]) -> str:
    return " | ".join(f"{value:.3f}" for value in row["r2"])


if __name__ == "__main__":
    main()

"""Write docs/results/drone.md: the drone scenario's fit and cost over five seeds, as it is."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from eventnet.reproduce.frontier_chosen import FINE_DRONE, FRUGAL_DRONE
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

A running mean of the inertial unit's readings (causal, as a gyroscope's low-pass is), hysteresis, other
steps and fewer hidden units take much less. What a search tried is in [frontier/drone](frontier/drone);
it saw the last fifth of the training part. Of that, rounded, the cheapest that reaches there what the
settings above do, in u and in v, means of ten further seeds ({validated[0]}; above {before}):

    eventnet run drone {command[0]}

On the scored part these keep the mean of u and v, but not u, which is below least squares on the inertial
unit. So there is a second choice, by a rule made after that was seen: the best in u, in the search, of
those that take at most a third and are not below the settings above in v ({validated[1]}):

    eventnet run drone {command[1]}

| the scored part | u | v | additions of seed 0 |
|---|---|---|---|
{frugal}

Other settings of the search, with seeds of their own, are in [the frontier](paper.md).
"""


def main() -> None:
    cheaper = {"the first": FRUGAL_DRONE, "the second": FINE_DRONE}
    given = [[f"{name}={value}" for name, value in one.items()] for one in cheaper.values()]
    runs, *frugal = (executed(SEEDS, *settings) for settings in ([], *given))
    before, *validated = (
        pair(mean(executed(CHECKED, *settings, "score=validation"))).replace(" |", ",")
        for settings in ([], *given)
    )
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
    ).stdout.strip()
    first = runs[0]
    operations = first["operations"]
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
            command=[
                BREAK.join(" ".join(f"--set {one}" for one in part) for part in batched(settings))
                for settings in given
            ],
            validated=validated,
            before=before,
            frugal="\n".join(
                line
                for label, several in zip(("above", *cheaper), (runs, *frugal), strict=True)
                for line in fewer(label, several)
            ),
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


def mean(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {"r2": np.mean([run["metrics"]["r2"] for run in runs], axis=0)}


def fewer(label: str, runs: list[dict[str, Any]]) -> list[str]:
    cost = f"{runs[0]['operations']['additions']['all']:,}"
    seeds = [
        f"| {label}, seed {seed} | {pair(run['metrics'])} | |"
        for seed, run in zip(SEEDS, runs, strict=True)
    ]
    dense = [run["baselines"]["the same network dense, SGD"]["r2"] for run in runs]
    return [
        *(seeds if label != "above" else []),
        f"| {label}, mean of the seeds | {pair(mean(runs))} | {cost} |",
        f"| {label}, the same network dense, mean | {pair({'r2': np.mean(dense, axis=0)})} | |",
    ]


def batched(settings: list[str]) -> list[list[str]]:
    return [settings[k : k + 4] for k in range(0, len(settings), 4)]


def pair(row: dict[str, Any]) -> str:
    return " | ".join(f"{value:.3f}" for value in row["r2"])


if __name__ == "__main__":
    main()

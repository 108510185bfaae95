"""Lists of runs, what became of each, and what differs between two."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_cli import SCENARIO

import eventnet as en
from eventnet.cli import main
from eventnet.errors import RunFolderError
from eventnet.raster import RasterWriter
from eventnet.runs import RunFolder, unsealed, writing
from eventnet.scenario import execute, load

LIVE = """
import sys
import eventnet as en
net = en.Network(tau=0.1)
net.sensor("angle", 1, step=0.1)
sim = en.Simulation(net, engine="actors")
sim.listen("angle")
sim.run(until=float("inf"), live=True, record=sys.argv[1])
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one scenario and an import, in one folder."""
    place = tmp_path_factory.mktemp("place")
    (place / "sine.py").write_text(SCENARIO)
    scenario = load(str(place / "sine.py"))
    folder = place / "runs"
    execute(scenario, ["size=8"], engine="actors", out=folder / "sine-1")
    execute(scenario, ["size=12"], engine="actors", out=folder / "sine-2")
    with RasterWriter(folder / "cortex", ["V1"]) as writer:
        writer.append([0.5], [0], [3], [1])
    (folder / "notes").mkdir()  # no run
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main([*arguments], standalone_mode=False)
    return capsys.readouterr().out


def test_runs_are_listed_oldest_first_in_80_columns(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = json.loads(said(capsys, "runs", str(runs), "--json"))["runs"]
    states = {Path(row["folder"]).name: row["state"] for row in rows}
    assert states == {"sine-1": "finished", "sine-2": "finished", "cortex": "raster"}
    summary = json.loads((runs / "sine-1" / "metrics.json").read_text())
    assert rows[0]["metrics"] == summary["metrics"]
    assert rows[0]["spikes"] == sum(summary["events"].values())
    assert rows[0]["simulated_s"] == 3.95
    lines = said(capsys, "runs", str(runs)).splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:2] == ["sine-1", "finished"]
    assert f"{rows[0]['spikes']:,}" in lines[1]


def test_two_runs_are_compared(
    runs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pair = (str(runs / "sine-1"), str(runs / "sine-2"))
    found = json.loads(said(capsys, "compare", *pair, "--json"))
    assert found["configuration"]["parameters.size"] == [8, 12]
    assert found["configuration"]["network.populations.hidden.size"] == [8, 12]
    assert found["configuration"]["network.projections.angle -> hidden.synapses"] == [8, 12]
    assert not any("seed" in key or "started" in key for key in found["configuration"])
    one, other = (json.loads((Path(p) / "metrics.json").read_text()) for p in pair)
    key = "events.hidden"
    assert found["result"][key] == [one["events"]["hidden"], other["events"]["hidden"]]
    assert "fit.spiking.r2" in found["result"]
    table = said(capsys, "compare", *pair)
    assert max(map(len, table.splitlines())) <= 80
    hidden = next(line for line in table.splitlines() if line.startswith(key))
    assert hidden.endswith(f"{other['events']['hidden'] / one['events']['hidden'] - 1:+.1%}")
    same = json.loads(said(capsys, "compare", pair[0], pair[0], "--json"))
    assert same["configuration"] == same["result"] == {}


def test_a_run_that_is_written_and_one_that_was_killed_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "live"
    process = subprocess.Popen([sys.executable, "-c", LIVE, str(folder)])
    try:
        deadline = time.monotonic() + 120  # a busy machine is no failure
        while not (folder / "raster").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert RunFolder(folder).state == "running"
        with pytest.raises(RunFolderError, match="another process is writing it"), writing(folder):
            pass
        assert RunFolder(folder).state == "running"
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert RunFolder(folder).state == "interrupted"
    (row,) = json.loads(said(capsys, "runs", str(tmp_path), "--json"))["runs"]
    assert (row["state"], row["spikes"], row["wall_s"]) == ("interrupted", 0, None)
    main(["raster", "stats", str(folder)], standalone_mode=False)
    assert "was interrupted" in capsys.readouterr().err


def test_a_scenario_that_was_not_scored_has_not_finished(runs: Path, tmp_path: Path) -> None:
    scenario = load(str(runs.parent / "sine.py"))

    def fails(parameters: object, session: object) -> None:
        scenario.function(parameters, session)  # type: ignore[arg-type]
        assert RunFolder(tmp_path / "r").state == "running"  # though its simulation has ended
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute(
            scenario.__class__(**vars(scenario) | {"function": fails}),
            engine="actors",
            out=tmp_path / "r",
        )
    assert (tmp_path / "r" / "end.json").exists()
    assert RunFolder(tmp_path / "r").state == "interrupted"


def test_a_run_without_a_scenario_is_finished_at_its_end(tmp_path: Path) -> None:
    net = en.Network(tau=0.1)
    net.sensor("a", 1, step=0.1)
    en.Simulation(net, engine="actors", raster=False).run(until=1.0, record=tmp_path / "counted")
    found = RunFolder(tmp_path / "counted").summary()
    assert (found["state"], found["spikes"], found["simulated_s"]) == ("finished", 0, 1.0)


def test_a_file_that_is_no_text_is_told_in_a_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"\xff" * 10_000)
    with pytest.raises(
        en.DataError, match=r"cannot be read \(UnicodeDecodeError: .*\); restore it"
    ) as told:
        unsealed(path)
    assert len(str(told.value)) < 300

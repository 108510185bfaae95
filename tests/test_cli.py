"""The command line, as a person and as a program would use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import click
import pytest

from eventnet.cli import main
from eventnet.scenario import execute, load

SCENARIO = '''
"""A sine heard at 100 Hz, its negative taught at 20 Hz."""
from dataclasses import dataclass
from typing import Literal
import numpy as np
import eventnet as en
from eventnet.baselines import r2
from eventnet.scenario import Outcome, Session

@dataclass(frozen=True)
class Parameters:
    tau: float = 0.1
    size: int = 8
    learn: bool = True
    kind: Literal["sine", "broken", "gone"] = "sine"

def run(p: Parameters, session: Session) -> Outcome:
    net = en.Network(tau=p.tau)
    net.sensor("angle", 1, step=0.1)
    net.layer("hidden", p.size, step=0.1, error_step=0.05)
    net.output("torque", 1, error_step=0.05)
    net.connect("angle", "hidden")
    net.connect("hidden", "torque")
    rule = en.STDP(lr=0.5) if p.learn else None
    sim = en.Simulation(net, plasticity=rule, engine=session.engine, seed=session.seed)
    signal = np.sin(np.arange(400) / 10)
    if p.kind == "broken":
        signal[17] = np.nan
    if p.kind == "gone":
        open("/nowhere/at/all.csv")
    sim.feed("angle", en.Periodic(signal, rate=100))
    sim.teach("torque", en.Periodic(-signal[::5], rate=20))
    sim.probe("torque", rate=20)
    out = session.run(sim, 3.95)
    read = out.output("torque").values
    return Outcome(out, metrics={"r2": r2(read, -signal[::5][: len(read), None])},
                   baselines={"zero": {"r2": [0.0]}})
'''


def eventnet(
    *arguments: str, cwd: Path, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "eventnet", *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "80", **(env or {})},
        check=False,
    )


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "sine.py").write_text(SCENARIO)
    return tmp_path


Said = Callable[..., str]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    """Runs a command in this process, in 80 columns, and returns what it prints."""
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str) -> str:
        main([*arguments], standalone_mode=False)
        return capsys.readouterr().out

    return call


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder."""
    place = tmp_path_factory.mktemp("good")
    (place / "sine.py").write_text(SCENARIO)
    execute(load(str(place / "sine.py")), engine="actors", out=place / "run")
    return place / "run"


def test_json_prints_one_object_with_everything_in_it(place: Path) -> None:
    done = eventnet("run", "sine.py", "--json", "--seed", "3", "--set", "size=12", cwd=place)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    summary = json.loads(done.stdout)
    assert summary["scenario"] == "sine"
    assert summary["parameters"] == {"tau": 0.1, "size": 12, "learn": True, "kind": "sine"}
    assert summary["seed"] == 3
    assert summary["engine"] == "compiled"
    assert summary["simulated_s"] == 3.95
    assert summary["wall_s"] > 0
    assert summary["events"]["hidden"] > 10
    assert summary["quanta"]["hidden"] >= summary["events"]["hidden"]
    assert set(summary["additions"]["angle -> hidden"]) == {"forward", "backward", "update"}
    assert summary["operations"]["dense"]["all"] > summary["operations"]["zero_skipping"]["all"] > 0
    assert summary["baselines"] == {"zero": {"r2": [0.0]}}
    assert len(summary["metrics"]["r2"]) == 1
    assert "numba" in summary["versions"]
    folder = place / summary["folder"]
    assert json.loads((folder / "metrics.json").read_text()) == summary
    assert (folder / "config.json").exists()
    assert (folder / "raster.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_fits_80_columns_and_runs_are_numbered(place: Path) -> None:
    first = eventnet("run", "sine.py", cwd=place)
    second = eventnet("run", "sine.py", "--quiet", cwd=place)
    assert first.returncode == second.returncode == 0
    assert "hidden.error" in first.stdout
    assert "additions, one a quantum" in first.stdout
    assert "runs/sine-1" in first.stdout
    assert max(map(len, first.stdout.splitlines())) <= 80
    assert "…" not in first.stdout
    assert second.stdout == ""
    assert sorted(p.name for p in (place / "runs").iterdir()) == ["sine-1", "sine-2"]


def test_both_engines_give_the_same_run(place: Path) -> None:
    summaries = [
        json.loads(eventnet("run", "sine.py", "--json", "--engine", name, cwd=place).stdout)
        for name in ("compiled", "actors")
    ]
    for key in ("metrics", "events", "quanta", "additions", "operations"):
        assert summaries[0][key] == summaries[1][key]


def test_raster_commands(
    good: Path, said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = str(good)
    rows = json.loads(said("raster", "stats", run, "--json"))
    assert rows["hidden"]["events"] > 0
    assert rows["angle"]["last"] <= 3.95
    table = said("raster", "stats", run, "--stop", "1")
    assert "hidden.error" in table
    assert max(map(len, table.splitlines())) <= 80
    said("raster", "export", run, "-o", "s.csv", "--population", "angle")
    lines = Path("s.csv").read_text().splitlines()
    assert lines[0] == '"time","population","neuron","count"'
    assert len(lines) == 1 + rows["angle"]["events"]
    there = said("raster", "export", run, "--format", "sonata", "-o", "spikes.h5", "--json")
    assert json.loads(there) == {
        "file": "spikes.h5",
        "format": "sonata",
        "events": sum(row["events"] for row in rows.values()),
    }
    said("raster", "import", "spikes.h5", "-o", "back")
    again = json.loads(said("raster", "stats", "back", "--json"))
    assert {n: row["quanta"] for n, row in again.items()} == {
        n: row["quanta"] for n, row in rows.items()
    }
    assert json.loads(said("raster", "plot", run, "-o", "p.svg", "--json")) == {"file": "p.svg"}
    assert "<svg" in Path("p.svg").read_text()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["run", "drnoe"], 2, "unknown scenario 'drnoe'; did you mean 'drone'?"),
        (["run", "missing.py"], 2, "scenario file missing.py: does not exist"),
        (["run", "empty.py"], 2, "must define a dataclass Parameters"),
        (["run", "syntax.py"], 2, "line 1"),
        (
            ["run", "sine.py", "--set", "tua=1"],
            2,
            "unknown parameter of sine 'tua'; did you mean 'tau'",
        ),
        (["run", "sine.py", "--set", "tau"], 2, "--set tau: must be key=value"),
        (["run", "sine.py", "--set", "tau=fast"], 2, "tau=fast: must be of type float"),
        (["run", "sine.py", "--set", "size=1.5"], 2, "size=1.5: must be of type int"),
        (["run", "sine.py", "--set", "learn=maybe"], 2, "learn=maybe: must be true or false"),
        (["run", "sine.py", "--set", "kind=sin"], 2, "did you mean 'sine'"),
        (["run", "sine.py", "--set", "tau=-1"], 2, "tau=-1.0 s on the network: must be positive"),
        (["run", "sine.py", "--set", "tau=nan"], 2, "tau=nan s on the network"),
        (["run", "sine.py", "--until", "-2"], 2, "until=-2.0 s: must be positive"),
        (["run", "sine.py", "--engine", "gpu"], 2, "'gpu' is not one of"),
        (["run", "sine.py", "--seed", "-1"], 2, "-1"),
        (["run", "sine.py", "--frobnicate"], 2, "--frobnicate"),
        (["run", "sine.py", "--out", "taken"], 1, "taken: exists already"),
        (["run", "sine.py", "--out", "taken/file/run"], 1, "taken/file/run: cannot be made"),
        (
            ["run", "sine.py", "--set", "kind=broken"],
            1,
            "reading nan in sample 17, column 0, of angle",
        ),
        (["run", "sine.py", "--set", "kind=gone"], 1, "/nowhere/at/all.csv: No such file"),
        (["frobnicate"], 2, "frobnicate"),
        (["raster", "stats", "nothing"], 1, "nothing"),
        (["raster", "stats", "taken"], 1, "taken"),
        (["raster", "plot", "good", "--population", "hiden"], 2, "hidden"),
        (["raster", "export", "good", "-o", "x.xyz"], 2, "xyz"),
        (["raster", "export", "good", "-o", "taken/file"], 2, "taken/file"),
        (["raster", "export", "good"], 2, "give --format or -o: there are csv, npz"),
        (["raster", "export", "good", "--format", "hdf"], 2, "sonata (.h5)"),
        (["raster", "import", "taken/file", "-o", "x"], 2, "unknown; there are"),
        (["raster", "import", "sine.py", "--format", "nwb", "-o", "x"], 1, "not an NWB file"),
        (["graph", "sine.py", "--format", "gif"], 2, "there are svg, png, graphml, json, nir"),
        (["data", "info", "nist"], 2, "mnist"),
        (["data", "fetch", "nist"], 2, "mnist"),
    ],
)
def test_a_mistake_gives_one_message_an_exit_code_and_harms_nothing(
    place: Path,
    good: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    (place / "empty.py").write_text("")
    (place / "syntax.py").write_text("def")
    (place / "taken").mkdir()
    (place / "taken" / "file").write_text("precious")
    (place / "good").symlink_to(good)
    before = {p: p.read_bytes() for p in (*place.rglob("*"), *good.rglob("*")) if p.is_file()}
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(arguments, prog_name="eventnet")
    assert left.value.code == code
    said = capsys.readouterr()
    assert message in " ".join(said.err.split())
    assert "Traceback" not in said.err
    assert said.out == ""
    assert {p: p.read_bytes() for p in before} == before


def test_a_graph_for_nir_says_what_it_does_not_hold(place: Path) -> None:
    import nir

    done = eventnet("graph", "sine.py", "--format", "nir", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "NIR cannot say" in done.stderr
    assert "derivative term" in done.stderr
    assert nir.read(place / "sine.nir").nodes["angle -> hidden"].weight.shape == (8, 1)


def commands(group: click.Group = main, name: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """All commands and groups, as words."""
    found = [name]
    for word, command in group.commands.items():
        inner = (*name, word)
        found += commands(command, inner) if isinstance(command, click.Group) else [inner]
    return found


@pytest.mark.parametrize("name", commands(), ids=" ".join)
def test_help_fits_80_columns_and_shows_examples(
    name: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*name, "--help"], prog_name="eventnet")
    usage, _, said = capsys.readouterr().out.partition("\n")
    assert max(map(len, (usage, *said.splitlines()))) <= 80
    assert " ".join(("eventnet", *name)) in said.partition("Options:")[0]  # an example
    assert "..." not in said  # no summary is cut off


def test_the_lists_list(said: Said) -> None:
    assert json.loads(said("scenarios", "--json"))["drone"]["parameters"]["every"] == 5
    assert {"mnist", "euroc-v1-01"} <= set(json.loads(said("data", "list", "--json")))
    for words in (("scenarios",), ("data", "list"), ("data", "info", "mnist")):
        text = said(*words)
        assert "mnist" in text.lower()
        assert max(map(len, text.splitlines())) <= 80


def test_without_a_network_the_drone_says_what_it_tried(place: Path) -> None:
    closed = "http://127.0.0.1:9"  # nobody listens there
    done = eventnet(
        "run",
        "drone",
        cwd=place,
        env={
            "EVENTNET_CACHE": str(place / "cache"),
            "HTTP_PROXY": closed,
            "HTTPS_PROXY": closed,
            "https_proxy": closed,
            "PIP_NO_INDEX": "1",
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_FIND_LINKS": str(place),
        },
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "euroc-v1-01" in done.stderr
    assert "gtsam" in done.stderr
    assert "EVENTNET_DATA" in done.stderr
    assert not (place / "runs").exists()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_the_bar_of_a_run_follows_that_of_its_fetch(place: Path) -> None:
    root = str(Path(__file__).resolve().parent.parent)
    screen, terminal = os.openpty()
    running = subprocess.Popen(
        [sys.executable, "-m", "eventnet", "run", "drone", "--until", "3"],
        cwd=place,
        env=os.environ
        | {
            "PYTHONPATH": os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "EVENTNET_CACHE": str(place / "cache"),
            "TERM": "xterm",
            "COLUMNS": "100",
        },
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with suppress(OSError):  # the other side was closed
        while chunk := os.read(screen, 4096):
            shown += chunk
    os.close(screen)
    assert running.communicate()[0]
    assert running.returncode == 0
    fetched, ran = shown.rindex(b"gtsam"), shown.index(b"s simulated")
    assert fetched < ran
    # One display at a time: the cursor is hidden and shown again twice, and comes back before the run.
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 2
    assert fetched < shown.index(b"\x1b[?25h") < ran
    assert b"3.0/3.0 s simulated" in shown

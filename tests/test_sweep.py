"""Sweeps: no point is lost or doubled, results are the same however they came, test data stay unseen."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from distributed import LocalCluster

from eventnet.cli import main
from eventnet.data import euroc
from eventnet.errors import ConfigError, RunFolderError
from eventnet.scenario import load, names
from eventnet.sweep import cluster
from eventnet.sweep.axes import axis
from eventnet.sweep.folder import TIMES, SweepFolder, describe, read
from eventnet.sweep.plan import Plan
from eventnet.sweep.point import Job, Point, Unrecorded, figures

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = '''
"""A sine is followed; the reference engine needs no compiled code."""
import time
from dataclasses import dataclass
from typing import Literal
import numpy as np
import eventnet as en
from eventnet.scenario import Outcome, Session

@dataclass(frozen=True)
class Parameters:
    tau: float = 0.1
    step: float = 0.1
    layers: tuple[int, ...] = (2,)
    pause: float = 0.0  # s
    score: Literal["test", "validation"] = "test"

def run(p: Parameters, session: Session) -> Outcome:
    if p.tau > 0.9:
        raise ZeroDivisionError(f"tau={p.tau}")
    assert p.score == "validation"
    net = en.Network(tau=p.tau)
    net.sensor("angle", 1, step=p.step)
    net.output("torque", 1, error_step=0.05)
    net.connect("angle", "torque")
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.5), engine="actors", seed=session.seed)
    signal = np.sin(np.arange(60) / 10)
    sim.feed("angle", en.Periodic(signal, rate=100))
    sim.teach("torque", en.Periodic(-signal[::5], rate=20))
    sim.probe("torque", rate=20)
    done = session.run(sim, 0.55)
    time.sleep(p.pause)
    read = done.output("torque").values[:, 0]
    error = float(np.abs(read + signal[::5][: len(read)]).mean())
    return Outcome(done, metrics={"mean |error|": error, "wall clock": time.time()}, error=error)
'''


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "sine.py").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def scheduler() -> Iterator[str]:
    """The address of a cluster of one worker in this process: what --scheduler takes."""
    with LocalCluster(
        processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as local:
        yield local.scheduler_address


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["sweep", *arguments])


def answer(*arguments: str) -> dict[str, Any]:
    done = sweep(*arguments, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until(true: Callable[[], Any]) -> Any:
    end = time.monotonic() + 120
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def test_a_killed_worker_and_a_killed_client_lose_and_double_no_point(
    place: Path, scheduler: str
) -> None:
    grid = ("sine.py", "--grid", "tau=log:0.05:0.5:12", "--seeds", "2", "--set", "pause=0.1")
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    client = subprocess.Popen(
        [sys.executable, "-m", "eventnet", "sweep", *grid, "--workers", "2", "--quiet"],
        env={**os.environ, "PYTHONPATH": path},
    )

    def times() -> list[dict[str, Any]]:
        assert client.poll() is None, "the sweep ended before it could be killed"
        return read(place / "runs/sine-sweep", TIMES)

    def workers() -> set[int]:
        return {row["process"] for row in times()}

    try:
        first = until(workers)
        os.kill(min(first), signal.SIGKILL)
        # Results are written after their times, so a kill may come between the two.
        until(lambda: workers() - first and len(read(place / "runs/sine-sweep")) > 8)
    finally:
        client.kill()
        client.wait()
    kept = {row["point"]: row for row in read(place / "runs/sine-sweep")}
    assert 8 < len(kept) < 24
    found = answer(*grid, "--scheduler", scheduler)
    assert (found["points"], found["new"], found["failed"]) == (24, 24 - len(kept), 0)
    rows = read(place / "runs/sine-sweep")
    assert len({(row["tau"], row["seed"]) for row in rows}) == len(rows) == 24
    assert all(kept.get(row["point"], row) == row for row in rows)
    # In one process or in several, in one sitting or in two, in this order or in that: equal bytes.
    answer(*grid, "--scheduler", scheduler, "--out", "again")
    same = [Path(f, "results.parquet").read_bytes() for f in ("runs/sine-sweep", "again")]
    assert same[0] == same[1]
    assert all(row["wall clock"] > 0 for row in read(Path("again"), TIMES))


def test_a_point_that_fails_is_recorded_and_stops_nothing(place: Path, scheduler: str) -> None:
    grid = ("sine.py", "--grid", "tau=0.1,1,0.2", "--scheduler", scheduler)
    found = answer(*grid)
    assert (found["points"], found["failed"]) == (3, 1)
    failed = [row for row in read(Path(found["folder"])) if row["failure"]]
    assert [(row["tau"], row["failure"]) for row in failed] == [(1.0, "ZeroDivisionError: tau=1.0")]
    assert failed[0]["error"] is None
    assert answer(*grid)["new"] == 0
    before = read(Path(found["folder"]))
    assert answer(*grid, "--retry")["failed"] == 1
    assert read(Path(found["folder"])) == before
    shown = sweep("show", found["folder"])
    assert "1 failed: ZeroDivisionError: tau=1.0" in shown.output
    assert "3 points; on the front 1, numbered" in shown.output
    assert Path(found["folder"], "front.png").stat().st_size > 10_000


def test_a_search_of_many_parameters_is_shown_in_80_columns(tmp_path: Path) -> None:
    folder = ROOT / "docs" / "results" / "frontier" / "video"
    done = sweep("show", str(folder), "-o", str(tmp_path / "front.png"))
    lines, where = done.output.splitlines()[:-2], done.output.splitlines()[-2:]
    assert [line.split()[0] for line in where] == ["results", "picture"]  # whole, however long
    assert max(map(len, lines)) <= 80
    assert len(lines) < 25
    names, figures = zip(*(line.split(maxsplit=1) for line in lines[1:15]), strict=True)
    assert set(names) > {"hidden_error_step", "slowness", "error", "additions"}
    assert {len(row.split()) for row in figures} == {len(lines[0].split())} == {6}
    assert "372 failed, such as: Diverged" in done.output
    told = json.loads(sweep("show", str(folder), "-o", str(tmp_path / "f.png"), "--json").stdout)
    assert [row["number"] for row in told["front"]] == list(range(1, 12))


def test_spikes_are_kept_by_a_point_only_where_its_scenario_asks(
    place: Path, scheduler: str
) -> None:
    counts = SCENARIO.replace("float(np.abs", "len(done.raster) + 0 * float(np.abs")
    keeps = counts.replace("seed=session.seed", "seed=session.seed, raster=True")
    for name, text in (("counts", counts), ("keeps", keeps)):
        (place / f"{name}.py").write_text(text)
        sweep(
            f"{name}.py", "--grid", "step=0.1", "--out", name, "--scheduler", scheduler, "--quiet"
        )
    (row,) = read(place / "keeps")
    assert row["error"] == pytest.approx(row["events"] * row["readings"])
    assert row["error"] > 20
    (row,) = read(place / "counts")
    assert "make the Simulation with raster=True" in row["failure"]


def test_a_search_goes_on_from_the_results_alone(place: Path, scheduler: str) -> None:
    space = ("--grid", "tau=log:0.05:0.5", "--grid", "layers=[2],[2,2]", "--seeds", "2")
    search = ("sine.py", *space, "--scheduler", scheduler, "--search")
    assert answer(*search, "3")["new"] == 6
    found = answer(*search, "5")
    assert (found["new"], found["points"]) == (4, 10)
    assert answer(*search, "5")["new"] == 0
    rows = read(Path(found["folder"]))
    assert all(0.05 <= row["tau"] <= 0.5 and row["layers"] in ("[2]", "[2, 2]") for row in rows)
    errors = {(row["error"], row["additions"]) for row in found["front"]}
    means = [
        np.mean([[r["error"], r["additions"]] for r in rows if r["tau"] == tau], axis=0)
        for tau in {row["tau"] for row in rows}
    ]
    for error, cost in means:  # what is not on the front is beaten by what is
        assert any(e <= error and c <= cost for e, c in errors)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--grid", "tua=1,2"], "did you mean 'tau'"),
        (["--grid", "tau=a,b"], "tau=a: must be of type float"),
        (["--grid", "tau=log:0:1:3"], "must be log:LOW:HIGH:N with 0 < LOW < HIGH"),
        (["--grid", "tau=log:1:2"], "has no number of values"),
        (["--grid", "tau=1,1"], "there twice"),
        (["--grid", "tau"], "give NAME=a,b,c"),
        (["--grid", "score=test,validation"], "settings are chosen on validation data"),
        (["--set", "score=test"], "settings are chosen on validation data"),
        (["--search", "3"], "says what is searched"),
        (["--scheduler", "tcp://127.0.0.1:1"], "no scheduler answers there"),
    ],
)
def test_bad_usage_is_one_message(
    place: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.setattr(cluster, "ANSWER_S", 0.2)
    done = sweep("sine.py", *arguments)
    assert done.exit_code in (1, 2)
    assert message in done.output
    assert "Traceback" not in done.output
    assert not list(place.glob("runs/*/results.parquet"))


def test_a_folder_takes_one_writer_and_one_state_of_a_scenario(place: Path) -> None:
    job = Job.of(load("sine.py"), "sine.py")
    with (
        SweepFolder(place / "s", job, ""),
        pytest.raises(RunFolderError, match="another process is writing"),
    ):
        SweepFolder(place / "s", job, "")
    (place / "sine.py").write_text(SCENARIO + "\n")
    with pytest.raises(ConfigError, match="has changed since this sweep began"):
        SweepFolder(place / "s", Job.of(load("sine.py"), "sine.py"), "")
    (place / "other").mkdir()
    (place / "other" / "file").write_text("")
    with pytest.raises(RunFolderError, match="no sweep's"):
        SweepFolder(place / "other", job, "")


def test_a_folder_tells_all_commands_that_it_had(place: Path) -> None:
    job = Job.of(load("sine.py"), "sine.py")
    for command in ("first", "second", "first"):
        with SweepFolder(place / "s", job, command):
            pass
    assert describe(place / "s").commands == ["first", "second"]


@pytest.mark.parametrize(
    ("said", "message"),
    [("[]", "it: Input should be an object"), ('{"scenario": 3}', "scenario: "), ("{", "it: ")],
)
def test_a_folder_that_says_odd_things_of_itself_is_refused(
    place: Path, said: str, message: str
) -> None:
    (place / "s").mkdir()
    (place / "s" / "sweep.json").write_text(said)
    for command in (["show", "s"], ["sine.py", "--grid", "step=0.1", "--out", "s"]):
        done = sweep(*command)
        assert done.exit_code == 1
        assert f"sweep.json: cannot be read ({message}" in done.output


def test_rows_are_in_one_order_however_they_come(place: Path) -> None:
    job = Job.of(load("sine.py"), "sine.py")
    points = [Point((), {"tau": tau}, seed) for tau in (2.0, 10.0, None) for seed in (0, 1)]
    written = []
    for name, order in (("a", points), ("b", points[::-1])):
        with SweepFolder(place / name, job, "") as folder:
            for point in order:
                tau = point.values["tau"]
                result = {"failure": "no"} if tau is None else {"error": tau, f"at {tau}": 1.0}
                folder.add(point, result, {})
        written.append((place / name / "results.parquet").read_bytes())
    assert written[0] == written[1]
    rows = read(place / "a")
    assert [row["tau"] for row in rows] == [2.0, 2.0, 10.0, 10.0, None, None]


@pytest.mark.parametrize("name", names())
def test_every_scenario_says_what_its_validation_split_is(name: str) -> None:
    scenario = load(name)
    assert Plan(scenario, [], [], [0]).grid()[0].values["score"] == "validation"
    assert scenario.defaults()["score"] == "test"


def test_a_scenario_without_a_validation_split_is_refused(place: Path) -> None:
    (place / "sine.py").write_text(
        SCENARIO.replace('    score: Literal["test', '    part: Literal["test')
    )
    done = sweep("sine.py", "--grid", "tau=0.1,0.2")
    assert done.exit_code == 2
    assert "does not say what its validation split is" in done.output


def test_the_drones_validation_does_not_see_the_test_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = load("drone")
    point = Plan(scenario, ["passes=1", "hidden=5"], [], [0]).grid()[0]
    flight = euroc.load(scenario.function.__globals__["fetch"]("euroc-v1-01"))
    end = int(0.7 * len(flight.flow))
    imu = flight.imu.copy()
    imu[flight.imu_t > flight.frame_t[end]] = 1e3
    spoiled = flight._replace(
        flow=np.where(np.arange(len(flight.flow))[:, None] < end, flight.flow, 1e3), imu=imu
    )
    found = []
    for given in (flight, spoiled):
        monkeypatch.setattr(euroc, "load", lambda folder, given=given: given)
        session = Unrecorded(0, "compiled", None, tmp_path / "run")
        found.append(figures(scenario.function(scenario.configure(point.settings), session))[0])
    assert found[0] == found[1]
    assert found[0]["error"] < 1


@pytest.mark.parametrize(
    ("name", "settings"),
    [("drone", ["passes=1", "hidden=5"]), ("video", ["passes=1", "hidden=5,5"])],
)
def test_a_point_makes_no_baselines_and_has_the_same_figures(
    name: str, settings: list[str], tmp_path: Path
) -> None:
    scenario = load(name)
    asked, alone = (
        scenario.function(
            scenario.configure(scenario.validated(settings)),
            Unrecorded(0, "compiled", None, tmp_path / "run", compares=compares),
        )
        for compares in (True, False)
    )
    assert asked.baselines
    assert asked.dense
    assert not alone.baselines
    assert not alone.dense
    assert figures(asked) == figures(alone)


FILE = """
tau = 0.1
validation = [2.0, 3.0]
scores.turn = {}
[sensors.angle]
file = "log.csv"
time = "t"
columns = ["angle"]
step = 0.1
[outputs.turn]
error_step = 0.1
teacher = { file = "log.csv", time = "t", columns = ["turn"] }
[[connections]]
source = "angle"
target = "turn"
[learning]
lr = 5.0
phases = [{ until = 2.5 }]
"""


def test_a_files_validation_does_not_see_what_comes_after_it(tmp_path: Path) -> None:
    t = np.arange(0, 4, 0.02)
    (tmp_path / "file.toml").write_text(FILE)
    found = []
    for later in (0.0, 9.0):
        angle = np.where(t > 3, later, np.sin(3 * t))
        rows = np.stack([t, angle, -angle], axis=1)
        np.savetxt(tmp_path / "log.csv", rows, delimiter=",", header="t,angle,turn", comments="")
        scenario = load(str(tmp_path / "file.toml"))
        session = Unrecorded(0, "actors", None, tmp_path / "run")
        point = Plan(scenario, [], ["sensors.angle.step=0.1,0.2"], [0]).grid()[1]
        assert point.values["sensors.angle.step"] == 0.2
        found.append(figures(scenario.function(scenario.configure(point.settings), session))[0])
    assert found[0] == found[1]
    assert 0 < found[0]["error"] < 1
    (tmp_path / "file.toml").write_text(FILE.replace("validation", "# validation"))
    scenario = load(str(tmp_path / "file.toml"))
    with pytest.raises(
        ConfigError, match=r'validation: missing: score = "validation" scores a window'
    ):
        scenario.function(scenario.configure(scenario.validated([])), session)


def test_whole_parameters_take_whole_values() -> None:
    assert axis("hidden=lin:1:2:5", 3).values == ("1", "2")
    assert axis("tau=lin:1:2:3", 0.5).values == ("1.0", "1.5", "2.0")

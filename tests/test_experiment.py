"""Scenario files: what they say is what the Python API says, and every mistake is one clear message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

import eventnet as en
from eventnet.cli import main
from eventnet.errors import EventNetError
from eventnet.experiment import Connection, Experiment, Layer, Output, Sensor, Teacher, build, load
from eventnet.experiment.file import checked, schema
from eventnet.experiment.signals import hear

Floats = NDArray[np.float64]

RECORDED = {
    "camera": (7, ["du", "dv"]),
    "gyro": (250, ["wx", "wy", "wz"]),
    "wheels": (100, ["l", "r"]),
    "motion": (20, ["vx", "vy"]),
}
"""Rates in Hz, and columns, of the files in `place`."""
END = 6.0  # s


def eventnet(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with recordings whose stamps are in microseconds."""
    for name, (us, values) in recorded(END).items():
        written(tmp_path / "log" / f"{name}.csv", "us", us.tolist(), values)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recorded(end: float) -> dict[str, tuple[NDArray[np.int64], Floats]]:
    """Irregularly sampled sums of sines for so many s, by sensor: stamps in us, values."""
    rng = np.random.default_rng(5)
    found = {}
    for name, (rate, columns) in RECORDED.items():
        us = np.unique(rng.integers(0, int(end * 1e6), int(rate * end)))
        us[0] = 0
        t, phase = us[:, None] / 1e6, np.arange(len(columns))
        noise = 0.05 * rng.normal(size=(len(us), len(phase)))
        found[name] = us, 3 + 2 * np.sin((2 + phase) * t + phase) + noise
    return found


def written(path: Path, time: str, stamps: list[Any], values: Floats) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = [[time, *RECORDED[path.stem][1]]]
    rows += [[t, *v] for t, v in zip(stamps, values.tolist(), strict=True)]
    path.write_text("\n".join(",".join(map(str, row)) for row in rows))


def edited(starter: str) -> str:
    """The starting file with other paths and columns, and nothing else."""
    for name, (_, columns) in RECORDED.items():
        starter = starter.replace(f'"{name}.csv"', f'"log/{name}.csv"')
        old = {"camera": ["u", "v"], "gyro": ["x", "y", "z"], "wheels": ["left", "right"]}
        before, after = json.dumps(old.get(name, columns)), json.dumps(columns)
        starter = starter.replace(f"columns = {before}", f"columns = {after}")
    return starter.replace('time = "t"', 'time = "stamp"')


def by_hand(tables: dict[str, tuple[Floats, Floats]]) -> en.Run:
    """What the starting file says of times in s and values, written with the Python API."""

    def recording(name: str) -> en.Recording:
        t, values = tables[name]
        window = values[t <= 20.0]
        return en.Recording(t, (values - window.mean(0)) / window.std(0))

    net = en.Network(tau=0.1)
    net.sensor("camera", 2, step=0.25)
    net.sensor("gyro", 3, step=0.2)
    net.sensor("wheels", 2, step=0.2)
    net.layer("hidden", 60, step=0.1, error_step=0.1)
    net.output("motion", 2, error_step=0.2)
    for source in ("camera", "gyro", "wheels"):
        net.connect(source, "hidden")
    net.connect("hidden", "motion")
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.05), seed=3)
    for name in ("camera", "gyro", "wheels"):
        sim.feed(name, recording(name))
    sim.teach("motion", recording("motion"))
    sim.switch_learning(False, at=20.0)
    return sim.run(until=max(t[-1] for t, _ in tables.values()))


def test_a_starting_file_with_other_paths_and_columns_is_the_python_api_spike_for_spike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    end = 22.0  # the file learns for 20 s
    tables = {name: (us / 1e6, values) for name, (us, values) in recorded(end).items()}
    for name, (t, values) in tables.items():
        written(tmp_path / "log" / f"{name}.csv", "stamp", t.tolist(), values)
    assert eventnet("new", "my").exit_code == 0
    (tmp_path / "my.toml").write_text(edited((tmp_path / "my.toml").read_text()))
    done = eventnet("run", "my.toml", "--seed", "3", "--out", "run", "--json")
    assert done.exit_code == 0, done.output
    ran, expected = en.Raster.open(tmp_path / "run"), by_hand(tables).raster
    assert len(ran) > 10_000
    for population in ("camera", "gyro", "wheels", "hidden", "hidden.error", "motion.error"):
        mine, theirs = (r.select(population).arrays() for r in (ran, expected))
        assert len(theirs.time) > 100
        for field in ("time", "neuron", "count"):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))

    summary = json.loads(done.stdout)
    assert len(summary["metrics"]["r2"]) == 2
    assert len(summary["baselines"]["least squares, all sensors"]["r2"]) == 2
    for name, (rate, _) in RECORDED.items():
        books = summary["arrivals"][name]
        assert books["given"] == books["delivered"] + books["pending"] > 0.9 * rate * end
    probe = np.loadtxt(tmp_path / "run" / "probes" / "motion.csv", delimiter=",", skiprows=1)
    assert probe[:, 0].tolist() == (np.arange(len(probe)) / 50).tolist()
    # In the unit of the teacher, whose values lie around 3: nothing is heard yet at time 0.
    np.testing.assert_allclose(probe[0, 1:], 3, atol=0.5)


def test_what_toml_says_python_says_through_the_same_classes(place: Path) -> None:
    (place / "my.toml").write_text(
        """
        tau = 0.1
        [sensors.gyro]
        file = "log/gyro.csv"
        time = "us"
        unit = "us"
        columns = ["wx"]
        scale = 0.5
        step = 0.1
        hold = 0.02
        latency = 0.01
        dropout = 0.3
        [outputs.motion]
        error_step = 0.1
        teacher = {file = "log/motion.csv", time = "us", unit = "us", columns = ["vx"], hold = 0.1}
        [[connections]]
        source = "gyro"
        target = "motion"
        bounds = [-1.0, 1.0]
        """
    )
    said = Experiment(
        tau=0.1,
        sensors={
            "gyro": Sensor(
                file="log/gyro.csv",
                time="us",
                unit="us",
                columns=["wx"],
                scale=0.5,
                step=0.1,
                hold=0.02,
                latency=0.01,
                dropout=0.3,
            )
        },
        outputs={
            "motion": Output(
                error_step=0.1,
                teacher=Teacher(
                    file="log/motion.csv", time="us", unit="us", columns=["vx"], hold=0.1
                ),
            )
        },
        connections=[Connection(source="gyro", target="motion", bounds=[-1.0, 1.0])],
    )
    assert load("my.toml") == said
    built = build(said, engine="actors", seed=4)
    heard, table = built.heard["gyro"], np.loadtxt("log/gyro.csv", delimiter=",", skiprows=1)
    books = heard.books(END + 1)
    assert books.balanced
    assert books.dropped["dropout"] == len(table) - books.delivered
    # Three deviations of the share that a coin of probability .3 drops of 1,500.
    assert abs(books.dropped["dropout"] / len(table) - 0.3) < 3 * np.sqrt(0.21 / len(table))
    times, values = heard.fed.block(0, len(heard.fed))
    arrived = np.isin(times, table[:, 0] / 1e6 + 0.01)
    assert arrived.sum() == books.delivered
    # Whatever is held for longer than hold gives way to 0.
    rests = values[~arrived]
    assert len(rests) > 10
    assert not rests.any()
    np.testing.assert_allclose(times[~arrived], times[np.flatnonzero(~arrived) - 1] + 0.02)


@pytest.mark.parametrize("seed", range(20))
def test_the_books_of_a_recording_balance_at_every_moment_and_any_link(
    tmp_path: Path, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    # Out of order, twice and three times over.
    stamps = np.sort(rng.integers(0, 150, 200)) + rng.integers(-8, 8, 200)
    np.savez(tmp_path / "log.npz", t=stamps - stamps.min(), x=np.arange(200.0))
    signal = Sensor(
        file="log.npz",
        time="t",
        unit="ms",
        step=0.1,
        lateness=float(rng.choice([0.0, 0.004, 1.0])),
        late="drop",
        latency=float(rng.choice([0.0, 0.02])),
        jitter=float(rng.choice([0.0, 0.01])),
        dropout=float(rng.choice([0.0, 0.3])),
        hold=rng.choice([None, 0.005]),
    )
    heard = hear({"sensors.x": signal}, base=tmp_path, origin="first", seed=seed)["sensors.x"]
    at_start = heard.books(-1.0)
    assert (at_start.delivered, at_start.pending) == (0, len(heard.arrived))
    for until in rng.uniform(-0.01, 0.3, 20):
        books = heard.books(until)
        assert books.balanced
        assert books.given + books.duplicated == 200
        assert books.delivered == (heard.arrived <= until).sum()
    assert books.duplicated > 10


def test_the_schema_knows_every_key_and_says_what_it_is() -> None:
    found = schema()
    assert json.loads(eventnet("schema").stdout) == found
    tables = [found, *found["$defs"].values()]
    assert sum(len(table["properties"]) for table in tables) > 80
    for table in tables:
        assert table["additionalProperties"] is False
        for key, value in table["properties"].items():
            assert value["description"], key


def test_set_changes_any_key_of_a_file(place: Path) -> None:
    eventnet("new", "my")
    changed = load("my.toml", ["layers.hidden.size=7", "connections.1.delay=0.5", "origin=2.5"])
    assert (changed.layers["hidden"].size, changed.connections[1].delay) == (7, 0.5)
    assert changed.origin == 2.5
    for setting, message in (
        (
            "sensors.gyro.colums=1",
            "my.toml: sensors.gyro.colums: unknown key 'colums'; did you mean",
        ),
        ("tau", "--set tau: must be key=value"),
        ("connections.9.delay=1", "there is no table '9' in 'connections.9.delay'"),
        ("connections.delay=1", "connections is a list: name an entry, from 0"),
    ):
        done = eventnet("run", "my.toml", "--set", setting)
        assert done.exit_code == 2
        assert message in done.stderr


GYRO = {"file": "log/gyro.csv", "time": "us", "unit": "us", "step": 0.1}


def minimal(**gyro: Any) -> dict[str, Any]:
    """An experiment with one sensor, as plain data; ``None`` takes a key away."""
    sensor = {k: v for k, v in (GYRO | gyro).items() if v is not None}
    return {
        "tau": 0.1,
        "sensors": {"gyro": sensor},
        "outputs": {"turn": {"size": 1}},
        "connections": [{"source": "gyro", "target": "turn"}],
    }


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"colums": ["wx"]}, "sensors.gyro.colums: unknown key 'colums'; did you mean 'columns'?"),
    ({"unit": "sec"}, "sensors.gyro.unit: unknown value 'sec'"),
    ({"unit": "msec"}, "did you mean 'ms'? (there are: ms, ns, s, us)"),
    ({"step": None}, "sensors.gyro.step: is missing: Signal that one spike stands for"),
    ({"step": -1.0}, "sensors.gyro.step: -1.0: should be greater than 0"),
    ({"step": "small"}, 'sensors.gyro.step: "small": should be a valid number'),
    ({"step": float("nan")}, "sensors.gyro.step: NaN: should be"),
    ({"columns": [0.5]}, "sensors.gyro.columns.0: 0.5: should be a valid string or should be a"),
    ({"standardize": [1.0]}, "sensors.gyro.standardize: [1.0]: List should have at least 2 items"),
    ({"columns": ["wx", "wyy"]}, "sensors.gyro.columns: unknown column of gyro.csv 'wyy'; did"),
    ({"columns": [7]}, "sensors.gyro.columns: column 7 of gyro.csv: it has 4, counted from 0"),
    ({"columns": []}, "sensors.gyro.columns: none of gyro.csv: name one at least"),
    ({"time": "t"}, "sensors.gyro.time: unknown column of gyro.csv 't'"),
    ({"time": None}, "sensors.gyro.time: give either the column of time stamps of gyro.csv or"),
    ({"rate": 5.0}, "sensors.gyro.time: give either"),
    ({"file": "log/gyros.csv"}, "sensors.gyro.file: log/gyros.csv: no such file"),
    ({"file": "log/gyro.xls"}, "sensors.gyro.file: unknown kind of file of gyro.xls '.xls'"),
    ({"file": "empty.csv"}, "sensors.gyro.file: empty.csv is empty"),
    ({"file": "header.csv"}, "sensors.gyro.file: header.csv has no rows"),
    (
        {"file": "text.csv"},
        "sensors.gyro.columns: 'wx' of text.csv holds 'off' in row 2: no number",
    ),
    (
        {"file": "ragged.csv"},
        "sensors.gyro.file: ragged.csv cannot be read as .csv: CSV parse error",
    ),
    ({"file": "back.csv"}, "sensors.gyro.time: gyro: the reading of 1e-06 s comes 1e-06 s"),
    (
        {"file": "unstamped.csv"},
        "sensors.gyro.time: row 2 of unstamped.csv has no finite time stamp",
    ),
    (
        {"file": "hole.csv"},
        "sensors.gyro: reading nan in sample 1, column 1, of gyro: must be finite",
    ),
    ({"file": None}, "sensors.gyro: file is missing: name the recording, or run it with --live"),
    ({"size": 2}, "sensors.gyro: size=2: its columns give 3"),
    ({"standardize": [50.0, 60.0]}, "sensors.gyro.standardize: no reading between 50 and 60 s"),
    ({"file": "still.csv", "standardize": [0.0, 1.0]}, "standardize: component 0 does not move"),
    ({"standardize": [0.0, 1.0], "scale": 2.0}, "sensors.gyro.standardize: beside scale or offset"),
    ({"scale": 0.0}, "sensors.gyro.scale: 0: "),
    ({"clock_offset": -1.0}, "sensors.gyro: source of gyro begins at -1 s"),
    ({"threshold": 2.0}, "sensors.gyro.threshold: 2.0: should be less than or equal to 1"),
]
FILES = {
    "empty.csv": "",
    "header.csv": "us,wx,wy\n",
    "text.csv": "us,wx,wy\n1,2,3\n2,off,3\n",
    "ragged.csv": "us,wx,wy\n1,2,3\n2,3\n",
    "back.csv": "us,wx,wy\n0,1,1\n2,1,1\n1,2,3\n",
    "unstamped.csv": "us,wx,wy\n1,2,3\n,2,3\n",
    "hole.csv": "us,wx,wy\n1,2,3\n2,3,\n",
    "still.csv": "us,wx,wy\n1,2,3\n2,2,4\n",
}


@pytest.mark.parametrize(("change", "message"), MISTAKES, ids=[m for _, m in MISTAKES])
def test_a_mistake_about_a_sensor_names_its_key(
    place: Path, change: dict[str, Any], message: str
) -> None:
    for name, text in FILES.items():
        (place / name).write_text(text)
    with pytest.raises(EventNetError) as caught:
        build(checked(minimal(**change)), engine="actors")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"learnin": {"lr": 1.0}}, "learnin: unknown key 'learnin'; did you mean 'learning'?"),
        (
            {"learning": {"lr": 1.0, "phases": [{"end": 3.0, "until": 1.0}]}},
            "learning.phases.0.end:",
        ),
        ({"learning": {"lr": 1.0, "rule": "stpd"}}, "learning.rule: unknown value 'stpd'; did you"),
        ({"learning": {"lr": 1.0, "rule": "past", "cap": 1.0}}, "learning.cap: cap=1.0: only stdp"),
        ({"learning": {"lr": 1.0}}, "error_step"),
        ({"layers": {"h": {"size": 0, "step": 0.1}}}, "layers.h.size: 0: should be greater than"),
        ({"layers": {"gyro": {"size": 1, "step": 0.1}}}, "layers.gyro: population name 'gyro'"),
        (
            {"connections": [{"source": "gyr", "target": "turn"}]},
            "connections.0: unknown population",
        ),
        (
            {"probes": {"trun": {"rate": 1.0}}},
            "probes.trun: unknown population 'trun'; did you mean",
        ),
        ({"scores": {"turn": {}}}, "scores.turn: unknown output with a teacher 'turn'"),
        ({"outputs": {"turn": {}}}, "outputs.turn: size is missing: no file says"),
        ({"tau": 0}, "tau: 0: should be greater than 0"),
        ({"origin": "last"}, "origin: unknown value 'last'"),
        ({"sensors": {}}, "until: missing: no file says when the experiment ends"),
    ],
)
def test_a_mistake_elsewhere_names_its_key(
    place: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(EventNetError) as caught:
        build(checked(minimal() | change), engine="actors")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("tau = ", 2, "scenario file my.toml: is no TOML: Invalid value (at end of document)"),
        ("tau = 1\ntau = 2", 2, "my.toml: is no TOML: Cannot overwrite a value"),
        ("", 2, "scenario file my.toml: is empty; `eventnet new NAME` writes one"),
        ("# nothing", 2, "scenario file my.toml: is empty"),
        ("\xff\xfe", 2, "scenario file my.toml: is no TOML"),
        (None, 2, "scenario file my.toml: does not exist"),
        (
            "tau = 0.1\nuntill = 3.0",
            2,
            "my.toml: untill: unknown key 'untill'; did you mean 'until'?",
        ),
        ("tau = 0.1\n[sensors.a]\nstep=1\nfile='a.csv'\nrate=1", 1, "my.toml: sensors.a.file: "),
    ],
)
def test_a_file_that_cannot_be_run_ends_in_one_message(
    place: Path, text: str | None, code: int, message: str
) -> None:
    if text is not None:
        (place / "my.toml").write_text(text, encoding="latin-1")
    done = eventnet("run", "my.toml")
    assert done.exit_code == code
    assert message in done.stderr
    assert "Traceback" not in done.output
    assert done.stdout == ""
    assert not (place / "runs").exists()


def test_a_starting_file_is_not_written_over(place: Path) -> None:
    assert eventnet("new", "my").stdout == "my.toml\n"
    (place / "my.toml").write_text("precious")
    done = eventnet("new", "my.toml")
    assert (done.exit_code, done.stderr) == (
        1,
        "Error: my.toml: exists already; choose another name\n",
    )
    assert (place / "my.toml").read_text() == "precious"


def test_a_layer_takes_every_key(place: Path) -> None:
    layer = Layer(size=3, step=0.1, activation="leaky", leak=0.3, bias=0.5, tau=0.2, error_tau=0.3)
    experiment = checked(minimal() | {"layers": {"h": layer}})
    made = build(experiment, engine="actors").sim.network.population("h")
    assert (made.size, made.leak, made.tau, made.error_tau) == (3, 0.3, 0.2, 0.3)
    assert made.bias.tolist() == [0.5] * 3

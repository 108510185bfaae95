"""Files for the Rerun viewer, read with Rerun's own reader and checked by its own program."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
import rerun_cli
from rerun.chunk import RrdReader

import eventnet as en
from eventnet.cli import main
from eventnet.export.rerun import IMAGES, rerun_file
from eventnet.scenario import Session

UNTIL = 2.0


class Cart:
    """A plant with a sensor of its own, at 200 Hz."""

    feeds = ("place",)

    def advance(self, time: float, until: float, command: np.ndarray) -> Iterable[Any]:
        return [("place", k / 200, [np.sin(k)]) for k in range(401) if time < k / 200 <= until]

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, saved: dict[str, Any]) -> None:
        pass


def simulation() -> tuple[en.Simulation, dict[str, np.ndarray]]:
    """Sensors of four kinds and rates, and the times of the readings of each until `UNTIL`."""
    rng = np.random.default_rng(0)
    irregular = np.sort(rng.random(300)) * 3
    net = en.Network(tau=0.1)
    for name, size in (("gyro", 3), ("camera", 2), ("computed", 1), ("place", 1)):
        net.sensor(name, size, step=0.1)
    net.layer("hidden", 5, step=0.1, error_step=0.05)
    net.output("turn", 1, error_step=0.05)
    for name in ("gyro", "camera", "computed", "place"):
        net.connect(name, "hidden", fan_in=1 if name == "gyro" else None)
    net.connect("hidden", "turn")
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.1), engine="actors", seed=0)
    sim.feed("gyro", en.Recording(irregular, np.sin(irregular[:, None] + np.arange(3))))
    sim.feed("camera", en.Periodic(np.ones((90, 2)), rate=30))
    sim.feed("computed", en.Sampled(lambda t: [np.cos(t)], rate=50))
    sim.teach("turn", en.Periodic(np.sin(np.arange(60) / 20), rate=20))
    sim.probe("turn", rate=40)
    sim.close_loop("turn", Cart(), rate=10)
    return sim, {
        "gyro": irregular[irregular <= UNTIL],
        "camera": np.arange(61) / 30,
        "computed": np.arange(101) / 50,
        "place": np.arange(1, 401) / 200,
    }


class Read:
    """What is in the file, by entity, the rows of all chunks together."""

    def __init__(self, path: Path) -> None:
        self.rows: dict[str, dict[str, Any]] = {}
        self.static: set[str] = set()
        chunks: dict[str, list[pa.Table]] = {}
        for chunk in RrdReader(path).stream():
            if chunk.is_static:
                self.static.add(chunk.entity_path)
            else:
                assert chunk.timeline_names == ["time"]
                table = pa.Table.from_batches([chunk.to_record_batch()])
                chunks.setdefault(chunk.entity_path, []).append(table)
        self.chunks = {entity: len(tables) for entity, tables in chunks.items()}
        self.tables = {
            entity: pa.concat_tables([t.replace_schema_metadata() for t in tables])
            for entity, tables in chunks.items()
        }

    def times(self, entity: str) -> list[int]:
        return self.tables[entity]["time"].cast(pa.int64()).to_pylist()

    def column(self, entity: str, name: str) -> np.ndarray:
        return np.array(self.tables[entity][name].to_pylist())


class Recorded(NamedTuple):
    path: Path
    sim: en.Simulation
    runs: list[en.Run]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A run in two parts, in one file."""
    folder = tmp_path_factory.mktemp("rerun")
    sim, _ = simulation()
    with rerun_file(folder / "run.rrd", "run") as file:
        session = Session(0, "actors", None, folder / "run", rerun=file)
        runs = [session.run(sim, until, end=UNTIL) for until in (0.5, UNTIL)]
    return Recorded(folder / "run.rrd", sim, runs)


@pytest.fixture(scope="module")
def read(recorded: Recorded) -> Read:
    return Read(recorded.path)


def nanoseconds(times: Any) -> list[int]:
    return np.rint(np.asarray(times) * 1e9).astype(np.int64).tolist()


def test_every_sensor_is_there_with_its_own_count_times_and_values(read: Read) -> None:
    _, times = simulation()
    entities = {f"/sensors/{name}": t for name, t in times.items()}
    assert {e for e in read.tables if e.startswith("/sensors/")} == set(entities)
    for entity, t in entities.items():
        assert read.times(entity) == nanoseconds(t)
    gyro = read.column("/sensors/gyro", "Scalars:scalars")
    np.testing.assert_array_equal(gyro, np.sin(times["gyro"][:, None] + np.arange(3)))
    place = read.column("/sensors/place", "Scalars:scalars")
    np.testing.assert_array_equal(place[:, 0], np.sin(np.arange(1, 401)))
    assert read.times("/targets/turn") == nanoseconds(np.arange(41) / 20)


def test_every_spike_is_there_with_its_neuron_count_and_colour(
    read: Read, recorded: Recorded
) -> None:
    for name in ("gyro", "hidden", "hidden.error"):
        parts = [run.raster.select(name).arrays() for run in recorded.runs]
        time, neuron, count = (np.concatenate([p[k] for p in parts]) for k in (0, 2, 3))
        entity = f"/spikes/{name}"
        assert time.size > 10
        assert read.times(entity) == nanoseconds(time)
        neurons = read.column(entity, "Scalars:scalars")[:, 0]
        np.testing.assert_array_equal(neurons, neuron)
        np.testing.assert_array_equal(read.column(entity, "eventnet:count")[:, 0], count)
        colours = read.column(entity, "SeriesPoints:colors")[:, 0]
        assert set(zip(colours, np.sign(count), strict=True)) <= {
            (0x0072B2FF, 1),
            (0xD55E00FF, -1),
        }


def test_outputs_and_weights_are_there(read: Read, recorded: Recorded) -> None:
    traces = [run.output("turn") for run in recorded.runs]
    times = np.concatenate([trace.times for trace in traces])
    assert read.times("/outputs/turn") == nanoseconds(times)  # the loop's are among them
    values = read.column("/outputs/turn", "Scalars:scalars")
    np.testing.assert_array_equal(values, np.concatenate([trace.values for trace in traces]))
    for name, shape in (("hidden -> turn", (5, 1)), ("gyro -> hidden", (3, 5))):
        entity = f"/weights/{name}".replace(" ", r"\ ").replace(">", r"\>")
        times = read.times(entity)
        assert times[0] == 0
        assert times[-1] == UNTIL * 1e9
        assert 4 <= len(times) <= IMAGES + 4  # at both ends of both parts, and between
        buffers = read.tables[entity]["Image:buffer"].to_pylist()
        assert len({bytes(b) for (b,) in buffers}) > 2  # it learns
        last = np.frombuffer(bytes(buffers[-1][0]), np.float32).reshape(shape)
        weights = recorded.sim.weights(name)
        if weights.ndim == 1:
            last = last[recorded.sim.edges(name)]
        np.testing.assert_array_equal(last, weights.astype(np.float32))


def test_rerun_itself_verifies_the_file_and_counts_its_rows(
    read: Read, recorded: Recorded, tmp_path: Path
) -> None:
    config = tmp_path / "rerun" / "analytics.json"
    config.parent.mkdir()
    config.write_text(json.dumps({"analytics_enabled": False, "analytics_id": "", "metadata": {}}))
    program = Path(rerun_cli.__file__).parent / "rerun"
    said = {}
    for command in ("verify", "stats"):
        done = subprocess.run(
            [program, "rrd", command, recorded.path],
            env={"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stderr
        said[command] = done.stdout + done.stderr
    assert "1 file verified without error" in said["verify"]
    for entity, chunks in read.chunks.items():
        assert chunks <= 4 + IMAGES
        assert f"{entity}: " in said["stats"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("taken.rrd", "exists"),
        ("run.mp4", "ends in .rrd"),
        ("nowhere/run.rrd", "cannot be written"),
    ],
)
def test_a_file_that_cannot_be_written_is_said_before_the_run(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "taken.rrd").touch()
    out = tmp_path / "out"
    with pytest.raises(Exception, match=message):
        main(
            ["run", "digits", "--rerun", str(tmp_path / name), "--out", str(out)],
            standalone_mode=False,
        )
    assert not out.exists()


def test_silent_and_huge_populations_and_coincident_spikes_are_shown(tmp_path: Path) -> None:
    net = en.Network(tau=0.1)
    net.source("cortex", 1_000_000, step=1.0)
    net.sensor("silent", 1, step=1.0)
    net.output("out", 5)
    net.connect("cortex", "out", edges=[[999_999, 0]], weights=[1.0])
    sim = en.Simulation(net)
    sim.feed("cortex", en.SpikeTrain([0.5, 0.5], [0, 999_999], [1, -3]))
    with rerun_file(tmp_path / "odd.rrd", "odd") as file:
        Session(0, "compiled", None, tmp_path / "run", rerun=file).run(sim, 1.0)
    found = Read(tmp_path / "odd.rrd")
    assert found.times("/spikes/cortex") == [500_000_000] * 2
    assert found.column("/spikes/cortex", "Scalars:scalars")[:, 0].tolist() == [0, 999_999]
    assert found.column("/spikes/cortex", "eventnet:count")[:, 0].tolist() == [1, -3]
    assert set(found.tables) == {"/spikes/cortex"}
    assert {"/spikes/silent", r"/weights/cortex\ -\>\ out"} <= found.static  # too large: it says so


def test_a_run_that_fails_leaves_no_file(tmp_path: Path) -> None:
    sim, _ = simulation()

    def stopped(t: float, end: float, spikes: int, error: float | None) -> None:
        raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        rerun_file(tmp_path / "run.rrd", "run") as file,
    ):
        Session(0, "actors", None, tmp_path / "run", stopped, rerun=file).run(sim, UNTIL)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]

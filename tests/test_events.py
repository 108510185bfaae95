"""Event cameras: the addresses and microseconds of real recordings, as spikes of a source."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tonic
from click.testing import CliRunner

import eventnet as en
from eventnet.cli import main
from eventnet.data import fetch
from eventnet.errors import EventNetError
from eventnet.events import Events, Polarity, Recorded, read, read_aedat4
from eventnet.experiment import Source, build, load


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch("dvs-people")


@pytest.fixture(scope="module")
def recorded(folder: Path) -> Recorded:
    return read_aedat4(folder / "class1.aedat4")


def as_tonic(events: Events) -> Any:
    return tonic.io.make_structured_array(
        events.x, events.y, events.t, events.on, dtype=tonic.io.events_struct
    )


def test_a_recording_has_its_events_and_its_imu_at_its_own_rate(
    recorded: Recorded, folder: Path
) -> None:
    events, imu = recorded
    assert len(events) == 111_954
    assert len(read_aedat4(folder / "class2.aedat4").events) == 323_963
    assert (events.width, events.height) == (320, 240)
    assert (events.t[-1] - events.t[0]) / 1e6 == pytest.approx(0.59, abs=0.001)
    assert (np.diff(events.t) >= 0).all()
    rate = (len(imu) - 1) / (int(imu["t"][-1] - imu["t"][0]) / 1e6)
    assert rate == pytest.approx(805, abs=1)
    axes = [imu[f"accelerometer_{axis}"].mean() for axis in "xyz"]
    assert np.linalg.norm(axes) == pytest.approx(1, abs=0.1)  # g: the camera rests


def test_what_tonic_holds_is_what_the_file_holds(recorded: Recorded, tmp_path: Path) -> None:
    np.save(tmp_path / "events.npy", as_tonic(recorded.events))
    found = read(tmp_path / "events.npy", (320, 240))
    for field in ("t", "x", "y", "on"):
        np.testing.assert_array_equal(getattr(found, field), getattr(recorded.events, field))
    assert found.neurons(16) == recorded.events.neurons(16) == 2 * 20 * 15
    # Without a size: up to the largest address.
    assert read(tmp_path / "events.npy").width == recorded.events.x.max() + 1


def test_addresses_are_down_sampled_as_by_tonic(recorded: Recorded) -> None:
    smaller = tonic.transforms.Downsample(spatial_factor=1 / 32)(as_tonic(recorded.events))
    neurons, counts = recorded.events.addresses(32, "merged")
    np.testing.assert_array_equal(neurons, smaller["y"] * 10 + smaller["x"])
    assert (counts == 1).all()


@pytest.mark.parametrize("block", [1, 32, 50])
@pytest.mark.parametrize("polarity", ["split", "signed", "merged"])
def test_spikes_keep_every_event_at_its_microsecond(
    recorded: Recorded, block: int, polarity: Polarity
) -> None:
    events = recorded.events
    train = events.spikes(block, polarity, t0=int(events.t[0]))
    assert train.size <= events.neurons(block, polarity)
    if polarity == "split":
        on = train.neurons % 2 == 1
        assert train.counts[on].sum() == events.on.sum()
        assert train.counts[~on].sum() == (~events.on).sum()
    else:
        wanted = np.where(events.on, 1, -1).sum() if polarity == "signed" else len(events)
        assert train.counts.sum() == wanted
    assert set(np.rint(train.times * 1e6).astype(int)) <= set(events.t - events.t[0])


def test_a_scenario_on_a_camera_and_its_imu_is_the_python_api(
    folder: Path, recorded: Recorded
) -> None:
    table = """
        tau = 0.05
        until = 0.1
        [sources.camera]
        file = "class1.aedat4"
        block = 32
        step = 0.01
        [sensors.imu]
        file = "class1.aedat4"
        time = "t"
        unit = "us"
        columns = ["gyroscope_x", "gyroscope_y"]
        step = 0.02
        [layers.hidden]
        size = 5
        step = 0.1
        [[connections]]
        source = "camera"
        target = "hidden"
        [[connections]]
        source = "imu"
        target = "hidden"
        """
    path = folder / "camera.toml"
    try:
        path.write_text(table)
        said = load(path)
    finally:
        path.unlink()
    assert said.sources == {"camera": Source(file="class1.aedat4", block=32, step=0.01)}
    built = build(said, base=folder, seed=1)
    ran = built.sim.run(built.until).raster

    events, imu = recorded
    t0 = min(int(events.t[0]), int(imu["t"][0]))
    net = en.Network(tau=0.05)
    net.source("camera", 160, step=0.01)
    net.sensor("imu", 2, step=0.02)
    net.layer("hidden", 5, step=0.1)
    net.connect("camera", "hidden")
    net.connect("imu", "hidden")
    sim = en.Simulation(net, seed=1)
    sim.feed("camera", events.spikes(32, t0=t0))
    gyroscope = np.stack([imu["gyroscope_x"], imu["gyroscope_y"]], axis=1).astype(float)
    sim.feed("imu", en.Recording((imu["t"].astype(np.int64) - t0) / 1e6, gyroscope))
    expected = sim.run(0.1).raster
    for population in ("camera", "imu", "hidden"):
        mine, theirs = (r.select(population).arrays() for r in (ran, expected))
        assert len(theirs.time) > 100
        for field in ("time", "neuron", "count"):
            np.testing.assert_array_equal(getattr(mine, field), getattr(theirs, field))


def test_two_scenes_are_told_apart_by_events_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = ["--set", "imu=none", "--set", "pieces=20"]
    done = CliRunner().invoke(main, ["run", "dvs", "--json", *settings])
    assert done.exit_code == 0, done.output
    summary = json.loads(done.stdout.splitlines()[-1])
    assert min(summary["metrics"]["right %"]) > 90
    assert min(summary["baselines"]["nearest mean, events of 50 ms"]["right %"]) > 75


FIELDS = [("x", "i2"), ("y", "i2"), ("t", "i8"), ("p", "?")]


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("no.aedat4", (None, None), "no.aedat4: no such file"),
        ("torn.aedat4", (None, None), "torn.aedat4 cannot be read as .aedat4: "),
        ("class1.aedat4", (640, None), "640 pixels: class1.aedat4 has 320; leave it out"),
        ("events.csv", (None, None), "events.csv: must be .aedat4, or .npy with the fields"),
        ("none.npy", (None, None), "no event: must be one at least"),
        ("plain.npy", (None, None), "events have no x, y, t, p: must have the fields"),
        ("half.npy", (None, None), "events have no p: must have the fields x, y, t and p"),
        ("text.npy", (None, None), "text.npy cannot be read as .npy"),
        ("wide.npy", (10, 10), "event 1 is at x=10: must be within 0 and 9"),
    ],
)
def test_what_cannot_be_read_is_said(
    folder: Path, tmp_path: Path, name: str, size: tuple[int | None, int | None], message: str
) -> None:
    whole = (folder / "class1.aedat4").read_bytes()
    (tmp_path / "class1.aedat4").write_bytes(whole)
    (tmp_path / "torn.aedat4").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npy").write_text("1,2,3,4")
    np.save(tmp_path / "none.npy", np.zeros(0, FIELDS))
    np.save(tmp_path / "plain.npy", np.zeros((5, 4)))
    np.save(tmp_path / "half.npy", np.zeros(3, FIELDS[:3]))
    np.save(tmp_path / "wide.npy", np.array([(9, 9, 0, 1), (10, 0, 1, 1)], FIELDS))
    with pytest.raises(EventNetError) as caught:
        read(tmp_path / name, size)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_addresses_are_checked(recorded: Recorded) -> None:
    with pytest.raises(en.ConfigError, match="block=0 pixels: must be at least 1"):
        recorded.events.addresses(0)
    with pytest.raises(en.ConfigError, match="polarity='both': must be split, signed, merged"):
        recorded.events.addresses(1, "both")  # type: ignore[arg-type]

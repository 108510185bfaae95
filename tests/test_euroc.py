"""The drone flight: what is read, that damage is named, and what plain regression makes of it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from eventnet.data import euroc, fetch
from eventnet.errors import DataError

Floats = NDArray[np.float64]

FIT = 0.7  # the first part of the flight, in frames; the rest is scored


@pytest.fixture(scope="module")
def folder() -> Path:
    return fetch("euroc-v1-01")


@pytest.fixture(scope="module")
def flight(folder: Path) -> euroc.Flight:
    return euroc.load(folder)


def test_the_recording_is_read(flight: euroc.Flight) -> None:
    assert flight.imu_t.shape == (6001,)
    assert flight.imu.shape == (6001, len(euroc.IMU_COLUMNS))
    assert flight.frame_t.shape == (600,)
    assert flight.flow.shape == (600, len(euroc.FLOW_COLUMNS))
    assert flight.imu_t[0] == 0
    assert flight.imu_t[-1] == flight.frame_t[-1] == 30
    # Stamps are differences of float64 near 1.4e9 s, whose spacing is 2.4e-7 s.
    assert np.abs(flight.imu_t - np.arange(6001) / 200).max() < 5e-7
    assert np.abs(flight.frame_t - np.arange(1, 601) / 20).max() < 5e-7
    assert np.isin(flight.frame_t, flight.imu_t).all()
    assert flight.flow.std(axis=0) == pytest.approx([0.296, 0.143], abs=5e-4)


def test_the_accelerometer_feels_gravity(flight: euroc.Flight) -> None:
    # On the mean a flight that stays in one room accelerates by nothing but -g.
    assert np.linalg.norm(flight.imu[:, 3:], axis=1).mean() == pytest.approx(9.81, abs=0.1)
    assert np.abs(flight.imu[:, :3]).max() < 2 * np.pi


def test_flow_is_the_median_shift_of_the_shared_landmarks(
    folder: Path, flight: euroc.Flight
) -> None:
    sightings: dict[str, dict[str, tuple[float, float]]] = {"299": {}, "300": {}}
    for line in (folder / euroc.FILE).read_text().splitlines():
        cells = line.split(",")
        if cells[0] == "vision_feature" and cells[4] in sightings:
            sightings[cells[4]][cells[5]] = (float(cells[18]), float(cells[19]))
    before, now = sightings["299"], sightings["300"]
    shared = sorted(before.keys() & now.keys())
    assert len(shared) > 5
    shift = np.array([now[i] for i in shared]) - np.array([before[i] for i in shared])
    # Frame 0 has no flow, so frame 300 stands in row 299.
    interval = flight.frame_t[299] - flight.frame_t[298]
    assert flight.flow[299] == pytest.approx(np.median(shift, axis=0) / interval, rel=1e-12)


def r2(predicted: Floats, target: Floats) -> Floats:
    """Coefficient of determination of each component about the mean of the scored targets."""
    residual = ((target - predicted) ** 2).sum(axis=0)
    return 1 - residual / ((target - target.mean(axis=0)) ** 2).sum(axis=0)


def least_squares(inputs: Floats, target: Floats) -> Floats:
    """R2 on the last 30 % of an affine fit on the first 70 %."""
    split = round(FIT * len(target))
    affine = np.column_stack([inputs, np.ones(len(inputs))])
    weights = np.linalg.lstsq(affine[:split], target[:split], rcond=None)[0]
    return r2(affine[split:] @ weights, target[split:])


def persistence(held: Floats, target: Floats) -> Floats:
    split = round(FIT * len(target))
    return r2(held[split:], target[split:])


def held_flow(flow: Floats, every: int) -> Floats:
    """The newest flow known strictly before each frame, when rows 0, every, 2*every, ... are."""
    row = np.arange(len(flow))
    known = (row - 1) // every * every
    return np.where(row[:, None] == 0, 0.0, flow[np.maximum(known, 0)])


def imu_at_frame(flight: euroc.Flight) -> Floats:
    return flight.imu[np.searchsorted(flight.imu_t, flight.frame_t)]


def imu_over_interval(flight: euroc.Flight) -> Floats:
    """Mean over the samples after the frame before, up to and with the one at this frame."""
    last = np.searchsorted(flight.imu_t, flight.frame_t, side="right")
    first = np.concatenate([[1], last[:-1]])
    return np.array([flight.imu[a:b].mean(axis=0) for a, b in zip(first, last, strict=True)])


# The figures are given to two digits and were read to +-.005; .001 more for the solver.
NEAR = 0.006


def test_at_4_hz_neither_sensor_does_it_alone(flight: euroc.Flight) -> None:
    camera = held_flow(flight.flow, every=5)
    both = np.column_stack([camera, imu_at_frame(flight)])
    assert persistence(camera, flight.flow) == pytest.approx([0.69, 0.26], abs=NEAR)
    assert least_squares(both, flight.flow) == pytest.approx([0.84, 0.68], abs=NEAR)
    assert least_squares(camera, flight.flow) == pytest.approx([0.71, 0.35], abs=NEAR)


def test_the_imu_alone(flight: euroc.Flight) -> None:
    at_frame, averaged = imu_at_frame(flight), imu_over_interval(flight)
    assert least_squares(at_frame, flight.flow) == pytest.approx([0.80, 0.52], abs=NEAR)
    assert least_squares(averaged, flight.flow) == pytest.approx([0.80, 0.60], abs=NEAR)


@pytest.mark.parametrize(
    ("every", "held", "fused"),
    [
        (1, (0.95, 0.85), (0.95, 0.89)),
        (2, (0.90, 0.71), (0.92, 0.83)),
        (4, (0.76, 0.42), (0.87, 0.74)),
        (10, (0.17, -0.43), (0.78, 0.61)),
    ],
)
def test_the_other_camera_rates(
    flight: euroc.Flight,
    every: int,
    held: tuple[float, float],
    fused: tuple[float, float],
) -> None:
    camera = held_flow(flight.flow, every)
    both = np.column_stack([camera, imu_at_frame(flight)])
    assert persistence(camera, flight.flow) == pytest.approx(held, abs=NEAR)
    assert least_squares(both, flight.flow) == pytest.approx(fused, abs=NEAR)


def lines_of(folder: Path) -> list[str]:
    return (folder / euroc.FILE).read_text().splitlines(keepends=True)


def changed(line: str, column: int, value: str) -> str:
    cells = line.split(",")
    cells[column] = value
    return ",".join(cells)


# Line 66 is the first IMU row and line 67 the second; 54 and 55 are sightings of frame 0.
@pytest.mark.parametrize(
    ("line", "column", "value", "message"),
    [
        (1, 6, "rate", "line 1: lacks the columns gx"),
        (67, 6, "nan", "line 67: gx='nan': must be a finite number"),
        (67, 9, "", "line 67: ax='': must be a finite number"),
        (67, 2, "-0.005", r"line 67: IMU time -0\.005 s after 0\.0 s: must rise"),
        (67, 2, "0", r"line 67: IMU time 0\.0 s after 0\.0 s: must rise"),
        (67, 0, "gps", "line 67: row_type='gps'"),
        (67, 6, "1,2", "line 67: 23 fields: must be 22"),
        (55, 18, "inf", "line 55: u_norm='inf'"),
        (55, 5, "1", "line 55: landmark 1 twice in frame 0"),
        (55, 5, "-4", "line 55: landmark_id='-4': must be a whole number"),
        (55, 2, "0.01", r"line 55: frame 0 at 0\.01 s and at 0\.0 s"),
        (76, 2, "-1", r"line 76: frame 1 at -1\.0 s after frame 0 at 0\.0 s: must rise"),
    ],
)
def test_a_malformed_row_is_named(
    folder: Path, tmp_path: Path, line: int, column: int, value: str, message: str
) -> None:
    lines = lines_of(folder)
    lines[line - 1] = changed(lines[line - 1], column, value)
    path = tmp_path / euroc.FILE
    path.write_text("".join(lines))
    with pytest.raises(DataError, match=rf"{euroc.FILE} {message}"):
        euroc.load(tmp_path)


@pytest.mark.parametrize(
    ("kind", "message"), [("imu", "no imu row"), ("vision_feature", "there is no flow")]
)
def test_a_file_without_a_sensor_is_refused(
    folder: Path, tmp_path: Path, kind: str, message: str
) -> None:
    path = tmp_path / euroc.FILE
    path.write_text("".join(line for line in lines_of(folder) if not line.startswith(kind)))
    with pytest.raises(DataError, match=message):
        euroc.load(tmp_path)


def test_a_frame_without_shared_landmarks_is_left_out(
    folder: Path, flight: euroc.Flight, tmp_path: Path
) -> None:
    # All landmarks of frame 1 get new names: neither it nor frame 2 shares one with its neighbour.
    lines = [
        changed(line, 5, str(10**6 + n)) if line.split(",")[4] == "1" else line
        for n, line in enumerate(lines_of(folder))
    ]
    (tmp_path / euroc.FILE).write_text("".join(lines))
    assert np.array_equal(euroc.load(tmp_path).flow, flight.flow[2:])


def test_a_file_cut_in_a_row_or_that_is_no_text_is_refused(folder: Path, tmp_path: Path) -> None:
    raw = (folder / euroc.FILE).read_bytes()
    path = tmp_path / euroc.FILE
    path.write_bytes(raw[:100_000].rsplit(b",", 4)[0])
    with pytest.raises(DataError, match=r"line \d+: \d+ fields: must be 22"):
        euroc.load(tmp_path)
    path.write_bytes(raw[:5000] + b"\xff" + raw[5000:])
    with pytest.raises(DataError, match=euroc.FILE):
        euroc.load(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="lacks the columns"):
        euroc.load(tmp_path)


def test_a_gzipped_file_is_read_alike(folder: Path, flight: euroc.Flight, tmp_path: Path) -> None:
    packed = gzip.compress((folder / euroc.FILE).read_bytes(), 1)
    (tmp_path / f"{euroc.FILE}.gz").write_bytes(packed)
    for plain, read in zip(flight, euroc.load(tmp_path), strict=True):
        assert np.array_equal(plain, read)

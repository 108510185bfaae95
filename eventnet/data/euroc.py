"""A drone flight of the EuRoC datasets: its IMU, and the image flow that its camera saw.

The file is GTSAM's replay format: one CSV whose rows are settings (``meta``), IMU samples (``imu``)
and sightings of tracked landmarks (``vision_feature``), in the order of time.
"""

from __future__ import annotations

import csv
import gzip
import math
import zlib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TextIO

import numpy as np
from numpy.typing import NDArray

from eventnet.data.recipes import locate
from eventnet.errors import DataError

Floats = NDArray[np.float64]

FILE = "eqvio_processed_30s.csv"
IMU_COLUMNS = ("gyro_x", "gyro_y", "gyro_z", "accel_x", "accel_y", "accel_z")
FLOW_COLUMNS = ("flow_u", "flow_v")

_IMU_FIELDS = ("gx", "gy", "gz", "ax", "ay", "az")
_POINT_FIELDS = ("u_norm", "v_norm")
_NEEDED = {"row_type", "t_rel", "frame_idx", "landmark_id", *_IMU_FIELDS, *_POINT_FIELDS}


class Flight(NamedTuple):
    """What was measured in flight. Times are in s since the first sample of the recording.

    Attributes
    ----------
    imu_t : ndarray, shape (n,)
        Rising; 200 Hz, as recorded.
    imu : ndarray, shape (n, 6)
        `IMU_COLUMNS`: angular rate in rad/s, then specific force in m/s^2, in the IMU's axes.
    frame_t : ndarray, shape (m,)
        Rising; 20 Hz. Frames whose flow is known, so not the first one.
    flow : ndarray, shape (m, 2)
        `FLOW_COLUMNS`: for each frame the median, over the landmarks seen in it and in the frame
        before, of their shift divided by the interval; normalized image coordinates (tangents of
        the viewing angle, u to the right and v down) per second.
    """

    imu_t: Floats
    imu: Floats
    frame_t: Floats
    flow: Floats


class _Frame(NamedTuple):
    number: int
    t: float
    points: dict[int, tuple[float, ...]]


def load(folder: Path) -> Flight:
    """Return the flight in the file of `folder`, as ``fetch("euroc-v1-01")`` gives it.

    Raises
    ------
    DataError
        See `read`.
    """
    return read(locate(Path(folder), FILE))


def read(path: Path) -> Flight:
    """Return the flight in a replay file, gzipped if its name ends in .gz.

    A frame that shares no landmark with the one before has no flow and is left out, as is the
    first one.

    Raises
    ------
    DataError
        If the file cannot be read, lacks a column, or a row has a field too many or too few, an
        unknown type, a value that is no finite number or a landmark twice in a frame; if time does
        not rise from sample to sample or from frame to frame; if there is no IMU sample or no flow.
        It names the file and the line.
    """
    imu_t: list[float] = []
    imu: list[tuple[float, ...]] = []
    frames: list[_Frame] = []
    for where, row in _rows(path):
        match row["row_type"]:
            case "imu":
                t = _number(where, row, "t_rel")
                if imu_t and t <= imu_t[-1]:
                    raise DataError(f"{where}: IMU time {t} s after {imu_t[-1]} s: must rise")
                imu_t.append(t)
                imu.append(tuple(_number(where, row, field) for field in _IMU_FIELDS))
            case "vision_feature":
                _sight(where, row, frames)
            case "meta":
                pass
            case kind:
                raise DataError(
                    f"{where}: row_type={kind!r}: must be 'imu', 'vision_feature' or 'meta'"
                )
    if not imu:
        raise DataError(f"{path}: no imu row: must have one at least")
    frame_t, flow = _flow(frames)
    if not frame_t:
        raise DataError(f"{path}: no two adjacent frames share a landmark: there is no flow")
    return Flight(np.array(imu_t), np.array(imu), np.array(frame_t), np.array(flow))


def _opened(path: Path) -> TextIO:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", newline="")
    return path.open(encoding="utf-8", newline="")


def _rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield each row with the file and line to name in an error."""
    try:
        with _opened(Path(path)) as text:
            lines = csv.reader(text, strict=True)
            header = next(lines, [])
            if missing := sorted(_NEEDED.difference(header)):
                raise DataError(f"{path} line 1: lacks the columns {', '.join(missing)}")
            for line in lines:
                where = f"{path} line {lines.line_num}"
                if len(line) != len(header):
                    raise DataError(f"{where}: {len(line)} fields: must be {len(header)}")
                yield where, dict(zip(header, line, strict=True))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: {error}") from error


def _number(where: str, row: dict[str, str], field: str) -> float:
    try:
        value = float(row[field])
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {field}={row[field]!r}: must be a finite number")
    return value


def _count(where: str, row: dict[str, str], field: str) -> int:
    if not (row[field].isascii() and row[field].isdigit()):
        raise DataError(f"{where}: {field}={row[field]!r}: must be a whole number >= 0")
    return int(row[field])


def _sight(where: str, row: dict[str, str], frames: list[_Frame]) -> None:
    """Add one sighting to the last of `frames`, or to a new one."""
    t = _number(where, row, "t_rel")
    index = _count(where, row, "frame_idx")
    if not frames or index != frames[-1].number:
        if frames and t <= frames[-1].t:
            raise DataError(
                f"{where}: frame {index} at {t} s after frame {frames[-1].number} at "
                f"{frames[-1].t} s: must rise"
            )
        frames.append(_Frame(index, t, {}))
    frame = frames[-1]
    if t != frame.t:
        raise DataError(f"{where}: frame {index} at {t} s and at {frame.t} s: must have one time")
    landmark = _count(where, row, "landmark_id")
    if landmark in frame.points:
        raise DataError(f"{where}: landmark {landmark} twice in frame {index}: must be once")
    frame.points[landmark] = tuple(_number(where, row, field) for field in _POINT_FIELDS)


def _flow(frames: list[_Frame]) -> tuple[list[float], list[Floats]]:
    times, flow = [], []
    for before, now in pairwise(frames):
        if shared := before.points.keys() & now.points.keys():
            shifts = [np.subtract(now.points[i], before.points[i]) for i in shared]
            times.append(now.t)
            flow.append(np.median(shifts, axis=0) / (now.t - before.t))
    return times, flow

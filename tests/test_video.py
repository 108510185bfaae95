"""Video files: real clips, and clips written by OpenCV, are read right or refused by name."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from eventnet import video
from eventnet.data import fetch
from eventnet.errors import ConfigError, DataError

Bytes = NDArray[np.uint8]


@pytest.fixture(scope="module")
def vtest() -> Path:
    return fetch("vtest") / "vtest.avi"


@pytest.fixture(scope="module")
def first(vtest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recording's first 20 frames, in the encoding in which OpenCV loses nothing."""
    path = tmp_path_factory.mktemp("clip") / "first.avi"
    shown = [picture for (_, picture), _ in zip(video.pictures(vtest), range(20), strict=False)]
    return write(path, shown)


def write(path: Path, shown: list[Bytes], codec: str = "FFV1", rate: float = 10.0) -> Path:
    height, width = shown[0].shape[:2]
    out = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*codec), rate, (width, height), shown[0].ndim == 3
    )
    assert out.isOpened()
    for picture in shown:
        out.write(picture)
    out.release()
    return path


def test_frames_are_grey_means_of_the_recordings_pixels(vtest: Path, first: Path) -> None:
    seen = video.read(first)
    assert seen.times == pytest.approx(np.arange(20) / 10)
    assert (seen.frames.shape, seen.frames.dtype, seen.moving.shape) == (
        (20, 48, 64),
        np.dtype(np.uint8),
        (20, 4),
    )
    # 12 x 12 pixels fall together; Rec. 601 luma, rounded twice.
    _, picture = next(video.pictures(vtest))
    luma = picture @ np.array([0.114, 0.587, 0.299])
    means = luma.reshape(48, 12, 64, 12).mean(axis=(1, 3))
    assert np.abs(seen.frames[0] - means).max() <= 1.0


def test_what_moves_is_found_in_its_quarter(tmp_path: Path) -> None:
    """A square of a ninth of the lower right quarter appears on noise; the rest stands still."""
    rng = np.random.default_rng(0)
    shown = rng.integers(118, 122, (60, 60, 120, 3)).astype(np.uint8)
    shown[50:, 40:50, 70:90] = 250
    moving = video.read(write(tmp_path / "square.avi", list(shown)), 12, 6).moving
    assert (moving[0] == 0).all()
    assert moving[50] == pytest.approx([0, 0, 0, 1 / 9], abs=1e-9)
    assert moving[40] == pytest.approx([0, 0, 0, 0], abs=1e-9)


def test_a_kept_video_is_read_once_and_belongs_to_its_bytes_and_settings(
    first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVENTNET_CACHE", str(tmp_path))
    seen = video.load(first)
    kept = list((tmp_path / "video").iterdir())
    assert len(kept) == 1
    with monkeypatch.context() as none:
        none.setattr(video, "read", None)
        again = video.load(first)
    assert all(np.array_equal(a, b) for a, b in zip(seen, again, strict=True))
    kept[0].write_bytes(kept[0].read_bytes()[:1000])
    assert np.array_equal(video.load(first).moving, seen.moving)
    assert video.load(first, 32, 24).frames.shape == (20, 24, 32)
    assert len(list((tmp_path / "video").iterdir())) == 2


def test_one_frame_and_grey_clips_are_read(tmp_path: Path) -> None:
    grey = np.arange(64 * 48, dtype=np.uint8).reshape(48, 64)
    seen = video.read(write(tmp_path / "one.avi", [grey]), 64, 48)
    assert (seen.times.tolist(), seen.moving.tolist()) == ([0.0], [[0.0] * 4])
    assert np.abs(seen.frames[0].astype(int) - grey).max() <= 1


def test_a_clip_that_is_cut_off_or_no_video_is_refused(first: Path, tmp_path: Path) -> None:
    whole = first.read_bytes()
    cut, text = tmp_path / "cut.avi", tmp_path / "text.avi"
    cut.write_bytes(whole[: len(whole) // 2])
    text.write_text("no video")
    with pytest.raises(DataError, match=r"cut\.avi: \d+ of 20 frames can be decoded"):
        video.read(cut)
    with pytest.raises(DataError, match=r"text\.avi: no video that OpenCV can decode"):
        video.read(text)
    with pytest.raises(DataError, match=r"none\.avi: No such file.*name a video"):
        video.load(tmp_path / "none.avi")
    with pytest.raises(ConfigError, match="width=769, height=48: must be from 1 to the 768x576"):
        video.read(first, 769)

"""Images that drift: where they are at each frame, and how bright."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import shift

from eventnet.data.drift import GOLDEN_ANGLE, Drifting
from eventnet.data.mnist import Mnist
from eventnet.errors import ConfigError, DataError

N = 12


def drifting(images: np.ndarray, ticks: int, **options: float) -> Drifting:
    return Drifting(images, lambda _: np.arange(len(images)), 1, 1.0, ticks, **options)


@pytest.mark.parametrize("ticks", [1, 4, 5])
@pytest.mark.parametrize("distance", [2.0, 3.7])
def test_frames_are_the_image_shifted_within_half_a_grey_level(
    mnist_data: Mnist, ticks: int, distance: float
) -> None:
    images = mnist_data.train_images[:N]
    frames = drifting(images, ticks, distance=distance).frames(0, N * ticks)
    for k in range(N):
        for tick in range(ticks):
            way = distance * ((tick + 0.5) / ticks - 0.5)
            angle = k * GOLDEN_ANGLE
            by = way * math.sin(angle), way * math.cos(angle)
            # Room for what is shifted in: scipy does not interpolate across the border.
            wide = np.pad(images[k].reshape(28, 28).astype(float), 4)
            expected = shift(wide, by, order=1)[4:-4, 4:-4].ravel()
            assert np.abs(frames[k * ticks + tick] - expected).max() < 0.5 + 1e-3


def test_cameras_of_all_rates_see_the_same_movement(mnist_data: Mnist) -> None:
    # The middle of a third is the middle of one of nine parts: odd rates share their frames.
    images = mnist_data.train_images[:N]
    fast = drifting(images, 9).frames(0, 9 * N).reshape(N, 9, -1)
    slow = drifting(images, 3).frames(0, 3 * N).reshape(N, 3, -1)
    assert np.array_equal(fast[:, 1::3], slow)
    assert np.array_equal(slow[:, 1], images), "half-way it is where it belongs"
    assert not np.array_equal(slow[1:, 0], images[1:])


def test_blocks_are_frames_with_their_times_wherever_they_are_cut(mnist_data: Mnist) -> None:
    stream = drifting(mnist_data.train_images[:N], 5, t0=3.0)
    frames = stream.frames(0, len(stream))
    for start, stop in ((0, len(stream)), (3, 17), (17, 17), (58, 99)):
        times, values = stream.block(start, stop)
        assert np.array_equal(values, frames[start:stop] / 255)
        assert np.array_equal(times, 3.0 + np.arange(start, min(stop, len(stream))) / 5)


def test_what_cannot_drift_is_refused() -> None:
    square, oblong = np.zeros((1, 9), np.uint8), np.zeros((1, 8), np.uint8)
    with pytest.raises(DataError, match="images of 8 pixels: must be square"):
        drifting(oblong, 1)
    with pytest.raises(ConfigError, match=r"ticks=0 .*must be >= 1"):
        drifting(square, 0)
    with pytest.raises(ConfigError, match=r"distance=-1.0 .*must be >= 0"):
        drifting(square, 1, distance=-1.0)

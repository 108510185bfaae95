"""Images that drift, seen by a camera: a stream in which one frame is much like the one before.

Each image is shown for a while and moves in a straight line meanwhile, from half the distance before its
place to half the distance behind it. A camera takes `ticks` frames of it, in the middle of equal
intervals; the pixel in between is interpolated bilinearly and, as cameras do, rounded to a byte. So
streams of different rates are samples of one and the same movement.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventnet.data.epochs import Images, OrderOfEpoch
from eventnet.errors import ConfigError, DataError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

GOLDEN_ANGLE = math.pi * (3.0 - math.sqrt(5.0))
"""Image k of a stream moves in the direction of k times this angle: all directions alike, no seed."""


class Drifting(Images):
    """Square images that drift, pass after pass: what a sensor is fed with.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, side*side)
        Read in place. What leaves the square is lost, and zeros come in.
    order_of_epoch, epochs
        As in `Images`.
    rate : float
        Images per second.
    ticks : int
        Frames of each image; frames are taken at ``t0 + k/(rate*ticks)``.
    distance : float
        Pixels that an image moves while it is shown.
    t0 : float
        Time of the first frame, s.

    Raises
    ------
    DataError
        If images are not square, and as `Images`.
    ConfigError
        If ticks < 1 or the distance is negative or not finite, and as `Images`.

    Examples
    --------
    >>> dot = np.zeros((1, 25), np.uint8)
    >>> dot[0, 12] = 200
    >>> stream = Drifting(dot, lambda _: np.arange(1), epochs=1, rate=1.0, ticks=2)
    >>> len(stream), stream.block(1, 2)[0].tolist()
    (2, [0.5])
    >>> stream.frames(0, 2).reshape(2, 5, 5)[:, 2].tolist()  # half a pixel to the left, and right
    [[0, 100, 100, 0, 0], [0, 0, 100, 100, 0]]
    """

    def __init__(
        self,
        images: Bytes,
        order_of_epoch: OrderOfEpoch,
        epochs: int,
        rate: float,
        ticks: int,
        distance: float = 2.0,
        t0: float = 0.0,
    ) -> None:
        super().__init__(images, order_of_epoch, epochs, rate, t0)
        side = math.isqrt(self.width)
        if side * side != self.width:
            raise DataError(f"images of {self.width} pixels: must be square")
        if ticks < 1:
            raise ConfigError(f"ticks={ticks} of a drifting stream: must be >= 1 frame an image")
        if not 0 <= distance < math.inf:
            raise ConfigError(
                f"distance={distance} pixels of a drifting stream: must be >= 0 and finite"
            )
        self.ticks, self.distance = ticks, distance
        margin = math.ceil(distance / 2) + 1
        self._padded = np.zeros((side + 2 * margin, side + 2 * margin), np.float32)

    def __len__(self) -> int:
        """Return the number of frames of all epochs."""
        return super().__len__() * self.ticks

    def frames(self, start: int, stop: int) -> Bytes:
        """Return frames start to stop - 1 as bytes, shape (n, pixels)."""
        start, stop, _ = slice(start, stop).indices(len(self))
        stop = max(start, stop)
        first = start // self.ticks
        places = self._places(first, -(-stop // self.ticks))
        frames = np.empty((stop - start, self.width), np.uint8)
        _drift(self._images, places, first, start, self.ticks, self.distance, self._padded, frames)
        return frames

    def codes(self, start: int, stop: int) -> tuple[Floats, Bytes]:
        """Return the times (n,) in s and the bytes (n, width) of frames start to stop - 1."""
        frames = self.frames(start, stop)
        times = self.t0 + np.arange(start, start + len(frames)) / (self.rate * self.ticks)
        return times, frames

    def block(self, start: int, stop: int) -> tuple[Floats, Floats]:
        """Return the times (n,) in s and the pixels (n, width), 0 to 1, of frames start to stop - 1."""
        times, frames = self.codes(start, stop)
        return times, frames / 255


@njit(cache=True, error_model="numpy")
def _drift(
    images: Bytes,
    places: NDArray[np.int64],
    first: int,
    start: int,
    ticks: int,
    distance: float,
    padded: NDArray[np.float32],
    frames: Bytes,
) -> None:
    """Write `frames`, the first of them frame `start` of the stream, and image `first` at places[0]."""
    side = int(math.sqrt(frames.shape[1]))
    margin = (len(padded) - side) // 2
    shown = -1
    for n in range(len(frames)):
        k, tick = divmod(start + n, ticks)
        if k != shown:
            shown = k
            image = images[places[k - first]]
            for y in range(side):
                for x in range(side):
                    padded[margin + y, margin + x] = image[y * side + x]
        way = distance * ((tick + 0.5) / ticks - 0.5)
        dx, dy = way * math.cos(k * GOLDEN_ANGLE), way * math.sin(k * GOLDEN_ANGLE)
        left, up = math.floor(dx), math.floor(dy)
        _shift(padded, margin - int(left), margin - int(up), dx - left, dy - up, side, frames[n])


@njit(cache=True, error_model="numpy")
def _shift(
    padded: NDArray[np.float32], at_x: int, at_y: int, fx: float, fy: float, side: int, out: Bytes
) -> None:
    """Write `out`: the square of `padded` at (at_x, at_y), moved right and down by fx, fy < 1."""
    a, b = np.float32((1 - fx) * (1 - fy)), np.float32(fx * (1 - fy))
    c, d = np.float32((1 - fx) * fy), np.float32(fx * fy)
    half = np.float32(0.5)
    for y in range(side):
        here = padded[at_y + y, at_x - 1 : at_x + side]
        above = padded[at_y + y - 1, at_x - 1 : at_x + side]
        row = out[y * side : (y + 1) * side]
        for x in range(side):
            row[x] = np.uint8(
                a * here[x + 1] + b * here[x] + (c * above[x + 1] + d * above[x]) + half
            )

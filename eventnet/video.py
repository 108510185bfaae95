"""Video files: small grey frames, and how much moves in each quarter of the picture.

What moves is the foreground of OpenCV's background subtractor MOG2 (Zivkovic 2004,
doi:10.1109/ICPR.2004.1333992) in the picture at its full size: each pixel's colours are a mixture of
Gaussians that is learned on the way, and what no lasting one of them explains is foreground; what is
merely darker is a shadow, and not counted.
"""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.data.recipes import _cache
from eventnet.errors import ConfigError, DataError
from eventnet.extras import needed
from eventnet.raster import written_aside

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]

QUARTERS = ("upper left", "upper right", "lower left", "lower right")

SUBTRACTOR = {"history": 500, "varThreshold": 16.0, "detectShadows": True}
"""The settings of MOG2: OpenCV's own."""

FOREGROUND = 255

SHARE, CHOOSING = 0.7, 0.8
"""Of a video, to learn; of that, to learn while settings are chosen."""

FEWEST = 10  # frames to learn, and to score
UNEVEN = 0.1  # of an interval between frames


class Video(NamedTuple):
    """What a fixed camera saw.

    Attributes
    ----------
    times : ndarray, shape (n,)
        Of the frames, s, as the file tells them; rising.
    frames : ndarray of uint8, shape (n, height, width)
        Grey, the mean of the pixels that fall together.
    moving : ndarray, shape (n, 4)
        The share of the pixels of each of `QUARTERS` that moves, 0 to 1. The first frame has nothing to
        be compared with: 0.
    """

    times: Floats
    frames: Bytes
    moving: Floats


def opencv() -> Any:
    """Import and return OpenCV, on one thread: on a busy machine several wait for each other."""
    cv2 = needed("cv2", "video", "video files")
    cv2.setNumThreads(1)
    return cv2


def pictures(path: Path) -> Iterator[tuple[float, Bytes]]:
    """Yield each frame's time in s and its pixels (height, width, 3), blue, green, red.

    Raises
    ------
    ConfigError
        If OpenCV is not installed.
    DataError
        If the file is not there or cannot be decoded, in whole or in part, frames differ in size, or time
        does not rise.
    """
    cv2 = opencv()
    if not Path(path).is_file():
        raise DataError(f"{path}: no such file; name a video")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    try:
        if not capture.isOpened():
            raise DataError(f"{path}: no video that OpenCV can decode; convert it, to MP4 say")
        yield from _decoded(path, capture, cv2)
    finally:
        capture.release()


def _decoded(path: Path, capture: Any, cv2: Any) -> Iterator[tuple[float, Bytes]]:
    n, last, shape, expected = 0, -1.0, None, int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    while True:
        there, pixels = capture.read()
        if not there:
            break
        time = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if shape not in (None, pixels.shape):
            raise DataError(
                f"{path}: frame {n} is {_size(pixels.shape)} pixels, those before are {_size(shape)}: "
                "all must be alike; split the file"
            )
        if time <= last:
            raise DataError(f"{path}: frame {n} at {time:g} s after {last:g} s: must rise")
        yield time, pixels
        n, last, shape = n + 1, time, pixels.shape
    if n < max(expected, 1):
        raise DataError(f"{path}: {n} of {expected} frames can be decoded; replace the file")


def _size(shape: Any) -> str:
    return f"{shape[1]}x{shape[0]}"


def read(path: Path, width: int = 64, height: int = 48) -> Video:
    """Return a video from its file.

    Parameters
    ----------
    path : Path
    width, height : int
        Of the frames that are returned, pixels; at most the picture's.

    Raises
    ------
    ConfigError
        If OpenCV is not installed, or a size is not from 1 to the picture's.
    DataError
        As `pictures`.
    """
    cv2 = opencv()
    subtractor = cv2.createBackgroundSubtractorMOG2(**SUBTRACTOR)
    times, frames, moving = [], [], []
    for time, picture in pictures(path):
        rows, columns = picture.shape[:2]
        if not (1 <= width <= columns and 1 <= height <= rows):
            raise ConfigError(
                f"width={width}, height={height}: must be from 1 to the {columns}x{rows} of {path}"
            )
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        times.append(time)
        frames.append(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA))
        moving.append(quarters(subtractor.apply(picture) == FOREGROUND))
    moving[0] = np.zeros(len(QUARTERS))
    return Video(np.array(times), np.array(frames), np.array(moving))


def quarters(mask: NDArray[np.bool_]) -> Floats:
    """Return the share of pixels that are set in each of `QUARTERS` of a picture (height, width).

    Examples
    --------
    >>> quarters(np.array([[True, False], [False, True]])).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    halves = np.array_split(mask, 2, axis=0)
    return np.array(
        [q.mean() if q.size else 0.0 for h in halves for q in np.array_split(h, 2, axis=1)]
    )


def load(path: Path, width: int = 64, height: int = 48) -> Video:
    """Return `read` from the cache of data sets, or do it and keep it there.

    Raises
    ------
    ConfigError, DataError
        As `read`.
    RunFolderError
        If the file cannot be written.
    """
    settings = (width, height, opencv().__version__, sorted(SUBTRACTOR.items()))
    made = kept("video", path, settings, lambda: read(path, width, height)._asdict())
    return Video(**made)


class Parts(NamedTuple):
    """Frames before `learned` are learned, from there to `end` they are scored; `rate` a second come."""

    learned: int
    end: int
    rate: float


def parts(path: Path, seen: Video, every: int = 1, *, choosing: bool = False) -> Parts:
    """Return which frames of a video are learned and which are scored.

    Learned is the first 70 %, scored the rest. Where settings are chosen the last fifth of those 70 %
    is scored instead and no later frame is touched.

    Parameters
    ----------
    path : Path
        Of the video, for messages.
    seen : Video
    every : int
        Every so manieth frame is seen.
    choosing : bool
        Whether settings are chosen.

    Raises
    ------
    ConfigError
        If `every` is below 1, or fewer than ten frames are seen to learn or to score.
    DataError
        If frames do not come evenly, or nothing moves.
    """
    n = len(seen.times)
    learned, end = int(SHARE * n), n
    if choosing:
        learned, end = int(CHOOSING * learned), learned
    if every < 1:
        raise ConfigError(f"every={every}: must be >= 1")
    if min(learned, end - learned) // every < FEWEST:
        lower = "" if every == 1 else f", or lower every={every}"
        raise ConfigError(
            f"{path}: {learned // every} frames to learn and {(end - learned) // every} to score: must "
            f"be {FEWEST} of either; name a longer video{lower}"
        )
    intervals = np.diff(seen.times)
    if np.ptp(intervals) > UNEVEN * np.median(intervals):
        raise DataError(
            f"{path}: frames {1e3 * intervals.min():.0f} to {1e3 * intervals.max():.0f} ms apart: must "
            "come evenly; convert it to a constant rate"
        )
    if not seen.moving[:learned].any():
        raise DataError(f"{path}: nothing moves in what is learned; name another video")
    return Parts(learned, end, (n - 1) / float(seen.times[-1] - seen.times[0]) / every)


def kept(
    folder: str, path: Path, settings: tuple[Any, ...], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Return arrays that were made of a video, from the cache of data sets, or make and keep them.

    The kept file's name is the SHA-256 of the video's and of all settings.

    Parameters
    ----------
    folder : str
        Of the cache.
    path : Path
        The video.
    settings : tuple
        All else that the arrays depend on.
    make : callable
        Returns them by name.

    Raises
    ------
    DataError
        If there is no such video.
    RunFolderError
        If the file cannot be written.
    """
    cache = _cache()
    if cache is None:
        return make()
    file = cache / folder / f"{digest(path, settings)}.npz"
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile, zlib.error):
        pass  # not there, or not whole
    made = make()
    file.parent.mkdir(parents=True, exist_ok=True)
    with written_aside(file) as aside, aside.open("wb") as stream:
        np.savez_compressed(stream, **made)
    return made


def digest(path: Path, settings: tuple[Any, ...]) -> str:
    """Return the SHA-256 of a file's bytes and of settings, in hexadecimal.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; name a video") from error
    found.update(repr(settings).encode())
    return found.hexdigest()

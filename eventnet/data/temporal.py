"""Temporal MNIST (O'Connor et al. 2018, section 3.1): images reordered so that like follows like.

The paper says L2 distance; its program uses L1, and so does this. Distances are sums of whole
numbers, hence exact, and ties are settled as the rule says. In float32 rounding settles them: from
the 60,000 images that makes the same order up to the first tie that rounding breaks, at place
52,134, another one from there on, and a mean step of 58.47 instead of 58.45.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventnet.data.recipes import _cache
from eventnet.errors import ConfigError
from eventnet.raster import written_aside

Bytes = NDArray[np.uint8]
Order = NDArray[np.int64]

WINDOW = 1000
_EMPTY = -1


def temporal_order(images: Bytes, window: int = WINDOW) -> Order:
    """Return the greedy order in which each image is followed by the nearest one in a buffer.

    Image 0 comes first; the buffer holds the next `window` images. Then again and again: the image
    of the buffer with the least L1 distance from the last one follows, the first on ties, and the
    next image of the set takes its place in the buffer.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
    window : int
        Images in the buffer.

    Returns
    -------
    ndarray of int64, shape (n,)
        A permutation: ``images[order]`` are the images in temporal order.

    Raises
    ------
    ConfigError
        If `images` has another type or shape, or window < 1.

    Examples
    --------
    >>> temporal_order(np.array([[10], [90], [12], [88], [14]], np.uint8), window=3)
    array([0, 2, 4, 3, 1])
    """
    images = _checked(images)
    if window < 1:
        raise ConfigError(f"window={window} of the temporal order: must be >= 1 image")
    order: Order = _greedy(np.ascontiguousarray(images), window)
    return order


def kept_order(images: Bytes, window: int = WINDOW, *, folder: Path | None = None) -> Order:
    """Return `temporal_order` from disk, or compute it and keep it there.

    The file's name is the SHA-256 of the images and the window, so an order belongs to its images.
    A file that does not hold a permutation of them is made anew.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, pixels)
    window : int
        Images in the buffer.
    folder : Path, optional
        Default: ``temporal`` in the cache of data sets. Without a cache nothing is kept.

    Raises
    ------
    ConfigError
        As `temporal_order`.
    RunFolderError
        If the file cannot be written.
    """
    images = _checked(images)
    if folder is None:
        cache = _cache()
        if cache is None:
            return temporal_order(images, window)
        folder = cache / "temporal"
    digest = hashlib.sha256(f"{images.shape} {window}".encode())
    digest.update(np.ascontiguousarray(images).data)
    path = folder / f"{digest.hexdigest()}.npy"
    if (kept := _read(path, len(images))) is not None:
        return kept
    order = temporal_order(images, window)
    folder.mkdir(parents=True, exist_ok=True)
    with written_aside(path) as aside, aside.open("wb") as file:
        np.save(file, order, allow_pickle=False)
    return order


def mean_step(images: Bytes) -> float:
    """Return the mean L1 distance from one image to the next, with pixels from 0 to 1.

    Examples
    --------
    >>> mean_step(np.array([[0, 0], [255, 0], [255, 51]], np.uint8))
    0.6
    """
    total = sum(
        int(np.abs(np.diff(images[at : at + 1001].astype(np.int16), axis=0)).sum(dtype=np.int64))
        for at in range(0, len(images), 1000)
    )
    return total / 255 / (len(images) - 1)


def _checked(images: Bytes) -> Bytes:
    if images.dtype != np.uint8 or images.ndim != 2 or not images.size:
        raise ConfigError(
            f"images of type {images.dtype} and shape {images.shape}: "
            "must be uint8 of shape (n, pixels), and not empty"
        )
    return images


def _read(path: Path, n: int) -> Order | None:
    try:
        order = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError):
        return None
    whole = order.dtype == np.int64 and np.array_equal(np.sort(order, axis=None), np.arange(n))
    return order if whole and order.shape == (n,) else None


@njit(cache=True)
def _greedy(images: Bytes, window: int) -> Order:
    n, pixels = images.shape
    order = np.empty(n, np.int64)
    slots = min(window, n - 1)
    held = np.arange(1, slots + 1)
    # A copy, since the images themselves lie scattered once the buffer is well mixed.
    buffer = images[1 : slots + 1].copy()
    following = slots + 1
    order[0] = 0
    for place in range(1, n):
        last = order[place - 1]
        nearest, least = -1, np.iinfo(np.int64).max
        for slot in range(slots):
            if held[slot] == _EMPTY:
                continue
            distance = np.int32(0)
            for pixel in range(pixels):
                step = np.int16(buffer[slot, pixel]) - np.int16(images[last, pixel])
                distance += np.int32(abs(step))
            if distance < least:
                nearest, least = slot, int(distance)
        order[place] = held[nearest]
        if following < n:
            held[nearest] = following
            buffer[nearest] = images[following]
            following += 1
        else:
            held[nearest] = _EMPTY
    return order

"""MNIST and other images in idx files: a magic number, the sizes, then the bytes."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.data.recipes import locate
from eventnet.errors import DataError

Bytes = NDArray[np.uint8]

UNSIGNED_BYTE = 0x08  # the idx format's code of the only element type that MNIST uses


class Mnist(NamedTuple):
    """Images (n, 784) with pixels 0 to 255, row by row, and labels (n,) 0 to 9; all uint8."""

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes


def read_idx(path: Path) -> Bytes:
    """Return the array in an idx file of unsigned bytes, gzipped or plain.

    Parameters
    ----------
    path : Path
        The content, not the suffix, tells whether it is gzipped.

    Returns
    -------
    ndarray of uint8
        In the shape that the header tells.

    Raises
    ------
    DataError
        If the file cannot be read, its magic number is another, or it is longer or shorter than
        its header says.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels"
    ...     _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3]) + bytes([7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    try:
        raw = Path(path).read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: {error}") from error
    if len(raw) < 4:
        raise DataError(f"{path}: {len(raw)} bytes: truncated, an idx file starts with 4")
    if raw[:2] != b"\0\0" or raw[2] != UNSIGNED_BYTE or raw[3] == 0:
        raise DataError(
            f"{path}: magic number 0x{raw[:4].hex()}: must be 0x000008NN, "
            "unsigned bytes in NN >= 1 dimensions"
        )
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise DataError(f"{path}: {len(raw)} bytes: truncated, the header alone has {start}")
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4))
    expected = start + math.prod(shape)
    if len(raw) != expected:
        what = "truncated" if len(raw) < expected else "too long"
        raise DataError(f"{path}: {len(raw)} bytes: {what}, shape {shape} needs {expected}")
    # A copy, since an array over bytes could not be written.
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def load(folder: Path) -> Mnist:
    """Return the images and labels in the four files of `folder`, as ``fetch("mnist")`` gives it.

    Raises
    ------
    DataError
        If a file is missing or malformed, images are not 28 x 28, a label exceeds 9, or there are
        more images than labels or the reverse.
    """
    train = _pair(Path(folder), "train")
    test = _pair(Path(folder), "t10k")
    return Mnist(*train, *test)


def _pair(folder: Path, part: str) -> tuple[Bytes, Bytes]:
    image_path = locate(folder, f"{part}-images-idx3-ubyte")
    label_path = locate(folder, f"{part}-labels-idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    if images.shape[1:] != (28, 28):
        raise DataError(f"{image_path}: shape {images.shape}: must be (n, 28, 28)")
    if labels.ndim != 1:
        raise DataError(f"{label_path}: shape {labels.shape}: must be (n,)")
    if len(images) != len(labels):
        raise DataError(
            f"{image_path} has {len(images)} images, {label_path} has {len(labels)} labels: "
            "must be equal; fetch both anew"
        )
    if labels.size and labels.max() > 9:
        raise DataError(f"{label_path}: label {labels.max()}: must be 0 to 9")
    return images.reshape(len(images), -1), labels

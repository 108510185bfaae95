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
from eventnet.files import understood

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
        raise DataError(f"{path}: {error}; get it anew") from error
    if len(raw) < 4:
        raise DataError(
            f"{path}: {len(raw)} bytes: truncated, an idx file starts with 4; get it anew"
        )
    if raw[:2] != b"\0\0" or raw[2] != UNSIGNED_BYTE or raw[3] == 0:
        raise DataError(
            f"{path}: magic number 0x{raw[:4].hex()}: must be 0x000008NN, "
            "unsigned bytes in NN >= 1 dimensions; name an idx file of such"
        )
    start = 4 + 4 * raw[3]
    if len(raw) < start:
        raise DataError(
            f"{path}: {len(raw)} bytes: truncated, the header alone has {start}; get it anew"
        )
    shape = tuple(int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4))
    expected = start + math.prod(shape)
    if len(raw) != expected:
        what = "truncated" if len(raw) < expected else "too long"
        raise DataError(
            f"{path}: {len(raw)} bytes: {what}, shape {shape} needs {expected}; get it anew"
        )
    with understood(path, "an idx file"):  # NumPy has no more than 64 dimensions
        # A copy, since an array over bytes could not be written.
        return np.frombuffer(raw, np.uint8, offset=start).reshape(shape).copy()


def load(folder: Path) -> Mnist:
    """Return the images and labels in the four files of `folder`, as ``fetch("mnist")`` gives it.

    Raises
    ------
    DataError
        If a file is missing, images are not 28 x 28, and as `load_files`.
    """
    folder = Path(folder)
    return load_files(
        train_images=locate(folder, "train-images-idx3-ubyte"),
        train_labels=locate(folder, "train-labels-idx1-ubyte"),
        test_images=locate(folder, "t10k-images-idx3-ubyte"),
        test_labels=locate(folder, "t10k-labels-idx1-ubyte"),
        size=(28, 28),
    )


def load_files(
    *,
    train_images: Path,
    train_labels: Path,
    test_images: Path,
    test_labels: Path,
    size: tuple[int, int] | None = None,
) -> Mnist:
    """Return the images and labels in four idx files, whatever their names, gzipped or plain.

    Parameters
    ----------
    train_images, train_labels, test_images, test_labels : Path
    size : tuple of int, optional
        Rows and columns that images must have; default: any, the same in both sets.

    Raises
    ------
    DataError
        If a file is missing or malformed, holds something else than its argument says, or is empty;
        if images are of another size or of two sizes, a label exceeds 9, or there are more images
        than labels or the reverse. It names the file and the remedy.
    """
    images, labels = _pair("train", Path(train_images), Path(train_labels))
    others, their_labels = _pair("test", Path(test_images), Path(test_labels))
    for path, found in ((train_images, images), (test_images, others)):
        if size is not None and found.shape[1:] != size:
            raise DataError(
                f"{path}: shape {found.shape}: must be (n, {size[0]}, {size[1]}); name another file"
            )
    if images.shape[1:] != others.shape[1:]:
        raise DataError(
            f"{test_images}: shape {others.shape}: images must be of the size of those in "
            f"{train_images}, {images.shape}; name two files that belong together"
        )
    return Mnist(_flat(images), labels, _flat(others), their_labels)


def _flat(images: Bytes) -> Bytes:
    return images.reshape(len(images), -1)


def _pair(part: str, image_path: Path, label_path: Path) -> tuple[Bytes, Bytes]:
    images = _read(image_path, f"{part}_images", 3, "(n, rows, columns)")
    labels = _read(label_path, f"{part}_labels", 1, "(n,)")
    if len(images) != len(labels):
        raise DataError(
            f"{image_path} has {len(images)} images, {label_path} has {len(labels)} labels: "
            f"must be equal; name {part}_images and {part}_labels of one set, or get both anew"
        )
    if labels.max() > 9:
        raise DataError(
            f"{label_path}: label {labels.max()}: must be 0 to 9; name a file of digits or of ten "
            "classes"
        )
    return images, labels


def _read(path: Path, argument: str, dimensions: int, shape: str) -> Bytes:
    if not path.is_file():
        raise DataError(f"{path}: no such file; correct {argument}")
    array = read_idx(path)
    if array.ndim != dimensions:
        likely = {1: " (labels?)", 3: " (images?)"}.get(array.ndim, "")
        raise DataError(
            f"{path}: shape {array.shape}{likely}: must be {shape}; name another file as {argument}"
        )
    if not array.size:
        raise DataError(f"{path}: shape {array.shape}: is empty; name another file as {argument}")
    return array

"""MNIST's idx files: what is read, and that no damage goes unnoticed."""

from __future__ import annotations

import gzip
import math
import re
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventnet.data import mnist
from eventnet.errors import DataError

# Images per digit in the training set, as counted in the published files.
HISTOGRAM = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def idx(shape: tuple[int, ...], body: bytes) -> bytes:
    return bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + body


def test_the_published_files_are_read(mnist_folder: Path) -> None:
    data = mnist.load(mnist_folder)
    assert data.train_images.shape == (60000, 784)
    assert data.test_images.shape == (10000, 784)
    assert all(part.dtype == np.uint8 for part in data)
    assert np.bincount(data.train_labels).tolist() == HISTOGRAM
    assert data.test_labels[:5].tolist() == [7, 2, 1, 0, 4]
    # An image lies row by row: the frame of four pixels that the distribution left empty is empty.
    mean = data.train_images.mean(axis=0).reshape(28, 28)
    assert mean[4:24, 4:24].sum() > 0.95 * mean.sum()
    assert mean[:, 0].max() < 0.1


def test_gzipped_files_are_read_alike(mnist_folder: Path, tmp_path: Path) -> None:
    for path in mnist_folder.glob("*-ubyte"):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    for plain, packed in zip(mnist.load(mnist_folder), mnist.load(tmp_path), strict=True):
        assert np.array_equal(plain, packed)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=4), st.booleans(), st.data())
def test_any_array_is_read_back_and_no_other_length_is(
    sizes: list[int], packed: bool, data: st.DataObject
) -> None:
    shape = tuple(sizes)
    body = data.draw(st.binary(min_size=math.prod(shape), max_size=math.prod(shape)))
    whole = idx(shape, body)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "some-idx"
        path.write_bytes(gzip.compress(whole) if packed else whole)
        found = mnist.read_idx(path)
        assert found.shape == shape
        assert found.tobytes() == body
        path.write_bytes(gzip.compress(whole[:cut]) if packed else whole[:cut])
        with pytest.raises(DataError, match=r"some-idx: .*truncated"):
            mnist.read_idx(path)
        path.write_bytes(whole + b"\0")
        with pytest.raises(DataError, match=r"some-idx: .*too long"):
            mnist.read_idx(path)


def test_a_wrong_magic_number_is_named(mnist_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "t10k-labels-idx1-ubyte"
    raw = bytearray((mnist_folder / path.name).read_bytes())
    raw[2] = 0x0D
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte: magic number 0x00000d01"):
        mnist.read_idx(path)


def test_a_cut_gzip_file_is_named(mnist_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.gz"
    path.write_bytes(gzip.compress((mnist_folder / "t10k-labels-idx1-ubyte").read_bytes())[:-20])
    with pytest.raises(DataError, match=r"labels\.gz: "):
        mnist.read_idx(path)


@pytest.fixture
def altered(mnist_folder: Path, tmp_path: Path) -> Path:
    for path in mnist_folder.glob("*-ubyte"):
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "shape", "fill", "message"),
    [
        ("t10k-labels-idx1-ubyte", (3,), 1, " has 3 labels: must be equal"),
        ("t10k-labels-idx1-ubyte", (10000,), 10, ": label 10: must be 0 to 9"),
        ("train-labels-idx1-ubyte", (60000, 1), 0, r".* must be \(n,\)"),
        ("t10k-images-idx3-ubyte", (10000, 4), 0, r".* must be \(n, rows, columns\)"),
        ("t10k-images-idx3-ubyte", (10000, 2, 2), 0, r".* must be \(n, 28, 28\)"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    altered: Path, name: str, shape: tuple[int, ...], fill: int, message: str
) -> None:
    (altered / name).unlink()
    (altered / name).write_bytes(idx(shape, bytes([fill]) * math.prod(shape)))
    with pytest.raises(DataError, match=name + message):
        mnist.load(altered)


def test_a_missing_file_is_named(altered: Path) -> None:
    (altered / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match="train-labels-idx1-ubyte: no such file"):
        mnist.load(altered)


# Four files by path


class Four(NamedTuple):
    train_images: Path
    train_labels: Path
    test_images: Path
    test_labels: Path


@pytest.fixture
def four(mnist_folder: Path, tmp_path: Path) -> Four:
    """Real digits cut down to 14 x 14, under names of the user's own."""
    data = mnist.load(mnist_folder)
    for name, images, labels in (
        ("learn", data.train_images[:70], data.train_labels[:70]),
        ("check", data.test_images[:50], data.test_labels[:50]),
    ):
        small = images.reshape(-1, 28, 28)[:, ::2, ::2]
        (tmp_path / f"{name}.pictures").write_bytes(idx(small.shape, small.tobytes()))
        (tmp_path / f"{name}.digits").write_bytes(idx(labels.shape, labels.tobytes()))
    return Four(
        *(
            tmp_path / f"{name}.{what}"
            for name in ("learn", "check")
            for what in ("pictures", "digits")
        )
    )


def test_files_of_any_name_and_size_are_read(mnist_folder: Path, four: Four) -> None:
    whole = mnist.load(mnist_folder)
    four.test_images.write_bytes(gzip.compress(four.test_images.read_bytes()))
    data = mnist.load_files(**four._asdict())
    expected = whole.test_images[:50].reshape(-1, 28, 28)[:, ::2, ::2].reshape(50, 196)
    assert np.array_equal(data.test_images, expected)
    assert data.train_images.shape == (70, 196)
    assert np.array_equal(data.train_labels, whole.train_labels[:70])
    assert np.array_equal(data.test_labels, whole.test_labels[:50])


def test_the_folder_and_its_four_files_are_the_same(mnist_folder: Path) -> None:
    by_path = mnist.load_files(
        train_images=mnist_folder / "train-images-idx3-ubyte",
        train_labels=mnist_folder / "train-labels-idx1-ubyte",
        test_images=mnist_folder / "t10k-images-idx3-ubyte",
        test_labels=mnist_folder / "t10k-labels-idx1-ubyte",
    )
    for one, other in zip(mnist.load(mnist_folder), by_path, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("argument", "other", "message"),
    [
        (
            "train_images",
            "train_labels",
            r"learn.digits: .*\(labels\?\): must be \(n, rows.* as train_i",
        ),
        (
            "test_labels",
            "test_images",
            r"check.pictures: .*\(images\?\): must be \(n,\).* as test_l",
        ),
        (
            "test_labels",
            "train_labels",
            r"check.pictures has 50 images, .*learn.digits has 70 labels",
        ),
        (
            "train_images",
            "test_images",
            r"check.pictures has 50 images, .*learn.digits has 70 labels",
        ),
    ],
)
def test_files_in_each_others_place_are_refused(
    four: Four, argument: str, other: str, message: str
) -> None:
    given_files = four._asdict()
    given_files[argument] = given_files[other]
    with pytest.raises(DataError, match=message):
        mnist.load_files(**given_files)


@pytest.mark.parametrize("argument", Four._fields)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("cut", "truncated.*; get it anew"),
        ("empty", "0 bytes: truncated.*; get it anew"),
        ("png", "magic number 0x89504e47.*; name an idx file"),
        ("none", "is empty; name another file"),
        ("missing", "no such file; correct "),
    ],
)
def test_each_damage_to_each_file_is_named_with_its_remedy(
    four: Four, argument: str, damage: str, message: str
) -> None:
    path: Path = getattr(four, argument)
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        nothing = idx((0, 14, 14) if argument.endswith("images") else (0,), b"")
        damaged = {"cut": whole[:-1], "empty": b"", "png": b"\x89PNG\r\n", "none": nothing}
        path.write_bytes(damaged[damage])
    with pytest.raises(DataError, match=f"{re.escape(str(path))}: .*{message}"):
        mnist.load_files(**four._asdict())


def test_two_sizes_of_images_are_refused(four: Four) -> None:
    four.test_images.write_bytes(idx((50, 7, 28), bytes(50 * 196)))
    with pytest.raises(DataError, match=r"check.pictures: shape \(50, 7, 28\): .*learn.pictures"):
        mnist.load_files(**four._asdict())


def test_a_size_that_is_asked_for_is_demanded(four: Four) -> None:
    assert mnist.load_files(**four._asdict(), size=(14, 14)).train_images.shape == (70, 196)
    with pytest.raises(DataError, match=r"learn.pictures: .*must be \(n, 28, 28\); name another"):
        mnist.load_files(**four._asdict(), size=(28, 28))


def test_letters_instead_of_digits_are_refused(four: Four) -> None:
    four.test_labels.write_bytes(idx((50,), bytes([26] * 50)))
    with pytest.raises(DataError, match=r"check.digits: label 26: must be 0 to 9; name"):
        mnist.load_files(**four._asdict())

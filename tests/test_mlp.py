"""The perceptron: its steps are those of an independent NumPy transcription and of finite differences."""

from __future__ import annotations

import pickle
import tracemalloc
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from eventnet.data import mnist
from eventnet.errors import ConfigError
from eventnet.mlp import BACKWARD, FORWARD, UPDATE, Mlp, TrainingDiverged

Arrays = list[NDArray[np.float64]]


def glorot(sizes: Sequence[int], seed: int = 1234) -> Arrays:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(m, n)) * np.sqrt(2 / (m + n)) for m, n in pairwise(sizes)]


def some_biases(sizes: Sequence[int], seed: int = 5) -> Arrays:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=n) / 10 for n in sizes[1:]]


class Transcription:
    """The module's equations, a line each; nothing is skipped, fused or put off.

    An array instead of a label has the targets.
    """

    def __init__(self, weights: Arrays, biases: Arrays | None) -> None:
        self.w = [w.copy() for w in weights]
        self.learns_biases = biases is not None
        self.b = [b.copy() for b in biases] if biases else [np.zeros(w.shape[1]) for w in weights]
        self.skipped = np.zeros((3, len(weights)), int)

    def forward(self, image: NDArray[np.uint8]) -> tuple[Arrays, NDArray[np.float64]]:
        a = [image / 255]
        for w, b in zip(self.w[:-1], self.b[:-1], strict=True):
            a.append(np.maximum(a[-1] @ w + b, 0))
        return a, a[-1] @ self.w[-1] + self.b[-1]

    def step(self, image: NDArray[np.uint8], aim: Any, lr: float) -> float:
        a, z = self.forward(image)
        if np.ndim(aim):
            errors = [z - aim]
            loss = (errors[0] ** 2).sum() / 2
        else:
            p = np.exp(z - z.max())
            p /= p.sum()
            errors = [p - np.eye(len(p))[aim]]
            loss = -np.log(p[aim])
        for k in range(len(self.w) - 1, 0, -1):
            errors.insert(0, (a[k] > 0) * (self.w[k] @ errors[0]))
        for k, (x, e) in enumerate(zip(a, errors, strict=True)):
            source = int((x != 0).sum())
            target = int((a[k + 1] > 0).sum()) if k + 1 < len(a) else len(z)
            self.skipped[FORWARD, k] += source * len(e)
            self.skipped[UPDATE, k] += source * target
            self.skipped[BACKWARD, k] += source * target if k else 0
            self.w[k] -= lr * np.outer(x, e)
            if self.learns_biases:
                self.b[k] -= lr * e
        return float(loss)


def distance(found: Sequence[NDArray[np.float64]], expected: Arrays) -> float:
    return max(float(np.abs(a - b).max()) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("learns_biases", [False, True])
@pytest.mark.parametrize("sizes", [(784, 10), (784, 50, 10), (784, 30, 25, 20, 10)])
def test_three_epochs_of_real_digits_are_those_of_the_transcription(
    mnist_data: mnist.Mnist, sizes: tuple[int, ...], learns_biases: bool, skip: bool
) -> None:
    weights = glorot(sizes)
    biases = some_biases(sizes) if learns_biases else None
    net, plain = Mlp(weights, biases, skip_zeros=skip), Transcription(weights, biases)
    rng = np.random.default_rng(3)
    for lr in (0.03, 0.01, 0.02):
        order = rng.integers(0, 200, 150)  # with repetitions, some of them in a row
        order[7] = order[6]
        loss = net.train(mnist_data.train_images[:200], mnist_data.train_labels[:200], order, lr)
        expected = [
            plain.step(mnist_data.train_images[i], int(mnist_data.train_labels[i]), lr)
            for i in order
        ]
        assert loss == pytest.approx(np.mean(expected), rel=1e-12)
    # Values are of size 1; 450 steps, each a sum of at most 784 terms.
    assert distance(net.weights, plain.w) < 1e-12
    assert distance(net.weights, weights) > 1e-3
    assert distance(net.biases, plain.b if learns_biases else []) < 1e-12 if learns_biases else True
    assert len(net.biases) == (len(weights) if learns_biases else 0)
    assert net.trained.samples == 450
    assert np.array_equal(net.trained.zero_skipping, plain.skipped)

    labels = net.predict(mnist_data.test_images[:300])
    outputs = np.array([plain.forward(image)[1] for image in mnist_data.test_images[:300]])
    assert np.array_equal(labels, outputs.argmax(axis=1))


@pytest.mark.parametrize("skip", [False, True])
def test_targets_are_learned_as_by_the_transcription(mnist_data: mnist.Mnist, skip: bool) -> None:
    """The targets of a digit are ten of its own pixels."""
    images, sizes = mnist_data.train_images[:60], (784, 30, 20, 10)
    targets = images[:, 400:410] / 255 * 2 - 1
    net = Mlp(glorot(sizes), some_biases(sizes), skip_zeros=skip)
    plain = Transcription(glorot(sizes), some_biases(sizes))
    order = np.random.default_rng(3).integers(0, 60, 150)
    loss = net.train(images, targets, order, 0.01)
    assert loss == pytest.approx(np.mean([plain.step(images[i], targets[i], 0.01) for i in order]))
    assert distance([*net.weights, *net.biases], [*plain.w, *plain.b]) < 1e-12
    assert np.array_equal(net.trained.zero_skipping, plain.skipped)
    found = net.outputs(images)
    assert found == pytest.approx(np.array([plain.forward(x)[1] for x in images]), abs=1e-12)
    assert np.array_equal(net.predict(images), found.argmax(axis=1))


@settings(max_examples=60)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=5), st.integers(0, 2**32), st.booleans())
def test_any_shape_does_the_transcriptions_steps(sizes: list[int], seed: int, skip: bool) -> None:
    rng = np.random.default_rng(seed)
    weights, biases = glorot(sizes, seed), some_biases(sizes, seed)
    images = rng.integers(0, 256, (6, sizes[0])) * (rng.random((6, sizes[0])) < 0.6)
    labels, order = rng.integers(0, sizes[-1], 6), rng.integers(0, 6, 12)
    net, plain = Mlp(weights, biases, skip_zeros=skip), Transcription(weights, biases)
    net.train(images.astype(np.uint8), labels, order, 0.1)
    for i in order:
        plain.step(images[i].astype(np.uint8), int(labels[i]), 0.1)
    assert distance([*net.weights, *net.biases], [*plain.w, *plain.b]) < 1e-12
    assert np.array_equal(net.trained.zero_skipping, plain.skipped)


@pytest.mark.parametrize("skip", [False, True])
def test_a_step_goes_down_the_slope_of_the_loss(mnist_data: mnist.Mnist, skip: bool) -> None:
    """Central differences of the loss that `train` returns, for weights and biases of each layer."""
    sizes, lr, h = (784, 20, 15, 10), 0.1, 1e-5
    images, labels = mnist_data.train_images[:1], mnist_data.train_labels[:1]
    start = [*glorot(sizes), *some_biases(sizes)]

    def net(values: Arrays) -> Mlp:
        return Mlp(values[:3], values[3:], skip_zeros=skip)

    def loss(which: int, place: int, shift: float) -> float:
        values = [v.copy() for v in start]
        values[which].reshape(-1)[place] += shift
        return net(values).train(images, labels, [0], lr)

    learned = net(start)
    learned.train(images, labels, [0], lr)
    rng = np.random.default_rng(2)
    for which, after in enumerate([*learned.weights, *learned.biases]):
        slope = ((start[which] - after) / lr).reshape(-1)
        moved = np.flatnonzero(slope)
        for place in [*rng.choice(moved, 10), *rng.choice(slope.size, 10)]:
            expected = (loss(which, place, h) - loss(which, place, -h)) / (2 * h)
            # The loss is about 2: rounding gives 2e-16/h, the cubic term about h**2.
            assert slope[place] == pytest.approx(expected, abs=2e-9)


def test_skipping_zeros_changes_nothing_but_the_time(mnist_data: mnist.Mnist) -> None:
    sizes = (784, 200, 10)
    dense, skipping = (Mlp(glorot(sizes), some_biases(sizes), skip_zeros=s) for s in (False, True))
    for net in (dense, skipping):
        for lr in (0.01, 0.005):
            net.train(mnist_data.train_images, mnist_data.train_labels, range(5000), lr)
    assert distance(dense.weights, skipping.weights) < 1e-11
    assert distance(dense.biases, skipping.biases) < 1e-11
    assert np.array_equal(
        dense.predict(mnist_data.test_images), skipping.predict(mnist_data.test_images)
    )
    assert np.array_equal(dense.trained.zero_skipping, skipping.trained.zero_skipping)
    assert np.array_equal(dense.predicted.zero_skipping, skipping.predicted.zero_skipping)


def test_the_dense_count_is_the_papers_without_its_output_layer(mnist_data: mnist.Mnist) -> None:
    """313,600 and 433,600 multiply-adds a sample: all layers but the output, both passes done."""
    for hidden, expected in ((1, 313_600), (2, 433_600)):
        net = Mlp(glorot((784, *[200] * hidden, 10)))
        net.train(mnist_data.train_images, mnist_data.train_labels, range(3), 0.01)
        cost = net.trained
        assert cost.dense[:, :-1].sum() == 3 * expected
        assert cost.dense[BACKWARD, 0] == cost.zero_skipping[BACKWARD, 0] == 0
        assert (cost.zero_skipping <= cost.dense).all()
        assert cost.a_sample() == (cost.dense.sum() / 3, cost.zero_skipping.sum() / 3)
        assert net.predicted.samples == 0
        assert net.predicted.a_sample() == (0, 0)


def test_a_prediction_costs_its_forward_pass(mnist_data: mnist.Mnist) -> None:
    weights = glorot((784, 40, 10))
    net = Mlp(weights)
    net.predict(mnist_data.test_images[:50])
    on = (mnist_data.test_images[:50] / 255 @ weights[0] > 0).sum()
    lit = (mnist_data.test_images[:50] != 0).sum()
    assert net.predicted.zero_skipping.tolist() == [[lit * 40, on * 10], [0, 0], [0, 0]]
    assert net.predicted.dense.tolist() == [[50 * 784 * 40, 50 * 400], [0, 0], [0, 0]]
    assert net.trained.samples == net.epochs == 0


def test_it_learns_the_digits(mnist_data: mnist.Mnist) -> None:
    net = Mlp(glorot((784, 100, 10)), skip_zeros=True)
    for epoch in range(3):
        order = np.random.default_rng([0, epoch]).permutation(20_000)
        net.train(mnist_data.train_images, mnist_data.train_labels, order, 0.02)
    assert net.epochs == 3
    assert (net.predict(mnist_data.test_images) == mnist_data.test_labels).mean() > 0.95


def test_prediction_leaves_the_learner_as_it_was(mnist_data: mnist.Mnist) -> None:
    nets = [Mlp(glorot((784, 30, 10)), skip_zeros=True) for _ in range(2)]
    for epoch in range(2):
        for net in nets:
            net.train(
                mnist_data.train_images[:200], mnist_data.train_labels[:200], range(200), 0.02
            )
        if epoch == 0:
            nets[1].predict(mnist_data.test_images[:100])
    assert distance(nets[0].weights, nets[1].weights) == 0


def test_given_weights_are_copied_and_its_own_can_be_written(mnist_data: mnist.Mnist) -> None:
    given_weights = glorot((784, 10))
    before = given_weights[0].copy()
    net = Mlp(given_weights)
    net.train(mnist_data.train_images[:20], mnist_data.train_labels[:20], range(20), 0.1)
    assert np.array_equal(given_weights[0], before)
    net.weights[0][:] = before
    net.train(mnist_data.train_images[:20], mnist_data.train_labels[:20], range(20), 0.1)
    again = Mlp(given_weights)
    again.train(mnist_data.train_images[:20], mnist_data.train_labels[:20], range(20), 0.1)
    assert np.array_equal(net.weights[0], again.weights[0])


def test_the_data_set_is_read_in_place(mnist_data: mnist.Mnist) -> None:
    net = Mlp(glorot((784, 10)), skip_zeros=True)
    net.train(mnist_data.train_images, mnist_data.train_labels, range(2), 0.01)
    tracemalloc.start()
    net.train(mnist_data.train_images, mnist_data.train_labels, np.arange(60_000), 0.01)
    net.predict(mnist_data.train_images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < mnist_data.train_images.nbytes / 20


def test_an_epoch_without_images_changes_nothing(mnist_data: mnist.Mnist) -> None:
    weights = glorot((784, 10))
    net = Mlp(weights)
    assert net.train(mnist_data.train_images[:3], mnist_data.train_labels[:3], [], 0.1) == 0
    assert distance(net.weights, weights) == 0
    assert len(net.predict(mnist_data.test_images[:0])) == 0


# Divergence


@pytest.mark.parametrize("skip", [False, True])
def test_a_diverging_run_is_named(mnist_data: mnist.Mnist, skip: bool) -> None:
    images, labels = mnist_data.train_images[:500], mnist_data.train_labels[:500]
    net = Mlp(glorot((784, 30, 20, 10)), skip_zeros=skip)
    net.train(images, labels, range(500), 0.01)
    with pytest.raises(TrainingDiverged, match=r"epoch 1 at sample \d+ .* lr=1e\+80") as caught:
        net.train(images, labels, range(500), 1e80)
    # No sum of the first layer overflows before the errors that come back have.
    assert 0 < caught.value.position < 20
    assert 0 <= caught.value.layer < 3
    assert net.epochs == 1
    copied = pickle.loads(pickle.dumps(caught.value))
    assert str(copied) == str(caught.value)


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_the_first_layer_that_is_not_finite_is_named(
    mnist_data: mnist.Mnist, layer: int, skip: bool
) -> None:
    net = Mlp(glorot((784, 30, 20, 10)), skip_zeros=skip)
    # NaN, which a rectifier would hide.
    net.weights[layer][:] = np.nan
    with pytest.raises(TrainingDiverged, match=f"sample 0 of its order: layer {layer} is"):
        net.train(mnist_data.train_images[:5], mnist_data.train_labels[:5], [4, 3], 0.01)


def test_a_last_step_that_overflows_is_named() -> None:
    """The error that comes back is 1e200 and so is the rate, yet all signals are finite."""
    net = Mlp([[[1e-300]], [[1e200, -1e200]]])
    with pytest.raises(TrainingDiverged, match="sample 0 of its order: layer 0"):
        net.train(np.array([[255]], np.uint8), [0], [0], 1e200)


# What is refused

OK = np.zeros((4, 3), np.uint8)


@pytest.mark.parametrize(
    ("weights", "biases", "message"),
    [
        ([], None, "must be one matrix a layer"),
        ([np.ones((3, 4)), np.ones((5, 2))], None, r"weights\[1\] of shape \(5, 2\): must have 4"),
        ([np.full((3, 2), np.nan)], None, r"weights\[0\] of shape \(3, 2\): must be finite"),
        ([np.ones(3)], None, r"weights\[0\] of shape \(3,\): .* 2 dimensions"),
        ([np.ones((3, 2))], [], "0 biases for 1 layers"),
        ([np.ones((3, 2))], [np.ones(3)], r"biases\[0\] of shape \(3,\): must be \(2,\)"),
        ([np.ones((3, 2))], [[0.0, np.inf]], r"biases\[0\] of shape \(2,\): must be finite"),
    ],
)
def test_layers_that_do_not_fit_are_refused(
    weights: Arrays, biases: Arrays | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Mlp(weights, biases)


@pytest.mark.parametrize(
    ("images", "labels", "order", "lr", "message"),
    [
        (
            OK.astype("f4"),
            [0] * 4,
            [0],
            0.1,
            "images of type float32 .* must be uint8 or float64 of",
        ),
        (
            OK[:, :2],
            [0] * 4,
            [0],
            0.1,
            r"shape \(4, 2\): must be uint8 or float64 of shape \(n, 3\)",
        ),
        (OK, [[0.0] * 3] * 4, [0], 0.1, r"targets of shape \(4, 3\): must be \(n, 2\)"),
        (OK, [[np.nan] * 2] * 4, [0], 0.1, r"targets of shape \(4, 2\): must be finite"),
        (OK, [0] * 3, [0], 0.1, "3 labels for 4 images"),
        (OK, [[0.0] * 2] * 3, [0], 0.1, "3 labels for 4 images"),
        (OK, [0, 1, 2, 0], [0], 0.1, "labels from 0 to 2: must be 0 to 1"),
        (OK, [0.0] * 4, [0], 0.1, "labels of type float64"),
        (OK, [0] * 4, [0, 4], 0.1, "order from 0 to 4: must be 0 to 3"),
        (OK, [0] * 4, [-1], 0.1, "order from -1 to -1: must be 0 to 3"),
        (OK, [0] * 4, [[0]], 0.1, r"order of type int64 and shape \(1, 1\)"),
        (OK, [0] * 4, [0], 0.0, "lr=0.0 on a perceptron: must be positive"),
        (OK, [0] * 4, [0], float("nan"), "lr=nan on a perceptron"),
    ],
)
def test_training_data_of_another_kind_is_refused(
    images: np.ndarray, labels: list[int], order: list[int], lr: float, message: str
) -> None:
    net = Mlp([np.ones((3, 2))])
    with pytest.raises(ConfigError, match=message):
        net.train(images, labels, order, lr)
    with pytest.raises(ConfigError, match="images of type"):
        net.predict(OK[0])


def test_numbers_are_learned_from_as_the_bytes_that_they_are_parts_of() -> None:
    rng = np.random.default_rng(4)
    images = rng.integers(0, 3, (20, 9), np.uint8) * rng.integers(0, 86, (20, 9), np.uint8)
    weights = [rng.normal(size=(9, 6)), rng.normal(size=(6, 3))]
    bytewise, numbers = Mlp(weights, skip_zeros=True), Mlp(weights, skip_zeros=True)
    for mlp, seen in ((bytewise, images), (numbers, images / 255)):
        mlp.train(seen, np.arange(20) % 3, np.arange(20), 0.05)
    for own, other in zip(bytewise.weights, numbers.weights, strict=True):
        assert np.array_equal(own, other)
    assert np.array_equal(bytewise.outputs(images), numbers.outputs(images / 255))
    with pytest.raises(ConfigError, match="must be uint8 or float64"):
        numbers.train((images / 255).astype(np.float32), np.zeros(20, int), [0], 0.1)

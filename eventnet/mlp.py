"""The multilayer perceptron that a spiking network is measured against: SGD, one image at a time.

``a_0 = pixels/255``, ``z_k = a_k W_k + b_k``, ``a_{k+1} = max(z_k, 0)``; the output is
``p = softmax(z)`` and the loss ``-ln p[label]``. One step of SGD after each image:
``e = p - onehot`` at the output, ``e_{k-1} = (a_k > 0) * (W_k e_k)`` below it, and then
``W_k -= lr * a_k (x) e_k``, ``b_k -= lr * e_k``. With targets y instead of labels the output is z,
the loss ``|z - y|^2/2`` and ``e = z - y``.

Two variants do the same steps and differ by rounding only. The dense one does every multiply-add;
the zero-skipping one passes over the rows of weights of inputs that are 0 and of units that are off,
which is the honest competitor of a network that sends nothing where there is nothing to tell. Within
a row both work on whole vectors: to pick the columns of units that are on takes longer than to add
zeros to the others.

The first layer's weights do not fit into a core's cache. So a row is updated for the last image when
it is read for the next one, in one pass.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit, types
from numba.extending import overload
from numpy.typing import ArrayLike, DTypeLike, NDArray

from eventnet.engine.arrays import aligned, offsets
from eventnet.errors import ConfigError, EventNetError
from eventnet.network import positive

Array = NDArray[Any]
Bytes = NDArray[np.uint8]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PASSES = ("forward", "backward", "update")
FORWARD, BACKWARD, UPDATE = range(3)

CACHE_LINE = 64  # bytes


class TrainingDiverged(EventNetError, ArithmeticError):
    """The perceptron's numbers left their range.

    Attributes
    ----------
    epoch : int
        Calls of `Mlp.train` that had been completed.
    position : int
        Place of the image in that call's order.
    layer : int
        The first layer with a value that is not finite; 0 is the one that reads the image.
    """

    def __init__(self, epoch: int, position: int, layer: int, lr: float) -> None:
        super().__init__(epoch, position, layer, lr)
        self.epoch, self.position, self.layer, self.lr = epoch, position, layer, lr

    def __str__(self) -> str:
        return (
            f"diverged in epoch {self.epoch} at sample {self.position} of its order: layer "
            f"{self.layer} is not finite; lower the learning rate lr={self.lr:g}"
        )


@dataclass(frozen=True, eq=False)
class MultiplyAdds:
    """What was multiplied and added for so many images. Biases and the softmax are not counted.

    Attributes
    ----------
    samples : int
        Images.
    dense : ndarray of int64, shape (3, layers)
        Of everything, a row each for `PASSES`. The first layer has no backward pass.
    zero_skipping : ndarray of int64, shape (3, layers)
        Without those by an input that is 0 or a unit that is off, be it before or behind the
        weight.
    """

    samples: int
    dense: Ints
    zero_skipping: Ints

    def a_sample(self) -> tuple[float, float]:
        """Return the dense and the zero-skipping multiply-adds an image, all passes and layers."""
        images = max(self.samples, 1)
        return float(self.dense.sum()) / images, float(self.zero_skipping.sum()) / images


class Mlp:
    """A perceptron with rectified hidden units and a softmax or a linear output, from given weights.

    Parameters
    ----------
    weights : sequence of array_like
        One (n_in, n_out) a layer, the first on the pixels. They are copied.
    biases : sequence of array_like, optional
        One (n_out,) a layer, to be learned too; default: none.
    skip_zeros : bool
        Pass over the rows of inputs that are 0 and of units that are off.
    dtype : dtype
        Of all that is computed: float64, or float32, which takes less time.

    Raises
    ------
    ConfigError
        If layers do not fit together, a value is not finite, or the dtype is another.

    Examples
    --------
    >>> xor = np.array([[0, 0], [0, 255], [255, 0], [255, 255]], np.uint8)
    >>> start = np.random.default_rng(1)
    >>> net = Mlp(
    ...     [start.normal(size=(2, 8)), start.normal(size=(8, 2))], [np.zeros(8), np.zeros(2)]
    ... )
    >>> for _ in range(300):
    ...     loss = net.train(xor, [0, 1, 1, 0], order=range(4), lr=0.1)
    >>> net.predict(xor).tolist()
    [0, 1, 1, 0]
    >>> net.trained.a_sample()[0]  # 16 + 16 forward, 16 backward, 16 + 16 update
    80.0
    """

    def __init__(
        self,
        weights: Sequence[ArrayLike],
        biases: Sequence[ArrayLike] | None = None,
        skip_zeros: bool = False,
        dtype: DTypeLike = np.float64,
    ) -> None:
        if dtype not in (np.float32, np.float64):
            raise ConfigError(f"dtype={dtype}: must be float64 or float32")
        given = [_finite(w, f"weights[{k}]", 2) for k, w in enumerate(weights)]
        if not given:
            raise ConfigError("weights=[]: must be one matrix a layer, one at least")
        for k, (above, below) in enumerate(zip(given[1:], given, strict=False), 1):
            if len(above) != below.shape[1]:
                raise ConfigError(
                    f"weights[{k}] of shape {above.shape}: must have {below.shape[1]} rows, as "
                    f"weights[{k - 1}] has columns"
                )
        self.skip_zeros = skip_zeros
        sizes = np.array([len(given[0]), *(w.shape[1] for w in given)], np.int64)
        self._net = _Net(
            sizes=sizes,
            weight_first=offsets((sizes[:-1] * sizes[1:]).tolist()),
            unit_first=offsets(sizes[1:].tolist()),
            weights=_aligned(int((sizes[:-1] * sizes[1:]).sum()), dtype),
            biases=_aligned(int(sizes[1:].sum()) if biases is not None else 0, dtype),
        )
        for own, w in zip(self.weights, given, strict=True):
            own[:] = w
        if biases is not None:
            self._set_biases(biases)
        self._scratch = _scratch(sizes, np.dtype(dtype))
        self._epochs = self._trained = self._predicted = 0
        self._skipped = np.zeros((2, len(PASSES), len(given)), np.int64)

    def _set_biases(self, biases: Sequence[ArrayLike]) -> None:
        own = self.biases
        if len(biases) != len(own):
            raise ConfigError(f"{len(biases)} biases for {len(own)} layers: must be one array each")
        for k, (mine, b) in enumerate(zip(own, biases, strict=True)):
            array = _finite(b, f"biases[{k}]", 1)
            if array.shape != mine.shape:
                raise ConfigError(f"biases[{k}] of shape {array.shape}: must be {mine.shape}")
            mine[:] = array

    @property
    def weights(self) -> list[Floats]:
        """The weights (n_in, n_out) of each layer, as they are learned: views, not copies."""
        net, layers = self._net, len(self._net.sizes) - 1
        return [
            net.weights[net.weight_first[k] : net.weight_first[k + 1]].reshape(net.sizes[k], -1)
            for k in range(layers)
        ]

    @property
    def biases(self) -> list[Floats]:
        """The biases (n_out,) of each layer, as they are learned; an empty list if there are none."""
        net = self._net
        if not net.biases.size:
            return []
        return [net.biases[a:b] for a, b in zip(net.unit_first, net.unit_first[1:], strict=False)]

    @property
    def epochs(self) -> int:
        """Calls of `train` that were completed."""
        return self._epochs

    @property
    def trained(self) -> MultiplyAdds:
        """What all training has cost so far."""
        return self._cost(self._trained, 0, (FORWARD, BACKWARD, UPDATE))

    @property
    def predicted(self) -> MultiplyAdds:
        """What all predictions have cost so far."""
        return self._cost(self._predicted, 1, (FORWARD,))

    def _cost(self, samples: int, row: int, passes: tuple[int, ...]) -> MultiplyAdds:
        sizes = self._net.sizes
        dense = np.zeros_like(self._skipped[row])
        dense[list(passes)] = samples * sizes[:-1] * sizes[1:]
        dense[BACKWARD, 0] = 0
        return MultiplyAdds(samples, dense, self._skipped[row].copy())

    def train(self, images: Array, labels: ArrayLike, order: ArrayLike, lr: float) -> float:
        """Learn from the images in the given order, one step each: an epoch.

        Parameters
        ----------
        images : ndarray of uint8, or of the perceptron's dtype, shape (n, n_in)
            Bytes stand for parts of 255, numbers for themselves. Read in place, a row at a time.
        labels : array_like of int, shape (n,), or of float, shape (n, n_out)
            Classes, or targets of the outputs.
        order : array_like of int
            Which image comes when; it need not have all, and may have one twice.
        lr : float
            Learning rate of this epoch.

        Returns
        -------
        float
            Mean loss, each image's before the step that it causes; 0 for an empty order.

        Raises
        ------
        ConfigError
            If images, labels or order are of another type or range, or lr <= 0.
        TrainingDiverged
            If a value is no longer finite; the weights are of no use then.
        """
        positive(lr, "lr", "a perceptron")
        images = self._checked(images)
        classes, targets = self._aims(labels)
        told = max(len(classes), len(targets))
        if told != len(images):
            raise ConfigError(f"{told} labels for {len(images)} images: must be as many")
        places = _whole(order, "order", len(images))
        counts = np.zeros_like(self._skipped[0])
        position, layer, loss = _epoch(
            images,
            classes,
            targets,
            places,
            self._net.weights.dtype.type(lr),
            self.skip_zeros,
            self._net,
            self._scratch,
            counts,
        )
        if layer < 0:
            # The last image's step has no successor that would notice.
            bad = [k for k, w in enumerate(self.weights) if not np.isfinite(w).all()]
            position, layer = len(places) - 1, bad[0] if bad else -1
        if layer >= 0:
            raise TrainingDiverged(self._epochs, int(position), int(layer), float(lr))
        self._epochs += 1
        self._trained += len(places)
        self._skipped[0] += counts
        return float(loss) / max(len(places), 1)

    def predict(self, images: Array) -> Ints:
        """Return the likeliest label of each image, the first on ties.

        Parameters
        ----------
        images : ndarray, shape (n, n_in)
            As in `train`.

        Returns
        -------
        ndarray of int64, shape (n,)

        Raises
        ------
        ConfigError
            If images are of another type or width.
        """
        labels = np.empty(len(images), np.int64)
        self._read(images, labels, self._no_outputs())
        return labels

    def outputs(self, images: Array) -> Floats:
        """Return z of the output layer for each image.

        Parameters
        ----------
        images : ndarray, shape (n, n_in)
            As in `train`.

        Returns
        -------
        ndarray, shape (n, n_out)
            Of the perceptron's dtype.

        Raises
        ------
        ConfigError
            If images are of another type or width.
        """
        outputs: Floats = np.empty((len(images), self._net.sizes[-1]), self._net.weights.dtype)
        self._read(images, np.empty(len(images), np.int64), outputs)
        return outputs

    def _read(self, images: Array, labels: Ints, outputs: Floats) -> None:
        counts = self._skipped[1, FORWARD]
        _predict(
            self._checked(images),
            labels,
            outputs,
            self.skip_zeros,
            self._net,
            self._scratch,
            counts,
        )
        self._predicted += len(images)

    def _no_outputs(self) -> Floats:
        return np.empty((0, int(self._net.sizes[-1])), self._net.weights.dtype)

    def _aims(self, labels: ArrayLike) -> tuple[Ints, Floats]:
        """Return classes (n,) and targets (n, n_out); what is not given is empty."""
        given, n_out = np.asarray(labels), int(self._net.sizes[-1])
        if given.ndim != 2:
            return _whole(given, "labels", n_out), self._no_outputs()
        targets = _finite(given, "targets", 2)
        if targets.shape[1] != n_out:
            raise ConfigError(f"targets of shape {targets.shape}: must be (n, {n_out})")
        return np.empty(0, np.int64), targets.astype(self._net.weights.dtype)

    def _checked(self, images: Array) -> Array:
        width, own = int(self._net.sizes[0]), self._net.weights.dtype
        if images.dtype not in (np.uint8, own) or images.ndim != 2 or images.shape[1] != width:
            raise ConfigError(
                f"images of type {images.dtype} and shape {images.shape}: must be uint8 or {own} of "
                f"shape (n, {width})"
            )
        return images


def _finite(values: ArrayLike, name: str, dimensions: int) -> Floats:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != dimensions or not array.size or not np.isfinite(array).all():
        raise ConfigError(
            f"{name} of shape {array.shape}: must be finite, not empty, and have "
            f"{dimensions} dimension{'s' if dimensions > 1 else ''}"
        )
    return array


def _whole(values: ArrayLike, name: str, end: int) -> Ints:
    array = np.asarray(values)
    if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
        raise ConfigError(
            f"{name} of type {array.dtype} and shape {array.shape}: must be ints (n,)"
        )
    if array.size and not 0 <= array.min() <= array.max() < end:
        raise ConfigError(f"{name} from {array.min()} to {array.max()}: must be 0 to {end - 1}")
    return array.astype(np.int64)


# --------------------------------------------------------------------------------------------------
# Kernels
# --------------------------------------------------------------------------------------------------

Function = TypeVar("Function", bound=Callable[..., Any])


def _kernel(function: Function) -> Function:
    """Compile a function, and keep its type for the checker."""
    # Sums may be reordered, hence run on vectors; infinities and NaN keep their meaning. Without
    # Numba's runtime a slice costs no reference counting.
    compiled: Function = njit(
        cache=True, _nrt=False, fastmath={"reassoc", "contract"}, error_model="numpy"
    )(function)
    return compiled


class _Net(NamedTuple):
    """What is learned: K layers, their weights row by row one after another."""

    sizes: Array  # (K+1,)
    weight_first: Array  # (K+1,)
    unit_first: Array  # (K+1,)
    weights: Array
    biases: Array  # none: empty


class _Scratch(NamedTuple):
    """What holds one image's signals. A layer's lists have as many entries as `listed` tells."""

    z: Array  # (units,)
    error: Array  # (units,)
    unit: Array  # (units,) the units of a layer whose rows are read
    value: Array  # (units,) their outputs
    reached: Array  # (units,) their errors
    listed: Array  # (K,)
    on: Array  # (K,) units that are on; all of the output
    old: Array  # (pixels,) to be updated only
    new: Array  # (pixels,) to be read only
    ink: Array  # (pixels,) their values
    both: Array  # (pixels,) to be updated, then read
    shade: Array  # (256,) the value of each byte
    pixels: Array  # (3,) how many in these lists


def _aligned(n: int, dtype: DTypeLike) -> Array:
    doubles = -(-n * np.dtype(dtype).itemsize // 8)
    return aligned(doubles).view(dtype)[:n]


def _scratch(sizes: Ints, dtype: np.dtype[Any]) -> _Scratch:
    units, layers, pixels = int(sizes[1:].sum()), len(sizes) - 1, int(sizes[0])
    return _Scratch(
        z=_aligned(units, dtype),
        error=_aligned(units, dtype),
        unit=np.zeros(units, np.int64),
        value=np.zeros(units, dtype),
        reached=np.zeros(units, dtype),
        listed=np.zeros(layers, np.int64),
        on=np.zeros(layers, np.int64),
        # One more: an entry is written before it is known whether it counts.
        old=np.zeros(pixels + 1, np.int64),
        new=np.zeros(pixels + 1, np.int64),
        ink=np.zeros(pixels + 1, dtype),
        both=np.zeros(pixels + 1, np.int64),
        shade=(np.arange(256) / 255).astype(dtype),
        pixels=np.zeros(3, np.int64),
    )


def _value(pixel: Any, shade: Array) -> Any:
    """Return what a pixel stands for: a byte's shade, or itself."""
    return shade[pixel] if isinstance(pixel, np.integer) else pixel


@overload(_value, inline="always")
def _compiled_value(pixel: Any, shade: Any) -> Any:
    # Numba wants the signatures alike, annotations too.
    def looked_up(pixel: Any, shade: Any) -> Any:
        return shade[pixel]

    def itself(pixel: Any, shade: Any) -> Any:
        return pixel

    return looked_up if isinstance(pixel, types.Integer) else itself


@_kernel
def _lit(image: Array) -> int:
    """Return how many pixels are not 0."""
    n = 0
    for i in range(image.size):
        n += image[i] != 0
    return n


@_kernel
def _list_pixels(last: Array, image: Array, skip: bool, begins: bool, s: _Scratch) -> None:
    """Write `old`, `new`, `ink`, `both` and `pixels` of `s`; `begins`: there is no last image."""
    n_old = n_new = n_both = 0
    for i in range(image.size):
        before = not begins and (not skip or last[i] != 0)
        now = not skip or image[i] != 0
        # Branches would be mispredicted once in every stroke.
        s.old[n_old] = i
        n_old += before and not now
        s.new[n_new] = i
        s.ink[n_new] = _value(image[i], s.shade)
        n_new += now and not before
        s.both[n_both] = i
        n_both += before and now
    s.pixels[0], s.pixels[1], s.pixels[2] = n_old, n_new, n_both


@_kernel
def _update_pixels(
    w: Array, e: Array, lr: float, image: Array, shade: Array, pixels: Array
) -> None:
    """Write the rows of w: ``row_i -= lr * x_i * e``."""
    n = e.size
    for i in pixels:
        row = w[i * n : i * n + n]
        c = lr * _value(image[i], shade)
        for j in range(n):
            row[j] -= c * e[j]


@_kernel
def _update_and_add_pixels(
    w: Array,
    e: Array,
    lr: float,
    last: Array,
    z: Array,
    image: Array,
    shade: Array,
    pixels: Array,
) -> None:
    """Write the rows of w for the last image, and add them to z for the next one."""
    n = z.size
    whole = pixels.size - pixels.size % 4
    # Four rows at a time: z and e are loaded once for them.
    for k in range(0, whole, 4):
        i0, i1, i2, i3 = pixels[k], pixels[k + 1], pixels[k + 2], pixels[k + 3]
        r0, r1 = w[i0 * n : i0 * n + n], w[i1 * n : i1 * n + n]
        r2, r3 = w[i2 * n : i2 * n + n], w[i3 * n : i3 * n + n]
        c0, c1 = lr * _value(last[i0], shade), lr * _value(last[i1], shade)
        c2, c3 = lr * _value(last[i2], shade), lr * _value(last[i3], shade)
        x0, x1, x2, x3 = (
            _value(image[i0], shade),
            _value(image[i1], shade),
            _value(image[i2], shade),
            _value(image[i3], shade),
        )
        for j in range(n):
            w0, w1 = r0[j] - c0 * e[j], r1[j] - c1 * e[j]
            w2, w3 = r2[j] - c2 * e[j], r3[j] - c3 * e[j]
            r0[j], r1[j], r2[j], r3[j] = w0, w1, w2, w3
            z[j] += x0 * w0 + x1 * w1 + x2 * w2 + x3 * w3
    for k in range(whole, pixels.size):
        i = pixels[k]
        row, c, x = w[i * n : i * n + n], lr * _value(last[i], shade), _value(image[i], shade)
        for j in range(n):
            row[j] -= c * e[j]
            z[j] += x * row[j]


@_kernel
def _list_units(z: Array, skip: bool, unit: Array, value: Array) -> tuple[int, int]:
    """Write the units whose rows are read, and their outputs; return how many, and how many are on."""
    n = on = 0
    for i in range(z.size):
        active = z[i] > 0
        on += active
        if active or not skip:
            unit[n], value[n] = i, z[i] if active else 0.0
            n += 1
    return n, on


@_kernel
def _add_rows(z: Array, w: Array, unit: Array, value: Array) -> None:
    """Write ``z += sum_i a_i * row_i`` over the listed pixels or units."""
    n = z.size
    whole = unit.size - unit.size % 4
    for k in range(0, whole, 4):
        i0, i1, i2, i3 = unit[k], unit[k + 1], unit[k + 2], unit[k + 3]
        r0, r1 = w[i0 * n : i0 * n + n], w[i1 * n : i1 * n + n]
        r2, r3 = w[i2 * n : i2 * n + n], w[i3 * n : i3 * n + n]
        a0, a1, a2, a3 = value[k], value[k + 1], value[k + 2], value[k + 3]
        for j in range(n):
            z[j] += a0 * r0[j] + a1 * r1[j] + a2 * r2[j] + a3 * r3[j]
    for k in range(whole, unit.size):
        row, a = w[unit[k] * n : unit[k] * n + n], value[k]
        for j in range(n):
            z[j] += a * row[j]


@_kernel
def _send_back_and_update(
    w: Array, e: Array, lr: float, unit: Array, value: Array, reached: Array
) -> None:
    """Write ``reached_i = (a_i > 0) * row_i . e``, then ``row_i -= lr * a_i * e``."""
    n = e.size
    for k in range(unit.size):
        row, c = w[unit[k] * n : unit[k] * n + n], lr * value[k]
        back = row.dtype.type(0)
        for j in range(n):
            back += row[j] * e[j]
            row[j] -= c * e[j]
        reached[k] = back if value[k] > 0 else 0.0


@_kernel
def _rest(z: Array, k: int, net: _Net) -> None:
    """Write z of layer k before anything is added: its bias or 0."""
    start = net.unit_first[k]
    for j in range(z.size):
        z[j] = net.biases[start + j] if net.biases.size else 0.0


@_kernel
def _is_finite(z: Array) -> bool:
    total = z.dtype.type(0)
    for j in range(z.size):
        total += z[j]
    return bool(np.isfinite(total))


@_kernel
def _rise(skip: bool, net: _Net, s: _Scratch) -> int:
    """Write the signals above the first layer's z; return the first layer that is not finite, or -1."""
    layers = net.sizes.size - 1
    if not _is_finite(s.z[: net.sizes[1]]):
        return 0
    for k in range(1, layers):
        a, b, c = net.unit_first[k - 1], net.unit_first[k], net.unit_first[k + 1]
        listed, on = _list_units(s.z[a:b], skip, s.unit[a:b], s.value[a:b])
        s.listed[k - 1], s.on[k - 1] = listed, on
        _rest(s.z[b:c], k, net)
        w = net.weights[net.weight_first[k] : net.weight_first[k + 1]]
        _add_rows(s.z[b:c], w, s.unit[a : a + listed], s.value[a : a + listed])
        if not _is_finite(s.z[b:c]):
            return k
    s.on[layers - 1] = net.sizes[layers]
    return -1


@_kernel
def _cross_entropy(z: Array, label: int, e: Array) -> float:
    """Write ``e = softmax(z) - onehot``; return the loss."""
    top = z[0]
    for j in range(z.size):
        top = max(top, z[j])
    total = z.dtype.type(0)
    for j in range(z.size):
        e[j] = np.exp(z[j] - top)
        total += e[j]
    for j in range(z.size):
        e[j] /= total
    e[label] -= 1.0
    return float(np.log(total) - (z[label] - top))


@_kernel
def _squared(z: Array, target: Array, e: Array) -> float:
    """Write ``e = z - target``; return the loss."""
    total = z.dtype.type(0)
    for j in range(z.size):
        e[j] = z[j] - target[j]
        total += e[j] * e[j]
    return float(total) / 2


@_kernel
def _learn(lr: float, net: _Net, s: _Scratch) -> None:
    """Write the errors of all layers, all biases, and the weights of all but the first layer."""
    layers = net.sizes.size - 1
    for k in range(layers - 1, 0, -1):
        a, b, c = net.unit_first[k - 1], net.unit_first[k], net.unit_first[k + 1]
        listed = s.listed[k - 1]
        w = net.weights[net.weight_first[k] : net.weight_first[k + 1]]
        unit, reached = s.unit[a : a + listed], s.reached[a : a + listed]
        _send_back_and_update(w, s.error[b:c], lr, unit, s.value[a : a + listed], reached)
        s.error[a:b] = 0.0
        for m in range(listed):
            s.error[a + unit[m]] = reached[m]
    for j in range(net.biases.size):
        net.biases[j] -= lr * s.error[j]


@_kernel
def _count(lit: int, net: _Net, s: _Scratch, counts: Array) -> None:
    """Add one image to the zero-skipping counts."""
    source = lit
    for k in range(net.sizes.size - 1):
        counts[FORWARD, k] += source * net.sizes[k + 1]
        counts[UPDATE, k] += source * s.on[k]
        if k:
            counts[BACKWARD, k] += source * s.on[k]
        source = s.on[k]


@_kernel
def _epoch(
    images: Array,
    labels: Array,
    targets: Array,
    order: Array,
    lr: float,
    skip: bool,
    net: _Net,
    s: _Scratch,
    counts: Array,
) -> tuple[int, int, float]:
    """Train, writing `net` and `counts`; return where it diverged (place, layer or -1) and the loss."""
    w, first = net.weights[: net.weight_first[1]], net.sizes[1]
    z, e, output = s.z[:first], s.error[:first], net.unit_first[net.sizes.size - 2]
    loss = 0.0
    for place in range(order.size):
        image = images[order[place]]
        last = images[order[max(place - 1, 0)]]
        _list_pixels(last, image, skip, place == 0, s)
        _rest(z, 0, net)
        _update_pixels(w, e, lr, last, s.shade, s.old[: s.pixels[0]])
        _add_rows(z, w, s.new[: s.pixels[1]], s.ink[: s.pixels[1]])
        _update_and_add_pixels(w, e, lr, last, z, image, s.shade, s.both[: s.pixels[2]])
        bad = _rise(skip, net, s)
        if bad >= 0:
            return place, bad, loss
        told, e_out = s.z[output:], s.error[output:]
        if len(targets):
            loss += _squared(told, targets[order[place]], e_out)
        else:
            loss += _cross_entropy(told, labels[order[place]], e_out)
        _learn(lr, net, s)
        _count(s.pixels[1] + s.pixels[2] if skip else _lit(image), net, s, counts)
    if order.size:
        last = images[order[-1]]
        _list_pixels(last, last, skip, False, s)
        _update_pixels(w, e, lr, last, s.shade, s.both[: s.pixels[2]])
    return -1, -1, loss


@_kernel
def _predict(
    images: Array,
    labels: Array,
    outputs: Array,
    skip: bool,
    net: _Net,
    s: _Scratch,
    counts: Array,
) -> None:
    """Write `labels`, and `outputs` unless it is empty; add to the zero-skipping `counts`."""
    w, z = net.weights[: net.weight_first[1]], s.z[: net.sizes[1]]
    output = net.unit_first[net.sizes.size - 2]
    for place in range(len(images)):
        image = images[place]
        _list_pixels(image, image, skip, True, s)
        _rest(z, 0, net)
        _add_rows(z, w, s.new[: s.pixels[1]], s.ink[: s.pixels[1]])
        _rise(skip, net, s)
        labels[place] = np.argmax(s.z[output:])
        if len(outputs):
            for j in range(outputs.shape[1]):
                outputs[place, j] = s.z[output + j]
        source = s.pixels[1] if skip else _lit(image)
        for k in range(counts.size):
            counts[k] += source * net.sizes[k + 1]
            source = s.on[k]

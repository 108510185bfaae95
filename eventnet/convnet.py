"""The dense twin of a chain of convolutions: the same network in NumPy, with a step of SGD a frame.

``x_{k+1} = h(x_k * W_k)``, each convolution as products of matrices over the patches of its source;
the loss is ``|x_n - y|^2/2`` and ``e_n = x_n - y``, ``e_k = h'(x_k) (e_{k+1} * W_k^T)``,
``W_k -= lr sum_p x_k(p) (x) e_{k+1}(p)`` over all positions p.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from eventnet.convolution import Convolution
from eventnet.errors import ConfigError
from eventnet.network import Network

Array = NDArray[Any]


class Layer(NamedTuple):
    """A projection of the chain and its target's activation."""

    shared: Convolution
    weights: Array
    plastic: bool
    relu: bool


class Work(NamedTuple):
    """Multiply-adds of a frame, by pass."""

    forward: int
    backward: int
    update: int


class ConvNet:
    """A chain of convolutions and pools, recomputed as a whole at each frame.

    Parameters
    ----------
    network : Network
        A sensor, layers (relu or identity) without biases and an output, one after another, all joined by
        kernels or pools; kernels with weights, from which this network starts too.
    dtype : {float32, float64}

    Attributes
    ----------
    layers : list of Layer
        Weights are (height, width, source channels, target channels), as in `Network.connect`.

    Raises
    ------
    ConfigError
        If it is another kind of network.

    Examples
    --------
    >>> net = Network(tau=1.0)
    >>> _ = net.sensor("a", (4, 4, 1), step=0.1), net.output("b", (2, 2, 1), error_step=0.1)
    >>> _ = net.connect("a", "b", kernel=2, stride=2, weights=np.ones((2, 2, 1, 1)))
    >>> dense = ConvNet(net, np.float64)
    >>> dense.outputs(np.arange(16.0)).tolist()
    [10.0, 18.0, 42.0, 50.0]
    >>> dense.learn(np.ones(16), [4.0, 4.0, 4.0, 3.0], lr=0.1)
    >>> dense.outputs(np.ones(16)).round(3).tolist()
    [3.6, 3.6, 3.6, 3.6]
    """

    def __init__(self, network: Network, dtype: DTypeLike = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        self.layers = []
        at = network.populations[0]
        for q in network.projections:
            known = q.target.kind == "output" or q.target.activation in ("relu", "identity")
            chained = q.source is at and known and not np.any(q.target.bias)
            if not chained or q.convolution is None or q.weights is None:
                raise ConfigError(
                    f"{q.name}: a ConvNet is a chain of kernels with weights and of pools, through "
                    "relu or identity layers without biases"
                )
            relu = q.target.kind != "output" and q.target.activation == "relu"
            weights = np.array(q.weights, self.dtype)
            self.layers.append(Layer(q.convolution, weights, q.plastic, relu))
            at = q.target

    @property
    def work(self) -> Work:
        """The multiply-adds of a frame that is learned; reading one is its `forward`."""
        return Work(
            sum(layer.shared.synapses for layer in self.layers),
            sum(layer.shared.synapses for layer in self.layers[1:]),
            sum(layer.shared.synapses for layer in self.layers if layer.plastic),
        )

    def outputs(self, x: ArrayLike) -> Array:
        """Return what the output reads, shape (size,), for a frame (size of the sensor,)."""
        return self._forward(x)[1][-1].ravel()

    def learn(self, x: ArrayLike, target: ArrayLike, lr: float) -> None:
        """Take a step of SGD on a frame."""
        for layer, change in zip(self.layers, self.gradients(x, target), strict=True):
            if change is not None:
                layer.weights[...] -= lr * change

    def gradients(self, x: ArrayLike, target: ArrayLike) -> list[Array | None]:
        """Return the gradient of ``|output - target|^2/2`` for each kernel; None for a pool."""
        patches, signals = self._forward(x)
        errors = self._backward(signals, target)
        return [
            _gradient(layer, seen, error) if layer.plastic else None
            for layer, seen, error in zip(self.layers, patches, errors, strict=True)
        ]

    def skipping(self, x: ArrayLike, target: ArrayLike) -> Work:
        """Return the multiply-adds of a frame if all are passed over of which a factor is 0."""
        patches, signals = self._forward(x)
        errors = self._backward(signals, target)
        forward = backward = update = 0
        for k, (layer, seen, error) in enumerate(zip(self.layers, patches, errors, strict=True)):
            # Of each position, how many sources are not 0 and how many targets have an error.
            if layer.shared.pooling:
                lit = np.count_nonzero(seen, axis=(2, 3))
                forward, pairs = forward + int(lit.sum()), int((lit * (error != 0)).sum())
            else:
                lit = np.count_nonzero(seen, axis=(2, 3, 4))
                forward += int(lit.sum()) * layer.shared.target[2]
                pairs = int((lit * np.count_nonzero(error, axis=2)).sum())
            backward += pairs if k else 0
            update += pairs if layer.plastic else 0
        return Work(forward, backward, update)

    def _forward(self, x: ArrayLike) -> tuple[list[Array], list[Array]]:
        """Return each layer's patches (see `_patches`), and all signals."""
        signals = [np.asarray(x, self.dtype).reshape(self.layers[0].shared.source)]
        patches = []
        for layer in self.layers:
            patches.append(_patches(layer.shared, signals[-1]))
            z = _applied(layer, patches[-1])
            signals.append(np.maximum(z, 0) if layer.relu else z)
        return patches, signals

    def _backward(self, signals: list[Array], target: ArrayLike) -> list[Array]:
        """Return the error of each layer's target."""
        wanted = np.asarray(target, self.dtype).reshape(signals[-1].shape)
        errors = [signals[-1] - wanted]
        for k in range(len(self.layers) - 1, 0, -1):
            error = _returned(self.layers[k], errors[0])
            errors.insert(0, error * (signals[k] > 0) if self.layers[k - 1].relu else error)
        return errors


def _patches(shared: Convolution, x: Array) -> Array:
    """Return what each position sees, (height, width, kernel height, kernel width, channels)."""
    (down, right), (above, before) = shared.stride, shared.padding
    padded = np.pad(x, ((above, above), (before, before), (0, 0)))
    height, width = shared.target[:2]
    seen = np.empty((height, width, *shared.kernel, x.shape[2]), x.dtype)
    for a, b in np.ndindex(*shared.kernel):
        seen[:, :, a, b] = padded[a::down, b::right][:height, :width]
    return seen


def _applied(layer: Layer, patches: Array) -> Array:
    if layer.shared.pooling:
        z: Array = np.einsum("yxabc,ab->yxc", patches, layer.weights)
    else:
        z = _rows(patches) @ layer.weights.reshape(-1, layer.shared.target[2])
    return z


def _returned(layer: Layer, error: Array) -> Array:
    """Return what errors send back to the source of a layer."""
    shared, weights = layer.shared, layer.weights
    (above, before), (down, right) = shared.padding, shared.stride
    height, width, channels = shared.source
    found = np.zeros((height + 2 * above, width + 2 * before, channels), error.dtype)
    for a, b in np.ndindex(*shared.kernel):
        sent = error * weights[a, b] if shared.pooling else error @ weights[a, b].T
        found[a::down, b::right][: sent.shape[0], : sent.shape[1]] += sent
    return found[above : above + height, before : before + width]


def _gradient(layer: Layer, patches: Array, error: Array) -> Array:
    change: Array = (_rows(patches).transpose(0, 2, 1) @ error).sum(axis=0)
    return change.reshape(layer.weights.shape)


def _rows(patches: Array) -> Array:
    """Return patches as one matrix a row of the target: so small that no BLAS starts a second thread."""
    return patches.reshape(*patches.shape[:2], -1)

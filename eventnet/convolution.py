"""Kernels that pass over images: which neurons share a weight in a projection, and which weight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError

Shape = tuple[int, int, int]
"""Height, width and channels of an image; neuron ``(y*width + x)*channels + channel``."""

Pair = tuple[int, int]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Convolution:
    """The geometry of a projection from image to image whose synapses share a kernel.

    Position (y, x) of the target sees the patch of the source that begins at
    ``(y*stride - padding, x*stride - padding)``; what lies outside of the source is not there.

    Attributes
    ----------
    source, target : tuple of int
        Height, width and channels.
    kernel, stride, padding : tuple of int
        Along the height and along the width.
    pooling : bool
        Each channel is projected to itself, not to all.

    Examples
    --------
    >>> found = Convolution((4, 4, 1), (2, 2, 8), (3, 3), (2, 2), (1, 1))
    >>> found.weight_shape, found.synapses
    ((3, 3, 1, 8), 200)
    """

    source: Shape
    target: Shape
    kernel: Pair
    stride: Pair
    padding: Pair
    pooling: bool = False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """``(height, width, source channels, target channels)``; of pooling without the channels."""
        return self.kernel if self.pooling else (*self.kernel, self.source[2], self.target[2])

    @property
    def synapses(self) -> int:
        """How many synapses share the kernel."""
        along = math.prod(len(self._joined(axis)[0]) for axis in (0, 1))
        return along * self.source[2] * (1 if self.pooling else self.target[2])

    def _joined(self, axis: int) -> tuple[Ints, Ints, Ints]:
        """Return, along one axis, all places of the source, of the target and of the kernel that meet."""
        to, at = np.indices((self.target[axis], self.kernel[axis])).reshape(2, -1)
        of = to * self.stride[axis] - self.padding[axis] + at
        inside = (of >= 0) & (of < self.source[axis])
        return of[inside], to[inside], at[inside]

    @cached_property
    def positions(self) -> Ints:
        """How many positions of the target see each source neuron, shape (n_in,)."""
        rows, columns = (
            np.bincount(self._joined(axis)[0], minlength=self.source[axis]) for axis in (0, 1)
        )
        return np.repeat(np.outer(rows, columns).ravel(), self.source[2])

    @cached_property
    def edges(self) -> tuple[Ints, Ints, Ints]:
        """Source neuron, target neuron and place in the kernel of every synapse, by rows."""
        (height, y_to, y_at), (width, x_to, x_at) = self._joined(0), self._joined(1)
        of = np.add.outer(height * self.source[1], width)[..., None, None] * self.source[2]
        to = np.add.outer(y_to * self.target[1], x_to)[..., None, None] * self.target[2]
        at = np.add.outer(y_at * self.kernel[1], x_at)[..., None, None]
        channel, further = np.arange(self.source[2])[:, None], np.arange(self.target[2])
        if self.pooling:
            further, weight = channel, at + 0 * channel
        else:
            weight = (at * self.source[2] + channel) * self.target[2] + further
        pre = np.broadcast_to(of + channel, weight.shape).ravel()
        post = np.broadcast_to(to + further, weight.shape).ravel()
        order = np.lexsort((post, pre))
        return pre[order], post[order], weight.ravel()[order]


def shape_of(size: int | Shape, name: str) -> tuple[int, Shape | None]:
    """Return a population's number of neurons and, if it is an image, its shape."""
    numbers = size if isinstance(size, tuple | list) else (size,)
    whole = all(not isinstance(n, bool) and int(n) == n and n >= 1 for n in numbers)
    if not whole or len(numbers) not in (1, 3):
        raise ConfigError(
            f"size={size} on {name}: must be a whole number of at least 1, or three of them: "
            "(height, width, channels)"
        )
    if not isinstance(size, tuple | list):
        return int(size), None
    height, width, channels = (int(n) for n in numbers)
    return height * width * channels, (height, width, channels)


def convolution(
    name: str,
    source: Shape | None,
    target: Shape | None,
    kernel: int | Pair,
    stride: int | Pair,
    padding: int | Pair,
    pooling: bool,
) -> Convolution:
    """Check that a kernel fits between two images, and return the projection's geometry."""
    sides = _pair("pool" if pooling else "kernel", kernel, 1, name)
    steps = _pair("stride", stride, 1, name)
    around = _pair("padding", padding, 0, name)
    for which, shape in zip(name.split(" -> "), (source, target), strict=True):
        if shape is None:
            raise ConfigError(
                f"{name}: a kernel joins images; give {which} its (height, width, channels) as size"
            )
    assert source is not None
    assert target is not None
    if any(p >= k for p, k in zip(around, sides, strict=True)):
        raise ConfigError(f"padding={padding} on {name}: must be smaller than the kernel, {kernel}")
    if any(n + 2 * p < k for n, p, k in zip(source, around, sides, strict=False)):
        raise ConfigError(
            f"kernel={kernel} on {name}: larger than the padded image of {source[:2]}"
        )
    height, width = (
        (n + 2 * p - k) // s + 1 for n, p, k, s in zip(source, around, sides, steps, strict=False)
    )
    needed: tuple[object, ...] = (height, width, source[2] if pooling else "channels")
    if target[:2] != (height, width) or (pooling and target[2] != source[2]):
        raise ConfigError(
            f"size={target} at the end of {name}: kernel={kernel}, stride={stride} and "
            f"padding={padding} make ({', '.join(map(str, needed))}) of {source}"
        )
    return Convolution(source, target, sides, steps, around, pooling)


def _pair(what: str, value: int | Pair, least: int, name: str) -> Pair:
    numbers = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(numbers) != 2 or any(isinstance(n, bool) or int(n) != n or n < least for n in numbers):
        raise ConfigError(
            f"{what}={value} on {name}: must be a whole number of at least {least}, or two of them"
        )
    return int(numbers[0]), int(numbers[1])

"""What a spiking fit is measured against: least squares, and the same network without spikes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def r2(predicted: ArrayLike, target: ArrayLike) -> list[float]:
    """Return each component's explained share of variance, ``1 - |y-p|^2/|y - mean y|^2``.

    Parameters
    ----------
    predicted, target : array_like, shape (n, size)

    Examples
    --------
    >>> r2([[1.0], [2.0], [3.0]], [[1.0], [2.0], [4.0]])
    [0.7857142857142857]
    """
    y = np.asarray(target, dtype=np.float64)
    p = np.asarray(predicted, dtype=np.float64)
    return [float(v) for v in 1 - ((y - p) ** 2).sum(0) / ((y - y.mean(0)) ** 2).sum(0)]


def explained(told: NDArray[np.floating], truth: NDArray[np.floating]) -> float:
    """Return R2 of all columns together: they share their squared errors and their variances.

    Examples
    --------
    >>> truth = np.array([[0.0, 0.0], [2.0, 0.0]])
    >>> explained(truth, truth), explained(np.zeros((2, 2)), truth)
    (1.0, -1.0)
    """
    spread = ((truth - truth.mean(axis=0)) ** 2).sum()
    return float(1 - ((told - truth) ** 2).sum() / spread)


def held(times: ArrayLike, values: ArrayLike, at: ArrayLike, *, before: bool = False) -> Floats:
    """Return the last reading at or before (strictly `before`) each time; 0 where there is none.

    Parameters
    ----------
    times : array_like, shape (n,)
        Increasing, s.
    values : array_like, shape (n, width)
    at : array_like, shape (m,)
        Times asked for, s.

    Returns
    -------
    ndarray, shape (m, width)

    Examples
    --------
    >>> held([0.0, 1.0], [[5.0], [7.0]], [0.5, 1.0]).tolist()
    [[5.0], [7.0]]
    >>> held([0.0, 1.0], [[5.0], [7.0]], [0.5, 1.0], before=True).tolist()
    [[5.0], [5.0]]
    """
    table = np.asarray(values, dtype=np.float64)
    index = np.searchsorted(np.asarray(times), np.asarray(at), side="left" if before else "right")
    padded = np.concatenate([np.zeros((1, table.shape[1])), table])
    return padded[index]


def least_squares(
    features: ArrayLike, targets: ArrayLike, train: slice, test: slice
) -> list[float]:
    """Fit targets by features and an intercept on `train`; return R2 a component on `test`.

    Parameters
    ----------
    features : array_like, shape (n, width)
    targets : array_like, shape (n, size)
    """
    x = np.column_stack([np.asarray(features), np.ones(len(np.asarray(features)))])
    y = np.asarray(targets, dtype=np.float64)
    weights, *_ = np.linalg.lstsq(x[train], y[train], rcond=None)
    return r2((x @ weights)[test], y[test])


@dataclass
class DenseNetwork:
    """A network recomputed at every sample and trained by SGD, with its operations counted.

    Parameters
    ----------
    weights : list of ndarray
        One matrix (n_in, n_out) a layer; changed in place by training.
    relu : bool
        Whether hidden units are rectified; False: identity.

    Attributes
    ----------
    multiply_adds, zero_skipping : int
        So far: of everything, and without inputs that are 0 and units that are off.
    """

    weights: list[Floats]
    relu: bool = True
    multiply_adds: int = 0
    zero_skipping: int = 0
    _signals: list[Floats] = field(default_factory=list, repr=False)

    def forward(self, x: Floats) -> Floats:
        """Return the output for one sample (width,)."""
        self._signals = [x]
        for k, w in enumerate(self.weights):
            z = self._signals[-1] @ w
            last = k == len(self.weights) - 1
            self._signals.append(np.maximum(z, 0.0) if self.relu and not last else z)
            self.multiply_adds += w.size
            self.zero_skipping += int(np.count_nonzero(self._signals[-2])) * w.shape[1]
        return self._signals[-1]

    def train(self, x: Floats, y: Floats, lr: float) -> None:
        """Do one step of SGD on ``|output - y|^2 / 2``."""
        error = self.forward(x) - y
        gradients = []
        for k in range(len(self.weights) - 1, -1, -1):
            w, signal = self.weights[k], self._signals[k]
            gradients.append((k, np.outer(signal, error)))
            on = int(np.count_nonzero(signal))
            reached = int(np.count_nonzero(error))
            self.multiply_adds += w.size
            self.zero_skipping += on * reached
            if k:
                error = w @ error
                if self.relu:
                    error = error * (signal > 0)
                self.multiply_adds += w.size
                self.zero_skipping += on * reached
        for k, gradient in gradients:
            self.weights[k] -= lr * gradient

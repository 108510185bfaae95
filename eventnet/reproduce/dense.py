"""The dense network of `rates`, recomputed and trained at every reading: compiled, and by PyTorch.

``h = max(x W0, 0)``, ``z = h W1``, ``e = z - y``, ``d = (h > 0) * (W1 e)``, then ``W1 -= lr * h (x) e``,
``W0 -= lr * x (x) d``.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from eventnet.bench.task import Repetition, Task

Floats = NDArray[np.float64]


@njit(cache=True, fastmath={"reassoc", "contract"})
def learn(w0: Floats, w1: Floats, x: Floats, y: Floats, lr: float, z: Floats) -> int:
    """Take all samples, one step each; write outputs into `z` and change the weights in place.

    Parameters
    ----------
    w0, w1 : ndarray, shape (n_in, hidden) and (n_out, hidden)
        The second one transposed, so that every inner loop runs along the hidden units.
    x, y, z : ndarray, shape (n, n_in) and (n, n_out) twice
    lr : float
        A sample.

    Returns
    -------
    int
        Hidden units that were on, summed over all samples.
    """
    hidden = w0.shape[1]
    h, d = np.zeros(hidden), np.zeros(hidden)
    on = 0
    for k in range(len(x)):
        h[:] = 0.0
        for i in range(w0.shape[0]):
            for j in range(hidden):
                h[j] += x[k, i] * w0[i, j]
        for j in range(hidden):
            on += h[j] > 0.0
            h[j] = max(h[j], 0.0)
        d[:] = 0.0
        for o in range(w1.shape[0]):
            total = 0.0
            for j in range(hidden):
                total += h[j] * w1[o, j]
            z[k, o] = total
            e = total - y[k, o]
            for j in range(hidden):
                d[j] += e * w1[o, j]
                w1[o, j] -= lr * e * h[j]
        for j in range(hidden):
            d[j] = d[j] if h[j] > 0.0 else 0.0
        for i in range(w0.shape[0]):
            for j in range(hidden):
                w0[i, j] -= lr * x[k, i] * d[j]
    return on


class Steps:
    """PyTorch, eager, the same step with the gradients by hand; a contestant of `eventnet.bench`."""

    def __init__(self, task: Task) -> None:
        import torch

        torch.set_num_threads(1)
        self.torch = torch
        self.arrays = [torch.from_numpy(task[name]) for name in ("w0", "w1", "x", "y")]
        self.lr = float(task["lr"])

    def prepare(self) -> None:
        """Take a few samples."""
        self._learn(10)

    def repeat(self, k: int) -> Repetition:
        """Take all samples."""
        begin = time.perf_counter()
        self._learn(len(self.arrays[2]))
        return {"units": len(self.arrays[2]), "wall_s": time.perf_counter() - begin}

    def finish(self) -> dict[str, Any]:
        """Return nothing more."""
        return {}

    def _learn(self, samples: int) -> None:
        torch, lr = self.torch, self.lr
        w0, w1, xs, ys = self.arrays
        with torch.inference_mode():
            w0, w1 = w0.clone(), w1.clone()
            for k in range(samples):
                x = xs[k]
                h = torch.mv(w0.t(), x).relu_()
                e = torch.mv(w1, h).sub_(ys[k])
                d = torch.mv(w1.t(), e).mul_(h > 0)
                w1.addr_(e, h, alpha=-lr)
                w0.addr_(x, d, alpha=-lr)


def torch_python() -> Path | None:
    """Return an interpreter that has PyTorch: this one, or that of `make bench`; None if neither has."""
    if importlib.util.find_spec("torch") is not None:
        return Path(sys.executable)
    root = Path(__file__).resolve().parent.parent.parent
    other = root / ".venv-bench" / "opponents" / "bin" / "python"
    return other if other.is_file() else None

"""The dense network of `cctv` by PyTorch: autograd and SGD, a step a frame."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from eventnet.bench.task import Repetition, Task


class Steps:
    """A contestant of `eventnet.bench`: learns a pass and reads what is scored.

    Parameters
    ----------
    task : mapping
        ``x`` (n, height, width) and ``y`` (m, 4), float32, of which the first m frames are learned;
        ``lr`` (passes,), of a frame; ``kernel0`` and so on, (height, width, source, target channels);
        ``pool``, (height, width) of the means before the last one.
    """

    def __init__(self, task: Task) -> None:
        import torch

        torch.set_num_threads(1)
        # Convolutions of few channels are faster so, as pixels lie here anyway.
        self.lying = {"memory_format": torch.channels_last}
        self.torch, self.lr = torch, [float(lr) for lr in task["lr"]]
        x = torch.from_numpy(task["x"])[:, None]
        self.x = x.contiguous(**self.lying)[:, None]
        self.y = torch.from_numpy(task["y"])
        kernels = [task[name] for name in sorted(task) if name.startswith("kernel")]
        self.net = torch.nn.Sequential()
        for kernel in kernels[:-1]:
            self._add(kernel, stride=2)
            self.net.append(torch.nn.ReLU())
        self.net.append(torch.nn.AvgPool2d(tuple(task["pool"].tolist())))
        self._add(kernels[-1], stride=1)
        self.net = self.net.to(**self.lying)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.0)

    def _add(self, kernel: Any, stride: int) -> None:
        side, _, of, to = kernel.shape
        conv = self.torch.nn.Conv2d(of, to, side, stride, side // 2, bias=False)
        weight = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
        with self.torch.no_grad():
            conv.weight.copy_(self.torch.from_numpy(weight))
        self.net.append(conv)

    def prepare(self) -> None:
        """Learn some frames at a rate of 0."""
        self._learn(10, 0.0)

    def repeat(self, k: int) -> Repetition:
        """Learn pass k, and read."""
        begin = time.perf_counter()
        self._learn(len(self.y), self.lr[k])
        learned = time.perf_counter()
        said = self._read()
        read_s = time.perf_counter() - learned
        return {
            "units": len(self.y),
            "wall_s": learned - begin,
            "read_s": read_s,
            "said": said.tolist(),
        }

    def finish(self) -> dict[str, Any]:
        """Return nothing more."""
        return {}

    def _learn(self, frames: int, lr: float) -> None:
        net, optimizer = self.net, self.optimizer
        optimizer.param_groups[0]["lr"] = lr
        for x, y in zip(self.x[:frames], self.y, strict=False):
            optimizer.zero_grad()
            (0.5 * (net(x).flatten() - y).square().sum()).backward()
            optimizer.step()

    def _read(self) -> Any:
        with self.torch.inference_mode():
            shown = self.x[len(self.y) :]
            return self.torch.stack([self.net(x).flatten() for x in shown]).numpy()

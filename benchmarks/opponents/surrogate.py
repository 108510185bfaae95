"""snnTorch: two layers of leaky integrate-and-fire neurons, surrogate gradients, ten steps an image."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import snntorch
import torch
from snntorch import surrogate

from eventnet.bench.perceptrons import SIZES, rate
from eventnet.bench.task import Repetition, Task
from eventnet.trial import percent

torch.set_num_threads(1)

STEPS = 10
LR = 0.05
"""In the first part. Not searched: it takes part for its speed."""


class SnnTorch:
    """Pixels are a constant current; the loss is the cross-entropy of the output's mean membrane.

    It is slow: of each part only the first images are learned, one in `share`.
    """

    def __init__(self, task: Task, share: int = 1) -> None:
        torch.manual_seed(0)
        self.parts = int(task["parts"])
        self.part = len(task["images"]) // self.parts
        self.used = max(self.part // share, 1)
        self.x = torch.from_numpy(task["images"]).float().div_(255)
        self.y = torch.from_numpy(task["labels"].astype(np.int64))
        self.test = task["test_images"], task["test_labels"]
        self.first = torch.nn.Linear(SIZES[0], SIZES[1])
        self.second = torch.nn.Linear(SIZES[1], SIZES[2])
        slope = surrogate.fast_sigmoid()
        self.hidden = snntorch.Leaky(beta=0.9, spike_grad=slope)
        self.output = snntorch.Leaky(beta=0.9, spike_grad=slope, reset_mechanism="none")
        parameters = [*self.first.parameters(), *self.second.parameters()]
        self.optimizer = torch.optim.SGD(parameters, lr=LR)
        self.loss = torch.nn.CrossEntropyLoss()

    def prepare(self) -> None:
        self.loss(self.read(self.x[:1]), self.y[:1]).backward()

    def read(self, x: torch.Tensor) -> torch.Tensor:
        """Return the output's mean membrane (n, 10)."""
        h, o = self.hidden.init_leaky(), self.output.init_leaky()
        current = self.first(x)  # constant, so computed once
        total = torch.zeros(len(x), SIZES[2])
        for _ in range(STEPS):
            spikes, h = self.hidden(current, h)
            _, o = self.output(self.second(spikes), o)
            total = total + o
        return total / STEPS

    def repeat(self, k: int) -> Repetition:
        self.optimizer.param_groups[0]["lr"] = rate(k, self.parts, LR)
        start = k * self.part
        begin = time.perf_counter()
        for i in range(start, start + self.used):
            self.optimizer.zero_grad()
            self.loss(self.read(self.x[i : i + 1]), self.y[i : i + 1]).backward()
            self.optimizer.step()
        return {"units": self.used, "wall_s": time.perf_counter() - begin}

    @torch.inference_mode()
    def finish(self) -> dict[str, Any]:
        images, labels = self.test
        said = self.read(torch.from_numpy(images).float().div_(255)).argmax(1).numpy()
        return {"test %": percent(said, labels)}

"""PyTorch, eager: autograd with its SGD, and the same step with hand-written gradients."""

from __future__ import annotations

import torch

from benchmarks.video import Stepping
from eventnet.bench.perceptrons import LR, Floats, Perceptron
from eventnet.bench.task import Task

torch.set_num_threads(1)


def perceptron(weights: list[Floats]) -> torch.nn.Sequential:
    first, second = (torch.nn.Linear(*w.shape, bias=False) for w in weights)
    with torch.no_grad():
        for layer, w in zip((first, second), weights, strict=True):
            layer.weight.copy_(torch.from_numpy(w.T))
    return torch.nn.Sequential(first, torch.nn.ReLU(), second)


class _Tensors(Perceptron):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.x = torch.from_numpy(self.images).float().div_(255)
        self.y = torch.from_numpy(self.labels)


class Autograd(_Tensors):
    """`nn.Sequential`, cross-entropy and `optim.SGD`, as in its tutorials."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.net = perceptron(self.initial)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=LR)
        self.loss = torch.nn.CrossEntropyLoss()

    def prepare(self) -> None:
        self.loss(self.net(self.x[:1]), self.y[:1]).backward()

    def learn(self, first: int, last: int, lr: float) -> None:
        net, optimizer, loss, x, y = self.net, self.optimizer, self.loss, self.x, self.y
        optimizer.param_groups[0]["lr"] = lr
        for k in range(first, last):
            optimizer.zero_grad()
            loss(net(x[k : k + 1]), y[k : k + 1]).backward()
            optimizer.step()

    def weights(self) -> list[Floats]:
        return [w.detach().numpy().T for w in self.net.parameters()]


class HandWritten(_Tensors):
    """The gradients by hand, without autograd, the weights changed in place by rank-1 updates."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.w0, self.w1 = (torch.from_numpy(w.copy()) for w in self.initial)

    @torch.inference_mode()
    def learn(self, first: int, last: int, lr: float) -> None:
        w0, w1, x, labels = self.w0, self.w1, self.x, self.labels.tolist()
        for k in range(first, last):
            pixels = x[k]
            h = torch.mv(w0.t(), pixels).relu_()
            e = torch.softmax(torch.mv(w1.t(), h), 0)
            e[labels[k]] -= 1
            d = torch.mv(w1, e).mul_(h > 0)
            w1.addr_(h, e, alpha=-lr)
            w0.addr_(pixels, d, alpha=-lr)

    def weights(self) -> list[Floats]:
        return [self.w0.numpy(), self.w1.numpy()]


class Regression(Stepping):
    """As `Autograd`, with half the squared error, on the video's task."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.net = perceptron(self.initial)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=self.lr)

    def own(self, array: Floats) -> torch.Tensor:
        return torch.from_numpy(array)

    def step(self, frames: torch.Tensor, targets: torch.Tensor, lr: float) -> None:
        net, optimizer = self.net, self.optimizer
        optimizer.param_groups[0]["lr"] = lr
        for x, y in zip(frames, targets, strict=True):
            optimizer.zero_grad()
            (0.5 * (net(x) - y).square().sum()).backward()
            optimizer.step()

    @torch.inference_mode()
    def outputs(self) -> Floats:
        return torch.stack([self.net(x) for x in self.frames]).numpy()

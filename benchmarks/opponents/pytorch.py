"""PyTorch, eager: autograd with its SGD, and the same step with hand-written gradients."""

from __future__ import annotations

import torch

from eventnet.bench.perceptrons import LR, Floats, Perceptron
from eventnet.bench.task import Task

torch.set_num_threads(1)


class _Tensors(Perceptron):
    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.x = torch.from_numpy(self.images).float().div_(255)
        self.y = torch.from_numpy(self.labels)


class Autograd(_Tensors):
    """`nn.Sequential`, cross-entropy and `optim.SGD`, as in its tutorials."""

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        sizes = [w.shape for w in self.initial]
        first, second = (torch.nn.Linear(*size, bias=False) for size in sizes)
        with torch.no_grad():
            for layer, w in zip((first, second), self.initial, strict=True):
                layer.weight.copy_(torch.from_numpy(w.T))
        self.net = torch.nn.Sequential(first, torch.nn.ReLU(), second)
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

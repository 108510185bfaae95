"""The paper's algorithm in plain NumPy, dense, one statement an equation: what the engine must equal.

It shares no code with the engine. Populations are named; arrays are float64; counts are floats.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]


@dataclass
class Coder:
    """An encoder, its quantizer and its adaptive scale."""

    size: int
    alpha: float
    relative: float
    eta: float
    theta: float = 0.5
    w2: float = 0.0  # a second tap, of which alpha is the first
    share: Any = None  # of each neuron's scale, in parts of beta
    mu: float = 1.0
    beta: float = field(init=False)
    x_last: Array = field(init=False)
    x_before: Array = field(init=False)
    phi: Array = field(init=False)
    s: Array = field(init=False)
    quanta: int = 0
    events: int = 0

    def __post_init__(self) -> None:
        self.beta = self.relative
        self.x_last = np.zeros(self.size)
        self.x_before = np.zeros(self.size)
        self.phi = np.zeros(self.size)
        self.s = np.zeros(self.size)

    def __call__(self, x: Array) -> Array:
        kp = (1 - self.alpha) / self.beta
        kd = self.alpha / self.beta
        p = self.phi + (kp * x + kd * (x - self.x_last))
        if self.w2 or self.share is not None:
            scale = self.beta * (1.0 if self.share is None else self.share)
            p = self.phi + (x - self.alpha * self.x_last - self.w2 * self.x_before) / scale
        size = np.rint(np.maximum(np.abs(p) - (self.theta - 0.5), 0))
        self.s = np.sign(p) * size
        self.phi = p - self.s
        self.x_before, self.x_last = self.x_last, x.copy()
        self.quanta += int(np.abs(self.s).sum())
        self.events += int(np.count_nonzero(self.s))
        return self.s

    @property
    def sent(self) -> Array:
        """What is sent, in units of beta."""
        return self.s if self.share is None else self.s * self.share

    def adapt(self) -> None:
        if self.eta:
            self.beta = self.beta + self.eta * (self.relative * self.mu - self.beta)
            self.mu = (1 - self.eta) * self.mu + self.eta * np.abs(self.x_last).mean()


@dataclass
class Synapses:
    """The weights between two populations, with all decoders and traces that go with them."""

    source: str
    target: str
    w: Array
    share: Any = None  # of a kernel: which of its weights each synapse has, (n_in, n_out); -1: none
    seen: Any = 1.0  # and how many of its positions see each source neuron

    def __post_init__(self) -> None:
        n_in, n_out = self.w.shape
        self.y = np.zeros(n_out)
        self.y_before = np.zeros(n_out)
        self.g = np.zeros(n_in)
        self.x_trace = np.zeros(n_in)
        self.x_before = np.zeros(n_in)
        self.e_trace = np.zeros(n_out)
        self.u = np.zeros((n_in, n_out))


def summed(gradient: Array, share: Any) -> Array:
    """The gradient of weights, of which some are one: the sum over its synapses."""
    if share is None:
        return gradient
    there = share >= 0
    total = np.bincount(share[there], gradient[there])
    return np.where(there, total[share], 0.0)


def decoded(now: Any, before: Any, f: Coder, b: Coder) -> Any:
    """The decoded signal times a fading error of 1, summed over all ticks to come."""
    total, share = 0.0 * now, 1.0
    for _ in range(3000):
        total = total + share * now
        now, before = f.alpha * now + f.w2 * before, now
        share *= b.alpha
    return total


@dataclass
class Oracle:
    """A network of sensors, layers in order, and one output.

    `sensors` and `layers` map names to (size, k_alpha, scale); `errors` the same of every layer and of
    the output, which comes last.
    """

    sensors: dict[str, tuple[int, float, float]]
    layers: dict[str, tuple[int, float, float]]
    errors: dict[str, tuple[int, float, float]]
    synapses: list[Synapses]
    rule: str
    lr: float
    eta: float = 0.0
    leak: float = 0.0
    loss: str = "softmax"
    learn_bias: bool = False
    cap: float = np.inf
    slowness: float = 0.0
    theta: dict[str, float] = field(default_factory=dict)  # where it is not 1/2
    w2: dict[str, float] = field(default_factory=dict)  # second taps
    price: float = 0.0
    own: bool = False  # whether each neuron learns a scale

    def __post_init__(self) -> None:
        def coders(specs: dict[str, tuple[int, float, float]]) -> dict[str, Coder]:
            thetas = {name: self.theta.get(name, 0.5) for name in specs}
            return {name: Coder(*spec, self.eta, thetas[name]) for name, spec in specs.items()}

        self.forward = coders(self.sensors | self.layers)
        for name, w2 in self.w2.items():
            self.forward[name].w2 = w2
        self.backward = coders(self.errors)
        self.output = list(self.errors)[-1]
        self.b = {name: np.zeros(spec[0]) for name, spec in self.errors.items()}
        self.z: dict[str, Array] = {}
        self.x: dict[str, Array] = {}
        self.e: dict[str, Array] = {}
        self.squares: dict[str, tuple[float, float]] = {}  # of layers and of their changes, means
        self.ticks = 0
        self.decoded = {name: np.zeros((2, c.size)) for name, c in self.forward.items()}
        units = {name: c.size if self.own else 1 for name, c in self.forward.items()}
        self.paid = {name: np.zeros(n) for name, n in units.items()}
        self.spoilt = {name: np.zeros(n) for name, n in units.items()}
        if self.price and self.own:
            for coder in self.forward.values():
                coder.share = np.ones(coder.size)
        self.operations = {(k.source, k.target): np.zeros(3, dtype=int) for k in self.synapses}

    def tick(self, readings: dict[str, Array], target: Array) -> None:
        before = self.x.copy()
        for name in self.sensors:
            self.x[name] = readings[name]
            self.forward[name](readings[name])
        for name in self.errors:
            z = self.b[name].copy()
            for k in self.synapses:
                if k.target == name:
                    coder = self.forward[k.source]
                    faded = coder.alpha * k.y + coder.w2 * k.y_before
                    k.y, k.y_before = faded + coder.beta * (coder.sent @ k.w), k.y
                    z = z + k.y
            self.z[name] = z
            if name in self.layers:
                self.x[name] = np.where(z > 0, z, self.leak * z)
                self.forward[name](self.x[name])

        z = self.z[self.output]
        if self.loss == "softmax":
            p = np.exp(z - z.max())
            error = p / p.sum() - target
        else:
            error = z - target
        self.e[self.output] = error
        self.backward[self.output](error)
        for name in reversed(list(self.layers)):
            error = np.zeros(len(self.z[name]))
            for k in self.synapses:
                if k.source == name:
                    coder = self.backward[k.target]
                    k.g = coder.alpha * k.g + coder.beta * (coder.s @ k.w.T)
                    error = error + k.g
            if self.slowness:
                error = error + self.slowness * self.slow(name, before.get(name, 0.0))
            self.e[name] = np.where(self.z[name] >= 0, 1.0, self.leak) * error
            self.backward[name](self.e[name])

        before_learning = {id(k): k.w for k in self.synapses}
        rate = {name: self.guarded(name) for name in self.b}
        for k in self.synapses:
            k.w = k.w - rate[k.target] * summed(self.gradient(k), k.share)
            s, s_e = self.forward[k.source].s, self.backward[k.target].s
            n_in, n_out = k.w.shape
            rows, columns = int(np.abs(s).sum()) * n_out, int(np.abs(s_e).sum()) * n_in
            crosses = columns if k.source in self.layers else 0
            self.operations[k.source, k.target] += (rows, crosses, rows + columns)
        if self.learn_bias:
            for name in self.b:
                self.b[name] = self.b[name] - rate[name] * self.e[name]
        for coder in (*self.forward.values(), *self.backward.values()):
            coder.adapt()
        if self.price:
            self.trade(before_learning)
        self.ticks += 1

    def trade(self, weights: dict[int, Array]) -> None:
        """Every 61st tick each scale moves towards where a finer one would cost what it is worth."""
        for name, c in self.forward.items():
            y, before = self.decoded[name]
            self.decoded[name] = np.array([c.alpha * y + c.w2 * before + c.beta * c.sent, y])
        if self.ticks % 61:
            return
        for name, c in self.forward.items():
            ways = [k for k in self.synapses if k.source == name]
            slope = sum(weights[id(k)] @ self.e[k.target] for k in ways)
            fan = 2 * sum(k.w.shape[1] for k in ways)
            for k in ways:
                self.operations[k.source, k.target][2] += k.w.size
            paid = self.price * fan * np.abs(c.s)
            spoilt = slope * (self.decoded[name][0] - self.x[name])
            if not self.own:
                paid, spoilt = paid.sum(keepdims=True), spoilt.sum(keepdims=True)
            says = (paid != 0) | (spoilt != 0)
            over, rate = (1000, 0.001) if self.own else (100, 0.005)
            self.paid[name] += says * (paid - self.paid[name]) / over
            self.spoilt[name] += says * (spoilt - self.spoilt[name]) / over
            size = self.paid[name] + np.abs(self.spoilt[name])
            gain = (self.paid[name] - self.spoilt[name]) / np.where(size > 0, size, 1)
            factor = np.exp(rate * gain * says)
            if self.own:
                new = np.clip(c.share * factor, 0.25, 4)
                factor, c.share = new / c.share, new
            else:
                c.beta = c.beta * factor[0]
            c.phi = c.phi / factor

    def slow(self, name: str, before: Any) -> Array:
        """The gradient of the relative change r, with <x^2> before it, less its part along x."""
        x, d = self.x[name], self.x[name] - before
        now = float((x**2).sum()), float((d**2).sum())
        means = self.squares.get(name, (0.0, 0.0))
        means = now if means[0] == 0 else means
        self.squares[name] = tuple(m + 0.01 * (n - m) for m, n in zip(means, now, strict=True))  # type: ignore[assignment]
        size, change = self.squares[name]
        if size == 0 or change == 0:
            return np.zeros(len(x))
        r = np.sqrt(change / size)
        return np.asarray(d / r - r * x / 2)

    def guarded(self, target: str) -> float:
        mine = [k for k in self.synapses if k.target == target]
        power = sum(float((k.seen * self.x[k.source] ** 2).sum()) for k in mine) + self.learn_bias
        return min(self.lr, self.cap / power) if power > 0 else self.lr

    def gradient(self, k: Synapses) -> Array:
        f, b = self.forward[k.source], self.backward[k.target]
        s, s_e = f.sent, b.s
        r = f.alpha * b.alpha
        if self.rule == "true":
            return np.outer(self.x[k.source], self.e[k.target])
        xd, ed = f.alpha * k.x_trace + f.w2 * k.x_before, b.alpha * k.e_trace
        if self.rule == "stdp":
            # What a spike is worth from now on, summed until it has faded, by brute force.
            if f.w2:
                ahead, alone = decoded(xd, k.x_trace, f, b), decoded(1.0, 0.0, f, b)
                k.x_trace, k.x_before, k.e_trace = xd + s, k.x_trace, ed + s_e
                sums = np.outer(s, ed + s_e) * alone + np.outer(ahead, s_e)
                return np.asarray(sums * (f.beta * b.beta))
            k.x_trace, k.e_trace = xd + s, ed + s_e
            return (np.outer(s, ed + s_e) + np.outer(xd, s_e)) * (f.beta * b.beta / (1 - r))
        k.x_trace, k.x_before, k.e_trace = xd + f.beta * s, k.x_trace, ed + b.beta * s_e
        if self.rule == "reconstruction":
            return np.outer(k.x_trace, k.e_trace)
        touched = (s != 0)[:, None] | (s_e != 0)[None, :]
        gradient = np.where(touched, (k.u - np.outer(xd, ed)) / (1 - r), 0.0)
        k.u = np.where(touched, np.outer(k.x_trace, k.e_trace), k.u)
        return gradient

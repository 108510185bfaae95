"""The reference engine's neurons: each knows its equations, which it takes from `kernels`.

A neuron is built from leaky decoders (one for each time constant that arrives), an activation, and a
`Coder`: an encoder with its quantizer, whose residual moves along a known curve between events.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import equations as eq
from eventnet.network import Population
from eventnet.plasticity.true_gradient import Curve

Floats = NDArray[np.float64]


class OutOfRangeError(Exception):
    """A residual or a trace has left its range; the engine turns it into `Diverged`."""


def fire(phi: float, theta: float, drift: float) -> tuple[float, float]:
    """Quantize a residual (Eq. 3): return what is left of it and the count that is sent."""
    if not abs(phi) <= eq.MAX_COUNT:
        raise OutOfRangeError
    count = eq.quantize(phi, theta, drift)
    return phi - count, count


class SensorNeuron:
    """Holds a reading x and fires every ``tau*step/|x|`` seconds, with the sign of x."""

    def __init__(self, population: Population) -> None:
        self.tau, self.step, self.theta = population.tau, population.step, population.threshold
        self.x = 0.0
        self.period = math.inf
        self.phi = 0.0
        self.next = math.inf

    def beat(self, t: float) -> float:
        """Fire because the schedule says so; the residual at that moment is the threshold."""
        count = math.copysign(1.0, self.x)
        self.phi = eq.threshold_ahead(self.theta, count) - count
        self.next = eq.later(t, t + self.period)
        return count

    def read(self, t: float, x: float) -> float:
        """Take a new reading: encode its jump, fire if it passes the threshold, reschedule."""
        if self.next == t:
            phi = eq.threshold_ahead(self.theta, self.x)
        else:
            phi = eq.sensor_residual(self.phi, self.next, t, self.period, self.theta, self.x)
        self.phi, count = fire(phi + (x - self.x) / self.step, self.theta, x)
        self.x = x
        self.period = eq.sensor_period(x, self.tau, self.step)
        self.next = eq.sensor_next(t, self.phi, self.theta, self.period, x)
        return count

    def take_step(self, step: float) -> None:
        """Begin with another step."""
        self.step = step

    def set_step(self, t: float, step: float) -> None:
        """Let a spike stand for `step` from the instant `t` on, which has run."""
        self.phi = eq.sensor_residual(self.phi, self.next, t, self.period, self.theta, self.x)
        self.step = step
        self.period = eq.sensor_period(self.x, self.tau, step)
        self.next = eq.sensor_next(t, self.phi, self.theta, self.period, self.x)


class Coder:
    """An encoder and its quantizer: a residual that moves along a known curve between events.

    Per unit of time it moves by ``h'/step*(level/tau + sum_g u_g*(1/tau - 1/tau_g)*exp(-s/tau_g))``,
    where `level` is the part of the signal that does not decay and u_g the traces that do. Traces that
    decay with the coder's own tau do not move it: then the curve is a straight line.
    """

    def __init__(
        self, tau: float, step: float, theta: float, taus: Sequence[float], t0: float
    ) -> None:
        self.tau, self.step, self.theta = tau, step, theta
        self.per_step = 1.0 / step
        self.taus = np.array(taus)
        self.straight = tuple(taus) == (tau,)
        self.reset(t0)

    def reset(self, t0: float) -> None:
        """Start at rest."""
        self.phi = 0.0
        self.anchor = t0
        self.cross = math.inf
        self.side = 0.0
        self.slope = 0.0
        self.level = 0.0
        self.amplitude = np.zeros(len(self.taus))

    def residual(self, t: float) -> float:
        """Return phi at `t`: the threshold itself if a crossing was scheduled for now."""
        if self.cross == t:
            return self.theta * self.side
        if self.straight:
            drift = self.slope * self.level / (self.tau * self.step)
            return self.phi + drift * (t - self.anchor)
        way = eq.travelled(t - self.anchor, self.level / self.tau, self.amplitude, self.taus)
        return self.phi + self.slope / self.step * float(way)

    def fire(
        self, t: float, phi: float, slope: float, level: float, traces: Floats, clock: float
    ) -> float:
        """Quantize (Eq. 3), keep the rest, and schedule the next crossing; return the count."""
        if not abs(phi) <= eq.MAX_COUNT:
            raise OutOfRangeError
        self.slope, self.level, self.anchor = slope, level, t
        if self.straight:
            drift = slope * level / (self.tau * self.step)
            count = eq.quantize(phi, self.theta, drift)
            self.phi = phi - count
            self.cross = eq.crossing(t, self.phi, self.theta, drift)
            self.side = math.copysign(1.0, drift)
            return count
        gain = slope / self.step
        eq.amplitudes(t, clock, traces, 0, 1, self.taus, self.tau, self.amplitude)
        drift = gain * eq.pace(level / self.tau, self.amplitude, self.taus)
        count = eq.quantize(phi, self.theta, drift)
        self.phi = phi - count
        self._schedule(t, gain)
        return count

    def _schedule(self, t: float, gain: float) -> None:
        """Find when and where the residual meets its threshold on its curve."""
        room = np.zeros(len(self.taus))
        cross, side = eq.schedule(
            t, self.phi, self.theta, gain, self.level, self.tau, self.amplitude, room, self.taus
        )
        self.cross, self.side = float(cross), float(side)  # of NumPy's type without the JIT

    def set_step(self, t: float, step: float, traces: Floats, clock: float) -> None:
        """Let a spike stand for `step` from the instant `t` on, which has run."""
        self.phi, self.anchor = self.residual(t), t
        self.step, self.per_step = step, 1.0 / step
        if self.straight:
            drift = self.slope * self.level / (self.tau * step)
            self.cross = eq.crossing(t, self.phi, self.theta, drift)
            return
        eq.amplitudes(t, clock, traces, 0, 1, self.taus, self.tau, self.amplitude)
        self._schedule(t, self.slope / step)


class OutputNeuron:
    """A leaky decoder that is read out; it sends nothing on."""

    def __init__(self, bias: float, taus: Sequence[float], local: bool = False) -> None:
        self.bias = bias
        self.taus = np.array(taus)
        self.traces = np.zeros(len(taus))
        self.local = local  # its population's clock stands still

    def signal(self, elapsed: float) -> float:
        """Return ``z = bias + u`` so long after the last delivery."""
        z = self.bias
        for trace, tau in zip(self.traces.tolist(), self.taus.tolist(), strict=True):
            z += eq.fade(trace, eq.decay(elapsed, tau))
        return z

    def decayed(self, elapsed: float, scale: float = 1.0) -> Curve:
        """Return the traces so long after the last delivery, as a signal from then on."""
        return [
            (scale * eq.fade(trace, eq.decay(elapsed, tau)), tau)
            for trace, tau in zip(self.traces.tolist(), self.taus.tolist(), strict=True)
        ]

    def size(self, elapsed: float) -> float:
        """Return ``sum |u_g|``: how far z can still move by decay."""
        total = 0.0
        for trace, tau in zip(self.traces.tolist(), self.taus.tolist(), strict=True):
            total += abs(eq.fade(trace, eq.decay(elapsed, tau)))
        return total

    def receive(self, elapsed: float, arrived: Sequence[float]) -> None:
        """Decode what arrived, a trace for each time constant (Eq. 5)."""
        for k, tau in enumerate(self.taus):
            factor = eq.decay(elapsed, tau)
            if self.local:
                self.traces[k] = eq.hold(self.traces[k], factor, arrived[k])
            else:
                self.traces[k] = eq.fade(self.traces[k], factor) + arrived[k]
            if not abs(self.traces[k]) < 1e300:
                raise OutOfRangeError

    def set_forward(self, elapsed: float) -> None:
        """Let the traces count from so much later."""
        for k, tau in enumerate(self.taus):
            self.traces[k] = eq.set_forward(self.traces[k], eq.decay(elapsed, tau))


class LayerNeuron(OutputNeuron):
    """A leaky decoder, an activation, an encoder and a quantizer."""

    def __init__(
        self,
        population: Population,
        bias: float,
        taus: Sequence[float],
        t0: float,
        local: bool = False,
    ) -> None:
        super().__init__(bias, taus, local)
        self.leak = population.leak
        self.coder = Coder(population.tau, population.step, population.threshold, taus, t0)
        self.active = False
        self.started = False  # before t0 every activation is 0
        self.turn = math.inf

    def take_step(self, step: float) -> None:
        """Begin with another step."""
        self.coder.step, self.coder.per_step = step, 1.0 / step

    @property
    def slope(self) -> float:
        """h' as the active bit has it."""
        return eq.activation(1.0, self.active, self.leak)

    def curve(self, elapsed: float) -> Curve:
        """Return h(z) so long after the last delivery, as a signal from then on."""
        return [(self.slope * self.bias, math.inf), *self.decayed(elapsed, self.slope)]

    def deliver(self, t: float, clock: float, arrived: Sequence[float]) -> float:
        """Decode what arrived, encode the jump of the activation, fire."""
        phi = self.coder.residual(t)
        if self.local:
            jump = self._hold(t - clock, arrived)
            return self.coder.fire(t, phi + jump, self.slope, 0.0, self.traces, t)
        before = self.signal(t - clock) if self.started else 0.0
        self.started = True
        was_active = self.active
        self.receive(t - clock, arrived)
        z = self.signal(0.0)
        self.active = eq.switched_on(z, self.leak)
        jump = eq.activation(z, self.active, self.leak) - eq.activation(
            before, was_active, self.leak
        )
        self.turn = self._next_turn(t, t, z)
        return self.coder.fire(
            t, phi + jump * self.coder.per_step, self.slope, self.bias, self.traces, t
        )

    def _hold(self, elapsed: float, arrived: Sequence[float]) -> float:
        """Decode as of a clock that stands still; return the jump of the residual."""
        after, _, slope, jump = eq.arrive_held(
            self.traces[0],
            eq.decay(elapsed, self.coder.tau),
            arrived[0],
            self.leak,
            self.coder.per_step,
        )
        self.traces[0] = after
        self.active = slope == 1.0
        if not abs(after) < 1e300:
            raise OutOfRangeError
        return jump

    def act(self, t: float, clock: float) -> float:
        """Run the neuron's own event: a crossing, its going on or off, or both."""
        phi = self.coder.residual(t)
        if self.turn == t:
            self.active = not self.active
            self.turn = self._next_turn(t, clock, 0.0)
        return self.coder.fire(t, phi, self.slope, self.bias, self.traces, clock)

    def _next_turn(self, t: float, clock: float, z: float) -> float:
        """Return when z, as it is at `t`, will cross zero."""
        if self.leak == 1.0:
            return math.inf
        room = np.zeros(len(self.taus))
        return float(
            eq.zero_crossing(
                t, z, self.active, self.bias, clock, self.traces, 0, 1, self.taus, room
            )
        )


def error_coders(
    population: Population, taus: Sequence[float], steps: Sequence[float], t0: float
) -> list[Coder]:
    """Return the coders of one neuron's error: one for each step that a projection asks for."""
    return [Coder(population.error_tau, step, population.threshold, taus, t0) for step in steps]


def next_cross(coders: Sequence[Coder]) -> float:
    """Return when the first of a neuron's coders fires by itself."""
    return min(coder.cross for coder in coders)


class LossNeuron:
    """Encodes the squared error ``e = bias + u - y`` of one output against its held target."""

    def __init__(
        self,
        population: Population,
        bias: float,
        taus: Sequence[float],
        steps: Sequence[float],
        t0: float,
    ) -> None:
        self.bias = bias
        self.t0 = t0
        self.coders = error_coders(population, taus, steps, t0)
        self.clear()

    def clear(self) -> None:
        """Forget the target and the error."""
        self.y = 0.0
        self.on = False
        for coder in self.coders:
            coder.reset(self.t0)

    def encode(
        self,
        t: float,
        clock: float,
        output: OutputNeuron,
        arrived: Sequence[float] | None,
        y: float | None,
    ) -> list[float]:
        """Encode what arrived (None: nothing) and the target given now (None: none)."""
        came = arrived if arrived is not None and self.on else ()
        jump = 0.0
        if y is not None:
            z = output.signal(t - clock)
            before = z - self.y if self.on else 0.0
            self.on = not math.isnan(y)
            self.y = y if self.on else 0.0
            jump = (z - self.y if self.on else 0.0) - before
        counts = []
        for coder in self.coders:
            phi = coder.residual(t)
            for amount in came:
                phi += amount / coder.step
            if y is not None:
                phi += jump / coder.step
            slope = 1.0 if self.on else 0.0
            counts.append(coder.fire(t, phi, slope, self.bias - self.y, output.traces, clock))
        return counts

    def curve(self, elapsed: float, output: OutputNeuron) -> Curve:
        """Return the error so long after the output's last delivery, as a signal from then on."""
        return [(self.bias - self.y, math.inf), *output.decayed(elapsed)] if self.on else []


class SoftmaxLoss:
    """Encodes the cross-entropy error ``e = softmax(z) - y`` of a whole output, held between evaluations.

    It is evaluated at a delivery, at a target and when its timer says that a z has moved by the
    tolerance; not at its own crossings, at which it would fire without end.
    """

    def __init__(
        self, population: Population, taus: Sequence[float], steps: Sequence[float], t0: float
    ) -> None:
        self.size = population.size
        self.tolerance = population.tolerance
        self.shortest = min(taus)
        self.t0 = t0
        own = (population.error_tau,)
        self.coders = [error_coders(population, own, steps, t0) for _ in range(self.size)]
        self.clear()

    def clear(self) -> None:
        """Forget the target and the error."""
        self.y = [0.0] * self.size
        self.on = False
        self.e = [0.0] * self.size
        self.timer = math.inf
        for coders in self.coders:
            for coder in coders:
                coder.reset(self.t0)

    def evaluate(
        self, t: float, clock: float, outputs: Sequence[OutputNeuron], target: list[float] | None
    ) -> list[float]:
        """Return the error as it is now, and set the timer."""
        if target is not None:
            self.y = target
            self.on = not any(math.isnan(y) for y in target)
        soft = np.array([neuron.signal(t - clock) for neuron in outputs])
        eq.softmax(soft)
        largest = max(neuron.size(t - clock) for neuron in outputs)
        self.timer = math.inf
        if not self.on:
            return [0.0] * self.size
        self.timer = eq.drift_time(t, largest, self.tolerance, self.shortest)
        return [float(p) - y for p, y in zip(soft, self.y, strict=True)]

    def encode(self, t: float, j: int, e: float | None) -> list[float]:
        """Encode the jump to a new error (None: the held one goes on) and fire."""
        before = self.e[j]
        self.e[j] = before if e is None else e
        counts = []
        for coder in self.coders[j]:
            phi = coder.residual(t) + (self.e[j] - before) / coder.step
            counts.append(coder.fire(t, phi, 1.0, self.e[j], np.zeros(1), t))
        return counts


class ErrorNeuron:
    """Decodes the error that comes back to a layer's neuron, gates it by h', encodes it (Eq. 12)."""

    def __init__(
        self, population: Population, taus: Sequence[float], steps: Sequence[float], t0: float
    ) -> None:
        self.leak = population.leak
        self.taus = np.array(taus)
        self.t0 = t0
        self.coders = error_coders(population, taus, steps, t0)
        self.clear()

    def clear(self) -> None:
        """Forget the error."""
        self.traces = np.zeros(len(self.taus))
        self.gate = False
        for coder in self.coders:
            coder.reset(self.t0)

    def encode(
        self, t: float, clock: float, arrived: Sequence[float] | None, active: bool
    ) -> list[float]:
        """Take error spikes (None: none), follow the forward neuron on or off, or just fire."""
        residuals = [coder.residual(t) for coder in self.coders]
        before = after = 0.0
        traces = self.traces.tolist()
        for k, tau in enumerate(self.taus.tolist()):
            faded = eq.fade(traces[k], eq.decay(t - clock, tau))
            amount = arrived[k] if arrived is not None else 0.0
            before += faded
            after += faded + amount
            if arrived is not None:
                self.traces[k] = faded + amount
        jump = eq.activation(after, active, self.leak) - eq.activation(before, self.gate, self.leak)
        self.gate = active
        now = clock if arrived is None else t
        slope = eq.activation(1.0, active, self.leak)
        return [
            coder.fire(t, phi + jump * coder.per_step, slope, 0.0, self.traces, now)
            for coder, phi in zip(self.coders, residuals, strict=True)
        ]

    def curve(self, elapsed: float) -> Curve:
        """Return the gated error so long after the last delivery, as a signal from then on."""
        slope = eq.activation(1.0, self.gate, self.leak)
        pairs = zip(self.traces.tolist(), self.taus.tolist(), strict=True)
        return [(slope * eq.fade(trace, eq.decay(elapsed, tau)), tau) for trace, tau in pairs]


def fields(neuron: Any) -> dict[str, Any]:
    """Return a copy of a neuron's fields, those of its coders among them, as plain data."""
    return {name: _plain(value) for name, value in vars(neuron).items()}


def set_fields(neuron: Any, found: dict[str, Any]) -> None:
    """Give a neuron the fields that `fields` returned."""
    for name, value in found.items():
        setattr(neuron, name, _filled(getattr(neuron, name), value))


def _plain(value: Any) -> Any:
    if isinstance(value, Coder):
        return copy.deepcopy(vars(value))
    return [_plain(v) for v in value] if isinstance(value, list) else copy.deepcopy(value)


def _filled(old: Any, value: Any) -> Any:
    """Return `value`, in the coders of `old` if that has any."""
    if isinstance(old, Coder):
        vars(old).update(copy.deepcopy(value))
        return old
    if isinstance(old, list):
        return [_filled(mine, v) for mine, v in zip(old, value, strict=True)]
    return copy.deepcopy(value)

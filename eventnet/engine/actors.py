"""The reference engine: one Python object a neuron, its pending events in one queue.

Read it from the bottom: `ActorsEngine.advance` is the main loop, `ActorsEngine._instant` the order
of things within one instant. Above it stand the populations, which know what a delivery touches,
and the neurons, which know their equations (imported from `kernels`, so that both engines share
them). It is slow and plain, it is what the compiled engine is held to, and it is the place to try a
new neuron or a new learning rule.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import kernels as eq
from eventnet.engine.plan import Plan
from eventnet.engine.queue import EventQueue
from eventnet.errors import Diverged
from eventnet.network import Population, Projection
from eventnet.plasticity import STDP
from eventnet.sources import Source

Spikes = list[tuple[int, float]]
"""The neurons of one population that fire in one instant, ascending, with their signed counts."""

SYNAPSE_STATE = (
    *("rows", "charge", "owed", "booked", "version", "seen", "bookings"),
    *("post", "power", "jumps", "clock", "origin"),
)

What = Literal["cross", "turn", "error", "timer"]
Key = tuple[int, What, int]
"""Population, what happens, neuron."""

Floats = NDArray[np.float64]


class OutOfRangeError(Exception):
    """A residual or a trace has left its range; the engine turns it into `Diverged`."""


def fire(phi: float, theta: float, drift: float) -> tuple[float, float]:
    """Quantize a residual (Eq. 3): return what is left of it and the count that is sent."""
    if not abs(phi) <= eq.MAX_COUNT:
        raise OutOfRangeError
    count = eq.quantize(phi, theta, drift)
    return phi - count, count


# --------------------------------------------------------------------------------------------------
# Neurons
# --------------------------------------------------------------------------------------------------


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
        return self.phi + self.slope / self.step * way

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
        self.cross, self.side = eq.schedule(
            t,
            self.phi,
            self.theta,
            gain,
            level,
            self.tau,
            self.amplitude,
            np.zeros(len(self.taus)),
            self.taus,
        )
        return count


class OutputNeuron:
    """A leaky decoder that is read out; it sends nothing on."""

    def __init__(self, bias: float, taus: Sequence[float]) -> None:
        self.bias = bias
        self.taus = np.array(taus)
        self.traces = np.zeros(len(taus))

    def signal(self, elapsed: float) -> float:
        """Return ``z = bias + u`` so long after the last delivery."""
        z = self.bias
        for trace, tau in zip(self.traces, self.taus, strict=True):
            z += eq.fade(trace, eq.decay(elapsed, tau))
        return z

    def size(self, elapsed: float) -> float:
        """Return ``sum |u_g|``: how far z can still move by decay."""
        total = 0.0
        for trace, tau in zip(self.traces, self.taus, strict=True):
            total += abs(eq.fade(trace, eq.decay(elapsed, tau)))
        return total

    def receive(self, elapsed: float, arrived: Sequence[float]) -> None:
        """Decode what arrived, a trace for each time constant (Eq. 5)."""
        for k, tau in enumerate(self.taus):
            self.traces[k] = eq.fade(self.traces[k], eq.decay(elapsed, tau)) + arrived[k]
            if not abs(self.traces[k]) < 1e300:
                raise OutOfRangeError


class LayerNeuron(OutputNeuron):
    """A leaky decoder, an activation, an encoder and a quantizer."""

    def __init__(
        self, population: Population, bias: float, taus: Sequence[float], t0: float
    ) -> None:
        super().__init__(bias, taus)
        self.leak = population.leak
        self.step = population.step
        self.coder = Coder(population.tau, population.step, population.threshold, taus, t0)
        self.active = False
        self.started = False  # before t0 every activation is 0
        self.turn = math.inf

    @property
    def slope(self) -> float:
        """h' as the active bit has it."""
        return eq.activation(1.0, self.active, self.leak)

    def deliver(self, t: float, clock: float, arrived: Sequence[float]) -> float:
        """Decode what arrived, encode the jump of the activation, fire."""
        phi = self.coder.residual(t)
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
        return self.coder.fire(t, phi + jump / self.step, self.slope, self.bias, self.traces, t)

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
        return eq.zero_crossing(
            t, z, self.active, self.bias, clock, self.traces, 0, 1, self.taus, room
        )


class LossNeuron:
    """Encodes the squared error ``e = bias + u - y`` of one output against its held target."""

    def __init__(
        self, population: Population, bias: float, taus: Sequence[float], t0: float
    ) -> None:
        assert population.error_step is not None
        self.bias = bias
        self.t0 = t0
        self.step = population.error_step
        self.coder = Coder(
            population.error_tau, population.error_step, population.threshold, taus, t0
        )
        self.clear()

    def clear(self) -> None:
        """Forget the target and the error."""
        self.y = 0.0
        self.on = False
        self.coder.reset(self.t0)

    def encode(
        self,
        t: float,
        clock: float,
        output: OutputNeuron,
        arrived: Sequence[float] | None,
        y: float | None,
    ) -> float:
        """Encode what arrived (None: nothing) and the target given now (None: none)."""
        phi = self.coder.residual(t)
        if arrived is not None and self.on:
            for amount in arrived:
                phi += amount / self.step
        if y is not None:
            z = output.signal(t - clock)
            before = z - self.y if self.on else 0.0
            self.on = not math.isnan(y)
            self.y = y if self.on else 0.0
            phi += ((z - self.y if self.on else 0.0) - before) / self.step
        return self.coder.fire(
            t, phi, 1.0 if self.on else 0.0, self.bias - self.y, output.traces, clock
        )


class SoftmaxLoss:
    """Encodes the cross-entropy error ``e = softmax(z) - y`` of a whole output, held between evaluations.

    It is evaluated at a delivery, at a target and when its timer says that a z has moved by the
    tolerance; not at its own crossings, at which it would fire without end.
    """

    def __init__(self, population: Population, taus: Sequence[float], t0: float) -> None:
        assert population.error_step is not None
        self.size, self.step = population.size, population.error_step
        self.tolerance = population.tolerance
        self.shortest = min(taus)
        self.t0 = t0
        tau = population.error_tau
        self.coders = [
            Coder(tau, self.step, population.threshold, (tau,), t0) for _ in range(self.size)
        ]
        self.clear()

    def clear(self) -> None:
        """Forget the target and the error."""
        self.y = [0.0] * self.size
        self.on = False
        self.e = [0.0] * self.size
        self.timer = math.inf
        for coder in self.coders:
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

    def encode(self, t: float, j: int, e: float | None) -> float:
        """Encode the jump to a new error (None: the held one goes on) and fire."""
        coder = self.coders[j]
        phi = coder.residual(t)
        if e is not None:
            phi += (e - self.e[j]) / self.step
            self.e[j] = e
        return coder.fire(t, phi, 1.0, self.e[j], np.zeros(1), t)


class ErrorNeuron:
    """Decodes the error that comes back to a layer's neuron, gates it by h', encodes it (Eq. 12)."""

    def __init__(self, population: Population, taus: Sequence[float], t0: float) -> None:
        assert population.error_step is not None
        self.leak = population.leak
        self.step = population.error_step
        self.taus = np.array(taus)
        self.t0 = t0
        self.coder = Coder(
            population.error_tau, population.error_step, population.threshold, taus, t0
        )
        self.clear()

    def clear(self) -> None:
        """Forget the error."""
        self.traces = np.zeros(len(self.taus))
        self.gate = False
        self.coder.reset(self.t0)

    def encode(
        self, t: float, clock: float, arrived: Sequence[float] | None, active: bool
    ) -> float:
        """Take error spikes (None: none), follow the forward neuron on or off, or just fire."""
        phi = self.coder.residual(t)
        before = after = 0.0
        for k, tau in enumerate(self.taus):
            faded = eq.fade(self.traces[k], eq.decay(t - clock, tau))
            amount = arrived[k] if arrived is not None else 0.0
            before += faded
            after += faded + amount
            if arrived is not None:
                self.traces[k] = faded + amount
        jump = eq.activation(after, active, self.leak) - eq.activation(before, self.gate, self.leak)
        self.gate = active
        now = clock if arrived is None else t
        slope = eq.activation(1.0, active, self.leak)
        return self.coder.fire(t, phi + jump / self.step, slope, 0.0, self.traces, now)


def fields(neuron: Any) -> dict[str, Any]:
    """Return a copy of a neuron's fields, those of its coder among them, as plain data."""
    found = {k: v for k, v in vars(neuron).items() if k not in ("coder", "coders")}
    if hasattr(neuron, "coder"):
        found["coder"] = vars(neuron.coder)
    if hasattr(neuron, "coders"):
        found["coders"] = [vars(coder) for coder in neuron.coders]
    return copy.deepcopy(found)


# --------------------------------------------------------------------------------------------------
# Synapses
# --------------------------------------------------------------------------------------------------


class Flights:
    """Spikes under way on a projection with a delay, in order of arrival."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.under_way: list[tuple[float, int, float]] = []

    def next_time(self) -> float:
        """Return when the next one arrives."""
        return self.under_way[0][0] if self.under_way else math.inf

    def arriving(self, t: float, spikes: Spikes) -> Spikes:
        """Return what arrives at `t`: without a delay, the spikes of this instant."""
        if self.delay == 0:
            return spikes
        return [(i, count) for time, i, count in self.under_way if time == t]

    def depart(self, t: float, spikes: Spikes) -> None:
        """Drop what has arrived and send this instant's spikes on their way."""
        if self.delay > 0:
            self.under_way = [flight for flight in self.under_way if flight[0] > t]
            self.under_way += [(t + self.delay, i, count) for i, count in spikes]


class Synapses:
    """One projection: its weights, its plasticity traces and their clocks.

    An error spike changes a whole column of weights, each in proportion to its presynaptic trace.
    Between its own spikes such a trace only decays, ``x_hat_i(t) = charge_i*exp(-(t-origin)/tau)``,
    so what the rows have missed is their charge times one number for all of them, `owed`. An error
    spike adds to that number, and a row books it when it is next read.
    """

    def __init__(
        self, projection: Projection, weights: Floats, rule: STDP | None, plastic: bool, t0: float
    ) -> None:
        self.source, self.target = projection.source, projection.target
        self.flights = Flights(projection.delay)
        self.error_flights = Flights(projection.error_delay)
        self.rows: list[list[float]] = weights.tolist()
        self.rule = rule if plastic else None
        self.clock = t0
        self.origin = t0
        self.bookings = 0
        self.clear()

    def clear(self) -> None:
        """Forget the traces; what they owe is booked before."""
        traced = self.rule is not None
        n_in, n_out = (self.source.size, self.target.size) if traced else (0, 0)
        if traced and hasattr(self, "charge"):
            self.book_all(self.origin)
        self.charge = [0.0] * n_in
        self.owed = [0.0] * n_out
        self.booked = [[0.0] * n_out for _ in range(n_in)]
        self.version, self.seen = 0, [0] * n_in
        self.post = [0.0] * n_out
        self.power = 0.0
        self.jumps = 0.0

    def row(self, i: int) -> list[float]:
        """Return the weights of presynaptic neuron `i`, brought up to date."""
        row = self.rows[i]
        if self.rule is not None and self.seen[i] != self.version:
            self.seen[i] = self.version
            self.bookings += 1
            booked, charge = self.booked[i], self.charge[i]
            for j, owed in enumerate(self.owed):
                row[j] += charge * (owed - booked[j])
                booked[j] = owed
        return row

    def book_all(self, t: float) -> None:
        """Bring every row up to date and let the charges count from `t`."""
        factor = eq.decay(t - self.origin, self.source.tau)
        for i, charge in enumerate(self.charge):
            self.row(i)
            self.charge[i] = eq.fade(charge, factor)
            self.booked[i] = [0.0] * self.target.size
            self.seen[i] = 0
        self.version = 0
        self.owed = [0.0] * self.target.size
        self.origin = t

    def forward(self, spikes: Spikes, arrived: list[float]) -> None:
        """Add the rows of the neurons that fired (Eq. 7, 8)."""
        for i, count in spikes:
            scale = self.source.step * count
            for j, weight in enumerate(self.row(i)):
                arrived[j] += scale * weight

    def backward(self, spikes: Spikes, arrived: list[float]) -> None:
        """Add the columns of the error spikes (Eq. 12)."""
        assert self.target.error_step is not None
        for i in range(self.source.size):
            row = self.row(i)
            for j, count in spikes:
                arrived[i] += (self.target.error_step * count) * row[j]

    def learn(self, t: float, spikes: Spikes, errors: Spikes) -> bool:
        """Apply the STDP rule to what arrived; return whether the guard held the rate back."""
        assert self.rule is not None
        assert self.target.error_step is not None
        if t - self.origin > eq.BOOKING_PERIOD * self.source.tau:
            self.book_all(t)
        scale = eq.decay(t - self.origin, self.source.tau)
        elapsed = t - self.clock
        self.clock = t
        factor = eq.decay(elapsed, self.source.tau)
        error_factor = eq.decay(elapsed, self.target.error_tau)
        self.post = [eq.fade(trace, error_factor) for trace in self.post]
        self.power = eq.fade(eq.fade(self.power, factor), factor)
        self.jumps = eq.fade(self.jumps, factor)
        for i, count in spikes:
            x = self.source.step * count
            self.jumps += x * x
            self.power += x * (2.0 * (self.charge[i] * scale) + x)

        window = eq.trace_window(self.source.tau, self.target.error_tau)
        cap = math.inf if self.rule.cap is None else self.rule.cap
        rate = eq.guarded_rate(self.rule.lr, window, self.power, self.jumps, cap)
        gain = -(rate * window)
        self.version += bool(errors)
        for j, count in errors:
            e = self.target.error_step * count
            self.post[j] += e
            self.owed[j] += (gain * e) * scale
        for i, count in spikes:
            x = self.source.step * count
            row = self.row(i)
            step = gain * x
            for j, trace in enumerate(self.post):
                row[j] += step * trace
            self.charge[i] += x / scale
        return rate < self.rule.lr

    @property
    def weights(self) -> Floats:
        """Return a copy of the weights, (n_in, n_out), with what is still owed."""
        weights = np.array(self.rows)
        if self.rule is not None:
            owed = np.array(self.owed) - np.array(self.booked)
            weights += np.array(self.charge)[:, None] * owed
        return weights


# --------------------------------------------------------------------------------------------------
# The engine
# --------------------------------------------------------------------------------------------------


class ActorsEngine:
    """Runs a plan neuron by neuron. Same interface and same spikes as `CompiledEngine`.

    Parameters
    ----------
    plan : Plan
    sink : callable
        Takes batches of spikes (time s, population code, neuron, count); codes at and above the
        number of populations are error spikes.
    """

    name = "actors"

    def __init__(self, plan: Plan, sink: Any) -> None:
        self.plan = plan
        self._sink = sink
        self.now = -math.inf
        self._started = False
        self._learning = plan.rule is not None
        self._queue: EventQueue[Key] = EventQueue()
        t0 = plan.t0
        self._sensors: dict[int, list[SensorNeuron]] = {}
        self._layers: dict[int, list[LayerNeuron]] = {}
        self._outputs: dict[int, list[OutputNeuron]] = {}
        self._losses: dict[int, list[LossNeuron]] = {}
        self._softmax: dict[int, SoftmaxLoss] = {}
        self._errors: dict[int, list[ErrorNeuron]] = {}
        for p in plan.populations:
            k = p.index
            biases, taus = p.bias.tolist(), plan.groups[k]
            if p.kind == "sensor":
                self._sensors[k] = [SensorNeuron(p) for _ in range(p.size)]
            elif p.kind == "layer":
                self._layers[k] = [LayerNeuron(p, b, taus, t0) for b in biases]
                if plan.has_error[k]:
                    back = plan.error_groups[k]
                    self._errors[k] = [ErrorNeuron(p, back, t0) for _ in range(p.size)]
            else:
                self._outputs[k] = [OutputNeuron(b, taus) for b in biases]
                if plan.has_error[k] and p.loss == "softmax":
                    self._softmax[k] = SoftmaxLoss(p, taus, t0)
                elif plan.has_error[k]:
                    self._losses[k] = [LossNeuron(p, b, taus, t0) for b in biases]
        self._clock = [t0] * len(plan.populations)
        self._error_clock = [t0] * len(plan.populations)
        self._synapses = [
            Synapses(q, plan.weights[q.index], plan.rule, plan.plastic[q.index], t0)
            for q in plan.projections
        ]
        self._sources: dict[int, Source] = {}
        self._cursor: dict[int, int] = {}
        self._written: dict[int, tuple[float, list[float]]] = {
            p.index: (t0, [1.0]) for p in plan.populations if p.constant
        }
        n = len(plan.populations)
        self.counters = eq.Counters(
            population=np.zeros((n, eq.POPULATION_COUNTERS), dtype=np.int64),
            projection=np.zeros((len(plan.projections), eq.PROJECTION_COUNTERS), dtype=np.int64),
            network=np.zeros(eq.NETWORK_COUNTERS, dtype=np.int64),
        )

    # -- the world's side --------------------------------------------------------------------------

    def feed(self, population: int, source: Source) -> None:
        """Take all samples of `source` for a sensor or, as targets, for an output."""
        self._sources[population] = source
        self._cursor[population] = 0

    def write(self, population: int, values: Floats, time: float) -> None:
        """Let a reading or a target take effect at `time`, or just after the last instant."""
        self._written[population] = (eq.later(self.now, time), np.asarray(values).tolist())

    def read(self, population: int, time: float) -> Floats:
        """Return the decoded signal at `time`, shape (size,): a reading, ``h(z)``, or an output's z."""
        p = self.plan.populations[population]
        if p.kind == "sensor":
            return np.array([neuron.x for neuron in self._sensors[population]])
        elapsed = max(time - self._clock[population], 0.0)
        neurons: Sequence[OutputNeuron] = (
            self._layers[population] if p.kind == "layer" else self._outputs[population]
        )
        z = np.array([neuron.signal(elapsed) for neuron in neurons])
        return np.where(z > 0.0, z, p.leak * z)

    def weights(self, projection: int) -> Floats:
        """Return a copy of a projection's weights, shape (n_in, n_out), late bookings included."""
        return self._synapses[projection].weights

    def set_weights(self, projection: int, weights: Floats) -> None:
        """Replace a projection's weights, shape (n_in, n_out); traces stay."""
        synapses = self._synapses[projection]
        if synapses.rule is not None:
            synapses.book_all(synapses.origin)
        synapses.rows = np.asarray(weights, dtype=np.float64).tolist()

    def reset(self) -> None:
        """Forget everything but the weights and whether it learns; sources start over."""
        weights = [synapses.weights for synapses in self._synapses]
        sources, learning = self._sources, self._learning
        ActorsEngine.__init__(self, self.plan, self._sink)
        self._learning = learning
        for q, array in enumerate(weights):
            self.set_weights(q, array)
        for p, source in sources.items():
            self.feed(p, source)

    @property
    def learning(self) -> bool:
        """Whether errors are formed and weights change."""
        return self._learning

    @learning.setter
    def learning(self, on: bool) -> None:
        self._learning = on
        for coder in self._error_coders():
            coder.clear()
        for synapses in self._synapses:
            synapses.clear()
            synapses.error_flights.under_way.clear()
        for key, _ in self._queue.items():
            if key[1] in ("error", "timer"):
                self._queue.cancel(key)

    def _error_coders(self) -> Iterable[LossNeuron | SoftmaxLoss | ErrorNeuron]:
        yield from self._softmax.values()
        for losses in self._losses.values():
            yield from losses
        for errors in self._errors.values():
            yield from errors

    # -- the main loop -----------------------------------------------------------------------------

    def advance(self, until: float, inclusive: bool = False) -> None:
        """Run all instants before `until`, and at it if `inclusive`; spikes go to the sink."""
        while True:
            t = self._next_instant()
            if t > until or (t == until and not inclusive):
                return
            self.now = t
            self._instant(t)

    def _next_instant(self) -> float:
        if not self._started:
            return self.plan.t0
        times = [self._queue.next_time()]
        times += [self._sample_time(p) for p in self._sources]
        for synapses in self._synapses:
            times += [synapses.flights.next_time(), synapses.error_flights.next_time()]
        times += [time for time, _ in self._written.values()]
        return min(times)

    def _instant(self, t: float) -> None:
        """Run one instant: sensors, forward, loss, backward, plasticity."""
        plan = self.plan
        own: dict[tuple[int, What], set[int]] = {}
        for p, what, i in self._queue.pop(t):
            own.setdefault((p, what), set()).add(i)
        samples = self._samples(t)
        first_instant, self._started = not self._started, True
        spikes: dict[int, Spikes] = {}
        errors: dict[int, Spikes] = {}
        arrived: dict[int, list[list[float]]] = {}
        turned: set[int] = set()
        where = -1
        try:
            for p in self._sensors:
                where = p
                spikes[p] = self._run_sensor(t, p, samples.get(p), own.get((p, "cross"), set()))
            for p in plan.order:
                where = p
                came = {q: self._presynaptic(t, q, spikes) for q in plan.incoming[p]}
                if any(came.values()) or first_instant:
                    arrived[p] = self._sum_forward(p, came)
                mine = own.get((p, "cross"), set()) | own.get((p, "turn"), set())
                if p in self._layers:
                    before = [neuron.active for neuron in self._layers[p]]
                    spikes[p] = self._run_layer(t, p, arrived.get(p), mine)
                    if before != [neuron.active for neuron in self._layers[p]]:
                        turned.add(p)
                elif p in arrived:
                    self._run_output(t, p, arrived[p])
            if self._learning:
                for p in plan.order:
                    where = p
                    mine = own.get((p, "error"), set())
                    if p in self._losses:
                        errors[p] = self._run_loss(t, p, arrived.get(p), samples.get(p), mine)
                    elif p in self._softmax:
                        again = p in arrived or p in samples or (p, "timer") in own
                        errors[p] = self._run_softmax(t, p, again, samples.get(p), mine)
                for p in plan.error_order:
                    where = p
                    back = {q: self._returned(t, q, errors) for q in plan.returning[p]}
                    mine = own.get((p, "error"), set())
                    if any(back.values()) or p in turned or mine:
                        errors[p] = self._run_backward(t, p, back, mine)
                for q, synapses in enumerate(self._synapses):
                    pre = self._presynaptic(t, q, spikes)
                    post = errors.get(self._target(q), [])
                    if synapses.rule is not None and (pre or post):
                        guarded = synapses.learn(t, pre, post)
                        self._count(q, eq.ROW_EVENTS, pre)
                        self._count(q, eq.COLUMN_EVENTS, post)
                        self.counters.projection[q, eq.PASSES] += 1
                        self.counters.projection[q, eq.GUARDED] += guarded
        except OutOfRangeError:
            raise Diverged(t, plan.populations[where].name) from None
        for q, synapses in enumerate(self._synapses):
            self.counters.projection[q, eq.BOOKED_ROWS] = synapses.bookings
            synapses.flights.depart(t, spikes.get(self._source(q), []))
            synapses.error_flights.depart(t, errors.get(self._target(q), []))
        self._count_dense(samples)
        self._report(t, spikes, errors)

    # -- stages ------------------------------------------------------------------------------------

    def _run_sensor(self, t: float, p: int, reading: list[float] | None, due: set[int]) -> Spikes:
        """A reading touches the neurons whose value it changes; a due neuron fires by itself."""
        spikes: Spikes = []
        for i, neuron in enumerate(self._sensors[p]):
            if reading is not None and reading[i] != neuron.x:
                count = neuron.read(t, reading[i])
            elif i in due:
                count = neuron.beat(t)
            else:
                continue
            self._queue.schedule((p, "cross", i), neuron.next)
            if count:
                spikes.append((i, count))
        return spikes

    def _run_layer(
        self, t: float, p: int, arrived: list[list[float]] | None, mine: set[int]
    ) -> Spikes:
        """A delivery touches every neuron; otherwise only those with an event of their own run."""
        spikes: Spikes = []
        clock = self._clock[p]
        for j, neuron in enumerate(self._layers[p]):
            if arrived is not None:
                count = neuron.deliver(t, clock, [group[j] for group in arrived])
            elif j in mine:
                count = neuron.act(t, clock)
            else:
                continue
            self._queue.schedule((p, "cross", j), neuron.coder.cross)
            self._queue.schedule((p, "turn", j), neuron.turn)
            if count:
                spikes.append((j, count))
        if arrived is not None:
            self._clock[p] = t
        return spikes

    def _run_output(self, t: float, p: int, arrived: list[list[float]]) -> None:
        for j, neuron in enumerate(self._outputs[p]):
            neuron.receive(t - self._clock[p], [group[j] for group in arrived])
        self._clock[p] = t

    def _run_loss(
        self,
        t: float,
        p: int,
        arrived: list[list[float]] | None,
        target: list[float] | None,
        due: set[int],
    ) -> Spikes:
        """A delivery and a target touch every neuron; otherwise only those that are due run."""
        spikes: Spikes = []
        for j, neuron in enumerate(self._losses[p]):
            if arrived is None and target is None and j not in due:
                continue
            count = neuron.encode(
                t,
                self._clock[p],
                self._outputs[p][j],
                None if arrived is None else [group[j] for group in arrived],
                None if target is None else target[j],
            )
            self._queue.schedule((p, "error", j), neuron.coder.cross)
            if count:
                spikes.append((j, count))
        return spikes

    def _run_softmax(
        self, t: float, p: int, again: bool, target: list[float] | None, due: set[int]
    ) -> Spikes:
        """An evaluation touches every neuron; otherwise only those that are due run."""
        spikes: Spikes = []
        loss = self._softmax[p]
        errors = loss.evaluate(t, self._clock[p], self._outputs[p], target) if again else None
        for j in range(loss.size):
            if errors is None and j not in due:
                continue
            count = loss.encode(t, j, None if errors is None else errors[j])
            self._queue.schedule((p, "error", j), loss.coders[j].cross)
            if count:
                spikes.append((j, count))
        self._queue.schedule((p, "timer", 0), loss.timer)
        return spikes

    def _run_backward(self, t: float, p: int, back: dict[int, Spikes], due: set[int]) -> Spikes:
        """Error spikes touch every neuron; a turn or a crossing touches its own neuron's error."""
        spikes: Spikes = []
        size = self.plan.populations[p].size
        arrived = [[0.0] * size for _ in self.plan.error_groups[p]]
        returning = any(back.values())
        for q, errors in back.items():
            if errors:
                self._synapses[q].backward(errors, arrived[self.plan.error_group[q]])
                self._count(q, eq.BACKWARD_EVENTS, errors)
        for j, neuron in enumerate(self._errors[p]):
            active = self._layers[p][j].active
            if not returning and neuron.gate == active and j not in due:
                continue
            came = [group[j] for group in arrived] if returning else None
            count = neuron.encode(t, self._error_clock[p], came, active)
            self._queue.schedule((p, "error", j), neuron.coder.cross)
            if count:
                spikes.append((j, count))
        if returning:
            self._error_clock[p] = t
        return spikes

    def _sum_forward(self, p: int, came: dict[int, Spikes]) -> list[list[float]]:
        """Return what arrives at every neuron, a list for each time constant."""
        arrived = [[0.0] * self.plan.populations[p].size for _ in self.plan.groups[p]]
        for q, spikes in came.items():
            if spikes:
                self._synapses[q].forward(spikes, arrived[self.plan.group[q]])
                self._count(q, eq.FORWARD_EVENTS, spikes)
        return arrived

    def _presynaptic(self, t: float, q: int, spikes: dict[int, Spikes]) -> Spikes:
        """Return the spikes that arrive on a projection now."""
        return self._synapses[q].flights.arriving(t, spikes.get(self._source(q), []))

    def _returned(self, t: float, q: int, errors: dict[int, Spikes]) -> Spikes:
        """Return the error spikes that come back on a projection now."""
        return self._synapses[q].error_flights.arriving(t, errors.get(self._target(q), []))

    def _source(self, q: int) -> int:
        return self.plan.projections[q].source.index

    def _target(self, q: int) -> int:
        return self.plan.projections[q].target.index

    # -- samples -----------------------------------------------------------------------------------

    def _sample_time(self, p: int) -> float:
        source, k = self._sources[p], self._cursor[p]
        return float(source.block(k, k + 1)[0][0]) if k < len(source) else math.inf

    def _samples(self, t: float) -> dict[int, list[float]]:
        """Return the readings and targets of this instant; a written one wins over a recorded."""
        samples: dict[int, list[float]] = {}
        for p in self._sources:
            while self._sample_time(p) == t:
                k = self._cursor[p]
                samples[p] = self._sources[p].block(k, k + 1)[1][0].tolist()
                self._cursor[p] = k + 1
        for p, (time, values) in list(self._written.items()):
            if time == t:
                samples[p] = values
                del self._written[p]
        return samples

    # -- counting and recording --------------------------------------------------------------------

    def _count(self, q: int, events_column: int, spikes: Spikes) -> None:
        """Add spikes to a pair of counters: events, and quanta in the column after it."""
        self.counters.projection[q, events_column] += len(spikes)
        self.counters.projection[q, events_column + 1] += sum(int(abs(s)) for _, s in spikes)

    def _nonzero(self, p: Population) -> int:
        """How many neurons a network that skips zeros would have to process."""
        if p.kind == "sensor":
            return sum(neuron.x != 0.0 for neuron in self._sensors[p.index])
        if p.leak == 0.0:
            return sum(neuron.active for neuron in self._layers[p.index])
        return p.size

    def _count_dense(self, samples: dict[int, list[float]]) -> None:
        """Count what the same network without spikes, skipping zeros, would do at these samples."""
        kinds = {self.plan.populations[p].kind for p in samples}
        reading = "sensor" in kinds
        teaching = "output" in kinds and self._learning
        has_error = self.plan.has_error
        for q in self.plan.projections if reading or teaching else ():
            row = self.counters.projection[q.index]
            pre = self._nonzero(q.source)
            if reading:
                row[eq.SKIP_FORWARD] += pre * q.target.size
            if teaching and has_error[q.target.index]:
                post = self._nonzero(q.target)
                if has_error[q.source.index]:
                    row[eq.SKIP_BACKWARD] += pre * post
                if self.plan.plastic[q.index]:
                    row[eq.SKIP_UPDATE] += pre * post
        self.counters.network[eq.READINGS] += reading
        self.counters.network[eq.TEACHINGS] += teaching
        self.counters.network[eq.INSTANTS] += 1

    def _report(self, t: float, spikes: dict[int, Spikes], errors: dict[int, Spikes]) -> None:
        n = len(self.plan.populations)
        rows = []
        for offset, columns, fired in (
            (0, (eq.EVENTS, eq.QUANTA), spikes),
            (n, (eq.ERROR_EVENTS, eq.ERROR_QUANTA), errors),
        ):
            for p, members in fired.items():
                rows += [(offset + p, i, int(count)) for i, count in members]
                self.counters.population[p, columns[0]] += len(members)
                self.counters.population[p, columns[1]] += sum(int(abs(s)) for _, s in members)
        if rows:
            table = np.array(rows, dtype=np.int64)
            self._sink(
                np.full(len(rows), t),
                table[:, 0].astype(np.int32),
                table[:, 1].astype(np.uint32),
                table[:, 2].astype(np.int32),
            )

    def _groups(self) -> list[dict[int, list[Any]]]:
        softmax = {p: [loss] for p, loss in self._softmax.items()}
        groups: list[Any] = [
            softmax,
            self._sensors,
            self._layers,
            self._outputs,
            self._losses,
            self._errors,
        ]
        return groups

    # -- saving ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that a run changes, as plain data and arrays."""
        return {
            "now": self.now,
            "started": self._started,
            "learning": self._learning,
            "clock": list(self._clock),
            "error_clock": list(self._error_clock),
            "neurons": [
                {p: [fields(neuron) for neuron in members] for p, members in group.items()}
                for group in self._groups()
            ],
            "synapses": [
                {name: copy.deepcopy(getattr(s, name)) for name in SYNAPSE_STATE}
                | {
                    "under_way": list(s.flights.under_way),
                    "errors_under_way": list(s.error_flights.under_way),
                }
                for s in self._synapses
            ],
            "queue": self._queue.items(),
            "cursor": dict(self._cursor),
            "written": dict(self._written),
            "counters": {k: v.copy() for k, v in self.counters._asdict().items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a state that `state` returned, for the same plan and sources."""
        self.now, self._started = saved["now"], saved["started"]
        self._learning = saved["learning"]
        self._clock, self._error_clock = list(saved["clock"]), list(saved["error_clock"])
        for group, values in zip(self._groups(), saved["neurons"], strict=True):
            for p, members in group.items():
                for neuron, found in zip(members, values[p], strict=True):
                    found = copy.deepcopy(found)
                    if "coder" in found:
                        vars(neuron.coder).update(found.pop("coder"))
                    for k, coder in enumerate(found.pop("coders", [])):
                        vars(neuron.coders[k]).update(coder)
                    vars(neuron).update(found)
        for synapses, found in zip(self._synapses, saved["synapses"], strict=True):
            found = dict(found)
            synapses.flights.under_way = list(found.pop("under_way"))
            synapses.error_flights.under_way = list(found.pop("errors_under_way"))
            vars(synapses).update(copy.deepcopy(found))
        self._queue = EventQueue()
        for key, time in saved["queue"]:
            self._queue.schedule(key, time)
        self._cursor = dict(saved["cursor"])
        self._written = dict(saved["written"])
        for k, v in saved["counters"].items():
            getattr(self.counters, k)[...] = v

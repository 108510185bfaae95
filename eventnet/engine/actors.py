"""The reference engine: one Python object a neuron, its pending events in one queue.

`ActorsEngine.advance` is the main loop, `ActorsEngine._instant` the order of things within one
instant, and the stages after it say what a delivery touches. What a neuron does stands in `neurons`,
what a projection does in `synapses`; their equations come from `kernels`, so that both engines share
them. It is slow and plain, it is what the compiled engine is held to, and it is the place to try a
new neuron or a new learning rule.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import arrays as ar
from eventnet.engine import equations as eq
from eventnet.engine.neurons import (
    ErrorNeuron,
    LayerNeuron,
    LossNeuron,
    OutOfRangeError,
    OutputNeuron,
    SensorNeuron,
    SoftmaxLoss,
    fields,
    next_cross,
    set_fields,
)
from eventnet.engine.plan import Plan
from eventnet.engine.prices import Steps, has_own_steps
from eventnet.engine.queue import EventQueue
from eventnet.engine.synapses import Spikes, Synapses
from eventnet.errors import ConfigError, Diverged
from eventnet.network import Population
from eventnet.plasticity.stdp import Ledger
from eventnet.plasticity.true_gradient import Curve, TrueGradient
from eventnet.sources import Source

What = Literal["cross", "turn", "error", "timer"]
Key = tuple[int, What, int]
"""Population, what happens, neuron."""

Floats = NDArray[np.float64]
Take = Callable[[int, Floats], None]


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

    def __init__(self, plan: Plan, sink: Any, own_steps: bool = False) -> None:
        self.plan = plan
        self._sink = sink
        self.now = -math.inf
        self._started = False
        self._neuron = -1  # the one that runs, for `Diverged`
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
            steps = [plan.coders[c].step for c in plan.coders_of(k)]
            if p.kind == "source":
                continue  # its spikes are given
            if p.kind == "sensor":
                self._sensors[k] = [SensorNeuron(p) for _ in range(p.size)]
            elif p.kind == "layer":
                self._layers[k] = [LayerNeuron(p, b, taus, t0, plan.local[k]) for b in biases]
                if plan.has_error[k]:
                    back = plan.error_groups[k]
                    self._errors[k] = [ErrorNeuron(p, back, steps, t0) for _ in range(p.size)]
            else:
                self._outputs[k] = [OutputNeuron(b, taus, plan.local[k]) for b in biases]
                if plan.has_error[k] and p.loss == "softmax":
                    self._softmax[k] = SoftmaxLoss(p, taus, steps, t0)
                elif plan.has_error[k]:
                    self._losses[k] = [LossNeuron(p, b, taus, steps, t0) for b in biases]
        self._clock = [t0] * len(plan.populations)
        self._error_clock = [t0] * len(plan.populations)
        self._synapses = [
            Synapses(
                q,
                plan.ends(q.index),
                weights,
                plan.rule if plan.plastic[q.index] else None,
                plan.lr[q.index],
                t0,
                plan.dtype,
            )
            for q, weights in zip(plan.projections, plan.initial_weights(), strict=True)
        ]
        for synapses in self._synapses:
            synapses.rivals = [
                self._synapses[q] for q in plan.incoming[synapses.target.index] if plan.plastic[q]
            ]
        self._steps = np.array([p.step for p in plan.populations])
        own = has_own_steps(plan, own_steps)
        self._own = [[1.0] * (p.size * own[p.index]) for p in plan.populations]
        self._spent = [[0.0] * len(mine) for mine in self._own]
        self._integrated = t0
        self._sources: dict[int, Source] = {}
        self._cursor: dict[int, int] = {}
        self._written: dict[int, tuple[float, list[float]]] = {
            p.index: (t0, [1.0]) for p in plan.populations if p.constant
        }
        n = len(plan.populations)
        self.counters = ar.Counters(
            population=np.zeros((n, ar.POPULATION_COUNTERS), dtype=np.int64),
            projection=np.zeros((len(plan.projections), ar.PROJECTION_COUNTERS), dtype=np.int64),
            network=np.zeros(ar.NETWORK_COUNTERS, dtype=np.int64),
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
        if p.kind == "source":
            raise ConfigError(f"{p.name}: has spikes but no signal of its own to read")
        elapsed = max(time - self._clock[population], 0.0)
        neurons: Sequence[OutputNeuron] = (
            self._layers[population] if p.kind == "layer" else self._outputs[population]
        )
        z = np.array([neuron.signal(elapsed) for neuron in neurons])
        return np.where(z > 0.0, z, p.leak * z)

    def watch(self, populations: Sequence[int], times: Sequence[Floats], take: Take) -> None:
        """Run up to and with the last of `times`, and read: see `Engine.watch`."""
        for time, k in sorted((t, k) for k, stamps in enumerate(times) for t in stamps.tolist()):
            self.advance(time, inclusive=True)
            take(k, self.read(populations[k], time)[None])

    def weights(self, projection: int) -> Floats:
        """Return a copy of a projection's weights, (n_in, n_out) or (synapses,), with what is owed."""
        return self._synapses[projection].weights

    def set_weights(self, projection: int, weights: Floats) -> None:
        """Replace a projection's weights, shaped as `weights` returns them; traces stay."""
        self._synapses[projection].weights = weights
        self._count_bookings()

    def steps(self, population: int) -> Floats:
        """Return what one spike of each neuron of a population stands for, (size,)."""
        own = self._own[population]
        size = self.plan.populations[population].size
        steps: Floats = self._steps[population] * (np.array(own) if own else np.ones(size))
        return steps

    def spent(self, population: int) -> NDArray[np.int64]:
        """Return the quanta that were sent, of all or, with steps of their own, of each neuron."""
        if self._own[population]:
            return np.array(self._spent[population], dtype=np.int64)
        quanta: NDArray[np.int64] = self.counters.population[population, ar.QUANTA][None]
        return quanta.copy()

    def scale_steps(self, population: int, factors: Floats) -> None:
        """Multiply steps, of all or of each neuron, from the last instant on; residuals stay."""
        own = self._own[population]
        if own:
            self._own[population] = (np.array(own) * factors).tolist()
        else:
            self._steps[population] *= factors[0]
        steps = self.steps(population).tolist()
        for i, sensor in enumerate(self._sensors.get(population, ())):
            sensor.set_step(self.now, steps[i])
            self._queue.schedule((population, "cross", i), sensor.next)
        for j, neuron in enumerate(self._layers.get(population, ())):
            neuron.coder.set_step(self.now, steps[j], neuron.traces, self._clock[population])
            self._queue.schedule((population, "cross", j), neuron.coder.cross)
        self._tell_synapses()

    def take_steps(self, scales: Steps) -> None:
        """Begin with other steps: nothing has run."""
        self._steps, own = scales.step.copy(), scales.own.tolist()
        for p in self.plan.populations:
            mine = self._own[p.index]
            mine[:], own = own[: len(mine)], own[len(mine) :]
            for neuron, step in zip(
                (*self._sensors.get(p.index, ()), *self._layers.get(p.index, ())),
                self.steps(p.index).tolist(),
                strict=False,  # outputs have none
            ):
                neuron.take_step(step)
        self._tell_synapses()

    @property
    def scales(self) -> Steps:
        """A copy of all steps."""
        return Steps(self._steps.copy(), np.array([x for own in self._own for x in own]))

    def _tell_synapses(self) -> None:
        for synapses in self._synapses:
            p = synapses.source.index
            synapses.set_step(float(self._steps[p]), self._own[p])

    def decoded(self, projection: int, time: float) -> Floats:
        """Return what is decoded at `time` of the spikes of a projection that learns by STDP, (n_in,)."""
        synapses = self._synapses[projection]
        memory: Ledger = synapses.memory
        return np.array(memory.charge) * eq.decay(time - memory.origin, synapses.taus[0])

    def errors(self, population: int, time: float) -> Floats | None:
        """Return the error of a population at `time`, (size,); None: no target is in force."""
        if population in self._softmax:
            softmax = self._softmax[population]
            return np.array(softmax.e) if softmax.on else None
        if population in self._losses:
            losses = self._losses[population]
            on, y = np.array([loss.on for loss in losses]), np.array([loss.y for loss in losses])
            bias = self.plan.populations[population].bias
            e: Floats = (self.read(population, time) - bias) + (bias - y)
            return np.where(on, e, 0.0) if on.any() else None
        neurons, elapsed = self._errors[population], time - self._error_clock[population]
        g = np.zeros(len(neurons))
        for k, tau in enumerate(self.plan.error_groups[population]):
            faded = np.array([neuron.traces[k] for neuron in neurons]) * eq.decay(elapsed, tau)
            g += np.where(np.abs(faded) > eq.TINY, faded, 0.0)
        gates = [eq.activation(1.0, neuron.gate, neuron.leak) for neuron in neurons]
        found: Floats = np.array(gates) * g
        return found

    def scale_lr(self, factor: float) -> None:
        """Let every projection learn at `factor` times the rate that it was built with."""
        for synapses, lr in zip(self._synapses, self.plan.lr, strict=True):
            synapses.lr = lr * factor

    def finish(self) -> None:
        """Add to the weights what the traces leave open, and forget the traces."""
        for synapses in self._synapses:
            synapses.finish()
        self._count_bookings()

    def reset(self) -> None:
        """Forget everything but the weights and whether it learns; sources start over."""
        kept = [(synapses.weights, synapses.lr) for synapses in self._synapses]
        sources, learning, scales = self._sources, self._learning, self.scales
        ActorsEngine.__init__(self, self.plan, self._sink, any(self._own))
        self._learning = learning
        for synapses, (weights, lr) in zip(self._synapses, kept, strict=True):
            synapses.weights, synapses.lr = weights, lr
        self.take_steps(scales)
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
            synapses.finish()
            synapses.error_flights.under_way.clear()
        self._count_bookings()
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
                if until > self._integrated and math.isfinite(until):
                    self._integrate(until)
                return
            self._integrate(t)
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

    def _integrate(self, t: float) -> None:
        """Let a rule that learns from the signals themselves do so, up to `t`."""
        rule, begin = self.plan.rule, self._integrated
        self._integrated = t
        if not (isinstance(rule, TrueGradient) and self._started and self._learning):
            return
        for q, synapses in enumerate(self._synapses):
            if synapses.rule is not None:
                inputs = self._curves(self._source(q), begin)
                rule.integrate(
                    synapses, t - begin, inputs, self._error_curves(self._target(q), begin)
                )

    def _curves(self, p: int, t: float) -> list[Curve]:
        if p in self._sensors:
            return [[(neuron.x, math.inf)] for neuron in self._sensors[p]]
        return [neuron.curve(t - self._clock[p]) for neuron in self._layers[p]]

    def _error_curves(self, p: int, t: float) -> list[Curve]:
        if p in self._softmax:
            return [[(e, math.inf)] for e in self._softmax[p].e]
        if p in self._losses:
            elapsed = t - self._clock[p]
            pairs = zip(self._losses[p], self._outputs[p], strict=True)
            return [loss.curve(elapsed, output) for loss, output in pairs]
        return [neuron.curve(t - self._error_clock[p]) for neuron in self._errors[p]]

    def _instant(self, t: float) -> None:
        """Run one instant: sensors, forward, loss, backward, plasticity."""
        plan = self.plan
        own: dict[tuple[int, What], set[int]] = {}
        for p, what, i in self._queue.pop(t):
            own.setdefault((p, what), set()).add(i)
        samples = self._samples(t)
        first_instant, self._started = not self._started, True
        spikes: dict[int, Spikes] = {}
        errors: dict[int, Spikes] = {}  # of each error coder
        sent: list[tuple[int, int, float]] = []
        arrived: dict[int, list[list[float]]] = {}
        reached: dict[int, Container[int]] = {}
        turned: set[int] = set()
        where = -1
        try:
            given = self._given(t)
            for p in sorted([*self._sensors, *given]):
                where = p
                due = own.get((p, "cross"), set())
                spikes[p] = given[p] if p in given else self._run_sensor(t, p, samples.get(p), due)
            for p in plan.order:
                where = p
                coming = {q: self._presynaptic(t, q, spikes) for q in plan.incoming[p]}
                if any(coming.values()) or first_instant:
                    arrived[p] = self._sum_forward(p, coming)
                    reached[p] = range(plan.populations[p].size)
                    if plan.local[p]:
                        self._set_forward(t, p)
                        if not first_instant:
                            reached[p] = self._reached(coming)
                mine = own.get((p, "cross"), set()) | own.get((p, "turn"), set())
                if p in self._layers:
                    before = [neuron.active for neuron in self._layers[p]]
                    spikes[p] = self._run_layer(t, p, arrived.get(p), mine, reached.get(p, ()))
                    if before != [neuron.active for neuron in self._layers[p]]:
                        turned.add(p)
                elif p in arrived:
                    self._run_output(t, p, arrived[p], reached[p])
            if self._learning:
                for p in plan.order:
                    where = p
                    mine = own.get((p, "error"), set())
                    if p in self._losses:
                        whom = reached.get(p, ())
                        sent += self._run_loss(t, p, arrived.get(p), samples.get(p), mine, whom)
                    elif p in self._softmax:
                        again = p in arrived or p in samples or (p, "timer") in own
                        sent += self._run_softmax(t, p, again, samples.get(p), mine)
                for c, j, count in sent:
                    errors.setdefault(c, []).append((j, count))
                for p in plan.error_order:
                    where = p
                    back = {q: self._returned(t, q, errors) for q in plan.returning[p]}
                    mine = own.get((p, "error"), set())
                    if any(back.values()) or p in turned or mine:
                        fired = self._run_backward(t, p, back, mine)
                        sent += fired
                        for c, j, count in fired:
                            errors.setdefault(c, []).append((j, count))
                came: dict[int, tuple[Spikes, Spikes]] = {}
                for q, synapses in enumerate(self._synapses):
                    if synapses.rule is None:
                        continue
                    pre = self._presynaptic(t, q, spikes)
                    if synapses.rule.error_driven:
                        post = errors.get(plan.coder[q], [])
                    else:
                        post = spikes.get(self._target(q), [])
                    if pre or post:
                        came[q] = pre, post
                        synapses.rule.gauge(synapses, t, synapses.weighed(pre))
                for q, (pre, post) in came.items():
                    synapses = self._synapses[q]
                    assert synapses.rule is not None
                    guarded = synapses.rule.learn(synapses, t, synapses.weighed(pre), post)
                    self._count(q, ar.ROW, pre, synapses.targets)
                    self._count(q, ar.COLUMN, post, synapses.columns)
                    self.counters.projection[q, ar.PASSES] += 1
                    self.counters.projection[q, ar.GUARDED] += guarded
        except OutOfRangeError:
            raise Diverged(t, plan.populations[where].name, self._neuron) from None
        self._count_bookings()
        for q, synapses in enumerate(self._synapses):
            synapses.flights.depart(t, spikes.get(self._source(q), []))
            synapses.error_flights.depart(t, errors.get(plan.coder[q], []))
        self._count_dense(samples)
        self._report(t, spikes, sent)

    # -- stages ------------------------------------------------------------------------------------

    def _run_sensor(self, t: float, p: int, reading: list[float] | None, due: set[int]) -> Spikes:
        """A reading touches the neurons whose value it changes; a due neuron fires by itself."""
        spikes: Spikes = []
        for i, neuron in enumerate(self._sensors[p]):
            self._neuron = i
            if reading is not None and reading[i] != neuron.x:
                count = neuron.read(t, reading[i])
            elif i in due:
                count = neuron.beat(t)
            else:
                continue
            self._queue.schedule((p, "cross", i), neuron.next)
            if count:
                spikes.append((i, count))
        self._note_spent(p, spikes)
        return spikes

    def _note_spent(self, p: int, spikes: Spikes) -> None:
        """Add up what each neuron with a step of its own has sent."""
        for i, count in spikes if self._own[p] else ():
            self._spent[p][i] += abs(count)

    def _run_layer(
        self,
        t: float,
        p: int,
        arrived: list[list[float]] | None,
        mine: set[int],
        reached: Container[int],
    ) -> Spikes:
        """A delivery touches those it reaches; otherwise only those with an event of their own run."""
        spikes: Spikes = []
        clock = self._clock[p]
        for j, neuron in enumerate(self._layers[p]):
            self._neuron = j
            if arrived is not None and j in reached:
                count = neuron.deliver(t, clock, [group[j] for group in arrived])
            elif j in mine:
                count = neuron.act(t, clock)
            else:
                continue
            self._queue.schedule((p, "cross", j), neuron.coder.cross)
            self._queue.schedule((p, "turn", j), neuron.turn)
            if count:
                spikes.append((j, count))
        self._note_spent(p, spikes)
        if arrived is not None and not self.plan.local[p]:
            self._clock[p] = t
        return spikes

    def _run_output(
        self, t: float, p: int, arrived: list[list[float]], reached: Container[int]
    ) -> None:
        for j, neuron in enumerate(self._outputs[p]):
            self._neuron = j
            if j in reached:
                neuron.receive(t - self._clock[p], [group[j] for group in arrived])
        if not self.plan.local[p]:
            self._clock[p] = t

    def _set_forward(self, t: float, p: int) -> None:
        """Let a local population's traces count from `t`, if its clock has stood still for long."""
        elapsed = t - self._clock[p]
        if elapsed > eq.CLOCK_PERIOD * self.plan.groups[p][0]:
            neurons: Sequence[OutputNeuron] = (
                self._layers[p] if p in self._layers else self._outputs[p]
            )
            for neuron in neurons:
                neuron.set_forward(elapsed)
            self._clock[p] = t

    def _reached(self, coming: dict[int, Spikes]) -> set[int]:
        """Return the neurons that the rows of these spikes reach."""
        return {
            j
            for q, spikes in coming.items()
            for i, _ in spikes
            for j in self._synapses[q].targets[i]
        }

    def _run_loss(
        self,
        t: float,
        p: int,
        arrived: list[list[float]] | None,
        target: list[float] | None,
        due: set[int],
        reached: Container[int],
    ) -> list[tuple[int, int, float]]:
        """A delivery touches those it reaches, a target all; otherwise only those that are due run."""
        sent: list[tuple[int, int, float]] = []
        for j, neuron in enumerate(self._losses[p]):
            self._neuron = j
            if j not in reached and target is None and j not in due:
                continue
            counts = neuron.encode(
                t,
                self._clock[p],
                self._outputs[p][j],
                None if arrived is None else [group[j] for group in arrived],
                None if target is None else target[j],
            )
            self._queue.schedule((p, "error", j), next_cross(neuron.coders))
            sent += self._fired(p, j, counts)
        return sent

    def _run_softmax(
        self, t: float, p: int, again: bool, target: list[float] | None, due: set[int]
    ) -> list[tuple[int, int, float]]:
        """An evaluation touches every neuron; otherwise only those that are due run."""
        sent: list[tuple[int, int, float]] = []
        loss = self._softmax[p]
        errors = loss.evaluate(t, self._clock[p], self._outputs[p], target) if again else None
        for j in range(loss.size):
            self._neuron = j
            if errors is None and j not in due:
                continue
            counts = loss.encode(t, j, None if errors is None else errors[j])
            self._queue.schedule((p, "error", j), next_cross(loss.coders[j]))
            sent += self._fired(p, j, counts)
        self._queue.schedule((p, "timer", 0), loss.timer)
        return sent

    def _run_backward(
        self, t: float, p: int, back: dict[int, Spikes], due: set[int]
    ) -> list[tuple[int, int, float]]:
        """Error spikes touch every neuron; a turn or a crossing touches its own neuron's error."""
        sent: list[tuple[int, int, float]] = []
        size = self.plan.populations[p].size
        arrived = [[0.0] * size for _ in self.plan.error_groups[p]]
        returning = any(back.values())
        for q, errors in back.items():
            if errors:
                synapses = self._synapses[q]
                synapses.backward(errors, arrived[self.plan.error_group[q]])
                self._count(q, ar.BACKWARD, errors, synapses.columns)
        for j, neuron in enumerate(self._errors[p]):
            self._neuron = j
            active = self._layers[p][j].active
            if not returning and neuron.gate == active and j not in due:
                continue
            came = [group[j] for group in arrived] if returning else None
            counts = neuron.encode(t, self._error_clock[p], came, active)
            self._queue.schedule((p, "error", j), next_cross(neuron.coders))
            sent += self._fired(p, j, counts)
        if returning:
            self._error_clock[p] = t
        return sent

    def _fired(self, p: int, j: int, counts: Sequence[float]) -> list[tuple[int, int, float]]:
        """Return the error spikes of one neuron: coder, neuron, count."""
        pairs = zip(self.plan.coders_of(p), counts, strict=True)
        return [(c, j, count) for c, count in pairs if count]

    def _sum_forward(self, p: int, came: dict[int, Spikes]) -> list[list[float]]:
        """Return what arrives at every neuron, a list for each time constant."""
        arrived = [[0.0] * self.plan.populations[p].size for _ in self.plan.groups[p]]
        for q, spikes in came.items():
            if spikes:
                synapses = self._synapses[q]
                synapses.forward(spikes, arrived[self.plan.group[q]])
                self._count(q, ar.FORWARD, spikes, synapses.targets)
        return arrived

    def _presynaptic(self, t: float, q: int, spikes: dict[int, Spikes]) -> Spikes:
        """Return the spikes that arrive on a projection now."""
        return self._synapses[q].flights.arriving(t, spikes.get(self._source(q), []))

    def _returned(self, t: float, q: int, errors: dict[int, Spikes]) -> Spikes:
        """Return the error spikes that come back on a projection now."""
        return self._synapses[q].error_flights.arriving(t, errors.get(self.plan.coder[q], []))

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
            if self.plan.populations[p].kind == "source":
                continue
            while self._sample_time(p) == t:
                k = self._cursor[p]
                samples[p] = self._sources[p].block(k, k + 1)[1][0].tolist()
                self._cursor[p] = k + 1
        for p, (time, values) in list(self._written.items()):
            if time == t:
                samples[p] = values
                del self._written[p]
        return samples

    def _given(self, t: float) -> dict[int, Spikes]:
        """Return the spikes of this instant that come from outside."""
        given: dict[int, Spikes] = {}
        for p, source in self._sources.items():
            while self.plan.populations[p].kind == "source" and self._sample_time(p) == t:
                k = self._cursor[p]
                neuron, count = source.block(k, k + 1)[1][0].tolist()
                given.setdefault(p, []).append((int(neuron), count))
                self._cursor[p] = k + 1
        return given

    # -- counting and recording --------------------------------------------------------------------

    def _count(self, q: int, column: int, spikes: Spikes, synapses: list[Any]) -> None:
        """Add spikes to four counters: events, quanta, and both times the synapses of each."""
        row = self.counters.projection[q]
        for i, count in spikes:
            quanta, fan = int(abs(count)), len(synapses[i])
            row[column : column + 4] += (1, quanta, fan, quanta * fan)

    def _count_bookings(self) -> None:
        for q, synapses in enumerate(self._synapses):
            self.counters.projection[q, ar.BOOKED] = synapses.bookings

    def _nonzero(self, p: Population) -> list[bool]:
        """Return which neurons a network that skips zeros would have to process."""
        if p.kind == "sensor":
            return [neuron.x != 0.0 for neuron in self._sensors[p.index]]
        if p.kind == "layer" and p.leak == 0.0:
            return [neuron.active for neuron in self._layers[p.index]]
        return [True] * p.size

    def _count_dense(self, samples: dict[int, list[float]]) -> None:
        """Count what the same network without spikes, skipping zeros, would do at these samples."""
        kinds = {self.plan.populations[p].kind for p in samples}
        reading = "sensor" in kinds
        teaching = "output" in kinds and self._learning
        has_error = self.plan.has_error
        for q in self.plan.projections if reading or teaching else ():
            row = self.counters.projection[q.index]
            targets = self._synapses[q.index].targets
            on = self._nonzero(q.source)
            crossed = sum(len(row) for row, on in zip(targets, on, strict=True) if on)
            if reading:
                row[ar.SKIP_FORWARD] += crossed
            if teaching and has_error[q.target.index]:
                pairs = crossed * sum(self._nonzero(q.target)) // q.target.size
                if has_error[q.source.index]:
                    row[ar.SKIP_BACKWARD] += pairs
                if self.plan.plastic[q.index]:
                    row[ar.SKIP_UPDATE] += pairs
        self.counters.network[ar.READINGS] += reading
        self.counters.network[ar.TEACHINGS] += teaching
        self.counters.network[ar.INSTANTS] += 1

    def _report(
        self, t: float, spikes: dict[int, Spikes], errors: list[tuple[int, int, float]]
    ) -> None:
        n = len(self.plan.populations)
        rows = [(p, i, int(count)) for p, members in spikes.items() for i, count in members]
        for p, _, quanta in rows:
            self.counters.population[p, [ar.EVENTS, ar.QUANTA]] += (1, abs(quanta))
        for c, j, count in errors:
            rows.append((n + c, j, int(count)))
            of = self.plan.coders[c].population
            self.counters.population[of, [ar.ERROR_EVENTS, ar.ERROR_QUANTA]] += (
                1,
                abs(rows[-1][2]),
            )
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
            "integrated": self._integrated,
            "steps": self._steps.copy(),
            "own": copy.deepcopy(self._own),
            "spent": copy.deepcopy(self._spent),
            "synapses": [synapses.state() for synapses in self._synapses],
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
                    set_fields(neuron, found)
        for synapses, found in zip(self._synapses, saved["synapses"], strict=True):
            synapses.restore(found)
        self._steps = np.array(saved["steps"])
        self._own, self._spent = copy.deepcopy((saved["own"], saved["spent"]))
        self._integrated = saved["integrated"]
        self._queue = EventQueue()
        for key, time in saved["queue"]:
            self._queue.schedule(key, time)
        self._cursor = dict(saved["cursor"])
        self._written = dict(saved["written"])
        for k, v in saved["counters"].items():
            getattr(self.counters, k)[...] = v

    def _check(self) -> None:
        """Assert what must hold between two instants: for tests."""
        from eventnet.engine.invariants import actors as invariants

        invariants.check(self)

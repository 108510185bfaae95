"""The compiled engine: flat arrays around the Numba loop of `kernels.advance`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import kernels
from eventnet.engine.plan import Plan
from eventnet.errors import Diverged
from eventnet.sources import Source

Floats = NDArray[np.float64]
Sink = Callable[[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]], None]

BLOCK_VALUES = 1 << 18
"""Values that one feed hands over at a time: bounds memory whatever the recording's length."""

BUFFER_ROWS = 1 << 16


class CompiledEngine:
    """Runs a plan by the compiled event loop.

    Parameters
    ----------
    plan : Plan
    sink : callable
        Takes batches of spikes (time s, population code, neuron, count); codes at and above the
        number of populations are error spikes.
    """

    name = "compiled"

    def __init__(self, plan: Plan, sink: Sink) -> None:
        self.plan = plan
        self._sink = sink
        self._sources: dict[int, Source] = {}
        self._given: dict[int, int] = {}
        self._net = _net(plan)
        self._weights = (
            np.concatenate([w.ravel() for w in plan.weights]) if plan.weights else np.zeros(0)
        )
        self._state = _fresh_state(plan, self._net)
        self._flights = _no_flights(self._net.delay, self._net.source, self._net)
        self._error_flights = _no_flights(self._net.error_delay, self._net.target, self._net)
        n = len(plan.populations)
        self._feed = kernels.Feed(
            capacity=np.zeros(n, dtype=np.int64),
            samples=np.zeros(n, dtype=np.int64),
            cursor=np.zeros(n, dtype=np.int64),
            more=np.zeros(n, dtype=np.bool_),
            time_first=np.zeros(n, dtype=np.int64),
            value_first=np.zeros(n, dtype=np.int64),
            time=np.zeros(0),
            value=np.zeros(0),
        )
        neurons = int(self._net.first[-1])
        self._scratch = kernels.Scratch(
            arrived=np.zeros(int(self._net.trace_first[-1])),
            returned=np.zeros(int(self._net.back_trace_first[-1])),
            soft=np.zeros(neurons),
            amplitude=np.zeros(len(plan.projections) + 1),
            scaled=np.zeros(len(plan.projections) + 1),
            spike=np.zeros(neurons, dtype=np.int64),
            quanta=np.zeros(neurons),
            spikes=np.zeros(n, dtype=np.int64),
            error_spike=np.zeros(neurons, dtype=np.int64),
            error_count=np.zeros(neurons),
            error_spikes=np.zeros(n, dtype=np.int64),
            delivered=np.zeros(n, dtype=np.bool_),
            turned=np.zeros(n, dtype=np.bool_),
            read=np.zeros(n, dtype=np.int64),
            due=np.zeros(neurons + 1, dtype=np.int64),
        )
        self.counters = kernels.Counters(
            population=np.zeros((n, kernels.POPULATION_COUNTERS), dtype=np.int64),
            projection=np.zeros(
                (len(plan.projections), kernels.PROJECTION_COUNTERS), dtype=np.int64
            ),
            network=np.zeros(kernels.NETWORK_COUNTERS, dtype=np.int64),
        )
        rows = BUFFER_ROWS + 2 * neurons
        self._buffer = kernels.Buffer(
            time=np.zeros(rows),
            population=np.zeros(rows, dtype=np.int32),
            neuron=np.zeros(rows, dtype=np.uint32),
            quanta=np.zeros(rows, dtype=np.int32),
            used=np.zeros(1, dtype=np.int64),
        )

    @property
    def now(self) -> float:
        """The last instant that was run, s; -inf before the first."""
        return float(self._state.now[0])

    def feed(self, population: int, source: Source) -> None:
        """Take all samples of `source` for a sensor or, as targets, for an output."""
        self._sources[population] = source
        self._given[population] = 0
        self._allocate_feed()

    def write(self, population: int, values: Floats, time: float) -> None:
        """Let a reading or a target take effect at `time`, or just after the last instant."""
        a, b = self._net.first[population], self._net.first[population + 1]
        self._state.written[a:b] = values
        self._state.written_time[population] = kernels.later(self.now, time)

    def advance(self, until: float, inclusive: bool = False) -> None:
        """Run all instants before `until`, and at it if `inclusive`; spikes go to the sink."""
        while True:
            status = kernels.advance(
                until,
                inclusive,
                self._net,
                self._state,
                self._weights,
                self._flights,
                self._error_flights,
                self._feed,
                self._scratch,
                self.counters,
                self._buffer,
            )
            if status == kernels.NEEDS_SAMPLES:
                self._refill()
                continue
            if status == kernels.NEEDS_ROOM:
                self._flights = _doubled(self._flights)
                self._error_flights = _doubled(self._error_flights)
                continue
            self._drain()
            if status == kernels.DIVERGED:
                raise Diverged(self.now, self.plan.populations[self._state.flags[2]].name)
            if status == kernels.DONE:
                return

    def read(self, population: int, time: float) -> Floats:
        """Return the decoded signal at `time`, shape (size,): a reading, ``h(z)``, or an output's z."""
        p = self.plan.populations[population]
        a, b = self._net.first[population], self._net.first[population + 1]
        if p.kind == "sensor":
            return self._state.x[a:b].copy()
        elapsed = max(time - self._state.clock[population], 0.0)
        z: Floats = self._net.bias[a:b].copy()
        first = self._net.trace_first[population]
        for k, tau in enumerate(self.plan.groups[population]):
            z += self._state.u[first + k * p.size :][: p.size] * kernels.decay(elapsed, tau)
        return np.where(z > 0.0, z, p.leak * z)

    @property
    def learning(self) -> bool:
        """Whether errors are formed and weights change."""
        return bool(self._state.flags[1])

    @learning.setter
    def learning(self, on: bool) -> None:
        for q in np.flatnonzero(self._net.plastic).tolist():
            self._book(q)
        _clear_errors(self._state)
        self._error_flights.head[:] = self._error_flights.tail[:] = 0
        self._state.flags[1] = int(on)

    def weights(self, projection: int) -> Floats:
        """Return a copy of a projection's weights, shape (n_in, n_out), late bookings included."""
        net, state, q = self._net, self._state, projection
        shape = self.plan.projections[q].shape
        weights = self._weights[net.weight_first[q] : net.weight_first[q + 1]].reshape(shape).copy()
        if net.plastic[q]:
            charge = state.charge[net.pre_first[q] : net.pre_first[q + 1], None]
            booked = state.booked[net.booked_first[q] : net.booked_first[q + 1]].reshape(shape)
            weights += charge * (state.owed[net.post_first[q] : net.post_first[q + 1]] - booked)
        return weights

    def set_weights(self, projection: int, weights: Floats) -> None:
        """Replace a projection's weights, shape (n_in, n_out); traces stay."""
        if self._net.plastic[projection]:
            self._book(projection)
        a, b = self._net.weight_first[projection], self._net.weight_first[projection + 1]
        self._weights[a:b] = np.asarray(weights).ravel()

    def reset(self) -> None:
        """Forget everything but the weights and whether it learns; sources start over."""
        weights = [self.weights(q) for q in range(len(self.plan.projections))]
        learning = self._state.flags[1]
        for mine, fresh in zip(self._state, _fresh_state(self.plan, self._net), strict=True):
            mine[...] = fresh
        self._state.flags[1] = learning
        for q, array in enumerate(weights):
            self.set_weights(q, array)
        for flights in (self._flights, self._error_flights):
            flights.head[:] = flights.tail[:] = 0
        for counts in self.counters:
            counts[...] = 0
        self._given = dict.fromkeys(self._sources, 0)
        self._feed.samples[:] = self._feed.cursor[:] = 0
        for p, source in self._sources.items():
            self._feed.more[p] = len(source) > 0

    def _book(self, projection: int) -> None:
        origin = float(self._state.origin[projection])
        kernels.book_all(origin, projection, self._net, self._state, self._weights, self.counters)

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that a run changes."""
        return {
            "state": {k: v.copy() for k, v in self._state._asdict().items()},
            "weights": self._weights.copy(),
            "flights": {k: v.copy() for k, v in self._flights._asdict().items()},
            "error_flights": {k: v.copy() for k, v in self._error_flights._asdict().items()},
            "cursors": {p: self._cursor(p) for p in self._sources},
            "counters": {k: v.copy() for k, v in self.counters._asdict().items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a state that `state` returned, for the same plan and sources."""
        for k, v in saved["state"].items():
            getattr(self._state, k)[...] = v
        self._weights[...] = saved["weights"]
        self._flights = kernels.Flights(**{k: v.copy() for k, v in saved["flights"].items()})
        self._error_flights = kernels.Flights(
            **{k: v.copy() for k, v in saved["error_flights"].items()}
        )
        for k, v in saved["counters"].items():
            getattr(self.counters, k)[...] = v
        for p, cursor in saved["cursors"].items():
            self._given[p] = cursor
            self._feed.samples[p] = self._feed.cursor[p] = 0
            self._feed.more[p] = cursor < len(self._sources[p])

    def _cursor(self, population: int) -> int:
        left = int(self._feed.samples[population] - self._feed.cursor[population])
        return self._given[population] - left

    def _allocate_feed(self) -> None:
        """Make room for one block of every source and start each where its cursor stands."""
        for p in self._sources:
            self._given[p] = self._cursor(p)
        feed = self._feed
        time_size = value_size = 0
        for p, source in self._sources.items():
            capacity = min(max(BLOCK_VALUES // source.width, 1), max(len(source), 1))
            feed.capacity[p] = capacity
            feed.time_first[p], feed.value_first[p] = time_size, value_size
            feed.samples[p] = feed.cursor[p] = 0
            feed.more[p] = self._given[p] < len(source)
            time_size += capacity
            value_size += capacity * source.width
        self._feed = feed._replace(time=np.zeros(time_size), value=np.zeros(value_size))

    def _refill(self) -> None:
        feed = self._feed
        for p, source in self._sources.items():
            if feed.more[p] and feed.cursor[p] == feed.samples[p]:
                start = self._given[p]
                times, values = source.block(start, start + int(feed.capacity[p]))
                a, b = feed.time_first[p], feed.value_first[p]
                feed.time[a : a + len(times)] = times
                feed.value[b : b + values.size] = values.ravel()
                feed.samples[p], feed.cursor[p] = len(times), 0
                self._given[p] = start + len(times)
                feed.more[p] = self._given[p] < len(source)

    def _drain(self) -> None:
        n = int(self._buffer.used[0])
        if n:
            buffer = self._buffer
            self._sink(
                buffer.time[:n].copy(),
                buffer.population[:n].copy(),
                buffer.neuron[:n].copy(),
                buffer.quanta[:n].copy(),
            )
            buffer.used[0] = 0


def _offsets(sizes: list[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)


def _ragged(lists: tuple[tuple[int, ...], ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    flat = [q for members in lists for q in members]
    return _offsets([len(m) for m in lists]), np.asarray(flat, dtype=np.int64)


def _groups(
    groups: tuple[tuple[float, ...], ...],
) -> tuple[NDArray[np.int64], Floats]:
    return _offsets([len(g) for g in groups]), np.array([tau for g in groups for tau in g])


def _net(plan: Plan) -> kernels.Net:
    kinds = {"sensor": kernels.SENSOR, "layer": kernels.LAYER, "output": kernels.OUTPUT}
    pops, projs = plan.populations, plan.projections
    in_first, in_list = _ragged(plan.incoming)
    back_first, back_list = _ragged(plan.returning)
    group_first, group_tau = _groups(plan.groups)
    back_group_first, back_group_tau = _groups(plan.error_groups)
    rule = plan.rule
    traced = [plan.plastic[q.index] for q in projs]
    return kernels.Net(
        kind=np.array([kinds[p.kind] for p in pops], dtype=np.int64),
        first=_offsets([p.size for p in pops]),
        tau=np.array([p.tau for p in pops]),
        step=np.array([p.step for p in pops]),
        theta=np.array([p.threshold for p in pops]),
        leak=np.array([p.leak for p in pops]),
        biased=np.array([bool(p.bias.any()) for p in pops]),
        has_error=np.array(plan.has_error),
        error_tau=np.array([p.error_tau for p in pops]),
        error_step=np.array([np.nan if p.error_step is None else p.error_step for p in pops]),
        order=np.array(plan.order, dtype=np.int64),
        error_order=np.array(plan.error_order, dtype=np.int64),
        in_first=in_first,
        in_list=in_list,
        trace_first=_offsets([len(g) * p.size for g, p in zip(plan.groups, pops, strict=True)]),
        group_first=group_first,
        group_tau=group_tau,
        group=np.array(plan.group, dtype=np.int64),
        matched=np.array([g == (p.tau,) for g, p in zip(plan.groups, pops, strict=True)]),
        back_first=back_first,
        back_list=back_list,
        back_trace_first=_offsets(
            [len(g) * p.size for g, p in zip(plan.error_groups, pops, strict=True)]
        ),
        back_group_first=back_group_first,
        back_group_tau=back_group_tau,
        back_group=np.array(plan.error_group, dtype=np.int64),
        softmax=np.array([p.loss == "softmax" for p in pops]),
        tolerance=np.array([p.tolerance for p in pops]),
        error_matched=np.array(
            [
                (plan.groups if p.kind == "output" else plan.error_groups)[p.index]
                == (p.error_tau,)
                for p in pops
            ]
        ),
        delay=np.array([q.delay for q in projs]),
        error_delay=np.array([q.error_delay for q in projs]),
        source=np.array([q.source.index for q in projs], dtype=np.int64),
        target=np.array([q.target.index for q in projs], dtype=np.int64),
        weight_first=_offsets([q.shape[0] * q.shape[1] for q in projs]),
        pre_first=_offsets([q.shape[0] * on for q, on in zip(projs, traced, strict=True)]),
        post_first=_offsets([q.shape[1] * on for q, on in zip(projs, traced, strict=True)]),
        booked_first=_offsets(
            [q.shape[0] * q.shape[1] * on for q, on in zip(projs, traced, strict=True)]
        ),
        plastic=np.array(plan.plastic, dtype=np.bool_),
        rate=np.full(len(projs), 0.0 if rule is None else rule.lr),
        cap=np.full(len(projs), np.inf if rule is None or rule.cap is None else rule.cap),
        bias=np.concatenate([p.bias for p in pops]),
        start=np.array([plan.t0]),
    )


def _fresh_state(plan: Plan, net: kernels.Net) -> kernels.State:
    n, pops, projs = int(net.first[-1]), len(plan.populations), len(plan.projections)
    sensors = np.concatenate(
        [
            np.arange(net.first[p.index], net.first[p.index + 1])
            for p in plan.populations
            if p.kind == "sensor"
        ]
        or [np.zeros(0)]
    ).astype(np.int64)
    constant = np.array([p.constant for p in plan.populations])
    place = np.zeros(n, dtype=np.int64)
    place[sensors] = np.arange(len(sensors))
    return kernels.State(
        x=np.zeros(n),
        period=np.full(n, np.inf),
        u=np.zeros(int(net.trace_first[-1])),
        clock=np.full(pops, plan.t0),
        active=np.zeros(n, dtype=np.bool_),  # before t0 every activation is 0
        phi=np.zeros(n),
        anchor=np.full(n, plan.t0),
        cross=np.full(n, np.inf),
        side=np.zeros(n),
        turn=np.full(n, np.inf),
        due=np.full(pops, np.inf),
        g=np.zeros(int(net.back_trace_first[-1])),
        error_clock=np.full(pops, plan.t0),
        y=np.zeros(n),
        e=np.zeros(n),
        timer=np.full(pops, np.inf),
        gate=np.zeros(n, dtype=np.bool_),
        error_phi=np.zeros(n),
        error_anchor=np.full(n, plan.t0),
        error_cross=np.full(n, np.inf),
        error_side=np.zeros(n),
        error_amplitude=np.zeros(int(net.trace_first[-1])),
        error_due=np.full(pops, np.inf),
        charge=np.zeros(int(net.pre_first[-1])),
        origin=np.full(projs, plan.t0),
        owed=np.zeros(int(net.post_first[-1])),
        booked=np.zeros(int(net.booked_first[-1])),
        version=np.zeros(projs, dtype=np.int64),
        seen=np.zeros(int(net.pre_first[-1]), dtype=np.int64),
        post=np.zeros(int(net.post_first[-1])),
        power=np.zeros(projs),
        jumps=np.zeros(projs),
        trace_clock=np.full(projs, plan.t0),
        written=np.repeat(constant, np.diff(net.first)).astype(np.float64),
        written_time=np.where(constant, plan.t0, np.inf),
        heap=sensors,
        place=place,
        now=np.array([-np.inf]),
        flags=np.array([0, int(plan.rule is not None), -1], dtype=np.int64),
    )


def _no_flights(delays: Floats, sender: NDArray[np.int64], net: kernels.Net) -> kernels.Flights:
    """Return room for the spikes of two instants of each delayed projection."""
    sizes = np.diff(net.first)[sender] * 2 * (delays > 0) if len(delays) else np.zeros(0)
    return _flights(_offsets([int(size) for size in sizes]))


def _flights(first: NDArray[np.int64]) -> kernels.Flights:
    n, room = len(first) - 1, int(first[-1])
    return kernels.Flights(
        first=first,
        head=np.zeros(n, dtype=np.int64),
        tail=np.zeros(n, dtype=np.int64),
        landed=np.zeros(n, dtype=np.int64),
        time=np.zeros(room),
        neuron=np.zeros(room, dtype=np.int64),
        quanta=np.zeros(room),
    )


def _doubled(old: kernels.Flights) -> kernels.Flights:
    """Return the same spikes under way with twice the room."""
    new = _flights(old.first * 2)
    for q in range(len(old.head)):
        a, b = old.first[q] + old.head[q], old.first[q] + old.tail[q]
        new.tail[q] = b - a
        for name in ("time", "neuron", "quanta"):
            getattr(new, name)[new.first[q] : new.first[q] + b - a] = getattr(old, name)[a:b]
    return new


def _clear_errors(state: kernels.State) -> None:
    """Forget the backward half of the network: targets, errors and traces."""
    for name in ("g", "y", "e", "error_phi", "charge", "post", "power", "jumps"):
        getattr(state, name)[:] = 0.0
    state.gate[:] = False
    state.error_cross[:] = np.inf
    state.error_due[:] = np.inf
    state.timer[:] = np.inf

"""The compiled engine: flat arrays around the Numba loop of `kernels.advance`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import arrays, equations, kernels, learning, local, sparse, steps, tournament
from eventnet.engine.bound import bind
from eventnet.engine.feeds import Feeds
from eventnet.engine.plan import Plan
from eventnet.engine.prices import Steps, has_own_steps
from eventnet.engine.readings import Watching, make_probes
from eventnet.errors import ConfigError, Diverged
from eventnet.plasticity import stdp
from eventnet.plasticity.rule import decodes
from eventnet.plasticity.stdp import BookedRule, books_late
from eventnet.sources import Source

Floats = NDArray[np.float64]
Sink = Callable[[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]], None]

BUFFER_ROWS = 1 << 16


class CompiledEngine(Watching):
    """Runs a plan by the compiled event loop.

    Parameters
    ----------
    plan : Plan
    sink : callable
        Takes batches of spikes (time s, population code, neuron, count); codes at and above the
        number of populations are error spikes.
    own_steps : bool
        Whether each neuron of a sensor or layer may have another step than its population.
    """

    name = "compiled"

    def __init__(self, plan: Plan, sink: Sink, own_steps: bool = False) -> None:
        if plan.rule is not None and plan.rule.compiled is None:
            raise ConfigError(
                f"{plan.rule.name} runs in the reference engine only: engine='actors'"
            )
        self.plan = plan
        self._sink = sink
        self._net = bind(_net(plan, has_own_steps(plan, own_steps)))
        self._special = 1 if _is_special(self._net) else None
        self._weights = arrays.aligned(int(self._net.weight_first[-1]), plan.dtype)
        plan.draw_weights(self._by_rows(q) for q in range(len(plan.projections)))
        self._state = bind(_fresh_state(plan, self._net))
        self._flights = _no_flights(
            self._net.projection["delay"], self._net.projection["source"], self._net.first
        )
        self._error_flights = _no_flights(
            self._net.projection["error_delay"],
            self._net.projection["coder"],
            self._net.coder_first,
        )
        n = len(plan.populations)
        self._feeds = Feeds([p.size for p in plan.populations])
        neurons = int(self._net.first[-1])
        listed = int(self._net.local_first[-1])
        self._scratch = bind(
            arrays.Scratch(
                arrived=np.full(int(self._net.trace_first[-1]), np.nan),
                returned=np.zeros(int(self._net.back_trace_first[-1])),
                soft=np.zeros(neurons),
                amplitude=np.zeros(len(plan.projections) + 1),
                scaled=np.zeros(len(plan.projections) + 1),
                fired=_no_spikes(neurons, n),
                errors=_no_spikes(int(self._net.coder_first[-1]), len(plan.coders)),
                effect=np.zeros(neurons),
                incoming=np.zeros(neurons),
                touched=np.zeros(neurons, dtype=np.bool_),
                delivered=np.zeros(n, dtype=np.bool_),
                turned=np.zeros(n, dtype=np.bool_),
                read=np.zeros(n, dtype=np.int64),
                given=np.zeros(n, dtype=np.int64),
                jump=np.zeros(neurons),
                reached=np.zeros(listed, dtype=np.int64),
                reaches=np.zeros(n, dtype=np.int64),
                amounts=np.zeros(listed),
                leaving=np.zeros(listed, dtype=np.int64),
                room=np.zeros(listed, dtype=np.int64),
                rows=arrays.Rows(
                    at=np.zeros(listed, dtype=np.int64),
                    after=np.zeros(listed, dtype=np.int64),
                    ahead=np.zeros(listed, dtype=np.int64),
                    scale=np.zeros(listed),
                ),
                row=np.zeros(_longest_row(plan), plan.dtype),
            )
        )
        self.counters = bind(
            arrays.Counters(
                population=np.zeros((n, arrays.POPULATION_COUNTERS), dtype=np.int64),
                projection=np.zeros(
                    (len(plan.projections), arrays.PROJECTION_COUNTERS), dtype=np.int64
                ),
                network=np.zeros(arrays.NETWORK_COUNTERS, dtype=np.int64),
            )
        )
        rows = BUFFER_ROWS + neurons + int(self._net.coder_first[-1])
        self._buffer = bind(
            arrays.Buffer(
                time=np.zeros(rows),
                population=np.zeros(rows, dtype=np.int32),
                neuron=np.zeros(rows, dtype=np.uint32),
                quanta=np.zeros(rows, dtype=np.int32),
                used=np.zeros(1, dtype=np.int64),
                probes=make_probes(),
            )
        )

    @property
    def now(self) -> float:
        """The last instant that was run, s; -inf before the first."""
        return float(self._state.now[0])

    def feed(self, population: int, source: Source) -> None:
        """Take all samples of `source` for a sensor or, as targets, for an output."""
        self._feeds.add(population, source)

    def write(self, population: int, values: Floats, time: float) -> None:
        """Let a reading or a target take effect at `time`, or just after the last instant."""
        a, b = self._net.first[population], self._net.first[population + 1]
        self._state.written[a:b] = values
        after = math.nextafter(self.now, math.inf)
        self._state.population["written_time"][population] = max(time, after)

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
                self._feeds.arrays,
                self._scratch,
                self.counters,
                self._buffer,
                self._special,
            )
            if status == arrays.NEEDS_SAMPLES:
                self._feeds.refill()
                continue
            if status == arrays.NEEDS_ROOM:
                self._flights = _doubled(self._flights)
                self._error_flights = _doubled(self._error_flights)
                continue
            self._drain()
            if status == arrays.DIVERGED:
                raise self._diverged()
            if status == arrays.DONE:
                return

    def _diverged(self) -> Diverged:
        """Return the error that names the first neuron out of range; local stages leave it in place."""
        net, state = self._net, self._state
        p, neuron = (int(k) for k in state.flags[2:])
        if self.plan.local[p]:
            if net.population["kind"][p] == arrays.OUTPUT:
                bad = ~(np.abs(state.u[net.trace_first[p] : net.trace_first[p + 1]]) < 1e300)
            else:
                trace, phi = self.cells(p)
                bad = ~(np.abs(trace) < 1e300) | ~(np.abs(phi) <= equations.MAX_COUNT)
            for c in self.plan.coders_of(p):
                errors = state.error_phi[net.coder_first[c] : net.coder_first[c + 1]]
                bad |= ~(np.abs(errors) <= equations.MAX_COUNT)
            neuron = int(bad.argmax())
        return Diverged(self.now, self.plan.populations[p].name, neuron)

    def read(self, population: int, time: float) -> Floats:
        """Return the decoded signal at `time`, shape (size,): a reading, ``h(z)``, or an output's z."""
        p = self.plan.populations[population]
        a, b = self._net.first[population], self._net.first[population + 1]
        if p.kind == "sensor":
            return self._state.x[a:b].copy()
        if p.kind == "source":
            raise ConfigError(f"{p.name}: has spikes but no signal of its own to read")
        elapsed = max(time - self._state.population["clock"][population], 0.0)
        z: Floats = self._net.bias[a:b].copy()
        if self.plan.local[population]:
            u = self.cells(population)[0]
        else:
            u = self._state.u[self._net.trace_first[population] :]
        for k, tau in enumerate(self.plan.groups[population]):
            faded = u[k * p.size :][: p.size] * equations.decay(elapsed, tau)
            z += np.where(np.abs(faded) > equations.TINY, faded, 0.0)
        return np.where(z > 0.0, z, p.leak * z)

    def cells(self, population: int) -> Floats:
        """Return what the cells of a local population hold, (numbers in a cell, size)."""
        size, stride = self.plan.populations[population].size, self._net.population["stride"]
        first, n = self._net.cell_first[population], size * stride[population]
        return self._state.cells[first : first + n].reshape(size, -1).T

    def owed(self, projection: int) -> Floats:
        """Return what a projection's targets owe, (n_out,), or their ledgers, (LEDGER, n_out)."""
        first = self._net.owed_first
        found = self._state.owed[first[projection] : first[projection + 1]]
        ledgers = self._net.projection["ledgers"][projection]
        return found.reshape(-1, learning.LEDGER).T if ledgers else found

    @property
    def learning(self) -> bool:
        """Whether errors are formed and weights change."""
        return bool(self._state.flags[1])

    @learning.setter
    def learning(self, on: bool) -> None:
        self.finish()
        _clear_errors(self._state, self._net)
        self._error_flights.head[:] = self._error_flights.tail[:] = 0
        self._state.flags[1] = int(on)

    def finish(self) -> None:
        """Add to the weights what the traces leave open, and forget the traces."""
        for q in np.flatnonzero(self._net.projection["plastic"]).tolist():
            learning.finish(q, self._net, self._state, self._weights, self.counters)
        _clear_traces(self._state, self.plan.t0)

    def steps(self, population: int) -> Floats:
        """Return what one spike of each neuron of a population stands for, (size,)."""
        net, p = self._net, population
        own = self._state.own[net.own_first[p] : net.own_first[p + 1]]
        steps: Floats = net.population["step"][p] * (
            own if len(own) else np.ones(self.plan.populations[p].size)
        )
        return steps

    def spent(self, population: int) -> NDArray[np.int64]:
        """Return the quanta that were sent, of all or, with steps of their own, of each neuron."""
        net, p = self._net, population
        if net.population["own"][p]:
            return self._state.spent[net.own_first[p] : net.own_first[p + 1]].astype(np.int64)
        quanta: NDArray[np.int64] = self.counters.population[p, arrays.QUANTA][None]
        return quanta.copy()

    def scale_steps(self, population: int, factors: Floats) -> None:
        """Multiply steps, of all or of each neuron, from the last instant on; residuals stay."""
        net, state, p = self._net, self._state, population
        mine = slice(net.own_first[p], net.own_first[p + 1])
        step, own = net.population["step"][p], state.own[mine].copy()
        if len(own):
            own *= factors
            new = step * own
        else:
            step = step * factors[0]
            new = np.full(self.plan.populations[p].size, step)
        steps.reschedule(self.now, p, new, net, state, self._scratch)
        state.own[mine] = own
        self._take_step(p, step)

    def take_steps(self, scales: Steps) -> None:
        """Have other steps, without a change of what is scheduled."""
        for p, step in enumerate(scales.step.tolist()):
            self._take_step(p, step)
        self._state.own[:] = scales.own

    @property
    def scales(self) -> Steps:
        """A copy of all steps."""
        return Steps(self._net.population["step"].copy(), self._state.own.copy())

    def _take_step(self, p: int, step: float) -> None:
        net, rule = self._net, self.plan.rule
        net.population["step"][p], net.population["per_step"][p] = step, 1.0 / step
        for q in self.plan.projections:
            mine = q.source.index == p and self.plan.plastic[q.index]
            if mine and rule is not None and decodes(rule, q):
                net.projection["unit"][q.index] = step

    def decoded(self, projection: int, time: float) -> Floats:
        """Return what is decoded at `time` of the spikes of a projection that learns by STDP, (n_in,)."""
        net, state, q = self._net, self._state, projection
        elapsed = time - state.projection["origin"][q]
        charge: Floats = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
        return charge * equations.decay(elapsed, net.projection["pre_tau"][q])

    def errors(self, population: int, time: float) -> Floats | None:
        """Return the error of a population at `time`, (size,); None: no target is in force."""
        net, state, p = self._net, self._state, self.plan.populations[population]
        mine = slice(net.first[population], net.first[population + 1])
        if p.kind == "layer":
            elapsed = time - state.population["error_clock"][population]
            g = np.zeros(p.size)
            first = net.back_trace_first[population]
            for k, tau in enumerate(self.plan.error_groups[population]):
                trace = state.g[first + k * p.size :][: p.size]
                faded = trace * equations.decay(elapsed, tau)
                g += np.where(np.abs(faded) > equations.TINY, faded, 0.0)
            found: Floats = state.gate[mine] * g
            return found
        if self.plan.local[population]:
            level = self.cells(population)[local.LEVEL]
            on, level = ~np.isnan(level), np.nan_to_num(level)
        else:
            on, level = state.gate[mine] != 0.0, p.bias - state.y[mine]
        if not on.any():
            return None
        if p.loss == "softmax":
            return state.e[mine].copy()
        return np.where(on, (self.read(population, time) - p.bias) + level, 0.0)

    def scale_lr(self, factor: float) -> None:
        """Let every projection learn at `factor` times the rate that it was built with."""
        self._state.projection["rate"][:] = np.array(self.plan.lr) * factor

    def weights(self, projection: int) -> Floats:
        """Return a copy of a projection's weights, (n_in, n_out) or (synapses,), with what is owed."""
        net, state, q = self._net, self._state, projection
        weights = self._by_rows(q).flatten()
        if net.projection["late"][q]:
            pre, post = self.plan.ends(q)
            charge = state.charge[net.pre_first[q] : net.pre_first[q + 1]]
            owed = self.owed(q)[0] if net.projection["ledgers"][q] else self.owed(q)
            booked = state.booked[net.booked_first[q] : net.booked_first[q + 1]]
            weights += charge[pre] * (owed[post] - booked)
        return weights.astype(np.float64).reshape(self.plan.projections[q].weight_shape)

    def set_weights(self, projection: int, weights: Floats) -> None:
        """Replace a projection's weights, shaped as `weights` returns them; traces stay."""
        net, state, q = self._net, self._state, projection
        if net.projection["plastic"][q]:  # what is owed so far belongs to the weights that go
            learning.book_rows(q, net, state, self._weights, self.counters)
        self._by_rows(q)[...] = weights

    def stored_weights(self, projection: int) -> NDArray[Any]:
        """Return a copy of its synapses' weights by rows, shape (synapses,), without what is owed."""
        weights = self._by_rows(projection).flatten()
        return self.plan.projections[projection].of_synapses(weights)

    def _by_rows(self, projection: int) -> NDArray[Any]:
        """Return a view of a projection's weights, of its `weight_shape`, however they lie."""
        net, q = self._net, projection
        stored = self._weights[net.weight_first[q] : net.weight_first[q + 1]]
        shape = self.plan.projections[q].weight_shape
        return (
            stored.reshape(shape[::-1]).T if net.projection["flipped"][q] else stored.reshape(shape)
        )

    def reset(self) -> None:
        """Forget everything but the weights and whether it learns; sources start over."""
        learned = np.flatnonzero(self._net.projection["plastic"]).tolist()
        weights = [self.weights(q) for q in learned]
        kept, rate = self._state.flags[1], self._state.projection["rate"].copy()
        own = self._state.own.copy()
        for mine, fresh in zip(self._state, _fresh_state(self.plan, self._net), strict=True):
            mine[...] = fresh
        self._state.flags[1] = kept
        self._state.own[:] = own
        self._state.projection["rate"][:] = rate
        for q, array in zip(learned, weights, strict=True):
            self.set_weights(q, array)
        for flights in (self._flights, self._error_flights):
            flights.head[:] = flights.tail[:] = 0
        for counts in self.counters:
            counts[...] = 0
        self._feeds.rewind()

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that a run changes."""
        return {
            "state": {k: v.copy() for k, v in self._state._asdict().items()},
            "weights": self._weights.copy(),
            "steps": self._net.population["step"].copy(),
            "flights": {k: v.copy() for k, v in self._flights._asdict().items()},
            "error_flights": {k: v.copy() for k, v in self._error_flights._asdict().items()},
            "cursors": self._feeds.cursors(),
            "counters": {k: v.copy() for k, v in self.counters._asdict().items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a state that `state` returned, for the same plan and sources."""
        for k, v in saved["state"].items():
            getattr(self._state, k)[...] = v
        self._weights[...] = saved["weights"]
        self.take_steps(Steps(saved["steps"], saved["state"]["own"]))
        self._flights = bind(arrays.Flights(**{k: v.copy() for k, v in saved["flights"].items()}))
        self._error_flights = bind(
            arrays.Flights(**{k: v.copy() for k, v in saved["error_flights"].items()})
        )
        for k, v in saved["counters"].items():
            getattr(self.counters, k)[...] = v
        self._feeds.go_to(saved["cursors"])

    def _check(self) -> None:
        """Assert what must hold between two instants: for tests."""
        from eventnet.engine.invariants import compiled as invariants

        invariants.check(self)

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


def _groups(
    groups: tuple[tuple[float, ...], ...],
) -> tuple[NDArray[np.int64], Floats]:
    return arrays.offsets([len(g) for g in groups]), np.array([tau for g in groups for tau in g])


def _net(plan: Plan, own: list[bool]) -> arrays.Net:
    kinds = {
        "sensor": arrays.SENSOR,
        "source": arrays.SOURCE,
        "layer": arrays.LAYER,
        "output": arrays.OUTPUT,
    }
    pops, projs = plan.populations, plan.projections
    in_first, in_list = arrays.ragged(plan.incoming)
    back_first, back_list = arrays.ragged(plan.returning)
    group_first, group_tau = _groups(plan.groups)
    back_group_first, back_group_tau = _groups(plan.error_groups)
    rule = plan.rule
    traced = [plan.plastic[q.index] for q in projs]
    booked = isinstance(plan.rule, BookedRule)
    late = [on and booked and books_late(q) for q, on in zip(projs, traced, strict=True)]
    # What a rule books at once goes by columns, as errors do: they are the longer ones.
    flipped = [
        not q.sparse
        and booked
        and not wait
        and q.shape[1] < min(stdp.WIDE, q.shape[0])
        and (on or plan.has_error[q.source.index])
        for q, on, wait in zip(projs, traced, late, strict=True)
    ]
    ledgers = [q.sparse and wait for q, wait in zip(projs, late, strict=True)]
    strides = np.array(
        [
            local.cell_size(p.kind, plan.has_error[p.index], len(plan.coders_of(p.index)))
            * plan.local[p.index]
            for p in pops
        ],
        dtype=np.int64,
    )
    noted = [on and (wait or not booked) for on, wait in zip(traced, late, strict=True)]
    first, spans = _spans(plan, late)
    shared = any(q.convolution is not None for q in projs)
    leaves = arrays.offsets([p.size * (p.kind == "sensor") for p in pops])
    return arrays.Net(
        population=arrays.records(
            arrays.POPULATION,
            {
                "kind": np.array([kinds[p.kind] for p in pops], dtype=np.int64),
                "tau": np.array([p.tau for p in pops]),
                "step": np.array([p.step for p in pops]),
                "per_step": 1.0 / np.array([p.step for p in pops]),
                "theta": np.array([p.threshold for p in pops]),
                "leak": np.array([p.leak for p in pops]),
                "biased": np.array([bool(p.bias.any()) for p in pops]),
                "has_error": np.array(plan.has_error),
                "error_tau": np.array([p.error_tau for p in pops]),
                "coder": np.array(
                    [([*plan.coders_of(p.index), -1])[0] for p in pops], dtype=np.int64
                ),
                "matched": np.array(
                    [g == (p.tau,) for g, p in zip(plan.groups, pops, strict=True)]
                ),
                "local": np.array(plan.local),
                "own": np.array(own),
                "stride": strides,
                "softmax": np.array([p.loss == "softmax" for p in pops]),
                "tolerance": np.array([p.tolerance for p in pops]),
                "error_matched": np.array(
                    [
                        (plan.groups if p.kind == "output" else plan.error_groups)[p.index]
                        == (p.error_tau,)
                        for p in pops
                    ]
                ),
            },
        ),
        projection=arrays.records(
            arrays.PROJECTION,
            {
                "group": np.array(plan.group, dtype=np.int64),
                "back_group": np.array(plan.error_group, dtype=np.int64),
                "delay": np.array([q.delay for q in projs]),
                "error_delay": np.array([q.error_delay for q in projs]),
                "source": np.array([q.source.index for q in projs], dtype=np.int64),
                "target": np.array([q.target.index for q in projs], dtype=np.int64),
                "coder": np.array(plan.coder, dtype=np.int64),
                "error_step": np.array([q.error_step or 0.0 for q in projs]),
                "flipped": np.array(flipped, dtype=np.bool_),
                "plastic": np.array(plan.plastic, dtype=np.bool_),
                "late": np.array(late, dtype=np.bool_),
                "ledgers": np.array(ledgers, dtype=np.bool_),
                "bounded": np.array([q.bounds is not None for q in projs], dtype=np.bool_),
                "lower": np.array([(q.bounds or (-np.inf, np.inf))[0] for q in projs]),
                "upper": np.array([(q.bounds or (-np.inf, np.inf))[1] for q in projs]),
                **first,
                **_rule(plan),
            },
        ),
        coder=arrays.records(arrays.CODER, _coders(plan)),
        first=arrays.offsets([p.size for p in pops]),
        own_first=arrays.offsets([p.size * on for p, on in zip(pops, own, strict=True)]),
        coder_first=arrays.offsets([pops[c.population].size for c in plan.coders]),
        order=np.array(plan.order, dtype=np.int64),
        error_order=np.array(plan.error_order, dtype=np.int64),
        in_first=in_first,
        in_list=in_list,
        trace_first=arrays.offsets(
            [len(g) * p.size for g, p in zip(plan.groups, pops, strict=True)]
        ),
        group_first=group_first,
        group_tau=group_tau,
        back_first=back_first,
        back_list=back_list,
        back_trace_first=arrays.offsets(
            [len(g) * p.size for g, p in zip(plan.error_groups, pops, strict=True)]
        ),
        back_group_first=back_group_first,
        back_group_tau=back_group_tau,
        delayed=np.array([q.index for q in projs if q.delay > 0], dtype=np.int64),
        error_delayed=np.array([q.index for q in projs if q.error_delay > 0], dtype=np.int64),
        weight_first=arrays.offsets([math.prod(q.weight_shape) for q in projs]),
        position=_positions(plan) if shared else np.zeros(0),
        pre_first=arrays.offsets([q.shape[0] * on for q, on in zip(projs, traced, strict=True)]),
        post_first=arrays.offsets(
            [q.shape[1] * (on and not k) for q, on, k in zip(projs, traced, ledgers, strict=True)]
        ),
        owed_first=arrays.offsets(
            [
                q.shape[1] * on * (learning.LEDGER if k else 1)
                for q, on, k in zip(projs, traced, ledgers, strict=True)
            ]
        ),
        booked_first=arrays.offsets([q.synapses * on for q, on in zip(projs, noted, strict=True)]),
        bias=np.concatenate([p.bias for p in pops]),
        leaf_first=leaves[:-1],
        level_first=tournament.levels(int(leaves[-1])),
        local_first=arrays.offsets(
            [(p.size + 1) * listed for p, listed in zip(pops, plan.local, strict=True)]
        ),
        # From line to line of the cache.
        cell_first=arrays.offsets(
            [-(-p.size * n // 8) * 8 for p, n in zip(pops, strides.tolist(), strict=True)]
        ),
        **_error_trees(plan),
        start=np.array([plan.t0]),
        **spans,
        rule=np.array([arrays.RULES[rule.compiled or "booked" if rule else "booked"]]),
        error_driven=np.array([rule is None or rule.error_driven]),
    )


def _is_special(net: arrays.Net) -> bool:
    """Return whether anything moves on curves, is local, softmax, shared, or learns by passes."""
    record = net.population
    layer, error = record["kind"] == arrays.LAYER, record["has_error"]
    curved = (layer & ~record["matched"]) | (error & ~record["error_matched"])
    found = curved | record["local"] | (error & record["softmax"])
    shared = net.projection["shared"].any()
    return bool(found.any() or shared or net.rule[0] != arrays.RULES["booked"])


def _positions(plan: Plan) -> Floats:
    """Return from how many positions of a kernel each neuron with a presynaptic trace is seen."""
    learn = [q.positions for q in plan.projections if plan.plastic[q.index]]
    return np.concatenate([np.zeros(0), *learn])


def _longest_row(plan: Plan) -> int:
    """Return how many synapses one neuron has at most that share a kernel."""
    rows = [
        int(q.convolution.positions.max()) * q.target.shape[2]
        for q in plan.projections
        if q.convolution is not None and q.target.shape is not None
    ]
    return max(rows, default=0)


def _coders(plan: Plan) -> dict[str, NDArray[Any]]:
    """Return the columns of the error coders' records."""
    after = np.full(len(plan.coders), -1, dtype=np.int64)
    for p in plan.populations:
        mine = plan.coders_of(p.index)
        after[mine[:-1]] = mine[1:]
    return {
        "population": np.array([coder.population for coder in plan.coders], dtype=np.int64),
        "step": np.array([coder.step for coder in plan.coders]),
        "per_step": np.array([1.0 / coder.step if coder.step else 0.0 for coder in plan.coders]),
        "next": after,
    }


def _error_trees(plan: Plan) -> dict[str, NDArray[np.int64]]:
    """Return where the trees of local outputs that encode an error lie, and their levels."""
    trees = [
        tournament.levels(p.size).tolist() if alone and encodes and p.kind == "output" else []
        for p, alone, encodes in zip(plan.populations, plan.local, plan.has_error, strict=True)
    ]
    first, levels = arrays.ragged(trees)
    return {
        "error_tree_first": arrays.offsets([levels[-1] if levels else 0 for levels in trees]),
        "error_levels": first,
        "error_level_first": levels,
    }


def _spans(
    plan: Plan, late: Sequence[bool]
) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]]:
    """Return where the rows and columns of the sparse projections lie: offsets, and the arrays.

    Columns are counted where a projection learns. Their entries are listed where errors come back over
    it, or where it books columns at once.
    """
    n = len(plan.projections)
    names = ("span", "edge", "column_span", "share")
    first = {name: np.zeros(n, dtype=np.int64) for name in names}
    reach, shares = [plan.reach], [np.zeros(0, np.int32)]
    returns = [q.index in plan.returning[q.source.index] for q in plan.projections]
    listed = [
        q.sparse and (back or (on and not wait))
        for q, back, on, wait in zip(plan.projections, returns, plan.plastic, late, strict=True)
    ]
    entries = sum(q.synapses for q, on in zip(plan.projections, listed, strict=True) if on)
    column_row, column_place = np.empty(entries, np.int32), np.empty(entries, np.int64)
    spans, column_spans = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    edge = entry = 0
    for q, listing in zip(plan.projections, plan.rows, strict=True):
        k, rows = q.index, listing
        if q.convolution is not None:
            rows = sparse.rows_of(q, plan.generator, np.empty(q.synapses, np.int32))
            first["edge"][k], first["share"][k] = sum(map(len, reach)), sum(map(len, shares))
            reach.append(rows.reach)
            shares.append(q.convolution.edges[2].astype(np.int32))
        elif rows is not None:
            first["edge"][k] = edge
            edge += q.synapses
        if rows is None:
            continue
        first["span"][k] = sum(map(len, spans))
        spans.append(rows.span)
        if listed[k] or plan.plastic[k]:
            begin = sparse.starts(rows.reach, q.shape[1])
            if listed[k]:
                mine = slice(entry, entry + q.synapses)
                sparse.transpose(*rows, begin, column_row[mine], column_place[mine])
                begin += entry
                entry += q.synapses
            first["column_span"][k] = sum(map(len, column_spans))
            column_spans.append(begin)
    return {
        "sparse": np.array([q.sparse for q in plan.projections], dtype=np.bool_),
        "shared": np.array([q.convolution is not None for q in plan.projections], dtype=np.bool_),
        **{name + "_first": offsets for name, offsets in first.items()},
    }, {
        "span": np.concatenate(spans),
        "reach": plan.reach if len(reach) == 1 else np.concatenate(reach),
        "share": np.concatenate(shares),
        "column_span": np.concatenate(column_spans),
        "column_row": column_row,
        "column_place": column_place,
    }


def _rule(plan: Plan) -> dict[str, NDArray[Any]]:
    """Return the learning rule's constants for every projection."""
    rule, n = plan.rule, len(plan.projections)
    found = {
        name: np.zeros(n)
        for name in (
            "pre_tau",
            "post_tau",
            "unit",
            "post_unit",
            "for_row",
            "for_column",
            "for_pair",
        )
    }
    for q in plan.projections:
        if rule is None or not plan.plastic[q.index]:
            continue
        taus, units = rule.taus(q), rule.units(q)
        found["pre_tau"][q.index], found["post_tau"][q.index] = taus
        found["unit"][q.index], found["post_unit"][q.index] = units
        if isinstance(rule, BookedRule):
            gains = rule.coefficients(taus)
            for name, gain in zip(("for_row", "for_column", "for_pair"), gains, strict=True):
                found[name][q.index] = gain
    return {
        **found,
        "cap": np.full(n, rule.limit if isinstance(rule, BookedRule) else np.inf),
    }


def _fresh_state(plan: Plan, net: arrays.Net) -> arrays.State:
    n, pops, projs = int(net.first[-1]), len(plan.populations), len(plan.projections)
    sensors = sum(p.size for p in plan.populations if p.kind == "sensor")
    constant = np.array([p.constant for p in plan.populations])
    cells = arrays.aligned(int(net.cell_first[-1]))
    _clear_losses(cells, net, plan.t0)
    return arrays.State(
        population=arrays.records(
            arrays.POPULATION_STATE,
            {
                "clock": np.full(pops, plan.t0),
                "error_clock": np.full(pops, plan.t0),
                "due": np.full(pops, np.inf),
                "error_due": np.full(pops, np.inf),
                "timer": np.full(pops, np.inf),
                "written_time": np.where(constant, plan.t0, np.inf),
            },
        ),
        projection=arrays.records(
            arrays.PROJECTION_STATE,
            {
                "origin": np.full(projs, plan.t0),
                "power": np.zeros(projs),
                "jumps": np.zeros(projs),
                "gauged": np.full(projs, plan.t0),
                "trace_clock": np.full(projs, plan.t0),
                "rate": np.array(plan.lr),
            },
        ),
        x=np.zeros(n),
        period=np.full(n, np.inf),
        u=np.zeros(int(net.trace_first[-1])),
        slope=_off(net),
        phi=np.zeros(n),
        cells=cells,
        anchor=np.full(n, plan.t0),
        cross=np.full(n, np.inf),
        side=np.zeros(n),
        turn=np.full(n, np.inf),
        g=np.zeros(int(net.back_trace_first[-1])),
        y=np.zeros(n),
        e=np.zeros(n),
        gate=_off(net),
        error_phi=np.zeros(int(net.coder_first[-1])),
        error_anchor=np.full(n, plan.t0),
        error_cross=np.full(int(net.coder_first[-1]), np.inf),
        error_side=np.zeros(int(net.coder_first[-1])),
        error_amplitude=np.zeros(int(net.trace_first[-1])),
        charge=np.zeros(int(net.pre_first[-1])),
        owed=arrays.aligned(int(net.owed_first[-1])),
        booked=np.zeros(int(net.booked_first[-1])),
        version=np.zeros(projs, dtype=np.int64),
        seen=np.zeros(int(net.pre_first[-1]), dtype=np.int64),
        post=np.zeros(int(net.post_first[-1])),
        own=np.ones(int(net.own_first[-1])),
        spent=np.zeros(int(net.own_first[-1])),
        written=np.repeat(constant, np.diff(net.first)).astype(np.float64),
        tree=tournament.tree_of(np.full(sensors, np.inf)),
        error_tree=np.full(int(net.error_tree_first[-1]), np.inf),
        now=np.array([-np.inf]),
        flags=np.array([0, int(plan.rule is not None), -1, -1], dtype=np.int64),
    )


def _no_flights(
    delays: Floats, sender: NDArray[np.int64], first: NDArray[np.int64]
) -> arrays.Flights:
    """Return room for the spikes of two instants of each delayed projection."""
    sizes = np.diff(first)[sender] * 2 * (delays > 0) if len(delays) else np.zeros(0)
    return _flights(arrays.offsets([int(size) for size in sizes]))


def _flights(first: NDArray[np.int64]) -> arrays.Flights:
    n, room = len(first) - 1, int(first[-1])
    return bind(
        arrays.Flights(
            first=first,
            head=np.zeros(n, dtype=np.int64),
            tail=np.zeros(n, dtype=np.int64),
            landed=np.zeros(n, dtype=np.int64),
            time=np.zeros(room),
            neuron=np.zeros(room, dtype=np.int64),
            quanta=np.zeros(room),
        )
    )


def _doubled(old: arrays.Flights) -> arrays.Flights:
    """Return the same spikes under way with twice the room."""
    new = _flights(old.first * 2)
    for q in range(len(old.head)):
        a, b = old.first[q] + old.head[q], old.first[q] + old.tail[q]
        new.tail[q] = b - a
        for name in ("time", "neuron", "quanta"):
            getattr(new, name)[new.first[q] : new.first[q] + b - a] = getattr(old, name)[a:b]
    return new


def _no_spikes(neurons: int, populations: int) -> arrays.Fired:
    return arrays.Fired(
        neuron=np.zeros(neurons, dtype=np.int64),
        quanta=np.zeros(neurons),
        number=np.zeros(populations, dtype=np.int64),
    )


def _clear_traces(state: arrays.State, t0: float) -> None:
    """Put the plasticity traces at rest."""
    for name in ("charge", "owed", "booked", "version", "seen", "post"):
        getattr(state, name)[:] = 0
    state.projection["power"] = state.projection["jumps"] = 0.0
    for name in ("origin", "gauged", "trace_clock"):
        state.projection[name][:] = t0


def _off(net: arrays.Net) -> Floats:
    """Return the slope of units that are off, as all are before t0; of outputs 0, for no target."""
    layers = (net.population["kind"] == arrays.LAYER) & (net.population["leak"] < 1.0)
    return np.repeat(np.where(layers, net.population["leak"], 0.0), np.diff(net.first))


def _clear_losses(cells: Floats, net: arrays.Net, t: float) -> None:
    """Let the cells of local outputs have no target and no error, as of `t`."""
    for p in np.flatnonzero(net.population["stride"] > local.CODERS):
        stride = net.population["stride"][p]
        n = (net.first[p + 1] - net.first[p]) * stride
        mine = cells[net.cell_first[p] : net.cell_first[p] + n].reshape(-1, stride)
        mine[:, local.LEVEL] = np.nan
        mine[:, local.ANCHOR] = t
        mine[:, local.CODERS :: 2] = 0.0
        mine[:, local.CODERS + 1 :: 2] = np.inf


def _clear_errors(state: arrays.State, net: arrays.Net) -> None:
    """Forget targets and errors."""
    for name in ("g", "y", "e", "error_phi"):
        getattr(state, name)[:] = 0.0
    state.gate[:] = _off(net)
    state.error_cross[:] = state.error_tree[:] = np.inf
    _clear_losses(state.cells, net, float(net.start[0]))
    state.population["error_due"][:] = np.inf
    state.population["timer"][:] = np.inf

"""The clocked engine: the paper's algorithm, one sparse forward and backward pass a tick.

The equations are those of O'Connor et al. (2018) as their program ran them; Eqs. 19 and 20 are
corrected (docs/theory.md). Within a tick, with ``k_alpha = exp(-dt/tau)`` and ``k_beta`` of each coder
as they stood when it began:

* encode ``a = kp*x + kd*(x - x_last)`` (Eq. 4), quantize ``p = phi + a; s = round(p); phi = p - s``
  (Eq. 3, halves to the even number), decode ``y <- k_alpha*y + k_beta*(s @ W)``, ``z = b + y``
  (Eq. 5, 7): the bias stands outside the decoder. With a threshold theta above 1/2, which is hysteresis,
  ``s = sign(p)*round(max(|p| - (theta - 1/2), 0))``. With two taps a coder encodes
  ``a = (x[t] - w1*x[t-1] - w2*x[t-2])/k_beta`` (Eq. 14), and its decoders go on by the same (Eq. 15);
* output error ``dL/dz``, hidden error ``h'(z)*decode(s_e @ W.T)`` (Eq. 12), each through its own coder;
  a layer with `slowness` adds the gradient of how much it changes (`clocked_kernels.slow_down`);
* plasticity, one of four rules whose sums over time agree; weights are read before any is changed; the
  rate a tick is ``lr*dt``, or with a guard ``min(lr*dt, cap/sum_q |x_q|^2)`` over the signals by which a
  target learns;
* learned biases, ``b -= lr*dt*e`` with the raw error; adaptive scales (Eq. 21), or scales that are
  learned (`clocked_scales.price_scales`).

The stages stand in `clocked_kernels`, the rules in `clocked_learning`. Signals, traces and weights are
float64 or float32. What the future rule changes waits, as two vectors a tick, and is written every
few ticks (`wait`, `book_all` there).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import arrays
from eventnet.engine import clocked_arrays as layout
from eventnet.engine import clocked_convolution as kernel_layout
from eventnet.engine import clocked_kernels as kernels
from eventnet.engine.bound import bind
from eventnet.engine.clocked_learning import book_all
from eventnet.engine.equations import MAX_COUNT
from eventnet.engine.feeds import Feeds
from eventnet.engine.plan import Plan
from eventnet.engine.readings import Watching, make_probes
from eventnet.errors import ConfigError, Diverged
from eventnet.network import SCALES, Scales, Taps, not_negative, positive, unknown
from eventnet.sources import Source, whole

Floats = NDArray[np.float64]
Sink = Callable[[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]], None]

TRACES = ("pre", "pre_before", "post", "area", "charge", "kernel_pre", "kernel_post")
"""Parts of the state that plasticity remembers."""

FORWARD = ("x", "last", "before", "phi", "on", "u", "u_before", "sent", "sent_before")
"""Parts of the state that the forward coders and decoders remember."""

SCALED = ("beta", "mean", "error_beta", "error_mean", "share", "paid", "spoilt")
"""Parts of the state that say what scales are."""

KERNEL_COUNTS = {
    arrays.FORWARD: layout.CROSSED,
    arrays.BACKWARD: layout.RETURNED,
    arrays.ROW: layout.TAUGHT_ROWS,
    arrays.COLUMN: layout.TAUGHT_COLUMNS,
}
"""Where the synapses that spikes crossed are counted if they share a kernel, by pass."""

BUFFER_ROWS = 1 << 16
"""Spikes that the recorder takes at a time."""


class Scale(NamedTuple):
    """The scales of a population's two coders (Eq. 21): k_beta and the mean that it follows."""

    step: float
    mean: float
    error_step: float
    error_mean: float


class ClockedEngine(Watching):
    """Runs a plan tick by tick, as the paper's program did.

    Tick k stands at ``t0 + k/rate`` with ``rate = 1/dt``, as sample k of a `Periodic` source of that rate
    does; a reading or target is in force from the first tick at or after its own time until the next
    one (NaN: no target, the error is 0). Between ticks nothing happens, and what is read is what the
    last tick left.

    Parameters
    ----------
    plan : Plan
        A tick learns with the learning rate a second times `dt`, by one of `STDP` (the paper's future
        rule), `Past`, `Reconstruction` (the product of the decoded signals, every tick) and
        `TrueGradient` (the product of the signals themselves, every tick); summed over time all four
        ask for the same. A plastic projection from a constant sensor is a learned bias: it sends
        no spikes and learns from the raw error.
    sink : callable or None
        Takes batches of spikes (time s, population code, neuron, count); codes at and above the
        number of populations are error spikes. None: spikes are counted but not kept.
    dt : float
        Length of a tick, s.
    adapt : float
        The rate eta of the scales' adaptation, a tick (Eq. 21). 0: a population's `step` and
        `error_step` are its scales and stay so. Above: they are scales relative to the running mean,
        over units and time, of the signal's size, and where the scales start; the means start at 1.
        The scales of errors rest while no target is in force.
    price : float
        What an addition is worth, in units of the loss: forward scales are learned, each stepping to
        where a finer one would cost as much more as it would make the loss less. 0: they are not.
    scales : {"population", "neuron"}
        What has a learned scale of its own.

    Raises
    ------
    ConfigError
        For what the paper's algorithm has not: delays, other rules, sparse or bounded projections,
        sources of spikes; for two biases on one population; for a rule that needs fading traces and a
        coder that never fades; for slowness where nothing learns.
    """

    name = "clocked"

    def __init__(
        self,
        plan: Plan,
        sink: Sink | None,
        dt: float,
        adapt: float = 0.0,
        price: float = 0.0,
        scales: Scales = "population",
    ) -> None:
        self.plan = plan
        self.dt = positive(dt, "dt", "the clock", " s")
        positive(1.0 / self.dt, "1/dt", "the clock", " Hz")
        if not 0.0 <= adapt <= 1.0:
            raise ConfigError(f"adapt={adapt} on the clock: must lie in [0, 1]")
        self.adapt = float(adapt)
        self.price = not_negative(price, "price", "the clock")
        if scales not in SCALES:
            raise unknown("scales", scales, SCALES)
        self.scales = scales
        _check(plan)
        _check_price(plan, self.price, self.adapt)
        self._sink = sink
        self._net = bind(_net(plan, self.dt, self.adapt, self.price, scales == "neuron"))
        special = (self._net.shared, self._net.shift, self._net.second, self._net.price)
        self._special = 1 if any(given.any() for given in special) else None
        self._weights = arrays.aligned(int(self._net.weight_first[-1]), plan.dtype)
        self._state = bind(arrays.spread(_fresh_state(plan, self._net)))
        for q, weights in enumerate(plan.initial_weights()):
            self._put_weights(q, weights)
        self.scale_lr(1.0)
        n, neurons = len(plan.populations), int(self._net.first[-1])
        scratch = arrays.spread(
            layout.Scratch(
                arrived=np.zeros(int(self._net.trace_first[-1]), plan.dtype),
                returned=np.zeros(int(self._net.back_trace_first[-1]), plan.dtype),
                spike_count=np.zeros(neurons, plan.dtype),
                spike=np.zeros(neurons + 1, dtype=np.int64),
                spikes=np.zeros(n, dtype=np.int64),
                quanta=np.zeros(n, dtype=np.int64),
                error_count=np.zeros(neurons, plan.dtype),
                error_spike=np.zeros(neurons + 1, dtype=np.int64),
                error_spikes=np.zeros(n, dtype=np.int64),
                error_quanta=np.zeros(n, dtype=np.int64),
                rate=np.zeros(len(plan.projections)),
                power=np.zeros(n),
                overlap=np.zeros(layout.MOST_SLOTS, plan.dtype),
                item=np.zeros(layout.MOST_SLOTS + 4, dtype=np.int64),
                share=np.zeros(layout.MOST_SLOTS + 4, plan.dtype),
                found=np.zeros(n, dtype=np.int64),
                nonzero=np.zeros(n, dtype=np.int64),
                change=np.zeros(int(self._net.change_first[-1]), plan.dtype),
                mark=np.zeros(int(self._net.block_first[-1]), dtype=np.bool_),
                error_mark=np.zeros(int(self._net.block_first[-1]), dtype=np.bool_),
                slope=np.zeros(neurons * (self.price > 0), plan.dtype),
                ahead=np.zeros(int(self._net.before_first[-1]), plan.dtype),
                single=np.zeros(1, dtype=np.int64),
                crossed=np.zeros(2, dtype=np.int64),
            )
        )
        self._scratch = bind(scratch)
        self._feeds = Feeds([p.size for p in plan.populations], coded=plan.dtype)
        self._counts = bind(
            layout.Counts(
                population=np.zeros((n, 6), dtype=np.int64),
                projection=np.zeros(
                    (len(plan.projections), layout.PROJECTION_COUNTS), dtype=np.int64
                ),
                network=np.zeros(4, dtype=np.int64),
            )
        )
        rows = 0 if sink is None else BUFFER_ROWS + 2 * neurons
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

    # -- time --------------------------------------------------------------------------------------

    @property
    def ticks(self) -> int:
        """How many ticks have run."""
        return int(self._state.flags[0])

    @property
    def now(self) -> float:
        """The last tick's time, s; -inf before the first."""
        return self.time_of(self.ticks - 1) if self.ticks else -math.inf

    def time_of(self, tick: int) -> float:
        """Return the time of a tick, s."""
        return kernels.tick_time(tick, self._net.clock)

    def advance(self, until: float, inclusive: bool = False) -> None:
        """Run all ticks before `until`, and at it if `inclusive`; spikes go to the sink.

        Raises
        ------
        Diverged
            When a signal is not finite or a spike count exceeds `MAX_COUNT`. The tick is not recorded.
        """
        while True:
            status = kernels.advance(
                until,
                inclusive,
                self._net,
                self._state,
                self._weights,
                self._feeds.arrays,
                self._scratch,
                self._counts,
                self._buffer,
                self._special,
            )
            if status == arrays.NEEDS_SAMPLES:
                self._feeds.refill()
                continue
            self._drain()
            if status == arrays.DIVERGED:
                raise self._diverged(int(self._state.flags[2]))
            if status == arrays.DONE:
                return

    def _diverged(self, population: int) -> Diverged:
        """Return the error that names the first neuron whose residual or count is out of range."""
        mine = slice(*self._net.first[population : population + 2])
        state, scratch = self._state, self._scratch
        counts = np.abs([scratch.spike_count[mine], scratch.error_count[mine]])
        residuals = np.abs([state.phi[mine], state.error_phi[mine]])
        bad = ~(counts <= MAX_COUNT) | ~np.isfinite(residuals)
        neuron = int(bad.any(axis=0).argmax())
        return Diverged(self.now, self.plan.populations[population].name, neuron)

    def outputs(self, population: int, ticks: int) -> Floats:
        """Run `ticks` ticks and return what `population` reads after each, shape (ticks, size)."""
        t0, rate = self._net.clock
        found = [np.zeros((0, self.plan.populations[population].size))]
        stamps = t0 + (int(self._state.flags[0]) + np.arange(ticks)) / rate
        self.watch([population], [stamps], lambda _, values: found.append(values))
        return found[-1]

    # -- signals -----------------------------------------------------------------------------------

    def feed(self, population: int, source: Source) -> None:
        """Take all samples of `source` for a sensor or, as targets, for an output."""
        self._feeds.add(population, source)

    def write(self, population: int, values: Floats, time: float) -> None:
        """Let a reading or a target take effect at the first tick at or after `time`."""
        a, b = self._net.first[population], self._net.first[population + 1]
        self._state.written[a:b] = values
        self._state.written_time[population] = time

    def read(self, population: int, time: float) -> Floats:
        """Return what the last tick left, shape (size,): a reading, ``h(z)``, or an output's z."""
        a, b = self._net.first[population], self._net.first[population + 1]
        x: Floats = self._state.x[a:b] * self._state.held[population]
        return x

    # -- what is learned ---------------------------------------------------------------------------

    @property
    def learning(self) -> bool:
        """Whether errors are formed and weights change.

        Turning it off or on clears the backward half of the network: targets, errors, traces.
        """
        return bool(self._state.flags[1])

    @learning.setter
    def learning(self, on: bool) -> None:
        self._book()
        state = self._state
        for name in ("e", "error_last", "error_phi", "g", *TRACES):
            getattr(state, name)[:] = 0.0
        state.y[:] = np.nan
        self._forget_spikes()
        state.flags[1] = int(on)
        state.flags[3] = 0

    def scale_lr(self, factor: float) -> None:
        """Let every projection learn at `factor` times the rate that it was built with, from now on."""
        self._state.rate[:] = np.array(self.plan.lr) * self.dt * factor

    def weights(self, projection: int) -> Floats:
        """Return a copy of a projection's weights, shape (n_in, n_out), all bookings included."""
        net, state, q = self._net, self._state, projection
        n_in, n_out = self.plan.projections[q].shape
        if net.constant[net.source[q]]:
            target = int(net.target[q])
            learned: Floats = self.bias(target) - self.plan.populations[target].bias
            return learned[None]
        stored = self._weights[net.weight_first[q] : net.weight_first[q + 1]]
        shared = self.plan.projections[q].convolution
        if shared is not None:
            return kernel_layout.gathered(shared, stored).astype(np.float64)
        if net.flipped[q]:
            return np.ascontiguousarray(stored.reshape(n_out, n_in).T, dtype=np.float64)
        weights: Floats = stored.reshape(n_in, n_out).astype(np.float64)
        if net.late[q]:
            rows = slice(net.pre_first[q], net.pre_first[q + 1])
            waiting = state.waiting[net.waiting_first[q] : net.waiting_first[q + 1]]
            moves = state.moves[net.moves_first[q] : net.moves_first[q + 1]].astype(np.float64)
            moves, taken = moves.reshape(-1, n_out), int(state.taken[q])
            waiting = waiting.reshape(n_in, -1)[:, :taken]
            weights -= waiting @ moves[:taken] + np.outer(state.charge[rows], moves[-1])
        return weights

    def set_weights(self, projection: int, weights: Floats) -> None:
        """Replace a projection's weights, shape (n_in, n_out); traces stay."""
        self._book()
        self._put_weights(projection, weights)

    def bias(self, population: int) -> Floats:
        """Return a copy of a population's present biases, shape (size,)."""
        a, b = self._net.first[population], self._net.first[population + 1]
        return self._state.bias[a:b].astype(np.float64)

    def set_bias(self, population: int, bias: Floats) -> None:
        """Replace a population's biases, shape (size,)."""
        if np.any(bias):
            self._wake(population)
        a, b = self._net.first[population], self._net.first[population + 1]
        self._state.bias[a:b] = bias

    def scale(self, population: int) -> Scale:
        """Return the present scales of a population's coders."""
        state, p = self._state, population
        return Scale(
            step=float(state.beta[p]),
            mean=float(state.mean[p]),
            error_step=float(state.error_beta[p]),
            error_mean=float(state.error_mean[p]),
        )

    def steps(self, population: int) -> Floats:
        """Return the signal that one spike of each neuron of a population stands for, (size,)."""
        net, state, p = self._net, self._state, population
        own = state.share[net.share_first[p] : net.share_first[p + 1]].astype(np.float64)
        steps: Floats = state.beta[p] * (
            own if len(own) else np.ones(self.plan.populations[p].size)
        )
        return steps

    def finish(self) -> None:
        """Add to the weights what the traces leave open, and forget the traces.

        That is what the decoded signals would still bring if no further spike came: all of it under
        the future rule has been added, none of it exists for the true gradient.
        """
        net, state = self._net, self._state
        self._book()
        for q in np.flatnonzero(net.plastic).tolist():
            if net.rule[0] == layout.FUTURE:
                continue  # all of it has been added
            src, dst = net.source[q], net.target[q]
            fade = net.alpha[src] * net.error_alpha[dst]
            weights = self._weights[net.weight_first[q] : net.weight_first[q + 1]]
            if net.rule[0] == layout.PAST:
                area = state.area[net.area_first[q] : net.area_first[q + 1]]
                weights -= state.rate[q] / (1.0 - fade) * area
            elif net.rule[0] == layout.RECONSTRUCTION:
                if fade == 1.0 and net.second[src] == 0.0:
                    name = self.plan.projections[q].name
                    raise ConfigError(
                        f"finish: the traces on {name} never fade, nor does what is open"
                    )
                pre = state.pre[net.first[src] : net.first[src + 1]]
                post = state.post[net.first[dst] : net.first[dst + 1]]
                if net.shared[q]:
                    held = state.held_pre[src] * state.held_post[dst]
                    open_share = -state.rate[q] * fade / (1.0 - fade) * held
                    kernel_layout.correlate(q, open_share, net, state, self._weights, self._scratch)
                    continue
                # The decoded signal goes on as its taps say, the error fades: sum of x_hat*fade^n, n > 0.
                second, back = net.second[src], net.error_alpha[dst]
                if second != 0.0:
                    part = slice(net.before_first[src], net.before_first[src + 1])
                    total = pre + second * back * state.pre_before[part]
                    pre, share = total / (1.0 - fade - second * back**2) - pre, 1.0
                else:
                    share = fade / (1.0 - fade)
                rest = np.outer(post, pre) if net.flipped[q] else np.outer(pre, post)
                weights -= state.rate[q] * share * rest.ravel()
        for name in TRACES:
            getattr(state, name)[:] = 0.0

    # -- counts ------------------------------------------------------------------------------------

    @property
    def counters(self) -> arrays.Counters:
        """What the cost report is made from, as of the last tick: a copy.

        Events and quanta are those of an implementation that adds one row or column a spike. For
        narrow projections this engine reads whole matrices instead, which vectors do faster.
        """
        ar, net, counts = arrays, self._net, self._counts
        spikes = counts.population
        projection = np.zeros((len(self.plan.projections), ar.PROJECTION_COUNTERS), dtype=np.int64)
        for q in self.plan.projections:
            row = projection[q.index]
            n_in, n_out = q.shape
            pre, post = spikes[q.source.index], spikes[q.target.index]
            passes = [(ar.FORWARD, pre[[layout.EVENTS, layout.QUANTA]], n_out)]
            if q.index in self.plan.returning[q.source.index] and not q.source.constant:
                passes += [(ar.BACKWARD, post[[layout.ERROR_EVENTS, layout.ERROR_QUANTA]], n_in)]
            if net.plastic[q.index]:
                passes += [(ar.ROW, pre[[layout.LEARNED_EVENTS, layout.LEARNED_QUANTA]], n_out)]
                passes += [(ar.COLUMN, post[[layout.ERROR_EVENTS, layout.ERROR_QUANTA]], n_in)]
                row[ar.PASSES] = counts.network[layout.LEARNED_TICKS]
            for at, crossed, fan in passes:
                row[at : at + 2] = crossed
                row[at + 2 : at + 4] = crossed * fan
                if net.shared[q.index]:
                    begin = KERNEL_COUNTS[at]
                    row[at + 2 : at + 4] = counts.projection[q.index, begin : begin + 2]
            valued = counts.projection[q.index, layout.VALUED] * n_in * n_out
            row[ar.ROW + 2 : ar.ROW + 4] += valued
            row[ar.GUARDED] = counts.projection[q.index, layout.GUARDED]
            row[ar.BOOKED] = counts.projection[q.index, layout.BOOKED_ROWS] * n_out
            row[ar.SKIP_FORWARD] = counts.projection[q.index, layout.SKIP_FORWARD]
            row[ar.SKIP_BACKWARD] = counts.projection[q.index, layout.SKIP_BACKWARD]
            row[ar.SKIP_UPDATE] = counts.projection[q.index, layout.SKIP_UPDATE]
        population = np.zeros((len(spikes), ar.POPULATION_COUNTERS), dtype=np.int64)
        population[:, ar.EVENTS] = spikes[:, layout.EVENTS]
        population[:, ar.QUANTA] = spikes[:, layout.QUANTA]
        population[:, ar.ERROR_EVENTS] = spikes[:, layout.ERROR_EVENTS]
        population[:, ar.ERROR_QUANTA] = spikes[:, layout.ERROR_QUANTA]
        network = np.zeros(ar.NETWORK_COUNTERS, dtype=np.int64)
        network[ar.INSTANTS] = counts.network[layout.TICKS]
        network[ar.READINGS] = counts.network[layout.READINGS]
        network[ar.TEACHINGS] = counts.network[layout.TEACHINGS]
        return ar.Counters(population, projection, network)

    # -- state -------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Forget everything but weights, biases, scales and whether it learns; sources start over."""
        self._book()
        kept = (*SCALED, "bias", "rate", "lazy")
        for name, fresh in _fresh_state(self.plan, self._net)._asdict().items():
            if name not in kept:
                if name == "flags":
                    fresh[1] = self._state.flags[1]
                getattr(self._state, name)[...] = fresh
        self._clear_room()
        for counts in self._counts:
            counts[...] = 0
        self._feeds.rewind()

    def state(self) -> dict[str, Any]:
        """Return a copy of everything that a run changes."""
        return {
            "state": {k: v.copy() for k, v in self._state._asdict().items()},
            "weights": self._weights.copy(),
            "cursors": self._feeds.cursors(),
            "counts": {k: v.copy() for k, v in self._counts._asdict().items()},
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a state that `state` returned, for the same plan and sources."""
        for k, v in saved["state"].items():
            getattr(self._state, k)[...] = v
        self._forget_spikes()
        self._clear_room()
        self._weights[...] = saved["weights"]
        for k, v in saved["counts"].items():
            getattr(self._counts, k)[...] = v
        self._feeds.go_to(saved["cursors"])

    def copy(self, sink: Sink | None = None) -> ClockedEngine:
        """Return an engine that does not learn, to evaluate with; it shares nothing with this one.

        Weights, biases, scales and the state of the forward coders are this one's; it stands at t0,
        without sources and with counters at zero. Adaptive scales go on adapting, in the copy.
        """
        other = ClockedEngine(self.plan, sink, self.dt, self.adapt, self.price, self.scales)
        other.take_over(self)
        other.learning = False
        return other

    def take_over(self, other: ClockedEngine) -> None:
        """Take weights, biases, scales and the state of the forward coders from another engine.

        Of the same network, but with any rule or none; the other engine is not touched.
        """
        for q in range(len(self.plan.projections)):
            self.set_weights(q, other.weights(q))
        mine, theirs, net = self._state, other._state, self._net
        for name in (*FORWARD, *SCALED, "bias", "rate"):
            getattr(mine, name)[...] = getattr(theirs, name)
        for p, held in enumerate(theirs.held.tolist()):
            neurons = slice(*net.first[p : p + 2])
            mine.u[slice(*net.trace_first[p : p + 2])] *= held
            mine.x[neurons] *= held
            if theirs.lazy[p]:
                mine.last[neurons] = mine.x[neurons]
            if mine.bias[neurons].any():
                self._wake(p)

    # -- inside ------------------------------------------------------------------------------------

    def _put_weights(self, projection: int, weights: Floats) -> None:
        net, q = self._net, projection
        array = np.asarray(weights, dtype=np.float64)
        target = int(net.target[q])
        if net.constant[net.source[q]]:
            self.set_bias(target, self.plan.populations[target].bias + array[0])
            return
        shared = self.plan.projections[q].convolution
        if shared is not None:
            array = kernel_layout.laid_out(shared, array)
        stored = array.T if net.flipped[q] else array
        self._weights[net.weight_first[q] : net.weight_first[q + 1]] = stored.ravel()

    def _wake(self, population: int) -> None:
        """Let a lazy population be passed over as a whole from now on."""
        state, k = self._state, population
        if not state.lazy[k]:
            return
        net = self._net
        neurons = slice(*net.first[k : k + 2])
        state.u[slice(*net.trace_first[k : k + 2])] *= state.held[k]
        state.g[slice(*net.back_trace_first[k : k + 2])] *= state.held_error[k]
        state.x[neurons] *= state.held[k]
        state.e[neurons] *= state.held_error[k]
        state.last[neurons], state.error_last[neurons] = state.x[neurons], state.e[neurons]
        state.held[k] = state.held_error[k] = 1.0
        state.lazy[k] = False

    def _forget_spikes(self) -> None:
        """Clear the last tick's error spikes, which ticks without learning would send again."""
        self._scratch.error_count[:] = 0
        self._scratch.error_spikes[:] = 0
        self._scratch.error_quanta[:] = 0

    def _clear_room(self) -> None:
        """Clear what a tick that diverged has left."""
        for name in ("arrived", "returned", "mark", "error_mark", "change"):
            getattr(self._scratch, name)[:] = 0

    def _book(self) -> None:
        for q in np.flatnonzero(self._net.late).tolist():
            book_all(q, self._net, self._state, self._weights, self._scratch, self._counts)

    def _drain(self) -> None:
        n = int(self._buffer.used[0])
        if n and self._sink is not None:
            buffer = self._buffer
            self._sink(
                buffer.time[:n].copy(),
                buffer.population[:n].copy(),
                buffer.neuron[:n].copy(),
                buffer.quanta[:n].copy(),
            )
            buffer.used[0] = 0


def _check(plan: Plan) -> None:
    """Refuse what the paper's algorithm has not."""
    for p in plan.populations:
        if p.kind == "source":
            raise ConfigError(
                f"{p.name}: a clocked network encodes its inputs itself; use a sensor"
            )
    biased: set[int] = set()
    for q in plan.projections:
        for what, delay in (("delay", q.delay), ("error_delay", q.error_delay)):
            if delay > 0:
                raise ConfigError(
                    f"{what}={delay} s on {q.name}: a clocked network has none; set it to 0 or leave "
                    "the clock"
                )
        if q.own_error_step is not None:
            raise ConfigError(
                f"error_step={q.own_error_step} on {q.name}: a clocked population has one error coder; "
                f"set it on {q.target.name}"
            )
        if (q.sparse and q.convolution is None) or q.bounds is not None:
            raise ConfigError(
                f"{q.name}: clocked projections are all to all, without bounds, or share a kernel; "
                "leave the clock"
            )
        past = plan.rule is not None and plan.rule.name == "Past"
        taps = q.source.taps
        if taps is not None and (q.convolution is not None or (past and plan.plastic[q.index])):
            raise ConfigError(
                f"taps={taps} on {q.source.name}: {q.name} shares a kernel or learns by Past, which "
                "predict from one tick; take STDP and synapses of their own, or tau in place of taps"
            )
        if q.convolution is not None and plan.plastic[q.index] and past:
            raise ConfigError(
                f"{q.name}: on a clock Past keeps no products of the synapses that share a kernel; "
                "take STDP, whose sum is the same, or leave the clock"
            )
        if q.source.constant and q.target.index in biased:
            raise ConfigError(f"{q.name}: a second constant sensor; a population has one bias")
        if q.source.constant:
            biased.add(q.target.index)
    if plan.rule is None:
        return
    for p in plan.populations:
        if p.slowness and not plan.has_error[p.index]:
            raise ConfigError(
                f"slowness={p.slowness:g} on {p.name}: nothing that leads into it or before it learns; "
                "let it, or leave slowness at 0"
            )
    if plan.rule.name not in layout.RULES:
        raise ConfigError(f"rule {plan.rule.name}: a clocked network has {', '.join(layout.RULES)}")


def _check_price(plan: Plan, price: float, adapt: float) -> None:
    """Refuse scales that cannot be learned."""
    if not price:
        return
    if adapt:
        raise ConfigError(
            f"price={price:g}, adapt={adapt:g}: scales follow one of them; leave the other"
        )
    shared = next((q for q in plan.projections if q.convolution is not None), None)
    if shared is not None:
        raise ConfigError(
            f"price={price:g}: {shared.name} shares a kernel, which does not say what scales are worth; "
            "leave the price"
        )


def _grouped(
    lists: list[list[int]], ends: list[int], taps: list[Taps]
) -> tuple[list[list[Taps]], NDArray[np.int64]]:
    """Return each population's distinct taps of what arrives, and each projection's place there."""
    groups = [
        list(dict.fromkeys(taps[ends[q]] for q in members)) or [taps[p]]
        for p, members in enumerate(lists)
    ]
    place = np.zeros(len(ends), dtype=np.int64)
    for p, members in enumerate(lists):
        for q in members:
            place[q] = groups[p].index(taps[ends[q]])
    return groups, place


def _net(plan: Plan, dt: float, adapt: float, price: float, own_scales: bool) -> layout.Net:
    kinds = {"sensor": arrays.SENSOR, "layer": arrays.LAYER, "output": arrays.OUTPUT}
    pops, projs = plan.populations, plan.projections
    sizes = [p.size for p in pops]
    constant = np.array([p.constant for p in pops])
    taps = [(math.exp(-dt / p.tau), 0.0) if p.taps is None else p.taps for p in pops]
    alpha, second = np.array(taps).T.copy()
    encodes = np.array([p.kind != "output" and not p.constant for p in pops])
    valued = [plan.has_error[q.target.index] and not q.source.constant for q in projs]
    # Whatever learns, or does not: engines of one network have the same scales.
    learned = [price > 0 and bool(on) for on in encodes]
    shares = [n * (on and own_scales) for n, on in zip(sizes, learned, strict=True)]
    tapped = [n * (w2 != 0.0 or m > 0) for n, m, (_, w2) in zip(sizes, shares, taps, strict=True)]
    fan, priced = [0] * len(pops), [False] * len(pops)
    for q, on, tells in zip(projs, plan.plastic, valued, strict=True):
        fan[q.source.index] += q.target.size * (1 + on)
        priced[q.source.index] |= tells
    error_alpha = np.array([math.exp(-dt / p.error_tau) for p in pops])
    source = [q.source.index for q in projs]
    target = [q.target.index for q in projs]
    incoming = [[q for q in members if not constant[source[q]]] for members in plan.incoming]
    returning = [
        list(members) if pops[p].kind == "layer" else [] for p, members in enumerate(plan.returning)
    ]
    in_first, in_list = arrays.ragged(incoming)
    back_first, back_list = arrays.ragged(returning)
    groups, group = _grouped(incoming, source, taps)
    back_groups, back_group = _grouped(returning, target, [(float(a), 0.0) for a in error_alpha])
    group_tapped = [n * (w2 != 0.0) for g, n in zip(groups, sizes, strict=True) for _, w2 in g]
    penalty = [p.slowness * learns for p, learns in zip(pops, plan.has_error, strict=True)]
    rule = layout.FUTURE if plan.rule is None else layout.RULES[plan.rule.name]
    plastic = [on and not constant[s] for on, s in zip(plan.plastic, source, strict=True)]
    late, flipped, slots = [], [], []
    window_fade = layout.WINDOW_FADE[plan.dtype.itemsize]
    for q in projs:
        k, (n_in, n_out) = q.index, q.shape
        fade = alpha[source[k]] * error_alpha[target[k]]
        lasts = fade == 1.0 and second[source[k]] == 0.0
        if plastic[k] and rule in (layout.FUTURE, layout.PAST) and lasts:
            raise ConfigError(
                f"tau={q.source.tau} s on {q.name}: its traces never fade, so that no spike's share of "
                "the future is finite; shorten it or take Reconstruction or TrueGradient"
            )
        own = q.convolution is None
        waits = own and plastic[k] and rule == layout.FUTURE and n_out >= layout.WIDE
        late.append(waits and q.source.taps is None)
        narrow = own and n_out < min(layout.WIDE, n_in)
        flipped.append(not late[-1] and narrow and not constant[source[k]])
        slowness = math.log(window_fade) / min(math.log(max(alpha[source[k]], 1e-300)), -1e-300)
        most = min(slowness, layout.MOST_SLOTS) // layout.CHUNK
        slots.append(layout.CHUNK * max(1, int(most)))
    shared = [q.convolution for q in projs]
    taught = [on and own is not None for on, own in zip(plastic, shared, strict=True)]
    dense = [on and own is None for on, own in zip(plastic, shared, strict=True)]
    eager = [on and not wait for on, wait in zip(dense, late, strict=True)]
    sizes_of = [
        0 if q.source.constant else math.prod(q.weight_shape) * (1 if own is None else 2)
        for q, own in zip(projs, shared, strict=True)
    ]
    seen = [q.positions if on else np.zeros(0) for q, on in zip(projs, taught, strict=True)]
    teacher = np.full(len(pops), -1, dtype=np.int64)
    for q in projs:
        if plan.plastic[q.index] and q.source.constant:
            teacher[q.target.index] = q.index
    return layout.Net(
        kind=np.array([kinds[p.kind] for p in pops], dtype=np.int64),
        first=arrays.offsets(sizes),
        alpha=alpha,
        second=second,
        before_first=arrays.offsets(tapped),
        encodes=encodes,
        scale_first=arrays.offsets([max(on, n) for on, n in zip(learned, shares, strict=True)]),
        share_first=arrays.offsets(shares),
        priced=np.array(priced, dtype=np.bool_) & (price > 0),
        fan=np.array(fan, dtype=np.float64),
        price=np.array([price]),
        relative=np.array([p.step for p in pops]),
        shift=np.array([p.threshold - 0.5 for p in pops]),
        leak=np.array([p.leak for p in pops]),
        softmax=np.array([p.loss == "softmax" for p in pops]),
        has_error=np.array(plan.has_error, dtype=np.bool_),
        error_alpha=error_alpha,
        error_relative=np.array([1.0 if p.error_step is None else p.error_step for p in pops]),
        constant=constant,
        teacher=teacher,
        keeps_pre=np.array([any(eager[q.index] and q.source is p for q in projs) for p in pops]),
        keeps_post=np.array([any(dense[q.index] and q.target is p for q in projs) for p in pops]),
        order=np.array(plan.order, dtype=np.int64),
        error_order=np.array(plan.error_order, dtype=np.int64),
        in_first=in_first,
        in_list=in_list,
        trace_first=arrays.offsets([len(g) * n for g, n in zip(groups, sizes, strict=True)]),
        group_first=arrays.offsets([len(g) for g in groups]),
        group_alpha=np.array([a for g in groups for a, _ in g]),
        group_second=np.array([b for g in groups for _, b in g]),
        group_before_first=arrays.offsets(group_tapped),
        group=group,
        back_first=back_first,
        back_list=back_list,
        back_trace_first=arrays.offsets(
            [len(g) * n for g, n in zip(back_groups, sizes, strict=True)]
        ),
        back_group_first=arrays.offsets([len(g) for g in back_groups]),
        back_group_alpha=np.array([a for g in back_groups for a, _ in g]),
        back_group=back_group,
        slowness=np.array(penalty),
        move_first=arrays.offsets([n * (w > 0) for n, w in zip(sizes, penalty, strict=True)]),
        source=np.array(source, dtype=np.int64),
        target=np.array(target, dtype=np.int64),
        weight_first=arrays.offsets(sizes_of),
        plastic=np.array(plastic, dtype=np.bool_),
        valued=np.array(valued, dtype=np.bool_) & (price > 0),
        flipped=np.array(flipped, dtype=np.bool_),
        late=np.array(late, dtype=np.bool_),
        pre_first=arrays.offsets([q.shape[0] * late[q.index] for q in projs]),
        moves_first=arrays.offsets(
            [q.shape[1] * late[q.index] * (slots[q.index] + 1) for q in projs]
        ),
        waiting_first=arrays.offsets([q.shape[0] * late[q.index] * slots[q.index] for q in projs]),
        slots=np.array(slots, dtype=np.int64),
        window_fade=np.array([window_fade]),
        forgotten=np.array([layout.FORGOTTEN[plan.dtype.itemsize]]),
        area_first=arrays.offsets(
            [math.prod(q.shape) * (dense[q.index] and rule == layout.PAST) for q in projs]
        ),
        synapses=np.array([q.synapses for q in projs], dtype=np.int64),
        shared=np.array([own is not None for own in shared], dtype=np.bool_),
        geometry=np.array([kernel_layout.geometry(own) for own in shared], dtype=np.int64).reshape(
            len(projs), kernel_layout.GEOMETRY
        ),
        seen_first=arrays.offsets([len(kernel_layout.seen_from(own)) for own in shared]),
        seen=np.array([n for own in shared for n in kernel_layout.seen_from(own)], dtype=np.int64),
        change_first=arrays.offsets([n * on for n, on in zip(sizes_of, taught, strict=True)]),
        position_first=arrays.offsets([len(n) for n in seen]),
        position=np.concatenate([np.zeros(0), *seen]).astype(plan.dtype),
        joined_pre=np.array([any(taught[q.index] and q.source is p for q in projs) for p in pops]),
        joined_post=np.array([any(taught[q.index] and q.target is p for q in projs) for p in pops]),
        block_first=arrays.offsets(
            [-(-n // layout.BLOCK) * any(own is not None for own in shared) for n in sizes]
        ),
        rule=np.array([rule], dtype=np.int64),
        cap=np.array([getattr(plan.rule, "limit", np.inf)]),
        eta=np.array([adapt]),
        clock=np.array([plan.t0, whole(1.0 / dt)]),
    )


def _lazy(plan: Plan, net: layout.Net) -> NDArray[np.bool_]:
    """Return which layers are silent but for what reaches them; in networks with shared kernels only."""
    quiet = np.zeros(len(plan.populations), dtype=np.bool_)
    if net.eta[0] > 0.0 or net.rule[0] != layout.FUTURE or not net.shared.any():
        return quiet
    for p in plan.populations:
        k = p.index
        decays = net.group_alpha[net.group_first[k] : net.group_first[k + 1]]
        back = net.back_group_alpha[net.back_group_first[k] : net.back_group_first[k + 1]]
        tapped = net.group_second[net.group_first[k] : net.group_first[k + 1]]
        own = (decays == net.alpha[k]).all() and (back == net.error_alpha[k]).all()
        own = own and not tapped.any() and net.second[k] == 0.0
        held = not p.bias.any() and net.teacher[k] < 0 and net.slowness[k] == 0.0
        quiet[k] = p.kind == "layer" and held and bool(own)
    return quiet


def _fresh_state(plan: Plan, net: layout.Net) -> layout.State:
    n, projs, dtype = int(net.first[-1]), len(plan.projections), plan.dtype
    return layout.State(
        x=np.repeat(net.constant, np.diff(net.first)).astype(dtype),
        last=np.zeros(n, dtype),
        before=np.zeros(int(net.before_first[-1]), dtype),
        phi=np.zeros(n, dtype),
        on=np.ones(n, dtype),
        u=np.zeros(int(net.trace_first[-1]), dtype),
        u_before=np.zeros(int(net.group_before_first[-1]), dtype),
        bias=np.concatenate([p.bias for p in plan.populations], dtype=dtype),
        beta=net.relative.copy(),
        mean=np.ones(len(plan.populations)),
        share=np.ones(int(net.share_first[-1]), dtype),
        sent=np.zeros(n * bool(net.price[0] > 0), dtype),
        sent_before=np.zeros(int(net.before_first[-1]), dtype),
        paid=np.zeros(int(net.scale_first[-1])),
        spoilt=np.zeros(int(net.scale_first[-1])),
        y=np.full(n, np.nan, dtype),
        e=np.zeros(n, dtype),
        error_last=np.zeros(n, dtype),
        error_phi=np.zeros(n, dtype),
        g=np.zeros(int(net.back_trace_first[-1]), dtype),
        error_beta=net.error_relative.copy(),
        error_mean=np.ones(len(plan.populations)),
        pre=np.zeros(n, dtype),
        pre_before=np.zeros(int(net.before_first[-1]), dtype),
        post=np.zeros(n, dtype),
        area=np.zeros(int(net.area_first[-1]), dtype),
        charge=np.zeros(int(net.pre_first[-1]), dtype),
        waiting=arrays.aligned(int(net.waiting_first[-1]), dtype),
        touched=np.zeros(int(net.pre_first[-1]), dtype=np.int64),
        moves=arrays.aligned(int(net.moves_first[-1]), dtype),
        ticks=np.zeros(projs, dtype=np.int64),
        taken=np.zeros(projs, dtype=np.int64),
        fade=np.ones(projs),
        written=np.zeros(n, dtype),
        written_time=np.full(len(plan.populations), np.inf),
        rate=np.zeros(projs),
        lazy=_lazy(plan, net),
        held=np.ones(len(plan.populations)),
        held_error=np.ones(len(plan.populations)),
        kernel_pre=np.zeros(n * bool(net.joined_pre.any()), dtype),
        kernel_post=np.zeros(n * bool(net.joined_pre.any()), dtype),
        held_pre=np.ones(len(plan.populations)),
        held_post=np.ones(len(plan.populations)),
        move=np.zeros(int(net.move_first[-1]), dtype),
        square=np.zeros(len(plan.populations)),
        move_square=np.zeros(len(plan.populations)),
        flags=np.array([0, int(plan.rule is not None), -1, 0], dtype=np.int64),
    )

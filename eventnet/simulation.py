"""A simulation: a network on an engine, fed and taught by a world, recorded as a run."""

from __future__ import annotations

import math
import time as wall
import zlib
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from eventnet import __version__
from eventnet.cost import Cost, cost_between, snapshot, spikes_in
from eventnet.engine import make_engine
from eventnet.engine.plan import Plan, describe, make_plan
from eventnet.engine.prices import Prices, Stepped
from eventnet.errors import ConfigError, DataError, Diverged, RunFolderError
from eventnet.live import GAP, LATENESS, Live, Stream, Wire
from eventnet.loop import Loop, Plant
from eventnet.network import (
    Edges,
    Network,
    Population,
    Projection,
    Scales,
    check_bounds,
    not_negative,
    positive,
)
from eventnet.plasticity import Rule
from eventnet.raster import MemoryRaster
from eventnet.record import Begun, Record
from eventnet.runs import versions as versions
from eventnet.runs import writing
from eventnet.sources import (
    Periodic,
    Recording,
    Source,
    SpikeTrain,
    with_hold,
)
from eventnet.sources import (
    checked as checked_source,
)
from eventnet.world import Change, Probe, Sampled, Sampler, World, check_values

if TYPE_CHECKING:
    from eventnet.engine.clocked import ClockedEngine, Scale
    from eventnet.raster import Raster, RasterWriter

Floats = NDArray[np.float64]

CHECK_VALUES = 1 << 20
"""Values that are checked at a time when a recording is fed."""

STRETCHES = 1000
"""Of a run that is watched or recorded: the first; the next ones take about `STRETCH_S`."""

STRETCH_S = 0.2  # s of wall time
FEWEST_STRETCHES = 100

BATCH = 1 << 14
"""Spikes that are handed to a recorder together; an engine driven step by step gives few at a time."""

Batch = tuple[Floats, NDArray[np.int32], NDArray[np.uint32], NDArray[np.int32]]


@dataclass(frozen=True)
class Trace:
    """What a probe read: times (n,) in s and values (n, size)."""

    times: Floats
    values: Floats


@dataclass(frozen=True)
class Run:
    """What one call of `Simulation.run` did.

    Attributes
    ----------
    start, until : float
        Simulated time covered, s.
    wall_s : float
        Wall time, s.
    cost : Cost
    folder : Path or None
        Where it was recorded.
    probed : dict
        What each probe read, by population.
    """

    start: float
    until: float
    wall_s: float
    cost: Cost
    folder: Path | None
    probed: dict[str, Trace] = field(repr=False)
    _raster: Raster | None = field(repr=False)

    @property
    def raster(self) -> Raster:
        """Every spike; error spikes are the population ``NAME.error``.

        Those of projections with an error step of their own are ``NAME.error@STEP``.
        """
        if self._raster is None:
            raise ConfigError(
                "raster=False, or a sweep: spikes were counted, see cost.populations, but not kept; "
                "make the Simulation with raster=True"
            )
        return self._raster

    def output(self, population: str) -> Trace:
        """Return what the probe on `population` read during this run."""
        if population not in self.probed:
            raise ConfigError(
                f"no probe on {population!r}: call Simulation.probe({population!r}, ...) before run"
            )
        return self.probed[population]


class Simulation:
    """Runs a network.

    Parameters
    ----------
    network : Network
        Further changes to it do not reach the simulation.
    plasticity : Rule, optional
        None: weights stay as they are and no errors are formed.
    engine : {"compiled", "actors"}
        The fast one, or the readable reference; both give the same spikes.
    seed : int
        For the weights that the network leaves to be drawn.
    t0 : float
        Start, s.
    clock : float, optional
        None: asynchronous, in continuous time. A number: the paper's algorithm, one forward and backward
        pass every `clock` seconds, by the compiled `ClockedEngine`, which tells what it refuses. Tick k
        stands at ``t0 + k/rate``, ``rate = 1/clock``, where a `Periodic` source or a probe of that rate
        stands too.
    adapt : float
        With a clock, the rate a tick at which the coders' scales follow the size of their signals
        (Eq. 21); 0: `step` and `error_step` stay.
    price : float
        What an addition a tick, without a clock a second, is worth in units of the loss: steps of
        sensors and layers are learned, from `step` on, each towards where a finer one would cost as
        much more as it would make the loss less (docs/theory.md, section 13). 0: they stay.
    scales : {"population", "neuron"}
        Whether such steps are learned for each population or for each neuron.
    raster : bool, optional
        Whether spikes are kept. False: they are only counted, which is faster and takes no memory. By
        default they are kept, except by the points of a sweep.
    dtype : {float64, float32}
        In which weights are kept, and with a clock all signals and traces. float32 takes half the
        memory and less time. Without a clock signals, residuals and traces stay float64, so that
        both engines still agree.

    Examples
    --------
    >>> from eventnet import STDP
    >>> net = Network(tau=0.1)
    >>> angle = net.sensor("angle", 1, step=0.1)
    >>> hidden = net.layer("hidden", 8, step=0.1, error_step=0.05)
    >>> torque = net.output("torque", 1, error_step=0.05)
    >>> _ = net.connect(angle, hidden), net.connect(hidden, torque)
    >>> sim = Simulation(net, plasticity=STDP(lr=0.5), engine="actors")
    >>> from eventnet.sources import Periodic
    >>> signal = np.sin(np.arange(200) / 10)
    >>> sim.feed("angle", Periodic(signal, rate=100))
    >>> sim.teach("torque", Periodic(-signal, rate=20))
    >>> sim.probe("torque", rate=10)
    >>> run = sim.run(until=2.0)
    >>> run.output("torque").values.shape
    (21, 1)
    >>> len(run.raster) == run.cost.events > 100
    True

    The same network by the paper's clocked algorithm, a tick every 10 ms:

    >>> ticks = Simulation(net, plasticity=STDP(lr=0.5, cap=None), clock=0.01, raster=False)
    >>> ticks.feed("angle", Periodic(signal, rate=100))
    >>> ticks.teach("torque", Periodic(-signal, rate=20))
    >>> cost = ticks.run(until=2.0).cost
    >>> cost.instants, cost.events > 100
    (201, True)
    """

    def __init__(
        self,
        network: Network,
        *,
        plasticity: Rule | None = None,
        engine: str = "compiled",
        seed: int = 0,
        t0: float = 0.0,
        clock: float | None = None,
        adapt: float = 0.0,
        price: float = 0.0,
        scales: Scales = "population",
        raster: bool | None = None,
        dtype: DTypeLike = np.float64,
    ) -> None:
        if not math.isfinite(t0):
            raise ConfigError(f"t0={t0} s: must be finite")
        self.network = network
        self.engine = engine
        self.seed = seed
        self.clock = clock
        self.adapt = adapt
        self.price = price
        self.scales = scales
        self.keeps_raster = raster is not False
        self._raster_needed = raster is True
        self.slowed = 1.0  # by `slow_down`
        self._factor = 1.0  # by `scale_lr`
        self.plan = make_plan(network, plasticity, np.random.default_rng(seed), t0, dtype)
        sink = self._take if self.keeps_raster else None
        self._engine = make_engine(engine, self.plan, sink, clock, adapt, price, scales)
        self.world = World(self._engine, t0)
        self.live = Live(self.world)
        if price and clock is None:
            self._price_steps()
        self._probes: dict[str, Probe] = {}
        self.fed: dict[str, Source | Sampled | SpikeTrain | None] = {}  # None: live, or a plant
        self._recorder: RasterWriter | MemoryRaster | None = None
        self.coder_names, self._code = _coders(self.plan)
        self._taken: list[Batch] = []  # spikes that are not yet handed to a recorder
        self._taken_rows = 0
        self._counted = snapshot(self._engine.counters)

    # -- wiring the world --------------------------------------------------------------------------

    def feed(self, sensor: Population | str, source: Source | Sampled) -> None:
        """Let `source` drive a sensor: each reading is held until the next.

        Parameters
        ----------
        sensor : Population or str
        source : Recording, Periodic, Source, Sampled or SpikeTrain
            Recordings go to the engine in blocks, and so does any `Source` of your own; a `Sampled`
            function is called at its own rate. A source population takes a `SpikeTrain`.

        Raises
        ------
        ConfigError
            If it is no sensor, or has a source already.
        DataError
            If widths differ, values are not finite, or the source begins before the simulation. Of a
            `Source` of your own each block is checked as it is taken, during a run.
        """
        given = isinstance(source, SpikeTrain)
        population = self._get(sensor, "source" if given else "sensor", "feed")
        self._attach(population, source)

    def teach(
        self, output: Population | str, source: Source | Sampled, *, hold: float | None = None
    ) -> None:
        """Let `source` give an output its targets.

        Parameters
        ----------
        output : Population or str
        source : Recording, Periodic, Source or Sampled
            A NaN means "no target": the error of that component becomes 0.
        hold : float, optional
            Seconds for which a target holds, if no other comes first; default: until the next.
        """
        population = self._get(output, "output", "teach")
        if hold is not None:
            if isinstance(source, Sampled):
                raise ConfigError(f"hold={hold} s: give it with recorded targets, not with Sampled")
            self._attach(population, with_hold(source, hold))
        else:
            self._attach(population, source)

    def probe(
        self,
        population: Population | str,
        *,
        rate: float | None = None,
        times: ArrayLike | None = None,
        t0: float | None = None,
        stop: float = math.inf,
    ) -> None:
        """Read a population's decoded signal at a rate or at given times.

        Parameters
        ----------
        population : Population or str
            Of a sensor the held reading is read, of a layer ``h(z)``, of an output z; with a clock, as
            the last tick left it.
        rate : float
            Readings per second, at ``t0 + k/rate``.
        times : array_like, shape (n,)
            Instead of a rate: seconds, increasing.
        t0, stop : float
            First and last time for a rate; default: from now on, without end.
        """
        found = self.network.population(population)
        if found.kind == "source":
            raise ConfigError(f"probe on {found.name}: it has spikes but no signal; see the raster")
        if (rate is None) == (times is None):
            raise ConfigError(f"probe on {found.name}: give either a rate or times")
        if found.name in self._probes:
            raise ConfigError(f"probe on {found.name}: there is one already")
        if times is not None:
            stamps = np.asarray(times, dtype=np.float64).reshape(-1)
            if not np.isfinite(stamps).all() or (np.diff(stamps) <= 0).any():
                raise ConfigError(f"probe on {found.name}: times must be finite and increase")
            probe = Probe(found, stamps)
        else:
            assert rate is not None
            positive(rate, "rate", f"probe on {found.name}", " Hz")
            begin = self.now if t0 is None else float(t0)
            probe = Probe.periodic(found, rate, begin, stop)
        self._not_past(probe.next_time(), f"probe on {found.name}")
        self._probes[found.name] = probe
        self.world.add(probe)

    def probed(self, population: str) -> Trace:
        """Return all that the probe on `population` has read so far, also during a run."""
        if population not in self._probes:
            raise ConfigError(f"no probe on {population!r}: call Simulation.probe first")
        probe = self._probes[population]
        return Trace(probe.times, probe.values)

    def switch_learning(self, on: bool, at: float) -> None:
        """Turn learning on or off at time `at` (s), before that instant runs.

        Off: targets are forgotten, no errors are formed and no weight changes, as at the start.
        On again: the backward half of the network begins afresh with the next target.
        """
        self._not_past(at, "switch_learning")
        self.world.add(Change(at, lambda engine: setattr(engine, "learning", on)))

    def close_loop(self, output: Population | str, plant: Plant, *, rate: float) -> None:
        """Let an output drive a plant, whose readings and targets come back.

        Parameters
        ----------
        output : Population or str
            What is read is the command, held from one control stamp to the next.
        plant : Plant
            Goes on by one period a command, and says in `feeds` whom it gives readings.
        rate : float
            Commands a second, at ``t0 + k/rate`` from now on.

        Raises
        ------
        ConfigError
            If it is no output, or a population that the plant feeds does not exist or has a source.
        """
        found = self.network.population(output)
        if found.kind != "output":
            raise ConfigError(f"close_loop({found.name!r}): it is a {found.kind}, not an output")
        fed = {}
        for name in plant.feeds:
            kind = "output" if self.network.population(name).kind == "output" else "sensor"
            fed[name] = self._get(name, kind, "close_loop")
        self.world.add(Loop(found, plant, fed, rate, self.now))
        self.fed |= dict.fromkeys(fed)

    # -- live --------------------------------------------------------------------------------------

    def listen(
        self,
        population: Population | str,
        *,
        lateness: float = LATENESS,
        late: Literal["drop", "error"] = "drop",
        gap: float = GAP,
        hold: float = math.inf,
    ) -> None:
        """Let a sensor's readings, or an output's targets, come from `push`.

        Parameters
        ----------
        population : Population or str
        lateness : float
            Seconds for which a reading may be under way; the network runs behind the wall clock by
            the largest of all.
        late : {"drop", "error"}
            What becomes of one that takes longer: it is counted, or the run ends.
        gap : float
            Seconds of silence, or of a step of its clock, that are reported.
        hold : float
            Seconds for which a reading stands, if no other comes: then a sensor reads 0, and an output
            has no target.
        """
        found = self.network.population(population)
        kind = "output" if found.kind == "output" else "sensor"
        found = self._get(found, kind, "listen")
        self.live.listen(found, lateness=lateness, late=late, gap=gap, hold=hold)
        self.fed[found.name] = None

    def push(self, population: str, time: float | None, values: ArrayLike) -> bool:
        """Give a reading or a target to a live run, from any thread.

        Parameters
        ----------
        population : str
            One that `listen` named.
        time : float or None
            Its time stamp in simulated seconds, as `live.now` tells them; None: now.
        values : array_like, shape (size,)

        Returns
        -------
        bool
            Whether there was room for it; False: it was dropped, and counted.

        Raises
        ------
        ConfigError
            For a name that is not listened to.
        DataError
            For another shape, or values or a time stamp that are not finite.
        """
        return self.live.push(population, time, values)

    def stream(
        self, population: Population | str, *, rate: float, to: Callable[[float, Floats], None]
    ) -> None:
        """Call `to` with the time (s) and the decoded signal (size,) of a population, at a rate.

        As a probe, but what was read is not kept: a live run's memory does not grow.
        """
        found = self.network.population(population)
        if found.kind == "source":
            raise ConfigError(f"stream of {found.name}: it has spikes but no signal")
        self.world.add(Stream(found, rate, self.now, to))

    def source_of(self, population: Population | str) -> Source | Sampled | SpikeTrain | None:
        """Return what feeds or teaches a population; None if nothing does, a plant or a live input."""
        return self.fed.get(self.network.population(population).name)

    # -- running -----------------------------------------------------------------------------------

    @property
    def now(self) -> float:
        """Simulated time reached, s."""
        return max(self.world.settled, self.plan.t0)

    @property
    def learning(self) -> bool:
        """Whether errors are formed and weights change; can be set between runs."""
        return self._engine.learning

    @learning.setter
    def learning(self, on: bool) -> None:
        if on and self.plan.rule is None:
            raise ConfigError("learning=True: the simulation was made without plasticity")
        if on != self._engine.learning:
            self._engine.learning = on

    def weights(self, projection: Projection | str) -> Floats:
        """Return a copy of a projection's present weights, of its `Projection.weight_shape`."""
        return self._engine.weights(self.network.projection(projection).index)

    def edges(self, projection: Projection | str) -> Edges:
        """Return the source and the target neuron of every synapse, in the order of `weights`.

        Or, where they share a kernel, of `Projection.of_synapses`.
        """
        return self.plan.ends(self.network.projection(projection).index)

    def set_weights(self, projection: Projection | str, weights: ArrayLike) -> None:
        """Replace a projection's weights, shaped as `weights` returns them; traces stay.

        Raises
        ------
        ConfigError
            For another shape, or weights that are out of bounds or not finite.
        """
        found = self.network.projection(projection)
        array = np.asarray(weights, dtype=np.float64)
        if array.shape != found.weight_shape:
            raise ConfigError(
                f"weights of shape {array.shape} on {found.name}: must be {found.weight_shape}"
            )
        if not np.isfinite(array).all():
            raise ConfigError(f"weights on {found.name}: all must be finite")
        check_bounds(found.name, found.bounds, array)
        self._engine.set_weights(found.index, array)

    def scale_lr(self, factor: float, at: float | None = None) -> None:
        """Let every projection learn at `factor` times the rate it was built with.

        From time `at` (s) on, before that instant runs, or from now on: a schedule's step.
        """
        scale = not_negative(factor, "factor", "scale_lr")
        if at is None:
            self._scale_lr(scale)
        else:
            self._not_past(at, "scale_lr")
            self.world.add(Change(at, lambda _: self._scale_lr(scale)))

    def _scale_lr(self, factor: float) -> None:
        self._factor = factor
        self._engine.scale_lr(factor * self.slowed)

    def slow_down(self, factor: float) -> None:
        """Let every projection learn at `factor` times its present rate, under any schedule."""
        self.slowed *= factor
        self._engine.scale_lr(self._factor * self.slowed)

    def bias(self, population: Population | str) -> Floats:
        """Return a copy of a layer's or output's present biases, fixed and learned, shape (size,)."""
        found, constant = self._biased(population)
        if self.clock is not None:
            return self._clocked.bias(found.index)
        bias = found.bias.copy()
        return bias if constant is None else bias + self.weights(constant)[0]

    def set_bias(self, population: Population | str, bias: ArrayLike) -> None:
        """Replace a layer's or output's biases, shape (size,).

        Raises
        ------
        ConfigError
            For another shape or values that are not finite; without a clock, for biases that are not
            learned.
        """
        found, constant = self._biased(population)
        array = np.asarray(bias, dtype=np.float64)
        if array.shape != (found.size,) or not np.isfinite(array).all():
            raise ConfigError(
                f"bias of shape {array.shape} on {found.name}: must be ({found.size},) and finite"
            )
        if self.clock is not None:
            self._clocked.set_bias(found.index, array)
        elif constant is not None:
            self.set_weights(constant, (array - found.bias)[None])
        else:
            raise ConfigError(
                f"set_bias({found.name!r}): its bias is fixed, and spikes are under way that were "
                "scheduled with it; build the network with another, with bias_step=, or give a clock"
            )

    def scale(self, population: Population | str) -> Scale:
        """Return the present scales of a population's coders and the means that they follow.

        A coder that the population has not (an output's forward coder, an error coder of those who do
        not learn) keeps what it would have started with.

        Raises
        ------
        ConfigError
            Without a clock, where scales are the population's `step` and `error_step` for good.
        """
        found = self.network.population(population)
        if self.clock is None:
            raise ConfigError(
                f"scale({found.name!r}): without a clock scales do not change; see its step="
                f"{found.step} and error_step={found.error_step}"
            )
        return self._clocked.scale(found.index)

    def steps(self, population: Population | str) -> Floats:
        """Return the signal that one spike of each neuron of a population stands for now, (size,).

        It may have adapted, or been learned; else it is the population's `step`.
        """
        found = self.network.population(population)
        if self.clock is None:
            return self._stepped.steps(found.index)
        return self._clocked.steps(found.index)

    def finish(self) -> None:
        """Add to the weights what the decaying traces would still bring if no further spike came.

        Then the plasticity traces start at rest. For `Past` this is the area that is still open, for
        `Reconstruction` the tail of the integral; `STDP` has counted it already.
        """
        self._engine.finish()

    def reset(self) -> None:
        """Go back to t0 at rest: forget everything but what was learned and whether it learns.

        With a clock, adapted scales are kept too. Recorded sources start over, and probes forget what
        they have read.
        """
        self._engine.reset()
        self.world.reset()
        self._taken, self._taken_rows = [], 0
        self._counted = snapshot(self._engine.counters)

    def copy(self) -> Simulation:
        """Return a frozen simulation of the same network with the present weights, to evaluate with.

        It stands at t0, at rest, without sources and without plasticity: whatever it is fed, this
        simulation is not touched. With a clock it is not at rest: the forward coders go on from where
        these stand, scales included, which go on adapting in the copy.
        """
        other = Simulation(
            self.network,
            engine=self.engine,
            seed=self.seed,
            t0=self.plan.t0,
            clock=self.clock,
            adapt=self.adapt,
            price=self.price,
            scales=self.scales,
            raster=self._raster_needed or (None if self.keeps_raster else False),
            dtype=self.plan.dtype,
        )
        if self.clock is not None:
            other._clocked.take_over(self._clocked)
            return other
        for q in self.network.projections:
            other.set_weights(q, self.weights(q))
        if self.price:
            other._stepped.take_steps(self._stepped.scales)
        return other

    def forgo_raster(self) -> None:
        """Keep no spikes from here on, unless the simulation was made with ``raster=True``."""
        self.keeps_raster = self._raster_needed

    @property
    def cost(self) -> Cost:
        """What everything since the start, or the last `reset`, has cost; also during a run."""
        after = snapshot(self._engine.counters)
        return cost_between(self.plan, [np.zeros_like(a) for a in after], after)

    def run(
        self,
        until: float,
        *,
        record: Record | Path | str | None = None,
        progress: Callable[[float, int], None] | None = None,
        live: bool | Wire = False,
    ) -> Run:
        """Simulate up to and with time `until`; call it again to go on.

        Parameters
        ----------
        until : float
            Simulated time, s.
        record : Record, Path or str, optional
            A new folder for the raster, the configuration, what probes read and the weights before and
            after; `eventnet.runs.RunFolder` reads it. A `Record` can keep checkpoints in it, and go on
            from them. Without it the raster stays in memory. With ``raster=False`` the folder holds no
            raster.
        progress : callable, optional
            Called now and then with the simulated time (s) and the spikes so far.
        live : bool or Wire
            Pace it by the wall clock and give it what is pushed meanwhile. `until` may then be
            infinite: it ends with `live.stop`, or when a wire has ended.

        Raises
        ------
        Diverged
            When a state leaves its range; what was recorded before stays readable.
        RunFolderError
            If the folder exists or cannot be written.
        Interrupted
            With a record, after Ctrl-C or SIGTERM, when all is on disk.
        """
        self._check_end(until, bool(live))
        if isinstance(record, Path | str):
            record = Record(record)
        if record is None:
            return self._run(until, None, progress, live)
        with writing(record.folder):
            return self._run(until, record, progress, live)

    def _run(
        self,
        until: float,
        record: Record | None,
        progress: Callable[[float, int], None] | None,
        live: bool | Wire,
    ) -> Run:
        seen = {name: probe.count for name, probe in self._probes.items()}
        begun = Begun(self.now, self._counted, seen, self.now)
        if record is not None:
            begun = record.begin(self, begun, until, bool(live))
        self._recorder = record.raster if record is not None else None
        if self._recorder is None and self.keeps_raster:
            self._recorder = MemoryRaster(self.coder_names)
        try:
            with nullcontext() if record is None or live else record.listening():
                self._engine.advance(-math.inf)  # compiles, if nothing has: not part of its time
                begun.since = wall.perf_counter()
                if live:
                    self.live.drive(until, None if live is True else live)
                    return self._ended(self.now, begun, record)
                begun = self._drive_on(until, record, begun, progress)
                return self._ended(until, begun, record)
        finally:
            self._close_recorder()
            self._counted = snapshot(self._engine.counters)

    def _check_end(self, until: float, live: bool) -> None:
        if not (until >= self.now and (math.isfinite(until) or live)):
            raise ConfigError(f"until={until} s: must be finite and at least {self.now} s")
        for q in self.plan.projections:
            for what, delay in (("delay", q.delay), ("error_delay", q.error_delay)):
                if delay > 0 and until + delay == until < math.inf:
                    raise ConfigError(
                        f"{what}={delay} s on {q.name}: is lost in the rounding of t={until} s"
                    )
        if self.clock is not None and until + self.clock == until < math.inf:
            raise ConfigError(f"clock={self.clock} s: is lost in the rounding of t={until} s")

    def _drive_on(
        self,
        until: float,
        record: Record | None,
        begun: Begun,
        progress: Callable[[float, int], None] | None,
    ) -> Begun:
        """Run to the end, from an earlier checkpoint with less learning where it diverges."""
        while True:
            try:
                self._drive(until, record, begun, progress)
                return begun
            except Diverged as error:
                back = None if record is None else record.back(self, begun, error)
                if record is None or back is None:
                    raise
                begun, self._recorder = back, record.raster

    def _drive(
        self,
        until: float,
        record: Record | None,
        begun: Begun,
        progress: Callable[[float, int], None] | None,
    ) -> None:
        """Run in stretches short enough to be watched, to be interrupted and to be saved in between."""
        already = spikes_in(begun.counted)
        time, stretch = begun.time, (until - begun.time) / STRETCHES
        longest = (until - begun.time) / FEWEST_STRETCHES
        while (record is not None or progress is not None) and time < until:
            began = wall.perf_counter()
            mark = math.inf if record is None else record.mark
            time = min(max(time + stretch, float(np.nextafter(time, math.inf))), mark, until)
            if time == until:
                break
            self.world.approach(time)
            if record is not None:
                record.between(self, begun, time)
            if progress is not None:
                progress(time, spikes_in(self._engine.counters) - already)
            took = wall.perf_counter() - began
            stretch = min(stretch * min(max(STRETCH_S / max(took, 1e-9), 0.5), 2.0), longest)
        self.world.run(until)
        if progress is not None:
            progress(until, spikes_in(self._engine.counters) - already)

    def _ended(self, until: float, begun: Begun, record: Record | None) -> Run:
        """Close the raster and the record; return what was done."""
        wall_s = begun.elapsed
        self.hand_on()
        raster = None
        if self._recorder is not None:
            self._recorder.close()
            raster = self._recorder.raster()
        probed = {
            name: Trace(probe.times[begun.seen[name] :], probe.values[begun.seen[name] :])
            for name, probe in self._probes.items()
        }
        run = Run(
            start=begun.start,
            until=until,
            wall_s=wall_s,
            cost=cost_between(self.plan, begun.counted, snapshot(self._engine.counters)),
            folder=None if record is None else record.folder,
            probed=probed,
            _raster=raster,
        )
        if record is not None:
            record.end(self, begun, run)
        return run

    def _close_recorder(self) -> None:
        """Put on disk what can be; what went wrong before this is what the caller is told."""
        if self._recorder is not None:
            with suppress(RunFolderError):
                self.hand_on()
                self._recorder.close()
            self._recorder = None

    def state(self) -> dict[str, Any]:
        """Return all that a run changes: the engine's arrays and every process's position."""
        return {
            "engine": self._engine.state(),
            "world": self.world.state(),
            "lr": (self._factor, self.slowed),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to a state of this simulation or of one that was built alike."""
        self._engine.restore(saved["engine"])
        self._factor, self.slowed = saved["lr"]
        self.world.restore(saved["world"], self.network.populations)
        self._taken, self._taken_rows = [], 0
        self._counted = snapshot(self._engine.counters)

    def save(self, path: Path | str) -> None:
        """Write a checkpoint: all that `state` returns, in one file, without pickle.

        Raises
        ------
        ConfigError
            If the state of a process of your own is not plain data and arrays.
        RunFolderError
            If the file cannot be written; what it held before then stays.
        """
        from eventnet.checkpoint import save

        save(Path(path), self.built(), self.state())

    def load(self, path: Path | str) -> None:
        """Go on from a checkpoint of a simulation that was built, fed and probed alike.

        The content of sources is not compared: feed the same.

        Raises
        ------
        ConfigError
            If it was built otherwise, naming the first difference.
        DataError
            If the file is missing, truncated or damaged.
        """
        from eventnet.checkpoint import load

        self.restore(load(Path(path), self.built()))

    # -- inside ------------------------------------------------------------------------------------

    def _price_steps(self) -> None:
        """Let steps be learned in continuous time, if anything is."""
        not_negative(self.price, "price", "the simulation")
        if self.plan.rule is not None:
            own = self.scales == "neuron"
            self.world.add(Prices(self.plan, self.price, self.network.tau, own))

    def _take(
        self,
        times: Floats,
        codes: NDArray[np.int32],
        neurons: NDArray[np.uint32],
        counts: NDArray[np.int32],
    ) -> None:
        if not self.keeps_raster:
            return
        self._taken.append((times, self._code[codes], neurons, counts))
        self._taken_rows += len(times)
        if self._taken_rows >= BATCH:
            self.hand_on()

    def hand_on(self) -> None:
        """Give the recorder what was taken; what comes between two runs waits for the next."""
        if self._recorder is not None and self._taken:
            self._recorder.append(
                *(np.concatenate(column) for column in zip(*self._taken, strict=True))
            )
            self._taken, self._taken_rows = [], 0

    @property
    def _stepped(self) -> Stepped:
        return cast("Stepped", self._engine)

    @property
    def _clocked(self) -> ClockedEngine:
        return cast("ClockedEngine", self._engine)

    def _biased(self, which: Population | str) -> tuple[Population, Projection | None]:
        """Return a layer or output, and the projection whose weights are its learned biases."""
        found = self.network.population(which)
        if found.kind not in ("layer", "output"):
            raise ConfigError(f"bias of {found.name}: a {found.kind} has none")
        constant = [q for q in self.plan.projections if q.target is found and q.source.constant]
        return found, constant[0] if constant else None

    def _get(self, which: Population | str, kind: str, verb: str) -> Population:
        population = self.network.population(which)
        if population.kind != kind:
            raise ConfigError(
                f"{verb}({population.name!r}): it is a {population.kind}, not a {kind}"
            )
        if population.name in self.fed or population.constant:
            raise ConfigError(
                f"{verb}({population.name!r}): it has a source already; join the recordings"
            )
        return population

    def _attach(self, population: Population, source: Source | Sampled) -> None:
        if isinstance(source, Sampled):
            self._not_past(source.time_of(0), f"source of {population.name}")
            self.world.add(Sampler(population, source))
        elif isinstance(source, SpikeTrain):
            self._attach_train(population, source)
        else:
            if source.width != population.size:
                raise DataError(
                    f"samples of width {source.width} for {population.name}: its size is "
                    f"{population.size}"
                )
            checked = checked_source(
                source, population.name, lambda values, k: check_values(population, values, "", k)
            )
            if len(source):
                first = float(checked.block(0, 1)[0][0])
                self._not_past(first, f"source of {population.name}")
            if isinstance(source, Recording | Periodic):
                rows = max(CHECK_VALUES // source.width, 1)
                for k in range(0, len(source), rows):
                    checked.block(k, k + rows)
                self._engine.feed(population.index, source)
            else:  # it may be long, and reading it twice may be slow: check what is taken
                self._engine.feed(population.index, checked)
        self.fed[population.name] = source

    def _attach_train(self, population: Population, train: SpikeTrain) -> None:
        if train.size > population.size:
            raise DataError(
                f"spikes of neuron {train.size - 1} for {population.name}: its size is "
                f"{population.size}"
            )
        if len(train):
            self._not_past(float(train.times[0]), f"source of {population.name}")
        self._engine.feed(population.index, train)

    def _not_past(self, time: float, what: str) -> None:
        if time < self.plan.t0 or time <= self.world.settled:
            raise DataError(
                f"{what} begins at {time:.9g} s: the simulation stands at {self.now:.9g} s; shift "
                "its times"
            )

    def built(self) -> dict[str, Any]:
        """Return what a checkpoint must agree with, as plain data."""
        own = [q for q in self.plan.projections if q.sparse and q.convolution is None]
        sparse = [(q, *self.plan.ends(q.index)) for q in own]
        return {
            "eventnet": __version__,
            **self.describe(),
            "t0": self.plan.t0,
            "synapses": {
                q.name: zlib.crc32(np.concatenate([pre, post]).astype(np.int64).tobytes())
                for q, pre, post in sparse
            },
            "fed": sorted(self.fed),
            "processes": [type(process).__name__ for process in self.world.processes],
        }

    def describe(self) -> dict[str, Any]:
        """Return what the simulation was made of, as plain data."""
        return {
            "network": self.network.describe(),
            "plasticity": describe(self.plan.rule),
            "engine": self.engine,
            "clock": self.clock,
            "adapt": self.adapt,
            **({"price": self.price, "scales": self.scales} if self.price else {}),
            "dtype": self.plan.dtype.name,
        }


def _coders(plan: Plan) -> tuple[list[str], NDArray[np.int32]]:
    """Return the names of the coders that can fire, and the place of each engine code among them."""
    heard = {c for p in plan.populations for c in plan.coders_of(p.index)}
    fires = [p.kind != "output" for p in plan.populations]
    fires += [c in heard for c in range(len(plan.coders))]
    names = [p.name for p in plan.populations] + [coder.name for coder in plan.coders]
    places = np.cumsum(fires, dtype=np.int32) - 1
    return [name for name, on in zip(names, fires, strict=True) if on], places.astype(np.int32)

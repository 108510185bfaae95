"""Cost against the rate of the sensors: one motion, sampled at 100 to 10,000 Hz, learned online.

A point moves in space; twelve sensors see it, each along a direction of its own, and the network learns
to say where it is in two others. Steps and time constants are the same at every rate. Beside it stand
the clocked network, ticking at that rate, and the dense one, recomputed and trained at every reading.
Then the sensors are noisy, by a fifth of a step, and the figure tells what helps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.bench.command import progress
from eventnet.bench.task import keep
from eventnet.bench.workers import Entry, Told, Worker
from eventnet.network import Network
from eventnet.plasticity import STDP
from eventnet.plot import PALETTE
from eventnet.reproduce import Number, Result, dense
from eventnet.reproduce.drawing import drawing
from eventnet.reproduce.signals import band_limited
from eventnet.simulation import Run, Simulation
from eventnet.sources import Periodic, Recording

Floats = NDArray[np.float64]

RATES = (100, 300, 1_000, 3_000, 10_000)  # Hz
NOISY_RATES = RATES[::2]
SCORED = 100  # Hz: at these times every rate has a reading
CHANNELS, HIDDEN, OUTPUTS = 12, 200, 2
TOP, SEED = 0.5, 0  # Hz
SECONDS, QUICK_SECONDS = 120, 12
TAU, STEP, HIDDEN_STEP = 0.1, 0.1, 0.1
ERROR_STEP, HIDDEN_ERROR_STEP = 0.1, 0.05
LR = 0.2  # per second
NOISE = STEP / 5
REPETITIONS = 3
TORCH_STEPS = 20_000


@dataclass(frozen=True)
class Coding:
    """How the sensors are encoded.

    Attributes
    ----------
    step : float
    tau : float
        Of the whole network, s.
    threshold : float
    average : float
        Seconds of readings whose mean is one reading; 0: none.
    """

    step: float = STEP
    tau: float = TAU
    threshold: float = 0.5
    average: float = 0.0


PLAIN = Coding()
REMEDIES = {
    "as it is": PLAIN,
    "4 times the step": Coding(step=4 * STEP),
    "3 times tau": Coding(tau=3 * TAU),
    "means of 10 ms": Coding(average=0.01),
    "threshold 1": Coding(threshold=1.0),
}


@dataclass(frozen=True)
class Motion:
    """What the sensors read (n, channels) and the teacher says (n, outputs), n times at `rate` Hz."""

    rate: int
    x: Floats
    y: Floats

    @classmethod
    def sampled(cls, rate: int, seconds: float) -> Motion:
        """Return the motion, the same at any rate."""
        rng = np.random.default_rng(SEED)
        seen = rng.normal(size=(3, CHANNELS))
        asked = rng.normal(size=(3, OUTPUTS))
        t = np.arange(int(seconds * rate) + 1) / rate
        place = band_limited(t, 3, TOP, rng)
        directions = (m / np.linalg.norm(m, axis=0) for m in (seen, asked))
        x, y = (place @ d for d in directions)
        return cls(rate, x, y)

    def noisy(self) -> Motion:
        """Return it as seen by sensors with white noise."""
        noise = np.random.default_rng(SEED + 1).normal(size=self.x.shape)
        return Motion(self.rate, self.x + NOISE * noise, self.y)

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return (len(self.x) - 1) / self.rate

    def scored_times(self) -> Floats:
        """Return the times, s, at which outputs are compared: the last third."""
        last = round(self.seconds * SCORED)
        return np.arange(last - last // 3, last + 1) / SCORED

    def error(self, z: Floats, times: Floats) -> float:
        """Return the NRMSE, %, of outputs (m, outputs): their RMS error over the targets' deviation."""
        y = self.y[np.rint(times * self.rate).astype(int)]
        return 100 * float(np.sqrt(((z - y) ** 2).mean() / y.var(axis=0).mean()))


@dataclass(frozen=True)
class Row:
    """One run. Counts are a simulated second; wall time is in ms a simulated second, error in %."""

    additions: float
    wall: float
    error: float
    quanta: float = math.nan
    zero_skipping: float = math.nan


def network(coding: Coding = PLAIN) -> Network:
    """Return the network."""
    net = Network(tau=coding.tau)
    net.sensor("sensors", CHANNELS, step=coding.step, threshold=coding.threshold)
    net.layer("hidden", HIDDEN, step=HIDDEN_STEP, error_step=HIDDEN_ERROR_STEP)
    net.output("place", OUTPUTS, error_step=ERROR_STEP)
    net.connect("sensors", "hidden")
    net.connect("hidden", "place")
    return net


def spiking(motion: Motion, coding: Coding = PLAIN, *, clock: bool = False) -> Row:
    """Return what the network costs on a motion and how near it comes, in continuous time or by ticks."""
    rule = STDP(LR, cap=None) if clock else STDP(LR)
    sim = Simulation(
        network(coding),
        plasticity=rule,
        clock=1 / motion.rate if clock else None,
        seed=SEED,
        raster=False,
    )
    readings = round(coding.average * motion.rate)
    if readings > 1:
        whole = len(motion.x) // readings * readings
        means = motion.x[:whole].reshape(-1, readings, CHANNELS).mean(axis=1)
        last = np.arange(readings - 1, whole, readings) / motion.rate
        sim.feed("sensors", Recording(last, means))
    else:
        sim.feed("sensors", Periodic(motion.x, rate=motion.rate))
    sim.teach("place", Periodic(motion.y, rate=motion.rate))
    times = motion.scored_times()
    sim.probe("place", times=times)
    sim.run(until=0.0)  # compiles
    begin = time.perf_counter()
    run: Run = sim.run(until=motion.seconds)
    wall = time.perf_counter() - begin
    cost, seconds = run.cost, motion.seconds
    return Row(
        cost.total("additions") / seconds,
        1e3 * wall / seconds,
        motion.error(run.output("place").values, times),
        cost.populations["sensors"]["quanta"] / seconds,
    )


def initial_weights() -> tuple[Floats, Floats]:
    """Return the weights that all start from, (channels, hidden) and (outputs, hidden)."""
    sim = Simulation(network(), plasticity=STDP(LR), seed=SEED, raster=False)
    w0, w1 = (sim.weights(name) for name in ("sensors -> hidden", "hidden -> place"))
    return w0, np.ascontiguousarray(w1.T)


def compiled(motion: Motion) -> Row:
    """Return the same of the dense network, compiled."""
    w0, w1 = initial_weights()
    z = np.zeros_like(motion.y)
    dense.learn(w0, w1, motion.x[:0], motion.y[:0], LR, z)  # compiles
    begin = time.perf_counter()
    on = dense.learn(w0, w1, motion.x, motion.y, LR / motion.rate, z)
    wall = time.perf_counter() - begin
    # Forward, backward (through the second matrix), update.
    everything = 2 * (w0.size + w1.size) + w1.size
    samples, times = len(motion.x), motion.scored_times()
    skipping = samples * w0.size + on * (CHANNELS + 3 * OUTPUTS)
    return Row(
        everything * samples / motion.seconds,
        1e3 * wall / motion.seconds,
        motion.error(z[np.rint(times * motion.rate).astype(int)], times),
        zero_skipping=skipping / motion.seconds,
    )


def torch_wall(motion: Motion, python: Path) -> float:
    """Return the wall time of the dense network in PyTorch, ms a simulated second."""
    w0, w1 = initial_weights()
    n = min(TORCH_STEPS, len(motion.x))
    task: dict[str, Any] = {"w0": w0, "w1": w1, "x": motion.x[:n], "y": motion.y[:n]}
    root = Path(__file__).resolve().parent.parent.parent
    with TemporaryDirectory() as folder:
        path = keep(task | {"lr": np.array(LR / motion.rate)}, Path(folder) / "task.npz")
        entry = Entry("eventnet.reproduce.dense:Steps", python=python, cwd=root)
        with Worker("PyTorch", entry, path) as worker:
            worker.answer()
            told = worker.ask("repeat", 0)
    return 1e3 * float(told["wall_s"]) / (n / motion.rate)


Rows = dict[str, dict[int, Row]]


def run(quick: bool) -> Result:
    """Run every network at every rate, without noise and with it; two minutes, ten seconds if quick."""
    rates = NOISY_RATES if quick else RATES
    seconds = QUICK_SECONDS if quick else SECONDS
    python = None if quick else dense.torch_python()
    rows: Rows = {}
    with progress(silent=False) as told:
        for rate in rates:
            motion = Motion.sampled(rate, seconds)
            for name, row in _exact(motion, 1 if quick else REPETITIONS, told).items():
                rows.setdefault(name, {})[rate] = row
            if python is not None:
                told(f"{rate:,} Hz, PyTorch", 0)
                wall = torch_wall(motion, python)
                rows.setdefault("PyTorch", {})[rate] = Row(math.nan, wall, math.nan)
            noisy = motion.noisy()
            for name, coding in REMEDIES.items() if rate in NOISY_RATES else ():
                told(f"{rate:,} Hz, noise, {name}", 0)
                row = replace(spiking(noisy, coding), wall=math.nan)
                rows.setdefault(f"noise, {name}", {})[rate] = row
    settings = {
        "seconds": seconds,
        "band to, Hz": TOP,
        "tau": TAU,
        "step": STEP,
        "hidden step": HIDDEN_STEP,
        "error steps": [ERROR_STEP, HIDDEN_ERROR_STEP],
        "lr": LR,
        "noise": NOISE,
    }
    return Result("Rates", SEED, settings, tuple(_numbers(rows)), _figure(rows))


def _exact(motion: Motion, repetitions: int, told: Told) -> dict[str, Row]:
    """Return the rows without noise, by name, each with the least wall time of its repetitions."""
    contestants: dict[str, Callable[[], Row]] = {
        "eventnet": lambda: spiking(motion),
        "clocked": lambda: spiking(motion, clock=True),
        "dense": lambda: compiled(motion),
    }
    found: dict[str, Row] = {}
    for k in range(repetitions):
        for name, contest in contestants.items():
            told(f"{motion.rate:,} Hz, {name}", k)
            row = contest()
            if name not in found or row.wall < found[name].wall:
                found[name] = row
    return found


def _numbers(rows: Rows) -> list[Number]:
    numbers = []
    for name, by_rate in rows.items():
        adds = "multiply-adds" if name == "dense" else "additions"
        fields = {
            "quanta": "input quanta a second",
            "additions": f"{adds} a second",
            "zero_skipping": "multiply-adds a second, skipping zeros",
            "wall": "wall time, ms a simulated second",
            "error": "NRMSE of the output, %",
        }
        for field, what in fields.items():
            for rate, row in by_rate.items():
                numbers.append(Number(f"{name}, {rate:,} Hz: {what}", getattr(row, field)))
        first, last = min(by_rate), max(by_rate)
        for field, what in (("additions", adds), ("wall", "wall time")):
            growth = getattr(by_rate[last], field) / getattr(by_rate[first], field)
            numbers.append(Number(f"{name}: {what}, {last:,} Hz over {first:,} Hz", growth))
    return [number for number in numbers if not math.isnan(number.here)]


def _figure(rows: Rows) -> Any:
    exact = {name: by_rate for name, by_rate in rows.items() if not name.startswith("noise")}
    noisy = {name.removeprefix("noise, "): rows[name] for name in rows if name not in exact}
    with drawing(10, 6) as figure:
        panels = figure.subplots(2, 3, sharex=True)
        for ax, field, what in (
            (panels[0, 0], "additions", "additions a second (dense: multiply-adds)"),
            (panels[0, 1], "wall", "wall time (ms a simulated second)"),
            (panels[0, 2], "error", "NRMSE of the output (%)"),
        ):
            _lines(ax, exact, field, what)
        for ax, field, what in (
            (panels[1, 0], "quanta", "with noise: input quanta a second"),
            (panels[1, 1], "additions", "with noise: additions a second"),
            (panels[1, 2], "error", "with noise: NRMSE of the output (%)"),
        ):
            _lines(ax, noisy, field, what)
            ax.set_xlabel("readings a second (Hz)")
        panels[0, 1].legend()
        panels[1, 0].legend()
    return figure


def _lines(ax: Any, rows: Rows, field: str, what: str) -> None:
    colors = ("vermillion", "orange", "blue", "sky", "green")
    for (name, by_rate), color in zip(rows.items(), colors, strict=False):
        values = [getattr(row, field) for row in by_rate.values()]
        if not np.isnan(values).all():
            ax.plot(list(by_rate), values, "o-", ms=3, color=PALETTE[color], label=name)
    ax.set(xscale="log", ylabel=what)
    ax.xaxis.set_major_formatter("{x:,.0f}")
    if field == "error":
        ax.set_ylim(bottom=0)
    else:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:,.10g}")

"""Top layers on a video's pretrained features: spiking, trained online, beside the same layers dense.

The paper's experiment on video took VGG19's features of YouTube-BB, which cannot be had. Its
substitute here: EfficientNet-Lite0's 448 features (`eventnet.features`) of a fixed camera's video, of
which the layers learn how much moves in each quarter of the picture (`eventnet.video`).

Learned is the first 70 % of the video, pass after pass; scored is the rest, frozen. Where settings are
chosen the last fifth of those 70 % is scored instead and no later frame is touched. Inputs are running
means of the features, which differ even where pictures look alike; of inputs and of targets, the moving
shares, deviations from their means are told, in units that the learned frames give.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet import features, video
from eventnet.baselines import explained
from eventnet.cost import Cost
from eventnet.data.epochs import Rows
from eventnet.errors import ConfigError
from eventnet.mlp import Mlp
from eventnet.network import Network, Scales, Taps
from eventnet.passes import Passes, lr_scale
from eventnet.plasticity import STDP
from eventnet.simulation import Run, Simulation
from eventnet.sources import smoothed

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]

LENGTH = 3.0
"""Root mean square length of the inputs: hidden layers, drawn alike, then begin small and learn most."""

RIDGES = np.geomspace(1e-4, 1e2, 13)
"""Of least squares, in parts of the inputs' mean square."""


@dataclass(frozen=True)
class Settings:
    """What the layers are made of: as `benchmarks.top_layers_settings` chooses it at 10 frames a second.

    Attributes
    ----------
    hidden : tuple of int
        Sizes of the hidden layers.
    smoothing : float
        Time constant of the running means that the inputs are, s; 0: the features themselves.
    tau, error_tau : float
        Of the coders of signals and of errors, s.
    step, hidden_step, error_step, hidden_error_step : float
        Of the features, the hidden layers, the output's error and the hidden layers' errors.
    lr, dense_lr : float
        Learning rates of the spiking and of the dense layers, 1/s: a frame learns at its part.
    cap : float
        The guard's, of a frame.
    init : float
        Initial weights are drawn from N(0, 2/(n_in + n_out)) and multiplied by this.
    passes : int
        Over what is learned.
    threshold : float
        Of the features' coder, in [1/2, 1].
    slowness : float
        Of the hidden layers.
    taps : tuple of float or None
        Of the features' coder, in place of `tau`: what it predicts from the last two frames.
    price : float
        Of an addition, in units of the loss: the first two steps are learned; 0: they stay.
    scales : {"population", "neuron"}
        What learns a step of its own.
    """

    hidden: tuple[int, ...] = (200, 100)
    smoothing: float = 0.31
    tau: float = 1.2
    error_tau: float = 0.14
    step: float = 0.11
    hidden_step: float = 0.089
    error_step: float = 0.53
    hidden_error_step: float = 0.074
    lr: float = 0.079
    dense_lr: float = 0.04
    cap: float = 0.3
    init: float = 0.55
    passes: int = 48
    threshold: float = 0.5
    slowness: float = 0.0
    taps: Taps | None = None
    price: float = 0.0
    scales: Scales = "population"


class Watched(NamedTuple):
    """What a camera of some rate saw, to be learned and scored.

    Attributes
    ----------
    rate : float
        Frames a second.
    every : int
        Every so manieth frame of the video is seen.
    x, y : ndarray of float32, shape (n, 448) and (n, 4)
        Inputs and targets of all frames of the video; means are of a frame and of every so manieth
        before it.
    learned : int
        Frames of the video before this one are learned.
    """

    rate: float
    every: int
    x: Singles
    y: Singles
    learned: int

    @property
    def frames(self) -> int:
        """Frames that are learned in a pass."""
        return self.learned // self.every

    @property
    def scored(self) -> int:
        """The first of the frames seen that is scored."""
        return -(-self.learned // self.every)

    @property
    def shown(self) -> Singles:
        """The inputs of the frames seen, (m, 448)."""
        return self.x[:: self.every]

    @property
    def truth(self) -> Singles:
        """The targets of the frames seen, (m, 4)."""
        return self.y[:: self.every]

    def order(self, number: int) -> NDArray[np.int64]:
        """Return the frames of a pass; each pass begins a frame later, so that all have their turn."""
        return np.arange(number % self.every, self.learned, self.every)[: self.frames]

    def r2(self, outputs: NDArray[np.floating]) -> float:
        """Return R2 of outputs (m, 4) on the frames that are scored, of all quarters together."""
        return explained(outputs[self.scored :], self.truth[self.scored :])


def watch(
    path: Path,
    every: int = 1,
    *,
    smoothing: float = 0.0,
    choosing: bool = False,
    progress: bool = False,
) -> Watched:
    """Return a video as its features and what moves.

    Parameters
    ----------
    path : Path
    every : int
        Every so manieth frame is seen.
    smoothing : float
        As in `Settings`.
    choosing : bool
        Whether settings are chosen.
    progress : bool
        Whether a bar is shown while features are computed.

    Raises
    ------
    ConfigError, DataError, FetchError, RunFolderError
        As `eventnet.video.load` and `eventnet.features.load`.
    ConfigError
        If `every` leaves fewer than ten frames to learn or to score, or `smoothing` is negative.
    DataError
        If frames do not come evenly, or nothing moves.
    """
    seen = video.load(path)
    learned, end, rate = video.parts(path, seen, every, choosing=choosing)
    if not 0 <= smoothing < np.inf:
        raise ConfigError(f"smoothing={smoothing:g} s: must be >= 0 and finite")
    own = smoothed(features.load(path, progress)[:end], smoothing * rate, every)
    x = own - own[:learned].mean(axis=0)
    x *= LENGTH / np.sqrt((x[:learned] ** 2).sum(axis=1).mean())
    y = (seen.moving[:end] - seen.moving[:learned].mean(axis=0)) / seen.moving[:learned].std()
    return Watched(rate, every, x, y.astype(np.float32), learned)


def initial_weights(settings: Settings, n_in: int, n_out: int, seed: int) -> list[Floats]:
    """Return the weights that the spiking and the dense layers start from."""
    rng, sizes = np.random.default_rng(seed), (n_in, *settings.hidden, n_out)
    return [
        settings.init * np.sqrt(2 / (a + b)) * rng.normal(size=(a, b)) for a, b in pairwise(sizes)
    ]


class Spiking(Passes):
    """The layers on events, on the camera's clock: a tick a frame.

    Parameters
    ----------
    task : Watched
    settings : Settings
    seed : int
        Of the initial weights.
    engine : str

    Attributes
    ----------
    sim : Simulation
        Fed and taught with all passes, its learning rate falling with them.
    """

    def __init__(
        self, task: Watched, settings: Settings, seed: int = 0, engine: str = "compiled"
    ) -> None:
        self.task = task
        weights = initial_weights(settings, task.x.shape[1], task.y.shape[1], seed)
        sim = Simulation(
            network(settings, weights),
            plasticity=STDP(settings.lr, cap=settings.cap),
            engine=engine,
            clock=1 / task.rate,
            price=settings.price,
            scales=settings.scales,
            raster=False,
            dtype=np.float32,
        )
        passes = settings.passes
        super().__init__(sim, task.frames, task.rate, passes)
        sim.feed("features", Rows(task.x, task.order, passes, task.rate))
        sim.teach("moving", Rows(task.y, task.order, passes, task.rate))

    def read(self) -> tuple[Singles, Run]:
        """Return what is read half a frame after each frame seen, (m, 4), and the run.

        It is the run of a copy that does not learn.
        """
        signals, run = self._read("moving")
        return signals["moving"], run

    def layers(self) -> dict[str, Singles]:
        """Return the signals of all layers by name, from the features on, at the times of `read`."""
        return self._read(*(population.name for population in self.sim.network.populations))[0]

    def _read(self, *names: str) -> tuple[dict[str, Singles], Run]:
        sim, task = self.sim.copy(), self.task
        n = len(task.shown)
        sim.feed("features", Rows(task.shown, lambda _: np.arange(n), 1, task.rate, sim.now))
        for name in names:
            sim.probe(name, times=sim.now + (np.arange(n) + 0.5) / task.rate)
        run = sim.run(until=sim.now + n / task.rate)
        return {name: sim.probed(name).values.astype(np.float32) for name in names}, run


def network(settings: Settings, weights: list[Floats]) -> Network:
    """Return the network: features, hidden layers, output."""
    net = Network(tau=settings.tau)
    net.sensor(
        "features",
        len(weights[0]),
        step=settings.step,
        threshold=settings.threshold,
        taps=settings.taps,
    )
    names = ["features", *(f"hidden-{k}" for k in range(1, len(weights))), "moving"]
    for name, size in zip(names[1:], settings.hidden, strict=False):
        net.layer(
            name,
            size,
            step=settings.hidden_step,
            error_step=settings.hidden_error_step,
            error_tau=settings.error_tau,
            slowness=settings.slowness,
        )
    net.output(
        "moving",
        weights[-1].shape[1],
        error_step=settings.error_step,
        error_tau=settings.error_tau,
    )
    for source, target, w in zip(names, names[1:], weights, strict=False):
        net.connect(source, target, weights=w)
    return net


class Dense:
    """The same layers, compiled, float32: all of it recomputed and a step of SGD at each frame.

    Parameters
    ----------
    task : Watched
    settings : Settings
    seed : int
        Of the initial weights: those of `Spiking`.
    """

    def __init__(self, task: Watched, settings: Settings, seed: int = 0) -> None:
        self.task, self.settings, self.done = task, settings, 0
        weights = initial_weights(settings, task.x.shape[1], task.y.shape[1], seed)
        self.mlp = Mlp(weights, skip_zeros=True, dtype=np.float32)
        # No frame leaves the weights as they are: this compiles.
        self.mlp.train(task.x, task.y, [], 1.0)
        self.mlp.outputs(task.x[:0])

    def learn(self) -> float:
        """Learn a pass; return its wall time, s."""
        lr = self.settings.dense_lr / self.task.rate
        scale = lr_scale(self.done, self.settings.passes)
        begin = time.perf_counter()
        self.mlp.train(self.task.x, self.task.y, self.task.order(self.done), lr * scale)
        self.done += 1
        return time.perf_counter() - begin

    def read(self) -> tuple[Singles, float]:
        """Return what is read at each frame seen, (m, 4), and the wall time, s."""
        begin = time.perf_counter()
        outputs = self.mlp.outputs(self.task.shown)
        return outputs.astype(np.float32), time.perf_counter() - begin


def additions(cost: Cost, frames: int) -> float:
    """Return the additions a frame of all layers and passes."""
    return cost.total("additions") / frames


def persistence(task: Watched, age: int = 1) -> float:
    """Return R2 of telling what was true so many frames before, where that is known."""
    told = np.roll(task.truth, age, axis=0)
    told[:age] = 0.0
    return task.r2(told)


def corrected(task: Watched, outputs: NDArray[np.floating], gain: float) -> Floats:
    """Return outputs (m, 4) corrected by the truth of the frame before, where truth comes that late.

    ``y[k-1] + gain*(z[k] - z[k-1])`` for truth y and outputs z: for 0 it is persistence, for 1 what is
    constantly wrong in z is taken out of it. The first frame has no truth before it: z.
    """
    told = outputs.astype(np.float64)
    told[1:] = task.truth[:-1] + gain * np.diff(told, axis=0)
    return told


def best_gain(choosing: Watched, outputs: NDArray[np.floating]) -> float:
    """Return the gain in [0, 1] that is best for `corrected` where settings are chosen."""
    truth, told = (
        np.diff(values[choosing.scored - 1 :].astype(np.float64), axis=0)
        for values in (choosing.truth, outputs)
    )
    return float(np.clip((truth * told).sum() / (told**2).sum(), 0.0, 1.0))


def held_truth(task: Watched) -> float:
    """Return R2 of telling what was true last of what is learned: persistence that is told no more."""
    return task.r2(np.broadcast_to(task.y[task.learned - 1], task.truth.shape))


def least_squares(task: Watched, ridge: float) -> Floats:
    """Return what a linear readout of the inputs tells, (m, 4), fitted on all that is learned.

    Parameters
    ----------
    ridge : float
        In parts of the inputs' mean square; chosen by `best_ridge`.
    """
    x, y = task.x[: task.learned].astype(np.float64), task.y[: task.learned]
    # Fewer frames than features: the dual form is the small one.
    inner = x @ x.T
    inner[np.diag_indices_from(inner)] += ridge * LENGTH**2
    weights = x.T @ np.linalg.solve(inner, y)
    return np.asarray(task.shown @ weights, dtype=np.float64)


def best_ridge(choosing: Watched) -> float:
    """Return the one of `RIDGES` that is best where settings are chosen."""
    return float(max(RIDGES, key=lambda ridge: choosing.r2(least_squares(choosing, ridge))))

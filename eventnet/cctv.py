"""Convolutions on a fixed camera's pixels learn how much moves where: spiking, and the same dense.

A pixel is how far it is from its median over what is learned, 0 below `NOISE` grey levels and 1 from
`FULL` on; the target is the moving share of each quarter of the picture (`eventnet.video`). Three
convolutions with stride 2, the mean over each quarter and a kernel of 1 x 1 make some 3.4 million
multiply-adds a frame; no layer has a bias, so that where nothing moves nothing is sent.

Learned is the first 70 % of the video, pass after pass, and the rest is scored, frozen. Where settings
are chosen the last fifth of those 70 % is scored instead and no later frame is touched.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet import video
from eventnet.baselines import explained
from eventnet.convnet import ConvNet
from eventnet.data.epochs import Images, Rows, orders
from eventnet.errors import ConfigError
from eventnet.network import Network
from eventnet.passes import Passes, lr_scale
from eventnet.plasticity import STDP
from eventnet.simulation import Run, Simulation

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

WIDTH, HEIGHT = 192, 144

KERNELS = ((5, 8), (3, 12), (3, 12))
"""Side and channels of each convolution."""

NOISE, FULL = 16, 32  # grey levels of 255


@dataclass(frozen=True)
class Settings:
    """What the network is made of; chosen with ``score=validation``.

    Attributes
    ----------
    tau, error_tau : float
        Of the coders of signals and of errors, s.
    step, hidden_step, mean_step : float
        Of the pixels, the convolutions and the quarters' means.
    error_step, mean_error_step, hidden_error_step : float
        Of the output's error, the means' and the convolutions'.
    lr, dense_lr : float
        Learning rates of the spiking and of the dense network, 1/s: a frame learns at its part.
    passes : int
        Over what is learned.
    """

    tau: float = 0.5
    error_tau: float = 0.3
    step: float = 0.33
    hidden_step: float = 0.35
    mean_step: float = 0.05
    error_step: float = 0.2
    mean_error_step: float = 0.1
    hidden_error_step: float = 0.1
    lr: float = 0.01
    dense_lr: float = 0.01
    passes: int = 8


class Watched(NamedTuple):
    """What a camera saw, to be learned and scored.

    Attributes
    ----------
    rate : float
        Frames a second.
    shape : tuple of int
        Height, width and channels of a frame.
    codes : ndarray of uint8, shape (n, height*width)
        Frames; a pixel is the byte divided by 255.
    y : ndarray, shape (n, 4)
        Targets: moving shares, in units of their standard deviation in what is learned.
    learned : int
        Frames before this one are learned, the others scored.
    """

    rate: float
    shape: tuple[int, int, int]
    codes: Bytes
    y: Floats
    learned: int

    def r2(self, outputs: Floats) -> float:
        """Return R2 of outputs (m, 4) on the frames that are scored, of all quarters together."""
        return explained(outputs, self.y[self.learned :])


def watch(
    path: Path, width: int = WIDTH, height: int = HEIGHT, *, choosing: bool = False
) -> Watched:
    """Return a video as pixels that differ from the background, and what moves.

    Parameters
    ----------
    path : Path
    width, height : int
        Of the frames, pixels; multiples of 16, so that quarters remain quarters.
    choosing : bool
        Whether settings are chosen.

    Raises
    ------
    ConfigError, DataError, RunFolderError
        As `eventnet.video.load`.
    ConfigError
        If a size is no multiple of 16, or there are fewer than ten frames to learn or to score.
    DataError
        If frames do not come evenly, or nothing moves.
    """
    if width % 16 or height % 16:
        raise ConfigError(f"width={width}, height={height}: must be multiples of 16")
    seen = video.load(path, width, height)
    learned, end, rate = video.parts(path, seen, choosing=choosing)
    frames = seen.frames[:end].reshape(end, -1)
    away = np.abs(frames - np.median(frames[:learned], axis=0))
    codes = np.where(away < NOISE, 0, np.minimum(away / FULL, 1) * 255).astype(np.uint8)
    y = seen.moving[:end] / seen.moving[:learned].std()
    return Watched(rate, (height, width, 1), codes, y, learned)


def network(shape: tuple[int, int, int], settings: Settings, seed: int) -> Network:
    """Return the network: pixels, three convolutions, means of quarters, output (2, 2, 1).

    Kernels are drawn from N(0, 2/n_in), that of the output from N(0, 1/n_in).
    """
    rng = np.random.default_rng(seed)
    p, error_tau = settings, settings.error_tau
    net = Network(tau=p.tau)
    at = net.sensor("frame", shape, step=p.step)
    height, width, of = shape
    for k, (side, channels) in enumerate(KERNELS, start=1):
        height, width = height // 2, width // 2
        conv = net.layer(
            f"conv-{k}",
            (height, width, channels),
            step=p.hidden_step,
            error_step=p.hidden_error_step,
            error_tau=error_tau,
        )
        kernel = rng.normal(0, np.sqrt(2 / (side * side * of)), (side, side, of, channels))
        net.connect(at, conv, kernel=side, stride=2, padding=side // 2, weights=kernel)
        at, of = conv, channels
    mean = net.layer(
        "mean",
        (2, 2, of),
        step=p.mean_step,
        error_step=p.mean_error_step,
        error_tau=error_tau,
        activation="identity",
    )
    net.connect(at, mean, pool=(height // 2, width // 2))
    moving = net.output("moving", (2, 2, 1), error_step=p.error_step, error_tau=error_tau)
    net.connect(mean, moving, kernel=1, weights=rng.normal(0, np.sqrt(1 / of), (1, 1, of, 1)))
    return net


class Spiking(Passes):
    """The network on events, on the camera's clock: a tick a frame.

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
        sim = Simulation(
            network(task.shape, settings, seed),
            # The guard counts a pixel once for each position that sees it: far too often.
            plasticity=STDP(settings.lr, cap=None),
            engine=engine,
            clock=1 / task.rate,
            raster=False,
            dtype=np.float32,
        )
        super().__init__(sim, task.learned, task.rate, settings.passes)
        shown, n = settings.passes, task.learned
        self._feed(sim, task.codes[:n], shown)
        order = orders("given", task.codes[:n])
        sim.teach("moving", Rows(task.y[:n], order, shown, task.rate))

    def _feed(self, sim: Simulation, codes: Bytes, passes: int) -> None:
        sim.feed("frame", Images(codes, orders("given", codes), passes, self.task.rate, sim.now))

    def learn_by_frames(self) -> NDArray[np.int64]:
        """Learn a pass, and return the additions of each frame, (learned,)."""
        first = self.done * self.task.learned
        self.done += 1
        stamps = (first + np.arange(self.task.learned) + 0.5) / self.task.rate
        return np.array([self.sim.run(until=t).cost.total("additions") for t in stamps])

    def read(self) -> tuple[Floats, Run]:
        """Return what is read half a frame after each frame that is scored, (m, 4), and the run.

        It is the run of a copy that does not learn.
        """
        sim, shown = self.sim.copy(), self.task.codes[self.task.learned :]
        self._feed(sim, shown, 1)
        sim.probe("moving", times=sim.now + (np.arange(len(shown)) + 0.5) / self.task.rate)
        run = sim.run(until=sim.now + len(shown) / self.task.rate)
        return run.output("moving").values, run


class Dense:
    """The same network from the same weights, float32: recomputed, and a step of SGD, at each frame.

    Parameters
    ----------
    task : Watched
    settings : Settings
    seed : int
        Of the initial weights.
    """

    def __init__(self, task: Watched, settings: Settings, seed: int = 0) -> None:
        self.task, self.settings, self.done = task, settings, 0
        self.net = ConvNet(network(task.shape, settings, seed))

    def pixels(self, k: int) -> NDArray[np.float32]:
        """Return a frame from 0 to 1."""
        pixels: NDArray[np.float32] = self.task.codes[k] / np.float32(255)
        return pixels

    def learn(self) -> float:
        """Learn a pass; return its wall time, s."""
        lr = self.settings.dense_lr / self.task.rate * lr_scale(self.done, self.settings.passes)
        begin = time.perf_counter()
        for k in range(self.task.learned):
            self.net.learn(self.pixels(k), self.task.y[k], lr)
        self.done += 1
        return time.perf_counter() - begin

    def read(self) -> tuple[Floats, float]:
        """Return what is read at each frame that is scored, (m, 4), and the wall time, s."""
        scored = range(self.task.learned, len(self.task.codes))
        begin = time.perf_counter()
        said = [self.net.outputs(self.pixels(k)) for k in scored]
        return np.array(said, dtype=np.float64), time.perf_counter() - begin

    def skipping(self, every: int = 10) -> tuple[float, float]:
        """Return the multiply-adds a frame, learning and reading, if zeros are skipped.

        Of every so manieth frame that is learned, with the present weights.
        """
        frames = range(0, self.task.learned, every)
        works = [self.net.skipping(self.pixels(k), self.task.y[k]) for k in frames]
        forward, backward, update = np.mean(works, axis=0)
        return float(forward + backward + update), float(forward)


def mean_predictor(task: Watched) -> float:
    """Return R2 of telling the mean of what is learned."""
    truth = task.y[task.learned :]
    return explained(np.tile(task.y[: task.learned].mean(axis=0), (len(truth), 1)), truth)


def sum_of_pixels(task: Watched) -> float:
    """Return R2 of the mean of each quarter's pixels times one factor, fitted on what is learned."""
    height, width, _ = task.shape
    quarters = (
        task.codes.reshape(-1, 2, height // 2, 2, width // 2).mean(axis=(2, 4)).reshape(-1, 4)
    )
    x, y = quarters[: task.learned], task.y[: task.learned]
    return task.r2(quarters[task.learned :] * ((x * y).sum() / (x * x).sum()))


def changed(task: Watched) -> Floats:
    """Return the share of pixels that differ from the frame before, of all that is learned, (learned,).

    The first follows the last, as pass follows pass.
    """
    codes = task.codes[: task.learned]
    return np.asarray((codes != np.roll(codes, 1, axis=0)).mean(axis=1))

"""An event camera and its inertial unit tell two scenes apart, each event at its own microsecond.

Two recordings of people: events of 320x240 pixels, taken together in blocks, and beside them an
accelerometer and a gyroscope at 806 Hz, each on its own clock. The network learns online which scene it
sees, on pieces of the first 70 % of both, in turn and at random times; then it is frozen, and asked every
10 ms of the last 30 %. To choose settings, `--set score=validation` learns on 55 %, asks the next 15 %.

The camera stood at another angle in each scene, so that gravity alone gives the answer away:
`--set imu=gyroscope` or `imu=none` leaves it to the events, `--set camera=false` to the unit.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import eventnet as en
from eventnet.data import fetch
from eventnet.events import read_aedat4
from eventnet.scenario import Outcome, Session

Floats = NDArray[np.float64]

SCENES = ("class1", "class2")
GYROSCOPE = ["gyroscope_x", "gyroscope_y", "gyroscope_z"]
COLUMNS = {
    "none": [],
    "gyroscope": GYROSCOPE,
    "both": ["accelerometer_x", "accelerometer_y", "accelerometer_z", *GYROSCOPE],
}
PARTS = {"validation": (0.55, 0.7), "test": (0.7, 1.0)}
"""Shares of each recording: up to which it is learned on, and to which it is asked from there."""
SETTLE = 0.05  # s of a scene before it is asked for the first time
ASK = 0.01  # s


@dataclass(frozen=True)
class Parameters:
    """What `--set key=value` can change. The IMU's step is in standard deviations."""

    camera: bool = True
    imu: Literal["none", "gyroscope", "both"] = "both"
    block: int = 32  # pixels a side that are taken together
    polarity: Literal["split", "signed", "merged"] = "split"
    hidden: int = 60
    tau: float = 0.01  # s
    event_step: float = 0.02
    imu_step: float = 0.5
    hidden_step: float = 0.1
    error_step: float = 0.2
    hidden_error_step: float = 0.05
    lr: float = 0.05  # per second
    pieces: int = 50  # of each scene
    piece: float = 0.1  # s
    score: Literal["test", "validation"] = "test"  # part that is asked


class Piece(NamedTuple):
    """From `first` to `last` s of a scene, shown at `start` s."""

    scene: int
    first: float
    last: float
    start: float


class Stream(NamedTuple):
    """What came in a scene: times (n,) in s since its start, values (n, width)."""

    times: Floats
    values: Floats


def run(p: Parameters, session: Session) -> Outcome:
    """Learn online, freeze, ask."""
    columns = COLUMNS[p.imu]
    if not (p.camera or columns) or not (p.piece > 0 and p.pieces >= 1):
        raise en.ConfigError(
            f"camera={p.camera}, imu={p.imu}, piece={p.piece} s, pieces={p.pieces}: there must be a "
            "sensor, a piece must be positive and there must be one at least"
        )
    folder = fetch("dvs-people", progress=session.report is not None)
    recorded = [read_aedat4(folder / f"{name}.aedat4") for name in SCENES]
    neurons = recorded[0].events.neurons(p.block, p.polarity)
    seen, felt = [], []
    for events, imu in recorded:
        begin = int(events.t[0])
        train = events.spikes(p.block, p.polarity, begin)
        seen.append(Stream(train.times, np.stack([train.neurons, train.counts], axis=1)))
        felt.append(
            Stream(
                (imu["t"].astype(np.int64) - begin) / 1e6,
                np.stack([imu[column] for column in COLUMNS["both"]], axis=1).astype(float),
            )
        )
    known, asked_to = ([share * stream.times[-1] for stream in seen] for share in PARTS[p.score])
    readings = np.concatenate([f.values[f.times < end] for f, end in zip(felt, known, strict=True)])
    used = [COLUMNS["both"].index(column) for column in columns]
    felt = [
        Stream(f.times, ((f.values - readings.mean(0)) / readings.std(0))[:, used]) for f in felt
    ]

    learning = drawn(known, p, np.random.default_rng(session.seed))
    learned = learning[-1].start + learning[-1].last - learning[-1].first
    asking, end = [], learned
    for scene, (first, last) in enumerate(zip(known, asked_to, strict=True)):
        asking.append(Piece(scene, first, last, end))
        end += last - first
    shown = learning + asking

    net = en.Network(tau=p.tau)
    net.layer("hidden", p.hidden, step=p.hidden_step, error_step=p.hidden_error_step)
    net.output("scene", len(SCENES), loss="softmax", error_step=p.error_step)
    if p.camera:
        net.source("camera", neurons, step=p.event_step)
        net.connect("camera", "hidden")
    if columns:
        net.sensor("imu", len(columns), step=p.imu_step)
        net.connect("imu", "hidden")
    net.connect("hidden", "scene")
    sim = en.Simulation(net, plasticity=en.STDP(lr=p.lr), engine=session.engine, seed=session.seed)
    if p.camera:
        times, values = played(seen, shown)
        sim.feed("camera", en.SpikeTrain(times, values[:, 0], values[:, 1]))
    if columns:
        sim.feed("imu", en.Recording(*played(felt, shown)))
    which = np.eye(len(SCENES))[[piece.scene for piece in learning]]
    sim.teach("scene", en.Recording([piece.start for piece in learning], which))
    sim.switch_learning(False, at=learned)

    asked = [piece.start + np.arange(SETTLE, piece.last - piece.first, ASK) for piece in asking]
    truth = np.repeat(np.arange(len(SCENES)), [len(times) for times in asked])
    sim.probe("scene", times=np.concatenate(asked))
    done = session.run(sim, end)
    said = done.output("scene").values
    found = right(said.argmax(axis=1), truth) if len(said) == len(truth) else None
    baselines = {}
    if p.camera:
        baselines["nearest mean, events of 50 ms"] = [rates(stream, neurons) for stream in seen]
    if columns:
        baselines["nearest mean, readings of 50 ms"] = [means(stream) for stream in felt]
    return Outcome(
        done,
        metrics={} if found is None else {"right %": found},
        error=None if found is None else 100 - float(np.mean(found)),
        baselines={
            name: {"right %": right(nearest(scenes, asking, asked), truth)}
            for name, scenes in baselines.items()
        },
    )


def drawn(known: list[float], p: Parameters, rng: np.random.Generator) -> list[Piece]:
    """Return pieces at random times of the first `known` s of the scenes, in turn."""
    shown, start = [], 0.0
    for _ in range(p.pieces):
        for scene, end in enumerate(known):
            first = rng.uniform(0, max(end - p.piece, 0))
            last = min(first + p.piece, end)
            shown.append(Piece(scene, first, last, start))
            start += last - first
    return shown


def played(streams: list[Stream], shown: list[Piece]) -> Stream:
    """Return what comes when pieces are shown one after another, on one time axis."""
    times, values = [], []
    for piece in shown:
        stream = streams[piece.scene]
        part = slice(*np.searchsorted(stream.times, (piece.first, piece.last)))
        times.append(stream.times[part] - piece.first + piece.start)
        values.append(stream.values[part])
    return Stream(np.concatenate(times), np.concatenate(values))


Window = Callable[[float, float], Floats]
"""From a first and a last s to what a scene is like in between, (width,)."""


def rates(stream: Stream, neurons: int) -> Window:
    """Return the rate of every neuron's events."""

    def between(first: float, last: float) -> Floats:
        part = stream.values[slice(*np.searchsorted(stream.times, (first, last)))]
        return np.bincount(part[:, 0], part[:, 1], neurons) / (last - first)

    return between


def means(stream: Stream) -> Window:
    """Return the mean of every component's readings."""

    def between(first: float, last: float) -> Floats:
        part = stream.values[slice(*np.searchsorted(stream.times, (first, last)))]
        return np.asarray(part.mean(axis=0))

    return between


def nearest(scenes: list[Window], asking: list[Piece], asked: list[Floats]) -> NDArray[np.intp]:
    """Return the scene that, on the mean of what is learned, is nearest to the last `SETTLE` s."""
    centers = np.array([scenes[piece.scene](0, piece.first) for piece in asking])
    found = []
    for piece, times in zip(asking, asked, strict=True):
        for t in times - piece.start + piece.first:
            here = scenes[piece.scene](t - SETTLE, t)
            found.append(np.linalg.norm(centers - here, axis=1).argmin())
    return np.array(found)


def right(said: NDArray[np.intp], truth: NDArray[np.intp]) -> list[float]:
    """Return the share of right answers in each scene, %."""
    return [100 * float((said[truth == k] == k).mean()) for k in range(len(SCENES))]

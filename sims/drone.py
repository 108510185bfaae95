"""A drone's flight: a gyroscope fills in what a slow camera has not yet seen.

Two real sensors of very different rate meet in one hidden layer: the inertial unit at 200 Hz and
the camera's image flow at 4 Hz (every fifth frame), each on its own timestamps, each reading held.
The target is the flow at every frame, 20 Hz. The network learns online over the first 70 % of the
flight, in several passes; then it is frozen and its spiking readout is scored on the last 30 %.

The camera's flow arrives `latency` after its frame, so no reading contains the frame on which it is
scored. Scaling comes from the training part, settings were chosen on its last fifth
(`--set score=validation`).
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

import eventnet as en
from eventnet.baselines import DenseNetwork, held, least_squares, r2
from eventnet.data import euroc, fetch
from eventnet.scenario import Outcome, Session
from eventnet.sources import smoothed

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Parameters:
    """What `--set key=value` can change. Steps are in standard deviations of the signal."""

    hidden: int = 60
    activation: Literal["identity", "relu"] = "identity"
    tau: float = 0.08  # s
    imu_step: float = 0.2
    imu_smoothing: float = 0.0  # s, time constant of a running mean of its readings; 0: none
    imu_threshold: float = 0.5  # in [1/2, 1]; above 1/2 it is hysteresis
    camera_step: float = 0.25
    hidden_step: float = 0.1
    hidden_threshold: float = 0.5
    error_step: float = 0.4
    hidden_error_step: float = 0.1
    lr: float = 0.02  # per second
    passes: int = 30
    clock: float = 0.0  # s, length of a tick, .005 for the IMU's 200 Hz; 0: asynchronous
    imu_taps: tuple[float, ...] = ()  # two, with a clock: readings are predicted from the last two
    price: float = 0.0  # of an addition a second (a tick), in units of the loss: steps are learned
    scales: Literal["population", "neuron"] = "population"
    hold: float = 0.02  # s for which a target holds after its frame
    latency: float = 0.023  # s from a frame to the arrival of its flow
    every: int = 5  # the camera gives every n-th frame
    dense_lr: float = 0.0003  # of the dense network, per sample
    score: Literal["test", "validation"] = "test"


def run(p: Parameters, session: Session) -> Outcome:
    """Learn online, freeze, score."""
    if not (p.latency > 0 and p.passes >= 1 and p.every >= 1):
        raise en.ConfigError(
            f"latency={p.latency} s, passes={p.passes}, every={p.every}: latency must be positive, "
            "the others at least 1"
        )
    if not 0 <= p.imu_smoothing < np.inf:
        raise en.ConfigError(f"imu_smoothing={p.imu_smoothing} s: must be >= 0 and finite")
    flight = euroc.load(fetch("euroc-v1-01", progress=session.report is not None))
    frames = len(flight.flow)
    train, test = slice(0, int(0.7 * frames)), slice(int(0.7 * frames), frames)
    if p.score == "validation":
        train, test = slice(0, int(0.8 * train.stop)), slice(int(0.8 * train.stop), train.stop)
    split = float(flight.frame_t[test.start - 1 : test.start + 1].mean())
    end = float(flight.frame_t[test.stop - 1])
    plain = standardize(flight.imu, flight.imu_t <= split)
    rate = (len(flight.imu_t) - 1) / float(flight.imu_t[-1] - flight.imu_t[0])
    means = smoothed(flight.imu, p.imu_smoothing * rate)
    imu = standardize(means, flight.imu_t <= split)
    flow = standardize(flight.flow, flight.frame_t <= split)
    seen = np.arange(frames) % p.every == 0

    net = en.Network(tau=p.tau)
    taps = p.imu_taps or None  # what is not two numbers is refused there
    net.sensor("imu", 6, step=p.imu_step, threshold=p.imu_threshold, taps=taps)  # type: ignore[arg-type]
    net.sensor("camera", 2, step=p.camera_step)
    net.layer(
        "hidden",
        p.hidden,
        activation=p.activation,
        step=p.hidden_step,
        error_step=p.hidden_error_step,
        threshold=p.hidden_threshold,
    )
    net.output("flow", 2, error_step=p.error_step)
    for name, target in (("imu", "hidden"), ("camera", "hidden"), ("hidden", "flow")):
        net.connect(name, target)
    sim = en.Simulation(
        net,
        plasticity=en.STDP(lr=p.lr),
        engine=session.engine,
        seed=session.seed,
        clock=p.clock or None,
        price=p.price,
        scales=p.scales,
    )
    initial = [
        sim.weights(name) for name in ("imu -> hidden", "camera -> hidden", "hidden -> flow")
    ]

    def passes(times: Floats, values: Floats, until: float) -> en.Recording:
        """Repeat the training part, then go on to `until`, on one time axis."""
        part, rest = times <= split, (times > split) & (times <= until)
        starts = split * np.arange(p.passes)
        return en.Recording(
            np.concatenate([*(times[part] + s for s in starts), times[rest] + starts[-1]]),
            np.concatenate([*([values[part]] * p.passes), values[rest]]),
        )

    sources = {
        "imu": (flight.imu_t, imu),
        "camera": (flight.frame_t[seen] + p.latency, flow[seen]),
    }
    for name, source in sources.items():
        sim.feed(name, passes(*source, end))
    sim.teach("flow", passes(flight.frame_t, flow, split), hold=p.hold)
    last = split * (p.passes - 1)
    sim.switch_learning(False, at=last + split)
    scored = passes(flight.frame_t, flow, end)
    sim.probe("flow", times=scored.times)

    def running_error() -> float | None:
        """Root mean square error over the last two seconds of frames, in standard deviations."""
        read = sim.probed("flow").values
        recent = slice(max(len(read) - 40, 0), len(read))
        difference = read[recent] - np.asarray(scored.values)[recent]
        return float(np.sqrt((difference**2).mean())) if len(read) else None

    result = session.run(sim, last + end, running_error)
    read = result.output("flow").values
    fit = r2(read[-(test.stop - test.start) :], flow[test]) if len(read) == len(scored) else None
    outcome = Outcome(
        result,
        metrics={} if fit is None else {"r2": fit, **costs(sim, sources, split, end)},
        error=None if fit is None else 1 - float(np.mean(fit)),
    )
    if not session.compares:
        return outcome
    camera = held(flight.frame_t[seen], flow[seen], flight.frame_t, before=True)
    features = np.column_stack([held(flight.imu_t, plain, flight.frame_t), camera])
    smooth = np.column_stack([held(flight.imu_t, imu, flight.frame_t), camera])
    interval = held(flight.frame_t, np.arange(1.0, frames + 1)[:, None], flight.imu_t, before=True)
    averaged = np.array([plain[interval[:, 0] == k].mean(0) for k in range(frames)])
    dense = DenseNetwork([np.concatenate(initial[:2]), initial[2]], relu=p.activation == "relu")
    for k in [*range(train.stop)] * p.passes:
        dense.train(smooth[k], flow[k], p.dense_lr)
    trained = {"every target": dense.multiply_adds, "skipping zeros": dense.zero_skipping}
    baselines = {
        "least squares, both sensors": least_squares(features, flow, train, test),
        "least squares, IMU": least_squares(features[:, :6], flow, train, test),
        "least squares, camera": least_squares(features[:, 6:], flow, train, test),
        "least squares, both, IMU averaged": least_squares(
            np.column_stack([averaged, camera]), flow, train, test
        ),
        "persistence": r2(features[test, 6:], flow[test]),
        "the same network dense, SGD": r2([dense.forward(x) for x in smooth[test]], flow[test]),
    }
    if p.imu_smoothing:
        told = least_squares(smooth, flow, train, test)
        baselines["least squares, both, IMU smoothed"] = told
    return replace(
        outcome,
        baselines={name: {"r2": value} for name, value in baselines.items()},
        dense={
            "dense SGD at every target": trained["every target"],
            "the same, skipping zeros": trained["skipping zeros"],
        },
    )


def costs(
    sim: en.Simulation, sources: dict[str, tuple[Floats, Floats]], split: float, end: float
) -> dict[str, float]:
    """Return additions a reading, of all that was learned and of a frozen copy on what is scored."""
    copy = sim.copy()
    for name, (times, values) in sources.items():
        part = (times > split) & (times <= end)
        copy.feed(name, en.Recording(times[part] - split, values[part]))
    frozen, whole = copy.run(end - split).cost, sim.cost
    learning = whole.total("additions") - frozen.total("additions")
    return {
        "additions a reading, learning": learning / (whole.readings - frozen.readings),
        "additions a reading, frozen": frozen.total("additions") / frozen.readings,
    }


def standardize(values: Floats, train: NDArray[np.bool_]) -> Floats:
    """Scale to mean 0 and deviation 1 of the training part."""
    scaled: Floats = (values - values[train].mean(0)) / values[train].std(0)
    return scaled

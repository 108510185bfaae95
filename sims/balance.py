"""MuJoCo's cart and pole: a network watches an LQR, then balances the pole itself, pushed every 3 s.

Gyroscope and accelerometer at 1,000 Hz, the encoders of both joints at 200 Hz and a marker tracker at
30 Hz, 33 ms late, meet in one hidden layer. Velocities come from what the encoders say, less what a
delayed projection brings of what they said. The teacher is an LQR that sees the true state. At first it
drives; then the network drives most of the time, and the teacher still says what it would do, and takes
over where the pole would be lost. After `learn` seconds weights are frozen and the teacher is gone.

The score is for how long of the last `test` seconds the pole stays up and the cart on its rail.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import eventnet as en
from eventnet.cartpole import COMMANDS, HELD, PHYSICS, PUSH_EVERY, SENSORS, Trial
from eventnet.loop import Reading
from eventnet.scenario import Outcome, Session

Floats = NDArray[np.float64]

DANGER, CALM = (1.6, 0.4), (1.0, 0.1)
"""m and rad beyond which the teacher takes over, and below which it gives back."""


@dataclass(frozen=True)
class Parameters:
    """What `--set key=value` can change. Steps are in units of the sensors' scaled readings."""

    learn: float = 300.0  # s; 0: an untrained network
    test: float = 60.0  # s
    push: float = 1.67  # N, the largest, as the LQR survives it; the smallest is 30 % of it
    without: Literal["none", "gyro", "accelerometer", "encoder", "tracker"] = "none"  # left out
    hidden: int = 50
    activation: Literal["identity", "relu"] = "relu"
    tau: float = 0.1  # s
    gyro_step: float = 0.05
    accelerometer_step: float = 0.2
    encoder_step: float = 0.01
    tracker_step: float = 0.05
    velocity_step: float = 0.25
    hidden_step: float = 0.1
    error_step: float = 0.05
    hidden_error_step: float = 0.05
    delay: float = 0.04  # s, between the two readings of an encoder that make a velocity
    lr: float = 0.3  # per second
    schedule: tuple[float, ...] = (1.0, 0.3, 0.1)  # times lr, by equal parts of `learn`
    watch: float = 20.0  # s for which the teacher drives
    trust: float = 0.7  # share of the 3 s stretches after that in which the network drives
    score: Literal["test", "validation"] = "test"  # validation: other pushes
    film: bool = False  # draw the test into film.gif in the run folder


def run(p: Parameters, session: Session) -> Outcome:
    """Learn in the loop, take over, score."""
    if not (p.learn >= 0 and p.test > 0 and p.push >= 0 and p.delay > 0):
        raise en.ConfigError(
            f"learn={p.learn} s, test={p.test} s, push={p.push} N, delay={p.delay} s: learn and push "
            "must be >= 0, the others positive"
        )
    rule = en.STDP(lr=p.lr) if p.learn else None
    sim = en.Simulation(network(p), plasticity=rule, engine=session.engine, seed=session.seed)
    lesson = Lesson(p, session.seed)
    renderer = lesson.exam.body.renderer() if p.film else None
    sim.close_loop("force", lesson, rate=COMMANDS)
    if p.learn:
        for k, factor in enumerate(p.schedule):
            sim.scale_lr(factor, at=p.learn * k / len(p.schedule))
        sim.switch_learning(False, at=p.learn)
    for name in ("force", *(["encoder"] if "encoder" in sensors(p) else [])):
        sim.probe(name, rate=100)
    result = session.run(sim, p.learn + p.test, lesson.running_error)
    if renderer is not None and lesson.exam.poses:
        every = COMMANDS // 25
        poses, path = lesson.exam.poses[::every], session.folder / "film.gif"
        lesson.exam.body.film(renderer, poses, path, COMMANDS / every)
    complete = result.until == p.learn + p.test
    figures = lesson.figures() if complete else {}
    return Outcome(
        result,
        metrics=figures,
        error=figures.get("largest angle rad"),
        baselines=lesson.baselines(session.seed) if complete else {},
    )


def network(p: Parameters) -> en.Network:
    """Return the network: sensors and velocities to a hidden layer, and that to the motor's force."""
    net = en.Network(tau=p.tau)
    inputs = sensors(p)
    for name in inputs:
        net.sensor(name, SENSORS[name], step=getattr(p, f"{name}_step"))
    if "encoder" in inputs:
        now = np.diag([1 / p.delay, 0.2 / p.delay])  # of .5 m and .1 rad to .5 m/s and .5 rad/s
        net.layer("earlier", 2, activation="identity", step=p.encoder_step)
        net.layer("velocity", 2, activation="identity", step=p.velocity_step)
        net.connect("encoder", "earlier", weights=np.eye(2), plastic=False, delay=p.delay)
        net.connect("encoder", "velocity", weights=now, plastic=False)
        net.connect("earlier", "velocity", weights=-now, plastic=False)
        inputs.append("velocity")
    net.layer(
        "hidden",
        p.hidden,
        activation=p.activation,
        step=p.hidden_step,
        error_step=p.hidden_error_step,
    )
    net.output("force", 1, error_step=p.error_step)
    for name in inputs:
        net.connect(name, "hidden")
    net.connect("hidden", "force", weights=np.zeros((p.hidden, 1)))  # untaught it gives no force
    return net


def sensors(p: Parameters) -> list[str]:
    """Return the names of the sensors that there are."""
    return [name for name in SENSORS if name != p.without]


def drawn(p: Parameters, seed: int) -> list[int]:
    """Return the seed of the pushes by which it is scored."""
    return [seed, 1 if p.score == "test" else 3]


class Lesson:
    """The plant: a trial in which teacher and network take turns, then one of the network alone."""

    def __init__(self, p: Parameters, seed: int) -> None:
        self.p = p
        self.feeds = (*sensors(p), *(("force",) if p.learn else ()))
        self.lesson = Trial(p.push, p.learn, [seed, 0])
        self.exam = Trial(p.push, p.test, drawn(p, seed), begin=round(p.learn * PHYSICS))
        rng = np.random.default_rng([seed, 2])
        stretches = int(p.learn * PHYSICS // PUSH_EVERY) + 1
        watched = np.arange(stretches) * PUSH_EVERY < p.watch * PHYSICS
        self.trusted = (rng.random(stretches) < p.trust) & ~watched
        self.rescue = False
        self.falls = 0
        self.inputs = Inputs(p)
        self.noted: list[Floats] = []  # what least squares has, and what the teacher says to it
        self.errors: list[float] = []  # of the network's commands

    def advance(self, time: float, until: float, command: Floats) -> list[Reading]:
        """Hold a command, of the network or of the teacher."""
        given = float(command[0])
        if time >= self.p.learn:
            readings = self.exam.drive(given)
        else:
            readings = self._teach(given, until)
        return [r for r in readings if r[0] in self.feeds]

    def _teach(self, command: float, until: float) -> list[Reading]:
        lesson = self.lesson
        said = lesson.body.teacher()
        self.errors.append(command - said)
        where = np.abs(lesson.body.true[:2])
        self.rescue = bool((where > DANGER).any() or (self.rescue and (where > CALM).any()))
        trusted = self.trusted[HELD * len(lesson.poses) // PUSH_EVERY]
        readings = lesson.drive(command if trusted and not self.rescue else said)
        if lesson.lost:
            self.falls += 1
            lesson.lost = False
            lesson.body.place(0.0)
        said = lesson.body.teacher()
        self.noted.append(np.append(self.inputs.at(until, readings), said))
        if until < self.p.learn:
            readings.append(("force", until, [said]))
        return readings

    def running_error(self) -> float | None:
        """Root mean square of the network's command less the teacher's, over the lesson's last 5 s."""
        recent = np.array(self.errors[-5 * COMMANDS :])
        return float(np.sqrt((recent**2).mean())) if len(recent) else None

    def figures(self) -> dict[str, float]:
        """Return what is scored, and how the lesson went."""
        found = self.exam.figures()
        if self.errors:
            last = np.array(self.errors[-len(self.errors) // 3 :])
            found["command error"] = float(np.sqrt((last**2).mean()))
            found["lost while learning"] = self.falls
        return found

    def baselines(self, seed: int) -> dict[str, dict[str, float]]:
        """Return what the teacher, and least squares on the same inputs, make of the same test."""
        p, found = self.p, {}
        trial = Trial(p.push, p.test, drawn(p, seed))
        trial.run(lambda readings: trial.body.teacher())
        found["LQR, true state"] = trial.figures()
        if self.noted:
            table = np.array(self.noted)
            weights, *_ = np.linalg.lstsq(table[:, :-1], table[:, -1], rcond=None)
            trial, inputs = Trial(p.push, p.test, drawn(p, seed)), Inputs(p)

            def fitted(readings: list[Reading]) -> float:
                return float(inputs.at(len(trial.poses) / COMMANDS, readings) @ weights)

            trial.run(fitted)
            found["least squares, same inputs"] = trial.figures()
        return found

    def state(self) -> dict[str, Any]:
        """Return all that `advance` changes."""
        return {
            "lesson": self.lesson.state(),
            "exam": self.exam.state(),
            "rescue": self.rescue,
            "falls": self.falls,
            "inputs": self.inputs.state(),
            "noted": np.array(self.noted),
            "errors": list(self.errors),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.lesson.restore(saved["lesson"])
        self.exam.restore(saved["exam"])
        self.rescue, self.falls = saved["rescue"], saved["falls"]
        self.inputs.restore(saved["inputs"])
        self.noted, self.errors = list(saved["noted"]), list(saved["errors"])


class Inputs:
    """What least squares is given: the sensors' last readings, the encoders' change, and a 1."""

    def __init__(self, p: Parameters) -> None:
        self.last = {name: np.zeros(SENSORS[name]) for name in sensors(p)}
        self.positions = [np.zeros(2)] * (round(p.delay * COMMANDS) + 1)
        self.under_way: list[tuple[str, float, Floats]] = []

    def at(self, time: float, readings: list[Reading]) -> Floats:
        """Take new readings; return the inputs of `time` (s)."""
        self.under_way += [(name, t, np.asarray(x)) for name, t, x in readings if name in self.last]
        self.last |= {name: x for name, t, x in self.under_way if t <= time}
        self.under_way = [reading for reading in self.under_way if reading[1] > time]
        inputs = [*self.last.values(), np.ones(1)]
        if "encoder" in self.last:
            self.positions = [*self.positions[1:], self.last["encoder"]]
            inputs.append(self.positions[-1] - self.positions[0])
        return np.concatenate(inputs)

    def state(self) -> dict[str, Any]:
        """Return what is remembered."""
        return {
            "last": dict(self.last),
            "positions": list(self.positions),
            "under_way": list(self.under_way),
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.last = dict(saved["last"])
        self.positions = list(saved["positions"])
        self.under_way = list(saved["under_way"])

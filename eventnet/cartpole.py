"""MuJoCo's cart and pole: physics, pushes, sensors and the LQR that sees the true state.

The bodies are those of the DeepMind control suite (Tassa et al. 2018): a cart of 1 kg on a rail of 3.6 m,
on it a pole of 1 m and .1 kg, a motor of 10 N. The pole stands upright at angle 0. An inertial unit sits
in the middle of the pole, a marker on its tip, an encoder on either joint.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eventnet.errors import ConfigError
from eventnet.extras import needed
from eventnet.loop import Reading
from eventnet.raster import written_aside

Floats = NDArray[np.float64]

PHYSICS, COMMANDS, CAMERA = 1000, 200, 30
"""Hz: of physics and inertial unit, of commands and encoders, of the marker tracker."""
HELD = PHYSICS // COMMANDS
"""Steps of the physics for which a command is held."""
LATENCY = 0.033  # s, from the tracker's picture to its reading
RAIL, FALLEN = 1.8, 0.5  # m from the middle to the end; rad at which the pole has fallen
PUSH_FIRST, PUSH_EVERY, PUSH_FOR = 1000, 3000, 100  # steps of the physics

SENSORS = {"gyro": 3, "accelerometer": 3, "encoder": 2, "tracker": 3}
"""Sizes of the sensors, by name."""
REST = {
    "gyro": np.zeros(3),
    "accelerometer": np.array([0.0, 0.0, 9.81]),
    "encoder": np.zeros(2),
    "tracker": np.array([0.0, 0.0, 2.0]),
}
"""What they read at rest: rad/s, m/s^2, (m, rad), m."""
UNIT = {
    "gyro": np.full(3, 0.5),
    "accelerometer": np.full(3, 2.0),
    "encoder": np.array([0.5, 0.1]),
    "tracker": np.array([0.5, 0.5, 0.1]),
}
"""What they give as 1, beyond that."""
NOISE = {"gyro": 0.01, "accelerometer": 0.1, "tracker": 0.002}
"""Standard deviation of their noise."""
COUNT = np.array([1e-4, 2 * math.pi / 8192])
"""m and rad that the encoders count as one."""

STATE_COST, COMMAND_COST = np.diag([0.1, 1.0, 0.1, 0.1]), np.eye(1)
"""What the LQR minimizes: squares of position (m), angle (rad), their velocities; of the command."""

MODEL = f"""
<mujoco model="cart and pole">
  <option timestep="{1 / PHYSICS}" integrator="implicitfast"><flag contact="disable"/></option>
  <worldbody>
    <light pos="0 -3 4" dir="0 .6 -1"/>
    <camera name="side" pos="0 -4 1.4" xyaxes="1 0 0 0 0 1"/>
    <geom type="capsule" fromto="{-RAIL} 0 1 {RAIL} 0 1" size=".02" rgba=".5 .5 .5 1"/>
    <body name="cart" pos="0 0 1">
      <joint name="cart" type="slide" axis="1 0 0" damping="5e-4"/>
      <geom type="box" size=".2 .15 .1" mass="1" rgba="0 .45 .7 1"/>
      <body name="pole">
        <joint type="hinge" axis="0 1 0" damping="2e-6"/>
        <geom type="capsule" fromto="0 0 0 0 0 1" size=".045" mass=".1" rgba=".9 .6 0 1"/>
        <site name="imu" pos="0 0 .5"/>
        <site name="marker" pos="0 0 1"/>
      </body>
    </body>
  </worldbody>
  <actuator><motor joint="cart" gear="10" ctrllimited="true" ctrlrange="-1 1"/></actuator>
  <sensor>
    <gyro site="imu"/>
    <accelerometer site="imu"/>
    <framepos objtype="site" objname="marker"/>
  </sensor>
</mujoco>
"""


class Pushes:
    """A push every 3 s, 100 ms long, to a random side, the first after 1 s.

    Parameters
    ----------
    largest : float
        N; each is drawn from ``[share*largest, largest]``.
    seconds : float
        How long they go on.
    rng : numpy.random.Generator
    share : float
        Of the largest, the smallest.

    Examples
    --------
    >>> pushes = Pushes(2.0, 60.0, np.random.default_rng(0), share=1.0)
    >>> [abs(pushes.at(k)) for k in (999, 1000, 1099, 1100, 4000)]
    [0.0, 2.0, 2.0, 0.0, 2.0]
    """

    def __init__(
        self, largest: float, seconds: float, rng: np.random.Generator, share: float = 0.3
    ) -> None:
        n = math.ceil(seconds * PHYSICS / PUSH_EVERY)
        self.forces = largest * rng.uniform(share, 1.0, n) * rng.choice([-1.0, 1.0], n)

    def at(self, step: int) -> float:
        """Return the force, N, at a step of the physics since their beginning."""
        which, phase = divmod(step - PUSH_FIRST, PUSH_EVERY)
        return (
            float(self.forces[which]) if 0 <= which < len(self.forces) and phase < PUSH_FOR else 0.0
        )


class CartPole:
    """The cart and the pole, their motor and their sensors.

    Parameters
    ----------
    rng : numpy.random.Generator
        For the sensors' noise.

    Attributes
    ----------
    gain : ndarray, shape (4,)
        Of the LQR: its command is ``-gain @ true``.

    Examples
    --------
    >>> plant = CartPole(np.random.default_rng(0))
    >>> plant.place(angle=0.2)
    >>> for k in range(0, 5000, HELD):
    ...     readings = plant.drive(plant.teacher(), k)
    >>> bool(abs(plant.true[1]) < 0.01), plant.lost
    (True, False)
    >>> len(readings), readings[0][0], readings[-1][:2]
    (11, 'gyro', ('encoder', 5.0))
    """

    def __init__(self, rng: np.random.Generator) -> None:
        os.environ.setdefault("MUJOCO_GL", "egl")  # without a screen too
        self._mujoco = needed("mujoco", "balance", "the cart and pole")
        self.model = self._mujoco.MjModel.from_xml_string(MODEL)
        self.data = self._mujoco.MjData(self.model)
        self.rng = rng
        self._pole = self.model.body("pole").id
        self._rest = np.concatenate([REST[name] for name in NOISE])
        self._unit = np.concatenate([UNIT[name] for name in NOISE])
        self._noise = np.concatenate([np.full(SENSORS[name], NOISE[name]) for name in NOISE])
        self.gain = self._lqr()
        self.place(0.0)

    def place(self, angle: float) -> None:
        """Put the cart to rest in the middle of its rail, the pole at an angle (rad)."""
        self._mujoco.mj_resetData(self.model, self.data)
        self.data.qpos[1] = angle
        self._mujoco.mj_forward(self.model, self.data)

    @property
    def true(self) -> Floats:
        """The true state: position (m), angle (rad) and their velocities."""
        return np.concatenate([self.data.qpos, self.data.qvel])

    @property
    def lost(self) -> bool:
        """Whether the pole has fallen or the cart has left its rail."""
        position, angle = self.data.qpos
        return bool(abs(angle) >= FALLEN or abs(position) >= RAIL)

    def teacher(self) -> float:
        """Return the LQR's command, in units of the motor's 10 N; beyond 1 the motor gives no more."""
        return float(-self.gain @ self.true)

    def drive(self, command: float, step: int, push: float = 0.0) -> list[Reading]:
        """Go on by `HELD` steps from a step of the physics; return what is measured, scaled.

        The inertial unit and the tracker measure at the beginning of each step, and the unit's readings
        are a step under way; the encoders are read at the end of the last.
        """
        data = self.data
        readings: list[Reading] = []
        data.ctrl[0] = min(max(command, -1.0), 1.0)
        data.xfrc_applied[self._pole, 0] = push
        noise = self.rng.standard_normal((HELD, len(self._noise))) * self._noise - self._rest
        for i in range(HELD):
            self._mujoco.mj_step(self.model, data)
            scaled = (data.sensordata + noise[i]) / self._unit
            k = step + i
            readings.append(("gyro", (k + 1) / PHYSICS, scaled[:3]))
            readings.append(("accelerometer", (k + 1) / PHYSICS, scaled[3:6]))
            if k * CAMERA % PHYSICS < CAMERA:  # the first step of another picture
                readings.append(("tracker", k / PHYSICS + LATENCY, scaled[6:]))
        counted = np.round(data.qpos / COUNT) * COUNT
        readings.append(("encoder", (step + HELD) / PHYSICS, counted / UNIT["encoder"]))
        return readings

    def state(self) -> dict[str, Any]:
        """Return all that `drive` changes."""
        return {
            "qpos": self.data.qpos.copy(),
            "qvel": self.data.qvel.copy(),
            "rng": self.rng.bit_generator.state,
        }

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.data.qpos[:], self.data.qvel[:] = saved["qpos"], saved["qvel"]
        self.rng.bit_generator.state = saved["rng"]

    def renderer(self) -> Any:
        """Return a `mujoco.Renderer` for `film`. It needs no screen but EGL, or what MUJOCO_GL says.

        Raises
        ------
        ConfigError
            If OpenGL cannot draw here.
        """
        try:
            return self._mujoco.Renderer(self.model, 180, 480)
        except Exception as error:  # every platform of OpenGL fails in its own way
            raise ConfigError(
                f"film: OpenGL cannot draw by MUJOCO_GL={os.environ['MUJOCO_GL']} ({error}); install "
                "libegl1 and libgl1-mesa-dri, or set MUJOCO_GL to osmesa or glfw"
            ) from error

    def film(self, renderer: Any, poses: Sequence[Floats], path: Path, rate: float) -> None:
        """Draw poses (position in m, angle in rad) into an animated GIF, so many a second."""
        image = needed("PIL.Image", "balance", "films")
        pictures = []
        for pose in poses:
            self.data.qpos[:] = pose
            self._mujoco.mj_forward(self.model, self.data)
            renderer.update_scene(self.data, camera="side")
            pictures.append(image.fromarray(renderer.render()))
        first, *others = pictures
        with written_aside(path) as aside:
            first.save(
                aside, "GIF", save_all=True, append_images=others, duration=1000 / rate, loop=0
            )

    def _lqr(self) -> Floats:
        """Return the gain of the discrete LQR about the upright pole, for commands that are held."""
        solve = needed("scipy.linalg", "balance", "the LQR").solve_discrete_are
        A, b = np.zeros((4, 4)), np.zeros((4, 1))
        self._mujoco.mj_forward(self.model, self.data)
        self._mujoco.mjd_transitionFD(self.model, self.data, 1e-6, True, A, b, None, None)
        powers = [np.linalg.matrix_power(A, k) for k in range(HELD + 1)]
        A, b = powers[-1], sum(powers[:-1]) @ b
        P = solve(A, b, STATE_COST, COMMAND_COST)
        gain: Floats = np.linalg.solve(COMMAND_COST + b.T @ P @ b, b.T @ P @ A)[0]
        return gain


class Trial:
    """A pole that stands almost straight and is pushed: how long does a controller keep it up?

    Parameters
    ----------
    push : float
        The largest, N.
    seconds : float
    seed : sequence of int
        For the angle at the start, the pushes and the noise.
    begin : int
        Step of the physics at which it begins.
    share : float
        Of the largest push, the smallest.

    Attributes
    ----------
    poses : list of ndarray, shape (2,)
        Position (m) and angle (rad) after every command.
    lost : bool
        Whether the pole has fallen or the cart has left its rail.

    Examples
    --------
    >>> trial = Trial(push=1.0, seconds=6.0, seed=[0])
    >>> trial.run(lambda readings: trial.body.teacher())
    6.0
    """

    def __init__(
        self, push: float, seconds: float, seed: Sequence[int], begin: int = 0, share: float = 0.3
    ) -> None:
        rng = np.random.default_rng(seed)
        self.seconds = seconds
        self.pushes = Pushes(push, seconds, rng, share)
        self.body = CartPole(rng)
        self.body.place(rng.uniform(-0.02, 0.02))
        self.poses: list[Floats] = []
        self.lost = False
        self._begin = begin

    def drive(self, command: float) -> list[Reading]:
        """Hold a command; return what is measured meanwhile, or nothing once it is over."""
        if self.over:
            return []
        step = HELD * len(self.poses)
        readings = self.body.drive(command, self._begin + step, self.pushes.at(step))
        self.poses.append(self.body.data.qpos.copy())
        self.lost = self.body.lost
        return readings

    def run(self, controller: Callable[[list[Reading]], float]) -> float:
        """Let a controller drive, that is given the readings since its last command; return `kept`."""
        readings: list[Reading] = []
        while not self.over:
            readings = self.drive(controller(readings))
        return self.kept

    @property
    def over(self) -> bool:
        """Whether it is lost, or its time is up."""
        return self.lost or len(self.poses) >= self.seconds * COMMANDS

    @property
    def kept(self) -> float:
        """For how long it was kept up, s."""
        return (len(self.poses) - self.lost) / COMMANDS

    def figures(self) -> dict[str, float]:
        """Return what is scored."""
        position, angle = np.abs(self.poses).max(axis=0)
        return {
            "kept up s": self.kept,
            "largest angle rad": float(angle),
            "largest position m": float(position),
        }

    def state(self) -> dict[str, Any]:
        """Return all that `drive` changes."""
        return {"body": self.body.state(), "poses": np.array(self.poses), "lost": self.lost}

    def restore(self, saved: dict[str, Any]) -> None:
        """Go back to what `state` returned."""
        self.body.restore(saved["body"])
        self.poses, self.lost = list(saved["poses"]), saved["lost"]

"""Brian2: the network of held images on its clock, as a C++ program of its own.

At each step of `dt` a pixel's residual grows by ``x*dt/(tau*step)`` and a hidden neuron's by what its
signal has gained beyond its decay; what lies within a step is seen only at its end. So spikes that
arrive in one step and cancel each other are missing: they are counted against the exact number.
"""

from __future__ import annotations

import shutil
import tempfile
from typing import Any

import brian2 as b2
import numpy as np

from eventnet.bench.perceptrons import SIZES
from eventnet.bench.spiking import HOLD, STEP
from eventnet.bench.task import Repetition, Task
from eventnet.classifier import initial_weights

PIXEL = """
dphi/dt = x/(tau*step) : 1
x : 1
count = sign(phi)*ceil(abs(phi) - 0.5) : 1
"""
NEURON = """
du/dt = -u/tau : 1
dtold/dt = -told/tau : 1
phi : 1
count = sign(phi)*ceil(abs(phi) - 0.5) : 1
"""
ENCODE = """
phi += (clip(u, 0, inf) - told)/step
told = clip(u, 0, inf)
"""
READ = """
phi += (images(t, i) - x)/step
x = images(t, i)
"""
FIRE = {"threshold": "abs(phi) > 0.5", "reset": "phi -= count"}


class HeldImages:
    """The images of the first part, anew in each repetition.

    Parameters
    ----------
    task : mapping
    dt : float
        Of the clock, s.
    """

    def __init__(self, task: Task, dt: float) -> None:
        self.part = len(task["images"]) // int(task["parts"])
        self.folder = tempfile.mkdtemp(prefix="brian2-")
        b2.prefs["devices.cpp_standalone.extra_make_args_unix"] = ["-j2"]
        b2.set_device("cpp_standalone", directory=self.folder, build_on_run=False)
        b2.defaultclock.dt = dt * b2.second
        self.network = self._network(task["images"][: self.part] / 255)

    def _network(self, images: np.ndarray[Any, Any]) -> b2.Network:
        shared: dict[str, Any] = {"tau": 1 * b2.second, "step": STEP}
        shared["images"] = b2.TimedArray(images, dt=HOLD * b2.second)
        pixels = b2.NeuronGroup(SIZES[0], PIXEL, method="euler", namespace=shared, **FIRE)
        hidden = b2.NeuronGroup(SIZES[1], NEURON, method="exact", namespace=shared, **FIRE)
        digits = b2.NeuronGroup(SIZES[2], "du/dt = -u/tau : 1", method="exact", namespace=shared)
        parts = [pixels, hidden, digits]
        parts.append(pixels.run_regularly(READ, dt=HOLD * b2.second, when="before_thresholds"))
        parts.append(hidden.run_regularly(ENCODE, when="before_thresholds"))
        for source, target, w in zip(parts, (hidden, digits), initial_weights(SIZES), strict=False):
            synapses = b2.Synapses(
                source, target, "w : 1", on_pre="u_post += step*count_pre*w", namespace=shared
            )
            synapses.connect()
            synapses.w = w.ravel()
            parts.append(synapses)
        self.monitor = b2.SpikeMonitor(hidden, record=False)
        self.pixel_monitor = b2.SpikeMonitor(pixels, record=False)
        return b2.Network(*parts, self.monitor, self.pixel_monitor)

    @property
    def seconds(self) -> float:
        """Simulated time of a repetition."""
        return self.part * HOLD

    def prepare(self) -> None:
        """Generate and compile the code."""
        self.network.run(self.seconds * b2.second)
        b2.device.build(directory=self.folder, run=False)

    def repeat(self, k: int) -> Repetition:
        b2.device.run()
        wall_s = b2.device._last_run_time  # without loading and saving
        hidden, pixels = int(self.monitor.num_spikes), int(self.pixel_monitor.num_spikes)
        return {
            "units": self.seconds,
            "wall_s": float(wall_s),
            "events": hidden + pixels,
            "hidden events": hidden,
        }

    def finish(self) -> dict[str, Any]:
        shutil.rmtree(self.folder)
        return {}

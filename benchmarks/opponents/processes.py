"""SimPy: a process a pixel, and a row of NumPy a spike; exact, as eventnet is.

Pixels of equal grey fire at the same time, and what arrives at one time is one delivery.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import simpy

from eventnet.bench.perceptrons import SIZES
from eventnet.bench.spiking import HOLD, STEP
from eventnet.bench.task import Repetition, Task
from eventnet.classifier import initial_weights

TAU = 1.0  # s
THRESHOLD = 0.5
LAST = 2
"""Priority of a delivery: after all timeouts of its instant."""


class HeldImages:
    """The images of the first part, anew in each repetition."""

    def __init__(self, task: Task) -> None:
        self.part = len(task["images"]) // int(task["parts"])
        self.images = task["images"][: self.part] / 255
        self.w = [STEP * w for w in initial_weights(SIZES)]

    def prepare(self) -> None:
        """Nothing is compiled."""

    def repeat(self, k: int) -> Repetition:
        run = _Run(self.images, self.w)
        until = self.part * HOLD
        begin = time.perf_counter()
        run.env.process(run.show())
        run.env.run(until=until)
        wall_s = time.perf_counter() - begin
        return {
            "units": until,
            "wall_s": wall_s,
            "events": run.pixel_events + run.hidden_events,
            "hidden events": run.hidden_events,
        }

    def finish(self) -> dict[str, Any]:
        return {}


class _Run:
    """The state of one simulation."""

    def __init__(self, images: np.ndarray[Any, Any], w: list[np.ndarray[Any, Any]]) -> None:
        self.env = simpy.Environment()
        self.images, (self.w0, self.w1) = images, w
        self.u, self.h, self.phi = (np.zeros(SIZES[1]) for _ in range(3))
        self.z = np.zeros(SIZES[2])
        self.arrived = np.zeros(SIZES[1])
        self.due = False
        self.at = self.read_at = 0.0
        self.shown = -1
        self.pixel_events = self.hidden_events = 0

    def show(self) -> Iterator[simpy.Event]:
        """Show one image after another: what a jump of the reading makes fire arrives at once."""
        x, phi, then = np.zeros(SIZES[0]), np.zeros(SIZES[0]), 0.0
        for k, image in enumerate(self.images):
            now = self.env.now
            # Between readings the residual grows evenly, and loses a quantum at each spike.
            drift = phi + x * (now - then) / (TAU * STEP)
            phi = drift - np.ceil(np.maximum(drift - THRESHOLD, 0)) + (image - x) / STEP
            count = np.sign(phi) * np.ceil(np.maximum(np.abs(phi) - THRESHOLD, 0))
            phi -= count
            fired = np.flatnonzero(count)
            x, then, self.shown = image, now, k
            self.pixel_events += len(fired)
            self.send(count[fired] @ self.w0[fired])
            for i in np.flatnonzero(x):
                self.env.process(self.pixel(int(i), float(x[i]), float(phi[i]), k))
            yield self.env.timeout(HOLD)

    def pixel(self, i: int, x: float, phi: float, k: int) -> Iterator[simpy.Event]:
        """Fire evenly as long as image k is shown."""
        period, row = TAU * STEP / x, self.w0[i]
        wait = (THRESHOLD - phi) * period
        while wait < HOLD:
            yield self.env.timeout(wait)
            if self.shown != k:
                return
            self.pixel_events += 1
            self.send(row)
            wait = period

    def send(self, row: np.ndarray[Any, Any]) -> None:
        """Add to what the hidden layer gets at this time."""
        self.arrived += row
        if not self.due:
            self.due = True
            arrival = self.env.event()
            arrival.callbacks.append(self.deliver)
            arrival._ok = True
            self.env.schedule(arrival, priority=LAST)

    def deliver(self, arrival: simpy.Event) -> None:
        """Add what arrived to the hidden layer, and let it fire."""
        decay = math.exp(-(self.env.now - self.at) / TAU)
        self.at = self.env.now
        u, h, phi = self.u, self.h, self.phi
        u *= decay
        h *= decay
        u += self.arrived
        self.arrived[:] = 0.0
        self.due = False
        told = np.maximum(u, 0.0)
        phi += (told - h) / STEP
        self.h = told
        size = np.abs(phi)
        if size.max() > THRESHOLD:
            fired = np.flatnonzero(size > THRESHOLD)
            count = np.sign(phi[fired]) * np.ceil(size[fired] - THRESHOLD)
            phi[fired] -= count
            self.hidden_events += len(fired)
            self.z *= math.exp(-(self.env.now - self.read_at) / TAU)
            self.read_at = self.env.now
            self.z += count @ self.w1[fired]

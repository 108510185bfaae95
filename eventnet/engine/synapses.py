"""The reference engine's synapses: a projection's weights and traces, and the spikes under way on it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from eventnet.engine import kernels as eq
from eventnet.network import Projection
from eventnet.plasticity import STDP

Floats = NDArray[np.float64]

Spikes = list[tuple[int, float]]
"""The neurons of one population that fire in one instant, ascending, with their signed counts."""

SYNAPSE_STATE = (
    *("rows", "charge", "owed", "booked", "version", "seen", "bookings"),
    *("post", "power", "jumps", "clock", "origin"),
)


class Flights:
    """Spikes under way on a projection with a delay, in order of arrival."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.under_way: list[tuple[float, int, float]] = []

    def next_time(self) -> float:
        """Return when the next one arrives."""
        return self.under_way[0][0] if self.under_way else math.inf

    def arriving(self, t: float, spikes: Spikes) -> Spikes:
        """Return what arrives at `t`: without a delay, the spikes of this instant."""
        if self.delay == 0:
            return spikes
        return [(i, count) for time, i, count in self.under_way if time == t]

    def depart(self, t: float, spikes: Spikes) -> None:
        """Drop what has arrived and send this instant's spikes on their way."""
        if self.delay > 0:
            self.under_way = [flight for flight in self.under_way if flight[0] > t]
            self.under_way += [(t + self.delay, i, count) for i, count in spikes]


class Synapses:
    """One projection: its weights, its plasticity traces and their clocks.

    An error spike changes a whole column of weights, each in proportion to its presynaptic trace.
    Between its own spikes such a trace only decays, ``x_hat_i(t) = charge_i*exp(-(t-origin)/tau)``,
    so what the rows have missed is their charge times one number for all of them, `owed`. An error
    spike adds to that number, and a row books it when it is next read.
    """

    def __init__(
        self, projection: Projection, weights: Floats, rule: STDP | None, plastic: bool, t0: float
    ) -> None:
        self.source, self.target = projection.source, projection.target
        self.flights = Flights(projection.delay)
        self.error_flights = Flights(projection.error_delay)
        self.rows: list[list[float]] = weights.tolist()
        self.rule = rule if plastic else None
        self.clock = t0
        self.origin = t0
        self.bookings = 0
        self.clear()

    def clear(self) -> None:
        """Forget the traces; what they owe is booked before."""
        traced = self.rule is not None
        n_in, n_out = (self.source.size, self.target.size) if traced else (0, 0)
        if traced and hasattr(self, "charge"):
            self.book_all(self.origin)
        self.charge = [0.0] * n_in
        self.owed = [0.0] * n_out
        self.booked = [[0.0] * n_out for _ in range(n_in)]
        self.version, self.seen = 0, [0] * n_in
        self.post = [0.0] * n_out
        self.power = 0.0
        self.jumps = 0.0

    def row(self, i: int) -> list[float]:
        """Return the weights of presynaptic neuron `i`, brought up to date."""
        row = self.rows[i]
        if self.rule is not None and self.seen[i] != self.version:
            self.seen[i] = self.version
            self.bookings += 1
            booked, charge = self.booked[i], self.charge[i]
            for j, owed in enumerate(self.owed):
                row[j] += charge * (owed - booked[j])
                booked[j] = owed
        return row

    def book_all(self, t: float) -> None:
        """Bring every row up to date and let the charges count from `t`."""
        factor = eq.decay(t - self.origin, self.source.tau)
        for i, charge in enumerate(self.charge):
            self.row(i)
            self.charge[i] = eq.fade(charge, factor)
            self.booked[i] = [0.0] * self.target.size
            self.seen[i] = 0
        self.version = 0
        self.owed = [0.0] * self.target.size
        self.origin = t

    def forward(self, spikes: Spikes, arrived: list[float]) -> None:
        """Add the rows of the neurons that fired (Eq. 7, 8)."""
        for i, count in spikes:
            scale = self.source.step * count
            for j, weight in enumerate(self.row(i)):
                arrived[j] += scale * weight

    def backward(self, spikes: Spikes, arrived: list[float]) -> None:
        """Add the columns of the error spikes (Eq. 12)."""
        assert self.target.error_step is not None
        for i in range(self.source.size):
            row = self.row(i)
            for j, count in spikes:
                arrived[i] += (self.target.error_step * count) * row[j]

    def learn(self, t: float, spikes: Spikes, errors: Spikes) -> bool:
        """Apply the STDP rule to what arrived; return whether the guard held the rate back."""
        assert self.rule is not None
        assert self.target.error_step is not None
        if t - self.origin > eq.BOOKING_PERIOD * self.source.tau:
            self.book_all(t)
        scale = eq.decay(t - self.origin, self.source.tau)
        elapsed = t - self.clock
        self.clock = t
        factor = eq.decay(elapsed, self.source.tau)
        error_factor = eq.decay(elapsed, self.target.error_tau)
        self.post = [eq.fade(trace, error_factor) for trace in self.post]
        self.power = eq.fade(eq.fade(self.power, factor), factor)
        self.jumps = eq.fade(self.jumps, factor)
        for i, count in spikes:
            x = self.source.step * count
            self.jumps += x * x
            self.power += x * (2.0 * (self.charge[i] * scale) + x)

        window = eq.trace_window(self.source.tau, self.target.error_tau)
        cap = math.inf if self.rule.cap is None else self.rule.cap
        rate = eq.guarded_rate(self.rule.lr, window, self.power, self.jumps, cap)
        gain = -(rate * window)
        self.version += bool(errors)
        for j, count in errors:
            e = self.target.error_step * count
            self.post[j] += e
            self.owed[j] += (gain * e) * scale
        for i, count in spikes:
            x = self.source.step * count
            row = self.row(i)
            step = gain * x
            for j, trace in enumerate(self.post):
                row[j] += step * trace
            self.charge[i] += x / scale
        return rate < self.rule.lr

    @property
    def weights(self) -> Floats:
        """Return a copy of the weights, (n_in, n_out), with what is still owed."""
        weights = np.array(self.rows)
        if self.rule is not None:
            owed = np.array(self.owed) - np.array(self.booked)
            weights += np.array(self.charge)[:, None] * owed
        return weights

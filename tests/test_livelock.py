"""No neuron fires without end where its residual stands on the threshold (design, Quantizing).

Every expected number follows from the rule: a residual beyond the threshold sends what exceeds it, one
that stands on it exactly fires once if its drift points outward, a scheduled crossing is not evaluated
again, and a crossing that does not lie ahead is due at the next float.
"""

from __future__ import annotations

import faulthandler
import math
import sys
from collections.abc import Iterator, Sequence

import numba
import numpy as np
import pytest

import eventnet as en
from eventnet.engine import ENGINES

STARTS = (0.0, 1e6)
ARRIVALS = [("compiled", 10**4 if numba.config.DISABLE_JIT else 10**6), ("actors", 10**4)]


@pytest.fixture(autouse=True)
def _livelock_ends_the_process() -> Iterator[None]:
    # A compiled loop holds the interpreter, so that neither a signal nor a thread would stop it.
    assert sys.__stderr__ is not None
    faulthandler.dump_traceback_later(300, exit=True, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


def spikes(run: en.Run, population: str) -> tuple[list[float], list[int]]:
    """Times and counts of a population of one neuron."""
    found = run.raster.select(population).arrays()
    return found.time.tolist(), found.count.tolist()


# --- Zero-weight arrivals at a residual that stands on the threshold --------------------------------


PERIOD = 2.0**-21  # s, which also times of 10^6 s hold exactly


@pytest.mark.parametrize(("engine", "arrivals"), ARRIVALS)
@pytest.mark.parametrize(
    ("t0", "activation", "theta", "side", "bias", "own_tau", "expected"),
    [
        # The arrival and the jump of the bias bring phi to +-theta exactly.
        (0.0, "identity", 0.5, 1, 0.0, False, 0),
        (1e6, "identity", 0.5, -1, 0.0, False, 0),
        (1e6, "relu", 0.5, 1, 0.0, False, 0),
        (0.0, "leaky", 0.75, 1, 0.0, False, 0),
        (0.0, "identity", 1.0, -1, 0.0, False, 0),
        (1e6, "relu", 0.5, 1, 0.125, False, 1),  # drifts outward: at once, then not for 8 tau
        (0.0, "identity", 0.75, -1, -0.125, False, -1),
        (1e6, "identity", 0.5, 1, -0.125, False, 0),  # drifts inward
        (1e6, "identity", 0.5, 1, 0.0, True, 0),  # the zeros come with another time constant
        (0.0, "relu", 1.0, 1, 0.125, True, 1),
    ],
)
def test_zero_weight_arrivals_on_the_threshold(
    engine: str,
    arrivals: int,
    t0: float,
    activation: en.network.Activation,
    theta: float,
    side: int,
    bias: float,
    own_tau: bool,
    expected: int,
) -> None:
    tau, until = 1.0, arrivals * PERIOD
    net = en.Network(tau=tau)
    # The driver speaks once: held, it would next fire after half a tau.
    net.sensor("driver", 1, step=1.0)
    clock_tau = 2.0 if own_tau else tau
    net.sensor("clock", 1, step=1.0, tau=clock_tau)
    net.layer("h", 1, step=1.0, activation=activation, bias=bias, threshold=theta)
    net.connect("driver", "h", weights=[[side * theta - bias]])
    net.connect("clock", "h", weights=[[0.0]])
    sim = en.Simulation(net, engine=engine, t0=t0)
    sim.feed("driver", en.Recording([t0], [1.0]))
    sim.feed("clock", en.Recording([t0], [clock_tau / PERIOD]))
    run = sim.run(until=t0 + until)
    cost = run.cost.populations
    assert cost["driver"]["events"] == 1
    # The jump of the reading, then a spike a period, the first after half of one.
    assert cost["clock"]["events"] == 1 + arrivals
    times, counts = spikes(run, "h")
    assert counts == [expected] * abs(expected)
    assert times == [t0] * abs(expected)


@pytest.mark.parametrize(("engine", "arrivals"), ARRIVALS)
@pytest.mark.parametrize(("t0", "side"), [(0.0, 1), (1e6, -1)])
def test_zero_weight_arrivals_at_an_error_on_the_threshold(
    engine: str, arrivals: int, t0: float, side: int
) -> None:
    """The errors of an output, and of a layer before it, stand at +-1/2 and do not drift."""
    tau, until = 1.0, arrivals * PERIOD
    net = en.Network(tau=tau)
    net.sensor("driver", 1, step=1.0)
    net.sensor("clock", 1, step=1.0)
    net.layer("h", 1, step=0.5, activation="identity", error_step=0.5)
    net.output("y", 2, error_step=1.0)
    net.connect("driver", "h", weights=[[float(side)]])
    net.connect("clock", "h", weights=[[0.0]], plastic=False)
    # One output errs by 1, whose spike comes back as half a step of h; the other by 1/2.
    net.connect("h", "y", weights=[[0.25, 0.0]])
    net.connect("driver", "y", weights=[[0.75 * side, 0.5 * side]])
    net.connect("clock", "y", weights=[[0.0, 0.0]], plastic=False)
    sim = en.Simulation(net, plasticity=en.STDP(lr=0.0), engine=engine, t0=t0)
    sim.feed("driver", en.Recording([t0], [1.0]))
    sim.feed("clock", en.Recording([t0], [tau / PERIOD]))
    sim.teach("y", en.Recording([t0], [[0.0, 0.0]]))
    run = sim.run(until=t0 + until)
    cost = run.cost.populations
    assert cost["clock"]["events"] == 1 + arrivals
    assert spikes(run, "h") == ([t0], [2 * side])
    assert spikes(run, "y.error") == ([t0], [side])
    assert cost["h"]["error_events"] == 0


# --- Held sensors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t0", STARTS)
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("tau", "step", "multiple", "theta"),
    [
        (0.1, 0.1, 1, 0.5),
        (0.1, 0.1, -3, 0.5),
        (0.3, 0.07, 7, 0.5),
        (0.02, 1 / 3, -10, 0.75),
        (1.0, 0.25, 8, 1.0),
    ],
)
def test_a_held_multiple_of_the_step(
    engine: str, t0: float, again: bool, tau: float, step: float, multiple: int, theta: float
) -> None:
    """First all quanta, then one each ``tau*step/abs(x)``; the same reading again changes nothing."""
    x = multiple * step
    period = tau * step / abs(x)
    beats, sign = 500, int(math.copysign(1, multiple))
    # phi after the jump is what theta leaves of whole quanta: 0. At 1, a jump of n sends n - 1.
    first = abs(multiple) - (theta == 1.0)
    rest = abs(multiple) - first
    # The next beat comes after (theta - rest) periods: at once for theta = 1, at the next float.
    until = t0 + (theta - rest + beats - 0.5) * period
    net = en.Network(tau=tau)
    net.sensor("s", 1, step=step, threshold=theta)
    sim = en.Simulation(net, engine=engine, t0=t0)
    times = t0 + np.arange(200) * (until - t0) / 200 if again else [t0]
    sim.feed("s", en.Recording(times, np.full(len(times), x)))
    when, counts = spikes(sim.run(until=until), "s")
    assert counts == [sign * first] * (first > 0) + [sign] * beats
    beat = np.array(when[first > 0 :])
    if rest:
        assert beat[0] == np.nextafter(t0, np.inf)
    expected = t0 + (theta - rest + np.arange(beats)) * period
    # `next += period` rounds once a beat, and reading the residual off the schedule is exact.
    np.testing.assert_allclose(beat, expected, rtol=0, atol=(beats + 2) * math.ulp(until))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t0", STARTS)
def test_beats_closer_than_two_floats(engine: str, t0: float) -> None:
    """With a period below the resolution of time, each float has one spike and time goes on."""
    ticks, start = 2000, max(t0, 1.0)
    resolution = math.ulp(start)
    net = en.Network(tau=0.25 * resolution)
    net.sensor("s", 1, step=1.0)
    net.layer("h", 1, step=1.0, bias=1.0, activation="identity")
    sim = en.Simulation(net, engine=engine, t0=start)
    sim.feed("s", en.Recording([start], [1.0]))
    run = sim.run(until=start + ticks * resolution)
    floats = (start + np.arange(ticks + 1) * resolution).tolist()
    for population in ("s", "h"):
        assert spikes(run, population) == (floats, [1] * (ticks + 1))


# --- Thresholds that are met exactly ---------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t0", STARTS)
@pytest.mark.parametrize(
    ("new", "at", "after"),
    [
        # A quantum is 1/4. The reading 1 is due at t0 + 1/8, where phi is 1/2 exactly.
        (1.0, [1], None),
        (0.75, [], None),  # a quantum less: -1/2, drifting inward
        (1.25, [2 - 1], 1),  # 3/2: one, and the 1/2 that is left drifts outward
        (0.0, [-3], None),  # -7/2: -3, and the -1/2 that is left stands still
        (-1.0, [-7], -1),  # -15/2: -7, and the -1/2 that is left drifts outward
        (0.5, [-1], None),  # -3/2: -1, and the -1/2 that is left drifts inward
    ],
)
def test_a_reading_at_the_moment_of_a_beat(
    engine: str, t0: float, new: float, at: Sequence[int], after: int | None
) -> None:
    net = en.Network(tau=1.0)
    net.sensor("s", 1, step=0.25)
    sim = en.Simulation(net, engine=engine, t0=t0)
    sim.feed("s", en.Recording([t0, t0 + 0.125], [1.0, new]))
    times, counts = spikes(sim.run(until=t0 + 0.1875), "s")
    due = t0 + 0.125
    assert times == [t0] + [due] * len(at) + [np.nextafter(due, np.inf)] * (after is not None)
    assert counts == [4, *at] + [after] * (after is not None)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t0", STARTS)
def test_a_residual_that_half_a_quantum_leaves_on_the_threshold(engine: str, t0: float) -> None:
    """x = (n + 1/2) steps: n quanta, the last half is due at the next float, then a beat a period."""
    for n in range(6):
        net = en.Network(tau=1.0)
        net.sensor("s", 1, step=1.0)
        sim = en.Simulation(net, engine=engine, t0=t0)
        sim.feed("s", en.Recording([t0], [n + 0.5]))
        period, beats = 1 / (n + 0.5), 40
        times, counts = spikes(sim.run(until=t0 + (beats - 0.5) * period), "s")
        # At n = 0 the half itself stands on the threshold and fires at once.
        assert counts == [n] * (n > 0) + [1] * beats
        assert times[: (n > 0) + 1] == [t0] * (n > 0) + [np.nextafter(t0, np.inf) if n else t0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t0", STARTS)
@pytest.mark.parametrize(
    ("bias", "theta"), [(1.0, 0.5), (-1.0, 0.5), (2.0, 0.75), (-0.5, 1.0), (0.25, 0.5)]
)
def test_drift_to_the_threshold(engine: str, t0: float, bias: float, theta: float) -> None:
    """A fixed bias is a held reading: all times here are whole fractions of 2 and exact."""
    step, beats = 0.25, 400
    net = en.Network(tau=1.0)
    net.layer("h", 1, step=step, bias=bias, activation="identity", threshold=theta)
    sign, size = int(math.copysign(1, bias)), abs(bias) / step
    first = math.ceil(size - theta)
    period = step / abs(bias)
    rest = size - first
    until = t0 + (theta - rest + beats - 0.5) * period
    times, counts = spikes(en_run(net, engine, t0, until), "h")
    assert counts == [sign * first] * (first > 0) + [sign] * beats
    expected = t0 + (theta - rest + np.arange(beats)) * period
    late = math.ulp(until) * (theta == rest)  # one that is due at once comes at the next float
    np.testing.assert_allclose(times[first > 0 :], expected, rtol=0, atol=late * beats)


def en_run(net: en.Network, engine: str, t0: float, until: float) -> en.Run:
    """Run a network that nobody feeds."""
    return en.Simulation(net, engine=engine, t0=t0).run(until=until)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("t0", STARTS)
@pytest.mark.parametrize(
    ("arrival", "at", "after"),
    [
        (0.0, [1], None),  # as if nothing had come
        (-1.0, [], None),  # phi from 1/2 to -1/2, drifting inward
        (1.0, [1], 1),  # 3/2: one, and the rest drifts outward
        (-2.0, [-1], None),  # -3/2: -1, and the rest drifts inward
    ],
)
def test_an_arrival_at_the_moment_of_a_crossing(
    engine: str, t0: float, arrival: float, at: Sequence[int], after: int | None
) -> None:
    net = en.Network(tau=1.0)
    net.sensor("s", 1, step=1.0)
    net.layer("h", 1, step=1.0, bias=0.25, activation="identity")
    net.connect("s", "h", weights=[[arrival]])
    sim = en.Simulation(net, engine=engine, t0=t0)
    sim.feed("s", en.Recording([t0, t0 + 1.0], [0.0, 1.0]))  # 1/4 + t/4 is 1/2 after 1 s
    times, counts = spikes(sim.run(until=t0 + 1.25), "h")
    due = t0 + 1.0
    assert times == [due] * len(at) + [np.nextafter(due, np.inf)] * (after is not None)
    assert counts == list(at) + [after] * (after is not None)

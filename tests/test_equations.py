"""The scalar equations that both engines share (engine/equations.py), against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from eventnet.engine import equations as eq

thetas = st.floats(0.5, 1.0)
finite = st.floats(-1e6, 1e6)
drifts = st.floats(-1e3, 1e3)


@given(finite, thetas, drifts)
def test_quantizer_leaves_a_residual_within_the_threshold(
    phi: float, theta: float, drift: float
) -> None:
    count = eq.quantize(phi, theta, drift)
    assert count == math.trunc(count)
    assert abs(phi - count) <= theta + 1e-9
    if abs(phi) < theta:
        assert count == 0
    if abs(phi) > theta:
        assert count * phi > 0


@pytest.mark.parametrize("theta", [0.5, 0.75, 1.0])
@pytest.mark.parametrize("side", [-1.0, 1.0])
def test_on_the_threshold_only_an_outward_drift_fires(theta: float, side: float) -> None:
    phi = side * theta
    assert eq.quantize(phi, theta, 0.0) == 0
    assert eq.quantize(phi, theta, -side) == 0
    assert eq.quantize(phi, theta, side) == side


@given(finite.filter(lambda t: t >= 0), thetas, drifts, st.floats(-1, 1))
def test_crossing_lies_ahead_and_on_the_threshold(
    t: float, theta: float, drift: float, part: float
) -> None:
    phi = part * theta
    when = eq.crossing(t, phi, theta, drift)
    assert when > t
    if drift == 0:
        assert when == math.inf
    elif when < math.inf and abs(drift) > 1e-3:
        reached = phi + drift * (when - t)
        # One rounding of t and the smallest step ahead, each times the slope.
        assert abs(reached - math.copysign(theta, drift)) <= 4 * math.ulp(when) * abs(drift) + 1e-9


@given(st.floats(0, 100), st.floats(-10, 10), st.floats(-10, 10), st.floats(0.01, 10))
@example(1.0, 1.0, -0.5, 0.1)
@example(1.0, -1.0, 0.5, 0.1)
def test_toggle_is_where_z_crosses_zero(t: float, u: float, bias: float, tau: float) -> None:
    z = bias + u
    when = eq.toggle(t, t, u, bias, tau, z > 0)
    assert when > t
    if abs(bias) > 1e-3:
        assert (when < math.inf) == ((z > 0) == (bias < 0))  # pulled to the other side
    if when < math.inf and abs(bias) > 1e-3:
        assert (
            abs(bias + u * math.exp(-(when - t) / tau))
            <= 1e-9 * max(abs(u), 1) + abs(bias) * 4 * math.ulp(when) / tau
        )


@given(
    st.floats(-10, 10).filter(lambda x: abs(x) > 1e-3),
    st.floats(0.01, 1),
    st.floats(0.01, 1),
    thetas,
    st.floats(0, 0.999),
)
def test_sensor_residual_is_the_inverse_of_its_schedule(
    x: float, tau: float, step: float, theta: float, part: float
) -> None:
    period = eq.sensor_period(x, tau, step)
    assert period == pytest.approx(tau * step / abs(x))
    phi = math.copysign(1, x) * (theta - 1 + part)
    when = eq.sensor_next(3.0, phi, theta, period, x)
    residual = eq.sensor_residual(0.0, when, 3.0, period, theta, x)
    assert residual == pytest.approx(phi, abs=1e-12 + 8 * math.ulp(when) / period)


def test_a_sensor_at_zero_keeps_its_residual() -> None:
    assert eq.sensor_period(0.0, 1.0, 1.0) == math.inf
    assert eq.sensor_next(1.0, 0.3, 0.5, math.inf, 0.0) == math.inf
    assert eq.sensor_residual(0.3, math.inf, 5.0, math.inf, 0.5, 0.0) == 0.3


def test_traces_end_at_zero_instead_of_denormal_numbers() -> None:
    trace, steps = 1.0, 0
    while trace:
        trace = eq.fade(trace, 0.5)
        steps += 1
    assert steps == pytest.approx(-math.log2(eq.TINY), abs=1)
    assert eq.fade(-1e-289, 0.01) == 0


@given(
    st.floats(-5, 5),
    st.floats(0, 1),
    st.floats(-5, 5),
    st.floats(-2, 2),
    st.sampled_from([0.0, 0.1, 1.0]),
)
def test_arrival_encodes_the_jump_of_the_activation(
    u: float, factor: float, arrived: float, bias: float, leak: float
) -> None:
    def h(z: float) -> float:
        return z if z > 0 else leak * z

    slope = eq.slope_of(bias + u * factor, leak)
    after, now, jump = eq.arrive(u, factor, arrived, bias, bias, leak, slope, 4.0)
    assert after == pytest.approx(u * factor + arrived)
    assert now == (1.0 if bias + after > 0 else leak)
    assert jump == pytest.approx((h(bias + after) - h(bias + u * factor)) / 0.25, abs=1e-9)


@given(st.floats(-5, 5), st.floats(0, 1), st.floats(-5, 5), st.sampled_from([0.0, 0.1, 1.0]))
def test_errors_are_multiplied_by_the_slope_of_the_activation(
    g: float, factor: float, arrived: float, leak: float
) -> None:
    for gate in (leak, 1.0):
        for slope in (leak, 1.0):
            after, jump = eq.arrive_error(g, factor, arrived, gate, slope)
            new = slope * (g * factor + arrived)
            old = gate * g * factor
            assert after == pytest.approx(g * factor + arrived)
            assert jump == pytest.approx(new - old, abs=1e-9)


def test_a_unit_is_on_above_zero_and_leaks_below() -> None:
    assert eq.activation(3.0, True, 0.25) == 3.0
    assert eq.activation(-3.0, False, 0.25) == -0.75
    for z, on in ((2.0, True), (0.0, False), (-2.0, False)):
        assert eq.switched_on(z, 0.25) is on
        assert eq.switched_on(z, 1.0)
        assert eq.slope_of(z, 0.25) == (1.0 if on else 0.25)


def test_what_is_due_lies_after_now() -> None:
    assert eq.later(2.0, 3.0) == 3.0
    assert eq.later(2.0, 2.0) == eq.later(2.0, 1.0) == math.nextafter(2.0, 3.0)
    assert eq.threshold_ahead(0.75, 2.0) == 0.75
    assert eq.threshold_ahead(0.75, -2.0) == -0.75


@given(st.floats(-5, 5), st.floats(0.01, 1), st.floats(-5, 5), st.sampled_from([0.0, 0.1, 1.0]))
def test_a_held_trace_arrives_as_one_that_fades(
    u: float, factor: float, arrived: float, leak: float
) -> None:
    held, before, now, jump = eq.arrive_held(u / factor, factor, arrived, leak, 4.0)
    assert before == eq.slope_of(u, leak)
    after, slope, expected = eq.arrive(u, 1.0, arrived, 0.0, 0.0, leak, before, 4.0)
    assert held * factor == pytest.approx(after, abs=1e-9)
    if abs(after) > 1e-9:
        assert now == slope
        assert jump == pytest.approx(expected, abs=1e-9)


def test_a_held_trace_keeps_its_sign_for_ever() -> None:
    assert eq.set_forward(-3.0, 0.5) == -1.5
    assert eq.set_forward(0.0, 0.5) == 0.0
    assert eq.set_forward(-1e-200, 1e-100) == -eq.FAINT
    assert eq.set_forward(1e-200, 1e-100) == eq.FAINT


def test_a_residual_moves_by_the_integral_of_the_signal() -> None:
    """``dphi/dt = (z/tau + dz/dt)*h'/step``, summed in small steps; the rest is rounding of the sum."""
    taus, traces = np.array([0.05, 0.2]), np.array([9.0, 1.0, 9.0, -0.7])  # every other one
    tau, bias, gain, clock, anchor, t = 0.1, 0.3, 2.5, 1.0, 1.1, 1.4
    room = np.zeros(2)
    moved = eq.moved(t, anchor, clock, gain, bias, tau, traces, 1, 2, taus, room)
    s, h = np.linspace(anchor, t, 200_001, retstep=True)
    z = bias + (traces[1::2] * np.exp(-(s[:, None] - clock) / taus)).sum(axis=1)
    area = (z[1:] + z[:-1]).sum() * h / 2
    assert moved == pytest.approx(gain * (area / tau + z[-1] - z[0]), abs=1e-9)
    assert room == pytest.approx(traces[1::2] * np.exp(-0.1 / taus) * (taus / tau - 1))
    slope = (eq.travelled(1e-7, 0.4, room, taus) - eq.travelled(0.0, 0.4, room, taus)) / 1e-7
    assert eq.pace(0.4, room, taus) == pytest.approx(slope, rel=1e-5)
    scaled = np.zeros(2)
    when, side = eq.schedule(t, 0.1, 0.5, gain, bias, tau, room, scaled, taus)
    assert scaled == pytest.approx(gain * room)
    reached = 0.1 + eq.travelled(when - t, gain * bias / tau, scaled, taus)
    assert reached == pytest.approx(side * 0.5, abs=1e-9)


def test_softmax_does_not_overflow() -> None:
    z = np.array([1000.0, 1001.0, 998.0])
    eq.softmax(z)
    assert z == pytest.approx(np.exp([-1.0, 0.0, -3.0]) / np.exp([-1.0, 0.0, -3.0]).sum())


def test_traces_drift_by_the_tolerance_in_the_drift_time() -> None:
    when = eq.drift_time(2.0, 0.5, 0.1, 0.3)
    assert 0.5 - 0.5 * math.exp(-(when - 2.0) / 0.3) == pytest.approx(0.1)
    assert eq.drift_time(2.0, 0.1, 0.1, 0.3) == math.inf
    assert eq.drift_time(2.0, 0.1, 1e-300, 0.3) > 2.0


def test_guard_bounds_the_rate() -> None:
    window = eq.trace_window(0.1, 0.3)
    assert window == pytest.approx(0.075)
    assert eq.strength(window, 100.0, 0.0, 1.0) == pytest.approx(window * 100)
    assert eq.strength(window, 0.0, 100.0, 1.0) == pytest.approx(window * 50)
    assert eq.strength(window, 100.0, 0.0, 0.5) == pytest.approx(window * 25)
    assert eq.strength(window, 0.0, 100.0, 0.5) == pytest.approx(window * 25)
    assert eq.strength(window, -1e-9, 0.0, 1.0) == 0.0
    assert eq.guarded_rate(1.0, 0.0, 0.5) == 1.0
    assert eq.guarded_rate(1.0, 5.0, 0.5) == pytest.approx(0.1)
    assert eq.guarded_rate(1.0, 5.0, np.inf) == 1.0


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.0, 1.0]),
    thetas,
    st.sampled_from([0.0, 1.0, 1e6]),
)
@example(seed=65536, groups=4, fixed=1.0, theta=0.75, t=0.0)  # stands still on its way
def test_first_exit_is_the_first(
    seed: int, groups: int, fixed: float, theta: float, t: float
) -> None:
    """Against a scan of the curve so fine that it shows every crossing that matters."""
    rng = np.random.default_rng(seed)
    taus = rng.choice([0.01, 0.05, 0.1, 0.3, 1.0], groups, replace=False)
    amplitude = rng.normal(0, 2, groups)
    slope = fixed * rng.normal(0, 3)
    value = rng.uniform(-theta, theta)
    when, side = eq.first_exit(t, value, -theta, theta, slope, amplitude, taus)

    s = np.concatenate([np.linspace(0, 0.5, 20_001), np.linspace(0.5, 20, 40_001)[1:]])
    curve = value + slope * s + (amplitude * -np.expm1(-s[:, None] / taus)).sum(axis=1)
    outside = np.abs(curve) > theta + 1e-9
    first = s[np.argmax(outside)] if outside.any() else math.inf
    if when == math.inf:
        assert side == 0
        assert not outside.any()
        return
    assert when > t
    elapsed = when - t
    reached = value + eq.travelled(elapsed, slope, amplitude, taus)
    speed = abs(slope) + (np.abs(amplitude) / taus).sum()
    assert abs(reached - side * theta) <= 8 * math.ulp(when) * speed + 1e-9
    assert elapsed <= first + 4 * math.ulp(when)
    # It really goes out there: just after, the curve stands outside or on the limit's way out.
    after = value + eq.travelled(elapsed * (1 + 1e-9) + 1e-9, slope, amplitude, taus)
    assert side * after >= theta - 8 * math.ulp(when) * speed - 1e-8


def test_a_residual_on_its_threshold_that_moves_inward_is_not_a_crossing() -> None:
    taus, amplitude = np.array([0.1, 0.3]), np.array([-1.0, 0.2])
    when, side = eq.first_exit(2.0, 0.5, -0.5, 0.5, 0.0, amplitude, taus)
    assert (when, side) == (math.inf, 0.0)  # it falls by .8 in all and never comes back to .5
    when, side = eq.first_exit(2.0, 0.5, -0.5, 0.5, 3.0, amplitude, taus)
    assert side == 1.0
    assert when > 2.1  # down first, and then up with the fixed part


@given(st.integers(0, 2**32 - 1), st.integers(2, 4), st.floats(-1, 1))
def test_zero_crossing_of_several_traces(seed: int, groups: int, bias: float) -> None:
    rng = np.random.default_rng(seed)
    taus = rng.choice([0.01, 0.05, 0.1, 0.3, 1.0], groups, replace=False)
    traces = rng.normal(0, 1, groups)
    z = bias + traces.sum()
    room = np.zeros(groups)
    when = eq.zero_crossing(1.0, z, z > 0, bias, 1.0, traces, 0, 1, taus, room)
    s = np.linspace(0, 15, 60_001)
    signal = bias + (traces * np.exp(-s[:, None] / taus)).sum(axis=1)
    crossed = (signal > 1e-9) != (z > 0) if z <= 0 else signal < -1e-9
    first = s[np.argmax(crossed)] if crossed.any() else math.inf
    assert when - 1.0 <= first + 1e-9
    if when < math.inf:
        at = bias + (traces * np.exp(-(when - 1.0) / taus)).sum()
        assert abs(at) < 1e-9

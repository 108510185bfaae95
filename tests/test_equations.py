"""The scalar equations that both engines share (engine/kernels.py), against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventnet.engine import kernels as eq

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
def test_toggle_is_where_z_crosses_zero(t: float, u: float, bias: float, tau: float) -> None:
    z = bias + u
    when = eq.toggle(t, t, u, bias, tau, z > 0)
    assert when > t
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


@given(st.floats(-5, 5), st.floats(0, 1), st.floats(-5, 5), st.floats(-2, 2), st.booleans())
def test_arrival_encodes_the_jump_of_the_activation(
    u: float, factor: float, arrived: float, bias: float, relu: bool
) -> None:
    active = not relu or bias + u * factor > 0
    after, on, jump = eq.arrive(u, factor, arrived, bias, relu, active, 0.25)
    h = (lambda z: max(z, 0.0)) if relu else (lambda z: z)
    assert after == pytest.approx(u * factor + arrived)
    assert on == (not relu or bias + after > 0)
    assert jump == pytest.approx((h(bias + after) - h(bias + u * factor)) / 0.25, abs=1e-9)


def test_guard_bounds_the_rate() -> None:
    window = eq.trace_window(0.1, 0.3)
    assert window == pytest.approx(0.075)
    assert eq.guarded_rate(1.0, window, 0.0, 0.0, 0.5) == 1.0
    assert eq.guarded_rate(1.0, window, 100.0, 0.0, 0.5) == pytest.approx(0.5 / (window * 100))
    assert eq.guarded_rate(1.0, window, 0.0, 100.0, 0.5) == pytest.approx(0.5 / (window * 50))
    assert eq.guarded_rate(1.0, window, -1e-9, 0.0, 0.5) == 1.0
    assert eq.guarded_rate(1.0, window, 100.0, 100.0, np.inf) == 1.0

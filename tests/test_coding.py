"""The operators hold the paper's equations, its Appendix C and its Figure 1."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from eventnet.coding import (
    decode,
    delta,
    encode,
    gains,
    quantize,
    reconstruct,
    round_half_even,
    sigma,
    time_constant,
)
from eventnet.errors import ConfigError

Floats = NDArray[np.float64]
EPS = np.finfo(np.float64).eps

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=40)
# Multiples of 2**-10 below 2**11: every sum of a few thousand is exact in float64, so a property
# that holds for real numbers must hold to the last bit.
DYADIC = hnp.arrays(np.int64, SHAPES, elements=st.integers(-(2**21), 2**21)).map(
    lambda k: k / 2**10
)
SIGNALS = hnp.arrays(np.float64, SHAPES, elements=st.floats(-1e3, 1e3, allow_subnormal=False))
# Round trips divide by kp + kd: 0 is meant, but nothing between it and 1e-3.
GAIN = st.just(0.0) | st.floats(1e-3, 1e3)
POSITIVE = st.floats(1e-6, 1e6)


def lowpass_noise(n: int, cutoff: float, seed: int) -> Floats:
    """Return the paper's test signal: low-pass filtered noise of standard deviation 1.

    Parameters
    ----------
    n : int
    cutoff : float
        Of a second-order Butterworth filter, as a fraction of the Nyquist frequency.
    seed : int
        Of the legacy generator, so that the paper's own signals come out.
    """
    noise = np.random.RandomState(seed).randn(n)
    smooth: Floats = scipy.signal.lfilter(*scipy.signal.butter(2, cutoff), noise)
    smooth /= smooth.std()
    return smooth


# --- Figure 1 ------------------------------------------------------------------------------------

FIGURE_1 = [  # kp, kd, mean |error| to the digits known, number of quanta
    (0, 0, "nan", 0),
    (0, 1, ".262", 12),
    (0, 4, ".0574", 37),
    (0.01, 0, "1.82", 5),
    (0.01, 1, ".243", 10),
    (0.01, 4, ".0648", 40),
    (0.1, 0, "1.60", 52),
    (0.1, 1, ".202", 53),
    (0.1, 4, ".0562", 69),
    (2, 0, ".157", 1031),
    (2, 1, ".0902", 1033),
    (2, 4, ".0420", 1039),
]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("kp", "kd", "error", "quanta"), FIGURE_1)
def test_figure_1_errors_and_spike_counts(kp: float, kd: float, error: str, quanta: int) -> None:
    x = lowpass_noise(550, cutoff=0.005, seed=1234)
    assert np.abs(quantize(encode(x, kp, kd))).sum() == quanta
    measured = np.abs(reconstruct(x, kp, kd) - x).mean()
    digits = len(error.partition(".")[2])
    assert f"{measured:.{digits}f}".lstrip("0") == error


# --- Eqs. 1, 2: differences and sums -------------------------------------------------------------


@given(DYADIC)
def test_sigma_and_delta_are_inverse(x: Floats) -> None:
    assert np.array_equal(sigma(delta(x)), x)
    assert np.array_equal(delta(sigma(x)), x)


def test_delta_of_unsigned_integers_does_not_wrap() -> None:
    assert delta(np.array([200, 10], np.uint8)).tolist() == [200, -190]


# --- Eq. 3 and Appendix C: the quantizer ---------------------------------------------------------


@given(DYADIC)
def test_appendix_c_quantize_is_delta_round_sigma(total: Floats) -> None:
    """Q = delta . round . sigma.

    The proof uses round(a + s) = round(a) + s for whole s, which half-to-even rounding breaks where
    a is exactly a half (see the next test), so no running sum may be one. Nor may a sum be inexact:
    the two sides add in a different order, and one that rounds across a half differs by a spike.
    """
    total = np.where(total % 1 == 0.5, total + 2**-10, total)
    a = delta(total)
    assert np.array_equal(sigma(a), total)
    assert np.array_equal(quantize(a), delta(round_half_even(sigma(a))))


def test_appendix_c_does_not_hold_at_an_exact_half() -> None:
    a = [1.0, 0.5]
    assert quantize(a).tolist() == [1, 0]  # the residual .5 rounds to 0,
    assert delta(round_half_even(sigma(a))).tolist() == [1, 1]  # the sum 1.5 to 2


@given(DYADIC)
def test_what_was_sent_is_never_more_than_half_a_spike_off(a: Floats) -> None:
    assert np.abs(sigma(quantize(a)) - sigma(a)).max() <= 0.5


@given(DYADIC, st.data())
def test_quantizing_in_two_parts_with_the_state_handed_over_is_quantizing_once(
    a: Floats, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(a)))
    first, phi = quantize(a[:cut], return_state=True)
    second, end = quantize(a[cut:], phi, return_state=True)
    whole, whole_end = quantize(a, return_state=True)
    assert np.array_equal(np.concatenate([first, second]), whole)
    assert np.array_equal(end, whole_end)


@given(DYADIC)
def test_units_do_not_touch_each_other(a: Floats) -> None:
    alone = [quantize(column) for column in a.reshape(len(a), -1).T]
    assert np.array_equal(quantize(a).reshape(len(a), -1).T, alone)


@pytest.mark.parametrize(
    ("phi0", "count"), [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (0.51, 1)]
)
def test_quantize_rounds_halves_to_even(phi0: float, count: int) -> None:
    s, phi = quantize([0.0], phi0, return_state=True)
    assert s.tolist() == [count]
    assert phi == phi0 - count


def test_quantize_leaves_its_arguments_alone() -> None:
    a, phi0 = np.full((3, 2), 0.4), np.full(2, 0.3)
    quantize(a, phi0)
    assert np.all(a == 0.4)
    assert np.all(phi0 == 0.3)


# --- Eqs. 4, 5: encoder and decoder --------------------------------------------------------------


@given(SIGNALS, GAIN, GAIN)
def test_decode_undoes_encode(x: Floats, kp: float, kd: float) -> None:
    assume(kp + kd > 0)
    # A tick adds at most 8 roundings of terms no larger than 3*max|x| (kp*x, kd*dx, kd*y), each by
    # eps/2 of it; the decoder passes on no more of an error than it was given.
    bound = len(x) * 8 * EPS / 2 * 3 * np.abs(x).max()
    assert np.abs(decode(encode(x, kp, kd), kp, kd) - x).max() <= bound


@given(SIGNALS, GAIN, GAIN)
def test_encode_is_equation_4(x: Floats, kp: float, kd: float) -> None:
    last = np.zeros(x.shape[1:])
    for now, a in zip(x, encode(x, kp, kd), strict=True):
        assert np.array_equal(a, kp * now + kd * (now - last))
        last = now


def test_decode_is_a_decaying_trace() -> None:
    """One spike decodes to k_beta*k_alpha**t (section 2.2's kernel)."""
    kp, kd = 0.1, 2.0
    trace = decode([1, 0, 0, 0], kp, kd)
    assert trace == pytest.approx((kd / (kp + kd)) ** np.arange(4) / (kp + kd), rel=8 * EPS)


@given(DYADIC, st.integers(-4, 4))
def test_without_kp_the_signal_is_rounded_to_multiples_of_1_over_kd(x: Floats, power: int) -> None:
    """Section 2.3.1; exact for a power of two, away from halves (see Appendix C above)."""
    kd = 2.0**power
    x = np.where((x * kd) % 1 == 0.5, x + 2**-12, x)
    assert np.array_equal(reconstruct(x, 0, kd), np.rint(x * kd) / kd)


@given(SIGNALS, st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_the_reconstruction_is_within_a_bound_of_the_signal(
    x: Floats, kp: float, kd: float
) -> None:
    """|y - x| <= k_beta: the sum of the noise stays within 1/2, its differences within 1.

    The decoder filters the noise d_t = f_t - f_{t-1}, |f| <= 1/2, with kernel k_beta*k_alpha**t. By
    parts this is k_beta*(f_t - (1 - k_alpha)*sum of k_alpha**i * f_{t-1-i}), at most
    k_beta*(1/2 + 1/2).
    """
    # The roundings of the round trip, with the phi of the quantizer: its sums reach |a|.
    slack = len(x) * 16 * EPS * (3 * np.abs(x).max() + 1 / (kp + kd))
    assert np.abs(reconstruct(x, kp, kd) - x).max() <= 1 / (kp + kd) + slack


@pytest.mark.filterwarnings("error")
def test_without_any_gain_nothing_is_sent_and_nothing_known() -> None:
    x = np.ones((4, 2))
    assert not quantize(encode(x, 0, 0)).any()
    assert np.isnan(reconstruct(x, 0, 0)).all()


# --- The two parametrizations --------------------------------------------------------------------


@given(POSITIVE, POSITIVE, POSITIVE)
def test_gains_and_time_constant_are_inverse(tau: float, step: float, dt: float) -> None:
    assume(dt / tau < 700)  # beyond, exp(-dt/tau) leaves the normal numbers
    kp, kd = gains(tau, step, dt)
    assert kd / (kp + kd) == pytest.approx(math.exp(-dt / tau), rel=8 * EPS)
    back = time_constant(kp, kd, dt)
    # Where kp/kd is large its logarithm is; where it is small log1p passes the relative error on.
    assert back == pytest.approx((tau, step), rel=16 * EPS)


def test_time_constant_at_the_limits() -> None:
    assert time_constant(0, 4, 0.1) == (math.inf, 0.25)
    assert time_constant(4, 0, 0.1) == (0, 0.25)


# --- Errors name the value, the constraint and the remedy ----------------------------------------


@pytest.mark.parametrize("name", ["tau", "step", "dt"])
@pytest.mark.parametrize("value", [0.0, -0.1, math.inf, math.nan])
def test_gains_refuses_what_is_not_positive(name: str, value: float) -> None:
    arguments = {"tau": 0.1, "step": 0.5, "dt": 0.01, name: value}
    with pytest.raises(ConfigError, match=f"{name}={value}.*must be positive and finite"):
        gains(**arguments)


@pytest.mark.parametrize("name", ["kp", "kd"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_gain_must_not_be_negative(name: str, value: float) -> None:
    arguments = {"kp": 1.0, "kd": 1.0, name: value}
    for call in (
        lambda: encode([1.0], **arguments),
        lambda: decode([1.0], **arguments),
        lambda: time_constant(**arguments, dt=0.1),
    ):
        with pytest.raises(ConfigError, match=f"{name}={value} .*must be >= 0 and finite"):
            call()


def test_time_constant_refuses_a_coder_that_sends_nothing() -> None:
    with pytest.raises(ConfigError, match="one must be positive"):
        time_constant(0, 0, 0.1)
    with pytest.raises(ConfigError, match="dt=0"):
        time_constant(1, 1, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -(2.0**31)])
def test_a_value_that_no_count_can_hold_is_refused_with_its_place(value: float) -> None:
    for operator in (quantize, round_half_even):
        with pytest.raises(ConfigError, match=r"at \(1, 0\): must be finite and below 2\*\*31"):
            operator([[0.0], [value]])


def test_signals_of_no_use_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"of shape \(\): axis 0 must be time"):
        delta(1.0)
    with pytest.raises(ConfigError, match="complex128: must be real"):
        sigma([1j])
    with pytest.raises(ConfigError, match=r"phi0 of shape \(3,\).*must broadcast to \(2,\)"):
        quantize(np.zeros((4, 2)), np.zeros(3))

"""The operators of O'Connor et al. (2018, Eqs. 1 to 6) on whole signals: encode, quantize, decode.

A signal is an array whose axis 0 is time, one row a tick; the trailing axes are units that do not
touch each other. Every operator starts from the paper's initial state, which is 0.

::

    x --encode--> a --quantize--> s --decode--> y
      (Eq. 4)       (Eq. 3)         (Eq. 5)

An encoder and its decoder share two gains, in spikes per unit of signal: ``kp`` sends the value,
``kd`` its change. Together they say the same as a time constant and a step (`gains`,
`time_constant`).
"""

from __future__ import annotations

import math
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.errors import ConfigError
from eventnet.network import positive

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COUNT_LIMIT = 2**31  # a raster's bound on a spike count; far inside what float64 holds exactly


def gains(tau: float, step: float, dt: float) -> tuple[float, float]:
    """Return the gains of the coder with a time constant and a step, on ticks of length dt.

    ``kp = (1 - k_alpha)/step`` and ``kd = k_alpha/step`` with ``k_alpha = exp(-dt/tau)`` (the
    paper's Appendix D, where the step is k_beta).

    Parameters
    ----------
    tau : float
        Time constant, s.
    step : float
        Signal that one spike stands for.
    dt : float
        Length of a tick, s.

    Returns
    -------
    kp, kd : float
        Spikes per unit of signal.

    Raises
    ------
    ConfigError
        If an argument is not positive and finite.

    Examples
    --------
    >>> kp, kd = gains(tau=0.1, step=0.5, dt=0.01)
    >>> round(kp, 4), round(kd, 4)
    (0.1903, 1.8097)
    """
    tau = positive(tau, "tau", "the coder", " s")
    step = positive(step, "step", "the coder")
    dt = positive(dt, "dt", "the coder", " s")
    # expm1 keeps kp's digits where dt is far below tau.
    return -math.expm1(-dt / tau) / step, math.exp(-dt / tau) / step


def time_constant(kp: float, kd: float, dt: float) -> tuple[float, float]:
    """Return the time constant and the step of a coder with given gains: the inverse of `gains`.

    ``kd/(kp + kd) = exp(-dt/tau)`` and ``step = 1/(kp + kd)`` (the paper's Appendix D).

    Parameters
    ----------
    kp, kd : float
        Spikes per unit of signal; not both 0.
    dt : float
        Length of a tick, s.

    Returns
    -------
    tau : float
        Seconds; infinite for kp = 0, which never forgets, and 0 for kd = 0, which has no memory.
    step : float
        Signal that one spike stands for.

    Raises
    ------
    ConfigError
        If dt is not positive and finite, a gain is negative or not finite, or both are 0.

    Examples
    --------
    >>> tau, step = time_constant(kp=0.1, kd=1.0, dt=0.01)
    >>> round(tau, 4), round(step, 4)
    (0.1049, 0.9091)
    """
    kp, kd = _checked(kp, kd)
    dt = positive(dt, "dt", "the coder", " s")
    if kp + kd == 0:
        raise ConfigError("kp=0, kd=0 on the coder: one must be positive, or nothing is sent")
    if kp == 0 or kd == 0:
        return (math.inf if kp == 0 else 0.0), 1 / (kp + kd)
    return dt / math.log1p(kp / kd), 1 / (kp + kd)


def delta(x: ArrayLike) -> NDArray[Any]:
    """Return the change of a signal from tick to tick, the first from 0 (Eq. 1).

    Parameters
    ----------
    x : array_like, shape (n, ...)

    Returns
    -------
    ndarray, shape (n, ...)
        float64, or int64 for integers.

    Raises
    ------
    ConfigError
        If `x` has no time axis or is not real.

    Examples
    --------
    >>> delta([3, 5, 4])
    array([ 3,  2, -1])
    """
    return np.diff(_signal(x), axis=0, prepend=0)


def sigma(x: ArrayLike) -> NDArray[Any]:
    """Return the running sum of a signal (Eq. 2): the inverse of `delta`.

    Parameters
    ----------
    x : array_like, shape (n, ...)

    Returns
    -------
    ndarray, shape (n, ...)
        float64, or int64 for integers.

    Raises
    ------
    ConfigError
        If `x` has no time axis or is not real.

    Examples
    --------
    >>> sigma([3, 2, -1])
    array([3, 5, 4])
    """
    return np.cumsum(_signal(x), axis=0)


def round_half_even(x: ArrayLike) -> Ints:
    """Return a signal rounded to whole numbers, halves to the even one (Eq. 6).

    Parameters
    ----------
    x : array_like, shape (n, ...)

    Returns
    -------
    ndarray of int64, shape (n, ...)

    Raises
    ------
    ConfigError
        If `x` has no time axis, is not real, or a value is not finite or reaches 2**31.

    Examples
    --------
    >>> round_half_even([0.5, 1.5, -2.5, 0.6])
    array([ 0,  2, -2,  1])
    """
    return np.rint(_countable(x)).astype(np.int64)


@overload
def quantize(a: ArrayLike, phi0: ArrayLike = ..., return_state: Literal[False] = ...) -> Ints: ...
@overload
def quantize(
    a: ArrayLike, phi0: ArrayLike = ..., *, return_state: Literal[True]
) -> tuple[Ints, Floats]: ...
@overload
def quantize(a: ArrayLike, phi0: ArrayLike, return_state: Literal[True]) -> tuple[Ints, Floats]: ...
def quantize(
    a: ArrayLike, phi0: ArrayLike = 0.0, return_state: bool = False
) -> Ints | tuple[Ints, Floats]:
    """Turn a signal into signed spike counts by sigma-delta modulation (Eq. 3).

    On each tick ``p = phi + a``, ``s = round(p)``, ``phi = p - s``, halves to the even number.

    Parameters
    ----------
    a : array_like, shape (n, ...)
        In spikes.
    phi0 : array_like, broadcastable to a.shape[1:]
        Residual before the first tick, in spikes.
    return_state : bool
        Whether to return the residual after the last tick too: `phi0` of the ticks that follow.

    Returns
    -------
    s : ndarray of int64, shape (n, ...)
    phi : ndarray of float64, shape a.shape[1:]
        Only with `return_state`.

    Raises
    ------
    ConfigError
        If `a` has no time axis, is not real, or a value is not finite or reaches 2**31; if `phi0`
        does so or does not broadcast.

    Examples
    --------
    >>> quantize([0.4, 0.4, 0.4, -1.2])
    array([ 0,  1,  0, -1])
    """
    a = _countable(a)
    phi0 = _countable(phi0, "phi0", axes=0)
    try:
        phi = np.broadcast_to(phi0, a.shape[1:]).copy()
    except ValueError:
        raise ConfigError(
            f"phi0 of shape {phi0.shape} for a of shape {a.shape}: must broadcast to {a.shape[1:]}"
        ) from None
    s = np.empty(a.shape)
    for t in range(len(a)):
        phi += a[t]
        s[t] = np.rint(phi)
        phi -= s[t]
    counts = s.astype(np.int64)
    return (counts, phi) if return_state else counts


def encode(x: ArrayLike, kp: float, kd: float) -> Floats:
    """Mix a signal with its change: ``a_t = kp*x_t + kd*(x_t - x_{t-1})`` (Eq. 4).

    Parameters
    ----------
    x : array_like, shape (n, ...)
    kp, kd : float
        Spikes per unit of signal.

    Returns
    -------
    ndarray of float64, shape (n, ...)
        In spikes.

    Raises
    ------
    ConfigError
        If `x` has no time axis or is not real, or a gain is negative or not finite.

    Examples
    --------
    >>> encode([1.0, 1.0, 3.0], kp=0.5, kd=2.0)
    array([2.5, 0.5, 5.5])
    """
    kp, kd = _checked(kp, kd)
    x = _signal(x)
    mixed: Floats = kp * x + kd * delta(x)
    return mixed


def decode(s: ArrayLike, kp: float, kd: float) -> Floats:
    """Undo `encode`: ``y_t = (s_t + kd*y_{t-1})/(kp + kd)`` (Eq. 5).

    That is a trace which decays by ``k_alpha = kd/(kp + kd)`` a tick.

    Parameters
    ----------
    s : array_like, shape (n, ...)
        In spikes.
    kp, kd : float
        Spikes per unit of signal. Where both are 0 nothing was sent, so the result is all nan.

    Returns
    -------
    ndarray of float64, shape (n, ...)

    Raises
    ------
    ConfigError
        If `s` has no time axis or is not real, or a gain is negative or not finite.

    Examples
    --------
    >>> decode([2.5, 0.5, 5.5], kp=0.5, kd=2.0)
    array([1., 1., 3.])
    """
    kp, kd = _checked(kp, kd)
    s = _signal(s)
    if kp + kd == 0:
        return np.full(s.shape, np.nan)
    decoded = np.empty(s.shape)
    y = np.zeros(s.shape[1:])
    for t in range(len(s)):
        y = (s[t] + kd * y) / (kp + kd)
        decoded[t] = y
    return decoded


def reconstruct(x: ArrayLike, kp: float, kd: float) -> Floats:
    """Return what a receiver makes of a signal: encode, quantize, decode (section 2.3.1).

    Parameters
    ----------
    x : array_like, shape (n, ...)
    kp, kd : float
        Spikes per unit of signal.

    Returns
    -------
    ndarray of float64, shape (n, ...)

    Raises
    ------
    ConfigError
        As `encode` and `quantize`.

    Examples
    --------
    Without a proportional part the signal is rounded to multiples of 1/kd:

    >>> reconstruct([0.3, 0.6, 0.9], kp=0.0, kd=2.0)
    array([0.5, 0.5, 1. ])
    """
    return decode(quantize(encode(x, kp, kd)), kp, kd)


def _checked(kp: float, kd: float) -> tuple[float, float]:
    for name, value in (("kp", kp), ("kd", kd)):
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name}={value} on the coder: must be >= 0 and finite")
    return float(kp), float(kd)


def _signal(x: ArrayLike, name: str = "the signal", axes: int = 1) -> NDArray[Any]:
    """Return `x` as float64, or as int64 so that differences of unsigned integers do not wrap."""
    signal = np.asarray(x)
    if signal.dtype.kind not in "biuf":
        raise ConfigError(f"{name} of type {signal.dtype}: must be real numbers")
    if signal.ndim < axes:
        raise ConfigError(f"{name} of shape {signal.shape}: axis 0 must be time")
    return signal.astype(np.float64 if signal.dtype.kind == "f" else np.int64)


def _countable(x: ArrayLike, name: str = "the signal", axes: int = 1) -> Floats:
    values = _signal(x, name, axes).astype(np.float64)
    bad = np.argwhere(~(np.abs(values) < COUNT_LIMIT))
    if len(bad):
        place = tuple(int(k) for k in bad[0])
        raise ConfigError(
            f"{name} is {values[place]} at {place}: must be finite and below 2**31 spikes; "
            "scale it down or enlarge the step"
        )
    return values

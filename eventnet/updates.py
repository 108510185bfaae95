"""The four weight updates of O'Connor et al. (2018) on whole spike trains, with their sums equal.

Each function takes the quantized input ``s`` and the quantized error ``s_e`` of one layer and
returns the gradient that its rule adds at each tick; the weights move by minus the learning rate
times that.

================  ==============================================================================
`reconstruction`  section 2.6: the product of the two reconstructions, at each tick
`past`            Eq. 19: where a spike arrives, the area under that product since the last one
`future`          Eq. 20: where a spike arrives, all the area that is still to come because of it
`stdp`            Eq. 13: each pair of spikes, when the error spike arrives
================  ==============================================================================

They add at different times and come to the same sum. Three of the printed equations do not; they
are corrected here, and each function says how:

* Eq. 13 lacks a factor ``k_beta/(1 - k_alpha^2)``;
* Eq. 19 keeps the product *before* the spike, ``u <- v``, where it must be the one after it;
* Eq. 20 divides by ``k_alpha - 1`` where it must multiply by ``k_beta/(1 - k_alpha^2)``.

The two signals may have coders of their own. Then ``k_alpha^2`` is the product of the two
k_alpha, and ``k_beta^2`` of the two k_beta. These functions return every tick of every synapse:
they are for study and for tests. The engines do the same work only where spikes are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from eventnet.coding import Floats, decode, time_constant
from eventnet.errors import ConfigError


def reconstruction(
    s: ArrayLike,
    s_e: ArrayLike,
    kp: float,
    kd: float,
    *,
    error_kp: float | None = None,
    error_kd: float | None = None,
) -> Floats:
    """Return the product of the two reconstructions at each tick (section 2.6).

    Parameters
    ----------
    s : array_like, shape (n,) or (n, n_in)
        Quantized input, in spikes; axis 0 is time, one row a tick.
    s_e : array_like, shape (n,) or (n, n_out)
        Quantized error, in spikes.
    kp, kd : float
        Gains of the coder, in spikes per unit of signal.
    error_kp, error_kd : float, optional
        Gains of the error's coder. Default: the same.

    Returns
    -------
    ndarray of float64, shape (n,) for two trains, else (n, n_in, n_out)
        In units of the input times units of the error.

    Raises
    ------
    ConfigError
        If the trains are not real or not equally long, or the gains make no coder.

    Examples
    --------
    >>> reconstruction([1, 0, 0], [0, 1, 0], kp=0.5, kd=0.5)
    array([0.   , 0.5  , 0.125])
    """
    p = _paired(s, s_e, kp, kd, error_kp, error_kd)
    x_hat = decode(p.s, p.kp, p.kd)
    e_hat = decode(p.s_e, p.error_kp, p.error_kd)
    return p.shaped(x_hat[:, :, np.newaxis] * e_hat[:, np.newaxis, :])


def past(
    s: ArrayLike,
    s_e: ArrayLike,
    kp: float,
    kd: float,
    *,
    error_kp: float | None = None,
    error_kd: float | None = None,
    flush: bool = False,
) -> Floats:
    """Return the past updates (Eq. 19, corrected): at a spike, the area since the last spike.

    Between spikes the product of the reconstructions decays by ``r = k_alpha^2`` a tick, so from
    its value ``u`` just after the last spike to its value ``v`` now it has swept the area
    ``(u - v)/(1 - r)``. As printed, the equation keeps ``u <- v``, the product *before* the spike:
    what the spike adds to it is lost. Here ``u`` is the product after the spike.

    Parameters
    ----------
    s, s_e, kp, kd, error_kp, error_kd
        As in `reconstruction`.
    flush : bool
        Whether to add, on the last tick, the area since the last spike that is still open.

    Returns
    -------
    ndarray of float64, shape (n,) for two trains, else (n, n_in, n_out)
        With `flush`, the sum over time equals that of `reconstruction` whatever the trains.

    Raises
    ------
    ConfigError
        As `reconstruction`, and if neither signal decays: kp is 0 for both.

    Examples
    --------
    >>> past([1, 0, 0], [0, 1, 0], kp=0.5, kd=0.5)
    array([0., 0., 0.])
    >>> past([1, 0, 0], [0, 1, 0], kp=0.5, kd=0.5, flush=True)
    array([0.   , 0.   , 0.625])
    """
    p = _paired(s, s_e, kp, kd, error_kp, error_kd)
    r = p.product_decay()
    added = np.zeros(p.shape)
    product = np.zeros(p.shape[1:])
    u = np.zeros(p.shape[1:])
    x_hat = decode(p.s, p.kp, p.kd)
    e_hat = decode(p.s_e, p.error_kp, p.error_kd)
    for t in range(len(added)):
        touched = (p.s[t] != 0)[:, np.newaxis] | (p.s_e[t] != 0)
        v = r * product
        added[t] = np.where(touched, (u - v) / (1 - r), 0.0)
        product = np.multiply.outer(x_hat[t], e_hat[t])
        u = np.where(touched, product, u)
    if flush and len(added):
        added[-1] += (u - r * product) / (1 - r)
    return p.shaped(added)


def future(
    s: ArrayLike,
    s_e: ArrayLike,
    kp: float,
    kd: float,
    *,
    error_kp: float | None = None,
    error_kd: float | None = None,
) -> Floats:
    """Return the future updates (Eq. 20, corrected): at a spike, all the area that it will add.

    With traces X and E that count spikes, decaying by k_alpha a tick, a spike adds
    ``(s (x) E + k_alpha*X (x) s_e) * k_beta^2/(1 - k_alpha^2)``, E with this tick's spikes and X
    without, so that a coincidence counts once. As printed, with traces in units of the signal, the
    equation divides by ``k_alpha - 1``; it must multiply by ``k_beta/(1 - k_alpha^2)``.

    Parameters
    ----------
    s, s_e, kp, kd, error_kp, error_kd
        As in `reconstruction`.

    Returns
    -------
    ndarray of float64, shape (n,) for two trains, else (n, n_in, n_out)
        The sum over time equals that of `reconstruction` over the same spikes and endless silence.

    Raises
    ------
    ConfigError
        As `reconstruction`, and if neither signal decays: kp is 0 for both.

    Examples
    --------
    >>> future([1, 0, 0], [0, 1, 0], kp=0.5, kd=0.5)
    array([0.        , 0.66666667, 0.        ])
    """
    p = _paired(s, s_e, kp, kd, error_kp, error_kd)
    before = _shifted(decode(p.s, p.kp, p.kd)) * p.kd / (p.kp + p.kd)
    e_hat = decode(p.s_e, p.error_kp, p.error_kd)
    added = p.s[:, :, np.newaxis] / (p.kp + p.kd) * e_hat[:, np.newaxis, :]
    added += before[:, :, np.newaxis] * p.s_e[:, np.newaxis, :] / (p.error_kp + p.error_kd)
    return p.shaped(added / (1 - p.product_decay()))


def stdp(
    s: ArrayLike,
    s_e: ArrayLike,
    kp: float,
    kd: float,
    *,
    error_kp: float | None = None,
    error_kd: float | None = None,
) -> Floats:
    """Return the updates by pairs of spikes (Eq. 13, corrected), booked at the error's spike.

    ``dw_t = sum_tau s_{t-tau} g_tau (x) s_e,t`` with the kernel g of `stdp_kernel`. The rule is not
    causal: an error spike is paired with the input spikes that come after it as well.

    Parameters
    ----------
    s, s_e, kp, kd, error_kp, error_kd
        As in `reconstruction`.

    Returns
    -------
    ndarray of float64, shape (n,) for two trains, else (n, n_in, n_out)
        The sum over time equals that of `future`.

    Raises
    ------
    ConfigError
        As `reconstruction`, and if neither signal decays: kp is 0 for both.

    Examples
    --------
    >>> stdp([1, 0, 0], [0, 1, 0], kp=0.5, kd=0.5)
    array([0.        , 0.66666667, 0.        ])
    >>> stdp([0, 1, 0], [1, 0, 0], kp=0.5, kd=0.5)
    array([0.66666667, 0.        , 0.        ])
    """
    p = _paired(s, s_e, kp, kd, error_kp, error_kd)
    earlier = decode(p.s, p.kp, p.kd) / (p.error_kp + p.error_kd)
    # An input spike after the error's decays as the error's reconstruction does meanwhile.
    later = _shifted(decode(p.s[::-1], p.error_kp, p.error_kd))[::-1]
    later = later * p.error_kd / (p.error_kp + p.error_kd) / (p.kp + p.kd)
    pairs = (earlier + later)[:, :, np.newaxis] * p.s_e[:, np.newaxis, :]
    return p.shaped(pairs / (1 - p.product_decay()))


def stdp_kernel(
    lag: ArrayLike,
    kp: float,
    kd: float,
    *,
    error_kp: float | None = None,
    error_kd: float | None = None,
) -> Floats:
    """Return what one pair of spikes adds to the gradient (the kernel g of Eq. 13, corrected).

    ``g = k_beta^2/(1 - k_alpha^2) * k_alpha^|lag|``. As printed, a factor ``k_beta/(1 - k_alpha^2)``
    is missing: with it, g is the area under the product of the reconstructions of the two spikes.

    Parameters
    ----------
    lag : array_like of int
        Time of the error's spike minus that of the input's, in ticks.
    kp, kd, error_kp, error_kd
        As in `reconstruction`. With unequal coders the two sides decay differently.

    Returns
    -------
    ndarray of float64, in the shape of `lag`

    Raises
    ------
    ConfigError
        If the gains make no coder, or kp is 0 for both.

    Examples
    --------
    >>> stdp_kernel([-1, 0, 1], kp=0.5, kd=0.5)
    array([0.66666667, 1.33333333, 0.66666667])
    """
    p = _paired([0], [0], kp, kd, error_kp, error_kd)
    lag = np.asarray(lag)
    k_alpha = np.where(lag < 0, p.error_kd / (p.error_kp + p.error_kd), p.kd / (p.kp + p.kd))
    g: Floats = k_alpha ** np.abs(lag)
    return g / ((p.kp + p.kd) * (p.error_kp + p.error_kd) * (1 - p.product_decay()))


class _Pair(NamedTuple):
    """Two trains as (n, n_in) and (n, n_out), and the gains of their coders."""

    s: Floats
    s_e: Floats
    kp: float
    kd: float
    error_kp: float
    error_kd: float
    single: bool

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.s), self.s.shape[1], self.s_e.shape[1]

    def product_decay(self) -> float:
        """Return k_alpha*k_alpha', by which the product of the reconstructions decays a tick."""
        if self.kp == 0 and self.error_kp == 0:
            raise ConfigError(
                "kp=0 on both coders: one must be positive, or the area under the product of two "
                "signals that never decay is infinite; `reconstruction` needs no area"
            )
        return self.kd / (self.kp + self.kd) * self.error_kd / (self.error_kp + self.error_kd)

    def shaped(self, updates: Floats) -> Floats:
        return updates[:, 0, 0] if self.single else updates


def _paired(
    s: ArrayLike,
    s_e: ArrayLike,
    kp: float,
    kd: float,
    error_kp: float | None,
    error_kd: float | None,
) -> _Pair:
    error_kp = kp if error_kp is None else error_kp
    error_kd = kd if error_kd is None else error_kd
    for gains in ((kp, kd), (error_kp, error_kd)):
        time_constant(*gains, dt=1.0)  # refuses gains that make no coder
    trains = [_train(s, "s"), _train(s_e, "s_e")]
    if len(trains[0]) != len(trains[1]):
        raise ConfigError(
            f"s of {len(trains[0])} ticks, s_e of {len(trains[1])}: must be equally long"
        )
    single = all(train.ndim == 1 for train in trains)
    x, e = (train.reshape(len(train), 1) if train.ndim == 1 else train for train in trains)
    return _Pair(x, e, kp, kd, error_kp, error_kd, single)


def _train(spikes: ArrayLike, name: str) -> Floats:
    train: NDArray[np.generic] = np.asarray(spikes)
    if train.dtype.kind not in "biuf" or train.ndim not in (1, 2):
        raise ConfigError(
            f"{name} of type {train.dtype} and shape {train.shape}: "
            "must be real numbers of shape (n,) or (n, units)"
        )
    return train.astype(np.float64)


def _shifted(trace: Floats) -> Floats:
    """Return each tick's predecessor, 0 before the first."""
    before = np.zeros_like(trace)
    before[1:] = trace[:-1]
    return before

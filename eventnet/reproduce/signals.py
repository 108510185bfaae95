"""The random signals of the paper's figures."""

from __future__ import annotations

import numpy as np

from eventnet.coding import Floats
from eventnet.errors import ConfigError


def lowpass(n: int, cutoff: float, rng: np.random.RandomState) -> Floats:
    """Return white noise through a second-order Butterworth low-pass, scaled to a deviation of 1.

    The paper's figures come from the legacy generator, so its seeds mean `RandomState`.

    Parameters
    ----------
    n : int
        Ticks.
    cutoff : float
        Frequency at which half the power is left, as a fraction of half the sampling rate.
    rng : RandomState
        Advanced by n normal numbers.

    Returns
    -------
    ndarray of float64, shape (n,)

    Raises
    ------
    ConfigError
        If scipy is missing.

    Examples
    --------
    >>> x = lowpass(550, 0.005, np.random.RandomState(1234))
    >>> round(float(x.std()), 9), round(float(np.abs(np.diff(x)).max()), 2)
    (1.0, 0.06)
    """
    try:
        from scipy.signal import butter, lfilter
    except ImportError as error:
        raise ConfigError(
            'the figures\' signals need scipy: pip install "eventnet[reproduce]"'
        ) from error
    x: Floats = lfilter(*butter(2, cutoff), rng.randn(n))
    x /= x.std()
    return x


def band_limited(
    times: Floats, components: int, top: float, rng: np.random.Generator, sines: int = 12
) -> Floats:
    """Return sums of sines of random frequencies up to `top`, of deviation 1, at any times.

    Parameters
    ----------
    times : ndarray, shape (n,)
        s. The signal at a time does not depend on the others.
    components : int
    top : float
        Highest frequency, Hz; the lowest is a tenth of it.
    rng : Generator
    sines : int
        In each component.

    Returns
    -------
    ndarray of float64, shape (n, components)

    Examples
    --------
    >>> slow, fast = (
    ...     band_limited(np.arange(0, 9, dt), 2, 0.5, np.random.default_rng(0)) for dt in (0.5, 0.125)
    ... )
    >>> bool((slow == fast[::4]).all()), bool(abs(np.diff(fast, axis=0)).max() < 0.125 * 2 * np.pi * 2)
    (True, True)
    """
    f = rng.uniform(top / 10, top, (sines, components))
    phase = rng.uniform(0, 2 * np.pi, (sines, components))
    x: Floats = np.zeros((len(times), components))
    for k in range(sines):
        x += np.sin(2 * np.pi * np.outer(times, f[k]) + phase[k])
    x *= np.sqrt(2 / sines)
    return x

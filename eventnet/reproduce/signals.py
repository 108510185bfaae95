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

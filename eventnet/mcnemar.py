"""Is one classifier better than another? Both saw the same test items, so the comparison is paired.

Only items that one of them gets right and the other wrong tell anything. With b and c of these on
either side, McNemar's exact test asks how likely a split at least as uneven is among b + c tosses of
a coin (McNemar 1947, Psychometrika 12:153). The interval of the difference of the shares is method
10 of Newcombe (1998, Stat. Med. 17:2635): Wilson's intervals of both shares, joined with their
correlation.

Test and interval rest on different approximations: at the border one may exclude 0 and the other not.
Both say what another test set of the same kind may give, not what another seed of training may.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from eventnet.errors import ConfigError, DataError


@dataclass(frozen=True)
class Comparison:
    """Two classifiers on the same items; see `compare`.

    Attributes
    ----------
    both, only_first, only_second, neither : int
        Items that both get right, that one alone does, that none does.
    difference : float
        Share that the first gets right minus that of the second.
    low, high : float
        Interval of the difference.
    level : float
        Confidence that the interval holds the difference.
    p_value : float
        McNemar's exact test, two-sided: of the difference being 0.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    difference: float
    low: float
    high: float
    level: float
    p_value: float

    @property
    def items(self) -> int:
        """Number of test items."""
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> float:
        """Share of the items that the first gets right."""
        return (self.both + self.only_first) / self.items

    @property
    def second(self) -> float:
        """Share of the items that the second gets right."""
        return (self.both + self.only_second) / self.items


def compare(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, level: float = 0.95
) -> Comparison:
    """Compare what two classifiers say of the same items.

    Parameters
    ----------
    labels, first, second : array_like, shape (n,)
        What is true, and what each classifier says.
    level : float
        Confidence of the interval.

    Raises
    ------
    DataError
        If lengths differ or there are no items.
    ConfigError
        If the level is not between 0 and 1.

    Examples
    --------
    >>> found = compare([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 0], [1, 2, 0, 0, 0, 6])
    >>> found.only_first, found.only_second, found.p_value
    (3, 1, 0.625)
    """
    true, one, other = (np.asarray(a) for a in (labels, first, second))
    for name, said in (("first", one), ("second", other)):
        if said.shape != true.shape or true.ndim != 1:
            raise DataError(
                f"{name} of shape {said.shape} for labels of shape {true.shape}: both must be (n,)"
            )
    a, b = one == true, other == true
    return from_counts(
        both=int((a & b).sum()),
        only_first=int((a & ~b).sum()),
        only_second=int((~a & b).sum()),
        neither=int((~a & ~b).sum()),
        level=level,
    )


def from_counts(
    *, both: int, only_first: int, only_second: int, neither: int, level: float = 0.95
) -> Comparison:
    """Compare two classifiers of which it is known how many items they get right together.

    Parameters
    ----------
    both, only_first, only_second, neither : int
        Items that both get right, that one alone does, that none does.
    level : float
        Confidence of the interval.

    Raises
    ------
    DataError
        If a count is negative or all are 0.
    ConfigError
        If the level is not between 0 and 1.

    Examples
    --------
    Of 10,000 images one network gets 9,834 right, another 9,810; 120 only the first, 96 the second:

    >>> found = from_counts(both=9714, only_first=120, only_second=96, neither=70)
    >>> f"{found.difference:.4f} ({found.low:.4f} to {found.high:.4f}), p = {found.p_value:.2f}"
    '0.0024 (-0.0005 to 0.0053), p = 0.12'
    """
    counts = (both, only_first, only_second, neither)
    if min(counts) < 0 or not any(counts):
        raise DataError(f"counts {counts} of items: must be >= 0, and not all 0")
    if not 0 < level < 1:
        raise ConfigError(f"level={level} of an interval: must be between 0 and 1")
    low, high = _newcombe(*counts, level)
    return Comparison(
        *counts,
        difference=(only_first - only_second) / sum(counts),
        low=low,
        high=high,
        level=level,
        p_value=_mcnemar(only_first, only_second),
    )


def _mcnemar(b: int, c: int) -> float:
    """Return the exact two-sided p, in whole numbers until the last division."""
    n = b + c
    tail = term = 1
    for i in range(min(b, c)):
        term = term * (n - i) // (i + 1)
        tail += term
    return float(min(Fraction(2 * tail, 2**n), Fraction(1)))


def _newcombe(
    both: int, only_first: int, only_second: int, neither: int, level: float
) -> tuple[float, float]:
    n = both + only_first + only_second + neither
    z = NormalDist().inv_cdf((1 + level) / 2)
    one, other = both + only_first, both + only_second
    one_low, one_high = _wilson(one, n, z)
    other_low, other_high = _wilson(other, n, z)
    # Concordance beyond chance is held back by n/2, which keeps the interval from being too short.
    excess = float(both * neither - only_first * only_second)
    if excess > 0:
        excess = max(excess - n / 2, 0.0)
    margins = math.sqrt(one * (n - one) * other * (n - other))
    phi = excess / margins if margins else 0.0
    p, q = one / n, other / n
    down = _joined(p - one_low, other_high - q, phi)
    up = _joined(one_high - p, q - other_low, phi)
    return p - q - down, p - q + up


def _joined(a: float, b: float, phi: float) -> float:
    return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))


def _wilson(k: int, n: int, z: float) -> tuple[float, float]:
    """Return the bounds of Wilson's score interval of the share k/n."""
    middle = k + z * z / 2
    half = z * math.sqrt(k * (n - k) / n + z * z / 4)
    return (middle - half) / (n + z * z), (middle + half) / (n + z * z)

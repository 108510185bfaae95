"""The paired comparison of two classifiers, against SciPy, published examples and exact coverage."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from eventnet.errors import ConfigError, DataError
from eventnet.mcnemar import Comparison, _wilson, compare, from_counts

Counts = tuple[int, int, int, int]

counts = st.tuples(*[st.integers(0, 3000)] * 4).filter(any)


def of(table: Counts, level: float = 0.95) -> Comparison:
    both, only_first, only_second, neither = table
    return from_counts(
        both=both, only_first=only_first, only_second=only_second, neither=neither, level=level
    )


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_the_binomial_test_of_the_items_that_differ(b: int, c: int) -> None:
    found = of((1, b, c, 0)).p_value
    expected = binomtest(b, b + c).pvalue if b + c else 1.0
    assert found == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        # Fagerland, Lydersen and Laake 2017, chapter 8: complete response (Cavo et al. 2012).
        ((59, 6, 16, 80), -0.1186, -0.0046),
        # Altman et al. 2000, Statistics with Confidence, table 6.2: Newcombe's own example.
        ((14, 5, 0, 22), 0.0115, 0.2265),
    ],
)
def test_the_interval_is_that_of_published_examples(table: Counts, low: float, high: float) -> None:
    found = of(table)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


@given(st.integers(1, 5000), st.floats(0, 1), st.sampled_from((0.8, 0.95, 0.999)))
def test_wilsons_interval_is_scipys(n: int, share: float, level: float) -> None:
    k = round(share * n)
    expected = binomtest(k, n).proportion_ci(level, method="wilson")
    assert _wilson(k, n, NormalDist().inv_cdf((1 + level) / 2)) == pytest.approx(
        (expected.low, expected.high), abs=1e-12
    )


@pytest.mark.parametrize(
    "shares", [(0.6, 0.15, 0.1, 0.15), (0.5, 0.2, 0.2, 0.1), (0.4, 0.3, 0.1, 0.2)]
)
def test_the_interval_covers_the_difference_as_often_as_it_says(
    shares: tuple[float, float, float, float],
) -> None:
    """Exact: all tables of 25 items, each with its multinomial probability."""
    n, true = 25, shares[1] - shares[2]
    covered = total = 0.0
    for a in range(n + 1):
        for b in range(n + 1 - a):
            for c in range(n + 1 - a - b):
                table = (a, b, c, n - a - b - c)
                ways = math.factorial(n) // math.prod(math.factorial(k) for k in table)
                chance = ways * math.prod(p**k for p, k in zip(shares, table, strict=True))
                found = of(table)
                total += chance
                covered += chance * (found.low <= true <= found.high)
    assert total == pytest.approx(1)
    # Newcombe 1998: .955 on average over settings; with so few items rather more.
    assert 0.94 <= covered <= 0.985


def test_on_ten_thousand_images_the_interval_covers_95_percent() -> None:
    """Two networks that are right 98.3 and 98.1 % of the time, and on 97.1 % of the images both."""
    shares, draws = (0.971, 0.012, 0.010, 0.007), 4000
    tables = np.random.default_rng(1).multinomial(10_000, shares, size=draws)
    found = [of(tuple(map(int, table))) for table in tables]  # type: ignore[arg-type]
    covered = np.mean([c.low <= 0.002 <= c.high for c in found])
    assert covered == pytest.approx(0.95, abs=3 * np.sqrt(0.95 * 0.05 / draws))


@given(counts)
def test_swapping_the_classifiers_turns_the_sign(table: Counts) -> None:
    both, b, c, neither = table
    one, other = of(table), of((both, c, b, neither))
    assert other.difference == -one.difference
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low), abs=1e-12)
    assert other.p_value == one.p_value


@given(counts)
def test_the_interval_holds_the_estimate_and_grows_with_the_level(table: Counts) -> None:
    wide, narrow = of(table, 0.99), of(table, 0.9)
    rounding = 1e-12
    assert -1 - rounding <= wide.low <= narrow.low + rounding
    assert narrow.high - rounding <= wide.high <= 1 + rounding
    assert narrow.low - rounding <= narrow.difference <= narrow.high + rounding
    assert narrow.first - narrow.second == pytest.approx(narrow.difference)
    assert narrow.items == sum(table)


def test_two_that_are_always_right_cannot_be_told_apart() -> None:
    found = of((10_000, 0, 0, 0))
    assert found.p_value == 1
    # Wilson's bound for no failure among n, in both directions.
    z2 = 1.959963984540054**2
    assert found.high == -found.low == pytest.approx(z2 / (10_000 + z2))


def test_predictions_are_counted() -> None:
    labels = np.array([0, 1, 2, 3, 4, 5, 6, 7])
    first = np.array([0, 1, 2, 3, 4, 0, 0, 0], np.uint8)
    second = np.array([0, 1, 2, 0, 0, 5, 1, 2])
    found = compare(labels, first, second, level=0.9)
    assert found == of((3, 2, 1, 2), 0.9)
    assert (found.first, found.second, found.level) == (5 / 8, 4 / 8, 0.9)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match=r"second of shape \(2,\) for labels of shape \(3,\)"):
        compare([1, 2, 3], [1, 2, 3], [1, 2])
    with pytest.raises(DataError, match="not all 0"):
        compare([], [], [])
    with pytest.raises(DataError, match=r"counts \(1, -1, 0, 0\) of items: must be >= 0"):
        of((1, -1, 0, 0))
    with pytest.raises(ConfigError, match=r"level=95 of an interval: must be between 0 and 1"):
        of((1, 1, 0, 0), 95)

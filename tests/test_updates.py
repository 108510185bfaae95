"""The four update rules on arrays: equal sums, whatever the trains and the coders."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventnet import updates
from eventnet.coding import quantize
from eventnet.errors import ConfigError

RULES = (updates.reconstruction, updates.past, updates.future, updates.stdp)

gain = st.floats(0.05, 3.0)
coder = st.tuples(gain, gain)
seeds = st.integers(0, 2**32 - 1)


def trains(seed: int, n: int = 40, n_in: int = 3, n_out: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Sparse trains with counts up to 3, of either sign, and coincidences among them."""
    rng = np.random.default_rng(seed)
    s, s_e = (
        rng.integers(-3, 4, (n, units)) * (rng.random((n, units)) < 0.2) for units in (n_in, n_out)
    )
    s[n // 2, 0] = s_e[n // 2, 0] = 2
    return s, s_e


def keywords(error: tuple[float, float]) -> dict[str, float]:
    return {"error_kp": error[0], "error_kd": error[1]}


@given(seeds, coder, coder)
def test_past_and_its_open_area_sum_to_the_reconstruction(seed, own, error) -> None:
    s, s_e = trains(seed)
    expected = updates.reconstruction(s, s_e, *own, **keywords(error)).sum(axis=0)
    found = updates.past(s, s_e, *own, **keywords(error), flush=True).sum(axis=0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@given(seeds, coder, coder)
@settings(max_examples=40)
def test_future_and_stdp_sum_to_the_reconstruction_with_silence_after(seed, own, error) -> None:
    s, s_e = trains(seed)
    # k_alpha <= 3/3.05: after so long the product is below 1e-17 of what it was.
    silent = [np.pad(train, ((0, 1200), (0, 0))) for train in (s, s_e)]
    expected = updates.reconstruction(*silent, *own, **keywords(error)).sum(axis=0)
    scale = np.abs(updates.future(s, s_e, *own, **keywords(error))).sum()
    for rule in (updates.future, updates.stdp):
        found = rule(s, s_e, *own, **keywords(error)).sum(axis=0)
        np.testing.assert_allclose(found, expected, atol=1e-12 * scale)


@given(seeds, coder, coder)
def test_stdp_is_the_sum_over_all_pairs_of_the_kernel(seed, own, error) -> None:
    """Eq. 13 written out: each pair of spikes, by its distance, whichever comes first."""
    s, s_e = trains(seed)
    tick = np.arange(len(s))
    g = updates.stdp_kernel(tick[:, None] - tick, *own, **keywords(error))
    expected = np.einsum("tj,tu,ui->tij", s_e, g, s)
    np.testing.assert_allclose(
        updates.stdp(s, s_e, *own, **keywords(error)), expected, atol=1e-12 * np.abs(g).max()
    )


def test_the_kernel_is_the_area_under_the_product_of_two_single_spikes() -> None:
    own, error = (0.1, 2.0), (0.3, 1.1)
    for lag in (-7, 0, 7):
        s, s_e = np.zeros((2, 2000))
        s[20], s_e[20 + lag] = 1, 1
        area = updates.reconstruction(s, s_e, *own, **keywords(error)).sum()
        assert updates.stdp_kernel(lag, *own, **keywords(error)) == pytest.approx(area, rel=1e-13)


def test_a_synapse_is_what_it_is_alone() -> None:
    s, s_e = trains(5)
    for rule in RULES:
        together = rule(s, s_e, 0.1, 1.0)
        assert together.shape == (40, 3, 2)
        for i in range(3):
            for j in range(2):
                alone = rule(s[:, i], s_e[:, j], 0.1, 1.0)
                np.testing.assert_array_equal(together[:, i, j], alone)


def test_only_the_reconstruction_adds_where_there_is_no_spike() -> None:
    s, s_e = trains(6)
    silent = (s == 0)[:, :, None] & (s_e == 0)[:, None, :]
    assert updates.reconstruction(s, s_e, 0.1, 1.0)[silent].any()
    for rule in (updates.past, updates.future, updates.stdp):
        added = rule(s, s_e, 0.1, 1.0)
        assert added.any()
        assert not added[silent].any()


def test_past_is_causal_and_lags_the_reconstruction_by_the_open_area() -> None:
    s, s_e = (train[:, 0] for train in trains(7))
    whole = updates.past(s, s_e, 0.1, 1.0)
    for n in range(1, len(s)):
        np.testing.assert_array_equal(updates.past(s[:n], s_e[:n], 0.1, 1.0), whole[:n])
        flushed = updates.past(s[:n], s_e[:n], 0.1, 1.0, flush=True).sum()
        area = updates.reconstruction(s[:n], s_e[:n], 0.1, 1.0).sum()
        assert flushed == pytest.approx(area, rel=1e-12, abs=1e-12)


def test_a_real_signal_that_was_quantized() -> None:
    """Slow signals through a coder, not random trains: many ticks between spikes."""
    t = np.arange(3000)
    s = quantize(np.sin(t / 200) * 0.03)
    s_e = quantize(np.cos(t / 130) * 0.02)
    area = updates.reconstruction(s, s_e, 0.01, 1.0).sum()
    assert updates.past(s, s_e, 0.01, 1.0, flush=True).sum() == pytest.approx(area, rel=1e-11)


def test_without_ticks_there_is_nothing() -> None:
    for rule in RULES:
        assert rule([], [], 0.1, 1.0).shape == (0,)
    assert updates.past([], [], 0.1, 1.0, flush=True).shape == (0,)


@pytest.mark.parametrize("rule", [updates.past, updates.future, updates.stdp])
def test_signals_that_never_decay_have_no_area(rule) -> None:
    with pytest.raises(ConfigError, match="kp=0 on both coders: one must be positive"):
        rule([1, 0], [0, 1], 0.0, 1.0)
    assert np.isfinite(rule([1, 0], [0, 1], 0.0, 1.0, error_kp=0.1, error_kd=1.0)).all()


def test_a_signal_that_never_decays_can_be_reconstructed() -> None:
    assert updates.reconstruction([1, 0], [1, 0], 0.0, 1.0).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1], [1, 0], 0.1, 1.0), "s of 1 ticks, s_e of 2: must be equally long"),
        (([[[1]]], [1], 0.1, 1.0), r"s of type int64 and shape \(1, 1, 1\)"),
        (([1], ["a"], 0.1, 1.0), "s_e of type <U1"),
        (([1], [1], -0.1, 1.0), r"kp=-0\.1 on the coder: must be >= 0"),
        (([1], [1], 0.0, 0.0), "kp=0, kd=0 on the coder: one must be positive"),
    ],
)
def test_what_cannot_be_paired_is_refused(arguments, message: str) -> None:
    for rule in RULES:
        with pytest.raises(ConfigError, match=message):
            rule(*arguments)

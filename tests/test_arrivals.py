"""Readings late, twice, out of order and not at all: put in order, and every one accounted for."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventnet.arrivals import Arrivals, Link, Note, in_order
from eventnet.errors import ConfigError, DataError

STAMPS = st.integers(0, 40).map(lambda k: k / 8)


@given(
    stamps=st.lists(STAMPS, max_size=60),
    lateness=st.sampled_from([0.0, 0.25, 1.0, 10.0]),
    capacity=st.sampled_from([None, 1, 5]),
    pauses=st.lists(st.integers(0, 60), max_size=5),
)
def test_the_books_balance_at_every_moment(
    stamps: list[float], lateness: float, capacity: int | None, pauses: list[int]
) -> None:
    arrivals = Arrivals("gyro", lateness=lateness, late="drop", capacity=capacity)
    delivered: list[float] = []
    for k, stamp in enumerate(stamps):
        arrivals.put(stamp, k)
        assert arrivals.books.balanced
        assert capacity is None or arrivals.books.pending <= capacity
        if k in pauses:
            delivered += [t for t, _ in arrivals.release_settled()]
            assert arrivals.books.balanced
    delivered += [t for t, _ in arrivals.release(math.inf)]
    books = arrivals.books
    assert books.balanced
    assert books.pending == 0
    assert books.delivered == len(delivered)
    assert books.given + books.duplicated == len(stamps)
    assert delivered == sorted(set(delivered))
    assert books.duplicated >= 0
    if capacity is None:
        assert books.given == books.delivered + books.dropped["late"]
        assert set(stamps) >= set(delivered)
        # Who has nobody behind him that was handed on is never late.
        assert max(stamps, default=0.0) in {*delivered, 0.0}


@given(stamps=st.lists(STAMPS, min_size=1, max_size=60, unique=True), seed=st.integers(0, 99))
def test_what_is_out_of_order_by_no_more_than_the_lateness_finds_its_place(
    stamps: list[float], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    true = np.sort(stamps)
    order = np.argsort(true + rng.uniform(0, 0.5, len(true)), kind="stable")
    arrivals = Arrivals("gyro", lateness=0.5)
    times, values = in_order(arrivals, true[order], order[:, None].astype(float))
    assert times.tolist() == true.tolist()
    assert values[:, 0].tolist() == list(range(len(true)))
    assert arrivals.books.delivered == arrivals.books.given == len(true)


def test_of_two_readings_of_one_stamp_the_last_counts() -> None:
    arrivals = Arrivals("gyro", lateness=1.0)
    times, values = in_order(
        arrivals, np.array([0.0, 1.0, 0.5, 1.0, 3.0]), np.array([[0.0], [1.0], [2.0], [3.0], [4.0]])
    )
    assert (times.tolist(), values[:, 0].tolist()) == ([0.0, 0.5, 1.0, 3.0], [0.0, 2.0, 3.0, 4.0])
    assert (arrivals.books.given, arrivals.books.duplicated) == (4, 1)
    assert dict(arrivals.books.dropped) == {"superseded": 1}


def test_a_duplicate_of_what_was_delivered_is_no_late_reading() -> None:
    arrivals = Arrivals("gyro", late="error")
    arrivals.put(1.0, 1)
    arrivals.put(2.0, 2)
    arrivals.release(5.0)
    assert not arrivals.put(1.0, 1)
    assert not arrivals.put(2.0, 2)
    assert dict(arrivals.books.dropped) == {"duplicate": 2}
    assert arrivals.put(3.0, 3)  # before 5 s, but none that follows it has been delivered
    with pytest.raises(DataError, match=r"gyro: the reading of 1.5 s comes 0.5 s too late"):
        arrivals.put(1.5, 3)
    assert arrivals.books.balanced


def test_a_stall_of_the_reader_is_no_step_of_the_clock() -> None:
    arrivals = Arrivals("gyro", gap=1.0)
    arrivals.put(0.0, 0, (9.9, 10.0))
    arrivals.put(0.1, 0, (10.0, 15.0))  # nobody looked for five seconds
    arrivals.put(4.9, 0, (10.0, 15.0))
    arrivals.put(5.0, 0, (15.0, 15.1))
    assert [(note.kind, note.time) for note in arrivals.notes] == [("gap", 4.9)]


def test_gaps_and_steps_of_the_clock_are_told_apart_by_the_time_of_arrival() -> None:
    told: list[Note] = []
    arrivals = Arrivals("gyro", gap=1.0, late="drop", tell=told.append)
    for stamp, arrival in ((0.0, 10.0), (0.5, 10.5), (4.5, 14.5), (8.0, 15.0), (5.5, 15.5)):
        arrivals.put(stamp, 0, (arrival, arrival))
    assert told == [
        Note("gap", 4.5, 4.0),
        Note("clock step", 8.0, 3.0),
        Note("clock step", 5.5, -3.0),
    ]
    assert [str(note) for note in told] == [
        "no reading for 4 s up to 4.5 s",
        "its clock steps by +3 s to 8 s",
        "its clock steps by -3 s to 5.5 s",
    ]


def test_without_the_time_of_arrival_only_a_step_back_is_the_clocks() -> None:
    arrivals = Arrivals("gyro", gap=1.0, late="drop", lateness=100.0)
    for stamp in (0.0, 4.0, 2.0):
        arrivals.put(stamp, 0)
    assert [(n.kind, n.seconds) for n in arrivals.notes] == [("gap", 4.0), ("clock step", -2.0)]


def test_notes_are_counted_without_end_and_kept_up_to_a_hundred() -> None:
    arrivals = Arrivals("gyro", gap=1.0)
    in_order(arrivals, np.arange(0, 1000, 2.0), np.zeros((500, 1)))
    assert arrivals.books.notes["gap"] == 499
    assert len(arrivals.notes) == 100


def test_a_link_delays_scatters_and_loses_but_never_reorders() -> None:
    rng = np.random.default_rng(0)
    stamps = np.arange(20_000) / 1000
    arrival, kept = Link(clock_offset=0.25, latency=0.5, jitter=0.01, dropout=0.2).carry(
        stamps, rng
    )
    later = arrival - stamps - 0.75
    assert (np.diff(arrival) >= 0).all()
    assert later.min() >= 0
    assert later.max() <= 0.01
    assert later.max() > 0.0099
    # Three deviations of a binomial count.
    assert abs(kept.mean() - 0.8) < 3 * math.sqrt(0.16 / len(stamps))


@pytest.mark.parametrize(("key", "value"), [("lateness", -1.0), ("gap", 0.0), ("gap", math.nan)])
def test_parameters_are_checked(key: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"{key}={value}.* on gyro: must be"):
        Arrivals("gyro", **{key: value})  # type: ignore[arg-type]

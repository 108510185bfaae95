"""Bound tuples: what a kernel reads through one pointer is what Python holds."""

from typing import NamedTuple

import numpy as np
import pytest
from numba import njit

from eventnet.engine.bound import bind
from eventnet.engine.jit import Array


class Inner(NamedTuple):
    flag: Array
    table: Array


class Outer(NamedTuple):
    x: Array
    inner: Inner


@njit
def read(outer: Outer, row: int) -> float:
    total = 0.0
    for value in outer.x:
        total += value
    for value in outer.inner.table[row]:
        total += value
    outer.x[0] = outer.inner.table.shape[0]
    outer.inner.flag[row] = True
    return total


def outer(columns: int = 3) -> Outer:
    table = np.arange(2 * columns, dtype=np.int64).reshape(2, columns)
    return Outer(np.array([0.5, 0.25]), Inner(np.zeros(2, dtype=np.bool_), table))


def test_kernels_read_and_write_the_arrays() -> None:
    bound = bind(outer())
    assert read(bound, 1) == 0.75 + 3 + 4 + 5
    assert bound.x.tolist() == [2.0, 0.25]
    assert bound.inner.flag.tolist() == [False, True]


def test_replacing_a_field_points_to_the_new_array() -> None:
    bound = bind(outer())
    longer = bound._replace(x=np.full(100, 0.01))
    assert read(longer, 0) == pytest.approx(1.0 + 3)
    assert bound.x.tolist() == [0.5, 0.25]
    assert longer.x[0] == 2.0


def test_an_empty_array_has_no_elements() -> None:
    assert read(bind(outer(columns=0)), 0) == 0.75


@pytest.mark.parametrize("bad", [np.zeros((4, 4))[:, 1], np.zeros((2, 2, 2))])
def test_only_plain_arrays_are_taken(bad: Array) -> None:
    with pytest.raises(ValueError, match="x: must be C-contiguous"):
        bind(outer()._replace(x=bad))

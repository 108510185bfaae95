"""Sparse projections: whom each presynaptic neuron reaches, row by row, and the same by columns."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eventnet.engine.jit import kernel
from eventnet.network import Projection

Starts = NDArray[np.int64]
Neurons = NDArray[np.int32]

NO_PLACES = np.zeros(0, dtype=np.int64)


class Rows(NamedTuple):
    """The synapses of a projection in compressed rows.

    Row i reaches the neurons ``reach[span[i]:span[i + 1]]``, ascending.
    """

    span: Starts  # (n_in + 1,)
    reach: Neurons  # (synapses,)


def rows_of(q: Projection, generator: np.random.Generator, reach: Neurons) -> Rows:
    """Return a sparse projection's rows, drawn where only their number is given (writes reach)."""
    n_in, n_out = q.shape
    edges = q.edges if q.convolution is None else q.convolution.edges[:2]
    if edges is not None:
        pre, reach[:] = edges
        return Rows(np.concatenate([[0], np.cumsum(np.bincount(pre, minlength=n_in))]), reach)
    assert q.fan_in is not None
    chosen = np.empty((n_out, q.fan_in), dtype=np.int32)
    for sources in chosen:
        sources[:] = generator.choice(n_in, q.fan_in, replace=False, shuffle=False)
    by_target = Rows(np.arange(n_out + 1) * q.fan_in, chosen.ravel())
    span = starts(by_target.reach, n_in)
    transpose(by_target.span, by_target.reach, span, reach, NO_PLACES)
    return Rows(span, reach)


def starts(reach: Neurons, n: int) -> Starts:
    """Return where the columns of `n` neurons begin, and where the last ends, shape (n + 1,)."""
    found = np.zeros(n + 1, dtype=np.int64)
    count(reach, found)
    return found


@kernel
def count(reach: Neurons, begin: Starts) -> None:
    """Write where columns begin, from zeros (writes begin): `numpy.bincount` would widen reach."""
    for k in range(reach.shape[0]):
        begin[reach[k] + 1] += 1
    for j in range(1, begin.shape[0]):
        begin[j] += begin[j - 1]


@kernel
def transpose(span: Starts, reach: Neurons, begin: Starts, row: Neurons, place: Starts) -> None:
    """Write the entries of columns that begin at `begin`, rows ascending (writes row, place).

    `row` is the row of each entry, `place` where it lies among the rows' entries, if there is room.
    """
    for i in range(span.shape[0] - 1):
        for k in range(span[i], span[i + 1]):
            at = begin[reach[k]]
            row[at] = i
            if place.shape[0] > 0:
                place[at] = k
            begin[reach[k]] = at + 1
    for j in range(begin.shape[0] - 1, 0, -1):  # each ended where the next begins
        begin[j] = begin[j - 1]
    begin[0] = 0

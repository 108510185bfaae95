"""Which of many neurons fires next: a tree of minima over their next firing times.

The leaves are the times, in the order of the neurons; each node above holds the least of up to eight
children. A new time changes one node a level, and only as long as the least changes; who is due is found
from the root downwards, the first in order first.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from eventnet.engine.arrays import offsets
from eventnet.engine.jit import Array, kernel

FAN = 8


def levels(leaves: int) -> NDArray[np.int64]:
    """Return where each level of a tree begins, leaves first, and where the root ends.

    Examples
    --------
    >>> levels(20).tolist()  # 20 leaves in 24 places, 3 nodes in 8, the root
    [0, 24, 32, 33]
    """
    sizes = []
    n = leaves
    while True:
        n = -(-n // FAN)
        sizes.append(n * FAN)
        if n <= 1:
            return offsets([*sizes, 1])


def tree_of(times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the tree over `times`; places without a neuron never fire."""
    first = levels(len(times))
    tree = np.full(first[-1], np.inf)
    tree[: len(times)] = times
    for below, here in pairwise(first[:-1]):
        least = tree[below:here].reshape(-1, FAN).min(axis=1)
        tree[here : here + len(least)] = least
    return tree


@kernel
def put(tree: Array, first: Array, leaf: int, time: float) -> None:
    """Give a leaf its next time. O(log n)."""
    tree[leaf] = time
    k = leaf
    for level in range(1, first.shape[0] - 1):
        k >>= 3
        a = first[level - 1] + (k << 3)
        left = min(min(tree[a], tree[a + 1]), min(tree[a + 2], tree[a + 3]))
        right = min(min(tree[a + 4], tree[a + 5]), min(tree[a + 6], tree[a + 7]))
        least = min(left, right)
        if tree[first[level] + k] == least:
            return
        tree[first[level] + k] = least


@kernel
def next_leaf(tree: Array, first: Array) -> int:
    """Return the first leaf that has the least time, which the root holds."""
    least = tree[tree.shape[0] - 1]
    k = 0
    for level in range(first.shape[0] - 3, -1, -1):
        k <<= 3
        while tree[first[level] + k] != least:
            k += 1
    return k

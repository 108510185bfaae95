"""The tree of next firing times: always the least of them, and the first neuron that has it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventnet.engine.tournament import FAN, levels, next_leaf, put, tree_of

changes = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from([0.0, 0.5, 1.0, np.inf])))


@given(st.integers(1, 3 * FAN**2), changes)
def test_the_root_is_the_least_and_the_first_leaf_has_it(
    neurons: int, steps: list[tuple[int, float]]
) -> None:
    times = np.full(neurons, np.inf)
    tree, first = tree_of(times), levels(neurons)
    for k, time in steps:
        times[k % neurons] = time
        put(tree, first, k % neurons, time)
        assert tree[-1] == times.min()
        if tree[-1] < np.inf:
            assert next_leaf(tree, first) == int(np.argmin(times))
    assert np.array_equal(tree, tree_of(times))


@pytest.mark.parametrize("neurons", [0, 1, FAN, FAN + 1, FAN**2, FAN**3 + 1])
def test_a_tree_has_room_for_its_neurons_and_ends_in_one_root(neurons: int) -> None:
    first = levels(neurons)
    assert first[1] >= neurons
    assert first[-1] - first[-2] == 1
    assert all(size % FAN == 0 for size in np.diff(first[:-1]))
    assert tree_of(np.zeros(neurons))[-1] == (0.0 if neurons else np.inf)

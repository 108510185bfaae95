"""Kernels are compiled into the entries that call them, and nowhere else (engine/jit.py)."""

from __future__ import annotations

import subprocess
import sys

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from eventnet.engine.jit import kernel, summing
from eventnet.engine.marks import MARKS, lowest, nonzero
from eventnet.engine.memory import prefetch

pytestmark = pytest.mark.skipif(numba.config.DISABLE_JIT, reason="nothing is compiled")


@kernel
def ratio(a: float, b: float) -> float:
    return a / b


@summing
def ratios(a: NDArray[np.float64], b: float) -> float:
    total = 0.0
    for k in range(a.shape[0]):
        total += ratio(a[k], b)
    return total


@kernel
def twice(a: NDArray[np.float64], b: float) -> float:
    return 2.0 * ratios(a, b)


def test_a_kernel_is_compiled_into_its_callers_and_has_no_code_of_its_own() -> None:
    assert twice(np.arange(4.0), 2.0) == 6.0
    (part,) = ratios.overloads.values()
    assert not part.library.get_pointer_to_function(part.fndesc.llvm_func_name)
    assert not twice.overloads


@kernel
def marked(a: NDArray[np.float64], start: int) -> tuple[int, int]:
    prefetch(a, start)
    bits = nonzero(a, start)
    return bits, lowest(bits)


def test_vectors_find_what_is_not_zero() -> None:
    for places in ([0], [15], [3, 4, 11], list(range(MARKS))):
        a = np.zeros(2 * MARKS)
        a[[7 + k for k in places]] = -0.5, *[2.0] * (len(places) - 1)
        assert marked(a, 7) == (sum(1 << k for k in places), places[0])


def test_python_may_call_every_kernel() -> None:
    assert ratio(3.0, 2.0) == 1.5
    assert ratios(np.arange(4.0), 2.0) == 3.0


def test_what_a_kernel_raises_reaches_python() -> None:
    with pytest.raises(ZeroDivisionError):
        twice(np.arange(4.0), 0.0)


IMPORTED = """
import sys
from eventnet.engine.equations import trace_window
assert trace_window(1.0, 1.0) == 0.5
print("numba.np.arraymath" in sys.modules)
"""


def test_what_is_in_the_cache_is_loaded_without_what_compiles() -> None:
    """Numba imports SciPy's BLAS and its own array functions to compile, half of a warm start."""
    for _ in range(2):  # the first may have to compile
        command = [sys.executable, "-c", IMPORTED]
        found = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert found == "False\n"

"""Kernels are compiled into the entries that call them, and nowhere else (engine/jit.py)."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from eventnet.engine.jit import entry, kernel, summing

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


@entry
def twice(a: NDArray[np.float64], b: float) -> float:
    return 2.0 * ratios(a, b)


def test_an_entry_is_compiled_with_its_kernels_and_kernels_have_no_code_of_their_own() -> None:
    assert ratios(np.arange(4.0), 2.0) == 3.0
    assert not ratios.overloads  # Python ran it
    assert twice(np.arange(4.0), 2.0) == 6.0
    (compiled,) = ratios.overloads.values()
    name = compiled.fndesc.llvm_func_name
    assert not compiled.library.get_pointer_to_function(name)
    (whole,) = twice.overloads.values()
    assert whole.library.get_pointer_to_function(whole.fndesc.llvm_func_name)


def test_what_a_kernel_raises_reaches_python() -> None:
    with pytest.raises(ZeroDivisionError):
        twice(np.arange(4.0), 0.0)

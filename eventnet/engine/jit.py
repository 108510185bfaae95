"""How the compiled engine's functions are compiled and cached."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]

Function = TypeVar("Function", bound=Callable[..., Any])

_SOURCES = tuple(
    (path.name, path.stat().st_mtime, path.stat().st_size)
    for path in sorted(Path(__file__).parent.glob("*.py"))
)


def kernel(function: Function) -> Function:
    """Compile a function of this package, and keep its type for the checker."""
    return _compiled(function)


def inlined(function: Function) -> Function:
    """Compile a few lines that stand in the innermost loops: a call there keeps them off vectors."""
    return _compiled(function, forceinline=True)


def summing(function: Function) -> Function:
    """Compile a sum whose order the compiler may choose, so that it runs on vectors."""
    return _compiled(function, fastmath={"reassoc", "contract"})


def _compiled(function: Function, **options: Any) -> Function:
    # Without Numba's runtime no kernel can allocate, and passing tuples of arrays costs no
    # reference counting, which otherwise takes most of an instant (docs/decisions/0002).
    compiled: Any = njit(cache=True, _nrt=False, **options)(function)
    # Numba's cache looks at the function's own file only, yet kernels call each other across files:
    # what was compiled is good as long as none of them has changed. (Absent with the JIT off.)
    file = getattr(getattr(compiled, "_cache", None), "_cache_file", None)
    if file is not None:
        file._source_stamp = _SOURCES
    result: Function = compiled
    return result

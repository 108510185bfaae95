"""A few numbers at a time: runs of a kernel are too short for what LLVM makes of a loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.extending import intrinsic

from eventnet.engine.jit import Array, inlined

EIGHT, FOUR = 8, 4
"""Numbers that are added together."""


def add_8(out: Array, at: int, row: Array, start: int, factor: float) -> None:
    """Add ``factor*row[start:start + 8]`` to `out` from `at` on, in place."""
    out[at : at + EIGHT] += factor * row[start : start + EIGHT]


def add_4(out: Array, at: int, row: Array, start: int, factor: float) -> None:
    """Add ``factor*row[start:start + 4]`` to `out` from `at` on, in place."""
    out[at : at + FOUR] += factor * row[start : start + FOUR]


def _adding(lanes: int) -> Callable[..., Any]:
    """Return how to add so many numbers at a time, as Numba's intrinsics are defined."""

    def add(typing: Any, out: Any, at: Any, row: Any, start: Any, factor: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            def place(k: int) -> Any:
                array = cgutils.create_struct_proxy(signature.args[k])(context, builder, values[k])
                vector = ir.VectorType(array.data.type.pointee, lanes).as_pointer()
                return builder.bitcast(builder.gep(array.data, [values[k + 1]]), vector)

            size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
            target, read = place(0), builder.load(place(2), align=size)
            none = ir.Constant(read.type, ir.Undefined)
            first = builder.insert_element(none, values[4], ir.IntType(32)(0))
            same = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
            scale = builder.shuffle_vector(first, none, same)
            product = builder.fmul(scale, read, flags=("contract",))
            total = builder.fadd(builder.load(target, align=size), product, flags=("contract",))
            builder.store(total, target, align=size)
            return context.get_dummy_value()

        return types.void(out, types.intp, row, types.intp, out.dtype), generate

    return add


if not config.DISABLE_JIT:  # what stands above in Python, in vectors
    add_8, add_4 = intrinsic(_adding(EIGHT)), intrinsic(_adding(FOUR))


@inlined
def add_run(out: Array, at: int, row: Array, start: int, n: int, factor: float) -> None:
    """Add ``factor*row[start:start + n]`` to `out` from `at` on, in place; the two may not overlap."""
    scale = out.dtype.type(factor)
    k = 0
    while k + EIGHT <= n:
        add_8(out, at + k, row, start + k, scale)
        k += EIGHT
    if k + FOUR <= n:
        add_4(out, at + k, row, start + k, scale)
        k += FOUR
    while k < n:
        out[at + k] += scale * row[start + k]
        k += 1

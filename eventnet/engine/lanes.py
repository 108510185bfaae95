"""Eight numbers at a time: rows of a kernel are too short for what LLVM makes of a loop."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.extending import intrinsic

from eventnet.engine.jit import Array, inlined

LANES = 8
"""Numbers that are added together."""


def add_lanes(out: Array, at: int, row: Array, start: int, factor: float) -> None:
    """Add ``factor*row[start:start + LANES]`` to `out` from `at` on, in place."""
    out[at : at + LANES] += factor * row[start : start + LANES]


@intrinsic
def _add_lanes(typing: Any, out: Any, at: Any, row: Any, start: Any, factor: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        def place(k: int) -> Any:
            data = cgutils.create_struct_proxy(signature.args[k])(context, builder, values[k]).data
            lanes = ir.VectorType(data.type.pointee, LANES).as_pointer()
            return builder.bitcast(builder.gep(data, [values[k + 1]]), lanes)

        size = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        target, source = place(0), place(2)
        row_lanes = builder.load(source, align=size)
        none = ir.Constant(row_lanes.type, ir.Undefined)
        first = builder.insert_element(none, values[4], ir.IntType(32)(0))
        same = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        scale = builder.shuffle_vector(first, none, same)
        product = builder.fmul(scale, row_lanes, flags=("contract",))
        total = builder.fadd(builder.load(target, align=size), product, flags=("contract",))
        builder.store(total, target, align=size)
        return context.get_dummy_value()

    return types.void(out, types.intp, row, types.intp, out.dtype), generate


if not config.DISABLE_JIT:
    add_lanes = _add_lanes


@inlined
def add_run(out: Array, at: int, row: Array, start: int, n: int, factor: float) -> None:
    """Add ``factor*row[start:start + n]`` to `out` from `at` on, in place; the two may not overlap."""
    scale = out.dtype.type(factor)
    whole = n // LANES * LANES
    for k in range(0, whole, LANES):
        add_lanes(out, at + k, row, start + k, scale)
    for k in range(whole, n):
        out[at + k] += scale * row[start + k]

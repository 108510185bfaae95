"""Asking for memory before it is needed: one instruction that Numba lacks."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.extending import intrinsic

from eventnet.engine.jit import Array

AHEAD = 64
"""Elements by which loops over scattered neurons ask ahead: a cache miss lasts as long as some tens."""


def prefetch(values: Array, k: int) -> None:
    """Ask for the cache line of ``values[k]``, one-dimensional, and go on. With the JIT off: nothing."""


def _prefetch(typing: Any, values: Any, k: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        from numba.np.arrayobj import make_array  # only to compile

        data = make_array(signature.args[0])(context, builder, given[0]).data
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        address = builder.bitcast(builder.gep(data, [given[1]]), byte)
        read, keep, is_data = number(0), number(3), number(1)
        builder.call(function, [address, read, keep, is_data])
        return context.get_dummy_value()

    return types.void(values, types.intp), generate


if not config.DISABLE_JIT:
    prefetch = intrinsic(_prefetch)

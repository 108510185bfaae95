"""Which of sixteen numbers in a row are not zero, as the bits of one: no branch a number.

A test of each would be mispredicted, and one of their sum would still look for them one by one.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import config, types
from numba.core import cgutils
from numba.core.extending import intrinsic

from eventnet.engine.jit import Array

MARKS = 16
"""Numbers that are tested together."""


def nonzero(a: Array, start: int) -> int:
    """Return a number whose bit k is set if ``a[start + k]`` is not 0, k from 0 to `MARKS` - 1.

    Examples
    --------
    >>> import numpy as np
    >>> bin(nonzero(np.eye(16)[2], 0))
    '0b100'
    """
    return sum(1 << k for k in range(MARKS) if a[start + k] != 0)


def lowest(bits: int) -> int:
    """Return the place of the lowest bit of `bits`, which are not 0.

    Examples
    --------
    >>> lowest(0b1100)
    2
    """
    return (bits & -bits).bit_length() - 1


@intrinsic
def _nonzero(typing: Any, a: Any, start: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        data = cgutils.create_struct_proxy(a)(context, builder, values[0]).data
        vector = ir.VectorType(data.type.pointee, MARKS)
        place = builder.bitcast(builder.gep(data, [values[1]]), vector.as_pointer())
        block = builder.load(place, align=context.get_abi_sizeof(data.type.pointee))
        mask = builder.fcmp_unordered("!=", block, ir.Constant(vector, None))
        return builder.zext(builder.bitcast(mask, ir.IntType(MARKS)), ir.IntType(64))

    return types.int64(a, types.intp), generate


@intrinsic
def _lowest(typing: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


if not config.DISABLE_JIT:  # what stands above in Python, in vectors
    nonzero, lowest = _nonzero, _lowest

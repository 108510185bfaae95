"""Named tuples of arrays that kernels take as one pointer.

A kernel that takes a tuple of fifty arrays takes some 350 numbers: seconds of compiling for each function
and, at every call that is not inlined, their copying. A bound tuple is a table of addresses and shapes; a
field is read from it where it is used (docs/decisions/0009-bound-tuples.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import numpy as np
from llvmlite import ir
from numba import config, typeof, types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    register_model,
    unbox,
)
from numba.core.typing.templates import AttributeTemplate

Fields = TypeVar("Fields", bound=tuple[Any, ...])

WORD = ir.IntType(64)
WORDS = 3
"""Of the table, a field: its address and, of an array, up to two lengths."""


def bind(fields: Fields) -> Fields:
    """Return a named tuple of C-contiguous arrays, or of such tuples, as kernels take it.

    Its fields are read as before. With the JIT off it is the tuple itself.

    Examples
    --------
    >>> from typing import NamedTuple
    >>> class Pair(NamedTuple):
    ...     a: np.ndarray
    ...     b: np.ndarray
    >>> bind(Pair(np.zeros(3), np.ones((2, 2)))).b.shape
    (2, 2)
    """
    return fields if config.DISABLE_JIT else cast(Fields, _Bound(fields))


class _Bound:
    """A named tuple beside the table of its fields."""

    def __init__(self, fields: Any) -> None:
        members = {k: _Bound(f) if isinstance(f, tuple) else f for k, f in fields._asdict().items()}
        self.fields = type(fields)(**members)
        rows, kinds = [], []
        for name, member in members.items():
            if isinstance(member, np.ndarray):
                if not member.flags.c_contiguous or member.ndim >= WORDS:
                    raise ValueError(f"{name}: must be C-contiguous, of one or two dimensions")
                rows.append((member.ctypes.data, *member.shape, 0)[:WORDS])
            else:
                rows.append((member.address, 0, 0))
            kinds.append((name, typeof(member)))
        self._table = np.array(rows, dtype=np.int64)
        self.address: int = self._table.ctypes.data
        self._numba_type_ = BoundType(type(fields).__name__, tuple(kinds))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fields, name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fields)

    def _replace(self, **changes: Any) -> _Bound:
        return _Bound(self.fields._replace(**changes))


# -- for the compiler ------------------------------------------------------------------------------


class BoundType(types.Type):  # type: ignore[misc]
    """Numba's type of a bound tuple."""

    def __init__(self, name: str, fields: tuple[tuple[str, types.Type], ...]) -> None:
        self.places = {field: k for k, (field, _) in enumerate(fields)}
        self.fields = dict(fields)
        super().__init__(name=f"{name}({', '.join(f'{k}: {kind}' for k, kind in fields)})")


@register_model(BoundType)
class _Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: BoundType) -> None:
        super().__init__(manager, kind, WORD.as_pointer())


@infer_getattr
class _Attribute(AttributeTemplate):  # type: ignore[misc]
    key = BoundType

    def generic_resolve(self, kind: BoundType, name: str) -> types.Type | None:
        return kind.fields.get(name)


@lower_getattr_generic(BoundType)
def _lower(context: Any, builder: Any, kind: BoundType, table: Any, name: str) -> Any:
    """Make the field from its words of the table."""
    from numba.np.arrayobj import make_array, populate_array  # only to compile

    field = kind.fields[name]

    def word(k: int) -> Any:
        place = ir.Constant(ir.IntType(32), WORDS * kind.places[name] + k)
        loaded = builder.load(builder.gep(table, [place]))
        # No kernel writes the table: without the promise every store would have it read again.
        loaded.set_metadata("invariant.load", builder.module.add_metadata([]))
        return loaded

    if isinstance(field, BoundType):
        return builder.inttoptr(word(0), WORD.as_pointer())
    array = make_array(field)(context, builder)
    itemsize = ir.Constant(WORD, context.get_abi_sizeof(array.data.type.pointee))
    shape = [word(1 + k) for k in range(field.ndim)]
    strides = [itemsize]
    for length in reversed(shape[1:]):
        strides.insert(0, builder.mul(strides[0], length))
    populate_array(
        array,
        data=builder.inttoptr(word(0), array.data.type),
        shape=cgutils.pack_array(builder, shape),
        strides=cgutils.pack_array(builder, strides),
        itemsize=itemsize,
        meminfo=None,
    )
    return array._getvalue()


@unbox(BoundType)
def _unbox(kind: BoundType, bound: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(bound, "address")
    number = c.pyapi.number_as_ssize_t(address)
    c.pyapi.decref(address)
    return NativeValue(c.builder.inttoptr(number, WORD.as_pointer()))

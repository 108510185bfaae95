"""How the compiled engine's functions are compiled and cached (docs/decisions/0010-parts.md)."""

from __future__ import annotations

import gc
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

from numba import _dynfunc, config, types
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder, Flags
from numba.core.compiler_machinery import PassManager, register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import NativeLowering
from numpy.typing import NDArray

Array = NDArray[Any]

Function = TypeVar("Function", bound=Callable[..., Any])

_SOURCES = tuple(
    (path.name, path.stat().st_mtime, path.stat().st_size)
    for path in sorted(Path(__file__).parent.glob("*.py"))
)


def kernel(function: Function) -> Function:
    """Compile a function of this package into those that call it, or for Python when that calls it."""
    return _compiled(function)


def inlined(function: Function) -> Function:
    """Compile a few lines that stand in the innermost loops: a call there keeps them off vectors."""
    return _compiled(function, forceinline=True)


def summing(function: Function) -> Function:
    """Compile a sum whose order the compiler may choose, so that it runs on vectors."""
    return _compiled(function, fastmath={"reassoc", "contract"})


def apart(function: Function) -> Function:
    """Compile a loop over arrays of which none that it writes overlaps another: no test for that.

    Products and sums may be fused, which rounds once instead of twice.
    """
    return _compiled(function, compiler=ApartCompiler, fastmath={"contract"})


def _compiled(function: Function, compiler: Any = None, **options: Any) -> Function:
    # Without Numba's runtime no kernel can allocate, and passing tuples of arrays costs no
    # reference counting, which otherwise takes most of an instant (docs/decisions/0002).
    options["_nrt"] = False
    if config.DISABLE_JIT:
        return function
    return cast(Function, Kernel(function, options, compiler or PartCompiler))


class Kernel(CPUDispatcher):  # type: ignore[misc]
    """A function that is compiled as a part of its callers.

    Numba by itself optimizes a function, makes machine code of it and wraps it for Python in every
    library that it is linked into: for an equation five calls below `advance` six times.
    """

    def __init__(
        self, function: Callable[..., Any], options: dict[str, Any], compiler: type[PartCompiler]
    ) -> None:
        self._options = options
        part = {"nopython": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
        super().__init__(function, targetoptions=options | part, pipeline_class=compiler)

    def __call__(self, *values: Any) -> Any:
        """Call it from Python: compiled by itself, with all that it calls, and cached."""
        return self._entry(*values)

    def get_call_template(self, args: Any, kws: Any) -> Any:
        """Compile it for types only: Numba would again for each literal that a caller begins with."""
        return super().get_call_template([types.unliteral(arg) for arg in args], kws)

    @cached_property
    def _entry(self) -> Any:
        entry = Entry(self.py_func, targetoptions=self._options | {"nopython": True})
        entry.enable_caching()
        return entry


class Entry(CPUDispatcher):  # type: ignore[misc]
    """A kernel as Python calls it."""

    def enable_caching(self) -> None:
        """Keep what is compiled."""
        self._cache = KernelCache(self.py_func)

    def compile(self, sig: Any) -> Any:
        """Load or compile it, without looking for garbage: that took a seventh of the time."""
        collects = gc.isenabled()
        gc.disable()
        try:
            return super().compile(sig)
        finally:
            if collects:
                gc.enable()


class KernelCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one function, made for kernels."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        # Numba looks at the function's own file only, yet kernels call each other across files:
        # what was compiled is good as long as none of them has changed.
        self._cache_file._source_stamp = _SOURCES

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load what was compiled, without the modules that Numba imports to compile, SciPy among them."""
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


class PartLibrary(JITCodeLibrary):  # type: ignore[misc]
    """LLVM code of one part: linked with others, and made machine code, once, in what Python calls."""

    def finalize(self) -> None:
        """Leave it as it is."""
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Return this part with all that it calls."""
        whole = JITCodeLibrary._get_module_for_linking(self).clone()
        for library in self._called({}):
            whole.link_in(JITCodeLibrary._get_module_for_linking(library), preserve=True)
        return whole

    def _called(self, found: dict[JITCodeLibrary, None]) -> dict[JITCodeLibrary, None]:
        for library in self._linking_libraries:
            if library not in found:
                found[library] = None
                if isinstance(library, PartLibrary):
                    library._called(found)
        return found


@register_pass(mutates_CFG=True, analysis_only=False)
class PartLowering(NativeLowering):  # type: ignore[misc]
    """Lowers a function into a `PartLibrary`."""

    _name = "part_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower, and tell Numba where callers find the code."""
        library = PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library = library
        super().run_pass(state)
        lowered = state["cr"]
        # A callable without an address, since Numba knows compiled functions by their callables.
        name = lowered.fndesc.qualname
        module = lowered.fndesc.lookup_module()
        key = _dynfunc.make_function(module, name, "", 0, lowered.env, (library,))
        state.targetctx.insert_user_function(key, lowered.fndesc, [library])
        state["cr"] = lowered._replace(cfunc=key)
        return True


class PartFlags(Flags):  # type: ignore[misc]
    """Numba's flags, compared by identity: they are keys of caches that Numba asks 40,000 times."""

    _shared: ClassVar[dict[str, PartFlags]] = {}

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @classmethod
    def of(cls, flags: Flags) -> PartFlags:
        """Return the one object that stands for flags of these values."""
        return cls._shared.setdefault(repr(flags), cls(flags))

    def copy(self) -> PartFlags:
        """Return the same object; nothing changes it."""
        return self


class PartCompiler(CompilerBase):  # type: ignore[misc]
    """Numba's compiler with `PartLowering` for its last step."""

    # Steps that find nothing to do in a kernel.
    IDLE = (
        "WithLift",
        "InlineClosureLikes",
        "MakeFunctionToJitFunction",
        "InlineInlinables",
        "LiteralUnroll",
        "NopythonRewrites",
    )

    def __init__(
        self, typing: Any, target: Any, library: Any, args: Any, returned: Any, flags: Any, own: Any
    ) -> None:
        flags.no_compile = True
        super().__init__(typing, target, library, args, returned, PartFlags.of(flags), own)

    def define_pipelines(self) -> list[PassManager]:
        """Return the one pipeline."""
        manager = PassManager("part")
        for step, description in DefaultPassBuilder.define_nopython_pipeline(self.state).passes:
            if step.__name__ not in self.IDLE:
                manager.add_pass(PartLowering if step is NativeLowering else step, description)
        manager.finalize()
        return [manager]


class ApartCompiler(PartCompiler):
    """The same for `apart`."""

    def __init__(
        self, typing: Any, target: Any, library: Any, args: Any, returned: Any, flags: Any, own: Any
    ) -> None:
        flags.noalias = True
        super().__init__(typing, target, library, args, returned, flags, own)

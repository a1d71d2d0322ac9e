"""What compiled modules share: functions for addresses, which numba lacks, and the choice to cache."""

from typing import Any

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def caching() -> bool:
    """Return whether the module that is being imported keeps its compiled code on disk; see `loading`."""
    config: Any = numba.config  # which does not declare its settings
    return bool(config.CACHE_DIR)


def _call(context: Any, address: Any) -> Any:
    """Call the C function `int f(void)` at this address, from compiled code."""

    def codegen(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function = builder.inttoptr(arguments[0], ir.FunctionType(ir.IntType(32), ()).as_pointer())
        return builder.sext(builder.call(function, ()), ir.IntType(64))

    return types.int64(types.int64), codegen


def _invoke(context: Any, address: Any, integers: Any) -> Any:
    """Call the C function `void f(int64, ...)` at this address with a tuple of integers: it is compiled only once."""

    def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = [builder.extract_value(arguments[1], i) for i in range(len(integers))]
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(64)] * len(values))
        builder.call(builder.inttoptr(arguments[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    return types.void(types.int64, integers), codegen


def _as_float(context: Any, bits: Any) -> Any:
    """Return the float32 number that has these bits."""

    def codegen(_: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


def _pointer(kind: Any) -> Any:
    def pointer(context: Any, address: Any) -> Any:
        """Return the address as a pointer to numbers of this kind."""

        def codegen(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], context.get_value_type(signature.return_type))

        return types.CPointer(kind)(types.int64), codegen

    return intrinsic(pointer)


as_float: Any = intrinsic(_as_float)
floats_at, integers_at = _pointer(types.float32), _pointer(types.int64)
invoke: Any = intrinsic(_invoke)
call: Any = intrinsic(_call)  # by address, because numba does not cache functions that hold a ctypes pointer

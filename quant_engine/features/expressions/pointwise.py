"""Pointwise kernels: one value from the values of the same row and asset.

Contract: arguments are numbers or one-dimensional float64 arrays of one length, the caller owns
`out`. NaN in an argument gives NaN, except in the branch that `if_else` and `mask` do not choose.
A result that is not finite (division by zero, logarithm of zero, overflow) is NaN. Truth is 1.0 and
falsehood 0.0; a comparison with a missing value is missing, not false.
"""

# numba compiles each kernel for numbers and for arrays in any argument: none has one type.
# ruff: noqa: ANN001
from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import njit, types
from numba.extending import overload

__all__ = ["KERNELS"]


def _item(argument, i):
    # Numbers are the same at every place; numba chooses the branch when it compiles.
    return argument[i] if isinstance(argument, np.ndarray) else argument


@overload(_item)
def _item_overload(argument, i):
    if isinstance(argument, types.Array):
        return lambda argument, i: argument[i]
    return lambda argument, i: argument


@njit(cache=True, nogil=True, error_model="numpy")
def _finite(x: float) -> float:
    return x if abs(x) < np.inf else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _add(a, b, out):
    for i in range(out.size):
        out[i] = _finite(_item(a, i) + _item(b, i))


@njit(cache=True, nogil=True, error_model="numpy")
def _sub(a, b, out):
    for i in range(out.size):
        out[i] = _finite(_item(a, i) - _item(b, i))


@njit(cache=True, nogil=True, error_model="numpy")
def _mul(a, b, out):
    for i in range(out.size):
        out[i] = _finite(_item(a, i) * _item(b, i))


@njit(cache=True, nogil=True, error_model="numpy")
def _div(a, b, out):
    for i in range(out.size):
        out[i] = _finite(_item(a, i) / _item(b, i))


@njit(cache=True, nogil=True, error_model="numpy")
def _power(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        # In floating point nan**0 and 1**nan are 1; here what is missing stays missing.
        known = x == x and y == y
        out[i] = _finite(x**y) if known else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _signed_power(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        known = x == x and y == y
        out[i] = _finite(np.sign(x) * abs(x) ** y) if known else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def _greater(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = x if (x > y) | (x != x) else y


@njit(cache=True, nogil=True, error_model="numpy")
def _less(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = x if (x < y) | (x != x) else y


@njit(cache=True, nogil=True, error_model="numpy")
def _gt(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = np.nan if (x != x) | (y != y) else (1.0 if x > y else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _ge(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = np.nan if (x != x) | (y != y) else (1.0 if x >= y else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _eq(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = np.nan if (x != x) | (y != y) else (1.0 if x == y else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _ne(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = np.nan if (x != x) | (y != y) else (1.0 if x != y else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _and(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = np.nan if (x != x) | (y != y) else (1.0 if (x != 0.0) & (y != 0.0) else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _or(a, b, out):
    for i in range(out.size):
        x, y = _item(a, i), _item(b, i)
        out[i] = np.nan if (x != x) | (y != y) else (1.0 if (x != 0.0) | (y != 0.0) else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _not(a, out):
    for i in range(out.size):
        x = _item(a, i)
        out[i] = np.nan if x != x else (1.0 if x == 0.0 else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _abs(a, out):
    for i in range(out.size):
        out[i] = abs(_item(a, i))


@njit(cache=True, nogil=True, error_model="numpy")
def _sign(a, out):
    for i in range(out.size):
        x = _item(a, i)
        out[i] = x if x != x else (1.0 if x > 0.0 else (-1.0 if x < 0.0 else 0.0))


@njit(cache=True, nogil=True, error_model="numpy")
def _log(a, out):
    for i in range(out.size):
        out[i] = _finite(np.log(_item(a, i)))


@njit(cache=True, nogil=True, error_model="numpy")
def _exp(a, out):
    for i in range(out.size):
        out[i] = _finite(np.exp(_item(a, i)))


@njit(cache=True, nogil=True, error_model="numpy")
def _sqrt(a, out):
    for i in range(out.size):
        out[i] = np.sqrt(_item(a, i))


@njit(cache=True, nogil=True, error_model="numpy")
def _if_else(condition, a, b, out):
    for i in range(out.size):
        c, x, y = _item(condition, i), _item(a, i), _item(b, i)
        out[i] = np.nan if c != c else (x if c != 0.0 else y)


@njit(cache=True, nogil=True, error_model="numpy")
def _mask(a, condition, out):
    for i in range(out.size):
        c, x = _item(condition, i), _item(a, i)
        out[i] = x if (c == c) & (c != 0.0) else np.nan


KERNELS: dict[str, Callable[..., None]] = {
    "Add": _add, "Sub": _sub, "Mul": _mul, "Div": _div, "Power": _power,
    "SignedPower": _signed_power, "Greater": _greater, "Less": _less, "Gt": _gt, "Ge": _ge,
    "Eq": _eq, "Ne": _ne, "And": _and, "Or": _or, "Not": _not, "Abs": _abs, "Sign": _sign,
    "Log": _log, "Exp": _exp, "Sqrt": _sqrt, "If": _if_else, "Mask": _mask,
}  # fmt: skip
"""Kernel per operator: arguments in the operator's order, then `out`."""

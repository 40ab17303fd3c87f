"""Functions: what a formula may call beside the operators of the expression language.

An operator is a building block that the engine itself knows (`Mean`, `Ref`, `CsRank`). A *function*
is a whole indicator with its own kernel: `RSI($close, 14)`, `Hurst($log_return, 100)`. It declares
its outputs, its parameters with their limits, and how many rows it reads; the compiler checks calls
against that, and the look-ahead audit checks the function against its own promise.

Contract of a function's ``compute``:

* row t of every output reads rows up to t of the inputs, and no column reads another one unless the
  function is declared ``across``;
* a value whose rows are not all present is NaN: never a partial window, nothing filled;
* it keeps no state, writes every cell of ``out``, and its bits do not depend on other columns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.registry import PluginMetadata, Registry

__all__ = ["FUNCTIONS", "Function", "Numbers", "Output", "Pages", "Parameter", "add_function"]

Numbers: TypeAlias = tuple[float, ...]
"""Parameters of one call, in the order of `Function.parameters`; whole ones are still floats."""

Pages: TypeAlias = npt.NDArray[np.float64]
"""Outputs of one call, shape (n_outputs, T, B)."""


@dataclass(frozen=True)
class Parameter:
    """One number that a call of a function takes.

    Parameters
    ----------
    name : str
        Name in messages and documents.
    low, high : float
        Smallest and largest allowed value.
    default : float or None
        Value when it is not written; None = it must be written.
    whole : bool
        Whether it must be a whole number.
    """

    name: str
    low: float
    high: float = 1e6
    default: float | None = None
    whole: bool = True


@dataclass(frozen=True)
class Output:
    """One result of a function, called by its own name.

    Parameters
    ----------
    name : str
        Name in formulas.
    summary : str
        Formula in words.
    unit : str
        Unit of the values.
    """

    name: str
    summary: str
    unit: str


@dataclass(frozen=True)
class Function:
    """An indicator that formulas may call.

    Parameters
    ----------
    outputs : tuple of Output
        What it computes in one go; a formula calls each by name with the same arguments.
    n_series : int
        Arguments that are formulas; they come first.
    parameters : tuple of Parameter
        Numbers after them; those with a default come last.
    lookback : callable
        ``lookback(numbers)``: rows, including the newest, that one value needs. For a recursive
        function the rows after which the start of the history no longer matters (`DECAYED`).
    compute : callable
        ``compute(series, numbers, out)`` with series as (T, B) float64 arrays, NaN = missing, and
        `out` as `Pages`. With ``across``: ``compute(series, numbers, out, member)``, where the
        arrays hold all assets and `member` says who is counted, shape (T, N).
    source : str
        Where the formula comes from.
    across : bool
        Whether it reads other assets of the same and earlier rows.
    recursive : bool
        Whether a value depends, however weakly, on everything since the last gap.

    Examples
    --------
    >>> def double(series, numbers, out):
    ...     out[0] = 2.0 * series[0]
    >>> twice = Function((Output("Twice", "2 a", "as a"),), 1, (), lambda n: 1, double, "none")
    >>> twice.names, twice.n_arguments
    (('Twice',), (1, 1))
    """

    outputs: tuple[Output, ...]
    n_series: int
    parameters: tuple[Parameter, ...]
    lookback: Callable[[Numbers], int]
    compute: Callable[..., None]
    source: str
    across: bool = False
    recursive: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the outputs, in the order of the pages."""
        return tuple(output.name for output in self.outputs)

    @property
    def n_arguments(self) -> tuple[int, int]:
        """Smallest and largest number of arguments."""
        needed = sum(parameter.default is None for parameter in self.parameters)
        return self.n_series + needed, self.n_series + len(self.parameters)

    def run(self, *series: FloatMatrix, numbers: Sequence[float] = ()) -> Pages:
        """Compute all outputs of arrays, outside any formula.

        Parameters
        ----------
        *series : ndarray of float64, shape (T, N)
            Inputs; NaN = missing.
        numbers : sequence of float
            Parameters; defaults follow for those that are left out.

        Returns
        -------
        ndarray of float64, shape (n_outputs, T, N)
            The outputs in the order of `names`; an across function counts every asset.
        """
        given = tuple(float(n) for n in numbers)
        rest = tuple(float(p.default or 0.0) for p in self.parameters[len(given) :])
        arrays = tuple(np.ascontiguousarray(x, dtype=np.float64) for x in series)
        out = np.empty((len(self.outputs), *arrays[0].shape))
        if self.across:
            self.compute(arrays, given + rest, out, np.ones(arrays[0].shape, dtype=bool))
        else:
            self.compute(arrays, given + rest, out)
        return out


FUNCTIONS: Registry[Function] = Registry("function")
"""Every function under the name of each of its outputs."""


def add_function(function: Function) -> Function:
    """Register a function under the names of all its outputs.

    Parameters
    ----------
    function : Function
        New function.

    Returns
    -------
    Function
        The same.

    Raises
    ------
    ConfigError
        When a name is taken, or a parameter without a default follows one with a default.

    Examples
    --------
    >>> broken = Function((), 1, (Parameter("a", 1, default=2), Parameter("b", 1)), lambda n: 1,
    ...                   print, "none")
    >>> add_function(broken)
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: function parameters: wanted those with a default last, \
got a, b. Reorder the parameters.
    """
    optional = [parameter.default is not None for parameter in function.parameters]
    if optional != sorted(optional):
        raise ConfigError(
            "function parameters",
            wanted="those with a default last",
            got=", ".join(parameter.name for parameter in function.parameters),
            hint="Reorder the parameters.",
        )
    for output in function.outputs:
        metadata = PluginMetadata(summary=output.summary, source=function.source)
        FUNCTIONS.register(output.name, metadata=metadata)(function)
    return function

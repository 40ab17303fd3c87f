"""Operators: every name that a formula may call, its arguments and what it promises.

Names and meanings are Qlib's (``qlib/data/ops.py``) with four stated differences: a window is
complete or NaN where Qlib starts with partial windows; a comparison with a missing value is
missing where Qlib says false; `WMA` is the weighted sum with weights 1..w over their total where
Qlib divides that by w once more; `EMA` ends where the rest of its weights is below `EMA_TAIL` of
the total, because a value that depends on the whole past has no lookback.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["EMA_TAIL", "OPERATORS", "Operator", "decay_of"]

EMA_TAIL = 1e-6
"""Share of an exponential average's weights that may be left out at its old end."""

POINTWISE, SHIFT, ROLLING, CROSS = "pointwise", "shift", "rolling", "cross"


@dataclass(frozen=True)
class Operator:
    """One operator.

    Parameters
    ----------
    name : str
        As it is written in formulas.
    kind : str
        ``"pointwise"``: values of one row and asset; ``"shift"``: an older row; ``"rolling"``: a
        window of rows; ``"cross"``: all assets of one row.
    n_series : int
        Arguments that are formulas; they come first.
    min_window : int
        Smallest window; 0 = the operator has no window.
    number : tuple of float
        Lowest and highest allowed value of one further number; empty = takes none.
    default : float or None
        What that number is when it is not written; None = it must be written.
    group : bool
        The last argument is a panel group such as ``$sector``.
    sliding : bool
        State slides from row to row and is taken afresh at anchors, see `sliding`.
    summary : str
        What it computes.

    Examples
    --------
    >>> OPERATORS["Quantile"].n_arguments, OPERATORS["CsScale"].n_arguments
    ((3, 3), (1, 2))
    """

    name: str
    kind: str
    n_series: int
    summary: str
    min_window: int = 0
    number: tuple[float, ...] = ()
    default: float | None = None
    group: bool = False
    sliding: bool = False

    @property
    def n_arguments(self) -> tuple[int, int]:
        """Smallest and largest number of arguments."""
        most = self.n_series + bool(self.min_window) + bool(self.number) + self.group
        return most - (self.default is not None), most


def decay_of(span: float) -> tuple[float, int]:
    """Ratio of successive weights of an exponential average, and the rows that it reads.

    Parameters
    ----------
    span : float
        At least 1: weights fall by 1 - 2/(span + 1) per row, as in pandas. Below 1: the share of
        the newest value itself, as in Qlib.

    Returns
    -------
    keep : float
        Fraction in (0, 1).
    rows : int
        Smallest number of rows that hold all but `EMA_TAIL` of the weights.

    Examples
    --------
    >>> decay_of(9.0)
    (0.8, 62)
    """
    keep = 1.0 - (span if span < 1.0 else 2.0 / (span + 1.0))
    rows = math.ceil(math.log(EMA_TAIL) / math.log(keep)) if keep > 0.0 else 1
    return keep, max(rows, 1)


def _pointwise(n_series: int, **summaries: str) -> list[Operator]:
    return [Operator(name, POINTWISE, n_series, text) for name, text in summaries.items()]


def _rolling(
    n_series: int, min_window: int, *, sliding: bool = False, **summaries: str
) -> list[Operator]:
    return [
        Operator(name, ROLLING, n_series, text, min_window=min_window, sliding=sliding)
        for name, text in summaries.items()
    ]


_ALL = [
    *_pointwise(
        2,
        Add="a + b", Sub="a - b", Mul="a * b", Div="a / b; NaN when b is 0",
        Power="a ** b", SignedPower="sign(a) |a|**b", Greater="the larger of a and b",
        Less="the smaller of a and b", Gt="1 when a > b, else 0", Ge="1 when a >= b, else 0",
        Lt="1 when a < b, else 0", Le="1 when a <= b, else 0", Eq="1 when a == b, else 0",
        Ne="1 when a != b, else 0", And="1 when both are true", Or="1 when either is true",
        Mask="a where b is true, else NaN",
    ),
    *_pointwise(
        1, Not="1 when a is 0, else 0", Abs="|a|", Sign="-1, 0 or 1",
        Log="natural logarithm; NaN at 0 and below", Exp="exponential",
        Sqrt="square root; NaN below 0",
    ),
    *_pointwise(3, If="b where a is true, else c"),
    Operator("Ref", SHIFT, 1, "a, n rows ago", min_window=1),
    Operator("Delta", SHIFT, 1, "a minus a, n rows ago", min_window=1),
    *_rolling(1, 1, sliding=True, Sum="sum", Mean="mean"),
    *_rolling(1, 2, sliding=True, Std="standard deviation, ddof 1", Var="variance, ddof 1",
              Slope="slope of a straight line on 1..w"),
    *_rolling(1, 3, sliding=True, Rsquare="R-squared of that line",
              Resi="newest value minus that line"),
    *_rolling(2, 2, sliding=True, Corr="correlation", Cov="covariance, ddof 1"),
    *_rolling(1, 1, Max="maximum", Min="minimum", IdxMax="place of the maximum, 1 = oldest",
              IdxMin="place of the minimum, 1 = oldest", Rank="percentile rank of the newest value",
              Med="median", Mad="mean absolute deviation from the mean", Product="product",
              Count="number of present values", WMA="mean with weights 1..w, newest heaviest"),
    *_rolling(1, 3, Skew="skewness, bias-corrected"),
    *_rolling(1, 4, Kurt="excess kurtosis, bias-corrected"),
    Operator("Quantile", ROLLING, 1, "quantile at a level", min_window=1, number=(0.0, 1.0)),
    Operator("EMA", ROLLING, 1, "exponential average of a span, or of a share below 1",
             number=(1e-3, 1e4), sliding=True),
    Operator("CsRank", CROSS, 1, "average rank among the assets over their number, in (0, 1]"),
    Operator("CsZscore", CROSS, 1, "distance from the mean of the assets, in standard deviations"),
    Operator("CsDemean", CROSS, 1, "distance from the mean of the assets"),
    Operator("CsMean", CROSS, 1, "mean of the assets, beside every asset"),
    Operator("CsStd", CROSS, 1, "standard deviation of the assets, ddof 1, beside every asset"),
    Operator("CsCount", CROSS, 1, "number of assets with a value, beside every asset"),
    Operator("CsQuantile", CROSS, 1, "quantile of the assets at a level, beside every asset",
             number=(0.0, 1.0)),
    Operator("CsScale", CROSS, 1, "rescaled so that absolute values sum to the number",
             number=(1e-12, 1e12), default=1.0),
    Operator("CsNeutralize", CROSS, 1, "distance from the mean of the asset's group", group=True),
    Operator("IndNeutralize", CROSS, 1, "CsNeutralize, under the name of the 101 alphas",
             group=True),
]  # fmt: skip

OPERATORS: dict[str, Operator] = {operator.name: operator for operator in _ALL}
"""Every operator by name."""

"""What else could have happened: Monte Carlo of the order of trades and of the path of returns.

Contract: returns are simple returns per period or per trade (fractions); NaN is refused. Wealth
starts at 1 and either compounds (each return on present wealth) or adds up (each return on the
starting stake). A drawdown is a fraction of the running peak, zero or negative, with the start as
the first peak: the definition of :func:`quant_engine.stats.metrics.drawdowns.max_drawdown`. A path
that reaches zero stays there.

1. ``shuffle_trades`` permutes the trades: the same trades in another order. With compounding the
   end is the same on every path; what varies is the way there.
2. ``resample_paths`` draws returns by a resampling plan of :mod:`quant_engine.stats.bootstrap`:
   blocks keep the clustering of losses, single draws destroy it and flatter the drawdown.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import IndexMatrix, check_indices
from quant_engine.stats.checks import parse_vector

__all__ = ["PathDistribution", "resample_paths", "shuffle_trades"]

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles of the table unless others are asked for."""


@dataclass(frozen=True, eq=False)
class PathDistribution:
    """Outcome of every simulated path, and of the observed one.

    Parameters
    ----------
    terminal_wealth : ndarray of float64, shape (n_paths,)
        Wealth at the end; 1 = the start.
    max_drawdown : ndarray of float64, shape (n_paths,)
        Deepest fraction below a running peak, from -1 to 0.
    lowest_wealth : ndarray of float64, shape (n_paths,)
        Smallest wealth on the way, at most 1.
    sharpe : ndarray of float64, shape (n_paths,)
        Mean over standard deviation (ddof 1) of the drawn returns times the root of the periods
        per year; NaN where the drawn returns are equal.
    observed : dict of str to float
        The same four numbers of the returns as they came.
    method : str
        How the paths were drawn and whether wealth compounds.

    Examples
    --------
    >>> paths = shuffle_trades([0.1, -0.1, 0.2, -0.05], n_paths=50, seed=0)
    >>> paths.probability_of_drawdown(0.5)
    0.0
    """

    terminal_wealth: FloatVector
    max_drawdown: FloatVector
    lowest_wealth: FloatVector
    sharpe: FloatVector
    observed: dict[str, float]
    method: str

    def quantiles(self, levels: tuple[float, ...] = QUANTILES) -> pd.DataFrame:
        """Quantiles of every outcome, one row per level (probability), and the observed value."""
        names = ("terminal_wealth", "max_drawdown", "lowest_wealth", "sharpe")
        table = {name: np.quantile(getattr(self, name), levels) for name in names}
        frame = pd.DataFrame(table, index=pd.Index([f"{level:g}" for level in levels]))
        frame.loc["observed"] = [self.observed[name] for name in names]
        return frame

    def probability_of_ruin(self, wealth: float) -> float:
        """Share of paths on which wealth falls to this level (fraction of the start) or below."""
        if not 0.0 <= wealth < 1.0:
            raise ConfigError(
                "wealth", wanted="from 0 to below 1", got=wealth, hint="0.5 = half is lost."
            )
        return float((self.lowest_wealth <= wealth).mean())

    def probability_of_drawdown(self, depth: float) -> float:
        """Share of paths with a drawdown of this depth (positive fraction) or deeper."""
        if not 0.0 < depth <= 1.0:
            raise ConfigError(
                "depth", wanted="above 0 to 1", got=depth, hint="0.2 = 20 % below the peak."
            )
        return float((self.max_drawdown <= -depth).mean())


def shuffle_trades(
    trade_returns: npt.ArrayLike, *, n_paths: int, seed: int, compounding: bool = True
) -> PathDistribution:
    """Permute the order of trades.

    Parameters
    ----------
    trade_returns : array-like, shape (n_trades,)
        Simple return of each trade on the capital at that time (fraction); with
        ``compounding=False`` on the starting capital. No NaN.
    n_paths : int
        Permutations.
    seed : int
        Seed of the generator.
    compounding : bool
        Whether wealth multiplies or adds up.

    Returns
    -------
    PathDistribution
        The Sharpe ratio is per trade and the same on every path.

    Raises
    ------
    DataError
        NaN or infinity, or a return below -1 with compounding.
    InsufficientHistoryError
        Fewer than 3 trades.
    ConfigError
        No path.

    Notes
    -----
    Trades are exchangeable only when they do not overlap and do not depend on one another; an
    observed drawdown far below the simulated ones says that losses cluster.

    Examples
    --------
    >>> paths = shuffle_trades([0.1, -0.1, 0.2, -0.05, 0.02], n_paths=500, seed=0)
    >>> paths.quantiles((0.05, 0.5)).round(4)["max_drawdown"].tolist()
    [-0.145, -0.1, -0.1]
    """
    trades = _parse_returns("trade_returns", trade_returns, compounding)
    if n_paths < 1:
        raise ConfigError("n_paths", wanted="at least 1", got=n_paths, hint="Use 1000.")
    order = np.tile(np.arange(len(trades)), (n_paths, 1))
    np.random.default_rng(seed).permuted(order, axis=1, out=order)
    return _distribution(trades, order, 1.0, compounding=compounding, method="trade order permuted")


def resample_paths(
    returns: npt.ArrayLike,
    *,
    indices: IndexMatrix,
    periods_per_year: float,
    compounding: bool = True,
) -> PathDistribution:
    """Draw paths of returns by a resampling plan.

    Parameters
    ----------
    returns : array-like, shape (T,)
        Simple returns per period (fractions) in time order; no NaN.
    indices : ndarray of int64, shape (n_paths, T)
        Resampling plan, for instance of
        :func:`quant_engine.stats.bootstrap.stationary_indices`.
    periods_per_year : float
        Periods in a year, for the Sharpe ratio.
    compounding : bool
        Whether wealth multiplies or adds up.

    Returns
    -------
    PathDistribution
        Outcomes of every path.

    Raises
    ------
    DataError
        NaN or infinity, a return below -1 with compounding, or a plan that does not fit.
    InsufficientHistoryError
        Fewer than 3 periods.
    ConfigError
        Not a positive number of periods per year.

    Examples
    --------
    >>> from quant_engine.stats.bootstrap import stationary_indices
    >>> returns = np.random.default_rng(0).normal(0.0005, 0.01, 500)
    >>> plan = stationary_indices(500, avg_block=10.0, n_draws=1000, seed=1)
    >>> paths = resample_paths(returns, indices=plan, periods_per_year=252)
    >>> paths.probability_of_drawdown(0.2), round(float(np.median(paths.terminal_wealth)), 2)
    (0.397, 1.08)
    """
    series = _parse_returns("returns", returns, compounding)
    if not periods_per_year > 0.0:
        raise ConfigError(
            "periods_per_year", wanted="more than 0", got=periods_per_year, hint="Use 252."
        )
    check_indices(indices, len(series))
    rows = np.ascontiguousarray(indices, dtype=np.int64)
    return _distribution(
        series, rows, periods_per_year, compounding=compounding, method="returns resampled"
    )


def _distribution(
    returns: FloatVector,
    indices: IndexMatrix,
    periods_per_year: float,
    *,
    compounding: bool,
    method: Literal["trade order permuted", "returns resampled"],
) -> PathDistribution:
    """Outcomes of the paths and of the observed order."""
    scale = sqrt(periods_per_year)
    as_observed = np.arange(len(returns), dtype=np.int64)[None]
    observed = _walk(returns, as_observed, compounding)[0]
    walked = _walk(returns, indices, compounding)
    # A permutation changes the Sharpe ratio by rounding alone.
    sharpe = walked[:, 3] if method == "returns resampled" else np.full(len(walked), observed[3])
    return PathDistribution(
        terminal_wealth=walked[:, 0],
        max_drawdown=walked[:, 1],
        lowest_wealth=walked[:, 2],
        sharpe=sharpe * scale,
        observed={
            "terminal_wealth": float(observed[0]),
            "max_drawdown": float(observed[1]),
            "lowest_wealth": float(observed[2]),
            "sharpe": float(observed[3] * scale),
        },
        method=f"{method}, {'compounding' if compounding else 'fixed stake'}",
    )


@njit(cache=True, nogil=True)
def _walk(returns: FloatVector, indices: IndexMatrix, compounding: bool) -> FloatVector:
    """Terminal wealth, drawdown, lowest wealth and per-period Sharpe of every path, (n, 4)."""
    n_paths, n_obs = indices.shape
    out = np.empty((n_paths, 4))
    for path in range(n_paths):
        wealth, peak, lowest, deepest, total = 1.0, 1.0, 1.0, 0.0, 0.0
        low, high = np.inf, -np.inf
        for t in range(n_obs):
            r = returns[indices[path, t]]
            total += r
            low, high = min(low, r), max(high, r)
            if wealth > 0.0:
                wealth = max(wealth * (1.0 + r) if compounding else wealth + r, 0.0)
            peak, lowest = max(peak, wealth), min(lowest, wealth)
            deepest = min(deepest, wealth / peak - 1.0)
        mean, square = total / n_obs, 0.0
        for t in range(n_obs):
            square += (returns[indices[path, t]] - mean) ** 2
        out[path, 0], out[path, 1], out[path, 2] = wealth, deepest, lowest
        out[path, 3] = mean / np.sqrt(square / (n_obs - 1)) if low < high else np.nan
    return out


def _parse_returns(name: str, values: npt.ArrayLike, compounding: bool) -> FloatVector:
    series = parse_vector(name, values)
    if np.isnan(series).any():
        raise DataError(
            name,
            wanted="no NaN",
            got=f"{int(np.isnan(series).sum())} NaN",
            hint="A missing return is not a zero return; pass what was observed.",
        )
    if len(series) < 3:
        raise InsufficientHistoryError(name, wanted="at least 3", got=len(series), hint="Wait.")
    if compounding and series.min() < -1.0:
        raise DataError(
            name,
            wanted="returns of at least -1",
            got=float(series.min()),
            hint="Losses beyond the stake need compounding=False.",
        )
    return series

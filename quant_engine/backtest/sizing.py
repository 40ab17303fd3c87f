"""Sizing of target weights: from who is held to how much, known at each decision close.

The steps and their caps are `quant_engine.risk.sizing`; this module gives them what a backtest
knows. Three things are derived from prices, each from the rows up to the decision alone:

* the names' returns per session, which give their volatility;
* the *target book*: the mean of the tranches' latest weights, before it is scaled;
* the target book's returns, which give its volatility and its edge.

The target book is virtual: it fills completely at each open and is set back to its weights every
session, so its results do not depend on the scaling that is decided from them, and a book that was
scaled to zero can come back.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.portfolio import NO_DECISION, TargetWeights
from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import Panel
from quant_engine.core.units import BPS
from quant_engine.risk.caps import check_placed
from quant_engine.risk.kelly import trailing_kelly
from quant_engine.risk.sizing import SizingConfig, scale_book, volatility_scale, weigh_names
from quant_engine.risk.volatility import realised_volatility

__all__ = ["book_returns", "session_returns", "sized_targets", "target_book"]


def sized_targets(
    targets: TargetWeights,
    panel: Panel,
    *,
    config: BacktestConfig,
    sizing: SizingConfig,
    regime_factor: FloatVector | None = None,
) -> TargetWeights:
    """Size the chosen names.

    Parameters
    ----------
    targets : TargetWeights
        Who is held on which side, and the gross exposure of the sides.
    panel : Panel
        Parsed panel (T, N) with open and close, optional dividend and, beside raw prices,
        ``split_factor``: new shares per old share from the open of its row on. NaN = not traded.
    config : BacktestConfig
        Its portfolio's cap holds besides those of the sizing; ``periods_per_year`` annualises.
    sizing : SizingConfig
        The steps.
    regime_factor : ndarray, shape (T,), optional
        Factor on the size of each row; the last step.

    Returns
    -------
    TargetWeights
        The same decisions with other sizes. A weight decided on row t depends on rows up to t.

    Raises
    ------
    ConfigError
        Caps that are infeasible, where the sizing refuses that.

    Examples
    --------
    >>> from quant_engine.backtest.portfolio import PortfolioConfig, target_weights
    >>> from quant_engine.core.panel import TimeAxis
    >>> rng = np.random.default_rng(1)
    >>> close = 10.0 * np.exp(np.cumsum(rng.normal(0, [0.01, 0.04], (40, 2)), axis=0))
    >>> sessions = pd.bdate_range("2020-01-01", periods=40).to_numpy()
    >>> panel = Panel(TimeAxis.sessions(sessions), ("A", "B"), {"open": close, "close": close})
    >>> book = PortfolioConfig(mode="long_only", names_per_side=2, max_weight_frac=1.0)
    >>> chosen = target_weights(np.ones((40, 2)), config=book, asset_ids=panel.asset_ids)
    >>> sizing = SizingConfig(weighting="inverse_volatility", caps={"max_name_frac": 1.0})
    >>> config = BacktestConfig(portfolio=book)
    >>> sized_targets(chosen, panel, config=config, sizing=sizing).weights[-1].round(2).tolist()
    [0.79, 0.21]
    """
    rows = targets.decision_rows
    tight = min(sizing.caps.max_name_frac, config.portfolio.max_weight_frac)
    caps = sizing.caps.model_copy(update={"max_name_frac": tight})
    volatility = None
    if sizing.weighting == "inverse_volatility":
        volatility = realised_volatility(
            session_returns(panel), sizing.volatility, periods_per_year=config.periods_per_year
        )[rows]
    shared = weigh_names(
        targets.weights[rows], sizing.model_copy(update={"caps": caps}), volatility=volatility
    )
    sides = 2 if config.portfolio.mode == "long_short" else 1
    check_placed(shared, config.portfolio.gross_exposure / sides, caps)
    unscaled = np.zeros_like(targets.weights)
    unscaled[rows] = shared
    book = TargetWeights(unscaled, targets.tranche, targets.n_tranches)
    factors = _book_factors(book, panel, sizing, config.periods_per_year)
    if regime_factor is not None:
        factors.append(regime_factor)
    sized = np.zeros_like(unscaled)
    sized[rows] = scale_book(shared, [factor[rows] for factor in factors], caps)
    return TargetWeights(sized, targets.tranche, targets.n_tranches)


def _book_factors(
    targets: TargetWeights, panel: Panel, sizing: SizingConfig, periods_per_year: float
) -> list[FloatVector]:
    """Factors on the whole book in their order, one per row."""
    factors: list[FloatVector] = []
    if sizing.target is None and sizing.kelly is None:
        return factors
    book = target_book(targets)
    if sizing.target is not None:
        volatility = realised_volatility(
            book_returns(book, panel), sizing.target.volatility, periods_per_year=periods_per_year
        )
        factors.append(volatility_scale(volatility, sizing.target))
    if sizing.kelly is not None:
        results = book_returns(book, panel, cost_bps=sizing.kelly.cost_bps)
        factors.append(trailing_kelly(results, sizing.kelly))
    return factors


def session_returns(panel: Panel) -> FloatMatrix:
    """Simple returns per session from close to close, dividends included.

    Parameters
    ----------
    panel : Panel
        Parsed panel (T, N) with open and close, optional dividend and ``split_factor``.

    Returns
    -------
    ndarray of float64, shape (T, N)
        ``(close_t + dividend_t) / close_s - 1`` with s the asset's last close before t, fraction;
        NaN where the asset did not trade and at its first close.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> close = np.array([[10.0], [np.nan], [11.0]])
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"open": close, "close": close})
    >>> session_returns(panel).round(6).ravel().tolist()
    [nan, nan, 0.1]
    """
    prices = _prices(panel)
    returns: FloatMatrix = (prices.close + prices.dividend) / prices.last_close - 1.0
    return returns


def target_book(targets: TargetWeights) -> FloatMatrix:
    """Weights of the whole book wanted after each close.

    Parameters
    ----------
    targets : TargetWeights
        Weights per decision.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Mean of the latest weights of the tranches that have decided so far, fraction of equity; 0
        before the first decision.

    Examples
    --------
    >>> made = TargetWeights(np.array([[0.5], [0.1], [0.0]]), np.array([0, 1, -1]), 2)
    >>> target_book(made).ravel().tolist()
    [0.5, 0.3, 0.3]
    """
    latest = np.zeros((targets.n_tranches, targets.weights.shape[1]))
    decided = np.zeros(targets.n_tranches, dtype=np.bool_)
    book = np.zeros_like(targets.weights)
    for t, tranche in enumerate(targets.tranche):
        if tranche != NO_DECISION:
            latest[tranche], decided[tranche] = targets.weights[t], True
            book[t] = latest.sum(axis=0) / decided.sum()
        elif t > 0:
            book[t] = book[t - 1]
    return book


def book_returns(book: FloatMatrix, panel: Panel, *, cost_bps: float = 0.0) -> FloatVector:
    """Returns per session of a book that is traded to its weights at each open.

    Parameters
    ----------
    book : ndarray, shape (T, N)
        Weights wanted after each close, fraction of equity.
    panel : Panel
        Parsed panel (T, N) with open and close, optional dividend and ``split_factor``.
    cost_bps : float
        Cost per unit of weight traded, bps.

    Returns
    -------
    ndarray of float64, shape (T,)
        Fraction; row t uses prices up to the close of t. NaN while nothing was held.

    Notes
    -----
    ``r_t = sum_i b_{t-2,i} ((open_t + dividend_t) / close_{t-1} - 1)
    + sum_i b_{t-1,i} (close_t / open_t - 1) - cost sum_i |b_{t-1,i} - b_{t-2,i}|``: the weights
    decided at t - 1 fill at the open of t, those decided before earn the night. A name that did
    not trade earns nothing; after a gap its last close stands for the missing ones.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> fields = {"open": np.array([[10.0], [10.0], [12.0]]),
    ...           "close": np.array([[10.0], [11.0], [12.0]])}
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> book_returns(np.ones((3, 1)), Panel(axis, ("A@US#1",), fields)).round(4).tolist()
    [nan, 0.1, 0.0909]
    """
    prices = _prices(panel)
    night = np.nan_to_num((prices.open + prices.dividend) / prices.last_close - 1.0)
    day = np.nan_to_num(prices.close / prices.open - 1.0)
    filled = np.zeros_like(book)
    filled[1:] = book[:-1]
    before = np.zeros_like(book)
    before[2:] = book[:-2]
    traded = np.abs(filled - before).sum(axis=1)
    returns = (before * night + filled * day).sum(axis=1) - cost_bps * BPS * traded
    held = (filled != 0.0).any(axis=1) | (before != 0.0).any(axis=1)
    return np.where(held, returns, np.nan)


class _Prices(NamedTuple):
    """Prices (T, N) on the share basis of the first row; `last_close` is strictly before a row."""

    open: FloatMatrix
    close: FloatMatrix
    dividend: FloatMatrix
    last_close: FloatMatrix


def _prices(panel: Panel) -> _Prices:
    """Prices per share of the first row: later splits multiply them, none of them known early."""
    close = panel.field("close")
    shares: FloatMatrix = np.ones_like(close)
    if "split_factor" in panel.fields:
        shares = np.cumprod(np.nan_to_num(panel.field("split_factor"), nan=1.0), axis=0)
    per_share = np.nan_to_num(panel.fields.get("dividend", np.zeros_like(close)))
    known = pd.DataFrame(close * shares).ffill().to_numpy()
    last = np.full_like(known, np.nan)
    last[1:] = known[:-1]
    return _Prices(panel.field("open") * shares, close * shares, per_share * shares, last)

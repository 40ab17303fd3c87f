"""How target weights are traded: price of the fill, lots, smallest order, margin, symbol changes.

What is applied here is market practice, not strategy and not cost: `TradingRules` and the fill of a
`BacktestConfig`, checked against the market that they are used on.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.config import BacktestConfig, FillPrice
from quant_engine.backtest.inputs import check_fillable
from quant_engine.backtest.kernel_state import NO_CHANGES, Market, Rules, SymbolChanges
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    IdentityError,
    MissingFieldError,
    SchemaMismatchError,
    did_you_mean,
)
from quant_engine.core.ids import id_order
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.units import BPS
from quant_engine.execution.costs import CostProfile

__all__ = [
    "CHANGE_COLUMNS",
    "check_market",
    "check_targets",
    "parse_symbol_changes",
    "simulated_rows",
    "traded_market",
    "traded_rules",
]

CHANGE_COLUMNS = ("from_asset", "to_asset", "session")

_DAYS_PER_YEAR = 365.25
_SESSIONS_PER_YEAR = 252.0
_DAY_S = 86_400
_ROUNDING = 1e-9


def check_market(panel: Panel, config: BacktestConfig, profile: CostProfile) -> None:
    """Refuse settings that do not fit a market or one another.

    Parameters
    ----------
    panel : Panel
        Market (T, N).
    config : BacktestConfig
        Its periods per year and lots.
    profile : CostProfile
        Its proportional costs.

    Raises
    ------
    ConfigError
        Lots of adjusted shares, costs of the traded value or more, or periods per year that
        cannot be those of the panel's bars.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = TimeAxis.sessions(["2020-01-02"])
    >>> panel = Panel(days, ("A@US#1",), {"close": np.ones((1, 1))})
    >>> free = CostProfile(name="free")
    >>> check_market(panel, BacktestConfig(), free)
    >>> lots = BacktestConfig.model_validate({"trading": {"lot_shares": 1.0}})
    >>> check_market(panel, lots, free)
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: trading.lot_shares: wanted a panel of raw prices beside \
lots, got split_adj prices. Adjusted shares are not the shares that were traded; add a field \
split_factor to raw prices.
    """
    if config.trading.lot_shares > 0.0 and panel.price_basis is not PriceBasis.RAW:
        raise ConfigError(
            "trading.lot_shares",
            wanted="a panel of raw prices beside lots",
            got=f"{panel.price_basis} prices",
            hint="Adjusted shares are not the shares that were traded; add a field split_factor "
            "to raw prices.",
        )
    rate = profile.effective_fee_bps * BPS + profile.effective_half_spread_frac
    if rate >= 1.0:
        raise ConfigError(
            "costs",
            wanted="fee and half-spread below the traded value itself",
            got=f"{rate:.0%} of it per side",
            hint="Rates are in bps: 1 bp is 0.01 %.",
        )
    expected = _periods_per_year(panel)
    if expected and not expected / 2.0 <= config.periods_per_year <= expected * 2.0:
        raise ConfigError(
            "backtest.periods_per_year",
            wanted=f"about {expected:,.0f} bars a year, as the panel has them",
            got=config.periods_per_year,
            hint="Interest, borrow fees and annual figures count bars of the panel.",
        )


def _periods_per_year(panel: Panel) -> float:
    """Bars of a full day times the days of a year; 0 for sessions, and where one cannot tell."""
    length = panel.time.bar_seconds
    if length is None:
        return 0.0
    if panel.time.calendar == "24/7":
        return _DAYS_PER_YEAR * _DAY_S / length
    _, count = np.unique(panel.time.values.astype("datetime64[D]"), return_counts=True)
    return _SESSIONS_PER_YEAR * float(count.max()) if count.size > 1 else 0.0


def parse_symbol_changes(table: pd.DataFrame | None, panel: Panel) -> SymbolChanges:
    """Align changes of symbol with a panel.

    Parameters
    ----------
    table : DataFrame or None
        Columns ``from_asset``, ``to_asset``, ``session`` (the first one under the new id) and
        optional ``ratio`` (new shares per old share; 1 when absent). Rows of assets that are both
        outside the panel, and of sessions after its end, are ignored.
    panel : Panel
        The parsed market.

    Returns
    -------
    SymbolChanges
        In order of their rows.

    Raises
    ------
    SchemaMismatchError
        A column is absent.
    IdentityError
        One of the two assets is unknown, or both are the same.
    DataError
        A ratio that is not above 0.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = TimeAxis.sessions(["2022-06-08", "2022-06-09"])
    >>> panel = Panel(days, ("FB@US#1", "META@US#1"), {"close": np.ones((2, 2))})
    >>> row = {"from_asset": "FB@US#1", "to_asset": "META@US#1", "session": "2022-06-09"}
    >>> parse_symbol_changes(pd.DataFrame([row]), panel).row
    array([1])
    """
    if table is None or table.empty:
        return NO_CHANGES
    missing = [name for name in CHANGE_COLUMNS if name not in table.columns]
    if missing:
        raise SchemaMismatchError(
            "symbol_changes",
            wanted=f"columns {', '.join(CHANGE_COLUMNS)}, optional ratio",
            got=f"{list(table.columns)} without {missing}",
            hint="One row per change.",
        )
    names = pd.Index(panel.asset_ids)
    source, target = (
        names.get_indexer(table[name].astype(str)) for name in ("from_asset", "to_asset")
    )
    axis = panel.time.values
    rows = np.searchsorted(axis, pd.DatetimeIndex(table["session"]).to_numpy().astype(axis.dtype))
    ratio = np.ones(len(table))
    if "ratio" in table.columns:
        ratio = table["ratio"].to_numpy(dtype=np.float64, na_value=np.nan)
    used = ((source >= 0) | (target >= 0)) & (rows < len(axis))
    _check_changes(table[used], source[used], target[used], ratio[used], panel)
    order = np.flatnonzero(used)[np.argsort(rows[used], kind="stable")]
    return SymbolChanges(
        rows[order].astype(np.int64),
        source[order].astype(np.int64),
        target[order].astype(np.int64),
        ratio[order],
    )


def _check_changes(
    table: pd.DataFrame,
    source: npt.NDArray[np.int64],
    target: npt.NDArray[np.int64],
    ratio: npt.NDArray[np.float64],
    panel: Panel,
) -> None:
    for name, found in (("from_asset", source), ("to_asset", target)):
        if (found < 0).any():
            unknown = str(table[name].to_numpy()[int(np.argmax(found < 0))])
            raise IdentityError(
                f"symbol_changes.{name}",
                wanted="both assets of a change in the panel",
                got=f"unknown {unknown!r}",
                hint=did_you_mean(unknown, panel.asset_ids[:50]),
            )
    if (source == target).any():
        raise IdentityError(
            "symbol_changes",
            wanted="two different assets",
            got=panel.asset_ids[int(source[source == target][0])],
            hint="An asset that keeps its id needs no row.",
        )
    if not (ratio > 0.0).all():
        raise DataError(
            "symbol_changes.ratio",
            wanted="new shares per old share, above 0",
            got=ratio.tolist(),
            hint="1 where a share stays a share.",
        )


def traded_market(
    market: Market, panel: Panel, fill: FillPrice, changes: SymbolChanges, rows: slice
) -> Market:
    """Put the prices of fills and the changes of symbol into a market.

    Parameters
    ----------
    market : Market
        The simulated rows.
    panel : Panel
        The caller's market (T, N) with the fields that the fill needs.
    fill : FillPrice
        Where orders fill.
    changes : SymbolChanges
        On the rows of the panel.
    rows : slice
        Simulated rows.

    Returns
    -------
    Market
        The same one for fills at the open and no change.

    Raises
    ------
    MissingFieldError
        The panel lacks a field of the fill's price.
    DataError
        A traded bar whose VWAP is absent or not above 0.
    """
    if changes.row.size:
        inside = (changes.row >= rows.start) & (changes.row < rows.stop)
        kept = SymbolChanges(*(column[inside] for column in changes))
        kept = kept._replace(row=kept.row - rows.start)
        market = market._replace(changes=kept, adv_value=_carried_adv(market.adv_value, kept))
    if fill == "next_open":
        return market
    if fill == "next_close":
        return market._replace(fill=market.close)
    needed = ("vwap",) if fill == "next_vwap" else ("high", "low", "close")
    absent = [name for name in needed if name not in panel.fields]
    if absent:
        raise MissingFieldError(
            "panel",
            wanted=f"fields {', '.join(needed)} for fill={fill!r}",
            got=f"no {', '.join(absent)}",
            hint="Add them, or fill at the open or the close.",
        )
    order = id_order(panel.asset_ids)
    price = sum(np.asarray(panel.field(name), np.float64) for name in needed) / len(needed)
    price = np.ascontiguousarray(price[rows][:, order])
    if not (price[market.can_trade] > 0.0).all():
        raise DataError(
            f"panel.{needed[0]}",
            wanted="a price above 0 in every traded bar",
            got=f"{int((~(price[market.can_trade] > 0.0)).sum())} bars without one",
            hint="Take the bars out of the tradable mask, or fill at the open or the close.",
        )
    price.setflags(write=False)
    return market._replace(fill=price)


def _carried_adv(adv: FloatMatrix, changes: SymbolChanges) -> FloatMatrix:
    """Until a new id has an ADV of its own, that of the old one at the change is known."""
    carried = adv.copy()
    for row, source, target in zip(changes.row, changes.source, changes.target, strict=True):
        before = max(row - 1, 0)
        tail = carried[before:, target]
        tail[np.isnan(tail)] = carried[before, source]
    carried.setflags(write=False)
    return carried


def traded_rules(rules: Rules, config: BacktestConfig) -> Rules:
    """Put lots, smallest order, margin and the bar of the fill into the kernel's numbers.

    Parameters
    ----------
    rules : Rules
        Costs and capital.
    config : BacktestConfig
        Market practice and bar of the fill.

    Returns
    -------
    Rules
        The same ones for the defaults.
    """
    trading = config.trading
    return rules._replace(
        lot_shares=trading.lot_shares,
        min_notional=trading.min_notional_usd,
        maintenance_margin_frac=trading.maintenance_margin_frac or 0.0,
        same_bar=config.unsafe_same_bar,
    )


def check_targets(weights: FloatMatrix, *, max_gross_frac: float | None) -> None:
    """Refuse target weights that cannot be traded, or that want more than the book may hold.

    Parameters
    ----------
    weights : ndarray of float64, shape (T, N)
        Wanted weights, fractions of the capital of a tranche.
    max_gross_frac : float or None
        Largest sum of absolute weights of a row; None = no limit. Tranches of equal capital hold
        no more together than the fullest of them.

    Raises
    ------
    DataError
        A weight that is NaN or infinite.
    ConfigError
        A row above the limit.

    Examples
    --------
    >>> check_targets(np.array([[0.6, -0.6]]), max_gross_frac=1.0)
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.ConfigError: trading.max_gross_frac: wanted target weights of at most \
1 in absolute sum, got 1.2 in 1 of 1 decisions. Lower portfolio.gross_exposure, or the sizing's \
gross cap.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        gross = np.abs(weights).sum(axis=1)
    if not np.isfinite(gross).all():
        row = int(np.argmax(~np.isfinite(gross)))
        raise DataError(
            "target weights",
            wanted="finite numbers; 0 = not held",
            got=f"{int((~np.isfinite(weights)).sum())} others, first in row {row}",
            hint="A name without an opinion has a NaN score, never a NaN weight.",
        )
    # What rounding adds to weights that sum to the limit exactly is no leverage.
    if max_gross_frac is not None and (gross > max_gross_frac * (1.0 + _ROUNDING)).any():
        above = int((gross > max_gross_frac * (1.0 + _ROUNDING)).sum())
        raise ConfigError(
            "trading.max_gross_frac",
            wanted=f"target weights of at most {max_gross_frac:g} in absolute sum",
            got=f"{gross.max():g} in {above} of {int((gross > 0.0).sum())} decisions",
            hint="Lower portfolio.gross_exposure, or the sizing's gross cap.",
        )


def simulated_rows(
    decisions: npt.NDArray[np.int64], n_rows: int, *, holding_sessions: int, unsafe_same_bar: bool
) -> slice:
    """Rows of a run: from the first decision to one holding period after the last.

    Parameters
    ----------
    decisions : ndarray of int64
        Rows on which something is decided, ascending.
    n_rows : int
        Rows of the panel.
    holding_sessions : int
        Sessions that the last decision is held.
    unsafe_same_bar : bool
        A fill on the deciding bar needs one more row in front, for the starting capital.

    Returns
    -------
    slice
        Of the panel's rows.

    Raises
    ------
    LookAheadError
        No decision has a next session to fill in.
    ConfigError
        Fills on the deciding bar, and the first row already decides.

    Examples
    --------
    >>> simulated_rows(np.array([2, 3]), 9, holding_sessions=1, unsafe_same_bar=False)
    slice(2, 5, None)
    """
    stop = min(n_rows, int(decisions[-1]) + holding_sessions + 1)
    if not unsafe_same_bar:
        check_fillable(decisions, n_rows)
        return slice(int(decisions[0]), stop)
    if decisions[0] == 0:
        raise ConfigError(
            "unsafe_same_bar",
            wanted="a session before the first score",
            got="scores from the panel's first session on",
            hint="Drop the scores of the first session.",
        )
    return slice(int(decisions[0]) - 1, stop)

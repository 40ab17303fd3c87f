"""What a run of target weights reads, keeps between two sessions, and leaves behind.

Plain tuples of arrays, as compiled functions take them, and the small steps that change a book
whole: splits, changes of symbol, the lists of what is held.
"""

# ruff: noqa: ANN001 -- compiled functions take their types from their arguments.

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.execution.fills import FILL_STATUSES

DAILY_COLUMNS = (
    "equity",
    "cash",
    "long_value",
    "short_value",
    "n_long",
    "n_short",
    "traded_value",
    "cost_fees",
    "cost_spread",
    "cost_impact",
    "cost_borrow",
    "dividends",
    "interest",
    "settlement_pnl",
)
"""Columns of the kernel's daily matrix, all in currency but the two counts."""

(EQUITY, CASH, LONG, SHORT, N_LONG, N_SHORT, TRADED, FEES, SPREAD, IMPACT, BORROW, DIVIDENDS,
 INTEREST, SETTLEMENT) = range(len(DAILY_COLUMNS))  # fmt: skip

REASONS = ("rebalance", "delisting", "halt_limit", "end_of_run")
"""Why a position changed, by code."""

MARKET_REASONS = (*REASONS, "margin_call", "borrow_recall", "symbol_change")
"""The same for runs in which a margin, the borrow market or a change of symbol may decide."""

(BY_REBALANCE, BY_DELISTING, BY_HALT, BY_END, BY_CALL, BY_NO_BORROW,
 BY_CHANGE) = range(len(MARKET_REASONS))  # fmt: skip

STATUSES = FILL_STATUSES
"""What became of an order, by code."""

_ABSENT = np.empty((0, 0))
_ABSENT.setflags(write=False)
_NO_MASK = np.empty((0, 0), dtype=np.bool_)
_NO_MASK.setflags(write=False)


class SymbolChanges(NamedTuple):
    """Changes of symbol in order of their row, shape (C,).

    From `row` on a share of column `source` is `ratio` shares of column `target`.
    """

    row: npt.NDArray[np.int64]
    source: npt.NDArray[np.int64]
    target: npt.NDArray[np.int64]
    ratio: npt.NDArray[np.float64]


NO_CHANGES = SymbolChanges(
    np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
)


class Market(NamedTuple):
    """Prices and facts of the simulated sessions, shape (R, N) unless said; NaN = not traded.

    All but open, close, can_trade and adv_value may have shape (0, 0), meaning none. `adv_value[t]`
    is known at the close of t. `delist_row` (N,) is the first row at which an asset is known to be
    delisted (R or more = never), `terminal_return_frac` (N,) what it then pays relative to the last
    close. `impact_coef_bps` (stress included) and `participation_cap_frac` (infinity = no cap) are
    rates of fills of session t, of a cost model; without them those of `Rules` hold. `fill` is the
    price at which orders fill, none = the open. `split_ratio` is new shares per old share from the
    open of t on. `borrow_bps_ann` (before stress) goes before the rate of `Rules`; `shortable[t]`
    is known at the close of t.
    """

    open: npt.NDArray[np.float64]
    close: npt.NDArray[np.float64]
    can_trade: npt.NDArray[np.bool_]
    dividend: npt.NDArray[np.float64]
    adv_value: npt.NDArray[np.float64]
    half_spread_frac: npt.NDArray[np.float64]
    delist_row: npt.NDArray[np.int64]
    terminal_return_frac: npt.NDArray[np.float64]
    impact_coef_bps: npt.NDArray[np.float64] = _ABSENT
    participation_cap_frac: npt.NDArray[np.float64] = _ABSENT
    fill: npt.NDArray[np.float64] = _ABSENT
    split_ratio: npt.NDArray[np.float64] = _ABSENT
    borrow_bps_ann: npt.NDArray[np.float64] = _ABSENT
    shortable: npt.NDArray[np.bool_] = _NO_MASK
    changes: SymbolChanges = NO_CHANGES


def market_reasons(market: Market, has_margin: bool) -> tuple[str, ...]:
    """Names of the reasons that a run can give, by code.

    Parameters
    ----------
    market : Market
        Of the run.
    has_margin : bool
        Whether a margin may call.

    Returns
    -------
    tuple of str
        `REASONS`, and the others where the market or a margin may decide.
    """
    extra = has_margin or market.shortable.size > 0 or market.changes.row.size > 0
    return MARKET_REASONS if extra else REASONS


class Rules(NamedTuple):
    """Assumptions of a run as plain numbers; see `CostProfile`, `BacktestConfig`, `TradingRules`.

    0 switches lots, the smallest order and the margin off. `borrow_multiplier` is the stress of a
    fee that the market gives.
    """

    initial_equity: float
    fee_bps: float
    half_spread_frac: float
    spread_multiplier: float
    impact_coef_bps: float
    borrow_bps_ann: float
    participation_cap_frac: float
    min_fill_frac: float
    needs_adv: bool
    interest_bps_ann: float
    periods_per_year: float
    no_trade_band_frac: float
    halt_limit_sessions: int
    halt_return_frac: float
    lot_shares: float = 0.0
    min_notional: float = 0.0
    maintenance_margin_frac: float = 0.0
    same_bar: bool = False
    borrow_multiplier: float = 1.0


ORDER = np.dtype(
    [
        ("decision_row", np.int32),
        ("row", np.int32),
        ("asset", np.int32),
        ("tranche", np.int16),
        ("reason", np.int8),
        ("status", np.int8),
        ("ordered_shares", np.float64),
        ("filled_shares", np.float64),
        ("decision_price", np.float64),
        ("reference_price", np.float64),
        ("adv_value", np.float64),
        ("fee", np.float64),
        ("spread", np.float64),
        ("impact", np.float64),
    ]
)
"""One order: what was wanted, what became of it, what it cost (currency).

Shares are signed. `decision_price` is the mark that the size came from, per share of the fill.
"""


BATCH = 256
"""Orders worked on side by side: few enough that all their columns stay in the fastest cache."""

BATCH_COLUMNS = 16
"""Numbers that are kept of each of them."""

BATCH_PITCH = BATCH + 8
"""Distance of two columns of a batch: a cache line more than its width, because columns a power of
two apart would meet in the same few lines of the cache."""


class Book(NamedTuple):
    """State between two sessions: shares (K, N) and per-asset rows (N,).

    `held` lists the columns in which a tranche holds something, ascending, as many as `n_held[0]`;
    `active` is a list for the orders of a tranche, `batch` the columns of `BATCH` of them, `flags`
    one mark per asset, padded with zeros to whole words.
    """

    shares: npt.NDArray[np.float64]
    net: npt.NDArray[np.float64]
    mark: npt.NDArray[np.float64]
    idle_sessions: npt.NDArray[np.int64]
    target: npt.NDArray[np.float64]
    held: npt.NDArray[np.int64]
    n_held: npt.NDArray[np.int64]
    active: npt.NDArray[np.int64]
    batch: npt.NDArray[np.float64]
    flags: npt.NDArray[np.uint8]


class Run(NamedTuple):
    """A finished run.

    `daily` (R, C) holds `DAILY_COLUMNS`, row 0 the starting capital; `positions` (R, N) the signed
    value of each net position after each close; `n_rows` the rows simulated, fewer than R when
    equity fell to zero or below, which ends the run. `orders` are named columns in order of
    execution, `trades` the closed round trips in order of closing, then those open at the end.
    """

    daily: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]
    n_rows: int
    orders: npt.NDArray[np.void]
    trades: npt.NDArray[np.void]


class Simulated(NamedTuple):
    """What the day loop leaves: `Run` without its round trips."""

    daily: npt.NDArray[np.float64]
    positions: npt.NDArray[np.float64]
    n_rows: int
    orders: npt.NDArray[np.void]


def make_book(n_tranches: int, n_assets: int) -> Book:
    """Allocate the state of a run: nothing held, nothing marked.

    Parameters
    ----------
    n_tranches, n_assets : int
        K and N.

    Returns
    -------
    Book
        Zeros, marks NaN.
    """
    n_padded = -(-n_assets // 8) * 8
    return Book(
        np.zeros((n_tranches, n_assets)),
        np.zeros(n_assets),
        np.full(n_assets, np.nan),
        np.zeros(n_assets, np.int64),
        np.zeros(n_assets),
        # Lists are written one place beyond their end.
        np.zeros(n_padded + 1, np.int64),
        np.zeros(1, np.int64),
        np.zeros(n_padded + 1, np.int64),
        np.zeros(BATCH_COLUMNS * BATCH_PITCH),
        np.zeros(n_padded, np.uint8),
    )


@njit(cache=True, nogil=True, error_model="numpy")
def apply_splits(ratio, shares, net, mark, flags, columns) -> None:
    """Multiply shares and divide marks by the splits of a row; `columns` is to write to."""
    for j in range(list_other(ratio, 1.0, flags, columns)):
        i = columns[j]
        mark[i] /= ratio[i]
        for k in range(shares.shape[0]):
            shares[k, i] *= ratio[i]
        sum_net(shares, net, i)


@njit(cache=True, nogil=True, error_model="numpy")
def apply_change(changes, c, book) -> None:
    """Move mark, target and shares of a change of symbol."""
    shares, mark, target, idle = book.shares, book.mark, book.target, book.idle_sessions
    old, new, per_share = changes.source[c], changes.target[c], changes.ratio[c]
    if not np.isfinite(mark[new]):
        mark[new] = mark[old] / per_share
    was_held, is_held = False, False
    for k in range(shares.shape[0]):
        was_held |= shares[k, old] != 0.0
        is_held |= shares[k, new] != 0.0
    if was_held and not is_held:
        idle[new] = idle[old]
    idle[old] = 0
    target[new] += target[old]
    target[old] = 0.0
    for k in range(shares.shape[0]):
        shares[k, new] += shares[k, old] * per_share
        shares[k, old] = 0.0
    sum_net(shares, book.net, new)
    sum_net(shares, book.net, old)


@njit(cache=True, nogil=True)
def list_held(shares, flags, held) -> int:
    """List the columns in which a tranche holds something, also where tranches net to nothing."""
    for i in range(shares.shape[1]):
        flags[i] = shares[0, i] != 0.0
    for k in range(1, shares.shape[0]):
        for i in range(shares.shape[1]):
            flags[i] |= shares[k, i] != 0.0
    return list_flagged(flags, held)


@njit(cache=True, nogil=True)
def list_other(values, usual, flags, columns) -> int:
    """List the columns whose value is there and not the usual one; say how many."""
    for i in range(values.size):
        flags[i] = (values[i] == values[i]) & (values[i] != usual)
    return list_flagged(flags, columns)


@njit(cache=True, nogil=True)
def list_flagged(flags, columns) -> int:
    """List the columns with a flag; say how many. Writes one place beyond the list."""
    # Flags are made in vectors and looked at eight at a time; no branch depends on a single one.
    n, words = 0, flags.view(np.uint64)
    for w in range(words.size):
        if words[w] != 0:
            for i in range(8 * w, 8 * w + 8):
                columns[n] = i
                n += flags[i]
    return n


@njit(cache=True, nogil=True, inline="always")
def sum_net(shares, net, i) -> None:
    """Net an asset's shares over the tranches."""
    total = 0.0
    for k in range(shares.shape[0]):
        total += shares[k, i]
    net[i] = total

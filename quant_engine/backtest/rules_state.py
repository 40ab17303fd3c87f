"""Records and state of the rules kernel: what it reads, keeps between two sessions and writes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_engine.backtest.kernel_state import DAILY_COLUMNS, REASONS, STATUSES, Market
from quant_engine.backtest.round_trips import LOT

RULE_REASONS = (
    *REASONS,
    "entry",
    "entry_cut_to_room",
    "signal",
    "holding_period",
    "hard_stop",
    "atr_stop",
    "trailing_stop",
    "profit_target",
    "regime",
    "margin_call",
    "borrow_recall",
)
"""Why a position changed, by code; the first ones are those of the weights kernel."""

(BY_ENTRY, BY_ENTRY_CUT, BY_SIGNAL, BY_HOLDING, BY_HARD, BY_ATR, BY_TRAILING, BY_TARGET,
 BY_REGIME, BY_MARGIN, BY_RECALL) = range(len(REASONS), len(RULE_REASONS))  # fmt: skip

RULE_STATUSES = (*STATUSES, "no_slot")
NO_SLOT = len(STATUSES)

RULE_LOT = np.dtype(
    [
        *LOT.descr,
        ("shares", "<f8"),
        ("entry_reason", "<i8"),
        ("entry_price", "<f8"),
        ("stop", "<f8"),
        ("stop_reason", "<i8"),
        ("target", "<f8"),
        ("regime", "<i8"),
        ("atr", "<f8"),
        ("stop_factor", "<f8"),
        ("best", "<f8"),
        ("worst", "<f8"),
        ("exit_order", "<i8"),
        ("tried_row", "<i8"),
    ]
)
"""A round trip and, while it is open, its levels.

`shares` is the signed position, `stop` and `target` prices (infinite = none), `best` and `worst`
the extreme prices seen, `exit_order` the reason of an exit decided and not finished (-1 = none),
`tried_row` the last row with an exit order.
"""

N_ORDERS, N_TRADES, N_ACTIVE, N_ENTRIES, N_CLOSED = range(5)
"""Places in the counters."""


class RuleMarket(NamedTuple):
    """What the rules read beside `Market`, shape (R, N) unless said; (0, 0) = none.

    `fill` is the price at which orders fill, `mark` the last known close, `idle` the sessions in
    a row without a bar, counted at each row.
    """

    market: Market
    high: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    fill: npt.NDArray[np.float64]
    mark: npt.NDArray[np.float64]
    idle: npt.NDArray[np.int64]
    atr: npt.NDArray[np.float64]


class RuleSignals(NamedTuple):
    """Scores (R, N), columns best first (R, N), sides allowed (R, N), regime and size (R,)."""

    score: npt.NDArray[np.float64]
    order: npt.NDArray[np.int32]
    allowed_long: npt.NDArray[np.bool_]
    allowed_short: npt.NDArray[np.bool_]
    regime: npt.NDArray[np.int64]
    size: npt.NDArray[np.float64]


class RuleNumbers(NamedTuple):
    """`RuleConfig` as plain numbers; 0 = off for stops, infinity or `NEVER` for limits.

    `stop_factor` and `entry_regime` have five places, the last one for an unknown regime.
    """

    sides: int
    entry_min: float
    max_positions: int
    position_frac: float
    max_gross_frac: float
    min_entry_frac: float
    holding_sessions: int
    exit_score: float
    hard_stop_frac: float
    atr_stop_multiple: float
    trailing_stop_frac: float
    trailing_atr_multiple: float
    trailing_arm_frac: float
    profit_target_frac: float
    exit_on_regime_change: bool
    reentry_wait_sessions: int
    maintenance_margin_frac: float
    needs_atr: bool
    fill_at_open: bool
    same_bar: bool
    stop_factor: npt.NDArray[np.float64]
    entry_regime: npt.NDArray[np.bool_]


class Desk(NamedTuple):
    """State and buffers of a run, reusable for the next one.

    Lots (N,), the row of each asset's last exit (N,), held columns in order of entry (M,), the
    entries decided (M,), the counters, a blank lot (1,) and the daily matrix (R, C).
    """

    lots: npt.NDArray[np.void]
    last_exit: npt.NDArray[np.int64]
    active: npt.NDArray[np.int64]
    entry_asset: npt.NDArray[np.int64]
    entry_shares: npt.NDArray[np.float64]
    entry_reason: npt.NDArray[np.int64]
    counts: npt.NDArray[np.int64]
    blank: npt.NDArray[np.void]
    daily: npt.NDArray[np.float64]


class Tape(NamedTuple):
    """Records of the run. Without `keep` each record overwrites the first place."""

    orders: npt.NDArray[np.void]
    trades: npt.NDArray[np.void]
    keep: bool


def make_desk(n_rows: int, n_assets: int, max_positions: int) -> Desk:
    """Allocate the state of a run.

    Parameters
    ----------
    n_rows, n_assets : int
        Shape of the market.
    max_positions : int
        Most positions of any run that will use it.

    Returns
    -------
    Desk
        Zeros; `simulate_rules` resets what it uses.
    """
    slots = min(max_positions, n_assets)
    return Desk(
        np.zeros(n_assets, RULE_LOT),
        np.zeros(n_assets, np.int64),
        np.zeros(slots, np.int64),
        np.zeros(slots, np.int64),
        np.zeros(slots),
        np.zeros(slots, np.int64),
        np.zeros(5, np.int64),
        np.zeros(1, RULE_LOT),
        np.zeros((n_rows, len(DAILY_COLUMNS))),
    )

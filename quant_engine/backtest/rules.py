"""Trading rules: when a signal opens a position and what closes it.

The second way from scores to trades, beside target weights. One account holds at most
`max_positions` names; each is opened once, never added to, and closed by the first rule that
applies.

Time contract, for the session t (`rules_kernel` does the work):

1. After the close of t-1 the rules read the signal, the regime and the positions of that close and
   write orders. A size is a fraction of the equity of that close, at the close's price.
2. The orders fill in session t: at the open (default), at the close, or at the VWAP proxy
   (high + low + close) / 3. Exits come before entries.
3. Stops and the profit target are orders that rest in the market during session t. Their levels
   were known after the close of t-1: a trailing stop moves after a close, never inside a bar.

What a daily bar cannot say is decided against the position:

* The bar opens beyond the stop: the fill is the open, not the stop.
* Stop and target both lie inside the bar: the stop is taken to be first. Only a bar that *opens*
  beyond the target fills the target (at that open) before its low can matter.
* A position opened at the open of t can be stopped in t itself. One opened at the close or over
  the session (VWAP proxy) has no stop before t+1.
* The participation cap holds for stops too; what it leaves is closed by further orders, one per
  session. A session without a bar fills nothing.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from quant_engine.backtest.config import check_same_bar
from quant_engine.core.config import FrozenConfig

__all__ = ["RuleConfig"]

Multiples = tuple[float, float, float, float]


class RuleConfig(FrozenConfig):
    """Entries, sizes and exits of a book that follows a signal.

    None switches a rule off. The defaults are the plain mode: at most twenty names of 5 % each,
    held for ten sessions. :meth:`risk_managed` adds stops. Capital, interest, delistings, the
    halt limit, thresholds on confidence and the size by regime stay in `BacktestConfig`.

    Parameters
    ----------
    sides : {"long", "short", "both"}
        Sides that may be opened.
    entry_min : float
        A score of at least this opens a long, one of at most minus this a short; above 0, in the
        unit of the scores. The strongest absolute scores come first, equal ones in asset-id order.
    max_positions : int
        Names held at once.
    position_frac : float
        Size of a new position, fraction of equity.
    max_gross_frac : float
        Entries may bring the positions' gross value up to this fraction of equity. The last one
        is cut to what fits, unless less than the cost profile's ``min_fill_frac`` of it would.
    holding_sessions : int or None
        Sessions from the fill of the entry to that of the exit.
    exit_score : float or None
        A long is left when its score falls below this, a short when minus its score does; an
        absent score says nothing.
    hard_stop_frac : float or None
        Stop at this loss from the entry's fill.
    atr_stop_multiple : float or None
        Stop this many ATR from the entry's fill; the ATR is the panel's field ``atr`` at the
        close that decided the entry, and without one there is no entry.
    trailing_stop_frac : float or None
        Stop at this distance from the best price seen since the entry.
    trailing_atr_multiple : float or None
        The same, in ATR of the entry decision.
    trailing_arm_frac : float
        Trailing stops exist once the best price lies this gain beyond the entry's fill.
    stop_regime_factor : tuple of 4 floats, optional
        Factor on every stop distance by the regime (0, 1, 2, 3) of the entry decision; an unknown
        regime counts as 1.
    profit_target_frac : float or None
        Limit order at this gain from the entry's fill.
    exit_on_regime_change : bool
        Leave when the regime known at a close is another than at the entry decision; unknown
        ones do not count.
    entry_regimes : tuple of int, optional
        Regimes in which positions may be opened; -1 = unknown.
    reentry_wait_sessions : int
        Closes to wait after an exit before the name may be decided again; 0 = the close of the
        exit's own session.
    maintenance_margin_frac : float or None
        Margin call: equity below this fraction of the positions' gross value at a close orders
        every position out, and nothing is opened at that close.
    fill : {"next_open", "next_close", "next_vwap_proxy"}
        Where orders fill, see the module. That of `BacktestConfig` is of target weights.
    unsafe_same_bar : bool
        Fill at the close of the very bar that decided. A daily signal computed from that close
        could not have traded there; needs ``fill="next_close"``.

    Examples
    --------
    >>> RuleConfig().max_positions * RuleConfig().position_frac
    1.0
    >>> RuleConfig.risk_managed().hard_stop_frac
    0.08
    """

    sides: Literal["long", "short", "both"] = "long"
    entry_min: float = Field(default=0.005, gt=0.0)
    max_positions: int = Field(default=20, ge=1)
    position_frac: float = Field(default=0.05, gt=0.0)
    max_gross_frac: float = Field(default=1.0, gt=0.0)
    holding_sessions: int | None = Field(default=10, ge=1)
    exit_score: float | None = None
    hard_stop_frac: float | None = Field(default=None, gt=0.0, lt=1.0)
    atr_stop_multiple: float | None = Field(default=None, gt=0.0)
    trailing_stop_frac: float | None = Field(default=None, gt=0.0, lt=1.0)
    trailing_atr_multiple: float | None = Field(default=None, gt=0.0)
    trailing_arm_frac: float = Field(default=0.0, ge=0.0)
    stop_regime_factor: Multiples | None = None
    profit_target_frac: float | None = Field(default=None, gt=0.0)
    exit_on_regime_change: bool = False
    entry_regimes: tuple[int, ...] | None = None
    reentry_wait_sessions: int = Field(default=0, ge=0)
    maintenance_margin_frac: float | None = Field(default=None, gt=0.0, le=1.0)
    fill: Literal["next_open", "next_close", "next_vwap_proxy"] = "next_open"
    unsafe_same_bar: bool = False

    @classmethod
    def risk_managed(cls) -> Self:
        """The plain rules with stops: 8 %, 2 ATR, 1.5 ATR trailing after +2 %, 30 sessions.

        Returns
        -------
        RuleConfig
            Stop distances scale with 1.0, 0.8, 1.2, 1.5 by regime; a regime change closes.
        """
        return cls(
            holding_sessions=30,
            hard_stop_frac=0.08,
            atr_stop_multiple=2.0,
            trailing_atr_multiple=1.5,
            trailing_arm_frac=0.02,
            stop_regime_factor=(1.0, 0.8, 1.2, 1.5),
            exit_on_regime_change=True,
        )

    @property
    def needs_atr(self) -> bool:
        """Whether a stop is measured in ATR."""
        return self.atr_stop_multiple is not None or self.trailing_atr_multiple is not None

    @property
    def rests_orders(self) -> bool:
        """Whether stops or a target rest in the market while a position is held."""
        levels = (self.hard_stop_frac, self.trailing_stop_frac, self.profit_target_frac)
        return self.needs_atr or any(level is not None for level in levels)

    @property
    def needs_range(self) -> bool:
        """Whether a bar's high and low decide something."""
        return self.rests_orders or self.fill == "next_vwap_proxy"

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_same_bar(self.fill, unsafe_same_bar=self.unsafe_same_bar)
        if self.stop_regime_factor is not None and min(self.stop_regime_factor) <= 0.0:
            raise ValueError("stop_regime_factor must be above 0")
        if self.entry_regimes is not None and not set(self.entry_regimes) <= {-1, 0, 1, 2, 3}:
            raise ValueError("entry_regimes are 0, 1, 2, 3, or -1 for unknown")
        return self

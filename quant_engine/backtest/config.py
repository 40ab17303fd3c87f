"""Settings of a backtest run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.core.config import FrozenConfig
from quant_engine.execution.delistings import TerminalReturns
from quant_engine.risk.sizing import SizingConfig

FillPrice = Literal["next_open", "next_close", "next_vwap_proxy", "next_vwap"]
"""Price of the session after the decision: its open, its close, the proxy (high + low + close) / 3,
or the panel's field ``vwap``."""


class TradingRules(FrozenConfig):
    """Market practice: what orders are rounded to, which are left out and what may force them.

    Parameters
    ----------
    lot_shares : float
        Orders are whole multiples of this many shares, rounded towards no trade; 0 = fractions
        of a share are allowed. An order that closes a position is not rounded; what the
        participation cap leaves of any order is. Needs raw prices, whose shares are real ones.
    min_notional_usd : float
        Smaller orders, valued at the close that decided them, are left out, unless they close a
        position.
    maintenance_margin_frac : float or None
        Margin call: equity below this fraction of the positions' gross value at a close orders
        every position out, whatever was decided then.
    max_gross_frac : float or None
        A run is refused when a decision wants more than this, sum of absolute weights as a
        fraction of equity. None = no limit.

    Examples
    --------
    >>> TradingRules(lot_shares=100.0).min_notional_usd
    0.0
    """

    lot_shares: float = Field(default=0.0, ge=0.0)
    min_notional_usd: float = Field(default=0.0, ge=0.0)
    maintenance_margin_frac: float | None = Field(default=None, gt=0.0, le=1.0)
    max_gross_frac: float | None = Field(default=None, gt=0.0)


class BacktestConfig(FrozenConfig):
    """What is simulated; the cost of trading is a separate `CostProfile`.

    Decisions are made after the close of a session and fill in the next one.

    Parameters
    ----------
    portfolio : PortfolioConfig
        From scores to target weights.
    initial_equity_usd : float
        Starting capital in the currency of the prices.
    fill : {"next_open", "next_close", "next_vwap_proxy", "next_vwap"}
        Where orders fill, see `FillPrice`. Rules have a fill of their own and refuse another one.
    unsafe_same_bar : bool
        Fill at the close of the very bar that decided. A signal computed from that close could
        not have traded there; needs ``fill="next_close"``. Left out of the content where False.
    periods_per_year : float
        Sessions per year: borrow and interest accrual and annualisation.
    cash_interest_bps_ann : float
        Annual interest on the cash balance, bps, paid per session; a negative balance pays it.
        0 by default: the result is then an excess return of the book over its own funding.
    terminal : TerminalReturns
        What a delisted asset pays when its terminal return is unknown; a halted one that is written
        off pays the unknown one.
    halt_limit_sessions : int or None
        A held asset that could not trade for this many sessions in a row is written off. None =
        it is carried at its last close for ever.
    min_confidence : float or None
        Names whose ``confidence`` is below this are not held. None = no limit.
    min_expected_return_frac : float or None
        Longs need an ``expected_return_frac`` of at least this, shorts of at most minus this.
    regime_size : tuple of 4 floats, optional
        Factor on the target weights decided in regime 0, 1, 2, 3; 0 = no position in that regime.
        An unknown regime (-1) counts as 1.
    sizing : SizingConfig, optional
        How much of each chosen name is held: volatility, target volatility, Kelly, caps. The
        portfolio's weights as they are by default; left out of the content, and so of the id,
        then. Rules have sizes of their own and refuse it.
    trading : TradingRules
        Lots, smallest order, margin and largest book; left out of the content, and so of the id,
        where it is the default. Rules read lots and the smallest order and refuse the others.
    beta_sessions : int
        Length of the trailing window of the hedge ratio behind ``ret_hedged``.
    beta_min_sessions : int
        Sessions needed before a hedge ratio exists; ``ret_hedged`` is NaN until then.

    Examples
    --------
    >>> BacktestConfig().portfolio.names_per_side
    50
    """

    portfolio: PortfolioConfig = PortfolioConfig()
    initial_equity_usd: float = Field(default=1_000_000.0, gt=0.0)
    fill: FillPrice = "next_open"
    unsafe_same_bar: bool = Field(default=False, exclude_if=lambda value: not value)
    periods_per_year: float = Field(default=252.0, gt=0.0)
    cash_interest_bps_ann: float = 0.0
    terminal: TerminalReturns = TerminalReturns()
    halt_limit_sessions: int | None = Field(default=21, ge=1)
    min_confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    min_expected_return_frac: float | None = Field(default=None, ge=0.0)
    regime_size: tuple[float, float, float, float] | None = None
    sizing: SizingConfig | None = Field(default=None, exclude_if=lambda sizing: sizing is None)
    trading: TradingRules = Field(
        default=TradingRules(), exclude_if=lambda trading: trading == TradingRules()
    )
    beta_sessions: int = Field(default=63, ge=3)
    beta_min_sessions: int = Field(default=21, ge=3)

    @model_validator(mode="after")
    def _check(self) -> Self:
        check_same_bar(self.fill, unsafe_same_bar=self.unsafe_same_bar)
        if self.beta_min_sessions > self.beta_sessions:
            raise ValueError("beta_min_sessions must not exceed beta_sessions")
        if self.regime_size is not None and min(self.regime_size) < 0.0:
            raise ValueError("regime_size must not be negative; use 0 for no position")
        return self


def check_same_bar(fill: str, *, unsafe_same_bar: bool) -> None:
    """Refuse a fill on the deciding bar at another price than its close.

    Parameters
    ----------
    fill : str
        Where orders fill.
    unsafe_same_bar : bool
        Whether they fill on the bar that decided.

    Raises
    ------
    ValueError
        For a validator to report.

    Examples
    --------
    >>> check_same_bar("next_close", unsafe_same_bar=True)
    """
    if unsafe_same_bar and fill != "next_close":
        raise ValueError(
            "unsafe_same_bar fills at the close of the deciding bar; state fill='next_close' "
            "with it"
        )

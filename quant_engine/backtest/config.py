"""Settings of a backtest run."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.core.config import FrozenConfig
from quant_engine.execution.delistings import TerminalReturns


class BacktestConfig(FrozenConfig):
    """What is simulated; the cost of trading is a separate `CostProfile`.

    Decisions are made after the close of a session and fill at the next open. There is no setting
    for trading the bar that made the signal.

    Parameters
    ----------
    portfolio : PortfolioConfig
        From scores to target weights.
    initial_equity_usd : float
        Starting capital in the currency of the prices.
    fill : {"next_open"}
        Where orders fill.
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
    fill: Literal["next_open"] = "next_open"
    periods_per_year: float = Field(default=252.0, gt=0.0)
    cash_interest_bps_ann: float = 0.0
    terminal: TerminalReturns = TerminalReturns()
    halt_limit_sessions: int | None = Field(default=21, ge=1)
    min_confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    min_expected_return_frac: float | None = Field(default=None, ge=0.0)
    regime_size: tuple[float, float, float, float] | None = None
    beta_sessions: int = Field(default=63, ge=3)
    beta_min_sessions: int = Field(default=21, ge=3)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.beta_min_sessions > self.beta_sessions:
            raise ValueError("beta_min_sessions must not exceed beta_sessions")
        if self.regime_size is not None and min(self.regime_size) < 0.0:
            raise ValueError("regime_size must not be negative; use 0 for no position")
        return self

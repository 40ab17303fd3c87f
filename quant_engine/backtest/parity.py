"""Parity: whether a paper account did what a backtest of the same decisions says.

Contract: two records of the same sessions are compared figure by figure. The backtest is the
yardstick: a deviation is a share of its figure, or of the floor where that figure is smaller, so
that a cost rate near 0 cannot deviate by a thousand per cent. A figure that one side lacks is no
agreement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, InsufficientHistoryError
from quant_engine.execution.paper import SessionClose, SessionTrades
from quant_engine.stats.inference import known_mean
from quant_engine.stats.metrics import annual_return, annual_vol, max_drawdown

ACCOUNT_COLUMNS = ("equity", "ret_net", "turnover", "cost_frac", "gross_exposure", "n_fills")
"""Columns of an account's daily record."""

FIGURES = (
    "total_return",
    "annual_return",
    "annual_vol",
    "max_drawdown",
    "turnover_ann",
    "cost_ann",
    "avg_gross_exposure",
    "fills_per_session",
)
"""Figures that are compared."""

MIN_SESSIONS = 2


class ParityConfig(FrozenConfig):
    """When two records agree.

    Parameters
    ----------
    max_deviation_frac : float
        Largest relative deviation of a figure.
    floor : float
        Smallest denominator, in the unit of the figure.
    periods_per_year : float
        Annualisation.

    Examples
    --------
    >>> ParityConfig().max_deviation_frac
    0.1
    """

    max_deviation_frac: float = Field(default=0.10, gt=0.0)
    floor: float = Field(default=0.02, gt=0.0)
    periods_per_year: float = Field(default=252.0, gt=0.0)


@dataclass(frozen=True, eq=False)
class Parity:
    """How far a paper account is from a backtest.

    Parameters
    ----------
    table : DataFrame
        ``figure, backtest, paper, deviation, is_within``, one row per figure of `FIGURES`.
    worst_session : Timestamp
        Session with the largest gap of the two returns.
    worst_gap_frac : float
        That gap, fraction of equity.
    tracking_error_ann : float
        Standard deviation of the difference of the daily returns, annualised.
    """

    table: pd.DataFrame
    worst_session: pd.Timestamp
    worst_gap_frac: float
    tracking_error_ann: float

    @property
    def is_within(self) -> bool:
        """Whether every figure agrees."""
        return bool(self.table["is_within"].all())

    @property
    def reason(self) -> str:
        """One sentence: what deviates, or that nothing does."""
        off = self.table[~self.table["is_within"]]
        if off.empty:
            return f"all {len(self.table)} figures agree"
        named = [
            f"{row.figure} {row.paper:.4g} against {row.backtest:.4g}"
            for row in off.itertuples(index=False)
        ]
        return f"{len(off)} of {len(self.table)} figures deviate: {'; '.join(named)}"


def relative_deviation(paper: float, backtest: float, *, floor: float = 0.02) -> float:
    """Distance of a paper figure from that of the backtest, as a share of the latter.

    Parameters
    ----------
    paper, backtest : float
        The same figure in the same unit; NaN = not available.
    floor : float
        Smallest denominator.

    Returns
    -------
    float
        ``|paper - backtest| / max(|backtest|, floor)``; NaN where one is.

    Examples
    --------
    >>> round(relative_deviation(0.105, 0.10), 3), relative_deviation(0.001, 0.0)
    (0.05, 0.05)
    """
    return float(abs(paper - backtest) / max(abs(backtest), floor))


def backtest_record(daily: pd.DataFrame, orders: pd.DataFrame) -> pd.DataFrame:
    """Bring a backtest into the form that is compared.

    Parameters
    ----------
    daily : DataFrame indexed by session
        Of a `BacktestResult`.
    orders : DataFrame
        Of the same result.

    Returns
    -------
    DataFrame indexed by session
        `ACCOUNT_COLUMNS`; ``cost_frac`` of the equity before the session.
    """
    paid = daily[["cost_fees", "cost_spread", "cost_impact", "cost_borrow"]].sum(axis=1)
    filled = orders.loc[orders["filled_shares"] != 0.0, "session"].value_counts()
    frame = daily[["equity", "ret_net", "turnover", "gross_exposure"]].assign(
        cost_frac=paid * (1.0 + daily["ret_net"]) / daily["equity"],
        n_fills=filled.reindex(daily.index, fill_value=0).astype(np.float64),
    )
    return frame[list(ACCOUNT_COLUMNS)]


def paper_record(
    days: Sequence[tuple[SessionTrades, SessionClose]], *, initial_cash_usd: float
) -> pd.DataFrame:
    """Bring what a paper broker reported into the form that is compared.

    Parameters
    ----------
    days : sequence of (SessionTrades, SessionClose)
        What the open and the close of each session did, in the order of time.
    initial_cash_usd : float
        Capital before the first of them.

    Returns
    -------
    DataFrame indexed by session
        `ACCOUNT_COLUMNS`.

    Examples
    --------
    >>> trades = SessionTrades("2024-05-02", 0.0, 0.0)
    >>> close = SessionClose("2024-05-02", 1.0, 99.0, 0.0, 0.0, 99.0)
    >>> paper_record([(trades, close)], initial_cash_usd=100.0)["ret_net"].tolist()
    [-0.010000000000000009]
    """
    rows, before = [], initial_cash_usd
    for trades, close in days:
        value = sum(abs(fill.shares) * fill.price for fill in trades.fills)
        cost = sum(fill.fee + fill.spread + fill.impact for fill in trades.fills) + close.borrow
        held = close.long_value + close.short_value
        rows.append(
            {
                "equity": close.equity,
                "ret_net": close.equity / before - 1.0,
                "turnover": value / 2.0 / before,
                "cost_frac": cost / before,
                "gross_exposure": held / close.equity if close.equity > 0.0 else np.nan,
                "n_fills": float(len(trades.fills)),
            }
        )
        before = close.equity
    sessions = pd.DatetimeIndex([pd.Timestamp(close.session) for _, close in days], name="session")
    return pd.DataFrame(rows, index=sessions, columns=list(ACCOUNT_COLUMNS))


def parity(
    backtest: pd.DataFrame, paper: pd.DataFrame, config: ParityConfig | None = None
) -> Parity:
    """Compare a paper account with the backtest of the same decisions.

    Parameters
    ----------
    backtest : DataFrame indexed by session
        Of :func:`backtest_record`.
    paper : DataFrame indexed by session
        Of :func:`paper_record`; only sessions that both have are compared.
    config : ParityConfig, optional
        Limits.

    Returns
    -------
    Parity
        By figure and by session.

    Raises
    ------
    DataError
        A column is missing.
    InsufficientHistoryError
        Fewer than 2 common sessions.

    Examples
    --------
    >>> days = pd.bdate_range("2024-05-01", periods=3, name="session")
    >>> record = pd.DataFrame(
    ...     {"equity": [100.0, 101.0, 102.0], "ret_net": [0.0, 0.01, 0.0099], "turnover": 0.1,
    ...      "cost_frac": 1e-4, "gross_exposure": 1.0, "n_fills": 5.0}, index=days
    ... )
    >>> parity(record, record).is_within, parity(record, record.assign(cost_frac=3e-4)).reason
    (True, '1 of 8 figures deviate: cost_ann 0.0756 against 0.0252')
    """
    settings = ParityConfig() if config is None else config
    for name, record in (("backtest", backtest), ("paper", paper)):
        missing = [column for column in ACCOUNT_COLUMNS if column not in record]
        if missing:
            raise DataError(
                name,
                wanted=f"the columns {', '.join(ACCOUNT_COLUMNS)}",
                got=f"without {', '.join(missing)}",
                hint="Use backtest_record and paper_record.",
            )
    common = backtest.index.intersection(paper.index)
    if len(common) < MIN_SESSIONS:
        raise InsufficientHistoryError(
            "paper",
            wanted=f"at least {MIN_SESSIONS} sessions of the backtest",
            got=len(common),
            hint="Compare after the account has traded for some sessions.",
        )
    ours, theirs = backtest.loc[common], paper.loc[common]
    yardstick, own = _figures(ours, settings), _figures(theirs, settings)
    rows = [
        {
            "figure": name,
            "backtest": yardstick[name],
            "paper": own[name],
            "deviation": relative_deviation(own[name], yardstick[name], floor=settings.floor),
        }
        for name in FIGURES
    ]
    table = pd.DataFrame(rows)
    table["is_within"] = table["deviation"] <= settings.max_deviation_frac
    gap = (theirs["ret_net"] - ours["ret_net"]).to_numpy(dtype=np.float64)
    worst = int(np.nanargmax(np.abs(gap)))
    return Parity(
        table,
        pd.Timestamp(common[worst]),
        float(gap[worst]),
        float(np.nanstd(gap, ddof=1) * np.sqrt(settings.periods_per_year)),
    )


def _figures(record: pd.DataFrame, config: ParityConfig) -> dict[str, float]:
    net, per_year = record["ret_net"].to_numpy(dtype=np.float64), config.periods_per_year
    mean = {name: known_mean(record[name].to_numpy(dtype=np.float64)) for name in ACCOUNT_COLUMNS}
    return {
        "total_return": float(np.prod(1.0 + net) - 1.0),
        "annual_return": annual_return(net, periods_per_year=per_year),
        "annual_vol": annual_vol(net, periods_per_year=per_year),
        "max_drawdown": max_drawdown(net),
        "turnover_ann": mean["turnover"] * per_year,
        "cost_ann": mean["cost_frac"] * per_year,
        "avg_gross_exposure": mean["gross_exposure"],
        "fills_per_session": mean["n_fills"],
    }

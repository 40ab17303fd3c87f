"""Factors of reports and estimates: value, accruals, size, revisions, upside, sentiment.

Each reads views of published items (`quant_engine.core.published.Published`) and refuses to run
without them: an item that is not given is an error, an item that is not known for an asset is NaN.
Figures per share stand over the close as it was quoted (`raw_close`).
"""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.registry import PluginMetadata
from quant_engine.features.factors.base import (
    FactorBase,
    FactorInputs,
    Need,
    raw_close,
    register_factor,
)

__all__ = [
    "Accruals",
    "BookToMarket",
    "EarningsYield",
    "Revisions",
    "Sentiment",
    "Size",
    "Upside",
    "ratio",
]

ASSETS = Need("total_assets_usd")
EQUITY = Need("book_equity_usd")
INCOME = Need("net_income_usd_ttm")
CASH_FLOW = Need("operating_cash_flow_usd_ttm")
EPS_YEAR = Need("eps_diluted_usd_ttm")
SHARES = Need("shares_outstanding")
UP, DOWN, TOTAL = Need("estimates_up"), Need("estimates_down"), Need("estimates_total")
FAIR_VALUE = Need("fair_value_usd")
SENTIMENT = Need("sentiment")


def ratio(top: FloatMatrix, bottom: FloatMatrix) -> FloatMatrix:
    """Quotient where the denominator is positive.

    Parameters
    ----------
    top, bottom : ndarray of float64, shape (T, N)
        NaN = missing.

    Returns
    -------
    ndarray of float64, shape (T, N)
        NaN where either is missing or the denominator is not positive: a return on negative equity
        has no meaning.

    Examples
    --------
    >>> ratio(np.array([[1.0, 1.0]]), np.array([[2.0, -2.0]])).tolist()
    [[0.5, nan]]
    """
    positive = np.where(bottom > 0.0, bottom, np.nan)
    quotient: FloatMatrix = top / positive
    return quotient


@register_factor("earnings_yield")
class EarningsYield(FactorBase):
    """Diluted earnings per share of the last four quarters over the quoted close.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="Earnings yield: diluted EPS of four quarters over the quoted close.",
        source="Basu 1977",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Earnings per share."""
        return (EPS_YEAR,)

    @property
    def lookback_sessions(self) -> int:
        """One close."""
        return 1

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return E/P as a fraction, float64 of shape (T, N)."""
        return ratio(inputs.statement(EPS_YEAR), raw_close(inputs.panel))


@register_factor("size")
class Size(FactorBase):
    """Natural logarithm of the market value.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="Logarithm of shares outstanding times the quoted close.", source="Banz 1981"
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Shares outstanding."""
        return (SHARES,)

    @property
    def lookback_sessions(self) -> int:
        """One close."""
        return 1

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return ln(USD), float64 of shape (T, N)."""
        value = inputs.statement(SHARES) * raw_close(inputs.panel)
        size: FloatMatrix = np.log(np.where(value > 0.0, value, np.nan))
        return size


@register_factor("book_to_market")
class BookToMarket(FactorBase):
    """Book equity over market value; not defined for negative equity.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="Book equity over shares outstanding times the quoted close; none below zero.",
        source="Fama and French 1992",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Book equity and shares outstanding."""
        return (EQUITY, SHARES)

    @property
    def lookback_sessions(self) -> int:
        """One close."""
        return 1

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return B/M as a fraction, float64 of shape (T, N)."""
        book = inputs.statement(EQUITY)
        market = inputs.statement(SHARES) * raw_close(inputs.panel)
        return ratio(np.where(book > 0.0, book, np.nan), market)


@register_factor("accruals")
class Accruals(FactorBase):
    """Income that did not come in as cash, over total assets; large is bad.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="(Net income - operating cash flow) of four quarters over total assets.",
        source="Sloan 1996; Hribar and Collins 2002, from the cash-flow statement",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Income, cash flow and assets."""
        return (INCOME, CASH_FLOW, ASSETS)

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return a fraction of assets, float64 of shape (T, N)."""
        gap = inputs.statement(INCOME) - inputs.statement(CASH_FLOW)
        return ratio(gap, inputs.statement(ASSETS))


@register_factor("revisions")
class Revisions(FactorBase):
    """Analysts who raised their estimate minus those who cut it, over all.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="Net revisions: (estimates raised - cut)/all estimates.",
        source="Givoly and Lakonishok 1979",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Counts of estimates."""
        return (UP, DOWN, TOTAL)

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return a fraction in [-1, 1], float64 of shape (T, N)."""
        return ratio(inputs.statement(UP) - inputs.statement(DOWN), inputs.statement(TOTAL))


@register_factor("upside")
class Upside(FactorBase):
    """Published fair value over the quoted close, minus one.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="(Fair value - close)/close, from a published table of fair values.",
        source="discounted cash flow, the table's own",
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Fair value per share."""
        return (FAIR_VALUE,)

    @property
    def lookback_sessions(self) -> int:
        """One close."""
        return 1

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return a fraction, float64 of shape (T, N)."""
        return ratio(inputs.statement(FAIR_VALUE), raw_close(inputs.panel)) - 1.0


@register_factor("sentiment")
class Sentiment(FactorBase):
    """Published sentiment, as it is.

    Parameters
    ----------
    params : NoParams
        None.
    """

    metadata = PluginMetadata(
        summary="Sentiment from a published table.", source="the table's own definition"
    )

    @property
    def needs(self) -> tuple[Need, ...]:
        """Sentiment."""
        return (SENTIMENT,)

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return the table's unit, float64 of shape (T, N)."""
        return np.array(inputs.statement(SENTIMENT))

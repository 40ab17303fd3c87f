"""One history out of two tiers: live and historical records joined around a cut-off that moves.

The exchange moves old records from the live to the historical tier, and nothing ever moves back. So
the live tier is read first; the cut-off is read again afterwards; then the historical tier is read
up to that newer cut-off. Whatever left the live tier while it was read is found there, however fast
the cut-off moves; whatever is found twice is kept once.
"""

from __future__ import annotations

from quant_engine.core.errors import EmptyDataError
from quant_engine.kalshi.exchange.client import KalshiClient, Span
from quant_engine.kalshi.exchange.records import Candle, Market, Trade

__all__ = ["all_candles", "all_markets", "all_trades"]


def all_trades(client: KalshiClient, ticker: str, span: Span) -> list[Trade]:
    """Read the prints of one market from whichever tiers hold them.

    Parameters
    ----------
    client : KalshiClient
        Exchange.
    ticker : str
        Market.
    span : Span
        Time of the prints.

    Returns
    -------
    list of Trade
        Each once, oldest first; where both tiers hold a print, the historical record is kept.
    """
    found: dict[str, Trade] = {}
    before = client.cutoff()
    if span.end_us > before.trades_us:
        live = Span(max(span.start_us, before.trades_us), span.end_us)
        found = {trade.trade_id: trade for trade in client.trades(ticker, live)}
    until_us = min(span.end_us, client.cutoff().trades_us)
    if span.start_us < until_us:
        past = client.trades(ticker, Span(span.start_us, until_us), historical=True)
        found.update({trade.trade_id: trade for trade in past})
    return sorted(found.values(), key=lambda trade: (trade.created_us or 0, trade.trade_id))


def all_markets(client: KalshiClient, event: str) -> list[Market]:
    """Read the markets of one event from both tiers.

    Parameters
    ----------
    client : KalshiClient
        Exchange.
    event : str
        Ticker.

    Returns
    -------
    list of Market
        Each once, sorted by ticker; where both tiers hold one, the historical record is kept,
        because it is the settled one.
    """
    # Live first: what moves to the historical tier afterwards is found there.
    found = {market.ticker: market for market in client.markets(event=event)}
    found.update({m.ticker: m for m in client.markets(event=event, historical=True)})
    return [found[ticker] for ticker in sorted(found)]


def all_candles(
    client: KalshiClient, series: str, market: Market, *, span: Span, period_min: int = 60
) -> list[Candle]:
    """Read the candles of one market from the tier that holds the market.

    Parameters
    ----------
    client : KalshiClient
        Exchange.
    series : str
        Series of the market.
    market : Market
        With its settlement time, if it has one.
    span : Span
        Ends of the periods.
    period_min : int
        1, 60 or 1440.

    Returns
    -------
    list of Candle
        Oldest first.

    Raises
    ------
    EmptyDataError
        When neither tier knows the market.
    """

    def read(*, historical: bool) -> list[Candle]:
        return client.candles(
            series, market.ticker, span, period_min=period_min, historical=historical
        )

    def has_moved() -> bool:
        return market.settled_us is not None and market.settled_us < client.cutoff().markets_us

    if has_moved():
        return read(historical=True)
    try:
        candles = read(historical=False)
    except EmptyDataError:
        if not has_moved():
            raise
        return read(historical=True)
    return read(historical=True) if has_moved() else candles

"""One history out of two tiers: live and historical records joined around a cut-off that moves.

The exchange moves old records from the live to the historical tier, and nothing ever moves back. So
the live tier is read first; the cut-off is read again afterwards; then the historical tier is read
up to that newer cut-off. Whatever left the live tier while it was read is found there, however fast
the cut-off moves; whatever is found twice is kept once.
"""

from __future__ import annotations

from collections.abc import Mapping

from quant_engine.core.errors import EmptyDataError
from quant_engine.kalshi.exchange.client import KalshiClient, Span
from quant_engine.kalshi.exchange.records import Candle, Market, Trade

__all__ = ["all_candles", "all_markets", "all_trades"]


def all_trades(client: KalshiClient, spans: Mapping[str, Span]) -> list[Trade]:
    """Read the prints of some markets from whichever tiers hold them.

    Parameters
    ----------
    client : KalshiClient
        Exchange.
    spans : mapping of str to Span
        Market to the time of its prints. The cut-off is read once before and once after the live
        tier of all of them.

    Returns
    -------
    list of Trade
        Each once, by market in the given order and oldest first; where both tiers hold a print,
        the historical record is kept.
    """
    found: dict[str, dict[str, Trade]] = {ticker: {} for ticker in spans}
    before_us = client.cutoff().trades_us
    for ticker, span in spans.items():
        if span.end_us > before_us:
            live = Span(max(span.start_us, before_us), span.end_us)
            found[ticker] = {trade.trade_id: trade for trade in client.trades(ticker, live)}
    after_us = client.cutoff().trades_us
    for ticker, span in spans.items():
        until_us = min(span.end_us, after_us)
        if span.start_us < until_us:
            past = client.trades(ticker, Span(span.start_us, until_us), historical=True)
            found[ticker].update({trade.trade_id: trade for trade in past})
    return [
        trade
        for trades in found.values()
        for trade in sorted(trades.values(), key=lambda t: (t.created_us or 0, t.trade_id))
    ]


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
    client: KalshiClient, markets: Mapping[str, tuple[str, Market, Span]], *, period_min: int = 60
) -> dict[str, list[Candle]]:
    """Read the candles of some markets, each from the tier that holds it.

    Parameters
    ----------
    client : KalshiClient
        Exchange.
    markets : mapping of str to (str, Market, Span)
        Ticker to series, the market with its settlement time if it has one, and the ends of the
        periods. The cut-off is read once before and once after the live tier of all of them.
    period_min : int
        1, 60 or 1440.

    Returns
    -------
    dict of str to list of Candle
        Oldest first; a market that neither tier knows is left out.
    """

    def read(ticker: str, *, historical: bool) -> list[Candle] | None:
        series, _, span = markets[ticker]
        try:
            return client.candles(
                series, ticker, span, period_min=period_min, historical=historical
            )
        except EmptyDataError:
            return None

    def moved(cutoff_us: int) -> set[str]:
        settled = {ticker: market.settled_us for ticker, (_, market, _) in markets.items()}
        return {ticker for ticker, us in settled.items() if us is not None and us < cutoff_us}

    old = moved(client.cutoff().markets_us)
    found = {ticker: read(ticker, historical=ticker in old) for ticker in markets}
    # What left the live tier while it was read may have been read in part.
    for ticker in sorted(moved(client.cutoff().markets_us) - old):
        found[ticker] = read(ticker, historical=True)
    return {ticker: candles for ticker, candles in found.items() if candles is not None}

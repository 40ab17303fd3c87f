"""Yahoo Finance through yfinance (extra ``data``): split-adjusted prices and cash dividends.

Yahoo's open, high, low and close are adjusted for splits and not for dividends; dividends come in
their own column, in the same basis. Names that no longer trade are mostly absent, so that a
universe loaded from Yahoo is one of survivors: the router never takes it as trusted.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    MissingExtraError,
    SchemaMismatchError,
    SourceUnavailableError,
)
from quant_engine.core.panel import PriceBasis
from quant_engine.core.registry import PluginMetadata
from quant_engine.data.bars import Fault, LoadedBars, canonical_ticker
from quant_engine.data.providers.registry import PROVIDERS, Availability, BarQuery, Provider

__all__ = ["YahooConfig", "YahooProvider", "bars_from_yahoo"]

_COLUMNS = {
    "open": "Open",
    "high": "High",
    "low": "Low",
    "close": "Close",
    "adj_close": "Adj Close",
    "volume": "Volume",
    "dividend": "Dividends",
    "split_factor": "Stock Splits",
}
_NEEDED = ("Open", "High", "Low", "Close", "Volume")


class YahooConfig(FrozenConfig):
    """How Yahoo is asked.

    Parameters
    ----------
    timeout_s : float
        Seconds to wait for an answer.

    Examples
    --------
    >>> YahooConfig().timeout_s
    30.0
    """

    timeout_s: float = Field(default=30.0, gt=0)


Download = Callable[[tuple[str, ...], date | None, date | None, float], pd.DataFrame]
"""``download(tickers, start, end, timeout_s)`` -> columns (ticker, field), index dates."""


def bars_from_yahoo(frame: pd.DataFrame) -> LoadedBars:
    """Turn yfinance's wide answer into bars.

    Parameters
    ----------
    frame : DataFrame
        Index of dates (with or without time zone), columns (ticker, field) as
        ``yfinance.download(..., group_by="ticker", auto_adjust=False, actions=True)`` gives them.

    Returns
    -------
    LoadedBars
        Split-adjusted; rows in which Yahoo gave no price at all are left out, symbols without any
        price are noted as faults.

    Raises
    ------
    SchemaMismatchError
        When the columns are not (ticker, field) or a price field is absent.

    Examples
    --------
    >>> fields = ["Open", "High", "Low", "Close", "Adj Close", "Volume", "Dividends",
    ...           "Stock Splits"]
    >>> answer = pd.DataFrame([[1.0, 1, 1, 1, 0.9, 100, 0, 0]],
    ...     index=pd.DatetimeIndex(["2020-01-02"]),
    ...     columns=pd.MultiIndex.from_product([["AAPL"], fields]))
    >>> bars_from_yahoo(answer).frame["close"].tolist()
    [1.0]
    """
    if frame.columns.nlevels != 2:
        raise SchemaMismatchError(
            "answer of yahoo",
            wanted="columns (ticker, field)",
            got=f"{frame.columns.nlevels} level(s)",
            hint="Use group_by='ticker' and multi_level_index=True.",
        )
    index = pd.DatetimeIndex(frame.index)
    # The label is midnight of the exchange; its date is the session, whatever the zone.
    session = index.tz_localize(None).normalize()
    parts, faults = [], []
    for ticker in frame.columns.get_level_values(0).unique():
        block = frame[ticker]
        missing = [name for name in _NEEDED if name not in block]
        if missing:
            raise SchemaMismatchError(
                f"answer of yahoo for {ticker}",
                wanted=", ".join(_NEEDED),
                got=f"no {', '.join(missing)}",
                hint="yfinance changed its columns; report the version you use.",
            )
        keep = block["Close"].notna().to_numpy()
        if not keep.any():
            faults.append(Fault("", "no_prices", "skipped", f"{ticker}: no prices from yahoo"))
            continue
        named = {name: block[c].to_numpy()[keep] for name, c in _COLUMNS.items() if c in block}
        parts.append(pd.DataFrame({"ticker": str(ticker), "session": session[keep], **named}))
    empty = pd.DataFrame({name: np.array([]) for name in ("ticker", "session", *_COLUMNS)})
    table = pd.concat(parts, ignore_index=True) if parts else empty
    return LoadedBars.from_columns(
        ticker=pd.Categorical(table["ticker"]),
        session=table["session"],
        fields={name: table[name].to_numpy() for name in _COLUMNS if name in table},
        vendor="yahoo",
        price_basis=PriceBasis.SPLIT_ADJ,
        details={
            "columns": {name: spelling for name, spelling in _COLUMNS.items() if name in table},
            "faults": tuple(faults),
            "date_pattern": "typed dates",
        },
    )


@dataclass(frozen=True)
class YahooProvider:
    """Provider of Yahoo Finance's daily history.

    Parameters
    ----------
    config : YahooConfig
        How it is asked.
    download : callable, optional
        Replaces the network call (tests).
    """

    config: YahooConfig
    download: Download | None = None
    name: str = "yahoo"

    def available(self) -> Availability:
        """Tell whether yfinance is installed."""
        if self.download is not None or importlib.util.find_spec("yfinance") is not None:
            return Availability(True)
        error = MissingExtraError.for_extra("data", package="yfinance", purpose="Yahoo prices")
        return Availability(False, str(error), error)

    def load(self, query: BarQuery) -> LoadedBars:
        """Ask for the symbols of a query.

        Raises
        ------
        ConfigError
            When no symbol is named; Yahoo has no list of everything.
        SourceUnavailableError
            When Yahoo does not answer, or knows none of the symbols.
        """
        if not query.tickers:
            raise ConfigError(
                "tickers",
                wanted="symbols to ask Yahoo for",
                got="none",
                hint="Name them with --tickers.",
            )
        spelled = tuple(canonical_ticker(t).replace(".", "-") for t in query.tickers)
        fetch = self.download or _download
        answer = fetch(spelled, query.start, query.end, self.config.timeout_s)
        bars = bars_from_yahoo(answer) if len(answer) else None
        if bars is None or bars.n_rows == 0:
            raise SourceUnavailableError(
                "yahoo",
                wanted=f"prices of {', '.join(spelled[:5])}",
                got="none",
                hint="Check the symbols and the network.",
            )
        return query.apply(bars)


@PROVIDERS.register(
    "yahoo",
    metadata=PluginMetadata(
        summary="Yahoo Finance daily history (free, survivors only, not trusted).",
        params=YahooConfig,
        extra="data",
    ),
)
def yahoo_provider(config: FrozenConfig, path: Path | None) -> Provider:
    """Build the Yahoo provider; `path` is not used."""
    return YahooProvider(YahooConfig.model_validate(config.content()))


def _download(
    tickers: tuple[str, ...], start: date | None, end: date | None, timeout_s: float
) -> pd.DataFrame:
    import yfinance  # noqa: PLC0415  optional extra
    from yfinance.exceptions import YFException  # noqa: PLC0415

    try:
        answer = yfinance.download(
            list(tickers),
            start=None if start is None else start.isoformat(),
            # yfinance excludes the end.
            end=None if end is None else (end + timedelta(days=1)).isoformat(),
            period="max" if start is None and end is None else None,
            auto_adjust=False,
            actions=True,
            group_by="ticker",
            threads=False,
            progress=False,
            timeout=timeout_s,
            multi_level_index=True,
        )
    except (YFException, OSError) as error:
        raise SourceUnavailableError(
            "yahoo",
            wanted="an answer from Yahoo Finance",
            got=f"{type(error).__name__}: {error}",
            hint="Check the network and try later; Yahoo limits how often it is asked.",
        ) from error
    return pd.DataFrame() if answer is None else answer

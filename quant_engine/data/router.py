"""Trust-ordered loading: which source answers for each asset, and why the others did not.

For each symbol, in this order:

1. a cached series of a trusted source, fetched at most ``max_staleness_days`` ago;
2. the trusted providers that are available (WRDS); their series replaces the cached one when that
   is absent, untrusted or stale, or when the new one spans ``replace_span_days`` more;
3. any cached series, however old or untrusted;
4. the free fallback providers.

A provider that cannot run (missing extra, no answer) is passed over with the reason recorded; a
name that no registry knows is an error at once. What is fetched passes the quality profile before
it is cached. Every choice is a row of ``decisions``: a fallback is never silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta

import pandas as pd
from pydantic import Field

from quant_engine.core.clock import Clock
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    SourceUnavailableError,
)
from quant_engine.core.ids import asset_id
from quant_engine.data.bars import LoadedBars, canonical_ticker
from quant_engine.data.cache import BarCache, CacheEntry, CacheMeta
from quant_engine.data.providers.registry import (
    PROVIDERS,
    BarQuery,
    Provider,
    make_provider,
)
from quant_engine.data.quality import QualityProfile, check_quality

__all__ = ["RoutedBars", "RouterConfig", "load_routed"]


class RouterConfig(FrozenConfig):
    """Trust and staleness.

    Parameters
    ----------
    trusted_sources : tuple of str
        Sources whose cached series may answer without asking anybody.
    max_staleness_days : int
        Calendar days since the fetch during which a trusted series is fresh.
    replace_span_days : int
        A trusted series replaces a fresher or equally trusted cached one only when its range is
        at least this much longer.
    trusted_providers, fallback_providers : tuple of str
        Names in the provider registry, asked in order.
    calendar : str
        Exchange calendar of the quality check.

    Examples
    --------
    >>> RouterConfig().trusted_sources
    ('wrds', 'wrds_delisting', 'ibkr')
    """

    trusted_sources: tuple[str, ...] = ("wrds", "wrds_delisting", "ibkr")
    max_staleness_days: int = Field(default=21, ge=0)
    replace_span_days: int = Field(default=180, ge=0)
    trusted_providers: tuple[str, ...] = ("wrds",)
    fallback_providers: tuple[str, ...] = ("yahoo",)
    calendar: str = "XNYS"


@dataclass(frozen=True, eq=False)
class RoutedBars:
    """Bars with the source of each symbol.

    Parameters
    ----------
    bars : LoadedBars
        All symbols that were found.
    decisions : DataFrame
        ``ticker, source, origin`` (``cache``, ``provider`` or ``none``), ``trusted``, ``reason``.
    """

    bars: LoadedBars
    decisions: pd.DataFrame


@dataclass
class _Route:
    """Everything the steps share about one load."""

    cache: BarCache
    config: RouterConfig
    profile: QualityProfile
    query: BarQuery
    clock: Clock
    cached: dict[str, CacheEntry] = field(default_factory=dict)
    chosen: dict[str, LoadedBars] = field(default_factory=dict)
    rows: dict[str, tuple[str, str, bool, str]] = field(default_factory=dict)
    passed: list[str] = field(default_factory=list)

    def missing(self) -> tuple[str, ...]:
        return tuple(t for t in self.query.tickers if t not in self.chosen)

    def choose(self, ticker: str, bars: LoadedBars, source: str, origin: str, reason: str) -> None:
        self.chosen[ticker] = bars
        trusted = source in self.config.trusted_sources
        self.rows[ticker] = (source, origin, trusted, "; ".join([reason, *self.passed]))


def load_routed(
    query: BarQuery,
    cache: BarCache,
    *,
    config: RouterConfig,
    profile: QualityProfile,
    clock: Clock,
    providers: dict[str, Provider] | None = None,
) -> RoutedBars:
    """Load symbols by trust.

    Parameters
    ----------
    query : BarQuery
        Symbols (at least one) and range.
    cache : BarCache
        Where series are kept.
    config : RouterConfig
        Trust and staleness.
    profile : QualityProfile
        What a fetched series must pass before it is cached.
    clock : Clock
        The time of this load.
    providers : dict of str to Provider, optional
        Ready providers by name; others are made from the registry.

    Returns
    -------
    RoutedBars

    Raises
    ------
    ConfigError
        For no symbols or an unknown provider name.
    SourceUnavailableError
        When no symbol was found anywhere; the message names every source passed over.
    DataError
        When the sources found have different price bases.
    """
    if not query.tickers:
        raise ConfigError(
            "tickers", wanted="at least one symbol", got="none", hint="Name them with --tickers."
        )
    known = dict(providers or {})
    for name in (*config.trusted_providers, *config.fallback_providers):
        if name not in known:
            PROVIDERS.get(name)
    names = tuple(dict.fromkeys(canonical_ticker(t) for t in query.tickers))
    route = _Route(cache, config, profile, query.model_copy(update={"tickers": names}), clock)
    index = cache.index()
    for ticker in names:
        entry = cache.read(index.get(ticker, asset_id(ticker)))
        if entry is not None:
            route.cached[ticker] = entry
    _from_fresh_cache(route)
    for name in config.trusted_providers:
        _from_provider(route, name, known.get(name), trusted=True)
    _from_any_cache(route)
    for name in config.fallback_providers:
        _from_provider(route, name, known.get(name), trusted=False)
    return _collect(route)


def is_fresh(meta: CacheMeta, config: RouterConfig, today: date) -> bool:
    """Tell whether a cached series may answer without asking anybody.

    Parameters
    ----------
    meta : CacheMeta
        Its sidecar.
    config : RouterConfig
        Trusted sources and staleness.
    today : date
        The clock's date.

    Returns
    -------
    bool
    """
    age = today - meta.fetched_at.date()
    return meta.source in config.trusted_sources and timedelta(0) <= age <= timedelta(
        days=config.max_staleness_days
    )


def should_replace(
    old: CacheMeta | None, new: LoadedBars, config: RouterConfig, *, today: date
) -> bool:
    """Tell whether a trusted provider's series takes the place of the cached one.

    Parameters
    ----------
    old : CacheMeta or None
        Sidecar of the cached series.
    new : LoadedBars
        The provider's series of one symbol.
    config : RouterConfig
        Days by which a longer series must be longer.
    today : date
        The clock's date.

    Returns
    -------
    bool
        True when nothing is cached, the cached source is untrusted or stale, or the new range is
        at least ``replace_span_days`` longer.
    """
    if old is None or not is_fresh(old, config, today):
        return True
    sessions = new.frame["session"]
    longer = (sessions.max() - sessions.min()).days - (old.last - old.first).days
    return longer >= config.replace_span_days


def _from_fresh_cache(route: _Route) -> None:
    today = route.clock.now().date()
    for ticker in route.missing():
        entry = route.cached.get(ticker)
        if entry is None or not is_fresh(entry.meta, route.config, today):
            continue
        start = route.query.start
        lacking = 0 if start is None else (entry.meta.first - start).days
        if lacking >= route.config.replace_span_days:
            # A longer history may exist; only then is a trusted provider asked.
            continue
        route.choose(ticker, entry.bars, entry.meta.source, "cache", "trusted and fresh")


def _from_provider(route: _Route, name: str, ready: Provider | None, *, trusted: bool) -> None:
    wanted = route.missing()
    if not wanted:
        return
    provider = ready or make_provider(name)
    availability = provider.available()
    if not availability.ok:
        route.passed.append(f"{name} passed over: {availability.reason}")
        return
    try:
        raw = provider.load(_whole_query(route, wanted))
        clean, report = check_quality(raw, route.profile, calendar=route.config.calendar)
    except (SourceUnavailableError, EmptyDataError) as error:
        route.passed.append(f"{name} passed over: {error}")
        return
    now = route.clock.now()
    for ticker in wanted:
        bars = clean.select((ticker,))
        if bars.n_rows == 0:
            continue
        old = route.cached.get(ticker)
        if trusted and not should_replace(
            old.meta if old else None, bars, route.config, today=now.date()
        ):
            # The caller's cached series is as good; it is taken in the next step.
            continue
        quality = {
            "profile": report.profile,
            "profile_id": report.profile_id,
            "findings": int(report.symbols.loc[ticker, "n_findings"]),
            "status": str(report.symbols.loc[ticker, "status"]),
        }
        if route.query.end is None:
            route.cache.write(bars, source=name, fetched_at=now, quality=quality)
        kind = "trusted provider" if trusted else "free fallback"
        route.choose(ticker, bars, name, "provider", kind)


def _whole_query(route: _Route, wanted: tuple[str, ...]) -> BarQuery:
    """Ask back to the first cached bar, so that a fetch never shortens what is cached."""
    start = route.query.start
    cached = [route.cached[t].meta.first for t in wanted if t in route.cached]
    if start is not None and cached:
        start = min(start, *cached)
    return route.query.model_copy(update={"tickers": wanted, "start": start})


def _from_any_cache(route: _Route) -> None:
    for ticker in route.missing():
        entry = route.cached.get(ticker)
        if entry is not None:
            day = entry.meta.fetched_at.date()
            reason = f"cached {day} from {entry.meta.source}"
            route.choose(ticker, entry.bars, entry.meta.source, "cache", reason)


def _collect(route: _Route) -> RoutedBars:
    lost = route.missing()
    reason = "; ".join(["found nowhere", *route.passed])
    if not route.chosen:
        raise SourceUnavailableError(
            f"tickers {', '.join(route.query.tickers[:5])}",
            wanted="a source that has them",
            got=reason,
            hint="Install an extra, check the network, or use --source local with your own files.",
        )
    bases = sorted({str(bars.price_basis) for bars in route.chosen.values()})
    if len(bases) > 1:
        raise DataError(
            "price_basis",
            wanted="one price basis in a load",
            got=", ".join(bases),
            hint="Clear the cache of the symbols whose basis differs.",
        )
    rows = {**route.rows, **{t: ("", "none", False, reason) for t in lost}}
    decisions = pd.DataFrame(
        [(t, *rows[t]) for t in route.query.tickers],
        columns=["ticker", "source", "origin", "trusted", "reason"],
    )
    bars = route.query.apply(_concatenated(route.chosen))
    return RoutedBars(bars, decisions)


def _concatenated(chosen: dict[str, LoadedBars]) -> LoadedBars:
    parts = list(chosen.values())
    fields = [c for c in parts[0].frame.columns if c not in ("asset_id", "ticker", "session")]
    for part in parts[1:]:
        fields += [c for c in part.frame.columns[3:] if c not in fields]
    table = pd.concat([p.frame.astype({"ticker": str, "asset_id": str}) for p in parts])
    identifiers = dict(zip(table["ticker"], table["asset_id"], strict=True))
    vendors = sorted({part.vendor for part in parts})
    delistings = [p.delistings for p in parts if p.delistings is not None]
    return LoadedBars.from_columns(
        ticker=pd.Categorical(table["ticker"]),
        session=table["session"].to_numpy(),
        fields={name: table[name].to_numpy() for name in fields},
        vendor="+".join(vendors),
        price_basis=parts[0].price_basis,
        details={
            "asset_ids": identifiers,
            "sources": tuple(record for part in parts for record in part.sources),
            "delistings": pd.concat(delistings).drop_duplicates("asset_id") if delistings else None,
        },
    )

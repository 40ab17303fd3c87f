"""The door to market data: one request in, one clean market out, and a list of what is absent.

1. A provider returns bars (``data.providers``), or a world is simulated (``data.simulated``).
2. The identity guard refuses symbols that carry one series (``data.identity``).
3. The quality profile rejects, fixes, warns and quarantines (``data.quality``).
4. Bars go on exchange sessions (``data.panel``).
5. Membership, sectors, delistings and benchmark are joined (``data.universe``).

Nothing that is missing is replaced: each absence is a sentence in ``notes``, and a request that
demands a survivorship-safe universe fails when it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.clock import Clock, SystemClock
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.core.hashing import array_digest, sha256_json
from quant_engine.core.ids import asset_id, ticker_of
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.progress import SILENT, Progress
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.bars import Fault, LoadedBars, SourceRecord, canonical_ticker
from quant_engine.data.benchmark import (
    Benchmark,
    benchmark_of_asset,
    benchmark_of_bars,
    equal_weight_benchmark,
)
from quant_engine.data.cache import BarCache
from quant_engine.data.identity import IdentityConfig, check_identity
from quant_engine.data.panel import PanelConfig, build_panel
from quant_engine.data.providers import BarQuery, make_provider
from quant_engine.data.providers.local import LocalConfig, load_folder
from quant_engine.data.quality import QualityProfile, QualityReport, check_quality
from quant_engine.data.router import RouterConfig, load_routed
from quant_engine.data.simulated import EquityWorld, EquityWorldConfig, simulate_equity_world
from quant_engine.data.universe import (
    DELISTING_COLUMNS,
    Survivorship,
    UniverseConfig,
    coverage_table,
    infer_delistings,
    judge_survivorship,
    next_session,
    read_delistings,
    read_membership,
    read_sectors,
    sector_group,
)

__all__ = ["LoadRequest", "MarketData", "Places", "load_market", "local_config"]

SIMULATED = "simulated"
AUTO = "auto"
_STEPS = 5
_DAYS_PER_YEAR = 365.25


class LoadRequest(FrozenConfig):
    """Which market is wanted. Everything here changes the result; paths are in `Places`.

    Parameters
    ----------
    source : str
        ``"simulated"``, the name of a provider, or ``"auto"``: cache, WRDS and Yahoo in the order
        of trust (``data.router``).
    tickers : tuple of str
        Only these symbols; empty = all.
    columns : dict of str to str
        Canonical name -> the source's own column name.
    date_format : str or None
        Such as ``DD-MM-YYYY``, where day and month cannot be told apart.
    vendor : str
        Name of the source in reports; the provider's own name when empty.
    price_basis : PriceBasis
        What local prices are adjusted for.
    start, end : date or None
        Closed range of sessions.
    years : float or None
        Only the last so many years of the data.
    calendar : str
        Exchange calendar, or ``"24/7"``.
    benchmark : str
        ``"equal_weight"``, ``"none"``, ``"file"`` (a path in `Places`), or a symbol of the data.
    renames : dict of str to str
        Ticker in the price files -> the company's ticker in membership and sector files.
    provider : dict
        Further parameters of a provider.
    router : RouterConfig
        Trust and staleness for source ``auto``.
    quality : QualityProfile or None
        Rules for bars; None = the shipped profile ``default``.
    world : EquityWorldConfig or None
        The simulated world; needed for source ``simulated``.
    identity, universe : IdentityConfig, UniverseConfig
        Limits of the identity guard and of survivorship.
    min_traded_frac : float
        Share of names with a bar that makes a session.
    require_survivorship_safe : bool
        Fail when the universe cannot be called survivorship-safe.

    Examples
    --------
    >>> LoadRequest(source="local").config_id() == LoadRequest(source="local").config_id()
    True
    """

    source: str = SIMULATED
    tickers: tuple[str, ...] = ()
    columns: dict[str, str] = Field(default_factory=dict)
    date_format: str | None = None
    vendor: str = ""
    price_basis: PriceBasis = PriceBasis.SPLIT_ADJ
    start: date | None = None
    end: date | None = None
    years: float | None = Field(default=None, gt=0)
    calendar: str = "XNYS"
    benchmark: str = "equal_weight"
    renames: dict[str, str] = Field(default_factory=dict)
    provider: dict[str, Any] = Field(default_factory=dict)
    router: RouterConfig = RouterConfig()
    quality: QualityProfile | None = None
    world: EquityWorldConfig | None = None
    identity: IdentityConfig = IdentityConfig()
    universe: UniverseConfig = UniverseConfig()
    min_traded_frac: float = Field(default=0.5, ge=0, le=1)
    require_survivorship_safe: bool = False

    def completed(
        self, catalog: SpecCatalog, *, quality: str = "default", world: str = ""
    ) -> LoadRequest:
        """Return the request with its profile and world filled in from specs.

        Parameters
        ----------
        catalog : SpecCatalog
            Shipped and own specs.
        quality : str
            Name in ``specs/quality``, used when no profile is set.
        world : str
            Name in ``specs/worlds``, used when the source is simulated and no world is set.

        Returns
        -------
        LoadRequest
        """
        update: dict[str, object] = {}
        if self.quality is None and self.source != SIMULATED:
            update["quality"] = catalog.load("quality", quality, QualityProfile)
        if self.world is None and self.source == SIMULATED and world:
            update["world"] = catalog.load("worlds", world, EquityWorldConfig)
        return self.model_copy(update=update)


@dataclass(frozen=True)
class Places:
    """Where files lie; in no hash, because a path changes no result.

    Parameters
    ----------
    bars : Path or None
        Folder or file of prices.
    membership, sectors, delistings, benchmark : Path or None
        Optional tables.
    cache : Path or None
        Folder of the bar cache, for source ``auto``.
    """

    bars: Path | None = None
    membership: Path | None = None
    sectors: Path | None = None
    delistings: Path | None = None
    benchmark: Path | None = None
    cache: Path | None = None


@dataclass(frozen=True, eq=False)
class MarketData:
    """A clean market with everything known about it.

    Parameters
    ----------
    panel : Panel
        ``open high low close volume`` and, where known, ``dividend``; masks ``member`` and
        ``tradable``; group ``sector`` where a sector table was given.
    benchmark : Benchmark or None
        None when none was asked for.
    delistings : DataFrame
        ``asset_id, session`` (first without the asset), ``last_session, terminal_return``
        (NaN = unknown), ``reason`` (``"unknown"`` = inferred from silence).
    coverage : DataFrame or None
        Members and how many of them have prices, per session; None without membership.
    survivorship : Survivorship
        Whether the universe may be called survivorship-safe, and why not.
    quality : QualityReport or None
        None for simulated worlds.
    sources : tuple of SourceRecord
        Files read.
    faults : tuple of Fault
        What reading noticed.
    notes : tuple of str
        What is absent or was derived, in sentences.
    vendor : str
        Name of the source.
    columns : dict of str to str
        Recognised mapping of columns.
    world : EquityWorld or None
        The simulated world with its truth.
    display : dict of str to str
        asset_id -> display symbol, where the identifier does not carry it (PERMNO).
    decisions : DataFrame or None
        Which source answered for each symbol, and why the others did not; None but for ``auto``.
    """

    panel: Panel
    benchmark: Benchmark | None
    delistings: pd.DataFrame
    coverage: pd.DataFrame | None
    survivorship: Survivorship
    quality: QualityReport | None
    sources: tuple[SourceRecord, ...]
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]
    vendor: str
    columns: dict[str, str] = field(default_factory=dict)
    world: EquityWorld | None = None
    display: dict[str, str] = field(default_factory=dict)
    decisions: pd.DataFrame | None = None

    @property
    def tickers(self) -> tuple[str, ...]:
        """Display symbol of each column of the panel."""
        if self.world is not None:
            return self.world.tickers
        return tuple(self.display.get(name, ticker_of(name)) for name in self.panel.asset_ids)

    def content_digest(self) -> str:
        """Hash what the market says (panel, benchmark, delistings), whatever its files are called.

        Returns
        -------
        str
            64 hexadecimal characters; no path and no file name enters.
        """
        panel = self.panel
        parts: dict[str, Any] = {
            "assets": list(panel.asset_ids),
            "basis": str(panel.price_basis),
            "calendar": panel.time.calendar,
            "time": array_digest(panel.time.values.astype(np.int64)),
            "delistings": self.delistings.to_csv(index=False, float_format="%.17g"),
        }
        for name, values in {**panel.fields, **panel.masks}.items():
            parts[f"panel.{name}"] = array_digest(values)
        for name, table in panel.groups.items():
            parts[f"group.{name}"] = [array_digest(table.codes), *table.categories]
        if self.benchmark is not None:
            parts["benchmark.close"] = array_digest(self.benchmark.close_returns)
            parts["benchmark.open"] = array_digest(self.benchmark.open_returns)
        return sha256_json(parts)


def load_market(
    request: LoadRequest,
    places: Places | None = None,
    *,
    as_of: date | None = None,
    clock: Clock | None = None,
    progress: Progress = SILENT,
) -> MarketData:
    """Load a market as a request describes it.

    Parameters
    ----------
    request : LoadRequest
        What is wanted.
    places : Places, optional
        Where files lie.
    as_of : date, optional
        Bars dated after it are rejected as future; None = not checked.
    clock : Clock, optional
        Decides how old a cached series is (source ``auto``); the machine's by default.
    progress : Progress
        Listener.

    Returns
    -------
    MarketData

    Raises
    ------
    DataError
        For unusable data, naming the file.
    ConfigError
        For an unknown provider, or a simulated source without a world.

    Examples
    --------
    >>> world = EquityWorldConfig(seed=1, n_assets=20, n_sessions=150)
    >>> market = load_market(LoadRequest(world=world))
    >>> market.panel.shape, market.survivorship.safe
    ((150, 20), True)
    """
    where = places or Places()
    if request.source == SIMULATED:
        with progress.stage("simulate market", 1):
            market = _simulated(request, where)
    else:
        market = _from_provider(request, where, as_of, clock or SystemClock(), progress)
    if request.require_survivorship_safe and not market.survivorship.safe:
        raise DataError(
            "survivorship",
            wanted="a universe that can be called survivorship-safe",
            got="; ".join(market.survivorship.reasons),
            hint="Add --membership FILE and known delistings, or drop --survivorship.",
        )
    return market


def _from_provider(
    request: LoadRequest,
    places: Places,
    as_of: date | None,
    clock: Clock,
    progress: Progress,
) -> MarketData:
    request = request.completed(SpecCatalog.default())
    if request.quality is None:  # completed() fills it; this tells the type checker
        raise ConfigError("quality", wanted="a profile", got=None, hint="Name one.")
    with progress.stage("load bars", _STEPS) as stage:
        raw, decisions = _load_bars(request, request.quality, places, clock)
        stage.advance()
        identity = check_identity(raw, request.identity)
        stage.advance()
        clean, quality = check_quality(raw, request.quality, calendar=request.calendar, as_of=as_of)
        clean = _last_years(clean, request)
        stage.advance()
        built = build_panel(
            clean, PanelConfig(calendar=request.calendar, min_traded_frac=request.min_traded_frac)
        )
        notes = [*built.notes, *identity.warnings()]
        stage.advance()
        if decisions is not None:
            notes.extend(_decision_notes(decisions))
        market = _with_universe(request, places, raw, built.panel, notes)
        stage.advance()
    panel, benchmark, delistings, coverage, survivorship = market
    return MarketData(
        panel=panel,
        benchmark=benchmark,
        delistings=delistings,
        coverage=coverage,
        survivorship=survivorship,
        quality=quality,
        sources=raw.sources,
        faults=raw.faults,
        notes=tuple(notes),
        vendor=raw.vendor,
        columns=dict(raw.columns),
        display=dict(zip(raw.asset_ids, raw.tickers, strict=True)),
        decisions=decisions,
    )


def _load_bars(
    request: LoadRequest, profile: QualityProfile, places: Places, clock: Clock
) -> tuple[LoadedBars, pd.DataFrame | None]:
    if request.source == AUTO:
        if places.cache is None:
            raise ConfigError(
                "cache", wanted="a folder for the cache", got=None, hint="Set the data folder."
            )
        query = BarQuery(tickers=request.tickers, start=request.start, end=request.end)
        routed = load_routed(
            query, BarCache(places.cache), config=request.router, profile=profile, clock=clock
        )
        return routed.bars, routed.decisions
    params: dict[str, object] = dict(request.provider)
    if request.source == "local":
        params |= local_config(request).content()
    provider = make_provider(request.source, params, path=places.bars)
    availability = provider.available()
    if not availability.ok and availability.error is not None:
        raise availability.error
    bars = provider.load(BarQuery(tickers=request.tickers, start=request.start, end=request.end))
    if bars.n_rows == 0:
        raise InsufficientHistoryError(
            "bars",
            wanted="rows for the tickers and dates asked for",
            got="none",
            hint="Widen --start, --end or --tickers.",
        )
    return bars, None


def _decision_notes(decisions: pd.DataFrame) -> list[str]:
    """One sentence per kind of answer, and one per symbol that nobody had."""
    found = decisions[decisions["origin"] != "none"]
    notes = []
    for (source, origin), part in found.groupby(["source", "origin"]):
        trust = "trusted" if bool(part["trusted"].iloc[0]) else "not trusted"
        notes.append(f"{len(part)} symbols from {source} ({origin}, {trust})")
    for row in decisions[decisions["origin"] == "none"].itertuples():
        notes.append(f"{row.ticker}: {row.reason}")
    return notes


def local_config(request: LoadRequest) -> LocalConfig:
    """Return how local files are read for a request.

    Parameters
    ----------
    request : LoadRequest
        Its mapping, date format, vendor and price basis.

    Returns
    -------
    LocalConfig
        Further parameters come from ``request.provider``.
    """
    return LocalConfig(
        columns=request.columns,
        date_format=request.date_format,
        vendor=request.vendor or "local",
        price_basis=request.price_basis,
    )


def _last_years(bars: LoadedBars, request: LoadRequest) -> LoadedBars:
    if request.years is None:
        return bars
    last = bars.frame["session"].max()
    return bars.select(start=last - pd.Timedelta(days=round(request.years * _DAYS_PER_YEAR)))


def _with_universe(
    request: LoadRequest, places: Places, bars: LoadedBars, panel: Panel, notes: list[str]
) -> tuple[Panel, Benchmark | None, pd.DataFrame, pd.DataFrame | None, Survivorship]:
    """Join membership, sectors, delistings and benchmark; note what is absent."""
    to_prices = dict(zip(bars.tickers, bars.asset_ids, strict=True))
    to_prices |= {v: to_prices.get(k, k) for k, v in request.renames.items()}
    coverage = None
    if places.membership is None:
        notes.append("no membership history: every name with a price is taken as a member")
    else:
        membership = read_membership(places.membership, renames=to_prices)
        coverage = coverage_table(membership, panel)
        panel = panel.with_masks({"member": membership.mask(panel.asset_ids, panel.time.values)})
        notes.append(_coverage_note(coverage))
    if places.sectors is None:
        notes.append("no sectors")
    else:
        sectors = read_sectors(places.sectors, renames=to_prices)
        known = sum(name in sectors for name in panel.asset_ids)
        panel = panel.with_groups({"sector": sector_group(sectors, panel)})
        notes.append(
            f"sectors known for {known} of {panel.shape[1]} names; one vintage for all sessions"
        )
    delistings = _delistings(request, places, bars, panel, to_prices)
    if places.delistings is None and bars.delistings is None:
        notes.append(f"no delisting table: {len(delistings)} inferred from series that end")
    survivorship = judge_survivorship(coverage, delistings, request.universe)
    benchmark = _benchmark(request, places, panel, delistings, to_prices)
    if benchmark is None:
        notes.append("no benchmark: no excess labels")
    else:
        unknown = int(np.isnan(benchmark.close_returns[1:]).sum())
        if unknown:
            notes.append(f"benchmark {benchmark.name} unknown on {unknown} sessions")
    return panel, benchmark, delistings, coverage, survivorship


def _delistings(
    request: LoadRequest,
    places: Places,
    bars: LoadedBars,
    panel: Panel,
    to_prices: Mapping[str, str],
) -> pd.DataFrame:
    """Delistings of a person's file, else of the provider, else inferred."""
    if places.delistings is not None:
        return read_delistings(places.delistings, calendar=request.calendar, renames=to_prices)
    if bars.delistings is None:
        return infer_delistings(panel, request.universe)
    return with_next_session(bars.delistings, request.calendar)


def _coverage_note(coverage: pd.DataFrame) -> str:
    first, last = coverage.iloc[0], coverage.iloc[-1]
    return (
        f"prices cover {first['n_covered']:.0f} of {first['n_members']:.0f} members on "
        f"{coverage.index[0].date()} and {last['n_covered']:.0f} of {last['n_members']:.0f} on "
        f"{coverage.index[-1].date()}"
    )


def _benchmark(
    request: LoadRequest,
    places: Places,
    panel: Panel,
    delistings: pd.DataFrame,
    to_prices: Mapping[str, str],
) -> Benchmark | None:
    if places.benchmark is not None:
        config = LocalConfig(
            columns=request.columns, date_format=request.date_format, vendor="benchmark"
        )
        return benchmark_of_bars(load_folder(places.benchmark, config), panel)
    if request.benchmark == "none":
        return None
    if request.benchmark == "equal_weight":
        return equal_weight_benchmark(panel, delistings)
    if request.benchmark == "file":
        raise ConfigError(
            "benchmark", wanted="a file", got="none", hint="Give it with --benchmark FILE."
        )
    ticker = canonical_ticker(request.benchmark)
    return benchmark_of_asset(panel, to_prices.get(ticker) or asset_id(ticker))


def with_next_session(delistings: pd.DataFrame, calendar: str) -> pd.DataFrame:
    """Add ``session``, the first session without the asset, to a table of last sessions.

    Parameters
    ----------
    delistings : DataFrame
        ``asset_id, last_session, terminal_return, reason``.
    calendar : str
        Exchange calendar.

    Returns
    -------
    DataFrame
        Columns of ``universe.DELISTING_COLUMNS``.
    """
    session = next_session(delistings["last_session"], calendar)
    return delistings.assign(session=session)[list(DELISTING_COLUMNS)]


def _refuse_ignored(request: LoadRequest, places: Places) -> None:
    """A simulated world is made by its own configuration; nothing given is ignored in silence."""
    given = [
        *(
            name
            for name in ("tickers", "columns", "start", "end", "years")
            if getattr(request, name)
        ),
        *(f"path of {name}" for name, path in vars(places).items() if path and name != "cache"),
    ]
    if given:
        raise ConfigError(
            ", ".join(given),
            wanted="nothing beside the world for simulated data",
            got="given",
            hint="Change the world, or choose --source local.",
        )


def _simulated(request: LoadRequest, places: Places) -> MarketData:
    _refuse_ignored(request, places)
    if request.world is None:
        raise ConfigError(
            "world",
            wanted="a simulated world",
            got="none",
            hint="Name one from specs/worlds with --world NAME.",
        )
    world = simulate_equity_world(request.world)
    delistings = with_next_session(world.delistings, request.world.calendar)
    coverage = _simulated_coverage(world)
    benchmark = None
    if request.benchmark != "none":
        column = request.benchmark
        if column not in world.benchmark:
            raise ConfigError(
                "benchmark",
                wanted="equal_weight, cap_weight or none for a simulated world",
                got=column,
                hint="Leave the benchmark out.",
            )
        shifted = np.full(len(world.benchmark), np.nan)
        shifted[:-1] = world.benchmark[f"{column}_open"].to_numpy()[1:]
        benchmark = Benchmark(column, world.benchmark[column].to_numpy(), shifted)
    return MarketData(
        panel=world.panel,
        benchmark=benchmark,
        delistings=delistings,
        coverage=coverage,
        survivorship=judge_survivorship(coverage, delistings, request.universe),
        quality=None,
        sources=(),
        faults=(),
        notes=(f"simulated market: world {request.world.config_id()[:12]}, not real prices",),
        vendor=SIMULATED,
        world=world,
    )


def _simulated_coverage(world: EquityWorld) -> pd.DataFrame:
    member = world.panel.mask("member")
    priced = np.isfinite(world.panel.field("close"))
    n_members = member.sum(axis=1)
    known = np.where(n_members > 0, n_members, np.nan)
    return pd.DataFrame(
        {
            "n_assets": priced.sum(axis=1),
            "n_members": n_members,
            "n_covered": n_members,
            "n_priced": (member & priced).sum(axis=1),
            "covered_frac": n_members / known,
            "priced_frac": (member & priced).sum(axis=1) / known,
        },
        index=world.panel.time.index,
    )

"""Cache files with sidecars, and which source answers for each symbol."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    MissingExtraError,
    SourceUnavailableError,
)
from quant_engine.core.panel import PriceBasis
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.bars import REQUIRED_FIELDS, LoadedBars
from quant_engine.data.cache import BarCache
from quant_engine.data.providers import Availability, BarQuery
from quant_engine.data.quality import QualityProfile
from quant_engine.data.router import RoutedBars, RouterConfig, load_routed

NOW = datetime(2020, 6, 30, 12, tzinfo=UTC)
CLOCK = FixedClock(NOW)
PROFILE = SpecCatalog.default().load("quality", "default", QualityProfile)


def bars_of(
    ticker: str,
    first: str = "2018-01-02",
    last: str = "2020-06-26",
    *,
    permno: str = "",
    level: float = 50.0,
    basis: PriceBasis = PriceBasis.SPLIT_ADJ,
) -> LoadedBars:
    days = sessions_between("XNYS", first, last)
    rng = np.random.default_rng(len(ticker))
    close = level * np.exp(np.cumsum(rng.normal(0, 0.01, days.size)))
    return LoadedBars.from_columns(
        ticker=[ticker] * days.size,
        session=days,
        fields=dict.fromkeys(REQUIRED_FIELDS, close),
        vendor="test",
        price_basis=basis,
        details={"asset_ids": {ticker: permno}} if permno else None,
    )


class FakeProvider:
    """A provider that answers from a dictionary and remembers what it was asked."""

    def __init__(self, name: str, series: dict[str, LoadedBars], reason: str = "") -> None:
        self.name = name
        self.series = series
        self.reason = reason
        self.asked: list[BarQuery] = []

    def available(self) -> Availability:
        error = MissingExtraError.for_extra("x", package="x", purpose="x") if self.reason else None
        return Availability(not self.reason, self.reason, error)

    def load(self, query: BarQuery) -> LoadedBars:
        self.asked.append(query)
        found = [self.series[t] for t in query.tickers if t in self.series]
        if not found:
            raise SourceUnavailableError(self.name, wanted="prices", got="none", hint="Wait.")
        return found[0] if len(found) == 1 else join(found)


def join(parts: list[LoadedBars]) -> LoadedBars:
    names = [t for p in parts for t in p.frame["ticker"].astype(str)]
    fields = {n: np.concatenate([p.frame[n] for p in parts]) for n in REQUIRED_FIELDS}
    return LoadedBars.from_columns(
        ticker=names,
        session=np.concatenate([p.frame["session"] for p in parts]),
        fields=fields,
        vendor="test",
        price_basis=parts[0].price_basis,
    )


def load(
    cache: BarCache,
    tickers: tuple[str, ...] = ("AAPL",),
    *,
    wrds: FakeProvider | None = None,
    yahoo: FakeProvider | None = None,
    start: date | None = None,
) -> RoutedBars:
    silent = FakeProvider("wrds", {}, "no account"), FakeProvider("yahoo", {}, "not installed")
    return load_routed(
        BarQuery(tickers=tickers, start=start),
        cache,
        config=RouterConfig(),
        profile=PROFILE,
        clock=CLOCK,
        providers={"wrds": wrds or silent[0], "yahoo": yahoo or silent[1]},
    )


@pytest.fixture
def cache(tmp_path: Path) -> BarCache:
    return BarCache(tmp_path / "cache")


@pytest.mark.feature("Q-11")
def test_cache_round_trip_with_a_complete_sidecar(cache: BarCache):
    bars = bars_of("BRK.B", permno="83443")
    cache.write(bars, source="wrds", fetched_at=NOW, quality={"status": "ok"})
    assert {p.name for p in cache.root.iterdir()} >= {"83443_1d.parquet", "83443_1d.meta.json"}
    sidecar = json.loads((cache.root / "83443_1d.meta.json").read_text())
    wanted = {"source", "permno", "ticker", "rows", "first", "last", "fetched_at", "quality"}
    assert wanted <= set(sidecar)
    assert (sidecar["permno"], sidecar["ticker"], sidecar["rows"]) == ("83443", "BRK.B", 626)
    entry = cache.read("83443")
    assert entry is not None
    assert entry.bars.content_digest() == bars.content_digest()
    assert cache.index() == {"BRK.B": "83443"}


def test_cache_takes_one_asset(cache: BarCache):
    two = join([bars_of("A"), bars_of("B")])
    with pytest.raises(DataError, match="one asset"):
        cache.write(two, source="x", fetched_at=NOW, quality={})


@pytest.mark.feature("Q-11")
def test_damaged_entries_are_ignored_until_rebuilt(cache: BarCache):
    cache.write(bars_of("AAPL"), source="wrds", fetched_at=NOW, quality={})
    sidecar = cache.root / "AAPL_1d.meta.json"
    sidecar.write_text('{"half')
    assert cache.read("AAPL@US#1") is None
    sidecar.unlink()
    assert cache.read("AAPL@US#1") is None
    old = NOW - timedelta(days=400)
    os.utime(cache.root / "AAPL_1d.parquet", (old.timestamp(), old.timestamp()))
    (meta,) = cache.rebuild_sidecars()
    assert (meta.source, meta.rows, meta.fetched_at) == ("unknown", 626, old)
    entry = cache.read("AAPL@US#1")
    assert entry is not None
    assert cache.rebuild_sidecars() == ()


def test_data_that_changed_under_its_sidecar_is_not_served(cache: BarCache):
    cache.write(bars_of("AAPL"), source="wrds", fetched_at=NOW, quality={})
    other = BarCache(cache.root.parent / "other")
    other.write(bars_of("AAPL", level=60.0), source="wrds", fetched_at=NOW, quality={})
    data = (other.root / "AAPL_1d.parquet").read_bytes()
    (cache.root / "AAPL_1d.parquet").write_bytes(data)
    assert cache.read("AAPL@US#1") is None


def test_csv_is_read_where_no_parquet_exists(cache: BarCache):
    cache.root.mkdir()
    bars = bars_of("AAPL")
    table = bars.frame.drop(columns=["asset_id", "ticker"]).rename(columns={"session": "date"})
    table.to_csv(cache.root / "AAPL_1d.csv", index=False)
    assert cache.read("AAPL@US#1") is None
    cache.rebuild_sidecars(source="mine")
    entry = cache.read("AAPL@US#1")
    assert entry is not None
    assert entry.meta.source == "mine"
    assert entry.bars.content_digest() == bars.content_digest()


@pytest.mark.feature("Q-10")
def test_trusted_and_fresh_cache_answers_alone(cache: BarCache):
    cache.write(bars_of("AAPL"), source="wrds", fetched_at=NOW - timedelta(days=21), quality={})
    wrds = FakeProvider("wrds", {"AAPL": bars_of("AAPL", level=99)})
    result = load(cache, wrds=wrds)
    assert wrds.asked == []
    row = result.decisions.iloc[0]
    assert (row["source"], row["origin"], bool(row["trusted"])) == ("wrds", "cache", True)


@pytest.mark.feature("Q-10")
@pytest.mark.parametrize(("source", "age"), [("yahoo", 0), ("wrds", 22)])
def test_untrusted_or_stale_cache_gives_way_to_wrds(cache: BarCache, source: str, age: int):
    cache.write(bars_of("AAPL"), source=source, fetched_at=NOW - timedelta(days=age), quality={})
    wrds = FakeProvider("wrds", {"AAPL": bars_of("AAPL", permno="14593")})
    result = load(cache, wrds=wrds)
    assert result.decisions["origin"].tolist() == ["provider"]
    assert result.bars.asset_ids == ("14593",)
    entry = cache.read("14593")
    assert entry is not None
    assert entry.meta.source == "wrds"
    assert entry.meta.quality["status"] == "ok"
    again = load(cache, wrds=FakeProvider("wrds", {}))
    assert again.decisions["origin"].tolist() == ["cache"]
    assert again.bars.asset_ids == ("14593",)


@pytest.mark.feature("Q-10")
@pytest.mark.parametrize(("first", "replaced"), [("2017-07-10", False), ("2017-07-06", True)])
def test_fresh_trusted_series_is_replaced_only_by_a_much_longer_one(
    cache: BarCache, first: str, replaced: bool
):
    cache.write(bars_of("AAPL"), source="ibkr", fetched_at=NOW, quality={})
    wrds = FakeProvider("wrds", {"AAPL": bars_of("AAPL", first)})
    result = load(cache, wrds=wrds, start=date(2017, 1, 3))
    assert len(wrds.asked) == 1
    assert result.decisions["source"].tolist() == ["wrds" if replaced else "ibkr"]
    assert str(result.bars.frame["session"].min().date()) == (first if replaced else "2018-01-02")


@pytest.mark.feature("Q-10")
def test_any_cache_then_free_fallback_with_every_reason(cache: BarCache):
    cache.write(bars_of("AAPL"), source="yahoo", fetched_at=NOW - timedelta(days=300), quality={})
    yahoo = FakeProvider("yahoo", {"MSFT": bars_of("MSFT")})
    result = load(cache, ("AAPL", "MSFT", "ZZZ"), yahoo=yahoo)
    table = result.decisions.set_index("ticker")
    assert table["origin"].to_dict() == {"AAPL": "cache", "MSFT": "provider", "ZZZ": "none"}
    assert table["trusted"].tolist() == [False] * 3
    assert "no account" in table.loc["AAPL", "reason"]
    assert "free fallback" in table.loc["MSFT", "reason"]
    assert [query.tickers for query in yahoo.asked] == [("MSFT", "ZZZ")]
    assert result.bars.tickers == ("AAPL", "MSFT")
    assert cache.read("MSFT@US#1") is not None


def test_a_fetch_never_shortens_the_cache(cache: BarCache):
    old = NOW - timedelta(days=60)
    cache.write(bars_of("AAPL"), source="wrds", fetched_at=old, quality={})
    wrds = FakeProvider("wrds", {"AAPL": bars_of("AAPL")})
    result = load(cache, wrds=wrds, start=date(2020, 1, 2))
    assert wrds.asked[0].start == date(2018, 1, 2)
    assert str(result.bars.frame["session"].min().date()) == "2020-01-02"


def test_quality_is_checked_before_caching(cache: BarCache):
    bars = bars_of("AAPL")
    frame = bars.frame.copy()
    frame.loc[5, "close"] = -1.0
    yahoo = FakeProvider("yahoo", {"AAPL": bars.with_frame(frame)})
    result = load(cache, yahoo=yahoo)
    assert result.bars.n_rows == 625
    entry = cache.read("AAPL@US#1")
    assert entry is not None
    assert (entry.meta.rows, entry.meta.quality["findings"]) == (625, 1)


def test_nothing_anywhere_names_everything_tried(cache: BarCache):
    with pytest.raises(SourceUnavailableError, match=r"no account.*not installed") as caught:
        load(cache)
    assert caught.value.exit_code == 6


@pytest.mark.feature("Q-09")
def test_unknown_provider_name_and_no_symbols_are_errors(cache: BarCache):
    config = RouterConfig(trusted_providers=("bloomberg",))
    with pytest.raises(ConfigError, match="bloomberg"):
        load_routed(BarQuery(tickers=("A",)), cache, config=config, profile=PROFILE, clock=CLOCK)
    with pytest.raises(ConfigError, match="--tickers"):
        load(cache, ())


def test_two_price_bases_do_not_mix(cache: BarCache):
    raw = bars_of("AAPL", basis=PriceBasis.RAW)
    cache.write(raw, source="wrds", fetched_at=NOW, quality={})
    yahoo = FakeProvider("yahoo", {"MSFT": bars_of("MSFT")})
    with pytest.raises(DataError, match="raw, split_adj"):
        load(cache, ("AAPL", "MSFT"), yahoo=yahoo)

"""The public door: one call from files or a simulated world to a clean market."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    IdentityError,
    InsufficientHistoryError,
)
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.bars import REQUIRED_FIELDS, LoadedBars
from quant_engine.data.cache import BarCache
from quant_engine.data.loader import LoadRequest, MarketData, Places, load_market
from quant_engine.data.providers.local import load_folder
from quant_engine.data.providers.wrds import WrdsProvider
from quant_engine.data.router import RouterConfig
from quant_engine.data.simulated import EquityWorldConfig

DAYS = sessions_between("XNYS", "2015-01-02", "2015-12-31")
LOCAL = LoadRequest(source="local")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    bars = tmp_path / "bars"
    bars.mkdir()
    for name in ("AAA", "BBB", "CCC", "SPY"):
        close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, DAYS.size)))
        frame = pd.DataFrame({"Date": DAYS.astype(str)})
        for field in ("Open", "High", "Low", "Close"):
            frame[field] = close
        frame["Volume"] = 1000
        if name == "CCC":
            frame = frame.iloc[:200]
        frame.to_csv(bars / f"{name}.csv", index=False)
    return bars


def tables(folder: Path) -> Places:
    parent = folder.parent
    (parent / "m.csv").write_text(
        "ticker,start_date,end_date\nAAA,2014-01-02,\nBBB,2014-01-02,2015-06-01\nCCC,2014-01-02,\n"
    )
    (parent / "s.csv").write_text("Symbol,GICS Sector\nAAA,Energy\nBBB,Energy\nCCC,Utilities\n")
    (parent / "d.csv").write_text(
        f"ticker,last_session,terminal_return,reason\nCCC,{DAYS[199]},-0.3,performance\n"
    )
    return Places(folder, parent / "m.csv", parent / "s.csv", parent / "d.csv")


@pytest.mark.feature("Q-01")
def test_plain_folder_loads_and_says_what_is_absent(folder: Path):
    market = load_market(LOCAL, Places(folder))
    assert market.panel.shape == (DAYS.size, 4)
    assert market.tickers == ("AAA", "BBB", "CCC", "SPY")
    text = " ".join(market.notes)
    for absent in ("no membership history", "no sectors", "no delisting table", "no dividends"):
        assert absent in text
    assert market.coverage is None
    assert not market.survivorship.safe
    assert market.delistings["asset_id"].tolist() == ["CCC@US#1"]
    assert market.quality is not None
    assert len(market.sources) == 4
    assert market.benchmark is not None
    assert market.benchmark.name == "equal weight"


@pytest.mark.feature("Q-13")
def test_full_tables_make_a_survivorship_safe_universe(folder: Path):
    request = LOCAL.model_copy(update={"require_survivorship_safe": True, "benchmark": "SPY"})
    market = load_market(request, tables(folder))
    assert market.survivorship.safe
    assert market.panel.group("sector").categories == ("Energy", "Utilities")
    member = market.panel.mask("member")
    assert member[0].tolist() == [True, True, True, False]
    assert member[-1].tolist() == [True, False, True, False]
    assert market.benchmark is not None
    close = market.panel.field("close")[:, 3]
    np.testing.assert_allclose(market.benchmark.close_returns[1:], close[1:] / close[:-1] - 1)


def test_demanding_safety_without_membership_fails_with_the_reasons(folder: Path):
    request = LOCAL.model_copy(update={"require_survivorship_safe": True})
    with pytest.raises(DataError, match=r"no membership history.*--membership"):
        load_market(request, Places(folder))


def test_content_does_not_depend_on_places_or_file_names(folder: Path):
    first = load_market(LOCAL, Places(folder))
    moved = folder.parent / "elsewhere" / "deep"
    shutil.copytree(folder, moved)
    (moved / "AAA.csv").rename(moved / "AAA_data.csv")
    second = load_market(LOCAL, Places(moved))
    assert first.content_digest() == second.content_digest()
    third = load_market(LOCAL.model_copy(update={"end": date(2015, 6, 30)}), Places(folder))
    assert third.content_digest() != first.content_digest()


@pytest.mark.parametrize(
    ("update", "sessions", "names"),
    [
        ({"tickers": ("aaa", "bbb")}, DAYS.size, 2),
        ({"start": date(2015, 3, 2), "end": date(2015, 3, 31)}, 22, 4),
        ({"years": 0.25}, 64, 4),
    ],
)
def test_selection(folder: Path, update: dict[str, object], sessions: int, names: int):
    market = load_market(LOCAL.model_copy(update=update), Places(folder))
    assert market.panel.shape == (sessions, names)


def test_benchmark_from_a_file_and_its_gaps(folder: Path):
    spy = folder.parent / "SPY.csv"
    shutil.move(folder / "SPY.csv", spy)
    market = load_market(LOCAL, Places(folder, benchmark=spy))
    assert market.benchmark is not None
    assert market.benchmark.name == "SPY"
    assert np.isnan(market.benchmark.open_returns[-1])
    lines = spy.read_text().splitlines()
    spy.write_text("\n".join(lines[:101]))
    market = load_market(LOCAL, Places(folder, benchmark=spy))
    assert f"benchmark SPY unknown on {DAYS.size - 100} sessions" in market.notes
    with pytest.raises(DataError, match="one symbol"):
        load_market(LOCAL, Places(folder, benchmark=folder))


@pytest.mark.parametrize(
    ("update", "error", "message"),
    [
        ({"benchmark": "QQQ"}, DataError, "QQQ"),
        ({"benchmark": "file"}, ConfigError, "--benchmark"),
        ({"tickers": ("ZZZ",)}, InsufficientHistoryError, "--tickers"),
        ({"source": "bloomberg"}, ConfigError, "provider"),
        ({"provider": {"nonsense": 1}}, ConfigError, "nonsense"),
    ],
)
def test_wrong_requests_are_refused(
    folder: Path, update: dict[str, object], error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        load_market(LOCAL.model_copy(update=update), Places(folder))


def test_as_of_rejects_the_future(folder: Path):
    market = load_market(LOCAL, Places(folder), as_of=date(2015, 6, 30))
    assert market.panel.time.values[-1] == np.datetime64("2015-06-30")
    assert market.quality is not None
    assert market.quality.counts()["future_dates"] > 0


def test_mislabelled_data_does_not_load(folder: Path):
    for name in ("DDD", "EEE"):
        shutil.copy(folder / "AAA.csv", folder / f"{name}.csv")
    with pytest.raises(IdentityError, match="mislabelled"):
        load_market(LOCAL, Places(folder))


@pytest.mark.parametrize(
    ("update", "message"),
    [
        ({"tickers": ("A",)}, "tickers"),
        ({"years": 2.0}, "years"),
        ({"benchmark": "SPY"}, "benchmark"),
    ],
)
def test_simulated_source_refuses_what_it_cannot_honour(update: dict[str, object], message: str):
    world = EquityWorldConfig(seed=3, n_assets=20, n_sessions=150)
    with pytest.raises(ConfigError, match=message):
        load_market(LoadRequest(world=world, **update))
    with pytest.raises(ConfigError, match="--world"):
        load_market(LoadRequest())
    with pytest.raises(ConfigError, match="path of membership"):
        load_market(LoadRequest(world=world), Places(membership=Path("m.csv")))


@pytest.mark.feature("Q-10")
def test_auto_source_loads_from_the_cache_and_says_so(folder: Path):
    cache = BarCache(folder.parent / "cache")
    now = datetime(2016, 1, 15, tzinfo=UTC)
    bars = load_folder(folder)
    for name in ("AAA", "BBB"):
        frame = bars.select((name,)).frame
        single = LoadedBars.from_columns(
            ticker=[name] * len(frame),
            session=frame["session"],
            fields={field: frame[field] for field in REQUIRED_FIELDS},
            vendor="wrds",
            price_basis=bars.price_basis,
            details={"asset_ids": {"AAA": "10001", "BBB": "10002"}},
        )
        cache.write(single, source="wrds", fetched_at=now, quality={})
    request = LoadRequest(source="auto", tickers=("AAA", "BBB", "ZZZ"), benchmark="AAA")
    request = request.model_copy(
        update={"router": RouterConfig(trusted_providers=("wrds",), fallback_providers=())}
    )
    places = Places(cache=cache.root, sectors=tables(folder).sectors)
    market = load_market(request, places, clock=FixedClock(now))
    assert market.panel.asset_ids == ("10001", "10002")
    assert market.tickers == ("AAA", "BBB")
    assert market.panel.group("sector").categories == ("Energy",)
    assert "2 symbols from wrds (cache, trusted)" in market.notes
    assert any(note.startswith("ZZZ: found nowhere; wrds passed over") for note in market.notes)
    assert market.decisions is not None
    with pytest.raises(ConfigError, match="cache"):
        load_market(request, Places())


@pytest.mark.feature("Q-12")
def test_permno_assets_join_membership_and_their_own_delistings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
):
    bars = load_folder(folder)
    gone = pd.DataFrame(
        {
            "asset_id": ["10003"],
            "last_session": [pd.Timestamp(DAYS[199])],
            "terminal_return": [-0.4],
            "reason": ["performance"],
        }
    )
    keyed = LoadedBars.from_columns(
        ticker=bars.frame["ticker"].array,
        session=bars.frame["session"],
        fields={field: bars.frame[field] for field in REQUIRED_FIELDS},
        vendor="wrds",
        price_basis=bars.price_basis,
        details={"asset_ids": {"AAA": "10001", "CCC": "10003"}, "delistings": gone},
    )
    monkeypatch.setattr(WrdsProvider, "load", lambda self, query: query.apply(keyed))
    places = tables(folder)
    request = LoadRequest(source="wrds", tickers=("AAA", "CCC"), provider={"username": "me"})
    places = Places(membership=places.membership, sectors=places.sectors)
    market = load_market(request, places)
    assert market.panel.asset_ids == ("10001", "10003")
    assert market.panel.mask("member")[0].all()
    assert market.delistings["session"].astype(str).tolist() == [str(DAYS[200])]
    # BBB is a member without prices, so the universe is still not safe.
    assert "prices cover 66.7% of members" in market.survivorship.reasons[0]


@pytest.fixture(scope="module")
def simulated() -> MarketData:
    return load_market(LoadRequest(world=EquityWorldConfig(seed=3, n_assets=40, n_sessions=260)))


@pytest.mark.feature("Q-01")
def test_simulated_world_comes_through_the_same_door(simulated: MarketData):
    assert simulated.panel.shape == (260, 40)
    assert simulated.survivorship.safe
    assert simulated.world is not None
    assert len(simulated.tickers) == 40
    assert simulated.coverage is not None
    assert (simulated.coverage["covered_frac"] == 1).all()
    assert "simulated" in simulated.notes[0]
    gone = simulated.delistings
    assert (gone["session"] > gone["last_session"]).all()


def test_simulated_benchmark_is_aligned(simulated: MarketData):
    assert simulated.benchmark is not None
    assert simulated.world is not None
    table = simulated.world.benchmark
    np.testing.assert_array_equal(
        simulated.benchmark.open_returns[:-1], table["equal_weight_open"].to_numpy()[1:]
    )
    np.testing.assert_array_equal(simulated.benchmark.close_returns, table["equal_weight"])


def test_request_identity_holds_content_and_no_path():
    catalog = SpecCatalog.default()
    completed = LOCAL.completed(catalog)
    assert completed.quality is not None
    assert completed.config_id() != LOCAL.completed(catalog, quality="strict").config_id()
    assert completed.config_id() == LOCAL.completed(catalog).config_id()


@pytest.mark.feature("Q-01")
def test_real_folder_end_to_end(shared_data: Path):
    root = shared_data / "equities"
    lists = root / "membership_sectors"
    market = load_market(
        LOCAL,
        Places(
            root / "sp500_iex_201802",
            membership=lists / "sp500_ticker_start_end.csv",
            sectors=lists / "sp500.csv",
            benchmark=root / "stooq_2017" / "ETFs" / "spy.us.txt.gz",
        ),
        as_of=date(2018, 3, 1),
    )
    assert market.panel.shape == (1259, 505)
    assert not market.survivorship.safe
    assert "prices cover 389 of 497 members on 2013-02-08" in " ".join(market.notes)
    print("\n".join(market.notes), market.survivorship)

"""A world written as files, read back by plain pandas and by the reader of local data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.panel import PriceBasis
from quant_engine.data.providers.local import load_folder
from quant_engine.data.simulated import (
    AlphaSpec,
    EquityWorld,
    EquityWorldConfig,
    ListingSpec,
    file_symbols,
    simulate_equity_world,
    write_world_as_files,
)


@pytest.fixture(scope="module")
def world() -> EquityWorld:
    return simulate_equity_world(
        EquityWorldConfig(
            seed=6,
            n_assets=30,
            n_sessions=400,
            listing=ListingSpec(delisted_7y_frac=0.8, n_ticker_reuses=1),
            alpha=AlphaSpec(shape="mixed"),
        )
    )


@pytest.fixture(scope="module")
def folder(world: EquityWorld, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("world")
    assert write_world_as_files(world, target) == target / "prices"
    return target


def test_price_files_hold_the_split_adjusted_bars(world: EquityWorld, folder: Path):
    symbols = file_symbols(world)
    assert sorted(p.stem for p in (folder / "prices").iterdir()) == sorted(symbols.values())
    for asset in world.panel.asset_ids[:5]:
        frame = pd.read_csv(folder / "prices" / f"{symbols[asset]}.csv")
        assert list(frame.columns) == ["date", "open", "high", "low", "close", "volume", "vwap"]
        column = world.panel.asset_ids.index(asset)
        traded = ~np.isnan(world.panel.field("close")[:, column])
        np.testing.assert_array_equal(
            frame["date"].to_numpy("datetime64[D]"), world.panel.time.values[traded]
        )
        for name in ("open", "high", "low", "close", "volume", "vwap"):
            np.testing.assert_allclose(
                frame[name], world.panel.field(name)[traded, column], rtol=1e-8
            )
        assert (frame["high"] >= frame[["open", "close"]].max(axis=1)).all()
        assert (frame["low"] <= frame[["open", "close"]].min(axis=1)).all()


def test_the_reader_of_local_data_reads_them(world: EquityWorld, folder: Path):
    bars = load_folder(folder / "prices")
    assert bars.price_basis is PriceBasis.SPLIT_ADJ
    assert set(bars.tickers) == set(file_symbols(world).values())
    assert bars.n_rows == int(world.panel.mask("tradable").sum())
    assert not bars.faults


def test_a_reused_ticker_has_two_files(world: EquityWorld):
    symbols = file_symbols(world)
    second = [asset for asset in world.panel.asset_ids if asset.endswith("#2")]
    assert second
    first = second[0].replace("#2", "#1")
    assert symbols[second[0]] == second[0].split("@")[0]
    last = world.delistings.set_index("asset_id").loc[first, "last_session"]
    assert symbols[first] == f"{symbols[second[0]]}-{last:%Y%m}"


def test_tables_use_the_symbols_of_the_files(world: EquityWorld, folder: Path):
    symbols = set(file_symbols(world).values())
    for name in ("membership", "sectors", "dividends", "delistings", "fundamentals"):
        assert set(pd.read_csv(folder / f"{name}.csv")["ticker"]) <= symbols
    spells = pd.read_csv(folder / "membership.csv", parse_dates=["start_date", "end_date"])
    assert list(spells.columns) == ["ticker", "start_date", "end_date"]
    assert len(spells) == len(world.membership)
    assert spells["end_date"].isna().sum() == world.membership["end_session"].isna().sum()
    sectors = pd.read_csv(folder / "sectors.csv")
    assert list(sectors.columns) == ["ticker", "sector"]
    assert len(sectors) == 30


def test_the_benchmark_file_is_a_fund_with_the_benchmark_returns(world: EquityWorld, folder: Path):
    bars = pd.read_csv(folder / "benchmark.csv")
    assert len(bars) == 400
    np.testing.assert_allclose(
        bars["close"].pct_change().to_numpy()[1:],
        world.benchmark["cap_weight"].to_numpy()[1:],
        atol=1e-7,
    )
    np.testing.assert_allclose(
        bars["open"].pct_change().to_numpy()[2:],
        world.benchmark["cap_weight_open"].to_numpy()[2:],
        atol=1e-7,
    )
    assert (bars["high"] >= bars["low"]).all()


def test_truth_lies_beside_and_can_be_traced(world: EquityWorld, folder: Path):
    facts = json.loads((folder / "truth" / "truth.json").read_text())
    assert EquityWorldConfig(**facts["config"]) == world.config
    assert facts["digest"] == world.digest()
    assert facts["mean_oracle_ic"] == world.truth.mean_oracle_ic
    with np.load(folder / "truth" / "arrays.npz", allow_pickle=False) as arrays:
        np.testing.assert_array_equal(arrays["alpha"], world.truth.alpha)
    assert len(pd.read_csv(folder / "truth" / "characteristics.csv")) == 40


def test_writing_twice_gives_the_same_bytes(world: EquityWorld, folder: Path, tmp_path: Path):
    write_world_as_files(world, tmp_path)
    for path in sorted(folder.rglob("*.csv")):
        assert (tmp_path / path.relative_to(folder)).read_bytes() == path.read_bytes()

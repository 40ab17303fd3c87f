"""Identity guard: many tickers with one series are refused, a pair is warned about."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import IdentityError
from quant_engine.core.panel import PriceBasis
from quant_engine.data.bars import LoadedBars
from quant_engine.data.identity import IdentityConfig, check_identity
from quant_engine.data.providers.local import load_folder


def bars_of(columns: dict[str, np.ndarray]) -> LoadedBars:
    n_days = len(next(iter(columns.values())))
    days = sessions_between("XNYS", "2015-01-02", "2019-12-31")[:n_days]
    close = np.concatenate(list(columns.values()))
    return LoadedBars.from_columns(
        ticker=np.repeat(list(columns), n_days),
        session=np.tile(days, len(columns)),
        fields=dict.fromkeys(("open", "high", "low", "close", "volume"), close),
        vendor="test",
        price_basis=PriceBasis.RAW,
    )


def world(n_symbols: int, n_days: int = 250, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    market = rng.normal(0, 0.01, n_days)
    steps = market[:, None] + rng.normal(0, 0.01, (n_days, n_symbols))
    close = np.round(50 * np.exp(np.cumsum(steps, axis=0)), 2)
    return {f"S{i:02d}": close[:, i] for i in range(n_symbols)}


def test_different_companies_pass():
    report = check_identity(bars_of(world(30)))
    assert (report.groups, report.n_symbols) == ((), 30)


def test_a_pair_is_warned_about_also_when_rescaled_or_patched():
    columns = world(30)
    patched = columns["S00"].copy()
    patched[50:52] *= 1.01
    columns["S00B"] = np.round(patched * 2, 2)
    report = check_identity(bars_of(columns))
    assert report.groups == (("S00", "S00B"),)
    assert "S00 and S00B" in report.warnings()[0]


def test_three_symbols_with_one_series_are_refused_with_the_reason():
    columns = world(30)
    columns["S00B"] = columns["S00C"] = columns["S00"]
    with pytest.raises(IdentityError, match=r"3 of 32 symbols.*mislabelled"):
        check_identity(bars_of(columns))
    assert check_identity(bars_of(columns), IdentityConfig(max_group=3)).groups


def test_many_pairs_are_refused():
    columns = world(10)
    columns |= {f"{name}B": values for name, values in columns.items()}
    with pytest.raises(IdentityError, match="20 of 20"):
        check_identity(bars_of(columns))


def test_too_few_common_returns_prove_nothing():
    columns = world(5, n_days=15)
    columns["S00B"] = columns["S00C"] = columns["S00"]
    assert check_identity(bars_of(columns)).groups == ()


def test_symbols_that_do_not_trade_are_not_the_same():
    columns = world(5) | {f"FLAT{i}": np.full(250, 10.0 + i) for i in range(4)}
    assert check_identity(bars_of(columns)).groups == ()


def test_groups_agree_with_a_plain_loop():
    columns = world(12, seed=4)
    columns["X1"] = columns["S03"] * 3
    columns["X2"] = columns["S07"]
    report = check_identity(bars_of(columns), IdentityConfig(max_share=0.5))
    returns = pd.DataFrame(columns).pct_change().iloc[1:]
    expected = [
        (a, b)
        for i, a in enumerate(sorted(columns))
        for b in sorted(columns)[i + 1 :]
        if ((returns[a] - returns[b]).abs() <= 2e-4).mean() >= 0.98
    ]
    assert list(report.groups) == expected


@pytest.mark.feature("Q-15")
def test_mislabelled_folder_is_refused(shared_data: Path):
    bars = load_folder(shared_data / "equities" / "mislabelled_20170810")
    with pytest.raises(IdentityError, match=r"20 of 20 symbols.*mislabelled") as caught:
        check_identity(bars)
    assert caught.value.exit_code == 3
    print(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["sp500_iex_201802", "sp500_google_201708", "stooq_2017"])
def test_real_vendors_pass(shared_data: Path, folder: str):
    report = check_identity(load_folder(shared_data / "equities" / folder))
    print(folder, report)
    assert report.groups == ()

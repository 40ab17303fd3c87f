"""Membership spells, coverage, delistings, sectors, and the label survivorship_safe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import DataError, MissingFieldError, UnreadableFileError
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.data.benchmark import equal_weight_benchmark
from quant_engine.data.panel import build_panel
from quant_engine.data.providers.local import load_folder
from quant_engine.data.universe import (
    UniverseConfig,
    coverage_table,
    infer_delistings,
    judge_survivorship,
    read_delistings,
    read_membership,
    read_sectors,
    sector_group,
    survivorship_comparison,
)

DAYS = sessions_between("XNYS", "2020-01-02", "2020-02-28")


def panel_of(close: np.ndarray, names: tuple[str, ...]) -> Panel:
    return Panel(
        TimeAxis.sessions(DAYS[: len(close)]),
        tuple(f"{n}@US#1" for n in names),
        {"close": close, "open": close},
        masks={"member": np.isfinite(close)},
    )


def write(folder: Path, text: str, name: str = "m.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.feature("Q-13")
def test_spells_are_half_open_and_names_come_back(tmp_path: Path):
    path = write(
        tmp_path,
        "ticker,start_date,end_date\nNAN,2019-01-02,2020-01-06\nNAN,2020-01-08,\n",
    )
    membership = read_membership(path)
    got = membership.mask(("NAN@US#1", "ZZZ@US#1"), DAYS[:6])
    assert DAYS[:6].astype(str).tolist()[2:4] == ["2020-01-06", "2020-01-07"]
    assert got[:, 0].tolist() == [True, True, False, False, True, True]
    assert not got[:, 1].any()


def test_mask_agrees_with_a_plain_loop(tmp_path: Path):
    rng = np.random.default_rng(0)
    lines = ["ticker,start_date,end_date"]
    spells = []
    for name in ("A", "B", "C"):
        edges = np.sort(rng.choice(60, 4, replace=False)) + np.datetime64("2020-01-01")
        spells += [(name, edges[0], edges[1]), (name, edges[2], edges[3])]
    lines += [f"{n},{s},{e}" for n, s, e in spells]
    mask = read_membership(write(tmp_path, "\n".join(lines))).mask(
        tuple(f"{n}@US#1" for n in "ABC"), DAYS
    )
    for t, day in enumerate(DAYS):
        for i, name in enumerate("ABC"):
            assert mask[t, i] == any(n == name and s <= day < e for n, s, e in spells)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("ticker,start_date\nA,2020-01-02\n", MissingFieldError, "end_date"),
        ("ticker,start_date,end_date\nA,02/01/2020,\n", DataError, "YYYY-MM-DD"),
        ("ticker,start_date,end_date\nA,2020-01-02,2019-01-02\n", DataError, "before their end"),
        ("ticker,start_date,end_date\nA,,2019-01-02\n", DataError, "before their end"),
    ],
)
def test_bad_membership_files_are_refused(
    tmp_path: Path, text: str, error: type[Exception], message: str
):
    with pytest.raises(error, match=message):
        read_membership(write(tmp_path, text))
    with pytest.raises(UnreadableFileError):
        read_membership(tmp_path / "absent.csv")


def test_coverage_counts_members_without_prices(tmp_path: Path):
    spells = "A,2019-01-01,\nB,2019-01-01,\nC,2020-01-03,\n"
    path = write(tmp_path, f"ticker,start_date,end_date\n{spells}")
    close = np.array([[1.0, np.nan], [1.0, 2.0], [np.nan, 2.0]])
    table = coverage_table(read_membership(path), panel_of(close, ("A", "B")))
    assert table["n_members"].tolist() == [2, 3, 3]
    assert table["n_covered"].tolist() == [2, 2, 2]
    assert table["n_priced"].tolist() == [1, 2, 1]
    assert table["covered_frac"].tolist() == pytest.approx([1.0, 2 / 3, 2 / 3])


def test_renames_map_the_file_to_the_prices(tmp_path: Path):
    path = write(tmp_path, "ticker,start_date,end_date\nTPR,2019-01-01,\n")
    assert read_membership(path, renames={"TPR": "COH"}).asset_ids == ("COH@US#1",)


@pytest.mark.feature("Q-13")
def test_series_that_end_are_delisted_for_an_unknown_reason():
    close = np.ones((12, 4))
    close[4:, 1] = np.nan
    close[9:, 2] = np.nan  # three silent sessions: a halt, not yet a delisting
    close[3:5, 3] = np.nan
    table = infer_delistings(panel_of(close, ("A", "B", "C", "D")))
    assert table["asset_id"].tolist() == ["B@US#1"]
    assert table["session"].iloc[0] == pd.Timestamp(DAYS[4])
    assert table["last_session"].iloc[0] == pd.Timestamp(DAYS[3])
    assert np.isnan(table["terminal_return"].iloc[0])
    short = infer_delistings(
        panel_of(close, ("A", "B", "C", "D")), UniverseConfig(min_silent_sessions=3)
    )
    assert short["asset_id"].tolist() == ["B@US#1", "C@US#1"]


def test_delistings_file(tmp_path: Path):
    rows = "A,2020-01-03,-0.4,performance\nB,2020-01-02,,merger\n"
    text = f"ticker,last_session,terminal_return,reason\n{rows}"
    table = read_delistings(write(tmp_path, text))
    assert table["session"].astype(str).tolist() == ["2020-01-06", "2020-01-03"]
    assert table["terminal_return"].tolist()[0] == -0.4
    assert np.isnan(table["terminal_return"].tolist()[1])
    with pytest.raises(DataError, match="numbers"):
        read_delistings(write(tmp_path, text.replace("-0.4", "lots")))


@pytest.mark.feature("Q-13")
def test_survivorship_safe_needs_all_three_facts():
    coverage = pd.DataFrame({"covered_frac": [1.0, 0.99]}, index=pd.DatetimeIndex(DAYS[:2]))
    known = pd.DataFrame({"reason": ["merger"]})
    inferred = pd.DataFrame({"reason": ["merger", "unknown"]})
    assert judge_survivorship(coverage, known).safe
    assert judge_survivorship(coverage, known.iloc[:0]).safe
    for case in (
        (None, known),
        (coverage, None),
        (coverage, inferred),
        (coverage * 0.9, known),
        (coverage * np.nan, known),
    ):
        verdict = judge_survivorship(*case)
        assert not verdict.safe
        assert len(verdict.reasons) == 1
    strict = UniverseConfig(min_covered_frac=1.0)
    assert "2020-01-03" in judge_survivorship(coverage, known, strict).reasons[0]


def test_sectors_cover_what_they_cover(tmp_path: Path):
    text = 'Symbol,Security,GICS Sector\nA,"Agilent, Inc",Health Care\nB,Barnes,\n'
    sectors = read_sectors(write(tmp_path, text))
    group = sector_group(sectors, panel_of(np.ones((3, 2)), ("A", "B")))
    assert group.categories == ("Health Care",)
    assert group.codes.tolist() == [[0, -1]] * 3
    with pytest.raises(MissingFieldError, match="GICS Sector"):
        read_sectors(write(tmp_path, "Symbol,Industry\nA,x\n"))


def test_survivors_look_better_than_members():
    rng = np.random.default_rng(5)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (30, 20)), axis=0))
    close[:, :10] *= np.exp(-0.05 * np.arange(30))[:, None]
    close[20:, :10] = np.nan
    table = survivorship_comparison(panel_of(close, tuple(f"S{i}" for i in range(20))))
    assert table["bias"].iloc[0] > 0.1
    returns = close[1:] / close[:-1] - 1
    survivors = float(np.prod(1 + returns[:, 10:].mean(axis=1)) - 1)
    assert table["survivors_return"].iloc[0] == pytest.approx(survivors)
    members = float(np.prod(1 + np.nanmean(returns, axis=1)) - 1)
    assert table["members_return"].iloc[0] == pytest.approx(members)


def test_equal_weight_benchmark_agrees_with_a_plain_loop():
    rng = np.random.default_rng(6)
    close = rng.uniform(10, 20, (15, 6))
    close[10:, 2] = np.nan
    close[4, 3] = np.nan
    opened = close * rng.uniform(0.98, 1.02, close.shape)
    member = rng.random(close.shape) > 0.3
    cash = np.where(rng.random(close.shape) > 0.8, 0.2, 0.0)
    panel = Panel(
        TimeAxis.sessions(DAYS[:15]),
        tuple(f"S{i}@US#1" for i in range(6)),
        {"open": opened, "close": close, "dividend": cash},
        masks={"member": member},
    )
    gone = pd.DataFrame(
        {"asset_id": ["S2@US#1"], "session": [pd.Timestamp(DAYS[10])], "terminal_return": [-0.5]}
    )
    got = equal_weight_benchmark(panel, gone)
    for t in range(15):
        by_close, by_open = [], []
        for i in range(6):
            dead = i == 2 and t == 10
            if t > 0 and member[t - 1, i]:
                exit_value = close[9, 2] * 0.5 if dead else close[t, i] + cash[t, i]
                by_close.append(exit_value / close[t - 1, i] - 1)
            if t < 14 and member[t, i]:
                dies = i == 2 and t == 9
                exit_value = close[9, 2] * 0.5 if dies else opened[t + 1, i] + cash[t + 1, i]
                by_open.append(exit_value / opened[t, i] - 1)
        for values, result in ((by_close, got.close_returns[t]), (by_open, got.open_returns[t])):
            finite = [v for v in values if np.isfinite(v)]
            expected = np.mean(finite) if finite else np.nan
            np.testing.assert_allclose(result, expected, rtol=1e-12)


@pytest.mark.feature("Q-13")
def test_real_coverage_of_the_index(shared_data: Path):
    folder = shared_data / "equities"
    panel = build_panel(load_folder(folder / "sp500_iex_201802")).panel
    membership = read_membership(folder / "membership_sectors" / "sp500_ticker_start_end.csv")
    row = coverage_table(membership, panel).loc["2013-02-08"]
    assert (row["n_covered"], row["n_members"], row["n_priced"]) == (389, 497, 384)
    sectors = read_sectors(folder / "membership_sectors" / "sp500.csv")
    print(
        f"members {row.to_dict()}; sectors for {sum(a in sectors for a in panel.asset_ids)} names"
    )

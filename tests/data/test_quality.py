"""Quality rules: each fault in a few rows, and the real faults of the vendor folders."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError
from quant_engine.core.panel import PriceBasis
from quant_engine.core.specs import SpecCatalog, build_config
from quant_engine.data.bars import LoadedBars
from quant_engine.data.providers.local import LocalConfig, load_folder
from quant_engine.data.quality import RULES, QualityProfile, check_quality

FIELDS = ("open", "high", "low", "close", "volume")


@pytest.fixture(scope="module")
def default() -> QualityProfile:
    return SpecCatalog.default().load("quality", "default", QualityProfile)


def bars_of(**tables: pd.DataFrame) -> LoadedBars:
    frames = [frame.assign(ticker=name) for name, frame in tables.items()]
    table = pd.concat(frames)
    return LoadedBars.from_columns(
        ticker=table["ticker"].to_numpy(),
        session=table["session"].to_numpy(),
        fields={name: table[name].to_numpy() for name in FIELDS},
        vendor="test",
        price_basis=PriceBasis.SPLIT_ADJ,
    )


def walk(n: int = 120, seed: int = 0, start: str = "2015-01-02") -> pd.DataFrame:
    """A quiet random walk on XNYS sessions: 1 % a day, steady volume."""
    rng = np.random.default_rng(seed)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.01, n)))
    sessions = sessions_between("XNYS", start, "2017-12-29")[:n]
    return pd.DataFrame(
        {
            "session": sessions.astype("datetime64[us]"),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": rng.uniform(900, 1100, n).round(),
        }
    )


def scaled(frame: pd.DataFrame, rows: slice, factor: float) -> pd.DataFrame:
    frame = frame.copy()
    for name in ("open", "high", "low", "close"):
        values = frame[name].to_numpy().copy()
        values[rows] *= factor
        frame[name] = values
    return frame


def findings(frame: pd.DataFrame, profile: QualityProfile, **options: object) -> dict[str, list]:
    _, report = check_quality(bars_of(A=frame), profile, **options)  # type: ignore[arg-type]
    return {
        str(rule): [str(day.date()) for day in part["session"] if not pd.isna(day)]
        for rule, part in report.findings.groupby("rule")
    }


@pytest.mark.feature("Q-15")
def test_a_clean_series_has_no_findings(default: QualityProfile):
    clean, report = check_quality(bars_of(A=walk()), default, as_of=date(2020, 1, 1))
    assert report.counts() == {}
    assert clean.n_rows == report.n_rows_out == 120
    assert report.symbols.loc["A", "status"] == "ok"


@pytest.mark.parametrize(
    ("rule", "change", "rows_left"),
    [
        ("null_close", {"close": np.nan}, 119),
        ("null_ohl", {"high": np.nan}, 120),
        ("null_volume", {"volume": np.nan}, 120),
        ("non_positive_price", {"low": -1.0}, 119),
        ("non_positive_price", {"open": 0.0}, 119),
        ("negative_volume", {"volume": -5.0}, 119),
        ("ohlc_order", {"high": 1.0}, 120),
        ("non_finite", {"volume": np.inf}, 120),
        ("bad_open", {"open": 5.0, "low": 5.0}, 120),
    ],
)
@pytest.mark.feature("D-24")
def test_one_bad_row_is_found_where_it_is(
    default: QualityProfile, rule: str, change: dict[str, float], rows_left: int
):
    frame = walk()
    for name, value in change.items():
        frame.loc[60, name] = value
    clean, report = check_quality(bars_of(A=frame), default)
    assert [str(d.date()) for d in report.of(rule)["session"]] == [str(frame["session"][60].date())]
    assert clean.n_rows == rows_left


def test_ohlc_fix_widens_and_bad_open_blanks_only_the_open(default: QualityProfile):
    frame = walk()
    frame.loc[60, "high"] = frame.loc[60, "low"] * 0.9
    frame.loc[80, "open"] = 5.0
    frame.loc[80, "low"] = 5.0
    clean = check_quality(bars_of(A=frame), default)[0].frame
    assert clean.loc[60, "high"] == max(frame.loc[60, ["open", "low", "close"]])
    assert np.isnan(clean.loc[80, "open"])
    assert clean.loc[80, "close"] == frame.loc[80, "close"]


@pytest.mark.feature("T-04")
def test_dates_future_weekend_unsorted(default: QualityProfile):
    frame = walk()
    frame.loc[len(frame)] = frame.iloc[-1].to_dict() | {"session": pd.Timestamp("2015-01-10")}
    found = findings(frame, default, as_of=date(2015, 6, 1))
    assert found["non_sessions"] == ["2015-01-10"]
    assert found["unsorted_dates"] == []  # about the symbol, not about a session
    late = frame["session"][frame["session"] > pd.Timestamp("2015-06-01")]
    assert found["future_dates"] == [str(d.date()) for d in late]
    assert "future_dates" not in findings(frame, default)


def test_wrong_calendar_is_refused_instead_of_deleting_weekends(default: QualityProfile):
    frame = walk()
    frame["session"] = pd.date_range("2015-01-02", periods=120, unit="us")
    with pytest.raises(DataError, match=r"--calendar.*24/7"):
        check_quality(bars_of(A=frame), default)
    assert check_quality(bars_of(A=frame), default, calendar="24/7")[1].counts() == {}


def test_duplicates_same_and_conflicting(default: QualityProfile):
    frame = walk()
    conflict = frame.iloc[[20]].assign(close=frame["close"][20] * 1.002)
    both = pd.concat([frame, frame.iloc[[10]], conflict]).sort_values("session", kind="stable")
    clean, report = check_quality(bars_of(A=both), default)
    assert report.counts() == {"duplicate_rows": 1, "conflicting_duplicates": 2}
    assert clean.n_rows == 119
    assert frame["session"][20] not in set(clean.frame["session"])
    strict = SpecCatalog.default().load("quality", "strict", QualityProfile)
    with pytest.raises(EmptyDataError, match="strict"):
        check_quality(bars_of(A=both), strict)


@pytest.mark.feature("Q-15")
def test_missing_zero_volume_and_rejected_shares(default: QualityProfile):
    frame = walk(200)
    holes = frame.drop(index=range(50, 62))
    quiet = frame.copy()
    quiet.loc[: int(200 * 0.3), "volume"] = 0.0
    broken = frame.copy()
    broken.loc[50:62, "close"] = np.nan
    clean, report = check_quality(bars_of(A=holes, B=quiet, C=broken, D=frame), default)
    assert report.symbols["status"].tolist() == ["degraded"] * 3 + ["ok"]
    expected = {"missing_bars": {"A", "C"}, "zero_volume": {"B"}, "rejected_share": {"C"}}
    for rule, names in expected.items():
        assert set(report.of(rule)["ticker"]) == names
    assert report.symbols.loc["A", "missing_frac"] == pytest.approx(12 / 200)
    assert report.symbols.loc["B", "zero_volume_frac"] == pytest.approx(61 / 200)
    assert set(clean.tickers) == {"A", "B", "C", "D"}
    strict = SpecCatalog.default().load("quality", "strict", QualityProfile)
    clean, report = check_quality(bars_of(A=holes, B=quiet, C=broken, D=frame), strict)
    assert clean.tickers == ("D",)
    assert report.quarantined() == ("A", "B", "C")


def test_stale_run_is_measured(default: QualityProfile):
    frame = walk()
    for name in ("open", "high", "low", "close"):
        frame.loc[40:47, name] = float(frame.loc[40, name])
    _, report = check_quality(bars_of(A=frame), default)
    assert report.of("stale_run")["value"].tolist() == [8.0]


def test_flip_flop_split_and_spin_off_are_told_apart(default: QualityProfile):
    frame = walk()
    flip = scaled(frame, slice(60, 65), 2.0)
    split = scaled(frame, slice(60, None), 0.25)
    spin = scaled(frame, slice(60, None), 0.58)
    day = [str(frame["session"][60].date())]
    back = [*day, str(frame["session"][65].date())]
    assert findings(flip, default) == {"flip_flop": back, "large_return": back}
    assert findings(split, default) == {"suspected_split": day, "large_return": day}
    assert findings(spin, default) == {"suspected_spin_off": day, "large_return": day}


def test_news_at_many_times_the_volume_is_only_a_large_return(default: QualityProfile):
    frame = scaled(walk(), slice(60, None), 0.5)
    frame.loc[60, "volume"] = 20_000
    clean, report = check_quality(bars_of(A=frame), default)
    assert report.counts() == {"large_return": 1}
    assert clean.n_rows == 120


def test_a_wild_stock_is_not_accused_of_flip_flopping(default: QualityProfile):
    frame = walk()
    rng = np.random.default_rng(3)
    close = 50 * np.exp(np.cumsum(rng.normal(0, 0.10, len(frame))))
    for name, factor in {"open": 1.0, "high": 1.01, "low": 0.99, "close": 1.0}.items():
        frame[name] = close * factor
    assert "flip_flop" not in findings(frame, default)


def test_backfill_rejects_a_spike_and_daily_may_not(default: QualityProfile):
    frame = scaled(walk(), slice(60, 61), 1.3)
    backfill = SpecCatalog.default().load("quality", "backfill", QualityProfile)
    clean, report = check_quality(bars_of(A=frame), backfill)
    assert report.counts()["spike_reverts"] == 1
    assert clean.n_rows == 119
    assert check_quality(bars_of(A=frame), default)[0].n_rows == 120
    content = backfill.content() | {"context": "daily"}
    with pytest.raises(ConfigError, match="backfill"):
        build_config(QualityProfile, content, where="test")


def test_ten_percent_drop_rule_exists_and_is_off(default: QualityProfile):
    frame = scaled(walk(), slice(60, None), 0.85)
    setting = default.setting("reject_10pct_drop")
    assert setting is not None
    assert not setting.enabled
    assert check_quality(bars_of(A=frame), default)[0].n_rows == 120
    on = default.content()
    for rule in on["rules"]:
        rule["enabled"] = True
    profile = build_config(QualityProfile, on, where="test")
    assert check_quality(bars_of(A=frame), profile)[0].n_rows == 119


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"rule": "no_such_rule", "action": "warn"}, "unknown rule"),
        ({"rule": "large_return", "action": "reject"}, "takes warn, quarantine"),
        ({"rule": "large_return", "action": "warn", "limits": {"frac": 1}}, "no limit"),
    ],
)
def test_profile_refuses_nonsense(rule: dict[str, object], message: str):
    content = {"name": "x", "context": "daily", "rules": [rule]}
    with pytest.raises(ConfigError, match=message):
        build_config(QualityProfile, content, where="test")


@pytest.mark.parametrize("name", ["default", "strict", "backfill"])
def test_shipped_profiles_name_every_rule_but_the_look_ahead_one(name: str):
    profile = SpecCatalog.default().load("quality", name, QualityProfile)
    expected = set(RULES) - (set() if name == "backfill" else {"spike_reverts"})
    assert {s.rule for s in profile.rules} == expected
    for setting in profile.rules:
        assert set(setting.merged_limits()) == set(RULES[setting.rule].limits)


def test_findings_agree_with_a_plain_loop(default: QualityProfile):
    rng = np.random.default_rng(7)
    frame = walk(250)
    for row in rng.choice(np.arange(30, 220), 12, replace=False):
        frame = scaled(frame, slice(int(row), int(row) + int(rng.integers(1, 12))), 2.0)
    _, report = check_quality(bars_of(A=frame), default)
    close = frame["close"].to_numpy()
    steps = {t: np.log(close[t] / close[t - 1]) for t in range(1, len(close))}
    jumps = []
    for t, step in steps.items():
        before = [abs(steps[u]) for u in range(max(1, t - 60), t)]
        sigma = 1.4826 * float(np.median(before)) if before else 0.0
        if len(before) < 10:
            before = [abs(steps[u]) for u in range(1, 60)]
            sigma = 1.4826 * float(np.median(before))
        if abs(step) >= max(np.log(1.2), 8 * sigma):
            jumps.append(t)
    flagged = set()
    for s in jumps:
        for t in jumps:
            if s < t <= s + 10 and abs(steps[s] + steps[t]) <= 0.10:
                flagged |= {s, t}
    expected = [frame["session"][t] for t in sorted(flagged)]
    assert report.of("flip_flop")["session"].tolist() == expected


def pairs(table: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(table["ticker"], table["session"].astype(str), strict=True))


@pytest.fixture(scope="module")
def iex(shared_data: Path) -> LoadedBars:
    folder = shared_data / "equities" / "sp500_iex_201802"
    return load_folder(folder, LocalConfig(vendor="iex_201802"))


@pytest.mark.feature("Q-15")
def test_iex_faults_are_flagged_and_genuine_jumps_survive(iex: LoadedBars, default: QualityProfile):
    clean, report = check_quality(iex, default, as_of=date(2018, 3, 1))
    counts = report.counts()
    assert (counts["null_ohl"], counts["ohlc_order"]) == (11, 12)
    assert clean.n_rows == 619_040
    flagged = pairs(report.findings)
    assert {("BAX", "2015-07-01"), ("EBAY", "2015-07-20"), ("NI", "2015-07-02")} <= pairs(
        report.of("suspected_spin_off")
    )
    assert {("LNT", "2016-05-19"), ("LNT", "2016-05-20")} <= flagged
    survivors = {("VRTX", "2013-04-19"), ("AMD", "2016-04-22")}
    assert survivors <= pairs(clean.select(("VRTX", "AMD")).frame)
    jumps = report.findings[report.findings["rule"].isin(["flip_flop", "suspected_split"])]
    assert not survivors & pairs(jumps)
    print(report.text())


@pytest.mark.slow
def test_google_flip_flops_are_flagged(shared_data: Path, default: QualityProfile):
    bars = load_folder(shared_data / "equities" / "sp500_google_201708")
    clean, report = check_quality(bars, default)
    counts = report.counts()
    assert (counts["null_ohl"], counts["null_volume"], counts["ohlc_order"]) == (384, 406, 42)
    flips = report.of("flip_flop").groupby("ticker").size()
    assert flips["DVA"] == 2
    assert flips["HLT"] >= 10
    splits = set(report.of("suspected_split")["ticker"])
    assert {"APH", "CTXS", "UAA", "JEC", "PPG"} <= splits
    assert clean.n_rows == bars.n_rows
    print(report.text())


@pytest.mark.slow
def test_stooq_weekend_rows_are_rejected(shared_data: Path, default: QualityProfile):
    bars = load_folder(shared_data / "equities" / "stooq_2017")
    clean, report = check_quality(bars, default)
    assert report.counts()["non_sessions"] == 17 == bars.n_rows - clean.n_rows
    assert len(report.degraded()) == 13

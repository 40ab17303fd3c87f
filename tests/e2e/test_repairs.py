"""Faults that are repaired: the run succeeds, and each repair is counted, stored and printed."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

pytestmark = [pytest.mark.feature("Q-02"), pytest.mark.feature("Q-15")]


def _repeated(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[100:103]])


def _contradicting(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[100:102].assign(close=frame["low"], volume=7.0)])


def _backwards(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[::-1]


def _negative(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(close=np.where(frame.index == 150, -1.0, frame["close"]))


def _zero(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(close=np.where(frame.index.isin([150, 151]), 0.0, frame["close"]))


def _high_below_low(frame: pd.DataFrame) -> pd.DataFrame:
    swapped = frame.index == 200
    return frame.assign(
        high=np.where(swapped, frame["low"], frame["high"]),
        low=np.where(swapped, frame["high"], frame["low"]),
    )


def _future(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.tail(1).assign(date="2049-01-05")])


def _weekend(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.tail(1).assign(date="2013-06-15")])


def _no_close(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(close=np.where(frame.index == 90, np.nan, frame["close"]))


def _negative_volume(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(volume=np.where(frame.index == 60, -5.0, frame["volume"]))


# fault -> (change of a symbol's frame, rule, action, findings)
FAULTS = {
    "duplicate rows": (_repeated, "duplicate_rows", "fix", 3),
    "contradicting rows": (_contradicting, "conflicting_duplicates", "reject", 4),
    "dates backwards": (_backwards, "unsorted_dates", "fix", None),
    "negative price": (_negative, "non_positive_price", "reject", 3),
    "zero prices": (_zero, "non_positive_price", "reject", 3),
    "high below low": (_high_below_low, "ohlc_order", "fix", 1),
    "future date": (_future, "future_dates", "reject", 1),
    "a Saturday": (_weekend, "non_sessions", "reject", 1),
    "no close": (_no_close, "null_close", "reject", 1),
    "negative volume": (_negative_volume, "negative_volume", "reject", 1),
}
DONE = {"fix": "repaired", "reject": "rejected"}


@pytest.fixture(scope="module")
def dirty(cli, bars, build_once):
    """Train on a folder in which ten symbols carry one fault each, one file is empty."""
    whole = [ticker for ticker, frame in bars.items() if len(frame) == 420]

    def build(folder) -> None:
        cli.working_folder(folder)
        changes = dict(zip(whole, (change for change, *_ in FAULTS.values()), strict=False))
        frames = {
            ticker: changes.get(ticker, lambda same: same)(frame.copy())
            for ticker, frame in bars.items()
        }
        prices = cli.write_prices(folder / "prices", frames)
        (prices / "AAA.csv").write_text("date,open,high,low,close,volume\n", encoding="utf-8")
        done = cli.train(prices, folder, "--json").ok()
        (folder / "train.json").write_text(done.stdout, encoding="utf-8")

    folder = build_once("dirty", build)
    done = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    return folder, done, dict(zip(FAULTS, whole, strict=False))


def _payload(dirty, name: str):
    folder, done, _ = dirty
    (item,) = [i for i in done["artifacts"] if i["kind"] == "quality_report"]
    return folder / item["path"] / "payload" / name


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_the_repair_is_counted_in_the_quality_report(dirty, fault) -> None:
    _, rule, action, _ = FAULTS[fault]
    _, _, symbols = dirty
    findings = pd.read_parquet(_payload(dirty, "findings.parquet"))
    mine = findings[(findings["asset_id"] == f"{symbols[fault]}@US#1") & (findings["rule"] == rule)]
    assert len(mine) >= 1
    assert set(mine["action"]) == {action}


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_the_repair_is_printed(dirty, fault) -> None:
    _, rule, action, n = FAULTS[fault]
    by_rule = pd.read_parquet(_payload(dirty, "by_rule.parquet")).set_index("rule")
    counted = int(by_rule.loc[rule, "n_findings"])
    if n is not None:
        assert counted == n
    _, done, _ = dirty
    assert f"{rule}: {counted} {DONE[action]}" in done["warnings"]
    assert "AAA.csv: empty_file (skipped): " in " ".join(done["warnings"])


def test_rows_in_and_out_are_stated(dirty, bars) -> None:
    summary = json.loads(_payload(dirty, "summary.json").read_text())
    n_rows = sum(len(frame) for frame in bars.values())
    assert summary["n_rows_in"] == n_rows + 3 + 2 + 1 + 1
    lost = 3 + 4 + 1 + 2 + 1 + 1 + 1 + 1
    assert summary["n_rows_out"] == summary["n_rows_in"] - lost


def test_repairs_are_printed_for_people_and_by_predict_too(cli, dirty, work) -> None:
    prices = dirty[0] / "prices"
    again = cli.train(prices, work, "--quiet").ok()
    assert "repaired: duplicate_rows: 3 repaired" in again.stdout
    predicted = cli.call(["run_predict.py", "--jobs", "1", "--quiet"], work).ok()
    assert "warning: duplicate_rows: 3 repaired" in predicted.stderr


def test_repairs_that_lose_nothing_give_the_panel_of_the_clean_files(cli, bars, work, chain):
    """Order of rows, repeated rows and the name of a column are no part of the data."""
    frames = {t: _backwards(_repeated(f)) if len(f) > 200 else f for t, f in bars.items()}
    frames = {t: f.rename(columns={"close": "Adj. Last"}) for t, f in frames.items()}
    prices = cli.write_prices(work / "prices", frames)
    flags = ("--map", "close=Adj. Last", "--json", "--no-version")
    done = cli.train(prices, work, *flags).ok()
    clean = {i["kind"]: i["sha256"] for i in chain.runs["train"].json["artifacts"]}
    dirty = {i["kind"]: i["sha256"] for i in done.json["artifacts"]}
    same = ("panel", "feature_panel", "label_panel", "regime_panel", "model", "oos_predictions")
    assert {kind: dirty[kind] for kind in same} == {kind: clean[kind] for kind in same}
    assert dirty["source"] != clean["source"]


@pytest.mark.parametrize("layout", ["one file per symbol", "one long file", "parquet"])
def test_a_ticker_called_nan_survives(cli, bars, work, layout) -> None:
    symbols = {("NAN" if ticker == "XBKQ" else ticker): f for ticker, f in bars.items()}
    prices = work / "prices"
    if layout == "one file per symbol":
        cli.write_prices(prices, symbols)
    else:
        prices.mkdir()
        table = pd.concat([f.assign(ticker=ticker) for ticker, f in symbols.items()])
        if layout == "parquet":
            table.assign(date=pd.to_datetime(table["date"])).to_parquet(prices / "all.parquet")
        else:
            table.to_csv(prices / "all.csv", index=False)
    cli.train(prices, work, "--quiet").ok()
    cli.call(["run_predict.py", "--jobs", "1", "--quiet"], work).ok()
    text = (work / "results" / "predictions_5d.csv").read_text(encoding="utf-8")
    assert ",NAN," in text
    assert "NAN@US#1" in text


def test_dates_with_day_first_are_read_when_the_data_prove_it(cli, bars, work, chain) -> None:
    frames = {
        ticker: frame.assign(date=[f"{d[8:]}-{d[5:7]}-{d[:4]}" for d in frame["date"]])
        for ticker, frame in bars.items()
    }
    prices = cli.write_prices(work / "prices", frames)
    done = cli.train(prices, work, "--json", "--no-version").ok()
    hashes = {i["kind"]: i["sha256"] for i in done.json["artifacts"]}
    clean = {i["kind"]: i["sha256"] for i in chain.runs["train"].json["artifacts"]}
    assert hashes["panel"] == clean["panel"]

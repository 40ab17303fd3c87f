"""The volume-weighted average price on its way from a file to a formula."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import DataError, MissingFieldError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.bars import LoadedBars
from quant_engine.data.cache import BarCache
from quant_engine.data.columns import recognise_columns
from quant_engine.data.panel import build_panel
from quant_engine.data.providers.local import LocalConfig, load_folder
from quant_engine.data.quality import QualityProfile, check_quality
from quant_engine.data.reconcile import ReconcileProfile, reconcile
from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import FeatureSet, compute_features

pytestmark = pytest.mark.feature("D-24")

HEADER = ["Date", "Open", "High", "Low", "Close", "Volume"]
DAYS = ["2020-01-02", "2020-01-03", "2020-01-06"]


def bars_of(vwap=(10.1, 10.2, 10.3), *, vendor="one", days=DAYS, ticker="A"):
    n = len(days)
    fields = {
        "open": [10.0] * n, "high": [10.6] * n, "low": [9.8] * n, "close": [10.4] * n,
        "volume": [1000.0] * n,
    }  # fmt: skip
    if vwap is not None:
        fields["vwap"] = list(vwap)[:n]
    return LoadedBars.from_columns(
        ticker=[ticker] * n, session=days, fields=fields, vendor=vendor,
        price_basis=PriceBasis.SPLIT_ADJ,
    )  # fmt: skip


def profile(name):
    return SpecCatalog.default().load("quality", name, QualityProfile)


def vwap_of(bars):
    return bars.frame["vwap"].tolist()


@pytest.mark.parametrize(
    "spelling",
    [
        "vwap",
        "VWAP",
        "vw",
        "8. vwap",
        "Average Price",
        "<AvgPrice>",
        "Volume-weighted average price",
    ],
)
def test_usual_spellings_are_recognised(spelling):
    assert recognise_columns([*HEADER, spelling], {}, source="x.csv")["vwap"] == spelling


def test_a_mapping_names_any_other_column_and_none_is_needed():
    mapping = {"vwap": "Average"}
    assert recognise_columns([*HEADER, "Average"], mapping, source="x.csv")["vwap"] == "Average"
    assert "vwap" not in recognise_columns([*HEADER, "Average"], {}, source="x.csv")


def test_from_a_file_to_the_panel(tmp_path: Path):
    text = "date,open,high,low,close,volume,vw\n"
    text += "".join(
        f"{day},10,10.6,9.8,10.4,1000,{v}\n" for day, v in zip(DAYS, "ABC", strict=True)
    )
    text = text.replace(",A\n", ",10.1\n").replace(",B\n", ",\n").replace(",C\n", ",10.3\n")
    (tmp_path / "A.csv").write_text(text)
    (tmp_path / "B.csv").write_text("date,open,high,low,close,volume\n2020-01-02,1,2,1,2,100\n")
    panel = build_panel(load_folder(tmp_path, LocalConfig())).panel
    assert panel.field("vwap")[:, 0].tolist() == pytest.approx([10.1, np.nan, 10.3], nan_ok=True)
    assert np.isnan(panel.field("vwap")[:, 1]).all()


def test_without_a_column_there_is_no_field():
    assert "vwap" not in build_panel(bars_of(None)).panel.fields


@pytest.mark.parametrize("wrong", [9.7, 10.7, 0.0, -1.0])
def test_a_vwap_outside_its_bar_is_taken_as_missing(wrong):
    clean, report = check_quality(bars_of((10.1, wrong, 10.3)), profile("default"))
    assert report.of("vwap_outside")["session"].tolist() == [pd.Timestamp(DAYS[1])]
    assert vwap_of(clean) == pytest.approx([10.1, np.nan, 10.3], nan_ok=True)
    assert clean.frame["close"].tolist() == [10.4] * 3


def test_the_strict_profile_rejects_the_bar():
    # Of many bars, because a symbol that loses a larger share of them is left out as a whole.
    days = sessions_between("XNYS", np.datetime64("2020-01-02"), np.datetime64("2020-03-31"))
    vwap = np.linspace(10.0, 10.3, days.size)
    vwap[7] = 9.0
    clean, report = check_quality(bars_of(vwap, days=days), profile("strict"))
    assert report.of("vwap_outside")["action"].tolist() == ["reject"]
    assert vwap_of(clean) == np.delete(vwap, 7).tolist()


@pytest.mark.parametrize("right", [9.8, 10.6, 10.6 * 1.0009, 9.8 * 0.9991, np.nan])
def test_the_bounds_and_what_rounding_adds_are_allowed(right):
    clean, report = check_quality(bars_of((10.1, right, 10.3)), profile("default"))
    assert len(report.of("vwap_outside")) == 0
    assert vwap_of(clean)[1] == pytest.approx(right, nan_ok=True)


def test_bars_without_one_have_no_findings():
    for name in ("default", "strict", "backfill"):
        _, report = check_quality(bars_of(None), profile(name))
        assert len(report.of("vwap_outside")) == 0


def test_the_cache_keeps_it(tmp_path: Path):
    cache = BarCache(tmp_path)
    bars = bars_of()
    cache.write(bars, source="one", fetched_at=datetime(2020, 2, 1, tzinfo=UTC), quality={})
    entry = cache.read(bars.asset_ids[0])
    assert entry is not None
    assert vwap_of(entry.bars) == vwap_of(bars)


def test_reconciliation_keeps_it_and_fills_none_in():
    first, second = bars_of(days=DAYS[:2]), bars_of(None, vendor="two")
    merged = reconcile(
        [first, second], ["one", "two"], profile=ReconcileProfile(name="example"), fill="row"
    )
    assert vwap_of(merged.bars) == pytest.approx([10.1, 10.2, np.nan], nan_ok=True)


def test_it_is_part_of_the_content():
    digests = {bars_of(v).content_digest() for v in (None, (10.1, 10.2, 10.3), (10.1, 10.2, 10.4))}
    assert len(digests) == 3


@pytest.fixture(scope="module")
def world():
    return simulate_equity_world(
        EquityWorldConfig(seed=4, n_assets=30, n_sessions=420, corporate={"split_above_usd": 90.0})
    )


def test_the_simulated_one_lies_in_its_bar(world):
    for panel in (world.panel, world.raw_panel):
        vwap, low, high = (panel.field(name) for name in ("vwap", "low", "high"))
        traded = np.isfinite(panel.field("close"))
        np.testing.assert_array_equal(np.isfinite(vwap), traded)
        assert ((vwap >= low) & (vwap <= high))[traded].all()
        place = ((vwap - low) / (high - low))[traded]
        assert abs(place.mean() - 0.5) < 0.02
        assert 0.15 < place.std() < 0.30


def test_the_simulated_one_is_adjusted_like_the_prices(world):
    adjusted, raw = world.panel, world.raw_panel
    factor = adjusted.field("close") / raw.field("close")
    np.testing.assert_allclose(adjusted.field("vwap"), raw.field("vwap") * factor, rtol=1e-12)
    assert np.nanmax(np.abs(factor - 1.0)) > 0.1


def test_the_simulated_one_scatters_like_the_mean_of_a_bridge(world):
    # A bridge with standard deviation s has a mean of standard deviation s/sqrt(12) around the
    # middle of its ends; staying between high and low takes some of it.
    p = world.panel
    away = np.log(p.field("vwap") / np.sqrt(p.field("open") * p.field("close")))
    move = np.log(p.field("close") / p.field("open"))
    ratio = np.nanstd(away) / (np.nanstd(move) / np.sqrt(12.0))
    assert 0.5 < ratio < 1.0


@pytest.mark.parametrize("name", ["alpha158", "alpha101"])
def test_the_formula_sets_run_on_a_simulated_world(world, name):
    features = SpecCatalog.default().load("features", name, FeatureSet)
    got = compute_features(world.panel, features)
    dead = [n for n in got.fields if not np.isfinite(got.field(n)[300:]).any()]
    assert dead == []


@pytest.mark.parametrize("name", ["alpha158", "alpha101"])
def test_a_panel_without_it_says_what_to_do(world, name):
    fields = {n: v for n, v in world.panel.fields.items() if n != "vwap"}
    bare = Panel(world.panel.time, world.panel.asset_ids, fields)
    features = SpecCatalog.default().load("features", name, FeatureSet)
    with pytest.raises(MissingFieldError, match=r"ALPHA0|VWAP") as caught:
        compute_features(bare, features)
    assert "--map vwap=NAME" in str(caught.value)
    assert "price_volume_v1" in str(caught.value)
    with pytest.raises(MissingFieldError, match="--map vwap=NAME"):
        compile_expressions({"V": "$vwap/$close"}).run(bare)


def test_one_that_is_not_positive_counts_as_missing():
    axis = TimeAxis.sessions(DAYS)
    panel = Panel(axis, ("A@US#1",), {"vwap": np.array([[10.0], [0.0], [-1.0]])})
    got = compile_expressions({"V": "$vwap*1"}).run(panel, dtype=np.float64).field("V")
    assert got.ravel().tolist() == pytest.approx([10.0, np.nan, np.nan], nan_ok=True)


def test_an_unadjusted_one_is_refused():
    axis = TimeAxis.sessions(DAYS)
    fields = {"vwap": np.full((3, 1), 10.0)}
    panel = Panel(axis, ("A@US#1",), fields, price_basis=PriceBasis.RAW)
    with pytest.raises(DataError, match="adjusted for splits"):
        compile_expressions({"V": "Mean($vwap, 2)"}).run(panel)

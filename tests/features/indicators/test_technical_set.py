"""The set of technical features: promises, no price levels, no look-ahead, real bars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import check_feature_set
from quant_engine.features.sets import FeatureSet
from quant_engine.testing import assert_prefix_invariant

pytestmark = [pytest.mark.feature("Q-19"), pytest.mark.feature("Q-20")]

SET = SpecCatalog.default().load("features", "technical", FeatureSet)


@pytest.fixture(scope="module")
def program():
    return check_feature_set(SET)


def scaled(panel: Panel, price: float, volume: float) -> Panel:
    factors = {name: price for name in ("open", "high", "low", "close")} | {"volume": volume}
    fields = {name: factor * panel.field(name) for name, factor in factors.items()}
    return Panel(panel.time, panel.asset_ids, fields, panel.masks)


def test_no_feature_knows_the_price_level_or_the_unit_of_volume(program, panel_factory):
    panel = panel_factory(460, 3, seed=4, dividends=False)
    before = program.run(scaled(panel, 1.0, 1.0), dtype=np.float64)
    after = program.run(scaled(panel, 128.0, 1.0 / 64.0), dtype=np.float64)
    for name in program.names:
        x, y = before.field(name), after.field(name)
        assert np.isfinite(x).any(), name
        np.testing.assert_allclose(y, x, rtol=1e-9, atol=1e-9, err_msg=name)


def test_every_feature_has_a_value_from_its_lookback_on(program, panel_factory):
    panel = panel_factory(420, 3, seed=6)
    got = program.run(panel, dtype=np.float64)
    for spec in SET.features:
        values = got.field(spec.name)[spec.lookback_sessions - 1 :]
        # A window may hold no confirmed swing, and then has no distance from it.
        share = np.isfinite(values).mean()
        assert share == 1.0 or (spec.name.startswith("SWING_") and share > 0.9), spec.name


def test_no_feature_reads_the_future(program, panel_factory):
    panel = panel_factory(420, 3, seed=8, gaps=0.001)
    report = assert_prefix_invariant(
        lambda p: program.run(p, dtype=np.float64, allow_short=True), panel, cuts=[380], seed=2
    )
    assert set(report.fields) >= set(program.names)


def test_tail_and_blocks_give_the_bits_of_the_whole(program, panel_factory):
    panel = panel_factory(420, 70, seed=9, gaps=0.002)
    whole = program.run(panel, threads=1)
    tail = program.tail(panel, first_row=400)
    threaded = program.run(panel, threads=2)
    for name in program.names:
        assert whole.field(name)[400:].tobytes() == tail.field(name).tobytes(), name
        assert whole.field(name).tobytes() == threaded.field(name).tobytes(), name


def test_formulas_say_what_their_names_do(panel_factory):
    panel = panel_factory(300, 2, seed=12)
    chosen = {s.name: s.expression for s in SET.features}
    got = compile_expressions(chosen).run(panel, dtype=np.float64, allow_short=True)
    high, low, close = (panel.field(name)[:, 0] for name in ("high", "low", "close"))
    last, series = slice(-1, None), pd.Series(close)

    def newest(name: str) -> float:
        return float(got.field(name)[-1, 0])

    band = close[-20:].std()
    middle = close[-20:].mean()
    assert newest("BB_PLACE20") == pytest.approx((close[-1] - middle) / (2 * band))
    assert newest("BB_WIDTH20") == pytest.approx(4 * band / middle)
    assert newest("ROC20_PCT") == pytest.approx(100 * (close[-1] / close[-21] - 1))
    assert newest("SMA200_GAP") == pytest.approx(close[-1] / close[-200:].mean() - 1)
    signs = np.sign(np.diff(close[-21:]))
    volume = panel.field("volume")[-20:, 0]
    assert newest("NET_VOLUME20") == pytest.approx((signs * volume).sum() / volume.sum())
    up = close[-1] > high[-21:-1].max()
    down = close[-1] < low[-21:-1].min()
    assert newest("BREAK20") == float(up) - float(down)
    assert newest("HIGHER_HIGHS10") == pytest.approx((np.diff(high[-11:]) > 0).mean())
    slope, level = np.polyfit(np.arange(60.0), np.log(close[-60:]), 1)
    fit = np.corrcoef(level + slope * np.arange(60.0), np.log(close[-60:]))[0, 1] ** 2
    assert newest("TREND_STRENGTH60") == pytest.approx(np.sign(slope) * fit)
    assert newest("PRICE_RANK252") == pytest.approx(series.rolling(252).rank(pct=True)[299])
    assert got.field("SQUEEZE_ON20")[last].size == 2


def test_squeeze_is_on_when_the_bands_lie_inside_the_channel(panel_factory):
    panel = panel_factory(500, 20, seed=13)
    parts = {
        "on": next(s.expression for s in SET.features if s.name == "SQUEEZE_ON20"),
        "top": "Mean($close, 20) + 2*0.9746794344808963*Std($close, 20)",
        "bottom": "Mean($close, 20) - 2*0.9746794344808963*Std($close, 20)",
        "middle": "SeededEMA($close, 20)",
        "half": "1.5*ATR($high, $low, $close, 20)",
    }
    got = compile_expressions(parts).run(panel, dtype=np.float64)
    on, top, bottom, middle, half = (got.field(name)[300:] for name in parts)
    inside = (top < middle + half) & (bottom > middle - half)
    np.testing.assert_array_equal(on, inside.astype(float))
    assert 0.0 < on.mean() < 1.0


def test_a_name_shared_with_another_set_is_the_same_feature():
    for other, name in (
        ("volatility", "NATR14"), ("volatility", "BB_WIDTH20"), ("volatility", "BB_WIDTH_RANK100"),
        ("volatility", "SQUEEZE20"), ("raw_returns", "RSI5"), ("price_volume_v1", "HIGHD252"),
        ("price_volume_v1", "LOWD252"),
    ):  # fmt: skip
        loaded = SpecCatalog.default().load("features", other, FeatureSet)
        theirs = {spec.name: spec for spec in loaded.features}
        assert {spec.name: spec for spec in SET.features}[name] == theirs[name]


@pytest.mark.slow
def test_real_bars_give_finite_features_of_sensible_size(program, shared_data):
    folder = shared_data / "equities" / "sp500_iex_201802"
    frames = [pd.read_csv(folder / f"{name}_data.csv") for name in ("AAPL", "MSFT", "XOM", "JPM")]
    fields = {
        name: np.column_stack([frame[name].to_numpy(float) for frame in frames])
        for name in ("open", "high", "low", "close", "volume")
    }
    axis = TimeAxis.sessions(frames[0]["date"].to_numpy("datetime64[D]"))
    panel = Panel(axis, tuple(f"T{j}@US#1" for j in range(4)), fields)
    got = program.run(panel)
    for spec in SET.features:
        values = got.field(spec.name)[spec.lookback_sessions :]
        assert np.isfinite(values).mean() > 0.95, spec.name
        assert np.nanquantile(np.abs(values), 0.9) < 400.0, spec.name

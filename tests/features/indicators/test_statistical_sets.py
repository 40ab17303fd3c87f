"""Feature sets of statistics, volatility, structure, interactions, raw returns and momentum."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import check_feature_set, compute_features
from quant_engine.features.sets import FeatureSet
from quant_engine.testing import check_feature_set as check_conformance

pytestmark = [pytest.mark.feature("Q-19"), pytest.mark.feature("Q-20")]

SETS = ("interactions", "raw_returns", "statistical", "structural", "tsmom", "volatility")
RECURSIVE = ("Kalman", "RSI", "ADX", "NATR", "MACD")
MARKET_WIDE = ("EIGEN", "EFFECTIVE", "CONDITION", "AVERAGE_CORR", "CORRELATION_STRESS")


def load(name: str) -> FeatureSet:
    return SpecCatalog.default().load("features", name, FeatureSet)


@pytest.fixture(scope="module")
def market(panel_factory):
    """A market of 6 assets, all of them members, without gaps."""
    panel = panel_factory(360, 6, seed=3)
    return panel.with_masks({"member": np.ones(panel.shape, dtype=bool)})


@pytest.fixture(scope="module")
def computed(market):
    return {name: compute_features(market, load(name)) for name in SETS}


@pytest.mark.parametrize("name", SETS)
def test_claims_of_the_set_are_those_of_its_formulas(name: str) -> None:
    feature_set = load(name)
    program = check_feature_set(feature_set)
    for spec in feature_set.features:
        assert program.lookback_of(spec.name) == spec.lookback_sessions, spec.name


@pytest.mark.parametrize("name", SETS)
def test_first_value_stands_on_the_last_row_of_the_lookback(name: str, computed) -> None:
    features = computed[name]
    for spec in load(name).features:
        values = features.field(spec.name)
        present = np.isfinite(values)
        assert not np.isinf(values).any()
        recursive = any(part in spec.expression for part in RECURSIVE)
        if not recursive:
            assert not present[: spec.lookback_sessions - 1].any(), spec.name
        # What forgets slowly has values long before its start is forgotten.
        first = min(spec.lookback_sessions - 1, 300) if recursive else spec.lookback_sessions - 1
        assert present[first:].mean() > 0.95, spec.name


@pytest.mark.parametrize("name", SETS)
def test_unit_of_money_and_of_volume_does_not_matter(name: str, market, computed) -> None:
    money = {field: 8.0 * market.field(field) for field in market.fields if field != "volume"}
    changed = market.with_fields({**money, "volume": 4.0 * market.field("volume")})
    again = compute_features(changed, load(name))
    for feature, values in computed[name].fields.items():
        np.testing.assert_allclose(
            again.field(feature), values, rtol=1e-4, atol=1e-5, err_msg=feature
        )


@pytest.mark.parametrize("name", SETS)
def test_sizes_are_those_of_model_inputs(name: str, computed) -> None:
    for feature, values in computed[name].fields.items():
        assert np.nanmax(np.abs(values)) < 500.0, feature
        if not feature.startswith(MARKET_WIDE):
            assert np.nanstd(values) > 0.0, feature


@pytest.mark.leakage
@pytest.mark.parametrize("name", SETS)
def test_set_reads_no_future_and_no_order_of_assets(name: str, panel_factory) -> None:
    panel = panel_factory(345, 8, seed=9)
    fields = {field: values.copy() for field, values in panel.fields.items()}
    for values in fields.values():
        values[[40, 338], 0] = np.nan
    masks = {"member": np.ones(panel.shape, dtype=bool)}
    feature_set = load(name)
    check_conformance(
        lambda market: compute_features(market, feature_set),
        panel.with_fields(fields).with_masks(masks),
        names=feature_set.names,
        cuts=[335],
    )


@pytest.mark.parametrize("name", SETS)
def test_real_prices_give_values_of_sensible_size(name: str, shared_data) -> None:
    folder = shared_data / "equities" / "sp500_iex_201802"
    files = sorted(folder.rglob("*_data.csv"))[::40]
    bars = pd.concat([pd.read_csv(file, parse_dates=["date"]) for file in files])
    wide = {
        field: bars.pivot_table(index="date", columns="Name", values=field)
        for field in ("open", "high", "low", "close", "volume")
    }
    fields = {field: np.ascontiguousarray(table.to_numpy(float)) for field, table in wide.items()}
    table = wide["close"]
    panel = Panel(
        TimeAxis.sessions(table.index.to_numpy().astype("datetime64[D]")),
        tuple(f"{ticker}@US#1" for ticker in table.columns),
        fields,
    )
    complete = np.isfinite(sum(fields.values()))
    feature_set = load(name)
    for spec, values in zip(
        feature_set.features, compute_features(panel, feature_set).fields.values(), strict=True
    ):
        rows = slice(spec.lookback_sessions, None)
        share = np.isfinite(values[rows]).sum() / complete[rows].sum()
        assert share > 0.9, spec.name
        assert np.nanmax(np.abs(values)) < 500.0, spec.name


def test_market_wide_values_are_equal_for_all_members(computed) -> None:
    for feature, values in computed["structural"].fields.items():
        if feature.startswith(MARKET_WIDE):
            np.testing.assert_array_equal(values, np.repeat(values[:, :1], 6, axis=1))


def log_returns(market) -> pd.DataFrame:
    close, dividend = (pd.DataFrame(market.field(name)) for name in ("close", "dividend"))
    return np.log((close + dividend) / close.shift(1))


def check(computed, name: str, feature: str, wanted: pd.DataFrame) -> None:
    np.testing.assert_allclose(
        computed[name].field(feature)[-60:], wanted.to_numpy()[-60:], rtol=2e-4, atol=2e-6
    )


def test_range_volatilities_are_those_of_the_papers(market, computed) -> None:
    o, h, low, c, d = (
        pd.DataFrame(market.field(name)) for name in ("open", "high", "low", "close", "dividend")
    )
    range_squared = np.log(h / low) ** 2
    parkinson = (range_squared / (4.0 * np.log(2.0))).rolling(20).mean()
    garman = 0.5 * range_squared - (2.0 * np.log(2.0) - 1.0) * np.log(c / o) ** 2
    u, down, move = np.log(h / o), np.log(low / o), np.log(c / o)
    rogers = (u * (u - move) + down * (down - move)).rolling(20).mean()
    night = np.log((o + d) / c.shift(1))
    k = 0.34 / (1.34 + 21.0 / 19.0)
    yang = night.rolling(20).var() + k * move.rolling(20).var() + (1.0 - k) * rogers
    check(computed, "volatility", "PARKINSON20", np.sqrt(parkinson))
    check(computed, "volatility", "GARMAN_KLASS20", np.sqrt(garman.rolling(20).mean()))
    check(computed, "volatility", "ROGERS_SATCHELL20", np.sqrt(rogers))
    check(computed, "volatility", "YANG_ZHANG20", np.sqrt(yang))
    ratio = np.sqrt(parkinson / garman.rolling(20).mean())
    check(computed, "interactions", "PARKINSON_OVER_GK", ratio)


def test_volatility_forecast_is_the_recursion_written_out(market, computed) -> None:
    squares = (log_returns(market) ** 2).to_numpy()
    for t in (300, 359):
        long_run = squares[t - 251 : t + 1].mean(axis=0)
        variance = long_run.copy()
        for row in squares[t - 251 : t + 1]:
            variance = 0.02 * long_run + 0.06 * row + 0.92 * variance
        found = computed["volatility"].field("GARCH_VOL252")[t]
        np.testing.assert_allclose(found, np.sqrt(variance), rtol=1e-4)
        ratio = computed["volatility"].field("GARCH_RATIO252")[t]
        np.testing.assert_allclose(ratio, np.sqrt(variance / long_run), rtol=1e-4)


def test_har_components_are_means_of_one_daily_variance(market, computed) -> None:
    o, h, low, c, d = (
        pd.DataFrame(market.field(name)) for name in ("open", "high", "low", "close", "dividend")
    )
    variance = np.log((o + d) / c.shift(1)) ** 2 + np.log(h / low) ** 2 / (4.0 * np.log(2.0))
    day, week, month = (np.sqrt(variance.rolling(n).mean()) for n in (1, 5, 22))
    for label, wanted in (("D", day), ("W", week), ("M", month)):
        check(computed, "volatility", f"HAR_{label}", wanted)
        check(computed, "volatility", f"HAR_LOG_{label}", np.log(wanted))
    check(computed, "volatility", "HAR_DW", day / week)
    check(computed, "volatility", "HAR_WM", week / month)
    check(computed, "volatility", "HAR_LOG_WM", np.log(week / month))


def test_cone_term_and_spread_of_volatility(market, computed) -> None:
    vol = log_returns(market).rolling(20).std()
    check(computed, "volatility", "VOL_CONE20_252", vol.rolling(252).rank(pct=True))
    check(computed, "volatility", "VOL_OF_VOL20", vol.rolling(20).std() / vol.rolling(20).mean())
    short, long = (log_returns(market).rolling(n).std() for n in (10, 60))
    check(computed, "volatility", "VOL_TERM10_60", short / long)


def test_tails_and_states_are_those_of_pandas(market, computed) -> None:
    r = log_returns(market)
    limit = 2.5 * r.rolling(20).std().shift(1)
    check(computed, "structural", "JUMP_INTENSITY20", (r.abs() > limit).rolling(20).mean())
    down = (r.clip(upper=0.0) ** 2).rolling(20).sum() / (r**2).rolling(20).sum()
    check(computed, "structural", "DOWNSIDE_SHARE20", down)
    bipower = np.pi / 2.0 * (r.abs() * r.abs().shift(1)).rolling(20).mean()
    jumps = (1.0 - bipower / (r**2).rolling(20).mean()).clip(lower=0.0)
    check(computed, "structural", "JUMP_SHARE20", jumps)
    stressed = r.abs() > r.abs().rolling(60).median()
    stays = (stressed == stressed.shift(1)).rolling(60).mean()
    check(computed, "statistical", "REGIME_PERSISTENCE60", stays)


def test_liquidity_measures_are_those_of_the_papers(market, computed) -> None:
    close, volume = pd.DataFrame(market.field("close")), pd.DataFrame(market.field("volume"))
    r = np.exp(log_returns(market)) - 1.0
    value = close * volume
    amihud = r.abs() / value
    change = np.log(amihud.rolling(20).mean() / amihud.rolling(252).mean())
    check(computed, "statistical", "AMIHUD_CHANGE20_252", change)
    level = np.log(amihud.rolling(20).mean())
    centred = level.sub(level.mean(axis=1), axis=0)
    # The z-score of a cross-section takes the whole market, not a sample of it.
    z = centred.div(level.std(axis=1, ddof=0), axis=0)
    found = computed["statistical"].field("AMIHUD_CS20")[-1]
    ratio = found / z.to_numpy()[-1]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    flow = np.sign(r) * value
    for column in range(6):
        window = slice(340, 360)
        slope = np.polyfit(flow[column][window], r[column][window], 1)[0]
        wanted = slope * value[column][window].mean()
        found_kyle = computed["statistical"].field("KYLE20")[-1, column]
        assert found_kyle == pytest.approx(wanted, rel=1e-4)


def test_momentum_is_that_of_the_papers(market, computed) -> None:
    r = log_returns(market)
    check(computed, "tsmom", "MOM12_1", np.exp(r.shift(21).rolling(231).sum()) - 1.0)
    scaled = r.rolling(252).sum() / (r.rolling(60).std() * np.sqrt(252.0))
    check(computed, "tsmom", "TSMOM252", scaled)
    signs = [np.sign(r.rolling(n).sum()) for n in (21, 63, 126, 189, 252)]
    check(computed, "tsmom", "TSMOM_ENSEMBLE", sum(signs) / 5.0)
    check(computed, "raw_returns", "RET20", np.exp(r.rolling(20).sum()) - 1.0)


def test_interactions_are_products_of_their_parts(market, computed) -> None:
    parts = compile_expressions({
        "rsi": "RSI($close, 14)", "stoch": "StochK($high, $low, $close, 14, 3, 3)",
        "adx": "ADX($high, $low, $close, 14)", "macd": "MACD($close, 12, 26, 9)",
    }).run(market, dtype=np.float64)  # fmt: skip
    statistical, found = computed["statistical"], computed["interactions"]
    rows = slice(300, None)
    rsi, stoch, adx, macd = (parts.field(name)[rows] for name in ("rsi", "stoch", "adx", "macd"))
    hurst, ratio, entropy, memory, z20 = (
        statistical.field(name)[rows]
        for name in ("HURST100", "VR100_5", "SHANNON60", "AUTOCORR20", "Z20")
    )
    close = market.field("close")[rows]
    term = computed["volatility"].field("VOL_TERM10_60")[rows]
    wanted = {
        "RSI_X_HURST": (rsi - 50.0) / 100.0 * (hurst - 0.5),
        "RSI_X_VR": (rsi - 50.0) / 100.0 * (ratio - 1.0),
        "ENTROPY_X_ADX": entropy * adx / 100.0,
        "MACD_X_AUTOCORR": macd / close * memory,
        "Z20_X_VOL_TERM": z20 * term,
        "RSI_50": (rsi - 50.0) / 50.0,
        "STOCH_50": (stoch - 50.0) / 50.0,
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(found.field(name)[rows], values, rtol=1e-4, atol=1e-6)

"""Price factors: twins in pandas, market model by regression."""

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.factors.base import FactorInputs, FactorSpec, build_factor
from quant_engine.features.factors.plan import run_factors
from quant_engine.stats.metrics import alpha_beta

pytestmark = pytest.mark.feature("D-03")


def values(inputs: FactorInputs, name: str, **params):
    spec = FactorSpec(name=name, params=params)
    return run_factors(inputs, [spec]).factor(spec)


def close_of(inputs: FactorInputs) -> pd.DataFrame:
    return pd.DataFrame(inputs.panel.field("close"))


def market_returns(inputs: FactorInputs) -> tuple[pd.DataFrame, pd.Series]:
    returns = close_of(inputs).pct_change(fill_method=None)
    member = pd.DataFrame(inputs.panel.mask("member")).shift(fill_value=False).astype(bool)
    return returns, returns.where(member).mean(axis=1)


def test_momentum_twins(inputs):
    close = close_of(inputs)
    np.testing.assert_allclose(
        values(inputs, "momentum"), close / close.shift(252) - 1, rtol=0, atol=1e-12
    )
    year = close.shift(21) / close.shift(252) - 1
    np.testing.assert_allclose(values(inputs, "momentum_12_1"), year, rtol=0, atol=1e-12)
    vol = close.pct_change(fill_method=None).rolling(60).std()
    np.testing.assert_allclose(values(inputs, "vsm"), year / vol, rtol=1e-9)
    scaled = values(inputs, "vsm", target_vol_daily=0.01)
    np.testing.assert_allclose(scaled, 0.01 * year / vol, rtol=1e-9)


def test_levy_strength_twin(inputs):
    close = close_of(inputs)
    np.testing.assert_allclose(
        values(inputs, "levy_rsl"), 100 * close / close.rolling(260).mean(), rtol=1e-10
    )


def test_market_model_equals_a_regression_of_each_window(inputs):
    returns, market = market_returns(inputs)
    beta = values(inputs, "beta", window_sessions=50)
    ivol = values(inputs, "ivol", window_sessions=50)
    for row, column in ((51, 0), (200, 3), (329, 11)):
        window = slice(row - 49, row + 1)
        line = alpha_beta(
            returns.iloc[window, column].to_numpy(),
            market.iloc[window].to_numpy(),
            periods_per_year=252.0,
        )
        assert beta[row, column] == pytest.approx(line.beta, rel=1e-9)
        assert ivol[row, column] == pytest.approx(line.residual_std, rel=1e-9)
    assert np.isnan(beta[:50]).all()


def test_low_beta_is_good(inputs):
    beta = values(inputs, "beta", window_sessions=50)
    np.testing.assert_array_equal(values(inputs, "bab", window_sessions=50), -beta)


def test_volatility_twin(inputs):
    returns, _ = market_returns(inputs)
    np.testing.assert_allclose(
        values(inputs, "volatility", window_sessions=40), returns.rolling(40).std(), rtol=1e-9
    )


def test_money_flow_twins(inputs):
    high, low, close, volume = (
        pd.DataFrame(inputs.panel.field(name)) for name in ("high", "low", "close", "volume")
    )
    typical = (high + low + close) / 3
    flow = typical * volume
    up = flow.where(typical.diff() > 0, 0.0).rolling(14).sum()
    down = flow.where(typical.diff() < 0, 0.0).rolling(14).sum()
    got = values(inputs, "mfi")
    np.testing.assert_allclose(got[14:], (100 * up / (up + down))[14:], rtol=1e-9)
    assert np.isnan(got[:14]).all()
    signed = np.sign(close.diff()) * volume
    balance = signed.cumsum() - signed.cumsum().shift(14)
    np.testing.assert_allclose(
        values(inputs, "obv")[15:], (balance / volume.rolling(14).sum())[15:], rtol=1e-9
    )


def test_an_asset_that_is_the_market_has_no_risk_of_its_own():
    days = np.datetime64("2020-01-01") + np.arange(60)
    close = 10 * np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.01, 60)))[:, None]
    inputs = FactorInputs(Panel(TimeAxis.sessions(days), ("A@US#1",), {"close": close}))
    ivol = values(inputs, "ivol", window_sessions=20)
    assert np.isfinite(ivol[20:][1:]).all()
    assert ivol[21:].max() < 1e-8


def test_a_gap_leaves_no_partial_window(panel_factory):
    panel = panel_factory(120, 3, gaps=0.0, dividends=False)
    close = np.array(panel.field("close"))
    close[60, 1] = np.nan
    gapped = FactorInputs(panel.with_fields({"close": close}))
    vol = values(gapped, "volatility", window_sessions=20)
    assert np.isnan(vol[60:81, 1]).all()
    assert np.isfinite(vol[81:, 1]).all()
    assert np.isfinite(vol[20:, 0]).all()


def test_unadjusted_prices_are_refused(raw_market):
    with pytest.raises(DataError, match="adjusted for splits"):
        values(FactorInputs(raw_market), "momentum", lookback_sessions=5)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("momentum", {"lookback_sessions": 10, "skip_sessions": 10}),
        ("momentum", {"lookback": 10}),
        ("volatility", {"window_sessions": 2}),
    ],
)
def test_bad_parameters_are_refused(name, params):
    with pytest.raises(ConfigError, match=f"factor '{name}'"):
        build_factor(FactorSpec(name=name, params=params))


def test_lookback_is_what_a_value_reads(inputs):
    for name, rows in (("momentum", 253), ("vsm", 253), ("levy_rsl", 260), ("volatility", 253)):
        factor = build_factor(FactorSpec(name=name))
        assert factor.lookback_sessions == rows
        got = run_factors(inputs, [FactorSpec(name=name)]).factor(FactorSpec(name=name))
        assert np.isnan(got[: rows - 1]).all()
        assert np.isfinite(got[rows - 1]).all()

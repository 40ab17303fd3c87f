"""EWMA volatility, past quantiles and hysteresis against plain loops."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError
from quant_engine.regime.ewma import (
    EwmaConfig,
    ewma_volatility,
    high_volatility_state,
    hysteresis_state,
    past_quantile,
)

pytestmark = pytest.mark.feature("Q-23")

RNG = np.random.default_rng(2)
RETURNS = 0.01 * RNG.standard_normal(400)


def test_volatility_equals_the_plain_loop():
    keep = 0.5 ** (1 / 11)
    variance = sum(r * r for r in RETURNS[:21]) / 21
    wanted = [variance**0.5]
    for r in RETURNS[21:]:
        variance = keep * variance + (1 - keep) * r * r
        wanted.append(variance**0.5)
    got = ewma_volatility(RETURNS, half_life_sessions=11, min_obs=21)
    assert np.isnan(got[:20]).all()
    np.testing.assert_allclose(got[20:], wanted, rtol=1e-12)


def test_volatility_equals_pandas_when_started_at_the_first_return():
    got = ewma_volatility(RETURNS, half_life_sessions=5, min_obs=1)
    wanted = pd.Series(RETURNS**2).ewm(halflife=5, adjust=False).mean() ** 0.5
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_too_short_a_series_is_unknown():
    assert np.isnan(ewma_volatility(RETURNS[:5], half_life_sessions=5, min_obs=21)).all()
    assert (high_volatility_state(np.full(30, np.nan), EwmaConfig()) == -1).all()


@given(st.integers(0, 2**32 - 1), st.integers(2, 40), st.sampled_from([0.1, 0.5, 0.75]))
@settings(max_examples=40, deadline=None)
def test_past_quantile_equals_numpy_on_the_past_alone(seed, lookback, level):
    rng = np.random.default_rng(seed)
    # Rounding makes ties, which a sorted window has to remove one at a time.
    values = rng.standard_normal(90).round(1)
    values[: rng.integers(0, 5)] = np.nan
    got = past_quantile(values, quantile=level, lookback_sessions=lookback, min_obs=2)
    for t in range(90):
        past = values[max(0, t - lookback) : t]
        past = past[~np.isnan(past)]
        if len(past) < 2:
            assert np.isnan(got[t])
        else:
            assert got[t] == pytest.approx(np.quantile(past, level), abs=1e-12)


def test_hysteresis_equals_the_plain_state_machine():
    values = RNG.standard_normal(300)
    enter, leave = np.full(300, 1.0), np.full(300, -0.5)
    values[:3] = np.nan
    values[100] = np.nan
    state, wanted = None, []
    for v in values:
        if not np.isnan(v):
            if v > 1.0:
                state = 1
            elif state is None or v < -0.5:
                state = 0
        wanted.append(-1 if state is None else state)
    assert hysteresis_state(values, enter, leave).tolist() == wanted


def test_hysteresis_switches_less_than_one_threshold():
    volatility = ewma_volatility(RETURNS, half_life_sessions=5, min_obs=21)
    config = EwmaConfig(min_quantile_obs=60, enter_quantile=0.75, exit_quantile=0.4)
    state = high_volatility_state(volatility, config)
    one = past_quantile(volatility, quantile=0.75, lookback_sessions=1260, min_obs=60)
    single = (volatility > one).astype(int)
    known = state >= 0
    assert 0 < (np.diff(state[known]) != 0).sum() < (np.diff(single[known]) != 0).sum()


def test_thresholds_without_a_gap_are_refused():
    with pytest.raises(ConfigError, match="exit_quantile: wanted below"):
        EwmaConfig(enter_quantile=0.6, exit_quantile=0.6)

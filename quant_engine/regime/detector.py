"""The regime of the market on every session, with the probability of each canonical label.

Contract: labels are 0 bull trend, 1 bear trend, 2 default (no trend), 3 high volatility. Every
value of session t is computed from sessions up to t; parameters come from the past alone. In the
warm-up labels are -1 and numbers NaN.

1. EWMA volatility with hysteresis says high or not (:mod:`quant_engine.regime.ewma`).
2. A sticky hidden Markov model gives the filtered probability of the volatile state
   (:mod:`quant_engine.regime.hmm`).
3. Their weighted mean is ``prob_3``.
4. The rest is shared between bull, bear and default by :func:`trend_probabilities`.
5. :func:`canonical_labels` turns probabilities into labels that do not flicker.
6. The correlation regime is reported beside them (:mod:`quant_engine.regime.correlation`).
"""

from __future__ import annotations

from math import erf, sqrt

import numpy as np
import numpy.typing as npt
import pandas as pd
from numba import njit
from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatVector, TimeVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.core.regimes import RegimeLabel
from quant_engine.regime.correlation import CorrelationConfig, correlation_regime
from quant_engine.regime.ewma import (
    EwmaConfig,
    StateVector,
    ewma_volatility,
    high_volatility_state,
    hysteresis_state,
)
from quant_engine.regime.hmm import HMMConfig, walk_forward_filter
from quant_engine.stats.checks import parse_matrix, parse_vector

__all__ = [
    "RegimeConfig",
    "canonical_labels",
    "detect_regimes",
    "trend_probabilities",
]

_HIGH = int(RegimeLabel.HIGH_VOLATILITY)


class RegimeConfig(FrozenConfig):
    """Settings of the regime detector.

    Parameters
    ----------
    ewma, hmm, correlation : EwmaConfig, HMMConfig, CorrelationConfig
        Settings of the three parts.
    ewma_weight : float
        Weight of the EWMA state in the probability of high volatility; the hidden Markov model
        has the rest (0.25: the model knows the size of a move, the baseline is harder to fool).
    enter_prob, exit_prob : float
        The label becomes high volatility above the first and ends below the second (0.7 and 0.3,
        so that neither a single return nor the EWMA state alone moves it).
    trend_sessions : int
        Sessions of the trend (50).
    trend_z : float
        Size of the trend, in standard errors of a 50-session sum, that counts as one (1.0).
    switch_margin : float
        A trend label changes when another one is more probable by this much (0.2).
    periods_per_year : float
        Annualisation of the reported volatility (252 sessions).

    Examples
    --------
    >>> RegimeConfig().hmm.n_states
    2
    """

    ewma: EwmaConfig = EwmaConfig()
    hmm: HMMConfig = HMMConfig()
    correlation: CorrelationConfig = CorrelationConfig()
    ewma_weight: float = Field(default=0.25, ge=0.0, le=1.0)
    enter_prob: float = Field(default=0.7, gt=0.0, lt=1.0)
    exit_prob: float = Field(default=0.3, gt=0.0, lt=1.0)
    trend_sessions: int = Field(default=50, ge=5)
    trend_z: float = Field(default=1.0, gt=0.0)
    switch_margin: float = Field(default=0.2, ge=0.0, lt=1.0)
    periods_per_year: float = Field(default=252.0, gt=0.0)

    @model_validator(mode="after")
    def _thresholds_leave_a_gap(self) -> RegimeConfig:
        if self.exit_prob >= self.enter_prob:
            raise ConfigError(
                "exit_prob",
                wanted=f"below enter_prob = {self.enter_prob}",
                got=self.exit_prob,
                hint="Without a gap between the two there is no hysteresis.",
            )
        return self


def detect_regimes(
    market_returns: npt.ArrayLike,
    asset_returns: npt.ArrayLike,
    config: RegimeConfig,
    *,
    sessions: TimeVector,
) -> pd.DataFrame:
    """Label every session with its market regime, from data up to that session.

    Parameters
    ----------
    market_returns : array-like, shape (T,)
        Simple returns of the market per session. NaN = not observed: the session gets no label
        (-1) and the ones around it are treated as neighbours.
    asset_returns : array-like, shape (T, N)
        Simple returns of the assets per session, for the correlation; NaN = not traded.
    config : RegimeConfig
        Settings.
    sessions : ndarray of datetime64, shape (T,)
        Session dates, strictly increasing.

    Returns
    -------
    DataFrame
        Indexed by ``date``:
        ``regime`` int8 canonical label, -1 in the warm-up;
        ``confidence`` probability of the reported label (fraction);
        ``prob_0`` to ``prob_3`` filtered probabilities that add to 1;
        ``duration_sessions`` int32 sessions since the label began, from 1, -1 in the warm-up;
        ``entropy`` of the four probabilities, 0 certain to 1 uniform;
        ``ewma_vol_ann`` annualised volatility (fraction);
        ``hmm_prob_high_vol`` filtered probability of the model's volatile state;
        ``avg_pairwise_corr``, ``corr_regime`` (int8, 1 spike, 0 not, -1 unknown) and
        ``corr_z_score``.

    Raises
    ------
    DataError
        Shapes that differ, infinite values, or sessions that do not increase.
    InsufficientHistoryError
        A market return that does not vary over a fit window.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sigma = np.repeat([0.005, 0.025], [500, 100])
    >>> market = sigma * rng.standard_normal(600)
    >>> days = np.arange("2020-01-01", "2021-08-23", dtype="datetime64[D]")
    >>> assets = market[:, None] + 0.01 * rng.standard_normal((600, 6))
    >>> frame = detect_regimes(market, assets, RegimeConfig(), sessions=days)
    >>> frame["regime"].iloc[[200, 450, 599]].tolist()
    [-1, 0, 3]
    """
    market, assets = _parse_returns(market_returns, asset_returns, sessions)
    observed = np.flatnonzero(~np.isnan(market))
    columns = _market_columns(market[observed], config)
    correlation = correlation_regime(assets, config.correlation)
    frame = pd.DataFrame(
        {name: _spread(values, observed, len(market)) for name, values in columns.items()},
        index=pd.DatetimeIndex(np.asarray(sessions).astype("M8[us]"), name="date"),
    )
    frame["avg_pairwise_corr"] = correlation.avg_pairwise_corr
    frame["corr_regime"] = correlation.corr_regime
    frame["corr_z_score"] = correlation.corr_z_score
    return frame


def trend_probabilities(
    returns: FloatVector, *, trend_sessions: int, trend_z: float
) -> FloatVector:
    """Probability of an upward, a downward and no trend.

    The statistic ``z = sum r / sqrt(sum r^2)`` over the window is standard normal without drift,
    whatever the volatility. With a flat prior the drift in its units is normal about z, so
    ``P(up) = Phi(z - trend_z)``, ``P(down) = Phi(-z - trend_z)``, and none is the rest.

    Parameters
    ----------
    returns : ndarray of float64, shape (T,)
        Simple returns per session in time order; no NaN.
    trend_sessions : int
        Window, the current session included.
    trend_z : float
        Drift that counts as a trend, in standard errors.

    Returns
    -------
    ndarray of float64, shape (T, 3)
        Up, down, none; rows add to 1; NaN for the first ``trend_sessions - 1`` sessions, none = 1
        where the window is all zeros.

    Examples
    --------
    >>> steady = np.full(50, 0.01)
    >>> trend_probabilities(steady, trend_sessions=50, trend_z=1.0)[-1].round(3)
    array([1., 0., 0.])
    """
    out = np.full((len(returns), 3), np.nan)
    _trend_rows(returns, trend_sessions, trend_z, out)
    return out


def canonical_labels(
    probabilities: FloatVector, is_high: StateVector, *, switch_margin: float
) -> StateVector:
    """Labels with memory: high volatility by its own state, trends by a margin.

    Parameters
    ----------
    probabilities : ndarray of float64, shape (T, 4)
        Probability of each canonical label; a row with NaN has no label.
    is_high : ndarray of int8, shape (T,)
        1 where the hysteresis on the probability of high volatility says so.
    switch_margin : float
        Outside high volatility the label stays until another trend label is more probable, given
        no high volatility, by this much.

    Returns
    -------
    ndarray of int8, shape (T,)
        0 to 3, -1 where there is none.

    Examples
    --------
    >>> p = np.array([[0.5, 0.1, 0.4, 0.0], [0.4, 0.1, 0.5, 0.0], [0.1, 0.1, 0.8, 0.0]])
    >>> canonical_labels(p, np.zeros(3, dtype=np.int8), switch_margin=0.2)
    array([0, 0, 2], dtype=int8)
    """
    out = np.full(len(probabilities), -1, dtype=np.int8)
    _label_rows(probabilities, is_high, switch_margin, out)
    return out


def _parse_returns(
    market_returns: npt.ArrayLike, asset_returns: npt.ArrayLike, sessions: TimeVector
) -> tuple[FloatVector, FloatVector]:
    """Arrays on one session axis."""
    market = parse_vector("market_returns", market_returns)
    assets = parse_matrix("asset_returns", asset_returns)
    days = np.asarray(sessions)
    if days.dtype.kind != "M" or np.isnat(days).any() or not (days[1:] > days[:-1]).all():
        raise DataError(
            "sessions",
            wanted="strictly increasing dates",
            got=f"dtype {days.dtype}, unsorted, repeated or missing dates",
            hint="Pass TimeAxis.values.",
        )
    if not len(market) == len(assets) == len(days):
        raise DataError(
            "market_returns, asset_returns, sessions",
            wanted="one length",
            got=f"{len(market)}, {len(assets)} and {len(days)}",
            hint="Take all three from one panel.",
        )
    return market, assets


def _market_columns(
    market: FloatVector, config: RegimeConfig
) -> dict[str, npt.NDArray[np.generic]]:
    """Columns that depend on the market return alone, on its observed sessions."""
    volatility = ewma_volatility(
        market,
        half_life_sessions=config.ewma.half_life_sessions,
        min_obs=config.ewma.min_vol_obs,
    )
    ewma_state = high_volatility_state(volatility, config.ewma)
    hmm_high = walk_forward_filter(market, config.hmm)[:, -1]
    known_state = np.where(ewma_state < 0, np.nan, ewma_state)
    high = config.ewma_weight * known_state + (1.0 - config.ewma_weight) * hmm_high
    trend = trend_probabilities(
        market, trend_sessions=config.trend_sessions, trend_z=config.trend_z
    )
    probabilities = np.column_stack([(1.0 - high)[:, None] * trend, high])
    probabilities[np.isnan(probabilities).any(axis=1)] = np.nan
    enter, leave = np.full(len(high), config.enter_prob), np.full(len(high), config.exit_prob)
    labels = canonical_labels(
        probabilities, hysteresis_state(high, enter, leave), switch_margin=config.switch_margin
    )
    rows = np.arange(len(labels))
    return {
        "regime": labels,
        "confidence": probabilities[rows, np.maximum(labels, 0)],
        **{f"prob_{k}": probabilities[:, k] for k in RegimeLabel.known()},
        "duration_sessions": _durations(labels),
        "entropy": _entropy(probabilities),
        "ewma_vol_ann": volatility * sqrt(config.periods_per_year),
        "hmm_prob_high_vol": hmm_high,
    }


def _spread(
    values: npt.NDArray[np.generic], observed: npt.NDArray[np.intp], n_sessions: int
) -> npt.NDArray[np.generic]:
    """Put values of the observed sessions back on the full axis; -1 or NaN elsewhere."""
    absent = -1 if values.dtype.kind == "i" else np.nan
    out = np.full(n_sessions, absent, dtype=values.dtype)
    out[observed] = values
    return out


def _durations(labels: StateVector) -> npt.NDArray[np.int32]:
    """Sessions since the current label began, counting from 1; -1 without a label."""
    rows = np.arange(len(labels), dtype=np.int32)
    begins = np.ones(len(labels), dtype=bool)
    begins[1:] = labels[1:] != labels[:-1]
    started = np.maximum.accumulate(np.where(begins, rows, 0)) if len(labels) else rows
    return np.where(labels < 0, -1, rows - started + 1).astype(np.int32)


def _entropy(probabilities: FloatVector) -> FloatVector:
    """Shannon entropy over log 4; 0 log 0 = 0."""
    logs = np.log(np.where(probabilities > 0.0, probabilities, 1.0))
    bits: FloatVector = -(probabilities * logs).sum(axis=1) / np.log(probabilities.shape[1])
    return np.maximum(bits, 0.0)


@njit(cache=True, nogil=True)
def _normal_cdf(x: float) -> float:
    """Standard normal distribution function."""
    return 0.5 * (1.0 + erf(x / sqrt(2.0)))


@njit(cache=True, nogil=True)
def _trend_rows(returns: FloatVector, window: int, trend_z: float, out: FloatVector) -> None:
    """Self-normalised sum per window; the window is summed anew, so no rounding accumulates."""
    for t in range(window - 1, len(returns)):
        total, squares = 0.0, 0.0
        for s in range(t - window + 1, t + 1):
            total += returns[s]
            squares += returns[s] * returns[s]
        z = total / sqrt(squares) if squares > 0.0 else 0.0
        out[t, 0] = _normal_cdf(z - trend_z) if squares > 0.0 else 0.0
        out[t, 1] = _normal_cdf(-z - trend_z) if squares > 0.0 else 0.0
        out[t, 2] = 1.0 - out[t, 0] - out[t, 1]


@njit(cache=True, nogil=True)
def _label_rows(
    probabilities: FloatVector, is_high: StateVector, margin: float, out: StateVector
) -> None:
    """State machine over sessions, written into ``out``."""
    label = -1
    for t in range(len(probabilities)):
        row = probabilities[t]
        if np.isnan(row).any():
            label = -1
        elif is_high[t] == 1:
            label = _HIGH
        else:
            best = 0
            for k in range(1, _HIGH):
                if row[k] > row[best]:
                    best = k
            calm = row[0] + row[1] + row[2]
            keeps = 0 <= label < _HIGH and row[best] - row[label] < margin * calm
            label = label if keeps else best
        out[t] = label

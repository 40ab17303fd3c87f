"""Quarterly fundamentals with filing lags and restatements.

A report is about a calendar quarter (``event_ts``, its last day) and becomes known when it is
filed after a lag (``known_ts``, after the close of the exchange). Some reports are filed again
later with other values. Values follow past returns (revenue rises after the price has risen) and
noise; nothing in them predicts returns.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, TimeVector
from quant_engine.data.simulated.config import FundamentalSpec
from quant_engine.data.simulated.lifecycle import Lives
from quant_engine.data.simulated.prices import Bars
from quant_engine.data.simulated.streams import Streams

ITEMS = ("revenue_usd", "net_income_usd", "total_assets_usd", "book_equity_usd")
_QUARTERS_BEFORE = 5  # so that a year of history is known on the first session
_FILING_HOUR_UTC = 22


def simulate_fundamentals(
    spec: FundamentalSpec,
    streams: Streams,
    *,
    sessions: TimeVector,
    bars: Bars,
    lives: Lives,
) -> pd.DataFrame:
    """Draw the reports of all names.

    Parameters
    ----------
    spec : FundamentalSpec
        Lags and restatements.
    streams : Streams
        Random streams of the world.
    sessions : ndarray of datetime64[D], shape (T,)
        Sessions; row r of the other arrays is session r - 1.
    bars : Bars
        Sizes, which the first report and later growth follow.
    lives : Lives
        Lives of the names.

    Returns
    -------
    DataFrame
        Columns asset (column position), item, value (USD), event_ts, known_ts (datetime64[us,
        UTC]), is_restatement; sorted by known_ts. Only what was known by the last session.
    """
    rng = streams.of("fundamentals")
    quarter_ends = _quarter_ends(sessions)
    values = _values(rng, bars, _rows_of(quarter_ends, sessions))
    n_quarters, n_assets = values.shape[1:]
    lag = rng.integers(spec.lag_min_days, spec.lag_max_days + 1, size=(n_quarters, n_assets))
    again = rng.random((n_quarters, n_assets)) < spec.restated_frac
    wait = rng.integers(
        spec.restatement_min_days, spec.restatement_max_days + 1, size=(n_quarters, n_assets)
    )
    change = 1.0 + rng.normal(-0.02, 0.05, size=values.shape)
    filed = quarter_ends[:, None] + lag.astype("timedelta64[D]")
    reports = _public_reports(quarter_ends, sessions, lives)
    first = _frame(values, quarter_ends, filed, reports)
    refiled = filed + wait.astype("timedelta64[D]")
    last_day = _last_public_day(sessions, lives)
    second = _frame(values * change, quarter_ends, refiled, reports & again & (refiled <= last_day))
    frame = pd.concat(
        [first.assign(is_restatement=False), second.assign(is_restatement=True)],
        ignore_index=True,
    )
    known_by = pd.Timestamp(str(sessions[-1]), tz="UTC") + pd.Timedelta(days=1)
    frame = frame[frame["known_ts"] < known_by]
    order = ["known_ts", "asset", "event_ts", "item"]
    return frame.sort_values(order, kind="stable", ignore_index=True)


def _quarter_ends(sessions: TimeVector) -> TimeVector:
    """Last days of the quarters from five before the first session to the last session."""
    months = sessions[[0, -1]].astype("datetime64[M]").astype(np.int64)
    quarters = np.arange(months[0] // 3 - _QUARTERS_BEFORE, months[1] // 3 + 1)
    ends = ((quarters + 1) * 3).astype("datetime64[M]").astype("datetime64[D]")
    ends = ends - np.timedelta64(1, "D")
    return ends[ends <= sessions[-1]]


def _rows_of(days: TimeVector, sessions: TimeVector) -> npt.NDArray[np.int64]:
    """Row of the last session on or before each day; 0 before the first session."""
    return np.searchsorted(sessions, days, side="right")


def _public_reports(
    quarter_ends: TimeVector, sessions: TimeVector, lives: Lives
) -> npt.NDArray[np.bool_]:
    """Quarters (Q, N) that a listed company reports: it lives at quarter end, or lists soon after.

    Names of the first session have always been listed; a later listing brings its last five
    quarters, published in the prospectus after its first session's filing lags.
    """
    row = _rows_of(quarter_ends, sessions)[:, None]
    quarter = np.arange(quarter_ends.size)[:, None]
    first_quarter = np.searchsorted(
        quarter_ends, sessions[np.clip(lives.first_row - 1, 0, sessions.size - 1)]
    )
    since = np.where(lives.first_row <= 1, 0, first_quarter)
    return (quarter >= since) & (row <= lives.last_row)


def _last_public_day(sessions: TimeVector, lives: Lives) -> TimeVector:
    """Last session of each name: a company that is gone restates nothing."""
    return sessions[lives.last_row - 1]


def _values(
    rng: np.random.Generator, bars: Bars, rows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Items (4, Q, N) in USD, as first reported."""
    n_assets = bars.initial_size_usd.size
    shape = (rows.size, n_assets)
    size = _filled_sizes(bars)[rows]
    growth = np.zeros(shape)
    growth[1:] = 0.1 * np.diff(np.log(size), axis=0)
    growth += 0.01 + 0.04 * rng.standard_normal(shape)
    start = bars.initial_size_usd * np.exp(-1.8 + 0.5 * rng.standard_normal(n_assets))
    revenue = start * np.exp(np.cumsum(growth, axis=0))
    margin = 0.08 + 0.05 * rng.standard_normal(n_assets) + 0.02 * rng.standard_normal(shape)
    assets = revenue * 4.0 * np.exp(0.3 * rng.standard_normal(n_assets))
    equity = assets * rng.uniform(0.25, 0.65, size=n_assets)
    equity = equity * np.exp(np.cumsum(0.01 * rng.standard_normal(shape), axis=0))
    return np.stack([revenue, margin * revenue, assets, equity])


def _filled_sizes(bars: Bars) -> FloatMatrix:
    """Market capitalisation with the initial one before listing and the last one after exit."""
    frame = pd.DataFrame(bars.size_usd).ffill().to_numpy()
    return np.where(np.isnan(frame), bars.initial_size_usd, frame)


def _frame(
    values: npt.NDArray[np.float64],
    quarter_ends: TimeVector,
    known: npt.NDArray[np.datetime64],
    keep: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    quarter, asset = np.nonzero(keep)
    evening = np.timedelta64(_FILING_HOUR_UTC, "h")
    known_ts = known[quarter, asset].astype("datetime64[us]") + evening
    parts = [
        pd.DataFrame(
            {
                "asset": asset,
                "item": item,
                "value": values[number, quarter, asset],
                "event_ts": pd.DatetimeIndex(quarter_ends[quarter].astype("datetime64[us]")),
                "known_ts": pd.DatetimeIndex(known_ts),
            }
        )
        for number, item in enumerate(ITEMS)
    ]
    frame = pd.concat(parts, ignore_index=True)
    for column in ("event_ts", "known_ts"):
        frame[column] = frame[column].dt.tz_localize("UTC")
    return frame

"""Each kernel against a plain loop over windows, on data made to break running sums."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from quant_engine.features import kernels as k
from quant_engine.features import order_kernels as order

pytestmark = pytest.mark.feature("Q-19")

WINDOWS = np.array([2, 3, 5, 20, 60])
LINE_WINDOWS = np.array([3, 5, 20, 60])


def rough_series(n_rows=560, n_assets=7, seed=3):
    """Walks with ties, constant stretches, a huge spike, a level shift, gaps, a dead column."""
    rng = np.random.default_rng(seed)
    x = 50.0 + np.cumsum(rng.standard_normal((n_rows, n_assets)), axis=0)
    x[:, 1] = np.round(x[:, 1])
    x[100:240, 2] = 42.25
    x[300, 3] *= 1e6
    x[200:, 4] += 1e5
    x[rng.random(x.shape) < 0.004] = np.nan
    x[:, 5] = np.nan
    x[:30, 6] = np.nan
    x[150:152, 6] = np.inf
    return x


def prepared(x):
    filled, run = np.empty_like(x), np.empty(x.shape, np.int32)
    k.prepare(x, filled, run)
    return filled, run


def windows_of(x, w):
    """Every complete window as (row, column, values)."""
    for t in range(w - 1, len(x)):
        for j in range(x.shape[1]):
            values = x[t - w + 1 : t + 1, j]
            if np.isfinite(values).all():
                yield t, j, values


def twin(x, w, function):
    out = np.full(x.shape, np.nan)
    for t, j, values in windows_of(x, w):
        out[t, j] = function(values)
    return out


def run_all(call, n_outputs, windows, shape):
    slots = np.arange(n_outputs * len(windows)).reshape(n_outputs, len(windows))
    block = np.full((slots.size, *shape), 123.0)
    call(np.asarray(windows), slots, block)
    return block.reshape(n_outputs, len(windows), *shape)


def test_prepare_carries_values_and_counts_runs():
    x = np.array([[np.nan, 1.0], [2.0, np.inf], [3.0, 2.0], [np.nan, 3.0]])
    filled, run = prepared(x)
    assert filled.tolist() == [[0.0, 1.0], [2.0, 1.0], [3.0, 2.0], [3.0, 3.0]]
    assert run.tolist() == [[0, 1], [1, 0], [2, 1], [0, 2]]


@pytest.fixture(scope="module")
def moments():
    x = rough_series()
    filled, run = prepared(x)
    scale = 1.0 / np.abs(x)
    got = run_all(
        lambda w, s, b: k.rolling_moments(filled, run, scale, w, s, b), 7, LINE_WINDOWS, x.shape
    )
    return x, scale, got


def slope_of(values):
    return np.polyfit(np.arange(1.0, len(values) + 1), values - values[0], 1)[0]


def r_squared(values):
    if np.ptp(values) == 0.0:
        return np.nan
    return np.corrcoef(np.arange(len(values)), values)[0, 1] ** 2


def residual(values):
    line = np.polyfit(np.arange(len(values)), values - values[0], 1)
    return values[-1] - values[0] - np.polyval(line, len(values) - 1)


def z_of_newest(values):
    spread = values.std(ddof=1)
    return np.nan if spread == 0.0 else (values[-1] - values.mean()) / spread


@pytest.mark.parametrize(
    ("output", "function", "scaled", "atol"),
    [
        (k.MEAN, np.mean, True, 1e-12),
        (k.STD, lambda v: np.std(v, ddof=1), True, 1e-11),
        (k.CV, lambda v: np.std(v, ddof=1) / (np.mean(v) + 1e-12), False, 1e-11),
        (k.ZSCORE, z_of_newest, False, 1e-7),
        (k.SLOPE, slope_of, True, 1e-10),
        (k.RSQUARE, r_squared, False, 1e-7),
        (k.RESIDUAL, residual, True, 1e-9),
    ],
)
def test_moments_equal_a_loop_over_windows(moments, output, function, scaled, atol):
    x, scale, got = moments
    for i, w in enumerate(LINE_WINDOWS):
        want = twin(x, w, function) * (scale if scaled else 1.0)
        np.testing.assert_allclose(got[output, i], want, rtol=1e-8, atol=atol)


def test_constant_windows_have_exactly_zero_spread_and_no_correlation():
    x = np.concatenate([np.linspace(1e6, 5.0, 300), np.full(100, 0.1)])[:, None]
    filled, run = prepared(x)
    scale = np.ones_like(x)
    got = run_all(lambda w, s, b: k.rolling_moments(filled, run, scale, w, s, b), 7, [20], x.shape)
    assert (got[k.STD, 0, 320:] == 0.0).all()
    assert (got[k.SLOPE, 0, 320:] == 0.0).all()
    assert np.isnan(got[k.RSQUARE, 0, 320:]).all()
    assert np.isnan(got[k.ZSCORE, 0, 320:]).all()


def test_extremes_equal_a_loop_over_windows():
    low = rough_series()
    high = low + 1.0
    close = low + 0.25
    (h, run), (lo, _), (c, _) = prepared(high), prepared(low), prepared(close)
    got = run_all(
        lambda w, s, b: order.rolling_extremes(h, lo, c, run, w, s, b), 6, WINDOWS, low.shape
    )
    for i, w in enumerate(WINDOWS):
        want = np.full((6, *low.shape), np.nan)
        for t, j, values in windows_of(low, w):
            top, bottom = values.max() + 1.0, values.min()
            place_top, place_bottom = np.argmax(values + 1.0) + 1, np.argmin(values) + 1
            want[:, t, j] = (
                top / close[t, j],
                bottom / close[t, j],
                place_top / w,
                place_bottom / w,
                (place_top - place_bottom) / w,
                (close[t, j] - bottom) / (top - bottom + 1e-12),
            )
        np.testing.assert_allclose(got[:, i], want, rtol=1e-13)


def test_quantiles_equal_pandas():
    x = rough_series()
    filled, run = prepared(x)
    levels = np.array([0.8, 0.2, 0.5, 0.0, 1.0])
    scale = np.full_like(x, 2.0)
    got = run_all(
        lambda w, s, b: order.rolling_quantile(filled, run, scale, w, levels, s, b),
        5,
        WINDOWS,
        x.shape,
    )
    frame = pd.DataFrame(np.where(np.isfinite(x), x, np.nan))
    for q, level in enumerate(levels):
        for i, w in enumerate(WINDOWS):
            want = 2.0 * frame.rolling(int(w)).quantile(level).to_numpy()
            np.testing.assert_allclose(got[q, i], want, rtol=1e-13)


def test_quantiles_of_more_columns_than_one_block():
    x = np.random.default_rng(0).standard_normal((40, 2 * order.COLUMN_BLOCK + 3))
    filled, run = prepared(x)
    ones = np.ones_like(x)
    got = run_all(
        lambda w, s, b: order.rolling_quantile(filled, run, ones, w, np.array([0.5]), s, b),
        1,
        [9],
        x.shape,
    )
    np.testing.assert_allclose(got[0, 0], pd.DataFrame(x).rolling(9).median(), rtol=1e-13)
    rank = run_all(lambda w, s, b: order.rolling_rank(filled, run, w, s, b), 1, [9], x.shape)
    np.testing.assert_allclose(rank[0, 0], pd.DataFrame(x).rolling(9).rank(pct=True), rtol=1e-13)


def test_rank_equals_pandas_with_ties_averaged():
    x = rough_series()
    filled, run = prepared(x)
    got = run_all(lambda w, s, b: order.rolling_rank(filled, run, w, s, b), 1, WINDOWS, x.shape)
    frame = pd.DataFrame(np.where(np.isfinite(x), x, np.nan))
    for i, w in enumerate(WINDOWS):
        want = frame.rolling(int(w)).rank(pct=True).to_numpy()
        np.testing.assert_allclose(got[0, i], want, rtol=1e-13)


def test_pair_equals_a_loop_over_windows():
    x = rough_series(seed=3)
    y = rough_series(seed=4)
    windows = np.array([3, 20, 60])
    (fx, run_x), (fy, run_y) = prepared(x), prepared(y)
    run = np.minimum(run_x, run_y)
    got = run_all(lambda w, s, b: k.rolling_pair(fx, fy, run, w, s, b), 3, windows, x.shape)
    for i, w in enumerate(windows):
        want = np.full((4, *x.shape), np.nan)
        for t, j, _ in windows_of(x + y, w):
            a, b = x[t - w + 1 : t + 1, j], y[t - w + 1 : t + 1, j]
            if np.ptp(b) == 0.0:
                continue
            beta, level = np.polyfit(b - b.mean(), a, 1)
            errors = a - level - beta * (b - b.mean())
            flat = np.ptp(a) == 0.0
            correlation = np.nan if flat else np.corrcoef(a, b)[0, 1]
            want[:, t, j] = correlation, beta, np.sqrt((errors**2).sum() / (w - 2)), a.std()
        np.testing.assert_allclose(got[0, i], want[0], rtol=1e-7, atol=1e-7)
        # Column 4 has a level 1e5 times its moves: both sides keep about seven digits there.
        np.testing.assert_allclose(got[1, i], want[1], rtol=2e-6, atol=1e-9)
        # The residual of collinear points is the root of a difference of two equal sums: it is
        # known to about 1e-5 of the spread of x.
        np.testing.assert_array_equal(np.isnan(got[2, i]), np.isnan(want[2]))
        with np.errstate(invalid="ignore"):
            assert not (np.abs(got[2, i] - want[2]) > 1e-6 * want[2] + 2e-5 * want[3] + 1e-10).any()


def test_updown_equals_a_loop_over_windows():
    x = rough_series()
    filled, run = prepared(x)
    windows = np.array([1, 2, 5, 60])
    got = run_all(lambda w, s, b: k.rolling_updown(filled, run, w, s, b), 6, windows, x.shape)
    for i, w in enumerate(windows):
        want = np.full((6, *x.shape), np.nan)
        for t, j, values in windows_of(x, w + 1):
            d = np.diff(values)
            up, down = d[d > 0].sum(), -d[d < 0].sum()
            total = up + down + 1e-12
            rises, falls = (d > 0).mean(), (d < 0).mean()
            want[:, t, j] = (
                rises,
                falls,
                rises - falls,
                up / total,
                down / total,
                (up - down) / total,
            )
        # Until the next anchor row, sums remember the rounding of the spike in column 3.
        np.testing.assert_allclose(got[:, i], want, rtol=1e-8, atol=2e-8)


def test_unwanted_outputs_are_not_touched():
    x = rough_series()[:30]
    filled, run = prepared(x)
    slots = np.full((6, 1), -1)
    slots[k.SUM_UP, 0] = 1
    block = np.full((3, *x.shape), 7.0)
    k.rolling_updown(filled, run, np.array([5]), slots, block)
    assert (block[[0, 2]] == 7.0).all()
    assert not (block[1] == 7.0).any()


def test_blank_infinite():
    block = np.array([[[1.0, np.inf], [-np.inf, np.nan]]])
    k.blank_infinite(block)
    np.testing.assert_array_equal(block, [[[1.0, np.nan], [np.nan, np.nan]]])


@pytest.mark.slow
def test_kernels_stay_inside_their_arrays(tmp_path):
    environment = {
        **os.environ,
        "NUMBA_BOUNDSCHECK": "1",
        "NUMBA_CACHE_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:]

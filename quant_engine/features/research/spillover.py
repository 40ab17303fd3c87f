"""Volatility spillover between an asset and the rest, from both directions.

Two measures on log volatility proxies (log range, log absolute return, log realised variance) of an
asset and of its rest: the other members of the market, or of its sector.

`SpilloverFrom/To/Net` (Diebold and Yilmaz 2012): a VAR(1) of the pair over a trailing window; the
share of the asset's forecast error variance that shocks of the rest explain (from), the share of
the rest's that the asset explains (to), and to minus from (net). Generalised decomposition of
Pesaran and Shin (1998), rows normalised, so the order of the pair does not matter.

`HarxFrom/To/Net`: the asset's volatility regressed on its own daily, weekly and monthly history
(Corsi 2009) and on yesterday's volatility of the rest; `from` is the standardised coefficient of
the rest, `to` that of the asset in the same regression for the rest, `net` is to minus from. Beyond
the first measure it asks what the rest adds to the asset's own long memory.

The full system of all assets has N^2 coefficients per row and more parameters than a window has
rows, so each asset is set against the rest as one series: elementwise, with a small ridge (a
fraction added to the diagonal of the regressors' products) against collinear windows.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.features.functions import (
    Function,
    Numbers,
    Output,
    Pages,
    Parameter,
    add_function,
)
from quant_engine.features.research.moments import IntArray, all_pairs, varies, window_moments

__all__ = ["HARX", "SPILLOVER"]

_WEEK, _MONTH = 5, 22
_RIDGE = Parameter("ridge", 0.0, 10.0, default=0.01, whole=False)
_VAR_PAIRS = all_pairs(4)
_HARX_PAIRS = all_pairs(8)
"""The asset now, its daily, weekly and monthly lags; then the same of the rest."""


@njit(cache=True, nogil=True, error_model="numpy")
def _shocks(a: FloatMatrix, noise: FloatMatrix, horizon: int, share: FloatMatrix) -> None:
    # Generalised forecast error variance shares of a pair over `horizon` steps, rows sum to 1.
    power = np.eye(2)
    total = np.zeros(2)
    share[:] = 0.0
    for _ in range(horizon):
        for i in range(2):
            moved = np.empty(2)
            for k in range(2):
                moved[k] = power[i, 0] * noise[0, k] + power[i, 1] * noise[1, k]
            total[i] += moved[0] * power[i, 0] + moved[1] * power[i, 1]
            for k in range(2):
                share[i, k] += moved[k] * moved[k] / noise[k, k]
        after = np.empty((2, 2))
        for i in range(2):
            for k in range(2):
                after[i, k] = a[i, 0] * power[0, k] + a[i, 1] * power[1, k]
        power = after
    for i in range(2):
        row = share[i, 0] / total[i] + share[i, 1] / total[i]
        for k in range(2):
            share[i, k] = share[i, k] / total[i] / row


@njit(cache=True, nogil=True, error_model="numpy")
def _pair_model(
    cross: FloatVector, ridge: float, window: int, a: FloatMatrix, noise: FloatMatrix
) -> bool:
    # VAR(1) from the products of (x, y, x lagged, y lagged) in the order of `all_pairs(4)`.
    xx, xy, x_x1, x_y1, yy, y_x1, y_y1, x1x1, x1y1, y1y1 = cross
    g00, g11 = x1x1 * (1.0 + ridge), y1y1 * (1.0 + ridge)
    det = g00 * g11 - x1y1 * x1y1
    if not det > 1e-12 * g00 * g11:
        return False
    a[0, 0] = (x_x1 * g11 - x_y1 * x1y1) / det
    a[0, 1] = (x_y1 * g00 - x_x1 * x1y1) / det
    a[1, 0] = (y_x1 * g11 - y_y1 * x1y1) / det
    a[1, 1] = (y_y1 * g00 - y_x1 * x1y1) / det
    left = ((x_x1, x_y1), (y_x1, y_y1))
    now = ((xx, xy), (xy, yy))
    for i in range(2):
        for k in range(2):
            fitted = a[i, 0] * left[k][0] + a[i, 1] * left[k][1]
            back = a[k, 0] * left[i][0] + a[k, 1] * left[i][1]
            both = (a[i, 0] * x1x1 + a[i, 1] * x1y1) * a[k, 0]
            both += (a[i, 0] * x1y1 + a[i, 1] * y1y1) * a[k, 1]
            noise[i, k] = (now[i][k] - fitted - back + both) / window
    return bool(noise[0, 0] > 0.0 and noise[1, 1] > 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _spillover(
    pages: Pages, window: int, horizon: int, ridge: float, pairs: IntArray, out: Pages
) -> None:
    n_rows, width = pages.shape[1:]
    mean, cross = np.empty((4, width)), np.empty((len(pairs), width))
    a, noise, share = np.empty((2, 2)), np.empty((2, 2)), np.empty((2, 2))
    for t in range(n_rows):
        out[:, t] = np.nan
        if t < window:
            continue
        window_moments(pages, t, window, pairs, mean, cross)
        for j in range(width):
            both = varies(cross[0, j], mean[0, j], window) and varies(
                cross[4, j], mean[1, j], window
            )
            if both and _pair_model(cross[:, j], ridge, window, a, noise):
                _shocks(a, noise, horizon, share)
                out[0, t, j] = share[0, 1]
                out[1, t, j] = share[1, 0]
                out[2, t, j] = share[1, 0] - share[0, 1]


def _lagged(x: FloatMatrix, rows: int) -> FloatMatrix:
    out = np.full(x.shape, np.nan)
    if rows < len(x):
        out[rows:] = x[:-rows]
    return out


def _spillover_pages(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    own, rest = series
    pages = np.stack([own, rest, _lagged(own, 1), _lagged(rest, 1)])
    _spillover(pages, int(numbers[0]), int(numbers[1]), numbers[2], _VAR_PAIRS, out)


SPILLOVER = add_function(
    Function(
        (
            Output("SpilloverFrom", "share of own variance from shocks of the rest", "fraction"),
            Output("SpilloverTo", "share of the rest's variance from own shocks", "fraction"),
            Output("SpilloverNet", "SpilloverTo - SpilloverFrom", "fraction"),
        ),
        2,
        (Parameter("window", 20, 5000), Parameter("horizon", 1, 60, default=5), _RIDGE),
        lambda numbers: int(numbers[0]) + 1,
        _spillover_pages,
        "Diebold and Yilmaz 2012; Pesaran and Shin 1998; pairwise against the rest",
    )
)
"""Shares of forecast error variance that cross between an asset and the rest."""


@njit(cache=True, nogil=True, error_model="numpy")
def _last_coefficient(
    moments: FloatMatrix, target: int, regressors: IntArray, ridge: float
) -> float:
    # Standardised coefficient of the last regressor: Cholesky factor of the regressors' products,
    # the last coefficient needs no back substitution. NaN where they do not determine it.
    n = len(regressors)
    lower, rest = np.zeros((n, n)), np.empty(n)
    for i in range(n):
        for k in range(i + 1):
            value = moments[regressors[i], regressors[k]]
            if i == k:
                value *= 1.0 + ridge
            floor = 1e-12 * value
            for m in range(k):
                value -= lower[i, m] * lower[k, m]
            if i == k:
                if not value > floor:
                    return np.nan
                lower[i, i] = np.sqrt(value)
            else:
                lower[i, k] = value / lower[k, k]
        value = moments[regressors[i], target]
        for m in range(i):
            value -= lower[i, m] * rest[m]
        rest[i] = value / lower[i, i]
    last = regressors[n - 1]
    scale = np.sqrt(moments[last, last] / moments[target, target])
    return float(rest[n - 1] / lower[n - 1, n - 1] * scale)


@njit(cache=True, nogil=True, error_model="numpy")
def _harx(pages: Pages, window: int, ridge: float, pairs: IntArray, out: Pages) -> None:
    n, n_rows, width = pages.shape
    mean, cross = np.empty((n, width)), np.empty((len(pairs), width))
    moments = np.empty((n, n))
    to_own, to_rest = np.array([1, 2, 3, 5]), np.array([5, 6, 7, 1])
    for t in range(n_rows):
        out[:, t] = np.nan
        if t < window + _MONTH - 1:
            continue
        window_moments(pages, t, window, pairs, mean, cross)
        for j in range(width):
            for q in range(len(pairs)):
                moments[pairs[q, 0], pairs[q, 1]] = cross[q, j]
                moments[pairs[q, 1], pairs[q, 0]] = cross[q, j]
            own = varies(moments[0, 0], mean[0, j], window)
            if own and varies(moments[4, 4], mean[4, j], window):
                received = _last_coefficient(moments, 0, to_own, ridge)
                given = _last_coefficient(moments, 4, to_rest, ridge)
                out[0, t, j] = received
                out[1, t, j] = given
                out[2, t, j] = given - received


def _trailing_mean(x: FloatMatrix, rows: int) -> FloatMatrix:
    total = x.copy()
    for lag in range(1, rows):
        total += _lagged(x, lag)
    return total / rows


def _harx_pages(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    pages = []
    for x in series:
        before = _lagged(x, 1)
        pages += [x, before, _trailing_mean(before, _WEEK), _trailing_mean(before, _MONTH)]
    _harx(np.stack(pages), int(numbers[0]), numbers[1], _HARX_PAIRS, out)


HARX = add_function(
    Function(
        (
            Output("HarxFrom", "coefficient of the rest's lag beside own history", "number"),
            Output("HarxTo", "coefficient of the own lag beside the rest's history", "number"),
            Output("HarxNet", "HarxTo - HarxFrom", "number"),
        ),
        2,
        (Parameter("window", 30, 5000), _RIDGE),
        lambda numbers: int(numbers[0]) + _MONTH,
        _harx_pages,
        "Corsi 2009 with an outside regressor (HAR-X); standardised coefficients",
    )
)
"""What an asset's volatility takes from and gives to the rest beyond the own long memory."""

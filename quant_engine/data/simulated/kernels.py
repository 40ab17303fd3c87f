"""Numba kernels of the equity world: sequential recursions over (rows x names) arrays.

Rows are sessions with one extra row in front (row 0 is the session before the first one), because
the exposures of a row govern the returns of the next. No kernel runs in parallel or with fast
mathematics, so the same inputs give the same bits.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import njit

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector

IntVector = npt.NDArray[np.int64]
IntMatrix = npt.NDArray[np.int64]
FloatCube = npt.NDArray[np.float64]

HAZARD_MAX = 0.05  # per session and kind of delisting
REASON_NONE, REASON_PERFORMANCE, REASON_MERGER = 0, 1, 2


@njit(cache=True, nogil=True)
def ar1_in_place(shocks: FloatMatrix, phi: float) -> None:
    """Turn standard normal shocks into stationary unit-variance AR(1) paths, in place.

    Parameters
    ----------
    shocks : ndarray, shape (R, N)
        Independent standard normal draws; overwritten.
    phi : float
        Autocorrelation from row to row.
    """
    scale = math.sqrt(1.0 - phi * phi)
    for t in range(1, shocks.shape[0]):
        for i in range(shocks.shape[1]):
            shocks[t, i] = phi * shocks[t - 1, i] + scale * shocks[t, i]


@njit(cache=True, nogil=True)
def to_uniform(latent: FloatMatrix, out: FloatMatrix) -> None:
    """Map standard normal values to (-1, 1): ``2 * Phi(x) - 1 = erf(x / sqrt(2))``.

    Parameters
    ----------
    latent : ndarray, shape (R, N)
        Standard normal values.
    out : ndarray, shape (R, N)
        Filled: population rank, uniform on (-1, 1).

    Examples
    --------
    >>> out = np.empty((1, 2))
    >>> to_uniform(np.array([[0.0, 1.959964]]), out)
    >>> out.round(3)
    array([[0.  , 0.95]])
    """
    for t in range(latent.shape[0]):
        for i in range(latent.shape[1]):
            out[t, i] = math.erf(latent[t, i] / math.sqrt(2.0))


@njit(cache=True, nogil=True)
def rank_map(latent: FloatMatrix, listed: BoolMatrix, out: FloatMatrix) -> None:
    """Rank each row across the listed names to (-1, 1): ``2 * rank / (n + 1) - 1``.

    Persistent series barely change order from one row to the next, so the previous permutation is
    repaired by insertion instead of sorting anew.

    Parameters
    ----------
    latent : ndarray, shape (R, N)
        Values to rank, without NaN.
    listed : ndarray of bool, shape (R, N)
        Names that take part.
    out : ndarray, shape (R, N)
        Filled: rank with n names in the row; NaN where not listed.

    Examples
    --------
    >>> out = np.empty((1, 4))
    >>> rank_map(np.array([[0.3, -1.0, 9.0, 0.5]]), np.array([[True, True, False, True]]), out)
    >>> out
    array([[ 0. , -0.5,  nan,  0.5]])
    """
    n_rows, n_assets = latent.shape
    order = np.argsort(latent[0])
    for t in range(n_rows):
        for k in range(1, n_assets):
            j = order[k]
            value = latent[t, j]
            m = k - 1
            while m >= 0 and latent[t, order[m]] > value:
                order[m + 1] = order[m]
                m -= 1
            order[m + 1] = j
        count = 0
        for i in range(n_assets):
            if listed[t, i]:
                count += 1
        rank = 0
        for k in range(n_assets):
            i = order[k]
            if listed[t, i]:
                rank += 1
                out[t, i] = 2.0 * rank / (count + 1.0) - 1.0
            else:
                out[t, i] = np.nan


@njit(cache=True, nogil=True)
def regime_path(uniforms: FloatVector, durations: FloatVector, out: IntVector) -> None:
    """Walk the Markov chain of regimes: leave with probability 1/duration, to each other alike.

    Parameters
    ----------
    uniforms : ndarray, shape (R,)
        One draw per row; the first one draws from the stationary distribution, in which the
        share of a regime is proportional to its duration.
    durations : ndarray, shape (K,)
        Expected rows per visit.
    out : ndarray of int64, shape (R,)
        Filled: regime of each row.
    """
    n_regimes = durations.size
    total = durations.sum()
    edge = 0.0
    state = n_regimes - 1
    for k in range(n_regimes):
        edge += durations[k] / total
        if uniforms[0] < edge:
            state = k
            break
    out[0] = state
    for t in range(1, out.size):
        leave = 1.0 / durations[state]
        if n_regimes > 1 and uniforms[t] < leave:
            step = 1 + int(uniforms[t] / leave * (n_regimes - 1))
            state = (state + min(step, n_regimes - 1)) % n_regimes
        out[t] = state


@njit(cache=True, nogil=True)
def garch_multipliers(
    z: FloatMatrix, alpha: float, beta: float, leverage: float, out: FloatMatrix
) -> None:
    """Compute NAGARCH variance multipliers with mean one, capped at 16.

    Parameters
    ----------
    z : ndarray, shape (R, K)
        Unit-variance shocks.
    alpha, beta, leverage : float
        ``h' = omega + alpha * h * (z - leverage)**2 + beta * h``.
    out : ndarray, shape (R, K)
        Filled: h[t] depends on shocks before t alone.
    """
    omega = 1.0 - alpha * (1.0 + leverage * leverage) - beta
    for k in range(z.shape[1]):
        h = 1.0
        for t in range(z.shape[0]):
            out[t, k] = h
            shifted = z[t, k] - leverage
            h = min(omega + alpha * h * shifted * shifted + beta * h, 16.0)


@njit(cache=True, nogil=True)
def assemble_noise(
    idio: FloatMatrix,
    beta: FloatMatrix,
    sector: IntVector,
    loadings: FloatCube,
    shocks: FloatMatrix,
    out: FloatMatrix,
) -> None:
    """Add the factor shocks of one half-session to the idiosyncratic ones.

    ``out[t, i] = beta[t-1, i] * market[t] + sector[t] + sum_k loadings[k, t-1, i] * style_k[t]
    + idio[t, i]``: exposures are those of the row before, hence known when the shock arrives.

    Parameters
    ----------
    idio : ndarray, shape (R, N)
        Clipped idiosyncratic shocks, fraction.
    beta : ndarray, shape (R, N)
        Market beta.
    sector : ndarray of int64, shape (N,)
        Sector code.
    loadings : ndarray, shape (S, R, N)
        Style loadings.
    shocks : ndarray, shape (R, 1 + sectors + styles)
        Factor shocks of the half-session, zero conditional mean.
    out : ndarray, shape (R, N)
        Result.
    """
    n_rows, n_assets = idio.shape
    n_styles = loadings.shape[0]
    first_style = shocks.shape[1] - n_styles
    for t in range(n_rows):
        known = max(t - 1, 0)
        for i in range(n_assets):
            value = idio[t, i] + beta[known, i] * shocks[t, 0] + shocks[t, 1 + sector[i]]
            for k in range(n_styles):
                value += loadings[k, known, i] * shocks[t, first_style + k]
            out[t, i] = value


@njit(cache=True, nogil=True)
def _weigh_risks(
    t: int,
    depth: FloatVector,
    scores: FloatCube,
    settings: IntVector,
    lives: IntMatrix,
    weight: FloatMatrix,
) -> int:
    """Fill the delisting weights (2, N) of row t and return the number of names at risk."""
    at_risk = 0
    for i in range(depth.size):
        weight[0, i] = 0.0
        weight[1, i] = 0.0
        first = lives[0, i]
        if first < 0 or t < first or lives[2, i] != REASON_NONE:
            continue
        if first > 1 and t < first + settings[0]:
            continue
        fall = min(max(-depth[i], -0.5), 1.5)
        weight[0, i] = math.exp(1.5 * scores[0, t, i] + 2.0 * fall)
        weight[1, i] = math.exp(1.0 * scores[1, t, i])
        at_risk += 1
    return at_risk


@njit(cache=True, nogil=True)
def _reuse_ticker(lives: IntMatrix, name: int, row: int) -> None:
    """Let the first waiting name list at a row under the ticker of a delisted one."""
    for slot in range(lives.shape[1]):
        if lives[0, slot] < 0:
            lives[0, slot] = row
            lives[3, slot] = name
            return


@njit(cache=True, nogil=True)
def _decide_exits(
    t: int,
    uniforms: FloatVector,
    expected: FloatVector,
    weight: FloatMatrix,
    settings: IntVector,
    lives: IntMatrix,
    hazards: FloatCube,
) -> None:
    """Fill the hazards of row t, `expected` being its expected exits, and draw who leaves."""
    total = weight[0].sum(), weight[1].sum()
    for i in range(uniforms.size):
        if weight[0, i] == 0.0:
            continue
        fail = min(expected[0] * weight[0, i] / total[0], HAZARD_MAX)
        merge = min(expected[1] * weight[1, i] / total[1], HAZARD_MAX)
        hazards[0, t, i] = fail
        hazards[1, t, i] = merge
        if uniforms[i] >= fail + merge:
            continue
        lives[2, i] = REASON_PERFORMANCE if uniforms[i] < fail else REASON_MERGER
        lives[1, i] = t
        if t + 1 + settings[1] <= settings[2]:
            _reuse_ticker(lives, i, t + 1 + settings[1])


@njit(cache=True, nogil=True)
def lifecycle(
    log_returns: FloatMatrix,
    scores: FloatCube,
    uniforms: FloatMatrix,
    rates: FloatVector,
    settings: IntVector,
    lives: IntMatrix,
    hazards: FloatCube,
) -> None:
    """Decide row by row which living names delist after the close.

    The hazard of a name is the mean rate times a weight that rises with its distress (or takeover)
    characteristic and, for performance delistings, with its fall below its own one-year average;
    weights are divided by their mean over the names at risk, so that the expected number of
    delistings does not depend on them. All of it is known at the close of the row. Nothing is
    decided after the last row, because its outcome would not be seen.

    Parameters
    ----------
    log_returns : ndarray, shape (R, N)
        Log returns without drift corrections, used for the fall below the average.
    scores : ndarray, shape (2, R, N)
        Distress and takeover characteristics in (-1, 1).
    uniforms : ndarray, shape (R, N)
        One draw per name and row.
    rates : ndarray, shape (2,)
        Mean probability per row of performance and merger delisting.
    settings : ndarray of int64, shape (3,)
        Seasoning rows, rows between a delisting and the reuse of its ticker, last row at which a
        listing may be tied to a delisting.
    lives : ndarray of int64, shape (4, N)
        First row (-1 = waits for a ticker to reuse), last row with a bar, reason, name whose ticker
        is reused (-1 = none). The first comes filled; all are final on return.
    hazards : ndarray, shape (2, R, N)
        Filled: probability of each kind of delisting after the close of the row; 0 off life.
    """
    n_rows, n_assets = log_returns.shape
    weight = np.zeros((2, n_assets))
    depth = np.zeros(n_assets)  # log price minus its one-year exponential average
    lives[1] = n_rows - 1
    lives[2] = REASON_NONE
    lives[3] = -1
    hazards[:] = 0.0
    for t in range(1, n_rows - 1):
        for i in range(n_assets):
            if lives[0, i] < 0 and t >= settings[2]:
                lives[0, i] = t + 1
            if 0 <= lives[0, i] <= t:
                depth[i] = (1.0 - 1.0 / 252.0) * (depth[i] + log_returns[t, i])
        at_risk = _weigh_risks(t, depth, scores, settings, lives, weight)
        _decide_exits(t, uniforms[t], at_risk * rates, weight, settings, lives, hazards)


@njit(cache=True, nogil=True)
def price_paths(
    halves: FloatCube, payout: FloatMatrix, lives: IntMatrix, initial: FloatVector, out: FloatCube
) -> None:
    """Build open and close from the two simple total returns of each session.

    ``open[t] = close[t-1] * (1 + overnight[t] - payout[t])``, ``close[t] = open[t] *
    (1 + intraday[t])``: a dividend of ``payout * close[t-1]`` leaves the price at the open.

    Parameters
    ----------
    halves : ndarray, shape (2, R, N)
        Overnight and intraday simple total returns, fraction.
    payout : ndarray, shape (R, N)
        Dividend of the session as a share of the previous close; 0 = none.
    lives : ndarray of int64, shape (>=2, N)
        First and last row of each name.
    initial : ndarray, shape (N,)
        Open of the first row.
    out : ndarray, shape (2, R, N)
        Filled: open and close; NaN off life.
    """
    out[:] = np.nan
    for i in range(initial.size):
        price = initial[i]
        for t in range(lives[0, i], lives[1, i] + 1):
            if t > lives[0, i]:
                price *= 1.0 + halves[0, t, i] - payout[t, i]
            out[0, t, i] = price
            price *= 1.0 + halves[1, t, i]
            out[1, t, i] = price


@njit(cache=True, nogil=True)
def split_factors(
    close: FloatMatrix, lives: IntMatrix, bounds_usd: FloatVector, out: FloatCube
) -> None:
    """Decide splits from the raw close, which is the path close times the factor.

    A close beyond a bound announces a split that becomes effective ten sessions later.

    Parameters
    ----------
    close : ndarray, shape (R, N)
        Continuous path of closes; NaN off life.
    lives : ndarray of int64, shape (>=2, N)
        First and last row of each name.
    bounds_usd : ndarray, shape (2,)
        Raw close below which a 1-for-10 reverse split, above which a split is announced.
    out : ndarray, shape (2, R, N)
        Filled: raw price factor, constant after the last row, and new shares per old share (1 =
        no split).
    """
    notice = 10
    out[:] = 1.0
    for i in range(close.shape[1]):
        level = 1.0
        due = -1
        pending = 1.0
        last = lives[1, i]
        for t in range(lives[0, i], last + 1):
            if t == due:
                level /= pending
                out[1, t, i] = pending
                due = -1
            out[0, t, i] = level
            raw = close[t, i] * level
            if due < 0 and t + notice <= last:
                if raw > bounds_usd[1]:
                    due, pending = t + notice, max(2.0, math.floor(2.5 * raw / bounds_usd[1]))
                elif raw < bounds_usd[0]:
                    due, pending = t + notice, 0.1
        out[0, last + 1 :, i] = level


@njit(cache=True, nogil=True)
def _average_ranks(values: FloatVector, out: FloatVector) -> None:
    order = np.argsort(values, kind="mergesort")
    n = values.size
    start = 0
    while start < n:
        stop = start
        while stop + 1 < n and values[order[stop + 1]] == values[order[start]]:
            stop += 1
        for k in range(start, stop + 1):
            out[order[k]] = 0.5 * (start + stop)
        start = stop + 1


@njit(cache=True, nogil=True)
def rank_correlation_rows(
    scores: FloatMatrix, targets: FloatMatrix, stride: int, min_assets: int, out: FloatVector
) -> None:
    """Compute the Spearman correlation across names of every `stride`-th row.

    Parameters
    ----------
    scores, targets : ndarray, shape (T, N)
        Values; a name takes part where both are known. Ties share their average rank.
    stride : int
        Distance between the rows that are computed.
    min_assets : int
        Least number of names.
    out : ndarray, shape (T,)
        Filled: correlation; NaN in other rows, with too few names or without variation.

    Examples
    --------
    >>> out = np.empty(1)
    >>> rank_correlation_rows(np.array([[1.0, 2, 3]]), np.array([[5.0, 9, 7]]), 1, 3, out)
    >>> out
    array([0.5])
    """
    n_rows, n_assets = scores.shape
    left = np.empty(n_assets)
    right = np.empty(n_assets)
    left_rank = np.empty(n_assets)
    right_rank = np.empty(n_assets)
    out[:] = np.nan
    for t in range(0, n_rows, stride):
        n = 0
        for i in range(n_assets):
            if not (math.isnan(scores[t, i]) or math.isnan(targets[t, i])):
                left[n] = scores[t, i]
                right[n] = targets[t, i]
                n += 1
        if n < min_assets:
            continue
        _average_ranks(left[:n], left_rank)
        _average_ranks(right[:n], right_rank)
        middle = 0.5 * (n - 1)
        cross = left_sum = right_sum = 0.0
        for k in range(n):
            a = left_rank[k] - middle
            b = right_rank[k] - middle
            cross += a * b
            left_sum += a * a
            right_sum += b * b
        if left_sum > 0.0 and right_sum > 0.0:
            out[t] = cross / math.sqrt(left_sum * right_sum)

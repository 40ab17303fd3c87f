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

REASON_NONE, REASON_PERFORMANCE, REASON_MERGER = 0, 1, 2


@njit(cache=True, nogil=True)
def ar1_in_place(shocks: FloatMatrix, phi: float) -> None:
    """Turn standard normal shocks (R, N) into stationary unit-variance AR(1) paths, in place."""
    scale = math.sqrt(1.0 - phi * phi)
    for t in range(1, shocks.shape[0]):
        for i in range(shocks.shape[1]):
            shocks[t, i] = phi * shocks[t - 1, i] + scale * shocks[t, i]


@njit(cache=True, nogil=True)
def to_uniform(latent: FloatMatrix, out: FloatMatrix) -> None:
    """Map standard normal values to (-1, 1): ``2 * Phi(x) - 1 = erf(x / sqrt(2))``."""
    for t in range(latent.shape[0]):
        for i in range(latent.shape[1]):
            out[t, i] = math.erf(latent[t, i] / math.sqrt(2.0))


@njit(cache=True, nogil=True)
def rank_map(latent: FloatMatrix, listed: BoolMatrix, out: FloatMatrix) -> None:
    """Rank each row across the listed names to (-1, 1): ``2 * rank / (n + 1) - 1``; else NaN.

    Persistent series barely change order from one row to the next, so the previous permutation is
    repaired by insertion instead of sorting anew.
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
    """Walk the Markov chain of regimes: leave with probability 1/duration, to each other alike."""
    n_regimes = durations.size
    total = durations.sum()
    edge = 0.0
    state = n_regimes - 1
    for k in range(n_regimes):  # the stationary share of a regime is proportional to its duration
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
    """Variance multipliers h (R, K) with mean one; h[t] is known at t - 1 (capped at 16)."""
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
    loadings: npt.NDArray[np.float64],
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
def lifecycle(
    log_returns: FloatMatrix,
    distress: FloatMatrix,
    takeover: FloatMatrix,
    uniforms: FloatMatrix,
    rates: FloatVector,
    settings: IntVector,
    first_row: IntVector,
    last_row: IntVector,
    reason: IntVector,
    predecessor: IntVector,
    hazards: npt.NDArray[np.float64],
) -> None:
    """Decide row by row which living names delist after the close.

    The hazard of a name is the mean rate times a weight that rises with its distress (or takeover)
    characteristic and, for performance delistings, with its fall below its own one-year average;
    weights are divided by their mean over the names at risk, so that the expected number of
    delistings does not depend on them. All of it is known at the close of the row.

    Parameters
    ----------
    log_returns : ndarray, shape (R, N)
        Log returns without drift corrections, used for the fall below the average.
    distress, takeover : ndarray, shape (R, N)
        Characteristics in (-1, 1).
    uniforms : ndarray, shape (R, N)
        One draw per name and row.
    rates : ndarray, shape (2,)
        Mean probability per row of performance and merger delisting.
    settings : ndarray of int64, shape (3,)
        Seasoning rows, rows between a delisting and the reuse of its ticker, last row at which a
        listing may be tied to a delisting.
    first_row : ndarray of int64, shape (N,)
        First row of each name; -1 marks a slot that waits for a ticker to reuse. Filled here.
    last_row, reason, predecessor : ndarray of int64, shape (N,)
        Filled: last row with a bar (R - 1 if the name survives), why, whose ticker is reused (-1).
    hazards : ndarray, shape (2, R, N)
        Filled: probability of each kind of delisting after the close of the row; 0 off life.
    """
    n_rows, n_assets = log_returns.shape
    seasoning, reuse_gap, deadline = settings[0], settings[1], settings[2]
    weight = np.zeros((2, n_assets))
    depth = np.zeros(n_assets)  # log price minus its one-year exponential average
    last_row[:] = n_rows - 1
    reason[:] = REASON_NONE
    predecessor[:] = -1
    hazards[:] = 0.0
    for t in range(1, n_rows):
        sums = np.zeros(2)
        at_risk = 0
        for i in range(n_assets):
            if first_row[i] < 0 and t >= deadline:
                first_row[i] = t + 1
            weight[0, i] = 0.0
            weight[1, i] = 0.0
            if first_row[i] < 0 or t < first_row[i] or reason[i] != REASON_NONE:
                continue
            depth[i] = (1.0 - 1.0 / 252.0) * (depth[i] + log_returns[t, i])
            if first_row[i] > 1 and t < first_row[i] + seasoning:
                continue
            fall = min(max(-depth[i], -0.5), 1.5)
            weight[0, i] = math.exp(1.5 * distress[t, i] + 2.0 * fall)
            weight[1, i] = math.exp(1.0 * takeover[t, i])
            sums[0] += weight[0, i]
            sums[1] += weight[1, i]
            at_risk += 1
        if at_risk == 0 or t == n_rows - 1:
            continue  # nothing is decided after the last row: its outcome would not be seen
        for i in range(n_assets):
            if weight[0, i] == 0.0:
                continue
            fail = min(rates[0] * weight[0, i] * at_risk / sums[0], 0.05)
            merge = min(rates[1] * weight[1, i] * at_risk / sums[1], 0.05)
            hazards[0, t, i] = fail
            hazards[1, t, i] = merge
            if uniforms[t, i] >= fail + merge:
                continue
            reason[i] = REASON_PERFORMANCE if uniforms[t, i] < fail else REASON_MERGER
            last_row[i] = t
            if t + 1 + reuse_gap <= deadline:
                for slot in range(n_assets):
                    if first_row[slot] < 0:
                        first_row[slot] = t + 1 + reuse_gap
                        predecessor[slot] = i
                        break


@njit(cache=True, nogil=True)
def price_paths(
    overnight: FloatMatrix,
    intraday: FloatMatrix,
    payout: FloatMatrix,
    first_row: IntVector,
    last_row: IntVector,
    initial: FloatVector,
    open_: FloatMatrix,
    close: FloatMatrix,
) -> None:
    """Build open and close from the two simple total returns of each session; NaN off life.

    ``open[t] = close[t-1] * (1 + overnight[t] - payout[t])``, ``close[t] = open[t] *
    (1 + intraday[t])``: a dividend of ``payout * close[t-1]`` leaves the price at the open.
    """
    n_rows, n_assets = overnight.shape
    open_[:] = np.nan
    close[:] = np.nan
    for i in range(n_assets):
        price = initial[i]
        for t in range(first_row[i], min(last_row[i], n_rows - 1) + 1):
            if t > first_row[i]:
                price *= 1.0 + overnight[t, i] - payout[t, i]
            open_[t, i] = price
            price *= 1.0 + intraday[t, i]
            close[t, i] = price


@njit(cache=True, nogil=True)
def split_factors(
    close: FloatMatrix,
    first_row: IntVector,
    last_row: IntVector,
    split_above: float,
    reverse_below: float,
    factor: FloatMatrix,
    ratio: FloatMatrix,
) -> None:
    """Decide splits from the raw close and fill the raw price factor and the ratio (1 = none).

    Raw price = path price x factor. A split is announced at a close beyond a bound and becomes
    effective ten sessions later; ratio is new shares per old share.
    """
    notice = 10
    factor[:] = 1.0
    ratio[:] = 1.0
    for i in range(close.shape[1]):
        level = 1.0
        due = -1
        pending = 1.0
        for t in range(first_row[i], last_row[i] + 1):
            if t == due:
                level /= pending
                ratio[t, i] = pending
                due = -1
            factor[t, i] = level
            raw = close[t, i] * level
            if due < 0 and t + notice <= last_row[i]:
                if raw > split_above:
                    due, pending = t + notice, max(2.0, math.floor(raw / (0.4 * split_above)))
                elif raw < reverse_below:
                    due, pending = t + notice, 0.1
        for t in range(last_row[i] + 1, close.shape[0]):
            factor[t, i] = level


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
    """Spearman correlation across names of every `stride`-th row (T, N); NaN where too few."""
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

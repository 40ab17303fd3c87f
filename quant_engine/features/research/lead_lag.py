"""Lead and lag: who moves first, by warping one series onto another.

Dynamic time warping (Sakoe and Chiba 1978) matches the rows of two standardised windows so that the
squared differences along a monotone path are least; the path stays within `band` rows of the
diagonal. Where the path matches row i of A with a later row j of B, A was first. Of a path with n
points:

* lead: share of points with j > i (A leads),
* follow: share of points with j < i (A follows),
* lag: mean of j - i in rows, positive where A leads.

Paths are not traced back. Their counts travel forward with the cost of the best path to each cell,
packed into one number: step counts stay far below 2^12 and lag sums below 2^16, so the sums are
exact in float64.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.features.functions import (
    Function,
    Numbers,
    Output,
    Pages,
    Parameter,
    add_function,
)
from quant_engine.features.research.moments import IntArray, varies
from quant_engine.features.research.peers import in_canonical_order, nearest, unit_windows

__all__ = ["MAX_BAND", "MAX_WINDOW", "PEER_WARP", "WARP"]

MAX_WINDOW, MAX_BAND = 500, 50
"""Limits within which the packed counts are exact."""

_LEADS, _FOLLOWS, _LAGS = 2.0**12, 2.0**24, 2.0**36
_LANES = 32
"""Pairs that are warped side by side."""


@njit(cache=True, nogil=True, error_model="numpy")
def _warp(a: FloatMatrix, b: FloatMatrix, band: int, cost: FloatMatrix, code: FloatMatrix) -> None:
    # Columns of a against columns of b, both (w, L). Row p = j - i + band + 1 of `cost` and `code`
    # holds the cell (i, j); the rows at both ends stay infinite. Going up in j, row p still holds
    # (i-1, j-1), row p + 1 holds (i-1, j) and row p - 1 already (i, j-1). The diagonal wins ties,
    # then the step along A.
    #
    # Short loops over few arrays, everything loaded before it is compared: so they become vector
    # selects. A branch that the data decide costs five times as much.
    window, lanes = a.shape
    side, side_code = np.empty(lanes), np.empty(lanes)
    cost[:] = np.inf
    code[:] = 0.0
    cost[band + 1] = 0.0
    for i in range(window):
        for p in range(1, 2 * band + 2):
            ahead = p - band - 1
            j = i + ahead
            if j < 0 or j >= window:
                cost[p] = np.inf
                continue
            unit = 1.0 + ahead * _LAGS
            unit += _LEADS if ahead > 0 else 0.0
            unit += _FOLLOWS if ahead < 0 else 0.0
            up, left, up_code, left_code = cost[p + 1], cost[p - 1], code[p + 1], code[p - 1]
            for k in range(lanes):
                u, s, u_code, s_code = up[k], left[k], up_code[k], left_code[k]
                along = u <= s
                side[k] = u if along else s
                side_code[k] = u_code if along else s_code
            x, y, here, here_code = a[i], b[j], cost[p], code[p]
            for k in range(lanes):
                d, s, d_code, s_code = here[k], side[k], here_code[k], side_code[k]
                diagonal = d <= s
                gap = x[k] - y[k]
                here[k] = (d if diagonal else s) + gap * gap
                here_code[k] = (d_code if diagonal else s_code) + unit


@njit(cache=True, nogil=True, error_model="numpy")
def _counts(code: float, result: FloatMatrix, k: int) -> None:
    # Shares of lead and follow and the mean lag, unpacked into column k.
    lags = np.floor(code / _LAGS)
    code -= lags * _LAGS
    follows = np.floor(code / _FOLLOWS)
    code -= follows * _FOLLOWS
    leads = np.floor(code / _LEADS)
    points = code - leads * _LEADS
    result[0, k] = leads / points
    result[1, k] = follows / points
    result[2, k] = lags / points


@njit(cache=True, nogil=True, error_model="numpy")
def _fill_lanes(left: FloatMatrix, right: FloatMatrix, code: FloatVector, out: FloatMatrix) -> None:
    # A missing window is NaN in every row, so its newest value tells.
    for k in range(code.size):
        if left[-1, k] == left[-1, k] and right[-1, k] == right[-1, k]:
            _counts(code[k], out, k)


@njit(cache=True, nogil=True, error_model="numpy")
def _standardise(x: FloatMatrix, t: int, first: int, unit: FloatMatrix) -> None:
    # Windows of `unit.shape[1]` columns from `first` on, centred and of standard deviation 1;
    # NaN where a value is missing or nothing varies.
    window, lanes = unit.shape
    for k in range(lanes):
        mean = 0.0
        for i in range(window):
            mean += x[t - window + 1 + i, first + k]
        mean /= window
        squares = 0.0
        for i in range(window):
            d = x[t - window + 1 + i, first + k] - mean
            unit[i, k] = d
            squares += d * d
        scale = np.sqrt(window / squares) if varies(squares, mean, window) else np.nan
        for i in range(window):
            unit[i, k] *= scale


def _warp_pages(series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages) -> None:
    a, b = series
    window, band = int(numbers[0]), int(numbers[1])
    out[:] = np.nan
    for first in range(0, a.shape[1], _LANES):
        lanes = min(_LANES, a.shape[1] - first)
        left, right = np.empty((window, lanes)), np.empty((window, lanes))
        cost, code = np.empty((2, 2 * band + 3, lanes))
        for t in range(window - 1, len(a)):
            _standardise(a, t, first, left)
            _standardise(b, t, first, right)
            _warp(left, right, band, cost, code)
            _fill_lanes(left, right, code[band + 1], out[:, t, first : first + lanes])


_WINDOW = Parameter("window", 5, MAX_WINDOW)
_BAND = Parameter("band", 1, MAX_BAND)
_SOURCE = "Sakoe and Chiba 1978; lead and lag read off the warping path"

WARP = add_function(
    Function(
        (
            Output("WarpLead", "share of path points where A is first", "fraction"),
            Output("WarpFollow", "share of path points where A is second", "fraction"),
            Output("WarpLag", "mean rows by which A is first", "rows"),
        ),
        2,
        (_WINDOW, _BAND),
        lambda numbers: int(numbers[0]),
        _warp_pages,
        _SOURCE,
    )
)
"""``WarpLag(a, b, window, band)``: one series against another of the same asset."""


@njit(cache=True, nogil=True, error_model="numpy")
def _gather(unit: FloatMatrix, peers: IntArray, left: Pages, right: Pages) -> None:
    # Pairs side by side in pages of `_LANES`; the rest of the last page repeats the last pair.
    n_peers, lanes = peers.shape[1], left.shape[2]
    for lane in range(len(left) * lanes):
        pair = min(lane, len(peers) * n_peers - 1)
        one, other = pair // n_peers, peers[pair // n_peers, pair % n_peers]
        for i in range(len(unit)):
            left[lane // lanes, i, lane % lanes] = unit[i, one]
            right[lane // lanes, i, lane % lanes] = unit[i, other]


@njit(cache=True, nogil=True, error_model="numpy")
def _peer_means(codes: FloatVector, n_peers: int, result: FloatMatrix) -> None:
    counts = np.empty((3, 1))
    result[:] = 0.0
    for pair in range(result.shape[1] * n_peers):
        _counts(codes[pair], counts, 0)
        for c in range(3):
            result[c, pair // n_peers] += counts[c, 0] / n_peers


def _warp_pairs(unit: FloatMatrix, peers: IntArray, band: int) -> FloatMatrix:
    # Means over the peers of every asset, shape (3, M).
    n_pages = -(-peers.size // _LANES)
    left, right = np.empty((2, n_pages, len(unit), _LANES))
    _gather(unit, peers, left, right)
    cost, code = np.empty((2, 2 * band + 3, _LANES))
    codes = np.empty((n_pages, _LANES))
    for page in range(n_pages):
        _warp(left[page], right[page], band, cost, code)
        codes[page] = code[band + 1]
    result = np.empty((3, len(peers)))
    _peer_means(codes.ravel(), peers.shape[1], result)
    return result


def _peer_warp(
    series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages, member: BoolMatrix
) -> None:
    moves, likeness = series
    window, band, n_peers = (int(number) for number in numbers)
    out[:] = np.nan
    for t in range(window - 1, len(moves)):
        candidates = in_canonical_order(likeness, member[t], t)
        found, alike = unit_windows(likeness, candidates, t, window)
        places, unit = unit_windows(moves, found, t, window)
        if len(places) <= n_peers:
            continue
        if len(places) < len(found):
            alike = np.ascontiguousarray(alike[:, np.isin(found, places)])
        peers = nearest(alike.T @ alike, n_peers)
        out[:, t, places] = _warp_pairs(unit, peers, band)


PEER_WARP = add_function(
    Function(
        (
            Output("PeerLead", "mean share of path points where the asset is first", "fraction"),
            Output("PeerFollow", "mean share of path points where it is second", "fraction"),
            Output("PeerLag", "mean rows by which the asset is first", "rows"),
        ),
        2,
        (_WINDOW, _BAND, Parameter("peers", 1, 50)),
        lambda numbers: int(numbers[0]),
        _peer_warp,
        _SOURCE,
        across=True,
    )
)
"""``PeerLag(moves, likeness, window, band, peers)``: each asset against the members whose
`likeness` correlates most with its own. Returns over several rows as likeness find names that move
together some rows apart."""

"""Plain twins of the research functions: short, slow, and written another way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest


def rows_of(compute, first, n_rows, n_outputs):
    """Stack `compute(t)` for every row that has a window."""
    out = np.full((n_outputs, n_rows), np.nan)
    for t in range(first, n_rows):
        out[:, t] = compute(t)
    return out


def signature(series, numbers):
    a, b = series
    window = int(numbers[0])
    clock = np.linspace(0.0, 1.0, window + 1)

    def integral(x, y):
        return np.sum(0.5 * (x[1:] + x[:-1]) * np.diff(y))

    def value(t):
        x = np.concatenate([[0.0], np.cumsum(a[t - window + 1 : t + 1])])
        y = np.concatenate([[0.0], np.cumsum(b[t - window + 1 : t + 1])])
        pairs = [(clock, x), (x, clock), (clock, y), (y, clock), (x, x), (y, y), (x, y), (y, x)]
        terms = [integral(one, other) for one, other in pairs]
        return [x[-1], y[-1], *terms, 0.5 * (terms[6] - terms[7])]

    return rows_of(value, window - 1, len(a), 11)


def waves(series, numbers):
    x, window = pd.Series(series[0]), int(numbers[0])
    smooth = [x, *(x.rolling(2**j).mean() for j in range(1, 5))]
    parts = [smooth[j] - smooth[j + 1] for j in range(4)] + [smooth[4]]
    energy = np.array([(part**2).rolling(window).sum() for part in parts])
    return energy / energy.sum(axis=0)


def vol_curve(series, numbers):
    curve, window = np.array(series), int(numbers[0])
    shapes = [(1, 1, 1, 1, 1), (-2, -1, 0, 1, 2), (-2, 1, 2, 1, -2)]

    def value(t):
        rows = curve[:, t - window + 1 : t + 1]
        if np.isnan(rows).any():
            return np.nan
        centred = rows - rows.mean(axis=1, keepdims=True)
        values, vectors = np.linalg.eigh(centred @ centred.T)
        found = []
        for k, shape in zip((-1, -2, -3), shapes, strict=True):
            loading = vectors[:, k] * (1.0 if vectors[:, k] @ shape >= 0 else -1.0)
            found.append(loading @ centred[:, -1])
        return [*found, values[-1] / values.sum()]

    return rows_of(value, window - 1, curve.shape[1], 4)


def spillover(series, numbers):
    own, rest = series
    window, horizon, ridge = int(numbers[0]), int(numbers[1]), numbers[2]

    def value(t):
        now = np.column_stack([own, rest])[t - window + 1 : t + 1]
        before = np.column_stack([own, rest])[t - window : t]
        y, x = now - now.mean(axis=0), before - before.mean(axis=0)
        products = x.T @ x
        a = np.linalg.solve(products + ridge * np.diag(np.diag(products)), x.T @ y).T
        noise = np.cov((y - x @ a.T).T, bias=True)
        powers = [np.linalg.matrix_power(a, h) for h in range(horizon)]
        shocks = sum((p @ noise) ** 2 for p in powers) / np.diag(noise)
        total = np.diag(sum(p @ noise @ p.T for p in powers))
        share = shocks / total[:, None]
        share /= share.sum(axis=1, keepdims=True)
        return share[0, 1], share[1, 0], share[1, 0] - share[0, 1]

    return rows_of(value, window, len(own), 3)


def harx(series, numbers):
    window, ridge = int(numbers[0]), numbers[1]
    lags = [
        pd.DataFrame({n: pd.Series(x).shift(1).rolling(n).mean() for n in (1, 5, 22)}).to_numpy()
        for x in series
    ]

    def coefficient(i, t):
        rows = slice(t - window + 1, t + 1)
        x = np.column_stack([lags[i], lags[1 - i][:, 0]])[rows]
        y = series[i][rows]
        x, y = x - x.mean(axis=0), y - y.mean()
        products = x.T @ x
        found = np.linalg.solve(products + ridge * np.diag(np.diag(products)), x.T @ y)
        return found[-1] * x[:, -1].std() / y.std()

    def value(t):
        received, given = coefficient(0, t), coefficient(1, t)
        return received, given, given - received

    return rows_of(value, window + 21, len(series[0]), 3)


def warp_path(a, b, band):
    """The cheapest path by the textbook recursion and a walk back from its end."""
    n = len(a)
    cost = np.full((n + 1, n + 1), np.inf)
    cost[0, 0] = 0.0
    for i in range(1, n + 1):
        for j in range(max(1, i - band), min(n, i + band) + 1):
            before = min(cost[i - 1, j - 1], cost[i - 1, j], cost[i, j - 1])
            cost[i, j] = (a[i - 1] - b[j - 1]) ** 2 + before
    path, i, j = [], n, n
    while i > 0:
        path.append((i, j))
        steps = [(i - 1, j - 1), (i - 1, j), (i, j - 1)]
        i, j = min(steps, key=lambda cell: cost[cell])
    return path


def warp_counts(a, b, band):
    a, b = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    gaps = np.array([j - i for i, j in warp_path(a, b, band)])
    return (gaps > 0).mean(), (gaps < 0).mean(), gaps.mean()


def warp(series, numbers):
    (a, b), (window, band) = series, map(int, numbers)

    def value(t):
        rows = slice(t - window + 1, t + 1)
        if np.isnan(a[rows] + b[rows]).any():
            return np.nan
        return warp_counts(a[rows], b[rows], band)

    return rows_of(value, window - 1, len(a), 3)


def complete(x, counted, t, window):
    rows = x[t - window + 1 : t + 1]
    return np.flatnonzero(counted[t] & ~np.isnan(rows).any(axis=0))


def correlations(x, places, t, window):
    found = np.corrcoef(x[t - window + 1 : t + 1, places], rowvar=False)
    np.fill_diagonal(found, -np.inf)
    return found


def peer_warp(series, numbers, counted):
    moves, likeness = series
    window, band, n_peers = map(int, numbers)
    out = np.full((3, *moves.shape), np.nan)
    for t in range(window - 1, len(moves)):
        places = complete(moves + likeness, counted, t, window)
        if len(places) <= n_peers:
            continue
        alike = correlations(likeness, places, t, window)
        rows = moves[t - window + 1 : t + 1]
        for i, place in enumerate(places):
            peers = places[np.argsort(alike[i])[::-1][:n_peers]]
            counts = [warp_counts(rows[:, place], rows[:, peer], band) for peer in peers]
            out[:, t, place] = np.mean(counts, axis=0)
    return out


def network(series, numbers, counted):
    value, returns = series
    window, n_peers = map(int, numbers)
    out = np.full((2, *value.shape), np.nan)
    for t in range(window - 1, len(value)):
        places = complete(returns, counted, t, window)
        if len(places) < 3:
            continue
        alike = correlations(returns, places, t, window)
        for i, place in enumerate(places):
            peers = np.argsort(alike[i])[::-1][:n_peers]
            peers = [p for p in peers if alike[i, p] > 0 and np.isfinite(value[t, places[p]])]
            if peers:
                out[0, t, place] = np.average(value[t, places[peers]], weights=alike[i, peers])
        ties = np.maximum(alike, 0.0) + np.eye(len(places))
        vector = np.abs(np.linalg.eigh(ties)[1][:, -1])
        out[1, t, places] = vector / vector.mean()
    return out


def peer_correlation(series, numbers, counted):
    x, window = series[0], int(numbers[0])
    out = np.full((1, *x.shape), np.nan)
    for t in range(window - 1, len(x)):
        places = complete(x, counted, t, window)
        if len(places) >= 3:
            alike = correlations(x, places, t, window)
            np.fill_diagonal(alike, np.nan)
            out[0, t, places] = np.nanmean(alike, axis=1)
    return out


def rs_ratio(series, numbers):
    period, base = map(int, numbers)
    level = np.concatenate([[1.0], np.exp(np.cumsum(series[0]))])
    smooth = pd.Series(level).rolling(period).mean().to_numpy()
    out = 100.0 * smooth[base:] / level[: len(level) - base]
    return np.concatenate([np.full(base, np.nan), out])[None, 1:]


def rs_momentum(series, numbers):
    period = int(numbers[0])
    level = pd.Series(np.concatenate([[1.0], np.exp(np.cumsum(series[0]))]))
    smooth = level.rolling(period).mean()
    return (100.0 * (smooth / smooth.shift(period) - 1.0)).to_numpy()[None, 1:]


@pytest.fixture(scope="session")
def twins():
    """Twin by the name of a function's first output; those of several assets take `counted`."""
    alone = {
        "SigA": signature, "WaveShare1": waves, "VolCurvePc1": vol_curve,
        "SpilloverFrom": spillover, "HarxFrom": harx, "WarpLead": warp,
        "RsRatio": rs_ratio, "RsMomentum": rs_momentum,
    }  # fmt: skip
    across = {
        "PeerLead": peer_warp, "NetMomentum": network, "PeerCorrelation": peer_correlation,
    }  # fmt: skip
    return alone, across

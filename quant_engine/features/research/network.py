"""Network of assets: what the names that move like an asset have been doing.

The graph of row t joins its members by the correlation of their trailing returns. It is drawn
afresh on every row from rows up to t, and no asset is its own neighbour.

* `NetMomentum` carries a feature over the graph: the mean of the neighbours' values, weighted by
  positive correlation, weights summing to 1. Pu, Roberts, Dong and Zohren (2023) learn the graph
  from momentum features by convex optimisation; here its weights are correlations of the nearest
  neighbours, which costs one matrix product per row. A neighbour without a value is left out and
  the weights of the others sum to 1.
* `NetCentrality` is the eigenvector centrality on positive correlations, mean 1: high for an asset
  tied to others that are tied themselves.
* `PeerCorrelation` is the mean correlation with all other members; its mean over the members is
  the mean pairwise correlation of the market.
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
from quant_engine.features.research.moments import IntArray
from quant_engine.features.research.peers import in_canonical_order, nearest, unit_windows
from quant_engine.stats.mean_correlation import mean_correlations

__all__ = ["MIN_ASSETS", "NETWORK", "PEER_CORRELATION"]

MIN_ASSETS = 3
"""Assets below which a row has no network."""

_POWER_STEPS = 500
"""Most steps of the power iteration; graphs of stocks need about ten, a handful of unrelated
series some hundred."""

_POWER_TOLERANCE = 1e-10


@njit(cache=True, nogil=True, error_model="numpy")
def _neighbour_means(
    corr: FloatMatrix, peers: IntArray, value: FloatVector, result: FloatVector
) -> None:
    for i in range(len(peers)):
        total, weights = 0.0, 0.0
        for k in range(peers.shape[1]):
            j = peers[i, k]
            weight = corr[i, j]
            if weight > 0.0 and value[j] == value[j]:
                total += weight * value[j]
                weights += weight
        result[i] = total / weights if weights > 0.0 else np.nan


def _centrality(corr: FloatMatrix) -> FloatVector:
    # One added to the diagonal keeps the iteration from swinging between two halves of a graph.
    ties = np.maximum(corr, 0.0)
    np.fill_diagonal(ties, 1.0)
    central: FloatVector = ties.sum(axis=1)
    central /= central.mean()
    for _ in range(_POWER_STEPS):
        after = ties @ central
        after /= after.mean()
        moved = np.abs(after - central).max()
        central = after
        if moved < _POWER_TOLERANCE:
            break
    return central


def _network(
    series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages, member: BoolMatrix
) -> None:
    value, returns = series
    window, n_peers = int(numbers[0]), int(numbers[1])
    out[:] = np.nan
    for t in range(window - 1, len(returns)):
        places, unit = unit_windows(returns, in_canonical_order(returns, member[t], t), t, window)
        if len(places) < MIN_ASSETS:
            continue
        corr = unit.T @ unit
        peers = nearest(corr, min(n_peers, len(places) - 1))
        means = np.empty(len(places))
        _neighbour_means(corr, peers, value[t, places], means)
        out[0, t, places] = means
        out[1, t, places] = _centrality(corr)


NETWORK = add_function(
    Function(
        (
            Output("NetMomentum", "mean of the nearest neighbours' values", "as the value"),
            Output("NetCentrality", "eigenvector centrality, mean 1", "number"),
        ),
        2,
        (Parameter("window", 10, 2000), Parameter("neighbours", 1, 500)),
        lambda numbers: int(numbers[0]),
        _network,
        "Pu, Roberts, Dong and Zohren 2023 in spirit; Bonacich 1972",
        across=True,
    )
)
"""``NetMomentum(value, returns, window, neighbours)``: a feature carried over the graph."""


def _peer_correlation(
    series: tuple[FloatMatrix, ...], numbers: Numbers, out: Pages, member: BoolMatrix
) -> None:
    window = int(numbers[0])
    out[:] = np.nan
    for t in range(window - 1, len(series[0])):
        places, unit = unit_windows(
            series[0], in_canonical_order(series[0], member[t], t), t, window
        )
        if len(places) >= MIN_ASSETS:
            means = np.empty(len(places))
            mean_correlations(unit, means)
            out[0, t, places] = means


PEER_CORRELATION = add_function(
    Function(
        (Output("PeerCorrelation", "mean correlation with the other members", "correlation"),),
        1,
        (Parameter("window", 3, 2000),),
        lambda numbers: int(numbers[0]),
        _peer_correlation,
        "mean of a row of the trailing correlation matrix, own excluded",
        across=True,
    )
)
"""``PeerCorrelation(returns, window)``."""

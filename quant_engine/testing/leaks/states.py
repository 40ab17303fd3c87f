"""Planted leaks in regimes: a two-state Gaussian model read with the future in hand."""

from __future__ import annotations

import numpy as np

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import Panel
from quant_engine.testing.leaks.arenas import PanelArena
from quant_engine.testing.leaks.registry import PlantedLeak, add_leak

_DEVIATIONS = np.array([0.009, 0.03])
_STAY = 0.96
_FIRST_ROWS = 120


def _market(panel: Panel) -> FloatVector:
    prices = panel.field("close")
    returns = np.full(prices.shape, np.nan)
    returns[1:] = prices[1:] / prices[:-1] - 1
    count = np.isfinite(returns).sum(axis=1)
    return np.nansum(returns, axis=1) / np.maximum(count, 1)


def _log_densities(returns: FloatVector, deviations: FloatVector) -> FloatMatrix:
    return -0.5 * (returns[:, None] / deviations) ** 2 - np.log(deviations)


def _transition() -> FloatMatrix:
    return np.array([[_STAY, 1 - _STAY], [1 - _STAY, _STAY]])


def _forward(returns: FloatVector, deviations: FloatVector) -> FloatMatrix:
    density = np.exp(_log_densities(returns, deviations))
    state, out = np.full(2, 0.5), np.empty((len(returns), 2))
    for row in range(len(returns)):
        state = (state @ _transition()) * density[row]
        state /= state.sum()
        out[row] = state
    return out


def _filtered(panel: Panel) -> FloatVector:
    return _forward(_market(panel), _DEVIATIONS)[:, 1]


def _smoothed(panel: Panel) -> FloatVector:
    returns = _market(panel)
    density = np.exp(_log_densities(returns, _DEVIATIONS))
    forward, later = _forward(returns, _DEVIATIONS), np.ones(2)
    out = np.empty(len(returns))
    for row in range(len(returns) - 1, -1, -1):
        both = forward[row] * later
        out[row] = both[1] / both.sum()
        later = _transition() @ (density[row] * later)
        later /= later.sum()
    return out


def _best_path(panel: Panel) -> FloatVector:
    returns = _market(panel)
    density, moves = _log_densities(returns, _DEVIATIONS), np.log(_transition())
    score, came_from = density[0], np.zeros((len(returns), 2), dtype=np.int64)
    for row in range(1, len(returns)):
        options = score[:, None] + moves
        came_from[row] = options.argmax(axis=0)
        score = options.max(axis=0) + density[row]
    path = np.empty(len(returns))
    state = int(score.argmax())
    for row in range(len(returns) - 1, -1, -1):
        path[row] = state
        state = int(came_from[row, state])
    return path


def _most_likely_now(panel: Panel) -> FloatVector:
    return (_filtered(panel) > 0.5).astype(np.float64)


def _fitted(returns: FloatVector) -> FloatVector:
    deviations = _DEVIATIONS
    for _ in range(5):
        weight = _forward(returns, deviations)
        deviations = np.sqrt((weight * returns[:, None] ** 2).sum(axis=0) / weight.sum(axis=0))
    return deviations


def _fitted_on_all(panel: Panel) -> FloatVector:
    returns = _market(panel)
    return _forward(returns, _fitted(returns))[:, 1]


def _fitted_on_the_past(panel: Panel) -> FloatVector:
    returns = _market(panel)
    return _forward(returns, _fitted(returns[:_FIRST_ROWS]))[:, 1]


for _leak in (
    PlantedLeak(
        "smoothed-states",
        "regime",
        "probabilities smoothed over all rows",
        leak=_smoothed,
        clean=_filtered,
        arena=PanelArena(),
    ),
    PlantedLeak(
        "viterbi-path",
        "regime",
        "the best path over all rows",
        leak=_best_path,
        clean=_most_likely_now,
        arena=PanelArena(),
    ),
    PlantedLeak(
        "states-fitted-on-all",
        "regime",
        "a filter with parameters of all rows",
        leak=_fitted_on_all,
        clean=_fitted_on_the_past,
        arena=PanelArena(),
    ),
):
    add_leak(_leak)

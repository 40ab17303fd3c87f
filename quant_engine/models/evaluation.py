"""Evaluation: tables and figures of a walk-forward, computed from its blocks.

Contract: a figure that selects or judges reads only *scored* sessions of a fold; figures of the
holdout stand apart. Correlations are per session and then averaged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.hashing import finite_or_none
from quant_engine.core.ids import id_column, id_order
from quant_engine.core.panel import Panel
from quant_engine.models.blend import Matrix
from quant_engine.models.blocks import Block, Mapped
from quant_engine.models.config import ModelConfig
from quant_engine.models.fitting import FitReport
from quant_engine.models.maps import ScoreMaps
from quant_engine.models.matrix import RowMatrix
from quant_engine.stats.calibration import expected_calibration_error
from quant_engine.stats.cross_section import equal_weight_mean
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.inference import known_mean, newey_west_or_nan
from quant_engine.stats.splits import Fold

__all__ = [
    "FoldOutcome",
    "fold_table",
    "importance_frame",
    "long_order",
    "oos_frame",
    "overall_figures",
    "prediction_columns",
]

BLEND = "blend"


@dataclass(frozen=True, eq=False)
class FoldOutcome:
    """Everything known about one fold.

    Parameters
    ----------
    fold : Fold
        Plan.
    fit : FitReport
        Row counts and importance.
    block : Block
        Out-of-sample predictions.
    in_sample : Block
        Predictions on sampled train sessions.
    maps : ScoreMaps or None
        Maps applied to the block.
    mapped : Mapped
        Map columns of the block.
    """

    fold: Fold
    fit: FitReport
    block: Block
    in_sample: Block
    maps: ScoreMaps | None
    mapped: Mapped


def fold_table(
    outcomes: Sequence[FoldOutcome], panel: Panel, *, config: ModelConfig
) -> pd.DataFrame:
    """One row per fold.

    Parameters
    ----------
    outcomes : sequence of FoldOutcome
        Folds in time order.
    panel : Panel
        Feature panel, for its session axis.
    config : ModelConfig
        Members and smallest cross-section.

    Returns
    -------
    DataFrame
        fold, is_holdout, windows (dates), counts, ``<name>_is_rank_ic``, ``<name>_oos_rank_ic``,
        ``<name>_oos_ic`` for every member and the blend, is_oos_gap, coverage, sign_ece, and the
        slope and sample of the maps. NaN = not available.
    """
    return pd.DataFrame([_fold_row(outcome, panel, config) for outcome in outcomes])


def _fold_row(outcome: FoldOutcome, panel: Panel, config: ModelConfig) -> dict[str, Any]:
    fold, fit, days = outcome.fold, outcome.fit, panel.time.index
    scored = outcome.block.at(fold.scored)
    row: dict[str, Any] = {
        "fold": fold.number,
        "is_holdout": fold.is_holdout,
        "train_first": days[fit.train_first],
        "train_last": days[fit.train_last],
        "test_first": days[fold.test[0]],
        "test_last": days[fold.test[-1]],
        "n_train_sessions": fit.n_train_sessions,
        "n_train_rows": fit.n_train_rows,
        "n_test_sessions": len(fold.test),
        "n_test_rows": int((~np.isnan(outcome.block.blend.score)).sum()),
        "n_scored_sessions": int(scored.sum()),
    }
    everything = np.ones(len(outcome.in_sample.sessions), dtype=bool)
    for name in (*config.columns, BLEND):
        row[f"{name}_is_rank_ic"] = known_mean(
            _ic(outcome.in_sample, name, everything, "rank", config)
        )
        row[f"{name}_oos_rank_ic"] = known_mean(_ic(outcome.block, name, scored, "rank", config))
        row[f"{name}_oos_ic"] = known_mean(_ic(outcome.block, name, scored, "pearson", config))
    row["is_oos_gap"] = row[f"{BLEND}_is_rank_ic"] - row[f"{BLEND}_oos_rank_ic"]
    row["coverage"] = known_mean(_inside([outcome]))
    row["sign_ece"] = _sign_ece([outcome])
    maps = outcome.maps
    row["n_map_sessions"] = 0 if maps is None else maps.n_sessions
    row["map_slope_frac"] = np.nan if maps is None else maps.slope_frac
    row["map_intercept_frac"] = np.nan if maps is None else maps.intercept_frac
    row["interval_vol_multiple"] = np.nan if maps is None else maps.interval.quantile
    return row


def overall_figures(
    outcomes: Sequence[FoldOutcome], *, config: ModelConfig, lags: int
) -> dict[str, float | None]:
    """Figures of the whole run, the input of the quality rules.

    Parameters
    ----------
    outcomes : sequence of FoldOutcome
        Folds in time order, the holdout last where there is one.
    config : ModelConfig
        Members, smallest cross-section, wanted coverage.
    lags : int
        Newey-West lags of the IC's t: the label horizon in sessions.

    Returns
    -------
    dict of str to float or None
        Development folds: ``n_oos_sessions``, ``oos_rank_ic``, ``oos_rank_ic_t``, ``oos_ic``,
        ``is_rank_ic``, ``is_oos_gap`` (mean of the folds), ``oos_coverage``, ``oos_sign_ece``,
        ``<member>_oos_rank_ic``; holdout: ``n_holdout_sessions``, ``holdout_rank_ic``,
        ``holdout_ic``, ``holdout_r2``; wanted ``coverage``. None = not available.
    """
    development = [o for o in outcomes if not o.fold.is_holdout]
    holdout = [o for o in outcomes if o.fold.is_holdout]
    series = _scored_ic(development, BLEND, "rank", config)
    in_sample = [
        known_mean(
            _ic(o.in_sample, BLEND, np.ones(len(o.in_sample.sessions), bool), "rank", config)
        )
        for o in development
    ]
    by_fold = [known_mean(_scored_ic([o], BLEND, "rank", config)) for o in development]
    held = _scored_ic(holdout, BLEND, "rank", config)
    figures = {
        "n_folds": float(len(development)),
        "n_oos_sessions": float((~np.isnan(series)).sum()),
        "oos_rank_ic": known_mean(series),
        "oos_rank_ic_t": newey_west_or_nan(series, lags=lags).t,
        "oos_ic": known_mean(_scored_ic(development, BLEND, "pearson", config)),
        "is_rank_ic": known_mean(np.array(in_sample)),
        "is_oos_gap": known_mean(np.array(in_sample) - np.array(by_fold)),
        "oos_coverage": known_mean(_inside(development)),
        "oos_sign_ece": _sign_ece(development),
        "coverage": config.maps.coverage,
        "n_holdout_sessions": float((~np.isnan(held)).sum()),
        "holdout_rank_ic": known_mean(held),
        "holdout_ic": known_mean(_scored_ic(holdout, BLEND, "pearson", config)),
        "holdout_r2": cross_sectional_r2(holdout),
    }
    for name in config.columns:
        figures[f"{name}_oos_rank_ic"] = known_mean(_scored_ic(development, name, "rank", config))
    return {name: finite_or_none(value) for name, value in figures.items()}


def cross_sectional_r2(outcomes: Sequence[FoldOutcome]) -> float:
    """Share of the labels' cross-sectional variance that expected returns explain.

    ``1 - sum (y - e)^2 / sum y^2`` with label y and expectation e both measured from their mean
    over the session: what the whole market did is neither credited nor charged to a model that
    ranks assets. Negative when a forecast is worse than no forecast.

    Parameters
    ----------
    outcomes : sequence of FoldOutcome
        Folds whose scored sessions count.

    Returns
    -------
    float
        At most 1; NaN without any label or expectation.
    """
    residual, total = 0.0, 0.0
    for outcome in outcomes:
        scored = outcome.block.at(outcome.fold.scored)
        label, expected = outcome.block.label[scored], outcome.mapped.expected[scored]
        known = ~(np.isnan(label) | np.isnan(expected))
        y, e = _from_session_mean(label, known), _from_session_mean(expected, known)
        residual += float(((y - e) ** 2).sum())
        total += float((y**2).sum())
    return 1.0 - residual / total if total > 0.0 else float("nan")


def importance_frame(
    fits: Sequence[tuple[int, FitReport]], *, config: ModelConfig, names: tuple[str, ...]
) -> pd.DataFrame:
    """Mean absolute contributions per fit, member and feature.

    Parameters
    ----------
    fits : sequence of (int, FitReport)
        Fold number (0 = final model) and fit.
    config : ModelConfig
        Member columns.
    names : tuple of str
        Feature names.

    Returns
    -------
    DataFrame
        fold, member, feature, mean_abs_contribution (units of the transformed target), share
        (fraction of the member's total in that fold; NaN where the total is 0).
    """
    frames = []
    for number, fit in fits:
        for member, values in zip(config.columns, fit.importance, strict=True):
            total = values.sum()
            frames.append(
                pd.DataFrame(
                    {
                        "fold": number,
                        "member": member,
                        "feature": names,
                        "mean_abs_contribution": values,
                        "share": values / total if total > 0.0 else np.nan,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def prediction_columns(
    block: Block, mapped: Mapped, place: tuple[npt.NDArray[Any], npt.NDArray[Any]]
) -> dict[str, npt.NDArray[Any]]:
    """Columns that out-of-sample tables and live predictions share.

    Parameters
    ----------
    block : Block
        Scores and raw predictions, each (S, N).
    mapped : Mapped
        Map columns, each (S, N).
    place : tuple of ndarray
        Row and column positions in the block of the wanted table rows.

    Returns
    -------
    dict of str to ndarray
        Column name to values, in table order.
    """
    blend = block.blend
    wide: dict[str, npt.NDArray[Any]] = {
        "score": blend.score,
        "expected_return_frac": mapped.expected,
        "lo": mapped.low,
        "hi": mapped.high,
        "confidence": mapped.confidence,
        "percentile": blend.percentile,
        "z": blend.z,
        "is_long": blend.is_long,
        "is_short": blend.is_short,
    }
    wide |= {f"{name}_score": values for name, values in blend.member_scores.items()}
    wide |= {f"raw_{name}": values for name, values in block.raw.items()}
    return {name: values[place] for name, values in wide.items()}


def oos_frame(outcomes: Sequence[FoldOutcome], panel: Panel, *, rows: RowMatrix) -> pd.DataFrame:
    """Table of all out-of-sample predictions, sorted by date and asset_id.

    Parameters
    ----------
    outcomes : sequence of FoldOutcome
        Folds in time order.
    panel : Panel
        Feature panel, for dates and assets.
    rows : RowMatrix
        Usable rows.

    Returns
    -------
    DataFrame
        See ``TrainResult.oos``.
    """
    return pd.concat(
        [_oos_of_fold(outcome, panel, rows) for outcome in outcomes], ignore_index=True
    )


def _oos_of_fold(outcome: FoldOutcome, panel: Panel, rows: RowMatrix) -> pd.DataFrame:
    block, fold = outcome.block, outcome.fold
    chosen = rows.of_sessions(fold.test)
    chosen = chosen[long_order(rows.session[chosen], rows.asset[chosen], panel.asset_ids)]
    session, asset = rows.session[chosen], rows.asset[chosen]
    place = (np.searchsorted(block.sessions, session), asset)
    return pd.DataFrame(
        {
            "date": panel.time.index[session],
            "asset_id": id_column(panel.asset_ids, asset),
            "fold": np.int16(fold.number),
            "is_holdout": fold.is_holdout,
            **prediction_columns(block, outcome.mapped, place),
            "n_missing_features": rows.n_missing[chosen],
            "label": block.label[place],
        }
    )


def long_order(
    session: npt.NDArray[Any], asset: npt.NDArray[Any], asset_ids: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    """Order of a long table: by session, then by asset_id.

    Parameters
    ----------
    session, asset : ndarray of int, shape (R,)
        Positions on the session axis and among the assets.
    asset_ids : tuple of str
        Identifiers by asset position.

    Returns
    -------
    ndarray of int64, shape (R,)
        Row numbers in table order.

    Examples
    --------
    >>> long_order(np.array([0, 0, 0]), np.array([0, 1, 2]), ("C", "A", "B"))
    array([1, 2, 0])
    """
    rank = np.empty(len(asset_ids), dtype=np.int64)
    rank[id_order(asset_ids)] = np.arange(len(asset_ids))
    return np.lexsort((rank[asset], session))


def _score_of(block: Block, name: str) -> Matrix:
    return block.blend.score if name == BLEND else block.blend.member_scores[name]


def _ic(
    block: Block, name: str, chosen: npt.NDArray[np.bool_], method: Any, config: ModelConfig
) -> Matrix:
    """IC per chosen session; NaN where a session measured nothing."""
    return ic_by_date(
        _score_of(block, name)[chosen],
        block.label[chosen],
        method=method,
        min_assets=config.min_assets_per_session,
    )


def _scored_ic(
    outcomes: Sequence[FoldOutcome], name: str, method: str, config: ModelConfig
) -> Matrix:
    """IC series over the scored sessions of several folds, in time order."""
    parts = [_ic(o.block, name, o.block.at(o.fold.scored), method, config) for o in outcomes]
    return np.concatenate(parts) if parts else np.empty(0)


def _inside(outcomes: Sequence[FoldOutcome]) -> Matrix:
    """1 where the label lies in its interval, 0 where not; only rows that have both."""
    parts = []
    for o in outcomes:
        scored = o.block.at(o.fold.scored)
        label, low, high = o.block.label[scored], o.mapped.low[scored], o.mapped.high[scored]
        known = ~(np.isnan(label) | np.isnan(low))
        parts.append(((label >= low) & (label <= high))[known].astype(np.float64))
    return np.concatenate(parts) if parts else np.empty(0)


def _sign_ece(outcomes: Sequence[FoldOutcome]) -> float:
    """Expected calibration error of the sign confidence over scored rows; NaN without any."""
    prob, hit = [], []
    for o in outcomes:
        scored = o.block.at(o.fold.scored)
        label, confidence = o.block.label[scored], o.mapped.confidence[scored]
        known = ~(np.isnan(label) | np.isnan(confidence))
        is_up = o.block.blend.score[scored] >= 0.0
        prob.append(confidence[known])
        hit.append((is_up == (label > 0.0))[known])
    if not sum(len(part) for part in prob):
        return float("nan")
    return expected_calibration_error(np.concatenate(prob), np.concatenate(hit), n_bins=20)


def _from_session_mean(values: Matrix, known: npt.NDArray[np.bool_]) -> Matrix:
    """Known values minus their session mean, 0 elsewhere."""
    return np.where(known, values - equal_weight_mean(values, known)[:, None], 0.0)

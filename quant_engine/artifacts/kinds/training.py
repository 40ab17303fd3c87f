"""What training leaves behind besides the model: regimes, out-of-sample predictions, a report."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_TRAINED = ("core", "artifacts", "stats", "execution", "data", "features", "models", "workflows")

REGIME = BundleKind(
    name="regime_panel",
    schema_version=1,
    packages=("core", "artifacts", "stats", "execution", "data", "regime", "workflows"),
    tables={
        "regimes": {
            "session": Column("session", "session after whose close the values were known"),
            "regime": Column("int", "canonical label 0 to 3; -1 = warm-up"),
        }
    },
    open_tables=("regimes",),
)
"""Filtered regimes only; smoothed ones are never stored."""

_PREDICTION_COLUMNS = {
    "date": Column("session", "decision session"),
    "asset_id": Column("str", "asset"),
    "score": Column("float", "rank score within the session, unitless"),
    "percentile": Column("float", "rank within the session, 0 to 1"),
    "z": Column("float", "standardised score within the session"),
    "is_long": Column("bool", "top share of the session"),
    "is_short": Column("bool", "bottom share of the session"),
    "expected_return_frac": Column("float", "expected label, fraction"),
    "lo": Column("float", "lower end of the interval, fraction"),
    "hi": Column("float", "upper end of the interval, fraction"),
    "confidence": Column("float", "calibrated probability that the sign is right"),
    "n_missing_features": Column("int", "features that were missing and stand at the median"),
}

OOS = BundleKind(
    name="oos_predictions",
    schema_version=1,
    packages=_TRAINED,
    tables={
        "oos": {
            **_PREDICTION_COLUMNS,
            "fold": Column("int", "fold that predicted it"),
            "is_holdout": Column("bool", "True in the final holdout"),
            "label": Column("float", "realised label, fraction; NaN = not known yet"),
        }
    },
    open_tables=("oos",),
)
"""Purged walk-forward predictions, the only ones a backtest reads by default."""

TRAINING_REPORT = BundleKind(
    name="training_report",
    schema_version=1,
    packages=_TRAINED,
    tables={
        "folds": {
            "fold": Column("int", "number"),
            "is_holdout": Column("bool", "True for the final holdout"),
            "train_first": Column("session", "first training session"),
            "train_last": Column("session", "last training session"),
            "test_first": Column("session", "first predicted session"),
            "test_last": Column("session", "last predicted session"),
        },
        "importance": {
            "fold": Column("int", "fold; 0 = final model"),
            "member": Column("str", "learner"),
            "feature": Column("str", "feature"),
            "mean_abs_contribution": Column("float", "mean |contribution| to the raw output"),
            "share": Column("float", "share of the member's total"),
        },
        "ic_by_date": {
            "session": Column("session", "decision session"),
            "ic": Column("float", "Pearson correlation with the label"),
            "rank_ic": Column("float", "rank correlation with the label"),
        },
        "ic_by_year": {
            "year": Column("int", "calendar year"),
            "ic": Column("float", "mean Pearson IC"),
            "rank_ic": Column("float", "mean rank IC"),
            "t_nw": Column("float", "Newey-West t of the mean rank IC"),
            "n": Column("int", "sessions"),
        },
        "ic_by_horizon": {
            "horizon": Column("int", "sessions"),
            "mean": Column("float", "mean rank IC"),
            "t_nw": Column("float", "Newey-West t"),
            "n": Column("int", "sessions"),
        },
        "quantile_returns": {
            "quantile": Column("int", "1 = lowest score"),
            "mean_fwd_return_bps": Column("float", "mean label, bps"),
            "std_error_bps": Column("float", "Newey-West standard error, bps"),
        },
        "quantile_cumulative": {"session": Column("session", "session")},
    },
    documents=("quality", "plan"),
    signed=True,
    open_tables=("folds", "quantile_cumulative"),
)
"""Evaluation of a trained model; signed."""

PREDICTIONS = BundleKind(
    name="predictions",
    schema_version=1,
    packages=_TRAINED,
    tables={
        "predictions": {
            **_PREDICTION_COLUMNS,
            "ticker": Column("str", "display symbol"),
            "regime": Column("int", "canonical label at the decision; -1 = unknown"),
            "regime_confidence": Column("float", "posterior of that label"),
            "model_version": Column("str", "model"),
        },
        "contributions": {
            "date": Column("session", "decision session"),
            "asset_id": Column("str", "asset"),
        },
    },
    documents=("facts",),
    open_tables=("predictions", "contributions"),
)
"""Predictions of one session for people and for portfolio construction."""

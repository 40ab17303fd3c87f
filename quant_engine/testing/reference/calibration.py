"""Reference cases of probabilities and intervals: scores, calibration, CRPS, conformal, curves."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.stats.calibration import (
    BrierParts,
    brier_decomposition,
    brier_score,
    expected_calibration_error,
    log_loss,
    multiclass_brier_score,
    multiclass_log_loss,
    reliability_table,
)
from quant_engine.stats.conformal import (
    ConformalClassifier,
    ConformalQuantiles,
    CoverageLaw,
    SplitConformal,
    adaptive_alpha,
    conformal_quantile,
    conformal_rank,
    coverage_law,
    fit_conformal_classifier,
    fit_conformal_quantiles,
    fit_split_conformal,
)
from quant_engine.stats.crps import crps_ensemble, crps_gaussian, ranked_probability_score
from quant_engine.stats.recalibration import fit_platt, pool_adjacent_violators
from quant_engine.stats.threshold_curve import ThresholdCurve, fit_threshold_curve
from quant_engine.testing.reference.adapters import Adapter, Give
from quant_engine.testing.reference.inputs import Inputs, array, each

TOPIC = "calibration_crps_shap_conformal"


# ---------------------------------------------------------------- probabilities


def _forecasts(inputs: Inputs) -> list[Any]:
    """Return one forecast series, or several to be scored one by one."""
    p = inputs["p"]
    return p if isinstance(p[0], list) else [p]


def _per_forecast(inputs: Inputs, function: Any) -> Any:
    values = [function(p) for p in _forecasts(inputs)]
    return values if isinstance(inputs["p"][0], list) else values[0]


def _parts(name: str) -> Give:
    def one(p: Any, inputs: Inputs) -> BrierParts:
        return brier_decomposition(p, inputs["o"], edges=inputs.get("edges"))

    return lambda inputs: _per_forecast(inputs, lambda p: getattr(one(p, inputs), name))


def _filled_bins(column: str) -> Give:
    def give(inputs: Inputs) -> Any:
        table = reliability_table(inputs["p"], inputs["o"], edges=inputs["edges"])
        return table.loc[table["n_obs"] > 0, column].to_numpy()

    return give


_BRIER: dict[str, Give] = {
    "brier": lambda inputs: _per_forecast(inputs, lambda p: brier_score(p, inputs["o"])),
    "reliability": _parts("reliability"),
    "resolution": _parts("resolution"),
    "uncertainty": _parts("uncertainty"),
    "within_bin_variance": _parts("within_bin_variance"),
    "within_bin_covariance": _parts("within_bin_covariance"),
    "brier_skill_score": _parts("skill_score"),
    "log_loss": lambda inputs: _per_forecast(inputs, lambda p: log_loss(p, inputs["o"])),
    "ece": lambda inputs: expected_calibration_error(
        inputs["p"], inputs["o"], edges=inputs.get("edges"), n_bins=inputs.get("n_bins", 10)
    ),
    "bin_mean_p": _filled_bins("mean_prob"),
    "bin_freq": _filled_bins("frequency"),
}

_PROBABILITY_ADAPTERS = (
    Adapter(TOPIC, "brier", frozenset({"p", "o"}), _BRIER),
    Adapter(
        TOPIC,
        "multiclass",
        frozenset({"p", "o"}),
        {
            "brier_original": lambda inputs: multiclass_brier_score(inputs["p"], inputs["o"]),
            "log_loss": lambda inputs: multiclass_log_loss(inputs["p"], inputs["o"]),
        },
    ),
    Adapter(
        TOPIC,
        "pava",
        frozenset({"y"}),
        {
            "fit": lambda inputs: pool_adjacent_violators(
                inputs["y"],
                weights=inputs.get("weights"),
                increasing=inputs.get("increasing", True),
            )
        },
    ),
    Adapter(
        TOPIC,
        "platt",
        frozenset({"score", "y"}),
        {
            "A": lambda inputs: fit_platt(inputs["score"], inputs["y"]).a,
            "B": lambda inputs: fit_platt(inputs["score"], inputs["y"]).b,
            "prob": lambda inputs: fit_platt(inputs["score"], inputs["y"]).apply(inputs["score"]),
        },
    ),
)


# ---------------------------------------------------------------- distributions


def _gaussian_crps(inputs: Inputs) -> Any:
    mean, std, outcome = (np.atleast_1d(array(inputs[name])) for name in ("mu", "sigma", "y"))
    return _like(inputs["y"], crps_gaussian(mean, std, outcome))


def _ensemble_crps(*, is_fair: bool) -> Give:
    def give(inputs: Inputs) -> Any:
        members = np.atleast_2d(array(inputs["ensemble"]))
        outcome = np.atleast_1d(array(inputs["y"]))
        rows = np.broadcast_to(members, (len(outcome), members.shape[1]))
        return _like(inputs["y"], crps_ensemble(rows, outcome, is_fair=is_fair))

    return give


def _rps(*, is_normalised: bool) -> Give:
    def give(inputs: Inputs) -> Any:
        prob, outcome = np.atleast_2d(array(inputs["p"])), np.atleast_1d(inputs["outcome"])
        score = ranked_probability_score(prob, outcome, is_normalised=is_normalised)
        return _like(inputs["outcome"], score)

    return give


def _like(given: Any, values: Any) -> Any:
    """Return a list where a list was given, else the single number."""
    return values if isinstance(given, list) else float(values[0])


def _curve(inputs: Inputs) -> ThresholdCurve:
    return fit_threshold_curve(
        inputs["strikes"],
        inputs["prob_above"],
        lower_edge=inputs["lower_edge"],
        upper_edge=inputs["upper_edge"],
        weights=inputs.get("weights"),
    )


_DISTRIBUTION_ADAPTERS = (
    Adapter(TOPIC, "crps_gaussian", frozenset({"mu", "sigma", "y"}), {"crps": _gaussian_crps}),
    Adapter(
        TOPIC,
        "crps_ensemble",
        frozenset({"ensemble", "y"}),
        {"crps": _ensemble_crps(is_fair=False), "crps_fair": _ensemble_crps(is_fair=True)},
    ),
    Adapter(
        TOPIC,
        "ranked_probability",
        frozenset({"p", "outcome"}),
        {"rps": _rps(is_normalised=False), "rps_normalised": _rps(is_normalised=True)},
    ),
    Adapter(
        TOPIC,
        "event_distribution",
        frozenset({"strikes", "prob_above", "lower_edge", "upper_edge"}),
        {
            "survival_repaired": lambda inputs: _curve(inputs).survival,
            "interval_mass": lambda inputs: _curve(inputs).mass,
            "mean": lambda inputs: _curve(inputs).mean(),
            "crps_linear_inside": lambda inputs: float(_curve(inputs).crps([inputs["outcome"]])[0]),
            "rps_at_strikes": lambda inputs: _curve(inputs).rps_at_strikes(inputs["outcome"]),
            "n_violations": lambda inputs: _curve(inputs).n_violations,
        },
    ),
)


# ---------------------------------------------------------------- conformal


def _coverage(inputs: Inputs) -> float:
    return 1.0 - float(inputs["alpha"])


def _law(function: Any) -> Give:
    def one(n: int, alpha: float) -> Any:
        law: CoverageLaw = coverage_law(n, coverage=1.0 - alpha)
        return function(law)

    return lambda inputs: each(one, inputs["n"], inputs["alpha"])


def _split(inputs: Inputs) -> SplitConformal:
    residual = array(inputs["y"]) - array(inputs["pred"])
    return fit_split_conformal(residual, coverage=_coverage(inputs))


def _inside(inputs: Inputs) -> float:
    low, high = _split(inputs).interval(inputs["pred"])
    outcome = array(inputs["y"])
    # The row that sets the quantile lies on its own bound, up to rounding.
    return float(np.mean((outcome >= low - 1e-12) & (outcome <= high + 1e-12)))


def _quantiles(inputs: Inputs) -> ConformalQuantiles:
    return fit_conformal_quantiles(
        inputs["lo"], inputs["hi"], inputs["y"], coverage=_coverage(inputs)
    )


def _bounds(pair: tuple[Any, Any]) -> list[float]:
    return [float(pair[0][0]), float(pair[1][0])]


def _classifier(inputs: Inputs) -> ConformalClassifier:
    return fit_conformal_classifier(inputs["prob"], inputs["y"], coverage=_coverage(inputs))


def _classes(inputs: Inputs) -> Any:
    return np.flatnonzero(_classifier(inputs).sets([inputs["test_prob"]])[0])


def _simulated_coverage(inputs: Inputs) -> float:
    n, coverage = inputs["n"], _coverage(inputs)
    draws = np.random.default_rng(0).standard_normal((inputs["trials"], n + 1))
    return float(
        np.mean([row[n] <= conformal_quantile(row[:n], coverage=coverage) for row in draws])
    )


_CONFORMAL_ADAPTERS = (
    Adapter(
        TOPIC,
        "split_conformal_rank",
        frozenset({"n", "alpha"}),
        {
            "k": _law(lambda law: law.rank),
            "infinite": _law(lambda law: law.is_infinite),
            "mean_coverage": _law(lambda law: law.mean),
            "coverage_5pct_quantile": _law(lambda law: law.quantile(0.05)),
        },
    ),
    Adapter(
        TOPIC,
        "split_conformal",
        frozenset({"y", "alpha"}),
        {
            "k": lambda inputs: conformal_rank(len(inputs["y"]), coverage=_coverage(inputs)),
            "q_abs": lambda inputs: _split(inputs).quantile,
            "interval_for_pred_0": lambda inputs: _bounds(_split(inputs).interval([0.0])),
            "q_cqr": lambda inputs: _quantiles(inputs).quantile,
            "cqr_interval_for_lo0_hi1": lambda inputs: _bounds(
                _quantiles(inputs).interval([0.0], [1.0])
            ),
            "empirical_coverage_abs_on_calibration": _inside,
        },
    ),
    Adapter(
        TOPIC,
        "conformal_classification",
        frozenset({"prob", "y", "alpha"}),
        {"q": lambda inputs: _classifier(inputs).quantile, "prediction_set": _classes},
    ),
    Adapter(
        TOPIC,
        "adaptive_conformal",
        frozenset({"err", "gamma", "alpha"}),
        {
            "alpha_path": lambda inputs: adaptive_alpha(
                inputs["err"], alpha=inputs["alpha"], gamma=inputs["gamma"]
            )
        },
    ),
    Adapter(
        TOPIC,
        "conformal_monte_carlo",
        frozenset({"n", "alpha", "trials"}),
        {"mean_coverage": _simulated_coverage},
    ),
)

ADAPTERS: tuple[Adapter, ...] = (
    *_PROBABILITY_ADAPTERS,
    *_DISTRIBUTION_ADAPTERS,
    *_CONFORMAL_ADAPTERS,
    *(
        Adapter(TOPIC, "", frozenset(needs), due="SHAP")
        for needs in (("table", "x"), ("tree", "X"), ("weights", "background", "X"))
    ),
)

"""What factor research leaves behind: tables about every factor, and the gain of a block."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_STUDIED = ("core", "artifacts", "stats", "execution", "data", "features", "workflows")
_FACTOR = Column("str", "name of the factor")
_HORIZON = Column("int", "label horizon, sessions")
_T = Column("float", "Newey-West t of the mean, lags 2 (horizon - 1); NaN = too few sessions")
_N = Column("int", "sessions")

FACTOR_REPORT = BundleKind(
    name="factor_report",
    schema_version=1,
    packages=_STUDIED,
    tables={
        "factors": {
            "factor": _FACTOR,
            "family": Column("str", "group of the factor"),
            "formula": Column("str", "formula, or the plug-in that computed it"),
            "unit": Column("str", "unit of the values"),
            "n_sessions": Column("int", "sessions with enough scored names"),
            "coverage": Column("float", "mean share of tradable members with a score, fraction"),
            "turnover": Column("float", "mean one-way turnover per session of the outer books"),
            "rank_autocorr": Column("float", "mean rank correlation with the session before"),
            "rank_autocorr_main": Column("float", "the same one main horizon earlier"),
            "half_life_sessions": Column(
                "float", "age at which the rank IC has halved; NaN = no IC, inf = beyond the delays"
            ),
        },
        "horizons": {
            "factor": _FACTOR,
            "horizon": _HORIZON,
            "ic": Column("float", "mean Pearson correlation with the label"),
            "rank_ic": Column("float", "mean rank correlation with the label"),
            "ic_std": Column("float", "standard deviation of the rank IC over sessions"),
            "icir": Column("float", "mean over standard deviation of the rank IC, per session"),
            "hit_share": Column("float", "share of sessions with a positive rank IC"),
            "t": _T,
            "p": Column("float", "two-sided p-value of that t"),
            "q_bh": Column("float", "Benjamini-Hochberg q over all tests of the report"),
            "q_by": Column("float", "Benjamini-Yekutieli q over all tests of the report"),
            "n": _N,
            "lags": Column("int", "Bartlett lags"),
            "spread_bps": Column("float", "mean label, highest minus lowest quantile, bps"),
            "spread_t": _T,
            "spread_p": Column("float", "two-sided p-value of that t"),
            "monotonicity": Column("float", "rank correlation of quantile and mean label"),
        },
        "by_date": {
            "factor": _FACTOR,
            "horizon": _HORIZON,
            "session": Column("session", "decision session"),
            "ic": Column("float", "Pearson correlation with the label"),
            "rank_ic": Column("float", "rank correlation with the label"),
            "spread": Column("float", "label of the highest minus the lowest quantile, fraction"),
        },
        "quantiles": {
            "factor": _FACTOR,
            "horizon": _HORIZON,
            "quantile": Column("int", "1 = lowest score"),
            "mean_fwd_return_bps": Column("float", "mean label, bps"),
            "std_error_bps": Column("float", "Newey-West standard error, bps"),
        },
        "decay": {
            "factor": _FACTOR,
            "delay": Column("int", "age of the score at the decision, sessions"),
            "rank_ic": Column("float", "mean rank IC at the main horizon"),
            "t": _T,
            "n": _N,
        },
        "groups": {
            "factor": _FACTOR,
            "by": Column("str", "sector or regime"),
            "group": Column("str", "its name"),
            "rank_ic": Column("float", "mean rank IC at the main horizon"),
            "t": _T,
            "n": _N,
        },
        "coverage": {
            "factor": _FACTOR,
            "session": Column("session", "decision session"),
            "share": Column("float", "share of tradable members with a score, fraction"),
        },
    },
    documents=("facts",),
)
"""One score at a time against later returns."""

FACTOR_GAIN = BundleKind(
    name="factor_gain",
    schema_version=1,
    packages=(*_STUDIED, "models"),
    tables={
        "by_date": {
            "session": Column("session", "decision session"),
            "fold": Column("int", "walk-forward fold"),
            "is_holdout": Column("bool", "True in the final holdout"),
            "rank_ic_first": Column("float", "rank IC of the baseline"),
            "rank_ic_second": Column("float", "rank IC of baseline and block"),
            "squared_error_first": Column("float", "mean squared error of the baseline"),
            "squared_error_second": Column("float", "mean squared error of baseline and block"),
            "distance": Column("float", "mean squared distance of the two expected returns"),
        },
        "tests": {
            "sample": Column("str", "development, holdout, or a calendar year of development"),
            "measure": Column("str", "rank_ic, squared_error or squared_error_adjusted"),
            "first": Column("float", "mean of the baseline"),
            "second": Column("float", "mean of baseline and block"),
            "gain": Column("float", "mean paired difference, positive = the block helps"),
            "t": Column("float", "Newey-West t, or Diebold-Mariano statistic; NaN = not tested"),
            "p": Column("float", "two-sided p-value"),
            "n": _N,
            "lags": Column("int", "Bartlett lags"),
        },
    },
    documents=("facts",),
)
"""Out-of-sample gain of a block of features over a baseline, paired by session."""

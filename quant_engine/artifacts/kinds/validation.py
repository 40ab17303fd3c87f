"""What the validation suite leaves behind: stresses, null baselines, refits, paths, slices."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_TESTED = (
    "core", "artifacts", "stats", "governance", "execution", "models", "backtest", "workflows",
)  # fmt: skip

_FIGURES = {
    "sharpe": Column("float", "net Sharpe ratio, annualised"),
    "annual_return": Column("float", "net, fraction"),
    "annual_vol": Column("float", "fraction"),
    "max_drawdown": Column("float", "fraction, at most 0"),
    "turnover_ann": Column("float", "traded value / 2 / equity a year"),
    "cost_total": Column("float", "currency"),
    "n_trades": Column("float", "closed trades"),
}

STRESS = BundleKind(
    name="stress_results",
    schema_version=1,
    packages=_TESTED,
    tables={
        "stress": {
            "kind": Column("str", "cost or delay"),
            "level": Column("float", "factor on every cost rate, or sessions of delay"),
            **_FIGURES,
        },
        "capacity": {
            "multiple": Column("float", "multiple of the tested capital"),
            "capital_usd": Column("float", "starting capital"),
            "sharpe": Column("float", "net Sharpe ratio by the cost model, annualised"),
            "annual_impact_frac": Column("float", "impact a year, fraction of equity"),
            "capped_value_frac": Column("float", "share of traded value beyond the cap"),
        },
    },
    documents=("capacity",),
)
"""The same book at other costs, with late entries, and with more capital."""

NULLS = BundleKind(
    name="null_baselines",
    schema_version=1,
    packages=_TESTED,
    tables={
        "draws": {
            "kind": Column("str", "shuffled, random_entry or always_long"),
            "draw": Column("int", "number of the draw"),
            **_FIGURES,
        }
    },
    documents=("facts",),
)
"""Books without an opinion, with all costs."""

REFITS = BundleKind(
    name="combinatorial_scores",
    schema_version=1,
    packages=_TESTED,
    tables={
        "scores": {
            "split": Column("int", "split of the combinatorial plan, from 1"),
            "date": Column("session", "decision session"),
            "asset_id": Column("str", "asset"),
            "score": Column("float", "blended score of the split's own refit"),
        }
    },
    documents=("plan",),
)
"""Scores of models that were fitted again on some splits of a combinatorial purged plan."""

REFIT_PATHS = BundleKind(
    name="combinatorial_paths",
    schema_version=1,
    packages=_TESTED,
    tables={
        "paths": {
            "path": Column("int", "number of the path, from 1"),
            "rank_ic": Column("float", "mean rank IC of the sessions"),
            **_FIGURES,
        }
    },
    documents=("facts",),
)
"""Backtests of the recombined paths."""

MONTE_CARLO = BundleKind(
    name="monte_carlo",
    schema_version=1,
    packages=_TESTED,
    tables={
        "bands": {
            "session": Column("session", "session"),
            "low": Column("float", "5 % quantile of wealth over the paths; 1 = the start"),
            "middle": Column("float", "median"),
            "high": Column("float", "95 % quantile"),
            "observed": Column("float", "wealth as it was"),
        },
        "quantiles": {
            "kind": Column("str", "paths (blocks of returns) or trades (their order)"),
            "level": Column("str", "quantile, or observed"),
            "terminal_wealth": Column("float", "wealth at the end; 1 = the start"),
            "max_drawdown": Column("float", "fraction, at most 0"),
            "lowest_wealth": Column("float", "smallest wealth on the way"),
            "sharpe": Column("float", "annualised (paths) or per trade (trades)"),
        },
    },
    documents=("facts",),
)
"""What else could have happened."""

EVALUATION = BundleKind(
    name="evaluation",
    schema_version=1,
    packages=_TESTED,
    tables={
        "slices": {
            "dimension": Column("str", "phase, regime, year or sector"),
            "slice": Column("str", "name"),
            "n_obs": Column("int", "sessions; trades for sectors"),
            "is_thin": Column("bool", "fewer than 20 observations"),
            "annual_return": Column("float", "net, fraction"),
            "annual_vol": Column("float", "fraction"),
            "sharpe": Column("float", "annualised"),
            "max_drawdown": Column("float", "fraction, at most 0"),
            "session_hit_rate": Column("float", "share of sessions with a gain"),
            "avg_gross_exposure": Column("float", "fraction of equity"),
            "avg_net_exposure": Column("float", "fraction of equity"),
            "n_trades": Column("int", "trades entered"),
            "pnl_net": Column("float", "currency"),
        },
        "rolling_ic": {
            "session": Column("session", "decision session"),
            "rank_ic": Column("float", "rank IC"),
            "rolling": Column("float", "mean of the last 60 measured sessions"),
        },
        "calibration": {
            "bin_low": Column("float", "lower edge of the confidence"),
            "bin_high": Column("float", "upper edge"),
            "n_obs": Column("int", "predictions"),
            "mean_prob": Column("float", "mean confidence"),
            "frequency": Column("float", "share with the right sign"),
        },
    },
    documents=("metrics", "regime_slices"),
)
"""Slices, decay, concentration and recovery of one backtest."""

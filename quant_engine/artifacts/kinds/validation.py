"""What the validation suite leaves behind: stresses, null baselines, refits, paths, slices."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_TESTED = (
    "core", "artifacts", "stats", "governance", "risk", "execution", "models", "backtest",
    "workflows",
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

PARITY = BundleKind(
    name="paper_parity",
    schema_version=1,
    packages=_TESTED,
    tables={
        "figures": {
            "figure": Column("str", "what is compared"),
            "backtest": Column("float", "in the unit of the figure"),
            "paper": Column("float", "the same of the paper account"),
            "deviation": Column("float", "relative to the backtest"),
            "is_within": Column("bool", "whether the deviation is within its limit"),
        }
    },
    documents=("facts",),
)
"""A paper account that followed the newest sessions of the backtest, beside it."""

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
    schema_version=2,
    packages=_TESTED,
    tables={
        "slices": {
            "dimension": Column("str", "phase, regime, year, sector or size"),
            "slice": Column("str", "name"),
            "n_obs": Column("int", "sessions; trades for sectors and sizes"),
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
        "calibration_slices": {
            "dimension": Column("str", "all, phase or regime"),
            "slice": Column("str", "name"),
            "n_obs": Column("int", "predictions"),
            "is_thin": Column("bool", "fewer than 20 predictions"),
            "mean_confidence": Column("float", "mean probability that the sign is right"),
            "frequency": Column("float", "share with the right sign"),
            "calibration_error": Column("float", "mean distance of the two over 10 bins"),
        },
        "disagreement": {
            "session": Column("session", "decision session"),
            "disagreement": Column("float", "1 minus mean rank correlation of the members"),
            "rolling": Column("float", "mean of the last 60 measured sessions"),
        },
        "tca": {
            "dimension": Column("str", "all, year, side, size or participation"),
            "slice": Column("str", "name"),
            "n_orders": Column("int", "orders without settlements"),
            "ordered_value": Column("float", "at decision prices, currency"),
            "traded_value": Column("float", "currency"),
            "fill_frac": Column("float", "filled over ordered value"),
            "delay": Column("float", "from decision to fill reference, currency"),
            "spread": Column("float", "currency"),
            "impact": Column("float", "currency"),
            "fees": Column("float", "currency"),
            "opportunity": Column("float", "gain missed on what did not fill, currency"),
            "shortfall": Column("float", "sum of the parts, currency"),
            "shortfall_bps": Column("float", "of the ordered value"),
        },
        "attribution": {
            "session": Column("session", "session"),
            "market": Column("float", "fraction of equity, as all parts"),
            "sector": Column("float", "sector effects"),
            "selection": Column("float", "names beyond their exposures"),
            "trading": Column("float", "trades within sessions, and what has no return"),
            "costs": Column("float", "net minus gross return"),
            "alpha": Column("float", "selection, trading and costs"),
            "ret_net": Column("float", "net return: market, sector, styles and alpha"),
            "n_assets": Column("int", "names in the regression"),
        },
        "attribution_totals": {
            "part": Column("str", "part, alpha or net"),
            "sum_frac": Column("float", "sum of session fractions"),
            "money": Column("float", "currency"),
            "total_frac": Column("float", "money over the starting capital"),
        },
    },
    documents=("metrics", "regime_slices"),
    open_tables=("attribution",),
)
"""Slices, decay, concentration, recovery, calibration, trading costs, attribution of a backtest."""

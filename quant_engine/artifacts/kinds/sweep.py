"""What a sweep of a strategy's settings leaves behind: variants, returns, walk-forward."""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

_SWEPT = (
    "core", "artifacts", "stats", "governance", "execution", "models", "backtest", "workflows",
)  # fmt: skip

_VARIANTS = {
    "variant": Column("int", "number in the order of the grid, from 0"),
    "spec_id": Column("str", "digest of the configuration"),
    "total_return": Column("float", "net, fraction"),
    "annual_return": Column("float", "net, fraction"),
    "annual_vol": Column("float", "fraction"),
    "sharpe": Column("float", "net Sharpe ratio, annualised; NaN = never varied"),
    "max_drawdown": Column("float", "fraction, at most 0"),
    "turnover_ann": Column("float", "traded value / 2 / equity a year"),
    "n_trades": Column("float", "positions closed or open at the end; of averages a mean"),
    "n_sessions": Column("float", "sessions; of averages a mean"),
}

SWEEP_PART = BundleKind(
    name="sweep_part",
    schema_version=1,
    packages=_SWEPT,
    tables={
        "variants": _VARIANTS,
        "returns": {"session": Column("session", "session")},
    },
    documents=("facts",),
    open_tables=("returns",),
)
"""Some variants of a sweep.

Column ``vN`` of ``returns`` is the net return of variant N per session less beta times the
benchmark's, as `backtest_result` has it in ``ret_hedged`` (the net return where no beta was known);
the table holds sessions alone where variants have no common book.
"""

SWEEP = BundleKind(
    name="sweep",
    schema_version=1,
    packages=_SWEPT,
    tables={
        "variants": {
            **_VARIANTS,
            "n_neighbours": Column("int", "variants one step away on one axis that have a value"),
            "neighbour_median": Column("float", "median of the compared statistic among them"),
            "neighbour_worst": Column("float", "lowest of them"),
            "kept_frac": Column("float", "median over the variant's own value"),
            "robustness": Column("str", "pass, warn or insufficient"),
        }
    },
    documents=("spec", "facts"),
    open_tables=("variants",),
)
"""Every variant with its settings on the grid, and what is said of the best one."""

SWEEP_WALK = BundleKind(
    name="sweep_walk_forward",
    schema_version=1,
    packages=_SWEPT,
    tables={
        "folds": {
            "fold": Column("int", "from 1"),
            "train_first": Column("session", "first session that decided the choice"),
            "train_last": Column("session", "last of them"),
            "test_first": Column("session", "first unseen session"),
            "test_last": Column("session", "last of them"),
            "n_train": Column("int", "train sessions"),
            "n_test": Column("int", "unseen sessions"),
            "chosen": Column("int", "variant that was best in sample; -1 = none had moved"),
            "train_mean": Column("float", "its mean net return per train session, fraction"),
            "train_ratio": Column("float", "its mean over standard deviation per train session"),
            "test_mean": Column("float", "the same mean out of sample"),
            "test_ratio": Column("float", "the same ratio out of sample"),
            "rank": Column("float", "its rank out of sample, 1 = best"),
            "n_ranked": Column("int", "variants with a rank"),
            "median_test_mean": Column("float", "mean out of sample of the median variant"),
        },
        "chained": {
            "session": Column("session", "unseen session"),
            "ret": Column("float", "net return of the choice, hedged for beta, fraction"),
            "fold": Column("int", "fold that held it"),
            "variant": Column("int", "variant that was held; -1 = none"),
        },
    },
    documents=("settings", "summary"),
)
"""The best variant so far, traded next: every choice, and the unseen sessions one after another."""

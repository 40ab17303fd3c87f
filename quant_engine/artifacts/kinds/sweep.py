"""What a sweep of a strategy's settings leaves behind: a table of variants, and their returns."""

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

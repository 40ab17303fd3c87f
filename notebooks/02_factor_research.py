# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Factor research
#
# The same steps that `run_factors.py` takes, one function each: factors as formulas, their information coefficients at several horizons with
# honest p-values, and whether a block of them adds anything out of sample. Nothing is written to disk.

# %%
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.trials import Trial
from quant_engine.data.loader import LoadRequest, load_market
from quant_engine.data.universe import total_returns
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.labels import LabelConfig, forward_labels
from quant_engine.regime.detector import RegimeConfig, detect_regimes
from quant_engine.reports.figures.factors import chance_figure, decay_figure
from quant_engine.stats.factor_study import FactorMarket, FactorStudyConfig, false_discovery, study_factor, study_table
from quant_engine.stats.factor_tables import half_life_sessions
from quant_engine.workflows.trials import session

catalog = SpecCatalog.default()
market = load_market(LoadRequest().completed(catalog, world="demo"))
panel = market.panel

# %% [markdown]
# ## Factors
#
# A formula is compiled once; the compiler says how many sessions it looks back. The last two are published characteristics of the simulated
# market, one of which moves returns.

# %%
formulas = {
    "reversal": "Ref($close, 5)/$close",
    "momentum": "Ref($close, 21)/Ref($close, 252)",
    "quiet": "-Std($close/Ref($close, 1), 60)",
    "char_01": "$char_01",
    "char_06": "$char_06",
}
program = compile_expressions(formulas)
scores = program.run(panel)
{name: program.lookback_of(name) for name in program.names}

# %% [markdown]
# ## What they are compared with
#
# Labels of each horizon start at the next open. Regimes are those known at the decision.

# %%
asked = FactorStudyConfig(horizons=(1, 5, 10, 20), main_horizon=10)
outcomes = {
    horizon: forward_labels(
        panel,
        LabelConfig(horizon_sessions=horizon, kinds=("excess",)),
        benchmark_returns=market.benchmark.open_returns,
        delistings=market.delistings,
    ).values.field(f"fwd_excess_{horizon}s")
    for horizon in asked.horizons
}
regimes = detect_regimes(
    market.benchmark.close_returns, total_returns(panel), RegimeConfig(), sessions=panel.time.values
)
sectors = panel.group("sector")
compared = FactorMarket(
    sessions=panel.time.values,
    outcomes=outcomes,
    allowed=panel.mask("member") & panel.mask("tradable"),
    regimes=regimes["regime"].to_numpy(),
    sectors=sectors.codes,
    sector_names=sectors.categories,
)

# %% [markdown]
# ## One study per factor
#
# Each factor at each horizon is a trial, and is counted where it is evaluated. The t-statistics allow for overlapping labels.

# %%
ledger = session()
studies = {}
for name, formula in formulas.items():
    for horizon in asked.horizons:
        _ = ledger.record(Trial(f"factor|demo|{horizon}s", formula, "demo", "whole history", "notebook"))
    studies[name] = study_factor(scores.field(name), compared, asked)
print("trials:", sum(family.n_trials for family in ledger.families()))

# %% [markdown]
# ## All tests together
#
# `q_bh` holds where tests are independent or positively dependent, `q_by` always. A p-value below .05 among twenty tests is no finding.

# %%
table = study_table(studies, "horizons")
table = table.assign(**false_discovery(table["p"]))
table.sort_values("p")[["factor", "horizon", "rank_ic", "t", "p", "q_bh", "q_by", "spread_bps", "monotonicity"]].head(8).round(4)

# %%
chance_figure(table["p"])

# %% [markdown]
# ## How fast a score grows old

# %%
strongest = table.sort_values("p")["factor"].iloc[0]
print(strongest, "half-life in sessions:", half_life_sessions(studies[strongest].decay))
decay_figure(studies[strongest].decay)

# %% [markdown]
# ## Where it holds

# %%
studies[strongest].groups.round(3)

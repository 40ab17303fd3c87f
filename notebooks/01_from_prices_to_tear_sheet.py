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
# # From prices to a tear sheet
#
# The same steps that `run_train.py` and `run_backtest.py` take, one function each. Nothing is written to disk: packages
# compute on values, and only workflows store artifacts.

# %%
from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.engine import Backtester
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.loader import LoadRequest, load_market
from quant_engine.data.universe import total_returns
from quant_engine.execution.costs import CostProfile
from quant_engine.features.labels import LabelConfig, forward_labels
from quant_engine.features.pipeline import compute_features
from quant_engine.features.sets import FeatureSet
from quant_engine.features.volatility import trailing_volatility
from quant_engine.models.config import ModelConfig
from quant_engine.models.inputs import FeatureSchema, ModelFeatures
from quant_engine.models.trainer import train
from quant_engine.regime.detector import RegimeConfig, detect_regimes
from quant_engine.reports.figures.performance import equity_figure
from quant_engine.stats.splits import WalkForwardConfig, picture, walk_forward

catalog = SpecCatalog.default()

# %% [markdown]
# ## Market
#
# `LoadRequest(source="local")` with `Places(bars=...)` reads a folder of price files instead. `notes` says what is absent.

# %%
market = load_market(LoadRequest().completed(catalog, world="demo"))
panel = market.panel
print(panel.shape, panel.time.index[0].date(), panel.time.index[-1].date())
print(*market.notes, sep="\n")
panel.to_long(["open", "close", "volume"]).tail(3)

# %% [markdown]
# ## Features and labels
#
# A label carries the span of prices it depends on. The excess over the benchmark runs over the same opens.

# %%
feature_set = catalog.load("features", "simulated_core", FeatureSet)
features = compute_features(panel, feature_set)
labels = forward_labels(
    panel,
    LabelConfig(horizon_sessions=10),
    benchmark_returns=market.benchmark.open_returns,
    delistings=market.delistings,
)
print(list(labels.values.fields), labels.span_start[100], labels.span_end[100])

# %% [markdown]
# ## Purged walk-forward
#
# No training label's span touches a test block. `H` is the holdout: it decides nothing.

# %%
folds = walk_forward(
    labels.values.time.values,
    labels.span_start,
    labels.span_end,
    config=WalkForwardConfig(min_train_sessions=504, test_sessions=252),
)
print(picture(folds))

# %%
schema = FeatureSchema(
    set_id=feature_set.set_id(),
    names=feature_set.names,
    causality=tuple(spec.causality.value for spec in feature_set.features),
)
inputs = ModelFeatures(features, schema, trailing_volatility(total_returns(panel)))
result = train(inputs, labels, target="fwd_excess_10s", folds=folds, config=ModelConfig())
print("promotable:", result.quality.promotable, *result.quality.reasons, sep="\n  ")
result.folds[["fold", "is_holdout", "blend_is_rank_ic", "blend_oos_rank_ic"]]

# %% [markdown]
# ## Backtest
#
# Decided after a close, filled at the next open, with fees, spread, impact and borrow.

# %%
regimes = detect_regimes(
    market.benchmark.close_returns, total_returns(panel), RegimeConfig(), sessions=panel.time.values
)
book = {"names_per_side": None, "fraction_per_side": 0.1, "rebalance": "staggered", "rebalance_sessions": 10}
backtest = Backtester(BacktestConfig(portfolio=book)).run(
    result.oos,
    panel,
    costs=catalog.load("costs", "base", CostProfile),
    delistings=market.delistings,
    regimes=regimes,
    benchmark_returns=market.benchmark.close_returns,
)
summary = backtest.summary
print(f"net Sharpe {summary['sharpe']:.2f} [{summary['sharpe_ci_low']:.2f}, {summary['sharpe_ci_high']:.2f}]")
backtest.monthly_returns.tail(3)

# %% [markdown]
# ## A figure of the tear sheet

# %%
equity_figure(backtest.daily)

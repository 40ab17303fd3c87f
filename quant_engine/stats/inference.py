"""The door to inference: tests of a mean, a Sharpe ratio, a comparison, and resampling.

Contract: names are re-exported from the modules that define them; nothing is defined here.

* means and regressions under serial correlation: :mod:`quant_engine.stats.hac`
* means and regressions of clustered observations: :mod:`quant_engine.stats.clustered`
* one Sharpe ratio: :mod:`quant_engine.stats.sharpe_inference`,
  :mod:`quant_engine.stats.sharpe_design`
* the best of many: :mod:`quant_engine.stats.deflation`, :mod:`quant_engine.stats.effective_trials`,
  :mod:`quant_engine.stats.haircut`
* selection among many: :mod:`quant_engine.stats.overfitting`, :mod:`quant_engine.stats.snooping`,
  :mod:`quant_engine.stats.max_t`, :mod:`quant_engine.stats.alpha_spending`
* one against another: :mod:`quant_engine.stats.comparison`
* resampling: :mod:`quant_engine.stats.bootstrap`, :mod:`quant_engine.stats.montecarlo`
"""

from __future__ import annotations

from quant_engine.stats.alpha_spending import AlphaSpending
from quant_engine.stats.bootstrap import (
    BlockLength,
    BootstrapResult,
    bootstrap_distribution,
    bootstrap_means,
    circular_indices,
    iid_indices,
    measured_block_length,
    moving_indices,
    optimal_block_length,
    stationary_from_draws,
    stationary_indices,
)
from quant_engine.stats.clustered import (
    CellMeans,
    ClusterMeanTest,
    ClusterRegressionTest,
    cluster_codes,
    cluster_mean,
    cluster_regression,
    clustered_cell_means,
)
from quant_engine.stats.comparison import (
    DieboldMariano,
    PairedBootstrap,
    SharpeDifference,
    diebold_mariano,
    mean_difference,
    paired_bootstrap,
    sharpe_difference,
)
from quant_engine.stats.deflation import (
    DeflatedSharpe,
    MinBacktestLength,
    deflated_sharpe,
    expected_max_normal,
    expected_max_sharpe,
    min_backtest_length,
    sd_of_max_normal,
    trial_variance,
)
from quant_engine.stats.effective_trials import (
    EffectiveTrials,
    correlation_clusters,
    eigenvalue_participation,
)
from quant_engine.stats.hac import (
    MeanTest,
    RegressionTest,
    automatic_lags,
    known_mean,
    long_run_variance,
    newey_west_lags,
    newey_west_mean,
    newey_west_or_nan,
    newey_west_regression,
    student_p_value,
)
from quant_engine.stats.haircut import (
    Haircut,
    HaircutSharpe,
    ProfitHurdle,
    StrategyModel,
    haircut_sharpe,
    profit_hurdle,
    simulate_t_values,
)
from quant_engine.stats.max_t import MaxTResult, max_t
from quant_engine.stats.montecarlo import (
    PathDistribution,
    resample_paths,
    shuffle_trades,
)
from quant_engine.stats.overfitting import OverfittingResult, pbo_cscv
from quant_engine.stats.sharpe_design import (
    SharpeTestDesign,
    fdr_critical_sharpe,
    observed_fdr,
    positive_fdr,
    sharpe_power,
)
from quant_engine.stats.sharpe_inference import (
    NORMAL_SHAPE,
    MinTrackRecord,
    ProbabilisticSharpe,
    ReturnShape,
    SharpeSample,
    min_track_record,
    per_period,
    probabilistic_sharpe,
    sharpe_sample,
    sharpe_std_error,
)
from quant_engine.stats.snooping import (
    SnoopingConfig,
    reality_check,
    romano_wolf,
    spa_test,
    step_m,
)

__all__ = [
    "NORMAL_SHAPE",
    "AlphaSpending",
    "BlockLength",
    "BootstrapResult",
    "CellMeans",
    "ClusterMeanTest",
    "ClusterRegressionTest",
    "DeflatedSharpe",
    "DieboldMariano",
    "EffectiveTrials",
    "Haircut",
    "HaircutSharpe",
    "MaxTResult",
    "MeanTest",
    "MinBacktestLength",
    "MinTrackRecord",
    "OverfittingResult",
    "PairedBootstrap",
    "PathDistribution",
    "ProbabilisticSharpe",
    "ProfitHurdle",
    "RegressionTest",
    "ReturnShape",
    "SharpeDifference",
    "SharpeSample",
    "SharpeTestDesign",
    "SnoopingConfig",
    "StrategyModel",
    "automatic_lags",
    "bootstrap_distribution",
    "bootstrap_means",
    "circular_indices",
    "cluster_codes",
    "cluster_mean",
    "cluster_regression",
    "clustered_cell_means",
    "correlation_clusters",
    "deflated_sharpe",
    "diebold_mariano",
    "eigenvalue_participation",
    "expected_max_normal",
    "expected_max_sharpe",
    "fdr_critical_sharpe",
    "haircut_sharpe",
    "iid_indices",
    "known_mean",
    "long_run_variance",
    "max_t",
    "mean_difference",
    "measured_block_length",
    "min_backtest_length",
    "min_track_record",
    "moving_indices",
    "newey_west_lags",
    "newey_west_mean",
    "newey_west_or_nan",
    "newey_west_regression",
    "observed_fdr",
    "optimal_block_length",
    "paired_bootstrap",
    "pbo_cscv",
    "per_period",
    "positive_fdr",
    "probabilistic_sharpe",
    "profit_hurdle",
    "reality_check",
    "resample_paths",
    "romano_wolf",
    "sd_of_max_normal",
    "sharpe_difference",
    "sharpe_power",
    "sharpe_sample",
    "sharpe_std_error",
    "shuffle_trades",
    "simulate_t_values",
    "spa_test",
    "stationary_from_draws",
    "stationary_indices",
    "step_m",
    "student_p_value",
    "trial_variance",
]

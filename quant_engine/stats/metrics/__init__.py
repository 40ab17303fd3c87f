"""Return and risk metrics: one formula per name, its convention named in the result.

Contract: returns are simple returns per period (fractions); NaN = the period was not observed and
is left out; infinity is refused. ``periods_per_year`` is always an argument, because the number
of periods in a year is a fact about the series and not about the metric.

1. Sharpe ratios (`sharpe_ratio`) and their errors (`sharpe_error`).
2. `moments`, `growth`, `ratios`, `relative` (to a benchmark), `outcomes` (of trades).
3. `drawdowns`, `tails` (value at risk, expected shortfall), `var_tests` (was it right?).
4. `shares`: concentration and turnover.
5. `performance_summary` puts the usual ones into one result.

Metrics of forecasts are beside this package: `quant_engine.stats.ic` (scores against returns),
`quant_engine.stats.calibration` (probabilities) and `quant_engine.stats.crps` (distributions).
"""

from quant_engine.stats.metrics.drawdowns import (
    DrawdownSpell,
    cdar,
    drawdown_series,
    drawdown_spells,
    max_drawdown,
    pain_index,
    ulcer_index,
)
from quant_engine.stats.metrics.growth import (
    annual_return,
    annual_vol,
    cumulative_return,
    stability,
)
from quant_engine.stats.metrics.moments import Moments, moments, standard_deviation
from quant_engine.stats.metrics.outcomes import (
    expectancy,
    hit_rate,
    payoff_ratio,
    profit_factor,
)
from quant_engine.stats.metrics.ratios import calmar, omega, sortino, tail_ratio
from quant_engine.stats.metrics.relative import (
    BenchmarkLine,
    alpha_beta,
    information_ratio,
    tracking_error,
)
from quant_engine.stats.metrics.shares import (
    Concentration,
    concentration,
    effective_number,
    herfindahl,
    return_concentration,
    turnover,
)
from quant_engine.stats.metrics.sharpe_error import (
    IntervalMethod,
    SharpeInterval,
    SharpeIntervalConfig,
    lo_annualisation,
    sharpe_interval,
)
from quant_engine.stats.metrics.sharpe_ratio import (
    DIAGNOSTIC_METHODS,
    SHARPE_PERIODS_PER_YEAR,
    DailyReturns,
    SharpeResult,
    daily_returns,
    daily_sharpe,
    sharpe,
    sharpe_step_raw,
)
from quant_engine.stats.metrics.summary import Performance, performance_summary
from quant_engine.stats.metrics.tails import (
    TailMethod,
    TailRisk,
    cornish_fisher_tail,
    cornish_fisher_z,
    expected_shortfall_of,
    gaussian_tail,
    student_t_tail,
    var_es,
)
from quant_engine.stats.metrics.var_tests import (
    CoverageTest,
    christoffersen_conditional_test,
    christoffersen_test,
    kupiec_test,
)

__all__ = [
    "DIAGNOSTIC_METHODS",
    "SHARPE_PERIODS_PER_YEAR",
    "BenchmarkLine",
    "Concentration",
    "CoverageTest",
    "DailyReturns",
    "DrawdownSpell",
    "IntervalMethod",
    "Moments",
    "Performance",
    "SharpeInterval",
    "SharpeIntervalConfig",
    "SharpeResult",
    "TailMethod",
    "TailRisk",
    "alpha_beta",
    "annual_return",
    "annual_vol",
    "calmar",
    "cdar",
    "christoffersen_conditional_test",
    "christoffersen_test",
    "concentration",
    "cornish_fisher_tail",
    "cornish_fisher_z",
    "cumulative_return",
    "daily_returns",
    "daily_sharpe",
    "drawdown_series",
    "drawdown_spells",
    "effective_number",
    "expectancy",
    "expected_shortfall_of",
    "gaussian_tail",
    "herfindahl",
    "hit_rate",
    "information_ratio",
    "kupiec_test",
    "lo_annualisation",
    "max_drawdown",
    "moments",
    "omega",
    "pain_index",
    "payoff_ratio",
    "performance_summary",
    "profit_factor",
    "return_concentration",
    "sharpe",
    "sharpe_interval",
    "sharpe_step_raw",
    "sortino",
    "stability",
    "standard_deviation",
    "student_t_tail",
    "tail_ratio",
    "tracking_error",
    "turnover",
    "ulcer_index",
    "var_es",
]

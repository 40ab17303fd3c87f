"""Reference cases of technical indicators: every expected value is one formula."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant_engine.core.arrays import FloatVector
from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.testing.reference.adapters import Adapter, Give
from quant_engine.testing.reference.inputs import Inputs, array

TOPIC = "indicators_factors_ic"
BAR = ("open", "high", "low", "close", "volume")
EWM_SEED = "averages begin with a plain mean, as TA-Lib's; pandas begins with the first value"

POPULATION_20 = "0.9746794344808963*Std($close, 20)"
"""Standard deviation with divisor n, as Bollinger's bands have it: sqrt(19/20) of the other."""

OWN_SEEDS = "SeededEMA($close, 12) - SeededEMA($close, 26)"

FORMULAS = {
    "rsi14": "RSI($close, 14)",
    "atr14": "ATR($high, $low, $close, 14)",
    "mfi14": "MFI($high, $low, $close, $volume, 14)",
    "obv": "OBV($close, $volume)",
    "macd_talib": "MACD($close, 12, 26, 9)",
    "macd_signal_talib": "MACDSignal($close, 12, 26, 9)",
    "macd_sma_seed": OWN_SEEDS,
    "macd_signal_sma_seed": f"SeededEMA({OWN_SEEDS}, 9)",
    "bb_upper20_2_pop": f"Mean($close, 20) + 2*{POPULATION_20}",
    "adx14": "ADX($high, $low, $close, 14)",
    "cci20": "CCI($high, $low, $close, 20)",
    "roc10_pct": "100*($close/Ref($close, 10) - 1)",
    "willr14": "WilliamsR($high, $low, $close, 14)",
    "sma10": "Mean($close, 10)",
    "ema10_sma_seed": "SeededEMA($close, 10)",
    "stdev20_pop": POPULATION_20,
}
"""Formula of every expected value of a whole bar history."""


def _run(formula: str, fields: dict[str, FloatVector]) -> FloatVector:
    n_rows = len(fields["close"])
    days = np.datetime64("2020-01-01") + np.arange(n_rows)
    columns = {name: values.reshape(n_rows, 1) for name, values in fields.items()}
    panel = Panel(TimeAxis.sessions(days), ("A@US#1",), columns)
    result = compile_expressions({"value": formula}).run(panel, dtype=np.float64, allow_short=True)
    values: FloatVector = result.field("value")[:, 0].astype(np.float64)
    return values


def _of_bars(formula: str) -> Give:
    return lambda inputs: _run(formula, {name: array(inputs[name]) for name in BAR})


def _rsi(inputs: Inputs) -> FloatVector:
    return _run(f"RSI($close, {inputs['period']})", {"close": array(inputs["close"])})


def _talib_rsi(inputs: Inputs) -> FloatVector:
    # Ours is 50 where nothing moved; TA-Lib's 0 is a formula of it.
    period = inputs["period"]
    moved = f"Wilder(Abs(Delta($close, 1)), {period}) > 0"
    formula = f"If({moved}, RSI($close, {period}), 0)"
    return _run(formula, {"close": array(inputs["close"])})


def _last_mfi(inputs: Inputs) -> Any:
    fields = {name: array(inputs[name]) for name in ("high", "low", "close")}
    fields["volume"] = np.full_like(fields["close"], inputs["volume_scale"])
    return _run(f"MFI($high, $low, $close, $volume, {inputs['period']})", fields)[-1]


ADAPTERS: tuple[Adapter, ...] = (
    Adapter(TOPIC, "rsi", frozenset({"close", "period"}), {"rsi": _rsi}),
    Adapter(
        TOPIC,
        "indicators_",
        frozenset(BAR),
        {name: _of_bars(formula) for name, formula in FORMULAS.items()},
        others={"macd_ewm": EWM_SEED, "macd_signal_ewm": EWM_SEED},
    ),
    Adapter(
        TOPIC,
        "trap_rsi",
        frozenset({"close", "period"}),
        {
            "recommended": lambda inputs: _rsi(inputs)[-1],
            "talib": lambda inputs: _talib_rsi(inputs)[-1],
        },
    ),
    Adapter(
        TOPIC,
        "trap_mfi",
        frozenset({"high", "low", "close", "volume_scale"}),
        {"correct_last": _last_mfi, "talib_small_volume_last": _last_mfi},
    ),
)
"""Every adapter, in one tuple."""

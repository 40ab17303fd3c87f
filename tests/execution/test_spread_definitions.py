"""A spread means one thing: the estimators of the cost model are those of the shipped features."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.indicators import catalogue
from quant_engine.stats.spread_estimates import abdi_ranaldo_spread, corwin_schultz_spread

pytestmark = pytest.mark.feature("Q-35")

assert catalogue.memory

ABDI_RANALDO = (
    "2*Sqrt(Greater(Mean((Log(Ref($close, 1)) - Ref(0.5*Log($high*$low), 1))"
    "*(Log(Ref($close, 1)) - 0.5*Log($high*$low)), 20), 0))"
)


def test_both_estimators_equal_the_features():
    rng = np.random.default_rng(0)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (90, 5)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.02, close.shape))
    high, low = np.maximum(open_, close) * 1.005, np.minimum(open_, close) * 0.996
    for values in (close, high, low):
        values[40, 1] = np.nan
    axis = TimeAxis.sessions(pd.bdate_range("2021-03-01", periods=90).to_numpy())
    names = tuple(f"{letter}@US#1" for letter in "ABCDE")
    panel = Panel(axis, names, {"open": open_, "high": high, "low": low, "close": close})
    program = compile_expressions({
        "abdi_ranaldo": ABDI_RANALDO,
        "corwin_schultz": "CorwinSchultz($high, $low, $close, 20)",
    })  # fmt: skip
    found = program.run(panel)
    for name, estimate in (
        ("abdi_ranaldo", abdi_ranaldo_spread),
        ("corwin_schultz", corwin_schultz_spread),
    ):
        got = estimate(high, low, close, window_sessions=20)
        # Features are stored in single precision.
        assert got == pytest.approx(found.field(name), rel=1e-5, abs=1e-6, nan_ok=True)
        assert np.isfinite(got).mean() > 0.6

"""The shipped set Alpha158 against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import FeatureSet, compute_features
from quant_engine.testing.lookahead import assert_prefix_invariant

pytestmark = [pytest.mark.feature("Q-19"), pytest.mark.feature("Q-20")]


def shipped(name):
    return SpecCatalog.default().load("features", name, FeatureSet)


@pytest.fixture(scope="module")
def market(panel_factory):
    panel = panel_factory(360, 4, seed=2)
    typical = (panel.field("high") + panel.field("low") + panel.field("close")) / 3.0
    return panel.with_fields({"vwap": typical})


def rolled(part):
    def fit(frame, w):
        time = np.arange(w) - (w - 1) / 2
        mean = frame.rolling(w).mean()
        slope = frame.rolling(w).apply(lambda v: time @ v, raw=True) / (time @ time)
        if part == "residual":
            return frame - mean - slope * time[-1]
        return slope if part == "slope" else slope**2 * (time @ time) / (
            frame.rolling(w).var() * (w - 1)
        )  # fmt: skip

    return fit


def place(function):
    return lambda frame, w: frame.rolling(w).apply(function, raw=True) + 1


# What the names mean, in pandas; Python itself reads the formulas.
PANDAS = {
    "Ref": lambda x, n: x.shift(n),
    "Mean": lambda x, n: x.astype(float).rolling(n).mean(),
    "Sum": lambda x, n: x.rolling(n).sum(),
    "Std": lambda x, n: x.rolling(n).std(),
    "Max": lambda x, n: x.rolling(n).max(),
    "Min": lambda x, n: x.rolling(n).min(),
    "Quantile": lambda x, n, q: x.rolling(n).quantile(q),
    "Rank": lambda x, n: x.rolling(n).rank(pct=True),
    "IdxMax": place(np.argmax),
    "IdxMin": place(np.argmin),
    "Slope": rolled("slope"),
    "Rsquare": rolled("rsquare"),
    "Resi": rolled("residual"),
    "Corr": lambda x, y, n: x.rolling(n).corr(y),
    "Greater": np.maximum,
    "Less": np.minimum,
    "Abs": np.abs,
    "Log": np.log,
}


def test_alpha158_equals_pandas(market):
    loaded = shipped("alpha158")
    assert len(loaded.features) == 158
    frames = {f"f_{name}": pd.DataFrame(market.field(name)) for name in market.fields}
    program = compile_expressions({s.name: s.expression for s in loaded.features})
    got = program.run(market, dtype=np.float64)
    in_set = compute_features(market, loaded)
    for spec in loaded.features:
        text = spec.expression.replace("$", "f_")
        want = eval(text, {"__builtins__": {}}, {**PANDAS, **frames}).to_numpy(dtype=float)
        n = spec.lookback_sessions
        values = got.field(spec.name)
        assert np.isnan(values[: n - 1]).all(), spec.name
        np.testing.assert_allclose(
            values[n - 1 :], want[n - 1 :], rtol=1e-9, atol=1e-11, err_msg=spec.name
        )
        np.testing.assert_array_equal(in_set.field(spec.name), values.astype(np.float32))


@pytest.mark.leakage
def test_shipped_formulas_see_no_future(market):
    loaded = shipped("alpha158")
    report = assert_prefix_invariant(
        lambda panel: compute_features(panel, loaded), market, cuts=[320, 350], seed=1
    )
    assert set(loaded.names) <= set(report.fields)

"""Shipped sets of formulas: Alpha158 against pandas, Alpha101 against exact numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, MissingFieldError
from quant_engine.core.specs import SpecCatalog
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import (
    FeatureSet,
    FeatureSpec,
    check_feature_set,
    compute_features,
    required_fields,
)
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


def test_alpha158_agrees_with_the_hand_written_kinds(market):
    ours, theirs = shipped("alpha158"), shipped("price_volume_v1")
    shared = sorted(set(ours.names) & set(theirs.names))
    assert len(shared) == 157
    a, b = compute_features(market, ours), compute_features(market, theirs)
    for name in shared:
        np.testing.assert_allclose(a.field(name), b.field(name), rtol=2e-5, atol=2e-6, err_msg=name)


@pytest.mark.leakage
@pytest.mark.parametrize("name", ["alpha158", "alpha101"])
def test_shipped_formulas_see_no_future(market, name):
    loaded = shipped(name)
    report = assert_prefix_invariant(
        lambda panel: compute_features(panel, loaded), market, cuts=[320, 350], seed=1
    )
    assert set(loaded.names) <= set(report.fields)


def test_every_alpha101_gives_numbers(panel_factory):
    panel = panel_factory(330, 12, seed=4)
    everybody = np.ones(panel.shape, bool)
    panel = panel.with_fields({"vwap": panel.field("close") * 1.001}).with_masks(
        {"member": everybody}
    )
    got = compute_features(panel, shipped("alpha101"))
    assert len(got.fields) == 46
    for name, values in got.fields.items():
        assert np.isfinite(values[-20:]).any(), name


def spec(**changes):
    content = {
        "name": "MA5",
        "kind": "expression",
        "expression": "Mean($close, 5)/$close",
        "lookback_sessions": 5,
        "causality": "CAUSAL",
        "unit": "ratio",
        "family": "trend",
        "source": "test",
    }
    return FeatureSpec(**{**content, **changes})


def feature_set(*specs):
    return FeatureSet(name="mine", version="1", features=specs)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lookback_sessions": 4}, "lookback_sessions: wanted 5"),
        ({"window": 5}, r"window: wanted 0 \(no window\)"),
        ({"expression": "Meen($close, 5)"}, "Did you mean 'Mean'"),
        ({"expression": "Ref($close, -4)"}, "look into the future"),
    ],
)
def test_a_set_cannot_claim_what_its_formula_does_not_promise(changes, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        check_feature_set(feature_set(spec(**changes)))


def test_formula_and_kind_go_together():
    for changes in ({"expression": ""}, {"kind": "ma", "window": 5}):
        with pytest.raises(ValidationError, match="a formula goes with the kind"):
            spec(**changes)


def test_one_formula_has_one_name():
    twice = feature_set(spec(), spec(name="SAME", expression="Mean( $close,5 ) / $close"))
    with pytest.raises(ConfigError, match="repetition of 'MA5'"):
        check_feature_set(twice)


def test_formulas_and_kinds_mix_in_set_order(market):
    kind = spec(name="STD5", kind="std", window=5, expression="")
    mixed = feature_set(spec(), kind, spec(name="UP", expression="$close>$open",
                                           lookback_sessions=1))  # fmt: skip
    got = compute_features(market, mixed)
    assert tuple(got.fields) == ("MA5", "STD5", "UP")
    alone = compute_features(market, feature_set(kind))
    assert got.field("STD5").tobytes() == alone.field("STD5").tobytes()
    assert required_fields(mixed) == ("close", "open")
    with pytest.raises(MissingFieldError, match=r"'mine'.*vwap \(for V\)"):
        compute_features(
            market.only_fields(["close"]),
            feature_set(spec(name="V", expression="$vwap", lookback_sessions=1)),
        )


def test_the_id_of_a_set_without_formulas_does_not_know_of_them():
    plain = spec(kind="ma", window=5, expression="")
    assert "expression" not in plain.content()
    assert spec().content()["expression"] == "Mean($close, 5)/$close"

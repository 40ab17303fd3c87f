"""Factor pipeline: registry, order, circles, winsorise -> z -> neutralise, conformance."""

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, MissingFieldError
from quant_engine.core.panel import Panel
from quant_engine.core.registry import PluginMetadata, Registry
from quant_engine.core.specs import SpecCatalog, parse_spec
from quant_engine.features.factors import base
from quant_engine.features.factors.base import (
    FACTORS,
    FactorBase,
    FactorInputs,
    FactorSpec,
    build_factor,
    discover_factors,
    factor_table,
    register_factor,
)
from quant_engine.features.factors.pipeline import (
    FactorPipelineSpec,
    NeutraliseSpec,
    compute_factors,
    neutralise_panel,
)
from quant_engine.features.factors.plan import factor_needs, plan_factors, run_factors
from quant_engine.testing import check_registry
from quant_engine.testing.factors import check_factor

pytestmark = [pytest.mark.feature("D-04"), pytest.mark.feature("D-01")]

SMALL = {"window_sessions": 20}


@pytest.fixture
def own_factors(monkeypatch):
    """The shipped factors and room for more, gone after the test."""
    mine: Registry[type[FactorBase]] = Registry("factor")
    for name in FACTORS.names():
        mine.register(name, metadata=FACTORS.metadata(name))(FACTORS.get(name))
    monkeypatch.setattr(base, "FACTORS", mine)
    return mine


def add(name: str, *requires: str) -> None:
    class Made(FactorBase):
        metadata = PluginMetadata(summary=f"Close times two, called {name}.")

        @property
        def requires(self):
            return tuple(FactorSpec(name=other) for other in requires)

        def compute(self, inputs):
            return inputs.panel.field("close") * 2.0

    register_factor(name)(Made)


class TestPlugIns:
    def test_registry(self):
        built = check_registry(FACTORS, build=lambda factor, params: factor(params))
        assert {"vsm[0]", "bab[0]", "qmj[0]", "momentum[0]", "pead[0]", "ivol[1]"} <= set(built)

    def test_table(self):
        table = dict(factor_table())
        assert set(table) == set(FACTORS.names())
        assert all(item.summary and item.source for item in table.values())

    def test_unknown_factor_names_the_nearest(self):
        with pytest.raises(ConfigError, match="momentum"):
            build_factor(FactorSpec(name="momentun"))

    def test_taken_name(self, own_factors):
        with pytest.raises(ConfigError, match="never overwritten"):
            add("vsm")

    def test_an_own_factor(self, own_factors, market):
        add("doubled")
        spec = FactorPipelineSpec(name="own", factors=(FactorSpec(name="doubled"),))
        scores = compute_factors(FactorInputs(market), spec)
        assert scores.field("doubled").shape == market.shape

    def test_entry_points(self, own_factors, monkeypatch):
        class Point:
            name = "late"

            def load(self):
                add("late")

        monkeypatch.setattr(
            "quant_engine.core.registry.entry_points",
            lambda group: [Point()] if group == "quant_engine.factors" else [],
        )
        assert discover_factors() == ("late",)

    def test_circles_are_shown(self, own_factors):
        add("one", "two")
        add("two", "three")
        add("three", "one")
        add("self_made", "self_made")
        with pytest.raises(ConfigError, match="one -> two -> three -> one"):
            plan_factors([FactorSpec(name="one")])
        with pytest.raises(ConfigError, match="self_made -> self_made"):
            plan_factors([FactorSpec(name="self_made")])

    def test_shared_requirements_are_computed_once(self, own_factors, market):
        calls = []

        class Counted(FactorBase):
            metadata = PluginMetadata(summary="Counts its runs.")

            def compute(self, inputs):
                calls.append(1)
                return inputs.panel.field("close")

        register_factor("counted")(Counted)
        add("left", "counted")
        add("right", "counted")
        order = plan_factors([FactorSpec(name="left"), FactorSpec(name="right")])
        assert [spec.name for spec in order] == ["counted", "left", "right"]
        run_factors(FactorInputs(market), order)
        assert len(calls) == 1

    def test_a_factor_that_was_not_required_is_not_there(self, market):
        with pytest.raises(ConfigError, match="requires"):
            FactorInputs(market).factor(FactorSpec(name="beta"))


def pandas_scores(raw: np.ndarray, panel: Panel, *, lower=0.01, upper=0.01) -> pd.DataFrame:
    values = pd.DataFrame(raw).where(panel.mask("member"))
    low, high = values.quantile(lower, axis=1), values.quantile(1 - upper, axis=1)
    pulled = values.clip(low, high, axis=0)
    return pulled.sub(pulled.mean(axis=1), axis=0).div(pulled.std(axis=1), axis=0)


class TestTreatment:
    SPECS = (
        FactorSpec(name="vsm", params={"lookback_sessions": 60, "vol_sessions": 20}),
        FactorSpec(name="volatility", params=SMALL, column="vol"),
        FactorSpec(name="levy_rsl", enabled=False),
    )

    def compute(self, market, **content):
        spec = FactorPipelineSpec(name="x", factors=self.SPECS, **content)
        return compute_factors(FactorInputs(market), spec)

    def raw(self, market, number):
        return run_factors(FactorInputs(market), self.SPECS).factor(self.SPECS[number])

    def test_winsorised_z_scores(self, market):
        scores = self.compute(market, lower_tail_frac=0.1, upper_tail_frac=0.02)
        assert list(scores.fields) == ["vsm", "vol"]
        for number, name in enumerate(scores.fields):
            want = pandas_scores(self.raw(market, number), market, lower=0.1, upper=0.02)
            np.testing.assert_allclose(scores.field(name), want, atol=1e-10)

    def test_sector_neutral(self, market):
        neutral = NeutraliseSpec(method="group_mean", group="sector")
        scores = self.compute(market, neutralise=neutral).field("vsm")
        z = pandas_scores(self.raw(market, 0), market)
        codes = pd.DataFrame(market.group("sector").codes)
        for row in (100, 329):
            known = codes.iloc[row] >= 0
            mean = z.iloc[row].groupby(codes.iloc[row]).transform("mean")
            want = (z.iloc[row] - mean).where(known)
            np.testing.assert_allclose(scores[row], want, atol=1e-10)

    def test_regression_on_sector_and_slope(self, market):
        beta = FactorSpec(name="beta", params=SMALL)
        neutral = NeutraliseSpec(method="regression", group="sector", exposures=(beta,))
        scores = self.compute(market, neutralise=neutral).field("vol")
        z = pandas_scores(self.raw(market, 1), market).to_numpy()
        slope = run_factors(FactorInputs(market), [beta]).factor(beta)
        exposure = pandas_scores(slope, market).to_numpy()
        codes = market.group("sector").codes
        compared = 0
        for row in range(50, 330, 40):
            keep = np.isfinite(z[row]) & np.isfinite(exposure[row]) & (codes[row] >= 0)
            dummies = codes[row, keep][:, None] == np.unique(codes[row, keep])
            x = np.column_stack([dummies.astype(float), exposure[row, keep]])
            if keep.sum() <= x.shape[1]:
                assert np.isnan(scores[row]).all()
                continue
            hat = x @ np.linalg.pinv(x)
            want = np.full(keep.shape, np.nan)
            want[keep] = z[row, keep] - hat @ z[row, keep]
            np.testing.assert_allclose(scores[row], want, atol=1e-10)
            compared += 1
        assert compared > 4

    def test_half_neutral(self, market):
        full, half, none = (
            self.compute(
                market,
                neutralise={"method": "group_mean", "group": "sector", "proportion": share},
            ).field("vol")
            for share in (1.0, 0.5, 0.0)
        )
        np.testing.assert_allclose(half, (full + none) / 2, atol=1e-12)

    def test_a_group_that_is_not_there(self, market):
        bare = Panel(market.time, market.asset_ids, market.fields, market.masks)
        neutral = NeutraliseSpec(method="group_mean", group="sector")
        with pytest.raises(MissingFieldError, match="sector"):
            self.compute(bare, neutralise=neutral)

    def test_neutralise_panel(self, market):
        rng = np.random.default_rng(2)
        features = market.only_fields(["close"]).with_fields({"other": rng.normal(size=(330, 12))})
        exposure = rng.normal(size=(330, 12))
        out = neutralise_panel(features, [exposure], group="sector")
        assert list(out.fields) == ["close", "other"]
        left = np.where(np.isfinite(out.field("other")), out.field("other"), 0.0)
        np.testing.assert_allclose((left * exposure).sum(axis=1), 0.0, atol=1e-9)


class TestSpecs:
    def test_shipped(self, market):
        catalog = SpecCatalog.default()
        assert "price_factors" in catalog.names("strategies")
        for name in catalog.names("strategies"):
            spec = catalog.load("strategies", name, FactorPipelineSpec)
            plan_factors([*spec.factors, *spec.neutralise.exposures])
        spec = catalog.load("strategies", "price_factors", FactorPipelineSpec)
        scores = compute_factors(FactorInputs(market), spec)
        assert np.isfinite(scores.field("levy_rsl")[-1]).sum() > 5

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("name: x\nfactors: []", "factors"),
            ("name: x\nfactors: [{name: vsm}, {name: vsm}]", "several factors are called vsm"),
            ("name: x\nfactors: [{name: vsm, enabled: false}]", "at least one factor"),
            ("name: x\nfactors: [{name: vsm, weight: 1}]", "weight"),
            ("name: x\nfactors: [{name: vsm}]\nneutralise: {method: group_mean}", "takes a group"),
            ("name: x\nfactors: [{name: vsm}]\nneutralise: {group: sector}", "need a method"),
            ("name: x\nfactors: [{name: vsm}]\nneutralise: {method: regression}", "takes a group"),
        ],
    )
    def test_refused(self, text, match):
        with pytest.raises(ConfigError, match=match):
            parse_spec(text, FactorPipelineSpec, where="mine.yaml")


@pytest.mark.leakage
@pytest.mark.parametrize("name", FACTORS.names())
def test_conformance(name, market, views_of):
    values = FACTORS.metadata(name).test_params[-1]
    spec = FactorSpec(name=name, params=values)
    views = views_of(market, factor_needs([spec]))

    def compute(panel, published):
        return run_factors(FactorInputs(panel, published), [spec]).factor(spec)

    assert check_factor(compute, market, views, cuts=(150, 290), seed=4) > 100


@pytest.mark.leakage
def test_conformance_of_a_pipeline(market, views_of):
    beta = FactorSpec(name="beta", params=SMALL)
    spec = FactorPipelineSpec(
        name="x",
        factors=(FactorSpec(name="accruals"),),
        neutralise=NeutraliseSpec(method="regression", group="sector", exposures=(beta,)),
    )
    views = views_of(market, factor_needs([*spec.factors, beta]))

    def compute(panel, published):
        return compute_factors(FactorInputs(panel, published), spec).field("accruals")

    assert check_factor(compute, market, views, cuts=(200,), seed=4) > 100


def test_parameters_are_frozen():
    factor = build_factor(FactorSpec(name="vsm"))
    assert isinstance(factor.params, FrozenConfig)
    with pytest.raises(ValueError, match="frozen"):
        factor.params.vol_sessions = 5


def test_a_written_default_is_the_same_factor():
    plain, written = (
        FactorSpec(name="beta"),
        FactorSpec(name="beta", params={"window_sessions": 252}),
    )
    assert plain.identity == written.identity
    assert [spec.name for spec in plan_factors([plain, FactorSpec(name="bab")])] == ["beta", "bab"]

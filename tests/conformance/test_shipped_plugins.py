"""Every shipped plug-in passes the suite that authors of plug-ins are given."""

import numpy as np
import pytest

from quant_engine.core.panel import GroupTable, Panel, TimeAxis
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.providers import PROVIDERS, BarQuery, make_provider
from quant_engine.features.pipeline import FeatureSet, compute_features, whole_set
from quant_engine.models import LEARNERS
from quant_engine.testing import (
    check_feature_set,
    check_learner,
    check_provider,
    check_registry,
    random_cuts,
)

pytestmark = pytest.mark.feature("D-01")

CATALOG = SpecCatalog.default()
FEATURE_SETS = CATALOG.names("features")


def test_registries(tmp_path):
    built = check_registry(LEARNERS, build=lambda learner, params: learner(params))
    assert {"ridge[0]", "lightgbm_shallow[0]"} <= set(built)
    built = check_registry(PROVIDERS, build=lambda factory, params: factory(params, tmp_path))
    assert "local[0]" in built


@pytest.mark.parametrize("name", LEARNERS.names())
def test_learners(name):
    learner_type, metadata = LEARNERS.get(name), LEARNERS.metadata(name)
    for values in metadata.test_params:
        learner = learner_type(metadata.params.model_validate(values))
        check_learner(
            lambda x, y, learner=learner: learner.fit(x, y, None),
            lambda model, x: model.predict(x),
            contributions=lambda model, x: model.contributions(x),
            round_trip=lambda model, learner=learner: learner.from_bytes(model.to_bytes()),
        )


def market(n_times: int = 760, n_assets: int = 9) -> Panel:
    """Bars with gaps, published characteristics, and as much history as the longest window."""
    rng = np.random.default_rng(11)
    shape = (n_times, n_assets)
    close = 40 * np.exp(np.cumsum(rng.normal(0, 0.02, shape), axis=0))
    opening = close * np.exp(rng.normal(0, 0.01, shape))
    spread = np.exp(np.abs(rng.normal(0, 0.01, shape)))
    fields = {
        "open": opening,
        "high": np.maximum(opening, close) * spread,
        "low": np.minimum(opening, close) / spread,
        "close": close,
        "volume": np.exp(rng.normal(13, 1, shape)),
        "vwap": np.sqrt(opening * close),
        "dividend": np.where(rng.random(shape) < 0.01, 0.2, 0.0),
        **{f"char_{number:02d}": rng.normal(size=shape) for number in range(40)},
    }
    fields["cap"] = close * 1e8 * np.arange(1, n_assets + 1)
    missing = rng.random(shape) < 0.002
    for values in fields.values():
        values[missing] = np.nan
    masks = {"member": np.ones(shape, dtype=bool), "tradable": ~missing}
    days = np.datetime64("2018-01-01") + np.arange(n_times)
    ids = tuple(f"T{number}@US#1" for number in range(n_assets))
    codes = np.tile(np.arange(n_assets, dtype=np.int16) % 3, (n_times, 1))
    table = GroupTable(codes, ("one", "two", "three"))
    groups = {"sector": table, "industry": table, "subindustry": table}
    return Panel(TimeAxis.sessions(days, "24/7"), ids, fields, masks, groups)


@pytest.mark.leakage
@pytest.mark.parametrize("name", FEATURE_SETS)
def test_feature_sets(name):
    feature_set = whole_set(name, lambda part: CATALOG.load("features", part, FeatureSet))
    panel = market()
    warmup = max(spec.lookback_sessions for spec in feature_set.features) + 20
    check_feature_set(
        lambda market: compute_features(market, feature_set),
        panel,
        names=feature_set.names,
        cuts=random_cuts(panel, count=3, seed=5, warmup=warmup),
    )


def test_local_provider(tmp_path):
    for ticker in ("AAPL", "NAN"):
        rows = "\n".join(f"2020-01-{day:02d},10,12,9,11,1000" for day in (2, 3, 6, 7))
        (tmp_path / f"{ticker}.csv").write_text(f"Date,Open,High,Low,Close,Volume\n{rows}\n")
    provider = make_provider("local", path=tmp_path)
    assert check_provider(provider, query=BarQuery(), narrow=BarQuery(tickers=("NAN",))) == 8

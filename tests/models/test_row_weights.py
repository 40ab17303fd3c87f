"""Targets that are learned and measured apart, and weights of training rows."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pytest

from quant_engine.core.executor_choice import make_executor
from quant_engine.core.panel import LabelPanel, Panel, TimeAxis
from quant_engine.models import (
    FeatureSchema,
    MemberConfig,
    ModelConfig,
    ModelFeatures,
    Target,
    dump,
    train,
)
from quant_engine.models.fitting import EnsembleStrategy
from quant_engine.models.learners import build_learner
from quant_engine.stats.fold_runs import FoldTask
from quant_engine.stats.splits import WalkForwardConfig, walk_forward

CONFIG = ModelConfig(members=(MemberConfig(learner="ridge", column="ridge"),), min_train_rows=100)
PLAN = WalkForwardConfig(min_train_sessions=60, test_sessions=40)


@dataclass(frozen=True)
class Known:
    """Weights that a test can compute again."""

    flat: bool = False

    def __call__(self, first, last, asset, *, n_bars):
        assert (np.diff(first) >= 0).all()
        assert (0 <= first).all()
        assert (first <= last).all()
        assert (last < n_bars).all()
        return np.ones(len(first)) if self.flat else 1.0 + (last - first) + asset / 100.0


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(0)
    n_rows, n_assets = 180, 20
    days = np.arange("2024-01-01", "2024-06-29", dtype="datetime64[D]")[:n_rows]
    axis, ids = TimeAxis.sessions(days, "24/7"), tuple(f"A{i:02d}@US#1" for i in range(n_assets))
    label = rng.normal(0.0, 0.02, (n_rows, n_assets))
    label[-3:] = np.nan
    held = np.where(np.isnan(label), np.nan, rng.integers(1, 4, label.shape))
    masks = {name: np.ones(label.shape, dtype=bool) for name in ("member", "tradable")}
    hint = np.nan_to_num(label) + rng.normal(0.0, 0.02, label.shape)
    features = ModelFeatures(
        Panel(axis, ids, {"hint": hint}, masks),
        FeatureSchema(set_id="a", names=("hint",), causality=("CAUSAL",)),
        np.full(label.shape, 0.02),
    )
    ends = np.full(n_rows, np.datetime64("NaT"), dtype="datetime64[D]")
    starts = ends.copy()
    starts[:-3], ends[:-3] = days[1:-2], days[3:]
    fields = {"ret": label, "sign": np.sign(label), "held": held}
    labels = LabelPanel(Panel(axis, ids, fields), starts, ends)
    return features, labels, walk_forward(days, starts, ends, config=PLAN)


def fitted(market, target, executor=None):
    features, labels, folds = market
    return train(features, labels, target=target, folds=folds, config=CONFIG, executor=executor)


def test_a_field_name_is_a_target_that_is_learned_and_measured_alike(market):
    plain, same = fitted(market, "ret"), fitted(market, Target("ret", "ret"))
    assert dump(plain.model) == dump(same.model)
    assert plain.oos.equals(same.oos)


def test_figures_are_about_the_outcome_and_fits_about_what_is_learned(market):
    found = fitted(market, Target("sign", "ret"))
    labels = market[1].values
    wanted = labels.field("ret")[np.isin(labels.time.values, found.oos["date"].unique())]
    np.testing.assert_array_equal(
        np.sort(found.oos["label"].dropna()), np.sort(wanted[np.isfinite(wanted)])
    )
    assert found.model.target == "sign"
    members = [dump(fitted(market, target).model) for target in ("sign", Target("sign", "ret"))]
    assert members[0]["member_ridge.npz"] == members[1]["member_ridge.npz"]


def test_equal_weights_change_no_bit_and_others_do(market):
    plain = dump(fitted(market, "ret").model)["member_ridge.npz"]
    for flat, same in ((True, True), (False, False)):
        target = Target("ret", "ret", "held", Known(flat=flat))
        found = dump(fitted(market, target).model)["member_ridge.npz"]
        assert np.allclose(*(_coef(part) for part in (plain, found)), rtol=1e-9) == same


def _coef(data: bytes) -> np.ndarray:
    return np.load(io.BytesIO(data))["coef"]


@pytest.mark.slow
def test_weights_are_the_same_in_other_processes(market):
    target = Target("ret", "ret", "held", Known())
    alone, spread = fitted(market, target), fitted(market, target, make_executor(2))
    assert dump(alone.model) == dump(spread.model)


def test_the_learner_receives_the_weights_of_its_own_train_rows():
    rng = np.random.default_rng(2)
    n_sessions, n_assets = 30, 8
    n_rows = n_sessions * n_assets
    session = np.repeat(np.arange(n_sessions), n_assets)
    shared = {
        "x": rng.standard_normal((n_rows, 3)).astype(np.float32),
        "y": rng.standard_normal(n_rows),
        "offsets": np.arange(0, n_rows + 1, n_assets),
        "day": np.arange(n_sessions),
        "asset": np.tile(np.arange(n_assets), n_sessions),
        "label_first": session + 1,
        "label_last": session + 1 + rng.integers(0, 3, n_rows),
    }
    shared["y"][rng.random(n_rows) < 0.2] = np.nan
    config = CONFIG.model_copy(update={"recency_decay_per_day": 0.02})
    train_sessions = np.arange(3, 25)
    task = FoldTask("t", train_sessions, np.arange(25, 30), keep=True)
    rows = np.flatnonzero(np.isin(session, train_sessions) & np.isfinite(shared["y"]))
    held = shared["label_last"][rows] - shared["label_first"][rows]
    weight = 1.0 + held + shared["asset"][rows] / 100.0
    weight = weight * np.exp(-0.02 * (24 - session[rows]))
    wanted = build_learner(CONFIG.members[0]).fit(shared["x"][rows], shared["y"][rows], weight)
    fitted_members = EnsembleStrategy(config, Known()).fit(shared, task)
    assert fitted_members.report(shared, task).files["ridge"] == wanted.to_bytes()

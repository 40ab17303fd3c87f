"""Small planted worlds for the model tests: seeded numpy, no package of the engine but core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest

from quant_engine.core.panel import LabelPanel, Panel, TimeAxis
from quant_engine.models import FeatureSchema, MemberConfig, ModelConfig, ModelFeatures
from quant_engine.stats.splits import Fold, WalkForwardConfig, walk_forward

TARGET = "fwd_excess_3s"


@dataclass(frozen=True, eq=False)
class World:
    """Features and labels with a known relation."""

    features: ModelFeatures
    labels: LabelPanel
    folds: tuple[Fold, ...]

    @property
    def label(self) -> np.ndarray:
        return np.array(self.labels.values.field(TARGET))

    def with_label(self, label: np.ndarray) -> World:
        values = self.labels.values.with_fields({TARGET: label})
        return replace(self, labels=replace(self.labels, values=values))

    def with_field(self, name: str, values: np.ndarray) -> World:
        panel = self.features.panel.with_fields({name: values})
        return replace(self, features=replace(self.features, panel=panel))

    def with_mask(self, name: str, values: np.ndarray) -> World:
        panel = self.features.panel.with_masks({name: values})
        return replace(self, features=replace(self.features, panel=panel))


def plant(
    seed: int = 0,
    *,
    shape: tuple[int, int, int] = (200, 40, 5),
    signal: float = 0.3,
    kind: str = "linear",
    horizon: int = 3,
    test_sessions: int = 25,
) -> World:
    """Persistent features, and labels ``vol * (signal * f(features) + noise)``."""
    n_sessions, n_assets, n_features = shape
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_features, n_sessions, n_assets))
    for t in range(1, n_sessions):
        x[:, t] = 0.6 * x[:, t - 1] + 0.8 * x[:, t]
    truth = x[0] - 0.5 * x[1] if kind == "linear" else np.abs(x[0]) + x[2] * (x[1] > 0)
    truth = (truth - truth.mean()) / truth.std()
    volatility = np.exp(rng.normal(-4.0, 0.5, n_assets)) * np.ones((n_sessions, 1))
    label = volatility * (signal * truth + rng.standard_normal((n_sessions, n_assets)))
    label[n_sessions - horizon - 1 :] = np.nan
    days = np.busday_offset("2020-01-01", np.arange(n_sessions), roll="forward")
    start, end = np.full((2, n_sessions), np.datetime64("NaT", "D"))
    start[: n_sessions - horizon - 1] = days[1 : n_sessions - horizon]
    end[: n_sessions - horizon - 1] = days[1 + horizon :]
    axis = TimeAxis.sessions(days)
    ids = tuple(f"A{i:02d}@US#1" for i in range(n_assets))
    everywhere = np.ones((n_sessions, n_assets), dtype=bool)
    names = tuple(f"f{j}" for j in range(n_features))
    panel = Panel(
        axis,
        ids,
        {name: x[j].astype(np.float32) for j, name in enumerate(names)},
        masks={"member": everywhere, "tradable": everywhere},
    )
    schema = FeatureSchema(set_id="set-1", names=names, causality=("CAUSAL",) * n_features)
    plan = WalkForwardConfig(min_train_sessions=80, test_sessions=test_sessions, holdout_frac=0.2)
    return World(
        ModelFeatures(panel, schema, volatility),
        LabelPanel(Panel(axis, ids, {TARGET: label}), start, end),
        walk_forward(days, start, end, config=plan),
    )


def fast_config(**changes: object) -> ModelConfig:
    """A model of few trees that trains in a fraction of a second."""
    members = (
        MemberConfig(learner="ridge", column="ridge"),
        MemberConfig(
            learner="lightgbm_shallow",
            column="lgbm",
            params={"n_trees": 25, "learning_rate": 0.15, "column_share": 1.0},
        ),
    )
    return ModelConfig(members=members).model_copy(update=changes)


@pytest.fixture(scope="session")
def make_world() -> Callable[..., World]:
    return plant


@pytest.fixture(scope="session")
def make_config() -> Callable[..., ModelConfig]:
    return fast_config


@pytest.fixture(scope="session")
def world() -> World:
    return plant()


@pytest.fixture(scope="session")
def config() -> ModelConfig:
    return fast_config()


@pytest.fixture(scope="session")
def target() -> str:
    return TARGET

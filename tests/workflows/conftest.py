"""A small simulated market as files, a workspace around it, and a model that trains in a second."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from quant_engine.artifacts.store import ArtifactStore
from quant_engine.core.clock import FixedClock
from quant_engine.core.settings import Settings
from quant_engine.core.specs import SpecCatalog
from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world
from quant_engine.data.simulated.files import write_world_as_files
from quant_engine.workflows.config import TrainConfig, resolve_train_config
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.data import Location

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
THREE_FEATURES = """\
name: three
version: "1"
features:
  - {name: GAP, expression: "$open/Ref($close, 1) - 1", lookback_sessions: 2, causality: CAUSAL,
     unit: fraction, family: reversal, source: "overnight return without dividends"}
  - {name: ROC5, expression: "Ref($close, 5)/$close", lookback_sessions: 6, causality: CAUSAL,
     unit: ratio, family: trend, source: "past price over price"}
  - {name: STD20, expression: "Std($close, 20)/$close", lookback_sessions: 20, causality: CAUSAL,
     unit: ratio, family: volatility, source: "standard deviation of closes"}
"""
FAST: dict[str, Any] = {
    "data": {"source": "local", "benchmark": "equal_weight"},
    "feature_set": "three",
    "labels": {"horizon_sessions": 4},
    "split": {"min_train_sessions": 120, "test_sessions": 60},
    "model": {"members": [{"learner": "ridge", "column": "ridge"}], "maps": {"n_bins": 5}},
    "forms": {"beta_sessions": 40, "beta_min_sessions": 20, "volatility_span": 20.0},
}


@pytest.fixture(scope="session")
def market_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prices, sectors and delistings of 24 names over 320 sessions; nobody writes here."""
    folder = tmp_path_factory.mktemp("market")
    config = EquityWorldConfig(seed=4, n_assets=24, n_sessions=320)
    write_world_as_files(simulate_equity_world(config), folder)
    # Two sectors, so that each has enough names.
    sectors = pd.read_csv(folder / "sectors.csv")
    sectors["sector"] = np.where(np.arange(len(sectors)) % 2, "one", "two")
    sectors.to_csv(folder / "sectors.csv", index=False)
    return folder


@pytest.fixture
def specs(tmp_path: Path) -> SpecCatalog:
    """The shipped specs and one small feature set."""
    folder = tmp_path / "work" / "specs" / "features"
    folder.mkdir(parents=True)
    (folder / "three.yaml").write_text(THREE_FEATURES, encoding="utf-8")
    return SpecCatalog.default(tmp_path / "work")


@pytest.fixture
def workspace_at(tmp_path: Path, specs: SpecCatalog) -> Callable[..., Workspace]:
    """A workspace on one results folder, at any instant."""

    def open_at(now: datetime = NOON) -> Workspace:
        settings = Settings(
            data_root=tmp_path / "data",
            results_root=tmp_path / "results",
            models_root=tmp_path / "models",
        )
        clock = FixedClock(now)
        store = ArtifactStore(settings.results_root, clock=clock)
        return Workspace(settings=settings, store=store, catalog=specs, clock=clock)

    return open_at


@pytest.fixture
def fast_config(specs: SpecCatalog) -> Callable[..., TrainConfig]:
    """The fast configuration with some settings changed, given as ``section={...}``."""

    def make(**changes: Any) -> TrainConfig:
        merged = {**FAST, **changes}
        return resolve_train_config(merged, specs)

    return make


@pytest.fixture
def location(market_files: Path) -> Location:
    return Location(
        bars=str(market_files / "prices"),
        sectors=str(market_files / "sectors.csv"),
        delistings=str(market_files / "delistings.csv"),
    )

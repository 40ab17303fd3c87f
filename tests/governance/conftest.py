"""Evidence that passes, and the pieces to make it fail."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import FixedClock
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track
from quant_engine.core.trials import Trial
from quant_engine.governance.bundle import (
    Alignment,
    Lineage,
    Metric,
    MetricBundle,
    Origin,
    SignatureState,
)
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.ledger import TrialLedger
from quant_engine.governance.lifecycle import open_ledger

CLOCK = FixedClock(datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC))
PRODUCTION = Origin(RunSource.PROD, ScoreSource.MODEL, DataRegime.PROD_LIVE)
RESEARCH = Origin(RunSource.PROD, ScoreSource.MODEL, DataRegime.MAINTENANCE_REPLAY)
ALIGNED = Alignment("model/1", "f1", "d1", "blend", "v7", "l1")
LINEAGE = Lineage(
    evaluated=ALIGNED,
    deployed=ALIGNED,
    signature=SignatureState.SIGNED,
    evaluation="validation_report/abc",
    n_synthetic_links=0,
)

# Values that pass every rule of both shipped profiles, where a figure is not scoped.
GOOD = {
    "sharpe_daily": 1.8, "annual_return": 0.12, "annual_return_cost_1_5x": 0.08,
    "profit_factor": 1.4, "hit_rate": 0.55, "n_trades": 120, "turnover_ann": 3.0,
    "max_drawdown": -0.08, "observation_days": 600, "completed_runs": 6, "forward_weeks": 26,
    "wf_oos_correlation": 0.03, "positive_fold_frac": 0.8, "is_oos_gap": 0.05,
    "positive_regime_frac": 0.75, "cv_gap": 0.05, "holdout_r2": 0.001, "max_t_p_value": 0.001,
    "alpha_this_look": 0.0152, "forward_p_value": 0.1, "dsr_p_value": 0.01, "psr": 0.99,
    "pbo": 0.2, "cpcv_passed": True, "statistical_tests_passed": True,
    "capacity_constrained": False, "capacity_utilisation": 0.4, "parity_deviation_frac": 0.03,
    "n_invalid_values": 0, "n_constraint_violations": 0, "sweep_robust": True, "fill_rate": 0.999,
    "reject_rate": 0.001, "slippage_p95_bps": 12.0, "var_95": 0.02, "var_99": 0.04,
    "liquidity_floor_kept": True, "rolling_ic": 0.03, "pnl_top20_frac": 0.3,
    "feature_stability": 0.9, "ensemble_disagreement": 0.2, "slippage_mean_bps": 5.0,
    "fee_per_turnover": 0.0005,
}  # fmt: skip
SCOPED = {
    ("gross_exposure", "regime:high_vol"): 0.3,
    ("max_drawdown", "slice:forward"): -0.05,
    ("annual_return", "slice:forward"): 0.06,
    ("stress_drawdown", "slice:2008"): -0.15,
    ("stress_drawdown", "slice:2020"): -0.18,
}
METHODS = {"sharpe_daily": "daily_agg_v1"}
UNITS = MetricCatalogue.load(SpecCatalog.default()).units()


def figure(name, value, scope="", n_obs=600):
    return Metric(name, value, UNITS[name], n_obs, METHODS.get(name, ""), scope)


def figures(**changes):
    """Metrics that pass, with some values replaced; `...` leaves a figure out."""
    flat = {**GOOD, **changes}
    found = [figure(name, value) for name, value in flat.items() if value is not ...]
    found += [figure(name, value, scope) for (name, scope), value in SCOPED.items()]
    return tuple(found)


@pytest.fixture(scope="session")
def kit() -> SimpleNamespace:
    """The names of this file; test folders are not packages."""
    return SimpleNamespace(
        CLOCK=CLOCK, PRODUCTION=PRODUCTION, RESEARCH=RESEARCH, ALIGNED=ALIGNED, LINEAGE=LINEAGE,
        GOOD=GOOD, SCOPED=SCOPED, figure=figure, figures=figures, trial=trial,
    )  # fmt: skip


@pytest.fixture
def clock():
    return CLOCK


@pytest.fixture
def signer(tmp_path):
    return Signer(tmp_path / ".keys" / "evaluation.key")


@pytest.fixture
def make_ledger(tmp_path, clock, signer):
    def make(name="ledger", **options) -> TrialLedger:
        return TrialLedger(tmp_path / name, clock=clock, signer=signer, **options)

    return make


@pytest.fixture
def ledger(make_ledger):
    return make_ledger()


@pytest.fixture(scope="session")
def catalog():
    return SpecCatalog.default()


@pytest.fixture(scope="session")
def metrics(catalog):
    return MetricCatalogue.load(catalog)


@pytest.fixture(scope="session")
def seed(catalog):
    return load_profile(catalog, "seed_v1")


@pytest.fixture(scope="session")
def strict(catalog):
    return load_profile(catalog, "strict_v1")


def trial(number, family="alpha", **changes):
    return replace(Trial(family, f"spec{number}", "data", "split", "test"), **changes)


@pytest.fixture
def track_ledger(tmp_path, clock, signer):
    """The ledger of a track with three trials of family ``alpha``."""

    def make(track=Track.PRODUCTION):
        made = open_ledger(tmp_path, track, clock=clock, signer=signer)
        with made.batch():
            for number in range(3):
                made.record(trial(number))
        return made

    return make


@pytest.fixture
def evidence(track_ledger):
    """A bundle that passes and whose trials the production ledger confirms."""
    use = track_ledger().consumed("v1", "alpha")

    def make(subject="s1", *, origin=PRODUCTION, lineage=LINEAGE, trials=use, **changes):
        return MetricBundle(subject, figures(**changes), origin, lineage, trials)

    return make

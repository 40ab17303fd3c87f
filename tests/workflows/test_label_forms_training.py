"""Every form of label from market files to a trained model, with spans, entry and contract."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.artifacts.kinds.backtest import TRADES, VALIDATION
from quant_engine.artifacts.kinds.panel import LABEL_PANEL, PANEL
from quant_engine.artifacts.kinds.training import OOS, TRAINING_REPORT
from quant_engine.cli.train import LABELS
from quant_engine.core.errors import ConfigError
from quant_engine.execution.contract import ExecutionContract
from quant_engine.execution.costs import CostProfile
from quant_engine.features.barriers import PRICE_TYPES
from quant_engine.features.training_labels import BARRIER_FORMS, FORMS, primary_side
from quant_engine.stats.splits import walk_forward
from quant_engine.workflows.backtest import BacktestRequest, run_backtest
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.data import load_data
from quant_engine.workflows.labels import label_costs, run_betas, run_labels
from quant_engine.workflows.predict import PredictRequest, predict
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.train import train, wide

HORIZON = 4


@pytest.fixture
def trained(workspace_at, fast_config, location):
    """Train one form; give the workspace, the run and its artifacts."""

    def run(**changes):
        workspace = workspace_at()
        train(workspace, fast_config(**changes), location, register=False)
        return workspace, RunRegistry(workspace).newest("train")

    return run


@pytest.fixture
def made(workspace_at, fast_config, location):
    """The market and the labels of one form, without training."""

    def make(form, **changes):
        config = fast_config(target=form, **changes)
        workspace = workspace_at()
        data = load_data(workspace, config.data, location)
        costs = label_costs(workspace.catalog, config)
        return data, config, run_labels(data, config, costs, beta=run_betas(data, config))

    return make


@pytest.mark.feature("Q-22")
def test_the_command_line_offers_exactly_the_forms_there_are():
    assert set(LABELS) == set(FORMS)


@pytest.mark.feature("Q-22")
@pytest.mark.parametrize("form", FORMS)
def test_each_form_trains_and_says_what_it_promises(trained, form):
    workspace, run = trained(target=form)
    read = workspace.store.read
    labels, market = read(LABEL_PANEL, run.artifacts["labels"]), read(PANEL, run.artifacts["panel"])
    plan = read(TRAINING_REPORT, run.artifacts["report"]).documents["plan"]
    learned, outcome = (name.format(h=HORIZON) for name in FORMS[form])
    assert plan["target"] == learned
    assert np.isfinite(labels.values.field(learned)).sum() > 2_000
    contract = ExecutionContract.model_validate(plan["contract"])
    assert (contract.entry_lag, contract.entry_price) == (1, "open")
    assert contract.horizon_sessions == HORIZON
    assert contract.exit_price == ("barrier" if form in BARRIER_FORMS else "open")
    assert (contract.direction == "primary") == (form == "meta")
    assert bool(contract.costs) == (form == "cost_aware")
    # Figures, expected returns and intervals are about the outcome, whatever was learned.
    oos = read(OOS, run.artifacts["oos"]).tables["oos"]
    np.testing.assert_array_equal(
        wide(oos, "label", market)[_rows(oos, market)],
        np.where(np.isfinite(wide(oos, "score", market)), labels.values.field(outcome), np.nan)[
            _rows(oos, market)
        ],
    )
    if form not in ("ret", "excess", "sector_excess"):
        assert plan["outcome"] == outcome
        assert plan["label"]["form"] == form


def _rows(frame, panel):
    days = frame["date"].to_numpy().astype("datetime64[D]")
    return np.unique(np.searchsorted(panel.time.values, days))


@pytest.mark.feature("Q-47")
@pytest.mark.parametrize("form", FORMS)
def test_no_single_label_of_a_train_window_touches_its_test_block(made, form):
    _, config, labels = made(form)
    panel = labels.panel
    sessions = panel.values.time.values
    folds = walk_forward(sessions, panel.span_start, panel.span_end, config=config.split)
    learned = np.isfinite(panel.values.field(labels.learned))
    held = (
        panel.values.field(labels.exit_field)
        if labels.exit_field
        else np.full(learned.shape, 1.0 + HORIZON)
    )
    first, last = np.arange(len(sessions)) + 1, np.arange(len(sessions))[:, None] + held
    # Every single label lies inside the span of its row: entry the session after the decision.
    rows = np.flatnonzero(learned.any(axis=1))
    np.testing.assert_array_equal(panel.span_start[rows], sessions[first[rows]])
    assert (last[learned] >= np.broadcast_to(first[:, None], last.shape)[learned]).all()
    ends = np.searchsorted(sessions, panel.span_end[rows])
    assert (np.where(learned, last, -1)[rows] <= ends[:, None]).all()
    assert len(folds) >= 3
    for fold in folds:
        exits = last[fold.train][learned[fold.train]]
        assert exits.max() < fold.test[0]


@pytest.mark.feature("Q-47")
@pytest.mark.parametrize("form", FORMS)
def test_labels_depend_on_nothing_after_their_span(made, form):
    data, config, labels = made(form)
    cut = 200
    panel = data.panel.rows(0, cut)
    market = data.market
    short = type(data)(
        data.request,
        type(market)(
            **{
                **vars(market),
                "panel": panel,
                "benchmark": type(market.benchmark)(
                    market.benchmark.name,
                    market.benchmark.close_returns[:cut],
                    market.benchmark.open_returns[:cut],
                ),
            }
        ),
    )
    costs = CostProfile(name="base")
    again = run_labels(short, config, costs, beta=run_betas(short, config))
    known = cut - 1 - HORIZON
    for name in (labels.learned, labels.outcome):
        np.testing.assert_array_equal(
            again.panel.values.field(name)[:known], labels.panel.values.field(name)[:known]
        )
    assert np.isnat(again.panel.span_end[known:]).all()


@pytest.mark.feature("Q-47")
@pytest.mark.parametrize("form", FORMS)
def test_who_cannot_enter_at_the_next_open_has_no_label(made, form):
    data, config, labels = made(form)
    row = 150
    column = int(np.flatnonzero(np.isfinite(labels.panel.values.field(labels.learned)[row]))[0])
    opened = np.array(data.panel.field("open"))
    opened[row + 1, column] = np.nan
    market = data.market
    halted = type(data)(
        data.request,
        type(market)(**{**vars(market), "panel": data.panel.with_fields({"open": opened})}),
    )
    again = run_labels(halted, config, CostProfile(name="base"), beta=run_betas(halted, config))
    assert np.isnan(again.panel.values.field(labels.learned)[row, column])


def test_barrier_labels_carry_their_own_exit_and_price_type(made):
    _, _, labels = made("barrier_ret")
    fields = labels.panel.values
    known = np.isfinite(fields.field("tb_ret_4b"))
    for name in ("tb_exit_4b", "tb_price_4b"):
        np.testing.assert_array_equal(np.isfinite(fields.field(name)), known)
    held = fields.field("tb_exit_4b")[known]
    assert set(np.unique(held)) <= {1.0, 2.0, 3.0, 4.0, 5.0}
    assert len(np.unique(held)) > 3
    codes = fields.field("tb_price_4b")[known].astype(int)
    assert {PRICE_TYPES[code] for code in np.unique(codes)} <= {"open", "level", "last_close"}


@pytest.mark.feature("Q-14")
def test_delistings_change_labels_from_their_session_on_and_no_indicator(
    workspace_at, fast_config, location, tmp_path
):
    table = pd.read_csv(location.delistings)
    last = np.datetime64(sorted(table["last_session"])[-1])
    changed = table.copy()
    changed.loc[changed["last_session"] == str(last), "terminal_return"] = -0.77
    path = tmp_path / "delistings.csv"
    changed.to_csv(path, index=False)
    kept = []
    for place in (location, location.model_copy(update={"delistings": str(path)})):
        workspace = workspace_at()
        train(workspace, fast_config(target="ret"), place, register=False)
        run = RunRegistry(workspace).newest("train")
        features = workspace.store.manifest(run.artifacts["features"]).content_sha256
        kept.append((features, workspace.store.read(LABEL_PANEL, run.artifacts["labels"])))
    (before, labels), (after, others) = kept
    assert before == after
    a, b = (np.asarray(part.values.field("fwd_ret_4s")) for part in (labels, others))
    early = labels.span_end <= last
    assert 100 < early.sum() < len(early) - 10
    np.testing.assert_array_equal(a[early], b[early])
    assert not np.array_equal(a, b, equal_nan=True)


@pytest.mark.feature("Q-14")
def test_a_panel_with_delisting_returns_has_the_same_indicators(
    workspace_at, fast_config, location
):
    from quant_engine.features.pipeline import compute_features
    from quant_engine.workflows.inputs import read_feature_set

    workspace, config = workspace_at(), fast_config()
    panel = load_data(workspace, config.data, location).panel
    feature_set = read_feature_set(workspace, "three")
    columns = {name: np.full(panel.shape, -0.9) for name in ("dlret", "delisting_return")}
    plain = compute_features(panel, feature_set)
    wider = compute_features(panel.with_fields(columns), feature_set)
    for name in feature_set.names:
        np.testing.assert_array_equal(plain.field(name), wider.field(name))


@pytest.mark.feature("Q-47")
@pytest.mark.parametrize(
    ("form", "costs", "broken"),
    [
        pytest.param("cost_aware", "base", "", marks=pytest.mark.slow),
        ("cost_aware", "stress_2x", "costs: labels"),
        pytest.param(
            "barrier_ret",
            "base",
            "exit_price: labels barrier, fills open",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_backtest_is_told_which_promise_it_breaks(trained, form, costs, broken):
    workspace, run = trained(target=form)
    run_backtest(workspace, BacktestRequest(run_id=run.run_id), {"costs": costs})
    done = RunRegistry(workspace).newest("backtest")
    checks = workspace.store.read(VALIDATION, done.artifacts["validation"]).tables["checks"]
    row = checks.set_index("check").loc["execution contract of the labels kept"]
    assert row["verdict"] == ("fail" if broken else "pass")
    assert broken in row["reason"]


def test_costs_of_labels_that_nobody_knows_are_refused_by_their_setting(specs, fast_config):
    config = fast_config(target="cost_aware", forms={"cost_profile": "us_condition"})
    with pytest.raises(ConfigError, match=r"forms\.cost_profile: .*'us_condition'.*us_conditions"):
        label_costs(specs, config)


@pytest.mark.slow
@pytest.mark.feature("Q-47", "B-18")
def test_labels_net_of_a_cost_model_are_kept_by_that_model_alone(trained):
    forms = {"beta_sessions": 40, "beta_min_sessions": 20, "cost_profile": "us_conditions"}
    workspace, run = trained(target="cost_aware", forms=forms)
    plan = workspace.store.read(TRAINING_REPORT, run.artifacts["report"]).documents["plan"]
    assert plan["label"]["costs"]["name"] == "us_conditions"
    for costs, verdict in (("us_conditions", "pass"), ("base", "fail")):
        run_backtest(workspace, BacktestRequest(run_id=run.run_id), {"costs": costs})
        done = RunRegistry(workspace).newest("backtest")
        checks = workspace.store.read(VALIDATION, done.artifacts["validation"]).tables["checks"]
        row = checks.set_index("check").loc["execution contract of the labels kept"]
        assert row["verdict"] == verdict


@pytest.mark.slow
def test_a_meta_model_is_traded_on_the_side_of_its_primary_signal(trained):
    workspace, run = trained(target="meta")
    outcome = run_backtest(workspace, BacktestRequest(run_id=run.run_id), {})
    assert "direction" not in outcome.text
    done = RunRegistry(workspace).newest("backtest")
    trades = workspace.store.read(TRADES, done.artifacts["trades"]).tables["trades"]
    panel = workspace.store.read(PANEL, run.artifacts["panel"])
    sides = primary_side(
        panel, sessions=TrainConfig.model_validate(run.config).forms.primary_sessions
    )
    rows = np.searchsorted(
        panel.time.values, trades["decision_session"].to_numpy().astype("datetime64[D]")
    )
    columns = pd.Index(panel.asset_ids).get_indexer(trades["asset_id"])
    wanted = np.where(trades["side"] == "long", 1, -1)
    assert len(trades) > 50
    assert (sides[rows, columns] == wanted).mean() > 0.95
    shown = predict(workspace, PredictRequest())
    assert any("primary_side" in warning for warning in shown.warnings)


@pytest.mark.feature("D-11")
def test_sample_weights_reach_the_learners_and_stand_in_the_record(trained):
    weights = {"uniqueness": True, "oldest_weight": 0.3}
    found = {}
    for name, changes in {"plain": {}, "weighted": {"weights": weights}}.items():
        workspace, run = trained(target="barrier_ret", **changes)
        manifest = workspace.store.manifest(run.artifacts["model"])
        found[name] = manifest.content_sha256, manifest.provenance.config.get("weights")
    assert found["plain"][1] is None
    assert found["weighted"][1] == weights
    assert found["plain"][0] != found["weighted"][0]


def test_what_is_not_used_does_not_change_the_identity_of_a_configuration():
    content = TrainConfig().content()
    assert not {"forms", "weights"} & set(content)
    other = TrainConfig.model_validate({"weights": {"uniqueness": True}})
    assert TrainConfig.model_validate(other.content()) == other

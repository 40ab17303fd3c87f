"""Factor research on small simulated markets: choice, report, ranking, gain."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from quant_engine.artifacts.kinds.factor_report import FACTOR_GAIN, FACTOR_REPORT
from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, LABEL_PANEL, PANEL
from quant_engine.artifacts.kinds.signals import SIGNALS
from quant_engine.core.clock import FixedClock
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError, MissingFieldError
from quant_engine.core.settings import Settings
from quant_engine.features.sets import FeatureSet
from quant_engine.stats.ic import ic_by_date
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.data import Location
from quant_engine.workflows.factor_config import (
    FactorChoice,
    resolve_factor_config,
    resolve_gain_config,
    resolve_rank_config,
)
from quant_engine.workflows.factor_gain import extended, gain
from quant_engine.workflows.factor_research import research
from quant_engine.workflows.factor_signals import composite, rank
from quant_engine.workflows.factor_values import (
    ChosenFactors,
    chosen_factors,
    expression_feature,
    plugins_of,
)
from quant_engine.workflows.run_registry import RunRegistry
from quant_engine.workflows.trials import track_ledger

pytestmark = [pytest.mark.feature("Q-48"), pytest.mark.feature("D-09"), pytest.mark.feature("D-30")]

NOW = datetime(2026, 1, 2, tzinfo=UTC)
RIDGE = {"members": [{"learner": "ridge", "column": "ridge"}], "maps": {"n_bins": 5}}


def settings(shape="linear", seed=5, **more):
    alpha = {"shape": shape} | ({} if shape == "none" else {"oracle_rank_ic": 0.3})
    world = {"seed": seed, "n_assets": 40, "n_sessions": 420, "alpha": alpha}
    return {"data": {"world": world}, "labels": {"horizon_sessions": 5}, **more}


def open_in(folder, **options):
    own = Settings(results_root=folder / "results", models_root=folder / "models")
    return Workspace.open(settings=own, clock=FixedClock(NOW), jobs=1, **options)


def features(name, **formulas):
    specs = tuple(expression_feature(label, text) for label, text in formulas.items())
    return FeatureSet(name=name, version="1", features=specs)


@pytest.fixture(scope="module")
def studied(tmp_path_factory):
    """One report of a market with planted linear alpha, and the workspace it lies in."""
    workspace = open_in(tmp_path_factory.mktemp("studied"))
    names = tuple(f"char_{k:02d}" for k in range(12))
    config = resolve_factor_config(
        settings(),
        workspace.catalog,
        choice=FactorChoice(features=names, expressions={"size": "$close*$volume"}),
    )
    return workspace, config, research(workspace, config, Location())


@pytest.fixture(scope="module")
def report(studied):
    workspace, _, _ = studied
    run = RunRegistry(workspace).newest("factors")
    return run, workspace.store.read(FACTOR_REPORT, run.artifacts["report"])


def test_a_planted_alpha_is_found_among_its_characteristics(studied, report):
    _, _, outcome = studied
    _, bundle = report
    assert outcome.metrics["n_found_by"] >= 1
    assert abs(outcome.metrics["strongest_t"]) > 4
    tests = bundle.tables["horizons"]
    best = tests.loc[tests["t"].abs().idxmax()]
    assert str(best["factor"]).startswith("char_")
    assert np.sign(best["rank_ic"]) == np.sign(best["spread_bps"])


def test_stored_ic_equals_that_of_stored_features_and_labels(studied, report):
    workspace, config, _ = studied
    run, bundle = report
    values = workspace.store.read(FEATURE_PANEL, run.artifacts["features"])
    market = workspace.store.read(PANEL, run.artifacts["panel"])
    allowed = market.mask("member") & market.mask("tradable")
    open_price = market.field("open")
    held = np.full(market.shape, np.nan)
    held[:-6] = open_price[6:] / open_price[1:-5] - 1.0
    score = np.where(allowed, values.field("char_03"), np.nan)
    mine = pd.Series(ic_by_date(score, held, method="rank"), index=market.time.index)
    rows = bundle.tables["by_date"].query("factor == 'char_03' and horizon == 5")
    stored = rows.set_index("session")["rank_ic"]
    # The label is an excess over one number per session, which no rank can see; delistings and
    # dividends are what is left.
    both = pd.concat([mine, stored], axis=1).dropna()
    assert len(both) == len(stored)
    assert np.median(np.abs(both.iloc[:, 0] - both.iloc[:, 1])) < 0.01
    assert config.study.horizons == (1, 5, 10, 20)


def test_every_factor_at_every_horizon_is_one_trial_however_often_it_is_asked(studied):
    workspace, config, outcome = studied
    ledger = track_ledger(workspace, outcome.track)
    wanted = {f"factor|simulated|{h}s": 13 for h in (1, 5, 10, 20)}
    assert {f.family: f.n_trials for f in ledger.families()} == wanted
    renamed = config.model_copy(
        update={"choice": FactorChoice(expressions={"other": "$close*$volume"})}
    )
    again = research(workspace, renamed, Location())
    assert {f.family: f.n_trials for f in ledger.families()} == wanted
    assert again.metrics["n_trials_recorded"] == 52


def test_a_resumed_report_reads_what_is_there(studied):
    workspace, config, outcome = studied
    resumed = Workspace.open(
        settings=workspace.settings, clock=FixedClock(NOW), jobs=1, resume=True
    )
    again = research(resumed, config, Location())
    assert again.artifacts == outcome.artifacts
    assert again.metrics == outcome.metrics


def test_page_and_table_lie_beside_the_artifacts(studied):
    workspace, _, outcome = studied
    root = workspace.settings.results_root
    page = (root / "factor_report.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    table = pd.read_csv(root / "factor_report.csv")
    assert len(table) == outcome.metrics["n_tests"] == 52
    assert {"factor", "horizon", "rank_ic", "t", "q_bh", "q_by"} <= set(table.columns)


@pytest.mark.slow
def test_a_market_without_alpha_yields_no_finding_in_most_worlds(tmp_path):
    found = []
    for seed in (1, 2, 3):
        workspace = open_in(tmp_path / str(seed))
        config = resolve_factor_config(
            settings("none", seed, study={"delays": [0, 5]}),
            workspace.catalog,
            choice=FactorChoice(features=tuple(f"char_{k:02d}" for k in range(0, 40, 5))),
        )
        found.append(research(workspace, config, Location()).metrics["n_found_by"])
    assert found.count(0) >= 2


def test_factors_are_looked_up_where_they_are_named(tmp_path):
    workspace = open_in(tmp_path)
    every = chosen_factors(workspace, FactorChoice(), default="price_volume_core")
    assert every.features is not None
    assert every.version.startswith("price_volume_core/")
    one = every.names[0]
    mixed = FactorChoice(features=(one,), expressions={"a": "$close"}, plugins=("momentum",))
    assert chosen_factors(workspace, mixed, default="price_volume_core").names == (
        one,
        "a",
        "momentum",
    )
    union = FactorChoice(feature_set="price_volume_core", expressions={"a": "$close"})
    assert chosen_factors(workspace, union, default="").names == (*every.names, "a")
    with pytest.raises(ConfigError, match="Did you mean"):
        chosen_factors(workspace, FactorChoice(features=(f"{one}X",)), default="price_volume_core")
    with pytest.raises(ConfigError, match="Did you mean 'momentum'"):
        chosen_factors(workspace, FactorChoice(plugins=("momentun",)), default="")
    with pytest.raises(ConfigError, match="'momentum' twice"):
        ChosenFactors(features("x", momentum="$close"), plugins_of(["momentum"]))


def test_a_registered_factor_is_studied_like_a_formula(tmp_path):
    workspace = open_in(tmp_path)
    config = resolve_factor_config(
        settings(study={"horizons": [5]}),
        workspace.catalog,
        choice=FactorChoice(plugins=("volatility",), expressions={"own": "Std($return, 60)"}),
    )
    research(workspace, config, Location())
    run = RunRegistry(workspace).newest("factors")
    tables = workspace.store.read(FACTOR_REPORT, run.artifacts["report"]).tables
    assert tables["factors"]["family"].tolist() == ["expression", "plug-in"]
    assert tables["horizons"]["rank_ic"].notna().all()


def test_the_composite_is_the_weighted_sum_of_z_scores():
    rng = np.random.default_rng(1)
    parts = {"a": rng.standard_normal(20), "b": 100.0 + rng.random(20)}
    parts["b"][3] = np.nan
    allowed = np.arange(20) != 7
    rows = {name: np.vstack([values, values]) for name, values in parts.items()}
    both, each = composite(rows, {"a": 0.6, "b": -0.4}, np.vstack([allowed, allowed]))
    np.testing.assert_array_equal(both[0], both[1])
    score, scaled = both[0], {name: values[0] for name, values in each.items()}
    frame = pd.DataFrame(parts)[allowed]
    z = (frame - frame.mean()) / frame.std()
    wanted = 0.6 * z["a"] - 0.4 * z["b"]
    np.testing.assert_allclose(score[allowed], wanted, atol=1e-12)
    assert np.isnan(score[[3, 7]]).all()
    np.testing.assert_allclose(scaled["b"][allowed], z["b"], atol=1e-9)


def rank_config(workspace, weights, **choice):
    return resolve_rank_config(
        settings(ranking={"weights": weights, "top": 6}),
        workspace.catalog,
        choice=FactorChoice(**choice),
    )


def test_signals_are_the_best_names_of_the_last_session(tmp_path):
    workspace = open_in(tmp_path)
    config = rank_config(
        workspace, {"mom": 0.5, "char_00": "-1"}, expressions={"mom": "$close/Ref($close, 20)"}
    )
    outcome = rank(workspace, config, Location())
    run = RunRegistry(workspace).newest("rank")
    table = workspace.store.read(SIGNALS, run.artifacts["signals"]).tables["signals"]
    head = ["date", "asset_id", "ticker", "score", "rank", "model", "regime"]
    assert table.columns.tolist() == [*head, "mom", "char_00"]
    assert table["rank"].tolist() == [1, 2, 3, 4, 5, 6]
    assert table["score"].is_monotonic_decreasing
    np.testing.assert_allclose(table["score"], 0.5 * table["mom"] - table["char_00"])
    market = workspace.store.read(PANEL, run.artifacts["panel"])
    assert (table["date"] == market.time.index[-1]).all()
    close = pd.DataFrame(market.field("close"), columns=market.asset_ids)
    keep = (market.mask("member") & market.mask("tradable"))[-1]
    own = (close.iloc[-1] / close.iloc[-21])[keep]
    z = (own - own.mean()) / own.std()
    np.testing.assert_allclose(table["mom"], z[table["asset_id"]], atol=1e-5)
    exported = pd.read_csv(workspace.settings.results_root / "signals.csv")
    np.testing.assert_allclose(exported["score"], table["score"])
    assert outcome.metrics["n_signals"] == 6
    parquet = tmp_path / "best.parquet"
    rank(workspace, config, Location(), output=parquet)
    pd.testing.assert_frame_equal(pd.read_parquet(parquet), table)


@pytest.mark.parametrize(
    ("weights", "choice", "message"),
    [
        ({}, {}, "--weights: wanted a weight for every part"),
        ({"char_00": 0.0}, {}, "not all zero"),
        ({"char_00": "x"}, {}, "--weights: char_00: wanted a finite number"),
        ({"char_00": 1.0}, {"plugins": ("vsm",)}, "--weights: vsm: wanted a weight"),
    ],
)
def test_weights_that_are_missing_are_errors(tmp_path, weights, choice, message):
    with pytest.raises(ConfigError, match=message):
        rank_config(open_in(tmp_path), weights, **choice)


def test_unknown_names_files_and_models_are_errors(tmp_path):
    workspace = open_in(tmp_path)
    with pytest.raises(ConfigError, match="Did you mean 'momentum'"):
        rank(workspace, rank_config(workspace, {"momentun": 1.0}), Location())
    fine = rank_config(workspace, {"char_00": 1.0})
    with pytest.raises(ConfigError, match=r"--output: wanted the name of a \.csv or \.parquet"):
        rank(workspace, fine, Location(), output=tmp_path / "signals.txt")
    with pytest.raises(DataError, match="wanted a completed train run"):
        rank(workspace, rank_config(workspace, {"prediction": 1.0}), Location())
    never = rank_config(workspace, {"never": 1.0}, expressions={"never": "Mean($close, 5000)"})
    with pytest.raises(EmptyDataError, match="never: "):
        rank(workspace, never, Location())


def test_a_block_adds_only_what_the_baseline_lacks():
    base = features("base", a="$close", b="$open")
    whole = extended(base, ChosenFactors(features("more", same="$close", c="$high")))
    assert whole.names == ("a", "b", "c")
    with pytest.raises(ConfigError, match="block: wanted a feature that base does not have"):
        extended(base, ChosenFactors(features("more", same="$close")))
    with pytest.raises(ConfigError, match="block feature 'a': wanted a name"):
        extended(base, ChosenFactors(features("more", a="$high")))


def test_a_gain_needs_a_block_and_features_their_set(tmp_path):
    catalog = open_in(tmp_path).catalog
    with pytest.raises(ConfigError, match="--block: wanted features to add"):
        resolve_gain_config(settings(), catalog, block=FactorChoice())
    with pytest.raises(ConfigError, match="--feature: wanted the set"):
        resolve_gain_config(settings(), catalog, block=FactorChoice(features=("char_00",)))


@pytest.mark.parametrize("section", ["study", "ranking"])
def test_sections_hold_settings(tmp_path, section):
    resolve = {"study": resolve_factor_config, "ranking": resolve_rank_config}[section]
    with pytest.raises(ConfigError, match=f"settings: {section}: wanted a section"):
        resolve(settings(**{section: 5}), open_in(tmp_path).catalog, choice=FactorChoice())


def test_planted_characteristics_add_to_prices_out_of_sample(tmp_path):
    workspace = open_in(tmp_path)
    own = settings(
        feature_set="price_volume_core",
        split={"min_train_sessions": 126, "test_sessions": 63},
        model=RIDGE,
    )
    config = resolve_gain_config(
        own, workspace.catalog, block=FactorChoice(feature_set="simulated_core")
    )
    outcome = gain(workspace, config, Location())
    assert outcome.metrics["development_rank_ic_gain"] > 0.02
    assert outcome.metrics["development_rank_ic_t"] > 2.5
    run = RunRegistry(workspace).newest("gain")
    bundle = workspace.store.read(FACTOR_GAIN, run.artifacts["gain"])
    rows = bundle.tables["by_date"]
    labels = workspace.store.read(LABEL_PANEL, run.artifacts["labels"])
    assert rows["fold"].min() == 1
    assert rows["session"].is_unique
    development = rows[~rows["is_holdout"]]
    tests = bundle.tables["tests"].set_index(["sample", "measure"])
    paired = (development["rank_ic_second"] - development["rank_ic_first"]).mean()
    assert tests.loc[("development", "rank_ic"), "gain"] == pytest.approx(paired)
    # No development session whose label reaches into the holdout.
    end = pd.Series(labels.span_end, index=labels.values.time.index)
    first_holdout = rows.loc[rows["is_holdout"], "session"].min()
    assert (end[development["session"]] < first_holdout).all()
    ledger = track_ledger(workspace, outcome.track)
    assert [f.n_trials for f in ledger.families()] == [2]


def test_factors_of_reports_ask_for_reports(tmp_path):
    workspace = open_in(tmp_path)
    choice = FactorChoice(plugins=("accruals",))
    config = resolve_factor_config(settings(), workspace.catalog, choice=choice)
    with pytest.raises(MissingFieldError, match=r"net_income_usd_ttm.*--statements FILE"):
        research(workspace, config, Location())


@pytest.mark.slow
def test_factors_of_reports_read_point_in_time_filings(tmp_path, shared_data):
    equities = shared_data / "equities"
    workspace = open_in(tmp_path)
    choice = FactorChoice(plugins=("accruals", "pead"))
    config = resolve_factor_config(
        {"data": {"source": "local"}, "study": {"horizons": [20]}},
        workspace.catalog,
        choice=choice,
    )
    places = Location(
        bars=str(equities / "sp500_iex_201802"),
        statements=str(equities / "eq_pystock_reports_2015_03_2016_06.csv.gz"),
    )
    research(workspace, config, places)
    run = RunRegistry(workspace).newest("factors")
    values = workspace.store.read(FEATURE_PANEL, run.artifacts["features"])
    known = np.isfinite(values.field("accruals")).any(axis=1)
    first = values.time.index[known.argmax()]
    assert known.any()
    assert first >= pd.Timestamp("2015-03-01")

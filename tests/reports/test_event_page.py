"""The event-market page: exact values, absences with reasons, no request, equal bytes."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from quant_engine.core.errors import ConfigError
from quant_engine.core.tracks import Track
from quant_engine.reports.event_data import ROLES, EventReportSources, load_event_report
from quant_engine.reports.event_page import render_event_page
from quant_engine.reports.figures.event_scores import interval_figure, longshot_figure
from quant_engine.reports.figures.events import distribution_figure, leg_names, moment_text
from quant_engine.reports.panels.event_scores import fold_gains
from quant_engine.reports.panels.event_verdict import checklist_panels
from quant_engine.reports.theme import DARK, LIGHT

pytestmark = pytest.mark.feature("Q-45")


def load_fake():
    """Import the builder by path: test folders are not packages."""
    path = Path(__file__).with_name("fake_event_run.py")
    spec = importlib.util.spec_from_file_location("reports_fake_event_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake = load_fake()


@pytest.fixture(scope="module")
def data():
    return fake.data()


@pytest.fixture(scope="module")
def html(data):
    return render_event_page(data)


@pytest.fixture(scope="module")
def page(html, parse):
    return parse(html)


def values(page):
    return {one.get("data-metric"): one.get("data-value") for one in page.all(having="data-metric")}


def without(data, *roles):
    kept = {key: frame for key, frame in data.tables.items() if key[0] not in roles}
    return replace(data, tables=kept)


def test_equal_data_give_equal_pages_without_any_request(data, html):
    assert render_event_page(data) == html
    assert "default-src &#x27;none&#x27;" in html
    assert "https://" not in html.split("<style>")[0]


def test_the_track_is_named_at_the_top_and_text_is_escaped(html, page):
    found = values(page)
    assert found["track"] == Track.CALIBRATION.value
    assert found["run.environment"] == "fake"
    assert "Events of the fake &lt;exchange&gt;" in html
    assert "<exchange>" not in html
    assert [one.text for one in page.all("h1")] == ["Events of the fake <exchange>"]


def test_every_panel_is_filled_where_everything_is_there(page):
    assert set(page.panels.values()) == {"filled", "absent"}
    # Nothing was rendered from artifacts, so that there is no lineage; all else is there.
    assert [name for name, mode in page.panels.items() if mode == "absent"] == ["lineage"]
    wanted = {
        "calendar", "calendar-marks", "ladder-1-legs", "ladder-1-fit", "ladder-1-fan",
        "ladder-1-quality", "ladder-1-table", "incoherence", "arbitrage", "reliability-market",
        "reliability-shrunk", "pit", "murphy", "longshot", "calibration", "skill", "skill-figure",
        "fold-gain", "event-folds", "event-equity", "stresses", "strategies", "verdicts",
        "checklist", "availability", "freshness", "counters", "gaps", "ingest-runs", "leak-audit",
    }  # fmt: skip
    assert wanted <= set(page.panels)


def test_figures_carry_exact_values(data, page):
    found = values(page)
    skill = data.tables["forecasts", "skill"]
    own = skill[(skill["member"] == "shrunk") & (skill["base"] == "market")]
    gain = own.loc[own["score"] == "log_loss", "mean"].iloc[0]
    assert (found["best.member"], found["best.skill"]) == ("shrunk", repr(float(gain)))
    strategies = data.tables["trades", "strategies"].set_index("strategy")
    assert found["best.strategy"] == strategies["pnl_usd"].idxmax()
    for name, row in strategies.iterrows():
        assert found[f"strategies.{name}.pnl_usd"] == repr(float(row["pnl_usd"]))
    rows = data.tables["report", "availability"]
    recorded = rows.loc[rows["basis"] == "recorded", "n_rows"].sum() / rows["n_rows"].sum()
    assert found["availability.recorded"] == repr(float(recorded))
    assert found["audit.faults"] == "0"
    looks = data.tables["distributions", "looks"]
    hour = looks[looks["horizon_s"] == 3_600]
    assert found["incoherence.0.incoherence_usd"] == repr(
        float(hour["incoherence_e4"].mean() / 1e4)
    )
    assert found["incoherence.0.infeasible"] == repr(float(1 / fake.N_EVENTS))


def test_examples_are_the_newest_last_looks_of_every_family(data, page):
    assert data.examples == ((fake.N_EVENTS - 1, 3_600), (fake.N_EVENTS, 3_600))
    legs = data.of_look("distributions", "legs", data.examples[0])
    found = values(page)
    for number, row in enumerate(legs.itertuples()):
        assert found[f"ladder-1.leg.{number}.prob"] == repr(float(row.prob))
        assert found[f"ladder-1.leg.{number}.age_s"] == repr(float(row.age_s))
    # The lowest contract has no bid: it is shown absent, with the reason.
    assert found["ladder-1.leg.0.bid_usd"] == ""
    assert found["ladder-1.leg.0.absent"] == "stale"
    assert "ladder-2.outcome" not in found
    assert found["ladder-1.outcome"] == "3.1"


def test_a_stage_that_was_not_run_is_absent_with_its_reason(data, parse):
    page = parse(render_event_page(without(data, "forecasts", "trades", "report", "health")))
    reasons = {one.get("data-reason"): one.text for one in page.all(having="data-reason")}
    assert reasons["skill"] == ROLES["forecasts"][1]
    assert reasons["event-equity"] == ROLES["trades"][1]
    assert reasons["verdicts"] == reasons["leak-audit"] == ROLES["report"][1]
    assert reasons["counters"] == ROLES["health"][1]
    assert page.panels["calendar"] == "filled"
    assert all(reasons[name] for name, mode in page.panels.items() if mode == "absent")
    found = values(page)
    assert found["best.skill"] == found["audit.faults"] == found["availability.recorded"] == ""


@pytest.mark.parametrize("role", ROLES)
def test_any_stage_may_be_missing(data, parse, role):
    page = parse(render_event_page(without(data, role)))
    assert "absent" in page.panels.values()


def test_nothing_found_is_said_and_is_not_absence(data, parse):
    tables = {**data.tables, ("report", "arbitrage"): fake.empty("report", "arbitrage")}
    looks = data.tables["distributions", "looks"]
    tables["distributions", "looks"] = looks.assign(has_distribution=False, q50=np.nan)
    tables["trades", "strategies"] = data.tables["trades", "strategies"].assign(n_fills=0)
    page = parse(render_event_page(replace(data, tables=tables)))
    assert page.panels["arbitrage"] == "filled"
    assert page.panels["ladder"] == page.panels["event-equity"] == "absent"
    reasons = {one.get("data-reason"): one.text for one in page.all(having="data-reason")}
    assert reasons["ladder"] == "No ladder passed every gate."
    assert reasons["event-equity"] == "No order was filled."


def test_prices_without_sizes_are_told_apart_from_having_found_nothing(data, parse):
    legs = data.tables["distributions", "legs"].assign(bid_contracts=0.0, ask_contracts=0.0)
    tables = {
        **data.tables,
        ("distributions", "legs"): legs.assign(band_low=np.nan, band_high=np.nan),
        ("report", "arbitrage"): fake.empty("report", "arbitrage"),
        ("trades", "strategies"): data.tables["trades", "strategies"].assign(n_fills=0),
    }
    html = render_event_page(replace(data, tables=tables))
    page = parse(html)
    reasons = {one.get("data-reason"): one.text for one in page.all(having="data-reason")}
    assert "show no size" in reasons["arbitrage"]
    assert "against displayed sizes" in reasons["event-equity"]
    assert "contradict each other here" in html
    assert "contradict each other here" not in render_event_page(data)


def test_every_verdict_says_what_stopped_it(data):
    def told(**changed):
        tables = data.tables | {("report", name): frame for name, frame in changed.items()}
        return "".join(str(one) for one in checklist_panels(replace(data, tables=tables)))

    rules, verdicts = data.tables["report", "checklist"], data.tables["report", "verdicts"]
    strategy = verdicts["strategy"].iloc[0]
    hard = rules[(rules["strategy"] == strategy) & (rules["severity"] == "hard")]
    broken = hard.loc[hard["status"] != "pass", "rule"].tolist()
    named = "; ".join(rule.replace(" >=", "").replace(" <=", "") for rule in broken) or "nothing"
    assert f">{named}</td>" in told()
    assert "a; b" in told(verdicts=verdicts.assign(blocks="a;b"))
    unjudged = told(
        verdicts=verdicts.assign(blocks=""), checklist=fake.empty("report", "checklist")
    )
    assert "not judged" in unjudged


def test_leaks_and_disabled_gates_stand_at_the_top(data, parse):
    audit = data.tables["report", "audit"].assign(n_faults=2)
    verdicts = data.tables["report", "verdicts"].assign(status="not evaluated")
    tables = {
        **data.tables,
        ("report", "audit"): audit,
        ("report", "verdicts"): verdicts,
        ("report", "checklist"): fake.empty("report", "checklist"),
    }
    page = parse(render_event_page(replace(data, tables=tables)))
    found = values(page)
    assert found["audit.n_faults"] == found["audit.faults"] == str(2 * len(audit))
    assert page.panels["checklist"] == "absent"
    assert "Not evaluated" in [one.text for one in page.all("span")]


def test_a_sum_of_checks_is_not_counted_twice(data, parse):
    audit = data.tables["report", "audit"].assign(n_faults=[1, 1, 0, 0, 0, 0])
    extra = pd.DataFrame({"check": ["panel"] * 3, "subject": ["late", "early", "all"],
                          "n_rows": [9, 9, 9], "n_faults": [2, 1, 2], "poison": [""] * 3,
                          "asof_us": [0, 0, 0]})  # fmt: skip
    tables = {**data.tables, ("report", "audit"): pd.concat([audit, extra])}
    found = replace(data, tables=tables)
    assert found.n_leak_faults == 2 + 2
    shown = values(parse(render_event_page(found)))
    assert shown["leak_audit.n_faults"] == "4"
    assert "all" not in [text for name, text in shown.items() if name.endswith(".subject")]


def test_every_figure_knows_both_palettes_and_stays_small(html, page):
    assert len(html) - len(get_plotlyjs()) < 1_000_000
    drawn = {one.get("data-figure") for one in page.all(having="data-figure")}
    specs = {one.get("data-figure-spec") for one in page.all(having="data-figure-spec")}
    assert drawn == specs
    assert len(drawn) >= 16
    for colour in (LIGHT.strategy, DARK.strategy):
        assert colour in html


def test_the_page_comes_from_a_store_with_its_lineage(tmp_path, parse):
    store, sources = fake.stored(tmp_path)
    loaded = load_event_report(store, sources)
    for key, frame in fake.data().tables.items():
        pd.testing.assert_frame_equal(
            loaded.tables[key], frame, check_dtype=False, check_column_type=False
        )
    assert (loaded.as_of, loaded.dataset, loaded.track) == (
        "2023-12-14", "fake/7", Track.CALIBRATION,
    )  # fmt: skip
    assert [node.kind for node in loaded.lineage.nodes] == [k.name for k, _ in ROLES.values()]
    assert len(loaded.lineage.edges) == len(ROLES) - 1
    page = parse(render_event_page(loaded))
    assert "absent" not in page.panels.values()


def test_sources_are_checked(tmp_path):
    _, sources = fake.stored(tmp_path, roles=("panel",))
    with pytest.raises(ConfigError, match="one or more of"):
        replace(sources, refs={})
    with pytest.raises(ConfigError, match="ladders"):
        replace(sources, refs={"ladders": sources.refs["panel"]})
    assert isinstance(sources, EventReportSources)


def test_gains_by_fold_by_plain_loops(data):
    scores = data.tables["forecasts", "scores"]
    found = fold_gains(scores, "shrunk").set_index("fold")
    for fold, rows in scores.groupby("fold"):
        by_cluster = []
        for _, own in rows.groupby("cluster_id"):
            loss = own.groupby("member")["log_loss"].mean()
            by_cluster.append(loss["market"] - loss["shrunk"])
        assert found.loc[fold, "mean"] == pytest.approx(np.mean(by_cluster))
        half = 1.959963984540054 * np.std(by_cluster, ddof=1) / np.sqrt(len(by_cluster))
        assert found.loc[fold, "high"] - found.loc[fold, "mean"] == pytest.approx(half)
    alone = fold_gains(scores[scores["cluster_id"] == 1], "shrunk")
    assert alone[["low", "high"]].isna().all(axis=None)


def test_names_moments_and_edges_of_figures():
    legs = pd.DataFrame(
        {
            "strike_type": ["less", "between", "greater_or_equal", "between"],
            "floor_strike": [np.nan, 75.0, 77.0, np.nan],
            "cap_strike": [75.0, 76.0, np.nan, 3.0],
            "ticker": list("ABCD"),
        }
    )
    assert leg_names(legs) == ["< 75", "75 to 76", "≥ 77", "D"]
    assert moment_text(pd.Series([0, None], dtype="Int64")) == ["1970-01-01 00:00", None]
    table = pd.DataFrame({"name": ["a", "b"], "mean": [1.0, -1.0], "low": [0.5, np.nan],
                          "high": [1.5, np.nan]})  # fmt: skip
    assert interval_figure(table, unit="x").data[0].marker.color == (LIGHT.up, LIGHT.benchmark)
    rows = {"mean_price_usd": [0.1], "gain_usd": [0.01], "std_error_usd": [0.005], "n_legs": [9]}
    assert longshot_figure(pd.DataFrame(rows)).data[0].error_y.array.tolist() == [0.98]


def test_a_lattice_is_drawn_where_it_has_mass(data):
    look = data.examples[0]
    cells = data.of_look("distributions", "cells", look)
    atoms = data.of_look("distributions", "atoms", look)
    figure = distribution_figure(cells, atoms, outcome=3.1)
    drawn = figure.data[0].y
    assert len(drawn) < len(cells)
    assert drawn.sum() > 0.99
    # Cumulative prices stand on the distribution function where their outcome ends.
    prices, curve = figure.data[-1], figure.data[-2]
    on_curve = dict(zip(np.round(curve.x, 6), curve.y, strict=True))
    wanted = [on_curve[x] for x in np.round(prices.x, 6) if x in on_curve]
    assert len(wanted) >= 5
    is_drawn = [x in on_curve for x in np.round(prices.x, 6)]
    np.testing.assert_allclose(prices.y[is_drawn], wanted, atol=1e-9)
    assert [shape.x0 for shape in figure.layout.shapes][:1] == [3.1]

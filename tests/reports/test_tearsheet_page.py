"""The page as a document: self-contained, deterministic, escaped, accessible, honest when empty."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from datetime import date
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from plotly.offline import get_plotlyjs

from quant_engine.core.tracks import Track
from quant_engine.reports import (
    DatasetFacts,
    Lineage,
    LineageNode,
    QualityOutcome,
    RunFacts,
    TearSheetData,
    render_tearsheet,
)
from quant_engine.reports.panels.performance import equity_panel
from quant_engine.reports.tearsheet_data import FRAMES

FRAME_FIELDS = [name for name in FRAMES if name != "coverage"]


def empty_run(**changes) -> TearSheetData:
    dataset = DatasetFacts(
        dataset_id="d",
        source="s",
        first_session=date(2024, 1, 2),
        last_session=date(2024, 1, 3),
        n_assets=2,
    )
    run = RunFacts(
        run_id="r",
        model_version="m",
        config_id="c",
        code_digest="k",
        horizon_sessions=5,
        as_of="2024-01-03",
    )
    plain = {
        "title": "Empty",
        "track": Track.RESEARCH,
        "dataset": dataset,
        "run": run,
        "periods_per_year": 252.0,
        "summary": {},
    }
    return TearSheetData(**(plain | changes))


def test_equal_data_give_equal_text(run_data, html) -> None:
    assert (render_tearsheet(run_data) == html) is True


def test_plotly_is_inlined_once_and_nothing_is_fetched(html) -> None:
    library = get_plotlyjs()
    assert html.count(library) == 1
    rest = html.replace(library, "")
    assert not re.search(r"""(?:src|srcset|action|poster)\s*=""", rest)
    assert set(re.findall(r'href="([^"]*)"', rest)) <= {
        "data:,",
        *(f"#{anchor}" for anchor in re.findall(r'\bid="([^"]+)"', rest)),
    }
    assert not re.search(r"@import|url\(|https?://|fetch\(|XMLHttpRequest|sendBeacon", rest)


def test_security_policy_names_exactly_the_scripts_of_the_page(html) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(one.encode()).digest()).decode() for one in scripts]
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy is not None
    text = policy.group(1).replace("&#x27;", "'")
    assert re.findall(r"'sha256-([^']+)'", text) == digests
    assert text.startswith("default-src 'none'; ")
    assert "unsafe-inline" not in text.split("script-src")[1].split(";")[0]
    # Browsers hash what the parser saw, and the parser turns CR LF into LF.
    assert "\r" not in html


@pytest.mark.slow
def test_ten_years_stay_small(fake_run_module) -> None:
    page = render_tearsheet(fake_run_module.fake_run(2520, n_trades=2000))
    assert len(page.encode()) - len(get_plotlyjs().encode()) < 1_500_000


def test_no_wall_clock_and_no_random_number_in_the_package() -> None:
    from importlib import resources

    folder = resources.files("quant_engine.reports")
    sources = [
        path
        for path in [
            *folder.iterdir(),
            *(folder / "panels").iterdir(),
            *(folder / "figures").iterdir(),
        ]
        if path.name.endswith(".py")
    ]
    assert len(sources) > 15
    for path in sources:
        assert not re.search(
            r"np\.random|default_rng|import random|\.now\(|\.today\(|time\.time", path.read_text()
        ), path.name


@pytest.mark.feature("Q-34")
def test_full_run_fills_every_panel(page) -> None:
    # The validation suite runs when asked; every other part belongs to every run.
    assert {name for name, mode in page.panels.items() if mode != "filled"} == {"suite"}
    assert len(page.panels) > 30


def test_empty_run_says_in_every_panel_why_it_is_empty(parse) -> None:
    page = parse(render_tearsheet(empty_run()))
    modes = {name: mode for name, mode in page.panels.items() if not name.startswith("kpi-")}
    always = {"sharpe", "glossary"}
    assert {name for name, mode in modes.items() if mode == "filled"} == always
    reasons = {one.get("data-reason"): one.text for one in page.all(having="data-reason")}
    assert set(reasons) == set(modes) - always
    assert all(len(text) > 15 and text.endswith(".") for text in reasons.values())
    assert not page.all(having="data-figure")


def test_missing_tables_show_their_recorded_reasons(run_data, parse) -> None:
    names = [*FRAME_FIELDS, "lineage", "verdict"]
    reasons = {name: f"Because the {name} were lost." for name in names}
    changed = replace(run_data, **dict.fromkeys(names), absent=reasons)
    page = parse(render_tearsheet(changed))
    for name, reason in reasons.items():
        assert any(reason in text for text in page.bare_text), name
    filled = {name for name, mode in page.panels.items() if mode == "filled"}
    assert "coverage" in filled
    assert not filled & {"equity", "monthly", "folds", "trade-statistics", "ic-date", "lineage"}


def test_tables_without_rows_are_absent_and_no_error(run_data, parse) -> None:
    emptied = {name: getattr(run_data, name).iloc[:0] for name in FRAME_FIELDS}
    page = parse(render_tearsheet(replace(run_data, **emptied)))
    filled = {name for name, mode in page.panels.items() if mode == "filled"}
    # No findings of quality rules is a result, not a gap.
    assert "quality" in filled
    assert not filled & {"equity", "monthly", "folds", "trade-statistics", "ic-date", "costs"}


@pytest.mark.parametrize("column", ["turnover", "cost_impact", "n_short", "net_exposure"])
def test_a_missing_daily_column_leaves_the_page_whole(column, run_data, parse) -> None:
    page = parse(render_tearsheet(replace(run_data, daily=run_data.daily.drop(columns=column))))
    assert len(page.panels) > 30


def test_missing_and_empty_daily_columns_are_the_same(run_data) -> None:
    optional = list(FRAMES["daily"].optional)
    dropped = replace(run_data, daily=run_data.daily.drop(columns=optional))
    emptied = replace(run_data, daily=run_data.daily.assign(**dict.fromkeys(optional, np.nan)))
    assert list(emptied.daily.columns) == list(dropped.daily.columns)
    assert (render_tearsheet(dropped) == render_tearsheet(emptied)) is True
    assert list(run_data.daily.columns) == [*FRAMES["daily"].required, *optional]


def test_missing_benchmark_and_regime_are_said_in_words(run_data, parse) -> None:
    daily = run_data.daily.drop(columns=["benchmark_ret", "regime", "ret_hedged"])
    absent = {"daily.benchmark_ret": "No index was configured."}
    page = parse(render_tearsheet(replace(run_data, daily=daily, absent=absent)))
    notes = " ".join(page.bare_text)
    assert "No benchmark: No index was configured." in notes
    assert "No beta: No index was configured." in notes
    assert "No regime shading:" in notes


def test_summary_values_that_do_not_exist_are_shown_with_their_reason(page) -> None:
    cards = [one for one in page.all("dd") if "single trial" in one.text]
    assert [one.text for one in cards] == [
        "n/aThe trial ledger of this dataset holds a single trial."
    ]


def test_too_short_a_run_has_no_rolling_panel(fake_run_module, parse) -> None:
    data = fake_run_module.fake_run(140)
    short = replace(data, daily=data.daily.iloc[:100])
    assert parse(render_tearsheet(short)).panels["rolling"] == "absent"


def test_ruin_has_no_logarithm(run_data, parse) -> None:
    daily = run_data.daily.copy()
    daily.loc[daily.index[50], "ret_net"] = -1.0
    page = parse(render_tearsheet(replace(run_data, daily=daily)))
    assert page.panels["equity"] == "filled"
    assert not page.all(having="data-setting")


def test_in_sample_run_is_marked_on_top(run_data, parse) -> None:
    page = parse(render_tearsheet(replace(run_data, run=replace(run_data.run, is_in_sample=True))))
    heads = [one.text for one in page.all("h2")]
    assert heads[0] == "In-sample figures"


@pytest.mark.parametrize("track", list(Track))
def test_track_is_named_and_explained(track, parse) -> None:
    page = parse(render_tearsheet(empty_run(track=track)))
    badge = [one for one in page.all(having="data-metric") if one.get("data-metric") == "track"]
    assert badge[0].get("data-value") == track.value
    assert f"{track.value.capitalize()} track" in page.bare_text


def test_every_text_is_escaped(run_data) -> None:
    evil = '<script>alert("x")</script><img src=x onerror=alert(1)> & "quoted" \u2028'
    trades = run_data.trades.assign(ticker=evil, exit_reason=evil)
    findings = run_data.quality_findings.assign(rule=[f"{evil}{k}" for k in range(5)])
    data = replace(
        run_data,
        title=evil,
        dataset=replace(run_data.dataset, dataset_id=evil, source=evil, absences=(evil,)),
        run=replace(run_data.run, run_id=evil, model_version=evil, as_of=evil),
        summary={**run_data.summary, evil: 1.0, "sharpe_method": evil},
        verdict=QualityOutcome(promotable=False, reasons=(evil,)),
        trades=trades,
        quality_findings=findings,
        time_contract=(evil,),
        warnings=(evil,),
        absent={"deflated_sharpe": evil},
        regime_names={code: evil for code in range(4)},
        lineage=Lineage(nodes=(LineageNode(kind=evil, artifact_id=evil, sha256=evil, label=evil),)),
    )
    plain, hostile = render_tearsheet(run_data), render_tearsheet(data)
    for pattern in ("<script", "</script", "<img", "onerror=alert(1)>"):
        assert hostile.count(pattern) == plain.count(pattern), pattern
    assert "\u2028" not in re.sub(r"(?s)<body>.*?<main", "", hostile.split("tearsheet-themes")[1])


def test_figure_blocks_are_strict_json(page) -> None:
    blocks = page.all("script", having="data-figure-spec")
    names = [one.get("data-figure-spec") for one in blocks]
    assert names == [one.get("data-figure") for one in page.all(having="data-figure")]
    assert len(set(names)) == len(names) >= 15

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    for block in blocks:
        spec = json.loads(block.text, parse_constant=refuse)
        assert set(spec) == {"data", "layout"}
        assert "template" not in spec["layout"]


class TestAccessibility:
    def test_language_title_and_one_main_heading(self, page) -> None:
        assert page.all("html")[0].get("lang") == "en"
        assert len(page.all("h1")) == 1
        assert len(page.all("main")) == 1
        assert page.all("title")[0].text

    def test_headings_do_not_skip_a_level(self, page) -> None:
        levels = [int(one.tag[1]) for one in page.elements if re.fullmatch(r"h[1-6]", one.tag)]
        assert levels[0] == 1
        assert all(after - before <= 1 for before, after in pairwise(levels))

    def test_tables_have_captions_and_scopes(self, page) -> None:
        assert len(page.all("table")) == len(page.all("caption")) > 10
        assert {one.get("scope") for one in page.all("th")} == {"col", "row"}

    def test_ids_are_unique_and_labels_exist(self, page) -> None:
        ids = [one.get("id") for one in page.all(having="id")]
        assert len(set(ids)) == len(ids)
        assert {one.get("aria-labelledby") for one in page.all(having="aria-labelledby")} <= set(
            ids
        )

    def test_figures_have_a_text_alternative_and_a_heading(self, page) -> None:
        for slot in page.all(having="data-figure"):
            assert slot.get("role") == "img"
            assert len(slot.get("aria-label")) > 20
        assert len({one.get("aria-label") for one in page.all(having="data-figure")}) >= 15

    def test_decoration_is_hidden_from_readers(self, page) -> None:
        curves = page.all("svg")
        assert len(curves) == 8
        assert all(one.get("aria-hidden") == "true" for one in curves)

    def test_buttons_say_what_they_do(self, page) -> None:
        for button in page.all("button"):
            assert button.text.strip()
            assert button.get("type") == "button"


def test_every_glossary_link_has_its_line(page) -> None:
    ids = {one.get("id") for one in page.all(having="id")}
    links = {one.get("href")[1:] for one in page.all("a", having="href")}
    assert links <= ids
    assert sum(name.startswith("g-") for name in links) > 20


def test_style_sheet_uses_only_defined_colours(html) -> None:
    style = re.search(r"<style>(.*?)</style>", html, flags=re.DOTALL).group(1)
    defined = set(re.findall(r"(--[a-z0-9-]+):", style))
    used = set(re.findall(r"var\((--[a-z0-9-]+)\)", style))
    # Tables set their own number of rows.
    assert used - {"--rows"}
    assert used - {"--rows"} <= defined
    # The only colours outside the palette are paper white and shadows.
    rules = style.split("\n", 1)[1]
    assert set(re.findall(r"#[0-9a-fA-F]{3,8}\b", rules)) == {"#fff"}


def test_lineage_columns_follow_the_edges(page, run_data) -> None:
    shown = [one for one in page.all("li") if one.get("class") == "node"]
    depths = run_data.lineage.depths()
    order = [depths[one.get("title")] for one in shown]
    assert order == sorted(order)
    assert len(shown) == len(run_data.lineage.nodes)


def test_single_session_run_is_absent_not_broken(run_data, parse) -> None:
    page = parse(render_tearsheet(replace(run_data, daily=run_data.daily.iloc[:1])))
    assert page.panels["equity"] == "absent"


def test_missing_regime_codes_may_be_written_in_three_ways(run_data) -> None:
    as_float = run_data.daily.assign(regime=run_data.daily["regime"].astype(float))
    as_float.loc[as_float["regime"] < 0, "regime"] = np.nan
    nullable = run_data.daily.assign(regime=run_data.daily["regime"].astype(pd.Int8Dtype()))
    panels = {
        equity_panel(replace(run_data, daily=daily))
        for daily in (run_data.daily, as_float, nullable)
    }
    assert len(panels) == 1

"""The factor page: every figure beside its exact value, absences with reasons, no request."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.tracks import Track
from quant_engine.reports.factor_data import FactorPageData
from quant_engine.reports.factor_page import render_factor_page
from quant_engine.reports.figures.factors import (
    chance_figure,
    decay_figure,
    grid_figure,
    group_figure,
)
from quant_engine.reports.panels.factors import N_DETAILS, N_ROWS
from quant_engine.reports.tearsheet_data import DatasetFacts
from quant_engine.stats.factor_study import (
    PARTS,
    FactorMarket,
    FactorStudyConfig,
    false_discovery,
    study_factor,
    study_table,
)

pytestmark = pytest.mark.feature("Q-48")

N_DATES, N_ASSETS = 90, 24
STUDY = FactorStudyConfig(horizons=(1, 5), main_horizon=5, delays=(0, 1, 5))


def tables_of(scores, market):
    studies = {name: study_factor(score, market, STUDY) for name, score in scores.items()}
    tables = {part: study_table(studies, part) for part in PARTS}
    tables["horizons"] = tables["horizons"].assign(**false_discovery(tables["horizons"]["p"]))
    rows = [
        {"factor": name, "family": "f", "formula": f"${name} < 1 & 2", "unit": "u", **one.headline}
        for name, one in studies.items()
    ]
    return tables | {"factors": pd.DataFrame(rows).astype({"n_sessions": "int64"})}


def page_data(n_factors, *, sectors=True):
    rng = np.random.default_rng(7)
    shape = (N_DATES, N_ASSETS)
    scores = {f"fac_{k:02d}": rng.standard_normal(shape) for k in range(n_factors)}
    first = scores["fac_00"]
    earned = 0.01 * (0.5 * first + rng.standard_normal(shape))
    days = np.arange("2024-01-01", "2025-01-01", dtype="M8[D]")
    market = FactorMarket(
        sessions=days[np.is_busday(days)][:N_DATES],
        outcomes={1: earned, 5: earned + 0.01 * rng.standard_normal(shape)},
        allowed=np.ones(shape, dtype=bool),
        regimes=np.repeat([0, 1, 2], 30),
        sectors=np.tile(np.arange(N_ASSETS) % 2, (N_DATES, 1)) if sectors else None,
        sector_names=("Energy & Co", "Tech") if sectors else (),
    )
    if n_factors > 1:
        scores["fac_01"] = np.ones(shape)
    tables = tables_of(scores, market)
    return FactorPageData(
        title="Factor report of <demo>",
        run_id="r1",
        as_of="2024-05-03",
        config_id="c" * 64,
        code_digest="d" * 64,
        track=Track.CALIBRATION,
        dataset=DatasetFacts(
            dataset_id="demo",
            source="simulated",
            first_session=date(2024, 1, 1),
            last_session=date(2024, 5, 3),
            n_assets=N_ASSETS,
        ),
        facts={
            "factor_set": "tiny/1",
            "target": "excess",
            "study": STUDY.content(),
            "n_factors": n_factors,
            "n_tests": int(tables["horizons"]["p"].notna().sum()),
        },
        tables=tables,
        n_trials=77,
    )


@pytest.fixture(scope="module")
def data():
    return page_data(3)


@pytest.fixture(scope="module")
def html(data):
    return render_factor_page(data)


@pytest.fixture(scope="module")
def page(html, parse):
    return parse(html)


def values(page):
    return {one.get("data-metric"): one.get("data-value") for one in page.all(having="data-metric")}


def test_equal_data_give_equal_pages_without_any_request(data, html):
    assert render_factor_page(data) == html
    assert "default-src &#x27;none&#x27;" in html
    assert "https://" not in html.split("<style>")[0]


def test_factors_stand_in_the_order_of_their_t(data, page):
    shown = [one.text for one in page.all("th") if one.get("data-metric").endswith(".factor")]
    assert shown[:3] == data.ranked["factor"].tolist()
    assert shown[0] == "fac_00"
    assert shown[-1] == "fac_01"


def test_every_cell_carries_its_exact_value(data, page):
    found = values(page)
    for row in data.ranked.itertuples(index=False):
        for name in ("rank_ic", "t", "q_bh", "q_by", "spread_bps", "turnover", "coverage"):
            wanted = getattr(row, name)
            text = found[f"factors.{row.factor}.{name}"]
            assert text == ("" if np.isnan(wanted) else repr(float(wanted)))


def test_the_number_of_tests_and_of_trials_stands_on_top(data, page):
    found = values(page)
    assert found["n_trials"] == "77"
    n_tests = data.facts["n_tests"]
    assert found["facts.n_tests"] == str(n_tests) == "4"
    assert found["facts.by_chance"] == repr(0.05 * n_tests)
    tests = data.tables["horizons"]
    assert found["found.q_by"] == str(int((tests["q_by"] < 0.05).sum()))
    assert found["found.q_bh"] == str(int((tests["q_bh"] < 0.05).sum()))
    assert found["found.p"] == str(int((tests["p"] < 0.05).sum()))


def test_texts_of_the_run_are_escaped(html):
    assert "Factor report of &lt;demo&gt;" in html
    assert "$fac_00 &lt; 1 &amp; 2" in html
    assert "<demo>" not in html


def test_a_factor_that_measured_nothing_says_so(data, page):
    place = data.ranked["factor"].tolist().index("fac_01") + 1
    parts = ("time", "horizons", "quantiles", "decay", "groups")
    absent = {"lineage", *(f"factor-{place}-{part}" for part in parts)}
    assert {name for name, mode in page.panels.items() if mode == "absent"} == absent


def test_long_lists_are_folded_and_only_the_strongest_have_figures(parse):
    data = page_data(N_ROWS + 4)
    page = parse(render_factor_page(data))
    detailed = [name for name in page.panels if name.endswith("-facts")]
    assert len(detailed) == N_DETAILS
    (summary,) = [one.text for one in page.all("summary") if "more" in one.text]
    assert summary == "Show 4 more"
    rows = [one for one in page.all("th") if one.get("data-metric").endswith(".factor")]
    assert len(rows) == N_ROWS + 4


def test_without_sectors_the_regimes_stand_alone(parse):
    html = render_factor_page(page_data(1, sectors=False))
    assert "No sectors were given" in html
    assert parse(html).panels["grid-groups"] == "filled"


def test_without_any_test_nothing_is_compared_with_chance(data, parse):
    tests = data.tables["horizons"].assign(p=np.nan)
    page = parse(render_factor_page(replace(data, tables={**data.tables, "horizons": tests})))
    assert page.panels["chance"] == "absent"


def test_half_lives_are_worded(data):
    factors = data.tables["factors"]
    shown = ((3.25, "Halved after"), (np.inf, "Not halved within 5 sessions"), (np.inf, "&gt; 5<"))
    for half, wanted in shown:
        changed = factors.assign(half_life_sessions=half)
        html = render_factor_page(replace(data, tables={**data.tables, "factors": changed}))
        assert wanted in html


def test_points_of_chance_are_logarithms_of_sorted_p_values():
    figure = chance_figure(pd.Series([0.5, 0.01, np.nan, 0.1]))
    np.testing.assert_allclose(figure.data[1].y, [2.0, 1.0, -np.log10(0.5)], rtol=1e-6)
    np.testing.assert_allclose(figure.data[1].x, -np.log10([0.5 / 3, 1.5 / 3, 2.5 / 3]), rtol=1e-6)


def test_intervals_come_from_the_t():
    table = pd.DataFrame(
        {"delay": [0, 5], "rank_ic": [0.04, -0.01], "t": [4.0, 0.0], "n": [50, 45]}
    )
    widths = decay_figure(table).data[0].error_y.array
    assert widths[0] == pytest.approx(1.959964 * 0.01, rel=1e-6)
    assert np.isnan(widths[1])
    groups = pd.DataFrame(
        {"by": "sector", "group": ["a_b", "c"], "rank_ic": [0.02, np.nan], "t": [2.0, np.nan],
         "n": [50, 0]}
    )  # fmt: skip
    bars = group_figure(groups).data[0]
    assert list(bars.y) == ["a b"]
    assert bars.error_x.array[0] == pytest.approx(1.959964 * 0.01, rel=1e-6)


def test_a_grid_shows_what_is_missing_as_nothing():
    frame = pd.DataFrame({"1 s": [2.0, np.nan], "5 s": [-1.0, 0.0]}, index=["a", "b"])
    heat = grid_figure(frame).data[0]
    assert heat.text.tolist() == [["+2.0", "−1.0"], ["", "0.0"]]
    assert heat.zmax == pytest.approx(np.quantile([2.0, 1.0, 0.0], 0.95))
    empty = grid_figure(frame * np.nan).data[0]
    assert empty.zmax == 1.0

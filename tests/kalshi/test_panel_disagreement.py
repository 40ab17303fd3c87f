"""Markets against other opinions: distances by second derivations, significance, and time."""

from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm, wasserstein_distance

from quant_engine.core.errors import DataError, LookAheadError, SchemaMismatchError
from quant_engine.kalshi.disagreement import (
    Disagreement,
    Reference,
    disagree,
    disagreement_frame,
    forecast_references,
    history_references,
    ladder_references,
    normal_reference,
    on_lattice,
)
from quant_engine.kalshi.distribution import reconstruct
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import LegQuote

pytestmark = pytest.mark.feature("Q-45")

STRIKES = range(66, 85, 2)
LEGS = tuple(Contract(f"T{k}", "greater", float(k)) for k in STRIKES)


def market(mean, sd, half_spread=50):
    price = [1e4 * norm.sf((k + 0.5 - mean) / sd) for k in STRIKES]
    quotes = [
        LegQuote(leg.ticker, max(round(p) - half_spread, 0), min(round(p) + half_spread, 10_000))
        for leg, p in zip(LEGS, price, strict=True)
    ]
    return reconstruct(LEGS, quotes, SettlementGrid(1.0), is_exclusive=False)


def test_distances_and_gaps_are_those_of_both_distributions():
    here = market(75.0, 3.0)
    there = normal_reference(73.0, 2.0, here, avail_us=5, mean_sd=0.5)
    found = disagree(here, there, asof_us=5)
    x, p, q = here.points, here.pmf, there.pmf
    assert q.sum() == pytest.approx(1.0)
    inside = norm.cdf((x[10:20] + 0.5 - 73) / 2) - norm.cdf((x[10:20] - 0.5 - 73) / 2)
    np.testing.assert_allclose(q[10:20], inside, atol=1e-12)
    assert found.wasserstein == pytest.approx(wasserstein_distance(x, x, p, q))
    assert found.js_nats == pytest.approx(jensenshannon(p, q) ** 2)
    assert found.hellinger == pytest.approx(np.sqrt(((np.sqrt(p) - np.sqrt(q)) ** 2).sum() / 2))
    assert found.mean_gap == pytest.approx(p @ x - q @ x)
    assert found.q50_gap == pytest.approx(2.0, abs=0.1)
    assert found.q95_gap - found.q05_gap == pytest.approx(2 * norm.ppf(0.95), abs=0.2)
    sd = np.sqrt(q @ (x - q @ x) ** 2)
    assert found.log_sd_ratio == pytest.approx(np.log(here.sd / sd))
    z = found.mean_gap / np.hypot(here.mean_sd, 0.5)
    assert found.z == pytest.approx(z)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(z)))
    assert found.sign == 1.0
    assert 0.3 < found.outside_share < 1.0


def test_agreement_is_no_disagreement():
    here = market(75.0, 3.0)
    same = Reference(here.points, here.pmf, avail_us=0, mean_sd=0.3)
    found = disagree(here, same, asof_us=1)
    assert (found.wasserstein, found.mean_gap, found.sign, found.outside_share) == (0, 0, 0, 0)
    assert found.js_nats == pytest.approx(0.0, abs=1e-12)
    assert found.p_value == 1.0
    # The same gap is none against an opinion that hardly knows its own mean.
    gap = normal_reference(74.0, 3.0, here, avail_us=0, mean_sd=3.0)
    assert disagree(here, gap, asof_us=1).sign == 0.0


@pytest.mark.leakage
def test_an_opinion_from_after_the_decision_is_refused():
    here = market(75.0, 3.0)
    late = normal_reference(75.0, 3.0, here, avail_us=6)
    with pytest.raises(LookAheadError, match="known by 5"):
        disagree(here, late, asof_us=5)


def test_a_market_without_a_distribution_has_no_disagreement():
    here = market(75.0, 3.0)
    none = reconstruct(LEGS, [], SettlementGrid(1.0), is_exclusive=False)
    found = disagree(none, normal_reference(75.0, 3.0, here, avail_us=0), asof_us=1)
    assert all(np.isnan(getattr(found, field.name)) for field in fields(Disagreement))


def test_opinions_on_other_cells_keep_their_mass():
    fine = Reference(np.arange(0.0, 10.0, 0.5), np.full(20, 0.05), avail_us=0)
    coarse = on_lattice(fine, [1.0, 3.0, 5.0, 7.0])
    # Cells end at 2, 4 and 6; the opinion is even from -0.25 to 9.75.
    np.testing.assert_allclose(coarse, [0.225, 0.2, 0.2, 0.375])
    assert on_lattice(fine, fine.points) is fine.pmf
    assert fine.mean == pytest.approx(4.75)


@pytest.mark.parametrize(
    ("points", "pmf"),
    [([0.0, 1.0], [0.5, 0.6]), ([1.0, 0.0], [0.5, 0.5]), ([0.0, 1.0, 3.0], [0.2, 0.3, 0.5]),
     ([0.0, 1.0], [-0.5, 1.5]), ([0.0], [1.0])],
)  # fmt: skip
def test_what_is_no_distribution_is_refused(points, pmf):
    with pytest.raises(DataError, match="add up to 1"):
        Reference(np.array(points), np.array(pmf), avail_us=0)


def test_a_normal_opinion_needs_a_spread():
    with pytest.raises(DataError, match="positive standard deviation"):
        normal_reference(0.0, 0.0, market(75.0, 3.0), avail_us=0)


N_DAYS = 16


@pytest.fixture(scope="module")
def made():
    """One event a day of two series; day k is decided at 100 k and printed at 100 k + 50."""
    rng = np.random.default_rng(2)
    here = market(75.0, 3.0)
    keys = [(10 * d + s, 3_600) for d in range(1, N_DAYS) for s in (1, 2)]
    cells = pd.DataFrame(
        {
            "asof_us": [100 * (e // 10) for e, _ in keys],
            "release_id": pd.array([e for e, _ in keys], "Int64"),
            "cluster_id": pd.array([e // 10 for e, _ in keys], "Int64"),
            "series_id": pd.array([e % 10 for e, _ in keys], "Int64"),
            "max_input_avail_us": [100 * (e // 10) - 1 for e, _ in keys],
        },
        index=pd.MultiIndex.from_tuples(keys, names=["event_id", "horizon_s"]),
    )
    outcomes = pd.DataFrame(
        {
            "release_id": [e for e, _ in keys],
            "value": 75.0 + rng.normal(0, 3, len(keys)),
            "avail_us": [100 * (e // 10) + 50 for e, _ in keys],
        }
    )
    panel = SimpleNamespace(looks=cells, distributions=dict.fromkeys(keys, here))
    return panel, outcomes


def test_the_base_rate_is_that_of_the_series_and_of_what_was_over(made):
    panel, outcomes = made
    found = history_references(panel, outcomes, clusters=6, least=4)
    values = outcomes.set_index("release_id")["value"]
    for event_id, horizon_s in panel.looks.index:
        day, series = divmod(event_id, 10)
        past = [values[10 * d + series] for d in range(max(1, day - 6), day)]
        if len(past) < 4:
            assert (event_id, horizon_s) not in found
            continue
        reference = found[event_id, horizon_s]
        assert reference.n == len(past)
        assert reference.avail_us == 100 * (day - 1) + 50
        assert reference.mean == pytest.approx(np.mean(past), abs=0.02)
        assert reference.mean_sd == pytest.approx(np.std(past, ddof=1) / len(past) ** 0.5)


def test_forecasts_are_moved_by_their_past_errors(made):
    panel, outcomes = made
    rng = np.random.default_rng(8)
    truth = outcomes.set_index("release_id")["value"]
    early = pd.DataFrame(
        {
            "release_id": truth.index,
            "avail_us": [100 * (e // 10) - 20 for e in truth.index],
            "value": truth.to_numpy() + 1.5 + rng.normal(0, 0.5, len(truth)),
        }
    )
    # A better one that comes out after the decision.
    late = early.assign(avail_us=early["avail_us"] + 40, value=truth.to_numpy())
    both = pd.concat([late, early])
    found = forecast_references(panel, both, outcomes, least=5)
    alone = forecast_references(panel, early, outcomes, least=5)
    assert found.keys() == alone.keys()
    forecast = early.set_index("release_id")["value"]
    for (event_id, horizon_s), reference in found.items():
        day, series = divmod(event_id, 10)
        past = [10 * d + series for d in range(1, day)]
        errors = (truth - forecast)[past]
        assert reference.mean == pytest.approx(forecast[event_id] + errors.mean(), abs=0.05)
        assert reference.mean_sd == pytest.approx(errors.std() / len(past) ** 0.5)
        assert reference.avail_us == max(100 * day - 20, 100 * (day - 1) + 50)
        np.testing.assert_array_equal(reference.pmf, alone[event_id, horizon_s].pmf)
    assert {e // 10 for e, _ in found} == set(range(6, N_DAYS))
    with pytest.raises(SchemaMismatchError, match="does not say when"):
        forecast_references(panel, early.drop(columns="avail_us"), outcomes)


def test_other_ladders_are_compared_where_the_caller_says_so(made):
    panel, _ = made
    found = ladder_references(panel, {11: 12, 21: 99})
    assert set(found) == {(11, 3_600)}
    assert found[11, 3_600].avail_us == 99
    later = SimpleNamespace(
        looks=panel.looks.assign(asof_us=panel.looks["asof_us"] + panel.looks["series_id"]),
        distributions=panel.distributions,
    )
    assert ladder_references(later, {11: 12}) == {}


def test_the_frame_holds_every_reference_beside_the_others(made):
    panel, outcomes = made
    references = {
        "history": history_references(panel, outcomes, least=4),
        "twin": ladder_references(panel, {11: 12}),
    }
    frame = disagreement_frame(panel, references)
    assert frame.index.equals(panel.looks.index)
    names = [f"{n}__{f.name}" for n in references for f in fields(Disagreement)]
    assert list(frame.columns) == [*names, "max_input_avail_us"]
    assert frame["twin__wasserstein"].notna().sum() == 1
    assert frame.loc[(11, 3_600), "twin__wasserstein"] == 0.0
    key = (151, 3_600)
    one = disagree(panel.distributions[key], references["history"][key], asof_us=1_500)
    assert frame.loc[key, "history__z"] == one.z
    assert (frame["max_input_avail_us"] <= panel.looks["asof_us"]).all()
    late = {"x": {key: normal_reference(75, 3, panel.distributions[key], avail_us=1_501)}}
    with pytest.raises(LookAheadError):
        disagreement_frame(panel, late)


@pytest.mark.leakage
def test_later_prints_change_no_reference(made):
    panel, outcomes = made
    spoilt = outcomes.assign(value=outcomes["value"].where(outcomes["avail_us"] <= 1_000, 1e4))
    honest = disagreement_frame(panel, {"h": history_references(panel, outcomes, least=4)})
    again = disagreement_frame(panel, {"h": history_references(panel, spoilt, least=4)})
    rows = panel.looks["asof_us"] <= 1_000
    pd.testing.assert_frame_equal(honest[rows], again[rows])
    assert not honest.equals(again)

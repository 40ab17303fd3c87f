"""The engine of the audit: what it compares, what it names, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel
from quant_engine.testing import ConformanceError
from quant_engine.testing.audit import PANEL_DETECTORS, Subject, audit, late_cut
from quant_engine.testing.findings import Detector, Finding, iso, plain_value
from quant_engine.testing.leaks import LEAKS, example_market
from quant_engine.testing.redraws import Facts, redraw_facts, redraw_universe, rescale_split
from quant_engine.testing.results import (
    Audit,
    AuditRow,
    Verdict,
    audit_table,
    exit_code_of,
    merged,
)

pytestmark = [pytest.mark.leakage, pytest.mark.feature("Q-21", "Q-47"), pytest.mark.feature("Q-21")]


def closes(panel: Panel) -> pd.DataFrame:
    return pd.DataFrame(panel.field("close"), panel.time.index, list(panel.asset_ids))


def run(compute, *, seed: int = 1, **options) -> Audit:
    return audit(Subject("candidate", compute, example_market(), warmup=100, **options), seed=seed)


class TestOneSet:
    def test_the_set_runs_once_per_change_and_once_more_on_an_alarm(self):
        calls = []

        def clean(panel):
            calls.append(panel.shape[0])
            return {f"f{i}": panel.field("close") * i for i in range(30)}

        result = run(clean)
        # The true run, the prefix, the poisoned future, the redrawn universe.
        assert len(calls) == 4
        assert sorted(calls)[1:] == [300, 300, 300]
        assert len(result.rows) == 30

        calls.clear()

        def leaking(panel):
            return clean(panel) | {"leak": closes(panel).shift(-1).to_numpy()}

        assert [row.field for row in run(leaking).of(Verdict.LEAKS)] == ["leak"]
        assert len(calls) == 5

    def test_a_reach_of_any_length_is_seen(self):
        """Ten rows would miss it; all rows up to the cut are compared."""
        for rows_ahead in (1, 15, 60, 150):
            result = run(lambda panel, k=rows_ahead: {"x": closes(panel).shift(-k).to_numpy()})
            assert result.rows[0].verdict is Verdict.LEAKS, rows_ahead

    def test_scale_is_compared_where_it_is_promised(self):
        def level(panel):
            close = panel.field("close")
            return {"level": close, "ratio": close / panel.field("open")}

        assert run(level).exit_code == 0
        result = run(level, scale_free=frozenset({"level", "ratio"}))
        assert [row.field for row in result.of(Verdict.LEAKS)] == ["level"]
        finding = result.of(Verdict.LEAKS)[0].findings[0]
        assert finding.detector is Detector.SPLIT
        assert "split" in finding.cause

    def test_rounding_is_no_alarm(self):
        result = run(
            lambda panel: {"x": np.log(panel.field("close") * 3.1) - np.log(panel.field("open"))},
            scale_free=frozenset({"x"}),
        )
        assert result.exit_code == 0

    def test_research_only_has_to_alarm_and_changes_no_code(self):
        def both(panel):
            return {"ahead": closes(panel).shift(-1).to_numpy(), "past": panel.field("close")}

        declared = dict.fromkeys(("ahead", "past"), Causality.RESEARCH_ONLY)
        result = run(both, causality=declared)
        assert [row.verdict for row in result.rows] == [Verdict.DECLARED, Verdict.OVER_DECLARED]
        assert result.exit_code == 0
        assert "over-declared" in audit_table([result])

    def test_a_field_without_a_value_is_not_called_clean(self):
        result = run(lambda panel: {"empty": np.full(panel.shape, np.nan)})
        assert result.rows[0].verdict is Verdict.UNSEEN
        assert result.exit_code == 5

    def test_end_of_day_counts_as_usable(self):
        result = run(
            lambda panel: {"x": closes(panel).shift(-1).to_numpy()},
            causality={"x": Causality.END_OF_DAY},
        )
        assert result.exit_code == 4

    def test_a_row_may_depend_on_what_it_says_it_knows(self):
        def label(panel):
            return {"next": closes(panel).shift(-3).to_numpy()}

        def known(panel, rows=3):
            times = np.full(len(panel.time), np.datetime64("NaT"), dtype="datetime64[D]")
            times[:-rows] = panel.time.values[rows:]
            return times

        assert run(label, known=known).exit_code == 0
        assert run(label, known=lambda panel: known(panel, 2)).exit_code == 4

    def test_tables_of_facts_are_redrawn_too(self):
        days = example_market().time.index
        facts = pd.DataFrame({"known_ts": days[5::3], "value": np.arange(len(days[5::3])) * 1.0})

        def newest(panel, *, reports):
            at = np.searchsorted(reports["known_ts"], panel.time.index, side="right") - 1
            return {"x": np.where(at >= 0, reports["value"].to_numpy()[at], np.nan)}

        def in_order(panel, *, reports):
            return newest(panel, reports=reports.sort_values("known_ts"))

        def biggest(panel, *, reports):
            return {"x": np.full(len(panel.time), reports["value"].max())}

        tables = {"reports": Facts(facts)}
        assert run(in_order, tables=tables).exit_code == 0
        assert run(biggest, tables=tables).exit_code == 4


class TestRefusals:
    def test_a_function_that_does_not_repeat_itself(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ConformanceError, match="repeatable"):
            run(lambda panel: {"x": rng.normal(size=panel.shape)})

    def test_a_panel_that_is_too_short(self):
        panel = example_market(n_times=60)
        with pytest.raises(ConfigError, match="more than 90 rows"):
            late_cut(panel, warmup=80, seed=0)

    def test_a_detector_that_has_a_function_of_its_own(self):
        with pytest.raises(ConfigError, match="prefix, poison, universe, split"):
            run(lambda panel: {"x": panel.field("close")}, detectors=(Detector.JOIN,))

    def test_an_error_of_the_candidate_says_where_it_arose(self):
        def short_only(panel):
            if len(panel.time) < 300:
                raise ValueError("too short")
            return {"x": panel.field("close")}

        with pytest.raises(ValueError, match="too short") as caught:
            run(short_only)
        assert any("prefix" in note for note in caught.value.__notes__)

    def test_audits_of_several_subjects_are_not_merged(self):
        parts = [Audit(name, (1,), ("",), (1, 1), ()) for name in "ab"]
        with pytest.raises(ConfigError, match="one subject"):
            merged(parts)


CAUSES = {
    "shift": "negative shift by 1 row",
    "centred-window": "window that reaches",
    "full-sample-z": "of the whole sample",
    "full-sample-winsor": "limit or extreme",
    "full-sample-min-max": "of the whole sample",
    "full-sample-pca": "whole sample",
    "backfill": "filled from later ones",
    "interpolate": "filled from later ones",
    "two-sided-ewm": "two-sided smoother",
    "survivor-universe": "universe",
    "back-adjusted-level": "later split",
    "drop-by-future-nan": "universe",
    "month-transform": "month that is not over",
    "weekly-bar-in-progress": "week that is not over",
    "states-fitted-on-all": "whole sample",
}


@pytest.mark.parametrize("name", CAUSES)
def test_the_likely_cause_is_named(name):
    """At some of the seeds; a pattern is evidence, not proof."""
    leak = LEAKS[name]
    causes = {
        finding.cause
        for seed in range(5)
        for row in leak.arena.audit(leak.leak, seed=seed)
        for finding in row.findings
    }
    assert any(CAUSES[name] in cause for cause in causes), causes


def test_a_level_scaled_by_the_end_is_told_from_a_statistic():
    def scaled(panel):
        prices = closes(panel).ffill()
        return {"x": (prices / prices.iloc[-1]).to_numpy()}

    causes = {finding.cause for row in run(scaled).rows for finding in row.findings}
    assert "scaled by a value of the end (back-adjusted level)" in causes


class TestReports:
    def test_json_round_trip_and_text(self):
        result = run(lambda panel: {"x": closes(panel).shift(-1).to_numpy()})
        content = json.loads(json.dumps(result.content(), allow_nan=False))
        again = Audit.of_content(content)
        assert again.content() == result.content()
        finding = result.rows[0].findings[0]
        assert finding.cut == result.cuts[0]
        assert finding.row <= finding.cut
        text = audit_table([result])
        assert f"x at {finding.row} of {finding.asset}" in text
        assert "D1 prefix" in text

    def test_seeds_are_merged(self):
        results = [
            run(lambda panel: {"x": closes(panel).shift(-1).to_numpy()}, seed=seed)
            for seed in (1, 2, 3)
        ]
        whole = merged(results)
        assert whole.seeds == (1, 2, 3)
        assert whole.rows[0].n_values == sum(result.rows[0].n_values for result in results)
        detectors = [finding.detector for finding in whole.rows[0].findings]
        assert len(detectors) == len(set(detectors))

    def test_exit_codes(self):
        def of(causality, n_values, findings=()):
            row = AuditRow("x", causality, n_values, findings)
            return Audit("s", (1,), ("",), (1, 1), (row,))

        bad = Finding(Detector.PREFIX, "x", "r", "", "c", 1.0, 2.0, 1, "cause")
        assert exit_code_of([]) == 0
        assert exit_code_of([of(Causality.CAUSAL, 3), of(Causality.CAUSAL, 0)]) == 5
        assert exit_code_of([of(Causality.CAUSAL, 0), of(Causality.CAUSAL, 3, (bad,))]) == 4
        assert exit_code_of([of(Causality.RESEARCH_ONLY, 3, (bad,))]) == 0

    def test_codes_and_plain_values(self):
        assert [detector.code for detector in Detector] == [f"D{i}" for i in range(1, 9)]
        assert [detector.code for detector in PANEL_DETECTORS] == ["D1", "D2", "D5", "D8"]
        assert plain_value(None) is None
        assert plain_value(np.bool_(True)) == 1.0
        assert plain_value(np.inf) is None
        assert plain_value(("a",)) == "('a',)"
        assert iso(np.datetime64("2020-01-02T14:30", "us")) == "2020-01-02T14:30:00"


class TestRedraws:
    def test_what_was_known_stays(self):
        panel = example_market()
        other = redraw_universe(panel, cut=200, seed=1)
        for name, values in panel.fields.items():
            assert np.array_equal(values[:201], other.field(name)[:201], equal_nan=True)
        assert (panel.mask("member")[:201] == other.mask("member")[:201]).all()
        assert (panel.mask("member")[201:] != other.mask("member")[201:]).any()
        gone = np.isnan(other.field("close")[-1]) & ~np.isnan(panel.field("close")[-1])
        assert gone.any()

    def test_a_split_moves_prices_against_volume(self):
        panel = example_market()
        other = rescale_split(panel, seed=1)
        moved = [
            i
            for i in range(panel.shape[1])
            if not np.array_equal(
                panel.field("close")[:, i], other.field("close")[:, i], equal_nan=True
            )
        ]
        assert len(moved) == 1
        value = panel.field("close") * panel.field("volume")
        np.testing.assert_allclose(other.field("close") * other.field("volume"), value)
        assert rescale_split(panel.only_fields([]), seed=1).fields == {}

    def test_facts_of_the_past_stay_and_some_are_stated_again(self):
        days = pd.date_range("2020-01-01", periods=100, tz="UTC", unit="us")
        facts = Facts(pd.DataFrame({"known_ts": days, "item": "eps", "value": np.arange(100.0)}))
        after = np.datetime64("2020-02-29")
        redrawn = redraw_facts(facts, after=after, seed=3)
        earlier = facts.until(after)
        assert len(earlier) == 60
        pd.testing.assert_frame_equal(redrawn.iloc[:60], earlier)
        assert redrawn["known_ts"].dtype == facts.frame["known_ts"].dtype
        assert (redrawn["known_ts"].iloc[60:] > pd.Timestamp("2020-02-29 23:59", tz="UTC")).all()
        assert redrawn["value"].between(0, 99).all()
        assert not redrawn["value"].iloc[60:].isin(facts.frame["value"]).any()

    def test_nothing_later_and_nothing_restated(self):
        one = Facts(pd.DataFrame({"known_ts": pd.to_datetime(["2020-01-01"]), "value": [1.0]}))
        for seed in range(6):
            redrawn = redraw_facts(one, after=np.datetime64("2020-06-01"), seed=seed)
            assert redrawn["value"].iloc[0] == 1.0

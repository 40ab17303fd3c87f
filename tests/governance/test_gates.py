"""Gates: statuses, reasons in words, blocks, vetoes, and what may never pass."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import (
    ConfigError,
    GateNotPassedError,
    InsufficientObservationError,
)
from quant_engine.core.hashing import canonical_json
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track
from quant_engine.governance.bundle import (
    Alignment,
    Lineage,
    Metric,
    MetricBundle,
    Origin,
    SignatureState,
    bundle_metrics,
)
from quant_engine.governance.gate_specs import GateRule
from quant_engine.governance.gates import Status, compare, evaluate, judge_rule
from quant_engine.governance.report_text import gate_report_markdown
from quant_engine.governance.wording import number_pair, number_text

pytestmark = [pytest.mark.feature("B-13"), pytest.mark.feature("L-22")]


@pytest.fixture
def judge(seed, metrics):
    def judge_stage(bundle, stage="qualified", track=Track.PRODUCTION, profile=seed):
        return evaluate(profile, bundle, stage=stage, track=track, metrics=metrics)

    return judge_stage


@pytest.fixture
def one_rule(metrics, kit):
    """Judge one figure by one rule."""

    def judge_one(figure, /, **rule):
        given = () if figure is None else (figure,)
        bundle = MetricBundle("s", given, kit.PRODUCTION)
        (outcome,) = judge_rule(GateRule(**rule), bundle, gate="g", metrics=metrics)
        return outcome

    return judge_one


SHARPE = {"metric": "sharpe_daily", "op": ">=", "threshold": 0.75}


class TestRules:
    def test_reasons_are_words(self, one_rule, kit):
        outcome = one_rule(kit.figure("sharpe_daily", 0.41), **SHARPE)
        assert (outcome.status, outcome.reason) == (
            Status.FAIL,
            "net daily Sharpe 0.41 is below 0.75",
        )
        outcome = one_rule(kit.figure("sharpe_daily", 0.81), **SHARPE)
        assert outcome.reason == "net daily Sharpe 0.81 is at least 0.75"

    def test_a_difference_is_never_rounded_away(self, one_rule, kit):
        outcome = one_rule(kit.figure("sharpe_daily", 0.749999), **SHARPE)
        assert outcome.reason == "net daily Sharpe 0.749999 is below 0.750000"

    @pytest.mark.parametrize("value", [None, float("nan"), float("inf"), float("-inf")])
    @pytest.mark.parametrize("op", [">=", "<=", "!=", ">", "<"])
    def test_a_missing_figure_never_passes(self, one_rule, kit, value, op):
        rule = {**SHARPE, "op": op}
        for metric in (kit.figure("sharpe_daily", value), None):
            assert one_rule(metric, **rule).status is Status.FAIL
            assert one_rule(metric, missing="insufficient", **rule).status is Status.INSUFFICIENT
            soft = one_rule(metric, severity="soft", **rule)
            assert soft.status is Status.WARN
            assert soft.reason == "net daily Sharpe is not available"

    @pytest.mark.parametrize(("n_obs", "status"), [(None, "insufficient_observation"),
                                                   (13, "insufficient_observation"),
                                                   (14, "pass")])  # fmt: skip
    def test_too_few_observations_are_insufficient(self, one_rule, kit, n_obs, status):
        outcome = one_rule(kit.figure("sharpe_daily", 9.0, n_obs=n_obs), min_obs=14, **SHARPE)
        assert outcome.status == status

    @pytest.mark.parametrize("method", ["", "per_period", "sharpe_step_raw"])
    def test_a_figure_by_another_method_fails(self, one_rule, method):
        outcome = one_rule(Metric("sharpe_daily", 9.0, "annualised", 600, method), **SHARPE)
        assert outcome.status is Status.FAIL
        assert "not by daily_agg_v1 or session_agg_v1" in outcome.reason

    def test_a_figure_in_another_unit_or_of_another_kind_is_refused(self, judge, kit):
        for metric, words in (
            (Metric("max_drawdown", -8.0, "percent"), "a number in fraction, got -8.0 in percent"),
            (Metric("max_drawdown", True, "fraction"), "a number in fraction, got True"),
            (Metric("sign_stable", 1, "flag"), "a flag in flag, got 1"),
        ):
            with pytest.raises(ConfigError, match=words):
                judge(MetricBundle("s", (metric,), kit.PRODUCTION))

    def test_an_unknown_figure_in_the_bundle_is_refused(self, judge, kit):
        with pytest.raises(ConfigError, match="Did you mean 'sharpe_daily'"):
            judge(MetricBundle("s", (Metric("sharp_daily", 1.0, "annualised"),), kit.PRODUCTION))

    def test_a_figure_given_twice_is_refused(self, kit):
        twice = (kit.figure("psr", 0.9), kit.figure("psr", 0.99))
        with pytest.raises(ConfigError, match="each figure once per scope"):
            MetricBundle("s", twice, kit.PRODUCTION)

    def test_nobody_types_the_number_of_trials(self, kit):
        with pytest.raises(ConfigError, match="Nobody types the number of trials"):
            MetricBundle("s", (Metric("n_trials", 1, "count"),), kit.PRODUCTION)

    @pytest.mark.parametrize(
        ("value", "other", "decides"), [(0.85, 0.1, 0.9), (0.92, 0.95, 0.95), (0.97, 0.95, 0.95)]
    )
    def test_the_limit_shown_is_the_one_that_the_reason_names(
        self, metrics, kit, value, other, decides
    ):
        rule = GateRule(metric="psr", op=">=", threshold=0.9, against="dsr_p_value")
        figures = (kit.figure("psr", value), kit.figure("dsr_p_value", other))
        (said,) = judge_rule(
            rule, MetricBundle("s", figures, kit.PRODUCTION), gate="g", metrics=metrics
        )
        assert said.threshold == decides
        assert f"{decides:g}" in said.reason

    def test_a_rule_for_every_regime_judges_each(self, metrics, kit):
        rule = GateRule(metric="effective_sample", op=">=", threshold=20.0, scope={"regime": "*"})
        given = tuple(
            kit.figure("effective_sample", value, f"regime:{name}")
            for name, value in (("bull", 30.0), ("bear", 10.0), ("chop", None))
        )
        bundle = MetricBundle("s", (*given, kit.figure("psr", 0.9, "regime:x")), kit.PRODUCTION)
        said = judge_rule(rule, bundle, gate="g", metrics=metrics)
        assert [(o.rule, str(o.status)) for o in said] == [
            ("effective_sample [regime:*] >= (regime:bear)", "fail"),
            ("effective_sample [regime:*] >= (regime:bull)", "pass"),
            ("effective_sample [regime:*] >= (regime:chop)", "fail"),
        ]
        (none,) = judge_rule(rule, MetricBundle("s", (), kit.PRODUCTION), gate="g", metrics=metrics)
        assert none.status is Status.FAIL

    @settings(max_examples=60, deadline=None, derandomize=True)
    @given(
        value=st.floats(allow_nan=False, allow_infinity=False, width=32),
        limit=st.floats(allow_nan=False, allow_infinity=False, width=32),
    )
    def test_operators_are_complements(self, value, limit):
        for op, opposite in ((">=", "<"), ("<=", ">"), ("==", "!=")):
            assert compare(value, op, limit) is not compare(value, opposite, limit)
        assert number_pair(value, limit, "ratio")[0] != "" or value == limit

    def test_numbers_in_sentences(self):
        assert number_text(True, "flag") == "yes"
        assert number_text(-0.123, "fraction") == "-12.3%"
        assert number_text(25.0, "bps") == "25.00 bps"
        assert number_text(0.00123, "probability") == "0.0012"


class TestStatus:
    """Precedence: blocks and vetoes, adequacy, hard failures, unjudged, soft."""

    def test_everything_holds(self, judge, evidence):
        report = judge(evidence())
        assert report.status is Status.PASS
        assert report.reasons == ()

    def test_a_soft_rule_warns_and_does_not_decide(self, judge, evidence):
        report = judge(evidence(pnl_top20_frac=0.9))
        assert (report.status, report.passed) == (Status.WARN, True)
        assert report.failed_hard == ()

    def test_a_hard_rule_fails(self, judge, evidence):
        report = judge(evidence(hit_rate=0.49, pnl_top20_frac=0.9))
        assert report.status is Status.FAIL
        assert report.reasons[0] == "win rate 49% is below 50%"

    def test_too_few_days_are_insufficient_even_with_a_bad_sharpe(self, judge, evidence):
        report = judge(evidence(observation_days=9, sharpe_daily=0.41), stage="canary")
        assert report.status is Status.INSUFFICIENT
        assert not report.passed
        assert report.failed_hard == (
            "length of observation 9 days is below 14 days",
            "net daily Sharpe 0.41 is below 1.50",
        )
        with pytest.raises(InsufficientObservationError):
            report.require_passed()

    def test_absent_days_are_insufficient_too(self, judge, evidence):
        report = judge(evidence(observation_days=..., completed_runs=4), stage="canary")
        assert report.status is Status.INSUFFICIENT

    @pytest.mark.parametrize(
        ("name", "value"),
        [("max_drawdown", -0.21), ("reject_rate", 0.02), ("fill_rate", 0.9),
         ("slippage_p95_bps", 26.0), ("max_drawdown", float("nan"))],
    )  # fmt: skip
    def test_a_broken_risk_limit_vetoes_any_gain(self, judge, evidence, name, value):
        rich = {"sharpe_daily": 9.0, "annual_return": 5.0, "observation_days": 3}
        report = judge(evidence(**{name: value}, **rich), stage="canary")
        assert report.status is Status.FAIL
        assert any(outcome.veto for outcome in report.outcomes)
        with pytest.raises(GateNotPassedError):
            report.require_passed()

    def test_the_report_counts_by_gate(self, judge, evidence):
        summary = judge(evidence(hit_rate=0.1)).summary()
        assert summary["promotion"] == {
            "pass": 15, "fail": 1, "warn": 0, "insufficient_observation": 0,
        }  # fmt: skip


class TestTracks:
    def test_a_maintenance_run_is_refused_by_name(self, judge, evidence):
        origin = Origin(RunSource.MAINTENANCE, ScoreSource.MODEL, DataRegime.MAINTENANCE_REPLAY)
        report = judge(evidence(origin=origin))
        assert report.status is Status.FAIL
        assert report.blocks == (
            "run_source is 'maintenance'; track production admits 'prod' alone",
            "data_regime is 'maintenance_replay'; track production admits 'prod_live' alone",
        )

    @pytest.mark.parametrize("source", [s for s in RunSource if s is not RunSource.PROD])
    def test_no_other_run_source_enters_production(self, judge, evidence, source):
        origin = Origin(source, ScoreSource.MODEL, DataRegime.PROD_LIVE)
        assert f"run_source is '{source}'" in judge(evidence(origin=origin)).blocks[0]

    @pytest.mark.parametrize("source", [s for s in ScoreSource if s is not ScoreSource.MODEL])
    def test_no_other_score_source_enters_production(self, judge, evidence, source):
        origin = Origin(RunSource.PROD, source, DataRegime.PROD_LIVE)
        assert f"score_source is '{source}'" in judge(evidence(origin=origin)).blocks[0]

    def test_research_uses_the_same_rules_and_its_own_evidence(self, judge, evidence, kit):
        report = judge(evidence(origin=kit.RESEARCH), track=Track.RESEARCH)
        live = judge(evidence())
        assert report.passed
        assert [(o.rule, o.threshold) for o in report.outcomes] == [
            (o.rule, o.threshold) for o in live.outcomes
        ]
        assert report.profile_id == live.profile_id

    @pytest.mark.parametrize("track", [Track.RESEARCH, Track.CALIBRATION])
    def test_tracks_never_mix(self, judge, evidence, track):
        report = judge(evidence(), track=track)
        assert report.blocks == (
            f"this is evidence of track production; records of {track} never mix with it",
        )


class TestBlocks:
    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"signature": SignatureState.UNSIGNED}, "the evaluation is not signed"),
            ({"signature": SignatureState.INVALID}, "the evaluation has an invalid signature"),
            ({"fallbacks": ("heuristic",)}, "fallback 'heuristic' stands in the lineage"),
            ({"n_synthetic_links": 3}, "3 synthetic links stand in the lineage"),
            ({"n_synthetic_links": None}, "synthetic links were not counted"),
        ],
    )
    def test_lineage_blocks_whatever_was_earned(self, judge, evidence, kit, changes, words):
        report = judge(evidence(lineage=replace(kit.LINEAGE, **changes)))
        assert report.blocks == (words,)
        assert report.status is Status.FAIL
        assert report.reasons[0] == words

    @pytest.mark.parametrize("name", list(Alignment.__dataclass_fields__))
    def test_each_of_the_six_fields_must_match(self, judge, evidence, kit, name):
        was = getattr(kit.ALIGNED, name)
        other = replace(kit.LINEAGE, deployed=replace(kit.ALIGNED, **{name: "other"}))
        assert judge(evidence(lineage=other)).blocks == (
            f"{name} differs: {was!r} was evaluated, 'other' is used",
        )
        absent = replace(kit.LINEAGE, evaluated=replace(kit.ALIGNED, **{name: ""}))
        assert judge(evidence(lineage=absent)).blocks == (
            f"{name} of what is evaluated is not known",
        )

    def test_an_empty_lineage_blocks_in_eight_ways(self, judge, evidence):
        assert len(judge(evidence(lineage=Lineage())).blocks) == 8

    def test_a_session_ledger_and_no_ledger_block(self, judge, evidence):
        session = replace(evidence().trials, promotable=False)
        assert judge(evidence(trials=session)).blocks == (
            "the trials were counted in a session's ledger; nothing is promoted from one",
        )
        assert judge(evidence(trials=None)).blocks == ("no trial ledger was consulted",)

    def test_a_weaker_profile_stays_out_of_production(self, judge, evidence, seed, kit):
        weak = seed.model_copy(update={"track_label": "loose"})
        (block,) = judge(evidence(), profile=weak).blocks
        assert "label 'loose'" in block
        research = judge(evidence(origin=kit.RESEARCH), track=Track.RESEARCH, profile=weak)
        assert research.passed
        assert research.track_label == "loose"


class TestReports:
    def test_json_has_a_schema_and_no_nan(self, judge, evidence):
        report = judge(evidence(hit_rate=float("nan"), psr=np.float64(0.5)))
        content = json.loads(canonical_json(report.content()))
        assert content["schema"] == "qe.gate_report/1"
        assert content["status"] == "fail"
        assert content["failed_hard"] == ["win rate is not available"]
        assert content["evidence"]["trials"]["n_trials"] == 3
        assert report.digest() == judge(
            evidence(hit_rate=float("nan"), psr=0.5)
        ).digest() != judge(evidence()).digest()  # fmt: skip

    def test_markdown_tells_the_same(self, judge, evidence, kit):
        unsigned = replace(kit.LINEAGE, signature=SignatureState.UNSIGNED)
        report = judge(evidence("a|b", lineage=unsigned, hit_rate=0.4, pnl_top20_frac=0.9))
        text = gate_report_markdown(report)
        assert text.startswith("# a\\|b: fail\n")
        for words in (
            "track **production**", "## Blocked", "- the evaluation is not signed",
            "- win rate 40% is below 50%", "## Warnings", "## promotion", "**fail**", "## Notes",
        ):  # fmt: skip
            assert words in text
        rows = [line for line in text.splitlines() if line.startswith("| ")]
        assert len(rows) == len(report.outcomes) + len(report.gates)

    def test_a_flat_summary_becomes_metrics(self, metrics):
        found = bundle_metrics(
            {"sharpe_daily": np.float64(1.5), "n_trades": np.int64(3), "note": 1.0, "psr": None},
            metrics.units(),
            n_obs=300,
            methods={"sharpe_daily": "daily_agg_v1"},
        )
        assert [(m.name, m.value, m.unit, m.n_obs, m.method) for m in found] == [
            ("n_trades", 3, "count", 300, ""),
            ("psr", None, "probability", 300, ""),
            ("sharpe_daily", 1.5, "annualised", 300, "daily_agg_v1"),
        ]
        assert type(found[0].value) is int

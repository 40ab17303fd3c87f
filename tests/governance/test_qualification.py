"""Qualification: deltas against a baseline by their definition, and the written report."""

import json
from dataclasses import replace

import pytest

from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import MetricBundle
from quant_engine.governance.gates import Status
from quant_engine.governance.qualification import (
    compare_with_baseline,
    qualify,
    relative_deviation,
    write_qualification,
)

pytestmark = pytest.mark.feature("T-14")

HIGH = "regime:high_vol"


@pytest.fixture
def run(seed, metrics):
    def run_qualify(candidate, baseline=None, **options):
        return qualify(
            candidate,
            profile=seed,
            track=Track.PRODUCTION,
            metrics=metrics,
            baseline=baseline,
            **options,
        )

    return run_qualify


@pytest.fixture
def with_regime(kit):
    """Add figures of the high-volatility regime."""

    def add(bundle, *, drawdown=-0.1, sharpe=1.0, turnover=3.0):
        extra = (
            kit.figure("max_drawdown", drawdown, HIGH),
            kit.figure("sharpe_daily", sharpe, HIGH),
            kit.figure("turnover_ann", turnover, HIGH),
        )
        return replace(bundle, metrics=(*bundle.metrics, *extra))

    return add


def test_deltas_follow_their_definition(kit):
    new = {"sharpe_daily": 0.9, "max_drawdown": -0.22, "turnover_ann": 3.0,
           "slippage_mean_bps": 7.0, "fee_per_turnover": 0.0006}  # fmt: skip
    old = {"sharpe_daily": 1.0, "max_drawdown": -0.20, "turnover_ann": 2.5,
           "slippage_mean_bps": 4.0, "fee_per_turnover": 0.0004}  # fmt: skip
    bundles = [
        MetricBundle(name, tuple(kit.figure(*item) for item in values.items()), kit.PRODUCTION)
        for name, values in (("new", new), ("old", old))
    ]
    found = {metric.name: metric.value for metric in compare_with_baseline(*bundles)}
    assert found == pytest.approx(
        {
            "sharpe_drop_frac": (1.0 - 0.9) / 1.0,
            "drawdown_increase_frac": (0.22 - 0.20) / 0.20,
            "turnover_increase_frac": (3.0 - 2.5) / 2.5,
            "slippage_increase_bps": 3.0,
            # A fee of 4 bps lies under the floor of 0.02 by which relative changes are divided.
            "fee_per_turnover_increase_frac": 0.0002 / 0.02,
        }
    )


def test_a_delta_is_missing_where_either_side_is(kit):
    new = MetricBundle("new", (kit.figure("sharpe_daily", 1.0),), kit.PRODUCTION)
    for old_metrics in (
        (),
        (kit.figure("sharpe_daily", float("nan")),),
        (replace(kit.figure("sharpe_daily", 1.0), method="session_agg_v1"),),
    ):
        (delta,) = compare_with_baseline(new, MetricBundle("old", old_metrics, kit.PRODUCTION))
        assert delta.is_missing


@pytest.mark.parametrize(
    ("value", "reference", "expected"),
    [(1.1, 1.0, 0.1), (0.9, 1.0, 0.1), (0.03, 0.01, 1.0), (-0.01, 0.0, 0.5), (1.0, 1.0, 0.0)],
)
def test_parity_has_a_floor(value, reference, expected):
    assert relative_deviation(value, reference) == pytest.approx(expected)


def test_without_a_baseline_the_candidate_stands_alone(run, evidence):
    report = run(evidence())
    assert report.verdict.passed
    assert report.verdict.stage == "qualified"
    assert (report.baseline, report.deltas) == ("", ())


def test_an_equal_baseline_changes_nothing(run, evidence, with_regime):
    report = run(with_regime(evidence()), with_regime(evidence("base")))
    assert report.verdict.stage == "qualified_against_baseline"
    assert report.verdict.status is Status.PASS, report.verdict.reasons
    assert {metric.value for metric in report.deltas} == {0.0}


@pytest.mark.parametrize(
    ("change", "regime", "failed", "warned"),
    [
        ({"sharpe_daily": 1.70}, {}, "fall of Sharpe", ""),
        ({"sharpe_daily": 1.72}, {}, "", ""),
        ({}, {"drawdown": -0.112}, "rise of drawdown against the baseline in regime high_vol", ""),
        ({"max_drawdown": -0.09}, {}, "", "rise of drawdown"),
        ({"turnover_ann": 3.6}, {}, "", "rise of turnover"),
        ({}, {"sharpe": 0.84}, "", "fall of Sharpe against the baseline in regime high_vol"),
        ({}, {"turnover": 3.7}, "", "rise of turnover against the baseline in regime high_vol"),
        ({"slippage_mean_bps": 10.5}, {}, "", "rise of mean slippage"),
    ],
)
def test_hard_and_soft_deltas(run, evidence, with_regime, change, regime, failed, warned):
    report = run(with_regime(evidence(**change), **regime), with_regime(evidence("base")))
    verdict = report.verdict
    assert verdict.passed is (failed == "")
    for wanted, sentences in ((failed, verdict.failed_hard), (warned, verdict.failed_soft)):
        assert len(sentences) == (wanted != "")
        assert all(wanted in sentence for sentence in sentences)


def test_a_handed_in_delta_is_recomputed(run, evidence, with_regime, kit):
    cheat = with_regime(evidence(sharpe_daily=1.6))
    cheat = replace(cheat, metrics=(*cheat.metrics, kit.figure("sharpe_drop_frac", 0.0)))
    assert not run(cheat, with_regime(evidence("base"))).verdict.passed


def test_the_file_holds_the_whole_report(run, evidence, with_regime, tmp_path):
    report = run(with_regime(evidence(sharpe_daily=1.0)), with_regime(evidence("base")))
    path = write_qualification(report, tmp_path / "s1")
    assert path.name == "qualification_report.json"
    content = json.loads(path.read_text())
    assert content["schema"] == "qe.qualification_report/1"
    assert content["passed"] is False
    assert len(content["failed_hard"]) == 1
    assert content["failed_soft"] == []
    assert content["gate_summary"]["baseline"]["fail"] == 1
    assert {delta["name"] for delta in content["comparison_deltas"]} >= {"sharpe_drop_frac"}
    assert content["gate_report"]["schema"] == "qe.gate_report/1"

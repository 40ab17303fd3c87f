"""Shipped profiles: every threshold of the source documents, typed a second time from them."""

import pytest

from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import MetricBundle
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.gates import Status, evaluate, evaluate_gates

pytestmark = pytest.mark.feature("Q-39")

# gate -> (figure, scope, operator, limit, soft, demand on how much was observed)
PUBLISHED = {
    "promotion": [
        ("n_trades", "", ">=", 80, False, True), ("hit_rate", "", ">=", 0.5),
        ("sharpe_daily", "", ">=", 0.75), ("profit_factor", "", ">=", 1.1),
        ("max_drawdown", "", ">=", -0.2), ("annual_return", "", ">=", 0.05),
        ("dsr_p_value", "", "<=", 0.05), ("pbo", "", "<=", 0.45),
        ("capacity_constrained", "", "==", False), ("capacity_utilisation", "", "<=", 1.0),
        ("wf_oos_correlation", "", ">=", 0.01), ("positive_fold_frac", "", ">=", 0.6),
        ("is_oos_gap", "", "<=", 0.2), ("positive_regime_frac", "", ">=", 0.5),
        ("cpcv_passed", "", "==", True), ("statistical_tests_passed", "", "==", True),
    ],
    "event_promotion": [
        ("worst_event_return", "", ">=", -0.08), ("surprise_hit_rate", "", ">=", 0.5),
        ("event_regime_stability", "", ">=", 0.4),
    ],
    "model_blocks": [("cv_gap", "", "<=", 0.15), ("holdout_r2", "", ">=", 0.0)],
    "event_market_quality": [
        ("quote_coverage_frac", "", ">=", 0.8), ("quote_age_ratio", "", "<=", 1.0),
        ("quote_spread", "", "<", 0.25),
    ],
    "qualification": [
        ("n_invalid_values", "", "<=", 0), ("n_constraint_violations", "", "<=", 0),
        ("gross_exposure", "regime:high_vol", "<=", 0.4),
        ("sweep_robust", "", "==", True, True),
    ],
    "baseline": [
        ("sharpe_drop_frac", "", "<=", 0.05),
        ("drawdown_increase_frac", "regime:high_vol", "<=", 0.1),
        ("drawdown_increase_frac", "", "<=", 0.1, True),
        ("turnover_increase_frac", "", "<=", 0.15, True),
        ("sharpe_drop_frac", "regime:*", "<=", 0.15, True),
        ("turnover_increase_frac", "regime:*", "<=", 0.2, True),
        ("slippage_increase_bps", "", "<=", 5.0, True),
        ("fee_per_turnover_increase_frac", "", "<=", 0.1, True),
    ],
    "execution": [
        ("fill_rate", "", ">=", 0.99), ("reject_rate", "", "<=", 0.01),
        ("slippage_p95_bps", "", "<=", 25.0),
    ],
    "stress": [
        ("stress_drawdown", "slice:*", ">=", -0.2), ("var_95", "", "<=", 0.05),
        ("var_99", "", "<=", 0.08), ("liquidity_floor_kept", "", "==", True),
    ],
    "event_quality": [
        ("events_per_10k_bars", "", ">=", 1.0), ("events_per_10k_bars", "", "<=", 500.0),
        ("join_rate", "", ">=", 0.99), ("short_gap_frac", "", "<=", 0.2),
        ("threshold_elasticity", "", "<=", 2.0),
    ],
    "phase2": [
        ("q_value", "", "<=", 0.05), ("after_cost_bps", "", ">=", 0.1),
        ("after_cost_1_5x_bps", "", ">=", 0.1), ("sign_stable", "", "==", True),
        ("n_events", "", ">=", 50, False, True), ("state_weight", "", ">=", 0.2),
        ("quality_score", "", ">=", 0.66),
    ],
    "phase2_fallback": [
        ("t_value", "", ">=", 2.5), ("after_cost_bps", "", ">=", 1.0),
        ("n_events", "", ">=", 100, False, True), ("stability", "", ">=", 0.7),
        ("quality_score", "", ">=", 0.66),
    ],
    "bridge": [
        ("embargo_days", "", ">=", 1.0), ("n_validation_trades", "", ">=", 20, False, True),
        ("bridge_after_cost_bps", "", ">", 0.0), ("bridge_stressed_bps", "", ">", 0.0),
        ("edge_cost_ratio", "", ">=", 2.0), ("trades_per_event", "", "<=", 1.0),
        ("turnover_controlled", "", "==", True), ("is_tradable", "", "==", True),
    ],
    "blueprint": [
        ("n_trades", "", ">=", 100, False, True), ("symbols_passing_frac", "", ">=", 0.6),
        ("largest_regime_share", "", "<=", 0.8), ("loss_cluster", "", "<=", 64),
        ("loss_concentration", "", "<=", 0.5), ("conditional_dd95", "", ">=", -0.2),
        ("cost_ratio", "", "<=", 0.6),
    ],
    "hypothesis": [
        ("lift_bps", "", ">=", 10.0), ("lift_ci_low_bps", "", ">", 0.0),
        ("q_value", "", "<=", 0.1), ("n_events", "", ">=", 500, False, True),
        ("n_state_events", "", ">=", 200, False, True), ("n_groups", "", ">=", 10, False, True),
        ("positive_group_frac", "", ">=", 0.6), ("observation_days", "", ">=", 60, False, True),
    ],
    "deployable": [
        ("t_value", "", ">=", 2.0), ("effective_sample", "", ">=", 50.0, False, True),
        ("effective_sample", "regime:*", ">=", 20.0, False, True), ("n_regimes", "", ">=", 3),
        ("after_cost_2x_bps", "", ">", 0.0), ("latency_bars", "", ">=", 2),
        ("overlap_frac", "", "<=", 0.5), ("timeframe_consensus", "", "==", True),
    ],
    "shadow": [
        ("q_value", "", "<=", 0.1), ("effective_sample", "", ">=", 20.0, False, True),
        ("after_cost_1_5x_bps", "", ">", 0.0),
    ],
    "hard_metrics": [
        ("completed_runs", "", ">=", 5, False, True),
        ("observation_days", "", ">=", 14, False, True), ("sharpe_daily", "", ">=", 1.5),
        ("max_drawdown", "", ">=", -0.2), ("reject_rate", "", "<=", 0.01),
    ],
    "parity": [("parity_deviation_frac", "", "<=", 0.1)],
    "ensemble": [("pnl_after_cost_gain", "", ">", 0.0), ("max_drawdown", "", ">=", -0.2)],
    "connectors": [
        ("ingest_latency_p95_seconds", "", "<", 120.0), ("source_success_frac", "", ">", 0.95),
    ],
    "readiness": [
        ("market_bars_frac", "", ">=", 0.98), ("matrix_frac", "", ">=", 0.95),
        ("n_schema_mismatches", "", "<=", 0), ("text_frac", "", ">=", 0.05),
        ("data_fresh", "", "==", True), ("labels_ready", "", "==", True),
    ],
}  # fmt: skip


def padded(row):
    return (*row, *(False, False)[len(row) - 4 :]) if len(row) < 6 else row


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_gate_is_what_its_document_says(seed, name):
    found = {
        (r.metric, r.scope.key, r.op, r.threshold, r.severity == "soft", r.adequacy)
        for r in seed.gate(name).rules
    }
    assert found == {padded(row) for row in PUBLISHED[name]}


def test_the_table_holds_every_gate_but_our_reading_of_the_evaluation_layer(seed):
    assert {gate.name for gate in seed.gates} - set(PUBLISHED) == {"evaluation"}
    assert all(rule.severity == "soft" for rule in seed.gate("evaluation").rules)


def step_beyond(value, op):
    """The nearest value on the wrong side of a limit."""
    if isinstance(value, bool):
        return not value
    step = 1 if isinstance(value, int) else 1e-6
    wrong = {">=": value - step, "<=": value + step, ">": value, "<": value}
    return wrong[op]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
@pytest.mark.parametrize("beyond", [False, True])
def test_each_limit_holds_on_its_edge_and_not_beyond(seed, metrics, kit, name, beyond):
    for row in map(padded, PUBLISHED[name]):
        metric, scope, op, limit, soft, adequacy = row
        edge = limit + {">": 1e-6, "<": -1e-6}[op] if op in ("<", ">") else limit
        value = step_beyond(limit, op) if beyond else edge
        place = scope.replace("*", "any")
        given = MetricBundle("s", (kit.figure(metric, value, place),), kit.RESEARCH)
        report = evaluate_gates(seed, given, gates=(name,), track=Track.RESEARCH, metrics=metrics)
        place = f" [{scope}]" if scope else ""
        key = f"{metric}{place} { {'>': '>=', '<': '<='}.get(op, op) }"
        (said,) = [o for o in report.outcomes if o.rule.partition(" (")[0] == key]
        expected = Status.PASS
        if beyond:
            expected = Status.WARN if soft else Status.INSUFFICIENT if adequacy else Status.FAIL
        assert said.status is expected, said


@pytest.mark.parametrize(
    ("event", "values", "passes"),
    [
        ("OI_SPIKE_POSITIVE", {"q_value": 0.10, "after_cost_bps": 0.0}, True),
        ("OI_SPIKE_NEGATIVE", {"q_value": 0.10, "after_cost_bps": 0.0}, False),
        ("OI_SPIKE_NEGATIVE", {"q_value": 0.05, "after_cost_bps": 0.0}, True),
        ("LIQUIDATION_CASCADE", {"q_value": 0.13, "after_cost_bps": -5.0}, True),
        ("LIQUIDATION_CASCADE", {"q_value": 0.14, "after_cost_bps": -5.0}, False),
        ("LIQUIDITY_VACUUM", {"q_value": 0.10, "sign_stable": False}, True),
        ("LIQUIDATION_CASCADE", {"q_value": 0.10, "sign_stable": False}, False),
        ("VOL_SHOCK", {"q_value": 0.10}, False),
        ("", {"q_value": 0.10}, False),
    ],
)
def test_discovery_overrides_by_event(catalog, metrics, kit, event, values, passes):
    full = {
        "q_value": 0.01, "after_cost_bps": 1.0, "sign_stable": True, "n_events": 60,
        "state_weight": 0.3, "quality_score": 0.7, **values,
    }  # fmt: skip
    full["after_cost_1_5x_bps"] = full["after_cost_bps"]
    given = tuple(kit.figure(name, value) for name, value in full.items())
    bundle = MetricBundle("h", given, kit.RESEARCH, event=event)
    options = {"gates": ("phase2",), "track": Track.RESEARCH, "metrics": metrics}
    loose = evaluate_gates(load_profile(catalog, "seed_v1_discovery"), bundle, **options)
    assert loose.passed is passes
    assert loose.track_label == "discovery"
    promotion = evaluate_gates(load_profile(catalog, "seed_v1"), bundle, **options)
    assert not promotion.passed


class TestStrict:
    def judge(self, strict, metrics, bundle, stage="qualified"):
        return evaluate(strict, bundle, stage=stage, track=Track.PRODUCTION, metrics=metrics)

    def test_good_evidence_passes_every_stage(self, strict, seed, metrics, evidence):
        stages = ("qualified", "canary", "staged", "active")
        for profile in (strict, seed):
            said = {s: self.judge(profile, metrics, evidence(), s).reasons for s in stages}
            assert said == dict.fromkeys(stages, ())

    @pytest.mark.parametrize(
        "name", ["max_t_p_value", "alpha_this_look", "annual_return", "annual_return_cost_1_5x"]
    )
    def test_a_missing_decisive_figure_fails(self, strict, metrics, evidence, name):
        assert self.judge(strict, metrics, evidence(**{name: ...})).status is Status.FAIL

    def test_the_error_budget_of_the_look_is_the_limit(self, strict, metrics, evidence):
        budget = {"alpha_this_look": 0.0038}
        assert self.judge(strict, metrics, evidence(max_t_p_value=0.0038, **budget)).passed
        late = self.judge(strict, metrics, evidence(max_t_p_value=0.004, **budget))
        assert late.failed_hard == ("max-T p-value 0.004 is above 0.0038",)
        whole = self.judge(strict, metrics, evidence(alpha_this_look=0.05, max_t_p_value=0.03))
        assert len(whole.failed_hard) == 2

    @pytest.mark.parametrize("changes", [
        {"pbo": 0.99}, {"pbo": ...}, {"dsr_p_value": 0.9, "psr": 0.1, "cpcv_passed": False},
    ])  # fmt: skip
    def test_what_is_reported_never_decides(self, strict, metrics, evidence, changes):
        report = self.judge(strict, metrics, evidence(**changes))
        assert report.status is Status.WARN
        assert report.passed
        assert len(report.failed_soft) == len(changes)
        assert all(o.note for o in report.outcomes if o.gate == "reported")

    def test_half_a_year_forward_is_needed(self, strict, metrics, evidence):
        early = self.judge(strict, metrics, evidence(forward_weeks=25), "canary")
        assert early.status is Status.INSUFFICIENT
        assert early.reasons == ("length of the forward test 25 weeks is below 26 weeks",)
        assert not self.judge(strict, metrics, evidence(forward_p_value=0.21), "canary").passed

"""Each quality rule, broken alone."""

from __future__ import annotations

import pytest

from quant_engine.models import QualityConfig
from quant_engine.models.quality import judge

GOOD = {
    "n_oos_sessions": 200.0,
    "oos_rank_ic": 0.03,
    "is_oos_gap": 0.05,
    "n_holdout_sessions": 40.0,
    "holdout_rank_ic": 0.02,
    "holdout_r2": 0.0005,
    "oos_coverage": 0.91,
    "coverage": 0.9,
    "oos_sign_ece": 0.01,
}


def test_a_model_that_breaks_no_rule_is_promotable():
    verdict = judge(GOOD, QualityConfig())
    assert verdict.promotable
    assert verdict.reasons == ()
    assert verdict.figures == GOOD


@pytest.mark.feature("Q-27")
@pytest.mark.parametrize(
    ("figure", "value", "words"),
    [
        ("is_oos_gap", 0.151, "exceeds out-of-sample rank IC by 0.1510"),
        ("holdout_r2", -0.0001, "holdout R-squared is -0.00010, below 0"),
        ("holdout_r2", None, "holdout R-squared is not available"),
        ("holdout_rank_ic", 0.0, "holdout rank IC is 0.0000, not above 0"),
        ("holdout_rank_ic", None, "holdout rank IC is not available"),
        ("n_holdout_sessions", 9.0, "insufficient observation: 9 scored holdout sessions"),
        ("n_oos_sessions", 59.0, "insufficient observation: 59 scored out-of-sample sessions"),
        ("oos_rank_ic", -0.001, "out-of-sample rank IC -0.0010 is not above 0"),
        ("oos_rank_ic", None, "out-of-sample rank IC is not available"),
        ("oos_coverage", 0.84, "intervals hold 84.0% of the labels where 90.0% was wanted"),
        ("oos_coverage", 0.96, "intervals hold 96.0% of the labels"),
        ("oos_coverage", None, "interval coverage is not available"),
        ("oos_sign_ece", 0.06, "sign confidence is off by 0.0600"),
        ("oos_sign_ece", None, "calibration error of the sign confidence is not available"),
    ],
)
def test_each_rule_alone_blocks_promotion_and_says_why(figure, value, words):
    verdict = judge({**GOOD, figure: value}, QualityConfig())
    assert not verdict.promotable
    assert len(verdict.reasons) == 1
    assert words in verdict.reasons[0]


def test_limits_themselves_pass():
    edge = {**GOOD, "is_oos_gap": 0.15, "holdout_r2": 0.0, "oos_coverage": 0.85}
    edge |= {"n_holdout_sessions": 10.0, "n_oos_sessions": 60.0, "oos_sign_ece": 0.05}
    assert judge(edge, QualityConfig(max_coverage_error=0.0501)).promotable


def test_insufficient_is_not_a_pass_and_hides_no_other_rule():
    verdict = judge({**GOOD, "n_holdout_sessions": 0.0, "is_oos_gap": 0.5}, QualityConfig())
    assert len(verdict.reasons) == 2

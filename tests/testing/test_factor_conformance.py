"""The factor suite finds what it is for."""

import numpy as np
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.core.published import Published
from quant_engine.testing.errors import ConformanceError, LeakFoundError
from quant_engine.testing.factors import check_factor

pytestmark = pytest.mark.feature("D-01")

DAYS = np.datetime64("2020-01-01") + np.arange(60)
RNG = np.random.default_rng(0)
PANEL = Panel(
    TimeAxis.sessions(DAYS, "24/7"),
    ("A@US#1", "B@US#1", "C@US#1"),
    {"close": 10 * np.exp(np.cumsum(RNG.normal(0, 0.02, (60, 3)), axis=0))},
)
KNOWN = np.broadcast_to(DAYS[:, None], (60, 3)).copy()
REPORTS = {"x": Published(RNG.normal(size=(60, 3)), KNOWN, KNOWN - 30)}


def close(panel, reports):
    return np.array(panel.field("close"))


def report(panel, reports):
    return np.array(reports["x"].values)


def test_good_factors_pass():
    assert check_factor(close, PANEL, {}, cuts=[30, 50]) == 3 * (31 + 51)
    assert check_factor(report, PANEL, REPORTS, cuts=[30]) == 93


@pytest.mark.parametrize(
    ("factor", "reports", "rule"),
    [
        (lambda p, r: close(p, r).astype(np.float32), {}, "shape"),
        (lambda p, r: close(p, r)[1:], {}, "shape"),
        (lambda p, r: np.where(close(p, r) > 10, np.inf, 1.0), {}, "no infinity"),
        (lambda p, r: close(p, r) + np.random.default_rng().normal(), {}, "repeatable"),
        (lambda p, r: close(p, r) * np.arange(p.shape[1]), {}, "asset order"),
        (lambda p, r: close(p, r) * np.nan, {}, "something to compare"),
        (lambda p, r: np.nan_to_num(report(p, r)), REPORTS, "unknown is not zero"),
    ],
)
def test_broken_rules_are_named(factor, reports, rule):
    with pytest.raises(ConformanceError) as found:
        check_factor(factor, PANEL, reports, cuts=[40])
    assert found.value.rule == rule


@pytest.mark.parametrize(
    ("factor", "reports"),
    [
        (lambda p, r: close(p, r) - close(p, r).mean(axis=0), {}),
        (lambda p, r: np.vstack([report(p, r)[1:], report(p, r)[-1:]]), REPORTS),
    ],
)
def test_leaks_are_found(factor, reports):
    with pytest.raises(LeakFoundError, match="no look-ahead"):
        check_factor(factor, PANEL, reports, cuts=[40])

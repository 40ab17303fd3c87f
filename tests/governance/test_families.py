"""Families: N is counted, effective N and variance are summarised from returns."""

from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import ConfigError
from quant_engine.core.trials import Trial
from quant_engine.governance.families import TrialStatistics
from quant_engine.governance.session import SessionLedger
from quant_engine.stats.effective_trials import correlation_clusters, eigenvalue_participation


def variance_of_sharpe(returns) -> float:
    return float(np.var(returns.mean(axis=0) / returns.std(axis=0, ddof=1), ddof=1))


def statistics(**returns) -> TrialStatistics:
    return TrialStatistics(returns)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(asked=st.lists(st.tuples(*[st.sampled_from("ab")] * 5, st.sampled_from(["", "r"]))))
def test_counts_are_those_of_a_plain_loop(kit, asked):
    ledger = SessionLedger(clock=kit.CLOCK)
    trials, configurations, askings = defaultdict(set), defaultdict(set), defaultdict(int)
    for fields in asked:
        trials[fields[0]].add(ledger.record(Trial(*fields)))
        configurations[fields[0]].add(fields[1:4])
        askings[fields[0]] += 1
    found = {f.family: (f.n_trials, f.n_configurations, f.n_askings) for f in ledger.families()}
    assert found == {
        name: (len(trials[name]), len(configurations[name]), askings[name]) for name in trials
    }


def test_returns_give_effective_number_and_variance(ledger, kit):
    for number in range(4):
        ledger.record(kit.trial(number, returns_ref=f"returns/{number}"))
    rng = np.random.default_rng(5)
    base = rng.normal(size=(500, 1))
    copies = np.repeat(base, 4, axis=1) + 1e-6 * rng.normal(size=(500, 4))
    (family,) = ledger.families(statistics(alpha=copies))
    assert family.n_effective == pytest.approx(1.0, abs=1e-6)
    assert family.n_with_returns == 4
    independent = rng.normal(size=(5000, 4))
    (family,) = ledger.families(statistics(alpha=independent))
    assert family.n_effective == pytest.approx(4.0, abs=0.02)
    assert family.sharpe_variance == pytest.approx(variance_of_sharpe(independent), rel=1e-9)
    assert "eigenvalue participation" in family.effective_method


def test_a_trial_without_returns_counts_as_one_more(ledger, kit):
    """Leaving returns out must not make a search look smaller."""
    for number in range(10):
        ledger.record(kit.trial(number))
    returns = np.random.default_rng(1).normal(size=(300, 3))
    (family,) = ledger.families(statistics(alpha=returns))
    assert family.n_effective == eigenvalue_participation(returns).n_effective + 7
    use = ledger.consumed("v", "alpha", statistics(alpha=returns))
    assert (use.n_effective, use.effective_method) == (
        family.n_effective,
        family.effective_method,
    )
    groups = TrialStatistics({"alpha": returns}, correlation_clusters)
    assert "cluster" in ledger.families(groups)[0].effective_method


def test_more_returns_than_trials_are_refused(ledger, kit):
    ledger.record(kit.trial(1))
    with pytest.raises(ConfigError, match=r"1 to 1 columns.*got shape \(300, 2\)"):
        ledger.families(statistics(alpha=np.ones((300, 2))))


def test_returns_of_an_unknown_family_are_refused(ledger, kit):
    ledger.record(kit.trial(1))
    with pytest.raises(ConfigError, match="families of this ledger: alpha, got 'beta'"):
        ledger.families(statistics(beta=np.ones((300, 1))))


def test_one_trial_has_no_variance_to_speak_of(ledger, kit):
    ledger.record(kit.trial(1))
    returns = np.random.default_rng(1).normal(size=(300, 1))
    (family,) = ledger.families(statistics(alpha=returns))
    assert (family.n_effective, family.sharpe_variance) == (1.0, 0.0)

"""The validation suite: everything that ``run_backtest.py --advanced`` adds to a backtest.

1. ``stress_stage``, ``null_stage``, ``monte_carlo_stage`` and ``parity_stage`` look at the finished
   backtest, whose evaluation is there already; ``refit_stages`` fit the model again on a
   combinatorial plan.
2. ``_variants`` simulates neighbouring books; each is a trial of the same family.
3. ``selection_figures`` asks the trial ledger: deflated Sharpe ratio, probability of overfitting
   and superior predictive ability among all that was tried.
4. ``advanced_verdict`` hands the figures to the rules of ``advanced_v1``.

Every stage is stored, so an interrupted suite goes on where it stopped. Stresses and null baselines
are no trials: nobody can choose among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.perturbation import neighbouring_books, neighbouring_rules
from quant_engine.backtest.simulation import FIGURES
from quant_engine.core.trials import TrialSink
from quant_engine.governance.bundle import Metric
from quant_engine.governance.ledger import TrialLedger
from quant_engine.stats.snooping import SnoopingConfig, spa_test
from quant_engine.workflows.advanced_parts import (
    Subject,
    monte_carlo_stage,
    null_stage,
    parity_stage,
    stress_stage,
)
from quant_engine.workflows.competition import (
    MIN_SESSIONS,
    Competition,
    competing_returns,
    deflated_metric,
    overfitting_metric,
    trial_statistics,
    why_not_compared,
)
from quant_engine.workflows.refits import refit_stages
from quant_engine.workflows.run_registry import RunRecord
from quant_engine.workflows.simulation import simulate_stage
from quant_engine.workflows.trials import record_backtest, strategy_family

SPA_DRAWS = 1_000


@dataclass(frozen=True, eq=False)
class Suite:
    """What the suite found.

    Parameters
    ----------
    refs : dict of str to ArtifactRef
        Roles ``stress, nulls, monte_carlo, parity, evaluation`` and, where models were fitted
        again, ``refits_1 ...`` and ``paths``.
    variants : DataFrame
        ``variant, backtest`` (address) and the compared figures of every neighbouring book.
    selection : tuple of Metric
        What depends on all trials of the family.
    n_trials : int
        Trials of the family.
    notes : dict of str to str
        Figure to the reason why it is missing, or to what it rests on.
    """

    refs: dict[str, ArtifactRef]
    variants: pd.DataFrame
    selection: tuple[Metric, ...]
    n_trials: int
    notes: dict[str, str]


def run_suite(tested: Subject, record: RunRecord, ledger: TrialLedger) -> Suite:
    """Run every part of the suite.

    Parameters
    ----------
    tested : Subject
        The backtest.
    record : RunRecord
        Its record; counted here, before anyone sees a figure of it.
    ledger : TrialLedger
        Ledger of its track.

    Returns
    -------
    Suite
        Addresses and figures.
    """
    record_backtest(ledger, record, tested.run)
    refs = stress_stage(tested)
    refs |= null_stage(tested)
    refs |= monte_carlo_stage(tested)
    refs |= parity_stage(tested)
    refs["evaluation"] = tested.refs["evaluation"]
    refits, refit_note = refit_stages(tested)
    variants = _variants(tested, record, ledger)
    family = strategy_family(record)
    competition = competing_returns(tested.workspace, ledger, family)
    statistics = trial_statistics({family: competition})
    (counted,) = (found for found in ledger.families(statistics) if found.family == family)
    selection, notes = selection_figures(
        competition,
        tested.refs["backtest"],
        n_trials=counted.n_trials,
        sharpe_variance=counted.sharpe_variance,
        seed=tested.advanced.seed,
    )
    notes |= {"cpcv_median_sharpe": refit_note}
    return Suite(refs | refits, variants, selection, counted.n_trials, notes)


def _variants(tested: Subject, record: RunRecord, sink: TrialSink) -> pd.DataFrame:
    """Simulate and count every neighbouring book."""
    rows = []
    for name, change in _neighbours(tested).items():
        config = tested.config.model_copy(update=change)
        refs = simulate_stage(tested.workspace, tested.stages, tested.run, config)
        changes = {"config": config.content(), "artifacts": refs}
        record_backtest(sink, record.model_copy(update=changes), tested.run)
        summary = tested.workspace.store.read(BACKTEST, refs["backtest"]).documents["summary"]
        figures = {key: np.nan if summary[key] is None else summary[key] for key in FIGURES}
        rows.append({"variant": name, "backtest": str(refs["backtest"]), **figures})
    return pd.DataFrame(rows, columns=["variant", "backtest", *FIGURES])


def _neighbours(tested: Subject) -> dict[str, dict[str, Any]]:
    """What differs in each neighbouring book, or in each neighbour of its rules."""
    factors: dict[str, Any] = {
        "size_factors": tested.advanced.size_factors,
        "holding_factors": tested.advanced.holding_factors,
    }
    traded = tested.config.rules
    if traded is None:
        books = neighbouring_books(tested.config.backtest, **factors)
        return {name: {"backtest": book} for name, book in books.items()}
    return {
        name: {"rules": traded.model_copy(update={"settings": rules})}
        for name, rules in neighbouring_rules(traded.settings, **factors).items()
    }


def selection_figures(
    competition: Competition,
    subject: ArtifactRef,
    *,
    n_trials: int,
    sharpe_variance: float | None,
    seed: int,
) -> tuple[tuple[Metric, ...], dict[str, str]]:
    """Compute what depends on every strategy of the family that was tried.

    Parameters
    ----------
    competition : Competition
        Hedged net returns of all of them.
    subject : ArtifactRef
        The backtest that is judged.
    n_trials : int
        Trials of the family.
    sharpe_variance : float or None
        Variance of their Sharpe ratios per session.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    tuple of Metric
        ``dsr_p_value``, ``pbo`` and ``spa_p_value`` as far as they exist.
    dict of str to str
        Figure to the reason why it is missing, or to what it rests on.
    """
    if subject not in competition.refs:
        return (), dict.fromkeys(("dsr_p_value", "pbo", "spa_p_value"), "the book never traded")
    place = competition.refs.index(subject)
    own = competition.returns[competition.is_live[:, place], place]
    common, notes = competition.common, {}
    found: list[Metric | None] = []
    if n_trials > 1:
        notes["dsr_p_value"] = f"{n_trials} trials counted"
        found.append(deflated_metric(own, n_trials=n_trials, sharpe_variance=sharpe_variance))
    else:
        notes["dsr_p_value"] = "the ledger has one trial, so there is nothing to deflate by"
    overfit, notes["pbo"] = overfitting_metric(competition, n_obs=len(own))
    found.append(overfit)
    n_books, n_common = common.shape[1], competition.n_common
    if n_books and n_common >= MIN_SESSIONS and not competition.lost:
        config = SnoopingConfig(n_draws=SPA_DRAWS)
        tested = spa_test(common, config=config, seed=seed)
        found.append(
            Metric("spa_p_value", tested.p_consistent, "probability", n_common, "spa_consistent")
        )
        told = f"best of {n_books} books, net of cost and of beta to the benchmark"
        left_out = competition.left_out(n_books)
        notes["spa_p_value"] = f"{told}; {left_out}" if left_out else told
    else:
        reason = why_not_compared(competition)
        notes["spa_p_value"] = reason or "no book traded in the sessions that all have"
    return tuple(metric for metric in found if metric is not None), notes


def suite_documents(suite: Suite) -> dict[str, Any]:
    """Describe the suite for the facts of a validation report.

    Parameters
    ----------
    suite : Suite
        What was found.

    Returns
    -------
    dict
        Plain values: addresses by role, variants, trials and notes.
    """
    return {
        "parts": {role: str(ref) for role, ref in suite.refs.items()},
        "variants": [
            {
                key: value
                if isinstance(value, str)
                else (None if np.isnan(value) else float(value))
                for key, value in row.items()
            }
            for row in suite.variants.to_dict("records")
        ],
        "n_trials": suite.n_trials,
        "notes": suite.notes,
    }

"""Families of trials: how many configurations competed, and how many of them were different.

N is the number of trials, that is of askings that differ in any field; asking again adds nothing.
Effective N and the variance of Sharpe need the trials' returns, which the caller hands in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import finite_or_none
from quant_engine.governance.rows import TRIAL_FIELDS
from quant_engine.stats.effective_trials import EffectiveTrials, eigenvalue_participation

_CONFIGURATION = ("family", "spec_id", "data_id", "split_id")


@dataclass(frozen=True)
class Family:
    """How often one family was asked.

    Parameters
    ----------
    family : str
        Its name.
    n_trials : int
        Different trials: N of the deflated Sharpe ratio and of max-T.
    n_configurations : int
        Different (spec, data, split), whoever asked and wherever the returns lie.
    n_askings : int
        Rows.
    n_with_returns : int
        Trials that name stored returns.
    first_us, last_us : int
        Instants of the first and last asking, microseconds since 1970, UTC.
    n_effective : float or None
        Effective number of independent trials; None without returns. A trial without returns
        counts as one more independent trial: what cannot be compared is not called a copy.
    sharpe_variance : float or None
        Variance of the trials' Sharpe ratios per period; None without returns.
    effective_method : str
        How effective N was found; empty without returns.
    """

    family: str
    n_trials: int
    n_configurations: int
    n_askings: int
    n_with_returns: int
    first_us: int
    last_us: int
    n_effective: float | None = None
    sharpe_variance: float | None = None
    effective_method: str = ""


@dataclass(frozen=True)
class TrialStatistics:
    """Returns of trials and the function that summarises them.

    Parameters
    ----------
    returns : mapping of str to ndarray, shape (T, K)
        Family to returns per period, one column per trial of the family that has any.
    summarise : callable
        Maps such a matrix to `stats.effective_trials.EffectiveTrials`.
    """

    returns: Mapping[str, FloatMatrix]
    summarise: Callable[[FloatMatrix], EffectiveTrials] = eigenvalue_participation


def count_families(rows: pa.Table, statistics: TrialStatistics | None) -> tuple[Family, ...]:
    """Count the trials of every family.

    Parameters
    ----------
    rows : pyarrow.Table
        All columns of a ledger.
    statistics : TrialStatistics or None
        Returns of some or all trials.

    Returns
    -------
    tuple of Family
        In alphabetical order; empty for an empty ledger.

    Raises
    ------
    ConfigError
        When returns are given for an unknown family, or for more trials than it has.
    """
    plain = rows.select([*TRIAL_FIELDS, "at_us"])
    trials = plain.group_by(list(TRIAL_FIELDS)).aggregate([])
    with_returns = trials.filter(pc.not_equal(trials["returns_ref"], ""))
    askings = plain.group_by(["family"]).aggregate([("at_us", "min"), ("at_us", "max")])
    first = dict(zip(askings["family"].to_pylist(), askings["at_us_min"].to_pylist(), strict=True))
    last = dict(zip(askings["family"].to_pylist(), askings["at_us_max"].to_pylist(), strict=True))
    n_askings, n_trials = _per_family(plain), _per_family(trials)
    n_configurations = _per_family(trials.group_by(list(_CONFIGURATION)).aggregate([]))
    n_with_returns = _per_family(with_returns)
    found = {
        name: Family(
            name,
            n_trials=n_trials[name],
            n_configurations=n_configurations[name],
            n_askings=n_askings[name],
            n_with_returns=n_with_returns.get(name, 0),
            first_us=first[name],
            last_us=last[name],
        )
        for name in sorted(first)
    }
    if statistics is not None:
        for name, returns in statistics.returns.items():
            found[name] = _measured(_known(name, found), returns, statistics)
    return tuple(found[name] for name in sorted(found))


def _per_family(table: pa.Table) -> dict[str, int]:
    counts = table.group_by(["family"]).aggregate([([], "count_all")])
    return dict(zip(counts["family"].to_pylist(), counts["count_all"].to_pylist(), strict=True))


def _known(name: str, found: Mapping[str, Family]) -> Family:
    if name not in found:
        raise ConfigError(
            "returns",
            wanted="families of this ledger: " + (", ".join(found) or "none"),
            got=repr(name),
            hint="Record the trials before their returns are summarised.",
        )
    return found[name]


def _measured(family: Family, returns: FloatMatrix, statistics: TrialStatistics) -> Family:
    matrix = np.asarray(returns)
    if matrix.ndim != 2 or not 1 <= matrix.shape[1] <= family.n_trials:
        raise ConfigError(
            f"returns of family {family.family!r}",
            wanted=f"a matrix with 1 to {family.n_trials} columns, one per trial of the ledger",
            got=f"shape {matrix.shape}",
            hint="Every configuration that has returns was evaluated, so it belongs in the ledger.",
        )
    unseen = family.n_trials - matrix.shape[1]
    summary = statistics.summarise(matrix)
    return replace(
        family,
        n_effective=summary.n_effective + unseen,
        sharpe_variance=finite_or_none(summary.trial_variance_per_period),
        effective_method=summary.method,
    )

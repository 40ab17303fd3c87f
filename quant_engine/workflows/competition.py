"""Competition: the returns of everything that was tried in a family, side by side.

1. ``competing_returns`` reads what the ledger names; what never varied, or is gone, is named too.
2. ``deflated_metric`` and ``overfitting_metric`` are figures that depend on all of them.

Whoever counts as a competitor is decided here once, for gates, validation suite and sweeps: a book
whose returns never vary has no Sharpe ratio and cannot be the best, so it is left out of what
compares ratios, and said to be. It stays a trial of the ledger.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST
from quant_engine.artifacts.kinds.sweep import SWEEP_PART
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.governance.bundle import Metric
from quant_engine.governance.families import TrialStatistics
from quant_engine.governance.ledger import TrialLedger
from quant_engine.stats.deflation import deflated_sharpe
from quant_engine.stats.overfitting import pbo_cscv, varies_in_blocks
from quant_engine.stats.sharpe_inference import sharpe_sample
from quant_engine.workflows.context import Workspace

CSCV_BLOCKS = 16
MIN_SESSIONS = 252
"""Sessions below which nothing is said about selection: a year."""

ROUNDING = 1e-12
"""Largest difference of returns that only differ by rounding, as those of idle cash do."""


@dataclass(frozen=True, eq=False)
class Competition:
    """Every backtest of a family that left returns.

    Parameters
    ----------
    refs : tuple of ArtifactRef
        Backtests, in the order of asking; the id of a variant of a sweep ends with ``#`` and its
        number.
    sessions : DatetimeIndex
        All sessions of any of them.
    returns : ndarray, shape (T, K)
        Hedged net returns per session (fractions); 0 outside a backtest's own sessions.
    is_live : ndarray of bool, shape (T, K)
        Sessions of each backtest; a session of its own without a position is one.
    lost : tuple of str
        Addresses in the ledger whose returns are no longer in the store.
    idle : tuple of str
        Addresses whose returns never vary, most of them books without a trade. They are no
        columns: there is nothing to compare, and they cannot be the best.
    """

    refs: tuple[ArtifactRef, ...]
    sessions: pd.DatetimeIndex
    returns: FloatMatrix
    is_live: BoolMatrix
    lost: tuple[str, ...]
    idle: tuple[str, ...] = ()

    @property
    def n_common(self) -> int:
        """Sessions that all of them have."""
        return int(self.is_live.all(axis=1).sum())

    @property
    def common(self) -> FloatMatrix:
        """Returns in the sessions that all of them have, shape (T', K'), of those that vary there.

        What compares Sharpe ratios needs the same sessions for all; zeros would dilute some.
        """
        shared = self.returns[self.is_live.all(axis=1)]
        return np.ascontiguousarray(shared[:, varies(shared)])

    def left_out(self, n_compared: int) -> str:
        """Say in words how many books a comparison had to leave out, and why.

        Parameters
        ----------
        n_compared : int
            Books that were compared.

        Returns
        -------
        str
            Empty when all were.
        """
        return left_out_text(len(self.refs) + len(self.idle) - n_compared)


def left_out_text(n_left_out: int) -> str:
    """Say in words that books were left out of a comparison of Sharpe ratios.

    Parameters
    ----------
    n_left_out : int
        How many.

    Returns
    -------
    str
        Empty for none.

    Examples
    --------
    >>> left_out_text(2)
    'left out: 2 that never or hardly ever traded, so that no Sharpe ratio is defined'
    """
    if not n_left_out:
        return ""
    return (
        f"left out: {n_left_out} that never or hardly ever traded, so that no Sharpe ratio is "
        "defined"
    )


def varies(returns: FloatMatrix) -> npt.NDArray[np.bool_]:
    """Tell which strategies have returns that vary.

    Parameters
    ----------
    returns : ndarray of float64, shape (T, K)
        Returns per session (fraction); NaN = not a session of the strategy.

    Returns
    -------
    ndarray of bool, shape (K,)
        False where all returns are the same up to `ROUNDING`, and without a session.

    Examples
    --------
    >>> varies(np.array([[0.0, 0.01], [0.0, 0.02]])).tolist()
    [False, True]
    """
    if not len(returns):
        return np.zeros(returns.shape[1], dtype=np.bool_)
    return np.asarray(np.nanmax(returns, axis=0) - np.nanmin(returns, axis=0) > ROUNDING)


def trial_statistics(competitions: Mapping[str, Competition]) -> TrialStatistics:
    """Hand the returns of families over, where their members share enough sessions.

    Parameters
    ----------
    competitions : mapping of str to Competition
        By family.

    Returns
    -------
    TrialStatistics
        Without a family whose members share less than a year of sessions: it has no effective N.
        A trial whose returns never vary counts as one more independent trial.
    """
    shared = {family: competition.common for family, competition in competitions.items()}
    return TrialStatistics(
        {
            family: found
            for family, found in shared.items()
            if len(found) >= MIN_SESSIONS and found.shape[1]
        }
    )


def competing_returns(workspace: Workspace, ledger: TrialLedger, family: str) -> Competition:
    """Put the returns of every backtest of a family side by side.

    Parameters
    ----------
    workspace : Workspace
        Store of the backtests.
    ledger : TrialLedger
        Names them.
    family : str
        Family of trials.

    Returns
    -------
    Competition
        A backtest whose returns never vary stands in ``idle``: it cannot be the best.
    """
    rows = ledger.read(("family", "returns_ref")).to_pylist()
    named = dict.fromkeys(
        row["returns_ref"] for row in rows if row["family"] == family and row["returns_ref"]
    )
    found: dict[ArtifactRef, pd.Series] = {}
    parts: dict[ArtifactRef, pd.DataFrame] = {}
    lost = []
    for address in named:
        ref, variant = _addressed(address)
        if not workspace.store.path(ref).is_dir():
            lost.append(address)
        elif not variant:
            found[ref] = hedged_returns(workspace, ref)
        else:
            if ref not in parts:
                table = workspace.store.read(SWEEP_PART, ref).tables["returns"]
                parts[ref] = table.set_index("session")
            place = ref.model_copy(update={"id": f"{ref.id}#{variant}"})
            found[place] = parts[ref][f"v{variant}"]
    traded = {
        ref: series
        for ref, series in found.items()
        if varies(series.to_numpy(dtype=np.float64)[:, None]).all()
    }
    idle = tuple(str(ref) for ref in found if ref not in traded)
    table = pd.DataFrame({ref.id: series for ref, series in traded.items()}).sort_index()
    return Competition(
        refs=tuple(traded),
        sessions=pd.DatetimeIndex(table.index),
        returns=np.ascontiguousarray(table.fillna(0.0).to_numpy(dtype=np.float64)),
        is_live=table.notna().to_numpy(),
        lost=tuple(lost),
        idle=idle,
    )


def _addressed(address: str) -> tuple[ArtifactRef, str]:
    """Artifact of an address in the ledger, and the variant of a sweep after ``#``."""
    kind, _, identity = address.partition("/")
    plain, _, variant = identity.partition("#")
    return ArtifactRef(kind=kind, id=plain), variant


def hedged_returns(workspace: Workspace, ref: ArtifactRef) -> pd.Series:
    """Return a backtest's net returns after the hedge, by session (fractions).

    Parameters
    ----------
    workspace : Workspace
        Store.
    ref : ArtifactRef
        A backtest.

    Returns
    -------
    Series
        The net return where no hedge ratio was known yet.
    """
    daily = workspace.store.read(BACKTEST, ref).tables["daily"].set_index("session")
    return daily["ret_hedged"].fillna(daily["ret_net"])


def deflated_metric(
    returns: FloatVector, *, n_trials: int, sharpe_variance: float | None
) -> Metric | None:
    """Return one minus the deflated Sharpe ratio of a backtest.

    Parameters
    ----------
    returns : ndarray of float64, shape (T,)
        Hedged net returns per session (fractions); no NaN.
    n_trials : int
        Trials of the family.
    sharpe_variance : float or None
        Variance of their Sharpe ratios per session; None = their returns are not comparable.

    Returns
    -------
    Metric or None
        ``dsr_p_value``; None where several trials have no variance.
    """
    if n_trials > 1 and sharpe_variance is None:
        return None
    sample = sharpe_sample(returns)
    deflated = deflated_sharpe(
        sample.sharpe_per_period,
        n_obs=sample.n_obs,
        shape=sample.shape,
        trial_variance_per_period=sharpe_variance or 0.0,
        n_trials=n_trials,
    )
    value = 1.0 - float(deflated.probability)
    return Metric("dsr_p_value", value, "probability", len(returns), deflated.convention)


def overfitting_metric(competition: Competition, *, n_obs: int) -> tuple[Metric | None, str]:
    """Return the probability of overfitting among the backtests of a family.

    Parameters
    ----------
    competition : Competition
        All of them.
    n_obs : int
        Sessions of the backtest that is judged.

    Returns
    -------
    Metric or None
        ``pbo``; None for one backtest alone, where returns were lost, or below a year of sessions
        that all have.
    str
        What it rests on, or why it is missing, in words.
    """
    reason = why_not_compared(competition)
    if reason:
        return None, reason
    value, words = overfitting(competition.common, n_strategies=_n_members(competition))
    if value is None:
        return None, words
    return Metric("pbo", value, "probability", n_obs, f"cscv_{CSCV_BLOCKS}"), words


def overfitting(returns: FloatMatrix, *, n_strategies: int) -> tuple[float | None, str]:
    """Probability of overfitting among strategies, without those that hardly ever trade.

    Parameters
    ----------
    returns : ndarray of float64, shape (T, K)
        Returns per session (fraction), at least a year of them; no NaN.
    n_strategies : int
        Strategies that were tried, at least K: those without a column never traded.

    Returns
    -------
    float or None
        Probability; None where fewer than two are left.
    str
        How many were compared, how many left out and why, in words.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(0.0, 0.01, (320, 3))
    >>> overfitting(noise * [1.0, 1.0, 0.0], n_strategies=4)[1].partition(";")[0]
    '2 books compared in 16 blocks'
    """
    compared = returns[:, :0]
    if returns.shape[1]:
        compared = returns[:, varies_in_blocks(returns, n_blocks=CSCV_BLOCKS)]
    n_compared = compared.shape[1]
    left_out = left_out_text(n_strategies - n_compared)
    if n_compared < 2:
        told = f"{n_compared} of {n_strategies} books could be compared, of 2 needed"
        return None, f"{told}; {left_out}" if left_out else told
    value = float(pbo_cscv(compared, n_blocks=CSCV_BLOCKS).pbo)
    told = f"{n_compared} books compared in {CSCV_BLOCKS} blocks"
    return value, f"{told}; {left_out}" if left_out else told


def why_not_compared(competition: Competition) -> str:
    """Say why a family cannot be compared on common sessions; empty where it can.

    Parameters
    ----------
    competition : Competition
        The family.

    Returns
    -------
    str
        Returns that are gone, too few common sessions, or one backtest alone.
    """
    if competition.lost:
        return f"returns of {len(competition.lost)} counted trials are no longer in the store"
    if competition.n_common < MIN_SESSIONS:
        return f"{competition.n_common} sessions that all trials have, of {MIN_SESSIONS} needed"
    if _n_members(competition) < 2:
        return "the ledger has one trial, so nothing was chosen"
    return ""


def _n_members(competition: Competition) -> int:
    """Trials that left returns, whether they vary or not."""
    return len(competition.refs) + len(competition.idle)

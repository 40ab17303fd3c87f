"""Scores of walk-forward forecasts, and whether one beats another, by real-world event.

Contract: looks are scored one by one, averaged per cluster, and tested over clusters. Many horizons
or ladders of one release are one observation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.kalshi.event_frames import LOOK_KEY, logit
from quant_engine.kalshi.models import MEMBERS, Member
from quant_engine.kalshi.scoring import score_event
from quant_engine.kalshi.walkforward import WalkForwardForecasts
from quant_engine.stats.calibration import (
    BrierParts,
    brier_decomposition,
    expected_calibration_error,
)
from quant_engine.stats.clustered import cluster_mean
from quant_engine.stats.crps import PitTest, pit_test
from quant_engine.stats.recalibration import fit_platt

__all__ = [
    "CalibrationSummary",
    "SkillTest",
    "compare_members",
    "score_forecasts",
    "skill_table",
    "summarise_calibration",
]

COVERAGES = (0.5, 0.8, 0.95)
SCORES = ("log_loss", "brier", "rps")


@dataclass(frozen=True)
class SkillTest:
    """Mean gain of one forecast over another, over clusters.

    Parameters
    ----------
    mean : float
        Loss of the base minus loss of the member: above 0 the member is better.
    ci_low, ci_high : float
        Two-sided interval at `coverage`, Student t with one degree of freedom per cluster less 1.
    t, p_value : float
        Of a zero mean, two-sided; NaN where the two never differ.
    n_clusters : int
        Real-world events.
    coverage : float
        Of the interval.
    """

    mean: float
    ci_low: float
    ci_high: float
    t: float
    p_value: float
    n_clusters: int
    coverage: float


@dataclass(frozen=True)
class CalibrationSummary:
    """How honest the probabilities of one member were.

    Parameters
    ----------
    brier : BrierParts
        Murphy's terms over cells, ten bins.
    calibration_error : float
        Expected calibration error, ten bins.
    slope, intercept : float
        Logistic regression of what happened on log odds; 1 and 0 are honest.
    pit : PitTest or None
        Of the randomised transform at the shortest horizon; None with fewer than 50 looks.
    coverage : dict of float to float
        Nominal central interval to the share of outcomes inside, all looks.
    """

    brier: BrierParts
    calibration_error: float
    slope: float
    intercept: float
    pit: PitTest | None
    coverage: dict[float, float]


def score_forecasts(forecasts: WalkForwardForecasts, *, seed: int = 0) -> pd.DataFrame:
    """Score every look by every member.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        Out-of-sample forecasts.
    seed : int
        Of the randomised probability transform.

    Returns
    -------
    DataFrame
        ``event_id, horizon_s, cluster_id, fold, regime, member, log_loss`` (nats, at least half a
        tick), ``brier`` (0 to 2), ``rps`` (CRPS in cells) and ``pit`` (uniform where honest).
    """
    happened = forecasts.frames.labels["happened"].to_numpy()[forecasts.looks["place"]]
    starts = np.flatnonzero(forecasts.cells["cell"].to_numpy() == 0)
    u = np.random.default_rng(seed).random(len(starts))
    base = forecasts.looks.reset_index()[[*LOOK_KEY, "cluster_id", "fold", "regime"]]
    parts = []
    for member in MEMBERS:
        pieces = np.split(forecasts.cells[member].to_numpy(), starts[1:])
        found = [score_event(p, int(h)) for p, h in zip(pieces, happened, strict=True)]
        pit = [s.pit_low + v * (s.pit_high - s.pit_low) for s, v in zip(found, u, strict=True)]
        figures = {name: [getattr(score, name) for score in found] for name in SCORES}
        parts.append(base.assign(member=member, **figures, pit=pit))
    return pd.concat(parts, ignore_index=True)


def compare_members(
    scores: pd.DataFrame,
    member: Member,
    base: Member,
    *,
    score: str = "log_loss",
    regime: str | None = None,
    coverage: float = 0.95,
) -> SkillTest:
    """Test over clusters whether a member loses less than a base.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`score_forecasts`.
    member, base : str
        Forecasts to compare.
    score : str
        ``log_loss``, ``brier`` or ``rps``.
    regime : str, optional
        Only looks in this regime.
    coverage : float
        Of the interval.

    Returns
    -------
    SkillTest

    Raises
    ------
    ConfigError
        An unknown member or score.
    InsufficientHistoryError
        Fewer than 2 clusters.

    Notes
    -----
    Differences per look are averaged within clusters, which count alike: the cluster t of
    :func:`quant_engine.stats.clustered.cluster_mean` on one value per cluster.
    """
    for name, known in ((member, MEMBERS), (base, MEMBERS), (score, SCORES)):
        if name not in known:
            raise ConfigError(
                "member, base, score", wanted=", ".join(known), got=repr(name),
                hint=did_you_mean(name, known),
            )  # fmt: skip
    kept = scores if regime is None else scores[scores["regime"] == regime]
    table = kept.pivot_table(index=[*LOOK_KEY, "cluster_id"], columns="member", values=score)
    gain = (table[base] - table[member]).groupby(level="cluster_id").mean()
    test = cluster_mean(gain.to_numpy(), gain.index.to_numpy())
    reach = float(stdtrit(test.df, 0.5 + coverage / 2.0)) * test.std_error
    return SkillTest(
        mean=test.mean,
        ci_low=test.mean - reach,
        ci_high=test.mean + reach,
        t=test.t,
        p_value=test.p_value,
        n_clusters=test.n,
        coverage=coverage,
    )


def skill_table(scores: pd.DataFrame, *, coverage: float = 0.95) -> pd.DataFrame:
    """Every member against both baselines by every score.

    Parameters
    ----------
    scores : DataFrame
        Of :func:`score_forecasts`.
    coverage : float
        Of the intervals.

    Returns
    -------
    DataFrame
        ``member, base, score`` and the fields of :class:`SkillTest`; a baseline is not compared
        with itself.

    Raises
    ------
    InsufficientHistoryError
        Fewer than 2 clusters.
    """
    baselines: tuple[Member, ...] = ("market", "recalibrated")
    rows = [
        {"member": member, "base": base, "score": score}
        | asdict(compare_members(scores, member, base, score=score, coverage=coverage))
        for base in baselines
        for member in MEMBERS[MEMBERS.index(base) + 1 :]
        for score in SCORES
    ]
    return pd.DataFrame(rows)


def summarise_calibration(
    forecasts: WalkForwardForecasts, scores: pd.DataFrame, member: Member
) -> CalibrationSummary:
    """Reliability, slope, transforms and coverage of one member.

    Parameters
    ----------
    forecasts : WalkForwardForecasts
        Out-of-sample forecasts.
    scores : DataFrame
        Of :func:`score_forecasts`.
    member : str
        Forecast.

    Returns
    -------
    CalibrationSummary
    """
    happened = forecasts.frames.labels["happened"].to_numpy()[forecasts.looks["place"]]
    cell = forecasts.cells["cell"].to_numpy()
    prob = forecasts.cells[member].to_numpy()
    look = np.cumsum(cell == 0) - 1
    outcome = (cell == happened[look]).astype(np.float64)
    fitted = fit_platt(logit(prob), outcome)
    mine = scores[scores["member"] == member]
    nearest = mine[mine["horizon_s"] == mine["horizon_s"].min()]
    pit = nearest["pit"].to_numpy()
    middle = np.abs(mine["pit"].to_numpy() - 0.5)
    return CalibrationSummary(
        brier=brier_decomposition(prob, outcome, n_bins=10),
        calibration_error=float(expected_calibration_error(prob, outcome, n_bins=10)),
        slope=-fitted.a,
        intercept=-fitted.b,
        pit=pit_test(pit) if len(pit) >= 50 else None,
        coverage={level: float((middle <= level / 2.0).mean()) for level in COVERAGES},
    )

"""QualityVerdict: may this model be promoted, and if not, why, in words.

Contract: a rule that cannot be judged for lack of observations is a reason too. Figures are plain
numbers, None where unavailable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from quant_engine.models.config import QualityConfig

__all__ = ["QualityVerdict", "judge"]

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class QualityVerdict:
    """Outcome of the quality rules.

    Parameters
    ----------
    promotable : bool
        True when no rule is broken.
    reasons : tuple of str
        One sentence per broken rule, in the order of the rules.
    figures : mapping of str to float or None
        What was judged, and what else describes the model.

    Examples
    --------
    >>> QualityVerdict(True, (), {}).promotable
    True
    """

    promotable: bool
    reasons: tuple[str, ...]
    figures: Figures


def judge(figures: Figures, config: QualityConfig) -> QualityVerdict:
    """Apply the rules to the figures of a training run.

    Parameters
    ----------
    figures : mapping of str to float or None
        At least ``n_oos_sessions``, ``oos_rank_ic``, ``is_oos_gap`` (correlations),
        ``n_holdout_sessions``, ``holdout_rank_ic``, ``holdout_r2``, ``oos_coverage`` (share) and
        ``oos_sign_ece`` (probability); None = not available.
    config : QualityConfig
        Limits.

    Returns
    -------
    QualityVerdict
        Promotable when no rule is broken.

    Examples
    --------
    >>> figures = {
    ...     "n_oos_sessions": 200, "oos_rank_ic": 0.03, "is_oos_gap": 0.2,
    ...     "n_holdout_sessions": 50, "holdout_rank_ic": 0.02, "holdout_r2": 0.001,
    ...     "oos_coverage": 0.9, "coverage": 0.9, "oos_sign_ece": 0.01,
    ... }
    >>> judge(figures, QualityConfig()).reasons
    ('in-sample rank IC exceeds out-of-sample rank IC by 0.2000, more than 0.15',)
    """
    reasons = [
        *_out_of_sample_reasons(figures, config),
        *_holdout_reasons(figures, config),
        *_probability_reasons(figures, config),
    ]
    return QualityVerdict(not reasons, tuple(reasons), dict(figures))


def _out_of_sample_reasons(figures: Figures, config: QualityConfig) -> list[str]:
    reasons = []
    n_sessions = figures["n_oos_sessions"] or 0
    if n_sessions < config.min_oos_sessions:
        reasons.append(
            f"insufficient observation: {n_sessions:.0f} scored out-of-sample sessions, "
            f"{config.min_oos_sessions} needed"
        )
    rank_ic, gap = figures["oos_rank_ic"], figures["is_oos_gap"]
    if rank_ic is None:
        reasons.append("out-of-sample rank IC is not available")
    elif rank_ic <= config.min_oos_rank_ic:
        reasons.append(
            f"out-of-sample rank IC {rank_ic:.4f} is not above {config.min_oos_rank_ic:g}"
        )
    if gap is not None and gap > config.max_is_oos_gap:
        reasons.append(
            f"in-sample rank IC exceeds out-of-sample rank IC by {gap:.4f}, "
            f"more than {config.max_is_oos_gap:g}"
        )
    return reasons


def _holdout_reasons(figures: Figures, config: QualityConfig) -> list[str]:
    n_sessions = figures["n_holdout_sessions"] or 0
    if n_sessions < config.min_holdout_sessions:
        return [
            f"insufficient observation: {n_sessions:.0f} scored holdout sessions, "
            f"{config.min_holdout_sessions} needed"
        ]
    reasons = []
    rank_ic, r2 = figures["holdout_rank_ic"], figures["holdout_r2"]
    if rank_ic is None or rank_ic <= config.min_holdout_rank_ic:
        shown = "not available" if rank_ic is None else f"{rank_ic:.4f}"
        reasons.append(f"holdout rank IC is {shown}, not above {config.min_holdout_rank_ic:g}")
    if r2 is None or r2 < config.min_holdout_r2:
        shown = "not available" if r2 is None else f"{r2:.5f}"
        reasons.append(f"holdout R-squared is {shown}, below {config.min_holdout_r2:g}")
    return reasons


def _probability_reasons(figures: Figures, config: QualityConfig) -> list[str]:
    reasons = []
    coverage, wanted, ece = figures["oos_coverage"], figures["coverage"], figures["oos_sign_ece"]
    if coverage is None or wanted is None:
        reasons.append("interval coverage is not available")
    elif abs(coverage - wanted) > config.max_coverage_error:
        reasons.append(
            f"intervals hold {coverage:.1%} of the labels where {wanted:.1%} was wanted "
            f"(tolerance {config.max_coverage_error:.1%})"
        )
    if ece is None:
        reasons.append("calibration error of the sign confidence is not available")
    elif ece > config.max_sign_ece:
        reasons.append(
            f"sign confidence is off by {ece:.4f} on average, more than {config.max_sign_ece:g}"
        )
    return reasons

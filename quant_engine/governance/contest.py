"""Champion and challenger: a frozen control arm that must be beaten on two kinds of data.

The baseline is frozen by the hash of its model's content. A challenger beats it when its figure is
larger by a relative margin on validation data and on forward data, both arms observed on the same
periods under the same method. A figure that is not there beats nothing.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Final

from quant_engine.core.errors import ConfigError, IntegrityError
from quant_engine.governance.bundle import Metric

CONTEST_SCHEMA: Final = "qe.contest/1"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class FrozenBaseline:
    """The control arm of one competition.

    Parameters
    ----------
    subject : str
        Id of the model or strategy.
    competition : str
        ``dataset|horizon|track``: models compete only inside it.
    content_sha256 : str
        Hash of its stored content.
    metric : str
        Figure that decides, larger is better.

    Raises
    ------
    ConfigError
        When the hash is none.
    """

    subject: str
    competition: str
    content_sha256: str
    metric: str = "sharpe_daily"

    def __post_init__(self) -> None:
        """Refuse what is not a hash."""
        if not _SHA256.fullmatch(self.content_sha256):
            raise ConfigError(
                "content_sha256",
                wanted="64 hexadecimal characters",
                got=repr(self.content_sha256)[:80],
                hint="Take content_sha256 of the baseline's manifest.",
            )


@dataclass(frozen=True)
class Arm:
    """One side of a contest.

    Parameters
    ----------
    subject : str
        Id of the model or strategy.
    content_sha256 : str
        Hash of its stored content.
    validation, forward : Metric
        The deciding figure on validation data, and on data later than every choice.
    """

    subject: str
    content_sha256: str
    validation: Metric
    forward: Metric


@dataclass(frozen=True)
class Contest:
    """How a challenger stood against a control arm.

    Parameters
    ----------
    challenger, control : str
        Subjects.
    control_sha256 : str
        Hash of the control arm.
    metric : str
        Figure that decided.
    margin : float
        Relative margin.
    won : bool
        Whether the challenger was better by the margin on both kinds of data.
    reasons : tuple of str
        One sentence per kind of data.
    """

    challenger: str
    control: str
    control_sha256: str
    metric: str
    margin: float
    won: bool
    reasons: tuple[str, ...]

    def content(self) -> dict[str, Any]:
        """Return the contest as plain JSON values under its schema name."""
        return {"schema": CONTEST_SCHEMA, **asdict(self), "reasons": list(self.reasons)}


def beats(challenger: float, champion: float, *, margin: float) -> bool:
    """Tell whether a figure is larger by a relative margin.

    ``challenger >= champion + margin * |champion|`` and strictly larger than the champion.

    Parameters
    ----------
    challenger, champion : float
        Larger is better; NaN beats nothing and is beaten by nothing.
    margin : float
        Share of the champion's size.

    Returns
    -------
    bool
        True when it beats.

    Examples
    --------
    >>> beats(1.02, 1.0, margin=0.02), beats(1.0, 1.0, margin=0.0), beats(-0.5, -0.51, margin=0.02)
    (True, False, False)
    """
    return challenger > champion and challenger >= champion + margin * abs(champion)


def contest(challenger: Arm, control: Arm, *, baseline: FrozenBaseline, margin: float) -> Contest:
    """Let a challenger meet the frozen baseline.

    Parameters
    ----------
    challenger : Arm
        Who wants its place.
    control : Arm
        The baseline, observed on the same periods.
    baseline : FrozenBaseline
        What was frozen.
    margin : float
        Relative margin.

    Returns
    -------
    Contest
        With one sentence for validation and one for forward data.

    Raises
    ------
    IntegrityError
        When the control arm is not what was frozen.
    ConfigError
        When a figure is not the one that decides.
    """
    if (control.subject, control.content_sha256) != (baseline.subject, baseline.content_sha256):
        raise IntegrityError(
            f"control arm {control.subject}",
            wanted=f"{baseline.subject} with content {baseline.content_sha256[:12]}",
            got=f"content {control.content_sha256[:12]}",
            hint="The baseline is frozen; restore it, or freeze another one with a reason.",
        )
    held, reasons = [], []
    for period in ("validation", "forward"):
        new, old = getattr(challenger, period), getattr(control, period)
        for arm, metric in ((challenger, new), (control, old)):
            if metric.name != baseline.metric:
                raise ConfigError(
                    f"{period} figure of {arm.subject}",
                    wanted=baseline.metric,
                    got=metric.name,
                    hint="Both arms are compared in the figure that was frozen.",
                )
        won, reason = _meet(new, old, margin)
        held.append(won)
        reasons.append(f"{period}: {reason}")
    return Contest(
        challenger=challenger.subject,
        control=control.subject,
        control_sha256=control.content_sha256,
        metric=baseline.metric,
        margin=margin,
        won=all(held),
        reasons=tuple(reasons),
    )


def _meet(new: Metric, old: Metric, margin: float) -> tuple[bool, str]:
    if new.is_missing or old.is_missing or new.value is None or old.value is None:
        return False, f"{new.name} is not available on both sides"
    if new.method != old.method or new.n_obs is None or new.n_obs != old.n_obs:
        return False, (
            f"the sides are not comparable: {new.n_obs} and {old.n_obs} observations, "
            f"methods {new.method!r} and {old.method!r}"
        )
    won = beats(float(new.value), float(old.value), margin=margin)
    verb = "beats" if won else "does not beat"
    return won, f"{new.name} {new.value:.4g} {verb} {old.value:.4g} by {margin:.0%}"

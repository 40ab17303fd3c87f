"""Qualification: gates on a candidate, and what it changed against a baseline.

``qualify`` is what `qe qualify ID [--baseline ID]` calls; its report is what
``qualification_report.json`` holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from quant_engine.artifacts.files import write_json
from quant_engine.core.hashing import sha256_json
from quant_engine.core.tracks import Track
from quant_engine.governance.bundle import Metric, MetricBundle
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import GateProfile
from quant_engine.governance.gates import GateReport, evaluate

QUALIFICATION_SCHEMA: Final = "qe.qualification_report/1"
REPORT_NAME: Final = "qualification_report.json"
RELATIVE_FLOOR: Final = 0.02
"""Smallest size that a relative change is divided by; without it a baseline near zero makes any
change enormous. The floor of the source documents' parity check."""


def relative_deviation(value: float, reference: float, *, floor: float = RELATIVE_FLOOR) -> float:
    """Return how far a value lies from a reference, relative to the reference's size.

    ``|value - reference| / max(|reference|, floor)``

    Parameters
    ----------
    value : float
        Such as a figure of paper trading.
    reference : float
        Such as the same figure of the backtest.
    floor : float
        Smallest denominator.

    Returns
    -------
    float
        Fraction, at least 0; NaN when either is NaN.

    Examples
    --------
    >>> round(relative_deviation(0.9, 1.0), 6), relative_deviation(0.01, 0.0)
    (0.1, 0.5)
    """
    return abs(value - reference) / max(abs(reference), floor)


def _rise(new: float, old: float) -> float:
    return (new - old) / max(abs(old), RELATIVE_FLOOR)


def _fall(new: float, old: float) -> float:
    return -_rise(new, old)


def _size_rise(new: float, old: float) -> float:
    # Drawdowns are negative; their size is what rises.
    return _rise(abs(new), abs(old))


def _difference(new: float, old: float) -> float:
    return new - old


_DELTAS: dict[str, tuple[str, str, Callable[[float, float], float]]] = {
    "sharpe_drop_frac": ("sharpe_daily", "fraction", _fall),
    "drawdown_increase_frac": ("max_drawdown", "fraction", _size_rise),
    "turnover_increase_frac": ("turnover_ann", "fraction", _rise),
    "slippage_increase_bps": ("slippage_mean_bps", "bps", _difference),
    "fee_per_turnover_increase_frac": ("fee_per_turnover", "fraction", _rise),
}


def compare_with_baseline(candidate: MetricBundle, baseline: MetricBundle) -> tuple[Metric, ...]:
    """Say by how much a candidate differs from a baseline, whole and by regime.

    Relative changes are divided by the size of the baseline's figure, at least 0.02.

    Parameters
    ----------
    candidate, baseline : MetricBundle
        With ``sharpe_daily``, ``max_drawdown``, ``turnover_ann``, ``slippage_mean_bps`` and
        ``fee_per_turnover``, whole or by regime.

    Returns
    -------
    tuple of Metric
        ``sharpe_drop_frac``, ``drawdown_increase_frac``, ``turnover_increase_frac``,
        ``slippage_increase_bps`` and ``fee_per_turnover_increase_frac``; a delta is missing
        where either figure is, and where the two follow different methods.
    """
    found = []
    for scope in ("", *candidate.scopes("regime")):
        for name, (figure, unit, change) in _DELTAS.items():
            new, old = candidate.get(figure, scope), baseline.get(figure, scope)
            if new is not None:
                found.append(Metric(name, _delta(new, old, change), unit, new.n_obs, scope=scope))
    return tuple(found)


def _delta(
    new: Metric, old: Metric | None, change: Callable[[float, float], float]
) -> float | None:
    if old is None or new.is_missing or old.is_missing or new.method != old.method:
        return None
    if new.value is None or old.value is None:
        return None
    return change(float(new.value), float(old.value))


@dataclass(frozen=True)
class QualificationReport:
    """What qualification says about a candidate.

    Parameters
    ----------
    verdict : GateReport
        Every rule with its value and reason.
    baseline : str
        Subject it was compared with; empty for none.
    deltas : tuple of Metric
        What it changed against the baseline.
    """

    verdict: GateReport
    baseline: str
    deltas: tuple[Metric, ...]

    def content(self) -> dict[str, Any]:
        """Return the report as plain JSON values under its schema name."""
        return {
            "schema": QUALIFICATION_SCHEMA,
            "subject": self.verdict.subject,
            "baseline": self.baseline,
            "track": str(self.verdict.track),
            "status": str(self.verdict.status),
            "passed": self.verdict.passed,
            "blocks": list(self.verdict.blocks),
            "failed_hard": list(self.verdict.failed_hard),
            "failed_soft": list(self.verdict.failed_soft),
            "gate_summary": self.verdict.summary(),
            "comparison_deltas": [metric.content() for metric in self.deltas],
            "gate_report": self.verdict.content(),
        }

    def digest(self) -> str:
        """Hash of the content."""
        return sha256_json(self.content())


def qualify(
    candidate: MetricBundle,
    *,
    profile: GateProfile,
    track: Track,
    metrics: MetricCatalogue,
    baseline: MetricBundle | None = None,
    stage: str = "qualified",
) -> QualificationReport:
    """Judge a candidate, with a baseline when there is one.

    Parameters
    ----------
    candidate : MetricBundle
        Evidence on it.
    profile : GateProfile
        Rules.
    track : Track
        Where the verdict counts.
    metrics : MetricCatalogue
        Figures with units.
    baseline : MetricBundle, optional
        Evidence on the control arm. With it the stage ``qualified_against_baseline`` is judged.
    stage : str
        Stage without a baseline, such as ``"qualified_event"``.

    Returns
    -------
    QualificationReport
        Ready to be written and to support a promotion.

    Raises
    ------
    ConfigError
        For an unknown stage or figure.
    """
    if baseline is None:
        verdict = evaluate(profile, candidate, stage=stage, track=track, metrics=metrics)
        return QualificationReport(verdict, "", ())
    deltas = compare_with_baseline(candidate, baseline)
    named = {metric.name for metric in deltas}
    own = tuple(metric for metric in candidate.metrics if metric.name not in named)
    evidence = replace(candidate, metrics=(*own, *deltas))
    verdict = evaluate(
        profile, evidence, stage="qualified_against_baseline", track=track, metrics=metrics
    )
    return QualificationReport(verdict, baseline.subject, deltas)


def write_qualification(report: QualificationReport, folder: Path) -> Path:
    """Write ``qualification_report.json`` and return its path.

    Parameters
    ----------
    report : QualificationReport
        What to write.
    folder : Path
        Folder of the run or strategy; made when absent.

    Returns
    -------
    Path
        The file, replaced as a whole.
    """
    path = folder / REPORT_NAME
    write_json(path, report.content())
    return path

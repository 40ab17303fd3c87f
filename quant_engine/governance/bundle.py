"""Metric bundle: everything a gate may look at, frozen, with units, counts and origin.

A figure without its unit, its number of observations and its method is not evidence; a bundle
without a signature, a lineage and a ledger is not promotable. What is unknown is written as
unknown and blocks; nothing is filled in.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import finite_or_none, sha256_json
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track, track_of
from quant_engine.governance.ledger import LedgerUse

Value = bool | int | float
_N_TRIALS = "n_trials"


class SignatureState(StrEnum):
    """What is known about the signature of an evaluation."""

    SIGNED = "signed"
    UNSIGNED = "unsigned"
    INVALID = "invalid"


@dataclass(frozen=True)
class Metric:
    """One figure.

    Parameters
    ----------
    name : str
        Name in the catalogue of gate metrics.
    value : bool, int, float or None
        None, NaN and infinity all mean that it is missing.
    unit : str
        Unit of the value, such as ``"fraction"``; must be the catalogue's.
    n_obs : int or None
        Observations behind it; None where that is not known.
    method : str
        Named convention, such as ``"daily_agg_v1"``; empty where there is only one.
    scope : str
        Part of the evidence it speaks of: ``"regime:high_vol"``, ``"event:VOL_SHOCK"``,
        ``"slice:crash"``; empty for the whole.

    Examples
    --------
    >>> Metric("sharpe_daily", float("nan"), "annualised").is_missing
    True
    """

    name: str
    value: Value | None
    unit: str
    n_obs: int | None = None
    method: str = ""
    scope: str = ""

    def __post_init__(self) -> None:
        """Turn numpy scalars into plain numbers, which JSON can carry."""
        for name in ("value", "n_obs"):
            given = getattr(self, name)
            if isinstance(given, np.generic):
                object.__setattr__(self, name, given.item())

    @property
    def is_missing(self) -> bool:
        """Whether there is no finite value."""
        return self.value is None or not math.isfinite(self.value)

    def content(self) -> dict[str, Any]:
        """Return the fields as JSON values; a missing value is null."""
        is_number = isinstance(self.value, float)
        return {**asdict(self), "value": finite_or_none(self.value) if is_number else self.value}


@dataclass(frozen=True)
class Origin:
    """Where the evidence comes from.

    Parameters
    ----------
    run_source : RunSource
        Who started the run.
    score_source : ScoreSource
        What made the scores.
    data_regime : DataRegime
        What kind of data it saw.

    Examples
    --------
    >>> Origin(RunSource.PROD, ScoreSource.MODEL, DataRegime.SIMULATED).track.value
    'calibration'
    """

    run_source: RunSource
    score_source: ScoreSource
    data_regime: DataRegime

    @property
    def track(self) -> Track:
        """The one track on which it counts."""
        return track_of(self.data_regime, self.run_source, self.score_source)


@dataclass(frozen=True)
class Alignment:
    """The six fields that research and use must share before anything is promoted.

    Parameters
    ----------
    payload_schema_version, feature_version, data_version, model_name, model_version, lineage_id
        As `artifacts.manifest.Manifest.alignment` returns them; empty = not known.
    """

    payload_schema_version: str = ""
    feature_version: str = ""
    data_version: str = ""
    model_name: str = ""
    model_version: str = ""
    lineage_id: str = ""

    def mismatches(self, used: Alignment) -> tuple[str, ...]:
        """Say in words where what was evaluated is not what would be used.

        Parameters
        ----------
        used : Alignment
            The side that predicts and trades.

        Returns
        -------
        tuple of str
            One sentence per field that differs or is not known on either side.
        """
        found = []
        for name, evaluated in asdict(self).items():
            deployed = getattr(used, name)
            if not evaluated or not deployed:
                side = "evaluated" if not evaluated else "deployed"
                found.append(f"{name} of what is {side} is not known")
            elif evaluated != deployed:
                found.append(f"{name} differs: {evaluated!r} was evaluated, {deployed!r} is used")
        return tuple(found)


@dataclass(frozen=True)
class Lineage:
    """What stands behind the figures; the defaults mean "not known" and block promotion.

    Parameters
    ----------
    evaluated, deployed : Alignment
        Research side, and the side that predicts and trades.
    signature : SignatureState
        State of the evaluation record.
    evaluation : str
        Address of that record, ``KIND/ID``.
    fallbacks : tuple of str
        Named fallbacks that took part, such as ``"heuristic_predictor"``.
    n_synthetic_links : int or None
        Events that were linked to an asset by a broad rule instead of a real mention; None = not
        counted.
    """

    evaluated: Alignment = field(default_factory=Alignment)
    deployed: Alignment = field(default_factory=Alignment)
    signature: SignatureState = SignatureState.UNSIGNED
    evaluation: str = ""
    fallbacks: tuple[str, ...] = ()
    n_synthetic_links: int | None = None


@dataclass(frozen=True)
class MetricBundle:
    """The evidence on one subject.

    Parameters
    ----------
    subject : str
        Id of the strategy, model, hypothesis or blueprint.
    metrics : tuple of Metric
        Each (name, scope) once.
    origin : Origin
        Decides the track.
    lineage : Lineage
        Alignment, signature, fallbacks, synthetic links.
    trials : LedgerUse or None
        What the verdict takes from the trial ledger; None blocks promotion.
    event : str
        Event type of the subject where it has one; selects overrides of rules.
    details : mapping of str to str
        Figure to words that follow the reason of its rules: what it rests on, or why it is missing
        and how it is had. They are no evidence and not part of the content.

    Raises
    ------
    ConfigError
        For an empty subject, a figure that is given twice, or a number of trials that does not
        come from the ledger.

    Examples
    --------
    >>> origin = Origin(RunSource.PROD, ScoreSource.MODEL, DataRegime.PROD_LIVE)
    >>> bundle = MetricBundle("h10_e40", (Metric("n_trades", 91, "count"),), origin)
    >>> bundle.get("n_trades").value, bundle.get("sharpe_daily")
    (91, None)
    """

    subject: str
    metrics: tuple[Metric, ...]
    origin: Origin
    lineage: Lineage = field(default_factory=Lineage)
    trials: LedgerUse | None = None
    event: str = ""
    details: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse an empty subject and doubled figures."""
        if any(metric.name == _N_TRIALS for metric in self.metrics):
            raise ConfigError(
                "metrics",
                wanted=f"{_N_TRIALS} from the trial ledger, in `trials`",
                got="a figure that was handed in",
                hint="Nobody types the number of trials.",
            )
        keys = [(metric.name, metric.scope) for metric in self.metrics]
        doubled = sorted({key for key in keys if keys.count(key) > 1})
        if not self.subject or doubled:
            raise ConfigError(
                "subject" if not self.subject else "metrics",
                wanted="a subject, and each figure once per scope",
                got=repr(doubled) if self.subject else "an empty subject",
                hint="Two values of one figure cannot both be judged.",
            )

    def get(self, name: str, scope: str = "") -> Metric | None:
        """Return a figure, or None when it was not given.

        Parameters
        ----------
        name : str
            Name in the catalogue.
        scope : str
            Part of the evidence.

        Returns
        -------
        Metric or None
            Possibly with a missing value.
        """
        if (name, scope) == (_N_TRIALS, "") and self.trials is not None:
            return Metric(_N_TRIALS, self.trials.n_trials, "count", method="trial_ledger")
        for metric in self.metrics:
            if (metric.name, metric.scope) == (name, scope):
                return metric
        return None

    def scopes(self, kind: str, name: str = "") -> tuple[str, ...]:
        """Return the scopes of one kind of which a figure speaks.

        Parameters
        ----------
        kind : str
            ``"regime"``, ``"event"`` or ``"slice"``.
        name : str
            The figure; any figure by default.

        Returns
        -------
        tuple of str
            Such as ``("regime:bull", "regime:high_vol")``, in alphabetical order.
        """
        found = {metric.scope for metric in self.metrics if name in ("", metric.name)}
        return tuple(sorted(scope for scope in found if scope.partition(":")[0] == kind))

    def content(self) -> dict[str, Any]:
        """Return everything as plain JSON values."""
        return {
            "subject": self.subject,
            "event": self.event,
            "origin": {name: str(value) for name, value in asdict(self.origin).items()},
            "lineage": asdict(self.lineage),
            "trials": None if self.trials is None else self.trials.content(),
            "metrics": [metric.content() for metric in self.metrics],
        }

    def digest(self) -> str:
        """Hash of the content; equal evidence has an equal digest."""
        return sha256_json(self.content())


def bundle_metrics(
    figures: Mapping[str, Value | None],
    units: Mapping[str, str],
    *,
    n_obs: int | None = None,
    methods: Mapping[str, str] | None = None,
    scope: str = "",
) -> tuple[Metric, ...]:
    """Turn a flat summary into metrics; names without a unit are left out.

    Parameters
    ----------
    figures : mapping of str to number or None
        Flat figures, such as a backtest summary.
    units : mapping of str to str
        Catalogue name to unit; see `catalogue.MetricCatalogue.units`.
    n_obs : int, optional
        Observations behind all of them.
    methods : mapping of str to str, optional
        Name to named convention.
    scope : str
        Part of the evidence they speak of.

    Returns
    -------
    tuple of Metric
        In alphabetical order.

    Examples
    --------
    >>> bundle_metrics({"n_trades": 91, "note": 1}, {"n_trades": "count"})[0].name
    'n_trades'
    """
    methods = {} if methods is None else methods
    return tuple(
        Metric(name, figures[name], units[name], n_obs, methods.get(name, ""), scope)
        for name in sorted(set(figures) & set(units))
    )

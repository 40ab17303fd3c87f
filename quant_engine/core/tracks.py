"""Where a record comes from and which track it may be judged on.

Records of one track never mix with records of another: every artifact, registry and verdict
names its track, and promotion reads the production track alone.
"""

from __future__ import annotations

from enum import StrEnum


class Track(StrEnum):
    """The separate worlds of evidence."""

    PRODUCTION = "production"
    RESEARCH = "research"
    CALIBRATION = "calibration"


class RunSource(StrEnum):
    """Who started a run, and why."""

    PROD = "prod"
    MAINTENANCE = "maintenance"
    SMOKE = "smoke"
    ASYNC_TEST = "async_test"


class DataRegime(StrEnum):
    """What kind of data a run saw."""

    PROD_LIVE = "prod_live"
    MAINTENANCE_REPLAY = "maintenance_replay"
    MIXED = "mixed"
    SIMULATED = "simulated"


class ScoreSource(StrEnum):
    """What produced the scores of a run."""

    MODEL = "model"
    HEURISTIC = "heuristic"
    NONE = "none"


def track_of(data_regime: DataRegime, run_source: RunSource, score_source: ScoreSource) -> Track:
    """Derive the track; it is never chosen freely.

    Parameters
    ----------
    data_regime : DataRegime
        Simulated data belongs to calibration, live data to production.
    run_source : RunSource
        Only ``prod`` may be production.
    score_source : ScoreSource
        Only ``model`` may be production.

    Returns
    -------
    Track
        The one track on which the record counts.

    Examples
    --------
    >>> track_of(DataRegime.SIMULATED, RunSource.PROD, ScoreSource.MODEL).value
    'calibration'
    """
    if data_regime is DataRegime.SIMULATED:
        return Track.CALIBRATION
    is_production = (
        data_regime is DataRegime.PROD_LIVE
        and run_source is RunSource.PROD
        and score_source is ScoreSource.MODEL
    )
    return Track.PRODUCTION if is_production else Track.RESEARCH

"""Feature snapshots: the features of one session as they were known at one instant; drift tables.

A snapshot is written once, as ``features_DATE.parquet`` with ``snapshot.json`` beside it, and never
changed: a later computation of the same session is another snapshot with a later ``computed_at``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd
from pydantic import AwareDatetime, model_validator

from quant_engine.artifacts.files import read_json
from quant_engine.artifacts.kinds.bundle import Bundle, BundleKind, Column
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import LookAheadError, SchemaMismatchError

__all__ = [
    "FEATURE_DRIFT",
    "FEATURE_SNAPSHOT",
    "LINEAGE_COLUMNS",
    "FeatureSnapshot",
    "FeatureSnapshotKind",
    "SnapshotHeader",
    "read_header",
]

_DOCUMENT = "snapshot"
_PACKAGES = ("core", "artifacts", "stats", "execution", "data", "features", "workflows")

LINEAGE_COLUMNS = {
    "asset_id": Column("str", "asset"),
    "session": Column("session", "session after whose close the values can be used"),
    "bar_session": Column("session", "session of the newest bar of the asset up to then"),
    "is_member": Column("bool", "in the universe, as known in that session"),
    "is_tradable": Column("bool", "has a bar that can be traded"),
    "n_missing": Column("int", "features without a value"),
    "n_findings": Column("int", "quality findings on the asset inside the longest lookback"),
    "quality": Column("str", "rules that found something in the session's own bar, or empty"),
}


class SnapshotHeader(FrozenConfig):
    """What every sample of a snapshot shares: identity, instant of knowledge, origin.

    Parameters
    ----------
    set_name, set_version, set_id : str
        Feature set: name, version, and hash of its definition.
    session : date
        Session of the features.
    computed_at : datetime
        Instant, UTC, from which the snapshot could be known.
    dataset : str
        Dataset id of the bars.
    data_version : str
        Digest of all market data behind the computation.
    inputs : tuple of str
        Artifacts it was computed from, ``KIND/ID``.
    features : tuple of str
        Names in column order.
    values_digest : str
        Digest of rows and columns; equal for snapshots that say the same.
    """

    set_name: str
    set_version: str
    set_id: str
    session: date
    computed_at: AwareDatetime
    dataset: str
    data_version: str
    inputs: tuple[str, ...]
    features: tuple[str, ...]
    values_digest: str

    @model_validator(mode="after")
    def _known_after_its_session_began(self) -> SnapshotHeader:
        if self.computed_at.date() < self.session:
            raise LookAheadError(
                "computed_at",
                wanted=f"an instant on or after the session {self.session}",
                got=self.computed_at.isoformat(),
                hint="Features of a session are computed after its close; check the clock.",
            )
        return self


@dataclass(frozen=True, eq=False)
class FeatureSnapshot:
    """Features of one session.

    Parameters
    ----------
    header : SnapshotHeader
        What the samples share.
    rows : DataFrame
        `LINEAGE_COLUMNS`, then one float column per feature; NaN = missing.
    """

    header: SnapshotHeader
    rows: pd.DataFrame


@dataclass(frozen=True)
class FeatureSnapshotKind:
    """Owner of the layout of a snapshot.

    Parameters
    ----------
    name, packages, schema_version, signed
        See :class:`~quant_engine.artifacts.store.ArtifactKind`.
    """

    name: str = "feature_snapshot"
    packages: tuple[str, ...] = _PACKAGES
    schema_version: int = 1
    signed: bool = False

    def write(self, value: FeatureSnapshot, folder: Path) -> None:
        """Write ``features_DATE.parquet`` and ``snapshot.json``."""
        header = value.header
        wanted = [*LINEAGE_COLUMNS, *header.features]
        if list(value.rows.columns) != wanted:
            raise SchemaMismatchError(
                "feature snapshot",
                wanted=f"the columns {wanted[:12]} ...",
                got=list(value.rows.columns)[:12],
                hint="Lineage columns first, then the features in the order of the set.",
            )
        table = _table_name(header.session)
        bundle = Bundle({table: value.rows}, {_DOCUMENT: header.content()})
        self._bundle(table).write(bundle, folder)

    def read(self, folder: Path) -> FeatureSnapshot:
        """Read a snapshot back."""
        header = read_header(folder)
        table = _table_name(header.session)
        return FeatureSnapshot(header, self._bundle(table).read(folder).tables[table])

    def _bundle(self, table: str) -> BundleKind:
        return BundleKind(
            name=self.name,
            schema_version=self.schema_version,
            packages=self.packages,
            tables={table: LINEAGE_COLUMNS},
            documents=(_DOCUMENT,),
            open_tables=(table,),
        )


def read_header(payload: Path) -> SnapshotHeader:
    """Read the header of a snapshot without its rows.

    Parameters
    ----------
    payload : Path
        Payload folder of the artifact.

    Returns
    -------
    SnapshotHeader

    Raises
    ------
    IntegrityError
        When the file is not whole JSON.
    """
    return SnapshotHeader.model_validate(read_json(payload / f"{_DOCUMENT}.json"))


def _table_name(session: date | datetime) -> str:
    return f"features_{session:%Y-%m-%d}"


FEATURE_SNAPSHOT = FeatureSnapshotKind()
"""Features of one session as known at one instant."""

FEATURE_DRIFT = BundleKind(
    name="feature_drift",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "drift": {
            "feature": Column("str", "feature"),
            "psi": Column("float", "population stability index; NaN = no values, or a constant"),
            "ks": Column("float", "largest gap of the distribution functions, 0 to 1"),
            "mean_shift_sd": Column("float", "mean now minus mean then, in standard deviations"),
            "is_alarm": Column("bool", "the calibrated detector raised an alarm on session means"),
            "first_alarm": Column("session", "session of that alarm", optional=True),
            "missing_then": Column("float", "share of rows without a value, fraction"),
            "missing_now": Column("float", "share of rows without a value, fraction"),
            "flagged_now": Column("float", "share of values whose bar has a quality finding"),
            "n_then": Column("int", "values of the reference"),
            "n_now": Column("int", "values compared with it"),
        }
    },
    documents=("facts",),
)
"""How far the features of today are from those of the training window."""

"""From the artifacts of the validation suite to the data of its section."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from quant_engine.artifacts.kinds.backtest import VALIDATION
from quant_engine.artifacts.kinds.validation import (
    MONTE_CARLO,
    NULLS,
    REFIT_PATHS,
    STRESS,
)
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.reports.suite_data import SuiteData


def load_suite(store: ArtifactStore, refs: Mapping[str, ArtifactRef]) -> SuiteData | None:
    """Read what the validation suite found.

    Parameters
    ----------
    store : ArtifactStore
        Where the artifacts lie.
    refs : mapping of str to ArtifactRef
        Roles ``validation, stress, nulls, monte_carlo`` and, where models were fitted
        again, ``paths``.

    Returns
    -------
    SuiteData or None
        None for a backtest without the suite.
    """
    if "stress" not in refs:
        return None
    validation = store.read(VALIDATION, refs["validation"])
    facts = validation.documents["facts"]["suite"]
    stress = store.read(STRESS, refs["stress"]).tables
    monte_carlo = store.read(MONTE_CARLO, refs["monte_carlo"]).tables
    paths = store.read(REFIT_PATHS, refs["paths"]).tables["paths"] if "paths" in refs else None
    return SuiteData(
        stress=stress["stress"],
        capacity=stress["capacity"],
        variants=pd.DataFrame(facts["variants"]),
        nulls=store.read(NULLS, refs["nulls"]).tables["draws"],
        paths=paths,
        bands=monte_carlo["bands"].set_index("session"),
        quantiles=monte_carlo["quantiles"],
        figures=facts["figures"],
        notes=facts["notes"],
    )

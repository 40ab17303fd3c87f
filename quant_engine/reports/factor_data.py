"""What a factor page is made of: the tables of one factor report and the facts around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from quant_engine.core.tracks import Track
from quant_engine.reports.tearsheet_data import DatasetFacts, Lineage

__all__ = ["FactorPageData"]


@dataclass(frozen=True, kw_only=True, eq=False)
class FactorPageData:
    """Everything a factor page shows.

    Parameters
    ----------
    title : str
        Heading.
    run_id, as_of, config_id, code_digest : str
        Identities of the run and of what made the report.
    track : Track
        Where it counts.
    dataset : DatasetFacts
        Which data.
    facts : mapping
        Document ``facts`` of the report: target, study settings, numbers of factors and tests.
    tables : mapping of str to DataFrame
        Tables of the report as stored.
    n_trials : int
        Factor trials ever recorded on this source of data.
    lineage : Lineage or None
        From raw data to the report.
    """

    title: str
    run_id: str
    as_of: str
    config_id: str
    code_digest: str
    track: Track
    dataset: DatasetFacts
    facts: Mapping[str, Any]
    tables: Mapping[str, pd.DataFrame]
    n_trials: int
    lineage: Lineage | None = None

    @property
    def main_horizon(self) -> int:
        """Horizon of the headline figures, sessions."""
        return int(self.facts["study"]["main_horizon"])

    @cached_property
    def ranked(self) -> pd.DataFrame:
        """One row per factor at the main horizon, largest absolute t first, untested ones last."""
        horizons = self.tables["horizons"]
        main = horizons[horizons["horizon"] == self.main_horizon]
        table = self.tables["factors"].merge(main, on="factor", validate="one_to_one")
        size = table["t"].abs()
        order = size.sort_values(ascending=False, kind="stable", na_position="last").index
        return table.loc[order].reset_index(drop=True)

    def of(self, table: str, factor: str) -> pd.DataFrame:
        """Rows of one factor in one table."""
        frame = self.tables[table]
        return frame[frame["factor"] == factor].reset_index(drop=True)

    def at_main_horizon(self, table: str, factor: str) -> pd.DataFrame:
        """Rows of one factor at the main horizon."""
        frame = self.of(table, factor)
        return frame[frame["horizon"] == self.main_horizon].reset_index(drop=True)

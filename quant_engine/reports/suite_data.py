"""What the validation suite found, as tables for a page and for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

__all__ = ["SuiteData"]


@dataclass(frozen=True, kw_only=True)
class SuiteData:
    """Tables of one run of the validation suite; columns as stored, see ``artifacts.kinds``.

    Parameters
    ----------
    stress : DataFrame
        ``kind, level`` and net figures.
    capacity : DataFrame
        ``multiple, capital_usd, sharpe, annual_impact_frac, capped_value_frac``.
    variants : DataFrame
        ``variant`` and net figures; each row is a counted trial.
    nulls : DataFrame
        ``kind, draw`` and net figures.
    paths : DataFrame or None
        ``path, rank_ic`` and net figures; None where models were not fitted again.
    bands : DataFrame, index session
        ``low, middle, high, observed``: wealth, 1 = the start.
    quantiles : DataFrame
        ``kind, level`` and outcomes of the simulated paths.
    figures : mapping of str to float or None
        Headline figures.
    notes : mapping of str to str
        Figure to what it rests on, or why it is missing.
    """

    stress: pd.DataFrame
    capacity: pd.DataFrame
    variants: pd.DataFrame
    nulls: pd.DataFrame
    paths: pd.DataFrame | None
    bands: pd.DataFrame
    quantiles: pd.DataFrame
    figures: Mapping[str, float | int | None]
    notes: Mapping[str, str]

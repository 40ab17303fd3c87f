"""What the evaluation of a backtest found, as tables for a page and for a notebook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

__all__ = ["ALPHA_PARTS", "EvaluationData", "style_names"]

ALPHA_PARTS = ("selection", "trading", "costs")
"""Parts of an attribution that together are alpha."""

_NOT_STYLES = ("market", "sector", *ALPHA_PARTS, "alpha", "ret_net", "n_assets")


@dataclass(frozen=True, kw_only=True)
class EvaluationData:
    """Tables of one evaluation; columns as stored, see ``artifacts.kinds``.

    Parameters
    ----------
    slices : DataFrame
        ``dimension, slice, n_obs, is_thin`` and net figures.
    calibration_slices : DataFrame
        ``dimension, slice, n_obs, is_thin, mean_confidence, frequency, calibration_error``.
    tca : DataFrame
        ``dimension, slice, n_orders``, the parts of the shortfall and their sum.
    attribution : DataFrame, index session
        Fractions of equity by part; empty where it could not be made.
    attribution_totals : DataFrame
        ``part, sum_frac, money, total_frac``.
    metrics : mapping
        Plain values: decay, concentration, recovery, bridge of costs.
    absent : mapping of str to str
        Part to the reason why it is not there.
    """

    slices: pd.DataFrame
    calibration_slices: pd.DataFrame
    tca: pd.DataFrame
    attribution: pd.DataFrame
    attribution_totals: pd.DataFrame
    metrics: Mapping[str, Any]
    absent: Mapping[str, str] = field(default_factory=dict)


def style_names(attribution: pd.DataFrame) -> list[str]:
    """Columns of an attribution that are styles, in their order.

    Parameters
    ----------
    attribution : DataFrame
        One column per part.

    Returns
    -------
    list of str
        Every column that is no market, sector, alpha or net return.

    Examples
    --------
    >>> style_names(pd.DataFrame(columns=["market", "sector", "momentum", "alpha", "ret_net"]))
    ['momentum']
    """
    return [str(name) for name in attribution.columns if name not in _NOT_STYLES]

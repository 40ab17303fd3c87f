"""Findings: what a detector of the look-ahead audit saw, in one form for people and programs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

__all__ = ["Detector", "Finding", "iso", "plain_value"]


class Detector(StrEnum):
    """The eight detectors of the audit.

    ``PREFIX``
        Run on the data up to a cut; the rows up to the cut must keep their bits.
    ``POISON``
        Replace everything after a cut, in tables of facts too; the past must keep its bits.
    ``PURGE``
        No training label may depend on an instant that a test label depends on.
    ``JOIN``
        Nothing is joined before it was known, or after it had expired.
    ``UNIVERSE``
        Redraw membership and delistings after a cut; the past must keep its bits.
    ``FILL``
        A decision fills after it was made, at a price of a later row.
    ``NULL``
        On worlds without signal the out-of-sample correlation is zero.
    ``SPLIT``
        Rescale prices and volumes as a later split does; values without a scale must stay.

    Examples
    --------
    >>> Detector.PREFIX.code, Detector.SPLIT.code
    ('D1', 'D8')
    """

    PREFIX = "prefix"
    POISON = "poison"
    PURGE = "purge"
    JOIN = "join"
    UNIVERSE = "universe"
    FILL = "fill"
    NULL = "null"
    SPLIT = "split"

    @property
    def code(self) -> str:
        """Short name, ``D1`` to ``D8``."""
        return f"D{list(Detector).index(self) + 1}"


@dataclass(frozen=True)
class Finding:
    """One value of the past that moved, or one rule that was broken.

    Parameters
    ----------
    detector : Detector
        Who saw it.
    field : str
        Feature, label, column or fold.
    row : str
        Time of the first value concerned, ISO format.
    asset : str
        asset_id; empty where there is none.
    cut : str
        Last time whose data both runs shared, or the decision that was broken.
    before, after : object
        The value with the true future and with the changed one, or what was wanted and found;
        None = no such row.
    n_cells : int
        Values concerned.
    cause : str
        The likely cause, in words.

    Examples
    --------
    >>> print(Finding(Detector.PREFIX, "x", "2020-01-02", "A@US#1", "2020-01-03",
    ...               before=1.0, after=2.0, n_cells=1, cause="negative shift by 1 row"))
    x at 2020-01-02 of A@US#1: 1.0 became 2.0 (D1 prefix at cut 2020-01-03): negative shift by 1 row
    """

    detector: Detector
    field: str
    row: str
    asset: str
    cut: str
    before: object
    after: object
    n_cells: int
    cause: str

    def __str__(self) -> str:
        where = f"{self.field} at {self.row}" + (f" of {self.asset}" if self.asset else "")
        seen = f"{self.detector.code} {self.detector} at cut {self.cut}"
        return f"{where}: {self.before} became {self.after} ({seen}): {self.cause}"

    def content(self) -> dict[str, Any]:
        """Return the finding as plain JSON values."""
        return {
            "detector": str(self.detector),
            "field": self.field,
            "row": self.row,
            "asset": self.asset,
            "cut": self.cut,
            "before": plain_value(self.before),
            "after": plain_value(self.after),
            "n_cells": self.n_cells,
            "cause": self.cause,
        }

    @classmethod
    def of_content(cls, content: dict[str, Any]) -> Finding:
        """Return the finding that :meth:`content` described."""
        return cls(**{**content, "detector": Detector(content["detector"])})


def plain_value(value: object) -> float | str | None:
    """Turn a compared value into plain JSON.

    Parameters
    ----------
    value : object
        Number, text or None.

    Returns
    -------
    float, str or None
        Numbers as float, NaN as None, everything else as text.

    Examples
    --------
    >>> plain_value(np.float32(0.5)), plain_value(float("nan")), plain_value("up")
    (0.5, None, 'up')
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, (bool, int, float, np.number, np.bool_)):
        number = float(value)
        return number if math.isfinite(number) else None
    return str(value)


def iso(time: np.datetime64) -> str:
    """Write a time as ISO text, a session without its midnight.

    Parameters
    ----------
    time : datetime64
        Session or instant.

    Returns
    -------
    str
        Such as ``2020-01-02`` or ``2020-01-02T14:30:00``.
    """
    return str(time.astype("datetime64[s]")).removesuffix("T00:00:00")

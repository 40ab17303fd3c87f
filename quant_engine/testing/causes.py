"""Likely causes of a difference: what its pattern over rows and assets says about the code.

A pattern is evidence, not proof; the rules are tried in order and the first that fits speaks.

=====================================================  ==========================================
pattern of what differs up to the cut                  likely cause
=====================================================  ==========================================
whole assets appear or vanish                          universe chosen by what happens later
only cells without a price                             missing values filled from later ones
few cells, far back                                    limit or extreme of the whole sample
all rows, one factor per asset                         scaled by a value of the end
all rows, one line per asset                           mean and deviation of the whole sample
all rows, fading away from the cut                     two-sided smoother
all rows                                               statistic or model of the whole sample
last rows, equal to an input k rows later              negative shift by k rows
last rows, from the first of the cut's week or month   period that is not over
last rows, missing when cut off                        reads k rows ahead
last rows                                              window that reaches k rows ahead
=====================================================  ==========================================
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.panel import Panel
from quant_engine.testing.findings import Detector
from quant_engine.testing.outputs import FieldDifference

__all__ = ["likely_cause"]

_FAR_SHARE = 0.4
_FEW_SHARE = 0.25
_FADING = 20.0
_MAX_SHIFT = 30
_LINE_TOLERANCE = 1e-3


def likely_cause(difference: FieldDifference, panel: Panel, detector: Detector) -> str:
    """Name the likely cause of a difference.

    Parameters
    ----------
    difference : FieldDifference
        What differs up to the cut, shape (R, N).
    panel : Panel
        The input of the true run, shape (T, N) with T >= R.
    detector : Detector
        Which change of the data moved it.

    Returns
    -------
    str
        A few words; never empty.
    """
    if detector is Detector.SPLIT:
        return "level of prices or volumes: a later split rescales it"
    if detector is Detector.UNIVERSE:
        return "universe chosen by what happens later"
    pattern = _Pattern(difference, panel)
    if pattern.whole_assets():
        return "universe chosen by what happens later (whole assets appear or vanish)"
    if pattern.only_without_price():
        return "missing values filled from later ones (backfill, interpolation)"
    if pattern.depth > _FAR_SHARE * pattern.n_rows:
        return _far_cause(pattern)
    return _near_cause(pattern)


def _far_cause(pattern: _Pattern) -> str:
    if pattern.cell_share < _FEW_SHARE:
        return "limit or extreme of rows to come (full-sample winsorising, future extreme)"
    if pattern.is_line(through_zero=True):
        return "scaled by a value of the end (back-adjusted level)"
    if pattern.is_line(through_zero=False):
        return "mean and deviation, or range, of the whole sample"
    if pattern.is_fading():
        return "two-sided smoother"
    return "statistic or model fitted on the whole sample"


def _near_cause(pattern: _Pattern) -> str:
    rows = "1 row" if pattern.depth == 1 else f"{pattern.depth} rows"
    shift = pattern.shift()
    if shift:
        return f"negative shift by {shift} {'row' if shift == 1 else 'rows'}"
    if pattern.missing_when_cut_off():
        return f"reads {rows} ahead (negative shift, or a window that ends after its row)"
    period = pattern.unfinished_period()
    if period:
        return f"{period} that is not over is used whole"
    if pattern.depth > 8 and pattern.is_fading():
        return "two-sided smoother"
    return f"window that reaches {rows} ahead (centred window)"


@dataclass(frozen=True, eq=False)
class _Pattern:
    difference: FieldDifference
    panel: Panel

    @property
    def cells(self) -> BoolMatrix:
        return self.difference.cells

    @cached_property
    def numbers(self) -> tuple[FloatMatrix, FloatMatrix]:
        """Values before and after, NaN where there is no row or no number."""
        sides = []
        for values, present in (self.difference.before, self.difference.after):
            if values.dtype.kind not in "fiub":
                values = np.where(pd.isna(values), np.nan, 0.0)
            sides.append(np.where(present, values.astype(np.float64), np.nan))
        return sides[0], sides[1]

    @cached_property
    def valid(self) -> BoolMatrix:
        before, after = self.numbers
        return np.isfinite(before) | np.isfinite(after)

    @property
    def n_rows(self) -> int:
        return max(1, int(self.valid.any(axis=1).sum()))

    @property
    def depth(self) -> int:
        """Rows from the first that differs to the cut."""
        return len(self.cells) - int(np.argmax(self.cells.any(axis=1)))

    @property
    def cell_share(self) -> float:
        return float(self.cells.sum() / max(1, self.valid.sum()))

    def whole_assets(self) -> bool:
        """Whether differing cells only exist on one side, for nearly all rows of their assets."""
        before, after = self.numbers
        switched = np.isnan(before) != np.isnan(after)
        columns = self.cells.any(axis=0)
        if columns.size < 2 or (columns.all() and self.cell_share > 0.95):
            return False
        share = self.cells[:, columns].sum() / max(1, self.valid[:, columns].sum())
        return bool(switched[self.cells].all() and share > 0.8)

    def only_without_price(self) -> bool:
        """Whether every differing cell lacks a price in the input."""
        if "close" not in self.panel.fields or not self._on_panel():
            return False
        missing = np.isnan(self.panel.field("close")[: len(self.cells)])
        return bool(missing[self.cells].all())

    def is_line(self, *, through_zero: bool) -> bool:
        """Whether the values after are one linear function of those before, asset by asset."""
        before, after = self.numbers
        checked = 0
        for column in np.flatnonzero(self.cells.sum(axis=0) > 5)[:20]:
            both = np.isfinite(before[:, column]) & np.isfinite(after[:, column])
            x, y = before[both, column], after[both, column]
            if len(x) < 5 or not x.std() > 0 or not y.std() > 0:
                continue
            design = x[:, None] if through_zero else np.column_stack([x, np.ones(len(x))])
            fitted = design @ np.linalg.lstsq(design, y, rcond=None)[0]
            if np.sqrt(np.mean((y - fitted) ** 2)) > _LINE_TOLERANCE * y.std():
                return False
            checked += 1
        return checked > 0

    def is_fading(self) -> bool:
        """Whether the difference is much smaller far from the cut than near it."""
        before, after = self.numbers
        gap = np.where(self.cells, np.abs(after - before), np.nan)
        hit = np.flatnonzero(np.isfinite(gap).any(axis=1))
        if len(hit) < 4:
            return False
        size = np.nanmean(gap[hit], axis=1)
        quarter = len(size) // 4
        return bool(size[-quarter:].mean() > _FADING * size[:quarter].mean())

    def shift(self) -> int:
        """Rows by which the values stand before an input, or its return; 0 = none fits."""
        if not self._on_panel() or self.depth > _MAX_SHIFT:
            return 0
        before = self.numbers[0]
        first = len(before) - self.depth
        for steps in range(1, self.depth + 1):
            stop = min(len(before), len(self.panel.time) - steps)
            mine = before[first:stop]
            for values in self.panel.fields.values():
                moved = values[first + steps : stop + steps].astype(np.float64)
                previous = values[first + steps - 1 : stop + steps - 1].astype(np.float64)
                with np.errstate(divide="ignore", invalid="ignore"):
                    candidates = (moved, moved / previous - 1.0, np.log(moved / previous))
                if any(_agree(mine, candidate) for candidate in candidates):
                    return steps
        return 0

    def missing_when_cut_off(self) -> bool:
        """Whether the differing cells have no value without the rows to come."""
        after = self.numbers[1]
        return bool(np.isnan(after[self.cells]).all())

    def unfinished_period(self) -> str:
        """The calendar period of the cut, when the difference begins with it."""
        times = pd.DatetimeIndex(self.difference.times)
        for name, frequency in (("week", "W"), ("month", "M"), ("quarter", "Q")):
            inside = times.to_period(frequency) == times[-1:].to_period(frequency)[0]
            if 3 <= self.depth == int(inside.sum()):
                return name
        return ""

    def _on_panel(self) -> bool:
        return (
            self.difference.assets == self.panel.asset_ids
            and len(self.difference.times) <= len(self.panel.time)
            and np.array_equal(
                self.difference.times, self.panel.time.values[: len(self.difference.times)]
            )
        )


def _agree(one: FloatMatrix, two: FloatMatrix) -> bool:
    both = np.isfinite(one) & np.isfinite(two)
    return bool(both.sum() >= 3 and np.allclose(one[both], two[both], rtol=1e-5, atol=1e-9))

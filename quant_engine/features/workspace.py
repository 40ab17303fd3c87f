"""Workspace: the series that several features share, computed once per panel.

Every series here is causal: row t uses rows up to t alone. A price that is not positive counts as
missing, and so does a negative volume.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.panel import PRICE_FIELDS, Panel
from quant_engine.features.kernels import prepare
from quant_engine.features.prices import cash_dividends, clean_field, total_returns
from quant_engine.stats.cross_section import equal_weight_mean

__all__ = ["Prepared", "Workspace"]


class Prepared(NamedTuple):
    """A series in the form that kernels read: carried values and lengths of complete runs."""

    filled: FloatMatrix
    run: npt.NDArray[np.int32]


class Workspace:
    """Shared sub-expressions of one panel, each computed when first asked for.

    Parameters
    ----------
    panel : Panel
        Canonical market panel.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [11.0]])})
    >>> Workspace(panel).returns.round(3).ravel().tolist()
    [nan, 0.1]
    """

    def __init__(self, panel: Panel) -> None:
        self.panel = panel
        self._fields: dict[str, FloatMatrix] = {}
        self._prepared: dict[str, Prepared] = {}

    def field(self, name: str) -> FloatMatrix:
        """One field as float64, shape (T, N), NaN = missing; prices are positive."""
        if name not in self._fields:
            self._fields[name] = clean_field(name, self.panel.field(name))
        return self._fields[name]

    def prepared(self, name: str) -> Prepared:
        """A field, or an attribute of this workspace, as `kernels.prepare` gives it."""
        if name not in self._prepared:
            is_field = name == "volume" or name in PRICE_FIELDS
            values = self.field(name) if is_field else getattr(self, name)
            filled = np.empty(self.panel.shape)
            run = np.empty(self.panel.shape, dtype=np.int32)
            prepare(np.ascontiguousarray(values), filled, run)
            self._prepared[name] = Prepared(filled, run)
        return self._prepared[name]

    def previous(self, name: str) -> FloatMatrix:
        """A field one session earlier, shape (T, N); the first row is NaN."""
        out = np.full(self.panel.shape, np.nan)
        out[1:] = self.field(name)[:-1]
        return out

    @cached_property
    def ones(self) -> FloatMatrix:
        """The scale of outputs that keep their unit."""
        return np.ones(self.panel.shape)

    @cached_property
    def per_close(self) -> FloatMatrix:
        """1/close; NaN where the close is missing."""
        return 1.0 / self.field("close")

    @cached_property
    def per_volume(self) -> FloatMatrix:
        """1/volume; NaN where the volume is missing or zero."""
        volume = self.field("volume")
        return 1.0 / np.where(volume > 0.0, volume, np.nan)

    @cached_property
    def close_ratio(self) -> FloatMatrix:
        """close_t/close_{t-1}, without dividends, as Qlib has it."""
        return self.field("close") / self.previous("close")

    @cached_property
    def log_volume(self) -> FloatMatrix:
        """ln(volume + 1)."""
        return np.log1p(self.field("volume"))

    @cached_property
    def log_volume_ratio(self) -> FloatMatrix:
        """ln(volume_t/volume_{t-1} + 1); NaN after a session without volume."""
        before = self.previous("volume")
        return np.log1p(self.field("volume") / np.where(before > 0.0, before, np.nan))

    @cached_property
    def weighted_move(self) -> FloatMatrix:
        """|close_t/close_{t-1} - 1| * volume_t."""
        return np.abs(self.close_ratio - 1.0) * self.field("volume")

    @cached_property
    def returns(self) -> FloatMatrix:
        """Simple total returns, close to close."""
        return total_returns(self.panel)

    @cached_property
    def dividend(self) -> FloatMatrix:
        """Cash dividend per share of the session, 0 = none."""
        return cash_dividends(self.panel)

    @cached_property
    def log_level(self) -> FloatMatrix:
        """Running sum of log total returns from the first row; a missing return adds nothing.

        Differences are exact momentum only inside a complete run, and only there are they used.
        A return of -100 % has no logarithm and counts as missing.
        """
        growth = 1.0 + self.returns
        steps = np.log(np.where(growth > 0.0, growth, np.nan))
        return np.cumsum(np.where(np.isfinite(steps), steps, 0.0), axis=0)

    @cached_property
    def dollar_volume(self) -> FloatMatrix:
        """Traded value close * volume, in currency; NaN where it is missing or zero."""
        traded = self.field("close") * self.field("volume")
        return np.where(traded > 0.0, traded, np.nan)

    @cached_property
    def log_dollar_volume(self) -> FloatMatrix:
        """ln(close * volume)."""
        return np.log(self.dollar_volume)

    @cached_property
    def illiquidity(self) -> FloatMatrix:
        """|return| per million of traded currency (Amihud 2002)."""
        return np.abs(self.returns) / self.dollar_volume * 1e6

    @cached_property
    def squared_range(self) -> FloatMatrix:
        """ln(high/low)^2 / (4 ln 2), the daily variance of Parkinson (1980)."""
        spread = np.log(self.field("high") / self.field("low"))
        return spread * spread / (4.0 * np.log(2.0))

    @cached_property
    def market_return(self) -> FloatVector:
        """Equal-weight total return of those who were members at the previous close, shape (T,).

        Holding the members of the previous session is what an investor could have done; the
        members of the session itself are known too late for that. The ``member`` mask decides; a
        panel without one counts every asset.
        """
        member = self.panel.masks.get("member")
        if member is None:
            return equal_weight_mean(self.returns)
        held = np.zeros_like(member)
        held[1:] = member[:-1]
        return equal_weight_mean(self.returns, held)

    @cached_property
    def market(self) -> FloatMatrix:
        """The market return beside every asset, shape (T, N)."""
        return np.ascontiguousarray(
            np.broadcast_to(self.market_return[:, None], self.panel.shape), dtype=np.float64
        )

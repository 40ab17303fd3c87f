"""Bars -> canonical market panel on exchange sessions.

The rows of the panel are sessions of the exchange, not the dates that happen to be in a file: a
session on which hardly any listed name has a bar is a hole of the vendor and is left out (and
reported), a session on which one name has no bar is NaN for that name. Nothing is carried forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.calendar import sessions_between
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import EmptyDataError, IdentityError
from quant_engine.core.panel import Panel, PriceBasis, TimeAxis
from quant_engine.data.bars import REQUIRED_FIELDS, LoadedBars

__all__ = ["PanelConfig", "PanelResult", "build_panel", "implied_dividends"]

_MAX_NOTED = 5


class PanelConfig(FrozenConfig):
    """How bars become a panel.

    Parameters
    ----------
    calendar : str
        Exchange calendar, or ``"24/7"`` for assets that never close.
    min_traded_frac : float
        A session is a row of the panel when at least this share of the names whose history
        spans it have a bar. A half is far from both a full day (close to 1) and a vendor's hole
        (close to 0).
    dividends_from_adj_close : bool
        Derive cash dividends from an adjusted close where the source gives no dividends.

    Examples
    --------
    >>> PanelConfig().calendar
    'XNYS'
    """

    calendar: str = "XNYS"
    min_traded_frac: float = Field(default=0.5, ge=0, le=1)
    dividends_from_adj_close: bool = True


@dataclass(frozen=True, eq=False)
class PanelResult:
    """A panel and what was left out of it.

    Parameters
    ----------
    panel : Panel
        Fields ``open high low close volume`` and, where the source has them, ``vwap`` (never made
        from other prices) and ``dividend``; masks ``tradable``
        (open, close and a positive volume) and ``member`` (has a close: without membership history
        nothing else is known on the day).
    dropped_sessions : ndarray of datetime64[D]
        Exchange sessions without enough bars.
    notes : tuple of str
        Sentences for the run's report.
    """

    panel: Panel
    dropped_sessions: npt.NDArray[np.datetime64]
    notes: tuple[str, ...]


def build_panel(bars: LoadedBars, config: PanelConfig | None = None) -> PanelResult:
    """Put clean bars on the sessions of an exchange.

    Parameters
    ----------
    bars : LoadedBars
        Cleaned: unique (asset, session) pairs. Rows on non-sessions are an error of the caller.
    config : PanelConfig, optional
        Calendar and the share of names that makes a session.

    Returns
    -------
    PanelResult
        Assets in ascending order of asset_id.

    Raises
    ------
    IdentityError
        When a (asset, session) pair occurs twice.
    EmptyDataError
        When no row lies on a session, or no session has enough bars.

    Examples
    --------
    >>> prices = {n: [1.0, 2.0] for n in ("open", "high", "low", "close", "volume")}
    >>> bars = LoadedBars.from_columns(ticker=["A", "A"], session=["2020-01-02", "2020-01-06"],
    ...     fields=prices, vendor="example", price_basis=PriceBasis.SPLIT_ADJ)
    >>> result = build_panel(bars, PanelConfig(min_traded_frac=0))
    >>> result.panel.field("close").ravel()
    array([ 1., nan,  2.])
    """
    settings = config or PanelConfig()
    frame = bars.frame
    days = frame["session"].to_numpy().astype("datetime64[D]")
    axis = sessions_between(settings.calendar, days.min(), days.max())
    row = np.searchsorted(axis, days)
    on_session = np.isin(days, axis)
    if not on_session.any():
        raise _no_sessions(settings.calendar)
    ids = np.asarray(bars.asset_ids, dtype=object)
    order = np.argsort(ids, kind="stable")
    column = np.argsort(order, kind="stable")[frame["asset_id"].cat.codes.to_numpy()]
    row, column = row[on_session], column[on_session]
    shape = (axis.size, ids.size)
    _refuse_repeats(row, column, shape)
    fields: dict[str, FloatMatrix] = {}
    for name in (*REQUIRED_FIELDS, "vwap", "dividend", "adj_close"):
        if name in frame:
            values = np.full(shape, np.nan)
            values[row, column] = frame[name].to_numpy()[on_session]
            fields[name] = values
    notes = list(_dividend_notes(fields, bars.price_basis, settings))
    fields.pop("adj_close", None)
    keep = _traded_share(fields["close"]) >= settings.min_traded_frac
    if not keep.any():
        raise _no_sessions(settings.calendar)
    fields = {name: np.ascontiguousarray(values[keep]) for name, values in fields.items()}
    dropped = axis[~keep]
    if dropped.size:
        shown = ", ".join(str(day) for day in dropped[:_MAX_NOTED])
        notes.append(f"{dropped.size} sessions left out for lack of bars: {shown}")
    if not on_session.all():
        notes.append(f"{int((~on_session).sum())} rows off the sessions of {settings.calendar}")
    panel = Panel(
        time=TimeAxis.sessions(axis[keep], settings.calendar),
        asset_ids=tuple(str(name) for name in ids[order]),
        fields=fields,
        masks={"tradable": _tradable(fields), "member": np.isfinite(fields["close"])},
        price_basis=bars.price_basis,
    )
    return PanelResult(panel, dropped, tuple(notes))


def implied_dividends(close: FloatMatrix, adj_close: FloatMatrix) -> FloatMatrix:
    """Cash dividends that an adjusted close implies.

    With the factor ``f_t = adj_close_t / close_t``, an ex-session has ``f_(t-1) < f_t`` and
    ``D_t = close_(t-1) (1 - f_(t-1) / f_t)``. Changes of the factor below 5e-4 are rounding of
    prices to cents and are taken as none; a dividend that small is 0.05 % of the price.

    Parameters
    ----------
    close : ndarray, shape (T, N)
        Split-adjusted close; NaN = not traded.
    adj_close : ndarray, shape (T, N)
        The same adjusted for splits and dividends.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Cash per share in the basis of `close`; 0 = none, NaN where no close was traded. A gap is
        bridged from the last session that traded.

    Examples
    --------
    >>> close = np.array([[100.0], [99.0], [99.0]])
    >>> implied_dividends(close, close * np.array([[0.99], [1.0], [1.0]])).ravel().round(6)
    array([0., 1., 0.])
    """
    known = np.isfinite(close) & (close > 0) & (np.nan_to_num(adj_close) > 0)
    factor = np.where(known, adj_close / np.where(known, close, 1.0), np.nan)
    result = np.where(np.isfinite(close), 0.0, np.nan)
    previous_factor, previous_close = factor[0].copy(), close[0].copy()
    for t in range(1, close.shape[0]):
        drop = 1.0 - previous_factor / factor[t]
        paid = drop > _FACTOR_NOISE
        result[t, paid] = (previous_close * drop)[paid]
        previous_factor = np.where(known[t], factor[t], previous_factor)
        previous_close = np.where(known[t], close[t], previous_close)
    return result


_FACTOR_NOISE = 5e-4


def _dividend_notes(
    fields: dict[str, FloatMatrix], basis: PriceBasis, settings: PanelConfig
) -> list[str]:
    """Complete `fields` with dividends where the basis allows it, and say what was done."""
    if basis is PriceBasis.TOTAL_ADJ:
        # The prices already contain the cash; adding it again would count it twice.
        had = fields.pop("dividend", None) is not None
        return ["dividends are inside total-adjusted prices; the column is not used"] if had else []
    if "dividend" in fields:
        return []
    if (
        "adj_close" in fields
        and basis is PriceBasis.SPLIT_ADJ
        and settings.dividends_from_adj_close
    ):
        fields["dividend"] = implied_dividends(fields["close"], fields["adj_close"])
        n_paid = int((np.nan_to_num(fields["dividend"]) > 0).sum())
        return [f"{n_paid} dividends derived from the adjusted close"]
    return ["no dividends: returns are price returns"]


def _tradable(fields: dict[str, FloatMatrix]) -> npt.NDArray[np.bool_]:
    volume = np.nan_to_num(fields["volume"]) > 0
    return np.isfinite(fields["open"]) & np.isfinite(fields["close"]) & volume


def _traded_share(close: FloatMatrix) -> npt.NDArray[np.float64]:
    """Share of the names whose history spans a session that have a close on it, shape (T,)."""
    present = np.isfinite(close)
    started = np.maximum.accumulate(present, axis=0)
    not_ended = np.maximum.accumulate(present[::-1], axis=0)[::-1]
    spanning = (started & not_ended).sum(axis=1)
    share: npt.NDArray[np.float64] = present.sum(axis=1) / np.maximum(spanning, 1)
    return np.where(spanning > 0, share, 0.0)


def _refuse_repeats(
    row: npt.NDArray[np.int64], column: npt.NDArray[np.int64], shape: tuple[int, int]
) -> None:
    flat = row * shape[1] + column
    repeated = flat.size - np.unique(flat).size
    if repeated:
        raise IdentityError(
            "bars",
            wanted="one bar per asset and session",
            got=f"{repeated} repeated",
            hint="Run the quality check before building a panel.",
        )


def _no_sessions(calendar: str) -> EmptyDataError:
    return EmptyDataError(
        "bars",
        wanted=f"rows on sessions of {calendar}",
        got="none that enough names share",
        hint="Name the exchange with --calendar.",
    )

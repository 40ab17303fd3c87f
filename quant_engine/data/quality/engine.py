"""The quality check: run a profile's rules over loaded bars, act on the hits, report them.

1. ``_sorted_arrays`` sorts by symbol and session (and reports symbols that were not sorted).
2. Row rules run in catalogue order; rejected rows are gone for the rules that follow.
3. Symbol rules run on what is left; quarantine drops a symbol as a whole at the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import DataError, EmptyDataError
from quant_engine.data.bars import OPTIONAL_FIELDS, REQUIRED_FIELDS, LoadedBars
from quant_engine.data.quality.arrays import BarArrays, Hits
from quant_engine.data.quality.profile import Action, QualityProfile
from quant_engine.data.quality.report import FINDING_COLUMNS, QualityReport
from quant_engine.data.quality.rules import RULES, missing_share

__all__ = ["check_quality"]

_NO_SESSION = np.datetime64("NaT", "us")
# The field that the fix of a rule takes as missing.
_BLANKED = {"bad_open": "open", "vwap_outside": "vwap"}


@dataclass
class _Findings:
    """Findings collected while rules run; one block per rule."""

    names: dict[str, tuple[str, ...]]
    blocks: list[pd.DataFrame] = field(default_factory=list)

    def add(
        self,
        codes: npt.NDArray[np.int64],
        session: object,
        rule: str,
        action: str,
        value: object,
        message: object,
    ) -> None:
        names = {
            name: np.asarray(values, dtype=object)[codes] for name, values in self.names.items()
        }
        facts = {"session": session, "rule": rule, "action": action, "value": value}
        self.blocks.append(pd.DataFrame({**names, **facts, "message": message}))

    def table(self) -> pd.DataFrame:
        blocks = [block for block in self.blocks if len(block)]
        if not blocks:
            empty = pd.DataFrame(columns=list(FINDING_COLUMNS))
            return empty.astype({"session": "datetime64[us]", "value": "float64"})
        return pd.concat(blocks, ignore_index=True)


def check_quality(
    bars: LoadedBars,
    profile: QualityProfile,
    *,
    calendar: str = "XNYS",
    as_of: date | None = None,
) -> tuple[LoadedBars, QualityReport]:
    """Check bars against a profile.

    Parameters
    ----------
    bars : LoadedBars
        As a provider returned them.
    profile : QualityProfile
        Rules, limits, actions.
    calendar : str
        Exchange calendar, or ``"24/7"``.
    as_of : date, optional
        Dates after it are in the future; None = that rule finds nothing.

    Returns
    -------
    clean : LoadedBars
        Sorted by ticker and session, unique, without rejected rows and quarantined symbols.
    report : QualityReport
        Every finding, with the action taken.

    Raises
    ------
    EmptyDataError
        When no row is left.
    DataError
        When so many rows lie on non-sessions that the calendar must be wrong.

    Examples
    --------
    >>> from quant_engine.core.panel import PriceBasis
    >>> from quant_engine.data.quality import RuleSetting
    >>> prices = {n: [1.0, 2.0] for n in ("open", "high", "low", "close", "volume")}
    >>> bars = LoadedBars.from_columns(ticker=["A", "A"], session=["2020-01-02", "2020-01-03"],
    ...     fields=prices, vendor="example", price_basis=PriceBasis.RAW)
    >>> profile = QualityProfile(name="mine", context="daily", rules=(
    ...     RuleSetting(rule="large_return", action="warn"),))
    >>> clean, report = check_quality(bars, profile)
    >>> clean.n_rows, report.findings["message"].tolist()
    (2, ['daily return +100.0%'])
    """
    _refuse_wrong_calendar(bars, profile, calendar)
    arrays, unsorted = _sorted_arrays(bars, calendar, as_of)
    findings = _Findings({"asset_id": bars.asset_ids, "ticker": bars.tickers})
    quarantined = np.zeros(len(arrays.tickers), dtype=bool)
    fired = np.zeros(len(arrays.tickers), dtype=bool)
    if unsorted.any():
        message = "dates were not ascending; sorted"
        where = np.flatnonzero(unsorted)
        findings.add(where, _NO_SESSION, "unsorted_dates", Action.FIX.value, np.nan, message)
    for setting in profile.active():
        spec = RULES[setting.rule]
        hits = spec.find(arrays, setting.merged_limits())
        if hits.where.size == 0:
            continue
        codes = hits.where if spec.scope == "symbol" else arrays.code[hits.where]
        is_row = spec.scope == "row"
        session = arrays.day[hits.where].astype("datetime64[us]") if is_row else _NO_SESSION
        action = setting.action.value
        findings.add(codes, session, setting.rule, action, hits.value, list(hits.message))
        if setting.action is Action.QUARANTINE:
            quarantined[codes] = True
        elif spec.scope == "symbol":
            fired[codes] = True
        elif setting.action is Action.REJECT:
            arrays = arrays.keep(_all_but(arrays, hits))
        elif setting.action is Action.FIX:
            arrays = _fixed(arrays, setting.rule, hits)
    kept = arrays.keep(~quarantined[arrays.code])
    if kept.code.size == 0:
        raise EmptyDataError(
            "bars",
            wanted=f"rows that pass quality profile {profile.name}",
            got=f"none of {bars.n_rows}",
            hint="Look at the findings of a dry run, or choose another profile.",
        )
    table = findings.table()
    report = QualityReport(
        profile=profile.name,
        profile_id=profile.config_id(),
        calendar=calendar,
        as_of=None if as_of is None else as_of.isoformat(),
        findings=table,
        symbols=_symbol_table(arrays, table, quarantined, fired),
        n_rows_in=bars.n_rows,
        n_rows_out=int(kept.code.size),
    )
    return bars.with_frame(_frame(kept, bars)), report


def _refuse_wrong_calendar(bars: LoadedBars, profile: QualityProfile, calendar: str) -> None:
    days = bars.frame["session"].to_numpy().astype("datetime64[D]")
    axis = sessions_between(calendar, days.min(), days.max())
    share = 1 - float(np.isin(days, axis).mean())
    if share > profile.max_non_session_frac:
        raise DataError(
            "calendar",
            wanted=f"at most {profile.max_non_session_frac:.0%} of rows off {calendar} sessions",
            got=f"{share:.1%}",
            hint="Name the exchange with --calendar; 24/7 is for assets that never close.",
        )


def _sorted_arrays(
    bars: LoadedBars, calendar: str, as_of: date | None
) -> tuple[BarArrays, npt.NDArray[np.bool_]]:
    frame = bars.frame
    code = frame["ticker"].cat.codes.to_numpy().astype(np.int64)
    day = frame["session"].to_numpy().astype("datetime64[D]")
    backwards = (code[1:] == code[:-1]) & (day[1:] < day[:-1])
    unsorted = np.zeros(len(bars.tickers), dtype=bool)
    unsorted[code[1:][backwards]] = True
    order = np.lexsort((day, code))
    arrays = BarArrays(
        code=code[order],
        day=day[order],
        fields={
            name: frame[name].to_numpy(dtype=np.float64)[order]
            for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
            if name in frame
        },
        tickers=bars.tickers,
        sessions=sessions_between(calendar, day.min(), day.max()),
        as_of=None if as_of is None else np.datetime64(as_of, "D"),
        n_rows_in=np.bincount(code, minlength=len(bars.tickers)),
    )
    return arrays, unsorted


def _all_but(arrays: BarArrays, hits: Hits) -> npt.NDArray[np.bool_]:
    keep = np.ones(arrays.code.size, dtype=bool)
    keep[hits.where] = False
    return keep


def _fixed(arrays: BarArrays, rule: str, hits: Hits) -> BarArrays:
    """Repair rows: drop a repeat, blank an infinity, a wrong open or VWAP, widen high and low."""
    if rule == "duplicate_rows":
        return arrays.keep(_all_but(arrays, hits))
    fields = {name: values.copy() for name, values in arrays.fields.items()}
    if rule == "non_finite":
        for values in fields.values():
            values[np.isinf(values)] = np.nan
    elif rule in _BLANKED:
        fields[_BLANKED[rule]][hits.where] = np.nan
    else:
        prices = [fields[name][hits.where] for name in ("open", "high", "low", "close")]
        fields["high"][hits.where] = np.fmax.reduce(prices)
        fields["low"][hits.where] = np.fmin.reduce(prices)
    return BarArrays(**{**vars(arrays), "fields": fields})


def _symbol_table(
    arrays: BarArrays,
    findings: pd.DataFrame,
    quarantined: npt.NDArray[np.bool_],
    fired: npt.NDArray[np.bool_],
) -> pd.DataFrame:
    count = arrays.per_symbol()
    present = count > 0
    first = np.full(count.size, np.datetime64("NaT", "us"))
    last = first.copy()
    found = np.flatnonzero(present)
    starts = np.searchsorted(arrays.code, found, side="left")
    ends = np.searchsorted(arrays.code, found, side="right") - 1
    first[found], last[found] = arrays.day[starts], arrays.day[ends]
    status = np.where(quarantined, "quarantined", np.where(fired, "degraded", "ok"))
    zero = arrays.per_symbol(arrays.fields["volume"] == 0) / np.maximum(count, 1)
    n_findings = findings["ticker"].value_counts().reindex(arrays.tickers, fill_value=0)
    return pd.DataFrame(
        {
            "n_rows_in": arrays.n_rows_in,
            "n_rows_out": np.where(quarantined, 0, count),
            "first": first,
            "last": last,
            "missing_frac": missing_share(arrays),
            "zero_volume_frac": zero,
            "n_findings": n_findings.to_numpy(),
            "status": np.where(present, status, "quarantined"),
        },
        index=pd.Index(arrays.tickers, name="ticker"),
    )


def _frame(arrays: BarArrays, bars: LoadedBars) -> pd.DataFrame:
    dtypes = {name: bars.frame[name].dtype for name in ("asset_id", "ticker")}
    columns: dict[str, object] = {
        name: pd.Categorical.from_codes(arrays.code, dtype=dtype) for name, dtype in dtypes.items()
    }
    columns["session"] = arrays.day.astype("datetime64[us]")
    return pd.DataFrame({**columns, **arrays.fields})

"""Reconciliation: several vendors' bars into one canonical series with the lineage of every row.

1. Vendors are ranked explicitly; nobody wins by accident of file order.
2. Each pair is compared bar by bar (``compare_vendors``) against tolerances that are data.
3. A symbol comes from the first vendor that has it. Rows that this vendor lacks may be filled from
   the next one, but only for symbols on which both agree: a series sewn together from two bases has
   a jump at the seam that looks like a return.

Vendors are compared on one price basis. Where bases differ, compare *returns*
(``compare_returns``): a split- and a total-adjusted series differ in level every day and in return
only on ex-days.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.data.bars import OPTIONAL_FIELDS, REQUIRED_FIELDS, LoadedBars, canonical_ticker

__all__ = [
    "Canonical",
    "ReconcileProfile",
    "Tolerances",
    "VendorComparison",
    "close_returns",
    "compare_returns",
    "compare_vendors",
    "reconcile",
]


class Tolerances(FrozenConfig):
    """Largest relative differences that count as agreement.

    Parameters
    ----------
    open_frac, high_frac, low_frac, close_frac, volume_frac : float
        ``|value / reference - 1|`` per field. Closes are one print and agree best; opens differ by
        venue, highs and lows by which odd lots count, volumes by which venues are summed.

    Examples
    --------
    >>> Tolerances().of("close")
    0.0015
    """

    open_frac: float = Field(default=0.0020, ge=0)
    high_frac: float = Field(default=0.0025, ge=0)
    low_frac: float = Field(default=0.0025, ge=0)
    close_frac: float = Field(default=0.0015, ge=0)
    volume_frac: float = Field(default=0.05, ge=0)

    def of(self, name: str) -> float:
        """Return the tolerance of one field."""
        return float(getattr(self, f"{name}_frac"))


class ReconcileProfile(FrozenConfig):
    """How vendors are compared and mixed.

    Parameters
    ----------
    name : str
        Name of the profile.
    tolerances : Tolerances
        Per field.
    max_mismatch_frac : float
        Share of common bars outside tolerance (any price) above which a symbol's vendors are held
        to disagree.
    """

    name: str
    tolerances: Tolerances = Tolerances()
    max_mismatch_frac: float = Field(default=0.05, gt=0, le=1)


@dataclass(frozen=True, eq=False)
class VendorComparison:
    """Two vendors, bar by bar.

    Parameters
    ----------
    reference, other : str
        Vendor names.
    n_common : int
        Symbol-days that both have.
    n_only_reference, n_only_other : int
        Symbol-days that one has.
    relative : DataFrame
        One row per common symbol-day: ``ticker, session`` and per field
        ``other / reference - 1``; NaN where either has no value.
    symbols : DataFrame
        Indexed by ticker: ``n_common, n_mismatch`` (bars with any price outside tolerance),
        ``mismatch_frac``.
    fields : DataFrame
        Indexed by field: ``n_compared, n_outside, outside_frac, median_abs, max_abs``.
    """

    reference: str
    other: str
    n_common: int
    n_only_reference: int
    n_only_other: int
    relative: pd.DataFrame
    symbols: pd.DataFrame
    fields: pd.DataFrame

    def n_differing(self, limit_frac: float, field: str = "close") -> int:
        """Count common symbol-days whose field differs by more than a limit.

        Parameters
        ----------
        limit_frac : float
            For instance 0.01.
        field : str
            Field compared.

        Returns
        -------
        int
        """
        return int((self.relative[field].abs() > limit_frac).sum())

    def outside(self, tolerances: Tolerances) -> pd.DataFrame:
        """Return the disagreement report: every value outside tolerance, largest first.

        Parameters
        ----------
        tolerances : Tolerances
            Per field.

        Returns
        -------
        DataFrame
            ``ticker, session, field, relative``.
        """
        parts = []
        for name in REQUIRED_FIELDS:
            bad = self.relative[name].abs() > tolerances.of(name)
            part = self.relative.loc[bad, ["ticker", "session"]]
            parts.append(part.assign(field=name, relative=self.relative.loc[bad, name]))
        table = pd.concat(parts, ignore_index=True)
        order = table["relative"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[order].reset_index(drop=True)


@dataclass(frozen=True, eq=False)
class Canonical:
    """One series per symbol, with the vendor of every row.

    Parameters
    ----------
    bars : LoadedBars
        Sorted by ticker and session, vendor ``"canonical"``.
    lineage : DataFrame
        Parallel to ``bars.frame``: ``ticker, session, vendor``.
    comparisons : tuple of VendorComparison
        Every pair.
    disputed : DataFrame
        ``ticker, reference, other, mismatch_frac`` of symbols on which vendors disagree.
    """

    bars: LoadedBars
    lineage: pd.DataFrame
    comparisons: tuple[VendorComparison, ...]
    disputed: pd.DataFrame

    def rows_by_vendor(self) -> dict[str, int]:
        """Return the number of canonical rows per vendor."""
        counts = self.lineage["vendor"].value_counts(sort=False)
        return {str(k): int(v) for k, v in counts.items()}


def reconcile(
    vendors: Sequence[LoadedBars],
    priority: Sequence[str],
    *,
    profile: ReconcileProfile,
    fill: Literal["symbol", "row"] = "symbol",
    renames: Mapping[str, str] | None = None,
) -> Canonical:
    """Merge vendors by rank.

    Parameters
    ----------
    vendors : sequence of LoadedBars
        Cleaned bars, one per vendor name, on one price basis.
    priority : sequence of str
        Vendor names from first to last; must name exactly the vendors given.
    profile : ReconcileProfile
        Tolerances and the share of mismatches that makes a dispute.
    fill : {"symbol", "row"}
        ``symbol``: a whole symbol comes from its first vendor. ``row``: rows that it lacks are
        filled from the next vendor, except for disputed symbols.
    renames : mapping of str to str, optional
        A vendor's ticker -> the canonical one (a person's own table, e.g. COH -> TPR).

    Returns
    -------
    Canonical

    Raises
    ------
    ConfigError
        When priority and vendors do not match.
    DataError
        For different price bases, or repeated symbol-days.

    Examples
    --------
    >>> from quant_engine.core.panel import PriceBasis
    >>> def vendor(name, days, price):
    ...     fields = {f: [price] * len(days) for f in REQUIRED_FIELDS}
    ...     return LoadedBars.from_columns(ticker=["A"] * len(days), session=days, fields=fields,
    ...                                    vendor=name, price_basis=PriceBasis.SPLIT_ADJ)
    >>> first = vendor("one", ["2020-01-02", "2020-01-03"], 10.0)
    >>> second = vendor("two", ["2020-01-03", "2020-01-06"], 10.0)
    >>> profile = ReconcileProfile(name="example")
    >>> reconcile([first, second], ["one", "two"], profile=profile, fill="row").rows_by_vendor()
    {'one': 2, 'two': 1}
    """
    ranked = _ranked(vendors, priority)
    tables = [_keyed(bars, renames) for bars in ranked]
    comparisons = tuple(_compare(a, b, profile) for a, b in combinations(tables, 2))
    disputed = _disputed(comparisons, profile)
    lineage, fields = _merge(tables, _choose(tables, disputed, fill))
    bars = LoadedBars.from_columns(
        ticker=lineage["ticker"].array.remove_unused_categories(),
        session=lineage["session"],
        fields=fields,
        vendor="canonical",
        price_basis=ranked[0].price_basis,
        details={"sources": tuple(record for bars in ranked for record in bars.sources)},
    )
    return Canonical(bars, lineage, comparisons, disputed)


def compare_vendors(
    reference: LoadedBars,
    other: LoadedBars,
    profile: ReconcileProfile,
    *,
    renames: Mapping[str, str] | None = None,
) -> VendorComparison:
    """Compare two vendors bar by bar.

    Parameters
    ----------
    reference, other : LoadedBars
        On one price basis; unique symbol-days.
    profile : ReconcileProfile
        Tolerances.
    renames : mapping of str to str, optional
        A vendor's ticker -> the canonical one.

    Returns
    -------
    VendorComparison

    Raises
    ------
    DataError
        For different price bases, or repeated symbol-days.
    """
    _refuse_mixed_bases([reference, other])
    return _compare(_keyed(reference, renames), _keyed(other, renames), profile)


def close_returns(bars: LoadedBars, column: str = "close") -> pd.Series:
    """Simple returns from each symbol's previous bar.

    Parameters
    ----------
    bars : LoadedBars
        Sorted inside each symbol.
    column : str
        ``close`` or ``adj_close``.

    Returns
    -------
    Series
        Indexed by (ticker, session); fractions, without each symbol's first bar.
    """
    table = _keyed(bars, None)
    values = bars.frame[column].to_numpy()
    order = np.lexsort((bars.frame["session"].to_numpy(), bars.frame["ticker"].cat.codes))
    values = values[order]
    returns = np.full(values.size, np.nan)
    returns[1:] = values[1:] / values[:-1] - 1
    returns[1:][table.code[1:] != table.code[:-1]] = np.nan
    index = pd.MultiIndex.from_arrays(
        [np.asarray(table.names, dtype=object)[table.code], table.day.astype("datetime64[us]")],
        names=["ticker", "session"],
    )
    return pd.Series(returns, index=index).dropna()


def compare_returns(
    vendors: Mapping[str, pd.Series], *, limits_frac: Sequence[float] = (0.001, 0.01)
) -> pd.DataFrame:
    """Compare returns of every pair of vendors on their common symbol-days.

    Parameters
    ----------
    vendors : mapping of str to Series
        Name -> simple returns indexed by (ticker, session), from `close_returns`.
    limits_frac : sequence of float
        Differences counted.

    Returns
    -------
    DataFrame
        One row per pair: ``reference, other, n_symbols, n_common, correlation, median_abs`` and
        ``over_X`` per limit.

    Examples
    --------
    >>> days = pd.MultiIndex.from_product([["A"], pd.to_datetime(["2020-01-02", "2020-01-03"])])
    >>> one = pd.Series([0.01, 0.02], index=days)
    >>> compare_returns({"x": one, "y": one + 0.005})["over_0.001"].tolist()
    [2]
    """
    rows = []
    for (left, a), (right, b) in combinations(vendors.items(), 2):
        joined = pd.concat([a, b], axis=1, join="inner", keys=["a", "b"]).dropna()
        difference = (joined["a"] - joined["b"]).abs()
        row: dict[str, object] = {
            "reference": left,
            "other": right,
            "n_symbols": joined.index.get_level_values(0).nunique(),
            "n_common": len(joined),
            "correlation": joined["a"].corr(joined["b"]) if len(joined) > 2 else np.nan,
            "median_abs": difference.median(),
        }
        row |= {f"over_{limit:g}": int((difference > limit).sum()) for limit in limits_frac}
        rows.append(row)
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Keyed:
    """A vendor's rows as arrays, sorted by symbol and day; `code` points into `names`."""

    vendor: str
    names: tuple[str, ...]
    code: npt.NDArray[np.int64]
    day: npt.NDArray[np.datetime64]
    fields: Mapping[str, npt.NDArray[np.float64]]

    def keys(self, vocabulary: pd.Index) -> npt.NDArray[np.int64]:
        """One integer per symbol-day, comparable between vendors."""
        position = vocabulary.get_indexer(pd.Index(self.names)).astype(np.int64)
        return position[self.code] * _DAYS + self.day.astype(np.int64)


_DAYS = 1_000_000  # more than the days since 1970 of any bar, so that keys never collide


def _keyed(bars: LoadedBars, renames: Mapping[str, str] | None) -> _Keyed:
    table = {canonical_ticker(k): canonical_ticker(v) for k, v in (renames or {}).items()}
    spelled = [table.get(ticker, ticker) for ticker in bars.tickers]
    names = tuple(sorted(set(spelled)))
    position = {name: i for i, name in enumerate(names)}
    lookup = np.array([position[name] for name in spelled], dtype=np.int64)
    frame = bars.frame
    code = lookup[frame["ticker"].cat.codes.to_numpy()]
    day = frame["session"].to_numpy().astype("datetime64[D]")
    order = np.lexsort((day, code))
    code, day = code[order], day[order]
    repeated = int(((code[1:] == code[:-1]) & (day[1:] == day[:-1])).sum())
    if repeated:
        raise DataError(
            f"bars of {bars.vendor}",
            wanted="one bar per symbol and session",
            got=f"{repeated} repeated",
            hint="Run the quality check first, and check the table of renames.",
        )
    fields = {
        name: frame[name].to_numpy()[order]
        for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
        if name in frame
    }
    return _Keyed(bars.vendor, names, code, day, fields)


def _vocabulary(tables: Sequence[_Keyed]) -> pd.Index:
    return pd.Index(sorted({name for table in tables for name in table.names}))


def _compare(reference: _Keyed, other: _Keyed, profile: ReconcileProfile) -> VendorComparison:
    vocabulary = _vocabulary([reference, other])
    left_key, right_key = reference.keys(vocabulary), other.keys(vocabulary)
    _, left, right = np.intersect1d(left_key, right_key, assume_unique=True, return_indices=True)
    code = reference.code[left]
    relative: dict[str, object] = {
        "ticker": pd.Categorical.from_codes(code, list(reference.names)),
        "session": reference.day[left].astype("datetime64[us]"),
    }
    mismatch = np.zeros(left.size, dtype=bool)
    rows = {}
    for name in REQUIRED_FIELDS:
        change = _relative(reference.fields[name][left], other.fields[name][right])
        relative[name] = change
        outside = np.abs(change) > profile.tolerances.of(name)
        if name != "volume":
            mismatch |= outside
        rows[name] = _field_row(change, outside)
    n_common = np.bincount(code, minlength=len(reference.names))
    n_mismatch = np.bincount(code[mismatch], minlength=len(reference.names))
    symbols = pd.DataFrame(
        {"n_common": n_common, "n_mismatch": n_mismatch},
        index=pd.Index(reference.names, name="ticker"),
    )
    symbols = symbols[symbols["n_common"] > 0]
    symbols["mismatch_frac"] = symbols["n_mismatch"] / symbols["n_common"]
    return VendorComparison(
        reference=reference.vendor,
        other=other.vendor,
        n_common=left.size,
        n_only_reference=left_key.size - left.size,
        n_only_other=right_key.size - right.size,
        relative=pd.DataFrame(relative),
        symbols=symbols,
        fields=pd.DataFrame.from_dict(rows, orient="index").rename_axis("field"),
    )


def _relative(
    base: npt.NDArray[np.float64], value: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    usable = np.isfinite(base) & np.isfinite(value) & (base != 0)
    change = np.full(base.size, np.nan)
    change[usable] = value[usable] / base[usable] - 1
    return change


def _field_row(change: npt.NDArray[np.float64], outside: npt.NDArray[np.bool_]) -> dict[str, float]:
    known = np.abs(change[np.isfinite(change)])
    return {
        "n_compared": known.size,
        "n_outside": int(outside.sum()),
        "outside_frac": float(outside.sum() / max(known.size, 1)),
        "median_abs": float(np.median(known)) if known.size else np.nan,
        "max_abs": float(known.max()) if known.size else np.nan,
    }


def _disputed(comparisons: Sequence[VendorComparison], profile: ReconcileProfile) -> pd.DataFrame:
    rows = [
        (str(ticker), pair.reference, pair.other, float(share))
        for pair in comparisons
        for ticker, share in pair.symbols["mismatch_frac"].items()
        if share > profile.max_mismatch_frac
    ]
    return pd.DataFrame(rows, columns=["ticker", "reference", "other", "mismatch_frac"])


def _choose(
    tables: Sequence[_Keyed], disputed: pd.DataFrame, fill: str
) -> list[npt.NDArray[np.bool_]]:
    """Rows of each vendor that enter the canonical series, in order of rank."""
    vocabulary = _vocabulary(tables)
    taken_symbols: set[str] = set()
    taken_keys = np.empty(0, dtype=np.int64)
    quarrels = set(disputed["ticker"])
    chosen = []
    for table in tables:
        key = table.keys(vocabulary)
        closed = taken_symbols if fill == "symbol" else taken_symbols & quarrels
        is_open = np.array([name not in closed for name in table.names], dtype=bool)
        rows = is_open[table.code] & ~np.isin(key, taken_keys)
        chosen.append(rows)
        taken_keys = np.concatenate([taken_keys, key[rows]])
        taken_symbols |= {table.names[i] for i in np.unique(table.code[rows])}
    return chosen


def _merge(
    tables: Sequence[_Keyed], chosen: Sequence[npt.NDArray[np.bool_]]
) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.float64]]]:
    """Lineage (ticker, session, vendor) and fields of the chosen rows, sorted."""
    vocabulary = _vocabulary(tables)
    pairs = list(zip(tables, chosen, strict=True))
    code = np.concatenate(
        [vocabulary.get_indexer(pd.Index(t.names))[t.code[rows]] for t, rows in pairs]
    )
    day = np.concatenate([t.day[rows] for t, rows in pairs])
    rank = np.concatenate([np.full(int(rows.sum()), i) for i, rows in enumerate(chosen)])
    order = np.lexsort((day, code))
    lineage = pd.DataFrame(
        {
            "ticker": pd.Categorical.from_codes(code[order], vocabulary),
            "session": day[order].astype("datetime64[us]"),
            "vendor": pd.Categorical.from_codes(rank[order], [t.vendor for t in tables]),
        }
    )
    fields = {}
    for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS):
        if any(name in t.fields for t in tables):
            parts = [
                t.fields[name][rows] if name in t.fields else np.full(int(rows.sum()), np.nan)
                for t, rows in pairs
            ]
            fields[name] = np.concatenate(parts)[order]
    return lineage, fields


def _ranked(vendors: Sequence[LoadedBars], priority: Sequence[str]) -> list[LoadedBars]:
    by_name = {bars.vendor: bars for bars in vendors}
    if len(by_name) != len(vendors) or sorted(by_name) != sorted(priority):
        raise ConfigError(
            "priority",
            wanted=f"each vendor once: {', '.join(sorted(b.vendor for b in vendors))}",
            got=", ".join(priority) or "nothing",
            hint="Name every vendor exactly once, first choice first.",
        )
    _refuse_mixed_bases(vendors)
    return [by_name[name] for name in priority]


def _refuse_mixed_bases(vendors: Sequence[LoadedBars]) -> None:
    bases = {bars.vendor: str(bars.price_basis) for bars in vendors}
    if len(set(bases.values())) > 1:
        raise DataError(
            "price_basis",
            wanted="one price basis for all vendors",
            got=", ".join(f"{name} {basis}" for name, basis in bases.items()),
            hint="Compare returns instead (compare_returns), or load one basis.",
        )

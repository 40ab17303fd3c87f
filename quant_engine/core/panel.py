"""Panel: wide market data in memory, one array of shape (T, N) per field.

Two shapes exist and no others: the wide ``Panel`` that kernels see, and the long frame indexed
``(date, asset_id)`` that people see. This module holds both, their conversion and their checker.
NaN means *not available at that time* (a stock that did not trade, a feature in its warm-up).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, CodeMatrix, FloatMatrix, TimeVector
from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    IdentityError,
    MissingFieldError,
    SchemaMismatchError,
    did_you_mean,
)
from quant_engine.core.ids import id_column, id_order

ValueT = TypeVar("ValueT")
LONG_INDEX = ("date", "asset_id")
PRICE_FIELDS = ("open", "high", "low", "close")


class PriceBasis(StrEnum):
    """How prices were adjusted; chosen explicitly and recorded with every panel."""

    RAW = "raw"
    SPLIT_ADJ = "split_adj"
    TOTAL_ADJ = "total_adj"


@dataclass(frozen=True, eq=False)
class TimeAxis:
    """The rows of a panel: exchange sessions, or UTC bar closes with a bar length.

    Parameters
    ----------
    kind : {"session", "bar"}
        Sessions are tz-naive dates; bars are labelled by their UTC close.
    values : ndarray of datetime64, shape (T,)
        Strictly increasing; unit D for sessions, us for bars.
    calendar : str
        Exchange calendar name such as ``"XNYS"``, or ``"24/7"``.
    bar_seconds : int or None
        Length of a bar; None for sessions.

    Examples
    --------
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> len(axis), axis.position("2020-01-03")
    (2, 1)
    """

    kind: Literal["session", "bar"]
    values: TimeVector
    calendar: str
    bar_seconds: int | None = None

    def __post_init__(self) -> None:
        unit = "datetime64[D]" if self.kind == "session" else "datetime64[us]"
        given = np.asarray(self.values)
        values = given.astype(unit)
        cut = (values != given) & ~np.isnat(values)
        if cut.any():
            raise DataError(
                "time axis",
                wanted=f"times in whole units of {unit}",
                got=f"{given[cut][0]}",
                hint="Label daily rows by their session; intraday bars need kind='bar'.",
            )
        if values.ndim != 1 or np.isnat(values).any() or not (values[1:] > values[:-1]).all():
            raise DataError(
                "time axis",
                wanted="strictly increasing, unique, non-missing times",
                got=f"{values.size} times out of order or repeated",
                hint="Sort the rows by time and remove duplicates.",
            )
        if (self.kind == "bar") == (self.bar_seconds is None):
            raise ConfigError(
                "bar_seconds",
                wanted="a bar length for bars and none for sessions",
                got=self.bar_seconds,
                hint="Use TimeAxis.sessions for daily data.",
            )
        values.setflags(write=False)
        object.__setattr__(self, "values", values)

    @classmethod
    def sessions(cls, values: Iterable[Any], calendar: str = "XNYS") -> TimeAxis:
        """Build a daily axis from anything that numpy reads as dates."""
        return cls("session", np.asarray(values, dtype="datetime64[us]"), calendar)

    def __len__(self) -> int:
        return int(self.values.size)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, TimeAxis)
            and (self.kind, self.calendar, self.bar_seconds)
            == (other.kind, other.calendar, other.bar_seconds)
            and np.array_equal(self.values, other.values)
        )

    def __hash__(self) -> int:
        return hash((self.kind, self.calendar, self.bar_seconds, self.values.tobytes()))

    @property
    def index(self) -> pd.DatetimeIndex:
        """The times as a tz-naive pandas index with unit us (bars are UTC)."""
        name = "date" if self.kind == "session" else "ts"
        return pd.DatetimeIndex(self.values.astype("datetime64[us]"), name=name)

    def position(self, when: Any) -> int:
        """Return the row of a time that is on the axis; raise DataError when it is not."""
        wanted = np.datetime64(when)
        row = int(np.searchsorted(self.values, wanted))
        if row == len(self) or self.values[row] != wanted:
            span = f"{self.values[0]} to {self.values[-1]}" if len(self) else "an empty axis"
            raise DataError(
                "time", wanted=f"a time on the axis ({span})", got=when, hint="Choose a session."
            )
        return row

    def window(self, start: Any | None, end: Any | None) -> slice:
        """Return the row slice of all times t with start <= t <= end."""
        first = 0 if start is None else int(np.searchsorted(self.values, np.datetime64(start)))
        stop = (
            len(self)
            if end is None
            else int(np.searchsorted(self.values, np.datetime64(end), side="right"))
        )
        return slice(first, max(first, stop))

    def slice(self, start: int, stop: int) -> TimeAxis:
        """Return the axis of rows start (inclusive) to stop (exclusive)."""
        return TimeAxis(self.kind, self.values[start:stop], self.calendar, self.bar_seconds)


@dataclass(frozen=True, eq=False)
class GroupTable:
    """A category per asset and time, such as the sector known at that time.

    Parameters
    ----------
    codes : ndarray of int16, shape (T, N)
        Positions in ``categories``; -1 = unknown.
    categories : tuple of str
        Category names.
    """

    codes: CodeMatrix
    categories: tuple[str, ...]

    def __post_init__(self) -> None:
        # Checked before the cast: int16 would wrap a code that is out of range into a valid one.
        codes = np.asarray(self.codes)
        top = min(len(self.categories), np.iinfo(np.int16).max) - 1
        if codes.dtype.kind not in "iu" or (
            codes.size and not -1 <= codes.min() <= codes.max() <= top
        ):
            raise SchemaMismatchError(
                "group codes",
                wanted=f"whole numbers from -1 to {top}",
                got=f"{codes.dtype} from {codes.min()} to {codes.max()}"
                if codes.size
                else codes.dtype,
                hint="Codes are positions in `categories`.",
            )
        object.__setattr__(self, "codes", _frozen(np.ascontiguousarray(codes, dtype=np.int16)))


@dataclass(frozen=True, eq=False)
class Panel:
    """Wide data: named (T, N) arrays over one time axis and one tuple of assets.

    Parameters
    ----------
    time : TimeAxis
        The T rows.
    asset_ids : tuple of str
        The N columns, unique, stable identifiers (never tickers).
    fields : mapping of str to ndarray, shape (T, N)
        float64 or float32 in C order; NaN = not available.
    masks : mapping of str to ndarray of bool, shape (T, N)
        For instance ``member`` and ``tradable``.
    groups : mapping of str to GroupTable
        For instance ``sector``.
    price_basis : PriceBasis
        Adjustment of every price field.

    Examples
    --------
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("A@US#1",), {"close": np.array([[9.0]])})
    >>> panel.shape
    (1, 1)
    """

    time: TimeAxis
    asset_ids: tuple[str, ...]
    fields: Mapping[str, FloatMatrix]
    masks: Mapping[str, BoolMatrix] = field(default_factory=dict)
    groups: Mapping[str, GroupTable] = field(default_factory=dict)
    price_basis: PriceBasis = PriceBasis.SPLIT_ADJ

    def __post_init__(self) -> None:
        _check_unique(self.asset_ids)
        fields = {name: self._checked(name, values, None) for name, values in self.fields.items()}
        masks = {name: self._checked(name, values, np.bool_) for name, values in self.masks.items()}
        for name, table in self.groups.items():
            self._check_shape(name, table.codes)
        object.__setattr__(self, "asset_ids", tuple(self.asset_ids))
        object.__setattr__(self, "fields", MappingProxyType(fields))
        object.__setattr__(self, "masks", MappingProxyType(masks))
        object.__setattr__(self, "groups", MappingProxyType(dict(self.groups)))

    @property
    def shape(self) -> tuple[int, int]:
        """(T, N)."""
        return len(self.time), len(self.asset_ids)

    def field(self, name: str) -> FloatMatrix:
        """Return one field, shape (T, N); MissingFieldError names the nearest fields."""
        return _pick(self.fields, name, "panel field")

    def mask(self, name: str) -> BoolMatrix:
        """Return one mask, shape (T, N); MissingFieldError names the nearest masks."""
        return _pick(self.masks, name, "panel mask")

    def group(self, name: str) -> GroupTable:
        """Return one group table; MissingFieldError names the nearest groups."""
        return _pick(self.groups, name, "panel group")

    def rows(self, start: int, stop: int) -> Panel:
        """Return the panel of rows start (inclusive) to stop (exclusive), sharing memory."""
        return dataclasses.replace(
            self,
            time=self.time.slice(start, stop),
            fields={name: values[start:stop] for name, values in self.fields.items()},
            masks={name: values[start:stop] for name, values in self.masks.items()},
            groups={
                name: GroupTable(table.codes[start:stop], table.categories)
                for name, table in self.groups.items()
            },
        )

    def columns(self, positions: npt.NDArray[np.int64]) -> Panel:
        """Return the panel of the assets at the given positions, in that order."""
        return dataclasses.replace(
            self,
            asset_ids=tuple(self.asset_ids[i] for i in positions),
            fields={name: values[:, positions] for name, values in self.fields.items()},
            masks={name: values[:, positions] for name, values in self.masks.items()},
            groups={
                name: GroupTable(table.codes[:, positions], table.categories)
                for name, table in self.groups.items()
            },
        )

    def with_fields(self, fields: Mapping[str, FloatMatrix]) -> Panel:
        """Return a panel with fields, shape (T, N), added or replaced."""
        return dataclasses.replace(self, fields={**self.fields, **fields})

    def only_fields(self, names: Iterable[str]) -> Panel:
        """Return a panel with the named fields alone, in the order given."""
        return dataclasses.replace(self, fields={name: self.field(name) for name in names})

    def with_masks(self, masks: Mapping[str, BoolMatrix]) -> Panel:
        """Return a panel with masks, shape (T, N), added or replaced."""
        return dataclasses.replace(self, masks={**self.masks, **masks})

    def with_groups(self, groups: Mapping[str, GroupTable]) -> Panel:
        """Return a panel with groups added or replaced."""
        return dataclasses.replace(self, groups={**self.groups, **groups})

    def to_long(self, fields: Iterable[str] | None = None) -> pd.DataFrame:
        """Return the long frame indexed (date, asset_id), sorted and unique.

        Parameters
        ----------
        fields : iterable of str, optional
            Columns to keep; all fields by default.

        Returns
        -------
        DataFrame
            One row per time and asset with at least one value; columns in field order.
        """
        names = tuple(self.fields) if fields is None else tuple(fields)
        order = id_order(self.asset_ids)
        ordered = bool((order == np.arange(order.size)).all())
        stack = {n: self.field(n) if ordered else self.field(n)[:, order] for n in names}
        keep = np.zeros(self.shape, dtype=bool)
        for values in stack.values():
            keep |= ~np.isnan(values)
            if keep.all():
                break
        cells = np.flatnonzero(keep)
        row, column = np.divmod(cells, max(self.shape[1], 1))
        # Levels are sorted and unique already, so nothing has to be found out about the index.
        levels: Any = [self.time.index, id_column(self.asset_ids, order)]
        codes: Any = [row, column]
        index = pd.MultiIndex(levels, codes, names=list(LONG_INDEX), verify_integrity=False)
        whole = cells.size == keep.size
        columns = {
            name: values.flatten() if whole else values.reshape(-1)[cells]
            for name, values in stack.items()
        }
        return pd.DataFrame(columns, index, copy=False)

    @classmethod
    def from_long(
        cls,
        frame: pd.DataFrame,
        *,
        calendar: str = "XNYS",
        price_basis: PriceBasis = PriceBasis.SPLIT_ADJ,
    ) -> Panel:
        """Build a daily panel from a long frame indexed (date, asset_id).

        Parameters
        ----------
        frame : DataFrame
            Numeric columns, index levels ``date`` and ``asset_id``; any order, no duplicates.
        calendar : str
            Name of the exchange calendar of the dates.
        price_basis : PriceBasis
            Adjustment of the price columns.

        Returns
        -------
        Panel
            Dates and assets in ascending order; absent rows are NaN.

        Raises
        ------
        IdentityError
            When a (date, asset_id) pair occurs twice or is incomplete.
        EmptyDataError
            When there is no row.
        SchemaMismatchError
            When a column is not numeric.
        """
        check_long(frame)
        dates = frame.index.get_level_values(LONG_INDEX[0])
        date_code, date_values = pd.factorize(dates, sort=True)
        asset_code, assets = pd.factorize(frame.index.get_level_values(LONG_INDEX[1]), sort=True)
        shape = (len(date_values), len(assets))
        fields: dict[str, FloatMatrix] = {}
        for name in frame.columns:
            if not pd.api.types.is_numeric_dtype(frame[name]):
                raise SchemaMismatchError(
                    f"column {name!r}",
                    wanted="numbers",
                    got=frame[name].dtype,
                    hint="Convert the column, or pass categories as groups.",
                )
            values = np.full(shape, np.nan)
            values[date_code, asset_code] = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            fields[str(name)] = values
        axis = TimeAxis.sessions(pd.DatetimeIndex(date_values).to_numpy(), calendar)
        return cls(axis, tuple(str(a) for a in assets), fields, price_basis=price_basis)

    def _checked(self, name: str, values: npt.NDArray[Any], dtype: Any) -> npt.NDArray[Any]:
        wanted = dtype or (np.float32 if values.dtype == np.float32 else np.float64)
        # A cast would turn text into numbers, and NaN in a mask into True.
        if values.dtype.kind not in ("fiub" if dtype is None else "b"):
            raise SchemaMismatchError(
                f"panel array {name!r}",
                wanted="numbers" if dtype is None else "bool",
                got=values.dtype,
                hint="Convert the array where its meaning is known.",
            )
        array = np.ascontiguousarray(values, dtype=wanted)
        self._check_shape(name, array)
        return _frozen(array)

    def _check_shape(self, name: str, values: npt.NDArray[Any]) -> None:
        if values.shape != self.shape:
            raise SchemaMismatchError(
                f"panel array {name!r}",
                wanted=f"shape {self.shape} (times x assets)",
                got=values.shape,
                hint="Every array of a panel has the panel's shape.",
            )


@dataclass(frozen=True, eq=False)
class LabelPanel:
    """Labels with the time span each one depends on.

    Parameters
    ----------
    values : Panel
        One field per label kind, shape (T, N); row t is the label of a decision made after
        the close of session t; NaN = no label.
    span_start, span_end : ndarray of datetime64[D], shape (T,)
        The label of row t depends on prices in [span_start, span_end]; NaT where the span
        runs past the data.
    """

    values: Panel
    span_start: TimeVector
    span_end: TimeVector

    def __post_init__(self) -> None:
        for name in ("span_start", "span_end"):
            span = np.asarray(getattr(self, name)).astype("datetime64[D]")
            if span.shape != (len(self.values.time),):
                raise SchemaMismatchError(
                    name,
                    wanted=f"one date per row ({len(self.values.time)})",
                    got=span.shape,
                    hint="Compute spans on the axis of the labels.",
                )
            object.__setattr__(self, name, _frozen(span))


def check_long(frame: pd.DataFrame) -> None:
    """Check that a frame has the long shape; raise a DataError that says what is off.

    Parameters
    ----------
    frame : DataFrame
        Wanted: index levels ``(date, asset_id)``, at least one row, no repeated pair.

    Raises
    ------
    SchemaMismatchError
        For other index levels.
    EmptyDataError
        For no rows.
    IdentityError
        For a repeated pair, or one without date or asset.
    """
    if tuple(frame.index.names) != LONG_INDEX:
        raise SchemaMismatchError(
            "long frame",
            wanted=f"index levels {LONG_INDEX}",
            got=tuple(frame.index.names),
            hint="Use frame.set_index(['date', 'asset_id']).",
        )
    if frame.empty:
        raise EmptyDataError(
            "long frame", wanted="at least one row", got="none", hint="Check filters and dates."
        )
    for level in LONG_INDEX:
        absent = int(np.count_nonzero(frame.index.get_level_values(level).isna()))
        if absent:
            raise IdentityError(
                "long frame",
                wanted=f"a value of {level} in every row",
                got=f"{absent} rows without one",
                hint="Drop the rows, or find out which date and asset they belong to.",
            )
    duplicated = frame.index.duplicated()
    if duplicated.any():
        raise IdentityError(
            "long frame",
            wanted="one row per (date, asset_id)",
            got=f"{int(duplicated.sum())} repeated, first {frame.index[duplicated][0]}",
            hint="Remove duplicates before building a panel.",
        )


def _pick(table: Mapping[str, ValueT], name: str, what: str) -> ValueT:
    if name not in table:
        raise MissingFieldError(
            what, wanted=repr(name), got="absent", hint=did_you_mean(name, table)
        )
    return table[name]


def _check_unique(asset_ids: tuple[str, ...]) -> None:
    if len(set(asset_ids)) != len(asset_ids):
        seen: set[str] = set()
        repeated = sorted({a for a in asset_ids if a in seen or seen.add(a)})  # type: ignore[func-returns-value]
        raise IdentityError(
            "asset_ids",
            wanted="unique identifiers",
            got=f"repeated {repeated[:3]}",
            hint="A ticker reused by another company needs another asset_id.",
        )


def _frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if array.flags.writeable:
        array = array.view()
        array.setflags(write=False)
    return array

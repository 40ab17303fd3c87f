"""Outputs of audited functions in one form, and where two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import TimeVector
from quant_engine.core.panel import Panel
from quant_engine.testing.errors import ConformanceError

Output: TypeAlias = Panel | pd.DataFrame | pd.Series | npt.NDArray[Any] | Mapping[str, Any]
"""What an audited function may return; rows are labelled by time or stand in panel order."""

_Cells: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]


@dataclass(frozen=True)
class Labelled:
    """An output in one form: named arrays over labelled times and assets.

    Parameters
    ----------
    times : ndarray of datetime64[us], shape (T,)
        Labels of the rows, ascending.
    assets : tuple of str
        Labels of the N columns; one empty label for values without assets.
    fields : mapping of str to ndarray, shape (T, N)
        Values of any dtype.
    present : ndarray of bool, shape (T, N)
        False where a frame has no row.
    """

    times: TimeVector
    assets: tuple[str, ...]
    fields: Mapping[str, npt.NDArray[Any]]
    present: npt.NDArray[np.bool_]

    def counts(self, first: np.datetime64, last: np.datetime64) -> dict[str, int]:
        """Count the values of each field that are present and not missing.

        Parameters
        ----------
        first, last : datetime64
            Closed range of times.

        Returns
        -------
        dict of str to int
            Field name to number of values.
        """
        rows = (self.times >= first) & (self.times <= last)
        return {
            name: int((self.present[rows] & ~pd.isna(values[rows])).sum())
            for name, values in self.fields.items()
        }


def labelled(output: Output, panel: Panel) -> Labelled:
    """Bring the output of a function into the form that is compared.

    Parameters
    ----------
    output : Panel, DataFrame, Series, ndarray or mapping of these arrays
        What the function returned for `panel`.
    panel : Panel
        Its input, shape (T, N); unlabelled arrays take its times and assets.

    Returns
    -------
    Labelled
        Arrays with labels.

    Raises
    ------
    ConformanceError
        When an array does not have one row per time, or an index holds no times.
    """
    if isinstance(output, Panel):
        fields: dict[str, npt.NDArray[Any]] = dict(output.fields)
        fields.update({f"mask {name}": mask for name, mask in output.masks.items()})
        fields.update({f"group {name}": table.codes for name, table in output.groups.items()})
        times = output.time.values.astype("datetime64[us]")
        return Labelled(times, output.asset_ids, fields, np.ones(output.shape, dtype=bool))
    if isinstance(output, pd.Series):
        output = output.to_frame("value" if output.name is None else str(output.name))
    if isinstance(output, pd.DataFrame):
        return _labelled_frame(output, panel)
    named = output if isinstance(output, Mapping) else {"value": output}
    return _labelled_arrays({str(name): np.asarray(array) for name, array in named.items()}, panel)


def first_difference(
    before: Labelled, after: Labelled, *, first: np.datetime64, last: np.datetime64
) -> tuple[str, np.datetime64, str, object, object] | None:
    """Find the earliest row in which two outputs differ.

    Parameters
    ----------
    before, after : Labelled
        The outputs.
    first, last : datetime64
        Closed range of times that is compared.

    Returns
    -------
    tuple or None
        (field, time, asset, value before, value after); None when all bits agree. A value is None
        where its output has no such row, column or field.
    """
    found: list[tuple[int, int, int]] = []
    changed = list(differences(before, after, first=first, last=last))
    for number, difference in enumerate(changed):
        row, column = np.argwhere(difference.cells)[0]
        found.append((int(row), number, int(column)))
    if not found:
        return None
    row, number, column = min(found)
    values = changed[number].values(row, column)
    return (
        changed[number].field,
        changed[number].times[row],
        changed[number].assets[column],
        *values,
    )


@dataclass(frozen=True, eq=False)
class FieldDifference:
    """Where one field of two outputs differs, on common times and assets.

    Parameters
    ----------
    field : str
        Name.
    times : ndarray of datetime64[us], shape (T,)
        Compared times.
    assets : tuple of str
        The N columns of both outputs.
    cells : ndarray of bool, shape (T, N)
        True where a bit differs; at least one is.
    before, after : tuple of ndarray, each of shape (T, N)
        Values, and where there is a row.
    """

    field: str
    times: TimeVector
    assets: tuple[str, ...]
    cells: npt.NDArray[np.bool_]
    before: _Cells
    after: _Cells

    def values(self, row: int, column: int) -> tuple[object, object]:
        """Value before and after; None where an output has no such row, column or field."""
        before, after = (
            array[row, column] if present[row, column] else None
            for array, present in (self.before, self.after)
        )
        return before, after


def differences(
    before: Labelled, after: Labelled, *, first: np.datetime64, last: np.datetime64
) -> Iterator[FieldDifference]:
    """Compare two outputs field by field, in the order of the fields.

    Parameters
    ----------
    before, after : Labelled
        The outputs.
    first, last : datetime64
        Closed range of times that is compared.

    Yields
    ------
    FieldDifference
        For every field in which a bit differs; NaN equals NaN.
    """
    assets = tuple(dict.fromkeys((*before.assets, *after.assets)))
    times = np.union1d(before.times, after.times)
    times = times[(times >= first) & (times <= last)]
    for name in dict.fromkeys((*before.fields, *after.fields)):
        one, two = (_on_grid(side, name, times, assets) for side in (before, after))
        cells = _differing(one, two)
        if cells.any():
            yield FieldDifference(name, times, assets, cells, one, two)


def _labelled_arrays(named: Mapping[str, npt.NDArray[Any]], panel: Panel) -> Labelled:
    n_times, n_assets = panel.shape
    fields: dict[str, npt.NDArray[Any]] = {}
    for name, array in named.items():
        if array.ndim not in (1, 2, 3) or array.shape[0] != n_times:
            raise ConformanceError.broken(
                "output",
                "one row per time",
                wanted=f"arrays with {n_times} rows",
                got=f"shape {array.shape} of {name!r}",
                hint="Return a frame with labels when rows are dropped.",
            )
        if array.ndim == 3:
            fields.update({f"{name}[{i}]": array[:, :, i] for i in range(array.shape[2])})
        else:
            fields[name] = array.reshape(n_times, -1)
    widths = {array.shape[1] for array in fields.values()}
    if widths == {n_assets}:
        assets = panel.asset_ids
    else:
        # Columns that are no assets, such as state probabilities: padded to one width.
        width = max(widths, default=0)
        assets = ("",) if width == 1 else tuple(f"column {i}" for i in range(width))
        fields = {name: _padded(array, width) for name, array in fields.items()}
    times = panel.time.values.astype("datetime64[us]")
    return Labelled(times, assets, fields, np.ones((n_times, len(assets)), dtype=bool))


def _padded(array: npt.NDArray[Any], width: int) -> npt.NDArray[Any]:
    whole = np.full((array.shape[0], width), np.nan, dtype=np.result_type(array, np.float32))
    whole[:, : array.shape[1]] = array
    return whole


def _labelled_frame(frame: pd.DataFrame, panel: Panel) -> Labelled:
    dates = frame.index.get_level_values(0)
    if not isinstance(dates, pd.DatetimeIndex) or not frame.index.is_unique:
        raise ConformanceError.broken(
            "output",
            "labelled rows",
            wanted="an index of times, or of (date, asset_id), without repetition",
            got=f"{type(dates).__name__}, unique={frame.index.is_unique}",
            hint="Use panel.time.index, or Panel.to_long().",
        )
    if dates.tz is not None:
        dates = dates.tz_convert("UTC").tz_localize(None)
    times, row = np.unique(dates.to_numpy().astype("datetime64[us]"), return_inverse=True)
    if frame.index.nlevels == 1:
        by_asset = len(frame.columns) > 0 and set(frame.columns) <= set(panel.asset_ids)
        if by_asset:
            stacked = frame.stack(future_stack=True)
            return _labelled_frame(pd.DataFrame({"value": stacked}), panel)
        column, assets = np.zeros(len(frame), dtype=np.int64), pd.Index([""])
    else:
        column, assets = pd.factorize(frame.index.get_level_values(1), sort=True)
    shape = (len(times), len(assets))
    present = np.zeros(shape, dtype=bool)
    present[row, column] = True
    fields = {}
    for name in frame.columns:
        values = np.full(shape, None, dtype=object)
        if pd.api.types.is_numeric_dtype(frame[name]):
            numbers = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
            values = np.full(shape, np.nan)
            values[row, column] = numbers
        else:
            values[row, column] = frame[name].astype(object).to_numpy()
        fields[str(name)] = values
    return Labelled(times, tuple(str(asset) for asset in assets), fields, present)


def _on_grid(side: Labelled, name: str, times: TimeVector, assets: tuple[str, ...]) -> _Cells:
    """Return values and presence of one field over common times and assets."""
    shape = (len(times), len(assets))
    present = np.zeros(shape, dtype=bool)
    source = side.fields.get(name)
    if source is None:
        return np.full(shape, np.nan), present
    start = int(np.searchsorted(side.times, times[0])) if len(times) else 0
    rows_of = slice(start, start + len(times))
    if side.assets == assets and np.array_equal(side.times[rows_of], times):
        # The usual case, without a copy: the same assets and a run of consecutive times.
        return source[rows_of], side.present[rows_of]
    where = {asset: position for position, asset in enumerate(side.assets)}
    mine = np.array([i for i, asset in enumerate(assets) if asset in where], dtype=np.int64)
    theirs = np.array([where[assets[i]] for i in mine], dtype=np.int64)
    rows = np.flatnonzero(np.isin(times, side.times))
    source_rows = np.searchsorted(side.times, times[rows])
    values = np.zeros(shape, dtype=source.dtype)
    values[np.ix_(rows, mine)] = source[np.ix_(source_rows, theirs)]
    present[np.ix_(rows, mine)] = side.present[np.ix_(source_rows, theirs)]
    return values, present


def _differing(one: _Cells, two: _Cells) -> npt.NDArray[np.bool_]:
    """Tell where two arrays differ in a bit; NaN equals NaN, and -0.0 does not equal 0.0."""
    (a, a_present), (b, b_present) = one, two
    both = a_present & b_present
    if a.dtype == object or b.dtype == object:
        missing = pd.isna(a) & pd.isna(b)
        unequal = np.asarray(a != b, dtype=bool)
    else:
        dtype = np.result_type(a, b)
        a, b = a.astype(dtype, copy=False), b.astype(dtype, copy=False)
        unequal = _bits(a) != _bits(b)
        if not unequal.any():
            return np.asarray(a_present != b_present)
        missing = pd.isna(a) & pd.isna(b)
    differing: npt.NDArray[np.bool_] = (a_present != b_present) | (both & unequal & ~missing)
    return differing


def _bits(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    unsigned = {4: np.uint32, 8: np.uint64}
    if array.dtype.kind != "f" or array.dtype.itemsize not in unsigned:
        return array
    return np.ascontiguousarray(array).view(unsigned[array.dtype.itemsize])

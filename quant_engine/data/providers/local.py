"""Local provider: a folder (searched through its subfolders) or one file of daily bars.

1. ``list_market_files`` finds the files, in name order.
2. ``files.read_market_file`` reads each one.
3. ``_sessions_of_all`` decides how dates are written, with the evidence of the whole load.
4. ``_tickers_of`` takes symbols from the symbol column, else from the file's name.
5. ``_assemble`` puts all rows into one ``LoadedBars``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError, UnreadableFileError
from quant_engine.core.panel import PriceBasis
from quant_engine.core.registry import PluginMetadata
from quant_engine.data.bars import (
    OPTIONAL_FIELDS,
    REQUIRED_FIELDS,
    Fault,
    LoadedBars,
    canonical_ticker,
    ticker_from_filename,
)
from quant_engine.data.dates import DateColumn, DateReader, ambiguous_order, shared_order
from quant_engine.data.providers.files import (
    FILE_SUFFIXES,
    FileColumns,
    TextColumn,
    is_market_file,
    read_market_file,
)
from quant_engine.data.providers.registry import PROVIDERS, Availability, BarQuery, Provider

__all__ = ["LocalConfig", "LocalProvider", "list_market_files", "load_folder", "read_folder"]

# A daily file may carry clock times (a vendor's closing stamp) but at most a few repeated days;
# more stamps than days means bars inside the day.
_INTRADAY_RATIO = 1.05

# New York's two offsets seen in different files are still one zone.
_ZONE_NAMES = {
    "None": "no zone",
    "-05:00": "New York",
    "-04:00": "New York",
    "America/New_York": "New York",
    "UTC": "+00:00",
}


class LocalConfig(FrozenConfig):
    """How to read a folder of bars.

    Parameters
    ----------
    columns : dict of str to str
        Canonical name -> the source's own column name, for spellings that are not recognised.
    date_format : str or None
        Such as ``DD-MM-YYYY``; needed only where day and month cannot be told apart.
    vendor : str
        Name of the source in reports and reconciliation.
    price_basis : PriceBasis
        What the prices are adjusted for. Split-adjusted is what most free sources publish.
    pattern : str
        Only files whose name matches this shell pattern are read.

    Examples
    --------
    >>> LocalConfig(columns={"close": "Last"}).price_basis.value
    'split_adj'
    """

    columns: dict[str, str] = Field(default_factory=dict)
    date_format: str | None = None
    vendor: str = "local"
    price_basis: PriceBasis = PriceBasis.SPLIT_ADJ
    pattern: str = "*"


@dataclass(frozen=True)
class _Dated:
    """A file whose sessions and symbols are known; codes point into `tickers`."""

    file: FileColumns
    sessions: npt.NDArray[np.datetime64]
    pattern: str
    tickers: tuple[str, ...]
    codes: npt.NDArray[np.int64] | None


@dataclass(frozen=True)
class LocalProvider:
    """Provider of a person's own files.

    Parameters
    ----------
    path : Path
        Folder or file.
    config : LocalConfig
        How to read it.
    """

    path: Path
    config: LocalConfig
    name: str = "local"

    def available(self) -> Availability:
        """Tell whether the path exists."""
        if self.path.exists():
            return Availability(True)
        return Availability(False, f"path {self.path.name} does not exist")

    def load(self, query: BarQuery) -> LoadedBars:
        """Load the folder and keep what was asked for."""
        return query.apply(load_folder(self.path, self.config))


@PROVIDERS.register(
    "local",
    metadata=PluginMetadata(
        summary="A folder or file of daily bars: CSV, TXT (also .gz), Parquet, Feather.",
        params=LocalConfig,
        test_params=({}, {"columns": {"close": "Last"}}),
    ),
)
def local_provider(config: FrozenConfig, path: Path | None) -> Provider:
    """Build the local provider; ConfigError when no path was given."""
    if path is None or not isinstance(config, LocalConfig):
        raise ConfigError(
            "path",
            wanted="a folder or file of bars for the provider 'local'",
            got=path,
            hint="Give it with --path PATH.",
        )
    return LocalProvider(path, config)


def load_folder(path: Path, config: LocalConfig | None = None) -> LoadedBars:
    r"""Load every bar below a folder, or of one file.

    Parameters
    ----------
    path : Path
        Folder or file.
    config : LocalConfig, optional
        Column mapping, date format, vendor, basis.

    Returns
    -------
    LoadedBars
        All rows, faults included; files without rows are listed in ``faults``.

    Raises
    ------
    DataError
        For the first file that cannot be used, or when no usable row is left.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "AAPL.csv").write_text(
    ...         "Date,Open,High,Low,Close,Volume\n2020-01-02,1,2,1,2,100\n")
    ...     load_folder(Path(folder)).tickers
    ('AAPL',)
    """
    bars, errors = read_folder(path, config or LocalConfig())
    if errors:
        raise errors[0]
    if bars is None or not (bars.frame["close"] > 0).any():
        raise no_rows(path.name)
    return bars


def read_folder(path: Path, config: LocalConfig) -> tuple[LoadedBars | None, list[DataError]]:
    """Read a folder and return what is usable together with every error met.

    Parameters
    ----------
    path : Path
        Folder or file.
    config : LocalConfig
        How to read it.

    Returns
    -------
    bars : LoadedBars or None
        Rows of the files that could be read; None when there are none.
    errors : list of DataError
        One per file that could not be used, in name order.
    """
    faults: list[Fault] = []
    errors: list[DataError] = []
    files: list[FileColumns] = []
    for name, file_path in list_market_files(path, config.pattern):
        try:
            files.append(read_market_file(file_path, name, config.columns))
        except EmptyDataError as error:
            faults.append(Fault(name, "empty_file", "skipped", str(error.got)))
        except DataError as error:
            errors.append(error)
    dated = _date_all(files, config.date_format, faults, errors)
    if not dated:
        return None, errors
    _note_symbols(dated, faults)
    return _assemble(dated, config, faults), errors


def list_market_files(path: Path, pattern: str = "*") -> list[tuple[str, Path]]:
    """Find the files that may hold bars.

    Parameters
    ----------
    path : Path
        Folder, searched through its subfolders, or one file.
    pattern : str
        Shell pattern on the file's name.

    Returns
    -------
    list of (str, Path)
        Name relative to the folder with forward slashes, and path; sorted by name.

    Raises
    ------
    UnreadableFileError
        When `path` does not exist.
    EmptyDataError
        When a folder holds no file with a known ending.
    """
    if path.is_file():
        return [(path.name, path)]
    if not path.is_dir():
        raise UnreadableFileError(
            "path",
            wanted="a folder or file that exists",
            got=path.name,
            hint="Check the path; relative paths start at the working folder.",
        )
    found = sorted(
        (file.relative_to(path).as_posix(), file)
        for file in path.rglob(pattern)
        if file.is_file() and is_market_file(file.name)
    )
    if not found:
        raise EmptyDataError(
            f"folder {path.name}",
            wanted=f"files ending in {', '.join(FILE_SUFFIXES)}",
            got="none",
            hint="Give the folder that holds one file per symbol, or one long file.",
        )
    return found


def no_rows(name: str) -> EmptyDataError:
    """Compose the error for a load without a usable row.

    Parameters
    ----------
    name : str
        Name of the folder or file.

    Returns
    -------
    EmptyDataError
        Ready to raise.
    """
    return EmptyDataError(
        f"bars of {name}",
        wanted="at least one usable row",
        got="none",
        hint="Look at the faults that a dry run lists.",
    )


def _date_all(
    files: Sequence[FileColumns],
    date_format: str | None,
    faults: list[Fault],
    errors: list[DataError],
) -> list[_Dated]:
    """Give every file its sessions and symbols; files that refuse go to `errors`."""
    reader = DateReader(date_format)
    columns: dict[str, DateColumn] = {}
    for file in files:
        if isinstance(file.dates, TextColumn):
            try:
                columns[file.record.name] = reader.read(file.dates.values, source=file.record.name)
            except DataError as error:
                errors.append(error)
    order = shared_order(columns.values())
    undecided = [name for name, column in columns.items() if column.needs_order]
    if undecided and order is None:
        errors.append(ambiguous_order(undecided))
        columns = {k: v for k, v in columns.items() if k not in set(undecided)}
    dated: list[_Dated] = []
    for file in files:
        try:
            sessions = _sessions_of(file, columns, reader, order)
            if sessions is not None:
                column = columns.get(file.record.name)
                pattern = column.pattern(order) if column else "typed dates"
                dated.append(_Dated(file, sessions, pattern, *_tickers_of(file, faults)))
        except DataError as error:
            errors.append(error)
    _check_zones(files, columns, errors)
    return dated


def _sessions_of(
    file: FileColumns, columns: dict[str, DateColumn], reader: DateReader, order: str | None
) -> npt.NDArray[np.datetime64] | None:
    name = file.record.name
    if isinstance(file.dates, TextColumn):
        column = columns.get(name)
        if column is None:
            return None
        distinct = reader.sessions(column, order)
        if column.has_times:
            _refuse_intraday(len(distinct), len(np.unique(distinct)), name)
        return distinct[file.dates.codes]
    sessions = file.dates.astype("datetime64[D]")
    _refuse_intraday(len(np.unique(file.dates)), len(np.unique(sessions)), name)
    return sessions


def _refuse_intraday(n_stamps: int, n_sessions: int, name: str) -> None:
    if n_stamps > _INTRADAY_RATIO * n_sessions + 1:
        raise DataError(
            f"dates of {name}",
            wanted="one bar per session",
            got=f"{n_stamps} time stamps on {n_sessions} dates",
            hint="Resample the file to daily bars first.",
        )


def _check_zones(
    files: Sequence[FileColumns], columns: dict[str, DateColumn], errors: list[DataError]
) -> None:
    """Refuse a load in which files state different time zones."""
    zones: dict[str, str] = {}
    for file in files:
        column = columns.get(file.record.name)
        if column is not None:
            offsets = {part.offset for part in column.parts}
            zone = "New York" if len(offsets) > 1 else next(iter(offsets))
        elif isinstance(file.dates, TextColumn):
            continue
        else:
            zone = file.zone
        zones.setdefault(_ZONE_NAMES.get(str(zone), str(zone)), file.record.name)
    if len(zones) > 1:
        errors.append(
            DataError(
                "dates",
                wanted="one time zone in a load",
                got=", ".join(f"{zone} in {name}" for zone, name in sorted(zones.items())[:3]),
                hint="Convert all files to one zone, or to plain session dates.",
            )
        )


def _tickers_of(
    file: FileColumns, faults: list[Fault]
) -> tuple[tuple[str, ...], npt.NDArray[np.int64] | None]:
    """Return the file's symbols and, for files with several rows' symbols, the codes."""
    name = file.record.name
    if file.symbols is not None:
        try:
            return tuple(canonical_ticker(v) for v in file.symbols.values), file.symbols.codes
        except DataError as error:
            # A column called Name often holds the company's name; then the file name counts.
            if file.columns["symbol"].strip().lower() != "name":
                raise _bad_symbol(name, error) from error
            message = f"column {file.columns['symbol']!r} holds no symbols; file name used"
            faults.append(Fault(name, "symbol_column_ignored", "noted", message))
    try:
        return (ticker_from_filename(name),), None
    except DataError as error:
        raise _bad_symbol(name, error) from error


def _bad_symbol(name: str, error: DataError) -> DataError:
    return DataError(f"symbol of {name}", wanted=error.wanted, got=error.got, hint=error.hint)


def _note_symbols(dated: Sequence[_Dated], faults: list[Fault]) -> None:
    """Note symbols found in several files and files whose name and symbol column disagree."""
    owners = Counter(ticker for item in dated for ticker in set(item.tickers))
    for ticker in sorted(t for t, count in owners.items() if count > 1):
        names = [item.file.record.name for item in dated if ticker in item.tickers]
        if all(len(item.tickers) == 1 for item in dated if ticker in item.tickers):
            message = f"{ticker} is in {len(names)} files: {', '.join(names[:3])}"
            faults.append(Fault("", "symbol_in_several_files", "noted", message))
    single = [item for item in dated if item.codes is not None and len(item.tickers) == 1]
    named = {item.file.record.name: _name_ticker(item.file.record.name) for item in single}
    agree = [item for item in single if named[item.file.record.name] == item.tickers[0]]
    if agree:
        for item in single:
            expected = named[item.file.record.name]
            if expected != item.tickers[0]:
                message = f"file is named {expected} but its rows say {item.tickers[0]}"
                fault = Fault(item.file.record.name, "symbol_mismatch", "noted", message)
                faults.append(fault)


def _name_ticker(name: str) -> str | None:
    try:
        return ticker_from_filename(name)
    except DataError:
        return None


def _assemble(dated: Sequence[_Dated], config: LocalConfig, faults: list[Fault]) -> LoadedBars:
    vocabulary = {t: i for i, t in enumerate(sorted({t for d in dated for t in d.tickers}))}
    codes = []
    for item in dated:
        lookup = np.array([vocabulary[t] for t in item.tickers], dtype=np.int64)
        n_rows = item.file.record.n_rows
        codes.append(np.full(n_rows, lookup[0]) if item.codes is None else lookup[item.codes])
    fields = {}
    for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS):
        if any(name in item.file.values for item in dated):
            blank = {item.file.record.n_rows for item in dated}
            empty = np.full(max(blank), np.nan)
            fields[name] = np.concatenate(
                [item.file.values.get(name, empty[: item.file.record.n_rows]) for item in dated]
            )
    columns: dict[str, str] = {}
    for item in dated:
        columns = {**item.file.columns, **columns}
    return LoadedBars.from_columns(
        ticker=pd.Categorical.from_codes(np.concatenate(codes), list(vocabulary)),
        session=np.concatenate([item.sessions for item in dated]),
        fields=fields,
        vendor=config.vendor,
        price_basis=config.price_basis,
        details={
            "sources": tuple(item.file.record for item in dated),
            "columns": columns,
            "faults": tuple(faults),
            "date_pattern": " and ".join(sorted({item.pattern for item in dated})),
        },
    )

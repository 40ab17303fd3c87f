"""Scan: what a folder holds and what is wrong with it, without building anything (dry run)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import EmptyDataError
from quant_engine.data.bars import Fault, LoadedBars
from quant_engine.data.providers.local import LocalConfig, read_folder

__all__ = ["ScanReport", "scan"]

_SHOWN = 12


@dataclass(frozen=True, eq=False)
class ScanReport:
    """What a load would give.

    Parameters
    ----------
    vendor : str
        Name of the source.
    n_files, n_rows : int
        Files and rows that are usable.
    columns : mapping of str to str
        Canonical name -> the source's spelling.
    date_pattern : str
        How dates are written.
    first, last : str
        First and last session, ISO.
    symbols : DataFrame
        Indexed by ticker: ``n_rows``, ``first``, ``last``, ``coverage_frac`` (rows on sessions
        over sessions between the symbol's first and last one).
    coverage_frac : float
        Median of ``coverage_frac``.
    faults : tuple of Fault
        Everything skipped, noticed or refused, in file order.
    """

    vendor: str
    n_files: int
    n_rows: int
    columns: Mapping[str, str]
    date_pattern: str
    first: str
    last: str
    symbols: pd.DataFrame
    coverage_frac: float
    faults: tuple[Fault, ...]

    @property
    def ok(self) -> bool:
        """Whether a load would succeed (nothing was refused)."""
        return not any(fault.action == "refused" for fault in self.faults)

    def as_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "vendor": self.vendor,
            "ok": self.ok,
            "n_files": self.n_files,
            "n_rows": self.n_rows,
            "n_symbols": len(self.symbols),
            "columns": dict(self.columns),
            "date_pattern": self.date_pattern,
            "first": self.first,
            "last": self.last,
            "coverage_frac": self.coverage_frac,
            "faults": [vars(fault) for fault in self.faults],
        }

    def text(self) -> str:
        """Return the report as lines for a terminal."""
        mapping = ", ".join(f"{name} = {spelling}" for name, spelling in self.columns.items())
        lines = [
            f"{self.n_rows:,} rows of {len(self.symbols):,} symbols in {self.n_files:,} files, "
            f"{self.first} to {self.last}",
            f"columns: {mapping}",
            f"dates: {self.date_pattern}",
            f"median coverage of sessions: {self.coverage_frac:.2%}",
            f"faults: {len(self.faults)}",
        ]
        lines += [f"  {fault}" for fault in self.faults[:_SHOWN]]
        if len(self.faults) > _SHOWN:
            lines.append(f"  and {len(self.faults) - _SHOWN} more")
        lines.append("usable" if self.ok else "not usable as it is: see the refused files")
        return "\n".join(lines)


def scan(path: Path, config: LocalConfig | None = None, *, calendar: str = "XNYS") -> ScanReport:
    r"""Look at a folder and report what a load would find.

    Parameters
    ----------
    path : Path
        Folder or file.
    config : LocalConfig, optional
        How to read it.
    calendar : str
        Exchange whose sessions count for coverage.

    Returns
    -------
    ScanReport
        Also when some files are refused, so that all faults are seen at once.

    Raises
    ------
    EmptyDataError
        When there is no usable row at all.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "AAPL.csv").write_text(
    ...         "Date,Open,High,Low,Close,Volume\n2020-01-02,1,2,1,2,100\n")
    ...     print(scan(Path(folder)).text().splitlines()[0])
    1 rows of 1 symbols in 1 files, 2020-01-02 to 2020-01-02
    """
    settings = config or LocalConfig()
    bars, errors = read_folder(path, settings)
    if bars is None or not (bars.frame["close"] > 0).any():
        raise EmptyDataError(
            f"bars of {path.name}",
            wanted="at least one usable row",
            got=f"none ({errors[0]})" if errors else "none",
            hint="Correct the files named here.",
        )
    refused = tuple(
        Fault(str(error.parameter), error.code, "refused", str(error)) for error in errors
    )
    symbols = _symbols(bars, calendar)
    sessions = bars.frame["session"]
    return ScanReport(
        vendor=bars.vendor,
        n_files=len(bars.sources),
        n_rows=bars.n_rows,
        columns=bars.columns,
        date_pattern=bars.date_pattern,
        first=str(sessions.min().date()),
        last=str(sessions.max().date()),
        symbols=symbols,
        coverage_frac=float(symbols["coverage_frac"].median()),
        faults=(*bars.faults, *refused),
    )


def _symbols(bars: LoadedBars, calendar: str) -> pd.DataFrame:
    frame = bars.frame
    days = frame["session"].to_numpy().astype("datetime64[D]")
    axis = sessions_between(calendar, days.min(), days.max())
    on_session = np.isin(days, axis)
    rows = frame.assign(on_session=on_session).groupby("ticker", observed=True)
    table = rows.agg(n_rows=("session", "size"), first=("session", "min"), last=("session", "max"))
    # Repeated sessions must not count twice.
    unique = frame[on_session].drop_duplicates(["ticker", "session"])
    present = unique.groupby("ticker", observed=True).size().reindex(table.index, fill_value=0)
    first = np.searchsorted(axis, table["first"].to_numpy().astype("datetime64[D]"))
    last = np.searchsorted(axis, table["last"].to_numpy().astype("datetime64[D]"), side="right")
    table["coverage_frac"] = present.to_numpy() / np.maximum(last - first, 1)
    return table

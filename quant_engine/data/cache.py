"""Bar cache: one Parquet file per asset with a sidecar that says where it came from.

``{ID}_1d.parquet`` for daily bars, ``{ID}_{timeframe}_{start}_{end}.parquet`` for shorter ones, and
beside each ``.meta.json``: source, permno, ticker, rows, date range, time of the fetch, quality,
SHA-256 of the data file. Both files are replaced atomically under one lock; a sidecar whose digest
does not fit its data (a crash between the two) makes the entry unusable until it is rebuilt, and a
person's own ``{ID}_1d.csv`` is read where no Parquet file exists.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock
from pydantic import Field

from quant_engine.artifacts.files import read_json, write_atomic, write_json
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, IntegrityError
from quant_engine.core.hashing import sha256_file
from quant_engine.core.ids import asset_id, ticker_of
from quant_engine.core.panel import PriceBasis
from quant_engine.core.specs import build_config
from quant_engine.data.bars import OPTIONAL_FIELDS, REQUIRED_FIELDS, LoadedBars
from quant_engine.data.providers.local import LocalConfig, load_folder

__all__ = ["TIMEFRAMES", "BarCache", "CacheEntry", "CacheMeta", "cache_stem"]

TIMEFRAMES = ("1d", "4h", "1h", "30m", "15m", "5m", "1m")
_META = ".meta.json"
_DAILY = re.compile(r"(?P<id>.+)_1d")
UNKNOWN_SOURCE = "unknown"


class CacheMeta(FrozenConfig):
    """The sidecar of one cached series.

    Parameters
    ----------
    asset_id, ticker : str
        Identity and display symbol.
    permno : str
        PERMNO digits, empty where unknown.
    source : str
        Provider that gave the bars; decides trust.
    price_basis : PriceBasis
        What the prices are adjusted for.
    timeframe : str
        ``1d``, ``4h``, ``1h``, ``30m``, ``15m``, ``5m`` or ``1m``.
    rows : int
        Bars in the file.
    first, last : date
        Range of the bars.
    fetched_at : datetime
        When the provider answered (UTC).
    quality : dict
        Profile and counts of findings at the time of the fetch; empty where not known.
    sha256 : str
        Digest of the data file.
    """

    schema_version: Literal["qe.bars/1"] = "qe.bars/1"
    asset_id: str
    ticker: str
    permno: str = ""
    source: str
    price_basis: PriceBasis
    timeframe: Literal["1d", "4h", "1h", "30m", "15m", "5m", "1m"] = "1d"
    rows: int = Field(ge=1)
    first: date
    last: date
    fetched_at: datetime
    quality: dict[str, Any] = Field(default_factory=dict)
    sha256: str


@dataclass(frozen=True, eq=False)
class CacheEntry:
    """A cached series with its sidecar."""

    meta: CacheMeta
    bars: LoadedBars


def cache_stem(
    identifier: str,
    timeframe: str = "1d",
    *,
    start: date | None = None,
    end: date | None = None,
) -> str:
    """Return the file name (without ending) of a cached series.

    Parameters
    ----------
    identifier : str
        asset_id; the plain ticker is used where the identifier says no more than it.
    timeframe : str
        One of `TIMEFRAMES`.
    start, end : date, optional
        Range; part of the name of series shorter than a day.

    Returns
    -------
    str

    Examples
    --------
    >>> cache_stem("AAPL@US#1"), cache_stem("14593"), cache_stem("BRK/B@US#2")
    ('AAPL_1d', '14593_1d', 'BRK%2FB@US#2_1d')
    >>> cache_stem("AAPL@US#1", "5m", start=date(2024, 1, 2), end=date(2024, 1, 31))
    'AAPL_5m_2024-01-02_2024-01-31'
    """
    ticker = ticker_of(identifier)
    plain = ticker if ticker == identifier or asset_id(ticker) == identifier else identifier
    name = quote(plain, safe="@#.-_^=+")
    if timeframe == "1d":
        return f"{name}_1d"
    return f"{name}_{timeframe}_{start}_{end}"


@dataclass(frozen=True)
class BarCache:
    """Series on disk by asset.

    Parameters
    ----------
    root : Path
        Folder of the cache; made when first written.
    """

    root: Path

    def write(
        self, bars: LoadedBars, *, source: str, fetched_at: datetime, quality: dict[str, Any]
    ) -> CacheMeta:
        """Store the daily bars of one asset, replacing what was there.

        Parameters
        ----------
        bars : LoadedBars
            Of exactly one asset, cleaned.
        source : str
            Provider that gave them.
        fetched_at : datetime
            When, UTC.
        quality : dict
            Summary of the quality report.

        Returns
        -------
        CacheMeta

        Raises
        ------
        DataError
            For several assets or no row.
        """
        if len(bars.asset_ids) != 1 or bars.n_rows == 0:
            raise DataError(
                "bars",
                wanted="rows of one asset",
                got=f"{bars.n_rows} rows of {len(bars.asset_ids)} assets",
                hint="Write one asset at a time.",
            )
        fields = [n for n in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS) if n in bars.frame]
        table = pa.Table.from_pandas(bars.frame[["session", *fields]], preserve_index=False)
        stream = io.BytesIO()
        pq.write_table(table, stream, compression="zstd")
        identifier = bars.asset_ids[0]
        path = self.root / f"{cache_stem(identifier)}.parquet"
        with self._lock():
            write_atomic(path, stream.getvalue())
            meta = _meta(bars, source, fetched_at, quality, sha256_file(path))
            write_json(_sidecar(path), meta.content())
        return meta

    def read(self, identifier: str) -> CacheEntry | None:
        """Return a cached daily series, or None when there is none that is whole.

        Parameters
        ----------
        identifier : str
            asset_id.

        Returns
        -------
        CacheEntry or None
            None for an absent file, an absent sidecar, or a digest that does not fit.
        """
        path = self._data_file(identifier)
        if path is None or not _sidecar(path).is_file():
            return None
        try:
            meta = build_config(CacheMeta, read_json(_sidecar(path)), where=_sidecar(path).name)
        except IntegrityError:
            return None
        if meta.sha256 != sha256_file(path):
            return None
        return CacheEntry(meta, _read_bars(path, meta))

    def index(self) -> dict[str, str]:
        """Return ticker -> asset_id of the daily series; a PERMNO wins over a bare ticker."""
        found: dict[str, str] = {}
        for sidecar in sorted(self.root.glob(f"*_1d{_META}")):
            content = read_json(sidecar)
            ticker, identifier = str(content["ticker"]), str(content["asset_id"])
            if identifier.isdigit() or ticker not in found:
                found[ticker] = identifier
        return found

    def rebuild_sidecars(self, *, source: str = UNKNOWN_SOURCE) -> tuple[CacheMeta, ...]:
        """Write sidecars for daily files whose sidecar is absent, damaged or of other bytes.

        Parameters
        ----------
        source : str
            Source to record; ``"unknown"`` is trusted by nobody.

        Returns
        -------
        tuple of CacheMeta
            The sidecars written. ``fetched_at`` is the file's own time stamp, so that an old file
            does not look fresh.
        """
        written = []
        with self._lock():
            for path in sorted([*self.root.glob("*.parquet"), *self.root.glob("*.csv")]):
                match = _DAILY.fullmatch(path.stem)
                if match is None or self._is_whole(path):
                    continue
                bars = _read_file(path, match["id"])
                stamp = datetime.fromtimestamp(path.stat().st_mtime, UTC)
                meta = _meta(bars, source, stamp, {}, sha256_file(path))
                write_json(_sidecar(path), meta.content())
                written.append(meta)
        return tuple(written)

    def _data_file(self, identifier: str) -> Path | None:
        stem = cache_stem(identifier)
        for ending in (".parquet", ".csv"):
            path = self.root / f"{stem}{ending}"
            if path.is_file():
                return path
        return None

    def _is_whole(self, path: Path) -> bool:
        if not _sidecar(path).is_file():
            return False
        try:
            return bool(read_json(_sidecar(path)).get("sha256") == sha256_file(path))
        except IntegrityError:
            return False

    def _lock(self) -> FileLock:
        self.root.mkdir(parents=True, exist_ok=True)
        return FileLock(self.root / ".cache.lock")


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.stem}{_META}")


def _meta(
    bars: LoadedBars, source: str, fetched_at: datetime, quality: dict[str, Any], sha256: str
) -> CacheMeta:
    identifier = bars.asset_ids[0]
    sessions = bars.frame["session"]
    return CacheMeta(
        asset_id=identifier,
        ticker=bars.tickers[0],
        permno=identifier if identifier.isdigit() else "",
        source=source,
        price_basis=bars.price_basis,
        rows=bars.n_rows,
        first=sessions.min().date(),
        last=sessions.max().date(),
        fetched_at=fetched_at,
        quality=quality,
        sha256=sha256,
    )


def _read_bars(path: Path, meta: CacheMeta) -> LoadedBars:
    loaded = _read_file(path, meta.ticker)
    return LoadedBars.from_columns(
        ticker=[meta.ticker] * loaded.n_rows,
        session=loaded.frame["session"].to_numpy(),
        fields={
            n: loaded.frame[n].to_numpy()
            for n in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
            if n in loaded.frame
        },
        vendor=meta.source,
        price_basis=meta.price_basis,
        details={"asset_ids": {meta.ticker: meta.asset_id}, "sources": loaded.sources},
    )


def _read_file(path: Path, ticker: str) -> LoadedBars:
    bars = load_folder(path, LocalConfig(vendor=UNKNOWN_SOURCE))
    return LoadedBars.from_columns(
        ticker=pd.Categorical([ticker] * bars.n_rows),
        session=bars.frame["session"].to_numpy(),
        fields={n: bars.frame[n].to_numpy() for n in bars.frame.columns[3:]},
        vendor=UNKNOWN_SOURCE,
        price_basis=bars.price_basis,
        details={
            "asset_ids": {ticker: ticker if ticker.isdigit() else asset_id(ticker)},
            "sources": bars.sources,
        },
    )

"""Pystock drops: one archive per day, each with raw prices and Yahoo's adjusted close of two days.

Every drop holds ``prices.csv`` (``symbol,date,open,high,low,close,volume,adj_close``). A symbol-day
arrives twice by design, in the drop of its own day and in the next one, and is sometimes restated.
``load_pystock(..., known_by=day)`` answers what was known by the evening of a day; without it the
newest statement wins. Nothing is overwritten: ``restatements`` lists every value that changed.
"""

from __future__ import annotations

import io
import re
import tarfile
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    EmptyDataError,
    MissingFieldError,
    UnreadableFileError,
)
from quant_engine.core.hashing import sha256_bytes
from quant_engine.core.panel import PriceBasis
from quant_engine.core.registry import PluginMetadata
from quant_engine.data.bars import Fault, LoadedBars, SourceRecord, canonical_ticker
from quant_engine.data.providers.registry import PROVIDERS, Availability, BarQuery, Provider

__all__ = [
    "PystockConfig",
    "PystockProvider",
    "drop_returns",
    "load_pystock",
    "read_drops",
    "restatements",
]

_NAME = re.compile(r"(\d{8})\.tar\.gz")
_PRICES = ("open", "high", "low", "close", "volume", "adj_close")


class PystockConfig(FrozenConfig):
    """How drops are read.

    Parameters
    ----------
    known_by : date or None
        Only drops of this day and before; None = all.

    Examples
    --------
    >>> PystockConfig().known_by is None
    True
    """

    known_by: date | None = None


def read_drops(
    folder: Path, known_by: date | None = None
) -> tuple[pd.DataFrame, tuple[SourceRecord, ...], tuple[Fault, ...]]:
    """Read the price rows of all drops, each stamped with the day it became known.

    Parameters
    ----------
    folder : Path
        Folder of ``YYYYMMDD.tar.gz`` files.
    known_by : date, optional
        Last drop to read.

    Returns
    -------
    rows : DataFrame
        ``ticker, session, known_date`` and the price columns; sorted by ticker, session and
        known date.
    sources : tuple of SourceRecord
        One per drop.
    faults : tuple of Fault
        Drops without ``prices.csv`` (holidays) and rows left out.

    Raises
    ------
    EmptyDataError
        When there is no drop or no row.
    UnreadableFileError
        For a damaged archive.
    """
    blocks, sources, faults = [], [], []
    for path in sorted(folder.glob("*.tar.gz")):
        match = _NAME.fullmatch(path.name)
        if match is None:
            continue
        day = datetime.strptime(match[1], "%Y%m%d").date()  # noqa: DTZ007  a session date
        if known_by is not None and day > known_by:
            continue
        raw = path.read_bytes()
        content = _member(raw, "prices.csv", path.name)
        block = None if content is None else _parse(content, path.name)
        n_rows = 0 if block is None else len(block)
        sources.append(SourceRecord(path.name, len(raw), sha256_bytes(raw), n_rows))
        if block is None or block.empty:
            faults.append(Fault(path.name, "no_prices", "skipped", "no price rows in the drop"))
        else:
            blocks.append(block.assign(known_date=pd.Timestamp(day)))
    if not blocks:
        raise EmptyDataError(
            f"folder {folder.name}",
            wanted="drops named YYYYMMDD.tar.gz with prices.csv",
            got="none",
            hint="Give the folder of the archives.",
        )
    rows = pd.concat(blocks, ignore_index=True)
    rows = rows.sort_values(["ticker", "session", "known_date"], ignore_index=True)
    return rows, tuple(sources), tuple(faults)


def restatements(rows: pd.DataFrame) -> pd.DataFrame:
    """List symbol-days whose raw values differ between drops.

    Parameters
    ----------
    rows : DataFrame
        From `read_drops`.

    Returns
    -------
    DataFrame
        ``ticker, session, field, known_date`` (of the later drop), ``before, after``. The adjusted
        close is not compared: it changes whenever a dividend is paid.
    """
    key = ["ticker", "session"]
    earlier = rows.groupby(key, sort=False)
    parts = []
    for name in _PRICES[:-1]:
        before = earlier[name].shift()
        changed = before.notna() & rows[name].notna() & (rows[name] != before)
        part = rows.loc[changed, [*key, "known_date"]]
        parts.append(part.assign(field=name, before=before[changed], after=rows.loc[changed, name]))
    table = pd.concat(parts, ignore_index=True)
    return table.sort_values([*key, "field"], ignore_index=True)


def drop_returns(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns from the day before to the day of each drop, both prices from that one drop.

    Adjusted closes of one drop share a basis; of two drops they may not. The difference of both
    columns is the dividend of the day.

    Parameters
    ----------
    rows : DataFrame
        From `read_drops`.

    Returns
    -------
    DataFrame
        Indexed by (ticker, session): ``price_return`` (raw close to raw close) and
        ``total_return`` (adjusted close to adjusted close), simple fractions.
    """
    ordered = rows.sort_values(["ticker", "known_date", "session"], kind="stable")
    pair = ordered.groupby(["ticker", "known_date"], sort=False)
    both = pair["session"].shift().notna()
    table = pd.DataFrame(
        {
            "price_return": ordered["close"] / pair["close"].shift() - 1,
            "total_return": ordered["adj_close"] / pair["adj_close"].shift() - 1,
        }
    )
    table.index = pd.MultiIndex.from_frame(ordered[["ticker", "session"]])
    table = table[both.to_numpy()]
    return table[~table.index.duplicated(keep="last")].sort_index()


def load_pystock(folder: Path, config: PystockConfig | None = None) -> LoadedBars:
    """Load the newest statement of every symbol-day.

    Parameters
    ----------
    folder : Path
        Folder of drops.
    config : PystockConfig, optional
        Last drop that counts.

    Returns
    -------
    LoadedBars
        Raw prices, with ``adj_close`` as of the drop that states it. Adjusted closes of different
        drops are on different bases; compare returns inside a drop, or use raw prices.
    """
    settings = config or PystockConfig()
    rows, sources, faults = read_drops(folder, settings.known_by)
    newest = rows.drop_duplicates(["ticker", "session"], keep="last")
    return LoadedBars.from_columns(
        ticker=pd.Categorical(newest["ticker"]),
        session=newest["session"],
        fields={name: newest[name].to_numpy() for name in _PRICES},
        vendor="yahoo_pystock",
        price_basis=PriceBasis.RAW,
        details={
            "sources": sources,
            "faults": faults,
            "columns": {"symbol": "symbol", "date": "date", **{n: n for n in _PRICES}},
            "date_pattern": "YYYY-MM-DD",
        },
    )


@dataclass(frozen=True)
class PystockProvider:
    """Provider of a folder of daily drops.

    Parameters
    ----------
    path : Path
        The folder.
    config : PystockConfig
        Last drop that counts.
    """

    path: Path
    config: PystockConfig
    name: str = "pystock"

    def available(self) -> Availability:
        """Tell whether the folder exists."""
        exists = self.path.is_dir()
        return Availability(exists, "" if exists else f"no folder {self.path.name}")

    def load(self, query: BarQuery) -> LoadedBars:
        """Load the drops and keep what was asked for."""
        return query.apply(load_pystock(self.path, self.config))


@PROVIDERS.register(
    "pystock",
    metadata=PluginMetadata(
        summary="Folder of daily pystock drops: raw prices, every statement kept.",
        params=PystockConfig,
        test_params=({}, {"known_by": "2015-07-31"}),
    ),
)
def pystock_provider(config: FrozenConfig, path: Path | None) -> Provider:
    """Build the pystock provider; ConfigError when no folder was given."""
    if path is None:
        raise ConfigError(
            "path", wanted="a folder of drops", got=None, hint="Give it with --path PATH."
        )
    return PystockProvider(path, PystockConfig.model_validate(config.content()))


def _member(raw: bytes, wanted: str, name: str) -> bytes | None:
    try:
        with tarfile.open(fileobj=io.BytesIO(raw), mode="r:gz") as archive:
            for item in archive:
                if item.isfile() and item.name.rsplit("/", 1)[-1] == wanted:
                    stream = archive.extractfile(item)
                    return None if stream is None else stream.read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise UnreadableFileError(
            f"file {name}",
            wanted="a readable tar.gz archive",
            got=str(error),
            hint="Download it again or take it out of the folder.",
        ) from error
    return None


def _parse(content: bytes, name: str) -> pd.DataFrame | None:
    if not content.strip():
        return None
    types = {"symbol": pa.string(), "date": pa.date32(), **dict.fromkeys(_PRICES, pa.float64())}
    try:
        table = pacsv.read_csv(
            pa.BufferReader(content),
            convert_options=pacsv.ConvertOptions(
                column_types=types, include_columns=list(types), strings_can_be_null=False
            ),
        )
    except KeyError as error:
        raise MissingFieldError(
            f"columns of prices.csv in {name}",
            wanted=", ".join(types),
            got=str(error),
            hint="This is not a pystock drop.",
        ) from error
    except pa.ArrowInvalid as error:
        raise UnreadableFileError(
            f"prices.csv in {name}",
            wanted="a price table",
            got=str(error).splitlines()[0],
            hint="Download it again or take it out of the folder.",
        ) from error
    frame = table.to_pandas(date_as_object=False)
    spelled = {text: canonical_ticker(text) for text in frame["symbol"].unique()}
    frame["ticker"] = frame["symbol"].map(spelled)
    frame["session"] = frame["date"].astype("datetime64[us]")
    return frame[["ticker", "session", *_PRICES]]

"""Canonical store: reconciled bars on disk, one Parquet file per symbol and year, with lineage.

Layout ``equity_ohlcv/{SYMBOL}/daily/{YEAR}.parquet`` under a root; columns ``session`` (UTC
midnight of the session date), the bar's fields and ``vendor``, the source of each row. Years that
did not change keep their bytes.
"""

from __future__ import annotations

import io
from pathlib import Path
from urllib.parse import quote, unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from quant_engine.artifacts.files import write_atomic
from quant_engine.core.errors import EmptyDataError
from quant_engine.core.panel import PriceBasis
from quant_engine.data.bars import OPTIONAL_FIELDS, REQUIRED_FIELDS, LoadedBars
from quant_engine.data.reconcile import Canonical

__all__ = ["read_canonical", "write_canonical"]

_DOMAIN = "equity_ohlcv"
_BASIS_KEY = b"price_basis"


def write_canonical(canonical: Canonical, root: Path) -> tuple[Path, ...]:
    """Write reconciled bars.

    Parameters
    ----------
    canonical : Canonical
        From `reconcile`.
    root : Path
        Folder of the store.

    Returns
    -------
    tuple of Path
        Files whose bytes changed, sorted.
    """
    frame = canonical.bars.frame.drop(columns="asset_id")
    frame = frame.assign(vendor=canonical.lineage["vendor"].astype(str))
    year = frame["session"].dt.year
    written = []
    for (ticker, number), part in frame.groupby(["ticker", year], observed=True):
        path = root / _DOMAIN / quote(str(ticker), safe="") / "daily" / f"{number}.parquet"
        data = _bytes(part.drop(columns="ticker"), canonical.bars.price_basis)
        if not path.is_file() or path.read_bytes() != data:
            write_atomic(path, data)
            written.append(path)
    return tuple(sorted(written))


def read_canonical(root: Path, tickers: tuple[str, ...] = ()) -> tuple[LoadedBars, pd.DataFrame]:
    """Read reconciled bars back.

    Parameters
    ----------
    root : Path
        Folder of the store.
    tickers : tuple of str
        Only these; all when empty.

    Returns
    -------
    bars : LoadedBars
        Vendor ``"canonical"``.
    lineage : DataFrame
        Parallel to ``bars.frame``: ``ticker, session, vendor``.

    Raises
    ------
    EmptyDataError
        When the store holds none of the symbols.
    """
    parts, bases = [], set()
    for folder in sorted((root / _DOMAIN).glob("*")):
        ticker = unquote(folder.name)
        if tickers and ticker not in tickers:
            continue
        for path in sorted((folder / "daily").glob("*.parquet")):
            table = pq.read_table(path)
            bases.add((table.schema.metadata or {})[_BASIS_KEY].decode())
            parts.append(table.to_pandas().assign(ticker=ticker))
    if not parts:
        raise EmptyDataError(
            "canonical store",
            wanted=f"bars of {', '.join(tickers) or 'any symbol'}",
            got="none",
            hint="Reconcile vendors first.",
        )
    frame = pd.concat(parts, ignore_index=True)
    session = frame["session"].dt.tz_localize(None)
    bars = LoadedBars.from_columns(
        ticker=pd.Categorical(frame["ticker"]),
        session=session,
        fields={
            name: frame[name].to_numpy()
            for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
            if name in frame
        },
        vendor="canonical",
        price_basis=PriceBasis(bases.pop()),
    )
    order = np.argsort(pd.Categorical(frame["ticker"]).codes, kind="stable")
    lineage = bars.frame[["ticker", "session"]].assign(vendor=frame["vendor"].to_numpy()[order])
    return bars, lineage


def _bytes(frame: pd.DataFrame, basis: PriceBasis) -> bytes:
    stamped = frame.assign(session=frame["session"].dt.tz_localize("UTC"))
    table = pa.Table.from_pandas(stamped, preserve_index=False)
    table = table.replace_schema_metadata({_BASIS_KEY: str(basis).encode()})
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd")
    return stream.getvalue()

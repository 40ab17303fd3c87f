"""Which recording a folder holds, and where its quotes come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from quant_engine.core.errors import UnreadableFileError
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.recorder import read_recording
from quant_engine.kalshi.exchange.stream import BookStream
from quant_engine.kalshi.recordings.live import ingest_recording
from quant_engine.kalshi.recordings.macro import ingest_macro_snapshots, ingest_rate_decisions
from quant_engine.kalshi.recordings.snapshots import (
    ingest_book_snapshots,
    ingest_minute_prices,
    ingest_quote_history,
)
from quant_engine.kalshi.recordings.weather import WeatherArchive, ingest_weather
from quant_engine.kalshi.store.database import Checkpoint, KalshiStore

__all__ = ["KINDS", "FolderKind", "folder_kind", "ingest_folder"]

Ingest = Callable[[KalshiStore, Path, DriftLog, Progress], Counter[str]]
JOB = "recording"


@dataclass(frozen=True)
class FolderKind:
    """One form of recordings.

    Parameters
    ----------
    name : str
        In reports.
    pattern : str
        A folder with a file of this pattern is of this kind.
    source : {"quote", "trade", "candle"}
        Where its quotes come from.
    ingest : callable
        Stores it.
    """

    name: str
    pattern: str
    source: str
    ingest: Ingest


def _weather(store: KalshiStore, path: Path, drift: DriftLog, progress: Progress) -> Counter[str]:
    return ingest_weather(store, WeatherArchive(path), drift=drift, progress=progress)


def _decisions(store: KalshiStore, path: Path, drift: DriftLog, _: Progress) -> Counter[str]:
    return ingest_rate_decisions(store, path, drift=drift)


def _history(store: KalshiStore, path: Path, drift: DriftLog, _: Progress) -> Counter[str]:
    return ingest_quote_history(store, path, drift=drift)


def _macro(store: KalshiStore, path: Path, _: DriftLog, __: Progress) -> Counter[str]:
    written = Counter[str]()
    for file in sorted(path.glob("**/*.db")):
        written += ingest_macro_snapshots(store, file)
    return written


def _minutes(store: KalshiStore, path: Path, _: DriftLog, __: Progress) -> Counter[str]:
    return ingest_minute_prices(store, path)


def _books(store: KalshiStore, path: Path, _: DriftLog, __: Progress) -> Counter[str]:
    return ingest_book_snapshots(store, path)


def _own(store: KalshiStore, path: Path, drift: DriftLog, progress: Progress) -> Counter[str]:
    written = Counter[str]()
    for file in sorted(path.glob("*.jsonl.gz")):
        messages = read_recording(file, allow_cut_off=True)
        written += ingest_recording(store, messages, BookStream(drift), progress=progress)
    return written


KINDS: tuple[FolderKind, ...] = (
    FolderKind("temperature ladders", "*/events/*.json.gz", "trade", _weather),
    FolderKind("rate decisions", "data/kalshi_markets.csv", "candle", _decisions),
    FolderKind("quote history", "market_history.json", "quote", _history),
    FolderKind("book snapshots", "market_snapshots/*.parquet", "quote", _books),
    FolderKind("minute prices", "kalshi-price-history-*-minute.csv", "candle", _minutes),
    FolderKind("macro snapshots", "**/*.db", "quote", _macro),
    FolderKind("own recordings", "*.jsonl.gz", "quote", _own),
)
"""Forms that can be read, the most telling pattern first."""


def folder_kind(path: Path) -> FolderKind:
    """Tell what a folder holds by the names of its files.

    Parameters
    ----------
    path : Path
        Folder.

    Returns
    -------
    FolderKind

    Raises
    ------
    UnreadableFileError
        When it holds none of :data:`KINDS`.
    """
    for kind in KINDS:
        if next(path.glob(kind.pattern), None) is not None:
            return kind
    raise UnreadableFileError(
        str(path),
        wanted="a folder with recordings: " + ", ".join(kind.pattern for kind in KINDS),
        got="none of these files",
        hint="Give the folder itself, not the one above it.",
    )


def ingest_folder(
    store: KalshiStore,
    path: Path,
    *,
    drift: DriftLog | None = None,
    progress: Progress = SILENT,
) -> Counter[str]:
    """Store the recordings of a folder; a folder that is stored already is passed over.

    Parameters
    ----------
    store : KalshiStore
        Where.
    path : Path
        Folder of one of :data:`KINDS`.
    drift : DriftLog, optional
        Counts what was not understood.
    progress : Progress
        Told about the work.

    Returns
    -------
    Counter
        New rows by table, and what could not be stored by name.

    Raises
    ------
    UnreadableFileError
        When the folder holds nothing that is known, or a file is damaged.
    """
    kind = folder_kind(path)
    if store.checkpoint(JOB, path.name) is not None:
        return Counter()
    log = DriftLog() if drift is None else drift
    written = kind.ingest(store, path, log, progress)
    newest = store.connection.execute(
        "SELECT coalesce(max(recorded_us), 0) FROM market_v"
    ).fetchall()[0][0]
    store.set_checkpoint(JOB, path.name, Checkpoint(kind.name, 0, int(newest)))
    return +written

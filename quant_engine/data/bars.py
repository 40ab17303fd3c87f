"""Loaded bars: what every provider returns, whatever it read.

``LoadedBars`` is a long frame of daily bars with one spelling of every column, plus the facts that
say where it came from: vendor, price basis, one record per source file (name relative to the
folder, bytes, SHA-256), the column spellings that were recognised and every fault or repair.
It is *not* cleaned: duplicates, null prices, weekend rows and the like are still there, because
finding them is the work of ``data.quality`` and a provider that hides faults cannot be audited.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from quant_engine.core.errors import DataError
from quant_engine.core.hashing import array_digest, canonical_json, sha256_text
from quant_engine.core.ids import asset_id
from quant_engine.core.panel import PriceBasis

__all__ = [
    "KEY_COLUMNS",
    "OPTIONAL_FIELDS",
    "PRICE_FIELDS",
    "REQUIRED_FIELDS",
    "Fault",
    "LoadedBars",
    "SourceRecord",
    "canonical_ticker",
    "ticker_from_filename",
]

PRICE_FIELDS = ("open", "high", "low", "close")
REQUIRED_FIELDS = (*PRICE_FIELDS, "volume")
OPTIONAL_FIELDS = ("adj_close", "dividend", "split_factor", "vwap")
KEY_COLUMNS = ("asset_id", "ticker", "session")

_TICKER = re.compile(r"[A-Z0-9^][A-Z0-9.\-_=^/+&]{0,23}")
_VENUE_PREFIX = re.compile(r"^[A-Z]{2,8}:(?=.)")
_CLASS_SHARE = re.compile(r"^([A-Z]+)[-/ ]([A-Z])$")
_FILE_ENDINGS = re.compile(r"\.(gz|csv|txt|tsv|parquet|pq|feather|arrow)$", re.IGNORECASE)
_FILE_NOISE = re.compile(r"[_\-](data|daily|1d|eod|ohlcv|prices?|history|hist)$", re.IGNORECASE)


@dataclass(frozen=True)
class SourceRecord:
    """One file that a load has read.

    Parameters
    ----------
    name : str
        File name relative to the folder, with forward slashes; never a path of the machine.
    size_bytes : int
        Bytes on disk, before decompression.
    sha256 : str
        Digest of those bytes, hex.
    n_rows : int
        Data rows the file gave (0 for a file with only a header).

    Examples
    --------
    >>> SourceRecord("AAL_data.csv", 61234, "ab" * 32, 1259).n_rows
    1259
    """

    name: str
    size_bytes: int
    sha256: str
    n_rows: int


@dataclass(frozen=True)
class Fault:
    """Something wrong in a source file, and what was done about it.

    Parameters
    ----------
    file : str
        File name relative to the folder, or ``""`` when the fault concerns the whole load.
    rule : str
        Short name of the fault, e.g. ``"empty_file"``.
    action : str
        ``"refused"`` (the load fails), ``"skipped"`` (the file gave nothing) or ``"noted"``.
    message : str
        One sentence for a person.

    Examples
    --------
    >>> print(Fault("AMT.csv", "empty_file", "skipped", "header but no rows"))
    AMT.csv: empty_file (skipped): header but no rows
    """

    file: str
    rule: str
    action: str
    message: str

    def __str__(self) -> str:
        """Return the one-line form used in reports."""
        return f"{self.file or 'whole load'}: {self.rule} ({self.action}): {self.message}"


@dataclass(frozen=True)
class LoadedBars:
    """Daily bars of many symbols as a vendor published them, in one spelling.

    Parameters
    ----------
    frame : DataFrame
        Long: ``asset_id`` and ``ticker`` (categorical), ``session`` (datetime64[us], tz-naive
        date), ``open high low close volume`` and, where the source has them, ``adj_close``,
        ``dividend`` (cash per share on the ex-session), ``split_factor``, ``vwap`` (mean price of
        the session, weighted by volume, in the basis of the other prices); float64, NaN = the
        source gave no value. Rows are grouped by ticker and keep the file's order inside it.
    vendor : str
        Name under which the source is compared with others, e.g. ``"iex_201802"``.
    price_basis : PriceBasis
        What the prices are adjusted for; stated by the caller or the provider, never guessed.
    sources : tuple of SourceRecord
        One per file read, sorted by name.
    columns : mapping of str to str
        Canonical name -> the source's spelling (the first file's where files differ).
    faults : tuple of Fault
        Everything that was skipped or noticed while reading.
    delistings : DataFrame or None
        ``asset_id, last_session, terminal_return, reason`` where the provider knows them.
    date_pattern : str
        How dates were written, e.g. ``"YYYY-MM-DD"``.

    Raises
    ------
    DataError
        When a required column is missing from `frame`.

    Examples
    --------
    >>> bars = LoadedBars.from_columns(
    ...     ticker=["A", "A"], session=["2020-01-02", "2020-01-03"],
    ...     fields={name: [1.0, 2.0] for name in ("open", "high", "low", "close", "volume")},
    ...     vendor="example", price_basis=PriceBasis.SPLIT_ADJ)
    >>> bars.tickers, bars.n_rows
    (('A',), 2)
    """

    frame: pd.DataFrame
    vendor: str
    price_basis: PriceBasis
    sources: tuple[SourceRecord, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()
    date_pattern: str = ""
    delistings: pd.DataFrame | None = None

    def __post_init__(self) -> None:
        missing = [c for c in (*KEY_COLUMNS, *REQUIRED_FIELDS) if c not in self.frame.columns]
        if missing:
            raise DataError(
                "bars",
                wanted=f"columns {', '.join((*KEY_COLUMNS, *REQUIRED_FIELDS))}",
                got=f"no {', '.join(missing)}",
                hint="Build bars with LoadedBars.from_columns.",
            )

    @classmethod
    def from_columns(
        cls,
        *,
        ticker: object,
        session: object,
        fields: Mapping[str, object],
        vendor: str,
        price_basis: PriceBasis,
        details: Mapping[str, object] | None = None,
    ) -> LoadedBars:
        """Build bars from parallel columns.

        Parameters
        ----------
        ticker : sequence of str, shape (R,)
            Display symbols; canonicalised with `canonical_ticker`.
        session : sequence of dates, shape (R,)
            Session dates, tz-naive.
        fields : mapping of str to sequence of float, shape (R,)
            Must hold open, high, low, close, volume; NaN = no value.
        vendor : str
            Name of the source.
        price_basis : PriceBasis
            What the prices are adjusted for.
        details : mapping, optional
            Any of ``sources``, ``columns``, ``faults``, ``date_pattern``, ``delistings``, and
            ``asset_ids``, a mapping of canonical ticker to asset_id for sources that know better
            identifiers than tickers (one ticker, one asset).

        Returns
        -------
        LoadedBars
            Rows stably grouped by ticker.

        Examples
        --------
        >>> one = {name: [1.0] for name in ("open", "high", "low", "close", "volume")}
        >>> LoadedBars.from_columns(ticker=["brk-b"], session=["2020-01-02"], fields=one,
        ...     vendor="example", price_basis=PriceBasis.RAW).tickers
        ('BRK.B',)
        """
        raw = ticker if isinstance(ticker, pd.Categorical) else pd.Categorical(ticker)
        codes, categories = _canonical_codes(raw)
        order = np.argsort(codes, kind="stable")
        codes = codes[order]
        facts = dict(details or {})
        known: Mapping[str, str] = facts.pop("asset_ids", {})  # type: ignore[assignment]
        identifiers = [known.get(name) or asset_id(name) for name in categories]
        data: dict[str, object] = {
            "asset_id": pd.Categorical.from_codes(codes, identifiers),
            "ticker": pd.Categorical.from_codes(codes, categories),
            "session": np.asarray(pd.to_datetime(session), dtype="datetime64[us]")[order],
        }
        for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS):
            if name in fields:
                data[name] = np.asarray(fields[name], dtype=np.float64)[order]
        return cls(
            frame=pd.DataFrame(data),
            vendor=vendor,
            price_basis=price_basis,
            **facts,  # type: ignore[arg-type]
        )

    @property
    def n_rows(self) -> int:
        """Number of bars."""
        return len(self.frame)

    @property
    def tickers(self) -> tuple[str, ...]:
        """Display symbols, sorted."""
        return tuple(str(t) for t in self.frame["ticker"].cat.categories)

    @property
    def asset_ids(self) -> tuple[str, ...]:
        """Keys of the securities, in the order of `tickers`."""
        return tuple(str(a) for a in self.frame["asset_id"].cat.categories)

    def with_frame(self, frame: pd.DataFrame) -> LoadedBars:
        """Return the same bars' facts around another frame (e.g. a cleaned one).

        Parameters
        ----------
        frame : DataFrame
            Same columns as `frame` of this value.

        Returns
        -------
        LoadedBars
            A new value; this one is unchanged.
        """
        tidy = frame.reset_index(drop=True)
        for name in ("asset_id", "ticker"):
            tidy[name] = tidy[name].cat.remove_unused_categories()
        return dataclasses.replace(self, frame=tidy)

    def select(
        self,
        tickers: tuple[str, ...] | None = None,
        start: object = None,
        end: object = None,
    ) -> LoadedBars:
        """Keep some symbols and a closed range of sessions.

        Parameters
        ----------
        tickers : tuple of str, optional
            Symbols to keep (any spelling); all when None.
        start, end : date-like, optional
            First and last session kept, both inclusive.

        Returns
        -------
        LoadedBars
            Possibly empty.
        """
        keep = np.ones(self.n_rows, dtype=bool)
        if tickers is not None:
            wanted = {canonical_ticker(t) for t in tickers}
            keep &= self.frame["ticker"].isin(wanted).to_numpy()
        if start is not None:
            keep &= (self.frame["session"] >= pd.Timestamp(start)).to_numpy()
        if end is not None:
            keep &= (self.frame["session"] <= pd.Timestamp(end)).to_numpy()
        return self.with_frame(self.frame[keep]) if not keep.all() else self

    def content_digest(self) -> str:
        """Return the SHA-256 of the bars' content: values and basis, no path, no file name.

        Returns
        -------
        str
            Equal for equal content, wherever the files lie.
        """
        ordered = self.frame.sort_values(["ticker", "session"], kind="stable")
        arrays = {
            name: array_digest(ordered[name].to_numpy())
            for name in (*REQUIRED_FIELDS, *OPTIONAL_FIELDS)
            if name in ordered
        }
        arrays["session"] = array_digest(ordered["session"].to_numpy().astype("int64"))
        arrays["codes"] = array_digest(ordered["ticker"].cat.codes.to_numpy().astype("int64"))
        facts = {"arrays": arrays, "tickers": self.tickers, "basis": str(self.price_basis)}
        return sha256_text(canonical_json(facts))


def canonical_ticker(text: str) -> str:
    """Return one spelling of a display symbol.

    Upper case, no venue prefix (``NYSE:LMT`` -> ``LMT``), and a dot before a one-letter share
    class (``brk-b`` -> ``BRK.B``), so that the same company joins across vendors.

    Parameters
    ----------
    text : str
        The source's spelling.

    Returns
    -------
    str
        Canonical spelling.

    Raises
    ------
    DataError
        When nothing usable is left.

    Examples
    --------
    >>> [canonical_ticker(t) for t in ("NYSE:LMT", "brk-b", " nan ", "BTC-USD")]
    ['LMT', 'BRK.B', 'NAN', 'BTC-USD']
    """
    ticker = _VENUE_PREFIX.sub("", text.strip().upper())
    ticker = _CLASS_SHARE.sub(r"\1.\2", ticker)
    if not _TICKER.fullmatch(ticker):
        raise DataError(
            "symbol",
            wanted="letters, digits and . - _ = ^ / + &",
            got=text,
            hint="Name the column that holds the symbols with --map symbol=NAME.",
        )
    return ticker


def ticker_from_filename(name: str) -> str:
    """Return the symbol that a file's name carries.

    Parameters
    ----------
    name : str
        File name, with or without folders.

    Returns
    -------
    str
        Canonical symbol.

    Raises
    ------
    DataError
        When the name holds no symbol.

    Examples
    --------
    >>> names = ("Stocks/aapl.us.txt.gz", "NYSE:LMT_data.csv.gz", "AAPL_data.csv", "brk-b.us.txt")
    >>> [ticker_from_filename(n) for n in names]
    ['AAPL', 'LMT', 'AAPL', 'BRK.B']
    """
    stem = name.replace("\\", "/").rsplit("/", 1)[-1]
    while _FILE_ENDINGS.search(stem):
        stem = _FILE_ENDINGS.sub("", stem)
    while _FILE_NOISE.search(stem):
        stem = _FILE_NOISE.sub("", stem)
    # Stooq marks the country behind the symbol; only its US files are daily US equities.
    return canonical_ticker(re.sub(r"\.us$", "", stem, flags=re.IGNORECASE))


def _canonical_codes(raw: pd.Categorical) -> tuple[np.ndarray, list[str]]:
    """Codes into a sorted list of canonical symbols, from any categorical of source symbols."""
    spelled = [canonical_ticker(str(value)) for value in raw.categories]
    if (raw.codes < 0).any():
        raise DataError(
            "symbol",
            wanted="a symbol in every row",
            got=f"{int((raw.codes < 0).sum())} rows without one",
            hint="Fill the symbol column or remove those rows.",
        )
    used = sorted({spelled[code] for code in np.unique(raw.codes)})
    position = {ticker: i for i, ticker in enumerate(used)}
    lookup = np.array([position.get(ticker, -1) for ticker in spelled], dtype=np.int64)
    return lookup[raw.codes], used

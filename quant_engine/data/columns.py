"""Column recognition: a header in any usual spelling -> one canonical name per column.

A header is compared without case, spaces, punctuation and leading numbering, so that ``Date``,
``timestamp``, ``1. open``, ``Adj Close`` and ``<VOL>`` are all recognised. Anything else needs an
explicit mapping such as ``close=Last``; an explicit mapping wins over recognition.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from quant_engine.core.errors import ConfigError, DataError, MissingFieldError
from quant_engine.data.bars import OPTIONAL_FIELDS, REQUIRED_FIELDS

__all__ = ["CANONICAL_COLUMNS", "parse_column_mapping", "recognise_columns"]

CANONICAL_COLUMNS = ("date", "symbol", *REQUIRED_FIELDS, *OPTIONAL_FIELDS)

_SPELLINGS: Mapping[str, tuple[str, ...]] = {
    "date": ("date", "session", "tradedate", "day", "datetime", "timestamp", "time"),
    "symbol": ("symbol", "ticker", "sym", "tic", "tickersymbol", "name"),
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose"),
    "volume": ("volume", "vol", "v", "sharevolume"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjcloseprice"),
    "dividend": ("dividend", "dividends", "dividendamount", "divcash", "exdividend"),
    "split_factor": ("splitfactor", "stocksplits", "stocksplit", "splitcoefficient", "splitratio"),
    "vwap": (
        "vwap", "vw", "wap", "volumeweightedaverageprice", "volumeweightedavgprice",
        "volumeweighted", "weightedaverageprice", "averageprice", "avgprice",
    ),
}  # fmt: skip
_NUMBERING = re.compile(r"^\s*\d+\s*[.)]\s*")
_NOISE = re.compile(r"[^a-z0-9]")


def parse_column_mapping(items: Iterable[str]) -> dict[str, str]:
    """Parse ``close=Last`` pairs.

    Parameters
    ----------
    items : iterable of str
        Pairs ``canonical=source``; one string may hold several, separated by commas.

    Returns
    -------
    dict
        Canonical name -> source spelling.

    Raises
    ------
    ConfigError
        When a pair has no ``=`` or an unknown canonical name.

    Examples
    --------
    >>> parse_column_mapping(["close=Last", "date=Trading day,volume=Shares"])
    {'close': 'Last', 'date': 'Trading day', 'volume': 'Shares'}
    """
    mapping: dict[str, str] = {}
    for pair in (part for item in items for part in item.split(",") if part.strip()):
        canonical, equals, source = pair.partition("=")
        canonical = canonical.strip().lower()
        if not equals or not source.strip() or canonical not in CANONICAL_COLUMNS:
            raise ConfigError(
                "columns",
                wanted=f"NAME=SOURCE with NAME one of {', '.join(CANONICAL_COLUMNS)}",
                got=pair,
                hint="Example: --map close=Last",
            )
        mapping[canonical] = source.strip()
    return mapping


def recognise_columns(
    header: Sequence[str], mapping: Mapping[str, str], *, source: str, need_symbol: bool = False
) -> dict[str, str]:
    """Find the canonical columns in a header.

    Parameters
    ----------
    header : sequence of str
        Column names as the source spells them.
    mapping : mapping of str to str
        Explicit canonical -> source pairs; each must be in `header`.
    source : str
        File name for messages.
    need_symbol : bool
        Whether a symbol column is required.

    Returns
    -------
    dict
        Canonical name -> spelling in `header`, in canonical order.

    Raises
    ------
    MissingFieldError
        When a required column is not found.
    DataError
        When two columns could be the same canonical one, or a name occurs twice.

    Examples
    --------
    >>> recognise_columns(["Date", "Open", "High", "Low", "Last", "Vol"], {"close": "Last"},
    ...                   source="x.csv")["close"]
    'Last'
    """
    keyed = [(_key(name), name) for name in header]
    found: dict[str, str] = {}
    for canonical in CANONICAL_COLUMNS:
        if canonical in mapping:
            found[canonical] = _mapped(canonical, mapping[canonical], header, source=source)
            continue
        taken = set(mapping.values())
        for spelling in _SPELLINGS[canonical]:
            hits = [name for key, name in keyed if key == spelling and name not in taken]
            if len(hits) > 1:
                raise DataError(
                    f"columns of {source}",
                    wanted=f"one column for {canonical}",
                    got=", ".join(hits),
                    hint=f"Choose one with --map {canonical}=NAME.",
                )
            if hits:
                found[canonical] = hits[0]
                break
    required = ("date", *REQUIRED_FIELDS, *(("symbol",) if need_symbol else ()))
    missing = [name for name in required if name not in found]
    if missing:
        raise MissingFieldError(
            f"columns of {source}",
            wanted=", ".join(required),
            got=f"{', '.join(header) or 'no header'} (no {', '.join(missing)})",
            hint=f"Map the file's own name with --map {missing[0]}=NAME.",
        )
    return found


def _key(name: str) -> str:
    return _NOISE.sub("", _NUMBERING.sub("", name).lower())


def _mapped(canonical: str, wanted: str, header: Sequence[str], *, source: str) -> str:
    """Return the header's spelling of an explicitly mapped column, exact first, then by case."""
    for name in header:
        if name == wanted:
            return name
    for name in header:
        if name.strip().lower() == wanted.strip().lower():
            return name
    raise MissingFieldError(
        f"columns of {source}",
        wanted=f"a column {wanted!r} for {canonical}",
        got=", ".join(header),
        hint="Correct the name after = in --columns.",
    )

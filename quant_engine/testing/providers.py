"""Conformance of sources of daily bars; see :mod:`quant_engine.testing.conformance`."""

from __future__ import annotations

import re
from typing import Any, Protocol

import numpy as np
import pandas as pd

from quant_engine.core.errors import ConfigError
from quant_engine.core.ids import parse_asset_id
from quant_engine.core.panel import PriceBasis
from quant_engine.testing.errors import NAME, refuse

BAR_COLUMNS = ("asset_id", "ticker", "session", "open", "high", "low", "close", "volume")
_DIGEST = re.compile(r"[0-9a-f]{64}")


class AvailabilityLike(Protocol):
    """What a provider's ``available`` returns."""

    @property
    def ok(self) -> bool:
        """True when ``load`` may be called."""
        ...

    @property
    def reason(self) -> str:
        """Why not, as a sentence; empty when ok."""
        ...


class ProviderLike(Protocol):
    """A source of daily bars, as ``quant_engine.data.providers`` has them."""

    @property
    def name(self) -> str:
        """Registered name."""
        ...

    def available(self) -> AvailabilityLike:
        """Tell whether ``load`` may be called."""
        ...

    def load(self, query: Any) -> Any:
        """Return bars with ``frame``, ``vendor``, ``price_basis`` and ``sources``."""
        ...


def check_provider(provider: ProviderLike, *, query: Any, narrow: Any | None = None) -> int:
    """Check a source of daily bars.

    Rules: ``name``, ``availability`` (a reason exactly when not available), ``columns``
    (`BAR_COLUMNS`), ``identity`` (well-formed asset ids), ``sessions`` (tz-naive dates),
    ``numbers`` (float64 prices and volumes), ``basis`` (a PriceBasis), ``vendor``, ``sources``
    (relative names and SHA-256 digests), ``repeatable`` (equal frames from two loads, also after
    the caller has changed the first), ``subset`` (a narrower query gives a part of the rows).

    Parameters
    ----------
    provider : object
        With ``name``, ``available()`` and ``load(query)``.
    query : object
        What to load; small.
    narrow : object, optional
        A query whose answer is a true part of that of `query`.

    Returns
    -------
    int
        Rows loaded; 0 when the provider is not available here, so that nothing was loaded.

    Raises
    ------
    ConformanceError
        Naming the rule.
    """
    subject = f"provider {getattr(provider, 'name', type(provider).__name__)!r}"
    if not NAME.fullmatch(str(getattr(provider, "name", ""))):
        refuse(subject, "name", "a lower-case name", getattr(provider, "name", None))
    availability = provider.available()
    if availability.ok == bool(availability.reason):
        refuse(subject, "availability", "a reason exactly when not ok", availability)
    if not availability.ok:
        return 0
    bars = provider.load(query)
    _check_bars(subject, bars)
    _check_origin(subject, bars)
    kept = bars.frame.copy()
    bars.frame.loc[:, "close"] = -1.0
    again = provider.load(query)
    if not again.frame.equals(kept):
        refuse(subject, "repeatable", "equal frames from two loads", "another frame")
    if narrow is not None:
        _check_subset(subject, kept, provider.load(narrow).frame)
    return len(kept)


def _check_bars(subject: str, bars: Any) -> None:
    frame = bars.frame
    missing = [name for name in BAR_COLUMNS if name not in frame.columns]
    if missing:
        refuse(subject, "columns", f"{BAR_COLUMNS}", f"no {missing}")
    for identity in frame["asset_id"].unique():
        try:
            parse_asset_id("asset_id", str(identity))
        except ConfigError as error:
            refuse(subject, "identity", error.wanted, error.got)
    sessions = frame["session"].dropna()
    if not pd.api.types.is_datetime64_dtype(sessions.dtype):
        refuse(subject, "sessions", "tz-naive datetime64", sessions.dtype)
    if (sessions != sessions.dt.normalize()).any():
        refuse(subject, "sessions", "dates without a time of day", "times of day")
    for name in BAR_COLUMNS[3:]:
        if frame[name].dtype != np.float64:
            refuse(subject, "numbers", "float64", f"{frame[name].dtype} of {name!r}")


def _check_origin(subject: str, bars: Any) -> None:
    if not isinstance(bars.price_basis, PriceBasis):
        refuse(subject, "basis", "a PriceBasis", bars.price_basis)
    if not bars.vendor:
        refuse(subject, "vendor", "the name of the source", "an empty text")
    for source in bars.sources:
        if source.name.startswith(("/", "~")) or "\\" in source.name:
            refuse(subject, "sources", "a name relative to the folder", source.name)
        if not _DIGEST.fullmatch(source.sha256):
            refuse(subject, "sources", "a SHA-256 digest", source.sha256)


def _check_subset(subject: str, whole: pd.DataFrame, part: pd.DataFrame) -> None:
    if not 0 < len(part) < len(whole):
        refuse(subject, "subset", f"from 1 to {len(whole) - 1} rows", len(part))
    columns = list(BAR_COLUMNS)
    rows = [
        set(frame[columns].astype(str).itertuples(index=False, name=None))
        for frame in (whole, part)
    ]
    if not rows[1] <= rows[0]:
        refuse(subject, "subset", "rows of the wider answer", f"{len(rows[1] - rows[0])} others")

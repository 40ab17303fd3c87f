"""Rules about rows and symbols, and the catalogue of all rules.

Each rule is a pure function ``find(bars, limits) -> Hits``: it finds faults in sorted bars and
never changes them. What is done about a hit is data in a profile, see ``data.quality.profile``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from quant_engine.data.bars import PRICE_FIELDS
from quant_engine.data.quality import jumps
from quant_engine.data.quality.arrays import (
    BarArrays,
    Hits,
    Limits,
    RuleSpec,
    constant_hits,
    row_hits,
    same_symbol,
)

__all__ = ["RULES", "missing_share"]


def find_non_finite(bars: BarArrays, limits: Limits) -> Hits:
    """Rows with an infinite price or volume."""
    bad = np.zeros(bars.code.size, dtype=bool)
    for values in bars.fields.values():
        bad |= np.isinf(values)
    return constant_hits(bad, "infinite value; taken as missing")


def find_future_dates(bars: BarArrays, limits: Limits) -> Hits:
    """Rows dated after the as-of date."""
    if bars.as_of is None:
        return constant_hits(np.zeros(bars.code.size, dtype=bool), "")
    return constant_hits(bars.day > bars.as_of, f"date after {bars.as_of}")


def find_non_sessions(bars: BarArrays, limits: Limits) -> Hits:
    """Rows on a date when the exchange was closed (weekends, holidays)."""
    closed = ~np.isin(bars.day, bars.sessions)
    names = ("Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday")
    weekday = bars.day.astype(np.int64) % 7
    where = np.flatnonzero(closed)
    message = [f"the exchange was closed ({names[d]})" for d in weekday[where]]
    return Hits(where, np.full(where.size, np.nan), message)


def _repeats(bars: BarArrays) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Rows that repeat an earlier (symbol, session), and rows of groups whose values differ."""
    repeat = same_symbol(bars, 1)
    repeat[1:] &= bars.day[1:] == bars.day[:-1]
    differs = np.zeros(repeat.size, dtype=bool)
    for values in bars.fields.values():
        differs[1:] |= ~(
            (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
        )
    group = np.cumsum(~repeat) - 1
    conflict = np.zeros(int(group[-1]) + 1 if group.size else 0, dtype=bool)
    conflict[group[repeat & differs]] = True
    return repeat, conflict[group] if group.size else repeat


def find_duplicate_rows(bars: BarArrays, limits: Limits) -> Hits:
    """Rows that repeat the same bar with the same values; the first one is not a hit."""
    repeat, conflict = _repeats(bars)
    return constant_hits(repeat & ~conflict, "the same bar again")


def find_conflicting_duplicates(bars: BarArrays, limits: Limits) -> Hits:
    """All rows of a (symbol, session) that comes with different values."""
    _, conflict = _repeats(bars)
    return constant_hits(conflict, "several bars with different values on one session")


def find_null_close(bars: BarArrays, limits: Limits) -> Hits:
    """Rows without a close."""
    return constant_hits(np.isnan(bars.fields["close"]), "no close")


def find_null_ohl(bars: BarArrays, limits: Limits) -> Hits:
    """Rows with a close but without an open, high or low."""
    bad = np.zeros(bars.code.size, dtype=bool)
    for name in ("open", "high", "low"):
        bad |= np.isnan(bars.fields[name])
    return constant_hits(
        bad & ~np.isnan(bars.fields["close"]), "no open, high or low; not tradable"
    )


def find_null_volume(bars: BarArrays, limits: Limits) -> Hits:
    """Rows without a volume."""
    return constant_hits(np.isnan(bars.fields["volume"]), "no volume")


def find_non_positive_price(bars: BarArrays, limits: Limits) -> Hits:
    """Rows with a price of zero or less."""
    lowest = np.fmin.reduce([bars.fields[name] for name in PRICE_FIELDS])
    return row_hits(lowest <= 0, lowest, lambda v: f"price {v:g} is not positive")


def find_negative_volume(bars: BarArrays, limits: Limits) -> Hits:
    """Rows with a negative volume."""
    volume = bars.fields["volume"]
    return row_hits(volume < 0, volume, lambda v: f"volume {v:g} is negative")


def find_ohlc_order(bars: BarArrays, limits: Limits) -> Hits:
    """Rows whose high is below, or low above, another price of the bar.

    ``high < max(open, low, close) (1 - tol)`` or ``low > min(open, high, close) (1 + tol)``.
    """
    prices = bars.fields
    top = np.fmax.reduce([prices[name] for name in ("open", "low", "close")])
    bottom = np.fmin.reduce([prices[name] for name in ("open", "high", "close")])
    tolerance = limits["tolerance_frac"]
    bad = (prices["high"] < top * (1 - tolerance)) | (prices["low"] > bottom * (1 + tolerance))
    short = np.fmax(top / prices["high"], prices["low"] / bottom) - 1
    return row_hits(bad, short, lambda v: f"a price lies outside high and low by {v:.3%}")


def find_vwap_outside(bars: BarArrays, limits: Limits) -> Hits:
    """Rows whose VWAP is not positive, or outside low and high; bars without one are no hits.

    ``vwap < low (1 - tol)`` or ``vwap > high (1 + tol)``. The tolerance is wider than that of
    `find_ohlc_order`: a VWAP is published with few digits, and counts trades, such as odd lots,
    that set neither high nor low.
    """
    prices = bars.fields
    if "vwap" not in prices:
        return constant_hits(np.zeros(bars.code.size, dtype=bool), "")
    vwap, tolerance = prices["vwap"], limits["tolerance_frac"]
    outside = (vwap < prices["low"] * (1 - tolerance)) | (vwap > prices["high"] * (1 + tolerance))
    bad = outside | (vwap <= 0)
    return row_hits(bad, vwap, lambda v: f"VWAP {v:g} lies outside low and high")


def _over(share: npt.NDArray[np.float64], limit: float, sentence: Callable[[float], str]) -> Hits:
    return row_hits(share > limit, share, sentence)


def find_missing_bars(bars: BarArrays, limits: Limits) -> Hits:
    """Symbols lacking more than the limit of the sessions between their first and last bar."""
    share = missing_share(bars)
    return _over(share, limits["missing_frac"], lambda v: f"{v:.1%} of sessions missing")


def missing_share(bars: BarArrays) -> npt.NDArray[np.float64]:
    """Share of exchange sessions without a bar, between each symbol's first and last bar.

    Parameters
    ----------
    bars : BarArrays
        Sorted bars on sessions, without duplicates.

    Returns
    -------
    ndarray of float64, shape (symbols,)
        NaN for symbols without rows.
    """
    count = bars.per_symbol()
    share = np.full(count.size, np.nan)
    present = np.flatnonzero(count)
    first = np.searchsorted(bars.code, present, side="left")
    last = np.searchsorted(bars.code, present, side="right") - 1
    low = np.searchsorted(bars.sessions, bars.day[first])
    high = np.searchsorted(bars.sessions, bars.day[last], side="right")
    share[present] = 1 - count[present] / np.maximum(high - low, 1)
    return share


def find_zero_volume(bars: BarArrays, limits: Limits) -> Hits:
    """Symbols with zero volume on more than the limit of their bars."""
    zero = bars.per_symbol(bars.fields["volume"] == 0) / np.maximum(bars.per_symbol(), 1)
    return _over(zero, limits["zero_frac"], lambda v: f"{v:.1%} of bars without volume")


def find_rejected_share(bars: BarArrays, limits: Limits) -> Hits:
    """Symbols that lost more than the limit of their rows to other rules."""
    lost = 1 - bars.per_symbol() / np.maximum(bars.n_rows_in, 1)
    return _over(lost, limits["rejected_frac"], lambda v: f"{v:.1%} of rows rejected")


_ROW = ("reject", "warn", "quarantine")
_FIXABLE = ("reject", "fix", "warn", "quarantine")
_FLAG = ("warn", "quarantine")

# Execution order: facts about rows first, then shapes that need clean neighbours, then symbols.
RULES: Mapping[str, RuleSpec] = {
    "non_finite": RuleSpec(find_non_finite, "row", ("fix", "reject", "quarantine")),
    "future_dates": RuleSpec(find_future_dates, "row", _ROW),
    "non_sessions": RuleSpec(find_non_sessions, "row", ("reject", "quarantine")),
    "duplicate_rows": RuleSpec(find_duplicate_rows, "row", ("fix", "quarantine")),
    "conflicting_duplicates": RuleSpec(
        find_conflicting_duplicates, "row", ("reject", "quarantine")
    ),
    "null_close": RuleSpec(find_null_close, "row", ("reject", "quarantine")),
    "null_ohl": RuleSpec(find_null_ohl, "row", _ROW),
    "null_volume": RuleSpec(find_null_volume, "row", _ROW),
    "non_positive_price": RuleSpec(find_non_positive_price, "row", ("reject", "quarantine")),
    "negative_volume": RuleSpec(find_negative_volume, "row", ("reject", "quarantine")),
    "ohlc_order": RuleSpec(find_ohlc_order, "row", _FIXABLE, {"tolerance_frac": 1e-6}),
    "vwap_outside": RuleSpec(find_vwap_outside, "row", _FIXABLE, {"tolerance_frac": 1e-3}),
    "bad_open": RuleSpec(jumps.find_bad_open, "row", _FIXABLE, jumps.BAD_OPEN_LIMITS),
    "spike_reverts": RuleSpec(
        jumps.find_spike,
        "row",
        _ROW,
        jumps.SPIKE_LIMITS,
    ),
    "reject_10pct_drop": RuleSpec(jumps.find_drop, "row", _ROW, {"drop_frac": 0.10}),
    "flip_flop": RuleSpec(
        jumps.find_flip_flop,
        "row",
        _FLAG,
        jumps.FLIP_FLOP_LIMITS,
    ),
    "suspected_split": RuleSpec(jumps.find_suspected_split, "row", _FLAG, jumps.SPLIT_LIMITS),
    "suspected_spin_off": RuleSpec(
        jumps.find_suspected_spin_off,
        "row",
        _FLAG,
        jumps.SPIN_OFF_LIMITS,
    ),
    "large_return": RuleSpec(jumps.find_large_return, "row", _FLAG, {"return_frac": 0.40}),
    "stale_run": RuleSpec(jumps.find_stale_run, "row", _FLAG, {"run_sessions": 5}),
    "missing_bars": RuleSpec(find_missing_bars, "symbol", _FLAG, {"missing_frac": 0.05}),
    "zero_volume": RuleSpec(find_zero_volume, "symbol", _FLAG, {"zero_frac": 0.25}),
    "rejected_share": RuleSpec(find_rejected_share, "symbol", _FLAG, {"rejected_frac": 0.05}),
}
"""Every rule by name, in the order in which they run."""

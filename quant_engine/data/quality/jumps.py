"""Rules about price changes: which are the vendor's faults and which are the market.

A price change is a *flip-flop* when an opposite change undoes it within a few sessions, a
*suspected split* when its ratio is near a whole-number split at ordinary volume, and a *suspected
spin-off* when the price drops at the open at ordinary volume and stays. The volume condition is
what tells the last two from news: a crash on earnings trades ten to thirty times the usual volume,
a spin-off two to seven times. All three are flags; no rule of the daily profiles can delete a
price because it moved.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from quant_engine.data.bars import PRICE_FIELDS
from quant_engine.data.quality.arrays import (
    BarArrays,
    Hits,
    Limits,
    close_ratio,
    row_hits,
    same_symbol,
)

__all__ = [
    "BAD_OPEN_LIMITS",
    "FLIP_FLOP_LIMITS",
    "SPIKE_LIMITS",
    "SPIN_OFF_LIMITS",
    "SPLIT_LIMITS",
    "find_bad_open",
    "find_drop",
    "find_flip_flop",
    "find_large_return",
    "find_spike",
    "find_stale_run",
    "find_suspected_spin_off",
    "find_suspected_split",
]

_NEEDED_VOLUMES = 5
_SPLIT_FLOOR = 1.3  # a change below 30 % is not worth the name of a split
_WINDOW = 60
_NEEDED_CHANGES = 10
_MAD_TO_SIGMA = 1.4826
_LARGE = 0.15  # volume multiples are computed only around changes of this size
_SPLITS = np.array([1.5, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 20, 25, 30, 40, 50, 100])

FLIP_FLOP_LIMITS = {
    "jump_frac": 0.20,
    "within_sessions": 10.0,
    "tolerance_frac": 0.10,
    "sigmas": 8.0,
}
SPLIT_LIMITS = {"tolerance_frac": 0.05, "volume_multiple": 8.0, "sigmas": 8.0}
SPIN_OFF_LIMITS = {"gap_frac": 0.20, "gap_share": 0.75, "volume_multiple": 8.0, "sigmas": 8.0}
BAD_OPEN_LIMITS = {"factor": 2.0, "close_frac": 0.20}
SPIKE_LIMITS = {"sigmas": 5.0, "tolerance_frac": 0.25, "floor_frac": 0.10}


def _as_return(value: float) -> str:
    return f"daily return {value:+.1%}"


def find_large_return(bars: BarArrays, limits: Limits) -> Hits:
    """Rows with ``|r_t - 1|`` above the limit."""
    change = close_ratio(bars) - 1
    return row_hits(
        np.abs(change) > limits["return_frac"], change, lambda v: f"daily return {v:+.1%}"
    )


def find_drop(bars: BarArrays, limits: Limits) -> Hits:
    """Rows whose close fell by at least the limit."""
    change = close_ratio(bars) - 1
    return row_hits(change <= -limits["drop_frac"], change, _as_return)


def _unusual(
    bars: BarArrays, step: npt.NDArray[np.float64], floor: float, sigmas: float
) -> npt.NDArray[np.int64]:
    """Rows with ``|ln r_t| >= max(floor, sigmas * s_t)``.

    ``s_t = 1.4826 * median |ln r|`` over the previous 60 changes, which one fault among them cannot
    inflate; a row with fewer than 10 changes before it takes the symbol's first 60 instead. A
    stock that moves 8 % a day in a crisis is thus not accused of a split when it moves 25 % and
    back.
    """
    rows = np.flatnonzero(np.abs(step) >= floor)
    start = np.searchsorted(bars.code, bars.code[rows], side="left")
    keep = np.ones(rows.size, dtype=bool)
    for position, row in enumerate(rows):
        first = start[position]
        before = np.abs(step[max(first, row - _WINDOW) : row])
        if np.isfinite(before).sum() < _NEEDED_CHANGES:
            opening = slice(first, min(first + _WINDOW, bars.code.size))
            same = bars.code[opening] == bars.code[row]
            before = np.abs(step[opening])[same]
        before = before[np.isfinite(before)]
        if before.size >= _NEEDED_CHANGES:
            keep[position] = abs(step[row]) >= sigmas * _MAD_TO_SIGMA * float(np.median(before))
    return rows[keep]


def _flip_flops(bars: BarArrays, limits: Limits) -> npt.NDArray[np.bool_]:
    """Rows whose change is undone within the window, and the rows that undo it."""
    step = np.log(close_ratio(bars))
    jumps = _unusual(bars, step, np.log1p(limits["jump_frac"]), limits["sigmas"])
    flagged = np.zeros(step.size, dtype=bool)
    for offset in range(1, int(limits["within_sessions"]) + 1):
        # Every jump against the offset-th next jump: jumps are few, windows short.
        left, right = jumps[:-offset], jumps[offset:]
        pair = (
            (bars.code[left] == bars.code[right])
            & (right - left <= limits["within_sessions"])
            & (np.abs(step[left] + step[right]) <= limits["tolerance_frac"])
        )
        flagged[left[pair]] = True
        flagged[right[pair]] = True
    return flagged


def find_flip_flop(bars: BarArrays, limits: Limits) -> Hits:
    """Jumps that an opposite jump undoes within a few sessions (a vendor's split or scale fault).

    Both ends are hits: ``|ln r| >= max(ln(1 + jump), sigmas * s)`` with `s` as in ``_unusual``,
    ``|ln r_s + ln r_t| <= tolerance`` and ``t - s <= within``.
    """
    ratio = close_ratio(bars)
    return row_hits(
        _flip_flops(bars, limits), ratio, lambda v: f"price changed x{v:.3f} and was changed back"
    )


def _volume_multiple(bars: BarArrays) -> npt.NDArray[np.float64]:
    """Volume over the median of the symbol's previous 20 rows; NaN with fewer than 5.

    Computed only around large changes by the callers, so a plain loop over those rows suffices.
    """
    volume = bars.fields["volume"]
    ratio = close_ratio(bars)
    multiple = np.full(volume.size, np.nan)
    start = np.searchsorted(bars.code, bars.code, side="left")
    gap = _gap(bars)
    for row in np.flatnonzero((np.abs(ratio - 1) > _LARGE) | (np.abs(gap - 1) > _LARGE)):
        before = volume[max(start[row], row - 20) : row]
        before = before[before > 0]
        if before.size >= _NEEDED_VOLUMES:
            multiple[row] = volume[row] / np.median(before)
    return multiple


def _gap(bars: BarArrays) -> npt.NDArray[np.float64]:
    """Open over the symbol's previous close."""
    close = np.where(bars.fields["close"] > 0, bars.fields["close"], np.nan)
    gap = np.full(close.size, np.nan)
    gap[1:] = bars.fields["open"][1:] / close[:-1]
    gap[~same_symbol(bars, 1)] = np.nan
    return np.where(gap > 0, gap, np.nan)


def _near_split(ratio: npt.NDArray[np.float64], tolerance: float) -> npt.NDArray[np.float64]:
    """The signed split nearest to a ratio (2, or 0.5 for 1/2); NaN where none is near."""
    distance = np.abs(np.abs(np.log(ratio))[:, None] - np.log(_SPLITS)[None, :])
    nearest = np.argmin(np.nan_to_num(distance, nan=np.inf), axis=1)
    near = distance[np.arange(ratio.size), nearest] <= tolerance
    size = np.where(ratio > 1, _SPLITS[nearest], 1 / _SPLITS[nearest])
    return np.where(near, size, np.nan)


def _is_split(bars: BarArrays, limits: Limits) -> npt.NDArray[np.float64]:
    """Split suspected in each row (NaN = none): near k at ordinary volume, and it stays."""
    ratio, gap = close_ratio(bars), _gap(bars)
    found = np.full(ratio.size, np.nan)
    large = _unusual(bars, np.log(ratio), np.log(_SPLIT_FLOOR), limits["sigmas"])
    if large.size == 0:
        return found
    by_close = _near_split(ratio[large], limits["tolerance_frac"])
    by_open = _near_split(gap[large], limits["tolerance_frac"])
    found[large] = np.where(np.isnan(by_close), by_open, by_close)
    # News moves trade many times the usual volume; with no history nothing can be said for news.
    found[_volume_multiple(bars) > limits["volume_multiple"]] = np.nan
    found[_flip_flops(bars, FLIP_FLOP_LIMITS)] = np.nan
    return found


def find_suspected_split(bars: BarArrays, limits: Limits) -> Hits:
    """Price changes by a whole-number factor, at ordinary volume, that are not undone."""
    split = _is_split(bars, limits)

    def sentence(factor: float) -> str:
        kind = f"1:{factor:g}" if factor > 1 else f"{1 / factor:g}:1"
        return f"price changed like an unadjusted {kind} split and stayed"

    return row_hits(~np.isnan(split), split, sentence)


def find_suspected_spin_off(bars: BarArrays, limits: Limits) -> Hits:
    """Drops that happen at the open, at ordinary volume, and stay (spin-off or special dividend).

    ``open_t / close_(t-1) <= 1 - gap``, the gap is most of the day's change, volume below a
    multiple of the median of the previous 20 sessions, and neither a split nor a flip-flop.
    """
    ratio, gap = close_ratio(bars), _gap(bars)
    share = np.divide(np.log(gap), np.log(ratio), out=np.zeros_like(gap), where=ratio < 1)
    bad = (gap <= 1 - limits["gap_frac"]) & (share >= limits["gap_share"])
    bad &= share <= 1 / limits["gap_share"]
    floor = -np.log1p(-limits["gap_frac"]) * limits["gap_share"]
    unusual = np.zeros(ratio.size, dtype=bool)
    unusual[_unusual(bars, np.log(ratio), floor, limits["sigmas"])] = True
    bad &= unusual
    bad &= ~(_volume_multiple(bars) > limits["volume_multiple"])
    bad &= ~_flip_flops(bars, FLIP_FLOP_LIMITS)
    bad &= np.isnan(_is_split(bars, SPLIT_LIMITS))
    return row_hits(bad, gap - 1, lambda v: f"opened {v:+.1%} at ordinary volume and stayed")


def find_bad_open(bars: BarArrays, limits: Limits) -> Hits:
    """Opens a factor away from the close before and the close after, which agree with each other.

    ``|ln(open_t / close_(t-1))|`` and ``|ln(open_t / close_t)|`` at least ``ln(factor)``, on the
    same side, while ``|ln r_t| <= ln(1 + close)``. Fills use opens, so one wrong print would be a
    trade at a tenth of the price. The fix takes the open as missing; the close is untouched.
    """
    gap, step = np.log(_gap(bars)), np.log(close_ratio(bars))
    rest = gap - step
    least = np.log(limits["factor"])
    bad = (np.abs(gap) >= least) & (np.abs(rest) >= least) & (np.sign(gap) == np.sign(rest))
    bad &= np.abs(step) <= np.log1p(limits["close_frac"])
    return row_hits(bad, np.exp(gap), lambda v: f"opened at x{v:.3f} of the closes around it")


def find_spike(bars: BarArrays, limits: Limits) -> Hits:
    """Bars far outside the symbol's own moves that the next bar undoes (backfill only).

    ``|ln r_t| > sigmas * s_t`` with ``s_t`` the standard deviation of the previous 60 changes,
    and ``|ln(close_(t+1) / close_(t-1))| <= tolerance * |ln r_t|``. It looks one session ahead, so
    it may run on history that is complete, never on the newest bar.
    """
    step = np.log(close_ratio(bars))
    window = 60
    flagged = np.zeros(step.size, dtype=bool)
    candidate = np.flatnonzero(np.abs(step) > limits["floor_frac"])
    start = np.searchsorted(bars.code, bars.code, side="left")
    for row in candidate:
        before = step[max(start[row], row - window) : row]
        before = before[np.isfinite(before)]
        following = row + 1 < step.size and bars.code[row + 1] == bars.code[row]
        if before.size < window // 2 or not following:
            continue
        sigma = float(np.std(before, ddof=1))
        undone = abs(step[row] + step[row + 1]) <= limits["tolerance_frac"] * abs(step[row])
        flagged[row] = abs(step[row]) > limits["sigmas"] * sigma and undone
    ratio = close_ratio(bars)
    return row_hits(flagged, ratio - 1, lambda v: f"spike of {v:+.1%} undone by the next bar")


def find_stale_run(bars: BarArrays, limits: Limits) -> Hits:
    """The last row of each run of identical bars that is at least the limit long."""
    same = same_symbol(bars, 1)
    for name in PRICE_FIELDS:
        values = bars.fields[name]
        same[1:] &= values[1:] == values[:-1]
    index = np.arange(same.size)
    anchor = np.maximum.accumulate(np.where(same, 0, index))
    run = index - anchor + 1
    last = np.ones(same.size, dtype=bool)
    last[:-1] = ~same[1:]
    bad = last & (run >= limits["run_sessions"])
    return row_hits(bad, run.astype(np.float64), lambda v: f"{v:.0f} identical bars in a row")

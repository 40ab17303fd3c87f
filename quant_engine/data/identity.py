"""Identity guard: symbols must carry the series of different companies.

A scraper that writes one company's prices under every ticker gives a panel that looks healthy and
means nothing. The guard compares the *return* series of all symbols, because a vendor may rescale
one copy. Two symbols carry one series when they share at least ``min_sessions`` non-zero returns
and at least ``same_frac`` of their common returns are equal.

1. ``_candidates``: pairs whose returns correlate at 0.98 or more (matrix products, by blocks).
2. ``_same``: the comparison return by return, for those pairs only.
3. ``_groups``: pairs joined into groups.

What is refused and what is warned:

* A group of ``max_group`` or fewer symbols with one series is a *warning*: share classes and
  double listings (GOOG and GOOGL never, but a class that tracks its sibling, or a renamed company
  kept under both tickers) do that.
* A larger group, or groups that together hold more than ``max_share`` of all symbols, is *refused*
  with ``IdentityError``: no market has more than a few tickers with bit-identical returns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import IdentityError
from quant_engine.data.bars import LoadedBars

__all__ = ["IdentityConfig", "IdentityReport", "check_identity"]

_BLOCK = 512
_CANDIDATE_CORRELATION = 0.98  # well below what a copy with a few patched rows reaches


class IdentityConfig(FrozenConfig):
    """When symbols are held to carry one series.

    Parameters
    ----------
    min_sessions : int
        Common non-zero returns needed before two series can be called the same; 20 equal
        returns of six digits do not happen by chance.
    same_frac : float
        Share of common returns that must be equal to `tolerance`. Below one, because a copy may
        have been patched in places.
    tolerance : float
        Largest difference of returns that counts as equal. Prices have two to four decimals,
        so a rescaled copy of a 100-dollar stock differs by up to 1e-4.
    max_group : int
        Largest group of symbols with one series that is only warned about.
    max_share : float
        Largest share of all symbols in such groups; only counted from 10 symbols on.

    Examples
    --------
    >>> IdentityConfig().max_group
    2
    """

    min_sessions: int = Field(default=20, ge=5)
    same_frac: float = Field(default=0.98, gt=0.5, le=1)
    tolerance: float = Field(default=2e-4, ge=0)
    max_group: int = Field(default=2, ge=1)
    max_share: float = Field(default=0.10, gt=0, le=1)


@dataclass(frozen=True)
class IdentityReport:
    """Groups of symbols that carry one series.

    Parameters
    ----------
    groups : tuple of tuple of str
        Tickers, sorted inside each group and by first ticker.
    n_symbols : int
        Symbols compared.

    Examples
    --------
    >>> IdentityReport((), 505).warnings()
    ()
    """

    groups: tuple[tuple[str, ...], ...]
    n_symbols: int

    def warnings(self) -> tuple[str, ...]:
        """Return one sentence per group."""
        return tuple(
            f"{' and '.join(group)} carry the same returns; keep one of them or explain the pair"
            for group in self.groups
        )


def check_identity(bars: LoadedBars, config: IdentityConfig | None = None) -> IdentityReport:
    """Refuse bars in which many symbols carry one series.

    Parameters
    ----------
    bars : LoadedBars
        Any bars; repeated sessions of a symbol count once.
    config : IdentityConfig, optional
        Limits.

    Returns
    -------
    IdentityReport
        Small groups, to be warned about.

    Raises
    ------
    IdentityError
        For a group larger than ``max_group``, or too many symbols in groups.

    Examples
    --------
    >>> import numpy as np
    >>> from quant_engine.core.calendar import sessions_between
    >>> from quant_engine.core.panel import PriceBasis
    >>> days = sessions_between("XNYS", "2020-01-02", "2020-03-31")
    >>> close = 100 * np.cumprod(1 + 0.01 * np.sin(np.arange(days.size) ** 2))
    >>> fields = {n: np.tile(close, 3) for n in ("open", "high", "low", "close", "volume")}
    >>> bars = LoadedBars.from_columns(ticker=np.repeat(["A", "B", "C"], days.size),
    ...     session=np.tile(days, 3), fields=fields, vendor="x", price_basis=PriceBasis.RAW)
    >>> try:
    ...     check_identity(bars)
    ... except IdentityError as error:
    ...     print(error.got)
    3 of 3 symbols with the same returns: A, B, C
    """
    limits = config or IdentityConfig()
    returns = _return_table(bars)
    groups = _groups(returns, limits)
    named = tuple(tuple(bars.tickers[i] for i in group) for group in groups)
    grouped = sum(len(group) for group in named)
    largest = max(named, key=len, default=())
    n_symbols = len(bars.tickers)
    crowded = n_symbols >= 10 and grouped > limits.max_share * n_symbols
    if len(largest) > limits.max_group or crowded:
        raise _refusal(largest, grouped, n_symbols, limits)
    return IdentityReport(named, n_symbols)


def _refusal(
    largest: tuple[str, ...], grouped: int, n_symbols: int, limits: IdentityConfig
) -> IdentityError:
    shown = ", ".join(largest[:6]) + (" and more" if len(largest) > 6 else "")
    count = len(largest) if len(largest) > limits.max_group else grouped
    return IdentityError(
        "symbols",
        wanted="a series of its own for each symbol",
        got=f"{count} of {n_symbols} symbols with the same returns: {shown}",
        hint=(
            "Different companies cannot have the same return on every session, so the files are "
            "mislabelled: the source wrote one company's prices under many tickers. "
            "Download them again."
        ),
    )


def _return_table(bars: LoadedBars) -> npt.NDArray[np.float64]:
    """Simple close-to-close returns, shape (sessions, symbols); NaN where a close is missing."""
    frame = bars.frame
    code = frame["ticker"].cat.codes.to_numpy()
    days, row = np.unique(frame["session"].to_numpy(), return_inverse=True)
    close = np.full((days.size, len(bars.tickers)), np.nan)
    close[row, code] = np.where(frame["close"] > 0, frame["close"], np.nan)
    returns = np.full_like(close, np.nan)
    returns[1:] = close[1:] / close[:-1] - 1
    return returns


def _groups(returns: npt.NDArray[np.float64], limits: IdentityConfig) -> list[list[int]]:
    """Connected groups of symbols with one series (union of the pairs that are the same)."""
    parent = list(range(returns.shape[1]))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for left, right in _candidates(returns, limits):
        if root(left) != root(right) and _same(returns[:, left], returns[:, right], limits):
            parent[root(right)] = root(left)
    members: dict[int, list[int]] = {}
    for i in range(returns.shape[1]):
        members.setdefault(root(i), []).append(i)
    return [group for group in members.values() if len(group) > 1]


def _candidates(
    returns: npt.NDArray[np.float64], limits: IdentityConfig
) -> Iterator[tuple[int, int]]:
    """Pairs (left < right) that correlate at 0.98 or more on their common sessions."""
    known = np.isfinite(returns).astype(np.float64)
    filled = np.nan_to_num(returns)
    squares = filled * filled
    for first in range(0, returns.shape[1], _BLOCK):
        block = slice(first, first + _BLOCK)
        count = known[:, block].T @ known
        cross = filled[:, block].T @ filled
        sums = filled[:, block].T @ known, known[:, block].T @ filled
        powers = squares[:, block].T @ known, known[:, block].T @ squares
        covariance = count * cross - sums[0] * sums[1]
        spread = (count * powers[0] - sums[0] ** 2) * (count * powers[1] - sums[1] ** 2)
        close = (covariance > 0) & (covariance**2 >= _CANDIDATE_CORRELATION**2 * spread)
        close &= count >= limits.min_sessions
        for left, right in zip(*np.nonzero(close), strict=True):
            if left + first < right:
                yield int(left + first), int(right)


def _same(
    left: npt.NDArray[np.float64], right: npt.NDArray[np.float64], limits: IdentityConfig
) -> bool:
    common = np.isfinite(left) & np.isfinite(right) & ((left != 0) | (right != 0))
    if common.sum() < limits.min_sessions:
        return False
    equal = np.abs(left[common] - right[common]) <= limits.tolerance
    return bool(equal.mean() >= limits.same_frac)

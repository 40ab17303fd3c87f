"""Universe: who was in the index when, how much of it the prices cover, and who disappeared.

Membership is a table of spells ``start <= session < end``; a name may leave and come back. Index
membership says which names *should* be in the data; the share of them that the prices cover is a
number to report, never an assumption. The label ``survivorship_safe`` is earned by three facts
together: membership history, delistings with known outcomes, and coverage above a stated bar.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, TimeVector
from quant_engine.core.calendar import sessions_between
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError, MissingFieldError, UnreadableFileError
from quant_engine.core.ids import asset_id
from quant_engine.core.panel import GroupTable, Panel
from quant_engine.data.bars import canonical_ticker

__all__ = [
    "DELISTING_COLUMNS",
    "Membership",
    "Survivorship",
    "UniverseConfig",
    "coverage_table",
    "infer_delistings",
    "judge_survivorship",
    "next_session",
    "read_delistings",
    "read_membership",
    "read_sectors",
    "sector_group",
    "survivorship_comparison",
    "total_returns",
]

DELISTING_COLUMNS = ("asset_id", "session", "last_session", "terminal_return", "reason")
INFERRED_REASON = "unknown"
_STAMP = "datetime64[us]"


class UniverseConfig(FrozenConfig):
    """What counts as a universe free of survivorship bias.

    Parameters
    ----------
    min_covered_frac : float
        Least share of index members whose prices must be in the data on every session. 0.98
        leaves room for a handful of renamed tickers among 500.
    min_silent_sessions : int
        A series that ends at least this many sessions before the panel's end has been delisted;
        shorter silences are halts or a vendor's delay.

    Examples
    --------
    >>> UniverseConfig().min_covered_frac
    0.98
    """

    min_covered_frac: float = Field(default=0.98, gt=0, le=1)
    min_silent_sessions: int = Field(default=5, ge=1)


@dataclass(frozen=True, eq=False)
class Membership:
    """Spells of index membership.

    Parameters
    ----------
    spells : DataFrame
        Columns ``asset_id``, ``start`` (first session inside), ``end`` (first session outside,
        NaT = still inside); a name may have several spells.

    Examples
    --------
    >>> spells = pd.DataFrame({"asset_id": ["A@US#1", "A@US#1"],
    ...     "start": pd.to_datetime(["2020-01-02", "2020-01-07"]),
    ...     "end": pd.to_datetime(["2020-01-06", None])})
    >>> days = np.array(["2020-01-03", "2020-01-06", "2020-01-07"], dtype="datetime64[D]")
    >>> Membership(spells).mask(("A@US#1",), days).ravel()
    array([ True, False,  True])
    """

    spells: pd.DataFrame

    def __post_init__(self) -> None:
        bad = self.spells["end"].notna() & (self.spells["end"] <= self.spells["start"])
        if bad.any() or self.spells["start"].isna().any():
            raise DataError(
                "membership",
                wanted="spells with a start before their end",
                got=f"{int(bad.sum()) + int(self.spells['start'].isna().sum())} that are not",
                hint="Use start_date <= session < end_date; leave the end empty while inside.",
            )

    @property
    def asset_ids(self) -> tuple[str, ...]:
        """Everyone who was ever a member, sorted."""
        return tuple(sorted(set(self.spells["asset_id"])))

    def mask(self, asset_ids: tuple[str, ...], sessions: TimeVector) -> BoolMatrix:
        """Return who is a member on each session.

        Parameters
        ----------
        asset_ids : tuple of str, length N
            Columns wanted.
        sessions : ndarray of datetime64[D], shape (T,)
            Ascending.

        Returns
        -------
        ndarray of bool, shape (T, N)
            Spell by spell ``start <= session < end``; False for names without spells.
        """
        column = {name: i for i, name in enumerate(asset_ids)}
        change = np.zeros((len(sessions) + 1, len(asset_ids)), dtype=np.int32)
        first = np.searchsorted(sessions, self.spells["start"].to_numpy().astype("datetime64[D]"))
        ends = self.spells["end"].to_numpy().astype("datetime64[D]")
        last = np.where(np.isnat(ends), len(sessions), np.searchsorted(sessions, ends))
        for name, begin, stop in zip(self.spells["asset_id"], first, last, strict=True):
            if name in column and begin < stop:
                change[begin, column[name]] += 1
                change[stop, column[name]] -= 1
        return np.cumsum(change[:-1], axis=0) > 0


def read_membership(path: Path, *, renames: Mapping[str, str] | None = None) -> Membership:
    r"""Read membership spells from a CSV with ``ticker,start_date,end_date``.

    Parameters
    ----------
    path : Path
        File; an empty end means "still a member".
    renames : mapping of str to str, optional
        Ticker in the file -> ticker or asset_id in the prices.

    Returns
    -------
    Membership

    Raises
    ------
    UnreadableFileError, MissingFieldError, DataError
        For a file that is absent, lacks a column or has dates that are not ISO dates.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "m.csv"
    ...     _ = path.write_text("ticker,start_date,end_date\nBRK-B,2010-02-16,\n")
    ...     read_membership(path).asset_ids
    ('BRK.B@US#1',)
    """
    table = _read_table(path, ("ticker", "start_date", "end_date"), "membership")
    return Membership(
        pd.DataFrame(
            {
                "asset_id": _ids(table["ticker"], renames),
                "start": _dates(table["start_date"], "start_date"),
                "end": _dates(table["end_date"], "end_date"),
            }
        )
    )


def coverage_table(membership: Membership, panel: Panel) -> pd.DataFrame:
    """Count how much of the index the prices cover, session by session.

    Parameters
    ----------
    membership : Membership
        All spells, also of names without prices.
    panel : Panel
        With field ``close``.

    Returns
    -------
    DataFrame
        Indexed by session: ``n_assets`` (names with a close), ``n_members`` (in the index),
        ``n_covered`` (of these, names that the price data holds at all), ``n_priced`` (of these,
        names with a close that session), ``covered_frac``, ``priced_frac``. Fractions are NaN on
        sessions without members.
    """
    everyone = membership.asset_ids
    inside = membership.mask(everyone, panel.time.values)
    held = np.isin(np.asarray(everyone, dtype=object), np.asarray(panel.asset_ids, dtype=object))
    n_members = inside.sum(axis=1)
    n_covered = inside[:, held].sum(axis=1)
    member = membership.mask(panel.asset_ids, panel.time.values)
    n_priced = (member & np.isfinite(panel.field("close"))).sum(axis=1)
    known = np.where(n_members > 0, n_members, np.nan)
    return pd.DataFrame(
        {
            "n_assets": np.isfinite(panel.field("close")).sum(axis=1),
            "n_members": n_members,
            "n_covered": n_covered,
            "n_priced": n_priced,
            "covered_frac": n_covered / known,
            "priced_frac": n_priced / known,
        },
        index=panel.time.index,
    )


def infer_delistings(panel: Panel, config: UniverseConfig | None = None) -> pd.DataFrame:
    """Take series that end before the panel's end as delisted, for an unknown reason.

    Parameters
    ----------
    panel : Panel
        With field ``close``.
    config : UniverseConfig, optional
        Sessions of silence that make a delisting.

    Returns
    -------
    DataFrame
        Columns of `DELISTING_COLUMNS`: ``session`` is the first session without the asset,
        ``last_session`` the last one with a close, ``terminal_return`` NaN (unknown), ``reason``
        ``"unknown"``; sorted by session, asset.
    """
    settings = config or UniverseConfig()
    present = np.isfinite(panel.field("close"))
    n_rows = panel.shape[0]
    last = n_rows - 1 - np.argmax(present[::-1], axis=0)
    gone = present.any(axis=0) & (n_rows - 1 - last >= settings.min_silent_sessions)
    columns = np.flatnonzero(gone)
    table = pd.DataFrame(
        {
            "asset_id": pd.Series([panel.asset_ids[i] for i in columns], dtype="str"),
            "session": panel.time.values[last[columns] + 1].astype(_STAMP),
            "last_session": panel.time.values[last[columns]].astype(_STAMP),
            "terminal_return": np.full(columns.size, np.nan),
            "reason": pd.Series([INFERRED_REASON] * columns.size, dtype="str"),
        }
    )
    return table.sort_values(["session", "asset_id"], ignore_index=True)


def read_delistings(
    path: Path, *, calendar: str = "XNYS", renames: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Read delistings from a CSV with ``ticker,last_session,terminal_return,reason``.

    Parameters
    ----------
    path : Path
        ``last_session`` is the last session with a trade; ``terminal_return`` is the simple
        return on its close, empty = unknown.
    calendar : str
        Exchange whose next session counts as the first one without the asset.
    renames : mapping of str to str, optional
        Ticker in the file -> ticker in the prices.

    Returns
    -------
    DataFrame
        Columns of `DELISTING_COLUMNS`.

    Raises
    ------
    UnreadableFileError, MissingFieldError, DataError
        For an unusable file.
    """
    table = _read_table(path, ("ticker", "last_session", "terminal_return", "reason"), "delistings")
    numbers = pd.to_numeric(table["terminal_return"].replace("", np.nan), errors="coerce")
    bad = numbers.isna() & (table["terminal_return"] != "")
    if bad.any():
        raise DataError(
            "delistings.terminal_return",
            wanted="numbers or nothing",
            got=repr(table.loc[bad, "terminal_return"].iloc[0]),
            hint="-0.30 means 30 % below the last close.",
        )
    last = _dates(table["last_session"], "last_session")
    return pd.DataFrame(
        {
            "asset_id": _ids(table["ticker"], renames),
            "session": next_session(last, calendar),
            "last_session": last,
            "terminal_return": numbers.astype("float64"),
            "reason": table["reason"].astype("str"),
        }
    )


def next_session(dates: pd.Series, calendar: str) -> pd.Series:
    """Return the first session of a calendar after each date.

    Parameters
    ----------
    dates : Series of datetime64
        NaT stays NaT.
    calendar : str
        Exchange calendar.

    Returns
    -------
    Series of datetime64[us]
    """
    days = dates.to_numpy().astype("datetime64[D]")
    known = ~np.isnat(days)
    result = np.full(days.size, np.datetime64("NaT", "D"))
    if known.any():
        # Ten days reach past every run of weekends and holidays.
        axis = sessions_between(calendar, days[known].min(), days[known].max() + 10)
        result[known] = axis[np.searchsorted(axis, days[known], side="right")]
    return pd.Series(result.astype(_STAMP), index=dates.index)


@dataclass(frozen=True)
class Survivorship:
    """Whether a universe may be called free of survivorship bias.

    Parameters
    ----------
    safe : bool
        True only when nothing speaks against it.
    reasons : tuple of str
        What is missing; empty when safe.

    Examples
    --------
    >>> Survivorship(False, ("no membership history",)).safe
    False
    """

    safe: bool
    reasons: tuple[str, ...]


def judge_survivorship(
    coverage: pd.DataFrame | None,
    delistings: pd.DataFrame | None,
    config: UniverseConfig | None = None,
) -> Survivorship:
    """Decide whether the label ``survivorship_safe`` is earned.

    Parameters
    ----------
    coverage : DataFrame or None
        From `coverage_table`; None = no membership history.
    delistings : DataFrame or None
        Delistings of the universe; None = none known. Rows with reason ``"unknown"`` were inferred
        from silence and do not count as known outcomes.
    config : UniverseConfig, optional
        The bar on coverage.

    Returns
    -------
    Survivorship
        With every reason against it.

    Examples
    --------
    >>> judge_survivorship(None, None).reasons
    ('no membership history', 'no delistings')
    """
    bar = (config or UniverseConfig()).min_covered_frac
    reasons = []
    if coverage is None:
        reasons.append("no membership history")
    else:
        worst = coverage["covered_frac"].min()
        if np.isnan(worst):
            reasons.append("no member on any session")
        elif worst < bar:
            day = coverage["covered_frac"].idxmin().date()
            reasons.append(f"prices cover {worst:.1%} of members on {day}, below {bar:.0%}")
    if delistings is None:
        reasons.append("no delistings")
    else:
        unknown = int((delistings["reason"] == INFERRED_REASON).sum())
        if unknown:
            reasons.append(f"{unknown} delistings inferred from series that end, outcome unknown")
    return Survivorship(not reasons, tuple(reasons))


def read_sectors(path: Path, *, renames: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read a table of symbols and sectors.

    Parameters
    ----------
    path : Path
        CSV with a symbol column (``Symbol`` or ``ticker``) and a sector column (``GICS Sector``
        or ``sector``).
    renames : mapping of str to str, optional
        Ticker in the file -> ticker or asset_id in the prices.

    Returns
    -------
    dict
        asset_id -> sector; rows without a sector are left out.

    Raises
    ------
    UnreadableFileError, MissingFieldError
        For an unusable file.
    """
    table = _read_table(path, (), "sectors")
    keyed = {name.strip().lower().replace("_", " "): name for name in table.columns}
    symbol = next((keyed[k] for k in ("symbol", "ticker") if k in keyed), None)
    sector = next((keyed[k] for k in ("gics sector", "sector") if k in keyed), None)
    if symbol is None or sector is None:
        raise MissingFieldError(
            f"columns of {path.name}",
            wanted="Symbol (or ticker) and GICS Sector (or sector)",
            got=", ".join(table.columns),
            hint="Rename the columns.",
        )
    known = table[table[sector] != ""]
    return dict(zip(_ids(known[symbol], renames), known[sector], strict=True))


def sector_group(sectors: Mapping[str, str], panel: Panel) -> GroupTable:
    """Build the sector table of a panel from one sector per asset.

    Parameters
    ----------
    sectors : mapping of str to str
        asset_id -> sector. One vintage for all sessions: sectors change rarely, but a file of
        today's sectors is not point in time, and the loader says so.
    panel : Panel
        Gives shape and assets.

    Returns
    -------
    GroupTable
        Codes constant over time; -1 = unknown.
    """
    categories = tuple(sorted({sectors[a] for a in panel.asset_ids if a in sectors}))
    position = {name: i for i, name in enumerate(categories)}
    row = np.array(
        [position[sectors[a]] if a in sectors else -1 for a in panel.asset_ids], dtype=np.int16
    )
    return GroupTable(np.tile(row, (panel.shape[0], 1)), categories)


def survivorship_comparison(panel: Panel) -> pd.DataFrame:
    """Compare equal-weight returns with and without survivorship, year by year.

    Three universes: *members* (mask ``member`` on the session before), *all* (every name with
    prices), *survivors* (only names that still trade on the last session, which is what a list of
    today's names gives). Total simple close-to-close returns, averaged over names each session and
    compounded over the year; a session in which a name stops trading contributes nothing.

    Parameters
    ----------
    panel : Panel
        With ``close``, mask ``member`` and optional ``dividend``.

    Returns
    -------
    DataFrame
        Indexed by year: ``members_return``, ``all_return``, ``survivors_return`` (fractions),
        ``bias`` (survivors minus members) and the mean number of names of each.
    """
    returns = total_returns(panel)
    close = np.isfinite(panel.field("close"))
    known = np.isfinite(returns)
    member = np.zeros_like(close)
    member[1:] = panel.mask("member")[:-1]
    groups = {
        "members": known & member,
        "all": known,
        "survivors": known & close[-1][None, :],
    }
    year = panel.time.values.astype("datetime64[Y]").astype(np.int64) + 1970
    result: dict[str, npt.NDArray[np.float64]] = {}
    years = np.unique(year[1:])
    for name, chosen in groups.items():
        count = chosen.sum(axis=1)
        mean = np.where(chosen, returns, 0.0).sum(axis=1) / np.maximum(count, 1)
        result[f"{name}_return"] = np.array([np.prod(1 + mean[year == y]) - 1 for y in years])
        result[f"{name}_n"] = np.array([count[year == y].mean() for y in years])
    table = pd.DataFrame(result, index=pd.Index(years, name="year"))
    table["bias"] = table["survivors_return"] - table["members_return"]
    return table


def total_returns(panel: Panel) -> FloatMatrix:
    """Total simple return from close to close, ``(close_t + dividend_t) / close_(t-1) - 1``.

    Parameters
    ----------
    panel : Panel
        With ``close`` and, unless total-adjusted, optional ``dividend``.

    Returns
    -------
    ndarray of float64, shape (T, N)
        NaN in the first row and where either close is missing.
    """
    close = panel.field("close")
    cash = np.nan_to_num(panel.fields["dividend"]) if "dividend" in panel.fields else 0.0
    returns = np.full(panel.shape, np.nan)
    returns[1:] = ((close + cash)[1:] / close[:-1]) - 1.0
    return returns


def _read_table(path: Path, wanted: tuple[str, ...], what: str) -> pd.DataFrame:
    """Read a CSV as text; a ticker called NAN stays a ticker."""
    if not path.is_file():
        raise UnreadableFileError(
            what, wanted="a CSV file that exists", got=path.name, hint="Check the path."
        )
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UnreadableFileError(
            f"{what} {path.name}",
            wanted="a CSV file with a header",
            got=str(error),
            hint="Save it as comma-separated UTF-8 text.",
        ) from error
    missing = [name for name in wanted if name not in table.columns]
    if missing:
        raise MissingFieldError(
            f"columns of {path.name}",
            wanted=", ".join(wanted),
            got=", ".join(table.columns),
            hint=f"Add {', '.join(missing)}.",
        )
    return table


def _ids(tickers: pd.Series, renames: Mapping[str, str] | None) -> pd.Series:
    # A value may be an asset_id (PERMNO digits, TICKER@VENUE#n) or the ticker of the prices.
    given = {canonical_ticker(k): v for k, v in (renames or {}).items()}
    known = {k: v for k, v in given.items() if v.isdigit() or "@" in v}
    table = {k: canonical_ticker(v) for k, v in given.items() if k not in known}
    spelled = [canonical_ticker(ticker) for ticker in tickers]
    names = [known.get(ticker) or asset_id(table.get(ticker, ticker)) for ticker in spelled]
    return pd.Series(names, index=tickers.index, dtype="str")


def _dates(column: pd.Series, name: str) -> pd.Series:
    try:
        parsed = pd.to_datetime(column.where(column != "", None), format="%Y-%m-%d")
    except ValueError as error:
        raise DataError(
            name, wanted="dates written YYYY-MM-DD", got=str(error), hint="Correct the file."
        ) from error
    return parsed.astype(_STAMP)

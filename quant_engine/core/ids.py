"""Identity of securities: a stable ``asset_id`` per company, tickers only for display.

An ``asset_id`` is a CRSP PERMNO in digits where it is known, else ``TICKER@VENUE#n`` where *n*
counts the companies that used the ticker on that venue. The security master says which ticker
an asset carried between which sessions; joining by ticker is never done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.errors import ConfigError, IdentityError, SchemaMismatchError

UNKNOWN_VENUE = "US"
_ASSET_ID = re.compile(r"(?P<ticker>[^@#\s]+)@(?P<venue>[A-Z0-9]+)#(?P<number>[1-9][0-9]*)")
_PERMNO = re.compile(r"[0-9]{1,6}")
MASTER_COLUMNS = ("asset_id", "ticker", "valid_from", "valid_to")


def asset_id(ticker: str, *, venue: str = UNKNOWN_VENUE, number: int = 1) -> str:
    """Compose an identifier for a security without PERMNO.

    Parameters
    ----------
    ticker : str
        Display symbol, upper-cased here.
    venue : str
        Exchange code, ``"US"`` where unknown.
    number : int
        1 for the first company that used the ticker, 2 for the next.

    Returns
    -------
    str
        ``TICKER@VENUE#n``.

    Examples
    --------
    >>> asset_id("brk.b")
    'BRK.B@US#1'
    """
    return parse_asset_id("asset_id", f"{ticker.strip().upper()}@{venue}#{number}")


def parse_asset_id(parameter: str, text: str) -> str:
    """Return the identifier when it is well formed.

    Parameters
    ----------
    parameter : str
        Name used in the message.
    text : str
        Candidate.

    Returns
    -------
    str
        The same text.

    Raises
    ------
    ConfigError
        When it is neither PERMNO digits nor ``TICKER@VENUE#n``.
    """
    if _PERMNO.fullmatch(text) or _ASSET_ID.fullmatch(text):
        return text
    raise ConfigError(
        parameter,
        wanted="PERMNO digits or TICKER@VENUE#n",
        got=repr(text),
        hint="Use quant_engine.core.ids.asset_id(ticker) to compose one.",
    )


def ticker_of(identifier: str) -> str:
    """Return the ticker for display; PERMNO digits stand for themselves.

    Parameters
    ----------
    identifier : str
        An asset_id.

    Returns
    -------
    str
        Text for people, never a join key.

    Examples
    --------
    >>> ticker_of("TPR@US#1")
    'TPR'
    """
    match = _ASSET_ID.fullmatch(identifier)
    return match["ticker"] if match else identifier


def id_order(asset_ids: Sequence[str]) -> npt.NDArray[np.int64]:
    """Positions of identifiers in ascending order, the order of every table and tie.

    Parameters
    ----------
    asset_ids : sequence of str, length N
        Identifiers.

    Returns
    -------
    ndarray of int64, shape (N,)
        ``asset_ids[order[0]]`` is the smallest.

    Examples
    --------
    >>> id_order(("C@US#1", "A@US#1", "B@US#1")).tolist()
    [1, 2, 0]
    """
    return np.argsort(np.asarray(asset_ids, dtype=object), kind="stable")


def id_column(asset_ids: Sequence[str], positions: npt.NDArray[np.integer[Any]]) -> pd.Index[str]:
    """Identifiers of asset positions as a string column.

    Parameters
    ----------
    asset_ids : sequence of str, length N
        Identifiers by asset position.
    positions : ndarray of int, shape (R,)
        Positions.

    Returns
    -------
    Index
        Strings, shape (R,).

    Examples
    --------
    >>> id_column(("A@US#1", "B@US#1"), np.array([1, 0])).tolist()
    ['B@US#1', 'A@US#1']
    """
    column: pd.Index[str] = pd.Index(np.asarray(asset_ids, dtype=object)[positions], dtype="str")
    return column


@dataclass(frozen=True, eq=False)
class SecurityMaster:
    """Which ticker belonged to which asset between which sessions.

    Parameters
    ----------
    spells : DataFrame
        Columns ``asset_id, ticker, valid_from, valid_to`` (datetime64, valid_to exclusive,
        NaT = still valid). Two assets never carry one ticker on the same session.

    Examples
    --------
    >>> master = SecurityMaster.from_tickers(["COH"], renames={"COH": "TPR"})
    >>> master.spells["asset_id"].tolist()
    ['TPR@US#1']
    """

    spells: pd.DataFrame

    def __post_init__(self) -> None:
        missing = [name for name in MASTER_COLUMNS if name not in self.spells.columns]
        if missing:
            raise SchemaMismatchError(
                "security master",
                wanted=f"columns {MASTER_COLUMNS}",
                got=f"missing {missing}",
                hint="Add the columns; use NaT for open ends.",
            )
        spells = self.spells.loc[:, list(MASTER_COLUMNS)]
        spells = spells.sort_values(["ticker", "valid_from", "asset_id"], na_position="first")
        spells = spells.reset_index(drop=True)
        _refuse_overlaps(spells)
        object.__setattr__(self, "spells", spells)

    @classmethod
    def from_tickers(
        cls, tickers: list[str], *, renames: Mapping[str, str] | None = None
    ) -> SecurityMaster:
        """Build a master in which every ticker is one company for all time.

        Parameters
        ----------
        tickers : list of str
            Symbols as the vendor spells them.
        renames : mapping of str to str, optional
            Vendor spelling to the company's present ticker (a person's own table).

        Returns
        -------
        SecurityMaster
            One open-ended spell per ticker.
        """
        table = dict(renames or {})
        rows = [(asset_id(table.get(t, t)), t, pd.NaT, pd.NaT) for t in sorted(set(tickers))]
        frame = pd.DataFrame(rows, columns=list(MASTER_COLUMNS))
        stamp = "datetime64[us]"
        return cls(frame.astype({"valid_from": stamp, "valid_to": stamp}))

    def resolve(self, ticker: str, session: object) -> str:
        """Return the asset that carried a ticker on a session.

        Parameters
        ----------
        ticker : str
            Symbol as the vendor spells it.
        session : date-like
            Session on which the symbol was seen.

        Returns
        -------
        str
            The asset_id.

        Raises
        ------
        IdentityError
            When nobody carried the ticker on that session.
        """
        when = pd.Timestamp(str(session))
        spells = self.spells[self.spells["ticker"] == ticker]
        starts = spells["valid_from"].isna() | (spells["valid_from"] <= when)
        ends = spells["valid_to"].isna() | (spells["valid_to"] > when)
        found = spells.loc[starts & ends, "asset_id"]
        if len(found) != 1:
            raise IdentityError(
                f"ticker {ticker!r}",
                wanted=f"one company on {when.date()}",
                got=f"{len(found)}",
                hint="Add a row with its valid_from and valid_to to the security master.",
            )
        return str(found.iloc[0])


def _refuse_overlaps(spells: pd.DataFrame) -> None:
    far_past, far_future = np.datetime64("1800-01-01"), np.datetime64("2200-01-01")
    starts = spells["valid_from"].fillna(pd.Timestamp(far_past)).to_numpy()
    ends = spells["valid_to"].fillna(pd.Timestamp(far_future)).to_numpy()
    tickers = spells["ticker"].to_numpy()
    empty = starts >= ends
    if empty.any():
        row = int(np.flatnonzero(empty)[0])
        raise IdentityError(
            f"ticker {tickers[row]!r}",
            wanted="valid_from before valid_to",
            got=f"{starts[row]} and {ends[row]}",
            hint="valid_to is the first session on which the ticker was no longer carried.",
        )
    clash = (tickers[1:] == tickers[:-1]) & (starts[1:] < ends[:-1])
    if clash.any():
        row = int(np.flatnonzero(clash)[0])
        raise IdentityError(
            f"ticker {tickers[row]!r}",
            wanted="one company per ticker and session",
            got=f"{spells['asset_id'].iloc[row]} and {spells['asset_id'].iloc[row + 1]} overlap",
            hint="End the first spell (valid_to) where the second one starts (valid_from).",
        )

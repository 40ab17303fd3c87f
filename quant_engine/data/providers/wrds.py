"""CRSP daily stock file from WRDS (extra ``wrds``): PERMNO identity, dividends and delistings.

Read from CRSP's flat file format 2.0 (``crsp.dsf_v2`` and ``crsp.stkdelists``) by parameterised SQL
over SQLAlchemy; the password comes from the person's ``~/.pgpass`` through libpq, never from a
setting. CRSP publishes raw prices with cumulative factors; here

* ``price / dlycumfacpr`` and ``volume * dlycumfacshr`` give the split-adjusted basis,
* ``dlyprc`` is negative where it is the mid of bid and ask: the day had no trade, so its close is
  kept (positive) and its volume is zero, which makes it not tradable,
* the asset_id is the PERMNO; a ticker is only shown.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    MissingExtraError,
    SchemaMismatchError,
    SourceUnavailableError,
)
from quant_engine.core.panel import PriceBasis
from quant_engine.core.registry import PluginMetadata
from quant_engine.data.bars import LoadedBars, canonical_ticker
from quant_engine.data.providers.registry import PROVIDERS, Availability, BarQuery, Provider

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = [
    "BARS_SQL",
    "DELISTINGS_SQL",
    "WrdsConfig",
    "WrdsProvider",
    "bars_from_crsp",
    "run_on",
]

# Every PERMNO that ever carried one of the tickers inside the range, with its whole history there.
BARS_SQL = """
select d.permno, d.ticker, d.dlycaldt, d.dlyopen, d.dlyhigh, d.dlylow, d.dlyclose, d.dlyprc,
       d.dlyvol, d.dlyorddivamt, d.dlynonorddivamt, d.dlycumfacpr, d.dlycumfacshr
from crsp.dsf_v2 d
where d.permno in (
        select distinct n.permno from crsp.stksecurityinfohist n
        where n.ticker in :tickers and n.secinfoenddt >= :start and n.secinfostartdt <= :end)
  and d.dlycaldt between :start and :end
order by d.permno, d.dlycaldt
"""
DELISTINGS_SQL = """
select permno, delistingdt, delret, delreasontype, delactiontype
from crsp.stkdelists
where permno in :permnos
"""
_NEEDED = (
    "permno ticker dlycaldt dlyopen dlyhigh dlylow dlyclose dlyprc dlyvol dlyorddivamt "
    "dlynonorddivamt dlycumfacpr dlycumfacshr"
).split()
_FIRST_DAY, _LAST_DAY = "1925-12-31", "2261-12-31"
# CRSP flags: MER = merger or acquisition; everything else is named by CRSP's own word, lower case.
_REASONS = {"MER": "merger", "ACQ": "acquisition"}

RunQuery = Callable[[str, Mapping[str, object]], pd.DataFrame]
"""``run(sql, parameters)`` -> DataFrame."""


class WrdsConfig(FrozenConfig):
    """Where WRDS is.

    Parameters
    ----------
    username : str
        WRDS account; the password stands in ``~/.pgpass``.
    host : str
        Server.
    port : int
        Port.
    database : str
        Name of the database.
    connect_timeout_s : int
        Seconds to wait for a connection.

    Examples
    --------
    >>> WrdsConfig(username="me").port
    9737
    """

    username: str = ""
    host: str = "wrds-pgdata.wharton.upenn.edu"
    port: int = Field(default=9737, gt=0)
    database: str = "wrds"
    connect_timeout_s: int = Field(default=20, gt=0)


def bars_from_crsp(
    daily: pd.DataFrame,
    delistings: pd.DataFrame | None = None,
    *,
    asked: tuple[str, ...] = (),
) -> LoadedBars:
    """Turn rows of ``crsp.dsf_v2`` into split-adjusted bars keyed by PERMNO.

    Parameters
    ----------
    daily : DataFrame
        Columns of `BARS_SQL`.
    delistings : DataFrame, optional
        Columns of `DELISTINGS_SQL`.
    asked : tuple of str
        Tickers that were asked for. A PERMNO is shown under the asked ticker that it carried last
        (FB stays FB although it is META today), else under its latest one.

    Returns
    -------
    LoadedBars
        With ``delistings`` where given. Of several PERMNOs with one display ticker the one that
        traded last keeps it, the others are shown as ``TICKER_PERMNO``.

    Raises
    ------
    SchemaMismatchError
        When a column is absent.

    Examples
    --------
    >>> row = dict(permno=14593, ticker="AAPL", dlycaldt="2014-06-06", dlyopen=649.9,
    ...     dlyhigh=651.26, dlylow=644.47, dlyclose=645.57, dlyprc=645.57, dlyvol=12484000,
    ...     dlyorddivamt=0.0, dlynonorddivamt=0.0, dlycumfacpr=28.0, dlycumfacshr=28.0)
    >>> bars = bars_from_crsp(pd.DataFrame([row]))
    >>> bars.asset_ids, round(float(bars.frame["close"].iloc[0]), 4)
    (('14593',), 23.0561)
    """
    missing = [name for name in _NEEDED if name not in daily]
    if missing:
        raise SchemaMismatchError(
            "answer of wrds",
            wanted=f"columns {', '.join(_NEEDED)}",
            got=f"no {', '.join(missing)}",
            hint="CRSP changed its table; check crsp.dsf_v2.",
        )
    table = daily.sort_values(["permno", "dlycaldt"], kind="stable", ignore_index=True)
    permno = table["permno"].astype("int64").astype(str)
    shown = _display_tickers(table.assign(permno=permno), asked)
    numbers = {name: _floats(table[name]) for name in _NEEDED[3:]}
    price_factor = np.where(numbers["dlycumfacpr"] > 0, numbers["dlycumfacpr"], np.nan)
    share_factor = np.where(numbers["dlycumfacshr"] > 0, numbers["dlycumfacshr"], np.nan)
    last = numbers["dlyprc"]
    close = np.where(np.isnan(numbers["dlyclose"]), np.abs(last), numbers["dlyclose"])
    cash = np.nan_to_num(numbers["dlyorddivamt"]) + np.nan_to_num(numbers["dlynonorddivamt"])
    volume = np.where(last < 0, 0.0, numbers["dlyvol"])
    fields = {
        "open": numbers["dlyopen"] / price_factor,
        "high": numbers["dlyhigh"] / price_factor,
        "low": numbers["dlylow"] / price_factor,
        "close": close / price_factor,
        "volume": volume * share_factor,
        # The cash of an ex-session is paid on the shares of that session.
        "dividend": cash / price_factor,
    }
    return LoadedBars.from_columns(
        ticker=pd.Categorical(permno.map(shown)),
        session=pd.to_datetime(table["dlycaldt"]),
        fields=fields,
        vendor="wrds",
        price_basis=PriceBasis.SPLIT_ADJ,
        details={
            "asset_ids": {ticker: number for number, ticker in shown.items()},
            "columns": {"date": "dlycaldt", "close": "dlyclose", "volume": "dlyvol"},
            "date_pattern": "typed dates",
            "delistings": None if delistings is None else _delistings(delistings),
        },
    )


@dataclass(frozen=True)
class WrdsProvider:
    """Provider of CRSP daily history.

    Parameters
    ----------
    config : WrdsConfig
        Where WRDS is.
    run : callable, optional
        Replaces the database (tests).
    """

    config: WrdsConfig
    run: RunQuery | None = None
    name: str = "wrds"

    def available(self) -> Availability:
        """Tell whether SQLAlchemy and psycopg are installed and an account is named."""
        if self.run is not None:
            return Availability(True)
        for package in ("sqlalchemy", "psycopg"):
            if importlib.util.find_spec(package) is None:
                error = MissingExtraError.for_extra("wrds", package=package, purpose="WRDS")
                return Availability(False, str(error), error)
        if not self.config.username:
            return Availability(False, "no WRDS account is named (provider parameter username)")
        return Availability(True)

    def load(self, query: BarQuery) -> LoadedBars:
        """Ask CRSP for the symbols of a query.

        Raises
        ------
        ConfigError
            When no symbol is named.
        SourceUnavailableError
            When WRDS does not answer, or knows none of the symbols.
        """
        if not query.tickers:
            raise ConfigError(
                "tickers",
                wanted="symbols to ask WRDS for",
                got="none",
                hint="Name them with --tickers.",
            )
        run = self.run or _connect(self.config)
        names = tuple(canonical_ticker(t).split(".")[0] for t in query.tickers)
        bounds = {
            "start": _FIRST_DAY if query.start is None else query.start.isoformat(),
            "end": _LAST_DAY if query.end is None else query.end.isoformat(),
        }
        daily = run(BARS_SQL, {"tickers": names, **bounds})
        if daily.empty:
            raise SourceUnavailableError(
                "wrds",
                wanted=f"prices of {', '.join(names[:5])}",
                got="none",
                hint="Check the symbols and the subscription.",
            )
        permnos = tuple(int(p) for p in daily["permno"].unique())
        return bars_from_crsp(daily, run(DELISTINGS_SQL, {"permnos": permnos}), asked=names)


@PROVIDERS.register(
    "wrds",
    metadata=PluginMetadata(
        summary="CRSP daily stock file from WRDS (trusted, PERMNO identity, delistings).",
        params=WrdsConfig,
        source="CRSP US Stock and Indexes Databases, flat file format 2.0 (CIZ)",
        extra="wrds",
    ),
)
def wrds_provider(config: FrozenConfig, path: Path | None) -> Provider:
    """Build the WRDS provider; `path` is not used."""
    return WrdsProvider(WrdsConfig.model_validate(config.content()))


def _display_tickers(table: pd.DataFrame, asked: tuple[str, ...]) -> dict[str, str]:
    """PERMNO -> display ticker, unique; rows come sorted by PERMNO and date."""
    named = table[table["ticker"].notna() & (table["ticker"] != "")]
    latest = dict(zip(table["permno"], table["permno"], strict=True))
    latest |= dict(zip(named["permno"], named["ticker"], strict=True))
    wanted = named[named["ticker"].isin(asked)]
    latest |= dict(zip(wanted["permno"], wanted["ticker"], strict=True))
    last_day = table.groupby("permno")["dlycaldt"].max()
    holder: dict[str, str] = {}
    for number in sorted(latest, key=lambda p: (str(last_day[p]), p)):
        holder[latest[number]] = number
    return {
        number: canonical_ticker(name if holder[name] == number else f"{name}_{number}")
        for number, name in latest.items()
    }


def _delistings(table: pd.DataFrame) -> pd.DataFrame:
    reason = table["delactiontype"].fillna("").astype(str).str.upper()
    named = reason.map(_REASONS)
    own = table["delreasontype"].fillna("").astype(str).str.lower()
    return pd.DataFrame(
        {
            "asset_id": table["permno"].astype("int64").astype(str),
            "last_session": pd.to_datetime(table["delistingdt"]).astype("datetime64[us]"),
            "terminal_return": _floats(table["delret"]),
            "reason": named.where(named.notna(), own.where(own != "", "delisted")).astype("str"),
        }
    ).dropna(subset=["last_session"], ignore_index=True)


def _floats(column: pd.Series) -> np.ndarray:
    return pd.to_numeric(column).to_numpy(dtype=np.float64, na_value=np.nan)


def _connect(config: WrdsConfig) -> RunQuery:
    import sqlalchemy  # noqa: PLC0415  optional extra

    url = sqlalchemy.URL.create(
        "postgresql+psycopg",
        username=config.username,
        host=config.host,
        port=config.port,
        database=config.database,
        query={"sslmode": "require", "connect_timeout": str(config.connect_timeout_s)},
    )
    return run_on(sqlalchemy.create_engine(url))


def run_on(engine: Engine) -> RunQuery:
    """Return a function that runs parameterised statements on a database.

    Parameters
    ----------
    engine : sqlalchemy.Engine
        Any database with CRSP's tables.

    Returns
    -------
    callable
        ``run(sql, parameters)``; tuples become ``in (...)`` lists.
    """
    import sqlalchemy  # noqa: PLC0415  optional extra
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    def run(sql: str, parameters: Mapping[str, object]) -> pd.DataFrame:
        lists = [name for name, value in parameters.items() if isinstance(value, tuple)]
        binds = [sqlalchemy.bindparam(name, expanding=True) for name in lists]
        statement = sqlalchemy.text(sql).bindparams(*binds)
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()}
        try:
            with engine.connect() as connection:
                return pd.read_sql_query(statement, connection, params=values)
        except (SQLAlchemyError, pd.errors.DatabaseError) as error:
            # pandas wraps the driver's error; the driver's first line says what happened.
            raise SourceUnavailableError(
                "wrds",
                wanted="an answer from WRDS",
                got=str(error.__cause__ or error).splitlines()[0],
                hint="Check the account, ~/.pgpass and the network.",
            ) from error

    return run

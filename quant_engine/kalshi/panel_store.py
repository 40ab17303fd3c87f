"""Panels from the store: the frames that a panel is made of, and the labels apart from them."""

from __future__ import annotations

import duckdb
import pandas as pd
import pyarrow as pa

from quant_engine.core.errors import LookAheadError
from quant_engine.core.progress import SILENT, Progress
from quant_engine.kalshi.audit import View
from quant_engine.kalshi.events import ladder_panel
from quant_engine.kalshi.panel import EventPanel, PanelConfig, PanelInputs, event_panel
from quant_engine.kalshi.payoffs import Contract

__all__ = [
    "LABEL_COLUMNS",
    "label_frame",
    "leg_results",
    "panel_view",
    "read_inputs",
    "store_panel",
]

LABEL_COLUMNS: dict[str, str] = {
    "release_id": "Int64", "cluster_id": "Int64", "value": "float64", "unit": "string",
    "print_kind": "string", "publish_us": "Int64", "label_avail_us": "Int64",
}  # fmt: skip
"""Columns of labels, with their types."""

# The first names that were known: a later one never changes which event a market belongs to.
_PLACES = """
    SELECT market_id, arg_min(event_id, (avail_us, kid)) FILTER (event_id IS NOT NULL) AS event_id,
      arg_min(ticker, (avail_us, kid)) FILTER (ticker IS NOT NULL) AS ticker
    FROM market_v WHERE avail_us <= $last GROUP BY market_id"""
_TRADES = f"""
    SELECT p.event_id, p.ticker, t.event_us, t.avail_us, t.yes_price_e4, t.count_c2,
      t.taker_outcome, t.is_block
    FROM trade t JOIN ({_PLACES}) p USING (market_id)
    WHERE t.avail_us <= $last AND p.event_id IS NOT NULL
    ORDER BY p.event_id, t.avail_us, t.event_us, t.kid"""
_TICKS = {
    "quote": f"""SELECT p.event_id, p.ticker, q.event_us, q.avail_us, q.volume_c2, q.oi_c2
        FROM quote q JOIN ({_PLACES}) p USING (market_id)
        WHERE q.avail_us <= $last AND p.event_id IS NOT NULL
        ORDER BY p.event_id, q.avail_us, q.event_us, q.kid""",
    # The volume of a candle is that of its period, not the volume so far.
    "candle": f"""SELECT p.event_id, p.ticker, c.end_us AS event_us, c.avail_us,
          NULL::BIGINT AS volume_c2, c.oi_c2
        FROM candle c JOIN ({_PLACES}) p USING (market_id)
        WHERE c.avail_us <= $last AND p.event_id IS NOT NULL
        ORDER BY p.event_id, c.avail_us, c.end_us, c.kid""",
}
_SERIES = """
    SELECT event_id, arg_min(series_id, (avail_us, kid)) AS series_id, min(avail_us) AS avail_us
    FROM event_v WHERE series_id IS NOT NULL AND avail_us <= $last GROUP BY event_id
    ORDER BY event_id"""
_OUTCOMES = """
    SELECT release_id, value, unit, publish_us, avail_us FROM outcome
    WHERE print_kind = 'first_print' AND avail_us <= $last
    QUALIFY row_number() OVER (PARTITION BY release_id ORDER BY avail_us, vintage, kid) = 1
    ORDER BY release_id"""


def _query_frame(connection: duckdb.DuckDBPyConnection, sql: str, last_us: int) -> pd.DataFrame:
    return connection.execute(sql, {"last": last_us}).df()


def read_inputs(
    connection: duckdb.DuckDBPyConnection, config: PanelConfig, *, until_us: int | None = None
) -> PanelInputs:
    """Frames of a panel.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    config : PanelConfig
        Says which horizons and which source of quotes.
    until_us : int, optional
        Latest decision; all where None.

    Returns
    -------
    PanelInputs
        Rows that became available by the last decision. Quote records are candles where quotes come
        from candles, else what the store holds as quotes: an archive that was fetched after the end
        has none from before it, and its lifetime volume is not known at any decision.
    """
    looks = ladder_panel(connection, config.looks_s, config=config.look, until_us=until_us)
    last_us = max((look.asof_us for look in looks), default=0)
    ticks = _TICKS.get(config.look.source, _TICKS["quote"])
    return PanelInputs(
        looks=looks,
        trades=_query_frame(connection, _TRADES, last_us),
        ticks=_query_frame(connection, ticks, last_us),
        outcomes=_query_frame(connection, _OUTCOMES, last_us),
        series=_query_frame(connection, _SERIES, last_us),
    )


def store_panel(
    connection: duckdb.DuckDBPyConnection,
    config: PanelConfig,
    *,
    until_us: int | None = None,
    progress: Progress = SILENT,
) -> EventPanel:
    """Panel of everything that a store holds.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    config : PanelConfig
        How.
    until_us : int, optional
        Latest decision; all where None.
    progress : Progress
        Told about every event.

    Returns
    -------
    EventPanel
    """
    return event_panel(
        read_inputs(connection, config, until_us=until_us), config, progress=progress
    )


def label_frame(
    connection: duckdb.DuckDBPyConnection, panel: EventPanel, *, asof_us: int | None = None
) -> pd.DataFrame:
    """First prints of the events of a panel, apart from it.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.
    panel : EventPanel
        Says which events, releases and clusters.
    asof_us : int, optional
        Labels that were available by then; all where None.

    Returns
    -------
    pandas.DataFrame
        Index ``event_id``, columns :data:`LABEL_COLUMNS`; an event without an outcome is NaN. A
        revision never stands in for a first print.

    Raises
    ------
    LookAheadError
        A label that was available at a decision on its event.
    """
    last_us = (1 << 62) if asof_us is None else asof_us
    printed = _query_frame(connection, _OUTCOMES, last_us).rename(
        columns={"avail_us": "label_avail_us"}
    )
    printed["release_id"] = printed["release_id"].astype("Int64")
    # The latest decision knows most about where an event belongs.
    newest = panel.looks.reset_index().sort_values(["event_id", "asof_us"])
    events = newest.drop_duplicates("event_id", keep="last")
    labels = events[["event_id", "release_id", "cluster_id", "asof_us"]].merge(
        printed, on="release_id", how="left"
    )
    early = (labels["label_avail_us"] <= labels["asof_us"]).fillna(value=False)
    if early.any():
        raise LookAheadError(
            "labels",
            wanted="first prints that come out after every decision on their event",
            got=f"{int(early.sum())} that were known before",
            hint="The schedule or the availability of the outcome is wrong.",
        )
    labels["print_kind"] = labels["value"].notna().map({True: "first_print", False: None})
    return labels.set_index("event_id")[list(LABEL_COLUMNS)].astype(LABEL_COLUMNS)


def leg_results(legs: pd.DataFrame, labels: pd.DataFrame) -> pd.Series:
    """Whether each leg pays, for fitting and scoring.

    Parameters
    ----------
    legs : pandas.DataFrame
        Legs of a panel.
    labels : pandas.DataFrame
        As :func:`label_frame` gives them.

    Returns
    -------
    pandas.Series
        float64 on the index of `legs`: 1 where the first print lies in the leg's payoff set, 0
        where not, NaN without a print.

    Examples
    --------
    >>> names = ["event_id", "horizon_s", "ticker"]
    >>> legs = pd.DataFrame(
    ...     {"strike_type": "greater", "floor_strike": [70.0, 75.0], "cap_strike": float("nan")},
    ...     index=pd.MultiIndex.from_tuples([(1, 60, "A"), (1, 60, "B")], names=names),
    ... )
    >>> leg_results(legs, pd.DataFrame({"value": [73.0]}, index=[1])).tolist()
    [1.0, 0.0]
    """
    values = labels["value"].reindex(legs.index.get_level_values("event_id")).to_numpy()
    strikes = legs[["strike_type", "floor_strike", "cap_strike"]].itertuples()
    paid = [
        float("nan") if value != value else float(_contract(row).payoff().contains(float(value)))
        for row, value in zip(strikes, values, strict=True)
    ]
    return pd.Series(paid, index=legs.index, dtype="float64", name="paid")


def _contract(row: tuple[object, ...]) -> Contract:
    (_, _, ticker), strike_type, floor, cap = row  # type: ignore[misc]
    floor, cap = (None if strike != strike else float(strike) for strike in (floor, cap))
    return Contract(str(ticker), str(strike_type), floor, cap)


def panel_view(config: PanelConfig) -> View:
    """The panel as a view for :func:`~quant_engine.kalshi.audit.audit_views`.

    Parameters
    ----------
    config : PanelConfig
        How.

    Returns
    -------
    callable
        Connection and moment to the looks and legs of all decisions by then, as one table.
    """

    def view(connection: duckdb.DuckDBPyConnection, asof_us: int) -> pa.Table:
        panel = store_panel(connection, config, until_us=asof_us)
        looks, legs = panel.looks.reset_index(), panel.legs.reset_index()
        joined = legs.merge(looks, on=["event_id", "horizon_s"], how="outer")
        return pa.Table.from_pandas(joined, preserve_index=False)

    return view

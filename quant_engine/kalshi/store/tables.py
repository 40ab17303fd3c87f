"""Tables of the event-time store: columns, units, natural keys; the one place that names them.

Units stand in the names: ``_e4`` prices in 1e-4 dollars, ``_c2`` contracts in hundredths, ``_e6``
money in 1e-6 dollars, ``_us`` microseconds since 1970 UTC. Every fact carries five columns:

============== ==================================================================================
``recorded_us`` when somebody wrote it down
``avail_us``    the earliest moment at which a live system would have had it; as-of reads use this
``avail_basis`` what ``avail_us`` rests on, one of :data:`BASES`
``src``         which source it came from
``kid``         rank of the knowledge within its table, in the order of arrival
============== ==================================================================================

The run that wrote a row stands in ``ingest_log`` by ranges of ``kid``, so that a row's bytes do not
depend on the run. NULL means unknown or absent, never 0: a quote without a bid has no bid.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import pyarrow as pa

from quant_engine.core.errors import ConfigError, did_you_mean

__all__ = ["BASES", "FACT_COLUMNS", "TABLES", "Table", "ddl", "table_named"]

BASES = (
    "recorded",
    "ws_send+lag",
    "trade_ts+lag",
    "candle_end+lag",
    "release_calendar",
    "assumed",
)
"""What an ``avail_us`` may rest on; only ``recorded`` was truly observed at that moment."""

FACT_COLUMNS = "recorded_us BIGINT, avail_us BIGINT, avail_basis VARCHAR, src VARCHAR, kid BIGINT"
_ARROW = {
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "DOUBLE": pa.float64(),
    "VARCHAR": pa.string(),
    "BOOLEAN": pa.bool_(),
    "BLOB": pa.binary(),
    "DOUBLE[]": pa.list_(pa.float64()),
    "VARCHAR[]": pa.list_(pa.string()),
}
Kind = Literal["append", "versions", "book"]


@dataclass(frozen=True)
class Table:
    """One table.

    Parameters
    ----------
    name : str
        Its name.
    kind : {"append", "versions", "book"}
        ``append`` keeps the first row of a natural key; ``versions`` keeps a row whenever the known
        state of its entity changes; ``book`` is bookkeeping of the store itself and has no key.
    key : tuple of str
        Natural key of an appended row, or the columns that name the entity.
    text : str
        Own columns, ``name TYPE, name TYPE``.
    window : str
        Time column of the key: repetitions are looked for only within a batch's stretch of it.

    Examples
    --------
    >>> table_named("trade").key
    ('trade_id', 'event_us')
    """

    name: str
    kind: Kind
    key: tuple[str, ...]
    text: str
    window: str = ""

    @cached_property
    def columns(self) -> dict[str, str]:
        """Column to its type in the database, own columns first."""
        facts = "" if self.kind == "book" else ", " + FACT_COLUMNS
        pairs = (part.split() for part in (self.text + facts).split(","))
        return {name: kind for name, kind in pairs}

    @cached_property
    def own(self) -> tuple[str, ...]:
        """Columns that say what is known, without the key and without when it was known."""
        known = {part.split()[0] for part in FACT_COLUMNS.split(",")} | {*self.key, "row_hash"}
        return tuple(name for name in self.columns if name not in known)

    @cached_property
    def schema(self) -> pa.Schema:
        """The same columns for Arrow."""
        return pa.schema([(name, _ARROW[kind]) for name, kind in self.columns.items()])


def _append(name: str, key: str, text: str, window: str = "") -> Table:
    return Table(name, "append", tuple(key.split()), " ".join(text.split()), window)


def _versions(name: str, key: str, text: str) -> Table:
    return Table(
        name, "versions", tuple(key.split()), " ".join(text.split()) + ", row_hash VARCHAR"
    )


_CANDLE_PRICES = ", ".join(
    f"{side}_{letter}_e4 INTEGER" for side in ("bid", "ask", "px") for letter in "ohlc"
)
_DISTRIBUTION = ", ".join(
    f"{name} DOUBLE"
    for name in (
        "mean mean_sd sd sd_sd skew q05 q10 q25 q50 q75 q90 q95 entropy p_lo_tail p_hi_tail "
        "post_sd_mean incoherence_e4 outside_band neg_mass_pre isotonic_l1 median_half_spread_e4 "
        "median_age_s quality"
    ).split()
)

TABLES: tuple[Table, ...] = (
    Table("dimension", "book", ("kind", "name"), "kind VARCHAR, name VARCHAR, id INTEGER"),
    Table(
        "ingest_checkpoint", "book", ("job", "name"),
        "job VARCHAR, name VARCHAR, mark VARCHAR, hi_event_us BIGINT, hi_recorded_us BIGINT",
    ),
    Table(
        "ingest_log", "book", (),
        "run_id VARCHAR, table_name VARCHAR, first_kid BIGINT, n_offered BIGINT, n_new BIGINT",
    ),
    _append(
        "raw_message", "sha256 endpoint recorded_us",
        "sha256 VARCHAR, channel VARCHAR, endpoint VARCHAR, http_status INTEGER, "
        "publish_us BIGINT, body_zstd BLOB, body_bytes BIGINT", "recorded_us",
    ),
    _versions(
        "series_v", "series_id",
        "series_id INTEGER, series_ticker VARCHAR, title VARCHAR, category VARCHAR, "
        "frequency VARCHAR, fee_type VARCHAR, fee_multiplier DOUBLE",
    ),
    _versions(
        "event_v", "event_id",
        "event_id INTEGER, event_ticker VARCHAR, series_id INTEGER, title VARCHAR, "
        "sub_title VARCHAR, category VARCHAR, mutually_exclusive BOOLEAN, "
        "collateral_return_type VARCHAR, strike_us BIGINT, strike_period VARCHAR, "
        "fee_type_override VARCHAR, fee_multiplier_override DOUBLE",
    ),
    _versions(
        "market_v", "market_id",
        """market_id INTEGER, ticker VARCHAR, event_id INTEGER, market_type VARCHAR,
        strike_type VARCHAR, floor_strike DOUBLE, cap_strike DOUBLE, strike_basis VARCHAR,
        functional_strike VARCHAR, custom_strike VARCHAR, yes_sub_title VARCHAR,
        rules_hash VARCHAR, status VARCHAR, created_us BIGINT, open_us BIGINT, close_us BIGINT,
        close_is_final BOOLEAN, expected_exp_us BIGINT, latest_exp_us BIGINT,
        can_close_early BOOLEAN, settlement_timer_s INTEGER, price_ranges VARCHAR,
        notional_e6 BIGINT, is_provisional BOOLEAN""",
    ),
    _versions(
        "market_result", "market_id",
        "market_id INTEGER, result VARCHAR, settlement_value_e6 BIGINT, "
        "expiration_value_text VARCHAR, expiration_value DOUBLE, settled_us BIGINT, "
        "disputed BOOLEAN",
    ),
    _append(
        "quote", "market_id src event_us ordinal avail_us",
        """market_id INTEGER, event_us BIGINT, ordinal INTEGER, publish_us BIGINT, bid_e4 INTEGER,
        ask_e4 INTEGER, bid_sz_c2 BIGINT, ask_sz_c2 BIGINT, last_e4 INTEGER, volume_c2 BIGINT,
        oi_c2 BIGINT, book_ok BOOLEAN""", "event_us",
    ),
    _append(
        "book_level", "market_id src event_us side price_e4",
        "market_id INTEGER, event_us BIGINT, side VARCHAR, price_e4 INTEGER, size_c2 BIGINT",
        "event_us",
    ),
    _append(
        "book_gap", "market_id sid from_us",
        "market_id INTEGER, sid INTEGER, from_seq BIGINT, to_seq BIGINT, from_us BIGINT, "
        "to_us BIGINT, reason VARCHAR", "from_us",
    ),
    _append(
        "trade", "trade_id event_us",
        "trade_id VARCHAR, market_id INTEGER, event_us BIGINT, yes_price_e4 INTEGER, "
        "count_c2 BIGINT, taker_outcome VARCHAR, is_block BOOLEAN", "event_us",
    ),
    _append(
        "candle", "market_id period_min end_us src",
        f"market_id INTEGER, period_min INTEGER, end_us BIGINT, {_CANDLE_PRICES}, "
        "px_mean_e6 BIGINT, px_prev_e4 INTEGER, volume_c2 BIGINT, oi_c2 BIGINT, "
        "tier VARCHAR, synthetic BOOLEAN", "end_us",
    ),
    _append(
        "fee_schedule", "scope scope_id effective_us",
        "scope VARCHAR, scope_id INTEGER, fee_type VARCHAR, multiplier DOUBLE, "
        "effective_us BIGINT", "effective_us",
    ),
    _versions(
        "release", "release_id",
        "release_id INTEGER, release_name VARCHAR, family VARCHAR, reference_period VARCHAR, "
        "scheduled_us BIGINT, actual_us BIGINT, tz VARCHAR",
    ),
    _append(
        "outcome", "release_id print_kind vintage",
        "release_id INTEGER, print_kind VARCHAR, vintage INTEGER, value DOUBLE, unit VARCHAR, "
        "publish_us BIGINT",
    ),
    _versions(
        "event_map", "event_id",
        "event_id INTEGER, release_id INTEGER, cluster_id INTEGER, cluster VARCHAR",
    ),
    _append(
        "distribution", "event_id asof_us algo_version",
        f"event_id INTEGER, asof_us BIGINT, algo_version VARCHAR, lattice VARCHAR, pmf DOUBLE[], "
        f"band_lo DOUBLE[], band_hi DOUBLE[], lambda_w DOUBLE[], {_DISTRIBUTION}, n_legs INTEGER, "
        "n_stale INTEGER, flags VARCHAR[], max_input_avail_us BIGINT, inputs_hash VARCHAR",
        "asof_us",
    ),
    _append(
        "feature", "event_id horizon_s name feature_version",
        "event_id INTEGER, release_id INTEGER, cluster_id INTEGER, horizon_s BIGINT, "
        "asof_us BIGINT, name VARCHAR, value DOUBLE, max_input_avail_us BIGINT, "
        "feature_version VARCHAR",
    ),
    _append(
        "wf_fold", "study fold",
        "study VARCHAR, fold INTEGER, train_from_us BIGINT, train_to_us BIGINT, "
        "test_from_us BIGINT, test_to_us BIGINT, n_train INTEGER, n_test INTEGER, "
        "n_purged INTEGER",
    ),
    _append(
        "prediction", "study model fold event_id horizon_s market_id",
        "study VARCHAR, model VARCHAR, fold INTEGER, event_id INTEGER, horizon_s BIGINT, "
        "market_id INTEGER, asof_us BIGINT, probability DOUBLE, market_probability DOUBLE, "
        "max_input_avail_us BIGINT",
    ),
    _append(
        "wf_score", "study model fold metric",
        "study VARCHAR, model VARCHAR, fold INTEGER, metric VARCHAR, value DOUBLE, n INTEGER",
    ),
    _append(
        "paper_fill", "study model market_id event_us ordinal",
        "study VARCHAR, model VARCHAR, market_id INTEGER, event_us BIGINT, ordinal INTEGER, "
        "side VARCHAR, price_e4 INTEGER, count_c2 BIGINT, fee_e6 BIGINT",
    ),
    _append(
        "promotion_record", "study model decided_us",
        "study VARCHAR, model VARCHAR, decided_us BIGINT, verdict VARCHAR, reasons VARCHAR[], "
        "metrics VARCHAR",
    ),
    _append(
        "source_health", "endpoint counter recorded_us",
        "endpoint VARCHAR, counter VARCHAR, value BIGINT",
    ),
    _append(
        "leak_audit", "audit_id view_name asof_us poison",
        "audit_id VARCHAR, view_name VARCHAR, asof_us BIGINT, poison VARCHAR, n_rows BIGINT, "
        "is_equal BOOLEAN",
    ),
)  # fmt: skip
"""Every table, in the order in which they are made and exported."""
_BY_NAME = {table.name: table for table in TABLES}


def table_named(name: str) -> Table:
    """Look a table up.

    Parameters
    ----------
    name : str
        Name.

    Returns
    -------
    Table

    Raises
    ------
    ConfigError
        When there is none of this name.

    Examples
    --------
    >>> table_named("market_v").kind
    'versions'
    """
    if name not in _BY_NAME:
        raise ConfigError(
            "table", wanted="a table of the store", got=name, hint=did_you_mean(name, _BY_NAME)
        )
    return _BY_NAME[name]


def ddl(table: Table) -> str:
    """Statement that makes a table.

    Parameters
    ----------
    table : Table
        Its columns.

    Returns
    -------
    str
        Without a primary key: repetitions are kept out by an anti-join, which is five times faster.

    Examples
    --------
    >>> ddl(table_named("dimension"))
    'CREATE TABLE dimension (kind VARCHAR, name VARCHAR, id INTEGER)'
    """
    columns = ", ".join(f"{name} {kind}" for name, kind in table.columns.items())
    return f"CREATE TABLE {table.name} ({columns})"

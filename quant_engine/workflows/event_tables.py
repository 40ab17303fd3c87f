"""The store's computed tables, and what it says about itself: health, gaps, availability."""

from __future__ import annotations

from typing import Any

import duckdb
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.core.hashing import canonical_json
from quant_engine.kalshi.pipeline import PipelinePanel
from quant_engine.kalshi.pipeline_tables import distribution_tables
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.kalshi.store.tables import TABLES

__all__ = [
    "ALGO_VERSION",
    "COMPUTED",
    "availability_mix",
    "computed_facts",
    "gap_rows",
    "health_bundle",
    "put_distributions",
    "put_features",
]

ALGO_VERSION = "log-density-spline/1"
_COPIED = (
    "mean", "mean_sd", "sd", "sd_sd", "skew", "q05", "q10", "q25", "q50", "q75", "q90", "q95",
    "post_sd_mean", "incoherence_e4", "outside_band", "neg_mass_pre", "isotonic_l1", "quality",
    "n_legs", "n_stale", "max_input_avail_us",
)  # fmt: skip
_RENAMED = {
    "entropy": "entropy_nats", "p_lo_tail": "p_below_lowest", "p_hi_tail": "p_above_highest",
    "median_age_s": "age_s",
}  # fmt: skip
SOURCE = "pipeline"
COMPUTED = (
    "distribution", "feature", "wf_fold", "prediction", "wf_score", "paper_fill",
    "promotion_record", "leak_audit",
)  # fmt: skip
"""Tables that stages write, and that are no input of any."""


def computed_facts(asof_us: list[int]) -> dict[str, Any]:
    """Columns that say when computed rows are known.

    Parameters
    ----------
    asof_us : list of int
        Decision of every row, microseconds UTC: known from then on, though not recorded then.

    Returns
    -------
    dict
        For `KalshiStore.append`.
    """
    return {
        "recorded_us": asof_us,
        "avail_us": asof_us,
        "avail_basis": "assumed",
        "src": SOURCE,
    }


def put_distributions(store: KalshiStore, made: PipelinePanel, *, config_id: str) -> int:
    """Write the fitted distributions of a panel into the store.

    Parameters
    ----------
    store : KalshiStore
        Where.
    made : PipelinePanel
        Panel.
    config_id : str
        Hash of the settings, which stands in ``algo_version`` and ``inputs_hash``.

    Returns
    -------
    int
        Rows that were new.
    """
    tables = distribution_tables(made)
    looks = tables["looks"]
    if not len(looks):
        return 0
    keys = list(zip(looks["event_id"], looks["horizon_s"], strict=True))
    fitted = [made.panel.distributions[int(e), int(h)] for e, h in keys]
    columns: dict[str, Any] = {name: looks[name].tolist() for name in _COPIED}
    columns |= {name: looks[own].tolist() for name, own in _RENAMED.items()}
    columns |= {
        "event_id": looks["event_id"].tolist(),
        "asof_us": looks["asof_us"].tolist(),
        "algo_version": [f"{ALGO_VERSION}+{config_id[:12]}"] * len(looks),
        "lattice": [
            canonical_json({"first": float(d.points[0]), "width": d.width, "n": len(d.points)})
            if d.is_available
            else None
            for d in fitted
        ],
        "pmf": [d.pmf.tolist() if d.is_available else None for d in fitted],
        "band_lo": [_band(d, "leg_low") for d in fitted],
        "band_hi": [_band(d, "leg_high") for d in fitted],
        "lambda_w": [d.model_weights.ravel().tolist() if d.is_available else None for d in fitted],
        "median_half_spread_e4": (looks["half_spread_usd"] * 10_000).tolist(),
        "flags": [gates.split(";") if gates else [] for gates in looks["gates"]],
        "inputs_hash": [config_id] * len(looks),
    }
    return store.append("distribution", columns | computed_facts(columns["asof_us"]))


def _band(distribution: Any, name: str) -> list[float] | None:
    band = distribution.band
    return None if band is None or not band.is_feasible else getattr(band, name).tolist()


def put_features(store: KalshiStore, made: PipelinePanel) -> int:
    """Write the features of a panel into the store, one row per value that is known.

    Parameters
    ----------
    store : KalshiStore
        Where.
    made : PipelinePanel
        Panel.

    Returns
    -------
    int
        Rows that were new.
    """
    looks = made.panel.looks.reset_index()
    keys = ["event_id", "release_id", "cluster_id", "horizon_s", "asof_us", "max_input_avail_us"]
    long = looks.melt(keys, list(made.panel.features.names), "name", "value").dropna(
        subset=["value"]
    )
    if not len(long):
        return 0
    columns: dict[str, Any] = {name: long[name].tolist() for name in [*keys, "name", "value"]}
    for name in ("release_id", "cluster_id"):
        columns[name] = [None if pd.isna(x) else int(x) for x in long[name]]
    columns["feature_version"] = made.panel.features.config_id()[:12]
    return store.append("feature", columns | computed_facts(columns["asof_us"]))


def availability_mix(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Rows of every table by what their availability rests on.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.

    Returns
    -------
    DataFrame
        ``table, basis, n_rows``; computed tables and raw answers are left out.
    """
    left_out = (*COMPUTED, "raw_message", "source_health")
    union = " UNION ALL ".join(
        f"SELECT '{table.name}' AS \"table\", avail_basis AS basis FROM {table.name}"
        for table in TABLES
        if table.kind != "book" and table.name not in left_out
    )
    sql = f'SELECT "table", basis, count(*) AS n_rows FROM ({union}) GROUP BY 1, 2 ORDER BY 1, 2'
    return connection.execute(sql).df()


def gap_rows(connection: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    """Stretches of time in which a book was not known.

    Parameters
    ----------
    connection : duckdb.DuckDBPyConnection
        A store or an export.

    Returns
    -------
    DataFrame
        ``ticker, from_us, to_us, reason``.
    """
    found = connection.execute("""
        SELECT d.name AS ticker, g.from_us, g.to_us, coalesce(g.reason, '') AS reason
        FROM book_gap g JOIN dimension d ON d.kind = 'market' AND d.id = g.market_id
        ORDER BY g.from_us, d.name""").df()
    return found.astype({"to_us": "Int64"})


def health_bundle(store: KalshiStore) -> Bundle:
    """Counters, freshness and repetitions of a store.

    Parameters
    ----------
    store : KalshiStore
        Open store.

    Returns
    -------
    Bundle
        Content of the artifact ``event_health``.
    """
    counters = store.connection.execute("""
        SELECT endpoint, counter, sum(value)::BIGINT AS value FROM source_health
        GROUP BY 1, 2 ORDER BY 1, 2""").df()
    rows = []
    for table in TABLES:
        if table.kind == "book":
            continue
        n, first, last = store.connection.execute(
            f"SELECT count(*), min(avail_us), max(avail_us) FROM {table.name}"
        ).fetchall()[0]
        rows.append({"table": table.name, "n_rows": n, "first_us": first, "last_us": last})
    tables = pd.DataFrame(rows).astype({"first_us": "Int64", "last_us": "Int64"})
    runs = store.connection.execute("""
        SELECT run_id, table_name AS "table", sum(n_offered)::BIGINT AS n_offered,
          sum(n_new)::BIGINT AS n_new FROM ingest_log GROUP BY 1, 2 ORDER BY 1, 2""").df()
    wrong = int(counters["value"][counters["counter"].str.contains("status_|cut_off|broken")].sum())
    return Bundle(
        tables={"counters": counters, "tables": tables, "runs": runs},
        documents={"facts": {"n_troubles": wrong, "n_tables": len(tables)}},
    )

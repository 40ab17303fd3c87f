"""What a study found, as rows of the store: folds, predictions, scores, paper fills, verdicts.

The artifacts are where these numbers come from and what the report is made of; the rows let SQL
join them with quotes and results. They are written once per study, and no stage reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.core.hashing import canonical_json
from quant_engine.kalshi.promotion import Judgement
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.workflows.event_tables import computed_facts

__all__ = ["put_study", "put_verdicts"]

LOOK_KEY = ["event_id", "horizon_s"]
MARKET = "market"
DISPLAYED = "displayed"
SCORES = ("log_loss", "brier", "rps")


def put_study(store: KalshiStore, study: str, bundles: Mapping[str, Bundle]) -> dict[str, int]:
    """Write folds, predictions, scores and paper fills.

    Parameters
    ----------
    store : KalshiStore
        Where.
    study : str
        Name of data and settings.
    bundles : mapping of str to Bundle
        ``panel``, ``forecasts`` and ``trades``: content of the artifacts.

    Returns
    -------
    dict of str to int
        Table to rows that were new.
    """
    panel, forecasts = bundles["panel"].tables, bundles["forecasts"].tables
    folds = forecasts["folds"]
    looks = panel["looks"][[*LOOK_KEY, "asof_us", "max_input_avail_us"]]
    frames = {
        "wf_fold": _folds(folds),
        "prediction": _predictions(panel["legs"], forecasts["forecasts"], looks),
        "wf_score": _scores(forecasts["scores"], folds),
        "paper_fill": _fills(bundles["trades"].tables["fills"], looks),
    }
    written = {}
    for table, frame in frames.items():
        if "ticker" in frame:
            frame["market_id"] = store.ids("market", frame.pop("ticker").tolist())
        known_us = frame.pop("known_us").tolist()
        columns: dict[str, Any] = {str(name): frame[name].tolist() for name in frame}
        columns |= {"study": study} | computed_facts(known_us)
        written[table] = store.append(table, columns) if len(frame) else 0
    return written


def _folds(folds: pd.DataFrame) -> pd.DataFrame:
    names = {
        "n_train_looks": "n_train", "n_test_looks": "n_test", "n_dropped_looks": "n_purged",
    }  # fmt: skip
    kept = ["fold", "train_from_us", "train_to_us", "test_from_us", "test_to_us", *names]
    return folds[kept].rename(columns=names).assign(known_us=folds["test_to_us"])


def _predictions(legs: pd.DataFrame, forecasts: pd.DataFrame, looks: pd.DataFrame) -> pd.DataFrame:
    """Probability that each contract pays: that of the outcomes between its first and last."""
    keys = [*LOOK_KEY, "fold", "member"]
    ordered = forecasts.sort_values([*keys, "cell"])
    below = ordered.assign(upto=ordered.groupby(keys)["prob"].cumsum())
    pairs = legs[[*LOOK_KEY, "ticker", "first_cell", "last_cell"]].merge(
        below[[*keys, "cell", "upto"]], on=LOOK_KEY
    )
    last = pairs[pairs["cell"] == pairs["last_cell"]]
    before = pairs[pairs["cell"] == pairs["first_cell"] - 1]
    named = [*keys, "ticker"]
    start = before.set_index(named)["upto"].reindex(pd.MultiIndex.from_frame(last[named]))
    found = last[named].assign(probability=last["upto"].to_numpy() - start.fillna(0.0).to_numpy())
    market = found[found["member"] == MARKET].set_index([*LOOK_KEY, "ticker"])["probability"]
    place = pd.MultiIndex.from_frame(found[[*LOOK_KEY, "ticker"]])
    found["market_probability"] = market.reindex(place).to_numpy()
    made = found.rename(columns={"member": "model"}).merge(looks, on=LOOK_KEY)
    return made.assign(known_us=made["asof_us"])


def _scores(scores: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    long = scores.melt(["fold", "member"], list(SCORES), "metric", "loss")
    made = long.groupby(["member", "fold", "metric"])["loss"].agg(["mean", "count"]).reset_index()
    ends = folds.set_index("fold")["test_to_us"]
    names = {"member": "model", "mean": "value", "count": "n"}
    return made.rename(columns=names).assign(known_us=ends.reindex(made["fold"]).to_numpy())


def _fills(fills: pd.DataFrame, looks: pd.DataFrame) -> pd.DataFrame:
    """Fills at the displayed prices; what stress would have left stands in the artifact."""
    kept = fills[fills["stress"] == DISPLAYED].merge(looks, on=LOOK_KEY)
    made = kept.rename(columns={"strategy": "model", "asof_us": "event_us"})
    made["ordinal"] = made.groupby(["model", "ticker", "event_us"]).cumcount()
    names = [
        "model", "ticker", "event_us", "ordinal", "side", "price_e4", "count_c2", "fee_e6",
    ]  # fmt: skip
    return made[names].assign(known_us=made["event_us"])


def put_verdicts(
    store: KalshiStore, study: str, judged: tuple[Judgement, ...], *, decided_us: int
) -> int:
    """Write what the gates said about every strategy.

    Parameters
    ----------
    store : KalshiStore
        Where.
    study : str
        Name of data and settings.
    judged : tuple of Judgement
        Verdicts.
    decided_us : int
        When they were given, microseconds UTC.

    Returns
    -------
    int
        Rows that were new.
    """
    if not judged:
        return 0
    reports = [one.report for one in judged]
    columns = {
        "study": study,
        "model": [one.strategy for one in judged],
        "decided_us": [decided_us] * len(judged),
        "verdict": [one.status for one in judged],
        "reasons": [[] if report is None else list(report.reasons) for report in reports],
        "metrics": [
            canonical_json(
                {} if report is None
                else {o.rule: o.value for o in report.outcomes if o.value is not None}
            )
            for report in reports
        ],
        "recorded_us": decided_us,
        "avail_us": decided_us,
        "avail_basis": "recorded",
        "src": "gates",
    }  # fmt: skip
    return store.append("promotion_record", columns)

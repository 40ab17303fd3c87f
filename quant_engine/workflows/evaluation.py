"""Evaluation: what every backtest is asked about itself, as one stage.

1. Where: slices by phase of the market, regime, year, sector and size of the names.
2. Whether the signal lasts: rolling IC with its alarm, deciles, calibration by slice, agreement of
   the members of the model.
3. What trading cost against the prices on which it was decided.
4. Which part of the return market, sectors and styles explain.

A part that cannot be made says why in ``metrics["absent"]``; nothing is put in its place.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.artifacts.kinds.backtest import ORDERS
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.artifacts.kinds.training import OOS, REGIME
from quant_engine.artifacts.kinds.validation import EVALUATION
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.attribution import (
    STYLES,
    HeldBook,
    StyleConfig,
    attribute,
    attribution_totals,
    style_exposures,
)
from quant_engine.backtest.evaluation import (
    DECAY_ALARM,
    DISAGREEMENT_ALARM,
    FRAGILE_SHARE,
    calibration_by,
    decile_spread,
    ic_decay,
    member_disagreement,
    recovery_times,
    rolling_ic,
    sign_calibration,
    top_trade_share,
)
from quant_engine.backtest.holdings import (
    held_weights,
    opened_weights,
    split_adjusted,
    split_growth,
)
from quant_engine.backtest.slices import PHASES, UNKNOWN, market_phases, size_thirds, slice_table
from quant_engine.backtest.tca import trading_costs
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import DataError
from quant_engine.core.hashing import finite_or_none
from quant_engine.core.panel import Panel
from quant_engine.core.regimes import RegimeLabel
from quant_engine.features.prices import total_returns
from quant_engine.stats.inference import known_mean
from quant_engine.stats.metrics import annual_return, max_drawdown
from quant_engine.workflows.advanced_parts import Subject, sharpe_of
from quant_engine.workflows.train import wide

MEMBER_SUFFIX = "_score"
SESSION_BLOCK = 256
"""Sessions that are attributed at a time."""


@dataclass(frozen=True, eq=False)
class _Record:
    """A backtest with everything that its evaluation reads, read once."""

    tested: Subject
    daily: pd.DataFrame
    trades: pd.DataFrame
    orders: pd.DataFrame
    oos: pd.DataFrame
    panel: Panel
    adjusted: Panel
    phases: pd.Series
    regimes: pd.Series
    styles: dict[str, FloatMatrix]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """Rows of the panel in which the book stands."""
        found = self.panel.time.index.get_indexer(pd.DatetimeIndex(self.daily.index))
        return np.asarray(found, dtype=np.int64)


def evaluation_stage(tested: Subject) -> dict[str, ArtifactRef]:
    """Cut the record into slices, and ask for decay, concentration, costs and attribution.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``evaluation``.
    """
    run = tested.run
    inputs = [tested.refs[role] for role in ("backtest", "trades", "orders")]
    inputs += [run.artifacts[role] for role in ("report", "panel", "market", "oos", "regimes")]

    def compute() -> dict[str, tuple[Any, Any]]:
        with tested.workspace.progress.stage("evaluation", 1):
            return {"evaluation": (EVALUATION, _evaluation(_read(tested)))}

    return tested.stages.run(
        "backtest.evaluate",
        compute,
        packages=EVALUATION.packages,
        config={
            "phases": tested.advanced.phases.content(),
            "styles": StyleConfig().content(),
            "in_sample": tested.config.in_sample,
            "book": tested.config.backtest.content(),
        },
        inputs=tuple(inputs),
    )


def _read(tested: Subject) -> _Record:
    store, run = tested.workspace.store, tested.run
    panel = store.read(PANEL, run.artifacts["panel"])
    benchmark = store.read(MARKET, run.artifacts["market"]).tables["benchmark"]
    market = benchmark.set_index("session")["close_return"].reindex(panel.time.index)
    codes = market_phases(market.to_numpy(dtype=np.float64), tested.advanced.phases)
    regimes = store.read(REGIME, run.artifacts["regimes"]).tables["regimes"]
    adjusted = split_adjusted(panel)
    return _Record(
        tested=tested,
        daily=tested.daily,
        trades=tested.trades,
        orders=store.read(ORDERS, tested.refs["orders"]).tables["orders"],
        oos=store.read(OOS, run.artifacts["oos"]).tables["oos"],
        panel=panel,
        adjusted=adjusted,
        phases=pd.Series(codes, panel.time.index),
        regimes=regimes.set_index("session")["regime"].reindex(panel.time.index, fill_value=-1),
        styles=style_exposures(adjusted.field("close"), adjusted.field("volume")),
    )


def _evaluation(record: _Record) -> Bundle:
    tested, daily, trades = record.tested, record.daily, record.trades
    absent: dict[str, str] = {}
    slices = slice_table(
        daily,
        trades,
        phases=record.phases.reindex(pd.DatetimeIndex(daily.index)).to_numpy(dtype=np.int64),
        sectors=_last_sectors(record.panel),
        periods_per_year=tested.periods_per_year,
        sizes=_sizes_at_decision(record),
    )
    rolling, decay = _rolling_ic(tested)
    disagreement, disagreed = _disagreement(record, absent)
    costs = trading_costs(record.orders, daily, closes=_prices(record.panel, "close"))
    attribution, totals = _attribution(record, absent)
    metrics = {
        "split": _declared_split(tested, daily),
        "decile_spread": _finite(_deciles(record)),
        **decay,
        **disagreed,
        **_concentration(trades),
        "recovery": _finite(recovery_times(daily["ret_net"])),
        "trading_costs": _finite(costs.bridge),
        "benchmark": _benchmark_parts(daily),
        "absent": absent,
    }
    tables = {
        "slices": slices,
        "rolling_ic": rolling,
        **_calibration(record),
        "disagreement": disagreement,
        "tca": costs.table,
        "attribution": attribution,
        "attribution_totals": totals,
    }
    return Bundle(tables, {"metrics": metrics, "regime_slices": _regime_slices(slices)})


def _sizes_at_decision(record: _Record) -> npt.NDArray[np.object_]:
    """Third by traded value of each trade's name on the session of its decision."""
    thirds = size_thirds(record.styles["size"])
    trades = record.trades
    rows = record.panel.time.index.get_indexer(pd.DatetimeIndex(trades["decision_session"]))
    columns = pd.Index(record.panel.asset_ids).get_indexer(
        pd.Index(trades["asset_id"].astype("str"))
    )
    return np.where((rows >= 0) & (columns >= 0), thirds[rows, columns], UNKNOWN)


def _rolling_ic(tested: Subject) -> tuple[pd.DataFrame, dict[str, Any]]:
    by_date = tested.training_report.tables["ic_by_date"]
    rank_ic = by_date["rank_ic"].to_numpy(dtype=np.float64)
    table = pd.DataFrame(
        {"session": by_date["session"], "rank_ic": rank_ic, "rolling": rolling_ic(rank_ic)}
    )
    decay = ic_decay(rank_ic)
    return table, {
        "rolling_ic_last": finite_or_none(_last(table["rolling"])),
        "rolling_ic_decay": finite_or_none(decay),
        "rolling_ic_alarm": _alarm(decay, DECAY_ALARM),
    }


def _concentration(trades: pd.DataFrame) -> dict[str, Any]:
    share = top_trade_share(trades["pnl_net"])
    return {
        "pnl_top20_frac": finite_or_none(share),
        "pnl_is_fragile": _alarm(share, FRAGILE_SHARE),
    }


def _disagreement(record: _Record, absent: dict[str, str]) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Disagreement of the members by decision session, where training stored what they said."""
    names = [name for name in record.oos.columns if str(name).endswith(MEMBER_SUFFIX)]
    empty = pd.DataFrame({"session": pd.DatetimeIndex([]), "disagreement": [], "rolling": []})
    if len(names) <= 1:
        absent["disagreement"] = "the model has one member, so there is nobody to disagree"
        return empty, dict.fromkeys(
            ("disagreement_mean", "disagreement_last", "disagreement_alarm")
        )
    scores = [wide(record.oos, str(name), record.panel) for name in names]
    by_session = member_disagreement(scores)
    known = ~np.isnan(by_session)
    table = pd.DataFrame(
        {
            "session": record.panel.time.index[known],
            "disagreement": by_session[known],
            "rolling": rolling_ic(by_session[known]),
        }
    )
    mean = known_mean(by_session)
    if np.isnan(mean):
        absent["disagreement"] = "no session has three names that every member scored"
    return table, {
        "disagreement_mean": finite_or_none(mean),
        "disagreement_last": finite_or_none(_last(table["rolling"])),
        "disagreement_alarm": _alarm(mean, DISAGREEMENT_ALARM),
    }


def _calibration(record: _Record) -> dict[str, pd.DataFrame]:
    """Confidence against frequency: over everything by bins, and by slice."""
    oos = record.oos
    right = (np.sign(oos["label"]) == np.sign(oos["score"])).where(oos["label"].notna())
    bins = sign_calibration(oos["confidence"], right)
    if bins.empty:
        bins = pd.DataFrame(columns=list(EVALUATION.tables["calibration"]))
    dates = pd.DatetimeIndex(oos["date"])
    phase = np.array(PHASES, dtype=object)[record.phases.reindex(dates).to_numpy(dtype=np.int64)]
    code = record.regimes.reindex(dates).to_numpy(dtype=np.int64)
    regime_names = np.array([label.text for label in RegimeLabel], dtype=object)
    place = np.searchsorted([int(label) for label in RegimeLabel], code)
    labels = {
        "all": np.full(len(oos), "all predictions", dtype=object),
        "phase": phase,
        "regime": regime_names[place],
    }
    parts = []
    for dimension, names in labels.items():
        part = calibration_by(oos["confidence"], right, names)
        part.insert(0, "dimension", dimension)
        parts.append(part)
    return {"calibration": bins, "calibration_slices": pd.concat(parts, ignore_index=True)}


def _attribution(record: _Record, absent: dict[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Daily parts and their sums; empty where what was held cannot be rebuilt."""
    traded, adjusted = record.panel, record.adjusted
    raw = traded is not adjusted
    try:
        after = held_weights(
            record.orders,
            record.daily,
            closes=_prices(adjusted, "close"),
            growth=split_growth(traded.field("split_factor")) if raw else None,
        )
        opened = opened_weights(record.orders, record.daily, opens=_prices(traded, "open"))
    except DataError as reason:
        absent["attribution"] = str(reason)
        parts = ("market", "sector", *STYLES, "selection", "trading", "costs", "alpha", "ret_net")
        empty = {"session": pd.DatetimeIndex([]), **dict.fromkeys(parts, np.empty(0))}
        totals = pd.DataFrame({"part": [], "sum_frac": [], "money": [], "total_frac": []})
        return pd.DataFrame({**empty, "n_assets": np.empty(0, dtype=np.int64)}), totals
    parts_of = [
        _attributed(record, after, opened, slice(start, start + SESSION_BLOCK))
        for start in range(0, len(record.daily), SESSION_BLOCK)
    ]
    daily = pd.concat(parts_of)
    totals = attribution_totals(daily, record.daily["equity"])
    return daily.rename_axis("session").reset_index(), totals


def _attributed(
    record: _Record, after: FloatMatrix, opened: FloatMatrix, block: slice
) -> pd.DataFrame:
    """Parts of some sessions; a block at a time, so that a large market needs little memory."""
    panel, rows = record.adjusted, record.rows[block]
    before = rows - 1
    held = np.zeros((len(rows), after.shape[1]))
    inside = np.arange(len(after))[block] > 0
    held[inside] = after[np.arange(len(after))[block][inside] - 1]
    close, open_ = (panel.field(name)[rows] for name in ("close", "open"))
    with np.errstate(divide="ignore", invalid="ignore"):
        after_open = np.where(open_ > 0.0, close / open_ - 1.0, np.nan)
    # The row before the block gives its first session something to be compared with.
    near = panel.rows(int(before[0]), int(rows[-1]) + 1)
    book = HeldBook(
        weights=held,
        returns=np.asarray(total_returns(near)[rows - before[0]], dtype=np.float64),
        exposures={name: values[before] for name, values in record.styles.items()},
        sectors=panel.group("sector").codes[before] if "sector" in panel.groups else None,
        universe=panel.masks["member"][before] if "member" in panel.masks else None,
        opened=opened[block],
        after_open=np.asarray(after_open, dtype=np.float64),
    )
    return attribute(record.daily.iloc[block], book, clip_sd=StyleConfig().clip_sd)


def _prices(panel: Panel, name: str) -> pd.DataFrame:
    """A price by session and asset."""
    values = np.asarray(panel.field(name), dtype=np.float64)
    return pd.DataFrame(values, index=panel.time.index, columns=list(panel.asset_ids), copy=False)


def _benchmark_parts(daily: pd.DataFrame) -> dict[str, float | None]:
    """What a trailing beta of the book times the benchmark explains; sums of session returns."""
    known = daily["ret_hedged"].notna()
    net, hedged = (float(daily.loc[known, name].sum()) for name in ("ret_net", "ret_hedged"))
    values = {"beta_part": net - hedged, "hedged": hedged, "net": net}
    return {
        "n_sessions": float(known.sum()),
        **{name: finite_or_none(value) if known.any() else None for name, value in values.items()},
    }


def _deciles(record: _Record) -> dict[str, float]:
    values = (wide(record.oos, name, record.panel) for name in ("score", "label"))
    return decile_spread(*values, lags=record.tested.run.horizon_sessions)


def _alarm(value: float, limit: float) -> bool | None:
    """Whether a figure is above its limit; None where there is no figure."""
    return None if np.isnan(value) else bool(value > limit)


def _declared_split(tested: Subject, daily: pd.DataFrame) -> dict[str, Any]:
    """Figures before and inside the holdout, as the split plan declares them."""
    folds = tested.training_report.tables["folds"]
    holdout = folds[folds["is_holdout"].astype(bool)]
    first = None if holdout.empty else pd.Timestamp(holdout["test_first"].min())
    inside = np.zeros(len(daily), dtype=bool) if first is None else daily.index > first
    parts = {"all": np.ones(len(daily), dtype=bool), "development": ~inside, "holdout": inside}
    document: dict[str, Any] = {
        "holdout_first_session": None if first is None else str(first.date())
    }
    for name, chosen in parts.items():
        net = daily["ret_net"].to_numpy(dtype=np.float64)[chosen]
        document[name] = {
            "n_sessions": len(net),
            **_finite(
                {
                    "sharpe": sharpe_of(net, tested.periods_per_year),
                    "annual_return": annual_return(net, periods_per_year=tested.periods_per_year),
                    "max_drawdown": max_drawdown(net),
                }
            ),
        }
    return document


def _regime_slices(slices: pd.DataFrame) -> dict[str, Any]:
    """Drawdown, exposure and return by regime and by phase, as plain values."""
    kept = [
        *("n_obs", "is_thin", "annual_return", "max_drawdown", "sharpe"),
        *("avg_gross_exposure", "avg_net_exposure", "n_trades"),
    ]
    document: dict[str, Any] = {}
    for dimension in ("regime", "phase"):
        part = slices[slices["dimension"] == dimension].set_index("slice")
        document[dimension] = {
            str(name): {
                column: value if isinstance(value, bool) else finite_or_none(float(value))
                for column, value in ((c, part.loc[name, c].item()) for c in kept)
            }
            for name in part.index
        }
    return document


def _last_sectors(panel: Panel) -> pd.Series | None:
    """Sector of each asset as last known; None where the panel has none."""
    if "sector" not in panel.groups:
        return None
    table = panel.group("sector")
    codes = np.asarray(table.codes)
    last = len(codes) - 1 - (codes[::-1] >= 0).argmax(axis=0)
    code = codes[last, np.arange(codes.shape[1])]
    names = np.array([*table.categories, "unknown"], dtype=object)
    return pd.Series(names[code], index=pd.Index(panel.asset_ids))


def _last(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.iloc[-1]) if len(known) else float("nan")


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: finite_or_none(float(value)) for name, value in values.items()}

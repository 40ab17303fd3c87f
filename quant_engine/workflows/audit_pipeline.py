"""Stages of the shipped training pipeline as parts of the look-ahead audit, on a small world.

Features are audited elsewhere on their own; here are labels with their spans, splits, regimes,
the model matrix, out-of-sample predictions, the book, its fills, and the join of filings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.engine import Backtester
from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.core.arrays import FloatMatrix, FloatVector, TimeVector
from quant_engine.core.asof import asof_join
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import LabelPanel, Panel
from quant_engine.data.loader import with_next_session
from quant_engine.data.simulated.world import EquityWorld
from quant_engine.data.universe import total_returns
from quant_engine.execution.costs import CostProfile
from quant_engine.features.labels import LabelConfig, forward_labels
from quant_engine.features.pipeline import compute_features
from quant_engine.features.sets import FeatureSet
from quant_engine.features.training_labels import (
    FORMS,
    FormConfig,
    LabelForm,
    LabelInputs,
    TrainingLabels,
    market_betas,
    training_labels,
)
from quant_engine.features.volatility import trailing_volatility
from quant_engine.models.config import ModelConfig
from quant_engine.models.matrix import build_rows, transform_target
from quant_engine.models.trainer import train as train_model
from quant_engine.regime.detector import RegimeConfig, detect_regimes
from quant_engine.stats.splits import (
    CombinatorialConfig,
    PurgedKFoldConfig,
    WalkForwardConfig,
    combinatorial,
    label_spans,
    purged_kfold,
    walk_forward,
)
from quant_engine.workflows.audit import PanelPart
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.inputs import market_features, read_feature_set

__all__ = [
    "FillPart",
    "JoinPart",
    "PricePart",
    "SplitPart",
    "fill_parts",
    "join_part",
    "label_parts",
    "model_parts",
    "regime_part",
    "split_parts",
]

LABELS = LabelConfig()
SETTINGS = FormConfig()
WALK_FORWARD = WalkForwardConfig(min_train_sessions=252, test_sessions=126)
PIPELINE_SET = "price_volume_core"


@dataclass(frozen=True, eq=False)
class SplitPart:
    """A splitter with the label intervals it was given.

    Parameters
    ----------
    name : str
        For reports.
    start, end : ndarray of datetime64, shape (R,)
        Closed interval that each row's label depends on.
    splits : list of (ndarray, ndarray)
        Row positions that train and that test.
    """

    name: str
    start: TimeVector
    end: TimeVector
    splits: list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]


@dataclass(frozen=True, eq=False)
class FillPart:
    """Times of decisions and of their fills.

    Parameters
    ----------
    name : str
        For reports.
    decided, filled : ndarray of datetime64, shape (F,)
        NaT in `filled` = not filled.
    """

    name: str
    decided: TimeVector
    filled: TimeVector


@dataclass(frozen=True, eq=False)
class PricePart:
    """Fill prices of decisions as a function of a panel.

    Parameters
    ----------
    name : str
        For reports.
    prices : callable
        Panel (T, N) to prices, shape (T, N), NaN = no fill.
    panel : Panel
        Market panel.
    """

    name: str
    prices: Callable[[Panel], FloatMatrix]
    panel: Panel


@dataclass(frozen=True, eq=False)
class JoinPart:
    """A join of dated facts to decisions.

    Parameters
    ----------
    name : str
        For reports.
    attach : callable
        Decisions and facts to one row per decision.
    decisions, facts : DataFrame
        With the columns ``decision_ts`` and ``known_ts``.
    """

    name: str
    attach: Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
    decisions: pd.DataFrame
    facts: pd.DataFrame


def label_parts(workspace: Workspace, world: EquityWorld) -> tuple[PanelPart, ...]:
    """Every form of label that a model can learn; it may depend on its span and nothing behind it.

    Parameters
    ----------
    workspace : Workspace
        Cost profiles.
    world : EquityWorld
        Panel and delistings.

    Returns
    -------
    tuple of PanelPart
        Later prices and later delistings are changed; labels whose span is over must stay.
    """
    panel = market_panel(world)
    costs = workspace.catalog.load("costs", SETTINGS.cost_profile, CostProfile)
    deaths = _delistings(world)

    def part(form: LabelForm) -> PanelPart:
        def compute(market: Panel, *, delistings: pd.DataFrame) -> dict[str, FloatMatrix]:
            made = _training_labels(market, form, delistings=delistings, costs=costs)
            values = made.panel.values
            return {name: np.asarray(values.field(name)) for name in (made.learned, made.outcome)}

        def known(market: Panel) -> TimeVector:
            return _training_labels(market, form, delistings=None, costs=costs).panel.span_end

        return PanelPart(
            name=f"labels: {form}",
            compute=compute,
            panel=panel,
            warmup=max(SETTINGS.beta_min_sessions, SETTINGS.primary_sessions),
            known=known,
            tables={"delistings": (deaths, "session")},
            identity=sha256_json([world.config.content(), LABELS.content(), SETTINGS.content()]),
        )

    return tuple(part(form) for form in FORMS)


def split_parts(world: EquityWorld) -> tuple[SplitPart, ...]:
    """Every splitter that trains a model, on the spans of the shipped labels.

    Parameters
    ----------
    world : EquityWorld
        Market.

    Returns
    -------
    tuple of SplitPart
        Walk-forward, purged k-fold and combinatorial.
    """
    labels = _forward(market_panel(world), _delistings(world))
    sessions = labels.values.time.values
    folds = walk_forward(sessions, labels.span_start, labels.span_end, config=WALK_FORWARD)
    known = np.flatnonzero(~np.isnat(labels.span_end))
    start, end = labels.span_start[known], labels.span_end[known]
    spans = label_spans(start, end)
    plans = {
        "purged k-fold": purged_kfold(spans, config=PurgedKFoldConfig(embargo_sessions=5)),
        "combinatorial": combinatorial(spans, config=CombinatorialConfig()),
    }
    walked = [(fold.train, fold.scored) for fold in folds]
    return (
        SplitPart("splits: walk-forward", labels.span_start, labels.span_end, walked),
        *(
            SplitPart(f"splits: {name}", start, end, [(s.train, s.test) for s in plan])
            for name, plan in plans.items()
        ),
    )


def regime_part(world: EquityWorld) -> PanelPart:
    """The regime detector on the market of a panel.

    Parameters
    ----------
    world : EquityWorld
        Market.

    Returns
    -------
    PanelPart
        Every column of the regime frame.
    """

    def compute(market: Panel) -> pd.DataFrame:
        returns = total_returns(market)
        return detect_regimes(
            _mean_known(returns), returns, RegimeConfig(), sessions=market.time.values
        )

    return PanelPart(
        name="regimes",
        compute=compute,
        panel=market_panel(world),
        warmup=300,
        identity=sha256_json([world.config.content(), RegimeConfig().content()]),
    )


def model_parts(workspace: Workspace, world: EquityWorld) -> tuple[PanelPart, ...]:
    """Trailing volatility, model matrix with its scaler, targets, and out-of-sample predictions.

    Parameters
    ----------
    workspace : Workspace
        Specs.
    world : EquityWorld
        Market.

    Returns
    -------
    tuple of PanelPart
        The first two are functions of the past; a target is known when its label is; a prediction
        is known on its own session, whatever is trained later.
    """
    feature_set = read_feature_set(workspace, PIPELINE_SET)
    panel, config = market_panel(world), ModelConfig()
    identity = sha256_json([world.config.content(), config.content(), feature_set.set_id()])
    warmup = feature_set.max_lookback_sessions

    def matrix(market: Panel) -> pd.DataFrame:
        rows = build_rows(_model_features(market, feature_set), config)
        columns = {name: rows.x[:, i] for i, name in enumerate(feature_set.names)}
        return _long(columns | {"n_missing": rows.n_missing}, rows.session, rows.asset, market)

    def target(market: Panel) -> pd.DataFrame:
        rows = build_rows(_model_features(market, feature_set), config)
        labels = _forward(market, None).values
        values = {
            name: transform_target(np.asarray(labels.field(name)), rows, config)
            for name in labels.fields
        }
        return _long(values, rows.session, rows.asset, market)

    def predictions(market: Panel) -> pd.DataFrame:
        return _predictions(market, feature_set, config)

    def spans(market: Panel) -> TimeVector:
        return _forward(market, None).span_end

    return (
        PanelPart(
            "volatility",
            lambda market: trailing_volatility(total_returns(market)),
            panel,
            warmup,
            identity=identity,
        ),
        PanelPart("model matrix", matrix, panel, warmup, identity=identity),
        PanelPart("targets", target, panel, warmup, known=spans, identity=identity),
        PanelPart(
            "predictions", predictions, panel, warmup + 300, fixed_axis=True, identity=identity
        ),
    )


def fill_parts(workspace: Workspace, world: EquityWorld) -> tuple[PanelPart, FillPart, PricePart]:
    """The book of a backtest, the times of its fills, and their prices.

    Parameters
    ----------
    workspace : Workspace
        Cost profiles.
    world : EquityWorld
        Market.

    Returns
    -------
    tuple of (PanelPart, FillPart, PricePart)
        Scores are drawn at random: what is audited is the trading.
    """
    panel = market_panel(world)
    costs = workspace.catalog.load("costs", "base", CostProfile)
    portfolio = PortfolioConfig(names_per_side=8, rebalance="staggered", rebalance_sessions=5)
    engine = Backtester(BacktestConfig(portfolio=portfolio))
    score = np.random.default_rng(world.config.seed).normal(size=panel.shape)

    def run(market: Panel) -> Any:
        benchmark = _mean_known(total_returns(market))
        return engine.run(
            score[: market.shape[0]], market, costs=costs, benchmark_returns=benchmark
        )

    def book(market: Panel) -> pd.DataFrame:
        daily = run(market).daily.drop(columns=["regime"])
        return daily.set_axis(pd.DatetimeIndex(daily.index))

    def prices(market: Panel) -> FloatMatrix:
        orders = run(market).orders
        orders = orders[orders["filled_shares"] != 0]
        rows = market.time.index.get_indexer(pd.DatetimeIndex(orders["decision_session"]))
        columns = pd.Index(market.asset_ids).get_indexer(orders["asset_id"].astype(str))
        out = np.full(market.shape, np.nan)
        out[rows, columns] = orders["reference_price"].to_numpy(dtype=np.float64)
        return out

    orders = run(panel).orders
    unfilled = (orders["filled_shares"] == 0).to_numpy()
    filled = orders["session"].to_numpy().astype("datetime64[us]")
    filled[unfilled] = np.datetime64("NaT")
    decided = orders["decision_session"].to_numpy().astype("datetime64[us]")
    identity = sha256_json([world.config.content(), portfolio.content()])
    return (
        PanelPart("book", book, panel, warmup=30, identity=identity),
        FillPart("fill times", decided, filled),
        PricePart("fill prices", prices, panel),
    )


def join_part(world: EquityWorld) -> JoinPart:
    """The as-of join, on filings with their lags and restatements.

    Parameters
    ----------
    world : EquityWorld
        Filings.

    Returns
    -------
    JoinPart
        Monthly decisions on every asset about its net income.
    """
    facts = world.fundamentals
    facts = facts[facts["item"] == "net_income_usd"].drop(columns=["item", "is_restatement"])
    closes = pd.DatetimeIndex(world.panel.time.index[::21]).tz_localize("UTC")
    decisions = pd.MultiIndex.from_product(
        [closes + pd.Timedelta(hours=21), world.panel.asset_ids], names=["decision_ts", "asset_id"]
    ).to_frame(index=False)
    decisions["asset_id"] = decisions["asset_id"].astype(facts["asset_id"].dtype)

    def attach(left: pd.DataFrame, right: pd.DataFrame) -> pd.DataFrame:
        return asof_join(left, right, by=["asset_id"], left_ts="decision_ts")

    return JoinPart("filings", attach, decisions, facts.reset_index(drop=True))


def market_panel(world: EquityWorld) -> Panel:
    """Return what a pipeline on price data reads of a world, shape (T, N)."""
    return world.panel.only_fields(["open", "high", "low", "close", "volume", "dividend"])


def _delistings(world: EquityWorld) -> pd.DataFrame:
    # A delisting is known from the first session without the asset on.
    table = with_next_session(world.delistings, world.config.calendar)
    return table.assign(session=table["session"].astype("datetime64[us]"))


def _forward(market: Panel, delistings: pd.DataFrame | None) -> LabelPanel:
    return forward_labels(
        market, LABELS, benchmark_returns=_open_returns(market), delistings=delistings
    )


def _training_labels(
    market: Panel, form: LabelForm, *, delistings: pd.DataFrame | None, costs: CostProfile
) -> TrainingLabels:
    returns = _mean_known(total_returns(market))
    inputs = LabelInputs(
        benchmark_returns=_open_returns(market),
        delistings=delistings,
        beta=market_betas(market, returns, SETTINGS) if form == "beta_residual" else None,
        costs=costs,
    )
    return training_labels(market, LABELS, form, settings=SETTINGS, inputs=inputs)


def _open_returns(market: Panel) -> FloatVector:
    opens = market.field("open")
    returns = np.full(market.shape, np.nan)
    returns[:-1] = opens[1:] / opens[:-1] - 1.0
    return _mean_known(returns)


def _mean_known(returns: FloatMatrix) -> FloatVector:
    known = np.isfinite(returns)
    count = known.sum(axis=1)
    total = np.where(known, returns, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _model_features(market: Panel, feature_set: FeatureSet) -> Any:
    return market_features(compute_features(market, feature_set), feature_set, market)


def _predictions(market: Panel, feature_set: FeatureSet, config: ModelConfig) -> pd.DataFrame:
    labels = _forward(market, None)
    folds = walk_forward(
        labels.values.time.values, labels.span_start, labels.span_end, config=WALK_FORWARD
    )
    result = train_model(
        _model_features(market, feature_set),
        labels,
        target=f"fwd_excess_{LABELS.horizon_sessions}s",
        folds=folds,
        config=config,
    )
    table = result.oos.drop(columns=["label", "fold", "is_holdout"])
    return table.set_index(["date", "asset_id"])


def _long(
    columns: dict[str, Any],
    session: npt.NDArray[np.int32],
    asset: npt.NDArray[np.int32],
    market: Panel,
) -> pd.DataFrame:
    ids = np.asarray(market.asset_ids)
    index = pd.MultiIndex.from_arrays(
        [market.time.index[session], ids[asset]], names=["date", "asset_id"]
    )
    return pd.DataFrame(columns, index)

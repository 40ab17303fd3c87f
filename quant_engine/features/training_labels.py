"""Labels of a training run: one of nine forms, with what it is measured in and what it promises.

Contract: what a form adds to a forward label or a barrier label was known at the decision (beta,
costs, volatility, the side of a primary signal), so every label depends on its span and on rows up
to its decision, and on nothing else. A model may *learn* another field than the one that says what
the trade earned: an order or a hit is learned, its return is what intervals, expected returns and
reports are about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.core.panel import LabelPanel, Panel
from quant_engine.execution.contract import ExecutionContract
from quant_engine.execution.cost_model import Costs, costs_id
from quant_engine.execution.round_trip import round_trip_costs
from quant_engine.features.barrier_inputs import events_of_mask, price_paths
from quant_engine.features.barriers import BarrierConfig, barrier_label_panel, barrier_labels
from quant_engine.features.label_forms import gaussian_labels, net_labels, residual_labels
from quant_engine.features.labels import LabelConfig, forward_labels, label_contract
from quant_engine.features.prices import positive_prices, total_returns
from quant_engine.features.volatility import ewm_volatility
from quant_engine.stats.trailing_beta import trailing_beta

GivenT = TypeVar("GivenT")

__all__ = [
    "BARRIER_FORMS",
    "FORMS",
    "FormConfig",
    "LabelForm",
    "LabelInputs",
    "TrainingLabels",
    "learned_field",
    "market_betas",
    "primary_side",
    "training_labels",
]

LabelForm: TypeAlias = Literal[
    "ret",
    "excess",
    "sector_excess",
    "beta_residual",
    "rank_gaussian",
    "cost_aware",
    "barrier_ret",
    "barrier",
    "meta",
]

# Form -> what is learned, what was earned; {h} is the horizon in sessions.
FORMS: dict[LabelForm, tuple[str, str]] = {
    "ret": ("fwd_ret_{h}s", "fwd_ret_{h}s"),
    "excess": ("fwd_excess_{h}s", "fwd_excess_{h}s"),
    "sector_excess": ("fwd_sector_excess_{h}s", "fwd_sector_excess_{h}s"),
    "beta_residual": ("fwd_residual_ret_{h}s", "fwd_residual_ret_{h}s"),
    "rank_gaussian": ("fwd_gaussian_ret_{h}s", "fwd_ret_{h}s"),
    "cost_aware": ("fwd_net_ret_{h}s", "fwd_net_ret_{h}s"),
    "barrier_ret": ("tb_ret_{h}b", "tb_ret_{h}b"),
    "barrier": ("tb_barrier_{h}b", "tb_ret_{h}b"),
    "meta": ("tb_meta_{h}b", "tb_ret_{h}b"),
}

BARRIER_FORMS: frozenset[LabelForm] = frozenset({"barrier_ret", "barrier", "meta"})


class FormConfig(FrozenConfig):
    """What the forms beyond plain forward returns need.

    Parameters
    ----------
    beta_sessions, beta_min_sessions : int
        Trailing window of the market beta, up to and with the decision session, and the sessions
        it needs (252 and 63: a year, and a quarter).
    min_sector_assets : int
        Members with label and beta that a sector needs on a date for a residual.
    cost_profile : str
        Costs that cost-aware labels are net of: a profile in ``specs/costs``, or a cost model in
        ``specs/cost_models``.
    order_value : float
        Order that costs are estimated for, currency: impact grows with its square root.
    profit_multiple, stop_multiple : float
        Distance of the barriers in volatilities of one session; 0 = no such barrier.
    min_target_frac : float
        Volatilities up to this are no event.
    volatility_span : float
        Span in sessions of the volatility that is the unit of the barriers (100, as in AFML).
    primary_sessions : int
        The primary signal of a meta-label is the sign of the total return over this many sessions
        (60, one quarter).

    Examples
    --------
    >>> FormConfig().cost_profile
    'base'
    """

    beta_sessions: int = Field(default=252, ge=3)
    beta_min_sessions: int = Field(default=63, ge=3)
    min_sector_assets: int = Field(default=3, ge=2)
    cost_profile: str = "base"
    order_value: float = Field(default=10_000.0, gt=0.0)
    profit_multiple: float = Field(default=2.0, ge=0.0)
    stop_multiple: float = Field(default=2.0, ge=0.0)
    min_target_frac: float = Field(default=0.0, ge=0.0)
    volatility_span: float = Field(default=100.0, gt=1.0)
    primary_sessions: int = Field(default=60, ge=1)


@dataclass(frozen=True, eq=False)
class LabelInputs:
    """What labels need beside prices; only what the form asks for is read.

    Parameters
    ----------
    benchmark_returns : ndarray of float64, shape (T,), optional
        From open(t) to open(t+1), see :func:`~quant_engine.features.labels.forward_labels`.
    delistings : DataFrame, optional
        See there.
    beta : ndarray of float64, shape (T, N), optional
        Betas to the market, row t known at the close of t, for ``beta_residual``; see
        :func:`market_betas`.
    costs : CostProfile or CostModel, optional
        What ``cost_aware`` labels are net of.
    """

    benchmark_returns: FloatVector | None = None
    delistings: pd.DataFrame | None = None
    beta: FloatMatrix | None = None
    costs: Costs | None = None


@dataclass(frozen=True, eq=False)
class TrainingLabels:
    """Labels with the names of the fields that count, and the trade they promise.

    Parameters
    ----------
    panel : LabelPanel
        All fields that could be built, with the span of each row.
    learned, outcome : str
        Field that a model learns, and the one that says what the trade earned (fraction).
    exit_field : str
        Field with the sessions from decision to exit of each single label, where labels of one row
        end at different times; empty where all end with the span of their row.
    contract : ExecutionContract
        What a position must do to earn the outcome.
    """

    panel: LabelPanel
    learned: str
    outcome: str
    exit_field: str
    contract: ExecutionContract


def learned_field(form: LabelForm, horizon_sessions: int) -> str:
    """Name of the label field that a model of a form learns.

    Parameters
    ----------
    form : str
        A name in `FORMS`.
    horizon_sessions : int
        Sessions between entry and exit.

    Returns
    -------
    str

    Examples
    --------
    >>> learned_field("cost_aware", 5)
    'fwd_net_ret_5s'
    """
    return FORMS[form][0].format(h=horizon_sessions)


def training_labels(
    panel: Panel,
    config: LabelConfig,
    form: LabelForm,
    *,
    settings: FormConfig,
    inputs: LabelInputs,
) -> TrainingLabels:
    """Build the labels of a training run.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N); see :func:`~quant_engine.features.labels.forward_labels`.
        Barrier forms also need ``high`` and ``low``.
    config : LabelConfig
        Horizon (for barriers the longest holding period), entry lag, delisting assumptions.
    form : str
        A name in `FORMS`.
    settings : FormConfig
        Beta, costs, barriers, primary signal.
    inputs : LabelInputs
        Benchmark, delistings, betas and costs.

    Returns
    -------
    TrainingLabels
        A plain form whose benchmark or sector is absent is missing among the fields.

    Raises
    ------
    ConfigError
        No label can be built, or the axis is not one of sessions.
    DataError
        Unadjusted prices, an unusable delisting table, or inputs of the form that were not given.

    Notes
    -----
    A barrier label has the span [t + e, exit] of its own; the row has the span of the whole
    window, and rows are purged by that. Purging by the exits would keep, of the rows before a test
    block, those that touched a barrier fast, and teach a model on a sample that its own outcome
    has selected.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> price = np.array([[10.0], [10.0], [11.0]])
    >>> panel = Panel(axis, ("A@US#1",), {"open": price, "close": price})
    >>> made = training_labels(
    ...     panel, LabelConfig(horizon_sessions=1), "ret",
    ...     settings=FormConfig(), inputs=LabelInputs(),
    ... )
    >>> made.learned, made.panel.values.field(made.outcome).round(3).ravel().tolist()
    ('fwd_ret_1s', [0.1, nan, nan])
    """
    learned, outcome = (name.format(h=config.horizon_sessions) for name in FORMS[form])
    if form in BARRIER_FORMS:
        labels, contract = _barriers(panel, config, form, settings=settings, inputs=inputs)
        exit_field = f"tb_exit_{config.horizon_sessions}b"
        return TrainingLabels(labels, learned, outcome, exit_field, contract)
    contract = label_contract(config, panel.price_basis)
    base = f"fwd_ret_{config.horizon_sessions}s"
    if form not in ("ret", "excess", "sector_excess") and "ret" not in config.kinds:
        config = config.model_copy(update={"kinds": ("ret", *config.kinds)})
    labels = forward_labels(
        panel,
        config,
        benchmark_returns=inputs.benchmark_returns,
        delistings=inputs.delistings,
    )
    if form == "beta_residual":
        beta = _required("beta", inputs.beta)
        labels = residual_labels(labels, base, beta=beta, min_assets=settings.min_sector_assets)
    elif form == "rank_gaussian":
        labels = gaussian_labels(labels, base)
    elif form == "cost_aware":
        costs = _required("costs", inputs.costs)
        paid = round_trip_costs(panel, costs, order_value=settings.order_value)
        labels = net_labels(labels, base, round_trip_frac=paid)
        contract = contract.model_copy(update={"costs": costs_id(costs)})
    return TrainingLabels(labels, learned, outcome, "", contract)


def market_betas(panel: Panel, market_returns: FloatVector, settings: FormConfig) -> FloatMatrix:
    """Trailing beta of every asset to the market, known at each close.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N) with ``close``, optional ``dividend``.
    market_returns : ndarray of float64, shape (T,)
        Simple returns of the market close to close; NaN = unknown, the session is left out.
    settings : FormConfig
        Window.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Row t from sessions up to and with t; NaN with too few of them.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"])
    >>> close = np.array([[100.0], [102.0], [100.98], [103.0]])
    >>> panel = Panel(axis, ("A@US#1",), {"close": close})
    >>> settings = FormConfig(beta_sessions=3, beta_min_sessions=3)
    >>> market = np.array([np.nan, 0.01, -0.005, 0.010002])
    >>> market_betas(panel, market, settings).round(2).ravel().tolist()
    [nan, nan, nan, 2.0]
    """
    window = {
        "window_sessions": settings.beta_sessions,
        "min_sessions": settings.beta_min_sessions,
    }
    # One more session: its slope looks at all sessions before it, and so at the last one.
    market = np.append(market_returns, np.nan)
    columns = [
        trailing_beta(np.append(own, np.nan), market, **window)[1:]
        for own in total_returns(panel).T
    ]
    return np.column_stack(columns) if columns else np.empty(panel.shape)


def primary_side(panel: Panel, *, sessions: int) -> npt.NDArray[np.int8]:
    """Side of the primary signal that meta-labels judge: the sign of a trailing return.

    Parameters
    ----------
    panel : Panel
        Daily market panel (T, N) with ``close``.
    sessions : int
        Length of the return, at least 1.

    Returns
    -------
    ndarray of int8, shape (T, N)
        1, -1, or 0 = no bet: an unchanged price, or one of both closes missing. Known at the close
        of its row. Dividends are not counted: their sum is small beside the sign of a quarter.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03", "2020-01-06"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [9.0], [11.0]])})
    >>> primary_side(panel, sessions=1).ravel().tolist()
    [0, -1, 1]
    """
    close = positive_prices(panel.field("close"))
    side = np.zeros(close.shape, dtype=np.int8)
    change = close[sessions:] - close[: len(close) - sessions]
    side[sessions:] = np.where(np.isnan(change), 0.0, np.sign(change)).astype(np.int8)
    return side


def _barriers(
    panel: Panel,
    config: LabelConfig,
    form: LabelForm,
    *,
    settings: FormConfig,
    inputs: LabelInputs,
) -> tuple[LabelPanel, ExecutionContract]:
    """Label every cell with a known volatility, long or on the side of the primary signal."""
    horizon = config.horizon_sessions
    barriers = BarrierConfig(
        profit_multiple=settings.profit_multiple,
        stop_multiple=settings.stop_multiple,
        holding_bars=horizon,
        min_target_frac=settings.min_target_frac,
        entry_lag=config.entry_lag,
        whole_windows=True,
    )
    paths = price_paths(panel, delistings=inputs.delistings, terminal=config.terminal)
    target = ewm_volatility(total_returns(panel), span_bars=settings.volatility_span)
    side = None
    if form == "meta":
        side = primary_side(panel, sessions=settings.primary_sessions)
    events = events_of_mask(paths, np.isfinite(target), target, side=side)
    found = barrier_labels(paths, events, barriers)
    labels = barrier_label_panel(found, panel)
    cells = events.arrays.row, events.asset
    has_label = np.isfinite(labels.values.field(f"tb_ret_{horizon}b"))
    extra = {
        f"tb_exit_{horizon}b": found.exit_row - events.arrays.row.astype(np.int64),
        f"tb_price_{horizon}b": found.exit_price,
    }
    fields: dict[str, FloatMatrix] = {}
    for name, values in extra.items():
        wide = np.full(panel.shape, np.nan)
        wide[cells] = values
        fields[name] = np.where(has_label, wide, np.nan)
    if side is not None:
        fields[f"tb_side_{horizon}b"] = side.astype(np.float64)
    contract = barriers.contract(panel.price_basis, config.terminal)
    if side is not None:
        contract = contract.model_copy(update={"direction": "primary"})
    values = labels.values.with_fields(fields)
    return LabelPanel(values, labels.span_start, labels.span_end), contract


def _required(name: str, value: GivenT | None) -> GivenT:
    if value is None:
        raise DataError(
            name,
            wanted="what the form of the labels needs",
            got="none",
            hint="Give it in LabelInputs, or learn another form.",
        )
    return value

"""Parse what a backtest is given, once: arrays of the panel's rows in asset-id column order.

After this module nothing is looked up by name and nothing can be out of line. Whatever cannot be
aligned is an error that says where it came from; no score is dropped silently.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.kernel_state import Market, Rules
from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import (
    DataError,
    EmptyDataError,
    IdentityError,
    LookAheadError,
    MissingFieldError,
    SchemaMismatchError,
    did_you_mean,
)
from quant_engine.core.ids import id_order
from quant_engine.core.panel import LONG_INDEX, Panel, PriceBasis
from quant_engine.core.regimes import RegimeLabel
from quant_engine.execution.costs import CostProfile
from quant_engine.execution.delistings import NEVER, Delistings
from quant_engine.execution.fills import trailing_adv
from quant_engine.stats.checks import parse_matrix

NEEDED_FIELDS = ("open", "close", "volume")
OPTIONAL_FIELDS = ("dividend", "half_spread_frac", "borrow_bps_ann")
"""Optional fields of a panel that every simulation reads."""

_LEAST = {"volume": 0.0, "half_spread_frac": 0.0, "borrow_bps_ann": 0.0}
_ABOVE_ZERO = ("split_factor",)
_NO_FIELD = np.empty((0, 0))
_NO_MASK = np.empty((0, 0), dtype=np.bool_)


@dataclass(frozen=True, eq=False)
class Signals:
    """Scores aligned with a panel.

    Parameters
    ----------
    score : ndarray of float64, shape (T, N)
        NaN = no opinion.
    expected_return_frac, confidence : ndarray of float64, shape (T, N), or None
        None where the scores did not carry the column.
    """

    score: FloatMatrix
    expected_return_frac: FloatMatrix | None = None
    confidence: FloatMatrix | None = None


def parse_panel(panel: Panel, *, accepts_raw: bool = False) -> Panel:
    """Return the price part of a panel with its assets in ascending order of id.

    Parameters
    ----------
    panel : Panel
        Sessions or bars with fields open, close, volume; optional fields ``dividend``,
        ``half_spread_frac``, ``borrow_bps_ann`` (annual fee of the session, instead of the cost
        profile's) and, beside raw prices, ``split_factor`` (new shares per old share from the
        open of the session on; NaN = 1); masks ``tradable`` (derived when absent),
        ``member`` (all members when absent) and ``shortable`` (whether shares can be borrowed, as
        known at the close); optional group ``sector``.
    accepts_raw : bool
        Whether the caller moves shares by the splits of raw prices.

    Returns
    -------
    Panel
        The same fields, float64, both masks present.

    Raises
    ------
    DataError
        Raw prices without splits, dividends beside prices that already contain them, prices <= 0,
        a negative volume, half-spread or borrow fee, or a split factor <= 0.
    SchemaMismatchError
        No panel.
    EmptyDataError
        No asset trades in any session.
    """
    if not isinstance(panel, Panel):
        raise SchemaMismatchError(
            "panel",
            wanted="a Panel",
            got=f"a {type(panel).__name__}",
            hint="Make one of a long frame of prices with Panel.from_long.",
        )
    _check_price_basis(panel, accepts_raw)
    optional = [name for name in OPTIONAL_FIELDS if name in panel.fields]
    if panel.price_basis is PriceBasis.RAW:
        optional.append("split_factor")
    fields = {n: np.asarray(panel.field(n), np.float64) for n in (*NEEDED_FIELDS, *optional)}
    _check_signs(fields)
    tradable = _tradable(panel, fields)
    member = panel.masks.get("member")
    if member is None:
        member = np.ones(panel.shape, dtype=np.bool_)
    parsed = Panel(
        panel.time,
        panel.asset_ids,
        fields,
        {"member": member, "tradable": tradable}
        | {name: panel.masks[name] for name in ("shortable",) if name in panel.masks},
        {name: panel.groups[name] for name in ("sector",) if name in panel.groups},
        panel.price_basis,
    )
    order = id_order(panel.asset_ids)
    return parsed if np.array_equal(order, np.arange(order.size)) else parsed.columns(order)


def _tradable(panel: Panel, fields: Mapping[str, FloatMatrix]) -> BoolMatrix:
    given = panel.masks.get("tradable")
    with np.errstate(invalid="ignore"):
        if (fields["open"] <= 0.0).any() or (fields["close"] <= 0.0).any():
            raise DataError(
                "panel prices",
                wanted="open and close above 0",
                got="a price of 0 or less",
                hint="A missing price is NaN; run the data quality checks.",
            )
        tradable = (
            np.isfinite(fields["open"]) & np.isfinite(fields["close"]) & (fields["volume"] > 0.0)
        )
    if given is not None:
        tradable &= given
    if not tradable.any():
        raise EmptyDataError(
            "panel",
            wanted="at least one bar with open, close and volume above 0",
            got="none",
            hint="Without volume nothing can fill; check the volume field and the tradable mask.",
        )
    return tradable


def _check_signs(fields: Mapping[str, FloatMatrix]) -> None:
    for name, values in fields.items():
        with np.errstate(invalid="ignore"):
            wrong = values <= 0.0 if name in _ABOVE_ZERO else values < _LEAST.get(name, -np.inf)
        if wrong.any():
            raise DataError(
                f"panel.{name}",
                wanted="values above 0" if name in _ABOVE_ZERO else "values of at least 0",
                got=f"{int(wrong.sum())} others, down to {float(np.nanmin(values))}",
                hint="A missing value is NaN; run the data quality checks.",
            )
    if "half_spread_frac" in fields and (fields["half_spread_frac"] >= 1.0).any():
        raise DataError(
            "panel.half_spread_frac",
            wanted="fractions of the price below 1",
            got=float(np.nanmax(fields["half_spread_frac"])),
            hint="5 bps are 0.0005.",
        )


def _check_price_basis(panel: Panel, accepts_raw: bool) -> None:
    if panel.price_basis is PriceBasis.RAW and not (accepts_raw and "split_factor" in panel.fields):
        raise DataError(
            "panel.price_basis",
            wanted="split_adj (or total_adj without dividends), or raw beside a field split_factor",
            got="raw",
            hint="Shares across a split need split-adjusted prices, or the splits themselves.",
        )
    if panel.price_basis is PriceBasis.TOTAL_ADJ and "dividend" in panel.fields:
        raise DataError(
            "panel.price_basis",
            wanted="split_adj prices beside a dividend field",
            got="total_adj prices, which already contain the dividends",
            hint="Use split_adj prices, or drop the dividend field.",
        )


def parse_scores(
    scores: pd.DataFrame | FloatMatrix, panel: Panel, asset_ids: Sequence[str]
) -> Signals:
    """Align scores with the rows of a panel and the asset order of a parsed one.

    Parameters
    ----------
    scores : DataFrame or ndarray
        Long frame with columns (or index levels) ``date`` and ``asset_id`` and a column ``score``;
        optional columns ``expected_return_frac`` and ``confidence``. Or an array of shape (T, N)
        in the row and column order of the *caller's* panel. Row or date t = known after the close
        of session t. NaN = no opinion.
    panel : Panel
        The parsed panel (columns in asset-id order).
    asset_ids : sequence of str
        The caller's column order, for arrays.

    Returns
    -------
    Signals
        Arrays of the panel's shape.

    Raises
    ------
    SchemaMismatchError
        Missing columns or a wrong shape.
    EmptyDataError
        No row, or no finite score.
    IdentityError
        A repeated (date, asset_id) pair, or an asset that the panel does not hold.
    DataError
        A date outside the panel or that is not one of its sessions, or an infinite score.
    """
    if isinstance(scores, pd.DataFrame):
        signals = _signals_from_long(scores, panel)
    else:
        values = parse_matrix("scores", scores)
        if values.shape != panel.shape:
            raise SchemaMismatchError(
                "scores",
                wanted=f"shape {panel.shape} (sessions x assets of the panel)",
                got=values.shape,
                hint="Pass a long frame with date, asset_id, score to have it aligned.",
            )
        order = id_order(asset_ids)
        in_order = np.array_equal(order, np.arange(order.size))
        # A copy in either case: what the caller does to the array later is not part of the run.
        signals = Signals(values.copy() if in_order else np.ascontiguousarray(values[:, order]))
    if not np.isfinite(signals.score).any():
        raise EmptyDataError(
            "scores", wanted="at least one finite score", got="none", hint="Check the model output."
        )
    return signals


def _signals_from_long(scores: pd.DataFrame, panel: Panel) -> Signals:
    frame = scores
    if tuple(frame.index.names) == LONG_INDEX:
        frame = frame.reset_index()
    missing = [name for name in (*LONG_INDEX, "score") if name not in frame.columns]
    if missing:
        raise SchemaMismatchError(
            "scores",
            wanted="columns date, asset_id, score",
            got=f"{list(scores.columns)} without {missing}",
            hint="Rename the columns, or index the frame by (date, asset_id).",
        )
    if frame.empty:
        raise EmptyDataError(
            "scores", wanted="at least one row", got="none", hint="Check filters and dates."
        )
    rows = _score_rows(frame["date"], panel)
    columns = _score_columns(frame["asset_id"], panel)
    flat = rows * panel.shape[1] + columns
    count = np.bincount(flat, minlength=panel.shape[0] * panel.shape[1])
    if count.max() > 1:
        row, column = divmod(int(count.argmax()), panel.shape[1])
        raise IdentityError(
            "scores",
            wanted="one score per (date, asset_id)",
            got=f"{int((count > 1).sum())} repeated pairs, first "
            f"({panel.time.values[row]}, {panel.asset_ids[column]})",
            hint="Choose one fold or model version per pair before the backtest.",
        )

    def spread_out(name: str) -> FloatMatrix:
        values = frame[name].to_numpy(dtype=np.float64, na_value=np.nan)
        wide = np.full(panel.shape, np.nan)
        wide[rows, columns] = values
        return parse_matrix(f"scores[{name!r}]", wide)

    extra = {
        name: spread_out(name)
        for name in ("expected_return_frac", "confidence")
        if name in frame.columns
    }
    return Signals(spread_out("score"), **extra)


def _score_rows(dates: pd.Series, panel: Panel) -> npt.NDArray[np.int64]:
    index = pd.DatetimeIndex(dates)
    if index.tz is not None:
        raise DataError(
            "scores.date",
            wanted="sessions or bar times without a time zone, as those of the panel",
            got=f"times in {index.tz}",
            hint="Convert to the exchange's sessions: dates.dt.tz_localize(None) keeps local time.",
        )
    instants = index.to_numpy()
    axis = panel.time.values
    stamps = instants.astype(axis.dtype)
    found = np.searchsorted(axis, stamps)
    on_axis = (found < len(axis)) & (instants == stamps)
    on_axis[on_axis] = axis[found[on_axis]] == stamps[on_axis]
    if on_axis.all():
        return found.astype(np.int64)
    first_bad = np.sort(instants[~on_axis])[0]
    if np.isnat(first_bad) or axis[0] <= first_bad <= axis[-1]:
        got = f"{first_bad}, which is not a session of the panel"
    else:
        got = f"{first_bad}, outside the panel"
    raise DataError(
        "scores.date",
        wanted=f"sessions of the panel ({axis[0]} to {axis[-1]})",
        got=f"{int((~on_axis).sum())} other dates, first {got}",
        hint="Load prices for the whole span of the scores, or cut the scores.",
    )


def _score_columns(assets: pd.Series, panel: Panel) -> npt.NDArray[np.int64]:
    codes, names = pd.factorize(assets)
    position = {asset: i for i, asset in enumerate(panel.asset_ids)}
    columns = np.array([position.get(str(name), -1) for name in names], dtype=np.int64)
    unknown = [str(name) for name, column in zip(names, columns, strict=True) if column < 0]
    if unknown or (codes < 0).any():
        first = unknown[0] if unknown else "a missing asset_id"
        raise IdentityError(
            "scores.asset_id",
            wanted="assets of the panel",
            got=f"{max(len(unknown), 1)} unknown, first {first!r}",
            hint=did_you_mean(first, panel.asset_ids)
            if len(panel.asset_ids) <= 20
            else "Build scores and prices from one security master.",
        )
    return columns[codes]


def parse_series(
    name: str, values: pd.Series | FloatVector | None, panel: Panel
) -> FloatVector | None:
    """Align a per-session series with the panel's sessions.

    Parameters
    ----------
    name : str
        Argument name for messages.
    values : Series indexed by session, ndarray of shape (T,), or None
        NaN, and sessions the series does not have = not available.
    panel : Panel
        Gives the sessions.

    Returns
    -------
    ndarray of float64, shape (T,), or None
        None where `values` is None.

    Raises
    ------
    SchemaMismatchError
        An array of another length.
    EmptyDataError
        A series without any value on the panel's sessions.
    IdentityError
        Repeated sessions.
    DataError
        A series with values between the panel's sessions: its calendar is another one.
    """
    if values is None:
        return None
    if isinstance(values, pd.Series):
        index = pd.DatetimeIndex(values.index).as_unit("us")
        unique = pd.Series(values.to_numpy(dtype=np.float64, na_value=np.nan), index)
        if index.has_duplicates:
            raise IdentityError(
                name, wanted="one value per session", got="repeated sessions", hint="Deduplicate."
            )
        _check_calendar(name, unique, panel)
        aligned = unique.reindex(panel.time.index).to_numpy()
    else:
        aligned = np.array(values, dtype=np.float64)
        if aligned.shape != (panel.shape[0],):
            raise SchemaMismatchError(
                name,
                wanted=f"shape ({panel.shape[0]},), one value per session of the panel",
                got=aligned.shape,
                hint="Pass a Series indexed by session to have it aligned.",
            )
    if not np.isfinite(aligned).any():
        raise EmptyDataError(
            name, wanted="values on the panel's sessions", got="none", hint="Check its dates."
        )
    return aligned


def _check_calendar(name: str, values: pd.Series, panel: Panel) -> None:
    """A value between two sessions belongs to another calendar; leaving it out would lose it."""
    axis = panel.time.index
    known = values.index[values.notna()]
    between = known[(known > axis[0]) & (known < axis[-1]) & ~known.isin(axis)]
    if len(between):
        raise DataError(
            name,
            wanted=f"values on sessions of the panel (calendar {panel.time.calendar})",
            got=f"{len(between)} on other dates, first {between[0]}",
            hint="Compound them to the panel's sessions first.",
        )


def parse_regimes(regimes: pd.DataFrame | None, panel: Panel) -> npt.NDArray[np.int64]:
    """Align regime labels with the panel's sessions.

    Parameters
    ----------
    regimes : DataFrame indexed by session with a column ``regime``, or None
        Filtered labels known after each close: 0, 1, 2, 3, or -1 for unknown.
    panel : Panel
        Gives the sessions.

    Returns
    -------
    ndarray of int64, shape (T,)
        -1 where unknown, absent or not given.

    Raises
    ------
    MissingFieldError
        No column ``regime``.
    DataError
        Other labels.
    """
    if regimes is None:
        return np.full(panel.shape[0], RegimeLabel.UNKNOWN, dtype=np.int64)
    if "regime" not in regimes.columns:
        raise MissingFieldError(
            "regimes",
            wanted="a column 'regime'",
            got=list(regimes.columns),
            hint="Pass the frame of regime.detector.detect_regimes.",
        )
    labels = parse_series("regimes", regimes["regime"].astype(np.float64), panel)
    filled = np.nan_to_num(np.asarray(labels), nan=RegimeLabel.UNKNOWN).astype(np.int64)
    if filled.min() < min(RegimeLabel) or filled.max() > max(RegimeLabel):
        raise DataError(
            "regimes.regime",
            wanted="0, 1, 2, 3, or -1 for unknown",
            got=sorted(set(filled.tolist())),
            hint="Map the detector's states to the canonical labels first.",
        )
    return filled


def allowed_sides(
    signals: Signals, panel: Panel, config: BacktestConfig
) -> tuple[BoolMatrix, BoolMatrix]:
    """Say which names may be held long and short, from what is known at each close.

    Parameters
    ----------
    signals : Signals
        Scores with optional expected return and confidence.
    panel : Panel
        Masks member and tradable.
    config : BacktestConfig
        Its thresholds.

    Returns
    -------
    tuple of two ndarrays of bool, shape (T, N)
        Long and short permission: member, traded that session, thresholds met.

    Raises
    ------
    MissingFieldError
        A threshold is set and the scores lack its column.
    """
    eligible = panel.mask("member") & panel.mask("tradable")
    if config.min_confidence is not None:
        confidence = _needed(signals.confidence, "confidence", "min_confidence")
        eligible = eligible & (np.nan_to_num(confidence, nan=-1.0) >= config.min_confidence)
    if config.min_expected_return_frac is None:
        return eligible, eligible
    expected = np.nan_to_num(
        _needed(signals.expected_return_frac, "expected_return_frac", "min_expected_return_frac")
    )
    limit = config.min_expected_return_frac
    return eligible & (expected >= limit), eligible & (expected <= -limit)


def _needed(values: FloatMatrix | None, column: str, setting: str) -> FloatMatrix:
    if values is None:
        raise MissingFieldError(
            "scores", wanted=f"a column {column!r}", got="absent", hint=f"Or unset {setting}."
        )
    return values


def check_fillable(decision_rows: npt.NDArray[np.int64], n_rows: int) -> None:
    """Refuse a run in which no decision has a next session to fill in.

    Parameters
    ----------
    decision_rows : ndarray of int64
        Rows on which something is decided.
    n_rows : int
        Sessions of the panel.

    Raises
    ------
    LookAheadError
        Only the last session decides.
    """
    if decision_rows[0] >= n_rows - 1:
        raise LookAheadError(
            "scores",
            wanted="a decision before the panel's last session",
            got="scores for the last session only",
            hint="Orders fill at the next open; extend the prices by at least one session.",
        )


def known_adv(panel: Panel, costs: CostProfile) -> FloatMatrix:
    """Trailing traded value of a market as a cost profile averages it.

    Parameters
    ----------
    panel : Panel
        Parsed panel.
    costs : CostProfile
        Its window and least sessions.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Currency per session, known at each close; NaN = not known.
    """
    return trailing_adv(
        panel.field("close"),
        panel.field("volume"),
        adv_sessions=costs.adv_sessions,
        min_sessions=costs.adv_min_sessions,
    )


def build_market(
    panel: Panel,
    delistings: Delistings,
    costs: CostProfile,
    rows: slice,
    *,
    adv_value: FloatMatrix | None = None,
) -> Market:
    """Collect the arrays that the kernel reads, for the simulated rows.

    Parameters
    ----------
    panel : Panel
        Parsed panel; sessions before `rows` serve the trailing ADV.
    delistings : Delistings
        On the rows of `panel`.
    costs : CostProfile
        ADV window, and whether the panel's spread is charged.
    rows : slice
        Simulated rows, from the first decision.
    adv_value : ndarray of float64, shape (T, N), optional
        Of :func:`known_adv`, where it was worked out before.

    Returns
    -------
    Market
        Views where possible.
    """
    adv = known_adv(panel, costs) if adv_value is None else adv_value
    spread = panel.fields.get("half_spread_frac") if costs.use_panel_spread else None
    shortable = panel.masks.get("shortable")
    return Market(
        open=_readonly(panel.field("open")[rows]),
        close=_readonly(panel.field("close")[rows]),
        can_trade=_readonly(panel.mask("tradable")[rows]),
        dividend=_cut(panel.fields.get("dividend"), rows),
        adv_value=_readonly(adv[rows]),
        half_spread_frac=_cut(spread, rows),
        delist_row=_readonly(np.maximum(delistings.first_row - rows.start, 0)),
        terminal_return_frac=_readonly(delistings.terminal_return_frac),
        split_ratio=_cut(panel.fields.get("split_factor"), rows),
        borrow_bps_ann=_cut(panel.fields.get("borrow_bps_ann"), rows),
        shortable=_readonly(_NO_MASK if shortable is None else shortable[rows]),
    )


def _cut(values: FloatMatrix | None, rows: slice) -> FloatMatrix:
    return _readonly(_NO_FIELD if values is None else values[rows])


def _readonly(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A read-only view: panels are read-only, and the compiler makes one version per array type."""
    view = array.view()
    view.setflags(write=False)
    return view


def build_rules(config: BacktestConfig, costs: CostProfile) -> Rules:
    """Flatten the settings into the numbers that the kernel takes.

    Parameters
    ----------
    config : BacktestConfig
        Run settings.
    costs : CostProfile
        Cost assumptions.

    Returns
    -------
    Rules
        Rates after stress; infinity for an absent cap.
    """
    cap = costs.participation_cap_frac
    halt = config.halt_limit_sessions
    return Rules(
        initial_equity=config.initial_equity_usd,
        fee_bps=costs.effective_fee_bps,
        half_spread_frac=costs.effective_half_spread_frac,
        spread_multiplier=costs.stress_multiplier,
        impact_coef_bps=costs.effective_impact_coef_bps,
        borrow_bps_ann=costs.effective_borrow_bps_ann,
        participation_cap_frac=float("inf") if cap is None else cap,
        min_fill_frac=costs.min_fill_frac,
        needs_adv=costs.needs_adv,
        interest_bps_ann=config.cash_interest_bps_ann,
        periods_per_year=config.periods_per_year,
        no_trade_band_frac=config.portfolio.no_trade_band_frac,
        halt_limit_sessions=NEVER if halt is None else halt,
        halt_return_frac=config.terminal.unknown_frac,
        borrow_multiplier=costs.stress_multiplier,
    )

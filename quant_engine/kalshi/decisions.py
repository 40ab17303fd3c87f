"""One decision: a ladder as known then, its distribution, what it was before, and what was traded.

Contract: a state is made from a look alone, and a look holds nothing from after its decision.
Earlier states are looks at earlier decisions, fitted on the lattice of the present one so that
distances between them exist. Numbers that cannot be had are NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import log, sqrt

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.special import entr

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.kalshi.bounds import measure_incoherence
from quant_engine.kalshi.distribution import (
    DistributionConfig,
    LadderDistribution,
    LadderModel,
    fit_distribution,
    prepare_ladder,
)
from quant_engine.kalshi.events import LadderLook, reconstruct_look
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.lattice import (
    Lattice,
    SettlementGrid,
    find_structure_faults,
    ladder_structure,
)
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quality import (
    incoherence_of_middles_e4,
    stale_limit_s,
    usable_legs,
)
from quant_engine.kalshi.quotes import NO_QUOTE, LadderQuotes, ladder_quotes
from quant_engine.kalshi.shape import Shape, describe_shape

__all__ = [
    "MEASURES",
    "Decision",
    "LadderState",
    "Prints",
    "StateFitter",
    "Ticks",
    "last_probabilities",
    "raw_probabilities",
]

NAN = float("nan")
IntVector = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class LadderState:
    """A look and what it says.

    Parameters
    ----------
    look : LadderLook
        The ladder as known at its decision.
    distribution : LadderDistribution
        Fitted, or with the reasons for having none.
    shape : Shape
        Its description.
    quotes : LadderQuotes or None
        Quotes joined to the legs; None where the legs are no ladder.
    payoff : ndarray of float64, shape (m, n)
        Payoff per leg and cell; no rows where the legs are no ladder.
    config : DistributionConfig
        What it was fitted with.
    """

    look: LadderLook
    distribution: LadderDistribution
    shape: Shape
    quotes: LadderQuotes | None
    payoff: FloatMatrix
    config: DistributionConfig


@dataclass(eq=False)
class StateFitter:
    """Fits looks, and keeps what ladders and repeated looks share.

    Parameters
    ----------
    config : DistributionConfig
        Settings of the fit.
    stale_after_s : float, optional
        Age beyond which a leg counts as stale; :func:`~quant_engine.kalshi.quality.stale_limit_s`
        of the horizon and the family where None.
    """

    config: DistributionConfig
    stale_after_s: float | None = None
    _models: dict[object, LadderModel] = field(default_factory=dict, repr=False)
    _states: dict[object, LadderState] = field(default_factory=dict, repr=False)

    def fit(
        self, look: LadderLook, grid: SettlementGrid, *, lattice: Lattice | None = None
    ) -> LadderState:
        """State of a look.

        Parameters
        ----------
        look : LadderLook
            Ladder as known at its decision.
        grid : SettlementGrid
            Values that a settlement can take.
        lattice : Lattice, optional
            Cells of the present state; around the listed strikes where None.

        Returns
        -------
        LadderState
            The no-arbitrage band is computed only without `lattice`: an earlier state needs none.
        """
        known = [*look.contracts, *(Contract(t, "custom") for t in look.without_strikes)]
        faults = find_structure_faults(known, grid, is_exclusive=look.is_exclusive)
        if faults or not known:
            missing = reconstruct_look(look, grid, config=self.config)
            nothing = np.empty((0, 0))
            return LadderState(look, missing, describe_shape(missing), None, nothing, self.config)
        model = self._model(look, grid, lattice)
        key = (look.event_id, look.asof_us, model.lattice, lattice is None)
        if key not in self._states:
            quotes = ladder_quotes(model.structure, look.quotes)
            limit = self.stale_after_s
            if limit is None:
                limit = stale_limit_s(float(look.horizon_s), family=look.family or "")
            found = fit_distribution(model, quotes, stale_after_s=limit, with_band=lattice is None)
            self._states[key] = LadderState(
                look, found, describe_shape(found), quotes, model.payoff, self.config
            )
        return self._states[key]

    def lattice_of(self, look: LadderLook, grid: SettlementGrid) -> Lattice:
        """Cells around the strikes that a look lists, which have to be a ladder."""
        return self._model(look, grid, None).lattice

    def forget(self) -> None:
        """Drop the states that were kept; ladders stay."""
        self._states.clear()

    def _model(
        self, look: LadderLook, grid: SettlementGrid, lattice: Lattice | None
    ) -> LadderModel:
        key = (look.contracts, look.is_exclusive, grid, lattice)
        if key not in self._models:
            structure = ladder_structure(look.contracts, grid, is_exclusive=look.is_exclusive)
            self._models[key] = prepare_ladder(structure, lattice, config=self.config)
        return self._models[key]


@dataclass(frozen=True, eq=False)
class Prints:
    """Trades of one event that were known at a decision, ascending in their availability.

    Parameters
    ----------
    ticker : ndarray of str, shape (n,)
        Market.
    event_us, avail_us : ndarray of int64, shape (n,)
        When it was traded, and from when on it was known.
    price_e4, count_c2 : ndarray of int64, shape (n,)
        Price of YES and contracts.
    side : ndarray of int64, shape (n,)
        1 where the taker bought YES, -1 where NO, 0 where nobody says.
    is_block : ndarray of bool, shape (n,)
        Negotiated away from the book.
    """

    ticker: npt.NDArray[np.object_]
    event_us: IntVector
    avail_us: IntVector
    price_e4: IntVector
    count_c2: IntVector
    side: IntVector
    is_block: npt.NDArray[np.bool_]

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Prints:
        """Trades of one event, in any order."""
        rows = frame.sort_values(["avail_us", "event_us"], kind="stable")
        side = rows["taker_outcome"].map({"yes": 1, "no": -1}).fillna(0)
        return cls(
            ticker=rows["ticker"].to_numpy(dtype=object),
            event_us=rows["event_us"].to_numpy(np.int64),
            avail_us=rows["avail_us"].to_numpy(np.int64),
            price_e4=rows["yes_price_e4"].to_numpy(np.int64),
            count_c2=rows["count_c2"].to_numpy(np.int64),
            side=side.to_numpy(np.int64),
            is_block=rows["is_block"].fillna(value=False).to_numpy(np.bool_),
        )

    def known(self, asof_us: int) -> Prints:
        """Those that were known at a moment."""
        n = int(np.searchsorted(self.avail_us, asof_us, side="right"))
        return Prints(*(getattr(self, name)[:n] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Ticks:
    """Quote records of one event that were known at a decision, ascending in availability.

    Parameters
    ----------
    ticker : ndarray of str, shape (n,)
        Market.
    event_us, avail_us : ndarray of int64, shape (n,)
        When it happened, and from when on it was known.
    volume_c2, oi_c2 : ndarray of float64, shape (n,)
        Contracts traded so far and open interest as the record says; NaN where it does not.
    """

    ticker: npt.NDArray[np.object_]
    event_us: IntVector
    avail_us: IntVector
    volume_c2: FloatVector
    oi_c2: FloatVector

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> Ticks:
        """Records of one event, in any order."""
        rows = frame.sort_values(["avail_us", "event_us"], kind="stable")
        return cls(
            rows["ticker"].to_numpy(dtype=object),
            rows["event_us"].to_numpy(np.int64),
            rows["avail_us"].to_numpy(np.int64),
            rows["volume_c2"].to_numpy(np.float64),
            rows["oi_c2"].to_numpy(np.float64),
        )

    def known(self, asof_us: int) -> Ticks:
        """Those that were known at a moment."""
        n = int(np.searchsorted(self.avail_us, asof_us, side="right"))
        return Ticks(*(getattr(self, name)[:n] for name in self.__dataclass_fields__))


@dataclass(frozen=True, eq=False)
class Decision:
    """Everything that a feature of one event and horizon may read.

    Parameters
    ----------
    now : LadderState
        At the decision.
    before : mapping of int to LadderState
        Seconds before the decision to the state then; a step at which the event was not listed is
        absent.
    prints : Prints
        Trades known at the decision.
    ticks : Ticks
        Quote records known at the decision.
    """

    now: LadderState
    before: Mapping[int, LadderState]
    prints: Prints
    ticks: Ticks

    @property
    def asof_us(self) -> int:
        """The decision, microseconds UTC."""
        return self.now.look.asof_us

    @property
    def max_input_avail_us(self) -> int:
        """Newest availability of anything above."""
        newest = [self.now.look.max_input_avail_us]
        newest += [state.look.max_input_avail_us for state in self.before.values()]
        for rows in (self.prints, self.ticks):
            newest += rows.avail_us[-1:].tolist()
        return max(newest)


def raw_probabilities(quotes: LadderQuotes) -> FloatVector:
    """Middles as probabilities, without a model.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.

    Returns
    -------
    ndarray of float64, shape (m,)
        Middle of each leg; of bins that cover every settlement value divided by their sum, all NaN
        where one of them is not quoted. NaN for a leg that nobody quotes.

    Examples
    --------
    >>> from quant_engine.kalshi.quotes import LegQuote
    >>> legs = [Contract("A", "less", cap_strike=75), Contract("B", "greater", floor_strike=74)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=True)
    >>> quotes = [LegQuote("A", 7_900, 8_100), LegQuote("B", 1_900, 2_100)]
    >>> raw_probabilities(ladder_quotes(ladder, quotes)).tolist()
    [0.8, 0.2]
    """
    middle = np.where(quotes.is_quoted, quotes.middle, np.nan)
    return _over_sum(middle, quotes)


def last_probabilities(quotes: LadderQuotes, look: LadderLook) -> FloatVector:
    """Last prices as probabilities; bins that cover everything are divided by their sum.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes, for the order of the legs.
    look : LadderLook
        Holds the last prices.

    Returns
    -------
    ndarray of float64, shape (m,)
        NaN where no price is known; all NaN for covering bins of which one has none.
    """
    return _over_sum(_last_prices(quotes, look), quotes)


def _last_prices(quotes: LadderQuotes, look: LadderLook) -> FloatVector:
    last = {
        contract.ticker: NAN if price is None else price / ONE_DOLLAR_E4
        for contract, price in zip(look.contracts, look.last_e4, strict=True)
    }
    return np.array([last[ticker] for ticker in quotes.structure.tickers])


def _over_sum(price: FloatVector, quotes: LadderQuotes) -> FloatVector:
    structure = quotes.structure
    if structure.kind != "exclusive" or not structure.is_covering:
        return price
    total = float(price.sum())
    return price / total if total > 0.0 else np.full(len(price), NAN)


def _of_shape(name: str) -> Callable[[LadderState], float]:
    return lambda state: float(getattr(state.shape, name))


def _of_distribution(name: str) -> Callable[[LadderState], float]:
    return lambda state: float(getattr(state.distribution, name))


def _of_quality(name: str) -> Callable[[LadderState], float]:
    return lambda state: float(getattr(state.distribution.quality, name))


def _of_quotes(
    measure: Callable[[LadderQuotes, npt.NDArray[np.bool_]], float],
) -> Callable[[LadderState], float]:
    """A number of the usable legs; NaN where there are none."""

    def value(state: LadderState) -> float:
        if state.quotes is None:
            return NAN
        usable = usable_legs(state.quotes, state.config.quality)
        return measure(state.quotes, usable) if usable.any() else NAN

    return value


def _sizes(quotes: LadderQuotes, usable: npt.NDArray[np.bool_]) -> tuple[FloatVector, FloatVector]:
    """Best sizes in contracts of usable legs that state one; 0 on both sides = nobody says."""
    bid, ask = quotes.bid_size_c2 / 100.0, quotes.ask_size_c2 / 100.0
    stated = usable & (bid + ask > 0.0)
    return bid[stated], ask[stated]


def _depth(quotes: LadderQuotes, usable: npt.NDArray[np.bool_]) -> float:
    bid, ask = _sizes(quotes, usable)
    return float(np.median(np.minimum(bid, ask))) if len(bid) else NAN


def _imbalance(quotes: LadderQuotes, usable: npt.NDArray[np.bool_]) -> float:
    bid, ask = _sizes(quotes, usable)
    return float(((bid - ask) / (bid + ask)).mean()) if len(bid) else NAN


def _micro_gap(quotes: LadderQuotes, usable: npt.NDArray[np.bool_]) -> float:
    stated = usable & (quotes.bid_size_c2 + quotes.ask_size_c2 > 0)
    stated &= (quotes.bid_e4 != NO_QUOTE) & (quotes.ask_e4 != NO_QUOTE)
    if not stated.any():
        return NAN
    bid, ask = quotes.bid_size_c2[stated], quotes.ask_size_c2[stated]
    # The price leans to the side with less behind it.
    lean = (bid - ask) / (bid + ask) * quotes.half_spread[stated]
    return float(100.0 * lean.mean())


def _coherence_gap(state: LadderState) -> float:
    """Least widening of the quotes that lets a distribution fit them, cents."""
    band = state.distribution.band
    if state.quotes is None or not state.quotes.is_quoted.any():
        return NAN
    if band is not None and band.is_feasible:
        return 0.0
    return measure_incoherence(state.quotes, weight_by_size=False).total_e4 / 100.0


def _sum_of_lasts(state: LadderState) -> float:
    if state.quotes is None or state.quotes.structure.kind != "exclusive":
        return NAN
    return float(_last_prices(state.quotes, state.look).sum())


def _sum_of_middles(state: LadderState) -> float:
    quotes = state.quotes
    if quotes is None or quotes.structure.kind != "exclusive" or not quotes.is_quoted.all():
        return NAN
    return float(quotes.middle.sum())


def _raw(measure: Callable[[FloatVector], float]) -> Callable[[LadderState], float]:
    def value(state: LadderState) -> float:
        if state.quotes is None:
            return NAN
        raw = raw_probabilities(state.quotes)
        return NAN if np.isnan(raw).any() else measure(raw)

    return value


def _raw_entropy(raw: FloatVector) -> float:
    return float(entr(raw).sum()) / log(len(raw)) if len(raw) > 1 else NAN


def _band_width(state: LadderState) -> float:
    band = state.distribution.band
    if band is None or not band.is_feasible:
        return NAN
    return float(100.0 * (band.leg_high - band.leg_low).mean())


def _residual_rms(state: LadderState) -> float:
    residual = state.distribution.leg_residual
    known = residual[~np.isnan(residual)]
    return 100.0 * sqrt(float((known**2).mean())) if len(known) else NAN


MEASURES: dict[str, Callable[[LadderState], float]] = {
    **{
        name: _of_shape(name)
        for name in (
            "mean", "sd", "skew", "bowley_skew", "q05", "q25", "q50", "q75", "q95",
            "entropy_nats", "entropy_share", "mode",
        )
    },
    **{
        name: _of_distribution(name)
        for name in ("mean_sd", "sd_sd", "p_below_lowest", "p_above_highest", "outside_band")
    },
    **{
        f"quality_{name}": _of_quality(name)
        for name in (
            "spread", "freshness", "coverage", "coherence", "depth", "listed",
        )
    },
    "post_sd_mean": _of_quality("posterior_sd"),
    "quality": _of_quality("score"),
    "iqr": lambda state: state.shape.q75 - state.shape.q25,
    "mode_gap": lambda state: state.shape.mode - state.shape.q50,
    "variance": lambda state: state.shape.sd**2,
    "half_spread": _of_quotes(lambda q, usable: float(100.0 * np.median(q.half_spread[usable]))),
    "age_median": _of_quotes(lambda q, usable: float(np.median(q.age_s[usable]))),
    "age_max": _of_quotes(lambda q, usable: float(q.age_s[usable].max())),
    "usable_share": lambda state: (
        NAN
        if state.quotes is None
        else float(usable_legs(state.quotes, state.config.quality).mean())
    ),
    "depth": _of_quotes(_depth),
    "size_imbalance": _of_quotes(_imbalance),
    "micro_gap": _of_quotes(_micro_gap),
    "incoherence": _coherence_gap,
    "incoherence_middles": lambda state: (
        NAN
        if state.quotes is None or not state.quotes.is_quoted.any()
        else incoherence_of_middles_e4(state.quotes, state.config.quality) / 100.0
    ),
    "residual_rms": _residual_rms,
    "band_width": _band_width,
    "sum_of_middles": _sum_of_middles,
    "sum_of_lasts": _sum_of_lasts,
    "raw_favourite": _raw(lambda raw: float(raw.max())),
    "raw_entropy_share": _raw(_raw_entropy),
}  # fmt: skip
"""Name to the number that it takes from one state; prices and spreads are in cents."""

"""How far a snapshot can be trusted: hard gates, components in [0, 1], and their product.

Contract: a gate that fails means no distribution, with its name as the reason; a score never
repairs a failed gate. Components that could not be measured are NaN and so is the score.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.bounds import measure_incoherence
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.quotes import LadderQuotes

__all__ = [
    "Gate",
    "QualityConfig",
    "QualityScore",
    "check_gates",
    "incoherence_of_middles_e4",
    "score_quality",
    "stale_limit_s",
    "usable_legs",
]

GateCode = Literal[
    "too_few_legs",
    "market_paused",
    "book_gap",
    "unresolved_direction",
    "duplicate_contract",
    "invalid_strike",
    "empty_payoff",
    "overlapping_bins",
    "gapped_bins",
    "no_contracts",
]

SOON_S, FAR_S = 30 * 60, 24 * 3600
TIGHT_S, LOOSE_S = 2 * 60, 60 * 60
SHORTEST_S, LONGEST_S = 30, 24 * 3600
FAMILY_FACTOR = {"cpi": 0.80, "unemployment": 0.90, "fomc": 0.70}
"""Families whose quotes move faster than others before a release."""

THIN, DEEP = 2.0, 6.0
THIN_FACTOR, DEEP_FACTOR = 1.35, 0.80


@dataclass(frozen=True)
class Gate:
    """One reason why there is no distribution.

    Parameters
    ----------
    code : str
        Cause.
    detail : str
        What was found, for a person.

    Examples
    --------
    >>> Gate("market_paused", "T1").code
    'market_paused'
    """

    code: GateCode
    detail: str


@dataclass(frozen=True)
class QualityConfig:
    """Scales of the score and limits of the gates.

    Parameters
    ----------
    least_legs : int
        Usable legs below which there is no distribution, at least 3.
    widest_e4 : int
        A leg with a wider spread is not usable, 1e-4 dollars.
    spread_scale_e4 : float
        Half-spread at which the component is 1/e.
    age_scale_s : float
        Age at which a leg's freshness is 1/e, seconds.
    incoherence_scale_e4 : float
        Sum of violations at which the component is 1/e.
    depth_scale_c2 : float
        Best size at which the depth component is 1 - 1/e, hundredths of contracts.

    Examples
    --------
    >>> QualityConfig().least_legs
    3
    """

    least_legs: int = 3
    widest_e4: int = 2_500
    spread_scale_e4: float = 300.0
    age_scale_s: float = 3_600.0
    incoherence_scale_e4: float = 500.0
    depth_scale_c2: float = 10_000.0

    def __post_init__(self) -> None:
        scales = (
            self.widest_e4, self.spread_scale_e4, self.age_scale_s, self.incoherence_scale_e4,
            self.depth_scale_c2,
        )  # fmt: skip
        if self.least_legs < 3 or not all(scale > 0 for scale in scales):
            raise ConfigError(
                "least_legs and scales",
                wanted="at least 3 legs and positive scales",
                got=self,
                hint="Two quotes do not determine a distribution.",
            )


@dataclass(frozen=True)
class QualityScore:
    """Components of trust, each in [0, 1], 1 = best; NaN = not measured.

    Parameters
    ----------
    spread : float
        ``exp(-median half-spread / scale)`` of the usable legs.
    freshness : float
        Mean ``exp(-age / scale)``; a leg beyond the stale limit counts 0.
    coverage : float
        1 - probability outside the listed strikes.
    coherence : float
        ``exp(-sum of violations / scale)`` of the middles.
    depth : float
        ``1 - exp(-median best size / scale)``; not part of the score.
    listed : float
        Usable legs as a share of the listed ones; not part of the score.
    posterior_sd : float
        Mean posterior standard deviation of the distribution function; not part of the score.

    Examples
    --------
    >>> round(QualityScore(0.9, 1.0, 0.95, 1.0, 0.5, 1.0, 0.01).score, 3)
    0.855
    """

    spread: float
    freshness: float
    coverage: float
    coherence: float
    depth: float
    listed: float
    posterior_sd: float

    @property
    def score(self) -> float:
        """Product of spread, freshness, coverage and coherence."""
        return self.spread * self.freshness * self.coverage * self.coherence


def usable_legs(quotes: LadderQuotes, config: QualityConfig) -> npt.NDArray[np.bool_]:
    """Legs whose middle says something.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    config : QualityConfig
        Holds the widest spread.

    Returns
    -------
    ndarray of bool, shape (m,)
        Quoted on at least one side and not wider than the limit; an absent bid counts as 0 and an
        absent ask as 1, so that "nobody bids, asked at 2 cents" is usable.
    """
    narrow = 2.0 * quotes.half_spread * ONE_DOLLAR_E4 <= config.widest_e4 + 1e-6
    return quotes.is_quoted & narrow


def check_gates(quotes: LadderQuotes, config: QualityConfig) -> tuple[Gate, ...]:
    """Hard gates of a snapshot.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes of a ladder without structural faults.
    config : QualityConfig
        Limits.

    Returns
    -------
    tuple of Gate
        Empty where a distribution may be fitted.
    """
    gates = []
    if quotes.paused:
        gates.append(Gate("market_paused", ", ".join(quotes.paused)))
    if quotes.gapped:
        gates.append(Gate("book_gap", ", ".join(quotes.gapped)))
    n_usable = int(usable_legs(quotes, config).sum())
    if n_usable < config.least_legs:
        detail = f"{n_usable} usable of {len(quotes.bid_e4)}, needs {config.least_legs}"
        gates.append(Gate("too_few_legs", detail))
    return tuple(gates)


def incoherence_of_middles_e4(quotes: LadderQuotes, config: QualityConfig) -> float:
    """By how much the middles of usable legs contradict each other.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    config : QualityConfig
        Says which legs are usable.

    Returns
    -------
    float
        1e-4 dollars. Half-lines: sum of rises of survival over rising strikes. Bins: distance of
        their sum from 1, or its excess where they do not cover. Mixed ladders: least widening of
        the quotes.
    """
    structure = quotes.structure
    usable = usable_legs(quotes, config)
    if structure.kind == "mixed":
        return measure_incoherence(quotes, weight_by_size=False).total_e4
    if structure.kind == "exclusive":
        excess = float(quotes.middle[usable].sum()) - 1.0
        is_whole = structure.is_covering and bool(usable.all())
        return ONE_DOLLAR_E4 * (abs(excess) if is_whole else max(excess, 0.0))
    is_upper = np.array([i.last is None for i in structure.intervals])
    starts = np.array(
        [i.first if i.last is None else i.last + 1 for i in structure.intervals], dtype=np.int64
    )
    survival = np.where(is_upper, quotes.middle, 1.0 - quotes.middle)[usable]
    order = np.argsort(starts[usable], kind="stable")
    return ONE_DOLLAR_E4 * float(np.maximum(np.diff(survival[order]), 0.0).sum())


def score_quality(
    quotes: LadderQuotes,
    config: QualityConfig,
    *,
    tail_mass: float,
    posterior_sd: float,
    stale_after_s: float = float(LOOSE_S),
) -> QualityScore:
    """Score a snapshot whose distribution was fitted.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    config : QualityConfig
        Scales.
    tail_mass : float
        Probability outside the listed strikes.
    posterior_sd : float
        Mean posterior standard deviation of the distribution function.
    stale_after_s : float
        Age beyond which a leg counts as not fresh at all, seconds; see :func:`stale_limit_s`.

    Returns
    -------
    QualityScore
    """
    usable = usable_legs(quotes, config)
    if not usable.any():
        return QualityScore(*[float("nan")] * 7)
    half = float(np.median(quotes.half_spread[usable])) * ONE_DOLLAR_E4
    age = quotes.age_s[usable]
    fresh = np.where(age <= stale_after_s, np.exp(-age / config.age_scale_s), 0.0)
    size = np.minimum(quotes.bid_size_c2, quotes.ask_size_c2)[usable]
    violation = incoherence_of_middles_e4(quotes, config)
    return QualityScore(
        spread=exp(-half / config.spread_scale_e4),
        freshness=float(fresh.mean()),
        coverage=1.0 - tail_mass,
        coherence=exp(-violation / config.incoherence_scale_e4),
        depth=1.0 - exp(-float(np.median(size)) / config.depth_scale_c2),
        listed=float(usable.mean()),
        posterior_sd=posterior_sd,
    )


def stale_limit_s(
    seconds_to_event: float, *, family: str = "", liquidity: float | None = None
) -> float:
    """Age beyond which a quote is stale, tighter as the release comes nearer.

    Parameters
    ----------
    seconds_to_event : float
        Time to the scheduled release, seconds; at or after it the tightest limit holds.
    family : str
        ``cpi``, ``unemployment`` or ``fomc`` are tighter; others have factor 1.
    liquidity : float, optional
        Liquidity score; at most 2 loosens, at least 6 tightens the limit.

    Returns
    -------
    float
        Seconds, from 30 to 86,400.

    Notes
    -----
    2 minutes up to half an hour before the event, 60 minutes from a day before it, linear between.

    Examples
    --------
    >>> stale_limit_s(60 * 30), stale_limit_s(86_400), round(stale_limit_s(1, family="fomc"), 1)
    (120.0, 3600.0, 84.0)
    """
    share = min(max((seconds_to_event - SOON_S) / (FAR_S - SOON_S), 0.0), 1.0)
    limit = TIGHT_S + share * (LOOSE_S - TIGHT_S)
    limit *= FAMILY_FACTOR.get(family.lower(), 1.0)
    if liquidity is not None:
        limit *= THIN_FACTOR if liquidity <= THIN else DEEP_FACTOR if liquidity >= DEEP else 1.0
    return float(min(max(limit, SHORTEST_S), LONGEST_S))

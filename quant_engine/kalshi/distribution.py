"""From the quotes of a ladder to a distribution with error bars, or to the reason for having none.

Contract: a fitted distribution is never negative and adds up to 1 by construction, whatever the
quotes; its posterior says what the quotes leave open, and its distance from the no-arbitrage band
is reported, not repaired. A failed gate gives the same object with NaN in every number and the
reasons in ``gates``: never a guess, never a missing field.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv, logit

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.bounds import Band, closed_form_band, lp_band
from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.lattice import (
    IndexInterval,
    LadderStructure,
    Lattice,
    SettlementGrid,
    find_structure_faults,
    ladder_structure,
)
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quality import (
    Gate,
    QualityConfig,
    QualityScore,
    check_gates,
    score_quality,
    stale_limit_s,
    usable_legs,
)
from quant_engine.kalshi.quotes import LadderQuotes, LegQuote, ladder_quotes
from quant_engine.kalshi.spline import (
    LEAST_WEIGHT,
    fit_models,
    pilot_location_scale,
    third_difference_modes,
)

__all__ = [
    "DistributionConfig",
    "LadderDistribution",
    "LadderModel",
    "fit_distribution",
    "leg_weights",
    "prepare_ladder",
    "reconstruct",
]

Reference = Literal["normal", "student"]

STUDENT_DOF = 4.0
"""Degrees of freedom of the heavy-tailed reference: finite variance, infinite kurtosis."""


@dataclass(frozen=True)
class DistributionConfig:
    """Settings of the log-density spline.

    Parameters
    ----------
    variance_share : float
        A quote's variance is this share of ``half-spread^2 + half-tick^2``.
    tick_e4 : int
        Price step, 1e-4 dollars.
    age_scale_s : float
        Age that doubles a quote's variance, seconds.
    smoothness : tuple of float
        Weights of the squared third derivative in units of the distribution's own width, stiff
        first; their evidence decides.
    references : tuple of str
        Shapes that the spline bends: ``"normal"``, ``"student"`` (4 degrees of freedom).
    deviation_nats : float
        Prior size of the bend per cell, in nats; keeps a tail without quotes from running away.
    bias_logit_sd : float
        Standard deviation of a bias that all quotes of a ladder share, as a share of their logit:
        contracts at 5 cents win 4.2 % of the time. It widens the posterior and not the fit,
        because more quotes do not average it out.
    quality : QualityConfig
        Gates and scales of the score.

    Notes
    -----
    Frozen numbers of the benchmark's tuning seed; its test seed is another.

    Examples
    --------
    >>> DistributionConfig().references
    ('normal', 'student')
    """

    variance_share: float = 1.0
    tick_e4: int = 100
    age_scale_s: float = 2_700.0
    smoothness: tuple[float, ...] = (1e2, 1e1, 1e0, 1e-1, 1e-2)
    references: tuple[Reference, ...] = ("normal", "student")
    deviation_nats: float = 10.0
    bias_logit_sd: float = 0.05
    quality: QualityConfig = field(default_factory=QualityConfig)

    def __post_init__(self) -> None:
        positive = (
            self.variance_share, self.tick_e4, self.age_scale_s, self.deviation_nats,
        )  # fmt: skip
        known = all(name in get_args(Reference) for name in self.references)
        falls = all(value > 0 for value in self.smoothness) and list(self.smoothness) == sorted(
            self.smoothness, reverse=True
        )
        if not all(value > 0 for value in positive) or not known or not falls:
            raise ConfigError(
                "variance_share, tick_e4, age_scale_s, deviation_nats, smoothness, references",
                wanted="positive numbers, smoothness from stiff to soft, known references",
                got=self,
                hint="References are " + " and ".join(get_args(Reference)) + ".",
            )
        if not self.smoothness or not self.references:
            raise ConfigError(
                "smoothness, references",
                wanted="at least one of each",
                got="none",
                hint="Use the defaults.",
            )


@dataclass(frozen=True, eq=False)
class LadderModel:
    """What the fits of one ladder share, made once and kept by the caller.

    Parameters
    ----------
    structure : LadderStructure
        Who pays where.
    lattice : Lattice
        Cells, n of them.
    points : ndarray of float64, shape (n,)
        Their values, unit of the settlement value.
    payoff : ndarray of float64, shape (m, n)
        Payoff per leg and cell.
    eigenvalues : ndarray of float64, shape (n,)
        Of the squared third difference.
    modes : ndarray of float64, shape (n, n)
        Its eigenvectors, in columns.
    config : DistributionConfig
        Settings.
    """

    structure: LadderStructure
    lattice: Lattice
    points: FloatVector
    payoff: FloatMatrix
    eigenvalues: FloatVector
    modes: FloatMatrix
    config: DistributionConfig


@dataclass(frozen=True, eq=False)
class LadderDistribution:
    """Distribution of a settlement value, or the reasons for having none.

    Parameters
    ----------
    points : ndarray of float64, shape (n,)
        Cell values, unit of the settlement value; empty for a ladder without a lattice.
    width : float
        Width of a cell.
    pmf, cdf, cdf_sd : ndarray of float64, shape (n,)
        Probability per cell, probability up to each cell, and the posterior standard deviation of
        the latter.
    mean, mean_sd, sd, sd_sd : float
        Mean and standard deviation with their posterior standard deviations, within the lattice.
    p_below_lowest, p_above_highest : float
        Probability outside the listed strikes.
    is_moment_truncated : bool
        More than 5 % lies there, so that moments rest on the lattice's ends.
    model_weights : ndarray of float64, shape (R, S)
        Evidence weight per reference and smoothness.
    leg_probability, leg_residual : ndarray of float64, shape (m,)
        Fitted probability of each leg, and middle - fitted; NaN for an unquoted leg's residual.
    outside_band : float
        Largest distance of a leg's probability from its no-arbitrage band; NaN without a band.
    band : Band or None
        The band; None where there is no ladder.
    n_usable, n_stale : int
        Usable legs, and legs older than the stale limit.
    quality : QualityScore
        Components of trust.
    gates : tuple of Gate
        Failed gates; empty for a fitted distribution.

    Notes
    -----
    NaN rule: with a failed gate every number is NaN and counts are kept.
    """

    points: FloatVector
    width: float
    pmf: FloatVector
    cdf: FloatVector
    cdf_sd: FloatVector
    mean: float
    mean_sd: float
    sd: float
    sd_sd: float
    p_below_lowest: float
    p_above_highest: float
    is_moment_truncated: bool
    model_weights: FloatMatrix
    leg_probability: FloatVector
    leg_residual: FloatVector
    outside_band: float
    band: Band | None
    n_usable: int
    n_stale: int
    quality: QualityScore
    gates: tuple[Gate, ...]

    @property
    def is_available(self) -> bool:
        """Whether there is a distribution."""
        return not self.gates

    def survival(self, value: float) -> float:
        """Probability of settling in a cell above the one of a value; NaN without one."""
        if not self.is_available:
            return float("nan")
        return float(self.pmf[self.points > value + 1e-9 * self.width].sum())

    def quantiles(self, levels: npt.ArrayLike) -> FloatVector:
        """Quantiles at probability levels of shape (k,), linear inside cells; NaN without any."""
        wanted = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if not self.is_available:
            return np.full(wanted.shape, np.nan)
        edges = np.append(self.points[0] - self.width / 2.0, self.points + self.width / 2.0)
        found: FloatVector = np.interp(wanted, np.concatenate([[0.0], self.cdf]), edges)
        return found

    def cdf_interval(self, coverage: float) -> tuple[FloatVector, FloatVector]:
        """Posterior interval of the distribution function, shape (n,) each.

        The beta distribution of the same mean and variance stays in [0, 1] and is normal where the
        posterior is narrow.
        """
        if not 0.0 < coverage < 1.0:
            raise ConfigError(
                "coverage",
                wanted="a probability strictly between 0 and 1",
                got=coverage,
                hint="Write 0.9 for 90 %.",
            )
        inside = np.clip(self.cdf, 1e-12, 1.0 - 1e-12)
        most = inside * (1.0 - inside)
        size = most / np.clip(self.cdf_sd**2, 1e-12 * most, 0.99 * most) - 1.0
        tail = (1.0 - coverage) / 2.0
        low, high = (
            betaincinv(inside * size, (1.0 - inside) * size, level) for level in (tail, 1.0 - tail)
        )
        return np.minimum(low, self.cdf), np.maximum(high, self.cdf)


def prepare_ladder(
    structure: LadderStructure,
    lattice: Lattice | None = None,
    *,
    config: DistributionConfig | None = None,
) -> LadderModel:
    """Everything about a ladder that does not depend on its quotes.

    Parameters
    ----------
    structure : LadderStructure
        Who pays where.
    lattice : Lattice, optional
        Cells; :meth:`Lattice.around` the strikes without.
    config : DistributionConfig, optional
        Settings.

    Returns
    -------
    LadderModel
    """
    cells = Lattice.around(structure) if lattice is None else lattice
    eigenvalues, modes = third_difference_modes(cells.n_cells)
    return LadderModel(
        structure=structure,
        lattice=cells,
        points=cells.points,
        payoff=np.ascontiguousarray(cells.payoff_matrix(structure.intervals)),
        eigenvalues=eigenvalues,
        modes=modes,
        config=DistributionConfig() if config is None else config,
    )


def leg_weights(quotes: LadderQuotes, config: DistributionConfig) -> FloatVector:
    """Inverse variance of every leg's middle.

    Parameters
    ----------
    quotes : LadderQuotes
        Quotes.
    config : DistributionConfig
        Scales.

    Returns
    -------
    ndarray of float64, shape (m,)
        ``1 / [share (h^2 + half-tick^2) (1 + age / scale)]``, 1 / probability^2; 0 for a leg that
        is not usable.
    """
    half_tick = config.tick_e4 / 2.0 / ONE_DOLLAR_E4
    age = np.where(np.isnan(quotes.age_s), 0.0, quotes.age_s)
    variance = config.variance_share * (quotes.half_spread**2 + half_tick**2)
    variance = variance * (1.0 + age / config.age_scale_s)
    return np.where(usable_legs(quotes, config.quality), 1.0 / variance, 0.0)


def fit_distribution(
    model: LadderModel,
    quotes: LadderQuotes,
    *,
    pooled: tuple[FloatVector, FloatVector] | None = None,
    stale_after_s: float = stale_limit_s(float("inf")),
    with_band: bool = True,
) -> LadderDistribution:
    """Fit one snapshot.

    Parameters
    ----------
    model : LadderModel
        The prepared ladder.
    quotes : LadderQuotes
        Quotes of the same structure.
    pooled : tuple of ndarray, shapes (m,) and (m,), optional
        Middle and inverse variance per leg from several snapshots, instead of this one's
        (:func:`~quant_engine.kalshi.pooling.pool_quotes`).
    stale_after_s : float
        Age beyond which a leg counts as stale, seconds.
    with_band : bool
        Also compute the no-arbitrage band; a mixed ladder needs linear programs for it, which take
        much longer than the fit.

    Returns
    -------
    LadderDistribution

    Raises
    ------
    DataError
        Quotes of another ladder.

    Notes
    -----
    ``p = softmax(reference + theta)``; minimises ``sum w_i (W_i p - m_i)^2 + lambda (s / step)^5
    |D^3 theta|^2 + |theta|^2 / (n deviation^2)`` for every reference and lambda, s the width of
    the nearest normal curve. The mixture of the fits is weighted by their Laplace evidence
    ``-objective / 2 - log|J'J + P| / 2 + log|P| / 2``; the posterior variance is that of the fits
    plus that between them. A stiff fit is the reference itself, a soft one follows every quote.

    Examples
    --------
    >>> legs = [Contract(f"T{k}", "greater", float(k)) for k in range(1, 5)]
    >>> ladder = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> bids = {1: 8_400, 2: 4_900, 3: 1_500, 4: 200}
    >>> quotes = [LegQuote(f"T{k}", bid, bid + 200) for k, bid in bids.items()]
    >>> found = fit_distribution(prepare_ladder(ladder), ladder_quotes(ladder, quotes))
    >>> found.is_available, round(float(found.pmf.sum()), 9), bool(found.pmf.min() >= 0)
    (True, 1.0, True)
    """
    if quotes.structure is not model.structure and quotes.structure.tickers != (
        model.structure.tickers
    ):
        raise DataError(
            "quotes",
            wanted="quotes of the prepared ladder",
            got="another ladder",
            hint="Join quotes with ladder_quotes(model.structure, ...).",
        )
    middle, weight = (
        (quotes.middle, leg_weights(quotes, model.config)) if pooled is None else pooled
    )
    gates = _gates(quotes, weight, model.config.quality)
    if gates:
        return _unavailable(gates, model=model, quotes=quotes, stale_after_s=stale_after_s)
    weights, p, spread = _posterior(model, middle, weight)
    n = model.lattice.n_cells
    band = _band(quotes) if with_band else None
    leg = model.payoff @ p
    below, above = _tail_masses(model, p)
    points = model.points
    mean = float(p @ points)
    return LadderDistribution(
        points=points,
        width=model.lattice.width,
        pmf=p,
        cdf=np.minimum(np.cumsum(p), 1.0),
        cdf_sd=spread[:n],
        mean=mean,
        mean_sd=float(spread[n]),
        sd=sqrt(float(p @ (points - mean) ** 2)),
        sd_sd=float(spread[n + 1]),
        p_below_lowest=below,
        p_above_highest=above,
        is_moment_truncated=below + above > 0.05,
        model_weights=weights.reshape(len(model.config.references), -1),
        leg_probability=leg,
        leg_residual=np.where(quotes.is_quoted, quotes.middle - leg, np.nan),
        outside_band=float("nan") if band is None else band.distance(leg),
        band=band,
        n_usable=int(usable_legs(quotes, model.config.quality).sum()),
        n_stale=_n_stale(quotes, stale_after_s),
        quality=score_quality(
            quotes,
            model.config.quality,
            tail_mass=below + above,
            posterior_sd=float(spread[:n].mean()),
            stale_after_s=stale_after_s,
        ),
        gates=(),
    )


def reconstruct(
    contracts: Sequence[Contract],
    quotes: Iterable[LegQuote],
    grid: SettlementGrid,
    *,
    is_exclusive: bool,
    config: DistributionConfig | None = None,
) -> LadderDistribution:
    """Contracts and quotes to a distribution in one call, for a ladder that is seen once.

    Parameters
    ----------
    contracts : sequence of Contract
        Legs in any order.
    quotes : iterable of LegQuote
        One record per market.
    grid : SettlementGrid
        Where settlement values lie.
    is_exclusive : bool
        The event's ``mutually_exclusive``.
    config : DistributionConfig, optional
        Settings.

    Returns
    -------
    LadderDistribution
        Structural faults come back as failed gates.

    Examples
    --------
    >>> refused = reconstruct(
    ...     [Contract("A", "custom")], [], SettlementGrid(1.0), is_exclusive=True
    ... )
    >>> refused.is_available, refused.gates[0].code
    (False, 'unresolved_direction')
    """
    faults = find_structure_faults(contracts, grid, is_exclusive=is_exclusive)
    gates = tuple(Gate(f.code, f"{', '.join(f.tickers)}: {f.detail}") for f in faults)
    if not contracts:
        gates = (Gate("no_contracts", "the event lists none"),)
    if gates:
        return _unavailable(gates)
    structure = ladder_structure(contracts, grid, is_exclusive=is_exclusive)
    model = prepare_ladder(structure, config=config)
    return fit_distribution(model, ladder_quotes(structure, quotes))


def _gates(quotes: LadderQuotes, weight: FloatVector, config: QualityConfig) -> tuple[Gate, ...]:
    """Gates of the present quotes, and of what pooling left of them."""
    gates = check_gates(quotes, config)
    n_informing = int((weight > 0.0).sum())
    if not gates and n_informing < config.least_legs:
        detail = f"{n_informing} pooled legs, needs {config.least_legs}"
        gates = (Gate("too_few_legs", detail),)
    return gates


def _mixture(
    model: LadderModel, middle: FloatVector, weight: FloatVector
) -> tuple[FloatVector, FloatMatrix, FloatMatrix, FloatMatrix]:
    """Evidence weights, probabilities, functionals and their variances of every model."""
    config, x = model.config, model.points
    informs = weight > 0.0
    payoff = np.ascontiguousarray(model.payoff[informs])
    middle, weight = middle[informs], weight[informs]
    location, scale = pilot_location_scale(payoff, middle, weight, x)
    z = (x - location) / scale
    shapes = {
        "normal": -0.5 * z * z,
        # Scaled to the same standard deviation: variance dof / (dof - 2).
        "student": -0.5 * (STUDENT_DOF + 1.0) * np.log1p(z * z / (STUDENT_DOF - 2.0)),
    }
    unit = (scale / model.lattice.width) ** 5
    ridge = 1.0 / (len(x) * config.deviation_nats**2)
    precisions = np.array(config.smoothness)[:, None] * unit * model.eigenvalues + ridge
    references = np.array([shapes[name] for name in config.references])
    fitted: tuple[FloatVector, FloatMatrix, FloatMatrix, FloatMatrix] = fit_models(
        payoff, middle, weight, x, model.modes, precisions, references
    )
    return fitted


def _posterior(
    model: LadderModel, middle: FloatVector, weight: FloatVector
) -> tuple[FloatVector, FloatVector, FloatVector]:
    """Evidence weights, the mixture's probabilities, and its functionals' standard deviations."""
    weights, pmf, values, variances = _mixture(model, middle, weight)
    centre = weights @ values
    counted = weights >= LEAST_WEIGHT
    share = weights[counted] / weights[counted].sum()
    variance = share @ (variances[counted] + (values[counted] - centre) ** 2)
    spread = _posterior_sd(variance, centre[: model.lattice.n_cells], model.config)
    return weights, weights @ pmf, spread


def _posterior_sd(
    variance: FloatVector, cdf: FloatVector, config: DistributionConfig
) -> FloatVector:
    """Standard deviations of the functionals, with the bias that all quotes share."""
    inside = np.clip(cdf, 1e-12, 1.0 - 1e-12)
    bias = config.bias_logit_sd * np.abs(logit(inside)) * inside * (1.0 - inside)
    total = variance.copy()
    total[: len(cdf)] += bias**2
    return np.sqrt(total)


def _band(quotes: LadderQuotes) -> Band:
    return lp_band(quotes) if quotes.structure.kind == "mixed" else closed_form_band(quotes)


def _n_stale(quotes: LadderQuotes, stale_after_s: float) -> int:
    return int((quotes.age_s > stale_after_s).sum())


def _tail_masses(model: LadderModel, p: FloatVector) -> tuple[float, float]:
    """Probability below the lowest and above the highest listed strike."""
    low, high = model.structure.outermost()
    below = model.lattice.indicator(IndexInterval(None, low - 1))
    above = model.lattice.indicator(IndexInterval(high + 1, None))
    return float(below @ p), float(above @ p)


def _unavailable(
    gates: tuple[Gate, ...],
    *,
    model: LadderModel | None = None,
    quotes: LadderQuotes | None = None,
    stale_after_s: float = 0.0,
) -> LadderDistribution:
    nan = float("nan")
    points = np.empty(0) if model is None else model.points
    cells = np.full(len(points), nan)
    legs = np.full(0 if model is None else len(model.payoff), nan)
    shape = (0, 0) if model is None else (
        len(model.config.references), len(model.config.smoothness)
    )  # fmt: skip
    usable = 0
    if model is not None and quotes is not None:
        usable = int(usable_legs(quotes, model.config.quality).sum())
    return LadderDistribution(
        points=points,
        width=nan if model is None else model.lattice.width,
        pmf=cells,
        cdf=cells,
        cdf_sd=cells,
        mean=nan,
        mean_sd=nan,
        sd=nan,
        sd_sd=nan,
        p_below_lowest=nan,
        p_above_highest=nan,
        is_moment_truncated=False,
        model_weights=np.full(shape, nan),
        leg_probability=legs,
        leg_residual=legs,
        outside_band=nan,
        band=None if quotes is None else _band(quotes),
        n_usable=usable,
        n_stale=0 if quotes is None else _n_stale(quotes, stale_after_s),
        quality=QualityScore(nan, nan, nan, nan, nan, nan, nan),
        gates=gates,
    )

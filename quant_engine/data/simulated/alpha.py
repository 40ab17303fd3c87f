"""Planted alpha: an expected return that is a known function of published characteristics.

Units: ``u`` is a published characteristic in (-1, 1), uniform across names. Every term has mean
zero and variance one for a uniform ``u``; a shape is a weighted sum of terms with squared weights
adding to one, centred across the names of each row.

======== ===================================
kind     formula
======== ===================================
linear   sqrt(3) u
square   (u**2 - 1/3) / sqrt(4/45)
fold     (abs(u) - 1/2) / sqrt(1/12)
wave     sqrt(2) cos(pi u)
tails    (1{abs(u) > 2/3} - 1/3) / sqrt(2/9)
product  3 u v
switch   sqrt(3) u sign(v)
======== ===================================

All kinds but ``linear`` are uncorrelated with every single characteristic. A term k sessions
ahead is forecast by today's term times its autocorrelation at lag k, which follows from the AR(1)
latent by Mehler's formula (``_autocorrelation``); summed over the span of a label this gives the
oracle's score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError
from quant_engine.data.simulated.characteristics import N_ALPHA
from quant_engine.data.simulated.config import AlphaShape, EquityWorldConfig
from quant_engine.data.simulated.kernels import IntVector, rank_correlation_rows, to_uniform
from quant_engine.data.simulated.streams import Streams

_LINEAR = tuple(("linear", k, k) for k in range(N_ALPHA))
_NONLINEAR = tuple(
    (kind, k, k) for k, kind in enumerate(("square", "fold", "wave", "tails") * (N_ALPHA // 4))
)
_INTERACTION = (("product", 0, 1), ("switch", 2, 3), ("product", 4, 5), ("switch", 6, 7))
_MIXED_CURVED = (("square", 4, 4), ("fold", 5, 5), ("product", 6, 7), ("switch", 0, 4))
MIN_ASSETS = 5
_IC_TOLERANCE_FRAC = 1e-4
_FIXED_POINT_STEPS = 4
_MAX_STEPS = 40
_HERMITE_TERMS = 81


@dataclass(frozen=True)
class AlphaTerm:
    """One term of the planted alpha.

    Parameters
    ----------
    kind : str
        Row of the table in the module's description.
    first, second : int
        Latent numbers (0 to 7) of u and v; equal for terms of one characteristic.
    weight : float
        Signed weight.
    """

    kind: str
    first: int
    second: int
    weight: float

    def evaluate(self, u: FloatMatrix, v: FloatMatrix) -> FloatMatrix:
        """Return the unweighted term for characteristics u and v, shape (R, N)."""
        if self.kind == "linear":
            return np.sqrt(3.0) * u
        if self.kind == "square":
            return (u**2 - 1 / 3) / np.sqrt(4 / 45)
        if self.kind == "fold":
            return (np.abs(u) - 0.5) / np.sqrt(1 / 12)
        if self.kind == "wave":
            return np.sqrt(2.0) * np.cos(np.pi * u)
        if self.kind == "tails":
            return np.where(np.isnan(u), np.nan, (np.abs(u) > 2 / 3) - 1 / 3) / np.sqrt(2 / 9)
        if self.kind == "product":
            return 3.0 * u * v
        return np.sqrt(3.0) * u * np.sign(v)


@dataclass(frozen=True)
class PlantedAlpha:
    """The alpha of a world on its rows.

    Parameters
    ----------
    terms : tuple of AlphaTerm
        Its formula; empty for shape ``none``.
    alpha : ndarray, shape (R, N)
        Expected idiosyncratic simple return of the next session given the row, fraction; NaN
        where not listed. Exactly zero for shape ``none``.
    score : ndarray, shape (R, N)
        Oracle forecast of the label in units of the alpha scale; NaN where not listed.
    scale : float
        Standard deviation of alpha per session, fraction.
    """

    terms: tuple[AlphaTerm, ...]
    alpha: FloatMatrix
    score: FloatMatrix
    scale: float


def plant_alpha(
    config: EquityWorldConfig,
    streams: Streams,
    *,
    characteristics: Sequence[FloatMatrix],
    regime: IntVector,
    noise_log_returns: tuple[FloatMatrix, FloatMatrix],
) -> PlantedAlpha:
    """Build the alpha of a shape and scale it to the wanted oracle rank IC.

    Parameters
    ----------
    config : EquityWorldConfig
        Shape, strength and horizon.
    streams : Streams
        Random streams of the world (signs and weights of the terms).
    characteristics : sequence of ndarray, shape (R, N)
        Published characteristics in latent order; NaN where not listed.
    regime : ndarray of int64, shape (R,)
        Regime known at each row.
    noise_log_returns : tuple of two ndarrays, shape (R, N)
        Overnight and intraday log returns of the same world without alpha; NaN off life.

    Returns
    -------
    PlantedAlpha
        Alpha, oracle score and scale.

    Raises
    ------
    ConfigError
        When the wanted oracle rank IC cannot be reached.
    """
    terms = alpha_terms(config.alpha.shape, streams)
    listed = ~np.isnan(characteristics[0])
    if not terms:
        zero = np.where(listed, 0.0, np.nan)
        return PlantedAlpha((), zero, zero, 0.0)
    horizon = _horizon_weights(config)
    modulation = _modulation(config, regime)[:, None]
    now, ahead = np.zeros(listed.shape), np.zeros(listed.shape)
    for term in terms:
        u, v = (characteristics[k].astype(np.float64) for k in (term.first, term.second))
        value = term.weight * term.evaluate(u, v)
        now += value
        ahead += horizon[term.kind] * value
    unit = modulation * _centred(now, listed)
    score = modulation * _centred(ahead, listed)
    alpha_sum, noise_sum = label_sums(config, alpha=unit, noise_log_returns=noise_log_returns)
    scale = calibrate_scale(
        config.alpha.oracle_rank_ic, score=score, alpha_sum=alpha_sum, noise_sum=noise_sum
    )
    return PlantedAlpha(terms, scale * unit, scale * score, scale)


def alpha_terms(shape: AlphaShape, streams: Streams) -> tuple[AlphaTerm, ...]:
    """Return the formula of a shape with signs and weights drawn from the seed.

    Parameters
    ----------
    shape : AlphaShape
        Wanted shape.
    streams : Streams
        Random streams of the world.

    Returns
    -------
    tuple of AlphaTerm
        Squared weights add to one; half of them linear under ``mixed`` and ``decaying``.
    """
    rng = streams.of("alpha")
    signs = rng.choice([-1.0, 1.0], size=2 * N_ALPHA)
    sizes = signs * rng.uniform(0.75, 1.25, size=2 * N_ALPHA)
    groups: dict[AlphaShape, tuple[tuple[tuple[str, int, int], ...], ...]] = {
        AlphaShape.NONE: (),
        AlphaShape.LINEAR: (_LINEAR,),
        AlphaShape.REGIME: (_LINEAR,),
        AlphaShape.NONLINEAR: (_NONLINEAR,),
        AlphaShape.INTERACTION: (_INTERACTION,),
        AlphaShape.MIXED: (_LINEAR[:4], _MIXED_CURVED),
        AlphaShape.DECAYING: (_LINEAR[:4], _MIXED_CURVED),
    }
    parts = groups[shape]
    terms: list[AlphaTerm] = []
    for part in parts:
        raw = sizes[len(terms) : len(terms) + len(part)]
        weights = raw / np.sqrt((raw**2).sum() * len(parts))
        terms += [AlphaTerm(*term, float(w)) for term, w in zip(part, weights, strict=True)]
    return tuple(terms)


def terms_table(terms: Sequence[AlphaTerm], names: Sequence[str]) -> pd.DataFrame:
    """Return the formula as a table: kind, first, second (published names), weight.

    Parameters
    ----------
    terms : sequence of AlphaTerm
        Formula.
    names : sequence of str
        Published name per latent.

    Returns
    -------
    DataFrame
        One row per term.
    """
    rows = [(term.kind, names[term.first], names[term.second], term.weight) for term in terms]
    return pd.DataFrame(rows, columns=["kind", "first", "second", "weight"])


def label_sums(
    config: EquityWorldConfig,
    *,
    alpha: FloatMatrix,
    noise_log_returns: tuple[FloatMatrix, FloatMatrix],
) -> tuple[FloatMatrix, FloatMatrix]:
    """Sum alpha and noise over the span of each row's label.

    The label of row t runs from the open of t + 1 to the open of t + 1 + h: h intraday moves and h
    overnight moves. Alpha known at row k accrues overnight and intraday of row k + 1.

    Parameters
    ----------
    config : EquityWorldConfig
        Horizon h and overnight share.
    alpha : ndarray, shape (R, N)
        Unit alpha per session; NaN where not listed.
    noise_log_returns : tuple of two ndarrays, shape (R, N)
        Overnight and intraday log returns without alpha; NaN off life.

    Returns
    -------
    tuple of two ndarrays, shape (R, N)
        Alpha sum and noise sum; NaN where the span leaves the name's life or the data.
    """
    h = config.alpha.horizon_sessions
    overnight_frac = config.market.overnight_variance_frac
    overnight, intraday = noise_log_returns
    step = np.full_like(overnight, np.nan)
    step[:-1] = intraday[:-1] + overnight[1:]
    drift = np.full_like(alpha, np.nan)
    drift[1:] = (1.0 - overnight_frac) * alpha[:-1] + overnight_frac * alpha[1:]
    sums = []
    for values in (drift, step):
        known = ~np.isnan(values)
        total = np.cumsum(np.where(known, values, 0.0), axis=0)
        count = np.cumsum(known, axis=0)
        out = np.full_like(values, np.nan)
        whole = (count[h:] - count[:-h]) == h
        out[:-h] = np.where(whole, total[h:] - total[:-h], np.nan)
        sums.append(out)
    return sums[0], sums[1]


def calibrate_scale(
    target: float, *, score: FloatMatrix, alpha_sum: FloatMatrix, noise_sum: FloatMatrix
) -> float:
    """Find the alpha scale at which the oracle's mean rank IC is the target in population.

    ``IC(s) = mean over dates of [rho(score, s A + y) + rho(score, s A - y)] / 2`` where A is the
    alpha of the label per unit scale, y its noise and rho the rank correlation across names. Noise
    and mirrored noise are equally likely worlds, hence the sampling error of the noise, which would
    otherwise dominate, cancels exactly to first order; ``IC(0) = 0``. The fixed point
    ``s <- s * target / IC(s)`` converges in a few steps because IC is nearly linear; in small
    worlds IC moves in jumps (a swap of two ranks lasts for many overlapping labels), where
    bisection ends the search.

    Parameters
    ----------
    target : float
        Wanted mean rank IC.
    score : ndarray, shape (R, N)
        Oracle score.
    alpha_sum, noise_sum : ndarray, shape (R, N)
        From ``label_sums``; NaN = no label.

    Returns
    -------
    float
        Standard deviation of alpha per session, fraction.

    Raises
    ------
    ConfigError
        When the fixed point does not settle.
    """
    stride = max(1, score.shape[0] // 250)
    rows = np.arange(0, score.shape[0], stride)
    score, alpha_sum, noise_sum = score[rows], alpha_sum[rows], noise_sum[rows]
    low, high = 0.0, np.inf
    scale = target * float(np.nanstd(noise_sum) / np.nanstd(alpha_sum))
    for step in range(_MAX_STEPS):
        reached = _mirrored_ic(score, scale * alpha_sum, noise_sum)
        if not reached > 0.0:
            break
        if abs(reached / target - 1.0) < _IC_TOLERANCE_FRAC or high - low < 1e-4 * scale:
            return scale
        low, high = (scale, high) if reached < target else (low, scale)
        scale *= min(max(target / reached, 0.2), 5.0)
        if step >= _FIXED_POINT_STEPS and np.isfinite(high):
            scale = 0.5 * (low + high)
    raise ConfigError(
        "alpha.oracle_rank_ic",
        wanted="a rank IC that the shape can reach in this world",
        got=target,
        hint="Lower it, or simulate more names or sessions.",
    )


def _mirrored_ic(score: FloatMatrix, drift: FloatMatrix, noise: FloatMatrix) -> float:
    """Mean rank IC over the rows, averaged over the noise and its mirror image."""
    ranks = np.empty(score.shape[0])
    total = 0.0
    for mirrored in (noise, -noise):
        rank_correlation_rows(score, drift + mirrored, 1, MIN_ASSETS, ranks)
        total += 0.5 * float(np.nanmean(ranks))
    return total


def _horizon_weights(config: EquityWorldConfig) -> dict[str, float]:
    """Expected sum of a term of each kind over the label span, per unit of today's term."""
    h = config.alpha.horizon_sessions
    share = np.ones(h + 1)
    share[0] = 1.0 - config.market.overnight_variance_frac
    share[h] = config.market.overnight_variance_frac
    latent = config.characteristics.alpha_persistence ** np.arange(h + 1)
    return {kind: float(share @ values) for kind, values in _autocorrelation(latent).items()}


def _autocorrelation(latent: FloatVector) -> dict[str, FloatVector]:
    """Autocorrelation of the terms of each kind where that of the Gaussian latent is `latent`.

    Mehler: if f has normalised Hermite coefficients c_n, then f of two standard normals with
    correlation r has correlation ``sum_n c_n**2 r**n / sum_n c_n**2``. Closed forms: ``6/pi
    asin(r/2)`` for a uniform rank, ``2/pi asin(r)`` for a sign.
    """
    rank = 6.0 / np.pi * np.arcsin(latent / 2.0)
    sign = 2.0 / np.pi * np.arcsin(latent)
    x = np.linspace(-8.0, 8.0, 8001)
    uniform = np.empty((1, x.size))
    to_uniform(x[None, :], uniform)
    density = np.exp(-0.5 * x**2) / np.sqrt(2.0 * np.pi) * (x[1] - x[0])
    result = {"linear": rank, "product": rank**2, "switch": rank * sign}
    for kind in ("square", "fold", "wave", "tails"):
        values = AlphaTerm(kind, 0, 0, 1.0).evaluate(uniform[0], uniform[0])
        before, basis = np.zeros_like(x), np.ones_like(x)
        total = np.zeros_like(latent)
        for n in range(1, _HERMITE_TERMS):
            before, basis = basis, (x * basis - np.sqrt(n - 1.0) * before) / np.sqrt(float(n))
            total += (values * basis * density).sum() ** 2 * latent**n
        series = total / (values**2 * density).sum()
        # At lag zero the neglected coefficients of a jump would be missing.
        result[kind] = np.where(latent == 1.0, 1.0, series)
    return result


def _modulation(config: EquityWorldConfig, regime: IntVector) -> FloatVector:
    """Strength of the alpha per row: constant, by regime, or decaying."""
    if config.alpha.shape is AlphaShape.REGIME:
        return np.array([spec.alpha_sign for spec in config.market.regimes])[regime]
    if config.alpha.shape is AlphaShape.DECAYING:
        return 0.5 ** (np.arange(regime.size) / config.alpha.half_life_sessions)
    return np.ones(regime.size)


def _centred(values: FloatMatrix, listed: BoolMatrix) -> FloatMatrix:
    """Subtract each row's mean over the listed names."""
    known = np.where(listed, values, 0.0)
    count = np.maximum(listed.sum(axis=1, keepdims=True), 1)
    return np.where(listed, values - known.sum(axis=1, keepdims=True) / count, np.nan)

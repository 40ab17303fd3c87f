"""Noise of the equity world: regimes, factors, exposures and idiosyncratic shocks.

Every session has two half-sessions, overnight (previous close to open) and intraday (open to
close). In each of them the simple return of a living name is

``beta * market + sector + sum_k loading_k * style_k + idio``

with exposures and volatilities that were known one session before and shocks whose conditional
mean is zero: they are symmetric and clipped symmetrically. Since *simple* returns have mean zero
(not log returns), prices are martingales apart from the market mean and the style premia, which
are kept apart here as *drift*. Arrays have R = T + 1 rows; row 0 precedes the first session.

1. ``_regimes``: Markov chain; the regime of a row governs the returns of the next row.
2. ``_factor_shocks``: NAGARCH-t shocks of 1 market, 10 sector and 5 style factors.
3. ``_exposures``: betas and style loadings, half published and half private, slowly moving.
4. ``_idio_shocks``: NAGARCH-t shocks per name.
5. ``simulate_returns``: adds them up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quant_engine.core.arrays import FloatMatrix, FloatVector
from quant_engine.data.simulated.config import (
    BETA_MAX,
    BETA_MIN,
    IDIO_CAP_FRAC,
    MARKET_CAP_FRAC,
    N_STYLES,
    SECTOR_CAP_FRAC,
    SECTOR_NAMES,
    SESSIONS_PER_YEAR,
    STYLE_CAP_FRAC,
    EquityWorldConfig,
    MarketSpec,
    VolatilitySpec,
)
from quant_engine.data.simulated.kernels import (
    FloatCube,
    IntVector,
    ar1_in_place,
    assemble_noise,
    garch_multipliers,
    regime_path,
    to_uniform,
)
from quant_engine.data.simulated.streams import Streams

N_FACTORS = 1 + len(SECTOR_NAMES) + N_STYLES
_LOADING_CAP = 2.5


@dataclass(frozen=True)
class ReturnParts:
    """Returns before alpha and before the compensation of delisting losses.

    Parameters
    ----------
    regime : ndarray of int64, shape (R,)
        Regime known at the row; governs the next row.
    market_mean : ndarray, shape (2, R)
        Mean of the market factor overnight and intraday in the next row, given the row.
    market : ndarray, shape (2, R)
        Realised market factor of the row overnight and intraday, simple returns.
    style_mean : ndarray, shape (2, 5)
        Mean of each style factor overnight and intraday.
    shocks : ndarray, shape (2, R, 16)
        Factor shocks overnight and intraday, zero conditional mean.
    beta : ndarray, shape (R, N)
        Market beta that governs the next row.
    loadings : ndarray, shape (5, R, N)
        Style loadings that govern the next row.
    sector : ndarray of int64, shape (N,)
        Sector codes.
    idio_vol : ndarray, shape (R, N)
        Standard deviation of the idiosyncratic return of the row, per session.
    total_vol : ndarray, shape (R, N)
        Standard deviation of the whole return of the row, per session.
    noise : ndarray, shape (2, R, N)
        Zero-mean part of the simple return overnight and intraday.
    drift : ndarray, shape (2, R, N)
        Conditional mean from the market premium and the style premia.
    """

    regime: IntVector
    market_mean: FloatMatrix
    market: FloatMatrix
    style_mean: FloatMatrix
    shocks: FloatCube
    beta: FloatMatrix
    loadings: FloatCube
    sector: IntVector
    idio_vol: FloatMatrix
    total_vol: FloatMatrix
    noise: FloatCube
    drift: FloatCube


def simulate_returns(
    config: EquityWorldConfig, streams: Streams, drivers: Mapping[str, FloatMatrix]
) -> ReturnParts:
    """Simulate everything about returns that does not depend on alpha or delisting.

    Parameters
    ----------
    config : EquityWorldConfig
        The world.
    streams : Streams
        Its random streams.
    drivers : mapping of str to ndarray, shape (R, N)
        Latent characteristics with a role.

    Returns
    -------
    ReturnParts
        Shocks, exposures and drift.
    """
    n_rows, n_assets = next(iter(drivers.values())).shape
    split = _half_session_split(config.market)
    regime = _regimes(config.market, streams, n_rows)
    factor_vol, shocks = _factor_shocks(config, streams, regime)
    beta, loadings = _exposures(config, streams, drivers)
    sector = streams.of("initial", 1).permutation(np.arange(n_assets) % len(SECTOR_NAMES))
    idio_vol, idio = _idio_shocks(config, streams, regime, drivers)
    noise = np.empty((2, n_rows, n_assets))
    for half in range(2):
        assemble_noise(idio[half], beta, sector, loadings, shocks[half], noise[half])
    market_mean = split[:, None] * _regime_means(config.market)[regime]
    known_mean = np.concatenate([market_mean[:, :1], market_mean[:, :-1]], axis=1)
    style_mean = split[:, None] * np.array(config.factors.style_premium_ann) / SESSIONS_PER_YEAR
    drift = known_mean[:, :, None] * _known(beta)
    for half, style in np.argwhere(style_mean != 0.0):
        drift[half] += style_mean[half, style] * _known(loadings[style])
    return ReturnParts(
        regime=regime,
        market_mean=market_mean,
        market=known_mean + shocks[:, :, 0],
        style_mean=style_mean,
        shocks=shocks,
        beta=beta,
        loadings=loadings,
        sector=sector,
        idio_vol=idio_vol,
        total_vol=_total_vol(beta, loadings, sector, factor_vol, idio_vol),
        noise=noise,
        drift=drift,
    )


def _half_session_split(market: MarketSpec) -> FloatVector:
    return np.array([market.overnight_variance_frac, 1 - market.overnight_variance_frac])


def _known(values: FloatMatrix) -> FloatMatrix:
    """Shift rows by one: what governs row t is what was known at row t - 1."""
    return np.concatenate([values[:1], values[:-1]])


def _regimes(market: MarketSpec, streams: Streams, n_rows: int) -> IntVector:
    path = np.empty(n_rows, dtype=np.int64)
    durations = np.array([spec.mean_duration_sessions for spec in market.regimes])
    regime_path(streams.of("regime").random(n_rows), durations, path)
    return path


def _regime_means(market: MarketSpec) -> FloatVector:
    """Mean of the market per session and regime; the time-weighted mean is the premium."""
    durations = np.array([spec.mean_duration_sessions for spec in market.regimes])
    offsets = np.array([spec.mean_offset_ann for spec in market.regimes])
    centred = offsets - (durations * offsets).sum() / durations.sum()
    return (market.premium_ann + centred) / SESSIONS_PER_YEAR


def _student_halves(
    rng: np.random.Generator, shape: tuple[int, int], degrees_of_freedom: float
) -> FloatCube:
    """Unit-variance Student-t shocks (2, rows, columns) of both halves of a session.

    Both halves share one chi-square mixing variable, so that their variance-weighted sum is
    exactly Student-t with the same degrees of freedom; given it they are independent normals.
    """
    normals = rng.standard_normal((2, *shape))
    return normals * np.sqrt(
        (degrees_of_freedom - 2.0) / rng.chisquare(degrees_of_freedom, size=shape)
    )


def _clustered(halves: FloatCube, split: FloatVector, spec: VolatilitySpec) -> FloatMatrix:
    """Square root of the NAGARCH variance multiplier of each row."""
    whole = np.sqrt(split[0]) * halves[0] + np.sqrt(split[1]) * halves[1]
    multiplier = np.empty_like(whole)
    garch_multipliers(whole, spec.alpha, spec.beta, spec.leverage, multiplier)
    return np.sqrt(multiplier)


def _factor_shocks(
    config: EquityWorldConfig, streams: Streams, regime: IntVector
) -> tuple[FloatMatrix, FloatCube]:
    """Volatility per session (R, 16) and clipped shocks (2, R, 16) of all factors."""
    split = _half_session_split(config.market)
    n_sectors = len(SECTOR_NAMES)
    market_vol = np.array([spec.market_vol_ann for spec in config.market.regimes])
    annual = np.empty((regime.size, N_FACTORS))
    annual[:, 0] = _known(market_vol[regime])
    annual[:, 1 : 1 + n_sectors] = config.factors.sector_vol_ann
    annual[:, 1 + n_sectors :] = config.factors.style_vol_ann
    market = _student_halves(
        streams.of("factors", 0), (regime.size, 1), config.market.volatility.degrees_of_freedom
    )
    others = _student_halves(
        streams.of("factors", 1),
        (regime.size, N_FACTORS - 1),
        config.factors.volatility.degrees_of_freedom,
    )
    multiplier = np.concatenate(
        [
            _clustered(market, split, config.market.volatility),
            _clustered(others, split, config.factors.volatility),
        ],
        axis=1,
    )
    vol = annual / np.sqrt(SESSIONS_PER_YEAR) * multiplier
    cap = np.array([MARKET_CAP_FRAC] + [SECTOR_CAP_FRAC] * n_sectors + [STYLE_CAP_FRAC] * N_STYLES)
    shocks = np.concatenate([market, others], axis=2) * vol * np.sqrt(split)[:, None, None]
    return vol, np.clip(shocks, -cap, cap)


def _published(latent: FloatMatrix) -> FloatMatrix:
    """Unit-variance driver: a published characteristic as population rank, times sqrt(3)."""
    uniform = np.empty(latent.shape)
    to_uniform(latent, uniform)
    return np.sqrt(3.0) * uniform


def _exposures(
    config: EquityWorldConfig, streams: Streams, drivers: Mapping[str, FloatMatrix]
) -> tuple[FloatMatrix, FloatCube]:
    shape = drivers["beta"].shape
    names = ("beta", *(f"style_{k}" for k in range(N_STYLES)))
    mixed = np.empty((len(names), *shape))
    for number, name in enumerate(names):
        private = streams.of("exposures", number).standard_normal(shape)
        ar1_in_place(private, config.factors.loading_persistence)
        private = np.clip(private, -_LOADING_CAP, _LOADING_CAP)
        mixed[number] = np.sqrt(0.5) * (_published(drivers[name]) + private)
    beta = np.clip(1.0 + config.factors.beta_sd * mixed[0], BETA_MIN, BETA_MAX)
    return beta, mixed[1:]


def _idio_shocks(
    config: EquityWorldConfig,
    streams: Streams,
    regime: IntVector,
    drivers: Mapping[str, FloatMatrix],
) -> tuple[FloatMatrix, FloatCube]:
    """Volatility per session (R, N) and clipped shocks (2, R, N) of every name."""
    spec = config.idio
    split = _half_session_split(config.market)
    shape = drivers["volatility"].shape
    private = streams.of("idio_level").standard_normal(shape[1])
    spread = np.sqrt(1 / 3) * _published(drivers["volatility"]) + np.sqrt(2 / 3) * private
    scale = np.array([state.idio_scale for state in config.market.regimes])
    level = np.exp(spec.log_dispersion * spread) * scale[regime][:, None]
    halves = _student_halves(streams.of("idio"), shape, spec.volatility.degrees_of_freedom)
    vol = _known(level) * _clustered(halves, split, spec.volatility)
    vol *= spec.vol_ann / np.sqrt(SESSIONS_PER_YEAR)
    halves *= vol
    halves *= np.sqrt(split)[:, None, None]
    return vol, np.clip(halves, -IDIO_CAP_FRAC, IDIO_CAP_FRAC, out=halves)


def _total_vol(
    beta: FloatMatrix,
    loadings: FloatCube,
    sector: IntVector,
    factor_vol: FloatMatrix,
    idio_vol: FloatMatrix,
) -> FloatMatrix:
    variance = idio_vol**2 + (_known(beta) * factor_vol[:, :1]) ** 2
    variance += factor_vol[:, 1 + sector] ** 2
    for style in range(N_STYLES):
        column = 1 + len(SECTOR_NAMES) + style
        variance += (_known(loadings[style]) * factor_vol[:, column : column + 1]) ** 2
    return np.sqrt(variance)

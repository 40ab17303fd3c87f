"""Composition of the equity world: a pure function of its configuration.

1. ``CharacteristicPlan`` and ``driver_paths``: which characteristics exist and what they drive.
2. ``simulate_returns``: regimes, factors, exposures, idiosyncratic noise; no alpha, no delisting.
3. ``simulate_lives``: listings and delistings on the noise alone, so that worlds that differ only
   in alpha have the same names dying on the same sessions.
4. ``publish`` and ``plant_alpha``: published ranks, alpha as their function, scaled to strength.
5. ``compensation``: surviving names earn what delisting takes, so that means stay exact.
6. ``simulate_bars``, ``simulate_fundamentals`` and the tables: what a vendor would deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix, TimeVector
from quant_engine.core.calendar import sessions_between
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import GroupTable, Panel, PriceBasis, TimeAxis
from quant_engine.data.simulated import tables
from quant_engine.data.simulated.alpha import MIN_ASSETS, PlantedAlpha, plant_alpha, terms_table
from quant_engine.data.simulated.characteristics import CharacteristicPlan, driver_paths, publish
from quant_engine.data.simulated.config import (
    N_CHARACTERISTICS,
    N_STYLES,
    SECTOR_NAMES,
    EquityWorldConfig,
)
from quant_engine.data.simulated.fundamentals import simulate_fundamentals
from quant_engine.data.simulated.kernels import rank_correlation_rows
from quant_engine.data.simulated.lifecycle import (
    Lives,
    compensation,
    membership_mask,
    name_assets,
    simulate_lives,
)
from quant_engine.data.simulated.prices import Bars, simulate_bars
from quant_engine.data.simulated.returns import ReturnParts, simulate_returns
from quant_engine.data.simulated.streams import Streams
from quant_engine.data.simulated.world import EquityTruth, EquityWorld, forward_open_returns


@dataclass(frozen=True)
class _Draft:
    """Everything simulated, on R = T + 1 rows, before it is cut to sessions and packed."""

    config: EquityWorldConfig
    streams: Streams
    sessions: TimeVector
    plan: CharacteristicPlan
    published: Sequence[FloatMatrix]
    returns: ReturnParts
    lives: Lives
    planted: PlantedAlpha
    bars: Bars


def simulate_equity_world(config: EquityWorldConfig) -> EquityWorld:
    """Simulate a whole equity market with its truth.

    Parameters
    ----------
    config : EquityWorldConfig
        All knobs and the seed.

    Returns
    -------
    EquityWorld
        The same bytes for the same configuration.

    Raises
    ------
    ConfigError
        When the planted strength cannot be reached, or the calendar has too few sessions.

    Examples
    --------
    >>> world = simulate_equity_world(EquityWorldConfig(seed=3, n_assets=30, n_sessions=200))
    >>> world.panel.shape, float(np.nanmax(np.abs(world.truth.alpha)))
    ((200, 30), 0.0)
    """
    return _pack(_draft(config))


def _draft(config: EquityWorldConfig) -> _Draft:
    sessions = _sessions(config)
    streams = Streams(config.seed)
    shape = (config.n_sessions + 1, config.n_assets)
    plan = CharacteristicPlan.draw(config.characteristics, streams)
    drivers = driver_paths(plan, streams, shape)
    returns = simulate_returns(config, streams, drivers)
    overnight, intraday = returns.drift + returns.noise
    logs = np.log1p(overnight), np.log1p(intraday)
    lives = simulate_lives(config, streams, log_returns=logs[0] + logs[1], drivers=drivers)
    published = publish(plan, streams, drivers=drivers, listed=lives.living)
    planted = plant_alpha(
        config,
        streams,
        characteristics=published,
        regime=returns.regime,
        noise_log_returns=(_on_life(logs[0], lives), _on_life(logs[1], lives)),
    )
    share = config.market.overnight_variance_frac
    alpha = np.nan_to_num(planted.alpha[:-1])
    overnight[1:] += share * alpha
    expected = returns.drift[0, 1:] + share * alpha
    overnight[1:] += compensation(config.listing, lives.hazards[:, :-1], expected)
    intraday[1:] += (1.0 - share) * alpha
    bars = simulate_bars(
        config,
        streams,
        overnight=overnight,
        intraday=intraday,
        total_vol=returns.total_vol,
        liquidity=drivers["liquidity"],
        lives=lives,
    )
    return _Draft(config, streams, sessions, plan, published, returns, lives, planted, bars)


def _pack(draft: _Draft) -> EquityWorld:
    config, bars, lives, sessions = draft.config, draft.bars, draft.lives, draft.sessions
    tickers, asset_ids = name_assets(draft.streams, lives.predecessor)
    member = membership_mask(
        config.membership,
        lives,
        size_usd=bars.size_usd,
        initial_size_usd=bars.initial_size_usd,
    )
    axis = TimeAxis.sessions(sessions, config.calendar)
    fields = {name: values[1:] for name, values in bars.adjusted.items()}
    fields["half_spread_frac"] = np.where(lives.living, bars.half_spread_frac, np.nan)[1:]
    fields["market_cap_usd"] = bars.size_usd[1:]
    for name, latent in sorted(_published_names(draft.plan).items()):
        fields[name] = draft.published[latent][1:]
    sector = np.where(lives.living, draft.returns.sector, -1).astype(np.int16)[1:]
    panel = Panel(
        axis,
        tuple(asset_ids),
        fields,
        masks={"member": member[1:], "tradable": ~np.isnan(bars.adjusted["close"][1:])},
        groups={"sector": GroupTable(sector, SECTOR_NAMES)},
        price_basis=PriceBasis.SPLIT_ADJ,
    )
    raw_panel = Panel(
        axis,
        tuple(asset_ids),
        {name: values[1:] for name, values in bars.raw.items()},
        masks=panel.masks,
        groups=panel.groups,
        price_basis=PriceBasis.RAW,
    )
    delistings = tables.delistings_table(lives, sessions, asset_ids)
    return EquityWorld(
        config=config,
        panel=panel,
        raw_panel=raw_panel,
        tickers=tuple(tickers),
        splits=tables.splits_table(bars, sessions, asset_ids),
        dividends=tables.dividends_table(bars, sessions, asset_ids),
        delistings=delistings,
        membership=tables.membership_table(member[1:], sessions, asset_ids),
        fundamentals=_fundamentals(draft, asset_ids),
        security_master=tables.security_master_table(
            lives, sessions, asset_ids=asset_ids, tickers=tickers
        ),
        benchmark=tables.benchmark_table(bars, lives, member=member, sessions=sessions),
        truth=_truth(draft, panel, delistings),
    )


def _truth(draft: _Draft, panel: Panel, delistings: pd.DataFrame) -> EquityTruth:
    planted, returns, config = draft.planted, draft.returns, draft.config
    forward = forward_open_returns(
        panel, delistings, horizon_sessions=config.alpha.horizon_sessions
    )
    score = planted.score[1:]
    oracle_ic = np.full(len(panel.time), np.nan)
    if planted.terms:
        known = np.where(panel.mask("member"), forward, np.nan)
        rank_correlation_rows(score, known, 1, MIN_ASSETS, oracle_ic)
    names = {latent: name for name, latent in _published_names(draft.plan).items()}
    return EquityTruth(
        alpha=planted.alpha[1:],
        oracle_score=score,
        oracle_ic=oracle_ic,
        forward_return=forward,
        alpha_scale=planted.scale,
        alpha_terms=terms_table(planted.terms, [names[k] for k in range(N_CHARACTERISTICS)]),
        characteristics=draft.plan.table(),
        regime=returns.regime[1:].astype(np.int8),
        factor_returns=_factor_returns(draft),
        market_half_returns=returns.market[:, 1:],
        market_mean=returns.market_mean[:, 1:],
        style_mean=returns.style_mean,
        beta=returns.beta[1:],
        style_loadings=returns.loadings[:, 1:],
        idio_vol=returns.idio_vol[1:],
        total_vol=returns.total_vol[1:],
        hazards=draft.lives.hazards[:, 1:],
    )


def _sessions(config: EquityWorldConfig) -> TimeVector:
    first = np.datetime64(config.first_session)
    # 1.6 calendar days per session and a month of slack cover weekends and holidays.
    reach = np.timedelta64(int(1.6 * config.n_sessions) + 30, "D")
    sessions = sessions_between(config.calendar, first, first + reach)[: config.n_sessions]
    if sessions.size < config.n_sessions:
        raise ConfigError(
            "n_sessions",
            wanted=f"at most {sessions.size} sessions of {config.calendar} from {first}",
            got=config.n_sessions,
            hint="Start earlier or simulate fewer sessions.",
        )
    return sessions


def _on_life(logs: FloatMatrix, lives: Lives) -> FloatMatrix:
    return np.where(lives.living, logs, np.nan)


def _published_names(plan: CharacteristicPlan) -> dict[str, int]:
    return {f"char_{number:02d}": latent for latent, number in enumerate(plan.published_as)}


def _factor_returns(draft: _Draft) -> pd.DataFrame:
    returns = draft.returns
    halves = returns.shocks[:, 1:].copy()
    halves[:, :, 0] = returns.market[:, 1:]
    halves[:, :, -N_STYLES:] += returns.style_mean[:, None, :]
    sectors = [f"sector_{k}" for k in range(len(SECTOR_NAMES))]
    names = ["market", *sectors, *(f"style_{k}" for k in range(N_STYLES))]
    index = pd.DatetimeIndex(draft.sessions.astype("datetime64[us]"), name="session")
    return pd.DataFrame((1.0 + halves[0]) * (1.0 + halves[1]) - 1.0, index=index, columns=names)


def _fundamentals(draft: _Draft, asset_ids: Sequence[str]) -> pd.DataFrame:
    frame = simulate_fundamentals(
        draft.config.fundamentals,
        draft.streams,
        sessions=draft.sessions,
        bars=draft.bars,
        lives=draft.lives,
    )
    names = pd.Series(list(asset_ids), dtype="str")
    frame.insert(0, "asset_id", names.iloc[frame["asset"].to_numpy()].to_numpy())
    return frame.drop(columns="asset")

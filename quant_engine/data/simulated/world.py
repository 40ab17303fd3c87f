"""The equity world as a value: what a data vendor would deliver, and the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.hashing import array_digest, canonical_json, sha256_text
from quant_engine.core.panel import Panel
from quant_engine.data.simulated.config import EquityWorldConfig
from quant_engine.data.simulated.lifecycle import compensation


@dataclass(frozen=True, eq=False)
class EquityTruth:
    """What nobody in the world can see.

    Row t of every (T, N) array is known at the close of session t and speaks about session t + 1.

    Parameters
    ----------
    alpha : ndarray, shape (T, N)
        Planted expected idiosyncratic simple return of the next session, fraction; NaN where not
        listed; exactly zero in null worlds.
    oracle_score : ndarray, shape (T, N)
        Expected sum of alpha over the label of ``horizon_sessions``; NaN where not listed.
    oracle_ic : ndarray, shape (T,)
        Realised rank correlation across members of ``oracle_score`` with ``forward_return``; NaN in
        null worlds and where the label runs past the data.
    forward_return : ndarray, shape (T, N)
        Total simple return from the open of t + 1 to the open of t + 1 + h with dividends and
        terminal returns; NaN where there is no entry or no exit.
    alpha_scale : float
        Standard deviation of alpha per session; 0 in null worlds.
    alpha_terms : DataFrame
        The formula: kind, first and second characteristic, weight.
    characteristics : DataFrame
        name, role, persistence of the 40 published characteristics.
    regime : ndarray of int8, shape (T,)
        Regime that governs the next session.
    factor_returns : DataFrame
        Index session; simple close-to-close returns of the market, sector and style factors.
    market_half_returns : ndarray, shape (2, T)
        Market factor overnight (before session t) and intraday (during session t).
    market_mean : ndarray, shape (2, T)
        Conditional mean of the market factor in the next session's two halves.
    style_mean : ndarray, shape (2, 5)
        Mean of the style factors in both halves.
    beta : ndarray, shape (T, N)
        Market beta.
    style_loadings : ndarray, shape (5, T, N)
        Loadings on the style factors.
    idio_vol, total_vol : ndarray, shape (T, N)
        Conditional standard deviation of session t itself, idiosyncratic and whole.
    hazards : ndarray, shape (2, T, N)
        Probability of performance and merger delisting after the close of t.
    """

    alpha: FloatMatrix
    oracle_score: FloatMatrix
    oracle_ic: FloatVector
    forward_return: FloatMatrix
    alpha_scale: float
    alpha_terms: pd.DataFrame
    characteristics: pd.DataFrame
    regime: npt.NDArray[np.int8]
    factor_returns: pd.DataFrame
    market_half_returns: FloatMatrix
    market_mean: FloatMatrix
    style_mean: FloatMatrix
    beta: FloatMatrix
    style_loadings: npt.NDArray[np.float64]
    idio_vol: FloatMatrix
    total_vol: FloatMatrix
    hazards: npt.NDArray[np.float64]

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def mean_oracle_ic(self) -> float:
        """Mean realised oracle rank IC; NaN in null worlds."""
        known = self.oracle_ic[~np.isnan(self.oracle_ic)]
        return float(known.mean()) if known.size else float("nan")


@dataclass(frozen=True, eq=False)
class EquityWorld:
    """A simulated equity market with everything a vendor delivers.

    Parameters
    ----------
    config : EquityWorldConfig
        What made it.
    panel : Panel
        Split-adjusted ``open high low close vwap volume dividend``, ``half_spread_frac``,
        ``market_cap_usd``, ``char_00`` to ``char_39`` (float32); masks ``member`` and
        ``tradable``; group ``sector``.
    raw_panel : Panel
        ``open high low close vwap volume dividend`` as traded.
    tickers : tuple of str, length N
        Display symbol per column; a reused one occurs twice.
    splits : DataFrame
        asset_id, ex_session, ratio (new shares per old share).
    dividends : DataFrame
        asset_id, ex_session, amount_usd (as paid), amount_split_adj_usd.
    delistings : DataFrame
        asset_id, last_session, terminal_return (simple, on the last close), reason.
    membership : DataFrame
        asset_id, start_session, end_session (first session outside; NaT = still a member).
    fundamentals : DataFrame
        asset_id, item, value, event_ts, known_ts (UTC), is_restatement.
    security_master : DataFrame
        asset_id, ticker, valid_from, valid_to (exclusive, NaT = still valid).
    benchmark : DataFrame
        Index session; simple total returns of two funds of the members, ``equal_weight`` and
        ``cap_weight`` from close to close, with suffix ``_overnight`` from close to open, with
        suffix ``_open`` from open to open, ending on the session; NaN on the first session, open
        to open also on the second.
    truth : EquityTruth
        The truth.
    """

    config: EquityWorldConfig
    panel: Panel
    raw_panel: Panel
    tickers: tuple[str, ...]
    splits: pd.DataFrame
    dividends: pd.DataFrame
    delistings: pd.DataFrame
    membership: pd.DataFrame
    fundamentals: pd.DataFrame
    security_master: pd.DataFrame
    benchmark: pd.DataFrame
    truth: EquityTruth

    def digest(self) -> str:
        """Hash every array and table of the world, bit for bit (64 hexadecimal characters)."""
        parts: dict[str, str] = {}
        for prefix, panel in (("panel", self.panel), ("raw", self.raw_panel)):
            arrays = {**panel.fields, **panel.masks}
            arrays |= {name: table.codes for name, table in panel.groups.items()}
            parts |= {f"{prefix}.{name}": array_digest(array) for name, array in arrays.items()}
        for owner in (self, self.truth):
            for name, value in vars(owner).items():
                if isinstance(value, np.ndarray):
                    parts[f"truth.{name}"] = array_digest(value)
                elif isinstance(value, pd.DataFrame):
                    parts[f"table.{name}"] = sha256_text(value.to_csv(float_format="%.17g"))
        parts["assets"] = sha256_text(canonical_json(list(self.panel.asset_ids)))
        return sha256_text(canonical_json(parts))


def expected_hedged_return(world: EquityWorld) -> FloatMatrix:
    """Construct E[simple return net of beta x market | F_t] of the next session from its parts.

    Overnight: delisting with probability h, else market, style and alpha drift plus compensation;
    intraday: drift. Shocks contribute nothing because they are symmetric around zero.

    Parameters
    ----------
    world : EquityWorld
        The world.

    Returns
    -------
    ndarray, shape (T, N)
        Fraction; NaN where not listed. Equals alpha plus style premia; zero, up to rounding of the
        compensation, in the null.

    Examples
    --------
    >>> from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world
    >>> world = simulate_equity_world(EquityWorldConfig(seed=1, n_assets=20, n_sessions=150))
    >>> bool(np.nanmax(np.abs(expected_hedged_return(world))) < 1e-16)
    True
    """
    truth, spec = world.truth, world.config.listing
    share = world.config.market.overnight_variance_frac
    market = truth.market_mean[:, :, None] * truth.beta
    style = np.einsum("hk,ktn->htn", truth.style_mean, truth.style_loadings)
    drift = market + style
    drift[0] += share * truth.alpha
    drift[1] += (1.0 - share) * truth.alpha
    hazard = truth.hazards[0] + truth.hazards[1]
    exit_return = (
        truth.hazards[0] * spec.performance_mean_return + truth.hazards[1] * spec.merger_mean_return
    )
    survive = drift[0] + compensation(spec, truth.hazards, drift[0])
    overnight = exit_return + (1.0 - hazard) * survive
    return (overnight - market[0]) + (drift[1] - market[1])


def forward_open_returns(
    panel: Panel, delistings: pd.DataFrame, *, horizon_sessions: int
) -> FloatMatrix:
    """Total simple return from the open of t + 1 to the open of t + 1 + h of every row t.

    Dividends with an ex-session in (t + 1, t + 1 + h] are added; a name that delists on the way is
    sold at its last close times one plus its terminal return. Written for the truth alone: labels
    for models come from the features package, which shares no code with it.

    Parameters
    ----------
    panel : Panel
        With ``open``, ``close``, ``dividend``.
    delistings : DataFrame
        asset_id, last_session, terminal_return.
    horizon_sessions : int
        h.

    Returns
    -------
    ndarray, shape (T, N)
        Fraction; NaN without entry or exit price.
    """
    h = horizon_sessions
    open_, close = panel.field("open"), panel.field("close")
    cash = np.nan_to_num(panel.field("dividend"))
    paid = np.cumsum(cash, axis=0)
    result = np.full(panel.shape, np.nan)
    entry, stop = open_[1:-h], open_[1 + h :]
    result[: -1 - h] = (stop + paid[1 + h :] - paid[1:-h]) / entry - 1.0
    column = {name: i for i, name in enumerate(panel.asset_ids)}
    for name, last_session, terminal in zip(
        delistings["asset_id"],
        delistings["last_session"],
        delistings["terminal_return"],
        strict=True,
    ):
        i, last = column[name], panel.time.position(np.datetime64(last_session, "D"))
        rows = np.arange(max(last - h, 0), min(last, panel.shape[0] - 1 - h))
        final = close[last, i] * (1.0 + terminal) + paid[last, i]
        result[rows, i] = (final - paid[rows + 1, i]) / open_[rows + 1, i] - 1.0
    return result


def living_mask(world: EquityWorld) -> BoolMatrix:
    """Return where names are listed, halted sessions included, shape (T, N)."""
    return ~np.isnan(world.truth.alpha)

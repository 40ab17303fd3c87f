"""Bars: prices, ranges, volumes, spreads and corporate actions around the simulated returns.

1. ``price_paths`` turns overnight and intraday simple total returns into open and close; a
   dividend leaves the price at the open of its ex-session, so total returns are unchanged.
2. High and low are the extremes of a Brownian bridge from open to close: for log move x with
   standard deviation s the maximum is ``(x + sqrt(x**2 - 2 s**2 log U)) / 2`` with U uniform
   (the minimum likewise), so that high >= max(open, close) >= min(open, close) >= low.
3. ``split_factors`` gives the raw price from the continuous path; split-adjusted prices are the
   path at the scale of the name's last raw price.
4. VWAP is the mean price of that bridge under even volume: its log lies midway between open and
   close with standard deviation s/sqrt(12), and inside low and high.
5. Volume is turnover times size: log-normal level per name, AR(1) wandering, a common component,
   and a rise with the absolute return in units of its volatility.
6. The half-spread falls with size and rises with volatility.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.data.simulated.config import SESSIONS_PER_YEAR, CorporateSpec, EquityWorldConfig
from quant_engine.data.simulated.kernels import ar1_in_place, price_paths, split_factors
from quant_engine.data.simulated.lifecycle import Lives
from quant_engine.data.simulated.streams import Streams

_DIVIDEND_CYCLE = SESSIONS_PER_YEAR // 4


@dataclass(frozen=True)
class Bars:
    """Bars of all names on the world's rows; NaN off life and where trading was halted.

    Parameters
    ----------
    raw, adjusted : dict of str to ndarray, shape (R, N)
        open, high, low, close, VWAP, volume, dividend per share: as traded, and split-adjusted.
    half_spread_frac : ndarray, shape (R, N)
        Half of the quoted spread as a fraction of price.
    size_usd : ndarray, shape (R, N)
        Market capitalisation at the close; defined on halted rows too.
    initial_size_usd : ndarray, shape (N,)
        Market capitalisation at listing (before the first session for the first names).
    split_ratio : ndarray, shape (R, N)
        New shares per old share effective on the row, 1 = none.
    shares : ndarray, shape (R, N)
        Raw shares outstanding; NaN off life.
    """

    raw: dict[str, FloatMatrix]
    adjusted: dict[str, FloatMatrix]
    half_spread_frac: FloatMatrix
    size_usd: FloatMatrix
    initial_size_usd: FloatVector
    split_ratio: FloatMatrix
    shares: FloatMatrix


def simulate_bars(
    config: EquityWorldConfig,
    streams: Streams,
    *,
    overnight: FloatMatrix,
    intraday: FloatMatrix,
    total_vol: FloatMatrix,
    liquidity: FloatMatrix,
    lives: Lives,
) -> Bars:
    """Build the bars of all names.

    Parameters
    ----------
    config : EquityWorldConfig
        The world.
    streams : Streams
        Its random streams.
    overnight, intraday : ndarray, shape (R, N)
        Simple total returns, fraction.
    total_vol : ndarray, shape (R, N)
        Conditional standard deviation of the session's return.
    liquidity : ndarray, shape (R, N)
        Latent characteristic that lowers the spread.
    lives : Lives
        Lives of the names.

    Returns
    -------
    Bars
        Raw and split-adjusted bars with size, spread and corporate actions.
    """
    spec = config.corporate
    start_price, start_size = _initial_levels(streams, config.n_assets)
    payout = _dividend_payouts(spec, streams, overnight.shape[0], lives)
    path = np.empty((2, *overnight.shape))
    price_paths(np.stack([overnight, intraday]), payout, lives.rows, start_price, path)
    open_, close = path
    cash = np.where(payout > 0.0, payout * _previous(close), np.where(lives.living, 0.0, np.nan))
    factor, ratio = actions = np.empty_like(path)
    bounds = np.array([spec.reverse_split_below_usd, spec.split_above_usd])
    split_factors(close, lives.rows, bounds, actions)
    high, low = _extremes(config, streams, open_, close, total_vol)
    size = close * (start_size / start_price)
    surprise = np.abs(overnight + intraday) / total_vol
    volume = np.rint(_dollar_volume(streams, size, surprise) / (close * factor)).clip(1.0)
    traded = lives.living & ~_halts(spec, streams, lives, (payout > 0.0) | (ratio != 1.0))
    vwap = _session_vwap(config, streams, np.stack([open_, high, low, close]), total_vol)
    quotes = {
        "open": open_, "high": high, "low": low, "close": close, "vwap": vwap, "dividend": cash,
    }  # fmt: skip
    last = factor[-1]
    return Bars(
        raw=_masked({**{k: v * factor for k, v in quotes.items()}, "volume": volume}, traded),
        adjusted=_masked(
            {**{k: v * last for k, v in quotes.items()}, "volume": volume * (factor / last)}, traded
        ),
        half_spread_frac=_half_spread(streams, size, total_vol, liquidity),
        size_usd=size,
        initial_size_usd=start_size,
        split_ratio=ratio,
        shares=np.where(lives.living, start_size / start_price / factor, np.nan),
    )


def _initial_levels(streams: Streams, n_assets: int) -> tuple[FloatVector, FloatVector]:
    """Draw raw prices (median 60 USD) and sizes (median 8 bn USD) at listing."""
    rng = streams.of("initial", 0)
    price = np.exp(np.log(60.0) + 0.6 * rng.standard_normal(n_assets)).clip(8.0, 250.0)
    return price, np.exp(np.log(8e9) + 1.3 * rng.standard_normal(n_assets))


def _previous(values: FloatMatrix) -> FloatMatrix:
    return np.concatenate([np.full((1, values.shape[1]), np.nan), values[:-1]])


def _masked(fields: dict[str, FloatMatrix], traded: BoolMatrix) -> dict[str, FloatMatrix]:
    return {name: np.where(traded, values, np.nan) for name, values in fields.items()}


def _dividend_payouts(
    spec: CorporateSpec, streams: Streams, n_rows: int, lives: Lives
) -> FloatMatrix:
    """Dividend of each ex-session as a share of the previous close; 0 elsewhere."""
    rng = streams.of("dividends")
    n_assets = lives.first_row.size
    payer = rng.random(n_assets) < spec.payer_frac
    annual = rng.uniform(spec.yield_min_ann, spec.yield_max_ann, size=n_assets)
    phase = rng.integers(0, _DIVIDEND_CYCLE, size=n_assets)
    row = np.arange(n_rows)[:, None]
    due = payer & ((row + phase) % _DIVIDEND_CYCLE == 0)
    due &= (row > lives.first_row) & (row <= lives.last_row)
    return np.where(due, annual / 4.0, 0.0)


def _extremes(
    config: EquityWorldConfig,
    streams: Streams,
    open_: FloatMatrix,
    close: FloatMatrix,
    total_vol: FloatMatrix,
) -> tuple[FloatMatrix, FloatMatrix]:
    """High and low of a Brownian bridge between open and close."""
    uniform = streams.of("range").random((2, *open_.shape))
    spread = -2.0 * (1.0 - config.market.overnight_variance_frac) * total_vol**2
    move = np.log(close / open_)
    above = 0.5 * (move + np.sqrt(move**2 + spread * np.log1p(-uniform[0])))
    below = 0.5 * (move - np.sqrt(move**2 + spread * np.log1p(-uniform[1])))
    # The bounds hold in exact arithmetic; rounding of exp and log needs the last step.
    high = np.maximum(open_ * np.exp(above), np.maximum(open_, close))
    low = np.minimum(open_ * np.exp(below), np.minimum(open_, close))
    return high, low


def _session_vwap(
    config: EquityWorldConfig, streams: Streams, quotes: np.ndarray, total_vol: FloatMatrix
) -> FloatMatrix:
    """Mean price of a Brownian bridge from open to close, inside low and high."""
    normal = streams.of("vwap").standard_normal(total_vol.shape)
    intraday_vol = np.sqrt(1.0 - config.market.overnight_variance_frac) * total_vol
    opened, high, low, closed = np.log(quotes)
    middle = 0.5 * (opened + closed)
    away = normal * intraday_vol / np.sqrt(12.0)
    # High and low were drawn without it: bent smoothly so that it stays between them.
    room = np.where(away > 0.0, high - middle, middle - low)
    bent = room * np.tanh(away / np.where(room > 0.0, room, 1.0))
    # The bounds hold in exact arithmetic; rounding of exp and log needs the last step.
    vwap: FloatMatrix = np.exp(middle + bent).clip(quotes[2], quotes[1])
    return vwap


def _dollar_volume(streams: Streams, size: FloatMatrix, surprise: FloatMatrix) -> FloatMatrix:
    n_rows, n_assets = size.shape
    rng = streams.of("volume")
    level = np.log(0.006) + 0.4 * rng.standard_normal(n_assets)
    common = rng.standard_normal((n_rows, 1))
    own = rng.standard_normal((n_rows, n_assets))
    ar1_in_place(common, 0.95)
    ar1_in_place(own, 0.85)
    return size * np.exp(level + 0.15 * common + 0.3 * own + 0.35 * (surprise.clip(0.0, 6.0) - 0.7))


def _half_spread(
    streams: Streams, size: FloatMatrix, total_vol: FloatMatrix, liquidity: FloatMatrix
) -> FloatMatrix:
    """Half-spread: 3 bps at 5 bn USD and 2 % daily volatility, between 0.3 and 100 bps."""
    wobble = streams.of("spread").standard_normal(size.shape, dtype=np.float32)
    log_bps = np.log(3.0) - 0.35 * np.log(size / 5e9) + 0.5 * np.log(total_vol / 0.02)
    return np.exp(log_bps - 0.15 * liquidity + 0.1 * wobble).clip(0.3, 100.0) * 1e-4


def _halts(spec: CorporateSpec, streams: Streams, lives: Lives, busy: BoolMatrix) -> BoolMatrix:
    """Rows without a bar, never the first or last one of a name nor one with a corporate action."""
    halted = streams.of("halts").random(busy.shape) < spec.halt_rate
    row = np.arange(busy.shape[0])[:, None]
    return halted & ~busy & (row > lives.first_row) & (row < lives.last_row)

"""Simulated events with known truth: a pure function of a seed.

Every event k has an outcome ``X = m_J + s * Z`` with ``Z`` standard normal or Student-t scaled to
unit variance. Before the release the location drifts, ``m_{j+1} = m_j + d * N(0, 1)`` over J
snapshots. At snapshot j the true law of X is the law of Z with location ``m_j`` and variance
``s**2 + (J - j) * d**2``: exact for the normal surprise, and for the t the drift is folded into the
scale. Contract prices are probabilities under that law plus noise, rounded to a cent.

Nothing here is shared with the code that turns quotes into distributions.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
from scipy.special import ndtr, stdtr

from quant_engine.core.errors import ConfigError

__all__ = ["Contract", "Quote", "World", "WorldConfig", "WorldEvent", "WorldTrade", "make_world"]

_CENT_E4 = 100
_MAX_CENT = 99
_SERIES = "KXFAKE"


@dataclass(frozen=True)
class WorldConfig:
    """Knobs of a world.

    Parameters
    ----------
    seed : int
        Everything random follows from it.
    n_events : int
        Events.
    events_per_day : int
        Events that are released together, each of a series of its own.
    surprise : str
        ``gaussian`` or ``student``.
    degrees : float
        Of the t distribution, above 2 so that it has a variance.
    surprise_sd, drift_sd : float
        s and d of the module text, in units of the outcome.
    n_snapshots : int
        J, hours before the release at which there are quotes.
    noise_e4, half_spread_e4 : int
        Standard deviation of the price noise and half the quoted spread, 1e-4 dollars.
    trades_per_snapshot : float
        Mean number of prints per contract and snapshot.
    start : datetime
        Release of the first event.
    settlement_step : float
        Outcomes are rounded to multiples of it, and contracts pay by the rounded number; 0 = they
        are not rounded.
    n_strikes : int
        Strikes of a ladder.
    snapshot_s : int
        Seconds between two snapshots.
    listed_before_s : int
        Seconds before the release at which an event is listed.

    Raises
    ------
    ConfigError
        When a knob is out of range.
    """

    seed: int
    n_events: int = 4
    events_per_day: int = 1
    surprise: str = "gaussian"
    degrees: float = 4.0
    surprise_sd: float = 0.1
    drift_sd: float = 0.02
    n_snapshots: int = 6
    noise_e4: int = 150
    half_spread_e4: int = 200
    trades_per_snapshot: float = 2.0
    start: datetime = datetime(2026, 1, 13, 13, 30, tzinfo=UTC)
    settlement_step: float = 0.0
    n_strikes: int = 7
    snapshot_s: int = 3_600
    listed_before_s: int = 86_400

    def __post_init__(self) -> None:
        if self.surprise not in ("gaussian", "student"):
            raise ConfigError(
                "surprise", wanted="gaussian or student", got=self.surprise, hint="Choose one."
            )
        sizes = (
            self.surprise_sd, self.n_events, self.n_snapshots, self.n_strikes, self.snapshot_s,
            self.listed_before_s, self.events_per_day,
        )  # fmt: skip
        if self.degrees <= 2 or min(sizes) <= 0 or self.settlement_step < 0:
            raise ConfigError(
                "world", wanted="degrees above 2 and positive sizes", got=self, hint="See the text."
            )


@dataclass(frozen=True)
class Contract:
    """One rung of a ladder: pays when the outcome is above `floor` and at most `cap`.

    Parameters
    ----------
    ticker : str
        Key.
    strike_type : str
        ``greater``, ``less`` or ``between``.
    floor, cap : float, optional
        Strikes.
    """

    ticker: str
    strike_type: str
    floor: float | None
    cap: float | None


@dataclass(frozen=True)
class Quote:
    """What is quoted for one contract at one snapshot, beside its true price.

    Parameters
    ----------
    at_us : int
        Microseconds UTC.
    bid_e4, ask_e4 : int, optional
        1e-4 dollars; None = no quote.
    truth : float
        Probability of yes under the true law at that moment.
    """

    at_us: int
    bid_e4: int | None
    ask_e4: int | None
    truth: float


@dataclass(frozen=True)
class WorldTrade:
    """One print: its id, contract, time in microseconds, price (1e-4), size (0.01) and taker."""

    trade_id: str
    ticker: str
    at_us: int
    price_e4: int
    count_c2: int
    taker: str


@dataclass(frozen=True)
class WorldEvent:
    """One question, its latent truth and what the market showed of it.

    Parameters
    ----------
    ticker : str
        Key.
    release_us : int
        When the outcome appears, microseconds UTC.
    outcome : float
        X.
    locations : tuple of float
        ``m_0 .. m_{J-1}``.
    scales : tuple of float
        Standard deviation of X seen from each snapshot.
    contracts : tuple of Contract
        Threshold ladder, or buckets that cover the line.
    quotes : dict of str to tuple of Quote
        Ticker to its J quotes.
    trades : tuple of WorldTrade
        Oldest first.
    series : str
        Its series.
    """

    ticker: str
    release_us: int
    outcome: float
    locations: tuple[float, ...]
    scales: tuple[float, ...]
    contracts: tuple[Contract, ...]
    quotes: dict[str, tuple[Quote, ...]]
    trades: tuple[WorldTrade, ...]
    series: str = _SERIES

    def pays(self, contract: Contract) -> bool:
        """True when the outcome makes a contract of this event pay."""
        above = contract.floor is None or self.outcome > contract.floor
        return above and (contract.cap is None or self.outcome <= contract.cap)


@dataclass(frozen=True)
class World:
    """Events of one seed."""

    config: WorldConfig
    series: str
    events: tuple[WorldEvent, ...]

    @property
    def all_series(self) -> tuple[str, ...]:
        """Series of the events, sorted."""
        return tuple(sorted({event.series for event in self.events}))

    def cdf(self, event: WorldEvent, snapshot: int, x: float) -> float:
        """True probability of an outcome up to x, seen from one snapshot.

        Parameters
        ----------
        event : WorldEvent
            Of this world.
        snapshot : int
            0 is the first.
        x : float
            Outcome; one that outcomes can have, where they are rounded.

        Returns
        -------
        float
            Probability.
        """
        upper = x + self.config.settlement_step / 2.0
        return _cdf((upper - event.locations[snapshot]) / event.scales[snapshot], self.config)


def _cdf(z: float, config: WorldConfig) -> float:
    if config.surprise == "gaussian":
        return float(ndtr(z))
    # A t variable has variance degrees / (degrees - 2); z is in units of one standard deviation.
    return float(stdtr(config.degrees, z * np.sqrt(config.degrees / (config.degrees - 2))))


def _settled(value: float, config: WorldConfig) -> float:
    step = config.settlement_step
    return round(round(value / step) * step, 9) if step else value


def _draw(rng: np.random.Generator, config: WorldConfig) -> float:
    if config.surprise == "gaussian":
        return float(rng.standard_normal())
    scale = np.sqrt((config.degrees - 2) / config.degrees)
    return float(rng.standard_t(config.degrees) * scale)


def _ladder(
    event: str, centre: float, config: WorldConfig, *, buckets: bool
) -> tuple[Contract, ...]:
    step = config.surprise_sd / 2
    first = -(config.n_strikes // 2)
    strikes = [round(centre + step * k, 4) for k in range(first, first + config.n_strikes)]
    if not buckets:
        return tuple(Contract(f"{event}-T{k:g}", "greater", k, None) for k in strikes)
    inner = [
        Contract(f"{event}-B{(low + high) / 2:g}", "between", low, high)
        for low, high in pairwise(strikes)
    ]
    below = Contract(f"{event}-T{strikes[0]:g}", "less", None, strikes[0])
    above = Contract(f"{event}-T{strikes[-1]:g}", "greater", strikes[-1], None)
    return (below, *inner, above)


def _probability(contract: Contract, location: float, scale: float, config: WorldConfig) -> float:
    # A number that is rounded up to the next step has passed the strike half a step earlier.
    centre = location - config.settlement_step / 2.0
    low = 0.0 if contract.floor is None else _cdf((contract.floor - centre) / scale, config)
    high = 1.0 if contract.cap is None else _cdf((contract.cap - centre) / scale, config)
    return high - low


def _quote(rng: np.random.Generator, at_us: int, truth: float, config: WorldConfig) -> Quote:
    middle = truth * 10_000 + rng.normal(0.0, config.noise_e4)
    bid = int((middle - config.half_spread_e4) // _CENT_E4)
    ask = -int(-(middle + config.half_spread_e4) // _CENT_E4)
    return Quote(
        at_us,
        min(bid, _MAX_CENT) * _CENT_E4 if bid >= 1 else None,
        max(ask, 1) * _CENT_E4 if ask <= _MAX_CENT else None,
        truth,
    )


def _trades(
    rng: np.random.Generator, ticker: str, quotes: tuple[Quote, ...], config: WorldConfig
) -> list[WorldTrade]:
    found = []
    for quote in quotes:
        for _ in range(int(rng.poisson(config.trades_per_snapshot))):
            taker = "yes" if rng.random() < 0.5 else "no"
            price = quote.ask_e4 if taker == "yes" else quote.bid_e4
            at_us = quote.at_us + int(rng.integers(1, config.snapshot_s * 1_000_000))
            count = int(rng.integers(1, 50)) * 100
            identity = rng.bytes(8).hex()
            if price is not None:
                found.append(WorldTrade(identity, ticker, at_us, price, count, taker))
    return found


def make_world(config: WorldConfig) -> World:
    """Draw a world.

    Parameters
    ----------
    config : WorldConfig
        Knobs, among them the seed.

    Returns
    -------
    World
        Equal for equal configs. Events alternate between threshold ladders and buckets.

    Examples
    --------
    >>> world = make_world(WorldConfig(seed=1, n_events=2))
    >>> [contract.strike_type for contract in world.events[0].contracts][:2]
    ['greater', 'greater']
    >>> round(sum(q[0].truth for q in world.events[1].quotes.values()), 9)
    1.0
    """
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    events = []
    for k, stream in enumerate(np.random.SeedSequence(config.seed).spawn(config.n_events)):
        rng = np.random.default_rng(stream)
        day, place = divmod(k, config.events_per_day)
        release = config.start + timedelta(days=day)
        series = _SERIES + (chr(ord("A") + place) if config.events_per_day > 1 else "")
        ticker = f"{series}-{release:%y%b%d}".upper()
        locations = [round(float(rng.normal(3.0, 0.3)), 1)]
        for _ in range(config.n_snapshots):
            locations.append(locations[-1] + config.drift_sd * float(rng.standard_normal()))
        outcome = _settled(locations[-1] + config.surprise_sd * _draw(rng, config), config)
        left = np.arange(config.n_snapshots, 0, -1)
        scales = np.sqrt(config.surprise_sd**2 + left * config.drift_sd**2)
        contracts = _ladder(ticker, locations[0], config, buckets=k % 2 == 1)
        release_us = (release - epoch) // timedelta(microseconds=1)
        times = [release_us - int(j) * config.snapshot_s * 1_000_000 for j in left]
        quotes = {
            contract.ticker: tuple(
                _quote(rng, at_us, _probability(contract, m, float(s), config), config)
                for at_us, m, s in zip(times, locations, scales, strict=False)
            )
            for contract in contracts
        }
        trades = [t for name, row in quotes.items() for t in _trades(rng, name, row, config)]
        events.append(
            WorldEvent(
                ticker,
                release_us,
                outcome,
                tuple(locations[:-1]),
                tuple(float(s) for s in scales),
                contracts,
                quotes,
                tuple(sorted(trades, key=lambda t: (t.at_us, t.trade_id))),
                series,
            )
        )
    return World(config, events[0].series, tuple(events))

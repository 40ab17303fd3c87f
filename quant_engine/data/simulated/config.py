"""Configuration of the equity world: every knob of the data-generating process, with its unit.

Rates named ``_ann`` are per 252 sessions; ``_frac`` are fractions of one; ``_sessions`` count
exchange sessions. Two configurations with the same content give the same world, byte for byte.
"""

from __future__ import annotations

from datetime import date
from enum import StrEnum

from pydantic import Field, model_validator

from quant_engine.core.config import FrozenConfig

N_CHARACTERISTICS = 40
N_STYLES = 5
SESSIONS_PER_YEAR = 252
SECTOR_NAMES = (
    "Communication Services",
    "Consumer Discretionary",
    "Consumer Staples",
    "Energy",
    "Financials",
    "Health Care",
    "Industrials",
    "Information Technology",
    "Materials",
    "Utilities",
)

# Largest move of each component in one half-session (a fraction). They are clipped symmetrically,
# so that conditional means stay zero, and their worst sum stays above -100 %.
MARKET_CAP_FRAC = 0.10
SECTOR_CAP_FRAC = 0.05
STYLE_CAP_FRAC = 0.02
IDIO_CAP_FRAC = 0.25
BETA_MIN, BETA_MAX = 0.2, 2.2


class AlphaShape(StrEnum):
    """How the planted expected return depends on the eight alpha characteristics."""

    NONE = "none"
    LINEAR = "linear"
    MIXED = "mixed"
    NONLINEAR = "nonlinear"
    INTERACTION = "interaction"
    REGIME = "regime"
    DECAYING = "decaying"


class RegimeSpec(FrozenConfig):
    """One state of the market.

    Parameters
    ----------
    name : str
        Display name.
    mean_duration_sessions : float
        Expected length of a visit; leaving goes to every other regime with equal probability,
        so that the share of time spent here is proportional to it.
    mean_offset_ann : float
        Market mean of this regime relative to the others; the time-weighted mean of the offsets
        is subtracted, so that the market earns ``premium_ann`` on average.
    market_vol_ann : float
        Volatility of the market factor.
    idio_scale : float
        Multiplier of idiosyncratic volatility. Correlation rises where market volatility rises
        faster than this.
    alpha_sign : float
        Multiplier of the planted alpha under shape ``regime``.
    """

    name: str
    mean_duration_sessions: float = Field(gt=1)
    mean_offset_ann: float = 0.0
    market_vol_ann: float = Field(gt=0, lt=1)
    idio_scale: float = Field(default=1.0, gt=0, le=3)
    alpha_sign: float = Field(default=1.0, ge=-1, le=1)


class VolatilitySpec(FrozenConfig):
    """Volatility clustering of a shock: NAGARCH(1,1) with Student-t innovations.

    ``h' = omega + alpha * h * (z - leverage)**2 + beta * h`` with ``omega`` such that the mean of
    ``h`` is one (Engle & Ng 1993, eq. 8); ``z`` is symmetric, so a positive `leverage` raises
    variance after falls while returns stay martingale differences.

    Parameters
    ----------
    alpha, beta, leverage : float
        As in the formula; ``alpha * (1 + leverage**2) + beta`` must stay below one.
    degrees_of_freedom : float
        Of the Student-t innovations.
    """

    alpha: float = Field(ge=0, lt=1)
    beta: float = Field(ge=0, lt=1)
    leverage: float = 0.0
    degrees_of_freedom: float = Field(gt=2)

    @model_validator(mode="after")
    def _is_stationary(self) -> VolatilitySpec:
        if self.alpha * (1 + self.leverage**2) + self.beta >= 1:
            raise ValueError("alpha * (1 + leverage**2) + beta must be below 1")
        return self


class MarketSpec(FrozenConfig):
    """The market factor and the clock inside a session.

    Parameters
    ----------
    premium_ann : float
        Unconditional mean of the market factor.
    regimes : tuple of RegimeSpec
        One to four states.
    volatility : VolatilitySpec
        Clustering on top of the regime's level.
    overnight_variance_frac : float
        Share of a session's variance, drift and planted alpha that accrues between the previous
        close and the open.
    """

    premium_ann: float = Field(default=0.05, ge=-0.5, le=0.5)
    regimes: tuple[RegimeSpec, ...] = Field(
        default=(
            RegimeSpec(
                name="calm",
                mean_duration_sessions=150,
                mean_offset_ann=0.04,
                market_vol_ann=0.125,
                idio_scale=0.9,
            ),
            RegimeSpec(
                name="choppy", mean_duration_sessions=60, market_vol_ann=0.18, alpha_sign=-1
            ),
            RegimeSpec(
                name="turbulent",
                mean_duration_sessions=40,
                mean_offset_ann=-0.12,
                market_vol_ann=0.31,
                idio_scale=1.35,
                alpha_sign=-1,
            ),
        ),
        min_length=1,
        max_length=4,
    )
    volatility: VolatilitySpec = VolatilitySpec(
        alpha=0.07, beta=0.88, leverage=0.7, degrees_of_freedom=5
    )
    overnight_variance_frac: float = Field(default=0.3, gt=0, lt=1)


class FactorSpec(FrozenConfig):
    """Sector and style factors and the exposures to them.

    Parameters
    ----------
    sector_vol_ann, style_vol_ann : float
        Volatility of each of the 10 sector and 5 style factors.
    style_premium_ann : tuple of 5 floats
        Mean of each style factor: zero in the null; a premium is a true return that is not alpha.
    volatility : VolatilitySpec
        Clustering of both families.
    beta_sd : float
        Cross-sectional spread of market beta, half of its variance published in a characteristic.
    loading_persistence : float
        Daily autocorrelation of the unpublished half of betas and style loadings.
    """

    sector_vol_ann: float = Field(default=0.08, ge=0, lt=0.5)
    style_vol_ann: float = Field(default=0.04, ge=0, lt=0.2)
    style_premium_ann: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)
    volatility: VolatilitySpec = VolatilitySpec(
        alpha=0.05, beta=0.92, leverage=0.2, degrees_of_freedom=5
    )
    beta_sd: float = Field(default=0.3, ge=0, le=0.4)
    loading_persistence: float = Field(default=0.998, gt=0, lt=1)


class IdioSpec(FrozenConfig):
    """Idiosyncratic returns.

    Parameters
    ----------
    vol_ann : float
        Median idiosyncratic volatility.
    log_dispersion : float
        Cross-sectional standard deviation of its logarithm; a third is published.
    volatility : VolatilitySpec
        Clustering per name.
    """

    vol_ann: float = Field(default=0.22, gt=0, lt=0.8)
    log_dispersion: float = Field(default=0.3, ge=0, le=0.6)
    volatility: VolatilitySpec = VolatilitySpec(
        alpha=0.06, beta=0.9, leverage=0.4, degrees_of_freedom=4
    )


class CharacteristicSpec(FrozenConfig):
    """Published point-in-time characteristics: 40 AR(1) series, ranked across names to (-1, 1).

    Parameters
    ----------
    persistence_min, persistence_max : float
        Range from which the daily autocorrelation of each characteristic is drawn.
    alpha_persistence : float
        Daily autocorrelation of the eight characteristics that may carry alpha.
    """

    persistence_min: float = Field(default=0.95, ge=0, lt=1)
    persistence_max: float = Field(default=0.995, gt=0, lt=1)
    alpha_persistence: float = Field(default=0.98, ge=0, lt=1)

    @model_validator(mode="after")
    def _is_ordered(self) -> CharacteristicSpec:
        if self.persistence_min > self.persistence_max:
            raise ValueError("persistence_min must not exceed persistence_max")
        return self


class ListingSpec(FrozenConfig):
    """Entry and exit of names.

    Parameters
    ----------
    delisted_7y_frac : float
        Expected share of living names that delist within seven years.
    mean_terminal_return : float
        Mean return between the last close and what holders receive, over all delistings
        (Shumway 1997 reports about -30 % for performance delistings on NYSE and AMEX).
    merger_frac : float
        Share of delistings that are mergers.
    merger_mean_return : float
        Mean terminal return of mergers; performance delistings take the rest of the mean.
    late_listing_frac : float
        Share of the names that list after the first session.
    n_ticker_reuses : int
        Names that list under the ticker of a delisted one, as long as there is one in time.
    seasoning_sessions : int
        Sessions after listing during which a name cannot delist.
    """

    delisted_7y_frac: float = Field(default=0.12, ge=0, lt=1)
    mean_terminal_return: float = Field(default=-0.30, gt=-1, lt=1)
    merger_frac: float = Field(default=0.35, ge=0, lt=1)
    merger_mean_return: float = Field(default=0.10, ge=-0.2, le=0.5)
    late_listing_frac: float = Field(default=0.1, ge=0, lt=1)
    n_ticker_reuses: int = Field(default=1, ge=0, le=20)
    seasoning_sessions: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _performance_mean_is_a_loss(self) -> ListingSpec:
        if not -0.95 <= self.performance_mean_return <= -0.05:
            raise ValueError(
                "mean_terminal_return, merger_frac and merger_mean_return leave performance "
                f"delistings a mean of {self.performance_mean_return:.3f}, outside -0.95 to -0.05"
            )
        return self

    @property
    def performance_mean_return(self) -> float:
        """Mean terminal return of performance delistings."""
        merged = self.merger_frac * self.merger_mean_return
        return (self.mean_terminal_return - merged) / (1 - self.merger_frac)

    @property
    def delisting_rate(self) -> float:
        """Mean probability per session that a living name delists."""
        return float(1 - (1 - self.delisted_7y_frac) ** (1 / (7 * SESSIONS_PER_YEAR)))


class CorporateSpec(FrozenConfig):
    """Dividends, splits and trading halts.

    Parameters
    ----------
    payer_frac : float
        Share of names that pay quarterly dividends.
    yield_min_ann, yield_max_ann : float
        Range of dividend yields of payers.
    split_above_usd, reverse_split_below_usd : float
        Raw close that starts a split (or a 1-for-10 reverse split) ten sessions later.
    halt_rate : float
        Probability per session that a name does not trade and its bar is missing.
    """

    payer_frac: float = Field(default=0.6, ge=0, le=1)
    yield_min_ann: float = Field(default=0.005, ge=0, lt=0.1)
    yield_max_ann: float = Field(default=0.04, gt=0, lt=0.2)
    split_above_usd: float = Field(default=300.0, gt=20)
    reverse_split_below_usd: float = Field(default=1.5, gt=0, lt=5)
    halt_rate: float = Field(default=1e-4, ge=0, lt=0.05)


class MembershipSpec(FrozenConfig):
    """The point-in-time universe: the largest names at each review, from the next session on.

    Parameters
    ----------
    member_frac : float
        Share of living names that belong to it.
    review_sessions : int
        Sessions between reviews.
    buffer_frac : float
        A member stays as long as its size rank is within ``(1 + buffer_frac)`` of the cut.
    """

    member_frac: float = Field(default=0.95, gt=0, le=1)
    review_sessions: int = Field(default=63, ge=1)
    buffer_frac: float = Field(default=0.03, ge=0, le=0.5)


class FundamentalSpec(FrozenConfig):
    """Quarterly reports.

    Parameters
    ----------
    lag_min_days, lag_max_days : int
        Range of calendar days between quarter end and filing.
    restated_frac : float
        Share of reports that are filed again with other values.
    restatement_min_days, restatement_max_days : int
        Range of calendar days between filing and restatement.
    """

    lag_min_days: int = Field(default=30, ge=1)
    lag_max_days: int = Field(default=60, ge=1)
    restated_frac: float = Field(default=0.2, ge=0, le=1)
    restatement_min_days: int = Field(default=20, ge=1)
    restatement_max_days: int = Field(default=180, ge=1)


class AlphaSpec(FrozenConfig):
    """The planted alpha.

    Parameters
    ----------
    shape : AlphaShape
        ``none`` is the null.
    oracle_rank_ic : float
        Mean per-date rank correlation, in population, of the oracle score with the forward
        open-to-open return of `horizon_sessions`.
    horizon_sessions : int
        Label horizon for which the strength is stated.
    half_life_sessions : float
        Of the alpha under shape ``decaying``.
    """

    shape: AlphaShape = AlphaShape.NONE
    oracle_rank_ic: float = Field(default=0.03, gt=0, le=0.3)
    horizon_sessions: int = Field(default=10, ge=1, le=252)
    half_life_sessions: float = Field(default=504.0, gt=0)


class EquityWorldConfig(FrozenConfig):
    """Everything that determines an equity world.

    Parameters
    ----------
    seed : int
        Root of all random streams; one independent stream per component, so that changing one
        knob leaves the draws of the other components as they were.
    n_assets : int
        Columns of the panel, late listings and reused tickers included.
    n_sessions : int
        Rows of the panel.
    first_session : date
        First session, moved forward to a session of `calendar` if it is none.
    calendar : str
        Exchange calendar of the sessions.
    market, factors, idio, characteristics, listing, corporate, membership, fundamentals, alpha
        Component settings.

    Examples
    --------
    >>> config = EquityWorldConfig(seed=7, n_assets=50, n_sessions=300)
    >>> config.alpha.shape.value, round(config.listing.performance_mean_return, 3)
    ('none', -0.515)
    """

    seed: int = Field(ge=0)
    n_assets: int = Field(default=300, ge=12, le=3000)
    n_sessions: int = Field(default=1764, ge=120, le=7560)
    first_session: date = date(2012, 1, 3)
    calendar: str = "XNYS"
    market: MarketSpec = MarketSpec()
    factors: FactorSpec = FactorSpec()
    idio: IdioSpec = IdioSpec()
    characteristics: CharacteristicSpec = CharacteristicSpec()
    listing: ListingSpec = ListingSpec()
    corporate: CorporateSpec = CorporateSpec()
    membership: MembershipSpec = MembershipSpec()
    fundamentals: FundamentalSpec = FundamentalSpec()
    alpha: AlphaSpec = AlphaSpec()

    @model_validator(mode="after")
    def _fits(self) -> EquityWorldConfig:
        if self.alpha.horizon_sessions + 2 > self.n_sessions // 2:
            raise ValueError("alpha.horizon_sessions must be below half of n_sessions")
        if self.listing.n_ticker_reuses > self.n_assets // 4:
            raise ValueError("listing.n_ticker_reuses must not exceed a quarter of n_assets")
        return self

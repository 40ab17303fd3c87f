"""Factor study: everything that is asked of one score, and the correction for asking many.

Contract: a study reads a score, outcomes of several horizons, groups and states on the same axes,
and returns tables; nothing is fitted, and a factor's sign is left as it is. Each factor at each
horizon is one test. ``false_discovery`` corrects all tests of a study together, because whoever
looks at a table of factors looks at all of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field, model_validator

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector, TimeVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.regimes import RegimeLabel
from quant_engine.core.units import BPS_PER_UNIT
from quant_engine.stats.checks import check_same_shape, parse_matrix
from quant_engine.stats.factor_tables import (
    book_turnover,
    half_life_sessions,
    ic_by_group,
    ic_by_state,
    ic_decay,
    overlap_lags,
    overlap_mean,
    quantile_monotonicity,
)
from quant_engine.stats.hac import known_mean
from quant_engine.stats.ic import ic_by_date, rank_autocorrelation, summarise_ic
from quant_engine.stats.multiplicity import adjusted_p
from quant_engine.stats.signal import MIN_TESTED, quantile_by_date, quantile_table

__all__ = [
    "PARTS",
    "FactorMarket",
    "FactorStudy",
    "FactorStudyConfig",
    "false_discovery",
    "study_factor",
    "study_table",
]

PARTS = ("horizons", "by_date", "quantiles", "decay", "groups", "coverage")
"""Tables of a study."""

REGIMES: Mapping[int, str] = {int(label): label.text for label in RegimeLabel.known()}
"""States of the market, in the order of the tables."""


class FactorStudyConfig(FrozenConfig):
    """What is asked of every factor.

    Parameters
    ----------
    horizons : tuple of int
        Label horizons in sessions; each is one test per factor.
    main_horizon : int
        The horizon of decay, groups and headline figures; one of `horizons`.
    delays : tuple of int
        Ages of a score in sessions at which its IC is measured, beginning with 0.
    n_quantiles : int
        Books by score (5: a fifth of the names each).
    min_assets : int
        Names that a session needs (10: with fewer the standard error of one IC exceeds .33).
    min_group_assets : int
        Names that a sector needs on a session.

    Examples
    --------
    >>> FactorStudyConfig().horizons
    (1, 5, 10, 20)
    """

    horizons: tuple[int, ...] = Field(default=(1, 5, 10, 20), min_length=1)
    main_horizon: int = Field(default=10, ge=1)
    delays: tuple[int, ...] = Field(default=(0, 1, 2, 3, 5, 10, 20, 40, 60), min_length=2)
    n_quantiles: int = Field(default=5, ge=2)
    min_assets: int = Field(default=10, ge=2)
    min_group_assets: int = Field(default=5, ge=2)

    @model_validator(mode="after")
    def _consistent(self) -> FactorStudyConfig:
        if self.main_horizon not in self.horizons or min(self.horizons) < 1:
            raise ConfigError(
                "horizons",
                wanted=f"sessions of at least 1, with the main horizon {self.main_horizon}",
                got=self.horizons,
                hint="Add it to the horizons, or choose another --horizon.",
            )
        if self.delays[0] != 0 or list(self.delays) != sorted(set(self.delays)):
            raise ConfigError(
                "delays",
                wanted="increasing sessions from 0",
                got=self.delays,
                hint="Begin with 0: a half-life is measured against fresh scores.",
            )
        return self


@dataclass(frozen=True, eq=False)
class FactorMarket:
    """What scores are compared with, on one pair of axes.

    Parameters
    ----------
    sessions : ndarray of datetime64, shape (T,)
        Decision sessions.
    outcomes : mapping of int to ndarray, shape (T, N)
        Horizon in sessions to what a decision of the row earned (fraction); NaN = not known.
    allowed : ndarray of bool, shape (T, N)
        Where a decision could be made: member and tradable.
    regimes : ndarray of int, shape (T,)
        Canonical label known at the decision; -1 = unknown.
    sectors : ndarray of int, shape (T, N), optional
        Position in `sector_names`; -1 = unknown.
    sector_names : tuple of str
        Sectors.

    Examples
    --------
    >>> one = np.ones((1, 2))
    >>> FactorMarket(np.array(["2024-01-02"], "M8[D]"), {1: one}, one > 0, np.array([0])).n_sessions
    1
    """

    sessions: TimeVector
    outcomes: Mapping[int, FloatMatrix]
    allowed: BoolMatrix
    regimes: npt.NDArray[np.integer]
    sectors: npt.NDArray[np.integer] | None = None
    sector_names: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        for horizon, outcome in self.outcomes.items():
            check_same_shape("allowed", self.allowed, f"outcome of {horizon} sessions", outcome)
        check_same_shape("sessions", self.sessions, "regimes", self.regimes)
        check_same_shape("sessions", self.sessions, "allowed", self.allowed[:, :1].ravel())

    @property
    def n_sessions(self) -> int:
        """Rows."""
        return len(self.sessions)


@dataclass(frozen=True, eq=False)
class FactorStudy:
    """Tables about one factor; see the columns in :func:`study_factor`.

    Parameters
    ----------
    headline : dict of str to float
        One figure each.
    horizons, by_date, quantiles, decay, groups, coverage : DataFrame
        By horizon; by horizon and session; by horizon and quantile; by delay; by sector and
        regime; by session.

    Examples
    --------
    >>> empty = pd.DataFrame()
    >>> FactorStudy({"coverage": 1.0}, *[empty] * 6).headline
    {'coverage': 1.0}
    """

    headline: dict[str, float]
    horizons: pd.DataFrame
    by_date: pd.DataFrame
    quantiles: pd.DataFrame
    decay: pd.DataFrame
    groups: pd.DataFrame
    coverage: pd.DataFrame


def study_factor(
    scores: npt.ArrayLike, market: FactorMarket, config: FactorStudyConfig
) -> FactorStudy:
    """Ask one factor everything.

    Parameters
    ----------
    scores : array-like, shape (T, N)
        Score known at the close of each session, any unit; NaN = none.
    market : FactorMarket
        Outcomes, universe, regimes, sectors.
    config : FactorStudyConfig
        Horizons, quantiles, delays.

    Returns
    -------
    FactorStudy
        ``headline``: n_sessions, coverage (mean share of allowed names with a score), turnover
        (mean one-way turnover per session of the two outer quantile books), rank_autocorr (one
        session), rank_autocorr_main (main horizon), half_life_sessions. ``horizons``: horizon, ic,
        rank_ic, ic_std, icir, hit_share, t, p, n, lags of the rank IC; spread_bps, spread_t,
        spread_p of the highest minus the lowest quantile; monotonicity. ``by_date``: horizon,
        session, ic, rank_ic, spread (fraction). ``quantiles``: horizon, quantile,
        mean_fwd_return_bps, std_error_bps. ``decay``: delay, rank_ic, t, n. ``groups``: by (sector
        or regime), group, rank_ic, t, n. ``coverage``: session, share.

    Raises
    ------
    DataError
        Scores of another shape than the market, or infinite.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> score = rng.standard_normal((60, 20))
    >>> earned = 0.01 * (0.3 * score + rng.standard_normal((60, 20)))
    >>> days = np.arange("2024-01-01", "2024-03-01", dtype="M8[D]")
    >>> market = FactorMarket(days, {1: earned}, np.ones((60, 20), bool), np.zeros(60, int))
    >>> asked = FactorStudyConfig(horizons=(1,), main_horizon=1, delays=(0, 1))
    >>> row = study_factor(score, market, asked).horizons.iloc[0]
    >>> f"{row.rank_ic:.2f} {row.t:.1f} {row.monotonicity:.1f}"
    '0.23 8.3 1.0'
    """
    score = parse_matrix("scores", scores)
    check_same_shape("scores", score, "allowed", market.allowed)
    score = np.where(market.allowed, score, np.nan)
    parts = [_one_horizon(score, market, config, horizon) for horizon in sorted(config.horizons)]
    by_date = pd.concat([part[1] for part in parts], ignore_index=True)
    main = market.outcomes[config.main_horizon]
    decay = ic_decay(
        score,
        main,
        delays=config.delays,
        horizon=config.main_horizon,
        min_assets=config.min_assets,
    )
    rank_ic = by_date.loc[by_date["horizon"] == config.main_horizon, "rank_ic"].to_numpy()
    n_allowed = market.allowed.sum(axis=1)
    share = (~np.isnan(score)).sum(axis=1) / np.where(n_allowed > 0, n_allowed, np.nan)
    return FactorStudy(
        headline=_headline(score, share, decay, config),
        horizons=pd.DataFrame([part[0] for part in parts]),
        by_date=by_date[by_date["rank_ic"].notna()].reset_index(drop=True),
        quantiles=pd.concat([part[2] for part in parts], ignore_index=True),
        decay=decay,
        groups=_groups(score, main, rank_ic, market, config),
        coverage=pd.DataFrame({"session": _stamps(market.sessions), "share": share}),
    )


def study_table(studies: Mapping[str, FactorStudy], part: str) -> pd.DataFrame:
    """One table of several studies, one below the other.

    Parameters
    ----------
    studies : mapping of str to FactorStudy
        By name of the factor; at least one.
    part : str
        ``horizons``, ``by_date``, ``quantiles``, ``decay``, ``groups`` or ``coverage``.

    Returns
    -------
    DataFrame
        The rows in the order of `studies`, with the name in a further column ``factor``.

    Raises
    ------
    ConfigError
        For another part.

    Examples
    --------
    >>> one = FactorStudy({}, pd.DataFrame({"t": [1.0]}), *[pd.DataFrame()] * 5)
    >>> study_table({"a": one, "b": one}, "horizons")["factor"].tolist()
    ['a', 'b']
    """
    if part not in PARTS:
        raise ConfigError(
            "part", wanted="a table of a study", got=repr(part), hint=did_you_mean(part, PARTS)
        )
    frames: list[pd.DataFrame] = [
        getattr(study, part).assign(factor=name) for name, study in studies.items()
    ]
    gathered: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return gathered


def false_discovery(p_values: npt.ArrayLike) -> dict[str, FloatVector]:
    """q-values over all tests of a study.

    Parameters
    ----------
    p_values : array-like, shape (n,)
        Two-sided p-values, one per factor and horizon; NaN = not tested.

    Returns
    -------
    dict of str to ndarray, shape (n,)
        ``q_bh`` (Benjamini and Hochberg 1995: tests independent or positively dependent) and
        ``q_by`` (Benjamini and Yekutieli 2001: any dependence); NaN where NaN, all NaN where
        nothing was tested.

    Raises
    ------
    DataError
        p-values outside [0, 1].

    Examples
    --------
    >>> {name: q.round(3).tolist() for name, q in false_discovery([0.01, 0.5]).items()}
    {'q_bh': [0.02, 0.5], 'q_by': [0.03, 0.75]}
    """
    values = np.asarray(p_values, dtype=np.float64)
    if np.isnan(values).all():
        return {"q_bh": values.copy(), "q_by": values.copy()}
    return {f"q_{rule}": adjusted_p(values, method=rule) for rule in ("bh", "by")}


def _one_horizon(
    score: FloatMatrix, market: FactorMarket, config: FactorStudyConfig, horizon: int
) -> tuple[dict[str, float], pd.DataFrame, pd.DataFrame]:
    """Row of the table of horizons, figures by session, and figures by quantile."""
    outcome = market.outcomes[horizon]
    pearson = ic_by_date(score, outcome, method="pearson", min_assets=config.min_assets)
    ranked = ic_by_date(score, outcome, method="rank", min_assets=config.min_assets)
    books = quantile_by_date(
        score, outcome, n_quantiles=config.n_quantiles, min_assets=config.min_assets
    )
    # Scores without any order would be cut into books in the order of the columns.
    books[np.isnan(ranked)] = np.nan
    spread = books[:, -1] - books[:, 0]
    test = overlap_mean(ranked, horizon=horizon)
    earned = overlap_mean(spread, horizon=horizon)
    quantiles = quantile_table(books, lags=overlap_lags(horizon))
    row = {
        "horizon": horizon,
        "ic": known_mean(pearson),
        "rank_ic": test.mean,
        **_dispersion(ranked),
        "t": test.t,
        "p": test.p_value,
        "n": test.n,
        "lags": test.lags,
        "spread_bps": earned.mean * BPS_PER_UNIT,
        "spread_t": earned.t,
        "spread_p": earned.p_value,
        "monotonicity": quantile_monotonicity(quantiles["mean_fwd_return_bps"]),
    }
    by_date = pd.DataFrame(
        {
            "horizon": horizon,
            "session": _stamps(market.sessions),
            "ic": pearson,
            "rank_ic": ranked,
            "spread": spread,
        }
    )
    return row, by_date, quantiles.assign(horizon=horizon)


def _dispersion(ic: FloatVector) -> dict[str, float]:
    if np.count_nonzero(~np.isnan(ic)) < MIN_TESTED:
        return dict.fromkeys(("ic_std", "icir", "hit_share"), float("nan"))
    summary = summarise_ic(ic, lags=0)
    return {"ic_std": summary.std, "icir": summary.icir, "hit_share": summary.hit_rate}


def _headline(
    score: FloatMatrix, share: FloatVector, decay: pd.DataFrame, config: FactorStudyConfig
) -> dict[str, float]:
    outer = book_turnover(score, n_quantiles=config.n_quantiles, min_assets=config.min_assets)
    alike = {
        lag: known_mean(rank_autocorrelation(score, lag=lag, min_assets=config.min_assets))
        for lag in (1, config.main_horizon)
    }
    return {
        "n_sessions": float(np.count_nonzero((~np.isnan(score)).sum(axis=1) >= config.min_assets)),
        "coverage": known_mean(share),
        "turnover": known_mean(outer[:, [0, -1]].mean(axis=1)),
        "rank_autocorr": alike[1],
        "rank_autocorr_main": alike[config.main_horizon],
        "half_life_sessions": half_life_sessions(decay),
    }


def _groups(
    score: FloatMatrix,
    outcome: FloatMatrix,
    rank_ic: FloatVector,
    market: FactorMarket,
    config: FactorStudyConfig,
) -> pd.DataFrame:
    regimes = ic_by_state(rank_ic, market.regimes, REGIMES, horizon=config.main_horizon)
    parts = [regimes.assign(by="regime")]
    if market.sectors is not None and market.sector_names:
        sectors = ic_by_group(
            score,
            outcome,
            market.sectors,
            market.sector_names,
            horizon=config.main_horizon,
            min_assets=config.min_group_assets,
        )
        parts.insert(0, sectors.assign(by="sector"))
    return pd.concat(parts, ignore_index=True)[["by", "group", "rank_ic", "t", "n"]]


def _stamps(sessions: TimeVector) -> npt.NDArray[np.datetime64]:
    return sessions.astype("datetime64[us]")

"""Null baselines: books without an opinion that pay the same costs.

Contract: a null draw keeps, session by session, the values that the strategy's scores took and the
names that had one; only who gets which value is random. Thresholds on score, expected return or
confidence therefore let as many names through as they do for the strategy.

* ``shuffled``: a new order of the names every session. Its turnover is about the highest possible,
  so a strategy beats it by trading less alone.
* ``random_entry``: the order follows independent autoregressive series, whose persistence is set so
  that the turnover is the strategy's. This is the baseline to be judged by.
* ``always_long``: every eligible name at equal weight, at the same gross exposure and schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import chain
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.signal import lfilter

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.simulation import Simulation, compared_figures
from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.errors import ConfigError, DataError, EmptyDataError, IdentityError
from quant_engine.core.executor import Executor, SerialExecutor, SharedArrays
from quant_engine.core.panel import GroupTable, Panel, PriceBasis, TimeAxis
from quant_engine.core.progress import SILENT, Progress
from quant_engine.stats.ordering import row_order

NullKind = Literal["shuffled", "random_entry", "always_long"]
CALIBRATION_STEPS = 7
MAX_PERSISTENCE = 0.9995
"""First-order autocorrelation per session; beyond it an order lasts for years."""

TURNOVER_TOLERANCE = 0.02
"""Relative difference of turnover at which the search for a persistence stops."""

DRAWS_PER_TASK = 10
"""Draws that share one aligned market."""

_VALUES = ("score", "expected_return_frac", "confidence")


@dataclass(frozen=True, eq=False)
class NullBaselines:
    """Net figures of books without an opinion.

    Parameters
    ----------
    draws : DataFrame
        ``kind, draw`` and `simulation.FIGURES`; ``always_long`` has one draw.
    persistence : float
        First-order autocorrelation per session of the series behind ``random_entry``.
    """

    draws: pd.DataFrame
    persistence: float

    def percentile(self, kind: NullKind, sharpe: float) -> float:
        """Share of draws with a smaller net Sharpe ratio; NaN for a NaN ratio."""
        values = self._sharpes(kind)
        return float("nan") if np.isnan(sharpe) else float((values < sharpe).mean())

    def p_value(self, kind: NullKind, sharpe: float) -> float:
        """One-sided ``(1 + #{draw >= observed}) / (n + 1)``; NaN for a NaN ratio."""
        values = self._sharpes(kind)
        if np.isnan(sharpe):
            return float("nan")
        return float((1.0 + (values >= sharpe).sum()) / (len(values) + 1.0))

    def _sharpes(self, kind: NullKind) -> npt.NDArray[np.float64]:
        values = self.draws.loc[self.draws["kind"] == kind, "sharpe"].to_numpy(dtype=np.float64)
        return values[~np.isnan(values)]


def null_baselines(
    simulation: Simulation,
    *,
    n_draws: int,
    seed: int,
    progress: Progress = SILENT,
    executor: Executor | None = None,
) -> NullBaselines:
    """Simulate books without an opinion, with all costs.

    Parameters
    ----------
    simulation : Simulation
        The strategy's own.
    n_draws : int
        Draws of each random kind, at least 1.
    seed : int
        Seed of the generator; draw i does not depend on `n_draws`.
    progress : Progress
        Listener.
    executor : Executor, optional
        Where draws are simulated; serial by default. Results are the same bits on each.

    Returns
    -------
    NullBaselines
        Every draw.

    Raises
    ------
    ConfigError
        No draw, or a negative seed.
    EmptyDataError
        No finite score.
    """
    if n_draws < 1 or seed < 0:
        raise ConfigError(
            "n_draws, seed",
            wanted="at least 1 draw and a seed of at least 0",
            got=(n_draws, seed),
            hint="Use 100 draws.",
        )
    order = ScoreOrder.of(simulation.scores)
    wanted = float(simulation.run().summary["turnover_ann"] or 0.0)
    kinds: tuple[NullKind, ...] = ("shuffled", "random_entry")
    with progress.stage("null baselines", 2 * n_draws + 1) as stage:
        persistence = _calibrated(simulation, order, wanted, seed)
        rho = {"shuffled": 0.0, "random_entry": persistence}
        work = [(kind, draw) for kind in kinds for draw in range(n_draws)]
        world = _World.of(simulation, order)
        drawn = [(rho[kind], (seed, kind, draw)) for kind, draw in work]
        tasks = [
            (world, drawn[first : first + DRAWS_PER_TASK])
            for first in range(0, len(drawn), DRAWS_PER_TASK)
        ]
        sizes = iter([len(draws) for _, draws in tasks])
        made = (executor or SerialExecutor()).map(
            _drawn_figures,
            tasks,
            shared=_shared(simulation.panel, order),
            on_done=lambda: stage.advance(next(sizes)),
        )
        rows: list[dict[str, Any]] = [
            {"kind": kind, "draw": draw, **found}
            for (kind, draw), found in zip(work, chain.from_iterable(made), strict=True)
        ]
        rows.append({"kind": "always_long", "draw": 0, **_always_long(simulation)})
        stage.advance()
    return NullBaselines(pd.DataFrame(rows), persistence)


@dataclass(frozen=True)
class _World:
    """A simulation without its arrays, to be handed to a worker beside them."""

    time: TimeAxis
    asset_ids: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    price_basis: PriceBasis
    named: pd.Index
    value_names: tuple[str, ...]
    others: dict[str, Any]

    @classmethod
    def of(cls, simulation: Simulation, order: ScoreOrder) -> _World:
        panel, apart = simulation.panel, ("scores", "panel")
        kept = (one.name for one in fields(simulation) if one.name not in apart)
        return cls(
            panel.time,
            panel.asset_ids,
            {name: table.categories for name, table in panel.groups.items()},
            panel.price_basis,
            order.assets,
            tuple(str(name) for name in order.values.columns if name != "date"),
            {name: getattr(simulation, name) for name in kept},
        )

    def panel(self, shared: SharedArrays) -> Panel:
        """The market, from shared arrays."""

        def part(kind: str) -> dict[str, npt.NDArray[Any]]:
            start = f"{kind} "
            return {
                name.removeprefix(start): values
                for name, values in shared.items()
                if name.startswith(start)
            }

        groups = {
            name: GroupTable(codes, self.categories[name]) for name, codes in part("group").items()
        }
        return Panel(
            self.time, self.asset_ids, part("field"), part("mask"), groups, self.price_basis
        )

    def order(self, shared: SharedArrays) -> ScoreOrder:
        """The sorted scores, from shared arrays."""
        values = {name: shared[f"value {name}"] for name in self.value_names}
        dates = shared["dates"].view("datetime64[us]")
        frame = pd.DataFrame({"date": dates, **values}, copy=False)
        return ScoreOrder(frame, shared["session"], shared["asset"], self.named)


def _shared(panel: Panel, order: ScoreOrder) -> dict[str, npt.NDArray[Any]]:
    """Arrays of a market and of sorted scores, by kind and name."""
    dates = order.values["date"].to_numpy().astype("datetime64[us]").view(np.int64)
    values = order.values.drop(columns="date")
    return {
        **{f"field {name}": array for name, array in panel.fields.items()},
        **{f"mask {name}": array for name, array in panel.masks.items()},
        **{f"group {name}": table.codes for name, table in panel.groups.items()},
        **{f"value {name}": values[name].to_numpy(dtype=np.float64) for name in values.columns},
        "dates": dates,
        "session": order.session,
        "asset": order.asset,
    }


def _drawn_figures(
    shared: SharedArrays, item: tuple[_World, Sequence[tuple[float, tuple[int, str, int]]]]
) -> list[dict[str, float]]:
    """Figures of some draws, in whichever process."""
    world, draws = item
    order = world.order(shared)
    scores = order.values.assign(asset_id=order.assets.take(order.asset))
    simulation = Simulation(scores=scores, panel=world.panel(shared), **world.others)
    made = (_handed_out(simulation, order, rho, _generator(*drawn)) for rho, drawn in draws)
    return [compared_figures(simulation.run(scores=scores)) for scores in made]


def _handed_out(
    simulation: Simulation, order: ScoreOrder, persistence: float, rng: np.random.Generator
) -> pd.DataFrame | FloatMatrix:
    """One draw in the form that is parsed fastest: wide where nothing but scores is read."""
    config = simulation.config
    if config.min_confidence is None and config.min_expected_return_frac is None:
        return order.wide(persistence, rng, simulation.panel)
    return order.drawn(persistence, rng)


@dataclass(frozen=True, eq=False)
class ScoreOrder:
    """Scores sorted within each session, to be handed out in another order.

    Parameters
    ----------
    values : DataFrame, R rows
        ``date`` and the value columns, by date and then by score.
    session, asset : ndarray of int64, shape (R,)
        Number of the date and of the asset of each row, by date only.
    assets : Index
        Names by number.
    """

    values: pd.DataFrame
    session: npt.NDArray[np.int64]
    asset: npt.NDArray[np.int64]
    assets: pd.Index

    @classmethod
    def of(cls, scores: pd.DataFrame) -> ScoreOrder:
        """Sort the finite scores.

        Parameters
        ----------
        scores : DataFrame
            ``date, asset_id, score`` with optional ``expected_return_frac`` and ``confidence``.

        Returns
        -------
        ScoreOrder

        Raises
        ------
        EmptyDataError
            No finite score.
        IdentityError
            A repeated (date, asset_id) pair.
        """
        known = scores[np.isfinite(scores["score"].to_numpy(dtype=np.float64))]
        if known.empty:
            raise EmptyDataError("scores", wanted="a finite score", got="none", hint="Train first.")
        columns = ["date", *(name for name in _VALUES if name in known.columns)]
        ordered = known.sort_values(["date", "score", "asset_id"], kind="stable")
        by_asset = known.sort_values(["date", "asset_id"], kind="stable")
        asset, assets = pd.factorize(by_asset["asset_id"], sort=True)
        session, _ = pd.factorize(by_asset["date"])
        repeated = (np.diff(session) == 0) & (np.diff(asset) == 0)
        if repeated.any():
            first = by_asset.iloc[int(np.argmax(repeated))]
            raise IdentityError(
                "scores",
                wanted="one score per (date, asset_id)",
                got=f"{int(repeated.sum())} repeated, first ({first['date']}, {first['asset_id']})",
                hint="Choose one fold or model version per pair.",
            )
        return cls(
            ordered[columns].reset_index(drop=True),
            session.astype(np.int64),
            asset.astype(np.int64),
            pd.Index(assets),
        )

    def drawn(self, persistence: float, rng: np.random.Generator) -> pd.DataFrame:
        """Hand the values out in a random order.

        Parameters
        ----------
        persistence : float
            First-order autocorrelation per session of the series that order the names, from 0 (a
            new order every session) to below 1.
        rng : Generator
            Source of the draws.

        Returns
        -------
        DataFrame
            ``date, asset_id`` and the value columns.

        Examples
        --------
        >>> frame = pd.DataFrame(
        ...     {"date": ["d"] * 3, "asset_id": ["A", "B", "C"], "score": [1.0, 2.0, 3.0]}
        ... )
        >>> drawn = ScoreOrder.of(frame).drawn(0.0, np.random.default_rng(0))
        >>> sorted(drawn["score"]), sorted(drawn["asset_id"])
        ([1.0, 2.0, 3.0], ['A', 'B', 'C'])
        """
        return self.values.assign(asset_id=self.assets.take(self._places(persistence, rng)))

    def wide(self, persistence: float, rng: np.random.Generator, panel: Panel) -> FloatMatrix:
        """Hand the scores alone out in the same random order, on the axes of a panel.

        Parameters
        ----------
        persistence : float
            As for :meth:`drawn`.
        rng : Generator
            Source of the draws; the same one gives the same order.
        panel : Panel
            Its sessions and assets hold all of the scores.

        Returns
        -------
        ndarray of float64, shape (T, N)
            NaN = no score.

        Raises
        ------
        DataError
            A date or an asset that the panel lacks.
        """
        # Values and sessions are both in order of the date, so each date is looked up once.
        first = np.flatnonzero(np.diff(self.session, prepend=-1))
        dates = pd.DatetimeIndex(self.values["date"].to_numpy()[first])
        rows = panel.time.index.get_indexer(dates)
        columns = pd.Index(panel.asset_ids).get_indexer(self.assets.astype("str"))
        if (rows < 0).any() or (columns < 0).any():
            raise DataError(
                "scores",
                wanted="sessions and assets of the panel",
                got=f"{int((rows < 0).sum())} other dates, {int((columns < 0).sum())} other assets",
                hint="Build scores and prices on the same axes.",
            )
        out = np.full(panel.shape, np.nan)
        out[rows[self.session], columns[self._places(persistence, rng)]] = self.values["score"]
        return out

    def _places(self, persistence: float, rng: np.random.Generator) -> npt.NDArray[np.int32]:
        """Asset that gets each of the sorted values."""
        has_score, is_head = self._places_taken
        series = autoregressive(has_score.shape, persistence=persistence, rng=rng)
        return row_order(np.where(has_score, series, np.nan))[0][is_head]

    @cached_property
    def _places_taken(self) -> tuple[BoolMatrix, BoolMatrix]:
        """Which assets have a score in a session, and as many places from the left of its row."""
        has_score = np.zeros((int(self.session[-1]) + 1, len(self.assets)), dtype=np.bool_)
        has_score[self.session, self.asset] = True
        places = np.arange(has_score.shape[1])
        return has_score, places < has_score.sum(axis=1, keepdims=True)


def autoregressive(
    shape: tuple[int, int], *, persistence: float, rng: np.random.Generator
) -> FloatMatrix:
    """Independent stationary Gaussian AR(1) series of unit variance.

    Parameters
    ----------
    shape : (int, int)
        Periods T and series N.
    persistence : float
        First-order autocorrelation, from 0 to below 1.
    rng : Generator
        Source of the draws.

    Returns
    -------
    ndarray of float64, shape (T, N)

    Raises
    ------
    ConfigError
        A persistence outside [0, 1).

    Notes
    -----
    ``z_t = rho z_(t-1) + sqrt(1 - rho^2) e_t`` with ``z_0 = e_0``.

    Examples
    --------
    >>> autoregressive((2, 3), persistence=0.5, rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    if not 0.0 <= persistence < 1.0:
        raise ConfigError(
            "persistence", wanted="from 0 to below 1", got=persistence, hint="Use 0 for no memory."
        )
    shocks = rng.standard_normal(shape)
    shocks[1:] *= np.sqrt(1.0 - persistence**2)
    drawn: FloatMatrix = lfilter([1.0], [1.0, -persistence], shocks, axis=0)
    return drawn


def _calibrated(simulation: Simulation, order: ScoreOrder, wanted: float, seed: int) -> float:
    """Persistence at which a random book trades as much as the strategy.

    Turnover falls with persistence, and hardly differs between draws of many names. The half-life
    of the order is what turnover follows, so the search is on its logarithm.
    """

    def excess(half_life: float) -> float:
        rho = min(0.5 ** (1.0 / half_life), MAX_PERSISTENCE)
        scores = _handed_out(simulation, order, rho, _generator(seed, "calibration", 0))
        found = float(simulation.run(scores=scores).summary["turnover_ann"] or 0.0)
        return found / wanted - 1.0 if wanted > 0.0 else 0.0

    low, high = 0.25, float(np.log(0.5) / np.log(MAX_PERSISTENCE))
    middle = low
    for _ in range(CALIBRATION_STEPS):
        middle = float(np.sqrt(low * high))
        gap = excess(middle)
        if abs(gap) <= TURNOVER_TOLERANCE:
            break
        low, high = (middle, high) if gap > 0.0 else (low, middle)
    return float(min(0.5 ** (1.0 / middle), MAX_PERSISTENCE))


def _always_long(simulation: Simulation) -> dict[str, float]:
    config = simulation.config
    book = config.portfolio.model_copy(
        update={
            "mode": "long_only",
            "names_per_side": None,
            "fraction_per_side": 1.0,
            "weighting": "equal",
            "rank_buffer": 0,
        }
    )
    changes = {"portfolio": book, "min_confidence": None, "min_expected_return_frac": None}
    everything = BacktestConfig.model_validate(
        config.model_copy(update={**changes, "regime_size": None}).content()
    )
    scores = simulation.scores[["date", "asset_id", "score"]].copy()
    scores["score"] = np.where(np.isfinite(scores["score"].to_numpy(dtype=np.float64)), 1.0, np.nan)
    # Rules hold few names at a time: whoever has no opinion and is always long holds all of them.
    by_weights = replace(simulation, rules=None)
    return compared_figures(by_weights.run(scores=scores, config=everything))


def _generator(seed: int, kind: str, draw: int) -> np.random.Generator:
    number = ("shuffled", "random_entry", "calibration").index(kind)
    return np.random.default_rng([seed, number, draw])

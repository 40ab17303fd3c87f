"""Parts of the validation suite that need nothing but a finished backtest.

Each part is one stage: stresses with capacity, null baselines, Monte Carlo, evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS, TRADES
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.artifacts.kinds.training import OOS, TRAINING_REPORT
from quant_engine.artifacts.kinds.validation import EVALUATION, MONTE_CARLO, NULLS, STRESS
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.capacity import capacity
from quant_engine.backtest.evaluation import (
    decile_spread,
    ic_decay,
    recovery_times,
    rolling_ic,
    sign_calibration,
    top_trade_share,
)
from quant_engine.backtest.nulls import null_baselines
from quant_engine.backtest.slices import market_phases, slice_table
from quant_engine.backtest.stress import cost_stress, delay_stress
from quant_engine.core.hashing import finite_or_none
from quant_engine.core.panel import Panel
from quant_engine.stats.bootstrap import stationary_indices
from quant_engine.stats.metrics import annual_return, max_drawdown, sharpe
from quant_engine.stats.montecarlo import PathDistribution, resample_paths, shuffle_trades
from quant_engine.stats.path_bands import null_sharpe_p, wealth_bands
from quant_engine.workflows.advanced_config import AdvancedConfig
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.run_registry import RunRecord
from quant_engine.workflows.simulation import (
    BacktestRunConfig,
    read_simulation,
    simulation_inputs,
)
from quant_engine.workflows.train import wide

BAND_LEVELS = (0.05, 0.5, 0.95)
MIN_TRADES = 3


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished backtest and the run behind it.

    Parameters
    ----------
    workspace : Workspace
        Store, progress, workers.
    stages : Stages
        Writes the artifacts, or finds them.
    run : RunRecord
        Training run.
    config : BacktestRunConfig
        Book and costs.
    refs : dict of str to ArtifactRef
        Roles ``backtest, trades, orders``.
    advanced : AdvancedConfig
        How much is done.
    """

    workspace: Workspace
    stages: Stages
    run: RunRecord
    config: BacktestRunConfig
    refs: dict[str, ArtifactRef]
    advanced: AdvancedConfig

    @property
    def daily(self) -> pd.DataFrame:
        """The book day by day, indexed by session."""
        bundle = self.workspace.store.read(BACKTEST, self.refs["backtest"])
        return bundle.tables["daily"].set_index("session")

    @property
    def trades(self) -> pd.DataFrame:
        """Round trips."""
        return self.workspace.store.read(TRADES, self.refs["trades"]).tables["trades"]

    @property
    def training_report(self) -> Bundle:
        """Evaluation of the model."""
        return self.workspace.store.read(TRAINING_REPORT, self.run.artifacts["report"])

    @property
    def periods_per_year(self) -> float:
        """Sessions per year."""
        return self.config.backtest.periods_per_year


def stress_stage(tested: Subject) -> dict[str, ArtifactRef]:
    """Run the book at other costs and with late entries, and ask for its capacity.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``stress``.
    """
    advanced, costs = tested.advanced, _costs(tested)

    def compute() -> dict[str, tuple[Any, Any]]:
        workspace = tested.workspace
        simulation = read_simulation(workspace, tested.run, tested.config)
        with workspace.progress.stage("cost and delay stress", 2) as stage:
            by_cost = cost_stress(simulation, advanced.cost_multipliers)
            stage.advance()
            by_delay = delay_stress(simulation, advanced.delays)
            stage.advance()
        limit = capacity(
            tested.daily,
            workspace.store.read(ORDERS, tested.refs["orders"]).tables["orders"],
            initial_equity_usd=tested.config.backtest.initial_equity_usd,
            periods_per_year=tested.periods_per_year,
            participation_cap_frac=simulation.costs.participation_cap_frac,
        )
        tables = {
            "stress": pd.concat([by_cost, by_delay], ignore_index=True),
            "capacity": limit.table,
        }
        document = {
            "capacity_usd": limit.capacity_usd,
            "capped_value_frac": limit.capped_value_frac,
            "reason": limit.reason,
        }
        return {"stress": (STRESS, Bundle(tables, {"capacity": document}))}

    return tested.stages.run(
        "advanced.stress",
        compute,
        packages=STRESS.packages,
        config={
            **costs,
            "cost_multipliers": list(advanced.cost_multipliers),
            "delays": list(advanced.delays),
        },
        inputs=_inputs(tested, "backtest", "orders"),
    )


def null_stage(tested: Subject) -> dict[str, ArtifactRef]:
    """Simulate books without an opinion.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``nulls``.
    """
    advanced = tested.advanced

    def compute() -> dict[str, tuple[Any, Any]]:
        found = null_baselines(
            read_simulation(tested.workspace, tested.run, tested.config),
            n_draws=advanced.n_null_draws,
            seed=advanced.seed,
            progress=tested.workspace.progress,
        )
        own = float(sharpe_of(tested.daily["ret_net"], tested.periods_per_year))
        mean = found.draws.groupby("kind")["turnover_ann"].mean()
        facts = {
            "persistence": found.persistence,
            "strategy_sharpe": finite_or_none(own),
            "strategy_turnover_ann": float(
                tested.daily["turnover"].mean() * tested.periods_per_year
            ),
            "turnover_ann": {str(kind): finite_or_none(float(v)) for kind, v in mean.items()},
            "percentile": {
                kind: finite_or_none(found.percentile(kind, own))
                for kind in ("random_entry", "shuffled", "always_long")
            },
            "p_value": {
                kind: finite_or_none(found.p_value(kind, own))
                for kind in ("random_entry", "shuffled")
            },
        }
        return {"nulls": (NULLS, Bundle({"draws": found.draws}, {"facts": facts}))}

    return tested.stages.run(
        "advanced.nulls",
        compute,
        packages=NULLS.packages,
        config={**_costs(tested), "n_draws": advanced.n_null_draws, "seed": advanced.seed},
        inputs=_inputs(tested, "backtest"),
    )


def monte_carlo_stage(tested: Subject) -> dict[str, ArtifactRef]:
    """Resample returns in blocks and permute the order of trades.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``monte_carlo``.
    """
    advanced = tested.advanced
    settings = {
        "seed": advanced.seed,
        "n_paths": advanced.n_paths,
        "avg_block_sessions": advanced.avg_block_sessions,
    }
    return tested.stages.run(
        "advanced.monte_carlo",
        lambda: {"monte_carlo": (MONTE_CARLO, _monte_carlo(tested))},
        packages=MONTE_CARLO.packages,
        config=settings,
        inputs=(tested.refs["backtest"], tested.refs["trades"]),
    )


def _monte_carlo(tested: Subject) -> Bundle:
    advanced, daily = tested.advanced, tested.daily
    returns = daily["ret_net"].to_numpy(dtype=np.float64)
    with tested.workspace.progress.stage("Monte Carlo", 2) as stage:
        plan = stationary_indices(
            len(returns),
            avg_block=min(advanced.avg_block_sessions, len(returns) / 2.0),
            n_draws=advanced.n_paths,
            seed=advanced.seed,
        )
        paths = resample_paths(returns, indices=plan, periods_per_year=tested.periods_per_year)
        bands = wealth_bands(returns, indices=plan, levels=BAND_LEVELS)
        p_value = null_sharpe_p(returns, indices=plan)
        stage.advance()
        tables = [_path_quantiles("paths", paths)]
        share = tested.trades["pnl_net"].to_numpy(dtype=np.float64)
        share = share / tested.config.backtest.initial_equity_usd
        if len(share) >= MIN_TRADES:
            ordered = shuffle_trades(
                share, n_paths=advanced.n_paths, seed=advanced.seed, compounding=False
            )
            tables.append(_path_quantiles("trades", ordered))
        stage.advance()
    wealth = pd.DataFrame(
        {
            "session": daily.index,
            "low": bands[:, 0],
            "middle": bands[:, 1],
            "high": bands[:, 2],
            "observed": np.cumprod(1.0 + returns),
        }
    )
    facts = {
        "p_value": finite_or_none(p_value),
        "drawdown_5pct": float(np.quantile(paths.max_drawdown, 0.05)),
        "probability_of_loss": float((paths.terminal_wealth < 1.0).mean()),
        "n_paths": advanced.n_paths,
        "method": paths.method,
    }
    quantiles = pd.concat(tables, ignore_index=True)
    return Bundle({"bands": wealth, "quantiles": quantiles}, {"facts": facts})


def _path_quantiles(kind: str, paths: PathDistribution) -> pd.DataFrame:
    table = paths.quantiles().rename_axis("level").reset_index()
    table.insert(0, "kind", kind)
    return table


def evaluation_stage(tested: Subject) -> dict[str, ArtifactRef]:
    """Cut the record into slices and look at decay, concentration and recovery.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``evaluation``.
    """
    run = tested.run
    inputs = [tested.refs["backtest"], tested.refs["trades"], run.artifacts["report"]]
    inputs += [run.artifacts[role] for role in ("panel", "market", "oos")]
    return tested.stages.run(
        "advanced.evaluation",
        lambda: {"evaluation": (EVALUATION, _evaluation(tested))},
        packages=EVALUATION.packages,
        config={
            "phases": tested.advanced.phases.content(),
            "in_sample": tested.config.in_sample,
            "book": tested.config.backtest.content(),
        },
        inputs=tuple(inputs),
    )


def _evaluation(tested: Subject) -> Bundle:
    store, run = tested.workspace.store, tested.run
    panel = store.read(PANEL, run.artifacts["panel"])
    benchmark = store.read(MARKET, run.artifacts["market"]).tables["benchmark"]
    daily, trades = tested.daily, tested.trades
    market = benchmark.set_index("session")["close_return"].reindex(panel.time.index)
    phases = pd.Series(
        market_phases(market.to_numpy(dtype=np.float64), tested.advanced.phases), panel.time.index
    )
    slices = slice_table(
        daily,
        trades,
        phases=phases.reindex(pd.DatetimeIndex(daily.index)).to_numpy(dtype=np.int64),
        sectors=_last_sectors(panel),
        periods_per_year=tested.periods_per_year,
    )
    by_date = tested.training_report.tables["ic_by_date"]
    rank_ic = by_date["rank_ic"].to_numpy(dtype=np.float64)
    rolling = pd.DataFrame(
        {"session": by_date["session"], "rank_ic": rank_ic, "rolling": rolling_ic(rank_ic)}
    )
    oos = store.read(OOS, run.artifacts["oos"]).tables["oos"]
    calibration = sign_calibration(
        oos["confidence"],
        (np.sign(oos["label"]) == np.sign(oos["score"])).where(oos["label"].notna()),
    )
    if calibration.empty:
        calibration = pd.DataFrame(columns=list(EVALUATION.tables["calibration"]))
    metrics = {
        "split": _declared_split(tested, daily),
        "decile_spread": _finite(_deciles(oos, panel, run.horizon_sessions)),
        "rolling_ic_last": finite_or_none(_last(rolling["rolling"])),
        "rolling_ic_decay": finite_or_none(ic_decay(rank_ic)),
        "pnl_top20_frac": finite_or_none(top_trade_share(trades["pnl_net"])),
        "recovery": _finite(recovery_times(daily["ret_net"])),
    }
    return Bundle(
        {"slices": slices, "rolling_ic": rolling, "calibration": calibration},
        {"metrics": metrics, "regime_slices": _regime_slices(slices)},
    )


def _deciles(oos: pd.DataFrame, panel: Panel, horizon: int) -> dict[str, float]:
    values = (wide(oos, name, panel) for name in ("score", "label"))
    return decile_spread(*values, lags=horizon)


def _declared_split(tested: Subject, daily: pd.DataFrame) -> dict[str, Any]:
    """Figures before and inside the holdout, as the split plan declares them."""
    folds = tested.training_report.tables["folds"]
    holdout = folds[folds["is_holdout"].astype(bool)]
    first = None if holdout.empty else pd.Timestamp(holdout["test_first"].min())
    inside = np.zeros(len(daily), dtype=bool) if first is None else daily.index > first
    parts = {"all": np.ones(len(daily), dtype=bool), "development": ~inside, "holdout": inside}
    document: dict[str, Any] = {
        "holdout_first_session": None if first is None else str(first.date())
    }
    for name, chosen in parts.items():
        net = daily["ret_net"].to_numpy(dtype=np.float64)[chosen]
        document[name] = {
            "n_sessions": len(net),
            **_finite(
                {
                    "sharpe": sharpe_of(net, tested.periods_per_year),
                    "annual_return": annual_return(net, periods_per_year=tested.periods_per_year),
                    "max_drawdown": max_drawdown(net),
                }
            ),
        }
    return document


def _regime_slices(slices: pd.DataFrame) -> dict[str, Any]:
    """Drawdown, exposure and return by regime and by phase, as plain values."""
    kept = ("n_obs", "is_thin", "annual_return", "max_drawdown", "sharpe")
    kept += ("avg_gross_exposure", "avg_net_exposure", "n_trades")
    document: dict[str, Any] = {}
    for dimension in ("regime", "phase"):
        part = slices[slices["dimension"] == dimension].set_index("slice")
        document[dimension] = {
            str(name): {
                column: value if isinstance(value, bool) else finite_or_none(float(value))
                for column, value in ((c, part.loc[name, c].item()) for c in kept)
            }
            for name in part.index
        }
    return document


def _last_sectors(panel: Panel) -> pd.Series | None:
    """Sector of each asset as last known; None where the panel has none."""
    if "sector" not in panel.groups:
        return None
    table = panel.group("sector")
    codes = np.asarray(table.codes)
    last = len(codes) - 1 - (codes[::-1] >= 0).argmax(axis=0)
    code = codes[last, np.arange(codes.shape[1])]
    names = np.array([*table.categories, "unknown"], dtype=object)
    return pd.Series(names[code], index=pd.Index(panel.asset_ids))


def sharpe_of(returns: Any, periods_per_year: float) -> float:
    """Annualised Sharpe ratio of session returns; NaN where there is none.

    Parameters
    ----------
    returns : array-like, shape (R,)
        Simple net returns per session (fraction).
    periods_per_year : float
        Sessions per year.

    Returns
    -------
    float
    """
    values = np.asarray(returns, dtype=np.float64)
    if not len(values):
        return float("nan")
    return float(sharpe(values, periods_per_year=periods_per_year, method="per_period").value)


def _last(values: pd.Series) -> float:
    known = values.dropna()
    return float(known.iloc[-1]) if len(known) else float("nan")


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: finite_or_none(float(value)) for name, value in values.items()}


def _costs(tested: Subject) -> dict[str, Any]:
    """Everything that determines a simulation, for the identity of a stage."""
    simulation = read_simulation(tested.workspace, tested.run, tested.config)
    return {**tested.config.content(), "cost_profile": simulation.costs.content()}


def _inputs(tested: Subject, *roles: str) -> tuple[ArtifactRef, ...]:
    own = tuple(tested.refs[role] for role in roles)
    return (*own, *simulation_inputs(tested.run, in_sample=tested.config.in_sample))

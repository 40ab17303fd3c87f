"""Parts of the validation suite that need nothing but a finished backtest.

Each part is one stage: stresses with capacity, null baselines, Monte Carlo, paper account.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.backtest import BACKTEST, ORDERS, TRADES
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.training import TRAINING_REPORT
from quant_engine.artifacts.kinds.validation import MONTE_CARLO, NULLS, PARITY, STRESS
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.capacity import capacity
from quant_engine.backtest.nulls import null_baselines
from quant_engine.backtest.paper_follow import FOLLOWED_SESSIONS, followed, why_not_followed
from quant_engine.backtest.parity import FIGURES, ParityConfig, backtest_record, parity
from quant_engine.backtest.stress import cost_stress, delay_stress
from quant_engine.core.hashing import finite_or_none
from quant_engine.execution.cost_model import profile_of
from quant_engine.stats.bootstrap import stationary_indices
from quant_engine.stats.metrics import sharpe
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

BAND_LEVELS = (0.05, 0.5, 0.95)
MIN_TRADES = 3
MIN_FOLLOWED = 3


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
            participation_cap_frac=profile_of(simulation.costs).participation_cap_frac,
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
            executor=tested.workspace.executor,
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


def parity_stage(tested: Subject) -> dict[str, ArtifactRef]:
    """Let a paper account follow the newest sessions and compare it with the backtest.

    Parameters
    ----------
    tested : Subject
        The backtest.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``parity``.
    """
    limits = ParityConfig(periods_per_year=tested.periods_per_year)

    def compute() -> dict[str, tuple[Any, Any]]:
        with tested.workspace.progress.stage("paper account", 1):
            return {"parity": (PARITY, _parity(tested, limits))}

    return tested.stages.run(
        "advanced.parity",
        compute,
        packages=PARITY.packages,
        config={**_costs(tested), "limits": limits.content(), "n_sessions": FOLLOWED_SESSIONS},
        inputs=_inputs(tested, "backtest", "orders"),
    )


def _parity(tested: Subject, limits: ParityConfig) -> Bundle:
    simulation = read_simulation(tested.workspace, tested.run, tested.config)
    daily = tested.daily
    rules, config = simulation.rules, simulation.config
    reason = why_not_followed(config, rules, simulation.panel)
    if not reason and len(daily) < MIN_FOLLOWED:
        reason = f"{len(daily)} sessions, of {MIN_FOLLOWED} needed"
    if reason:
        empty = pd.DataFrame({"figure": list(FIGURES), "backtest": np.nan, "paper": np.nan})
        table = empty.assign(deviation=np.nan, is_within=False)
        facts = dict.fromkeys(("worst_deviation", "tracking_error_ann"))
        return Bundle({"figures": table}, {"facts": {**facts, "n_sessions": 0, "reason": reason}})
    orders = tested.workspace.store.read(ORDERS, tested.refs["orders"]).tables["orders"]
    paper = followed(
        daily,
        orders,
        simulation.panel,
        costs=simulation.costs,
        config=config,
        fill=config.fill if rules is None else rules.fill,
    )
    found = parity(backtest_record(daily, orders), paper, limits)
    facts = {
        "worst_deviation": finite_or_none(float(found.table["deviation"].max(skipna=False))),
        "tracking_error_ann": finite_or_none(found.tracking_error_ann),
        "n_sessions": len(paper),
        "reason": f"{found.reason} over the newest {len(paper)} sessions",
    }
    return Bundle({"figures": found.table}, {"facts": facts})


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


def _costs(tested: Subject) -> dict[str, Any]:
    """Everything that determines a simulation, for the identity of a stage."""
    simulation = read_simulation(tested.workspace, tested.run, tested.config)
    return {**tested.config.content(), "cost_profile": simulation.costs.content()}


def _inputs(tested: Subject, *roles: str) -> tuple[ArtifactRef, ...]:
    own = tuple(tested.refs[role] for role in roles)
    return (*own, *simulation_inputs(tested.run, in_sample=tested.config.in_sample))

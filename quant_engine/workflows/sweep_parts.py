"""Parts of a sweep: some variants at a time, simulated, stored, and counted before they are shown.

A part is a stage of its own, so that an interrupted sweep goes on where it stopped. Returns are
kept where variants trade one common book: whoever judges the best variant has to see the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.market import MARKET
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.artifacts.kinds.sweep import SWEEP_PART
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.nulls import ScoreOrder
from quant_engine.backtest.random_scores import randomised
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_inputs import RuleInputs, parse_rule_inputs, rescored
from quant_engine.backtest.simulation import Simulation
from quant_engine.backtest.sweep import SweepIdentity, sweep_rules
from quant_engine.backtest.sweep_averages import AverageCross, AverageSweep, sweep_average_crosses
from quant_engine.backtest.sweep_kernel import STATISTICS
from quant_engine.backtest.sweep_spec import SweepSpec
from quant_engine.core.arrays import FloatVector
from quant_engine.core.hashing import sha256_json
from quant_engine.core.progress import Stage
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.execution.cost_model import profile_of
from quant_engine.execution.costs import CostProfile
from quant_engine.governance.ledger import TrialLedger
from quant_engine.stats.trailing_beta import trailing_beta
from quant_engine.workflows.context import Stages, Workspace
from quant_engine.workflows.costs import load_costs
from quant_engine.workflows.rules import TradedRules
from quant_engine.workflows.run_registry import RunRecord
from quant_engine.workflows.simulation import (
    BacktestRunConfig,
    read_simulation,
    simulation_inputs,
)
from quant_engine.workflows.trials import strategy_trial

PART = 250
"""Variants in one artifact."""

STEP = 25
"""Variants between two signs of progress."""

MAX_CELLS = 30_000_000
"""Sessions x variants beyond which no returns are kept."""

_NO_RETURNS = pd.DataFrame({"session": pd.to_datetime([])})

LEFT_OUT = "impact, participation cap, borrow fees, spreads per bar and dividends"
"""What an account of one unit per asset cannot be charged or paid."""


@dataclass(frozen=True, eq=False)
class Swept:
    """A sweep that is being run.

    Parameters
    ----------
    workspace : Workspace
        Store, progress.
    stages : Stages
        Writes the artifacts, or finds them.
    run : RunRecord
        Training run whose predictions are traded.
    spec : SweepSpec
        Grid.
    base : BacktestRunConfig
        Account and costs of every variant.
    """

    workspace: Workspace
    stages: Stages
    run: RunRecord
    spec: SweepSpec
    base: BacktestRunConfig

    def configs(self) -> list[dict[str, Any]]:
        """Content of every variant's configuration, in order."""
        if self.spec.rule == "averages":
            account = self.base.content()
            return [{**account, "average": rule.content()} for rule in self.spec.variants()]
        unit, found = self.spec.unit, []
        for rules, random in zip(self.spec.variants(), self.spec.draws(), strict=True):
            if isinstance(rules, RuleConfig):
                traded = TradedRules(settings=rules, unit=unit, random=random)
                found.append(self.base.model_copy(update={"rules": traded}).content())
        return found


def sweep_parts(swept: Swept, record: RunRecord, ledger: TrialLedger) -> dict[str, ArtifactRef]:
    """Simulate every variant and count it.

    Parameters
    ----------
    swept : Swept
        The sweep.
    record : RunRecord
        Of the sweep; names family and data of its trials.
    ledger : TrialLedger
        Ledger of the track.

    Returns
    -------
    dict of str to ArtifactRef
        Roles ``part_1 ...``.
    """
    n_variants, contents = swept.spec.n_variants, swept.configs()
    refs: dict[str, ArtifactRef] = {}
    with swept.workspace.progress.stage(f"sweep {swept.spec.name}", n_variants) as stage:
        for start in range(0, n_variants, PART):
            numbers = range(start, min(start + PART, n_variants))
            ref = _part_stage(swept, numbers, contents, stage)
            refs[f"part_{len(refs) + 1}"] = ref
            _count(swept, record, ledger, [(n, contents[n]) for n in numbers], ref)
    return refs


def _count(
    swept: Swept,
    record: RunRecord,
    ledger: TrialLedger,
    variants: list[tuple[int, dict[str, Any]]],
    ref: ArtifactRef,
) -> None:
    has_returns = swept.workspace.store.read(SWEEP_PART, ref).documents["facts"]["has_returns"]
    with ledger.batch():
        for number, content in variants:
            address = f"{ref}#{number}" if has_returns else ""
            variant = record.model_copy(update={"config": content})
            ledger.record(strategy_trial(variant, swept.run, asked_by="sweep", returns_ref=address))


def _part_stage(
    swept: Swept, numbers: range, contents: list[dict[str, Any]], stage: Stage
) -> ArtifactRef:
    costs = load_costs(swept.workspace.catalog, swept.base.costs)
    was_computed = []

    def compute() -> dict[str, tuple[Any, Any]]:
        was_computed.append(True)
        return {"part": (SWEEP_PART, _part(swept, numbers, contents, stage))}

    found = swept.stages.run(
        "sweep.part",
        compute,
        packages=SWEEP_PART.packages,
        config={
            "variants": [contents[number] for number in numbers],
            "first": numbers.start,
            "n_variants": len(contents),
            "cost_profile": costs.content(),
        },
        inputs=simulation_inputs(swept.run, in_sample=False),
    )
    if not was_computed:
        stage.advance(len(numbers))
    return found["part"]


def _part(swept: Swept, numbers: range, contents: list[dict[str, Any]], stage: Stage) -> Bundle:
    if swept.spec.rule == "averages":
        made = average_sweep(swept, numbers)
        table, returns, note = made.table, _NO_RETURNS, f"accounts of one unit, without {LEFT_OUT}"
        stage.advance(len(numbers))
    else:
        table, returns, note = _rules_part(swept, numbers, stage)
    plain = table[list(STATISTICS)].reset_index(drop=True)
    keys = [sha256_json({"model": swept.run.config, "book": contents[n]}) for n in numbers]
    plain.insert(0, "variant", np.asarray(numbers, dtype=np.int64))
    plain.insert(1, "spec_id", keys)
    facts = {"has_returns": len(returns.columns) > 1, "note": note}
    return Bundle({"variants": plain, "returns": returns}, {"facts": facts})


def _rules_part(
    swept: Swept, numbers: range, stage: Stage
) -> tuple[pd.DataFrame, pd.DataFrame, str]:
    """Statistics and hedged returns of some variants of rules, and what is to be said of them."""
    simulation = sweep_simulation(swept)
    n_cells = simulation.panel.shape[0] * swept.spec.n_variants
    keep = n_cells <= MAX_CELLS
    tables, columns = [], []
    for inputs, rules in _worlds(swept, simulation, numbers):
        made = sweep_rules(
            inputs,
            rules,
            trials=MemoryTrialSink(),
            identity=SweepIdentity(swept.spec.name, swept.run.dataset, swept.run.run_id),
            keep_returns=keep,
        )
        tables.append(made.table)
        if made.returns is not None:
            net = np.asarray(made.returns, dtype=np.float64)
            columns += [_hedged(net[:, k], inputs, rule) for k, rule in enumerate(rules)]
        stage.advance(len(rules))
    table = pd.concat(tables, ignore_index=True)
    if not keep:
        return table, _NO_RETURNS, f"no returns kept: {n_cells:,} sessions x variants"
    sessions = returns_sessions(simulation)
    own = {f"v{n}": values[-len(sessions) :] for n, values in zip(numbers, columns, strict=True)}
    return table, pd.DataFrame({"session": sessions, **own}), ""


def returns_sessions(simulation: Simulation) -> pd.Series:
    """Sessions of the returns that a sweep keeps.

    Parameters
    ----------
    simulation : Simulation
        What the variants see.

    Returns
    -------
    Series of datetime64
        From the session after the first score on, whatever a variant did.
    """
    sessions = pd.Series(simulation.panel.time.index)
    first = int(sessions.searchsorted(simulation.scores["date"].min())) + 1
    return sessions.iloc[first:].reset_index(drop=True)


def sweep_simulation(swept: Swept, variant: int | None = None) -> Simulation:
    """Read what the variants of rules see: market, scores in their unit, account and costs.

    Parameters
    ----------
    swept : Swept
        A sweep of rules.
    variant : int, optional
        One of them, ready to run; by default what all share.

    Returns
    -------
    Simulation
        With the indicators that any variant needs.
    """
    rules = [rule for rule in swept.spec.variants() if isinstance(rule, RuleConfig)]
    richest = next((rule for rule in rules if rule.needs_atr), rules[0])
    traded = TradedRules(settings=richest, unit=swept.spec.unit)
    config = swept.base.model_copy(update={"rules": traded})
    simulation = read_simulation(swept.workspace, swept.run, config)
    if variant is None:
        return replace(simulation, rules=rules[0])
    drawn = swept.spec.draws()[variant]
    scores = simulation.scores if drawn is None else randomised(simulation.scores, drawn)
    return replace(simulation, rules=rules[variant], scores=scores)


def _worlds(
    swept: Swept, simulation: Simulation, numbers: range
) -> Iterator[tuple[RuleInputs, list[RuleConfig]]]:
    """Some variants at a time, with what they see."""
    variants = [rule for rule in swept.spec.variants() if isinstance(rule, RuleConfig)]
    inputs = _inputs(simulation)
    if swept.spec.random is None:
        for start in range(numbers.start, numbers.stop, STEP):
            yield inputs, variants[start : min(start + STEP, numbers.stop)]
        return
    draws, order = swept.spec.draws(), ScoreOrder.of(simulation.scores)
    for number in numbers:
        drawn = draws[number]
        if drawn is not None:
            yield rescored(inputs, randomised(order, drawn)), [variants[number]]


def _inputs(simulation: Simulation) -> RuleInputs:
    return parse_rule_inputs(
        simulation.scores,
        simulation.panel,
        config=simulation.config,
        costs=simulation.costs,
        delistings=simulation.delistings,
        regimes=simulation.regimes,
        benchmark_returns=simulation.benchmark_returns,
    )


def _hedged(returns: FloatVector, inputs: RuleInputs, rules: RuleConfig) -> FloatVector:
    """Net returns less beta times the benchmark's, as a backtest has them; shape (T,)."""
    if inputs.benchmark_returns is None:
        return returns
    first = inputs.rows(rules).start + 1
    net, benchmark = returns[first:], inputs.benchmark_returns[first:]
    beta = trailing_beta(
        net,
        benchmark,
        window_sessions=inputs.config.beta_sessions,
        min_sessions=inputs.config.beta_min_sessions,
    )
    hedged = net - beta * benchmark
    return np.concatenate([returns[:first], np.where(np.isnan(hedged), net, hedged)])


def average_sweep(swept: Swept, numbers: range) -> AverageSweep:
    """Run some variants of moving averages over every asset of the run.

    Parameters
    ----------
    swept : Swept
        A sweep of averages.
    numbers : range
        Variants.

    Returns
    -------
    AverageSweep
        In accounts of one unit per asset, which pay fee and half-spread alone (`LEFT_OUT`).
    """
    panel = swept.workspace.store.read(PANEL, swept.run.artifacts["panel"])
    market = swept.workspace.store.read(MARKET, swept.run.artifacts["market"])
    rules = [rule for rule in swept.spec.variants() if isinstance(rule, AverageCross)]
    profile = profile_of(load_costs(swept.workspace.catalog, swept.base.costs))
    plain = {
        "impact_coef_bps": 0.0,
        "participation_cap_frac": None,
        "borrow_bps_ann": 0.0,
        "use_panel_spread": False,
    }
    return sweep_average_crosses(
        panel.only_fields(("open", "close", "volume")),
        rules[numbers.start : numbers.stop],
        config=swept.base.backtest,
        costs=CostProfile.model_validate({**profile.content(), **plain}),
        trials=MemoryTrialSink(),
        identity=SweepIdentity(swept.spec.name, swept.run.dataset, swept.run.run_id),
        delistings=market.tables["delistings"],
    )

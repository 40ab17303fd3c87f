"""Sweeps: many variants of trading rules over one market, each of them counted.

Every variant is given to the trial sink before anything is returned: a sweep whose size nobody
knows cannot be judged. The variants share the parsed market and one set of buffers; only
statistics are kept, and any run is simulated again, with the same bits, when it is asked for.

Rules of one account with all market details are swept here. Rules that give a weight per asset,
in accounts of their own, are in `sweep_averages`; grids of either come from `sweep_spec`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.backtest.engine import run_rules
from quant_engine.backtest.kernel_state import EQUITY, TRADED
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.rules_inputs import (
    RuleInputs,
    build_account,
    build_rule_market,
    build_rule_numbers,
    build_rule_signals,
    check_fields,
)
from quant_engine.backtest.rules_kernel import simulate_rules
from quant_engine.backtest.rules_result import RuleBacktestResult
from quant_engine.backtest.rules_state import (
    N_CLOSED,
    Desk,
    RuleMarket,
    RuleSignals,
    make_desk,
)
from quant_engine.backtest.sweep_kernel import STATISTICS, TRADES, path_statistics
from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, EmptyDataError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.trials import Trial, TrialSink

__all__ = ["RuleSweep", "SweepIdentity", "record_variants", "sweep_rules"]

_UNSHOWN = np.empty((0, 0))


@dataclass(frozen=True)
class SweepIdentity:
    """What the trials of a sweep say of themselves beside their settings.

    Parameters
    ----------
    family : str
        Group whose members compete with one another.
    data_id : str
        Hash of the data that every variant sees.
    split_id : str
        Hash of the split plan that the scores come from.
    asked_by : str
        Function or script that asked.
    """

    family: str
    data_id: str
    split_id: str
    asked_by: str = "backtest.sweep"


@dataclass(frozen=True, eq=False)
class RuleSweep:
    """A finished sweep of rules.

    Parameters
    ----------
    table : DataFrame indexed by ``variant``
        ``spec_id``, ``trial_id``, ``final_equity`` and the columns `STATISTICS`; returns and
        drawdowns are fractions. ``n_trades`` counts positions still open at the end.
    variants : tuple of RuleConfig
        In the order of the table.
    inputs : RuleInputs
        What every variant saw.
    returns : ndarray of float64, shape (T, V), or None
        Net return per session of the panel (fraction), 0 before a variant begins and after it ends.
    """

    table: pd.DataFrame
    variants: tuple[RuleConfig, ...]
    inputs: RuleInputs
    returns: FloatMatrix | None = None

    def result(self, variant: int) -> RuleBacktestResult:
        """Simulate a variant again, with all records.

        Parameters
        ----------
        variant : int
            Row of the table.

        Returns
        -------
        RuleBacktestResult
            Its equity has the bits that the statistics came from.

        Raises
        ------
        ConfigError
            No such variant.
        """
        if not 0 <= variant < len(self.variants):
            raise ConfigError(
                "variant",
                wanted=f"0 to {len(self.variants) - 1}",
                got=variant,
                hint="Use a row of the table.",
            )
        return run_rules(self.inputs, self.variants[variant])

    def curve(self, variant: int) -> pd.Series:
        """Equity of a variant per session, in currency.

        Parameters
        ----------
        variant : int
            Row of the table.

        Returns
        -------
        Series indexed by ``session``
            From the session after the first decision.
        """
        return self.result(variant).daily["equity"]


def sweep_rules(
    inputs: RuleInputs,
    variants: Sequence[RuleConfig],
    *,
    trials: TrialSink,
    identity: SweepIdentity,
    keep_returns: bool = False,
) -> RuleSweep:
    """Simulate variants of rules and measure them.

    Parameters
    ----------
    inputs : RuleInputs
        Aligned scores, market and account, of `rules_inputs.parse_rule_inputs`.
    variants : sequence of RuleConfig
        At least one; repeated ones are one trial.
    trials : TrialSink
        Remembers every variant.
    identity : SweepIdentity
        Of the trials.
    keep_returns : bool
        Keep the returns of every variant too: sessions x variants numbers.

    Returns
    -------
    RuleSweep
        Statistics, and curves on demand.

    Raises
    ------
    EmptyDataError
        No variant.
    MissingFieldError
        The panel lacks a field that a variant needs.

    Notes
    -----
    Return, volatility, Sharpe ratio and drawdown follow `quant_engine.stats.metrics` on the net
    returns per session; turnover is traded value / 2 / equity at the previous close, annualised.
    """
    if not variants:
        raise EmptyDataError("variants", wanted="at least one", got="none", hint="Widen the grid.")
    for rules in variants:
        check_fields(rules, inputs.panel)
    content = {"account": inputs.config.content(), "costs": inputs.costs.costs_id}
    ids = record_variants(variants, content, trials=trials, identity=identity)
    account = build_account(inputs)
    statistics = np.empty((len(variants), len(STATISTICS)))
    final = np.empty(len(variants))
    returns = np.zeros((inputs.panel.shape[0], len(variants) if keep_returns else 0))
    worlds: dict[tuple[str, bool], tuple[RuleMarket, RuleSignals, Desk]] = {}
    most = max(rules.max_positions for rules in variants)
    for number, rules in enumerate(variants):
        key = (rules.fill, rules.unsafe_same_bar)
        if key not in worlds:
            worlds[key] = _world(inputs, rules, most)
        market, signals, desk = worlds[key]
        plan = build_rule_numbers(rules, inputs.costs.profile)
        n_rows, _, _ = simulate_rules(market, signals, plan, account, desk, _UNSHOWN, False)
        equity, traded = desk.daily[:n_rows, EQUITY], desk.daily[:n_rows, TRADED]
        path_statistics(equity, traded, inputs.config.periods_per_year, statistics[number])
        statistics[number, TRADES] = desk.counts[N_CLOSED]
        final[number] = equity[-1]
        if keep_returns:
            start = inputs.rows(rules).start
            returns[start + 1 : start + n_rows, number] = equity[1:] / equity[:-1] - 1.0
    table = statistics_table(ids, statistics).assign(final_equity=final)
    return RuleSweep(table, tuple(variants), inputs, returns if keep_returns else None)


def _world(
    inputs: RuleInputs, rules: RuleConfig, max_positions: int
) -> tuple[RuleMarket, RuleSignals, Desk]:
    rows = inputs.rows(rules)
    market = build_rule_market(inputs, rules.fill, rows)
    n_rows, n_assets = market.mark.shape
    return market, build_rule_signals(inputs, rows), make_desk(n_rows, n_assets, max_positions)


def record_variants(
    variants: Sequence[FrozenConfig],
    content: Mapping[str, Any],
    *,
    trials: TrialSink,
    identity: SweepIdentity,
) -> list[tuple[str, str]]:
    """Give every variant to the sink.

    Parameters
    ----------
    variants : sequence of FrozenConfig
        Rules.
    content : mapping of str to plain values
        What determines the result beside them.
    trials : TrialSink
        Remembers.
    identity : SweepIdentity
        Of the trials.

    Returns
    -------
    list of (spec_id, trial_id)
        In order.
    """
    made = []
    for variant in variants:
        spec_id = sha256_json({**content, "rule": variant.content()})
        trial = Trial(
            identity.family, spec_id, identity.data_id, identity.split_id, identity.asked_by
        )
        made.append((spec_id, trials.record(trial)))
    return made


def statistics_table(
    ids: Sequence[tuple[str, str]], statistics: np.ndarray[Any, np.dtype[np.float64]]
) -> pd.DataFrame:
    """One row per variant.

    Parameters
    ----------
    ids : sequence of (spec_id, trial_id)
        In order.
    statistics : ndarray of float64, shape (V, S)
        Columns `STATISTICS`; NaN = does not exist.

    Returns
    -------
    DataFrame indexed by ``variant``
        Counts as integers.
    """
    table = pd.DataFrame(statistics, columns=list(STATISTICS))
    table = table.astype({"n_trades": np.int64, "n_sessions": np.int64})
    table.insert(0, "spec_id", [spec for spec, _ in ids])
    table.insert(1, "trial_id", [trial for _, trial in ids])
    return table.rename_axis(index="variant")

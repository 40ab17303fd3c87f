"""Walk-forward over the variants of a sweep: choose, hold over the next unseen span, chain, judge.

The returns of every variant are those that the sweep stored and counted; nothing is simulated
again. The rule of choosing is one more trial of the family: whoever tries several keeps the best.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.sweep import SWEEP_PART, SWEEP_WALK
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.variant_walk import VariantWalkConfig, walk_variants
from quant_engine.core.errors import ConfigError
from quant_engine.core.trials import MemoryTrialSink, TrialSink
from quant_engine.stats.splits import label_spans, walk_forward_rows
from quant_engine.workflows.run_registry import RunRecord
from quant_engine.workflows.sweep_parts import Swept, returns_sessions, sweep_simulation
from quant_engine.workflows.trials import strategy_family, strategy_trial

SECTION = "walk_forward"
"""Section of the settings, and role of the artifact."""

__all__ = ["SECTION", "refuse_walk", "walk_figures", "walk_lines", "walk_stage", "write_walk"]


def refuse_walk(swept: Swept, config: VariantWalkConfig) -> None:
    """Refuse a walk-forward that cannot be, before anything is swept.

    Parameters
    ----------
    swept : Swept
        The sweep.
    config : VariantWalkConfig
        Choice and folds.

    Raises
    ------
    ConfigError
        For averages, whose accounts hold one unit of one asset each and are no common book.
    InsufficientHistoryError
        Fewer sessions than one train window and one test block need.
    """
    if swept.spec.rule == "averages":
        raise ConfigError(
            "--walk-forward",
            wanted="a sweep of rules of one account",
            got="averages in an account per asset",
            hint="Sweep rules of kind signals, whose variants are books.",
        )
    days = returns_sessions(sweep_simulation(swept)).to_numpy()
    walk_forward_rows(label_spans(days, days), config=config.split)


def walk_stage(
    swept: Swept,
    record: RunRecord,
    parts: dict[str, ArtifactRef],
    *,
    config: VariantWalkConfig,
    ledger: TrialSink,
) -> dict[str, ArtifactRef]:
    """Walk forward over stored variants and count the rule of choosing.

    Parameters
    ----------
    swept : Swept
        The sweep, all variants of which are counted already.
    record : RunRecord
        Of the sweep, its config with the section ``walk_forward``.
    parts : dict of str to ArtifactRef
        Its parts.
    config : VariantWalkConfig
        Choice and folds.
    ledger : TrialSink
        Ledger of the track.

    Returns
    -------
    dict of str to ArtifactRef
        Role ``walk_forward``.

    Raises
    ------
    ConfigError
        No returns were kept, because there are too many variants and sessions.
    """
    workspace = swept.workspace

    def compute() -> dict[str, tuple[Any, Any]]:
        found = walk_variants(
            _returns(swept, parts),
            swept.configs(),
            config=config,
            # The parts have counted every variant; counting them here again would be another trial.
            trials=MemoryTrialSink(),
            family=strategy_family(record),
            executor=workspace.executor,
            progress=workspace.progress,
        )
        tables = {
            "folds": found.folds,
            "chained": found.chained.rename_axis(index="session").reset_index(),
        }
        documents = {"settings": config.content(), "summary": found.summary}
        return {SECTION: (SWEEP_WALK, Bundle(tables, documents))}

    refs = swept.stages.run(
        "sweep.walk_forward",
        compute,
        packages=SWEEP_WALK.packages,
        config=config.content(),
        inputs=tuple(parts.values()),
    )
    ledger.record(strategy_trial(record, swept.run, asked_by="sweep", returns_ref=""))
    return refs


def _returns(swept: Swept, parts: dict[str, ArtifactRef]) -> pd.DataFrame:
    """Hedged net returns of every variant, in their order."""
    bundles = [swept.workspace.store.read(SWEEP_PART, ref) for ref in parts.values()]
    facts = [found.documents["facts"] for found in bundles]
    if not all(found["has_returns"] for found in facts):
        raise ConfigError(
            "--walk-forward",
            wanted="variants whose returns were kept",
            got=facts[0]["note"],
            hint="Sweep a smaller grid, or fewer sessions.",
        )
    tables = [found.tables["returns"].set_index("session") for found in bundles]
    return pd.concat(tables, axis=1)


def walk_figures(swept: Swept, refs: dict[str, ArtifactRef]) -> dict[str, float | int | None]:
    """Headline figures for programs, their names beginning with ``wf_``.

    Parameters
    ----------
    swept : Swept
        The sweep.
    refs : dict of str to ArtifactRef
        With role ``walk_forward``; empty otherwise.

    Returns
    -------
    dict
        Empty without a walk-forward.
    """
    if SECTION not in refs:
        return {}
    summary = swept.workspace.store.read(SWEEP_WALK, refs[SECTION]).documents["summary"]
    return {f"wf_{name}": value for name, value in summary.items()}


def write_walk(swept: Swept, refs: dict[str, ArtifactRef]) -> dict[str, Path]:
    """Write the folds and the chained sessions beside the table of variants.

    Parameters
    ----------
    swept : Swept
        The sweep.
    refs : dict of str to ArtifactRef
        With role ``walk_forward``; empty otherwise.

    Returns
    -------
    dict of str to Path
        Words to file.
    """
    if SECTION not in refs:
        return {}
    bundle = swept.workspace.store.read(SWEEP_WALK, refs[SECTION])
    root, paths = swept.workspace.settings.results_root, {}
    for words, name in (("folds", "folds"), ("unseen sessions", "chained")):
        paths[words] = root / f"sweep_{swept.spec.name}_walk_{name}.csv"
        text = bundle.tables[name].to_csv(index=False, date_format="%Y-%m-%d")
        write_atomic(paths[words], text.encode("utf-8"))
    return paths


def walk_lines(figures: dict[str, float | int | None]) -> list[str]:
    """Say what choosing was worth.

    Parameters
    ----------
    figures : dict
        Of :func:`walk_figures`.

    Returns
    -------
    list of str
        A line for the choice and one with its verdict; empty without a walk-forward.
    """
    if not figures:
        return []
    lines = [
        f"walk-forward: {figures['wf_n_folds']} choices, {figures['wf_n_changes']} of them another "
        f"variant than the one before, {figures['wf_n_sessions']} unseen sessions"
    ]
    low, high = figures["wf_sharpe_ci_low"], figures["wf_sharpe_ci_high"]
    if figures["wf_sharpe"] is None or low is None or high is None:
        return [*lines, f"  {'insufficient':<12} the chosen variants never moved out of sample"]
    verdict = "pass" if low > 0.0 else "fail"
    inside, rank = _text(figures["wf_in_sample_sharpe"]), _text(figures["wf_median_rank_frac"])
    return [
        *lines,
        f"  {verdict:<12} net Sharpe ratio of the choice {inside} in sample, "
        f"{_text(figures['wf_sharpe'])} [{low:.2f}, {high:.2f}] out of sample (95 %); its rank "
        f"among the variants out of sample is {rank} in the median (0 best, 1 worst)",
    ]


def _text(value: float | int | None) -> str:
    return "n/a" if value is None else f"{value:.2f}"

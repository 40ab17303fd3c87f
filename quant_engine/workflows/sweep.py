"""Sweeps: every variant of a grid of rules on the predictions of a training run, all counted.

1. `sweep_parts` simulates the variants, stores their returns and puts each into the trial ledger.
2. ``_table`` puts statistics, settings and the gate of the neighbours side by side.
3. ``_facts`` names the best variant and asks what is left of it when all others are known: deflated
   Sharpe ratio and probability of overfitting, on returns net of cost and of beta.

4. Where it is asked for, `sweep_walk` chooses the best variant of the past again and again, and
   holds it over the next sessions, which it has not seen.

The best of many variants is no finding. `put_variant` has one of them traded as a backtest of its
own, and the gates then judge it among all that were tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.files import write_atomic
from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.sweep import SWEEP, SWEEP_PART
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.backtest.config import TradingRules
from quant_engine.backtest.funnel import entry_funnel, why_nothing_traded
from quant_engine.backtest.rules_inputs import refuse_settings_of_weights
from quant_engine.backtest.sweep_spec import SweepSpec, neighbourhood
from quant_engine.backtest.variant_walk import VariantWalkConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import finite_or_none
from quant_engine.core.specs import build_config
from quant_engine.stats.deflation import trial_variance
from quant_engine.workflows.advanced_verdict import PROFILE as SUITE_PROFILE
from quant_engine.workflows.backtest import resolve_backtest, stages_of
from quant_engine.workflows.competition import (
    MIN_SESSIONS,
    deflated_metric,
    overfitting,
    varies,
)
from quant_engine.workflows.config import section_of
from quant_engine.workflows.context import Workspace, new_run_id, require_writable
from quant_engine.workflows.outcome import Outcome, listed
from quant_engine.workflows.run_registry import RunRecord, RunRegistry
from quant_engine.workflows.simulation import BacktestRunConfig
from quant_engine.workflows.sweep_parts import Swept, average_sweep, sweep_parts, sweep_simulation
from quant_engine.workflows.sweep_walk import (
    SECTION,
    refuse_walk,
    walk_figures,
    walk_lines,
    walk_stage,
    write_walk,
)
from quant_engine.workflows.trials import strategy_family, track_ledger
from quant_engine.workflows.validation import GATE, validation_profile

__all__ = ["SWEEP_COMMAND", "SweepRequest", "put_variant", "repeat_sweep", "run_sweep"]

SWEEP_COMMAND = "sweep"
"""Command of such a run in the registry of runs."""


@dataclass(frozen=True)
class SweepRequest:
    """What to sweep.

    Parameters
    ----------
    name : str
        Spec in ``specs/sweeps``.
    run_id : str or None
        Training run; None = the newest.
    horizon : int or None
        Only runs with this label horizon.
    curve : int or None
        Variant whose equity is computed again and written.
    walk_forward : bool
        Choose by the past and trade the next unseen sessions, fold by fold.
    """

    name: str
    run_id: str | None = None
    horizon: int | None = None
    curve: int | None = None
    walk_forward: bool = False


def run_sweep(
    workspace: Workspace,
    request: SweepRequest,
    overrides: dict[str, Any],
    *,
    dry_run: bool = False,
) -> Outcome:
    """Simulate every variant of a spec, count it, and say what the best one is worth.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    request : SweepRequest
        Which spec and run.
    overrides : dict
        Nested settings of the account and the costs that all variants share; section
        ``walk_forward`` (`VariantWalkConfig`) with a walk-forward.
    dry_run : bool
        Say what would be swept.

    Returns
    -------
    Outcome
        Table, headline figures, exports.

    Raises
    ------
    ConfigError
        For an unknown spec, setting or variant.
    """
    run = _training_run(workspace, request)
    spec = workspace.catalog.load("sweeps", request.name, SweepSpec)
    shared = {name: value for name, value in overrides.items() if name != SECTION}
    base = _base(workspace, run, spec, shared if request.walk_forward else overrides)
    _check_variant(spec, request.curve)
    swept, walk = Swept(workspace, stages_of(workspace, run), run, spec, base), None
    if request.walk_forward:
        walk = _walk_config(section_of(overrides, SECTION), base.backtest.periods_per_year)
        refuse_walk(swept, walk)
    if dry_run:
        text = f"would sweep {spec.n_variants} variants of {spec.name} on {run.title()}"
        return Outcome(text=text, status="dry_run", dataset=run.dataset)
    require_writable(workspace)
    return _sweep(swept, curve=request.curve, walk=walk)


def _walk_config(given: dict[str, Any], periods_per_year: float) -> VariantWalkConfig:
    """Complete the settings of a walk-forward; a part of its split is one of the defaults'."""
    split = given.get("split", {})
    if isinstance(split, dict):
        split = {**VariantWalkConfig().split.content(), **split}
    return build_config(
        VariantWalkConfig,
        {"periods_per_year": periods_per_year, **given, "split": split},
        where=f"settings: {SECTION}",
    )


def repeat_sweep(workspace: Workspace, record: RunRecord) -> Outcome:
    """Repeat a recorded sweep on the newest training run.

    Parameters
    ----------
    workspace : Workspace
        Store and registries.
    record : RunRecord
        Of the sweep.

    Returns
    -------
    Outcome
        As :func:`run_sweep`.
    """
    run = RunRegistry(workspace).newest("train")
    content = dict(record.config)
    spec = SweepSpec.model_validate(content.pop("sweep"))
    walk = content.pop(SECTION, None)
    base = BacktestRunConfig.model_validate(content)
    return _sweep(
        Swept(workspace, stages_of(workspace, run), run, spec, base),
        curve=None,
        walk=None if walk is None else VariantWalkConfig.model_validate(walk),
    )


def put_variant(
    workspace: Workspace, request: SweepRequest, variant: int, overrides: dict[str, Any]
) -> None:
    """Put a variant into the settings of a backtest, which then trades it on its own.

    Parameters
    ----------
    workspace : Workspace
        Specs.
    request : SweepRequest
        Which spec and run.
    variant : int
        Its number.
    overrides : dict
        Nested settings, changed in place: section ``rules``, and the least confidence of the spec
        where nobody gave another.

    Raises
    ------
    ConfigError
        For an unknown variant, or one of averages, which are no book.
    """
    spec = workspace.catalog.load("sweeps", request.name, SweepSpec)
    _check_variant(spec, variant)
    if spec.rule == "averages":
        raise ConfigError(
            "--variant",
            wanted="a sweep of rules of one account",
            got="averages in an account per asset",
            hint="Ask for its curve with --curve.",
        )
    random = spec.draws()[variant]
    rules: dict[str, Any] = {"settings": spec.variants()[variant].content(), "unit": spec.unit}
    if random is not None:
        rules["random"] = random.content()
    overrides["rules"] = rules
    if spec.min_confidence is not None:
        book = section_of(overrides, "backtest")
        overrides["backtest"] = {"min_confidence": spec.min_confidence, **book}


def _training_run(workspace: Workspace, request: SweepRequest) -> RunRecord:
    runs = RunRegistry(workspace)
    if request.run_id:
        return runs.get(request.run_id)
    return runs.newest("train", horizon=request.horizon)


def _base(
    workspace: Workspace, run: RunRecord, spec: SweepSpec, overrides: dict[str, Any]
) -> BacktestRunConfig:
    if overrides.get("rules"):
        raise ConfigError(
            "settings: rules",
            wanted="no rules beside a sweep",
            got=str(overrides["rules"])[:200],
            hint="The grid says the rules; write a spec of your own in specs/sweeps.",
        )
    plain = dict(overrides)
    if spec.min_confidence is not None:
        book = section_of(plain, "backtest")
        plain["backtest"] = {"min_confidence": spec.min_confidence, **book}
    base = resolve_backtest(workspace, run, plain)
    refuse_settings_of_weights(base.backtest)
    if spec.rule == "averages" and base.backtest.trading != TradingRules():
        raise ConfigError(
            "backtest.trading",
            wanted="none beside averages",
            got=base.backtest.trading.content(),
            hint="An account of one unit per asset has no lots and no smallest order.",
        )
    return base


def _check_variant(spec: SweepSpec, variant: int | None) -> None:
    if variant is not None and not 0 <= variant < spec.n_variants:
        raise ConfigError(
            "variant",
            wanted=f"0 to {spec.n_variants - 1}",
            got=variant,
            hint="Use a number of the table.",
        )


def _sweep(swept: Swept, *, curve: int | None, walk: VariantWalkConfig | None) -> Outcome:
    workspace, run = swept.workspace, swept.run
    ledger = track_ledger(workspace, run.track)
    config = {**swept.base.content(), "sweep": swept.spec.content()}
    record = RunRecord(
        run_id="",
        command=SWEEP_COMMAND,
        dataset=run.dataset,
        horizon_sessions=run.horizon_sessions,
        track=run.track,
        first_session=run.first_session,
        last_session=run.last_session,
        artifacts={},
        config=config if walk is None else {**config, SECTION: walk.content()},
        location=run.location,
        parent=run.run_id,
        model_version=run.model_version,
    )
    run_id = new_run_id(workspace.clock, SWEEP_COMMAND, record.config)
    record = record.model_copy(update={"run_id": run_id})
    parts = sweep_parts(swept, record, ledger)
    refs = swept.stages.run(
        "sweep.table",
        lambda: {"sweep": (SWEEP, _bundle(swept, parts))},
        packages=SWEEP.packages,
        config=config,
        inputs=tuple(parts.values()),
    )
    if walk is not None:
        refs |= walk_stage(swept, record, parts, config=walk, ledger=ledger)
    family = strategy_family(record)
    (counted,) = (found for found in ledger.families() if found.family == family)
    record = record.model_copy(update={"artifacts": {**refs, **parts}})
    RunRegistry(workspace).add(record)
    return _reported(swept, record, n_trials=counted.n_trials, curve=curve)


def _bundle(swept: Swept, parts: dict[str, ArtifactRef]) -> Bundle:
    bundles = [swept.workspace.store.read(SWEEP_PART, ref) for ref in parts.values()]
    table = pd.concat([found.tables["variants"] for found in bundles], ignore_index=True)
    near = neighbourhood(swept.spec, table).rename(columns={"verdict": "robustness"})
    settings = swept.spec.settings()
    shown = pd.concat([table, near.drop(columns="value").reset_index(drop=True)], axis=1)
    for name in settings.columns:
        shown[name] = _storable(settings[name])
    has_returns = all(found.documents["facts"]["has_returns"] for found in bundles)
    returns = None
    if has_returns:
        tables = [found.tables["returns"].set_index("session") for found in bundles]
        returns = pd.concat(tables, axis=1).to_numpy(dtype=np.float64)
    facts = _facts(swept, shown, returns)
    facts["notes"]["returns"] = bundles[0].documents["facts"]["note"]
    return Bundle({"variants": shown}, {"spec": swept.spec.content(), "facts": facts})


def _storable(values: pd.Series) -> pd.Series:
    """Numbers as they are, everything else as text: a table has one type per column."""
    is_number = pd.api.types.is_numeric_dtype(values)
    return values if is_number else values.map(str)


def _facts(swept: Swept, table: pd.DataFrame, returns: np.ndarray | None) -> dict[str, Any]:
    """The best variant, and what is left of it among all."""
    metric = swept.spec.robustness.metric
    is_traded = table["n_trades"].to_numpy() > 0 if returns is None else varies(returns)
    # What never traded lost nothing, and is not the best for it.
    value = np.where(is_traded, table[metric].to_numpy(dtype=np.float64), np.nan)
    best = int(np.nanargmax(value)) if np.isfinite(value).any() else None
    notes: dict[str, str] = {}
    facts: dict[str, Any] = {
        "n_variants": len(table),
        "n_without_trades": int((table["n_trades"] == 0).sum()),
        "metric": metric,
        "best": best,
        "best_value": None if best is None else finite_or_none(float(value[best])),
        "median_value": finite_or_none(float(np.nanmedian(value))) if best is not None else None,
        "robustness": None if best is None else str(table["robustness"].iloc[best]),
        "dsr": None,
        "pbo": None,
        "notes": notes,
    }
    if best is None or returns is None or len(returns) < MIN_SESSIONS:
        reason = "no variant traded" if best is None else "variants have no common book"
        if returns is not None and best is not None:
            reason = f"{len(returns)} sessions, fewer than {MIN_SESSIONS}"
        return {**facts, "notes": {"dsr": reason, "pbo": reason}}
    live = returns[:, is_traded]
    ratios = live.mean(axis=0) / live.std(axis=0, ddof=1)
    variance = trial_variance(ratios) if live.shape[1] > 1 else None
    deflated = deflated_metric(returns[:, best], n_trials=len(table), sharpe_variance=variance)
    if deflated is not None and deflated.value is not None:
        facts["dsr"] = 1.0 - float(deflated.value)
        notes["dsr"] = f"{len(table)} variants, {live.shape[1]} of them traded"
    facts["pbo"], notes["pbo"] = overfitting(live, n_strategies=len(table))
    return facts


def _reported(swept: Swept, record: RunRecord, *, n_trials: int, curve: int | None) -> Outcome:
    workspace, spec = swept.workspace, swept.spec
    bundle = workspace.store.read(SWEEP, record.artifacts["sweep"])
    table, facts = bundle.tables["variants"], bundle.documents["facts"]
    paths = {"table": workspace.settings.results_root / f"sweep_{spec.name}.csv"}
    write_atomic(paths["table"], table.to_csv(index=False).encode("utf-8"))
    if curve is not None:
        paths["curve"] = _write_curve(swept, curve)
    has_trades = bool((table["n_trades"] > 0).any())
    lines = [swept.run.title()]
    if has_trades:
        lines += _told(swept, table, facts)
    else:
        lines.append(f"NO TRADES: {_why_none(swept)}")
    walked = walk_figures(swept, record.artifacts)
    lines += walk_lines(walked)
    paths |= write_walk(swept, record.artifacts)
    lines.append(f"{n_trials} trials of {strategy_family(record)} counted so far")
    lines += [f"{name}: {path}" for name, path in paths.items()]
    kept = ("n_variants", "n_without_trades", "best", "dsr", "pbo")
    return Outcome(
        text="\n".join(lines),
        status="completed" if has_trades else "no_trades",
        run_id=record.run_id,
        track=record.track,
        dataset=record.dataset,
        artifacts=listed(workspace.store, swept.stages.written),
        metrics={
            **{name: facts[name] for name in kept},
            "n_trials": n_trials,
            f"best_{facts['metric']}": facts["best_value"],
            f"median_{facts['metric']}": facts["median_value"],
            **walked,
        },
        warnings=[] if has_trades else ["no variant traded"],
    )


def _told(swept: Swept, table: pd.DataFrame, facts: dict[str, Any]) -> list[str]:
    spec, metric = swept.spec, facts["metric"]
    best = table.iloc[facts["best"]]
    settings = ", ".join(f"{name} {best[name]}" for name in spec.settings().columns)
    figures = ", ".join(f"{name} {best[name]:.4g}" for name in spec.metrics)
    return [
        f"{facts['n_variants']} variants of {spec.name}, {facts['n_without_trades']} without a "
        f"trade; {metric}: best {facts['best_value']:.2f}, median {facts['median_value']:.2f}",
        f"best variant {facts['best']} ({settings}): {figures}",
        f"  {best['robustness']:<12} neighbours keep {_share(best['kept_frac'])} of its {metric} "
        f"({best['n_neighbours']} neighbours)",
        *_selection_lines(swept, facts),
    ]


def _selection_lines(swept: Swept, facts: dict[str, Any]) -> list[str]:
    """What is left of the best variant, by the limits of the validation suite."""
    gate = validation_profile(swept.workspace.catalog, SUITE_PROFILE).gate(GATE)
    limits = {rule.metric: rule.threshold for rule in gate.rules}
    highest_p, most = limits["dsr_p_value"], limits["pbo"]
    assert isinstance(highest_p, float)
    assert isinstance(most, float)
    rows = (
        ("dsr", "deflated Sharpe ratio of the best", 1.0 - highest_p, 1.0),
        ("pbo", "probability of overfitting", 0.0, most),
    )
    lines = []
    for name, words, least, largest in rows:
        value, note = facts[name], facts["notes"].get(name, "")
        if value is None:
            lines.append(f"  {'insufficient':<12} {words}: {note}")
            continue
        verdict = "pass" if least <= value <= largest else "fail"
        wanted = f"at least {least:g}" if largest == 1.0 else f"at most {largest:g}"
        lines.append(f"  {verdict:<12} {words} {value:.3f}, wanted {wanted} ({note})")
    return lines


def _share(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.0%}"


def _why_none(swept: Swept) -> str:
    if swept.spec.rule == "averages":
        return "no average crossed"
    return why_nothing_traded(entry_funnel(sweep_simulation(swept)), {})


def _write_curve(swept: Swept, variant: int) -> Path:
    """Compute the equity of one variant again and write it."""
    root = swept.workspace.settings.results_root
    path = root / f"sweep_{swept.spec.name}_v{variant}.csv"
    if swept.spec.rule == "averages":
        made = average_sweep(swept, range(variant, variant + 1))
        curves = [made.curve(0, asset) for asset in made.panel.asset_ids]
        equity = pd.concat(curves, axis=1).mean(axis=1).rename("equity")
    else:
        equity = sweep_simulation(swept, variant).run().daily["equity"]
    text = equity.to_frame().to_csv(date_format="%Y-%m-%d")
    write_atomic(path, text.encode("utf-8"))
    return path

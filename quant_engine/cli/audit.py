"""``qe audit``: change the future, and see whether anything of the past moves."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from quant_engine.cli.flags import add_data_flags, make_parser, positive
from quant_engine.cli.run import execute
from quant_engine.cli.setup import open_workspace, put_data_flags

if TYPE_CHECKING:
    from quant_engine.core.panel import Panel
    from quant_engine.testing.audit import Subject
    from quant_engine.testing.results import Audit
    from quant_engine.workflows.audit import AuditRecords, PanelPart
    from quant_engine.workflows.context import Workspace
    from quant_engine.workflows.outcome import Outcome

WHAT = ("features", "factors", "labels", "regimes", "pipeline", "leaks")
REPORT = "audit_report"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command."""
    result = make_parser(
        "qe audit",
        "Poison, cut off, redraw and rescale the future of the data, and name every value of the "
        "past that moves. Exit code 4 when something that decisions may use depends on the future.",
    )
    result.add_argument("what", choices=WHAT, help="what is audited; leaks grades the audit itself")
    own = result.add_argument_group("features")
    own.add_argument(
        "--set",
        action="append",
        default=[],
        dest="sets",
        metavar="NAME",
        help="only this set from specs/features; repeatable (default: all)",
    )
    own.add_argument(
        "--plugin", metavar="MODULE:NAME", help="an own function of a panel, or a class of one"
    )
    own.add_argument(
        "--expr", metavar="TEXT", help="an own formula, such as '$close/Ref($close, 5)'"
    )
    run = result.add_argument_group("run")
    run.add_argument(
        "--seeds", type=positive, default=1, metavar="N", help="cuts, each on its own market (1)"
    )
    run.add_argument(
        "--assets", type=positive, default=60, metavar="N", help="assets of the simulated market"
    )
    run.add_argument("--resume", action="store_true", help="go on after the seeds that are done")
    add_data_flags(result)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, audit, print; return the exit code."""
    return execute("qe audit", parser().parse_args(argv), _work)


def _work(args: argparse.Namespace) -> Outcome:
    from quant_engine.core.errors import ConfigError

    chosen = [flag for flag in ("sets", "plugin", "expr") if getattr(args, flag)]
    if len(chosen) > 1 or (chosen and args.what != "features"):
        raise ConfigError(
            "qe audit",
            wanted="one of --set, --plugin and --expr, with features",
            got=f"{args.what} with " + ", ".join(f"--{flag.removesuffix('s')}" for flag in chosen),
            hint="Audit them one after the other.",
        )
    if args.what == "leaks":
        return _grade()
    workspace = open_workspace(args)
    started = time.monotonic()
    audits, notes = _audits(workspace, args)
    return _outcome(workspace, audits, notes, seconds=time.monotonic() - started)


def _grade() -> Outcome:
    from quant_engine.core.errors import GateNotPassedError
    from quant_engine.testing.leaks import grade, grade_table
    from quant_engine.workflows.outcome import Outcome

    grades = grade()
    passed = all(item.passed for item in grades)
    return Outcome(
        text=grade_table(grades),
        exit_code=0 if passed else GateNotPassedError.exit_code,
        metrics={
            "leaks": len(grades),
            "alive": sum(item.alive for item in grades),
            "caught": sum(bool(item.detectors) for item in grades),
            "false_alarms": sum(bool(item.false_alarms) for item in grades),
        },
    )


def _audits(workspace: Workspace, args: argparse.Namespace) -> tuple[list[Audit], list[str]]:
    from quant_engine.testing.results import merged
    from quant_engine.workflows.audit import AuditRecords

    records = AuditRecords(workspace)
    found: dict[str, list[Audit]] = {}
    with workspace.progress.stage(f"audit {args.what}", args.seeds) as stage:
        for seed in range(args.seeds):
            for audit in _one_seed(workspace, args, records, seed):
                found.setdefault(audit.subject, []).append(audit)
            stage.advance()
    return [merged(audits) for audits in found.values()], records.notes


def _one_seed(
    workspace: Workspace, args: argparse.Namespace, records: AuditRecords, seed: int
) -> list[Audit]:
    from quant_engine.workflows.audit import audit_world, feature_parts, longest_lookback
    from quant_engine.workflows.audit_factors import factor_part
    from quant_engine.workflows.audit_pipeline import (
        PIPELINE_SET,
        fill_parts,
        join_part,
        label_parts,
        model_parts,
        regime_part,
        split_parts,
    )

    if args.what == "features":
        parts = _feature_parts(workspace, args, seed)
        return [_panel_audit(part, records, seed) for part in parts]
    lookback = longest_lookback(workspace, [PIPELINE_SET])
    world = audit_world(lookback, seed=seed, n_assets=args.assets)
    if args.what == "factors":
        return [_panel_audit(factor_part(world), records, seed)]
    if args.what == "labels":
        audits = [_panel_audit(part, records, seed) for part in label_parts(workspace, world)]
        return audits + [_split_audit(part, seed) for part in split_parts(world)]
    if args.what == "regimes":
        return [_panel_audit(regime_part(world), records, seed)]
    book, times, prices = fill_parts(workspace, world)
    parts = (
        *feature_parts(workspace, world.panel, names=[PIPELINE_SET]),
        *label_parts(workspace, world),
        regime_part(world),
        *model_parts(workspace, world),
        book,
    )
    audits = [_panel_audit(part, records, seed) for part in parts]
    audits += [_split_audit(part, seed) for part in split_parts(world)]
    return [*audits, *_fill_audits(times, prices, seed), _join_audit(join_part(world), seed)]


def _feature_parts(
    workspace: Workspace, args: argparse.Namespace, seed: int
) -> tuple[PanelPart, ...]:
    from quant_engine.features.expressions.program import compile_expressions
    from quant_engine.workflows.audit import (
        EXPRESSION,
        audit_world,
        callable_part,
        expression_part,
        feature_parts,
        longest_lookback,
    )

    given = args.path is not None or args.source not in (None, "simulated")
    panel = _given_panel(workspace, args) if given else None
    plugin = load_plugin(args.plugin) if args.plugin else None
    if panel is None:
        if plugin is not None:
            lookback = 0
        elif args.expr:
            lookback = compile_expressions({EXPRESSION: args.expr}).lookback_sessions
        else:
            lookback = longest_lookback(workspace, args.sets)
        panel = audit_world(lookback, seed=seed, n_assets=args.assets).panel
    if plugin is not None:
        return (callable_part(args.plugin, plugin, panel),)
    if args.expr:
        return (expression_part(args.expr, panel),)
    return feature_parts(workspace, panel, names=args.sets)


def _given_panel(workspace: Workspace, args: argparse.Namespace) -> Panel:
    from quant_engine.workflows.config import resolve_train_config
    from quant_engine.workflows.data import load_data

    overrides: dict[str, Any] = {}
    location = put_data_flags(overrides, args)
    config = resolve_train_config(
        overrides, workspace.catalog, world=args.world, quality=args.quality
    )
    return load_data(workspace, config.data, location).panel


def load_plugin(name: str) -> Callable[[Panel], Any]:
    """Import ``MODULE:NAME`` and return a function of a panel.

    Parameters
    ----------
    name : str
        A function; a factor class; another class whose objects, made without arguments, are called
        or have a method ``compute``; or such an object.

    Returns
    -------
    callable
        Panel to whatever an audit compares.

    Raises
    ------
    ConfigError
        When there is no such thing.
    """
    import importlib
    import sys

    from quant_engine.core.errors import ConfigError
    from quant_engine.features.factors import FactorBase
    from quant_engine.workflows.audit_factors import price_factor

    module, _, attribute = name.partition(":")
    hint = "Write --plugin my_package.my_module:MyFactor; the working folder is searched too."
    if not module or not attribute:
        raise ConfigError("--plugin", wanted="MODULE:NAME", got=repr(name), hint=hint)
    sys.path.insert(0, "")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError("--plugin", wanted="MODULE:NAME", got=str(error), hint=hint) from error
    finally:
        sys.path.remove("")
    if isinstance(found, type) and issubclass(found, FactorBase):
        return price_factor(found(found.metadata.params()))
    made = found() if isinstance(found, type) else found
    compute: Callable[[Panel], Any] = getattr(made, "compute", made)
    if not callable(compute):
        raise ConfigError(
            "--plugin",
            wanted="a function of a panel, or an object with a method compute",
            got=type(made).__name__,
            hint=hint,
        )
    return compute


def _panel_audit(part: PanelPart, records: AuditRecords, seed: int) -> Audit:
    from quant_engine.testing.audit import audit
    from quant_engine.testing.results import Audit

    records.note(part)
    kept = records.load(part, seed)
    if kept is not None:
        return Audit.of_content(kept)
    result = audit(subject_of(part), seed=seed)
    records.save(part, seed, result.content())
    return result


def subject_of(part: PanelPart) -> Subject:
    """Turn a part of the shipped code into what the audit takes.

    Parameters
    ----------
    part : PanelPart
        Function, data and promises.

    Returns
    -------
    Subject
        With every detector that fits it.
    """
    from quant_engine.testing.audit import PANEL_DETECTORS, Subject
    from quant_engine.testing.findings import Detector
    from quant_engine.testing.redraws import Facts

    return Subject(
        name=part.name,
        compute=part.compute,
        panel=part.panel,
        warmup=part.warmup,
        causality=part.causality,
        scale_free=part.scale_free,
        known=part.known,
        tables={name: Facts(frame, known) for name, (frame, known) in part.tables.items()},
        detectors=tuple(
            detector
            for detector in PANEL_DETECTORS
            if not (part.fixed_axis and detector is Detector.PREFIX)
        ),
    )


def _split_audit(part: Any, seed: int) -> Audit:
    from quant_engine.testing.purge import audit_splits
    from quant_engine.testing.results import Audit

    rows = audit_splits(part.start, part.end, part.splits)
    return Audit(part.name, (seed,), (), (len(part.start), 1), rows)


def _fill_audits(times: Any, prices: Any, seed: int) -> list[Audit]:
    from quant_engine.testing.fills import audit_fill_prices, audit_fill_times
    from quant_engine.testing.results import Audit

    timed = audit_fill_times(times.decided, times.filled, name=times.name)
    priced = audit_fill_prices(prices.prices, prices.panel, seed=seed, name=prices.name)
    return [Audit(row.field, (seed,), (), prices.panel.shape, (row,)) for row in (timed, priced)]


def _join_audit(part: Any, seed: int) -> Audit:
    from quant_engine.testing.joins import Join, audit_join
    from quant_engine.testing.redraws import Facts
    from quant_engine.testing.results import Audit

    join = Join(part.attach, part.decisions, Facts(part.facts))
    rows = audit_join(join, seed=seed, name=part.name)
    return Audit(part.name, (seed,), (), (len(part.decisions), 1), rows)


def _outcome(
    workspace: Workspace, audits: list[Audit], notes: list[str], *, seconds: float
) -> Outcome:
    from quant_engine.core.hashing import sha256_json
    from quant_engine.testing.results import Verdict, audit_table, exit_code_of
    from quant_engine.workflows.audit import save_report
    from quant_engine.workflows.outcome import Outcome

    counts = {
        verdict.name.lower(): sum(len(audit.of(verdict)) for audit in audits) for verdict in Verdict
    }
    content = [audit.content() for audit in audits]
    path = save_report(workspace, {"audits": content, "counts": counts})
    n_fields = sum(len(audit.rows) for audit in audits)
    n_seeds = max((len(audit.seeds) for audit in audits), default=0)
    digest = sha256_json(content)
    text = [
        audit_table(audits),
        f"{n_fields} fields, {n_seeds} seeds, {seconds:.1f} s; {counts['leaks']} leak",
        f"report: {path}",
    ]
    return Outcome(
        text="\n".join(text),
        exit_code=exit_code_of(audits),
        artifacts=[{"kind": REPORT, "id": digest[:16], "path": str(path), "sha256": digest}],
        metrics={"fields": n_fields, "seeds": n_seeds, **counts},
        warnings=notes,
        timings={"audit_s": round(seconds, 3)},
    )

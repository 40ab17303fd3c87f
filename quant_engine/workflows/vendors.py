"""Several vendors of the same bars: clean each, compare them, and merge them by rank."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from quant_engine.artifacts.files import write_atomic
from quant_engine.core.panel import PriceBasis
from quant_engine.data.bars import LoadedBars
from quant_engine.data.cache import BarCache
from quant_engine.data.canonical import write_canonical
from quant_engine.data.identity import IdentityConfig, check_identity
from quant_engine.data.providers.local import LocalConfig, load_folder
from quant_engine.data.quality import QualityProfile, check_quality
from quant_engine.data.reconcile import Canonical, ReconcileProfile, VendorComparison, reconcile
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.outcome import Outcome

LARGE_FRAC = 0.01
SHOWN = 12


def reconcile_vendors(
    workspace: Workspace,
    vendors: Sequence[tuple[str, Path]],
    *,
    renames: dict[str, str],
    profile: str = "default",
    quality: str = "default",
    output: Path | None = None,
) -> Outcome:
    """Compare and merge folders of price files, one per vendor, in order of trust.

    Parameters
    ----------
    workspace : Workspace
        Specs, clock, progress.
    vendors : sequence of (str, Path)
        Name and folder; the first is trusted most.
    renames : dict of str to str
        A vendor's ticker to the canonical one.
    profile : str
        Tolerances in ``specs/reconciliation``.
    quality : str
        Rules in ``specs/quality`` that clean each vendor first.
    output : Path, optional
        Folder for the merged bars, the vendor of every row, and ``disagreements.csv``.

    Returns
    -------
    Outcome
        Common symbol-days, disagreements by field, disputed symbols, rows by vendor.
    """
    rules = workspace.catalog.load("quality", quality, QualityProfile)
    tolerances = workspace.catalog.load("reconciliation", profile, ReconcileProfile)
    loaded = []
    with workspace.progress.stage("load vendors", len(vendors)) as stage:
        for name, folder in vendors:
            loaded.append(_clean(workspace, name, folder, rules))
            stage.advance()
    with workspace.progress.stage("reconcile", 1):
        merged = reconcile(
            loaded, [name for name, _ in vendors], profile=tolerances, renames=renames
        )
    lines = [line for pair in merged.comparisons for line in _pair_lines(pair)]
    lines += _merged_lines(merged)
    if output is not None:
        lines.append(_write(merged, tolerances, output))
    first = merged.comparisons[0]
    metrics = {
        "n_common": first.n_common,
        "n_differing_1pct": first.n_differing(LARGE_FRAC),
        "n_disputed": len(merged.disputed),
        "n_rows": merged.bars.n_rows,
    }
    return Outcome(text="\n".join(lines), metrics=metrics)


def rebuild_sidecars(workspace: Workspace, *, source: str) -> Outcome:
    """Write lost or damaged sidecars of the bar cache again.

    Parameters
    ----------
    workspace : Workspace
        Data folder.
    source : str
        Source to record; ``unknown`` is trusted by nobody.

    Returns
    -------
    Outcome
        One line per sidecar written.
    """
    written = BarCache(workspace.settings.data_root / "cache").rebuild_sidecars(source=source)
    lines = [f"{meta.ticker}: {meta.rows} rows, {meta.first} to {meta.last}" for meta in written]
    return Outcome(
        text="\n".join(lines) or "every cached file has its sidecar",
        metrics={"sidecars_written": len(written)},
    )


def _clean(workspace: Workspace, name: str, folder: Path, rules: QualityProfile) -> LoadedBars:
    raw = load_folder(folder, LocalConfig(vendor=name, price_basis=PriceBasis.SPLIT_ADJ))
    check_identity(raw, IdentityConfig())
    bars, _ = check_quality(raw, rules, calendar="XNYS", as_of=workspace.clock.now().date())
    return bars


def _pair_lines(pair: VendorComparison) -> list[str]:
    table = pair.fields.to_string(float_format=lambda value: f"{value:.6g}")
    return [
        f"{pair.reference} against {pair.other}: {pair.n_common:,} common symbol-days, "
        f"{pair.n_only_reference:,} only in the first, {pair.n_only_other:,} only in the second",
        f"closes that differ by more than 1 %: {pair.n_differing(LARGE_FRAC):,}",
        table,
    ]


def _merged_lines(merged: Canonical) -> list[str]:
    rows = ", ".join(f"{name} {count:,}" for name, count in merged.rows_by_vendor().items())
    lines = [f"merged: {merged.bars.n_rows:,} rows ({rows})"]
    if not merged.disputed.empty:
        shown = merged.disputed.head(SHOWN).to_string(index=False)
        lines.append(f"disputed symbols, never mixed: {len(merged.disputed)}\n{shown}")
    return lines


def _write(merged: Canonical, profile: ReconcileProfile, output: Path) -> str:
    files = write_canonical(merged, output)
    parts = [
        pair.outside(profile.tolerances).assign(reference=pair.reference, other=pair.other)
        for pair in merged.comparisons
    ]
    report = pd.concat(parts, ignore_index=True)
    text = report.to_csv(index=False, date_format="%Y-%m-%d", float_format="%.6g")
    write_atomic(output / "disagreements.csv", text.encode("utf-8"))
    return f"written: {len(files)} files in {output}, and disagreements.csv ({len(report):,} rows)"

"""Audit: change the future of everything a function reads, and name every field that moved.

One audit of a whole set runs the set once per change, never once per feature:

1. the true run;
2. D1: the run on the data up to one random, late cut;
3. D2: the run on data whose future is poisoned, tables of later facts redrawn;
4. D5: the run on data whose later universe is redrawn;
5. D8: the run on data in which one asset has the price level of a later split; only fields that
   promise to have no scale are compared, up to rounding.

All rows up to the cut are compared, bit for bit, so that a reach of any length is seen. A function
that moves is run once more on the true data: if it does not repeat itself, nothing can be said.
More cuts come from more seeds.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import TimeVector
from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import Panel
from quant_engine.core.progress import SILENT, Progress
from quant_engine.testing.causes import likely_cause
from quant_engine.testing.errors import ConformanceError
from quant_engine.testing.findings import Detector, Finding, iso
from quant_engine.testing.lookahead import MIN_ROWS
from quant_engine.testing.outputs import FieldDifference, Labelled, Output, differences, labelled
from quant_engine.testing.poison import poison_future
from quant_engine.testing.redraws import Facts, redraw_facts, redraw_universe, rescale_split
from quant_engine.testing.results import Audit, AuditRow

__all__ = ["PANEL_DETECTORS", "Subject", "audit", "late_cut"]

PANEL_DETECTORS = (Detector.PREFIX, Detector.POISON, Detector.UNIVERSE, Detector.SPLIT)

_EARLIEST_SHARE, _LATEST_SHARE = 0.7, 0.95
_SCALE_TOLERANCE = 1e-4
_World: TypeAlias = tuple[Panel, Mapping[str, object]]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is audited: a function, the data it runs on, and what its fields promise.

    Parameters
    ----------
    name : str
        For reports.
    compute : callable
        ``compute(panel)``, or ``compute(panel, **tables)`` where there are tables of facts; returns
        a panel, a frame, a series, an array or a mapping of names to arrays, as
        :func:`~quant_engine.testing.assert_prefix_invariant` takes them.
    panel : Panel
        Example data, shape (T, N).
    warmup : int
        Rows that the longest field needs before its first value.
    causality : mapping of str to Causality
        What each field declares; CAUSAL where nothing stands.
    scale_free : frozenset of str
        Fields that promise not to depend on the level of prices and volumes.
    known : callable, optional
        Panel to ndarray of datetime64, shape (T,): the last time that each row may depend on, NaT
        where it is unknown. Without it a row depends on itself and the rows before it.
    tables : mapping of str to Facts
        Dated facts that the function reads beside the panel.
    detectors : tuple of Detector
        Changes to make, of D1, D2, D5 and D8.
    """

    name: str
    compute: Callable[..., Output]
    panel: Panel
    warmup: int = 1
    causality: Mapping[str, Causality] = field(default_factory=dict)
    scale_free: frozenset[str] = frozenset()
    known: Callable[[Panel], TimeVector] | None = None
    tables: Mapping[str, Facts] = field(default_factory=dict)
    detectors: tuple[Detector, ...] = PANEL_DETECTORS


def audit(subject: Subject, *, seed: int, progress: Progress = SILENT) -> Audit:
    """Audit all fields of a function at one random late cut.

    Parameters
    ----------
    subject : Subject
        What is audited.
    seed : int
        Seed of the cut and of every change.
    progress : Progress
        Listener; one step per run of the function.

    Returns
    -------
    Audit
        One row per field.

    Raises
    ------
    ConformanceError
        When the function does not repeat itself.
    ConfigError
        When the data is too short for a cut after the warm-up.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = np.datetime64("2020-01-01") + np.arange(60)
    >>> close = np.exp(np.random.default_rng(0).normal(0, 0.1, (60, 3)).cumsum(axis=0))
    >>> panel = Panel(TimeAxis.sessions(days), ("A@US#1", "B@US#1", "C@US#1"), {"close": close})
    >>> def compute(panel):
    ...     close = panel.field("close")
    ...     ahead = np.full(close.shape, np.nan)
    ...     ahead[:-1] = close[1:]
    ...     return {"level": close, "ahead": ahead}
    >>> result = audit(Subject("two", compute, panel), seed=1)
    >>> [(row.field, str(row.verdict)) for row in result.rows]
    [('level', 'clean'), ('ahead', 'leaks')]
    >>> result.rows[1].findings[0].cause
    'negative shift by 1 row'
    """
    panel = subject.panel
    cut = late_cut(panel, warmup=subject.warmup, seed=seed)
    truth: _World = (panel, {name: facts.frame for name, facts in subject.tables.items()})
    detectors = [d for d in subject.detectors if d is not Detector.SPLIT or subject.scale_free]
    with progress.stage(f"audit {subject.name}", 1 + len(detectors)) as stage:
        before = _run(subject, truth, "the true data")
        stage.advance()
        rows_ok = _comparable(subject, cut)
        found: dict[str, list[Finding]] = {name: [] for name in before.fields}
        for detector in detectors:
            after = _run(subject, _changed(subject, detector, cut, seed), f"{detector} at {cut}")
            for item in _differing(before, after, subject, detector, cut):
                cells = item.cells & rows_ok(item.times)[:, None]
                if cells.any():
                    kept = dataclasses.replace(item, cells=cells)
                    finding = _finding(kept, panel, detector, cut)
                    found.setdefault(item.field, []).append(finding)
            stage.advance()
    if any(found.values()):
        _require_repeatable(subject, before, truth)
    counts = _counts(before, rows_ok)
    rows = tuple(
        AuditRow(
            field=name,
            causality=subject.causality.get(name, Causality.CAUSAL),
            n_values=counts.get(name, 0),
            findings=tuple(findings),
        )
        for name, findings in found.items()
    )
    return Audit(
        subject=subject.name,
        seeds=(seed,),
        cuts=(iso(panel.time.values[cut]),),
        shape=panel.shape,
        rows=rows,
    )


def late_cut(panel: Panel, *, warmup: int, seed: int) -> int:
    """Draw one common cut row late in a panel.

    Parameters
    ----------
    panel : Panel
        Data, shape (T, N).
    warmup : int
        Rows before the first value.
    seed : int
        Seed of the draw.

    Returns
    -------
    int
        Row position in the last third, with at least ten rows with values up to it and one after
        it.

    Raises
    ------
    ConfigError
        When there is no room.
    """
    n_rows = len(panel.time)
    first = max(warmup + MIN_ROWS - 1, int(_EARLIEST_SHARE * n_rows))
    stop = max(first + 1, int(_LATEST_SHARE * n_rows))
    if stop > n_rows - 1:
        raise ConfigError(
            "panel",
            wanted=f"more than {warmup + MIN_ROWS} rows for a warm-up of {warmup}",
            got=n_rows,
            hint="Use a longer panel.",
        )
    return int(np.random.default_rng(seed).integers(first, stop))


def _changed(subject: Subject, detector: Detector, cut: int, seed: int) -> _World:
    panel, when = subject.panel, subject.panel.time.values[cut]
    tables: dict[str, object] = {name: facts.frame for name, facts in subject.tables.items()}
    if detector is Detector.PREFIX:
        tables = {name: facts.until(when) for name, facts in subject.tables.items()}
        return panel.rows(0, cut + 1), tables
    if detector is Detector.SPLIT:
        return rescale_split(panel, seed=seed), tables
    if detector in (Detector.POISON, Detector.UNIVERSE):
        redraw = poison_future if detector is Detector.POISON else redraw_universe
        tables = {
            name: redraw_facts(facts, after=when, seed=seed + number)
            for number, (name, facts) in enumerate(subject.tables.items())
        }
        return redraw(panel, cut=cut, seed=seed), tables
    raise ConfigError(
        "detectors",
        wanted=", ".join(PANEL_DETECTORS),
        got=str(detector),
        hint="The other detectors have functions of their own.",
    )


def _run(subject: Subject, world: _World, what: str) -> Labelled:
    panel, tables = world
    try:
        return labelled(subject.compute(panel, **tables), panel)
    except Exception as error:
        error.add_note(f"while {subject.name} ran on {what}")
        raise


def _differing(
    before: Labelled, after: Labelled, subject: Subject, detector: Detector, cut: int
) -> Iterator[FieldDifference]:
    times = subject.panel.time.values
    if detector is not Detector.SPLIT:
        yield from differences(before, after, first=times[0], last=times[cut])
        return
    kept = {name: values for name, values in before.fields.items() if name in subject.scale_free}
    promised = dataclasses.replace(before, fields=kept)
    moved = {name: values for name, values in after.fields.items() if name in subject.scale_free}
    rescaled = dataclasses.replace(after, fields=moved)
    for item in differences(promised, rescaled, first=times[0], last=times[-1]):
        cells = item.cells & ~_rounding(item)
        if cells.any():
            yield dataclasses.replace(item, cells=cells)


def _rounding(item: FieldDifference) -> npt.NDArray[np.bool_]:
    """Tell where two numbers differ by no more than rounding."""
    before, after = item.before[0].astype(np.float64), item.after[0].astype(np.float64)
    finite = np.isfinite(before)
    spread = float(before[finite].std()) if finite.any() else 0.0
    with np.errstate(invalid="ignore"):
        near = np.abs(after - before) <= _SCALE_TOLERANCE * (np.abs(before) + spread)
    return np.asarray(near)


def _comparable(subject: Subject, cut: int) -> Callable[[TimeVector], npt.NDArray[np.bool_]]:
    """Return which of given times hold values that were final at the cut."""
    times = subject.panel.time.values.astype("datetime64[us]")
    last = times[cut]
    known = times if subject.known is None else subject.known(subject.panel)
    final = known.astype("datetime64[us]") <= last

    def rows_ok(wanted: TimeVector) -> npt.NDArray[np.bool_]:
        position = np.minimum(np.searchsorted(times, wanted), len(times) - 1)
        return np.asarray((times[position] == wanted) & final[position])

    return rows_ok


def _finding(item: FieldDifference, panel: Panel, detector: Detector, cut: int) -> Finding:
    row, column = (int(place) for place in np.argwhere(item.cells)[0])
    before, after = item.values(row, column)
    return Finding(
        detector=detector,
        field=item.field,
        row=iso(item.times[row]),
        asset=item.assets[column],
        cut=iso(panel.time.values[cut]),
        before=before,
        after=after,
        n_cells=int(item.cells.sum()),
        cause=likely_cause(item, panel, detector),
    )


def _counts(
    before: Labelled, rows_ok: Callable[[TimeVector], npt.NDArray[np.bool_]]
) -> dict[str, int]:
    final = rows_ok(before.times)
    kept = dataclasses.replace(
        before,
        times=before.times[final],
        fields={name: values[final] for name, values in before.fields.items()},
        present=before.present[final],
    )
    if not final.any():
        return dict.fromkeys(before.fields, 0)
    return kept.counts(kept.times[0], kept.times[-1])


def _require_repeatable(subject: Subject, before: Labelled, truth: _World) -> None:
    times = subject.panel.time.values
    again = _run(subject, truth, "the same data again")
    item = next(differences(before, again, first=times[0], last=times[-1]), None)
    if item is not None:
        finding = _finding(item, subject.panel, Detector.PREFIX, len(times) - 1)
        raise ConformanceError.broken(
            subject.name,
            "repeatable",
            wanted="equal bits from two runs on equal data",
            got=f"{finding.field} at {finding.row}: {finding.before} became {finding.after}",
            hint="Seed every random number and keep no state between calls.",
        )

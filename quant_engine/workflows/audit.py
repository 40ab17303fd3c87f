"""What the look-ahead audit is let loose on: shipped feature sets, formulas and callables.

This module composes subjects out of the shipped code; the detectors stand in
``quant_engine.testing``, which knows nothing of it. Both meet in the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.artifacts.code import code_digest
from quant_engine.artifacts.files import read_json, write_json
from quant_engine.core.arrays import FloatMatrix, TimeVector
from quant_engine.core.causality import Causality
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import GroupTable, Panel
from quant_engine.data.simulated.config import EquityWorldConfig
from quant_engine.data.simulated.simulate import simulate_equity_world
from quant_engine.data.simulated.world import EquityWorld
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.pipeline import (
    check_feature_set,
    compute_features,
    required_fields,
)
from quant_engine.features.sets import FeatureSet
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.inputs import read_feature_set

__all__ = [
    "EXPRESSION",
    "AuditRecords",
    "PanelPart",
    "audit_world",
    "callable_part",
    "expression_part",
    "feature_parts",
    "is_scale_free",
    "longest_lookback",
    "save_report",
    "with_stand_ins",
]

FOLDER = "audits"
EXPRESSION = "expression"
"""Name of the one field of a formula that is audited on its own."""

N_ASSETS = 60
N_LATER_ROWS = 360
"""Rows beyond the longest look-back: room for late cuts, and a future to change."""

_SCALED = {"score", "published", "price", "prices", "currency", "shares", "volume", "level", "usd"}
"""Words of units that admit a scale: a split may move such values."""

_OPTIONAL_FIELDS = ("dividend",)
_PACKAGES = ("core", "data", "execution", "features", "models", "regime", "backtest", "stats")


@dataclass(frozen=True, eq=False)
class PanelPart:
    """A function of a market panel that is audited, with what its fields promise.

    Parameters
    ----------
    name : str
        For reports.
    compute : callable
        ``compute(panel)``, or ``compute(panel, **tables)``.
    panel : Panel
        Data it runs on, shape (T, N).
    warmup : int
        Rows that the longest field needs.
    causality : mapping of str to Causality
        Declared classes; CAUSAL where nothing stands.
    scale_free : frozenset of str
        Fields that promise not to depend on the level of prices and volumes.
    known : callable, optional
        Panel to the last time each row may depend on, shape (T,), NaT = unknown.
    tables : mapping of str to (DataFrame, str)
        Dated facts, and the column that says when each is known.
    fixed_axis : bool
        True where a shorter history means another plan, such as other folds; then the data is
        changed and never cut off.
    identity : str
        What determines the part beside the code, for kept results; empty = results are not kept.
    notes : tuple of str
        What the reader of a report has to know.
    """

    name: str
    compute: Callable[..., Any]
    panel: Panel
    warmup: int = 1
    causality: Mapping[str, Causality] = field(default_factory=dict)
    scale_free: frozenset[str] = frozenset()
    known: Callable[[Panel], TimeVector] | None = None
    tables: Mapping[str, tuple[pd.DataFrame, str]] = field(default_factory=dict)
    fixed_axis: bool = False
    identity: str = ""
    notes: tuple[str, ...] = ()


class AuditRecords:
    """Finished audits in the results folder, so that a battery goes on where it stopped.

    Parameters
    ----------
    workspace : Workspace
        Its results folder gets a folder ``audits``; its resume switch decides whether finished
        audits are read.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._folder = workspace.settings.results_root / FOLDER
        self._resume = workspace.resume
        self._code = code_digest((*_PACKAGES, "testing", "workflows"))
        self.notes: list[str] = []

    def note(self, part: PanelPart) -> None:
        """Remember once what the reader of the report has to know about a part."""
        for text in part.notes:
            sentence = f"{part.name}: {text}"
            if sentence not in self.notes:
                self.notes.append(sentence)

    def load(self, part: PanelPart, seed: int) -> dict[str, Any] | None:
        """Return the kept result of a part under a seed; None = it has to run."""
        path = self._path(part, seed)
        if not self._resume or not part.identity or not path.is_file():
            return None
        content: dict[str, Any] = read_json(path)
        return content

    def save(self, part: PanelPart, seed: int, content: dict[str, Any]) -> None:
        """Keep the result of a part under a seed, where the part has an identity."""
        if part.identity:
            write_json(self._path(part, seed), content)

    def _path(self, part: PanelPart, seed: int) -> Path:
        key = sha256_json([part.name, part.identity, seed, self._code])
        return self._folder / f"{key}.json"


def audit_world(
    lookback: int, *, seed: int, n_assets: int = N_ASSETS, n_later_rows: int = N_LATER_ROWS
) -> EquityWorld:
    """Simulate a market that is long enough for a look-back and a late cut behind it.

    Parameters
    ----------
    lookback : int
        Sessions that the longest feature needs.
    seed : int
        Seed of the market.
    n_assets : int
        Assets.
    n_later_rows : int
        Rows beyond the look-back.

    Returns
    -------
    EquityWorld
        With listings, delistings, splits, dividends, filings and membership.
    """
    n_sessions = max(500, int((lookback + n_later_rows) / 0.7))
    return simulate_equity_world(
        EquityWorldConfig(seed=seed, n_assets=n_assets, n_sessions=n_sessions)
    )


def longest_lookback(workspace: Workspace, names: Sequence[str]) -> int:
    """Return the sessions that the longest feature of some sets needs.

    Parameters
    ----------
    workspace : Workspace
        Specs.
    names : sequence of str
        Sets in ``specs/features``; all of them when empty.

    Returns
    -------
    int
        Rows, the newest included.
    """
    return max(
        read_feature_set(workspace, name).max_lookback_sessions
        for name in (names or workspace.catalog.names("features"))
    )


def save_report(workspace: Workspace, content: dict[str, Any]) -> Path:
    """Write the newest report of an audit.

    Parameters
    ----------
    workspace : Workspace
        Its results folder gets ``audits/report.json``.
    content : dict
        Plain JSON values.

    Returns
    -------
    Path
        The file.
    """
    path = workspace.settings.results_root / FOLDER / "report.json"
    write_json(path, content)
    return path


def feature_parts(
    workspace: Workspace, panel: Panel, *, names: Sequence[str] = ()
) -> tuple[PanelPart, ...]:
    """Compose the shipped feature sets, each as one part.

    Parameters
    ----------
    workspace : Workspace
        Specs.
    panel : Panel
        Market panel (T, N).
    names : sequence of str
        Sets in ``specs/features``; all of them when empty.

    Returns
    -------
    tuple of PanelPart
        In the order of the names; fields that the panel lacks are stood in for and noted.

    Raises
    ------
    ConfigError
        For an unknown set.
    """
    return tuple(
        _set_part(read_feature_set(workspace, name), panel)
        for name in (names or workspace.catalog.names("features"))
    )


def _set_part(feature_set: FeatureSet, panel: Panel) -> PanelPart:
    needed, groups = required_fields(feature_set), check_feature_set(feature_set).groups
    data, notes = with_stand_ins(panel, needed, groups=groups)
    # What the set does not read would be poisoned for nothing.
    kept = [name for name in data.fields if name in {*needed, *_OPTIONAL_FIELDS}]
    data = data.only_fields(kept)
    return PanelPart(
        name=feature_set.name,
        compute=lambda market: dict(compute_features(market, feature_set).fields),
        panel=data,
        warmup=feature_set.max_lookback_sessions,
        causality={spec.name: spec.causality for spec in feature_set.features},
        scale_free=frozenset(s.name for s in feature_set.features if is_scale_free(s.unit)),
        identity=sha256_json([feature_set.set_id(), list(data.shape), data.asset_ids[0]]),
        notes=notes,
    )


def expression_part(text: str, panel: Panel) -> PanelPart:
    """Compose one formula, audited as CAUSAL: as if it were to be used.

    Parameters
    ----------
    text : str
        Formula in the language of ``quant_engine.features.expressions``.
    panel : Panel
        Market panel (T, N).

    Returns
    -------
    PanelPart
        With one field, :data:`EXPRESSION`.

    Raises
    ------
    ExpressionError
        For a formula that cannot be read.
    """
    program = compile_expressions({EXPRESSION: text})
    data, notes = with_stand_ins(panel, program.fields, groups=program.groups)
    return PanelPart(
        name=text,
        compute=lambda market: dict(program.run(market, allow_short=True).fields),
        panel=data,
        warmup=program.lookback_sessions,
        notes=notes,
    )


def callable_part(name: str, compute: Callable[[Panel], Any], panel: Panel) -> PanelPart:
    """Compose somebody's own function of a panel.

    Parameters
    ----------
    name : str
        For reports.
    compute : callable
        Panel to panel, frame, series, array, or mapping of names to arrays.
    panel : Panel
        Market panel (T, N).

    Returns
    -------
    PanelPart
        All fields count as CAUSAL.
    """
    return PanelPart(name=name, compute=compute, panel=panel, warmup=panel.shape[0] // 2)


def is_scale_free(unit: str) -> bool:
    """Tell whether values of a unit promise not to depend on the level of prices and volumes.

    Parameters
    ----------
    unit : str
        Unit of a feature, in words.

    Returns
    -------
    bool
        False where a word of the unit names an amount, and for scores, which promise nothing.

    Examples
    --------
    >>> is_scale_free("ratio"), is_scale_free("fraction per session"), is_scale_free("score")
    (True, True, False)
    """
    return not _SCALED & set(unit.lower().replace("-", " ").split())


def with_stand_ins(
    panel: Panel, needed: Sequence[str], *, groups: Sequence[str] = ()
) -> tuple[Panel, tuple[str, ...]]:
    """Add a stand-in for every field and group that a function reads and a panel lacks.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    needed, groups : sequence of str
        Names of fields and of groups.

    Returns
    -------
    tuple of (Panel, tuple of str)
        ``vwap`` becomes the mean of high, low and close; any other field a positive random walk
        per asset with the gaps of the closes; a group five fixed classes of assets. One sentence
        per stand-in.
    """
    lacking = [name for name in needed if name not in panel.fields]
    fields = {name: _stand_in(name, panel, number) for number, name in enumerate(lacking)}
    absent = [name for name in groups if name not in panel.groups]
    codes = np.tile((np.arange(panel.shape[1]) % 5).astype(np.int16), (panel.shape[0], 1))
    tables = {name: GroupTable(codes, ("a", "b", "c", "d", "e")) for name in absent}
    notes = tuple(f"the data has no {name}; a stand-in was audited" for name in lacking + absent)
    return panel.with_fields(fields).with_groups(tables), notes


def _stand_in(name: str, panel: Panel, number: int) -> FloatMatrix:
    close = panel.field("close")
    if name == "vwap":
        return np.asarray((panel.field("high") + panel.field("low") + close) / 3.0)
    steps = np.random.default_rng(number).normal(0.0, 0.02, panel.shape)
    return np.where(np.isnan(close), np.nan, np.exp(np.cumsum(steps, axis=0)))

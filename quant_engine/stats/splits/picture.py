"""Plans as text and as a table, so that a gap can be seen and not only computed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.errors import DataError
from quant_engine.stats.splits.plan import (
    EMBARGOED,
    HOLDOUT,
    PURGED,
    TEST,
    TRAIN,
    UNUSED,
    Split,
    SplitPlan,
)
from quant_engine.stats.splits.walk_forward import Fold
from quant_engine.stats.splits.windows import WindowPlan

__all__ = ["describe", "picture"]

Plan = Sequence[Fold] | SplitPlan | WindowPlan

_LETTERS = (
    (UNUSED, "."),
    (PURGED, "x"),
    (EMBARGOED, "e"),
    (TRAIN, "#"),
    (TEST, "T"),
    (HOLDOUT, "H"),
)
"""Drawn in this order: where several sessions or rows share a column, the later letter wins."""


@dataclass(frozen=True, eq=False)
class _Line:
    """One line of a picture: positions on the session axis per letter, and counts."""

    name: str
    counts: tuple[int, ...]
    marks: tuple[tuple[str, npt.NDArray[np.int64]], ...]


def picture(plan: Plan, *, width_columns: int = 80) -> str:
    """Draw a plan, one line per fold, split or window.

    Parameters
    ----------
    plan : sequence of Fold, SplitPlan or WindowPlan
        Any plan of this package.
    width_columns : int
        Widest drawing in characters. Longer plans share a column between several sessions.

    Returns
    -------
    str
        Header and lines: counts, then ``#`` train, ``x`` purged (in a walk-forward: purged or
        embargoed), ``e`` embargoed, ``T`` test, ``H`` holdout, ``.`` not used. Where sessions or
        rows share a column, ``H`` wins over ``T`` over ``#`` over ``e`` over ``x``.

    Raises
    ------
    DataError
        No fold to draw.

    Examples
    --------
    >>> from quant_engine.stats.splits import PurgedKFoldConfig, WalkForwardConfig
    >>> from quant_engine.stats.splits import label_spans, purged_kfold, walk_forward
    >>> days = np.arange("2024-01-01", "2024-01-13", dtype="datetime64[D]")
    >>> rolling = WalkForwardConfig(
    ...     min_train_sessions=3, test_sessions=4, mode="rolling", holdout_frac=0.0
    ... )
    >>> print(picture(walk_forward(days, days, days, config=rolling)))
    fold train test scored |one column = 1 session|
       1     3    4      4 |###TTTT.....|
       2     3    5      5 |....###TTTTT|

    >>> spans = label_spans(days, days + 1)
    >>> config = PurgedKFoldConfig(n_splits=3, embargo_sessions=1, holdout_frac=0.17)
    >>> print(picture(purged_kfold(spans, config=config)))
    split train purged embargo test |one column = 1 session|
        1     3      2       1    4 |TTTTxe###xHH|
        2     3      3       1    3 |###xTTTxexHH|
        3     6      2       0    2 |######xTTxHH|
    """
    head, n_sessions, lines = _lines(plan)
    step = -(-n_sessions // width_columns)
    unit = "1 session" if step == 1 else f"{step} sessions"
    drawn = [f"{' '.join(head)} |one column = {unit}|"]
    for line in lines:
        cells = np.full(-(-n_sessions // step), ".", dtype="<U1")
        for letter, positions in line.marks:
            cells[positions // step] = letter
        cells_of = (line.name, *map(str, line.counts))
        counts = " ".join(text.rjust(len(name)) for text, name in zip(cells_of, head, strict=True))
        drawn.append(f"{counts} |{''.join(cells.tolist())}|")
    return "\n".join(drawn)


def describe(plan: Plan) -> pd.DataFrame:
    """Tabulate a plan, one row per fold, split or window.

    Parameters
    ----------
    plan : sequence of Fold, SplitPlan or WindowPlan
        Any plan of this package.

    Returns
    -------
    DataFrame
        ``name``; row counts (for folds, sessions); ``train_first``, ``train_last``,
        ``test_first``, ``test_last``: first and last session of either side (NaT where a window
        has no train side); ``test_reach``: end of the last label span of the test side.

    Raises
    ------
    DataError
        No fold to describe.

    Examples
    --------
    >>> from quant_engine.stats.splits import PurgedKFoldConfig, label_spans, purged_kfold
    >>> spans = label_spans(np.arange(6), np.arange(6) + 1)
    >>> table = describe(purged_kfold(spans, config=PurgedKFoldConfig(n_splits=2)))
    >>> table[["train", "purged", "test", "test_first", "test_reach"]]
       train  purged  test  test_first  test_reach
    0      2       1     3           0           3
    1      2       1     3           3           6
    """
    head, _, lines = _lines(plan)
    names = ["name", *(name.strip() for name in head[1:])]
    table = pd.DataFrame([(line.name, *line.counts) for line in lines], columns=names)
    return table.assign(**_extents(plan))


def _lines(plan: Plan) -> tuple[tuple[str, ...], int, list[_Line]]:
    """Header, length of the session axis, and lines of any plan."""
    if isinstance(plan, WindowPlan):
        return ("window".rjust(_name_width(plan)), "rows"), len(plan.spans.sessions), _windows(plan)
    if isinstance(plan, SplitPlan):
        head = ("split", "train", "purged", "embargo", "test")
        return head, len(plan.spans.sessions), list(_splits(plan))
    if not plan:
        raise DataError(
            "folds", wanted="at least one fold", got=0, hint="Build the plan with walk_forward."
        )
    n_sessions = 1 + max(int(fold.test[-1]) for fold in plan)
    return ("fold", "train", "test", "scored"), n_sessions, [_fold(fold) for fold in plan]


def _fold(fold: Fold) -> _Line:
    gap = np.arange(fold.train[-1], fold.test[0], dtype=np.int64)
    side = "H" if fold.is_holdout else "T"
    return _Line(
        "H" if fold.is_holdout else str(fold.number),
        (len(fold.train), len(fold.test), len(fold.scored)),
        (("x", gap), ("#", fold.train), (side, fold.test)),
    )


def _splits(plan: SplitPlan) -> Iterator[_Line]:
    for split in plan:
        counts = tuple(map(len, (split.train, split.purged, split.embargoed, split.test)))
        marks = tuple(
            (letter, plan.spans.position[split.roles == role]) for role, letter in _LETTERS
        )
        yield _Line(str(split.number), counts, marks)


def _windows(plan: WindowPlan) -> list[_Line]:
    lines = []
    position = plan.spans.position
    for number, name in enumerate(plan.config.names):
        inside = plan.window_of_row == number
        left, right = plan.edges[number], plan.edges[number + 1]
        purged = (plan.window_of_row < 0) & (position >= left) & (position < right)
        letter = "H" if name == plan.config.sealed else "T"
        marks = (("x", position[purged]), (letter, position[inside]))
        lines.append(_Line(name, (int(inside.sum()),), marks))
    return lines


def _name_width(plan: WindowPlan) -> int:
    return max(len(name) for name in (*plan.config.names, "window"))


def _extents(plan: Plan) -> dict[str, list[Any]]:
    """First and last sessions of either side, and the reach of the test labels."""
    rows: list[tuple[Any, Any, Any, Any, Any]] = []
    if isinstance(plan, WindowPlan):
        for number, name in enumerate(plan.config.names):
            inside = np.flatnonzero(plan.window_of_row == number).astype(np.int64)
            reach = plan.spans.interval(inside)[1]
            rows.append((pd.NaT, pd.NaT, *plan.sessions(name), reach))
    elif isinstance(plan, SplitPlan):
        rows = [_split_extent(plan, split) for split in plan]
    else:
        rows = [(*f.train_window, *f.test_window, f.test_span[1]) for f in plan]
    names = ("train_first", "train_last", "test_first", "test_last", "test_reach")
    return {name: [row[index] for row in rows] for index, name in enumerate(names)}


def _split_extent(plan: SplitPlan, split: Split) -> tuple[Any, Any, Any, Any, Any]:
    start = plan.spans.start
    train, test = start[split.train], start[split.test]
    reach = plan.spans.interval(split.test)[1]
    return train.min(), train.max(), test.min(), test.max(), reach

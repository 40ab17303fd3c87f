"""D2 and D7 for whole training processes: features and labels in, test predictions out.

* Poisoned test labels: the labels of the test rows are replaced; a prediction for a test row that
  moves has seen them. Exact, and needs one rerun per draw.
* Null worlds: features and labels are independent, so the out-of-sample correlation has mean zero.
  A z-score beyond the limit says that something of the answers reached the predictions, whatever
  the way. Statistical, and the only detector for a process that cannot be given other labels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatVector
from quant_engine.core.causality import Causality
from quant_engine.core.errors import InsufficientObservationError
from quant_engine.testing.findings import Detector, Finding
from quant_engine.testing.results import AuditRow

__all__ = ["NULL_LIMIT", "Learning", "Process", "audit_process", "null_z"]

Process: TypeAlias = Callable[
    [npt.NDArray[Any], FloatVector, npt.NDArray[np.int64], npt.NDArray[np.int64]], FloatVector
]
"""Features (R, P), labels (R,), train rows and test rows to predictions of the test rows."""

NULL_LIMIT = 4.0
"""z-score of the mean null correlation that is an alarm; a clean process reaches it once in 31,000
audits."""

N_DRAWS = 8


@dataclass(frozen=True, eq=False)
class Learning:
    """Data for a training process.

    Parameters
    ----------
    x : ndarray, shape (R, P)
        Features.
    y : ndarray of float64, shape (R,)
        Labels.
    train, test : ndarray of int64, shape (A,) and (B,)
        Row positions.
    """

    x: npt.NDArray[Any]
    y: FloatVector
    train: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]


def audit_process(
    process: Process, data: Learning, *, seed: int, name: str = "prediction"
) -> AuditRow:
    """Prove that predictions of test rows do not depend on the labels of test rows.

    Parameters
    ----------
    process : callable
        The training process; NaN = it refuses to predict the row.
    data : Learning
        Example data.
    seed : int
        Seed of the replaced labels.
    name : str
        For reports.

    Returns
    -------
    AuditRow
        Its finding names the first prediction that moved.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> data = Learning(rng.normal(size=(60, 2)), rng.normal(size=60), np.arange(40),
    ...                 np.arange(40, 60))
    >>> def on_all_rows(x, y, train, test):
    ...     return x[test] @ np.linalg.lstsq(x, y, rcond=None)[0]
    >>> str(audit_process(on_all_rows, data, seed=1).verdict)
    'leaks'
    """
    true = np.asarray(process(data.x, data.y, data.train, data.test), dtype=np.float64)
    findings: tuple[Finding, ...] = ()
    for draw in range(N_DRAWS):
        rng = np.random.default_rng((seed, draw))
        y = data.y.copy()
        # The opposite of the truth first: it turns every choice that was made on the answers.
        y[data.test] = -y[data.test] if draw == 0 else rng.permutation(y[data.test])
        moved = np.asarray(process(data.x, y, data.train, data.test), dtype=np.float64)
        same = (true == moved) | (np.isnan(true) & np.isnan(moved))
        if not same.all():
            row = int(np.flatnonzero(~same)[0])
            findings = (
                Finding(
                    detector=Detector.POISON,
                    field=name,
                    row=f"row {int(data.test[row])}",
                    asset="",
                    cut=f"row {int(data.train.max())}",
                    before=true[row],
                    after=moved[row],
                    n_cells=int((~same).sum()),
                    cause="labels of the test rows reach the predictions",
                ),
            )
            break
    return AuditRow(name, Causality.CAUSAL, int(np.isfinite(true).sum()), findings)


def null_z(process: Process, *, seed: int, n_worlds: int = 40, shape: tuple[int, int]) -> float:
    """z-score of the mean out-of-sample correlation over worlds without signal.

    Parameters
    ----------
    process : callable
        The training process.
    seed : int
        Seed of the worlds.
    n_worlds : int
        Independent worlds.
    shape : tuple of int
        Rows and features of each world; the last third of the rows is tested.

    Returns
    -------
    float
        Standard normal for a clean process, up to the t distribution of `n_worlds` means.

    Raises
    ------
    InsufficientObservationError
        When fewer than ten worlds gave a correlation.

    Notes
    -----
    Pearson correlation of prediction and label over the predicted test rows; mean over worlds
    divided by its standard error.

    Examples
    --------
    >>> def mean_of_train(x, y, train, test):
    ...     return x[test] @ np.linalg.lstsq(x[train], y[train], rcond=None)[0]
    >>> abs(null_z(mean_of_train, seed=1, shape=(120, 3))) < NULL_LIMIT
    True
    """
    correlations = []
    n_rows, n_features = shape
    test = np.arange(2 * n_rows // 3, n_rows)
    train = np.arange(2 * n_rows // 3)
    for world in range(n_worlds):
        rng = np.random.default_rng((seed, world))
        x, y = rng.normal(size=(n_rows, n_features)), rng.normal(size=n_rows)
        predicted = np.asarray(process(x, y, train, test), dtype=np.float64)
        known = np.isfinite(predicted)
        if known.sum() > 2 and predicted[known].std() > 0:
            correlations.append(float(np.corrcoef(predicted[known], y[test][known])[0, 1]))
    if len(correlations) < 10:
        raise InsufficientObservationError(
            "process",
            wanted="predictions that vary in at least ten null worlds",
            got=len(correlations),
            hint="Ask for more worlds, or larger ones.",
        )
    values = np.array(correlations)
    return float(values.mean() / (values.std(ddof=1) / np.sqrt(len(values))))

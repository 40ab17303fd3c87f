"""Best rule: the oldest walk-forward of all, the rule that did best so far is traded next.

The rules' weights are given ready, one matrix per rule; fitting is choosing. Every rule is a trial,
whether it was chosen or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import EmptyDataError
from quant_engine.stats.fold_runs import FoldTask

__all__ = ["BestRule", "ChosenRule"]


@dataclass(frozen=True, eq=False)
class ChosenRule:
    """The rule that earned most on the train rows.

    Parameters
    ----------
    number : int
        Position of the rule.
    train_mean : float
        What it earned per train row, fraction.
    rows : ndarray of int64, shape (n_train,)
        Train rows.
    """

    number: int
    train_mean: float
    rows: npt.NDArray[np.int64]

    def score(
        self, shared: Mapping[str, npt.NDArray[Any]], rows: npt.NDArray[np.int64]
    ) -> FloatMatrix:
        """Weights of the chosen rule.

        Parameters
        ----------
        shared : mapping of str to ndarray
            With ``weights``, shape (K, R, N).
        rows : ndarray of int64, shape (n,)
            Rows of the plan.

        Returns
        -------
        ndarray of float64, shape (n, N)
            Weights, fraction; NaN = no opinion.
        """
        return np.asarray(shared["weights"][self.number, rows], dtype=np.float64)

    def report(
        self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask
    ) -> dict[str, float | int | str]:
        """Number of the rule and its train mean.

        Parameters
        ----------
        shared : mapping of str to ndarray
            Not read, any shape.
        task : FoldTask
            Not read.

        Returns
        -------
        dict
            ``chosen, train_mean``.
        """
        del shared, task
        return {"chosen": self.number, "train_mean": self.train_mean}


@dataclass(frozen=True)
class BestRule:
    """Choose among ready rules by what they earned on the train rows.

    Parameters
    ----------
    rules : sequence of mapping
        Settings of each rule, plain JSON values, in the order of ``weights``.

    Notes
    -----
    Reads two shared arrays: ``weights`` float64 (K, R, N), fraction, NaN = no opinion; ``outcome``
    float64 (R, N), return of each row, fraction, NaN = none. A rule earns the mean over rows of the
    sum of weight times outcome; what is NaN earns nothing. The first of equal rules is chosen.
    """

    rules: Sequence[Mapping[str, Any]]

    def configurations(self) -> Sequence[Mapping[str, Any]]:
        """Settings of every rule."""
        return [{"strategy": "best_rule", "rule": dict(rule)} for rule in self.rules]

    def fit(self, shared: Mapping[str, npt.NDArray[Any]], task: FoldTask) -> ChosenRule:
        """Choose a rule.

        Parameters
        ----------
        shared : mapping of str to ndarray
            ``weights``, shape (K, R, N), and ``outcome``, shape (R, N), fractions.
        task : FoldTask
            Its train rows decide.

        Returns
        -------
        ChosenRule
            The best of them.

        Raises
        ------
        EmptyDataError
            Another number of weight matrices than rules.
        """
        weights, outcome = shared["weights"], shared["outcome"][task.train]
        if len(weights) != len(self.rules):
            raise EmptyDataError(
                "weights",
                wanted=f"one matrix for each of the {len(self.rules)} rules",
                got=len(weights),
                hint="Stack the weights of the rules in their order.",
            )
        earned = [np.nansum(own[task.train] * outcome) / len(task.train) for own in weights]
        best = int(np.argmax(earned))
        return ChosenRule(best, float(earned[best]), task.train)

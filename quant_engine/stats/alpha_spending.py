"""Alpha spending: how much error each of several looks at growing data may use.

Contract: the level of look k is a pure function of (schedule, alpha, k) and of nothing that was
seen, and the levels of all looks add up to alpha. A look whose p-value is at most its level is a
rejection. The error over all looks is then at most alpha whatever the dependence between looks
(Bonferroni): the boundaries of group-sequential designs, which need independent increments, are
not used.
"""

from __future__ import annotations

from enum import StrEnum
from math import e, fsum, log, pi, sqrt
from typing import Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from scipy.special import ndtr, ndtri

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, GateNotPassedError
from quant_engine.stats.checks import check_coverage, parse_vector

__all__ = ["AlphaSpending", "Schedule", "check_spent"]


class Schedule(StrEnum):
    """How alpha is divided over looks."""

    INVERSE_SQUARE = "inverse_square"
    """``alpha (6 / pi^2) / k^2``: no last look, never used up."""
    POCOCK = "pocock"
    """Lan-DeMets, ``alpha log(1 + (e - 1) t)``: nearly even."""
    OBRIEN_FLEMING = "obrien_fleming"
    """Lan-DeMets, ``2 - 2 Phi(z_{1 - alpha / 2} / sqrt(t))``: almost all of it at the end."""


class AlphaSpending(FrozenConfig):
    """A plan of looks, fixed before the first one.

    Parameters
    ----------
    schedule : {"inverse_square", "pocock", "obrien_fleming"}
        How alpha is divided.
    alpha : float
        Probability of any false rejection over all looks (0.025, the level of the gate).
    n_looks : int or None
        Planned looks; look k has the information fraction ``t = k / n_looks``. Needed by the two
        Lan-DeMets schedules; with ``"inverse_square"`` it is an optional last look, and the
        levels stay those of an endless plan.

    Raises
    ------
    ValueError
        A Lan-DeMets schedule without `n_looks` (pydantic reports it as a validation error).

    Notes
    -----
    Lan and DeMets (1983), "Discrete sequential boundaries for clinical trials", Biometrika 70(3).
    The O'Brien-Fleming form is that of a one-sided test at level alpha, as in gsDesign's `sfLDOF`.

    Examples
    --------
    >>> plan = AlphaSpending(schedule="inverse_square", alpha=0.05)
    >>> [round(plan.level(k), 5) for k in (1, 2, 3)]
    [0.0304, 0.0076, 0.00338]
    >>> AlphaSpending(schedule="obrien_fleming", alpha=0.025, n_looks=2).levels(2).round(5)
    array([0.00153, 0.02347])
    """

    schedule: Schedule = Schedule.INVERSE_SQUARE
    alpha: float = Field(0.025, gt=0.0, lt=1.0)
    n_looks: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.n_looks is None and self.schedule is not Schedule.INVERSE_SQUARE:
            raise ValueError(f"schedule {self.schedule.value!r} needs n_looks, the planned looks")
        return self

    def level(self, look: int) -> float:
        """Return the level of one look.

        Parameters
        ----------
        look : int
            k, counted from 1.

        Returns
        -------
        float
            Probability that the look may use.

        Raises
        ------
        ConfigError
            Below 1, or beyond the last planned look: everything is spent.
        """
        self._check_look(look)
        if self.schedule is Schedule.INVERSE_SQUARE:
            return self.alpha * 6.0 / (pi * look) ** 2
        return self._spent_at(look) - self._spent_at(look - 1)

    def levels(self, n_looks: int) -> FloatVector:
        """Return the levels of the first `n_looks` looks, shape (n_looks,), probabilities."""
        self._check_look(n_looks)
        return np.array([self.level(look) for look in range(1, n_looks + 1)])

    def spent(self, look: int) -> float:
        """Return what is spent after a look.

        Parameters
        ----------
        look : int
            k, counted from 1; 0 gives 0.

        Returns
        -------
        float
            Sum of the levels up to `look`, at most alpha.

        Raises
        ------
        ConfigError
            Below 0, or beyond the last planned look.
        """
        if look == 0:
            return 0.0
        self._check_look(look)
        if self.schedule is Schedule.INVERSE_SQUARE:
            return fsum(self.level(k) for k in range(1, look + 1))
        return self._spent_at(look)

    def _spent_at(self, look: int) -> float:
        """Lan-DeMets spending function at the information fraction of a look."""
        assert self.n_looks is not None
        t = look / self.n_looks
        if look == 0:
            return 0.0
        if look == self.n_looks:
            return self.alpha
        if self.schedule is Schedule.POCOCK:
            return self.alpha * log(1.0 + (e - 1.0) * t)
        return float(2.0 * ndtr(ndtri(self.alpha / 2.0) / sqrt(t)))

    def _check_look(self, look: int) -> None:
        if look < 1 or (self.n_looks is not None and look > self.n_looks):
            last = "" if self.n_looks is None else f" to {self.n_looks}, the last planned look"
            raise ConfigError(
                "look",
                wanted=f"a look from 1{last}",
                got=look,
                hint="Alpha is spent at the last planned look; a new plan needs new data.",
            )


def check_spent(levels: npt.ArrayLike, *, alpha: float) -> float:
    """Refuse looks that together used more than alpha.

    Parameters
    ----------
    levels : array-like, shape (K,)
        Level at which each look was judged, probabilities; whatever plan they came from.
    alpha : float
        Probability of any false rejection that was allowed.

    Returns
    -------
    float
        What is left of alpha, never negative.

    Raises
    ------
    ConfigError
        `alpha` outside (0, 1).
    DataError
        A level that is no probability.
    GateNotPassedError
        The levels add up to more than alpha: a rejection among them is no evidence at alpha.

    Examples
    --------
    >>> round(check_spent([0.01, 0.01], alpha=0.025), 3)
    0.005
    """
    check_coverage("alpha", alpha)
    used = parse_vector("levels", levels)
    if not ((used >= 0.0) & (used <= 1.0)).all():
        raise DataError(
            "levels",
            wanted="probabilities from 0 to 1",
            got=used[~((used >= 0.0) & (used <= 1.0))][:5].tolist(),
            hint="Pass the level of each look, not its p-value in per cent.",
        )
    total = fsum(used)
    if total > alpha * (1.0 + 1e-12):
        raise GateNotPassedError(
            "levels",
            wanted=f"looks that use at most {alpha:.4g} together",
            got=f"{total:.4g} over {len(used)} looks",
            hint="Judge each look at AlphaSpending.level(k).",
        )
    return max(alpha - total, 0.0)

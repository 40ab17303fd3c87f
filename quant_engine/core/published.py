"""Published: one item of company reports as it was known on each session, in the shape of a panel.

Prices are known when they are made; a report is known when it is published. A view of reports
therefore carries, beside each value, the day on which that value became known and the period that
it is about, so that whoever computes with it can prove that nothing came early.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import FloatMatrix, TimeVector
from quant_engine.core.errors import LookAheadError, MissingFieldError, SchemaMismatchError

__all__ = ["DayMatrix", "Published"]

DayMatrix = npt.NDArray[np.datetime64]
"""Shape (T, N), datetime64[D], NaT = nothing."""


@dataclass(frozen=True, eq=False)
class Published:
    """Values of one item as known on the evening of each session.

    Parameters
    ----------
    values : ndarray of float64, shape (T, N)
        Unit of the item; NaN = nothing was known.
    known : ndarray of datetime64[D], shape (T, N)
        Day on which each value became known; a value without one is refused.
    period_end : ndarray of datetime64[D], shape (T, N)
        Last day of the period that each value is about; NaT where a value is about no period.

    Examples
    --------
    >>> day = np.array([["2020-02-20"]], dtype="datetime64[D]")
    >>> item = Published(np.array([[1.5]]), day, day - 51)
    >>> item.age_days(np.array(["2020-03-01"], dtype="datetime64[D]")).tolist()
    [[10.0]]
    """

    values: FloatMatrix
    known: DayMatrix
    period_end: DayMatrix

    def __post_init__(self) -> None:
        values = np.array(self.values, dtype=np.float64)
        days = {name: np.array(getattr(self, name)) for name in ("known", "period_end")}
        for name, array in days.items():
            if array.dtype.kind != "M" or array.shape != values.shape or values.ndim != 2:
                raise SchemaMismatchError(
                    f"published {name}",
                    wanted=f"days of shape {values.shape} (times x assets)",
                    got=f"{array.dtype} of {array.shape}",
                    hint="Build the view with quant_engine.data.statements.as_of_matrix.",
                )
            days[name] = array.astype("datetime64[D]")
        undated = np.isfinite(values) & np.isnat(days["known"])
        if undated.any():
            raise MissingFieldError(
                "published known",
                wanted="a publication day beside every value",
                got=f"{int(undated.sum())} values without one",
                hint="A value of which nobody can say when it was known cannot be used.",
            )
        early = days["period_end"] > days["known"]
        if early.any():
            raise LookAheadError(
                "published period_end",
                wanted="periods that had ended when they were published",
                got=f"{int(early.sum())} values known before their period ended",
                hint="Correct the publication days of the source.",
            )
        for name, array in (("values", values), *days.items()):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def rows(self, start: int, stop: int) -> Published:
        """Return the view of rows start (inclusive) to stop (exclusive)."""
        part = slice(start, stop)
        return Published(self.values[part], self.known[part], self.period_end[part])

    def columns(self, positions: npt.NDArray[np.int64]) -> Published:
        """Return the view of the assets at the given positions, in that order."""
        return Published(
            self.values[:, positions], self.known[:, positions], self.period_end[:, positions]
        )

    def check(self, name: str, sessions: TimeVector) -> None:
        """Refuse values that stand in a row before they were known.

        Parameters
        ----------
        name : str
            Item, for the message.
        sessions : ndarray of datetime64[D], shape (T,)
            Sessions of the rows.

        Raises
        ------
        SchemaMismatchError
            When there is not one row per session.
        LookAheadError
            When a value is stamped with a later day than its session.
        """
        if len(sessions) != len(self.values):
            raise SchemaMismatchError(
                f"published {name!r}",
                wanted=f"{len(sessions)} rows",
                got=len(self.values),
                hint="Build the view on the time axis of the panel.",
            )
        early = self.known > sessions.astype("datetime64[D]")[:, None]
        if early.any():
            row, column = np.argwhere(early)[0]
            raise LookAheadError(
                f"published {name!r}",
                wanted="values known by the session of their row",
                got=f"one of {self.known[row, column]} in the row of {sessions[row]}",
                hint="Build the view with quant_engine.data.statements.as_of_matrix.",
            )

    def age_days(self, sessions: TimeVector) -> FloatMatrix:
        """Calendar days since each value became known.

        Parameters
        ----------
        sessions : ndarray of datetime64[D], shape (T,)
            Sessions of the rows.

        Returns
        -------
        ndarray of float64, shape (T, N)
            Days; NaN where nothing was known.
        """
        age = sessions.astype("datetime64[D]")[:, None] - self.known
        days: FloatMatrix = np.where(np.isnat(age), np.nan, age.astype(np.float64))
        return days

"""Sample weights of a training window: how much of its span a label has for itself, and its age.

Contract: weights are computed from the labels of one training window alone (see
`quant_engine.features.event_weights`), and those of all assets of a session fall with age alike, so
the order of the assets changes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydantic import Field

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.features.event_weights import average_uniqueness, span_rows, time_decay

__all__ = ["SampleWeights"]


class SampleWeights(FrozenConfig):
    """Which weights the rows of a training window get.

    Parameters
    ----------
    uniqueness : bool
        Weigh a label by the mean of 1/concurrency over its own span (AFML 4.2), where labels of one
        asset are concurrent.
    oldest_weight : float
        Time decay of AFML 4.11 with sessions in the place of labels: 1 = none, 0 = the oldest
        session falls towards 0, below 0 = that share of the oldest uniqueness gets no weight.

    Examples
    --------
    >>> SampleWeights().is_plain
    True
    """

    uniqueness: bool = False
    oldest_weight: float = Field(default=1.0, gt=-1.0, le=1.0)

    @property
    def is_plain(self) -> bool:
        """Whether every row weighs the same."""
        return not self.uniqueness and self.oldest_weight == 1.0

    def __call__(
        self,
        first: npt.NDArray[np.int64],
        last: npt.NDArray[np.int64],
        asset: npt.NDArray[np.int64],
        *,
        n_bars: int,
    ) -> FloatVector:
        """Weigh the labels of one training window.

        Parameters
        ----------
        first, last : ndarray of int64, shape (R,)
            Rows of entry and exit of each label on the session axis, oldest decision first.
        asset : ndarray of int64, shape (R,)
            Column of each label.
        n_bars : int
            Length of the session axis.

        Returns
        -------
        ndarray of float64, shape (R,)
            At least 0, scaled to a mean of 1.

        Raises
        ------
        DataError
            Spans off the axis or out of order.

        Examples
        --------
        >>> rows = np.array([0, 2, 4]), np.array([2, 3, 5]), np.zeros(3, np.int64)
        >>> SampleWeights(uniqueness=True)(*rows, n_bars=6).round(3)
        array([0.968, 0.871, 1.161])
        """
        unique = average_uniqueness(span_rows(first, last, n_bars=n_bars, group=asset)).per_label
        weights = unique if self.uniqueness else np.ones(len(first))
        if self.oldest_weight != 1.0:
            # Labels of one session enter together: age is counted in the uniqueness of sessions.
            sessions, session = np.unique(first, return_inverse=True)
            own = np.bincount(session, weights=unique, minlength=len(sessions))
            weights = weights * time_decay(own, last_weight=self.oldest_weight)[session]
        total = weights.sum()
        return weights * (len(weights) / total) if total > 0.0 else weights

"""Bet sizes: from the probability that a bet is right to a position, and to a limit price.

Contract: plain arithmetic on what is known at the decision; sizes are fractions of the largest
position, from -1 (full short) to 1. Formulas of Lopez de Prado (2018), chapter 10.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from quant_engine.core.arrays import FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.stats.broadcast import parse_probabilities

__all__ = ["DynamicSize", "average_active", "bet_size", "discretise_sizes"]


def bet_size(probability: npt.ArrayLike, side: npt.ArrayLike, *, n_classes: int = 2) -> FloatVector:
    """Size of a bet whose predicted side is right with a probability.

    Parameters
    ----------
    probability : array-like, shape (E,) or a number
        Probability of the predicted side, in [0, 1]; NaN is refused.
    side : array-like, same shape
        Predicted side, 1 or -1.
    n_classes : int
        Sides among which was predicted, at least 2; 1/n_classes is a bet of size zero.

    Returns
    -------
    ndarray of float64, same shape
        Fraction in [-1, 1].

    Raises
    ------
    ConfigError
        Fewer than two classes.
    DataError
        A probability that is missing or outside [0, 1].

    Notes
    -----
    ``z = (p - 1/K) / sqrt(p (1 - p))``, size ``side (2 Phi(z) - 1)`` (AFML 10.1); p = 1 and p = 0
    are the limits 1 and -1.

    Examples
    --------
    >>> bet_size([0.5, 0.711, 1.0], [1, 1, -1]).round(4).tolist()
    [0.0, 0.3584, -1.0]
    """
    if n_classes < 2:
        raise ConfigError("n_classes", wanted="at least 2", got=n_classes, hint="Long and short.")
    p = parse_probabilities("probability", probability, closed=True)
    spread = np.sqrt(p * (1.0 - p))
    with np.errstate(divide="ignore"):
        z = (p - 1.0 / n_classes) / spread
    size: FloatVector = np.asarray(side, dtype=np.float64) * (2.0 * ndtr(z) - 1.0)
    return size


def discretise_sizes(size_frac: npt.ArrayLike, *, step_frac: float) -> FloatVector:
    """Round sizes to steps, so that small changes of a probability cause no trades (AFML 10.3).

    Parameters
    ----------
    size_frac : array-like, any shape
        Fractions; NaN gives NaN.
    step_frac : float
        Step in (0, 1].

    Returns
    -------
    ndarray of float64, same shape
        Multiples of the step within [-1, 1]; halves go to the even multiple.

    Raises
    ------
    ConfigError
        A step outside (0, 1].

    Examples
    --------
    >>> discretise_sizes([0.37, -0.99], step_frac=0.25).tolist()
    [0.25, -1.0]
    """
    if not 0.0 < step_frac <= 1.0:
        raise ConfigError("step_frac", wanted="in (0, 1]", got=step_frac, hint="Use 0.1.")
    sizes = np.asarray(size_frac, dtype=np.float64)
    return np.clip(np.round(sizes / step_frac) * step_frac, -1.0, 1.0)


def average_active(
    start: npt.ArrayLike, end: npt.ArrayLike, size_frac: npt.ArrayLike
) -> tuple[FloatVector, FloatVector]:
    """Average the bets that are active at the same time (AFML 10.2).

    Parameters
    ----------
    start, end : array-like of numbers, shape (E,)
        A bet is active at t with ``start <= t < end``; NaN end = still active. Rows of an axis, or
        times as numbers.
    size_frac : array-like, shape (E,)
        Size of each bet, fraction.

    Returns
    -------
    times : ndarray of float64, shape (M,)
        Every start and end once, ascending.
    average : ndarray of float64, shape (M,)
        Mean size of the bets active at that time, 0 without one.

    Raises
    ------
    DataError
        Arrays of different lengths, a missing start or size, or a bet that ends before it starts.

    Notes
    -----
    A bet that ends at the time it starts is never active. Sums run over the bets in the order of
    their starts.

    Examples
    --------
    >>> times, average = average_active([0, 1], [2, 3], [0.4, 0.8])
    >>> times.tolist(), average.round(3).tolist()
    ([0.0, 1.0, 2.0, 3.0], [0.4, 0.6, 0.8, 0.0])
    """
    starts = np.asarray(start, dtype=np.float64)
    given, sizes = np.asarray(end, dtype=np.float64), np.asarray(size_frac, dtype=np.float64)
    ends = np.where(np.isnan(given), np.inf, given)
    if starts.ndim != 1 or starts.shape != ends.shape or starts.shape != sizes.shape:
        raise DataError(
            "bets",
            wanted="a start, an end and a size for each",
            got=f"shapes {starts.shape}, {ends.shape}, {sizes.shape}",
            hint="Give a bet that still runs a NaN end.",
        )
    if np.isnan(starts).any() or np.isnan(sizes).any() or (ends < starts).any():
        raise DataError(
            "bets",
            wanted="known starts and sizes, and ends that are not before their starts",
            got=f"{int((ends < starts).sum())} ends before their starts, or missing values",
            hint="Leave out events without a prediction.",
        )
    times = np.unique(np.concatenate((starts, given[np.isfinite(given)])))
    order = np.argsort(starts, kind="stable")
    average = np.zeros(times.size)
    known = [(starts[i], ends[i], sizes[i]) for i in order]
    active: list[tuple[float, float, float]] = []
    upcoming = 0
    for row, time in enumerate(times):
        while upcoming < len(known) and known[upcoming][0] <= time:
            active.append(known[upcoming])
            upcoming += 1
        active = [bet for bet in active if time < bet[1]]
        if active:
            average[row] = sum(bet[2] for bet in active) / len(active)
    return times, average


@dataclass(frozen=True)
class DynamicSize:
    """Size that grows with the distance between a forecast price and the market (AFML 10.4).

    ``m(x) = x / sqrt(w + x^2)`` with x = forecast - market price, in currency.

    Parameters
    ----------
    width : float
        w, above 0: the larger, the slower a size grows.

    Raises
    ------
    ConfigError
        A width that is not a positive number.

    Examples
    --------
    >>> sizing = DynamicSize.calibrated(divergence=10.0, size_frac=0.95)
    >>> sizing.target_position(115.0, 100.0, max_position=100)
    97
    >>> round(sizing.limit_price(115.0, position=0, target=97, max_position=100), 4)
    112.3657
    """

    width: float

    def __post_init__(self) -> None:
        if not 0.0 < self.width < np.inf:
            raise ConfigError(
                "width", wanted="a positive number", got=self.width, hint="See calibrated()."
            )

    @classmethod
    def calibrated(cls, *, divergence: float, size_frac: float) -> DynamicSize:
        """Choose the width at which a divergence (currency) gives a size in (0, 1)."""
        if not (0.0 < size_frac < 1.0 and divergence != 0.0):
            raise ConfigError(
                "calibration",
                wanted="a size strictly between 0 and 1 and a divergence that is not 0",
                got=f"size {size_frac}, divergence {divergence}",
                hint="AFML uses a size of 0.95 at a divergence of 10.",
            )
        return cls(divergence**2 * (size_frac**-2 - 1.0))

    def size(self, forecast: float, market_price: float) -> float:
        """Size in (-1, 1) for a forecast and a market price, both in currency."""
        x = forecast - market_price
        return float(x / np.sqrt(self.width + x * x))

    def target_position(self, forecast: float, market_price: float, *, max_position: int) -> int:
        """Return the wanted position in whole units, cut towards zero.

        Parameters
        ----------
        forecast, market_price : float
            Currency.
        max_position : int
            Largest position in units.

        Returns
        -------
        int
            Units, signed.
        """
        return int(self.size(forecast, market_price) * max_position)

    def inverse_price(self, forecast: float, size_frac: float) -> float:
        """Market price (currency) at which the forecast asks for a size strictly in (-1, 1)."""
        if not -1.0 < size_frac < 1.0:
            raise ConfigError(
                "size_frac",
                wanted="strictly between -1 and 1",
                got=size_frac,
                hint="No finite price asks for the whole position.",
            )
        return float(forecast - size_frac * np.sqrt(self.width / (1.0 - size_frac**2)))

    def limit_price(
        self, forecast: float, *, position: int, target: int, max_position: int
    ) -> float:
        """Limit of an order that breaks even with the forecast unit by unit.

        The mean of the prices that ask for every unit between position and target. (The printed
        snippet counts absolute values, which fails when the position changes its sign.)

        Parameters
        ----------
        forecast : float
            Currency.
        position, target, max_position : int
            Units: held now, wanted, largest.

        Returns
        -------
        float
            Currency; NaN when target and position are the same, because there is no order.
        """
        if target == position:
            return float("nan")
        step = 1 if target > position else -1
        units = range(position + step, target + step, step)
        return sum(self.inverse_price(forecast, n / max_position) for n in units) / len(units)

"""Data snooping: is the best of many strategies better than a benchmark, and which ones are.

Contract: everything works on return differences ``d = strategy - benchmark`` (T, K), positive where
a strategy is better; :func:`loss_differences` turns losses into them. Rows are resampled together
(stationary bootstrap), so correlation between strategies stays. The resampling is given either as
an index matrix or by a seed. The default statistic is *studentised* (Hansen 2005): each mean is
divided by its own standard error, so that one noisy strategy does not hide the others.
``studentised=False`` is the convention of the Python package `arch`, whose SPA and StepM never
divide, whatever their option says.

Every strategy that was tried has to be a column.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.fft import irfft, next_fast_len, rfft

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, DataError, InsufficientHistoryError
from quant_engine.stats.bootstrap import bootstrap_means, stationary_indices
from quant_engine.stats.checks import check_coverage, check_same_shape, parse_matrix, parse_vector
from quant_engine.stats.step_down import StepDown, check_resolution

__all__ = [
    "RealityCheckResult",
    "RomanoWolfResult",
    "SnoopingConfig",
    "SpaResult",
    "StepMResult",
    "loss_differences",
    "reality_check",
    "romano_wolf",
    "spa_test",
    "stationary_variance",
    "step_m",
]

Recentring: TypeAlias = Literal["lower", "consistent", "upper"]
RECENTRINGS: tuple[Recentring, ...] = ("lower", "consistent", "upper")
IndexMatrix: TypeAlias = npt.NDArray[np.int64]

_MIN_ROWS = 10
_COLUMNS_PER_PART = 128
"""Columns transformed at once: the memory of one part, not of all."""


class SnoopingConfig(FrozenConfig):
    """How a family is tested against its benchmark.

    Parameters
    ----------
    avg_block : float
        Mean block length of the stationary bootstrap in periods (20 sessions, about a month). It
        also sets the kernel of the variances.
    n_draws : int
        Bootstrap draws (1,000); not used when an index matrix is given.
    studentised : bool
        Divide each mean by its standard error (true, Hansen 2005), or not (the convention of
        `arch`).

    Examples
    --------
    >>> SnoopingConfig().studentised
    True
    """

    avg_block: float = Field(20.0, ge=1.0)
    n_draws: int = Field(1_000, ge=1)
    studentised: bool = True


@dataclass(frozen=True, eq=False)
class SpaResult:
    """Test of superior predictive ability: whether the best strategy beats the benchmark.

    Parameters
    ----------
    statistic : float
        Studentised ``max(0, max_k sqrt(T) d_k / omega_k)``, else ``max_k d_k``.
    p_lower, p_consistent, p_upper : float
        Shares of draws above the statistic. Lower and upper bound the consistent one, which is
        the one to judge by; upper without studentising is White's Reality Check.
    mean_difference : ndarray of float64, shape (K,)
        Mean of each column, in the unit of the input.
    variance : ndarray of float64, shape (K,)
        Long-run variance ``omega^2`` of each column, per period.
    is_relevant : ndarray of bool, shape (K,)
        Columns not clearly worse than the benchmark, which the consistent p-value recentres.
    draws : ndarray of float64, shape (n_draws, 3)
        Statistic of each draw: lower, consistent, upper.
    studentised : bool
        Which statistic it is.
    avg_block : float
        Mean block length.
    """

    statistic: float
    p_lower: float
    p_consistent: float
    p_upper: float
    mean_difference: FloatVector
    variance: FloatVector
    is_relevant: npt.NDArray[np.bool_]
    draws: FloatVector
    studentised: bool
    avg_block: float

    def critical_values(self, alpha: float) -> dict[Recentring, float]:
        """Return the value that the statistic has to exceed, per recentring.

        Parameters
        ----------
        alpha : float
            Level, a probability.

        Returns
        -------
        dict of str to float
            Quantile ``1 - alpha`` of the draws, linear between order statistics, in the unit of
            the statistic.

        Raises
        ------
        ConfigError
            Not strictly between 0 and 1.
        """
        check_coverage("alpha", alpha)
        values = np.quantile(self.draws, 1.0 - alpha, axis=0)
        return {name: float(value) for name, value in zip(RECENTRINGS, values, strict=True)}


@dataclass(frozen=True, eq=False)
class RealityCheckResult:
    """White's Reality Check.

    Parameters
    ----------
    statistic : float
        ``max_k d_k``, in the unit of the input, or studentised.
    p_value : float
        Share of draws above it, all columns recentred.
    best : int
        Column of the largest statistic.
    studentised : bool
        Which statistic it is.
    """

    statistic: float
    p_value: float
    best: int
    studentised: bool


@dataclass(frozen=True, eq=False)
class StepMResult:
    """Strategies better than the benchmark, by repeated SPA.

    Parameters
    ----------
    superior : ndarray of int64, shape (M,)
        Columns, in ascending order.
    n_steps : int
        Rounds that were run.
    alpha : float
        Family-wise level.
    recentring : {"lower", "consistent", "upper"}
        Which critical value decided.
    studentised : bool
        Which statistic decided.
    """

    superior: IndexMatrix
    n_steps: int
    alpha: float
    recentring: Recentring
    studentised: bool


@dataclass(frozen=True, eq=False)
class RomanoWolfResult:
    """Step-down adjusted p-values of every strategy.

    Parameters
    ----------
    statistics : ndarray of float64, shape (K,)
        ``sqrt(T) d_k / omega_k``, or ``d_k`` when not studentised.
    p_values : ndarray of float64, shape (K,)
        Adjusted one-sided probabilities: family-wise error rate.
    p_single_step : ndarray of float64, shape (K,)
        Without stepping down.
    n_draws : int
        Bootstrap draws.
    studentised : bool
        Which statistic it is.
    """

    statistics: FloatVector
    p_values: FloatVector
    p_single_step: FloatVector
    n_draws: int
    studentised: bool


def loss_differences(benchmark_losses: npt.ArrayLike, model_losses: npt.ArrayLike) -> FloatVector:
    """Turn losses, of which less is better, into differences, of which more is better.

    Parameters
    ----------
    benchmark_losses : array-like, shape (T,)
        Losses of the benchmark.
    model_losses : array-like, shape (T, K)
        Losses of the strategies, in the same unit.

    Returns
    -------
    ndarray of float64, shape (T, K)
        ``benchmark - model``: positive where the model is better.

    Raises
    ------
    DataError
        Lengths that differ, or infinite values.

    Examples
    --------
    >>> loss_differences([1.0, 2.0], [[0.5], [2.5]]).tolist()
    [[0.5], [-0.5]]
    """
    benchmark = parse_vector("benchmark_losses", benchmark_losses)
    models = parse_matrix("model_losses", model_losses)
    check_same_shape("model_losses (rows)", models[:, 0], "benchmark_losses", benchmark)
    return np.asarray(benchmark[:, None] - models, dtype=np.float64)


def stationary_variance(differences: npt.ArrayLike, *, avg_block: float) -> FloatVector:
    """Variance that the stationary bootstrap gives to sqrt(T) times a mean, in closed form.

    Parameters
    ----------
    differences : array-like, shape (T, K)
        Any unit, rows in time order; no NaN.
    avg_block : float
        Mean block length in periods, at least 1.

    Returns
    -------
    ndarray of float64, shape (K,)
        ``omega^2 = g_0 + 2 sum_i kappa_i g_i`` with autocovariances
        ``g_i = (1 / T) sum_t x_t x_{t+i}`` about the mean, and
        ``kappa_i = (1 - i / T) (1 - p)^i + (i / T) (1 - p)^(T - i)``, ``p = 1 / avg_block``
        (Politis and Romano 1994, lemma 1; Hansen 2005, section 3.1).

    Raises
    ------
    ConfigError, DataError, InsufficientHistoryError
        As :func:`spa_test`.

    Examples
    --------
    >>> x = np.array([[1.0], [-1.0]] * 10)
    >>> stationary_variance(x, avg_block=1.0)
    array([1.])
    """
    matrix = _parse(differences, avg_block)
    return _variance(matrix, avg_block)


def spa_test(
    differences: npt.ArrayLike,
    *,
    config: SnoopingConfig,
    seed: int | None = None,
    indices: npt.ArrayLike | None = None,
) -> SpaResult:
    """Hansen's test of superior predictive ability.

    Parameters
    ----------
    differences : array-like, shape (T, K)
        Return differences to the benchmark per period, any unit, one column for every strategy
        that was tried; no NaN. Against zero, pass the returns themselves.
    config : SnoopingConfig
        Block length, draws, statistic.
    seed : int, optional
        Seed of a stationary bootstrap. Give either this or `indices`.
    indices : array-like of int, shape (n_draws, T), optional
        Rows of every draw, from 0.

    Returns
    -------
    SpaResult

    Raises
    ------
    ConfigError
        Both or none of `seed` and `indices`.
    DataError
        NaN, infinity, no column, a column that does not vary, or indices of another shape or
        outside the rows.
    InsufficientHistoryError
        Fewer than 10 rows, or than two mean blocks.

    Notes
    -----
    Hansen (2005), "A test for superior predictive ability", Journal of Business & Economic
    Statistics 23(4), equations 2 to 6. Draws are ``max_k sqrt(T) (d*_k - g_k) / omega_k``, with
    ``g_k = max(d_k, 0)`` (lower), ``d_k`` where ``d_k >= -omega_k sqrt(2 log log T / T)`` and else
    0 (consistent), and ``d_k`` (upper). A studentised statistic of 0 (no strategy better than the
    benchmark) has p = 1: all draws reach it.

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> d = rng.standard_normal((400, 20))
    >>> d[:, 3] += 0.25
    >>> result = spa_test(d, config=SnoopingConfig(avg_block=5), seed=0)
    >>> result.p_lower <= result.p_consistent <= result.p_upper < 0.05
    True
    """
    matrix = _parse(differences, config.avg_block)
    means, variance = matrix.mean(axis=0), _variance(matrix, config.avg_block)
    scale = _scale(variance, len(matrix), config)
    parts = _recentred(means, variance, len(matrix))
    draws = bootstrap_means(matrix, _resampling(len(matrix), config, seed, indices))
    maxima = np.column_stack([((draws - parts[name]) / scale).max(axis=1) for name in RECENTRINGS])
    statistic = float((means / scale).max())
    if config.studentised:
        statistic, maxima = max(statistic, 0.0), np.maximum(maxima, 0.0)
    shares = _p_values(statistic, maxima, config)
    return SpaResult(
        statistic=statistic,
        p_lower=shares[0],
        p_consistent=shares[1],
        p_upper=shares[2],
        mean_difference=means,
        variance=variance,
        is_relevant=_is_relevant(means, variance, len(matrix)),
        draws=maxima,
        studentised=config.studentised,
        avg_block=config.avg_block,
    )


def reality_check(
    differences: npt.ArrayLike,
    *,
    config: SnoopingConfig,
    seed: int | None = None,
    indices: npt.ArrayLike | None = None,
) -> RealityCheckResult:
    """White's Reality Check: the best of all against draws with every column recentred.

    Parameters
    ----------
    differences : array-like, shape (T, K)
        As for :func:`spa_test`.
    config : SnoopingConfig
        White's own statistic is ``studentised=False``.
    seed : int, optional
        As for :func:`spa_test`.
    indices : array-like of int, shape (n_draws, T), optional
        As for :func:`spa_test`.

    Returns
    -------
    RealityCheckResult

    Raises
    ------
    ConfigError, DataError, InsufficientHistoryError
        As :func:`spa_test`.

    Notes
    -----
    White (2000), "A reality check for data snooping", Econometrica 68(5). Poor and noisy
    strategies in the family cost it power, which :func:`spa_test` avoids.

    Examples
    --------
    >>> d = np.random.default_rng(7).standard_normal((400, 20)) + 0.2
    >>> reality_check(d, config=SnoopingConfig(avg_block=5, studentised=False), seed=0).p_value
    0.0
    """
    result = spa_test(differences, config=config, seed=seed, indices=indices)
    scale = np.sqrt(result.variance) if config.studentised else 1.0
    return RealityCheckResult(
        statistic=result.statistic,
        p_value=result.p_upper,
        best=int((result.mean_difference / scale).argmax()),
        studentised=config.studentised,
    )


def step_m(
    differences: npt.ArrayLike,
    *,
    config: SnoopingConfig,
    alpha: float,
    recentring: Recentring = "consistent",
    seed: int | None = None,
    indices: npt.ArrayLike | None = None,
) -> StepMResult:
    """StepM: name the strategies that are better than the benchmark.

    Parameters
    ----------
    differences : array-like, shape (T, K)
        As for :func:`spa_test`.
    config : SnoopingConfig
        Block length, draws, statistic.
    alpha : float
        Family-wise level, a probability.
    recentring : {"lower", "consistent", "upper"}
        Hansen's form of the critical value (Hsu, Hsu and Kuan 2010); ``"upper"`` is that of Romano
        and Wolf (2005).
    seed : int, optional
        As for :func:`spa_test`; all rounds use the same draws.
    indices : array-like of int, shape (n_draws, T), optional
        As for :func:`spa_test`.

    Returns
    -------
    StepMResult

    Raises
    ------
    ConfigError
        A level that the draws cannot resolve, an unknown recentring, or as :func:`spa_test`.
    DataError, InsufficientHistoryError
        As :func:`spa_test`.

    Notes
    -----
    Each round takes out the strategies above the critical value of those that are left, until
    none is. Romano and Wolf (2005), "Stepwise multiple testing as formalized data snooping",
    Econometrica 73(4).

    Examples
    --------
    >>> d = np.random.default_rng(7).standard_normal((400, 20))
    >>> d[:, [3, 5]] += 0.3
    >>> step_m(d, config=SnoopingConfig(avg_block=5), alpha=0.05, seed=0).superior
    array([3, 5])
    """
    if recentring not in RECENTRINGS:
        raise ConfigError(
            "recentring",
            wanted=f"one of {', '.join(RECENTRINGS)}",
            got=recentring,
            hint="Use 'consistent'.",
        )
    matrix = _parse(differences, config.avg_block)
    means, variance = matrix.mean(axis=0), _variance(matrix, config.avg_block)
    scale = _scale(variance, len(matrix), config)
    centre = _recentred(means, variance, len(matrix))[recentring]
    rows = _resampling(len(matrix), config, seed, indices)
    draws = (bootstrap_means(matrix, rows) - centre) / scale
    check_resolution(alpha, n_draws=len(draws))
    statistics, left, n_steps = means / scale, np.ones(len(means), np.bool_), 0
    while left.any():
        n_steps += 1
        maxima = draws[:, left].max(axis=1)
        if config.studentised:
            maxima = np.maximum(maxima, 0.0)
        found = left & (statistics > np.quantile(maxima, 1.0 - alpha))
        if not found.any():
            break
        left &= ~found
    return StepMResult(np.flatnonzero(~left), n_steps, alpha, recentring, config.studentised)


def romano_wolf(
    differences: npt.ArrayLike,
    *,
    config: SnoopingConfig,
    seed: int | None = None,
    indices: npt.ArrayLike | None = None,
) -> RomanoWolfResult:
    """Adjusted p-value of every strategy, by the step-down of Romano and Wolf.

    Parameters
    ----------
    differences : array-like, shape (T, K)
        As for :func:`spa_test`.
    config : SnoopingConfig
        Block length, draws, statistic.
    seed : int, optional
        As for :func:`spa_test`.
    indices : array-like of int, shape (n_draws, T), optional
        As for :func:`spa_test`.

    Returns
    -------
    RomanoWolfResult

    Raises
    ------
    ConfigError, DataError, InsufficientHistoryError
        As :func:`spa_test`.

    Notes
    -----
    Romano and Wolf (2016), "Efficient computation of adjusted p-values for resampling-based
    stepdown multiple testing", Statistics & Probability Letters 113: draws
    ``sqrt(T) (d*_k - d_k) / omega_k``, ``p = (1 + #{reached}) / (1 + n_draws)``, made monotone.
    Standard errors are those of the sample, not computed again in every draw.

    Examples
    --------
    >>> d = np.random.default_rng(7).standard_normal((400, 3))
    >>> d[:, 1] += 0.3
    >>> romano_wolf(d, config=SnoopingConfig(avg_block=5, n_draws=999), seed=0).p_values[1]
    np.float64(0.001)
    """
    matrix = _parse(differences, config.avg_block)
    means, variance = matrix.mean(axis=0), _variance(matrix, config.avg_block)
    scale = _scale(variance, len(matrix), config)
    rows = _resampling(len(matrix), config, seed, indices)
    draws = (bootstrap_means(matrix, rows) - means) / scale
    statistics = np.asarray(means / scale, dtype=np.float64)
    counter = StepDown(statistics)
    counter.add(np.ascontiguousarray(draws[:, counter.order]))
    result = counter.result()
    return RomanoWolfResult(
        statistics=statistics,
        p_values=result.p_values,
        p_single_step=result.p_single_step,
        n_draws=result.n_draws,
        studentised=config.studentised,
    )


def _parse(differences: npt.ArrayLike, avg_block: float) -> FloatVector:
    """Complete, varying columns, and enough rows for two blocks."""
    if not avg_block >= 1.0:
        raise ConfigError(
            "avg_block",
            wanted="at least 1 period",
            got=avg_block,
            hint="Use the length over which differences depend on each other, 20 sessions.",
        )
    matrix = parse_matrix("differences", differences)
    n_rows, n_columns = matrix.shape
    if n_columns == 0 or np.isnan(matrix).any():
        raise DataError(
            "differences",
            wanted="a difference for every strategy in every period",
            got=f"{n_columns} columns, {int(np.isnan(matrix).any(axis=0).sum())} of them with NaN",
            hint="Cut to the common periods; a period without position is a zero return.",
        )
    needed = max(_MIN_ROWS, int(np.ceil(2.0 * avg_block)))
    if n_rows < needed:
        raise InsufficientHistoryError(
            "differences",
            wanted=f"at least {needed} rows with blocks of {avg_block:g} on average",
            got=n_rows,
            hint="Use a longer sample or shorter blocks.",
        )
    flat = np.flatnonzero(matrix.min(axis=0) == matrix.max(axis=0))
    if len(flat):
        raise DataError(
            "differences",
            wanted="columns that vary",
            got=f"constant columns {flat[:10].tolist()}",
            hint="Leave out strategies that never trade, and the benchmark itself.",
        )
    return matrix


def _variance(matrix: FloatVector, avg_block: float) -> FloatVector:
    """Kernel of :func:`stationary_variance`, autocovariances by FFT."""
    n_rows, n_columns = matrix.shape
    lag = np.arange(1, n_rows)
    stay = 1.0 - 1.0 / avg_block
    kappa = (1.0 - lag / n_rows) * stay**lag + (lag / n_rows) * stay ** (n_rows - lag)
    weights = np.concatenate(([1.0], 2.0 * kappa))
    length = next_fast_len(2 * n_rows, real=True)
    variance = np.empty(n_columns)
    # One strategy per row: transforms run along contiguous memory.
    deviations = np.ascontiguousarray((matrix - matrix.mean(axis=0)).T)
    for start in range(0, n_columns, _COLUMNS_PER_PART):
        spectrum = rfft(deviations[start : start + _COLUMNS_PER_PART], length, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        autocovariance = irfft(power, length, axis=1)[:, :n_rows] / n_rows
        variance[start : start + _COLUMNS_PER_PART] = autocovariance @ weights
    return variance


def _scale(variance: FloatVector, n_rows: int, config: SnoopingConfig) -> FloatVector:
    """What means are divided by."""
    if not config.studentised:
        return np.ones_like(variance)
    return np.asarray(np.sqrt(variance) / sqrt(n_rows), dtype=np.float64)


def _is_relevant(means: FloatVector, variance: FloatVector, n_rows: int) -> npt.NDArray[np.bool_]:
    """Columns that are not clearly worse than the benchmark (law of the iterated logarithm)."""
    return np.asarray(means >= -np.sqrt(variance / n_rows * 2.0 * log(log(n_rows))), np.bool_)


def _recentred(
    means: FloatVector, variance: FloatVector, n_rows: int
) -> dict[Recentring, FloatVector]:
    """What is taken off the bootstrap means, per recentring."""
    return {
        "lower": np.maximum(means, 0.0),
        "consistent": np.where(_is_relevant(means, variance, n_rows), means, 0.0),
        "upper": means,
    }


def _p_values(
    statistic: float, maxima: FloatVector, config: SnoopingConfig
) -> tuple[float, float, float]:
    """Shares of draws above the statistic."""
    if config.studentised and statistic == 0.0:
        # Draws cannot be below 0 either: a share strictly above would call hopeless families good.
        return 1.0, 1.0, 1.0
    lower, consistent, upper = (maxima > statistic).mean(axis=0)
    return float(lower), float(consistent), float(upper)


def _resampling(
    n_rows: int, config: SnoopingConfig, seed: int | None, indices: npt.ArrayLike | None
) -> IndexMatrix:
    """Rows of every draw, given or drawn."""
    if (seed is None) == (indices is None):
        raise ConfigError(
            "seed, indices",
            wanted="exactly one of the two",
            got="both" if indices is not None else "none",
            hint="Pass seed=... for a stationary bootstrap, or your own index matrix.",
        )
    if indices is None:
        assert seed is not None
        return stationary_indices(
            n_rows, avg_block=config.avg_block, n_draws=config.n_draws, seed=seed
        )
    return np.asarray(indices)

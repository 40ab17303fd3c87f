"""Sticky hidden Markov model of the market return, fitted on the past and filtered forward.

Contract: the probability of session t uses parameters fitted on returns before the last refit and
returns up to t. Parameters change at refits only, every refit sees the past only, and its states
are matched to those of the refit before, so that "state 1" keeps its meaning.

1. :func:`fit_sticky_hmm` estimates by EM (hmmlearn) with pseudo-counts that favour staying.
2. :func:`align_states` renames the states of a fit.
3. :func:`log_densities` and :func:`forward_filter` turn returns into filtered probabilities.
4. :func:`walk_forward_filter` does the three in time order.

The emission density of the filter has Student-t tails although EM is Gaussian: with Gaussian tails
one large return in a calm year is proof of the other state, and daily returns make one every month.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lgamma, log, pi

import numpy as np
import numpy.typing as npt
from hmmlearn.base import ConvergenceMonitor
from hmmlearn.hmm import GaussianHMM
from numba import njit
from pydantic import Field
from scipy.optimize import linear_sum_assignment

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import InsufficientHistoryError

__all__ = [
    "HMMConfig",
    "HMMParams",
    "align_states",
    "fit_sticky_hmm",
    "forward_filter",
    "log_densities",
    "walk_forward_filter",
]

# EM works on percent: hmmlearn's floors and priors are absolute numbers made for data of scale 1.
_PERCENT = 100.0
_COLLAPSE_GUARD = 1e-3


class HMMConfig(FrozenConfig):
    """Settings of the hidden Markov model.

    Parameters
    ----------
    n_states : int
        Hidden states; the one with the highest volatility is reported (2: calm and wild; more
        states need decades of daily data).
    min_fit_sessions : int
        Returns behind the first fit (252, one year).
    fit_window_sessions : int
        Most returns a fit looks back on (2520, ten years).
    refit_sessions : int
        Sessions between refits (252, yearly).
    stay_prob : float
        Prior probability of staying in a state for one more session (0.995, a regime of about
        200 sessions).
    prior_sessions : float
        Weight of that prior, in sessions of evidence per state (500, two years). Persistence is
        the one thing a year of data says little about.
    max_iterations : int
        EM steps per fit.
    min_vol_ratio : float
        Volatility of the top state, at least so many times that of the next one (2.0). A fit on
        one calm year would split it into two like halves; the next storm would be unknown to
        both, and ordinary days would flip between them.
    tail_dof : float
        Degrees of freedom of the Student-t emission in the filter (5, daily index returns); above
        1000 the density is Gaussian.
    winsor_sigmas : float
        Before EM, returns are clipped at so many robust standard deviations, because a Gaussian
        state would otherwise be spent on a handful of crashes.

    Examples
    --------
    >>> HMMConfig().n_states
    2
    """

    n_states: int = Field(default=2, ge=2, le=6)
    min_fit_sessions: int = Field(default=252, ge=60)
    fit_window_sessions: int = Field(default=2520, ge=60)
    refit_sessions: int = Field(default=252, ge=1)
    stay_prob: float = Field(default=0.995, gt=0.5, lt=1.0)
    prior_sessions: float = Field(default=500.0, ge=0.0)
    max_iterations: int = Field(default=60, ge=1)
    min_vol_ratio: float = Field(default=2.0, ge=1.0)
    tail_dof: float = Field(default=5.0, gt=2.0)
    winsor_sigmas: float = Field(default=6.0, gt=1.0)


@dataclass(frozen=True, eq=False)
class HMMParams:
    """Parameters of a fitted model.

    Parameters
    ----------
    start : ndarray of float64, shape (K,)
        Probability of each state at the first return.
    transition : ndarray of float64, shape (K, K)
        ``transition[i, j] = P(s_t = j | s_{t-1} = i)``.
    means : ndarray of float64, shape (K,)
        Mean return per session in each state (fraction).
    variances : ndarray of float64, shape (K,)
        Variance per session in each state (squared fraction).

    Examples
    --------
    >>> calm_wild = HMMParams(
    ...     start=np.array([0.5, 0.5]),
    ...     transition=np.array([[0.99, 0.01], [0.02, 0.98]]),
    ...     means=np.array([0.0005, -0.001]),
    ...     variances=np.array([0.0001, 0.0004]),
    ... )
    >>> calm_wild.n_states
    2
    """

    start: FloatVector
    transition: FloatVector
    means: FloatVector
    variances: FloatVector

    @property
    def n_states(self) -> int:
        """Number of hidden states."""
        return len(self.means)

    def renamed(self, order: npt.NDArray[np.intp]) -> HMMParams:
        """The same model with state ``order[k]`` called k.

        Parameters
        ----------
        order : ndarray of int, shape (K,)
            Permutation of the states.

        Returns
        -------
        HMMParams
            Parameters in the new order.
        """
        return HMMParams(
            start=self.start[order],
            transition=self.transition[np.ix_(order, order)],
            means=self.means[order],
            variances=self.variances[order],
        )


def fit_sticky_hmm(returns: FloatVector, config: HMMConfig) -> HMMParams:
    """Estimate a Gaussian hidden Markov model by EM with a prior that favours staying.

    Transitions get Dirichlet pseudo-counts ``prior_sessions * S``, S with ``stay_prob`` on the
    diagonal. EM starts from sessions grouped by local volatility and uses no random number, so
    equal inputs give equal parameters. States come out ordered by variance. Where several states
    explain the returns no better than one (Bayesian information criterion), all states are the
    whole sample and the top one is ``min_vol_ratio`` times as volatile.

    Parameters
    ----------
    returns : ndarray of float64, shape (n,)
        Simple returns per session in time order; no NaN.
    config : HMMConfig
        Number of states, priors, iterations.

    Returns
    -------
    HMMParams
        In units of returns (fractions).

    Raises
    ------
    InsufficientHistoryError
        Fewer returns than ``min_fit_sessions``, or returns that do not vary.

    Notes
    -----
    hmmlearn's default ``covars_prior`` of 0.01 adds 0.01 divided by the state's weight to each
    variance, which multiplies the variance of raw daily returns. Here it is a thousandth of the
    sample variance, enough to keep a state of a few equal returns from collapsing to a point and
    too little to be seen elsewhere, and the fit runs on percent.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sigma = np.repeat([0.005, 0.02, 0.005, 0.02], 200)
    >>> fit = fit_sticky_hmm(sigma * rng.standard_normal(800), HMMConfig())
    >>> np.sqrt(fit.variances).round(3)
    array([0.005, 0.02 ])
    """
    spread = 1.4826 * float(np.median(np.abs(returns))) if len(returns) else 0.0
    if len(returns) < config.min_fit_sessions or spread == 0.0:
        raise InsufficientHistoryError(
            "returns",
            wanted=f"at least {config.min_fit_sessions} returns that vary",
            got=f"{len(returns)} returns with robust standard deviation {spread}",
            hint="Load a longer history of the market return.",
        )
    clip = config.winsor_sigmas * spread
    percent = _PERCENT * np.clip(returns, -clip, clip)
    k = config.n_states
    stay = _sticky_matrix(k, config.stay_prob)
    model = GaussianHMM(
        n_components=k,
        covariance_type="diag",
        min_covar=0.0,
        transmat_prior=1.0 + config.prior_sessions * stay,
        covars_prior=_COLLAPSE_GUARD * percent.var(),
        n_iter=config.max_iterations,
        tol=1e-4,
        init_params="",
        implementation="log",
    )
    model.monitor_ = _QuietMonitor(model.tol, model.n_iter, verbose=False)
    model.startprob_ = np.full(k, 1.0 / k)
    model.transmat_ = stay
    model.means_, model.covars_ = _starting_values(percent, k)
    model.fit(percent[:, None])
    params = HMMParams(
        start=model.startprob_,
        transition=model.transmat_,
        means=model.means_[:, 0] / _PERCENT,
        variances=model.covars_[:, 0, 0] / _PERCENT**2,
    )
    ordered = params.renamed(np.argsort(params.variances, kind="stable"))
    return _separated(ordered, returns, config)


def align_states(params: HMMParams, previous: HMMParams | None) -> HMMParams:
    """Rename the states of a fit so that they mean what they meant before.

    The last state is the one with the largest variance in every fit, because "high volatility" is
    what it stands for. The others are ordered by variance without a previous fit; with one they
    are assigned to its states by the least sum of squared distances of log volatility and of mean
    in units of the previous pooled volatility.

    Parameters
    ----------
    params : HMMParams
        Fit whose states are in any order.
    previous : HMMParams or None
        The fit in use until now.

    Returns
    -------
    HMMParams
        The same model, states renamed.

    Examples
    --------
    >>> old = HMMParams(np.ones(2) / 2, np.eye(2), np.zeros(2), np.array([1.0, 4.0]))
    >>> new = HMMParams(np.ones(2) / 2, np.eye(2), np.zeros(2), np.array([3.6, 1.1]))
    >>> align_states(new, old).variances
    array([1.1, 3.6])
    """
    by_variance = np.argsort(params.variances, kind="stable")
    if previous is None:
        return params.renamed(by_variance)
    others, top = by_variance[:-1], by_variance[-1:]
    pooled = float(np.sqrt(previous.variances.mean()))
    log_vol_gap = 0.5 * np.log(previous.variances[:-1, None] / params.variances[None, others])
    mean_gap = (previous.means[:-1, None] - params.means[None, others]) / pooled
    _, order = linear_sum_assignment(log_vol_gap**2 + mean_gap**2)
    return params.renamed(np.concatenate([others[order], top]))


def log_densities(returns: FloatVector, params: HMMParams, *, tail_dof: float) -> FloatVector:
    """Log density of every return in every state.

    Student-t with the state's mean and variance, ``scale^2 = variance (dof - 2) / dof``; Gaussian
    for ``tail_dof`` above 1000.

    Parameters
    ----------
    returns : ndarray of float64, shape (T,)
        Simple returns per session (fractions); NaN = not observed, log density 0 in every state.
    params : HMMParams
        Means and variances of the states.
    tail_dof : float
        Degrees of freedom, above 2.

    Returns
    -------
    ndarray of float64, shape (T, K)
        Natural logarithms.

    Examples
    --------
    >>> one = HMMParams(np.ones(1), np.ones((1, 1)), np.zeros(1), np.ones(1))
    >>> log_densities(np.array([0.0, np.nan]), one, tail_dof=1e9).round(4)
    array([[-0.9189],
           [ 0.    ]])
    """
    is_gaussian = tail_dof > 1000.0
    scale2 = params.variances * (1.0 if is_gaussian else (tail_dof - 2.0) / tail_dof)
    constants = -0.5 * np.log(2.0 * pi * scale2)
    if not is_gaussian:
        half = tail_dof / 2.0
        constants += lgamma(half + 0.5) - lgamma(half) - 0.5 * log(half)
    out = np.zeros((len(returns), params.n_states))
    _density_rows(returns, params.means, scale2, constants, 0.0 if is_gaussian else tail_dof, out)
    return out


def forward_filter(
    log_density: FloatVector, start: FloatVector, transition: FloatVector
) -> tuple[FloatVector, float]:
    """Filtered state probabilities ``P(s_t | y_1, ..., y_t)``.

    ``p_t(j) ~ f_j(y_t) sum_i p_{t-1}(i) A(i, j)``, normalised at every session; the sum of the
    logarithms of the normalisers is the log likelihood (Rabiner 1989, section V.A).

    Parameters
    ----------
    log_density : ndarray of float64, shape (T, K)
        Log density of each observation in each state.
    start : ndarray of float64, shape (K,)
        State probabilities at the first observation, before seeing it.
    transition : ndarray of float64, shape (K, K)
        ``A[i, j]``, rows add to 1.

    Returns
    -------
    filtered : ndarray of float64, shape (T, K)
        Rows add to 1; row t does not change when later rows are altered or appended.
    log_likelihood : float
        Of the whole sequence (natural logarithm).

    Examples
    --------
    The umbrella world of Russell and Norvig, section 14.2:

    >>> emission = np.log([[0.9, 0.2], [0.9, 0.2]])
    >>> filtered, _ = forward_filter(
    ...     emission, np.array([0.5, 0.5]), np.array([[0.7, 0.3], [0.3, 0.7]])
    ... )
    >>> filtered.round(3)
    array([[0.818, 0.182],
           [0.883, 0.117]])
    """
    out = np.empty_like(log_density)
    log_likelihood = _filter_rows(
        np.ascontiguousarray(log_density),
        np.ascontiguousarray(start),
        np.ascontiguousarray(transition),
        out,
    )
    return out, float(log_likelihood)


def walk_forward_filter(returns: FloatVector, config: HMMConfig) -> FloatVector:
    """Filtered probabilities with parameters that are always older than the return they judge.

    Parameters
    ----------
    returns : ndarray of float64, shape (T,)
        Simple returns per session in time order; no NaN.
    config : HMMConfig
        Windows, refit calendar, priors and tails.

    Returns
    -------
    ndarray of float64, shape (T, K)
        The last column is the state with the highest volatility at the first fit. NaN for the
        first ``min_fit_sessions`` sessions.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> sigma = np.repeat([0.005, 0.02, 0.005, 0.02], 200)
    >>> filtered = walk_forward_filter(sigma * rng.standard_normal(800), HMMConfig())
    >>> filtered[[251, 590, 790], 1].round(2)
    array([ nan, 0.01, 1.  ])
    """
    n_sessions = len(returns)
    out = np.full((n_sessions, config.n_states), np.nan)
    params: HMMParams | None = None
    for begin in range(config.min_fit_sessions, n_sessions, config.refit_sessions):
        first = max(0, begin - config.fit_window_sessions)
        end = min(begin + config.refit_sessions, n_sessions)
        params = align_states(fit_sticky_hmm(returns[first:begin], config), params)
        # The filter is run over the fit window again, so that its state at the refit is that of
        # the new parameters; only rows after the fit are kept.
        logs = log_densities(returns[first:end], params, tail_dof=config.tail_dof)
        filtered, _ = forward_filter(logs, params.start, params.transition)
        out[begin:end] = filtered[begin - first :]
    return out


def _sticky_matrix(n_states: int, stay_prob: float) -> FloatVector:
    """Transition matrix with ``stay_prob`` on the diagonal and the rest shared equally."""
    off = (1.0 - stay_prob) / (n_states - 1)
    matrix: FloatVector = np.full((n_states, n_states), off)
    np.fill_diagonal(matrix, stay_prob)
    return matrix


def _starting_values(percent: FloatVector, n_states: int) -> tuple[FloatVector, FloatVector]:
    """Means (K, 1) and variances (K, 1) of equal groups of sessions by local volatility."""
    window = min(21, len(percent))
    local = np.convolve(percent**2, np.full(window, 1.0 / window), mode="same")
    groups = np.array_split(np.argsort(local, kind="stable"), n_states)
    means = np.array([[percent[group].mean()] for group in groups])
    variances = np.array([[percent[group].var()] for group in groups])
    return means, np.maximum(variances, 1e-6 * percent.var())


def _separated(params: HMMParams, returns: FloatVector, config: HMMConfig) -> HMMParams:
    """The same model with a top state that is worth its name, or one built from the whole past.

    Any sample can be split into two halves of unlike variance. Where the split does not pay for
    its parameters (Bayesian information criterion, with the tails of the filter), all states are
    the whole sample and the top one is ``min_vol_ratio`` times as volatile.
    """
    k = params.n_states
    pooled = HMMParams(
        start=np.full(k, 1.0 / k),
        transition=_sticky_matrix(k, config.stay_prob),
        means=np.full(k, returns.mean()),
        variances=np.full(k, returns.var()),
    )
    gain = _log_likelihood(returns, params, config) - _log_likelihood(returns, pooled, config)
    n_extra = k * (k - 1) + (k - 1) + 2 * (k - 1)
    chosen = params if gain > 0.5 * n_extra * log(len(returns)) else pooled
    variances = chosen.variances.copy()
    variances[-1] = max(variances[-1], config.min_vol_ratio**2 * variances[-2])
    return replace(chosen, variances=variances)


def _log_likelihood(returns: FloatVector, params: HMMParams, config: HMMConfig) -> float:
    """Log likelihood with the emission of the filter."""
    logs = log_densities(returns, params, tail_dof=config.tail_dof)
    return forward_filter(logs, params.start, params.transition)[1]


class _QuietMonitor(ConvergenceMonitor):
    """Stops like its base, without a log line when the likelihood falls.

    EM climbs likelihood plus prior. hmmlearn watches the likelihood alone, which may fall by a
    hair near the optimum; that is the place to stop and nothing to warn about.
    """

    def report(self, log_prob: float) -> None:
        """Record one iteration."""
        self.history.append(log_prob)
        self.iter += 1


@njit(cache=True, nogil=True)
def _density_rows(
    returns: FloatVector,
    means: FloatVector,
    scale2: FloatVector,
    constants: FloatVector,
    dof: float,
    out: FloatVector,
) -> None:
    """Log densities written into ``out``; dof 0 = Gaussian, rows of NaN stay 0."""
    for t in range(len(returns)):
        if np.isnan(returns[t]):
            continue
        for k in range(len(means)):
            squared = (returns[t] - means[k]) ** 2 / scale2[k]
            if dof == 0.0:
                out[t, k] = constants[k] - 0.5 * squared
            else:
                out[t, k] = constants[k] - 0.5 * (dof + 1.0) * np.log1p(squared / dof)


@njit(cache=True, nogil=True)
def _filter_rows(
    log_density: FloatVector, start: FloatVector, transition: FloatVector, out: FloatVector
) -> float:
    """Forward recursion; densities are shifted by their maximum so that none underflows."""
    n_sessions, n_states = log_density.shape
    predicted = start.copy()
    log_likelihood = 0.0
    for t in range(n_sessions):
        top = log_density[t].max()
        total = 0.0
        for j in range(n_states):
            out[t, j] = predicted[j] * np.exp(log_density[t, j] - top)
            total += out[t, j]
        for j in range(n_states):
            out[t, j] /= total
        log_likelihood += np.log(total) + top
        for j in range(n_states):
            predicted[j] = 0.0
            for i in range(n_states):
                predicted[j] += out[t, i] * transition[i, j]
    return log_likelihood

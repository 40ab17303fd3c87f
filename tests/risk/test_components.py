"""Component value at risk: numeric derivatives, simulation, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.risk.components import component_var


def a_book(seed=0, n=5):
    rng = np.random.default_rng(seed)
    root = rng.normal(0, 0.01, (n, n))
    return rng.normal(0, 1, n), root @ root.T


def test_marginals_are_derivatives_and_components_add_up() -> None:
    sizes, cov = a_book()
    parts = component_var(sizes, cov, z=1.645)
    step = 1e-6
    for i in range(5):
        up, down = sizes.copy(), sizes.copy()
        up[i] += step
        down[i] -= step
        slope = (component_var(up, cov, z=1.645).var - component_var(down, cov, z=1.645).var) / (
            2 * step
        )
        assert parts.marginal[i] == pytest.approx(slope, rel=1e-6, abs=1e-10)
    assert parts.component.sum() == pytest.approx(parts.var, rel=1e-12)
    assert parts.share.sum() == pytest.approx(1.0)
    assert parts.undiversified >= parts.var
    assert parts.share @ np.ones(5) == pytest.approx((sizes / sizes.sum()) @ parts.beta)


def test_betas_and_the_quantile_agree_with_a_simulation() -> None:
    sizes, cov = a_book(3)
    draws = np.random.default_rng(1).multivariate_normal(np.zeros(5), cov, 400_000)
    book = draws @ sizes
    parts = component_var(sizes, cov, z=1.6448536269514722)
    assert -np.quantile(book, 0.05) == pytest.approx(parts.var, rel=0.01)
    slopes = [np.cov(draws[:, i], book)[0, 1] / book.var(ddof=1) * sizes.sum() for i in range(5)]
    np.testing.assert_allclose(parts.beta, slopes, atol=0.05 * np.abs(parts.beta).max())


def test_a_hedge_contributes_less_than_nothing_and_a_flat_net_has_no_beta() -> None:
    cov = np.array([[0.04, 0.036], [0.036, 0.04]])
    parts = component_var(np.array([1.0, -0.5]), cov, z=1.0)
    assert parts.component[1] < 0 < parts.component[0]
    assert np.isnan(component_var(np.array([1.0, -1.0]), cov, z=1.0).beta).all()


@pytest.mark.parametrize(
    ("sizes", "cov", "z", "kind", "words"),
    [
        ([1.0], [[0.04]], 0.0, ConfigError, "a quantile above 0"),
        ([1.0, 1.0], [[0.04]], 1.0, DataError, "shape (2, 2)"),
        ([1.0], [[np.nan]], 1.0, DataError, "1 NaN"),
        ([np.nan], [[0.04]], 1.0, DataError, "1 NaN positions"),
        ([1.0, 1.0], [[1.0, 2.0], [2.0, 1.0]], 1.0, DataError, "smallest eigenvalue -1"),
        ([1.0, 1.0], [[1.0, 0.5], [0.1, 1.0]], 1.0, DataError, "symmetric"),
        ([0.0], [[0.04]], 1.0, DataError, "a book with risk"),
    ],
)
def test_what_is_no_book_or_no_covariance_is_refused(sizes, cov, z, kind, words) -> None:
    with pytest.raises(kind) as caught:
        component_var(np.array(sizes), np.array(cov), z=z)
    assert words in str(caught.value)

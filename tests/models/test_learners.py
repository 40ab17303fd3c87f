"""Learners: second derivations, additivity, bytes; every registered learner is checked alike."""

from __future__ import annotations

import itertools
import math

import lightgbm as lgb
import numpy as np
import pytest
from sklearn.linear_model import Ridge as SklearnRidge

from quant_engine.core.errors import ConfigError, InsufficientHistoryError, UnreadableFileError
from quant_engine.models import LEARNERS, MemberConfig, Ridge, RidgeParams
from quant_engine.models import ridge as ridge_module
from quant_engine.models.learners import build_learner

CASES = [
    pytest.param(name, params, id=f"{name}-{number}")
    for name in LEARNERS.names()
    for number, params in enumerate(LEARNERS.metadata(name).test_params)
]


@pytest.fixture(scope="module")
def rows():
    rng = np.random.default_rng(11)
    x = rng.standard_normal((2_000, 6)).astype(np.float32)
    x[:, 5] += x[:, 0]
    y = 0.4 * x[:, 0] - 0.2 * x[:, 1] + 0.3 * np.abs(x[:, 2]) + rng.standard_normal(2_000)
    return x, y, rng.uniform(0.2, 1.0, 2_000)


def _fit(name, params, rows, weighted=True):
    x, y, weight = rows
    learner = build_learner(MemberConfig(learner=name, column="m", params=params))
    return learner.fit(x, y, weight if weighted else None)


@pytest.mark.feature("L-14")
@pytest.mark.parametrize(("name", "params"), CASES)
def test_contributions_sum_to_the_raw_prediction(name, params, rows):
    fitted = _fit(name, params, rows)
    parts = fitted.contributions(rows[0])
    assert parts.shape == (2_000, 7)
    np.testing.assert_allclose(parts.sum(axis=1), fitted.predict(rows[0]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_bytes_bring_back_the_same_bits(name, params, rows):
    fitted = _fit(name, params, rows)
    data = fitted.to_bytes()
    again = LEARNERS.get(name).from_bytes(data)
    np.testing.assert_array_equal(again.predict(rows[0]), fitted.predict(rows[0]))
    np.testing.assert_array_equal(again.contributions(rows[0]), fitted.contributions(rows[0]))
    assert again.to_bytes() == data


@pytest.mark.parametrize(("name", "params"), CASES)
def test_a_fit_is_reproducible_and_leaves_its_input_alone(name, params, rows):
    before = [part.copy() for part in rows]
    assert _fit(name, params, rows).to_bytes() == _fit(name, params, rows).to_bytes()
    for now, then in zip(rows, before, strict=True):
        np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(("name", "params"), CASES)
def test_weights_change_the_fit_and_equal_weights_do_not(name, params, rows):
    x, y, _ = rows
    plain = _fit(name, params, rows, weighted=False).predict(x)
    equal = _fit(name, params, (x, y, np.ones(len(x)))).predict(x)
    np.testing.assert_allclose(plain, equal, atol=1e-6)
    assert np.abs(plain - _fit(name, params, rows).predict(x)).max() > 1e-4


@pytest.mark.parametrize(("name", "params"), CASES)
def test_foreign_bytes_are_refused(name, params):
    del params
    for data in (b"", b"PK\x03\x04 broken", b"\xff\xfe", b"tree\nnonsense"):
        with pytest.raises(UnreadableFileError):
            LEARNERS.get(name).from_bytes(data)


def test_a_pickled_archive_is_refused(tmp_path):
    path = tmp_path / "evil.npz"
    np.savez(path, coef=np.array([object()], dtype=object), mean=np.zeros(1), base=0.0)
    with pytest.raises(UnreadableFileError):
        Ridge.from_bytes(path.read_bytes())


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_ridge_equals_scikit_learn(rows, share, weighted, monkeypatch):
    monkeypatch.setattr(ridge_module, "CHUNK_ROWS", 300)
    x, y, weight = rows
    weight = weight if weighted else None
    total = weight.sum() if weighted else len(x)
    other = SklearnRidge(alpha=share * total, solver="cholesky").fit(
        x.astype(np.float64), y, sample_weight=weight
    )
    ours = Ridge(RidgeParams(alpha_share=share)).fit(x, y, weight)
    np.testing.assert_allclose(ours.coef, other.coef_, rtol=1e-9)
    np.testing.assert_allclose(ours.predict(x), other.predict(x.astype(np.float64)), atol=1e-9)


def test_ridge_rows_do_not_depend_on_the_rows_beside_them(rows):
    fitted = _fit("ridge", {}, rows)
    alone = np.concatenate([fitted.predict(rows[0][i : i + 1]) for i in range(50)])
    np.testing.assert_array_equal(alone, fitted.predict(rows[0])[:50])


def test_ridge_without_penalty_refuses_duplicate_features():
    x = np.ones((50, 2), dtype=np.float32)
    with pytest.raises(InsufficientHistoryError, match="collinear"):
        Ridge(RidgeParams(alpha_share=0.0)).fit(x, np.arange(50.0), None)


def test_tree_contributions_equal_shapley_values_by_enumeration(rows):
    """TreeSHAP against its definition: all feature subsets, unknown splits averaged by cover."""
    x, y, _ = rows
    names = range(3)
    x = np.ascontiguousarray(x[:, :3])
    learner = build_learner(
        MemberConfig(learner="lightgbm_shallow", column="m", params={"n_trees": 8})
    )
    fitted = learner.fit(x, y, None)
    trees = lgb.Booster(model_str=fitted.text).dump_model()["tree_info"]

    def value(node, row, known):
        if "leaf_value" in node:
            return node["leaf_value"]
        left, right = node["left_child"], node["right_child"]
        if node["split_feature"] in known:
            side = left if row[node["split_feature"]] <= node["threshold"] else right
            return value(side, row, known)
        covers = [c.get("internal_count", c.get("leaf_count")) for c in (left, right)]
        return (covers[0] * value(left, row, known) + covers[1] * value(right, row, known)) / sum(
            covers
        )

    def worth(row, known):
        return sum(value(tree["tree_structure"], row, known) for tree in trees)

    for row, parts in zip(x[:5], fitted.contributions(x[:5]), strict=True):
        for j in names:
            others = [k for k in names if k != j]
            shapley = 0.0
            for size in range(3):
                weight = math.factorial(size) * math.factorial(2 - size) / math.factorial(3)
                for subset in itertools.combinations(others, size):
                    gain = worth(row, {*subset, j}) - worth(row, set(subset))
                    shapley += weight * gain
            assert parts[j] == pytest.approx(shapley, abs=1e-6)
        assert parts[-1] == pytest.approx(worth(row, set()), abs=1e-6)


def test_unknown_learners_and_parameters_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'ridge'"):
        build_learner(MemberConfig(learner="rigde", column="m"))
    with pytest.raises(ConfigError, match="parameter alpha"):
        build_learner(MemberConfig(learner="ridge", column="m", params={"alpha": 1.0}))
    with pytest.raises(ConfigError, match="parameter depth"):
        build_learner(MemberConfig(learner="lightgbm_shallow", column="m", params={"depth": 0}))


@pytest.mark.slow
def test_shallow_trees_keep_half_as_much_again_as_the_library_defaults():
    """Oracle IC .04 on 60,000 rows: correlation of each prediction with the planted signal."""
    ours, defaults = [], []
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((80_000, 30)).astype(np.float32)
        truth = x[:, :8].sum(axis=1) / np.sqrt(8.0) + np.sign(x[:, 8]) * x[:, 9]
        truth /= truth.std()
        y = 0.04 * truth + rng.standard_normal(len(x))
        fit, rest = x[:60_000].copy(), x[60_000:].copy()
        learner = build_learner(MemberConfig(learner="lightgbm_shallow", column="m"))
        shallow = learner.fit(fit, y[:60_000], None).predict(rest)
        settings = {"objective": "regression", "verbosity": -1, "num_threads": 1}
        data = lgb.Dataset(fit, y[:60_000].astype(np.float32))
        default = lgb.train(settings, data, num_boost_round=100).predict(rest)
        ours.append(np.corrcoef(shallow, truth[60_000:])[0, 1])
        defaults.append(np.corrcoef(default, truth[60_000:])[0, 1])
    assert np.mean(ours) > 1.5 * np.mean(defaults)

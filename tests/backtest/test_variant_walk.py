"""Choosing among variants: nothing where there is nothing, the planted one where there is one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.backtest.variant_walk import VariantWalkConfig, walk_variants
from quant_engine.core.errors import InsufficientHistoryError, SchemaMismatchError
from quant_engine.core.executor import ProcessExecutor
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.stats.splits import WalkForwardConfig

pytestmark = pytest.mark.feature("T-13", "Q-36")

SPLIT = WalkForwardConfig(min_train_sessions=250, test_sessions=50, holdout_frac=0.0)
PLANTED = 17


def made_returns(n_variants=200, n_sessions=1_500, *, alpha=0.0, seed=0) -> pd.DataFrame:
    """Variants without an edge that share a part of their luck; one of them may have an edge."""
    rng = np.random.default_rng(seed)
    shared = rng.normal(0.0, 0.002, (n_sessions, 1))
    values = shared + rng.normal(0.0, 0.01, (n_sessions, n_variants))
    values[:, PLANTED % n_variants] += alpha
    return pd.DataFrame(values, index=pd.bdate_range("2015-01-01", periods=n_sessions))


def walk(returns, *, choose_by="sharpe", split=SPLIT, **options):
    sink = options.pop("trials", MemoryTrialSink())
    return walk_variants(
        returns,
        [{"variant": k} for k in range(returns.shape[1])],
        config=VariantWalkConfig(choose_by=choose_by, split=split),
        trials=sink,
        family="test",
        **options,
    )


@pytest.mark.parametrize("choose_by", ["sharpe", "mean"])
def test_the_best_of_many_without_an_edge_is_good_in_sample_alone(choose_by) -> None:
    chain, inside, ranks = [], [], []
    for seed in range(6):
        found = walk(made_returns(seed=seed), choose_by=choose_by)
        chain.append(found.chained["ret"].to_numpy())
        inside.append(found.summary["in_sample_sharpe"])
        ranks.append(found.summary["median_rank_frac"])
        assert found.summary["gap"] > 0.0
    earned = np.concatenate(chain)
    assert abs(earned.mean()) < 3.0 * earned.std() / np.sqrt(len(earned))
    assert min(inside) > 1.0
    assert 0.3 < np.mean(ranks) < 0.7


def test_a_planted_edge_is_found_and_lasts() -> None:
    found = walk(made_returns(alpha=0.003))
    assert (found.folds["chosen"] == PLANTED).mean() > 0.8
    assert found.summary["sharpe_ci_low"] > 0.0
    assert found.summary["median_rank_frac"] < 0.1
    assert found.summary["out_of_sample_mean"] > 10.0 * abs(found.summary["median_variant_mean"])


@pytest.mark.parametrize("choose_by", ["sharpe", "mean"])
def test_every_fold_equals_a_plain_loop(choose_by) -> None:
    returns = made_returns(7, 430, seed=3)
    returns[2] = 0.0
    sink = MemoryTrialSink()
    found = walk(returns, choose_by=choose_by, trials=sink)
    assert len(sink.trials) == 7
    values = returns.to_numpy()
    chained = []
    for row in found.folds.itertuples(index=False):
        train = returns.loc[row.train_first : row.train_last].to_numpy()
        test = returns.loc[row.test_first : row.test_last].to_numpy()
        assert (len(train), len(test)) == (row.n_train, row.n_test)
        assert row.train_last < row.test_first
        best, figure = -1, -np.inf
        for k in range(7):
            if k == 2:
                continue
            own = train[:, k].mean()
            own = own / train[:, k].std(ddof=1) if choose_by == "sharpe" else own
            if own > figure:
                best, figure = k, own
        assert row.chosen == best
        assert row.train_mean == pytest.approx(train[:, best].mean(), rel=1e-12)
        assert row.test_ratio == pytest.approx(
            test[:, best].mean() / test[:, best].std(ddof=1), rel=1e-12
        )
        by_test = [
            test[:, k].mean() / (test[:, k].std(ddof=1) if choose_by == "sharpe" else 1.0)
            for k in range(7)
            if choose_by == "mean" or k != 2
        ]
        own = test[:, best].mean() / (test[:, best].std(ddof=1) if choose_by == "sharpe" else 1.0)
        assert (row.rank, row.n_ranked) == (1 + sum(v > own for v in by_test), len(by_test))
        assert row.median_test_mean == pytest.approx(np.median(test.mean(axis=0)), rel=1e-9)
        chained.append(test[:, best])
    np.testing.assert_allclose(found.chained["ret"], np.concatenate(chained), rtol=1e-14)
    assert found.chained.index.equals(returns.index[len(values) - len(found.chained) :])
    assert found.summary["max_drawdown"] == pytest.approx(
        (found.chained["ret"].add(1).cumprod() / found.chained["ret"].add(1).cumprod().cummax())
        .sub(1)
        .min(),
        rel=1e-9,
    )


@pytest.mark.leakage
def test_what_comes_later_changes_no_choice() -> None:
    returns = made_returns(9, 600, seed=5)
    before = walk(returns)
    for row in before.folds.iloc[::2].itertuples(index=False):
        poisoned = returns.copy()
        late = poisoned.index >= row.test_first
        poisoned.loc[late] = poisoned.loc[late].to_numpy()[:, ::-1] * 3.0
        after = walk(poisoned)
        same = slice(None, row.fold)
        assert (
            after.folds["chosen"].iloc[same].tolist() == before.folds["chosen"].iloc[same].tolist()
        )


def test_no_variant_that_moved_is_no_choice() -> None:
    still = pd.DataFrame(0.0, pd.bdate_range("2020", periods=400), columns=range(3))
    found = walk(still)
    assert set(found.folds["chosen"]) == {-1}
    assert (found.chained["ret"] == 0.0).all()
    assert found.summary["in_sample_mean"] is None
    assert found.summary["sharpe"] is None


def test_what_cannot_be_walked_is_refused() -> None:
    returns = made_returns(3, 300)
    with pytest.raises(InsufficientHistoryError, match="sessions"):
        walk(returns.iloc[:200])
    with pytest.raises(SchemaMismatchError, match="each of 3 variants"):
        walk(returns.mask(returns > 0.015))
    with pytest.raises(SchemaMismatchError, match="2 of them with NaN or infinity"):
        walk(returns.assign(**{"x": np.inf, "y": np.nan}).rename(columns=str))
    with pytest.raises(SchemaMismatchError, match="some variants"):
        walk(returns.iloc[:, :0])
    with pytest.raises(SchemaMismatchError, match="another order"):
        walk(returns.iloc[::-1])
    with pytest.raises(SchemaMismatchError, match="repeated sessions"):
        walk(returns.iloc[np.repeat(np.arange(300), 2)])


@pytest.mark.slow
def test_workers_choose_the_same_bytes() -> None:
    returns = made_returns(20, 900, seed=2)
    one, two = walk(returns), walk(returns, executor=ProcessExecutor(2))
    pd.testing.assert_frame_equal(one.folds, two.folds, check_exact=True)
    assert one.chained["ret"].to_numpy().tobytes() == two.chained["ret"].to_numpy().tobytes()

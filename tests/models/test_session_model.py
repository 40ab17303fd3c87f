"""The ensemble as a walk-forward strategy gives the scores that training gives out of sample."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.backtest.walk_forward import WalkForwardInputs, walk_forward
from quant_engine.core.errors import InsufficientHistoryError
from quant_engine.core.panel import LabelPanel
from quant_engine.core.trials import MemoryTrialSink
from quant_engine.models import train
from quant_engine.models.fitting import EnsembleStrategy
from quant_engine.models.inputs import Target
from quant_engine.models.session_model import SessionModel, session_rows
from quant_engine.stats.splits import WalkForwardConfig, walk_forward_rows

PLAN = WalkForwardConfig(min_train_sessions=80, test_sessions=25, holdout_frac=0.2)


@pytest.mark.feature("D-28")
def test_the_runner_and_the_trainer_are_one_walk_forward(world, config, target):
    trained = train(world.features, world.labels, target=target, folds=world.folds, config=config)
    made = session_rows(world.features, world.labels, target=Target.of(target), config=config)
    plan = walk_forward_rows(made.spans, config=PLAN)
    inputs = WalkForwardInputs(
        made.arrays,
        made.outcome,
        min_assets=config.min_assets_per_session,
        n_in_sample=config.max_in_sample_sessions,
    )
    sink = MemoryTrialSink()
    result = walk_forward(
        SessionModel(EnsembleStrategy(config)), plan, inputs=inputs, trials=sink, family="model"
    )
    development = trained.folds[~trained.folds["is_holdout"]]
    assert len(plan) == len(development) >= 2
    assert len(sink.trials) == 1
    days = world.labels.values.time.values.astype("datetime64[us]")
    ids = list(world.labels.values.asset_ids)
    for row in np.flatnonzero(result.fold_of_row):
        own = trained.oos[trained.oos["date"] == days[made.sessions[row]]].set_index("asset_id")
        np.testing.assert_array_equal(own.loc[ids, "score"].to_numpy(), result.score[row])
        assert (own["fold"] == result.fold_of_row[row]).all()
    for name, other in (("in_sample", "blend_is_rank_ic"), ("out_of_sample", "blend_oos_rank_ic")):
        np.testing.assert_allclose(result.folds[name], development[other], rtol=1e-12)
    assert result.gap == pytest.approx(trained.quality.figures["is_oos_gap"])
    np.testing.assert_array_equal(result.folds["n_train_rows"], development["n_train_rows"])


def test_a_market_without_labels_has_no_rows(world, config, target):
    nothing = np.full(len(world.labels.span_end), np.datetime64("NaT", "D"))
    labels = LabelPanel(world.labels.values, nothing, nothing)
    with pytest.raises(InsufficientHistoryError, match="labels: wanted a session"):
        session_rows(world.features, labels, target=Target.of(target), config=config)

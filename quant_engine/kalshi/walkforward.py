"""Walk-forward by real-world event: every forecast is made by models that knew only older events.

The unit is the cluster, one release with all its events and horizons. Test blocks of clusters
follow one another; a cluster trains when its labels were known, and the purge of its family over,
before the block's first look. All horizons of a cluster lie in one fold.

Contract: the result holds out-of-sample forecasts alone, and every member is counted as a trial.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, InsufficientHistoryError
from quant_engine.core.executor import Executor, SharedArrays
from quant_engine.core.hashing import sha256_json
from quant_engine.core.trials import Trial, TrialSink
from quant_engine.kalshi.event_frames import (
    LOOK_KEY,
    CellArrays,
    EventFrames,
    cell_arrays,
    frames_digest,
)
from quant_engine.kalshi.models import MEMBERS, FittedMembers, ModelConfig, fit_members
from quant_engine.stats.fold_runs import FoldRun, FoldTask, run_folds
from quant_engine.stats.splits import (
    GroupedWalkForwardConfig,
    LabelSpans,
    SplitPlan,
    grouped_walk_forward,
    label_spans,
)

__all__ = [
    "WalkForwardEventsConfig",
    "WalkForwardForecasts",
    "plan_folds",
    "walk_forward_events",
]

IntVector = npt.NDArray[np.int64]

DAY_US = 86_400_000_000


class WalkForwardEventsConfig(FrozenConfig):
    """Settings of :func:`walk_forward_events`.

    Parameters
    ----------
    min_train_clusters, test_clusters : int
        Clusters before the first test block, and clusters per block.
    purge_days : dict of str to float
        Family to days behind its label before a cluster may train; ``"*"`` for families that are
        not named.
    inner_test_share : float
        Share of the training clusters, the newest, on which mixing weights are chosen.
    models : ModelConfig
        Settings of the members.
    """

    min_train_clusters: int = Field(default=40, ge=2)
    test_clusters: int = Field(default=20, ge=1)
    purge_days: dict[str, float] = Field(
        default_factory=lambda: {"cpi": 14.0, "fomc": 21.0, "nfp": 14.0, "gdp": 14.0, "*": 10.0}
    )
    inner_test_share: float = Field(default=0.33, gt=0.0, lt=1.0)
    models: ModelConfig = ModelConfig()

    def purge_us(self, families: npt.ArrayLike) -> IntVector:
        """Purge behind the label of each family, microseconds, shape (n,).

        Parameters
        ----------
        families : array-like of str, shape (n,)
            Lower-case names.

        Returns
        -------
        ndarray of int64
            Microseconds.

        Raises
        ------
        ConfigError
            A family without a purge: none is the default by accident.

        Examples
        --------
        >>> (WalkForwardEventsConfig().purge_us(["fomc", "weather"]) // DAY_US).tolist()
        [21, 10]
        """
        names = [str(name) for name in np.asarray(families)]
        unknown = sorted({n for n in names if n not in self.purge_days} - set(self.purge_days))
        if unknown and "*" not in self.purge_days:
            raise ConfigError(
                "purge_days",
                wanted="a purge for every family, or for '*'",
                got="none for " + ", ".join(unknown),
                hint="State how long a label of the family keeps acting.",
            )
        chosen = [self.purge_days.get(name, self.purge_days.get("*", 0.0)) for name in names]
        return np.round(np.array(chosen) * DAY_US).astype(np.int64)


@dataclass(frozen=True, eq=False)
class WalkForwardForecasts:
    """Out-of-sample forecasts of every member.

    Parameters
    ----------
    frames : EventFrames
        What was forecast.
    looks : DataFrame, index (event_id, horizon_s)
        Looks that lie in a test block: ``cluster_id, fold`` (from 1), ``regime`` and ``place`` (row
        of ``frames.looks``).
    cells : DataFrame
        ``event_id, horizon_s, cell`` and one column per member.
    mix_weights : tuple of float
        Weight of ``boosted`` in ``shrunk`` per fold.
    plan : SplitPlan
        Roles of all looks.
    data_id, split_id : str
        Hashes of the input and of the plan, as they stand in the trials.
    """

    frames: EventFrames
    looks: pd.DataFrame
    cells: pd.DataFrame
    mix_weights: tuple[float, ...]
    plan: SplitPlan
    data_id: str
    split_id: str

    @property
    def n_folds(self) -> int:
        """Test blocks."""
        return len(self.plan)

    @property
    def n_clusters(self) -> int:
        """Real-world events with an out-of-sample forecast."""
        return int(self.looks["cluster_id"].nunique())


def plan_folds(frames: EventFrames, config: WalkForwardEventsConfig) -> SplitPlan:
    """Cut looks into folds by cluster.

    Parameters
    ----------
    frames : EventFrames
        Looks and the moments at which labels became known.
    config : WalkForwardEventsConfig
        Window lengths and purges.

    Returns
    -------
    SplitPlan
        Expanding windows over the rows of ``frames.looks``.

    Raises
    ------
    InsufficientHistoryError
        Too few clusters for one test block.
    """
    return grouped_walk_forward(
        _label_spans(frames, config),
        frames.looks["cluster_id"].to_numpy(),
        config=GroupedWalkForwardConfig(
            min_train_groups=config.min_train_clusters, test_groups=config.test_clusters
        ),
    )


def walk_forward_events(
    frames: EventFrames,
    config: WalkForwardEventsConfig,
    *,
    trials: TrialSink,
    family: str,
    executor: Executor | None = None,
) -> WalkForwardForecasts:
    """Forecast every event by models that knew only older ones.

    Parameters
    ----------
    frames : EventFrames
        Looks, cells and labels.
    config : WalkForwardEventsConfig
        Windows, purges and models.
    trials : TrialSink
        Counts every member that is fitted.
    family : str
        Family of the trials, such as ``"kalshi_forecast|fake"``.
    executor : Executor, optional
        Where folds run; serial by default. Forecasts are the same bits on each.

    Returns
    -------
    WalkForwardForecasts
        Equal for equal input.

    Raises
    ------
    InsufficientHistoryError
        Too few clusters for one test block.

    Notes
    -----
    A label is read only for looks of training clusters. A model is refitted per block.
    """
    plan = plan_folds(frames, config)
    cells = cell_arrays(frames)
    tasks = [FoldTask(f"fold {split.number}", split.train, split.test) for split in plan]
    runs: list[FoldRun[float]] = run_folds(
        _MemberStrategy(config, cells.names),
        tasks,
        shared=_shared(frames, cells, config),
        executor=executor,
    )
    parts, looks = [], []
    for split, run in zip(plan, runs, strict=True):
        made = dict(zip(MEMBERS, run.test_score.T, strict=True))
        looks.append(_test_looks(frames, split.test, split.number))
        parts.append(_test_cells(frames, cells, split.test).assign(**made))
    data_id = frames_digest(frames)
    split_id = sha256_json([plan.roles.tolist(), config.purge_days])
    for member in MEMBERS:
        spec = sha256_json({"member": member, "config": config.content()})
        trials.record(Trial(family, spec, data_id, split_id, "walk_forward_events"))
    return WalkForwardForecasts(
        frames=frames,
        looks=pd.concat(looks),
        cells=pd.concat(parts, ignore_index=True),
        mix_weights=tuple(run.report for run in runs),
        plan=plan,
        data_id=data_id,
        split_id=split_id,
    )


def _label_spans(frames: EventFrames, config: WalkForwardEventsConfig) -> LabelSpans:
    start = frames.looks["asof_us"].to_numpy(dtype=np.int64)
    end = frames.labels["label_avail_us"].to_numpy(dtype=np.int64)
    return label_spans(start, end).extended(config.purge_us(frames.looks["family"]))


def _shared(
    frames: EventFrames, cells: CellArrays, config: WalkForwardEventsConfig
) -> SharedArrays:
    """Everything that a fold reads, as arrays: cells, outcomes, and the spans of the labels."""
    # Numbers in the order of the names: which name a cluster has decides nothing.
    _, cluster = np.unique(cells.cluster, return_inverse=True)
    arrays = {one.name: getattr(cells, one.name) for one in fields(cells) if one.name != "names"}
    return arrays | {
        "cluster": cluster.astype(np.int64),
        "outcome": cells.outcome(frames.labels["happened"].to_numpy()),
        "asof_us": frames.looks["asof_us"].to_numpy(dtype=np.int64),
        "label_us": frames.labels["label_avail_us"].to_numpy(dtype=np.int64),
        "purge_us": config.purge_us(frames.looks["family"]),
    }


@dataclass(frozen=True, eq=False)
class _Members:
    """Members that were fitted on the looks of one fold."""

    rows: IntVector
    names: tuple[str, ...]
    fitted: FittedMembers

    def score(self, shared: SharedArrays, rows: IntVector) -> npt.NDArray[np.float64]:
        """Probability of every cell of some looks, one column per member."""
        if not len(rows):
            return np.empty((0, len(MEMBERS)))
        made = self.fitted.forecast(_cells(shared, self.names), rows)
        return np.column_stack([made[member] for member in MEMBERS])

    def report(self, shared: SharedArrays, task: FoldTask) -> float:
        """Weight of ``boosted`` in ``shrunk``."""
        del shared, task
        return self.fitted.mix_weight


@dataclass(frozen=True, eq=False)
class _MemberStrategy:
    """Fits all members on the looks of a fold, the mixing weight on the newest of them."""

    config: WalkForwardEventsConfig
    names: tuple[str, ...]

    def fit(self, shared: SharedArrays, task: FoldTask) -> _Members:
        """Fit on the train looks of the task."""
        cells = _cells(shared, self.names)
        # The outcome of what is tested must not even be there to be read.
        known = np.where(np.isin(cells.look, task.train), shared["outcome"], 0.0)
        inner = _inner(shared, task.train, self.config)
        fitted = fit_members(cells, known, task.train, inner=inner, config=self.config.models)
        return _Members(task.train, self.names, fitted)


def _cells(shared: SharedArrays, names: tuple[str, ...]) -> CellArrays:
    arrays = {one.name: shared[one.name] for one in fields(CellArrays) if one.name != "names"}
    return CellArrays(**arrays, names=names)


def _inner(
    shared: SharedArrays, train: IntVector, config: WalkForwardEventsConfig
) -> tuple[IntVector, IntVector] | None:
    """Older and newest training looks by the same splitter; None where there are too few."""
    clusters = shared["cluster"][train]
    n_clusters = len(np.unique(clusters))
    n_late = max(int(n_clusters * config.inner_test_share), 1)
    windows = GroupedWalkForwardConfig(
        min_train_groups=max(n_clusters // 3, 2), test_groups=n_late, left_over="join_last"
    )
    spans = label_spans(shared["asof_us"], shared["label_us"]).extended(shared["purge_us"])
    try:
        plan = grouped_walk_forward(spans.take(train), clusters, config=windows)
    except InsufficientHistoryError:
        return None
    last = list(plan)[-1]
    return train[last.train], train[last.test]


def _test_looks(frames: EventFrames, test: IntVector, fold: int) -> pd.DataFrame:
    return frames.looks.iloc[test][["cluster_id", "regime"]].assign(fold=fold, place=test)


def _test_cells(frames: EventFrames, cells: CellArrays, test: IntVector) -> pd.DataFrame:
    rows = frames.cells.iloc[cells.cells_of(test)]
    return rows[[*LOOK_KEY, "cell"]].reset_index(drop=True)

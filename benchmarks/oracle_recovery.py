"""Oracle recovery: which share of a planted signal the default alpha model finds out of sample.

A simulated world has a planted expected return, and its oracle forecasts it as well as anyone can
who knows the formula. The share recovered is the model's mean out-of-sample rank IC divided by the
oracle's on the same rows. In worlds without any signal the model's IC has to be zero.

1. ``plan_worlds`` lists the worlds: one task each, a pure function of its seed.
2. ``measure_world`` simulates, trains once on the first 1008 sessions, scores the rest and appends
   the finished world to the cache.
3. ``recovery_table``, ``comparisons`` and ``null_table`` summarise over worlds.

Run ``python benchmarks/oracle_recovery.py --help``. Measurement code outside the package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightgbm as lgb
import numpy as np
from resume import append, run

from quant_engine.artifacts.code import code_digest
from quant_engine.core.hashing import canonical_json, sha256_text
from quant_engine.core.panel import LabelPanel
from quant_engine.core.specs import SpecCatalog, build_config
from quant_engine.data.loader import LoadRequest, MarketData, load_market
from quant_engine.data.simulated import EquityWorld, EquityWorldConfig
from quant_engine.data.simulated.alpha import AlphaTerm
from quant_engine.features.labels import forward_labels
from quant_engine.features.pipeline import compute_features
from quant_engine.features.sets import FeatureSet
from quant_engine.models.blend import blend_members
from quant_engine.models.fitting import EnsembleStrategy
from quant_engine.models.inputs import ModelFeatures
from quant_engine.models.matrix import RowMatrix, build_rows, transform_target
from quant_engine.models.plan import check_folds
from quant_engine.models.ridge import Ridge, RidgeParams
from quant_engine.stats.fold_runs import FoldTask
from quant_engine.stats.ic import ic_by_date
from quant_engine.stats.splits import Fold, WalkForwardConfig, walk_forward
from quant_engine.workflows.config import TrainConfig
from quant_engine.workflows.train import market_features

TRAIN_SESSIONS = 1008
CORE_SET, PRICE_SET = "simulated_core", "price_volume_core"
ALPHA_WORLD, NULL_WORLD = "mixed_300", "null_300"
BLEND, PRICE_BLEND = "default blend", "default blend, price-only set"
LIBRARY, TOLD = "LightGBM library defaults", "regression told the formula"
TARGET_SHARE = 0.55
MEASURED = ("core", "data/simulated", "features", "models", "stats")
"""Packages whose sources decide the figures: a cached world of other sources is not used."""


@dataclass(frozen=True)
class WorldTask:
    """One world to measure.

    Parameters
    ----------
    spec : str
        Name in ``specs/worlds``.
    seed : int
        Seed of the world.
    oracle_rank_ic : float or None
        Planted strength; None keeps the spec's.
    horizon_sessions : int or None
        Horizon of label and planted strength; None keeps both defaults.
    settings : str
        JSON of overrides of ``TrainConfig``: the model that is measured.
    code : str
        Digest of the sources that decide the figures.
    cache : str
        File to append the result to; empty = none.
    """

    spec: str
    seed: int
    oracle_rank_ic: float | None
    horizon_sessions: int | None
    settings: str
    code: str
    cache: str

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        parts = {name: value for name, value in asdict(self).items() if name != "cache"}
        parts["model"] = self.train_config().content()
        return sha256_text(canonical_json(parts))

    def train_config(self) -> TrainConfig:
        """Return the settings of a training run that are measured."""
        config = build_config(TrainConfig, json.loads(self.settings), where="--settings")
        if self.horizon_sessions is None:
            return config
        labels = config.labels.model_copy(update={"horizon_sessions": self.horizon_sessions})
        return config.model_copy(update={"labels": labels})

    def world_config(self) -> EquityWorldConfig:
        """Return the world's configuration."""
        world = SpecCatalog.default(None).load("worlds", self.spec, EquityWorldConfig)
        changes: dict[str, Any] = {}
        if self.oracle_rank_ic is not None:
            changes["oracle_rank_ic"] = self.oracle_rank_ic
        if self.horizon_sessions is not None:
            changes["horizon_sessions"] = self.horizon_sessions
        alpha = world.alpha.model_copy(update=changes)
        return world.model_copy(update={"seed": self.seed, "alpha": alpha})


@dataclass(frozen=True, eq=False)
class Setting:
    """What every fit of a world shares: market, labels, split and outcome (T, N)."""

    world: EquityWorld
    market: MarketData
    labels: LabelPanel
    fold: Fold
    config: TrainConfig

    @property
    def outcome(self) -> np.ndarray:
        """Simple forward return in excess of the benchmark, the yardstick of every score."""
        horizon = self.config.labels.horizon_sessions
        return self.labels.values.field(f"fwd_excess_{horizon}s")


@dataclass(frozen=True, eq=False)
class Fits:
    """Scores of the members on a feature set (T, N), NaN outside the scored rows."""

    rows: RowMatrix
    y: np.ndarray
    scores: dict[str, np.ndarray]


def plan_worlds(
    spec: str, n_worlds: int, options: argparse.Namespace, *, code: str
) -> list[WorldTask]:
    """List the worlds of one kind: consecutive seeds."""
    return [
        WorldTask(
            spec=spec,
            seed=options.first_seed + number,
            oracle_rank_ic=options.oracle_rank_ic if spec == ALPHA_WORLD else None,
            horizon_sessions=options.horizon_sessions,
            settings=options.settings,
            code=code,
            cache=options.cache,
        )
        for number in range(n_worlds)
    ]


def measure_world(shared: Mapping[str, np.ndarray], task: WorldTask) -> dict[str, Any]:
    """Measure one world and append it to the cache.

    Parameters
    ----------
    shared : mapping
        Unused; tasks are small.
    task : WorldTask
        The world.

    Returns
    -------
    dict
        ``key``, ``spec``, ``seed`` and per variant its mean out-of-sample figures.
    """
    setting = prepare(task)
    measured = _null_figures(setting) if task.spec == NULL_WORLD else _alpha_figures(setting)
    record = {"key": task.key, "spec": task.spec, "seed": task.seed, "figures": measured}
    append(task.cache, record)
    return record


def prepare(task: WorldTask) -> Setting:
    """Simulate the world, label it and split it once: 1008 sessions train, the rest tests."""
    config = task.train_config()
    market = load_market(LoadRequest(world=task.world_config()))
    labels = forward_labels(
        market.panel,
        config.labels,
        benchmark_returns=market.benchmark.open_returns,
        delistings=market.delistings,
    )
    n_sessions = market.panel.shape[0]
    # More than half of what is left makes one block of all of it.
    plan = WalkForwardConfig(
        min_train_sessions=TRAIN_SESSIONS,
        test_sessions=(n_sessions - TRAIN_SESSIONS) // 2 + 1,
        holdout_frac=0.0,
    )
    span = labels.values.time.values, labels.span_start, labels.span_end
    (fold,) = walk_forward(*span, config=plan)
    check_folds(labels, (fold,))
    return Setting(market.world, market, labels, fold, config)


def fit_members(setting: Setting, features: ModelFeatures, target: np.ndarray) -> Fits:
    """Fit every member once on the train window and score the test rows that have a label."""
    config = setting.config.seeded_model().model_copy(update={"max_in_sample_sessions": 1})
    rows = build_rows(features, config)
    y = transform_target(target, rows, config)
    shared = {
        "x": rows.x,
        "y": y,
        "offsets": rows.offsets,
        "day": features.panel.time.values.astype("datetime64[D]").astype(np.int64),
    }
    scored = setting.fold.scored
    task = FoldTask("train window", setting.fold.train, scored)
    fit = EnsembleStrategy(config).fit(shared, task)
    place = rows.of_sessions(scored)
    raw = {
        name: _spread(rows, place, values, features.panel.shape)
        for name, values in zip(config.columns, fit.score(shared, scored), strict=True)
    }
    blend = blend_members(raw, long_short_frac=config.long_short_frac)
    alone = {f"{name} alone": values for name, values in raw.items()}
    return Fits(rows, y, {BLEND: blend.score, **alone})


def _features(setting: Setting, name: str) -> ModelFeatures:
    feature_set = SpecCatalog.default(None).load("features", name, FeatureSet)
    panel = setting.market.panel
    return market_features(compute_features(panel, feature_set), feature_set, panel)


def _spread(
    rows: RowMatrix, place: np.ndarray, values: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """Put row values on the axes of the panel (T, N)."""
    wide = np.full(shape, np.nan)
    wide[rows.session[place], rows.asset[place]] = values
    return wide


def _alpha_figures(setting: Setting) -> dict[str, dict[str, float]]:
    target = np.asarray(setting.labels.values.field(setting.config.target_field))
    fits = fit_members(setting, _features(setting, CORE_SET), target)
    train, test = _train_rows(setting, fits), fits.rows.of_sessions(setting.fold.scored)
    scores = dict(fits.scores)
    shape = setting.market.panel.shape
    library = lgb.LGBMRegressor(n_jobs=1, verbosity=-1)
    library.fit(fits.rows.x[train], fits.y[train])
    booster = library.booster_
    scores[LIBRARY] = _spread(fits.rows, test, booster.predict(fits.rows.x[test]), shape)
    terms = _formula_terms(setting.world, fits.rows)
    informed = Ridge(RidgeParams(alpha_share=0.0)).fit(terms[train], fits.y[train], None)
    scores[TOLD] = _spread(fits.rows, test, informed.predict(terms[test]), shape)
    figures = {name: _against_oracle(setting, score) for name, score in scores.items()}
    price = fit_members(setting, _features(setting, PRICE_SET), target)
    figures[PRICE_BLEND] = _against_oracle(setting, price.scores[BLEND])
    return figures


def _train_rows(setting: Setting, fits: Fits) -> np.ndarray:
    """Rows that trained: of the train sessions, those with a target."""
    rows = fits.rows.of_sessions(setting.fold.train)
    return rows[~np.isnan(fits.y[rows])]


def _formula_terms(world: EquityWorld, rows: RowMatrix) -> np.ndarray:
    """Terms of the planted formula, one column each, on the rows of the model.

    The regression that is told them has to estimate only their weights: what it recovers is a
    ceiling for anyone who must find the terms as well.
    """
    columns = []
    for term in world.truth.alpha_terms.itertuples(index=False):
        first, second = (
            world.panel.field(name)[rows.session, rows.asset].astype(np.float64)
            for name in (term.first, term.second)
        )
        columns.append(AlphaTerm(term.kind, 0, 1, term.weight).evaluate(first, second))
    return np.stack(columns, axis=1).astype(np.float32)


def _against_oracle(setting: Setting, score: np.ndarray) -> dict[str, float]:
    oracle = np.where(np.isnan(score), np.nan, setting.world.truth.oracle_score)
    return {
        "rank_ic": _mean_ic(score, setting.outcome, "rank"),
        "oracle_rank_ic": _mean_ic(oracle, setting.outcome, "rank"),
        "pearson_ic": _mean_ic(score, setting.outcome, "pearson"),
        "oracle_pearson_ic": _mean_ic(oracle, setting.outcome, "pearson"),
        "corr_with_oracle": _mean_ic(score, oracle, "rank"),
    }


def _mean_ic(score: np.ndarray, outcome: np.ndarray, method: str) -> float:
    return float(np.nanmean(ic_by_date(score, outcome, method=method)))


def _null_figures(setting: Setting) -> dict[str, dict[str, float]]:
    target = np.asarray(setting.labels.values.field(setting.config.target_field))
    fits = fit_members(setting, _features(setting, CORE_SET), target)
    horizon = setting.config.labels.horizon_sessions
    hedged = setting.outcome - setting.world.truth.beta * _market(setting.world, horizon)[:, None]
    return {
        name: {
            "pearson_ic": _mean_ic(score, setting.outcome, "pearson"),
            "pearson_ic_hedged": _mean_ic(score, hedged, "pearson"),
            "rank_ic": _mean_ic(score, setting.outcome, "rank"),
        }
        for name, score in fits.scores.items()
    }


def _market(world: EquityWorld, horizon: int) -> np.ndarray:
    """Market factor from the open of t + 1 to the open of t + 1 + h, shape (T,); NaN at the end."""
    overnight, intraday = world.truth.market_half_returns
    step = np.full(overnight.size, np.nan)
    step[:-1] = np.log1p(intraday[:-1]) + np.log1p(overnight[1:])
    growth = np.full(overnight.size, np.nan)
    for t in range(overnight.size - horizon - 1):
        growth[t] = step[t + 1 : t + 1 + horizon].sum()
    return np.expm1(growth)


def jackknife(statistic: Any, worlds: np.ndarray) -> tuple[float, float]:
    """Value of a statistic of worlds and its jackknife standard error.

    Parameters
    ----------
    statistic : callable
        Of an array (W, K), one row per world.
    worlds : ndarray, shape (W, K)
        Figures per world.

    Returns
    -------
    tuple of float
        Value; standard error, NaN for one world.
    """
    n = len(worlds)
    value = float(statistic(worlds))
    if n < 2:
        return value, float("nan")
    left = np.array([statistic(np.delete(worlds, i, axis=0)) for i in range(n)])
    return value, float(np.sqrt((n - 1) / n * ((left - left.mean()) ** 2).sum()))


def ratio_of_means(worlds: np.ndarray) -> float:
    """Mean of column 0 divided by the mean of column 1."""
    means = worlds.mean(axis=0)
    return float(means[0] / means[1])


def difference_of_shares(worlds: np.ndarray) -> float:
    """Ratio of means of columns 0 and 1 minus that of columns 2 and 3."""
    return ratio_of_means(worlds[:, :2]) - ratio_of_means(worlds[:, 2:])


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Mean and its standard error over worlds."""
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else float("nan")
    return float(values.mean()), float(error)


def _column(records: Sequence[Mapping[str, Any]], variant: str, *names: str) -> np.ndarray:
    """Figures of a variant, shape (W, K)."""
    return np.array([[r["figures"][variant][name] for name in names] for r in records])


def recovery_table(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Summarise alpha worlds: one row per variant."""
    table = {}
    for variant in records[0]["figures"]:
        rank = _column(records, variant, "rank_ic", "oracle_rank_ic")
        pearson = _column(records, variant, "pearson_ic", "oracle_pearson_ic")
        each = rank[:, 0] / rank[:, 1]
        row = {}
        row["share"], row["share_se"] = jackknife(ratio_of_means, rank)
        row["mean_share"], row["mean_share_se"] = mean_and_error(each)
        row["worst"], row["best"] = float(each.min()), float(each.max())
        row["pearson_share"], row["pearson_share_se"] = jackknife(ratio_of_means, pearson)
        corr = _column(records, variant, "corr_with_oracle")[:, 0]
        row["corr"], row["corr_se"] = mean_and_error(corr)
        row["rank_ic"], row["rank_ic_se"] = mean_and_error(rank[:, 0])
        row["oracle_rank_ic"], row["oracle_rank_ic_se"] = mean_and_error(rank[:, 1])
        table[variant] = row
    return table


def comparisons(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Paired differences of the default blend to each other variant, in share recovered."""
    names = ("rank_ic", "oracle_rank_ic")
    blend, blend_corr = _column(records, BLEND, *names), _column(records, BLEND, "corr_with_oracle")
    table = {}
    for variant in records[0]["figures"]:
        if variant == BLEND:
            continue
        pair = np.hstack([blend, _column(records, variant, *names)])
        row = {}
        row["share"], row["share_se"] = jackknife(difference_of_shares, pair)
        corr = blend_corr - _column(records, variant, "corr_with_oracle")
        row["corr"], row["corr_se"] = mean_and_error(corr[:, 0])
        table[variant] = row
    return table


def null_table(records: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Summarise null worlds: one row per variant and figure."""
    table = {}
    for variant, figures in records[0]["figures"].items():
        for figure in figures:
            values = _column(records, variant, figure)[:, 0]
            mean, error = mean_and_error(values)
            table[f"{variant}, {figure}"] = {
                "mean": mean,
                "se": error,
                "z": mean / error,
                "worst": float(values[np.abs(values).argmax()]),
            }
    return table


def verdicts(
    recovery: Mapping[str, Any], against: Mapping[str, Any], null: Mapping[str, Any]
) -> dict[str, bool]:
    """Judge the figures against the acceptance lines."""
    lines = {}
    if recovery:
        blend, library = recovery[BLEND], against[LIBRARY]
        lines[f"target: default blend recovers >= {TARGET_SHARE:.0%}"] = (
            blend["share"] >= TARGET_SHARE
        )
        lines["required: blend above LightGBM's defaults"] = library["share"] > 0.0
        for name, row in against.items():
            if name.endswith(" alone"):
                lines[f"required: blend >= {name} less one standard error"] = (
                    row["share"] >= -row["share_se"]
                )
    if null:
        z = null[f"{BLEND}, pearson_ic"]["z"]
        lines["required: null Pearson IC within 3 standard errors of 0"] = abs(z) <= 3.0
    return lines


def _print_report(report: Mapping[str, Any]) -> None:
    recovery, against, null = report["recovery"], report["against_blend"], report["null"]
    if recovery:
        oracle = recovery[BLEND]
        print(f"Share of the oracle's rank IC recovered out of sample, {report['worlds']} worlds")
        print(
            f"Oracle rank IC on the same rows {oracle['oracle_rank_ic']:.4f} "
            f"(se {oracle['oracle_rank_ic_se']:.4f})\n"
        )
        head = ("ratio of means", "mean of ratios", "worst", "best", "Pearson", "corr with oracle")
        print(f"{'':32s}{head[0]:>16s}{head[1]:>16s}{head[2]:>7s}{head[3]:>7s}", end="")
        print(f"{head[4]:>16s}{head[5]:>18s}")
        for name, row in recovery.items():
            print(
                f"{name:32s}{_pm(row, 'share'):>16s}{_pm(row, 'mean_share'):>16s}"
                f"{row['worst']:7.2f}{row['best']:7.2f}{_pm(row, 'pearson_share'):>16s}"
                f"{_pm(row, 'corr'):>18s}"
            )
        print(f"\n{'blend minus':32s}{'share':>16s}{'corr with oracle':>18s}")
        for name, row in against.items():
            print(f"{name:32s}{_pm(row, 'share'):>16s}{_pm(row, 'corr'):>18s}")
    if null:
        print(f"\nWorlds without signal, {report['null_worlds']}: mean out-of-sample IC")
        print(f"{'':40s}{'mean':>10s}{'se':>9s}{'z':>7s}{'largest':>9s}")
        for name, row in null.items():
            print(f"{name:40s}{row['mean']:10.5f}{row['se']:9.5f}{row['z']:7.2f}", end="")
            print(f"{row['worst']:9.4f}")
    print()
    for line, passed in report["verdicts"].items():
        print(f"{'yes' if passed else 'NO ':4s}{line}")


def _pm(row: Mapping[str, float], name: str) -> str:
    return f"{row[name]:.3f} ({row[name + '_se']:.3f})"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, default=20, help="alpha worlds (20)")
    parser.add_argument("--null-worlds", type=int, default=200, help="worlds without signal (200)")
    parser.add_argument("--first-seed", type=int, default=0, help="tune on seeds >= 1000 only (0)")
    parser.add_argument("--jobs", type=int, default=2, help="worlds measured side by side (2)")
    parser.add_argument("--cache", default="", help="JSONL file of finished worlds, to go on from")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--oracle-rank-ic", type=float, help="planted strength (0.03)")
    parser.add_argument("--horizon-sessions", type=int, help="label horizon (10)")
    parser.add_argument("--settings", default="{}", help="JSON overrides of the training settings")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return 1 when a required line fails."""
    options = parse(arguments)
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    code = sha256_text(own + code_digest(MEASURED) + lgb.__version__)
    alpha, null = (
        run(
            measure_world,
            plan_worlds(spec, count, options, code=code),
            jobs=options.jobs,
            name=spec,
        )
        for spec, count in ((ALPHA_WORLD, options.worlds), (NULL_WORLD, options.null_worlds))
    )
    recovery = recovery_table(alpha) if alpha else {}
    against = comparisons(alpha) if alpha else {}
    nothing = null_table(null) if null else {}
    report = {
        "worlds": len(alpha),
        "null_worlds": len(null),
        "recovery": recovery,
        "against_blend": against,
        "null": nothing,
        # A standard error takes two worlds.
        "verdicts": verdicts(
            recovery if len(alpha) > 1 else {}, against, nothing if len(null) > 1 else {}
        ),
    }
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)
    required = [ok for line, ok in report["verdicts"].items() if line.startswith("required")]
    return 0 if all(required) else 1


if __name__ == "__main__":
    sys.exit(main())

"""The Monte Carlo of Gu, Kelly and Xiu (2020), appendix A: an outside anchor for the learners.

200 assets, 180 months, 50 or 100 persistent characteristics mapped to ranks in [-1, 1], one
macroeconomic series, returns with a factor structure and t-distributed noise. Model (a) is linear
in three of the covariates, model (b) is not. The first third of the months trains, the second
chooses penalties, the third tests.

1. ``simulate`` draws one sample of both models.
2. ``measure`` fits every learner on it and appends the finished repetition to the cache.
3. ``summarise`` averages over repetitions and compares with the published means.

Published (appendix table A.1, means of 100 repetitions): the R2 of pooled OLS and of OLS with a
Huber loss, in and out of sample. The process itself, the shares and theta are those of the
appendix. Not stated there, and taken as the stationary choice: the first values of the
characteristics and of the macroeconomic series, and the Huber threshold, which is the 99.9 % point
of the absolute OLS residuals.

What the published R2 is measured against, a forecast of zero or the mean of the training returns,
is not certain, so both are reported. They agree in model (a), whose mean return is zero, and differ
by some 2.4 points in model (b), whose mean is not: there the in-sample figures, which vary little,
tell which reading is the table's.

Run ``python benchmarks/gkx.py --help``. Measurement code outside the package.
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
import sklearn
from resume import append, run
from sklearn.linear_model import enet_path

from quant_engine.artifacts.code import code_digest
from quant_engine.core.hashing import canonical_json, sha256_text
from quant_engine.models.ridge import FittedRidge, Ridge, RidgeParams
from quant_engine.models.shallow_trees import ShallowTrees, ShallowTreesParams
from quant_engine.stats.splits import WindowsConfig, cut_windows, label_spans

N_ASSETS, N_MONTHS = 200, 180
MODELS, SIZES = ("a", "b"), (50, 100)
OLS, HUBER, TRUTH = "OLS", "OLS with Huber loss", "the true mean"
ZERO, MEAN = "zero", "train mean"
PUBLISHED: dict[str, dict[str, dict[tuple[str, int], float]]] = {
    OLS: {
        "out": {("a", 50): 1.14, ("a", 100): -1.35, ("b", 50): -4.72, ("b", 100): -7.75},
        "in": {("a", 50): 7.50, ("a", 100): 8.19, ("b", 50): 3.44, ("b", 100): 4.39},
    },
    HUBER: {
        "out": {("a", 50): 1.25, ("a", 100): -1.15, ("b", 50): -4.60, ("b", 100): -7.54},
        "in": {("a", 50): 7.48, ("a", 100): 8.16, ("b", 50): 3.43, ("b", 100): 4.36},
    },
}
THIRDS = WindowsConfig(names=("train", "validate", "test"), shares=(1 / 3, 1 / 3, 1 / 3))
RIDGE_SHARES = tuple(10.0 ** np.arange(-3.0, 1.01, 0.5))
TREES = (
    ShallowTreesParams(),
    ShallowTreesParams(depth=1, n_trees=100, learning_rate=0.1, column_share=1.0),
    ShallowTreesParams(depth=2, n_trees=50, learning_rate=0.1, column_share=1.0),
)
"""The learner's defaults, and two quicker ones in the range that the paper searches."""
MEASURED = ("core", "models", "stats/splits")
"""Sources that decide the figures: a cached repetition of other sources is not used."""


@dataclass(frozen=True)
class Repetition:
    """One sample to draw and measure.

    Parameters
    ----------
    number, seed : int
        Repetition, and seed of the whole experiment.
    n_characteristics : int
        50 or 100; twice as many covariates.
    has_trees : bool
        Whether boosted trees, which take most of the time, are fitted as well.
    code : str
        Digest of the sources that decide the figures.
    cache : str
        File to append the result to; empty = none.
    """

    number: int
    seed: int
    n_characteristics: int
    has_trees: bool
    code: str
    cache: str

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        parts = {name: value for name, value in asdict(self).items() if name != "cache"}
        return sha256_text(canonical_json(parts))


@dataclass(frozen=True, eq=False)
class Sample:
    """One draw: rows are (month, asset), months first.

    Parameters
    ----------
    month : ndarray of int64, shape (R,)
        Month of the return, which is also its whole label span.
    x : ndarray of float32, shape (R, 2 P)
        Covariates known a month earlier: characteristics, then characteristics times the series.
    told : mapping
        Model -> the terms of its formula, shape (R, 3).
    expected, y : mapping
        Model -> conditional mean and return, shape (R,).
    """

    month: np.ndarray
    x: np.ndarray
    told: Mapping[str, np.ndarray]
    expected: Mapping[str, np.ndarray]
    y: Mapping[str, np.ndarray]


def simulate(rng: np.random.Generator, n_characteristics: int) -> Sample:
    """Draw one sample of both models, which share covariates and noise.

    Parameters
    ----------
    rng : numpy Generator
        Source of randomness.
    n_characteristics : int
        Characteristics P per asset.

    Returns
    -------
    Sample
        180 months of 200 assets.
    """
    shape = (N_MONTHS, N_ASSETS, n_characteristics)
    rho = rng.uniform(0.9, 1.0, n_characteristics)
    raw = _autoregression(rng, rho, shape)
    ranks = raw.argsort(axis=1).argsort(axis=1) + 1.0
    c = 2.0 * ranks / (N_ASSETS + 1) - 1.0
    series = _autoregression(rng, np.array([0.95]), (N_MONTHS, 1))
    timed = c * series[:, :, None]
    factors = rng.normal(0.0, 0.05, (N_MONTHS, 3))
    noise = np.einsum("tnk,tk->tn", c[:, :, :3], factors)
    noise += 0.05 * rng.standard_t(5, (N_MONTHS, N_ASSETS))
    first, second, third = c[:, :, 0], c[:, :, 1], timed[:, :, 2]
    told = {
        "a": np.stack([first, second, third], axis=-1),
        "b": np.stack([first**2, first * second, np.sign(third)], axis=-1),
    }
    theta = {"a": np.array([0.02, 0.02, 0.02]), "b": np.array([0.04, 0.03, 0.012])}
    expected = {model: told[model] @ theta[model] for model in MODELS}
    n_rows = N_MONTHS * N_ASSETS
    return Sample(
        month=np.repeat(np.arange(N_MONTHS), N_ASSETS),
        x=np.concatenate([c, timed], axis=2).reshape(n_rows, -1).astype(np.float32),
        told={model: terms.reshape(n_rows, 3) for model, terms in told.items()},
        expected={model: mean.reshape(n_rows) for model, mean in expected.items()},
        y={model: (mean + noise).reshape(n_rows) for model, mean in expected.items()},
    )


def _autoregression(
    rng: np.random.Generator, rho: np.ndarray, shape: tuple[int, ...]
) -> np.ndarray:
    """Stationary unit-variance AR(1) along the first axis; ``rho`` belongs to the last."""
    values = rng.standard_normal(shape)
    scale = np.sqrt(1.0 - rho**2)
    for t in range(1, shape[0]):
        values[t] = rho * values[t - 1] + scale * values[t]
    return values


def measure(shared: Mapping[str, np.ndarray], task: Repetition) -> dict[str, Any]:
    """Draw one sample, fit every learner on both models and append the figures to the cache.

    Parameters
    ----------
    shared : mapping
        Unused; tasks are small.
    task : Repetition
        The repetition.

    Returns
    -------
    dict
        ``key``, ``size``, and per model and learner the four R2 in percent.
    """
    rng = np.random.default_rng([task.seed, task.n_characteristics, task.number])
    sample = simulate(rng, task.n_characteristics)
    windows = cut_windows(label_spans(sample.month, sample.month), config=THIRDS)
    rows = {name: windows.rows(name) for name in THIRDS.names}
    figures = {model: _figures(sample, model, rows, trees=task.has_trees) for model in MODELS}
    record = {"key": task.key, "size": task.n_characteristics, "figures": figures}
    append(task.cache, record)
    return record


def _figures(
    sample: Sample, model: str, rows: Mapping[str, np.ndarray], *, trees: bool
) -> dict[str, dict[str, float]]:
    x, y = sample.x, sample.y[model]
    train, test = rows["train"], rows["test"]
    terms = sample.told[model].astype(np.float32)
    predictions = {
        TRUTH: sample.expected[model],
        "OLS told the three terms": _ols(terms[train], y[train]).predict(terms),
        OLS: _ols(x[train], y[train]).predict(x),
        HUBER: _huber(x[train], y[train]).predict(x),
        "ridge": _ridge(x, y, rows),
        "elastic net": _elastic_net(x, y, rows),
    }
    if trees:
        forecasts = [ShallowTrees(p).fit(x[train], y[train], None).predict(x) for p in TREES]
        predictions["shallow LightGBM, defaults"] = forecasts[0]
        predictions["shallow LightGBM, chosen"] = _chosen(forecasts, y, rows["validate"])
    mean = float(y[train].mean())
    return {
        name: {
            f"{where}, {against}": _r2(y[part], forecast[part], base)
            for where, part in (("out", test), ("in", train))
            for against, base in ((ZERO, 0.0), (MEAN, mean))
        }
        for name, forecast in predictions.items()
    }


def _r2(y: np.ndarray, forecast: np.ndarray, base: float) -> float:
    """R2 in percent against a constant forecast."""
    return float(100.0 * (1.0 - ((y - forecast) ** 2).sum() / ((y - base) ** 2).sum()))


def _ols(x: np.ndarray, y: np.ndarray, weight: np.ndarray | None = None) -> FittedRidge:
    return Ridge(RidgeParams(alpha_share=0.0)).fit(x, y, weight)


def _huber(x: np.ndarray, y: np.ndarray, *, steps: int = 50) -> FittedRidge:
    """Minimise the Huber loss by reweighted least squares, to 1e-10 in the predictions."""
    fitted = _ols(x, y)
    before = fitted.predict(x)
    bound = np.quantile(np.abs(y - before), 0.999)
    for _ in range(steps):
        weight = np.minimum(1.0, bound / np.maximum(np.abs(y - before), 1e-300))
        fitted = _ols(x, y, weight)
        after = fitted.predict(x)
        if np.abs(after - before).max() < 1e-10:
            break
        before = after
    return fitted


def _ridge(x: np.ndarray, y: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    train = rows["train"]
    fits = [Ridge(RidgeParams(alpha_share=s)).fit(x[train], y[train], None) for s in RIDGE_SHARES]
    return _chosen([fit.predict(x) for fit in fits], y, rows["validate"])


def _elastic_net(x: np.ndarray, y: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
    """Penalties of equal l1 and l2 parts, from the one that keeps nothing down to a thousandth."""
    train = rows["train"]
    mean, base = x[train].mean(axis=0, dtype=np.float64), y[train].mean()
    centred = x.astype(np.float64) - mean
    _, coefs, _ = enet_path(
        centred[train], y[train] - base, l1_ratio=0.5, eps=1e-3, alphas=30, precompute=True
    )
    return _chosen([base + centred @ coef for coef in coefs.T], y, rows["validate"])


def _chosen(forecasts: Sequence[np.ndarray], y: np.ndarray, validate: np.ndarray) -> np.ndarray:
    """Forecast with the smallest squared error on the validation months."""
    losses = [float(((y[validate] - forecast[validate]) ** 2).sum()) for forecast in forecasts]
    return forecasts[int(np.argmin(losses))]


def summarise(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Means over repetitions, one row per learner, model and size.

    Parameters
    ----------
    records : sequence of mapping
        Finished repetitions.

    Returns
    -------
    list of dict
        ``learner``, ``model``, ``size``, ``reps``; per figure its mean and standard error; for
        anchored learners the published means and the z of the difference, whose standard error
        is that of two independent means of as many repetitions as here.
    """
    table = []
    for learner in records[0]["figures"]["a"]:
        having = [record for record in records if learner in record["figures"]["a"]]
        for model in MODELS:
            for size in sorted({record["size"] for record in having}):
                mine = [r["figures"][model][learner] for r in having if r["size"] == size]
                row: dict[str, Any] = {"learner": learner, "model": model, "size": size}
                row["reps"] = len(mine)
                for figure in mine[0]:
                    values = np.array([one[figure] for one in mine])
                    row[figure] = float(values.mean())
                    row[f"{figure}, se"] = float(values.std(ddof=1) / np.sqrt(len(values)))
                for where, published in PUBLISHED.get(learner, {}).items():
                    anchor = published[model, size]
                    row[f"{where}, published"] = anchor
                    for against in (ZERO, MEAN):
                        figure = f"{where}, {against}"
                        error = np.sqrt(2.0) * row[f"{figure}, se"]
                        row[f"{figure}, z"] = float((row[figure] - anchor) / error)
                table.append(row)
    return table


def _print(table: Sequence[Mapping[str, Any]], where: str) -> None:
    title = "Out-of-sample" if where == "out" else "In-sample"
    print(f"\n{title} R2 in percent, mean (standard error) over repetitions")
    print(f"{'':30s}{'':9s}{'reps':>5s}{'against zero':>16s}{'against mean':>16s}", end="")
    print(f"{'published':>11s}{'z zero':>8s}{'z mean':>8s}")
    for row in table:
        print(f"{row['learner']:30s}({row['model']}, {row['size']:3d}){row['reps']:5d}", end="")
        for against in (ZERO, MEAN):
            figure = f"{where}, {against}"
            text = f"{row[figure]:.2f} ({row[figure + ', se']:.2f})"
            print(f"{text:>16s}", end="")
        if f"{where}, published" in row:
            print(f"{row[where + ', published']:11.2f}", end="")
            print("".join(f"{row[f'{where}, {against}, z']:8.2f}" for against in (ZERO, MEAN)))
        else:
            print()


def closed_form(model: str, against: str) -> float:
    """R2 in percent of the true mean, as the ratio of expected squares.

    Parameters
    ----------
    model : str
        ``"a"`` or ``"b"``.
    against : str
        ``ZERO`` or ``MEAN``.

    Returns
    -------
    float
        ``100 * (1 - E noise^2 / E (return - base)^2)``; the ranks are a known grid, the series has
        variance 1 and t-distributed noise with 5 degrees of freedom variance 5/3.
    """
    grid = 2.0 * np.arange(1, N_ASSETS + 1) / (N_ASSETS + 1) - 1.0
    second, fourth = float((grid**2).mean()), float((grid**4).mean())
    noise = 0.05**2 * (3.0 * second + 5.0 / 3.0)
    if model == "a":
        mean, square = 0.0, 0.02**2 * 3.0 * second
    else:
        mean = 0.04 * second
        square = 0.04**2 * fourth + 0.03**2 * second**2 + 0.012**2
    signal = square - (mean**2 if against == MEAN else 0.0)
    return 100.0 * signal / (signal + noise)


def check_process(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Compare the true mean's R2 with its closed form: the process is the intended one.

    Parameters
    ----------
    table : sequence of mapping
        Rows of :func:`summarise`.

    Returns
    -------
    list of dict
        ``model``, ``size``, ``against``, ``measured``, ``closed_form`` and ``z``.
    """
    return [
        {
            "model": row["model"],
            "size": row["size"],
            "against": against,
            "measured": row[f"out, {against}"],
            "closed_form": closed_form(row["model"], against),
            "z": (row[f"out, {against}"] - closed_form(row["model"], against))
            / row[f"out, {against}, se"],
        }
        for row in table
        if row["learner"] == TRUTH
        for against in (ZERO, MEAN)
    ]


def largest_z(table: Sequence[Mapping[str, Any]], against: str) -> float:
    """Largest distance from a published mean, in standard errors of the difference."""
    figures = [f"{where}, {against}, z" for where in ("out", "in")]
    return max(abs(row[name]) for row in table for name in figures if name in row)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reps", type=int, default=100, help="repetitions per size (100)")
    parser.add_argument("--tree-reps", type=int, default=100, help="of them, with trees (100)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the experiment (0)")
    parser.add_argument("--jobs", type=int, default=2, help="repetitions side by side (2)")
    parser.add_argument("--cache", default="", help="JSONL file of finished repetitions")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(arguments)
    own = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    code = sha256_text(own + code_digest(MEASURED) + lgb.__version__ + sklearn.__version__)
    tasks = [
        Repetition(number, options.seed, size, number < options.tree_reps, code, options.cache)
        for number in range(options.reps)
        for size in SIZES
    ]
    table = summarise(run(measure, tasks, jobs=options.jobs, name="repetitions"))
    process = check_process(table)
    if options.json:
        print(json.dumps({"table": table, "process": process}, indent=2))
    else:
        for where in ("out", "in"):
            _print(table, where)
        print("\nLargest distance from a published mean, in standard errors")
        for against in (ZERO, MEAN):
            print(f"against {against:12s}{largest_z(table, against):8.2f}")
        print("\nOut-of-sample R2 of the true mean against its closed form, percent")
        for row in process:
            print(
                f"({row['model']}, {row['size']:3d}) against {row['against']:12s}"
                f"{row['measured']:8.2f}{row['closed_form']:8.2f}   z {row['z']:5.2f}"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Size and power of the selection tests: how often each finds something where nothing is.

Simulated daily profits of many strategies with known true Sharpe ratios are given to the tests that
the package ships. Five commands, each deterministic by its seed:

* ``size``: no strategy earns anything; share of families in which a test finds one.
* ``power``: one strategy, or all of them, earn; how often a test finds a good one.
* ``hiding``: 1,000 strategies are tried and only some are reported to the test.
* ``looks``: the same strategies are tested every week for two years.
* ``pbo``: the probability of backtest overfitting of execution variants of one predictor.

A cell is one setting; its repetitions have their own random streams, so results do not depend on
the order of cells or on ``--jobs``. Shares carry exact (Clopper-Pearson) 95 % intervals.

Run ``python benchmarks/multiple_testing_size.py --help``. Measurement code outside the package.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil, log, sqrt
from pathlib import Path
from typing import Any

import numpy as np
from resume import append, run
from scipy.signal import lfilter
from scipy.stats import binomtest

from quant_engine.core.errors import InsufficientObservationError
from quant_engine.core.hashing import canonical_json, sha256_text
from quant_engine.stats import (
    alpha_spending,
    bootstrap,
    deflation,
    max_t,
    multiplicity,
    overfitting,
    sharpe_inference,
    snooping,
    step_down,
)

MEASURED = (
    alpha_spending, bootstrap, deflation, max_t, multiplicity, overfitting,
    sharpe_inference, snooping, step_down,
)  # fmt: skip
"""Modules whose sources decide the figures: a cached cell of other sources is not used."""

DAYS_PER_YEAR = 252
FIVE_YEARS = 5 * DAYS_PER_YEAR
SPA = snooping.SnoopingConfig(avg_block=10, n_draws=299)
FLIPS = 999
MANY_FLIPS = 99_999
"""Draws for the small levels of late looks. A level below 1e-5 cannot be passed."""
FORWARD_DAYS = DAYS_PER_YEAR // 2
LEAST_STATISTIC = 1.6
"""A self-normalised sum below this has a sign-flip p-value above 5 % even alone."""

GARCH = (0.10, 0.88)
AR = 0.15
JUMP_SHAPE = 0.5


@dataclass(frozen=True)
class Cell:
    """One setting, measured on some simulated families.

    Parameters
    ----------
    command : str
        Which measurement.
    n : int
        Strategies.
    rho : float
        Correlation between strategies.
    noise : str
        ``"normal"``, ``"t4"``, ``"garch"``, ``"ar"`` or ``"skew"``.
    sharpe : float
        Annual true Sharpe ratio of strategies that earn.
    who : str
        Which ones earn: ``"none"``, ``"first"`` or ``"all"``.
    days : int
        Sessions (of the first look).
    reps, seed : int
        Families, and the seed of their streams.
    extra : str
        What else the command needs.
    """

    command: str
    n: int
    rho: float
    noise: str = "normal"
    sharpe: float = 0.0
    who: str = "none"
    days: int = FIVE_YEARS
    reps: int = 1000
    seed: int = 0
    extra: str = ""

    @property
    def name(self) -> str:
        """Short text for progress and tables."""
        parts = [f"N={self.n}", f"rho={self.rho:g}", self.noise]
        if self.who != "none":
            parts.append(f"SR={self.sharpe:g} ({self.who})")
        return ", ".join(parts + [self.extra] * bool(self.extra))

    def rng(self, rep: int) -> np.random.Generator:
        """Stream of one family: of the setting, not of its place in a list."""
        setting = {key: value for key, value in asdict(self).items() if key != "reps"}
        digest = hashlib.sha256(canonical_json(setting).encode()).digest()
        return np.random.default_rng([int.from_bytes(digest[:8], "big"), rep])


@dataclass(frozen=True)
class Task:
    """A cell, the digest of the code that measures it, and the file of finished ones."""

    cell: Cell
    code: str
    cache: str = field(compare=False)

    @property
    def key(self) -> str:
        """Hash of everything that decides the result."""
        return sha256_text(canonical_json({"cell": asdict(self.cell), "code": self.code}))


def profits(rng: np.random.Generator, cell: Cell, days: int) -> np.ndarray:
    """Daily profits of a family, shape (days, N), unit variance, true Sharpe ratios as stated.

    One common factor gives the correlation. ``t4``: factor and rest are Student t with 4 degrees of
    freedom. ``garch``: one GARCH(1,1) volatility for all. ``ar``: first-order autocorrelation.
    ``skew``: rare losses, skewness -2.8.
    """
    parts = rng.standard_normal((days, cell.n + 1))
    if cell.noise == "t4":
        parts = rng.standard_t(4, (days, cell.n + 1)) / sqrt(2.0)
    elif cell.noise == "ar":
        parts = lfilter([sqrt(1.0 - AR**2)], [1.0, -AR], parts, axis=0)
    elif cell.noise == "skew":
        jumps = rng.standard_gamma(JUMP_SHAPE, (days, cell.n + 1))
        parts = (JUMP_SHAPE - jumps) / sqrt(JUMP_SHAPE)
    pnl = sqrt(1.0 - cell.rho) * parts[:, 1:] + sqrt(cell.rho) * parts[:, :1]
    if cell.noise == "garch":
        pnl *= garch_volatility(rng, days)[:, None]
    drift = cell.sharpe / sqrt(DAYS_PER_YEAR)
    if cell.who == "first":
        pnl[:, 0] += drift
    elif cell.who == "all":
        pnl += drift
    return pnl


def garch_volatility(rng: np.random.Generator, days: int) -> np.ndarray:
    """Volatility path (days,) of a GARCH(1,1) with unit variance, after 250 days of warm-up."""
    a, b = GARCH
    shocks = rng.standard_normal(days + 250)
    variance, path = 1.0, np.empty(days + 250)
    for t, shock in enumerate(shocks):
        path[t] = variance
        variance = 1.0 - a - b + variance * (a * shock * shock + b)
    return np.sqrt(path[250:])


@dataclass(frozen=True, eq=False)
class Sample:
    """Sharpe ratios of a family and what is tested on them."""

    sharpe: np.ndarray
    psr: np.ndarray
    shape: sharpe_inference.ReturnShape
    days: int

    @property
    def best(self) -> int:
        return int(self.sharpe.argmax())

    def deflated(self, members: np.ndarray | None = None) -> float:
        """DSR of the best, counting `members` (all by default) as the trials."""
        ratios = self.sharpe if members is None else self.sharpe[members]
        return self._tested(
            deflation.deflated_sharpe,
            trial_variance_per_period=deflation.trial_variance(ratios),
            n_trials=len(ratios),
        )

    def deflated_asymptotic(self) -> float:
        """DSR of the best with V = 1 / T and sqrt(2 log N), a form that is also met."""
        return self._tested(
            sharpe_inference.probabilistic_sharpe,
            benchmark_per_period=sqrt(2.0 * log(len(self.sharpe)) / self.days),
        )

    def _tested(self, test: Callable[..., Any], **how: float) -> float:
        best = self.best
        skew, kurtosis = self.shape.skew[best], self.shape.kurtosis_pearson[best]
        shape = sharpe_inference.ReturnShape(skew=skew, kurtosis_pearson=kurtosis)
        return float(test(self.sharpe[best], n_obs=self.days, shape=shape, **how).probability)


def measure_sample(pnl: np.ndarray) -> Sample:
    """Sharpe ratios and PSR of every strategy."""
    sample = sharpe_inference.sharpe_sample(pnl)
    psr = sharpe_inference.probabilistic_sharpe(
        sample.sharpe_per_period, n_obs=len(pnl), shape=sample.shape
    )
    return Sample(sample.sharpe_per_period, psr.probability, sample.shape, len(pnl))


def findings(pnl: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Which strategies each test finds: name -> bool (N,)."""
    sample = measure_sample(pnl)
    n = pnl.shape[1]
    is_best = np.arange(n) == sample.best
    found = {
        "PSR > .95 of the best, trials not counted": is_best & (sample.psr > 0.95),
        "DSR > .95, V from all trials": is_best & (sample.deflated() > 0.95),
        "DSR > .95, V = 1/T, sqrt(2 ln N)": is_best & (sample.deflated_asymptotic() > 0.95),
    }
    p = max_t.max_t(pnl, seed=seed, n_draws=FLIPS).p_values
    found["max-T at .05"] = p <= 0.05
    found["max-T at .025"] = p <= 0.025
    rows = bootstrap.stationary_indices(
        len(pnl), avg_block=SPA.avg_block, n_draws=SPA.n_draws, seed=seed
    )
    spa = snooping.spa_test(pnl, config=SPA, indices=rows)
    found["SPA studentised, consistent, at .05"] = is_best & (spa.p_consistent <= 0.05)
    wolf = snooping.romano_wolf(pnl, config=SPA, indices=rows)
    found["Romano-Wolf at .05"] = wolf.p_values <= 0.05
    for method in ("bh", "by", "bky", "storey"):
        found[f"{method.upper()} of PSR p-values at .05"] = _rejected(1.0 - sample.psr, method)
    return found


def _rejected(p: np.ndarray, method: str) -> np.ndarray:
    try:
        return multiplicity.reject(p, method=method, alpha=0.05).rejected
    except InsufficientObservationError:
        # Storey without any large p-value has no estimate, and a gate no verdict.
        return np.zeros(len(p), dtype=bool)


def measure_size(cell: Cell) -> Counter:
    """Families with any finding, per test; none is true."""
    counts: Counter = Counter()
    for rep in range(cell.reps):
        for test, found in findings(profits(cell.rng(rep), cell, cell.days), rep).items():
            counts[test] += bool(found.any())
    return counts


def measure_power(cell: Cell) -> Counter:
    """Families in which a strategy that earns is found, and in which another one is."""
    counts: Counter = Counter()
    earns = np.ones(cell.n, dtype=bool) if cell.who == "all" else np.arange(cell.n) == 0
    for rep in range(cell.reps):
        pnl = profits(cell.rng(rep), cell, cell.days)
        by_day = max_t.max_t(pnl, seed=rep, block_sessions=1, n_draws=FLIPS).p_values <= 0.05
        tests = findings(pnl, rep) | {"max-T at .05, blocks of one day": by_day}
        for test, found in tests.items():
            counts[test] += bool(found[earns].any())
            counts[f"{test} | false"] += bool(found[~earns].any())
    return counts


def measure_hiding(cell: Cell) -> Counter:
    """False findings when only some of the trials are told to the test."""
    counts: Counter = Counter()
    for rep in range(cell.reps):
        rng = cell.rng(rep)
        pnl = profits(rng, cell, cell.days)
        sample = measure_sample(pnl)
        others = np.delete(np.arange(cell.n), sample.best)
        ranked = np.argsort(-sample.sharpe)
        told = {
            "all": np.arange(cell.n),
            "best and 19 others at random": np.append(
                sample.best, rng.choice(others, 19, replace=False)
            ),
            "best 20": ranked[:20],
            "best alone": ranked[:1],
        }
        for who, members in told.items():
            counts[f"{who}: DSR > .95"] += sample.deflated(members) > 0.95
            p = max_t.max_t(pnl[:, members], seed=rep, n_draws=FLIPS).p_values
            counts[f"{who}: max-T at .025"] += bool((p <= 0.025).any())
    return counts


@dataclass(frozen=True)
class Procedure:
    """How weekly looks are judged: test, levels per look, and the level of the forward check."""

    name: str
    levels: tuple[float, ...]
    forward: float | None = None


def procedures(n_looks: int) -> list[Procedure]:
    """Max-T in the ways in which looks can be paid for."""
    flat, gate = (0.05,) * n_looks, (0.025,) * n_looks
    spending, gate_spending = (
        tuple(alpha_spending.AlphaSpending(alpha=alpha).levels(n_looks)) for alpha in (0.05, 0.025)
    )
    return [
        Procedure("max-T at .05 every look", flat),
        Procedure("max-T at .025 every look", gate),
        Procedure("max-T, .05 spent by 1/k^2", spending),
        Procedure("max-T, .025 spent by 1/k^2", gate_spending),
        Procedure("max-T at .05, forward p < .05", flat, 0.05),
        Procedure("max-T at .05, forward p < .2", flat, 0.2),
        Procedure("max-T, .05 spent, forward p < .2", spending, 0.2),
        Procedure("max-T, .025 spent, forward p < .2", gate_spending, 0.2),
        Procedure("max-T, .025 spent, forward p < .05", gate_spending, 0.05),
    ]


class Looks:
    """One family that grows week by week, and the p-values of its looks.

    Parameters
    ----------
    pnl : ndarray, shape (T, N)
        Daily profits over all looks and the forward time after the last one.
    first : int
        Sessions of the first look; every later one sees 5 more.
    seed : int
        Seed of the sign flips.
    """

    def __init__(self, pnl: np.ndarray, first: int, seed: int) -> None:
        self.pnl, self.first, self.seed = pnl, first, seed
        self._p: dict[tuple[int, int], float] = {}

    def days(self, look: int) -> int:
        """Sessions that look `look` (from 0) sees."""
        return self.first + 5 * look

    def p_value(self, look: int, level: float) -> float:
        """p-value of the best, with as many draws as it takes to tell it from the level."""
        for n_draws in (FLIPS, 10 * (FLIPS + 1) - 1, MANY_FLIPS):
            p = self._with_draws(look, n_draws)
            resolution = 1.0 / (n_draws + 1)
            if level >= 5.0 * resolution or p > 5.0 * (level + resolution):
                break
        return p

    def _with_draws(self, look: int, n_draws: int) -> float:
        if (look, n_draws) not in self._p:
            seen = self.pnl[: self.days(look)]
            p = 1.0
            if max_t.block_sign_flip_statistics(seen).max() >= LEAST_STATISTIC:
                p = float(max_t.max_t(seen, seed=self.seed, n_draws=n_draws).p_values.min())
            self._p[look, n_draws] = p
        return self._p[look, n_draws]

    def best(self, look: int) -> int:
        """Strategy that look `look` would promote."""
        return int(max_t.block_sign_flip_statistics(self.pnl[: self.days(look)]).argmax())

    def forward_p(self, look: int, strategy: int) -> float:
        """One-sided p-value of the 26 weeks after a look."""
        start = self.days(look)
        after = self.pnl[start : start + FORWARD_DAYS, strategy]
        return 1.0 - float(measure_sample(after[:, None]).psr[0])

    def promoted(self, procedure: Procedure) -> int | None:
        """Strategy that a procedure promotes first; a failed confirmation costs its half year."""
        look = 0
        while look < len(procedure.levels):
            level = procedure.levels[look]
            if self.p_value(look, level) > level:
                look += 1
                continue
            strategy = self.best(look)
            if procedure.forward is None or self.forward_p(look, strategy) < procedure.forward:
                return strategy
            look += ceil(FORWARD_DAYS / 5)
        return None


def measure_looks(cell: Cell) -> Counter:
    """Families in which something is promoted within the looks, and in which column 0 is."""
    counts: Counter = Counter()
    n_looks = int(cell.extra.split()[0])
    plans = procedures(n_looks)
    for rep in range(cell.reps):
        days = cell.days + 5 * (n_looks - 1) + FORWARD_DAYS
        looks = Looks(profits(cell.rng(rep), cell, days), cell.days, rep)
        samples = [measure_sample(looks.pnl[: looks.days(look)]) for look in range(n_looks)]
        psr = np.array([sample.psr[sample.best] > 0.95 for sample in samples])
        dsr = np.array([sample.deflated() > 0.95 for sample in samples])
        tests = {"PSR > .95": psr, "DSR > .95": dsr}
        for test, passed in tests.items():
            counts[f"{test}, first look only"] += bool(passed[0])
            counts[f"{test} every look"] += bool(passed.any())
            first = samples[int(passed.argmax())].best if passed.any() else None
            counts[f"{test} every look | first"] += first == 0
        for level in (0.05, 0.025):
            counts[f"max-T at {level:.4g}, first look only"] += looks.p_value(0, level) <= level
        for plan in plans:
            strategy = looks.promoted(plan)
            counts[plan.name] += strategy is not None
            counts[f"{plan.name} | first"] += strategy == 0
    return counts


def measure_pbo(cell: Cell) -> Counter:
    """Families that pass bounds on PBO; `mean x 1e6` holds the sum of PBO in millionths."""
    counts: Counter = Counter()
    spread = float(cell.extra.split()[-1])
    for rep in range(cell.reps):
        rng = cell.rng(rep)
        pnl = profits(rng, cell, cell.days)
        pnl += rng.normal(0.0, spread / sqrt(DAYS_PER_YEAR), cell.n)
        pbo = overfitting.pbo_cscv(pnl, n_blocks=16).pbo
        counts["PBO <= .45"] += pbo <= 0.45
        counts["PBO <= .50"] += pbo <= 0.5
        counts["mean x 1e6"] += round(pbo * 1e6)
    return counts


MEASURES: dict[str, Callable[[Cell], Counter]] = {
    "size": measure_size,
    "power": measure_power,
    "hiding": measure_hiding,
    "looks": measure_looks,
    "pbo": measure_pbo,
}


def plan_size(options: argparse.Namespace) -> list[Cell]:
    settings = [("normal", rho) for rho in (0.0, 0.3, 0.6, 0.9)]
    settings += [(noise, 0.3) for noise in ("t4", "garch", "ar", "skew")]
    return [
        Cell("size", n, rho, noise, reps=_reps(options, {10: 1000, 100: 600, 1000: 150}[n]))
        for n in ((10, 100) if options.quick else (10, 100, 1000))
        for noise, rho in settings
    ]


def plan_power(options: argparse.Namespace) -> list[Cell]:
    sharpes = (1.5,) if options.quick else (0.5, 1.0, 1.5, 2.0, 2.5)
    settings = [(100, 0.3, "first"), (36, 0.9, "all")]
    if not options.quick:
        settings.append((1000, 0.3, "first"))
    return [
        Cell("power", n, rho, sharpe=sharpe, who=who, reps=_reps(options, 300 if n < 1000 else 100))
        for n, rho, who in settings
        for sharpe in sharpes
    ]


def plan_hiding(options: argparse.Namespace) -> list[Cell]:
    return [
        Cell("hiding", 200 if options.quick else 1000, rho, reps=_reps(options, 400))
        for rho in (0.0, 0.5, 0.9)
    ]


def plan_looks(options: argparse.Namespace) -> list[Cell]:
    extra = "8 looks" if options.quick else "104 looks"
    null = [Cell("looks", 12, rho, extra=extra, reps=_reps(options, 800)) for rho in (0.0, 0.5)]
    short = Cell("looks", 12, 0.0, days=2 * DAYS_PER_YEAR, extra=extra, reps=_reps(options, 800))
    true = [
        Cell("looks", 12, 0.0, sharpe=sharpe, who="first", extra=extra, reps=_reps(options, 150))
        for sharpe in (1.0, 1.5, 2.0)
    ]
    return [*null, short, *true]


def plan_pbo(options: argparse.Namespace) -> list[Cell]:
    return [
        Cell(
            "pbo",
            36,
            0.95,
            sharpe=sharpe,
            who="all",
            extra=f"spread {spread}",
            reps=_reps(options, 200),
        )
        for spread in (0.0, 0.05, 0.2)
        for sharpe in (0.0, 1.5, 2.5)
    ]


PLANS: dict[str, Callable[[argparse.Namespace], list[Cell]]] = {
    "size": plan_size,
    "power": plan_power,
    "hiding": plan_hiding,
    "looks": plan_looks,
    "pbo": plan_pbo,
}


def _reps(options: argparse.Namespace, default: int) -> int:
    if options.reps:
        return options.reps
    return 10 if options.quick else default


def measure_cell(shared: Mapping[str, np.ndarray], task: Task) -> dict[str, Any]:
    """Measure one cell and append it to the cache.

    Parameters
    ----------
    shared : mapping
        Unused; tasks are small.
    task : Task
        The cell.

    Returns
    -------
    dict
        ``key``, ``cell`` and the counts.
    """
    counts = MEASURES[task.cell.command](task.cell)
    # Pairs, because the order of tests is that of the report.
    pairs = [[name, int(count)] for name, count in counts.items()]
    record = {"key": task.key, "cell": asdict(task.cell), "counts": pairs}
    append(task.cache, record)
    return record


def share(count: int, reps: int) -> dict[str, float]:
    """Share of families with its exact 95 % interval."""
    interval = binomtest(count, reps).proportion_ci(0.95, method="exact")
    return {"share": count / reps, "low": float(interval.low), "high": float(interval.high)}


def report(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One entry per cell: setting, repetitions, and shares with intervals."""
    entries = []
    for record in records:
        cell = Cell(**record["cell"])
        counts = dict(record["counts"])
        entry: dict[str, Any] = {"cell": asdict(cell), "name": cell.name, "reps": cell.reps}
        if "mean x 1e6" in counts:
            entry["mean"] = counts.pop("mean x 1e6") / 1e6 / cell.reps
        entry["shares"] = {name: share(count, cell.reps) for name, count in counts.items()}
        entries.append(entry)
    return entries


def _print_report(entries: Sequence[Mapping[str, Any]]) -> None:
    for entry in entries:
        days = entry["cell"]["days"]
        print(f"\n{entry['name']}: {days} sessions, {entry['reps']} families")
        for name, row in entry["shares"].items():
            print(
                f"  {name:48s}{100 * row['share']:7.1f} %   "
                f"({100 * row['low']:.1f} to {100 * row['high']:.1f})"
            )
        if "mean" in entry:
            print(f"  {'mean PBO':48s}{entry['mean']:9.3f}")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("command", choices=list(PLANS), help="what to measure")
    parser.add_argument("--reps", type=int, default=0, help="families per cell (as documented)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all streams (0)")
    parser.add_argument("--jobs", type=int, default=1, help="cells measured side by side (1)")
    parser.add_argument("--cache", default="", help="JSONL file of finished cells, to go on from")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="few small cells, to see that it runs")
    return parser.parse_args(arguments)


def code_of_measurement() -> str:
    """Digest of this file and of the modules that it measures."""
    files = [Path(__file__), *(Path(module.__file__) for module in MEASURED)]
    return sha256_text("".join(hashlib.sha256(path.read_bytes()).hexdigest() for path in files))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    options = parse(arguments)
    code = code_of_measurement()
    cells = [
        Cell(**{**asdict(cell), "seed": options.seed}) for cell in PLANS[options.command](options)
    ]
    tasks = [Task(cell, code, options.cache) for cell in cells]
    records = run(measure_cell, tasks, jobs=options.jobs, name=f"{options.command}, cells")
    entries = report(records)
    if options.json:
        print(json.dumps(entries, indent=2))
    else:
        _print_report(entries)
    return 0


if __name__ == "__main__":
    sys.exit(main())

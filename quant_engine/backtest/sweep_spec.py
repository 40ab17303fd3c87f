"""Sweep specs: a grid of settings as data, and whether its best point stands on firm ground.

A spec names the rule that is swept, what is fixed, and the values of what is not. Its variants are
the product of the grid in the order of the file, the last axis fastest. `neighbourhood` compares
each of them with the variants one step away on one axis: a figure that only exact settings reach
is a property of the settings, not of the market.
"""

from __future__ import annotations

from itertools import product
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from quant_engine.backtest.random_scores import RandomScores
from quant_engine.backtest.rules import RuleConfig
from quant_engine.backtest.sweep_averages import AverageCross
from quant_engine.backtest.sweep_kernel import STATISTICS
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, SchemaMismatchError, did_you_mean
from quant_engine.core.specs import build_config

__all__ = ["RandomDraws", "RobustnessRule", "SweepSpec", "neighbourhood"]

Setting: TypeAlias = bool | int | float | str | tuple[float, ...] | None
_SWEPT: dict[str, type[RuleConfig] | type[AverageCross]] = {
    "signals": RuleConfig,
    "averages": AverageCross,
}


class RobustnessRule(FrozenConfig):
    """When the best variant counts as robust. A soft gate: it warns, it does not refuse.

    Parameters
    ----------
    metric : str
        Statistic of the sweep that is compared; higher is better.
    min_kept_frac : float
        Median of the neighbours as a share of the variant's own value, at least.
    min_neighbours : int
        Neighbours with a value, at least; with fewer nothing is said.

    Examples
    --------
    >>> RobustnessRule().metric
    'sharpe'
    """

    metric: str = "sharpe"
    min_kept_frac: float = Field(default=0.5, ge=0.0, le=1.0)
    min_neighbours: int = Field(default=2, ge=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.metric not in STATISTICS:
            raise ValueError(f"metric: {did_you_mean(self.metric, STATISTICS)}")
        return self


class RandomDraws(FrozenConfig):
    """How many rules that know nothing are drawn.

    Parameters
    ----------
    n_draws : int
        Number of rules.
    seed : int
        Of all of them.
    persistence : float
        See `RandomScores`.

    Examples
    --------
    >>> RandomDraws(n_draws=500, seed=1).persistence
    0.9
    """

    n_draws: int = Field(ge=1)
    seed: int = Field(ge=0)
    persistence: float = Field(default=0.9, ge=0.0, lt=1.0)


class SweepSpec(FrozenConfig):
    """A grid of variants of one rule.

    Parameters
    ----------
    name : str
        Display name and family of the trials.
    rule : {"signals", "averages", "random"}
        `RuleConfig`, `AverageCross`, or one `RuleConfig` on scores that are handed out at random.
    unit : {"return", "score"}
        What the thresholds of a `RuleConfig` are compared with: expected returns (fractions), or
        scores.
    min_confidence : float, optional
        Least confidence of a prediction that may open a position.
    fixed : dict
        Settings that every variant shares.
    grid : dict of lists
        Values per setting, in increasing order where they have one: neighbours are neighbours in
        the list. Empty for random rules.
    random : RandomDraws, optional
        For random rules alone.
    metrics : tuple of str
        Statistics that are collected, of `STATISTICS`.
    robustness : RobustnessRule
        How the best variant is judged.
    max_variants : int
        A larger grid is refused.

    Examples
    --------
    >>> spec = SweepSpec(name="a", rule="averages",
    ...                  grid={"fast_sessions": [5, 10], "slow_sessions": [20, 50, 100]})
    >>> spec.shape, [v.slow_sessions for v in spec.variants()]
    ((2, 3), [20, 50, 100, 20, 50, 100])
    """

    name: str = Field(min_length=1)
    rule: Literal["signals", "averages", "random"]
    unit: Literal["return", "score"] = "return"
    min_confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    fixed: dict[str, Setting] = Field(default_factory=dict)
    grid: dict[str, tuple[Setting, ...]] = Field(default_factory=dict)
    random: RandomDraws | None = None
    metrics: tuple[str, ...] = ("total_return", "sharpe", "max_drawdown", "n_trades")
    robustness: RobustnessRule = RobustnessRule()
    max_variants: int = Field(default=20_000, ge=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of values per axis of the grid."""
        if self.random is not None:
            return (self.random.n_draws,)
        return tuple(len(values) for values in self.grid.values())

    @property
    def n_variants(self) -> int:
        """Size of the grid."""
        return int(np.prod(self.shape, dtype=np.int64))

    def settings(self) -> pd.DataFrame:
        """Settings on the grid, one row per variant.

        Returns
        -------
        DataFrame indexed by ``variant``
            One column per axis; the number of the draw for random rules.
        """
        if self.random is not None:
            return pd.DataFrame({"draw": range(self.random.n_draws)}).rename_axis(index="variant")
        rows = list(product(*self.grid.values()))
        return pd.DataFrame(rows, columns=list(self.grid)).rename_axis(index="variant")

    def variants(self) -> tuple[RuleConfig, ...] | tuple[AverageCross, ...]:
        """Build every variant.

        Returns
        -------
        tuple of RuleConfig or of AverageCross
            In the order of :meth:`settings`; random rules differ in :meth:`draws` alone.

        Raises
        ------
        ConfigError
            A setting that the rule does not have or refuses.
        """
        if self.random is not None:
            rules = build_config(RuleConfig, dict(self.fixed), where=f"sweep {self.name}")
            return (rules,) * self.random.n_draws
        made: list[Any] = []
        for number, values in enumerate(product(*self.grid.values())):
            content = {**self.fixed, **dict(zip(self.grid, values, strict=True))}
            where = f"sweep {self.name}, variant {number}"
            made.append(build_config(_SWEPT[self.rule], content, where=where))
        return tuple(made)

    def draws(self) -> tuple[RandomScores | None, ...]:
        """Say how the scores of every variant are handed out.

        Returns
        -------
        tuple of RandomScores or None
            In the order of :meth:`settings`; None = as they are.
        """
        drawn = self.random
        if drawn is None:
            return (None,) * self.n_variants
        return tuple(
            RandomScores(seed=drawn.seed, draw=number, persistence=drawn.persistence)
            for number in range(drawn.n_draws)
        )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.rule == "random") != (self.random is not None) or (
            bool(self.grid) == (self.random is not None)
        ):
            raise ValueError("rule random takes random and no grid, every other rule takes a grid")
        for name, values in self.grid.items():
            if not values or len(set(values)) < len(values):
                raise ValueError(f"grid.{name}: one or more different values")
        both = sorted(set(self.grid) & set(self.fixed))
        if both:
            raise ValueError(f"{both[0]} is fixed and on the grid")
        unknown = [metric for metric in self.metrics if metric not in STATISTICS]
        if unknown:
            raise ValueError(f"metrics: {did_you_mean(unknown[0], STATISTICS)}")
        if self.n_variants > self.max_variants:
            raise ValueError(f"{self.n_variants} variants, more than max_variants "
                             f"{self.max_variants}")  # fmt: skip
        return self


def neighbourhood(spec: SweepSpec, table: pd.DataFrame) -> pd.DataFrame:
    """Compare every variant with its neighbours on the grid.

    Parameters
    ----------
    spec : SweepSpec
        Grid and robustness rule.
    table : DataFrame indexed by ``variant``
        Of a sweep over exactly the spec's variants.

    Returns
    -------
    DataFrame indexed by ``variant``
        ``value`` of the metric, ``n_neighbours`` with a value, ``neighbour_median``,
        ``neighbour_worst``, ``kept_frac`` (median over value; NaN unless the value is above 0) and
        ``verdict``: pass, warn, or insufficient (too few neighbours, or no value above 0).

    Raises
    ------
    SchemaMismatchError
        A table of another length.
    ConfigError
        The table lacks the metric.

    Examples
    --------
    >>> spec = SweepSpec(name="a", rule="averages", fixed={"fast_sessions": 2},
    ...                  grid={"slow_sessions": [5, 10, 20, 40]})
    >>> table = pd.DataFrame({"sharpe": [1.0, 1.2, 1.1, 0.1]})
    >>> neighbourhood(spec, table)[["neighbour_median", "verdict"]].values.tolist()
    [[1.2, 'insufficient'], [1.05, 'pass'], [0.65, 'pass'], [1.1, 'insufficient']]
    """
    rule = spec.robustness
    if len(table) != spec.n_variants:
        raise SchemaMismatchError(
            "table",
            wanted=f"{spec.n_variants} rows, one per variant",
            got=len(table),
            hint="Sweep the variants of this spec.",
        )
    if rule.metric not in table.columns:
        raise ConfigError(
            "metric",
            wanted="a column of the table",
            got=rule.metric,
            hint=did_you_mean(rule.metric, tuple(map(str, table.columns))),
        )
    value = table[rule.metric].to_numpy(dtype=np.float64)
    if spec.random is not None:
        return _without_neighbours(value)
    cube = value.reshape(spec.shape)
    stacked = np.stack([side for axis in range(cube.ndim) for side in _sides(cube, axis)])
    near = stacked.reshape(len(stacked), -1).T
    rows = [np.sort(row[np.isfinite(row)]) for row in near]
    n = np.array([len(row) for row in rows])
    median = np.array([np.median(row) if len(row) else np.nan for row in rows])
    worst = np.array([row[0] if len(row) else np.nan for row in rows])
    is_judged = (n >= rule.min_neighbours) & (value > 0.0)
    kept = np.where(value > 0.0, median / np.where(value > 0.0, value, 1.0), np.nan)
    verdict = np.where(kept >= rule.min_kept_frac, "pass", "warn")
    return pd.DataFrame(
        {
            "value": value,
            "n_neighbours": n,
            "neighbour_median": median,
            "neighbour_worst": worst,
            "kept_frac": kept,
            "verdict": np.where(is_judged, verdict, "insufficient"),
        }
    ).rename_axis(index="variant")


def _without_neighbours(value: np.ndarray[Any, np.dtype[np.float64]]) -> pd.DataFrame:
    """Random rules that follow one another have nothing in common."""
    unknown = np.full(len(value), np.nan)
    return pd.DataFrame(
        {
            "value": value,
            "n_neighbours": np.zeros(len(value), dtype=np.int64),
            "neighbour_median": unknown,
            "neighbour_worst": unknown,
            "kept_frac": unknown,
            "verdict": "insufficient",
        }
    ).rename_axis(index="variant")


def _sides(
    cube: np.ndarray[Any, np.dtype[np.float64]], axis: int
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.float64]]]:
    """Values one step down and one step up on an axis; NaN beyond the edge."""
    edge = np.full_like(np.take(cube, [0], axis=axis), np.nan)
    inner = np.arange(cube.shape[axis] - 1)
    below = np.concatenate([edge, np.take(cube, inner, axis=axis)], axis=axis)
    above = np.concatenate([np.take(cube, inner + 1, axis=axis), edge], axis=axis)
    return below, above

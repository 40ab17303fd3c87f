"""Arenas: the example data a planted leak runs on, and the detectors that are let loose on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from quant_engine.core.panel import GroupTable, Panel, TimeAxis
from quant_engine.testing.audit import Subject, audit
from quant_engine.testing.fills import audit_fill_prices
from quant_engine.testing.joins import Join, audit_join
from quant_engine.testing.outputs import labelled
from quant_engine.testing.processes import Learning, audit_process, null_z
from quant_engine.testing.purge import audit_splits
from quant_engine.testing.redraws import Facts
from quant_engine.testing.results import AuditRow

__all__ = [
    "Arena",
    "FillArena",
    "JoinArena",
    "PanelArena",
    "ProcessArena",
    "SplitArena",
    "example_market",
]

Values = dict[str, npt.NDArray[Any]]


class Arena(Protocol):
    """Example data with a way to run a candidate on it and a way to audit it."""

    @property
    def n_seeds(self) -> int:
        """Audits that a verdict takes: some leaks show at some cuts only."""
        ...

    def values(self, candidate: Callable[..., Any]) -> Values:
        """Return what a candidate computes on the true data, as named arrays."""
        ...

    def audit(self, candidate: Callable[..., Any], *, seed: int) -> tuple[AuditRow, ...]:
        """Let the detectors of the arena loose on a candidate."""
        ...

    def null_z(self, candidate: Callable[..., Any], *, seed: int) -> float | None:
        """Return the z-score over null worlds; None where the arena has none."""
        ...


class _WithoutNullWorlds:
    n_seeds: ClassVar[int] = 5

    def null_z(self, candidate: Callable[..., Any], *, seed: int) -> float | None:
        del candidate, seed
        return None


def example_market(seed: int = 0, *, n_times: int = 300, n_assets: int = 12) -> Panel:
    """Draw a small market with everything that a leak can hide in.

    Parameters
    ----------
    seed : int
        Seed of the draw.
    n_times, n_assets : int
        Shape of the panel.

    Returns
    -------
    Panel
        Weekdays; open, high, low, close, volume and the unadjusted ``close_raw``; calm and wild
        spells of a common factor; missing cells, a late listing, a delisting; masks ``member`` and
        ``tradable``; group ``sector``.

    Examples
    --------
    >>> example_market().shape
    (300, 12)
    """
    rng = np.random.default_rng(seed)
    shape = (n_times, n_assets)
    days = np.busday_offset(np.datetime64("2019-01-01"), np.arange(n_times), roll="forward")
    wild = np.cumsum(rng.random(n_times) < 0.04) % 2
    factor = rng.normal(0, 1, n_times) * np.where(wild, 0.03, 0.008)
    returns = factor[:, None] + rng.standard_t(5, shape) * 0.01
    close = 50 * np.exp(np.cumsum(returns, axis=0))
    opening = close * np.exp(rng.normal(0, 0.005, shape))
    reach = np.exp(np.abs(rng.normal(0, 0.01, shape)))
    fields = {
        "open": opening,
        "high": np.maximum(opening, close) * reach,
        "low": np.minimum(opening, close) / reach,
        "close": close,
        "close_raw": close * np.where(np.arange(n_times) < n_times // 2, 2.0, 1.0)[:, None],
        "volume": np.exp(rng.normal(12, 1, shape)),
    }
    missing = rng.random(shape) < 0.03
    missing[:20, 1] = True
    missing[-n_times // 8 :, 2] = True
    for values in fields.values():
        values[missing] = np.nan
    sector = np.tile(np.arange(n_assets) % 3, (n_times, 1)).astype(np.int16)
    return Panel(
        TimeAxis.sessions(days, "24/5"),
        tuple(f"T{number:02d}@US#1" for number in range(n_assets)),
        fields,
        {"tradable": ~missing, "member": rng.random(shape) < 0.9},
        {"sector": GroupTable(sector, ("a", "b", "c"))},
    )


@dataclass(frozen=True, eq=False)
class PanelArena(_WithoutNullWorlds):
    """A function of a market panel; D1, D2, D5, and D8 where it promises to have no scale.

    Parameters
    ----------
    is_scale_free : bool
        Whether its values promise not to depend on the price level.
    """

    is_scale_free: bool = False

    def values(self, candidate: Callable[..., Any]) -> Values:
        """Return the fields on the example market."""
        panel = example_market()
        output = labelled(candidate(panel), panel)
        return {name: np.where(output.present, v, np.nan) for name, v in output.fields.items()}

    def audit(self, candidate: Callable[..., Any], *, seed: int) -> tuple[AuditRow, ...]:
        """Change the future of the example market."""
        panel = example_market()
        promised = frozenset(self.values(candidate)) if self.is_scale_free else frozenset[str]()
        subject = Subject("candidate", candidate, panel, warmup=150, scale_free=promised)
        return audit(subject, seed=seed).rows


@dataclass(frozen=True, eq=False)
class JoinArena(_WithoutNullWorlds):
    """A join of dated facts to decisions; D4.

    Parameters
    ----------
    example : callable
        Returns decisions with the column ``decision_ts``, and the facts.
    """

    example: Callable[[], tuple[pd.DataFrame, Facts]]
    n_seeds: ClassVar[int] = 2

    def values(self, candidate: Callable[..., Any]) -> Values:
        """Return the numeric columns that the join adds."""
        decisions, facts = self.example()
        joined = candidate(decisions, facts.frame)
        return {
            name: joined[name].to_numpy(dtype=np.float64, na_value=np.nan)
            for name in joined.columns
            if name not in decisions.columns and pd.api.types.is_float_dtype(joined[name])
        }

    def audit(self, candidate: Callable[..., Any], *, seed: int) -> tuple[AuditRow, ...]:
        """Check the contract and swap the vintage."""
        decisions, facts = self.example()
        return audit_join(Join(candidate, decisions, facts), seed=seed)


@dataclass(frozen=True, eq=False)
class SplitArena(_WithoutNullWorlds):
    """A cutter of rows into training and test rows; D3."""

    n_seeds: ClassVar[int] = 1

    def values(self, candidate: Callable[..., Any]) -> Values:
        """Return the training rows of every split."""
        return {
            f"split {number}": np.sort(train)
            for number, (train, _) in enumerate(candidate(*self._spans()))
        }

    def audit(self, candidate: Callable[..., Any], *, seed: int) -> tuple[AuditRow, ...]:
        """Prove the purge; nothing is drawn."""
        del seed
        start, end = self._spans()
        return audit_splits(start, end, candidate(start, end))

    def _spans(self) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.datetime64]]:
        start = np.datetime64("2020-01-01") + np.repeat(np.arange(120), 3)
        return start, start + 10


@dataclass(frozen=True, eq=False)
class FillArena(_WithoutNullWorlds):
    """Fill prices of decisions on a market panel; D6."""

    def values(self, candidate: Callable[..., Any]) -> Values:
        """Return the fill prices on the example market."""
        return {"price": candidate(example_market())}

    def audit(self, candidate: Callable[..., Any], *, seed: int) -> tuple[AuditRow, ...]:
        """Poison the future; prices must move."""
        return (audit_fill_prices(candidate, example_market(), seed=seed),)


@dataclass(frozen=True, eq=False)
class ProcessArena:
    """A training process; D2 on the labels of the test rows, D7 on null worlds.

    Parameters
    ----------
    n_features : int
        Features; more of them give a choice more to find.
    """

    n_features: int = 40
    n_seeds: ClassVar[int] = 1

    def values(self, candidate: Callable[..., Any]) -> Values:
        """Return the predictions of the test rows."""
        data = self._data()
        return {"prediction": candidate(data.x, data.y, data.train, data.test)}

    def audit(self, candidate: Callable[..., Any], *, seed: int) -> tuple[AuditRow, ...]:
        """Replace the labels of the test rows."""
        return (audit_process(candidate, self._data(), seed=seed),)

    def null_z(self, candidate: Callable[..., Any], *, seed: int) -> float | None:
        """Return the z-score over null worlds."""
        return null_z(candidate, seed=seed, n_worlds=60, shape=(300, self.n_features))

    def _data(self) -> Learning:
        rng = np.random.default_rng(5)
        x = rng.normal(size=(300, self.n_features))
        y = 0.3 * x[:, 0] - 0.2 * x[:, 1] + rng.normal(size=300)
        return Learning(x, y, np.arange(200), np.arange(200, 300))

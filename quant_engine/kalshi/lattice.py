"""Where settlement values can lie, and what a ladder of contracts says about them.

Contract: settlement values are whole steps of the reporting precision, so that "less than 75" and
"75 to 76" neither overlap nor leave a gap on whole degrees. Everything here is integer arithmetic
on those steps; what cannot be a distribution comes back as a named fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Literal

import numpy as np
import numpy.typing as npt

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.payoffs import BOUNDED_TYPES, Contract, PayoffSet, exact_number

__all__ = [
    "IndexInterval",
    "LadderStructure",
    "Lattice",
    "SettlementGrid",
    "StructureFault",
    "find_structure_faults",
    "ladder_structure",
]

LadderKind = Literal["threshold", "exclusive", "mixed"]

FaultCode = Literal[
    "unresolved_direction",
    "duplicate_contract",
    "invalid_strike",
    "empty_payoff",
    "overlapping_bins",
    "gapped_bins",
]


@dataclass(frozen=True)
class StructureFault:
    """Why a ladder has no distribution.

    Parameters
    ----------
    code : str
        The cause.
    tickers : tuple of str
        Contracts concerned.
    detail : str
        What was found.

    Examples
    --------
    >>> StructureFault("empty_payoff", ("T1",), "no settlement value pays").code
    'empty_payoff'
    """

    code: FaultCode
    tickers: tuple[str, ...]
    detail: str


@dataclass(frozen=True)
class IndexInterval:
    """Whole steps of a settlement grid from ``first`` to ``last``, both included.

    Parameters
    ----------
    first, last : int or None
        Steps; None = without end.

    Examples
    --------
    >>> IndexInterval(None, 3).contains(IndexInterval(1, 2))
    True
    """

    first: int | None
    last: int | None

    def is_empty(self) -> bool:
        """Whether it holds no step."""
        return self.first is not None and self.last is not None and self.first > self.last

    def contains(self, other: IndexInterval) -> bool:
        """Whether every step of the other one lies inside."""
        from_left = self.first is None or (other.first is not None and other.first >= self.first)
        to_right = self.last is None or (other.last is not None and other.last <= self.last)
        return from_left and to_right

    def meets(self, other: IndexInterval) -> bool:
        """Whether both hold a common step."""
        return not _before(self, other) and not _before(other, self)


@dataclass(frozen=True)
class SettlementGrid:
    """Values that a settlement can take: ``anchor + k * step``.

    Parameters
    ----------
    step : float
        Reporting precision, positive, in the unit of the settlement value (0.1 for a CPI rate in
        percent, 1 for whole degrees).
    anchor : float
        Any one value of the grid.

    Examples
    --------
    >>> SettlementGrid(0.1).interval(Contract("T", "greater", floor_strike=3.1).payoff())
    IndexInterval(first=32, last=None)
    """

    step: float
    anchor: float = 0.0

    def __post_init__(self) -> None:
        if exact_number("step", self.step) <= 0:
            raise ConfigError(
                "step",
                wanted="a positive reporting precision",
                got=self.step,
                hint="Use the smallest difference that two settlement values can have.",
            )
        exact_number("anchor", self.anchor)

    def position(self, value: Fraction) -> Fraction:
        """Place of a value in steps from the anchor; whole for values of the grid."""
        return (value - exact_number("anchor", self.anchor)) / exact_number("step", self.step)

    def value(self, index: float) -> float:
        """Settlement value of a step, in the unit of the settlement value."""
        exact = exact_number("index", index)
        return float(exact_number("anchor", self.anchor) + exact * exact_number("step", self.step))

    def index_of(self, value: float) -> int:
        """Step of a settlement value; one that is not on the grid is refused."""
        place = self.position(exact_number("value", value))
        if place.denominator != 1:
            raise DataError(
                "value",
                wanted=f"a value of the grid {self.anchor} + k * {self.step}",
                got=value,
                hint="Round as the settlement source does, or state its true precision.",
            )
        return int(place)

    def interval(self, payoff: PayoffSet) -> IndexInterval:
        """Steps that a payoff set pays on."""
        first = last = None
        if payoff.lower is not None:
            place = self.position(payoff.lower)
            first = ceil(place) if payoff.is_lower_closed else floor(place) + 1
        if payoff.upper is not None:
            place = self.position(payoff.upper)
            last = floor(place) if payoff.is_upper_closed else ceil(place) - 1
        return IndexInterval(first, last)


@dataclass(frozen=True)
class LadderStructure:
    """A ladder without its quotes: who pays where.

    Parameters
    ----------
    contracts : tuple of Contract, length m
        Legs in the order of their payoff sets.
    grid : SettlementGrid
        Where settlement values lie.
    intervals : tuple of IndexInterval, length m
        Steps that each leg pays on.
    atoms : tuple of IndexInterval, length A
        Coarsest partition of all steps on which no leg changes its payoff, rising.
    pays : ndarray of bool, shape (A, m)
        Whether a leg pays on an atom.
    kind : {"threshold", "exclusive", "mixed"}
        Nested half-lines, disjoint sets, or anything else.
    is_covering : bool
        Whether every settlement value makes at least one leg pay: the proof that is needed before
        the sum of asks may be called too small. The exchange never promises it.

    Examples
    --------
    >>> legs = [Contract("A", "less", cap_strike=75), Contract("B", "greater", floor_strike=74)]
    >>> found = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=True)
    >>> found.kind, found.is_covering, len(found.atoms)
    ('exclusive', True, 2)
    """

    contracts: tuple[Contract, ...]
    grid: SettlementGrid
    intervals: tuple[IndexInterval, ...]
    atoms: tuple[IndexInterval, ...]
    pays: BoolMatrix
    kind: LadderKind
    is_covering: bool

    @property
    def tickers(self) -> tuple[str, ...]:
        """Names of the legs, in order."""
        return tuple(contract.ticker for contract in self.contracts)

    def outermost(self) -> tuple[int, int]:
        """First and last finite step that bounds a payoff set."""
        ends = _finite_ends(self.intervals)
        return min(ends), max(ends)


@dataclass(frozen=True)
class Lattice:
    """Cells that a distribution lives on: ``per_cell`` neighbouring steps of a grid each.

    Parameters
    ----------
    grid : SettlementGrid
        Where settlement values lie.
    first : int
        First step of the first cell.
    n_cells : int
        Cells, at least 4.
    per_cell : int
        Steps per cell; more than 1 for values so fine that each step is no cell of its own.

    Examples
    --------
    >>> Lattice(SettlementGrid(0.1), first=30, n_cells=4).points.tolist()
    [3.0, 3.1, 3.2, 3.3]
    """

    grid: SettlementGrid
    first: int
    n_cells: int
    per_cell: int = 1

    def __post_init__(self) -> None:
        if self.n_cells < 4 or self.per_cell < 1:
            raise ConfigError(
                "n_cells, per_cell",
                wanted="at least 4 cells of at least 1 step",
                got=f"{self.n_cells} and {self.per_cell}",
                hint="A third difference needs four cells.",
            )

    @property
    def width(self) -> float:
        """Width of a cell, in the unit of the settlement value."""
        return self.grid.step * self.per_cell

    @property
    def points(self) -> FloatVector:
        """Mean settlement value per cell, shape (n_cells,)."""
        middle = self.first + (self.per_cell - 1) / 2.0
        steps = middle + self.per_cell * np.arange(self.n_cells)
        return np.array([self.grid.value(float(step)) for step in steps])

    def indicator(self, interval: IndexInterval) -> FloatVector:
        """Share of each cell's steps that lie in an interval, shape (n_cells,).

        The outer cells stand for what lies beyond them too, so that a half-line that begins
        outside the lattice is worth 0 or 1.
        """
        starts = self.first + self.per_cell * np.arange(self.n_cells)
        last = starts + self.per_cell - 1
        low = starts if interval.first is None else np.maximum(starts, interval.first)
        high = last if interval.last is None else np.minimum(last, interval.last)
        return np.clip(high - low + 1, 0, None) / self.per_cell

    def payoff_matrix(self, intervals: Sequence[IndexInterval]) -> FloatMatrix:
        """Payoff per leg and cell, shape (m, n_cells), fractions where a strike cuts a cell."""
        return np.array([self.indicator(interval) for interval in intervals]).reshape(
            len(intervals), self.n_cells
        )

    def cell_of(self, value: float) -> int:
        """Cell of a settlement value; the outer cells take what lies beyond them."""
        step = self.grid.index_of(value)
        return min(max((step - self.first) // self.per_cell, 0), self.n_cells - 1)

    @classmethod
    def around(
        cls, structure: LadderStructure, *, pad_share: float = 0.5, max_cells: int = 64
    ) -> Lattice:
        """Lattice over the listed strikes and a margin on both sides.

        Parameters
        ----------
        structure : LadderStructure
            The ladder.
        pad_share : float
            Margin on each side as a fraction of the listed range, at least two listed gaps.
        max_cells : int
            Most cells; finer grids are grouped.

        Returns
        -------
        Lattice
        """
        low, high = structure.outermost()
        span = max(high - low, 1)
        gaps = np.diff(sorted(set(_finite_ends(structure.intervals))))
        typical = float(np.median(gaps[gaps > 1])) if (gaps > 1).any() else 1.0
        pad = max(ceil(pad_share * span), ceil(2.0 * typical), 2)
        total = high - low + 1 + 2 * pad
        per_cell = max(-(-total // max_cells), 1)
        return cls(structure.grid, low - pad, max(-(-total // per_cell), 4), per_cell)


def find_structure_faults(
    contracts: Sequence[Contract], grid: SettlementGrid, *, is_exclusive: bool
) -> tuple[StructureFault, ...]:
    """Everything about a ladder that forbids a distribution, as data.

    Parameters
    ----------
    contracts : sequence of Contract
        Legs in any order.
    grid : SettlementGrid
        Where settlement values lie.
    is_exclusive : bool
        The event's ``mutually_exclusive``: at most one leg pays.

    Returns
    -------
    tuple of StructureFault
        Empty for a usable ladder.

    Notes
    -----
    Bins of an exclusive event may not overlap and may leave no settlement value between them
    uncovered; values outside the listed range may be uncovered, which is no fault. Bins
    (``between``) may overlap in no event.

    Examples
    --------
    >>> legs = [Contract("A", "between", 1, 2), Contract("B", "between", 4, 5)]
    >>> [f.code for f in find_structure_faults(legs, SettlementGrid(1.0), is_exclusive=True)]
    ['gapped_bins']
    """
    faults = []
    seen: set[str] = set()
    usable: list[tuple[Contract, IndexInterval]] = []
    for contract in contracts:
        name = (contract.ticker,)
        if contract.ticker in seen:
            faults.append(StructureFault("duplicate_contract", name, "listed twice"))
            continue
        seen.add(contract.ticker)
        if contract.strike_type not in BOUNDED_TYPES:
            detail = f"strike type {contract.strike_type!r}"
            faults.append(StructureFault("unresolved_direction", name, detail))
            continue
        try:
            interval = grid.interval(contract.payoff())
        except DataError as error:
            faults.append(StructureFault("invalid_strike", name, str(error)))
            continue
        if interval.is_empty():
            faults.append(StructureFault("empty_payoff", name, "no value of the grid pays"))
        else:
            usable.append((contract, interval))
    bins = [
        (contract, interval)
        for contract, interval in usable
        if is_exclusive or contract.strike_type == "between"
    ]
    bins.sort(key=lambda leg: _order(leg[1]))
    for (left, first), (right, second) in pairwise(bins):
        names = (left.ticker, right.ticker)
        if first.meets(second):
            faults.append(StructureFault("overlapping_bins", names, f"{first} and {second}"))
        elif is_exclusive and first.last is not None and second.first != first.last + 1:
            faults.append(StructureFault("gapped_bins", names, f"{first} and {second}"))
    return tuple(faults)


def ladder_structure(
    contracts: Sequence[Contract], grid: SettlementGrid, *, is_exclusive: bool
) -> LadderStructure:
    """Who pays where, for a ladder without faults.

    Parameters
    ----------
    contracts : sequence of Contract
        Legs in any order, at least one.
    grid : SettlementGrid
        Where settlement values lie.
    is_exclusive : bool
        The event's ``mutually_exclusive``: at most one leg pays.

    Returns
    -------
    LadderStructure
        Legs ordered by payoff set, whatever the order they came in.

    Raises
    ------
    DataError
        No contract, or a fault of :func:`find_structure_faults`.

    Examples
    --------
    >>> legs = [Contract("B", "greater", 4.0), Contract("A", "greater", 3.0)]
    >>> found = ladder_structure(legs, SettlementGrid(1.0), is_exclusive=False)
    >>> found.tickers, found.kind, found.pays.astype(int).tolist()
    (('A', 'B'), 'threshold', [[0, 0], [1, 0], [1, 1]])
    """
    faults = find_structure_faults(contracts, grid, is_exclusive=is_exclusive)
    if faults or not contracts:
        raise DataError(
            "contracts",
            wanted="at least one contract with a payoff set, no overlap and no gap",
            got="; ".join(f"{f.code} ({', '.join(f.tickers)}: {f.detail})" for f in faults) or 0,
            hint="Such an event has no distribution; find_structure_faults lists every cause.",
        )
    legs = sorted(
        ((grid.interval(contract.payoff()), contract) for contract in contracts),
        key=lambda leg: (_order(leg[0]), leg[1].ticker),
    )
    intervals = tuple(interval for interval, _ in legs)
    atoms = _atoms(intervals)
    pays = np.array(
        [[interval.contains(atom) for interval in intervals] for atom in atoms], dtype=np.bool_
    )
    return LadderStructure(
        contracts=tuple(contract for _, contract in legs),
        grid=grid,
        intervals=intervals,
        atoms=atoms,
        pays=pays,
        kind=_kind(intervals, pays),
        is_covering=bool(pays.any(axis=1).all()),
    )


def _kind(intervals: tuple[IndexInterval, ...], pays: npt.NDArray[np.bool_]) -> LadderKind:
    # Two complementary half-lines are both; the bounds agree, and disjoint is the stronger word.
    if (pays.sum(axis=1) <= 1).all():
        return "exclusive"
    if all((interval.first is None) != (interval.last is None) for interval in intervals):
        return "threshold"
    return "mixed"


def _atoms(intervals: tuple[IndexInterval, ...]) -> tuple[IndexInterval, ...]:
    starts = sorted(
        {i.first for i in intervals if i.first is not None}
        | {i.last + 1 for i in intervals if i.last is not None}
    )
    lefts: list[int | None] = [None, *starts]
    rights: list[int | None] = [*(start - 1 for start in starts), None]
    return tuple(IndexInterval(a, b) for a, b in zip(lefts, rights, strict=True))


def _finite_ends(intervals: tuple[IndexInterval, ...]) -> list[int]:
    return [end for i in intervals for end in (i.first, i.last) if end is not None]


def _order(interval: IndexInterval) -> tuple[float, float]:
    low = -np.inf if interval.first is None else float(interval.first)
    high = np.inf if interval.last is None else float(interval.last)
    return low, high


def _before(left: IndexInterval, right: IndexInterval) -> bool:
    return left.last is not None and right.first is not None and left.last < right.first

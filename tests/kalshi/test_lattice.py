"""Ladders on a settlement grid: faults, atoms and indicators against brute force."""

import numpy as np
import pytest

from quant_engine.core.errors import ConfigError, DataError
from quant_engine.kalshi.lattice import (
    IndexInterval,
    Lattice,
    SettlementGrid,
    find_structure_faults,
    ladder_structure,
)
from quant_engine.kalshi.payoffs import Contract

DEGREE = SettlementGrid(1.0)
WEATHER = [
    Contract("T75", "less", cap_strike=75),
    Contract("B75.5", "between", 75, 76),
    Contract("B77.5", "between", 77, 78),
    Contract("T78", "greater", floor_strike=78),
]


def codes(contracts, grid=DEGREE, *, is_exclusive=True):
    return [f.code for f in find_structure_faults(contracts, grid, is_exclusive=is_exclusive)]


def test_a_weather_ladder_covers_whole_degrees_and_leaves_gaps_on_tenths():
    found = ladder_structure(WEATHER, DEGREE, is_exclusive=True)
    assert (found.kind, found.is_covering) == ("exclusive", True)
    assert found.intervals[0] == IndexInterval(None, 74)
    assert codes(WEATHER, SettlementGrid(0.1)) == ["gapped_bins"]


def test_other_faults_have_their_own_names():
    assert codes([Contract("A", "custom")]) == ["unresolved_direction"]
    assert codes([Contract("A", "greater")]) == ["invalid_strike"]
    assert codes([Contract("A", "between", 1.2, 1.8)]) == ["empty_payoff"]
    twice = [Contract("A", "greater", 1.0)] * 2
    assert codes(twice, is_exclusive=False) == ["duplicate_contract"]
    with pytest.raises(DataError, match="contracts"):
        ladder_structure([], DEGREE, is_exclusive=True)


def test_kinds_and_coverage():
    half_lines = [Contract("A", "greater", 1.0), Contract("B", "less", cap_strike=0.0)]
    assert ladder_structure(half_lines, DEGREE, is_exclusive=False).kind == "exclusive"
    chain = [Contract("A", "greater", 1.0), Contract("B", "less", cap_strike=4.0)]
    found = ladder_structure(chain, DEGREE, is_exclusive=False)
    assert (found.kind, found.is_covering) == ("threshold", True)
    mixed = [Contract("A", "greater", 1.0), Contract("B", "between", 2.0, 3.0)]
    found = ladder_structure(mixed, DEGREE, is_exclusive=False)
    assert (found.kind, found.is_covering) == ("mixed", False)


def test_atoms_and_indicators_agree_with_the_payoff_sets():
    rng = np.random.default_rng(3)
    types = ("greater", "greater_or_equal", "less", "less_or_equal", "between")
    grid = SettlementGrid(0.1)
    for _ in range(50):
        legs = []
        for k in range(int(rng.integers(1, 6))):
            low, high = sorted(rng.integers(-20, 20, 2))
            chosen = types[int(rng.integers(4))]
            legs.append(Contract(f"L{k}", chosen, round(low / 10, 1), round(high / 10, 1)))
        ladder = ladder_structure(legs, grid, is_exclusive=False)
        lattice = Lattice(grid, first=-25, n_cells=51)
        payoff = lattice.payoff_matrix(ladder.intervals)
        for column, value in enumerate(lattice.points):
            expected = [
                contract.payoff().contains(round(value, 1)) for contract in ladder.contracts
            ]
            assert payoff[:, column].tolist() == expected
            (row,) = [
                a for a, atom in enumerate(ladder.atoms)
                if atom.contains(IndexInterval(column - 25, column - 25))
            ]  # fmt: skip
            assert ladder.pays[row].tolist() == expected


def test_a_cell_that_a_strike_cuts_counts_by_its_share():
    lattice = Lattice(DEGREE, first=0, n_cells=4, per_cell=4)
    assert lattice.indicator(IndexInterval(1, 5)).tolist() == [0.75, 0.5, 0.0, 0.0]
    assert lattice.points.tolist() == [1.5, 5.5, 9.5, 13.5]
    assert [lattice.cell_of(v) for v in (-9.0, 3.0, 4.0, 99.0)] == [0, 0, 1, 3]


def test_the_default_lattice_holds_the_strikes_with_a_margin():
    jobs = [Contract(f"T{k}", "greater", k * 25_000.0) for k in range(-2, 8)]
    ladder = ladder_structure(jobs, SettlementGrid(1_000.0), is_exclusive=False)
    lattice = Lattice.around(ladder)
    assert lattice.n_cells <= 64
    assert lattice.points[0] < -100_000
    assert lattice.points[-1] > 250_000


def test_settings_that_are_no_grid_are_refused():
    with pytest.raises(ConfigError, match="step"):
        SettlementGrid(0.0)
    with pytest.raises(ConfigError, match="n_cells"):
        Lattice(DEGREE, 0, 3)
    with pytest.raises(DataError, match="value"):
        DEGREE.index_of(0.5)
    assert SettlementGrid(0.25, anchor=0.125).index_of(0.375) == 1

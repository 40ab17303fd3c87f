"""The simulations of `benchmarks/multiple_testing_size.py`: worlds as stated, shares exact."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import skew

from quant_engine.stats.max_t import max_t

FILE = Path(__file__).parents[2] / "benchmarks" / "multiple_testing_size.py"


@pytest.fixture(scope="module")
def benchmark_module():
    spec = importlib.util.spec_from_file_location("multiple_testing_size", FILE)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        # A script finds its neighbours; dataclasses look their module up by name.
        patch.syspath_prepend(FILE.parent)
        patch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("noise", ["normal", "t4", "garch", "ar", "skew"])
def test_profits_have_the_stated_moments(benchmark_module, noise):
    cell = benchmark_module.Cell("size", 4, 0.6, noise, sharpe=2.0, who="first")
    pnl = benchmark_module.profits(cell.rng(0), cell, 60_000)
    assert pnl[:, 1:].std(axis=0) == pytest.approx([1, 1, 1], rel=0.12)
    assert np.corrcoef(pnl.T)[np.triu_indices(4, 1)] == pytest.approx([0.6] * 6, abs=0.05)
    means = pnl.mean(axis=0) * np.sqrt(252)
    assert means == pytest.approx([2, 0, 0, 0], abs=0.35)
    follows = np.corrcoef(pnl[1:, 1], pnl[:-1, 1])[0, 1]
    assert follows == pytest.approx(benchmark_module.AR if noise == "ar" else 0.0, abs=0.02)
    if noise == "skew":
        share = 0.6**1.5 + 0.4**1.5
        assert skew(pnl[:, 1]) == pytest.approx(-2 / np.sqrt(0.5) * share, rel=0.1)
    square = pnl[:, 1] ** 2
    clusters = np.corrcoef(square[20:], square[:-20])[0, 1]
    assert (clusters > 0.05) == (noise == "garch")


def test_streams_belong_to_the_setting_and_not_to_the_plan(benchmark_module):
    cell, more = (benchmark_module.Cell("size", 3, 0.0, reps=reps) for reps in (5, 9))
    assert cell.rng(4).random() == more.rng(4).random()
    others = [cell.rng(3), benchmark_module.Cell("size", 3, 0.1).rng(4)]
    assert cell.rng(4).random() not in [rng.random() for rng in others]


@pytest.mark.parametrize(("count", "reps"), [(3, 200), (7, 300), (11, 400)])
def test_shares_carry_exact_intervals(benchmark_module, count, reps):
    """The largest counts whose upper bound is at most 5 %."""
    assert benchmark_module.share(count, reps)["high"] <= 0.05
    assert benchmark_module.share(count + 1, reps)["high"] > 0.05
    assert benchmark_module.share(0, 200)["high"] == pytest.approx(0.018, abs=5e-4)


def test_looks_decide_as_all_draws_would(benchmark_module):
    rng = np.random.default_rng(1)
    pnl = rng.standard_normal((700, 3))
    pnl[:, 1] += 0.13
    looks = benchmark_module.Looks(pnl, 400, seed=2)
    for look, level in ((0, 0.05), (10, 0.004), (30, 0.0005)):
        seen = pnl[: 400 + 5 * look]
        want = max_t(seen, seed=2, n_draws=99_999).p_values.min()
        assert (looks.p_value(look, level) <= level) == (want <= level)
    assert looks.best(0) == 1
    names = [plan.name for plan in benchmark_module.procedures(20)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("command", ["size", "power", "hiding", "looks", "pbo"])
def test_every_command_runs_and_goes_on_from_its_cache(
    benchmark_module, command, tmp_path, capsys, monkeypatch
):
    def smallest(options, plan=benchmark_module.PLANS[command]):
        cell = min(plan(options), key=lambda cell: cell.n)
        return [benchmark_module.Cell(**{**vars(cell), "days": 400, "reps": 2})]

    monkeypatch.setitem(benchmark_module.PLANS, command, smallest)
    arguments = [command, "--quick", "--json", "--cache", str(tmp_path / "cells.jsonl")]
    assert benchmark_module.main(arguments) == 0
    first = capsys.readouterr()
    assert "cells: 1 of 1" in first.err
    assert benchmark_module.main(arguments) == 0
    second = capsys.readouterr()
    assert second.out == first.out
    assert second.err == ""
    (entry,) = json.loads(first.out)
    assert entry["reps"] == 2
    assert all(0.0 <= row["low"] <= row["share"] <= row["high"] for row in entry["shares"].values())
    assert benchmark_module.main(arguments[:2] + arguments[3:]) == 0
    assert "2 families" in capsys.readouterr().out

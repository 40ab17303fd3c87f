"""``run_backtest.py --advanced`` as a person calls it."""

from __future__ import annotations

import json
import math

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.feature("Q-04"),
    pytest.mark.feature("Q-36"),
    pytest.mark.feature("Q-48"),
]
SMALL = (
    *("--set", "advanced.n_null_draws=3", "--set", "advanced.n_paths=100"),
    *("--set", "advanced.n_blocks=3", "--set", "advanced.n_test_blocks=1"),
)


@pytest.mark.feature("Q-04", "Q-36", "Q-48")
def test_the_suite_from_the_command_line(cli, copied_chain) -> None:
    folder = copied_chain.folder
    before = copied_chain.runs["backtest"].json["metrics"]
    done = cli.run(["run_backtest.py", "--advanced", "--json", *SMALL], folder).ok()
    metrics = done.json["metrics"]
    assert {name: metrics[name] for name in before} == before
    assert metrics["n_trials"] == 6
    for name in ("stress_2x_sharpe", "delay_3_sharpe", "null_percentile", "cpcv_median_sharpe"):
        assert math.isfinite(metrics[name])
    assert "refits, split 1 of 3 to split 3 of 3" in done.stderr
    kinds = {item["kind"] for item in done.json["artifacts"]}
    assert {"stress_results", "null_baselines", "monte_carlo", "evaluation"} <= kinds
    results = copied_chain.results
    assert json.loads((results / "metrics.json").read_text())["split"]["all"]["n_sessions"] > 0
    assert set(json.loads((results / "regime_slices.json").read_text())) == {"regime", "phase"}
    again = cli.run(["run_backtest.py", "--advanced", "--resume", "--json", *SMALL], folder).ok()
    assert again.json["metrics"] == metrics
    assert "null baselines" not in again.stderr
    assert cli.leftovers(folder) == []


def test_a_misspelt_setting_is_refused(cli, copied_chain) -> None:
    args = ["run_backtest.py", "--advanced", "--set", "advanced.n_null_drawz=3"]
    done = cli.call(args, copied_chain.folder)
    assert done.code == 2
    assert "n_null_draws" in done.stderr

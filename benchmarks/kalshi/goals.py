"""The goals of the event-market vertical: floor, moonshot, frozen seed, command of each row.

    python benchmarks/kalshi/goals.py

prints the table. The other commands of this folder measure rows and print one line per goal:
floor, moonshot, measured, and met or missed. Seeds stand here alone; tests and tuning use others.
"""

from __future__ import annotations

from dataclasses import dataclass

SEEDS = {
    "coherence": 20_261_131,
    "distributions": 20_261_121,
    "messages": 20_260_113,
    "rest": 20_261_133,
    "arbitrage": 20_261_138,
    "store": 20_261_121,
    "worlds": 1_000,
    "pipeline": 20_261_123,
}
"""Of every command; never used in tests, nor to choose settings."""


@dataclass(frozen=True)
class Goal:
    """One goal.

    Parameters
    ----------
    row : str
        Number in the table of goals, with a letter where a row has several figures.
    what : str
        What is measured.
    floor, moonshot : float
        What has to be reached, and what would be outstanding.
    unit : str
        Of both.
    command : str
        Script of this folder that measures it.
    is_high : bool
        Whether more is better.
    size : int
        Observations that the goal asks for; 0 = any.
    """

    row: str
    what: str
    floor: float
    moonshot: float
    unit: str
    command: str
    is_high: bool = False
    size: int = 0

    def line(self, measured: float, *, size: int = 0) -> str:
        """Floor, moonshot, measured, met or missed."""
        sign = 1.0 if self.is_high else -1.0
        words = "MISSED"
        if sign * (measured - self.floor) >= 0:
            words = "met"
        if sign * (measured - self.moonshot) >= 0:
            words = "met, moonshot"
        scale = f" at {size:,} of {self.size:,}" if 0 < size < self.size else ""
        relation = ">=" if self.is_high else "<="
        return (
            f"row {self.row:<3} {self.what:<58} floor {relation} {self.floor:g}, moonshot "
            f"{relation} {self.moonshot:g} {self.unit}: measured {measured:.6g}  [{words}{scale}]"
        )


_D, _R = "distributions.py", "ratio"
GOALS = {
    goal.row: goal
    for goal in (
        Goal("1", "ladders with an arbitrage in the output", 0, 0, "", "coherence.py",
             size=100_000),
        Goal("2a", "bin TV against naive, noise x0.5", 0.60, 0.45, _R, _D, size=300),
        Goal("2b", "bin TV against naive, noise x1", 0.55, 0.40, _R, _D, size=300),
        Goal("2c", "bin TV against naive, noise x2", 0.45, 0.30, _R, _D, size=300),
        Goal("2d", "bin TV against naive, noise x4", 0.42, 0.28, _R, _D, size=300),
        Goal("3", "bin TV with temporal pooling, 8 looks", 0.40, 0.25, _R, _D, size=300),
        Goal("4a", "CRPS excess against naive, noise x1", 0.75, 0.50, _R, _D, size=300),
        Goal("4b", "CRPS excess against naive, noise x2", 0.65, 0.45, _R, _D, size=300),
        Goal("4c", "CRPS excess against naive, noise x4", 0.60, 0.45, _R, _D, size=300),
        Goal("5", "log loss over normalised last prices, T-24 h", -0.02, -0.05, "nats",
             "weather_ladders.py"),
        Goal("6", "Spearman of quality and true error", 0.45, 0.65, "", _D, is_high=True, size=300),
        Goal("7", "coverage of the 90 % band, distance from 0.90", 0.05, 0.02, "", _D, size=300),
        Goal("8", "one warm fit, one core", 25, 2, "ms", _D),
        Goal("9", "idempotent ingest", 1, 3, "M rows/s", "store.py", is_high=True),
        Goal("10", "as-of join of 1 M lines and 5 M quotes", 3, 1, "s", "store.py"),
        Goal("11", "websocket messages decoded and applied", 50_000, 150_000, "1/s", "messages.py",
             is_high=True),
        Goal("12", "undeclared errors of books, 1 % faults", 0, 0, "", "messages.py",
             size=1_000_000),
        Goal("13a", "prints missing after faults, paging faults, skew", 0, 0, "", "rest.py",
             size=10_000),
        Goal("13b", "prints twice", 0, 0, "", "rest.py", size=10_000),
        Goal("13c", "requests repeated that are not idempotent", 0, 0, "", "rest.py", size=10_000),
        Goal("14", "violations of the leak audit", 0, 0, "", "store.py"),
        Goal("15", "failures of the fee engine", 0, 0, "", "suites.py"),
        Goal("16", "failures of signing", 0, 0, "", "suites.py"),
        Goal("17", "bands where closed form and LP differ", 0, 0, "", "coherence.py", size=10_000),
        Goal("18a", "planted violations not found", 0, 0, "", "arbitrage.py", size=1_000),
        Goal("18b", "false positives after fees", 0, 0, "", "arbitrage.py", size=1_000),
        Goal("18c", "sums of asks flagged without proven coverage", 0, 0, "", "arbitrage.py",
             size=1_000),
        Goal("19a", "null worlds promoted", 0.02, 0.01, "", "worlds.py", size=500),
        Goal("19b", "planted edges promoted", 0.80, 0.95, "", "worlds.py", is_high=True),
        Goal("19c", "processor time of one world", 10, 10, "s", "worlds.py"),
        Goal("20", "gaps and repetitions around a moving cut-off", 0, 0, "", "rest.py"),
        Goal("21", "failures on unknown fields, types and values", 0, 0, "", "suites.py"),
        Goal("22", "failures of the regressions R1-R15 and traps (a)-(g)", 0, 0, "", "suites.py"),
        Goal("23", "whole run on the fake exchange", 300, 60, "s", "pipeline.py"),
        Goal("24", "exported files that differ on a second run", 0, 0, "", "pipeline.py"),
    )
}  # fmt: skip


def show(row: str, measured: float, *, size: int = 0) -> None:
    """Print the line of one goal."""
    print(GOALS[row].line(measured, size=size), flush=True)


def main() -> None:
    """Print every goal with its command."""
    for goal in GOALS.values():
        relation = ">=" if goal.is_high else "<="
        print(
            f"{goal.row:<4} {goal.what:<58} floor {relation} {goal.floor:<9g} moonshot {relation} "
            f"{goal.moonshot:<9g} {goal.unit:<9} python benchmarks/kalshi/{goal.command}"
        )


if __name__ == "__main__":
    main()

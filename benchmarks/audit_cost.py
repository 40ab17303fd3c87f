"""Cost of the look-ahead audit: CPU time of the poison pass over one pass of the feature set.

The poison pass is everything that detector D2 adds to features that are computed anyway: poisoning
the data after one late cut, computing the set once more, and comparing every row up to the cut.
The target is at most 1.5 passes.

Run ``python benchmarks/audit_cost.py [SET ...]``; 300 assets x 1500 sessions, medians of the
repeats. Other work on the machine moves both figures, so their ratio is what counts.
"""

from __future__ import annotations

import argparse
import statistics
import time

from quant_engine.cli.audit import subject_of
from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world
from quant_engine.testing.audit import audit, late_cut
from quant_engine.testing.outputs import differences, labelled
from quant_engine.testing.poison import poison_future
from quant_engine.workflows.audit import PanelPart, feature_parts
from quant_engine.workflows.context import Workspace

TARGET = 1.5


def seconds(work) -> tuple[float, object]:
    """CPU seconds of a call, and what it returned."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def poison_pass(part: PanelPart, before, seed: int) -> int:
    """What D2 adds; returns the number of fields that moved."""
    cut = late_cut(part.panel, warmup=part.warmup, seed=seed)
    changed = poison_future(part.panel, cut=cut, seed=seed)
    times = part.panel.time.values
    after = labelled(part.compute(changed), changed)
    return len(list(differences(before, after, first=times[0], last=times[cut])))


def measure(part: PanelPart, n_repeats: int) -> str:
    """One line of the table."""
    before = labelled(part.compute(part.panel), part.panel)
    poison_pass(part, before, 0)
    plain, poisoned = [], []
    for seed in range(n_repeats):
        plain.append(seconds(lambda: part.compute(part.panel))[0])
        spent, moved = seconds(lambda seed=seed: poison_pass(part, before, seed))
        assert moved == 0, f"{part.name} leaks"
        poisoned.append(spent)
    whole = seconds(lambda: audit(subject_of(part), seed=0))[0]
    one, two = statistics.median(plain), statistics.median(poisoned)
    return f"{part.name:<20} {one:8.2f} {two:8.2f} {two / one:8.2f} {whole:8.2f} {whole / one:8.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=["price_volume_core", "alpha158"])
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    world = simulate_equity_world(EquityWorldConfig(seed=3, n_assets=300, n_sessions=1500))
    print("CPU seconds            one set   poison    ratio    whole    ratio")
    for part in feature_parts(Workspace.open(), world.panel, names=options.sets):
        print(measure(part, options.repeats), flush=True)
    print(f"target: the poison pass costs at most {TARGET} passes")


if __name__ == "__main__":
    main()

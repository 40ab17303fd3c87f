"""Speed of the selection statistics against the limits that they promise.

Run ``python benchmarks/statistics_speed.py``. Each line is the best of three after one run that
compiles. Parity with plain twins is the business of ``tests/stats``. Measurement code outside the
package.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np

from quant_engine.stats.max_t import max_t
from quant_engine.stats.metrics import SharpeIntervalConfig, sharpe_interval
from quant_engine.stats.multiplicity import reject
from quant_engine.stats.overfitting import pbo_cscv
from quant_engine.stats.snooping import SnoopingConfig, spa_test

REPEATS = 3


def cases() -> list[tuple[str, float, Callable[[], object]]]:
    """List what is measured: name, limit in seconds, call."""
    rng = np.random.default_rng(0)
    many, wide = rng.standard_normal((2500, 1000)), rng.standard_normal((1250, 1200))
    one, p_values = 0.01 * rng.standard_normal(1250), rng.random(1_000_000)
    interval = SharpeIntervalConfig(method="block_bootstrap", n_draws=10_000, seed=0)
    snooping = SnoopingConfig(n_draws=1000, avg_block=10.0)
    return [
        ("PBO, S = 16, 1,000 strategies x 2,500 days", 20.0, lambda: pbo_cscv(many, n_blocks=16)),
        (
            "max-T, 1,000 draws, 1,250 x 1,200",
            1.0,
            lambda: max_t(wide, seed=0, alpha=0.025, n_draws=1000),
        ),
        (
            "Sharpe interval, 10,000 resamples of 1,250 days",
            0.5,
            lambda: sharpe_interval(one, periods_per_year=252.0, config=interval),
        ),
        (
            "SPA studentised, 1,000 draws, 1,250 x 1,200",
            float("nan"),
            lambda: spa_test(wide, config=snooping, seed=0),
        ),
        ("BH, 1,000,000 p-values", float("nan"), lambda: reject(p_values, method="bh", alpha=0.05)),
    ]


def main() -> int:
    """Measure and print; return 1 when a limit is missed."""
    missed = False
    for name, limit, call in cases():
        call()
        seconds = []
        for _ in range(REPEATS):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
        told = "" if np.isnan(limit) else f"   limit {limit:g} s"
        print(f"{name:52s} {min(seconds):8.3f} s{told}")
        missed = missed or min(seconds) > limit
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())

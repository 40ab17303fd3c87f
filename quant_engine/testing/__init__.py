"""Public conformance suites for authors of plug-ins, and the look-ahead audit.

Everything here takes callables and example data and imports ``quant_engine.core`` alone, so that
it can be used on any function that has the right shape.
"""

from quant_engine.testing.conformance import (
    check_feature_set,
    check_learner,
    check_provider,
    check_registry,
)
from quant_engine.testing.errors import ConformanceError, LeakFoundError
from quant_engine.testing.lookahead import (
    AuditReport,
    Difference,
    assert_prefix_invariant,
    random_cuts,
)
from quant_engine.testing.poison import poison_future

__all__ = [
    "AuditReport",
    "ConformanceError",
    "Difference",
    "LeakFoundError",
    "assert_prefix_invariant",
    "check_feature_set",
    "check_learner",
    "check_provider",
    "check_registry",
    "poison_future",
    "random_cuts",
]

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
from quant_engine.testing.factors import check_factor
from quant_engine.testing.fills import audit_fill_prices, audit_fill_times
from quant_engine.testing.findings import Detector, Finding
from quant_engine.testing.joins import Join, audit_join
from quant_engine.testing.lookahead import (
    AuditReport,
    Difference,
    assert_prefix_invariant,
    random_cuts,
)
from quant_engine.testing.poison import poison_future
from quant_engine.testing.processes import Learning, audit_process, null_z
from quant_engine.testing.purge import audit_splits
from quant_engine.testing.redraws import Facts
from quant_engine.testing.results import Audit, AuditRow, Verdict, audit_table

__all__ = [
    "Audit",
    "AuditReport",
    "AuditRow",
    "ConformanceError",
    "Detector",
    "Difference",
    "Facts",
    "Finding",
    "Join",
    "LeakFoundError",
    "Learning",
    "Verdict",
    "assert_prefix_invariant",
    "audit_fill_prices",
    "audit_fill_times",
    "audit_join",
    "audit_process",
    "audit_splits",
    "audit_table",
    "check_factor",
    "check_feature_set",
    "check_learner",
    "check_provider",
    "check_registry",
    "null_z",
    "poison_future",
    "random_cuts",
]

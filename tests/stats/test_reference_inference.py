"""Reference cases of Sharpe inference, bootstrap plans, Newey-West and haircuts."""

import pytest

from quant_engine.testing.reference import resampling, sharpe
from quant_engine.testing.reference.cases import agree, read_cases
from quant_engine.testing.reference.table import choose

pytestmark = pytest.mark.reference

ADAPTERS = (*sharpe.ADAPTERS, *resampling.ADAPTERS)
PREFIXES = {
    "sharpe_stats": ("psr", "mintrl", "dsr", "expected_max", "sd_of_max", "emax", "minbtl",
                     "sharpe_power", "sharpe_fdr"),
    "bootstrap_snooping_hac": ("newey_west", "stationary_bootstrap", "optimal_block_length"),
    "multiple_testing": ("harvey_liu", "profit_hurdle", "t_pvalues"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("topic", "prefix"), [(topic, prefix) for topic, names in PREFIXES.items() for prefix in names]
)
def test_every_expected_value_comes_out(shared_reference, topic, prefix):
    cases = [
        case
        for case in read_cases(shared_reference / "dev")
        if case.topic == topic and case.name.startswith(prefix)
    ]
    assert cases
    for case in cases:
        adapters = choose(ADAPTERS, topic, case.name, case.inputs, set(case.expected))
        gives = {k: v for adapter in reversed(adapters) for k, v in adapter.gives.items()}
        others = {k for adapter in adapters for k in adapter.others}
        assert set(case.expected) <= gives.keys() | others, case.name
        for name in case.expected.keys() & gives.keys():
            got = gives[name](case.inputs)
            assert agree(got, case.expected[name], tol_abs=case.tol_abs, tol_rel=case.tol_rel), (
                f"{case.name}: {name} is {got}, not {case.expected[name]}"
            )


BY_NAME = ("psr2025", "psr_2025", "mintrl2025", "mintrl_2025", "dsr_trial_list")
"""Prefixes that say which of two conventions is meant; the inputs do not."""


@pytest.mark.parametrize("prefix", sorted({adapter.prefix for adapter in ADAPTERS} - set(BY_NAME)))
def test_a_case_is_understood_whatever_its_name(shared_reference, prefix):
    for case in read_cases(shared_reference / "dev"):
        if case.name.startswith(prefix) and not case.name.startswith(BY_NAME):
            adapters = choose(ADAPTERS, case.topic, "another", case.inputs, set(case.expected))
            assert adapters, case.name
            given = set().union(*(adapter.gives.keys() | adapter.others for adapter in adapters))
            assert set(case.expected) <= given, case.name

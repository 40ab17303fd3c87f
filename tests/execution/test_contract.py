"""Execution contracts: equal terms, equal digests, and what breaks one."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from quant_engine.core.errors import ConfigError
from quant_engine.core.panel import PriceBasis
from quant_engine.execution import ContractDifference, ExecutionContract, TerminalReturns
from quant_engine.features.labels import LabelConfig, label_contract

pytestmark = pytest.mark.feature("Q-47")

TERMS = {
    "return_type": "price",
    "horizon_sessions": 11,
    "price_basis": PriceBasis.TOTAL_ADJ,
    "entry_lag": 2,
    "entry_price": "close",
    "exit_price": "barrier",
    "terminal": TerminalReturns(unknown_frac=-0.5),
    "direction": "primary",
    "costs": "b" * 64,
}


@pytest.fixture
def contract():
    return label_contract(LabelConfig(), PriceBasis.SPLIT_ADJ)


def test_labels_promise_the_next_open_over_their_horizon(contract):
    assert contract == ExecutionContract(horizon_sessions=10, price_basis=PriceBasis.SPLIT_ADJ)
    kinds = LabelConfig(kinds=("excess",))
    assert label_contract(kinds, PriceBasis.SPLIT_ADJ).contract_id() == contract.contract_id()


def test_every_term_changes_the_digest_and_is_named(contract):
    assert set(TERMS) == set(ExecutionContract.model_fields)
    contract = contract.model_copy(update={"costs": "a" * 64})
    seen = {contract.contract_id()}
    for term, value in TERMS.items():
        other = contract.model_copy(update={term: value})
        seen.add(other.contract_id())
        (found,) = contract.differences(other)
        assert found.term == term
        with pytest.raises(ConfigError, match=term):
            contract.require_kept(other)
        contract.require_kept(other, except_terms={term})
    assert len(seen) == 1 + len(TERMS)


def test_gross_labels_promise_nothing_about_costs_and_keep_their_digest(contract):
    net = contract.model_copy(update={"costs": "a" * 64})
    assert contract.differences(net) == ()
    assert [found.term for found in net.differences(contract)] == ["costs"]
    assert not {"costs", "direction"} & set(contract.content())


def test_a_stored_contract_reads_back_the_same(contract):
    again = ExecutionContract.model_validate(contract.content())
    assert again == contract
    assert contract.differences(again) == ()
    contract.require_kept(again)


def test_all_broken_terms_stand_in_one_message(contract):
    fills = contract.model_copy(update={"entry_lag": 2, "horizon_sessions": 5})
    with pytest.raises(ConfigError, match="horizon_sessions 10; entry_lag 1, got") as error:
        contract.require_kept(fills)
    assert "horizon_sessions 5; entry_lag 2" in str(error.value)
    assert contract.differences(fills)[1] == ContractDifference("entry_lag", 1, 2)


def test_impossible_terms_are_refused():
    with pytest.raises(ValidationError):
        ExecutionContract(horizon_sessions=0, price_basis=PriceBasis.RAW)
    with pytest.raises(ValidationError):
        ExecutionContract(horizon_sessions=1, price_basis=PriceBasis.RAW, fee=1.0)

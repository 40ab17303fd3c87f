"""Errors: one cause each, values instead of sentences, and whole after crossing a process."""

import inspect
import multiprocessing

import pytest

from quant_engine.core import errors
from quant_engine.core.errors import (
    DataError,
    MissingExtraError,
    QuantEngineError,
    did_you_mean,
)

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, QuantEngineError)
]


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_message_is_composed_of_the_attributes(kind):
    error = kind("horizon", wanted="at least 1", got=0, hint="Use 10.")
    assert str(error) == "horizon: wanted at least 1, got 0. Use 10."
    assert (error.parameter, error.wanted, error.got, error.hint) == (
        "horizon", "at least 1", 0, "Use 10.",
    )  # fmt: skip


def test_exit_codes_are_those_of_the_documentation():
    codes = {kind.__name__: kind.exit_code for kind in CLASSES}
    assert codes == {
        "QuantEngineError": 1,
        "ConfigError": 2,
        "StoreError": 2,
        "DataError": 3,
        "MissingFieldError": 3,
        "EmptyDataError": 3,
        "UnreadableFileError": 3,
        "IdentityError": 3,
        "InsufficientHistoryError": 3,
        "SchemaMismatchError": 3,
        "IntegrityError": 3,
        "LookAheadError": 3,
        "GateNotPassedError": 4,
        "InsufficientObservationError": 5,
        "SourceUnavailableError": 6,
        "MissingExtraError": 7,
    }
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)


def test_data_errors_can_be_caught_together():
    for kind in CLASSES:
        assert issubclass(kind, DataError) == (kind.exit_code == 3)


def test_errors_survive_a_process_boundary():
    """There and back through a pipe, as results of workers travel: values, types and notes."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    with ours, theirs:
        for kind in CLASSES:
            sent = kind("weights", wanted="a sum of 1", got=[0.25, {"a": None}], hint="Scale them.")
            sent.add_note("in fold 3")
            ours.send(sent)
            theirs.send(theirs.recv())
            received = ours.recv()
            assert type(received) is kind
            assert received.got == [0.25, {"a": None}]
            assert str(received) == str(sent)
            assert received.__notes__ == ["in fold 3"]


def test_missing_extra_names_the_command():
    error = MissingExtraError.for_extra("neural", package="torch", purpose="the sequence model")
    assert error.exit_code == 7
    assert 'pip install "quant-engine[neural]"' in str(error)
    assert "torch" in str(error)


class TestDidYouMean:
    def test_one_near_name(self):
        assert did_you_mean("momentun", ["momentum", "value"]) == "Did you mean 'momentum'?"

    def test_several_near_names(self):
        hint = did_you_mean("ret_5", ["ret_1", "ret_10", "ret_50", "volume"])
        assert hint.startswith("Did you mean 'ret_50' or ")
        assert "volume" not in hint

    def test_nothing_near_lists_everything_sorted(self):
        assert did_you_mean("xyz", ["value", "carry"]) == "Known: carry, value."
        assert did_you_mean("xyz", []) == "Known: none."

"""RecordChain: written once, signed, linked; whatever is done to a record has its number."""

import json

import pytest

from quant_engine.artifacts.signing import Signer
from quant_engine.core.errors import IntegrityError
from quant_engine.core.hashing import sha256_json
from quant_engine.governance.records import RecordChain
from quant_engine.governance.rows import GENESIS, Head


@pytest.fixture
def chain(tmp_path, signer):
    made = RecordChain(tmp_path / "records", signer=signer)
    for value in range(4):
        made.append(lambda head, value=value: {"value": value, "after": head.number})
    return made


def path(chain, number):
    return chain.folder / f"{number:08d}.json"


def edit(chain, number, **changes):
    content = {**json.loads(path(chain, number).read_text()), **changes}
    path(chain, number).write_text(json.dumps(content))


def test_records_are_linked_and_whole(chain):
    records = chain.all()
    assert [record.payload for record in records] == [
        {"value": value, "after": value} for value in range(4)
    ]
    previous = GENESIS
    for record in records:
        assert record.previous == previous
        previous = sha256_json([record.number, previous, record.payload])
        assert record.own == previous
    assert chain.head() == Head(4, previous)
    assert chain.faults() == ()


def test_an_empty_chain(tmp_path, signer):
    chain = RecordChain(tmp_path / "none", signer=signer)
    assert (chain.head(), chain.all(), chain.faults()) == (Head(), [], ())


def test_a_refusal_writes_nothing(chain):
    def refuse(head):
        raise IntegrityError("x", wanted="y", got="z", hint="no")

    with pytest.raises(IntegrityError, match="wanted y"):
        chain.append(refuse)
    assert chain.head().number == 4


@pytest.mark.parametrize("number", [1, 3, 4])
def test_an_edited_record_is_named(chain, number):
    edit(chain, number, payload={"value": 99})
    assert chain.faults() == (f"record {number}: its content was edited: the hash does not match",)
    with pytest.raises(IntegrityError, match="edited"):
        chain.all()


def test_a_record_made_without_the_key_is_named(chain, tmp_path):
    forger = RecordChain(tmp_path / "forger", signer=Signer(tmp_path / "other.key"))
    for value in range(4):
        forger.append(lambda head, value=value: {"value": 7, "after": head.number})
    path(chain, 2).write_bytes(path(forger, 2).read_bytes())
    assert chain.faults()[0] == (
        "record 2: its signature is not valid for this results folder's key"
    )


def test_missing_and_moved_records_are_named(chain):
    path(chain, 2).unlink()
    assert chain.faults() == ("record 2 is missing",)
    path(chain, 3).rename(path(chain, 2))
    assert "record 2: it is the record with number 3" in chain.faults()


def test_an_older_record_in_place_of_a_newer_one_breaks_the_link(chain, tmp_path, signer):
    other = RecordChain(tmp_path / "other", signer=signer)
    for value in (5, 6, 7):
        other.append(lambda head, value=value: {"value": value})
    path(chain, 3).write_bytes(path(other, 3).read_bytes())
    assert chain.faults() == (
        "record 3 does not follow record 2",
        "record 4 does not follow record 3",
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"number": 4}'])
def test_a_file_that_is_no_record_is_named(chain, content):
    path(chain, 4).write_text(content)
    assert chain.faults()[0].startswith("record 4: no record")
    with pytest.raises(IntegrityError):
        chain.append(lambda head: {})

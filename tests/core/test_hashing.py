"""Hashes: one canonical JSON, stable for ever (golden values) and sensitive to every bit."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.hashing import (
    array_digest,
    canonical_json,
    finite_or_none,
    sha256_bytes,
    sha256_file,
    sha256_json,
    sha256_text,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.feature("Q-46")
def test_golden_hashes():
    """Frozen: a change here makes every stored id and registry key unreachable."""
    config = {"horizon": 10, "penalty": 0.1, "names": ["é", "NAN"], "none": None, "on": True}
    assert canonical_json(config) == (
        '{"horizon":10,"names":["é","NAN"],"none":null,"on":true,"penalty":0.1}'
    )
    assert sha256_json(config) == "af32e89d468d0a70bacf9bebcebf554e04c2ad67326f21a5b57a24425757dfdf"
    assert sha256_text("abc") == hashlib.sha256(b"abc").hexdigest()
    matrix = np.arange(6, dtype="<f8").reshape(2, 3)
    assert (
        array_digest(matrix) == "ac77a7378696380c9ebad9c593495e7fe037694988376398ff4a849869b6b319"
    )
    assert (
        array_digest(np.array(["2020-01-02"], dtype="datetime64[D]"))
        == "12734ef2bf2264742201ce87316a62ecc63df0faf280cc54173112a9b8739b72"
    )


def test_array_digest_by_hand():
    matrix = np.arange(6, dtype="<i2").reshape(2, 3)
    expected = hashlib.sha256(b"<i2(2, 3)" + bytes([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0]))
    assert array_digest(matrix) == expected.hexdigest()


@settings(deadline=None, max_examples=30)
@given(JSON)
def test_key_order_and_tuples_do_not_matter(value):
    def reordered(item):
        if isinstance(item, dict):
            return {key: reordered(item[key]) for key in reversed(list(item))}
        if isinstance(item, list):
            return tuple(reordered(part) for part in item)
        return item

    assert sha256_json(reordered(value)) == sha256_json(value)


def test_the_hash_does_not_depend_on_the_process():
    """Set and dict order follow PYTHONHASHSEED; canonical JSON must not."""
    code = (
        "from quant_engine.core.hashing import sha256_json;"
        "print(sha256_json({k: 1 for k in {'a', 'b', 'c', 'd'}}))"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert answers == {sha256_json({"a": 1, "b": 1, "c": 1, "d": 1}) + "\n"}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1.0, float("-inf")]])
def test_json_cannot_carry_nan(value):
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json(value)


def test_different_values_differ():
    values = [0, 0.0, -0.0, False, None, "", "0", [], {}, [0], {"0": 0}]
    assert len({sha256_json(value) for value in values}) == len(values)


class TestArrayDigest:
    def test_dtype_shape_and_every_bit_count(self):
        base = np.arange(6.0)
        variants = [
            base,
            base.astype(np.float32),
            base.astype(">f8"),
            base.reshape(2, 3),
            base.reshape(3, 2),
            np.nextafter(base, np.inf),
            np.array([-0.0, 1, 2, 3, 4, 5]),
        ]
        assert len({array_digest(array) for array in variants}) == len(variants)

    def test_memory_order_does_not_count(self):
        matrix = np.arange(12.0).reshape(3, 4)
        assert array_digest(np.asfortranarray(matrix)) == array_digest(matrix)
        assert array_digest(matrix[:, ::2]) == array_digest(matrix[:, ::2].copy())

    def test_nan_payloads_count_and_empties_work(self):
        quiet = np.array([np.nan])
        other = quiet.view(np.int64) + 1
        assert array_digest(quiet) != array_digest(other.view(np.float64))
        assert array_digest(np.empty((0, 3))) != array_digest(np.empty((3, 0)))
        assert array_digest(np.array(1.0)) != array_digest(np.array([1.0]))


def test_file_hash_over_several_chunks(tmp_path):
    data = np.random.default_rng(0).bytes(3_000_001)
    path = tmp_path / "big.bin"
    path.write_bytes(data)
    assert sha256_file(path) == sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_finite_or_none():
    values = [finite_or_none(v) for v in (1, 0.5, np.float64(2), None, np.nan, np.inf, -np.inf)]
    assert values == [1.0, 0.5, 2.0, None, None, None, None]
    assert type(values[2]) is float

"""A stored model is the same model, or it is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from quant_engine.core.errors import IntegrityError, SchemaMismatchError, UnreadableFileError
from quant_engine.core.hashing import canonical_json, sha256_json
from quant_engine.models import dump, load, predict, train


@pytest.fixture(scope="module")
def model(world, config, target):
    return train(
        world.features, world.labels, target=target, folds=world.folds, config=config
    ).model


@pytest.fixture(scope="module")
def files(model):
    return dump(model)


@pytest.mark.feature("Q-30")
def test_a_loaded_model_predicts_the_same_bits(model, files, world):
    again = load(files)
    ours = predict(model, world.features, rows=slice(None))
    theirs = predict(again, world.features, rows=slice(None))
    pd.testing.assert_frame_equal(ours.table, theirs.table, check_exact=True)
    pd.testing.assert_frame_equal(ours.contributions, theirs.contributions, check_exact=True)
    assert dump(again) == files
    assert (again.schema, again.target, again.config) == (model.schema, model.target, model.config)
    assert again.training == model.training


def test_files_hold_text_json_and_plain_arrays(files):
    assert sorted(files) == ["member_lgbm.txt", "member_ridge.npz", "model.json"]
    header = json.loads(files["model.json"])
    assert header["schema"]["names"] == [f"f{j}" for j in range(5)]
    assert header["training"]["folds"][0]["number"] == 1
    assert files["member_lgbm.txt"].startswith(b"tree\n")


def test_a_model_without_maps_survives(model, world):
    bare = replace(model, maps=None)
    again = load(dump(bare))
    assert again.maps is None
    frame = predict(again, world.features, rows=slice(-1, None)).table
    assert frame[["expected_return_frac", "lo", "hi", "confidence"]].isna().all().all()


@pytest.mark.parametrize("name", ["model.json", "member_lgbm.txt", "member_ridge.npz"])
def test_an_edited_file_is_refused(files, name):
    data = bytearray(files[name])
    middle = len(data) // 2
    data[middle] ^= 1
    with pytest.raises((IntegrityError, UnreadableFileError)):
        load({**files, name: bytes(data)})


def test_a_changed_number_in_the_header_is_refused(files):
    header = json.loads(files["model.json"])
    header["maps"]["slope_frac"] *= 2
    with pytest.raises(IntegrityError, match="does not match its digest"):
        load({**files, "model.json": canonical_json(header).encode()})


@pytest.mark.parametrize("name", ["member_lgbm.txt", "member_ridge.npz"])
def test_a_missing_file_is_refused(files, name):
    with pytest.raises(IntegrityError, match="no such file"):
        load({key: data for key, data in files.items() if key != name})


def test_headers_that_are_none_are_refused(files):
    with pytest.raises(UnreadableFileError, match=r"wanted model\.json, got no file"):
        load({})
    for text in (b"", b"\xff", b"{"):
        with pytest.raises(UnreadableFileError):
            load({**files, "model.json": text})
    with pytest.raises(SchemaMismatchError, match=r"format quant_engine.model/1"):
        load({**files, "model.json": b"[1]"})
    with pytest.raises(IntegrityError, match="does not name"):
        load({**files, "extra.pkl": b""})


def test_a_header_of_another_version_is_refused(files):
    header = json.loads(files["model.json"])
    header.pop("digest")
    header["config"]["new_setting"] = 1
    header["digest"] = sha256_json(header)
    with pytest.raises(SchemaMismatchError, match="this version knows"):
        load({**files, "model.json": canonical_json(header).encode()})


def test_a_member_of_another_model_is_refused(files, model):
    ridge = model.members["ridge"]
    other = type(ridge)(ridge.coef + 1.0, ridge.mean, ridge.base)
    with pytest.raises(IntegrityError, match="other bytes"):
        load({**files, "member_ridge.npz": other.to_bytes()})

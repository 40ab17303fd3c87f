"""Manifest: everything that determines an artifact is in its identity, nothing else is."""

import pytest
from pydantic import ValidationError

from quant_engine.artifacts.manifest import ArtifactRef, Manifest
from quant_engine.core.hashing import sha256_json
from quant_engine.core.tracks import DataRegime, RunSource, ScoreSource, Track


@pytest.fixture
def build(provenance):
    def make(kind="text", *, files=None, schema_version=1, code="c0de", signed=False, **changes):
        return Manifest.build(
            kind,
            schema_version=schema_version,
            files={"value.txt": "aa"} if files is None else files,
            code_digest=code,
            provenance=provenance(**changes),
            signed=signed,
        )

    return make


@pytest.mark.feature("Q-46")
def test_equal_parts_give_an_equal_id(build):
    assert build() == build()
    assert build().id == build().id
    assert len(build().id) == 32
    assert str(build().ref) == f"text/{build().id}"


@pytest.mark.feature("Q-46")
@pytest.mark.parametrize(
    "change",
    [
        {"kind": "other"},
        {"files": {"value.txt": "ab"}},
        {"files": {"other.txt": "aa"}},
        {"files": {}},
        {"schema_version": 2},
        {"code": "c0df"},
        {"signed": True},
        {"producer": "test.other"},
        {"config": {"horizon": 5}},
        {"inputs": (ArtifactRef(kind="text", id="0" * 32),)},
        {"dataset": "world-2"},
        {"as_of": "2026-01-05"},
        {"run_source": RunSource.SMOKE},
        {"data_regime": DataRegime.MIXED, "track": Track.RESEARCH},
        {"score_source": ScoreSource.NONE},
        {"seed": 0},
        {"feature_version": "1"},
        {"data_version": "1"},
        {"model_name": "m"},
        {"model_version": "1"},
    ],
    ids=str,
)
def test_every_part_changes_the_id(build, change):
    assert build(**change).id != build().id


def test_the_order_of_inputs_counts(build):
    one, two = (ArtifactRef(kind="text", id=digit * 32) for digit in "12")
    assert build(inputs=(one, two)).id != build(inputs=(two, one)).id


def test_lineage_leaves_the_content_out_and_everything_else_in(build):
    assert build(files={"value.txt": "zz"}).lineage_id == build().lineage_id
    assert build(code="other").lineage_id != build().lineage_id


def test_hashes_by_hand(build):
    manifest = build()
    assert manifest.content_sha256 == sha256_json({"value.txt": "aa"})
    assert manifest.config_sha256 == sha256_json({"horizon": 10})
    assert manifest.id == sha256_json([manifest.content_sha256, manifest.lineage_id])[:32]


@pytest.mark.feature("L-19")
def test_the_six_fields_of_the_alignment_contract(build):
    manifest = build(feature_version="f1", data_version="d1", model_name="m", model_version="v1")
    assert manifest.alignment() == {
        "payload_schema_version": "text/1",
        "feature_version": "f1",
        "data_version": "d1",
        "model_name": "m",
        "model_version": "v1",
        "lineage_id": manifest.lineage_id,
    }


@pytest.mark.feature("L-02")
@pytest.mark.parametrize("track", [Track.PRODUCTION, Track.RESEARCH])
def test_a_track_cannot_be_chosen(provenance, track):
    with pytest.raises(ValidationError, match="track is calibration for these sources"):
        provenance(track=track)


@pytest.mark.feature("L-02")
def test_production_is_reached_by_its_three_conditions_alone(provenance):
    live = {
        "data_regime": DataRegime.PROD_LIVE,
        "run_source": RunSource.PROD,
        "score_source": ScoreSource.MODEL,
        "track": Track.PRODUCTION,
    }
    assert provenance(**live).track is Track.PRODUCTION
    for change in (
        {"data_regime": DataRegime.MIXED},
        {"run_source": RunSource.SMOKE},
        {"score_source": ScoreSource.HEURISTIC},
    ):
        with pytest.raises(ValidationError, match="track is research"):
            provenance(**{**live, **change})


def test_a_manifest_survives_its_json(build):
    manifest = build(seed=7, inputs=(ArtifactRef(kind="text", id="1" * 32),))
    again = Manifest.model_validate(manifest.content())
    assert again == manifest
    assert again.id == manifest.id

"""Lineage and stage records: where an artifact came from, and which stage need not run again."""

import json

import pytest

from quant_engine.artifacts.lineage import lineage
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.stages import StageRecords
from quant_engine.core.errors import IntegrityError, StoreError

pytestmark = pytest.mark.feature("Q-46")


@pytest.fixture
def diamond(store, text_kind, provenance):
    """Raw -> panel -> features and labels -> model, as a training run has it."""
    raw = store.write(text_kind(name="raw"), "raw", provenance(producer="train.data"))
    panel = store.write(
        text_kind(name="panel"), "panel", provenance(producer="train.panel", inputs=(raw,))
    )
    both = [
        store.write(
            text_kind(name=name), name, provenance(producer=f"train.{name}", inputs=(panel,))
        )
        for name in ("features", "labels")
    ]
    model = store.write(
        text_kind(name="model"), "model", provenance(producer="train.model", inputs=tuple(both))
    )
    return {"raw": raw, "panel": panel, "features": both[0], "labels": both[1], "model": model}


class TestLineage:
    def test_every_ancestor_once(self, store, diamond):
        graph = lineage(store, diamond["model"])
        assert list(graph.manifests) == [
            str(diamond[name]) for name in ("model", "features", "labels", "panel", "raw")
        ]
        assert graph.root == diamond["model"]

    def test_edges_run_from_input_to_output(self, store, diamond):
        names = {str(ref): name for name, ref in diamond.items()}
        edges = [(names[a], names[b]) for a, b in lineage(store, diamond["model"]).edges()]
        assert edges == [
            ("features", "model"),
            ("labels", "model"),
            ("panel", "features"),
            ("panel", "labels"),
            ("raw", "panel"),
        ]

    def test_the_text_draws_a_repeated_ancestor_once(self, store, diamond):
        assert lineage(store, diamond["model"]).text().splitlines() == [
            f"{diamond['model']}  by train.model",
            f"   <- {diamond['features']}  by train.features",
            f"      <- {diamond['panel']}  by train.panel",
            f"         <- {diamond['raw']}  by train.data",
            f"   <- {diamond['labels']}  by train.labels",
            f"      <- {diamond['panel']}  (above)",
        ]

    def test_a_source_stands_alone(self, store, diamond):
        graph = lineage(store, diamond["raw"])
        assert graph.edges() == []
        assert graph.text() == f"{diamond['raw']}  by train.data"

    def test_a_missing_ancestor_is_refused(self, store, diamond):
        store.path(diamond["raw"]).rename(store.folder / "gone")
        with pytest.raises(StoreError, match=str(diamond["raw"])):
            lineage(store, diamond["model"])


class TestStageRecords:
    KEY = StageRecords.key("train.x", config={"h": 10}, code="c", inputs=["raw/1"])

    def test_the_key_depends_on_every_part(self):
        parts = {"config": {"h": 10}, "code": "c", "inputs": ["raw/1"]}
        variants = [
            {},
            {"config": {"h": 5}},
            {"code": "d"},
            {"inputs": ["raw/2"]},
            {"inputs": ["raw/1", "raw/2"]},
        ]
        keys = {StageRecords.key("train.x", **{**parts, **change}) for change in variants}
        assert self.KEY in keys
        assert len(keys | {StageRecords.key("train.y", **parts)}) == 6

    def test_a_finished_stage_is_found_again(self, store, diamond):
        outputs = {"features": diamond["features"], "labels": diamond["labels"]}
        assert StageRecords(store).load(self.KEY) is None
        StageRecords(store).save(self.KEY, outputs)
        assert StageRecords(store).load(self.KEY) == outputs

    def test_a_stage_whose_artifact_is_gone_has_to_run(self, store, diamond):
        StageRecords(store).save(self.KEY, {"features": diamond["features"]})
        store.path(diamond["features"]).rename(store.folder / "gone")
        assert StageRecords(store).load(self.KEY) is None

    @pytest.mark.parametrize(
        "content", ["{", "[]", "[1]", '{"a": 1}', '{"a": {"kind": "x"}}', '{"a": {"kindd": 1}}']
    )
    def test_a_damaged_record_is_named(self, store, content):
        records = StageRecords(store)
        records.save(self.KEY, {"raw": ArtifactRef(kind="raw", id="0" * 32)})
        (path,) = (store.root / "stages").iterdir()
        assert json.loads(path.read_text()) == {"raw": {"kind": "raw", "id": "0" * 32}}
        path.write_text(content)
        with pytest.raises(IntegrityError, match=self.KEY):
            records.load(self.KEY)

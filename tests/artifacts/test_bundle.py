"""Bundles: declared columns, refused surprises, equal tables in equal bytes."""

from datetime import date

import numpy as np
import pandas as pd
import pytest

from quant_engine.artifacts.kinds.bundle import Bundle, BundleKind, Column
from quant_engine.core.errors import SchemaMismatchError

KIND = BundleKind(
    name="example",
    schema_version=1,
    packages=("core",),
    tables={
        "rows": {
            "session": Column("session", "session"),
            "asset_id": Column("str", "identifier"),
            "score": Column("float", "unitless"),
            "n_days": Column("int", "count"),
            "is_long": Column("bool", "held long"),
            "seen_ts": Column("ts", "instant"),
            "note": Column("str", "remark", optional=True),
        },
        "importance": {"fold": Column("int", "number")},
    },
    documents=("summary",),
    open_tables=("importance",),
)


def rows() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "session": pd.to_datetime(["2020-01-02", "2020-01-03", None]),
            "asset_id": ["NAN@US#1", "NA", None],
            "score": [0.1, np.nan, -np.inf],
            "n_days": [3, -1, 2**53],
            "is_long": [True, False, True],
            "seen_ts": pd.to_datetime(["2020-01-02 21:00", None, "2020-01-06 21:00"], utc=True),
        }
    )


def example(**changes) -> Bundle:
    tables = {"rows": rows(), "importance": pd.DataFrame({"fold": [0, 1], "feature_a": [0.5, 1.0]})}
    return Bundle({**tables, **changes}, {"summary": {"sharpe": 1.5, "note": "é", "missing": None}})


class TestRoundTrip:
    def test_every_dtype_and_missing_value_comes_back(self, tmp_path):
        KIND.write(example(), tmp_path)
        back = KIND.read(tmp_path)
        assert list(back.tables) == ["rows", "importance"]
        pd.testing.assert_frame_equal(back.tables["rows"], rows())
        assert back.tables["importance"].columns.tolist() == ["fold", "feature_a"]
        assert back.documents["summary"] == {"sharpe": 1.5, "note": "é", "missing": None}

    def test_texts_that_look_missing_stay_text(self, tmp_path):
        texts = ["NAN", "nan", "NaN", "None", "null", "", "NA", "<NA>"]
        kind = BundleKind("k", 1, ("core",), {"t": {"x": Column("str", "")}})
        kind.write(Bundle({"t": pd.DataFrame({"x": [*texts, None, np.nan]})}), tmp_path)
        back = kind.read(tmp_path).tables["t"]["x"]
        assert back[:8].tolist() == texts
        assert back[8:].isna().all()

    def test_sessions_from_dates_and_from_timestamps_are_equal(self, tmp_path):
        kind = BundleKind("k", 1, ("core",), {"t": {"x": Column("session", "")}})
        spellings = [
            [date(2020, 1, 2), None],
            pd.to_datetime(["2020-01-02", None]),
            np.array(["2020-01-02", "NaT"], dtype="datetime64[s]"),
        ]
        files = []
        for number, values in enumerate(spellings):
            folder = tmp_path / str(number)
            folder.mkdir()
            kind.write(Bundle({"t": pd.DataFrame({"x": values})}), folder)
            back = kind.read(folder).tables["t"]["x"]
            assert str(back.dtype) == "datetime64[us]"
            assert back.dt.date.tolist()[0] == date(2020, 1, 2)
            assert back.isna().tolist() == [False, True]
            files.append((folder / "t.parquet").read_bytes())
        assert len(set(files)) == 1

    def test_instants_are_stored_in_utc(self, tmp_path):
        kind = BundleKind("k", 1, ("core",), {"t": {"x": Column("ts", "")}})
        values = pd.to_datetime(["2020-01-02 16:00"]).tz_localize("America/New_York")
        kind.write(Bundle({"t": pd.DataFrame({"x": values})}), tmp_path)
        back = kind.read(tmp_path).tables["t"]["x"]
        assert str(back.dtype) == "datetime64[us, UTC]"
        assert back[0] == pd.Timestamp("2020-01-02 21:00", tz="UTC")

    def test_an_empty_table_keeps_its_dtypes(self, tmp_path):
        KIND.write(example(rows=pd.DataFrame({name: [] for name in rows()})), tmp_path)
        back = KIND.read(tmp_path).tables["rows"]
        assert back.dtypes.astype(str).to_dict() == rows().dtypes.astype(str).to_dict()

    def test_columns_come_back_in_declared_order_and_the_index_is_left(self, tmp_path):
        shuffled = rows()[["score", "session", "seen_ts", "is_long", "asset_id", "n_days"]]
        KIND.write(example(rows=shuffled.set_index(pd.Index([9, 7, 8]))), tmp_path)
        pd.testing.assert_frame_equal(KIND.read(tmp_path).tables["rows"], rows())

    def test_a_folder_named_like_a_partition_adds_no_column(self, tmp_path):
        folder = tmp_path / "horizon=10"
        folder.mkdir()
        KIND.write(example(), folder)
        assert "horizon" not in KIND.read(folder).tables["rows"].columns


class TestBytes:
    def test_equal_tables_have_equal_bytes_twice(self, tmp_path):
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            KIND.write(example(), tmp_path / name)
        for path in (tmp_path / "one").iterdir():
            assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()

    @pytest.mark.feature("Q-46")
    def test_column_order_index_and_pandas_dtype_do_not_reach_the_bytes(self, tmp_path):
        variants = [
            rows(),
            rows()[list(reversed(rows().columns))],
            rows().set_index(pd.Index(["x", "y", "z"], name="key")),
            rows().assign(asset_id=rows()["asset_id"].astype(object)),
            rows().assign(asset_id=rows()["asset_id"].astype("category")),
            rows().assign(n_days=rows()["n_days"].astype("Int64")),
            rows().assign(score=rows()["score"].astype("Float64")),
            rows().assign(session=rows()["session"].astype("datetime64[s]")),
        ]
        stored = set()
        for number, frame in enumerate(variants):
            folder = tmp_path / str(number)
            folder.mkdir()
            KIND.write(example(rows=frame), folder)
            stored.add((folder / "rows.parquet").read_bytes())
        assert len(stored) == 1

    def test_one_changed_bit_changes_the_bytes(self, tmp_path):
        stored = set()
        for number, value in enumerate([0.1, np.nextafter(0.1, 1)]):
            folder = tmp_path / str(number)
            folder.mkdir()
            frame = rows().assign(score=[value, 0.0, 0.0])
            KIND.write(example(rows=frame), folder)
            stored.add((folder / "rows.parquet").read_bytes())
        assert len(stored) == 2

    def test_bundles_in_the_store_share_an_id(self, store, provenance):
        refs = {store.write(KIND, example(), provenance()) for _ in range(2)}
        assert len(refs) == 1
        pd.testing.assert_frame_equal(store.read(KIND, *refs).tables["rows"], rows())


class TestRefusals:
    def refused(self, tmp_path, *parts, **changes):
        with pytest.raises(SchemaMismatchError) as caught:
            KIND.write(example(**changes), tmp_path)
        for part in parts:
            assert part in str(caught.value)

    def test_missing_and_unknown_columns_are_named(self, tmp_path):
        self.refused(tmp_path, "missing ['score']", rows=rows().drop(columns="score"))
        self.refused(tmp_path, "unknown ['scor']", rows=rows().assign(scor=1.0))

    def test_optional_columns_may_come_or_not(self, tmp_path):
        KIND.write(example(rows=rows().assign(note=["a", None, "b"])), tmp_path)
        assert "note" in KIND.read(tmp_path).tables["rows"].columns

    def test_open_tables_refuse_columns_of_mixed_things(self, tmp_path):
        frame = pd.DataFrame({"fold": [0, 1], "feature_b": ["x", {"y": 1}]})
        self.refused(tmp_path, "example.importance.feature_b", "wanted str", importance=frame)

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("score", ["0.1", "0.2", "0.3"]),
            ("score", [True, False, True]),
            ("n_days", [1.5, 2.0, 3.0]),
            ("n_days", [True, False, True]),
            ("n_days", ["1", "2", "3"]),
            ("is_long", [0, 1, 1]),
            ("is_long", ["yes", "no", "no"]),
            ("asset_id", [1, 2, 3]),
            ("asset_id", [b"a", b"b", b"c"]),
            ("asset_id", ["a", 2, "c"]),
            ("session", ["2020-01-02"] * 3),
            ("session", [20200102] * 3),
            ("session", pd.to_datetime(["2020-01-02 15:30"] * 3)),
            ("session", pd.to_datetime(["2020-01-02"] * 3, utc=True)),
            ("seen_ts", pd.to_datetime(["2020-01-02 21:00"] * 3)),
            ("seen_ts", ["2020-01-02T21:00Z"] * 3),
            ("seen_ts", pd.to_datetime(["2020-01-02 21:00:00.000000001"] * 3, utc=True)),
        ],
    )
    def test_a_wrong_dtype_is_refused_and_named(self, tmp_path, column, values):
        wanted = KIND.tables["rows"][column].dtype
        frame = rows().assign(**{column: values})
        self.refused(tmp_path, f"example.rows.{column}: wanted {wanted}", rows=frame)

    def test_missing_and_unknown_tables_and_documents(self, tmp_path):
        self.refused(tmp_path, "example tables", extra=rows())
        with pytest.raises(SchemaMismatchError, match="example documents"):
            KIND.write(Bundle(example().tables, {}), tmp_path)

    def test_a_table_of_an_older_layout_is_refused_when_read(self, tmp_path):
        KIND.write(example(), tmp_path)
        newer = BundleKind(
            "example", 2, ("core",), {"rows": {"other": Column("float", "")}}, open_tables=()
        )
        with pytest.raises(SchemaMismatchError, match="'other'"):
            newer.read(tmp_path)

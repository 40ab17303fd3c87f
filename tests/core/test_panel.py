"""Panel: two shapes and their conversion, NaN as "not available", arrays nobody can write to."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.core.errors import (
    ConfigError,
    DataError,
    EmptyDataError,
    IdentityError,
    MissingFieldError,
    SchemaMismatchError,
)
from quant_engine.core.panel import GroupTable, LabelPanel, Panel, PriceBasis, TimeAxis

DAYS = ["2020-01-02", "2020-01-03", "2020-01-06", "2020-01-07"]
IDS = ("B@US#1", "A@US#1", "10107")


def panel_of(values: np.ndarray, ids: tuple[str, ...] = IDS) -> Panel:
    return Panel(TimeAxis.sessions(DAYS[: len(values)]), ids, {"close": values})


def example_panel() -> Panel:
    close = np.arange(12, dtype=float).reshape(4, 3)
    close[1, 2] = np.nan
    member = np.ones((4, 3), dtype=bool)
    member[0, 0] = False
    sector = GroupTable(np.array([[0, 1, -1]] * 4), ("energy", "tech"))
    return Panel(
        TimeAxis.sessions(DAYS),
        IDS,
        {"close": close, "score": close.astype(np.float32) / 3},
        {"member": member},
        {"sector": sector},
        PriceBasis.TOTAL_ADJ,
    )


@st.composite
def random_panels(draw):
    n_times, n_assets = draw(st.integers(1, 7)), draw(st.integers(1, 5))
    n_fields = draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    days = np.datetime64("2019-12-30") + np.sort(rng.choice(40, n_times, replace=False))
    order = rng.permutation(n_assets)
    ids = tuple(f"T{number}@US#1" for number in order)
    fields = {}
    for number in range(n_fields):
        values = rng.normal(size=(n_times, n_assets))
        values[rng.random(values.shape) < draw(st.sampled_from([0.0, 0.3, 0.9]))] = np.nan
        fields[f"field_{number}"] = values
    return Panel(TimeAxis.sessions(days), ids, fields)


class TestLongAndWide:
    @settings(deadline=None, max_examples=60)
    @given(random_panels())
    def test_wide_to_long_to_wide_keeps_every_value(self, panel):
        long = panel.to_long()
        if long.empty:
            return
        back = Panel.from_long(long)
        for name in panel.fields:
            for t, day in enumerate(panel.time.values):
                for n, asset in enumerate(panel.asset_ids):
                    value = panel.field(name)[t, n]
                    if np.isnan(value):
                        if day in back.time.values and asset in back.asset_ids:
                            column = back.asset_ids.index(asset)
                            assert np.isnan(back.field(name)[back.time.position(day), column])
                    else:
                        column = back.asset_ids.index(asset)
                        assert back.field(name)[back.time.position(day), column] == value

    @settings(deadline=None, max_examples=40)
    @given(random_panels(), st.integers(0, 2**32 - 1))
    def test_long_to_wide_to_long_does_not_depend_on_row_order(self, panel, seed):
        long = panel.to_long()
        if long.empty:
            return
        shuffled = long.sample(frac=1.0, random_state=seed % 2**32)
        pd.testing.assert_frame_equal(Panel.from_long(shuffled).to_long(), long)

    @settings(deadline=None, max_examples=40)
    @given(random_panels())
    def test_long_is_sorted_unique_and_without_empty_rows(self, panel):
        long = panel.to_long()
        assert long.index.names == ["date", "asset_id"]
        assert long.index.is_monotonic_increasing
        assert long.index.is_unique
        assert not long.isna().all(axis=1).any()
        assert list(long.columns) == list(panel.fields)

    def test_long_rows_against_a_plain_loop(self):
        panel = example_panel()
        expected = [
            (pd.Timestamp(day), asset, panel.field("close")[t, IDS.index(asset)])
            for t, day in enumerate(DAYS)
            for asset in sorted(IDS)
            if not np.isnan(panel.field("close")[t, IDS.index(asset)])
        ]
        rows = [(day, asset, value) for (day, asset), value in panel.to_long()["close"].items()]
        assert rows == expected

    def test_a_chosen_field_decides_alone_which_rows_stay(self):
        panel = panel_of(np.array([[1.0, np.nan, np.nan]])).with_fields(
            {"volume": np.array([[np.nan, 5.0, np.nan]])}
        )
        assert len(panel.to_long()) == 2
        assert panel.to_long(["volume"]).index.get_level_values("asset_id").tolist() == ["A@US#1"]

    def test_from_long_sorts_assets_and_keeps_basis_and_calendar(self):
        back = Panel.from_long(
            example_panel().to_long(["close"]), calendar="24/7", price_basis=PriceBasis.RAW
        )
        assert back.asset_ids == ("10107", "A@US#1", "B@US#1")
        assert (back.time.calendar, back.price_basis) == ("24/7", PriceBasis.RAW)

    def test_names_that_look_like_missing_values_survive(self):
        ids = ("NAN@US#1", "NA@US#1", "NULL@US#1", "TRUE@US#1")
        long = panel_of(np.ones((2, 4)), ids).to_long()
        assert Panel.from_long(long).asset_ids == tuple(sorted(ids))

    def test_repeated_pair_is_refused_and_named(self):
        long = panel_of(np.ones((2, 3))).to_long()
        with pytest.raises(IdentityError, match=r"1 repeated, first .*10107"):
            Panel.from_long(pd.concat([long, long.iloc[:1]]))

    def test_row_without_asset_is_refused_instead_of_overwriting_another(self):
        index = pd.MultiIndex.from_arrays(
            [pd.to_datetime(["2020-01-02"] * 3), ["A@US#1", None, "B@US#1"]],
            names=["date", "asset_id"],
        )
        with pytest.raises(IdentityError, match="1 rows without one"):
            Panel.from_long(pd.DataFrame({"close": [1.0, 2.0, 3.0]}, index))

    def test_row_without_date_is_refused(self):
        index = pd.MultiIndex.from_arrays(
            [pd.to_datetime(["2020-01-02", None]), ["A@US#1", "A@US#1"]],
            names=["date", "asset_id"],
        )
        with pytest.raises(IdentityError, match="date in every row"):
            Panel.from_long(pd.DataFrame({"close": [1.0, 2.0]}, index))

    def test_intraday_rows_are_not_cut_to_days(self):
        index = pd.MultiIndex.from_arrays(
            [pd.to_datetime(["2020-01-02 15:30"]), ["A@US#1"]], names=["date", "asset_id"]
        )
        with pytest.raises(DataError, match="15:30"):
            Panel.from_long(pd.DataFrame({"close": [1.0]}, index))

    def test_text_column_is_refused_by_name(self):
        long = panel_of(np.ones((1, 3))).to_long().assign(sector="tech")
        with pytest.raises(SchemaMismatchError, match="'sector'"):
            Panel.from_long(long)

    def test_other_index_and_no_rows_are_refused(self):
        with pytest.raises(SchemaMismatchError, match="set_index"):
            Panel.from_long(pd.DataFrame({"close": [1.0]}))
        empty = panel_of(np.full((1, 3), np.nan)).to_long()
        with pytest.raises(EmptyDataError):
            Panel.from_long(empty)

    def test_integers_and_missing_integers_become_floats(self):
        long = panel_of(np.ones((1, 3))).to_long()
        long["volume"] = pd.array([1, None, 3], dtype="Int64")
        volume = Panel.from_long(long).field("volume")
        assert volume.dtype == np.float64
        np.testing.assert_array_equal(volume, [[1.0, np.nan, 3.0]])


class TestPanel:
    def test_duplicate_assets_are_refused(self):
        with pytest.raises(IdentityError, match="A@US#1"):
            panel_of(np.ones((1, 2)), ("A@US#1", "A@US#1"))

    @pytest.mark.parametrize("shape", [(3, 3), (4, 2), (4,), (4, 3, 1)])
    def test_wrong_shape_is_refused(self, shape):
        with pytest.raises(SchemaMismatchError, match="panel's shape"):
            Panel(TimeAxis.sessions(DAYS), IDS, {"close": np.ones(shape)})

    def test_wrong_shape_of_a_group_is_refused(self):
        with pytest.raises(SchemaMismatchError, match="sector"):
            example_panel().with_groups({"sector": GroupTable(np.zeros((2, 2), int), ("x",))})

    @pytest.mark.parametrize("values", [np.array([["1.5"]]), np.array([[None]], dtype=object)])
    def test_text_and_objects_are_not_turned_into_numbers(self, values):
        with pytest.raises(SchemaMismatchError, match="wanted numbers"):
            Panel(TimeAxis.sessions(DAYS[:1]), ("A@US#1",), {"close": values})

    def test_nan_in_a_mask_is_not_turned_into_true(self):
        with pytest.raises(SchemaMismatchError, match="wanted bool"):
            Panel(TimeAxis.sessions(DAYS[:1]), ("A",), {}, {"member": np.array([[np.nan]])})

    def test_every_array_is_read_only(self):
        panel = example_panel()
        arrays = [*panel.fields.values(), *panel.masks.values(), panel.group("sector").codes]
        for array in arrays:
            assert array.flags.c_contiguous
            with pytest.raises(ValueError, match="read-only"):
                array[0, 0] = 1
        with pytest.raises(TypeError):
            panel.fields["close"] = np.ones((4, 3))

    def test_the_callers_array_stays_writable(self):
        mine = np.ones((1, 3))
        panel_of(mine)
        mine[0, 0] = 2.0

    def test_dtypes_are_float64_or_float32(self):
        panel = example_panel()
        assert panel.field("close").dtype == np.float64
        assert panel.field("score").dtype == np.float32
        assert panel.with_fields({"n": np.ones((4, 3), dtype=int)}).field("n").dtype == np.float64

    def test_missing_names_are_told_with_near_ones(self):
        panel = example_panel()
        with pytest.raises(MissingFieldError, match="Did you mean 'close'"):
            panel.field("clos")
        with pytest.raises(MissingFieldError, match="'member'"):
            panel.mask("members")
        with pytest.raises(MissingFieldError, match="'sector'"):
            panel.group("sectors")

    def test_rows_share_memory_and_keep_everything_else(self):
        panel = example_panel()
        part = panel.rows(1, 3)
        assert part.shape == (2, 3)
        assert part.time.values.astype(str).tolist() == DAYS[1:3]
        assert np.shares_memory(part.field("close"), panel.field("close"))
        np.testing.assert_array_equal(part.mask("member"), panel.mask("member")[1:3])
        np.testing.assert_array_equal(part.group("sector").codes, panel.group("sector").codes[1:3])
        assert part.group("sector").categories == ("energy", "tech")
        assert part.price_basis is PriceBasis.TOTAL_ADJ

    def test_columns_reorder_everything(self):
        panel = example_panel()
        part = panel.columns(np.array([2, 0]))
        assert part.asset_ids == ("10107", "B@US#1")
        np.testing.assert_array_equal(part.field("close"), panel.field("close")[:, [2, 0]])
        np.testing.assert_array_equal(part.group("sector").codes, [[-1, 0]] * 4)
        assert part.field("close").flags.c_contiguous

    def test_with_and_only_leave_the_original_alone(self):
        panel = example_panel()
        more = panel.with_fields({"x": np.zeros((4, 3))}).with_masks({"all": np.ones((4, 3), bool)})
        assert list(more.fields) == ["close", "score", "x"]
        assert list(more.masks) == ["member", "all"]
        assert list(panel.fields) == ["close", "score"]
        assert list(more.only_fields(["x", "close"]).fields) == ["x", "close"]

    def test_a_panel_without_rows_or_assets_is_possible(self):
        assert Panel(TimeAxis.sessions([]), IDS, {"x": np.zeros((0, 3))}).shape == (0, 3)
        assert Panel(TimeAxis.sessions(DAYS), (), {"x": np.zeros((4, 0))}).to_long().empty


class TestGroupTable:
    @pytest.mark.parametrize("code", [-2, 2, 65_536, 65_537, -65_536])
    def test_codes_outside_the_categories_are_refused_before_they_wrap(self, code):
        with pytest.raises(SchemaMismatchError, match="group codes"):
            GroupTable(np.array([[code]]), ("a", "b"))

    def test_codes_are_whole_numbers(self):
        with pytest.raises(SchemaMismatchError, match="whole numbers"):
            GroupTable(np.array([[0.0]]), ("a",))

    def test_codes_become_int16(self):
        table = GroupTable(np.array([[-1, 0, 1]]), ("a", "b"))
        assert table.codes.dtype == np.int16
        assert table.codes.tolist() == [[-1, 0, 1]]


class TestTimeAxis:
    def test_sessions_from_many_spellings_are_equal(self):
        axis = TimeAxis.sessions(DAYS)
        assert axis == TimeAxis.sessions(pd.to_datetime(DAYS))
        assert axis == TimeAxis.sessions([pd.Timestamp(day) for day in DAYS])
        assert axis == TimeAxis.sessions([pd.Timestamp(day).date() for day in DAYS])
        assert hash(axis) == hash(TimeAxis.sessions(np.array(DAYS, dtype="datetime64[ns]")))
        assert axis != TimeAxis.sessions(DAYS, "XLON")
        assert axis != TimeAxis.sessions(DAYS[:3])

    @pytest.mark.parametrize(
        "days", [["2020-01-03", "2020-01-02"], ["2020-01-02"] * 2, ["2020-01-02", "NaT"]]
    )
    def test_order_repetition_and_gaps_are_refused(self, days):
        with pytest.raises(DataError, match="strictly increasing"):
            TimeAxis.sessions(days)

    def test_a_time_of_day_is_refused_on_a_session_axis(self):
        with pytest.raises(DataError, match="15:30"):
            TimeAxis.sessions(["2020-01-02T15:30"])
        with pytest.raises(DataError, match="15:30"):
            TimeAxis("session", np.array(["2020-01-02T15:30"], dtype="datetime64[m]"), "XNYS")

    def test_bar_length_belongs_to_bars(self):
        with pytest.raises(ConfigError, match="bar_seconds"):
            TimeAxis("bar", np.array(DAYS, dtype="datetime64[us]"), "24/7")
        with pytest.raises(ConfigError, match="bar_seconds"):
            TimeAxis("session", np.array(DAYS, dtype="datetime64[D]"), "XNYS", 300)

    def test_index_is_naive_with_microseconds(self):
        index = TimeAxis.sessions(DAYS).index
        assert (str(index.dtype), index.name, index.tz) == ("datetime64[us]", "date", None)
        bars = TimeAxis("bar", np.array(["2020-01-02T00:05"], dtype="datetime64[us]"), "24/7", 300)
        assert bars.index.name == "ts"

    def test_position_finds_exact_times_only(self):
        axis = TimeAxis.sessions(DAYS)
        assert [axis.position(day) for day in DAYS] == [0, 1, 2, 3]
        assert axis.position(pd.Timestamp("2020-01-06")) == 2
        for absent in ("2020-01-04", "2019-12-31", "2020-01-08", "2020-01-06T12:00", "NaT"):
            with pytest.raises(DataError, match="2020-01-02 to 2020-01-07"):
                axis.position(absent)
        with pytest.raises(DataError, match="empty axis"):
            TimeAxis.sessions([]).position("2020-01-02")

    @settings(deadline=None, max_examples=60)
    @given(st.integers(-2, 8), st.integers(-2, 8))
    def test_window_against_a_plain_filter(self, first, last):
        axis = TimeAxis.sessions(DAYS)
        start, end = (np.datetime64("2020-01-01") + offset for offset in (first, last))
        expected = [day for day in axis.values if start <= day <= end]
        assert axis.values[axis.window(start, end)].tolist() == [d.astype(object) for d in expected]

    def test_window_without_bounds_and_slice(self):
        axis = TimeAxis.sessions(DAYS)
        assert axis.window(None, None) == slice(0, 4)
        assert axis.slice(1, 3) == TimeAxis.sessions(DAYS[1:3])

    def test_values_are_read_only_copies(self):
        mine = np.array(DAYS, dtype="datetime64[D]")
        axis = TimeAxis.sessions(mine)
        mine[0] = "1999-01-01"
        assert axis.position("2020-01-02") == 0
        with pytest.raises(ValueError, match="read-only"):
            axis.values[0] = np.datetime64("1999-01-01")


class TestLabelPanel:
    def test_spans_are_dates_one_per_row(self):
        spans = np.array(["2020-01-03", "2020-01-06", "2020-01-07", "NaT"], dtype="datetime64[us]")
        labels = LabelPanel(example_panel(), spans, spans)
        assert labels.span_start.dtype == np.dtype("datetime64[D]")
        assert not labels.span_end.flags.writeable
        with pytest.raises(SchemaMismatchError, match="span_end"):
            LabelPanel(example_panel(), spans, spans[:2])

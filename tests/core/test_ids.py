"""Identity: an asset keeps its id whatever its ticker does."""

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError, IdentityError, SchemaMismatchError
from quant_engine.core.ids import SecurityMaster, asset_id, parse_asset_id, ticker_of

pytestmark = pytest.mark.feature("Q-12")


def spells(*rows: tuple[str, str, str | None, str | None]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["asset_id", "ticker", "valid_from", "valid_to"])
    for name in ("valid_from", "valid_to"):
        frame[name] = pd.to_datetime(frame[name])
    return frame


class TestAssetId:
    @pytest.mark.parametrize(
        ("ticker", "expected"),
        [
            ("aapl", "AAPL@US#1"),
            (" brk.b ", "BRK.B@US#1"),
            ("NAN", "NAN@US#1"),
            ("TRUE", "TRUE@US#1"),
            ("BF-B", "BF-B@US#1"),
        ],
    )
    def test_compose(self, ticker, expected):
        assert asset_id(ticker) == expected
        assert ticker_of(expected) == expected.split("@")[0]

    def test_venue_and_number(self):
        assert asset_id("SBC", venue="XNYS", number=2) == "SBC@XNYS#2"
        assert ticker_of("SBC@XNYS#2") == "SBC"

    def test_permno_stands_for_itself(self):
        assert parse_asset_id("asset_id", "10107") == "10107"
        assert ticker_of("10107") == "10107"

    @pytest.mark.parametrize(
        "text",
        ["", "AAPL", "AAPL@US", "AAPL@US#0", "AAPL@us#1", "A B@US#1", "A@B@US#1", "@US#1"],
    )
    @pytest.mark.parametrize("ending", ["", "\n", " "])
    def test_malformed_is_refused_with_the_parameter_name(self, text, ending):
        with pytest.raises(ConfigError, match=r"^left_id: wanted PERMNO digits"):
            parse_asset_id("left_id", text + ending)

    @pytest.mark.parametrize("text", ["AAPL@US#1\n", "10107\n", "AAPL@US#1 ", "1234567"])
    def test_nothing_may_follow_a_well_formed_id(self, text):
        with pytest.raises(ConfigError):
            parse_asset_id("left_id", text)

    def test_empty_ticker_is_refused(self):
        with pytest.raises(ConfigError):
            asset_id("  ")


class TestFromTickers:
    def test_one_company_per_ticker_sorted_and_single(self):
        master = SecurityMaster.from_tickers(["MSFT", "AAPL", "MSFT"])
        assert master.spells["asset_id"].tolist() == ["AAPL@US#1", "MSFT@US#1"]
        assert master.spells[["valid_from", "valid_to"]].isna().all().all()

    def test_a_ticker_called_nan_survives(self):
        master = SecurityMaster.from_tickers(["NAN", "NA", "NULL"])
        assert master.resolve("NAN", "2020-01-02") == "NAN@US#1"
        assert master.resolve("NA", "2020-01-02") == "NA@US#1"
        assert master.spells["ticker"].notna().all()

    def test_a_rename_carries_the_old_symbol_to_the_company(self):
        master = SecurityMaster.from_tickers(["COH", "TPR"], renames={"COH": "TPR"})
        assert master.resolve("COH", "2016-06-30") == "TPR@US#1"
        assert master.resolve("TPR", "2020-06-30") == "TPR@US#1"


class TestResolve:
    def test_reuse_of_a_ticker_by_another_company(self):
        master = SecurityMaster(
            spells(
                ("ABC@US#1", "ABC", None, "2010-05-03"),
                ("ABC@US#2", "ABC", "2012-01-03", None),
            )
        )
        assert master.resolve("ABC", "2010-04-30") == "ABC@US#1"
        assert master.resolve("ABC", np.datetime64("2012-01-03")) == "ABC@US#2"
        for nobody in ("2010-05-03", "2011-06-01"):
            with pytest.raises(IdentityError, match="got 0"):
                master.resolve("ABC", nobody)

    def test_one_company_under_two_tickers(self):
        master = SecurityMaster(
            spells(
                ("30990", "COH", None, "2017-10-31"),
                ("30990", "TPR", "2017-10-31", None),
            )
        )
        assert master.resolve("COH", "2017-10-30") == "30990"
        assert master.resolve("TPR", "2017-10-31") == "30990"
        with pytest.raises(IdentityError):
            master.resolve("COH", "2017-10-31")

    def test_unknown_ticker(self):
        with pytest.raises(IdentityError, match="'XYZ'"):
            SecurityMaster.from_tickers(["ABC"]).resolve("XYZ", "2020-01-02")


class TestTable:
    @pytest.mark.parametrize(
        "rows",
        [
            [("A#1", "ABC", None, "2010-05-04"), ("A#2", "ABC", "2010-05-03", None)],
            [("A#1", "ABC", None, None), ("A#2", "ABC", "2010-05-03", "2010-06-01")],
            [("A#1", "ABC", None, None), ("A#2", "ABC", None, None)],
        ],
    )
    def test_two_companies_under_one_ticker_are_refused(self, rows):
        with pytest.raises(IdentityError, match="A#1 and A#2 overlap"):
            SecurityMaster(spells(*rows))

    def test_a_spell_that_ends_before_it_starts_is_refused(self):
        with pytest.raises(IdentityError, match="valid_from before valid_to"):
            SecurityMaster(spells(("A#1", "ABC", "2012-01-03", "2010-05-03")))

    def test_touching_spells_and_other_tickers_are_fine(self):
        rows = [("A#1", "ABC", None, "2010-05-03"), ("A#2", "ABC", "2010-05-03", None)]
        master = SecurityMaster(spells(*rows, ("A#3", "XYZ", None, None)))
        assert len(master.spells) == 3

    def test_missing_columns_are_named(self):
        with pytest.raises(SchemaMismatchError, match="valid_to"):
            SecurityMaster(spells(("A#1", "ABC", None, None)).drop(columns="valid_to"))

    def test_input_is_not_changed_and_extra_columns_are_left_out(self):
        frame = spells(("B#1", "XYZ", None, None), ("A#1", "ABC", None, None)).assign(note="x")
        before = frame.copy()
        master = SecurityMaster(frame)
        pd.testing.assert_frame_equal(frame, before)
        assert list(master.spells.columns) == ["asset_id", "ticker", "valid_from", "valid_to"]
        assert master.spells["ticker"].tolist() == ["ABC", "XYZ"]

"""Damage: what a killed writer leaves is repaired, what anybody edits is named with its place."""

import errno
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from quant_engine.core.errors import IntegrityError, StoreError
from quant_engine.governance.segments import list_segments

N_ROWS = 12


@pytest.fixture
def filled(make_ledger, kit):
    """Twelve rows in one text segment."""
    ledger = make_ledger()
    with ledger.batch():
        for number in range(1, N_ROWS + 1):
            ledger.record(kit.trial(number))
    return ledger


@pytest.fixture
def sealed(make_ledger, kit):
    """Twelve rows, the first ones in sealed segments."""
    ledger = make_ledger(segment_bytes=700)
    for number in range(1, N_ROWS + 1):
        ledger.record(kit.trial(number))
    return ledger


def text_path(ledger):
    return list_segments(ledger.folder)[-1].path


def lines(ledger) -> list[bytes]:
    return text_path(ledger).read_bytes().splitlines(keepends=True)


class TestTornTails:
    @pytest.mark.parametrize("kept", [1, 7, 40, 100, -2])
    def test_an_incomplete_last_row_is_cut_off_and_no_other(self, filled, make_ledger, kit, kept):
        whole = text_path(filled).read_bytes()
        last = lines(filled)[-1]
        (filled.folder / "head.txt").write_bytes(b"")
        torn = whole[: -len(last)] + last[:kept]
        text_path(filled).write_bytes(torn)
        head = whole.splitlines()[-2].rpartition(b"\t")[2].decode()
        (filled.folder / "head.txt").write_text(f"{N_ROWS - 1:020d} {head}\n")
        assert filled.read().num_rows == N_ROWS - 1
        make_ledger().record(kit.trial(99))
        assert text_path(filled).read_bytes().startswith(whole[: -len(last)])
        assert filled.read(("spec_id",))["spec_id"].to_pylist()[-2:] == ["spec11", "spec99"]
        assert filled.verify().is_whole

    def test_a_row_that_lacks_only_its_line_break_is_completed(self, filled, make_ledger, kit):
        whole = text_path(filled).read_bytes()
        text_path(filled).write_bytes(whole[:-1])
        make_ledger().record(kit.trial(99))
        assert text_path(filled).read_bytes().startswith(whole)
        assert filled.read().num_rows == N_ROWS + 1
        assert filled.verify().is_whole

    def test_zeros_after_a_power_cut_are_no_row(self, filled, make_ledger, kit):
        with text_path(filled).open("ab") as stream:
            stream.write(bytes(4096))
        assert filled.read().num_rows == N_ROWS
        make_ledger().record(kit.trial(99))
        assert filled.verify().n_rows == N_ROWS + 1

    def test_the_first_row_may_be_torn_too(self, make_ledger, kit):
        ledger = make_ledger()
        ledger.record(kit.trial(1))
        path = text_path(ledger)
        path.write_bytes(path.read_bytes()[:30])
        (ledger.folder / "head.txt").write_text(f"{0:020d} {'0' * 64}\n")
        make_ledger().record(kit.trial(2))
        assert ledger.read(("spec_id",))["spec_id"].to_pylist() == ["spec2"]

    def test_a_full_disk_is_named_and_the_next_writer_goes_on(self, filled, monkeypatch, kit):
        real = os.fsync

        def full(descriptor):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StoreError, match="free disk space"):
            filled.record(kit.trial(98))
        monkeypatch.setattr(os, "fsync", real)
        filled.record(kit.trial(99))
        assert filled.verify().is_whole
        assert filled.read(("spec_id",))["spec_id"].to_pylist()[-1] == "spec99"


class TestTextTampering:
    @pytest.mark.parametrize("place", [1, 5, N_ROWS])
    def test_an_edited_row_is_named(self, filled, place):
        content = lines(filled)
        content[place - 1] = content[place - 1].replace(b"alpha", b"alpho")
        text_path(filled).write_bytes(b"".join(content))
        assert filled.verify().faults == (
            f"row {place} was edited: its hash does not match its content",
        )

    @pytest.mark.parametrize("place", [1, 5, N_ROWS - 1])
    def test_a_deleted_row_is_named(self, filled, place):
        content = lines(filled)
        del content[place - 1]
        text_path(filled).write_bytes(b"".join(content))
        assert filled.verify().faults == (f"row {place} is missing",)
        with pytest.raises(IntegrityError, match=f"row {place} does not stand after"):
            filled.read()

    def test_several_deleted_rows_are_named(self, filled):
        content = lines(filled)
        text_path(filled).write_bytes(b"".join(content[:3] + content[6:]))
        assert filled.verify().faults == ("rows 4 to 6 are missing",)

    def test_rows_cut_off_at_the_end_are_named_and_nothing_is_appended(
        self, filled, make_ledger, kit
    ):
        text_path(filled).write_bytes(b"".join(lines(filled)[:9]))
        assert filled.verify().faults == (
            "rows 10 to 12 are missing at the end: the noted head names row 12",
        )
        with pytest.raises(IntegrityError, match="the last row is 9, but row 12 was written"):
            make_ledger().record(kit.trial(99))

    def test_a_row_inserted_twice_is_named(self, filled):
        content = lines(filled)
        text_path(filled).write_bytes(b"".join([*content[:5], content[4], *content[5:]]))
        assert filled.verify().faults == ("row 5 stands again where row 6 belongs",)

    def test_a_line_that_is_no_row_is_named(self, filled):
        content = lines(filled)
        content[6] = b"nonsense\n"
        text_path(filled).write_bytes(b"".join(content))
        assert filled.verify().faults == ("row 7: the line is damaged",)
        with pytest.raises(IntegrityError, match="qe ledger --verify"):
            filled.read()

    def test_a_rewritten_row_breaks_the_chain_at_the_next_one(self, filled, make_ledger, kit):
        """Someone computes the edited row's hash anew."""
        other = make_ledger("other")
        with other.batch():
            for number in range(1, N_ROWS + 1):
                other.record(kit.trial(number, family="alpho" if number == 5 else "alpha"))
        content = lines(filled)
        content[4] = lines(other)[4]
        text_path(filled).write_bytes(b"".join(content))
        assert filled.verify().faults == ("row 6 does not follow row 5 as it stands",)

    def test_a_rewritten_rest_is_not_what_the_verdicts_were_based_on(
        self, filled, make_ledger, kit
    ):
        """Someone computes all later hashes anew, and the noted head with them."""
        use = filled.consumed("cycle-7", "alpha")
        other = make_ledger("other")
        with other.batch():
            for number in range(1, N_ROWS + 1):
                other.record(kit.trial(number, family="alpho" if number == 5 else "alpha"))
        text_path(filled).write_bytes(text_path(other).read_bytes())
        (filled.folder / "head.txt").write_bytes((other.folder / "head.txt").read_bytes())
        assert filled.verify().faults == (
            "row 12 is not the row that verdict 'cycle-7' (record 1) names",
        )
        assert not filled.confirms(use)

    def test_a_removed_noted_head_is_named(self, filled, make_ledger, kit):
        (filled.folder / "head.txt").unlink()
        assert filled.verify().faults == ("the noted head is absent",)
        with pytest.raises(IntegrityError, match="the noted head is absent"):
            make_ledger().record(kit.trial(99))

    def test_an_edited_consumption_is_named(self, filled):
        filled.consumed("cycle-7", "alpha")
        path = filled.folder / "consumed" / "00000001.json"
        path.write_text(path.read_text().replace('"n_trials": 12', '"n_trials": 2'))
        assert filled.verify().faults == (
            "what verdicts used: record 1: its content was edited: the hash does not match",
        )

    def test_nothing_is_chained_to_a_damaged_last_row(self, filled, make_ledger, kit):
        content = lines(filled)
        content[-1] = content[-1].replace(b"alpha", b"alpho")
        text_path(filled).write_bytes(b"".join(content))
        with pytest.raises(IntegrityError, match="the last line is no row"):
            make_ledger().record(kit.trial(99))


class TestSealedTampering:
    def rewrite(self, ledger, place, change):
        """Edit a sealed segment the way a data frame tool would."""
        path = list_segments(ledger.folder)[place].path
        table = pq.read_table(path)
        rows = table.to_pylist()
        change(rows)
        pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)

    def test_an_edited_row_is_named(self, sealed):
        self.rewrite(sealed, 1, lambda rows: rows[0].update(family="other"))
        first = pq.read_table(list_segments(sealed.folder)[1].path)["number"][0].as_py()
        assert sealed.verify().faults == (
            f"row {first} was edited: its hash does not match its content",
        )

    def test_a_deleted_row_is_named(self, sealed):
        self.rewrite(sealed, 0, lambda rows: rows.pop(1))
        assert sealed.verify().faults[0] == "row 2 is missing"
        with pytest.raises(IntegrityError, match="row 2 does not stand after row 1"):
            sealed.read()

    def test_a_removed_segment_is_named(self, sealed):
        second = list_segments(sealed.folder)[1].path
        numbers = pq.read_table(second)["number"].to_pylist()
        second.unlink()
        lost = f"rows {numbers[0]} to {numbers[-1]} are missing"
        assert sealed.verify().faults[0] == lost

    @pytest.mark.parametrize("content", [b"", b"PAR1 nonsense", None])
    def test_a_damaged_file_is_named(self, sealed, content):
        path = list_segments(sealed.folder)[0].path
        path.write_bytes(path.read_bytes()[:-40] if content is None else content)
        assert path.name in sealed.verify().faults[0]
        with pytest.raises(IntegrityError, match=path.name):
            sealed.read()

    def test_foreign_columns_are_named(self, sealed):
        path = list_segments(sealed.folder)[0].path
        pq.write_table(pa.table({"number": ["1"]}), path)
        assert path.name in sealed.verify().faults[0]

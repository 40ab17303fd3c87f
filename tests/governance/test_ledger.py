"""TrialLedger: what was asked stands there, once, in order, for every reader."""

import copy
import hashlib
import json
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_engine.artifacts.signing import Signer
from quant_engine.core.errors import ConfigError
from quant_engine.core.trials import MemoryTrialSink, Trial
from quant_engine.governance.ledger import TrialLedger
from quant_engine.governance.rows import GENESIS, Head
from quant_engine.governance.segments import list_segments
from quant_engine.governance.session import SessionLedger


def specs(ledger) -> list[str]:
    return ledger.read(("spec_id",))["spec_id"].to_pylist()


def naive_chain(ledger) -> list[str]:
    """Own hashes derived with nothing but hashlib from the columns."""
    previous, found = GENESIS, []
    for row in ledger.read().to_pylist():
        text = "\t".join(str(value) for name, value in row.items() if name != "own")
        previous = hashlib.sha256(f"{text}\t{previous}".encode()).hexdigest()
        found.append(previous)
    return found


class TestRecording:
    def test_an_absent_folder_is_an_empty_ledger(self, ledger):
        assert ledger.read().num_rows == 0
        assert ledger.head() == Head()
        assert ledger.families() == ()
        assert ledger.verify().is_whole
        assert not ledger.folder.exists()

    def test_a_row_says_what_was_asked_by_whom_and_when(self, ledger, kit):
        asked = Trial("alpha", "s", "d", "p", "run_train", "returns/1")
        assert ledger.record(asked) == asked.trial_id()
        (row,) = ledger.read().to_pylist()
        own = row.pop("own").hex()
        assert row == {
            "number": 1, "at_us": 1767323045678901, "family": "alpha", "spec_id": "s",
            "data_id": "d", "split_id": "p", "asked_by": "run_train", "returns_ref": "returns/1",
        }  # fmt: skip
        assert datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=row["at_us"]) == (
            kit.CLOCK.now()
        )
        assert ledger.head() == Head(1, own)

    def test_the_chain_is_what_a_plain_loop_derives(self, make_ledger, kit):
        ledger = make_ledger(segment_bytes=1500)
        for number in range(40):
            ledger.record(kit.trial(number))
        assert [own.hex() for own in ledger.read(("own",))["own"].to_pylist()] == naive_chain(
            ledger
        )

    def test_the_same_trial_asked_twice_is_one_trial_and_both_askings_stay(self, ledger, kit):
        sink = MemoryTrialSink()
        for number in (1, 2, 1):
            assert ledger.record(kit.trial(number)) == sink.record(kit.trial(number))
        (family,) = ledger.families()
        assert (family.n_trials, family.n_askings) == (len(sink.trials), 3)
        assert specs(ledger) == ["spec1", "spec2", "spec1"]

    @pytest.mark.parametrize("sign", ["\t", "\n", "\r", "\0", "\x85", "\u2028", "\ud800"])
    @pytest.mark.parametrize("name", ["family", "returns_ref"])
    def test_a_field_that_would_break_the_line_is_refused(self, ledger, name, sign, kit):
        with pytest.raises(ConfigError, match=rf"trial\.{name}: wanted printable text"):
            ledger.record(kit.trial(1, **{name: f"a{sign}b"}))
        assert ledger.read().num_rows == 0

    @pytest.mark.parametrize("name", ["family", "spec_id", "data_id", "split_id", "asked_by"])
    def test_an_empty_field_is_refused(self, ledger, name, kit):
        with pytest.raises(ConfigError, match="not empty"):
            ledger.record(kit.trial(1, **{name: ""}))

    def test_a_whole_configuration_instead_of_a_hash_is_refused(self, ledger, kit):
        with pytest.raises(ConfigError, match="at most 2048 signs"):
            ledger.record(kit.trial(1, spec_id="x" * 5000))

    @settings(max_examples=20, deadline=None, derandomize=True)
    @given(
        names=st.lists(
            st.text(st.characters(exclude_categories=("C", "Z")), min_size=1), max_size=8
        )
    )
    def test_any_printable_text_comes_back(self, tmp_path_factory, kit, names):
        folder = tmp_path_factory.mktemp("any")
        signer = Signer(folder / "key")
        ledger = TrialLedger(folder / "l", clock=kit.CLOCK, signer=signer, segment_bytes=700)
        for name in names:
            ledger.record(Trial(name, name, name, name, name, name))
        assert specs(ledger) == names
        assert {f.family: f.n_askings for f in ledger.families()} == Counter(names)
        assert ledger.verify().faults == ()


class TestBatches:
    def test_a_batch_is_written_once_at_its_end(self, ledger, kit):
        with ledger.batch():
            ledger.record(kit.trial(1))
            with ledger.batch():
                ledger.record(kit.trial(2))
            assert ledger.read().num_rows == 0
        assert specs(ledger) == ["spec1", "spec2"]

    def test_what_was_evaluated_before_an_error_counts(self, ledger, kit):
        def search():
            with ledger.batch():
                ledger.record(kit.trial(1))
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            search()
        assert specs(ledger) == ["spec1"]
        ledger.record(kit.trial(2))
        assert specs(ledger) == ["spec1", "spec2"]

    def test_a_large_batch_is_written_in_parts(self, ledger, monkeypatch, kit):
        monkeypatch.setattr("quant_engine.governance.ledger.BATCH_ROWS", 10)
        with ledger.batch():
            for number in range(25):
                ledger.record(kit.trial(number))
            assert ledger.read().num_rows == 20
        assert specs(ledger) == [f"spec{number}" for number in range(25)]

    def test_threads_have_batches_of_their_own(self, ledger, kit):
        def work(name):
            with ledger.batch():
                for number in range(50):
                    ledger.record(kit.trial(number, family=name))

        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(f.family, f.n_trials) for f in ledger.families()] == [
            (f"t{n}", 50) for n in range(4)
        ]
        assert ledger.verify().is_whole


class TestSegments:
    def test_segments_are_sealed_and_read_as_one(self, make_ledger, kit):
        ledger = make_ledger(segment_bytes=2000)
        for number in range(60):
            ledger.record(kit.trial(number))
        kinds = [segment.is_sealed for segment in list_segments(ledger.folder)]
        assert kinds == [True] * (len(kinds) - 1) + [False]
        assert len(kinds) > 3
        assert specs(ledger) == [f"spec{number}" for number in range(60)]
        check = ledger.verify()
        assert (check.n_rows, check.head, check.faults) == (60, ledger.head(), ())

    def test_another_writer_goes_on_where_the_first_stopped(self, make_ledger, kit):
        first, second = make_ledger(segment_bytes=900), make_ledger(segment_bytes=900)
        for number in range(30):
            (first if number % 3 else second).record(kit.trial(number))
        assert specs(first) == [f"spec{number}" for number in range(30)]
        assert second.verify().is_whole

    def test_a_sealing_that_was_killed_before_the_text_was_removed(self, make_ledger, kit):
        ledger = make_ledger(segment_bytes=900)
        text = ledger.folder / "rows-00000001.tsv"
        number = 0
        while not text.with_suffix(".parquet").is_file():
            kept = text.read_bytes() if text.is_file() else b""
            ledger.record(kit.trial(number))
            number += 1
        (ledger.folder / "rows-00000002.tsv").unlink()
        (ledger.folder / "head.txt").write_text(f"{number - 1:020d} {ledger.head().own}\n")
        text.write_bytes(kept)
        assert ledger.read().num_rows == number - 1
        make_ledger(segment_bytes=900).record(kit.trial(99))
        assert not text.exists()
        assert ledger.read().num_rows == number
        assert ledger.verify().is_whole

    def test_a_copy_writes_to_the_same_folder_with_batches_of_its_own(self, ledger, kit):
        with ledger.batch():
            ledger.record(kit.trial(1))
            copy.deepcopy(ledger).record(kit.trial(2))
        assert specs(ledger) == ["spec2", "spec1"]


class TestConsumption:
    def test_a_verdict_says_what_it_used_and_the_ledger_confirms_it(self, ledger, kit):
        for number in (1, 2, 2):
            ledger.record(kit.trial(number))
        use = ledger.consumed("cycle-1", "alpha")
        assert (use.n_trials, use.head_number, use.promotable) == (2, 3, True)
        ledger.record(kit.trial(3))
        assert ledger.confirms(use)
        (record,) = ledger.consumptions()
        assert record.payload["schema"] == "qe.ledger_consumption/1"
        assert record.payload["head_own"] == use.head_own
        assert ledger.consumed("cycle-2", "alpha").n_trials == 3
        assert ledger.verify().is_whole

    def test_a_use_that_was_never_written_down_is_not_confirmed(self, ledger, kit):
        ledger.record(kit.trial(1))
        use = ledger.consumed("cycle-1", "alpha")
        made_up = type(use)(**{**use.content(), "n_trials": 1, "verdict": "cycle-9"})
        assert not ledger.confirms(made_up)

    def test_a_family_nobody_asked_is_named(self, ledger, kit):
        ledger.record(kit.trial(1))
        with pytest.raises(ConfigError, match="Did you mean 'alpha'"):
            ledger.consumed("v", "alpah")


class TestSessions:
    def test_a_session_counts_like_a_ledger_in_files(self, ledger, clock, kit):
        session = SessionLedger(clock=clock)
        for number in (1, 2, 1):
            session.record(kit.trial(number))
            ledger.record(kit.trial(number))
        assert session.read().equals(ledger.read())
        assert session.families() == ledger.families()

    def test_nothing_is_promoted_from_a_session(self, make_ledger, clock, kit):
        for session in (SessionLedger(clock=clock), make_ledger("s", promotable=False)):
            session.record(kit.trial(1))
            use = session.consumed("v", "alpha")
            assert not use.promotable
            assert not session.confirms(use)
            assert not session.confirms(type(use)(**{**use.content(), "promotable": True}))

    def test_a_session_folder_never_becomes_promotable(self, make_ledger, kit):
        make_ledger("s", promotable=False).record(kit.trial(1))
        with pytest.raises(ConfigError, match="Nothing is promoted from a session's ledger"):
            make_ledger("s")
        assert json.loads((make_ledger("s", promotable=False).folder / "ledger.json").read_text())[
            "promotable"
        ] is False  # fmt: skip

"""Lifecycle: legal moves on sufficient evidence, written once; everything else is refused."""

import json
from dataclasses import replace

import pytest

from quant_engine.core.errors import (
    ConfigError,
    GateNotPassedError,
    InsufficientObservationError,
    IntegrityError,
)
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import Track
from quant_engine.governance.admission import MoveRequest, check_move
from quant_engine.governance.bundle import MetricBundle, SignatureState
from quant_engine.governance.contest import Arm, FrozenBaseline, beats, contest
from quant_engine.governance.gates import evaluate
from quant_engine.governance.lifecycle import LifecycleBook, track_folder
from quant_engine.governance.lifecycle_specs import (
    MOVES,
    State,
    Tier,
    load_lifecycle,
    rollback_triggers,
    tier_of,
)
from quant_engine.governance.session import SessionLedger
from quant_engine.governance.verbs import ledger_report, promote

pytestmark = [pytest.mark.feature("T-15"), pytest.mark.feature("L-13"), pytest.mark.feature("L-17")]

COMPETITION = "us|10|production"
BASE = FrozenBaseline("base", COMPETITION, "b" * 64)
PATH = (State.QUALIFIED, State.SHADOW, State.PAPER, State.CANARY, State.STAGED, State.ACTIVE)


@pytest.fixture(scope="session")
def spec(catalog, metrics):
    return load_lifecycle(catalog, metrics=metrics)


@pytest.fixture
def open_book(tmp_path, clock, signer, track_ledger, spec):
    def make(track=Track.PRODUCTION, ledger=None):
        ledger = track_ledger(track) if ledger is None else ledger
        return LifecycleBook(tmp_path, track, clock=clock, signer=signer, ledger=ledger, spec=spec)

    return make


@pytest.fixture
def book(open_book):
    made = open_book()
    made.freeze_baseline(BASE, reason="first tabular model", asked_by="test")
    made.register("s1", COMPETITION, reason="found", asked_by="test")
    return made


@pytest.fixture
def report(strict, metrics, evidence):
    def make(stage, subject="s1", track=Track.PRODUCTION, **changes):
        bundle = evidence(subject, **changes)
        return evaluate(strict, bundle, stage=stage, track=track, metrics=metrics)

    return make


@pytest.fixture
def match(kit):
    """A contest of a challenger whose figure is a multiple of the baseline's."""

    def play(subject="s1", validation=1.2, forward=1.1, margin=0.02, **changes):
        new, old = kit.figure("sharpe_daily", validation), kit.figure("sharpe_daily", 1.0)
        later = kit.figure("sharpe_daily", forward)
        arm = Arm(subject, "c" * 64, new, replace(later, **changes))
        return contest(arm, Arm("base", "b" * 64, old, old), baseline=BASE, margin=margin)

    return play


@pytest.fixture
def go(book, report, match):
    """Move a strategy with everything the state demands."""

    def move(to, subject="s1", on=None, **changes):
        given = {
            "report": report(str(to), subject) if to in (State.QUALIFIED, *PATH[3:]) else None,
            "contest": match(subject) if to is State.CANARY else None,
            **changes,
        }
        request = MoveRequest(to=to, reason=f"to {to}", asked_by="test", **given)
        return (on or book).move(subject, request)

    return move


class TestTheWay:
    def test_every_state_in_order(self, book, go):
        tiers, capital = [], []
        for state in PATH:
            record = go(state)
            standing = book.standing("s1")
            assert standing.state is state
            assert standing.record == record.number
            tiers.append(standing.tier)
            capital.append(standing.capital_frac)
        assert tiers == [Tier.CANDIDATE] * 3 + [Tier.PRODUCTION] * 3
        assert capital == [0.0, 0.0, 0.0, 0.1, 0.5, 1.0]
        assert book.verify() == ()

    def test_a_record_holds_report_lineage_contest_and_reason(self, book, go, tmp_path, kit):
        for state in PATH[:4]:
            record = go(state)
        path = tmp_path / "autopilot" / "lifecycle" / f"{record.number:08d}.json"
        payload = json.loads(path.read_text())["payload"]
        assert payload["schema"] == "qe.lifecycle_record/1"
        assert (payload["from"], payload["to"], payload["tier"]) == (
            "paper",
            "canary",
            "production",
        )
        assert payload["gate_report"]["schema"] == "qe.gate_report/1"
        assert payload["gate_report"]["evidence"]["trials"]["n_trials"] == 3
        assert payload["lineage"]["model_version"] == kit.ALIGNED.model_version
        assert payload["contest"]["won"] is True
        assert payload["reason"] == "to canary"
        assert payload["at"] == "2026-01-02T03:04:05+00:00"

    def test_the_registry_is_the_summary(self, book, go, tmp_path):
        for state in PATH[:4]:
            go(state)
        path = tmp_path / "autopilot" / "strategy_registry.json"
        content = json.loads(path.read_text())
        assert content["current"]["active"] == ["s1"]
        assert content["current"]["strategies"]["s1"]["state"] == "canary"
        assert [entry["event"] for entry in content["history"]][-1] == "moved_to_canary"

    def test_promote_enters_the_tiers(self, book, go, report, match):
        words = {"reason": "passed", "asked_by": "test"}
        record = promote(book, "s1", Tier.CANDIDATE, report=report("qualified"), **words)
        assert record.payload["to"] == "qualified"
        go(State.SHADOW)
        go(State.PAPER)
        last = promote(
            book, "s1", Tier.PRODUCTION, report=report("canary"), contest=match(), **words
        )
        assert last.payload["to"] == "canary"
        with pytest.raises(ConfigError, match="candidate or production"):
            promote(book, "s1", Tier.NONE, report=report("canary"), **words)


class TestIllegalMoves:
    @pytest.mark.parametrize("start", list(State))
    @pytest.mark.parametrize("to", list(State))
    def test_only_listed_moves_are_legal(self, spec, track_ledger, start, to):
        request = MoveRequest(to=to, reason="r", asked_by="t")
        options = {"strategy": "s", "track": Track.PRODUCTION, "spec": spec}
        if to in MOVES[start] and not spec.entry.get(to):
            check_move(start, request, ledger=track_ledger(), **options)
            return
        with pytest.raises(ConfigError) as refused:
            check_move(start, request, ledger=track_ledger(), **options)
        if to not in MOVES[start]:
            assert f"{start} -> {to}" in str(refused.value)
            assert all(legal in refused.value.wanted for legal in MOVES[start])

    def test_a_refused_move_leaves_no_trace(self, book, go):
        before = (len(book.records()), book.standing("s1"))
        with pytest.raises(ConfigError, match="one of qualified, retired, got candidate -> paper"):
            go(State.PAPER)
        assert (len(book.records()), book.standing("s1")) == before

    def test_an_unknown_strategy_is_named(self, go):
        with pytest.raises(ConfigError, match=r"got 's2'\. Known: s1\."):
            go(State.RETIRED, "s2")

    def test_a_life_begins_once(self, book):
        with pytest.raises(ConfigError, match="a new id, got 's1'"):
            book.register("s1", COMPETITION, reason="again", asked_by="test")

    @pytest.mark.parametrize("name", ["reason", "asked_by"])
    def test_every_record_says_who_and_why(self, book, name):
        words = {"reason": "r", "asked_by": "t", name: " "}
        with pytest.raises(ConfigError, match=f"{name}: wanted words"):
            book.move("s1", MoveRequest(to=State.RETIRED, **words))

    def test_what_was_retired_stays_retired(self, book, go):
        go(State.RETIRED)
        with pytest.raises(ConfigError, match="a retired life is over"):
            go(State.CANDIDATE)

    def test_what_was_halted_begins_again(self, book, go):
        go(State.QUALIFIED)
        go(State.HALTED)
        go(State.CANDIDATE)
        assert book.standing("s1").lineage == {}
        go(State.QUALIFIED)


class TestEvidence:
    def test_a_report_is_needed(self, go):
        with pytest.raises(ConfigError, match=r"a gate report on s1.*got none"):
            go(State.QUALIFIED, report=None)

    def test_a_report_on_another_subject_stage_or_track_is_refused(
        self, go, report, strict, metrics, evidence, kit
    ):
        research = evaluate(
            strict,
            evidence(origin=kit.RESEARCH),
            stage="qualified",
            track=Track.RESEARCH,
            metrics=metrics,
        )
        for wrong in (report("qualified", "s2"), report("staged"), research):
            with pytest.raises(ConfigError, match="got one on"):
                go(State.QUALIFIED, report=wrong)

    def test_a_failed_report_is_refused_with_its_reasons(self, go, report):
        bad = report("qualified", profit_factor=1.0)
        with pytest.raises(
            GateNotPassedError, match=r"profit factor 1\.00 is below 1\.10"
        ) as refused:
            go(State.QUALIFIED, report=bad)
        assert refused.value.exit_code == 4

    def test_insufficient_is_not_a_pass(self, go, report):
        thin = report("qualified", observation_days=100)
        with pytest.raises(InsufficientObservationError, match="100 days is below 252") as refused:
            go(State.QUALIFIED, report=thin)
        assert refused.value.exit_code == 5

    def test_an_unsigned_evaluation_is_refused(self, go, report, kit):
        lineage = replace(kit.LINEAGE, signature=SignatureState.UNSIGNED)
        with pytest.raises(GateNotPassedError, match="the evaluation is not signed"):
            go(State.QUALIFIED, report=report("qualified", lineage=lineage))

    def test_nothing_is_promoted_from_a_session(self, open_book, go, report, clock, kit):
        session = SessionLedger(clock=clock)
        session.record(kit.trial(1))
        honest = session.consumed("v", "alpha")
        with pytest.raises(GateNotPassedError, match="session's ledger"):
            go(State.QUALIFIED, report=report("qualified", trials=honest))
        forged = replace(honest, promotable=True)
        with pytest.raises(GateNotPassedError, match="the promotable ledger of this track"):
            go(State.QUALIFIED, report=report("qualified", trials=forged))
        with pytest.raises(GateNotPassedError, match="the promotable ledger of this track"):
            go(State.QUALIFIED, on=open_book(ledger=session))

    def test_a_count_of_another_track_is_refused(self, go, report, track_ledger):
        use = track_ledger(Track.CALIBRATION).consumed("v9", "alpha")
        with pytest.raises(GateNotPassedError, match="the promotable ledger of this track"):
            go(State.QUALIFIED, report=report("qualified", trials=use))

    def test_another_model_is_another_strategy(self, go, report, kit):
        go(State.QUALIFIED)
        go(State.SHADOW)
        go(State.PAPER)
        newer = replace(kit.ALIGNED, model_version="v8")
        lineage = replace(kit.LINEAGE, evaluated=newer, deployed=newer)
        with pytest.raises(ConfigError, match=r"model_version of s1.*'v7', which was qualified"):
            go(State.CANARY, report=report("canary", lineage=lineage))
        later = replace(kit.ALIGNED, data_version="d2", lineage_id="l2")
        lineage = replace(kit.LINEAGE, evaluated=later, deployed=later)
        go(State.CANARY, report=report("canary", lineage=lineage))

    def test_the_production_tier_has_room_for_five(self, book, go):
        for number in range(2, 8):
            name = f"s{number}"
            book.register(name, COMPETITION, reason="found", asked_by="test")
            for state in PATH[:3]:
                go(state, name)
            if number < 7:
                go(State.CANARY, name)
        with pytest.raises(ConfigError, match="at most 5 strategies with capital"):
            go(State.CANARY, "s7")
        go(State.STAGED, "s2")
        go(State.RETIRED, "s3")
        go(State.CANARY, "s7")


class TestContests:
    @pytest.mark.parametrize(
        ("new", "old", "margin", "won"),
        [
            (1.02, 1.0, 0.02, True), (1.0199, 1.0, 0.02, False), (-0.98, -1.0, 0.02, True),
            (-0.99, -1.0, 0.02, False), (0.0, 0.0, 0.02, False), (1e-9, 0.0, 0.02, True),
            (float("nan"), 1.0, 0.02, False), (1.0, float("nan"), 0.02, False),
        ],
    )  # fmt: skip
    def test_the_margin_is_relative(self, new, old, margin, won):
        assert beats(new, old, margin=margin) is won

    @pytest.mark.parametrize("worse", [{"validation": 1.01}, {"forward": 1.01}])
    def test_both_kinds_of_data_must_be_won(self, go, match, worse):
        for state in PATH[:3]:
            go(state)
        lost = match(**worse)
        assert not lost.won
        with pytest.raises(GateNotPassedError, match="does not beat 1 by 2%"):
            go(State.CANARY, contest=lost)

    def test_what_is_missing_or_not_comparable_is_lost(self, match):
        assert not match(value=None).won
        assert not match(n_obs=599).won
        assert not match(method="session_agg_v1").won
        assert "not comparable" in match(n_obs=599).reasons[1]

    def test_the_control_arm_is_pinned_by_its_hash(self, kit):
        figure = kit.figure("sharpe_daily", 1.0)
        other = Arm("base", "d" * 64, figure, figure)
        with pytest.raises(IntegrityError, match="The baseline is frozen"):
            contest(other, other, baseline=BASE, margin=0.02)

    def test_a_contest_in_another_figure_is_refused(self, kit):
        figure = kit.figure("psr", 1.0)
        arm = Arm("base", "b" * 64, figure, figure)
        with pytest.raises(ConfigError, match="Both arms are compared"):
            contest(arm, arm, baseline=BASE, margin=0.02)

    def test_a_baseline_needs_a_hash(self):
        with pytest.raises(ConfigError, match="64 hexadecimal"):
            FrozenBaseline("base", COMPETITION, "latest")

    def test_canary_needs_a_contest_with_the_present_baseline(self, book, go, match):
        for state in PATH[:3]:
            go(state)
        with pytest.raises(ConfigError, match="got no contest"):
            go(State.CANARY, contest=None)
        with pytest.raises(ConfigError, match="a contest of s1"):
            go(State.CANARY, contest=match("s9"))
        with pytest.raises(ConfigError, match=r"margin of at least 0\.02"):
            go(State.CANARY, contest=match(margin=0.0))
        book.freeze_baseline(replace(BASE, content_sha256="e" * 64), reason="new", asked_by="t")
        with pytest.raises(IntegrityError, match="The baseline of the competition changed"):
            go(State.CANARY)
        assert book.baseline(COMPETITION).content_sha256 == "e" * 64

    def test_a_competition_without_a_baseline_promotes_nobody(self, book, go):
        book.register("s2", "other|5|production", reason="found", asked_by="test")
        for state in PATH[:3]:
            go(state, "s2")
        with pytest.raises(ConfigError, match="got no frozen baseline"):
            go(State.CANARY, "s2")


QUIET = {
    "consecutive_gate_failures": 0, "feature_psi": 0.1, "reject_rate": 0.01,
    "slippage_p95_bps": 25.0, "slippage_ratio": 2.5, "max_drawdown": -0.15,
    "staleness_bars": 3,
}  # fmt: skip


class TestRollback:
    @pytest.fixture
    def look(self, spec, metrics, kit):
        def look_at(**changes):
            values = {**QUIET, **changes}
            given = tuple(kit.figure(n, v) for n, v in values.items() if v is not ...)
            bundle = MetricBundle("s1", given, kit.PRODUCTION)
            return rollback_triggers(spec, bundle, metrics=metrics)

        return look_at

    def test_nothing_fires_on_the_limits(self, book, look):
        assert not any(trigger.fired for trigger in look())
        assert book.halt_when("s1", look(), asked_by="monitor") is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [("consecutive_gate_failures", 3), ("feature_psi", 0.25), ("reject_rate", 0.011),
         ("slippage_p95_bps", 25.1), ("slippage_ratio", 2.6), ("max_drawdown", -0.151),
         ("staleness_bars", 4)],
    )  # fmt: skip
    def test_each_trigger_halts(self, book, go, look, name, value):
        for state in PATH[:4]:
            go(state)
        triggers = look(**{name: value})
        assert [trigger.fired for trigger in triggers].count(True) == 1
        record = book.halt_when("s1", triggers, asked_by="monitor")
        assert book.standing("s1").state is State.HALTED
        assert book.standing("s1").capital_frac == 0.0
        assert len(record.payload["triggers"]) == 7
        assert book.verify() == ()

    def test_what_is_not_watched_is_halted_but_for_drift(self, look):
        assert [t.name for t in look(reject_rate=...) if t.fired] == ["rejects"]
        assert [t.name for t in look(max_drawdown=float("nan")) if t.fired] == ["drawdown"]
        assert not any(trigger.fired for trigger in look(feature_psi=...))


class TestTracks:
    def test_two_tracks_have_two_books(self, open_book, book, tmp_path):
        research = open_book(Track.RESEARCH)
        research.register("s1", "us|10|research", reason="found", asked_by="test")
        assert research.standing("s1").competition == "us|10|research"
        assert book.standing("s1").competition == COMPETITION
        assert track_folder(tmp_path, Track.RESEARCH) == tmp_path / "research"
        assert {path.name for path in tmp_path.iterdir() if path.is_dir()} >= {
            "autopilot",
            "research",
        }

    def test_research_moves_on_its_own_evidence(
        self, open_book, strict, metrics, evidence, track_ledger, kit
    ):
        research = open_book(Track.RESEARCH)
        research.register("s1", "us|10|research", reason="found", asked_by="test")
        use = track_ledger(Track.RESEARCH).consumed("v", "alpha")
        verdict = evaluate(
            strict,
            evidence(origin=kit.RESEARCH, trials=use),
            stage="qualified",
            track=Track.RESEARCH,
            metrics=metrics,
        )
        request = MoveRequest(to=State.QUALIFIED, reason="r", asked_by="t", report=verdict)
        assert research.move("s1", request).payload["track"] == "research"

    def test_a_registry_of_another_track_is_refused(self, open_book, book, tmp_path):
        (tmp_path / "autopilot").rename(tmp_path / "calibration")
        with pytest.raises(IntegrityError, match="the registry of track calibration"):
            open_book(Track.CALIBRATION).standings()


class TestReplay:
    def test_only_qualified_ones_and_listed_baselines_run_in_shadow(self, book, go):
        assert not book.may_replay("s1")
        assert not book.may_replay("base")
        book.allow_replay("base", reason="control arm", asked_by="test")
        go(State.QUALIFIED)
        assert book.may_replay("s1")
        assert book.may_replay("base")
        go(State.HALTED)
        assert not book.may_replay("s1")


class TestDamage:
    def test_a_kill_between_record_and_registry_loses_nothing(self, book, go, tmp_path, open_book):
        registry = tmp_path / "autopilot" / "strategy_registry.json"
        before = registry.read_bytes()
        go(State.QUALIFIED)
        registry.write_bytes(before)
        again = open_book()
        assert again.standing("s1").state is State.QUALIFIED
        assert again.verify() == ()
        go(State.SHADOW, on=again)
        assert again.verify() == ()

    def test_an_edited_registry_is_named(self, book, go, tmp_path):
        go(State.QUALIFIED)
        path = tmp_path / "autopilot" / "strategy_registry.json"
        path.write_text(path.read_text().replace('"state": "qualified"', '"state": "active"'))
        assert book.verify() == ("strategy_registry.json is not the summary of the records",)

    def test_a_removed_record_is_named_and_stops_the_book(self, book, go, tmp_path):
        record = go(State.QUALIFIED)
        (tmp_path / "autopilot" / "lifecycle" / f"{record.number:08d}.json").unlink()
        assert book.verify() == ("records 3 to 3 are missing: the registry knows them",)
        with pytest.raises(IntegrityError, match="records are never removed"):
            book.standing("s1")

    def test_an_edited_record_is_named(self, book, go, tmp_path):
        record = go(State.QUALIFIED)
        path = tmp_path / "autopilot" / "lifecycle" / f"{record.number:08d}.json"
        path.write_text(path.read_text().replace('"to qualified"', '"for a friend"'))
        assert book.verify() == (
            f"record {record.number}: its content was edited: the hash does not match",
        )


class TestSpecs:
    def test_tiers_cover_the_way(self):
        assert {state: str(tier_of(state)) for state in State} == {
            "candidate": "none", "qualified": "candidate", "shadow": "candidate",
            "paper": "candidate", "canary": "production", "staged": "production",
            "active": "production", "halted": "none", "retired": "none",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("old", "new", "words"),
        [
            ("canary: 0.10", "canary: 0.80", "capital_frac"),
            ("active: 1.0", "active: 1.5", "capital_frac"),
            ("canary: [canary]", "canary: []", "entry"),
            ("name: drift", "name: gates", "rollback: wanted each name once"),
            ("metric: feature_psi", "metric: feature_spi", "Did you mean 'feature_psi'"),
            ("threshold: 0.25", "threshold: yes", "a number in ratio"),
            ("op: '>'", "op: '=>'", "'>='"),
            ("max_production: 5", "max_production: 0", "greater than or equal to 1"),
            ("staged: [staged]", "stagd: [staged]", "'candidate', 'qualified'"),
        ],
    )
    def test_mistakes_are_refused(self, catalog, tmp_path, old, new, words):
        text = catalog.path("lifecycle", "default").read_text().replace('"', "'")
        assert old in text
        path = tmp_path / "specs" / "lifecycle" / "mine.yaml"
        path.parent.mkdir(parents=True)
        path.write_text(text.replace(old, new, 1))
        with pytest.raises(ConfigError) as refused:
            load_lifecycle(SpecCatalog.default(tmp_path), "mine")
        assert words in str(refused.value)


class TestLedgerReport:
    def test_families_consumption_and_check(self, track_ledger):
        ledger = track_ledger()
        ledger.consumed("cycle-1", "alpha")
        report = ledger_report(ledger, verify=True)
        content = report.content()
        assert content["schema"] == "qe.ledger_report/1"
        assert content["families"][0]["n_trials"] == 3
        assert content["consumed"][0]["verdict"] == "cycle-1"
        assert content["check"]["faults"] == []
        assert "verdict cycle-1 used N=3 of alpha at row 3" in report.text()
        assert report.text().endswith("3 rows: whole")
        assert ledger_report(ledger).content()["check"] is None

    def test_a_damaged_ledger_is_reported_and_not_counted(self, track_ledger):
        ledger = track_ledger()
        path = ledger.folder / "rows-00000001.tsv"
        path.write_bytes(path.read_bytes().replace(b"spec1", b"spec7"))
        report = ledger_report(ledger, verify=True)
        assert report.families == ()
        assert "row 2 was edited" in report.text()

"""Lifecycle: every move of every strategy is a record that is written once and signed.

``candidate -> qualified -> shadow -> paper -> canary -> staged -> active``, and from everywhere to
halted or retired. How a move is made (`LifecycleBook.move`):

1. under the registry's lock the book catches up with its records (`_caught_up`), which are the
   truth; the registry file is their summary;
2. legality, gate report, ledger and contest are checked (`admission.check_move`);
3. one record is appended to the chain, with report, lineage and reason;
4. the summary is replaced.

A kill between 3 and 4 loses nothing: the next reader folds the record in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from quant_engine.artifacts.json_registry import JsonRegistry
from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import Clock
from quant_engine.core.errors import ConfigError, IntegrityError, did_you_mean
from quant_engine.core.tracks import Track
from quant_engine.governance.admission import MoveRequest, check_move
from quant_engine.governance.contest import FrozenBaseline
from quant_engine.governance.ledger import Ledger, TrialLedger
from quant_engine.governance.lifecycle_specs import (
    MOVES,
    LifecycleSpec,
    State,
    Tier,
    Trigger,
    tier_of,
)
from quant_engine.governance.records import Record, RecordChain

RECORD_SCHEMA: Final = "qe.lifecycle_record/1"
REGISTRY_NAME: Final = "strategy_registry.json"
TRACK_FOLDERS: Final = {
    Track.PRODUCTION: "autopilot",
    Track.RESEARCH: "research",
    Track.CALIBRATION: "calibration",
}
Document = dict[str, Any]


@dataclass(frozen=True)
class Standing:
    """Where one strategy stands.

    Parameters
    ----------
    strategy : str
        Its id.
    competition : str
        ``dataset|horizon|track``.
    state : State
        Present state.
    tier : Tier
        Its tier.
    capital_frac : float
        Share of the planned capital that it may carry.
    since : str
        ISO instant of the last move.
    record : int
        Number of the record of that move.
    lineage : dict of str to str
        The six alignment fields of the last gate report; empty before the first.
    """

    strategy: str
    competition: str
    state: State
    tier: Tier
    capital_frac: float
    since: str
    record: int
    lineage: dict[str, str]


def track_folder(results_root: Path, track: Track) -> Path:
    """Return the folder that holds a track's ledger, records and registry.

    Parameters
    ----------
    results_root : Path
        Results folder.
    track : Track
        Production lies in ``autopilot``; records of tracks never mix.

    Returns
    -------
    Path
        Whether it exists or not.

    Examples
    --------
    >>> track_folder(Path("results"), Track.RESEARCH).as_posix()
    'results/research'
    """
    return results_root / TRACK_FOLDERS[track]


def open_ledger(results_root: Path, track: Track, *, clock: Clock, signer: Signer) -> TrialLedger:
    """Open the trial ledger of a track.

    Parameters
    ----------
    results_root : Path
        Results folder.
    track : Track
        Each track counts its own trials.
    clock : Clock
        Time of the rows.
    signer : Signer
        Key of the results folder.

    Returns
    -------
    TrialLedger
        Promotable on its own track.
    """
    folder = track_folder(results_root, track) / "ledger"
    return TrialLedger(folder, clock=clock, signer=signer)


class LifecycleBook:
    """The lives of all strategies of one track.

    Parameters
    ----------
    results_root : Path
        Results folder.
    track : Track
        Track of the book.
    clock : Clock
        Time of the records.
    signer : Signer
        Key of the results folder.
    ledger : Ledger
        Ledger of the same track; from a session's ledger nothing is promoted.
    spec : LifecycleSpec
        Demands.
    """

    def __init__(
        self,
        results_root: Path,
        track: Track,
        *,
        clock: Clock,
        signer: Signer,
        ledger: Ledger,
        spec: LifecycleSpec,
    ) -> None:
        folder = track_folder(results_root, track)
        self.track = track
        self.spec = spec
        self._clock = clock
        self._ledger = ledger
        self._chain = RecordChain(folder / "lifecycle", signer=signer)
        self._registry = JsonRegistry(folder / REGISTRY_NAME, clock=clock)

    def register(self, strategy: str, competition: str, *, reason: str, asked_by: str) -> Record:
        """Begin the life of a strategy as a candidate.

        Parameters
        ----------
        strategy : str
            New id.
        competition : str
            ``dataset|horizon|track`` in which it competes.
        reason : str
            Why, in words.
        asked_by : str
            Who asks.

        Returns
        -------
        Record
            As written.

        Raises
        ------
        ConfigError
            When the id is taken or empty, or no reason is given.
        """

        def make(now: Document) -> Document:
            if not strategy or strategy in now["strategies"]:
                raise ConfigError(
                    "strategy",
                    wanted="a new id",
                    got=repr(strategy),
                    hint="The records of a life are never overwritten; choose another id.",
                )
            return {
                "event": "moved",
                "strategy": strategy,
                "competition": competition,
                "from": "",
                **_arrival(State.CANDIDATE, 0.0),
            }

        return self._write("registered", strategy, reason, asked_by, make)

    def move(self, strategy: str, request: MoveRequest) -> Record:
        """Move a strategy, or refuse and say why.

        Parameters
        ----------
        strategy : str
            Registered id.
        request : MoveRequest
            State to reach, with reason, gate report and contest as the state demands.

        Returns
        -------
        Record
            Immutable, linked and signed.

        Raises
        ------
        ConfigError
            For an unknown strategy, a move that is not legal (naming those that are), an
            absent or foreign report or contest, or a full production tier.
        GateNotPassedError
            When the report did not pass, the contest was lost, or the ledger does not confirm
            what the verdict used.
        InsufficientObservationError
            When too little was observed for a verdict.
        """

        def make(now: Document) -> Document:
            standing = _standing(strategy, _entry(now, strategy))
            in_production = [name for name in now["active"] if name != strategy]
            check_move(
                standing.state,
                request,
                strategy=strategy,
                track=self.track,
                spec=self.spec,
                ledger=self._ledger,
            )
            self._check_room(request.to, in_production)
            report = request.report
            lineage = standing.lineage
            if report is not None:
                lineage = report.evidence["lineage"]["evaluated"]
                _check_same_model(strategy, standing, lineage)
            if request.to in self.spec.beats_baseline:
                self._check_contest(now, standing.competition, request)
            return {
                "event": "moved",
                "strategy": strategy,
                "competition": standing.competition,
                "from": str(standing.state),
                **_arrival(request.to, self.spec.capital_frac.get(request.to, 0.0)),
                "lineage": {} if request.to is State.CANDIDATE else lineage,
                "gate_report": None if report is None else report.content(),
                "gate_report_digest": "" if report is None else report.digest(),
                "contest": None if request.contest is None else request.contest.content(),
                "triggers": [trigger.content() for trigger in request.triggers],
            }

        event = f"moved_to_{request.to}"
        return self._write(event, strategy, request.reason, request.asked_by, make)

    def halt_when(
        self, strategy: str, triggers: tuple[Trigger, ...], *, asked_by: str
    ) -> Record | None:
        """Halt a strategy in service when a rollback trigger fired.

        Parameters
        ----------
        strategy : str
            Registered id.
        triggers : tuple of Trigger
            What `lifecycle_specs.rollback_triggers` said.
        asked_by : str
            Who looked.

        Returns
        -------
        Record or None
            The record of the halt; None when no trigger fired.
        """
        fired = tuple(trigger for trigger in triggers if trigger.fired)
        if not fired:
            return None
        reason = "; ".join(f"{trigger.name}: {trigger.reason}" for trigger in fired)
        return self.move(
            strategy,
            MoveRequest(to=State.HALTED, reason=reason, asked_by=asked_by, triggers=triggers),
        )

    def freeze_baseline(self, baseline: FrozenBaseline, *, reason: str, asked_by: str) -> Record:
        """Make a model the control arm of its competition.

        Parameters
        ----------
        baseline : FrozenBaseline
            Subject, competition, hash and deciding figure.
        reason : str
            Why, in words; freezing another one later is a record too.
        asked_by : str
            Who asks.

        Returns
        -------
        Record
            As written.
        """
        return self._write(
            "baseline_frozen",
            baseline.subject,
            reason,
            asked_by,
            lambda _: {"event": "baseline_frozen", **asdict(baseline)},
        )

    def allow_replay(self, strategy: str, *, reason: str, asked_by: str) -> Record:
        """Let a baseline be replayed in shadow although it was never qualified.

        Parameters
        ----------
        strategy : str
            Id of the baseline; need not be registered.
        reason : str
            Why, in words.
        asked_by : str
            Who asks.

        Returns
        -------
        Record
            As written.
        """
        return self._write(
            "replay_allowed",
            strategy,
            reason,
            asked_by,
            lambda _: {"event": "replay_allowed", "strategy": strategy},
        )

    def may_replay(self, strategy: str) -> bool:
        """Tell whether a strategy may run in shadow: qualified or further, or on the list."""
        now = self._now()
        if strategy in now["replay_allowed"]:
            return True
        entry = now["strategies"].get(strategy)
        return entry is not None and tier_of(State(entry["state"])) is not Tier.NONE

    def baseline(self, competition: str) -> FrozenBaseline | None:
        """Return the frozen control arm of a competition, or None."""
        found = self._now()["baselines"].get(competition)
        return None if found is None else FrozenBaseline(**found)

    def standing(self, strategy: str) -> Standing:
        """Return where a strategy stands; ConfigError names the nearest known ids."""
        return _standing(strategy, _entry(self._now(), strategy))

    def standings(self) -> tuple[Standing, ...]:
        """Return where every strategy stands, in alphabetical order."""
        now = self._now()["strategies"]
        return tuple(_standing(name, now[name]) for name in sorted(now))

    def records(self, strategy: str | None = None) -> list[Record]:
        """Return all records, or those of one strategy, oldest first."""
        return [
            record
            for record in self._chain.all()
            if strategy is None or record.payload.get("strategy") == strategy
        ]

    def verify(self) -> tuple[str, ...]:
        """Say in words what is wrong with records and registry.

        Returns
        -------
        tuple of str
            Edited, missing or unsigned records, illegal moves, records of another track, and a
            registry that is not the summary of its records; empty when all is well.
        """
        faults = list(self._chain.faults())
        if faults:
            return tuple(faults)
        folded = _empty(self.track)
        for record in self._chain.all():
            faults += [f"record {record.number}: {why}" for why in _move_faults(folded, record)]
            folded = _folded(folded, record)
        current = self._registry.read().current
        if current and current["head"] > folded["head"]:
            lost = f"records {folded['head'] + 1} to {current['head']}"
            faults.append(f"{lost} are missing: the registry knows them")
        elif current and current["head"] == folded["head"] and current != folded:
            faults.append(f"{REGISTRY_NAME} is not the summary of the records")
        return tuple(faults)

    def _write(
        self,
        event: str,
        subject: str,
        reason: str,
        asked_by: str,
        make: Callable[[Document], Document],
    ) -> Record:
        for name, text in (("reason", reason), ("asked_by", asked_by)):
            if not text.strip():
                raise ConfigError(
                    name, wanted="words", got=repr(text), hint="Every record says who and why."
                )
        written: list[Record] = []

        def update(current: Document) -> Document:
            now = self._caught_up(current)
            payload = {
                "schema": RECORD_SCHEMA,
                "at": self._clock.now().isoformat(timespec="seconds"),
                "track": str(self.track),
                "reason": reason,
                "asked_by": asked_by,
                **make(now),
            }
            written.append(self._chain.append(lambda _: payload))
            return _folded(now, written[0])

        self._registry.change(event, {"subject": subject, "reason": reason}, update)
        return written[0]

    def _now(self) -> Document:
        return self._caught_up(self._registry.read().current)

    def _caught_up(self, current: Document) -> Document:
        now = current or _empty(self.track)
        if now["track"] != str(self.track):
            raise IntegrityError(
                str(self._registry.path),
                wanted=f"the registry of track {self.track}",
                got=f"that of track {now['track']}",
                hint="Each track has its own folder.",
            )
        head = self._chain.head().number
        if now["head"] > head:
            raise IntegrityError(
                str(self._chain.folder),
                wanted=f"{now['head']} records, as the registry knows",
                got=f"{head}",
                hint="Restore the folder from a copy; records are never removed.",
            )
        for number in range(now["head"] + 1, head + 1):
            now = _folded(now, self._chain.get(number))
        return now

    def _check_room(self, to: State, in_production: list[str]) -> None:
        if tier_of(to) is Tier.PRODUCTION and len(in_production) >= self.spec.max_production:
            raise ConfigError(
                f"move to {to}",
                wanted=f"at most {self.spec.max_production} strategies with capital",
                got=f"{', '.join(in_production)} and one more",
                hint="Halt or retire one of them first.",
            )

    def _check_contest(self, now: Document, competition: str, request: MoveRequest) -> None:
        frozen = now["baselines"].get(competition)
        hint = "Freeze a baseline for the competition and let the challenger meet it."
        if frozen is None or request.contest is None:
            missing = "no frozen baseline" if frozen is None else "no contest"
            raise ConfigError(
                f"move to {request.to}",
                wanted=f"a contest against the frozen baseline of {competition}",
                got=missing,
                hint=hint,
            )
        if request.contest.control_sha256 != frozen["content_sha256"]:
            raise IntegrityError(
                "contest",
                wanted=f"the control arm {frozen['content_sha256'][:12]}",
                got=request.contest.control_sha256[:12],
                hint="The baseline of the competition changed; repeat the contest.",
            )


def _empty(track: Track) -> Document:
    return {
        "track": str(track),
        "head": 0,
        "active": [],
        "strategies": {},
        "baselines": {},
        "replay_allowed": [],
    }


def _arrival(state: State, capital_frac: float) -> Document:
    return {"to": str(state), "tier": str(tier_of(state)), "capital_frac": capital_frac}


def _folded(now: Document, record: Record) -> Document:
    """Return the summary after one more record."""
    payload, after = record.payload, {**now, "head": record.number}
    if payload["event"] == "moved":
        entry = {
            "competition": payload["competition"],
            "state": payload["to"],
            "tier": payload["tier"],
            "capital_frac": payload["capital_frac"],
            "since": payload["at"],
            "record": record.number,
            "lineage": payload.get("lineage", {}),
        }
        strategies = {**now["strategies"], payload["strategy"]: entry}
        after["strategies"] = strategies
        after["active"] = sorted(
            name
            for name, known in strategies.items()
            if tier_of(State(known["state"])) is Tier.PRODUCTION
        )
    elif payload["event"] == "baseline_frozen":
        names = ("subject", "competition", "content_sha256", "metric")
        frozen = {name: payload[name] for name in names}
        after["baselines"] = {**now["baselines"], payload["competition"]: frozen}
    else:
        after["replay_allowed"] = sorted({*now["replay_allowed"], payload["strategy"]})
    return after


def _move_faults(before: Document, record: Record) -> list[str]:
    payload = record.payload
    found = []
    if payload["track"] != before["track"]:
        found.append(f"it belongs to track {payload['track']}")
    if payload["event"] != "moved":
        return found
    known = before["strategies"].get(payload["strategy"])
    start = "" if known is None else known["state"]
    legal = [State.CANDIDATE] if known is None else list(MOVES[State(start)])
    if payload["from"] != start or State(payload["to"]) not in legal:
        found.append(f"{payload['strategy']} stood at {start or 'nothing'}, not legal from there")
    return found


def _entry(now: Document, strategy: str) -> Document:
    if strategy not in now["strategies"]:
        raise ConfigError(
            "strategy",
            wanted=f"a strategy of track {now['track']}",
            got=repr(strategy),
            hint=did_you_mean(strategy, now["strategies"]),
        )
    found: Document = now["strategies"][strategy]
    return found


def _standing(strategy: str, entry: Document) -> Standing:
    return Standing(
        strategy=strategy,
        competition=entry["competition"],
        state=State(entry["state"]),
        tier=Tier(entry["tier"]),
        capital_frac=entry["capital_frac"],
        since=entry["since"],
        record=entry["record"],
        lineage=entry["lineage"],
    )


def _check_same_model(strategy: str, standing: Standing, lineage: dict[str, str]) -> None:
    """After qualification the model stays the same; later data may be newer."""
    for name in ("payload_schema_version", "feature_version", "model_name", "model_version"):
        before = standing.lineage.get(name)
        if before is not None and before != lineage[name]:
            raise ConfigError(
                f"{name} of {strategy}",
                wanted=f"{before!r}, which was qualified",
                got=repr(lineage[name]),
                hint="Another model is another strategy; register and qualify it.",
            )

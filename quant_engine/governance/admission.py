"""Admission: whether a strategy may make a move, on the evidence it brings."""

from __future__ import annotations

from dataclasses import dataclass

from quant_engine.core.errors import ConfigError, GateNotPassedError
from quant_engine.core.tracks import Track
from quant_engine.governance.contest import Contest
from quant_engine.governance.gates import GateReport
from quant_engine.governance.ledger import Ledger, LedgerUse
from quant_engine.governance.lifecycle_specs import MOVES, LifecycleSpec, State, Trigger


@dataclass(frozen=True)
class MoveRequest:
    """What is asked of the book.

    Parameters
    ----------
    to : State
        State to reach.
    reason : str
        Why, in words.
    asked_by : str
        Who asks.
    report : GateReport, optional
        Verdict of the stage that the state demands.
    contest : Contest, optional
        Meeting with the frozen baseline, where the state demands it.
    triggers : tuple of Trigger
        What rollback triggers said, for a halt.
    """

    to: State
    reason: str
    asked_by: str
    report: GateReport | None = None
    contest: Contest | None = None
    triggers: tuple[Trigger, ...] = ()


def check_move(
    state: State,
    request: MoveRequest,
    *,
    strategy: str,
    track: Track,
    spec: LifecycleSpec,
    ledger: Ledger,
) -> None:
    """Refuse a move that is not legal or not supported by its evidence.

    Parameters
    ----------
    state : State
        Where the strategy stands.
    request : MoveRequest
        What is asked.
    strategy : str
        Its id.
    track : Track
        Track of the book.
    spec : LifecycleSpec
        Demands.
    ledger : Ledger
        Ledger of the track.

    Raises
    ------
    ConfigError
        For an illegal move, naming the legal ones, or for evidence on something else.
    GateNotPassedError
        When the verdict, the contest or the ledger says no.
    InsufficientObservationError
        When too little was observed.
    """
    legal = MOVES[state]
    if request.to not in legal:
        raise ConfigError(
            f"move of {strategy}",
            wanted="one of " + ", ".join(legal) if legal else "nothing: a retired life is over",
            got=f"{state} -> {request.to}",
            hint="Moves are made one at a time; see the lifecycle page.",
        )
    stages = spec.entry.get(request.to, ())
    if stages:
        _check_report(request, stages, strategy, track)
        _check_ledger(request, strategy, ledger)
    if request.contest is not None:
        _check_contest(request.contest, strategy, spec)


def _check_report(
    request: MoveRequest, stages: tuple[str, ...], strategy: str, track: Track
) -> None:
    report = request.report
    wanted = f"a gate report on {strategy}, track {track}, stage {' or '.join(stages)}"
    got = "none"
    if report is not None:
        got = f"one on {report.subject}, track {report.track}, stage {report.stage or 'none'}"
    if (
        report is None
        or report.subject != strategy
        or report.track is not track
        or report.stage not in stages
    ):
        raise ConfigError(
            f"move to {request.to}", wanted=wanted, got=got, hint="Run `qe qualify` for it."
        )
    report.require_passed()


def _check_ledger(request: MoveRequest, strategy: str, ledger: Ledger) -> None:
    trials = None if request.report is None else request.report.evidence["trials"]
    if trials is None or not ledger.confirms(LedgerUse(**trials)):
        raise GateNotPassedError(
            f"trials behind the verdict on {strategy}",
            wanted="a count that the promotable ledger of this track wrote down",
            got="none" if trials is None else f"{trials['n_trials']} of {trials['family']!r}",
            hint="Count with the ledger's `consumed`; from a session's ledger nothing is promoted.",
        )


def _check_contest(contest: Contest, strategy: str, spec: LifecycleSpec) -> None:
    if contest.challenger != strategy or contest.margin < spec.challenger_margin:
        raise ConfigError(
            "contest",
            wanted=f"a contest of {strategy} with a margin of at least {spec.challenger_margin:g}",
            got=f"one of {contest.challenger} with {contest.margin:g}",
            hint="Repeat the contest.",
        )
    if not contest.won:
        raise GateNotPassedError(
            f"contest of {strategy} against {contest.control}",
            wanted="a better figure on validation and on forward data",
            got="; ".join(contest.reasons),
            hint="The baseline stays.",
        )

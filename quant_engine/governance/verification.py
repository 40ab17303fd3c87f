"""Verification of a ledger's rows: every hash recomputed, every claim about a row compared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from quant_engine.core.errors import IntegrityError
from quant_engine.governance.rows import Head, Row
from quant_engine.governance.segments import list_segments, walk_rows

MAX_FAULTS = 20


@dataclass(frozen=True)
class Claim:
    """Something that names a row from outside the rows.

    Parameters
    ----------
    claimant : str
        Who names it, in words.
    head : Head
        Number and hash of the row.
    """

    claimant: str
    head: Head


@dataclass(frozen=True)
class LedgerCheck:
    """What the verification of a ledger found.

    Parameters
    ----------
    n_rows : int
        Number of the last whole row.
    head : Head
        That row.
    faults : tuple of str
        One sentence per fault with its position, at most some dozens; empty for a whole ledger.
    """

    n_rows: int
    head: Head
    faults: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether no fault was found."""
        return not self.faults


def verify_rows(folder: Path, claims: Iterable[Claim]) -> LedgerCheck:
    """Recompute the hash of every row and compare what is claimed about rows.

    Parameters
    ----------
    folder : Path
        Ledger folder; absent = empty.
    claims : iterable of Claim
        What the noted head and earlier verdicts say.

    Returns
    -------
    LedgerCheck
        Positions of edited, missing and inserted rows and of rows that claims name in vain.
    """
    waiting: dict[int, list[Claim]] = {}
    for claim in claims:
        waiting.setdefault(claim.head.number, []).append(claim)
    while True:
        try:
            return _verify(folder, dict(waiting))
        except FileNotFoundError:
            continue  # sealed between the listing and the reading


def _verify(folder: Path, waiting: dict[int, list[Claim]]) -> LedgerCheck:
    head = Head()
    faults: list[str] = []
    for segment in list_segments(folder):
        try:
            for row, fits in walk_rows(segment):
                found, head = _next(head, row, fits)
                faults.extend(found)
                for claim in waiting.pop(head.number, ()):
                    if claim.head.own != head.own:
                        faults.append(
                            f"row {head.number} is not the row that {claim.claimant} names"
                        )
        except IntegrityError as error:
            faults.append(f"after row {head.number}: {segment.path.name}: {error.got}")
        if len(faults) > MAX_FAULTS:
            break
    else:
        faults.extend(_lost(head, waiting))
    return LedgerCheck(head.number, head, tuple(faults[:MAX_FAULTS]))


def _next(head: Head, row: Row | None, fits: bool) -> tuple[list[str], Head]:
    """Compare a row with the one above it."""
    expected = head.number + 1
    if row is None:
        return [f"row {expected}: the line is damaged"], Head(expected, "")
    faults = []
    if row.number > expected:
        faults.append(_absent(expected, row.number - 1))
    elif row.number < expected:
        faults.append(f"row {row.number} stands again where row {expected} belongs")
    elif not fits:
        faults.append(f"row {row.number} was edited: its hash does not match its content")
    elif row.previous != head.own and head.own:
        faults.append(f"row {row.number} does not follow row {head.number} as it stands")
    return faults, Head(row.number, row.own)


def _lost(head: Head, waiting: dict[int, list[Claim]]) -> list[str]:
    late = {number: claims for number, claims in waiting.items() if number > head.number}
    return [
        f"{_absent(head.number + 1, number)} at the end: {late[number][0].claimant} names "
        f"row {number}"
        for number in sorted(late)
    ]


def _absent(first: int, last: int) -> str:
    return f"row {first} is missing" if first == last else f"rows {first} to {last} are missing"

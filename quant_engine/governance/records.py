"""Records that are written once: numbered JSON files, each signed and linked to the one before.

``RECORDS/00000007.json`` holds a payload, the hash of record 6, its own hash over both, and a
signature of that hash. No record is ever rewritten; one that was edited, removed or slipped in is
named by :meth:`RecordChain.faults`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from quant_engine.artifacts.files import explained_os_errors, read_json, write_json
from quant_engine.artifacts.signing import Signer
from quant_engine.core.errors import IntegrityError
from quant_engine.core.hashing import sha256_json
from quant_engine.governance.rows import GENESIS, Head

Payload = dict[str, Any]
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class Record:
    """One record as it stands in its file.

    Parameters
    ----------
    number : int
        Position, from 1.
    payload : dict
        What is recorded; plain JSON values.
    previous : str
        Own hash of the record before.
    own : str
        Hash of number, previous and payload.
    signature : str
        Of ``own``, made with this results folder's key.
    """

    number: int
    payload: Payload
    previous: str
    own: str
    signature: str


class RecordChain:
    """The records of one folder.

    Parameters
    ----------
    folder : Path
        Made at the first record.
    signer : Signer
        Key of the results folder.
    """

    def __init__(self, folder: Path, *, signer: Signer) -> None:
        self.folder = folder
        self._signer = signer

    def append(self, make: Callable[[Head], Payload]) -> Record:
        """Write one more record.

        Parameters
        ----------
        make : callable
            Maps the present head to the payload; called under the lock, so that what it reads
            is still true when the record is written. It may raise to write nothing.

        Returns
        -------
        Record
            As written.

        Raises
        ------
        IntegrityError
            When the last record is damaged: nothing is chained to it.
        """
        with explained_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(f"{self.folder}.lock")
            with lock.acquire(poll_interval=_POLL_SECONDS):
                head = self.head()
                payload = make(head)
                own = _own(head.number + 1, head.own, payload)
                record = Record(head.number + 1, payload, head.own, own, self._signer.sign(own))
                write_json(self._path(record.number), _document(record))
                return record

    def head(self) -> Head:
        """Return number and hash of the last record; IntegrityError when it is damaged."""
        numbers = self._numbers()
        if not numbers:
            return Head()
        record = self.get(numbers[-1])
        return Head(record.number, record.own)

    def get(self, number: int) -> Record:
        """Return a record; IntegrityError when it is absent, edited or not signed.

        Parameters
        ----------
        number : int
            Position, from 1.

        Returns
        -------
        Record
            Checked against its own hash and its signature.
        """
        fault, record = self._load(number)
        if record is None or fault:
            raise IntegrityError(
                str(self._path(number)),
                wanted="the record that was written",
                got=fault,
                hint="Restore the file from a copy; records are never edited by hand.",
            )
        return record

    def all(self) -> list[Record]:
        """Return all records, oldest first; IntegrityError at the first damaged one."""
        return [self.get(number) for number in self._numbers()]

    def faults(self) -> tuple[str, ...]:
        """Say in words what is wrong with the chain.

        Returns
        -------
        tuple of str
            One sentence per fault with the number of the record; empty for a whole chain.
        """
        found: list[str] = []
        expected, previous = 1, GENESIS
        for number in self._numbers():
            if number != expected:
                missing = f"record {expected}" + (
                    "" if number == expected + 1 else f" to {number - 1}"
                )
                found.append(f"{missing} is missing")
            fault, record = self._load(number)
            if fault:
                found.append(f"record {number}: {fault}")
            elif record is not None and number == expected and record.previous != previous:
                found.append(f"record {number} does not follow record {number - 1}")
            expected = number + 1
            previous = record.own if record is not None else ""
        return tuple(found)

    def _load(self, number: int) -> tuple[str, Record | None]:
        path = self._path(number)
        if not path.is_file():
            return "absent", None
        try:
            content = read_json(path)
            record = Record(**content)
            own = _own(record.number, record.previous, record.payload)
        except (IntegrityError, TypeError) as error:
            return f"no record ({str(error)[:80]})", None
        if record.number != number:
            return f"it is the record with number {record.number}", record
        if own != record.own:
            return "its content was edited: the hash does not match", record
        if not self._signer.is_valid(record.own, str(record.signature)):
            return "its signature is not valid for this results folder's key", record
        return "", record

    def _numbers(self) -> list[int]:
        names = (path.stem for path in self.folder.glob("*.json"))
        return sorted(int(name) for name in names if name.isdecimal())

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.json"


def _own(number: int, previous: str, payload: Payload) -> str:
    return sha256_json([number, previous, payload])


def _document(record: Record) -> dict[str, Any]:
    return {
        "number": record.number,
        "payload": record.payload,
        "previous": record.previous,
        "own": record.own,
        "signature": record.signature,
    }

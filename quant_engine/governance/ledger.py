"""Trial ledger: every configuration that anything ever evaluated, append-only, in files.

How an asking becomes a row:

1. `TrialLedger.record` checks the trial and hands it to the batch in progress, or to a batch of
   its own;
2. under the lock, what a killed writer left behind is repaired (`segments.repair_tail`) and the
   end of the file is compared with the noted head;
3. the rows are chained to the last row (`rows.encode_rows`), written in one piece and flushed;
4. the new head is noted. Only then is the batch acknowledged.

The same trial asked twice is one trial with two rows: the rows say who asked and when, and
`families` counts trials. N, effective N and the variance of Sharpe that a verdict used are written
down by `TrialLedger.consumed` together with the head of the ledger, so that a later reader can
check that nothing was taken away since.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.compute as pc
from filelock import FileLock

from quant_engine.artifacts.files import explained_os_errors, read_json, sync_folder, write_json
from quant_engine.artifacts.signing import Signer
from quant_engine.core.clock import Clock
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.trials import Trial
from quant_engine.governance.families import Family, TrialStatistics, count_families
from quant_engine.governance.records import Record, RecordChain
from quant_engine.governance.rows import Head, encode_rows, trial_fields
from quant_engine.governance.segments import (
    Segment,
    damaged,
    list_segments,
    read_rows,
    read_tail,
    repair_tail,
    seal,
    sealed_head,
    text_segment,
)
from quant_engine.governance.verification import Claim, LedgerCheck, verify_rows

LEDGER_SCHEMA: Final = "qe.ledger/1"
CONSUMPTION_SCHEMA: Final = "qe.ledger_consumption/1"
SEGMENT_BYTES = 32 * 1024 * 1024
"""Size at which a text segment is sealed: about 70,000 rows."""

BATCH_ROWS = 20_000
"""Rows that a batch holds in memory before it writes them."""

_POLL_SECONDS = 0.005
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LedgerUse:
    """What a verdict took from a ledger.

    Parameters
    ----------
    verdict : str
        Id of the verdict.
    family : str
        Family whose trials compete.
    n_trials : int
        Trials of the family.
    n_effective : float or None
        Effective number of independent trials; None when no returns were available.
    sharpe_variance : float or None
        Variance of the trials' Sharpe ratios per period; None without returns.
    effective_method : str
        How effective N was found; empty without returns.
    head_number : int
        Rows that the ledger held.
    head_own : str
        Hash of the last of them.
    promotable : bool
        False for a session ledger: nothing is promoted from it.
    """

    verdict: str
    family: str
    n_trials: int
    n_effective: float | None
    sharpe_variance: float | None
    effective_method: str
    head_number: int
    head_own: str
    promotable: bool

    def content(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


class Ledger(Protocol):
    """What a verdict needs of a ledger, whether it lies in files or in memory."""

    promotable: bool

    def record(self, trial: Trial) -> str:
        """Remember the trial and return its id."""
        ...

    def families(self, statistics: TrialStatistics | None = None) -> tuple[Family, ...]:
        """Count the trials of every family."""
        ...

    def consumed(
        self, verdict: str, family: str, statistics: TrialStatistics | None = None
    ) -> LedgerUse:
        """Count a family for a verdict and write down what the verdict takes."""
        ...

    def confirms(self, use: LedgerUse) -> bool:
        """Tell whether a verdict rests on rows that stand here and may lead to promotion."""
        ...


class TrialLedger:
    """The ledger of one folder, shared by any number of processes.

    Parameters
    ----------
    folder : Path
        Made at the first asking.
    clock : Clock
        Time of the rows.
    signer : Signer
        Key of the results folder; signs what verdicts consumed.
    promotable : bool
        False for the ledger of a notebook session. A folder keeps what it was made with.
    segment_bytes : int
        Size at which a text segment is sealed.

    Examples
    --------
    >>> import tempfile
    >>> from quant_engine.core.clock import FixedClock
    >>> clock = FixedClock(datetime(2026, 1, 2, tzinfo=UTC))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     signer = Signer(Path(folder) / "key")
    ...     ledger = TrialLedger(Path(folder) / "ledger", clock=clock, signer=signer)
    ...     with ledger.batch():
    ...         for spec in ("a", "b", "a"):
    ...             _ = ledger.record(Trial("alpha", spec, "data", "split", "example"))
    ...     [(f.family, f.n_trials, f.n_askings) for f in ledger.families()]
    [('alpha', 2, 3)]
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock,
        signer: Signer,
        promotable: bool = True,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self.folder = folder
        self.promotable = promotable
        self._clock = clock
        self._signer = signer
        self._segment_bytes = segment_bytes
        self._consumptions = RecordChain(folder / "consumed", signer=signer)
        self._local = threading.local()
        self._known: tuple[int, int, Head] | None = None
        self._check_kind()

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild in another process from folder, clock and key; batches do not travel."""
        made = (self.folder, self._clock, self._signer, self.promotable, self._segment_bytes)
        return _reopen, made

    def record(self, trial: Trial) -> str:
        """Write one asking, or add it to the batch in progress.

        Parameters
        ----------
        trial : Trial
            What is evaluated.

        Returns
        -------
        str
            Id of the trial. Outside a batch the row is on disk when this returns; inside, when
            the batch ends.

        Raises
        ------
        ConfigError
            For a trial that does not fit on a line.
        IntegrityError
            When the end of the ledger is damaged; nothing is chained to it.
        """
        asking = (microseconds(self._clock), trial_fields(trial))
        pending: list[tuple[int, tuple[str, ...]]] | None = getattr(self._local, "pending", None)
        if pending is None:
            self._append([asking])
        else:
            pending.append(asking)
            if len(pending) >= BATCH_ROWS:
                self._append(pending)
                pending.clear()
        return trial.trial_id()

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Collect the askings of this thread and write them in one piece, flushed once.

        What was recorded before an error is written too: it was evaluated. An inner batch is
        part of the outer one.
        """
        if getattr(self._local, "pending", None) is not None:
            yield
            return
        self._local.pending = []
        try:
            yield
        finally:
            pending, self._local.pending = self._local.pending, None
            if pending:
                self._append(pending)

    def read(self, columns: tuple[str, ...] | None = None) -> pa.Table:
        """Return the columns of all rows; see :func:`segments.read_rows`."""
        return read_rows(self.folder, columns)

    def head(self) -> Head:
        """Return number and hash of the last whole row."""
        while True:
            head = Head()
            try:
                for segment in list_segments(self.folder)[-2:]:
                    is_sealed = segment.is_sealed
                    head = sealed_head(segment) if is_sealed else read_tail(segment, head)[0]
            except FileNotFoundError:
                continue  # sealed between the listing and the reading
            return head

    def families(self, statistics: TrialStatistics | None = None) -> tuple[Family, ...]:
        """Count the trials of every family.

        Parameters
        ----------
        statistics : TrialStatistics, optional
            Return matrices and the function that turns them into effective N and variance.

        Returns
        -------
        tuple of Family
            In alphabetical order.
        """
        return count_families(self.read(), statistics)

    def consumed(
        self, verdict: str, family: str, statistics: TrialStatistics | None = None
    ) -> LedgerUse:
        """Count a family for a verdict, and write down, signed, what the verdict takes.

        Parameters
        ----------
        verdict : str
            Id of the verdict.
        family : str
            Family whose trials compete.
        statistics : TrialStatistics, optional
            See :meth:`families`.

        Returns
        -------
        LedgerUse
            N, effective N, variance and the head they were counted at.

        Raises
        ------
        ConfigError
            When the ledger holds no trial of the family.
        """
        use = count_use(self.read(), verdict, family, statistics, promotable=self.promotable)
        at = self._clock.now().isoformat(timespec="seconds")
        payload = {"schema": CONSUMPTION_SCHEMA, "at": at, **use.content()}
        self._consumptions.append(lambda _: payload)
        return use

    def looks_at(self, family: str) -> int:
        """Count how often a family was judged, each time with more trials than before.

        Parameters
        ----------
        family : str
            Family of trials.

        Returns
        -------
        int
            Number of the newest look, from 1, once it is written down. Judging again, or judging
            another member, on the same trials is the same look: step-down max-T covers all members
            at once.
        """
        payloads = (record.payload for record in self.consumptions())
        return len({entry["n_trials"] for entry in payloads if entry["family"] == family})

    def consumptions(self) -> list[Record]:
        """Return what each verdict used, oldest first."""
        return self._consumptions.all()

    def confirms(self, use: LedgerUse) -> bool:
        """Tell whether a verdict rests on rows that stand here and may lead to promotion.

        Parameters
        ----------
        use : LedgerUse
            What the verdict took.

        Returns
        -------
        bool
            True when this ledger is promotable, wrote that consumption down, and still holds the
            row that was its head then.
        """
        if not (self.promotable and use.promotable):
            return False
        content = use.content()
        told = (record.payload for record in self._consumptions.all())
        if not any({name: entry.get(name) for name in content} == content for entry in told):
            return False
        own = self.read(("own",))["own"]
        is_here = 0 < use.head_number <= len(own)
        return is_here and own[use.head_number - 1].as_py().hex() == use.head_own

    def verify(self) -> LedgerCheck:
        """Recompute every hash and compare all that the ledger says about itself.

        Returns
        -------
        LedgerCheck
            With every fault and its position: edited, missing and inserted rows, rows cut off at
            the end, and consumptions that name rows which do not stand here.
        """
        # Claims are read before rows, so that what is appended meanwhile is no fault.
        faults = [f"what verdicts used: {fault}" for fault in self._consumptions.faults()]
        claims = []
        noted = self._noted()
        if noted is not None and noted.number:
            claims.append(Claim("the noted head", noted))
        for number, record in enumerate([] if faults else self._consumptions.all(), start=1):
            entry = record.payload
            head = Head(int(entry["head_number"]), str(entry["head_own"]))
            claims.append(Claim(f"verdict {entry['verdict']!r} (record {number})", head))
        check = verify_rows(self.folder, claims)
        if noted is None and check.n_rows:
            faults.append("the noted head is absent")
        return LedgerCheck(check.n_rows, check.head, (*check.faults, *faults))

    def _append(self, batch: list[tuple[int, tuple[str, ...]]]) -> None:
        with explained_os_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / "ledger.lock")
            with lock.acquire(poll_interval=_POLL_SECONDS):
                segment, head = self._open_end()
                lines, head = encode_rows(batch, head)
                self._known = None
                size = _append_flushed(segment.path, lines)
                self._note(head)
                self._known = (segment.number, size, head)

    def _open_end(self) -> tuple[Segment, Head]:
        """Return the segment to append to and the last row, after repair; under the lock."""
        self._make()
        segments = list_segments(self.folder)
        if not segments:
            return text_segment(self.folder, 1), Head()
        last = segments[-1]
        before = sealed_head(segments[-2]) if len(segments) > 1 else Head()
        if last.is_sealed:
            head = sealed_head(last)
            self._check_noted(head)
            # What a killed sealing did not come to remove.
            text_segment(self.folder, last.number).path.unlink(missing_ok=True)
            return text_segment(self.folder, last.number + 1), head
        size = last.path.stat().st_size
        if self._known is not None and self._known[:2] == (last.number, size):
            head = self._known[2]
        else:
            head, whole = read_tail(last, before)
            if whole < size:
                head = repair_tail(last, head, whole)
            self._check_noted(head)
        if size < self._segment_bytes or head == before:
            return last, head
        seal(last, before)
        return text_segment(self.folder, last.number + 1), head

    def _make(self) -> None:
        path = self.folder / "ledger.json"
        if not path.is_file():
            self._note(Head())
            write_json(path, {"schema": LEDGER_SCHEMA, "promotable": self.promotable})
        self._check_kind()

    def _check_kind(self) -> None:
        path = self.folder / "ledger.json"
        if not path.is_file():
            return
        wanted = {"schema": LEDGER_SCHEMA, "promotable": self.promotable}
        content = read_json(path)
        if content != wanted:
            raise ConfigError(
                str(path),
                wanted=f"a ledger {wanted}",
                got=str(content)[:120],
                hint="Nothing is promoted from a session's ledger; give each its own folder.",
            )

    def _note(self, head: Head) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC
        descriptor = os.open(self.folder / "head.txt", flags, 0o666)
        try:
            os.pwrite(descriptor, f"{head.number:020d} {head.own}\n".encode("ascii"), 0)
        finally:
            os.close(descriptor)

    def _noted(self) -> Head | None:
        path = self.folder / "head.txt"
        text = path.read_bytes().decode("ascii", "replace") if path.is_file() else ""
        number, _, own = text.strip().partition(" ")
        return Head(int(number), own) if number.isdecimal() and own else None

    def _check_noted(self, head: Head) -> None:
        noted = self._noted()
        if noted is None:
            raise damaged(self.folder, "the noted head is absent")
        if noted.number > head.number or (noted.number == head.number and noted.own != head.own):
            raise damaged(
                self.folder, f"the last row is {head.number}, but row {noted.number} was written"
            )


def count_use(
    rows: pa.Table,
    verdict: str,
    family: str,
    statistics: TrialStatistics | None,
    *,
    promotable: bool,
) -> LedgerUse:
    """Count one family for a verdict.

    Parameters
    ----------
    rows : pyarrow.Table
        All columns of a ledger.
    verdict : str
        Id of the verdict.
    family : str
        Family whose trials compete.
    statistics : TrialStatistics or None
        Returns of its trials.
    promotable : bool
        Whether the ledger may lead to promotion.

    Returns
    -------
    LedgerUse
        With the last row as head.

    Raises
    ------
    ConfigError
        When there is no trial of the family.
    """
    mine = rows.filter(pc.equal(rows["family"], family))
    if not mine.num_rows:
        raise ConfigError(
            "family",
            wanted="a family with at least one trial",
            got=repr(family),
            hint=did_you_mean(family, pc.unique(rows["family"]).to_pylist()),
        )
    (found,) = count_families(mine, statistics)
    return LedgerUse(
        verdict=verdict,
        family=family,
        n_trials=found.n_trials,
        n_effective=found.n_effective,
        sharpe_variance=found.sharpe_variance,
        effective_method=found.effective_method,
        head_number=rows["number"][-1].as_py(),
        head_own=rows["own"][-1].as_py().hex(),
        promotable=promotable,
    )


def microseconds(clock: Clock) -> int:
    """Return a clock's instant in microseconds since 1970, UTC.

    Parameters
    ----------
    clock : Clock
        Any clock.

    Returns
    -------
    int
        Exact, without rounding through a float.
    """
    return (clock.now() - _EPOCH) // timedelta(microseconds=1)


def _append_flushed(path: Path, data: bytes) -> int:
    """Append in one piece, flush to the disk, and return the size afterwards."""
    is_new = not path.is_file()
    with path.open("ab", buffering=0) as stream:
        left = memoryview(data)
        while left:
            left = left[stream.write(left) :]
        os.fsync(stream.fileno())
        size = stream.tell()
    if is_new:
        sync_folder(path.parent)
    return size


def _reopen(
    folder: Path, clock: Clock, signer: Signer, promotable: bool, segment_bytes: int
) -> TrialLedger:
    return TrialLedger(
        folder, clock=clock, signer=signer, promotable=promotable, segment_bytes=segment_bytes
    )

"""Ledger of a session: the same questions and answers, kept in memory; nothing is promoted."""

from __future__ import annotations

import pyarrow as pa

from quant_engine.core.clock import Clock
from quant_engine.core.trials import Trial
from quant_engine.governance.families import Family, TrialStatistics, count_families
from quant_engine.governance.ledger import LedgerUse, count_use, microseconds
from quant_engine.governance.rows import GENESIS, TRIAL_FIELDS, own_hash, row_text, trial_fields
from quant_engine.governance.segments import SCHEMA


class SessionLedger:
    """A ledger that lives as long as a notebook or a test.

    For a session that must survive, open a `TrialLedger` with ``promotable=False`` in a folder of
    its own.

    Parameters
    ----------
    clock : Clock
        Time of the rows.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from quant_engine.core.clock import FixedClock
    >>> ledger = SessionLedger(clock=FixedClock(datetime(2026, 1, 2, tzinfo=UTC)))
    >>> _ = ledger.record(Trial("alpha", "a", "data", "split", "notebook"))
    >>> use = ledger.consumed("v1", "alpha")
    >>> use.n_trials, use.promotable, ledger.confirms(use)
    (1, False, False)
    """

    promotable = False

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock
        self._rows: list[tuple[int, tuple[str, ...], str]] = []
        self.uses: list[LedgerUse] = []

    def record(self, trial: Trial) -> str:
        """Remember one asking and return the trial's id."""
        fields, at_us = trial_fields(trial), microseconds(self._clock)
        previous = self._rows[-1][2] if self._rows else GENESIS
        own = own_hash(row_text(len(self._rows) + 1, at_us, fields, previous))
        self._rows.append((at_us, fields, own))
        return trial.trial_id()

    def read(self) -> pa.Table:
        """Return all rows with the columns of a ledger in files."""
        values = {
            "number": list(range(1, len(self._rows) + 1)),
            "at_us": [at_us for at_us, _, _ in self._rows],
            **{
                name: [fields[place] for _, fields, _ in self._rows]
                for place, name in enumerate(TRIAL_FIELDS)
            },
            "own": [bytes.fromhex(own) for _, _, own in self._rows],
        }
        columns = [pa.array(values[field.name], field.type) for field in SCHEMA]
        return pa.table(columns, schema=SCHEMA)

    def families(self, statistics: TrialStatistics | None = None) -> tuple[Family, ...]:
        """Count the trials of every family; see :func:`families.count_families`."""
        return count_families(self.read(), statistics)

    def consumed(
        self, verdict: str, family: str, statistics: TrialStatistics | None = None
    ) -> LedgerUse:
        """Count a family for a verdict and remember what the verdict takes.

        Parameters
        ----------
        verdict : str
            Id of the verdict.
        family : str
            Family whose trials compete.
        statistics : TrialStatistics, optional
            Returns of its trials.

        Returns
        -------
        LedgerUse
            Never promotable.
        """
        use = count_use(self.read(), verdict, family, statistics, promotable=False)
        self.uses.append(use)
        return use

    def confirms(self, use: LedgerUse) -> bool:
        """Return False: nothing is promoted from a session, whatever the use says."""
        del use
        return False

"""Quality report: what was found, what was done, per symbol and per finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from quant_engine.core.hashing import finite_or_none

__all__ = ["FINDING_COLUMNS", "QualityReport"]

FINDING_COLUMNS = ("asset_id", "ticker", "session", "rule", "action", "value", "message")
_SHOWN = 15


@dataclass(frozen=True, eq=False)
class QualityReport:
    """The outcome of a quality check.

    Parameters
    ----------
    profile : str
        Name of the profile.
    profile_id : str
        Hash of its content.
    calendar : str
        Exchange whose sessions counted.
    as_of : str or None
        Dates after it were in the future; None = not checked.
    findings : DataFrame
        Columns ``asset_id, ticker, session, rule, action, value, message``; ``session`` is NaT for
        findings about a whole symbol. Sorted by rule order, ticker, session.
    symbols : DataFrame
        Indexed by ticker: ``n_rows_in``, ``n_rows_out``, ``first``, ``last``, ``missing_frac``,
        ``zero_volume_frac``, ``n_findings``, ``status`` (``ok``, ``degraded`` when a symbol rule
        fired, ``quarantined``).
    n_rows_in, n_rows_out : int
        Rows before and after.

    Examples
    --------
    >>> from quant_engine.core.panel import PriceBasis
    >>> from quant_engine.core.specs import SpecCatalog
    >>> from quant_engine.data.bars import LoadedBars
    >>> from quant_engine.data.quality import QualityProfile, check_quality
    >>> prices = {n: [1.0, 1.0] for n in ("open", "high", "low", "close", "volume")}
    >>> bars = LoadedBars.from_columns(ticker=["A", "A"], session=["2020-01-03", "2020-01-04"],
    ...     fields=prices, vendor="example", price_basis=PriceBasis.RAW)
    >>> profile = SpecCatalog.default().load("quality", "default", QualityProfile)
    >>> clean, report = check_quality(bars, profile.model_copy(
    ...     update={"max_non_session_frac": 0.6}))
    >>> clean.n_rows, report.counts()
    (1, {'non_sessions': 1, 'rejected_share': 1})
    """

    profile: str
    profile_id: str
    calendar: str
    as_of: str | None
    findings: pd.DataFrame
    symbols: pd.DataFrame
    n_rows_in: int
    n_rows_out: int

    def counts(self) -> dict[str, int]:
        """Return the number of findings per rule."""
        counted = self.findings["rule"].value_counts(sort=False)
        return {str(rule): int(n) for rule, n in counts_in_order(counted).items()}

    def of(self, rule: str) -> pd.DataFrame:
        """Return the findings of one rule."""
        return self.findings[self.findings["rule"] == rule]

    def quarantined(self) -> tuple[str, ...]:
        """Return the symbols that were dropped as a whole."""
        return tuple(self.symbols.index[self.symbols["status"] == "quarantined"])

    def degraded(self) -> tuple[str, ...]:
        """Return the symbols that were kept although a symbol rule fired."""
        return tuple(self.symbols.index[self.symbols["status"] == "degraded"])

    def as_dict(self) -> dict[str, Any]:
        """Return the summary as plain JSON values (the tables are kept as frames)."""
        worst = self.symbols["missing_frac"].max() if len(self.symbols) else None
        return {
            "profile": self.profile,
            "profile_id": self.profile_id,
            "calendar": self.calendar,
            "as_of": self.as_of,
            "n_rows_in": self.n_rows_in,
            "n_rows_out": self.n_rows_out,
            "n_symbols": len(self.symbols),
            "n_quarantined": len(self.quarantined()),
            "n_degraded": len(self.degraded()),
            "worst_missing_frac": finite_or_none(worst),
            "findings": self.counts(),
        }

    def text(self, shown: int = _SHOWN) -> str:
        """Return the report as lines for a terminal.

        Parameters
        ----------
        shown : int
            Findings printed in full; the largest changes first.

        Returns
        -------
        str
        """
        lost = self.n_rows_in - self.n_rows_out
        lines = [
            f"quality profile {self.profile}: {self.n_rows_in:,} rows of "
            f"{len(self.symbols):,} symbols, {lost:,} rows removed",
        ]
        for rule, count in self.counts().items():
            action = self.of(rule)["action"].iloc[0]
            lines.append(f"  {rule:<24}{count:>8,}  {action}")
        for status in ("quarantined", "degraded"):
            names = self.symbols.index[self.symbols["status"] == status]
            if len(names):
                lines.append(f"{status}: {', '.join(names[:shown])}" + _more(len(names), shown))
        jumps = self.findings[self.findings["rule"].isin(_JUMP_RULES)]
        for row in jumps.head(shown).itertuples():
            lines.append(f"  {row.ticker} {row.session.date()} {row.rule}: {row.message}")
        if len(jumps) > shown:
            lines.append(f"  and {len(jumps) - shown:,} more price changes in the findings table")
        return "\n".join(lines)


_JUMP_RULES = ("flip_flop", "suspected_split", "suspected_spin_off")


def counts_in_order(counted: pd.Series) -> Mapping[str, int]:
    """Return counts in the order in which rules first appear."""
    return counted[counted > 0].to_dict()


def _more(total: int, shown: int) -> str:
    return f" and {total - shown} more" if total > shown else ""

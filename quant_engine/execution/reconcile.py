"""Reconciliation: what we think we hold against what the broker says.

Contract: nothing is corrected here. Every difference is a record with its kind; kinds that mean
that somebody else trades the account, or that we misread a side, ask for safe mode.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.execution.broker import Account

__all__ = ["AccountDifference", "ReconcileRules", "Reconciliation", "reconcile"]

DifferenceKind = Literal["unknown", "opposite", "missing", "size", "cash"]


class ReconcileRules(FrozenConfig):
    """How much two accounts may differ, and what is alarming.

    Parameters
    ----------
    tolerance_shares : float
        Largest difference of a position that counts as equal, shares.
    tolerance_cash_usd : float
        The same for cash, currency.
    safe_mode_on : tuple of str
        Kinds of difference that ask for safe mode: ``unknown`` (a position that we do not have),
        ``opposite`` (the other side), ``missing``, ``size``, ``cash``.

    Examples
    --------
    >>> ReconcileRules().safe_mode_on
    ('unknown', 'opposite')
    """

    tolerance_shares: float = Field(default=0.01, ge=0.0)
    tolerance_cash_usd: float = Field(default=5.0, ge=0.0)
    safe_mode_on: tuple[DifferenceKind, ...] = ("unknown", "opposite")


class AccountDifference(NamedTuple):
    """One thing on which the accounts disagree.

    Parameters
    ----------
    kind : {"unknown", "opposite", "missing", "size", "cash"}
        See `ReconcileRules`.
    asset_id : str
        Asset; empty for cash.
    expected, reported : float
        Ours and the broker's: shares, or currency for cash.
    """

    kind: DifferenceKind
    asset_id: str
    expected: float
    reported: float


@dataclass(frozen=True)
class Reconciliation:
    """Result of a comparison.

    Parameters
    ----------
    differences : tuple of AccountDifference
        In ascending order of asset id, cash last; empty = the accounts agree.
    safe_mode_reasons : tuple of str
        Why safe mode is asked for, ready for `Latch.trip`; empty = it is not.
    """

    differences: tuple[AccountDifference, ...]
    safe_mode_reasons: tuple[str, ...]

    @property
    def unknown_assets(self) -> tuple[str, ...]:
        """Assets that only the broker holds."""
        return tuple(found.asset_id for found in self.differences if found.kind == "unknown")


def reconcile(
    expected: Account, reported: Account, *, rules: ReconcileRules | None = None
) -> Reconciliation:
    """Compare two accounts.

    Parameters
    ----------
    expected : Account
        Ours, from our own records of fills.
    reported : Account
        The broker's.
    rules : ReconcileRules, optional
        Tolerances and alarming kinds.

    Returns
    -------
    Reconciliation
        All differences beyond the tolerances.

    Raises
    ------
    DataError
        A position or cash that is not finite.

    Examples
    --------
    >>> found = reconcile(Account(10.0), Account(10.0, {"A@US#1": 3.0}))
    >>> found.safe_mode_reasons
    ('unknown position in A@US#1: expected 0, reported 3 shares',)
    """
    rules = ReconcileRules() if rules is None else rules
    found: list[AccountDifference] = []
    for asset in sorted({*expected.positions, *reported.positions}):
        ours, theirs = expected.positions.get(asset, 0.0), reported.positions.get(asset, 0.0)
        _check_finite(asset, ours, theirs)
        if abs(theirs - ours) > rules.tolerance_shares:
            kind = _kind(ours, theirs, rules.tolerance_shares)
            found.append(AccountDifference(kind, asset, ours, theirs))
    _check_finite("cash", expected.cash, reported.cash)
    if abs(reported.cash - expected.cash) > rules.tolerance_cash_usd:
        found.append(AccountDifference("cash", "", expected.cash, reported.cash))
    reasons = tuple(_reason(item) for item in found if item.kind in rules.safe_mode_on)
    return Reconciliation(tuple(found), reasons)


def _kind(ours: float, theirs: float, tolerance: float) -> DifferenceKind:
    if abs(ours) <= tolerance:
        return "unknown"
    if abs(theirs) <= tolerance:
        return "missing"
    return "opposite" if ours * theirs < 0.0 else "size"


def _reason(found: AccountDifference) -> str:
    what = f"{found.kind} position in {found.asset_id}" if found.asset_id else "cash"
    unit = "shares" if found.asset_id else "currency"
    return f"{what}: expected {found.expected:g}, reported {found.reported:g} {unit}"


def _check_finite(name: str, ours: float, theirs: float) -> None:
    if not math.isfinite(ours) or not math.isfinite(theirs):
        raise DataError(
            f"account {name}",
            wanted="finite numbers",
            got=f"expected {ours}, reported {theirs}",
            hint="An account that cannot be read is not reconciled; ask the broker again.",
        )

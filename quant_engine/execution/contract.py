"""Execution contract: the trade that a label promises and that fills have to keep.

A label says what a decision would have earned under some entry, exit, holding period and prices. A
backtest that trades otherwise tests another promise. Whoever makes labels writes the contract
beside the model; whoever fills orders states its own and asks for the differences.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, NamedTuple

from pydantic import Field

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import PriceBasis
from quant_engine.execution.delistings import TerminalReturns

__all__ = ["ContractDifference", "ExecutionContract"]


class ContractDifference(NamedTuple):
    """One term on which two contracts differ.

    Parameters
    ----------
    term : str
        Name of the field.
    promised, kept : object
        Its value in the label's contract, and in that of the fills.
    """

    term: str
    promised: object
    kept: object


class ExecutionContract(FrozenConfig):
    """Terms of one trade, from decision to exit.

    Parameters
    ----------
    return_type : {"total", "price"}
        Whether dividends and delisting payments count.
    horizon_sessions : int
        Sessions from entry to exit, for an exit at a barrier the longest.
    price_basis : PriceBasis
        Basis of entry and exit prices.
    entry_lag : int
        Sessions from decision to entry; 0 = the close of the decision session itself.
    entry_price : {"open", "close", "vwap_proxy", "vwap"}
        Price of the entry session; ``vwap_proxy`` = (high + low + close) / 3, ``vwap`` = average
        price of the session by volume.
    exit_price : {"open", "close", "vwap_proxy", "vwap", "barrier"}
        Price of the exit session; ``barrier`` = where an order rests, the open after a gap.
    terminal : TerminalReturns
        What a delisting pays where nobody says.
    direction : {"score", "primary"}
        Whether a high score means the asset itself, or that the side of a primary signal is right.
        Left out of the content, and so of the id, where it is the score.
    costs : str
        Digest of the cost profile that the label is net of. Empty = gross: nothing is promised
        about costs, and every profile keeps it. Left out of the content where empty.

    Examples
    --------
    >>> labels = ExecutionContract(horizon_sessions=10, price_basis=PriceBasis.SPLIT_ADJ)
    >>> fills = ExecutionContract(horizon_sessions=5, price_basis=PriceBasis.SPLIT_ADJ)
    >>> labels.differences(fills)
    (ContractDifference(term='horizon_sessions', promised=10, kept=5),)
    """

    return_type: Literal["total", "price"] = "total"
    horizon_sessions: int = Field(ge=1)
    price_basis: PriceBasis
    entry_lag: int = Field(default=1, ge=0)
    entry_price: Literal["open", "close", "vwap_proxy", "vwap"] = "open"
    exit_price: Literal["open", "close", "vwap_proxy", "vwap", "barrier"] = "open"
    terminal: TerminalReturns = TerminalReturns()
    direction: Literal["score", "primary"] = Field(
        default="score", exclude_if=lambda value: value == "score"
    )
    costs: str = Field(default="", exclude_if=lambda text: not text)

    def contract_id(self) -> str:
        """Digest of the terms (64 hexadecimal characters)."""
        return sha256_json(self.content())

    def differences(self, fills: ExecutionContract) -> tuple[ContractDifference, ...]:
        """Terms on which the fills do not keep this contract, in the order of the fields.

        Parameters
        ----------
        fills : ExecutionContract
            Terms of the orders that trade the predictions.

        Returns
        -------
        tuple of ContractDifference
            Empty when both are the same.
        """
        promised, kept = self._terms(), fills._terms()
        if not self.costs:
            del promised["costs"]
        return tuple(
            ContractDifference(term, promised[term], kept[term])
            for term in promised
            if promised[term] != kept[term]
        )

    def _terms(self) -> dict[str, object]:
        """All terms as plain values, those that the content leaves out included."""
        content = self.content()
        return {name: content.get(name, getattr(self, name)) for name in type(self).model_fields}

    def require_kept(self, fills: ExecutionContract, *, except_terms: Collection[str] = ()) -> None:
        """Refuse fills that do not keep this contract.

        Parameters
        ----------
        fills : ExecutionContract
            Terms of the orders.
        except_terms : collection of str
            Terms that may differ, because the caller reports them instead.

        Raises
        ------
        ConfigError
            Naming every other term that differs.
        """
        broken = [found for found in self.differences(fills) if found.term not in except_terms]
        if broken:
            raise ConfigError(
                "execution contract",
                wanted="; ".join(f"{found.term} {found.promised}" for found in broken),
                got="; ".join(f"{found.term} {found.kept}" for found in broken),
                hint="Trade as the labels were made, or train on labels of these fills.",
            )

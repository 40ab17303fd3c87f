"""One market's order book: two bid ladders in integers, whole or declared unknown."""

from __future__ import annotations

from dataclasses import dataclass

from quant_engine.kalshi.exchange.fixed import ONE_DOLLAR_E4
from quant_engine.kalshi.exchange.records import BookSnapshot

__all__ = ["BookGap", "OrderBook", "Top"]


@dataclass(frozen=True)
class Top:
    """Best quotes of the yes side; None = nobody quotes.

    Parameters
    ----------
    bid_e4, ask_e4 : int, optional
        1e-4 dollars. The ask is 1 dollar less the best bid for no.
    bid_size_c2, ask_size_c2 : int
        0.01 contracts; 0 where there is no quote.
    """

    bid_e4: int | None
    ask_e4: int | None
    bid_size_c2: int
    ask_size_c2: int


@dataclass(frozen=True)
class BookGap:
    """A stretch in which a book was not known; what was shown inside it may be wrong.

    Parameters
    ----------
    ticker : str
        Market.
    sid : int
        Subscription.
    reason : str
        Why it began.
    from_seq, to_seq : int
        Last number that was applied before, and number of the snapshot that ended it.
    from_us, to_us : int
        The same in local time: the book was last known to be right at the first instant.
    """

    ticker: str
    sid: int
    reason: str
    from_seq: int
    to_seq: int
    from_us: int
    to_us: int


class OrderBook:
    """Levels of one market.

    Parameters
    ----------
    ticker : str
        Market.

    Attributes
    ----------
    yes, no : dict of int to int
        Price in 1e-4 dollars to size in 0.01 contracts; no entry is 0 or negative.
    is_known : bool
        False before the first snapshot and inside gaps; the levels mean nothing then.

    Examples
    --------
    >>> book = OrderBook("T")
    >>> book.restore(BookSnapshot("T", yes=((4000, 100),), no=((5500, 200),)))
    >>> book.top()
    Top(bid_e4=4000, ask_e4=4500, bid_size_c2=100, ask_size_c2=200)
    >>> book.apply("yes", 4000, -100)
    True
    >>> book.top().bid_e4 is None
    True
    """

    __slots__ = ("is_known", "no", "ticker", "yes")

    def __init__(self, ticker: str) -> None:
        self.ticker = ticker
        self.yes: dict[int, int] = {}
        self.no: dict[int, int] = {}
        self.is_known = False

    def restore(self, snapshot: BookSnapshot) -> None:
        """Replace all levels; the book is known afterwards."""
        self.yes = dict(snapshot.yes)
        self.no = dict(snapshot.no)
        self.is_known = True

    def apply(self, side: str, price_e4: int, delta_c2: int) -> bool:
        """Add a signed size to one level.

        Parameters
        ----------
        side : str
            ``yes`` or ``no``.
        price_e4 : int
            1e-4 dollars.
        delta_c2 : int
            Signed 0.01 contracts.

        Returns
        -------
        bool
            False when the level would become negative: a message is missing. Nothing is changed.
        """
        levels = self.yes if side == "yes" else self.no
        size = levels.get(price_e4, 0) + delta_c2
        if size > 0:
            levels[price_e4] = size
            return True
        if size == 0:
            levels.pop(price_e4, None)
            return True
        return False

    def top(self) -> Top:
        """Best quotes of the yes side."""
        bid = max(self.yes, default=None)
        no_bid = max(self.no, default=None)
        return Top(
            bid_e4=bid,
            ask_e4=None if no_bid is None else ONE_DOLLAR_E4 - no_bid,
            bid_size_c2=0 if bid is None else self.yes[bid],
            ask_size_c2=0 if no_bid is None else self.no[no_bid],
        )

    def snapshot(self) -> BookSnapshot:
        """All levels as a value, best first."""
        return BookSnapshot(
            self.ticker,
            yes=tuple(sorted(self.yes.items(), reverse=True)),
            no=tuple(sorted(self.no.items(), reverse=True)),
        )

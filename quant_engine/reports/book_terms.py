"""The terms of a simulated book in sentences: fills, holding, sizing, trading rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["book_terms"]

_FILLS = {
    "next_open": "at the open of session t + 1",
    "next_close": "at the close of session t + 1",
    "next_vwap_proxy": "at (high + low + close) / 3 of session t + 1",
    "next_vwap": "at the volume-weighted price of session t + 1",
}
_WEIGHTINGS = {
    "portfolio": "weights of the portfolio",
    "equal": "equal weights",
    "inverse_volatility": "weights by inverse volatility",
}


def book_terms(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Say how a book filled, held, sized and traded.

    Parameters
    ----------
    settings : mapping
        Document ``settings`` of a stored backtest: ``backtest``, and ``rules`` where there are
        some.

    Returns
    -------
    tuple of str
        One sentence each, starting with its subject.

    Examples
    --------
    >>> held = {"rebalance": "staggered", "rebalance_sessions": 10}
    >>> for line in book_terms({"backtest": {"fill": "next_open", "portfolio": held}}):
    ...     print(line)
    Fill: at the open of session t + 1, never on the bar that made the signal.
    Holding: staggered rebalancing over 10 sessions.
    Sizing: weights of the portfolio.
    Trading rules: fractions of a share, no smallest order, no margin.
    """
    book, rules = settings["backtest"], settings.get("rules")
    source = book if rules is None else rules
    if source.get("unsafe_same_bar"):
        fill = "Fill: at the close of the bar that made the signal, which nobody could have done."
    else:
        fill = f"Fill: {_FILLS[source['fill']]}, never on the bar that made the signal."
    if rules is None:
        held = book["portfolio"]
        holding = f"{held['rebalance']} rebalancing over {held['rebalance_sessions']} sessions."
        sizing = _sizing(book.get("sizing"))
    else:
        span = rules["holding_sessions"]
        until = f"for {span} sessions" if span else "until an exit"
        holding = f"single positions by rules, {until} or to a stop, target or signal before."
        sizing = (
            f"{rules['position_frac']:.1%} a position, at most {rules['max_positions']} of them."
        )
    return (fill, f"Holding: {holding}", f"Sizing: {sizing}", _trading(book.get("trading") or {}))


def _sizing(sizing: Mapping[str, Any] | None) -> str:
    if sizing is None:
        return "weights of the portfolio."
    parts = [_WEIGHTINGS[sizing["weighting"]]]
    if sizing["target"] is not None:
        target = sizing["target"]
        parts.append(
            f"volatility target {target['target_ann']:.1%} a year, at most "
            f"{target['max_leverage']:g} times the book"
        )
    if sizing["kelly"] is not None:
        parts.append(f"{sizing['kelly']['fraction']:g} of what Kelly's rule gives")
    caps = {
        name.removeprefix("max_").removesuffix("_frac").replace("_", " "): limit
        for name, limit in sizing["caps"].items()
        if isinstance(limit, int | float) and not isinstance(limit, bool)
    }
    if caps:
        parts.append("at most " + ", ".join(f"{limit:.0%} {name}" for name, limit in caps.items()))
    return "; ".join(parts) + "."


def _trading(trading: Mapping[str, Any]) -> str:
    lot, least = trading.get("lot_shares", 0.0), trading.get("min_notional_usd", 0.0)
    margin, gross = trading.get("maintenance_margin_frac"), trading.get("max_gross_frac")
    parts = [
        f"lots of {lot:g} shares" if lot else "fractions of a share",
        f"no order below {least:,.0f}" if least else "no smallest order",
        f"margin call below {margin:.0%} of the positions" if margin else "no margin",
    ]
    if gross:
        parts.append(f"refused above {gross:.0%} of equity")
    return f"Trading rules: {', '.join(parts)}."

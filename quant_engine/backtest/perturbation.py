"""Perturbation: neighbouring books, each of them one more configuration that was evaluated.

A result that only holds for one share of names, one holding period and one schedule was found by
looking for it. Every variant that is simulated is a trial; whoever runs them counts them.
"""

from __future__ import annotations

from quant_engine.backtest.config import BacktestConfig
from quant_engine.backtest.portfolio import PortfolioConfig
from quant_engine.backtest.rules import RuleConfig
from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import build_config

SIZE_FACTORS = (0.5, 2.0)
HOLDING_FACTORS = (0.5, 2.0)
ENTRY_FACTORS = (0.8, 1.2)
FRACTIONS = ("hard_stop_frac", "trailing_stop_frac")
STOP_DISTANCES = (*FRACTIONS, "atr_stop_multiple", "trailing_atr_multiple")


def neighbouring_books(
    config: BacktestConfig,
    *,
    size_factors: tuple[float, ...] = SIZE_FACTORS,
    holding_factors: tuple[float, ...] = HOLDING_FACTORS,
) -> dict[str, BacktestConfig]:
    """Books that differ in one setting: names per side, holding period or schedule.

    Parameters
    ----------
    config : BacktestConfig
        The book.
    size_factors : tuple of float
        Factors on the names (or the share of names) per side; a share stays at most 0.5.
    holding_factors : tuple of float
        Factors on the holding period, rounded to sessions, at least 1.

    Returns
    -------
    dict of str to BacktestConfig
        By a name that says what differs; a factor that changes nothing gives no variant.

    Raises
    ------
    ConfigError
        A factor that is not positive.

    Examples
    --------
    >>> book = PortfolioConfig(
    ...     names_per_side=None, fraction_per_side=0.1, rebalance="staggered", rebalance_sessions=5
    ... )
    >>> sorted(neighbouring_books(BacktestConfig(portfolio=book)))
    ['fraction 0.05', 'fraction 0.2', 'full rebalance', 'holding 10', 'holding 2']
    """
    factors = (*size_factors, *holding_factors)
    if any(factor <= 0.0 for factor in factors):
        raise ConfigError("factors", wanted="more than 0", got=factors, hint="Use (0.5, 2).")
    book = config.portfolio
    changes: dict[str, dict[str, object]] = {}
    for factor in size_factors:
        changes |= _other_size(book, factor)
    for factor in holding_factors:
        sessions = max(1, int(book.rebalance_sessions * factor))
        changes[f"holding {sessions}"] = {"rebalance_sessions": sessions}
    if book.rebalance_sessions > 1:
        other = "full" if book.rebalance == "staggered" else "staggered"
        changes[f"{other} rebalance"] = {"rebalance": other}
    return {
        name: config.model_copy(
            update={
                "portfolio": build_config(
                    PortfolioConfig, {**book.content(), **change}, where=f"variant {name}"
                )
            }
        )
        for name, change in changes.items()
        if {**book.content(), **change} != book.content()
    }


def neighbouring_rules(
    rules: RuleConfig,
    *,
    size_factors: tuple[float, ...] = SIZE_FACTORS,
    holding_factors: tuple[float, ...] = HOLDING_FACTORS,
) -> dict[str, RuleConfig]:
    """Rules that differ in one setting: names held, least score, holding period or stop distances.

    Parameters
    ----------
    rules : RuleConfig
        The rules.
    size_factors : tuple of float
        Factors on the number of names; their sizes change so that the sum stays.
    holding_factors : tuple of float
        Factors on the holding period, rounded to sessions, at least 1, and on every stop distance.

    Returns
    -------
    dict of str to RuleConfig
        By a name that says what differs; a factor that changes nothing gives no variant.

    Raises
    ------
    ConfigError
        A factor that is not positive.

    Examples
    --------
    >>> sorted(neighbouring_rules(RuleConfig()))
    ['10 names', '40 names', 'entry from 0.004', 'entry from 0.006', 'holding 20', 'holding 5']
    """
    factors = (*size_factors, *holding_factors)
    if any(factor <= 0.0 for factor in factors):
        raise ConfigError("factors", wanted="more than 0", got=factors, hint="Use (0.5, 2).")
    changes: dict[str, dict[str, object]] = {}
    for factor in size_factors:
        names = max(1, round(rules.max_positions * factor))
        size = rules.position_frac * rules.max_positions / names
        changes[f"{names} names"] = {"max_positions": names, "position_frac": size}
    for factor in ENTRY_FACTORS:
        least = rules.entry_min * factor
        changes[f"entry from {least:g}"] = {"entry_min": least}
    for factor in holding_factors:
        if rules.holding_sessions is not None:
            sessions = max(1, int(rules.holding_sessions * factor))
            changes[f"holding {sessions}"] = {"holding_sessions": sessions}
        wider = {
            name: getattr(rules, name) * factor
            for name in STOP_DISTANCES
            if getattr(rules, name) is not None
        }
        if wider and all(wider.get(name, 0.0) < 1.0 for name in FRACTIONS):
            changes[f"stops x{factor:g}"] = dict(wider)
    content = rules.content()
    return {
        name: build_config(RuleConfig, {**content, **change}, where=f"variant {name}")
        for name, change in changes.items()
        if {**content, **change} != content
    }


def _other_size(book: PortfolioConfig, factor: float) -> dict[str, dict[str, object]]:
    if book.names_per_side is not None:
        names = max(1, round(book.names_per_side * factor))
        return {f"{names} names": {"names_per_side": names}}
    most = 0.5 if book.mode == "long_short" else 1.0
    share = min(most, (book.fraction_per_side or 0.0) * factor)
    return {f"fraction {share:g}": {"fraction_per_side": share}}

"""Stress: the same book at other costs, and with its orders some sessions late.

Contract: everything but the stressed thing stays as it was, caps and minimum fills included. A
stress is no other configuration that somebody could choose, so it is no trial.

1. ``cost_stress`` multiplies every cost rate.
2. ``delay_stress`` moves every score some sessions into the future: what was known at the close of
   t is decided at the close of t + d and fills at the next open.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from quant_engine.backtest.simulation import Simulation, compared_figures
from quant_engine.core.arrays import TimeVector
from quant_engine.core.errors import ConfigError, DataError

COST_MULTIPLIERS = (0.5, 1.0, 2.0, 5.0)
"""Factors on every cost rate."""

DELAYS = (0, 1, 2, 3)
"""Sessions by which entries come late."""


def cost_stress(
    simulation: Simulation, multipliers: Sequence[float] = COST_MULTIPLIERS
) -> pd.DataFrame:
    """Run a simulation at multiples of its costs.

    Parameters
    ----------
    simulation : Simulation
        The book.
    multipliers : sequence of float
        Factors on fee, spread, impact and borrow rates, at least 0.

    Returns
    -------
    DataFrame
        ``kind`` (``"cost"``), ``level`` (the factor) and `simulation.FIGURES`, one row per factor;
        NaN where a figure does not exist.

    Raises
    ------
    ConfigError
        No factor, or a negative one.
    """
    if not multipliers or min(multipliers) < 0.0:
        raise ConfigError(
            "multipliers",
            wanted="one or more factors of at least 0",
            got=tuple(multipliers),
            hint="Use (0.5, 1, 2, 5).",
        )
    rows = [
        _row("cost", factor, simulation.run(costs=simulation.costs.stressed(factor)))
        for factor in multipliers
    ]
    return pd.DataFrame(rows)


def delay_stress(simulation: Simulation, delays: Sequence[int] = DELAYS) -> pd.DataFrame:
    """Run a simulation with every decision some sessions late.

    Parameters
    ----------
    simulation : Simulation
        The book.
    delays : sequence of int
        Sessions between knowing a score and deciding on it; 0 = the book as it is.

    Returns
    -------
    DataFrame
        ``kind`` (``"delay"``), ``level`` (sessions) and `simulation.FIGURES`; NaN where a figure
        does not exist.

    Raises
    ------
    ConfigError
        No delay, or a negative one: that would look ahead.
    """
    sessions, scores = simulation.panel.time.values, simulation.scores
    rows = [
        _row(
            "delay",
            delay,
            simulation.run(scores=delayed_scores(scores, sessions, delay)),
        )
        for delay in delays
    ]
    if not rows:
        raise ConfigError("delays", wanted="one or more", got=(), hint="Use (0, 1, 2, 3).")
    return pd.DataFrame(rows)


def delayed_scores(scores: pd.DataFrame, sessions: TimeVector, delay: int) -> pd.DataFrame:
    """Date every score some sessions later.

    Parameters
    ----------
    scores : DataFrame
        With a column ``date``.
    sessions : ndarray of datetime64[D], shape (T,)
        All sessions, increasing.
    delay : int
        Sessions, at least 0.

    Returns
    -------
    DataFrame
        Rows that would fall behind the last session are left out.

    Raises
    ------
    ConfigError
        A negative delay.
    DataError
        A date that is no session.

    Examples
    --------
    >>> days = np.array(["2024-01-02", "2024-01-03"], dtype="datetime64[D]")
    >>> frame = pd.DataFrame({"date": pd.to_datetime(days), "score": [1.0, 2.0]})
    >>> delayed_scores(frame, days, 1)["score"].tolist()
    [1.0]
    """
    if delay < 0:
        raise ConfigError(
            "delay",
            wanted="at least 0 sessions",
            got=delay,
            hint="A negative delay would decide on scores that are not known yet.",
        )
    dates = scores["date"].to_numpy().astype("datetime64[D]")
    at = np.searchsorted(sessions, dates)
    known = at < len(sessions)
    known[known] = sessions[at[known]] == dates[known]
    if not known.all():
        raise DataError(
            "scores.date",
            wanted="sessions of the panel",
            got=f"{int((~known).sum())} other dates, first {dates[~known].min()}",
            hint="Delay the scores on the axis that they were made on.",
        )
    kept = at + delay < len(sessions)
    moved = sessions[at[kept] + delay].astype("datetime64[us]")
    return scores[kept].assign(date=moved).reset_index(drop=True)


def _row(kind: str, level: float, result: Any) -> dict[str, Any]:
    return {"kind": kind, "level": float(level), **compared_figures(result)}

"""Tables for display: the way from gross to net, the market's worst episodes, cumulative parts."""

from __future__ import annotations

import numpy as np
import pandas as pd

from quant_engine.reports.derived import top_drawdowns
from quant_engine.reports.evaluation_data import style_names
from quant_engine.reports.tearsheet_data import COST_KINDS
from quant_engine.stats.metrics import cumulative_return, max_drawdown

__all__ = ["cost_bridge", "crisis_paths", "crisis_table", "cumulative_parts"]

CRISIS_COLUMNS = (
    "episode",
    "peak",
    "trough",
    "recovered",
    "sessions_to_trough",
    "benchmark_fall",
    "book_in_fall",
    "benchmark_whole",
    "book_whole",
    "book_drawdown",
)


def cost_bridge(daily: pd.DataFrame, *, periods_per_year: float) -> pd.DataFrame:
    """From the gross return through every kind of cost to the net return.

    Parameters
    ----------
    daily : DataFrame, index session
        ``ret_gross``, ``ret_net`` and the ``cost_*`` columns that are there (fractions of equity).
    periods_per_year : float
        Annualisation.

    Returns
    -------
    DataFrame
        ``step`` (``gross``, the kinds, ``other``, ``net``), ``annual_frac`` (mean per session times
        the sessions of a year; costs negative) and ``start``, where its bar begins. ``other`` is
        what the listed costs do not explain and stands only where it is not 0 up to rounding.

    Examples
    --------
    >>> daily = pd.DataFrame({"ret_gross": [0.02], "cost_fees": [0.005], "ret_net": [0.015]})
    >>> cost_bridge(daily, periods_per_year=1)[["step", "annual_frac"]].values.tolist()
    [['gross', 0.02], ['fees', -0.005], ['net', 0.015]]
    """
    order = [kind for kind in ("spread", "impact", "fees", "borrow") if f"cost_{kind}" in daily]
    order += [kind for kind in COST_KINDS if f"cost_{kind}" in daily and kind not in order]
    known = daily.dropna(subset=["ret_gross", "ret_net"])
    scale = periods_per_year / len(known) if len(known) else np.nan
    gross, net = (float(known[name].sum()) * scale for name in ("ret_gross", "ret_net"))
    rows = [("gross", gross, 0.0)]
    at = gross
    for kind in order:
        change = -float(known[f"cost_{kind}"].fillna(0.0).sum()) * scale
        rows.append((kind, change, at))
        at += change
    if abs(net - at) > 1e-9:
        rows.append(("other", net - at, at))
    rows.append(("net", net, 0.0))
    return pd.DataFrame(rows, columns=["step", "annual_frac", "start"])


def crisis_table(daily: pd.DataFrame, *, n_worst: int) -> pd.DataFrame:
    """The deepest falls of the benchmark, and what the book did in them.

    Parameters
    ----------
    daily : DataFrame, index session
        ``ret_net`` and ``benchmark_ret`` (fractions); NaN = not observed.
    n_worst : int
        How many, deepest first.

    Returns
    -------
    DataFrame
        ``peak`` (NaT = before the first session), ``trough``, ``recovered`` (NaT = not yet),
        ``sessions_to_trough``; compounded returns of both from peak to trough (``_fall``) and from
        peak to recovery or the end (``_whole``); ``book_drawdown``: deepest loss of the book inside
        the episode, fraction, at most 0.

    Examples
    --------
    >>> sessions = pd.date_range("2024-01-01", periods=4)
    >>> daily = pd.DataFrame(
    ...     {"ret_net": [0.0, 0.1, 0.0, 0.0], "benchmark_ret": [0.1, -0.2, 0.5, 0.0]}, sessions
    ... )
    >>> crisis_table(daily, n_worst=2)[["benchmark_fall", "book_in_fall"]].round(2).values.tolist()
    [[-0.2, 0.1]]
    """
    spells = top_drawdowns(daily["benchmark_ret"], n_worst=n_worst)
    rows = []
    for number, spell in enumerate(spells.itertuples(index=False), start=1):
        inside = _episode_rows(daily, spell.peak, spell.recovered)
        fall = inside[inside.index <= spell.trough]
        rows.append(
            {
                "episode": number,
                "peak": spell.peak,
                "trough": spell.trough,
                "recovered": spell.recovered,
                "sessions_to_trough": spell.sessions_to_trough,
                "benchmark_fall": _compounded(fall["benchmark_ret"]),
                "book_in_fall": _compounded(fall["ret_net"]),
                "benchmark_whole": _compounded(inside["benchmark_ret"]),
                "book_whole": _compounded(inside["ret_net"]),
                "book_drawdown": max_drawdown(inside["ret_net"].to_numpy(dtype=float)),
            }
        )
    return pd.DataFrame(rows, columns=list(CRISIS_COLUMNS))


def crisis_paths(daily: pd.DataFrame, episodes: pd.DataFrame) -> list[pd.DataFrame]:
    """Growth of 1 of book and benchmark through each episode, from its peak.

    Parameters
    ----------
    daily : DataFrame, index session
        ``ret_net`` and ``benchmark_ret``; NaN grows by nothing.
    episodes : DataFrame
        Of :func:`crisis_table`.

    Returns
    -------
    list of DataFrame, index session
        ``book`` and ``benchmark``, 1 at the peak, one frame per episode.
    """
    frames = []
    for spell in episodes.itertuples(index=False):
        inside = _episode_rows(daily, spell.peak, spell.recovered)
        grown = (1.0 + inside[["ret_net", "benchmark_ret"]].fillna(0.0)).cumprod()
        frames.append(grown.rename(columns={"ret_net": "book", "benchmark_ret": "benchmark"}))
    return frames


def cumulative_parts(attribution: pd.DataFrame) -> pd.DataFrame:
    """Parts of the return added up over time, styles together.

    Parameters
    ----------
    attribution : DataFrame, index session
        One column per part, fractions of equity at the start of the session.

    Returns
    -------
    DataFrame, index session
        ``market, sector, styles, selection, trading, costs`` and ``net`` as shares of the starting
        capital: each session's fraction times the equity that it was earned on. The first six sum
        to ``net``, which ends at the compounded return.

    Examples
    --------
    >>> columns = ("market", "sector", "size", "selection", "trading", "costs", "alpha")
    >>> frame = pd.DataFrame({**dict.fromkeys(columns, [0.0, 0.0]), "ret_net": [0.1, 0.1]})
    >>> cumulative_parts(frame.assign(market=0.1))["market"].round(3).tolist()
    [0.1, 0.21]
    """
    net = attribution["ret_net"].to_numpy(dtype=float)
    before = np.concatenate(([1.0], np.cumprod(1.0 + net)))[:-1]
    parts = {
        "market": attribution["market"],
        "sector": attribution["sector"],
        "styles": attribution[style_names(attribution)].sum(axis=1),
        "selection": attribution["selection"],
        "trading": attribution["trading"],
        "costs": attribution["costs"],
        "net": attribution["ret_net"],
    }
    table = pd.DataFrame({name: column.to_numpy(dtype=float) for name, column in parts.items()})
    grown = table.mul(before, axis=0).cumsum()
    grown.index = attribution.index
    return grown


def _episode_rows(daily: pd.DataFrame, peak: object, recovered: object) -> pd.DataFrame:
    """Sessions after the peak up to the recovery, or to the end."""
    chosen = np.ones(len(daily), dtype=bool)
    if not pd.isna(peak):
        chosen &= np.asarray(daily.index > peak)
    if not pd.isna(recovered):
        chosen &= np.asarray(daily.index <= recovered)
    return daily[chosen]


def _compounded(returns: pd.Series) -> float:
    return float(cumulative_return(returns.to_numpy(dtype=float)))

"""Attribution: which part of a book's daily return its market, sectors and styles explain.

Contract: exposures are those of the close before, so a part says what the book earned because of
what it held, not because of what it found out later. What was bought or sold at the open counts
from there to the close, what was held over night from close to close. Every return is explained
whole: market, sector, the styles, selection, trading and costs add up to the net return of each
session, and in money to the profit of the run. What cannot be explained is alpha, never left out.

1. `style_exposures` makes styles from prices and volume alone.
2. `attribute` regresses each session's returns on them and multiplies by what was held.
3. `attribution_totals` sums the parts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import DataError
from quant_engine.stats.cross_section import z_score

STYLES = ("momentum", "volatility", "size", "reversal")
"""Styles, in the order in which they are shown."""

ALPHA_PARTS = ("selection", "trading", "costs")
"""What alpha is made of: names beyond their exposures, trades within sessions, costs."""

MARKET, SECTOR, ALPHA = "market", "sector", "alpha"

COLUMN_BLOCK = 256
"""Assets whose styles are worked out at a time, so that a large market needs little memory."""


class StyleConfig(FrozenConfig):
    """How styles are measured.

    Parameters
    ----------
    momentum_sessions, momentum_skip_sessions : int
        Return from so many sessions ago to so many sessions ago.
    volatility_sessions, size_sessions : int
        Windows of the standard deviation and of the mean traded value.
    reversal_sessions : int
        Window of the return whose sign is turned.
    clip_sd : float
        Standardised exposures beyond this are pulled in.

    Examples
    --------
    >>> StyleConfig().momentum_sessions
    252
    """

    momentum_sessions: int = Field(default=252, ge=2)
    momentum_skip_sessions: int = Field(default=21, ge=0)
    volatility_sessions: int = Field(default=63, ge=3)
    size_sessions: int = Field(default=63, ge=1)
    reversal_sessions: int = Field(default=21, ge=1)
    clip_sd: float = Field(default=3.0, gt=0.0)


def style_exposures(
    closes: FloatMatrix, volumes: FloatMatrix, config: StyleConfig | None = None
) -> dict[str, FloatMatrix]:
    """Momentum, volatility, size and reversal of each name, as of each close.

    Parameters
    ----------
    closes : ndarray, shape (T, N)
        Split-adjusted closing prices, currency per share; NaN = no bar.
    volumes : ndarray, shape (T, N)
        Shares traded, in the same basis; NaN = no bar.
    config : StyleConfig, optional
        Windows.

    Returns
    -------
    dict of str to ndarray of float32, shape (T, N)
        `STYLES`, raw: log return from 252 to 21 sessions ago, standard deviation of log returns,
        log of the mean traded value, minus the log return of the last 21 sessions. NaN until two
        thirds of a window are known. Worked out in float64, some columns at a time.

    Notes
    -----
    Jegadeesh and Titman (1993) for momentum, Jegadeesh (1990) for reversal; traded value stands for
    size because shares outstanding are not known from prices.

    Examples
    --------
    >>> prices = np.array([[1.0, 4.0], [2.0, 2.0], [4.0, 1.0]])
    >>> short = StyleConfig(momentum_sessions=2, momentum_skip_sessions=1, reversal_sessions=1)
    >>> style_exposures(prices, np.ones((3, 2)), short)["reversal"][2].round(3).tolist()
    [-0.6930000185966492, 0.6930000185966492]
    """
    settings = StyleConfig() if config is None else config
    out = {name: np.empty(closes.shape, dtype=np.float32) for name in STYLES}
    for start in range(0, closes.shape[1], COLUMN_BLOCK):
        block = slice(start, start + COLUMN_BLOCK)
        for name, values in _styles(closes[:, block], volumes[:, block], settings).items():
            out[name][:, block] = values
    return dict(out)


def _styles(
    closes: FloatMatrix, volumes: FloatMatrix, settings: StyleConfig
) -> dict[str, FloatMatrix]:
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = pd.DataFrame(np.log(np.where(closes > 0.0, closes, np.nan)))
        value = pd.DataFrame(np.asarray(closes * volumes, dtype=np.float64))
    changes = logs.diff()

    def enough(window: int) -> int:
        return max(1, -(-2 * window // 3))

    vol = settings.volatility_sessions
    spread = changes.rolling(vol, min_periods=max(3, enough(vol))).std()
    traded = value.rolling(settings.size_sessions, min_periods=enough(settings.size_sessions))
    mean = traded.mean().to_numpy()
    skipped = logs.shift(settings.momentum_skip_sessions)
    return {
        "momentum": (skipped - logs.shift(settings.momentum_sessions)).to_numpy(),
        "volatility": spread.to_numpy(),
        "size": np.log(np.where(mean > 0.0, mean, np.nan)),
        "reversal": (logs.shift(settings.reversal_sessions) - logs).to_numpy(),
    }


@dataclass(frozen=True, eq=False)
class HeldBook:
    """What a book held into each session and what the names did in it.

    Parameters
    ----------
    weights : ndarray, shape (R, N)
        Position value over equity after the close before each session (fraction, signed).
    returns : ndarray, shape (R, N)
        Simple total returns close to close in each session (fraction); NaN = not observed.
    exposures : mapping of str to ndarray, shape (R, N)
        Raw styles as of the close before; NaN = unknown.
    sectors : ndarray of int, shape (R, N), or None
        Code of the sector as of the close before, -1 = unknown; None = no sector is known.
    universe : ndarray of bool, shape (R, N), or None
        Names that the regressions use, as of the close before; None = all.
    opened : ndarray, shape (R, N), or None
        Value filled at the open over equity at the close before (fraction, signed); None = nothing
        is known of it.
    after_open : ndarray, shape (R, N), or None
        Simple returns from open to close (fraction); NaN = not observed. Given with `opened`.
    """

    weights: FloatMatrix
    returns: FloatMatrix
    exposures: Mapping[str, FloatMatrix]
    sectors: npt.NDArray[np.integer] | None = None
    universe: BoolMatrix | None = None
    opened: FloatMatrix | None = None
    after_open: FloatMatrix | None = None

    def __post_init__(self) -> None:
        shapes = {"returns": self.returns.shape}
        shapes |= {name: values.shape for name, values in self.exposures.items()}
        for name in ("sectors", "universe", "opened", "after_open"):
            values = getattr(self, name)
            if values is not None:
                shapes[name] = values.shape
        if (self.opened is None) != (self.after_open is None):
            raise DataError(
                "opened, after_open",
                wanted="both or neither",
                got="one of them",
                hint="What filled at the open is explained by the returns from there on.",
            )
        for name, shape in shapes.items():
            if shape != self.weights.shape:
                raise DataError(
                    name,
                    wanted=f"the shape of the weights {self.weights.shape}",
                    got=shape,
                    hint="One row per session of the book, one column per asset.",
                )


def attribute(daily: pd.DataFrame, book: HeldBook, *, clip_sd: float = 3.0) -> pd.DataFrame:
    """Split the net return of every session into parts.

    Parameters
    ----------
    daily : DataFrame indexed by session, R rows
        ``ret_net`` and ``ret_gross`` (fraction of equity at the start of the session).
    book : HeldBook
        Of the same sessions.
    clip_sd : float
        Standardised exposures beyond this are pulled in.

    Returns
    -------
    DataFrame indexed by session
        ``market``, ``sector``, one column per style, ``selection``, ``trading``, ``costs``,
        ``alpha`` (the last three together), ``ret_net``, ``n_assets`` (names in the regression).
        Where there are fewer than two names per coefficient nothing is explained: market, sector,
        styles and selection are 0 and alpha is the whole return.

    Raises
    ------
    DataError
        Another number of sessions.

    Notes
    -----
    ``r_i = m + s_g(i) + sum_k X_ik f_k + e_i`` by least squares over the names of the session, with
    exposures X standardised over them and sector effects that sum to 0 over the names, so that m is
    their equal-weight mean return (Fama and MacBeth 1973; Heston and Rouwenhorst 1994 for the
    constraint; Grinold and Kahn 2000, chapter 17). With weights w, market is ``m sum w``, sector
    ``sum w s``, style k ``f_k sum w X_k`` and selection ``sum w e``, where a name outside the
    regressions has e = r. The same is done with what filled at the open and the returns from there
    on, and added. Trading is the net return less everything else: fills elsewhere in the session,
    names without a return, interest. An unknown exposure counts as average.

    Examples
    --------
    >>> day = pd.to_datetime(["2024-05-02"])
    >>> book = HeldBook(np.array([[0.5, -0.5, 0.0, 0.0]]), np.array([[0.02, 0.0, 0.01, 0.01]]), {})
    >>> daily = pd.DataFrame({"ret_net": [0.009], "ret_gross": [0.01]}, index=day)
    >>> attribute(daily, book)[["market", "selection", "costs", "alpha"]].iloc[0].round(4).tolist()
    [0.0, 0.01, -0.001, 0.009]
    """
    if len(daily) != len(book.weights):
        raise DataError(
            "daily", wanted=f"{len(book.weights)} sessions", got=len(daily), hint="Align them."
        )
    names = list(book.exposures)
    parts = np.zeros((len(daily), len(names) + 3))
    known = np.isfinite(book.returns)
    if book.universe is not None:
        known &= book.universe
    standard = _clipped_exposures(book.exposures, known, clip_sd)
    for row in range(len(daily)):
        sectors = None if book.sectors is None else book.sectors[row]
        legs = [(book.weights[row], book.returns[row])]
        if book.opened is not None and book.after_open is not None and book.opened[row].any():
            legs.append((book.opened[row], book.after_open[row]))
        for weight, outcome in legs:
            place = np.flatnonzero(known[row] & np.isfinite(outcome))
            found = _explain(weight, outcome, standard[row], sectors, place)
            if found is None:
                break
            parts[row] += found
    net, gross = (daily[name].to_numpy(dtype=np.float64) for name in ("ret_net", "ret_gross"))
    columns = dict(zip((MARKET, SECTOR, *names), parts.T[:-1], strict=True))
    explained = sum(columns.values(), start=np.zeros(len(daily)))
    selection, costs = parts[:, -1], net - gross
    alpha = net - explained
    columns |= {
        "selection": selection,
        "trading": alpha - selection - costs,
        "costs": costs,
        ALPHA: alpha,
        "ret_net": net,
        "n_assets": known.sum(axis=1),
    }
    return pd.DataFrame(columns, index=daily.index)


def _clipped_exposures(
    exposures: Mapping[str, FloatMatrix], known: BoolMatrix, clip_sd: float
) -> npt.NDArray[np.float64]:
    """Z-scores (R, N, K) over the names of each session, tails pulled in; unknown = average."""
    out = np.zeros((*known.shape, len(exposures)))
    for k, raw in enumerate(exposures.values()):
        score = z_score(np.asarray(raw, np.float64), mask=known)
        out[:, :, k] = np.nan_to_num(np.clip(score, -clip_sd, clip_sd))
    return out


def _explain(
    weight: FloatVector,
    returns: FloatVector,
    exposures: FloatMatrix,
    sectors: npt.NDArray[np.integer] | None,
    place: npt.NDArray[np.int64],
) -> FloatVector | None:
    """Market, sector, styles and selection of one session; None where there are too few names."""
    exposure = exposures[place]
    codes = np.zeros(len(place), dtype=np.int64)
    if sectors is not None:
        codes = np.unique(sectors[place], return_inverse=True)[1]
    n_groups, n_styles = int(codes.max(initial=-1)) + 1, exposure.shape[1]
    if len(place) < max(2, 2 * (n_groups + n_styles)):
        return None
    earned = np.nan_to_num(weight * returns)
    outcome = np.asarray(returns[place], dtype=np.float64)
    held = np.nan_to_num(weight[place])
    centred = exposure - exposure.mean(axis=0)
    size = np.bincount(codes, minlength=n_groups)
    group_outcome = np.bincount(codes, outcome, n_groups) / size
    group_exposure = np.zeros((n_groups, n_styles))
    np.add.at(group_exposure, codes, centred)
    group_exposure /= size[:, None]
    # Sector effects first (Frisch and Waugh 1933): styles are fitted within sectors.
    inside = centred - group_exposure[codes]
    slope = np.linalg.lstsq(inside, outcome - group_outcome[codes], rcond=1e-10)[0]
    market = outcome.mean()
    effect = (group_outcome - group_exposure @ slope - market)[codes]
    rest = outcome - market - effect - centred @ slope
    earned[place] = 0.0
    selection = held @ rest + earned.sum()
    return np.concatenate(
        ([held.sum() * market, held @ effect], (held @ centred) * slope, [selection])
    )


def attribution_totals(daily: pd.DataFrame, equity: npt.ArrayLike) -> pd.DataFrame:
    """Sum the parts of an attribution over a run.

    Parameters
    ----------
    daily : DataFrame
        Of :func:`attribute`, R rows.
    equity : array-like, shape (R,)
        Equity after each session, currency.

    Returns
    -------
    DataFrame
        ``part``, ``sum_frac`` (sum of session fractions), ``money`` (currency: fraction times the
        equity at the start of its session) and ``total_frac`` (money over the starting capital),
        for every part, alpha and ``net``. The parts of `total_frac` sum to the compounded return.

    Examples
    --------
    >>> frame = pd.DataFrame({"market": [0.1, 0.0], "alpha": [0.0, 0.1], "ret_net": [0.1, 0.1]})
    >>> attribution_totals(frame, [110.0, 121.0])["total_frac"].round(3).tolist()
    [0.1, 0.11, 0.21]
    """
    after = np.asarray(equity, dtype=np.float64)
    net = daily["ret_net"].to_numpy(dtype=np.float64)
    start = np.concatenate((after[:1] / (1.0 + net[:1]), after[:-1]))
    names = [name for name in daily.columns if name not in ("n_assets", "ret_net")]
    rows = [
        {
            "part": "net" if name == "ret_net" else name,
            "sum_frac": float(daily[name].sum()),
            "money": float((start * daily[name].to_numpy(dtype=np.float64)).sum()),
        }
        for name in (*names, "ret_net")
    ]
    table = pd.DataFrame(rows)
    return table.assign(total_frac=table["money"] / (start[0] if len(start) else np.nan))

"""Price and volume features: the Alpha158 families of Qlib and a few longer-horizon ones.

Formulas follow Qlib's ``Alpha158`` [1]_ with three stated differences: windows are complete or NaN
(Qlib starts with partial windows), a zero divisor gives NaN where Qlib adds 1e-12 and returns a
number of that size (volume features), and constant windows are recognised relative to their level
(see `quant_engine.features.kernels`). ``VWAP0`` is left out because daily bars have no VWAP.
Price features of Qlib's families use prices as they are; the longer-horizon ones use total returns.

Each group function below fills the pages of several kinds that share state; `_KINDS` at the end is
the table of every kind, its inputs and its lookback.

References
----------
.. [1] microsoft/qlib, ``qlib/contrib/data/loader.py``, class ``Alpha158DL``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.causality import Causality
from quant_engine.core.panel import PRICE_FIELDS
from quant_engine.core.registry import NoParams, PluginMetadata
from quant_engine.features import kernels
from quant_engine.features import order_kernels as order
from quant_engine.features.kinds import (
    FEATURE_KINDS,
    FeatureKind,
    FeatureRequest,
    GroupCompute,
    WindowParams,
    slot_table,
)
from quant_engine.features.workspace import Workspace

__all__ = ["SKIP_SESSIONS"]

SKIP_SESSIONS = 21
"""Sessions that momentum leaves out at the recent end, one month."""

SHORT_VOL_SESSIONS = 20
"""Window of the numerator of the volatility ratio."""

Requests = Sequence[FeatureRequest]
Block = np.ndarray
QUANTILE_LEVELS = np.array([0.8, 0.2])


def _bar_shapes(space: Workspace, requests: Requests, block: Block) -> None:
    o, h, low, c = (space.field(name) for name in ("open", "high", "low", "close"))
    span = h - low + kernels.TINY
    top, bottom = np.maximum(o, c), np.minimum(o, c)
    formulas: tuple[Callable[[], FloatMatrix], ...] = (
        lambda: (c - o) / o,
        lambda: (h - low) / o,
        lambda: (c - o) / span,
        lambda: (h - top) / o,
        lambda: (h - top) / span,
        lambda: (bottom - low) / o,
        lambda: (bottom - low) / span,
        lambda: (2.0 * c - h - low) / o,
        lambda: (2.0 * c - h - low) / span,
        lambda: o * space.per_close,
        lambda: h * space.per_close,
        lambda: low * space.per_close,
    )
    for request in requests:
        block[request.slot] = formulas[request.output]()


def _overnight_gap(space: Workspace, requests: Requests, block: Block) -> None:
    gap = (space.field("open") + space.dividend) / space.previous("close") - 1.0
    for request in requests:
        block[request.slot] = gap


def _rate_of_change(space: Workspace, requests: Requests, block: Block) -> None:
    filled, run = space.prepared("close")
    for request in requests:
        page, w = block[request.slot], request.window
        page[:w] = np.nan
        page[w:] = np.where(run[w:] > w, filled[:-w] * space.per_close[w:], np.nan)


def _moments_of(name: str, scale: str) -> GroupCompute:
    def compute(space: Workspace, requests: Requests, block: Block) -> None:
        filled, run = space.prepared(name)
        windows, slots = slot_table(requests, 7)
        factor = np.ascontiguousarray(getattr(space, scale))
        kernels.rolling_moments(filled, run, factor, windows, slots, block)

    return compute


_close_moments = _moments_of("close", "per_close")
_volume_moments = _moments_of("volume", "per_volume")
_weighted_move = _moments_of("weighted_move", "ones")
_return_vol = _moments_of("returns", "ones")
_illiquidity = _moments_of("illiquidity", "ones")
_dollar_volume = _moments_of("log_dollar_volume", "ones")


def _vol_ratio(space: Workspace, requests: Requests, block: Block) -> None:
    filled, run = space.prepared("returns")
    short = np.empty((1, *space.panel.shape))
    for request in requests:
        for window, pages, page in (
            (SHORT_VOL_SESSIONS, short, 0),
            (request.window, block, request.slot),
        ):
            slots = np.full((7, 1), -1, dtype=np.int64)
            slots[kernels.STD, 0] = page
            lengths = np.array([window], dtype=np.int64)
            kernels.rolling_moments(filled, run, space.ones, lengths, slots, pages)
        block[request.slot] = short[0] / block[request.slot]


def _log_dollar_volume(space: Workspace, requests: Requests, block: Block) -> None:
    filled, run = space.prepared("dollar_volume")
    _, slots = slot_table(requests, 7)
    windows = np.array(sorted({r.window for r in requests}), dtype=np.int64)
    kernels.rolling_moments(filled, run, space.ones, windows, slots, block)
    for request in requests:
        np.log(block[request.slot], out=block[request.slot])


def _parkinson(space: Workspace, requests: Requests, block: Block) -> None:
    _moments_of("squared_range", "ones")(space, requests, block)
    for request in requests:
        np.sqrt(block[request.slot], out=block[request.slot])


def _extremes(space: Workspace, requests: Requests, block: Block) -> None:
    high, low, close = (space.prepared(name) for name in ("high", "low", "close"))
    run = np.minimum(np.minimum(high.run, low.run), close.run)
    windows, slots = slot_table(requests, 6)
    order.rolling_extremes(high.filled, low.filled, close.filled, run, windows, slots, block)


def _extreme_distance(space: Workspace, requests: Requests, block: Block) -> None:
    # The kernel gives H/close and L/close; the features are close/H - 1 and close/L - 1.
    _extremes(space, requests, block)
    for request in requests:
        page = block[request.slot]
        np.divide(1.0, page, out=page)
        page -= 1.0


def _largest_return(space: Workspace, requests: Requests, block: Block) -> None:
    filled, run = space.prepared("returns")
    windows, slots = slot_table(requests, 6)
    order.rolling_extremes(filled, filled, space.ones, run, windows, slots, block)


def _quantiles(space: Workspace, requests: Requests, block: Block) -> None:
    filled, run = space.prepared("close")
    windows, slots = slot_table(requests, QUANTILE_LEVELS.size)
    order.rolling_quantile(filled, run, space.per_close, windows, QUANTILE_LEVELS, slots, block)


def _rank(space: Workspace, requests: Requests, block: Block) -> None:
    filled, run = space.prepared("close")
    windows, slots = slot_table(requests, 1)
    order.rolling_rank(filled, run, windows, slots, block)


def _pair_of(first: str, second: str) -> GroupCompute:
    def compute(space: Workspace, requests: Requests, block: Block) -> None:
        x, y = space.prepared(first), space.prepared(second)
        windows, slots = slot_table(requests, 3)
        run = np.minimum(x.run, y.run)
        kernels.rolling_pair(x.filled, y.filled, run, windows, slots, block)

    return compute


_close_volume = _pair_of("close", "log_volume")
_change_volume = _pair_of("close_ratio", "log_volume_ratio")
_market_line = _pair_of("returns", "market")


def _updown_of(name: str) -> GroupCompute:
    def compute(space: Workspace, requests: Requests, block: Block) -> None:
        filled, run = space.prepared(name)
        windows, slots = slot_table(requests, 6)
        kernels.rolling_updown(filled, run, windows, slots, block)

    return compute


_close_updown = _updown_of("close")
_volume_updown = _updown_of("volume")


def _momentum(space: Workspace, requests: Requests, block: Block) -> None:
    # Inside a complete run the running sum of log returns is the log of the total-return index.
    level = space.log_level
    run = space.prepared("returns").run
    for request in requests:
        page, w = block[request.slot], request.window
        page[:w] = np.nan
        grown = np.expm1(level[w - SKIP_SESSIONS : len(level) - SKIP_SESSIONS] - level[:-w])
        page[w:] = np.where(run[w:] >= w, grown, np.nan)


def _pass_through(space: Workspace, requests: Requests, block: Block) -> None:
    for request in requests:
        block[request.slot] = space.panel.field(request.name)


_HLC = ("high", "low", "close")
_C, _V, _CV = ("close",), ("volume",), ("close", "volume")

# kind: (group, output, inputs, rows beyond the window, smallest window, unit, formula)
_KINDS: dict[str, tuple[GroupCompute, int, tuple[str, ...], int, int, str, str]] = {
    "kmid": (_bar_shapes, 0, PRICE_FIELDS, 1, 0, "fraction", "(close - open)/open"),
    "klen": (_bar_shapes, 1, PRICE_FIELDS, 1, 0, "fraction", "(high - low)/open"),
    "kmid2": (_bar_shapes, 2, PRICE_FIELDS, 1, 0, "ratio", "(close - open)/(high - low)"),
    "kup": (_bar_shapes, 3, PRICE_FIELDS, 1, 0, "fraction", "(high - max(open, close))/open"),
    "kup2": (_bar_shapes, 4, PRICE_FIELDS, 1, 0, "ratio", "(high - max(open, close))/(high - low)"),
    "klow": (_bar_shapes, 5, PRICE_FIELDS, 1, 0, "fraction", "(min(open, close) - low)/open"),
    "klow2": (_bar_shapes, 6, PRICE_FIELDS, 1, 0, "ratio", "(min(open, close) - low)/(high - low)"),
    "ksft": (_bar_shapes, 7, PRICE_FIELDS, 1, 0, "fraction", "(2 close - high - low)/open"),
    "ksft2": (_bar_shapes, 8, PRICE_FIELDS, 1, 0, "ratio", "(2 close - high - low)/(high - low)"),
    "open0": (_bar_shapes, 9, PRICE_FIELDS, 1, 0, "ratio", "open/close"),
    "high0": (_bar_shapes, 10, PRICE_FIELDS, 1, 0, "ratio", "high/close"),
    "low0": (_bar_shapes, 11, PRICE_FIELDS, 1, 0, "ratio", "low/close"),
    "gap": (_overnight_gap, 0, ("open", "close"), 2, 0, "fraction",
            "(open + dividend)/previous close - 1"),
    "roc": (_rate_of_change, 0, _C, 1, 1, "ratio", "close w sessions ago/close"),
    "ma": (_close_moments, kernels.MEAN, _C, 0, 2, "ratio", "mean(close)/close"),
    "std": (_close_moments, kernels.STD, _C, 0, 2, "ratio", "std(close)/close, ddof 1"),
    "beta": (_close_moments, kernels.SLOPE, _C, 0, 2, "fraction per session",
             "slope of close on time/close"),
    "rsqr": (_close_moments, kernels.RSQUARE, _C, 0, 3, "ratio", "R-squared of close on time"),
    "resi": (_close_moments, kernels.RESIDUAL, _C, 0, 3, "fraction",
             "residual of the newest close from its line on time/close"),
    "max": (_extremes, order.HIGHEST, _HLC, 0, 1, "ratio", "max(high)/close"),
    "min": (_extremes, order.LOWEST, _HLC, 0, 1, "ratio", "min(low)/close"),
    "qtlu": (_quantiles, 0, _C, 0, 2, "ratio", "80 % quantile of close/close"),
    "qtld": (_quantiles, 1, _C, 0, 2, "ratio", "20 % quantile of close/close"),
    "rank": (_rank, 0, _C, 0, 1, "ratio", "percentile rank of the newest close"),
    "rsv": (_extremes, order.POSITION, _HLC, 0, 1, "ratio",
            "(close - min(low))/(max(high) - min(low))"),
    "imax": (_extremes, order.PLACE_OF_HIGHEST, _HLC, 0, 1, "ratio", "place of max(high)/w"),
    "imin": (_extremes, order.PLACE_OF_LOWEST, _HLC, 0, 1, "ratio", "place of min(low)/w"),
    "imxd": (_extremes, order.ORDER_OF_EXTREMES, _HLC, 0, 1, "ratio",
             "(place of max(high) - place of min(low))/w"),
    "corr": (_close_volume, kernels.CORRELATION, _CV, 0, 3, "correlation",
             "corr(close, ln(volume + 1))"),
    "cord": (_change_volume, kernels.CORRELATION, _CV, 1, 3, "correlation",
             "corr(close ratio, ln(volume ratio + 1))"),
    "cntp": (_close_updown, kernels.COUNT_UP, _C, 1, 1, "ratio", "share of rises of close"),
    "cntn": (_close_updown, kernels.COUNT_DOWN, _C, 1, 1, "ratio", "share of falls of close"),
    "cntd": (_close_updown, kernels.COUNT_DIFF, _C, 1, 1, "ratio", "cntp - cntn"),
    "sump": (_close_updown, kernels.SUM_UP, _C, 1, 1, "ratio", "sum of rises/sum of moves"),
    "sumn": (_close_updown, kernels.SUM_DOWN, _C, 1, 1, "ratio", "sum of falls/sum of moves"),
    "sumd": (_close_updown, kernels.SUM_DIFF, _C, 1, 1, "ratio", "sump - sumn"),
    "vma": (_volume_moments, kernels.MEAN, _V, 0, 2, "ratio", "mean(volume)/volume"),
    "vstd": (_volume_moments, kernels.STD, _V, 0, 2, "ratio", "std(volume)/volume, ddof 1"),
    "wvma": (_weighted_move, kernels.CV, _CV, 1, 2, "ratio",
             "std(|return| volume)/mean(|return| volume)"),
    "vsump": (_volume_updown, kernels.SUM_UP, _V, 1, 1, "ratio", "sump of volume"),
    "vsumn": (_volume_updown, kernels.SUM_DOWN, _V, 1, 1, "ratio", "sumn of volume"),
    "vsumd": (_volume_updown, kernels.SUM_DIFF, _V, 1, 1, "ratio", "sumd of volume"),
    "momentum": (_momentum, 0, _C, 1, SKIP_SESSIONS + 1, "fraction",
                 "total return from w sessions ago to 21 sessions ago"),
    "vol": (_return_vol, kernels.STD, _C, 1, 2, "fraction per session",
            "std of total returns, ddof 1, not annualised"),
    "vol_ratio": (_vol_ratio, 0, _C, 1, SHORT_VOL_SESSIONS, "ratio",
                  "std of the last 20 total returns/std of the last w"),
    "parkinson": (_parkinson, kernels.MEAN, ("high", "low"), 0, 2, "fraction per session",
                  "sqrt(mean(ln(high/low)^2)/(4 ln 2))"),
    "max_return": (_largest_return, order.HIGHEST, _C, 1, 1, "fraction",
                   "largest total return of a session"),
    "amihud": (_illiquidity, kernels.MEAN, _CV, 1, 2, "fraction per million of currency",
               "mean(|total return|/(close volume)) 1e6"),
    "dollar_volume_z": (_dollar_volume, kernels.ZSCORE, _CV, 0, 3, "standard deviations",
                        "(x - mean(x))/std(x) with x = ln(close volume)"),
    "log_dollar_volume": (_log_dollar_volume, kernels.MEAN, _CV, 0, 2, "log currency",
                          "ln(mean(close volume))"),
    "high_distance": (_extreme_distance, order.HIGHEST, _HLC, 0, 1, "fraction",
                      "close/max(high) - 1"),
    "low_distance": (_extreme_distance, order.LOWEST, _HLC, 0, 1, "fraction",
                     "close/min(low) - 1"),
    "beta_market": (_market_line, kernels.BETA, _C, 1, 3, "number",
                    "slope of total returns on the equal-weight market of members"),
    "ivol_market": (_market_line, kernels.RESIDUAL_STD, _C, 1, 3, "fraction per session",
                    "residual std of that regression, ddof 2"),
    "pass_through": (_pass_through, 0, (), 1, 0, "as published", "the panel field of that name"),
}  # fmt: skip

for _name, (_group, _output, _inputs, _extra, _smallest, _unit, _formula) in _KINDS.items():
    FEATURE_KINDS.register(
        _name,
        metadata=PluginMetadata(
            summary=_formula,
            params=WindowParams if _smallest else NoParams,
            test_params=({"window": max(_smallest, 30)},) if _smallest else ({},),
        ),
    )(FeatureKind(_group, _output, _inputs, _extra, _smallest, Causality.CAUSAL, _unit))

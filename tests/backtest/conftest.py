"""Difficult small markets: gaps, late listings, delistings, dividends, spreads, thin volume."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.panel import GroupTable, Panel, TimeAxis
from quant_engine.execution import CostProfile


@dataclass
class Market:
    panel: Panel
    scores: np.ndarray
    delistings: pd.DataFrame
    regimes: pd.DataFrame
    benchmark: pd.Series


def build_market(seed, n_rows=60, n_assets=8):
    rng = np.random.default_rng(seed)
    close = 20 * np.exp(np.cumsum(rng.normal(0, 0.02, (n_rows, n_assets)), axis=0))
    open_ = close * np.exp(rng.normal(0, 0.01, close.shape))
    volume = rng.lognormal(10.5, 1.0, close.shape)
    dividend = np.where(rng.random(close.shape) < 0.03, rng.uniform(0.05, 0.5, close.shape), 0.0)
    dividend[rng.random(close.shape) < 0.1] = np.nan
    spread = rng.uniform(1e-4, 9e-4, close.shape)
    spread[rng.random(close.shape) < 0.2] = np.nan
    missing = rng.random(close.shape) < 0.05
    missing[:7, 0] = True  # listed late
    missing[35:, 1] = True  # delisted with a known return
    missing[40:, 2] = True  # merged, return unknown
    missing[25:45, 3] = True  # halted for longer than the limit used in the tests
    missing[50:, 4] = True  # stops without a record
    for field in (open_, close, volume):
        field[missing] = np.nan
    volume[rng.random(close.shape) < 0.03] = 0.0
    member = rng.random(close.shape) > 0.05
    sessions = pd.bdate_range("2019-01-01", periods=n_rows).to_numpy()
    names = tuple(f"{letter}@US#1" for letter in "HCAFBGDE"[:n_assets])
    panel = Panel(
        TimeAxis.sessions(sessions),
        names,
        {
            "open": open_,
            "close": close,
            "volume": volume,
            "dividend": dividend,
            "half_spread_frac": spread,
        },
        {"member": member},
        {"sector": GroupTable(_sectors(rng, close.shape), ("tech", "energy"))},
    )
    scores = rng.normal(0, 1, close.shape)
    scores = np.round(0.7 * np.vstack([scores[:1], scores[:-1]]) + 0.7 * scores, 1)
    scores[rng.random(close.shape) < 0.1] = np.nan
    scores[[13, 14]] = np.nan
    delistings = pd.DataFrame(
        {
            "asset_id": [names[1], names[2]],
            "session": [sessions[34], sessions[40]],
            "terminal_return": [-0.55, np.nan],
            "reason": ["performance", "merger"],
        }
    )
    index = pd.DatetimeIndex(sessions)
    regimes = pd.DataFrame({"regime": rng.integers(-1, 4, n_rows)}, index=index)
    benchmark = pd.Series(rng.normal(0, 0.01, n_rows), index=index)
    return Market(panel, scores, delistings, regimes, benchmark)


def _sectors(rng, shape):
    return np.repeat(rng.integers(-1, 2, (1, shape[1])), shape[0], axis=0).astype(np.int16)


@pytest.fixture(scope="session")
def make_market():
    return build_market


@pytest.fixture(scope="session")
def costly():
    """Costs of every kind, large enough to matter, with caps that bind."""
    return CostProfile(
        name="costly",
        fee_bps=3.0,
        half_spread_bps=4.0,
        impact_coef_bps=60.0,
        borrow_bps_ann=900.0,
        participation_cap_frac=0.05,
        min_fill_frac=0.3,
        adv_sessions=6,
        adv_min_sessions=3,
        stress_multiplier=1.5,
    )


@pytest.fixture(scope="session")
def free():
    return CostProfile(
        name="free",
        fee_bps=0.0,
        half_spread_bps=0.0,
        use_panel_spread=False,
        impact_coef_bps=0.0,
        borrow_bps_ann=0.0,
        participation_cap_frac=None,
        min_fill_frac=0.0,
    )


def flat_market(open_, close, dividend=None, volume=1e9):
    """A panel of given prices, very liquid, on business days."""
    open_, close = np.asarray(open_, float), np.asarray(close, float)
    fields = {"open": open_, "close": close, "volume": np.where(np.isnan(close), np.nan, volume)}
    if dividend is not None:
        fields["dividend"] = np.asarray(dividend, float)
    names = tuple(f"{letter}@US#1" for letter in "ABCDEFGH"[: close.shape[1]])
    sessions = pd.bdate_range("2020-01-01", periods=len(close)).to_numpy()
    return Panel(TimeAxis.sessions(sessions), names, fields)


@pytest.fixture(scope="session")
def priced():
    return flat_market

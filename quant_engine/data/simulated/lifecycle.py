"""Life of the names: listings, delistings with terminal returns, tickers, universe membership.

Delisting losses are part of returns. A holder of a name that may delist after the close expects
``h * m`` from that event (hazard times mean terminal return), so the overnight return of names
that survive is raised by the compensation c for which

``h_p m_p + h_m m_m + (1 - h)(D + c) = D``,  ``h = h_p + h_m``

with D the expected overnight return (market premium, style premia, alpha). Hence the expected
simple return is D whether or not names delist, and no characteristic that predicts delisting
predicts returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from quant_engine.core.arrays import BoolMatrix, FloatMatrix, FloatVector
from quant_engine.core.ids import asset_id
from quant_engine.data.simulated.config import EquityWorldConfig, ListingSpec, MembershipSpec
from quant_engine.data.simulated.kernels import (
    REASON_MERGER,
    REASON_NONE,
    FloatCube,
    IntMatrix,
    IntVector,
    lifecycle,
    to_uniform,
)
from quant_engine.data.simulated.streams import Streams

REASON_NAMES = ("", "performance", "merger")
_REUSE_GAP_SESSIONS = 40
_LOSS_CONCENTRATION = 5.0  # of the Beta law of performance losses; its mean is the configured one
_CONSONANTS = "BCDFGHJKLMNPQRSTVWZ"


@dataclass(frozen=True)
class Lives:
    """When each name lives and how it ends.

    Parameters
    ----------
    rows : ndarray of int64, shape (4, N)
        First row and last row with a bar; reason (0 alive at the end, 1 performance, 2 merger);
        name whose ticker this one reuses (-1 = none).
    terminal_return : ndarray, shape (N,)
        Simple return after the last close of names that delisted; NaN otherwise.
    hazards : ndarray, shape (2, R, N)
        Probability of performance and merger delisting after the close of the row; 0 off life.
    living : ndarray of bool, shape (R, N)
        Rows from first_row to last_row.
    """

    rows: IntMatrix
    terminal_return: FloatVector
    hazards: FloatCube
    living: BoolMatrix

    @property
    def first_row(self) -> IntVector:
        """First row of each name, shape (N,)."""
        return self.rows[0]

    @property
    def last_row(self) -> IntVector:
        """Last row with a bar of each name, shape (N,)."""
        return self.rows[1]

    @property
    def reason(self) -> IntVector:
        """0 alive at the end, 1 performance, 2 merger; shape (N,)."""
        return self.rows[2]

    @property
    def predecessor(self) -> IntVector:
        """Name whose ticker this one reuses, -1 for none; shape (N,)."""
        return self.rows[3]


def simulate_lives(
    config: EquityWorldConfig,
    streams: Streams,
    *,
    log_returns: FloatMatrix,
    drivers: Mapping[str, FloatMatrix],
) -> Lives:
    """Draw listings and delistings.

    Parameters
    ----------
    config : EquityWorldConfig
        The world.
    streams : Streams
        Its random streams.
    log_returns : ndarray, shape (R, N)
        Log returns per session without alpha, so that the same names delist in every shape.
    drivers : mapping of str to ndarray, shape (R, N)
        Latent characteristics ``distress`` and ``takeover``.

    Returns
    -------
    Lives
        First and last rows, reasons, hazards.
    """
    spec = config.listing
    n_rows, n_assets = log_returns.shape
    rows = np.empty((4, n_assets), dtype=np.int64)
    rows[0] = _listing_rows(spec, streams, n_rows, n_assets)
    hazards = np.empty((2, n_rows, n_assets))
    scores = np.empty((2, n_rows, n_assets))
    to_uniform(drivers["distress"], scores[0])
    to_uniform(drivers["takeover"], scores[1])
    lifecycle(
        log_returns,
        scores,
        streams.of("delisting").random((n_rows, n_assets)),
        spec.delisting_rate * np.array([1.0 - spec.merger_frac, spec.merger_frac]),
        np.array([spec.seasoning_sessions, _REUSE_GAP_SESSIONS, _last_listing_row(n_rows)]),
        rows,
        hazards,
    )
    row = np.arange(n_rows)[:, None]
    return Lives(
        rows=rows,
        terminal_return=_terminal_returns(spec, streams, rows[2]),
        hazards=hazards,
        living=(row >= rows[0]) & (row <= rows[1]),
    )


def compensation(
    spec: ListingSpec, hazards: FloatCube, expected_overnight: FloatMatrix
) -> FloatMatrix:
    """Return what surviving names earn overnight for the delisting losses they escaped.

    ``c = h / (1 - h) * D - (h_p m_p + h_m m_m) / (1 - h)``, see the module's description.

    Parameters
    ----------
    spec : ListingSpec
        Mean terminal returns m_p and m_m.
    hazards : ndarray, shape (2, R, N)
        h_p and h_m after the close of each row.
    expected_overnight : ndarray, shape (R, N)
        D of the night after each row, fraction.

    Returns
    -------
    ndarray, shape (R, N)
        Addition to the overnight return after each row, fraction.
    """
    hazard = hazards[0] + hazards[1]
    loss = hazards[0] * spec.performance_mean_return + hazards[1] * spec.merger_mean_return
    return (hazard * expected_overnight - loss) / (1.0 - hazard)


def name_assets(streams: Streams, predecessor: IntVector) -> tuple[list[str], list[str]]:
    """Give every name a made-up ticker and its asset_id; reused tickers count up.

    Parameters
    ----------
    streams : Streams
        Random streams of the world.
    predecessor : ndarray of int64, shape (N,)
        Name whose ticker is reused, -1 for none.

    Returns
    -------
    tuple of two lists of str
        Tickers and asset_ids.
    """
    base = len(_CONSONANTS)
    # Four consonants from X on: no words, and hardly ever the ticker of a real company.
    codes = np.sort(streams.of("tickers").choice(base**3, size=predecessor.size, replace=False))
    tickers = [
        "X" + "".join(_CONSONANTS[code // base**k % base] for k in (2, 1, 0)) for code in codes
    ]
    holders: dict[str, int] = {}
    ids = []
    for i in _in_order_of_life(predecessor):
        if predecessor[i] >= 0:
            tickers[i] = tickers[predecessor[i]]
        holders[tickers[i]] = holders.get(tickers[i], 0) + 1
        ids.append((i, asset_id(tickers[i], number=holders[tickers[i]])))
    return tickers, [name for _, name in sorted(ids)]


def membership_mask(
    spec: MembershipSpec, lives: Lives, *, size_usd: FloatMatrix, initial_size_usd: FloatVector
) -> BoolMatrix:
    """Return the point-in-time universe: the largest living names at each review.

    A review uses the sizes at the close of its row and takes effect on the next row; the first
    review uses the sizes before the first session.

    Parameters
    ----------
    spec : MembershipSpec
        Share, review interval and buffer.
    lives : Lives
        Lives of the names.
    size_usd : ndarray, shape (R, N)
        Market capitalisation at the close; NaN off life.
    initial_size_usd : ndarray, shape (N,)
        Market capitalisation before the first session.

    Returns
    -------
    ndarray of bool, shape (R, N)
        Membership; row 0 is the row before the first session and False.
    """
    member = np.zeros(size_usd.shape, dtype=bool)
    inside = np.zeros(size_usd.shape[1], dtype=bool)
    for review in range(0, size_usd.shape[0] - 1, spec.review_sessions):
        size = initial_size_usd if review == 0 else size_usd[review]
        alive = lives.living[max(review, 1)]
        size = np.where(alive, size, -np.inf)
        rank = np.empty(size.size, dtype=np.int64)
        rank[np.argsort(-size, kind="stable")] = np.arange(size.size)
        cut = round(spec.member_frac * int(alive.sum()))
        inside = alive & (rank < np.where(inside, (1.0 + spec.buffer_frac) * cut, cut))
        stop = min(review + 1 + spec.review_sessions, size_usd.shape[0])
        member[review + 1 : stop] = inside
    return member & lives.living


def _last_listing_row(n_rows: int) -> int:
    return int(0.8 * n_rows)


def _listing_rows(spec: ListingSpec, streams: Streams, n_rows: int, n_assets: int) -> IntVector:
    """First row of each name; -1 for slots that wait for a delisted name's ticker."""
    rng = streams.of("listing")
    rows = rng.integers(2, _last_listing_row(n_rows), size=n_assets)
    late = rng.permutation(n_assets) < round(spec.late_listing_frac * n_assets)
    rows[~late] = 1
    if spec.n_ticker_reuses:
        rows[-spec.n_ticker_reuses :] = -1
    return rows.astype(np.int64)


def _terminal_returns(spec: ListingSpec, streams: Streams, reason: IntVector) -> FloatVector:
    """Terminal simple return of each name that delisted, with the configured means."""
    rng = streams.of("terminal")
    mean_loss = -spec.performance_mean_return
    shape = (_LOSS_CONCENTRATION * mean_loss, _LOSS_CONCENTRATION * (1.0 - mean_loss))
    failed = -rng.beta(*shape, size=reason.size)
    merged = spec.merger_mean_return + rng.uniform(-0.1, 0.1, size=reason.size)
    returns = np.where(reason == REASON_MERGER, merged, failed)
    return np.where(reason == REASON_NONE, np.nan, returns)


def _in_order_of_life(predecessor: IntVector) -> list[int]:
    """Order the names so that every name comes after the one whose ticker it reuses."""
    order: list[int] = []
    waiting = list(range(predecessor.size))
    while waiting:
        done = set(order)
        ready = [i for i in waiting if predecessor[i] < 0 or int(predecessor[i]) in done]
        order += ready
        taken = set(ready)
        waiting = [i for i in waiting if i not in taken]
    return order

"""Write a world as files, in the layout that a person's own data has.

::

    FOLDER/prices/SYMBOL.csv     date,open,high,low,close,volume,vwap (split-adjusted): --path
    FOLDER/membership.csv        ticker,start_date,end_date (first day outside, empty = open)
    FOLDER/sectors.csv           ticker,sector
    FOLDER/benchmark.csv         bars of the cap-weighted total-return fund of the members
    FOLDER/dividends.csv splits.csv delistings.csv fundamentals.csv security_master.csv
    FOLDER/truth/                what nobody may read: alpha, regimes, factors, configuration

Prices have a folder of their own, so that a reader that searches it meets nothing but bars. A
file is named by the ticker; where a ticker was reused, the earlier company's files carry the month
of its last session (``XBCD-201505``), as vendors of delisted data do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from quant_engine.core.hashing import canonical_json
from quant_engine.data.simulated.config import SECTOR_NAMES
from quant_engine.data.simulated.world import EquityWorld

_BAR_FIELDS = ("open", "high", "low", "close", "volume", "vwap")
# Nine significant digits: rounding keeps the order of open, high, low, close and VWAP.
_NUMBER = "%.9g"
_TRUTH_ARRAYS = ("alpha", "oracle_score", "oracle_ic", "forward_return", "beta", "regime")


def write_world_as_files(world: EquityWorld, folder: Path) -> Path:
    """Write prices, tables and truth of a world.

    Parameters
    ----------
    world : EquityWorld
        What to write.
    folder : Path
        Created when absent; files of the same name are replaced.

    Returns
    -------
    Path
        The folder of the price files, to be given to a reader of local data.

    Examples
    --------
    >>> import tempfile
    >>> from quant_engine.data.simulated import EquityWorldConfig, simulate_equity_world
    >>> world = simulate_equity_world(EquityWorldConfig(seed=1, n_assets=12, n_sessions=120))
    >>> with tempfile.TemporaryDirectory() as name:
    ...     prices = write_world_as_files(world, Path(name))
    ...     len(list(prices.glob("*.csv"))), (prices.parent / "membership.csv").is_file()
    (12, True)
    """
    symbols = file_symbols(world)
    prices = folder / "prices"
    prices.mkdir(parents=True, exist_ok=True)
    days = world.panel.time.values.astype(str)
    for position, asset in enumerate(world.panel.asset_ids):
        bars = {name: world.panel.field(name)[:, position] for name in _BAR_FIELDS}
        frame = pd.DataFrame({"date": days, **bars})
        _write(frame.dropna(), prices / f"{symbols[asset]}.csv")
    _write_tables(world, folder, symbols)
    _write_truth(world, folder / "truth")
    return prices


def file_symbols(world: EquityWorld) -> dict[str, str]:
    """Name the file of every asset.

    Parameters
    ----------
    world : EquityWorld
        The world.

    Returns
    -------
    dict of str to str
        asset_id to symbol, unique.
    """
    master = world.security_master
    reused = master["ticker"].duplicated(keep="last")
    last = dict(zip(world.delistings["asset_id"], world.delistings["last_session"], strict=True))
    return {
        asset: f"{ticker}-{last[asset]:%Y%m}" if is_reused else ticker
        for asset, ticker, is_reused in zip(
            master["asset_id"], master["ticker"], reused, strict=True
        )
    }


def _write_tables(world: EquityWorld, folder: Path, symbols: dict[str, str]) -> None:
    spells = world.membership.rename(
        columns={"start_session": "start_date", "end_session": "end_date"}
    )
    _write(_by_symbol(spells, symbols), folder / "membership.csv")
    codes = world.panel.group("sector").codes.max(axis=0)
    sectors = pd.DataFrame(
        {
            "asset_id": list(world.panel.asset_ids),
            "sector": [SECTOR_NAMES[code] for code in codes],
        }
    )
    _write(_by_symbol(sectors, symbols), folder / "sectors.csv")
    for name in ("dividends", "splits", "delistings", "fundamentals"):
        _write(_by_symbol(getattr(world, name), symbols), folder / f"{name}.csv")
    master = world.security_master.assign(file=world.security_master["asset_id"].map(symbols))
    _write(master, folder / "security_master.csv")
    _write(_benchmark_bars(world), folder / "benchmark.csv")


def _benchmark_bars(world: EquityWorld) -> pd.DataFrame:
    """Open and close of the cap-weighted fund, starting at 100 on the first close."""
    returns = world.benchmark
    close = 100.0 * np.cumprod(1.0 + returns["cap_weight"].fillna(0.0).to_numpy())
    before = np.concatenate([[100.0], close[:-1]])
    open_ = before * (1.0 + returns["cap_weight_overnight"].fillna(0.0).to_numpy())
    volume = np.nansum(
        np.where(world.panel.mask("member"), world.panel.field("volume"), 0.0), axis=1
    )
    return pd.DataFrame(
        {
            "date": world.panel.time.values.astype(str),
            "open": open_,
            "high": np.maximum(open_, close),
            "low": np.minimum(open_, close),
            "close": close,
            "volume": volume,
        }
    )


def _write_truth(world: EquityWorld, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    truth = world.truth
    for name in ("alpha_terms", "characteristics"):
        _write(getattr(truth, name), folder / f"{name}.csv")
    _write(truth.factor_returns.reset_index(), folder / "factor_returns.csv")
    arrays = {name: getattr(truth, name) for name in _TRUTH_ARRAYS}
    np.savez_compressed(folder / "arrays.npz", **arrays)
    facts = {
        "config": world.config.content(),
        "digest": world.digest(),
        "alpha_scale": truth.alpha_scale,
        "mean_oracle_ic": None if np.isnan(truth.mean_oracle_ic) else truth.mean_oracle_ic,
        "asset_ids": list(world.panel.asset_ids),
    }
    (folder / "truth.json").write_text(canonical_json(facts) + "\n", encoding="utf-8")


def _by_symbol(frame: pd.DataFrame, symbols: dict[str, str]) -> pd.DataFrame:
    """Replace asset_id by the file's symbol, which is all that a person's own tables know."""
    renamed = frame.assign(ticker=frame["asset_id"].map(symbols)).drop(columns="asset_id")
    return renamed[["ticker", *renamed.columns.drop("ticker")]]


def _write(frame: pd.DataFrame, path: Path) -> None:
    frame.to_csv(path, index=False, float_format=_NUMBER, lineterminator="\n")

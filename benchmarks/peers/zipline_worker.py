"""Worker in zipline's environment: one JSON request per line on standard input, one answer each.

Prices go through zipline's own bundle, which is written before the clock starts. Share amounts are
ordered the day before they fill at the next bar's price; zipline trades whole shares.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import zipline
from zipline.api import order, set_commission, set_slippage, symbol
from zipline.data.bundles import ingest, register
from zipline.finance import commission, slippage
from zipline.utils.calendar_utils import get_calendar
from zipline.utils.run_algo import run_algorithm

CALENDAR = get_calendar("XNYS")


def write_bundle(name: str, price: np.ndarray, days: pd.DatetimeIndex, environ: dict) -> None:
    """Store bars that open and close at one price."""
    names = [f"A{j}" for j in range(price.shape[1])]

    def write(environ, assets, minutes, bars, adjustments, calendar, first, last, *rest):
        del environ, minutes, calendar, first, last, rest
        assets.write(
            equities=pd.DataFrame(
                {
                    "symbol": names,
                    "asset_name": names,
                    "start_date": days[0],
                    "end_date": days[-1],
                    "auto_close_date": days[-1] + pd.Timedelta(days=5),
                    "exchange": "NYSE",
                }
            ),
            exchanges=pd.DataFrame(
                {"exchange": ["NYSE"], "canonical_name": ["NYSE"], "country_code": ["US"]}
            ),
        )
        frames = (
            (j, pd.DataFrame({"open": own, "high": own, "low": own, "close": own,
                              "volume": np.full(len(own), 1e9)}, index=days))
            for j, own in enumerate(price.T)
        )  # fmt: skip
        bars.write(frames)
        adjustments.write()

    register(name, write, calendar_name="XNYS", start_session=days[0], end_session=days[-1])
    ingest(name, environ=environ, show_progress=False)


def replay(name: str, size: np.ndarray, days: pd.DatetimeIndex, request: dict, environ: dict):
    """Order tomorrow's amounts every day."""
    amounts = np.rint(size).astype(np.int64)
    names = [f"A{j}" for j in range(size.shape[1])]

    def initialize(context):
        set_slippage(us_equities=slippage.NoSlippage())
        set_commission(us_equities=commission.PerDollar(cost=request["fee_frac"]))
        context.assets = [symbol(own) for own in names]
        context.row = 0

    def handle_data(context, data):
        del data
        context.row += 1
        if context.row < len(amounts):
            for asset, amount in zip(context.assets, amounts[context.row].tolist(), strict=True):
                if amount:
                    order(asset, amount)

    return run_algorithm(
        days[0], days[-1], initialize, request["cash"], handle_data=handle_data, bundle=name,
        trading_calendar=CALENDAR, benchmark_returns=pd.Series(0.0, index=days), environ=environ,
    )  # fmt: skip


def answer(request: dict) -> dict:
    """One request."""
    with np.load(request["file"]) as stored:
        data = {name: stored[name] for name in stored.files}
    days = CALENDAR.sessions[CALENDAR.sessions >= "2007-01-03"][: len(data["price"])]
    with tempfile.TemporaryDirectory() as root:
        environ = {"ZIPLINE_ROOT": root}
        name = f"bars{Path(root).name}"
        write_bundle(name, data["price"], days, environ)
        start = time.process_time()
        found = replay(name, data["size"], days, request, environ)
        cpu = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    n_orders = int(sum(len(day) for day in found["transactions"]))
    made = {"n_orders": n_orders, "equity": found["portfolio_value"].tolist()}
    return {"cpu": cpu, "peak_gb": peak, **made}


if __name__ == "__main__":
    print(json.dumps({"ready": zipline.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)

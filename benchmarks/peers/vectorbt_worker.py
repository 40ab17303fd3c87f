"""The vectorbt side of ``benchmarks/simulator.py``: JSON requests on stdin, answers on stdout.

Run by the interpreter of ``.peers/vectorbt``; the arrays come from the npz file that a request
names, and ``engine`` is numba or rust.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import numpy as np
import pandas as pd
import vectorbt as vbt


def orders(data: dict[str, np.ndarray], fee_frac: float, cash: float) -> dict:
    """Replay share amounts at given prices in one account; the records are part of the work."""
    size = np.where(data["size"] == 0.0, np.nan, data["size"])
    book = vbt.Portfolio.from_orders(
        data["close"], size=size, price=data["price"], fees=fee_frac, init_cash=cash,
        cash_sharing=True, group_by=True, freq="1D",
    )  # fmt: skip
    return {"n_orders": len(book.order_records), "final": book}


def weights(data: dict[str, np.ndarray], fee_frac: float, cash: float) -> dict:
    """Trade towards shares of the account; sales first, so that cash is there for purchases."""
    book = vbt.Portfolio.from_orders(
        data["close"], size=data["weights"], size_type="targetpercent", price=data["price"],
        fees=fee_frac, init_cash=cash, cash_sharing=True, group_by=True, call_seq="auto", freq="1D",
    )  # fmt: skip
    return {"n_orders": len(book.order_records), "final": book}


def averages(data: dict[str, np.ndarray], fee_frac: float, pairs: list[list[int]]) -> np.ndarray:
    """Total return per pair and column: long above, flat otherwise, next open."""
    close, opened = pd.DataFrame(data["close"]), pd.DataFrame(data["open"])
    fast, slow = ([pair[i] for pair in pairs] for i in (0, 1))
    above = vbt.MA.run(close, window=fast).ma.to_numpy() > vbt.MA.run(close, window=slow).ma
    known = above.shift(1, fill_value=False).to_numpy()
    columns = np.tile(opened.to_numpy(), (1, len(pairs)))
    book = vbt.Portfolio.from_signals(
        np.tile(close.to_numpy(), (1, len(pairs))), known, ~known, price=columns, fees=fee_frac,
        init_cash=1.0, freq="1D",
    )  # fmt: skip
    return book.total_return().to_numpy().reshape(len(pairs), close.shape[1])


def answer(request: dict) -> dict:
    """One request."""
    vbt.settings["engine"] = request["engine"]
    with np.load(request["file"]) as stored:
        data = {name: stored[name] for name in stored.files}
    start = time.process_time()
    if request["task"] in ("orders", "weights"):
        work = orders if request["task"] == "orders" else weights
        found = work(data, request["fee_frac"], request["cash"])
        cpu = time.process_time() - start
        made = {"n_orders": found["n_orders"], "final": float(found["final"].final_value())}
    else:
        returns = averages(data, request["fee_frac"], request["pairs"])
        cpu = time.process_time() - start
        made = {"returns": returns.tolist()}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"cpu": cpu, "peak_gb": peak, **made}


if __name__ == "__main__":
    print(json.dumps({"ready": vbt.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)

"""Worker in bt's environment: one JSON request per line on standard input, one answer per line.

The work is what a user would write: target weights per day, rebalanced at that day's price.
"""

from __future__ import annotations

import json
import resource
import sys
import time

import bt
import numpy as np
import pandas as pd


def weights(data: dict[str, np.ndarray], fee_frac: float, cash: float) -> dict:
    """Trade towards weights at the day's price; all transactions are part of the work."""
    days = pd.bdate_range("2000-01-03", periods=len(data["price"]))
    names = [f"A{j}" for j in range(data["price"].shape[1])]
    price = pd.DataFrame(data["price"], days, names)
    wanted = pd.DataFrame(data["weights"], days, names)
    algos = [bt.algos.WeighTarget(wanted), bt.algos.Rebalance()]
    book = bt.Backtest(
        bt.Strategy("book", algos), price, initial_capital=cash, integer_positions=False,
        commissions=lambda quantity, paid: abs(quantity) * paid * fee_frac, progress_bar=False,
    )  # fmt: skip
    book.run()
    return {
        "n_orders": len(book.strategy.get_transactions()),
        "equity": book.strategy.values.reindex(days).to_numpy(),
    }


def answer(request: dict) -> dict:
    """One request."""
    with np.load(request["file"]) as stored:
        data = {name: stored[name] for name in stored.files}
    start = time.process_time()
    found = weights(data, request["fee_frac"], request["cash"])
    cpu = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    made = {"n_orders": found["n_orders"], "equity": found["equity"].tolist()}
    return {"cpu": cpu, "peak_gb": peak, **made}


if __name__ == "__main__":
    print(json.dumps({"ready": bt.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), flush=True)

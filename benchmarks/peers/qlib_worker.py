"""Qlib as a peer: reads requests line by line, computes, answers with CPU seconds and peak memory.

Runs in Qlib's own environment and imports nothing of this project. A request is a JSON object with
``task`` ("features" or "load") and, for features, ``expressions`` (name to formula) and optionally
``save``: a file for the values of the first symbols, for the parity check.
"""

import json
import resource
import sys
import time

import numpy as np
import qlib
from qlib.config import REG_US
from qlib.data import D

FIELDS = ["$open", "$high", "$low", "$close", "$volume", "$vwap"]


def answer(request, symbols):
    """Run one request and return what is measured."""
    if request["task"] == "load":
        names, formulas = FIELDS, FIELDS
    else:
        names, formulas = zip(*request["expressions"].items(), strict=True)
    before = time.process_time(), time.perf_counter()
    frame = D.features(symbols, list(formulas), freq="day")
    cpu, wall = time.process_time() - before[0], time.perf_counter() - before[1]
    if request.get("save"):
        part = frame.loc[symbols[: request["n_saved"]]]
        values = part.to_numpy(dtype=np.float64).reshape(request["n_saved"], -1, len(names))
        np.savez(request["save"], **{n: values[:, :, i].T for i, n in enumerate(names)})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"cpu": cpu, "wall": wall, "peak_gb": peak, "result_gb": frame.to_numpy().nbytes / 1e9}


def main():
    """Serve requests until the input ends."""
    folder, n_assets = sys.argv[1], int(sys.argv[2])
    qlib.init(
        provider_uri=folder, region=REG_US, kernels=1, expression_cache=None, dataset_cache=None,
        logging_level=40,
    )  # fmt: skip
    symbols = [f"A{number:05d}" for number in range(n_assets)]
    print(json.dumps({"ready": qlib.__version__}), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), symbols)), flush=True)


if __name__ == "__main__":
    main()

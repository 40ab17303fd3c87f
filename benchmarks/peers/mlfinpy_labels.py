"""mlfinpy as a peer: labels the first events of one series of closes, prints CPU seconds.

Runs in mlfinpy's own environment. Arguments: a CSV file of closes, number of events, multiple of
the target at which both barriers lie, target.
"""

import sys
import time

import pandas as pd
from mlfinpy.labeling import add_vertical_barrier, get_bins, get_events


def main():
    """Label and print."""
    close = pd.read_csv(sys.argv[1], index_col=0, parse_dates=True)["close"]
    n_events, multiple, target = int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
    when = close.index[:n_events]
    start = time.process_time()
    vertical = add_vertical_barrier(when, close, num_days=28)
    found = get_events(
        close, when, [multiple, multiple], pd.Series(target, index=when), 0.0, 1, vertical,
        verbose=False,
    )  # fmt: skip
    get_bins(found, close)
    print(time.process_time() - start)


if __name__ == "__main__":
    main()

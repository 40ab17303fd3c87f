"""Backtest out-of-sample predictions: see python run_backtest.py --help."""

import sys

from quant_engine.cli.backtest import main

if __name__ == "__main__":
    sys.exit(main())

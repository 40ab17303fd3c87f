"""Predict the latest session: see python run_predict.py --help."""

import sys

from quant_engine.cli.predict import main

if __name__ == "__main__":
    sys.exit(main())

"""Retrain, list versions, roll back: see python run_retrain.py --help."""

import sys

from quant_engine.cli.retrain import main

if __name__ == "__main__":
    sys.exit(main())

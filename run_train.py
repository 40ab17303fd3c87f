"""Train a model: see python run_train.py --help."""

import sys

from quant_engine.cli.train import main

if __name__ == "__main__":
    sys.exit(main())

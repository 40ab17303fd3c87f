"""Study, rank and add factors: see python run_factors.py --help."""

import sys

from quant_engine.cli.factors import main

if __name__ == "__main__":
    sys.exit(main())

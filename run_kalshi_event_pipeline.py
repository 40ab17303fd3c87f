"""Event markets from records to a verdict: see python run_kalshi_event_pipeline.py --help."""

import sys

from quant_engine.cli.kalshi import main

if __name__ == "__main__":
    sys.exit(main())

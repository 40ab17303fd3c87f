"""Research features: signatures, lead and lag, networks, spillover, waves, volatility curves."""

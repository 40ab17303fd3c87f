"""Market regimes: volatility, trend and correlation states from past data only.

The public door is :func:`quant_engine.regime.detector.detect_regimes`. Only forward-filtered
probabilities leave this package; smoothed states, which know the future, do not exist in it.
"""

"""Pure statistics: metrics, inference, information coefficients, calibration, splits.

Everything here takes arrays and a frozen configuration and returns values. Nothing reads a file,
a clock or the environment, and ``periods_per_year`` is always an argument.
"""

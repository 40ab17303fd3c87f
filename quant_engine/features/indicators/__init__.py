"""Indicators: functions with a kernel of their own, one module per family."""

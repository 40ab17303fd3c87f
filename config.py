"""Your overrides: plain assignments of literals, read from the working folder, never executed.

Every setting can also be given as ``--set section.key=value`` or ``QE_SECTION__KEY=value``.
Remove the leading # to change a default, for instance:
"""

# labels = {"horizon_sessions": 10}
# seed = 7
# model = {"long_short_frac": 0.2}
# split = {"test_sessions": 63}
# costs = "base"
# backtest = {"initial_equity_usd": 1000000}

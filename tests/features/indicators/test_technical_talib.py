"""Technical indicators against numbers of TA-Lib, and where ours are other numbers on purpose."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.panel import Panel, TimeAxis
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.functions import FUNCTIONS
from quant_engine.features.indicators import catalogue

pytestmark = pytest.mark.feature("Q-19")

assert catalogue.directional

T = np.arange(120.0)
CLOSE = np.round(50 + 5 * np.sin(T / 7) + 3 * np.sin(T / 2.3) + 0.02 * T, 2)
OPEN = np.round(CLOSE - 1.5 * np.cos(T / 1.7), 2)
BARS = {
    "open": OPEN,
    "high": np.round(np.maximum(OPEN, CLOSE) + 0.6 + 0.5 * np.sin(T), 2),
    "low": np.round(np.minimum(OPEN, CLOSE) - 0.7 - 0.5 * np.cos(1.3 * T), 2),
    "close": CLOSE,
    "volume": np.round(1e5 * (2 + np.sin(T / 3) + np.cos(T / 1.1))),
}

# TA-Lib 0.8.2 (C 0.8.1) on these bars: first row with a value, value of row 60, value of row 119.
TALIB = {
    "SeededEMA": (20, 53.62077951713989, 51.3608355593131),
    "Wilder": (13, 53.09294860983592, 51.6484265058913),
    "DEMA": (38, 55.85266529969216, 49.92157900237958),
    "TEMA": (57, 56.70915987594855, 48.59709565447495),
    "KAMA": (10, 54.79712011006975, 49.17795552423565),
    "RSI": (14, 71.0638127007812, 44.97538203178447),
    "CMO": (14, 42.127625401562376, -10.049235936431065),
    "CMOU": (14, 25.942350332594245, -55.4131054131054),
    "TRIX": (43, 0.4071307514916578, -0.20547525856761117),
    "MACD": (33, 1.6294140751554593, -1.1562192770266364),
    "MACDSignal": (33, 1.3315849014472179, -0.8393982042445189),
    "MACDHist": (33, 0.29782917370824147, -0.31682107278211746),
    "PPO": (25, 3.0532268840840255, -2.24016187244805),
    "StochK": (17, 73.12844199680228, 29.55571936457851),
    "StochD": (17, 68.46741219348147, 23.24074048887863),
    "FastK": (15, 78.63741339491916, 34.38661710037178),
    "FastD": (15, 73.12844199680228, 29.55571936457851),
    "StochRSIK": (29, 81.39128229044752, 45.381052933944055),
    "StochRSID": (29, 70.76428811626427, 36.71698068504159),
    "WilliamsR": (13, -21.36258660508084, -65.61338289962822),
    "CCI": (19, 109.31052193471827, -42.31035176934984),
    "UltOsc": (28, 48.146578788279975, 56.4790157008219),
    "MFI": (14, 75.29625138590153, 62.9135266075631),
    "TrueRange": (1, 2.1099999999999994, 1.6999999999999957),
    "ATR": (14, 2.461063866266118, 2.420621062703964),
    "NATR": (14, 4.286074305583626, 4.787620772753093),
    "PlusDI": (14, 27.47786973363654, 13.344750801801153),
    "MinusDI": (14, 11.721409255220589, 19.65807292413268),
    "DX": (14, 40.19579156773499, 19.129642283822147),
    "ADX": (27, 27.992468499860202, 27.484911642632085),
    "AroonUp": (25, 96.0, 36.0),
    "AroonDown": (25, 16.0, 88.0),
    "AroonOsc": (25, 80.0, -52.0),
    "VortexPlus": (14, 1.0329994107248086, 0.6809327846364885),
    "VortexMinus": (14, 0.9110194460813201, 1.089437585733882),
    "SAR": (1, 51.106159999999996, 46.86),
    "OBV": (0, 1717118.0, 2240375.0),
    "AccDist": (0, 131812.851875666, 1275481.3225843878),
    "ChaikinOsc": (9, -58257.93401024322, 311865.9654799121),
    "CMF": (19, 0.09831385261096057, 0.07550118961305247),
}

FORMULAS = {
    "SeededEMA": "SeededEMA($close, 21)", "Wilder": "Wilder($close, 14)",
    "DEMA": "DEMA($close, 20)", "TEMA": "TEMA($close, 20)", "KAMA": "KAMA($close, 10)",
    "MACD": "MACD($close, 12, 26, 9)", "MACDSignal": "MACDSignal($close, 12, 26, 9)",
    "MACDHist": "MACDHist($close, 12, 26, 9)", "PPO": "PPO($close, 12, 26)",
    "TRIX": "TRIX($close, 15)", "RSI": "RSI($close)", "CMO": "CMO($close)", "CMOU": "CMOU($close)",
    "StochRSIK": "StochRSIK($close, 14, 14, 3)", "StochRSID": "StochRSID($close, 14, 14, 3)",
    "AroonUp": "AroonUp($high, $low, 25)", "AroonDown": "AroonDown($high, $low, 25)",
    "AroonOsc": "AroonOsc($high, $low, 25)", "SAR": "SAR($high, $low)",
    "OBV": "OBV($close, $volume)", "MFI": "MFI($high, $low, $close, $volume)",
    "AccDist": "AccDist($high, $low, $close, $volume)",
    "ChaikinOsc": "ChaikinOsc($high, $low, $close, $volume)",
    "CMF": "CMF($high, $low, $close, $volume)",
}  # fmt: skip
"""Formula by name; the others read high, low, close and have TA-Lib's usual numbers as defaults."""

# The same of what needs no function here: upper BBANDS(20, 2, 2), middle KC(20), DONCHIAN(20),
# HMA(16) and EFI(13).
TALIB_FORMULAS = {
    "Mean($close, 20) + 2*0.9746794344808963*Std($close, 20)":
        (19, 59.558726975769375, 60.87899405709868),
    "SeededEMA($typical, 20)": (19, 53.78988418787291, 51.17288445910881),
    "Max($high, 20)": (19, 59.27, 60.24),
    "Min($low, 20)": (19, 45.2, 46.86),
    "WMA(2*WMA($close, 8) - WMA($close, 16), 4)": (18, 55.1887753267974, 47.83285620915043),
    "SeededEMA(Delta($close, 1)*$volume, 13)": (13, 118936.6285074794, 59798.75461917534),
}  # fmt: skip


def run(formula: str, bars: dict[str, np.ndarray] = BARS) -> np.ndarray:
    n_rows = len(bars["close"])
    days = np.datetime64("2020-01-01") + np.arange(n_rows)
    columns = {name: values.reshape(n_rows, 1) for name, values in bars.items()}
    panel = Panel(TimeAxis.sessions(days), ("A@US#1",), columns)
    program = compile_expressions({"x": formula})
    return program.run(panel, dtype=np.float64, allow_short=True).field("x")[:, 0]


@pytest.mark.parametrize("name", TALIB)
def test_numbers_are_those_of_talib(name):
    first, middle, last = TALIB[name]
    got = run(FORMULAS.get(name, f"{name}($high, $low, $close)"))
    assert np.flatnonzero(~np.isnan(got))[0] == first
    np.testing.assert_allclose(got[[60, 119]], [middle, last], rtol=1e-9)


@pytest.mark.parametrize("formula", TALIB_FORMULAS)
def test_formulas_without_a_function_are_those_of_talib(formula):
    first, middle, last = TALIB_FORMULAS[formula]
    got = run(formula)
    assert np.flatnonzero(~np.isnan(got))[0] == first
    np.testing.assert_allclose(got[[60, 119]], [middle, last], rtol=1e-9)


STANDING = {
    "RSI($close)": 50.0, "CMO($close)": 0.0, "CMOU($close)": 0.0,
    "StochK($high, $low, $close)": 50.0, "FastD($high, $low, $close)": 50.0,
    "StochRSIK($close)": 50.0, "WilliamsR($high, $low, $close)": -50.0,
    "CCI($high, $low, $close)": 0.0, "UltOsc($high, $low, $close)": 50.0,
    "MFI($high, $low, $close, $volume)": 50.0, "ADX($high, $low, $close)": 0.0,
    "PlusDI($high, $low, $close)": 0.0, "VortexPlus($high, $low, $close)": 1.0,
    "CMF($high, $low, $close, $volume)": 0.0, "MACD($close)": 0.0, "TRIX($close)": 0.0,
    "Streak($close)": 0.0, "PointOfControl($high, $low, $volume)": 50.1,
    "ValueAreaHigh($high, $low, $volume)": 50.1, "VWAPStd($close, $volume)": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("formula", STANDING)
def test_a_price_that_never_moved_gives_the_stated_value(formula):
    flat = {name: np.full(120, 50.1) for name in ("open", "high", "low", "close")}
    flat["volume"] = np.full(120, 1000.0)
    got = run(formula, flat)
    np.testing.assert_allclose(got[-30:], STANDING[formula], rtol=1e-12, atol=1e-10)


def test_a_price_that_stands_still_after_moves_has_no_stochastic_of_rounding():
    close = np.concatenate([CLOSE, np.full(100, 50.1)])
    got = run("StochRSIK($close, 14, 14, 3)", {"close": close})
    assert (got[-60:] == 50.0).all()
    strength = run("RSI($close)", {"close": close})
    np.testing.assert_allclose(strength[-60:], strength[-1], rtol=1e-9)


def test_mfi_does_not_depend_on_the_unit_of_volume():
    want = run("MFI($high, $low, $close, $volume)")
    small = run("MFI($high, $low, $close, $volume)", {**BARS, "volume": 1e-12 * BARS["volume"]})
    np.testing.assert_allclose(small, want, rtol=1e-12)


def test_typical_prices_that_differ_by_rounding_are_equal():
    # Both typical prices are 0.2, but the sums are not the same float.
    high, low, close = ([[a], [0.2]] for a in (0.4, 0.1, 0.1))
    volume = [[1.0], [1.0]]
    assert ((0.4 + 0.1) + 0.1) / 3 != ((0.2 + 0.2) + 0.2) / 3
    got = FUNCTIONS.get("MFI").run(*map(np.array, (high, low, close, volume)), numbers=(1,))
    assert got[0, 1, 0] == 50.0


def test_a_swing_is_known_only_after_its_right_side():
    x = np.array([1.0, 2.0, 5.0, 3.0, 4.0, 3.0, 7.0, 6.0, 6.0, 2.0])[:, None]
    newest, before, age = FUNCTIONS.get("SwingHigh").run(x, numbers=(2, 8))[:, :, 0]
    assert np.isnan(newest[:7]).all()
    # The 7 of row 6 is known at row 8, not at row 7.
    np.testing.assert_array_equal(newest[7:], [5.0, 7.0, 7.0])
    np.testing.assert_array_equal(before[7:], [np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(age[7:], [5.0, 2.0, 3.0])


def test_a_profile_spreads_each_bar_over_its_own_range():
    high, low = np.array([[4.0], [2.0]]), np.array([[0.0], [1.0]])
    volume = np.array([[40.0], [30.0]])
    # Bins of width 1 hold 10, 10 + 30, 10, 10: the fullest is the second, half of 70 lies in it.
    got = FUNCTIONS.get("PointOfControl").run(high, low, volume, numbers=(2, 4, 0.5))
    assert got[:, 1, 0].tolist() == [1.5, 2.0, 1.0]
    wider = FUNCTIONS.get("PointOfControl").run(high, low, volume, numbers=(2, 4, 0.7))
    assert wider[:, 1, 0].tolist() == [1.5, 3.0, 1.0]


@pytest.mark.parametrize(("sizes", "peak"), [((2e12, 1e12), 0.5), ((1e12, 2e12), 9.5)])
def test_a_value_area_ends_at_the_ends_of_the_profile(sizes, peak):
    high, low, volume = (np.array(x)[:, None] for x in ((1.0, 10.0), (0.0, 9.0), sizes))
    got = FUNCTIONS.get("PointOfControl").run(high, low, volume, numbers=(2, 10, 0.9))
    assert got[:, 1, 0].tolist() == [peak, 10.0, 0.0]


def test_without_volume_there_is_no_price_by_volume():
    none = {**BARS, "volume": np.zeros(120)}
    assert np.isnan(run("VWAP($close, $volume, 10)", none)).all()
    assert np.isnan(run("PointOfControl($high, $low, $volume, 10)", none)).all()
    assert (run("CMF($high, $low, $close, $volume, 10)", none)[9:] == 0.0).all()


def test_averages_of_macd_may_be_named_in_any_order():
    np.testing.assert_array_equal(run("MACD($close, 26, 12, 9)"), run("MACD($close, 12, 26, 9)"))

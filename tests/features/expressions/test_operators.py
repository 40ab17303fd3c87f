"""Every operator against plain numpy over single windows, on data made to break running sums."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from quant_engine.core.panel import GroupTable, Panel, TimeAxis
from quant_engine.features.expressions.operators import EMA_TAIL, OPERATORS, decay_of
from quant_engine.features.expressions.program import compile_expressions

pytestmark = pytest.mark.feature("Q-19")

N_ROWS, N_ASSETS = 540, 7


def rough_series(seed):
    """Walks with ties, constant stretches, a huge spike, a level shift, gaps, a dead column."""
    rng = np.random.default_rng(seed)
    x = 50.0 + np.cumsum(rng.standard_normal((N_ROWS, N_ASSETS)), axis=0)
    x[:, 1] = np.round(x[:, 1])
    x[100:240, 2] = 42.25
    x[300, 3] *= 1e6
    x[200:, 4] += 1e5
    x[rng.random(x.shape) < 0.004] = np.nan
    x[:, 5] = np.nan
    x[:30, 6] = np.nan
    x[150:152, 6] = np.inf
    x[400:, 0] *= -1.0
    return x


@pytest.fixture(scope="module")
def market():
    rng = np.random.default_rng(5)
    days = np.datetime64("2015-01-01") + np.arange(N_ROWS)
    sector = GroupTable(rng.integers(-1, 2, (N_ROWS, N_ASSETS)).astype(np.int16), ("a", "b"))
    return Panel(
        TimeAxis.sessions(days),
        tuple(f"A{j}@US#1" for j in range(N_ASSETS)),
        {"x": rough_series(3), "y": rough_series(4), "z": rng.standard_normal((N_ROWS, N_ASSETS))},
        groups={"sector": sector},
    )


def compute(panel, text, **options):
    program = compile_expressions({"f": text}, **options)
    return program.run(panel, dtype=np.float64).field("f")


def finite(values):
    return np.where(np.isfinite(values), values, np.nan)


def windowed(function, w, *series):
    """The definition: the function of every complete window, NaN elsewhere."""
    out = np.full(series[0].shape, np.nan)
    for t in range(w - 1, len(out)):
        for j in range(out.shape[1]):
            values = [s[t - w + 1 : t + 1, j] for s in series]
            if all(np.isfinite(v).all() for v in values):
                out[t, j] = function(*values)
    return out


def is_flat(v):
    return np.std(v) <= 1e-9 * abs(np.mean(v)) * (1.0 + 1e-6)


def line(part):
    def fit(v):
        time = np.arange(1.0, len(v) + 1)
        time -= time.mean()
        slope = (time * (v - v.mean())).sum() / (time**2).sum()
        if part == "slope":
            return slope
        if part == "residual":
            return v[-1] - v.mean() - slope * time[-1]
        squares = ((v - v.mean()) ** 2).sum()
        return np.nan if is_flat(v) else slope**2 * (time**2).sum() / squares

    return fit


def shape(kind):
    def moment(v):
        return np.nan if is_flat(v) else getattr(pd.Series(v - v.mean()), kind)()

    return moment


def correlation(a, b):
    return np.nan if is_flat(a) or is_flat(b) else np.corrcoef(a, b)[0, 1]


def rank_of_last(v):
    return ((v < v[-1]).sum() + ((v == v[-1]).sum() + 1) / 2) / len(v)


def weighted(v):
    w = np.arange(1.0, len(v) + 1)
    return (w * v).sum() / w.sum()


ROLLING = {
    "Sum": np.sum,
    "Mean": np.mean,
    "Std": lambda v: v.std(ddof=1),
    "Var": lambda v: v.var(ddof=1),
    "Skew": shape("skew"),
    "Kurt": shape("kurt"),
    "Max": np.max,
    "Min": np.min,
    "Med": np.median,
    "Mad": lambda v: np.abs(v - v.mean()).mean(),
    "Rank": rank_of_last,
    "IdxMax": lambda v: v.argmax() + 1,
    "IdxMin": lambda v: v.argmin() + 1,
    "Slope": line("slope"),
    "Rsquare": line("rsquare"),
    "Resi": line("residual"),
    "WMA": weighted,
    "Product": np.prod,
}


def scale_of(values, w):
    """Size of the numbers in each window: the unit in which rounding is measured."""
    return pd.DataFrame(np.abs(np.nan_to_num(values))).rolling(w, min_periods=1).max().to_numpy()


@pytest.mark.parametrize("name", sorted(ROLLING))
@pytest.mark.parametrize("w", [5, 61])
def test_rolling_operators(market, name, w):
    x = finite(market.field("x"))
    want = finite(windowed(ROLLING[name], w, x))
    got = compute(market, f"{name}($x, {w})")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    # A level of 1e5 and a spread of 1 leave the twin itself only so many digits.
    slack = {"Var": 2, "Product": 0}.get(name, 1)
    unit = np.where(np.isnan(want), 0.0, scale_of(x, w)) ** slack
    free = name in ("Rsquare", "Skew", "Kurt")
    tolerance = 1e-9 * np.abs(want) + (1e-8 if free else 2e-12 * unit)
    bad = np.abs(got - want) > tolerance
    assert not bad.any(), (np.argwhere(bad)[:3], got[bad][:3], want[bad][:3])


@pytest.mark.parametrize("w", [2, 5, 61])
def test_rolling_pairs(market, w):
    x, y = finite(market.field("x")), finite(market.field("y"))
    want = windowed(correlation, w, x, y)
    np.testing.assert_allclose(compute(market, f"Corr($x, $y, {w})"), want, rtol=1e-9, atol=1e-8)
    want = windowed(lambda a, b: np.cov(a, b)[0, 1], w, x, y)
    got = compute(market, f"Cov($x, $y, {w})")
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    unit = scale_of(x, w) * scale_of(y, w)
    assert (np.abs(got - want) <= 1e-9 * np.abs(want) + 1e-14 * unit)[~np.isnan(want)].all()


@pytest.mark.parametrize("level", [0.0, 0.2, 0.8, 1.0])
@pytest.mark.parametrize("w", [1, 2, 7, 60])
def test_quantiles(market, level, w):
    want = windowed(lambda v: np.quantile(v, level), w, finite(market.field("x")))
    got = compute(market, f"Quantile($x, {w}, {level})")
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("w", [1, 2, 3, 8, 256, 300])
def test_extremes_at_every_block_boundary(market, w):
    x = finite(market.field("x"))
    for name in ("Max", "Min", "IdxMax", "IdxMin"):
        got = compute(market, f"{name}($x, {w})")
        np.testing.assert_array_equal(got, windowed(ROLLING[name], w, x), err_msg=name)


def test_counting_does_not_blank(market):
    known = np.isfinite(market.field("x"))
    want = pd.DataFrame(known.astype(float)).rolling(9).sum().to_numpy()
    np.testing.assert_array_equal(compute(market, "Count($x, 9)"), want)


@pytest.mark.parametrize("span", [0.3, 2.5, 9])
def test_exponential_average_is_that_of_pandas_but_for_its_tail(market, span):
    keep, rows = decay_of(span)
    weights = keep ** np.arange(rows)[::-1]
    assert keep**rows <= EMA_TAIL < keep ** (rows - 1)
    x = finite(market.field("x"))
    got = compute(market, f"EMA($x, {span})")
    want = windowed(lambda v: (weights * v).sum() / weights.sum(), rows, x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    assert (np.abs(got - want) <= 1e-9 * np.abs(want) + 1e-12 * scale_of(x, rows))[
        ~np.isnan(want)
    ].all()
    settings = {"alpha": span} if span < 1 else {"span": span}
    whole = pd.DataFrame(market.field("z")).ewm(**settings).mean().to_numpy()
    got = compute(market, f"EMA($z, {span})")
    np.testing.assert_allclose(got[rows - 1 :], whole[rows - 1 :], atol=10 * EMA_TAIL)


def test_shifts(market):
    x = pd.DataFrame(finite(market.field("x")))
    np.testing.assert_array_equal(compute(market, "Ref($x, 3)"), x.shift(3))
    np.testing.assert_array_equal(compute(market, "Delta($x, 3)"), x - x.shift(3))
    np.testing.assert_array_equal(compute(market, "Ref($x, -2)", allow_future=True), x.shift(-2))
    short = market.rows(0, 3)
    program = compile_expressions({"f": "Ref($x, 5)"})
    assert np.isnan(program.run(short, allow_short=True).field("f")).all()


def blank(values, *series):
    """Missing where an argument is missing: NaN rules of comparisons and of logic."""
    lost = np.logical_or.reduce([~np.isfinite(s) for s in series])
    return np.where(lost, np.nan, np.asarray(values, dtype=float))


POINTWISE = {
    "$x + $y": lambda x, y: x + y,
    "$x - $y": lambda x, y: x - y,
    "$x * $y": lambda x, y: x * y,
    "$x / $y": lambda x, y: x / y,
    "$x / 0": lambda x, y: x * np.nan,
    "2 / ($x - $x)": lambda x, y: x * np.nan,
    "Power(Abs($x), 0.5)": lambda x, y: np.sqrt(np.abs(x)),
    "$x ** 2": lambda x, y: x**2,
    "$y ** 0": lambda x, y: y * 0 + 1,
    "2 ** -1 * $x": lambda x, y: x / 2,
    "-$x ** 2": lambda x, y: -(x**2),
    "SignedPower($x, 2)": lambda x, y: np.sign(x) * x**2,
    "Greater($x, $y)": np.maximum,
    "Less($x, $y)": np.minimum,
    "Greater(0, $x)": lambda x, y: np.maximum(0, x),
    "Abs(-$x)": lambda x, y: np.abs(x),
    "Sign($x)": lambda x, y: np.sign(x),
    "Log($x)": lambda x, y: np.where(x > 0, np.log(np.abs(x)), np.nan),
    "Exp($x)": lambda x, y: np.exp(x),
    "Sqrt($x)": lambda x, y: np.sqrt(x),
    "$x > $y": lambda x, y: blank(x > y, x, y),
    "$x >= $y": lambda x, y: blank(x >= y, x, y),
    "Lt($x, $y)": lambda x, y: blank(x < y, x, y),
    "Le($x, $y)": lambda x, y: blank(x <= y, x, y),
    "$x == 42.25": lambda x, y: blank(x == 42.25, x),
    "42.25 != $x": lambda x, y: blank(x != 42.25, x),
    "($x > 0) & ($y > 50)": lambda x, y: blank((x > 0) & (y > 50), x, y),
    "Or($x > 0, $y > 50)": lambda x, y: blank((x > 0) | (y > 50), x, y),
    "~($x > 0)": lambda x, y: blank(x <= 0, x),
    "If($x > 50, $y, -1)": lambda x, y: np.where(np.isnan(x), np.nan, np.where(x > 50, y, -1)),
    "Mask($y, $x > 50)": lambda x, y: np.where(x > 50, y, np.nan),
    "(1 + 2) * 3 - 4 / 2 + 0 * $z": lambda x, y: np.full(x.shape, 7.0),
}


@pytest.mark.parametrize("text", POINTWISE)
def test_pointwise_operators(market, text):
    x, y = finite(market.field("x")), finite(market.field("y"))
    with np.errstate(all="ignore"):
        want = finite(np.asarray(POINTWISE[text](x, y), dtype=float))
    np.testing.assert_allclose(compute(market, text), want, rtol=1e-12)


def by_row(function, *matrices):
    return np.array([function(*rows) for rows in zip(*matrices, strict=True)])


def test_cross_sections(market):
    x = pd.DataFrame(finite(market.field("x")))
    np.testing.assert_allclose(compute(market, "CsRank($x)"), x.rank(axis=1, pct=True), rtol=1e-12)
    mean = x.mean(axis=1)
    demeaned = x.sub(mean, axis=0)
    atol = 1e-9 * np.nanmax(np.abs(x))
    np.testing.assert_allclose(compute(market, "CsDemean($x)"), demeaned, rtol=1e-9, atol=atol)
    score = demeaned.div(x.std(axis=1), axis=0)
    np.testing.assert_allclose(compute(market, "CsZscore($x)"), score, rtol=1e-9, atol=1e-12)
    beside = {"CsMean($x)": mean, "CsStd($x)": x.std(axis=1), "CsCount($x)": x.count(axis=1),
              "CsQuantile($x, 0.3)": x.quantile(0.3, axis=1)}  # fmt: skip
    for text, want in beside.items():
        got = compute(market, text)
        assert (np.nanmax(got, axis=1) == np.nanmin(got, axis=1)).all(), text
        np.testing.assert_allclose(got[:, 0], want, rtol=1e-9, atol=atol, err_msg=text)
    scaled = 2.5 * x.div(x.abs().sum(axis=1), axis=0)
    np.testing.assert_allclose(compute(market, "CsScale($x, 2.5)"), scaled, rtol=1e-9)

    def neutral(row, codes):
        groups = pd.Series(row).groupby(pd.Series(codes).replace(-1, np.nan))
        return row - groups.transform("mean").to_numpy()

    want = by_row(neutral, x.to_numpy(), market.group("sector").codes)
    for name in ("CsNeutralize", "IndNeutralize"):
        got = compute(market, f"{name}($x, $sector)")
        np.testing.assert_allclose(got, want, rtol=1e-9, atol=atol)


def test_members_alone_make_a_cross_section(market):
    member = np.random.default_rng(0).random(market.shape) < 0.6
    x = pd.DataFrame(finite(market.field("x"))).where(member)
    got = compute(market.with_masks({"member": member}), "CsRank($x)")
    np.testing.assert_allclose(got, x.rank(axis=1, pct=True), rtol=1e-12)


def test_stages_of_windows_and_cross_sections_mix(market):
    text = "Mean(CsRank(Delta($x, 2)), 4) * Delta($z, 1) - CsRank(CsDemean($z))"
    x, z = pd.DataFrame(finite(market.field("x"))), pd.DataFrame(market.field("z"))
    ranked = (x - x.shift(2)).rank(axis=1, pct=True).rolling(4).mean()
    want = ranked * (z - z.shift()) - z.sub(z.mean(axis=1), axis=0).rank(axis=1, pct=True)
    np.testing.assert_allclose(compute(market, text), want, rtol=1e-9, atol=1e-12)


def test_every_operator_is_tested_here():
    written = " ".join(
        [*POINTWISE, *ROLLING, "Quantile Corr Cov Count EMA Ref Delta CsRank CsZscore"]
    )
    written += " CsDemean CsScale CsNeutralize IndNeutralize CsMean CsStd CsCount CsQuantile"
    signs = {"Add", "Sub", "Mul", "Div", "Gt", "Ge", "Eq", "Ne", "And", "Not"}
    assert not {name for name in OPERATORS if name not in signs and name not in written}


def test_no_drift_on_a_long_series():
    rng = np.random.default_rng(9)
    x = 1e6 + rng.standard_normal((20_000, 1))
    x[5_000] = 1e12
    days = np.datetime64("1900-01-01") + np.arange(len(x))
    panel = Panel(TimeAxis.sessions(days), ("A@US#1",), {"x": x})
    frame = pd.DataFrame(x - 1e6)
    clean = np.ones(len(x), bool)
    clean[5_000:5_060] = False
    for text, want in (
        ("Mean($x, 60) - 1000000", frame.rolling(60).apply(np.mean, raw=True)),
        ("Std($x, 60)", frame.rolling(60).apply(lambda v: v.std(ddof=1), raw=True)),
        ("Slope($x, 60)", frame.rolling(60).apply(line("slope"), raw=True)),
    ):
        got = compute(panel, text)
        np.testing.assert_allclose(got[clean], want[clean], rtol=1e-7, atol=1e-9, err_msg=text)

"""Features of event markets: each kind by a second derivation; declarations; missing values."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError
from scipy.spatial.distance import jensenshannon
from scipy.stats import norm, wasserstein_distance

from quant_engine.core.errors import SchemaMismatchError
from quant_engine.core.specs import SpecCatalog
from quant_engine.kalshi.decisions import (
    MEASURES,
    Decision,
    Prints,
    StateFitter,
    Ticks,
    last_probabilities,
    raw_probabilities,
)
from quant_engine.kalshi.distribution import DistributionConfig, reconstruct
from quant_engine.kalshi.events import LadderLook
from quant_engine.kalshi.features import (
    KINDS,
    EventFeature,
    EventFeatureSet,
    compute_features,
    load_features,
)
from quant_engine.kalshi.history import base_rate, history_features, past_clusters
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.payoffs import Contract
from quant_engine.kalshi.quotes import NO_QUOTE, LegQuote

pytestmark = pytest.mark.feature("Q-45")

HOUR = 3_600_000_000
SCHEDULED = 1_000 * HOUR
GRID = SettlementGrid(1.0)
LEGS = (
    Contract("E-0", "less_or_equal", cap_strike=70.0),
    Contract("E-1", "between", 71.0, 72.0),
    Contract("E-2", "between", 73.0, 74.0),
    Contract("E-3", "between", 75.0, 76.0),
    Contract("E-4", "greater_or_equal", floor_strike=77.0),
)
EDGES = (-np.inf, 70.5, 72.5, 74.5, 76.5, np.inf)
HOURS = 6


def look_at(horizon_h, mean=73.5, sd=1.6, *, quotes=None, **changed):
    asof_us = SCHEDULED - horizon_h * HOUR
    price = np.diff(norm.cdf(EDGES, mean, sd))
    if quotes is None:
        quotes = tuple(
            LegQuote(
                leg.ticker, bid_e4=max(round(1e4 * p) - 150, 0), ask_e4=round(1e4 * p) + 150,
                bid_size_c2=1_000 * (k + 1), ask_size_c2=2_500, age_s=60.0 * (k + 1),
                event_us=asof_us - 60_000_000 * (k + 1),
            )
            for k, (leg, p) in enumerate(zip(LEGS, price, strict=True))
        )  # fmt: skip
    facts = {
        "event_id": 1, "event_ticker": "E", "asof_us": asof_us, "horizon_s": 3_600 * horizon_h,
        "scheduled_us": SCHEDULED, "contracts": LEGS, "quotes": quotes,
        "last_e4": tuple(round(1e4 * p) + 100 for p in price), "absent": {},
        "without_strikes": (), "is_exclusive": True, "release_id": 1, "cluster_id": 1,
        "cluster": "c", "family": "f", "max_input_avail_us": asof_us - 1,
    }  # fmt: skip
    return LadderLook(**facts | changed)


def make_trades(seed=0, n=400):
    rng = np.random.default_rng(seed)
    event_us = SCHEDULED - HOURS * HOUR - rng.integers(0, 30 * HOUR, n)
    return pd.DataFrame(
        {
            "event_id": 1,
            "ticker": [f"E-{k}" for k in rng.integers(0, 5, n)],
            "event_us": event_us,
            "avail_us": event_us + 1_000_000,
            "yes_price_e4": 100 * rng.integers(1, 99, n),
            "count_c2": 100 * rng.integers(1, 50, n),
            "taker_outcome": rng.choice(["yes", "no", None], n, p=[0.5, 0.4, 0.1]),
            "is_block": rng.random(n) < 0.1,
        }
    )


def make_ticks():
    rows = [
        (1, f"E-{k}", SCHEDULED - h * HOUR, SCHEDULED - h * HOUR + 5, 100.0 * (50 - h), 10.0 * h)
        for k in range(5)
        for h in (40, 20, 7, 5)
    ]
    names = ["event_id", "ticker", "event_us", "avail_us", "volume_c2", "oi_c2"]
    return pd.DataFrame(rows, columns=names)


MEANS = {1: 73.3, 6: 72.4, 24: 74.0}
SDS = {1: 1.7, 6: 2.0, 24: 2.6}


@pytest.fixture(scope="module")
def cell():
    fitter = StateFitter(DistributionConfig())
    now = look_at(HOURS)
    lattice = fitter.lattice_of(now, GRID)
    before = {
        3_600 * back: fitter.fit(
            look_at(HOURS + back, MEANS[back], SDS[back]), GRID, lattice=lattice
        )
        for back in MEANS
    }
    asof_us = now.asof_us
    return Decision(
        fitter.fit(now, GRID),
        before,
        Prints.from_frame(make_trades()).known(asof_us),
        Ticks.from_frame(make_ticks()).known(asof_us),
    )


@pytest.fixture(scope="module")
def values(cell):
    return compute_features(cell, load_features())


def fits(cell):
    """The four distributions once more, by the one-call function."""
    found = {
        back: reconstruct(look.contracts, look.quotes, GRID, is_exclusive=True)
        for back, look in {0: cell.now.look}.items()
    }
    for back in MEANS:
        look = cell.before[3_600 * back].look
        found[back] = reconstruct(look.contracts, look.quotes, GRID, is_exclusive=True)
    return found


def test_every_feature_has_a_value_where_everything_is_known(values):
    empty = [name for name, value in values.items() if np.isnan(value)]
    history = [f.name for f in load_features().features if f.kind == "history"]
    assert empty == history
    assert list(values) == list(load_features().names)


def test_shape_and_movement_are_those_of_the_distributions(cell, values):
    found = fits(cell)
    x = found[0].points
    assert values["MEAN"] == pytest.approx(found[0].pmf @ x)
    assert values["SD"] == pytest.approx(np.sqrt(found[0].pmf @ (x - values["MEAN"]) ** 2))
    q25, q50, q75 = found[0].quantiles([0.25, 0.5, 0.75])
    assert values["IQR"] == pytest.approx(q75 - q25)
    assert values["BOWLEY"] == pytest.approx((q75 + q25 - 2 * q50) / (q75 - q25))
    assert values["TAIL_HIGH"] == pytest.approx(found[0].pmf[x > 77].sum())
    for back in (1, 6, 24):
        far = found[back]
        np.testing.assert_array_equal(far.points, x)
        w1 = wasserstein_distance(x, x, found[0].pmf, far.pmf)
        assert values[f"MEAN_CHANGE_{back}H"] == pytest.approx(found[0].mean - far.mean)
        assert values[f"W1_{back}H"] == pytest.approx(w1)
        assert values[f"SPEED_{back}H"] == pytest.approx(w1 / back**0.5)
        js = jensenshannon(found[0].pmf, far.pmf) ** 2
        assert values[f"JS_{back}H"] == pytest.approx(js)
        hellinger = np.sqrt(1.0 - np.sqrt(found[0].pmf * far.pmf).sum())
        assert values[f"HELLINGER_{back}H"] == pytest.approx(hellinger)
    assert values["VARIANCE_COLLAPSE_24H"] == pytest.approx(2 * np.log(found[0].sd / found[24].sd))


def test_drift_jump_reversal_and_term_structure(cell, values):
    found = fits(cell)
    backs = np.array([0, 1, 6, 24])
    means = np.array([found[b].mean for b in backs])
    assert values["MEAN_DRIFT"] == pytest.approx(np.polyfit(-backs, means, 1)[0])
    sds = np.array([found[b].sd for b in backs])
    slope = np.polyfit(np.log(3_600 * (HOURS + backs)), np.log(sds), 1)[0]
    assert values["SD_TERM_SLOPE"] == pytest.approx(slope)
    speed = [
        wasserstein_distance(
            found[0].points, found[0].points, found[a].pmf, found[b].pmf
        ) / np.sqrt(b - a)
        for a, b in ((0, 1), (1, 6), (6, 24))
    ]  # fmt: skip
    assert values["JUMP"] == pytest.approx(speed[0] / np.median(speed[1:]))
    moves = (means[0] - means[1]) * (means[1] - means[2])
    assert values["MEAN_REVERSAL"] == pytest.approx(moves / found[0].sd ** 2)


def test_quotes_are_measured_in_cents_and_contracts(cell, values):
    quotes = cell.now.look.quotes
    bid = np.array([q.bid_e4 for q in quotes]) / 100
    ask = np.array([q.ask_e4 for q in quotes]) / 100
    bid_size, ask_size = (
        np.array([getattr(q, f"{side}_size_c2") for q in quotes]) / 100 for side in ("bid", "ask")
    )
    assert values["HALF_SPREAD"] == pytest.approx(np.median(ask - bid) / 2)
    assert values["DEPTH"] == pytest.approx(np.median(np.minimum(bid_size, ask_size)))
    imbalance = (bid_size - ask_size) / (bid_size + ask_size)
    assert values["SIZE_IMBALANCE"] == pytest.approx(imbalance.mean())
    micro = (bid * ask_size + ask * bid_size) / (bid_size + ask_size) - (bid + ask) / 2
    assert values["MICRO_GAP"] == pytest.approx(micro.mean())
    assert (values["AGE_MEDIAN"], values["AGE_MAX"]) == (180.0, 300.0)
    lasts = np.array(cell.now.look.last_e4) / 1e4
    assert values["SUM_OF_LASTS"] == pytest.approx(lasts.sum())
    assert values["RAW_FAVOURITE"] == pytest.approx((bid + ask).max() / (bid + ask).sum())
    state = cell.now
    np.testing.assert_allclose(raw_probabilities(state.quotes), (bid + ask) / (bid + ask).sum())
    np.testing.assert_allclose(last_probabilities(state.quotes, state.look), lasts / lasts.sum())


def test_incoherence_is_the_least_widening(cell):
    rich = tuple(LegQuote(leg.ticker, bid_e4=2_500, ask_e4=2_600, age_s=1.0) for leg in LEGS)
    state = StateFitter(DistributionConfig()).fit(look_at(HOURS, quotes=rich), GRID)
    # Five bids of 25 cents: 25 cents too many.
    assert MEASURES["incoherence"](state) == pytest.approx(25.0)
    assert MEASURES["incoherence"](cell.now) == 0.0
    assert np.isnan(MEASURES["band_width"](state))


def test_flow_by_plain_loops(cell, values):
    trades = make_trades()
    asof_us = cell.asof_us
    known = trades[trades["avail_us"] <= asof_us]
    d = cell.now.distribution
    for hours in (1, 6, 24):
        rows = known[known["event_us"] > asof_us - hours * HOUR]
        count = len(rows)
        signed = total = told = pull = 0.0
        for row in rows.itertuples():
            size = row.count_c2 / 100
            sign = {"yes": 1, "no": -1}.get(row.taker_outcome, 0)
            total += size
            signed += sign * size
            told += size * (sign != 0)
            inside = np.array([LEGS[int(row.ticker[-1])].payoff().contains(x) for x in d.points])
            pull += sign * size * float((d.pmf * (d.points - d.mean))[inside].sum()) / d.sd
        assert values[f"PRINTS_{hours}H"] == count
        assert values[f"CONTRACTS_{hours}H"] == pytest.approx(total)
        assert values[f"TAKER_IMBALANCE_{hours}H"] == pytest.approx(signed / told)
        assert values[f"TAKER_DIRECTION_{hours}H"] == pytest.approx(pull / total)
    day = known[known["event_us"] > asof_us - 24 * HOUR]
    block = day.loc[day["is_block"], "count_c2"].sum() / day["count_c2"].sum()
    assert values["BLOCK_SHARE_24H"] == pytest.approx(block)
    assert values["CONTRACTS_SO_FAR"] == pytest.approx(known["count_c2"].sum() / 100)
    assert values["PRINT_AGE"] == (asof_us - known["event_us"].max()) / 1e6
    six = known[known["event_us"] > asof_us - 6 * HOUR].groupby("ticker")["yes_price_e4"]
    assert values["PRICE_RANGE_6H"] == (six.max() - six.min()).max() / 100
    hour = known[known["event_us"] > asof_us - HOUR].sort_values("event_us")
    changes = sum(
        int((np.diff(path["yes_price_e4"]) != 0).sum()) for _, path in hour.groupby("ticker")
    )
    assert values["PRICE_CHANGES_1H"] == changes


def test_volume_and_open_interest_as_known_then(cell, values):
    # The record of five hours before the schedule came an hour after the decision.
    assert values["VOLUME"] == pytest.approx(5 * (50 - 7))
    assert values["OPEN_INTEREST"] == pytest.approx(5 * 0.7)
    assert values["OPEN_INTEREST_CHANGE_24H"] == pytest.approx(5 * (0.7 - 4.0))
    assert values["UPDATES_1H"] == 0.0
    assert values["HOURS_TO_SCHEDULE"] == HOURS
    assert values["LOG_HOURS_TO_SCHEDULE"] == pytest.approx(np.log(1 + HOURS))


def test_what_is_missing_is_nan_and_what_is_nothing_is_zero(cell):
    features = load_features()
    alone = compute_features(replace(cell, before={}), features)
    moved = [f.name for f in features.features if KINDS[f.kind].steps != "none"]
    assert [n for n in moved if not np.isnan(alone[n])] == []
    assert not np.isnan(alone["MEAN"])
    none = Prints.from_frame(make_trades(n=0))
    silent = compute_features(replace(cell, prints=none), features)
    # No print at all may be silence or a missing recording; none within an hour is silence.
    assert np.isnan(silent["CONTRACTS_1H"])
    assert np.isnan(silent["PRINT_AGE"])
    old = make_trades()
    old = old[old["event_us"] < cell.asof_us - 2 * HOUR]
    quiet = compute_features(replace(cell, prints=Prints.from_frame(old)), features)
    assert (quiet["CONTRACTS_1H"], quiet["PRINTS_1H"]) == (0.0, 0.0)
    assert np.isnan(quiet["TAKER_IMBALANCE_1H"])
    nothing = replace(cell, ticks=Ticks.from_frame(make_ticks().iloc[:0]))
    assert np.isnan(compute_features(nothing, features)["UPDATES_1H"])


def test_a_ladder_without_a_distribution_says_so_everywhere():
    closed = tuple(LegQuote(leg.ticker, NO_QUOTE, NO_QUOTE) for leg in LEGS)
    fitter = StateFitter(DistributionConfig())
    state = fitter.fit(look_at(HOURS, quotes=closed), GRID)
    assert not state.distribution.is_available
    assert MEASURES["usable_share"](state) == 0.0
    for name in ("mean", "half_spread", "incoherence", "raw_favourite", "quality"):
        assert np.isnan(MEASURES[name](state))
    unresolved = fitter.fit(look_at(HOURS, without_strikes=("E-9",)), GRID)
    assert unresolved.quotes is None
    assert all(np.isnan(MEASURES[name](unresolved)) for name in MEASURES)


def test_a_print_that_was_known_later_does_not_count(cell):
    late = make_trades()
    spoilt = late.copy()
    after = spoilt["avail_us"] > cell.asof_us - 5 * HOUR
    assert after.sum() > 20
    spoilt.loc[after, ["yes_price_e4", "count_c2"]] = 9_900
    early = cell.asof_us - 5 * HOUR
    for name in ("price_e4", "count_c2", "avail_us"):
        left = getattr(Prints.from_frame(late).known(early), name)
        np.testing.assert_array_equal(left, getattr(Prints.from_frame(spoilt).known(early), name))


def declared(**changed):
    facts = {
        "name": "X", "kind": "change", "of": "mean", "unit": "u", "inputs": ("quotes",),
        "lookback_s": 3_600, "source": "s",
    }  # fmt: skip
    return EventFeature(**facts | changed)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"kind": "guess"}, "is unknown"),
        ({"of": "result"}, "is unknown"),
        ({"inputs": ("trades",)}, "reads"),
        ({"lookback_s": None}, "rising steps"),
        ({"steps_s": (60, 30)}, "rising steps"),
        ({"steps_s": (60,)}, "rising steps"),
        ({"kind": "slope"}, "rising steps"),
        ({"kind": "level", "steps_s": (60,)}, "drop steps_s"),
        ({"name": "lower"}, "pattern"),
    ],
)
def test_a_declaration_that_is_not_its_kind_is_refused(changed, said):
    with pytest.raises(ValidationError, match=said):
        declared(**changed)


def test_the_shipped_set_is_whole_and_names_are_unique():
    found = SpecCatalog.default().load("kalshi", "features_v1", EventFeatureSet)
    assert found == load_features()
    assert found.steps_s == (3_600, 21_600, 86_400)
    assert {f.kind for f in found.features} == set(KINDS)
    with pytest.raises(ValidationError, match="occur twice"):
        EventFeatureSet(name="n", version="1", features=(declared(), declared()))


def history_cells():
    """Two series of one family, twelve clusters, one horizon; day k is decided at 100 k."""
    rng = np.random.default_rng(4)
    rows = [
        (10 * s + d, 3_600, 100 * d, 10 * s + d, d, "f", s, rng.normal(), 1.0 + s, d == 5)
        for d in range(1, 10)
        for s in (1, 2)
    ]
    names = ["event_id", "horizon_s", "asof_us", "release_id", "cluster_id", "family", "series_id",
             "mean", "sd", "is_moment_truncated"]  # fmt: skip
    cells = pd.DataFrame(rows, columns=names)
    outcomes = pd.DataFrame(
        {
            "release_id": cells["release_id"],
            "value": rng.normal(size=len(cells)),
            # Known half a day later; the second series two days later.
            "avail_us": cells["asof_us"] + 50 + 200 * (cells["series_id"] == 2),
        }
    )
    return cells, outcomes


def test_history_by_plain_loops():
    cells, outcomes = history_cells()
    features = [f for f in load_features().features if f.kind == "history"]
    found, newest = history_features(cells, outcomes, features)
    rows = cells.merge(outcomes, on="release_id")
    for place, cell in cells.iterrows():
        over = rows[(rows["avail_us"] <= cell.asof_us) & (rows["cluster_id"] != cell.cluster_id)]
        sound = over[~over["is_moment_truncated"]].sort_values(["avail_us", "event_id"])
        z = ((sound["value"] - sound["mean"]) / sound["sd"]).groupby(sound["cluster_id"]).mean()
        z = z.reindex(list(dict.fromkeys(sound["cluster_id"])))
        assert found.at[place, "PAST_CLUSTERS"] == len(z)
        assert newest[place] == (over["avail_us"].max() if len(over) else 0)
        if len(z):
            assert found.at[place, "SURPRISE_MEAN"] == pytest.approx(z.mean())
            assert found.at[place, "SURPRISE_ABS"] == pytest.approx(z.abs().mean())
            assert found.at[place, "SURPRISE_RMS"] == pytest.approx(np.sqrt((z**2).mean()))
            assert found.at[place, "SURPRISE_LAST"] == pytest.approx(z.iloc[-1])
        own = over[over["series_id"] == cell.series_id]["value"]
        if len(own) > 1:
            gap = (cell["mean"] - own.mean()) / own.std()
            assert found.at[place, "BASE_GAP"] == pytest.approx(gap)
            assert found.at[place, "BASE_SPREAD"] == pytest.approx(np.log(cell.sd / own.std()))
        else:
            assert np.isnan(found.at[place, "BASE_GAP"])


@pytest.mark.leakage
def test_history_knows_neither_its_own_cluster_nor_later_prints():
    cells, outcomes = history_cells()
    features = load_features().features
    honest, _ = history_features(cells, outcomes, features)
    for d in (3, 6):
        spoilt = outcomes.copy()
        own = cells["cluster_id"] == d
        spoilt.loc[own | (outcomes["avail_us"] > 100 * d), "value"] = 1e6
        again, _ = history_features(cells, spoilt, features)
        pd.testing.assert_frame_equal(again[own], honest[own])
    # Alive: with an availability that is too early the history knows later prints.
    leaky, _ = history_features(cells, outcomes.assign(avail_us=0), features)
    # The last day has no later ones.
    more = leaky["PAST_CLUSTERS"] > honest["PAST_CLUSTERS"]
    assert more[cells["cluster_id"] < 9].all()


def test_clusters_are_counted_once():
    places = past_clusters([1, 1, 2, np.nan, 3, 3], range(6), asof_us=4, own=None, most=2)
    assert places.tolist() == [2, 4]
    assert past_clusters([], [], asof_us=4, own=None, most=2).tolist() == []
    assert np.isnan(base_rate([])[0])
    assert np.isnan(base_rate([1.0])[1])
    with pytest.raises(SchemaMismatchError, match="without"):
        history_features(pd.DataFrame({"sd": []}), history_cells()[1], ())

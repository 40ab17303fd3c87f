"""Simulated worlds: the stated truth is the truth."""

import numpy as np
import pytest
from scipy import stats

from quant_engine.core.errors import ConfigError
from quant_engine.kalshi.fake.world import WorldConfig, make_world


def law(world, event, snapshot):
    config = world.config
    place, scale = event.locations[snapshot], event.scales[snapshot]
    if config.surprise == "gaussian":
        return stats.norm(place, scale)
    return stats.t(config.degrees, place, scale / np.sqrt(config.degrees / (config.degrees - 2)))


def test_a_world_is_a_pure_function_of_its_seed():
    one, two = (make_world(WorldConfig(seed=5)) for _ in range(2))
    assert one == two
    assert make_world(WorldConfig(seed=6)) != one
    # Another number of events leaves the first ones as they are.
    assert make_world(WorldConfig(seed=5, n_events=6)).events[:4] == one.events


@pytest.mark.parametrize("surprise", ["gaussian", "student"])
def test_prices_are_probabilities_under_the_stated_law(surprise):
    world = make_world(WorldConfig(seed=2, surprise=surprise, n_events=4))
    for event in world.events:
        for j in range(world.config.n_snapshots):
            true = law(world, event, j)
            assert world.cdf(event, j, 3.0) == pytest.approx(true.cdf(3.0), abs=1e-12)
            total = 0.0
            for contract in event.contracts:
                low = -np.inf if contract.floor is None else contract.floor
                high = np.inf if contract.cap is None else contract.cap
                expected = true.cdf(high) - true.cdf(low)
                quote = event.quotes[contract.ticker][j]
                assert quote.truth == pytest.approx(expected, abs=1e-12)
                total += quote.truth
            if event.contracts[0].strike_type == "less":
                assert total == pytest.approx(1.0)
                assert sum(event.pays(contract) for contract in event.contracts) == 1


@pytest.mark.parametrize("surprise", ["gaussian", "student"])
def test_outcomes_follow_the_law_that_prices_them(surprise):
    """The probability transform of 1,500 outcomes is uniform; under the other law it is not."""
    config = WorldConfig(
        seed=11, surprise=surprise, n_events=1500, degrees=3.0, drift_sd=1e-6, n_snapshots=1,
        trades_per_snapshot=0.0,
    )  # fmt: skip
    world = make_world(config)
    pits = [world.cdf(event, 0, event.outcome) for event in world.events]
    assert stats.kstest(pits, "uniform").pvalue > 0.01
    z = np.array([(e.outcome - e.locations[0]) / e.scales[0] for e in world.events])
    heavy = np.mean(np.abs(z) > 3.5) > 3 * 2 * stats.norm.sf(3.5)
    assert heavy == (surprise == "student")


def test_quotes_are_ticks_with_noise_of_the_stated_size():
    config = WorldConfig(seed=4, n_events=200, noise_e4=150, trades_per_snapshot=0.0)
    errors = []
    for event in make_world(config).events:
        for row in event.quotes.values():
            for quote in row:
                for price in (quote.bid_e4, quote.ask_e4):
                    assert price is None or (0 < price < 10_000 and price % 100 == 0)
                if quote.bid_e4 is not None and quote.ask_e4 is not None:
                    assert quote.bid_e4 < quote.ask_e4
                    if 0.1 < quote.truth < 0.9:
                        errors.append((quote.bid_e4 + quote.ask_e4) / 2 - quote.truth * 10_000)
    # Rounding outwards to the cent adds a little to the noise.
    assert np.std(errors) == pytest.approx(150, rel=0.06)
    assert abs(np.mean(errors)) < 4 * 150 / np.sqrt(len(errors))


def test_prints_happen_at_the_quotes_between_snapshots():
    world = make_world(WorldConfig(seed=9))
    for event in world.events:
        assert [t.at_us for t in event.trades] == sorted(t.at_us for t in event.trades)
        for trade in event.trades:
            quote = [q for q in event.quotes[trade.ticker] if q.at_us < trade.at_us][-1]
            assert trade.price_e4 == (quote.ask_e4 if trade.taker == "yes" else quote.bid_e4)
            assert quote.at_us < trade.at_us <= event.release_us
    ids = [t.trade_id for event in world.events for t in event.trades]
    assert len(set(ids)) == len(ids) > 100


@pytest.mark.parametrize("bad", [{"surprise": "cauchy"}, {"degrees": 2.0}, {"surprise_sd": 0.0}])
def test_impossible_worlds_are_refused(bad):
    with pytest.raises(ConfigError):
        make_world(WorldConfig(seed=1, **bad))

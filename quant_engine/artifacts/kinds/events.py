"""What the event-market pipeline leaves behind: distributions, panel, forecasts, trades, verdict.

Keys: ``event_id`` is the number of an event in its store, ``horizon_s`` whole seconds before the
schedule, ``cluster_id`` one real-world occurrence. Moments are microseconds since 1970 UTC
(``_us``), prices 1e-4 dollars (``_e4``), contracts hundredths (``_c2``), money 1e-6 dollars
(``_e6``); columns with ``_usd`` are dollars. NaN and null mean "not known", 0 is a value.
"""

from __future__ import annotations

from quant_engine.artifacts.kinds.bundle import BundleKind, Column

__all__ = [
    "EVENT_DISTRIBUTIONS",
    "EVENT_FORECASTS",
    "EVENT_HEALTH",
    "EVENT_PANEL",
    "EVENT_REPORT",
    "EVENT_TRADES",
]

_PACKAGES = ("core", "artifacts", "stats", "governance", "kalshi", "workflows")

_EVENT = Column("int", "number of the event in its store")
_TICKER = Column("str", "name of the event at the exchange")
_HORIZON = Column("int", "seconds before the schedule")
_CLUSTER = Column("int", "number of the real-world occurrence; null = not known")
_FOLD = Column("int", "test block, from 1")
_MEMBER = Column("str", "forecast: market, recalibrated, boosted or shrunk")
_STRATEGY = Column("str", "forecast and threshold, such as shrunk@0.01")
_STRESS = Column("str", "displayed, spread_x2, fee_x2 or delay_1")
_SUBJECT = Column("str", "id of the judged strategy")
_PROB = Column("float", "probability")
_US = "microseconds since 1970 UTC"

_LOOK = {
    "event_id": _EVENT,
    "horizon_s": _HORIZON,
    "event_ticker": _TICKER,
    "family": Column("str", "family of releases, or empty"),
    "cluster": Column("str", "name of the real-world occurrence, or empty"),
    "asof_us": Column("int", f"decision, {_US}"),
    "scheduled_us": Column("int", f"strike date or release, whichever is first, {_US}"),
    "max_input_avail_us": Column("int", f"newest availability of any input, {_US}"),
}
_SETTLEMENT = "unit of the settlement value; NaN = no distribution"

EVENT_DISTRIBUTIONS = BundleKind(
    name="event_distributions",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "looks": {
            **_LOOK,
            "has_distribution": Column("bool", "whether every gate was passed"),
            "gates": Column("str", "codes of failed gates, joined by ;, or empty"),
            "n_legs": Column("int", "listed contracts"),
            "n_usable": Column("int", "contracts whose quote says something"),
            "n_stale": Column("int", "contracts with a quote beyond the stale limit"),
            "mean": Column("float", _SETTLEMENT),
            "mean_sd": Column("float", f"posterior standard deviation of the mean, {_SETTLEMENT}"),
            "sd": Column("float", _SETTLEMENT),
            "sd_sd": Column("float", f"posterior standard deviation of sd, {_SETTLEMENT}"),
            "skew": Column("float", "third standardised moment"),
            "bowley_skew": Column("float", "skew of the quartiles, -1 to 1"),
            **{
                name: Column("float", f"quantile at {int(name[1:]) / 100:g}, {_SETTLEMENT}")
                for name in ("q05", "q10", "q25", "q50", "q75", "q90", "q95")
            },
            "entropy_nats": Column("float", "nats"),
            "p_below_lowest": Column("float", "probability below the lowest strike"),
            "p_above_highest": Column("float", "probability above the highest strike"),
            "is_moment_truncated": Column("bool", "over 5 % lies outside the listed strikes"),
            "post_sd_mean": Column("float", "mean posterior sd of the distribution function"),
            "quality": Column("float", "score of trust, 0 to 1"),
            "quality_spread": Column("float", "component, 0 to 1"),
            "quality_freshness": Column("float", "component, 0 to 1"),
            "quality_coverage": Column("float", "component, 0 to 1"),
            "quality_coherence": Column("float", "component, 0 to 1"),
            "quality_depth": Column("float", "0 to 1; not part of the score"),
            "quality_listed": Column("float", "0 to 1; not part of the score"),
            "outside_band": Column("float", "largest distance of a leg from its band, probability"),
            "is_band_feasible": Column("bool", "whether any distribution fits all quotes"),
            "sum_of_middles": Column("float", "dollars; 1 for bins that agree"),
            "half_spread_usd": Column("float", "median half-spread of quoted legs, dollars"),
            "age_s": Column("float", "median age of the quotes, seconds"),
            "incoherence_e4": Column("float", "contradiction of the middles, 1e-4 dollars"),
            "neg_mass_pre": Column("float", "negative mass of naively differenced middles"),
            "isotonic_l1": Column("float", "mean change that makes middles monotone, dollars"),
        },
        "cells": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "cell": Column("int", "number of the lattice cell, rising"),
            "lo": Column("float", "lower edge, unit of the settlement value"),
            "hi": Column("float", "upper edge, unit of the settlement value"),
            "prob": _PROB,
            "cdf": Column("float", "probability up to and including the cell"),
            "cdf_low": Column("float", "5 % quantile of its posterior"),
            "cdf_high": Column("float", "95 % quantile of its posterior"),
        },
        "atoms": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "atom": Column("int", "number of the outcome that the ladder can tell apart, rising"),
            "lo": Column("float", "lowest settlement value inside; -inf = no end"),
            "hi": Column("float", "highest settlement value inside; inf = no end"),
            "prob": Column("float", "fitted probability; NaN = no distribution"),
            "market_prob": Column("float", "from prices alone; NaN = they give none"),
            "band_low": Column("float", "least probability without arbitrage; NaN = no band"),
            "band_high": Column("float", "greatest probability without arbitrage; NaN = no band"),
        },
        "legs": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "ticker": Column("str", "market"),
            "strike_type": Column("str", "greater, less, between and so on"),
            "floor_strike": Column("float", "unit of the settlement value; NaN = none"),
            "cap_strike": Column("float", "unit of the settlement value; NaN = none"),
            "bid_usd": Column("float", "dollars; NaN = nobody bids"),
            "ask_usd": Column("float", "dollars; NaN = nobody offers"),
            "last_usd": Column("float", "last price, dollars; NaN = none"),
            "bid_contracts": Column("float", "size at the bid, contracts"),
            "ask_contracts": Column("float", "size at the ask, contracts"),
            "age_s": Column("float", "seconds since the quote"),
            "absent": Column("str", "why there is no quote: none, stale, gap; or empty"),
            "raw_prob": Column("float", "middle, over the sum where bins cover everything"),
            "last_prob": Column("float", "the same from last prices"),
            "prob": Column("float", "fitted probability; NaN = no distribution"),
            "band_low": Column("float", "least probability without arbitrage; NaN = no band"),
            "band_high": Column("float", "greatest probability without arbitrage; NaN = no band"),
            "residual": Column("float", "middle less fitted probability; NaN = not quoted"),
        },
    },
    documents=("facts",),
)
"""Fitted distributions, their lattice, the outcomes a ladder tells apart, and its quotes."""

EVENT_PANEL = BundleKind(
    name="event_panel",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "looks": {
            **_LOOK,
            "release_id": Column("int", "release; null = not known"),
            "cluster_id": _CLUSTER,
            "series_id": Column("int", "series; null = not known"),
            "has_distribution": Column("bool", "whether there is a fitted distribution"),
            "regime": Column("str", "liquidity as known then: thin, normal, deep or unknown"),
            "activity": Column("str", "calm, jumpy or unknown"),
            "window": Column("str", "far, near or pre_release"),
        },
        "cells": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "cell": Column("int", "number of the outcome, rising"),
            "market_prob": Column("float", "from prices alone, adds up to 1 per look"),
            "fitted_gap": Column("float", "fitted less market probability; NaN = no fit"),
        },
        "legs": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "ticker": Column("str", "market"),
            "first_cell": Column("int", "first cell that pays"),
            "last_cell": Column("int", "last cell that pays"),
            **{
                f"{when}{name}": Column("int", f"{doc}{' one snapshot later' if when else ''}")
                for when in ("", "next_")
                for name, doc in (
                    ("bid_e4", "1e-4 dollars, -1 = none,"),
                    ("ask_e4", "1e-4 dollars, -1 = none,"),
                    ("bid_size_c2", "hundredths of a contract"),
                    ("ask_size_c2", "hundredths of a contract"),
                )
            },
        },
        "labels": {
            "event_id": _EVENT,
            "release_id": Column("int", "release; null = not known"),
            "cluster_id": _CLUSTER,
            "value": Column("float", "first print, unit of the settlement value; NaN = none"),
            "unit": Column("str", "unit of the value, or empty"),
            "print_kind": Column("str", "first_print, or empty"),
            "publish_us": Column("int", f"when it came out, {_US}; null = it did not"),
            "label_avail_us": Column("int", f"when a model may know it, {_US}; null = never"),
        },
        "calendar": {
            "event_id": _EVENT,
            "event_ticker": _TICKER,
            "series": Column("str", "series, or empty"),
            "family": Column("str", "family of releases, or empty"),
            "release": Column("str", "release, or empty"),
            "cluster": Column("str", "real-world occurrence, or empty"),
            "scheduled_us": Column("int", f"strike date or release, {_US}; null = not known"),
            "value": Column("float", "first print; NaN = none"),
            "publish_us": Column("int", f"when it came out, {_US}; null = it did not"),
            "n_markets": Column("int", "contracts that were ever listed"),
        },
        "features": {
            "feature": Column("str", "column of the looks"),
            "kind": Column("str", "how it is computed"),
            "unit": Column("str", "unit"),
            "source": Column("str", "group"),
            "lookback_s": Column("int", "seconds back from the decision; null = to the listing"),
            "known_share": Column("float", "share of looks with a value, fraction"),
        },
        "left_out": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "reason": Column("str", "why the look is not evaluated"),
        },
    },
    documents=("facts",),
    open_tables=("looks",),
)
"""Looks with features (one column each), what models see of them, and labels apart."""

EVENT_FORECASTS = BundleKind(
    name="event_forecasts",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "forecasts": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "cluster_id": _CLUSTER,
            "fold": _FOLD,
            "cell": Column("int", "number of the outcome, rising"),
            "member": _MEMBER,
            "prob": _PROB,
            "happened": Column("bool", "whether this cell came true"),
        },
        "scores": {
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "cluster_id": _CLUSTER,
            "fold": _FOLD,
            "regime": Column("str", "liquidity as known then"),
            "member": _MEMBER,
            "log_loss": Column("float", "nats, at least half a tick"),
            "brier": Column("float", "0 to 2"),
            "rps": Column("float", "ranked probability score, CRPS in cells"),
            "pit": Column("float", "randomised probability transform, uniform where honest"),
        },
        "folds": {
            "fold": _FOLD,
            "n_train_looks": Column("int", "looks that trained"),
            "n_train_clusters": Column("int", "clusters that trained"),
            "n_dropped_looks": Column("int", "looks kept from training by the purge"),
            "n_test_looks": Column("int", "looks in the block"),
            "n_test_clusters": Column("int", "clusters in the block"),
            "train_from_us": Column("int", f"first training decision, {_US}"),
            "train_to_us": Column("int", f"last training label, {_US}"),
            "test_from_us": Column("int", f"first test decision, {_US}"),
            "test_to_us": Column("int", f"last test schedule, {_US}"),
            "mix_weight": Column("float", "weight of boosted in shrunk"),
        },
        "skill": {
            "member": _MEMBER,
            "base": Column("str", "market or recalibrated"),
            "score": Column("str", "log_loss, brier or rps"),
            "mean": Column("float", "mean gain over clusters, above 0 = better"),
            "ci_low": Column("float", "lower end of the interval"),
            "ci_high": Column("float", "upper end of the interval"),
            "t": Column("float", "Student t over clusters; NaN = never differ"),
            "p_value": Column("float", "two-sided"),
            "n_clusters": Column("int", "clusters"),
            "coverage": Column("float", "of the interval"),
        },
        "calibration": {
            "member": _MEMBER,
            "brier": Column("float", "mean squared error of a cell's probability"),
            "reliability": Column("float", "Murphy's term, 0 = calibrated"),
            "resolution": Column("float", "Murphy's term, larger = more informative"),
            "uncertainty": Column("float", "Murphy's term, variance of the outcome"),
            "within_bin_variance": Column("float", "Stephenson's term"),
            "within_bin_covariance": Column("float", "Stephenson's term"),
            "skill_score": Column("float", "1 - brier / uncertainty"),
            "n_obs": Column("int", "cells"),
            "calibration_error": Column("float", "expected calibration error, probability"),
            "slope": Column("float", "of what happened on log odds; 1 = honest"),
            "intercept": Column("float", "of that regression; 0 = honest"),
            "coverage_50": Column("float", "share inside the central 50 %"),
            "coverage_80": Column("float", "share inside the central 80 %"),
            "coverage_95": Column("float", "share inside the central 95 %"),
        },
        "reliability": {
            "member": _MEMBER,
            "horizon_s": Column("int", "seconds before the schedule; 0 = all"),
            "prob_low": Column("float", "lower edge of the bin"),
            "prob_high": Column("float", "upper edge of the bin"),
            "mean_prob": Column("float", "mean forecast"),
            "frequency": Column("float", "share that came true"),
            "n_obs": Column("int", "cells"),
        },
        "longshot": {
            "price_low": Column("float", "lower edge of the middle price, dollars"),
            "price_high": Column("float", "upper edge of the middle price, dollars"),
            "mean_price_usd": Column("float", "mean middle, dollars"),
            "frequency": Column("float", "share of contracts that paid"),
            "gain_usd": Column("float", "frequency less mean middle, dollars"),
            "std_error_usd": Column("float", "over clusters, dollars; NaN = too few"),
            "n_legs": Column("int", "contracts and looks"),
            "n_clusters": Column("int", "clusters"),
        },
    },
    documents=("facts",),
)
"""Out-of-sample forecasts by real-world event, their scores and their honesty."""

EVENT_TRADES = BundleKind(
    name="event_trades",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "strategies": {
            "strategy": _STRATEGY,
            "member": _MEMBER,
            "threshold_usd": Column("float", "least expected gain per contract after fee, dollars"),
            "liquidity": Column("str", "taker or maker"),
            "trial_id": Column("str", "trial in the ledger"),
            "pnl_usd": Column("float", "after fees, dollars"),
            "fee_usd": Column("float", "dollars"),
            "n_fills": Column("int", "orders that filled"),
            "n_contracts": Column("float", "contracts"),
            "worst_cluster_usd": Column("float", "least gain of one cluster, dollars"),
            "return_frac": Column("float", "pnl over capital, fraction"),
        },
        "fills": {
            "strategy": _STRATEGY,
            "stress": _STRESS,
            "event_id": _EVENT,
            "horizon_s": _HORIZON,
            "cluster_id": _CLUSTER,
            "ticker": Column("str", "market"),
            "side": Column("str", "yes or no"),
            "price_e4": Column("int", "paid per contract of that side, 1e-4 dollars"),
            "count_c2": Column("int", "hundredths of a contract"),
            "fee_e6": Column("int", "1e-6 dollars"),
            "cost_e6": Column("int", "paid before fees, 1e-6 dollars"),
            "pnl_e6": Column("int", "after fees, 1e-6 dollars"),
            "liquidity": Column("str", "taker or maker"),
        },
        "stresses": {
            "strategy": _STRATEGY,
            "stress": _STRESS,
            "pnl_usd": Column("float", "after fees, dollars"),
            "pnl_contract_usd": Column("float", "per contract, dollars; NaN = no trade"),
            "ci_low_usd": Column("float", "95 % interval over clusters, dollars"),
            "ci_high_usd": Column("float", "95 % interval over clusters, dollars"),
            "n_clusters": Column("int", "clusters with a trade"),
            "n_contracts": Column("float", "contracts"),
        },
        "clusters": {
            "strategy": _STRATEGY,
            "place": Column("int", "order in time, from 0"),
            "cluster_id": _CLUSTER,
            "scheduled_us": Column("int", f"last schedule of the cluster, {_US}"),
            "pnl_usd": Column("float", "after fees, dollars"),
            "risk_usd": Column("float", "most that could be lost, dollars"),
            "n_contracts": Column("float", "contracts"),
            "n_orders": Column("int", "orders"),
            "equity_usd": Column("float", "capital and gains so far, dollars"),
        },
    },
    documents=("facts",),
)
"""Fills at displayed prices and under stress, and equity by real-world event."""

EVENT_REPORT = BundleKind(
    name="event_report",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "verdicts": {
            "subject": _SUBJECT,
            "strategy": _STRATEGY,
            "status": Column("str", "pass, warn, fail, insufficient_observation or not evaluated"),
            "is_promoted": Column("bool", "whether it passed every hard rule"),
            "blocks": Column("str", "why nothing may follow, joined by ;, or empty"),
        },
        "checklist": {
            "subject": _SUBJECT,
            "strategy": _STRATEGY,
            "gate": Column("str", "gate of the rule"),
            "rule": Column("str", "figure, scope and direction"),
            "status": Column("str", "pass, fail, warn or insufficient_observation"),
            "severity": Column("str", "hard or soft"),
            "value": Column("float", "what was judged; NaN = missing"),
            "threshold": Column("float", "limit that applied; NaN = none found"),
            "n_obs": Column("int", "observations; null = not counted"),
            "reason": Column("str", "one sentence"),
            "note": Column("str", "why the rule is as it is, or empty"),
        },
        "arbitrage": {
            "event_ticker": _TICKER,
            "kind": Column("str", "crossed_quote, vertical, sum_of_bids, sum_of_asks, portfolio"),
            "legs": Column("str", "markets, + bought and - sold, joined by a space"),
            "first_us": Column("int", f"first snapshot that showed it, {_US}"),
            "last_us": Column("int", f"last snapshot that showed it, {_US}"),
            "gone_us": Column("int", f"first snapshot without it, {_US}; null = none followed"),
            "lifetime_s": Column("float", "until it was gone, seconds; least where it was not"),
            "n_seen": Column("int", "snapshots"),
            "best_profit_usd": Column("float", "worst case after fees, dollars"),
        },
        "audit": {
            "check": Column("str", "views, rows, looks, panel, folds or echoes"),
            "subject": Column("str", "view, rule or feature"),
            "asof_us": Column("int", f"moment of the comparison, {_US}; null = all"),
            "poison": Column("str", "garbage, removed, or empty"),
            "n_rows": Column("int", "rows that were compared or counted; null = not counted"),
            "n_faults": Column("int", "faults; 0 = sound"),
        },
        "availability": {
            "table": Column("str", "table of the store"),
            "basis": Column("str", "what the availability rests on"),
            "n_rows": Column("int", "rows"),
        },
        "gaps": {
            "ticker": Column("str", "market"),
            "from_us": Column("int", f"when the book was lost, {_US}"),
            "to_us": Column("int", f"when it was known again, {_US}; null = never"),
            "reason": Column("str", "why"),
        },
    },
    documents=("facts", "settings"),
)
"""Verdict with every rule, arbitrage with life-times, leak audit, what availability rests on."""

EVENT_HEALTH = BundleKind(
    name="event_health",
    schema_version=1,
    packages=_PACKAGES,
    tables={
        "counters": {
            "endpoint": Column("str", "environment or connection"),
            "counter": Column("str", "such as transport: status_429, drift: Market.colour"),
            "value": Column("int", "times, over all runs of the store"),
        },
        "tables": {
            "table": Column("str", "table of the store"),
            "n_rows": Column("int", "rows"),
            "first_us": Column("int", f"oldest availability, {_US}; null = no rows"),
            "last_us": Column("int", f"newest availability, {_US}; null = no rows"),
        },
        "runs": {
            "run_id": Column("str", "run that wrote"),
            "table": Column("str", "table of the store"),
            "n_offered": Column("int", "rows that were offered"),
            "n_new": Column("int", "rows that were new"),
        },
    },
    documents=("facts",),
)
"""How the collection went: counters, freshness, repetitions. It tells how often runs were started,
so that, unlike the other kinds, it differs after an interruption."""

# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # From a ladder of contracts to a verdict
#
# The steps that `run_kalshi_event_pipeline.py` takes, one function each, on the fake exchange: a real server on this machine with known truth. The
# client is the one that reads the live exchange. Everything lies in a folder that is removed at the end.

# %%
from quant_engine.artifacts.signing import Signer as RecordSigner
from quant_engine.core.clock import SystemClock
from quant_engine.core.progress import SILENT
from quant_engine.core.scratch import scratch_folder
from quant_engine.core.specs import SpecCatalog
from quant_engine.core.tracks import Track
from quant_engine.governance.catalogue import MetricCatalogue
from quant_engine.governance.gate_specs import load_profile
from quant_engine.governance.lifecycle import open_ledger
from quant_engine.kalshi.arbitrage import scan_ladder
from quant_engine.kalshi.bounds import closed_form_band, measure_incoherence
from quant_engine.kalshi.calendar import settlement_steps
from quant_engine.kalshi.distribution import fit_distribution, prepare_ladder
from quant_engine.kalshi.events import ladder_panel
from quant_engine.kalshi.exchange.drift import DriftLog
from quant_engine.kalshi.exchange.session import open_session
from quant_engine.kalshi.exchange.timing import VirtualTimer
from quant_engine.kalshi.fake.season import SeasonConfig, make_season, serve_season
from quant_engine.kalshi.forecast_scores import score_forecasts, skill_table
from quant_engine.kalshi.lattice import SettlementGrid, ladder_structure
from quant_engine.kalshi.pipeline import EventPipelineConfig, build_panel, evaluate_panel, fee_schedule, frames_of, series_names
from quant_engine.kalshi.pooling import Snapshot, fit_pooled
from quant_engine.kalshi.promotion import PROFILE, EvidenceFacts, gather_evidence, judge_strategies
from quant_engine.kalshi.quotes import LegQuote, ladder_quotes
from quant_engine.kalshi.storage import KalshiStore
from quant_engine.kalshi.walkforward import WalkForwardEventsConfig
from quant_engine.reports.figures.event_scores import interval_figure
from quant_engine.workflows.event_sources import EventSource, collect

# %% [markdown]
# ## Connect
#
# A season is served on loopback with a key made for it; every request is signed and checked. The clock is virtual, so nothing waits.

# %%
asked = SeasonConfig(n_events=48, seed=11)
season = make_season(asked)
first = season.world.events[0]
timer = VirtualTimer(first.release_us - 600_000_000)
with serve_season(season, timer) as (place, signer), open_session(place, signer, timer=timer) as session:
    market = session.client.market(first.contracts[1].ticker)
    book = session.client.book(market.ticker)
(market.ticker, market.strike_type, market.floor_strike, book.yes[:1], book.no[:1])

# %% [markdown]
# ## Store
#
# What a person would have recorded who polled once a day: listings, quotes, results. Each row says when it was available, and on what that rests.
# Asking again stores nothing twice.

# %%
scratch = scratch_folder()
folder = scratch.__enter__()
store = KalshiStore(folder / "events.duckdb", run_id="notebook", threads=1).__enter__()
source = EventSource("fake", season=asked)
written = collect(store, source, ("catalog", "quotes", "historical"), clock=source.clock(SystemClock()), drift=DriftLog(), progress=SILENT)
dict(written)

# %% [markdown]
# ## A ladder, as of a moment
#
# Looks count back from the schedule that was known, never from the final close. No input is newer than the decision.

# %%
looks = ladder_panel(store.connection, (172_800, 86_400))
event = [look for look in looks if not look.is_exclusive][-1].event_id
history = sorted((look for look in looks if look.event_id == event), key=lambda look: look.asof_us)
look = history[-1]
assert look.max_input_avail_us <= look.asof_us < look.scheduled_us
[(c.ticker, c.floor_strike, q.bid_e4, q.ask_e4, q.age_s) for c, q in zip(look.contracts, look.quotes)]

# %% [markdown]
# ## Its band
#
# Prices without arbitrage given all other quotes, in closed form; nothing is smoothed. `incoherence` is what would have to be moved, in cents.

# %%
steps = settlement_steps(store.connection)
grid = SettlementGrid(steps[look.family])
structure = ladder_structure(look.contracts, grid, is_exclusive=look.is_exclusive)
quotes = ladder_quotes(structure, look.quotes)
band = closed_form_band(quotes)
print("feasible:", band.is_feasible, "incoherence in cents:", measure_incoherence(quotes).total_e4 / 100)
[(ticker, round(low, 3), round(high, 3)) for ticker, low, high in zip(structure.tickers, band.leg_low, band.leg_high)]

# %% [markdown]
# ## A distribution with error bars
#
# A log-density spline on the settlement lattice, its smoothness averaged over the evidence. It adds up to one and has no arbitrage by construction.

# %%
model = prepare_ladder(structure)
fitted = fit_distribution(model, quotes)
low, high = fitted.cdf_interval(0.9)
print("sum:", round(float(fitted.pmf.sum()), 12), "quality:", round(fitted.quality.score, 3), "outside band:", round(fitted.outside_band, 4))
print("mean:", round(fitted.mean, 3), "+-", round(fitted.mean_sd, 3), " sd:", round(fitted.sd, 3), " widest posterior:", round(float((high - low).max()), 3))

# %% [markdown]
# ## Pooled over time
#
# Earlier looks help with a variance that grows with their age; after a scheduled release they would count nothing.

# %%
snapshots = [Snapshot(one.asof_us, ladder_quotes(structure, one.quotes)) for one in history]
pooled = fit_pooled(model, snapshots, now_us=look.asof_us, drift_per_hour=0.08**2 / 6)
print("looks:", len(snapshots), " posterior sd of the mean alone:", round(fitted.mean_sd, 4), " pooled:", round(pooled.mean_sd, 4))

# %% [markdown]
# ## Arbitrage after exact fees
#
# Verticals, sums of exclusive sets and a general program, at displayed sizes, each with a certificate. A planted crossing is found, the ladder as it
# was is clean.

# %%
fees = fee_schedule(store.connection, assumed=tuple(season.world.all_series))
entry = fees[-1]
print("as recorded:", len(scan_ladder(quotes, entry)))
dearest = max(look.contracts, key=lambda contract: contract.floor_strike).ticker
planted = [LegQuote(q.ticker, 6_000, 6_200, 1_000, 1_000) if q.ticker == dearest else q for q in look.quotes]
found = scan_ladder(ladder_quotes(structure, planted), entry)
[(one.kind, one.profit_e6 / 1e6, min(one.profit_by_atom_e6) / 1e6) for one in found[:2]]

# %% [markdown]
# ## A panel as of every decision
#
# One row per event and horizon, from what was known then; first prints stand apart.

# %%
config = EventPipelineConfig(walk=WalkForwardEventsConfig(min_train_clusters=20, test_clusters=12, purge_days={"*": 0.5}))
made = build_panel(store.connection, config, steps)
print(made.panel.looks.shape, "labels:", len(made.labels))
made.panel.looks[["event_ticker", "asof_us", "max_input_avail_us", "mean", "sd", "quality"]].head(3)

# %% [markdown]
# ## A small walk-forward
#
# A real-world occurrence is on one side of a fold. Every forecast and every strategy is one trial of the ledger.

# %%
ledger = open_ledger(folder / "books", Track.CALIBRATION, clock=SystemClock(), signer=RecordSigner(folder / "key"))
frames = frames_of(made, series_names(store.connection))
with ledger.batch():
    evaluation = evaluate_panel(frames, config, fees=fees, trials=ledger, track_name="notebook")
scores = score_forecasts(evaluation.forecasts)
skill = skill_table(scores)
losses = skill[skill["score"] == "log_loss"].assign(name=lambda t: t["member"] + " over " + t["base"])
losses[["name", "mean", "ci_low", "ci_high", "n_clusters"]].round(4)

# %%
interval_figure(losses.rename(columns={"ci_low": "low", "ci_high": "high"}), unit="nats per look")

# %% [markdown]
# ## The verdict
#
# Gates are data. A missing figure never passes, here the leak audit and the lineage of a signed run, and so few occurrences prove nothing.

# %%
catalog = SpecCatalog.default()
metrics = MetricCatalogue.load(catalog)
bundles = gather_evidence(evaluation.forecasts, evaluation.table, ledger=ledger, facts=EvidenceFacts("fake"))
judged = judge_strategies(bundles, evaluation.table, profile=load_profile(catalog, PROFILE, metrics=metrics), metrics=metrics)
store.__exit__(None, None, None)
scratch.__exit__(None, None, None)
assert not any(one.passed for one in judged)
[(one.strategy, one.status, one.report.reasons[0]) for one in judged][:2]

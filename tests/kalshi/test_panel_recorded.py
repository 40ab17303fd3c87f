"""Panels of recorded temperature ladders: whole, in time, and without hindsight."""

import shutil

import numpy as np
import pytest

from quant_engine.kalshi.audit import audit_views
from quant_engine.kalshi.distribution import DistributionConfig
from quant_engine.kalshi.events import LookConfig
from quant_engine.kalshi.features import load_features
from quant_engine.kalshi.lattice import SettlementGrid
from quant_engine.kalshi.panel import PanelConfig
from quant_engine.kalshi.panel_audit import outcome_echoes, panel_faults
from quant_engine.kalshi.panel_store import label_frame, leg_results, panel_view, store_panel
from quant_engine.kalshi.quality import QualityConfig
from quant_engine.kalshi.recordings.weather import WeatherArchive, ingest_weather
from quant_engine.kalshi.regimes import event_regimes
from quant_engine.kalshi.storage import KalshiStore

pytestmark = [pytest.mark.feature("Q-45"), pytest.mark.leakage]

FOLDER = "kalshi/cpratim_kxhigh_ny_chi_2024_08_2025_02"
CONFIG = PanelConfig(
    (24 * 3600, 12 * 3600, 6 * 3600, 3 * 3600, 3600),
    {"daily high": SettlementGrid(1.0)},
    look=LookConfig("trade"),
    # Last prices of both takers are no quotes of one moment: a wide pair still says where the
    # outcome is, and a ladder without it would put its mass where nobody traded.
    distribution=DistributionConfig(quality=QualityConfig(widest_e4=10_000)),
)


def ingested(shared_data, folder, n_days):
    """Store of the first days of both cities; the later half of the archive stays unseen."""
    source = shared_data / FOLDER
    for city in ("kxhighny", "kxhighchi"):
        days = sorted(path.name for path in (source / city / "events").iterdir())
        for kind in ("events", "trades"):
            (folder / "archive" / city / kind).mkdir(parents=True)
            for name in days[: min(n_days, len(days) // 2)]:
                place = f"{city}/{kind}/{name}"
                shutil.copyfile(source / place, folder / "archive" / place)
    store = KalshiStore(folder / "k.duckdb", run_id="a", threads=1)
    ingest_weather(store, WeatherArchive(folder / "archive"))
    return store


def test_ladders_of_two_days(shared_data, tmp_path):
    with ingested(shared_data, tmp_path, 2) as store:
        panel = store_panel(store.connection, CONFIG)
        labels = label_frame(store.connection, panel)
    cells = panel.looks
    assert cells.index.get_level_values("event_id").nunique() == 4
    assert cells["cluster_id"].nunique() == 2
    assert len(cells) == 20
    assert cells["has_distribution"].mean() > 0.9
    assert panel_faults(panel, labels) == {}
    # Fetched after the end: no lifetime volume and no open interest is known at any decision.
    assert cells[["VOLUME", "OPEN_INTEREST", "DEPTH"]].isna().all(axis=None)
    assert (cells["CONTRACTS_SO_FAR"] > 0).all()
    assert cells["sum_of_lasts"].median() > 1.0
    paid = leg_results(panel.legs, labels).groupby(level=["event_id", "horizon_s"]).sum()
    assert (paid == 1.0).all()


@pytest.mark.slow
def test_the_first_half_of_the_archive(shared_data, tmp_path):
    with ingested(shared_data, tmp_path, 92) as store:
        panel = store_panel(store.connection, CONFIG)
        labels = label_frame(store.connection, panel)
        asofs = [int(us) for us in np.sort(panel.looks["asof_us"])[[60]]]
        findings = audit_views(store.connection, {"panel": panel_view(CONFIG)}, asofs)
    assert all(f.is_equal and f.n_rows > 0 for f in findings)
    cells = panel.looks
    # Eight events were listed less than a day before their strike date.
    assert len(cells) == 5 * 184 - 8
    assert cells["has_distribution"].mean() > 0.99
    assert labels["value"].notna().all()
    assert panel_faults(panel, labels) == {}
    assert outcome_echoes(panel, labels) == []
    empty = {name for name in load_features().names if cells[name].isna().all()}
    assert empty == {
        "DEPTH", "SIZE_IMBALANCE", "MICRO_GAP", "UPDATES_1H", "VOLUME", "OPEN_INTEREST",
        "OPEN_INTEREST_CHANGE_24H",
    }  # fmt: skip
    # Where the fit leaves its no-arbitrage band it is wrong, and says so.
    paid = leg_results(panel.legs, labels)
    loss = -(np.log(panel.legs["probability"].clip(0.005)) * paid)
    loss = loss.groupby(level=["event_id", "horizon_s"]).sum()
    outside = cells["outside_band"] > 0.05
    assert outside.mean() < 0.1
    assert loss[outside].mean() > 2.0 * loss[~outside].mean()
    regimes = event_regimes(panel)
    assert (regimes["liquidity"] >= 0).mean() > 0.85

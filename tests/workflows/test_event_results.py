"""Rows of a study in the store against sums by hand, and what would trade against the record."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from quant_engine.artifacts.kinds.bundle import Bundle
from quant_engine.artifacts.kinds.events import EVENT_FORECASTS
from quant_engine.kalshi.promotion import Judgement
from quant_engine.kalshi.store.database import KalshiStore
from quant_engine.workflows.event_results import put_study, put_verdicts
from quant_engine.workflows.event_verdict import _deployed

pytestmark = pytest.mark.feature("Q-45")

KEY = {"event_id": 7, "horizon_s": 3600}
# Three outcomes; one contract pays on the two upper ones, one on the middle one alone.
PROBS = {"market": (0.2, 0.5, 0.3), "shrunk": (0.1, 0.3, 0.6)}


@pytest.fixture
def store(tmp_path):
    with KalshiStore(tmp_path / "k.duckdb", run_id="one", threads=1) as made:
        yield made


@pytest.fixture
def bundles():
    looks = pd.DataFrame([KEY | {"asof_us": 50, "max_input_avail_us": 40}])
    legs = pd.DataFrame(
        [
            KEY | {"ticker": "UP", "first_cell": 1, "last_cell": 2},
            KEY | {"ticker": "MID", "first_cell": 1, "last_cell": 1},
        ]
    )
    cells = [
        KEY | {"fold": 0, "member": member, "cell": cell, "prob": prob}
        for member, probs in PROBS.items()
        for cell, prob in enumerate(probs)
    ]
    scores = [
        KEY | {"fold": 0, "member": member, "log_loss": loss, "brier": 0.5, "rps": 0.1}
        for member in PROBS
        for loss in (1.0, 2.0)
    ]
    fold = {
        "fold": 0, "n_train_looks": 5, "n_test_looks": 2, "n_dropped_looks": 1,
        "train_from_us": 1, "train_to_us": 2, "test_from_us": 50, "test_to_us": 60,
    }  # fmt: skip
    fill = KEY | {"strategy": "s", "side": "yes", "price_e4": 4000, "count_c2": 100, "fee_e6": 9}
    fills = [
        fill | {"stress": stress, "ticker": "UP"} for stress in ("displayed", "displayed", "x")
    ]
    return {
        "panel": Bundle({"looks": looks, "legs": legs}, {}),
        "forecasts": Bundle(
            {
                "forecasts": pd.DataFrame(cells),
                "scores": pd.DataFrame(scores),
                "folds": pd.DataFrame([fold]),
            },
            {},
        ),
        "trades": Bundle({"fills": pd.DataFrame(fills)}, {}),
    }


def rows(store, sql):
    return store.connection.execute(sql).fetchall()


def test_a_study_is_written_once(store, bundles):
    wanted = {"wf_fold": 1, "prediction": 4, "wf_score": 6, "paper_fill": 2}
    assert put_study(store, "a", bundles) == wanted
    assert put_study(store, "a", bundles) == dict.fromkeys(wanted, 0)
    assert put_study(store, "b", bundles) == wanted
    found = rows(
        store,
        "SELECT d.name, model, probability, market_probability, avail_us FROM prediction p "
        "JOIN dimension d ON d.kind = 'market' AND d.id = p.market_id "
        "WHERE study = 'a' ORDER BY 1, 2",
    )
    sums = {
        "UP": {m: p[1] + p[2] for m, p in PROBS.items()},
        "MID": {m: p[1] for m, p in PROBS.items()},
    }
    for ticker, model, prob, market, avail_us in found:
        assert prob == pytest.approx(sums[ticker][model])
        assert market == pytest.approx(sums[ticker]["market"])
        assert avail_us == 50
    assert rows(
        store, "SELECT model, value, n, avail_us FROM wf_score WHERE metric = 'log_loss' "
        "AND study = 'a' ORDER BY model"
    ) == [("market", 1.5, 2, 60), ("shrunk", 1.5, 2, 60)]  # fmt: skip
    assert rows(store, "SELECT ordinal, event_us, price_e4 FROM paper_fill WHERE study = 'a' "
                "ORDER BY ordinal") == [(0, 50, 4000), (1, 50, 4000)]  # fmt: skip
    assert rows(store, "SELECT n_train, n_test, n_purged, test_to_us FROM wf_fold "
                "WHERE study = 'a'") == [(5, 2, 1, 60)]  # fmt: skip


def test_verdicts_keep_their_reasons_and_figures(store):
    outcomes = [
        SimpleNamespace(rule="n_folds", value=5.0), SimpleNamespace(rule="dsr", value=None)
    ]  # fmt: skip
    report = SimpleNamespace(status="fail", passed=False, reasons=("too dear",), outcomes=outcomes)
    judged = (Judgement("x", "s", report), Judgement("y", "t", None))
    assert put_verdicts(store, "a", judged, decided_us=70) == 2
    assert put_verdicts(store, "a", (), decided_us=70) == 0
    found = rows(
        store, "SELECT model, verdict, reasons, metrics, decided_us FROM promotion_record "
        "ORDER BY model"
    )  # fmt: skip
    assert [row[:3] for row in found] == [
        ("s", "fail", ["too dear"]), ("t", "not evaluated", [])
    ]  # fmt: skip
    assert json.loads(found[0][3]) == {"n_folds": 5.0}
    assert found[0][4] == 70


class Shelf:
    """A store of two artifacts, as far as the check asks it."""

    def __init__(self, inputs, *, is_damaged=False):
        self.inputs, self.is_damaged = inputs, is_damaged

    def faults(self, _):
        return ["torn"] if self.is_damaged else []

    def manifest(self, ref):
        return SimpleNamespace(
            lineage_id=f"of {ref.id}", provenance=SimpleNamespace(inputs=self.inputs)
        )


def test_what_would_trade_is_what_this_code_makes_and_what_the_fills_used():
    one, other = (SimpleNamespace(kind=EVENT_FORECASTS.name, id=name) for name in "ab")
    facts = {"feature_version": "f", "model_name": "m", "model_version": "v"}

    def deployed(shelf):
        pipeline = SimpleNamespace(
            workspace=SimpleNamespace(store=shelf), data_version="d", model_facts=lambda: facts
        )
        return _deployed(pipeline, one, SimpleNamespace(kind="event_trades", id="t"))

    honest = deployed(Shelf((one,)))
    assert honest.payload_schema_version == f"event_forecasts/{EVENT_FORECASTS.schema_version}"
    assert (honest.data_version, honest.model_version, honest.lineage_id) == ("d", "v", "of a")
    assert honest.mismatches(deployed(Shelf((one,)))) == ()
    # Fills of other forecasts, of none, and of a damaged artifact are each refused.
    assert honest.mismatches(deployed(Shelf((other,)))) == (
        "lineage_id differs: 'of a' was evaluated, 'of b' is used",
    )
    assert len(honest.mismatches(deployed(Shelf(())))) == 1
    assert len(honest.mismatches(deployed(Shelf((one,), is_damaged=True)))) == 6

"""Trials: what training runs and backtests put into the ledger, and the ledger they ask.

A family holds the configurations that compete with one another: everything that was ever tried on
one source of data at one horizon and track, whichever folder or end date it had. A new download is
not a new start.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from quant_engine.core.clock import SystemClock
from quant_engine.core.hashing import sha256_json
from quant_engine.core.tracks import Track
from quant_engine.core.trials import Trial, TrialSink
from quant_engine.governance.ledger import TrialLedger
from quant_engine.governance.lifecycle import open_ledger
from quant_engine.governance.session import SessionLedger
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.run_registry import RunRecord

MODEL, STRATEGY, FACTOR = "model", "strategy", "factor"


def session() -> SessionLedger:
    """Return a ledger for a notebook; nothing that it counts can be promoted.

    Returns
    -------
    SessionLedger
        A fresh one, in memory.
    """
    return SessionLedger(clock=SystemClock())


def track_ledger(workspace: Workspace, track: str) -> TrialLedger:
    """Open the trial ledger of a track.

    Parameters
    ----------
    workspace : Workspace
        Results folder, clock and key.
    track : str
        Each track counts its own trials.

    Returns
    -------
    TrialLedger
        Shared by all processes that work in the folder.
    """
    return open_ledger(
        workspace.settings.results_root,
        Track(track),
        clock=workspace.clock,
        signer=workspace.store.signer,
    )


def family_of(kind: str, run: RunRecord) -> str:
    """Name the family in which a run's configurations compete.

    Parameters
    ----------
    kind : str
        ``"model"``, ``"strategy"`` or ``"factor"``.
    run : RunRecord
        Training run or backtest.

    Returns
    -------
    str
        Such as ``"strategy|local|10s"``.
    """
    source = run.dataset.partition("-")[0]
    return f"{kind}|{source}|{run.horizon_sessions}s"


def strategy_family(run: RunRecord) -> str:
    """Name the family in which a backtest competes.

    Parameters
    ----------
    run : RunRecord
        Backtest.

    Returns
    -------
    str
        Books of in-sample predictions compete among themselves, and so do books that fill on the
        bar that decided.
    """
    kind = f"{STRATEGY}_in_sample" if run.config["in_sample"] else STRATEGY
    return family_of(f"{kind}_same_bar" if fills_same_bar(run) else kind, run)


def fills_same_bar(run: RunRecord) -> bool:
    """Whether the orders of a backtest fill on the bar that decided them.

    Parameters
    ----------
    run : RunRecord
        Backtest.

    Returns
    -------
    bool
    """
    rules = run.config.get("rules") or {"settings": run.config.get("backtest", {})}
    return bool(rules["settings"].get("unsafe_same_bar", False))


def record_training(sink: TrialSink, run: RunRecord, *, split: Any) -> str:
    """Count a training run.

    Parameters
    ----------
    sink : TrialSink
        Ledger of the run's track.
    run : RunRecord
        The finished run.
    split : object
        Plain JSON values that identify the split plan.

    Returns
    -------
    str
        Id of the trial; the same configuration on the same data is counted once.
    """
    return sink.record(
        Trial(
            family=family_of(MODEL, run),
            spec_id=sha256_json(run.config),
            data_id=run.dataset,
            split_id=sha256_json(split),
            asked_by="train",
        )
    )


def record_backtest(sink: TrialSink, run: RunRecord, training: RunRecord) -> str:
    """Count a backtest, with the address of its returns where it left any.

    Parameters
    ----------
    sink : TrialSink
        Ledger of the run's track.
    run : RunRecord
        The finished backtest.
    training : RunRecord
        The run whose predictions it traded.

    Returns
    -------
    str
        Id of the trial.
    """
    address = str(run.artifacts["backtest"]) if "backtest" in run.artifacts else ""
    return sink.record(strategy_trial(run, training, asked_by="backtest", returns_ref=address))


def strategy_trial(
    run: RunRecord, training: RunRecord, *, asked_by: str, returns_ref: str
) -> Trial:
    """Describe one way of trading the predictions of a training run.

    Parameters
    ----------
    run : RunRecord
        Its ``config`` says how, its dataset on what.
    training : RunRecord
        The run whose predictions are traded.
    asked_by : str
        Command that asked.
    returns_ref : str
        Address of its returns; empty where it left none.

    Returns
    -------
    Trial
        Of the family of the strategies of this data and horizon.
    """
    return Trial(
        family=strategy_family(run),
        spec_id=sha256_json({"model": training.config, "book": run.config}),
        data_id=run.dataset,
        split_id=sha256_json(training.config["split"]),
        asked_by=asked_by,
        returns_ref=returns_ref,
    )


def record_factors(
    sink: TrialSink, run: RunRecord, factors: pd.DataFrame, horizons: Iterable[int]
) -> list[str]:
    """Count every factor of a report at every horizon.

    Parameters
    ----------
    sink : TrialSink
        Ledger of the run's track.
    run : RunRecord
        The finished report.
    factors : DataFrame
        With a column ``formula``: a factor under another name is the same trial.
    horizons : iterable of int
        Label horizons in sessions.

    Returns
    -------
    list of str
        Ids of the trials, factor by factor.
    """
    return [
        sink.record(
            Trial(
                family=family_of(FACTOR, run.model_copy(update={"horizon_sessions": horizon})),
                spec_id=sha256_json({"formula": formula, "target": run.config["run"]["target"]}),
                data_id=run.dataset,
                # Nothing is fitted, so nothing is split.
                split_id=sha256_json("whole history"),
                asked_by="factors",
            )
        )
        for formula in factors["formula"]
        for horizon in horizons
    ]


def count_factor_trials(ledger: TrialLedger, dataset: str) -> int:
    """Count the factor trials ever recorded on a source of data, at all horizons.

    Parameters
    ----------
    ledger : TrialLedger
        Ledger of the track.
    dataset : str
        Dataset id; its source counts.

    Returns
    -------
    int
        Different trials.
    """
    source = dataset.partition("-")[0]
    prefix = f"{FACTOR}|{source}|"
    return sum(f.n_trials for f in ledger.families() if f.family.startswith(prefix))

"""Demo: train, predict and backtest on the embedded simulated market, then say what to try."""

from __future__ import annotations

from quant_engine.workflows.backtest import BacktestRequest, run_backtest
from quant_engine.workflows.config import resolve_train_config
from quant_engine.workflows.context import Workspace
from quant_engine.workflows.data import Location
from quant_engine.workflows.outcome import Outcome
from quant_engine.workflows.predict import PredictRequest, predict
from quant_engine.workflows.train import train


def demo(workspace: Workspace) -> Outcome:
    """Run the three scripts with their defaults.

    Parameters
    ----------
    workspace : Workspace
        Where results go.

    Returns
    -------
    Outcome
        Figures of the backtest, the path of the tear sheet, and three commands to try.
    """
    config = resolve_train_config({}, workspace.catalog)
    trained = train(workspace, config, Location())
    predicted = predict(workspace, PredictRequest(top=5))
    tested = run_backtest(workspace, BacktestRequest(), {})
    page = workspace.settings.results_root / f"backtest_{config.labels.horizon_sessions}d.html"
    text = "\n".join(
        [
            tested.text,
            "",
            "This market is simulated, with planted alpha of known strength: its figures speak",
            "about the machinery (track calibration), not about a market.",
            "",
            f"tear sheet: {page.absolute()}",
            "",
            "try next:",
            "  source .venv/bin/activate",
            "  qe lineage "
            + tested.artifacts[0]["id"][:8]
            + "          # from this result to its sources",
            "  python run_backtest.py --mode long_only --costs stress_2x",
            "  python run_train.py --source local --path YOUR_FOLDER --dry-run",
        ]
    )
    return Outcome(
        text=text,
        run_id=tested.run_id,
        track=tested.track,
        dataset=tested.dataset,
        artifacts=[*trained.artifacts, *predicted.artifacts, *tested.artifacts],
        metrics=tested.metrics,
        warnings=[],
    )

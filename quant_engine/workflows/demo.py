"""Demo on the embedded simulated market, and the warm-up that compiles kernels beforehand."""

from __future__ import annotations

from quant_engine.core.scratch import scratch_folder
from quant_engine.workflows.backtest import BacktestRequest, run_backtest
from quant_engine.workflows.config import resolve_train_config
from quant_engine.workflows.context import Workspace, moved_workspace
from quant_engine.workflows.data import Location
from quant_engine.workflows.outcome import Outcome
from quant_engine.workflows.predict import PredictRequest, predict
from quant_engine.workflows.train import train


def demo(workspace: Workspace, *, dry_run: bool = False) -> Outcome:
    """Run the three scripts with their defaults.

    Parameters
    ----------
    workspace : Workspace
        Where results go.
    dry_run : bool
        Say what would be trained, write nothing.

    Returns
    -------
    Outcome
        Figures of the backtest, the path of the tear sheet, and three commands to try.
    """
    config = resolve_train_config({}, workspace.catalog)
    if dry_run:
        return train(workspace, config, Location(), dry_run=True)
    trained = train(workspace, config, Location())
    predicted = predict(workspace, PredictRequest(top=5))
    tested = run_backtest(workspace, BacktestRequest(), {})
    made = [*trained.artifacts, *predicted.artifacts, *tested.artifacts]
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
        artifacts=list({(item["kind"], item["id"]): item for item in made}.values()),
        metrics=tested.metrics,
        warnings=[],
    )


def warm_up(workspace: Workspace) -> Outcome:
    """Compile the numerical kernels by running the chain on a tiny market.

    Kernels compile by themselves at first use and are cached beside the sources; an installation
    that warms up gives its first result without waiting for the compiler.

    Parameters
    ----------
    workspace : Workspace
        Its folders stay untouched; the tiny run is thrown away.

    Returns
    -------
    Outcome
        A sentence.
    """
    tiny = {
        "data": {"world": {"seed": 1, "n_assets": 40, "n_sessions": 420}},
        "split": {"min_train_sessions": 126, "test_sessions": 63},
        "model": {"members": [{"learner": "ridge", "column": "ridge"}]},
    }
    with scratch_folder() as folder:
        scratch = moved_workspace(workspace, folder)
        for feature_set in ("price_volume_v1", "simulated_core"):
            config = resolve_train_config({**tiny, "feature_set": feature_set}, scratch.catalog)
            train(scratch, config, Location())
        predict(scratch, PredictRequest())
        run_backtest(scratch, BacktestRequest(), {})
    return Outcome(text="numerical kernels are compiled and cached")

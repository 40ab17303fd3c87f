"""Settings of the validation suite behind ``run_backtest.py --advanced``."""

from __future__ import annotations

from pydantic import Field

from quant_engine.backtest.perturbation import HOLDING_FACTORS, SIZE_FACTORS
from quant_engine.backtest.slices import PhaseConfig
from quant_engine.backtest.stress import COST_MULTIPLIERS, DELAYS
from quant_engine.core.config import FrozenConfig


class AdvancedConfig(FrozenConfig):
    """How much is drawn, stressed and fitted again.

    Parameters
    ----------
    seed : int
        Seed of every draw.
    n_null_draws : int
        Draws of each random null baseline.
    n_paths : int
        Monte Carlo paths.
    avg_block_sessions : float
        Mean length of resampled blocks of returns.
    cost_multipliers : tuple of float
        Factors on every cost rate; with 1 and 2.
    delays : tuple of int
        Sessions by which entries come late; with 0 and 1.
    size_factors, holding_factors : tuple of float
        Variants of the book; each is a trial. Empty = none.
    refit : bool
        Whether models are fitted again on a combinatorial plan; the only part that trains.
    n_blocks, n_test_blocks : int
        Blocks of that plan, and how many of them each split tests.
    splits_per_stage : int
        Refits after which the work is stored, to be resumed from.
    phases : PhaseConfig
        When a market counts as crashing, recovering, wild or going nowhere.

    Examples
    --------
    >>> AdvancedConfig().n_blocks
    6
    """

    seed: int = Field(default=0, ge=0)
    n_null_draws: int = Field(default=100, ge=1)
    n_paths: int = Field(default=2_000, ge=100)
    avg_block_sessions: float = Field(default=20.0, ge=1.0)
    cost_multipliers: tuple[float, ...] = Field(default=COST_MULTIPLIERS, min_length=1)
    delays: tuple[int, ...] = Field(default=DELAYS, min_length=1)
    size_factors: tuple[float, ...] = SIZE_FACTORS
    holding_factors: tuple[float, ...] = HOLDING_FACTORS
    refit: bool = True
    n_blocks: int = Field(default=6, ge=2)
    n_test_blocks: int = Field(default=2, ge=1)
    splits_per_stage: int = Field(default=8, ge=1)
    phases: PhaseConfig = PhaseConfig()

"""Every registered factor as one part of the look-ahead audit, on invented reports."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.errors import ConfigError
from quant_engine.core.hashing import sha256_json
from quant_engine.core.panel import Panel
from quant_engine.data.simulated.world import EquityWorld
from quant_engine.data.statements import SINGLE, STATEMENT_COLUMNS, TRAILING, Statements
from quant_engine.features.factors import (
    FACTORS,
    FactorBase,
    FactorInputs,
    FactorSpec,
    build_factor,
    discover_factors,
)
from quant_engine.features.factors.pipeline import FactorPipelineSpec
from quant_engine.features.factors.plan import factor_needs
from quant_engine.workflows.audit import PanelPart
from quant_engine.workflows.audit_pipeline import market_panel
from quant_engine.workflows.factors import factor_scores

__all__ = ["factor_part", "invented_reports", "price_factor"]

_QUARTERS_BEFORE = 28
"""Quarters of reports before the first session: the longest look-back of a factor is five years."""

_RESTATED_SHARE = 0.2


def factor_part(world: EquityWorld) -> PanelPart:
    """Compose all registered factors as one part: one run computes them all.

    Parameters
    ----------
    world : EquityWorld
        Market; its reports are invented, so that every item that a factor reads is there.

    Returns
    -------
    PanelPart
        One field per factor; later reports are redrawn and earlier ones restated later.
    """
    discover_factors()
    specs = tuple(FactorSpec(name=name) for name in FACTORS.names())
    pipeline = FactorPipelineSpec(name="audit", factors=specs)
    built = {spec.name: build_factor(spec) for spec in specs}
    panel = market_panel(world).with_fields({"close_raw": world.raw_panel.field("close")})
    reports = invented_reports(panel, specs, seed=world.config.seed)

    def compute(market: Panel, *, reports: pd.DataFrame) -> dict[str, FloatMatrix]:
        scores = factor_scores(market, pipeline, statements=Statements(reports, "invented"))
        return {name: np.asarray(values) for name, values in scores.fields.items()}

    return PanelPart(
        name="factors",
        compute=compute,
        panel=panel,
        warmup=max(factor.lookback_sessions for factor in built.values()),
        scale_free=frozenset(
            name for name, spec in zip(built, specs, strict=True) if not factor_needs([spec])
        ),
        tables={"reports": (reports, "known_ts")},
        identity=sha256_json([world.config.content(), pipeline.content()]),
        notes=("reports are invented",),
    )


def price_factor(factor: FactorBase) -> Callable[[Panel], FloatMatrix]:
    """Turn a factor that reads prices alone into a function of a panel.

    Parameters
    ----------
    factor : FactorBase
        Built factor.

    Returns
    -------
    callable
        Panel (T, N) to scores, shape (T, N).

    Raises
    ------
    ConfigError
        For a factor that reads reports or other factors.
    """
    if factor.needs or factor.requires:
        raise ConfigError(
            "--plugin",
            wanted="a factor that reads prices alone",
            got=f"{type(factor).__name__}, which reads reports or other factors",
            hint="Register it; `qe audit factors` audits every registered factor.",
        )
    return lambda market: factor.compute(FactorInputs(market))


def invented_reports(panel: Panel, specs: tuple[FactorSpec, ...], *, seed: int) -> pd.DataFrame:
    """Invent quarterly reports of every item that factors read.

    Parameters
    ----------
    panel : Panel
        Gives sessions and assets.
    specs : tuple of FactorSpec
        Factors.
    seed : int
        Seed of the draw.

    Returns
    -------
    DataFrame
        Columns of :class:`~quant_engine.data.statements.Statements`; published 30 to 60 days after
        the end of the quarter, a fifth of them restated up to a year later.
    """
    rng = np.random.default_rng(seed)
    first = pd.Period(panel.time.index[0], "Q") - _QUARTERS_BEFORE
    quarters = pd.period_range(first, pd.Period(panel.time.index[-1], "Q"), freq="Q")
    names = [need.item for need in factor_needs(specs)]
    spans = {
        name.removesuffix(TRAILING).removesuffix(SINGLE): int(name.endswith((TRAILING, SINGLE)))
        for name in names
    }
    index = pd.MultiIndex.from_product(
        [panel.asset_ids, sorted(spans), quarters], names=["asset_id", "item", "quarter"]
    )
    table = index.to_frame(index=False)
    quarter = pd.PeriodIndex(table["quarter"])
    ends = pd.DatetimeIndex(quarter.end_time).normalize().as_unit("us")
    table = table.assign(
        fiscal_year=quarter.year,
        fiscal_quarter=quarter.quarter,
        span_quarters=table["item"].map(spans).to_numpy(),
        period_end=ends,
        known_ts=ends + pd.to_timedelta(rng.integers(30, 60, len(table)), unit="D"),
        value=np.exp(rng.normal(1.0, 0.4, len(table))),
    )
    again = table[rng.random(len(table)) < _RESTATED_SHARE]
    delay = pd.to_timedelta(rng.integers(20, 360, len(again)), unit="D")
    again = again.assign(
        known_ts=again["known_ts"] + delay, value=again["value"] * rng.uniform(0.5, 2, len(again))
    )
    return pd.concat([table, again], ignore_index=True)[list(STATEMENT_COLUMNS)]

"""Factor scores from market data and reports: views of what was published, then the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from quant_engine.core.panel import Panel
from quant_engine.core.published import Published
from quant_engine.data.statements import Statements, as_of_matrix
from quant_engine.features.factors.base import FactorInputs, Need
from quant_engine.features.factors.pipeline import (
    FactorPipelineSpec,
    compute_factors,
    enabled_specs,
)
from quant_engine.features.factors.plan import factor_needs

__all__ = ["MAX_STALENESS", "factor_inputs", "factor_scores", "published_views"]

MAX_STALENESS = pd.Timedelta(days=400)
"""Age after which a report counts as absent: a year and the longest usual delay of the next one."""


def published_views(
    statements: Statements | None,
    panel: Panel,
    *,
    needs: Sequence[Need],
    max_staleness: pd.Timedelta = MAX_STALENESS,
) -> dict[str, Published]:
    """Build the views of report items.

    Parameters
    ----------
    statements : Statements or None
        Reports; None when there are none, which is fine for price factors.
    panel : Panel
        Gives sessions and assets.
    needs : sequence of Need
        Items, and how many quarters ago; see `factor_needs`.
    max_staleness : Timedelta
        Greatest age of a report.

    Returns
    -------
    dict of str to Published
        By `Need.key`, each (T, N).

    Raises
    ------
    MissingFieldError
        When the statements lack an item.
    """
    if statements is None:
        return {}
    return {
        need.key: as_of_matrix(
            statements,
            need.item,
            panel.time,
            asset_ids=panel.asset_ids,
            max_staleness=max_staleness,
            quarters_ago=need.quarters_ago,
        )
        for need in needs
    }


def factor_inputs(
    panel: Panel,
    spec: FactorPipelineSpec,
    *,
    statements: Statements | None = None,
    published: Mapping[str, Published] | None = None,
    max_staleness: pd.Timedelta = MAX_STALENESS,
) -> FactorInputs:
    """Put together what a pipeline computes from.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    spec : FactorPipelineSpec
        Pipeline.
    statements : Statements, optional
        Reports.
    published : mapping of str to Published, optional
        Views of a person's own tables, such as estimates or sentiment, by `Need.key`.
    max_staleness : Timedelta
        Greatest age of a report.

    Returns
    -------
    FactorInputs
        Panel and views.

    Raises
    ------
    MissingFieldError
        When the statements lack an item.
    """
    specs = [*enabled_specs(spec), *spec.neutralise.exposures]
    own = dict(published or {})
    needs = [need for need in factor_needs(specs) if need.key not in own]
    views = published_views(statements, panel, needs=needs, max_staleness=max_staleness)
    return FactorInputs(panel, {**views, **own})


def factor_scores(
    panel: Panel,
    spec: FactorPipelineSpec,
    *,
    statements: Statements | None = None,
    published: Mapping[str, Published] | None = None,
    max_staleness: pd.Timedelta = MAX_STALENESS,
) -> Panel:
    """Compute the scores of a pipeline from market data and reports.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    spec : FactorPipelineSpec
        Pipeline.
    statements : Statements, optional
        Reports; factors that read them are refused without.
    published : mapping of str to Published, optional
        Views of a person's own tables, such as estimates or sentiment, by `Need.key`.
    max_staleness : Timedelta
        Greatest age of a report.

    Returns
    -------
    Panel
        One field per factor, (T, N).

    Raises
    ------
    MissingFieldError
        When a field, group or report item is absent.
    """
    inputs = factor_inputs(
        panel, spec, statements=statements, published=published, max_staleness=max_staleness
    )
    return compute_factors(inputs, spec)

"""Settings of the event pipeline by the kind of source, and overrides over them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Any

from pydantic import ValidationError

from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.kalshi.exchange.timing import microseconds
from quant_engine.kalshi.pipeline import EventPipelineConfig
from quant_engine.workflows.event_sources import FAKE, EventSource, source_of_quotes

__all__ = ["pipeline_config"]

RECORDED: dict[str, Any] = {
    "horizons_s": (86_400, 43_200, 21_600, 10_800, 3_600),
    "later_s": 900,
}
"""Recordings and exchanges that are polled often: decisions up to the last hour."""
IMPLIED_WIDEST_E4 = 10_000
"""Prices of both takers are no quote of one moment: a wide pair still says where the outcome is."""


def pipeline_config(source: EventSource, overrides: Mapping[str, Any]) -> EventPipelineConfig:
    """Return the settings of a run.

    Parameters
    ----------
    source : EventSource
        Decides the defaults.
    overrides : mapping
        Nested values of ``--set``.

    Returns
    -------
    EventPipelineConfig

    Raises
    ------
    ConfigError
        An unknown setting, or a value that does not fit.

    Examples
    --------
    >>> pipeline_config(EventSource("fake"), {"walk": {"test_clusters": 10}}).walk.test_clusters
    10
    """
    values: dict[str, Any] = {}
    if source.environment != FAKE:
        quotes = source_of_quotes(source)
        values |= RECORDED | {"source": quotes}
        if quotes == "trade":
            values["widest_e4"] = IMPLIED_WIDEST_E4
    if source.until is not None:
        after = datetime.combine(source.until + timedelta(days=1), time(), tzinfo=UTC)
        values["until_us"] = microseconds(after) - 1
    unknown = sorted(set(overrides) - set(EventPipelineConfig.model_fields))
    if unknown:
        raise ConfigError(
            "--set",
            wanted="settings of the event pipeline",
            got=", ".join(unknown),
            hint=did_you_mean(unknown[0], EventPipelineConfig.model_fields),
        )
    try:
        return EventPipelineConfig.model_validate(values | dict(overrides))
    except ValidationError as error:
        raise ConfigError(
            "--set",
            wanted="values that fit the settings",
            got="; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()),
            hint="See docs/concepts/event_pipeline.md.",
        ) from error

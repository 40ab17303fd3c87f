"""Sizing specs: from a name and a person's settings to the whole configuration that is recorded."""

from __future__ import annotations

from typing import Any

from quant_engine.core.errors import ConfigError
from quant_engine.core.specs import SpecCatalog, build_config
from quant_engine.risk.sizing import SizingConfig
from quant_engine.workflows.config import section_of

DEFAULT_SIZING = "vol_target"
"""Sizing that ``--risk`` without a name means."""


def put_sizing(overrides: dict[str, Any], name: str, catalog: SpecCatalog) -> None:
    """Put a sizing spec into settings, under what somebody set of it.

    The whole configuration is put there, not the name: what is recorded says the sizes by itself.
    The portfolio's own cap on a name, which holds besides, becomes that of the sizing unless
    somebody set it: a default must not undo what was asked for.

    Parameters
    ----------
    overrides : dict
        Nested settings of a backtest, changed in place: ``backtest.sizing`` becomes the spec with
        the keys that were given there in place of its own, ``backtest.portfolio.max_weight_frac``
        its cap.
    name : str
        Name in ``specs/sizing``.
    catalog : SpecCatalog
        Specs that names refer to.

    Raises
    ------
    ConfigError
        For an unknown name or setting, with the nearest names; or sizing beside rules.

    Examples
    --------
    >>> settings = {"backtest": {"sizing": {"target": {"target_ann": 0.1}}}}
    >>> put_sizing(settings, "vol_target", SpecCatalog.default())
    >>> sizing = settings["backtest"]["sizing"]
    >>> sizing["target"]["target_ann"], sizing["target"]["max_leverage"], sizing["weighting"]
    (0.1, 2.0, 'inverse_volatility')
    """
    if "rules" in overrides:
        raise ConfigError(
            "--risk",
            wanted="no sizing beside --rules",
            got="both",
            hint="Rules size by position_frac; --rules risk_managed has the stops.",
        )
    spec = catalog.load("sizing", name, SizingConfig).content()
    backtest = section_of(overrides, "backtest")
    content = _laid_over(spec, section_of(backtest, "sizing"))
    sizing = build_config(SizingConfig, content, where="settings: backtest.sizing")
    cap = {"max_weight_frac": sizing.caps.max_name_frac}
    book = {**cap, **section_of(backtest, "portfolio")}
    overrides["backtest"] = {**backtest, "portfolio": book, "sizing": sizing.content()}


def _laid_over(base: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Nested values with those that were given in place of the base's."""
    merged = dict(base)
    for key, value in given.items():
        inner = merged.get(key)
        if isinstance(inner, dict) and isinstance(value, dict):
            merged[key] = _laid_over(inner, value)
        else:
            merged[key] = value
    return merged

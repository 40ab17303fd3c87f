"""Costs by name: a profile of ``specs/costs`` or a cost model of ``specs/cost_models``."""

from __future__ import annotations

from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.specs import SpecCatalog
from quant_engine.execution.cost_model import CostModel, Costs
from quant_engine.execution.costs import CostProfile

__all__ = ["load_costs"]

PROFILES, MODELS = "costs", "cost_models"


def load_costs(catalog: SpecCatalog, name: str, *, where: str = "costs") -> Costs:
    """Read a cost profile or a cost model.

    Parameters
    ----------
    catalog : SpecCatalog
        Shipped specs and those of the working folder.
    name : str
        File name without ``.yaml``, in either folder.
    where : str
        Setting that holds the name, for messages.

    Returns
    -------
    CostProfile or CostModel
        Frozen; its digest says what it assumes.

    Raises
    ------
    ConfigError
        For a name that neither folder or both hold, or a value outside the schema.

    Examples
    --------
    >>> catalog = SpecCatalog.default()
    >>> [type(load_costs(catalog, name)).__name__ for name in ("base", "us_conditions")]
    ['CostProfile', 'CostModel']
    """
    profiles, models = catalog.names(PROFILES), catalog.names(MODELS)
    if name in profiles and name in models:
        raise ConfigError(
            where,
            wanted="a name of one spec",
            got=f"{name!r}, which is a profile and a model",
            hint=f"Rename the file in specs/{PROFILES} or in specs/{MODELS}.",
        )
    if name in models:
        return catalog.load(MODELS, name, CostModel)
    if name in profiles:
        return catalog.load(PROFILES, name, CostProfile)
    known = (*profiles, *models)
    raise ConfigError(
        where,
        wanted=f"a spec in specs/{PROFILES} or specs/{MODELS}",
        got=repr(name),
        hint=did_you_mean(name, known),
    )

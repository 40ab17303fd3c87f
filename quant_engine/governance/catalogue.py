"""Catalogue of gate metrics: the figures a rule may ask for, with kind, unit and method.

A rule over a name that is not here is an error at load, and so is a rule over a diagnostic such
as ``sharpe_step_raw``: it is reported beside the figure that gates read, and never judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean
from quant_engine.core.specs import SpecCatalog

_KIND = "gate_metrics"


class MetricSpec(FrozenConfig):
    """What one figure is.

    Parameters
    ----------
    label : str
        Words for sentences: "net Sharpe".
    unit : str
        Unit of its values.
    kind : {"number", "count", "flag"}
        Flags are true or false, counts whole numbers.
    methods : tuple of str
        Named conventions under which it may be judged; empty where there is only one.
    diagnostic : str
        Why no gate may read it; empty for a figure that gates may read.
    risk : bool
        True for a hard risk limit: a broken rule over it vetoes any gain in profit.
    when_true, when_false : str
        What a flag says, as half a sentence; empty = the label with yes or no behind it.
    """

    label: str
    unit: str
    kind: Literal["number", "count", "flag"] = "number"
    methods: tuple[str, ...] = ()
    diagnostic: str = ""
    risk: bool = False
    when_true: str = ""
    when_false: str = ""


class MetricFile(FrozenConfig):
    """One file of ``specs/gate_metrics``."""

    name: str
    metrics: dict[str, MetricSpec]


@dataclass(frozen=True)
class MetricCatalogue:
    """All figures that rules may name.

    Parameters
    ----------
    specs : dict of str to MetricSpec
        By name.

    Examples
    --------
    >>> catalogue = MetricCatalogue.load(SpecCatalog.default())
    >>> catalogue.get("max_drawdown").unit
    'fraction'
    """

    specs: dict[str, MetricSpec]

    @classmethod
    def load(cls, catalog: SpecCatalog) -> MetricCatalogue:
        """Read every file of ``specs/gate_metrics``.

        Parameters
        ----------
        catalog : SpecCatalog
            Shipped specs and those of the working folder.

        Returns
        -------
        MetricCatalogue
            The union.

        Raises
        ------
        ConfigError
            When two files define one figure.
        """
        specs: dict[str, MetricSpec] = {}
        for name in catalog.names(_KIND):
            found = catalog.load(_KIND, name, MetricFile).metrics
            doubled = sorted(set(found) & set(specs))
            if doubled:
                raise ConfigError(
                    f"{_KIND}/{name}.yaml",
                    wanted="figures that no other file defines",
                    got=", ".join(doubled),
                    hint="Give your figure another name.",
                )
            specs.update(found)
        return cls(specs)

    def get(self, name: str, *, where: str = "metric") -> MetricSpec:
        """Return a figure's spec, or raise ConfigError naming the nearest known names.

        Parameters
        ----------
        name : str
            As a rule spells it.
        where : str
            Who asks, for the message.

        Returns
        -------
        MetricSpec
            What it is.
        """
        if name not in self.specs:
            raise ConfigError(
                where,
                wanted="a metric of specs/gate_metrics",
                got=repr(name),
                hint=did_you_mean(name, self.specs),
            )
        return self.specs[name]

    def units(self) -> dict[str, str]:
        """Return name -> unit of every figure."""
        return {name: spec.unit for name, spec in self.specs.items()}

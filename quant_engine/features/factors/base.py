"""Factors: plug-ins that turn prices and published reports into a score per asset and session.

A factor is a class with typed frozen parameters. It says which report items it reads (``needs``)
and which other factors it builds on (``requires``), and computes a matrix (T, N): row t from prices
up to the close of t and from reports that were public on the evening of t. NaN = no score; a part
that is missing is never replaced by a number.

Factors are found by name in `FACTORS`. Another distribution adds its own under the entry-point
group ``quant_engine.factors``; `discover_factors` imports them.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, cast

import numpy as np
from pydantic import Field

from quant_engine.core.arrays import BoolMatrix, FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    MissingFieldError,
    SchemaMismatchError,
    did_you_mean,
)
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.published import Published
from quant_engine.core.registry import PluginMetadata, Registry
from quant_engine.core.specs import build_config
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.prices import positive_prices

__all__ = [
    "ENTRY_POINTS",
    "FACTORS",
    "FactorBase",
    "FactorInputs",
    "FactorSpec",
    "Need",
    "build_factor",
    "discover_factors",
    "factor_table",
    "raw_close",
    "register_factor",
    "run_formulas",
]

ENTRY_POINTS = "quant_engine.factors"
"""Entry-point group under which other distributions announce factors."""


class FactorSpec(FrozenConfig):
    """One factor with its parameters.

    Parameters
    ----------
    name : str
        Registered name.
    params : dict
        Parameters of the factor; unknown ones are refused when it is built.
    enabled : bool
        Whether a pipeline computes it.
    column : str or None
        Name of its scores; None = its name.

    Examples
    --------
    >>> FactorSpec(name="momentum", params={"lookback_sessions": 126}, column="half_year").label
    'half_year'
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    enabled: bool = True
    column: str | None = None

    @property
    def label(self) -> str:
        """Name of the scores."""
        return self.column or self.name

    @property
    def identity(self) -> str:
        """What two specs share that compute the same values: a default may be written or not."""
        params = build_factor(self).params.content()
        return FactorSpec(name=self.name, params=params).config_id()


@dataclass(frozen=True)
class Need:
    """One report item that a factor reads.

    Parameters
    ----------
    item : str
        Item; ``_ttm`` at its end means the sum of four quarters, ``_q`` one quarter.
    quarters_ago : int
        Fiscal quarters before the newest period.

    Examples
    --------
    >>> Need("net_income_usd_ttm", 20).key
    'net_income_usd_ttm@-20q'
    """

    item: str
    quarters_ago: int = 0

    @property
    def key(self) -> str:
        """Name of the view in `FactorInputs.published`."""
        return f"{self.item}@-{self.quarters_ago}q" if self.quarters_ago else self.item


@dataclass(frozen=True, eq=False)
class FactorInputs:
    """What factors compute from.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N).
    published : mapping of str to Published
        Views of report items by `Need.key`, each (T, N); a view that holds a value before it was
        known is refused.
    computed : mapping of str to ndarray, shape (T, N)
        Values of factors that others require, by `FactorSpec.identity`.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> panel = Panel(TimeAxis.sessions(["2020-01-02"]), ("A@US#1",), {"close": np.ones((1, 1))})
    >>> FactorInputs(panel).statement(Need("total_assets_usd"))
    Traceback (most recent call last):
    ...
    quant_engine.core.errors.MissingFieldError: report item: wanted 'total_assets_usd', \
got absent. Known: none.
    """

    panel: Panel
    published: Mapping[str, Published] = field(default_factory=dict)
    computed: Mapping[str, FloatMatrix] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, item in self.published.items():
            if not isinstance(item, Published) or item.values.shape != self.panel.shape:
                raise SchemaMismatchError(
                    f"report item {name!r}",
                    wanted=f"a Published of shape {self.panel.shape}, with publication days",
                    got=_described(item),
                    hint="Build it with quant_engine.data.statements.as_of_matrix.",
                )
            if self.panel.time.kind != "session":
                raise SchemaMismatchError(
                    f"report item {name!r}",
                    wanted="a panel of sessions",
                    got="a panel of bars",
                    hint="A publication day says nothing about the hour.",
                )
            item.check(name, self.panel.time.values)
        for name in ("published", "computed"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    @property
    def member(self) -> BoolMatrix | None:
        """Assets that are counted across a session, shape (T, N); None = all."""
        return self.panel.masks.get("member")

    def view(self, need: Need) -> Published:
        """Return the view of an item; MissingFieldError names the nearest items."""
        if need.key not in self.published:
            raise MissingFieldError(
                "report item",
                wanted=repr(need.key),
                got="absent",
                hint=did_you_mean(need.key, self.published),
            )
        return self.published[need.key]

    def statement(self, need: Need) -> FloatMatrix:
        """Return the values of an item, shape (T, N); NaN = not known."""
        return self.view(need).values

    def factor(self, spec: FactorSpec) -> FloatMatrix:
        """Return the values of a required factor, shape (T, N)."""
        if spec.identity not in self.computed:
            raise ConfigError(
                f"factor {spec.name!r}",
                wanted="a factor that was computed before",
                got="nothing",
                hint="Name it in `requires`, and compute through compute_factors.",
            )
        return self.computed[spec.identity]

    def with_factor(self, spec: FactorSpec, values: FloatMatrix) -> FactorInputs:
        """Return inputs that hold the values, shape (T, N), of one more factor."""
        return dataclasses.replace(self, computed={**self.computed, spec.identity: values})


def _described(item: object) -> str:
    held = item.values if isinstance(item, Published) else item
    return f"{type(item).__name__} of shape {np.shape(cast(Any, held))}"


class FactorBase(ABC):
    """A factor, built from its parameters.

    Parameters
    ----------
    params : FrozenConfig
        Parameters of the type that the metadata names.

    Examples
    --------
    >>> from quant_engine.core.registry import NoParams
    >>> class Price(FactorBase):
    ...     metadata = PluginMetadata(summary="Close.")
    ...     def compute(self, inputs):
    ...         return inputs.panel.field("close")
    >>> Price(NoParams()).requires
    ()
    """

    metadata: ClassVar[PluginMetadata]

    def __init__(self, params: FrozenConfig) -> None:
        self.params: Any = params

    @property
    def needs(self) -> tuple[Need, ...]:
        """Report items that are read."""
        return ()

    @property
    def requires(self) -> tuple[FactorSpec, ...]:
        """Other factors that are read."""
        return ()

    @property
    def lookback_sessions(self) -> int:
        """Rows of prices, including the newest, that one value reads; 0 = no price is read."""
        return 0

    @abstractmethod
    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return the values, float64 of shape (T, N); NaN = no score."""


FACTORS: Registry[type[FactorBase]] = Registry("factor")
"""Every factor by name; importing ``quant_engine.features.factors`` registers those shipped."""


def register_factor(name: str) -> Callable[[type[FactorBase]], type[FactorBase]]:
    """Return a decorator that registers a factor class under a name.

    Parameters
    ----------
    name : str
        Lower-case words joined by underscores; a taken name is refused.

    Returns
    -------
    callable
        The decorator; the class's own ``metadata`` goes into the registry.

    Examples
    --------
    >>> "momentum" in FACTORS.names()
    True
    """

    def decorate(factor: type[FactorBase]) -> type[FactorBase]:
        return FACTORS.register(name, metadata=factor.metadata)(factor)

    return decorate


def build_factor(spec: FactorSpec) -> FactorBase:
    """Build the factor that a spec names, with its parameters checked.

    Parameters
    ----------
    spec : FactorSpec
        Name and parameters.

    Returns
    -------
    FactorBase
        Ready to compute.

    Raises
    ------
    ConfigError
        Unknown factor, unknown parameter, or a value out of range.

    Examples
    --------
    >>> build_factor(FactorSpec(name="momentum")).lookback_sessions
    253
    """
    factor = FACTORS.get(spec.name)
    params = build_config(factor.metadata.params, spec.params, where=f"factor {spec.name!r}")
    return factor(params)


def discover_factors() -> tuple[str, ...]:
    """Import the factors that installed distributions announce.

    Returns
    -------
    tuple of str
        Names that were added.

    Examples
    --------
    >>> discover_factors()
    ()
    """
    return FACTORS.discover(ENTRY_POINTS)


def factor_table() -> tuple[tuple[str, PluginMetadata], ...]:
    """Name and metadata of every registered factor, in alphabetical order.

    Returns
    -------
    tuple of (str, PluginMetadata)
        For lists and documents.

    Examples
    --------
    >>> factor_table()[0][0]
    'accruals'
    """
    return tuple((name, FACTORS.metadata(name)) for name in FACTORS.names())


def run_formulas(panel: Panel, formulas: Mapping[str, str]) -> dict[str, FloatMatrix]:
    """Compute formulas of the expression language in full precision.

    Parameters
    ----------
    panel : Panel
        Market panel (T, N), prices adjusted for splits.
    formulas : mapping of str to str
        Formula by name.

    Returns
    -------
    dict of str to ndarray, float64 of shape (T, N)
        NaN in the warm-up and where a window has a missing value.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [11.0]])})
    >>> run_formulas(panel, {"r": "$return"})["r"].round(3).tolist()
    [[nan], [0.1]]
    """
    result = compile_expressions(formulas).run(panel, dtype=np.float64, allow_short=True)
    return {name: result.field(name) for name in formulas}


def raw_close(panel: Panel) -> FloatMatrix:
    """Close as it was quoted, which is what per-share figures of a report are about.

    Parameters
    ----------
    panel : Panel
        With ``close_raw``, or on the basis ``raw``.

    Returns
    -------
    ndarray of float64, shape (T, N)
        Currency; NaN = not traded.

    Raises
    ------
    MissingFieldError
        When only adjusted prices are there: later splits would enter earlier ratios.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02"])
    >>> raw_close(Panel(axis, ("A@US#1",), {"close_raw": np.array([[9.0]])})).tolist()
    [[9.0]]
    """
    if "close_raw" in panel.fields:
        return positive_prices(panel.field("close_raw"))
    if panel.price_basis is PriceBasis.RAW:
        return positive_prices(panel.field("close"))
    raise MissingFieldError(
        "panel field",
        wanted="'close_raw', or prices on the basis raw",
        got=f"prices on the basis {panel.price_basis}",
        hint="Adjusted prices know of later splits; add the quoted close as close_raw.",
    )

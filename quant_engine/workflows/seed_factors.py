"""Adapter for factor plug-ins and strategy files of the earlier interface, which run unchanged.

A plug-in of that interface is a class with ``metadata`` and ``compute(data)``: a long frame with
the columns ``ticker``, ``date``, ``close`` in, a Series by ticker out: scores of the last date. It
takes a dict of parameters and registers itself with a decorator imported from ``quant.core``. A
strategy file names factors, an optimiser and risk rules.

The names of that interface (``quant.core``, ``quant.features.pipeline``) exist only while
`discover_plugins` imports a package, or inside ``with seed_names():``. Whatever a plug-in computes
for a date, it computes from the rows up to that date alone, because no later row is handed to it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import (
    ConfigError,
    IdentityError,
    MissingFieldError,
    SchemaMismatchError,
    did_you_mean,
)
from quant_engine.core.ids import asset_id, ticker_of
from quant_engine.core.panel import Panel, PriceBasis
from quant_engine.core.registry import PluginMetadata as RegistryMetadata
from quant_engine.core.registry import Registry
from quant_engine.core.specs import build_config, parse_spec
from quant_engine.data.statements import Statements
from quant_engine.data.universe import sector_group
from quant_engine.features.factors.base import FactorInputs, FactorSpec
from quant_engine.features.factors.pipeline import (
    FactorPipelineSpec,
    neutral_scores,
    standardise,
)
from quant_engine.workflows.factors import factor_scores

__all__ = [
    "FactorBase",
    "FactorPipeline",
    "PluginMetadata",
    "SeedPlugin",
    "SeedPlugins",
    "SeedStrategy",
    "SeedStrategyName",
    "discover_plugins",
    "plugin_matrix",
    "read_strategy",
    "seed_names",
]

# Their name and parameters -> ours.
_SHIPPED: dict[str, tuple[str, dict[str, str]]] = {
    "VSM": (
        "vsm",
        {
            "lookback": "lookback_sessions",
            "vol_window": "vol_sessions",
            "target_vol": "target_vol_daily",
        },
    ),
    "BAB": ("bab", {"beta_lookback": "window_sessions"}),
    "QMJ": ("qmj", {}),
    "Momentum": ("momentum", {"lookback": "lookback_sessions"}),
}
_COLUMNS = ("ticker", "date", "close")


@dataclass
class PluginMetadata:
    """What a plug-in of the earlier interface says about itself.

    Parameters
    ----------
    name, description, version, author, category : str
        Free texts.
    parameters : dict of str to str
        Meaning of each parameter.

    Examples
    --------
    >>> PluginMetadata("MyFactor", "Custom.").version
    '1.0.0'
    """

    name: str
    description: str
    version: str = "1.0.0"
    author: str = ""
    category: str = ""
    parameters: dict[str, str] = field(default_factory=dict)


class FactorBase(ABC):
    """Base class of factor plug-ins of the earlier interface; built with a dict of parameters."""

    @property
    @abstractmethod
    def metadata(self) -> PluginMetadata:
        """What the plug-in says about itself."""

    @abstractmethod
    def compute(self, data: pd.DataFrame) -> pd.Series:
        """Return a Series of scores by ticker from a long frame (ticker, date, close, ...)."""


class SeedPlugins:
    """Factor plug-ins of the earlier interface, by name.

    Examples
    --------
    >>> plugins = SeedPlugins()
    >>> @plugins.register_factor("Close")
    ... class Close(FactorBase):
    ...     def __init__(self, params=None): ...
    ...     metadata = PluginMetadata("Close", "Last close.")
    ...     def compute(self, data):
    ...         return data.groupby("ticker")["close"].last()
    >>> plugins.list_factors(), plugins.get_all_metadata()["Close"].description
    (['Close'], 'Last close.')
    """

    def __init__(self) -> None:
        self._factors: Registry[type[FactorBase]] = Registry("plug-in")

    def register_factor(self, name: str) -> Callable[[type[FactorBase]], type[FactorBase]]:
        """Return a decorator that registers a class; ConfigError when the name is taken."""
        if name in _SHIPPED:
            raise ConfigError(
                "factor name",
                wanted="a name that is not taken",
                got=repr(name),
                hint="A shipped factor has this name; registered ones are never overwritten.",
            )
        return self._factors.register(name, metadata=RegistryMetadata(summary=name))

    def get_factor(self, name: str) -> type[FactorBase]:
        """Return the class of a plug-in; ConfigError names the nearest names."""
        return self._factors.get(name)

    def list_factors(self) -> list[str]:
        """Return all names in alphabetical order."""
        return list(self._factors.names())

    def get_all_metadata(self) -> dict[str, PluginMetadata]:
        """Return what every plug-in says about itself, built with its default parameters."""
        return {name: _built(self.get_factor(name), {}).metadata for name in self.list_factors()}


PLUGINS = SeedPlugins()
"""Plug-ins that ``quant.core.register_factor`` has registered."""


class SeedPlugin(FrozenConfig):
    """A named part of a strategy file.

    Parameters
    ----------
    name : str
        Registered name.
    params : dict
        Its parameters.
    enabled : bool
        Whether it is used.
    """

    name: str
    params: dict[str, Any] = Field(default_factory=dict)
    enabled: bool = True


class SeedStrategyName(FrozenConfig):
    """The head of a strategy file.

    Parameters
    ----------
    name : str
        Name of the strategy.
    version : str
        Its version.
    description : str
        One sentence.
    """

    name: str
    version: str = "1.0"
    description: str = ""


class SeedStrategy(FrozenConfig):
    """A strategy file of the earlier interface.

    Parameters
    ----------
    strategy : SeedStrategyName
        Name and version.
    factors : tuple of SeedPlugin
        Factors.
    optimizer : SeedPlugin or None
        Optimiser of the weights; read and kept, not used by the factor pipeline.
    risk_rules : tuple of SeedPlugin
        Risk rules; read and kept likewise.
    """

    strategy: SeedStrategyName
    factors: tuple[SeedPlugin, ...] = Field(min_length=1)
    optimizer: SeedPlugin | None = None
    risk_rules: tuple[SeedPlugin, ...] = ()


def read_strategy(path: Path) -> SeedStrategy:
    """Read a strategy file.

    Parameters
    ----------
    path : Path
        YAML with ``strategy``, ``factors``, ``optimizer``, ``risk_rules``.

    Returns
    -------
    SeedStrategy
        Frozen content.

    Raises
    ------
    ConfigError
        For a file that is not there, unreadable YAML, or an unknown key.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"strategy file {path.name}",
            wanted="a readable UTF-8 file",
            got=str(error),
            hint="Give the path of the YAML file.",
        ) from error
    return parse_spec(text, SeedStrategy, where=path.name)


def discover_plugins(package: str) -> list[str]:
    """Import a package with all its modules, so that its plug-ins register themselves.

    Parameters
    ----------
    package : str
        Importable name.

    Returns
    -------
    list of str
        Names that were added.

    Raises
    ------
    ConfigError
        When there is no such package, or a plug-in takes a name twice.
    """
    before = set(PLUGINS.list_factors())
    with seed_names():
        try:
            root = importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise ConfigError(
                "package",
                wanted="an importable package of plug-ins",
                got=f"{package!r}: {error}",
                hint="Put its folder on the import path.",
            ) from error
        for module in pkgutil.walk_packages(getattr(root, "__path__", ()), f"{package}."):
            importlib.import_module(module.name)
    return sorted(set(PLUGINS.list_factors()) - before)


@contextmanager
def seed_names() -> Iterator[None]:
    """Let ``quant.core`` and ``quant.features.pipeline`` be importable for a while.

    Yields
    ------
    None
        The names are there; afterwards they are gone again.

    Raises
    ------
    ConfigError
        When a package called ``quant`` is already imported.

    Examples
    --------
    >>> with seed_names():
    ...     from quant.core import register_factor
    >>> "quant" in sys.modules
    False
    """
    if "quant" in sys.modules:
        raise ConfigError(
            "package 'quant'",
            wanted="a name that is free",
            got="another package of that name",
            hint="Run plug-ins of the earlier interface in a process of their own.",
        )
    contents: dict[str, dict[str, Any]] = {
        "quant": {},
        "quant.core": {
            "FactorBase": FactorBase,
            "PluginMetadata": PluginMetadata,
            "register_factor": PLUGINS.register_factor,
            "discover_plugins": discover_plugins,
        },
        "quant.features": {},
        "quant.features.pipeline": {"FactorPipeline": FactorPipeline},
    }
    for name, content in contents.items():
        module = ModuleType(name)
        vars(module).update(content)
        if name in ("quant", "quant.features"):
            module.__path__ = []
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in contents:
            del sys.modules[name]


def plugin_matrix(plugin: FactorBase, panel: Panel, *, rows: Sequence[int]) -> FloatMatrix:
    """Scores of a plug-in on several sessions, each from the rows up to it.

    Parameters
    ----------
    plugin : FactorBase
        Built plug-in.
    panel : Panel
        Market panel (T, N).
    rows : sequence of int
        Positions of the wanted sessions.

    Returns
    -------
    ndarray of float64, shape (T, N)
        NaN in the other rows and where the plug-in gives no score.

    Raises
    ------
    SchemaMismatchError
        When the plug-in does not return one number per ticker.
    """
    frame = _long(panel)
    out = np.full(panel.shape, np.nan)
    column = {ticker_of(asset): number for number, asset in enumerate(panel.asset_ids)}
    days = panel.time.index
    for row in rows:
        known = frame[frame["date"] <= days[row]].reset_index(drop=True)
        scores = _plugin_scores(plugin, known, column)
        out[row, [column[ticker] for ticker in scores.index]] = scores.to_numpy(dtype=np.float64)
    return np.where(np.isfinite(out), out, np.nan)


@dataclass(frozen=True)
class FactorPipeline:
    """Factors of a strategy file: winsorised at 1 % and 99 %, z-scored, sector-neutral.

    Parameters
    ----------
    strategy : SeedStrategy
        What the file says.
    sector_neutral : bool
        Whether the mean of the sector is taken out; the market data then needs a column ``sector``.
    plugins : SeedPlugins
        Where factors are found that are not shipped.

    Examples
    --------
    >>> head = SeedStrategyName(name="tiny")
    >>> pipeline = FactorPipeline(SeedStrategy(strategy=head, factors=({"name": "VSM"},)))
    >>> [(spec.name, spec.column) for spec in pipeline.specs]
    [('vsm', 'VSM')]
    """

    strategy: SeedStrategy
    sector_neutral: bool = True
    plugins: SeedPlugins = field(default_factory=lambda: PLUGINS, repr=False)

    @classmethod
    def from_config(cls, path: str | Path, *, sector_neutral: bool = True) -> FactorPipeline:
        """Read a strategy file; ConfigError for an unusable one or an unknown factor."""
        pipeline = cls(read_strategy(Path(path)), sector_neutral)
        known = [*_SHIPPED, *pipeline.plugins.list_factors()]
        for factor in pipeline.strategy.factors:
            if factor.name not in known:
                raise ConfigError(
                    "factor",
                    wanted="a shipped factor or a discovered plug-in",
                    got=repr(factor.name),
                    hint=did_you_mean(factor.name, known),
                )
        return pipeline

    @property
    def specs(self) -> tuple[FactorSpec, ...]:
        """The shipped factors of the file, with our names of their parameters."""
        return tuple(_translated(one) for one in self.strategy.factors if one.name in _SHIPPED)

    def compute_all(
        self,
        market_data: pd.DataFrame,
        *,
        statements: Statements | None = None,
        price_basis: PriceBasis = PriceBasis.SPLIT_ADJ,
    ) -> pd.DataFrame:
        """Compute all enabled factors of the last date.

        Parameters
        ----------
        market_data : DataFrame
            Long: ``ticker``, ``date``, ``close``, further numbers, and ``sector`` where scores are
            made sector-neutral.
        statements : Statements, optional
            Reports; factors that read them are refused without.
        price_basis : PriceBasis
            Adjustment of the prices.

        Returns
        -------
        DataFrame
            One row per ticker, one column per factor as the file names it; NaN = no score.

        Raises
        ------
        MissingFieldError
            When a column or report item is absent.
        IdentityError
            When a ticker has two rows of one date.
        """
        panel = self._panel(market_data, price_basis)
        active = [one for one in self.strategy.factors if one.enabled]
        scores: dict[str, FloatMatrix] = {}
        shipped = [spec for spec in self.specs if spec.enabled]
        treatment = self._treatment(shipped)
        if shipped:
            computed = factor_scores(panel, treatment, statements=statements)
            scores = {name: computed.field(name) for name in computed.fields}
        last = len(panel.time) - 1
        inputs = FactorInputs(panel)
        for one in active:
            if one.name not in _SHIPPED:
                plugin = _built(self.plugins.get_factor(one.name), one.params)
                raw = plugin_matrix(plugin, panel, rows=[last])
                standard = standardise(raw, treatment, inputs=inputs)
                scores[one.name] = neutral_scores(standard, treatment.neutralise, inputs)
        tickers = pd.Index([ticker_of(asset) for asset in panel.asset_ids], name="ticker")
        return pd.DataFrame({one.name: scores[one.name][last] for one in active}, index=tickers)

    def _treatment(self, shipped: Sequence[FactorSpec]) -> FactorPipelineSpec:
        """The pipeline of the shipped factors; its treatment holds for plug-ins too."""
        neutral = {"method": "group_mean", "group": "sector"} if self.sector_neutral else {}
        content = {
            "name": self.strategy.strategy.name,
            "factors": [*shipped] or [FactorSpec(name="momentum")],
            "neutralise": neutral,
        }
        return build_config(FactorPipelineSpec, content, where="strategy file")

    def _panel(self, market_data: pd.DataFrame, price_basis: PriceBasis) -> Panel:
        wanted = [*_COLUMNS, "sector"] if self.sector_neutral else [*_COLUMNS]
        missing = [name for name in wanted if name not in market_data.columns]
        if missing:
            raise MissingFieldError(
                "market data",
                wanted=f"columns {', '.join(wanted)}",
                got=f"missing {missing}",
                hint="Without sectors, build the pipeline with sector_neutral=False.",
            )
        ids = {ticker: asset_id(str(ticker)) for ticker in market_data["ticker"].unique()}
        if len(set(ids.values())) != len(ids):
            raise IdentityError(
                "market data ticker",
                wanted="one spelling per ticker",
                got="tickers that differ in upper and lower case alone",
                hint="Spell each company the same way in every row.",
            )
        numbers = market_data.drop(columns=["ticker", "date", "sector"], errors="ignore")
        index = [pd.to_datetime(market_data["date"]), market_data["ticker"].map(ids)]
        numbers.index = pd.MultiIndex.from_arrays(index, names=["date", "asset_id"])
        panel = Panel.from_long(numbers, price_basis=price_basis)
        if not self.sector_neutral:
            return panel
        newest = market_data.assign(asset=index[1]).sort_values("date").groupby("asset")["sector"]
        sectors = {str(asset): str(name) for asset, name in newest.last().dropna().items()}
        return panel.with_groups({"sector": sector_group(sectors, panel)})


def _translated(one: SeedPlugin) -> FactorSpec:
    name, params = _SHIPPED[one.name]
    values = {params.get(key, key): value for key, value in one.params.items()}
    return FactorSpec(name=name, params=values, enabled=one.enabled, column=one.name)


def _built(plugin: type[FactorBase], params: Mapping[str, Any]) -> FactorBase:
    made: Callable[[dict[str, Any]], FactorBase] = plugin
    return made(dict(params))


def _long(panel: Panel) -> pd.DataFrame:
    frame = panel.to_long().reset_index()
    frame["ticker"] = frame.pop("asset_id").map(
        {asset: ticker_of(asset) for asset in panel.asset_ids}
    )
    ordered = ["ticker", *frame.columns.drop("ticker")]
    return frame[ordered].sort_values(["ticker", "date"], ignore_index=True)


def _plugin_scores(plugin: FactorBase, frame: pd.DataFrame, column: Mapping[str, int]) -> pd.Series:
    scores = plugin.compute(frame)
    fits = (
        isinstance(scores, pd.Series)
        and pd.api.types.is_numeric_dtype(scores)
        and scores.index.is_unique
        and set(scores.index) <= set(column)
    )
    if not fits:
        raise SchemaMismatchError(
            f"plug-in {type(plugin).__name__}",
            wanted="a Series of numbers with one entry per ticker",
            got=type(scores).__name__ if not isinstance(scores, pd.Series) else scores.index[:3],
            hint="`compute` returns the scores of the last date by ticker.",
        )
    return scores

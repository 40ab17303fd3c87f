"""Price factors: momentum, strength, market slope and risk, each one formula of the panel.

They run on any panel with adjusted closes. A window with a missing close is NaN. The market is the
equal-weight total return of those who were members one session earlier.
"""

from __future__ import annotations

from abc import abstractmethod

from pydantic import Field, model_validator

from quant_engine.core.arrays import FloatMatrix
from quant_engine.core.config import FrozenConfig
from quant_engine.core.registry import PluginMetadata
from quant_engine.features.expressions.program import compile_expressions
from quant_engine.features.factors.base import (
    FactorBase,
    FactorInputs,
    FactorSpec,
    register_factor,
    run_formulas,
)

__all__ = [
    "BalanceVolume",
    "Beta",
    "BettingAgainstBeta",
    "FlowParams",
    "FormulaFactor",
    "IdiosyncraticVolatility",
    "LevyStrength",
    "Momentum",
    "MomentumParams",
    "MoneyFlow",
    "StrengthParams",
    "Volatility",
    "VolatilityScaledMomentum",
    "VolatilityScaledParams",
    "WindowParams",
    "YearMomentum",
]


class MomentumParams(FrozenConfig):
    """Window of a price change.

    Parameters
    ----------
    lookback_sessions : int
        Sessions from the first price to today.
    skip_sessions : int
        Sessions from the last price to today; 0 = today's price.

    Examples
    --------
    >>> MomentumParams().lookback_sessions
    252
    """

    lookback_sessions: int = Field(default=252, ge=1)
    skip_sessions: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> MomentumParams:
        if self.skip_sessions >= self.lookback_sessions:
            raise ValueError("skip_sessions must be smaller than lookback_sessions")
        return self


class YearMomentumParams(MomentumParams):
    """Twelve months without the last one, by default.

    Parameters
    ----------
    lookback_sessions : int
        Sessions from the first price to today.
    skip_sessions : int
        Sessions from the last price to today.
    """

    skip_sessions: int = Field(default=21, ge=0)


class VolatilityScaledParams(YearMomentumParams):
    """Momentum, and the window of the volatility that it is divided by.

    Parameters
    ----------
    lookback_sessions : int
        Sessions from the first price to today.
    skip_sessions : int
        Sessions from the last price to today.
    vol_sessions : int
        Daily returns of the standard deviation.
    target_vol_daily : float
        Daily standard deviation (fraction) that the momentum is scaled to; 1 = momentum per unit.
    """

    vol_sessions: int = Field(default=60, ge=2)
    target_vol_daily: float = Field(default=1.0, gt=0)


class StrengthParams(FrozenConfig):
    """Window of a moving average.

    Parameters
    ----------
    average_sessions : int
        Closes of the average; 52 weeks of 5 days are 260.
    """

    average_sessions: int = Field(default=260, ge=2)


class WindowParams(FrozenConfig):
    """Window of daily returns.

    Parameters
    ----------
    window_sessions : int
        Daily returns.
    """

    window_sessions: int = Field(default=252, ge=3)


class FormulaFactor(FactorBase):
    """A factor that is one formula of the expression language.

    Parameters
    ----------
    params : FrozenConfig
        Parameters that the formula holds.

    Examples
    --------
    >>> Momentum(MomentumParams(lookback_sessions=20)).formula
    '$close/Ref($close, 20) - 1'
    """

    @property
    @abstractmethod
    def formula(self) -> str:
        """The formula, with the parameters in it."""

    @property
    def lookback_sessions(self) -> int:
        """Rows of prices, including the newest, that one value reads."""
        return compile_expressions({"value": self.formula}).lookback_sessions

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return the formula's values, float64 of shape (T, N)."""
        return run_formulas(inputs.panel, {"value": self.formula})["value"]


@register_factor("momentum")
class Momentum(FormulaFactor):
    """P(t - skip)/P(t - lookback) - 1.

    Parameters
    ----------
    params : MomentumParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Price change over a year: P(t)/P(t-252) - 1.",
        params=MomentumParams,
        test_params=({}, {"lookback_sessions": 20, "skip_sessions": 5}),
        source="Jegadeesh and Titman 1993",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        skip, lookback = self.params.skip_sessions, self.params.lookback_sessions
        newest = f"Ref($close, {skip})" if skip else "$close"
        return f"{newest}/Ref($close, {lookback}) - 1"


@register_factor("momentum_12_1")
class YearMomentum(Momentum):
    """P(t - 21)/P(t - 252) - 1.

    Parameters
    ----------
    params : YearMomentumParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Price change over twelve months without the last one: P(t-21)/P(t-252) - 1.",
        params=YearMomentumParams,
        test_params=({}, {"lookback_sessions": 60}),
        source="Jegadeesh and Titman 1993; Asness 1994",
    )


@register_factor("vsm")
class VolatilityScaledMomentum(Momentum):
    """Momentum without the last month over the standard deviation of 60 daily returns.

    Parameters
    ----------
    params : VolatilityScaledParams
        Windows.
    """

    metadata = PluginMetadata(
        summary="Volatility-scaled momentum: (P(t-21)/P(t-252) - 1)/std of 60 daily returns.",
        params=VolatilityScaledParams,
        test_params=({}, {"lookback_sessions": 60, "vol_sessions": 20, "target_vol_daily": 0.01}),
        source="Barroso and Santa-Clara 2015, scaling by own volatility",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        scaled = f"({super().formula})/Std($return, {self.params.vol_sessions})"
        target = self.params.target_vol_daily
        return scaled if target == 1.0 else f"{scaled} * {target!r}"


@register_factor("levy_rsl")
class LevyStrength(FormulaFactor):
    """100 times the close over its own 52-week average.

    Parameters
    ----------
    params : StrengthParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Relative strength of Levy: 100 P(t)/mean of the last 260 closes.",
        params=StrengthParams,
        test_params=({}, {"average_sessions": 30}),
        source="Levy 1967",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        return f"100 * $close/Mean($close, {self.params.average_sessions})"


@register_factor("volatility")
class Volatility(FormulaFactor):
    """Standard deviation of daily total returns.

    Parameters
    ----------
    params : WindowParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Standard deviation (ddof 1) of 252 daily total returns.",
        params=WindowParams,
        test_params=({}, {"window_sessions": 20}),
        source="Ang, Hodrick, Xing and Zhang 2006",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        return f"Std($return, {self.params.window_sessions})"


@register_factor("beta")
class Beta(FormulaFactor):
    """Slope of the asset's daily return on the market's.

    Parameters
    ----------
    params : WindowParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Market slope: cov(r, m)/var(m) over 252 sessions, m = equal-weight members.",
        params=WindowParams,
        test_params=({}, {"window_sessions": 20}),
        source="Sharpe 1964",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        window = self.params.window_sessions
        return f"Cov($return, $market_return, {window})/Var($market_return, {window})"


@register_factor("ivol")
class IdiosyncraticVolatility(FormulaFactor):
    """Standard deviation of what the market model leaves, two degrees of freedom spent.

    Parameters
    ----------
    params : WindowParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Idiosyncratic volatility: std (ddof 2) of the residuals of r on m, 252 sessions.",
        params=WindowParams,
        test_params=({}, {"window_sessions": 20}),
        source="Ang, Hodrick, Xing and Zhang 2006, market model",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        window = self.params.window_sessions
        cov, var = (
            f"Cov($return, $market_return, {window})",
            f"Var($market_return, {window})",
        )
        freedom = (window - 1) / (window - 2)
        left = f"Var($return, {window}) - {cov} * {cov}/{var}"
        # Rounding may leave a little less than nothing of an asset that is the market.
        return f"Sqrt(Greater({left}, 0) * {freedom!r})"


class FlowParams(FrozenConfig):
    """Window of a money-flow measure.

    Parameters
    ----------
    window_sessions : int
        Sessions.
    """

    window_sessions: int = Field(default=14, ge=2)


@register_factor("mfi")
class MoneyFlow(FormulaFactor):
    """Money flow index: share of the traded value on days of a rising typical price.

    Parameters
    ----------
    params : FlowParams
        Window.
    """

    metadata = PluginMetadata(
        summary="Money flow index of 14 sessions, 0 to 100.",
        params=FlowParams,
        test_params=({}, {"window_sessions": 5}),
        source="Quong and Soudack 1989",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        return f"MFI($high, $low, $close, $volume, {self.params.window_sessions})"


@register_factor("obv")
class BalanceVolume(FormulaFactor):
    """Change of the on-balance volume over a window, as a share of the volume of the window.

    The level of the on-balance volume depends on where a history begins; its change does not.

    Parameters
    ----------
    params : FlowParams
        Window.
    """

    metadata = PluginMetadata(
        summary="On-balance volume: sum of sign(change of close) volume over sum of volume.",
        params=FlowParams,
        test_params=({}, {"window_sessions": 5}),
        source="Granville 1963, the change over a window",
    )

    @property
    def formula(self) -> str:
        """The formula, with the parameters in it."""
        window = self.params.window_sessions
        return f"Sum(Sign(Delta($close, 1)) * $volume, {window})/Sum($volume, {window})"


@register_factor("bab")
class BettingAgainstBeta(FactorBase):
    """Minus the market slope: the asset of small slope is the better one.

    Parameters
    ----------
    params : WindowParams
        Window of the slope.
    """

    metadata = PluginMetadata(
        summary="Betting against beta: minus the market slope of 252 sessions.",
        params=WindowParams,
        test_params=({}, {"window_sessions": 20}),
        source="Frazzini and Pedersen 2014, the ranking variable",
    )

    @property
    def requires(self) -> tuple[FactorSpec, ...]:
        """The market slope."""
        return (FactorSpec(name="beta", params=self.params.content()),)

    def compute(self, inputs: FactorInputs) -> FloatMatrix:
        """Return minus the slope, float64 of shape (T, N)."""
        return -inputs.factor(self.requires[0])

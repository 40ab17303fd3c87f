"""Order of factors: each after those that it requires, each computed once."""

from __future__ import annotations

from collections.abc import Sequence

from quant_engine.core.causality import Causality
from quant_engine.core.errors import ConfigError
from quant_engine.features.factors.base import FactorInputs, FactorSpec, Need, build_factor

__all__ = ["factor_causality", "factor_needs", "plan_factors", "run_factors"]


def plan_factors(specs: Sequence[FactorSpec]) -> tuple[FactorSpec, ...]:
    """Bring factors and everything they require into an order in which they can be computed.

    Parameters
    ----------
    specs : sequence of FactorSpec
        Wanted factors, enabled or not.

    Returns
    -------
    tuple of FactorSpec
        Required ones first; of several specs that compute the same values the first.

    Raises
    ------
    ConfigError
        For an unknown factor or parameter, and for a factor that requires itself, directly or
        through others; the message shows the circle.

    Examples
    --------
    >>> [spec.name for spec in plan_factors([FactorSpec(name="bab")])]
    ['beta', 'bab']
    """
    done: dict[str, FactorSpec] = {}

    def visit(spec: FactorSpec, path: tuple[FactorSpec, ...]) -> None:
        open_ones = [waiting.identity for waiting in path]
        if spec.identity in open_ones:
            circle = [*path[open_ones.index(spec.identity) :], spec]
            raise ConfigError(
                f"factor {spec.name!r}",
                wanted="a factor that does not require itself",
                got=" -> ".join(one.name for one in circle),
                hint="Take one of them out of the other's `requires`.",
            )
        if spec.identity in done:
            return
        for required in build_factor(spec).requires:
            visit(required, (*path, spec))
        done[spec.identity] = spec

    for spec in specs:
        visit(spec, ())
    return tuple(done.values())


def factor_needs(specs: Sequence[FactorSpec]) -> tuple[Need, ...]:
    """Report items that factors, and those that they require, read.

    Parameters
    ----------
    specs : sequence of FactorSpec
        Wanted factors.

    Returns
    -------
    tuple of Need
        Each once, in order of first use.

    Examples
    --------
    >>> [need.key for need in factor_needs([FactorSpec(name="earnings_yield")])]
    ['eps_diluted_usd_ttm']
    """
    found = [need for spec in plan_factors(specs) for need in build_factor(spec).needs]
    return tuple(dict.fromkeys(found))


def factor_causality(specs: Sequence[FactorSpec]) -> Causality:
    """When scores may be used: a report is known on the evening of its day, a price at the close.

    Parameters
    ----------
    specs : sequence of FactorSpec
        Factors.

    Returns
    -------
    Causality
        END_OF_DAY when any of them, or of those that they require, reads a report; else CAUSAL.

    Examples
    --------
    >>> factor_causality([FactorSpec(name="vsm")]).value
    'CAUSAL'
    """
    return Causality.END_OF_DAY if factor_needs(specs) else Causality.CAUSAL


def run_factors(inputs: FactorInputs, specs: Sequence[FactorSpec]) -> FactorInputs:
    """Compute factors and everything that they require, without any standardisation.

    Parameters
    ----------
    inputs : FactorInputs
        Panel (T, N) and views; every item that is needed must be there.
    specs : sequence of FactorSpec
        Wanted factors.

    Returns
    -------
    FactorInputs
        The inputs with the values of all factors in ``computed``.

    Raises
    ------
    MissingFieldError
        When an item or field is absent, before anything is computed.
    ConfigError
        As for `plan_factors`.

    Examples
    --------
    >>> import numpy as np
    >>> from quant_engine.core.panel import Panel, TimeAxis
    >>> axis = TimeAxis.sessions(["2020-01-02", "2020-01-03"])
    >>> panel = Panel(axis, ("A@US#1",), {"close": np.array([[10.0], [11.0]])})
    >>> spec = FactorSpec(name="momentum", params={"lookback_sessions": 1})
    >>> run_factors(FactorInputs(panel), [spec]).factor(spec).round(3).tolist()
    [[nan], [0.1]]
    """
    order = plan_factors(specs)
    for need in factor_needs(specs):
        inputs.view(need)
    for spec in order:
        if spec.identity not in inputs.computed:
            inputs = inputs.with_factor(spec, build_factor(spec).compute(inputs))
    return inputs

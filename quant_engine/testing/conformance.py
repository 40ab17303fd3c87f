"""Conformance suites: what every plug-in of a kind must do, checked from outside.

Each suite takes callables and example data, so that it knows nothing of the packages it is used
on. A broken rule raises :class:`~quant_engine.testing.errors.ConformanceError`, which test
runners report as a failed assertion and whose ``rule`` names the rule. A suite that returns has
checked every rule in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from quant_engine.core.arrays import FloatVector
from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, MissingExtraError
from quant_engine.core.panel import Panel
from quant_engine.core.registry import PluginMetadata, Registry
from quant_engine.testing.errors import NAME, ConformanceError, refuse
from quant_engine.testing.lookahead import AuditReport, assert_prefix_invariant
from quant_engine.testing.outputs import first_difference, labelled
from quant_engine.testing.providers import ProviderLike, check_provider

__all__ = [
    "ProviderLike",
    "check_feature_set",
    "check_learner",
    "check_provider",
    "check_registry",
]

PluginT = TypeVar("PluginT")
ModelT = TypeVar("ModelT")

_NOBODY = "no_plugin_has_this_name"


def check_registry(
    registry: Registry[PluginT], *, build: Callable[[PluginT, FrozenConfig], object]
) -> tuple[str, ...]:
    """Check every plug-in of a registry.

    Rules: ``names`` (lower-case words with underscores), ``summary`` (a sentence or a formula),
    ``version`` (not empty), ``test_params`` (at least one set, accepted by the plug-in's parameter
    class), ``unknown parameter`` (refused), ``build`` (every set builds something, twice),
    ``unknown name`` (refused with ConfigError).

    Parameters
    ----------
    registry : Registry
        The plug-ins.
    build : callable
        Builds one from the registered object and validated parameters.

    Returns
    -------
    tuple of str
        ``name[0]``, ``name[1]`` ... for every parameter set that was built. Plug-ins whose
        optional dependency is not installed are left out.

    Raises
    ------
    ConformanceError
        Naming plug-in and rule.

    Examples
    --------
    >>> shapes: Registry[type] = Registry("shape")
    >>> @shapes.register("square", metadata=PluginMetadata(summary="Four equal sides."))
    ... class Square: ...
    >>> check_registry(shapes, build=lambda plugin, params: plugin())
    ('square[0]',)
    """
    built: list[str] = []
    for name in registry.names():
        subject = f"{registry.kind} {name!r}"
        metadata = registry.metadata(name)
        _check_metadata(subject, name, metadata)
        for number, values in enumerate(metadata.test_params):
            params = _test_params(subject, metadata, values)
            try:
                made = [build(registry.get(name), params) for _ in range(2)]
            except MissingExtraError:
                if metadata.extra is None:
                    raise
                continue
            if any(item is None for item in made):
                raise ConformanceError.broken(
                    subject, "build", wanted="an object", got=None, hint="Return what was built."
                )
            built.append(f"{name}[{number}]")
    _check_unknown_name(registry)
    return tuple(built)


def check_feature_set(
    compute: Callable[[Panel], Panel],
    panel: Panel,
    *,
    names: Sequence[str],
    cuts: Sequence[int],
    seed: int = 0,
) -> AuditReport:
    """Check a function that turns a market panel into a panel of features.

    Rules: ``axes`` (times and assets of the input), ``columns`` (exactly `names`, in order),
    ``dtype`` (float32), ``no infinity``, ``asset order`` (permuting assets permutes the result,
    bit for bit), ``repeatable`` and ``no look-ahead`` (see
    :func:`~quant_engine.testing.lookahead.assert_prefix_invariant`).

    Parameters
    ----------
    compute : callable
        Panel in, panel of features out.
    panel : Panel
        Example market data, shape (T, N), longer than the warm-up of every feature.
    names : sequence of str
        Expected feature names in column order.
    cuts : sequence of int
        Row positions of the look-ahead audit.
    seed : int
        Seed of permutation and poisoned futures.

    Returns
    -------
    AuditReport
        How much the look-ahead audit compared.

    Raises
    ------
    ConformanceError
        Naming the rule; LeakFoundError for a leak.

    Examples
    --------
    >>> from quant_engine.core.panel import TimeAxis
    >>> days = np.datetime64("2020-01-01") + np.arange(40)
    >>> panel = Panel(TimeAxis.sessions(days), ("A@US#1",), {"close": np.ones((40, 1))})
    >>> def compute(market):
    ...     return market.with_fields({"half": market.field("close").astype("f4") / 2}
    ...     ).only_fields(["half"])
    >>> check_feature_set(compute, panel, names=["half"], cuts=[20]).fields
    ('half',)
    """
    subject = f"features {getattr(compute, '__name__', type(compute).__name__)}"
    result = compute(panel)
    if (result.time, result.asset_ids) != (panel.time, panel.asset_ids):
        raise ConformanceError.broken(
            subject,
            "axes",
            wanted=f"shape {panel.shape} with the input's times and assets",
            got=result.shape,
            hint="Rows and assets are never dropped; a missing value is NaN.",
        )
    if list(result.fields) != list(names):
        raise ConformanceError.broken(
            subject,
            "columns",
            wanted=f"{list(names)}",
            got=list(result.fields),
            hint="Columns follow the order of the set.",
        )
    for name, values in result.fields.items():
        if values.dtype != np.float32:
            raise ConformanceError.broken(
                subject, "dtype", wanted="float32", got=f"{values.dtype} of {name!r}", hint="Cast."
            )
        if np.isinf(values).any():
            raise ConformanceError.broken(
                subject,
                "no infinity",
                wanted="finite values or NaN",
                got=f"{int(np.isinf(values).sum())} infinities in {name!r}",
                hint="A division by zero has no value: NaN.",
            )
    _check_asset_order(subject, compute, panel, result, seed)
    return assert_prefix_invariant(compute, panel, cuts=cuts, seed=seed)


def check_learner(
    fit: Callable[[npt.NDArray[np.float32], FloatVector], ModelT],
    predict: Callable[[ModelT, npt.NDArray[np.float32]], FloatVector],
    *,
    contributions: Callable[[ModelT, npt.NDArray[np.float32]], npt.NDArray[Any]] | None = None,
    round_trip: Callable[[ModelT], ModelT] | None = None,
    seed: int = 0,
) -> None:
    """Check a learner on planted data.

    Rules: ``inputs unchanged`` (and read-only inputs accepted), ``shape`` (one finite float64 per
    row), ``learns`` (on rows it has not seen, correlation above 0.5 with a linear signal as strong
    as the noise), ``repeatable`` (equal bits from two fits), ``rows alone`` (a row's prediction
    does not depend on the other rows asked for), ``additive`` (contributions and base add up to
    the prediction), ``round trip`` (equal bits after being stored).

    Parameters
    ----------
    fit : callable
        Rows x (R, P) float32 without NaN, standardised, and targets y (R,), mean 0 and variance
        about 1; returns a model.
    predict : callable
        Model and rows (R, P); returns (R,) in units of y.
    contributions : callable, optional
        Model and rows (R, P); returns (R, P + 1): one part per feature, then the base.
    round_trip : callable, optional
        Turns a model into what is stored and back.
    seed : int
        Seed of the planted data.

    Raises
    ------
    ConformanceError
        Naming the rule.

    Examples
    --------
    >>> def fit(x, y):
    ...     return np.linalg.lstsq(x.astype(float), y, rcond=None)[0]
    >>> check_learner(fit, lambda beta, x: x.astype(float) @ beta)
    """
    subject = f"learner {getattr(fit, '__qualname__', type(fit).__name__)}"
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(1200, 8)).astype(np.float32)
    signal = x @ np.array([1.0, -0.5, 0.25, 0, 0, 0, 0, 0]) / np.sqrt(1.3125)
    noise = rng.normal(size=1200)
    y = (signal + noise) / np.sqrt(2.0)
    train, test = slice(0, 800), slice(800, None)
    before = x.tobytes(), y.tobytes()
    x.setflags(write=False)
    y.setflags(write=False)
    model = fit(x[train], y[train])
    predicted = predict(model, x[test])
    if (x.tobytes(), y.tobytes()) != before:
        refuse(subject, "inputs unchanged", "the same bits after fitting", "other bits")
    _check_prediction(subject, predicted, len(x[test]))
    found = float(np.corrcoef(predicted, signal[test])[0, 1]) if predicted.std() > 0 else 0.0
    if not found > 0.5:
        refuse(subject, "learns", "correlation with a planted signal above 0.5", f"{found:.2f}")
    if predict(fit(x[train], y[train]), x[test]).tobytes() != predicted.tobytes():
        refuse(subject, "repeatable", "equal bits from two fits", "other predictions")
    few = predict(model, np.ascontiguousarray(x[test][7:12]))
    if not np.allclose(few, predicted[7:12], rtol=1e-6, atol=1e-9):
        refuse(subject, "rows alone", "the same prediction in any company", "other predictions")
    if contributions is not None:
        _check_additive(subject, contributions(model, x[test]), predicted, x.shape[1])
    stored = model if round_trip is None else round_trip(model)
    if predict(stored, x[test]).tobytes() != predicted.tobytes():
        refuse(subject, "round trip", "equal bits after storing", "other predictions")


def _check_metadata(subject: str, name: str, metadata: PluginMetadata) -> None:
    if not NAME.fullmatch(name):
        refuse(subject, "names", "lower-case words with underscores", name)
    if not metadata.summary.strip():
        refuse(subject, "summary", "a sentence or a formula", repr(metadata.summary))
    if not metadata.version:
        refuse(subject, "version", "a version", "an empty text")
    if not metadata.test_params:
        refuse(subject, "test_params", "at least one set of parameters", "none")
    values = {**metadata.test_params[0], _NOBODY: 1}
    try:
        metadata.params.model_validate(values)
    except ValidationError:
        return
    refuse(subject, "unknown parameter", "a refusal", "silence")


def _test_params(subject: str, metadata: PluginMetadata, values: dict[str, Any]) -> FrozenConfig:
    try:
        return metadata.params.model_validate(values)
    except ValidationError as error:
        raise ConformanceError.broken(
            subject,
            "test_params",
            wanted=f"values that {metadata.params.__name__} accepts",
            got=f"{values}: {error.errors()[0]['msg']}",
            hint="Correct the metadata.",
        ) from error


def _check_unknown_name(registry: Registry[PluginT]) -> None:
    try:
        registry.get(_NOBODY)
    except ConfigError:
        return
    refuse(f"registry of {registry.kind}", "unknown name", "ConfigError", "a plug-in")


def _check_asset_order(
    subject: str, compute: Callable[[Panel], Panel], panel: Panel, result: Panel, seed: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(panel.asset_ids))
    shuffled = compute(panel.columns(order))
    whole = panel.time.values
    if not len(whole):
        return
    found = first_difference(
        labelled(result, panel), labelled(shuffled, panel), first=whole[0], last=whole[-1]
    )
    if found is not None:
        field, time, asset, before, after = found
        refuse(
            subject,
            "asset order",
            "the same bits for assets in another order",
            f"{field} at {time} of {asset}: {before} became {after}",
        )


def _check_prediction(subject: str, predicted: npt.NDArray[Any], n_rows: int) -> None:
    shape = (n_rows,)
    if predicted.shape != shape or predicted.dtype != np.float64:
        refuse(subject, "shape", f"float64 of {shape}", f"{predicted.dtype} of {predicted.shape}")
    if not np.isfinite(predicted).all():
        refuse(subject, "shape", "finite predictions", f"{(~np.isfinite(predicted)).sum()} not")


def _check_additive(
    subject: str, parts: npt.NDArray[Any], predicted: FloatVector, n_features: int
) -> None:
    shape = (len(predicted), n_features + 1)
    if parts.shape != shape:
        refuse(subject, "additive", f"shape {shape}", parts.shape)
    gap = float(np.abs(parts.sum(axis=1) - predicted).max())
    if not gap <= 1e-6 * max(1.0, float(np.abs(predicted).max())):
        refuse(subject, "additive", "parts that add up to the prediction", f"a gap of {gap:.2g}")

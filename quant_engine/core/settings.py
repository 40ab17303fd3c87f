"""Where state lives, and the only place that touches the environment.

``QE_DATA_ROOT``, ``QE_RESULTS_ROOT`` and ``QE_MODELS_ROOT`` move the three state folders.
``QE_SECTION__KEY=value`` overrides one setting of a run, below ``--set section.key=value`` and
above ``config.py``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings, SettingsConfigDict

from quant_engine.core.errors import ConfigError

PREFIX = "QE_"


class Settings(BaseSettings):
    """Folders of state; everything else that changes a result is part of a run's config.

    Parameters
    ----------
    data_root : Path
        Caches and stores of market data.
    results_root : Path
        Artifacts, registries and exports.
    models_root : Path
        Model versions and their registries.
    executor : str or None
        Where parallel tasks run: ``serial``, ``process`` or ``ray``; no result depends on it.
    ray_address : str or None
        ``HOST:PORT`` of a running Ray cluster.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_root: Path = Path("data")
    results_root: Path = Path("results")
    models_root: Path = Path("trained_models")
    executor: str | None = None
    ray_address: str | None = None


def environment_overrides(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Read run overrides ``QE_SECTION__KEY=value`` from the environment.

    Parameters
    ----------
    environ : mapping of str to str, optional
        Environment; the process environment by default.

    Returns
    -------
    dict
        Nested plain values, keys in lower case, values parsed as YAML scalars.

    Raises
    ------
    ConfigError
        When a value is not YAML, or one variable sets a section that another one sets as a value.

    Examples
    --------
    >>> environment_overrides({"QE_MODEL__N_TREES": "200", "HOME": "x"})
    {'model': {'n_trees': 200}}
    """
    source = os.environ if environ is None else environ
    nested: dict[str, Any] = {}
    for name in sorted(source):
        if name.startswith(PREFIX) and "__" in name:
            path = name.removeprefix(PREFIX).lower().split("__")
            set_nested(nested, path, _scalar(name, source[name]))
    return nested


@contextmanager
def exported(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for a library that has no other setting, and restore them.

    Parameters
    ----------
    values : mapping of str to str
        Names and values; processes that are started meanwhile inherit them.

    Yields
    ------
    None

    Examples
    --------
    >>> with exported({"QE_EXAMPLE__A": "1"}):
    ...     environment_overrides()["example"]
    {'a': 1}
    >>> "example" in environment_overrides()
    False
    """
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


EXCHANGE_PREFIX = "QE_KALSHI_"


def exchange_variables(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Read the variables that name an exchange key from the environment.

    Parameters
    ----------
    environ : mapping of str to str, optional
        Environment; the process environment by default.

    Returns
    -------
    dict of str to str
        ``QE_KALSHI_...`` as they stand. They are secrets: hand them to the signer, record none.

    Examples
    --------
    >>> sorted(exchange_variables({"QE_KALSHI_KEY_ID": "a", "QE_MODEL__X": "1"}))
    ['QE_KALSHI_KEY_ID']
    """
    source = os.environ if environ is None else environ
    return {name: source[name] for name in sorted(source) if name.startswith(EXCHANGE_PREFIX)}


def _scalar(name: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(
            name, wanted="a YAML value", got=repr(text), hint="Quote text that has special signs."
        ) from error


def set_nested(target: dict[str, Any], path: list[str], value: Any) -> None:
    """Set ``target[path[0]][path[1]]... = value``, making inner dicts on the way.

    Parameters
    ----------
    target : dict
        Changed in place.
    path : list of str
        Keys from the outside in, at least one.
    value : object
        What the innermost key becomes.

    Raises
    ------
    ConfigError
        When a key on the way holds a plain value.

    Examples
    --------
    >>> nested = {}
    >>> set_nested(nested, ["a", "b"], 1)
    >>> nested
    {'a': {'b': 1}}
    """
    for depth, part in enumerate(path[:-1], start=1):
        target = target.setdefault(part, {})
        if not isinstance(target, dict):
            raise ConfigError(
                ".".join(path),
                wanted=f"{'.'.join(path[:depth])} to be a section",
                got=f"the value {target!r}",
                hint="Set either the section's keys or the value, not both.",
            )
    target[path[-1]] = value

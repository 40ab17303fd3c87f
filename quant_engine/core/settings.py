"""Where state lives, and the only reader of the environment.

``QE_DATA_ROOT``, ``QE_RESULTS_ROOT`` and ``QE_MODELS_ROOT`` move the three state folders.
``QE_SECTION__KEY=value`` overrides one setting of a run, below ``--set section.key=value`` and
above ``config.py``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic_settings import BaseSettings, SettingsConfigDict

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
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    data_root: Path = Path("data")
    results_root: Path = Path("results")
    models_root: Path = Path("trained_models")


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
            set_nested(nested, path, yaml.safe_load(source[name]))
    return nested


def set_nested(target: dict[str, Any], path: list[str], value: Any) -> None:
    """Set ``target[path[0]][path[1]]... = value``, making inner dicts on the way.

    Examples
    --------
    >>> nested = {}
    >>> set_nested(nested, ["a", "b"], 1)
    >>> nested
    {'a': {'b': 1}}
    """
    for part in path[:-1]:
        target = target.setdefault(part, {})
    target[path[-1]] = value

"""Cases of a reference folder: reading them and comparing values with them.

1. ``read_cases`` reads every ``<topic>.json`` of a folder.
2. ``agree`` compares one value with one expected value.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quant_engine.core.errors import DataError, EmptyDataError

SCHEMA_VERSION = 1


@dataclass(frozen=True, eq=False)
class Case:
    """One reference case.

    Parameters
    ----------
    topic, name, kind : str
        Topic of its file, its own name, and where its numbers come from (``"paper"``, ...).
    inputs, expected : mapping
        JSON values by name; ``None`` is NaN or absent, ``"inf"`` infinity.
    tol_abs, tol_rel : float
        A value passes when ``|got - expected| <= tol_abs + tol_rel * |expected|``, elementwise.
    folder : Path
        Folder of the file, from which file names in the inputs are searched.
    """

    topic: str
    name: str
    kind: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any]
    tol_abs: float
    tol_rel: float
    folder: Path


def read_cases(folder: Path) -> tuple[Case, ...]:
    """Read every case of a folder, ordered by topic and place in the file.

    Parameters
    ----------
    folder : Path
        Folder of ``<topic>.json`` files.

    Returns
    -------
    tuple of Case

    Raises
    ------
    EmptyDataError
        When the folder holds no JSON file.
    DataError
        When a file is not JSON or lacks a part of the format.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise EmptyDataError(
            "folder",
            wanted="a folder of reference files named TOPIC.json",
            got=str(folder),
            hint="Pass the folder that holds the cases, such as reference/dev.",
        )
    return tuple(case for file in files for case in _read_file(file))


def _read_file(file: Path) -> list[Case]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise _malformed(file, f"schema_version {content['schema_version']!r}")
        return [_case(content["topic"], raw, file.parent) for raw in content["cases"]]
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise _malformed(file, str(error)) from error
    except (KeyError, TypeError) as error:
        raise _malformed(file, f"no usable part {error}") from error


def _case(topic: str, raw: Mapping[str, Any], folder: Path) -> Case:
    return Case(
        topic=topic,
        name=raw["name"],
        kind=raw.get("kind", ""),
        inputs=raw["inputs"],
        expected=raw["expected"],
        tol_abs=float(raw["tol"]["abs"]),
        tol_rel=float(raw["tol"]["rel"]),
        folder=folder,
    )


def _malformed(file: Path, got: str) -> DataError:
    return DataError(
        file.name,
        wanted="reference cases (topic, schema_version 1, cases with name, inputs, expected, tol)",
        got=got,
        hint="Compare the file with a shipped one.",
    )


def agree(got: Any, expected: Any, *, tol_abs: float, tol_rel: float) -> bool:
    """Tell whether a value equals an expected JSON value within the tolerance.

    Parameters
    ----------
    got : object
        Number, text, bool, None, array, sequence or mapping.
    expected : object
        JSON value: None stands for NaN or absent, ``"inf"`` and ``"-inf"`` for infinities. A text
        that states a property agrees with True.
    tol_abs, tol_rel : float
        Tolerances of numbers.

    Returns
    -------
    bool

    Examples
    --------
    >>> agree([1.0, float("nan")], [1.0 + 1e-12, None], tol_abs=1e-9, tol_rel=0.0)
    True
    """
    if isinstance(got, np.ndarray | np.generic):
        got = got.tolist()
    if isinstance(expected, Mapping):
        return (
            isinstance(got, Mapping)
            and {str(key) for key in got} >= set(expected)
            and all(
                agree(value, expected[str(key)], tol_abs=tol_abs, tol_rel=tol_rel)
                for key, value in got.items()
                if str(key) in expected
            )
        )
    if isinstance(expected, Sequence) and not isinstance(expected, str):
        return (
            isinstance(got, Sequence)
            and not isinstance(got, str)
            and len(got) == len(expected)
            and all(
                agree(one, other, tol_abs=tol_abs, tol_rel=tol_rel)
                for one, other in zip(got, expected, strict=True)
            )
        )
    return _agree_scalar(got, expected, tol_abs, tol_rel)


def _agree_scalar(got: Any, expected: Any, tol_abs: float, tol_rel: float) -> bool:
    if expected is None:
        return got is None or (isinstance(got, float) and math.isnan(got))
    if isinstance(expected, str):
        if expected in ("inf", "-inf"):
            return isinstance(got, int | float) and got == float(expected)
        return got is True or got == expected
    if isinstance(got, str) or not isinstance(got, int | float):
        return False
    return math.isfinite(got) and abs(got - expected) <= tol_abs + tol_rel * abs(expected)

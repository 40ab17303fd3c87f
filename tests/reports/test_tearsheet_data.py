"""What the tear sheet accepts: columns, session index, verdict, lineage."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace
from itertools import pairwise

import pandas as pd
import pytest

from quant_engine.core.errors import ConfigError, SchemaMismatchError
from quant_engine.reports import Lineage, LineageNode, QualityOutcome
from quant_engine.reports.formats import (
    FLAG,
    PERCENT,
    SIGNED_MONEY,
    NumberFormat,
    exact_text,
    value_text,
)
from quant_engine.reports.tearsheet_data import FRAMES

NAMES = [name for name in FRAMES if name != "coverage"]


@pytest.mark.parametrize("name", [name for name in NAMES if FRAMES[name].required])
def test_missing_column_is_named(name, run_data) -> None:
    column = FRAMES[name].required[-1]
    with pytest.raises(SchemaMismatchError, match=rf"{name} columns: .*without {column}"):
        replace(run_data, **{name: getattr(run_data, name).drop(columns=column)})


@pytest.mark.parametrize("name", [name for name in NAMES if not FRAMES[name].is_open])
def test_unknown_column_is_refused(name, run_data) -> None:
    with pytest.raises(SchemaMismatchError, match=rf"{name} columns: .*unknown surprise"):
        replace(run_data, **{name: getattr(run_data, name).assign(surprise=1)})


@pytest.mark.parametrize("name", [name for name in NAMES if FRAMES[name].index == "session"])
def test_bad_session_index_is_refused(name, run_data) -> None:
    frame = getattr(run_data, name)
    bad = [frame.iloc[::-1], frame.reset_index(drop=True), frame.tz_localize("UTC")]
    bad.append(pd.concat([frame.iloc[:1], frame]))
    for one in bad:
        with pytest.raises(SchemaMismatchError, match=f"{name} index"):
            replace(run_data, **{name: one})


def test_coverage_is_checked_too(run_data) -> None:
    coverage = run_data.dataset.coverage.drop(columns="n_members")
    with pytest.raises(SchemaMismatchError, match="coverage columns"):
        replace(run_data, dataset=replace(run_data.dataset, coverage=coverage))


def test_annualisation_must_be_positive(run_data) -> None:
    with pytest.raises(ConfigError, match="periods_per_year"):
        replace(run_data, periods_per_year=0.0)


def test_refusal_needs_a_reason() -> None:
    with pytest.raises(ConfigError, match=r"verdict\.reasons"):
        QualityOutcome(promotable=False)
    assert QualityOutcome(promotable=True).reasons == ()


def node(name: str) -> LineageNode:
    return LineageNode(kind=name, artifact_id=name, sha256="", label="")


def test_lineage_refuses_strangers_duplicates_and_cycles() -> None:
    a, b = node("a"), node("b")
    with pytest.raises(SchemaMismatchError, match="unique artifact ids"):
        Lineage(nodes=(a, a))
    with pytest.raises(SchemaMismatchError, match="among the nodes"):
        Lineage(nodes=(a, b), edges=(("a", "z"),))
    with pytest.raises(SchemaMismatchError, match="without cycles"):
        Lineage(nodes=(a, b), edges=(("a", "b"), ("b", "a")))
    assert Lineage(nodes=()).depths() == {}


def test_long_chains_have_their_depth() -> None:
    names = [f"n{k}" for k in range(12)]
    edges = tuple(pairwise(names))
    depths = Lineage(nodes=tuple(node(one) for one in names), edges=edges[::-1]).depths()
    assert depths["n11"] == 11


def test_data_is_frozen(run_data) -> None:
    with pytest.raises(FrozenInstanceError):
        run_data.title = "other"


@pytest.mark.parametrize(
    ("content", "number_format", "text"),
    [
        (0.12345, PERCENT, "12.3%"),
        (-0.00004, PERCENT, "0.0%"),
        (-1234.6, SIGNED_MONEY, "−1,235"),
        (1234.4, SIGNED_MONEY, "+1,234"),
        (0, SIGNED_MONEY, "0"),
        (1, FLAG, "yes"),
        (False, FLAG, "no"),
        (None, PERCENT, "n/a"),
        (float("inf"), PERCENT, "n/a"),
        (pd.NaT, None, "n/a"),
        (2016, None, "2016"),
        (41_500_000.0, None, "41,500,000"),
        (0.000123456, None, "0.0001235"),
        (12.34567, None, "12.35"),
        (pd.Timestamp("2024-03-01"), None, "2024-03-01"),
        (pd.Timestamp("2024-03-01 15:30"), None, "2024-03-01T15:30:00"),
        (0.5, NumberFormat(1, suffix="×"), "0.5×"),
    ],
)
def test_values_as_a_person_reads_them(content, number_format, text) -> None:
    assert value_text(content, number_format) == text


def test_exact_text_reads_back() -> None:
    for number in (0.1, 1e-17, -3.0, 1 / 3, 1e300):
        assert float(exact_text(number)) == number
    assert exact_text(float("nan")) == ""
    assert exact_text(True) == "True"

"""Words that several packages share have one meaning and one spelling."""

import numpy as np
import pytest

from quant_engine.core.causality import Causality
from quant_engine.core.ids import id_column, id_order
from quant_engine.core.regimes import RegimeLabel
from quant_engine.core.units import BPS, BPS_PER_UNIT
from quant_engine.features import pipeline
from quant_engine.models import FeatureSchema


@pytest.mark.feature("Q-21")
def test_causality_classes_are_ordered_by_what_they_promise():
    ordered = sorted(Causality, key=lambda kind: kind.strength)
    assert ordered == [Causality.RESEARCH_ONLY, Causality.END_OF_DAY, Causality.CAUSAL]
    assert [kind.strength for kind in ordered] == [0, 1, 2]


@pytest.mark.feature("Q-21")
def test_features_and_models_speak_of_one_causality():
    assert pipeline.Causality is Causality
    schema = FeatureSchema(set_id="ab", names=("mom",), causality=("CAUSAL",))
    assert schema.causality == (Causality.CAUSAL,)
    assert schema.content()["causality"] == ["CAUSAL"]
    assert FeatureSchema.model_validate_json(schema.model_dump_json()) == schema


def test_regimes_keep_their_codes_and_names():
    assert {int(label): label.text for label in RegimeLabel} == {
        -1: "unknown",
        0: "bull_trend",
        1: "bear_trend",
        2: "mean_reverting",
        3: "high_volatility",
    }


def test_basis_points_go_both_ways():
    assert BPS * BPS_PER_UNIT == 1.0


def test_identifiers_are_ordered_like_python_strings():
    ids = ("10107", "ZZ@US#1", "A@US#2", "A@US#1", "a@US#1")
    order = id_order(ids)
    assert [ids[j] for j in order] == sorted(ids)
    assert id_column(ids, order).tolist() == sorted(ids)
    assert id_column(ids, np.array([1, 1])).tolist() == ["ZZ@US#1"] * 2
    assert id_order(()).shape == (0,)

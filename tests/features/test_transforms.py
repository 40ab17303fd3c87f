"""Cross-sectional transforms of whole panels; the transforms are tested where they live."""

from __future__ import annotations

import numpy as np
import pytest

from quant_engine.core.errors import MissingFieldError
from quant_engine.features import transforms
from quant_engine.features.transforms import (
    TransformConfig,
    rank_gaussian,
    transform_panel,
    winsorise,
    z_score,
)
from quant_engine.stats import cross_section

pytestmark = pytest.mark.feature("Q-20")


def test_the_transforms_are_those_of_the_statistics_package():
    for name in set(transforms.__all__) - {"TransformConfig", "transform_panel"}:
        assert getattr(transforms, name) is getattr(cross_section, name)


@pytest.mark.feature("D-04")
def test_every_method_on_a_panel(panel):
    mask = panel.mask("member")
    x = panel.field("close")
    scores = {
        method: transform_panel(panel, TransformConfig(method=method, tail_frac=0.1))
        for method in ("rank_gaussian", "z_score", "winsorise", "none")
    }
    pulled = winsorise(x, tail_frac=0.1, mask=mask)
    np.testing.assert_array_equal(
        scores["rank_gaussian"].field("close"), rank_gaussian(x, mask=mask)
    )
    np.testing.assert_array_equal(scores["winsorise"].field("close"), pulled)
    np.testing.assert_array_equal(scores["z_score"].field("close"), z_score(pulled, mask=mask))
    np.testing.assert_array_equal(scores["none"].field("close"), np.where(mask, x, np.nan))
    assert tuple(scores["none"].fields) == tuple(panel.fields)


def test_a_missing_mask_is_an_error(panel):
    with pytest.raises(MissingFieldError, match="'membr'"):
        transform_panel(panel, TransformConfig(mask="membr"))

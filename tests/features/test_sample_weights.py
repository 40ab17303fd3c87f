"""Sample weights of a training window against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from quant_engine.features.sample_weights import SampleWeights

pytestmark = pytest.mark.feature("D-11")


@pytest.fixture
def labels():
    """Labels of six assets over forty sessions, with gaps and spans of their own."""
    rng = np.random.default_rng(5)
    session, asset = np.nonzero(rng.random((40, 6)) < 0.8)
    first = session + 1
    return first, first + rng.integers(0, 6, first.size), asset


def slow_uniqueness(first, last, asset):
    out = []
    for i in range(len(first)):
        shares = [
            1.0 / sum(asset[k] == asset[i] and first[k] <= t <= last[k] for k in range(len(first)))
            for t in range(first[i], last[i] + 1)
        ]
        out.append(np.mean(shares))
    return np.array(out)


def test_uniqueness_is_the_mean_share_of_a_label_in_its_span(labels):
    got = SampleWeights(uniqueness=True)(*labels, n_bars=50)
    wanted = slow_uniqueness(*labels)
    np.testing.assert_allclose(got, wanted / wanted.mean(), rtol=1e-12)


def test_decay_counts_age_in_the_uniqueness_of_whole_sessions(labels):
    got = SampleWeights(oldest_weight=0.25)(*labels, n_bars=50)
    first, unique = labels[0], slow_uniqueness(*labels)
    total, wanted = unique.sum(), np.empty(len(first))
    for i, session in enumerate(first):
        younger = unique[first > session].sum()
        wanted[i] = 1.0 - (1.0 - 0.25) / total * younger
    np.testing.assert_allclose(got, wanted / wanted.mean(), rtol=1e-12)
    assert (np.diff(got) >= 0.0).all()


def test_both_together_multiply(labels):
    alone = [
        SampleWeights(uniqueness=True)(*labels, n_bars=50),
        SampleWeights(oldest_weight=-0.2)(*labels, n_bars=50),
    ]
    got = SampleWeights(uniqueness=True, oldest_weight=-0.2)(*labels, n_bars=50)
    product = alone[0] * alone[1]
    np.testing.assert_allclose(got, product / product.mean(), rtol=1e-12)
    assert (got == 0.0).any()


def test_the_order_of_assets_changes_nothing(labels):
    first, last, asset = labels
    config = SampleWeights(uniqueness=True, oldest_weight=0.5)
    order = np.lexsort((5 - asset, first))
    turned = config(first[order], last[order], 5 - asset[order], n_bars=50)
    np.testing.assert_allclose(turned, config(*labels, n_bars=50)[order], rtol=1e-12)


def test_no_wish_is_no_weight(labels):
    assert SampleWeights().is_plain
    np.testing.assert_array_equal(SampleWeights()(*labels, n_bars=50), 1.0)
    assert not SampleWeights(oldest_weight=0.5).is_plain
    with pytest.raises(ValidationError):
        SampleWeights(oldest_weight=-1.0)

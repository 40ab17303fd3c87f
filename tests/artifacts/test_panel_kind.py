"""Panels on disk: the same panel comes back, mapped read-only; a full disk is named."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant_engine.artifacts.kinds.panel import FEATURE_PANEL, LABEL_PANEL, PANEL
from quant_engine.core.errors import IntegrityError
from quant_engine.core.panel import GroupTable, LabelPanel, Panel, PriceBasis, TimeAxis

DAYS = np.arange("2020-01-06", "2020-01-10", dtype="datetime64[D]")


def example_panel() -> Panel:
    close = np.arange(12, dtype=float).reshape(4, 3)
    close[1, 2] = np.nan
    return Panel(
        TimeAxis.sessions(DAYS),
        ("NAN@US#1", "10107", "É@US#1"),
        {"close": close, "z/slash and spaces": close.astype(np.float32)},
        {"member": close > 3},
        {"sector": GroupTable(np.array([[0, 1, -1]] * 4), ("energy", "tech"))},
        PriceBasis.TOTAL_ADJ,
    )


def assert_same(one: Panel, two: Panel) -> None:
    assert (one.time, one.asset_ids, one.price_basis) == (two.time, two.asset_ids, two.price_basis)
    assert list(one.fields) == list(two.fields)
    assert list(one.masks) == list(two.masks)
    assert list(one.groups) == list(two.groups)
    for name in one.fields:
        assert one.field(name).dtype == two.field(name).dtype
        np.testing.assert_array_equal(one.field(name), two.field(name))
    for name in one.masks:
        np.testing.assert_array_equal(one.mask(name), two.mask(name))
    for name, table in one.groups.items():
        assert table.categories == two.group(name).categories
        np.testing.assert_array_equal(table.codes, two.group(name).codes)


def test_a_panel_comes_back_whole(store, provenance):
    ref = store.write(PANEL, example_panel(), provenance())
    assert_same(store.read(PANEL, ref), example_panel())


def test_arrays_are_mapped_read_only(store, provenance):
    back = store.read(PANEL, store.write(PANEL, example_panel(), provenance()))
    with pytest.raises(ValueError, match="read-only"):
        back.field("close")[0, 0] = 1.0
    base = back.field("close")
    while not isinstance(base, np.memmap):
        base = base.base
        assert base is not None
    assert type(back.field("close")) is np.ndarray


@settings(
    deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 2**32 - 1), n_times=st.integers(0, 5), n_assets=st.integers(0, 4))
def test_any_panel_survives_bit_for_bit(tmp_path_factory, seed, n_times, n_assets):
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 2**63, size=(n_times, n_assets), dtype=np.int64)
    panel = Panel(
        TimeAxis.sessions(np.datetime64("2000-01-01") + np.arange(n_times)),
        tuple(f"T{n}@US#1" for n in range(n_assets)),
        {"bits": bits.view(np.float64), "fortran": np.asfortranarray(bits.view(np.float64))},
    )
    folder = tmp_path_factory.mktemp("panel")
    PANEL.write(panel, folder)
    back = PANEL.read(folder)
    for name in panel.fields:
        assert back.field(name).tobytes() == bits.tobytes()
    assert back.time == panel.time


def test_files_are_ordinary_npy_files(tmp_path):
    PANEL.write(example_panel(), tmp_path)
    loaded = np.load(tmp_path / "fields" / "0000.npy", allow_pickle=False)
    np.testing.assert_array_equal(loaded, example_panel().field("close"))
    expected = tmp_path / "expected.npy"
    np.save(expected, example_panel().field("close"))
    assert (tmp_path / "fields" / "0000.npy").read_bytes() == expected.read_bytes()


def test_bars_keep_their_length_and_instants(store, provenance):
    axis = TimeAxis(
        "bar", np.array(["2020-01-02T00:05", "2020-01-02T00:10"], "datetime64[us]"), "24/7", 300
    )
    panel = Panel(axis, ("BTC@BINANCE#1",), {"close": np.ones((2, 1))})
    back = store.read(PANEL, store.write(PANEL, panel, provenance()))
    assert back.time == axis
    assert back.time.bar_seconds == 300


def test_labels_keep_their_spans_and_open_ends(store, provenance):
    spans = np.array(["2020-01-07", "2020-01-08", "2020-01-09", "NaT"], dtype="datetime64[D]")
    labels = LabelPanel(example_panel(), spans, spans + 1)
    back = store.read(LABEL_PANEL, store.write(LABEL_PANEL, labels, provenance()))
    np.testing.assert_array_equal(back.span_start, spans)
    np.testing.assert_array_equal(back.span_end, spans + 1)
    assert_same(back.values, example_panel())


@pytest.mark.feature("Q-46")
def test_equal_panels_share_an_id_whatever_their_memory_order(store, provenance):
    panel = example_panel()
    other = panel.with_fields({"close": np.asfortranarray(panel.field("close"))})
    assert store.write(PANEL, panel, provenance()) == store.write(PANEL, other, provenance())
    feature_ref = store.write(FEATURE_PANEL, panel, provenance())
    assert feature_ref.id != store.write(PANEL, panel, provenance()).id


def test_the_order_of_assets_fields_and_the_basis_change_the_id(store, provenance):
    panel = example_panel()
    variants = [
        panel,
        panel.columns(np.array([1, 0, 2])),
        panel.only_fields(list(reversed(panel.fields))),
        Panel(panel.time, panel.asset_ids, panel.fields, panel.masks, panel.groups, PriceBasis.RAW),
    ]
    assert len({store.write(PANEL, variant, provenance()).id for variant in variants}) == 4


def test_a_changed_value_is_noticed(store, provenance):
    ref = store.write(PANEL, example_panel(), provenance())
    path = store.path(ref) / "payload" / "fields" / "0000.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    assert store.faults(ref) == ["payload file fields/0000.npy was added or changed"]
    with pytest.raises(IntegrityError):
        store.read(PANEL, ref)


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from quant_engine.artifacts.files import explained_os_errors
from quant_engine.artifacts.kinds.panel import PANEL
from quant_engine.core.errors import StoreError
from quant_engine.core.panel import Panel, TimeAxis

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
axis = TimeAxis.sessions(np.datetime64("2000-01-01") + np.arange(1000))
panel = Panel(axis, tuple(f"T{n}" for n in range(100)), {"close": np.ones((1000, 100))})
try:
    with explained_os_errors(Path(sys.argv[1])):
        PANEL.write(panel, Path(sys.argv[1]))
except StoreError as error:
    print(error.wanted)
"""


def test_a_disk_that_ends_in_the_middle_of_an_array_is_named(tmp_path):
    """A size limit stops a real write half way, as a full disk does."""
    answer = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout == "room for a large file\n"

"""Panels on disk: one ``.npy`` per array, mapped into memory when read.

``panel.json`` holds axis, assets, order of fields and categories; ``fields/``, ``masks/`` and
``groups/`` hold C-ordered arrays of shape (T, N). A read maps them read-only, so that opening a
panel costs no copy and processes share the pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from quant_engine.artifacts.files import json_bytes, read_json
from quant_engine.core.panel import GroupTable, LabelPanel, Panel, PriceBasis, TimeAxis

_META = "panel.json"


@dataclass(frozen=True)
class PanelKind:
    """Owner of the layout of a wide panel.

    Parameters
    ----------
    name : str
        ``"panel"``, ``"feature_panel"``.
    packages : tuple of str
        Packages whose sources determine the content.
    schema_version : int
        Raised when the layout changes.
    """

    name: str
    packages: tuple[str, ...]
    schema_version: int = 1
    signed: bool = False

    def write(self, value: Panel, folder: Path) -> None:
        """Write axis, assets and arrays."""
        write_panel(value, folder)

    def read(self, folder: Path) -> Panel:
        """Map the arrays read-only."""
        return read_panel(folder)


@dataclass(frozen=True)
class LabelPanelKind:
    """Owner of the layout of labels with their spans."""

    name: str
    packages: tuple[str, ...]
    schema_version: int = 1
    signed: bool = False

    def write(self, value: LabelPanel, folder: Path) -> None:
        """Write the panel and both span vectors."""
        write_panel(value.values, folder)
        save_array(folder / "span_start.npy", value.span_start.astype(np.int64))
        save_array(folder / "span_end.npy", value.span_end.astype(np.int64))

    def read(self, folder: Path) -> LabelPanel:
        """Map the arrays read-only."""
        spans = [
            map_array(folder / name).astype("datetime64[D]")
            for name in ("span_start.npy", "span_end.npy")
        ]
        return LabelPanel(read_panel(folder), *spans)


def write_panel(panel: Panel, folder: Path) -> None:
    """Write a panel into an empty folder.

    Parameters
    ----------
    panel : Panel
        Any panel.
    folder : Path
        Existing folder.
    """
    meta: dict[str, Any] = {
        "time_kind": panel.time.kind,
        "calendar": panel.time.calendar,
        "bar_seconds": panel.time.bar_seconds,
        "asset_ids": list(panel.asset_ids),
        "fields": list(panel.fields),
        "masks": list(panel.masks),
        "groups": {name: list(table.categories) for name, table in panel.groups.items()},
        "price_basis": panel.price_basis.value,
    }
    (folder / _META).write_bytes(json_bytes(meta))
    save_array(folder / "time.npy", panel.time.values.astype(np.int64))
    arrays = {
        "fields": panel.fields,
        "masks": panel.masks,
        "groups": {name: table.codes for name, table in panel.groups.items()},
    }
    for part, table in arrays.items():
        (folder / part).mkdir()
        for number, array in enumerate(table.values()):
            save_array(folder / part / f"{number:04d}.npy", array)


def read_panel(folder: Path) -> Panel:
    """Map a panel that :func:`write_panel` wrote.

    Parameters
    ----------
    folder : Path
        Payload folder.

    Returns
    -------
    Panel
        Arrays are read-only maps of the files.
    """
    meta = read_json(folder / _META)
    unit = "datetime64[D]" if meta["time_kind"] == "session" else "datetime64[us]"
    axis = TimeAxis(
        meta["time_kind"],
        map_array(folder / "time.npy").astype(unit),
        meta["calendar"],
        meta["bar_seconds"],
    )
    return Panel(
        axis,
        tuple(meta["asset_ids"]),
        {n: map_array(folder / "fields" / f"{i:04d}.npy") for i, n in enumerate(meta["fields"])},
        {n: map_array(folder / "masks" / f"{i:04d}.npy") for i, n in enumerate(meta["masks"])},
        {
            name: GroupTable(map_array(folder / "groups" / f"{i:04d}.npy"), tuple(categories))
            for i, (name, categories) in enumerate(meta["groups"].items())
        },
        PriceBasis(meta["price_basis"]),
    )


def save_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write one array as a ``.npy`` file.

    Parameters
    ----------
    path : Path
        New file.
    array : ndarray
        Any shape and unit; written in C order.
    """
    plain = np.ascontiguousarray(array)
    # np.save reports a full disk without an error number; a plain write names the cause.
    with path.open("wb") as stream:
        header = np.lib.format.header_data_from_array_1_0(plain)
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(plain.data)


def map_array(path: Path) -> npt.NDArray[Any]:
    """Map one ``.npy`` file read-only.

    Parameters
    ----------
    path : Path
        File that :func:`save_array` wrote.

    Returns
    -------
    ndarray
        Shape and unit as written.
    """
    mapped: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return mapped


PANEL = PanelKind("panel", ("core", "artifacts", "stats", "execution", "data"))
_FEATURES = ("core", "artifacts", "stats", "execution", "features")
FEATURE_PANEL = PanelKind("feature_panel", _FEATURES)
LABEL_PANEL = LabelPanelKind("label_panel", _FEATURES)

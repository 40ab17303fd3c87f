"""Lineage: from any artifact back to the raw files it came from."""

from __future__ import annotations

from dataclasses import dataclass

from quant_engine.artifacts.manifest import ArtifactRef, Manifest
from quant_engine.artifacts.store import ArtifactStore


@dataclass(frozen=True)
class LineageGraph:
    """All ancestors of an artifact.

    Parameters
    ----------
    root : ArtifactRef
        Where the walk began.
    manifests : dict of str to Manifest
        ``KIND/ID`` to manifest, in the order of discovery.
    """

    root: ArtifactRef
    manifests: dict[str, Manifest]

    def edges(self) -> list[tuple[str, str]]:
        """Return (input, output) pairs as ``KIND/ID`` texts."""
        return [
            (str(parent), name)
            for name, manifest in self.manifests.items()
            for parent in manifest.provenance.inputs
        ]

    def text(self) -> str:
        """Draw the ancestors as an indented tree; a repeated artifact is drawn once."""
        lines: list[str] = []
        self._draw(str(self.root), 0, lines, set())
        return "\n".join(lines)

    def _draw(self, name: str, depth: int, lines: list[str], seen: set[str]) -> None:
        manifest = self.manifests[name]
        mark = "" if depth == 0 else "<- "
        again = "  (above)" if name in seen else f"  by {manifest.provenance.producer}"
        lines.append("   " * depth + mark + name + again)
        if name in seen:
            return
        seen.add(name)
        for parent in manifest.provenance.inputs:
            self._draw(str(parent), depth + 1, lines, seen)


def lineage(store: ArtifactStore, ref: ArtifactRef) -> LineageGraph:
    """Follow inputs from an artifact to its sources.

    Parameters
    ----------
    store : ArtifactStore
        Where it lies.
    ref : ArtifactRef
        Where to begin.

    Returns
    -------
    LineageGraph
        Every ancestor once.

    Raises
    ------
    StoreError
        When an ancestor is missing.
    """
    manifests: dict[str, Manifest] = {}
    waiting = [ref]
    while waiting:
        current = waiting.pop(0)
        if str(current) not in manifests:
            manifests[str(current)] = store.manifest(current)
            waiting.extend(manifests[str(current)].provenance.inputs)
    return LineageGraph(ref, manifests)

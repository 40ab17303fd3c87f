"""From artifacts to the graph of what they were made from."""

from __future__ import annotations

from quant_engine.artifacts.lineage import lineage
from quant_engine.artifacts.manifest import ArtifactRef
from quant_engine.artifacts.store import ArtifactStore
from quant_engine.reports.tearsheet_data import Lineage, LineageNode


def load_lineage(store: ArtifactStore, *refs: ArtifactRef) -> Lineage:
    """Collect what the artifacts of a page were made from.

    Parameters
    ----------
    store : ArtifactStore
        Where the artifacts lie.
    *refs : ArtifactRef
        Artifacts of the page.

    Returns
    -------
    Lineage
        Shared ancestors and links once, in order of appearance.
    """
    nodes: dict[str, LineageNode] = {}
    edges: dict[tuple[str, str], None] = {}
    for ref in refs:
        graph = lineage(store, ref)
        for manifest in graph.manifests.values():
            nodes[str(manifest.ref)] = LineageNode(
                kind=manifest.kind,
                artifact_id=str(manifest.ref),
                sha256=manifest.content_sha256,
                label=manifest.provenance.producer,
            )
        edges |= dict.fromkeys(graph.edges())
    return Lineage(nodes=tuple(nodes.values()), edges=tuple(edges))

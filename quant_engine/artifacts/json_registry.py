"""JSON registry: a current state and the history of how it came about.

A registry is one JSON file ``{"version", "current", "history"}``. Every change takes the file
lock, appends one history entry, raises the version by one and replaces the file atomically, so
that two writers lose nothing and a reader sees a whole state. History beyond a bound moves to an
append-only ``.archive.jsonl`` beside the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from quant_engine.artifacts.files import explained_os_errors, read_json, write_json
from quant_engine.core.clock import Clock
from quant_engine.core.errors import IntegrityError
from quant_engine.core.hashing import canonical_json

MAX_HISTORY = 2000
_POLL_SECONDS = 0.005
Document = dict[str, Any]


@dataclass(frozen=True)
class RegistryState:
    """What a registry holds at one version.

    Parameters
    ----------
    version : int
        0 for a registry without entries, raised by one with each change.
    current : dict
        Present state.
    history : tuple of dict
        Entries ``{"version", "at", "event", "details"}``, oldest first.
    """

    version: int
    current: Document
    history: tuple[Document, ...]


class JsonRegistry:
    """One registry file.

    Parameters
    ----------
    path : Path
        The JSON file; made at the first change.
    clock : Clock
        Time of the entries.
    max_history : int
        Entries kept in the file.
    """

    def __init__(self, path: Path, *, clock: Clock, max_history: int = MAX_HISTORY) -> None:
        self.path = path
        self._clock = clock
        self._max_history = max_history

    def read(self) -> RegistryState:
        """Return the present state; an absent file is an empty registry.

        Raises
        ------
        IntegrityError
            When the file is not a registry.
        """
        if not self.path.is_file():
            return RegistryState(0, {}, ())
        content = read_json(self.path)
        fault = _registry_fault(content)
        if fault:
            raise IntegrityError(
                str(self.path),
                wanted="a registry with version, current and history",
                got=fault,
                hint="Restore the file from a copy; it is never edited by hand.",
            )
        return RegistryState(content["version"], content["current"], tuple(content["history"]))

    def change(
        self, event: str, details: Document, update: Callable[[Document], Document]
    ) -> RegistryState:
        """Apply one change under the lock and record it.

        Parameters
        ----------
        event : str
            What happened, such as ``"version_added"``.
        details : dict
            Facts of the event; plain JSON values.
        update : callable
            Maps the current state to the new one; called under the lock.

        Returns
        -------
        RegistryState
            The state after the change.

        Raises
        ------
        StoreError
            When the place cannot be written; the registry is unchanged.
        """
        with explained_os_errors(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{self.path}.lock").acquire(poll_interval=_POLL_SECONDS):
                before = self.read()
                version = before.version + 1
                entry = {
                    "version": version,
                    "at": self._clock.now().isoformat(timespec="seconds"),
                    "event": event,
                    "details": details,
                }
                history = (*before.history, entry)
                kept = history[-self._max_history :]
                self._archive(history[: len(history) - len(kept)])
                state = RegistryState(version, update(dict(before.current)), kept)
                write_json(
                    self.path,
                    {"version": version, "current": state.current, "history": list(kept)},
                )
                return state

    def _archive(self, entries: tuple[Document, ...]) -> None:
        archive = self.path.with_suffix(".archive.jsonl")
        done = _archived_until(archive) if entries else 0
        fresh = [entry for entry in entries if entry["version"] > done]
        if not fresh:
            return
        with archive.open("a", encoding="utf-8") as stream:
            stream.writelines(canonical_json(entry) + "\n" for entry in fresh)
            stream.flush()
            os.fsync(stream.fileno())


def _registry_fault(content: Any) -> str:
    """Say what keeps parsed JSON from being a registry; empty when nothing does."""
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    wanted = {"version": int, "current": dict, "history": list}
    for key, kind in wanted.items():
        if not isinstance(content.get(key), kind):
            return f"{key!r} absent or no {kind.__name__}"
    history = content["history"]
    if not all(isinstance(entry, dict) for entry in history):
        return "a history entry that is no mapping"
    last = history[-1].get("version") if history else content["version"]
    return "" if last == content["version"] else f"version {content['version']} after entry {last}"


def _archived_until(archive: Path) -> int:
    """Return the version of the last archived entry, dropping the half line of a killed writer.

    The archive is written before the registry, so that a change that fails in between repeats its
    archiving instead of losing it; knowing the last version keeps such entries single.
    """
    if not archive.is_file():
        return 0
    content = archive.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if len(whole) < len(content):
        os.truncate(archive, len(whole))
    lines = whole.splitlines()
    return int(json.loads(lines[-1])["version"]) if lines else 0

"""JSON registry: a current state and the history of how it came about.

A registry is one JSON file ``{"version", "current", "history"}``. Every change takes the file
lock, appends one history entry, raises the version by one and replaces the file atomically, so
that two writers lose nothing and a reader sees a whole state. History beyond a bound moves to an
append-only ``.archive.jsonl`` beside the file.
"""

from __future__ import annotations

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
        Entries ``{"version", "at", "event", ...}``, oldest first.
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
        if not isinstance(content, dict) or not {"version", "current", "history"} <= set(content):
            raise IntegrityError(
                str(self.path),
                wanted="a registry with version, current and history",
                got=type(content).__name__,
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
            with FileLock(f"{self.path}.lock"):
                before = self.read()
                version = before.version + 1
                entry = {
                    "version": version,
                    "at": self._clock.now().isoformat(timespec="seconds"),
                    "event": event,
                    **details,
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
        if not entries:
            return
        archive = self.path.with_suffix(".archive.jsonl")
        with archive.open("a", encoding="utf-8") as stream:
            stream.writelines(canonical_json(entry) + "\n" for entry in entries)
            stream.flush()
            os.fsync(stream.fileno())

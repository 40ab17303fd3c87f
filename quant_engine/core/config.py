"""The base of every configuration: frozen, unknown keys refused, identified by its content."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from quant_engine.core.hashing import sha256_json


class FrozenConfig(BaseModel):
    """Immutable settings of one component.

    Every component declares its configuration beside its code by deriving from this class.
    Unknown keys are errors, values are validated, and two equal configurations share an id.

    Examples
    --------
    >>> class Ridge(FrozenConfig):
    ...     penalty: float = 1.0
    >>> Ridge().config_id() == Ridge(penalty=1.0).config_id()
    True
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False
    )

    def content(self) -> dict[str, Any]:
        """Return the settings as plain JSON values, the form that is hashed and stored."""
        return self.model_dump(mode="json")

    def config_id(self) -> str:
        """Hash of the canonical JSON of all settings (64 hexadecimal characters)."""
        return sha256_json(self.content())

"""Specs: YAML files that are data, not code; this module alone parses them.

Shipped specs live in the package under ``specs/KIND/NAME.yaml``. A working folder's own
``specs/`` adds names; redefining a shipped one is an error, so that a name means one thing
everywhere.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import ValidationError

from quant_engine.core.config import FrozenConfig
from quant_engine.core.errors import ConfigError, did_you_mean

SpecT = TypeVar("SpecT", bound=FrozenConfig)


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which a repeated key is an error instead of a silent overwrite."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                raise yaml.constructor.ConstructorError(
                    None, None, f"a list or mapping as key (line {line})", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} occurs twice (line {line})", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


@dataclass(frozen=True)
class SpecCatalog:
    """All specs that a run may name.

    Parameters
    ----------
    folders : tuple of Path
        Roots searched, shipped specs first.

    Examples
    --------
    >>> "base" in SpecCatalog.default().names("costs")
    True
    """

    folders: tuple[Path, ...]

    @classmethod
    def default(cls, working_dir: Path | None = None) -> SpecCatalog:
        """Return the shipped specs plus those of a working folder's ``specs/``.

        Parameters
        ----------
        working_dir : Path, optional
            Folder that may hold a ``specs`` folder.

        Returns
        -------
        SpecCatalog
            Ready to load from.

        Raises
        ------
        ConfigError
            When the working folder redefines a shipped spec.
        """
        shipped = Path(str(files("quant_engine"))) / "specs"
        own = None if working_dir is None else working_dir / "specs"
        folders = (shipped,) if own is None or not own.is_dir() else (shipped, own)
        for later in folders[1:]:
            for path in sorted(later.glob("*/*.yaml")):
                relative = path.relative_to(later)
                if (shipped / relative).is_file():
                    raise ConfigError(
                        f"spec {relative.with_suffix('')}",
                        wanted="a name that the package does not ship",
                        got=f"a redefinition in {later.name}/{relative}",
                        hint="Rename your file; shipped specs are never overridden.",
                    )
        return cls(folders)

    def names(self, kind: str) -> tuple[str, ...]:
        """Return the names of all specs of a kind."""
        found = {path.stem for folder in self.folders for path in (folder / kind).glob("*.yaml")}
        return tuple(sorted(found))

    def path(self, kind: str, name: str) -> Path:
        """Return the file of a spec, or raise ConfigError naming the nearest names."""
        # Only listed names are looked up, so that a name cannot lead out of its folder.
        folders = self.folders if name in self.names(kind) else ()
        for folder in folders:
            candidate = folder / kind / f"{name}.yaml"
            if candidate.is_file():
                return candidate
        raise ConfigError(
            f"{kind} spec",
            wanted=f"a spec in specs/{kind}",
            got=repr(name),
            hint=did_you_mean(name, self.names(kind)),
        )

    def load(self, kind: str, name: str, model: type[SpecT]) -> SpecT:
        """Parse and validate a spec.

        Parameters
        ----------
        kind : str
            Folder such as ``"features"`` or ``"costs"``.
        name : str
            File name without ``.yaml``.
        model : type of FrozenConfig
            Schema; unknown keys are refused.

        Returns
        -------
        FrozenConfig
            Frozen object of type `model`.

        Raises
        ------
        ConfigError
            For an unknown name, unreadable YAML or a value outside the schema.
        """
        path = self.path(kind, name)
        where = f"{kind}/{name}.yaml"
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise ConfigError(
                where, wanted="UTF-8 text", got=str(error), hint="Save the file as UTF-8."
            ) from error
        return parse_spec(text, model, where=where)


def parse_spec(text: str, model: type[SpecT], *, where: str) -> SpecT:
    """Parse YAML text into a frozen config.

    Parameters
    ----------
    text : str
        YAML with one mapping at its root.
    model : type of FrozenConfig
        Schema.
    where : str
        File name for messages.

    Returns
    -------
    FrozenConfig
        Validated object of type `model`.

    Raises
    ------
    ConfigError
        With the file, the key and the next step.
    """
    try:
        content = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError as error:
        # The parser draws the place over several lines; its words hold line and column.
        told = " ".join(str(error).replace('in "<unicode string>", ', "").split())
        raise ConfigError(where, wanted="valid YAML", got=told, hint="Fix the file.") from error
    if not isinstance(content, dict):
        raise ConfigError(
            where,
            wanted="a mapping of keys to values",
            got=type(content).__name__,
            hint="Start the file with `key: value` lines.",
        )
    return build_config(model, content, where=where)


def build_config(model: type[SpecT], content: dict[str, Any], *, where: str) -> SpecT:
    """Validate plain values against a schema.

    Parameters
    ----------
    model : type of FrozenConfig
        Schema.
    content : dict
        Plain values.
    where : str
        Where the values come from, for messages.

    Returns
    -------
    FrozenConfig
        Validated object.

    Raises
    ------
    ConfigError
        Naming the first offending key and, for an unknown key, the nearest known one. Unknown
        keys come first: a misspelt required key is both unknown and missing.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        found = error.errors()
        first = next((item for item in found if item["type"] == "extra_forbidden"), found[0])
        key = ".".join(str(part) for part in first["loc"]) or "(whole file)"
        hint = "See the docstring of " + model.__name__ + "."
        if first["type"] == "extra_forbidden":
            hint = did_you_mean(str(first["loc"][-1]), _known_keys(model, first["loc"][:-1]))
        got = "none" if first["type"] == "missing" else repr(first["input"])[:200]
        raise ConfigError(
            f"{where}: {key}", wanted=_wanted(first["type"], first["msg"]), got=got, hint=hint
        ) from error


def _wanted(kind: str, message: str) -> str:
    """What was wanted, from a sentence of pydantic that says what was wrong."""
    plain = {"extra_forbidden": "a key that exists", "missing": "a value"}
    for start in ("Input should be ", "Value error, "):
        message = message.removeprefix(start)
    return plain.get(kind, message)


def _known_keys(model: type[FrozenConfig], location: tuple[int | str, ...]) -> list[str]:
    models = [model]
    for part in location:
        if isinstance(part, str):
            fields = [inner.model_fields[part] for inner in models if part in inner.model_fields]
            models = [found for item in fields for found in _models_in(item.annotation)]
    return [name for inner in models for name in inner.model_fields]


def _models_in(annotation: Any) -> list[type[FrozenConfig]]:
    """Return the config classes inside an annotation such as ``tuple[Inner, ...] | None``."""
    if isinstance(annotation, type) and issubclass(annotation, FrozenConfig):
        return [annotation]
    return [found for part in get_args(annotation) for found in _models_in(part)]

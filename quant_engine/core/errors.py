"""Errors by cause: each one holds its values and says what was wanted, what came, what to do.

The class names the *cause* and carries the process exit code; the message is composed from
attributes, so that a caller can test values instead of parsing sentences.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, ClassVar


class QuantEngineError(Exception):
    """Base of every error that quant_engine raises on purpose.

    Parameters
    ----------
    parameter : str
        What was wrong: the name of an argument, column, file or setting.
    wanted : str
        What would have been accepted.
    got : object
        What came instead.
    hint : str
        The next step, as a sentence.

    Examples
    --------
    >>> print(ConfigError("horizon", wanted="a whole number of at least 1", got=0, hint="Use 10."))
    horizon: wanted a whole number of at least 1, got 0. Use 10.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "unexpected"

    def __init__(self, parameter: str, *, wanted: str, got: object, hint: str) -> None:
        self.parameter = parameter
        self.wanted = wanted
        self.got = got
        self.hint = hint
        super().__init__(f"{parameter}: wanted {wanted}, got {got}. {hint}")

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """Rebuild from attributes, because worker processes send errors to their parent.

        The third part carries what was added later, such as notes.
        """
        made = (type(self), self.parameter, self.wanted, self.got, self.hint)
        return _rebuild, made, dict(self.__dict__)


def _rebuild(
    cls: type[QuantEngineError], parameter: str, wanted: str, got: object, hint: str
) -> QuantEngineError:
    return cls(parameter, wanted=wanted, got=got, hint=hint)


class ConfigError(QuantEngineError):
    """A setting, flag, spec or argument is not usable."""

    exit_code = 2
    code = "config"


class StoreError(QuantEngineError):
    """The artifact store or a registry cannot be read or written."""

    exit_code = 2
    code = "store"


class DataError(QuantEngineError):
    """Data is missing or invalid."""

    exit_code = 3
    code = "data"


class MissingFieldError(DataError):
    """A column or panel field that is needed is absent."""

    code = "missing_field"


class EmptyDataError(DataError):
    """No usable row is left."""

    code = "empty_data"


class UnreadableFileError(DataError):
    """A file exists but cannot be read as what it claims to be."""

    code = "unreadable_file"


class IdentityError(DataError):
    """Securities are confused: duplicate keys, or many symbols carrying one series."""

    code = "identity"


class InsufficientHistoryError(DataError):
    """There are fewer sessions or rows than the computation needs."""

    code = "insufficient_history"


class SchemaMismatchError(DataError):
    """A value does not have the columns, features or version that its reader expects."""

    code = "schema_mismatch"


class IntegrityError(DataError):
    """Stored bytes are not the bytes that were written."""

    code = "integrity"


class LookAheadError(DataError):
    """A decision would have used something that was known only later."""

    code = "look_ahead"


class GateNotPassedError(QuantEngineError):
    """A promotion or audit gate said no."""

    exit_code = 4
    code = "gate_not_passed"


class InsufficientObservationError(QuantEngineError):
    """Too little was observed for a verdict; this is neither a pass nor a failure."""

    exit_code = 5
    code = "insufficient_observation"


class SourceUnavailableError(QuantEngineError):
    """A data source did not answer."""

    exit_code = 6
    code = "source_unavailable"


class MissingExtraError(QuantEngineError):
    """An optional dependency was asked for by name and is not installed."""

    exit_code = 7
    code = "missing_extra"

    @classmethod
    def for_extra(cls, extra: str, *, package: str, purpose: str) -> MissingExtraError:
        """Compose the error for an extra of this distribution.

        Parameters
        ----------
        extra : str
            Name in ``[project.optional-dependencies]``.
        package : str
            The package whose import failed.
        purpose : str
            What it is needed for, as a noun phrase.

        Returns
        -------
        MissingExtraError
            Ready to raise.
        """
        return cls(
            f"extra {extra!r}",
            wanted=f"package {package} for {purpose}",
            got="not installed",
            hint=f'Install it with: pip install "quant-engine[{extra}]".',
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Name the nearest known spellings, for the hint of an error.

    Parameters
    ----------
    name : str
        The unknown name.
    known : iterable of str
        Every accepted name.

    Returns
    -------
    str
        A sentence with the nearest names, or with all of them when nothing is near.

    Examples
    --------
    >>> did_you_mean("momentun", ["momentum", "value"])
    "Did you mean 'momentum'?"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return "Did you mean " + " or ".join(repr(candidate) for candidate in near) + "?"
    return "Known: " + (", ".join(names) if names else "none") + "."

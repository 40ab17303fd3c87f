"""What a conformance suite raises: an error that is also a failed assertion."""

from __future__ import annotations

import re
from typing import Self

from quant_engine.core.errors import QuantEngineError

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Names of plug-ins: lower-case words joined by underscores."""


class ConformanceError(QuantEngineError, AssertionError):
    """A plug-in breaks a rule of its contract.

    Test runners report it as a failed assertion; ``rule`` holds the name of the broken rule.

    Examples
    --------
    >>> error = ConformanceError.broken(
    ...     "learner 'ridge'", "repeatable", wanted="equal bits", got="a difference",
    ...     hint="Seed every random number.")
    >>> error.rule, isinstance(error, AssertionError)
    ('repeatable', True)
    """

    exit_code = 4
    code = "conformance"
    rule: str = ""

    @classmethod
    def broken(cls, subject: str, rule: str, *, wanted: str, got: object, hint: str) -> Self:
        """Compose the error of one broken rule.

        Parameters
        ----------
        subject : str
            What was checked, such as ``"learner 'ridge'"``.
        rule : str
            Name of the rule.
        wanted : str
            What the rule demands.
        got : object
            What was found.
        hint : str
            The next step, as a sentence.

        Returns
        -------
        ConformanceError
            Ready to raise.
        """
        error = cls(f"{subject}, rule {rule!r}", wanted=wanted, got=got, hint=hint)
        error.rule = rule
        return error


class LeakFoundError(ConformanceError):
    """A value of the past changed when only the future was changed or removed.

    ``got`` is the first :class:`~quant_engine.testing.lookahead.Difference`.
    """

    code = "look_ahead"


def refuse(subject: str, rule: str, wanted: str, got: object) -> None:
    """Raise the error of a broken rule whose docstring says all there is to say.

    Parameters
    ----------
    subject : str
        What was checked.
    rule : str
        Name of the rule.
    wanted : str
        What the rule demands.
    got : object
        What was found.

    Raises
    ------
    ConformanceError
        Always.
    """
    raise ConformanceError.broken(
        subject, rule, wanted=wanted, got=got, hint="See the rules in the suite's docstring."
    )

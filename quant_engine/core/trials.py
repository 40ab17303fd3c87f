"""Trials: every configuration that is evaluated is counted where it is evaluated.

`TrialSink` is a *required* argument of every function that evaluates more than one
configuration. A number of trials that a person types can be forgotten; a sink cannot.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Protocol

from quant_engine.core.hashing import sha256_json


@dataclass(frozen=True)
class Trial:
    """One evaluated configuration.

    Parameters
    ----------
    family : str
        Group whose members compete with one another, such as ``"alpha_model"``.
    spec_id : str
        Hash of the configuration.
    data_id : str
        Hash of the data it saw.
    split_id : str
        Hash of the split plan.
    asked_by : str
        Function or script that asked.
    returns_ref : str
        Artifact id of its out-of-sample returns; empty when none were stored.
    """

    family: str
    spec_id: str
    data_id: str
    split_id: str
    asked_by: str
    returns_ref: str = ""

    def trial_id(self) -> str:
        """Hash of all fields: the same evaluation asked twice is one trial."""
        return sha256_json(asdict(self))


class TrialSink(Protocol):
    """Something that remembers trials."""

    def record(self, trial: Trial) -> str:
        """Remember the trial and return its id."""
        ...


class MemoryTrialSink:
    """A sink that lives as long as the process; nothing can be promoted from it.

    Examples
    --------
    >>> sink = MemoryTrialSink()
    >>> trial = Trial("alpha_model", "a", "b", "c", "example")
    >>> sink.record(trial) == sink.record(trial), len(sink.trials)
    (True, 1)
    """

    def __init__(self) -> None:
        self.trials: dict[str, Trial] = {}

    def record(self, trial: Trial) -> str:
        """Remember the trial; a repeated one is not counted twice."""
        identity = trial.trial_id()
        self.trials.setdefault(identity, trial)
        return identity

"""Run reference cases through the adapters and say what agreed.

1. ``run_case`` computes every expected value of a case and compares it.
2. ``run_folder`` does so for a folder; ``render`` prints the outcome per topic.

A case *passes* when every value that is ours agrees, *fails* when one does not, is *due* when the
rest of its values needs what is not built, *unknown* when nothing is known of them, and *skipped*
when a file that it names is absent or it holds conventions of others only.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from quant_engine.core.errors import QuantEngineError
from quant_engine.testing.reference.adapters import Adapter
from quant_engine.testing.reference.cases import Case, agree, read_cases
from quant_engine.testing.reference.table import choose

STATUSES = ("passed", "failed", "unknown", "due", "skipped")


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Parameters
    ----------
    topic, name : str
        Of the case.
    status : str
        One of ``STATUSES``.
    detail : str
        Reason in words; empty for a plain pass.
    others : tuple of str
        Expected values of conventions that are not ours, with the one that is.
    """

    topic: str
    name: str
    status: str
    detail: str = ""
    others: tuple[str, ...] = ()


class AbsentFileError(QuantEngineError):
    """A data file that a case names is not there."""


def with_files(case: Case) -> dict[str, Any]:
    """Return the inputs of a case, each ``<name>_file`` also read as ``<name>``.

    A file is searched by the last part of its path: beside the cases, in ``data`` below them and
    in ``data`` beside their folder.

    Parameters
    ----------
    case : Case
        The case.

    Returns
    -------
    dict
        Inputs with the JSON content of the files.

    Raises
    ------
    AbsentFileError
        When a file is nowhere.
    """
    inputs = dict(case.inputs)
    for key, path in case.inputs.items():
        name = key.removesuffix("_file")
        if name == key:
            continue
        last, folder = Path(path).name, case.folder
        places = (folder / last, folder / "data" / last, folder.parent / "data" / last)
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise AbsentFileError(
                key, wanted=f"{last} beside the cases", got="no such file", hint="Copy it there."
            )
        inputs[name] = json.loads(found.read_text(encoding="utf-8"))
    return inputs


def run_case(case: Case, adapters: Sequence[Adapter]) -> Outcome:
    """Compute every expected value of a case and compare it.

    Parameters
    ----------
    case : Case
        The case.
    adapters : sequence of Adapter
        The table.

    Returns
    -------
    Outcome
    """
    expected = set(case.expected)
    try:
        inputs = with_files(case)
    except AbsentFileError as absent:
        return Outcome(case.topic, case.name, "skipped", str(absent))
    chosen = choose(adapters, case.topic, case.name, inputs=inputs, expected=expected)
    if not chosen:
        missing = ", ".join(sorted(expected))
        return Outcome(case.topic, case.name, "unknown", f"no adapter gives {missing}")
    return _outcome_of(case, inputs, chosen)


def _outcome_of(case: Case, inputs: Mapping[str, Any], chosen: Sequence[Adapter]) -> Outcome:
    others, unknown, wrong = [], [], []
    for key, value in case.expected.items():
        source = next((adapter for adapter in chosen if key in adapter.gives), None)
        if source is None:
            reason = next((a.others[key] for a in chosen if key in a.others), "")
            (others if reason else unknown).append(f"{key}: {reason}" if reason else key)
            continue
        try:
            got = source.gives[key](inputs)
        except (QuantEngineError, KeyError) as error:
            wrong.append(f"{key}: {type(error).__name__}: {error}")
            continue
        if not agree(got, value, tol_abs=case.tol_abs, tol_rel=case.tol_rel):
            wrong.append(f"{key}: got {_short(got)}, expected {_short(value)}")
    told = tuple(others)
    if wrong:
        return Outcome(case.topic, case.name, "failed", "; ".join(wrong), told)
    if unknown and chosen[0].due:
        agreed = [key for key in case.expected if key not in unknown]
        told_agreed = f" (agreed: {', '.join(agreed)})" if agreed else ""
        return Outcome(case.topic, case.name, "due", chosen[0].due + told_agreed, told)
    if unknown:
        detail = f"no adapter gives {', '.join(unknown)}"
        return Outcome(case.topic, case.name, "unknown", detail, told)
    if len(others) == len(case.expected):
        return Outcome(case.topic, case.name, "skipped", "holds other conventions only", told)
    return Outcome(case.topic, case.name, "passed", "", told)


def run_folder(folder: Path, adapters: Sequence[Adapter]) -> tuple[Outcome, ...]:
    """Run every case of a folder.

    Parameters
    ----------
    folder : Path
        Folder of ``<topic>.json`` files.
    adapters : sequence of Adapter
        The table.

    Returns
    -------
    tuple of Outcome
    """
    return tuple(run_case(case, adapters) for case in read_cases(folder))


def total_line(outcomes: Sequence[Outcome]) -> str:
    """Return the last line of the report.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One per case.

    Returns
    -------
    str
        Beginning with ``total``.
    """
    counts = Counter(outcome.status for outcome in outcomes)
    parts = [f"{counts[status]} {status}" for status in STATUSES]
    reasons = sorted({o.detail for o in outcomes if o.status == "skipped"})
    return "total " + ", ".join(parts) + (f" ({'; '.join(reasons)})" if reasons else "")


def render(outcomes: Sequence[Outcome]) -> str:
    """Return the report: a line per topic, a line per case that did not simply pass, the total.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One per case.

    Returns
    -------
    str
        Lines of text.
    """
    lines = []
    for topic in dict.fromkeys(outcome.topic for outcome in outcomes):
        mine = [outcome for outcome in outcomes if outcome.topic == topic]
        counts = Counter(outcome.status for outcome in mine)
        told = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s])
        lines.append(f"{topic}: {told}")
        for outcome in mine:
            if outcome.status != "passed":
                lines.append(f"  {outcome.status} {outcome.name}: {outcome.detail}")
            lines += [f"  other convention in {outcome.name}: {o}" for o in outcome.others]
    return "\n".join([*lines, total_line(outcomes)])


def to_json(outcomes: Sequence[Outcome]) -> str:
    """Return the report as one JSON object.

    Parameters
    ----------
    outcomes : sequence of Outcome
        One per case.

    Returns
    -------
    str
        Schema ``qe.reference/1``.
    """
    counts = Counter(outcome.status for outcome in outcomes)
    return json.dumps(
        {
            "schema": "qe.reference/1",
            "total": {status: counts[status] for status in STATUSES},
            "cases": [asdict(outcome) for outcome in outcomes],
        },
        indent=2,
    )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."

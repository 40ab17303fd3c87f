"""A ledger row as one line of text: fixed fields, a number, and a hash that covers its past.

A line is ``number, instant, family, spec_id, data_id, split_id, asked_by, returns_ref, previous,
own``, separated by tabs. ``own`` is the SHA-256 of everything before it, and ``previous`` is
``own`` of the row above, so that no row can be changed or taken out without all later hashes
telling.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from quant_engine.core.errors import ConfigError
from quant_engine.core.trials import Trial

GENESIS = "0" * 64
"""What the first row names as its previous hash."""

TRIAL_FIELDS = ("family", "spec_id", "data_id", "split_id", "asked_by", "returns_ref")
MAX_LINE_BYTES = 16384
_NEEDED = ("family", "spec_id", "data_id", "split_id", "asked_by")
_N_FIELDS = 2 + len(TRIAL_FIELDS) + 2


@dataclass(frozen=True)
class Head:
    """The last row of a ledger: its number and its hash.

    Parameters
    ----------
    number : int
        1 for the first row; 0 when there is none.
    own : str
        Hash of the row; `GENESIS` when there is none.
    """

    number: int = 0
    own: str = GENESIS


@dataclass(frozen=True)
class Row:
    """One asking, as it stands in the ledger.

    Parameters
    ----------
    number : int
        Position, from 1.
    at_us : int
        Instant in microseconds since 1970, UTC.
    fields : tuple of str
        Values of `TRIAL_FIELDS`.
    previous, own : str
        Hash of the row above, and of this one.
    """

    number: int
    at_us: int
    fields: tuple[str, ...]
    previous: str
    own: str


def trial_fields(trial: Trial) -> tuple[str, ...]:
    """Return a trial's values in the order of the line.

    Parameters
    ----------
    trial : Trial
        What was evaluated.

    Returns
    -------
    tuple of str
        Values of `TRIAL_FIELDS`.

    Raises
    ------
    ConfigError
        For a field that is empty, longer than a line may be, or holds signs that are not
        printable: tabs and line breaks would make two rows of one.

    Examples
    --------
    >>> trial_fields(Trial("alpha", "spec", "data", "split", "train"))
    ('alpha', 'spec', 'data', 'split', 'train', '')
    """
    fields = (
        trial.family,
        trial.spec_id,
        trial.data_id,
        trial.split_id,
        trial.asked_by,
        trial.returns_ref,
    )
    text = "".join(fields)
    if all(fields[:-1]) and text.isprintable() and 4 * len(text) < MAX_LINE_BYTES // 2:
        return fields
    for name, value in zip(TRIAL_FIELDS, fields, strict=True):
        if (name in _NEEDED and not value) or not value.isprintable():
            raise ConfigError(
                f"trial.{name}",
                wanted="printable text" + (", not empty" if name in _NEEDED else ""),
                got=repr(value)[:80],
                hint="Give names and hashes; what a trial is stands in its spec.",
            )
    raise ConfigError(
        "trial",
        wanted=f"at most {MAX_LINE_BYTES // 8} signs in all",
        got=f"{len(text)}",
        hint="Give hashes instead of whole configurations.",
    )


def row_text(number: int, at_us: int, fields: tuple[str, ...], previous: str) -> str:
    """Return what a row's own hash covers.

    Parameters
    ----------
    number : int
        Position, from 1.
    at_us : int
        Microseconds since 1970, UTC.
    fields : tuple of str
        Values of `TRIAL_FIELDS`.
    previous : str
        Own hash of the row above.

    Returns
    -------
    str
        Tab-separated, without the row's own hash.
    """
    return "\t".join((str(number), str(at_us), *fields, previous))


def own_hash(text: str) -> str:
    """Hash what :func:`row_text` returned; 64 hexadecimal characters.

    Parameters
    ----------
    text : str
        The row without its own hash.

    Returns
    -------
    str
        SHA-256 of the UTF-8 bytes.
    """
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def encode_rows(batch: list[tuple[int, tuple[str, ...]]], head: Head) -> tuple[bytes, Head]:
    """Chain a batch of askings to a head.

    Parameters
    ----------
    batch : list of (int, tuple of str)
        Instants in microseconds and values of `TRIAL_FIELDS`, oldest first.
    head : Head
        Last row so far.

    Returns
    -------
    bytes
        Lines to append.
    Head
        Last row afterwards.

    Examples
    --------
    >>> lines, head = encode_rows([(0, ("a", "b", "c", "d", "e", ""))], Head())
    >>> lines.decode().split()[:4], head.number
    (['1', '0', 'a', 'b'], 1)
    """
    number, previous, lines = head.number, head.own, []
    for at_us, fields in batch:
        number += 1
        text = row_text(number, at_us, fields, previous)
        previous = own_hash(text)
        lines.append(f"{text}\t{previous}\n")
    return "".join(lines).encode("utf-8"), Head(number, previous)


def decode_row(line: bytes) -> Row | None:
    """Read a line back; None when it is not one.

    Parameters
    ----------
    line : bytes
        Without its line break.

    Returns
    -------
    Row or None
        The row with the hashes that stand in it, which are not checked here.
    """
    try:
        parts = line.decode("utf-8").split("\t")
    except UnicodeDecodeError:
        return None
    if len(parts) != _N_FIELDS or not (parts[0].isdecimal() and parts[1].lstrip("-").isdecimal()):
        return None
    if len(parts[-1]) != len(GENESIS) or len(parts[-2]) != len(GENESIS):
        return None
    return Row(int(parts[0]), int(parts[1]), tuple(parts[2:-2]), parts[-2], parts[-1])


def is_consistent(line: bytes) -> bool:
    """Tell whether a line's own hash is the hash of what stands before it.

    Parameters
    ----------
    line : bytes
        Without its line break.

    Returns
    -------
    bool
        False when any sign of the line was edited.
    """
    text, _, own = line.rpartition(b"\t")
    return hashlib.sha256(text).hexdigest().encode() == own

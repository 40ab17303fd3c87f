"""Files of a ledger: one text segment that grows, and sealed Parquet segments that never change.

A text segment is plain lines (`rows`), so that appending is one write. When it is large enough it
is sealed: its rows move into a Parquet file with the same number, written whole and renamed, and
the text is removed. Columns of a million rows are then read at once, and every row is kept once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from quant_engine.artifacts.files import sync_folder, write_atomic
from quant_engine.core.errors import IntegrityError
from quant_engine.governance.rows import (
    GENESIS,
    TRIAL_FIELDS,
    Head,
    Row,
    decode_row,
    is_consistent,
    own_hash,
    row_text,
)

_PREVIOUS, _LAST = b"qe.previous", b"qe.last"
_CODED = ("family", "data_id", "split_id", "asked_by")
_DICTIONARY = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("at_us", pa.int64()),
        *((name, _DICTIONARY if name in _CODED else pa.string()) for name in TRIAL_FIELDS),
        ("own", pa.binary(len(GENESIS) // 2)),
    ]
)
"""Columns of a ledger as a table; names that repeat are coded."""

_TEXT_TYPES = {
    "number": pa.int64(),
    "at_us": pa.int64(),
    **dict.fromkeys((*TRIAL_FIELDS, "previous", "own"), pa.string()),
}
_TAIL_BYTES = 1 << 17


@dataclass(frozen=True)
class Segment:
    """One file of rows.

    Parameters
    ----------
    number : int
        Position among the segments, from 1.
    path : Path
        The file.
    is_sealed : bool
        Parquet that never changes, or text that grows.
    """

    number: int
    path: Path
    is_sealed: bool


def text_segment(folder: Path, number: int) -> Segment:
    """Name the text segment with a number.

    Parameters
    ----------
    folder : Path
        Ledger folder.
    number : int
        Position among the segments.

    Returns
    -------
    Segment
        Whether the file exists or not.
    """
    return Segment(number, folder / f"rows-{number:08d}.tsv", is_sealed=False)


def list_segments(folder: Path) -> list[Segment]:
    """List the files of rows in order.

    Parameters
    ----------
    folder : Path
        Ledger folder; may be absent.

    Returns
    -------
    list of Segment
        A text segment that is sealed as well is left out: its sealing was killed before the
        text was removed.
    """
    # Text first: sealing puts the new file in place before it removes the old one.
    text = {int(path.stem[5:]): path for path in folder.glob("rows-*.tsv")}
    sealed = {int(path.stem[5:]): path for path in folder.glob("rows-*.parquet")}
    found = [Segment(number, path, is_sealed=True) for number, path in sealed.items()]
    found += [Segment(n, path, is_sealed=False) for n, path in text.items() if n not in sealed]
    return sorted(found, key=lambda segment: segment.number)


def sealed_head(segment: Segment) -> Head:
    """Return the last row of a sealed segment.

    Parameters
    ----------
    segment : Segment
        A sealed one.

    Returns
    -------
    Head
        From the footer of the file.

    Raises
    ------
    IntegrityError
        When the file is not one of ours.
    """
    number, _, own = _footer(segment, _LAST).partition(":")
    return Head(int(number), own)


def read_tail(segment: Segment, before: Head) -> tuple[Head, int]:
    """Return the last whole row of a text segment and the bytes up to its end.

    Parameters
    ----------
    segment : Segment
        A text segment.
    before : Head
        Last row of the segment before, for a segment without a whole row.

    Returns
    -------
    Head
        Last whole row.
    int
        Size that whole rows take; what follows is the half row of a killed writer.

    Raises
    ------
    IntegrityError
        When the last whole line is no row.
    """
    size = segment.path.stat().st_size
    with segment.path.open("rb") as stream:
        window = _TAIL_BYTES
        while True:
            start = max(0, size - window)
            stream.seek(start)
            tail = stream.read(size - start)
            whole = tail[: tail.rfind(b"\n") + 1]
            if start == 0 or whole.count(b"\n") >= 2:
                break
            window *= 8
    if not whole:
        return before, 0
    line = whole[:-1].rpartition(b"\n")[2]
    row = decode_row(line)
    if row is None or not is_consistent(line):
        raise damaged(segment.path, "the last line is no row")
    return Head(row.number, row.own), start + len(whole)


def repair_tail(segment: Segment, head: Head, whole_bytes: int) -> Head:
    """Deal with what a killed writer left after the last whole row.

    An incomplete row is cut off. A row that lacks nothing but its line break was written whole,
    so it gets its line break and stays.

    Parameters
    ----------
    segment : Segment
        A text segment; only the holder of the ledger's lock may call this.
    head : Head
        Last whole row.
    whole_bytes : int
        Size that whole rows take.

    Returns
    -------
    Head
        Last whole row afterwards.
    """
    with segment.path.open("r+b") as stream:
        stream.seek(whole_bytes)
        rest = stream.read()
        row = decode_row(rest)
        follows = row is not None and (row.number, row.previous) == (head.number + 1, head.own)
        if row is not None and follows and is_consistent(rest):
            stream.write(b"\n")
            head = Head(row.number, row.own)
        else:
            stream.truncate(whole_bytes)
        stream.flush()
        os.fsync(stream.fileno())
    return head


def seal(segment: Segment, previous: Head) -> Segment:
    """Move the rows of a text segment into a sealed one.

    Parameters
    ----------
    segment : Segment
        A text segment without a half row; only the holder of the lock may call this.
    previous : Head
        Last row of the segment before.

    Returns
    -------
    Segment
        The sealed segment.
    """
    table = _read_text(segment.path.read_bytes(), segment.path)
    last = f"{table['number'][-1].as_py()}:{table['own'][-1].as_py().hex()}"
    footer = {_PREVIOUS: f"{previous.number}:{previous.own}".encode(), _LAST: last.encode()}
    sink = pa.BufferOutputStream()
    pq.write_table(
        table.replace_schema_metadata(footer),
        sink,
        compression="lz4",
        use_dictionary=list(_CODED),
        version="2.6",
        write_statistics=False,
    )
    sealed = Segment(segment.number, segment.path.with_suffix(".parquet"), is_sealed=True)
    write_atomic(sealed.path, sink.getvalue().to_pybytes())
    segment.path.unlink()
    sync_folder(segment.path.parent)
    return sealed


def read_rows(folder: Path, columns: tuple[str, ...] | None = None) -> pa.Table:
    """Read the columns of all rows.

    Parameters
    ----------
    folder : Path
        Ledger folder; absent = empty.
    columns : tuple of str, optional
        Names of `SCHEMA`; all by default.

    Returns
    -------
    pyarrow.Table
        In the order of asking. The half row of a running or killed writer is not part of it.

    Raises
    ------
    IntegrityError
        When rows are missing or a file is damaged. Hashes are not checked here.
    """
    wanted = list(SCHEMA.names) if columns is None else list(columns)
    loaded = list(dict.fromkeys(["number", *wanted]))
    while True:
        try:
            parts = [_read_segment(segment, loaded) for segment in list_segments(folder)]
            break
        except FileNotFoundError:
            # Its sealing ended between the listing and the reading; the next listing has it.
            continue
    table = pa.concat_tables([SCHEMA.empty_table().select(loaded), *parts]).unify_dictionaries()
    numbers = table["number"].to_numpy()
    gaps = (numbers[1:] - numbers[:-1] != 1).nonzero()[0]
    if numbers.size and (numbers[0] != 1 or gaps.size):
        place = numbers[gaps[0]] if numbers[0] == 1 else 0
        raise damaged(folder, f"row {place + 1} does not stand after row {place}")
    return table.select(wanted)


def walk_rows(segment: Segment) -> Iterator[tuple[Row | None, bool]]:
    """Iterate over the rows of a segment with their hashes recomputed.

    Parameters
    ----------
    segment : Segment
        Sealed or text; a half row at the end of a text segment is left out.

    Yields
    ------
    tuple of (Row or None, bool)
        The row, None for a line that is none, and whether its own hash fits its content and, in
        a sealed segment, the row above.
    """
    if not segment.is_sealed:
        whole = segment.path.read_bytes()
        for line in whole[: whole.rfind(b"\n") + 1].split(b"\n")[:-1]:
            row = decode_row(line)
            yield row, row is not None and is_consistent(line)
        return
    previous = _footer(segment, _PREVIOUS).partition(":")[2]
    for batch in _read_segment(segment, list(SCHEMA.names)).to_batches(max_chunksize=65536):
        values = [column.to_pylist() for column in batch.columns]
        for number, at_us, *fields, own in zip(*values, strict=True):
            row = Row(number, at_us, tuple(fields), previous, own.hex())
            yield row, own_hash(row_text(number, at_us, row.fields, previous)) == row.own
            previous = row.own


def damaged(path: Path, got: str) -> IntegrityError:
    """Compose the error for a ledger that cannot be trusted.

    Parameters
    ----------
    path : Path
        File or folder.
    got : str
        What is wrong.

    Returns
    -------
    IntegrityError
        Ready to raise.
    """
    return IntegrityError(
        str(path),
        wanted="the rows that were written",
        got=got,
        hint="`qe ledger --verify` names every fault; restore the folder from a copy.",
    )


def _read_segment(segment: Segment, columns: list[str]) -> pa.Table:
    if not segment.is_sealed:
        return _read_text(segment.path.read_bytes(), segment.path).select(columns)
    try:
        table = pq.read_table(segment.path, columns=columns)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise damaged(segment.path, str(error)[:200]) from error
    wanted = pa.schema([SCHEMA.field(name) for name in columns])
    if table.schema.remove_metadata() != wanted or any(c.null_count for c in table.columns):
        raise damaged(segment.path, "other columns, or absent values")
    return table.replace_schema_metadata(None)


def _read_text(content: bytes, path: Path) -> pa.Table:
    whole = content[: content.rfind(b"\n") + 1]
    if not whole:
        return SCHEMA.empty_table()
    try:
        table = pa_csv.read_csv(
            pa.BufferReader(whole),
            read_options=pa_csv.ReadOptions(column_names=list(_TEXT_TYPES)),
            parse_options=pa_csv.ParseOptions(delimiter="\t", quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types=_TEXT_TYPES, null_values=[], strings_can_be_null=False
            ),
        )
        own = [bytes.fromhex(text) for text in table["own"].to_pylist()]
    except (pa.ArrowInvalid, ValueError) as error:
        raise damaged(path, str(error)[:200]) from error
    columns = {name: table[name].cast(SCHEMA.field(name).type) for name in SCHEMA.names[:-1]}
    return pa.table({**columns, "own": pa.array(own, SCHEMA.field("own").type)}, schema=SCHEMA)


def _footer(segment: Segment, key: bytes) -> str:
    try:
        metadata = pq.read_schema(segment.path).metadata or {}
    except (pa.ArrowInvalid, OSError) as error:
        raise damaged(segment.path, str(error)[:200]) from error
    text = str(metadata.get(key, b""), "ascii", "replace")
    number, _, own = text.partition(":")
    if not number.isdecimal() or len(own) != len(GENESIS):
        raise damaged(segment.path, "no footer of a sealed segment")
    return text

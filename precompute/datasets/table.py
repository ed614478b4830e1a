"""Tables of recordings: CSV with one row a file."""

from __future__ import annotations

import codecs
import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from explorer.errors import DatasetError
from explorer.text import count
from precompute.datasets.names import clean, quoted, some

_DELIMITERS = ",;\t|"
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16",
          codecs.BOM_UTF16_BE: "utf-16", codecs.BOM_UTF32_BE: "utf-32"}  # fmt: skip
_SAVE = "Save it again as CSV UTF-8."


@dataclass(frozen=True)
class Row:
    """One line of a table: the file it is about, as written; its other cells (clean, may be empty); its line number."""

    key: str
    values: Mapping[str, str]
    line: int


@dataclass(frozen=True)
class Table:
    """A checked table: every key once."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


Lines = list[tuple[int, list[str]]]


def read_table(path: Path, *, key: str, required: Sequence[str] = (), known: Sequence[str] = ()) -> Table:
    """Read a CSV table (UTF-8, or UTF-16 with a byte-order mark; comma, semicolon, tab or bar) with one row a file.

    `key` is the column with a path relative to the table's folder. It, `required` and `known` columns are found in any
    case. All text is NFC and without blanks at the ends. Raises DatasetError, with the line: another encoding, no such
    columns, no rows, ragged or contradicting rows, paths that lead out of the folder.
    """
    reserved = (key, *required, *known)
    delimiter, lines = _parse(path, _text(path), reserved)
    if not lines:
        raise DatasetError(f"{path.name} is empty. Its first line names the columns, and {key!r} holds the path.")
    columns = _columns([clean(name) for name in lines[0][1]], reserved)
    names = [name for name in columns if name]
    _check_columns(path, names, key, required)
    rows: dict[str, Row] = {}
    n_twice = 0
    spellings: dict[str, set[str]] = defaultdict(set)  # of values that had blanks at their ends, by value
    for line, cells in lines[1:]:
        if not any(clean(cell) for cell in cells):
            continue
        if len(cells) != len(columns):
            advice = f"Put text with {delimiter!r} in double quotes."
            if len(cells) < len(columns):
                advice = "Add what is missing; a cell may be empty."
            counts = f"{count(len(cells), 'cell')} for {count(len(columns), 'column')}"
            raise DatasetError(f"{path.name}, line {line}: {counts}. {advice}")
        values = {name: clean(cell) for name, cell in zip(columns, cells, strict=True) if name}
        for name, cell in zip(columns, cells, strict=True):
            if name and name != key:
                spellings[values[name]].add(unicodedata.normalize("NFC", cell))
        del values[key]
        file = _inside(
            cells[columns.index(key)].strip(), path, line
        )  # as written: it may name one of two Unicode forms
        row = Row(file, values, line)
        if file in rows and rows[file].values != values:
            raise DatasetError(
                f"{path.name} names {file!r} in line {rows[file].line} and in line {line}, with other values. Keep one."
            )
        n_twice += file in rows
        rows.setdefault(file, row)
    if not rows:
        raise DatasetError(f"{path.name} names columns but no files. Add a row for each file, or remove the table.")
    notes = _notes(path, len(columns) - len(names), n_twice, [v for v, cells in spellings.items() if len(cells) > 1])
    return Table(tuple(names), tuple(rows.values()), tuple(notes))


def _notes(path: Path, n_nameless: int, n_twice: int, trimmed: Sequence[str]) -> list[str]:
    notes = []
    if n_nameless:
        notes.append(f"{count(n_nameless, 'column')} of {path.name} without a name not read")
    if n_twice:
        notes.append(f"{count(n_twice, 'row')} of {path.name} repeated word for word: read once")
    if trimmed:
        listed = some(quoted(value) for value in sorted(trimmed) if value)
        notes.append(f"blanks around values in {path.name} are ignored: {listed}")
    return notes


def _parse(path: Path, text: str, reserved: Sequence[str]) -> tuple[str, Lines]:
    """The delimiter under which the header has the most of the columns that are looked for, and the rows are most
    alike; and the lines it makes."""
    best: tuple[tuple[int, float, int], str, Lines] | None = None
    failed: tuple[int, csv.Error] | None = None
    skip = 0
    if text.lower().startswith("sep=") and len(text.split("\n", 1)[0].strip()) == 5:  # Excel's own hint
        skip, text = 1, text.split("\n", 1)[1]
    for delimiter in _DELIMITERS:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines: Lines = []
        error: csv.Error | None = None
        try:
            for cells in reader:
                lines.append((reader.line_num + skip, cells))
        except csv.Error as wrong:
            error = wrong
        while lines and not any(clean(cell) for cell in lines[0][1]):
            del lines[0]
        header = {clean(name).casefold() for name in lines[0][1]} if lines else set()
        n_known = sum(name in header for name in reserved)
        full = [cells for _, cells in lines if any(cells)]
        alike = sum(len(cells) == len(full[0]) for cells in full) / len(full) if full else 0.0
        score = (n_known, alike if n_known else 0.0, len(full[0]) if full else 0)
        if best is None or score > best[0]:
            best, failed = (score, delimiter, lines), None if error is None else (reader.line_num + skip, error)
    if failed is not None:
        line, cause = failed
        raise DatasetError(f"{path.name}, line {line}: {cause}. {_SAVE}") from cause
    assert best is not None  # noqa: S101 - there are delimiters
    return best[1], best[2]


def _columns(names: list[str], reserved: Sequence[str]) -> list[str]:
    """The header, in which a reserved name in another case is that name, unless it is there as well."""
    by_case = {name.casefold(): name for name in reserved if name not in names}
    return [by_case.pop(name.casefold(), name) for name in names]


def _check_columns(path: Path, names: Sequence[str], key: str, required: Sequence[str]) -> None:
    missing = [name for name in (key, *required) if name not in names]
    if missing:
        near = get_close_matches(missing[0], names, n=1, cutoff=0.7) or [
            name for name in names if missing[0] == key and name.casefold() in _FILE_WORDS
        ]
        advice = f" Rename {near[0]!r} to {missing[0]!r}." if near else ""
        raise DatasetError(
            f"{path.name} has no column {', '.join(missing)!r}; it has {', '.join(names) or 'none'}. The first line "
            f"names the columns, and {key!r} holds the path of each file.{advice}"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path.name} names the column {twice[0]!r} twice. Rename one.")


_FILE_WORDS = frozenset(
    ("filename", "file_name", "file name", "path", "filepath", "file_path", "audio", "wav", "recording", "clip", "name")
)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror}.") from error
    mark = next((mark for mark in _MARKS if raw.startswith(mark)), b"")
    if not mark and b"\0" in raw:
        raise DatasetError(f"{path.name} is not text, or UTF-16 without a byte-order mark. {_SAVE}")
    try:
        text = raw.decode(_MARKS.get(mark, "utf-8"))
    except UnicodeDecodeError as error:
        if mark:
            raise DatasetError(f"{path.name} begins as {_MARKS[mark]} and is none. {_SAVE}") from error
        line = raw[: error.start].count(b"\n") + 1
        shown = "".join(f"\\x{byte:02x}" if byte > 126 else chr(byte) for byte in _word(raw, error.start))
        raise DatasetError(
            f"{path.name} is not UTF-8: line {line} holds '{shown}'. Excel's plain CSV has an older encoding. {_SAVE}"
        ) from error
    if "\0" in text:
        raise DatasetError(f"{path.name} holds characters without a sign (NUL). {_SAVE}")
    return text


def _word(raw: bytes, at: int) -> bytes:
    """What stands around a byte, up to blanks and delimiters, 12 bytes at most on each side."""
    before, after = raw[max(0, at - 12) : at], raw[at : at + 12]
    return re.split(rb"[\x00-\x20,;|\"]", before)[-1] + re.split(rb"[\x00-\x20,;|\"]", after)[0]


def _inside(cell: str, path: Path, line: int) -> str:
    """The path in a cell. Raises DatasetError where it leads out of the table's folder."""
    if not cell:
        raise DatasetError(f"{path.name}, line {line}: the path of the file is empty.")
    if Path(cell).is_relative_to(path.parent.absolute()):
        cell = Path(cell).relative_to(path.parent.absolute()).as_posix()
    both = (PurePosixPath(cell), PurePosixPath(cell.replace("\\", "/")))
    if any(file.is_absolute() or ".." in file.parts for file in both) or cell[1:3] == ":\\":
        raise DatasetError(
            f"{path.name}, line {line}: {cell!r} must be relative to the folder of {path.name} and inside it."
        )
    return str(both[0])

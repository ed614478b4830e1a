"""Any folder of audio, with an optional metadata.csv: file, label, group, and anything else as attributes.

Without a metadata.csv the label is the name of the folder that a file lies in, if there are at least two such folders,
and each file is its own group. With one, nothing is guessed from names: a missing `label` column means no labels.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from explorer.errors import DatasetError
from precompute.datasets.base import REJECTED, Entry, Listing, Skipped, walk_audio

METADATA = "metadata.csv"


@dataclass(frozen=True)
class Row:
    """One line of a table: the file it is about, all its other cells (stripped, may be empty), its line number."""

    key: str
    values: Mapping[str, str]
    line: int


@dataclass(frozen=True)
class Table:
    """A checked table: every key once."""

    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]


def read(root: Path) -> Listing:
    """List a folder. Raises DatasetError when it is not there or its metadata.csv cannot be understood."""
    found, skipped = walk_audio(root, ignore=frozenset((METADATA,)))
    if (root / METADATA).is_file():
        return _with_table(read_table(root / METADATA, key="file"), found, skipped)
    folders = {PurePosixPath(relative).parent for relative, _ in found}
    is_labelled = len(folders) >= 2
    entries = tuple(
        Entry(
            path,
            relative,
            title=_title(relative, PurePosixPath(relative).parent.name if is_labelled else None),
            labels={"folder": PurePosixPath(relative).parent.name} if is_labelled and "/" in relative else {},
        )
        for relative, path in found
    )
    notes = ["no metadata.csv: the label is the folder's name" if is_labelled else "no metadata.csv: no labels"]
    return Listing(entries, tuple(skipped), "folder" if is_labelled else None, "file", tuple(notes))


def _with_table(table: Table, found: Sequence[tuple[str, Path]], skipped: list[Skipped]) -> Listing:
    has_group = "group" in table.columns
    paths = dict(found)
    by_nfc = {unicodedata.normalize("NFC", relative): relative for relative in paths}
    entries: list[Entry] = []
    not_taken = {item.path for item in skipped}
    for row in table.rows:
        relative = row.key if row.key in paths else by_nfc.get(unicodedata.normalize("NFC", row.key), row.key)
        path = paths.pop(relative, None)
        if path is None:
            if row.key not in not_taken:
                reason = f"named in {METADATA} (line {row.line}), but not there"
                skipped.append(Skipped(row.key, reason, REJECTED))
            continue
        values = dict(row.values)
        label, group = values.pop("label", ""), values.pop("group", "")
        if has_group and not group:
            reason = f"no group in {METADATA}, line {row.line}: it could stand on both sides of a split"
            skipped.append(Skipped(relative, reason, REJECTED))
            continue
        entries.append(
            Entry(
                path,
                relative,
                title=_title(relative, label),
                labels={"label": label} if label else {},
                group=group or None,
                attributes={name: value for name, value in values.items() if value},
            )
        )
    notes = list(table.notes)
    for relative, path in paths.items():
        if has_group:
            reason = f"not in {METADATA}: its group is unknown, it could stand on both sides of a split"
            skipped.append(Skipped(relative, reason, REJECTED))
        else:
            entries.append(Entry(path, relative, title=_title(relative, None)))
    if paths and not has_group:
        notes.append(f"{len(paths)} files are not in {METADATA}: kept, without labels")
    label_name = "label" if "label" in table.columns else None
    return Listing(tuple(entries), tuple(skipped), label_name, "group" if has_group else "file", tuple(notes))


def _title(relative: str, label: str | None) -> str:
    stem = PurePosixPath(relative).stem
    return f"{label} · {stem}" if label else stem


def read_table(path: Path, *, key: str, required: Sequence[str] = ()) -> Table:
    """Read a CSV table (UTF-8, with or without a byte-order mark; comma, semicolon or tab) with one row a file.

    `key` is the column with a path relative to the table's folder. Raises DatasetError, with the line: another
    encoding, no such columns, ragged or repeated rows, paths that lead out of the folder.
    """
    text = _text(path)
    first_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first_line.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise DatasetError(f"{path.name}, line {reader.line_num}: {error}. Save it again as CSV (UTF-8).") from error
    columns = [name.strip() for name in lines[0][1]] if lines else []
    names = [name for name in columns if name]
    missing = [name for name in (key, *required) if name not in names]
    if missing:
        raise DatasetError(
            f"{path.name} has no column {', '.join(missing)!r}; it has {', '.join(names) or 'none'}. The first line "
            f"names the columns, and {key!r} holds the path of each file."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(f"{path.name} names the column {twice[0]!r} twice. Rename one.")
    rows: dict[str, Row] = {}
    for line, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            raise DatasetError(
                f"{path.name}, line {line}: {len(cells)} cells for {len(columns)} columns. Put text with "
                f"{delimiter!r} in double quotes."
            )
        values = {name: cell.strip() for name, cell in zip(columns, cells, strict=True) if name}
        file = _relative(values.pop(key), path, line)
        if file in rows:
            raise DatasetError(f"{path.name} names {file!r} in line {rows[file].line} and in line {line}. Keep one.")
        rows[file] = Row(file, values, line)
    nameless = len(columns) - len(names)
    notes = (f"{nameless} columns of {path.name} without a name are not read",) if nameless else ()
    return Table(tuple(names), tuple(rows.values()), notes)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise DatasetError(f"{path.name} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DatasetError(f"{path.name} is not UTF-8 (line {line}). Save it again as CSV (UTF-8).") from error
    if "\0" in text:
        raise DatasetError(f"{path.name} is not text (UTF-16?). Save it again as CSV (UTF-8).")
    return text


def _relative(cell: str, path: Path, line: int) -> str:
    if not cell:
        raise DatasetError(f"{path.name}, line {line}: the path of the file is empty.")
    file = PurePosixPath(cell.replace("\\", "/") if "/" not in cell else cell)
    if file.is_absolute() or ".." in file.parts or cell[1:3] == ":\\":
        raise DatasetError(
            f"{path.name}, line {line}: {cell!r} must be relative to the folder of {path.name} and inside it."
        )
    return str(file)

"""Any folder of audio, with an optional metadata.csv: file, label, group, and anything else as attributes.

Without a metadata.csv the label is the name of the folder that a file lies in, if there are at least two such folders,
and each file is its own group. With one, nothing is guessed from names: a missing `label` column means no labels.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path, PurePosixPath

from explorer.errors import DatasetError
from explorer.text import count
from precompute.datasets.base import REJECTED, Entry, Listing, Skipped, walk_audio
from precompute.datasets.matching_rows import match_rows
from precompute.datasets.names import clean, quoted, some
from precompute.datasets.table import Table, read_table

METADATA = "metadata.csv"
GROUP_WORDS = (
    "speaker", "speaker_id", "singer", "singer_id", "person", "participant", "subject", "artist", "performer", "player",
    "individual", "recording", "recording_id", "source", "source_recording", "src_file", "session", "track", "song",
)  # fmt: skip
LABEL_WORDS = ("class", "category", "target", "technique", "emotion", "word", "digit", "species", "instrument", "genre")


def read(root: Path) -> Listing:
    """List a folder. Raises DatasetError when it is not there or its metadata.csv cannot be understood."""
    table_path, notes = _find_table(root)
    found, skipped = walk_audio(root, ignore=frozenset(() if table_path is None else (table_path,)))
    notes += _other_tables(root, table_path, found)
    if table_path is not None:
        table = read_table(table_path, key="file", known=("label", "group"))
        return _with_table(root, table_path.name, table, found, skipped, notes)
    folders = {PurePosixPath(relative).parent for relative, _ in found}
    is_labelled = len(folders) >= 2
    entries = tuple(
        Entry(
            path,
            relative,
            title=_title(relative, PurePosixPath(relative).parent.name if is_labelled else None),
            labels={"folder": clean(PurePosixPath(relative).parent.name)} if is_labelled and "/" in relative else {},
        )
        for relative, path in found
    )
    if {"data_by_singer", "data_by_technique"} <= {part.lower() for folder in folders for part in folder.parts}:
        notes.append("this is VocalSet, with each recording up to three times: --dataset vocalset takes each once")
    notes.append(f"no {METADATA}: the label is the folder's name" if is_labelled else f"no {METADATA}: no labels")
    return Listing(entries, tuple(skipped), "folder" if is_labelled else None, "file", tuple(notes))


def _find_table(root: Path) -> tuple[Path | None, list[str]]:
    """metadata.csv, in any case; where there are several the one that is spelt so, and a note."""
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}. Give the folder of recordings with --root.")
    try:
        names = sorted(child.name for child in root.iterdir() if child.name.casefold() == METADATA and child.is_file())
    except OSError:
        return None, []  # walk_audio says why
    if not names:
        return None, []
    first = METADATA if METADATA in names else names[0]
    others = [quoted(name) for name in names if name != first]
    return root / first, [f"{first} is read, {some(others)} is not"] if others else []


def _other_tables(root: Path, table: Path | None, found: Sequence[tuple[str, Path]]) -> list[str]:
    """Notes on tables that are not read, though somebody may think so."""
    notes = []
    folders = sorted({path.parent for _, path in found} - {root})
    below = [folder / METADATA for folder in folders if (folder / METADATA).is_file()]
    if below:
        listed = some(quoted(path.relative_to(root).as_posix()) for path in below)
        notes.append(f"only a {METADATA} in the top folder is read, not {listed}: to use one give its folder as --root")
    if table is None:
        ends = (".csv", ".tsv", ".xlsx")
        near = sorted(path.name for path in root.iterdir() if path.suffix.lower() in ends and path.name[0] != ".")
        if near:
            notes.append(f"{some(map(quoted, near))} is not read: a table of labels must be named {METADATA}")
    return notes


def _with_table(
    root: Path, name: str, table: Table, found: Sequence[tuple[str, Path]], skipped: list[Skipped], notes: list[str]
) -> Listing:
    has_group = "group" in table.columns
    matches = match_rows(table.rows, found, root, name)
    if found and not matches.files:
        key, near = next(iter(matches.nearest.items()), (table.rows[0].key, found[0][0]))
        raise DatasetError(
            f"No row of {name} names an audio file that is there. It says {key!r}; the nearest file is {near!r}. "
            f"Correct the column 'file': paths are relative to the folder of {name}."
        )
    entries: list[Entry] = []
    not_taken = {item.path for item in skipped}
    for row in table.rows:
        if row.key not in matches.files:
            shown = unicodedata.normalize("NFC", row.key)
            if shown not in not_taken:
                near = f"; the nearest is {quoted(matches.nearest[row.key])}" if row.key in matches.nearest else ""
                reason = f"named in {name} (line {row.line}), but not there{near}"
                skipped.append(Skipped(shown, reason, REJECTED))
            continue
        relative, path = matches.files[row.key]
        values = dict(row.values)
        label, group = values.pop("label", ""), values.pop("group", "")
        if has_group and not group:
            reason = f"no group in {name}, line {row.line}: it could be on both sides of a split"
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
                official_fold=values.get("fold") or None,
            )
        )
    notes += [*table.notes, *matches.notes, *_missing_columns(name, table.columns)]
    taken = {relative for relative, _ in matches.files.values()}
    unlisted = [(relative, path) for relative, path in found if relative not in taken]
    for relative, path in unlisted:
        if has_group:
            reason = f"not in {name}: its group is unknown, it could be on both sides of a split"
            skipped.append(Skipped(relative, reason, REJECTED))
        else:
            entries.append(Entry(path, relative, title=_title(relative, None)))
    if unlisted and not has_group:
        notes.append(f"{count(len(unlisted), 'file')} not in {name}: kept, without labels")
    label_name = "label" if "label" in table.columns else None
    return Listing(tuple(entries), tuple(skipped), label_name, "group" if has_group else "file", tuple(notes))


def _missing_columns(name: str, columns: Sequence[str]) -> list[str]:
    """Notes on a table without a label or group column that has one under another name."""
    notes = []
    for role, words in (("label", LABEL_WORDS), ("group", GROUP_WORDS)):
        if role in columns:
            continue
        near = get_close_matches(role, [column.casefold() for column in columns], n=2, cutoff=0.75)
        likely = [column for column in columns if column.casefold() in (*near, *words)]
        if likely:
            listed = some(map(quoted, likely))
            notes.append(f"{name} has no column '{role}': should {listed} be it, name it with --{role} or rename it")
    return notes


def _title(relative: str, label: str | None) -> str:
    stem = PurePosixPath(relative).stem
    return f"{label} · {stem}" if label else stem

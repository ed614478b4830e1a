"""ESC-50 (Piczak, ACM MM 2015): audio/<fold>-<Freesound id>-<take>-<target>.wav and meta/esc50.csv.

Label: category. Group: the source recording, of which several clips may be cut. Folds are the data set's own: no source
recording crosses them. The last one is the held-out part.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from explorer.errors import DatasetError
from precompute.datasets.base import REJECTED, Entry, Listing, Skipped, audio_beside, walk_audio
from precompute.datasets.matching_rows import match_rows
from precompute.datasets.table import Row, read_table

_TABLE = Path("meta") / "esc50.csv"
_NOTE = "groups are source recordings; scores over all groups are of the data set's own folds"


def read(root: Path) -> Listing:
    """List an ESC-50 folder, or the one above it. Raises DatasetError when its table is missing or not as published."""
    base = _find_base(root)
    table = read_table(
        base / _TABLE, key="filename", required=("fold", "category"), known=("target", "src_file", "take")
    )
    found, skipped = walk_audio(base / "audio")
    skipped = [dataclasses.replace(item, path=f"audio/{item.path}") for item in skipped]
    skipped += audio_beside(root, base / "audio", "not in audio/, where ESC-50's recordings are")
    matches = match_rows(table.rows, found, base / "audio", _TABLE.name)
    last = max((_fold(row) for row in table.rows), key=_fold_order, default="")
    entries: list[Entry] = []
    for row in table.rows:
        if row.key not in matches.files:
            skipped.append(Skipped(f"audio/{row.key}", f"in meta/esc50.csv (line {row.line}), but not there", REJECTED))
        elif not row.values["fold"] or not row.values["category"]:
            skipped.append(
                Skipped(f"audio/{row.key}", f"no fold or no category in meta/esc50.csv, line {row.line}", REJECTED)
            )
        else:
            entries.append(_entry(*matches.files[row.key], row, last))
    taken = {name for name, _ in matches.files.values()}
    unlisted = [name for name, _ in found if name not in taken]
    skipped += [Skipped(f"audio/{name}", "not in meta/esc50.csv: its fold is unknown", REJECTED) for name in unlisted]
    notes = (_NOTE, *table.notes, *matches.notes)
    return Listing(tuple(entries), tuple(skipped), "category", "source recording", notes)


def _entry(name: str, path: Path, row: Row, last_fold: str) -> Entry:
    values = row.values
    words = Path(row.key).stem.split("-")
    source = values.get("src_file") or (words[1] if len(words) == 4 else "")
    take = values.get("take") or (words[2] if len(words) == 4 else "")
    attributes = {"target": values.get("target", ""), "fold": _fold(row), "take": take}
    return Entry(
        path,
        f"audio/{name}",
        title=" · ".join(text for text in (values["category"], f"{source} {take}".strip()) if text),
        labels={"category": values["category"]},
        group=source or f"fold {_fold(row)}",
        attributes={name: value for name, value in attributes.items() if value},
        official_split="test" if _fold(row) == last_fold else "train",
        official_fold=_fold(row),
    )


def _fold(row: Row) -> str:
    """The fold as published: a spreadsheet makes 1.0 of it."""
    return row.values["fold"].removesuffix(".0")


def _fold_order(fold: str) -> tuple[int, str]:
    return (int(fold) if fold.isdecimal() else -1, fold)


def _find_base(root: Path) -> Path:
    if not root.is_dir():
        raise DatasetError(f"There is no folder {str(root)!r}. Give ESC-50's folder with --root.")
    for base in (root, *sorted(folder for folder in root.iterdir() if folder.is_dir())):
        if (base / _TABLE).is_file() and (base / "audio").is_dir():
            return base
    raise DatasetError(
        f"{str(root)!r} is no ESC-50: audio/ and meta/esc50.csv are not both there. Give the folder that holds them, "
        "or use --dataset folder."
    )
